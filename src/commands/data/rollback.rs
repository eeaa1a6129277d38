//! `.data rollback`: takes an import back, thing by thing, unless somebody changed it since.
//!
//! The id of an import stands in its rows, but they are found by the events that wrote them. So each press of
//! *Import* begins with a row of its own under the import's id ([`begin`]), and what it wrote is what the index
//! holds of its event ([`written`]).

use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use crate::commands::remember;
use crate::commands::settings::part::Part;
use crate::commands::{remember::import as memories, settings::import as decisions};
use crate::context::{Context, Error, Reply, Result, snowflake};
use crate::dynamo::{self, Query};
use crate::history::{BY_EVENT, Revision, Thing};
use crate::markdown::{code, cut, number};

use super::{AT_ONCE, TakenBack, named, worse};

pub const VERB: &str = "data-undo";

/// The kind of the rows that presses of *Import* leave.
const KIND: &str = "import";

const UNKNOWN: &str = "⚠ I know no import with that id";

/// As with an import: one call begins nothing later than this.
const WITHIN: Duration = Duration::from_secs(5);

fn thing(server_id: u64, batch: u64) -> Thing {
    Thing { server_id, kind: KIND, id: batch.to_string() }
}

/// Notes that this event is about to write things of an import. It does so before the first of them.
pub async fn begin(ctx: &Context, batch: u64) -> Result<()> {
    let cause = &ctx.cause;
    let at = crate::clock::Timestamp::from_seconds(cause.at.seconds());
    let row = Revision {
        discord_server_id: cause.server_id,
        entry: thing(cause.server_id, batch).entry(cause.id.0),
        event_id: Some(cause.id.0),
        op: KIND.to_owned(),
        by: Some(cause.actor_id),
        at: Some(at),
        name: Some("data import".to_owned()),
        batch: Some(batch),
        expires_at: ctx.settings.keep().map(|keep| at.plus(keep).seconds()),
        ..Revision::default()
    };
    match ctx.dynamo().put_if_absent(&row).await {
        // If it is there, this event was delivered before.
        Ok(_) => Ok(()),
        // Nothing was written of what this is a preparation for.
        Err(dynamo::Error::Uncertain(error)) => Err(dynamo::Error::Unavailable(error).into()),
        Err(error) => Err(error.into()),
    }
}

/// What an import has written, as the index holds it, newest first.
pub async fn written(ctx: &Context, batch: u64) -> Result<Vec<Revision>> {
    Ok(find(ctx, batch).await?.unwrap_or_default())
}

/// The same; nothing if there is no such import.
async fn find(ctx: &Context, batch: u64) -> Result<Option<Vec<Revision>>, dynamo::Error> {
    let thing = thing(ctx.cause.server_id, batch);
    let presses = Query::<Revision>::of(thing.server_id).between(thing.entry(0), thing.entry(u64::MAX));
    let presses: Vec<Revision> = ctx.dynamo().query_all(presses.newest_first()).await?;
    if presses.is_empty() {
        return Ok(None);
    }
    let mut rows = Vec::new();
    for event in presses.iter().filter_map(|press| press.event_id) {
        let query = Query::by_index(BY_EVENT, thing.server_id).between(event, event).newest_first();
        let of_event: Vec<Revision> = ctx.dynamo().query_all(query).await?;
        rows.extend(of_event.into_iter().filter(|row| row.thing().is_some_and(|(kind, _)| kind != KIND)));
    }
    Ok(Some(rows))
}

/// Takes an import back. Asked again, it goes on.
pub async fn rollback(ctx: &Context, typed: &str) -> Result<Reply> {
    let deadline = Instant::now() + WITHIN;
    let batch = snowflake(typed.trim().trim_matches('`'));
    let batch = batch.ok_or_else(|| Error::Refused(UNKNOWN.to_owned()))?;
    let rows = find(ctx, batch).await.map_err(Error::Read)?;
    let rows = rows.ok_or_else(|| Error::Refused(UNKNOWN.to_owned()))?;
    let (parts, memories): (Vec<_>, Vec<_>) =
        rows.iter().enumerate().partition(|(_, row)| Part::of(row).is_some());
    let mut tally = Tally::default();
    // Parts are of one record, which they would only fight over.
    for some in parts.chunks(1).chain(memories.chunks(AT_ONCE)) {
        if Instant::now() >= deadline {
            break;
        }
        let taken = join_all(some.iter().map(|(place, row)| one(ctx, *place, row))).await;
        for ((_, row), taken) in some.iter().zip(taken) {
            tally.count(ctx, row, taken);
        }
        if let Some(error) = tally.trouble.take() {
            return Err(tally.interrupted(error));
        }
    }
    Ok(tally.told(rows.len()).into())
}

/// Takes back one thing, in a transaction of its own.
async fn one(ctx: &Context, place: usize, row: &Revision) -> Result<TakenBack> {
    let ctx = Context { cause: ctx.cause.with_part(place + 1), ..ctx.clone() };
    match row.thing() {
        Some((remember::KIND, _)) => memories::take_back(&ctx, row).await,
        _ => decisions::take_back(&ctx, row).await,
    }
}

#[derive(Debug, Default)]
struct Tally {
    now: usize,
    before: usize,
    changed_since: Vec<String>,
    trouble: Option<Error>,
}

impl Tally {
    fn count(&mut self, ctx: &Context, row: &Revision, taken: Result<TakenBack>) {
        match taken {
            Ok(TakenBack::Now) => self.now += 1,
            Ok(TakenBack::Before) => self.before += 1,
            Ok(TakenBack::ChangedSince) => self.changed_since.push(name(ctx, row)),
            Err(error) => self.trouble = Some(worse(self.trouble.take(), error)),
        }
    }

    /// Of what came before an error it must not be said that nothing was changed.
    fn interrupted(&self, error: Error) -> Error {
        match error {
            Error::Store(error) if self.now > 0 => dynamo::Error::Uncertain(Box::new(error)).into(),
            error => error,
        }
    }

    fn told(&self, all: usize) -> String {
        let since = self.changed_since.len();
        if all > 0 && self.before == all - since && self.now == 0 && self.before > 0 {
            return "ℹ️ That import was already taken back".to_owned();
        }
        let taken = self.now + self.before;
        if taken + since < all {
            let (taken, all) = (number(taken), number(all));
            return format!("↩️ Took back {taken} of {all} so far; use it again to go on");
        }
        let text = format!("↩️ Took back {} of {}", number(taken), number(all));
        let were = if since == 1 { "was" } else { "were" };
        match since {
            0 => text,
            _ => format!("{text}; {} {were} changed since: {}", number(since), named(&self.changed_since)),
        }
    }
}

fn name(ctx: &Context, row: &Revision) -> String {
    match Part::of(row) {
        Some(part) => part.name(&ctx.prefix),
        None => code(&cut(row.name.as_deref().unwrap_or_default(), 60)),
    }
}
