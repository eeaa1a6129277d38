//! The playground: a simulated Discord, the bot, the embedded store and the page, in one process.
//!
//! It needs no account, no token and no network, and it remembers: records are in the embedded store's file,
//! the chat itself in `chat.json` beside it. Tests start the same parts in the same way.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::backstage::Backstage;
use crate::bot::{self, Exit};
use crate::config::Shards;
use crate::context::{Instance, Player};
use crate::dynamo::connect::{Store, StoreConfig, connect};
use crate::dynamo::faults::Faults;
use crate::sim::{Id, Simulator, World};
use crate::tasks::Tasks;
use crate::{relay, run, tables, web};

/// How often the chat is written to its file while the playground runs.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Ports tried after the usual one, when somebody else has it.
const PORTS_TRIED: u16 = 20;
/// The seed of a new playground: everybody starts with the same servers and people.
const SEED: u64 = 42;

/// What a playground is started with.
pub struct Settings {
    /// What the page is bound to. Requests for another host than this machine are refused all the same.
    pub address: IpAddr,
    /// The page's port; 0 is any free one.
    pub port: u16,
    /// Whether another port may be taken when this one is in use.
    pub any_port: bool,
    pub data_dir: PathBuf,
    pub instance: Instance,
    /// Where the bot's dashboard is served, if it is.
    pub http: Option<SocketAddr>,
    /// Whether the dashboard asks for a sign-in, as it does at a public address.
    pub sign_in: bool,
    /// Its links to other bots, if it has any.
    pub relay: Option<relay::settings::Settings>,
    /// Where accounts of its people are written, if they are.
    pub accounts: Option<PathBuf>,
}

/// Starts everything, prints the address, and lasts until `tasks`, which are the bot's, are told to stop. Then
/// the bot leaves first, and the Discord it was on goes after it.
pub async fn run(settings: Settings, tasks: &Tasks) -> anyhow::Result<Exit> {
    let stage = Tasks::new();
    let exit = play(settings, &stage, tasks).await;
    stage.stop();
    bot::drain(&stage).await;
    exit
}

async fn play(settings: Settings, stage: &Tasks, tasks: &Tasks) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&settings.data_dir)
        .with_context(|| format!("make the folder {}", settings.data_dir.display()))?;
    let chat = settings.data_dir.join("chat.json");
    let listener = listen(settings.address, settings.port, settings.any_port).await?;
    let (backstage, faults) = (Backstage::default(), Faults::new());
    let store = StoreConfig {
        backstage: Some(backstage.clone()),
        faults: Some(faults.clone()),
        ..StoreConfig::new(Store::File(settings.data_dir.join("mneme.db")))
    };
    let (mut world, connected) = futures::try_join!(async { load(&chat) }, connect(store))?;
    // One person typing fast is not what rate limits are for.
    world.settings.rate_limits = false;
    let any_free_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let simulator = Simulator::start(world, any_free_port, stage).await?;
    let address = shown(listener.local_addr()?);
    connected.dynamo.create_tables(&tables::all()).await.context("create the tables")?;
    let page = web::router(simulator.clone(), backstage.clone(), faults);
    stage.spawn("page", web::serve(listener, page, stage.shutdown()));
    stage.spawn("chat", keep(simulator.clone(), chat, stage.shutdown()));
    println!("\n  mneme is listening. Open  http://{address}  and say:  .remember meeting is tomorrow\n");
    if let Some(file) = &settings.accounts {
        write_accounts(&simulator, file).with_context(|| format!("write {}", file.display()))?;
        let (file, url) = (file.display(), simulator.url());
        println!(
            "  Accounts of its people are in {file}, for  mneme army run --discord {url} --accounts {file}\n"
        );
    }
    let bot = bot_settings(&simulator);
    let instance = Instance { player: Player::Sim, backstage, ..settings.instance };
    if let Some(http) = settings.http {
        println!("  Its dashboard is at  http://{}\n", shown(http));
    }
    let http = settings.http.map(|http| dashboard(http, settings.sign_in, &simulator)).transpose()?;
    let parts = run::Parts { relay: settings.relay };
    run::join(&bot, connected, instance, parts, http, tasks).await
}

/// The dashboard for whoever sits here, or for the people of the simulated Discord.
fn dashboard(address: SocketAddr, sign_in: bool, simulator: &Simulator) -> anyhow::Result<run::Http> {
    let here = run::Http::here(address);
    if !sign_in {
        return Ok(here);
    }
    let url = format!("http://{}", shown(address)).parse().context("the address of the dashboard")?;
    Ok(run::Http { public: Some((url, simulator.client_secret().into())), ..here })
}

/// A name and a token a line; nobody else may read it.
fn write_accounts(simulator: &Simulator, path: &Path) -> std::io::Result<()> {
    let people = simulator.read(World::people);
    let line = |(id, name): &(Id, String)| format!("{name} {}\n", simulator.person_token(*id));
    let text: String = people.iter().map(line).collect();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

/// How a bot of ours joins a simulated Discord: as it would join the real one.
pub fn bot_settings(simulator: &Simulator) -> bot::Settings {
    bot::Settings {
        token: SecretString::from(simulator.token()),
        api_url: Some(simulator.url()),
        content_intent: true,
        shards: Shards::Advised,
        hear_bots: Vec::new(),
        paced: false,
        patience: bot::Patience::default(),
    }
}

async fn listen(address: IpAddr, port: u16, any_port: bool) -> anyhow::Result<TcpListener> {
    let last = if any_port && port != 0 { port.saturating_add(PORTS_TRIED) } else { port };
    for port in port..=last {
        if let Ok(listener) = TcpListener::bind((address, port)).await {
            return Ok(listener);
        }
    }
    bail!("port {port} is in use; choose another one with PLAYGROUND_PORT")
}

/// Where a browser on this machine finds what is bound to that address.
fn shown(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { (Ipv4Addr::LOCALHOST, bound.port()).into() } else { bound }
}

/// The chat as it was, or a new one. A file that cannot be read is put aside, not overwritten.
fn load(path: &Path) -> anyhow::Result<World> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(World::playground(SEED)),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    match serde_json::from_str(&text) {
        Ok(world) => Ok(world),
        Err(error) => {
            let aside = path.with_extension("json.old");
            std::fs::rename(path, &aside).context("put the old chat aside")?;
            warn!(%error, kept = %aside.display(), "the chat cannot be read; starting a new one");
            Ok(World::playground(SEED))
        }
    }
}

/// Writes the chat down from time to time and at the end. What the bot remembers does not depend on it.
async fn keep(simulator: Simulator, path: PathBuf, shutdown: CancellationToken) {
    let mut saved = String::new();
    loop {
        let goes_on = shutdown.run_until_cancelled(tokio::time::sleep(SAVE_EVERY)).await.is_some();
        match simulator.save() {
            Ok(world) if world == saved => {}
            Ok(world) => {
                if let Err(error) = write(&path, &world) {
                    warn!(%error, path = %path.display(), "the chat could not be written down");
                }
                saved = world;
            }
            Err(error) => warn!(%error, "the chat could not be written down"),
        }
        if !goes_on {
            return;
        }
    }
}

/// Replaces the file in one step, so that a kill leaves the old one or the new one.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let next = path.with_extension("json.new");
    std::fs::write(&next, text)?;
    std::fs::rename(&next, path)?;
    debug!(bytes = text.len(), "wrote the chat down");
    Ok(())
}
