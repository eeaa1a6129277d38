//! [`Person`]: what the bot keeps about a person whatever the server, and in which servers it keeps more.
//!
//! Before a record that names a person is written, the server is noted in that person's own record. Export
//! and erasure walk these servers, so nothing has to be scanned and nothing is overlooked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::dynamo::{self, Column, Dynamo, Personal, Places, Privacy, Table, Update, Updated};

/// Pairs of person and server that need not be noted again; beyond it all are forgotten, and noted once more.
const NOTED_MAX: usize = 100_000;

/// For this long a process relies on having noted somebody. Erasure waits it out.
pub const NOTED_FOR: Duration = Duration::from_secs(600);

/// One record of the table `users`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub user_id: u64,
    /// An IANA zone.
    pub timezone: Option<String>,
    /// Their statistics are nobody else's business.
    pub stats_private: Option<bool>,
    /// Servers whose records name this person.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "serde_dynamo::number_set")]
    pub guilds: BTreeSet<u64>,
    pub updated_at: Option<Timestamp>,
    /// When they were last given what is kept about them, in milliseconds since 1970.
    pub exported_at: Option<i64>,
}

impl Table for Person {
    const NAME: &'static str = "users";
    const KEY: &'static [&'static str] = &["user_id"];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("user_id", Privacy::Subject),
            ("timezone", Privacy::None),
            ("stats_private", Privacy::None),
            ("guilds", Privacy::None),
            ("updated_at", Privacy::None),
            ("exported_at", Privacy::None),
        ],
        places: Places::Person,
        kept: "until you are forgotten",
    };
    type Key = u64;

    fn key(&self) -> Self::Key {
        self.user_id
    }
}

const GUILDS: Column<Person, BTreeSet<u64>> = Column::new("guilds");

/// Who is known to be noted where, and since when, so that each process notes a person in a server seldom.
#[derive(Debug, Default)]
pub struct Noted(Mutex<HashMap<(u64, u64), Timestamp>>);

impl Noted {
    /// Notes that records of a server are about to name a person. Only after this may they be written.
    pub async fn note(&self, dynamo: &Dynamo, person: u64, server_id: u64) -> Result<(), dynamo::Error> {
        let now = dynamo.now();
        let noted = self.known().get(&(person, server_id)).copied();
        if server_id == 0 || noted.is_some_and(|at| now.since(at) < NOTED_FOR) {
            return Ok(());
        }
        // Inserting twice is inserting once, so a lost reply does no harm.
        let update = Update::new().insert(GUILDS, server_id);
        match dynamo.upsert::<Person>(person, update).await {
            Ok(Updated::Applied(_) | Updated::Blocked(_)) => {}
            // Nothing was written of what this is a preparation for.
            Err(dynamo::Error::Uncertain(error)) => return Err(dynamo::Error::Unavailable(error)),
            Err(error) => return Err(error),
        }
        let mut known = self.known();
        if known.len() >= NOTED_MAX {
            known.clear();
        }
        known.insert((person, server_id), now);
        Ok(())
    }

    /// Forgets a person who was erased, so that they are noted again when they come back.
    pub fn forget(&self, person: u64) {
        self.known().retain(|(known, _), _| *known != person);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(u64, u64), Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::{TableSpec, Units, measured, testing};

    #[tokio::test]
    async fn a_person_is_noted_once_a_server_and_process() {
        let dynamo = testing::embedded(&[TableSpec::of::<Person>()]).await;
        let noted = Noted::default();
        noted.note(&dynamo, 7, 1).await.unwrap();
        let (_, units) = measured(async { noted.note(&dynamo, 7, 1).await.unwrap() }).await;
        assert_eq!(units, Units::default());
        noted.note(&dynamo, 7, u64::MAX).await.unwrap();
        noted.note(&dynamo, 7, 0).await.unwrap();
        let person = dynamo.get::<Person>(7).await.unwrap().unwrap();
        assert_eq!(person.guilds, BTreeSet::from([1, u64::MAX]), "direct messages are no server");
        dynamo.delete::<Person>(7).await.unwrap();
        noted.forget(7);
        noted.note(&dynamo, 7, 2).await.unwrap();
        assert_eq!(dynamo.get::<Person>(7).await.unwrap().unwrap().guilds, BTreeSet::from([2]));
    }
}
