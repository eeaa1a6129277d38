//! [`Faults`]: what goes wrong on the way, by request or by probability.
//!
//! Rules are the world's; here only calls and frames are refused, lost, late, doubled or spoiled, so that a
//! fault cannot bend a rule.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::hub::{Hub, ToClient};
use super::world::{Chance, Frame, Id, Response, is_route, too_many};

/// Any number of times.
pub const ALWAYS: usize = usize::MAX;

/// Every route, where a fault asks for one.
pub const EVERY_ROUTE: &str = "*";

/// Whom a 429 is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The bot's own calls on this route.
    User,
    /// All calls of the bot.
    Global,
    /// Everybody's calls on this resource.
    Shared,
}

impl Scope {
    fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Global => "global",
            Self::Shared => "shared",
        }
    }
}

/// Probabilities, from 0 to 1, drawn for every call or frame. The lots come from the world's seed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// A call is answered 502 and has no effect.
    pub fail: f64,
    /// A call takes effect and the connection is cut.
    pub lose_reply: f64,
    /// A call is answered 429, and may be repeated after half a second.
    pub rate_limit: f64,
    /// A dispatch is sent twice.
    pub duplicate: f64,
    /// A dispatch is overtaken by one of another channel.
    pub reorder: f64,
    /// The gateway connection is reset instead of a dispatch; a RESUME brings it.
    pub cut: f64,
}

/// The state of all faults.
pub(super) struct Switches {
    chance: Chance,
    calls: Vec<CallFault>,
    frames: BTreeMap<At, usize>,
    upgrade_status: u16,
    weather: Weather,
    replay: usize,
    malformed: Vec<String>,
}

struct CallFault {
    route: String,
    left: usize,
    effect: Effect,
}

/// What happens to a call.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    Answer(Response, Option<String>),
    Delay(Duration),
    Hang,
    LoseReply,
}

/// What happens to a gateway connection at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum At {
    NoHello,
    NoReady,
    HangUpgrade,
    RefuseUpgrade,
    RefuseResume,
}

/// What happens to one dispatch.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lots {
    pub duplicate: bool,
    pub hold: bool,
    pub cut: bool,
    pub spoil: bool,
}

impl Switches {
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed),
            calls: Vec::new(),
            frames: BTreeMap::new(),
            upgrade_status: 0,
            weather: Weather::default(),
            replay: 0,
            malformed: Vec::new(),
        }
    }

    /// What happens to a call of this route, if anything.
    pub fn on_call(&mut self, route: &str) -> Option<Effect> {
        let planned =
            self.calls.iter_mut().find(|f| f.left > 0 && (f.route == route || f.route == EVERY_ROUTE));
        if let Some(fault) = planned {
            fault.left = if fault.left == ALWAYS { ALWAYS } else { fault.left - 1 };
            return Some(fault.effect.clone());
        }
        let weather = self.weather;
        if self.chance.happens(weather.fail) {
            Some(bad_gateway())
        } else if self.chance.happens(weather.lose_reply) {
            Some(Effect::LoseReply)
        } else if self.chance.happens(weather.rate_limit) {
            Some(Effect::Answer(too_many("user", Duration::from_millis(500)), None))
        } else {
            None
        }
    }

    /// Whether something happens at the start of this connection.
    pub fn at(&mut self, what: At) -> bool {
        let Some(left) = self.frames.get_mut(&what).filter(|left| **left > 0) else { return false };
        if *left != ALWAYS {
            *left -= 1;
        }
        true
    }

    pub fn upgrade_status(&self) -> u16 {
        self.upgrade_status
    }

    pub fn on_dispatch(&mut self, frame: &Frame) -> Lots {
        let spoil = self.malformed.iter().position(|kind| kind == frame.name);
        if let Some(index) = spoil {
            self.malformed.remove(index);
        }
        let weather = self.weather;
        Lots {
            duplicate: self.chance.happens(weather.duplicate),
            hold: frame.channel.is_some() && self.chance.happens(weather.reorder),
            cut: frame.channel.is_some() && self.chance.happens(weather.cut),
            spoil: spoil.is_some(),
        }
    }

    /// How many events are repeated after this RESUME.
    pub fn take_replay(&mut self) -> usize {
        std::mem::take(&mut self.replay)
    }
}

fn bad_gateway() -> Effect {
    let page = "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>";
    Effect::Answer(Response::without_body(502), Some(page.to_owned()))
}

/// The switches. Each method that takes `times` counts down from it; [`ALWAYS`] never ends and 0 ends it.
#[derive(Clone)]
pub struct Faults {
    hub: Arc<Hub>,
}

impl Faults {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.hub.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on_calls(&self, route: &str, times: usize, effect: Effect) {
        assert!(is_route(route) || route == EVERY_ROUTE, "{route:?} is not a route of the simulator");
        let mut switches = self.switches();
        if times == 0 {
            switches.calls.retain(|fault| fault.route != route);
        } else {
            switches.calls.push(CallFault { route: route.to_owned(), left: times, effect });
        }
    }

    /// The next calls get 429 and have no effect.
    pub fn rate_limit(&self, route: &str, times: usize, after: Duration, scope: Scope) {
        self.on_calls(route, times, Effect::Answer(too_many(scope.name(), after), None));
    }

    /// The next calls get this status and body and have no effect; an empty body is none.
    pub fn fail(&self, route: &str, times: usize, status: u16, body: &str) {
        let body = (!body.is_empty()).then(|| body.to_owned());
        self.on_calls(route, times, Effect::Answer(Response::without_body(status), body));
    }

    /// The next calls arrive late.
    pub fn delay(&self, route: &str, times: usize, by: Duration) {
        self.on_calls(route, times, Effect::Delay(by));
    }

    /// The next calls never arrive and are never answered.
    pub fn hang(&self, route: &str, times: usize) {
        self.on_calls(route, times, Effect::Hang);
    }

    /// The next calls take effect, and then the connection is cut.
    pub fn lose_reply(&self, route: &str, times: usize) {
        self.on_calls(route, times, Effect::LoseReply);
    }

    /// Faults by probability.
    pub fn weather(&self, weather: Weather) {
        self.switches().weather = weather;
    }

    /// Each dispatch is sent twice, with this probability.
    pub fn duplicate(&self, probability: f64) {
        self.switches().weather.duplicate = probability;
    }

    /// Each dispatch is overtaken by one of another channel, with this probability.
    pub fn reorder(&self, probability: f64) {
        self.switches().weather.reorder = probability;
    }

    /// After the next RESUME the last events come again.
    pub fn replay(&self, events: usize) {
        self.switches().replay = events;
    }

    /// The next event of this kind lacks a field that clients need.
    pub fn malformed(&self, kind: &str) {
        self.switches().malformed.push(kind.to_owned());
    }

    /// A frame that is no JSON, on every gateway connection.
    pub fn garbage(&self) {
        self.hub.on_all_lines(&ToClient::Text("{not json".to_owned()));
    }

    /// Resets every gateway connection.
    pub fn cut(&self) -> usize {
        self.hub.on_all_lines(&ToClient::Cut)
    }

    /// Ends every gateway connection without a close frame, in good order.
    pub fn hang_up(&self) -> usize {
        self.hub.on_all_lines(&ToClient::HangUp)
    }

    /// Closes every gateway connection with this code.
    pub fn close(&self, code: u16) -> usize {
        self.hub.on_all_lines(&ToClient::Close(Some(code)))
    }

    /// Closes every gateway connection with a close frame that has no code.
    pub fn close_empty(&self) -> usize {
        self.hub.on_all_lines(&ToClient::Close(None))
    }

    /// Asks every client to reconnect: op 7.
    pub fn reconnect(&self) -> usize {
        self.hub.on_all_lines(&ToClient::Text(json!({"op": 7, "d": null}).to_string()))
    }

    /// Declares every session invalid: op 9.
    pub fn invalidate(&self, resumable: bool) -> usize {
        if !resumable {
            for connection in self.hub.lines() {
                self.hub.change(|world| world.end_session(connection));
            }
        }
        self.hub.on_all_lines(&ToClient::Text(json!({"op": 9, "d": resumable}).to_string()))
    }

    /// Every gateway connection stays open, but nothing is acknowledged or delivered on it any more.
    pub fn zombie(&self) -> usize {
        self.hub.on_all_lines(&ToClient::Zombie)
    }

    /// The next RESUMEs are refused: op 9.
    pub fn refuse_resume(&self, times: usize) {
        self.switches().frames.insert(At::RefuseResume, times);
    }

    /// The next connections get no HELLO.
    pub fn no_hello(&self, times: usize) {
        self.switches().frames.insert(At::NoHello, times);
    }

    /// The next connections get no READY: heartbeats are acknowledged and IDENTIFY is not heard.
    pub fn no_ready(&self, times: usize) {
        self.switches().frames.insert(At::NoReady, times);
    }

    /// The next connections are accepted and the upgrade is never answered.
    pub fn hang_upgrade(&self, times: usize) {
        self.switches().frames.insert(At::HangUpgrade, times);
    }

    /// The next upgrades are refused with this status.
    pub fn refuse_upgrade(&self, times: usize, status: u16) {
        let mut switches = self.switches();
        switches.upgrade_status = status;
        switches.frames.insert(At::RefuseUpgrade, times);
    }

    /// Takes a permission from the bot, in every guild: 50013 from then on.
    pub fn revoke(&self, permission: u64) {
        self.hub.change(|world| world.revoke(permission));
    }

    /// Takes something away between event and answer.
    pub fn remove(&self, what: Removed) {
        self.hub.change(|world| match what {
            Removed::Channel(channel) => world.remove_channel(channel),
            Removed::Message { channel, message } => world.remove_message_in(channel, message),
            Removed::Member { guild, person } => world.leave(guild, person),
            Removed::Command(name) => world.remove_command(&name),
            Removed::Interaction(id) => world.remove_interaction(id),
        });
    }

    /// Switches a privileged intent in the developer portal.
    pub fn portal(&self, intent: u64, on: bool) {
        self.hub.change(|world| world.portal(intent, on));
    }

    /// Makes the bot's token worthless: 401, and 4004 at the next IDENTIFY.
    pub fn reset_token(&self) {
        self.hub.change(super::world::World::reset_token);
    }

    /// Ends all faults that are switches; what was taken away stays away.
    pub fn calm(&self) {
        let mut switches = self.switches();
        let chance = switches.chance.clone();
        *switches = Switches { chance, ..Switches::new(0) };
    }
}

/// What is taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    Channel(Id),
    Message { channel: Id, message: Id },
    Member { guild: Id, person: Id },
    Command(String),
    Interaction(Id),
}

/// A frame without a field that clients need.
pub(super) fn spoiled(text: &str) -> String {
    let mut frame: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(data) = frame["d"].as_object_mut() {
        for field in ["id", "user", "channel_id"] {
            if data.remove(field).is_some() {
                break;
            }
        }
    }
    frame.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(times: usize) -> Switches {
        let mut switches = Switches::new(1);
        let fault = CallFault { route: "GET /users/@me".to_owned(), left: times, effect: Effect::Hang };
        switches.calls.push(fault);
        switches
    }

    #[test]
    fn a_fault_counts_down_or_stays() {
        let mut twice = planned(2);
        let hits = (0..4).filter(|_| twice.on_call("GET /users/@me").is_some()).count();
        assert_eq!(hits, 2);
        assert!(twice.on_call("GET /gateway").is_none());
        let mut always = planned(ALWAYS);
        assert!((0..100).all(|_| always.on_call("GET /users/@me").is_some()));
    }

    #[test]
    fn the_weather_comes_from_the_seed() {
        let weather = Weather { fail: 0.1, lose_reply: 0.2, rate_limit: 0.3, ..Weather::default() };
        let forecast = |seed: u64| {
            let mut switches = Switches { weather, ..Switches::new(seed) };
            (0..200).map(|_| format!("{:?}", switches.on_call("GET /gateway"))).collect::<Vec<_>>()
        };
        println!("seeds 3 and 4");
        assert_eq!(forecast(3), forecast(3));
        assert_ne!(forecast(3), forecast(4));
        let all = forecast(3).join(" ");
        assert!(["502", "LoseReply", "429", "None"].iter().all(|kind| all.contains(kind)), "{all}");
    }

    #[test]
    fn a_spoiled_frame_lacks_what_clients_need() {
        let spoiled = spoiled(r#"{"t":"MESSAGE_CREATE","s":2,"op":0,"d":{"id":"1","content":"hi"}}"#);
        let frame: Value = serde_json::from_str(&spoiled).unwrap();
        assert_eq!(frame["d"], json!({"content": "hi"}));
        assert_eq!(frame["s"], 2);
    }
}
