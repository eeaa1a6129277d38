//! What is kept about a person: gathering it, and forgetting it, as the classes of attributes say.
//!
//! Records are handled as the store holds them, whatever their type, so that a new table needs nothing but
//! its classes. This is the only code that changes a row of the history.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use serde_json::Value as Json;

use crate::dynamo::error::{Error, not_applied};
use crate::dynamo::expression::Placeholders;
use crate::dynamo::meter::Units;
use crate::dynamo::raw::key_of;
use crate::dynamo::record::{Call, capacity};
use crate::dynamo::table::Item;
use crate::dynamo::{Dynamo, Places, Privacy, Reach, TableSpec};

/// A partition of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Number(u64),
    Text(String),
}

/// How much of a person is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Who they are.
    Person,
    /// Also what they taught.
    Taught,
}

/// What was found and done in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Records that were deleted or changed.
    pub changed: u64,
    /// Records that name the person and stay.
    pub kept: u64,
}

impl std::ops::AddAssign for Erased {
    fn add_assign(&mut self, other: Self) {
        self.changed += other.changed;
        self.kept += other.kept;
    }
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq)]
enum Plan {
    Leave,
    Delete,
    /// `None`: the attribute goes.
    Change(Vec<(String, Option<AttributeValue>)>),
}

impl Places {
    /// The partitions that may hold something about a person in a server, or everything of a server.
    pub fn of(self, person: Option<u64>, reach: &Reach) -> Vec<Place> {
        match (self, person) {
            (Self::Nowhere, _) | (Self::Person, None) => Vec::new(),
            // Once is enough: with the place that is in no server.
            (Self::Person, Some(_)) if reach.server_id != 0 => Vec::new(),
            (Self::Person, Some(person)) => vec![Place::Number(person)],
            (Self::Server, _) => vec![Place::Number(reach.server_id)],
            (Self::Named(names), _) => names(reach).into_iter().map(Place::Text).collect(),
        }
    }
}

impl Place {
    /// Its key.
    pub fn value(&self) -> AttributeValue {
        match self {
            Self::Number(number) => AttributeValue::N(number.to_string()),
            Self::Text(text) => AttributeValue::S(text.clone()),
        }
    }
}

impl Dynamo {
    /// What a partition holds about a person: the records that name them, without other people.
    pub async fn gather(&self, table: &TableSpec, place: &Place, person: u64) -> Result<Vec<Json>, Error> {
        let mut found = Vec::new();
        let mut start = None;
        loop {
            let (items, next) = self.stored_items_of(table, place.value(), start).await?;
            found.extend(items.into_iter().filter_map(|item| told(table, item, person)));
            start = next;
            if start.is_none() {
                return Ok(found);
            }
        }
    }

    /// Forgets a person in a partition. What somebody else is changing at this moment may be written back
    /// after it, so it is done twice, some time apart.
    pub async fn erase(
        &self,
        table: &TableSpec,
        place: &Place,
        person: u64,
        depth: Depth,
    ) -> Result<Erased, Error> {
        let mut sum = Erased::default();
        let mut start = None;
        loop {
            let (items, next) = self.stored_items_of(table, place.value(), start).await?;
            for item in items {
                sum.kept += u64::from(stays(table, &item, person));
                match plan(table.personal.attributes, &item, person, depth) {
                    Plan::Leave => continue,
                    Plan::Delete => self.remove(table, &item).await?,
                    Plan::Change(changes) => self.alter(table, &item, changes).await?,
                }
                sum.changed += 1;
            }
            start = next;
            if start.is_none() {
                return Ok(sum);
            }
        }
    }

    /// Deletes a whole partition.
    pub async fn purge(&self, table: &TableSpec, place: &Place) -> Result<u64, Error> {
        let (mut count, mut start) = (0, None);
        loop {
            let (items, next) = self.stored_items_of(table, place.value(), start).await?;
            for item in &items {
                self.remove(table, item).await?;
                count += 1;
            }
            start = next;
            if start.is_none() {
                return Ok(count);
            }
        }
    }

    /// Deleting again is deleting once, so an unknown outcome is simply an error: the job runs again.
    async fn remove(&self, table: &TableSpec, item: &Item) -> Result<(), Error> {
        let call = Call::new(self, table.name, "delete");
        let request = self.client().delete_item().table_name(self.table_name(table.name));
        let request = request
            .set_key(Some(key_of(table, item)))
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        let output = request.send().await.map_err(|failed| call.failed(not_applied(failed)))?;
        call.done(Units::write(capacity(output.consumed_capacity())));
        Ok(())
    }

    /// Each attribute changes only if it still is what it was; if not, the next round sees to it.
    async fn alter(
        &self,
        table: &TableSpec,
        item: &Item,
        changes: Vec<(String, Option<AttributeValue>)>,
    ) -> Result<(), Error> {
        let call = Call::new(self, table.name, "update");
        let mut p = Placeholders::default();
        let (mut sets, mut removes, mut conditions) = (Vec::new(), Vec::new(), Vec::new());
        for (name, value) in &changes {
            let placeholder = p.name(name);
            conditions.push(format!("{placeholder} = {}", p.value(&item[name])));
            match value {
                Some(value) => sets.push(format!("{placeholder} = {}", p.value(value))),
                None => removes.push(placeholder),
            }
        }
        let clause = |word: &str, parts: Vec<String>| match parts.as_slice() {
            [] => String::new(),
            parts => format!("{word} {} ", parts.join(", ")),
        };
        let request = self.client().update_item().table_name(self.table_name(table.name));
        let request = request
            .set_key(Some(key_of(table, item)))
            .update_expression((clause("SET", sets) + &clause("REMOVE", removes)).trim_end())
            .condition_expression(conditions.join(" AND "))
            .set_expression_attribute_names(p.names())
            .set_expression_attribute_values(p.values())
            .return_consumed_capacity(ReturnConsumedCapacity::Indexes);
        match request.send().await {
            Ok(output) => {
                call.done(Units::write(capacity(output.consumed_capacity())));
                Ok(())
            }
            Err(failed)
                if failed
                    .as_service_error()
                    .is_some_and(|error| error.is_conditional_check_failed_exception()) =>
            {
                call.done(Units::write(1.0));
                Ok(())
            }
            Err(failed) => Err(call.failed(not_applied(failed))),
        }
    }
}

fn is(value: &AttributeValue, person: u64) -> bool {
    value.as_n().is_ok_and(|number| *number == person.to_string())
}

type Classes = [(&'static str, Privacy)];

fn class(classes: &Classes, name: &str) -> Privacy {
    let find = |name: &str| classes.iter().find(|(known, _)| *known == name).map(|(_, class)| *class);
    find(name).or_else(|| find("*")).unwrap_or(Privacy::None)
}

/// What becomes of a record, or of an entry in a list, when a person is forgotten.
fn plan(classes: &Classes, item: &HashMap<String, AttributeValue>, person: u64, depth: Depth) -> Plan {
    let mut changes = Vec::new();
    let mut wrote = false;
    for (name, value) in item {
        match class(classes, name) {
            Privacy::Subject if is(value, person) => return Plan::Delete,
            Privacy::Within(id) if value.as_s().is_ok_and(|text| id(text) == Some(person)) => {
                return Plan::Delete;
            }
            Privacy::Owner if is(value, person) && depth == Depth::Taught => return Plan::Delete,
            Privacy::Owner | Privacy::Author | Privacy::Id if is(value, person) => {
                wrote |= matches!(class(classes, name), Privacy::Author);
                changes.push((name.clone(), Some(AttributeValue::N("0".to_owned()))));
            }
            Privacy::Each(classes) => {
                if let Some(list) = entries(classes, value, person, depth) {
                    changes.push((name.clone(), Some(list)));
                }
            }
            _ => {}
        }
    }
    if wrote && depth == Depth::Taught {
        let texts = item.keys().filter(|name| matches!(class(classes, name), Privacy::Text));
        changes.extend(texts.map(|name| (name.clone(), None)));
    }
    if changes.is_empty() { Plan::Leave } else { Plan::Change(changes) }
}

/// The list without the person; nothing if it does not name them.
fn entries(classes: &Classes, value: &AttributeValue, person: u64, depth: Depth) -> Option<AttributeValue> {
    let mut changed = false;
    let mut list = Vec::new();
    for entry in value.as_l().ok()? {
        let mut entry = entry.clone();
        if let AttributeValue::M(map) = &mut entry {
            match plan(classes, map, person, depth) {
                Plan::Leave => {}
                Plan::Delete => {
                    changed = true;
                    continue;
                }
                Plan::Change(changes) => {
                    changed = true;
                    for (name, value) in changes {
                        match value {
                            Some(value) => map.insert(name, value),
                            None => map.remove(&name),
                        };
                    }
                }
            }
        }
        list.push(entry);
    }
    changed.then_some(AttributeValue::L(list))
}

/// Whether a record names the person in an attribute that stays.
fn stays(table: &TableSpec, item: &Item, person: u64) -> bool {
    item.iter().any(|(name, value)| {
        matches!(class(table.personal.attributes, name), Privacy::Stays) && mentions(value, person)
    })
}

fn mentions(value: &AttributeValue, person: u64) -> bool {
    match value {
        AttributeValue::N(_) => is(value, person),
        AttributeValue::S(text) => {
            text.split(|c: char| !c.is_ascii_digit()).any(|id| id == person.to_string())
        }
        AttributeValue::L(list) => list.iter().any(|value| mentions(value, person)),
        AttributeValue::M(map) => map.values().any(|value| mentions(value, person)),
        AttributeValue::Ns(numbers) => numbers.contains(&person.to_string()),
        _ => false,
    }
}

/// A record as its person may see it: nobody else's id, and nobody else's words. Nothing if it is not about
/// them.
fn told(table: &TableSpec, item: Item, person: u64) -> Option<Json> {
    let classes = table.personal.attributes;
    let (mut named, mut theirs) = (false, false);
    for (name, value) in &item {
        match class(classes, name) {
            Privacy::Id => named |= is(value, person),
            Privacy::Author | Privacy::Owner | Privacy::Subject => theirs |= is(value, person),
            Privacy::Within(id) => theirs |= value.as_s().is_ok_and(|text| id(text) == Some(person)),
            Privacy::Stays | Privacy::Each(_) => named |= mentions(value, person),
            Privacy::None | Privacy::Text => {}
        }
    }
    if !named && !theirs {
        return None;
    }
    let is_key = |name: &str| name == table.hash.name || table.range.is_some_and(|range| range.name == name);
    let shown = item.into_iter().filter(|(name, value)| match class(classes, name) {
        Privacy::None | Privacy::Within(_) => true,
        Privacy::Text => theirs || is_key(name),
        Privacy::Id | Privacy::Author | Privacy::Owner | Privacy::Subject => is(value, person),
        Privacy::Stays | Privacy::Each(_) => mentions(value, person),
    });
    let mut record: serde_json::Map<String, Json> = shown.map(|(name, value)| (name, json(&value))).collect();
    record.insert("table".to_owned(), Json::from(table.name));
    Some(Json::Object(record))
}

/// As JSON. Numbers that are too long for JavaScript, such as ids, are texts.
fn json(value: &AttributeValue) -> Json {
    const EXACT_MAX: u64 = 1 << 53;
    let number = |digits: &String| match digits.parse::<i64>() {
        Ok(number) if number.unsigned_abs() < EXACT_MAX => Json::from(number),
        _ => Json::from(digits.as_str()),
    };
    match value {
        AttributeValue::N(digits) => number(digits),
        AttributeValue::S(text) => Json::from(text.as_str()),
        AttributeValue::Bool(flag) => Json::from(*flag),
        AttributeValue::L(list) => list.iter().map(json).collect(),
        AttributeValue::M(map) => map.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        AttributeValue::Ns(numbers) => numbers.iter().map(number).collect(),
        AttributeValue::Ss(texts) => texts.iter().map(|text| Json::from(text.as_str())).collect(),
        _ => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: &Classes = &[
        ("owner", Privacy::Owner),
        ("by", Privacy::Author),
        ("about", Privacy::Subject),
        ("entry", Privacy::Within(|text| text.strip_prefix("about#")?.parse().ok())),
        ("lock", Privacy::Id),
        ("words", Privacy::Text),
        ("rules", Privacy::Stays),
        ("queue", Privacy::Each(&[("by", Privacy::Author), ("title", Privacy::Text)])),
    ];

    fn n(number: u64) -> AttributeValue {
        AttributeValue::N(number.to_string())
    }

    fn s(text: &str) -> AttributeValue {
        AttributeValue::S(text.to_owned())
    }

    fn item(attributes: &[(&str, AttributeValue)]) -> Item {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    fn sorted(plan: Plan) -> Plan {
        match plan {
            Plan::Change(mut changes) => {
                changes.sort_by(|a, b| a.0.cmp(&b.0));
                Plan::Change(changes)
            }
            other => other,
        }
    }

    #[test]
    fn what_becomes_of_a_record_follows_from_its_classes() {
        let someone = || Some(n(0));
        let change = |changes: &[(&str, Option<AttributeValue>)]| {
            Plan::Change(changes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
        };
        let both = |attributes: &[(&str, AttributeValue)]| {
            let item = item(attributes);
            [Depth::Person, Depth::Taught].map(|depth| sorted(plan(CLASSES, &item, 7, depth)))
        };
        assert_eq!(both(&[("by", n(8)), ("words", s("hi"))]), [Plan::Leave, Plan::Leave]);
        assert_eq!(both(&[("about", n(7)), ("by", n(8))]), [Plan::Delete, Plan::Delete]);
        assert_eq!(both(&[("entry", s("about#7"))]), [Plan::Delete, Plan::Delete]);
        assert_eq!(both(&[("lock", n(7))]), [change(&[("lock", someone())]), change(&[("lock", someone())])]);
        assert_eq!(
            both(&[("owner", n(7)), ("words", s("hi"))]),
            [change(&[("owner", someone())]), Plan::Delete]
        );
        assert_eq!(
            both(&[("by", n(7)), ("owner", n(8)), ("words", s("hi"))]),
            [change(&[("by", someone())]), change(&[("by", someone()), ("words", None)])]
        );
        assert_eq!(both(&[("rules", AttributeValue::L(vec![n(7)]))]), [Plan::Leave, Plan::Leave]);
        let song = |by: u64, title: Option<&str>| {
            let title = title.map(|title| ("title".to_owned(), s(title)));
            AttributeValue::M([("by".to_owned(), n(by))].into_iter().chain(title).collect())
        };
        let queue = |songs: &[AttributeValue]| AttributeValue::L(songs.to_vec());
        assert_eq!(
            both(&[("queue", queue(&[song(7, Some("a")), song(8, Some("b"))]))]),
            [
                change(&[("queue", Some(queue(&[song(0, Some("a")), song(8, Some("b"))])))]),
                change(&[("queue", Some(queue(&[song(0, None), song(8, Some("b"))])))]),
            ]
        );
    }
}
