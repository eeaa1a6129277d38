//! [`Play`]: soldiers come, live, die and are replaced, in a closed or an open model.
//!
//! Closed: a population follows a course; whoever dies is replaced on the same slot. Open: people arrive whether
//! or not the server keeps up, and leave at the end of the tree.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use crate::army::life::{End, How, Orders, at, live};
use crate::army::metrics::Bots;
use crate::army::schedule::{Arrivals, BOTS_MAX, Course};
use crate::army::soldier::{Seat, Soldier};
use crate::army::spec::program::Program;
use crate::army::stage::Stage;
use crate::tasks::Tasks;

/// After the grace a soldier is dropped; whatever it still has to do is done in memory.
const DROPPED_WITHIN: Duration = Duration::from_secs(5);

/// How many soldiers there are, and when.
#[derive(Clone, Debug)]
pub enum Model {
    Closed(Course),
    Open { course: Course, max_bots: u32, even: bool },
}

/// How dead soldiers are replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Respawn {
    pub every: Duration,
    /// At most this many at a time.
    pub batch: usize,
}

impl Default for Respawn {
    fn default() -> Self {
        Self { every: Duration::from_secs(5), batch: 50 }
    }
}

/// What is to be played.
#[derive(Clone, Debug)]
pub struct Plan {
    pub model: Model,
    pub duration: Option<Duration>,
    pub iterations: Option<u64>,
    /// `None`: nobody is replaced.
    pub respawn: Option<Respawn>,
    /// The first soldier goes through the tree once before the others come.
    pub preflight: bool,
    /// How long running actions may finish.
    pub grace: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            model: Model::Closed(Course::constant(1.0)),
            duration: None,
            iterations: None,
            respawn: Some(Respawn::default()),
            preflight: false,
            grace: Duration::from_secs(30),
        }
    }
}

impl Plan {
    pub fn is_open(&self) -> bool {
        matches!(self.model, Model::Open { .. })
    }

    /// How many slots there are at most.
    pub fn slots(&self) -> u32 {
        match &self.model {
            Model::Closed(course) => course.highest().round() as u32,
            Model::Open { max_bots, .. } => *max_bots,
        }
    }
}

/// The strings that are pulled while it is played. Cloning gives the same ones.
#[derive(Clone, Debug)]
pub struct Strings {
    pub stop: CancellationToken,
    /// Another population than the course's.
    target: watch::Sender<Option<u32>>,
}

impl Default for Strings {
    fn default() -> Self {
        Self { stop: CancellationToken::new(), target: watch::Sender::new(None) }
    }
}

impl Strings {
    pub fn set_target(&self, bots: u32) {
        self.target.send_replace(Some(bots.min(BOTS_MAX)));
    }
}

/// How it went.
#[derive(Clone, Debug, Default)]
pub struct Played {
    pub passes: u64,
    /// Lives whose last pass failed.
    pub failed: u64,
    pub died: u64,
    /// Of the first life that failed or died.
    pub first_failure: Option<Failure>,
    pub preflight_failed: bool,
    /// What the last soldier that ended knew.
    pub context: Map<String, Value>,
}

#[derive(Clone, Debug)]
pub struct Failure {
    pub slot: u32,
    pub reason: String,
    pub tail: Vec<String>,
}

/// Soldiers with a tree and a stage.
pub struct Play {
    pub stage: Arc<Stage>,
    pub program: Arc<Program>,
    pub plan: Plan,
    pub strings: Strings,
    /// What soldiers know from the beginning.
    pub context: Map<String, Value>,
    pub tasks: Tasks,
}

/// A seat in a closed model, or a place in an open one.
#[derive(Debug, Default)]
struct Slot {
    lives: u32,
    passes: u64,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Free,
    Taken(Orders),
    /// Its soldier died; the next check fills it.
    Vacant,
    /// Nobody will sit here again.
    Closed,
}

struct Running {
    play: Play,
    slots: BTreeMap<u32, Slot>,
    ends: mpsc::Sender<(u32, End)>,
    target: u32,
    played: Played,
}

impl Play {
    /// Plays until it is over or stopped.
    pub async fn run(self) -> Played {
        let (ends, mut ended) = mpsc::channel(BOTS_MAX as usize);
        let began = Instant::now();
        let mut running =
            Running { play: self, slots: BTreeMap::new(), ends, target: 0, played: Played::default() };
        if running.play.plan.preflight && !running.preflight(&mut ended).await {
            return running.played;
        }
        match running.play.plan.model.clone() {
            Model::Closed(course) => running.closed(&course, began, &mut ended).await,
            Model::Open { course, max_bots, even } => {
                let chance = ChaCha8Rng::seed_from_u64(running.play.stage.options.seed);
                let arrivals = Arrivals::new(course, even, chance);
                running.open(arrivals, max_bots, began, &mut ended).await;
            }
        }
        running.end(&mut ended).await;
        running.played
    }
}

impl Running {
    fn bots(&self) -> &Bots {
        &self.play.stage.metrics.bots
    }

    fn start(&mut self, number: u32, iterations: Option<u64>, intended: Option<Instant>) {
        let slot = self.slots.entry(number).or_default();
        let seat = Seat {
            id: self.play.stage.next_bot_id(),
            slot: number,
            life: slot.lives,
            role: self.play.program.roles.of(number).map(str::to_owned),
        };
        slot.lives += 1;
        let orders = Orders { iterations, intended, ..Orders::default() };
        slot.state = State::Taken(orders.clone());
        let (stage, program) = (self.play.stage.clone(), self.play.program.clone());
        let soldier = Soldier::new(seat, stage, program.clone(), self.play.context.clone());
        Bots::count(&self.bots().started);
        Bots::count(&self.bots().alive);
        let ends = self.ends.clone();
        self.play.tasks.spawn_job("soldier", async move {
            let end = live(soldier, program, orders).await;
            // Nobody listens once the run has given it up.
            ends.send((number, end)).await.ok();
        });
    }

    /// Counts an end, and says whether the slot is to be filled again.
    async fn ended(&mut self, number: u32, end: End, once: bool) {
        let bots = self.bots();
        bots.alive.fetch_sub(1, Ordering::Relaxed);
        let died = match end.how {
            How::Finished | How::Done => {
                Bots::count(&bots.finished);
                false
            }
            How::Stopped => false,
            How::Errored => {
                Bots::count(&bots.errored);
                true
            }
            How::Panicked => {
                Bots::count(&bots.panicked);
                true
            }
        };
        let failed = died || (end.last == Some(false) && end.how != How::Stopped);
        self.played.passes += end.passes;
        self.played.failed += u64::from(failed);
        self.played.died += u64::from(died);
        if failed && self.played.first_failure.is_none() {
            let reason = end.reason.unwrap_or_else(|| "the tree failed".to_owned());
            self.played.first_failure = Some(Failure { slot: number, reason, tail: end.tail });
        }
        self.played.context = end.context;
        let most = self.play.plan.iterations;
        let replaced = self.play.plan.respawn.is_some() && !once;
        let slot = self.slots.entry(number).or_default();
        // A pass that somebody died in counts: a tree that kills everybody comes to an end too.
        slot.passes += end.passes + u64::from(died);
        let is_through = most.is_some_and(|most| slot.passes >= most || end.how == How::Done);
        slot.state = match end.how {
            How::Stopped => State::Free,
            _ if !replaced || is_through => State::Closed,
            _ => State::Vacant,
        };
        if matches!(slot.state, State::Closed) {
            self.play.stage.gone(number).await;
        }
    }

    async fn preflight(&mut self, ended: &mut mpsc::Receiver<(u32, End)>) -> bool {
        if self.play.plan.slots() == 0 {
            return true;
        }
        self.start(0, Some(1), None);
        let stop = self.play.strings.stop.clone();
        let Some(Some((number, end))) = stop.run_until_cancelled(ended.recv()).await else { return false };
        let lives = !matches!(end.how, How::Errored | How::Panicked);
        let through = self.play.plan.iterations == Some(1);
        self.ended(number, end, !lives || through).await;
        if lives && !through {
            self.slots.entry(number).or_default().state = State::Free;
        }
        self.played.preflight_failed = !lives;
        lives
    }

    async fn closed(&mut self, course: &Course, began: Instant, ended: &mut mpsc::Receiver<(u32, End)>) {
        let mut changes =
            course.changes().into_iter().map(|(after, level)| (began + after, level)).peekable();
        let over = self.play.plan.duration.map(|duration| began + duration);
        // Stages say themselves when they end.
        let over = over.or(course.has_stages().then(|| began + course.length()));
        let respawn = self.play.plan.respawn.unwrap_or_default();
        let mut checks = interval_at(began + respawn.every, respawn.every);
        let (strings, mut by_hand) = (self.play.strings.clone(), self.play.strings.target.subscribe());
        // It may have been asked for while the run was being prepared.
        by_hand.mark_changed();
        loop {
            let change = changes.peek().map(|(when, _)| *when);
            if change.is_none() && self.is_over() {
                return;
            }
            tokio::select! {
                biased;
                () = strings.stop.cancelled() => return,
                () = at(over) => return,
                Some((number, end)) = ended.recv() => self.ended(number, end, false).await,
                () = at(change) => {
                    let (_, level) = changes.next().expect("it was seen");
                    self.follow(level);
                }
                Ok(()) = by_hand.changed() => {
                    let wanted = *by_hand.borrow_and_update();
                    if let Some(level) = wanted {
                        // The course is what was wanted before.
                        changes.by_ref().for_each(drop);
                        self.follow(level);
                    }
                }
                _ = checks.tick() => self.fill(respawn.batch),
            }
        }
    }

    /// Whether everybody has gone for good.
    fn is_over(&self) -> bool {
        let waited_for = |slot: &Slot| matches!(slot.state, State::Taken(_) | State::Vacant);
        // Soldiers that were told to leave are still waited for, and those that are to come back.
        let to_come = |slot: &Slot| matches!(slot.state, State::Free);
        !self.slots.values().any(waited_for)
            && !self.slots.range(..self.target).any(|(_, slot)| to_come(slot))
    }

    /// Another population from now on.
    fn follow(&mut self, level: u32) {
        self.target = level;
        self.bots().target.store(level.into(), Ordering::Relaxed);
        for number in 0..level {
            let is_free = self.slots.get(&number).is_none_or(|slot| matches!(slot.state, State::Free));
            if is_free {
                self.start(number, self.iterations_left(number), None);
            }
        }
        for (_, slot) in self.slots.range_mut(level..) {
            match &slot.state {
                State::Taken(orders) => orders.stop.cancel(),
                State::Vacant => slot.state = State::Free,
                State::Free | State::Closed => {}
            }
        }
    }

    fn iterations_left(&self, number: u32) -> Option<u64> {
        let passes = self.slots.get(&number).map_or(0, |slot| slot.passes);
        self.play.plan.iterations.map(|most| most.saturating_sub(passes))
    }

    /// Replaces the dead.
    fn fill(&mut self, batch: usize) {
        let is_vacant = |slot: &Slot| matches!(slot.state, State::Vacant | State::Free);
        let vacant: Vec<u32> = self
            .slots
            .range(..self.target)
            .filter(|(_, slot)| is_vacant(slot))
            .map(|(number, _)| *number)
            .take(batch)
            .collect();
        for number in vacant {
            self.start(number, self.iterations_left(number), None);
            Bots::count(&self.bots().respawned);
        }
    }

    async fn open(
        &mut self,
        mut arrivals: Arrivals<ChaCha8Rng>,
        max_bots: u32,
        began: Instant,
        ended: &mut mpsc::Receiver<(u32, End)>,
    ) {
        let over = self.play.plan.duration.map(|duration| began + duration);
        let strings = self.play.strings.clone();
        let mut next = arrivals.next().map(|after| began + after);
        self.bots().target.store(max_bots.into(), Ordering::Relaxed);
        loop {
            if next.is_none() && self.is_over() {
                return;
            }
            tokio::select! {
                biased;
                () = strings.stop.cancelled() => return,
                () = at(over) => return,
                Some((number, end)) = ended.recv() => {
                    self.ended(number, end, true).await;
                    self.slots.entry(number).or_default().state = State::Free;
                }
                () = at(next) => {
                    self.arrive(max_bots, next);
                    next = arrivals.next().map(|after| began + after);
                }
            }
        }
    }

    fn arrive(&mut self, max_bots: u32, intended: Option<Instant>) {
        let is_free =
            |number: &u32| self.slots.get(number).is_none_or(|slot| matches!(slot.state, State::Free));
        match (0..max_bots).find(is_free) {
            Some(number) => self.start(number, Some(1), intended),
            None => Bots::count(&self.bots().dropped),
        }
    }

    /// Lets running actions finish, and then no longer.
    async fn end(&mut self, ended: &mut mpsc::Receiver<(u32, End)>) {
        let give_up = Instant::now() + self.play.plan.grace;
        self.each(|orders| orders.stop.cancel());
        if !self.wait(give_up, ended).await {
            self.each(|orders| orders.kill.cancel());
            self.wait(Instant::now() + DROPPED_WITHIN, ended).await;
        }
    }

    fn each(&self, order: impl Fn(&Orders)) {
        for slot in self.slots.values() {
            if let State::Taken(orders) = &slot.state {
                order(orders);
            }
        }
    }

    async fn wait(&mut self, until: Instant, ended: &mut mpsc::Receiver<(u32, End)>) -> bool {
        while self.slots.values().any(|slot| matches!(slot.state, State::Taken(_))) {
            let left = until.saturating_duration_since(Instant::now());
            match timeout(left, ended.recv()).await {
                Ok(Some((number, end))) => self.ended(number, end, true).await,
                _ => return false,
            }
        }
        true
    }
}
