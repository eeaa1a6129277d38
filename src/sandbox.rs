//! [`Sandbox`]: a simulated Discord, a bot on it, and the bot's store, for the army.
//!
//! The bot is in this process, or a process of its own that runs the same program; both join as they would join
//! the real Discord. The army drives it through Discord alone and looks at its store only when it has stopped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::bot;
use crate::config;
use crate::context::Instance;
use crate::dynamo::connect::{Connected, Store, StoreConfig, connect};
use crate::dynamo::faults::Faults;
use crate::playground::bot_settings;
use crate::sim::{Id, Simulator, World};
use crate::tasks::Tasks;
use crate::{run, tables};

/// A bot that has not joined by then will not.
const JOINS_WITHIN: Duration = Duration::from_secs(60);

/// A bot that was told to stop writes down what it still holds; see [`bot::drain`].
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// Memories that a server may have: as many as the setting allows.
const MEMORIES_MAX: usize = 1_000_000;

/// The bot under test.
#[derive(Clone, Debug, Default)]
pub enum Under {
    /// In this process, with its store in memory.
    #[default]
    Here,
    /// In a process of its own, with its store in this folder; its log is beside it.
    Process { folder: PathBuf },
    /// None: people are among themselves.
    Nobody,
}

/// What a sandbox is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    pub world_seed: u64,
    pub under: Under,
    /// On the way to the bot's store; only of a bot in this process.
    pub faults: Option<Faults>,
    /// Where the bot serves `/metrics`.
    pub http: Option<SocketAddr>,
    /// Where the simulated Discord listens.
    pub address: SocketAddr,
    /// How many instances of the bot there are: two are an overlapping deploy.
    pub instances: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            world_seed: 1,
            under: Under::Here,
            faults: None,
            http: None,
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            instances: 1,
        }
    }
}

/// A running sandbox.
pub struct Sandbox {
    pub simulator: Simulator,
    under: Under,
    /// Of a bot in this process.
    store: Option<Connected>,
    faults: Option<Faults>,
    bots: Vec<Running>,
    tasks: Tasks,
}

enum Running {
    /// Its tasks, and what is cancelled once it has ended.
    Here(Tasks, CancellationToken),
    Process(Child),
}

impl Sandbox {
    /// Starts everything and waits until the bot has joined and its commands are there.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let tasks = Tasks::new();
        let mut world = World::new(settings.world_seed);
        // Discord's limits on one bot's calls are not what is looked for; `--faults` brings some.
        world.settings.rate_limits = false;
        let watcher = world.person("watcher");
        let simulator = Simulator::start(world, settings.address, &tasks).await?;
        let (under, faults) = (settings.under.clone(), settings.faults.clone());
        let mut sandbox = Self { simulator, under, store: None, faults, bots: Vec::new(), tasks };
        for _ in 0..settings.instances {
            sandbox.add_bot(&settings, watcher).await?;
        }
        Ok(sandbox)
    }

    async fn add_bot(&mut self, settings: &Settings, watcher: Id) -> anyhow::Result<()> {
        let before = self.simulator.read(World::sessions_online);
        let running = match &settings.under {
            Under::Nobody => return Ok(()),
            Under::Here => self.join_here(settings).await?,
            Under::Process { folder } => Running::Process(self.join_apart(folder, settings.http)?),
        };
        self.bots.push(running);
        let joined = timeout(JOINS_WITHIN, joined(&self.simulator, watcher, before)).await;
        joined.context("the bot under test has not joined the simulated Discord")
    }

    async fn join_here(&mut self, settings: &Settings) -> anyhow::Result<Running> {
        if self.store.is_none() {
            let faults = settings.faults.clone();
            let store =
                connect(StoreConfig { faults: faults.clone(), ..StoreConfig::new(Store::Memory) }).await?;
            // Before anything goes wrong: that the tables are there is not what is looked at.
            store.dynamo.create_tables(&tables::all()).await.context("create the tables")?;
            self.store = Some(store);
        }
        let store = self.store.clone().context("it has just been opened")?;
        let patience = bot::Patience { identifies: (usize::MAX / 2, Duration::ZERO), ..Default::default() };
        let bot = bot::Settings { patience, ..bot_settings(&self.simulator) };
        let instance =
            Instance { default_prefix: ".".into(), max_memories: MEMORIES_MAX, ..Default::default() };
        let (tasks, http) = (Tasks::new(), settings.http);
        let (inner, ended) = (tasks.clone(), CancellationToken::new());
        let done = ended.clone().drop_guard();
        self.tasks.spawn_job("bot under test", async move {
            let _done = done;
            let (parts, http) = (run::Parts::default(), http.map(run::Http::here));
            if let Err(error) = run::join(&bot, store, instance, parts, http, &inner).await {
                warn!(error = format!("{error:#}"), "the bot under test ended");
            }
        });
        Ok(Running::Here(tasks, ended))
    }

    fn join_apart(&self, folder: &std::path::Path, http: Option<SocketAddr>) -> anyhow::Result<Child> {
        std::fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
        let log = std::fs::File::create(folder.join("bot.log")).context("make the bot's log")?;
        let mut command = Command::new(config::executable().context("find this program")?);
        command.args(["run", "--store", "embedded", "--discord-pacing", "off", "--data-dir"]).arg(folder);
        command.env("DISCORD_TOKEN", self.simulator.token());
        command.env("DISCORD_API_URL", self.simulator.url());
        command.env("BOT_PREFIX", ".").env("MAX_MEMORIES", MEMORIES_MAX.to_string());
        if let Some(http) = http {
            command.env("HTTP", http.to_string());
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        command.spawn().context("start the bot in a process of its own")
    }

    /// The store of a bot in this process.
    pub fn store(&self) -> Option<&Connected> {
        self.store.as_ref()
    }

    /// What the bot was stored by, once it has stopped: `None` where there was none.
    pub async fn stop_bot(&mut self) -> anyhow::Result<Option<Connected>> {
        let had_one = !self.bots.is_empty();
        for bot in self.bots.drain(..) {
            match bot {
                Running::Here(tasks, ended) => {
                    tasks.stop();
                    let stopped = timeout(STOPS_WITHIN, ended.cancelled()).await;
                    stopped.context("the bot under test has not stopped")?;
                }
                Running::Process(child) => terminate(child).await?,
            }
        }
        if let Some(faults) = &self.faults {
            // What was still under way arrives; then nothing goes wrong any more.
            faults.calm();
            faults.deliver_late().await;
        }
        match (&self.under, self.store.take()) {
            (Under::Process { folder }, _) if had_one => {
                let store = Store::File(folder.join("mneme.db"));
                connect(StoreConfig::new(store))
                    .await
                    .context("open the store of the bot under test")
                    .map(Some)
            }
            (_, store) => Ok(store),
        }
    }

    /// Ends the simulated Discord.
    pub async fn end(self) {
        for bot in &self.bots {
            if let Running::Here(tasks, _) = bot {
                tasks.stop();
            }
        }
        self.tasks.stop();
        self.tasks.wait(STOPS_WITHIN).await;
    }
}

/// Asks a process to end, as a supervisor does, and waits until it has.
async fn terminate(mut child: Child) -> anyhow::Result<()> {
    if let Some(id) = child.id() {
        // What there is on every Unix; a process that is gone already needs no signal.
        let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
    }
    match timeout(STOPS_WITHIN, child.wait()).await {
        Ok(_) => Ok(()),
        Err(_) => bail!("the bot under test has not stopped"),
    }
}

/// Waits until one session more than `before` is online and slash commands are there.
async fn joined(simulator: &Simulator, watcher: Id, before: usize) {
    let mut seen = simulator.watch(watcher);
    let is_there = || {
        let commands = || simulator.view(watcher)["commands"].as_array().is_some_and(|all| !all.is_empty());
        simulator.read(World::sessions_online) > before && commands()
    };
    while !is_there() {
        if seen.next().await.is_none() {
            return;
        }
    }
}
