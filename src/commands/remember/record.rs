//! [`Remembered`]: a memory as the table holds it. Also another name for one, and what is left of one that
//! was forgotten.
//!
//! The table is the original bot's, in place: its names stay, and what it did not have is optional.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::markdown;

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
    #[serde(default)]
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

impl Remembered {
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
        Self {
            discord_server_id: server_id,
            rem_key: key.to_owned(),
            rem_value: Some(value.to_owned()),
            rem_display: None,
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
}
