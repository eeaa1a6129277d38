//! `.about .version .uptime .docs .status .load`: what this bot is and how it is doing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::context::{Answer, Args, Card, Colour, Command, Context, Feature, Instance, Result, Services};
use crate::counts::Counts;
use crate::dynamo::Last;
use crate::markdown::{code, time};
use crate::telemetry::Health;

pub const FEATURE: Feature = Feature {
    name: "about",
    commands: &[
        Command {
            prefix: &["about"],
            slash: &["about"],
            summary: "What I am, and where I come from",
            offline: true,
            run: |ctx, args| Box::pin(about(ctx, args)),
            ..Command::DEFAULT
        },
        Command {
            prefix: &["version"],
            summary: "My version",
            offline: true,
            run: |_, _| Box::pin(async { Ok(version().into()) }),
            ..Command::DEFAULT
        },
        Command {
            prefix: &["uptime"],
            summary: "How long I have been up",
            offline: true,
            run: |ctx, args| Box::pin(uptime(ctx, args)),
            ..Command::DEFAULT
        },
        Command {
            prefix: &["docs"],
            summary: "Where my documentation is",
            offline: true,
            run: |ctx, args| Box::pin(docs(ctx, args)),
            ..Command::DEFAULT
        },
        Command {
            prefix: &["status"],
            slash: &["status"],
            summary: "How I am doing: store, doors, gateway",
            offline: true,
            run: |ctx, args| Box::pin(status(ctx, args)),
            ..Command::DEFAULT
        },
        Command {
            prefix: &["load"],
            summary: "How busy my machine is",
            offline: true,
            run: |ctx, _| Box::pin(async move { Ok(load(&ctx).into()) }),
            ..Command::DEFAULT
        },
    ],
    background: Some(|services, shutdown| Box::pin(sample(services, shutdown))),
    ..Feature::EMPTY
};

/// How often the load is looked at. Between two looks there is time enough to tell how busy the processors were.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);

/// The load as it was sampled last, in percent; 0 before the first sample.
#[derive(Debug, Default)]
struct Load {
    cpu: AtomicU64,
    memory: AtomicU64,
}

/// Samples the load until shutdown, so that whoever asks does not wait.
async fn sample(services: Arc<Services>, shutdown: CancellationToken) {
    let load = services.state::<Load>();
    let kinds = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing().with_cpu_usage())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let mut system = System::new_with_specifics(kinds);
    let mut pause = sysinfo::MINIMUM_CPU_UPDATE_INTERVAL;
    loop {
        load.take(&system);
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        pause = SAMPLE_EVERY;
        system.refresh_specifics(kinds);
    }
}

impl Load {
    fn take(&self, system: &System) {
        let memory = system.used_memory().saturating_mul(100) / system.total_memory().max(1);
        self.cpu.store(system.global_cpu_usage().round() as u64, Ordering::Relaxed);
        self.memory.store(memory, Ordering::Relaxed);
    }

    fn percent(&self) -> (u64, u64) {
        (self.cpu.load(Ordering::Relaxed), self.memory.load(Ordering::Relaxed))
    }

    fn words(&self) -> String {
        let (cpu, memory) = self.percent();
        format!("CPU {cpu}%, memory {memory}%")
    }
}

/// How busy the processors and the memory of this machine are, in percent.
pub fn busy(services: &Services) -> (u64, u64) {
    services.state::<Load>().percent()
}

fn load(ctx: &Context) -> String {
    let load = ctx.services.state::<Load>();
    let (cpu, memory) = load.percent();
    format!("**System load:**\nCPU usage: {cpu}%\nMemory usage: {memory}%")
}

const LICENCE: &str = env!("CARGO_PKG_LICENSE");

/// `mneme 1.2.3 (a1b2c3d)`; builds outside a release do not know their commit.
pub fn version() -> String {
    match option_env!("MNEME_COMMIT") {
        Some(commit) => format!("mneme {} ({commit})", env!("CARGO_PKG_VERSION")),
        None => format!("mneme {}", env!("CARGO_PKG_VERSION")),
    }
}

async fn about(ctx: Context, _: Args) -> Result<Answer> {
    let instance = &ctx.services.instance;
    let lines = [
        "I remember what you tell me.".to_owned(),
        format!("Version: {}", version()),
        up_since(instance, ctx.services.clock.now()),
        format!("Licence: {LICENCE}"),
        docs_line(instance),
        format!("Try {}", code(&ctx.typed("help"))),
    ];
    Ok(Answer::Reply(Card { title: "About me".into(), text: lines.join("\n"), ..Card::default() }.into()))
}

async fn uptime(ctx: Context, _: Args) -> Result<Answer> {
    Ok(up_since(&ctx.services.instance, ctx.services.clock.now()).into())
}

async fn docs(ctx: Context, _: Args) -> Result<Answer> {
    Ok(docs_line(&ctx.services.instance).into())
}

fn docs_line(instance: &Instance) -> String {
    match &instance.docs_url {
        Some(url) => format!("📚 View my public documentation\n{url}"),
        None => "I don't have a public documentation URL set!".to_owned(),
    }
}

fn up_since(instance: &Instance, now: Timestamp) -> String {
    let started = instance.started_at.unwrap_or(now);
    format!("I've been up for {} (since {})", in_words(now.since(started)), time(started))
}

/// The two largest units: `3 days, 4 hours`.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("day", seconds / 86_400), ("hour", seconds / 3_600 % 24), ("minute", seconds / 60 % 60)];
    let parts: Vec<String> =
        units.iter().filter(|(_, n)| *n > 0).map(|(unit, n)| plural(*n, unit)).take(2).collect();
    if parts.is_empty() { plural(seconds % 60, "second") } else { parts.join(", ") }
}

fn plural(n: u64, unit: &str) -> String {
    if n == 1 { format!("1 {unit}") } else { format!("{n} {unit}s") }
}

async fn status(ctx: Context, _: Args) -> Result<Answer> {
    let services = &ctx.services;
    let lines = [
        format!("**Store:** {}", store(&services.instance.store, services.dynamo.last())),
        counts(&services.state::<Counts>()),
        format!("**Doors:** {}", doors(&services.health)),
        format!("**Gateway:** {}", gateway(&services.health)),
        format!("**Servers:** {}", services.metrics.servers.get()),
        format!("**Load:** {}", services.state::<Load>().words()),
        up_since(&services.instance, services.clock.now()),
    ];
    let colour = if services.health.ready() { Colour::Blue } else { Colour::Red };
    let card = Card { title: "🩺 Status".into(), text: lines.join("\n"), colour, ..Card::default() };
    Ok(Answer::Reply(card.into()))
}

/// `embedded, 2 ms; failed 3 minutes ago (query remember)`
fn store(kind: &str, last: Last) -> String {
    let took = last.took.map(|took| format!(", {} ms", took.as_millis())).unwrap_or_default();
    let failed = last.failed.map(|(at, table, operation)| {
        format!("; failed {} ago ({operation} {table})", in_words(at.elapsed()))
    });
    format!("{kind}{took}{}", failed.unwrap_or_else(|| "; no errors".to_owned()))
}

fn counts(counts: &Counts) -> String {
    match counts.backlog() {
        (waiting, 0) => format!("**Counts not written yet:** {waiting}"),
        (waiting, dropped) => format!("**Counts not written yet:** {waiting}; {dropped} were dropped"),
    }
}

fn doors(health: &Health) -> &'static str {
    if health.content_intent.load(Ordering::SeqCst) {
        "prefix, mention, direct message, slash"
    } else {
        "mention, direct message, slash (without the Message Content intent I cannot read the prefix)"
    }
}

fn gateway(health: &Health) -> String {
    let connected = health.shards_connected.load(Ordering::SeqCst);
    let wanted = health.shards_wanted.load(Ordering::SeqCst);
    let trouble = health.trouble.lock().ok().and_then(|trouble| trouble.clone());
    let beat = match health.heartbeat_ms.load(Ordering::SeqCst) {
        ..0 => String::new(),
        ms => format!(", heartbeat {ms} ms"),
    };
    let shards = format!("{connected} of {} connected{beat}", plural(wanted, "shard"));
    trouble.map_or(shards.clone(), |trouble| format!("{shards}; {trouble}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_two_units() {
        let words = |seconds| in_words(Duration::from_secs(seconds));
        assert_eq!(words(3 * 86_400 + 4 * 3_600 + 59), "3 days, 4 hours");
        assert_eq!(words(86_400 + 60), "1 day, 1 minute");
        assert_eq!(words(59), "59 seconds");
        assert_eq!(words(1), "1 second");
    }

    #[test]
    fn the_store_line_tells_the_last_delay_and_the_last_failure() {
        assert_eq!(store("embedded", Last::default()), "embedded; no errors");
        let failed = Some((tokio::time::Instant::now(), "remember", "query"));
        let last = Last { took: Some(Duration::from_millis(12)), failed };
        assert_eq!(store("x", last), "x, 12 ms; failed 0 seconds ago (query remember)");
    }

    #[test]
    fn the_gateway_line_names_the_trouble() {
        let health = Health::default();
        health.shards_connected.store(1, Ordering::SeqCst);
        assert_eq!(gateway(&health), "1 of 1 shard connected");
        health.heartbeat_ms.store(41, Ordering::SeqCst);
        *health.trouble.lock().unwrap() = Some("waiting".into());
        assert_eq!(gateway(&health), "1 of 1 shard connected, heartbeat 41 ms; waiting");
    }
}
