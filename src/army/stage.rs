//! [`Stage`]: what the soldiers of a run share: the Discord they are on, what is counted, promised and written
//! down, and how fast all of it may go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::army::discord::Discord;
use crate::army::ears::Switchboard;
use crate::army::log::RunLog;
use crate::army::metrics::Metrics;
use crate::army::profile::{self, Profile};
use crate::army::promises::Ledger;
use crate::army::trace::Trace;
use crate::clock::Clock;
use crate::dynamo::{Dynamo, Usage};
use crate::shared::{SharedData, SharedError, Who};
use crate::sim::Id;
use crate::tasks::Tasks;

/// What its table is called in the store's books.
const SHARED_TABLE: &str = "shared";

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
    /// How many slots there are: what `size: all` means.
    pub slots: u32,
    /// Every step is kept, to be written to a file.
    pub trace: bool,
    /// What soldiers do beside their tree.
    pub profile: &'static Profile,
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
            slots: 1,
            trace: false,
            profile: &profile::DEFAULT,
        }
    }
}

/// What the soldiers of a run share.
pub struct Stage {
    pub options: Options,
    pub discord: Discord,
    /// The bot under test, as Discord knows it.
    pub bot_id: Id,
    pub switchboard: Arc<Switchboard>,
    pub metrics: Metrics,
    pub ledger: Arc<Ledger>,
    pub log: RunLog,
    pub clock: Clock,
    /// When the run began, for trees that ask.
    pub began: Instant,
    pub shared: SharedData,
    /// Where it is kept.
    shared_store: Dynamo,
    pub trace: Trace,
    paused: watch::Sender<bool>,
    pacer: Option<Pacer>,
    next_id: AtomicU64,
    servers: Mutex<BTreeMap<Id, String>>,
    absent: Mutex<Absent>,
}

/// Barriers that soldiers have come to, and slots that nobody will sit on any more.
#[derive(Default)]
struct Absent {
    barriers: BTreeMap<String, usize>,
    slots: BTreeSet<u32>,
}

impl Stage {
    /// Sets the stage; the switchboard is one of `tasks`.
    pub fn new(
        options: Options,
        (shared, shared_store): (SharedData, Dynamo),
        discord: Discord,
        clock: Clock,
        log: RunLog,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let ledger = Arc::new(Ledger::default());
        let switchboard = Arc::new(Switchboard::new(ledger.clone()));
        tasks.spawn("switchboard", switchboard.clone().run(discord.ears(), tasks.shutdown()));
        let bot_id = discord.bot();
        Arc::new(Self {
            bot_id,
            switchboard,
            metrics: Metrics::new(options.warmup),
            ledger,
            log,
            clock,
            began: Instant::now(),
            shared,
            shared_store,
            trace: Trace::new(options.trace),
            paused: watch::Sender::new(false),
            pacer: options.max_rate.map(Pacer::new),
            next_id: AtomicU64::new(0),
            servers: Mutex::default(),
            absent: Mutex::default(),
            discord,
            options,
        })
    }

    /// Ids are counted from 0 and never used again.
    pub fn next_bot_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on no soldier begins a step, or they go on.
    pub fn toggle_pause(&self) {
        self.paused.send_modify(|paused| *paused = !*paused);
    }

    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Waits until nobody wants a pause.
    pub async fn resumed(&self) {
        // The sender is borrowed here, so it is there.
        let _ = self.paused.subscribe().wait_for(|paused| !*paused).await;
    }

    /// Waits until another request may be made.
    pub async fn pace(&self) {
        if let Some(pacer) = &self.pacer {
            sleep_until(pacer.next()).await;
        }
    }

    /// Somebody comes to a barrier. Those who will not come are not waited for.
    pub async fn barrier_seen(&self, name: &str, size: usize) -> Result<(), SharedError> {
        let gone = {
            let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
            match absent.barriers.insert(name.to_owned(), size) {
                None => absent.slots.clone(),
                Some(_) => BTreeSet::new(),
            }
        };
        for slot in gone {
            self.shared.withdraw(name, &Who::slot(slot), size).await?;
        }
        Ok(())
    }

    /// Nobody will sit on this slot any more.
    pub async fn gone(&self, slot: u32) {
        let barriers = {
            let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
            absent.slots.insert(slot);
            absent.barriers.clone()
        };
        for (name, size) in barriers {
            if let Err(error) = self.shared.withdraw(&name, &Who::slot(slot), size).await {
                // The others break the barrier when their time is over.
                tracing::warn!(%error, name, slot, "nobody could withdraw from a barrier");
            }
        }
    }

    /// What the shared data has cost so far, by operation of the store.
    pub fn shared_usage(&self) -> Vec<(&'static str, Usage)> {
        let used = self.shared_store.usage().into_iter().filter(|((table, _), _)| *table == SHARED_TABLE);
        used.map(|((_, operation), usage)| (operation, usage)).collect()
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
