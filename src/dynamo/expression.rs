//! [`Column`], [`Update`] and [`Condition`]: what to change and when, as data.
//!
//! They are rendered into DynamoDB's expression language with a placeholder for every name and value:
//! `key`, `name` and `text` are reserved words there, and what people type never becomes part of an
//! expression. Adding to a text or inserting into a number does not compile.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::marker::PhantomData;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::dynamo::table::{Item, Table, TableSpec};

/// An attribute of the records in a table, one entry of a map in them, or the first element of a list.
pub struct Column<T, V> {
    path: Path,
    of: PhantomData<fn() -> (T, V)>,
}

/// Where a value is: an attribute, or a part of it.
#[derive(Clone, Debug, PartialEq)]
struct Path {
    name: &'static str,
    part: Part,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Whole,
    Entry(String),
    First,
}

impl<T: Table, V> Column<T, V> {
    /// The name is that of the record's field.
    pub const fn new(name: &'static str) -> Self {
        Self { path: Path { name, part: Part::Whole }, of: PhantomData }
    }
}

impl<T: Table, V> Column<T, BTreeMap<String, V>> {
    /// One entry of the map, which must exist when the entry is written.
    pub fn entry(self, key: &str) -> Column<T, V> {
        let path = Path { name: self.path.name, part: Part::Entry(key.to_owned()) };
        Column { path, of: PhantomData }
    }
}

impl<T: Table, V> Column<T, Vec<V>> {
    /// The first element of the list. Removing it moves the others up.
    pub fn first(self) -> Column<T, V> {
        Column { path: Path { name: self.path.name, part: Part::First }, of: PhantomData }
    }
}

/// What `add` can add.
pub trait Number: Serialize {}
impl Number for i32 {}
impl Number for i64 {}
impl Number for u32 {}
impl Number for u64 {}
impl Number for f64 {}

/// What `insert` can insert: the elements of DynamoDB's sets. The field is a `BTreeSet`, with
/// `#[serde(with = "serde_dynamo::number_set")]` or `string_set`; DynamoDB has no empty sets, so it also
/// needs `default` and `skip_serializing_if`.
pub trait Element: Ord + Sized {
    fn set(elements: BTreeSet<Self>) -> AttributeValue;
}

impl Element for u64 {
    fn set(elements: BTreeSet<Self>) -> AttributeValue {
        AttributeValue::Ns(elements.iter().map(Self::to_string).collect())
    }
}

impl Element for String {
    fn set(elements: BTreeSet<Self>) -> AttributeValue {
        AttributeValue::Ss(elements.into_iter().collect())
    }
}

fn value_of<V: Serialize>(value: V) -> AttributeValue {
    serde_dynamo::to_attribute_value(value).expect("columns hold numbers, texts, lists and maps by text")
}

/// What to change in a record; at most one action for each attribute (a DynamoDB rule).
#[must_use]
pub struct Update<T> {
    actions: Vec<Action>,
    condition: Option<Condition<T>>,
    signature: Option<(&'static str, AttributeValue)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Set(Path, AttributeValue),
    SetIfAbsent(Path, AttributeValue),
    Copy { from: Path, to: Path },
    Add(Path, AttributeValue),
    Append(Path, AttributeValue),
    Insert(Path, AttributeValue),
    TakeOut(Path, AttributeValue),
    Remove(Path),
}

impl<T> Clone for Update<T> {
    fn clone(&self) -> Self {
        let (actions, condition) = (self.actions.clone(), self.condition.clone());
        Self { actions, condition, signature: self.signature.clone() }
    }
}

impl<T: Table> Default for Update<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Table> Update<T> {
    pub fn new() -> Self {
        Self { actions: Vec::new(), condition: None, signature: None }
    }

    fn action(mut self, action: Action) -> Self {
        self.actions.push(action);
        self
    }

    pub fn set<V: Serialize>(self, column: Column<T, V>, value: V) -> Self {
        self.action(Action::Set(column.path, value_of(value)))
    }

    pub fn set_if_absent<V: Serialize>(self, column: Column<T, V>, value: V) -> Self {
        self.action(Action::SetIfAbsent(column.path, value_of(value)))
    }

    /// Copies the value as it was before this update.
    pub fn copy<V>(self, from: Column<T, V>, to: Column<T, V>) -> Self {
        self.action(Action::Copy { from: from.path, to: to.path })
    }

    /// Adds to a number; an absent one counts as 0. After a lost reply this may count twice, unless the
    /// update has a condition that does not hold a second time.
    pub fn add<V: Number>(self, column: Column<T, V>, amount: V) -> Self {
        self.action(Action::Add(column.path, value_of(amount)))
    }

    /// Appends to a list; an absent one counts as empty.
    pub fn append<V: Serialize>(self, column: Column<T, Vec<V>>, element: V) -> Self {
        self.action(Action::Append(column.path, AttributeValue::L(vec![value_of(element)])))
    }

    /// Inserts into a set; an absent one counts as empty.
    pub fn insert<V: Element>(self, column: Column<T, BTreeSet<V>>, element: V) -> Self {
        self.insert_all(column, BTreeSet::from([element]))
    }

    /// Inserts all of them; there is no empty set, so nothing to insert is nothing to do.
    pub fn insert_all<V: Element>(self, column: Column<T, BTreeSet<V>>, elements: BTreeSet<V>) -> Self {
        match elements.is_empty() {
            true => self,
            false => self.action(Action::Insert(column.path, V::set(elements))),
        }
    }

    /// Takes an element out of a set; the last one takes the attribute with it.
    pub fn take_out<V: Element>(self, column: Column<T, BTreeSet<V>>, element: V) -> Self {
        self.action(Action::TakeOut(column.path, V::set(BTreeSet::from([element]))))
    }

    /// Removes an attribute, an entry or an element.
    pub fn remove<V>(self, column: Column<T, V>) -> Self {
        self.action(Action::Remove(column.path))
    }

    /// Only if this holds; with an earlier condition, only if both do.
    pub fn when(mut self, condition: Condition<T>) -> Self {
        self.condition = Some(match self.condition.take() {
            Some(earlier) => earlier.and(condition),
            None => condition,
        });
        self
    }

    /// Sets the column to a value that no other write of it has, such as an event's id. When the reply
    /// is lost and the repeat is refused, the helper knows its own write by this.
    pub fn signed<V: Serialize>(mut self, column: Column<T, V>, value: V) -> Self {
        let (name, value) = (column.path.name, value_of(value));
        self.signature = Some((name, value.clone()));
        self.action(Action::Set(column.path, value))
    }

    /// What to do and under which condition, apart from the type of record.
    pub(crate) fn into_parts(self) -> (Changes, Option<Condition<T>>) {
        (Changes { actions: self.actions, signature: self.signature }, self.condition)
    }
}

/// The changes of an [`Update`], whatever the type of record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Changes {
    actions: Vec<Action>,
    signature: Option<(&'static str, AttributeValue)>,
}

impl Changes {
    /// Whether this update wrote the item.
    pub(crate) fn wrote(&self, item: &Item) -> bool {
        self.signature.as_ref().is_some_and(|(name, value)| item.get(*name) == Some(value))
    }

    pub(crate) fn render(&self, placeholders: &mut Placeholders) -> String {
        let mut clauses: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for action in &self.actions {
            let (clause, text) = action.render(placeholders);
            clauses.entry(clause).or_default().push(text);
        }
        let clauses = clauses.into_iter().map(|(clause, parts)| format!("{clause} {}", parts.join(", ")));
        clauses.collect::<Vec<_>>().join(" ")
    }
}

impl Action {
    fn render(&self, p: &mut Placeholders) -> (&'static str, String) {
        match self {
            Self::Set(path, value) => ("SET", format!("{} = {}", p.path(path), p.value(value))),
            Self::SetIfAbsent(path, value) => {
                let path = p.path(path);
                ("SET", format!("{path} = if_not_exists({path}, {})", p.value(value)))
            }
            Self::Copy { from, to } => ("SET", format!("{} = {}", p.path(to), p.path(from))),
            Self::Add(path, amount) if path.part == Part::Whole => {
                ("ADD", format!("{} {}", p.path(path), p.value(amount)))
            }
            // ADD is for attributes only, not for entries of maps.
            Self::Add(path, amount) => {
                let (path, zero) = (p.path(path), p.value(&AttributeValue::N("0".to_owned())));
                ("SET", format!("{path} = if_not_exists({path}, {zero}) + {}", p.value(amount)))
            }
            Self::Append(path, list) => {
                let (path, empty) = (p.path(path), p.value(&AttributeValue::L(Vec::new())));
                ("SET", format!("{path} = list_append(if_not_exists({path}, {empty}), {})", p.value(list)))
            }
            Self::Insert(path, set) => ("ADD", format!("{} {}", p.path(path), p.value(set))),
            Self::TakeOut(path, set) => ("DELETE", format!("{} {}", p.path(path), p.value(set))),
            Self::Remove(path) => ("REMOVE", p.path(path)),
        }
    }
}

/// What must hold for a write to happen, or for a record to be in a query's result. An expired record
/// counts as absent, and nothing is equal to or less than an absent attribute.
#[must_use]
pub struct Condition<T> {
    test: Test,
    of: PhantomData<fn() -> T>,
}

/// A [`Condition`], whatever the type of record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    test: Option<Test>,
    expiry: Option<Expiry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Expiry {
    name: &'static str,
    /// Whether the clause holds for a record that has expired.
    passes: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Exists(Path),
    Compare(Path, &'static str, AttributeValue),
    ComparePaths(Path, &'static str, Path),
    Size(Path, &'static str, u64),
    Contains(Path, AttributeValue),
    /// It has these attributes with these values, and not those.
    Is {
        has: Vec<(String, AttributeValue)>,
        lacks: Vec<String>,
    },
    And(Box<Test>, Box<Test>),
    Or(Box<Test>, Box<Test>),
    Not(Box<Test>),
}

impl<T> Clone for Condition<T> {
    fn clone(&self) -> Self {
        Self { test: self.test.clone(), of: PhantomData }
    }
}

impl<T: Table> Condition<T> {
    fn from_test(test: Test) -> Self {
        Self { test, of: PhantomData }
    }

    /// There is no such record.
    pub fn absent() -> Self {
        Self::present().not()
    }

    /// There is such a record.
    pub fn present() -> Self {
        Self::from_test(Test::Exists(Path { name: T::KEY[0], part: Part::Whole }))
    }

    /// The record has this attribute or entry.
    pub fn has<V>(column: Column<T, V>) -> Self {
        Self::from_test(Test::Exists(column.path))
    }

    pub fn equals<V: Serialize>(column: Column<T, V>, value: V) -> Self {
        Self::from_test(Test::Compare(column.path, "=", value_of(value)))
    }

    pub fn less<V: Serialize>(column: Column<T, V>, value: V) -> Self {
        Self::from_test(Test::Compare(column.path, "<", value_of(value)))
    }

    pub fn greater<V: Serialize>(column: Column<T, V>, value: V) -> Self {
        Self::from_test(Test::Compare(column.path, ">", value_of(value)))
    }

    /// Less or equal.
    pub fn at_most<V: Serialize>(column: Column<T, V>, value: V) -> Self {
        Self::from_test(Test::Compare(column.path, "<=", value_of(value)))
    }

    /// One attribute of the record is less than another one.
    pub fn less_than_column<V>(column: Column<T, V>, other: Column<T, V>) -> Self {
        Self::from_test(Test::ComparePaths(column.path, "<", other.path))
    }

    /// The list, map or set has fewer than this many elements, the text fewer UTF-16 units.
    pub fn size_below<V>(column: Column<T, V>, size: u64) -> Self {
        Self::from_test(Test::Size(column.path, "<", size))
    }

    /// The list, map or set has more than this many elements, the text more UTF-16 units.
    pub fn size_above<V>(column: Column<T, V>, size: u64) -> Self {
        Self::from_test(Test::Size(column.path, ">", size))
    }

    /// The set has this element.
    pub fn contains<V: Element + Serialize>(column: Column<T, BTreeSet<V>>, element: V) -> Self {
        Self::from_test(Test::Contains(column.path, value_of(element)))
    }

    pub fn and(self, other: Self) -> Self {
        Self::from_test(Test::And(Box::new(self.test), Box::new(other.test)))
    }

    pub fn or(self, other: Self) -> Self {
        Self::from_test(Test::Or(Box::new(self.test), Box::new(other.test)))
    }

    #[expect(clippy::should_implement_trait, reason = "it reads like `and` and `or`")]
    pub fn not(self) -> Self {
        Self::from_test(Test::Not(Box::new(self.test)))
    }

    /// As DynamoDB is to understand it, which does not know that an expired record counts as absent.
    pub(crate) fn into_clause(self) -> Clause {
        let passes = self.test.holds_for_nothing();
        let expiry = T::EXPIRES.map(|name| Expiry { name, passes });
        Clause { test: Some(self.test), expiry }
    }

    /// For a write that creates a missing record and keeps what it does not name: the attributes of an
    /// expired one must not come back to life.
    pub(crate) fn into_clause_for_upsert(condition: Option<Self>) -> Option<Clause> {
        let expiry = T::EXPIRES.map(|name| Expiry { name, passes: false });
        let test = condition.map(|condition| condition.test);
        (test.is_some() || expiry.is_some()).then_some(Clause { test, expiry })
    }

    /// As it is, for a query's filter; expired records are left out of its result anyway.
    pub(crate) fn render_filter(&self, placeholders: &mut Placeholders) -> String {
        self.test.render(placeholders)
    }
}

/// What every change of a record writes: a record without these has not been changed.
const MARKS: [&str; 4] = ["rev", "event_id", "given_day", "updated_at"];

impl Clause {
    /// That an item is still as it was read, with nothing of what it is to become; `None`: that there is none.
    pub(crate) fn still(table: &TableSpec, before: Option<&Item>, next: &Item) -> Self {
        let Some(before) = before else {
            let expiry = table.expires.map(|name| Expiry { name, passes: true });
            let there = Test::Exists(Path { name: table.hash.name, part: Part::Whole });
            return Self { test: Some(Test::Not(Box::new(there))), expiry };
        };
        let mut has: Vec<_> = before.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        has.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let new: BTreeSet<&str> = next.keys().map(String::as_str).chain(MARKS).collect();
        let lacks = new.into_iter().filter(|name| !before.contains_key(*name)).map(str::to_owned).collect();
        Self { test: Some(Test::Is { has, lacks }), expiry: None }
    }

    pub(crate) fn render(&self, now: Timestamp, p: &mut Placeholders) -> String {
        let mut parts: Vec<String> = self.test.iter().map(|test| test.render(p)).collect();
        let Some(expiry) = &self.expiry else { return parts.concat() };
        let name = p.name(expiry.name);
        let now = p.value(&AttributeValue::N(now.seconds().to_string()));
        let (part, joint) = match expiry.passes {
            true => (format!("{name} <= {now}"), " OR "),
            false => (format!("(attribute_not_exists({name}) OR {name} > {now})"), " AND "),
        };
        parts.push(part);
        parts.join(joint)
    }
}

impl Test {
    /// Whether it holds when there is no record.
    fn holds_for_nothing(&self) -> bool {
        match self {
            Self::Exists(_) | Self::Compare(..) | Self::ComparePaths(..) => false,
            Self::Size(..) | Self::Contains(..) | Self::Is { .. } => false,
            Self::And(a, b) => a.holds_for_nothing() && b.holds_for_nothing(),
            Self::Or(a, b) => a.holds_for_nothing() || b.holds_for_nothing(),
            Self::Not(test) => !test.holds_for_nothing(),
        }
    }

    fn render(&self, p: &mut Placeholders) -> String {
        match self {
            Self::Exists(path) => format!("attribute_exists({})", p.path(path)),
            Self::Compare(path, operator, value) => {
                format!("{} {operator} {}", p.path(path), p.value(value))
            }
            Self::ComparePaths(path, operator, other) => {
                format!("{} {operator} {}", p.path(path), p.path(other))
            }
            Self::Size(path, operator, size) => {
                let size = AttributeValue::N(size.to_string());
                format!("size({}) {operator} {}", p.path(path), p.value(&size))
            }
            Self::Contains(path, value) => format!("contains({}, {})", p.path(path), p.value(value)),
            Self::Is { has, lacks } => {
                let has = has.iter().map(|(name, value)| format!("{} = {}", p.name(name), p.value(value)));
                let mut parts: Vec<String> = has.collect();
                parts.extend(lacks.iter().map(|name| format!("attribute_not_exists({})", p.name(name))));
                parts.join(" AND ")
            }
            Self::And(a, b) => format!("({} AND {})", a.render(p), b.render(p)),
            Self::Or(a, b) => format!("({} OR {})", a.render(p), b.render(p)),
            Self::Not(test) => format!("(NOT {})", test.render(p)),
        }
    }
}

/// The names and values of one request, and what stands for them in its expressions.
#[derive(Default)]
pub(crate) struct Placeholders {
    names: Vec<String>,
    values: Vec<AttributeValue>,
}

impl Placeholders {
    pub(crate) fn name(&mut self, name: &str) -> String {
        let known = self.names.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        });
        format!("#n{index}")
    }

    pub(crate) fn value(&mut self, value: &AttributeValue) -> String {
        self.values.push(value.clone());
        format!(":v{}", self.values.len() - 1)
    }

    fn path(&mut self, path: &Path) -> String {
        let name = self.name(path.name);
        match &path.part {
            Part::Whole => name,
            Part::Entry(entry) => format!("{name}.{}", self.name(entry)),
            Part::First => format!("{name}[0]"),
        }
    }

    /// The names by placeholder; `None` if there are none, as DynamoDB wants it.
    pub(crate) fn names(&self) -> Option<HashMap<String, String>> {
        let names = self.names.iter().enumerate();
        (!self.names.is_empty()).then(|| names.map(|(i, name)| (format!("#n{i}"), name.clone())).collect())
    }

    pub(crate) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        let values = self.values.iter().enumerate();
        (!self.values.is_empty())
            .then(|| values.map(|(i, value)| (format!(":v{i}"), value.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Plain {
        key: String,
    }

    impl Table for Plain {
        const NAME: &'static str = "plain";
        const KEY: &'static [&'static str] = &["key"];
        type Key = String;

        fn key(&self) -> String {
            self.key.clone()
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Fading {
        key: String,
    }

    impl Table for Fading {
        const NAME: &'static str = "fading";
        const KEY: &'static [&'static str] = &["key"];
        const EXPIRES: Option<&'static str> = Some("expires_at");
        type Key = String;

        fn key(&self) -> String {
            self.key.clone()
        }
    }

    const COUNT: Column<Plain, u64> = Column::new("count");
    const NAMES: Column<Plain, BTreeMap<String, u64>> = Column::new("names");
    const LIST: Column<Plain, Vec<String>> = Column::new("list");
    const PEOPLE: Column<Plain, BTreeSet<u64>> = Column::new("people");

    #[test]
    fn an_update_is_rendered_with_placeholders_only() {
        let mut p = Placeholders::default();
        let update = Update::new()
            .set(COUNT, 1)
            .add(COUNT, 2)
            .add(NAMES.entry("a.b"), 3)
            .append(LIST, "x".to_owned())
            .insert(PEOPLE, 7)
            .take_out(PEOPLE, 8)
            .remove(NAMES.entry("c"));
        assert_eq!(
            update.into_parts().0.render(&mut p),
            "ADD #n0 :v1, #n4 :v6 DELETE #n4 :v7 REMOVE #n1.#n5 SET #n0 = :v0, \
             #n1.#n2 = if_not_exists(#n1.#n2, :v2) + :v3, \
             #n3 = list_append(if_not_exists(#n3, :v4), :v5)"
        );
        assert_eq!(p.names().unwrap()["#n2"], "a.b");
    }

    #[test]
    fn parts_of_an_attribute_are_rendered_with_placeholders_only() {
        const QUEUE: Column<Plain, Vec<u64>> = Column::new("list");
        let mut p = Placeholders::default();
        let update = Update::new()
            .copy(QUEUE.first(), NAMES.entry("ann"))
            .remove(QUEUE.first())
            .insert_all(PEOPLE, BTreeSet::new());
        assert_eq!(update.into_parts().0.render(&mut p), "REMOVE #n2[0] SET #n0.#n1 = #n2[0]");
        assert_eq!((p.names().unwrap()["#n1"].as_str(), p.values()), ("ann", None));
        let mut p = Placeholders::default();
        let condition = Condition::size_above(QUEUE, 0)
            .and(Condition::at_most(NAMES.entry("a = b"), 7))
            .and(Condition::less_than_column(NAMES.entry("next"), COUNT));
        let now = Timestamp::from_seconds(5);
        assert_eq!(
            condition.into_clause().render(now, &mut p),
            "((size(#n0) > :v0 AND #n1.#n2 <= :v1) AND #n1.#n3 < #n4)"
        );
    }

    #[test]
    fn a_condition_knows_that_expired_means_absent() {
        let now = Timestamp::from_seconds(5);
        let render =
            |condition: Condition<Fading>| condition.into_clause().render(now, &mut Placeholders::default());
        assert_eq!(render(Condition::absent()), "(NOT attribute_exists(#n0)) OR #n1 <= :v0");
        assert_eq!(
            render(Condition::present()),
            "attribute_exists(#n0) AND (attribute_not_exists(#n1) OR #n1 > :v0)"
        );
        let plain = Condition::<Plain>::absent().into_clause().render(now, &mut Placeholders::default());
        assert_eq!(plain, "(NOT attribute_exists(#n0))");
    }
}
