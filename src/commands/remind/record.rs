//! [`Reminder`]: what somebody wants to be told, and how far telling them has come.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::due::Due;
use crate::dynamo::{Column, Personal, Places, Privacy, Table};
use crate::markdown;

/// The kind of its records in `due`.
pub const KIND: &str = "reminder";

/// One record of the table `reminders`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    pub user_id: u64,
    /// What its person calls it by.
    pub code: String,
    pub text: String,
    /// Where it is posted; absent: in a direct message.
    pub channel_id: Option<u64>,
    pub discord_server_id: u64,
    pub due_at: Timestamp,
    pub created_at: Timestamp,
    /// How often it was put off. It tells one delivery from the next.
    #[serde(default)]
    pub occ: u64,
    pub state: State,
    /// Who is delivering it, different for every attempt, and until when nobody else does.
    pub lease_by: Option<String>,
    pub lease_until: Option<i64>,
    /// The event of the last change by a person.
    pub event_id: u64,
    pub message_id: Option<u64>,
    /// Once it is over.
    pub expires_at: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Waiting,
    /// Somebody has begun to deliver it; nobody knows whether it has arrived.
    Sending,
    Sent,
    Cancelled,
    /// There was no place left where it could be delivered.
    Undeliverable,
}

impl Table for Reminder {
    const NAME: &'static str = "reminders";
    const KEY: &'static [&'static str] = &["user_id", "code"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("user_id", Privacy::Subject),
            ("code", Privacy::None),
            ("text", Privacy::Text),
            ("channel_id", Privacy::None),
            ("discord_server_id", Privacy::None),
            ("due_at", Privacy::None),
            ("created_at", Privacy::None),
            ("occ", Privacy::None),
            ("state", Privacy::None),
            ("lease_by", Privacy::None),
            ("lease_until", Privacy::None),
            ("event_id", Privacy::None),
            ("message_id", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Person,
        kept: "for 7 days after they have come",
    };
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.user_id, self.code.clone())
    }
}

pub const STATE: Column<Reminder, State> = Column::new("state");
pub const OCC: Column<Reminder, u64> = Column::new("occ");
pub const DUE_AT: Column<Reminder, Timestamp> = Column::new("due_at");
pub const LEASE_BY: Column<Reminder, String> = Column::new("lease_by");
pub const LEASE_UNTIL: Column<Reminder, i64> = Column::new("lease_until");
pub const EVENT_ID: Column<Reminder, u64> = Column::new("event_id");
pub const MESSAGE_ID: Column<Reminder, u64> = Column::new("message_id");
pub const EXPIRES_AT: Column<Reminder, i64> = Column::new("expires_at");

impl Reminder {
    /// What is due: the record that brings it back at its time.
    pub fn due(&self) -> Due {
        let id = format!("{}-{}-{}", self.user_id, self.code, self.occ);
        Due {
            user_id: Some(self.user_id),
            code: Some(self.code.clone()),
            occ: Some(self.occ),
            discord_server_id: Some(self.discord_server_id),
            ..Due::new(self.due_at, KIND, &id)
        }
    }

    /// Still to be delivered.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Waiting | State::Sending)
    }

    /// The code as people see it.
    pub fn name(&self) -> String {
        markdown::code(&self.code)
    }

    /// What stands for this one delivery: in its nonce and in the ids of its buttons.
    pub fn delivery(&self) -> String {
        format!("{}-{}-{}", self.user_id, self.code, self.occ)
    }
}

/// The code of the reminder that an event makes; the next one if that is taken. An event delivered again
/// finds the same.
pub fn code(event_id: u64, attempt: u64) -> String {
    /// Digits and letters that are not taken for each other, small.
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    const LENGTH: usize = 4;
    let digest = Sha256::digest(format!("{event_id}/{attempt}"));
    digest.iter().take(LENGTH).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

/// A nonce for a delivery, at one place: Discord knows it from all others of the bot.
pub fn nonce(delivery: &str, place: &str) -> String {
    /// Discord takes 25 characters, and each part of a message adds some.
    const BYTES: usize = 11;
    let digest = Sha256::digest(format!("reminder/{delivery}/{place}"));
    digest.iter().take(BYTES).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text takes text");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_always_makes_the_same_codes() {
        assert_eq!(code(u64::MAX, 0), code(u64::MAX, 0));
        assert_ne!(code(1, 0), code(1, 1));
        assert!(code(5, 9).len() == 4 && code(5, 9).is_ascii());
    }

    #[test]
    fn a_nonce_leaves_room_for_the_number_of_a_part() {
        let (a, b) = (nonce("7-abcd-0", "channel"), nonce("7-abcd-0", "direct"));
        assert!(a.len() == 22 && a != b && a != nonce("7-abcd-1", "channel"));
    }
}
