//! One soldier's life: its cursor goes through the tree, and what it asks for is done here.
//!
//! A step is an action, a pause, or a guard that is taken or given back. Between steps the soldier hears its
//! events; during one it may be interrupted by a `timeout` around it, a lease that is lost, or the end of the
//! run. Whatever ends a life drops its guards, and they release what they hold.

use std::any::Any;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use rand::Rng;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::army::action::{Args, Ending, Outcome, Ran};
use crate::army::guard::{self, Held};
use crate::army::log::Level;
use crate::army::metrics::{Ended, Sample};
use crate::army::profile::{Hooked, Profile};
use crate::army::soldier::{Sight, Soldier};
use crate::army::spec::file::From;
use crate::army::spec::program::{Part, Program};
use crate::army::spec::template::Unfit;
use crate::army::tree::{Cursor, Kind, NodeId, Step, Taken, World};

/// An action that has not ended by then will not. Those that wait have a limit of their own.
pub const ACTION_LIMIT: Duration = Duration::from_secs(60);

/// Beyond its own limit an action gets this long to tell that it is over.
const BEYOND: Duration = Duration::from_secs(5);

/// A hook prepares or cleans up; what takes longer is an action.
const HOOK_LIMIT: Duration = Duration::from_secs(30);

/// The least pause before the same leaf runs again that has said `continue`.
const CONTINUE_AFTER: Duration = Duration::from_millis(10);

/// After so many steps others get their turn, so that a tree of instant actions does not starve them.
const YIELD_EVERY: u32 = 64;

/// So many steps without time passing are a tree that spins.
const HOT: u32 = 10_000;

/// Actions that only wait: the end of the run ends them at once.
const WAITS: [&str; 6] = ["wait", "think", "wait_for", "barrier", "wait_event", "expect_none"];

/// What a soldier is to do.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    /// How often it goes through the tree; `None`: until it is told to stop.
    pub iterations: Option<u64>,
    /// No step is begun after this.
    pub stop: CancellationToken,
    /// Running actions are dropped.
    pub kill: CancellationToken,
    /// When it was meant to begin.
    pub intended: Option<Instant>,
}

/// How a life ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub how: How,
    /// How often the tree was gone through, and how it ended the last time.
    pub passes: u64,
    pub last: Option<bool>,
    /// Why, where it failed or died.
    pub reason: Option<String>,
    /// What it knew.
    pub context: Map<String, Value>,
    /// The last lines of its log.
    pub tail: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It went through the tree as often as it was told.
    Finished,
    /// An action said `done`.
    Done,
    /// The run ended.
    Stopped,
    Errored,
    Panicked,
}

/// Lets a soldier live.
pub async fn live(soldier: Soldier, program: Arc<Program>, orders: Orders) -> End {
    let homes = homes(&program);
    let intended = orders.intended;
    let mut life = Life {
        soldier,
        program,
        orders,
        cursor: Cursor::default(),
        memo: Memo { homes, ..Memo::default() },
        held: Vec::new(),
        unpaused: 0,
        intended,
        reason: None,
    };
    let (how, passes, last) = life.run().await;
    let Life { soldier, held, reason, .. } = life;
    // Before it is told that the soldier is gone, so that its replacement finds everything free.
    guard::release_all(held).await;
    let dropped = soldier.inbox.dropped();
    soldier.stage().metrics.inbox_dropped.fetch_add(dropped, Ordering::Relaxed);
    End { how, passes, last, reason, context: soldier.context().clone(), tail: soldier.tail() }
}

struct Life {
    soldier: Soldier,
    program: Arc<Program>,
    orders: Orders,
    cursor: Cursor,
    memo: Memo,
    /// Outermost first.
    held: Vec<(NodeId, Held)>,
    /// Steps since time has passed.
    unpaused: u32,
    /// When the next action was meant to begin.
    intended: Option<Instant>,
    /// Of the last failure.
    reason: Option<String>,
}

/// What is remembered about nodes on the path.
#[derive(Default)]
struct Memo {
    /// The subtree that each node is in.
    homes: Vec<Option<NodeId>>,
    params: HashMap<NodeId, Arc<Map<String, Value>>>,
    times: HashMap<NodeId, u32>,
    /// When the visit of a `pace` was meant to begin.
    paced: Option<Duration>,
    /// A template of a control node that has no value.
    fault: Option<String>,
}

fn homes(program: &Program) -> Vec<Option<NodeId>> {
    let tree = &program.tree;
    let mut homes = vec![None; tree.nodes().count()];
    // Parents come before their children.
    for (id, node) in tree.nodes() {
        let home = if node.kind == Kind::Subtree { Some(id) } else { homes[id as usize] };
        for child in &node.children {
            homes[*child as usize] = home;
        }
    }
    homes
}

/// Why a life goes no further.
enum Halt {
    Stopped,
    Done,
    Died(String),
    Panicked(String),
}

impl Life {
    async fn run(&mut self) -> (How, u64, Option<bool>) {
        let profile = self.soldier.stage().options.profile;
        if let Err(halt) = self.hooked(profile, profile.start).await {
            return self.halted(halt, 0, None);
        }
        let (how, passes, last) = self.passes().await;
        if how != How::Panicked {
            // What goes wrong now is written down, and changes nothing any more.
            let _ = self.hooked(profile, profile.stop).await;
        }
        (how, passes, last)
    }

    /// Lets a hook of the profile run.
    async fn hooked(
        &mut self,
        profile: &Profile,
        hook: for<'a> fn(&'a mut Soldier) -> Hooked<'a>,
    ) -> Result<(), Halt> {
        let work = AssertUnwindSafe(hook(&mut self.soldier)).catch_unwind();
        let limited = async { tokio::time::timeout(HOOK_LIMIT, work).await };
        let reason = match self.orders.kill.run_until_cancelled(limited).await {
            None => return Err(Halt::Stopped),
            Some(Ok(Ok(Ok(())))) => return Ok(()),
            Some(Ok(Ok(Err(stop)))) => Outcome::from(stop).reason(),
            Some(Ok(Err(panic))) => {
                let panic = panicked(panic.as_ref());
                let _ = self.died(profile.name, panic.clone());
                return Err(Halt::Panicked(panic));
            }
            Some(Err(_)) => format!("a hook took longer than {} s", HOOK_LIMIT.as_secs()),
        };
        Err(self.died(profile.name, reason))
    }

    fn halted(&mut self, halt: Halt, passes: u64, last: Option<bool>) -> (How, u64, Option<bool>) {
        match halt {
            Halt::Stopped => (How::Stopped, passes, last),
            Halt::Done => (How::Done, passes, last.or(Some(true))),
            Halt::Died(reason) => {
                self.reason = Some(reason);
                (How::Errored, passes, Some(false))
            }
            Halt::Panicked(reason) => {
                self.reason = Some(reason);
                (How::Panicked, passes, Some(false))
            }
        }
    }

    async fn passes(&mut self) -> (How, u64, Option<bool>) {
        let (mut passes, mut last) = (0, None);
        while self.orders.iterations.is_none_or(|most| passes < most) {
            match self.pass().await {
                Ok(succeeded) => (passes, last) = (passes + 1, Some(succeeded)),
                Err(halt) => return self.halted(halt, passes, last),
            }
        }
        (How::Finished, passes, last)
    }

    /// Once through the tree.
    async fn pass(&mut self) -> Result<bool, Halt> {
        let mut step = self.moved(|cursor, program, eyes| cursor.start(&program.tree, eyes))?;
        loop {
            self.pause_if_wanted().await;
            if self.orders.stop.is_cancelled() {
                return Err(Halt::Stopped);
            }
            self.hear()?;
            self.give_way().await?;
            step = match step {
                Step::Run(leaf) => self.act(leaf).await?,
                Step::Pause(_, until) => self.pause(until).await?,
                Step::Take(node) => self.take(node).await?,
                Step::GiveBack(node, succeeded) => self.give_back(node, succeeded).await?,
                Step::End(succeeded) => return Ok(succeeded),
            };
        }
    }

    /// Somebody at the keyboard wants everybody to stand still.
    async fn pause_if_wanted(&mut self) {
        let stage = self.soldier.stage().clone();
        if stage.is_paused() {
            self.unpaused = 0;
            self.orders.stop.run_until_cancelled(stage.resumed()).await;
        }
    }

    fn moved(&mut self, go: impl FnOnce(&mut Cursor, &Program, &mut Eyes<'_>) -> Step) -> Result<Step, Halt> {
        let program = self.program.clone();
        let mut eyes = Eyes { soldier: &mut self.soldier, program: &program, memo: &mut self.memo };
        let step = go(&mut self.cursor, &program, &mut eyes);
        match self.memo.fault.take() {
            None => Ok(step),
            Some(fault) => Err(self.died("", fault)),
        }
    }

    /// Counts an error that no action has counted.
    fn died(&mut self, name: &str, reason: String) -> Halt {
        let path = self.path();
        let (metrics, bot) = (&self.soldier.stage().metrics, self.soldier.seat().id);
        metrics.error(name, &reason, bot, &path, || self.soldier.tail());
        Halt::Died(format!("{path}: {reason}"))
    }

    fn path(&self) -> String {
        self.cursor.path().last().map_or_else(|| "root".to_owned(), |id| self.program.part(id).path.clone())
    }

    async fn give_way(&mut self) -> Result<(), Halt> {
        self.unpaused += 1;
        if self.unpaused > HOT {
            let path = self.path();
            return Err(self.died("", format!("hot loop at {path}")));
        }
        if self.unpaused.is_multiple_of(YIELD_EVERY) {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    fn now(&self) -> Duration {
        self.soldier.stage().began.elapsed()
    }

    fn at(&self, since_began: Duration) -> Instant {
        self.soldier.stage().began + since_began
    }

    /// What the tree wants to be done with the events that have come.
    fn hear(&mut self) -> Result<(), Halt> {
        let profile = self.soldier.stage().options.profile;
        if self.program.events.is_empty() && profile.event.is_none() {
            return Ok(());
        }
        let program = self.program.clone();
        let (events, mark) = self.soldier.news();
        for event in events {
            if let Some(Err(stop)) = profile.event.map(|hook| hook(&mut self.soldier, &event)) {
                return Err(self.died(profile.name, Outcome::from(stop).reason()));
            }
            let kind = event["t"].as_str().unwrap_or_default().to_lowercase();
            for handler in program.events.iter().filter(|handler| handler.event == kind) {
                let said_by_bot = event["d"]["author"]["bot"] == true;
                let meant = match handler.from {
                    From::Anybody => true,
                    From::Bot => said_by_bot,
                    From::People => !said_by_bot,
                };
                if meant {
                    self.handle(&handler.set, &event["d"])?;
                }
            }
        }
        self.soldier.handled = mark;
        Ok(())
    }

    fn handle(
        &mut self,
        set: &[(String, crate::army::spec::arguments::Typed)],
        event: &Value,
    ) -> Result<(), Halt> {
        let mut updates = Map::new();
        for (name, value) in set {
            let mut sight = Sight { soldier: &mut self.soldier, extra: Some(("event", event)) };
            match value.evaluate(&mut sight) {
                Ok(value) => drop(updates.insert(name.clone(), value)),
                Err(unfit) => return Err(self.died("events", unfit.to_string())),
            }
        }
        let learnt = self.soldier.learn(updates);
        learnt.map_err(|stop| self.died("events", Outcome::from(stop).reason()))
    }

    async fn pause(&mut self, until: Duration) -> Result<Step, Halt> {
        self.unpaused = 0;
        let at = self.at(until);
        let interrupted = self.until(sleep_until(at), true).await;
        match interrupted {
            Ok(()) => {
                self.intended = self.memo.paced.take().map(|at| self.at(at)).or(self.intended);
                self.moved(|cursor, program, eyes| cursor.resume(&program.tree, eyes))
            }
            Err(why) => self.interrupted(why).await,
        }
    }

    /// Waits for something, unless what is around it ends first.
    async fn until<T>(&mut self, work: impl Future<Output = T>, stops: bool) -> Result<T, Interruption> {
        let deadline = self.cursor.deadline(&self.program.tree).map(|until| self.at(until));
        let (orders, held) = (&self.orders, &self.held);
        interruptible(work, orders, deadline, held, stops).await
    }

    /// The guards inside are dropped and the node that ended fails.
    async fn interrupted(&mut self, why: Interruption) -> Result<Step, Halt> {
        let mut dropped = Vec::new();
        let step = match why {
            Interruption::Stopped => return Err(Halt::Stopped),
            Interruption::Deadline => {
                self.reason = Some(format!("{}: the time is over", self.path()));
                self.moved(|cursor, program, eyes| {
                    let (guards, step) = cursor.expire(&program.tree, eyes);
                    dropped = guards;
                    step
                })
            }
            Interruption::Lost(node) => {
                self.reason = Some(format!("{}: the lease was lost", self.program.part(node).path));
                self.moved(|cursor, program, eyes| {
                    let (guards, step) = cursor.lose(&program.tree, node, eyes);
                    dropped = guards;
                    step
                })
            }
        };
        self.held.retain(|(node, _)| !dropped.contains(node));
        step
    }

    /// Runs the action of a leaf.
    async fn act(&mut self, leaf: NodeId) -> Result<Step, Halt> {
        let program = self.program.clone();
        let part = program.part(leaf);
        let action = part.action().expect("a leaf is an action");
        self.look_around(leaf);
        let args = match self.args(part).await {
            Ok(args) => args,
            Err(reason) => return Err(self.died(part.row(), reason)),
        };
        let limit = limit_of(&args);
        let intended = self.memo.paced.take().map(|at| self.at(at)).or(self.intended.take());
        let began = Instant::now();
        let deadline = self.cursor.deadline(&program.tree).map(|until| self.at(until));
        let mut paused = false;
        let ran = {
            let work = AssertUnwindSafe((action.run)(&mut self.soldier, args)).catch_unwind();
            let limited = async {
                match tokio::time::timeout(limit, noting_pauses(work, &mut paused)).await {
                    Ok(Ok(ran)) => Ok(ran),
                    Ok(Err(panic)) => Err(panicked(panic.as_ref())),
                    Err(_) => Ok(Ok(Outcome::fail(format!("not done within {} s", limit.as_secs())))),
                }
            };
            let stops = WAITS.contains(&action.name);
            interruptible(limited, &self.orders, deadline, &self.held, stops).await
        };
        if paused {
            self.unpaused = 0;
        }
        let service = began.elapsed();
        let response = intended.map(|intended| intended.elapsed());
        match ran {
            Ok(Ok(ran)) => self.ended(leaf, part, ran, service, response).await,
            Ok(Err(panic)) => {
                self.note(part, Ended::Error, "panic", Some(&panic), service, response);
                Err(Halt::Panicked(format!("{}: {panic}", part.path)))
            }
            Err(Interruption::Stopped) => Err(Halt::Stopped),
            Err(why) => {
                self.note(part, Ended::Fail, "fail", Some("interrupted"), service, response);
                self.interrupted(why).await
            }
        }
    }

    async fn ended(
        &mut self,
        leaf: NodeId,
        part: &Part,
        ran: Ran,
        service: Duration,
        response: Option<Duration>,
    ) -> Result<Step, Halt> {
        let mut outcome = ran.unwrap_or_else(Outcome::from);
        if matches!(outcome.ending, Ending::Succeed | Ending::Fail(_) | Ending::Continue)
            && let Err(stop) = self.soldier.learn(std::mem::take(&mut outcome.updates))
        {
            outcome = stop.into();
        }
        let (ended, name) = match &outcome.ending {
            Ending::Succeed => (Ended::Success, "succeed"),
            Ending::Done => (Ended::Success, "done"),
            Ending::Fail(_) => (Ended::Fail, "fail"),
            Ending::Continue => (Ended::Continue, "continue"),
            Ending::Error(_) => (Ended::Error, "error"),
        };
        let reason = outcome.reason();
        let told = (!reason.is_empty()).then_some(reason.as_str());
        self.note(part, ended, name, told, service, response);
        match outcome.ending {
            Ending::Done => Err(Halt::Done),
            Ending::Error(reason) => Err(Halt::Died(format!("{}: {reason}", part.path))),
            Ending::Continue => {
                self.unpaused = 0;
                match self.until(sleep(CONTINUE_AFTER), true).await {
                    Ok(()) => Ok(Step::Run(leaf)),
                    Err(why) => self.interrupted(why).await,
                }
            }
            Ending::Succeed => self.moved(|cursor, program, eyes| cursor.resolve(&program.tree, true, eyes)),
            Ending::Fail(reason) => {
                self.reason = Some(format!("{}: {reason}", part.path));
                self.moved(|cursor, program, eyes| cursor.resolve(&program.tree, false, eyes))
            }
        }
    }

    /// Counts a step and writes it down.
    fn note(
        &mut self,
        part: &Part,
        ended: Ended,
        outcome: &str,
        reason: Option<&str>,
        service: Duration,
        response: Option<Duration>,
    ) {
        let level = match ended {
            Ended::Success | Ended::Continue => Level::Info,
            Ended::Fail => Level::Warn,
            Ended::Error => Level::Error,
        };
        let mut fields = self.soldier.log_fields();
        fields.push(("action", part.row().into()));
        fields.push(("outcome", outcome.into()));
        fields.push(("duration", u64::try_from(service.as_millis()).unwrap_or(u64::MAX).into()));
        fields.push(("path", part.path.as_str().into()));
        fields.extend(self.soldier.event.take().map(|event| ("event_id", event.to_string().into())));
        fields.extend(reason.map(|reason| ("error", reason.into())));
        self.soldier.log(level, &fields);
        let (stage, seat) = (self.soldier.stage(), self.soldier.seat());
        stage.metrics.sample(&Sample { name: part.row(), ended, service, response, bot: seat.id });
        stage.trace.add(self.now(), seat, &part.path, outcome);
        if ended == Ended::Error {
            let reason = reason.unwrap_or("error");
            stage.metrics.error(part.row(), reason, seat.id, &part.path, || self.soldier.tail());
        }
    }

    /// The parameters and the pass that hold at a node.
    fn look_around(&mut self, node: NodeId) {
        let home = self.memo.homes[node as usize];
        self.soldier.params = home.and_then(|home| self.memo.params.get(&home).cloned());
        let pass = self.cursor.pass(&self.program.tree);
        self.soldier.pass =
            pass.map(|(node, left)| self.memo.times.get(&node).map_or(0, |times| times - left));
    }

    /// What a part is given, evaluated; shared values are read before.
    async fn args(&mut self, part: &Part) -> Result<Args, String> {
        self.read_shared(part).await?;
        let mut sight = Sight { soldier: &mut self.soldier, extra: None };
        part.args.evaluate(&mut sight).map_err(|unfit| unfit.to_string())
    }

    async fn read_shared(&mut self, part: &Part) -> Result<(), String> {
        self.soldier.read.clear();
        for key in &part.shared {
            let shared = self.soldier.stage().shared.clone();
            let value = shared.get::<Value>(key).await.map_err(|error| error.to_string())?;
            self.soldier.read.extend(value.map(|value| (key.clone(), value)));
        }
        Ok(())
    }

    async fn take(&mut self, node: NodeId) -> Result<Step, Halt> {
        self.unpaused = 0;
        let program = self.program.clone();
        let part = program.part(node);
        self.look_around(node);
        if let Err(reason) = self.read_shared(part).await {
            return Err(self.died(part.row(), reason));
        }
        let mut sight = Sight { soldier: &mut self.soldier, extra: None };
        let args = match part.args.evaluate_but(guard::LATER, &mut sight) {
            Ok(args) => args,
            Err(unfit) => return Err(self.died(part.row(), unfit.to_string())),
        };
        let (shared, who) = (self.soldier.stage().shared.clone(), self.soldier.who(false));
        let began = Instant::now();
        let took = match self.until(guard::take(&shared, part.name(), &who, &args), true).await {
            Ok(took) => took,
            Err(why) => return self.interrupted(why).await,
        };
        let service = began.elapsed();
        let (taken, ended, reason) = match took {
            Ok(guard::Took::Held { held, updates }) => {
                self.held.push((node, held));
                self.learn(part, updates)?;
                (Taken::Enter, Ended::Success, None)
            }
            Ok(guard::Took::There { updates }) => {
                self.learn(part, updates)?;
                (Taken::Skip(true), Ended::Success, None)
            }
            Err(reason) => (Taken::Skip(false), Ended::Fail, Some(reason)),
        };
        let outcome = if ended == Ended::Success { "succeed" } else { "fail" };
        self.note(part, ended, outcome, reason.as_deref(), service, None);
        if let Some(reason) = reason {
            self.reason = Some(format!("{}: {reason}", part.path));
        }
        self.moved(|cursor, program, eyes| cursor.taken(&program.tree, taken, eyes))
    }

    fn learn(&mut self, part: &Part, updates: Map<String, Value>) -> Result<(), Halt> {
        let learnt = self.soldier.learn(updates);
        learnt.map_err(|stop| self.died(part.row(), Outcome::from(stop).reason()))
    }

    async fn give_back(&mut self, node: NodeId, succeeded: bool) -> Result<Step, Halt> {
        let program = self.program.clone();
        let part = program.part(node);
        let place = self.held.iter().rposition(|(held, _)| *held == node);
        let (_, held) = self.held.remove(place.expect("what is given back was taken"));
        self.look_around(node);
        let value = match (&held, succeeded) {
            (Held::Creation { .. }, true) => {
                if let Err(reason) = self.read_shared(part).await {
                    return Err(self.died(part.row(), reason));
                }
                let mut sight = Sight { soldier: &mut self.soldier, extra: None };
                match part.args.one(guard::LATER, &mut sight) {
                    Ok(value) => value,
                    Err(unfit) => return Err(self.died(part.row(), unfit.to_string())),
                }
            }
            _ => None,
        };
        let ended = guard::give_back(held, succeeded, value, self.reason.as_deref()).await;
        let succeeded = match ended {
            Ok(updates) => {
                self.learn(part, updates)?;
                succeeded
            }
            Err(reason) => {
                self.reason = Some(format!("{}: {reason}", part.path));
                false
            }
        };
        self.moved(|cursor, program, eyes| cursor.given_back(&program.tree, succeeded, eyes))
    }
}

/// What ended a wait before its time.
enum Interruption {
    Stopped,
    /// A `timeout` around it.
    Deadline,
    /// What this guard held.
    Lost(NodeId),
}

/// At that moment; never, without one.
pub async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// `stops`: the end of the run ends it at once.
async fn interruptible<T>(
    work: impl Future<Output = T>,
    orders: &Orders,
    deadline: Option<Instant>,
    held: &[(NodeId, Held)],
    stops: bool,
) -> Result<T, Interruption> {
    let work = pin!(work);
    let over = at(deadline);
    let stopped = async {
        if stops {
            orders.stop.cancelled().await;
        } else {
            orders.kill.cancelled().await;
        }
    };
    // In this order, so that a run with the same seed goes the same way.
    tokio::select! {
        biased;
        done = work => Ok(done),
        node = guard::lost(held) => Err(Interruption::Lost(node)),
        () = over => Err(Interruption::Deadline),
        () = stopped => Err(Interruption::Stopped),
    }
}

/// Tells whether a future had to wait for something.
async fn noting_pauses<F: Future>(work: F, paused: &mut bool) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Pending => {
            *paused = true;
            Poll::Pending
        }
        ready => ready,
    })
    .await
}

/// How long an action may take: what it says itself, or [`ACTION_LIMIT`].
fn limit_of(args: &Args) -> Duration {
    let own = ["within", "for"]
        .iter()
        .find_map(|name| args.get(name))
        .or_else(|| args.get("expect")?.get("within"));
    let seconds = own.and_then(Value::as_f64).unwrap_or_default();
    let own = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    ACTION_LIMIT.max(own + BEYOND)
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "without a word".to_owned()))
}

impl Outcome {
    /// Why it is no success; empty if it is one.
    fn reason(&self) -> String {
        match &self.ending {
            Ending::Fail(reason) | Ending::Error(reason) => reason.clone(),
            Ending::Succeed | Ending::Continue | Ending::Done => String::new(),
        }
    }
}

/// What a cursor asks of the soldier.
struct Eyes<'a> {
    soldier: &'a mut Soldier,
    program: &'a Program,
    memo: &'a mut Memo,
}

impl Eyes<'_> {
    fn evaluate<T: Default>(
        &mut self,
        node: NodeId,
        evaluate: impl FnOnce(&Program, &mut Sight<'_>) -> Result<T, Unfit>,
    ) -> T {
        let home = self.memo.homes[node as usize];
        self.soldier.params = home.and_then(|home| self.memo.params.get(&home).cloned());
        let mut sight = Sight { soldier: &mut *self.soldier, extra: None };
        evaluate(self.program, &mut sight).unwrap_or_else(|unfit| {
            let path = &self.program.part(node).path;
            self.memo.fault.get_or_insert_with(|| format!("{path}: {unfit}"));
            T::default()
        })
    }
}

impl World for Eyes<'_> {
    fn now(&self) -> Duration {
        self.soldier.stage().began.elapsed()
    }

    fn draw(&mut self, below: u32) -> u32 {
        self.soldier.chance().random_range(0..below)
    }

    fn times(&mut self, node: NodeId) -> u32 {
        let times = self.evaluate(node, |program, sight| program.times(node, sight));
        self.memo.times.insert(node, times);
        times
    }

    fn pause(&mut self, node: NodeId) -> Duration {
        let pause = self.evaluate(node, |program, sight| program.pause(node, sight));
        // Pauses between attempts are waits; the times of a pace are what is asked for.
        match self.program.tree.node(node).kind {
            Kind::Pace => pause,
            _ => pause.mul_f64(self.soldier.stage().options.wait_scale),
        }
    }

    fn limit(&mut self, node: NodeId) -> Duration {
        self.evaluate(node, |program, sight| program.limit(node, sight))
    }

    fn role(&mut self, node: NodeId) -> Option<usize> {
        self.program.child_of_role(node, self.soldier.seat().role.as_deref()?)
    }

    fn enters(&mut self, subtree: NodeId) {
        let params = self.evaluate(subtree, |program, sight| program.parameters(subtree, sight));
        self.memo.params.insert(subtree, Arc::new(params));
    }

    fn late(&mut self, _: NodeId, missed: u32) {
        self.soldier.stage().metrics.paced_late.fetch_add(missed.into(), Ordering::Relaxed);
    }

    fn paced(&mut self, _: NodeId, at: Duration) {
        self.memo.paced = Some(at);
    }
}
