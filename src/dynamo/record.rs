//! The verbs for one record: `get put put_if_absent put_when update upsert delete`; and `get_all` for several.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity, ReturnValue,
    ReturnValuesOnConditionCheckFailure,
};
use tokio::time::Instant;
use tracing::Span;

use crate::dynamo::error::{Attempts, Error, failed_write, not_applied};
use crate::dynamo::expression::{Changes, Clause, Placeholders};
use crate::dynamo::meter::{self, Outcome, Units};
use crate::dynamo::table::{Item, Key, Table, from_item, key_item, to_item};
use crate::dynamo::{Condition, Dynamo, Tried, Update, Updated};

/// How often an upsert that meets an expired record deletes it and tries again. More than once is
/// needed only if somebody writes expired records.
const EXPIRED_TRIES: usize = 3;

/// Keys in one request of `get_all` (a DynamoDB rule).
const KEYS_MAX: usize = 100;

/// How often `get_all` asks again when none of the keys was looked up.
const UNPROCESSED_TRIES: usize = 5;

impl Dynamo {
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

    /// Reads those of several records that are there, with strong consistency and in no order: a hundred cost one
    /// request. A key may be among them twice.
    pub async fn get_all<T: Table>(&self, keys: impl IntoIterator<Item = T::Key>) -> Result<Vec<T>, Error> {
        let mut seen = HashSet::new();
        let keys = keys.into_iter().map(|key| (format!("{:?}", key.clone().parts()), key));
        let mut left: Vec<Item> =
            keys.filter_map(|(text, key)| seen.insert(text).then(|| key_item::<T>(key))).collect();
        let (mut records, mut idle) = (Vec::new(), 0);
        while !left.is_empty() {
            let some = left.split_off(left.len().saturating_sub(KEYS_MAX));
            let asked = some.len();
            let (items, unprocessed) = self.batch::<T>(some).await?;
            let now = self.now();
            for item in items {
                records.extend(from_item(item, now)?);
            }
            idle = if unprocessed.len() < asked { 0 } else { idle + 1 };
            if idle >= UNPROCESSED_TRIES {
                return Err(Error::Throttled("none of the keys was looked up".into()));
            }
            if idle > 0 {
                self.pause(idle).await;
            }
            left.extend(unprocessed);
        }
        Ok(records)
    }

    /// The items that are there, and the keys that were not looked up: beyond 16 MB, or because there was too much
    /// to do.
    async fn batch<T: Table>(&self, keys: Vec<Item>) -> Result<(Vec<Item>, Vec<Item>), Error> {
        let (call, table) = (Call::new(self, T::NAME, "get all"), self.table_name(T::NAME));
        let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let keys = keys.map_err(|error| Error::Rejected(Box::new(error)))?;
        let request = self.client().batch_get_item().request_items(&table, keys);
        let request = request.return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        let output = request.send().await.map_err(|failed| call.failed(not_applied(failed)))?;
        let units = output.consumed_capacity().iter().map(|table| capacity(Some(table))).sum();
        call.done(Units::read(units));
        let items = output.responses.and_then(|mut tables| tables.remove(&table)).unwrap_or_default();
        let unprocessed = output.unprocessed_keys.and_then(|mut tables| tables.remove(&table));
        Ok((items, unprocessed.map_or_else(Vec::new, |table| table.keys)))
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
        let sent = self.update_item::<T>(key_item::<T>(key), &changes, condition.as_ref()).await?;
        self.updated(sent, &changes)
    }

    /// Changes a record and creates it if there is none; blocked only by the update's condition.
    pub async fn upsert<T: Table>(&self, key: T::Key, update: Update<T>) -> Result<Updated<T>, Error> {
        let (changes, condition) = update.into_parts();
        let sent = self.upsert_item(key, &changes, condition).await?;
        self.updated(sent, &changes)
    }

    /// Like `upsert`, for a record in which a writer finds its own writes in a way that no signature can
    /// tell: a refusal comes with what was found, also where an earlier attempt may have been applied.
    pub async fn try_upsert<T: Table>(&self, key: T::Key, update: Update<T>) -> Result<Tried<T>, Error> {
        let (changes, condition) = update.into_parts();
        match self.upsert_item(key, &changes, condition).await? {
            Sent::Applied(item) => Ok(Tried::Applied(record_of(item)?)),
            Sent::Refused { found, doubtful, .. } => {
                let found = found.map_or(Ok(None), |item| from_item(item, self.now()))?;
                Ok(Tried::Refused { found, doubtful })
            }
        }
    }

    async fn upsert_item<T: Table>(
        &self,
        key: T::Key,
        changes: &Changes,
        condition: Option<Condition<T>>,
    ) -> Result<Sent, Error> {
        let condition = Condition::into_clause_for_upsert(condition);
        let key = key_item::<T>(key);
        let mut doubt = false;
        for round in 1.. {
            let mut sent = self.update_item::<T>(key.clone(), changes, condition.as_ref()).await?;
            let Sent::Refused { found, doubtful, .. } = &mut sent else { return Ok(sent) };
            doubt |= *doubtful;
            *doubtful = doubt;
            let (Some(expires), Some(found)) = (T::EXPIRES, found) else { return Ok(sent) };
            let again = round < EXPIRED_TRIES;
            if !again || !self.delete_expired(T::NAME, expires, key.clone(), found).await? {
                return Ok(sent);
            }
        }
        unreachable!("the loop ends by returning")
    }

    async fn update_item<T: Table>(
        &self,
        key: Item,
        changes: &Changes,
        condition: Option<&Clause>,
    ) -> Result<Sent, Error> {
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
                Ok(Sent::Applied(output.attributes.unwrap_or_default()))
            }
            Err(failed) => match failed.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    call.record(Outcome::Refused, REFUSED);
                    let message = failed.message().unwrap_or("blocked").to_owned();
                    let doubtful = call.attempts.maybe_applied();
                    Ok(Sent::Refused { found: refused.item.clone(), doubtful, message })
                }
                _ => Err(call.failed(failed_write(failed, &call.attempts))),
            },
        }
    }

    /// A refused update is one of ours if its signature is found where an earlier attempt may have left it.
    fn updated<T: Table>(&self, sent: Sent, changes: &Changes) -> Result<Updated<T>, Error> {
        match sent {
            Sent::Applied(item) => record_of(item).map(Updated::Applied),
            Sent::Refused { found, doubtful: false, .. } => self.blocked(found),
            Sent::Refused { found: Some(found), .. } if changes.wrote(&found) => {
                record_of(found).map(Updated::Applied)
            }
            Sent::Refused { message, .. } => Err(Error::Uncertain(message.into())),
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
    pub(super) async fn delete_expired(
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

    fn blocked<T: Table>(&self, found: Option<Item>) -> Result<Updated<T>, Error> {
        let found = found.map_or(Ok(None), |item| from_item(item, self.now()))?;
        Ok(Updated::Blocked(found))
    }
}

/// What came back from an update.
enum Sent {
    Applied(Item),
    Refused { found: Option<Item>, doubtful: bool, message: String },
}

/// Not by `from_item`: an update may make a record expire, and is applied all the same.
fn record_of<T: Table>(item: Item) -> Result<T, Error> {
    let record = serde_dynamo::from_item(item);
    record.map_err(|error| Error::Corrupt { table: T::NAME, source: Box::new(error) })
}

/// DynamoDB charges a write for a refusal and reports none.
const REFUSED: Units = Units { read: 0.0, write: 1.0 };

/// One request, from start to bookkeeping.
pub(super) struct Call<'a> {
    dynamo: &'a Dynamo,
    kind: (&'static str, &'static str),
    started: Instant,
    span: Span,
    attempts: Attempts,
}

impl<'a> Call<'a> {
    pub(super) fn new(dynamo: &'a Dynamo, table: &'static str, operation: &'static str) -> Self {
        let (started, attempts) = (Instant::now(), Attempts::default());
        Self { dynamo, kind: (table, operation), started, span: meter::span(table, operation), attempts }
    }

    fn record(&self, outcome: Outcome, units: Units) {
        meter::end(&self.span, outcome, units);
        self.dynamo.meter().record(self.kind, outcome, units, self.started.elapsed());
    }

    pub(super) fn done(&self, units: Units) {
        self.record(Outcome::Ok, units);
    }

    pub(super) fn failed(&self, error: Error) -> Error {
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
        self.record(Outcome::Refused, REFUSED);
        match (self.attempts.maybe_applied(), ours) {
            (false, _) => Ok(Some(found)),
            (true, true) => Ok(None),
            (true, false) => Err(Error::Uncertain(failed.message().unwrap_or("blocked").into())),
        }
    }
}

pub(super) fn capacity(consumed: Option<&ConsumedCapacity>) -> f64 {
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
