//! [`Act`]: what people do, as data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::World;
use super::event::Audience;
use super::mention::Allowed;
use super::message::NewMessage;
use super::model::{Id, MessageKind, Upload};
use super::permission::{ADD_REACTIONS, ATTACH_FILES, MANAGE_MESSAGES, READ_MESSAGE_HISTORY, VIEW_CHANNEL};
use super::text::{text_id, text_id_option};

/// What one person does. In JSON ids are strings, and `act` tells which it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Sends a message; answers `{message}`.
    Say {
        #[serde(with = "text_id")]
        channel: Id,
        text: String,
        #[serde(default, with = "text_id_option")]
        reply_to: Option<Id>,
        /// Whether a reply pings its author, as it does unless somebody switches it off.
        #[serde(default = "yes")]
        ping: bool,
        #[serde(default)]
        files: Vec<File>,
    },
    Edit {
        #[serde(with = "text_id")]
        channel: Id,
        #[serde(with = "text_id")]
        message: Id,
        text: String,
    },
    Delete {
        #[serde(with = "text_id")]
        channel: Id,
        #[serde(with = "text_id")]
        message: Id,
    },
    Typing {
        #[serde(with = "text_id")]
        channel: Id,
    },
    React {
        #[serde(with = "text_id")]
        channel: Id,
        #[serde(with = "text_id")]
        message: Id,
        emoji: String,
        /// Takes the reaction away again.
        #[serde(default)]
        remove: bool,
    },
    /// The direct message with the bot; answers `{channel}`.
    OpenDm {},
    /// A slash command; answers `{interaction}`. `command` is a name or an id, `options` is nested as Discord
    /// nests them; an option that takes a file has the index in `files` as its value.
    Slash {
        #[serde(with = "text_id")]
        channel: Id,
        command: String,
        #[serde(default)]
        options: Value,
        #[serde(default)]
        files: Vec<File>,
    },
    /// A key pressed in an option that suggests; one option has `focused: true`.
    Autocomplete {
        #[serde(with = "text_id")]
        channel: Id,
        command: String,
        #[serde(default)]
        options: Value,
    },
    /// A button, or a choice in a select menu.
    Press {
        #[serde(with = "text_id")]
        channel: Id,
        #[serde(with = "text_id")]
        message: Id,
        custom_id: String,
        #[serde(default)]
        values: Vec<String>,
    },
    /// Sends a modal off.
    Submit {
        /// The interaction that was answered with the modal.
        #[serde(with = "text_id")]
        interaction: Id,
        #[serde(default)]
        inputs: BTreeMap<String, String>,
    },
    /// A command in the menu of a message.
    Menu {
        #[serde(with = "text_id")]
        channel: Id,
        #[serde(with = "text_id")]
        message: Id,
        command: String,
    },
}

fn yes() -> bool {
    true
}

/// A file that a person attaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct File {
    pub name: String,
    #[serde(default = "octets")]
    pub content_type: String,
    /// The bytes, in base64.
    #[serde(with = "super::text::base64")]
    pub data: Vec<u8>,
}

fn octets() -> String {
    "application/octet-stream".to_owned()
}

impl Act {
    /// Sends a text.
    pub fn say(channel: Id, text: impl Into<String>) -> Self {
        Self::Say { channel, text: text.into(), reply_to: None, ping: true, files: Vec::new() }
    }
}

/// Why a client would not let somebody do that, in its words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct ActError {
    pub message: String,
}

pub(super) type ActResult = Result<Value, ActError>;

pub(super) fn refuse<T>(message: impl Into<String>) -> Result<T, ActError> {
    Err(ActError { message: message.into() })
}

/// Longer texts are not sent by Discord's client without Nitro.
const TEXT_MAX: usize = 2_000;

impl World {
    pub(super) fn act(&mut self, person: Id, act: Act) -> ActResult {
        if self.users.get(&person).is_none_or(|user| user.bot) {
            return refuse("There is no such person.");
        }
        match act {
            Act::Say { channel, text, reply_to, ping, files } => {
                let allowed = Allowed::EVERYTHING.with_reply(ping);
                self.say(person, channel, &text, reply_to, &allowed, files)
            }
            Act::Edit { channel, message, text } => self.edit(person, channel, message, &text),
            Act::Delete { channel, message } => self.delete(person, channel, message),
            Act::Typing { channel } => {
                self.may_person(person, channel, self.send_permission(channel))?;
                self.tell_typing(channel, person);
                Ok(json!({}))
            }
            Act::React { channel, message, emoji, remove } => {
                self.may_person(person, channel, READ_MESSAGE_HISTORY | ADD_REACTIONS)?;
                self.visible(person, channel, message)?;
                self.set_reaction(channel, message, person, &emoji, !remove);
                Ok(json!({}))
            }
            Act::OpenDm {} => Ok(json!({"channel": self.direct(person).to_string()})),
            Act::Slash { channel, command, options, files } => {
                self.slash(person, channel, &command, &options, files)
            }
            Act::Autocomplete { channel, command, options } => {
                self.autocomplete(person, channel, &command, &options)
            }
            Act::Press { channel, message, custom_id, values } => {
                self.press(person, channel, message, &custom_id, &values)
            }
            Act::Submit { interaction, inputs } => self.submit(person, interaction, &inputs),
            Act::Menu { channel, message, command } => self.menu(person, channel, message, &command),
        }
    }

    fn say(
        &mut self,
        person: Id,
        channel: Id,
        text: &str,
        reply_to: Option<Id>,
        allowed: &Allowed,
        files: Vec<File>,
    ) -> ActResult {
        self.may_person(person, channel, self.send_permission(channel))?;
        if !files.is_empty() {
            self.may_person(person, channel, ATTACH_FILES)?;
        }
        let text = text.trim();
        if text.is_empty() && files.is_empty() {
            return refuse("An empty message cannot be sent.");
        }
        check_length(text)?;
        let replied = match reply_to {
            Some(message) => Some(self.visible(person, channel, message)?.author),
            None => None,
        };
        let pings = self.pings(person, channel, text, allowed, replied);
        let kind = if reply_to.is_some() { MessageKind::Reply } else { MessageKind::Default };
        let new = NewMessage::new(channel, person, text.to_owned());
        let id = self.post(NewMessage { pings, kind, reply_to, uploads: uploads(files), ..new });
        Ok(json!({"message": id.to_string()}))
    }

    fn edit(&mut self, person: Id, channel: Id, message: Id, text: &str) -> ActResult {
        let text = text.trim();
        check_length(text)?;
        if self.visible(person, channel, message)?.author != person {
            return refuse("Only its author can edit a message.");
        }
        let (now, pings) = (self.now, self.pings(person, channel, text, &Allowed::EVERYTHING, None));
        if let Some(found) = self.message_mut(channel, message) {
            found.content = text.to_owned();
            found.pings = pings;
            found.edited_at = Some(now);
        }
        self.tell_message("MESSAGE_UPDATE", channel, message);
        Ok(json!({}))
    }

    fn delete(&mut self, person: Id, channel: Id, message: Id) -> ActResult {
        let found = self.visible(person, channel, message)?;
        // An ephemeral message is dismissed by the person who sees it.
        let own = found.author == person || found.only_for == Some(person);
        if !own {
            self.may_person(person, channel, MANAGE_MESSAGES)?;
        }
        self.remove_message(channel, message);
        Ok(json!({}))
    }

    /// The message, if this person sees it.
    pub(super) fn visible(
        &self,
        person: Id,
        channel: Id,
        message: Id,
    ) -> Result<&super::model::Message, ActError> {
        self.may_person(person, channel, 0)?;
        match self.find_message(channel, message) {
            Some(found) if found.only_for.is_none_or(|only| only == person) && !found.is_loading() => {
                Ok(found)
            }
            _ => refuse("That message is not there any more."),
        }
    }

    pub(super) fn may_person(&self, person: Id, channel: Id, wanted: u64) -> Result<(), ActError> {
        match self.permissions(person, channel) {
            held if held & VIEW_CHANNEL == 0 => refuse("You cannot see that channel."),
            held if held & wanted != wanted => refuse("You do not have permission to do that here."),
            _ => Ok(()),
        }
    }

    pub(super) fn show_to(&mut self, person: Id, name: &'static str, data: Value) {
        self.tell(super::event::News::to_people(name, Audience::Person(person), data));
    }
}

fn check_length(text: &str) -> Result<(), ActError> {
    let length = text.chars().count();
    if length > TEXT_MAX {
        return refuse(format!("Your message is too long: {length} characters of {TEXT_MAX}."));
    }
    Ok(())
}

pub(super) fn uploads(files: Vec<File>) -> Vec<Upload> {
    let numbered = (0_u64..).zip(files);
    let upload = |(index, file): (u64, File)| Upload {
        index,
        name: file.name,
        content_type: file.content_type,
        description: None,
        bytes: file.data,
    };
    numbered.map(upload).collect()
}
