//! `.privacy forget`: forgets a person, as a job.
//!
//! It goes through everything twice. First the person's own record goes, with the list of servers that name
//! them; the job keeps that list. Other processes may go on for a while as if the person were noted there, and
//! somebody may be writing back what they read before; so when that time is over it goes through everything
//! again. Only then it is done, and says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::commands::undo::TOO_OLD;
use crate::commands::{remember, remind};
use crate::context::{Button, Delivery, Error, Letter, Progress, Reply, Result, Services, Style, refuse};
use crate::counts::Counts;
use crate::due::{Due, Note};
use crate::dynamo::{self, Commit, Depth, Erased, Token, Transaction};
use crate::markdown::code;
use crate::people::{NOTED_FOR, Person};

use super::{Call, places};

pub const KIND: &str = "erase";

/// After this nobody relies on what they knew of the person before. The minute is for clocks that differ.
const SETTLED_AFTER: Duration = NOTED_FOR.saturating_add(Duration::from_secs(60));

/// How far it has come, in the table `botdata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    taught: bool,
    event_id: u64,
    servers: BTreeSet<u64>,
    /// When the person's own record had gone, in seconds.
    begun_at: Option<i64>,
}

fn note_key(person: u64) -> String {
    format!("mneme/erase/{person}")
}

impl State {
    fn note(&self, person: u64, now: Timestamp) -> Note {
        let value = serde_json::to_string(self).expect("numbers and lists are JSON");
        Note { key: note_key(person), value: Some(value), updated_at: Some(now) }
    }

    fn of(note: &Note) -> Option<Self> {
        serde_json::from_str(note.value.as_deref()?).ok()
    }
}

/// What it would mean, and the buttons that do it.
pub fn ask(person: u64) -> Reply {
    let text = "🧹 What shall I forget?\n\
        **Forget who I am**: your id, your reminders, your time zone and your statistics go; what you taught \
        stays, and is from someone.\n\
        **Also what I taught**: your memories, what you wrote in others, and the reasons of your sparkles go \
        as well.\n\
        -# This can't be undone.";
    let button = |what: &str, label: &str, style| Button {
        style,
        ..Button::new(format!("forget:{person}-{what}"), label)
    };
    Reply::from(text).buttons(vec![
        button("me", "Forget who I am", Style::Danger),
        button("taught", "Also what I taught", Style::Danger),
        button("no", "Cancel", Style::Secondary),
    ])
}

pub async fn pressed(call: &Call, fields: &str) -> Result<Reply> {
    let too_old = || Error::Refused(TOO_OLD.to_owned());
    let (person, what) = fields.split_once('-').ok_or_else(too_old)?;
    let person: u64 = person.parse().map_err(|_| too_old())?;
    if person != call.cause.actor_id && !call.caller.bot_owner {
        let command = code(&format!("{}privacy forget", call.prefix));
        return refuse(format!("⛔ You can't use {command} here: only <@{person}> can be asked"));
    }
    match what {
        "me" => start(call, person, Depth::Person).await,
        "taught" => start(call, person, Depth::Taught).await,
        "no" => Ok("👌 I forget nothing".into()),
        _ => Err(too_old()),
    }
}

async fn start(call: &Call, person: u64, depth: Depth) -> Result<Reply> {
    let now = Timestamp::from_seconds(call.cause.at.seconds());
    let event_id = call.cause.id.0;
    let state = State { taught: depth == Depth::Taught, event_id, ..State::default() };
    let due = Due { user_id: Some(person), ..Due::new(now, KIND, &person.to_string()) };
    let transaction =
        Transaction::new(Token::new(call.cause.token(0))).put_if_absent(&state.note(person, now)).put(&due);
    let begun = match call.dynamo().transact(transaction).await? {
        Commit::Done => true,
        Commit::Repeated | Commit::Blocked(_) => {
            let found: Option<Note> = call.dynamo().get(note_key(person)).await?;
            found.and_then(|note| State::of(&note)).is_some_and(|state| state.event_id == event_id)
        }
    };
    match begun {
        true => Ok("🧹 I am forgetting you; I'll tell you when it is done".into()),
        false => refuse("ℹ️ I am already on it"),
    }
}

/// The job of records of this kind.
pub async fn run(services: Arc<Services>, due: Due) -> Result<Progress, dynamo::Error> {
    let dynamo = &services.dynamo;
    let person = due.user_id.unwrap_or_default();
    let note: Option<Note> = dynamo.get(note_key(person)).await?;
    let Some(mut state) = note.as_ref().and_then(State::of) else {
        dynamo.delete::<Due>((due.hour, due.at)).await?;
        return Ok(Progress::Done);
    };
    let Some(begun_at) = state.begun_at else {
        begin(&services, person, &mut state).await?;
        sweep(&services, person, &state).await?;
        return Ok(Progress::Again(dynamo.now().plus(SETTLED_AFTER)));
    };
    let settled_at = Timestamp::from_seconds(begun_at).plus(SETTLED_AFTER);
    if dynamo.now() < settled_at {
        return Ok(Progress::Again(settled_at));
    }
    collect_servers(&services, person, &mut state).await?;
    let erased = sweep(&services, person, &state).await?;
    tell(&services, person, &state, erased).await;
    let done = Transaction::new(Token::new(format!("forgot-{}", state.event_id)))
        .delete::<Note>(note_key(person))
        .delete::<Due>((due.hour, due.at));
    let _ = dynamo.transact(done).await?;
    info!("somebody has been forgotten");
    Ok(Progress::Done)
}

/// Takes the list of servers over, and then the person's own record away.
async fn begin(services: &Services, person: u64, state: &mut State) -> Result<(), dynamo::Error> {
    let dynamo = &services.dynamo;
    // What was counted before is written now: later it would bring the person's own record back.
    services.state::<Counts>().flush(dynamo, &services.noted).await?;
    collect_servers(services, person, state).await?;
    dynamo.put(&state.note(person, dynamo.now())).await?;
    dynamo.delete::<Person>(person).await?;
    services.noted.forget(person);
    state.begun_at = Some(dynamo.now().seconds());
    dynamo.put(&state.note(person, dynamo.now())).await
}

async fn collect_servers(services: &Services, person: u64, state: &mut State) -> Result<(), dynamo::Error> {
    state.servers.extend(super::servers_of(&services.dynamo, person).await?);
    Ok(())
}

async fn sweep(services: &Services, person: u64, state: &State) -> Result<Erased, dynamo::Error> {
    let servers: Vec<u64> = state.servers.iter().copied().collect();
    let depth = if state.taught { Depth::Taught } else { Depth::Person };
    remind::forget(services, person).await?;
    if state.taught {
        for server_id in &servers {
            remember::forget(services, *server_id, person).await?;
        }
    }
    let mut sum = Erased::default();
    for (table, place) in places(services, person, &servers) {
        // After the first round the person's own record is a new one, and theirs.
        if table.name == <Person as dynamo::Table>::NAME {
            continue;
        }
        sum += services.dynamo.erase(&table, &place, person, depth).await?;
    }
    for server_id in &servers {
        remember::forget_list(services, *server_id);
    }
    Ok(sum)
}

/// Says that it is done. Said again it is one message; a person whose direct messages are closed has asked
/// all the same.
async fn tell(services: &Services, person: u64, state: &State, erased: Erased) {
    let mut text = "🧹 Done: I have forgotten you".to_owned();
    if erased.kept > 0 {
        let kept = erased.kept;
        text.push_str(&format!(
            "\n-# Kept, as others need them: {kept} records of bans and rules that name you"
        ));
    }
    let channel = services.discord.direct(person).await;
    if let Ok(Some(channel_id)) = channel {
        let nonce = format!("f{}", state.event_id);
        let sent = services.post(Letter { channel_id, nonce, reply: text.into() }).await;
        if !matches!(sent, Delivery::Sent(_)) {
            warn!(?sent, "somebody could not be told that they are forgotten");
        }
    }
}
