//! `mneme army run`, `once`, `test` and `serve`: what was typed becomes a [`Job`], and what came of it is told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::time::{Instant, interval_at};
use tokio_util::sync::CancellationToken;

use crate::army::account::is_about_time;
use crate::army::accounts::{self, Place};
use crate::army::action::Registry;
use crate::army::cli::{Act, FAILED, Tree, UNUSABLE};
use crate::army::faults::Faults;
use crate::army::log::Format;
use crate::army::play::{Model, Plan, Respawn};
use crate::army::profile::{self, Profile};
use crate::army::run::{Finished, Job, Kind, SharedStore, Watch, play};
use crate::army::schedule::{BOTS_MAX, Course};
use crate::army::screen::{self, Screen};
use crate::army::spec::amount::{Span, rate};
use crate::army::spec::compile::Given;
use crate::army::spec::threshold::Threshold;
use crate::army::summary::summary;
use crate::army::{cli, custom, http, library, report, suite};
use crate::sandbox::Under;

/// The log of all soldiers, in the working directory, as Bot Army calls it.
pub const LOG_FILE: &str = "bot_run.log";

/// How often a run says how it stands where nobody looks at a screen.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Run a load test.
#[derive(Clone, Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub tree: Tree,
    /// How many bots there are; 0 starts nothing and ends
    #[arg(long, conflicts_with = "arrival", value_parser = clap::value_parser!(u32).range(0..=BOTS_MAX as i64))]
    pub n: Option<u32>,
    /// Bots arrive at this rate, whether or not the server keeps up, and leave at the end of the tree: 5/s
    #[arg(long, value_name = "RATE", value_parser = per_second)]
    pub arrival: Option<f64>,
    /// Of arrivals: how many may be there at once; those beyond are counted as dropped
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=BOTS_MAX as i64))]
    pub max_bots: u32,
    /// Evenly spaced arrivals in place of a Poisson process
    #[arg(long, requires = "arrival")]
    pub arrival_even: bool,
    /// Start evenly in this time
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "stages")]
    pub ramp: Option<Duration>,
    /// Levels and how long it takes to get there, linear in between: 10:30s,100:2m,0:30s
    #[arg(long, value_name = "STAGES", value_parser = stages)]
    pub stages: Option<Course>,
    /// End after this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub duration: Option<Duration>,
    /// How often each bot goes through the tree
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u64).range(1..))]
    pub iterations: Option<u64>,
    /// Do not replace bots that are done or dead
    #[arg(long)]
    pub no_respawn: bool,
    /// How often the dead are replaced
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5s")]
    pub respawn_every: Duration,
    /// How many are replaced at once
    #[arg(long, default_value_t = 50)]
    pub respawn_batch: usize,
    /// The first bot goes through the tree once before the others start
    #[arg(long)]
    pub preflight: bool,
    /// What is left out of percentiles at the beginning
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "0s")]
    pub warmup: Duration,
    /// How long running actions may finish at the end
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "30s")]
    pub grace: Duration,
    /// What must hold, as in ACTION:p(95)<250ms, errors.rate<1%; !abort behind it ends the run at once
    #[arg(long, value_name = "EXPR", value_parser = Threshold::parse)]
    pub threshold: Vec<Threshold>,
    /// Faults of the bot's store and of Discord: store.lose_reply=1%,store.delay=5ms..50ms,discord.duplicate=1%
    #[arg(long, value_name = "FAULTS", value_parser = Faults::parse, conflicts_with_all = ["bot_process", "discord"])]
    pub faults: Option<Faults>,
    /// How many instances of the bot run side by side, as in an overlapping deploy
    #[arg(
        long, default_value_t = 1, conflicts_with = "discord", value_parser = clap::value_parser!(u8).range(1..=4),
    )]
    pub instances: u8,
    /// Exit with 4 if bots died
    #[arg(long)]
    pub fail_on_bot_error: bool,
    /// Exit with 99 if the army itself was too slow
    #[arg(long)]
    pub fail_on_saturation: bool,
    #[command(flatten)]
    pub stage: StageOf,
    #[command(flatten)]
    pub outputs: Outputs,
    /// Whether progress is told
    #[arg(long, value_enum, default_value_t = Progress::Auto)]
    pub progress: Progress,
    /// What bots do beside the tree: default, nothing; present, they are on Discord before their first step
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = profile::find)]
    pub bot: &'static Profile,
}

/// One bot, one pass.
#[derive(Clone, Debug, Args)]
pub struct Once {
    #[command(flatten)]
    pub tree: Tree,
    #[command(flatten)]
    pub stage: StageOf,
    #[command(flatten)]
    pub outputs: Outputs,
}

/// What bots act on, and how fast.
#[derive(Clone, Debug, Args)]
pub struct StageOf {
    /// Repeats every random choice of every bot; printed
    #[arg(long)]
    pub seed: Option<u64>,
    /// Factor for thinking
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub think_scale: f64,
    /// Factor for waits
    #[arg(long, default_value_t = 1.0, value_parser = scale)]
    pub wait_scale: f64,
    /// Requests of all bots together, at most: 50/s
    #[arg(long, value_name = "RATE", value_parser = per_second)]
    pub max_rate: Option<f64>,
    /// The bot under test, a simulated Discord and its store, all in this process (the default)
    #[arg(long, conflicts_with_all = ["no_bot", "bot_process"])]
    pub sandbox: bool,
    /// A running server that is compatible with Discord, in place of the sandbox; Discord itself is refused
    #[arg(
        long,
        value_name = "URL",
        value_parser = accounts::address,
        requires = "accounts",
        conflicts_with_all = ["sandbox", "no_bot", "bot_process", "bot_http", "virtual_time"],
    )]
    pub discord: Option<reqwest::Url>,
    /// People's accounts there: a name and a token a line
    #[arg(long, value_name = "FILE", requires = "discord")]
    pub accounts: Option<PathBuf>,
    /// The server that people are in: with --discord, of that name or id
    #[arg(long, value_name = "NAME", default_value = "army")]
    pub server: String,
    /// What the bot's commands begin with there
    #[arg(long, default_value = ".", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub prefix: String,
    /// The bot under test, where several offer commands
    #[arg(long, value_name = "ID", requires = "discord")]
    pub bot_id: Option<u64>,
    /// The bot under test in a process of its own, with its store and its log in this folder
    #[arg(long, value_name = "DIR", conflicts_with = "no_bot")]
    pub bot_process: Option<PathBuf>,
    /// Where the bot under test serves /metrics, such as 127.0.0.1:9100
    #[arg(long, value_name = "ADDRESS")]
    pub bot_http: Option<SocketAddr>,
    /// People among themselves
    #[arg(long)]
    pub no_bot: bool,
    /// Without a bot and without waiting: an hour takes seconds, and the same seed gives the same digest
    #[arg(long, conflicts_with_all = ["bot_process", "sandbox"])]
    pub virtual_time: bool,
    /// Where shared data lives: memory, bot, or a folder
    #[arg(long, value_name = "memory|bot|DIR", default_value = "memory", value_parser = shared_store)]
    pub shared_store: SharedStore,
    /// The name of the run, and of its space for shared data
    #[arg(long)]
    pub run_id: Option<String>,
    /// Do not hold what the bot acknowledged against what it has stored
    #[arg(long)]
    pub no_promise_check: bool,
}

/// What is written besides the summary.
#[derive(Clone, Debug, Default, Args)]
pub struct Outputs {
    /// The metrics, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// A report
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Every step of every bot, a line each
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// No bot_run.log
    #[arg(long)]
    pub disable_log_file: bool,
    /// A log for programs
    #[arg(long)]
    pub format_json_logs: bool,
}

/// Run integration tests.
#[derive(Clone, Debug, Args)]
pub struct Test {
    /// Test files
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Only tests with this in their name
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Only tests with this tag
    #[arg(long)]
    pub tag: Option<String>,
    /// Say also what passes
    #[arg(long)]
    pub verbose: bool,
    /// The results for a build server
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Repeats every random choice; printed
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Serve the HTTP API.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// The address; another one than this machine's own needs a token
    #[arg(long, default_value = "127.0.0.1:8124")]
    pub bind: SocketAddr,
    /// What callers must have in their Authorization header
    #[arg(long)]
    pub token: Option<String>,
    /// The folder of the trees
    #[arg(long, value_name = "DIR", default_value = library::FOLDER)]
    pub trees: PathBuf,
    /// Runs have no bot under test
    #[arg(long)]
    pub no_bot: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Progress {
    /// A table with keys on a terminal, lines elsewhere
    Auto,
    /// A line every five seconds
    Plain,
    None,
}

/// Where words go: what came of it, and what is said about it.
pub struct Mouth<'a> {
    pub say: &'a (dyn Fn(&str) + Sync),
    pub tell: &'a (dyn Fn(&str) + Sync),
}

fn time(text: &str) -> Result<Duration, String> {
    Span::parse(text).map(Span::duration).ok_or_else(|| format!("`{text}` is no time: 30s, 2m"))
}

fn per_second(text: &str) -> Result<f64, String> {
    rate(text).ok_or_else(|| format!("`{text}` is no rate: 5/s"))
}

fn stages(text: &str) -> Result<Course, String> {
    Course::parse(text)
}

fn scale(text: &str) -> Result<f64, String> {
    let scale = text.parse().ok().filter(|scale: &f64| (0.0..=1_000.0).contains(scale));
    scale.ok_or_else(|| format!("`{text}` is no factor: 0.1"))
}

fn shared_store(text: &str) -> Result<SharedStore, String> {
    Ok(match text {
        "memory" => SharedStore::Memory,
        "bot" => SharedStore::Bot,
        folder => SharedStore::Folder(folder.into()),
    })
}

/// Does what was typed; the answer is the exit code.
pub async fn start(act: &Act, mouth: &Mouth<'_>, interrupt: CancellationToken) -> i32 {
    let outcome = match act {
        Act::Run(run) => load_test(run, mouth, interrupt).await,
        Act::Once(once) => one_pass(once, mouth, interrupt).await,
        Act::Test(test) => suite::run(test, mouth).await,
        Act::Serve(serve) => http::serve(serve, mouth, interrupt).await,
        other => {
            let told = cli::start(other);
            (mouth.say)(&told.out);
            (mouth.tell)(&told.err);
            return told.code;
        }
    };
    outcome.unwrap_or_else(|error| {
        (mouth.tell)(&format!("mneme army: {error:#}\n"));
        FAILED
    })
}

/// A seed that nobody gave.
pub(super) fn seed(given: Option<u64>) -> u64 {
    // Short enough to be typed again.
    given.unwrap_or_else(|| rand::random_range(0..1_000_000))
}

impl StageOf {
    fn under(&self) -> Under {
        match &self.bot_process {
            Some(folder) => Under::Process { folder: folder.clone() },
            None if self.no_bot || self.virtual_time => Under::Nobody,
            None => Under::Here,
        }
    }

    fn prepare(&self, job: &mut Job) -> Result<(), String> {
        if let Some((url, file)) = self.discord.as_ref().zip(self.accounts.as_ref()) {
            let accounts = accounts::read(file).map_err(|error| format!("{error:#}"))?;
            job.place = Some(Place { url: url.clone(), accounts, bot: self.bot_id });
        }
        if self.discord.is_some() && self.shared_store == SharedStore::Bot {
            return Err("the store of a bot elsewhere cannot be shared; see --shared-store".to_owned());
        }
        job.under = self.under();
        job.is_virtual = self.virtual_time;
        job.bot_http = self.bot_http;
        job.shared_store = self.shared_store.clone();
        job.check_promises = !self.no_promise_check;
        let options = &mut job.options;
        options.seed = seed(self.seed);
        options.run_id = self.run_id.clone().unwrap_or_else(|| format!("r{}", options.seed));
        (options.think_scale, options.wait_scale) = (self.think_scale, self.wait_scale);
        options.max_rate = self.max_rate;
        options.server.clone_from(&self.server);
        options.prefix.clone_from(&self.prefix);
        Ok(())
    }
}

impl Outputs {
    /// Has the run keep what will be written.
    fn prepare(&self, job: &mut Job) {
        let format = if self.format_json_logs { Format::Json } else { Format::Text };
        job.log = (!self.disable_log_file).then(|| (PathBuf::from(LOG_FILE), format));
        job.options.trace = self.trace.is_some();
    }

    fn write(&self, finished: &Finished) -> anyhow::Result<()> {
        if let Some(path) = &self.json {
            write(path, &serde_json::to_string_pretty(&finished.document)?)?;
        }
        if let Some(path) = &self.html {
            write(path, &report::html(&finished.document, None))?;
        }
        if let Some((path, trace)) = self.trace.as_ref().zip(finished.trace.as_ref()) {
            write(path, trace)?;
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The tree that was meant; what is wrong with it is told, and nothing is started.
fn program(tree: &Tree, mouth: &Mouth<'_>) -> Result<Arc<crate::army::spec::Program>, i32> {
    let given = match &tree.custom {
        Some(text) => custom::read(text),
        None => Ok(Default::default()),
    };
    let loaded = given.map(Given::complete).and_then(|given| {
        library::load(&tree.tree, &tree.trees, &Registry::new(), &given).map_err(|error| error.to_string())
    });
    match loaded {
        Ok((program, odd, path)) => {
            if !odd.is_empty() {
                (mouth.tell)(&(library::told(&path.display().to_string(), &odd) + "\n"));
            }
            Ok(Arc::new(program))
        }
        Err(error) => {
            (mouth.tell)(&format!("{error}\n"));
            Err(UNUSABLE)
        }
    }
}

async fn load_test(run: &Run, mouth: &Mouth<'_>, interrupt: CancellationToken) -> anyhow::Result<i32> {
    let program = match program(&run.tree, mouth) {
        Ok(program) => program,
        Err(code) => return Ok(code),
    };
    let job = match job(run, program) {
        Ok(job) => job,
        Err(what) => {
            (mouth.tell)(&format!("{what}\n"));
            return Ok(UNUSABLE);
        }
    };
    (mouth.tell)(&format!("seed {}\n", job.options.seed));
    let progress = if job.is_virtual { Progress::None } else { run.progress };
    let finished = played(job, progress, mouth, interrupt).await?;
    conclude(&finished, &run.outputs, mouth)
}

/// The summary, and the files.
fn conclude(finished: &Finished, outputs: &Outputs, mouth: &Mouth<'_>) -> anyhow::Result<i32> {
    (mouth.say)(&summary(&finished.document));
    if let Some(digest) = &finished.digest {
        (mouth.say)(&format!("digest {digest}\n"));
    }
    outputs.write(finished)?;
    Ok(finished.code)
}

/// Plays, tells how it stands, and ends early when somebody wants that.
async fn played(
    job: Job,
    progress: Progress,
    mouth: &Mouth<'_>,
    interrupt: CancellationToken,
) -> anyhow::Result<Finished> {
    let (send, mut begun) = tokio::sync::oneshot::channel::<Watch>();
    let begins = Box::new(|watch| {
        // Nobody looks once the run has failed to start.
        send.send(watch).ok();
    });
    let playing = play(job, begins);
    let looking = async {
        let Ok(watch) = (&mut begun).await else { return std::future::pending::<()>().await };
        let interrupted = async {
            interrupt.cancelled().await;
            watch.interrupt();
        };
        tokio::join!(interrupted, progress.tell(&watch, mouth));
        std::future::pending().await
    };
    tokio::select! {
        finished = playing => finished,
        () = looking => unreachable!("it looks for ever"),
    }
}

impl Progress {
    /// Tells how it stands, for as long as somebody wants to know: as a table with keys, or line by line.
    async fn tell(self, watch: &Watch, mouth: &Mouth<'_>) {
        if self == Self::None {
            return;
        }
        if self == Self::Auto
            && screen::is_there()
            && let Some(mut screen) = Screen::open(mouth.tell)
        {
            return screen.show(watch).await;
        }
        let mut ticks = interval_at(Instant::now() + TELL_EVERY, TELL_EVERY);
        loop {
            ticks.tick().await;
            (mouth.tell)(&standing(watch));
        }
    }
}

/// A line for those who wait.
fn standing(watch: &Watch) -> String {
    let document = watch.document();
    let last = document.series.last().copied().unwrap_or_default();
    let p95 = last.p95.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.0} ms"));
    format!(
        "{:>5} s  {} bots  {} steps/s  {} errors  p95 {p95}\n",
        document.run.uptime_ms / 1_000,
        document.bot_count,
        last.steps,
        document.total_error_count,
    )
}

/// What `run` was asked for.
fn job(run: &Run, program: Arc<crate::army::spec::Program>) -> Result<Job, String> {
    let mut job = Job::new(program);
    run.stage.prepare(&mut job)?;
    let course = |level: f64| match (&run.stages, run.ramp) {
        (Some(stages), _) => stages.clone(),
        (None, Some(ramp)) => Course::ramp(level, ramp),
        (None, None) => Course::constant(level),
    };
    let model = match run.arrival {
        Some(rate) => Model::Open { course: course(rate), max_bots: run.max_bots, even: run.arrival_even },
        None => Model::Closed(course(f64::from(run.n.unwrap_or(USUAL_BOTS)))),
    };
    let respawn = Respawn { every: run.respawn_every.max(RESPAWN_LEAST), batch: run.respawn_batch };
    job.plan = Plan {
        model,
        duration: run.duration,
        iterations: run.iterations,
        respawn: (!run.no_respawn).then_some(respawn),
        preflight: run.preflight,
        grace: run.grace,
    };
    if job.plan.slots() > BOTS_MAX {
        return Err(format!("a process carries {BOTS_MAX} bots"));
    }
    if let Some(place) = &job.place
        && job.plan.slots() as usize > place.accounts.len()
    {
        let (bots, accounts) = (job.plan.slots(), place.accounts.len());
        return Err(format!("each bot needs an account of its own: {bots} bots, {accounts} accounts"));
    }
    (job.options.warmup, job.options.profile) = (run.warmup, run.bot);
    job.thresholds.clone_from(&run.threshold);
    job.faults = run.faults.unwrap_or_default();
    job.instances = run.instances.into();
    (job.fail_on_bot_error, job.fail_on_saturation) = (run.fail_on_bot_error, run.fail_on_saturation);
    run.outputs.prepare(&mut job);
    job.command = command_line(run, job.options.seed);
    if job.is_virtual {
        check_virtual(&job)?;
    }
    if let Some(unknown) = unknown_row(&job) {
        return Err(unknown);
    }
    Ok(job)
}

/// Where nobody says how many.
pub const USUAL_BOTS: u32 = 10;

/// A check of ten thousand slots is cheap, but not that cheap.
const RESPAWN_LEAST: Duration = Duration::from_millis(100);

fn check_virtual(job: &Job) -> Result<(), String> {
    let thresholds = job.program.thresholds.iter().chain(&job.thresholds);
    match thresholds.filter(|threshold| is_about_time(threshold)).map(|threshold| &threshold.text).next() {
        Some(text) => Err(format!("`{text}` means nothing in virtual time")),
        None => Ok(()),
    }
}

/// A threshold about something that the tree does not do would never be missed.
fn unknown_row(job: &Job) -> Option<String> {
    use crate::army::spec::threshold::Measure;
    let known: Vec<&str> = job.program.rows().chain(["other"]).collect();
    let named = job.thresholds.iter().find_map(|threshold| match &threshold.measure {
        Measure::Action(name, _) if !known.contains(&name.as_str()) => Some((name, &threshold.text)),
        _ => None,
    });
    named.map(|(name, text)| {
        let near = crate::yaml::fault::did_you_mean(name, known.iter().copied());
        format!("`{text}`: the tree has no {name}{near}")
    })
}

/// What repeats the run.
fn command_line(run: &Run, seed: u64) -> String {
    let mut line = format!("mneme army run --tree {} --seed {seed}", run.tree.tree);
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            line.push_str(&format!(" --{name} {value}"));
        }
    };
    add("n", run.n.map(|n| n.to_string()));
    add("arrival", run.arrival.map(|rate| format!("{rate}/s")));
    add("duration", run.duration.map(|time| format!("{}s", time.as_secs_f64())));
    add("iterations", run.iterations.map(|k| k.to_string()));
    add("discord", run.stage.discord.as_ref().map(ToString::to_string));
    add("accounts", run.stage.accounts.as_ref().map(|file| file.display().to_string()));
    add("server", run.stage.discord.as_ref().map(|_| run.stage.server.clone()));
    add("bot", (run.bot.name != profile::DEFAULT.name).then(|| run.bot.name.to_owned()));
    add("custom", run.tree.custom.as_ref().map(|custom| format!("{custom:?}")));
    line
}

async fn one_pass(once: &Once, mouth: &Mouth<'_>, interrupt: CancellationToken) -> anyhow::Result<i32> {
    let program = match program(&once.tree, mouth) {
        Ok(program) => program,
        Err(code) => return Ok(code),
    };
    let mut job = Job::new(program);
    if let Err(what) = once.stage.prepare(&mut job) {
        (mouth.tell)(&format!("{what}\n"));
        return Ok(UNUSABLE);
    }
    job.kind = Kind::Once;
    job.plan = Plan { iterations: Some(1), respawn: None, ..Plan::default() };
    once.outputs.prepare(&mut job);
    job.command = format!("mneme army once --tree {} --seed {}", once.tree.tree, job.options.seed);
    let finished = played(job, Progress::None, mouth, interrupt).await?;
    if let Some(failure) = &finished.played.first_failure {
        (mouth.tell)(&format!("{}\n", failure.tail.join("\n")));
    }
    conclude(&finished, &once.outputs, mouth)
}
