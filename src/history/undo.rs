//! [`undo`]: takes back a change, as a new revision.

use crate::cause::Cause;
use crate::dynamo::{self, Dynamo, Query};
use crate::history::{Change, Done, Head, Next, Revision, Thing, change, revision, revision_of};

/// Rows read in one go: the one that is undone, the one before it, and a few that came in another order.
const NEIGHBOURS: u32 = 4;

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
    let Some(undone) = find(dynamo, &thing, event_id).await? else { return Ok(Undo::Unknown) };
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

/// The row of an event and the one before it. Rows never change, so a cheap read that finds them is right; what
/// it does not find is looked for again.
async fn find(dynamo: &Dynamo, thing: &Thing, event_id: u64) -> Result<Option<Undone>, dynamo::Error> {
    let query = Query::of(thing.server_id).between(thing.entry(0), thing.entry(event_id));
    let mut rows: Vec<Revision> =
        dynamo.query(query.newest_first().limit(NEIGHBOURS).eventually()).await?.records;
    let row = match rows.iter().position(|row| row.event_id == Some(event_id)) {
        Some(place) => rows.swap_remove(place),
        None => match revision_of(dynamo, thing, event_id).await? {
            Some(row) => row,
            None => return Ok(None),
        },
    };
    let Some(rev) = row.rev.checked_sub(1) else { return Ok(Some(Undone { row, before: None })) };
    let before = match rows.into_iter().find(|row| row.rev == rev) {
        Some(before) => Some(before),
        // Revision 0 is there only if the thing was adopted.
        None => revision(dynamo, thing, rev).await?,
    };
    Ok(Some(Undone { row, before }))
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
