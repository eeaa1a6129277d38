//! The history of everything that people change: a head record and an immutable row, in one transaction.
//!
//! A head is the current record of a thing; a row in the table `history` is one revision of it. [`change`]
//! reads the head, asks a pure function for the next one, and writes both: the head if its revision number
//! is still the one read, the row if it is not there. The row's key carries the event, so an event has at
//! most one effect however often it is delivered, by whichever instance, before or after a restart.
//!
//! Invariants: `rev` grows by one with each change and never goes back, tombstones included; the time of a
//! head never goes back; a row never changes; the head says what its last row says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::clock::Timestamp;
use crate::cooldowns;
use crate::dynamo::{
    self, Column, Commit, Condition, Dynamo, Index, KeyAttribute, KeyKind, Personal, Places, Privacy,
    Projection, Table, TableSpec, Token, Transaction,
};

mod past;
mod undo;

pub use past::{at, audit, changes_since, last_by, revision, revision_of, revisions};
pub use undo::{Undo, Undone, undo};

/// How often a change is tried when other instances are faster. Within one process changes take turns, so
/// this many losses in a row mean that the thing is being fought over.
pub const CHANGE_ATTEMPTS: usize = 5;

/// Rows in the order of their events, whatever they are about.
pub const BY_EVENT: Index = Index {
    name: "by_event",
    range: KeyAttribute { name: "event_id", kind: KeyKind::Number },
    // `expires_at`, because an expired row must count as absent here too.
    projection: Projection::Include(&["op", "rev", "by", "name", "expires_at"]),
};

pub const TABLES: &[TableSpec] = &[TableSpec::of::<Revision>()];

/// Of a revision number: what the original bot wrote has none, and the condition of its first change asks for that.
pub fn is_adopted(rev: &u64) -> bool {
    *rev == 0
}

/// One revision of a thing. It is written once and never changed, except to erase a person from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    pub discord_server_id: u64,
    /// `<kind>#<id>#<event, 20 digits>`
    pub entry: String,
    /// Absent on rows that were made of what the original bot left.
    pub event_id: Option<u64>,
    pub op: String,
    #[serde(default)]
    pub rev: u64,
    /// 0 stands for someone who asked to be forgotten.
    pub by: Option<u64>,
    /// Not held by the index, like everything below except `expires_at`.
    pub at: Option<Timestamp>,
    pub name: Option<String>,
    pub value: Option<String>,
    pub old: Option<String>,
    pub owner: Option<u64>,
    pub total: Option<i64>,
    /// The event that was undone.
    pub undoes: Option<String>,
    pub batch: Option<u64>,
    pub expires_at: Option<i64>,
}

impl Table for Revision {
    const NAME: &'static str = "history";
    const KEY: &'static [&'static str] = &["discord_server_id", "entry"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const INDEXES: &'static [Index] = &[BY_EVENT];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("discord_server_id", Privacy::None),
            ("entry", Privacy::Within(receiver)),
            ("event_id", Privacy::None),
            ("op", Privacy::None),
            ("rev", Privacy::None),
            ("by", Privacy::Author),
            ("at", Privacy::None),
            ("name", Privacy::Text),
            ("value", Privacy::Text),
            ("old", Privacy::Text),
            ("owner", Privacy::Owner),
            ("total", Privacy::None),
            ("undoes", Privacy::None),
            ("batch", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Server,
        kept: "for a year, or as long as the server wants; the ledger of sparkles longer",
    };
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.discord_server_id, self.entry.clone())
    }
}

/// Whose sparkle a row is about, if it is one: a thing is named by a person's id only there.
fn receiver(entry: &str) -> Option<u64> {
    entry.strip_prefix("sparkle#")?.split('#').next()?.parse().ok()
}

impl Revision {
    /// When it happened, as far as the row or its event tells.
    pub fn time(&self) -> Option<Timestamp> {
        self.at.or(self.event_id.map(Timestamp::of_snowflake))
    }

    /// Whether its words are gone because their author wanted to be forgotten: then nobody knows what it said.
    pub fn is_erased(&self) -> bool {
        self.by == Some(0) && self.name.is_none()
    }

    /// The kind and the id of the thing that it is a revision of.
    pub fn thing(&self) -> Option<(&str, String)> {
        let mut parts = self.entry.split('#');
        let (kind, id) = (parts.next()?, parts.next()?);
        Some((kind, id.replace("%23", "#").replace("%25", "%")))
    }
}

/// What a row is about: the server, the kind and the id of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    pub server_id: u64,
    pub kind: &'static str,
    pub id: String,
}

impl Thing {
    /// What the entries of all its rows start with.
    fn prefix(&self) -> String {
        let id = self.id.replace('%', "%25").replace('#', "%23");
        format!("{}#{id}#", self.kind)
    }

    /// The entry of the row that an event writes.
    pub fn entry(&self, event_id: u64) -> String {
        format!("{}{event_id:020}", self.prefix())
    }
}

/// Which change made a head what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// 0: adopted from the original bot and never changed since.
    pub rev: u64,
    pub event_id: u64,
    pub by: u64,
    /// Never goes back, although events may arrive out of order.
    pub at: Option<Timestamp>,
    /// When the row of this change expires, and with it a tombstone.
    pub expires_at: Option<i64>,
}

/// A record with a history. It has a number attribute `rev`, absent as long as it is 0.
pub trait Head: Table + Clone {
    fn thing(key: &Self::Key) -> Thing;
    fn stamp(&self) -> Stamp;
    fn set_stamp(&mut self, stamp: Stamp);
    /// The row for a head that was adopted from the original bot, as it was before its first change.
    fn adopted(&self) -> Row;
}

/// What a row holds besides its key, its number and its cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub name: Option<String>,
    pub value: Option<String>,
    pub old: Option<String>,
    pub owner: Option<u64>,
    pub total: Option<i64>,
    pub undoes: Option<u64>,
    pub batch: Option<u64>,
    /// `None`: for good.
    pub keep: Option<Duration>,
}

/// What a decision makes of a head. [`change`] stamps the head itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Next<H> {
    pub head: H,
    pub op: &'static str,
    pub row: Row,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Change<H> {
    Done(Done<H>),
    /// An earlier delivery of the event did it.
    Already(Revision),
    /// Others were first, again and again, or had the cooldown that the cause was to take; nothing was changed.
    Contended,
}

/// A change that was made now.
#[derive(Clone, Debug, PartialEq)]
pub struct Done<H> {
    pub before: Option<H>,
    pub head: H,
    pub row: Revision,
}

impl<H> Change<H> {
    /// The row of the change, whether it was made now or before.
    pub fn row(&self) -> Option<&Revision> {
        match self {
            Self::Done(done) => Some(&done.row),
            Self::Already(row) => Some(row),
            Self::Contended => None,
        }
    }
}

/// Changes a head and adds the row, once for each cause. `decide` is a pure function of the head as it is;
/// it runs again when another instance was faster. What it refuses is refused, unless the cause turns out
/// to have had its effect before.
pub async fn change<H: Head, E: From<dynamo::Error>>(
    dynamo: &Dynamo,
    cause: &Cause,
    key: H::Key,
    decide: impl Fn(Option<&H>) -> Result<Next<H>, E>,
) -> Result<Change<H>, E> {
    let thing = H::thing(&key);
    change_part(dynamo, cause, key, thing, decide).await
}

/// The same, and writes more in the same transaction: `beside` adds to it, for the change that is about to be
/// made, and adds the same for the same change, without conditions.
pub async fn change_with<H: Head, E: From<dynamo::Error>>(
    dynamo: &Dynamo,
    cause: &Cause,
    key: H::Key,
    decide: impl Fn(Option<&H>) -> Result<Next<H>, E>,
    beside: impl Fn(Transaction, &Done<H>) -> Transaction,
) -> Result<Change<H>, E> {
    let thing = H::thing(&key);
    settled(cause, attempts(dynamo, cause, key, thing, decide, beside).await)
}

/// The same for a head of several things, each with rows of its own: the settings of a server.
pub async fn change_part<H: Head, E: From<dynamo::Error>>(
    dynamo: &Dynamo,
    cause: &Cause,
    key: H::Key,
    thing: Thing,
    decide: impl Fn(Option<&H>) -> Result<Next<H>, E>,
) -> Result<Change<H>, E> {
    settled(cause, attempts(dynamo, cause, key, thing, decide, |transaction, _| transaction).await)
}

/// What the cause had to take for its effect is taken with it.
fn settled<H, E>(cause: &Cause, changed: Result<Change<H>, E>) -> Result<Change<H>, E> {
    if matches!(changed, Ok(Change::Done(_) | Change::Already(_))) {
        cooldowns::taken(cause);
    }
    changed
}

async fn attempts<H: Head, E: From<dynamo::Error>>(
    dynamo: &Dynamo,
    cause: &Cause,
    key: H::Key,
    thing: Thing,
    decide: impl Fn(Option<&H>) -> Result<Next<H>, E>,
    beside: impl Fn(Transaction, &Done<H>) -> Transaction,
) -> Result<Change<H>, E> {
    let _turn = dynamo.turn::<H>(&key).await;
    for attempt in 0..CHANGE_ATTEMPTS {
        if attempt > 0 {
            dynamo.pause(attempt - 1).await;
        }
        let before: Option<H> = dynamo.get(key.clone()).await?;
        if before.as_ref().is_some_and(|head| may_be_of(head, cause))
            && let Some(row) = revision_of(dynamo, &thing, cause.id.0).await?
        {
            return Ok(Change::Already(row));
        }
        if before.as_ref().is_some_and(|head| is_overtaken(cause, head.stamp())) {
            return Ok(Change::Contended);
        }
        let done = stamped(cause, &thing, decide(before.as_ref())?, before);
        let transaction = beside(transaction(cause, attempt, &thing, &done), &done);
        let uncertain = match cooldowns::commit(dynamo, cause, transaction).await {
            Ok(Some(Commit::Done)) => return Ok(Change::Done(done)),
            Ok(None) => return Ok(Change::Contended),
            Ok(Some(Commit::Blocked(_) | Commit::Repeated)) => None,
            Err(error) if error.is_uncertain() => Some(error),
            Err(error) => return Err(error.into()),
        };
        // From here on it must not be said that nothing was changed, unless the store says so.
        let unknown = |error| dynamo::Error::Uncertain(Box::new(error));
        // It is out of the race once the revision that it was meant for is gone. Only a row that is looked for
        // after that tells what became of it.
        let now: Option<H> = match uncertain {
            Some(_) => dynamo.get(key.clone()).await.map_err(unknown)?,
            None => None,
        };
        match revision_of(dynamo, &thing, cause.id.0).await.map_err(unknown)? {
            Some(row) if row == done.row => return Ok(Change::Done(done)),
            Some(row) => return Ok(Change::Already(row)),
            None => {}
        }
        if let Some(error) = uncertain
            && rev(&now) == rev(&done.before)
        {
            return Err(error.into());
        }
    }
    Ok(Change::Contended)
}

fn rev<H: Head>(head: &Option<H>) -> Option<u64> {
    head.as_ref().map(|head| head.stamp().rev)
}

/// Whether the cause may have had its effect on this head: its time never goes back, so a head that is
/// older than the event has not seen it. Heads tell the time in seconds.
fn may_be_of<H: Head>(head: &H, cause: &Cause) -> bool {
    let stamp = head.stamp();
    stamp.rev > 0 && stamp.at.is_none_or(|at| at.seconds() >= cause.at.seconds())
}

/// Whether the same person has changed the head by a later event. One person's events take turns, so a faster
/// instance has dealt with this one before: it refused it, or there would be a row.
fn is_overtaken(cause: &Cause, last: Stamp) -> bool {
    last.by == cause.actor_id && last.event_id > cause.id.0
}

fn stamped<H: Head>(cause: &Cause, thing: &Thing, next: Next<H>, before: Option<H>) -> Done<H> {
    let last = before.as_ref().map(Head::stamp).unwrap_or_default();
    // Records hold seconds; what is handed out is what was stored.
    let now = Timestamp::from_seconds(cause.at.seconds());
    let at = last.at.map_or(now, |at| at.max(now));
    let expires_at = next.row.keep.map(|keep| at.plus(keep).seconds());
    let (event_id, by, rev) = (cause.id.0, cause.actor_id, last.rev + 1);
    let mut head = next.head;
    head.set_stamp(Stamp { rev, event_id, by, at: Some(at), expires_at });
    let row = Revision {
        discord_server_id: thing.server_id,
        entry: thing.entry(event_id),
        event_id: Some(event_id),
        op: next.op.to_owned(),
        rev,
        by: Some(by),
        at: Some(now),
        expires_at,
        ..next.row.into_revision()
    };
    Done { before, head, row }
}

impl Row {
    fn into_revision(self) -> Revision {
        Revision {
            name: self.name,
            value: self.value,
            old: self.old,
            owner: self.owner,
            total: self.total,
            undoes: self.undoes.map(|event_id| event_id.to_string()),
            batch: self.batch,
            ..Revision::default()
        }
    }
}

fn transaction<H: Head>(cause: &Cause, attempt: usize, thing: &Thing, done: &Done<H>) -> Transaction {
    let revision = || Column::<H, u64>::new("rev");
    let unchanged = match done.before.as_ref().map(|head| head.stamp().rev) {
        None => Condition::absent(),
        Some(0) => {
            let adopted = Condition::has(revision()).not().or(Condition::equals(revision(), 0));
            Condition::present().and(adopted)
        }
        Some(rev) => Condition::equals(revision(), rev),
    };
    let transaction = Transaction::new(Token::new(cause.token(attempt)))
        .put_when(&done.head, unchanged)
        .put_if_absent(&done.row);
    match &done.before {
        Some(head) if head.stamp().rev == 0 => transaction.put_if_absent(&adoption(thing, head, done)),
        _ => transaction,
    }
}

/// What the original bot left, as revision 0: otherwise its text would be gone with the first change.
fn adoption<H: Head>(thing: &Thing, head: &H, done: &Done<H>) -> Revision {
    Revision {
        discord_server_id: thing.server_id,
        entry: thing.entry(0),
        op: "adopt".to_owned(),
        at: head.stamp().at,
        expires_at: done.row.expires_at,
        ..head.adopted().into_revision()
    }
}

#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;
