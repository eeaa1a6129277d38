//! What a person's client shows.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::World;
use super::model::{Guild, Id};
use super::permission::VIEW_CHANNEL;
use super::render;

/// A client loads at most this many messages at once.
const PAGE_MAX: usize = 200;

impl World {
    /// Everything but the messages.
    pub fn view(&self, person: Id) -> Value {
        let guilds = self.guilds.values().filter(|guild| guild.members.contains_key(&person));
        let people = self.users.values().filter(|user| !user.bot).map(|user| self.user(user.id));
        let direct = self
            .directs
            .get(&person)
            .map(|id| json!({"id": id.to_string(), "recipient": self.user(self.application.id)}));
        json!({
            "user": self.user(person),
            "people": people.collect::<Vec<_>>(),
            "guilds": guilds.map(|guild| self.guild_view(person, guild)).collect::<Vec<_>>(),
            "dms": Vec::from_iter(direct),
            "commands": self.commands_for(person),
            "bot": self.user(self.application.id),
            "bot_online": self.bot_online(),
        })
    }

    /// The servers that somebody is in, as their own token is told of them.
    pub fn guilds_of(&self, person: Id) -> Value {
        let guilds = self.guilds.values().filter(|guild| guild.members.contains_key(&person));
        let told = guilds.map(|guild| {
            json!({
                "id": guild.id.to_string(),
                "name": guild.name,
                "icon": null,
                "owner": guild.owner == person,
                "permissions": self.guild_permissions(person, guild.id).to_string(),
            })
        });
        told.collect::<Vec<_>>().into()
    }

    /// Somebody, as everybody is told of them.
    pub fn person_view(&self, id: Id) -> Value {
        self.user(id)
    }

    /// What a person's own client signs in with: the same in every life of this world.
    pub fn person_token(&self, person: Id) -> String {
        let digest = Sha256::digest(format!("{} {person}", self.seed));
        let secret: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        format!("person.{person}.{secret}")
    }

    /// Whose token this is.
    pub fn person_of(&self, token: &str) -> Option<Id> {
        let person = token.strip_prefix("person.")?.split('.').next()?.parse().ok()?;
        self.person_name(person).filter(|_| self.person_token(person) == token).map(|_| person)
    }

    /// Everybody but bots.
    pub fn people(&self) -> Vec<(Id, String)> {
        self.users.values().filter(|user| !user.bot).map(|user| (user.id, user.name.clone())).collect()
    }

    pub fn person_name(&self, person: Id) -> Option<&str> {
        self.users.get(&person).filter(|user| !user.bot).map(|user| user.name.as_str())
    }

    /// The bot's application, which is also its user.
    pub fn application_id(&self) -> Id {
        self.application.id
    }

    fn guild_view(&self, person: Id, guild: &Guild) -> Value {
        let channels = guild.channels.iter().filter(|id| self.may(person, **id, VIEW_CHANNEL));
        let members = guild.members.values().map(|member| {
            json!({
                "user": self.user(member.user),
                "nick": member.nick,
                "roles": super::text::ids(&member.roles),
            })
        });
        json!({
            "id": guild.id.to_string(),
            "name": guild.name,
            "owner_id": guild.owner.to_string(),
            "channels": channels.map(|id| self.channel_view(person, *id)).collect::<Vec<_>>(),
            "members": members.collect::<Vec<_>>(),
            "roles": guild.roles.values().map(|role| render::role(role, guild.id)).collect::<Vec<_>>(),
        })
    }

    fn channel_view(&self, person: Id, channel: Id) -> Value {
        let found = self.channels.get(&channel);
        json!({
            "id": channel.to_string(),
            "name": found.map(|channel| channel.name.as_str()),
            "type": found.map_or(0, |channel| channel.kind as u8),
            "parent_id": found.and_then(|channel| channel.parent).map(|id| id.to_string()),
            "can_send": self.may(person, channel, self.send_permission(channel)),
        })
    }

    /// A page of a channel's history as this person sees it, newest last.
    pub fn messages(&self, person: Id, channel: Id, before: Option<Id>, limit: usize) -> Vec<Value> {
        if !self.may(person, channel, VIEW_CHANNEL) {
            return Vec::new();
        }
        let Some(found) = self.channels.get(&channel) else { return Vec::new() };
        let earlier = found.messages.range(..before.unwrap_or(Id::MAX)).rev().map(|(_, message)| message);
        let seen = earlier.filter(|m| !m.is_loading() && m.only_for.is_none_or(|only| only == person));
        let mut page: Vec<Value> = seen.take(limit.min(PAGE_MAX)).map(|m| self.message_event(m)).collect();
        page.reverse();
        page
    }

    /// Where a guild, a channel or a person of this name is; for drivers that think in names.
    pub fn find_guild(&self, name: &str) -> Option<Id> {
        self.guilds.values().find(|guild| guild.name == name).map(|guild| guild.id)
    }

    pub fn find_channel(&self, guild: Id, name: &str) -> Option<Id> {
        let mut channels = self.guilds.get(&guild)?.channels.iter().copied();
        channels.find(|id| self.channels.get(id).is_some_and(|channel| channel.name == name))
    }

    pub fn find_person(&self, name: &str) -> Option<Id> {
        self.names.get(name).copied()
    }
}
