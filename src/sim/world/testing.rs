//! A world to try rules on: one guild, one channel, two people, and a bot on one connection.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    Act, ActError, Body, GuildBuilder, Id, Input, Output, Request, Response, Route, Upload, World, intent,
};
use crate::clock::Timestamp;

pub const CONNECTION: u64 = 1;

/// What the bot of these tests asks for.
pub const INTENTS: u64 =
    intent::GUILDS | intent::GUILD_MESSAGES | intent::DIRECT_MESSAGES | intent::MESSAGE_CONTENT;

pub struct Play {
    pub world: World,
    pub now: Timestamp,
    pub zoo: Id,
    pub cats: Id,
    pub ann: Id,
    pub bob: Id,
    /// What the bot was sent, `{"op", "t", "s", "d"}`, and what people were.
    pub frames: Vec<Value>,
    pub seen: Vec<(Id, Value)>,
    pub closed: Vec<u16>,
}

impl Play {
    /// The bot is connected with [`INTENTS`].
    pub fn new() -> Self {
        let mut play = Self::offline();
        play.identify(INTENTS);
        play.frames.clear();
        play
    }

    pub fn offline() -> Self {
        let mut world = World::new(7);
        world.settings.rate_limits = false;
        world.set_base_url("http://sim");
        let mut guild = world.guild("zoo");
        let (zoo, cats, ann, bob) =
            (guild.id(), guild.channel("cats"), guild.person("ann"), guild.person("bob"));
        world.take_outputs();
        let now = Timestamp::from_seconds(1_800_000_000);
        let (frames, seen, closed) = (Vec::new(), Vec::new(), Vec::new());
        Self { world, now, zoo, cats, ann, bob, frames, seen, closed }
    }

    pub fn zoo(&mut self) -> GuildBuilder<'_> {
        self.world.guild("zoo")
    }

    pub fn identify(&mut self, intents: u64) {
        self.apply(Input::Connected { connection: CONNECTION });
        let token = self.world.token().to_owned();
        self.receive(json!({"op": 2, "d": {"token": token, "intents": intents, "properties": {}}}));
    }

    pub fn receive(&mut self, frame: Value) {
        self.apply(Input::Received { connection: CONNECTION, text: frame.to_string() });
    }

    pub fn wait(&mut self, seconds: f64) {
        self.now = self.now.plus(Duration::from_secs_f64(seconds));
        self.apply(Input::Tick);
    }

    pub fn apply(&mut self, input: Input) -> Option<Response> {
        let outputs = self.world.apply(self.now, input);
        self.take(outputs).0
    }

    fn take(&mut self, outputs: Vec<Output>) -> (Option<Response>, Option<Result<Value, ActError>>) {
        let (mut response, mut acted) = (None, None);
        for output in outputs {
            match output {
                Output::Response(one) => response = Some(one),
                Output::Acted(one) => acted = Some(one),
                Output::Frame { frame, .. } => self.frames.push(serde_json::from_str(&frame.text).unwrap()),
                Output::Close { code, .. } => self.closed.push(code),
                Output::Seen { audience, event } => {
                    for person in [self.ann, self.bob] {
                        if self.world.sees(person, audience) {
                            self.seen.push((person, (*event).clone()));
                        }
                    }
                }
            }
        }
        (response, acted)
    }

    pub fn act(&mut self, person: Id, act: Act) -> Result<Value, ActError> {
        let outputs = self.world.apply(self.now, Input::Act { person, act });
        self.take(outputs).1.unwrap()
    }

    /// Says something; the message's id.
    pub fn say(&mut self, person: Id, text: &str) -> Id {
        let said = self.act(person, Act::say(self.cats, text)).unwrap();
        super::text::id(&said["message"]).unwrap()
    }

    /// A call of the bot: status and body.
    pub fn call(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_with_files(method, path, body, Vec::new())
    }

    pub fn call_with_files(
        &mut self,
        method: &str,
        path: &str,
        body: Value,
        files: Vec<Upload>,
    ) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let request = Request {
            route: Route::find(method, path),
            line: format!("{method} {path}"),
            query: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            authorization: Some(format!("Bot {}", self.world.token())),
            host: None,
            body,
            malformed: false,
            files,
        };
        let response = self.apply(Input::Request(request)).unwrap();
        let body = match response.body {
            Body::Json(value) => value,
            Body::File(content) => json!(String::from_utf8_lossy(&content.bytes)),
            Body::Empty => Value::Null,
        };
        (response.status, body)
    }

    /// The bot posts in the channel.
    pub fn post(&mut self, body: Value) -> (u16, Value) {
        let path = format!("/channels/{}/messages", self.cats);
        self.call("POST", &path, body)
    }

    /// Registers slash commands and menus for all guilds.
    pub fn register(&mut self, commands: Value) -> (u16, Value) {
        let path = format!("/applications/{}/commands", self.world.bot());
        self.call("PUT", &path, commands)
    }

    /// Answers the interaction that the bot was sent last.
    pub fn callback(&mut self, body: Value) -> (u16, Value) {
        let interaction = self.interaction();
        self.callback_to(&interaction, body)
    }

    pub fn callback_to(&mut self, interaction: &Value, body: Value) -> (u16, Value) {
        let (id, token) = (interaction["id"].as_str().unwrap(), interaction["token"].as_str().unwrap());
        self.call("POST", &format!("/interactions/{id}/{token}/callback"), body)
    }

    /// Does something with the webhook of the last interaction.
    pub fn webhook(&mut self, method: &str, rest: &str, body: Value) -> (u16, Value) {
        let token = self.interaction()["token"].as_str().unwrap().to_owned();
        self.call(method, &format!("/webhooks/{}/{token}{rest}", self.world.bot()), body)
    }

    /// The last interaction that the bot was sent.
    pub fn interaction(&self) -> Value {
        self.told("INTERACTION_CREATE").pop().unwrap()
    }

    /// The data of the bot's events of this name.
    pub fn told(&self, name: &str) -> Vec<Value> {
        self.frames.iter().filter(|frame| frame["t"] == name).map(|frame| frame["d"].clone()).collect()
    }

    /// The data of the events of this name that a person was shown.
    pub fn shown(&self, person: Id, name: &str) -> Vec<Value> {
        let events = self.seen.iter().filter(|(who, event)| *who == person && event["t"] == name);
        events.map(|(_, event)| event["d"].clone()).collect()
    }

    pub fn history(&self, person: Id) -> Vec<Value> {
        self.world.messages(person, self.cats, None, 100)
    }

    pub fn slash(&mut self, command: &str, options: Value) -> Result<Value, ActError> {
        let act = Act::Slash { channel: self.cats, command: command.to_owned(), options, files: Vec::new() };
        self.act(self.ann, act)
    }
}
