//! Logs, metrics and health: how an operator sees what the bot is doing.
//!
//! Logs have fields to search by; an error is logged once, where it stops, under the reference that the
//! caller was given. Message text appears at `debug` at most, tokens never. Server and user ids are no
//! labels of metrics: there are too many of them.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rand::Rng;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, reload};

/// Starts logging to standard error. Called once, by `main`.
///
/// Some of serenity's parts stay capped whatever the filter says, see [`CAPPED`].
pub fn start(filter: &str, json: bool) -> anyhow::Result<()> {
    start_with(filter, json, None)
}

/// The same, with traces for a collector.
pub fn start_with(filter: &str, json: bool, traces: Option<Traces>) -> anyhow::Result<()> {
    let usual = filter.to_owned();
    let filter = whole(filter);
    let kept = kept_lines().with_filter(EnvFilter::try_new(&filter)?);
    let (filter, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colours);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    let gateway = GatewayLog.with_filter(FilterFn::new(GatewayLog::hears));
    let traces = traces.map(|traces| traces.with_filter(FilterFn::new(Traces::hears)));
    let layers = tracing_subscriber::registry().with(gateway).with(kept).with(traces);
    layers.with(lines.with_filter(filter)).try_init()?;
    // It is started once in a process.
    let _ = FILTER.set(Box::new(move |wanted| {
        handle.reload(EnvFilter::try_new(whole(wanted.unwrap_or(&usual)))?)?;
        Ok(())
    }));
    Ok(())
}

type SetFilter = Box<dyn Fn(Option<&str>) -> anyhow::Result<()> + Send + Sync>;

static FILTER: OnceLock<SetFilter> = OnceLock::new();

/// Logs by another filter from now on; `None`: by the one it was started with.
pub fn log_by(filter: Option<&str>) -> anyhow::Result<()> {
    FILTER.get().map_or(Ok(()), |set| set(filter))
}

fn whole(filter: &str) -> String {
    format!("{QUIET},{filter},{CAPPED}")
}

pub mod traces;

use traces::Traces;

/// Unless the filter names them. What the SDK says about a search for credentials is said in our words, without
/// the types.
const QUIET: &str = "serenity=warn,aws_config=error";

/// Lines of the log kept in memory, for `.log tail`.
pub const LINES_KEPT: usize = 200;

/// A line longer than this is cut: an error may hold a whole request.
const LINE_MAX: usize = 1_000;

static LINES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// Texts that must not be seen, such as the token.
static SECRETS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on this text stands in no line that [`last_lines`] returns.
pub fn hide(secret: &str) {
    if !secret.is_empty() {
        SECRETS.lock().unwrap_or_else(PoisonError::into_inner).push(secret.to_owned());
    }
}

/// The last lines of the log, oldest first, without secrets.
pub fn last_lines(count: usize) -> Vec<String> {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    let secrets = SECRETS.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| without_secrets(line, &secrets)).collect()
}

/// The layer that keeps them.
fn kept_lines<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| KeptLine(Vec::new()))
}

/// One line while it is written; it is kept when it is complete.
struct KeptLine(Vec<u8>);

impl Write for KeptLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for KeptLine {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.0);
        let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
        for line in text.lines() {
            lines.push_back(line.chars().take(LINE_MAX).collect());
            if lines.len() > LINES_KEPT {
                lines.pop_front();
            }
        }
    }
}

/// Hides what was said to be secret, and what looks like it: the tokens of bots and interactions, and keys.
fn without_secrets(line: &str, secrets: &[String]) -> String {
    let mut line = line.to_owned();
    for secret in secrets {
        line = line.replace(secret, "<hidden>");
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.=+%".contains(c);
    let (mut shown, mut word) = (String::with_capacity(line.len()), String::new());
    for c in line.chars().chain(['\n']) {
        if is_part(c) {
            word.push(c);
            continue;
        }
        shown.push_str(if looks_secret(&word) { "<hidden>" } else { &word });
        word.clear();
        shown.push(c);
    }
    shown.pop();
    shown
}

/// Long, and of letters and digits mixed: no word, number, path or id of ours is like that.
fn looks_secret(word: &str) -> bool {
    const SECRET_MIN: usize = 20;
    let has = |test: fn(&char) -> bool| word.chars().filter(test).count();
    let digits = has(char::is_ascii_digit);
    let (small, large) = (has(char::is_ascii_lowercase), has(char::is_ascii_uppercase));
    word.len() >= SECRET_MIN
        && digits > 0
        && large > 0
        && (small > 0 || word.starts_with("AKIA") || word.starts_with("ASIA"))
}

/// Frames and requests hold the token and people's words. serenity writes frames that it cannot parse at
/// `warn`, tungstenite all of them at `trace`; serenity's spans hold requests.
const CAPPED: &str =
    "serenity::gateway::ws=error,serenity::http=warn,tungstenite=info,tokio_xmpp=info,sasl=info";

/// Set once serenity has met a close code after which it polls the dead socket without yielding. Only the
/// watchdog's own thread can still act then.
pub static GATEWAY_SPINS: AtomicBool = AtomicBool::new(false);

/// Grows with every turn of a shard's loop and shrinks with every event: fast only while a shard polls a dead
/// socket, as it also does after a close frame without a code and after a failed reconnect, of which serenity
/// says nothing more. Counted in lines of its log.
pub static GATEWAY_IDLE_TURNS: AtomicI64 = AtomicI64::new(0);

/// What the loop writes in each turn.
pub const LINES_A_TURN: i64 = 2;

/// IDENTIFYs that this process has sent.
pub static GATEWAY_IDENTIFIES: AtomicU64 = AtomicU64::new(0);

/// Recognises three things in what serenity logs, the only place where they show: the close codes 4003, 4010
/// and 4011, each IDENTIFY, which may be refused without a trace, and the turns of a shard's loop.
struct GatewayLog;

const SHARD_RUNNER: &str = "serenity::gateway::bridge::shard_runner";
const SOCKET: &str = "serenity::gateway::ws";

impl GatewayLog {
    fn hears(metadata: &Metadata<'_>) -> bool {
        let (target, level) = (metadata.target(), *metadata.level());
        let told = (target == SHARD_RUNNER && matches!(level, Level::ERROR | Level::TRACE))
            || (target == SOCKET && level == Level::DEBUG);
        told && metadata.is_event()
    }
}

impl<S: Subscriber> Layer<S> for GatewayLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::TRACE {
            GATEWAY_IDLE_TURNS.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let spins = ["NoAuthentication", "InvalidShardData", "OverloadedShard"];
        if event.metadata().target() == SOCKET {
            let identifies = u64::from(message.0.ends_with("Identifying"));
            GATEWAY_IDENTIFIES.fetch_add(identifies, Ordering::SeqCst);
        } else if spins.iter().any(|code| message.0.contains(code)) {
            GATEWAY_SPINS.store(true, Ordering::SeqCst);
        }
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// Four characters under which an error is told and logged: Crockford's base 32, without letters that look like
/// digits. <https://www.crockford.com/base32.html>
pub fn reference() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut rng = rand::rng();
    (0..4).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

/// How a command ended: `ok`, `refused` or `error`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CommandLabels {
    pub command: String,
    pub outcome: String,
}

/// A call to Discord, by kind, and its HTTP status; 0 when there was no answer.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    pub route: String,
    pub status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabels {
    pub kind: String,
}

/// Upper bounds of the times that commands take, in seconds: from an answer without the store up to the limit of
/// one command, with Discord's three seconds among them.
const COMMAND_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 8.0];

/// The metrics registry. Each field is one family; its help text is in [`Metrics::default`].
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    pub commands: Family<CommandLabels, Counter>,
    pub command_seconds: Histogram,
    pub events_repeated: Counter,
    pub events_stale: Counter,
    pub requests: Family<RequestLabels, Counter>,
    pub retries: Family<KindLabels, Counter>,
    pub unknown_outcomes: Family<KindLabels, Counter>,
    pub late_acks: Counter,
    pub unparsed: Family<KindLabels, Counter>,
    pub unspoken: Counter,
    pub identifies: Counter,
    pub resumes: Counter,
    pub restarts: Counter,
    pub gap_seconds: Counter,
    pub servers: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Mutex::new(Registry::with_prefix("mneme")),
            commands: Family::default(),
            command_seconds: Histogram::new(COMMAND_SECONDS),
            events_repeated: Counter::default(),
            events_stale: Counter::default(),
            requests: Family::default(),
            retries: Family::default(),
            unknown_outcomes: Family::default(),
            late_acks: Counter::default(),
            unparsed: Family::default(),
            unspoken: Counter::default(),
            identifies: Counter::default(),
            resumes: Counter::default(),
            restarts: Counter::default(),
            gap_seconds: Counter::default(),
            servers: Gauge::default(),
        };
        let registry = metrics.registry.get_mut().expect("nobody has it yet");
        registry.register("commands", "Commands by name and outcome", metrics.commands.clone());
        let help = "From a command's event to its answer being ready";
        registry.register("command_seconds", help, metrics.command_seconds.clone());
        registry.register(
            "events_repeated",
            "Events dropped as delivered before",
            metrics.events_repeated.clone(),
        );
        registry.register("events_stale", "Events dropped as too old", metrics.events_stale.clone());
        registry.register("discord_requests", "REST calls by kind and status", metrics.requests.clone());
        registry.register("discord_retries", "REST calls sent again", metrics.retries.clone());
        registry.register(
            "discord_unknown_outcome",
            "Messages that may not have been sent",
            metrics.unknown_outcomes.clone(),
        );
        registry.register(
            "discord_late_acks",
            "Interactions acknowledged too late",
            metrics.late_acks.clone(),
        );
        registry.register(
            "discord_unparsed",
            "Gateway events serenity could not read",
            metrics.unparsed.clone(),
        );
        registry.register("unspoken", "Answers we had no right to send", metrics.unspoken.clone());
        registry.register("gateway_identifies", "IDENTIFYs sent", metrics.identifies.clone());
        registry.register("gateway_resumes", "Sessions resumed", metrics.resumes.clone());
        registry.register("gateway_restarts", "Shards the watchdog restarted", metrics.restarts.clone());
        registry.register(
            "gateway_gap_seconds",
            "Time whose events were lost for good",
            metrics.gap_seconds.clone(),
        );
        registry.register("servers", "Servers the bot is in", metrics.servers.clone());
        metrics
    }
}

impl Metrics {
    /// Adds families whose numbers are kept elsewhere and read when somebody asks.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register_collector(collector);
    }

    /// All families in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))
            .expect("writing to a String does not fail");
        text
    }

    pub fn command(&self, command: &str, outcome: &str) {
        let labels = CommandLabels { command: command.to_owned(), outcome: outcome.to_owned() };
        self.commands.get_or_create(&labels).inc();
    }

    pub fn request(&self, route: &str, status: u16) {
        self.requests.get_or_create(&RequestLabels { route: route.to_owned(), status }).inc();
    }
}

/// What `.status`, `/ready` and the watchdog need to know about the gateway.
#[derive(Debug)]
pub struct Health {
    /// Shards that are connected, and how many there should be.
    pub shards_connected: AtomicU64,
    pub shards_wanted: AtomicU64,
    /// Whether the prefix door is open in servers: we asked for message content and were given it.
    pub content_intent: AtomicBool,
    /// Milliseconds from heartbeat to acknowledgement; negative while unknown.
    pub heartbeat_ms: AtomicI64,
    /// Why the bot is not working, for people who look.
    pub trouble: Mutex<Option<String>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            shards_connected: AtomicU64::new(0),
            shards_wanted: AtomicU64::new(1),
            content_intent: AtomicBool::new(false),
            heartbeat_ms: AtomicI64::new(-1),
            trouble: Mutex::default(),
        }
    }
}

impl Health {
    /// Whether commands can be run: every shard is connected.
    pub fn ready(&self) -> bool {
        let connected = self.shards_connected.load(Ordering::SeqCst);
        connected > 0 && connected >= self.shards_wanted.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_text() {
        let metrics = Metrics::default();
        metrics.command("ping", "ok");
        let text = metrics.text();
        assert!(text.contains("mneme_commands_total{command=\"ping\",outcome=\"ok\"} 1"), "{text}");
    }

    #[test]
    fn the_last_lines_are_kept_without_secrets() {
        hide("hush-hush");
        tracing::subscriber::with_default(tracing_subscriber::registry().with(kept_lines()), || {
            for n in 0..LINES_KEPT + 5 {
                tracing::info!(n, "said hush-hush");
            }
            tracing::warn!(
                "MTIzNDU2Nzg5MDEyMzQ1Njc4.Gabcde.abcdefghijklmnopqrstuvwxyz0123456789AB at /x/AKIAIOSFODNN7EXAMPLE1 and /webhooks/1234567890123456789/aW50ZXJhY3Rpb246MTIzNDU2Nzg5 for 1234567890123456789"
            );
        });
        let lines = last_lines(3);
        assert!(lines[0].ends_with(&format!("said <hidden> n={}", LINES_KEPT + 3)), "{lines:?}");
        assert!(
            lines[2].ends_with(
                "<hidden> at /x/<hidden> and /webhooks/1234567890123456789/<hidden> for 1234567890123456789"
            ),
            "{lines:?}"
        );
        assert_eq!(last_lines(1_000).len(), LINES_KEPT);
    }

    #[test]
    fn what_only_serenitys_log_tells_is_recognised() {
        let gateway = GatewayLog.with_filter(FilterFn::new(GatewayLog::hears));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(gateway), || {
            tracing::debug!(target: SOCKET, "[ShardInfo(0, 1)] Identifying");
            tracing::debug!(target: SOCKET, "[ShardInfo(0, 1)] Sending heartbeat");
            tracing::trace!(target: SHARD_RUNNER, "loop iteration started.");
            tracing::error!(target: SHARD_RUNNER, "Err: OverloadedShard");
        });
        assert_eq!(GATEWAY_IDLE_TURNS.load(Ordering::SeqCst), 1);
        assert!(GATEWAY_SPINS.load(Ordering::SeqCst));
        assert_eq!(GATEWAY_IDENTIFIES.load(Ordering::SeqCst), 1);
    }
}
