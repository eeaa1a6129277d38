//! Cells: one value for each key.
//!
//! `update` and `add` of one key queue up in the hub: one writer applies up to [`COMBINED_MAX`] of them in
//! order and writes once, so that five hundred bots cost a handful of writes instead of thousands of
//! conflicts.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::dynamo::{self, Tried, Update};
use crate::shared::hub::{COMBINED_MAX, Hub, Settled};
use crate::shared::items::{self, Cell, ONCE_MAX, Place, Rule};
use crate::shared::{Result, SharedData, SharedError, VALUE_MAX, Who, stored, typed};

/// How often an update or a take gives way to others before it gives up.
const CONTENDED_MAX: u32 = 20;

/// The number of a write to a cell: every write has a larger one than the write before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// What the caller of `put_if` believes to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Version(Version),
}

/// The outcome of `put_if`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Put<T> {
    Done(Version),
    /// Something else is there, or nothing.
    Refused(Option<(T, Version)>),
}

/// What an update makes of a value, and what it tells its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<T, R> {
    Write(T, R),
    /// Nothing is written.
    Keep(R),
}

/// The outcome of `add_once`, with the sum as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    Counted(i64),
    /// By an earlier call with the same name.
    Already(i64),
}

impl SharedData {
    pub(super) fn cell(&self, key: &str) -> Result<Place> {
        self.place("cell/", key)
    }

    /// Reads a value, or where there is none the configuration's. Another process's write may be a moment old;
    /// an own one is always seen.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let cell = self.hub.glance(&self.cell(key)?).await?;
        match cell.and_then(|cell| cell.value) {
            Some(value) => typed(&value).map(Some),
            None => self.configured(key),
        }
    }

    /// Reads a value as it is, and the number of its last write.
    pub async fn get_versioned<T: DeserializeOwned>(&self, key: &str) -> Result<Option<(T, Version)>> {
        let cell: Option<Cell> = self.hub.look(&self.cell(key)?).await?;
        cell.map_or(Ok(None), |cell| with_version(&cell))
    }

    /// Writes a value, whatever was there. After a lost reply it may land late, over what others wrote since.
    pub async fn put<T: Serialize>(&self, key: &str, value: &T) -> Result<Version> {
        let (place, value, nonce) = (self.cell(key)?, stored(value, VALUE_MAX)?, self.hub.nonce());
        let update = items::put(&place, self.hub.now(), value, &nonce);
        match self.hub.dynamo.try_upsert(place.key(), update).await? {
            Tried::Applied(cell) => Ok(self.hub.written(&place, &cell)),
            Tried::Refused { found: Some(cell), .. } if cell.writer.as_ref() == Some(&nonce) => {
                Ok(self.hub.written(&place, &cell))
            }
            Tried::Refused { doubtful: true, .. } => Err(SharedError::Unknown),
            Tried::Refused { .. } => Err(SharedError::Guarded),
        }
    }

    /// Writes a value, and wakes those who wait for it here at once.
    pub async fn signal<T: Serialize>(&self, key: &str, value: &T) -> Result<Version> {
        self.put(key, value).await
    }

    /// Writes a value if what is there is what the caller believes.
    pub async fn put_if<T>(&self, key: &str, value: &T, expect: Expect) -> Result<Put<T>>
    where
        T: Serialize + DeserializeOwned,
    {
        let (place, value) = (self.cell(key)?, stored(value, VALUE_MAX)?);
        let mut seen = match expect {
            Expect::Absent => 0,
            Expect::Version(Version(version)) => version,
        };
        for round in 0..CONTENDED_MAX {
            let nonce = self.hub.nonce();
            let update = items::put_over(&place, self.hub.now(), value.clone(), &nonce, seen, expect);
            let ours = |cell: &Cell| cell.writer.as_ref() == Some(&nonce);
            let found = match self.hub.settle(&place, update, ours).await? {
                Settled::Done(cell) => {
                    self.hub.wrote(&place, &cell);
                    return Ok(Put::Done(Version(seen + 1)));
                }
                // One write since the one that was seen, and it is not ours: then ours was not written.
                Settled::Refused { found: Some(cell), doubtful: true } if cell.version > seen + 1 => {
                    return Err(SharedError::Unknown);
                }
                Settled::Refused { found, .. } => found.unwrap_or_default(),
            };
            if found.lease_token.is_some() {
                return Err(SharedError::Guarded);
            }
            // A cell that was emptied has a version all the same.
            if expect != Expect::Absent || found.value.is_some() {
                return with_version(&found).map(Put::Refused);
            }
            seen = found.version;
            self.hub.give_way(round).await;
        }
        Err(SharedError::Contended { attempts: CONTENDED_MAX })
    }

    /// Changes a value. The change may run several times, with whatever is there then: it must do nothing
    /// but compute.
    pub async fn update<T, R>(
        &self,
        key: &str,
        change: impl FnMut(Option<T>) -> Change<T, R> + Send + 'static,
    ) -> Result<R>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        R: Send + 'static,
    {
        let (place, (reply, answer)) = (self.cell(key)?, oneshot::channel());
        let job = TypedChange { change, of: std::marker::PhantomData, answer: None, reply };
        self.hub.run_change(place, Box::new(job))?;
        answer.await.expect("the change of this value panicked")
    }

    /// Adds to a number; an absent one counts as 0. After a lost reply it may count twice: where that
    /// matters, use [`SharedData::add_once`] or [`SharedData::update`].
    pub async fn add(&self, key: &str, delta: i64) -> Result<i64> {
        let (place, (reply, answer)) = (self.cell(key)?, oneshot::channel());
        self.hub.run_sum(place, SumJob { delta, reply })?;
        answer.await.expect("every sum is answered")
    }

    /// Adds to a number once for each name, however often it is called.
    pub async fn add_once(&self, key: &str, delta: i64, who: &Who) -> Result<Added> {
        let (place, who) = (self.cell(key)?, who.checked()?);
        let update = items::add_once(&place, self.hub.now(), delta, who);
        let settled = self.hub.settle(&place, update, |_| false).await;
        let settled = match settled {
            Err(error) => return Err(self.hub.or_wrong_type(&place, error).await),
            Ok(settled) => settled,
        };
        match settled {
            Settled::Done(cell) => {
                self.hub.wrote(&place, &cell);
                number(&cell).map(Added::Counted)
            }
            Settled::Refused { found, doubtful } => {
                let found = found.unwrap_or_default();
                match (found.once.contains(who), doubtful) {
                    (true, true) => number(&found).map(Added::Counted),
                    (true, false) => number(&found).map(Added::Already),
                    (false, _) if found.lease_token.is_some() => Err(SharedError::Guarded),
                    (false, _) => Err(SharedError::TooLarge { limit: ONCE_MAX }),
                }
            }
        }
    }

    /// Takes a value out: of all who ask, one gets it.
    pub async fn take<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let (place, nonce) = (self.cell(key)?, self.hub.nonce());
        let mut seen = self.hub.glance(&place).await?;
        for round in 0..CONTENDED_MAX {
            // What may be a moment old cannot say that there is nothing.
            if seen.as_ref().is_none_or(|cell| cell.value.is_none()) {
                seen = self.hub.look(&place).await?;
            }
            let Some(cell) = seen.filter(|cell| cell.value.is_some()) else { return Ok(None) };
            // Read before it is taken: a value of another type stays where it is.
            cell.value.as_ref().map(typed::<T>).transpose()?;
            match self.hub.take(&place, &cell, &nonce).await? {
                Ok(taken) => return typed(&taken).map(Some),
                Err(found) => seen = found,
            }
            self.hub.give_way(round).await;
        }
        Err(SharedError::Contended { attempts: CONTENDED_MAX })
    }
}

fn with_version<T: DeserializeOwned>(cell: &Cell) -> Result<Option<(T, Version)>> {
    let value = cell.value.as_ref().map(typed).transpose()?;
    Ok(value.map(|value| (value, Version(cell.version))))
}

fn number(cell: &Cell) -> Result<i64> {
    cell.value.as_ref().and_then(Value::as_i64).ok_or(SharedError::WrongType)
}

/// A change of a cell's value, whatever its type.
pub trait ChangeOfValue: Send {
    /// What to write; `None`: nothing. It may run again, on another value.
    fn apply(&mut self, value: Option<&Value>) -> Result<Option<Value>>;

    /// Tells the caller.
    fn finish(self: Box<Self>, outcome: Result<()>);
}

pub type ChangeJob = Box<dyn ChangeOfValue>;

struct TypedChange<T, R, F> {
    change: F,
    of: std::marker::PhantomData<fn(T)>,
    answer: Option<R>,
    reply: oneshot::Sender<Result<R>>,
}

impl<T, R, F> ChangeOfValue for TypedChange<T, R, F>
where
    T: Serialize + DeserializeOwned,
    R: Send,
    F: FnMut(Option<T>) -> Change<T, R> + Send,
{
    fn apply(&mut self, value: Option<&Value>) -> Result<Option<Value>> {
        let value = value.map(typed).transpose()?;
        match (self.change)(value) {
            Change::Keep(answer) => {
                self.answer = Some(answer);
                Ok(None)
            }
            Change::Write(value, answer) => {
                self.answer = Some(answer);
                stored(&value, VALUE_MAX).map(Some)
            }
        }
    }

    fn finish(self: Box<Self>, outcome: Result<()>) {
        let Self { answer, reply, .. } = *self;
        // A caller that has gone away needs no answer.
        let _ = reply.send(outcome.map(|()| answer.expect("it was applied before it is finished")));
    }
}

pub struct SumJob {
    delta: i64,
    reply: oneshot::Sender<Result<i64>>,
}

/// How a batch of changes ended.
enum Batch {
    Written(Cell),
    /// Somebody else was faster; this is there now.
    Behind(Option<Cell>),
}

impl Hub {
    fn written(&self, place: &Place, cell: &Cell) -> Version {
        self.wrote(place, cell);
        Version(cell.version)
    }

    fn run_change(self: &Arc<Self>, place: Place, job: ChangeJob) -> Result<()> {
        if self.changes.push(&place, job)? {
            let hub = self.clone();
            self.tasks.spawn_job("shared: update", async move { hub.work_on_changes(&place).await });
        }
        Ok(())
    }

    async fn work_on_changes(&self, place: &Place) {
        loop {
            let mut jobs = self.changes.pull(place, COMBINED_MAX);
            if jobs.is_empty() {
                return;
            }
            let outcome = self.change_all(place, &mut jobs).await;
            for job in jobs {
                job.finish(outcome.clone());
            }
        }
    }

    /// Applies the changes in their order and writes once.
    async fn change_all(&self, place: &Place, jobs: &mut Vec<ChangeJob>) -> Result<()> {
        let mut seen: Option<Cell> = self.look(place).await?;
        for round in 0..CONTENDED_MAX {
            let before = seen.as_ref().and_then(|cell| cell.value.clone());
            let after = apply(jobs, before.clone());
            let Some(value) = after.filter(|after| Some(after) != before.as_ref()) else { return Ok(()) };
            match self.write_over(place, seen.as_ref(), value).await? {
                Batch::Written(cell) => {
                    self.wrote(place, &cell);
                    return Ok(());
                }
                Batch::Behind(found) => seen = found,
            }
            // The refusal has shown what is there now; who is refused again, gives way first.
            if round > 0 {
                self.give_way(round).await;
                seen = self.look(place).await?;
            }
        }
        Err(SharedError::Contended { attempts: CONTENDED_MAX })
    }

    /// Writes over what was seen, and over nothing else.
    async fn write_over(&self, place: &Place, seen: Option<&Cell>, value: Value) -> Result<Batch> {
        let nonce = self.nonce();
        let update = items::update(place, self.now(), seen, value, &nonce);
        let ours = |cell: &Cell| !Rule::UpdateKnowsItself.is_broken() && cell.recent.contains(&nonce);
        match self.settle(place, update, ours).await? {
            Settled::Done(cell) => Ok(Batch::Written(cell)),
            Settled::Refused { found, doubtful } => {
                if found.as_ref().is_some_and(|cell| cell.lease_token.is_some()) {
                    return Err(if doubtful { SharedError::Unknown } else { SharedError::Guarded });
                }
                let since =
                    |cell: &Cell| cell.version - seen.map_or(0, |cell| cell.version).min(cell.version);
                // With a writer for each version since, and none of them ours, ours was not written.
                let certain = found.as_ref().is_none_or(|cell| since(cell) <= cell.recent.len() as u64);
                if doubtful && !certain && !Rule::UpdateKnowsItself.is_broken() {
                    return Err(SharedError::Unknown);
                }
                Ok(Batch::Behind(found))
            }
        }
    }

    fn run_sum(self: &Arc<Self>, place: Place, job: SumJob) -> Result<()> {
        if self.sums.push(&place, job)? {
            let hub = self.clone();
            self.tasks.spawn_job("shared: add", async move { hub.work_on_sums(&place).await });
        }
        Ok(())
    }

    async fn work_on_sums(&self, place: &Place) {
        loop {
            let jobs = self.sums.pull(place, COMBINED_MAX);
            if jobs.is_empty() {
                return;
            }
            let added = self.add_all(place, jobs.iter().map(|job| job.delta).sum()).await;
            // The last one sees the whole sum, each one before it what there was after its own.
            let mut later = 0;
            for job in jobs.into_iter().rev() {
                let answer = added.clone().map(|sum| sum - later);
                later += job.delta;
                let _ = job.reply.send(answer);
            }
        }
    }

    async fn add_all(&self, place: &Place, delta: i64) -> Result<i64> {
        let nonce = self.nonce();
        let update = items::add(place, self.now(), delta, &nonce);
        match self.dynamo.try_upsert(place.key(), update).await {
            Ok(Tried::Applied(cell)) => {
                self.wrote(place, &cell);
                number(&cell)
            }
            Ok(Tried::Refused { doubtful: true, .. }) => Err(SharedError::Unknown),
            Ok(Tried::Refused { .. }) => Err(SharedError::Guarded),
            Err(error) => Err(self.or_wrong_type(place, error.into()).await),
        }
    }

    /// Engines have no code of their own for adding to what is not a number, so it is looked at.
    async fn or_wrong_type(&self, place: &Place, error: SharedError) -> SharedError {
        let SharedError::Unavailable { source } = &error else { return error };
        if !matches!(**source, dynamo::Error::Rejected(_)) {
            return error;
        }
        match self.look::<Cell>(place).await {
            Ok(Some(cell)) if cell.value.is_some() && number(&cell).is_err() => SharedError::WrongType,
            _ => error,
        }
    }

    /// The value, or what is there instead of what was seen.
    async fn take(&self, place: &Place, seen: &Cell, nonce: &str) -> Result<Result<Value, Option<Cell>>> {
        let update: Update<Cell> = items::take(place, self.now(), seen, nonce);
        let ours =
            |cell: &Cell| !Rule::TakeKnowsItself.is_broken() && cell.taken_by.as_deref() == Some(nonce);
        match self.settle(place, update, ours).await? {
            Settled::Done(cell) => {
                self.wrote(place, &cell);
                // The value that was copied is the one that was there.
                cell.taken.map(Ok).ok_or(SharedError::WrongType)
            }
            Settled::Refused { found, doubtful } => {
                let found = found.unwrap_or_default();
                // One write since, and it is not ours: then ours was not written.
                if doubtful && found.version > seen.version + 1 && !Rule::TakeKnowsItself.is_broken() {
                    return Err(SharedError::Unknown);
                }
                match found.lease_token {
                    Some(_) => Err(SharedError::Guarded),
                    None => Ok(Err(Some(found))),
                }
            }
        }
    }
}

/// Runs the changes one after the other, each on what the one before has made. One that does not fit the
/// value, or panics, is told so and left out.
fn apply(jobs: &mut Vec<ChangeJob>, value: Option<Value>) -> Option<Value> {
    let mut value = value;
    for mut job in std::mem::take(jobs) {
        match std::panic::catch_unwind(AssertUnwindSafe(|| job.apply(value.as_ref()))) {
            Ok(Ok(new)) => {
                value = new.or(value);
                jobs.push(job);
            }
            Ok(Err(error)) => job.finish(Err(error)),
            // Dropping it tells its caller.
            Err(_) => {}
        }
    }
    value
}
