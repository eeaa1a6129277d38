//! What a soldier does on Discord: comes, speaks, asks, presses, and hears the answer.
//!
//! A reply belongs to its request by message reference or interaction id; which message comes next in the
//! channel does not matter. A request and its reply are one measured thing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::army::action::Stop;
use crate::army::discord::Arrival;
use crate::army::ears::Mark;
use crate::army::soldier::{Persona, Soldier};
use crate::army::spec::check::Check;
use crate::army::wanted::Wanted;
use crate::sim::{Act, Id};

/// Discord's flags for an answer that is still being worked on, and for one that only one person sees.
const LOADING: u64 = 1 << 7;
const EPHEMERAL: u64 = 1 << 6;

/// A message of a soldier's.
#[derive(Clone, Copy, Debug)]
pub struct Said {
    pub channel: Id,
    pub message: Id,
}

/// How words reach the bot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// In the channel, as they are.
    Prefix,
    /// In the channel, with the bot mentioned before them.
    Mention,
    /// In the direct messages with the bot.
    Direct,
}

/// What an answer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    Message(Id),
    /// An interaction; one that began at a control may change that control's message.
    Interaction(Id, Option<Id>),
    /// Nothing in particular: any message in the channel.
    Anything,
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub to: To,
    pub channel: Id,
    pub at: Instant,
    pub since: Mark,
}

impl Request {
    /// The event that the bot's change would be due to.
    pub fn event(&self) -> Option<Id> {
        match self.to {
            To::Message(id) | To::Interaction(id, _) => Some(id),
            To::Anything => None,
        }
    }
}

/// An answer as the soldier sees it.
#[derive(Clone, Debug)]
pub struct Heard {
    pub message: Value,
    pub latency: Duration,
}

impl Heard {
    pub fn text(&self) -> &str {
        self.message["content"].as_str().unwrap_or_default()
    }

    /// What there is to read: text, then the cards.
    pub fn all_text(&self) -> String {
        let mut parts = vec![self.text()];
        for card in self.message["embeds"].as_array().into_iter().flatten() {
            parts.extend(card["title"].as_str());
            parts.extend(card["description"].as_str());
        }
        parts.retain(|part| !part.is_empty());
        parts.join("\n")
    }

    /// As trees see it.
    pub fn value(&self) -> Value {
        let message = &self.message;
        json!({
            "text": message["content"],
            "id": message["id"],
            "channel": message["channel_id"],
            "author": message["author"]["username"],
            "latency_ms": self.latency.as_secs_f64() * 1_000.0,
            "ephemeral": is_ephemeral(message),
            "embeds": message["embeds"],
            "components": message["components"],
        })
    }

    fn place(&self) -> Option<Said> {
        Some(Said { channel: id(&self.message["channel_id"])?, message: id(&self.message["id"])? })
    }

    /// The `custom_id` of the button or menu with this label, placeholder or id.
    fn control(&self, wanted: &str) -> Option<&str> {
        let rows = self.message["components"].as_array().into_iter().flatten();
        let mut controls = rows.flat_map(|row| row["components"].as_array().into_iter().flatten());
        let is_it = |control: &&Value| {
            ["label", "placeholder", "custom_id"].iter().any(|name| control[*name] == wanted)
        };
        controls.find(is_it)?["custom_id"].as_str()
    }
}

fn id(value: &Value) -> Option<Id> {
    value.as_str()?.parse().ok()
}

pub(super) fn is_ephemeral(message: &Value) -> bool {
    message["flags"].as_u64().unwrap_or(0) & EPHEMERAL != 0
}

/// Whether an event brings a finished message of the bot under test.
pub(super) fn is_said_by_bot(event: &Value) -> bool {
    let message = &event["d"];
    let made = event["t"] == "MESSAGE_CREATE" || event["t"] == "MESSAGE_UPDATE";
    made && message["author"]["bot"] == true && message["flags"].as_u64().unwrap_or(0) & LOADING == 0
}

/// What a finished message of the bot answers.
pub(super) fn answered(message: &Value) -> Option<Id> {
    let replied = &message["message_reference"]["message_id"];
    id(replied).or_else(|| id(&message["interaction_metadata"]["id"]))
}

fn answers(event: &Value, to: To) -> bool {
    if !is_said_by_bot(event) {
        return false;
    }
    match to {
        To::Message(_) => answered(&event["d"]) == to_id(to),
        To::Interaction(_, control) => {
            let changed =
                event["t"] == "MESSAGE_UPDATE" && control.is_some() && id(&event["d"]["id"]) == control;
            changed || answered(&event["d"]) == to_id(to)
        }
        To::Anything => event["t"] == "MESSAGE_CREATE",
    }
}

fn to_id(to: To) -> Option<Id> {
    match to {
        To::Message(id) | To::Interaction(id, _) => Some(id),
        To::Anything => None,
    }
}

/// Coming and going.
impl Soldier {
    /// Who the soldier is; somebody of its own if the tree has not said.
    pub fn persona(&mut self) -> Result<&Persona, Stop> {
        if self.persona.is_none() {
            let name = self.usual_name();
            self.log_in(&name)?;
        }
        Ok(self.persona.as_ref().expect("it has just come"))
    }

    /// Comes as this person into the server of the run: made if there is none, or with an account.
    pub fn log_in(&mut self, name: &str) -> Result<(), Stop> {
        self.leave_discord();
        let (server_name, room) = (self.stage().options.server.clone(), self.usual_channel());
        let came = self.stage().discord.come(name, &server_name, &room).map_err(Stop::Fail)?;
        let Arrival { person: id, server, channel } = came;
        self.stage().switchboard.be(id, &self.inbox);
        self.stage().plays_in(server, &server_name);
        self.persona = Some(Persona { name: name.to_owned(), id, server, channel, open: Vec::new() });
        self.open(channel);
        Ok(())
    }

    /// Nobody writes into the inbox any more.
    pub(super) fn leave_discord(&mut self) {
        if let Some(persona) = self.persona.take() {
            self.stage().switchboard.leave(Some(persona.id), &persona.open, &self.inbox);
        }
        (self.said, self.answer, self.form) = (None, None, None);
    }

    fn open(&mut self, channel: Id) {
        let Some(persona) = &mut self.persona else { return };
        if !persona.open.contains(&channel) {
            persona.open.push(channel);
            self.stage().switchboard.open(channel, &self.inbox);
        }
    }

    /// Joins a server and speaks in its channel from now on.
    pub fn join(&mut self, server_name: &str) -> Result<(), Stop> {
        let (person, room) = (self.persona()?.id, self.usual_channel());
        let came = self.stage().discord.join(person, server_name, &room).map_err(Stop::Fail)?;
        self.stage().plays_in(came.server, server_name);
        self.move_to(came.server, came.channel);
        Ok(())
    }

    /// Leaves the server; what is said next goes nowhere.
    pub fn leave(&mut self) -> Result<(), Stop> {
        let (server, person) = (self.persona()?.server, self.persona()?.id);
        self.stage().discord.leave(person, server).map_err(Stop::Fail)
    }

    fn move_to(&mut self, server: Id, channel: Id) {
        if let Some(persona) = &mut self.persona {
            (persona.server, persona.channel) = (server, channel);
        }
        self.open(channel);
    }

    /// Speaks in another channel of the server.
    pub fn go(&mut self, name: &str) -> Result<(), Stop> {
        let server = self.persona()?.server;
        let channel = self.channel_named(name)?;
        self.move_to(server, channel);
        Ok(())
    }

    /// A channel of the server, made if there is none and that can be done.
    pub fn channel_named(&mut self, name: &str) -> Result<Id, Stop> {
        let server = self.persona()?.server;
        let stage = self.stage();
        stage.discord.channel(server, &stage.server_name(server), name).map_err(Stop::Fail)
    }

    /// The direct messages with the bot.
    pub async fn direct(&mut self) -> Result<Id, Stop> {
        let opened = self.act(Act::OpenDm {}).await?;
        let channel = id(&opened["channel"]).expect("a direct message is in a channel");
        self.open(channel);
        Ok(channel)
    }

    /// A person of this name in the server.
    pub fn find_person(&mut self, name: &str) -> Result<Id, Stop> {
        let found = self.stage().discord.find_person(name);
        found.ok_or_else(|| Stop::Fail(format!("there is nobody called {name}")))
    }
}

/// Speaking and asking.
impl Soldier {
    /// Does something on Discord. What Discord's client would not let somebody do is a failure.
    pub async fn act(&mut self, act: Act) -> Result<Value, Stop> {
        let person = self.persona()?.id;
        self.stage().pace().await;
        self.heard = self.inbox.mark();
        let stage = self.stage().clone();
        stage.discord.act(person, act).await.map_err(Stop::Fail)
    }

    pub async fn say(
        &mut self,
        channel: Option<Id>,
        text: &str,
        reply_to: Option<Id>,
    ) -> Result<Request, Stop> {
        let here = self.persona()?.channel;
        let channel = channel.unwrap_or(here);
        self.open(channel);
        let said = Act::Say { channel, text: text.to_owned(), reply_to, ping: true, files: Vec::new() };
        let at = Instant::now();
        let made = self.act(said).await?;
        let message = id(&made["message"]).expect("a message has an id");
        self.said = Some(Said { channel, message });
        self.event = Some(message);
        Ok(Request { to: To::Message(message), channel, at, since: self.heard })
    }

    /// Says something to the bot.
    pub async fn tell(&mut self, door: Door, line: &str) -> Result<Request, Stop> {
        match door {
            Door::Prefix => self.say(None, line, None).await,
            Door::Mention => {
                let bot = self.stage().bot_id;
                self.say(None, &format!("<@{bot}> {line}"), None).await
            }
            Door::Direct => {
                let channel = self.direct().await?;
                self.say(Some(channel), line, None).await
            }
        }
    }

    /// Says something to the bot and waits for its reply.
    pub async fn ask(&mut self, door: Door, line: &str, wanted: &Wanted) -> Result<Heard, Stop> {
        let request = self.tell(door, line).await?;
        self.reply(&request, wanted).await
    }

    /// Uses a slash command: the words behind the first are subcommands.
    pub async fn slash(&mut self, path: &str, options: &[(&str, Value)]) -> Result<Request, Stop> {
        let channel = self.persona()?.channel;
        let (command, options) = nested(path, options, None);
        self.interact(Act::Slash { channel, command, options, files: Vec::new() }, None, channel).await
    }

    async fn interact(&mut self, act: Act, control: Option<Id>, channel: Id) -> Result<Request, Stop> {
        let at = Instant::now();
        let made = self.act(act).await?;
        let interaction = id(&made["interaction"]).expect("an interaction has an id");
        self.event = Some(interaction);
        Ok(Request { to: To::Interaction(interaction, control), channel, at, since: self.heard })
    }

    /// What is offered while somebody types into an option.
    pub async fn complete(&mut self, path: &str, option: &str, typed: &str) -> Result<Value, Stop> {
        let channel = self.persona()?.channel;
        let (command, options) = nested(path, &[(option, json!(typed))], Some(option));
        let request = self.interact(Act::Autocomplete { channel, command, options }, None, channel).await?;
        let interaction = request.event().map(|id| id.to_string());
        let fits = move |event: &Value| {
            event["t"] == "AUTOCOMPLETE" && event["d"]["interaction"].as_str() == interaction.as_deref()
        };
        match self.inbox.next(request.since, COMPLETED_WITHIN, fits).await {
            Some((event, mark)) => {
                self.heard = mark;
                Ok(event["d"]["choices"].clone())
            }
            None => Err(Stop::Fail("no choices were offered".to_owned())),
        }
    }

    /// Presses a button or chooses from a menu: of the last answer, or of another message of the channel.
    pub async fn press(
        &mut self,
        control: &str,
        on: Option<Id>,
        values: Vec<String>,
    ) -> Result<Request, Stop> {
        let shown = match on {
            Some(message) => self.shown(message).await?,
            None => self.answer.clone(),
        };
        let shown = shown.ok_or_else(|| Stop::Fail("there is no answer to press anything on".to_owned()))?;
        let Some(custom_id) = shown.control(control).map(str::to_owned) else {
            return Err(Stop::Fail(format!("there is no {control:?} on that message")));
        };
        let place = shown.place().ok_or_else(|| Stop::Fail("that message is gone".to_owned()))?;
        let act = Act::Press { channel: place.channel, message: place.message, custom_id, values };
        self.interact(act, Some(place.message), place.channel).await
    }

    /// A message of the channel as the soldier sees it now.
    async fn shown(&mut self, message: Id) -> Result<Option<Heard>, Stop> {
        let (person, channel) = (self.persona()?.id, self.persona()?.channel);
        let stage = self.stage().clone();
        let found = stage.discord.message(person, channel, message).await;
        Ok(found.map(|message| Heard { message, latency: Duration::ZERO }))
    }

    /// Sends the open form off.
    pub async fn submit(
        &mut self,
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Request, Stop> {
        let opener = self.form.take().ok_or_else(|| Stop::Fail("no form is open".to_owned()))?;
        let channel = self.persona()?.channel;
        self.interact(
            Act::Submit { interaction: opener, inputs: fields.into_iter().collect() },
            None,
            channel,
        )
        .await
    }

    /// Waits for the reply to a request that is as wanted, or for the form that it opens.
    pub async fn reply(&mut self, request: &Request, wanted: &Wanted) -> Result<Heard, Stop> {
        let (to, within) = (request.to, wanted.within);
        let deadline = request.at + within;
        let mut since = request.since;
        let mut last: Option<Heard> = None;
        let to = if wanted.loose { To::Anything } else { to };
        loop {
            let interaction = request.event().map(|id| id.to_string());
            let fits = move |event: &Value| {
                let about = |kind: &str| {
                    event["t"] == kind && event["d"]["interaction"].as_str() == interaction.as_deref()
                };
                answers(event, to)
                    || about("MODAL")
                    || (about("INTERACTION") && event["d"]["state"] == "failed")
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let Some((event, mark)) = self.inbox.next(since, left, fits).await else {
                return Err(Stop::Fail(wanted.not_seen(last.as_ref())));
            };
            since = mark;
            self.heard = mark;
            let heard = Heard { message: event["d"].clone(), latency: request.at.elapsed() };
            match event["t"].as_str() {
                Some("INTERACTION") => {
                    return Err(Stop::Fail("the interaction was not acknowledged in 3 s".to_owned()));
                }
                Some("MODAL") => {
                    self.form = request.event();
                    return Ok(heard);
                }
                _ if wanted.fits(&heard) => {
                    self.answer = Some(heard.clone());
                    return Ok(heard);
                }
                _ => last = Some(heard),
            }
        }
    }

    /// Waits for any message that is as wanted, since the last request or what was heard after it.
    pub async fn expect(&mut self, wanted: &Wanted) -> Result<Heard, Stop> {
        let channel = self.persona()?.channel;
        let request = Request { to: To::Anything, channel, at: Instant::now(), since: self.heard };
        let from_bot = wanted.from.is_none();
        let mut since = request.since;
        let deadline = request.at + wanted.within;
        let mut last = None;
        loop {
            let fits = move |event: &Value| {
                let made = event["t"] == "MESSAGE_CREATE" || event["t"] == "MESSAGE_UPDATE";
                if from_bot { is_said_by_bot(event) } else { made }
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let Some((event, mark)) = self.inbox.next(since, left, fits).await else {
                return Err(Stop::Fail(wanted.not_seen(last.as_ref())));
            };
            since = mark;
            let heard = Heard { message: event["d"].clone(), latency: request.at.elapsed() };
            if wanted.fits(&heard) && self.is_from(&heard, wanted) && self.is_in(&heard, wanted)? {
                self.heard = mark;
                self.answer = Some(heard.clone());
                return Ok(heard);
            }
            last = Some(heard);
        }
    }

    /// Waits for an event of the gateway, since the last request or what was heard after it; answers its data.
    pub async fn event(
        &mut self,
        kind: &str,
        test: Option<Arc<Check>>,
        within: Duration,
    ) -> Result<Value, Stop> {
        self.persona()?;
        let (kind, deadline) = (kind.to_uppercase(), Instant::now() + within);
        loop {
            let (wanted, left) = (kind.clone(), deadline.saturating_duration_since(Instant::now()));
            let fits = move |event: &Value| event["t"] == *wanted;
            let Some((event, mark)) = self.inbox.next(self.heard, left, fits).await else {
                return Err(Stop::Fail(format!("no {kind} within {} s", within.as_secs_f64())));
            };
            self.heard = mark;
            let holds = match &test {
                Some(check) => self.holds(check, Some(("event", &event["d"])))?,
                None => true,
            };
            if holds {
                return Ok(event["d"].clone());
            }
        }
    }

    fn is_from(&self, heard: &Heard, wanted: &Wanted) -> bool {
        wanted.from.as_deref().is_none_or(|name| heard.message["author"]["username"] == name)
    }

    fn is_in(&mut self, heard: &Heard, wanted: &Wanted) -> Result<bool, Stop> {
        let Some(name) = wanted.channel.clone() else { return Ok(true) };
        let server = self.persona()?.server;
        let found = self.stage().discord.find_channel(server, &name);
        Ok(found.is_some() && id(&heard.message["channel_id"]) == found)
    }
}

/// Choices come while somebody types; Discord gives up on them after three seconds.
const COMPLETED_WITHIN: Duration = Duration::from_secs(3);

/// Options as Discord nests them: the words behind the first are subcommands.
fn nested(path: &str, options: &[(&str, Value)], focused: Option<&str>) -> (String, Value) {
    let mut words = path.split(' ');
    let root = words.next().unwrap_or_default().to_owned();
    let leaf = |(name, value): &(&str, Value)| {
        let (kind, value) = match value {
            Value::Number(number) if number.is_f64() => (10, value.clone()),
            Value::Number(_) => (4, value.clone()),
            Value::Bool(_) => (5, value.clone()),
            Value::Object(fields) => match (&fields.get("user"), &fields.get("channel")) {
                (Some(user), _) => (6, (*user).clone()),
                (_, Some(channel)) => (7, (*channel).clone()),
                _ => (3, value.clone()),
            },
            _ => (3, value.clone()),
        };
        let mut option = json!({ "name": name, "type": kind, "value": value });
        if focused == Some(name) {
            option["focused"] = json!(true);
        }
        option
    };
    let mut leaves: Vec<Value> = options.iter().map(leaf).collect();
    for word in words.rev() {
        leaves = vec![json!({ "name": word, "type": 1, "options": leaves })];
    }
    (root, Value::Array(leaves))
}
