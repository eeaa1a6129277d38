//! Gateway intents, and what a bot without Message Content is shown.

use serde_json::{Value, json};

use super::World;
use super::model::Message;

pub const GUILDS: u64 = 1 << 0;
pub const GUILD_MEMBERS: u64 = 1 << 1;
pub const GUILD_PRESENCES: u64 = 1 << 8;
pub const GUILD_MESSAGES: u64 = 1 << 9;
pub const GUILD_REACTIONS: u64 = 1 << 10;
pub const GUILD_TYPING: u64 = 1 << 11;
pub const DIRECT_MESSAGES: u64 = 1 << 12;
pub const DIRECT_REACTIONS: u64 = 1 << 13;
pub const DIRECT_TYPING: u64 = 1 << 14;
pub const MESSAGE_CONTENT: u64 = 1 << 15;

/// Those that the portal must allow.
pub const PRIVILEGED: u64 = GUILD_MEMBERS | GUILD_PRESENCES | MESSAGE_CONTENT;

/// Every bit that Discord has defined: 0 to 16, 20, 21, 24 and 25.
pub const DEFINED: u64 = 0x1_ffff | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25;

impl World {
    /// Whether the bot reads a message even without the intent: in direct messages, its own, and those that
    /// mention it, which replies to it with the ping on do.
    pub(super) fn always_readable(&self, message: &Message) -> bool {
        let bot = self.application.id;
        let direct = self.channels.get(&message.channel).is_some_and(|channel| channel.guild.is_none());
        direct || message.author == bot || message.pings.users.contains(&bot)
    }

    /// A message's payload without what only the intent shows; also of the message it replies to. `None` if
    /// nothing is missing.
    pub(super) fn redacted(&self, message: &Message, payload: &Value) -> Option<Value> {
        let replied = message.reply_to.and_then(|id| self.find_message(message.channel, id));
        let hidden = |message: &Message| !self.always_readable(message);
        if !hidden(message) && !replied.is_some_and(hidden) {
            return None;
        }
        let mut redacted = payload.clone();
        if hidden(message) {
            empty(&mut redacted);
        }
        if replied.is_some_and(hidden) {
            empty(&mut redacted["referenced_message"]);
        }
        Some(redacted)
    }
}

fn empty(payload: &mut Value) {
    payload["content"] = json!("");
    for list in ["embeds", "attachments", "components"] {
        payload[list] = json!([]);
    }
}
