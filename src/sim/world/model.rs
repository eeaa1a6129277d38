//! What the world consists of, as plain values.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;

/// A snowflake.
pub type Id = u64;

/// A person, or the bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub id: Id,
    pub name: String,
    pub bot: bool,
    /// Takes no direct messages from the bot.
    #[serde(default)]
    pub closed_dms: bool,
}

/// What the developer portal says about the bot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Application {
    /// Also the id of the bot's user, as with every application made since 2016.
    pub id: Id,
    pub name: String,
    pub token: String,
    /// The person to whom it belongs, once there is one.
    pub owner: Option<Id>,
    /// The privileged intents that are switched on.
    pub intents: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Guild {
    pub id: Id,
    pub name: String,
    pub owner: Id,
    /// The role with the guild's own id is @everyone.
    pub roles: BTreeMap<Id, Role>,
    pub members: BTreeMap<Id, Member>,
    /// In the order in which they were made.
    pub channels: Vec<Id>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Role {
    pub id: Id,
    pub name: String,
    pub permissions: u64,
    pub mentionable: bool,
    /// The bot that this role belongs to.
    pub bot: Option<Id>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    pub user: Id,
    pub nick: Option<String>,
    pub roles: Vec<Id>,
    pub joined_at: Timestamp,
    pub timed_out_until: Option<Timestamp>,
}

/// Which kind of channel: the numbers are Discord's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelKind {
    Text = 0,
    Dm = 1,
    Thread = 11,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    pub id: Id,
    pub kind: ChannelKind,
    pub name: String,
    pub guild: Option<Id>,
    /// The person at the other end of a direct message.
    pub recipient: Option<Id>,
    /// The channel that a thread belongs to.
    pub parent: Option<Id>,
    pub overwrites: Vec<Overwrite>,
    pub messages: BTreeMap<Id, Message>,
}

/// What a channel allows or denies to a role or to one member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Overwrite {
    pub id: Id,
    pub member: bool,
    pub allow: u64,
    pub deny: u64,
}

/// Which kind of message: the numbers are Discord's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageKind {
    Default = 0,
    Reply = 19,
    Slash = 20,
    Menu = 23,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub id: Id,
    pub channel: Id,
    pub author: Id,
    pub kind: MessageKind,
    pub content: String,
    pub edited_at: Option<Timestamp>,
    pub flags: u64,
    pub nonce: Option<Value>,
    /// Whom it pinged.
    pub pings: Pings,
    pub embeds: Vec<Value>,
    pub components: Vec<Value>,
    pub attachments: Vec<Attachment>,
    pub reactions: Vec<Reaction>,
    /// The message it replies to, in the same channel.
    pub reply_to: Option<Id>,
    /// The interaction that it answers.
    pub answers: Option<Answers>,
    /// Seen by this person only.
    pub only_for: Option<Id>,
}

/// A message that waits for its content says so with this flag.
pub const FLAG_LOADING: u64 = 1 << 7;
/// Seen by one person only.
pub const FLAG_EPHEMERAL: u64 = 1 << 6;

impl Message {
    pub fn is_loading(&self) -> bool {
        self.flags & FLAG_LOADING != 0
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pings {
    pub users: Vec<Id>,
    pub roles: Vec<Id>,
    pub everyone: bool,
}

/// What a message says about the interaction it answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    pub interaction: Id,
    pub kind: u8,
    pub person: Id,
    /// The words of the command, for commands.
    pub name: Option<String>,
    /// The message whose control was pressed, or on which a menu was opened.
    pub message: Option<Id>,
    /// For a modal: what opened it.
    pub opened_by: Option<Box<Answers>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attachment {
    pub id: Id,
    pub name: String,
    pub content_type: String,
    pub description: Option<String>,
    pub size: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reaction {
    pub emoji: String,
    pub users: Vec<Id>,
}

/// A file on its way into the world.
#[derive(Clone, Debug, PartialEq)]
pub struct Upload {
    /// The `n` of `files[n]`.
    pub index: u64,
    pub name: String,
    pub content_type: String,
    pub description: Option<String>,
    pub bytes: Vec<u8>,
}

/// The contents of an attachment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub channel: Id,
    pub name: String,
    pub content_type: String,
    #[serde(with = "super::text::base64")]
    pub bytes: Vec<u8>,
}
