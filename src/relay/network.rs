//! Whole fleets in virtual time: random links, most of them with cycles, frames that are lost, repeated and
//! overtaken, cuts, and crashes at any write. What the relay promises is checked for every bot.
//!
//! A seed is one network: `MNEME_TEST_SEED=17` runs it alone, `MNEME_ROUNDS=5` five times as many.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::FutureExt;

use crate::clock::Timestamp;
use crate::relay::engine::Engine;
use crate::relay::envelope::{Kind, Scope};
use crate::relay::frame::Frame;
use crate::relay::law::Law;
use crate::relay::memory::{Air, Flying, Weather};
use crate::relay::model::{Crash, Model, Mutant, Records};
use crate::relay::name::{BotName, EnvelopeId, Pattern, Topic};
use crate::relay::publish::Draft;
use crate::relay::routes::{EVENT_LIFE, Link, Routes, TopicRule, Waiting};
use crate::relay::run::Acted;
use crate::relay::store::Out;

/// A thousand in all: with crashes and without, and those where stores are lost too.
const NETWORKS: u64 = 800;
const LOSSES: u64 = 200;
const PARTS: u64 = 2;

/// A mistake shows within so many networks, or the networks are not wild enough.
const MUTANTS: u64 = 300;

/// Faults rage for so long.
const STORM: Duration = Duration::from_secs(60);

/// Then all must be still within this: twice the longest pause between two tries, and some.
const CALM: Duration = Duration::from_secs(400);

const START: Timestamp = Timestamp::from_seconds(1_800_000_000);

const TOPICS: [&str; 2] = ["alerts/disk", "announce"];

struct Bot {
    name: BotName,
    routes: Routes,
    model: Model,
    engine: Engine<Model>,
    /// Down until then.
    back_at: Option<Timestamp>,
    /// When it has something to do.
    due: Timestamp,
    /// Its clock is so much behind.
    behind: Duration,
    /// Its store was lost or restored: it cannot know any more what it had.
    is_whole: bool,
}

struct Network {
    now: Timestamp,
    chance: fastrand::Rng,
    air: Air,
    bots: BTreeMap<BotName, Bot>,
    /// In the order of publication.
    published: Vec<Message>,
    frames: u64,
}

#[derive(Clone)]
struct Message {
    id: EnvelopeId,
    topic: Topic,
    scope: Scope,
}

fn name(n: usize) -> BotName {
    BotName::new(&format!("bot-{n}")).unwrap()
}

fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("the model answers at once")
}

impl Network {
    /// `links`: from, to, and the topics between them.
    fn new(seed: u64, bots: usize, links: &[(usize, usize, &str)], mutant: Mutant) -> Self {
        let rule = TopicRule { topics: Pattern::new("**").unwrap(), kind: Kind::Event, life: EVENT_LIFE };
        let link = |topics: &str| Link { topics: vec![Pattern::new(topics).unwrap()], vouch: true };
        let bot = |n: usize| {
            let to = links.iter().filter(|(from, ..)| *from == n).map(|(_, to, t)| (name(*to), link(t)));
            let from = links.iter().filter(|(_, to, _)| *to == n).map(|(from, _, t)| (name(*from), link(t)));
            let routes = Routes {
                me: name(n),
                topics: vec![rule.clone()],
                to: to.collect(),
                from: from.collect(),
                acts: true,
                waiting: Waiting::default(),
                keys: BTreeMap::new(),
                key: None,
            };
            let model = Model::default();
            model.records().mutant = mutant;
            let engine = Engine::new(model.clone(), routes.clone(), false, seed);
            (
                name(n),
                Bot {
                    name: name(n),
                    routes,
                    model,
                    engine,
                    back_at: None,
                    due: START,
                    behind: Duration::ZERO,
                    is_whole: true,
                },
            )
        };
        Self {
            now: START,
            chance: fastrand::Rng::with_seed(seed),
            air: Air::new(seed, Weather::default()),
            bots: (0..bots).map(bot).collect(),
            published: Vec::new(),
            frames: 0,
        }
    }

    fn random(seed: u64, mutant: Mutant) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed ^ 0x5eed);
        let bots = chance.usize(2..=6);
        let mut links = Vec::new();
        for from in 0..bots {
            for to in (0..bots).filter(|to| *to != from) {
                if chance.u32(0..100) < 45 {
                    links.push((from, to, ["**", "**", "alerts/**"][chance.usize(0..3)]));
                }
            }
        }
        let mut network = Self::new(seed, bots, &links, mutant);
        network.air.weather = Weather { lost: 15, repeated: 10, slowest: Duration::from_millis(800) };
        network
    }

    /// Publishes, and again after a crash, as whoever was not answered would.
    fn publish(&mut self, n: usize, topic: &str, scope: Scope) {
        let because = format!("event {}", self.published.len());
        let (origin, topic) = (name(n), Topic::new(topic).unwrap());
        let id = EnvelopeId::of(&origin, &because, 0);
        self.published.push(Message { id, topic: topic.clone(), scope });
        let draft = Draft { scope, ..Draft::test(topic.as_str(), &because, self.now) };
        for _ in 0..3 {
            let now = self.now;
            let bot = self.bots.get_mut(&origin).unwrap();
            bot.due = now;
            if now_or_never(bot.engine.publish(now.minus(bot.behind), draft.clone())).is_ok() {
                return;
            }
            bot.start();
        }
        panic!("a bot without faults takes every message");
    }

    /// One round of everybody; `false`: nothing is to be done before `until`.
    fn step(&mut self, until: Timestamp) -> bool {
        let mut next = until;
        while let Some(Flying { from, to, frame }) = self.air.arrived(self.now) {
            let bot = self.bots.get_mut(&to).unwrap();
            if bot.back_at.is_none() {
                bot.due = self.now;
                // A store that died is seen below.
                let _ = now_or_never(bot.engine.hear(self.now.minus(bot.behind), &from, frame));
            }
        }
        for bot in self.bots.values_mut() {
            if bot.due > self.now {
                next = next.min(bot.due);
                continue;
            }
            bot.run(self.now);
            for (to, frame) in bot.engine.outgoing() {
                self.frames += u64::from(matches!(frame, Frame::Data(_)));
                self.air.send(self.now, Flying { from: bot.name.clone(), to, frame });
            }
            bot.due = bot.wake_at(self.now);
            next = next.min(bot.due);
        }
        next = self.air.next_at().map_or(next, |at| at.min(next));
        self.now = next.max(self.now.plus(Duration::from_millis(1)));
        self.now < until
    }

    fn run(&mut self, duration: Duration) {
        let until = self.now.plus(duration);
        while self.step(until) {}
    }

    /// Publishes while everything goes wrong, and then lets it calm down.
    fn storm(&mut self, crashes: bool) {
        let end = self.now.plus(STORM);
        while self.now < end {
            let pause = Duration::from_millis(self.chance.u64(0..4_000));
            self.run(pause);
            let n = self.chance.usize(0..self.bots.len());
            let scope = [Scope::Fleet, Scope::Fleet, Scope::Link, Scope::Local][self.chance.usize(0..4)];
            match self.chance.u32(0..10) {
                0 => self.air.mend(),
                1 => self.air.cut(&name(n), &name(self.chance.usize(0..self.bots.len()))),
                2 | 3 if crashes => {
                    let crash = Crash::At { writes: self.chance.u32(0..6), applied: self.chance.bool() };
                    self.bots[&name(n)].model.records().crash = crash;
                }
                _ => {
                    for _ in 0..self.chance.u32(1..4) {
                        let topic = TOPICS[self.chance.usize(0..TOPICS.len())];
                        self.publish(n, topic, scope);
                    }
                }
            }
        }
        self.calm();
    }

    /// Nothing goes wrong any more: what is on its way arrives, and then all is still.
    fn calm(&mut self) {
        for bot in self.bots.values_mut() {
            let mut records = bot.model.records();
            if records.crash != Crash::Dead {
                records.crash = Crash::Never;
            }
        }
        self.air.mend();
        self.air.weather = Weather { slowest: Duration::from_millis(20), ..Weather::default() };
        self.run(CALM);
        self.frames = 0;
        self.run(Duration::from_secs(120));
    }

    /// A bot's store is lost, or replaced by what it was a while ago.
    fn lose(&mut self, n: usize) {
        let backup = self.bots[&name(n)].model.records().clone();
        let later = Duration::from_millis(self.chance.u64(0..20_000));
        for _ in 0..3 {
            let from = self.chance.usize(0..self.bots.len());
            self.publish(from, TOPICS[0], Scope::Fleet);
            self.run(later / 3);
        }
        let (is_lost, behind) = (self.chance.bool(), Duration::from_secs(self.chance.u64(0..200)));
        let bot = self.bots.get_mut(&name(n)).unwrap();
        bot.engine.outgoing();
        // What it acted upon happened, whatever it still knows of it.
        let acted = std::mem::take(&mut bot.model.records().acted);
        *bot.model.records() = if is_lost { Records::default() } else { backup };
        bot.model.records().acted = acted;
        bot.is_whole = false;
        bot.behind = if is_lost { behind } else { Duration::ZERO };
        bot.start();
    }

    /// What is promised after stores were lost: silence, nothing twice where the store is whole, and whatever
    /// is published from then on arrives.
    fn check_after_losses(&self, published_before: usize) -> Result<(), String> {
        for bot in self.bots.values() {
            let records = bot.model.records();
            let times = |message: &Message| records.acted.iter().filter(|id| **id == message.id).count();
            for message in &self.published[published_before..] {
                let expected = usize::from(self.reach(message).contains(&bot.name));
                if times(message) != expected {
                    return Err(format!("{} acted {} times on {}", bot.name, times(message), message.id));
                }
            }
            if let Some(twice) = self.published.iter().find(|message| bot.is_whole && times(message) > 1) {
                return Err(format!("{} acted twice on {}", bot.name, twice.id));
            }
            if let Some(waiting) = records.outs.iter().find(|(_, lane)| lane.waiting() > 0) {
                return Err(format!("{} still has {waiting:?}", bot.name));
            }
        }
        if self.frames > 0 { Err(format!("{} frames after all was done", self.frames)) } else { Ok(()) }
    }

    /// The bots that an envelope is to reach.
    fn reach(&self, message: &Message) -> BTreeSet<BotName> {
        let mut reached = BTreeSet::from([message.id.origin()]);
        let mut hops = match message.scope {
            Scope::Local => 0,
            Scope::Link => 1,
            Scope::Fleet => usize::MAX,
        };
        let mut border: Vec<_> = reached.iter().cloned().collect();
        while hops > 0 && !border.is_empty() {
            let mut beyond = Vec::new();
            for bot in border {
                for (peer, link) in &self.bots[&bot].routes.to {
                    if link.carries(&message.topic) && reached.insert(peer.clone()) {
                        beyond.push(peer.clone());
                    }
                }
            }
            border = beyond;
            hops -= 1;
        }
        reached
    }

    /// What is promised, or what is wrong.
    fn check(&self) -> Result<(), String> {
        let reach: Vec<_> = self.published.iter().map(|message| self.reach(message)).collect();
        for bot in self.bots.values() {
            let records = bot.model.records();
            let mut acted: BTreeMap<&EnvelopeId, usize> = BTreeMap::new();
            for (at, id) in records.acted.iter().enumerate() {
                if acted.insert(id, at).is_some() {
                    return Err(format!("{} acted twice on {id}", bot.name));
                }
            }
            let mut last: BTreeMap<_, usize> = BTreeMap::new();
            for (message, reach) in self.published.iter().zip(&reach) {
                let at = acted.remove(&message.id);
                match (at, reach.contains(&bot.name)) {
                    (None, true) => return Err(format!("{} never got {}", bot.name, message.id)),
                    (Some(_), false) => return Err(format!("{} got {}", bot.name, message.id)),
                    (None, false) => {}
                    (Some(at), true) => {
                        let stream = (message.id.origin(), &message.topic, message.scope);
                        if last.insert(stream, at).is_some_and(|before| before > at) {
                            return Err(format!("{} got {} out of order", bot.name, message.id));
                        }
                    }
                }
            }
            let mut crossed = BTreeSet::new();
            for ((out, _), row) in &records.rows {
                if !crossed.insert((out, &row.id)) {
                    return Err(format!("{} sends {} twice to {out:?}", bot.name, row.id));
                }
            }
            if let Some(waiting) = records.outs.iter().find(|(_, lane)| lane.waiting() > 0) {
                return Err(format!("{} still has {waiting:?}", bot.name));
            }
            if let Some(dead) = records.dead.first() {
                return Err(format!("{} has a dead letter {dead:?}", bot.name));
            }
        }
        if self.frames > 0 { Err(format!("{} frames after all was done", self.frames)) } else { Ok(()) }
    }
}

impl Bot {
    /// Starts over, with nothing but what is in the store.
    fn start(&mut self) {
        self.model.records().crash = Crash::Never;
        self.engine = Engine::new(self.model.clone(), self.routes.clone(), false, 0);
        (self.back_at, self.due) = (None, START);
    }

    fn run(&mut self, now: Timestamp) {
        if self.back_at.is_some_and(|at| now >= at) {
            self.start();
        }
        if self.back_at.is_none() && now_or_never(self.work(now)).is_err() {
            // Whatever was on its way to the others is lost with it.
            self.engine.outgoing();
            self.back_at = Some(now.plus(Duration::from_secs(3)));
        }
    }

    async fn work(&mut self, now: Timestamp) -> Result<(), crate::dynamo::Error> {
        let now = now.minus(self.behind);
        self.engine.tick(now).await?;
        loop {
            let work = self.engine.work(now).await?;
            if work.is_empty() {
                // Or what ends does so with what is taken next.
                if now.millis() % 3 == 0 {
                    self.engine.end_noted(now).await?;
                }
                return self.engine.read_ahead(now).await;
            }
            let done: Vec<_> = work.into_iter().map(|work| (work, Acted::default())).collect();
            self.engine.note_done(now, &done).await?;
        }
    }

    fn wake_at(&self, now: Timestamp) -> Timestamp {
        let wake_at = || self.engine.wake_at(now.minus(self.behind)).plus(self.behind);
        self.back_at.unwrap_or_else(wake_at)
    }
}

fn seeds(networks: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    match number("MNEME_TEST_SEED") {
        Some(seed) => vec![seed],
        None => (0..networks * number("MNEME_ROUNDS").unwrap_or(1)).collect(),
    }
}

/// A storm in a random network, every other one with crashes; or what is wrong after it.
fn storm(seed: u64, mutant: Mutant) -> Result<(), String> {
    let mut network = Network::random(seed, mutant);
    network.storm(seed.is_multiple_of(2));
    network.check()
}

/// The same, and then stores are lost or restored; or what is wrong when all has calmed down.
fn losses(seed: u64) -> Result<(), String> {
    let mut network = Network::random(seed, Mutant::None);
    let weather = network.air.weather;
    network.storm(false);
    network.air.weather = weather;
    for _ in 0..2 {
        let n = network.chance.usize(0..network.bots.len());
        network.lose(n);
    }
    // Whoever was away hears of it when something is sent.
    network.calm();
    let before = network.published.len();
    for n in 0..network.bots.len() {
        TOPICS.iter().for_each(|topic| network.publish(n, topic, Scope::Fleet));
    }
    network.calm();
    network.check_after_losses(before)
}

/// A part of the seeds, so that parts run side by side.
fn storms(part: u64) {
    for seed in seeds(NETWORKS).into_iter().filter(|seed| seed % PARTS == part) {
        if let Err(wrong) = storm(seed, Mutant::None) {
            panic!("MNEME_TEST_SEED={seed}: {wrong}");
        }
    }
}

#[test]
fn every_message_reaches_every_bot_once_and_in_order_0() {
    storms(0);
}

#[test]
fn every_message_reaches_every_bot_once_and_in_order_1() {
    storms(1);
}

#[test]
fn after_lost_and_restored_stores_all_that_follows_arrives() {
    for seed in seeds(LOSSES) {
        if let Err(wrong) = losses(seed) {
            panic!("MNEME_TEST_SEED={seed}: {wrong}");
        }
    }
}

/// A check that finds nothing proves nothing.
#[test]
fn mistakes_in_steps_of_the_store_are_found() {
    for mutant in [Mutant::Forgetful, Mutant::TwoSteps, Mutant::AckBefore] {
        let found = (0..MUTANTS).find(|seed| storm(seed * 2, mutant).is_err());
        assert!(found.is_some(), "{mutant:?} was not found in {MUTANTS} networks");
    }
}

/// Every rule of the protocol is missed when it is taken away.
#[test]
fn no_rule_of_the_protocol_could_be_left_out() {
    for law in Law::ALL {
        Law::break_only(Some(*law));
        let found = (0..MUTANTS).find(|seed| storm(*seed, Mutant::None).is_err() || losses(*seed).is_err());
        Law::break_only(None);
        println!("{law:?}: {found:?}");
        assert!(found.is_some(), "{law:?} is not missed in {MUTANTS} networks");
    }
}

/// Publishes one message in a network without faults, and counts the frames that carried it.
fn one_message(bots: usize, links: &[(usize, usize, &str)]) -> u64 {
    let mut network = Network::new(1, bots, links, Mutant::None);
    network.run(Duration::from_secs(1));
    network.publish(0, "announce", Scope::Fleet);
    network.run(CALM);
    let frames = std::mem::take(&mut network.frames);
    network.check().unwrap();
    frames
}

#[test]
fn two_bots_that_point_at_each_other_do_not_loop() {
    assert_eq!(one_message(2, &[(0, 1, "**"), (1, 0, "**")]), 1);
}

#[test]
fn a_ring_does_not_loop() {
    assert_eq!(one_message(3, &[(0, 1, "**"), (1, 2, "**"), (2, 0, "**")]), 2);
    let both_ways = [(0, 1, "**"), (1, 0, "**"), (1, 2, "**"), (2, 1, "**"), (2, 0, "**"), (0, 2, "**")];
    assert!((2..=4).contains(&one_message(3, &both_ways)));
}

#[test]
fn a_full_queue_refuses_and_keeps_what_it_took() {
    let mut network = Network::new(1, 2, &[(0, 1, "**")], Mutant::None);
    network.air.cut(&name(0), &name(1));
    let bot = network.bots.get_mut(&name(0)).unwrap();
    bot.routes.waiting.events = 3;
    bot.routes.acts = false;
    bot.start();
    for _ in 0..3 {
        network.publish(0, "announce", Scope::Fleet);
    }
    let (now, bot) = (network.now, network.bots.get_mut(&name(0)).unwrap());
    let draft = Draft::test("announce", "one too many", now);
    let refused = now_or_never(bot.engine.publish(now, draft.clone())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the queue bot-1/events is full: it was not taken; look at `mneme relay status`"
    );
    assert_eq!(bot.model.records().rows.keys().filter(|(out, _)| *out != Out::Here).count(), 3);
    network.air.mend();
    network.run(CALM);
    let other = &network.bots[&name(1)];
    let taken: Vec<_> = network.published.iter().map(|message| message.id.clone()).collect();
    assert_eq!(other.model.records().acted, taken);
    let (now, bot) = (network.now, network.bots.get_mut(&name(0)).unwrap());
    assert!(now_or_never(bot.engine.publish(now, draft)).is_ok());
}
