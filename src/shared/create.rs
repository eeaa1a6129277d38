//! `get_or_create`: of all who find nothing, one makes the value, and all get it.
//!
//! Whoever claims a cell gets a lease on making it, with a fence. A creator that stalls is taken over when its
//! lease has ended; its publication is refused then, and it gets what the other one has published. So there is
//! one value, while the creator's effects elsewhere may happen more than once.
//!
//! In a process all who ask for one key queue up in one lane: its task looks, claims for the first of them,
//! renews, and answers all.

use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::shared::hub::{Hub, Settled, Sight, Watcher, locked};
use crate::shared::items::{self, CREATING, Cell, Claim, FAILED, Place};
use crate::shared::{Result, SharedData, SharedError, VALUE_MAX, stored, typed};

/// After a creator's failure nobody tries again for this long, twice as long each time, up to the last.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Of an error's text, what is kept for the others.
const ERROR_MAX: usize = 1_024;

/// Jobs that a lane's task takes in at a time; the rest follows in the next round.
const JOBS_MAX: usize = 10_000;

/// Renewals end after this many times the lease, so that a creator that hangs does not hold for ever.
const RENEWED_FOR: u32 = 10;

#[derive(Clone, Copy, Debug)]
pub struct CreateOptions {
    /// How long a creator may be silent before another one takes over.
    pub ttl: Duration,
    /// How long the caller waits for the value.
    pub within: Duration,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(10), within: Duration::from_secs(30) }
    }
}

/// A value that is there now, and whether this call made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created<T> {
    pub value: T,
    pub created_by_me: bool,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum CreateError {
    /// The creator, here or elsewhere, could not do it.
    #[error("it could not be created: {0}")]
    Failed(String),
    #[error("it was not created in time")]
    Timeout,
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// What a creator is told.
#[derive(Clone)]
pub struct CreateContext {
    /// The same in every attempt at this key: with it a creator can mark what it makes elsewhere, and find what
    /// an earlier attempt made.
    pub idempotency_key: String,
    /// Grows with every attempt. Above 1, somebody may have begun before.
    pub attempt: u64,
    on_lost: Arc<Mutex<Option<BoxFuture<'static, ()>>>>,
}

impl CreateContext {
    /// What to do if another one's value has won, such as deleting what was made for nothing.
    pub fn on_lost(&self, undo: impl Future<Output = ()> + Send + 'static) {
        *locked(&self.on_lost) = Some(Box::pin(undo));
    }
}

/// What `begin_create` found.
pub enum Begun<T> {
    Ready(T),
    /// The caller is to make it.
    Mine(Creation<T>),
}

/// The right to make a value. Dropped, it goes to the next who waits.
pub struct Creation<T> {
    pub context: CreateContext,
    finish: oneshot::Sender<Finish>,
    of: PhantomData<fn() -> T>,
}

enum Finish {
    Publish(Value, oneshot::Sender<Result<bool>>),
    Fail(String, oneshot::Sender<()>),
}

impl<T: Serialize> Creation<T> {
    /// Makes the value visible. `false`: it was too late, and another value is or will be there.
    pub async fn publish(self, value: &T) -> Result<bool> {
        let (reply, answer) = oneshot::channel();
        let value = stored(value, VALUE_MAX)?;
        // Nobody hears it where the process is ending: then nothing was sent.
        let _ = self.finish.send(Finish::Publish(value, reply));
        answer.await.unwrap_or(Err(SharedError::Unknown))
    }

    /// Tells all who wait that it cannot be made, so that they do not repeat a creator that is broken.
    pub async fn fail(self, error: impl Into<String>) {
        let (reply, answer) = oneshot::channel();
        let mut error = error.into();
        error.truncate(error.floor_char_boundary(ERROR_MAX));
        let _ = self.finish.send(Finish::Fail(error, reply));
        let _ = answer.await;
    }
}

pub struct CreateJob {
    ttl: Duration,
    reply: oneshot::Sender<Result<Start, CreateError>>,
}

enum Start {
    Ready(Value),
    Mine { attempt: u64, finish: oneshot::Sender<Finish> },
}

impl SharedData {
    /// Gives the value of a key; if there is none, one of all who ask makes it. The creator runs in a task of
    /// the hub's and is not cancelled with the caller.
    pub async fn get_or_create<T, F, Fut>(
        &self,
        key: &str,
        options: CreateOptions,
        create: F,
    ) -> Result<Created<T>, CreateError>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: FnOnce(CreateContext) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<T>> + Send,
    {
        let give_up = Instant::now() + options.within;
        let (shared, key, (reply, answer)) = (self.clone(), key.to_owned(), oneshot::channel());
        self.hub.tasks.spawn_job("shared: create", async move {
            let _ = reply.send(shared.create(&key, options, create).await);
        });
        match timeout_at(give_up, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(CreateError::Failed("the creator panicked".to_owned())),
            Err(_) => Err(CreateError::Timeout),
        }
    }

    async fn create<T, F, Fut>(
        &self,
        key: &str,
        options: CreateOptions,
        create: F,
    ) -> Result<Created<T>, CreateError>
    where
        T: Serialize + DeserializeOwned,
        F: FnOnce(CreateContext) -> Fut,
        Fut: Future<Output = anyhow::Result<T>>,
    {
        let creation = match self.begin_create(key, options).await? {
            Begun::Ready(value) => return Ok(Created { value, created_by_me: false }),
            Begun::Mine(creation) => creation,
        };
        let context = creation.context.clone();
        let value = match create(context.clone()).await {
            Ok(value) => value,
            Err(error) => {
                let error = format!("{error:#}");
                creation.fail(error.clone()).await;
                return Err(CreateError::Failed(error));
            }
        };
        let mut creation = creation;
        loop {
            if creation.publish(&value).await? {
                return Ok(Created { value, created_by_me: true });
            }
            // Too late. Whoever took over has published by now, or failed: then this value is as good as any.
            match self.begin_create(key, options).await? {
                Begun::Mine(again) => creation = again,
                Begun::Ready(value) => {
                    let undo = locked(&context.on_lost).take();
                    if let Some(undo) = undo {
                        undo.await;
                    }
                    return Ok(Created { value, created_by_me: false });
                }
            }
        }
    }

    /// The same in two steps, for a caller that makes the value in its own way.
    pub async fn begin_create<T>(&self, key: &str, options: CreateOptions) -> Result<Begun<T>, CreateError>
    where
        T: Serialize + DeserializeOwned,
    {
        let (place, (reply, answer)) = (self.cell(key)?, oneshot::channel());
        let idempotency_key = idempotency_key(&place);
        if self.hub.creations.push(&place, CreateJob { ttl: options.ttl, reply })? {
            let hub = self.hub.clone();
            self.hub.tasks.spawn_job("shared: creation", async move { hub.work_on_creation(&place).await });
        }
        let answer = timeout_at(Instant::now() + options.within, answer).await;
        match answer.map_err(|_| CreateError::Timeout)? {
            Ok(Ok(Start::Ready(value))) => Ok(Begun::Ready(typed(&value)?)),
            Ok(Ok(Start::Mine { attempt, finish })) => {
                let context = CreateContext { idempotency_key, attempt, on_lost: Arc::default() };
                Ok(Begun::Mine(Creation { context, finish, of: PhantomData }))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CreateError::Timeout),
        }
    }
}

/// The same for all who make this key; short enough for Discord's nonces.
fn idempotency_key(place: &Place) -> String {
    let digest = Sha256::new().chain_update(&place.space).chain_update([0]).chain_update(&place.name);
    digest.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is to be done about a key, as it was seen.
enum Stage {
    Ready(Value),
    Failed(String),
    /// Somebody makes it.
    Taken,
    Free,
}

fn stage(cell: Option<&Cell>, hub: &Hub, sight: &Sight) -> Stage {
    let Some(cell) = cell else { return Stage::Free };
    if let Some(value) = &cell.value {
        return Stage::Ready(value.clone());
    }
    let until = cell.until.unwrap_or(0);
    match cell.state.as_deref() {
        Some(FAILED) if until >= hub.now().millis() => Stage::Failed(cell.error.clone().unwrap_or_default()),
        Some(CREATING) => {
            let ended = until < hub.late().millis() || sight.ended(cell.lease_ms.unwrap_or(0)).is_some();
            if ended { Stage::Free } else { Stage::Taken }
        }
        _ => Stage::Free,
    }
}

impl Hub {
    async fn work_on_creation(self: Arc<Self>, place: &Place) {
        let mut watcher = self.watch(|hub| &hub.cells, place);
        let (mut jobs, mut sight) = (VecDeque::new(), Sight::default());
        let mut seen = self.next_sight(&mut watcher).await;
        loop {
            jobs.retain(|job: &CreateJob| !job.reply.is_closed());
            jobs.extend(match jobs.is_empty() {
                true => self.creations.pull(place, JOBS_MAX),
                false => self.creations.more(place, JOBS_MAX),
            });
            if jobs.is_empty() {
                return;
            }
            let Some(sighting) = &seen else {
                seen = self.next_sight(&mut watcher).await;
                continue;
            };
            let cell = sighting.as_deref();
            let taken = cell.filter(|cell| cell.state.as_deref() == Some(CREATING));
            sight.note(taken.map(|cell| (cell.fence, cell.until.unwrap_or(0))));
            match stage(cell, &self, &sight) {
                Stage::Ready(value) => answer(&mut jobs, |_| Ok(Start::Ready(value.clone()))),
                Stage::Failed(error) => answer(&mut jobs, |_| Err(CreateError::Failed(error.clone()))),
                Stage::Taken => seen = self.next_sight(&mut watcher).await,
                Stage::Free => {
                    let Some(job) = jobs.pop_front() else { continue };
                    let lease_ms = cell.and_then(|cell| cell.lease_ms).unwrap_or(0);
                    seen = Some(self.make(place, job, sight.ended(lease_ms)).await.map(Arc::new));
                }
            }
        }
    }

    /// What is seen next; `None` after a while without a sight.
    async fn next_sight(&self, watcher: &mut Watcher<Cell>) -> Option<Option<Arc<Cell>>> {
        tokio::select! {
            biased;
            seen = watcher.next() => Some(seen.record),
            () = sleep(self.options.poll.1 * 2) => None,
        }
    }

    /// Claims a cell for the caller of this job, and keeps the claim until the value is made. Gives the cell as
    /// it is afterwards.
    async fn make(&self, place: &Place, job: CreateJob, ended: Option<(u64, i64)>) -> Option<Cell> {
        let owner = self.nonce();
        let lease_ms = u64::try_from(job.ttl.as_millis()).unwrap_or(u64::MAX);
        let late = Some(self.late());
        let claim = Claim { owner: owner.clone(), until: self.until(job.ttl), lease_ms, ended, late };
        let update = items::claim_creation(place, self.now(), &claim);
        let ours = |cell: &Cell| cell.owner.as_ref() == Some(&owner);
        let claimed = match self.settle(place, update, ours).await {
            Ok(Settled::Done(cell)) => cell,
            Ok(Settled::Refused { found, .. }) => {
                let guarded =
                    found.as_ref().is_some_and(|cell| cell.lease_token.is_some() && cell.value.is_none());
                match guarded {
                    true => drop(job.reply.send(Err(SharedError::Guarded.into()))),
                    // Answered by what was found, or by a later claim.
                    false => drop(self.creations.push(place, job)),
                }
                return found;
            }
            Err(error) => {
                let _ = job.reply.send(Err(error.into()));
                return self.look(place).await.unwrap_or_default();
            }
        };
        self.cells.publish(place, Some(claimed.clone()));
        let (finish, finished) = oneshot::channel();
        let (fence, ttl) = (claimed.fence, job.ttl);
        // If the caller has gone away, dropping this gives up at once.
        drop(job.reply.send(Ok(Start::Mine { attempt: fence, finish })));
        let finished = self.keep_claim(place, &owner, fence, ttl, finished).await;
        self.end_claim(place, &owner, fence, finished).await
    }

    async fn keep_claim(
        &self,
        place: &Place,
        owner: &str,
        fence: u64,
        ttl: Duration,
        finished: oneshot::Receiver<Finish>,
    ) -> Option<Finish> {
        let (mut finished, began) = (finished, Instant::now());
        let mut renew_at = began + ttl / 3;
        loop {
            tokio::select! {
                biased;
                finish = &mut finished => return finish.ok(),
                () = sleep_until(renew_at) => {}
            }
            renew_at = if began.elapsed() < ttl * RENEWED_FOR {
                let update = items::renew_creation(owner, fence, self.until(ttl));
                // What became of it shows when the value is published.
                let _ = self.dynamo.try_upsert(place.key(), update).await;
                Instant::now() + ttl / 3
            } else {
                Instant::now() + ttl * RENEWED_FOR
            };
        }
    }

    async fn end_claim(
        &self,
        place: &Place,
        owner: &str,
        fence: u64,
        finish: Option<Finish>,
    ) -> Option<Cell> {
        let update = match &finish {
            Some(Finish::Publish(value, _)) => items::publish(place, self.now(), value.clone(), owner, fence),
            Some(Finish::Fail(error, _)) => {
                let pause =
                    FAILURE_PAUSE * 2_u32.saturating_pow(u32::try_from(fence - 1).unwrap_or(u32::MAX).min(5));
                let until = self.now().plus(pause.min(FAILURE_PAUSE_MAX)).millis();
                items::fail_creation(error.clone(), until, owner, fence)
            }
            None => items::give_up_creation(owner, fence),
        };
        let ours = |cell: &Cell| cell.writer.as_deref() == Some(owner);
        let settled = self.settle(place, update, ours).await;
        let cell = match &settled {
            Ok(Settled::Done(cell)) => {
                self.wrote(place, cell);
                Some(cell.clone())
            }
            Ok(Settled::Refused { found, .. }) => found.clone(),
            Err(_) => self.look(place).await.unwrap_or_default(),
        };
        match finish {
            Some(Finish::Publish(_, reply)) => {
                let _ = reply.send(settled.map(|settled| matches!(settled, Settled::Done(_))));
            }
            Some(Finish::Fail(_, reply)) => drop(reply.send(())),
            None => {}
        }
        cell
    }
}

fn answer(jobs: &mut VecDeque<CreateJob>, with: impl Fn(&CreateJob) -> Result<Start, CreateError>) {
    for job in jobs.drain(..) {
        let answer = with(&job);
        // A caller that has gone away needs no answer.
        let _ = job.reply.send(answer);
    }
}
