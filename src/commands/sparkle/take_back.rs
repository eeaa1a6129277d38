//! Taking a sparkle back: a row beside the one it takes back, and the same totals less one.
//!
//! The key of that row is made of the sparkle's, so a sparkle is taken back once, whoever asks how often. The
//! day's allowance is not given back: otherwise giving and taking back would be a way around it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::clock::Timestamp;
use crate::commands::days::{self, Day};
use crate::commands::leaderboard;
use crate::commands::undo::{OWN_WITHIN, TOO_OLD, may_take_back};
use crate::context::{Context, Error, Reply, Result, refuse};
use crate::cooldowns;
use crate::counts::Tally;
use crate::dynamo::{self, Commit, Dynamo, Query, Token, Transaction, Update};
use crate::history::{BY_EVENT, Revision};
use crate::markdown::code;

use super::give::{ATTEMPTS, board, count, rev};
use super::ledger::{self, Part};
use super::record::{
    EVENT_ID, Entry, GIVEN, REV, Sparkles, TOTAL, UNDO_OP, UPDATED_AT, key, thing, undo_entry,
};
use super::view;

/// The place of the giver's head in the transaction.
const GIVER: usize = 2;

const NOTHING_GIVEN: &str = "⚠ You haven't given a sparkle in the last 10 minutes";
const UNKNOWN_ID: &str = "⚠ I know no sparkle with that id";
const ALREADY: &str = "ℹ️ That one was already taken back";

/// `.sparkles undo`: the caller's last one, or the one with this id.
pub async fn asked(ctx: &Context, id: Option<&str>) -> Result<Reply> {
    let Some(id) = id else { return own_last(ctx).await };
    let event = id.trim().trim_matches('`').parse().map_err(|_| Error::Refused(UNKNOWN_ID.to_owned()))?;
    match of_event(ctx, event).await? {
        Some(sparkle) if !sparkle.taken_back => take_back(ctx, sparkle).await,
        _ => refuse(UNKNOWN_ID),
    }
}

/// What the Undo button under a sparkle does; `row` is what the index holds of it.
pub async fn pressed(ctx: &Context, row: &Revision) -> Result<Reply> {
    match Entry::read(row) {
        Some(sparkle) if !sparkle.taken_back => take_back(ctx, sparkle).await,
        _ => refuse(TOO_OLD),
    }
}

async fn own_last(ctx: &Context) -> Result<Reply> {
    let since = ctx.cause.at.minus(OWN_WITHIN).snowflake();
    let (mut undone, mut by_this_event, mut last) = (BTreeSet::new(), None, None);
    ledger::walk(ctx, Part::Since(since), |entry| {
        if entry.taken_back {
            if entry.event == ctx.cause.id.0 {
                // Delivered again: what this event took back is meant, not what is left.
                by_this_event = Some(entry.sparkle);
            }
            undone.insert(entry.sparkle);
            return ControlFlow::Continue(());
        }
        let is_it = match by_this_event {
            Some(event) => entry.event == event,
            None => {
                entry.by == Some(ctx.cause.actor_id)
                    && entry.event < ctx.cause.id.0
                    && !undone.contains(&entry.event)
            }
        };
        if !is_it {
            return ControlFlow::Continue(());
        }
        last = Some(entry);
        ControlFlow::Break(())
    })
    .await?;
    match last {
        Some(sparkle) => take_back(ctx, sparkle).await,
        None => refuse(NOTHING_GIVEN),
    }
}

/// The row of the ledger that an event has written, as the index holds it.
async fn of_event(ctx: &Context, event: u64) -> Result<Option<Entry>> {
    let query = Query::by_index(BY_EVENT, ctx.cause.server_id).between(event, event);
    let rows: Vec<Revision> = ctx.dynamo().query_all(query).await?;
    Ok(rows.iter().find_map(Entry::read))
}

async fn take_back(ctx: &Context, sparkle: Entry) -> Result<Reply> {
    if !may_take_back(&ctx.cause, ctx.caller.moderator, sparkle.by, sparkle.at) {
        let name = code(&ctx.typed("sparkles undo"));
        return refuse(format!("⛔ You can't use {name} here: it needs Manage Messages"));
    }
    match taken_back(ctx, &sparkle).await? {
        Taken::Back(row) => Ok(view::taken_back(&row, sparkle.by, sparkle.to).into()),
        Taken::Before => refuse(ALREADY),
        Taken::Unknown => refuse(TOO_OLD),
        Taken::Contended => refuse(view::contended(sparkle.to)),
    }
}

/// What became of it.
#[derive(Debug)]
pub enum Taken {
    /// By this event, now or when it was delivered before.
    Back(Box<Revision>),
    /// By another event.
    Before,
    /// There is nothing to take it from: the person was forgotten.
    Unknown,
    Contended,
}

pub async fn taken_back(ctx: &Context, sparkle: &Entry) -> Result<Taken> {
    let (dynamo, cause, server_id) = (ctx.dynamo(), &ctx.cause, ctx.cause.server_id);
    ctx.services.noted.note(dynamo, cause.actor_id, server_id).await?;
    let thing = thing(server_id, sparkle.to);
    let entry = undo_entry(&thing, sparkle.sparkle);
    let mut giver = sparkle.by.filter(|id| *id != 0);
    let _turn = dynamo.turn::<Sparkles>(&key(server_id, sparkle.to)).await;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            dynamo.pause(attempt - 1).await;
        }
        let Some(receiver) = dynamo.get::<Sparkles>(key(server_id, sparkle.to)).await? else {
            return Ok(Taken::Unknown);
        };
        let row = row(ctx, &entry, sparkle, &receiver);
        let mut transaction = Transaction::new(Token::new(cause.token(attempt)))
            .put_if_absent(&row)
            .update::<Sparkles>(key(server_id, sparkle.to), give_up(&receiver, &row));
        if let Some(giver) = giver {
            transaction = transaction.update::<Sparkles>(key(server_id, giver), Update::new().add(GIVEN, -1));
        }
        let place = counted_on(ctx, sparkle)
            .map(|day| (day, board(server_id, &day.month()), day.slot(&sparkle.to.to_string())));
        if let Some((day, board, slot)) = place.clone() {
            transaction = transaction.upsert::<Tally>((board, slot), count(day, -1));
        }
        let uncertain = match cooldowns::commit(dynamo, cause, transaction).await {
            Ok(None) => return Ok(Taken::Contended),
            Ok(Some(Commit::Done)) => {
                if let Some((_, board, slot)) = place {
                    leaderboard::sparkled(ctx, sparkle.to, &board, &slot, -1);
                }
                return Ok(Taken::Back(Box::new(row)));
            }
            Ok(Some(Commit::Blocked(GIVER))) if giver.is_some() => {
                // They were forgotten meanwhile, and what they gave is counted nowhere any more.
                giver = None;
                None
            }
            Ok(Some(Commit::Blocked(_) | Commit::Repeated)) => None,
            Err(error) if error.is_uncertain() => Some(error),
            Err(error) => return Err(error.into()),
        };
        let unknown = |error| dynamo::Error::Uncertain(Box::new(error));
        // Before the row, as when it is given.
        let rev = match uncertain {
            Some(_) => rev(dynamo, server_id, sparkle.to).await.map_err(unknown)?,
            None => None,
        };
        match (found(dynamo, server_id, &entry).await.map_err(unknown)?, uncertain) {
            (Some(row), _) if row.event_id == Some(cause.id.0) => {
                cooldowns::taken(cause);
                return Ok(Taken::Back(Box::new(row)));
            }
            (Some(_), _) => return Ok(Taken::Before),
            (None, Some(error)) if rev == Some(receiver.rev) => return Err(error.into()),
            (None, _) => {}
        }
    }
    Ok(Taken::Contended)
}

async fn found(dynamo: &Dynamo, server_id: u64, entry: &str) -> Result<Option<Revision>, dynamo::Error> {
    dynamo.get((server_id, entry.to_owned())).await
}

fn row(ctx: &Context, entry: &str, sparkle: &Entry, receiver: &Sparkles) -> Revision {
    Revision {
        discord_server_id: ctx.cause.server_id,
        entry: entry.to_owned(),
        event_id: Some(ctx.cause.id.0),
        op: UNDO_OP.to_owned(),
        rev: receiver.rev + 1,
        by: Some(ctx.cause.actor_id),
        at: Some(Timestamp::from_seconds(ctx.cause.at.seconds())),
        name: sparkle.reason.clone(),
        total: Some(receiver.total_sparkles - 1),
        undoes: Some(sparkle.sparkle.to_string()),
        ..Revision::default()
    }
}

fn give_up(receiver: &Sparkles, row: &Revision) -> Update<Sparkles> {
    Update::new()
        .set(TOTAL, row.total.unwrap_or_default())
        .set(REV, row.rev)
        .set(EVENT_ID, row.event_id.unwrap_or_default())
        .set(UPDATED_AT, receiver.updated_at.max(row.at).expect("the row has its time"))
        .when(Sparkles::unchanged(receiver.rev))
}

/// The day on whose board it is counted; `None` if that is over and gone.
fn counted_on(ctx: &Context, sparkle: &Entry) -> Option<Day> {
    let at = Timestamp::of_snowflake(sparkle.sparkle);
    let day = Day::of(at, &days::zone(&ctx.settings));
    (day.expires_at() > ctx.cause.at.seconds()).then_some(day)
}
