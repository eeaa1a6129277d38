//! The relay as a task: the engine between a transport, the clock and whoever acts on envelopes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::dynamo::Error;
use crate::relay::counts::What;
use crate::relay::engine::{Engine, TAKEN_TOGETHER};
use crate::relay::envelope::Sealed;
use crate::relay::here::{MEASURED_MAX, Work};
use crate::relay::publish::Draft;
use crate::relay::store::Store;
use crate::relay::transport::{Arrival, Lines};

/// After a failure of the store: it needs rest more than we need haste.
const REST: Duration = Duration::from_secs(1);

/// How old what the metrics show may be.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long the goodbye may take: the others notice without it, 90 seconds later.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Acts on envelopes.
pub trait Act: Send + 'static {
    /// Nothing is done before it is awaited.
    fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Acted, Failure>>;
}

/// What acting on an envelope came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Acted {
    /// What it publishes in answer.
    pub answers: Vec<Draft>,
    /// What its rules remember from now on, for the envelope's key.
    pub states: BTreeMap<String, String>,
    /// Something was done that the store knows nothing of, such as a post.
    pub outside: bool,
}

/// Why an envelope could not be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work in a while.
    Again(String),
    /// It will never work: a dead letter at once.
    Never(String),
}

/// What was acted upon, in order; only the last may have failed.
type Results = Vec<(Work, Result<Acted, Failure>)>;

/// What is being acted upon, and since when.
struct Acting {
    since: Timestamp,
    future: BoxFuture<'static, Results>,
}

/// One after the other. It ends where something failed, because what follows may have to wait for it, and where
/// something was done outside, which is to be written down at once.
async fn act_on(all: Vec<(Work, BoxFuture<'static, Result<Acted, Failure>>)>) -> Results {
    let mut results = Vec::new();
    for (work, acting) in all {
        let result = acting.await;
        let ends = result.as_ref().map_or(true, |acted| acted.outside);
        results.push((work, result));
        if ends {
            break;
        }
    }
    results
}

/// What this process has published since the engine last looked.
#[derive(Default)]
pub struct Fresh {
    there: Notify,
    /// In the queues.
    queued: AtomicBool,
    measured: Mutex<VecDeque<Sealed>>,
}

impl Fresh {
    /// Something is in the queues.
    pub fn queued(&self) {
        self.queued.store(true, Ordering::SeqCst);
        self.there.notify_one();
    }

    /// A measurement for ourselves alone; `false`: too many wait.
    pub fn measured(&self, sealed: Sealed) -> bool {
        let mut measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = measured.len() < MEASURED_MAX;
        if has_room {
            measured.push_back(sealed);
        }
        self.there.notify_one();
        has_room
    }

    fn tell<S: Store>(&self, engine: &mut Engine<S>, now: Timestamp) {
        if self.queued.swap(false, Ordering::SeqCst) {
            engine.look();
        }
        let measured = std::mem::take(&mut *self.measured.lock().unwrap_or_else(PoisonError::into_inner));
        measured.into_iter().for_each(|sealed| engine.measured(now, sealed));
    }
}

/// Runs until shutdown. `fresh`: what is published in this process. `tell`: shown the engine now and then.
pub async fn run<S: Store>(
    mut engine: Engine<S>,
    clock: Clock,
    mut actor: impl Act,
    mut lines: Lines,
    fresh: Arc<Fresh>,
    shutdown: CancellationToken,
    tell: impl Fn(&Engine<S>, Timestamp),
) {
    let mut acting: Option<Acting> = None;
    let mut told_at = Timestamp::from_millis(0);
    while !shutdown.is_cancelled() {
        fresh.tell(&mut engine, clock.now());
        let more = !lines.incoming.is_empty();
        let mut wake = match turn(&mut engine, &clock, &mut actor, &mut acting, more).await {
            Ok(at) => at.since(clock.now()),
            Err(error) => {
                warn!(%error, "the relay's store did not answer");
                REST
            }
        };
        let now = clock.now();
        if now.since(told_at) >= TELL_EVERY {
            tell(&engine, now);
            told_at = now;
        }
        // A millisecond at least: a deadline that has just passed must not become a busy loop.
        wake = wake.max(Duration::from_millis(1));
        for frame in engine.outgoing() {
            let sending = lines.outgoing.send(frame);
            if !matches!(shutdown.run_until_cancelled(sending).await, Some(Ok(()))) {
                break;
            }
        }
        if let Err(error) = engine.read_ahead(now).await {
            warn!(%error, "the relay's store did not answer");
        }
        let acted = async {
            match &mut acting {
                Some(work) => (&mut work.future).await,
                None => std::future::pending().await,
            }
        };
        // What is here is acted upon before more is taken: a queue that grows helps nobody.
        let outcome = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            results = acted => {
                let (now, since) = (clock.now(), acting.take().map(|acting| acting.since));
                let took = since.map_or(0, |since| now.since(since).as_millis());
                let took = u64::try_from(took).unwrap_or(u64::MAX);
                engine.counts.add(What::HandleMillis, "here", "", took);
                finish(&mut engine, now, results).await
            }
            Some(arrival) = lines.incoming.recv() => hear(&mut engine, &clock, &mut lines, arrival).await,
            () = fresh.there.notified() => Ok(()),
            () = sleep(wake) => Ok(()),
        };
        if let Err(error) = outcome {
            warn!(%error, "the relay's store did not answer");
        }
    }
    engine.close(clock.now());
    let goodbye = async {
        for frame in engine.outgoing() {
            // A transport that has ended needs no goodbye.
            let _ = lines.outgoing.send(frame).await;
        }
        // What is not written is acted upon again at the next start.
        engine.end_noted(clock.now()).await
    };
    let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
}

/// Does what is due, and begins to act on what is next. `more`: frames have arrived that are taken next.
async fn turn<S: Store>(
    engine: &mut Engine<S>,
    clock: &Clock,
    actor: &mut impl Act,
    acting: &mut Option<Acting>,
    more: bool,
) -> Result<Timestamp, Error> {
    let now = clock.now();
    if !more {
        engine.end_noted(now).await?;
    }
    engine.tick(now).await?;
    let mut wake_at = engine.wake_at(now);
    if acting.is_none() {
        let works = engine.work(now).await?;
        if works.is_empty() {
            wake_at = engine.work_at().map_or(wake_at, |at| at.min(wake_at));
        } else {
            let all = works.into_iter().map(|work| (work.clone(), actor.act(&work))).collect();
            *acting = Some(Acting { since: now, future: act_on(all).boxed() });
        }
    }
    Ok(wake_at)
}

/// Hears what has arrived, as far as it goes without waiting and one transaction holds it: what is taken is
/// acknowledged before more is, so that its sender need not wait.
async fn hear<S: Store>(
    engine: &mut Engine<S>,
    clock: &Clock,
    lines: &mut Lines,
    first: Arrival,
) -> Result<(), Error> {
    let (mut next, mut frames) = (Some(first), Vec::new());
    while let Some(arrival) = next {
        match arrival {
            Arrival::Frame { from, frame } => frames.push((from, frame)),
            Arrival::Connected => {
                info!("the relay is connected");
                engine.connected();
            }
            Arrival::Lost(why) => warn!(why, "the relay lost its connection"),
            Arrival::Undeliverable(peer) => engine.undeliverable(&peer),
            Arrival::Unreadable(peer) => engine.unreadable(&peer),
            Arrival::Stranger => engine.stranger(),
        }
        next = if frames.len() < TAKEN_TOGETHER { lines.incoming.try_recv().ok() } else { None };
    }
    engine.hear_all(clock.now(), frames).await?;
    engine.end_noted(clock.now()).await
}

async fn finish<S: Store>(engine: &mut Engine<S>, now: Timestamp, results: Results) -> Result<(), Error> {
    let (mut done, mut failed) = (Vec::new(), None);
    for (work, result) in results {
        match result {
            Ok(acted) => done.push((work, acted)),
            Err(failure) => failed = Some((work, failure)),
        }
    }
    engine.note_done(now, &done).await?;
    match failed {
        None => Ok(()),
        Some((work, Failure::Again(why))) => engine.failed(now, &work, &why).await,
        Some((work, Failure::Never(why))) => engine.give_up(now, &work, &why).await,
    }
}
