//! [`Difference`]: where the tables that are there are not what is declared, and what to do about each.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_dynamodb::types::{
    KeySchemaElement, Projection as SdkProjection, ProjectionType, TableDescription,
};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::dynamo::error::Error;
use crate::dynamo::{Dynamo, Index, Projection, TableSpec};

/// Tables that are looked at side by side: so few that an engine which takes a second for each, one after the
/// other, is not too late for the last; and far from what DynamoDB allows in a second.
pub(super) const SIDE_BY_SIDE: usize = 4;

/// One way in which one table is not what is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name in the store.
    pub table: String,
    pub kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Missing,
    /// It is there, and cannot be used now.
    NotReady {
        status: String,
    },
    Key {
        found: String,
        expected: String,
    },
    MissingIndex {
        index: String,
        expected: String,
    },
    OtherIndex {
        index: String,
        found: String,
        expected: String,
    },
    /// An index beside those that are declared; a global one can be removed.
    ExtraIndex {
        index: String,
        global: bool,
    },
    /// Nothing expires.
    ExpiryOff {
        expected: &'static str,
    },
    /// Records are deleted by another attribute than the declared one, if one is.
    OtherExpiry {
        found: String,
        expected: Option<&'static str>,
    },
}

impl Difference {
    /// Whether the bot cannot work with it. The others cost money or space.
    pub fn stops(&self) -> bool {
        !matches!(self.kind, Kind::ExtraIndex { .. } | Kind::ExpiryOff { .. })
    }

    /// What to do. `create` is the command line that creates the tables of this store.
    pub fn remedy(&self, create: &str) -> String {
        let table = &self.table;
        let anew = format!("back the table up, delete it, and create it anew with: {create}");
        match &self.kind {
            Kind::Missing => format!("Create it with: {create}"),
            Kind::NotReady { .. } => "Wait until it is ACTIVE, and look again".to_owned(),
            Kind::Key { .. } => format!("A table keeps its key: {anew}"),
            Kind::MissingIndex { .. } | Kind::OtherIndex { .. } => {
                format!("Such an index is made with its table: {anew}")
            }
            Kind::ExtraIndex { global: false, .. } => {
                "The bot does not use it, and each write pays for it; it can only go with its table"
                    .to_owned()
            }
            Kind::ExtraIndex { index, global: true } => format!(
                "The bot does not use it, and each write pays for it. Remove it with: aws dynamodb update-table \
                 --table-name {table} --global-secondary-index-updates Delete={{IndexName={index}}}"
            ),
            Kind::ExpiryOff { .. } => format!("Old records stay for ever. Switch it on with: {create}"),
            Kind::OtherExpiry { found, expected } => {
                let off = format!(
                    "Switch it off, or records may be deleted that should stay: aws dynamodb \
                     update-time-to-live --table-name {table} --time-to-live-specification \
                     Enabled=false,AttributeName={found}"
                );
                match expected {
                    Some(_) => format!("{off}; an hour later switch the right one on with: {create}"),
                    None => off,
                }
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        match &self.kind {
            Kind::Missing => write!(f, "The table {table} does not exist"),
            Kind::NotReady { status } => write!(f, "The table {table} is {status}"),
            Kind::Key { found, expected } => {
                write!(f, "The table {table} has the key {found}, expected {expected}")
            }
            Kind::MissingIndex { index, expected } => {
                write!(f, "The table {table} has no local index {index}, expected {expected}")
            }
            Kind::OtherIndex { index, found, expected } => {
                write!(f, "The table {table} has the local index {index} {found}, expected {expected}")
            }
            Kind::ExtraIndex { index, global } => {
                let reach = if *global { "global" } else { "local" };
                write!(f, "The table {table} has a {reach} index that is not declared: {index}")
            }
            Kind::ExpiryOff { expected } => {
                write!(f, "In the table {table} nothing expires, expected expiry by {expected}")
            }
            Kind::OtherExpiry { found, expected } => {
                let expected = expected.unwrap_or("none");
                write!(f, "In the table {table} records expire by {found}, expected {expected}")
            }
        }
    }
}

impl Dynamo {
    /// Compares the tables that are there with those that are declared. No difference means that they fit.
    pub async fn check_tables(&self, tables: &[TableSpec]) -> Result<Vec<Difference>, Error> {
        let checks: Vec<_> = tables.iter().map(|table| self.check_table(table)).collect();
        let found: Vec<_> = stream::iter(checks).buffered(SIDE_BY_SIDE).try_collect().await?;
        Ok(found.concat())
    }

    async fn check_table(&self, table: &TableSpec) -> Result<Vec<Difference>, Error> {
        let Some(described) = self.describe(table).await? else {
            return Ok(vec![Difference { table: self.table_name(table.name), kind: Kind::Missing }]);
        };
        let expiry = self.expiry(table).await?;
        let status = not_ready(&described);
        let kinds = status.into_iter().chain(key(table, &described)).chain(indexes(table, &described));
        let kinds = kinds.chain(expires(table, expiry));
        Ok(kinds.map(|kind| Difference { table: self.table_name(table.name), kind }).collect())
    }
}

/// While a table is updated it can be used.
fn not_ready(described: &TableDescription) -> Option<Kind> {
    let status = described.table_status()?.as_str();
    (!matches!(status, "ACTIVE" | "UPDATING")).then(|| Kind::NotReady { status: status.to_owned() })
}

fn key(table: &TableSpec, described: &TableDescription) -> Option<Kind> {
    let keys = std::iter::once(table.hash).chain(table.range);
    let expected = keys.map(|attribute| format!("{} ({})", attribute.name, attribute.kind.letter()));
    let expected = expected.collect::<Vec<_>>().join(", ");
    let found = key_of(described, described.key_schema());
    (found != expected).then_some(Kind::Key { found, expected })
}

fn key_of(table: &TableDescription, schema: &[KeySchemaElement]) -> String {
    let parts = schema.iter().map(|key| format!("{} ({})", key.attribute_name(), kind_of(table, key)));
    parts.collect::<Vec<_>>().join(", ")
}

fn kind_of<'a>(table: &'a TableDescription, key: &KeySchemaElement) -> &'a str {
    let mut definitions = table.attribute_definitions().iter();
    let definition = definitions.find(|definition| definition.attribute_name() == key.attribute_name());
    definition.map_or("?", |definition| definition.attribute_type().as_str())
}

fn indexes(table: &TableSpec, described: &TableDescription) -> Vec<Kind> {
    let mut there: BTreeMap<&str, String> = BTreeMap::new();
    for index in described.local_secondary_indexes() {
        let range = index.key_schema().last();
        let range = range
            .map_or("?".to_owned(), |key| format!("{} ({})", key.attribute_name(), kind_of(described, key)));
        let held = held(index.projection());
        there.insert(index.index_name().unwrap_or("?"), format!("by {range} with {held}"));
    }
    let mut kinds = Vec::new();
    for index in table.indexes {
        let (name, expected) = (index.name.to_owned(), expected_index(index));
        match there.remove(index.name) {
            None => kinds.push(Kind::MissingIndex { index: name, expected }),
            Some(found) if found != expected => {
                kinds.push(Kind::OtherIndex { index: name, found, expected });
            }
            Some(_) => {}
        }
    }
    let global = described.global_secondary_indexes().iter();
    let global = global.map(|index| (index.index_name().unwrap_or("?"), true));
    let extra = there.into_keys().map(|name| (name, false)).chain(global);
    kinds.extend(extra.map(|(index, global)| Kind::ExtraIndex { index: index.to_owned(), global }));
    kinds
}

fn expected_index(index: &Index) -> String {
    let held = match index.projection {
        Projection::All => ProjectionType::All.to_string(),
        Projection::Keys => ProjectionType::KeysOnly.to_string(),
        Projection::Include(names) => sorted(names.iter().map(|name| (*name).to_owned())),
    };
    format!("by {} ({}) with {held}", index.range.name, index.range.kind.letter())
}

fn held(projection: Option<&SdkProjection>) -> String {
    let kind = projection.and_then(|projection| projection.projection_type());
    let names = projection.map(|projection| projection.non_key_attributes()).unwrap_or_default();
    match kind {
        Some(kind) if *kind != ProjectionType::Include => kind.to_string(),
        _ => sorted(names.iter().cloned()),
    }
}

fn sorted(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.join(" ")
}

fn expires(table: &TableSpec, found: Option<String>) -> Option<Kind> {
    match (table.expires, found) {
        (Some(expected), None) => Some(Kind::ExpiryOff { expected }),
        (expected, Some(found)) if expected != Some(found.as_str()) => {
            Some(Kind::OtherExpiry { found, expected })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::testing::embedded;
    use crate::dynamo::{KeyAttribute, KeyKind, Personal};

    const fn text(name: &'static str) -> KeyAttribute {
        KeyAttribute { name, kind: KeyKind::Text }
    }

    const BY_DATE: Index = Index { name: "by_date", range: text("date"), projection: Projection::Keys };

    const NOTE: TableSpec = TableSpec {
        name: "note",
        hash: text("server"),
        range: Some(text("name")),
        expires: Some("expires_at"),
        indexes: &[BY_DATE],
        personal: Personal::UNDECLARED,
        attributes: Vec::new,
    };

    /// What is wrong with the table that the first declaration makes, by the second.
    async fn differences(made: TableSpec, declared: TableSpec) -> Vec<String> {
        let dynamo = embedded(&[made]).await;
        let differences = dynamo.check_tables(&[declared]).await.unwrap();
        differences.iter().map(|one| format!("{one}. {}", one.remedy("CREATE"))).collect()
    }

    #[tokio::test]
    async fn a_table_that_fits_is_not_mentioned() {
        assert_eq!(differences(NOTE, NOTE).await, Vec::<String>::new());
    }

    #[tokio::test]
    async fn every_difference_is_named_with_its_remedy() {
        let cases = [
            (
                NOTE,
                TableSpec { name: "other", ..NOTE },
                "The table other does not exist. Create it with: CREATE",
            ),
            (
                NOTE,
                TableSpec { hash: KeyAttribute { name: "server", kind: KeyKind::Number }, ..NOTE },
                "The table note has the key server (S), name (S), expected server (N), name (S). A table keeps its \
                 key: back the table up, delete it, and create it anew with: CREATE",
            ),
            (
                TableSpec { indexes: &[], ..NOTE },
                NOTE,
                "The table note has no local index by_date, expected by date (S) with KEYS_ONLY. Such an index is \
                 made with its table: back the table up, delete it, and create it anew with: CREATE",
            ),
            (
                NOTE,
                TableSpec { indexes: &[Index { projection: Projection::All, ..BY_DATE }], ..NOTE },
                "The table note has the local index by_date by date (S) with KEYS_ONLY, expected by date (S) with \
                 ALL. Such an index is made with its table: back the table up, delete it, and create it anew with: \
                 CREATE",
            ),
            (
                NOTE,
                TableSpec { indexes: &[], ..NOTE },
                "The table note has a local index that is not declared: by_date. The bot does not use it, and each \
                 write pays for it; it can only go with its table",
            ),
            (
                TableSpec { expires: None, ..NOTE },
                NOTE,
                "In the table note nothing expires, expected expiry by expires_at. Old records stay for ever. \
                 Switch it on with: CREATE",
            ),
            (
                NOTE,
                TableSpec { expires: Some("until"), ..NOTE },
                "In the table note records expire by expires_at, expected until. Switch it off, or records may be \
                 deleted that should stay: aws dynamodb update-time-to-live --table-name note \
                 --time-to-live-specification Enabled=false,AttributeName=expires_at; an hour later switch the \
                 right one on with: CREATE",
            ),
        ];
        for (made, declared, expected) in cases {
            assert_eq!(differences(made, declared).await, [expected]);
        }
    }
}
