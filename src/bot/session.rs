//! One life of the gateway: all shards of this process, from HELLO to the last close frame.
//!
//! The shard manager is built by hand: serenity's client would ask for the gateway's address itself and,
//! failing that, take the token to Discord's own. Closing is done by hand too: serenity's way takes the shards
//! one by one through a queue that a hanging connection blocks, and waits for none of them once a shard has
//! restarted itself.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use serenity::all::{
    Context as Gateway, Event, EventHandler, GatewayError, GatewayIntents, Guild, GuildId, Interaction,
    Message, RawEventHandler, Ready, ResumedEvent, ShardId, ShardManager, ShardManagerOptions,
    ShardMessenger, ShardRunnerMessage, UnavailableGuild, UserId,
};
use serenity::async_trait;
use serenity::collector::collect;
use tokio::time::{Instant, interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

use crate::backstage;
use crate::bot::{Bot, Connection, hear, watchdog};
use crate::commands::privacy;
use crate::dynamo;
use crate::telemetry::{GATEWAY_IDLE_TURNS, KindLabels, LINES_A_TURN};

/// How long shards may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);
/// serenity starts a shard that was put back this much later.
const QUEUED_FOR: Duration = Duration::from_secs(6);
/// How often is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Discord's close code for a client that leaves.
const LEAVING: u16 = 1000;

/// Events without which the bot is deaf: if serenity cannot read one, somebody must be told.
const NEEDED: [&str; 4] = ["READY", "GUILD_CREATE", "MESSAGE_CREATE", "INTERACTION_CREATE"];

/// Which shards a session has, and who ends it.
pub(super) struct Life {
    pub shards: Range<u32>,
    /// Of the whole bot.
    pub total: u32,
    pub stop: CancellationToken,
    /// No other instance takes over, so it ends at once when the bot is to stop or to start anew.
    pub alone: bool,
}

/// Why a session ended.
pub(super) enum End {
    /// The bot is to stop.
    Asked,
    /// An owner wants the process to start anew.
    Restart,
    Gateway(GatewayError),
    /// Discord does not know the token any more.
    TokenRefused,
    /// Something that only a new process may cure.
    Trouble(String),
    /// A new process would only add to them before this time.
    TooManyIdentifies {
        why: String,
        until: Instant,
    },
}

/// When each shard last heard anything, to tell the length of a gap, and which of its connections counts.
#[derive(Default)]
pub(super) struct Heard(Mutex<HashMap<ShardId, (u64, Instant)>>);

impl Heard {
    /// Notes a sign of life.
    pub fn now(&self, shard: ShardId) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.entry(shard).or_insert_with(|| (0, Instant::now())).1 = Instant::now();
    }

    /// A new session begins: its number, and how long ago the one before was heard.
    fn begin(&self, shard: ShardId) -> (u64, Option<Duration>) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = heard.get(&shard).copied();
        let number = before.map_or(1, |(number, _)| number + 1);
        heard.insert(shard, (number, Instant::now()));
        // Before the first session nothing was heard, so nothing was lost.
        (number, before.filter(|(number, _)| *number > 0).map(|(_, at)| at.elapsed()))
    }

    /// Whether the shard has been connected.
    pub fn is_ready(&self, shard: ShardId) -> bool {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(&shard).is_some_and(|(number, _)| *number > 0)
    }

    /// The shard is not this instance's any more.
    pub fn forget(&self, shard: ShardId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    }

    /// Notes an event; `false` if its connection is not the shard's newest.
    fn event(&self, shard: ShardId, number: u64) -> bool {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((current, at)) = heard.get_mut(&shard) else { return false };
        *at = Instant::now();
        *current == number
    }
}

/// Connects these shards and looks after them until one of them cannot go on, or they are to stop.
pub(super) async fn run(
    bot: &Arc<Bot>,
    connection: &Connection,
    intents: GatewayIntents,
    life: &Life,
) -> End {
    let runners = TaskTracker::new();
    let handler = Arc::new(Handler { bot: bot.clone(), runners: runners.clone() });
    let (manager, mut ended) = ShardManager::new(ShardManagerOptions {
        data: Arc::default(),
        event_handlers: vec![handler],
        raw_event_handlers: vec![Arc::new(Unparsed(bot.clone()))],
        shard_index: life.shards.start,
        shard_init: life.shards.end - life.shards.start,
        shard_total: life.total,
        ws_url: Arc::new(tokio::sync::Mutex::new(connection.gateway_url.clone())),
        cache: connection.cache.clone(),
        http: connection.http.clone(),
        intents,
        presence: None,
    });
    let _ = manager.initialize();
    let end = tokio::select! {
        ended = ended.next() => match ended {
            Some(Err(error)) => End::Gateway(error),
            Some(Ok(())) | None => End::Trouble("serenity gave up the gateway".into()),
        },
        end = watchdog::watch_shards(bot, &manager, life) => end,
        () = bot.sender.token_refused().cancelled() => End::TokenRefused,
        () = bot.background.shutdown().cancelled_owned() => End::Trouble("a part of the bot ended early".into()),
        () = life.stop.cancelled() => End::Asked,
        () = bot.shutdown.cancelled(), if life.alone => End::Asked,
        () = bot.services.restart.cancelled(), if life.alone => End::Restart,
    };
    if matches!(end, End::TooManyIdentifies { .. }) {
        wait_for_a_runner(&manager).await;
    }
    if timeout(CLOSE_LIMIT, close(&manager, &runners)).await.is_err() {
        warn!(seconds = CLOSE_LIMIT.as_secs(), "some shards did not close in time");
    }
    end
}

/// Tells every shard to leave, and waits until it has.
async fn close(manager: &ShardManager, runners: &TaskTracker) {
    for (id, runner) in manager.runners.lock().await.iter() {
        runner.runner_tx.send_to_shard(ShardRunnerMessage::Shutdown(*id, LEAVING));
        // So that serenity, which is to forget them now, does not wait for each of them in turn.
        manager.shutdown_finished(*id);
    }
    manager.shutdown_all().await;
    runners.close();
    runners.wait().await;
}

/// A shard that serenity has put back would be started after everything else has ended: with no runner there
/// is nobody who could be told to stop.
async fn wait_for_a_runner(manager: &ShardManager) {
    let mut looks = interval(LOOK_EVERY);
    let wait = async {
        while manager.runners.lock().await.is_empty() {
            looks.tick().await;
        }
    };
    let _ = timeout(QUEUED_FOR, wait).await;
}

struct Handler {
    bot: Arc<Bot>,
    /// Shards whose connection is not closed yet.
    runners: TaskTracker,
}

impl Handler {
    fn count_servers(&self, gateway: &Gateway) {
        // The cache also knows servers whose shards others have taken over.
        let here = |server: &GuildId| self.bot.heard.is_ready(ShardId(server.shard_id(&gateway.cache)));
        let servers = gateway.cache.guilds().iter().filter(|server| here(server)).count();
        self.bot.services.metrics.servers.set(i64::try_from(servers).unwrap_or(i64::MAX));
    }

    fn report(&self, noted: Result<(), dynamo::Error>) {
        if let Err(error) = noted {
            error!(
                error = &error as &dyn std::error::Error,
                "coming or going of a server could not be noted"
            );
        }
    }
}

#[async_trait]
impl EventHandler for Handler {
    async fn ready(&self, gateway: Gateway, ready: Ready) {
        let (bot, shard) = (&self.bot, gateway.shard_id);
        info!(shard = shard.0, servers = ready.guilds.len(), name = %ready.user.name, "connected");
        let (number, gap) = bot.heard.begin(shard);
        self.count_servers(&gateway);
        if let Some(gap) = gap {
            bot.services.metrics.gap_seconds.inc_by(gap.as_secs());
            warn!(shard = shard.0, seconds = gap.as_secs(), "a new session: events in between are lost");
        }
        keep_order(bot, &self.runners, (shard, number), &gateway.shard);
    }

    async fn resume(&self, gateway: Gateway, _: ResumedEvent) {
        self.bot.services.metrics.resumes.inc();
        info!(shard = gateway.shard_id.0, "resumed");
    }

    async fn guild_create(&self, gateway: Gateway, guild: Guild, is_new: Option<bool>) {
        self.count_servers(&gateway);
        if is_new == Some(true) {
            let noted = privacy::server_joined(&self.bot.services, guild.id.get()).await;
            self.report(noted);
        }
    }

    async fn guild_delete(&self, gateway: Gateway, gone: UnavailableGuild, _: Option<Guild>) {
        info!(server_id = gone.id.get(), "a server is gone");
        self.count_servers(&gateway);
        // Unavailable: Discord has lost sight of it, not we of Discord.
        if !gone.unavailable {
            let noted = privacy::server_left(&self.bot.services, gone.id.get()).await;
            self.report(noted);
        }
    }

    async fn message(&self, gateway: Gateway, message: Message) {
        let _job = self.bot.commands.job();
        // It would make the shard look open while the command runs: see `close`.
        drop(gateway);
        let event = message.id.get();
        backstage::during(event, self.bot.on_message(message, Instant::now())).await;
    }

    async fn interaction_create(&self, gateway: Gateway, interaction: Interaction) {
        let _job = self.bot.commands.job();
        drop(gateway);
        let event = interaction.id().get();
        backstage::during(event, self.bot.on_interaction(interaction, Instant::now())).await;
    }
}

/// Sees all events, and counts those that serenity could not read. Collectors would see them as well, but not
/// the READY before which there are none.
struct Unparsed(Arc<Bot>);

#[async_trait]
impl RawEventHandler for Unparsed {
    async fn raw_event(&self, _: Gateway, event: Event) {
        GATEWAY_IDLE_TURNS.fetch_sub(LINES_A_TURN, Ordering::Relaxed);
        let Event::Unknown(event) = event else { return };
        if NEEDED.contains(&event.kind.as_str()) {
            warn!(kind = event.kind, "an event of the gateway could not be read");
            self.0.services.metrics.unparsed.get_or_create(&KindLabels { kind: event.kind }).inc();
        }
    }
}

/// Writes down the order of events, on the shard's own task: see [`crate::bot::lanes`].
fn keep_order(bot: &Arc<Bot>, runners: &TaskTracker, session: (ShardId, u64), messenger: &ShardMessenger) {
    let weak = Arc::downgrade(bot);
    let (shard, number) = session;
    let me = bot.services.discord.cache.current_user().id;
    let stream = collect(messenger, move |event| {
        let bot = weak.upgrade()?;
        // A READY may come twice on one connection, and an event is to be written down once.
        if !bot.heard.event(shard, number) {
            return None;
        }
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
            // serenity's cache learns of everything else by itself; of this it does not, and a server's former
            // owner would keep their rights.
            Event::GuildUpdate(event) => {
                bot.services.discord.cache.update(&mut event.clone());
            }
            _ => {}
        }
        None::<()>
    });
    // The collector lives as long as somebody listens to its stream, which says nothing and ends with the
    // shard's connection.
    let (open, shutdown) = (runners.token(), bot.background.shutdown());
    bot.background.spawn_job("order", async move {
        shutdown.run_until_cancelled(std::pin::pin!(stream).next()).await;
        drop(open);
    });
}

/// Suggestions have no order; everything else a person does has.
fn ordered(interaction: &Interaction) -> Option<(Option<GuildId>, UserId, u64)> {
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

    #[tokio::test(start_paused = true)]
    async fn a_gap_is_as_long_as_nothing_was_heard() {
        let (heard, shard) = (Heard::default(), ShardId(0));
        heard.now(shard);
        assert_eq!(heard.begin(shard), (1, None), "before the first session nothing is lost");
        assert!(heard.event(shard, 1));
        tokio::time::advance(Duration::from_secs(40)).await;
        heard.now(shard);
        tokio::time::advance(Duration::from_secs(7)).await;
        assert_eq!(heard.begin(shard), (2, Some(Duration::from_secs(7))));
        assert!(!heard.event(shard, 1), "the connection before it no longer counts");
        assert!(heard.event(shard, 2));
    }
}
