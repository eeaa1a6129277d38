//! `permit` and `checkout`: at most so many holders at a time, and elements of a pool that come back.
//!
//! One record has all holders, by name. A holder that is silent for longer than its lease is taken over by the
//! next who asks. In a process one task has all leases of a permit or pool: it renews them together, and of
//! those who wait only the first one talks to the store.

use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::dynamo::Tried;
use crate::shared::deal::{ELEMENT_MAX, Loaded};
use crate::shared::hub::{Hub, Settled, Watcher};
use crate::shared::items::{self, Hold, Holders, Place, Values};
use crate::shared::lease::{LeaseError, LeaseOptions, Validity, valid_until};
use crate::shared::{Result, SharedData, SharedError, Who, stored, typed};

/// Elements of one pool: all of them are in one record.
pub const POOL_MAX: usize = 256;

/// Holders of one permit: all of them are in one record.
pub const PERMITS_MAX: usize = 256;

/// Renewals in one update: DynamoDB takes some 300 operators in one expression.
const RENEWED_TOGETHER: usize = 50;

/// The right to be one of several. Dropped, it is given back in the background.
pub struct Permit {
    validity: Arc<Validity>,
    end: Option<oneshot::Sender<oneshot::Sender<bool>>>,
}

/// An element of a pool, for its holder alone. Dropped, it is given back in the background.
pub struct CheckedOut<T> {
    permit: Permit,
    value: T,
    of: PhantomData<T>,
}

impl Permit {
    /// Whether others still wait for it to end. Once false, false for ever.
    pub fn is_valid(&self) -> bool {
        self.validity.holds()
    }

    pub fn valid_until(&self) -> Instant {
        self.validity.end()
    }

    /// Resolves when the lease is lost.
    pub async fn lost(&self) {
        self.validity.lost().await;
    }

    /// Gives it back and waits for the answer. `false`: it was lost, or ends by itself.
    pub async fn release(mut self) -> bool {
        let (reply, answer) = oneshot::channel();
        match self.end.take().map(|end| end.send(reply)) {
            Some(Ok(())) => answer.await.unwrap_or(false),
            _ => false,
        }
    }
}

impl<T> CheckedOut<T> {
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Whether it is still ours alone. Once false, false for ever.
    pub fn is_valid(&self) -> bool {
        self.permit.is_valid()
    }

    pub fn valid_until(&self) -> Instant {
        self.permit.valid_until()
    }

    pub async fn lost(&self) {
        self.permit.lost().await;
    }

    /// Gives it back and waits for the answer. `false`: it was lost, or comes back by itself.
    pub async fn give_back(self) -> bool {
        self.permit.release().await
    }
}

pub struct HoldJob {
    kind: Hold,
    who: String,
    options: LeaseOptions,
    give_up: Instant,
    reply: oneshot::Sender<Result<(Permit, Option<u64>), LeaseError>>,
}

impl SharedData {
    /// Waits to be one of at most `max`.
    pub async fn permit(
        &self,
        name: &str,
        max: usize,
        who: &Who,
        options: LeaseOptions,
    ) -> Result<Permit, LeaseError> {
        let work = async {
            if max > PERMITS_MAX {
                return Err(SharedError::TooLarge { limit: PERMITS_MAX }.into());
            }
            let place = self.place("permit/", name)?;
            self.hold(place, Hold::Permit { max: max as u64 }, who, options).await.map(|(permit, _)| permit)
        };
        self.hub.booked("permit", work).await
    }

    /// Loads a pool, once.
    pub async fn pool_load<T: Serialize>(&self, pool: &str, elements: &[T]) -> Result<Loaded> {
        let place = self.place("pool/", pool)?;
        if elements.len() > POOL_MAX {
            return Err(SharedError::TooLarge { limit: POOL_MAX });
        }
        let values =
            elements.iter().map(|element| stored(element, ELEMENT_MAX)).collect::<Result<Vec<_>>>()?;
        let digest = crate::shared::deal::digest(&values);
        let expires_at = place.expires_at(self.hub.now());
        let free = (0..values.len() as u64).collect();
        let values_at = values_place(&place, &digest);
        self.hub.dynamo.put_if_absent(&Values { values, ..Values::at(&values_at, expires_at) }).await?;
        let pool = Holders {
            free,
            holders: Some(BTreeMap::new()),
            until: Some(BTreeMap::new()),
            digest: Some(digest.clone()),
            ..Holders::at(&place, expires_at)
        };
        if self.hub.dynamo.put_if_absent(&pool).await? {
            return Ok(Loaded::Now);
        }
        match self.hub.look::<Holders>(&place).await? {
            Some(there) if there.digest.as_ref() == Some(&digest) => Ok(Loaded::Already),
            _ => Err(SharedError::AlreadyLoaded),
        }
    }

    /// Waits for an element of a pool, to be given back.
    pub async fn checkout<T: DeserializeOwned>(
        &self,
        pool: &str,
        who: &Who,
        options: LeaseOptions,
    ) -> Result<CheckedOut<T>, LeaseError> {
        let work = async {
            let place = self.place("pool/", pool)?;
            let loaded: Option<Holders> = self.hub.look_cheaply(&place).await?;
            let digest = loaded.and_then(|pool| pool.digest).ok_or(SharedError::NotLoaded)?;
            let values: Option<Values> = self.hub.look(&values_place(&place, &digest)).await?;
            let values = values.ok_or(SharedError::NotLoaded)?.values;
            let (permit, index) = self.hold(place, Hold::Pool, who, options).await?;
            let value = index.and_then(|index| values.get(index as usize)).ok_or(SharedError::NotLoaded)?;
            Ok(CheckedOut { permit, value: typed(value)?, of: PhantomData })
        };
        self.hub.booked("checkout", work).await
    }

    async fn hold(
        &self,
        place: Place,
        kind: Hold,
        who: &Who,
        options: LeaseOptions,
    ) -> Result<(Permit, Option<u64>), LeaseError> {
        let (who, options) = (who.checked()?.to_owned(), options.checked()?);
        let give_up = Instant::now() + options.wait;
        let (reply, answer) = oneshot::channel();
        if self.hub.holds.push(&place, HoldJob { kind, who, options, give_up, reply })? {
            let (hub, place) = (self.hub.clone(), place.clone());
            self.hub.tasks.spawn_job("shared: hold", async move {
                Keeper::new(hub, place, kind).work().await;
            });
        }
        match timeout_at(give_up, answer).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(LeaseError::Timeout { queue: self.hub.holds.waiting(&place), average_hold: None }),
        }
    }
}

fn values_place(place: &Place, digest: &str) -> Place {
    place.below("pool-values", digest)
}

/// One holder in this process.
struct Holding {
    who: String,
    /// As the store was told last.
    until: i64,
    index: Option<u64>,
    ttl: Duration,
    renew_at: Instant,
    began: Instant,
    max_hold: Duration,
    validity: Arc<Validity>,
}

/// Whose lease its holder has ended, and who wants to know what became of it.
type Ended = (Arc<Validity>, Option<oneshot::Sender<bool>>);

/// All leases of one permit or pool in this process, and all who wait for one.
struct Keeper {
    hub: Arc<Hub>,
    place: Place,
    kind: Hold,
    waiting: VecDeque<HoldJob>,
    held: Vec<Holding>,
    ends: FuturesUnordered<BoxFuture<'static, Ended>>,
    watcher: Option<Watcher<Holders>>,
    /// Whether the record is worth another try.
    promising: bool,
}

impl Keeper {
    fn new(hub: Arc<Hub>, place: Place, kind: Hold) -> Self {
        let (waiting, held, ends) = (VecDeque::new(), Vec::new(), FuturesUnordered::new());
        Self { hub, place, kind, waiting, held, ends, watcher: None, promising: true }
    }

    async fn work(mut self) {
        let arrived = self.hub.holds.arrived(&self.place);
        loop {
            self.waiting.retain(|job| !job.reply.is_closed() && Instant::now() < job.give_up);
            let idle = self.waiting.is_empty() && self.held.is_empty();
            self.waiting.extend(match idle {
                true => self.hub.holds.pull(&self.place, usize::MAX),
                false => self.hub.holds.more(&self.place, usize::MAX),
            });
            if self.waiting.is_empty() && self.held.is_empty() {
                return;
            }
            if self.promising
                && let Some(job) = self.waiting.pop_front()
            {
                self.try_for(job).await;
                continue;
            }
            if self.waiting.is_empty() {
                (self.watcher, self.promising) = (None, true);
            } else if self.watcher.is_none() {
                self.watcher = Some(self.hub.watch(|hub| &hub.holders, &self.place));
            }
            let renew_at = self.held.iter().map(|holding| holding.renew_at).min();
            let renewal = async {
                match renew_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let sight = async {
                match &mut self.watcher {
                    Some(watcher) => watcher.next().await.record,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some((whose, reply)) = self.ends.next() => self.give_back(&whose, reply).await,
                () = renewal => self.renew().await,
                () = arrived.notified() => {}
                seen = sight => {
                    let late = self.hub.late().millis();
                    let kind = self.waiting.front().map_or(self.kind, |job| job.kind);
                    self.promising = seen.is_none_or(|seen| kind.has_room(&seen) || kind.dead(&seen, late).is_some());
                }
            }
        }
    }

    /// Takes a free place, or that of somebody whose lease has ended.
    async fn try_for(&mut self, job: HoldJob) {
        let kind = job.kind;
        let (until, ends) = (self.hub.until(job.options.ttl), valid_until(job.options.ttl));
        let ours = |record: &Holders| kind.until_of(record, &job.who) == Some(until);
        let mut update = kind.take(&self.place, self.hub.now(), &job.who, until);
        let mut over = false;
        for _ in 0..TRIES_MAX {
            let settled = self.hub.settle(&self.place, update.clone(), ours).await;
            let found = match settled {
                Ok(Settled::Done(record)) => {
                    if over {
                        self.hub.book.took_over(kind.name());
                    }
                    return self.grant(job, &record, until, ends);
                }
                Ok(Settled::Refused { found, .. }) => found.unwrap_or_default(),
                Err(error) => return drop(job.reply.send(Err(error.into()))),
            };
            over = false;
            update = if found.holders.is_none() {
                match kind {
                    Hold::Pool => return drop(job.reply.send(Err(SharedError::NotLoaded.into()))),
                    Hold::Permit { .. } => {
                        let init = items::init_permit(&self.place, self.hub.now());
                        if let Err(error) = self.hub.settle(&self.place, init, |_| true).await {
                            return drop(job.reply.send(Err(error.into())));
                        }
                        kind.take(&self.place, self.hub.now(), &job.who, until)
                    }
                }
            } else if let Some(old) = kind.until_of(&found, &job.who) {
                // An earlier life of the same asker: it goes on where that one stopped.
                kind.renew(&[(job.who.clone(), old, until)])
            } else if let Some((dead, ended)) = kind.dead(&found, self.hub.late().millis()) {
                over = true;
                kind.take_over(&self.place, self.hub.now(), &job.who, until, &dead, ended)
            } else if kind.has_room(&found) {
                kind.take(&self.place, self.hub.now(), &job.who, until)
            } else {
                break;
            };
        }
        // Full, or much in demand: the record shows when it is worth another try.
        self.promising = false;
        self.waiting.push_front(job);
    }

    fn grant(&mut self, job: HoldJob, record: &Holders, until: i64, ends: Instant) {
        // What an earlier life of the same asker held is this one's now.
        if let Some(place) = self.held.iter().position(|holding| holding.who == job.who) {
            self.end(place);
        }
        let validity = Validity::until(ends);
        let (end, ended) = oneshot::channel();
        let index = self.kind.index_of(record, &job.who);
        let permit = Permit { validity: validity.clone(), end: Some(end) };
        self.hub.book.holds(self.kind.name());
        // Whoever has gone away drops it.
        drop(job.reply.send(Ok((permit, index))));
        let (whose, now) = (validity.clone(), Instant::now());
        self.ends.push(async move { (whose, ended.await.ok()) }.boxed());
        self.held.push(Holding {
            who: job.who,
            until,
            index,
            ttl: job.options.ttl,
            renew_at: now + job.options.ttl / 3,
            began: now,
            max_hold: job.options.max_hold(),
            validity,
        });
    }

    /// The holder in this place is one no more. Whether it still was until now.
    fn end(&mut self, place: usize) -> (Holding, bool) {
        let holding = self.held.swap_remove(place);
        let sound = holding.validity.holds();
        self.hub.book.held(self.kind.name(), sound);
        holding.validity.lose();
        (holding, sound)
    }

    async fn give_back(&mut self, whose: &Arc<Validity>, reply: Option<oneshot::Sender<bool>>) {
        let found = self.held.iter().position(|holding| Arc::ptr_eq(&holding.validity, whose));
        let Some(place) = found else { return };
        let (Holding { who, until, index, .. }, sound) = self.end(place);
        let update = self.kind.give_back(&self.place, self.hub.now(), &who, until, index);
        let gone = |record: &Holders| self.kind.until_of(record, &who).is_none();
        let freed = self.hub.settle(&self.place, update, gone).await;
        if let Some(reply) = reply {
            let _ = reply.send(sound && matches!(freed, Ok(Settled::Done(_))));
        }
        self.promising = true;
    }

    /// Renews all that are due, together; where that is refused, one by one.
    async fn renew(&mut self) {
        let now = Instant::now();
        for holding in &mut self.held {
            if !holding.validity.holds() || holding.began.elapsed() >= holding.max_hold {
                holding.renew_at = now + NEVER;
            }
        }
        let due: Vec<usize> =
            (0..self.held.len()).filter(|place| self.held[*place].renew_at <= now).collect();
        for together in due.chunks(RENEWED_TOGETHER) {
            if !self.renew_these(together).await && together.len() > 1 {
                for one in together {
                    self.renew_these(&[*one]).await;
                }
            }
        }
        for place in due {
            let holding = &mut self.held[place];
            holding.renew_at = Instant::now() + holding.ttl / 3;
        }
    }

    /// `false`: refused, and not known for which of them.
    async fn renew_these(&mut self, places: &[usize]) -> bool {
        let renewals: Vec<(usize, i64, Instant)> = places
            .iter()
            .map(|place| (*place, self.hub.until(self.held[*place].ttl), valid_until(self.held[*place].ttl)))
            .collect();
        let entries: Vec<_> = renewals
            .iter()
            .map(|(place, until, _)| (self.held[*place].who.clone(), self.held[*place].until, *until))
            .collect();
        let answer = self.hub.dynamo.try_upsert(self.place.key(), self.kind.renew(&entries)).await;
        let record = match answer {
            Ok(Tried::Applied(record)) => record,
            Ok(Tried::Refused { found, .. }) => found.unwrap_or_default(),
            // The next renewal may come through in time.
            Err(_) => return true,
        };
        let mut all = true;
        for (place, until, ends) in renewals {
            let holding = &mut self.held[place];
            match self.kind.until_of(&record, &holding.who) {
                Some(there) if there == until => {
                    holding.until = until;
                    holding.validity.extend(ends);
                }
                Some(there) if there == holding.until => all = false,
                _ => holding.validity.lose(),
            }
        }
        all
    }
}

/// Longer than any process runs.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// How often one round tries, as long as the record says that it is worth it.
const TRIES_MAX: usize = 8;
