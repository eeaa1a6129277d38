//! [`Sparkles`]: a person's totals in a server, and the rows of the ledger.
//!
//! The table is the original bot's, in place: its names stay, and what it did not have is optional. One
//! record serves a person twice, for what they got and for what they gave; each side changes its own
//! attributes only, so neither stands in the other's way.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::dynamo::{Column, Condition, Personal, Places, Privacy, Table};
use crate::history::{Revision, Thing};

/// The kind of the ledger's rows in the history.
pub const KIND: &str = "sparkle";

/// What a sparkle and its undo are called there.
pub const GIVEN_OP: &str = "sparkle";
pub const UNDO_OP: &str = "undo";

/// What the entry of an undo has behind that of its sparkle. There is one such key, so there is one undo.
const UNDO_MARK: &str = ".undo";

/// One record of the table `sparkle`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sparkles {
    pub discord_server_id: u64,
    /// The person's id, in digits.
    pub discord_handle: String,
    #[serde(default)]
    pub total_sparkles: i64,
    /// As the original bot left them, with `|` between; they are rows of the ledger once they are adopted.
    pub sparkle_reasons: Option<String>,
    pub updated_at: Option<Timestamp>,
    /// Changes of what they got; 0: none since the original bot.
    #[serde(default, skip_serializing_if = "crate::history::is_adopted")]
    pub rev: u64,
    pub event_id: Option<u64>,
    pub first_at: Option<Timestamp>,
    /// Never goes back.
    pub last_at: Option<Timestamp>,
    /// 0 stands for someone who asked to be forgotten.
    pub last_from: Option<u64>,
    #[serde(default)]
    pub given: i64,
    #[serde(default)]
    pub given_today: u32,
    /// The day of `given_today`: `2026-05-07`.
    pub given_day: Option<String>,
}

impl Table for Sparkles {
    const NAME: &'static str = "sparkle";
    const KEY: &'static [&'static str] = &["discord_server_id", "discord_handle"];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("discord_server_id", Privacy::None),
            ("discord_handle", Privacy::Within(|digits| digits.parse().ok())),
            ("total_sparkles", Privacy::None),
            ("sparkle_reasons", Privacy::Text),
            ("updated_at", Privacy::None),
            ("rev", Privacy::None),
            ("event_id", Privacy::None),
            ("first_at", Privacy::None),
            ("last_at", Privacy::None),
            ("last_from", Privacy::Id),
            ("given", Privacy::None),
            ("given_today", Privacy::None),
            ("given_day", Privacy::None),
        ],
        places: Places::Server,
        kept: "as long as the server has me",
    };
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.discord_server_id, self.discord_handle.clone())
    }
}

pub const TOTAL: Column<Sparkles, i64> = Column::new("total_sparkles");
pub const UPDATED_AT: Column<Sparkles, Timestamp> = Column::new("updated_at");
pub const REV: Column<Sparkles, u64> = Column::new("rev");
pub const EVENT_ID: Column<Sparkles, u64> = Column::new("event_id");
pub const FIRST_AT: Column<Sparkles, Timestamp> = Column::new("first_at");
pub const LAST_AT: Column<Sparkles, Timestamp> = Column::new("last_at");
pub const LAST_FROM: Column<Sparkles, u64> = Column::new("last_from");
pub const GIVEN: Column<Sparkles, i64> = Column::new("given");
pub const GIVEN_TODAY: Column<Sparkles, u32> = Column::new("given_today");
pub const GIVEN_DAY: Column<Sparkles, String> = Column::new("given_day");

pub fn key(server_id: u64, person: u64) -> (u64, String) {
    (server_id, person.to_string())
}

impl Sparkles {
    /// That nobody has given this person a sparkle since the record was read, or taken one back.
    pub fn unchanged(rev: u64) -> Condition<Self> {
        match rev {
            // The record may be missing, the original bot's, or there for what they gave.
            0 => Condition::has(REV).not().or(Condition::equals(REV, 0)),
            rev => Condition::equals(REV, rev),
        }
    }

    /// That this person has not given one since.
    pub fn as_generous(&self) -> Condition<Self> {
        match &self.given_day {
            None => Condition::has(GIVEN_DAY).not(),
            Some(day) => Condition::equals(GIVEN_DAY, day.clone())
                .and(Condition::equals(GIVEN_TODAY, self.given_today)),
        }
    }

    /// How many they have given on a day.
    pub fn given_on(&self, day: &str) -> u32 {
        // Events may arrive out of order around midnight: what is later is not forgotten for what is earlier.
        if self.given_day.as_deref().is_some_and(|last| last >= day) { self.given_today } else { 0 }
    }
}

/// The ledger of what a person got.
pub fn thing(server_id: u64, person: u64) -> Thing {
    Thing { server_id, kind: KIND, id: person.to_string() }
}

/// The entry of the row that takes back the sparkle of an event.
pub fn undo_entry(thing: &Thing, event: u64) -> String {
    format!("{}{UNDO_MARK}", thing.entry(event))
}

/// A row of the ledger, as far as the index `by_event` holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose event it is. 0: the original bot's.
    pub event: u64,
    /// The sparkle that is meant: the row's own, or the one it takes back.
    pub sparkle: u64,
    pub taken_back: bool,
    pub by: Option<u64>,
    pub to: u64,
    pub reason: Option<String>,
    pub at: Option<Timestamp>,
}

impl Entry {
    /// Reads a row; `None` if it is of another kind.
    pub fn read(row: &Revision) -> Option<Self> {
        let mut parts = row.entry.split('#');
        let (kind, to, event) = (parts.next()?, parts.next()?, parts.next()?);
        if kind != KIND {
            return None;
        }
        let undone = event.strip_suffix(UNDO_MARK);
        Some(Self {
            event: row.event_id.unwrap_or_default(),
            sparkle: undone.unwrap_or(event).parse().ok()?,
            taken_back: undone.is_some(),
            by: row.by,
            to: to.parse().ok()?,
            reason: row.name.clone(),
            at: row.time(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_it_is_about() {
        let thing = thing(1, 7);
        let row = |entry: String| Revision {
            discord_server_id: 1,
            entry,
            event_id: Some(9),
            by: Some(3),
            name: Some("tea".to_owned()),
            ..Revision::default()
        };
        let given = Entry::read(&row(thing.entry(9))).unwrap();
        assert_eq!((given.event, given.sparkle, given.taken_back, given.to), (9, 9, false, 7));
        let undone = Entry::read(&row(undo_entry(&thing, 5))).unwrap();
        assert_eq!((undone.event, undone.sparkle, undone.taken_back, undone.to), (9, 5, true, 7));
        assert_eq!(Entry::read(&row("rem#7#00000000000000000009".to_owned())), None);
        // Between its own sparkle and the next one.
        assert!(thing.entry(5) < undo_entry(&thing, 5) && undo_entry(&thing, 5) < thing.entry(6));
    }
}
