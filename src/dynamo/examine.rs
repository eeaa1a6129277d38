//! A store under examination: can it be reached, may we do what the bot does, has it what the bot needs?
//!
//! Nothing here changes a record. Writes are tried under a condition that no record can fulfil, so that they
//! are refused whatever is stored; permissions are looked at before conditions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error as StdError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConditionCheck, Delete, KeysAndAttributes, PointInTimeRecoveryStatus, TransactWriteItem,
};
use aws_smithy_runtime_api::box_error::BoxError;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout};

use crate::clock::Timestamp;
use crate::dynamo::compare::SIDE_BY_SIDE;
use crate::dynamo::connect::{Connected, LOOKUP_TIMEOUT, Way};
use crate::dynamo::schema::{ANSWERED_WITHIN, patient};
use crate::dynamo::trouble::{GIVE_CREDENTIALS, POLICY, is_denied, is_unknown_operation};
use crate::dynamo::{Dynamo, KeyAttribute, KeyKind, TableSpec, WRITES_MAX};
use crate::finding::{Finding, quote, root_cause};

/// No record fulfils it.
const NEVER: &str = "attribute_exists(#key) AND attribute_not_exists(#key)";

/// A record nobody has: no server has this id, and no name this form.
const SCRATCH: (&str, &str) = ("0", "mneme#examination");

/// An access key of Amazon's has 20 characters; the last of a shorter one would give away too much.
const KEY_SHOWN: (usize, usize) = (16, 4);

/// The store's time, and ours when we were told.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    pub ours: Timestamp,
    pub theirs: Timestamp,
}

/// Whether the store can be reached, and by which clock it goes.
#[derive(Debug, Default)]
pub struct Reached {
    pub findings: Vec<Finding>,
    pub told: Option<Told>,
}

impl Connected {
    /// Looks for credentials and asks for one table, there or not. A store in this process is always
    /// reached.
    pub async fn reach(&self, table: &TableSpec) -> Reached {
        let Some(way) = &self.way else { return Reached::default() };
        let mut reached = Reached::default();
        reached.findings.extend(way.region.as_deref().map(|region| Finding::ok("region", region)));
        match way.examine_credentials().await {
            Ok(found) => reached.findings.push(found),
            Err(missing) => {
                reached.findings.push(missing);
                return reached;
            }
        }
        let date = DateHeader::default();
        let began = Instant::now();
        let request = self.dynamo.client().describe_table();
        let request = request.table_name(self.dynamo.table_name(table.name));
        // The first request may have to wait for credentials, and nobody on Discord waits for it.
        let patience = TimeoutConfig::builder()
            .connect_timeout(LOOKUP_TIMEOUT)
            .operation_attempt_timeout(LOOKUP_TIMEOUT)
            .operation_timeout(LOOKUP_TIMEOUT);
        let patient = Builder::new().timeout_config(patience.build());
        let request = request.customize().config_override(patient).interceptor(date.clone());
        let answer = request.send().await;
        let ours = self.dynamo.now();
        let finding = match answer {
            Err(failed) if !is_missing(&failed) => way.trouble(&failed),
            _ => Finding::ok("endpoint", format!("{} answers in {}", way.place(), shown(began.elapsed()))),
        };
        reached.findings.push(finding);
        reached.told = date.read().map(|theirs| Told { ours, theirs });
        reached
    }
}

fn is_missing<E: ProvideErrorMetadata, R>(failed: &SdkError<E, R>) -> bool {
    failed.as_service_error().and_then(|error| error.code()) == Some("ResourceNotFoundException")
}

fn shown(took: Duration) -> String {
    format!("{} ms", took.as_millis())
}

impl Way {
    async fn examine_credentials(&self) -> Result<Finding, Finding> {
        let missing = |found: &str| Err(Finding::fail("credentials", found, GIVE_CREDENTIALS));
        let Some(provider) = &self.credentials else { return missing("no AWS credentials are configured") };
        match timeout(LOOKUP_TIMEOUT, provider.provide_credentials()).await {
            Ok(Ok(credentials)) => {
                let key = credentials.access_key_id();
                let (from, last) = KEY_SHOWN;
                let end = key.len().checked_sub(last).filter(|_| key.len() >= from);
                let end = end.and_then(|start| key.get(start..));
                Ok(Finding::ok(
                    "credentials",
                    match end {
                        Some(end) => format!("found, with an access key that ends in {end}"),
                        None => "found".to_owned(),
                    },
                ))
            }
            Ok(Err(CredentialsError::CredentialsNotLoaded(_))) => missing("no AWS credentials were found"),
            Ok(Err(error)) => {
                missing(&format!("the AWS credentials could not be loaded ({})", root_cause(&error)))
            }
            Err(_) => missing("no AWS credentials were found in time"),
        }
    }
}

/// Keeps the `Date` of the answer.
#[derive(Clone, Debug, Default)]
struct DateHeader(Arc<Mutex<Option<Timestamp>>>);

impl DateHeader {
    fn read(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for DateHeader {
    fn name(&self) -> &'static str {
        "DateHeader"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(Timestamp::parse_http);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

/// What came of trying something. Unanswered: nothing came back, so nothing is known.
enum Tried {
    Allowed,
    Denied { message: String },
    Unknown,
    Unanswered { why: String },
    Failed { why: String },
}

impl Tried {
    /// A condition that does not hold is looked at after the permissions.
    fn of<T, E, R>(answer: Result<T, SdkError<E, R>>) -> Self
    where
        E: StdError + ProvideErrorMetadata + 'static,
        R: std::fmt::Debug + 'static,
    {
        let Err(failed) = answer else { return Self::Allowed };
        let Some(error) = failed.as_service_error() else {
            return Self::Unanswered { why: root_cause(&failed) };
        };
        let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
        match code {
            "ConditionalCheckFailedException" => Self::Allowed,
            _ if is_denied(code) => Self::Denied { message: quote(message) },
            _ if is_unknown_operation(code) => Self::Unknown,
            _ => Self::Failed { why: format!("{code}: {}", quote(message)) },
        }
    }
}

impl Dynamo {
    /// Tries everything that the bot does with these tables, which are there, and changes nothing.
    pub async fn examine_permissions(&self, tables: &[TableSpec]) -> Finding {
        let tries: Vec<_> = tables.iter().map(|table| self.try_table(table)).collect();
        let tried: Vec<_> = stream::iter(tries).buffered(SIDE_BY_SIDE).concat().await;
        let mut denied: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        let (mut first, mut failed) = (None, None);
        for (action, target, outcome) in tried {
            match outcome {
                Tried::Allowed => {}
                Tried::Denied { message } => {
                    denied.entry(action).or_default().insert(target);
                    first.get_or_insert(message);
                }
                Tried::Unknown => failed = Some(format!("the store does not know {action}")),
                Tried::Unanswered { why } | Tried::Failed { why } => {
                    failed = Some(format!("{action} on {target} failed ({why})"));
                }
            }
        }
        if !denied.is_empty() {
            let list = denied.iter().map(|(action, targets)| {
                format!("{action} on {}", targets.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
            });
            let list = list.collect::<Vec<_>>().join("; ");
            let found = format!("not allowed: {list} ({})", first.unwrap_or_default());
            return Finding::fail("permissions", found, POLICY);
        }
        match failed {
            Some(why) => Finding::fail("permissions", why, "Is the store well, and the network?"),
            None => Finding::ok(
                "permissions",
                "reading, writing and querying are allowed; the bot needs no scan and changes no tables",
            ),
        }
    }

    async fn try_table(&self, table: &TableSpec) -> Vec<(&'static str, String, Tried)> {
        let name = self.table_name(table.name);
        let client = self.client();
        let key = || Some(scratch(table));
        let get = client.get_item().table_name(&name).set_key(key()).consistent_read(true);
        let keys = KeysAndAttributes::builder().keys(scratch(table)).consistent_read(true).build();
        let batch =
            client.batch_get_item().request_items(&name, keys.expect("all that is required is given"));
        let put = client.put_item().table_name(&name).set_item(key()).condition_expression(NEVER);
        let update = client.update_item().table_name(&name).set_key(key()).condition_expression(NEVER);
        let delete = client.delete_item().table_name(&name).set_key(key()).condition_expression(NEVER);
        let (put, update, delete) = (
            put.expression_attribute_names("#key", table.hash.name),
            update.expression_attribute_names("#key", table.hash.name),
            delete.expression_attribute_names("#key", table.hash.name),
        );
        let query = client.query().table_name(&name).key_condition_expression("#key = :key").limit(1);
        let query = query
            .expression_attribute_names("#key", table.hash.name)
            .expression_attribute_values(":key", nobody(table.hash));
        let mut tried = vec![
            ("dynamodb:GetItem", name.clone(), Tried::of(get.send().await)),
            ("dynamodb:BatchGetItem", name.clone(), Tried::of(batch.send().await)),
            ("dynamodb:PutItem", name.clone(), Tried::of(put.send().await)),
            ("dynamodb:UpdateItem", name.clone(), Tried::of(update.send().await)),
            ("dynamodb:DeleteItem", name.clone(), Tried::of(delete.send().await)),
            ("dynamodb:Query", name.clone(), Tried::of(query.clone().send().await)),
        ];
        for index in table.indexes {
            let answer = query.clone().index_name(index.name).send().await;
            tried.push(("dynamodb:Query", format!("{name}/index/{}", index.name), Tried::of(answer)));
        }
        tried
    }

    /// Every change is a transaction, and not every store that speaks DynamoDB's protocol has them. So one is
    /// tried that touches all of these tables, which are there, and has to be refused.
    pub async fn examine_transactions(&self, tables: &[TableSpec]) -> Finding {
        let Some((first, others)) = tables.split_first() else {
            return Finding::ok("transactions", "there is no table to try one on");
        };
        // Deleting: should a store apply it all the same, nothing is there to be lost.
        let delete = Delete::builder()
            .table_name(self.table_name(first.name))
            .set_key(Some(scratch(first)))
            .condition_expression(NEVER)
            .expression_attribute_names("#key", first.hash.name)
            .build()
            .expect("all that is required is given");
        let checks = others.iter().take(WRITES_MAX - 1).map(|table| {
            let check = ConditionCheck::builder()
                .table_name(self.table_name(table.name))
                .set_key(Some(scratch(table)))
                .condition_expression(NEVER)
                .expression_attribute_names("#key", table.hash.name);
            let check = check.build().expect("all that is required is given");
            TransactWriteItem::builder().condition_check(check).build()
        });
        let delete = TransactWriteItem::builder().delete(delete).build();
        let request = self.client().transact_write_items();
        let writes = std::iter::once(delete).chain(checks).collect();
        let request = request.set_transact_items(Some(writes)).customize();
        judge_transaction(request.config_override(patient(ANSWERED_WITHIN)).send().await)
    }

    /// Whether the tables can be brought back to a point in time.
    pub async fn examine_recovery(&self, tables: &[TableSpec]) -> Finding {
        let asked: Vec<_> = tables.iter().map(|table| self.recovery(table)).collect();
        let answers: Vec<_> = stream::iter(asked).buffered(SIDE_BY_SIDE).collect().await;
        let mut off = Vec::new();
        for (table, answer) in tables.iter().zip(answers) {
            match answer {
                Ok(true) => {}
                Ok(false) => off.push(self.table_name(table.name)),
                Err(Tried::Denied { .. }) => {
                    return Finding::warn(
                        "recovery",
                        "these credentials may not look whether the tables can be recovered",
                        "The bot need not; with your own: aws dynamodb describe-continuous-backups --table-name ..",
                    );
                }
                Err(_) => {
                    return Finding::ok("recovery", "not known: this store has no point-in-time recovery");
                }
            }
        }
        let Some(one) = off.first() else {
            return Finding::ok("recovery", "the tables can be brought back to any second of the last days");
        };
        Finding::warn(
            "recovery",
            format!("no point-in-time recovery: {}", off.join(", ")),
            format!(
                "Switch it on: aws dynamodb update-continuous-backups --table-name {one} \
                 --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
            ),
        )
    }

    async fn recovery(&self, table: &TableSpec) -> Result<bool, Tried> {
        let request = self.client().describe_continuous_backups();
        let answer = request.table_name(self.table_name(table.name)).send().await;
        let described = answer.map_err(|failed| Tried::of::<(), _, _>(Err(failed)))?;
        let recovery = described.continuous_backups_description;
        let recovery = recovery.and_then(|described| described.point_in_time_recovery_description);
        let status = recovery.and_then(|described| described.point_in_time_recovery_status);
        Ok(status == Some(PointInTimeRecoveryStatus::Enabled))
    }
}

fn judge_transaction<T, R>(answer: Result<T, SdkError<TransactWriteItemsError, R>>) -> Finding
where
    R: std::fmt::Debug + 'static,
{
    const ELSEWHERE: &str =
        "The bot cannot work here: use Amazon DynamoDB, DynamoDB Local, LocalStack or --store embedded";
    let fail = |found: String, remedy: &str| Finding::fail("transactions", found, remedy);
    if let Err(SdkError::ServiceError(service)) = &answer
        && let TransactWriteItemsError::TransactionCanceledException(cancelled) = service.err()
    {
        let mut codes = cancelled.cancellation_reasons().iter().filter_map(|reason| reason.code());
        // Another examination may be at the same records.
        return if codes.any(|code| matches!(code, "ConditionalCheckFailed" | "TransactionConflict")) {
            Finding::ok("transactions", "one that must be refused was; nothing was written")
        } else {
            fail("the store does not say why it refuses a transaction".to_owned(), ELSEWHERE)
        };
    }
    match Tried::of(answer) {
        Tried::Allowed => {
            fail("the store applied a transaction whose condition cannot hold".to_owned(), ELSEWHERE)
        }
        Tried::Denied { message } => fail(message, POLICY),
        Tried::Unknown => {
            fail("the store has no transactions, and every change is one".to_owned(), ELSEWHERE)
        }
        Tried::Unanswered { why } => fail(
            format!("the store gave no answer to a transaction ({why})"),
            "Whether it has them is not known; see that it can be reached, and try again",
        ),
        Tried::Failed { why } => {
            fail(format!("the store refuses transactions, and every change is one ({why})"), ELSEWHERE)
        }
    }
}

fn scratch(table: &TableSpec) -> HashMap<String, AttributeValue> {
    let keys = std::iter::once(table.hash).chain(table.range);
    keys.map(|key| (key.name.to_owned(), nobody(key))).collect()
}

fn nobody(attribute: KeyAttribute) -> AttributeValue {
    match attribute.kind {
        KeyKind::Number => AttributeValue::N(SCRATCH.0.to_owned()),
        KeyKind::Text => AttributeValue::S(SCRATCH.1.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::State;

    #[test]
    fn a_store_that_is_slow_is_not_one_without_transactions() {
        let slow: SdkError<TransactWriteItemsError, ()> = SdkError::timeout_error("it took too long");
        let finding = judge_transaction::<(), _>(Err(slow));
        assert_eq!(finding.state, State::Fail, "{finding}");
        let text = finding.to_string();
        assert!(text.contains("gave no answer") && !text.contains("cannot work here"), "{text}");
    }
}
