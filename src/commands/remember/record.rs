//! [`Remembered`]: a memory as the table holds it. Also another name for one, and what is left of one that
//! was forgotten.
//!
//! The table is the original bot's, in place: its names stay, and what it did not have is optional.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::dynamo::{Personal, Places, Privacy, Table};
use crate::history::{Head, Next, Revision, Row, Stamp, Thing};
use crate::markdown;

/// The kind of its rows in the history.
pub const KIND: &str = "rem";

/// One record of the table `remember`. It is a memory (with a value), an alias (with `alias_of`), or a
/// tombstone (with `forgotten_at`), which keeps the number of the last revision while its history is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    pub discord_server_id: u64,
    /// The key, normalised.
    pub rem_key: String,
    pub rem_value: Option<String>,
    /// The key as first typed.
    pub rem_display: Option<String>,
    /// 0: written by the original bot and never changed since.
    #[serde(default, skip_serializing_if = "crate::history::is_adopted")]
    pub rev: u64,
    /// The owner; 0 is somebody who wanted to be forgotten.
    pub created_by: Option<u64>,
    pub created_at: Option<Timestamp>,
    pub updated_by: Option<u64>,
    pub updated_at: Option<Timestamp>,
    /// The event of the last change.
    pub event_id: Option<u64>,
    /// The key this is another name for.
    pub alias_of: Option<String>,
    pub locked_by: Option<u64>,
    pub forgotten_at: Option<Timestamp>,
    /// Of tombstones only: when the history ends.
    pub expires_at: Option<i64>,
}

impl Table for Remembered {
    const NAME: &'static str = "remember";
    const KEY: &'static [&'static str] = &["discord_server_id", "rem_key"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("discord_server_id", Privacy::None),
            ("rem_key", Privacy::Text),
            ("rem_value", Privacy::Text),
            ("rem_display", Privacy::Text),
            ("rev", Privacy::None),
            ("created_by", Privacy::Owner),
            ("created_at", Privacy::None),
            ("updated_by", Privacy::Id),
            ("updated_at", Privacy::None),
            ("event_id", Privacy::None),
            ("alias_of", Privacy::Text),
            ("locked_by", Privacy::Id),
            ("forgotten_at", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Server,
        kept: "until it is forgotten",
    };
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.discord_server_id, self.rem_key.clone())
    }
}

impl Head for Remembered {
    fn thing((server_id, key): &Self::Key) -> Thing {
        Thing { server_id: *server_id, kind: KIND, id: key.clone() }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            rev: self.rev,
            event_id: self.event_id.unwrap_or_default(),
            by: self.updated_by.unwrap_or_default(),
            at: self.updated_at,
            expires_at: self.expires_at,
        }
    }

    fn set_stamp(&mut self, stamp: Stamp) {
        self.rev = stamp.rev;
        self.event_id = Some(stamp.event_id);
        self.updated_by = Some(stamp.by);
        self.updated_at = stamp.at;
        self.expires_at = if self.is_forgotten() { stamp.expires_at } else { None };
    }

    fn adopted(&self) -> Row {
        self.row(None)
    }
}

/// What a memory was at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Value(String),
    Forgotten,
    /// Another name for the memory with this key.
    OtherName(String),
}

impl State {
    /// What a row says.
    pub fn of(row: &Revision) -> Self {
        match row.value.clone() {
            None => Self::Forgotten,
            Some(target) if row.op == "alias" => Self::OtherName(target),
            Some(value) => Self::Value(value),
        }
    }
}

impl Remembered {
    /// Nothing yet, under this key.
    pub fn new(server_id: u64, key: &str, display: &str) -> Self {
        Self {
            discord_server_id: server_id,
            rem_key: key.to_owned(),
            rem_value: None,
            rem_display: (key != display).then(|| display.to_owned()),
            rev: 0,
            created_by: None,
            created_at: None,
            updated_by: None,
            updated_at: None,
            event_id: None,
            alias_of: None,
            locked_by: None,
            forgotten_at: None,
            expires_at: None,
        }
    }

    pub fn state(&self) -> State {
        match (&self.alias_of, self.is_forgotten()) {
            (_, true) => State::Forgotten,
            (Some(target), false) => State::OtherName(target.clone()),
            (None, false) => State::Value(self.value().to_owned()),
        }
    }

    /// In this state from `now` on. A tombstone keeps whose it was and whether it was locked, because a
    /// restore brings back neither.
    pub fn in_state(mut self, state: State, now: Timestamp) -> Self {
        self.forgotten_at = None;
        (self.rem_value, self.alias_of) = match state {
            State::Value(value) => (Some(value), None),
            State::OtherName(target) => (None, Some(target)),
            State::Forgotten => {
                self.forgotten_at = Some(now);
                (None, None)
            }
        };
        self
    }

    /// The row for this record as it is; rows expire after `keep`.
    fn row(&self, keep: Option<std::time::Duration>) -> Row {
        let value = match self.state() {
            State::Value(value) | State::OtherName(value) => Some(value),
            State::Forgotten => None,
        };
        Row { name: Some(self.display().to_owned()), value, owner: self.created_by, keep, ..Row::default() }
    }

    /// The next revision. An alias is told by its row's `op`, so that there is only one way to become one.
    pub fn next(self, op: &'static str, keep: Option<std::time::Duration>) -> Next<Self> {
        let op = if self.alias_of.is_some() { "alias" } else { op };
        let row = self.row(keep);
        Next { head: self, op, row }
    }

    pub fn is_forgotten(&self) -> bool {
        self.forgotten_at.is_some()
    }

    /// The key as people see it.
    pub fn display(&self) -> &str {
        self.rem_display.as_deref().unwrap_or(&self.rem_key)
    }

    /// The key as replies show it.
    pub fn code(&self) -> String {
        markdown::code(self.display())
    }

    /// What is remembered. The original bot could store nothing under a key.
    pub fn value(&self) -> &str {
        self.rem_value.as_deref().unwrap_or_default()
    }

    /// The owner, unless nobody knows who that is.
    pub fn owner(&self) -> Option<u64> {
        self.created_by.filter(|id| *id != 0)
    }
}

#[cfg(test)]
impl Remembered {
    /// As the original bot wrote it.
    pub fn adopted(server_id: u64, key: &str, value: &str) -> Self {
        Self { rem_value: Some(value.to_owned()), ..Self::new(server_id, key, key) }
    }
}
