//! Taking changes back: what the Undo button does for memories, `.mem undo` and `/undo`.

use crate::commands::undo::{OWN_WITHIN, TOO_OLD, may_take_back};
use crate::context::{Reply, Result, refuse};
use crate::dynamo::Table;
use crate::history::{self, Head, Next, Revision, Thing, Undo, Undone};
use crate::markdown::{code, person};

use super::call::{Call, No};
use super::key::Key;
use super::record::{KIND, Remembered, State};
use super::view::{self, no, who};

/// `.mem undo`: the caller's last change, or with a key the last change of that.
pub async fn last(call: &Call, typed: Option<&str>) -> Result<Reply> {
    match typed {
        Some(typed) => last_of(call, &Key::read(typed)?).await,
        None => own_last(call).await,
    }
}

async fn own_last(call: &Call) -> Result<Reply> {
    let since = call.cause.at.minus(OWN_WITHIN);
    let fits = |row: &Revision| {
        // Not the row of this very event, if it is delivered again.
        row.op != "undo"
            && row.event_id.is_some_and(|event| event < call.cause.id.0)
            && row.thing().is_some_and(|(kind, _)| kind == KIND)
    };
    match history::last_by(call.dynamo(), call.server(), call.actor(), since, fits).await? {
        Some(row) => undo(call, row).await,
        None => refuse(view::NOTHING_CHANGED_BY_YOU),
    }
}

async fn last_of(call: &Call, key: &Key) -> Result<Reply> {
    let place = (call.server(), key.normal.clone());
    let head: Option<Remembered> = call.dynamo().get(place.clone()).await?;
    let Some(head) = head else { return Err(call.not_found(key).await) };
    // Delivered again, this event has undone something already. It is looked for after the head was read: what
    // came after it must not be taken for what was to be undone. A head that is older knows nothing of it.
    if head.updated_at.is_none_or(|at| at.seconds() >= call.cause.at.seconds())
        && let Some(undone) = own_undone(call, &Remembered::thing(&place)).await?
    {
        return undo(call, undone).await;
    }
    match last_row(&head) {
        Some(row) => undo(call, row).await,
        None => refuse(view::NOTHING_CHANGED_BY_YOU),
    }
}

/// The row of what this event has taken back before.
async fn own_undone(call: &Call, thing: &Thing) -> Result<Option<Revision>> {
    let own = history::revision_of(call.dynamo(), thing, call.cause.id.0).await?;
    let Some(undone) = own.and_then(|row| row.undoes).and_then(|event| event.parse().ok()) else {
        return Ok(None);
    };
    let row = history::revision_of(call.dynamo(), thing, undone).await?;
    row.map(Some).ok_or_else(|| no(TOO_OLD))
}

/// What the index would tell of a head's last change, as far as the head tells it too. `None`: it was adopted.
fn last_row(head: &Remembered) -> Option<Revision> {
    let event = head.event_id?;
    let op = if head.is_forgotten() { "forget" } else { "" };
    Some(Revision {
        discord_server_id: head.discord_server_id,
        entry: Remembered::thing(&head.key()).entry(event),
        event_id: Some(event),
        op: op.to_owned(),
        rev: head.rev,
        by: head.updated_by,
        name: Some(head.display().to_owned()),
        ..Revision::default()
    })
}

/// Takes back the change that a row of the history, or of its index, tells of.
pub async fn undo(call: &Call, row: Revision) -> Result<Reply> {
    may_undo(call, &row)?;
    let Some((_, key)) = row.thing() else { return refuse(TOO_OLD) };
    let event = row.event_id.unwrap_or_default();
    let place = (call.server(), key);
    let undone = history::undo(call.dynamo(), &call.cause, place.clone(), event, |head, undone| {
        revert(call, head, undone)
    });
    let name = code(row.name.as_deref().unwrap_or(&place.1));
    match undone.await.map_err(refused)? {
        Undo::Done(done) => {
            call.wrote(&done.head);
            Ok(told(&name, &row, &done.row).into())
        }
        Undo::Already(done) => Ok(told(&name, &row, &done).into()),
        Undo::Unknown => refuse(TOO_OLD),
        Undo::Contended => {
            refuse(format!("⚠ {name} is being changed by others right now; have a look and try again"))
        }
        Undo::MovedOn(head) => {
            let thing = Remembered::thing(&place);
            refuse(moved_on(call, &name, &thing, &row, head.as_ref()).await?)
        }
    }
}

pub fn refused(no: No) -> crate::context::Error {
    match no {
        No::Refused(error) => error,
        No::OtherName(_) | No::NotFound => view::no(TOO_OLD),
    }
}

fn may_undo(call: &Call, row: &Revision) -> Result<()> {
    if may_take_back(&call.cause, call.moderator, row.by, row.time()) {
        Ok(())
    } else {
        call.not_allowed("mem undo", "it needs Manage Messages")
    }
}

/// The record as it was before a change.
pub fn revert(call: &Call, head: &Remembered, undone: &Undone) -> std::result::Result<Next<Remembered>, No> {
    let row = &undone.row;
    let head = match row.op.as_str() {
        "lock" => Remembered { locked_by: None, ..head.clone() },
        "unlock" => Remembered { locked_by: Some(call.actor()), ..head.clone() },
        "give" | "claim" => match &undone.before {
            Some(before) => Remembered { created_by: before.owner, ..head.clone() },
            None => return Err(not_kept(head).into()),
        },
        _ => head.clone().in_state(state_before(head, undone)?, call.cause.at),
    };
    Ok(head.next("undo", call.policy.keep))
}

fn state_before(head: &Remembered, undone: &Undone) -> Result<State> {
    match (&undone.before, &undone.row.old) {
        (Some(before), _) if before.is_erased() => Err(not_kept(head)),
        (Some(before), _) => Ok(State::of(before)),
        (None, Some(value)) => Ok(State::Value(value.clone())),
        (None, None) if undone.row.rev <= 1 => Ok(State::Forgotten),
        (None, None) => Err(not_kept(head)),
    }
}

fn not_kept(head: &Remembered) -> crate::context::Error {
    no(format!("⚠ I don't keep any more what was before revision {} of {}", head.rev, head.code()))
}

fn told(name: &str, undone: &Revision, row: &Revision) -> String {
    match (State::of(row), undone.op.as_str()) {
        (State::Forgotten, _) => format!("↩️ Undone: {name} is forgotten again"),
        (_, "forget") => format!("↩️ Undone: I remember {name} again"),
        _ => {
            let back_to = undone.rev.saturating_sub(1);
            format!("↩️ Undone: {name} is back to revision {back_to}, as revision {}", row.rev)
        }
    }
}

/// Somebody changed it since; and how to get back all the same.
async fn moved_on(
    call: &Call,
    name: &str,
    thing: &Thing,
    row: &Revision,
    head: Option<&Remembered>,
) -> Result<String> {
    let Some(head) = head else { return Ok(TOO_OLD.to_owned()) };
    let back_to = row.rev.saturating_sub(1);
    let existed = back_to > 0 || history::revision_of(call.dynamo(), thing, 0).await?.is_some();
    let key = view::typed(head.display());
    let how = if existed { format!("mem restore {key} {back_to}") } else { format!("forget {key}") };
    let by = head.updated_by.filter(|id| *id != 0).map_or_else(|| who(head.updated_by), person);
    let how = code(&format!("{}{how}", call.prefix));
    Ok(format!("⚠ {name} has been changed since (revision {} by {by}). Use {how}", head.rev))
}
