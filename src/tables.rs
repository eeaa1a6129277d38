//! Every table in one list, and what is made of it: table creation, `terraform/tables.json` and the
//! permissions that the bot needs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;
use serde_json::json;

use crate::dynamo::schema::Made;
use crate::dynamo::{Index, KeyAttribute, Projection, TableSpec};
use crate::{commands, relay, shared};

/// All tables.
pub fn all() -> Vec<TableSpec> {
    let others = shared::TABLES.iter().chain(relay::store::TABLES).copied();
    commands::tables().into_iter().chain(others).collect()
}

/// What became of a table that was to be created, in one word.
pub fn done(made: &Made) -> &'static str {
    match (made.created, made.expires) {
        (true, _) => "created",
        (false, true) => "mended",
        (false, false) => "there",
    }
}

/// The tables for people, with the names they have in the store: keys, expiry, indexes.
pub fn list(prefix: &str) -> String {
    let mut tables = all();
    tables.sort_unstable_by_key(|table| table.name);
    let mut text = String::new();
    for table in tables {
        let keys = std::iter::once(table.hash).chain(table.range);
        let keys: Vec<_> = keys.map(|key| format!("{} {}", key.name, key.kind.letter())).collect();
        let expiry = table.expires.map(|name| format!("; expires by {name}")).unwrap_or_default();
        let indexes =
            table.indexes.iter().map(|index| format!("; index {} by {}", index.name, index.range.name));
        let indexes: String = indexes.collect();
        writeln!(text, "{prefix}{}: {}{expiry}{indexes}", table.name, keys.join(", "))
            .expect("text takes text");
    }
    text
}

/// The tables as Terraform and the hooks read them: an object by name, every field always there, so that
/// Terraform's `for_each` needs no cases.
pub fn json() -> String {
    #[derive(Serialize)]
    struct Attribute {
        name: &'static str,
        #[serde(rename = "type")]
        kind: &'static str,
    }
    #[derive(Serialize)]
    struct LocalIndex {
        name: &'static str,
        range_key: Attribute,
        projection: &'static str,
        attributes: &'static [&'static str],
    }
    #[derive(Serialize)]
    struct Table {
        hash_key: Attribute,
        range_key: Option<Attribute>,
        ttl_attribute: Option<&'static str>,
        local_indexes: Vec<LocalIndex>,
    }
    let attribute = |key: KeyAttribute| Attribute { name: key.name, kind: key.kind.letter() };
    let local_index = |index: &Index| {
        let (projection, attributes): (_, &[_]) = match index.projection {
            Projection::All => ("ALL", &[]),
            Projection::Keys => ("KEYS_ONLY", &[]),
            Projection::Include(names) => ("INCLUDE", names),
        };
        LocalIndex { name: index.name, range_key: attribute(index.range), projection, attributes }
    };
    let table = |table: TableSpec| Table {
        hash_key: attribute(table.hash),
        range_key: table.range.map(attribute),
        ttl_attribute: table.expires,
        local_indexes: table.indexes.iter().map(local_index).collect(),
    };
    let tables: BTreeMap<_, _> = all().into_iter().map(|spec| (spec.name, table(spec))).collect();
    serde_json::to_string_pretty(&tables).expect("names and lists are JSON")
}

/// What the bot does with its tables. A transaction needs the permissions of the writes in it. Describing
/// is for the check at the start; the bot neither scans nor creates, changes or deletes tables.
const ACTIONS: &[&str] = &[
    "dynamodb:BatchGetItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
];

/// The IAM policy with the least that the bot needs.
pub fn policy() -> String {
    policy_for("")
}

/// The same for tables with a prefix.
pub fn policy_for(prefix: &str) -> String {
    let mut tables = all();
    tables.sort_unstable_by_key(|table| table.name);
    let arn = |table: &TableSpec| format!("arn:aws:dynamodb:*:*:table/{prefix}{}", table.name);
    let indexes = |table: &TableSpec| -> Vec<String> {
        table.indexes.iter().map(|index| format!("{}/index/{}", arn(table), index.name)).collect()
    };
    let statements = json!([
        {
            "Sid": "Records",
            "Effect": "Allow",
            "Action": ACTIONS,
            "Resource": tables.iter().map(arn).collect::<Vec<_>>(),
        },
        {
            "Sid": "Indexes",
            "Effect": "Allow",
            "Action": ["dynamodb:Query"],
            "Resource": tables.iter().flat_map(indexes).collect::<Vec<_>>(),
        },
    ]);
    let policy = json!({ "Version": "2012-10-17", "Statement": statements });
    serde_json::to_string_pretty(&policy).expect("this is JSON")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dynamo::testing::embedded;

    #[test]
    fn no_table_is_there_twice() {
        let names: BTreeSet<_> = all().iter().map(|table| table.name).collect();
        assert_eq!(names.len(), all().len());
    }

    /// Otherwise something about a person would be neither shown to them nor forgotten.
    #[test]
    fn every_attribute_has_a_privacy_class() {
        for table in all() {
            let name = table.name;
            let attributes = (table.attributes)();
            assert!(!attributes.is_empty(), "{name} tells no attributes");
            for attribute in &attributes {
                assert!(table.personal.class(attribute).is_some(), "{name}.{attribute} has no privacy class");
            }
            for (declared, _) in table.personal.attributes {
                let known = attributes.contains(declared) || attributes.contains(&"*");
                assert!(known, "{name} has no attribute {declared}, but a class for it");
            }
            assert!(!table.personal.kept.is_empty(), "{name} does not say how long it is kept");
        }
    }

    #[tokio::test]
    async fn the_tables_can_be_created() {
        let dynamo = embedded(&all()).await;
        assert_eq!(dynamo.check_tables(&all()).await.unwrap(), []);
    }

    #[test]
    fn terraform_finds_every_field_of_every_table() {
        let tables: serde_json::Value = serde_json::from_str(&json()).unwrap();
        let history = &tables["history"];
        assert_eq!(history["hash_key"], json!({ "name": "discord_server_id", "type": "N" }));
        assert_eq!(history["range_key"], json!({ "name": "entry", "type": "S" }));
        assert_eq!(history["ttl_attribute"], "expires_at");
        assert_eq!(history["local_indexes"][0]["range_key"], json!({ "name": "event_id", "type": "N" }));
        assert_eq!(history["local_indexes"][0]["projection"], "INCLUDE");
        for (name, table) in tables.as_object().unwrap() {
            for field in ["hash_key", "range_key", "ttl_attribute", "local_indexes"] {
                assert!(table.get(field).is_some(), "{name} has no {field}");
            }
        }
    }

    #[test]
    fn the_bot_may_do_no_more_than_it_does() {
        let policy = policy_for("zoo-");
        for forbidden in ["Scan", "CreateTable", "DeleteTable", "UpdateTable", "\"*\"", "dynamodb:*\""] {
            assert!(!policy.contains(forbidden), "{forbidden}");
        }
        assert!(policy.contains("table/zoo-history\""));
        assert!(policy.contains("table/zoo-history/index/by_event"));
    }
}
