//! What makes envelopes: each file of `sources/` is a task that looks now and then, or listens.
//!
//! A look ends in [`Seen`]; what was seen becomes envelopes by the source's own rules, and only when they are
//! taken the source remembers how far it came. Seen again for the same reason, it is the same envelope, so a
//! crash between the two repeats nothing. Sources run where the links run: in one process of a bot.
//!
//! - [`machine`], [`files`], [`net`], [`program`]: what is looked at
//! - [`own`]: what happens to the bot itself; [`scripts`]: what scripts say over HTTP
//! - [`heard`]: what is written in Discord's channels

pub mod files;
pub mod heard;
pub mod machine;
pub mod net;
pub mod own;
pub mod program;
pub mod scripts;
pub mod sight;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::dynamo::Error;
use crate::relay::envelope::{Scope, Value};
use crate::relay::handle::Relay;
use crate::relay::name::{BotName, Topic, hash};
use crate::relay::publish::{Draft, Published, Refused};
use crate::relay::rules::state::{StateRecord, States};
use crate::relay::rules::{Effects, Judged, judge};
use crate::relay::sources::sight::{Fields, Seen, Sight};
use crate::relay::tree::{Source, What};
use crate::tasks::Tasks;

/// After so many failures in a row somebody is told.
const FAILURES_TOLD: u32 = 3;

/// Of a pulse: an hour of minutes. Who was away for longer begins anew.
const MISSED_MAX: usize = 60;

/// States that the rules of a source may ask for, one after the other.
const STATES_MAX: usize = 16;

/// Under this name a source remembers.
const MEMORY: &str = "source";

/// Runs sources until the token is cancelled, each in a task of its own: a slow one delays no other.
pub async fn run(sources: Vec<Source>, relay: Relay, clock: Clock, tasks: Tasks, stop: CancellationToken) {
    let running: Vec<_> = sources
        .into_iter()
        .filter(|source| source.enabled)
        .map(|source| {
            let (done, ended) = tokio::sync::oneshot::channel::<()>();
            let (relay, clock, stop) = (relay.clone(), clock.clone(), stop.clone());
            tasks.spawn_job("source", async move {
                info!(source = source.key, "watching");
                match &source.what {
                    What::Scripts { .. } => scripts::serve(source, relay, clock, stop).await,
                    // These are told by the gateway.
                    What::Discord { .. } => {}
                    _ => Watch::new(source, relay, clock).run(stop).await,
                }
                drop(done);
            });
            ended
        })
        .collect();
    stop.cancelled().await;
    for ended in running {
        let _ = ended.await;
    }
}

/// One source that looks now and then.
struct Watch {
    source: Source,
    relay: Relay,
    clock: Clock,
    probe: Probe,
    failures: u32,
}

/// What a source keeps between looks.
enum Probe {
    Nothing,
    Http(Result<reqwest::Client, String>),
    Own(own::Own),
}

/// The tick after a time. Ticks lie at multiples of `every`, so that whoever runs the source makes the same.
fn next_tick(now: Timestamp, every: Duration, offset: Duration) -> Timestamp {
    let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
    let offset = i64::try_from(offset.as_millis()).unwrap_or(0) % every;
    Timestamp::from_millis(((now.millis() - offset).div_euclid(every) + 1) * every + offset)
}

/// The part of `spread` that is this bot's, the same at every start.
fn offset(me: &BotName, source: &Source) -> Duration {
    let digest = hash(&[me.as_str(), &source.key]);
    let share = f64::from(u16::from_be_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
    source.spread.mul_f64(share)
}

impl Watch {
    fn new(source: Source, relay: Relay, clock: Clock) -> Self {
        let probe = match &source.what {
            What::Http { headers, .. } => Probe::Http(net::client(headers, source.timeout)),
            What::Own => Probe::Own(own::Own::new(clock.now())),
            _ => Probe::Nothing,
        };
        Self { source, relay, clock, probe, failures: 0 }
    }

    async fn run(mut self, stop: CancellationToken) {
        let offset = offset(&self.relay.settings().routes.me, &self.source);
        // What a bot tells of itself begins at its start, and a file is marked before the first line comes.
        let mut at_once = matches!(self.source.what, What::Own | What::File { .. } | What::Pulse);
        loop {
            let now = self.clock.now();
            let mut tick = next_tick(now, self.source.every, offset);
            if std::mem::take(&mut at_once) {
                tick = next_tick(now.minus(self.source.every), self.source.every, offset);
            } else if stop.run_until_cancelled(sleep(tick.since(now))).await.is_none() {
                return;
            }
            if stop.run_until_cancelled(self.turn(tick)).await.is_none() {
                return;
            }
        }
    }

    /// Looks once, and tells what came of it.
    async fn turn(&mut self, tick: Timestamp) {
        match self.look_and_publish(tick).await {
            Ok(()) => {
                if self.failures >= FAILURES_TOLD {
                    self.tell(tick, None).await;
                }
                self.failures = 0;
            }
            Err(why) => {
                self.failures += 1;
                self.relay.gauges().failed(&self.source.key);
                warn!(source = self.source.key, why, failures = self.failures, "a source failed");
                if self.failures == FAILURES_TOLD {
                    self.tell(tick, Some(&why)).await;
                }
            }
        }
    }

    async fn look_and_publish(&mut self, tick: Timestamp) -> Result<(), String> {
        let now = self.clock.now();
        let key = self.source.key.clone();
        let known =
            StateRecord::load(self.relay.dynamo(), MEMORY, &key).await.map_err(|error| error.to_string())?;
        let memory = known.as_ref().map(|known| known.value.clone());
        let limit = self.source.timeout;
        let looked = timeout(limit, self.look(tick, memory.as_deref())).await;
        let seen = looked.map_err(|_| format!("it took longer than {} s", limit.as_secs()))??;
        for sight in seen.sights {
            publish_sight(&self.relay, &self.source, sight, now).await?;
        }
        let is_old = known.is_some_and(|known| known.is_old(now));
        if let Some(value) = seen.memory.or(memory.filter(|_| is_old)) {
            let record = StateRecord::new(MEMORY, &key, &value, now);
            self.relay.dynamo().put(&record).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    async fn look(&mut self, tick: Timestamp, memory: Option<&str>) -> Result<Seen, String> {
        let one = |fields: Fields| Ok(Seen::one(Sight::of_tick(tick, fields)));
        match (&self.source.what, &mut self.probe) {
            (What::Pulse, _) => Ok(pulse(tick, self.source.every, memory)),
            (What::Host, _) => one(blocking(|| Ok(machine::host())).await?),
            (What::Disk { path }, _) => {
                let path = path.clone();
                one(blocking(move || machine::disk(&path)).await?)
            }
            (What::Path { path }, _) => {
                let (path, now) = (path.clone(), self.clock.now());
                one(blocking(move || Ok(files::path(&path, now))).await?)
            }
            (What::File { path, pattern }, _) => {
                let (path, pattern, memory) = (path.clone(), pattern.clone(), memory.map(str::to_owned));
                let now = self.clock.now();
                blocking(move || files::lines(&path, pattern.as_ref(), memory.as_deref(), now)).await
            }
            (What::Http { url, find, .. }, Probe::Http(client)) => {
                one(net::http(client.as_ref()?, url, find.as_ref(), self.clock.now()).await)
            }
            (What::Tcp { address }, _) => one(net::tcp(address, self.source.timeout).await),
            (What::Command { argv, env }, _) => one(program::run(argv, env, self.source.timeout).await?),
            (What::Own, Probe::Own(own)) => own.look(&self.relay, tick).await,
            _ => Err("this source does not look".to_owned()),
        }
    }

    /// Tells that this source fails, or that it works again.
    async fn tell(&self, tick: Timestamp, why: Option<&str>) {
        let key = &self.source.key;
        let (subject, word) = match why {
            Some(_) => (format!("the source {key} fails"), "fails"),
            None => (format!("the source {key} works again"), "works"),
        };
        let fields = Fields::default().text("source", key).switch("up", why.is_none());
        let fields = if let Some(why) = why { fields.text("error", why) } else { fields };
        let sight = Sight {
            because: format!("{word}/{}", tick.millis()),
            at: tick,
            topic: Topic::new("bot/source").ok(),
            subject: Some(subject),
            fields,
        };
        // Its own rules are about what it sees, not about this.
        let bare = Source { rules: Vec::new(), ..self.source.clone() };
        if let Err(why) = publish_sight(&self.relay, &bare, sight, self.clock.now()).await {
            warn!(source = key, why, "nobody could be told that a source fails");
        }
    }
}

/// A tick, and those that were missed.
fn pulse(tick: Timestamp, every: Duration, memory: Option<&str>) -> Seen {
    let last = memory.and_then(|memory| memory.parse().ok()).map(Timestamp::from_millis);
    let mut ticks = Vec::new();
    let mut at = tick;
    while last.is_none_or(|last| at > last) && ticks.len() < MISSED_MAX {
        ticks.push(at);
        if last.is_none() {
            break;
        }
        at = at.minus(every);
    }
    ticks.reverse();
    let late = |at: Timestamp| Fields::default().switch("missed", at < tick);
    let sights = ticks.iter().map(|at| Sight::of_tick(*at, late(*at))).collect();
    Seen { sights, memory: Some(tick.millis().max(last.map_or(0, Timestamp::millis)).to_string()) }
}

/// What blocks, such as a disk, runs beside the others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// Publishes what was seen, as the source's rules leave it.
pub(super) async fn publish_sight(
    relay: &Relay,
    source: &Source,
    sight: Sight,
    now: Timestamp,
) -> Result<(), String> {
    let topic = sight.topic.or_else(|| source.topic.as_ref().map(|(_, topic)| topic.clone()));
    let draft = Draft {
        topic: topic.ok_or("it has no topic")?,
        scope: source.scope,
        to: None,
        at: sight.at,
        because: format!("{}/{}", source.key, sight.because),
        part: 0,
        cause: None,
        depth: 0,
        key: source.key.clone(),
        subject: sight.subject,
        fields: sight.fields.0,
    };
    match prepare(relay, source, draft, now).await? {
        Some(draft) => settle(&source.key, relay.publish(draft).await).map(drop),
        None => Ok(()),
    }
}

/// A draft as the source's rules leave it; `None`: they discard it.
async fn prepare(
    relay: &Relay,
    source: &Source,
    draft: Draft,
    now: Timestamp,
) -> Result<Option<Draft>, String> {
    if source.rules.is_empty() {
        return Ok(Some(draft));
    }
    let sealed = match relay.settings().routes.seal(draft.clone()) {
        Ok(sealed) => sealed,
        // Whoever takes it in says why it cannot be taken.
        Err(_) => return Ok(Some(draft)),
    };
    let effects = run_rules(relay, source, &sealed, now).await?;
    for (level, text) in &effects.lines {
        info!(source = source.key, ?level, text, "a rule says");
    }
    for (rule, value) in &effects.states {
        let record = StateRecord::new(rule, &source.key, value, now);
        relay.dynamo().put(&record).await.map_err(|error| error.to_string())?;
    }
    let Effects { subject, fields, stopped, .. } = effects;
    Ok((!stopped).then_some(Draft { subject, fields, ..draft }))
}

async fn run_rules(
    relay: &Relay,
    source: &Source,
    sealed: &crate::relay::envelope::Sealed,
    now: Timestamp,
) -> Result<Effects, String> {
    let mut states = States::default();
    for _ in 0..STATES_MAX {
        let me = &relay.settings().routes.me;
        match judge(&source.rules, sealed.envelope(), me, now, &states).map_err(|why| why.to_string())? {
            Judged::Done(effects) => return Ok(effects),
            Judged::Needs(names) => {
                load(relay, &mut states, names.iter(), &source.key)
                    .await
                    .map_err(|error| error.to_string())?;
            }
        }
    }
    Err("its rules ask for more and more states".to_owned())
}

async fn load(
    relay: &Relay,
    states: &mut States,
    names: impl Iterator<Item = &String>,
    key: &str,
) -> Result<(), Error> {
    for name in names {
        let record = StateRecord::load(relay.dynamo(), name, key).await?;
        states.put(name, record.map(|record| record.value));
    }
    Ok(())
}

/// What became of a draft. An error: it is worth another try.
fn settle(key: &str, published: Result<Published, Refused>) -> Result<Option<Published>, String> {
    match published {
        Ok(published) => {
            let full: Vec<_> = published.full.iter().map(|out| out.name()).collect();
            if !full.is_empty() {
                warn!(
                    source = key,
                    full = full.join(", "),
                    "these will not get what a source saw: their queues are full"
                );
            }
            Ok(Some(published))
        }
        Err(why @ (Refused::Full(_) | Refused::Contended | Refused::Store(_))) => Err(why.to_string()),
        Err(why) => {
            warn!(source = key, %why, "what a source saw cannot be published");
            Ok(None)
        }
    }
}

/// The fields of an envelope from pairs.
pub(super) fn fields<const N: usize>(pairs: [(&str, Value); N]) -> BTreeMap<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// How far what a channel says goes: wherever the links lead.
pub(super) const EVERYWHERE: Scope = Scope::Fleet;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_lie_at_the_same_times_for_everybody() {
        let every = Duration::from_secs(60);
        let tick = |seconds, offset| {
            next_tick(Timestamp::from_seconds(seconds), every, Duration::from_secs(offset)).seconds()
        };
        assert_eq!((tick(0, 0), tick(59, 0), tick(60, 0)), (60, 60, 120));
        assert_eq!((tick(0, 7), tick(7, 7), tick(6, 67)), (7, 67, 7));
    }

    #[test]
    fn a_pulse_makes_up_for_what_it_missed() {
        let minute = Duration::from_secs(60);
        let at = |minutes: i64| Timestamp::from_seconds(1_800_000_000 + minutes * 60);
        let ticks = |seen: &Seen| seen.sights.iter().map(|sight| sight.at).collect::<Vec<_>>();
        let first = pulse(at(0), minute, None);
        assert_eq!(ticks(&first), [at(0)]);
        let next = pulse(at(3), minute, first.memory.as_deref());
        assert_eq!(ticks(&next), [at(1), at(2), at(3)]);
        assert_eq!(next.sights[0].fields.0["missed"], Value::Bool(true));
        assert_eq!(next.sights[2].fields.0["missed"], Value::Bool(false));
        assert!(ticks(&pulse(at(3), minute, next.memory.as_deref())).is_empty());
        let late = pulse(at(1_000), minute, next.memory.as_deref());
        assert_eq!((late.sights.len(), ticks(&late)[0]), (MISSED_MAX, at(941)));
    }
}
