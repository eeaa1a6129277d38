//! [`Metrics`]: what is counted and measured while soldiers run.
//!
//! Each worker thread writes into a shard of its own, so that soldiers never wait for each other; shards are
//! merged when somebody looks. Percentiles come from merged histograms and are never averaged. A sample has up to
//! two clocks: service time, from request to reply, and response time, from when it was meant to begin.

pub mod document;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// Names with a histogram of their own; a tree that makes names up must not fill the memory. The rest is
/// under [`OTHER`].
pub const ACTIONS_MAX: usize = 100;
pub const OTHER: &str = "other";

/// Distinct errors that are kept.
const ERRORS_MAX: usize = 100;

/// Samples that the report shows one by one.
const SLOWEST: usize = 10;

/// From a microsecond to an hour, to three digits.
const LONGEST_US: u64 = 3_600_000_000;

/// More threads than this share shards.
const SHARDS_MAX: usize = 64;

/// How one run of an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Success,
    Fail,
    Continue,
    Error,
}

/// One run of an action.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    pub name: &'a str,
    pub ended: Ended,
    pub service: Duration,
    /// Where it was meant to begin at a certain time.
    pub response: Option<Duration>,
    pub bot: u64,
}

/// The counters of a run.
pub struct Metrics {
    began: Instant,
    /// Until then nothing goes into histograms.
    warm_at: Instant,
    names: RwLock<BTreeMap<String, usize>>,
    shards: Vec<Mutex<Shard>>,
    pub bots: Bots,
    /// How often a `pace` came too late for one of its times.
    pub paced_late: AtomicU64,
    /// Events that inboxes had no room for.
    pub inbox_dropped: AtomicU64,
    errors: Mutex<Errors>,
    checks: Mutex<BTreeMap<String, (u64, u64)>>,
    slowest: Mutex<Vec<Slow>>,
}

/// How soldiers come and go.
#[derive(Debug, Default)]
pub struct Bots {
    pub alive: AtomicU64,
    pub target: AtomicU64,
    pub started: AtomicU64,
    pub finished: AtomicU64,
    pub errored: AtomicU64,
    pub panicked: AtomicU64,
    pub respawned: AtomicU64,
    /// Arrivals that found no place.
    pub dropped: AtomicU64,
}

#[derive(Default)]
struct Shard {
    actions: Vec<Option<Box<Action>>>,
    /// Since the series was last written.
    lately: Option<Histogram<u64>>,
    lately_steps: u64,
    lately_errors: u64,
}

/// What is known about one action.
#[derive(Clone)]
pub struct Action {
    pub success: u64,
    pub fail: u64,
    pub again: u64,
    pub error: u64,
    /// Of all runs, also those of the warm-up.
    pub total: Duration,
    pub service: Histogram<u64>,
    pub response: Option<Histogram<u64>>,
}

/// The same reason of the same action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub action: String,
    pub reason: String,
    pub count: u64,
    pub first_bot: u64,
    pub path: String,
    /// The last lines of the first one's log.
    pub tail: Vec<String>,
}

#[derive(Default)]
struct Errors {
    kept: BTreeMap<(String, String), Failure>,
    total: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    pub name: String,
    pub service: Duration,
    pub bot: u64,
    pub at: Duration,
}

/// What happened since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    pub steps: u64,
    pub errors: u64,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
}

impl Default for Action {
    fn default() -> Self {
        let service = histogram();
        Self { success: 0, fail: 0, again: 0, error: 0, total: Duration::ZERO, service, response: None }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order")
}

fn note(histogram: &mut Histogram<u64>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(micros.clamp(1, LONGEST_US));
}

/// The value below which this share of all samples is.
pub fn quantile(histogram: &Histogram<u64>, share: f64) -> Duration {
    Duration::from_micros(histogram.value_at_quantile(share))
}

impl Action {
    /// Runs that ended: `continue` is none of them.
    pub fn runs(&self) -> u64 {
        self.success + self.fail + self.error
    }

    pub fn average(&self) -> Duration {
        let runs = u32::try_from(self.runs() + self.again).unwrap_or(u32::MAX);
        if runs == 0 { Duration::ZERO } else { self.total / runs }
    }

    fn note(&mut self, sample: &Sample<'_>, warm: bool) {
        match sample.ended {
            Ended::Success => self.success += 1,
            Ended::Fail => self.fail += 1,
            Ended::Continue => self.again += 1,
            Ended::Error => self.error += 1,
        }
        self.total += sample.service;
        if warm {
            note(&mut self.service, sample.service);
            if let Some(response) = sample.response {
                note(self.response.get_or_insert_with(histogram), response);
            }
        }
    }

    /// Adds what another shard counted.
    fn merge(&mut self, other: &Self) {
        self.success += other.success;
        self.fail += other.fail;
        self.again += other.again;
        self.error += other.error;
        self.total += other.total;
        self.service.add(&other.service).expect("all have the same bounds");
        if let Some(response) = &other.response {
            let all = self.response.get_or_insert_with(histogram);
            all.add(response).expect("all have the same bounds");
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Each thread has a number for good, and by it a shard in all metrics.
fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|number| *number)
}

impl Metrics {
    pub fn new(warmup: Duration) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let began = Instant::now();
        Self {
            began,
            warm_at: began + warmup,
            names: RwLock::default(),
            // Twice as many: the runtime's threads are not the first of the process.
            shards: (0..(threads * 2).min(SHARDS_MAX)).map(|_| Mutex::default()).collect(),
            bots: Bots::default(),
            paced_late: AtomicU64::new(0),
            inbox_dropped: AtomicU64::new(0),
            errors: Mutex::default(),
            checks: Mutex::default(),
            slowest: Mutex::default(),
        }
    }

    /// Time since the run began.
    pub fn uptime(&self) -> Duration {
        self.began.elapsed()
    }

    fn place(&self, name: &str) -> usize {
        if let Some(place) = self.names.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return *place;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let next = names.len();
        if next >= ACTIONS_MAX && !names.contains_key(name) {
            return *names.entry(OTHER.to_owned()).or_insert(ACTIONS_MAX);
        }
        *names.entry(name.to_owned()).or_insert(next)
    }

    fn shard(&self) -> MutexGuard<'_, Shard> {
        locked(&self.shards[thread_number() % self.shards.len()])
    }

    /// Counts one run of an action.
    pub fn sample(&self, sample: &Sample<'_>) {
        let place = self.place(sample.name);
        let warm = Instant::now() >= self.warm_at;
        {
            let mut shard = self.shard();
            if shard.actions.len() <= place {
                shard.actions.resize_with(place + 1, || None);
            }
            shard.actions[place].get_or_insert_default().note(sample, warm);
            shard.lately_steps += 1;
            shard.lately_errors += u64::from(sample.ended == Ended::Error);
            note(shard.lately.get_or_insert_with(histogram), sample.service);
        }
        if warm {
            self.note_slow(sample);
        }
    }

    fn note_slow(&self, sample: &Sample<'_>) {
        let mut slowest = locked(&self.slowest);
        let is_slow =
            slowest.len() < SLOWEST || slowest.last().is_some_and(|least| least.service < sample.service);
        if is_slow {
            let slow = Slow {
                name: sample.name.to_owned(),
                service: sample.service,
                bot: sample.bot,
                at: self.uptime(),
            };
            let place = slowest.partition_point(|other| other.service >= slow.service);
            slowest.insert(place, slow);
            slowest.truncate(SLOWEST);
        }
    }

    /// Counts an error, of an action or outside of one.
    pub fn error(
        &self,
        action: &str,
        reason: &str,
        bot: u64,
        path: &str,
        tail: impl FnOnce() -> Vec<String>,
    ) {
        let mut errors = locked(&self.errors);
        errors.total += 1;
        let key = (action.to_owned(), reason.to_owned());
        if let Some(known) = errors.kept.get_mut(&key) {
            known.count += 1;
        } else if errors.kept.len() < ERRORS_MAX {
            let (action, reason) = key.clone();
            let failure =
                Failure { action, reason, count: 1, first_bot: bot, path: path.to_owned(), tail: tail() };
            errors.kept.insert(key, failure);
        }
    }

    /// A check was made.
    pub fn check(&self, text: &str, holds: bool) {
        let mut checks = locked(&self.checks);
        if checks.len() >= ACTIONS_MAX && !checks.contains_key(text) {
            return;
        }
        let (passed, failed) = checks.entry(text.to_owned()).or_default();
        *if holds { passed } else { failed } += 1;
    }

    /// All shards together.
    pub fn actions(&self) -> BTreeMap<String, Action> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut all: BTreeMap<String, Action> = BTreeMap::new();
        for shard in &self.shards {
            let shard = locked(shard);
            for (name, place) in &names {
                if let Some(Some(action)) = shard.actions.get(*place) {
                    all.entry(name.clone()).or_default().merge(action);
                }
            }
        }
        all
    }

    /// What happened since this was last asked.
    pub fn lately(&self) -> Lately {
        let (mut all, mut lately) = (histogram(), Lately::default());
        for shard in &self.shards {
            let mut shard = locked(shard);
            lately.steps += std::mem::take(&mut shard.lately_steps);
            lately.errors += std::mem::take(&mut shard.lately_errors);
            if let Some(histogram) = &mut shard.lately {
                all.add(&*histogram).expect("all have the same bounds");
                histogram.reset();
            }
        }
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|share| quantile(&all, share));
        Lately { p50, p95, p99, ..lately }
    }

    /// The kept errors, the most frequent first, and how many there were in all.
    pub fn errors(&self) -> (Vec<Failure>, u64) {
        let errors = locked(&self.errors);
        let mut kept: Vec<Failure> = errors.kept.values().cloned().collect();
        kept.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        (kept, errors.total)
    }

    pub fn checks(&self) -> BTreeMap<String, (u64, u64)> {
        locked(&self.checks).clone()
    }

    pub fn slowest(&self) -> Vec<Slow> {
        locked(&self.slowest).clone()
    }
}

impl Bots {
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, millis: u64) -> Sample<'_> {
        let service = Duration::from_millis(millis);
        Sample { name, ended: Ended::Success, service, response: Some(service * 2), bot: 1 }
    }

    #[test]
    fn shards_of_all_threads_are_one() {
        let metrics = Metrics::new(Duration::ZERO);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let metrics = &metrics;
                scope.spawn(move || (1..=250).for_each(|n| metrics.sample(&sample("say", thread * 250 + n))));
            }
        });
        let say = metrics.actions().remove("say").unwrap();
        assert_eq!(say.runs(), 1_000);
        let p50 = quantile(&say.service, 0.5).as_millis();
        assert!((499..=501).contains(&p50), "{p50}");
        let p50 = quantile(say.response.as_ref().unwrap(), 0.5).as_millis();
        assert!((998..=1_002).contains(&p50), "{p50}");
        assert_eq!(metrics.lately().steps, 1_000);
        assert_eq!(metrics.lately().steps, 0);
        let slowest: Vec<_> = metrics.slowest().iter().map(|slow| slow.service.as_millis()).collect();
        assert_eq!(slowest, (991..=1_000).rev().collect::<Vec<_>>());
    }

    #[test]
    fn too_many_names_share_one() {
        let metrics = Metrics::new(Duration::ZERO);
        for n in 0..120 {
            metrics.sample(&sample(&format!("say {n}"), 1));
        }
        let actions = metrics.actions();
        assert_eq!(actions.len(), ACTIONS_MAX + 1);
        assert_eq!(actions[OTHER].runs(), 20);
    }

    #[test]
    fn the_warm_up_is_counted_and_not_measured() {
        let metrics = Metrics::new(Duration::from_secs(3_600));
        metrics.sample(&sample("say", 5));
        let say = metrics.actions().remove("say").unwrap();
        assert_eq!((say.runs(), say.service.len()), (1, 0));
    }

    #[test]
    fn an_error_is_kept_once_and_counted() {
        let metrics = Metrics::new(Duration::ZERO);
        for bot in 0..150 {
            metrics.error("say", "no reply", bot, "root", Vec::new);
            metrics.error("say", &format!("reason {bot}"), bot, "root", Vec::new);
        }
        let (kept, total) = metrics.errors();
        assert_eq!((kept.len(), total), (ERRORS_MAX, 300));
        assert_eq!((kept[0].count, kept[0].first_bot), (150, 0));
    }
}
