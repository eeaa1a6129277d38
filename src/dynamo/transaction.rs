//! [`Transaction`]: several writes, all or nothing, at most once for its token.
//!
//! The token makes a repeat harmless: DynamoDB remembers it for ten minutes after a success and answers a
//! second sending without applying it. So an answer that got lost is asked for again, until
//! [`CONFIRM_FOR`] has passed, and only then the outcome counts as unknown.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    CancellationReason, ConditionCheck, ConsumedCapacity, Delete, Put, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update as UpdateItem,
};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::clock::Timestamp;
use crate::dynamo::Dynamo;
use crate::dynamo::error::{self, Attempts, Error};
use crate::dynamo::expression::{Changes, Clause, Condition, Placeholders, Update};
use crate::dynamo::meter::{self, Outcome, Units};
use crate::dynamo::raw::Swap;
use crate::dynamo::table::{Item, Table, key_item, to_item};

/// How long an unconfirmed transaction is sent again. A command has 8 seconds in all, of which reading
/// before and replying after need some.
pub const CONFIRM_FOR: Duration = Duration::from_secs(5);

/// DynamoDB takes at most this many writes in one transaction.
pub const WRITES_MAX: usize = 100;

/// DynamoDB takes at most this many characters.
const TOKEN_MAX: usize = 36;

/// Tells one transaction from all others: a repeat has the same token and the same contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// From 1 to 36 characters, such as `cause.token(0)`.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        assert!((1..=TOKEN_MAX).contains(&text.len()), "a token has 1 to {TOKEN_MAX} characters: {text:?}");
        Self(text)
    }

    /// DynamoDB remembers tokens by account, not by table: two bots that share an account and hear the same
    /// event must not take each other's.
    fn for_prefix(&self, prefix: &str) -> String {
        if prefix.is_empty() {
            return self.0.clone();
        }
        let digest = Sha256::new().chain_update(prefix).chain_update([0]).chain_update(&self.0).finalize();
        digest[..TOKEN_MAX / 2].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    Done,
    /// Nothing was written, because the condition of this write (counted from 0) did not hold.
    Blocked(usize),
    /// Nothing was written now: this token came before, with other contents, and succeeded.
    Repeated,
}

/// Several writes to different records, all or nothing, at most [`WRITES_MAX`].
#[must_use]
pub struct Transaction {
    token: Token,
    writes: Vec<Result<Write, Error>>,
}

#[derive(Clone, Debug)]
struct Write {
    table: &'static str,
    /// For a check, a delete and an update the key, for a put the record.
    item: Item,
    action: Action,
    condition: Option<Clause>,
    expires: Option<&'static str>,
}

#[derive(Clone, Debug)]
enum Action {
    Put,
    Update(Changes),
    /// Like `Update`, and creates the record if there is none.
    Upsert(Changes),
    Delete,
    Check,
}

impl Transaction {
    pub fn new(token: Token) -> Self {
        Self { token, writes: Vec::new() }
    }

    fn write<T: Table>(
        mut self,
        item: Result<Item, Error>,
        action: Action,
        condition: Option<Clause>,
    ) -> Self {
        let (table, expires) = (T::NAME, T::EXPIRES);
        self.writes.push(item.map(|item| Write { table, item, action, condition, expires }));
        self
    }

    pub fn put<T: Table>(self, record: &T) -> Self {
        self.write::<T>(to_item(record), Action::Put, None)
    }

    pub fn put_if_absent<T: Table>(self, record: &T) -> Self {
        self.put_when(record, Condition::absent())
    }

    pub fn put_when<T: Table>(self, record: &T, condition: Condition<T>) -> Self {
        self.write::<T>(to_item(record), Action::Put, Some(condition.into_clause()))
    }

    /// The record must exist, whatever else the update's condition says.
    pub fn update<T: Table>(self, key: T::Key, update: Update<T>) -> Self {
        let (changes, condition) = update.when(Condition::present()).into_parts();
        let condition = condition.map(Condition::into_clause);
        self.write::<T>(Ok(key_item::<T>(key)), Action::Update(changes), condition)
    }

    /// Creates the record if there is none.
    pub fn upsert<T: Table>(self, key: T::Key, update: Update<T>) -> Self {
        let (changes, condition) = update.into_parts();
        let condition = Condition::into_clause_for_upsert(condition);
        self.write::<T>(Ok(key_item::<T>(key)), Action::Upsert(changes), condition)
    }

    pub fn delete<T: Table>(self, key: T::Key) -> Self {
        self.write::<T>(Ok(key_item::<T>(key)), Action::Delete, None)
    }

    pub fn delete_when<T: Table>(self, key: T::Key, condition: Condition<T>) -> Self {
        self.write::<T>(Ok(key_item::<T>(key)), Action::Delete, Some(condition.into_clause()))
    }

    /// Writes nothing, and blocks the others unless the condition holds.
    pub fn check<T: Table>(self, key: T::Key, condition: Condition<T>) -> Self {
        self.write::<T>(Ok(key_item::<T>(key)), Action::Check, Some(condition.into_clause()))
    }

    /// Puts an item in another's place, or takes it away, if what is there is what was read.
    pub fn swap(mut self, swap: &Swap) -> Self {
        let (item, action) = match &swap.after {
            Some(after) => (after.clone(), Action::Put),
            None => (swap.key(), Action::Delete),
        };
        let condition = Some(Clause::still(&swap.table, swap.before.as_ref(), &item));
        let (table, expires) = (swap.table.name, swap.table.expires);
        self.writes.push(Ok(Write { table, item, action, condition, expires }));
        self
    }

    pub fn len(&self) -> usize {
        self.writes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }
}

impl Write {
    fn render(&self, prefix: &str, now: Timestamp) -> TransactWriteItem {
        let table = format!("{prefix}{}", self.table);
        let mut p = Placeholders::default();
        let changes = match &self.action {
            Action::Update(changes) | Action::Upsert(changes) => changes.render(&mut p),
            _ => String::new(),
        };
        let condition = self.condition.as_ref().map(|clause| clause.render(now, &mut p));
        let (item, names, values) = (Some(self.item.clone()), p.names(), p.values());
        let write = TransactWriteItem::builder();
        // The four kinds of write take the same things, but share no type in the SDK.
        macro_rules! fill {
            ($builder:expr) => {
                $builder
                    .table_name(table)
                    .set_condition_expression(condition)
                    .set_expression_attribute_names(names)
                    .set_expression_attribute_values(values)
                    .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
                    .build()
                    .expect("all that is required is given")
            };
        }
        let write = match &self.action {
            Action::Put => write.put(fill!(Put::builder().set_item(item))),
            Action::Update(_) | Action::Upsert(_) => {
                write.update(fill!(UpdateItem::builder().set_key(item).update_expression(changes)))
            }
            Action::Delete => write.delete(fill!(Delete::builder().set_key(item))),
            Action::Check => write.condition_check(fill!(ConditionCheck::builder().set_key(item))),
        };
        write.build()
    }
}

/// What came back from one sending.
enum Sent {
    Done,
    Repeated,
    Blocked(usize, Option<Item>),
    /// Somebody else is writing one of the records, or this token is still being worked on.
    Busy(Error),
}

impl Dynamo {
    /// Writes all or nothing. An unconfirmed transaction is sent again under its token for a while.
    pub async fn transact(&self, transaction: Transaction) -> Result<Commit, Error> {
        let writes = transaction.writes.into_iter().collect::<Result<Vec<_>, _>>()?;
        if writes.len() > WRITES_MAX {
            return Err(Error::TooLarge(format!("{} writes in one transaction", writes.len()).into()));
        }
        let attempts = Attempts::default();
        let give_up = Instant::now() + self.patience().confirm_for;
        let mut items = self.render(&writes);
        for round in 0.. {
            let sending = self.send(&transaction.token, &writes, items.clone(), &attempts);
            let error = match timeout_at(give_up, sending).await {
                Ok(Ok(Sent::Done)) => return Ok(Commit::Done),
                Ok(Ok(Sent::Repeated)) => return Ok(Commit::Repeated),
                Ok(Ok(Sent::Blocked(place, _))) if attempts.maybe_applied() => {
                    // An attempt that is still on its way may find that the conditions hold again.
                    return Err(Error::Uncertain(format!("write {place} is blocked now").into()));
                }
                Ok(Ok(Sent::Blocked(place, found))) => {
                    if !self.delete_if_expired(&writes[place], found).await? {
                        return Ok(Commit::Blocked(place));
                    }
                    // A refused transaction does not take its token, so it may have another `now`.
                    items = self.render(&writes);
                    continue;
                }
                Ok(Ok(Sent::Busy(error))) => error,
                Ok(Err(error)) if !attempts.maybe_applied() => return Err(error),
                Ok(Err(error)) => error,
                Err(late) => Error::Unavailable(late.into()),
            };
            let next = Instant::now() + self.patience().pause(round);
            if next >= give_up {
                // What the last sending met tells nothing about an earlier one.
                return Err(if attempts.maybe_applied() { Error::Uncertain(Box::new(error)) } else { error });
            }
            sleep_until(next).await;
        }
        unreachable!("the loop ends by returning")
    }

    fn render(&self, writes: &[Write]) -> Vec<TransactWriteItem> {
        let now = self.now();
        writes.iter().map(|write| write.render(self.prefix(), now)).collect()
    }

    async fn send(
        &self,
        token: &Token,
        writes: &[Write],
        items: Vec<TransactWriteItem>,
        attempts: &Attempts,
    ) -> Result<Sent, Error> {
        let started = Instant::now();
        let span = meter::span(writes.first().map_or("", |write| write.table), "transact");
        let request = self.client().transact_write_items().set_transact_items(Some(items));
        let request = request
            .client_request_token(token.for_prefix(self.prefix()))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes)
            .customize()
            .interceptor(attempts.clone());
        let failed = match request.send().await {
            Ok(output) => {
                let consumed = output.consumed_capacity();
                meter::end(
                    &span,
                    Outcome::Ok,
                    consumed.iter().map(Units::of_transaction).fold(Units::default(), |mut sum, one| {
                        sum += one;
                        sum
                    }),
                );
                self.record(writes, Outcome::Ok, started, |table, _| self.consumed(table, consumed));
                return Ok(Sent::Done);
            }
            Err(failed) => failed,
        };
        let Some(sent) = understand(&failed) else {
            meter::end(&span, Outcome::Failed, Units::default());
            self.record(writes, Outcome::Failed, started, |_, _| Units::default());
            return Err(canceled(failed, attempts));
        };
        // DynamoDB charges two units for each write of a refused transaction, and reports nothing.
        let each = if matches!(sent, Sent::Blocked(..)) { 2.0 } else { 0.0 };
        meter::end(&span, Outcome::Refused, Units::write(each * writes.len() as f64));
        self.record(writes, Outcome::Refused, started, |_, count| Units::write(each * count as f64));
        Ok(sent)
    }

    /// Notes what was sent for each table in it; `units` is told the table and how many writes it had.
    fn record(
        &self,
        writes: &[Write],
        outcome: Outcome,
        started: Instant,
        units: impl Fn(&'static str, usize) -> Units,
    ) {
        let mut tables: BTreeMap<&'static str, usize> = BTreeMap::new();
        for write in writes {
            *tables.entry(write.table).or_default() += 1;
        }
        for (table, count) in tables {
            self.meter().record((table, "transact"), outcome, units(table, count), started.elapsed());
        }
    }

    fn consumed(&self, table: &str, consumed: &[ConsumedCapacity]) -> Units {
        let name = self.table_name(table);
        let mut sum = Units::default();
        for capacity in consumed.iter().filter(|capacity| capacity.table_name() == Some(&name)) {
            sum += Units::of_transaction(capacity);
        }
        sum
    }

    /// Whether an upsert met an expired record, which is now gone.
    async fn delete_if_expired(&self, write: &Write, found: Option<Item>) -> Result<bool, Error> {
        let (Action::Upsert(_), Some(expires), Some(found)) = (&write.action, write.expires, found) else {
            return Ok(false);
        };
        self.delete_expired(write.table, expires, write.item.clone(), &found).await
    }
}

type Failed = SdkError<TransactWriteItemsError, aws_smithy_runtime_api::client::orchestrator::HttpResponse>;

/// The failures that are answers.
fn understand(failed: &Failed) -> Option<Sent> {
    match failed.as_service_error()? {
        TransactWriteItemsError::IdempotentParameterMismatchException(_) => Some(Sent::Repeated),
        TransactWriteItemsError::TransactionInProgressException(_) => {
            Some(Sent::Busy(Error::Throttled("the transaction is still in progress".into())))
        }
        TransactWriteItemsError::TransactionCanceledException(canceled) => {
            let reasons = canceled.cancellation_reasons();
            let code = |reason: &CancellationReason| reason.code().unwrap_or_default().to_owned();
            if let Some(place) = reasons.iter().position(|reason| code(reason) == "ConditionalCheckFailed") {
                return Some(Sent::Blocked(place, reasons[place].item().cloned()));
            }
            let busy =
                |reason| matches!(error::refusal(&code(reason), "")(Box::from("")), Error::Throttled(_));
            let busy = reasons.iter().find(|reason| busy(reason))?;
            Some(Sent::Busy(Error::Throttled(code(busy).into())))
        }
        _ => None,
    }
}

fn canceled(failed: Failed, attempts: &Attempts) -> Error {
    if let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = failed.as_service_error()
        && !attempts.maybe_applied()
        && let Some(reason) =
            canceled.cancellation_reasons().iter().find(|reason| reason.code() != Some("None"))
    {
        let (code, message) = (reason.code().unwrap_or_default(), reason.message().unwrap_or_default());
        return error::refusal(code, message)(error::in_words(failed));
    }
    error::failed_write(failed, attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bots_in_one_account_have_tokens_of_their_own() {
        let token = Token::new("123456789012345678-4");
        assert_eq!(token.for_prefix(""), "123456789012345678-4");
        assert_eq!(token.for_prefix("a-").len(), TOKEN_MAX);
        assert_ne!(token.for_prefix("a-"), token.for_prefix("b-"));
        assert_eq!(token.for_prefix("a-"), token.clone().for_prefix("a-"));
    }
}
