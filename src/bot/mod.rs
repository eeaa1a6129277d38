//! The bot on Discord: connects, hears, answers, survives.
//!
//! [`connect`] asks Discord what it must know before anything can be built, [`run`] lasts until shutdown and
//! says how the process should end. serenity gives the gateway, the cache and the REST calls; what it leaves
//! open (hanging upgrades, spinning sockets, unknown outcomes, order) is dealt with here, each in a file of
//! its own: [`mod@send`], [`lanes`], [`watchdog`].
//!
//! Invariants: an event runs once and gets one answer; nothing but the given address is dialled; nobody is
//! pinged by accident; the token is in no log.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use serenity::all::{
    ApplicationFlags, Cache, ConnectionStage, Context as Gateway, CreateAllowedMentions, Event, EventHandler,
    GatewayError, GatewayIntents, Guild, GuildId, Http, HttpBuilder, Interaction, Message, Ready,
    ResumedEvent, ShardId, ShardManager, ShardManagerOptions, ShardMessenger, ShardStageUpdateEvent,
    UnavailableGuild,
};
use serenity::async_trait;
use serenity::collector::collect;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::commands::{ALL, Registry};
use crate::context::Services;
use crate::tasks::Tasks;
use crate::telemetry::KindLabels;

mod answer;
mod doors;
mod gate;
mod hear;
pub mod lanes;
pub mod register;
pub mod reply;
pub mod send;
pub mod watchdog;

use lanes::{Lanes, Ring};
use send::Sender;

/// How long running commands may go on after the gateway is closed.
const GRACE: Duration = Duration::from_secs(10);
/// How long shards may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);
/// One REST call. Uploads of the answers we send are small.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Pauses between attempts at start and at registration.
const RETRY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));
/// Session starts that must be left beyond one for each shard.
const STARTS_SPARE: u64 = 50;

/// What the bot needs to know to join Discord.
#[derive(Clone, Debug)]
pub struct Settings {
    pub token: SecretString,
    /// Another server that speaks Discord's protocol; `None` is Discord itself.
    pub api_url: Option<String>,
    /// Ask for message content where the portal allows it.
    pub content_intent: bool,
    /// Shards of this process and in all; `None`: all that Discord recommends.
    pub shards: Option<(Range<u32>, u32)>,
    /// Bots that are heard all the same.
    pub hear_bots: Vec<u64>,
    /// Keep Discord's rate limits ourselves at another server; a simulated one needs none.
    pub paced: bool,
}

/// How the process should end: [`Exit::code`] is its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Somebody asked for it.
    Asked,
    /// Something that a new start may cure.
    Again(String),
    /// Something that only the operator can cure.
    Operator(String),
}

impl Exit {
    /// 75 and 78 are `EX_TEMPFAIL` and `EX_CONFIG` of sysexits.h.
    pub fn code(&self) -> i32 {
        match self {
            Self::Asked => 0,
            Self::Again(_) => 75,
            Self::Operator(_) => 78,
        }
    }
}

/// What Discord told us before the gateway was opened.
pub struct Connection {
    pub http: Arc<Http>,
    pub cache: Arc<Cache>,
    gateway_url: String,
    shards: Range<u32>,
    shards_total: u32,
    content_allowed: bool,
}

/// The REST client. With a proxy, serenity's limiter must be off: it builds its own requests, and they and
/// the token would go to discord.com. So both are set here and nowhere else.
fn http(settings: &Settings) -> anyhow::Result<Http> {
    let client = reqwest::Client::builder().connect_timeout(CONNECT_LIMIT).timeout(REQUEST_LIMIT).build()?;
    let builder = HttpBuilder::new(settings.token.expose_secret())
        .client(client)
        .default_allowed_mentions(CreateAllowedMentions::new());
    Ok(match &settings.api_url {
        Some(url) => builder.proxy(base(url)).ratelimiter_disabled(true).build(),
        None => builder.build(),
    })
}

/// serenity adds `/api/v10` itself.
fn base(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/v10").unwrap_or(url);
    url.strip_suffix("/api").unwrap_or(url)
}

/// Asks for the gateway, the application and the shards; tries until it has them or they are refused.
pub async fn connect(settings: &Settings, shutdown: &CancellationToken) -> Result<Connection, Exit> {
    let http = http(settings).map_err(|error| Exit::Operator(format!("{error:#}")))?;
    let mut pause = RETRY.0;
    loop {
        let error = match ask(&http, settings).await {
            Ok(asked) => return asked.into_connection(http, settings, shutdown).await,
            Err(error) => error,
        };
        if let serenity::Error::Http(http_error) = &error
            && http_error.status_code().is_some_and(|status| status.as_u16() == 401)
        {
            let advice = "Discord does not know this token; put the right one into DISCORD_TOKEN";
            return Err(Exit::Operator(advice.into()));
        }
        warn!(%error, "Discord could not be reached; trying again");
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(RETRY.1),
            () = shutdown.cancelled() => return Err(Exit::Asked),
        }
    }
}

/// Tries the token and what it is allowed to do, for people: what was found, or what to do.
pub async fn examine(settings: &Settings) -> Result<String, String> {
    let http = http(settings).map_err(|error| format!("{error:#}"))?;
    let Asked { gateway, application } = ask(&http, settings).await.map_err(|error| match &error {
        serenity::Error::Http(inner) if inner.status_code().is_some_and(|status| status.as_u16() == 401) => {
            "this token is not known; reset it in the developer portal, under Bot, and put it into DISCORD_TOKEN".into()
        }
        other => format!("no answer ({other}); is the network there, and DISCORD_API_URL right?"),
    })?;
    let flags = application.flags.unwrap_or(ApplicationFlags::empty());
    if settings.content_intent && !flags.intersects(content_flags()) {
        return Err(format!(
            "{} may not read messages, so the prefix works in direct messages only: turn on Message Content \
             Intent in the developer portal, under Bot, or set MESSAGE_CONTENT_INTENT=off",
            application.name
        ));
    }
    let left = gateway.session_start_limit.remaining;
    Ok(format!("{} with {} shards, {left} session starts left today", application.name, gateway.shards))
}

fn content_flags() -> ApplicationFlags {
    ApplicationFlags::GATEWAY_MESSAGE_CONTENT | ApplicationFlags::GATEWAY_MESSAGE_CONTENT_LIMITED
}

struct Asked {
    gateway: serenity::all::BotGateway,
    application: serenity::all::CurrentApplicationInfo,
}

async fn ask(http: &Http, settings: &Settings) -> serenity::Result<Asked> {
    let (gateway, application) =
        futures::try_join!(http.get_bot_gateway(), http.get_current_application_info())?;
    if let Some(url) = &settings.api_url {
        info!(url = base(url), "speaking to another server than Discord");
    }
    Ok(Asked { gateway, application })
}

impl Asked {
    async fn into_connection(
        self,
        http: Http,
        settings: &Settings,
        shutdown: &CancellationToken,
    ) -> Result<Connection, Exit> {
        let recommended = self.gateway.shards.max(1);
        let (shards, shards_total) = settings.shards.clone().unwrap_or((0..recommended, recommended));
        let limit = &self.gateway.session_start_limit;
        if limit.remaining < u64::from(shards_total) + STARTS_SPARE {
            let pause = Duration::from_millis(limit.reset_after);
            error!(
                remaining = limit.remaining,
                seconds = pause.as_secs(),
                "too few session starts left; waiting"
            );
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => return Err(Exit::Asked),
            }
        }
        http.set_application_id(self.application.id);
        let flags = self.application.flags.unwrap_or(ApplicationFlags::empty());
        let mut cache_settings = serenity::cache::Settings::default();
        cache_settings.max_messages = 0;
        Ok(Connection {
            http: Arc::new(http),
            cache: Arc::new(Cache::new_with_settings(cache_settings)),
            gateway_url: self.gateway.url.trim_end_matches('/').to_owned(),
            shards,
            shards_total,
            content_allowed: flags.intersects(content_flags()),
        })
    }
}

/// One bot at work; handlers hold it.
pub(crate) struct Bot {
    services: Arc<Services>,
    registry: Registry,
    sender: Sender,
    lanes: Lanes,
    ring: Ring,
    hear_bots: Vec<u64>,
    tasks: Tasks,
    /// When each shard last heard anything, to tell the length of a gap.
    heard: Mutex<HashMap<ShardId, Instant>>,
    identifies: Mutex<Vec<Instant>>,
}

/// Joins Discord and answers until told to stop, or until going on makes no sense.
pub async fn run(
    connection: Connection,
    services: Arc<Services>,
    settings: &Settings,
    tasks: &Tasks,
) -> Exit {
    let bot = Arc::new(Bot {
        registry: Registry::new(ALL),
        sender: Sender::new(settings.paced && settings.api_url.is_some()),
        lanes: Lanes::default(),
        ring: Ring::default(),
        hear_bots: settings.hear_bots.clone(),
        tasks: tasks.clone(),
        heard: Mutex::default(),
        identifies: Mutex::default(),
        services: services.clone(),
    });
    for feature in ALL {
        if let Some(background) = feature.background {
            tasks.spawn(feature.name, background(services.clone(), tasks.shutdown()));
        }
    }
    if connection.shards.start == 0 {
        tasks.spawn_job("registration", register_commands(bot.clone()));
    }
    let mut content = settings.content_intent && connection.content_allowed;
    if !content {
        warn!("without the Message Content intent: commands work by mention, direct message and slash only");
    }
    loop {
        services.health.content_intent.store(content, Ordering::SeqCst);
        match session(&bot, &connection, intents(content)).await {
            Err(GatewayError::DisallowedGatewayIntents) if content => {
                warn!(
                    "Discord refused the Message Content intent; going on without it. Turn it on in the \
                     developer portal, under Bot: https://discord.com/developers/applications"
                );
                content = false;
            }
            Err(GatewayError::InvalidAuthentication) => {
                return Exit::Operator("Discord refused the token at the gateway".into());
            }
            Err(error @ (GatewayError::DisallowedGatewayIntents | GatewayError::InvalidGatewayIntents)) => {
                return Exit::Operator(format!("Discord refused the gateway intents: {error}"));
            }
            Err(error) => return Exit::Again(format!("the gateway ended: {error}")),
            Ok(()) if tasks.failed() => return Exit::Again("a part of the bot ended early".into()),
            Ok(()) => return Exit::Asked,
        }
    }
}

/// `GUILDS | GUILD_MESSAGES | DIRECT_MESSAGES`, and message content where it is allowed.
fn intents(content: bool) -> GatewayIntents {
    let always = GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::DIRECT_MESSAGES;
    if content { always | GatewayIntents::MESSAGE_CONTENT } else { always }
}

/// One life of the gateway, all shards of this process. The manager is built by hand: serenity's client would
/// ask for the gateway's address itself and, failing that, take the token to Discord's own.
async fn session(
    bot: &Arc<Bot>,
    connection: &Connection,
    intents: GatewayIntents,
) -> Result<(), GatewayError> {
    let shutdown = bot.tasks.shutdown();
    let (manager, mut ended) = ShardManager::new(ShardManagerOptions {
        data: Arc::default(),
        event_handlers: vec![Arc::new(Handler(bot.clone()))],
        raw_event_handlers: Vec::new(),
        shard_index: connection.shards.start,
        shard_init: connection.shards.end - connection.shards.start,
        shard_total: connection.shards_total,
        ws_url: Arc::new(tokio::sync::Mutex::new(connection.gateway_url.clone())),
        cache: connection.cache.clone(),
        http: connection.http.clone(),
        intents,
        presence: None,
    });
    let wanted = connection.shards.end - connection.shards.start;
    bot.services.health.shards_wanted.store(u64::from(wanted), Ordering::SeqCst);
    let _ = manager.initialize();
    let watch = watchdog::watch_shards(bot.clone(), manager.clone(), connection.shards.clone());
    let outcome = tokio::select! {
        outcome = ended.next() => outcome.unwrap_or(Ok(())),
        never = watch => match never {},
        () = shutdown.cancelled() => Ok(()),
    };
    // Without a runner this returns at once, and after an error other shards still run.
    let _ = tokio::time::timeout(CLOSE_LIMIT, manager.shutdown_all()).await;
    bot.services.health.shards_connected.store(0, Ordering::SeqCst);
    outcome
}

/// Waits for running commands and background work, in the order of shutdown.
pub async fn drain(tasks: &Tasks) {
    if !tasks.wait(GRACE).await {
        warn!(seconds = GRACE.as_secs(), "some work did not end in time");
    }
}

/// Puts the command list, once per process; the other doors work meanwhile.
async fn register_commands(bot: Arc<Bot>) {
    let list = register::commands(&bot.registry);
    let (shutdown, mut pause) = (bot.tasks.shutdown(), RETRY.0);
    loop {
        match bot.services.discord.http.create_global_commands(&list).await.context("register commands") {
            Ok(registered) => return info!(commands = registered.len(), "registered slash commands"),
            Err(error) => warn!(error = format!("{error:#}"), "slash commands are not registered yet"),
        }
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(RETRY.1),
            () = shutdown.cancelled() => return,
        }
    }
}

struct Handler(Arc<Bot>);

#[async_trait]
impl EventHandler for Handler {
    async fn ready(&self, gateway: Gateway, ready: Ready) {
        let bot = &self.0;
        info!(shard = gateway.shard_id.0, servers = ready.guilds.len(), name = %ready.user.name, "connected");
        bot.services.metrics.servers.set(i64::try_from(gateway.cache.guild_count()).unwrap_or(i64::MAX));
        let before =
            bot.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(gateway.shard_id, Instant::now());
        if let Some(before) = before {
            let gap = before.elapsed();
            bot.services.metrics.gap_seconds.inc_by(gap.as_secs());
            warn!(
                shard = gateway.shard_id.0,
                seconds = gap.as_secs(),
                "a new session: events in between are lost"
            );
        }
        keep_order(bot, gateway.shard_id, &gateway.shard);
    }

    async fn resume(&self, gateway: Gateway, _: ResumedEvent) {
        self.0.services.metrics.resumes.inc();
        info!(shard = gateway.shard_id.0, "resumed");
    }

    async fn shard_stage_update(&self, _: Gateway, update: ShardStageUpdateEvent) {
        if update.new == ConnectionStage::Identifying {
            self.0.services.metrics.identifies.inc();
            self.0.identifies.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
    }

    async fn guild_create(&self, gateway: Gateway, _: Guild, _: Option<bool>) {
        let servers = i64::try_from(gateway.cache.guild_count()).unwrap_or(i64::MAX);
        self.0.services.metrics.servers.set(servers);
    }

    async fn guild_delete(&self, gateway: Gateway, gone: UnavailableGuild, _: Option<Guild>) {
        let gone: GuildId = gone.id;
        info!(server_id = gone.get(), "a server is gone");
        let servers = i64::try_from(gateway.cache.guild_count()).unwrap_or(i64::MAX);
        self.0.services.metrics.servers.set(servers);
    }

    async fn message(&self, _: Gateway, message: Message) {
        let _job = self.0.tasks.job();
        self.0.on_message(message, Instant::now()).await;
    }

    async fn interaction_create(&self, _: Gateway, interaction: Interaction) {
        let _job = self.0.tasks.job();
        self.0.on_interaction(interaction, Instant::now()).await;
    }
}

/// Writes down the order of events, on the shard's own task: see [`lanes`].
fn keep_order(bot: &Arc<Bot>, shard: ShardId, messenger: &ShardMessenger) {
    let weak = Arc::downgrade(bot);
    let me = bot.services.discord.cache.current_user().id;
    let stream = collect(messenger, move |event| {
        let bot = weak.upgrade()?;
        bot.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(shard, Instant::now());
        match event {
            Event::MessageCreate(event) if hear::is_heard(&event.message, &bot.hear_bots, me) => {
                let message = &event.message;
                bot.lanes.arrive(hear::lane(message.guild_id, message.author.id), message.id.get());
            }
            Event::InteractionCreate(event) => {
                if let Some((server, user, id)) = ordered(&event.interaction) {
                    bot.lanes.arrive(hear::lane(server, user), id);
                }
            }
            Event::Unknown(event) => {
                let kind = KindLabels { kind: event.kind.clone() };
                bot.services.metrics.unparsed.get_or_create(&kind).inc();
                warn!(kind = event.kind, "an event of the gateway could not be read");
            }
            _ => {}
        }
        None::<()>
    });
    // The collector lives as long as somebody listens to its stream, which never says anything.
    let shutdown = bot.tasks.shutdown();
    bot.tasks.spawn_job("order", async move {
        let mut stream = std::pin::pin!(stream);
        tokio::select! {
            _ = stream.next() => {}
            () = shutdown.cancelled() => {}
        }
    });
}

/// Suggestions have no order; everything else a person does has.
fn ordered(interaction: &Interaction) -> Option<(Option<GuildId>, serenity::all::UserId, u64)> {
    match interaction {
        Interaction::Command(i) => Some((i.guild_id, i.user.id, i.id.get())),
        Interaction::Component(i) => Some((i.guild_id, i.user.id, i.id.get())),
        Interaction::Modal(i) => Some((i.guild_id, i.user.id, i.id.get())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_in_several_ways() {
        for url in
            ["http://h:1", "http://h:1/", "http://h:1/api", "http://h:1/api/v10", "http://h:1/api/v10/"]
        {
            assert_eq!(base(url), "http://h:1", "{url}");
        }
    }

    #[test]
    fn only_needed_intents_are_asked_for() {
        assert_eq!(intents(true).bits(), 37377);
        assert_eq!(intents(false).bits(), 4609);
    }
}
