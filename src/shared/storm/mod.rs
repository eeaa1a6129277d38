//! Storms over the shared data: for each seed one schedule of several processes on one engine, and what must
//! hold however it went.
//!
//! A process is a [`SharedData`] with a hub, a wall clock and a connection of its own. On the way requests
//! are throttled, delayed, cut, lost before or after they were applied, and applied late. A process stands still
//! for longer than its leases, or crashes for good. Time is virtual and everything runs on one thread, so that
//! a seed is one schedule: `STORM_SEEDS=17..18` runs it again, `MNEME_ROUNDS=20` runs twenty times as many.
//!
//! `MNEME_TEST_ENDPOINT` has them on the engine at that address: virtual time stands still while that answers.
//!
//! A storm that finds nothing proves little, so each [`Rule`] of the protocols is also taken away in turn, and
//! the storm must find what is wrong then: see [`finds`].

use std::cell::RefCell;
use std::future::Future;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::dynamo::Dynamo;
use crate::dynamo::connect::{StoreConfig, in_process};
use crate::dynamo::faults::{Faults, Rates};
use crate::dynamo::testing::{engine_at_once, impatient};
use crate::shared::items::Rule;
use crate::shared::{SharedData, SharedOptions, Space, TABLES};
use crate::tasks::Tasks;

mod barrier;
mod cells;
mod create;
mod deal;
mod hold;
mod lease;
mod remote;

/// Of each storm.
const SCHEDULES: u64 = 1_000;

/// How many schedules may pass before a broken rule is found. Those with the rarest cause need two losses at
/// the same write.
const FOUND_WITHIN: u64 = 1_000;

/// A schedule that takes longer, in virtual time, hangs.
const ENDS_WITHIN: Duration = Duration::from_secs(600);

const START: Timestamp = Timestamp::from_seconds(1_900_000_000);

/// What went wrong.
pub type Verdict = Result<(), String>;

/// One schedule, by its seed.
pub type Storm = fn(Rc<World>) -> LocalBoxFuture<'static, Verdict>;

/// Fails the storm with a sentence unless something holds.
macro_rules! must {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}
pub(crate) use must;

/// What one schedule happens in.
pub struct World {
    engine: Engine,
    pub space: Space,
    pub processes: Vec<Process>,
    chance: RefCell<StdRng>,
    pub started: Instant,
    stood_still: std::cell::Cell<usize>,
    history: RefCell<Vec<String>>,
}

/// One process of a schedule.
pub struct Process {
    pub shared: SharedData,
    faults: Faults,
    crashed: CancellationToken,
}

/// What the weather is like.
#[derive(Clone, Copy)]
pub struct Weather {
    pub processes: usize,
    /// How far the wall clocks are apart at most.
    pub skew: Duration,
    /// How long a process stands still at most.
    pub pause: Duration,
    /// How many of a hundred processes crash.
    pub crashes: u32,
    /// What happens to requests, at most twice as often.
    pub rates: Rates,
}

impl Weather {
    pub const USUAL: Self = Self {
        processes: 3,
        skew: Duration::from_secs(2),
        pause: Duration::from_secs(6),
        crashes: 20,
        rates: Rates::STORMY,
    };

    /// Many requests arrive after later ones.
    pub const LATE: Self = Self { rates: Rates { arrive_late: 150, ..Rates::STORMY }, ..Self::USUAL };
}

impl World {
    fn new(engine: &Engine, seed: u64, weather: Weather) -> Rc<Self> {
        let mut chance = StdRng::seed_from_u64(seed);
        let number = BEGUN.replace(BEGUN.get() + 1);
        let space = Space::Run(format!("{number}-{seed}"));
        let processes = (0..weather.processes).map(|_| {
            let faults = Faults::new();
            let skew = weather.skew.mul_f64(chance.random_range(0.0..=1.0));
            let dynamo = engine.over(Clock::running(START.plus(skew)), &faults);
            faults.plan(chance.random(), weather.rates.times(chance.random_range(0..=2)));
            let options = SharedOptions { seed: Some(chance.random()), ..SharedOptions::default() };
            let shared = SharedData::open(dynamo, &Tasks::new(), space.clone(), options);
            Process { shared, faults, crashed: CancellationToken::new() }
        });
        let processes = processes.collect();
        let (started, history, stood_still) = (Instant::now(), RefCell::default(), std::cell::Cell::new(0));
        let chance = RefCell::new(chance);
        Rc::new(Self { engine: engine.clone(), space, processes, chance, started, stood_still, history })
    }

    pub fn chance<A>(&self, draw: impl FnOnce(&mut StdRng) -> A) -> A {
        draw(&mut self.chance.borrow_mut())
    }

    /// A duration up to this.
    pub fn up_to(&self, most: Duration) -> Duration {
        most.mul_f64(self.chance(|chance| chance.random_range(0.0..=1.0)))
    }

    /// Writes a line of the history, which is shown if something goes wrong.
    pub fn note(&self, process: usize, what: impl std::fmt::Display) {
        let line = format!("{:>9.3} s  {process}: {what}", self.started.elapsed().as_secs_f64());
        self.history.borrow_mut().push(line);
    }

    /// Does something in a process; `None` if that crashes before it is done.
    pub async fn within<A>(&self, process: usize, work: impl Future<Output = A>) -> Option<A> {
        self.processes[process].crashed.run_until_cancelled(work).await
    }

    /// Runs all of them to their end, in this weather.
    pub async fn run(&self, weather: Weather, actors: Vec<LocalBoxFuture<'_, ()>>) -> Verdict {
        let skies = (0..self.processes.len()).map(|process| self.sky(process, weather));
        let over = CancellationToken::new();
        let work = async {
            let ended = timeout(ENDS_WITHIN, join_all(actors)).await;
            over.cancel();
            ended
        };
        let (ended, _) = tokio::join!(work, over.run_until_cancelled(join_all(skies)));
        self.clear_up().await;
        ended.map(|_| ()).map_err(|_| "somebody waits for ever".to_owned())
    }

    async fn sky(&self, process: usize, weather: Weather) {
        let Process { faults, crashed, .. } = &self.processes[process];
        let crashes = self.chance(|chance| chance.random_range(0..100)) < weather.crashes;
        let pauses = self.chance(|chance| chance.random_range(0..3));
        for _ in 0..pauses {
            sleep(self.up_to(weather.pause)).await;
            self.note(process, "stands still");
            self.stood_still.set(self.stood_still.get() + 1);
            faults.set_frozen(true);
            sleep(self.up_to(weather.pause)).await;
            faults.set_frozen(false);
            self.note(process, "goes on");
        }
        if crashes {
            sleep(self.up_to(weather.pause)).await;
            self.note(process, "crashes");
            faults.set_frozen(true);
            crashed.cancel();
        }
    }

    /// The storm is over: whoever lives goes on, and what is under way arrives.
    async fn clear_up(&self) {
        for Process { faults, crashed, .. } in &self.processes {
            faults.calm();
            faults.deliver_late().await;
            if !crashed.is_cancelled() {
                faults.set_frozen(false);
            }
        }
    }

    /// How often a process stood still or crashed.
    pub fn interruptions(&self) -> usize {
        let crashed = self.processes.iter().filter(|process| process.crashed.is_cancelled()).count();
        self.stood_still.get() + crashed
    }

    /// A process that starts when the storm is over.
    pub fn calm(&self) -> SharedData {
        let latest = Clock::running(START.plus(self.started.elapsed()));
        let dynamo = self.engine.over(latest, &Faults::new());
        let options = SharedOptions { seed: Some(1), ..SharedOptions::default() };
        SharedData::open(dynamo, &Tasks::new(), self.space.clone(), options)
    }
}

/// The engine of all schedules of a test. It answers on the caller's thread.
#[derive(Clone)]
struct Engine {
    http: SharedHttpClient,
    table_prefix: String,
}

impl Engine {
    async fn here() -> Self {
        Self { http: SharedHttpClient::new(engine_at_once(TABLES).await), table_prefix: String::new() }
    }

    /// With tables of the test's own.
    async fn at(url: &str) -> Self {
        let table_prefix = format!("storm-{}-{}-", std::process::id(), fastrand::u64(..));
        let engine = Self { http: SharedHttpClient::new(remote::Remote::new(url)), table_prefix };
        let dynamo = engine.over(Clock::system(), &Faults::new());
        dynamo.create_tables(TABLES).await.expect("a new prefix takes new tables");
        engine
    }

    fn over(&self, clock: Clock, faults: &Faults) -> Dynamo {
        let config = impatient(clock, faults);
        in_process(self.http.clone(), &StoreConfig { table_prefix: self.table_prefix.clone(), ..config })
    }
}

thread_local! {
    /// One engine for all schedules of a test, and how many there were: each has a space of its own.
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
    static BEGUN: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without IO needs nothing")
}

fn engine() -> Engine {
    let engine = ENGINE.with_borrow(Option::clone);
    let engine = engine.unwrap_or_else(|| match std::env::var("MNEME_TEST_ENDPOINT") {
        Ok(url) => runtime().block_on(Engine::at(&url)),
        Err(_) => runtime().block_on(Engine::here()),
    });
    ENGINE.set(Some(engine.clone()));
    engine
}

/// Runs one schedule. A panic in it is a violation as well.
fn one(seed: u64, weather: Weather, storm: Storm) -> Verdict {
    let (engine, history) = (engine(), Rc::new(RefCell::new(Vec::new())));
    let schedule = async {
        fastrand::seed(seed);
        let world = World::new(&engine, seed, weather);
        let verdict = AssertUnwindSafe(storm(world.clone())).catch_unwind().await;
        history.replace(world.history.take());
        verdict
    };
    let verdict = runtime().block_on(schedule);
    let verdict = verdict.unwrap_or_else(|_| Err("it panicked".to_owned()));
    verdict.map_err(|why| format!("seed {seed}: {why}\n{}", history.take().join("\n")))
}

fn seeds(usual: u64) -> Range<u64> {
    let rounds = std::env::var("MNEME_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    crate::dynamo::storm::seeds(0..usual * rounds.unwrap_or(1))
}

/// Runs [`SCHEDULES`] of a storm; `MNEME_ROUNDS` multiplies them.
pub fn all(name: &str, weather: Weather, storm: Storm) {
    let seeds = seeds(SCHEDULES);
    println!("seeds {seeds:?}");
    for seed in seeds {
        if let Err(why) = one(seed, weather, storm) {
            panic!("{why}\nagain: STORM_SEEDS={seed}..{} cargo test {name}", seed + 1);
        }
    }
}

/// Schedules that have found out what the usual first ones do not: these are tried before the others.
const TELLING: [(Rule, u64); 9] = [
    (Rule::NothingIsThere, 328),
    (Rule::OneCreator, 719),
    (Rule::TakeSeesLatest, 38),
    (Rule::GiverHasIt, 514),
    (Rule::GiverHasIt, 224),
    (Rule::LostInTime, 66),
    (Rule::FullStaysFull, 12),
    (Rule::HolderAsSeen, 9),
    (Rule::DeadAsSeen, 101),
];

/// Takes a rule away and asserts that the storm finds out.
pub fn finds(rule: Rule, weather: Weather, storm: Storm) {
    // What goes wrong then may also be a panic, which is no news here.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    Rule::break_only(Some(rule));
    let telling = || TELLING.iter().filter(|(other, _)| *other == rule).map(|(_, seed)| *seed);
    let found = telling().chain(0..FOUND_WITHIN).find_map(|seed| one(seed, weather, storm).err());
    Rule::break_only(None);
    std::panic::set_hook(usual);
    let Some(why) = found else { panic!("{rule:?} can be taken away and no storm finds it") };
    println!("without {rule:?}: {}", why.lines().next().unwrap_or_default());
    for seed in telling() {
        assert_eq!(one(seed, weather, storm), Ok(()), "with {rule:?}");
    }
}

#[test]
fn a_seed_is_one_schedule() {
    fn noted(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
        async move {
            let actors = (0..3).map(|process| {
                let world = &*world;
                async move {
                    for n in 0..5 {
                        let answer = world.processes[process].shared.update("n", move |old: Option<u64>| {
                            crate::shared::Change::Write(old.unwrap_or(0) + n, n)
                        });
                        let answer = world.within(process, answer).await;
                        world.note(process, format!("{answer:?}"));
                    }
                }
                .boxed_local()
            });
            world.run(Weather::USUAL, actors.collect()).await?;
            Err("to see the history".to_owned())
        }
        .boxed_local()
    }
    for seed in 0..5 {
        assert_eq!(one(seed, Weather::USUAL, noted), one(seed, Weather::USUAL, noted));
    }
}
