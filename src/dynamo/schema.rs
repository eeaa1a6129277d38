//! Creating tables, and comparing those that are there with those that are declared.

use std::time::Duration;

use aws_sdk_dynamodb::config::Builder;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, ConditionCheck, KeySchemaElement, KeyType,
    LocalSecondaryIndex, Projection as SdkProjection, ProjectionType, ScalarAttributeType, TableDescription,
    TableStatus, TimeToLiveSpecification, TimeToLiveStatus, TransactWriteItem,
};
use tokio::time::Instant;

use crate::dynamo::error::{Error, not_applied};
use crate::dynamo::{Dynamo, Index, KeyAttribute, KeyKind, Projection, TableSpec};

/// How long a new table may take to become usable; Amazon needs about ten seconds.
const ACTIVE_WITHIN: Duration = Duration::from_secs(60);

impl Dynamo {
    /// Creates the tables that are missing, with their indexes and expiry, and waits until they are
    /// usable. Tables that exist are left as they are, except that their expiry is switched on.
    pub async fn create_tables(&self, tables: &[TableSpec]) -> Result<(), Error> {
        for table in tables {
            self.create_table(table).await?;
        }
        for table in tables {
            self.wait_until_active(table).await?;
            self.enable_expiry(table).await?;
        }
        Ok(())
    }

    async fn create_table(&self, table: &TableSpec) -> Result<(), Error> {
        if self.describe(table).await?.is_some() {
            return Ok(());
        }
        let request = self.client().create_table().table_name(self.table_name(table.name));
        let request = request
            .billing_mode(BillingMode::PayPerRequest)
            .set_key_schema(Some(key_schema(table.hash, table.range)))
            .set_attribute_definitions(Some(attributes(table)))
            .set_local_secondary_indexes(indexes(table));
        // Making a table may take longer than anything a person waits for.
        let patience = TimeoutConfig::builder()
            .operation_timeout(ACTIVE_WITHIN)
            .operation_attempt_timeout(ACTIVE_WITHIN)
            .build();
        let patient = Builder::new().timeout_config(patience);
        match request.customize().config_override(patient).send().await {
            Ok(_) => Ok(()),
            // Another instance was faster.
            Err(SdkError::ServiceError(service))
                if matches!(service.err(), CreateTableError::ResourceInUseException(_)) =>
            {
                Ok(())
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

    async fn enable_expiry(&self, table: &TableSpec) -> Result<(), Error> {
        let Some(expires) = table.expires else { return Ok(()) };
        // DynamoDB refuses to enable what is enabled.
        if self.expiry(table).await?.is_some() {
            return Ok(());
        }
        let specification = TimeToLiveSpecification::builder().attribute_name(expires).enabled(true);
        let request = self.client().update_time_to_live().table_name(self.table_name(table.name));
        let request = request
            .time_to_live_specification(specification.build().expect("both required fields are given"));
        request.send().await.map_err(not_applied)?;
        Ok(())
    }

    async fn describe(&self, table: &TableSpec) -> Result<Option<TableDescription>, Error> {
        let request = self.client().describe_table().table_name(self.table_name(table.name));
        match request.send().await {
            Ok(output) => Ok(output.table),
            Err(failed) => match failed.as_service_error() {
                Some(error) if error.is_resource_not_found_exception() => Ok(None),
                _ => Err(not_applied(failed)),
            },
        }
    }

    /// The attribute by which records expire, if that is enabled.
    async fn expiry(&self, table: &TableSpec) -> Result<Option<String>, Error> {
        let request = self.client().describe_time_to_live().table_name(self.table_name(table.name));
        let output = request.send().await.map_err(not_applied)?;
        let enabled = output.time_to_live_description.filter(|described| {
            let status = described.time_to_live_status();
            matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling))
        });
        Ok(enabled.and_then(|described| described.attribute_name))
    }

    /// Compares the tables that are there with those that are declared. Each difference is a sentence;
    /// none means that they fit.
    pub async fn check_tables(&self, tables: &[TableSpec]) -> Result<Vec<String>, Error> {
        let mut differences = Vec::new();
        for table in tables {
            let name = self.table_name(table.name);
            let Some(described) = self.describe(table).await? else {
                differences.push(format!("The table {name} does not exist"));
                continue;
            };
            let mut compare = |what: &str, found: String, expected: String| {
                if found != expected {
                    differences.push(format!("The table {name} has {what} {found}, expected {expected}"));
                }
            };
            compare("the key", described_key(&described), expected_key(table));
            compare("the local indexes", described_indexes(&described), expected_indexes(table));
            let expiry = self.expiry(table).await?.unwrap_or_else(|| "none".to_owned());
            compare("the expiry attribute", expiry, table.expires.unwrap_or("none").to_owned());
        }
        if let (true, Some(table)) = (differences.is_empty(), tables.first()) {
            differences.extend(self.try_transaction(table).await?);
        }
        Ok(differences)
    }

    /// Every change is a transaction, and not every store that speaks DynamoDB's protocol has them. So one
    /// that writes nothing is tried.
    async fn try_transaction(&self, table: &TableSpec) -> Result<Option<String>, Error> {
        let nothing = |attribute: KeyAttribute| match attribute.kind {
            KeyKind::Number => AttributeValue::N("0".to_owned()),
            KeyKind::Text => AttributeValue::S("mneme#check".to_owned()),
        };
        let keys = std::iter::once(table.hash).chain(table.range);
        let check = ConditionCheck::builder()
            .table_name(self.table_name(table.name))
            .set_key(Some(keys.map(|key| (key.name.to_owned(), nothing(key))).collect()))
            .condition_expression("attribute_not_exists(#key)")
            .expression_attribute_names("#key", table.hash.name)
            .build()
            .expect("all that is required is given");
        let check = TransactWriteItem::builder().condition_check(check).build();
        match self.client().transact_write_items().transact_items(check).send().await.map_err(not_applied) {
            Err(Error::Rejected(source)) => {
                let why = source.source().map_or_else(|| source.to_string(), ToString::to_string);
                Ok(Some(format!("The store refuses transactions, and every change is one: {why}")))
            }
            answer => answer.map(|_| None),
        }
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

fn expected_key(table: &TableSpec) -> String {
    let keys = std::iter::once(table.hash).chain(table.range);
    let parts = keys.map(|attribute| format!("{} ({})", attribute.name, attribute.kind.letter()));
    parts.collect::<Vec<_>>().join(", ")
}

fn described_key(table: &TableDescription) -> String {
    let kind = |name: &str| {
        let mut definitions = table.attribute_definitions().iter();
        let definition = definitions.find(|definition| definition.attribute_name() == name);
        definition.map_or("?", |definition| definition.attribute_type().as_str())
    };
    let parts = table.key_schema().iter().map(|key| {
        let name = key.attribute_name();
        format!("{name} ({})", kind(name))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn expected_indexes(table: &TableSpec) -> String {
    let parts = table.indexes.iter().map(|index| {
        let held = match index.projection {
            Projection::All => ProjectionType::All.to_string(),
            Projection::Keys => ProjectionType::KeysOnly.to_string(),
            Projection::Include(names) => sorted(names.iter().map(|name| (*name).to_owned())),
        };
        format!("{} by {} with {held}", index.name, index.range.name)
    });
    described_list(parts)
}

fn described_indexes(table: &TableDescription) -> String {
    let parts = table.local_secondary_indexes().iter().map(|index| {
        let range = index.key_schema().last().map_or("?", |key| key.attribute_name());
        let projection = index.projection();
        let kind = projection.and_then(|projection| projection.projection_type());
        let names = projection.map(|projection| projection.non_key_attributes()).unwrap_or_default();
        let held = match kind {
            Some(kind) if *kind != ProjectionType::Include => kind.to_string(),
            _ => sorted(names.iter().cloned()),
        };
        format!("{} by {range} with {held}", index.index_name().unwrap_or("?"))
    });
    described_list(parts)
}

fn sorted(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.join(" ")
}

fn described_list(parts: impl Iterator<Item = String>) -> String {
    let mut parts: Vec<_> = parts.collect();
    parts.sort_unstable();
    if parts.is_empty() { "none".to_owned() } else { parts.join("; ") }
}
