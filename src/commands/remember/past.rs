//! What memories were: `.mem history`, `diff`, `show … at`, `restore`.

use crate::clock::Timestamp;
use crate::commands::undo::TOO_OLD;
use crate::context::{Button, Error, Reply, Result, Select, SelectChoice, Style, refuse};
use crate::dynamo::Query;
use crate::history::{self, Head, Revision, Thing};
use crate::markdown::{cut, plain, time};

use super::call::{Call, No};
use super::get;
use super::grammar;
use super::key::{Key, as_field, clean, is_short_name, short_name};
use super::record::{KIND, Remembered, State};
use super::view::{self, no, who};
use super::when::{self, When};

/// A page of history.
const PAGE: usize = 10;

/// How much of a revision is shown in a line.
const EXCERPT: usize = 60;

/// Which rows of a history to show.
#[derive(Clone, Copy)]
enum Part {
    Newest,
    OlderThan(u64),
    NewerThan(u64),
}

/// The history that a key stands for: of the memory, if the key is another name, and also of what was
/// forgotten.
async fn thing(call: &Call, key: &Key) -> Result<(Thing, Option<Remembered>)> {
    let place = (call.server(), key.normal.clone());
    let found: Option<Remembered> = call.dynamo().get_eventually(place.clone()).await?;
    let head = match found {
        Some(head) if head.alias_of.is_some() => Some(get::followed(call, head).await?),
        other => other,
    };
    let place = head.as_ref().map_or(place, crate::dynamo::Table::key);
    Ok((Remembered::thing(&place), head))
}

/// `.mem history`
pub async fn history(call: &Call, typed: &str) -> Result<Reply> {
    let key = Key::read(typed)?;
    let (thing, head) = thing(call, &key).await?;
    match page(call, &thing, Part::Newest).await? {
        Some(reply) => Ok(reply),
        None => match head {
            Some(head) if !head.is_forgotten() => {
                refuse(format!("ℹ️ {} has not been changed since I know it", head.code()))
            }
            _ => Err(call.not_found(&key).await),
        },
    }
}

/// A page button was pressed: `<o|n>:<event>:<key>`.
pub async fn history_page(call: &Call, fields: &str) -> Result<Reply> {
    let mut parts = fields.splitn(3, ':');
    let (part, event, field) = (parts.next(), parts.next().and_then(event), parts.next());
    let (Some(part), Some(event), Some(field)) = (part, event, field) else { return refuse(TOO_OLD) };
    let part = match part {
        "o" => Part::OlderThan(event),
        "n" => Part::NewerThan(event),
        _ => return refuse(TOO_OLD),
    };
    let thing = thing_in(call, field, event).await?;
    page(call, &thing, part).await?.ok_or_else(|| no(TOO_OLD))
}

fn event(text: &str) -> Option<u64> {
    text.parse().ok().filter(|id: &u64| id.to_string() == text)
}

/// The thing that the field of an id stands for: the key itself, or a short name that one of the event's
/// rows tells in full, even when the memory is forgotten.
async fn thing_in(call: &Call, field: &str, event: u64) -> Result<Thing> {
    if !is_short_name(field) {
        return Ok(Remembered::thing(&(call.server(), field.to_owned())));
    }
    let query = Query::by_index(history::BY_EVENT, call.server()).between(event, event).eventually();
    let rows: Vec<Revision> = call.dynamo().query_all(query).await?;
    let keys = rows.iter().filter_map(Revision::thing).filter(|(kind, _)| *kind == KIND);
    let key = keys.map(|(_, key)| key).find(|key| short_name(key) == field);
    key.map(|key| Remembered::thing(&(call.server(), key))).ok_or_else(|| no(TOO_OLD))
}

async fn page(call: &Call, thing: &Thing, part: Part) -> Result<Option<Reply>> {
    let (rows, newer, older) = rows(call, thing, part).await?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(None) };
    let name = rows.iter().find_map(|row| row.name.clone()).unwrap_or_else(|| thing.id.clone());
    let lines: Vec<String> = rows.iter().map(line).collect();
    let card = view::card(view::titled("🕘 History of ", &name), lines.join("\n"));
    let field = as_field(&thing.id);
    let button = |way: &str, row: &Revision, label: &str, on: bool| Button {
        disabled: !on,
        style: if way == "o" { Style::Primary } else { Style::Secondary },
        ..Button::new(format!("mem-history:{way}:{}:{field}", row_event(row)), label)
    };
    let mut reply = Reply::from(card);
    let known = rows.iter().find(|row| row_event(row) > 0).map(row_event);
    if let Some(known) = known {
        reply = reply.select(Select {
            id: format!("mem-restore:{known}:{field}"),
            placeholder: "Restore…".to_owned(),
            choices: rows.iter().filter(|row| restorable(row)).map(choice).collect(),
        });
    }
    if newer || older {
        let buttons = vec![button("n", first, "◀ Newer", newer), button("o", last, "Older ▶", older)];
        reply = reply.buttons(buttons);
    }
    reply.rows.retain(|row| !matches!(row, crate::context::Row::Select(select) if select.choices.is_empty()));
    Ok(Some(reply))
}

/// One page, newest first, and whether there are newer and older ones. One row more than is shown tells
/// whether there is another page in the direction of reading; in the other one there is what we came from.
async fn rows(call: &Call, thing: &Thing, part: Part) -> Result<(Vec<Revision>, bool, bool)> {
    let query = Query::of(call.server()).limit(PAGE as u32 + 1);
    let query = match part {
        Part::Newest => query.between(thing.entry(0), thing.entry(u64::MAX)).newest_first(),
        Part::OlderThan(0) => return Ok((Vec::new(), true, false)),
        Part::OlderThan(event) => query.between(thing.entry(0), thing.entry(event - 1)).newest_first(),
        Part::NewerThan(event) => query.between(thing.entry(event.saturating_add(1)), thing.entry(u64::MAX)),
    };
    let mut rows: Vec<Revision> = call.dynamo().query(query).await?.records;
    let more = rows.len() > PAGE;
    rows.truncate(PAGE);
    Ok(match part {
        Part::Newest => (rows, false, more),
        Part::OlderThan(_) => (rows, true, more),
        Part::NewerThan(_) => {
            rows.reverse();
            (rows, more, true)
        }
    })
}

/// The event in the row's key: 0 for what the original bot left.
fn row_event(row: &Revision) -> u64 {
    row.event_id.unwrap_or(0)
}

fn line(row: &Revision) -> String {
    let said = match State::of(row) {
        State::Value(value) => plain(&excerpt(&value)),
        State::OtherName(target) => format!("→ {}", plain(&target)),
        State::Forgotten => String::new(),
    };
    let at = row.time().map_or_else(|| "unknown".to_owned(), time);
    let line = format!("**{}** {} · {} · {at}", row.rev, row.op, who(row.by));
    if said.is_empty() { line } else { format!("{line} · {said}") }
}

/// The start of a text, in one line.
fn excerpt(text: &str) -> String {
    cut(&text.split_whitespace().collect::<Vec<_>>().join(" "), EXCERPT)
}

fn restorable(row: &Revision) -> bool {
    matches!(State::of(row), State::Value(_))
}

fn choice(row: &Revision) -> SelectChoice {
    let said = row.value.as_deref().map(excerpt).filter(|text| !text.is_empty());
    SelectChoice {
        label: format!("{} {}", row.rev, row.op),
        value: row_event(row).to_string(),
        description: said,
    }
}

/// `.mem diff <key> [a] [b]`, in one text: the longest left side that is known is the key.
pub async fn diff_line(call: &Call, text: &str) -> Result<Reply> {
    let text = clean(text);
    let ways = grammar::trailing(&text, 2, |word| word.parse().ok());
    let mut first = None;
    for (key, numbers) in ways {
        let key = Key::read(key)?;
        if first.is_none() && !numbers.is_empty() || call.find(&key.normal).await?.is_some() {
            return diff(call, &key, numbers.first().copied(), numbers.get(1).copied()).await;
        }
        first.get_or_insert(key);
    }
    match first {
        Some(key) => Err(call.not_found(&key).await),
        None => Err(Error::Usage("The key is missing".to_owned())),
    }
}

/// What changed between two revisions; by default the last two, or from one to the newest.
pub async fn diff(call: &Call, key: &Key, from: Option<u64>, to: Option<u64>) -> Result<Reply> {
    let (thing, head) = thing(call, key).await?;
    let Some(head) = head else { return Err(call.not_found(key).await) };
    let newest = head.rev;
    let to = to.unwrap_or(newest);
    let from = from.unwrap_or(to.saturating_sub(1));
    let (before, after) =
        (revision(call, &thing, &head, from).await?, revision(call, &thing, &head, to).await?);
    let title = |rev: u64| format!("revision {rev}");
    Ok(view::unified_diff(
        (&title(from), before.value.as_deref().unwrap_or_default()),
        (&title(to), after.value.as_deref().unwrap_or_default()),
    ))
}

/// The row with this number, or which numbers there are.
async fn revision(call: &Call, thing: &Thing, head: &Remembered, rev: u64) -> Result<Revision> {
    if let Some(row) = history::revision(call.dynamo(), thing, rev).await? {
        return Ok(row);
    }
    let query = Query::of(call.server()).between(thing.entry(0), thing.entry(u64::MAX)).limit(1);
    let oldest = call.dynamo().query::<Revision, String>(query).await?.records.pop();
    let (code, newest) = (head.code(), head.rev);
    match oldest.map(|oldest| oldest.rev) {
        None => refuse(format!("⚠ {code} has no revision {rev}; it was never changed")),
        Some(oldest) if oldest == newest => {
            refuse(format!("⚠ {code} has no revision {rev}; it has only {newest}"))
        }
        Some(oldest) => refuse(format!("⚠ {code} has no revision {rev}; it has {oldest} to {newest}")),
    }
}

/// `.mem show <key> at <time>`, in one text.
pub async fn show_line(call: &Call, text: &str) -> Result<Reply> {
    let text = clean(text);
    let split = grammar::splits(&text, "at").last();
    let split = split.ok_or_else(|| Error::Usage("An ` at ` between key and time is missing".to_owned()))?;
    show(call, split.key, split.value).await
}

/// What a memory said at a time.
pub async fn show(call: &Call, typed: &str, at: &str) -> Result<Reply> {
    let key = Key::read(typed)?;
    let when = When::read(at, call.cause.at, &call.zone)?;
    let (thing, head) = thing(call, &key).await?;
    let Some(head) = head else { return Err(call.not_found(&key).await) };
    let (row, at) = match when {
        When::Revision(rev) => {
            let row = revision(call, &thing, &head, rev).await?;
            let at = row.time();
            (row, at)
        }
        When::At(at) => (state_at(call, &thing, &head, at).await?, Some(at)),
    };
    let State::Value(value) = State::of(&row) else { return knew_nothing(&head) };
    let on = at.map_or_else(String::new, |at| format!(" on {}", time(at)));
    Ok(format!("🕘 {}{on} (revision {}):\n{value}", head.code(), row.rev).into())
}

fn knew_nothing<T>(head: &Remembered) -> Result<T> {
    refuse(format!("🤔 I knew nothing about {} at that time", head.code()))
}

/// The revision that was the last one at a time.
async fn state_at(call: &Call, thing: &Thing, head: &Remembered, at: Timestamp) -> Result<Revision> {
    // What has not changed since needs no row; it may have expired, or never have been.
    let since = head.updated_at.or(head.created_at);
    if since.is_none_or(|since| since <= at) && !head.is_forgotten() && (head.rev == 0 || since.is_some()) {
        let row = head.clone().next("", None).row;
        return Ok(Revision { rev: head.rev, value: row.value, name: row.name, ..Revision::default() });
    }
    match history::at(call.dynamo(), thing, at).await? {
        Some(row) if row.event_id.is_some() || row.at.is_none_or(|written| written <= at) => Ok(row),
        _ => match call.policy.keep {
            Some(keep) if call.cause.at.since(at) > keep => {
                refuse(format!("⚠ I only keep history for {} days", keep.as_secs() / 86_400))
            }
            _ => knew_nothing(head),
        },
    }
}

/// `.mem restore <key> <revision or time>`, in one text.
pub async fn restore_line(call: &Call, text: &str) -> Result<Reply> {
    let text = clean(text);
    let (key, when) = when::after_key(&text, call.cause.at, &call.zone)
        .ok_or_else(|| Error::Usage("A revision or a time is missing after the key".to_owned()))?;
    restore(call, key, when).await
}

/// Makes a memory what it was; as a new revision.
pub async fn restore(call: &Call, typed: &str, to: When) -> Result<Reply> {
    let key = Key::read(typed)?;
    let (thing, head) = thing(call, &key).await?;
    let Some(head) = head else { return Err(call.not_found(&key).await) };
    let row = match to {
        When::Revision(rev) => revision(call, &thing, &head, rev).await?,
        When::At(at) if at > call.cause.at => return refuse(format!("⚠ {} is in the future", time(at))),
        When::At(at) => state_at(call, &thing, &head, at).await?,
    };
    restore_row(call, &thing, row).await
}

/// A revision was chosen in the menu under a history: the event of its row.
pub async fn restore_chosen(call: &Call, fields: &str, chosen: &str) -> Result<Reply> {
    let known = fields.split_once(':').and_then(|(known, field)| Some((event(known)?, field)));
    let (Some((known, field)), Some(chosen)) = (known, event(chosen)) else { return refuse(TOO_OLD) };
    let thing = thing_in(call, field, known).await?;
    let row = history::revision_of(call.dynamo(), &thing, chosen).await?;
    restore_row(call, &thing, row.ok_or_else(|| no(TOO_OLD))?).await
}

async fn restore_row(call: &Call, thing: &Thing, row: Revision) -> Result<Reply> {
    let key = Key::read(&thing.id)?;
    if row.is_erased() {
        return refuse(format!("⚠ I don't keep any more what revision {} of {key} said", row.rev));
    }
    let state = State::of(&row);
    let changed = call.change(&key, |head| {
        let head = head.ok_or(No::NotFound)?;
        call.may_change(head, "mem restore")?;
        if head.state() == state {
            return Err(no(format!("ℹ️ {} already says that", head.code())).into());
        }
        if let State::OtherName(target) = &state {
            let alias = format!("{}mem alias {} = {target}", call.prefix, view::typed(head.display()));
            return Err(
                no(format!("⚠ Then it was another name; use {}", crate::markdown::code(&alias))).into()
            );
        }
        Ok(call.with_value(head, "restore", state.clone()))
    });
    let changed = changed.await?;
    let (by, at) = (who(row.by), row.time().map_or_else(|| "unknown".to_owned(), time));
    let text = format!(
        "↩️ Restored {} to revision {} (by {by}, {at}) as revision {}",
        changed.name(),
        row.rev,
        changed.row.rev
    );
    Ok(view::changed(text, call.cause.id.0))
}
