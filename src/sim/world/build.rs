//! Making guilds, channels and people; the playground.

use serde_json::{Value, json};

use super::event::{Audience, News};
use super::model::{Channel, ChannelKind, Guild, Id, Member, Overwrite, Role, User};
use super::permission::{BOT, EVERYONE, MODERATOR};
use super::{World, intent, render};
use crate::clock::Timestamp;

/// One guild of the world, to be furnished.
pub struct GuildBuilder<'a> {
    world: &'a mut World,
    id: Id,
}

impl GuildBuilder<'_> {
    pub fn id(&self) -> Id {
        self.id
    }

    /// Finds or makes a text channel.
    pub fn channel(&mut self, name: &str) -> Id {
        self.world.channel_in(self.id, name)
    }

    /// Finds or makes a person, who is a member from then on.
    pub fn person(&mut self, name: &str) -> Id {
        let person = self.world.person(name);
        self.world.join(self.id, person);
        person
    }

    /// Makes a person the owner.
    pub fn owner(&mut self, person: Id) {
        self.world.join(self.id, person);
        self.world.change_guild(self.id, |guild| guild.owner = person);
    }

    /// Finds or makes a role, with these permissions.
    pub fn role(&mut self, name: &str, permissions: u64) -> Id {
        self.world.role_in(self.id, name, permissions)
    }

    /// Gives a role to a member.
    pub fn grant(&mut self, person: Id, role: Id) {
        self.world.change_member(self.id, person, |member| {
            if !member.roles.contains(&role) {
                member.roles.push(role);
            }
        });
    }

    /// Takes a role from a member.
    pub fn withdraw(&mut self, person: Id, role: Id) {
        self.world.change_member(self.id, person, |member| member.roles.retain(|held| *held != role));
    }

    /// Lets a member only read until then; `None` ends it.
    pub fn time_out(&mut self, person: Id, until: Option<Timestamp>) {
        self.world.change_member(self.id, person, |member| member.timed_out_until = until);
    }
}

impl World {
    /// Two servers with three channels each, four people, and the bot in both. Alice owns the first server,
    /// Bob the second, where Alice is a moderator.
    pub fn playground(seed: u64) -> Self {
        let mut world = Self::new(seed);
        let alice = world.person("alice");
        let bob = world.person("bob");
        world.application.owner = Some(alice);
        for (server, owner, channels) in [
            ("Wonderland", alice, ["general", "tea-party", "croquet"]),
            ("Garage", bob, ["general", "tools", "off-topic"]),
        ] {
            let mut guild = world.guild(server);
            for channel in channels {
                guild.channel(channel);
            }
            guild.owner(owner);
            for name in ["alice", "bob", "carol", "dave"] {
                guild.person(name);
            }
            let moderator = guild.role("moderator", MODERATOR);
            guild.grant(alice, moderator);
        }
        world
    }

    /// Finds or makes a guild of this name; the bot is in it.
    pub fn guild(&mut self, name: &str) -> GuildBuilder<'_> {
        let found = self.guilds.values().find(|guild| guild.name == name).map(|guild| guild.id);
        let id = found.unwrap_or_else(|| self.make_guild(name));
        GuildBuilder { world: self, id }
    }

    fn make_guild(&mut self, name: &str) -> Id {
        let (id, bot) = (self.new_time_id(), self.application.id);
        let everyone = role(id, "@everyone", EVERYONE, None);
        let managed = role(self.new_id(), &self.application.name, BOT, Some(bot));
        let member = Member { roles: vec![managed.id], ..self.new_member(bot) };
        let guild = Guild {
            id,
            name: name.to_owned(),
            // Until somebody owns it, the owner is nobody who is there, and nobody is above the roles.
            owner: self.new_id(),
            roles: [(id, everyone), (managed.id, managed)].into(),
            members: [(bot, member)].into(),
            channels: Vec::new(),
        };
        // It must be there before it is shown: its members are looked up.
        self.guilds.insert(id, guild.clone());
        let data = self.guild_create(&guild);
        self.tell(News { guild: Some(id), ..News::new("GUILD_CREATE", intent::GUILDS, data) });
        id
    }

    fn new_member(&self, user: Id) -> Member {
        Member { user, nick: None, roles: Vec::new(), joined_at: self.now, timed_out_until: None }
    }

    /// Finds or makes a person of this name.
    pub fn person(&mut self, name: &str) -> Id {
        if let Some(found) = self.names.get(name) {
            return *found;
        }
        let id = self.new_id();
        self.names.insert(name.to_owned(), id);
        self.users.insert(id, User { id, name: name.to_owned(), bot: false, closed_dms: false });
        id
    }

    fn channel_in(&mut self, guild: Id, name: &str) -> Id {
        let channels = || self.guilds.get(&guild).into_iter().flat_map(|guild| &guild.channels);
        let found = channels().find(|id| self.channels.get(id).is_some_and(|channel| channel.name == name));
        match found {
            Some(found) => *found,
            None => self.make_channel(guild, name, ChannelKind::Text, None),
        }
    }

    /// Opens a thread below a text channel.
    pub fn thread(&mut self, parent: Id, name: &str) -> Option<Id> {
        let guild = self.guild_of(parent)?;
        Some(self.make_channel(guild, name, ChannelKind::Thread, Some(parent)))
    }

    fn make_channel(&mut self, guild: Id, name: &str, kind: ChannelKind, parent: Option<Id>) -> Id {
        let id = self.new_id();
        let channel = Channel { guild: Some(guild), parent, ..Channel::empty(id, kind, name) };
        let data = self.channel(&channel);
        self.channels.insert(id, channel);
        if let Some(guild) = self.guilds.get_mut(&guild) {
            guild.channels.push(id);
        }
        let event = if kind == ChannelKind::Thread { "THREAD_CREATE" } else { "CHANNEL_CREATE" };
        self.tell_channel(event, id, data);
        id
    }

    fn tell_channel(&mut self, event: &'static str, channel: Id, data: Value) {
        let news = News::new(event, intent::GUILDS, data);
        self.tell(News { channel: Some(channel), audience: Some(Audience::Channel(channel)), ..news });
    }

    /// The direct message between a person and the bot: always the same one.
    pub fn direct(&mut self, person: Id) -> Id {
        if let Some(id) = self.directs.get(&person) {
            return *id;
        }
        let id = self.new_id();
        self.channels
            .insert(id, Channel { recipient: Some(person), ..Channel::empty(id, ChannelKind::Dm, "") });
        self.directs.insert(person, id);
        id
    }

    /// Lets direct messages of the bot reach a person, or not.
    pub fn close_dms(&mut self, person: Id, closed: bool) {
        if let Some(user) = self.users.get_mut(&person) {
            user.closed_dms = closed;
        }
    }

    /// A person becomes a member; the bot is invited back with [`World::invite`].
    pub fn join(&mut self, guild: Id, person: Id) {
        let member = self.new_member(person);
        let Some(found) = self.guilds.get_mut(&guild) else { return };
        if found.members.contains_key(&person) {
            return;
        }
        found.members.insert(person, member);
        let mut data = self.member_with_user(guild, person).unwrap_or_default();
        data["guild_id"] = json!(guild.to_string());
        let news = News::new("GUILD_MEMBER_ADD", intent::GUILD_MEMBERS, data);
        self.tell(News { guild: Some(guild), audience: Some(Audience::Guild(guild)), ..news });
        let name = self.guilds.get(&guild).map(|guild| guild.name.clone());
        self.show_to(person, "GUILD_CREATE", json!({"id": guild.to_string(), "name": name}));
    }

    /// The bot comes (back) to a guild.
    pub fn invite(&mut self, guild: Id) {
        let bot = self.application.id;
        let mut member = self.new_member(bot);
        let Some(found) = self.guilds.get_mut(&guild).filter(|found| !found.members.contains_key(&bot))
        else {
            return;
        };
        let own = found.roles.values().filter(|role| role.bot == Some(bot));
        member.roles = own.map(|role| role.id).collect();
        found.members.insert(bot, member);
        let data = self.guilds.get(&guild).map(|guild| self.guild_create(guild)).unwrap_or_default();
        self.tell(News { guild: Some(guild), ..News::new("GUILD_CREATE", intent::GUILDS, data) });
    }

    /// Discord has looked at a link: the message has an embed, and the update no `edited_timestamp`.
    pub fn unfurl(&mut self, channel: Id, message: Id, embed: Value) {
        if let Some(found) = self.message_mut(channel, message) {
            found.embeds.push(embed);
        }
        self.tell_message("MESSAGE_UPDATE", channel, message);
    }

    /// A person leaves a guild; the bot leaving is told as GUILD_DELETE.
    pub fn leave(&mut self, guild: Id, person: Id) {
        let there = self.guilds.get(&guild).is_some_and(|guild| guild.members.contains_key(&person));
        if !there {
            return;
        }
        let bot = person == self.application.id;
        let (name, intent, data) = if bot {
            ("GUILD_DELETE", intent::GUILDS, json!({"id": guild.to_string()}))
        } else {
            let data = json!({"guild_id": guild.to_string(), "user": self.user(person)});
            ("GUILD_MEMBER_REMOVE", intent::GUILD_MEMBERS, data)
        };
        let audience = (!bot).then_some(Audience::Guild(guild));
        self.tell(News { guild: Some(guild), audience, ..News::new(name, intent, data) });
        if let Some(found) = self.guilds.get_mut(&guild) {
            found.members.remove(&person);
        }
    }

    fn role_in(&mut self, guild: Id, name: &str, permissions: u64) -> Id {
        let Some(found) = self.guilds.get(&guild) else { return 0 };
        if let Some(held) = found.roles.values().find(|role| role.name == name).map(|role| role.id) {
            self.change_role(guild, held, |role| role.permissions = permissions);
            return held;
        }
        let made = role(self.new_id(), name, permissions, None);
        let id = made.id;
        let data = json!({"guild_id": guild.to_string(), "role": render::role(&made, guild)});
        if let Some(found) = self.guilds.get_mut(&guild) {
            found.roles.insert(id, made);
        }
        self.tell_role("GUILD_ROLE_CREATE", guild, data);
        id
    }

    /// Changes a role; the one with the guild's own id is @everyone.
    pub fn change_role(&mut self, guild: Id, role: Id, change: impl FnOnce(&mut Role)) {
        let found = self.guilds.get_mut(&guild).and_then(|guild| guild.roles.get_mut(&role));
        let Some(found) = found else { return };
        change(found);
        let data = json!({"guild_id": guild.to_string(), "role": render::role(found, guild)});
        self.tell_role("GUILD_ROLE_UPDATE", guild, data);
    }

    fn tell_role(&mut self, event: &'static str, guild: Id, data: Value) {
        let news = News::new(event, intent::GUILDS, data);
        self.tell(News { guild: Some(guild), audience: Some(Audience::Guild(guild)), ..news });
    }

    fn change_guild(&mut self, guild: Id, change: impl FnOnce(&mut Guild)) {
        let Some(found) = self.guilds.get_mut(&guild) else { return };
        change(found);
        let data = self.guilds.get(&guild).map(|guild| self.guild_alone(guild)).unwrap_or_default();
        let news = News::new("GUILD_UPDATE", intent::GUILDS, data);
        self.tell(News { guild: Some(guild), audience: Some(Audience::Guild(guild)), ..news });
    }

    /// Changes a member. The bot hears of itself without an intent, of others with one.
    pub fn change_member(&mut self, guild: Id, person: Id, change: impl FnOnce(&mut Member)) {
        let found = self.guilds.get_mut(&guild).and_then(|guild| guild.members.get_mut(&person));
        let Some(found) = found else { return };
        change(found);
        let mut data = self.member_with_user(guild, person).unwrap_or_default();
        data["guild_id"] = json!(guild.to_string());
        let intent = if person == self.application.id { 0 } else { intent::GUILD_MEMBERS };
        let news = News::new("GUILD_MEMBER_UPDATE", intent, data);
        self.tell(News { guild: Some(guild), audience: Some(Audience::Guild(guild)), ..news });
    }

    /// Sets what a channel allows and denies; replaces an earlier overwrite for the same role or member.
    pub fn overwrite(&mut self, channel: Id, overwrite: Overwrite) {
        let Some(found) = self.channels.get_mut(&channel) else { return };
        found.overwrites.retain(|other| other.id != overwrite.id);
        found.overwrites.push(overwrite);
        let data = self.channels.get(&channel).map(|channel| self.channel(channel)).unwrap_or_default();
        // Who loses sight of a channel by this hears nothing more, as in a client that is told to hide it.
        self.tell_channel("CHANNEL_UPDATE", channel, data);
    }

    pub fn remove_channel(&mut self, channel: Id) {
        let Some(found) = self.channels.get(&channel) else { return };
        let (data, guild) = (self.channel(found), found.guild);
        let news = News::new("CHANNEL_DELETE", intent::GUILDS, data);
        self.tell(News { channel: Some(channel), audience: guild.map(Audience::Guild), ..news });
        let removed = self.channels.remove(&channel).and_then(|channel| channel.guild);
        if let Some(guild) = removed.and_then(|id| self.guilds.get_mut(&id)) {
            guild.channels.retain(|id| *id != channel);
        }
    }

    /// Takes a message away as a moderator does.
    pub fn remove_message_in(&mut self, channel: Id, message: Id) {
        self.remove_message(channel, message);
    }

    /// Takes a permission from the bot's role and from @everyone, in every guild.
    pub fn revoke(&mut self, permission: u64) {
        let guilds: Vec<Id> = self.guilds.keys().copied().collect();
        for guild in guilds {
            let roles: Vec<Id> = self.guilds[&guild].roles.keys().copied().collect();
            for role in roles {
                if role == guild || self.is_bots(guild, role) {
                    self.change_role(guild, role, |role| role.permissions &= !permission);
                }
            }
        }
    }

    fn is_bots(&self, guild: Id, role: Id) -> bool {
        let role = self.guilds.get(&guild).and_then(|guild| guild.roles.get(&role));
        role.is_some_and(|role| role.bot == Some(self.application.id))
    }

    /// Switches a privileged intent in the developer portal.
    pub fn portal(&mut self, intent: u64, on: bool) {
        if on {
            self.application.intents |= intent & intent::PRIVILEGED;
        } else {
            self.application.intents &= !intent;
        }
    }

    /// Makes the token worthless.
    pub fn reset_token(&mut self) {
        self.application.token = format!("reset.{}", self.chance.hex());
    }
}

impl Channel {
    fn empty(id: Id, kind: ChannelKind, name: &str) -> Self {
        Self {
            id,
            kind,
            name: name.to_owned(),
            guild: None,
            recipient: None,
            parent: None,
            overwrites: Vec::new(),
            messages: Default::default(),
        }
    }
}

fn role(id: Id, name: &str, permissions: u64, bot: Option<Id>) -> Role {
    Role { id, name: name.to_owned(), permissions, mentionable: false, bot }
}
