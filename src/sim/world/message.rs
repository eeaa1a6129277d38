//! Messages: made, edited, deleted, reacted to, by people and by the bot.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::World;
use super::draft::Draft;
use super::event::{Audience, News};
use super::intent;
use super::model::{Answers, Attachment, Id, Message, MessageKind, Pings, Reaction, Stored, Upload};

/// The oldest message of a channel is dropped for the next one: a load run must not fill the memory.
pub const CHANNEL_MESSAGES_MAX: usize = 10_000;

/// All attachments together; the oldest are dropped, as Discord's links expire too.
const STORED_BYTES_MAX: usize = 128 * 1_024 * 1_024;

/// A message before it has an id.
pub(super) struct NewMessage {
    pub channel: Id,
    pub author: Id,
    pub kind: MessageKind,
    pub content: String,
    pub flags: u64,
    pub nonce: Option<Value>,
    pub pings: Pings,
    pub embeds: Vec<Value>,
    pub components: Vec<Value>,
    pub uploads: Vec<Upload>,
    pub reply_to: Option<Id>,
    pub answers: Option<Answers>,
    pub only_for: Option<Id>,
}

impl NewMessage {
    pub fn new(channel: Id, author: Id, content: String) -> Self {
        Self {
            channel,
            author,
            kind: MessageKind::Default,
            content,
            flags: 0,
            nonce: None,
            pings: Pings::default(),
            embeds: Vec::new(),
            components: Vec::new(),
            uploads: Vec::new(),
            reply_to: None,
            answers: None,
            only_for: None,
        }
    }

    /// What the bot wrote, whether as a message or as an answer.
    pub fn of_bot(channel: Id, bot: Id, draft: Draft) -> Self {
        Self {
            flags: draft.flags,
            nonce: draft.nonce,
            embeds: draft.embeds.unwrap_or_default(),
            components: draft.components.unwrap_or_default(),
            uploads: draft.uploads,
            ..Self::new(channel, bot, draft.content.unwrap_or_default())
        }
    }
}

/// Which message was made with which nonce. Not sorted by time, so a queue beside it tells whom to forget.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Nonces {
    pub by_text: BTreeMap<String, (Id, Id)>,
    in_order: VecDeque<(Id, String)>,
}

impl Nonces {
    pub fn insert(&mut self, nonce: String, channel: Id, message: Id) {
        self.in_order.push_back((message, nonce.clone()));
        self.by_text.insert(nonce, (channel, message));
    }

    pub fn forget_before(&mut self, oldest: Id) {
        while let Some((_, nonce)) = self.in_order.pop_front_if(|(message, _)| *message < oldest) {
            self.by_text.remove(&nonce);
        }
    }
}

impl World {
    pub(super) fn find_message(&self, channel: Id, message: Id) -> Option<&Message> {
        self.channels.get(&channel)?.messages.get(&message)
    }

    pub(super) fn message_mut(&mut self, channel: Id, message: Id) -> Option<&mut Message> {
        self.channels.get_mut(&channel)?.messages.get_mut(&message)
    }

    /// Puts a message into its channel and tells everybody who sees it.
    pub(super) fn post(&mut self, new: NewMessage) -> Id {
        let channel = new.channel;
        let id = self.put_message(new);
        self.tell_message("MESSAGE_CREATE", channel, id);
        id
    }

    /// Puts a message into its channel without a word.
    pub(super) fn put_message(&mut self, new: NewMessage) -> Id {
        let id = self.new_id();
        let attachments = new.uploads.into_iter().map(|upload| self.store(new.channel, upload)).collect();
        let message = Message {
            id,
            channel: new.channel,
            author: new.author,
            kind: new.kind,
            content: new.content,
            edited_at: None,
            flags: new.flags,
            nonce: new.nonce,
            pings: new.pings,
            embeds: new.embeds,
            components: new.components,
            attachments,
            reactions: Vec::new(),
            reply_to: new.reply_to,
            answers: new.answers,
            only_for: new.only_for,
        };
        if let Some(channel) = self.channels.get_mut(&message.channel) {
            channel.messages.insert(id, message);
            if channel.messages.len() > CHANNEL_MESSAGES_MAX {
                channel.messages.pop_first();
            }
        }
        id
    }

    pub(super) fn store(&mut self, channel: Id, upload: Upload) -> Attachment {
        let Upload { name, content_type, description, bytes, .. } = upload;
        let (id, size) = (self.new_id(), bytes.len());
        let stored = Stored { channel, name: name.clone(), content_type: content_type.clone(), bytes };
        self.keep_file(id, stored);
        Attachment { id, name, content_type, description, size }
    }

    pub(super) fn keep_file(&mut self, id: Id, file: Stored) {
        self.stored_bytes += file.bytes.len();
        self.files.insert(id, file);
        while self.stored_bytes > STORED_BYTES_MAX {
            let Some((_, dropped)) = self.files.pop_first() else { break };
            self.stored_bytes -= dropped.bytes.len();
        }
    }

    /// MESSAGE_CREATE or MESSAGE_UPDATE. The bot is not told of ephemeral messages, people not of one that
    /// still waits for its content.
    pub(super) fn tell_message(&mut self, name: &'static str, channel: Id, message: Id) {
        let Some(message) = self.find_message(channel, message) else { return };
        let data = self.message_event(message);
        let audience = message.only_for.map_or(Audience::Channel(channel), Audience::Person);
        let audience = (!message.is_loading()).then_some(audience);
        let to_bot = message.only_for.is_none();
        let redacted = if to_bot { self.redacted(message, &data) } else { None };
        let news = News::new(name, self.message_intent(channel), data);
        self.tell(News { audience, channel: Some(channel), redacted, to_bot, ..news });
    }

    pub(super) fn message_intent(&self, channel: Id) -> u64 {
        if self.guild_of(channel).is_some() { intent::GUILD_MESSAGES } else { intent::DIRECT_MESSAGES }
    }

    /// Takes a message away and tells everybody who saw it.
    pub(super) fn remove_message(&mut self, channel: Id, message: Id) -> bool {
        let Some(found) = self.channels.get_mut(&channel).and_then(|c| c.messages.remove(&message)) else {
            return false;
        };
        for attachment in &found.attachments {
            if let Some(file) = self.files.remove(&attachment.id) {
                self.stored_bytes -= file.bytes.len();
            }
        }
        let mut data = json!({"id": message.to_string(), "channel_id": channel.to_string()});
        if let Some(guild) = self.guild_of(channel) {
            data["guild_id"] = json!(guild.to_string());
        }
        let audience = found.only_for.map_or(Audience::Channel(channel), Audience::Person);
        let news = News::new("MESSAGE_DELETE", self.message_intent(channel), data);
        self.tell(News {
            audience: Some(audience),
            channel: Some(channel),
            to_bot: found.only_for.is_none(),
            ..news
        });
        true
    }

    /// Adds or takes away one person's reaction; `false` if nothing changed.
    pub(super) fn set_reaction(&mut self, channel: Id, message: Id, user: Id, emoji: &str, on: bool) -> bool {
        let Some(found) = self.message_mut(channel, message) else { return false };
        let author = found.author;
        let position = found.reactions.iter().position(|reaction| reaction.emoji == emoji);
        let changed = match (position, on) {
            (Some(at), true) if !found.reactions[at].users.contains(&user) => {
                found.reactions[at].users.push(user);
                true
            }
            (Some(at), false) if found.reactions[at].users.contains(&user) => {
                found.reactions[at].users.retain(|other| *other != user);
                found.reactions.retain(|reaction| !reaction.users.is_empty());
                true
            }
            (None, true) => {
                found.reactions.push(Reaction { emoji: emoji.to_owned(), users: vec![user] });
                true
            }
            _ => false,
        };
        if changed {
            self.tell_reaction(channel, message, user, emoji, on, author);
        }
        changed
    }

    fn tell_reaction(&mut self, channel: Id, message: Id, user: Id, emoji: &str, on: bool, author: Id) {
        let guild = self.guild_of(channel);
        let mut data = json!({
            "user_id": user.to_string(),
            "channel_id": channel.to_string(),
            "message_id": message.to_string(),
            "emoji": super::render::emoji(emoji),
            "burst": false,
            "type": 0,
        });
        if let Some(guild) = guild {
            data["guild_id"] = json!(guild.to_string());
        }
        if on {
            data["message_author_id"] = json!(author.to_string());
            data["burst_colors"] = json!([]);
            if let Some(member) = guild.and_then(|guild| self.member_with_user(guild, user)) {
                data["member"] = member;
            }
        }
        let name = if on { "MESSAGE_REACTION_ADD" } else { "MESSAGE_REACTION_REMOVE" };
        let intent = if guild.is_some() { intent::GUILD_REACTIONS } else { intent::DIRECT_REACTIONS };
        self.tell(News {
            channel: Some(channel),
            audience: Some(Audience::Channel(channel)),
            ..News::new(name, intent, data)
        });
    }

    /// TYPING_START.
    pub(super) fn tell_typing(&mut self, channel: Id, user: Id) {
        let guild = self.guild_of(channel);
        let mut data = json!({
            "channel_id": channel.to_string(),
            "user_id": user.to_string(),
            "timestamp": self.now.seconds(),
        });
        if let Some(guild) = guild {
            data["guild_id"] = json!(guild.to_string());
            data["member"] = json!(self.member_with_user(guild, user));
        }
        let intent = if guild.is_some() { intent::GUILD_TYPING } else { intent::DIRECT_TYPING };
        let news = News::new("TYPING_START", intent, data);
        self.tell(News { channel: Some(channel), audience: Some(Audience::Channel(channel)), ..news });
    }
}

impl Message {
    /// Whether there is nothing to see in it.
    pub(super) fn is_blank(&self) -> bool {
        self.content.is_empty()
            && self.embeds.is_empty()
            && self.components.is_empty()
            && self.attachments.is_empty()
    }
}
