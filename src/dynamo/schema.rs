//! Creating tables.

use std::time::Duration;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, LocalSecondaryIndex,
    Projection as SdkProjection, ProjectionType, ScalarAttributeType, TableDescription, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};
use tokio::time::Instant;

use crate::dynamo::error::{Error, not_applied};
use crate::dynamo::{Dynamo, Index, KeyAttribute, KeyKind, Projection, TableSpec};

/// How long a new table may take to become usable; Amazon needs about ten seconds.
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);

/// How long a store is waited for where nobody on Discord waits: to tell what a table is, and whether it has
/// transactions.
pub(super) const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// What was done for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub table: String,
    /// It was missing and is there now.
    pub created: bool,
    /// Its expiry was off and is on now.
    pub expires: bool,
}

/// Tables are made and looked at before anybody waits for an answer, and some engines take a second for each.
pub(super) fn patient(limit: Duration) -> Builder {
    let patience = TimeoutConfig::builder().operation_timeout(limit).operation_attempt_timeout(limit).build();
    Builder::new().timeout_config(patience)
}

impl Dynamo {
    /// Creates the tables that are missing, with their indexes and expiry, and waits until they are
    /// usable. Tables that exist are left as they are, except that their expiry is switched on. Tells what
    /// was done for each, in the order given.
    pub async fn create_tables(&self, tables: &[TableSpec]) -> Result<Vec<Made>, Error> {
        let mut made = Vec::new();
        for table in tables {
            let created = self.create_table(table).await?;
            made.push(Made { table: self.table_name(table.name), created, expires: false });
        }
        for (table, made) in tables.iter().zip(&mut made) {
            self.wait_until_active(table).await?;
            made.expires = self.enable_expiry(table).await?;
        }
        Ok(made)
    }

    /// Says whether it was this call that made it.
    async fn create_table(&self, table: &TableSpec) -> Result<bool, Error> {
        if self.describe(table).await?.is_some() {
            return Ok(false);
        }
        let request = self.client().create_table().table_name(self.table_name(table.name));
        let request = request
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(key_schema(table.hash, table.range)))
            .set_attribute_definitions(Some(attributes(table)))
            .set_local_secondary_indexes(indexes(table));
        match request.customize().config_override(patient(ACTIVE_WITHIN)).send().await {
            Ok(_) => Ok(true),
            // Another instance was faster.
            Err(SdkError::ServiceError(service))
                if matches!(service.err(), CreateTableError::ResourceInUseException(_)) =>
            {
                Ok(false)
            }
            Err(failed) => Err(not_applied(failed)),
        }
    }

    async fn wait_until_active(&self, table: &TableSpec) -> Result<(), Error> {
        let give_up = Instant::now() + ACTIVE_WITHIN;
        for round in 0.. {
            let status = self.describe(table).await?.and_then(|described| described.table_status);
            if status == Some(TableStatus::Active) {
                break;
            }
            if Instant::now() >= give_up {
                return Err(Error::Unavailable(format!("the table {} is {status:?}", table.name).into()));
            }
            self.pause(round).await;
        }
        Ok(())
    }

    /// Says whether it was off.
    async fn enable_expiry(&self, table: &TableSpec) -> Result<bool, Error> {
        let Some(expires) = table.expires else { return Ok(false) };
        // DynamoDB refuses to enable what is enabled.
        if self.expiry(table).await?.is_some() {
            return Ok(false);
        }
        let specification = TimeToLiveSpecification::builder().attribute_name(expires).enabled(true);
        let request = self.client().update_time_to_live().table_name(self.table_name(table.name));
        let request = request
            .time_to_live_specification(specification.build().expect("both required fields are given"));
        request.customize().config_override(patient(ANSWERED_WITHIN)).send().await.map_err(not_applied)?;
        Ok(true)
    }

    pub(super) async fn describe(&self, table: &TableSpec) -> Result<Option<TableDescription>, Error> {
        let request = self.client().describe_table().table_name(self.table_name(table.name));
        match request.customize().config_override(patient(ANSWERED_WITHIN)).send().await {
            Ok(output) => Ok(output.table),
            Err(failed) => match failed.as_service_error() {
                Some(error) if error.is_resource_not_found_exception() => Ok(None),
                _ => Err(not_applied(failed)),
            },
        }
    }

    /// The attribute by which records expire, if that is enabled.
    pub(super) async fn expiry(&self, table: &TableSpec) -> Result<Option<String>, Error> {
        let request = self.client().describe_time_to_live().table_name(self.table_name(table.name));
        let request = request.customize().config_override(patient(ANSWERED_WITHIN));
        let output = request.send().await.map_err(not_applied)?;
        let enabled = output.time_to_live_description.filter(|described| {
            let status = described.time_to_live_status();
            matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
        });
        Ok(enabled.and_then(|described| described.attribute_name))
    }
}

fn key_schema(hash: KeyAttribute, range: Option<KeyAttribute>) -> Vec<KeySchemaElement> {
    let element = |attribute: KeyAttribute, kind| {
        let element = KeySchemaElement::builder().attribute_name(attribute.name).key_type(kind);
        element.build().expect("both required fields are given")
    };
    let range = range.map(|range| element(range, KeyType::Range));
    std::iter::once(element(hash, KeyType::Hash)).chain(range).collect()
}

fn attributes(table: &TableSpec) -> Vec<AttributeDefinition> {
    let keys = std::iter::once(table.hash).chain(table.range);
    let all = keys.chain(table.indexes.iter().map(|index| index.range));
    all.map(|attribute| {
        let kind = match attribute.kind {
            KeyKind::Number => ScalarAttributeType::N,
            KeyKind::Text => ScalarAttributeType::S,
        };
        let definition = AttributeDefinition::builder().attribute_name(attribute.name).attribute_type(kind);
        definition.build().expect("both required fields are given")
    })
    .collect()
}

fn indexes(table: &TableSpec) -> Option<Vec<LocalSecondaryIndex>> {
    let index = |index: &Index| {
        let builder = LocalSecondaryIndex::builder().index_name(index.name);
        builder
            .set_key_schema(Some(key_schema(table.hash, Some(index.range))))
            .projection(projection(index.projection))
            .build()
            .expect("both required fields are given")
    };
    // DynamoDB wants no list rather than an empty one.
    (!table.indexes.is_empty()).then(|| table.indexes.iter().map(index).collect())
}

fn projection(projection: Projection) -> SdkProjection {
    let builder = SdkProjection::builder();
    match projection {
        Projection::All => builder.projection_type(ProjectionType::All),
        Projection::Keys => builder.projection_type(ProjectionType::KeysOnly),
        Projection::Include(names) => builder
            .projection_type(ProjectionType::Include)
            .set_non_key_attributes(Some(names.iter().map(|name| (*name).to_owned()).collect())),
    }
    .build()
}
