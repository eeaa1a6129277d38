//! [`World`]: a Discord as a plain value.
//!
//! Guilds, channels, people, messages, commands, interactions and the bot's gateway sessions, and the rules
//! by which they change. [`World::apply`] takes the time and an [`Input`] and answers with [`Output`]s:
//! there is no socket, no clock and no chance but the one from the seed, so the same calls give the same
//! world. The adaptors beside this module carry inputs in and outputs out; faults are theirs, so that a
//! fault cannot bend a rule.
//!
//! What is not modelled fails loudly: it is refused, and kept as a [`Record`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::Timestamp;

mod act;
mod build;
mod chance;
mod channel;
mod command;
mod draft;
mod error;
mod event;
mod form;
pub mod intent;
mod interaction;
mod mention;
mod message;
mod model;
mod option;
pub mod permission;
mod rate;
mod record;
mod render;
mod request;
mod respond;
mod route;
mod session;
#[cfg(test)]
mod testing;
mod text;
mod view;

pub use act::{Act, ActError, File};
pub use build::GuildBuilder;
pub use chance::Chance;
pub use event::Audience;
pub use model::{
    Application, Channel, ChannelKind, Guild, Id, Member, Message, Overwrite, Role, Upload, User,
};
pub use rate::too_many;
pub use record::{Record, RecordKind};
pub use request::{Body, Content, Request, Response, request_too_large};
pub use route::{ROUTES, Route, decoded, is_route};
pub use session::{Frame, close};

/// Where ids begin: 2020-01-01, so that what is made before the simulator runs is older than its messages.
const BEGINNING: Timestamp = Timestamp::from_seconds(1_577_836_800);

/// Something that happens to the world.
#[derive(Clone, Debug)]
pub enum Input {
    /// The bot calls REST.
    Request(Request),
    /// A person does something.
    Act { person: Id, act: Act },
    /// A client opened a gateway connection; the number is the adaptor's.
    Connected { connection: u64 },
    /// A frame came in.
    Received { connection: u64, text: String },
    /// A gateway connection is gone, with the code of the client's close frame.
    Disconnected { connection: u64, code: Option<u16> },
    /// Time has passed.
    Tick,
}

/// What the world wants done.
#[derive(Debug)]
pub enum Output {
    /// The answer to a request.
    Response(Response),
    /// The answer to an act: the ids of what was made.
    Acted(Result<Value, ActError>),
    /// A frame for a gateway connection.
    Frame { connection: u64, frame: Arc<Frame> },
    /// A gateway connection is to be closed.
    Close { connection: u64, code: u16 },
    /// An event for people's clients.
    Seen { audience: Audience, event: Arc<Value> },
}

/// What tests and load runs choose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Discord's is 41,250; the first heartbeat comes a full interval after IDENTIFY.
    pub heartbeat_ms: u64,
    /// How many shards may identify within five seconds. One on Discord for small bots; more here, or two
    /// instances of a bot could not start at once.
    pub max_concurrency: usize,
    /// What `GET /gateway/bot` recommends.
    pub shards: u64,
    /// How many IDENTIFYs a day allows.
    pub starts_a_day: usize,
    /// Whether limits are counted and told; off for load runs.
    pub rate_limits: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 41_250,
            max_concurrency: 16,
            shards: 1,
            starts_a_day: session::STARTS_A_DAY,
            rate_limits: true,
        }
    }
}

/// The whole of a simulated Discord. It can be saved and loaded as JSON; gateway sessions, records and what
/// rate limits counted are not part of that.
#[derive(Debug, Serialize, Deserialize)]
pub struct World {
    seed: u64,
    chance: Chance,
    last_id: Id,
    #[serde(default)]
    pub settings: Settings,
    application: Application,
    users: BTreeMap<Id, User>,
    names: BTreeMap<String, Id>,
    guilds: BTreeMap<Id, Guild>,
    channels: BTreeMap<Id, Channel>,
    /// The direct messages, by person.
    directs: BTreeMap<Id, Id>,
    files: BTreeMap<Id, model::Stored>,
    stored_bytes: usize,
    nonces: message::Nonces,
    commands: command::Commands,
    interactions: interaction::Interactions,
    #[serde(skip, default = "beginning")]
    now: Timestamp,
    #[serde(skip)]
    base_url: String,
    #[serde(skip)]
    sessions: session::Sessions,
    #[serde(skip)]
    was_online: usize,
    #[serde(skip)]
    limits: rate::Limits,
    #[serde(skip)]
    records: Vec<Record>,
    #[serde(skip)]
    outputs: Vec<Output>,
}

fn beginning() -> Timestamp {
    BEGINNING
}

impl World {
    /// A world with nobody in it but the bot, called `mneme`.
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let bot = BEGINNING.snowflake() + 1;
        let name = "mneme";
        let application = Application {
            id: bot,
            name: name.to_owned(),
            token: format!("sim.{}.{}", chance.hex(), chance.hex()),
            owner: None,
            intents: intent::PRIVILEGED,
        };
        let user = User { id: bot, name: name.to_owned(), bot: true, closed_dms: false };
        Self {
            seed,
            chance,
            last_id: bot,
            settings: Settings::default(),
            application,
            users: [(bot, user)].into(),
            names: [(name.to_owned(), bot)].into(),
            guilds: BTreeMap::new(),
            channels: BTreeMap::new(),
            directs: BTreeMap::new(),
            files: BTreeMap::new(),
            stored_bytes: 0,
            nonces: Default::default(),
            commands: Default::default(),
            interactions: Default::default(),
            now: BEGINNING,
            base_url: String::new(),
            sessions: Default::default(),
            was_online: 0,
            limits: Default::default(),
            records: Vec::new(),
            outputs: Vec::new(),
        }
    }

    /// What happens, and what follows from it.
    pub fn apply(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        self.now = self.now.max(now);
        self.expire();
        match input {
            Input::Request(request) => {
                let response = self.respond(&request);
                self.outputs.push(Output::Response(response));
            }
            Input::Act { person, act } => {
                let acted = self.act(person, act);
                self.outputs.push(Output::Acted(acted));
            }
            Input::Connected { connection } => self.connect(connection),
            Input::Received { connection, text } => self.receive(connection, &text),
            Input::Disconnected { connection, code } => self.disconnect(connection, code),
            Input::Tick => {}
        }
        self.take_outputs()
    }

    /// What follows from changes that were made with the methods of this type.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The bot's token.
    pub fn token(&self) -> &str {
        &self.application.token
    }

    /// The bot's user, which is also its application.
    pub fn bot(&self) -> Id {
        self.application.id
    }

    /// Makes a person the one to whom the bot belongs.
    pub fn own_bot(&mut self, person: Id) {
        self.application.owner = Some(person);
    }

    /// Where the simulator is reached; attachments and the gateway have addresses below it.
    pub fn set_base_url(&mut self, url: &str) {
        self.base_url = url.trim_end_matches('/').to_owned();
    }

    fn gateway_url(&self) -> String {
        self.base_url.replacen("http", "ws", 1)
    }

    fn guild_of(&self, channel: Id) -> Option<Id> {
        self.channels.get(&channel)?.guild
    }

    /// A new snowflake: from the time, and larger than every one before.
    fn new_id(&mut self) -> Id {
        self.last_id = self.now.snowflake().max(self.last_id + 1);
        self.last_id
    }

    /// A snowflake with a millisecond of its own: a guild's shard comes from the time in its id.
    fn new_time_id(&mut self) -> Id {
        let next = ((self.last_id >> 22) + 1) << 22;
        self.last_id = self.now.snowflake().max(next);
        self.last_id
    }

    /// Tells people when the bot comes and goes.
    fn tell_online(&mut self) {
        let sessions = self.sessions_online();
        if sessions != self.was_online {
            self.was_online = sessions;
            let data = json!({"online": sessions > 0, "sessions": sessions});
            self.tell(event::News::to_people("BOT_ONLINE", Audience::Everyone, data));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Play;
    use super::*;

    /// A hundred things that happen, drawn from a seed.
    fn storm(seed: u64) -> Play {
        let (mut play, mut lots) = (Play::new(), Chance::new(seed));
        play.register(json!([{"name": "ping", "description": "d"}]));
        for step in 0..100 {
            play.wait((lots.draw() % 3_000) as f64 / 1_000.0);
            let person = if lots.happens(0.5) { play.ann } else { play.bob };
            match lots.draw() % 6 {
                0 | 1 => drop(play.say(person, &format!("{step} @everyone <@{}>", play.ann))),
                2 => drop(play.slash("ping", json!([])).unwrap()),
                3 if !play.told("INTERACTION_CREATE").is_empty() => {
                    play.callback(json!({"type": 4 + lots.draw() % 2, "data": {"content": "pong"}}));
                }
                4 => {
                    drop(play.post(json!({"content": "hi", "nonce": lots.draw() % 3, "enforce_nonce": true})))
                }
                _ => {
                    let newest = play.history(person).last().and_then(|m| text::id(&m["id"]));
                    let channel = play.cats;
                    if let Some(message) = newest {
                        play.act(
                            person,
                            Act::React { channel, message, emoji: "✨".to_owned(), remove: false },
                        )
                        .ok();
                    }
                }
            }
        }
        play
    }

    #[test]
    fn the_same_calls_give_the_same_world() {
        for seed in 0..20 {
            println!("seed {seed}");
            let (one, two) = (storm(seed), storm(seed));
            assert_eq!(
                serde_json::to_string(&one.world).unwrap(),
                serde_json::to_string(&two.world).unwrap()
            );
            assert_eq!(one.frames, two.frames);
            assert_eq!(one.seen, two.seen);
        }
    }

    #[test]
    fn a_world_is_saved_and_loaded() {
        let play = storm(1);
        let saved = serde_json::to_string(&play.world).unwrap();
        let loaded: World = serde_json::from_str(&saved).unwrap();
        assert_eq!(serde_json::to_string(&loaded).unwrap(), saved);
        let mut again = Play { world: loaded, ..Play::offline() };
        again.now = play.now;
        again.identify(testing::INTENTS);
        assert_eq!(again.history(again.ann).len(), play.history(play.ann).len());
        let said = again.say(again.ann, "still here");
        let ids = again.history(again.ann).iter().filter_map(|m| text::id(&m["id"])).collect::<Vec<_>>();
        assert!(ids.is_sorted() && ids.last() == Some(&said), "ids go on where they ended");
    }

    #[test]
    fn the_playground_has_what_the_page_shows() {
        let world = World::playground(1);
        let alice = world.find_person("alice").unwrap();
        let view = world.view(alice);
        assert_eq!(view["guilds"].as_array().unwrap().len(), 2);
        assert_eq!(view["guilds"][0]["owner_id"], alice.to_string());
        assert_eq!(view["guilds"][1]["channels"].as_array().unwrap().len(), 3);
        assert_eq!(view["guilds"][1]["channels"][0]["can_send"], true);
        assert_eq!(view["people"].as_array().unwrap().len(), 4);
        assert_eq!(view["bot_online"], false);
        let garage = world.find_guild("Garage").unwrap();
        assert_ne!(world.guild_permissions(alice, garage) & permission::MANAGE_MESSAGES, 0);
    }

    #[test]
    fn acts_are_read_from_json_with_ids_as_text() {
        let act = json!({"act": "say", "channel": "123456789012345678", "text": "hi"});
        assert_eq!(serde_json::from_value::<Act>(act).unwrap(), Act::say(123_456_789_012_345_678, "hi"));
        assert_eq!(serde_json::from_value::<Act>(json!({"act": "open_dm"})).unwrap(), Act::OpenDm {});
        let press = json!({"act": "press", "channel": "1", "message": "2", "custom_id": "undo:1"});
        let read = serde_json::from_value::<Act>(press).unwrap();
        assert!(matches!(read, Act::Press { message: 2, values, .. } if values.is_empty()));
    }

    #[test]
    fn old_messages_make_room() {
        let mut play = Play::new();
        for n in 0..=message::CHANNEL_MESSAGES_MAX {
            play.say(play.ann, &format!("{n}"));
            play.frames.clear();
            play.seen.clear();
        }
        let channel = &play.world.channels[&play.cats];
        assert_eq!(channel.messages.len(), message::CHANNEL_MESSAGES_MAX);
        assert_eq!(channel.messages.first_key_value().unwrap().1.content, "1");
    }
}
