//! Sees to it that the bot answers again, or ends so that its supervisor can start it anew.
//!
//! Two halves. [`Watchdog`] is a plain thread that reads atomics once a second, so that it works when the
//! runtime does not: it ends the process when the runtime stands still or a shard spins. [`watch_shards`]
//! runs inside and restarts a shard that is not well.

use std::collections::HashMap;
use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serenity::all::{ConnectionStage, ShardId, ShardManager};
use tokio::time::{Instant, interval, timeout};
use tracing::{error, warn};

use crate::bot::Bot;
use crate::tasks::Tasks;
use crate::telemetry::GATEWAY_SPINS;

/// The runtime shows that it turns this often.
const BEACON: Duration = Duration::from_millis(500);
/// Silent this long, the process is beyond help.
const BEACON_LIMIT: Duration = Duration::from_secs(15);
/// A shard that is not connected by then hangs.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Two and a half of Discord's heartbeat intervals without an acknowledgement.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(105);
/// serenity's restart waits for the old runner.
const RESTART_LIMIT: Duration = Duration::from_secs(15);
/// A shard that needs a second restart so soon needs a new process.
const RESTART_APART: Duration = Duration::from_secs(300);
/// Discord resets the token after 1,000 IDENTIFYs a day; this stays far below.
const IDENTIFY_BUDGET: (usize, Duration) = (10, Duration::from_secs(600));

/// Exit status for "try again".
const AGAIN: i32 = 75;

/// The thread that works when the runtime does not.
pub struct Watchdog;

impl Watchdog {
    /// Watches until the process ends. Only the executable starts it: it ends the whole process.
    pub fn start(tasks: &Tasks) {
        let beacon = Arc::new(AtomicU64::new(0));
        let seen = beacon.clone();
        let shutdown = tasks.shutdown();
        tasks.spawn("beacon", async move {
            let mut ticks = interval(BEACON);
            loop {
                tokio::select! {
                    _ = ticks.tick() => { beacon.fetch_add(1, Ordering::SeqCst); }
                    () = shutdown.cancelled() => return,
                }
            }
        });
        let stopping = tasks.shutdown();
        std::thread::spawn(move || {
            let mut last = (0, std::time::Instant::now());
            while !stopping.is_cancelled() {
                std::thread::sleep(Duration::from_secs(1));
                let now = seen.load(Ordering::SeqCst);
                if now != last.0 {
                    last = (now, std::time::Instant::now());
                }
                let silent = last.1.elapsed() > BEACON_LIMIT;
                if silent || GATEWAY_SPINS.load(Ordering::SeqCst) {
                    error!(silent, "the bot cannot go on; ending the process");
                    std::process::exit(AGAIN);
                }
            }
        });
    }
}

/// What is known about one shard.
struct Shard {
    latency: Option<Duration>,
    /// The last sign of life: connected, or another latency.
    well: Instant,
    restarted: Option<Instant>,
}

/// Looks after the shards until the session ends.
pub(super) async fn watch_shards(bot: Arc<Bot>, manager: Arc<ShardManager>, range: Range<u32>) -> Infallible {
    let mut shards: HashMap<ShardId, Shard> = HashMap::new();
    let mut ticks = interval(BEACON);
    loop {
        ticks.tick().await;
        let mut connected = 0;
        let mut sick = Vec::new();
        {
            let runners = manager.runners.lock().await;
            for id in range.clone().map(ShardId) {
                let shard = shards.entry(id).or_insert_with(|| Shard {
                    latency: None,
                    well: Instant::now(),
                    restarted: None,
                });
                let runner = runners.get(&id);
                let is_connected = runner.is_some_and(|runner| runner.stage == ConnectionStage::Connected);
                let latency = runner.and_then(|runner| runner.latency);
                if latency != shard.latency {
                    (shard.latency, shard.well) = (latency, Instant::now());
                }
                connected += u64::from(is_connected);
                let limit = if is_connected { HEARTBEAT_LIMIT } else { CONNECT_LIMIT };
                // Shards of one process start five seconds apart.
                let queue = Duration::from_secs(5) * (id.0 - range.start);
                if shard.well.elapsed() > limit + queue {
                    sick.push(id);
                }
            }
        }
        report(&bot, connected, &shards);
        for id in sick {
            cure(&bot, &manager, id, shards.get_mut(&id).expect("every shard of the range is there")).await;
        }
        keep_budget(&bot, range.len());
    }
}

fn report(bot: &Bot, connected: u64, shards: &HashMap<ShardId, Shard>) {
    let health = &bot.services.health;
    health.shards_connected.store(connected, Ordering::SeqCst);
    let slowest = shards.values().filter_map(|shard| shard.latency).max();
    let millis = slowest.map_or(-1, |latency| i64::try_from(latency.as_millis()).unwrap_or(i64::MAX));
    health.heartbeat_ms.store(millis, Ordering::SeqCst);
}

/// Restarts a shard once; a second time so soon, or one that never had a runner, needs a new process.
async fn cure(bot: &Bot, manager: &ShardManager, id: ShardId, shard: &mut Shard) {
    let again = shard.restarted.is_some_and(|at| at.elapsed() < RESTART_APART);
    if again || !manager.has(id).await {
        give_up(bot, format!("shard {} does not come back", id.0));
        return;
    }
    warn!(shard = id.0, "a shard is not well; restarting it");
    bot.services.metrics.restarts.inc();
    (shard.restarted, shard.well) = (Some(Instant::now()), Instant::now());
    let _ = timeout(RESTART_LIMIT, manager.restart(id)).await;
}

fn keep_budget(bot: &Bot, shards: usize) {
    let (allowed, window) = IDENTIFY_BUDGET;
    let mut identifies = bot.identifies.lock().unwrap_or_else(PoisonError::into_inner);
    identifies.retain(|at| at.elapsed() < window);
    if identifies.len() > allowed + shards {
        give_up(bot, format!("{} IDENTIFYs within ten minutes", identifies.len()));
    }
}

fn give_up(bot: &Bot, why: String) {
    error!(why, "the bot cannot go on; stopping");
    *bot.services.health.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    bot.tasks.fail();
}
