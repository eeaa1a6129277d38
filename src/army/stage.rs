//! [`Stage`]: what the soldiers of a run share: the Discord they are on, what is counted, promised and written
//! down, and how fast all of it may go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until};

use crate::army::ears::Switchboard;
use crate::army::log::RunLog;
use crate::army::metrics::Metrics;
use crate::army::promises::Ledger;
use crate::clock::Clock;
use crate::sim::{Id, Simulator};
use crate::tasks::Tasks;

/// How soldiers play.
#[derive(Clone, Debug)]
pub struct Options {
    pub run_id: String,
    pub seed: u64,
    /// The Discord server that soldiers come into.
    pub server: String,
    /// What the bot's commands start with there.
    pub prefix: String,
    pub think_scale: f64,
    pub wait_scale: f64,
    /// Requests of all soldiers in a second, at most.
    pub max_rate: Option<f64>,
    pub warmup: Duration,
    /// What is known under `config.x`.
    pub config: Map<String, Value>,
    /// How many slots there are: what `size: all` means.
    pub slots: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            run_id: "r1".to_owned(),
            seed: 1,
            server: "army".to_owned(),
            prefix: ".".to_owned(),
            think_scale: 1.0,
            wait_scale: 1.0,
            max_rate: None,
            warmup: Duration::ZERO,
            config: Map::new(),
            slots: 1,
        }
    }
}

/// What the soldiers of a run share.
pub struct Stage {
    pub options: Options,
    pub discord: Simulator,
    /// The bot under test, as Discord knows it.
    pub bot_id: Id,
    pub switchboard: Arc<Switchboard>,
    pub metrics: Metrics,
    pub ledger: Arc<Ledger>,
    pub log: RunLog,
    pub clock: Clock,
    /// When the run began, for trees that ask.
    pub began: Instant,
    /// The tree's `lists:`.
    pub lists: BTreeMap<String, Vec<Value>>,
    pacer: Option<Pacer>,
    next_id: AtomicU64,
    servers: Mutex<BTreeMap<Id, String>>,
}

impl Stage {
    /// Sets the stage; the switchboard is one of `tasks`.
    pub fn new(
        options: Options,
        lists: BTreeMap<String, Vec<Value>>,
        discord: Simulator,
        clock: Clock,
        log: RunLog,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let ledger = Arc::new(Ledger::default());
        let switchboard = Arc::new(Switchboard::new(ledger.clone()));
        tasks.spawn("switchboard", switchboard.clone().run(discord.watch_all(), tasks.shutdown()));
        let bot_id = discord.read(crate::sim::World::bot);
        Arc::new(Self {
            bot_id,
            switchboard,
            metrics: Metrics::new(options.warmup),
            ledger,
            log,
            clock,
            began: Instant::now(),
            lists,
            pacer: options.max_rate.map(Pacer::new),
            next_id: AtomicU64::new(0),
            servers: Mutex::default(),
            discord,
            options,
        })
    }

    /// Ids are counted from 0 and never used again.
    pub fn next_bot_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until another request may be made.
    pub async fn pace(&self) {
        if let Some(pacer) = &self.pacer {
            sleep_until(pacer.next()).await;
        }
    }

    /// A server that soldiers are in, and what it is called.
    pub fn plays_in(&self, server: Id, name: &str) {
        self.ledger.plays_in(server);
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.entry(server).or_insert_with(|| name.to_owned());
    }

    pub fn server_name(&self, server: Id) -> String {
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        servers.get(&server).unwrap_or(&self.options.server).clone()
    }
}

/// Hands out moments that are evenly apart; what was not used is not saved up.
struct Pacer {
    every: Duration,
    next: Mutex<Instant>,
}

impl Pacer {
    fn new(rate: f64) -> Self {
        Self { every: Duration::from_secs_f64(1.0 / rate), next: Mutex::new(Instant::now()) }
    }

    fn next(&self) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = (*next).max(Instant::now());
        *next = mine + self.every;
        mine
    }
}
