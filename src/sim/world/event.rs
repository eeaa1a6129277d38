//! [`News`]: something happened, and who hears of it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::model::Id;
use super::permission::VIEW_CHANNEL;
use super::{Output, World};

/// Which people's clients are sent an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Person(Id),
    /// Everybody who sees the channel.
    Channel(Id),
    /// Every member.
    Guild(Id),
    Everyone,
}

/// An event on its way to the bot's sessions and to people's clients.
pub(super) struct News {
    pub name: &'static str,
    /// The intent without which the bot is not told; 0: it is always told.
    pub intent: u64,
    pub guild: Option<Id>,
    pub channel: Option<Id>,
    pub to_bot: bool,
    pub audience: Option<Audience>,
    pub data: Value,
    /// What a session without the Message Content intent is sent instead.
    pub redacted: Option<Value>,
}

impl News {
    pub fn new(name: &'static str, intent: u64, data: Value) -> Self {
        Self { name, intent, guild: None, channel: None, to_bot: true, audience: None, data, redacted: None }
    }

    /// For people only.
    pub fn to_people(name: &'static str, audience: Audience, data: Value) -> Self {
        Self { audience: Some(audience), to_bot: false, ..Self::new(name, 0, data) }
    }
}

impl World {
    pub(super) fn tell(&mut self, news: News) {
        if news.to_bot {
            self.tell_bot(&news);
        }
        if let Some(audience) = news.audience {
            let event = Arc::new(json!({"t": news.name, "d": news.data}));
            self.outputs.push(Output::Seen { audience, event });
        }
    }

    fn tell_bot(&mut self, news: &News) {
        let bot = self.application.id;
        let guild = news.guild.or_else(|| news.channel.and_then(|channel| self.guild_of(channel)));
        // Interactions need no permission in their channel, and no intent.
        let needs_view = news.intent != 0;
        if needs_view && news.channel.is_some_and(|channel| !self.may(bot, channel, VIEW_CHANNEL)) {
            return;
        }
        if guild.and_then(|id| self.guilds.get(&id)).is_some_and(|guild| !guild.members.contains_key(&bot)) {
            return;
        }
        self.dispatch(guild, news);
    }

    /// Whether an event for this audience is shown to `person`.
    pub fn sees(&self, person: Id, audience: Audience) -> bool {
        match audience {
            Audience::Person(other) => other == person,
            Audience::Channel(channel) => self.may(person, channel, VIEW_CHANNEL),
            Audience::Guild(guild) => {
                self.guilds.get(&guild).is_some_and(|g| g.members.contains_key(&person))
            }
            Audience::Everyone => true,
        }
    }
}
