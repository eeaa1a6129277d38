//! Reading what was: the rows of a thing, of a time, of a person.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::dynamo::{self, Column, Condition, Cursor, Dynamo, Page, Query};
use crate::history::{BY_EVENT, Revision, Thing};

/// How many pages are read in search of something that may not be there.
const SEARCH_PAGES: usize = 5;

const BY: Column<Revision, u64> = Column::new("by");

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

/// The newest change that this person made since then and that fits: what the index holds of its row.
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
        if let Some(found) = page.records.into_iter().find(|row| fits(row)) {
            return Ok(Some(found));
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

/// The changes in a server, newest first, as far as the index holds them; only those before an event, if one
/// is given.
pub async fn audit(
    dynamo: &Dynamo,
    server_id: u64,
    before: Option<u64>,
    limit: u32,
) -> Result<Page<Revision>, dynamo::Error> {
    let query: Query<Revision, u64> =
        Query::by_index(BY_EVENT, server_id).newest_first().eventually().limit(limit);
    dynamo.query(before.into_iter().fold(query, Query::less)).await
}
