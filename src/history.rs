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
use crate::dynamo::{
    self, Column, Commit, Condition, Cursor, Dynamo, Index, KeyAttribute, KeyKind, Page, Projection, Query,
    Table, TableSpec, Token, Transaction,
};

/// How often a change is tried when other instances are faster. Within one process changes take turns, so
/// this many losses in a row mean that the thing is being fought over.
pub const CHANGE_ATTEMPTS: usize = 5;

/// How many pages are read in search of something that may not be there.
const SEARCH_PAGES: usize = 5;

/// Rows in the order of their events, whatever they are about.
pub const BY_EVENT: Index = Index {
    name: "by_event",
    range: KeyAttribute { name: "event_id", kind: KeyKind::Number },
    // `expires_at`, because an expired row must count as absent here too.
    projection: Projection::Include(&["op", "rev", "by", "name", "expires_at"]),
};

pub const TABLES: &[TableSpec] = &[TableSpec::of::<Revision>()];

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
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.discord_server_id, self.entry.clone())
    }
}

const BY: Column<Revision, u64> = Column::new("by");

impl Revision {
    /// When it happened, as far as the row or its event tells.
    pub fn time(&self) -> Option<Timestamp> {
        self.at.or(self.event_id.map(Timestamp::of_snowflake))
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
    /// Others were first, again and again; nothing was changed.
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
    let _turn = dynamo.turn::<H>(&key).await;
    let thing = H::thing(&key);
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
        if before.as_ref().is_some_and(|head| is_overtaken(head, cause)) {
            return Ok(Change::Contended);
        }
        let done = stamped(cause, &thing, decide(before.as_ref())?, before);
        match dynamo.transact(transaction(cause, attempt, &thing, &done)).await? {
            Commit::Done => return Ok(Change::Done(done)),
            Commit::Blocked(_) | Commit::Repeated => {
                if let Some(row) = revision_of(dynamo, &thing, cause.id.0).await? {
                    return Ok(Change::Already(row));
                }
            }
        }
    }
    Ok(Change::Contended)
}

/// Whether the cause may have had its effect on this head: its time never goes back, so a head that is
/// older than the event has not seen it. Heads tell the time in seconds.
fn may_be_of<H: Head>(head: &H, cause: &Cause) -> bool {
    let stamp = head.stamp();
    stamp.rev > 0 && stamp.at.is_none_or(|at| at.seconds() >= cause.at.seconds())
}

/// Whether the same person has changed the head by a later event. One person's events take turns, so a faster
/// instance has dealt with this one before: it refused it, or there would be a row.
fn is_overtaken<H: Head>(head: &H, cause: &Cause) -> bool {
    let stamp = head.stamp();
    stamp.by == cause.actor_id && stamp.event_id > cause.id.0
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
    let revision: Column<H, u64> = Column::new("rev");
    let unchanged = match done.before.as_ref().map(|head| head.stamp().rev) {
        None => Condition::absent(),
        Some(0) => Condition::present().and(Condition::has(revision).not()),
        Some(rev) => Condition::equals(revision, rev),
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

/// The row that an event wrote about a thing.
pub async fn revision_of(
    dynamo: &Dynamo,
    thing: &Thing,
    event_id: u64,
) -> Result<Option<Revision>, dynamo::Error> {
    dynamo.get((thing.server_id, thing.entry(event_id))).await
}

/// The rows of a thing, newest first.
pub async fn revisions(
    dynamo: &Dynamo,
    thing: &Thing,
    limit: u32,
    cursor: Option<Cursor>,
) -> Result<Page<Revision>, dynamo::Error> {
    let query = Query::of(thing.server_id).starts_with(thing.prefix()).newest_first().limit(limit);
    dynamo.query(cursor.into_iter().fold(query, Query::resume)).await
}

/// The revision of a thing with this number.
pub async fn revision(dynamo: &Dynamo, thing: &Thing, rev: u64) -> Result<Option<Revision>, dynamo::Error> {
    let mut cursor = None;
    for _ in 0..SEARCH_PAGES {
        let query: Query<Revision> = Query::of(thing.server_id);
        let query = query.starts_with(thing.prefix()).newest_first();
        let page = dynamo.query(cursor.into_iter().fold(query, Query::resume)).await?;
        if let Some(row) = page.records.into_iter().find(|row| row.rev == rev) {
            return Ok(Some(row));
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(None)
}

/// The newest row of a thing that was written at this time or before.
pub async fn at(dynamo: &Dynamo, thing: &Thing, time: Timestamp) -> Result<Option<Revision>, dynamo::Error> {
    // The last event of this millisecond; adopted rows have event 0 and so are older than everything.
    let last = time.plus(Duration::from_millis(1)).snowflake().saturating_sub(1);
    let query = Query::of(thing.server_id).between(thing.entry(0), thing.entry(last)).newest_first().limit(1);
    Ok(dynamo.query(query).await?.records.pop())
}

/// The newest change that this person made since then and that fits. The row is complete.
pub async fn last_by(
    dynamo: &Dynamo,
    server_id: u64,
    actor_id: u64,
    since: Timestamp,
    fits: impl Fn(&Revision) -> bool,
) -> Result<Option<Revision>, dynamo::Error> {
    let mut cursor = None;
    for _ in 0..SEARCH_PAGES {
        let query = Query::by_index(BY_EVENT, server_id).at_least(since.snowflake()).newest_first();
        let query = query.filter(Condition::equals(BY, actor_id));
        let page = dynamo.query(cursor.into_iter().fold(query, Query::resume)).await?;
        if let Some(found) = page.records.iter().find(|row| fits(row)) {
            return dynamo.get(found.key()).await;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(None)
}

/// The changes in a server since an event, oldest first, as far as the index holds them.
pub async fn changes_since(
    dynamo: &Dynamo,
    server_id: u64,
    event_id: u64,
    cursor: Option<Cursor>,
) -> Result<Page<Revision>, dynamo::Error> {
    let query = Query::by_index(BY_EVENT, server_id).at_least(event_id).eventually();
    dynamo.query(cursor.into_iter().fold(query, Query::resume)).await
}

/// The changes in a server, newest first, as far as the index holds them. Few may fit on a page.
pub async fn audit(
    dynamo: &Dynamo,
    server_id: u64,
    by: Option<u64>,
    cursor: Option<Cursor>,
) -> Result<Page<Revision>, dynamo::Error> {
    let query: Query<Revision, u64> = Query::by_index(BY_EVENT, server_id).newest_first().eventually();
    let query = by.into_iter().fold(query, |query, by| query.filter(Condition::equals(BY, by)));
    dynamo.query(cursor.into_iter().fold(query, Query::resume)).await
}

/// What became of an undo.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum Undo<H> {
    Done(Done<H>),
    /// It is undone: by an earlier delivery, or an earlier press.
    Already(Revision),
    /// There is no such change, or its row has expired.
    Unknown,
    /// Somebody changed the thing since; this is how it is now.
    MovedOn(Option<H>),
    Contended,
}

/// The change to take back, and what was before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Undone {
    pub row: Revision,
    /// `None`: the thing did not exist, or its row has expired.
    pub before: Option<Revision>,
}

/// Takes back the change that an event made, as a new revision, if it is still the last one. `revert` makes
/// the head of before; [`change`]'s rules hold for it. The row's `undoes` is filled in here.
pub async fn undo<H: Head, E: From<dynamo::Error>>(
    dynamo: &Dynamo,
    cause: &Cause,
    key: H::Key,
    event_id: u64,
    revert: impl Fn(&H, &Undone) -> Result<Next<H>, E>,
) -> Result<Undo<H>, E> {
    let thing = H::thing(&key);
    let Some(row) = revision_of(dynamo, &thing, event_id).await? else { return Ok(Undo::Unknown) };
    let before = match row.rev.checked_sub(1) {
        Some(rev) => revision(dynamo, &thing, rev).await?,
        None => None,
    };
    let undone = Undone { row, before };
    let changed = change(dynamo, cause, key, |head: Option<&H>| match head {
        Some(head) if head.stamp().rev == undone.row.rev => {
            let mut next = revert(head, &undone).map_err(NotUndone::Refused)?;
            next.row.undoes = Some(event_id);
            Ok(next)
        }
        other => Err(NotUndone::MovedOn(other.cloned())),
    });
    match changed.await {
        Ok(Change::Done(done)) => Ok(Undo::Done(done)),
        Ok(Change::Already(row)) => Ok(Undo::Already(row)),
        Ok(Change::Contended) => Ok(Undo::Contended),
        Err(NotUndone::Refused(refusal)) => Err(refusal),
        Err(NotUndone::MovedOn(head)) => {
            let last = match &head {
                Some(head) => revision_of(dynamo, &thing, head.stamp().event_id).await?,
                None => None,
            };
            let undoes = Some(event_id.to_string());
            Ok(match last {
                Some(last) if last.undoes == undoes => Undo::Already(last),
                _ => Undo::MovedOn(head),
            })
        }
    }
}

enum NotUndone<H, E> {
    MovedOn(Option<H>),
    Refused(E),
}

impl<H, E: From<dynamo::Error>> From<dynamo::Error> for NotUndone<H, E> {
    fn from(error: dynamo::Error) -> Self {
        Self::Refused(error.into())
    }
}

#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;
