//! The process is killed at any moment, again and again: what it acknowledged is there, what it said is
//! true, and nothing is said twice.

use std::collections::BTreeMap;
use std::path::Path;

use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::sim::{Id, World};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::child::{Mneme, run_on};
use crate::harness::{Discord, PATIENCE, Person, answered, rounds, seed, together, world};
use crate::ledger::{Ask, Ledger, Told};

/// A game has a world and a file of its own. Short ones, because each life reads what the others left.
const GAMES: usize = 4;
const KILLS: usize = 50;
const AT_ONCE: usize = 2;
const PEOPLE: [&str; 4] = ["ann", "bob", "mo", "olga"];
/// Commands of one person that wait behind each other when the process dies.
const IN_FLIGHT: usize = 4;
/// Memories that are looked up after each start.
const LOOKED_UP: usize = 5;

/// What is known about a memory of one person's own.
#[derive(Clone, Debug, Default)]
struct Belief {
    /// What it says; `None`: nothing, or forgotten.
    value: Option<String>,
    /// Changes in the order in which they were asked for, until they are answered.
    open: Vec<(Id, Ask)>,
    /// One of them died with the process, so nobody knows what it says.
    doubtful: bool,
}

struct Game {
    seed: u64,
    discord: Discord,
    rng: StdRng,
    events: BoxStream<'static, Value>,
    ledger: Ledger,
    /// The bot's messages to each event: more than one would be an answer given twice.
    replies: BTreeMap<Id, BTreeMap<Id, String>>,
    beliefs: BTreeMap<String, Belief>,
    keys: usize,
}

impl Game {
    async fn new(seed: u64) -> Self {
        let mut world = world();
        // As many starts as the test needs, as fast as it can.
        world.settings.max_concurrency = usize::MAX;
        let discord = Discord::with(world).await;
        let events = together(PEOPLE.map(|name| discord.simulator.watch(discord.id(name))));
        Self {
            seed,
            discord,
            rng: StdRng::seed_from_u64(seed),
            events,
            ledger: Ledger::new(format!("game {seed}")),
            replies: BTreeMap::new(),
            beliefs: BTreeMap::new(),
            keys: 0,
        }
    }

    fn note(&mut self, event: &Value) -> bool {
        let Some((to, answer)) = answered(event) else { return false };
        let messages = self.replies.entry(to).or_default();
        messages.insert(answer.id(), answer.text()).is_none()
    }

    /// Waits for so many more answers.
    async fn hear(&mut self, mut answers: usize) {
        while answers > 0 {
            let event = timeout(PATIENCE, self.events.next()).await.expect("the bot answers");
            answers -= usize::from(self.note(&event.expect("the simulator runs")));
        }
    }

    /// Takes in what has been said already.
    fn catch_up(&mut self) {
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.note(&event);
        }
    }

    /// One life: it comes up, is asked for what it must know, is asked to change much, and dies.
    async fn live_and_die(&mut self, data: &Path) {
        let mut bot = Mneme::start(run_on(&self.discord, data));
        if self.rng.random_ratio(1, 10) {
            // It dies while it starts.
            for _ in 0..self.rng.random_range(0..4) {
                bot.line().await;
            }
            bot.kill().await;
            return;
        }
        bot.is_ready().await;
        self.look_up().await;
        let asked = self.ask();
        let answers = self.rng.random_range(0..=asked);
        self.hear(answers).await;
        for _ in 0..self.rng.random_range(0..300) {
            tokio::task::yield_now().await;
        }
        let log = bot.kill().await;
        let troubles: Vec<&String> =
            log.iter().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
        assert!(troubles.is_empty(), "{troubles:?}");
        self.catch_up();
        self.settle();
    }

    /// What was acknowledged in earlier lives is there.
    async fn look_up(&mut self) {
        let known: Vec<&String> =
            self.beliefs.iter().filter(|(_, belief)| !belief.doubtful).map(|(key, _)| key).collect();
        let chosen: Vec<String> =
            known.choose_multiple(&mut self.rng, LOOKED_UP).map(|key| (*key).clone()).collect();
        let ann = self.discord.person("zoo", "dogs", "ann");
        let asked: Vec<(Id, String)> =
            chosen.into_iter().map(|key| (ann.say(&format!(".rem {key}")), key)).collect();
        self.hear(asked.len()).await;
        for (event, key) in asked {
            let answer = self.replies[&event].values().next().expect("it was heard");
            match &self.beliefs[&key].value {
                Some(value) => assert_eq!(answer, value, "{key}"),
                None => assert!(answer.starts_with("🤔 I couldn't remember"), "{key}: {answer}"),
            }
        }
    }

    /// Everybody asks for several changes at once.
    fn ask(&mut self) -> usize {
        for name in PEOPLE {
            for _ in 0..IN_FLIGHT {
                let ask = self.any_change(name);
                let by_slash = ask.op == "set" && self.rng.random_ratio(1, 4);
                let event = ask_for(&self.discord.person("zoo", "cats", name), &ask, by_slash);
                self.ledger.asked(event, ask.clone());
                self.beliefs.entry(ask.key.clone()).or_default().open.push((event, ask));
            }
        }
        PEOPLE.len() * IN_FLIGHT
    }

    fn any_change(&mut self, name: &str) -> Ask {
        let own: Vec<String> =
            self.beliefs.keys().filter(|key| key.starts_with(name)).rev().take(6).cloned().collect();
        self.keys += 1;
        let text = format!("value {}", self.keys);
        let new = format!("{name} {:06}", self.keys);
        match (self.rng.random_range(0..10), own.choose(&mut self.rng)) {
            (4..=6, Some(key)) => Ask::new("append", key, text),
            (7, Some(key)) => Ask::new("forget", key, ""),
            (8, Some(key)) => Ask::new("edit", key, text),
            (9, Some(key)) => Ask::new("set", key, text),
            _ => Ask::new("set", new, text),
        }
    }

    /// Draws conclusions from the answers of the life that just ended.
    fn settle(&mut self) {
        for belief in self.beliefs.values_mut() {
            for (event, ask) in std::mem::take(&mut belief.open) {
                let Some(reply) = self.replies.get(&event).and_then(|all| all.values().next()) else {
                    belief.doubtful = true;
                    continue;
                };
                if !matches!(Told::by(reply), Told::Done(_)) {
                    continue;
                }
                belief.value = match (ask.op, belief.value.take()) {
                    ("append", Some(before)) => Some(format!("{before}\n{}", ask.text)),
                    ("forget", _) => None,
                    (_, _) => Some(ask.text),
                };
            }
        }
    }

    /// After the last kill: holds every answer against the file.
    async fn check(mut self, data: &Path) {
        self.catch_up();
        for (event, replies) in &self.replies {
            assert_eq!(replies.len(), 1, "event {event} was answered twice: {replies:?}");
            replies.values().for_each(|reply| self.ledger.replied(*event, reply));
        }
        let store = connect(StoreConfig::new(Store::File(data.join("mneme.db")))).await;
        let server = self.discord.simulator.change(|world: &mut World| world.guild("zoo").id());
        self.ledger.check(&store.expect("the file is whole").dynamo, server).await;
        let [done, not_done, unknown, open] = self.ledger.count();
        println!(
            "seed {}: done {done}, not done {not_done}, unknown {unknown}, died unanswered {open}",
            self.seed
        );
        assert!(done > 0 && open > 0, "the kills came too early or too late");
        self.discord.end().await;
    }
}

fn ask_for(person: &Person<'_>, ask: &Ask, by_slash: bool) -> Id {
    if by_slash {
        return person.call("rem set", &[("key", json!(ask.key)), ("value", json!(ask.text))]);
    }
    person.say(&ask.line())
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let (seed, games) = (seed(1), rounds(GAMES));
    let all = stream::iter(seed..seed + games as u64).map(play);
    all.buffer_unordered(AT_ONCE).collect::<()>().await;
}

async fn play(seed: u64) {
    let data = tempfile::tempdir().expect("a folder");
    let mut game = Game::new(seed).await;
    for _ in 1..KILLS {
        game.live_and_die(data.path()).await;
    }
    let mut last = Mneme::start(run_on(&game.discord, data.path()));
    last.is_ready().await;
    game.look_up().await;
    last.kill().await;
    game.check(data.path()).await;
}
