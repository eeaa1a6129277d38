//! [`Due`]: what must happen later, as a record, so that it happens whoever is running then.
//!
//! A record stays until what it asks for is done. Its partition is an hour, so what is due is found by asking
//! for the hours that have come. [`Note`] is what the jobs themselves must not forget.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::dynamo::{Personal, Places, Privacy, Table};

/// One record of the table `due`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// `2026-05-01T14`
    pub hour: String,
    /// `<time>#<kind>#<id>`
    pub at: String,
    /// Which job it is for.
    pub kind: String,
    pub user_id: Option<u64>,
    pub code: Option<String>,
    pub occ: Option<u64>,
    pub discord_server_id: Option<u64>,
}

impl Due {
    /// Something of this kind, at this time. The id tells it from others of the same second.
    pub fn new(at: Timestamp, kind: &str, id: &str) -> Self {
        Self { hour: hour(at), at: format!("{at}#{kind}#{id}"), kind: kind.to_owned(), ..Self::default() }
    }

    /// When it is due.
    pub fn time(&self) -> Option<Timestamp> {
        Timestamp::parse(self.at.split('#').next()?)
    }
}

impl Table for Due {
    const NAME: &'static str = "due";
    const KEY: &'static [&'static str] = &["hour", "at"];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("hour", Privacy::None),
            // Holds an id, like `user_id`; the features take away what they have put here.
            ("at", Privacy::Id),
            ("kind", Privacy::None),
            ("user_id", Privacy::Id),
            ("code", Privacy::None),
            ("occ", Privacy::None),
            ("discord_server_id", Privacy::None),
        ],
        places: Places::Nowhere,
        kept: "until it is done",
    };
    type Key = (String, String);

    fn key(&self) -> Self::Key {
        (self.hour.clone(), self.at.clone())
    }
}

/// The partition of a time.
pub fn hour(at: Timestamp) -> String {
    /// `2026-05-01T14`
    const LENGTH: usize = 13;
    let mut text = at.to_string();
    text.truncate(LENGTH);
    text
}

/// When an hour begins.
pub fn start_of(hour: &str) -> Option<Timestamp> {
    Timestamp::parse(&format!("{hour}:00:00Z"))
}

/// One record of the table `botdata`: something the bot itself must not forget. What the original bot kept
/// there is under other keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub key: String,
    pub value: Option<String>,
    pub updated_at: Option<Timestamp>,
}

impl Table for Note {
    const NAME: &'static str = "botdata";
    const KEY: &'static [&'static str] = &["key"];
    const PERSONAL: Personal = Personal {
        attributes: &[("key", Privacy::None), ("value", Privacy::None), ("updated_at", Privacy::None)],
        places: Places::Nowhere,
        kept: "as long as the bot runs",
    };
    type Key = String;

    fn key(&self) -> Self::Key {
        self.key.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_in_the_hour_of_its_time() {
        let at = Timestamp::parse("2026-05-01T14:59:59Z").unwrap();
        let due = Due::new(at, "reminder", "7-abcd-0");
        assert_eq!((due.hour.as_str(), due.time()), ("2026-05-01T14", Some(at)));
        assert_eq!(start_of(&due.hour), Timestamp::parse("2026-05-01T14:00:00Z"));
        assert!(due.at < format!("{at}~"), "a tilde comes after everything of a second");
    }
}
