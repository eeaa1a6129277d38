//! The payloads: what users, messages, channels and guilds look like in JSON.

use serde_json::{Value, json};

use super::World;
use super::model::{Answers, Attachment, Channel, ChannelKind, Guild, Id, Member, Message, Role, User};
use super::text::{ids, iso};
use crate::clock::Timestamp;

/// The locale of every person and guild; texts in other languages are not modelled.
pub(super) const LOCALE: &str = "en-US";

impl World {
    pub(super) fn user(&self, id: Id) -> Value {
        self.users.get(&id).map_or_else(|| json!({"id": id.to_string(), "username": "deleted"}), user)
    }

    /// Without `user`, which messages have as their author.
    pub(super) fn member(&self, guild: Id, user: Id) -> Option<Value> {
        Some(member(self.guilds.get(&guild)?.members.get(&user)?))
    }

    pub(super) fn member_with_user(&self, guild: Id, user: Id) -> Option<Value> {
        let mut member = self.member(guild, user)?;
        member["user"] = self.user(user);
        Some(member)
    }

    /// As REST answers it, unredacted.
    pub(super) fn message(&self, message: &Message) -> Value {
        let mut value = self.message_alone(message);
        if let Some(replied) = message.reply_to {
            let guild = self.channels.get(&message.channel).and_then(|channel| channel.guild);
            value["message_reference"] = reference(message.channel, replied, guild);
            let found = self.find_message(message.channel, replied);
            value["referenced_message"] = found.map_or(Value::Null, |found| self.message_alone(found));
        }
        value
    }

    /// As the gateway sends it: with the guild and what the author is there.
    pub(super) fn message_event(&self, message: &Message) -> Value {
        let mut value = self.message(message);
        if let Some(guild) = self.channels.get(&message.channel).and_then(|channel| channel.guild) {
            value["guild_id"] = json!(guild.to_string());
            // People who left and the answers of webhooks have no member.
            if let Some(member) = self.member(guild, message.author) {
                value["member"] = member;
            }
        }
        value
    }

    fn message_alone(&self, message: &Message) -> Value {
        let mentions: Vec<Value> = message.pings.users.iter().map(|id| self.user(*id)).collect();
        let attachments = message.attachments.iter().map(|a| self.attachment(message.channel, a));
        let mut value = json!({
            "id": message.id.to_string(),
            "channel_id": message.channel.to_string(),
            "author": self.user(message.author),
            "content": message.content,
            "timestamp": iso(Timestamp::of_snowflake(message.id)),
            "edited_timestamp": message.edited_at.map(iso),
            "tts": false,
            "mention_everyone": message.pings.everyone,
            "mentions": mentions,
            "mention_roles": ids(&message.pings.roles),
            "attachments": attachments.collect::<Vec<_>>(),
            "embeds": message.embeds,
            "components": message.components,
            "pinned": false,
            "type": message.kind as u8,
            "flags": message.flags,
        });
        if !message.reactions.is_empty() {
            value["reactions"] = self.reactions(message);
        }
        if let Some(nonce) = &message.nonce {
            value["nonce"] = nonce.clone();
        }
        if let Some(answers) = &message.answers {
            self.add_answers(&mut value, message.channel, answers);
        }
        value
    }

    fn reactions(&self, message: &Message) -> Value {
        let reactions = message.reactions.iter().map(|reaction| {
            json!({
                "count": reaction.users.len(),
                "count_details": {"burst": 0, "normal": reaction.users.len()},
                "me": reaction.users.contains(&self.application.id),
                "me_burst": false,
                "burst_colors": [],
                "emoji": emoji(&reaction.emoji),
            })
        });
        reactions.collect()
    }

    fn add_answers(&self, value: &mut Value, channel: Id, answers: &Answers) {
        let application = self.application.id.to_string();
        value["webhook_id"] = json!(application);
        value["application_id"] = json!(application);
        let guild = self.channels.get(&channel).and_then(|channel| channel.guild);
        value["interaction_metadata"] = self.answers(answers, guild);
        if let Some(name) = answers.name.as_ref().filter(|_| answers.kind == 2) {
            value["interaction"] = json!({
                "id": answers.interaction.to_string(), "type": 2, "name": name, "user": self.user(answers.person),
            });
        }
    }

    fn answers(&self, answers: &Answers, guild: Option<Id>) -> Value {
        let mut value = json!({
            "id": answers.interaction.to_string(),
            "type": answers.kind,
            "user": self.user(answers.person),
            "authorizing_integration_owners": integration_owners(guild),
        });
        if let Some(name) = &answers.name {
            value["name"] = json!(name);
        }
        if let Some(message) = answers.message {
            let field = if answers.kind == 3 { "interacted_message_id" } else { "target_message_id" };
            value[field] = json!(message.to_string());
        }
        if let Some(opener) = &answers.opened_by {
            value["triggering_interaction_metadata"] = self.answers(opener, guild);
        }
        value
    }

    pub(super) fn attachment(&self, channel: Id, attachment: &Attachment) -> Value {
        let url = format!(
            "{}/attachments/{channel}/{}/{}",
            self.base_url,
            attachment.id,
            escaped(&attachment.name)
        );
        let mut value = json!({
            "id": attachment.id.to_string(),
            "filename": attachment.name,
            "size": attachment.size,
            "url": url,
            "proxy_url": url,
            "content_type": attachment.content_type,
        });
        if let Some(description) = &attachment.description {
            value["description"] = json!(description);
        }
        value
    }

    pub(super) fn channel(&self, channel: &Channel) -> Value {
        let last = channel.messages.keys().next_back().map(Id::to_string);
        let mut value = json!({
            "id": channel.id.to_string(),
            "type": channel.kind as u8,
            "last_message_id": last,
            "flags": 0,
        });
        if let Some(recipient) = channel.recipient {
            value["recipients"] = json!([self.user(recipient)]);
            return value;
        }
        let overwrites = channel.overwrites.iter().map(|overwrite| {
            json!({
                "id": overwrite.id.to_string(),
                "type": u8::from(overwrite.member),
                "allow": overwrite.allow.to_string(),
                "deny": overwrite.deny.to_string(),
            })
        });
        value["permission_overwrites"] = overwrites.collect();
        value["name"] = json!(channel.name);
        value["guild_id"] = json!(channel.guild.map(|id| id.to_string()));
        value["parent_id"] = json!(channel.parent.map(|id| id.to_string()));
        value["position"] = json!(0);
        value["nsfw"] = json!(false);
        value["topic"] = Value::Null;
        value["rate_limit_per_user"] = json!(0);
        if channel.kind == ChannelKind::Thread {
            value["thread_metadata"] = json!({
                "archived": false, "auto_archive_duration": 1_440, "locked": false,
                "archive_timestamp": iso(Timestamp::of_snowflake(channel.id)),
            });
        }
        value
    }

    /// As REST answers it.
    pub(super) fn guild_alone(&self, guild: &Guild) -> Value {
        json!({
            "id": guild.id.to_string(),
            "name": guild.name,
            "owner_id": guild.owner.to_string(),
            "roles": guild.roles.values().map(|one| role(one, guild.id)).collect::<Vec<_>>(),
            "emojis": [], "stickers": [], "features": [],
            "icon": null, "splash": null, "discovery_splash": null, "banner": null, "description": null,
            "afk_channel_id": null, "afk_timeout": 300, "application_id": null,
            "system_channel_id": null, "system_channel_flags": 0, "rules_channel_id": null,
            "public_updates_channel_id": null, "safety_alerts_channel_id": null, "vanity_url_code": null,
            "verification_level": 0, "mfa_level": 0, "nsfw_level": 0, "nsfw": false,
            "default_message_notifications": 1, "explicit_content_filter": 0,
            "premium_tier": 0, "premium_subscription_count": 0, "premium_progress_bar_enabled": false,
            "preferred_locale": LOCALE,
        })
    }

    /// GUILD_CREATE: with channels, and of the members the bot, or its permissions could not be computed.
    pub(super) fn guild_create(&self, guild: &Guild) -> Value {
        let mut value = self.guild_alone(guild);
        let all = || guild.channels.iter().filter_map(|id| self.channels.get(id));
        let (threads, channels): (Vec<_>, Vec<_>) = all().partition(|c| c.kind == ChannelKind::Thread);
        let bot = guild.members.get(&self.application.id);
        value["channels"] = channels.into_iter().map(|channel| self.channel(channel)).collect();
        value["threads"] = threads.into_iter().map(|channel| self.channel(channel)).collect();
        value["members"] = json!([self.member_with_user(guild.id, self.application.id)]);
        value["member_count"] = json!(guild.members.len());
        value["joined_at"] = json!(bot.map(|member| iso(member.joined_at)));
        value["large"] = json!(guild.members.len() > LARGE);
        value["unavailable"] = json!(false);
        for empty in
            ["presences", "voice_states", "stage_instances", "guild_scheduled_events", "soundboard_sounds"]
        {
            value[empty] = json!([]);
        }
        value
    }

    pub(super) fn application_object(&self) -> Value {
        let application = &self.application;
        json!({
            "id": application.id.to_string(),
            "name": application.name,
            "description": "",
            "icon": null,
            "bot_public": false,
            "bot_require_code_grant": false,
            "verify_key": "00",
            "flags": application_flags(application.intents),
            "owner": application.owner.map(|id| self.user(id)),
            "team": null,
            "rpc_origins": [], "tags": [], "redirect_uris": [],
            "interactions_endpoint_url": null,
            "bot": self.user(application.id),
        })
    }
}

/// From this many members on Discord calls a guild large.
const LARGE: usize = 250;

fn user(user: &User) -> Value {
    json!({
        "id": user.id.to_string(),
        "username": user.name,
        "discriminator": "0",
        "global_name": user.name,
        "avatar": null,
        "bot": user.bot,
        "public_flags": 0,
    })
}

fn member(member: &Member) -> Value {
    json!({
        "nick": member.nick,
        "roles": ids(&member.roles),
        "joined_at": iso(member.joined_at),
        "premium_since": null,
        "avatar": null,
        "deaf": false,
        "mute": false,
        "flags": 0,
        "pending": false,
        "communication_disabled_until": member.timed_out_until.map(iso),
    })
}

pub(super) fn role(role: &Role, guild: Id) -> Value {
    let mut value = json!({
        "id": role.id.to_string(),
        "name": role.name,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
        "hoist": false,
        "icon": null,
        "unicode_emoji": null,
        "managed": role.bot.is_some(),
        "mentionable": role.mentionable,
        "permissions": role.permissions.to_string(),
        "position": u8::from(role.id != guild),
        "flags": 0,
    });
    if let Some(bot) = role.bot {
        value["tags"] = json!({"bot_id": bot.to_string()});
    }
    value
}

/// The flags that tell a bot which privileged intents it may ask for, as bots in fewer than 100 guilds have
/// them.
fn application_flags(intents: u64) -> u64 {
    use super::intent::{GUILD_MEMBERS, GUILD_PRESENCES, MESSAGE_CONTENT};
    let limited = [(GUILD_PRESENCES, 13), (GUILD_MEMBERS, 15), (MESSAGE_CONTENT, 19)];
    limited
        .into_iter()
        .filter(|(intent, _)| intents & intent != 0)
        .fold(0, |flags, (_, bit)| flags | 1 << bit)
}

/// Who installed the application: the guild; 0 stands for one that is used in a direct message.
pub(super) fn integration_owners(guild: Option<Id>) -> Value {
    json!({"0": guild.unwrap_or(0).to_string()})
}

pub(super) fn reference(channel: Id, message: Id, guild: Option<Id>) -> Value {
    let mut value = json!({"type": 0, "channel_id": channel.to_string(), "message_id": message.to_string()});
    if let Some(guild) = guild {
        value["guild_id"] = json!(guild.to_string());
    }
    value
}

/// `👍`, or `name:id` of a guild's own.
pub(super) fn emoji(text: &str) -> Value {
    match text.split_once(':') {
        Some((name, id)) => json!({"id": id, "name": name}),
        None => json!({"id": null, "name": text}),
    }
}

/// A file's name as part of a path.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
