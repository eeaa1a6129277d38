//! [`Codes`]: the reminders of those who type a code just now, so that a suggestion never waits for the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock::Timestamp;
use crate::context::Choice;
use crate::dynamo::{Dynamo, Query};
use crate::markdown::cut;

use super::record::{Reminder, State};

/// What is older is read again at the next key.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// People whose reminders are kept; beyond it all are forgotten, and read again.
const PEOPLE_MAX: usize = 1_000;

#[derive(Default)]
pub struct Codes {
    known: Mutex<HashMap<u64, Known>>,
    wanted: Mutex<BTreeSet<u64>>,
    wanting: Notify,
}

struct Known {
    read_at: Timestamp,
    reminders: Vec<Reminder>,
}

impl Codes {
    /// Codes of a person's reminders that fit what is typed: the code, or a part of the text.
    pub fn suggest(&self, person: u64, typed: &str, now: Timestamp) -> Vec<Choice> {
        let known = self.known();
        let found = known.get(&person);
        if found.is_none_or(|known| now.since(known.read_at) >= FRESH_FOR) {
            self.want(person);
        }
        let typed = typed.trim().to_lowercase();
        let fits = |reminder: &&Reminder| {
            reminder.code.starts_with(&typed) || reminder.text.to_lowercase().contains(&typed)
        };
        let reminders = found.into_iter().flat_map(|known| &known.reminders).filter(fits);
        reminders.take(Choice::SHOWN_MAX).map(choice).collect()
    }

    /// What is known of a person is not so any more.
    pub fn let_go(&self, person: u64) {
        self.known().remove(&person);
    }

    fn want(&self, person: u64) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() < PEOPLE_MAX {
            wanted.insert(person);
        }
        self.wanting.notify_one();
    }

    /// Reads what is wanted, until shutdown.
    pub async fn run(&self, dynamo: &Dynamo, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(self.wanting.notified()).await.is_some() {
            while let Some(person) = self.next_wanted() {
                if let Err(error) = self.read(dynamo, person).await {
                    debug!(error = &error as &dyn std::error::Error, "no reminders to suggest yet");
                }
            }
        }
    }

    fn next_wanted(&self) -> Option<u64> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    async fn read(&self, dynamo: &Dynamo, person: u64) -> Result<(), crate::dynamo::Error> {
        let read_at = dynamo.now();
        let mut reminders: Vec<Reminder> =
            dynamo.query_all(Query::<Reminder>::of(person).eventually()).await?;
        reminders.retain(|reminder| matches!(reminder.state, State::Waiting | State::Undeliverable));
        reminders.sort_by_key(|reminder| reminder.due_at);
        let mut known = self.known();
        if known.len() >= PEOPLE_MAX {
            known.clear();
        }
        known.insert(person, Known { read_at, reminders });
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn choice(reminder: &Reminder) -> Choice {
    let label = format!("{} {}", reminder.code, reminder.text.replace('\n', " "));
    Choice { label: cut(&label, Choice::CHARS_MAX), value: reminder.code.clone() }
}
