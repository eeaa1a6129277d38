//! The relay as a task: the engine between a transport, the clock and whoever acts on envelopes.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::dynamo::Error;
use crate::relay::engine::Engine;
use crate::relay::here::Work;
use crate::relay::publish::Draft;
use crate::relay::store::Store;
use crate::relay::transport::{Arrival, Lines};

/// After a failure of the store: it needs rest more than we need haste.
const REST: Duration = Duration::from_secs(1);

/// How long the goodbye may take: the others notice without it, 90 seconds later.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// Acts on envelopes: what it publishes in answer, or why it failed.
pub trait Act: Send + 'static {
    fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Vec<Draft>, Failure>>;
}

/// Why an envelope could not be acted upon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work in a while.
    Again(String),
    /// It will never work: a dead letter at once.
    Never(String),
}

/// What is being acted upon.
type Acting = BoxFuture<'static, (Work, Result<Vec<Draft>, Failure>)>;

/// Runs until shutdown. `changed`: somebody published in this process.
pub async fn run<S: Store>(
    mut engine: Engine<S>,
    clock: Clock,
    mut actor: impl Act,
    mut lines: Lines,
    changed: Arc<Notify>,
    shutdown: CancellationToken,
) {
    let mut acting: Option<Acting> = None;
    while !shutdown.is_cancelled() {
        let mut wake = match turn(&mut engine, &clock, &mut actor, &mut acting).await {
            Ok(at) => at.since(clock.now()),
            Err(error) => {
                warn!(%error, "the relay's store did not answer");
                REST
            }
        };
        // A millisecond at least: a deadline that has just passed must not become a busy loop.
        wake = wake.max(Duration::from_millis(1));
        for frame in engine.outgoing() {
            let sending = lines.outgoing.send(frame);
            if !matches!(shutdown.run_until_cancelled(sending).await, Some(Ok(()))) {
                break;
            }
        }
        let acted = async {
            match &mut acting {
                Some(work) => work.await,
                None => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(arrival) = lines.incoming.recv() => hear(&mut engine, &clock, &mut lines, arrival).await,
            (work, answers) = acted => {
                acting = None;
                finish(&mut engine, clock.now(), &work, answers).await
            }
            () = changed.notified() => { engine.look(); Ok(()) }
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
    };
    let _ = tokio::time::timeout(GOODBYE_MAX, goodbye).await;
}

/// Does what is due, and begins to act on what is next.
async fn turn<S: Store>(
    engine: &mut Engine<S>,
    clock: &Clock,
    actor: &mut impl Act,
    acting: &mut Option<Acting>,
) -> Result<Timestamp, Error> {
    let now = clock.now();
    engine.tick(now).await?;
    let mut wake_at = engine.wake_at(now);
    if acting.is_none() {
        match engine.work(now).await? {
            Some(work) => {
                let answers = actor.act(&work);
                *acting = Some(answers.map(|answers| (work, answers)).boxed());
            }
            None => wake_at = engine.work_at().map_or(wake_at, |at| at.min(wake_at)),
        }
    }
    Ok(wake_at)
}

/// Hears all that has arrived, as far as it goes without waiting: their acknowledgements go together.
async fn hear<S: Store>(
    engine: &mut Engine<S>,
    clock: &Clock,
    lines: &mut Lines,
    first: Arrival,
) -> Result<(), Error> {
    let mut next = Some(first);
    while let Some(arrival) = next {
        match arrival {
            Arrival::Frame { from, frame } => engine.hear(clock.now(), &from, frame).await?,
            Arrival::Connected => info!("the relay is connected"),
            Arrival::Lost(why) => warn!(why, "the relay lost its connection"),
            Arrival::Undeliverable(peer) => engine.undeliverable(&peer),
        }
        next = lines.incoming.try_recv().ok();
    }
    Ok(())
}

async fn finish<S: Store>(
    engine: &mut Engine<S>,
    now: Timestamp,
    work: &Work,
    answers: Result<Vec<Draft>, Failure>,
) -> Result<(), Error> {
    match answers {
        Ok(answers) => engine.done(now, work, &answers).await.map(|_| ()),
        Err(Failure::Again(why)) => engine.failed(now, work, &why).await,
        Err(Failure::Never(why)) => engine.give_up(now, work, &why).await,
    }
}
