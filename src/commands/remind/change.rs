//! Cancelling a reminder and putting it off, by its code or by a button.

use jiff::tz::TimeZone;

use crate::calendar;
use crate::clock::Timestamp;
use crate::commands::undo::TOO_OLD;
use crate::context::{Error, Reply, Result, refuse};
use crate::cooldowns;
use crate::due::Due;
use crate::dynamo::{Commit, Condition, Token, Transaction, Update};
use crate::history::CHANGE_ATTEMPTS;
use crate::markdown::{code as span, cut, person, time_in_full};

use super::deliver::{KEPT_FOR, said};
use super::record::{
    DUE_AT, EVENT_ID, EXPIRES_AT, LEASE_BY, LEASE_UNTIL, MESSAGE_ID, OCC, Reminder, STATE, State,
};
use super::{Call, ask, zone};

/// `.reminder cancel`
pub async fn cancel(call: &Call, typed: &str) -> Result<Reply> {
    let cancelled = cancelled(call, &written(typed), None).await?;
    Ok(format!("🗑️ Cancelled {}", cancelled.name()).into())
}

/// The button under the answer to `.remind`.
pub async fn cancel_pressed(call: &Call, fields: &str) -> Result<Reply> {
    let (code, occ) = own(call, fields, "reminder cancel")?;
    let cancelled = cancelled(call, &code, Some(occ)).await?;
    Ok(format!("🗑️ Cancelled {}", cancelled.name()).into())
}

/// `.reminder snooze`
pub async fn snooze(call: &Call, typed: &str, length: &str) -> Result<Reply> {
    let until = until(call, length).await?;
    let snoozed = snoozed(call, &written(typed), until, None).await?;
    Ok(Reply::from(now_due(&snoozed)).buttons(vec![ask::cancel_button(&snoozed)]))
}

/// The buttons of a reminder that has come.
pub async fn snooze_pressed(call: &Call, fields: &str) -> Result<Reply> {
    let (delivery, length) = fields.rsplit_once('-').ok_or_else(too_old)?;
    let (code, occ) = own(call, delivery, "reminder snooze")?;
    let until = until(call, length).await?;
    let snoozed = snoozed(call, &code, until, Some(occ)).await?;
    let text = format!("{}\n{}", said(&snoozed), now_due(&snoozed));
    Ok(Reply::from(text).buttons(vec![ask::cancel_button(&snoozed)]))
}

/// The buttons go away, and nothing else happens.
pub async fn done_pressed(call: &Call, fields: &str) -> Result<Reply> {
    let (code, occ) = own(call, fields, "reminder snooze")?;
    let found: Option<Reminder> = call.dynamo().get((call.actor(), code)).await?;
    let found = found.filter(|found| found.occ == occ).ok_or_else(too_old)?;
    Ok(format!("{}\n-# ✅ done", said(&found)).into())
}

fn now_due(reminder: &Reminder) -> String {
    format!("💤 {} is now {}", reminder.name(), time_in_full(reminder.due_at))
}

fn too_old() -> Error {
    Error::Refused(TOO_OLD.to_owned())
}

/// A code as people type it.
fn written(typed: &str) -> String {
    typed.trim().trim_matches('`').to_ascii_lowercase()
}

/// Characters of a code that is none.
const CODE_SHOWN_MAX: usize = 20;

fn not_found<T>(typed: &str) -> Result<T> {
    refuse(format!("⚠ You have no reminder {}", span(&cut(typed, CODE_SHOWN_MAX))))
}

/// The code and the number in a button, if it is the caller's own.
fn own(call: &Call, delivery: &str, command: &str) -> Result<(String, u64)> {
    let parts: Vec<&str> = delivery.split('-').collect();
    let [owner, code, occ] = parts.as_slice() else { return Err(too_old()) };
    let owner: u64 = owner.parse().map_err(|_| too_old())?;
    if owner != call.actor() {
        let name = span(&format!("{}{command}", call.prefix));
        return refuse(format!(
            "⛔ You can't use {name} here: only its owner {} can change it",
            person(owner)
        ));
    }
    Ok(((*code).to_owned(), occ.parse().map_err(|_| too_old())?))
}

/// Until when something is put off: a length, or a time.
async fn until(call: &Call, typed: &str) -> Result<Timestamp> {
    let now = Timestamp::from_seconds(call.cause.at.seconds());
    let read = |zone: &TimeZone| calendar::read(typed, now, zone).ok_or_else(|| ask::not_understood(typed));
    let mut moment = read(&TimeZone::UTC)?;
    if moment.zoned {
        moment = read(&zone::of(call).await?.0)?;
    }
    ask::in_reach(moment.at, now)
}

/// What a change makes of a reminder, and what writes it.
type Decision = Result<(Reminder, Transaction)>;

async fn cancelled(call: &Call, code: &str, occ: Option<u64>) -> Result<Reminder> {
    change(call, code, occ, |found, token| {
        match found.state {
            State::Cancelled | State::Sent => return not_found(code),
            State::Sending => return refuse(on_its_way(found)),
            State::Waiting | State::Undeliverable => {}
        }
        let update = Update::new()
            .set(STATE, State::Cancelled)
            .set(EVENT_ID, call.cause.id.0)
            .set(EXPIRES_AT, call.cause.at.plus(KEPT_FOR).seconds())
            .when(unchanged(found));
        let due = found.due();
        let transaction = Transaction::new(token)
            .update((found.user_id, found.code.clone()), update)
            .delete::<Due>((due.hour, due.at));
        Ok((Reminder { state: State::Cancelled, ..found.clone() }, transaction))
    })
    .await
}

async fn snoozed(call: &Call, code: &str, until: Timestamp, occ: Option<u64>) -> Result<Reminder> {
    change(call, code, occ, |found, token| {
        match found.state {
            State::Cancelled => return not_found(code),
            // Whoever presses its button has it, whatever its sender knows.
            State::Sending if occ.is_none() => return refuse(on_its_way(found)),
            _ => {}
        }
        let next = Reminder { due_at: until, occ: found.occ + 1, state: State::Waiting, ..found.clone() };
        let update = Update::new()
            .set(DUE_AT, next.due_at)
            .set(OCC, next.occ)
            .set(STATE, State::Waiting)
            .set(EVENT_ID, call.cause.id.0)
            .remove(LEASE_BY)
            .remove(LEASE_UNTIL)
            .remove(MESSAGE_ID)
            .remove(EXPIRES_AT)
            .when(unchanged(found));
        let due = found.due();
        let transaction = Transaction::new(token)
            .update((found.user_id, found.code.clone()), update)
            .delete::<Due>((due.hour, due.at))
            .put(&next.due());
        Ok((next, transaction))
    })
    .await
}

fn on_its_way(reminder: &Reminder) -> String {
    format!("⚠ {} is being delivered right now", reminder.name())
}

fn unchanged(found: &Reminder) -> Condition<Reminder> {
    Condition::equals(OCC, found.occ).and(Condition::equals(STATE, found.state))
}

/// Changes a reminder of the caller once for each event. `occ`: which delivery a button belongs to.
async fn change(
    call: &Call,
    code: &str,
    occ: Option<u64>,
    decide: impl Fn(&Reminder, Token) -> Decision,
) -> Result<Reminder> {
    for attempt in 0..CHANGE_ATTEMPTS {
        let found: Option<Reminder> = call.dynamo().get((call.actor(), code.to_owned())).await?;
        let Some(found) = found else { return if occ.is_some() { Err(too_old()) } else { not_found(code) } };
        if found.event_id == call.cause.id.0 {
            cooldowns::taken(&call.cause);
            return Ok(found);
        }
        if occ.is_some_and(|occ| occ != found.occ) {
            return Err(too_old());
        }
        let (next, transaction) = decide(&found, Token::new(call.cause.token(attempt)))?;
        match cooldowns::commit(call.dynamo(), &call.cause, transaction).await? {
            Some(Commit::Done) => {
                call.changed();
                return Ok(next);
            }
            None => return refuse(cooldowns::NOT_YET),
            // It has just come, or this event is being answered elsewhere too.
            Some(Commit::Blocked(_) | Commit::Repeated) => call.dynamo().pause(attempt).await,
        }
    }
    refuse(format!("⚠ {} is being changed by others right now; have a look and try again", span(code)))
}
