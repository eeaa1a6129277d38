//! Items as the store holds them: for what must keep every attribute, whatever it is. Adoption, export and
//! import work on these, not on records, which would drop what this version does not know.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use aws_smithy_types::Blob;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::dynamo::error::{Error, not_applied};
use crate::dynamo::expression::Placeholders;
use crate::dynamo::meter::Units;
use crate::dynamo::record::{Call, capacity};
use crate::dynamo::table::{Item, Table, to_item};
use crate::dynamo::{Dynamo, TableSpec};

/// The value of one attribute.
pub type Attribute = AttributeValue;

/// Items are nested no deeper than this (a DynamoDB rule).
const DEPTH_MAX: usize = 32;

/// One item in the place of another, or of none; done only if what is there is what was read.
#[derive(Clone, Debug)]
pub struct Swap {
    pub table: TableSpec,
    pub before: Option<Item>,
    pub after: Option<Item>,
}

impl Swap {
    /// The same backwards.
    pub fn reversed(self) -> Self {
        Self { table: self.table, before: self.after, after: self.before }
    }

    /// The key of the item that is meant.
    pub fn key(&self) -> Item {
        key_of(&self.table, self.after.as_ref().or(self.before.as_ref()).unwrap_or(&Item::new()))
    }
}

/// The key's attributes of an item.
pub fn key_of(table: &TableSpec, item: &Item) -> Item {
    let names = std::iter::once(table.hash).chain(table.range).map(|attribute| attribute.name);
    names.filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect()
}

/// A number, such as an id.
pub fn number(number: impl std::fmt::Display) -> Attribute {
    AttributeValue::N(number.to_string())
}

pub fn text(text: impl Into<String>) -> Attribute {
    AttributeValue::S(text.into())
}

/// The text of an attribute; `None` if there is none, or it is something else.
pub fn text_in<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The number in an attribute, as it is written.
pub fn number_in<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_n().ok().map(String::as_str)
}

/// The ids in an attribute, which holds one or a set of them.
pub fn numbers_in<'a>(item: &'a Item, name: &str) -> impl Iterator<Item = u64> + use<'a> {
    let one = item.get(name).and_then(|value| value.as_n().ok());
    let set = item.get(name).and_then(|value| value.as_ns().ok());
    set.into_iter().flatten().chain(one).filter_map(|number| number.parse().ok())
}

/// A record as an item.
pub fn item_of<T: Table>(record: &T) -> Result<Item, Error> {
    to_item(record)
}

/// An item as a record. An item that no record can be made of says why.
pub fn record_of<T: Table>(item: Item) -> anyhow::Result<T> {
    Ok(serde_dynamo::from_item(item)?)
}

impl Dynamo {
    /// One page of a partition, and where it ended; with strong consistency and without what has expired.
    pub async fn items_of(
        &self,
        table: &TableSpec,
        hash: Attribute,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Error> {
        let (mut items, next) = self.stored_items_of(table, hash, start).await?;
        let now = self.now();
        items.retain(|item| !is_over(table, item, now));
        Ok((items, next))
    }

    /// The same with what has expired and is not deleted yet.
    pub(super) async fn stored_items_of(
        &self,
        table: &TableSpec,
        hash: Attribute,
        start: Option<Item>,
    ) -> Result<(Vec<Item>, Option<Item>), Error> {
        let call = Call::new(self, table.name, "query");
        let mut p = Placeholders::default();
        let condition = format!("{} = {}", p.name(table.hash.name), p.value(&hash));
        let request = self.client().query().table_name(self.table_name(table.name));
        let request = request
            .key_condition_expression(condition)
            .set_expression_attribute_names(p.names())
            .set_expression_attribute_values(p.values())
            .set_exclusive_start_key(start)
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        let output = request.send().await.map_err(|failed| call.failed(not_applied(failed)))?;
        call.done(Units::read(capacity(output.consumed_capacity())));
        let next = output.last_evaluated_key.filter(|key| !key.is_empty());
        Ok((output.items.unwrap_or_default(), next))
    }

    /// All items of a partition, however many pages they are on.
    pub async fn partition(&self, table: &TableSpec, hash: Attribute) -> Result<Vec<Item>, Error> {
        let (mut all, mut start) = (Vec::new(), None);
        loop {
            let (items, next) = self.items_of(table, hash.clone(), start).await?;
            all.extend(items);
            match next {
                Some(key) => start = Some(key),
                None => return Ok(all),
            }
        }
    }

    /// One item; `None` also if it has expired.
    pub async fn item(&self, table: &TableSpec, key: Item) -> Result<Option<Item>, Error> {
        let call = Call::new(self, table.name, "get");
        let request = self.client().get_item().table_name(self.table_name(table.name));
        let request = request
            .set_key(Some(key))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        let output = request.send().await.map_err(|failed| call.failed(not_applied(failed)))?;
        call.done(Units::read(capacity(output.consumed_capacity())));
        let now = self.now();
        Ok(output.item.filter(|item| !is_over(table, item, now)))
    }

    /// About how many items a table has: DynamoDB counts every six hours. `None`: the store does not say.
    pub async fn about_how_many(&self, table: &TableSpec) -> Result<Option<u64>, Error> {
        let described = self.describe(table).await?;
        Ok(described.and_then(|table| table.item_count).and_then(|count| u64::try_from(count).ok()))
    }
}

/// Whether an item counts as absent by now.
pub fn is_over(table: &TableSpec, item: &Item, now: Timestamp) -> bool {
    let seconds =
        table.expires.and_then(|name| number_in(item, name)).and_then(|text| text.parse::<i64>().ok());
    seconds.is_some_and(|seconds| seconds <= now.seconds())
}

/// An item in DynamoDB's own JSON. Numbers are texts in it, so that no reader shortens an id; the same item
/// is always the same text.
pub fn to_json(item: &Item) -> Value {
    let sorted: BTreeMap<&String, Value> =
        item.iter().map(|(name, value)| (name, value_json(value))).collect();
    json!(sorted)
}

fn value_json(value: &AttributeValue) -> Value {
    let sorted = |set: &[String]| {
        let mut set = set.to_vec();
        set.sort_unstable();
        set
    };
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(flag) => json!({ "BOOL": flag }),
        AttributeValue::L(list) => json!({ "L": list.iter().map(value_json).collect::<Vec<_>>() }),
        AttributeValue::M(map) => json!({ "M": to_json(map) }),
        AttributeValue::Ss(set) => json!({ "SS": sorted(set) }),
        AttributeValue::Ns(set) => json!({ "NS": sorted(set) }),
        AttributeValue::B(bytes) => json!({ "B": STANDARD.encode(bytes) }),
        AttributeValue::Bs(set) => {
            json!({ "BS": sorted(&set.iter().map(|bytes| STANDARD.encode(bytes)).collect::<Vec<_>>()) })
        }
        // The SDK's kinds are the ones above; what it may learn later is no item of ours.
        _ => json!({ "NULL": true }),
    }
}

/// Reads what [`to_json`] wrote; the error says what is wrong.
pub fn from_json(value: &Value) -> Result<Item, String> {
    let map = value.as_object().ok_or("an item is an object")?;
    item_from(map, 0)
}

fn item_from(map: &Map<String, Value>, depth: usize) -> Result<Item, String> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deeply".to_owned());
    }
    map.iter()
        .map(|(name, value)| {
            let value = value_from(value, depth).map_err(|error| format!("{name}: {error}"))?;
            Ok((name.clone(), value))
        })
        .collect()
}

fn value_from(value: &Value, depth: usize) -> Result<AttributeValue, String> {
    let one = value.as_object().filter(|map| map.len() == 1).and_then(|map| map.iter().next());
    let (kind, value) = one.ok_or("a value is an object with one field, its kind")?;
    let wrong = || format!("that is no {kind}");
    let text = || value.as_str().map(str::to_owned).ok_or_else(wrong);
    let texts = || {
        let list = value.as_array().filter(|list| !list.is_empty()).ok_or_else(wrong)?;
        list.iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<Vec<_>, _>>()
    };
    let bytes = |text: String| STANDARD.decode(text).map(Blob::new).map_err(|_| wrong());
    Ok(match kind.as_str() {
        "S" => AttributeValue::S(text()?),
        "N" => AttributeValue::N(Some(text()?).filter(|text| is_number(text)).ok_or_else(wrong)?),
        "BOOL" => AttributeValue::Bool(value.as_bool().ok_or_else(wrong)?),
        "NULL" => AttributeValue::Null(true),
        "L" => {
            let list = value.as_array().filter(|_| depth < DEPTH_MAX).ok_or_else(wrong)?;
            AttributeValue::L(
                list.iter().map(|value| value_from(value, depth + 1)).collect::<Result<_, _>>()?,
            )
        }
        "M" => AttributeValue::M(item_from(value.as_object().ok_or_else(wrong)?, depth + 1)?),
        "SS" => AttributeValue::Ss(texts()?),
        "NS" => AttributeValue::Ns(
            Some(texts()?).filter(|set| set.iter().all(|n| is_number(n))).ok_or_else(wrong)?,
        ),
        "B" => AttributeValue::B(bytes(text()?)?),
        "BS" => AttributeValue::Bs(texts()?.into_iter().map(bytes).collect::<Result<_, _>>()?),
        other => return Err(format!("there is no kind {other}")),
    })
}

/// Strictly: an id of 20 digits is more than a floating point number can tell.
fn is_number(text: &str) -> bool {
    text.parse::<i128>().is_ok() || text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Whether two items are the same; sets have no order.
pub fn same_item(a: &Item, b: &Item) -> bool {
    to_json(a) == to_json(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_the_same_after_a_round_trip_as_json() {
        let map = Item::from([("a".to_owned(), AttributeValue::Bool(true))]);
        let item = Item::from([
            ("id".to_owned(), number(u64::MAX)),
            ("text".to_owned(), text("a\u{1F600}\n\"")),
            ("empty".to_owned(), text("")),
            ("null".to_owned(), AttributeValue::Null(true)),
            ("list".to_owned(), AttributeValue::L(vec![number(-1), AttributeValue::M(map)])),
            ("ids".to_owned(), AttributeValue::Ns(vec!["2".to_owned(), "1".to_owned()])),
            ("names".to_owned(), AttributeValue::Ss(vec!["b".to_owned()])),
            ("bytes".to_owned(), AttributeValue::B(Blob::new([0, 255]))),
        ]);
        let line = to_json(&item).to_string();
        assert!(line.contains("\"18446744073709551615\""), "{line}");
        let read = from_json(&serde_json::from_str(&line).unwrap()).unwrap();
        assert!(same_item(&read, &item));
        assert_eq!(to_json(&read).to_string(), line);
    }

    #[test]
    fn what_is_no_item_is_refused_with_its_place() {
        let read = |json: Value| from_json(&json).unwrap_err();
        assert_eq!(read(json!({ "a": { "N": "x" } })), "a: that is no N");
        assert_eq!(read(json!({ "a": { "X": "x" } })), "a: there is no kind X");
        assert_eq!(read(json!({ "a": "x" })), "a: a value is an object with one field, its kind");
        assert_eq!(read(json!([])), "an item is an object");
        let deep = (0..60).fold(json!({ "S": "x" }), |inner, _| json!({ "L": [inner] }));
        assert!(read(json!({ "a": deep })).contains("that is no L"));
    }
}
