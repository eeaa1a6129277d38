//! [`Cause`]: the event a change is due to.
//!
//! One event, one effect, one reply: the transaction token, the revision's key and the reply's nonce all
//! come from the event's id, and the times in records from the time in that id. So two deliveries of one
//! event build identical requests, in one process or in two.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::Timestamp;

/// The snowflake of a Discord message or interaction; jobs and the command line make one of the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CauseId(pub u64);

impl fmt::Display for CauseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who did what, where and when, as far as records need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub id: CauseId,
    /// The server's id; 0 stands for the instance itself and for direct messages.
    pub server_id: u64,
    pub actor_id: u64,
    /// The time in the snowflake, never the clock's.
    pub at: Timestamp,
    /// What has to be taken for the effect: a cooldown. Whoever changes something takes it in the same
    /// transaction, see `cooldowns`.
    pub toll: Option<Toll>,
    /// Which of the event's transactions: an event that changes many things makes one for each.
    pub part: usize,
}

/// A cooldown that an event takes, and whether it could. All copies of it are one.
#[derive(Clone, Debug)]
pub struct Toll {
    /// What is taken: `<command>#<user|channel|server>#<id>`.
    pub slot: String,
    pub until: Timestamp,
    state: Arc<Mutex<Taking>>,
}

/// How far the taking of a toll has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Taking {
    #[default]
    Open,
    /// By this event, now or when it was delivered before.
    Taken,
    /// An earlier event has it, until then.
    Refused(Timestamp),
}

impl Toll {
    pub fn new(slot: String, until: Timestamp) -> Self {
        Self { slot, until, state: Arc::default() }
    }

    pub fn state(&self) -> Taking {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn settle(&self, state: Taking) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

impl PartialEq for Toll {
    fn eq(&self, other: &Self) -> bool {
        (&self.slot, self.until) == (&other.slot, other.until)
    }
}

impl Eq for Toll {}

impl Cause {
    pub fn new(event_id: u64, server_id: u64, actor_id: u64) -> Self {
        let at = Timestamp::of_snowflake(event_id);
        Self { id: CauseId(event_id), server_id, actor_id, at, toll: None, part: 0 }
    }

    /// The same event, which now has to take this.
    pub fn with_toll(self, toll: Option<Toll>) -> Self {
        Self { toll, ..self }
    }

    /// The same event, for another one of its transactions. What it had to take was taken before them all.
    pub fn with_part(&self, part: usize) -> Self {
        Self { part, toll: None, ..self.clone() }
    }

    /// The `ClientRequestToken` of the event's transaction, at most 36 characters (a DynamoDB rule).
    /// `attempt` counts the definite conflicts after which the handler read again.
    pub fn token(&self, attempt: usize) -> String {
        let part = if self.part > 0 { format!("/{}", self.part) } else { String::new() };
        match attempt {
            0 => format!("{}{part}", self.id),
            n => format!("{}{part}-{n}", self.id),
        }
    }

    /// The nonce of one part of the reply: unique for the bot, at most 25 characters (a Discord rule).
    pub fn nonce(&self, part: usize) -> String {
        format!("{}-{part}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_nonces_fit_the_largest_snowflake() {
        let cause = Cause::new(u64::MAX, 1, 2);
        assert!(cause.token(99).len() <= 36);
        assert!(cause.nonce(99).len() <= 25);
        assert_ne!(cause.token(0), cause.token(1));
        let part = cause.with_part(999_999);
        assert!(part.token(99).len() <= 36);
        assert_ne!(part.token(0), cause.with_part(1).token(0));
    }
}
