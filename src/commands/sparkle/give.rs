//! Giving a sparkle: four records in one transaction, once for each event.
//!
//! The row of the ledger must not exist, so an event gives once; the receiver's head must not have changed,
//! so totals and rows agree; the giver's head must not have changed, so nobody gives more than they may in a
//! day; and the receiver's number on the day's board grows by one.

use std::time::Duration;

use crate::cause::Cause;
use crate::clock::Timestamp;
use crate::commands::days::{self, Day};
use crate::commands::leaderboard;
use crate::context::{Context, Door, Pings, Reply, Result, refuse};
use crate::cooldowns;
use crate::counts::Tally;
use crate::dynamo::{self, Column, Commit, Dynamo, Token, Transaction, Update};
use crate::history::{self, Revision, Thing};
use crate::markdown::{person, time};

use super::record::{
    EVENT_ID, FIRST_AT, GIVEN, GIVEN_DAY, GIVEN_OP, GIVEN_TODAY, LAST_AT, LAST_FROM, REV, Sparkles, TOTAL,
    UPDATED_AT, key, thing,
};
use super::view;

/// Nobody sparkles the same person twice in a row faster than this.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A whole server may sparkle one person at once, on two instances. Unlike a change of a memory, a sparkle does
/// not depend on what it follows, so it only has to find its turn: the chance to lose so many times in a
/// row is one in thousands.
pub const ATTEMPTS: usize = 12;

pub const N: Column<Tally, i64> = Column::new("n");
pub const EXPIRES_AT: Column<Tally, i64> = Column::new("expires_at");

/// The board of a month, on which receivers are counted by day.
pub fn board(server_id: u64, month: &str) -> String {
    format!("{server_id}/sparkles/{month}")
}

/// Gives a sparkle to a person, who is not the caller and not a bot.
pub async fn give(ctx: &Context, to: u64, reason: Option<&str>) -> Result<Reply> {
    let from = ctx.cause.actor_id;
    for person in [from, to] {
        ctx.services.noted.note(ctx.dynamo(), person, ctx.cause.server_id).await?;
    }
    let Some(row) = given(ctx, to, reason).await? else {
        return refuse(view::contended(to));
    };
    let mut reply = view::given(&row, from, to, ctx.cause.id.0);
    if matches!(ctx.door, Door::Slash | Door::Control) {
        // Whoever types a mention has pinged them already.
        reply.pings = Pings { people: vec![to], roles_and_everyone: false };
    }
    Ok(reply)
}

/// The row that this event has written, now or before; `None` if others were first again and again.
pub async fn given(ctx: &Context, to: u64, reason: Option<&str>) -> Result<Option<Revision>> {
    let (dynamo, cause) = (ctx.dynamo(), &ctx.cause);
    let (server_id, from) = (cause.server_id, cause.actor_id);
    let (zone, thing) = (days::zone(&ctx.settings), thing(server_id, to));
    let day = Day::of(cause.at, &zone);
    let _turn = dynamo.turn::<Sparkles>(&key(server_id, to)).await;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            dynamo.pause(attempt - 1).await;
        }
        let receiver: Sparkles = dynamo.get(key(server_id, to)).await?.unwrap_or_default();
        if may_have_seen(&receiver, cause)
            && let Some(row) = history::revision_of(dynamo, &thing, cause.id.0).await?
        {
            cooldowns::taken(cause);
            return Ok(Some(row));
        }
        let giver: Sparkles = dynamo.get(key(server_id, from)).await?.unwrap_or_default();
        if is_too_soon(&receiver, cause) {
            return refuse(format!("⏳ You sparkled {} a moment ago; wait a minute", person(to)));
        }
        let today = giver.given_on(&day.to_string());
        if let Some(limit) = ctx.settings.sparkles_per_day()
            && today >= limit
        {
            let again = time(day.end(&zone));
            return refuse(format!(
                "⏳ You have given all your {limit} sparkles for today; new ones {again}"
            ));
        }
        let row = row(cause, &thing, &receiver, reason);
        let place = (board(server_id, &day.month()), day.slot(&to.to_string()));
        let transaction = Transaction::new(Token::new(cause.token(attempt)))
            .put_if_absent(&row)
            .upsert::<Sparkles>(key(server_id, to), receive(&receiver, &row))
            .upsert::<Sparkles>(key(server_id, from), spend(&giver, day, today + 1, cause))
            .upsert::<Tally>(place.clone(), count(day, 1));
        let uncertain = match cooldowns::commit(dynamo, cause, transaction).await {
            Ok(None) => return Ok(None),
            Ok(Some(Commit::Done)) => {
                leaderboard::sparkled(ctx, to, &place.0, &place.1, 1);
                return Ok(Some(row));
            }
            Ok(Some(Commit::Blocked(_) | Commit::Repeated)) => None,
            Err(error) if error.is_uncertain() => Some(error),
            Err(error) => return Err(error.into()),
        };
        // From here on it must not be said that nothing was changed, unless the store says so.
        let unknown = |error| dynamo::Error::Uncertain(Box::new(error));
        // It is out of the race once the revision that it was meant for is gone. Only what is read after that
        // tells what became of it.
        let rev = match uncertain {
            Some(_) => rev(dynamo, server_id, to).await.map_err(unknown)?,
            None => None,
        };
        match (history::revision_of(dynamo, &thing, cause.id.0).await.map_err(unknown)?, uncertain) {
            (Some(row), _) => {
                cooldowns::taken(cause);
                return Ok(Some(row));
            }
            (None, Some(error)) if rev.unwrap_or_default() == receiver.rev => return Err(error.into()),
            (None, _) => {}
        }
    }
    Ok(None)
}

/// The last change of what a person got; `None`: there is no record of it.
pub async fn rev(dynamo: &Dynamo, server_id: u64, person: u64) -> Result<Option<u64>, dynamo::Error> {
    let head: Option<Sparkles> = dynamo.get(key(server_id, person)).await?;
    Ok(head.map(|head| head.rev))
}

/// Whether this event may have given its sparkle already: the time of a head never goes back.
fn may_have_seen(receiver: &Sparkles, cause: &Cause) -> bool {
    receiver.rev > 0 && receiver.last_at.is_none_or(|at| at.seconds() >= cause.at.seconds())
}

fn is_too_soon(receiver: &Sparkles, cause: &Cause) -> bool {
    let last = receiver.last_at.filter(|_| receiver.last_from == Some(cause.actor_id));
    last.is_some_and(|last| cause.at.since(last) < AGAIN_AFTER)
}

fn row(cause: &Cause, thing: &Thing, receiver: &Sparkles, reason: Option<&str>) -> Revision {
    Revision {
        discord_server_id: thing.server_id,
        entry: thing.entry(cause.id.0),
        event_id: Some(cause.id.0),
        op: GIVEN_OP.to_owned(),
        rev: receiver.rev + 1,
        by: Some(cause.actor_id),
        // Records hold seconds.
        at: Some(Timestamp::from_seconds(cause.at.seconds())),
        // Here and not in `value`, because the index holds it, and lists are read from there.
        name: reason.map(str::to_owned),
        total: Some(receiver.total_sparkles + 1),
        ..Revision::default()
    }
}

fn receive(receiver: &Sparkles, row: &Revision) -> Update<Sparkles> {
    let now = row.at.expect("every row of ours has its time");
    let at = receiver.last_at.map_or(now, |last| last.max(now));
    Update::new()
        .set(TOTAL, row.total.unwrap_or_default())
        .set(REV, row.rev)
        .set(EVENT_ID, row.event_id.unwrap_or_default())
        .set_if_absent(FIRST_AT, now)
        .set(LAST_AT, at)
        .set(LAST_FROM, row.by.unwrap_or_default())
        .set(UPDATED_AT, at)
        .when(Sparkles::unchanged(receiver.rev))
}

fn spend(giver: &Sparkles, day: Day, today: u32, cause: &Cause) -> Update<Sparkles> {
    let day = giver.given_day.clone().map_or_else(|| day.to_string(), |last| last.max(day.to_string()));
    Update::new()
        .add(GIVEN, 1)
        .set(GIVEN_DAY, day)
        .set(GIVEN_TODAY, today)
        .set_if_absent(UPDATED_AT, cause.at)
        .when(giver.as_generous())
}

/// Adds to a row of the board of a day.
pub fn count(day: Day, n: i64) -> Update<Tally> {
    Update::new().add(N, n).set(EXPIRES_AT, day.expires_at())
}
