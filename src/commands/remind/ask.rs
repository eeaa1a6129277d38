//! `.remind me|here` and `.reminders`.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::calendar::{self, Moment};
use crate::clock::Timestamp;
use crate::context::{Button, Error, Reply, Result, refuse};
use crate::cooldowns;
use crate::dynamo::{Commit, Query, Token, Transaction};
use crate::markdown::{clean, code as span, cut, number, person, time, time_in_full, time_relative};

use super::record::{self, Reminder, State};
use super::{Call, zone};

/// Enough for everything one wants to be told, and few enough for one answer.
const PENDING_MAX: usize = 25;

/// In characters; with its mention, its times and a word about its lateness it fits one message.
const TEXT_MAX: usize = 1_000;

/// A scheduler looks every few seconds; what is due sooner would come late.
const SOONEST: Duration = Duration::from_secs(10);

/// Three years, with a leap day.
const LATEST: Duration = Duration::from_secs(1_096 * 86_400);

/// Codes tried for one reminder. One person has few of a million.
const CODES_MAX: u64 = 8;

/// Characters of a reminder that a list shows.
const LISTED_MAX: usize = 100;

/// Characters of what was not understood that are shown.
const SHOWN_MAX: usize = 100;

/// Where a reminder is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    Me,
    Here,
}

/// What was asked for, in one line or in options.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    Line(&'a str),
    Apart { when: &'a str, text: &'a str },
}

/// What was understood.
struct Wish {
    moment: Moment,
    text: String,
}

/// `.remind me`, `.remind here`
pub async fn remind(call: &Call, whom: Whom, asked: Asked<'_>) -> Result<Reply> {
    // By the second, as records tell it: a length counts from there.
    let now = Timestamp::from_seconds(call.cause.at.seconds());
    let mut wish = understand(asked, now, &TimeZone::UTC)?;
    let mut hint = String::new();
    if wish.moment.zoned {
        let (zone, chosen) = zone::of(call).await?;
        wish = understand(asked, now, &zone)?;
        if wish.moment.local && !chosen {
            let (wall, set) = (zone::on_the_wall(&zone, wish.moment.at), format!("{}timezone", call.prefix));
            hint = format!("\n-# {wall} in UTC; set yours with {}", span(&set));
        }
    }
    let text = checked_text(&wish.text)?;
    let reminder = Reminder {
        user_id: call.actor(),
        code: record::code(call.cause.id.0, 0),
        text,
        channel_id: (whom == Whom::Here || call.cause.server_id == 0).then_some(call.channel_id),
        discord_server_id: call.cause.server_id,
        due_at: in_reach(wish.moment.at, now)?,
        created_at: now,
        occ: 0,
        state: State::Waiting,
        lease_by: None,
        lease_until: None,
        event_id: call.cause.id.0,
        message_id: None,
        expires_at: None,
    };
    let made = make(call, reminder).await?;
    Ok(Reply { text: told(&made) + &hint, ..Reply::default() }.buttons(vec![cancel_button(&made)]))
}

fn told(made: &Reminder) -> String {
    let (at, relative) = (time_in_full(made.due_at), time_relative(made.due_at));
    let who = person(made.user_id);
    format!("⏰ Ok {who}, I'll remind you {at} ({relative}): {} - {}", made.text, made.name())
}

pub fn cancel_button(reminder: &Reminder) -> Button {
    Button::new(format!("remind-cancel:{}", reminder.delivery()), "Cancel")
}

/// The time right after the command counts; otherwise the one that ends the text.
fn understand(asked: Asked<'_>, now: Timestamp, zone: &TimeZone) -> Result<Wish> {
    let line = match asked {
        Asked::Apart { when, text } => {
            let moment = calendar::read(when, now, zone).ok_or_else(|| not_understood(when))?;
            return Ok(Wish { moment, text: text.to_owned() });
        }
        Asked::Line(line) => line.trim(),
    };
    if let Some((moment, rest)) = calendar::leading(line, now, zone) {
        return Ok(Wish { moment, text: without_to(rest).to_owned() });
    }
    if let Some((rest, moment)) = calendar::trailing(line, now, zone) {
        return Ok(Wish { moment, text: without_to(rest).to_owned() });
    }
    match line.split_once(" to ") {
        Some((when, _)) if without_to(line) == line => Err(not_understood(when)),
        _ => Err(Error::Usage("The time is missing".to_owned())),
    }
}

fn without_to(text: &str) -> &str {
    match text.split_once(char::is_whitespace) {
        Some((first, rest)) if first.eq_ignore_ascii_case("to") => rest.trim_start(),
        _ if text.eq_ignore_ascii_case("to") => "",
        _ => text,
    }
}

pub fn not_understood(typed: &str) -> Error {
    let typed = typed.trim();
    let bare = ["at ", "in ", "on "].iter().find_map(|word| typed.strip_prefix(word)).unwrap_or(typed);
    Error::Refused(format!(
        "⚠ I don't understand the time {}. Try `in 2 hours`, `tomorrow 9:00` or `2026-05-01 18:30`",
        span(&cut(bare, SHOWN_MAX))
    ))
}

fn checked_text(typed: &str) -> Result<String> {
    let text = clean(typed).trim().to_owned();
    match text.chars().count() {
        0 => Err(Error::Usage("The text is missing".to_owned())),
        1..=TEXT_MAX => Ok(text),
        length => {
            let (length, max) = (number(length), number(TEXT_MAX));
            refuse(format!("⚠ That text is {length} characters long; the limit is {max}"))
        }
    }
}

/// The time, if a reminder may be due then.
pub fn in_reach(at: Timestamp, now: Timestamp) -> Result<Timestamp> {
    if at <= now {
        return refuse(format!("⚠ {} is in the past", time(at)));
    }
    if at < now.plus(SOONEST) {
        let (ahead, soonest) = (at.since(now).as_secs(), SOONEST.as_secs());
        return refuse(format!("⚠ That is {ahead} seconds ahead; the least is {soonest} seconds"));
    }
    if at > now.plus(LATEST) {
        return refuse(format!("⚠ {} is too far ahead; the limit is 3 years", time(at)));
    }
    Ok(at)
}

/// Writes it, once for its event, under a code that its person does not use yet.
async fn make(call: &Call, wanted: Reminder) -> Result<Reminder> {
    let known: Vec<Reminder> =
        call.dynamo().query_all(Query::<Reminder>::of(wanted.user_id).eventually()).await?;
    let codes = (0..CODES_MAX).map(|attempt| record::code(wanted.event_id, attempt));
    let ours = |found: &Reminder, code: &str| found.code == code && found.created_at == wanted.created_at;
    let mut pending = known.iter().filter(|reminder| reminder.is_pending());
    if let Some(made) = known.iter().find(|found| codes.clone().any(|code| ours(found, &code))) {
        cooldowns::taken(&call.cause);
        return Ok(made.clone());
    }
    if pending.by_ref().count() >= PENDING_MAX {
        return refuse(format!("⚠ You already have {PENDING_MAX} reminders"));
    }
    for (attempt, code) in codes.enumerate() {
        if known.iter().any(|found| found.code == code) {
            continue;
        }
        let reminder = Reminder { code, ..wanted.clone() };
        let transaction = Transaction::new(Token::new(call.cause.token(attempt)))
            .put_if_absent(&reminder)
            .put(&reminder.due());
        match cooldowns::commit(call.dynamo(), &call.cause, transaction).await? {
            Some(Commit::Done) => {
                call.changed();
                return Ok(reminder);
            }
            None => return refuse(cooldowns::NOT_YET),
            Some(Commit::Blocked(_) | Commit::Repeated) => {}
        }
        // Taken: perhaps by an earlier delivery of this event.
        match call.dynamo().get::<Reminder>((reminder.user_id, reminder.code.clone())).await? {
            Some(found) if ours(&found, &reminder.code) => {
                cooldowns::taken(&call.cause);
                return Ok(found);
            }
            _ => {}
        }
    }
    refuse("⚠ I found no free code for that reminder; please try again")
}

/// `.reminders`
pub async fn list(call: &Call) -> Result<Reply> {
    let mut found: Vec<Reminder> = call.dynamo().query_all(Query::<Reminder>::of(call.actor())).await?;
    found.retain(|reminder| reminder.is_pending() || reminder.state == State::Undeliverable);
    if found.is_empty() {
        return refuse("⏰ You have no reminders");
    }
    found.sort_by_key(|reminder| reminder.due_at);
    let lines = found.iter().map(|reminder| {
        let mark = match reminder.state {
            State::Undeliverable => " ⚠ could not be delivered",
            _ => "",
        };
        let text = cut(&reminder.text.replace('\n', " "), LISTED_MAX);
        format!("\n{} {} {text}{mark}", reminder.name(), time_in_full(reminder.due_at))
    });
    Ok(format!("⏰ Your reminders:{}", lines.collect::<String>()).into())
}
