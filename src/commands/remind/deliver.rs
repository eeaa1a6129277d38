//! Delivers a reminder, once.
//!
//! 1. Take it: `waiting` becomes `sending`, under a lease that ends by itself.
//! 2. Send it, under a nonce that Discord enforces, with buttons that carry the same name.
//! 3. In one transaction: it is `sent`, and no longer due.
//!
//! Whoever finds a lease that has ended does not know how far the other one came. It looks for the buttons
//! among the messages since, and sends only if they are not there; should the other one still be sending, the
//! nonce makes one message of both.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::context::{Button, Delivery, Letter, Pings, Progress, Reply, Services, Style};
use crate::due::Due;
use crate::dynamo::{self, Commit, Condition, Token, Transaction, Update, Updated};
use crate::markdown::{person, time};

use super::record::{EXPIRES_AT, LEASE_BY, LEASE_UNTIL, MESSAGE_ID, OCC, Reminder, STATE, State, nonce};

/// How long nobody else touches what somebody has begun to deliver.
const LEASE: Duration = Duration::from_secs(60);

/// Sending ends by then: well before the lease does, also by the clock of another instance that is half a
/// minute ahead.
const SEND_LIMIT: Duration = Duration::from_secs(25);

/// Later than this a reminder says so.
const LATE: Duration = Duration::from_secs(60);

/// How long a reminder that is over can be looked at and put off again.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);

/// By how much clocks of instances, and Discord's, may differ.
const SKEW: Duration = Duration::from_secs(120);

/// Pages of messages that are looked through. A lease has ended a minute or so ago: nobody reads a channel in
/// which more has been said since.
const PAGES_MAX: usize = 20;

/// How often the last step is tried before it is left to whoever finds the lease.
const FINISH_TRIES: usize = 3;

/// The job of records of the kind [`super::record::KIND`].
pub async fn deliver(services: Arc<Services>, due: Due) -> Result<Progress, dynamo::Error> {
    let now = services.dynamo.now();
    let (reminder, before) = match take(&services, &due, now).await? {
        Taken::Ours { reminder, before } => (reminder, before),
        Taken::Theirs(until) => return Ok(Progress::Again(until)),
        Taken::Over => {
            // What it stands for is done, or due at another time.
            services.dynamo.delete::<Due>((due.hour, due.at)).await?;
            return Ok(Progress::Done);
        }
    };
    let lease_end = Timestamp::from_seconds(reminder.lease_until.unwrap_or_default());
    let sending = timeout(SEND_LIMIT, send(&services, &reminder, before, now));
    let outcome = match sending.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => {
            warn!(error = format!("{error:#}"), "a reminder could not be sent now");
            return Ok(Progress::Again(lease_end));
        }
        Err(_) => return Ok(Progress::Again(lease_end)),
    };
    match outcome {
        Outcome::Unknown => Ok(Progress::Again(lease_end)),
        Outcome::Arrived(message_id) => finish(&services, &reminder, State::Sent, Some(message_id)).await,
        Outcome::Nowhere => {
            info!(user_id = reminder.user_id, "a reminder has no place to go");
            finish(&services, &reminder, State::Undeliverable, None).await
        }
    }
}

enum Taken {
    /// Nobody else delivers it until our lease ends. `before`: since when somebody else may have.
    Ours {
        reminder: Reminder,
        before: Option<Timestamp>,
    },
    Theirs(Timestamp),
    /// There is nothing to deliver any more.
    Over,
}

async fn take(services: &Services, due: &Due, now: Timestamp) -> Result<Taken, dynamo::Error> {
    let (Some(user_id), Some(code), occ) = (due.user_id, due.code.clone(), due.occ.unwrap_or_default())
    else {
        return Ok(Taken::Over);
    };
    let this = || Condition::equals(OCC, occ);
    let waiting = this().and(Condition::equals(STATE, State::Waiting));
    let found = match services.dynamo.update((user_id, code.clone()), lease(now).when(waiting)).await? {
        Updated::Applied(reminder) => return Ok(Taken::Ours { reminder, before: None }),
        Updated::Blocked(found) => found,
    };
    let Some(found) = found.filter(|found| found.occ == occ && found.state == State::Sending) else {
        return Ok(Taken::Over);
    };
    let until = found.lease_until.unwrap_or_default();
    if until > now.seconds() {
        return Ok(Taken::Theirs(Timestamp::from_seconds(until)));
    }
    let abandoned = this().and(Condition::equals(STATE, State::Sending));
    let abandoned = abandoned.and(Condition::equals(LEASE_BY, found.lease_by.unwrap_or_default()));
    let taken_over = services.dynamo.update((user_id, code), lease(now).when(abandoned)).await?;
    Ok(match taken_over {
        Updated::Applied(reminder) => {
            // When it was first due nobody had begun; leases may have followed each other since.
            Taken::Ours { before: Some(reminder.due_at.minus(SKEW)), reminder }
        }
        Updated::Blocked(_) => Taken::Theirs(now.plus(LEASE)),
    })
}

fn lease(now: Timestamp) -> Update<Reminder> {
    let by = format!("{:016x}", rand::rng().random::<u64>());
    let until = now.plus(LEASE).seconds();
    Update::new().set(STATE, State::Sending).set(LEASE_UNTIL, until).signed(LEASE_BY, by)
}

enum Outcome {
    Arrived(u64),
    Nowhere,
    Unknown,
}

/// Sends it where it was to go, or to the person if that is closed.
async fn send(
    services: &Services,
    reminder: &Reminder,
    before: Option<Timestamp>,
    now: Timestamp,
) -> anyhow::Result<Outcome> {
    let mut moved = None;
    if let Some(channel_id) = reminder.channel_id {
        let place = Place { channel_id, name: "channel" };
        match send_to(services, reminder, &place, before, words(services, reminder, now, None)).await? {
            Delivery::Closed => moved = Some(channel_id),
            other => return Ok(outcome(other)),
        }
    }
    let Some(channel_id) = services.discord.direct(reminder.user_id).await? else {
        return Ok(Outcome::Nowhere);
    };
    let place = Place { channel_id, name: "direct" };
    let text = words(services, reminder, now, moved);
    Ok(outcome(send_to(services, reminder, &place, before, text).await?))
}

fn outcome(delivery: Delivery) -> Outcome {
    match delivery {
        Delivery::Sent(message_id) => Outcome::Arrived(message_id),
        Delivery::Closed | Delivery::Refused => Outcome::Nowhere,
        Delivery::Unknown => Outcome::Unknown,
    }
}

struct Place {
    channel_id: u64,
    name: &'static str,
}

async fn send_to(
    services: &Services,
    reminder: &Reminder,
    place: &Place,
    before: Option<Timestamp>,
    text: String,
) -> anyhow::Result<Delivery> {
    if let Some(since) = before
        && let Some(message_id) = find(services, place.channel_id, &reminder.delivery(), since).await?
    {
        return Ok(Delivery::Sent(message_id));
    }
    let pings = Pings { people: vec![reminder.user_id], roles_and_everyone: false };
    let reply = Reply { pings, ..text.into() }.buttons(buttons(&reminder.delivery()));
    let letter =
        Letter { channel_id: place.channel_id, nonce: nonce(&reminder.delivery(), place.name), reply };
    Ok(services.post(letter).await)
}

/// The message with the buttons of this delivery, if there is one since then.
async fn find(
    services: &Services,
    channel_id: u64,
    delivery: &str,
    since: Timestamp,
) -> anyhow::Result<Option<u64>> {
    let done = done_button(delivery);
    let mut before = None;
    for _ in 0..PAGES_MAX {
        // Where we may not look, Discord knows the nonce still.
        let Some(page) = services.discord.messages(channel_id, before).await? else { return Ok(None) };
        if let Some(found) = page.iter().find(|message| message.buttons.contains(&done)) {
            return Ok(Some(found.id));
        }
        match page.last() {
            Some(oldest) if Timestamp::of_snowflake(oldest.id) >= since => before = Some(oldest.id),
            _ => break,
        }
    }
    Ok(None)
}

fn done_button(delivery: &str) -> String {
    format!("remind-done:{delivery}")
}

fn buttons(delivery: &str) -> Vec<Button> {
    let snooze = |label: &str, by: &str| Button::new(format!("remind-snooze:{delivery}-{by}"), label);
    vec![
        snooze("10 min", "10m"),
        snooze("1 hour", "1h"),
        snooze("Tomorrow", "1d"),
        Button { style: Style::Success, ..Button::new(done_button(delivery), "Done") },
    ]
}

/// What is said, and why it comes late or to another place than was asked for.
fn words(services: &Services, reminder: &Reminder, now: Timestamp, moved: Option<u64>) -> String {
    let mut text = said(reminder);
    let late = now.since(reminder.due_at);
    if late > LATE {
        let was_running = services.instance.started_at.is_some_and(|started| started <= reminder.due_at);
        let why = if was_running { "" } else { ": I was not running" };
        text.push_str(&format!("\n-# {} late{why}", in_words(late)));
    }
    if let Some(channel_id) = moved {
        text.push_str(&format!("\n-# I could not post this in <#{channel_id}>"));
    }
    text
}

/// A reminder as it is delivered.
pub fn said(reminder: &Reminder) -> String {
    format!("⏰ {} {}\n-# asked {}", person(reminder.user_id), reminder.text, time(reminder.created_at))
}

/// A length of time, roughly: `12 min`, `3 hours`, `2 days`.
fn in_words(length: Duration) -> String {
    let minutes = length.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} min"),
        120..2_880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1_440),
    }
}

/// Writes down what became of it, unless a person has changed it since.
async fn finish(
    services: &Services,
    reminder: &Reminder,
    state: State,
    message_id: Option<u64>,
) -> Result<Progress, dynamo::Error> {
    let due = reminder.due();
    let lease = reminder.lease_by.clone().unwrap_or_default();
    for attempt in 0..FINISH_TRIES {
        let still = Condition::equals(OCC, reminder.occ).and(Condition::equals(STATE, State::Sending));
        let update = Update::new()
            .set(STATE, state)
            .set(EXPIRES_AT, services.dynamo.now().plus(KEPT_FOR).seconds())
            .remove(LEASE_BY)
            .remove(LEASE_UNTIL)
            .when(still);
        let update = message_id.into_iter().fold(update, |update, id| update.set(MESSAGE_ID, id));
        let transaction = Transaction::new(Token::new(format!("fired-{lease}-{attempt}")))
            .update((reminder.user_id, reminder.code.clone()), update)
            .delete::<Due>((due.hour.clone(), due.at.clone()));
        match services.dynamo.transact(transaction).await {
            // Blocked: it was put off by a button, or another instance has come to the same end.
            Ok(Commit::Done | Commit::Repeated | Commit::Blocked(_)) => return Ok(Progress::Done),
            Err(error) if attempt + 1 == FINISH_TRIES => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "a reminder was delivered, and is not yet done"
                );
            }
            Err(_) => services.dynamo.pause(attempt).await,
        }
    }
    Ok(Progress::Again(Timestamp::from_seconds(reminder.lease_until.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_told_roughly() {
        let told = |minutes: u64| in_words(Duration::from_secs(minutes * 60 + 59));
        assert_eq!([told(12), told(119), told(120), told(2_880)], ["12 min", "119 min", "2 hours", "2 days"]);
    }
}
