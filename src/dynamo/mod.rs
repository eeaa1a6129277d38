//! Typed records over the AWS SDK.
//!
//! A record implements [`Table`] and is read and written through [`Dynamo`]: `get put put_if_absent update
//! upsert delete query transact`. What the helper takes off everybody's hands:
//!
//! - Reads are strongly consistent unless one says `get_eventually`.
//! - Expired records count as absent, in reads and in conditions.
//! - Names and values never become part of an expression.
//! - A write whose reply was lost is sent again and recognised, or ends as [`Error::Uncertain`]. Every
//!   other error means that nothing was written.
//! - A condition that does not hold is an answer, not an error.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure,
};
use rand::Rng;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};

pub mod conformance;
pub mod connect;
pub mod embedded;
mod error;
mod expression;
pub mod faults;
mod meter;
mod query;
pub mod schema;
#[cfg(test)]
pub(crate) mod storm;
mod table;
pub mod testing;
mod transaction;

pub use error::Error;
pub use expression::{Column, Condition, Element, Number, Update};
pub use meter::{BUCKETS, Units, Usage, measured};
pub use query::{Cursor, PAGES_MAX, Page, Query};
pub use table::{Index, Item, Key, KeyAttribute, KeyKind, KeyPart, NoRange, Projection, Table, TableSpec};
pub use transaction::{CONFIRM_FOR, Commit, Token, Transaction, WRITES_MAX};

use error::{Attempts, failed_write, not_applied};
use expression::{Changes, Clause, Placeholders};
use meter::{Meter, Outcome};
use table::{from_item, key_item, to_item};

/// How often an upsert that meets an expired record deletes it and tries again. More than once is
/// needed only if somebody writes expired records.
const EXPIRED_TRIES: usize = 3;

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

/// How long the helper itself tries again, on top of the SDK.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
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
        longest.mul_f64(rand::rng().random_range(0.5..=1.0))
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

    /// The time by which records expire.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Reads a record, with strong consistency.
    pub async fn get<T: Table>(&self, key: T::Key) -> Result<Option<T>, Error> {
        self.read(key, true).await
    }

    /// Reads a record at half the price; it may be as it was a second ago, or before.
    pub async fn get_eventually<T: Table>(&self, key: T::Key) -> Result<Option<T>, Error> {
        self.read(key, false).await
    }

    async fn read<T: Table>(&self, key: T::Key, consistent: bool) -> Result<Option<T>, Error> {
        let call = Call::new(self, T::NAME, "get");
        let request = self.client().get_item().table_name(self.table_name(T::NAME));
        let request = request
            .set_key(Some(key_item::<T>(key)))
            .consistent_read(consistent)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        match request.send().await {
            Ok(output) => {
                call.done(Units::read(capacity(output.consumed_capacity())));
                output.item.map_or(Ok(None), |item| from_item(item, self.now()))
            }
            Err(failed) => Err(call.failed(not_applied(failed))),
        }
    }

    /// Writes a record, whatever was there.
    pub async fn put<T: Table>(&self, record: &T) -> Result<(), Error> {
        self.put_item::<T>(to_item(record)?, None).await.map(|_| ())
    }

    /// Writes a record unless there is one; `false`: taken, nothing was written. If the reply is lost, the
    /// record found by the repeat is compared with this one, so let records name their cause.
    pub async fn put_if_absent<T: Table>(&self, record: &T) -> Result<bool, Error> {
        let clause = Condition::<T>::absent().into_clause();
        let blocked = self.put_item::<T>(to_item(record)?, Some(&clause)).await?;
        Ok(blocked.is_none())
    }

    /// Writes a record if a condition holds for the one that is there.
    pub async fn put_when<T: Table>(&self, record: T, condition: Condition<T>) -> Result<Updated<T>, Error> {
        let blocked = self.put_item::<T>(to_item(&record)?, Some(&condition.into_clause())).await?;
        match blocked {
            None => Ok(Updated::Applied(record)),
            Some(found) => self.blocked(found),
        }
    }

    /// `None`: written. Otherwise what was found in its place.
    async fn put_item<T: Table>(
        &self,
        item: Item,
        condition: Option<&Clause>,
    ) -> Result<Option<Option<Item>>, Error> {
        let call = Call::new(self, T::NAME, "put");
        let mut p = Placeholders::default();
        let condition = condition.map(|clause| clause.render(self.now(), &mut p));
        let request = self.client().put_item().table_name(self.table_name(T::NAME));
        let request = request
            .set_item(Some(item.clone()))
            .set_condition_expression(condition)
            .set_expression_attribute_names(p.names())
            .set_expression_attribute_values(p.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        match request.customize().interceptor(call.attempts.clone()).send().await {
            Ok(output) => {
                call.done(Units::write(capacity(output.consumed_capacity())));
                Ok(None)
            }
            Err(failed) => match failed.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refused)) => {
                    let ours = refused.item().is_some_and(|found| same(found, &item));
                    call.refused(ours, refused.item.clone(), &failed)
                }
                _ => Err(call.failed(failed_write(failed, &call.attempts))),
            },
        }
    }

    /// Changes a record that exists; blocked if it does not, or if the update's condition does not hold.
    pub async fn update<T: Table>(&self, key: T::Key, update: Update<T>) -> Result<Updated<T>, Error> {
        let (changes, condition) = update.when(Condition::present()).into_parts();
        let condition = condition.map(Condition::into_clause);
        match self.update_item::<T>(key_item::<T>(key), &changes, condition.as_ref()).await? {
            Ok(item) => self.applied(item),
            Err(found) => self.blocked(found),
        }
    }

    /// Changes a record and creates it if there is none; blocked only by the update's condition.
    pub async fn upsert<T: Table>(&self, key: T::Key, update: Update<T>) -> Result<Updated<T>, Error> {
        let (changes, condition) = update.into_parts();
        let condition = Condition::into_clause_for_upsert(condition);
        let key = key_item::<T>(key);
        let mut blocked = None;
        for _ in 0..EXPIRED_TRIES {
            blocked = match self.update_item::<T>(key.clone(), &changes, condition.as_ref()).await? {
                Ok(item) => return self.applied(item),
                Err(found) => found,
            };
            let (Some(expires), Some(found)) = (T::EXPIRES, &blocked) else { break };
            if !self.delete_expired(T::NAME, expires, key.clone(), found).await? {
                break;
            }
        }
        self.blocked(blocked)
    }

    async fn update_item<T: Table>(
        &self,
        key: Item,
        changes: &Changes,
        condition: Option<&Clause>,
    ) -> Result<Result<Item, Option<Item>>, Error> {
        let call = Call::new(self, T::NAME, "update");
        let mut p = Placeholders::default();
        let expression = changes.render(&mut p);
        let condition = condition.map(|clause| clause.render(self.now(), &mut p));
        let request = self.client().update_item().table_name(self.table_name(T::NAME));
        let request = request
            .set_key(Some(key))
            .set_update_expression((!expression.is_empty()).then_some(expression))
            .set_condition_expression(condition)
            .set_expression_attribute_names(p.names())
            .set_expression_attribute_values(p.values())
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        match request.customize().interceptor(call.attempts.clone()).send().await {
            Ok(output) => {
                call.done(Units::write(capacity(output.consumed_capacity())));
                Ok(Ok(output.attributes.unwrap_or_default()))
            }
            Err(failed) => match failed.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    let found = refused.item.clone();
                    let ours = found.as_ref().is_some_and(|found| changes.wrote(found));
                    let blocked = call.refused(ours, found.clone(), &failed)?;
                    Ok(blocked.map_or_else(|| Ok(found.unwrap_or_default()), Err))
                }
                _ => Err(call.failed(failed_write(failed, &call.attempts))),
            },
        }
    }

    /// Deletes a record and tells what was there.
    pub async fn delete<T: Table>(&self, key: T::Key) -> Result<Option<T>, Error> {
        let call = Call::new(self, T::NAME, "delete");
        let request = self.client().delete_item().table_name(self.table_name(T::NAME));
        let request = request
            .set_key(Some(key_item::<T>(key)))
            .return_values(ReturnValue::AllOld)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        match request.customize().interceptor(call.attempts.clone()).send().await {
            Ok(output) if output.attributes.is_none() && call.attempts.maybe_applied() => {
                Err(call.failed(Error::Uncertain("an unconfirmed attempt may have deleted it".into())))
            }
            Ok(output) => {
                call.done(Units::write(capacity(output.consumed_capacity())));
                output.attributes.map_or(Ok(None), |item| from_item(item, self.now()))
            }
            Err(failed) => Err(call.failed(failed_write(failed, &call.attempts))),
        }
    }

    /// Deletes a record that has expired, unless it was written again since; `false` if it has not.
    async fn delete_expired(
        &self,
        table: &'static str,
        expires: &str,
        key: Item,
        found: &Item,
    ) -> Result<bool, Error> {
        let Some(at @ AttributeValue::N(seconds)) = found.get(expires) else { return Ok(false) };
        if seconds.parse::<i64>().is_ok_and(|seconds| seconds > self.now().seconds()) {
            return Ok(false);
        }
        let call = Call::new(self, table, "delete");
        let mut p = Placeholders::default();
        let condition = format!("{} = {}", p.name(expires), p.value(at));
        let request = self.client().delete_item().table_name(self.table_name(table));
        let request = request
            .set_key(Some(key))
            .condition_expression(condition)
            .set_expression_attribute_names(p.names())
            .set_expression_attribute_values(p.values())
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        match request.customize().interceptor(call.attempts.clone()).send().await {
            Ok(output) => {
                call.done(Units::write(capacity(output.consumed_capacity())));
                Ok(true)
            }
            // Somebody deleted it or wrote it again: in both cases there is something new to be seen.
            Err(failed) => match failed.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => {
                    call.done(Units::write(1.0));
                    Ok(true)
                }
                // Not the write that was asked for: that one certainly did not happen.
                _ => Err(call.failed(not_applied(failed))),
            },
        }
    }

    fn applied<T: Table>(&self, item: Item) -> Result<Updated<T>, Error> {
        // Not by `from_item`: an update may make a record expire, and is applied all the same.
        let record = serde_dynamo::from_item(item);
        let record = record.map_err(|error| Error::Corrupt { table: T::NAME, source: Box::new(error) })?;
        Ok(Updated::Applied(record))
    }

    fn blocked<T: Table>(&self, found: Option<Item>) -> Result<Updated<T>, Error> {
        let found = found.map_or(Ok(None), |item| from_item(item, self.now()))?;
        Ok(Updated::Blocked(found))
    }

    /// What the store was asked and what it cost, by table and operation, since the start.
    pub fn usage(&self) -> Vec<((&'static str, &'static str), Usage)> {
        self.meter().usage().into_iter().collect()
    }
}

/// One request, from start to bookkeeping.
struct Call<'a> {
    dynamo: &'a Dynamo,
    kind: (&'static str, &'static str),
    started: Instant,
    attempts: Attempts,
}

impl<'a> Call<'a> {
    fn new(dynamo: &'a Dynamo, table: &'static str, operation: &'static str) -> Self {
        Self { dynamo, kind: (table, operation), started: Instant::now(), attempts: Attempts::default() }
    }

    fn record(&self, outcome: Outcome, units: Units) {
        self.dynamo.meter().record(self.kind, outcome, units, self.started.elapsed());
    }

    fn done(&self, units: Units) {
        self.record(Outcome::Ok, units);
    }

    fn failed(&self, error: Error) -> Error {
        self.record(Outcome::Failed, Units::default());
        error
    }

    /// A condition did not hold. That is the answer, unless an earlier attempt may have been applied and
    /// have changed what the condition saw: then `ours` tells whether that is what happened.
    fn refused(
        &self,
        ours: bool,
        found: Option<Item>,
        failed: &impl ProvideErrorMetadata,
    ) -> Result<Option<Option<Item>>, Error> {
        // DynamoDB charges a write and reports none.
        self.record(Outcome::Refused, Units::write(1.0));
        match (self.attempts.maybe_applied(), ours) {
            (false, _) => Ok(Some(found)),
            (true, true) => Ok(None),
            (true, false) => Err(Error::Uncertain(failed.message().unwrap_or("blocked").into())),
        }
    }
}

fn capacity(consumed: Option<&ConsumedCapacity>) -> f64 {
    consumed.and_then(ConsumedCapacity::capacity_units).unwrap_or_default()
}

/// Whether two records are the same; sets have no order.
fn same(a: &Item, b: &Item) -> bool {
    let sorted = |item: &Item| -> HashMap<String, AttributeValue> {
        item.iter().map(|(name, value)| (name.clone(), sorted_set(value))).collect()
    };
    sorted(a) == sorted(b)
}

fn sorted_set(value: &AttributeValue) -> AttributeValue {
    let mut value = value.clone();
    if let AttributeValue::Ns(set) | AttributeValue::Ss(set) = &mut value {
        set.sort_unstable();
    }
    value
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
