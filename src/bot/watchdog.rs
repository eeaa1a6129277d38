//! Sees to it that the bot answers again, or ends so that its supervisor can start it anew.
//!
//! Two halves. [`Watchdog`] is a plain thread that reads atomics once a second, so that it works when the
//! runtime does not: it ends the process when the runtime stands still or a shard spins. [`watch_shards`]
//! runs inside and restarts a shard that is not well.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serenity::all::{ConnectionStage, ShardId, ShardManager};
use tokio::time::{Instant, interval, timeout};
use tracing::{error, warn};

use crate::bot::session::{End, Life};
use crate::bot::{Bot, Patience};
use crate::tasks::Tasks;
use crate::telemetry::{GATEWAY_IDENTIFIES, GATEWAY_IDLE_TURNS, GATEWAY_SPINS, Health, LINES_A_TURN};

/// The runtime shows that it turns this often, and shards are looked at as often.
const BEACON: Duration = Duration::from_millis(500);
/// Silent this long, the process is beyond help.
const BEACON_LIMIT: Duration = Duration::from_secs(15);
/// All that the end of the process may take: handing over shards, closing, commands, background work, the rest.
const END_LIMIT: Duration = Duration::from_secs(31);
/// serenity's restart waits for the old runner.
const RESTART_LIMIT: Duration = Duration::from_secs(15);
/// A shard that needs a second restart so soon needs a new process.
const RESTART_APART: Duration = Duration::from_secs(300);
/// serenity leaves this much time between the shards that it starts.
const STARTS_APART: Duration = Duration::from_secs(5);

/// A shard that is connected turns twice a second, and once for every event. Thousands of turns without events
/// in one second, and again in the next, are those of a shard that polls a dead socket.
const IDLE_TURNS_MAX: i64 = 2_500 * LINES_A_TURN;

/// Exit status for "try again".
const AGAIN: i32 = 75;

/// The thread that works when the runtime does not.
pub struct Watchdog;

impl Watchdog {
    /// Watches until the process ends. Only the executable starts it: it ends the whole process.
    pub fn start(tasks: &Tasks) {
        let beacon = Arc::new(AtomicU64::new(0));
        let (seen, shutdown) = (beacon.clone(), tasks.shutdown());
        tasks.spawn("beacon", async move {
            let mut ticks = interval(BEACON);
            while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
                beacon.fetch_add(1, Ordering::SeqCst);
            }
        });
        let stopping = tasks.shutdown();
        std::thread::spawn(move || {
            let mut last = (0, std::time::Instant::now());
            let mut turns = IdleTurns::default();
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = seen.load(Ordering::SeqCst);
                if now != last.0 {
                    last = (now, std::time::Instant::now());
                }
                // The beacon ends when the process is to stop, and from then on counts what that takes.
                let limit = if stopping.is_cancelled() { END_LIMIT } else { BEACON_LIMIT };
                let silent = last.1.elapsed() > limit;
                let spins = turns.are_many(GATEWAY_IDLE_TURNS.load(Ordering::SeqCst))
                    || GATEWAY_SPINS.load(Ordering::SeqCst);
                if silent || spins {
                    error!(silent, spins, "the bot cannot go on; ending the process");
                    std::process::exit(AGAIN);
                }
            }
        });
    }
}

/// Whether a shard turns without getting anywhere, looked at once a second.
#[derive(Default)]
struct IdleTurns {
    before: i64,
    were_many: bool,
}

impl IdleTurns {
    fn are_many(&mut self, now: i64) -> bool {
        let many = now - self.before > IDLE_TURNS_MAX;
        let again = many && self.were_many;
        (self.before, self.were_many) = (now, many);
        again
    }
}

/// What is known about one shard.
struct Shard {
    id: ShardId,
    connected: bool,
    latency: Option<Duration>,
    /// The last sign of life: it connected or began to reconnect, or while connected a heartbeat was
    /// acknowledged. Serenity measures the latency of each, and no two are alike.
    well: Instant,
    restarted: Option<Instant>,
}

impl Shard {
    fn new(id: ShardId, place: u32) -> Self {
        // Shards of one process start one after the other.
        let well = Instant::now() + STARTS_APART * place;
        Self { id, connected: false, latency: None, well, restarted: None }
    }

    /// Takes note of what the manager knows; `true` if there was a sign of life.
    fn look(&mut self, connected: bool, latency: Option<Duration>) -> bool {
        let lives = connected != self.connected || (connected && latency != self.latency);
        (self.connected, self.latency) = (connected, latency);
        if lives {
            self.well = Instant::now();
        }
        lives
    }

    fn is_well(&self, patience: &Patience) -> bool {
        let limit = if self.connected { patience.acknowledged } else { patience.connected };
        self.well.elapsed() <= limit
    }
}

/// The connected shards of one session, as a part of all that are.
struct Connected<'a> {
    health: &'a Health,
    count: u64,
}

impl Connected<'_> {
    fn change(&mut self, count: u64) {
        self.health.shards_connected.fetch_add(count, Ordering::SeqCst);
        self.health.shards_connected.fetch_sub(self.count, Ordering::SeqCst);
        self.count = count;
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.change(0);
    }
}

/// Looks after the shards until one of them is beyond help.
pub(super) async fn watch_shards(bot: &Bot, manager: &ShardManager, life: &Life) -> End {
    let first = life.shards.start;
    let mut shards: Vec<Shard> = life.shards.clone().map(|id| Shard::new(ShardId(id), id - first)).collect();
    let mut connected = Connected { health: &bot.services.health, count: 0 };
    // The process has one count of them. Where instances divide the shards, all may come to one.
    let expected = if life.alone { life.shards.len() } else { life.total as usize };
    let mut budget = Budget::new(expected, &bot.patience, GATEWAY_IDENTIFIES.load(Ordering::SeqCst));
    let mut ticks = interval(BEACON);
    loop {
        ticks.tick().await;
        look(bot, manager, &mut shards, &mut connected).await;
        let identifies = GATEWAY_IDENTIFIES.load(Ordering::SeqCst);
        budget.count(identifies);
        let told = bot.identifies_told.fetch_max(identifies, Ordering::SeqCst);
        bot.services.metrics.identifies.inc_by(identifies.saturating_sub(told));
        if let Some(until) = budget.exceeded_until() {
            let why = format!("{} IDENTIFYs in a short time", budget.sent.len());
            return End::TooManyIdentifies { why, until };
        }
        for shard in shards.iter_mut().filter(|shard| !shard.is_well(&bot.patience)) {
            if !cure(bot, manager, shard).await {
                return End::Trouble(format!("shard {} does not come back", shard.id.0));
            }
        }
    }
}

async fn look(bot: &Bot, manager: &ShardManager, shards: &mut [Shard], connected: &mut Connected<'_>) {
    {
        let runners = manager.runners.lock().await;
        for shard in &mut *shards {
            let runner = runners.get(&shard.id);
            let connected = runner.is_some_and(|runner| runner.stage == ConnectionStage::Connected);
            if shard.look(connected, runner.and_then(|runner| runner.latency)) && connected {
                bot.heard.now(shard.id);
            }
        }
    }
    let health = &bot.services.health;
    connected.change(shards.iter().filter(|shard| shard.connected).count() as u64);
    let slowest = shards.iter().filter_map(|shard| shard.latency).max();
    let millis = slowest.map_or(-1, |latency| i64::try_from(latency.as_millis()).unwrap_or(i64::MAX));
    health.heartbeat_ms.store(millis, Ordering::SeqCst);
}

/// Restarts a shard once; `false` if it needs a new process: a second time so soon, or without a runner, which
/// means that the queue of all shards hangs.
async fn cure(bot: &Bot, manager: &ShardManager, shard: &mut Shard) -> bool {
    let again = shard.restarted.is_some_and(|at| at.elapsed() < RESTART_APART);
    if again || !manager.has(shard.id).await {
        return false;
    }
    warn!(shard = shard.id.0, "a shard is not well; restarting it");
    bot.services.metrics.restarts.inc();
    let _ = timeout(RESTART_LIMIT, manager.restart(shard.id)).await;
    (shard.restarted, shard.well, shard.connected) = (Some(Instant::now()), Instant::now(), false);
    true
}

/// Counts IDENTIFYs: Discord resets the token of a bot that sends too many.
struct Budget {
    allowed: usize,
    window: Duration,
    /// How many there had been in this process when they were last counted.
    total: u64,
    sent: VecDeque<Instant>,
}

impl Budget {
    fn new(shards: usize, patience: &Patience, total: u64) -> Self {
        let (spare, window) = patience.identifies;
        Self { allowed: shards + spare, window, total, sent: VecDeque::new() }
    }

    /// Takes note of the process's total.
    fn count(&mut self, total: u64) {
        let new = total - self.total;
        self.total = total;
        self.sent.extend((0..new).map(|_| Instant::now()));
        while self.sent.pop_front_if(|at| at.elapsed() > self.window).is_some() {}
    }

    /// If there are too many, when they are no longer counted.
    fn exceeded_until(&self) -> Option<Instant> {
        let last = self.sent.back().filter(|_| self.sent.len() > self.allowed)?;
        Some(*last + self.window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    #[test]
    fn a_burst_is_no_spin() {
        let mut turns = IdleTurns::default();
        let seen: Vec<bool> =
            [10, 20_000, 20_010, 40_000, 60_000].map(|total| turns.are_many(total)).to_vec();
        assert_eq!(seen, [false, false, false, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_identifies_are_sat_out() {
        let patience = Patience { identifies: (2, 60 * SECOND), ..Patience::default() };
        let mut budget = Budget::new(1, &patience, 7);
        budget.count(8);
        assert_eq!(budget.exceeded_until(), None);
        pass(30 * SECOND).await;
        budget.count(10);
        assert_eq!(budget.exceeded_until(), None);
        budget.count(10);
        pass(31 * SECOND).await;
        budget.count(11);
        assert_eq!(budget.exceeded_until(), None, "the first no longer counts");
        budget.count(12);
        assert_eq!(budget.exceeded_until(), Some(Instant::now() + 60 * SECOND));
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_is_well_while_it_connects_in_time_and_is_acknowledged() {
        let patience = Patience::default();
        let mut shard = Shard::new(ShardId(1), 1);
        pass(64 * SECOND).await;
        assert!(shard.is_well(&patience), "it started five seconds after the first");
        pass(2 * SECOND).await;
        assert!(!shard.is_well(&patience));
        assert!(shard.look(true, None));
        pass(100 * SECOND).await;
        assert!(!shard.look(true, None));
        assert!(shard.is_well(&patience));
        assert!(shard.look(true, Some(SECOND)), "an acknowledgement");
        pass(100 * SECOND).await;
        assert!(shard.is_well(&patience));
        assert!(shard.look(false, None), "it reconnects, and has its time for that");
        pass(59 * SECOND).await;
        assert!(!shard.look(false, Some(SECOND)), "without READY an acknowledgement is no sign of life");
        assert!(shard.is_well(&patience));
        pass(2 * SECOND).await;
        assert!(!shard.is_well(&patience));
    }
}
