//! The gateway's rules: who may connect, what each session is sent, and what can be resumed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::event::News;
use super::intent;
use super::model::Id;
use super::record::RecordKind;
use super::{Output, World};
use crate::clock::Timestamp;

/// How many events a session can catch up on.
pub const RESUME_MAX: usize = 1_000;

/// Sessions that nobody is connected to; the oldest are forgotten, or every restart would leave one behind.
const ABANDONED_MAX: usize = 64;

/// Discord closes with 4008 above this many frames a minute.
const FRAMES_A_MINUTE: usize = 120;

/// Beyond this many IDENTIFYs in a day Discord resets the token.
pub const STARTS_A_DAY: usize = 1_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// `max_concurrency` shards may identify within this time.
const IDENTIFY_WINDOW: Duration = Duration::from_secs(5);

/// Guilds that one shard may have, else it is closed with 4011.
const GUILDS_A_SHARD: usize = 2_500;

/// What the gateway closes connections with.
pub mod close {
    pub const UNKNOWN_OPCODE: u16 = 4001;
    pub const DECODE_ERROR: u16 = 4002;
    pub const NOT_AUTHENTICATED: u16 = 4003;
    pub const AUTHENTICATION_FAILED: u16 = 4004;
    pub const ALREADY_AUTHENTICATED: u16 = 4005;
    pub const INVALID_SEQ: u16 = 4007;
    pub const RATE_LIMITED: u16 = 4008;
    pub const SESSION_TIMED_OUT: u16 = 4009;
    pub const INVALID_SHARD: u16 = 4010;
    pub const SHARDING_REQUIRED: u16 = 4011;
    pub const INVALID_INTENTS: u16 = 4013;
    pub const DISALLOWED_INTENTS: u16 = 4014;
}

/// One frame to the bot, serialized once.
#[derive(Debug)]
pub struct Frame {
    /// The event's name; empty for what is no dispatch.
    pub name: &'static str,
    /// The channel it is about: faults never change the order within one.
    pub channel: Option<Id>,
    pub text: String,
    /// Whether IDENTIFY asked for compression.
    pub compress: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    connections: BTreeMap<u64, Connection>,
    sessions: BTreeMap<String, Session>,
    identified: VecDeque<Start>,
}

/// An IDENTIFY that was let through, or came too soon.
#[derive(Debug)]
struct Start {
    at: Timestamp,
    shard: (u64, u64),
}

#[derive(Debug, Default)]
struct Connection {
    session: Option<String>,
    /// When its last frames came in.
    frames: VecDeque<Timestamp>,
}

#[derive(Debug)]
struct Session {
    shard: u64,
    shards: u64,
    intents: u64,
    compress: bool,
    /// The number of the last event.
    seq: u64,
    buffer: VecDeque<(u64, Arc<Frame>)>,
    connection: Option<u64>,
    /// For the order in which abandoned sessions are forgotten.
    left_at: Timestamp,
}

impl Session {
    fn wants(&self, guild: Option<Id>, intent: u64) -> bool {
        let shard = guild.map_or(0, |guild| (guild >> 22) % self.shards);
        shard == self.shard && (intent == 0 || self.intents & intent != 0)
    }

    /// Numbers an event and keeps it for a RESUME.
    fn push(&mut self, name: &'static str, channel: Option<Id>, data: &str) -> Arc<Frame> {
        self.seq += 1;
        let text = format!(r#"{{"t":"{name}","s":{},"op":0,"d":{data}}}"#, self.seq);
        let frame = Arc::new(Frame { name, channel, text, compress: self.compress });
        self.buffer.push_back((self.seq, frame.clone()));
        if self.buffer.len() > RESUME_MAX {
            self.buffer.pop_front();
        }
        frame
    }

    /// What came after `seq`, if all of it is still there.
    fn after(&self, seq: u64) -> Option<Vec<Arc<Frame>>> {
        let oldest = self.buffer.front().map_or(self.seq + 1, |(seq, _)| *seq);
        let complete = seq + 1 >= oldest;
        complete
            .then(|| self.buffer.iter().filter(|(s, _)| *s > seq).map(|(_, frame)| frame.clone()).collect())
    }
}

/// Why a connection is not served.
type Refusal = Result<(), u16>;

impl World {
    /// A client has connected: HELLO.
    pub(super) fn connect(&mut self, connection: u64) {
        self.sessions.connections.insert(connection, Connection::default());
        self.control(connection, json!({"op": 10, "d": {"heartbeat_interval": self.settings.heartbeat_ms}}));
    }

    /// A client is gone. Its own 1000 and 1001 end the session, anything else keeps it for a RESUME.
    pub(super) fn disconnect(&mut self, connection: u64, code: Option<u16>) {
        let session = self.sessions.connections.remove(&connection).and_then(|found| found.session);
        let Some(id) = session else { return };
        if matches!(code, Some(1000 | 1001)) {
            self.sessions.sessions.remove(&id);
        } else if let Some(session) = self.sessions.sessions.get_mut(&id)
            && session.connection == Some(connection)
        {
            session.connection = None;
            session.left_at = self.now;
        }
        self.forget_abandoned();
        self.tell_online();
    }

    fn forget_abandoned(&mut self) {
        let sessions = &mut self.sessions.sessions;
        let mut abandoned: Vec<(Timestamp, String)> = sessions
            .iter()
            .filter(|(_, session)| session.connection.is_none())
            .map(|(id, session)| (session.left_at, id.clone()))
            .collect();
        abandoned.sort();
        for (_, id) in abandoned.iter().take(abandoned.len().saturating_sub(ABANDONED_MAX)) {
            sessions.remove(id);
        }
    }

    /// A frame came in.
    pub(super) fn receive(&mut self, connection: u64, text: &str) {
        if let Err(code) = self.received(connection, text) {
            self.record(RecordKind::Closed, "gateway", text_of(text), json!(code));
            self.outputs.push(Output::Close { connection, code });
        }
    }

    fn received(&mut self, connection: u64, text: &str) -> Refusal {
        self.count_frame(connection)?;
        let frame: Value = serde_json::from_str(text).map_err(|_| close::DECODE_ERROR)?;
        let identified = self.sessions.connections.get(&connection).is_some_and(|c| c.session.is_some());
        match frame["op"].as_u64() {
            Some(1) => {
                self.control(connection, json!({"op": 11, "d": null}));
                Ok(())
            }
            Some(2 | 6) if identified => Err(close::ALREADY_AUTHENTICATED),
            Some(2) => self.identify(connection, &frame["d"]),
            Some(6) => self.resume(connection, &frame["d"]),
            Some(_) if !identified => Err(close::NOT_AUTHENTICATED),
            Some(3) => Ok(()),
            _ => {
                self.record(RecordKind::Unmodelled, "gateway opcode", frame, Value::Null);
                Err(close::UNKNOWN_OPCODE)
            }
        }
    }

    fn count_frame(&mut self, connection: u64) -> Refusal {
        let (now, minute_ago) = (self.now, self.now.minus(Duration::from_secs(60)));
        let found = self.sessions.connections.get_mut(&connection).ok_or(close::NOT_AUTHENTICATED)?;
        found.frames.push_back(now);
        while found.frames.pop_front_if(|at| *at < minute_ago).is_some() {}
        if found.frames.len() > FRAMES_A_MINUTE { Err(close::RATE_LIMITED) } else { Ok(()) }
    }

    fn identify(&mut self, connection: u64, wish: &Value) -> Refusal {
        if !self.is_token(wish) {
            return Err(close::AUTHENTICATION_FAILED);
        }
        let intents = self.checked_intents(wish)?;
        let (shard, shards) = self.checked_shard(wish)?;
        if !self.count_identify((shard, shards))? {
            self.control(connection, json!({"op": 9, "d": false}));
            return Ok(());
        }
        let id = self.chance.hex();
        let session = Session {
            shard,
            shards,
            intents,
            compress: wish["compress"].as_bool().unwrap_or(false),
            seq: 0,
            buffer: VecDeque::new(),
            connection: Some(connection),
            left_at: self.now,
        };
        self.sessions.sessions.insert(id.clone(), session);
        if let Some(found) = self.sessions.connections.get_mut(&connection) {
            found.session = Some(id.clone());
        }
        self.greet(&id, shard, shards, intents);
        self.tell_online();
        Ok(())
    }

    /// Clients may write `Bot ` before the token here as in REST; serenity does.
    fn is_token(&self, wish: &Value) -> bool {
        let given = wish["token"].as_str().unwrap_or_default();
        given.strip_prefix("Bot ").unwrap_or(given) == self.application.token
    }

    fn checked_intents(&self, wish: &Value) -> Result<u64, u16> {
        let intents = wish["intents"].as_u64().ok_or(close::INVALID_INTENTS)?;
        if intents & !intent::DEFINED != 0 {
            return Err(close::INVALID_INTENTS);
        }
        let refused = intents & intent::PRIVILEGED & !self.application.intents;
        if refused != 0 { Err(close::DISALLOWED_INTENTS) } else { Ok(intents) }
    }

    fn checked_shard(&self, wish: &Value) -> Result<(u64, u64), u16> {
        let number = |index: usize, default| wish["shard"].get(index).map_or(Some(default), Value::as_u64);
        let (Some(shard), Some(shards)) = (number(0, 0), number(1, 1)) else {
            return Err(close::INVALID_SHARD);
        };
        if shard >= shards {
            return Err(close::INVALID_SHARD);
        }
        let guilds = self.bot_guilds().filter(|guild| (guild >> 22) % shards == shard).count();
        if guilds > GUILDS_A_SHARD { Err(close::SHARDING_REQUIRED) } else { Ok((shard, shards)) }
    }

    /// Counts a start; `Ok(false)` if it comes too soon after others.
    fn count_identify(&mut self, shard: (u64, u64)) -> Result<bool, u16> {
        let (now, day_ago) = (self.now, self.now.minus(DAY));
        let starts = &mut self.sessions.identified;
        while starts.pop_front_if(|start| start.at < day_ago).is_some() {}
        if starts.len() >= self.settings.starts_a_day {
            starts.clear();
            self.reset_token();
            return Err(close::AUTHENTICATION_FAILED);
        }
        starts.push_back(Start { at: now, shard });
        let window = now.minus(IDENTIFY_WINDOW);
        let recent = starts.iter().rev().take_while(|start| start.at > window).count();
        Ok(recent <= self.settings.max_concurrency)
    }

    /// READY, with all guilds unavailable, and then each of them.
    fn greet(&mut self, session: &str, shard: u64, shards: u64, intents: u64) {
        let guilds: Vec<Id> = self.bot_guilds().filter(|guild| (guild >> 22) % shards == shard).collect();
        let unavailable = guilds.iter().map(|id| json!({"id": id.to_string(), "unavailable": true}));
        let ready = json!({
            "v": 10,
            "user": self.user(self.application.id),
            "guilds": unavailable.collect::<Vec<_>>(),
            "session_id": session,
            "session_type": "normal",
            "resume_gateway_url": self.gateway_url(),
            "shard": [shard, shards],
            "application": {
                "id": self.application.id.to_string(),
                "flags": self.application_object()["flags"],
            },
            "private_channels": [], "relationships": [], "presences": [], "user_settings": {},
        });
        self.send(session, "READY", None, &ready.to_string());
        for id in guilds.into_iter().filter(|_| intents & intent::GUILDS != 0) {
            let guild = self.guilds.get(&id).map(|guild| self.guild_create(guild).to_string());
            self.send(session, "GUILD_CREATE", None, &guild.unwrap_or_default());
        }
    }

    /// All events after `seq` in order, then RESUMED.
    fn resume(&mut self, connection: u64, wish: &Value) -> Refusal {
        if !self.is_token(wish) {
            return Err(close::AUTHENTICATION_FAILED);
        }
        let (id, seq) = (wish["session_id"].as_str().unwrap_or_default(), wish["seq"].as_u64().unwrap_or(0));
        let session = self.sessions.sessions.get(id);
        if session.is_some_and(|session| seq > session.seq) {
            return Err(close::INVALID_SEQ);
        }
        let missed = session.and_then(|session| session.after(seq));
        let (Some(missed), Some(session)) = (missed, self.sessions.sessions.get_mut(id)) else {
            self.control(connection, json!({"op": 9, "d": false}));
            return Ok(());
        };
        session.connection = Some(connection);
        if let Some(found) = self.sessions.connections.get_mut(&connection) {
            found.session = Some(id.to_owned());
        }
        let outputs = missed.into_iter().map(|frame| Output::Frame { connection, frame });
        self.outputs.extend(outputs);
        self.send(id, "RESUMED", None, "{}");
        self.tell_online();
        Ok(())
    }

    /// The last events of a connection's session, without the RESUMED at their end.
    pub fn recent(&self, connection: u64, events: usize) -> Vec<Arc<Frame>> {
        let id = self.sessions.connections.get(&connection).and_then(|found| found.session.as_ref());
        let Some(session) = id.and_then(|id| self.sessions.sessions.get(id)) else { return Vec::new() };
        let real = session.buffer.iter().map(|(_, frame)| frame).filter(|frame| frame.name != "RESUMED");
        let mut recent: Vec<_> = real.rev().take(events).cloned().collect();
        recent.reverse();
        recent
    }

    /// Ends a session, so that it cannot be resumed.
    pub fn end_session(&mut self, connection: u64) {
        let session = self.sessions.connections.get_mut(&connection).and_then(|found| found.session.take());
        if let Some(id) = session {
            self.sessions.sessions.remove(&id);
        }
        self.tell_online();
    }

    /// Sends an event to the sessions that want it.
    pub(super) fn dispatch(&mut self, guild: Option<Id>, news: &News) {
        let (mut full, mut redacted) = (None, None);
        for session in self.sessions.sessions.values_mut().filter(|session| session.wants(guild, news.intent))
        {
            let data = match &news.redacted {
                Some(value) if session.intents & intent::MESSAGE_CONTENT == 0 => {
                    redacted.get_or_insert_with(|| value.to_string())
                }
                _ => full.get_or_insert_with(|| news.data.to_string()),
            };
            let frame = session.push(news.name, news.channel, data);
            if let Some(connection) = session.connection {
                self.outputs.push(Output::Frame { connection, frame });
            }
        }
    }

    /// Sends an event to one session.
    fn send(&mut self, session: &str, name: &'static str, channel: Option<Id>, data: &str) {
        let Some(session) = self.sessions.sessions.get_mut(session) else { return };
        let frame = session.push(name, channel, data);
        if let Some(connection) = session.connection {
            self.outputs.push(Output::Frame { connection, frame });
        }
    }

    fn control(&mut self, connection: u64, value: Value) {
        let frame = Frame { name: "", channel: None, text: value.to_string(), compress: false };
        self.outputs.push(Output::Frame { connection, frame: Arc::new(frame) });
    }

    /// The guilds the bot is in.
    fn bot_guilds(&self) -> impl Iterator<Item = Id> {
        let bot = self.application.id;
        self.guilds.values().filter(move |guild| guild.members.contains_key(&bot)).map(|guild| guild.id)
    }

    /// Whether any instance of the bot is connected.
    pub fn bot_online(&self) -> bool {
        self.sessions_online() > 0
    }

    /// How many sessions are connected: one for each shard of each instance of the bot.
    pub fn sessions_online(&self) -> usize {
        self.sessions.sessions.values().filter(|session| session.connection.is_some()).count()
    }

    /// How many sessions there are, connected or to be resumed. A client that leaves with 1000 ends its own.
    pub fn sessions(&self) -> usize {
        self.sessions.sessions.len()
    }

    /// The IDENTIFYs of the last day, by shard and number of shards.
    pub fn identified(&self) -> Vec<(u64, u64)> {
        self.sessions.identified.iter().map(|start| start.shard).collect()
    }

    /// How many more IDENTIFYs the day allows.
    pub fn starts_left(&self) -> usize {
        self.settings.starts_a_day.saturating_sub(self.sessions.identified.len())
    }
}

/// A frame for a record, without its token.
fn text_of(text: &str) -> Value {
    let mut value = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    if let Some(token) = value.pointer_mut("/d/token") {
        *token = json!("..");
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::Input;
    use super::super::testing::{CONNECTION, INTENTS, Play};
    use super::*;

    fn names(play: &Play) -> Vec<String> {
        play.frames.iter().filter_map(|frame| frame["t"].as_str()).map(str::to_owned).collect()
    }

    #[test]
    fn identify_is_answered_with_ready_and_the_guilds() {
        let mut play = Play::offline();
        play.identify(INTENTS);
        assert_eq!(play.frames[0]["op"], 10);
        assert_eq!(names(&play), ["READY", "GUILD_CREATE"]);
        assert_eq!(play.frames[1]["s"], 1);
        assert_eq!(play.frames[1]["d"]["guilds"][0]["unavailable"], true);
        let guild = &play.told("GUILD_CREATE")[0];
        assert_eq!(guild["members"][0]["user"]["id"], play.world.bot().to_string());
        assert_eq!(play.shown(play.ann, "BOT_ONLINE"), [json!({"online": true, "sessions": 1})]);
        play.receive(json!({"op": 1, "d": 2}));
        assert_eq!(play.frames.last().unwrap()["op"], 11);
        assert!(play.closed.is_empty());
    }

    /// Makes an IDENTIFY wrong.
    type Spoil = fn(&mut Value);

    #[test]
    fn what_is_wrong_with_a_connection_has_a_code() {
        let wish = |play: &Play, change: Spoil| {
            let token = play.world.token().to_owned();
            let mut frame = json!({"op": 2, "d": {"token": token, "intents": INTENTS, "shard": [0, 1]}});
            change(&mut frame);
            frame.to_string()
        };
        let cases: [(Spoil, u16); 7] = [
            (|frame| frame["d"]["token"] = json!("wrong"), close::AUTHENTICATION_FAILED),
            (|frame| frame["d"]["intents"] = json!(1 << 30), close::INVALID_INTENTS),
            (|frame| frame["d"]["intents"] = json!(intent::GUILD_PRESENCES), close::DISALLOWED_INTENTS),
            (|frame| frame["d"]["shard"] = json!([1, 1]), close::INVALID_SHARD),
            (|frame| frame["op"] = json!(3), close::NOT_AUTHENTICATED),
            (|frame| *frame = json!("no object"), close::UNKNOWN_OPCODE),
            (|frame| frame["op"] = json!(99), close::NOT_AUTHENTICATED),
        ];
        for (change, code) in cases {
            let mut play = Play::offline();
            play.world.portal(intent::GUILD_PRESENCES, false);
            play.apply(Input::Connected { connection: CONNECTION });
            let text = wish(&play, change);
            play.apply(Input::Received { connection: CONNECTION, text: text.clone() });
            assert_eq!(play.closed, [code], "{text}");
        }
        let mut play = Play::new();
        play.apply(Input::Received { connection: CONNECTION, text: "{".to_owned() });
        let again = wish(&play, |_| {});
        play.apply(Input::Received { connection: CONNECTION, text: again });
        play.receive(json!({"op": 8, "d": {}}));
        assert_eq!(play.closed, [close::DECODE_ERROR, close::ALREADY_AUTHENTICATED, close::UNKNOWN_OPCODE]);
    }

    #[test]
    fn too_many_frames_and_too_many_starts() {
        let mut play = Play::new();
        for _ in 0..FRAMES_A_MINUTE {
            play.receive(json!({"op": 1, "d": null}));
        }
        assert_eq!(play.closed, [close::RATE_LIMITED]);

        let mut play = Play::offline();
        play.world.settings.max_concurrency = 1;
        play.identify(INTENTS);
        play.identify(INTENTS);
        assert_eq!(play.frames.last().unwrap(), &json!({"op": 9, "d": false}));
        play.wait(6.0);
        play.identify(INTENTS);
        assert!(names(&play).ends_with(&["READY".to_owned(), "GUILD_CREATE".to_owned()]));
    }

    #[test]
    fn a_thousand_starts_a_day_cost_the_token() {
        let mut play = Play::offline();
        let token = play.world.token().to_owned();
        for _ in 0..STARTS_A_DAY {
            play.identify(INTENTS);
            play.wait(6.0);
        }
        assert_eq!(play.world.token(), token);
        play.identify(INTENTS);
        assert_eq!(play.closed, [close::AUTHENTICATION_FAILED]);
        assert_ne!(play.world.token(), token);
    }

    #[test]
    fn a_resume_brings_what_was_missed_in_order() {
        let mut play = Play::offline();
        play.identify(INTENTS);
        let session = play.told("READY")[0]["session_id"].clone();
        let seq = play.frames.last().unwrap()["s"].clone();
        play.apply(Input::Disconnected { connection: CONNECTION, code: None });
        play.frames.clear();
        play.say(play.ann, "one");
        play.say(play.ann, "two");
        assert!(play.frames.is_empty());
        play.apply(Input::Connected { connection: CONNECTION });
        let token = play.world.token().to_owned();
        let resume = json!({"op": 6, "d": {"token": token, "session_id": session, "seq": seq}});
        play.receive(resume.clone());
        assert_eq!(names(&play), ["MESSAGE_CREATE", "MESSAGE_CREATE", "RESUMED"]);
        assert_eq!(play.told("MESSAGE_CREATE")[1]["content"], "two");
        let ahead = json!({"op": 6, "d": {"token": token, "session_id": session, "seq": 99}});
        play.apply(Input::Connected { connection: 2 });
        play.apply(Input::Received { connection: 2, text: ahead.to_string() });
        assert_eq!(play.closed, [close::INVALID_SEQ]);
        // Beyond the buffer there is nothing to resume.
        play.apply(Input::Disconnected { connection: CONNECTION, code: None });
        for n in 0..RESUME_MAX {
            play.say(play.ann, &format!("{n}"));
        }
        play.apply(Input::Connected { connection: CONNECTION });
        play.receive(resume);
        assert_eq!(play.frames.last().unwrap(), &json!({"op": 9, "d": false}));
    }

    #[test]
    fn a_client_that_says_goodbye_ends_its_session() {
        let mut play = Play::offline();
        play.identify(INTENTS);
        let session = play.told("READY")[0]["session_id"].clone();
        play.apply(Input::Disconnected { connection: CONNECTION, code: Some(1000) });
        assert_eq!(play.shown(play.ann, "BOT_ONLINE").last().unwrap()["online"], false);
        play.apply(Input::Connected { connection: CONNECTION });
        let token = play.world.token().to_owned();
        play.receive(json!({"op": 6, "d": {"token": token, "session_id": session, "seq": 0}}));
        assert_eq!(play.frames.last().unwrap(), &json!({"op": 9, "d": false}));
    }

    #[test]
    fn events_go_to_the_shard_of_their_guild_and_with_their_intent() {
        let mut play = Play::offline();
        play.world.guild("second").channel("general");
        let guilds: Vec<Id> = play.world.guilds.keys().copied().collect();
        let shards: Vec<u64> = guilds.iter().map(|id| (id >> 22) % 2).collect();
        assert_ne!(shards[0], shards[1], "guilds made one after the other are on different shards");
        let token = play.world.token().to_owned();
        for (connection, shard) in [(1, 0), (2, 1)] {
            play.apply(Input::Connected { connection });
            let wish = json!({"op": 2, "d": {"token": token, "intents": INTENTS, "shard": [shard, 2]}});
            play.apply(Input::Received { connection, text: wish.to_string() });
        }
        assert_eq!(play.told("GUILD_CREATE").len(), 2);
        play.frames.clear();
        play.say(play.ann, "hello");
        assert_eq!(play.told("MESSAGE_CREATE").len(), 1);
        let direct = play.world.direct(play.ann);
        play.act(play.ann, super::super::Act::say(direct, "hi")).unwrap();
        assert_eq!(play.told("MESSAGE_CREATE").len(), 2);
        play.act(play.ann, super::super::Act::Typing { channel: play.cats }).unwrap();
        assert!(play.told("TYPING_START").is_empty(), "nobody asked for it");
        assert_eq!(play.shown(play.bob, "TYPING_START").len(), 1);
    }

    #[test]
    fn changes_of_the_guild_are_told() {
        let mut play = Play::new();
        let (zoo, cats, ann, bot) = (play.zoo, play.cats, play.ann, play.world.bot());
        play.world.guild("zoo").channel("dogs");
        let role = play.world.guild("zoo").role("keeper", 0);
        play.world.guild("zoo").grant(bot, role);
        play.world.guild("zoo").grant(ann, role);
        play.world.remove_channel(cats);
        play.world.leave(zoo, bot);
        play.world.invite(zoo);
        play.world.guild("new");
        play.wait(0.0);
        let expected = [
            "CHANNEL_CREATE",
            "GUILD_ROLE_CREATE",
            "GUILD_MEMBER_UPDATE",
            "CHANNEL_DELETE",
            "GUILD_DELETE",
            "GUILD_CREATE",
            "GUILD_CREATE",
        ];
        assert_eq!(names(&play), expected);
        for guild in play.told("GUILD_CREATE") {
            assert_eq!(guild["members"][0]["user"]["id"], bot.to_string(), "{guild}");
        }
    }
}
