//! Typed records over the AWS SDK.
//!
//! A record implements [`Table`] and is read and written through [`Dynamo`]: `get get_all put put_if_absent update
//! upsert delete query transact`. What the helper takes off everybody's hands:
//!
//! - Reads are strongly consistent unless one says `get_eventually`.
//! - Expired records count as absent, in reads and in conditions.
//! - Names and values never become part of an expression.
//! - A write whose reply was lost is sent again and recognised, or ends as [`Error::Uncertain`]. Every
//!   other error means that nothing was written.
//! - A condition that does not hold is an answer, not an error.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::{Clock, Timestamp};

mod around;
pub mod compare;
pub mod conformance;
pub mod connect;
pub mod embedded;
mod error;
pub mod examine;
mod expression;
pub mod faults;
mod meter;
mod personal;
mod privacy;
mod query;
pub mod raw;
mod record;
pub mod schema;
#[cfg(test)]
pub(crate) mod storm;
mod table;
mod tap;
pub mod testing;
mod transaction;
mod trouble;

pub use error::Error;
pub use expression::{Column, Condition, Element, Number, Update};
pub use meter::{BUCKETS, Last, Units, Usage, measured};
pub use personal::{Depth, Erased, Place};
pub use privacy::{Personal, Places, Privacy, Reach};
pub use query::{Cursor, PAGES_MAX, Page, Query};
pub use table::{Index, Item, Key, KeyAttribute, KeyKind, KeyPart, NoRange, Projection, Table, TableSpec};
pub use transaction::{CONFIRM_FOR, Commit, Token, Transaction, WRITES_MAX};

use meter::Meter;

/// A handle to the tables; cloning it is cheap.
#[derive(Clone)]
pub struct Dynamo(Arc<Inner>);

struct Inner {
    client: Client,
    clock: Clock,
    prefix: String,
    patience: Patience,
    meter: Meter,
    turns: Vec<Mutex<()>>,
}

/// In one process changes to the same record take turns, so that only other instances are in the way. A
/// record's turn is one of this many, so two records seldom wait for each other, and no list grows.
const TURNS: usize = 256;

impl fmt::Debug for Dynamo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dynamo({:?})", self.0.prefix)
    }
}

/// How long a store is waited for, and how long the helper itself tries again, on top of the SDK.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// One attempt over a network, connecting included.
    pub attempt: Duration,
    /// All attempts of one request over a network.
    pub request: Duration,
    /// How long an unconfirmed transaction is sent again.
    pub confirm_for: Duration,
    /// The first pause is up to this; each further one up to twice as long.
    pub backoff: Duration,
    pub backoff_max: Duration,
}

impl Patience {
    /// A random pause before the round after this one.
    fn pause(&self, round: u32) -> Duration {
        let longest = self.backoff.saturating_mul(1 << round.min(10)).min(self.backoff_max);
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// The outcome of a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Updated<T> {
    /// Done, and the record as it is now.
    Applied(T),
    /// Nothing was written; the record as it was.
    Blocked(Option<T>),
}

impl<T> Updated<T> {
    pub fn applied(self) -> Option<T> {
        match self {
            Self::Applied(record) => Some(record),
            Self::Blocked(_) => None,
        }
    }
}

/// The outcome of [`Dynamo::try_upsert`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Tried<T> {
    /// Done, and the record as it is now.
    Applied(T),
    /// This attempt wrote nothing; the record as it was. Doubtful: an earlier attempt at the same write may
    /// have been applied, so that `found` must be searched for it.
    Refused { found: Option<T>, doubtful: bool },
}

impl Dynamo {
    pub(crate) fn new(client: Client, clock: Clock, prefix: String, patience: Patience) -> Self {
        let turns = (0..TURNS).map(|_| Mutex::default()).collect();
        Self(Arc::new(Inner { client, clock, prefix, patience, meter: Meter::default(), turns }))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.0.prefix
    }

    pub(crate) fn table_name(&self, table: &str) -> String {
        format!("{}{table}", self.0.prefix)
    }

    pub(crate) fn patience(&self) -> Patience {
        self.0.patience
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// Waits until nobody else in this process changes this record.
    pub(crate) async fn turn<T: Table>(&self, key: &T::Key) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        T::NAME.hash(&mut hasher);
        for part in key.clone().parts() {
            // One of the two is there; which one is the same for all keys of a table.
            (part.as_n().ok(), part.as_s().ok()).hash(&mut hasher);
        }
        let turns = &self.0.turns;
        turns[hasher.finish() as usize % turns.len()].lock().await
    }

    /// Waits before the next round of an attempt that another instance disturbed.
    pub(crate) async fn pause(&self, round: usize) {
        let pause = self.0.patience.pause(u32::try_from(round).unwrap_or(u32::MAX));
        tokio::time::sleep(pause).await;
    }

    /// The clock by which records expire.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The time by which records expire.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// How long the last request took, and when one failed last.
    pub fn last(&self) -> Last {
        self.meter().last()
    }

    /// What the store was asked and what it cost, by table and operation, since the start.
    pub fn usage(&self) -> Vec<((&'static str, &'static str), Usage)> {
        self.meter().usage().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        server_id: u64,
        name: String,
        text: String,
        #[serde(default)]
        count: u64,
        expires_at: Option<i64>,
    }

    impl Table for Note {
        const NAME: &'static str = "note";
        const KEY: &'static [&'static str] = &["server_id", "name"];
        const EXPIRES: Option<&'static str> = Some("expires_at");
        type Key = (u64, String);

        fn key(&self) -> Self::Key {
            (self.server_id, self.name.clone())
        }
    }

    const TABLES: &[TableSpec] = &[TableSpec::of::<Note>()];
    const TEXT: Column<Note, String> = Column::new("text");
    const COUNT: Column<Note, u64> = Column::new("count");

    fn note(text: &str) -> Note {
        Note { server_id: 1, name: "cat".to_owned(), text: text.to_owned(), count: 0, expires_at: None }
    }

    fn expiring(text: &str, at: i64) -> Note {
        Note { expires_at: Some(at), ..note(text) }
    }

    async fn store() -> (Dynamo, Clock) {
        let clock = Clock::manual(Timestamp::from_seconds(1_000));
        (testing::embedded_at(TABLES, clock.clone()).await, clock)
    }

    #[tokio::test]
    async fn what_was_put_is_read() {
        let (dynamo, _) = store().await;
        assert_eq!(dynamo.get::<Note>(note("").key()).await.unwrap(), None);
        dynamo.put(&note("meow")).await.unwrap();
        assert_eq!(dynamo.get(note("").key()).await.unwrap(), Some(note("meow")));
        assert_eq!(dynamo.get_eventually(note("").key()).await.unwrap(), Some(note("meow")));
        assert_eq!(dynamo.delete(note("").key()).await.unwrap(), Some(note("meow")));
        assert_eq!(dynamo.delete::<Note>(note("").key()).await.unwrap(), None);
    }

    #[tokio::test]
    async fn the_first_put_wins() {
        let (dynamo, _) = store().await;
        assert!(dynamo.put_if_absent(&note("meow")).await.unwrap());
        assert!(!dynamo.put_if_absent(&note("woof")).await.unwrap());
        assert!(!dynamo.put_if_absent(&note("meow")).await.unwrap());
        assert_eq!(dynamo.get(note("").key()).await.unwrap(), Some(note("meow")));
    }

    #[tokio::test]
    async fn an_expired_record_is_absent_for_reads_and_writes() {
        let (dynamo, clock) = store().await;
        let key = || note("").key();
        dynamo.put(&expiring("old", 1_010)).await.unwrap();
        assert!(!dynamo.put_if_absent(&note("new")).await.unwrap());

        clock.advance(Duration::from_secs(10));
        assert_eq!(dynamo.get::<Note>(key()).await.unwrap(), None);
        let update = || Update::new().set(TEXT, "x".to_owned());
        assert_eq!(dynamo.update(key(), update()).await.unwrap(), Updated::Blocked(None));
        let upserted = dynamo.upsert(key(), update().add(COUNT, 2)).await.unwrap();
        assert_eq!(upserted, Updated::Applied(Note { count: 2, ..note("x") }), "nothing of the old one");

        dynamo.put(&expiring("old", 1_010)).await.unwrap();
        assert!(dynamo.put_if_absent(&note("new")).await.unwrap());
    }

    #[tokio::test]
    async fn a_condition_that_does_not_hold_is_an_answer() {
        let (dynamo, _) = store().await;
        let raise = || Update::new().add(COUNT, 1).when(Condition::less(COUNT, 1));
        assert_eq!(dynamo.update(note("").key(), raise()).await.unwrap(), Updated::Blocked(None));
        dynamo.put(&note("meow")).await.unwrap();
        let raised = Note { count: 1, ..note("meow") };
        assert_eq!(dynamo.update(note("").key(), raise()).await.unwrap(), Updated::Applied(raised.clone()));
        let blocked = dynamo.update(note("").key(), raise()).await.unwrap();
        assert_eq!(blocked, Updated::Blocked(Some(raised)));
    }

    #[tokio::test]
    async fn a_transaction_is_all_or_nothing_and_once() {
        let (dynamo, _) = store().await;
        let other = Note { name: "dog".to_owned(), ..note("woof") };
        let both = |text: &str| {
            Transaction::new(Token::new("event")).put_if_absent(&note(text)).put_if_absent(&other)
        };
        dynamo.put(&other).await.unwrap();
        assert_eq!(dynamo.transact(both("meow")).await.unwrap(), Commit::Blocked(1));
        assert_eq!(dynamo.get::<Note>(note("").key()).await.unwrap(), None);

        dynamo.delete::<Note>(other.key()).await.unwrap();
        assert_eq!(dynamo.transact(both("meow")).await.unwrap(), Commit::Done);
        assert_eq!(dynamo.transact(both("meow")).await.unwrap(), Commit::Done, "a repeat is harmless");
        assert_eq!(dynamo.transact(both("purr")).await.unwrap(), Commit::Repeated);
    }

    #[tokio::test]
    async fn an_upsert_in_a_transaction_forgets_what_has_expired() {
        let (dynamo, clock) = store().await;
        dynamo.put(&Note { count: 7, ..expiring("old", 1_010) }).await.unwrap();
        clock.advance(Duration::from_secs(10));
        let update = Update::new().add(COUNT, 1).set(TEXT, "new".to_owned());
        let transaction = Transaction::new(Token::new("event")).upsert(note("").key(), update);
        assert_eq!(dynamo.transact(transaction).await.unwrap(), Commit::Done);
        let expected = Note { count: 1, ..note("new") };
        assert_eq!(dynamo.get(note("").key()).await.unwrap(), Some(expected));
    }

    #[tokio::test]
    async fn what_it_costs_is_known() {
        let (dynamo, _) = store().await;
        let (_, units) = measured(async {
            dynamo.get::<Note>(note("").key()).await.unwrap();
            dynamo.get_eventually::<Note>(note("").key()).await.unwrap();
            dynamo.put(&note("meow")).await.unwrap();
            dynamo.put_if_absent(&note("meow")).await.unwrap();
            let check = Transaction::new(Token::new("a")).check(note("").key(), Condition::<Note>::present());
            assert_eq!(dynamo.transact(check).await.unwrap(), Commit::Done);
        })
        .await;
        assert_eq!(units, Units { read: 1.5, write: 4.0 });
        let usage = dynamo.usage().into_iter().find(|(kind, _)| *kind == ("note", "put")).unwrap().1;
        assert_eq!((usage.requests, usage.refused, usage.errors), (2, 1, 0));
    }

    #[tokio::test]
    async fn a_record_beyond_the_limit_is_too_large() {
        let (dynamo, _) = store().await;
        let long = note(&"x".repeat(500_000));
        assert!(matches!(dynamo.put(&long).await, Err(Error::TooLarge(_))));
        let transaction = Transaction::new(Token::new("a")).put(&long);
        assert!(matches!(dynamo.transact(transaction).await, Err(Error::TooLarge(_))));
    }
}
