//! A run: the stage is set, soldiers play, and then it is told how it went.
//!
//! [`Run::start`] brings up what soldiers act on; [`Run::finish`] plays, stops the bot under test, holds its
//! promises against its store and decides the thresholds. Whatever happens, there is a document, a verdict and
//! an exit code.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Map, Value};
use tokio::time::interval;

use crate::army::account::Account;
use crate::army::accounts::Place;
use crate::army::discord::Discord;
use crate::army::faults::Faults;
use crate::army::log::{Format, RunLog};
use crate::army::metrics::document::{Document, Run as RunInfo};
use crate::army::play::{Plan, Play, Played, Strings};
use crate::army::promises::Verdict;
use crate::army::remote::Remote;
use crate::army::spec::program::Program;
use crate::army::spec::threshold::Threshold;
use crate::army::stage::{Options, Stage};
use crate::clock::{Clock, Timestamp};
use crate::dynamo::Dynamo;
use crate::dynamo::connect::{Connected, Store, StoreConfig, connect};
use crate::dynamo::faults::Faults as StoreFaults;
use crate::sandbox::{Sandbox, Settings, Under};
use crate::shared::{self, SharedData, SharedOptions, Space};
use crate::sim::{Simulator, World};
use crate::tasks::Tasks;

/// What a bot must do in any run, unless the run says something else about it.
const ALWAYS: &str = "discord.ack_late==0";

/// The army's own tasks end at once; this is for what they still write.
const TASKS_END_WITHIN: Duration = Duration::from_secs(10);

/// When a run in virtual time takes place: the same day each time, so that ids are the same.
const VIRTUAL_START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// Where shared data is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SharedStore {
    #[default]
    Memory,
    /// In a file in this folder.
    Folder(PathBuf),
    /// With the records of the bot under test.
    Bot,
}

/// What kind of a run it is: what makes it fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A load test: trees may fail.
    #[default]
    Load,
    /// The tree must succeed.
    Once,
}

/// Everything that a run needs to know.
#[derive(Clone)]
pub struct Job {
    pub program: Arc<Program>,
    pub kind: Kind,
    pub plan: Plan,
    pub options: Options,
    pub under: Under,
    pub faults: Faults,
    /// How many instances of the bot there are.
    pub instances: usize,
    pub shared_store: SharedStore,
    /// Where `bot_run.log` goes, if anywhere.
    pub log: Option<(PathBuf, Format)>,
    /// Besides those of the tree.
    pub thresholds: Vec<Threshold>,
    pub is_virtual: bool,
    pub check_promises: bool,
    pub fail_on_bot_error: bool,
    pub fail_on_saturation: bool,
    /// The command line, for the report.
    pub command: String,
    /// What soldiers know from the beginning.
    pub context: Map<String, Value>,
    /// Where the bot serves its own numbers.
    pub bot_http: Option<std::net::SocketAddr>,
    /// A running server elsewhere, in place of a sandbox.
    pub place: Option<Place>,
}

impl Job {
    pub fn new(program: Arc<Program>) -> Self {
        Self {
            program,
            kind: Kind::Load,
            plan: Plan::default(),
            options: Options::default(),
            under: Under::Here,
            faults: Faults::default(),
            instances: 1,
            shared_store: SharedStore::Memory,
            log: None,
            thresholds: Vec::new(),
            is_virtual: false,
            check_promises: true,
            fail_on_bot_error: false,
            fail_on_saturation: false,
            command: String::new(),
            context: Map::new(),
            bot_http: None,
            place: None,
        }
    }

    fn has_bot(&self) -> bool {
        !matches!(self.under, Under::Nobody)
    }

    fn thresholds(&self) -> Vec<Threshold> {
        let mut all: Vec<Threshold> =
            self.program.thresholds.iter().chain(&self.thresholds).cloned().collect();
        // How fast a bot elsewhere acknowledges is not seen from here.
        if self.has_bot()
            && self.place.is_none()
            && !all.iter().any(|threshold| threshold.text.starts_with("discord.ack_late"))
        {
            all.push(Threshold::parse(ALWAYS).expect("a constant, read by a test"));
        }
        all
    }

    fn info(&self, started: Timestamp) -> RunInfo {
        RunInfo {
            id: self.options.run_id.clone(),
            seed: self.options.seed,
            tree: self.program.name.clone(),
            tree_hash: self.program.hash.clone(),
            model: if self.plan.is_open() { "open" } else { "closed" }.to_owned(),
            started: started.to_string(),
            state: "running".to_owned(),
            is_virtual: self.is_virtual,
            command: self.command.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            target: match self.under {
                _ if self.place.is_some() => "discord",
                Under::Here => "sandbox",
                Under::Process { .. } => "process",
                Under::Nobody => "no-bot",
            }
            .to_owned(),
            ..RunInfo::default()
        }
    }
}

/// A run that is under way.
pub struct Run {
    job: Job,
    pub stage: Arc<Stage>,
    pub account: Arc<Account>,
    pub strings: Strings,
    sandbox: Option<Sandbox>,
    tasks: Tasks,
    interrupted: Arc<AtomicBool>,
}

/// A view of a run that can be had while it goes on and after it.
#[derive(Clone)]
pub struct Watch {
    pub stage: Arc<Stage>,
    pub account: Arc<Account>,
    pub strings: Strings,
    interrupted: Arc<AtomicBool>,
}

impl Watch {
    pub fn document(&self) -> Document {
        self.account.document(&self.stage)
    }

    /// Somebody wants it to end now; the exit code says so.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
        self.strings.stop.cancel();
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Finished {
    pub document: Document,
    pub played: Played,
    pub verdict: Option<Verdict>,
    pub code: i32,
    pub reason: String,
    /// Of what happened, in virtual time.
    pub digest: Option<String>,
    /// Every step, if that was asked for.
    pub trace: Option<String>,
}

impl Run {
    /// Brings everything up. No soldier is there yet.
    pub async fn start(job: Job) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let clock = if job.is_virtual { Clock::running(VIRTUAL_START) } else { Clock::system() };
        let (sandbox, discord) = if let Some(place) = &job.place {
            (None, Discord::Remote(Arc::new(Remote::open(place, &job.options.server, &tasks).await?)))
        } else if job.is_virtual {
            let mut world = World::new(job.options.seed);
            world.settings.rate_limits = false;
            (None, Discord::Simulated(Simulator::without_bot(world, &tasks, clock.clone())))
        } else {
            // The bot starts in good order: whether it can is not what is looked at.
            let faults = job.faults.touch_the_store().then(StoreFaults::new);
            let settings = Settings {
                world_seed: job.options.seed,
                under: job.under.clone(),
                faults: faults.clone(),
                http: job.bot_http,
                instances: job.instances,
                ..Settings::default()
            };
            let sandbox = Sandbox::start(settings).await?;
            let simulator = sandbox.simulator.clone();
            if let Some(faults) = &faults {
                job.faults.on_store(faults, job.options.seed);
            }
            (Some(sandbox), Discord::Simulated(simulator))
        };
        if let Discord::Simulated(simulator) = &discord {
            job.faults.on_discord(simulator);
        }
        let store = shared_store(&job, sandbox.as_ref(), &clock).await?;
        // Nonces must differ between processes that share a store; only virtual time needs them to repeat.
        let seed = job.is_virtual.then_some(job.options.seed);
        let options = SharedOptions { seed, ..SharedOptions::default() };
        let space = Space::Run(job.options.run_id.clone());
        let shared = SharedData::open(store.clone(), &tasks, space, options);
        let log = match &job.log {
            Some((path, format)) => RunLog::start(path, *format, clock.clone())
                .with_context(|| format!("write the log {}", path.display()))?,
            None => RunLog::nowhere(clock.clone()),
        };
        let options = Options { slots: job.plan.slots(), ..job.options.clone() };
        let stage = Stage::new(options, (shared, store), discord, clock.clone(), log, &tasks);
        let account = Arc::new(Account::default());
        account.begin(job.info(clock.now()));
        let (strings, interrupted) = (Strings::default(), Arc::default());
        Ok(Self { job, stage, account, strings, sandbox, tasks, interrupted })
    }

    pub fn watch(&self) -> Watch {
        let Self { stage, account, strings, interrupted, .. } = self;
        Watch {
            stage: stage.clone(),
            account: account.clone(),
            strings: strings.clone(),
            interrupted: interrupted.clone(),
        }
    }

    /// Plays, and tells how it went.
    pub async fn finish(mut self) -> anyhow::Result<Finished> {
        load(&self.job.program, &self.stage).await?;
        self.measure();
        let play = Play {
            stage: self.stage.clone(),
            program: self.job.program.clone(),
            plan: self.job.plan.clone(),
            strings: self.strings.clone(),
            context: self.job.context.clone(),
            tasks: self.tasks.clone(),
        };
        let played = play.run().await;
        self.account.freeze(&self.stage);
        self.account.second(&self.stage);
        self.account.state("stopping");
        self.stage.log.flush();
        let verdict = self.check_promises().await?;
        self.account.promises(verdict.clone());
        let decided = self.account.decide(&self.stage, &self.job.thresholds());
        let missed: Vec<&str> = decided.iter().filter(|one| !one.ok).map(|one| one.expr.as_str()).collect();
        let (code, reason) = self.verdict(&played, verdict.as_ref(), &missed);
        self.account.state("ended");
        self.account.exit(code, &reason);
        let document = self.account.document(&self.stage);
        self.tasks.stop();
        self.tasks.wait(TASKS_END_WITHIN).await;
        if let Some(sandbox) = self.sandbox.take() {
            sandbox.end().await;
        }
        let digest = self.job.is_virtual.then(|| self.stage.trace.digest());
        let trace = self.stage.trace.text();
        Ok(Finished { document, played, verdict, code, reason, digest, trace })
    }

    /// Counts by the second, and watches the generator.
    fn measure(&self) {
        let (stage, account, shutdown) = (self.stage.clone(), self.account.clone(), self.tasks.shutdown());
        let aborting: Vec<Threshold> =
            self.job.thresholds().into_iter().filter(|threshold| threshold.aborts).collect();
        let stop = self.strings.stop.clone();
        self.tasks.spawn("seconds", async move {
            let mut seconds = interval(Duration::from_secs(1));
            seconds.tick().await;
            while shutdown.run_until_cancelled(seconds.tick()).await.is_some() {
                account.second(&stage);
                stage.log.flush();
                if !aborting.is_empty() && account.decide(&stage, &aborting).iter().any(|one| !one.ok) {
                    stop.cancel();
                }
            }
        });
        if self.job.is_virtual {
            return;
        }
        let (account, shutdown) = (self.account.clone(), self.tasks.shutdown());
        self.tasks.spawn("lag", async move { account.generator.nap(shutdown).await });
        let (account, shutdown) = (self.account.clone(), self.tasks.shutdown());
        self.tasks.spawn("cpu", async move { account.generator.watch(shutdown).await });
    }

    /// Stops the bot and looks at what it has stored.
    async fn check_promises(&mut self) -> anyhow::Result<Option<Verdict>> {
        let Some(sandbox) = &mut self.sandbox else { return Ok(None) };
        let stored: Option<Connected> = sandbox.stop_bot().await?;
        match stored.filter(|_| self.job.check_promises) {
            None => Ok(None),
            Some(store) => {
                let verdict = self.stage.ledger.check(&store.dynamo).await;
                verdict.context("read what the bot under test has stored").map(Some)
            }
        }
    }

    /// The first that applies.
    fn verdict(&self, played: &Played, promises: Option<&Verdict>, missed: &[&str]) -> (i32, String) {
        let broken = promises.map_or(0, Verdict::broken);
        let first = played.first_failure.as_ref().map(|failure| failure.reason.clone());
        let saturated = self.job.fail_on_saturation && self.account.generator.view().saturated;
        if broken > 0 {
            (5, format!("{broken} promises are not kept"))
        } else if self.job.kind == Kind::Once && (played.failed > 0 || played.passes == 0) {
            (3, first.unwrap_or_else(|| "the tree did not end".to_owned()))
        } else if played.preflight_failed || (self.job.fail_on_bot_error && played.died > 0) {
            (4, format!("{} bots died: {}", played.died, first.unwrap_or_default()))
        } else if !missed.is_empty() {
            (99, format!("not kept: {}", missed.join(", ")))
        } else if saturated {
            (99, "the generator was saturated".to_owned())
        } else if self.interrupted.load(Ordering::Relaxed) {
            (130, "interrupted".to_owned())
        } else {
            (0, "passed".to_owned())
        }
    }
}

async fn shared_store(job: &Job, sandbox: Option<&Sandbox>, clock: &Clock) -> anyhow::Result<Dynamo> {
    let store = match &job.shared_store {
        SharedStore::Bot => {
            let store = sandbox.and_then(Sandbox::store);
            let store = store.context("there is no bot in this process whose store could be shared")?;
            return Ok(store.dynamo.clone());
        }
        SharedStore::Memory if job.is_virtual => Store::Inline,
        SharedStore::Memory => Store::Memory,
        SharedStore::Folder(folder) => {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make the folder {}", folder.display()))?;
            Store::File(folder.join("army.db"))
        }
    };
    let connected = connect(StoreConfig { clock: clock.clone(), ..StoreConfig::new(store) }).await?;
    connected.dynamo.create_tables(shared::TABLES).await.context("create the table for shared data")?;
    Ok(connected.dynamo)
}

/// Lists are there before anybody asks for an element.
async fn load(program: &Program, stage: &Stage) -> anyhow::Result<()> {
    let named = |part: &crate::army::spec::program::Part, argument: &str| {
        part.args.constant(argument).and_then(Value::as_str).map(str::to_owned)
    };
    for (_, part) in program.parts() {
        let (name, is_pool) = match part.name() {
            "deal" => (named(part, "list"), false),
            "with_checkout" => (named(part, "pool"), true),
            _ => continue,
        };
        let Some(name) = name else { continue };
        let empty = Vec::new();
        let elements = program.lists.get(&name).unwrap_or(&empty);
        let loaded = if is_pool {
            stage.shared.pool_load(&name, elements).await
        } else {
            stage.shared.deal_load(&name, elements).await
        };
        loaded.with_context(|| format!("load the list {name}"))?;
    }
    Ok(())
}

/// What is done with the view of a run that has begun.
pub type Begun = Box<dyn FnOnce(Watch) + Send>;

/// Plays a job; `begun` is given a view of it. In virtual time that is on a thread and a runtime of its own.
pub async fn play(job: Job, begun: Begun) -> anyhow::Result<Finished> {
    if !job.is_virtual {
        return on_this_runtime(job, begun).await;
    }
    let work = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.context("start a runtime in virtual time")?.block_on(on_this_runtime(job, begun))
    });
    work.await.context("the run in virtual time panicked")?
}

async fn on_this_runtime(job: Job, begun: Begun) -> anyhow::Result<Finished> {
    let run = Run::start(job).await?;
    begun(run.watch());
    run.finish().await
}
