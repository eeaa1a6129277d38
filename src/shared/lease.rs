//! [`Lease`]: one holder at a time, and a token that tells the newer from the older.
//!
//! A lock's record is never deleted, so its fence only grows. A lease is renewed every third of its length by a
//! task of the hub's. Whether it is still valid is judged by the monotonic clock of this process: from before
//! the request was sent, a tenth less than the store was told. What must not be written by a former holder is
//! written through the lease, or in a transaction that it guards.
//!
//! In a process all who want one lock queue up in one lane, first in, first out; only its task talks to the
//! store. After a clean end the lease goes to the next of them without a request.

use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::dynamo::{Transaction, Tried};
use crate::shared::hub::{Hub, Settled, Sight, Watcher, locked};
use crate::shared::items::{self, Cell, Claim, Lock, Place, Rule};
use crate::shared::{Result, SharedData, SharedError, VALUE_MAX, Version, stored};

/// Shorter ones cost more in renewals than they save in waiting.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// Longer ones keep a dead holder's lock for too long.
pub const TTL_MAX: Duration = Duration::from_secs(300);

/// Who waits longer should do something else meanwhile.
pub const WAIT_MAX: Duration = Duration::from_secs(600);

/// How often a lease is handed on in a process before other processes get a turn.
const HANDED_ON_MAX: u64 = 50;

/// Tokens of one fence: one for each holder that it was handed on to. More than [`HANDED_ON_MAX`].
const TOKENS: u64 = 1_000;

/// A warning about one key is given once in this time.
const WARN_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
pub struct LeaseOptions {
    /// How long a holder may be silent before others may take over; at least a second.
    pub ttl: Duration,
    /// How long to wait for it.
    pub wait: Duration,
    /// It is not renewed for longer than this, so that a body that hangs does not hold for ever; ten times the
    /// ttl if not given.
    pub max_hold: Option<Duration>,
    /// Whether the clock may tell that another holder's lease has ended. If not, it is watched for its whole
    /// length first.
    pub trust_clocks: bool,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        let (ttl, wait) = (Duration::from_secs(10), Duration::from_secs(30));
        Self { ttl, wait, max_hold: None, trust_clocks: true }
    }
}

impl LeaseOptions {
    pub(super) fn checked(self) -> Result<Self> {
        let limit = |limit: Duration| SharedError::TooLarge { limit: limit.as_secs() as usize };
        if self.ttl > TTL_MAX {
            return Err(limit(TTL_MAX));
        }
        if self.wait > WAIT_MAX {
            return Err(limit(WAIT_MAX));
        }
        Ok(Self { ttl: self.ttl.max(TTL_MIN), ..self })
    }

    pub(super) fn max_hold(&self) -> Duration {
        self.max_hold.unwrap_or(self.ttl * 10)
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum LeaseError {
    /// Somebody else had it for all the time.
    #[error("not free in time; {queue} wait here, and it is held {average_hold:?} on average")]
    Timeout { queue: usize, average_hold: Option<Duration> },
    /// It ended before the work did.
    #[error("the lease was lost")]
    Lost,
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// What became of a lease that was released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The next who waits in this process has it.
    HandedOn,
    Freed,
    /// It had ended before.
    Lost,
    /// It ends by itself, if the release has not arrived.
    Unconfirmed,
}

/// The outcome of a fenced write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Fenced {
    Done(Version),
    /// A newer holder has been here, or the lease is lost.
    Refused,
}

/// How long this process may believe in a lease.
pub(super) struct Validity {
    until: Mutex<Instant>,
    lost: CancellationToken,
    /// A write under the lease has no clear answer, so the next holder needs a new fence.
    in_doubt: AtomicBool,
}

impl Validity {
    pub(super) fn until(until: Instant) -> Arc<Self> {
        let (lost, in_doubt) = (CancellationToken::new(), AtomicBool::new(false));
        Arc::new(Self { until: Mutex::new(until), lost, in_doubt })
    }

    pub(super) fn holds(&self) -> bool {
        let ended = Instant::now() >= *locked(&self.until) && !Rule::LostInTime.is_broken();
        if ended {
            self.lost.cancel();
        }
        !self.lost.is_cancelled()
    }

    /// A renewal was answered. One that was lost before stays lost.
    pub(super) fn extend(&self, until: Instant) {
        if self.holds() {
            *locked(&self.until) = until;
        }
    }

    pub(super) fn lose(&self) {
        self.lost.cancel();
    }

    pub(super) fn end(&self) -> Instant {
        *locked(&self.until)
    }

    pub(super) async fn lost(&self) {
        if Rule::LostInTime.is_broken() {
            return self.lost.cancelled().await;
        }
        while self.holds() {
            let until = self.end();
            let _ = self.lost.run_until_cancelled(sleep_until(until)).await;
        }
    }
}

/// When a lease that begins now is lost: a tenth earlier than the store is told, and counted from before the
/// request was sent.
pub(super) fn valid_until(ttl: Duration) -> Instant {
    Instant::now() + ttl - ttl / 10
}

/// A lease that cannot be released: what `with_lock` gives its body.
#[derive(Clone)]
pub struct Held {
    hub: Arc<Hub>,
    space: SharedData,
    place: Place,
    owner: Arc<str>,
    fence: u64,
    token: u64,
    validity: Arc<Validity>,
}

/// The right to be the only one. Dropped, it is released in the background.
pub struct Lease {
    held: Held,
    end: Option<oneshot::Sender<oneshot::Sender<Released>>>,
}

impl Deref for Lease {
    type Target = Held;

    fn deref(&self) -> &Held {
        &self.held
    }
}

impl Held {
    /// Grows with every holder and never repeats.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Whether others still wait for this lease to end. Once false, false for ever.
    pub fn is_valid(&self) -> bool {
        self.validity.holds()
    }

    /// Until when it is valid without another renewal.
    pub fn valid_until(&self) -> Instant {
        self.validity.end()
    }

    /// Resolves when the lease is lost.
    pub async fn lost(&self) {
        self.validity.lost().await;
    }

    /// Writes a value that only holders of this lock may write: refused when a newer one has.
    pub async fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<Fenced> {
        let (place, value, nonce) = (self.space.cell(key)?, stored(value, VALUE_MAX)?, self.hub.nonce());
        let update = items::fenced(&place, self.hub.now(), value, &nonce, self.token);
        self.write_fenced(&place, update, |cell| cell.writer.as_ref() == Some(&nonce)).await
    }

    /// Raises the fence of a key before reading it: from then on no older holder can write it.
    pub async fn claim(&self, key: &str) -> Result<Fenced> {
        let place = self.space.cell(key)?;
        let update = items::raise_fence(&place, self.hub.now(), self.token);
        self.write_fenced(&place, update, |cell| cell.lease_token == Some(self.token)).await
    }

    async fn write_fenced(
        &self,
        place: &Place,
        update: crate::dynamo::Update<Cell>,
        ours: impl Fn(&Cell) -> bool,
    ) -> Result<Fenced> {
        if !self.is_valid() {
            return Ok(Fenced::Refused);
        }
        let settled = self.hub.settle(place, update, ours).await;
        let in_doubt = match &settled {
            Ok(Settled::Refused { doubtful, .. }) => *doubtful,
            Ok(Settled::Done(_)) => false,
            Err(_) => true,
        };
        self.validity.in_doubt.fetch_or(in_doubt, Ordering::SeqCst);
        match settled? {
            Settled::Done(cell) => {
                self.hub.wrote(place, &cell);
                Ok(Fenced::Done(Version(cell.version)))
            }
            Settled::Refused { doubtful: true, .. } => Err(SharedError::Unknown),
            Settled::Refused { .. } => Ok(Fenced::Refused),
        }
    }

    /// The transaction, to be committed only while this lease is held.
    pub fn guard(&self, transaction: Transaction) -> Transaction {
        if Rule::GuardHolds.is_broken() {
            return transaction;
        }
        transaction.check::<Lock>(self.place.key(), items::held(&self.owner, self.fence))
    }
}

impl Lease {
    /// Ends it and waits for the answer.
    pub async fn release(mut self) -> Released {
        let (reply, answer) = oneshot::channel();
        match self.end.take().map(|end| end.send(reply)) {
            Some(Ok(())) => answer.await.unwrap_or(Released::Unconfirmed),
            // Nobody keeps it any more.
            _ => Released::Lost,
        }
    }
}

pub struct LockJob {
    shared: SharedData,
    options: LeaseOptions,
    give_up: Instant,
    /// Whether to answer at once if it is taken.
    at_once: bool,
    reply: oneshot::Sender<Result<Lease, LeaseError>>,
}

/// How long a lock is held, for those who wait for it.
#[derive(Clone, Copy, Default)]
pub struct Pace {
    holds: u32,
    held: Duration,
    warned: Option<Instant>,
}

impl Pace {
    fn average(&self) -> Option<Duration> {
        (self.holds > 0).then(|| self.held / self.holds)
    }
}

impl SharedData {
    /// Waits for a lock and holds it until the lease is released, dropped or lost. First ask whether `deal`,
    /// `update` or `permit` would do: a lock's throughput is one by the time it is held.
    pub async fn lock(&self, key: &str, options: LeaseOptions) -> Result<Lease, LeaseError> {
        let (place, options) = (self.place("lock/", key)?, options.checked()?);
        let give_up = Instant::now() + options.wait;
        let answer = self.queue_for(&place, options, give_up, false)?;
        match timeout_at(give_up, answer).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(self.hub.no_lock(&place)),
        }
    }

    fn queue_for(
        &self,
        place: &Place,
        options: LeaseOptions,
        give_up: Instant,
        at_once: bool,
    ) -> Result<oneshot::Receiver<Result<Lease, LeaseError>>> {
        let (reply, answer) = oneshot::channel();
        let job = LockJob { shared: self.clone(), options, give_up, at_once, reply };
        if self.hub.locks.push(place, job)? {
            let (hub, place) = (self.hub.clone(), place.clone());
            self.hub.tasks.spawn_job("shared: lock", async move { hub.work_on_lock(&place).await });
        }
        Ok(answer)
    }

    /// The lock at this place if it is free now.
    pub(super) async fn try_lock(
        &self,
        place: &Place,
        options: LeaseOptions,
    ) -> Result<Option<Lease>, LeaseError> {
        if self.hub.locks.is_busy(place) {
            return Ok(None);
        }
        let give_up = Instant::now() + WAIT_MAX;
        match self.queue_for(place, options, give_up, true)?.await {
            Ok(Ok(lease)) => Ok(Some(lease)),
            Ok(Err(LeaseError::Timeout { .. })) | Err(_) => Ok(None),
            Ok(Err(error)) => Err(error),
        }
    }

    /// Runs something under a lock. If the lease is lost before it ends, its result is not to be trusted.
    pub async fn with_lock<R, F, Fut>(
        &self,
        key: &str,
        options: LeaseOptions,
        body: F,
    ) -> Result<R, LeaseError>
    where
        F: FnOnce(Held) -> Fut,
        Fut: Future<Output = R>,
    {
        let lease = self.lock(key, options).await?;
        let result = body(lease.held.clone()).await;
        match lease.release().await {
            Released::Lost => Err(LeaseError::Lost),
            _ => Ok(result),
        }
    }
}

/// A lock that this process has.
struct Holding {
    owner: Arc<str>,
    fence: u64,
    /// When others may believe that it has ended, as the store was told.
    ends: Instant,
    handed_on: u64,
}

impl Hub {
    fn no_lock(&self, place: &Place) -> LeaseError {
        let average_hold = locked(&self.paces).get(place).and_then(Pace::average);
        LeaseError::Timeout { queue: self.locks.waiting(place), average_hold }
    }

    async fn work_on_lock(self: Arc<Self>, place: &Place) {
        let mut holding: Option<Holding> = None;
        loop {
            // Freed before the lane is closed: whoever comes next finds it free.
            if self.locks.waiting(place) == 0
                && let Some(holding) = holding.take()
            {
                self.free(place, &holding).await;
            }
            let Some(job) = self.locks.pull(place, 1).pop() else {
                locked(&self.paces).remove(place);
                return;
            };
            if job.reply.is_closed() {
                continue;
            }
            if holding.is_none() {
                holding = match self.acquire(place, &job).await {
                    Ok(Some(holding)) => Some(holding),
                    Ok(None) => {
                        let _ = job.reply.send(Err(self.no_lock(place)));
                        continue;
                    }
                    Err(error) => {
                        let _ = job.reply.send(Err(error.into()));
                        continue;
                    }
                };
            }
            if let Some(held) = holding.take() {
                holding = self.serve(place, job, held).await;
            }
        }
    }

    /// Waits until the lock is free or its holder's lease has ended; `None`: not in time.
    async fn acquire(self: &Arc<Self>, place: &Place, job: &LockJob) -> Result<Option<Holding>> {
        let (mut sight, mut watcher) = (Sight::default(), None);
        let mut seen: Option<Lock> = self.dynamo.get_eventually(place.key()).await?;
        loop {
            let taken = seen.as_ref().filter(|lock| lock.owner.is_some());
            sight.note(taken.map(|lock| (lock.fence, lock.until.unwrap_or(0))));
            let ended = taken.and_then(|lock| self.watched_to_its_end(&sight, lock));
            let by_clock =
                |lock: &Lock| job.options.trust_clocks && lock.until.unwrap_or(0) < self.late().millis();
            if ended.is_some() || taken.is_none_or(by_clock) {
                match self.try_acquire(place, &job.options, ended).await? {
                    Ok(holding) => return Ok(Some(holding)),
                    Err(found) => {
                        seen = found;
                        let pair = seen.as_ref().map(|lock| (lock.fence, lock.until.unwrap_or(0)));
                        sight.note(pair);
                    }
                }
            }
            if job.at_once || job.reply.is_closed() {
                return Ok(None);
            }
            let watcher: &mut Watcher<Lock> =
                watcher.get_or_insert_with(|| self.watch(|hub| &hub.lock_records, place));
            match timeout_at(job.give_up, watcher.next()).await {
                Ok(sighting) => seen = sighting.record.as_deref().cloned(),
                Err(_) => return Ok(None),
            }
        }
    }

    fn watched_to_its_end(&self, sight: &Sight, lock: &Lock) -> Option<(u64, i64)> {
        let length = lock.lease_ms.unwrap_or(0);
        sight.ended(if Rule::WatchedForAll.is_broken() { length / 10 } else { length })
    }

    async fn try_acquire(
        &self,
        place: &Place,
        options: &LeaseOptions,
        ended: Option<(u64, i64)>,
    ) -> Result<Result<Holding, Option<Lock>>> {
        let owner: Arc<str> = self.nonce().into();
        let lease_ms = options.ttl.as_millis() as u64;
        let late = options.trust_clocks.then(|| self.late());
        let (ends, until) = (valid_until(options.ttl), self.until(options.ttl));
        let claim = Claim { owner: owner.to_string(), until, lease_ms, ended, late };
        let ours = |lock: &Lock| lock.owner.as_deref() == Some(&*owner);
        match self.settle(place, items::acquire(place, self.now(), &claim), ours).await? {
            Settled::Done(lock) => Ok(Ok(Holding { owner, fence: lock.fence, ends, handed_on: 0 })),
            Settled::Refused { found, .. } => Ok(Err(found)),
        }
    }

    /// Gives the lease to a caller, renews it until that ends, and gives it back if it can be handed on.
    async fn serve(self: &Arc<Self>, place: &Place, job: LockJob, held: Holding) -> Option<Holding> {
        let (validity, began, options) = (Validity::until(held.ends), Instant::now(), job.options);
        let (end, mut ended) = oneshot::channel();
        let lease = Held {
            hub: self.clone(),
            space: job.shared,
            place: place.clone(),
            owner: held.owner.clone(),
            fence: held.fence,
            token: held.fence * TOKENS + held.handed_on,
            validity: validity.clone(),
        };
        // A caller that has gone away drops it.
        drop(job.reply.send(Ok(Lease { held: lease, end: Some(end) })));
        let mut renew_at = began + options.ttl / 3;
        let reply = loop {
            tokio::select! {
                biased;
                end = &mut ended => break end.ok(),
                // Whoever still holds it is told so; the others do not wait for that.
                () = validity.lost() => break None,
                () = sleep_until(renew_at) => {}
            }
            if validity.holds() && began.elapsed() < options.max_hold() {
                self.renew_lock(place, &held, &options, &validity).await;
            }
            renew_at = Instant::now() + options.ttl / 3;
        };
        self.note_hold(place, began.elapsed(), &options);
        let held = Holding { ends: validity.end(), ..held };
        self.after(place, held, &validity, reply).await
    }

    async fn after(
        &self,
        place: &Place,
        held: Holding,
        validity: &Validity,
        reply: Option<oneshot::Sender<Released>>,
    ) -> Option<Holding> {
        let sound = validity.holds();
        if !sound {
            warn!(key = place.name, "a lease was lost while it was held");
        }
        validity.lose();
        let clean = reply.is_some() && sound && !validity.in_doubt.load(Ordering::SeqCst);
        let (released, next) = if clean && self.locks.waiting(place) > 0 && held.handed_on < HANDED_ON_MAX {
            (Released::HandedOn, Some(Holding { handed_on: held.handed_on + 1, ..held }))
        } else {
            let freed = self.free(place, &held).await;
            (if sound { freed } else { Released::Lost }, None)
        };
        if let Some(reply) = reply {
            let _ = reply.send(released);
        }
        next
    }

    async fn renew_lock(&self, place: &Place, held: &Holding, options: &LeaseOptions, validity: &Validity) {
        let (ends, until) = (valid_until(options.ttl), self.until(options.ttl));
        let update = items::renew(&held.owner, held.fence, until);
        match self.dynamo.try_upsert(place.key(), update).await {
            Ok(Tried::Applied(_)) => validity.extend(ends),
            Ok(Tried::Refused { found: Some(lock), .. })
                if lock.owner.as_deref() == Some(&*held.owner) && lock.fence == held.fence =>
            {
                // An earlier attempt has renewed it.
                if lock.until == Some(until) {
                    validity.extend(ends);
                }
            }
            Ok(Tried::Refused { .. }) => validity.lose(),
            // The next renewal may come through in time.
            Err(error) => warn!(key = place.name, error = &error as &dyn std::error::Error, "not renewed"),
        }
    }

    async fn free(&self, place: &Place, held: &Holding) -> Released {
        let update = items::release(&held.owner, held.fence);
        match self.settle(place, update, |_| false).await {
            Ok(Settled::Done(_) | Settled::Refused { doubtful: true, .. }) => Released::Freed,
            Ok(Settled::Refused { .. }) => Released::Lost,
            Err(_) => Released::Unconfirmed,
        }
    }

    /// Notes how long it was held, and says so when that is what the others wait for.
    fn note_hold(&self, place: &Place, held: Duration, options: &LeaseOptions) {
        let queue = self.locks.waiting(place);
        let mut paces = locked(&self.paces);
        let pace = paces.entry(place.clone()).or_default();
        (pace.holds, pace.held) = (pace.holds + 1, pace.held + held);
        let average = pace.average().unwrap_or_default();
        let expected = average.saturating_mul(u32::try_from(queue).unwrap_or(u32::MAX));
        let told = pace.warned.is_some_and(|at| at.elapsed() < WARN_EVERY);
        if !told && (held > options.ttl / 5 && queue > 0 || expected > options.wait) {
            pace.warned = Some(Instant::now());
            let (held_ms, seconds) = (held.as_millis() as u64, expected.as_secs());
            warn!(
                key = place.name,
                held_ms, queue, "a lock is held for long; at this rate the last waits {seconds} s"
            );
        }
    }
}
