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
            self.keep_file(upload.index, stored);
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
        while self.interactions.deadlines.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, id)) = self.interactions.deadlines.pop_first() {
                self.look_at(id);
            }
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
        self.show_to(person, "INTERACTION", data);
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

#[cfg(test)]
mod tests {
    use super::super::Act;
    use super::super::testing::Play;
    use super::*;

    fn ready() -> Play {
        let mut play = Play::new();
        let option = |name: &str, kind: u64, required: bool| json!({"name": name, "description": "d", "type": kind, "required": required});
        let mut key = option("key", 3, true);
        key["autocomplete"] = json!(true);
        let mut count = option("count", 4, false);
        count["min_value"] = json!(1);
        count["max_value"] = json!(9);
        let mut mood = option("mood", 3, false);
        mood["choices"] = json!([{"name": "Good", "value": "good"}]);
        let set = json!({"name": "set", "description": "d", "type": 1, "options":
            [key, count, option("who", 6, false), option("file", 11, false), mood]});
        let rem = json!({"name": "rem", "description": "d", "options": [set]});
        play.register(
            json!([rem, {"name": "ping", "description": "d"}, {"name": "Remember this", "type": 3}]),
        );
        play
    }

    fn set(options: Value) -> Value {
        json!([{"name": "set", "type": 1, "options": options}])
    }

    fn states(play: &Play) -> Vec<String> {
        play.shown(play.ann, "INTERACTION").iter().map(|d| d["state"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_slash_command_reaches_the_bot_as_discord_sends_it() {
        let mut play = ready();
        let options = set(json!([
            {"name": "count", "type": 4, "value": 3},
            {"name": "key", "type": 3, "value": "tea"},
            {"name": "who", "type": 6, "value": play.bob.to_string()},
        ]));
        let done = play.slash("rem", options).unwrap();
        let sent = play.interaction();
        assert_eq!(sent["id"], done["interaction"]);
        assert_eq!((&sent["type"], &sent["guild_id"]), (&json!(2), &json!(play.zoo.to_string())));
        assert_eq!(sent["member"]["user"]["username"], "ann");
        assert_eq!(sent.get("user"), None);
        let inner = &sent["data"]["options"][0]["options"];
        assert_eq!(inner[0], json!({"name": "key", "type": 3, "value": "tea"}));
        assert_eq!(inner[1]["value"], 3);
        assert_eq!(sent["data"]["resolved"]["users"][play.bob.to_string()]["username"], "bob");
        assert!(sent["data"]["resolved"]["members"][play.bob.to_string()]["permissions"].is_string());
    }

    #[test]
    fn a_client_checks_the_options_first() {
        let mut play = ready();
        let key = json!({"name": "key", "value": "tea"});
        let mut refused = |command: &str, options: Value| play.slash(command, options).unwrap_err().message;
        assert!(refused("nothing", json!([])).contains("no command"));
        assert!(refused("rem", json!([])).contains("subcommand"));
        assert!(refused("rem", set(json!([]))).contains("required"));
        assert!(refused("rem", set(json!([{"name": "key", "value": ""}]))).contains("characters"));
        assert!(refused("rem", set(json!([key, {"name": "count", "value": 10}]))).contains("range"));
        assert!(refused("rem", set(json!([key, {"name": "count", "value": "x"}]))).contains("number"));
        assert!(refused("rem", set(json!([key, {"name": "mood", "value": "bad"}]))).contains("one of"));
        assert!(refused("rem", set(json!([key, {"name": "who", "value": "5"}]))).contains("value for who"));
        assert!(refused("rem", set(json!([key, {"name": "odd", "value": 1}]))).contains("no option"));
        assert!(play.told("INTERACTION_CREATE").is_empty());
    }

    #[test]
    fn a_file_is_an_option_by_its_index() {
        let mut play = ready();
        let options = set(json!([{"name": "key", "value": "tea"}, {"name": "file", "type": 11, "value": 0}]));
        let data = b"leaves".to_vec();
        let files = vec![File { name: "tea.txt".to_owned(), content_type: "text/plain".to_owned(), data }];
        play.act(play.ann, Act::Slash { channel: play.cats, command: "rem".to_owned(), options, files })
            .unwrap();
        let sent = play.interaction();
        let id = sent["data"]["options"][0]["options"][1]["value"].as_str().unwrap().to_owned();
        let url = sent["data"]["resolved"]["attachments"][id]["url"].as_str().unwrap().to_owned();
        assert_eq!(play.call("GET", url.strip_prefix("http://sim").unwrap(), Value::Null).1, "leaves");
    }

    #[test]
    fn nobody_answers_and_the_person_sees_a_failure() {
        let mut play = ready();
        play.slash("ping", json!([])).unwrap();
        play.wait(2.9);
        assert!(states(&play).is_empty());
        play.wait(0.1);
        assert_eq!(states(&play), ["failed"]);
        let (status, body) = play.callback(json!({"type": 4, "data": {"content": "late"}}));
        assert_eq!((status, &body["code"]), (404, &json!(10062)));
        let kinds: Vec<_> = play.world.take_records().iter().map(|record| record.kind).collect();
        use super::super::RecordKind::{LateAck, Refused};
        assert_eq!(kinds, [LateAck, Refused]);
    }

    #[test]
    fn typing_into_an_option_brings_choices() {
        let mut play = ready();
        let typed = set(json!([{"name": "key", "type": 3, "value": "te", "focused": true}]));
        let act = |options| Act::Autocomplete { channel: play.cats, command: "rem".to_owned(), options };
        let (act, silent) = (act(typed), act(set(json!([{"name": "count", "value": 1, "focused": true}]))));
        assert!(play.act(play.ann, silent).is_err());
        let done = play.act(play.ann, act).unwrap();
        assert_eq!(play.interaction()["type"], 4);
        assert_eq!(play.interaction()["data"]["options"][0]["options"][0]["focused"], true);
        assert_eq!(play.callback(json!({"type": 4, "data": {"content": "x"}})).1["code"], 50035);
        let choices = json!([{"name": "tea", "value": "tea"}]);
        assert_eq!(play.callback(json!({"type": 8, "data": {"choices": choices}})).0, 204);
        let shown = &play.shown(play.ann, "AUTOCOMPLETE")[0];
        assert_eq!((&shown["choices"], &shown["interaction"]), (&choices, &done["interaction"]));
    }

    #[test]
    fn a_menu_carries_its_message_whatever_the_intents() {
        let mut play = ready();
        let message = play.say(play.bob, "tea is hot");
        let command = "Remember this".to_owned();
        play.act(play.ann, Act::Menu { channel: play.cats, message, command }).unwrap();
        let data = &play.interaction()["data"];
        assert_eq!((&data["type"], &data["target_id"]), (&json!(3), &json!(message.to_string())));
        assert_eq!(data["resolved"]["messages"][message.to_string()]["content"], "tea is hot");
        play.callback(json!({"type": 4, "data": {"content": "ok"}}));
        assert_eq!(play.history(play.ann)[1]["type"], 23);
    }

    #[test]
    fn buttons_and_menus_are_pressed_as_shown() {
        let mut play = ready();
        let select = json!({"type": 3, "custom_id": "pick:1", "options": [{"label": "A", "value": "a"}]});
        let rows = json!([
            {"type": 1, "components": [
                {"type": 2, "style": 1, "label": "Undo", "custom_id": "undo:1"},
                {"type": 2, "style": 1, "label": "No", "custom_id": "no:1", "disabled": true},
            ]},
            {"type": 1, "components": [select]},
        ]);
        let message = play.post(json!({"content": "hi", "components": rows})).1["id"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let mut press = |custom_id: &str, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            play.act(
                play.bob,
                Act::Press { channel: play.cats, message, custom_id: custom_id.to_owned(), values },
            )
        };
        assert!(press("gone:1", &[]).is_err());
        assert!(press("no:1", &[]).is_err());
        assert!(press("pick:1", &[]).is_err());
        assert!(press("pick:1", &["z"]).is_err());
        press("pick:1", &["a"]).unwrap();
        press("undo:1", &[]).unwrap();
        let sent = play.interaction();
        assert_eq!((&sent["type"], &sent["data"]["component_type"]), (&json!(3), &json!(2)));
        assert_eq!(sent["message"]["content"], "hi");
        assert_eq!(play.callback(json!({"type": 7, "data": {"content": "undone", "components": []}})).0, 204);
        assert_eq!(play.history(play.ann)[0]["content"], "undone");
        assert_eq!(play.webhook("GET", "/messages/@original", Value::Null).1["id"], message.to_string());
    }

    #[test]
    fn a_modal_is_opened_filled_and_sent_once() {
        let mut play = ready();
        let done = play.slash("ping", json!([])).unwrap();
        let input = json!({"type": 4, "custom_id": "text", "label": "Text", "style": 2, "max_length": 5});
        let modal = json!({"custom_id": "edit:1", "title": "Edit", "components": [{"type": 1, "components": [input]}]});
        assert_eq!(play.callback(json!({"type": 9, "data": modal})).0, 204);
        assert_eq!(play.shown(play.ann, "MODAL")[0]["title"], "Edit");
        let interaction = super::super::text::id(&done["interaction"]).unwrap();
        let submit =
            |text: &str| Act::Submit { interaction, inputs: [("text".to_owned(), text.to_owned())].into() };
        assert!(play.act(play.ann, submit("")).is_err());
        assert!(play.act(play.ann, submit("too long")).is_err());
        assert!(play.act(play.bob, submit("hello")).is_err(), "it is not theirs");
        play.act(play.ann, submit("hello")).unwrap();
        assert!(play.act(play.ann, submit("again")).is_err());
        let sent = play.interaction();
        assert_eq!((&sent["type"], &sent["data"]["custom_id"]), (&json!(5), &json!("edit:1")));
        assert_eq!(sent["data"]["components"][0]["components"][0]["value"], "hello");
        assert_eq!(play.callback(json!({"type": 9, "data": modal})).1["code"], 50035, "no modal for a modal");
        assert_eq!(play.callback(json!({"type": 6})).1["code"], 50035, "no control opened it");
        assert_eq!(play.callback(json!({"type": 4, "data": {"content": "ok"}})).0, 204);
    }

    #[test]
    fn in_a_direct_message_there_is_a_user_and_no_member() {
        let mut play = ready();
        let channel =
            super::super::text::id(&play.act(play.ann, Act::OpenDm {}).unwrap()["channel"]).unwrap();
        let (command, options, files) = ("ping".to_owned(), json!([]), Vec::new());
        play.act(play.ann, Act::Slash { channel, command, options, files }).unwrap();
        let sent = play.interaction();
        assert_eq!((&sent["user"]["username"], &sent["context"]), (&json!("ann"), &json!(1)));
        assert_eq!(sent.get("guild_id"), None);
    }
}
