//! The bot on Discord: connects, hears, answers, survives.
//!
//! [`connect`] asks Discord what it must know before anything can be built, [`run`] lasts until shutdown and
//! says how the process should end. serenity gives the gateway, the cache and the REST calls; what it leaves
//! open (hanging upgrades, spinning sockets, unknown outcomes, order) is dealt with here, each in a file of
//! its own: [`mod@send`], [`lanes`], [`watchdog`].
//!
//! Invariants: an event runs once and gets one answer; nothing but the given address is dialled; nobody is
//! pinged by accident; the token is in no log.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serenity::all::{
    ApplicationFlags, Cache, CreateAllowedMentions, GatewayError, GatewayIntents, GuildId, GuildPagination,
    Http, HttpBuilder,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::bans;
use crate::commands::{ALL, Registry};
use crate::config::Shards;
use crate::context::Services;
use crate::tasks::Tasks;
use crate::telemetry::{self, GATEWAY_IDENTIFIES};

mod answer;
mod doors;
mod examine;
mod gate;
mod hear;
pub mod lanes;
pub mod limits;
pub mod register;
pub mod reply;
pub mod send;
mod session;
mod shards;
pub mod watchdog;

pub use examine::{Examined, examine};
use lanes::{Lanes, Ring};
use limits::GlobalLimit;
use send::Sender;
use session::{End, Heard, Life};

/// How long the gateway waits for the list of bans. Without it the bot joins and says that it is starting.
const BANS_WITHIN: Duration = Duration::from_secs(3);
/// How often the list is asked for while there is none.
const BANS_RETRY: Duration = Duration::from_secs(1);
/// How long running commands may go on after the gateway is closed.
const GRACE: Duration = Duration::from_secs(10);
/// How long background work may take to write down what it still holds.
const FLUSH_LIMIT: Duration = Duration::from_secs(4);
/// How long all the rest may take to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(3);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
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
    pub shards: Shards,
    /// Bots that are heard all the same.
    pub hear_bots: Vec<u64>,
    /// Keep Discord's rate limits ourselves at another server; a simulated one needs none.
    pub paced: bool,
    pub patience: Patience,
}

/// How long the bot waits before it helps itself. The defaults are made for Discord.
#[derive(Clone, Debug)]
pub struct Patience {
    /// A shard that is not connected by then hangs.
    pub connected: Duration,
    /// Longer than this without an acknowledged heartbeat, a connected shard hangs.
    pub acknowledged: Duration,
    /// One REST call.
    pub request: Duration,
    /// The first and the longest pause between attempts at the start and at registration.
    pub retry: (Duration, Duration),
    /// IDENTIFYs beyond one for each shard, and the time in which they are counted.
    pub identifies: (usize, Duration),
    /// Where only the operator can help, a supervisor must not start the process again and again: every
    /// start uses up one of Discord's session starts.
    pub operator: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connected: Duration::from_secs(60),
            // Two and a half of Discord's heartbeat intervals.
            acknowledged: Duration::from_secs(105),
            // Uploads of the answers we send are small.
            request: Duration::from_secs(15),
            retry: (Duration::from_secs(2), Duration::from_secs(300)),
            // Discord resets the token after 1,000 a day.
            identifies: (10, Duration::from_secs(600)),
            operator: Duration::from_secs(60),
        }
    }
}

/// How the process should end: [`Exit::code`] is its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Somebody asked for it.
    Asked,
    /// An owner asked for a new start.
    Restart,
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
            Self::Restart | Self::Again(_) => 75,
            Self::Operator(_) => 78,
        }
    }
}

/// What Discord told us before the gateway was opened.
pub struct Connection {
    pub http: Arc<Http>,
    pub cache: Arc<Cache>,
    global_limit: GlobalLimit,
    gateway_url: String,
    /// Of this process; `None`: instances divide them.
    shards: Option<Range<u32>>,
    shards_total: u32,
    /// Where nobody has decided how many there are, what Discord said.
    shards_advised: Option<u32>,
    /// How many may identify at a time.
    identifies_at_once: usize,
    content_allowed: bool,
}

/// The REST client, and what it is told about the limit of all calls. With a proxy, serenity's limiter must be
/// off: it builds its own requests, and they and the token would go to discord.com. So both are set here and
/// nowhere else.
fn http(settings: &Settings) -> anyhow::Result<(Http, GlobalLimit)> {
    telemetry::hide(settings.token.expose_secret());
    let client = reqwest::Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .timeout(settings.patience.request)
        // The token goes to the given address and to no other.
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let builder = HttpBuilder::new(settings.token.expose_secret())
        .client(client)
        .default_allowed_mentions(CreateAllowedMentions::new());
    let limit = GlobalLimit::default();
    let mut http = match &settings.api_url {
        Some(url) => builder.proxy(base(url)).ratelimiter_disabled(true).build(),
        None => builder.build(),
    };
    if let Some(limiter) = &mut http.ratelimiter {
        let limit = limit.clone();
        limiter.set_ratelimit_callback(Box::new(move |info| limit.note(&info)));
    }
    Ok((http, limit))
}

/// serenity adds `/api/v10` itself.
fn base(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix("/v10").unwrap_or(url);
    url.strip_suffix("/api").unwrap_or(url)
}

/// Asks for the gateway, the application and the shards; tries until it has them or they are refused.
pub async fn connect(settings: &Settings, shutdown: &CancellationToken) -> Result<Connection, Exit> {
    shutdown.run_until_cancelled(keep_asking(settings)).await.unwrap_or(Err(Exit::Asked))
}

async fn keep_asking(settings: &Settings) -> Result<Connection, Exit> {
    let (http, limit) = http(settings).map_err(|error| Exit::Operator(format!("{error:#}")))?;
    let mut pause = settings.patience.retry.0;
    loop {
        let error = match ask(&http, settings).await {
            Ok(asked) => return Ok(asked.into_connection(http, limit, settings).await),
            Err(error) => error,
        };
        if status(&error) == Some(401) {
            let advice = "Discord does not know this token; put the right one into DISCORD_TOKEN";
            return Err(Exit::Operator(advice.into()));
        }
        warn!(%error, "Discord could not be reached; trying again");
        sleep(pause).await;
        pause = (pause * 2).min(settings.patience.retry.1);
    }
}

fn status(error: &serenity::Error) -> Option<u16> {
    let serenity::Error::Http(error) = error else { return None };
    error.status_code().map(|status| status.as_u16())
}

/// Servers asked for at a time: the most that Discord gives.
const SERVERS_A_PAGE: u64 = 200;

/// The ids of the servers that the bot is in, as Discord's REST API tells them: no shard has to be connected.
pub async fn servers(settings: &Settings) -> anyhow::Result<Vec<u64>> {
    let (http, _) = http(settings)?;
    let mut servers: Vec<u64> = Vec::new();
    loop {
        let last = servers.last().map(|id| GuildPagination::After(GuildId::new(*id)));
        let page = http.get_guilds(last, Some(SERVERS_A_PAGE)).await?;
        let full = page.len() as u64 == SERVERS_A_PAGE;
        servers.extend(page.into_iter().map(|server| server.id.get()));
        if !full {
            return Ok(servers);
        }
    }
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
    async fn into_connection(self, http: Http, global_limit: GlobalLimit, settings: &Settings) -> Connection {
        let advised = self.gateway.shards.max(1);
        let (shards, shards_total) = match &settings.shards {
            Shards::Advised => (Some(0..advised), advised),
            Shards::Range(range, total) => (Some(range.clone()), *total),
            Shards::Divided(total) => (None, total.unwrap_or(advised)),
        };
        let limit = &self.gateway.session_start_limit;
        if limit.remaining < u64::from(shards_total) + STARTS_SPARE {
            let pause = Duration::from_millis(limit.reset_after);
            error!(
                remaining = limit.remaining,
                seconds = pause.as_secs(),
                "too few session starts left; waiting"
            );
            sleep(pause).await;
        }
        http.set_application_id(self.application.id);
        let flags = self.application.flags.unwrap_or(ApplicationFlags::empty());
        let mut cache_settings = serenity::cache::Settings::default();
        cache_settings.max_messages = 0;
        Connection {
            http: Arc::new(http),
            cache: Arc::new(Cache::new_with_settings(cache_settings)),
            global_limit,
            gateway_url: self.gateway.url.trim_end_matches('/').to_owned(),
            shards,
            shards_total,
            shards_advised: (settings.shards == Shards::Divided(None)).then_some(advised),
            identifies_at_once: usize::try_from(limit.max_concurrency).unwrap_or(usize::MAX).max(1),
            content_allowed: flags.intersects(content_flags()),
        }
    }
}

/// One bot at work; handlers hold it.
pub(crate) struct Bot {
    services: Arc<Services>,
    registry: Registry,
    sender: Arc<Sender>,
    lanes: Lanes,
    ring: Ring,
    hear_bots: Vec<u64>,
    patience: Patience,
    shutdown: CancellationToken,
    /// Commands that are running.
    commands: Tasks,
    /// What lasts beside the gateway; it ends after the last command, because it writes down what they counted.
    background: Tasks,
    heard: Heard,
    /// IDENTIFYs of this process that the metrics have.
    identifies_told: AtomicU64,
}

/// Joins Discord and answers until told to stop, or until going on makes no sense. Events end first, then
/// commands, then what writes to the store.
pub async fn run(
    connection: Connection,
    services: Arc<Services>,
    settings: &Settings,
    tasks: &Tasks,
) -> Exit {
    let paced = settings.paced && settings.api_url.is_some();
    let sender = Arc::new(Sender::new(paced, connection.global_limit.clone()));
    services.discord.lend(sender.clone().poster());
    let bot = Arc::new(Bot {
        registry: Registry::new(ALL),
        sender,
        lanes: Lanes::default(),
        ring: Ring::default(),
        hear_bots: settings.hear_bots.clone(),
        patience: settings.patience.clone(),
        shutdown: tasks.shutdown(),
        commands: Tasks::new(),
        background: Tasks::new(),
        heard: Heard::default(),
        identifies_told: AtomicU64::new(GATEWAY_IDENTIFIES.load(Ordering::SeqCst)),
        services,
    });
    let connection = Arc::new(connection);
    bot.start_background(&connection);
    // Where the store answers, everybody who joins finds the list of bans complete.
    let _ = timeout(BANS_WITHIN, bot.services.bans.load(&bot.services.dynamo)).await;
    let exit = bot.stay(&connection, settings.content_intent).await;
    bot.commands.stop();
    if !bot.commands.wait(GRACE).await {
        warn!(seconds = GRACE.as_secs(), "some commands did not end in time");
    }
    bot.background.stop();
    if !bot.background.wait(FLUSH_LIMIT).await {
        warn!(seconds = FLUSH_LIMIT.as_secs(), "some background work did not end in time");
    }
    exit
}

impl Bot {
    fn start_background(self: &Arc<Self>, connection: &Connection) {
        let (services, shutdown) = (&self.services, self.background.shutdown());
        // Those that divide shards know of each other; which of them looks for what is due is known in a second.
        services.duty.set(connection.shards.is_some());
        for feature in ALL {
            if let Some(background) = feature.background {
                self.background.spawn(feature.name, background(services.clone(), shutdown.clone()));
            }
        }
        let forget =
            limits::forget_free_routes(connection.http.clone(), services.clock.clone(), shutdown.clone());
        self.background.spawn("routes", forget);
        self.background.spawn("bans", keep_bans(services.clone(), shutdown));
        if connection.shards.as_ref().is_some_and(|shards| shards.start == 0) {
            self.background.spawn_job("registration", register_commands(self.clone()));
        }
    }

    /// Serves the shards of this process, or its part of them.
    async fn stay(self: &Arc<Self>, connection: &Arc<Connection>, wants_content: bool) -> Exit {
        let content = wants_content && connection.content_allowed;
        if !content {
            warn!(
                "without the Message Content intent: commands work by mention, direct message and slash only"
            );
        }
        let Some(shards) = connection.shards.clone() else {
            let Some(shared) = self.services.shared.get().cloned() else {
                return Exit::Again("shards cannot be divided without shared data".into());
            };
            return shards::stay(self, connection, shared, content).await;
        };
        self.services.health.shards_wanted.store(shards.len() as u64, Ordering::SeqCst);
        let total = connection.shards_total;
        let life = Life { shards, total, stop: CancellationToken::new(), alone: true };
        self.stay_on(connection, content, &life).await
    }

    /// One session after another, until none makes sense.
    async fn stay_on(self: &Arc<Self>, connection: &Connection, mut content: bool, life: &Life) -> Exit {
        let health = &self.services.health;
        loop {
            health.content_intent.store(content, Ordering::SeqCst);
            let end = session::run(self, connection, intents(content), life).await;
            if let End::Trouble(why) | End::TooManyIdentifies { why, .. } = &end {
                error!(why, "the bot cannot go on");
                *health.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
            }
            return match end {
                End::Asked => Exit::Asked,
                End::Restart => Exit::Restart,
                End::Trouble(why) => Exit::Again(why),
                End::TooManyIdentifies { why, until } => self.sit_out(why, until, &life.stop).await,
                End::TokenRefused => Exit::Operator("Discord does not know the token any more".into()),
                End::Gateway(GatewayError::DisallowedGatewayIntents) if content => {
                    warn!(
                        "Discord refused the Message Content intent; going on without it. Turn it on in the \
                         developer portal, under Bot: https://discord.com/developers/applications"
                    );
                    content = false;
                    continue;
                }
                End::Gateway(GatewayError::InvalidAuthentication) => {
                    Exit::Operator("Discord refused the token at the gateway".into())
                }
                End::Gateway(
                    error @ (GatewayError::DisallowedGatewayIntents | GatewayError::InvalidGatewayIntents),
                ) => Exit::Operator(format!("Discord refused the gateway intents: {error}")),
                End::Gateway(error) => Exit::Again(format!("the gateway ended: {error}")),
            };
        }
    }

    /// Stays away from the gateway until Discord no longer counts the last IDENTIFYs: a new process would go
    /// on with them.
    async fn sit_out(&self, why: String, until: Instant, stop: &CancellationToken) -> Exit {
        let waiting = stop.run_until_cancelled(sleep_until(until));
        match self.shutdown.run_until_cancelled(waiting).await {
            Some(_) => Exit::Again(why),
            None => Exit::Asked,
        }
    }
}

/// `GUILDS | GUILD_MESSAGES | DIRECT_MESSAGES`, and message content where it is allowed.
fn intents(content: bool) -> GatewayIntents {
    let always = GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::DIRECT_MESSAGES;
    if content { always | GatewayIntents::MESSAGE_CONTENT } else { always }
}

/// Waits for what is left after the bot has ended.
pub async fn drain(tasks: &Tasks) {
    if !tasks.wait(DRAIN_LIMIT).await {
        warn!(seconds = DRAIN_LIMIT.as_secs(), "some work did not end in time");
    }
}

/// Reads the list of bans again and again.
async fn keep_bans(services: Arc<Services>, shutdown: CancellationToken) {
    let reading = async {
        loop {
            let pause = if services.bans.instance().is_some() { bans::FRESH_FOR } else { BANS_RETRY };
            sleep(pause).await;
            if let Err(error) = services.bans.load(&services.dynamo).await {
                warn!(error = &error as &dyn std::error::Error, "the list of bans could not be read");
            }
        }
    };
    shutdown.run_until_cancelled(reading).await;
}

/// Puts the command lists, once per process; the other doors work meanwhile.
async fn register_commands(bot: Arc<Bot>) {
    register_in(&bot, None, register::commands(&bot.registry)).await;
    for server in bot.services.instance.admin_guilds.clone() {
        register_in(&bot, Some(GuildId::new(server)), register::for_owners(&bot.registry)).await;
    }
}

/// Tries until Discord has taken a list, for all servers or for one.
async fn register_in(bot: &Bot, server: Option<GuildId>, list: Vec<serde_json::Value>) {
    let http = &bot.services.discord.http;
    let keep_trying = async {
        let mut pause = bot.patience.retry.0;
        loop {
            let put = match server {
                Some(server) => http.create_guild_commands(server, &list).await,
                None => http.create_global_commands(&list).await,
            };
            match put {
                Ok(registered) => return info!(commands = registered.len(), "registered slash commands"),
                Err(error) => {
                    bot.sender.note(&error);
                    warn!(%error, server_id = server.map(GuildId::get), "slash commands are not registered yet");
                    // A server that the bot is not in will never take them.
                    if server.is_some() && matches!(status(&error), Some(403 | 404)) {
                        return;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(bot.patience.retry.1);
        }
    };
    bot.shutdown.run_until_cancelled(keep_trying).await;
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
