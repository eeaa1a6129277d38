//! Starting a bot: the store, the tables, Discord, and the order in which they end.

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::bot::watchdog::Watchdog;
use crate::bot::{self, Exit};
use crate::config::{self, ContentIntent, StoreKind};
use crate::context::metrics::SharedMetrics;
use crate::context::{Discord, Instance, Prices, Services};
use crate::counts::Counts;
use crate::dynamo::connect::{Connected, Store, StoreConfig, connect};
use crate::finding::State;
use crate::relay::settings::Settings;
use crate::relay::tree::files::{MAIN, Tree};
use crate::relay::tree::host::read;
use crate::relay::tree::secrets::SecretsFrom;
use crate::shared::{LeaseOptions, RunConfig, SharedData, SharedOptions, Slot, Space, TTL_MAX};
use crate::tasks::Tasks;
use crate::web::dashboard;
use crate::web::dashboard::door::Door;
use crate::web::dashboard::oauth::Public;
use crate::web::dashboard::session::Sessions;
use crate::{tables, telemetry, web};

mod relay;

/// Parts of a bot that its configuration may have.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub relay: Option<Settings>,
}

/// `mneme run`: joins Discord with the settings given, and lasts until it is told to stop.
pub async fn run(options: config::Run, tasks: &Tasks) -> anyhow::Result<Exit> {
    let Some(settings) = discord_settings(&options.discord) else {
        bail!("DISCORD_TOKEN is not set. To try the bot without an account, run: mneme playground");
    };
    Watchdog::start(tasks);
    let connected = open_store(&options.store).await?;
    info!(store = connected.description, "store");
    prepare_tables(&connected, &options.store).await?;
    let relay = match relay_settings(&options.relay) {
        Ok(relay) => relay,
        Err(flaws) => {
            flaws.iter().for_each(|flaw| error!("{flaw}"));
            return Ok(Exit::Operator("the relay's configuration has mistakes".into()));
        }
    };
    let parts = Parts { relay };
    join(&settings, connected, instance(&options.bot), parts, http(&options.web)?, tasks).await
}

/// Where the bot serves its dashboard and its numbers, and to whom.
#[derive(Debug)]
pub struct Http {
    pub address: SocketAddr,
    /// What people type who sign in, and the secret of the bot's application; nobody can without.
    pub public: Option<(reqwest::Url, SecretString)>,
    pub metrics_token: Option<SecretString>,
}

impl Http {
    /// For whoever sits at this machine.
    pub fn here(address: SocketAddr) -> Self {
        Self { address, public: None, metrics_token: None }
    }
}

/// What the settings say about it.
fn http(options: &config::Web) -> anyhow::Result<Option<Http>> {
    let public = match (&options.dashboard_url, &options.discord_client_secret) {
        (Some(url), Some(secret)) => Some((url.clone(), secret.clone())),
        (Some(_), None) => {
            bail!("DASHBOARD_URL is set, but nobody can sign in without DISCORD_CLIENT_SECRET")
        }
        (None, _) => None,
    };
    let metrics_token = options.metrics_token.clone();
    for secret in [&options.discord_client_secret, &options.metrics_token].into_iter().flatten() {
        telemetry::hide(secret.expose_secret());
    }
    Ok(options.http.map(|address| Http { address, public, metrics_token }))
}

/// What the configuration says about the relay, if there is one; or all that is wrong with it.
pub fn relay_settings(options: &config::Relay) -> Result<Option<Settings>, Vec<String>> {
    let root = options.folder();
    // The usual place may be empty; one that was named may not.
    if options.config.is_none() && !root.join(MAIN).is_file() {
        return Ok(None);
    }
    let me = options.name().map_err(|why| vec![format!("BOT_NAME: {why}")])?;
    let tree = Tree::open(&root).map_err(|why| vec![format!("MNEME_CONFIG={}: {why}", root.display())])?;
    let from = SecretsFrom { folder: options.secrets_dir.clone(), required: true };
    let reading = read(&tree, &me, &from);
    reading.flaws.iter().filter(|flaw| flaw.is_warning).for_each(|flaw| warn!("{flaw}"));
    let host = reading.sound().map_err(|flaws| flaws.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    info!(bot = %me, config = %root.display(), "relay");
    Ok(Some(host.settings(&root)))
}

/// Joins Discord, or a server like it, and answers until told to stop; then ends everything that was started
/// for it.
pub async fn join(
    settings: &bot::Settings,
    connected: Connected,
    instance: Instance,
    parts: Parts,
    http: Option<Http>,
    tasks: &Tasks,
) -> anyhow::Result<Exit> {
    let exit = match bot::connect(settings, &tasks.shutdown()).await {
        Ok(connection) => serve(connection, settings, connected, instance, parts, http, tasks).await?,
        Err(exit) => exit,
    };
    let exit = match exit {
        Exit::Asked if tasks.failed() => Exit::Again("a part of the bot ended early".into()),
        other => other,
    };
    if let Exit::Operator(why) | Exit::Again(why) = &exit {
        error!(why, status = exit.code(), "the bot ends");
    }
    if matches!(exit, Exit::Operator(_)) {
        let pause = settings.patience.operator;
        error!(seconds = pause.as_secs(), "the operator must act; ending after a pause");
        tasks.shutdown().run_until_cancelled(tokio::time::sleep(pause)).await;
    }
    tasks.stop();
    bot::drain(tasks).await;
    Ok(exit)
}

async fn serve(
    connection: bot::Connection,
    settings: &bot::Settings,
    connected: Connected,
    instance: Instance,
    parts: Parts,
    http: Option<Http>,
    tasks: &Tasks,
) -> anyhow::Result<Exit> {
    let clock = connected.dynamo.clock().clone();
    let discord = Discord::new(connection.http.clone(), connection.cache.clone());
    let instance = Instance { started_at: Some(clock.now()), store: connected.description, ..instance };
    let services = Arc::new(Services::new(connected.dynamo, clock, discord, instance));
    if let Some(engine) = connected.embedded {
        tasks.spawn("sweep", engine.sweep(tasks.shutdown()));
    }
    services.metrics.collect(Box::new(telemetry::traces::Dropped));
    let shared = share(&services, tasks).await;
    if let Some(settings) = parts.relay {
        relay::start(&services, shared, settings, tasks);
    }
    if let Some(http) = http {
        let door = Arc::new(door(&http, &connection, settings)?);
        let listener = TcpListener::bind(http.address)
            .await
            .with_context(|| format!("listen on HTTP={}", http.address))?;
        let pages = dashboard::router(services.clone(), door);
        tasks.spawn("http", web::serve(listener, pages, tasks.shutdown()));
        tasks.spawn("trend", dashboard::trend::keep(services.clone(), tasks.shutdown()));
    }
    Ok(bot::run(connection, services, settings, tasks).await)
}

/// Who may see the pages.
fn door(http: &Http, connection: &bot::Connection, settings: &bot::Settings) -> anyhow::Result<Door> {
    let metrics_token = http.metrics_token.clone();
    let Some((url, secret)) = &http.public else {
        if !http.address.ip().is_loopback() {
            info!(address = %http.address, "from other machines only /live, /ready and, with METRICS_TOKEN, /metrics");
        }
        return Ok(Door { metrics_token, ..Door::local() });
    };
    // Discord's applications have the id of their bot's user.
    let application = connection.http.application_id().context("the application is known")?.get();
    let public = Public::new(url, application, secret.clone(), settings.api_url.as_deref())?;
    let sessions = Sessions::new(public.is_secure());
    Ok(Door { public: Some(public), metrics_token, sessions })
}

/// Instances of one installation that can count at the same time.
const INSTANCES_MAX: u32 = 256;

/// An instance keeps its number through an outage of the store of nearly this length.
const NUMBER_LEASE: LeaseOptions =
    LeaseOptions { ttl: TTL_MAX, wait: Duration::from_secs(5), max_hold: None, trust_clocks: true };

/// Pauses between two tries to get a number.
const NUMBER_PAUSE: Duration = Duration::from_secs(5);

/// Opens what instances share: this one's number among them, and the configuration they have in common.
async fn share(services: &Arc<Services>, tasks: &Tasks) -> SharedData {
    let shared = SharedData::open(services.dynamo.clone(), tasks, Space::Bot, SharedOptions::default());
    services.state::<Counts>().wait_for_number();
    // Before anybody is answered if the store is there, and as soon as it is if not.
    let slot = take_number(&shared, 0..INSTANCES_MAX).await;
    let number = keep_number(shared.clone(), services.state::<Counts>(), slot, tasks.shutdown());
    tasks.spawn("number", number);
    tasks.spawn("configuration", shared.clone().keep_config(tasks.shutdown(), configure));
    services.metrics.collect(Box::new(SharedMetrics(shared.clone())));
    // It is set once in a bot's life.
    let _ = services.shared.set(shared.clone());
    shared
}

/// What an operator has changed while bots run. Who needs a setting asks for it; the log has to be told.
fn configure(config: &RunConfig) {
    let keys: Vec<&str> = config.keys().collect();
    info!(?keys, "the configuration of the installation has changed");
    let filter = config.get::<String>(config::LOG);
    let told = filter.map_err(anyhow::Error::from).and_then(|filter| telemetry::log_by(filter.as_deref()));
    if let Err(error) = told {
        warn!(error = format!("{error:#}"), "what is logged stays as it is");
    }
}

async fn take_number(shared: &SharedData, numbers: Range<u32>) -> Option<Slot> {
    let slot = shared.slot_in(numbers, NUMBER_LEASE).await;
    slot.inspect_err(|error| warn!(error = error as &dyn std::error::Error, "no number to count under yet"))
        .ok()
}

/// Holds the number under which this instance counts. It cannot go on under another one.
async fn keep_number(
    shared: SharedData,
    counts: Arc<Counts>,
    slot: Option<Slot>,
    shutdown: CancellationToken,
) {
    let (mut slot, mut numbers) = (slot, 0..INSTANCES_MAX);
    while !shutdown.is_cancelled() {
        let Some(held) = slot.take() else {
            slot = shutdown.run_until_cancelled(take_number(&shared, numbers.clone())).await.flatten();
            if slot.is_none() {
                shutdown.run_until_cancelled(tokio::time::sleep(NUMBER_PAUSE)).await;
            }
            continue;
        };
        info!(number = held.number, "this instance has a number");
        counts.write_as(held.number);
        numbers = held.number..held.number + 1;
        if shutdown.run_until_cancelled(held.lost()).await.is_none() {
            held.release().await;
            return;
        }
        warn!(number = held.number, "the number was lost, and is taken again if nobody else has it");
    }
}

/// What the bot needs to know to join; nothing without a token.
pub fn discord_settings(options: &config::Discord) -> Option<bot::Settings> {
    Some(bot::Settings {
        token: options.discord_token.clone()?,
        api_url: options.discord_api_url.clone(),
        content_intent: options.message_content_intent == ContentIntent::Auto,
        shards: options.shards.clone(),
        hear_bots: options.hear_bots.clone(),
        paced: options.discord_pacing,
        patience: bot::Patience::default(),
    })
}

pub fn instance(options: &config::Bot) -> Instance {
    Instance {
        bot_owners: options.bot_owners.clone(),
        admin_guilds: options.admin_guilds.clone(),
        play_servers: options.server_lock_allow_list.clone(),
        default_prefix: options.bot_prefix.clone(),
        max_memories: options.max_memories as usize,
        status_page_url: options.status_page_url.clone(),
        docs_url: options.docs_url.clone(),
        prices: Prices { reads: options.price_million_reads, writes: options.price_million_writes },
        guild_grace_days: Some(options.guild_grace_days),
        ..Instance::default()
    }
}

/// Opens the store that the settings ask for.
pub async fn open_store(options: &config::Store) -> anyhow::Result<Connected> {
    let store = match (chosen(options), &options.dynamodb_endpoint) {
        (StoreKind::Dynamodb, Some(url)) => Store::Endpoint { url: url.clone(), region: None },
        (StoreKind::Dynamodb, None) => Store::Aws { region: None },
        _ => {
            std::fs::create_dir_all(&options.data_dir)
                .with_context(|| format!("make the folder DATA_DIR={}", options.data_dir.display()))?;
            Store::File(file(options))
        }
    };
    connect(StoreConfig { table_prefix: options.table_prefix.clone(), ..StoreConfig::new(store) }).await
}

/// What `auto` stands for.
fn chosen(options: &config::Store) -> StoreKind {
    match options.store {
        StoreKind::Auto if options.dynamodb_endpoint.is_some() || config::aws_is_configured() => {
            StoreKind::Dynamodb
        }
        StoreKind::Auto => StoreKind::Embedded,
        told => told,
    }
}

/// The file of the embedded store, if that is the one.
pub fn store_file(options: &config::Store) -> Option<PathBuf> {
    (chosen(options) == StoreKind::Embedded).then(|| file(options))
}

fn file(options: &config::Store) -> PathBuf {
    options.data_dir.join("mneme.db")
}

/// The command line that does something to this very store, whatever the environment says.
pub fn command(act: &str, options: &config::Store) -> String {
    let mut line = format!("mneme {act}");
    let mut add = |name: &str, value: &str| line.extend([" --", name, " ", value]);
    match (chosen(options), &options.dynamodb_endpoint) {
        (StoreKind::Dynamodb, Some(url)) => add("dynamodb-endpoint", url),
        (StoreKind::Dynamodb, None) => add("store", "dynamodb"),
        _ => {
            add("store", "embedded");
            add("data-dir", &options.data_dir.display().to_string());
        }
    }
    if !options.table_prefix.is_empty() {
        add("table-prefix", &options.table_prefix);
    }
    line
}

/// The embedded store makes its own tables; in others they are made for the bot. One that cannot be reached,
/// a table that does not fit and a store without transactions stop the start, with what to do.
async fn prepare_tables(connected: &Connected, options: &config::Store) -> anyhow::Result<()> {
    let specs = tables::all();
    let reached = connected.reach(specs.first().context("there are tables")?).await;
    for finding in reached.findings {
        if finding.state == State::Fail {
            bail!("{finding}");
        }
    }
    if connected.embedded.is_some() || options.create_tables {
        connected.dynamo.create_tables(&specs).await.context("create the tables")?;
    }
    let differences = connected.dynamo.check_tables(&specs).await.context("check the tables")?;
    let (stopping, bearable): (Vec<_>, Vec<_>) = differences.iter().partition(|one| one.stops());
    let create = command("tables create", options);
    for difference in bearable {
        warn!(table = difference.table, "{difference}. {}", difference.remedy(&create));
    }
    if !stopping.is_empty() {
        let list: Vec<_> = stopping.iter().map(|one| format!("\n  {one}. {}", one.remedy(&create))).collect();
        bail!("the tables in {} are not as the bot needs them:{}", connected.description, list.concat());
    }
    let transactions = connected.dynamo.examine_transactions(&specs).await;
    if transactions.state == State::Fail {
        bail!("{transactions}");
    }
    Ok(())
}
