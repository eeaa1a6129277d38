//! Interactions: slash commands, autocomplete, buttons, select menus, modals and message menus.
//!
//! One is acknowledged once, within three seconds, or has failed; its token is good for 15 minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::act::{ActError, ActResult, File, refuse, uploads};
use super::command::{MESSAGE_MENU, SLASH};
use super::draft::{FILE_BYTES_MAX, controls};
use super::event::News;
use super::model::{Answers, Id, Stored, Upload};
use super::option::{Checking, with_permissions};
use super::{World, render};
use crate::clock::Timestamp;

/// A person sees a failure when there is no answer by then.
pub const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(3);

/// How long an interaction can be answered and its answer changed.
pub const TOKEN_FOR: Duration = Duration::from_secs(15 * 60);

/// The oldest are forgotten early rather than filling the memory in a load run.
const INTERACTIONS_MAX: usize = 50_000;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Interactions {
    pub by_id: BTreeMap<Id, Interaction>,
    /// When to look at which one again, in milliseconds.
    deadlines: BTreeSet<(i64, Id)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Interaction {
    pub id: Id,
    pub token: String,
    pub kind: Kind,
    pub person: Id,
    pub channel: Id,
    pub answers: Answers,
    pub state: State,
    /// The message that is its answer.
    pub original: Option<Id>,
    /// The modal it was answered with, until that is sent off.
    pub modal: Option<Value>,
}

/// The numbers are Discord's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Command = 2,
    Control = 3,
    Autocomplete = 4,
    Modal = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Nobody has acknowledged it.
    Waiting,
    /// Acknowledged, the answer is to come.
    Thinking,
    Answered,
    /// Nobody acknowledged it in time.
    Failed,
}

impl Interaction {
    /// The message with the control that began it, directly or through a modal.
    pub fn control_message(&self) -> Option<Id> {
        match self.kind {
            Kind::Control => self.answers.message,
            Kind::Modal => self.answers.opened_by.as_ref().filter(|by| by.kind == 3)?.message,
            _ => None,
        }
    }
}

/// An interaction that is about to begin.
struct New {
    kind: Kind,
    person: Id,
    channel: Id,
    data: Value,
    name: Option<String>,
    message: Option<Id>,
    opened_by: Option<Box<Answers>>,
}

/// What people do.
impl World {
    pub(super) fn slash(
        &mut self,
        person: Id,
        channel: Id,
        wanted: &str,
        options: &Value,
        files: Vec<File>,
    ) -> ActResult {
        let mut files = uploads(files);
        self.store_for_options(channel, &mut files);
        let (data, name) =
            self.command_data(person, channel, wanted, &numbered(options, &files), &files, false)?;
        self.begin(New {
            kind: Kind::Command,
            person,
            channel,
            data,
            name: Some(name),
            message: None,
            opened_by: None,
        })
    }

    pub(super) fn autocomplete(
        &mut self,
        person: Id,
        channel: Id,
        wanted: &str,
        options: &Value,
    ) -> ActResult {
        let (data, name) = self.command_data(person, channel, wanted, options, &[], true)?;
        let kind = Kind::Autocomplete;
        self.begin(New { kind, person, channel, data, name: Some(name), message: None, opened_by: None })
    }

    /// Files get their id before the options that name them are checked.
    fn store_for_options(&mut self, channel: Id, files: &mut [Upload]) {
        for upload in files {
            upload.index = self.new_id();
            let (name, content_type) = (upload.name.clone(), upload.content_type.clone());
            let stored = Stored { channel, name, content_type, bytes: upload.bytes.clone() };
            self.stored_bytes += stored.bytes.len();
            self.files.insert(upload.index, stored);
        }
    }

    fn command_data(
        &self,
        person: Id,
        channel: Id,
        wanted: &str,
        options: &Value,
        files: &[Upload],
        autocomplete: bool,
    ) -> Result<(Value, String), ActError> {
        self.may_person(person, channel, 0)?;
        let Some(command) = self.offered(person, channel, SLASH, wanted) else {
            return refuse(format!("There is no command /{wanted} here."));
        };
        let words = command.name.clone();
        let resolved = Map::new();
        let mut checking =
            Checking { world: self, channel, files, autocomplete, resolved, words, suggests: false };
        let options = checking.options(&command.body["options"], options)?;
        if autocomplete && !checking.suggests {
            return refuse("That option suggests nothing.");
        }
        let mut data = json!({
            "id": command.id.to_string(), "name": command.name, "type": command.kind, "options": options,
        });
        if let Some(guild) = command.guild {
            data["guild_id"] = json!(guild.to_string());
        }
        if !checking.resolved.is_empty() {
            data["resolved"] = Value::Object(checking.resolved);
        }
        Ok((data, checking.words))
    }

    pub(super) fn menu(&mut self, person: Id, channel: Id, message: Id, wanted: &str) -> ActResult {
        let target = self.message(self.visible(person, channel, message)?);
        let Some(command) = self.offered(person, channel, MESSAGE_MENU, wanted) else {
            return refuse(format!("There is no command {wanted} for messages here."));
        };
        let id = message.to_string();
        let data = json!({
            "id": command.id.to_string(), "name": command.name, "type": command.kind,
            "target_id": id, "resolved": {"messages": {id.clone(): target}},
        });
        let name = Some(command.name.clone());
        self.begin(New {
            kind: Kind::Command,
            person,
            channel,
            data,
            name,
            message: Some(message),
            opened_by: None,
        })
    }

    pub(super) fn press(
        &mut self,
        person: Id,
        channel: Id,
        message: Id,
        custom_id: &str,
        values: &[String],
    ) -> ActResult {
        let found = self.visible(person, channel, message)?;
        if found.author != self.application.id {
            return refuse("Nobody would answer that.");
        }
        let control = controls(&found.components).find(|control| control["custom_id"] == json!(custom_id));
        let Some(control) = control else { return refuse("There is no such button or menu.") };
        if control["disabled"] == json!(true) {
            return refuse("It is disabled.");
        }
        let mut data = json!({"custom_id": custom_id, "component_type": control["type"], "id": 1});
        if control["type"] != json!(2) {
            check_values(control, values)?;
            data["values"] = json!(values);
            data["resolved"] = self.resolved_values(channel, values);
        }
        let kind = Kind::Control;
        self.begin(New { kind, person, channel, data, name: None, message: Some(message), opened_by: None })
    }

    /// The people among the values of a select menu.
    fn resolved_values(&self, channel: Id, values: &[String]) -> Value {
        let mut resolved = json!({"users": {}, "members": {}});
        let people =
            values.iter().filter_map(|value| value.parse().ok()).filter(|id| self.users.contains_key(id));
        for id in people {
            resolved["users"][id.to_string()] = self.user(id);
            if let Some(member) = self.guild_of(channel).and_then(|guild| self.member(guild, id)) {
                let permissions = self.permissions(id, channel);
                resolved["members"][id.to_string()] = with_permissions(member, permissions);
            }
        }
        resolved
    }

    pub(super) fn submit(&mut self, person: Id, opener: Id, inputs: &BTreeMap<String, String>) -> ActResult {
        let found = self.interactions.by_id.get(&opener).filter(|opener| opener.person == person);
        let Some((modal, opener)) = found.and_then(|found| Some((found.modal.clone()?, found.clone())))
        else {
            return refuse("That form is closed.");
        };
        let components = filled(&modal, inputs)?;
        let data = json!({"custom_id": modal["custom_id"], "components": components});
        if let Some(found) = self.interactions.by_id.get_mut(&opener.id) {
            found.modal = None;
        }
        self.begin(New {
            kind: Kind::Modal,
            person,
            channel: opener.channel,
            data,
            name: None,
            message: None,
            opened_by: Some(Box::new(opener.answers)),
        })
    }

    /// Tells the bot, and waits.
    fn begin(&mut self, new: New) -> ActResult {
        let id = self.new_id();
        let token = format!("interaction-{id}-{}", self.chance.hex());
        let answers = Answers {
            interaction: id,
            kind: new.kind as u8,
            person: new.person,
            name: new.name,
            message: new.message,
            opened_by: new.opened_by,
        };
        let interaction = Interaction {
            id,
            token,
            kind: new.kind,
            person: new.person,
            channel: new.channel,
            answers,
            state: State::Waiting,
            original: None,
            modal: None,
        };
        let payload = self.interaction_payload(&interaction, new.data);
        self.interactions.deadlines.insert((self.now.plus(ACKNOWLEDGE_WITHIN).millis(), id));
        self.interactions.by_id.insert(id, interaction);
        if self.interactions.by_id.len() > INTERACTIONS_MAX {
            self.interactions.by_id.pop_first();
        }
        self.tell(News { channel: Some(new.channel), ..News::new("INTERACTION_CREATE", 0, payload) });
        Ok(json!({"interaction": id.to_string()}))
    }

    fn interaction_payload(&self, interaction: &Interaction, data: Value) -> Value {
        let (channel, person) = (interaction.channel, interaction.person);
        let guild = self.guild_of(channel);
        let permissions = self.permissions(person, channel);
        let mut here = self.channels.get(&channel).map(|found| self.channel(found)).unwrap_or_default();
        here["permissions"] = json!(permissions.to_string());
        let mut payload = json!({
            "id": interaction.id.to_string(),
            "application_id": self.application.id.to_string(),
            "type": interaction.kind as u8,
            "token": interaction.token,
            "version": 1,
            "data": data,
            "channel_id": channel.to_string(),
            "channel": here,
            "locale": render::LOCALE,
            "entitlements": [],
            "attachment_size_limit": FILE_BYTES_MAX,
            "app_permissions": self.permissions(self.application.id, channel).to_string(),
            "authorizing_integration_owners": render::integration_owners(guild),
            "context": u8::from(guild.is_none()),
        });
        match guild.and_then(|guild| Some((guild, self.member_with_user(guild, person)?))) {
            Some((guild, member)) => {
                payload["guild_id"] = json!(guild.to_string());
                payload["guild_locale"] = json!(render::LOCALE);
                payload["guild"] = json!({"id": guild.to_string(), "locale": render::LOCALE, "features": []});
                payload["member"] = with_permissions(member, permissions);
            }
            None => payload["user"] = self.user(person),
        }
        let message = interaction.control_message().and_then(|id| self.find_message(channel, id));
        if let Some(message) = message {
            payload["message"] = self.message(message);
        }
        payload
    }

    /// What time has brought: interactions that nobody acknowledged, and tokens that are no longer good.
    pub(super) fn expire(&mut self) {
        let now = self.now.millis();
        while let Some((at, id)) = self.interactions.deadlines.pop_first() {
            if at > now {
                self.interactions.deadlines.insert((at, id));
                break;
            }
            self.look_at(id);
        }
    }

    fn look_at(&mut self, id: Id) {
        let over = Timestamp::of_snowflake(id).plus(TOKEN_FOR);
        let Some(found) = self.interactions.by_id.get_mut(&id) else { return };
        let unanswered =
            matches!(found.state, State::Waiting) || found.state == State::Thinking && self.now >= over;
        if unanswered {
            found.state = State::Failed;
            let person = found.person;
            self.tell_state(id, person, "failed");
        }
        if self.now >= over {
            self.interactions.by_id.remove(&id);
        } else {
            self.interactions.deadlines.insert((over.millis(), id));
        }
    }

    /// Tells a person how their interaction stands.
    pub(super) fn tell_state(&mut self, interaction: Id, person: Id, state: &str) {
        let data = json!({"interaction": interaction.to_string(), "state": state});
        self.to_person(person, "INTERACTION", data);
    }

    /// Forgets an interaction: from then on nobody can answer it.
    pub fn remove_interaction(&mut self, interaction: Id) {
        self.interactions.by_id.remove(&interaction);
    }
}

/// In the options of a person a file is its index; now it is the id under which it was stored.
fn numbered(options: &Value, files: &[Upload]) -> Value {
    let mut options = options.clone();
    for option in options.as_array_mut().into_iter().flatten() {
        if option["type"] == json!(11)
            && let Some(index) = super::text::id(&option["value"])
            && let Some(upload) = usize::try_from(index).ok().and_then(|index| files.get(index))
        {
            option["value"] = json!(upload.index.to_string());
        }
        if option["options"].is_array() {
            option["options"] = numbered(&option["options"], files);
        }
    }
    options
}

fn check_values(select: &Value, values: &[String]) -> Result<(), ActError> {
    let min = select["min_values"].as_u64().unwrap_or(1);
    let max = select["max_values"].as_u64().unwrap_or(1);
    if !(min..=max).contains(&(values.len() as u64)) {
        return refuse(format!("Choose {min} to {max}."));
    }
    let Some(options) = select["options"].as_array() else { return Ok(()) };
    let known = |value: &String| options.iter().any(|option| option["value"] == json!(value));
    if values.iter().all(known) { Ok(()) } else { refuse("That is not one of the choices.") }
}

/// The rows of a modal with what a person wrote.
fn filled(modal: &Value, inputs: &BTreeMap<String, String>) -> Result<Value, ActError> {
    let mut rows = Vec::new();
    for (position, input) in controls(modal["components"].as_array().map_or(&[], Vec::as_slice)).enumerate() {
        let id = input["custom_id"].as_str().unwrap_or_default();
        let value = inputs.get(id).map(String::as_str).unwrap_or_default();
        let label = input["label"].as_str().unwrap_or_default();
        let length = value.chars().count() as u64;
        if length == 0 && input["required"] != json!(false) {
            return refuse(format!("This field is required: {label}."));
        }
        let min = input["min_length"].as_u64().unwrap_or(0);
        let max = input["max_length"].as_u64().unwrap_or(super::respond::INPUT_MAX as u64);
        if length > 0 && !(min..=max).contains(&length) {
            return refuse(format!("{label}: {min} to {max} characters."));
        }
        let input = json!({"type": 4, "id": position * 2 + 2, "custom_id": id, "value": value});
        rows.push(json!({"type": 1, "id": position * 2 + 1, "components": [input]}));
    }
    Ok(Value::Array(rows))
}
