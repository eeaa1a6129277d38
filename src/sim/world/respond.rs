//! How the bot answers interactions: the callback, and the webhook of the token.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::World;
use super::draft::{Draft, FILE_BYTES_MAX};
use super::error::{self, Result};
use super::event::{Audience, News};
use super::form::Form;
use super::interaction::{Interaction, Kind, State, TOKEN_FOR};
use super::message::NewMessage;
use super::model::{FLAG_EPHEMERAL, FLAG_LOADING, Id, MessageKind, Pings};
use super::record::RecordKind;
use super::request::{Request, Response};
use super::route::Route;
use crate::clock::Timestamp;

/// Discord's sizes; <https://discord.com/developers/docs/components/reference#text-input>.
const CHOICES_MAX: usize = 25;
const CHOICE_MAX: usize = 100;
const TITLE_MAX: usize = 45;
const INPUTS_MAX: usize = 5;
const LABEL_MAX: usize = 45;
const PLACEHOLDER_MAX: usize = 100;
const CUSTOM_ID_MAX: usize = 100;
pub(super) const INPUT_MAX: usize = 4_000;

const MESSAGE: u64 = 4;
const DEFER: u64 = 5;
const DEFER_UPDATE: u64 = 6;
const UPDATE: u64 = 7;
const CHOICES: u64 = 8;
const MODAL: u64 = 9;

impl World {
    pub(super) fn callback(&mut self, id: Id, token: &str, request: &Request) -> Result<Response> {
        let found = self.interactions.by_id.get(&id).filter(|found| found.token == token);
        let Some(interaction) = found.cloned() else { return Err(error::UNKNOWN_INTERACTION) };
        match interaction.state {
            State::Waiting => {}
            State::Failed => {
                self.record(RecordKind::LateAck, &request.line, request.body.clone(), Value::Null);
                return Err(error::UNKNOWN_INTERACTION);
            }
            State::Thinking | State::Answered => return Err(error::ALREADY_ACKNOWLEDGED),
        }
        let kind = request.body["type"].as_u64().unwrap_or(0);
        check_kind(&interaction, kind)?;
        let data = &request.body["data"];
        match kind {
            MESSAGE => self.answer_with_message(&interaction, data, request)?,
            DEFER => self.defer(&interaction, data),
            DEFER_UPDATE => self.acknowledged(id, State::Answered, interaction.control_message()),
            UPDATE => self.answer_with_update(&interaction, data, request)?,
            CHOICES => self.answer_with_choices(&interaction, data)?,
            _ => self.answer_with_modal(&interaction, data)?,
        }
        Ok(Response::empty())
    }

    fn acknowledged(&mut self, id: Id, state: State, original: Option<Id>) {
        let Some(found) = self.interactions.by_id.get_mut(&id) else { return };
        found.state = state;
        found.original = original;
        let person = found.person;
        self.tell_state(id, person, if state == State::Thinking { "thinking" } else { "answered" });
    }

    fn answer_with_message(&mut self, of: &Interaction, data: &Value, request: &Request) -> Result<()> {
        let draft = self.answer_draft(data, request)?;
        let message = self.post_answer(of, draft, request)?;
        self.acknowledged(of.id, State::Answered, Some(message));
        Ok(())
    }

    fn answer_draft(&mut self, data: &Value, request: &Request) -> Result<Draft> {
        self.record_unknown(request.route_name(), data, &request.body);
        let draft = Draft::read(data, &request.files)?;
        if draft.uploads.iter().any(|upload| upload.bytes.len() > FILE_BYTES_MAX) {
            return Err(error::TOO_LARGE);
        }
        Ok(draft)
    }

    /// Makes a message of an answer. It needs no permission in the channel.
    fn post_answer(&mut self, of: &Interaction, draft: Draft, request: &Request) -> Result<Id> {
        if draft.is_empty() {
            return Err(error::EMPTY_MESSAGE);
        }
        let bot = self.application.id;
        let content = draft.content.clone().unwrap_or_default();
        let pings = self.pings(bot, of.channel, &content, &draft.allowed, None);
        let pings =
            if draft.is_ephemeral() { Pings { users: pings.users, ..Pings::default() } } else { pings };
        self.judge_pings(request.route_name(), of.channel, Some(of.person), &pings, &request.body);
        let only_for = draft.is_ephemeral().then_some(of.person);
        let new =
            NewMessage { pings, only_for, ..self.new_answer(of, NewMessage::of_bot(of.channel, bot, draft)) };
        Ok(self.post(new))
    }

    /// The first answer to a command is of its own kind; everything else replies to what was there.
    fn new_answer(&self, of: &Interaction, new: NewMessage) -> NewMessage {
        let first = of.state == State::Waiting;
        let kind = match (of.kind, of.answers.message) {
            (Kind::Command, None) if first => MessageKind::Slash,
            (Kind::Command, Some(_)) if first => MessageKind::Menu,
            _ => MessageKind::Reply,
        };
        let replied = if first { of.control_message() } else { of.original };
        let reply_to = replied.filter(|_| kind == MessageKind::Reply);
        let kind = if kind == MessageKind::Reply && reply_to.is_none() { MessageKind::Default } else { kind };
        NewMessage { kind, reply_to, answers: Some(of.answers.clone()), ..new }
    }

    /// An empty message that says it is loading. People's clients show "thinking" instead.
    fn defer(&mut self, of: &Interaction, data: &Value) {
        let ephemeral = data["flags"].as_u64().unwrap_or(0) & FLAG_EPHEMERAL;
        let new = NewMessage::new(of.channel, self.application.id, String::new());
        let only_for = (ephemeral != 0).then_some(of.person);
        let new = NewMessage { flags: FLAG_LOADING | ephemeral, only_for, ..self.new_answer(of, new) };
        let message = self.post(new);
        self.acknowledged(of.id, State::Thinking, Some(message));
    }

    fn answer_with_update(&mut self, of: &Interaction, data: &Value, request: &Request) -> Result<()> {
        let draft = self.answer_draft(data, request)?;
        let message = of.control_message().ok_or(error::UNKNOWN_MESSAGE)?;
        self.apply_edit(of.channel, message, draft)?;
        self.acknowledged(of.id, State::Answered, Some(message));
        Ok(())
    }

    fn answer_with_choices(&mut self, of: &Interaction, data: &Value) -> Result<()> {
        let choices = data["choices"].as_array().map_or(&[][..], Vec::as_slice);
        let mut form = Form::default();
        if choices.len() > CHOICES_MAX {
            form.between("data.choices", choices.len(), 0, CHOICES_MAX);
        }
        for (index, choice) in choices.iter().enumerate() {
            form.text(&format!("data.choices.{index}.name"), &choice["name"], 1, CHOICE_MAX);
            let value = choice["value"].as_str().unwrap_or_default();
            form.at_most(&format!("data.choices.{index}.value"), value, CHOICE_MAX);
        }
        form.finish()?;
        let shown = choices.iter().map(|choice| json!({"name": choice["name"], "value": choice["value"]}));
        let shown = json!({"interaction": of.id.to_string(), "choices": shown.collect::<Vec<_>>()});
        if let Some(found) = self.interactions.by_id.get_mut(&of.id) {
            found.state = State::Answered;
        }
        self.show_to(of.person, "AUTOCOMPLETE", shown);
        Ok(())
    }

    fn answer_with_modal(&mut self, of: &Interaction, modal: &Value) -> Result<()> {
        check_modal(modal)?;
        if let Some(found) = self.interactions.by_id.get_mut(&of.id) {
            found.modal = Some(modal.clone());
        }
        self.acknowledged(of.id, State::Answered, of.control_message());
        let shown = json!({
            "interaction": of.id.to_string(),
            "custom_id": modal["custom_id"],
            "title": modal["title"],
            "components": modal["components"],
        });
        self.show_to(of.person, "MODAL", shown);
        Ok(())
    }

    /// What is done with the token after the callback.
    pub(super) fn answer_webhook(&mut self, route: &Route, request: &Request) -> Result<Response> {
        if route.id(0)? != self.application.id {
            return Err(error::UNKNOWN_WEBHOOK);
        }
        let of = self.by_token(route.parameter(1))?;
        if route.name == "POST /webhooks/{a}/{token}" {
            return self.follow_up(&of, request);
        }
        let original = route.name.ends_with("@original");
        let message = if original { of.original.ok_or(error::UNKNOWN_WEBHOOK)? } else { route.id(2)? };
        self.answer_of(&of, message)?;
        match route.name.split(' ').next() {
            Some("GET") => Ok(self.message_response(of.channel, message)),
            Some("PATCH") => {
                let draft = self.answer_draft(&request.body, request)?;
                self.change_answer(&of, message, draft, request)
            }
            _ => {
                self.remove_message(of.channel, message);
                if of.state == State::Thinking {
                    self.acknowledged(of.id, State::Answered, None);
                }
                Ok(Response::empty())
            }
        }
    }

    /// The interaction of a token, if it was acknowledged and is not too old.
    fn by_token(&self, token: &str) -> Result<Interaction> {
        let id = token.split('-').nth(1).and_then(|id| id.parse().ok()).ok_or(error::UNKNOWN_WEBHOOK)?;
        if Timestamp::of_snowflake(id).plus(TOKEN_FOR) <= self.now {
            return Err(error::INVALID_TOKEN);
        }
        let found = self.interactions.by_id.get(&id).filter(|found| found.token == token);
        let found = found.filter(|found| matches!(found.state, State::Thinking | State::Answered));
        found.cloned().ok_or(error::UNKNOWN_WEBHOOK)
    }

    /// Whether a message belongs to an interaction: an answer to it, or what was pressed.
    fn answer_of(&self, of: &Interaction, message: Id) -> Result<()> {
        let found = self.find_message(of.channel, message).ok_or(error::UNKNOWN_MESSAGE)?;
        let answers = found.answers.as_ref().is_some_and(|answers| answers.interaction == of.id);
        if answers || of.original == Some(message) { Ok(()) } else { Err(error::UNKNOWN_MESSAGE) }
    }

    /// Right after a defer the first follow-up becomes the answer, as public or private as the defer was.
    fn follow_up(&mut self, of: &Interaction, request: &Request) -> Result<Response> {
        let draft = self.answer_draft(&request.body, request)?;
        if let (State::Thinking, Some(original)) = (of.state, of.original) {
            return self.change_answer(of, original, draft, request);
        }
        let message = self.post_answer(of, draft, request)?;
        Ok(self.message_response(of.channel, message))
    }

    fn change_answer(
        &mut self,
        of: &Interaction,
        message: Id,
        draft: Draft,
        request: &Request,
    ) -> Result<Response> {
        let first = of.state == State::Thinking && of.original == Some(message);
        if !first {
            self.apply_edit(of.channel, message, draft)?;
            return Ok(self.message_response(of.channel, message));
        }
        self.change_message(of.channel, message, draft)?;
        let mut pings = Pings::default();
        if let Some(found) = self.message_mut(of.channel, message) {
            found.flags &= !FLAG_LOADING;
            found.edited_at = None;
            pings = found.pings.clone();
        }
        self.judge_pings(request.route_name(), of.channel, Some(of.person), &pings, &request.body);
        self.tell_filled(of, message);
        self.acknowledged(of.id, State::Answered, Some(message));
        Ok(self.message_response(of.channel, message))
    }

    /// People see the answer appear; for the bot it was there already and has changed.
    fn tell_filled(&mut self, of: &Interaction, message: Id) {
        let Some(found) = self.find_message(of.channel, message) else { return };
        let (data, private) = (self.message_event(found), found.only_for.is_some());
        let audience = found.only_for.map_or(Audience::Channel(of.channel), Audience::Person);
        if !private {
            let news = News::new("MESSAGE_UPDATE", self.message_intent(of.channel), data.clone());
            self.tell(News { channel: Some(of.channel), ..news });
        }
        self.tell(News::to_people("MESSAGE_CREATE", audience, data));
    }
}

/// Which responses go with which interactions.
fn check_kind(of: &Interaction, kind: u64) -> Result<()> {
    let fits = match kind {
        MESSAGE | DEFER => of.kind != Kind::Autocomplete,
        DEFER_UPDATE | UPDATE => of.control_message().is_some(),
        CHOICES => of.kind == Kind::Autocomplete,
        MODAL => matches!(of.kind, Kind::Command | Kind::Control),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let mut form = Form::default();
    form.wrong("type", "BASE_TYPE_CHOICES", "This type of response does not go with the interaction.");
    form.finish()
}

/// Rows with one text input each.
fn check_modal(modal: &Value) -> Result<()> {
    let mut form = Form::default();
    form.text("data.custom_id", &modal["custom_id"], 1, CUSTOM_ID_MAX);
    form.text("data.title", &modal["title"], 1, TITLE_MAX);
    let rows = modal["components"].as_array().map_or(&[][..], Vec::as_slice);
    form.between("data.components", rows.len(), 1, INPUTS_MAX);
    let mut seen = BTreeSet::new();
    for (index, row) in rows.iter().enumerate() {
        let path = format!("data.components.{index}");
        let inner = row["components"].as_array().map_or(&[][..], Vec::as_slice);
        match inner {
            [input] if row["type"] == json!(1) && input["type"] == json!(4) => {
                check_input(input, &format!("{path}.components.0"), &mut seen, &mut form);
            }
            _ => form.wrong(&path, "BASE_TYPE_CHOICES", "Only rows of one text input are modelled."),
        }
    }
    form.finish()
}

fn check_input<'a>(input: &'a Value, path: &str, seen: &mut BTreeSet<&'a str>, form: &mut Form) {
    let id = form.text(&format!("{path}.custom_id"), &input["custom_id"], 1, CUSTOM_ID_MAX);
    if !seen.insert(id) {
        let message = "Component custom id cannot be duplicated";
        form.wrong(&format!("{path}.custom_id"), "COMPONENT_CUSTOM_ID_DUPLICATED", message);
    }
    form.text(&format!("{path}.label"), &input["label"], 1, LABEL_MAX);
    if !matches!(input["style"].as_u64(), Some(1 | 2)) {
        form.wrong(&format!("{path}.style"), "BASE_TYPE_CHOICES", "Value must be one of (1, 2).");
    }
    let value = input["value"].as_str().unwrap_or_default();
    let max = input["max_length"].as_u64().map_or(INPUT_MAX, |max| max as usize);
    form.at_most(&format!("{path}.value"), value, max.min(INPUT_MAX));
    form.at_most(
        &format!("{path}.placeholder"),
        input["placeholder"].as_str().unwrap_or_default(),
        PLACEHOLDER_MAX,
    );
    if !(1..=INPUT_MAX).contains(&max) {
        form.wrong(
            &format!("{path}.max_length"),
            "NUMBER_TYPE_MAX",
            "int value should be between 1 and 4000.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Play;
    use super::*;

    /// Ann has called `/ping`.
    fn called() -> Play {
        let mut play = Play::new();
        play.register(json!([{"name": "ping", "description": "d"}]));
        play.slash("ping", json!([])).unwrap();
        play
    }

    fn states(play: &Play) -> Vec<String> {
        play.shown(play.ann, "INTERACTION").iter().map(|d| d["state"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn an_answer_is_a_message_of_its_own_kind_and_comes_once() {
        let mut play = called();
        assert_eq!(play.callback(json!({"type": 4, "data": {"content": "pong"}})).0, 204);
        let message = &play.history(play.bob)[0];
        assert_eq!((&message["type"], &message["content"]), (&json!(20), &json!("pong")));
        assert_eq!(message["interaction_metadata"]["user"]["username"], "ann");
        assert_eq!(message["interaction_metadata"]["name"], "ping");
        assert_eq!(states(&play), ["answered"]);
        let (status, body) = play.callback(json!({"type": 4, "data": {"content": "pong"}}));
        assert_eq!((status, &body["code"]), (400, &json!(40060)));
        assert_eq!(play.webhook("GET", "/messages/@original", Value::Null).1["content"], "pong");
        let (_, edited) = play.webhook("PATCH", "/messages/@original", json!({"content": "peng"}));
        assert!(edited["edited_timestamp"].is_string());
        assert_eq!(play.webhook("DELETE", "/messages/@original", Value::Null).0, 204);
        assert!(play.history(play.ann).is_empty());
    }

    #[test]
    fn an_ephemeral_answer_is_for_one_person() {
        let mut play = called();
        play.callback(json!({"type": 4, "data": {"content": "psst", "flags": 64}}));
        assert_eq!(play.history(play.ann)[0]["flags"], 64);
        assert!(play.history(play.bob).is_empty());
        assert!(play.shown(play.bob, "MESSAGE_CREATE").is_empty());
        assert!(play.told("MESSAGE_CREATE").is_empty(), "the gateway does not bring it back");
        let id = play.history(play.ann)[0]["id"].as_str().unwrap().to_owned();
        let path = format!("/channels/{}/messages/{id}", play.cats);
        assert_eq!(play.call("PATCH", &path, json!({"content": "x"})).1["code"], 10008, "only by its token");
        assert_eq!(play.webhook("PATCH", "/messages/@original", json!({"content": "pssst"})).0, 200);
        assert_eq!(play.history(play.ann)[0]["content"], "pssst");
    }

    #[test]
    fn a_deferred_answer_appears_when_it_is_there() {
        let mut play = called();
        assert_eq!(play.webhook("GET", "/messages/@original", Value::Null).1["code"], 10015, "nothing yet");
        play.callback(json!({"type": 5, "data": {"flags": 64}}));
        assert_eq!(states(&play), ["thinking"]);
        assert!(play.history(play.ann).is_empty());
        play.wait(60.0);
        let (_, message) = play.webhook("PATCH", "/messages/@original", json!({"content": "done"}));
        assert_eq!((&message["flags"], &message["edited_timestamp"]), (&json!(64), &Value::Null));
        assert_eq!(states(&play), ["thinking", "answered"]);
        assert_eq!(play.shown(play.ann, "MESSAGE_CREATE").len(), 1);
        assert!(play.shown(play.bob, "MESSAGE_CREATE").is_empty());
    }

    #[test]
    fn the_first_follow_up_after_a_defer_is_the_answer() {
        let mut play = called();
        play.callback(json!({"type": 5}));
        let (_, first) = play.webhook("POST", "", json!({"content": "one", "flags": 64}));
        assert_eq!(first["flags"], 0, "as public as the defer");
        let (_, second) = play.webhook("POST", "", json!({"content": "two", "flags": 64}));
        assert_eq!((&second["flags"], &second["type"]), (&json!(64), &json!(19)));
        assert_eq!(play.history(play.ann).len(), 2);
        assert_eq!(play.history(play.bob).len(), 1);
        let id = second["id"].as_str().unwrap();
        let (_, edited) = play.webhook("PATCH", &format!("/messages/{id}"), json!({"content": "zwei"}));
        assert_eq!(edited["content"], "zwei");
        let others = play.say(play.bob, "mine");
        assert_eq!(play.webhook("DELETE", &format!("/messages/{others}"), Value::Null).1["code"], 10008);
    }

    #[test]
    fn a_token_is_good_for_fifteen_minutes() {
        let mut play = called();
        play.callback(json!({"type": 5}));
        play.wait(14.9 * 60.0);
        assert_eq!(play.webhook("GET", "/messages/@original", Value::Null).0, 200);
        play.wait(6.0);
        let (status, body) = play.webhook("PATCH", "/messages/@original", json!({"content": "late"}));
        assert_eq!((status, &body["code"]), (401, &json!(50027)));
        assert_eq!(states(&play), ["thinking", "failed"]);
    }

    #[test]
    fn an_answer_needs_no_permission_in_the_channel() {
        let mut play = called();
        play.world.revoke(u64::MAX);
        assert_eq!(play.callback(json!({"type": 4, "data": {"content": "pong"}})).0, 204);
    }

    #[test]
    fn a_refused_answer_may_be_tried_again() {
        let mut play = called();
        let long = json!({"type": 4, "data": {"content": "x".repeat(2_001)}});
        assert_eq!(play.callback(long).1["code"], 50035);
        assert_eq!(play.callback(json!({"type": 7, "data": {"content": "x"}})).1["code"], 50035);
        assert_eq!(play.callback(json!({"type": 4, "data": {"content": "pong"}})).0, 204);
    }
}
