//! [`Table`]: what a record says about the table it lives in; [`TableSpec`]: the same, as data.
//!
//! Tables are declared beside the command that owns them. Terraform's tables, the IAM policy and the
//! tables of tests and of the embedded engine all come from these lines.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::dynamo::Error;
use crate::dynamo::privacy::{Personal, attributes_of};

/// A record as the store holds it.
pub type Item = HashMap<String, AttributeValue>;

/// A record that lives in a table. An absent `Option` is an absent attribute, never a NULL.
pub trait Table: Serialize + DeserializeOwned + Send + Sync + 'static {
    const NAME: &'static str;
    /// The names of the key's attributes: hash, then range if there is one.
    const KEY: &'static [&'static str];
    /// The TTL attribute, in seconds since 1970. From then on the record counts as absent, although
    /// DynamoDB deletes it hours or days later.
    const EXPIRES: Option<&'static str> = None;
    const INDEXES: &'static [Index] = &[];
    /// What its records say about people, and where they are.
    const PERSONAL: Personal = Personal::UNDECLARED;
    type Key: Key;
    fn key(&self) -> Self::Key;
}

/// The key of a record: a [`KeyPart`], or a pair of them.
pub trait Key: Clone + Send + Sync + 'static {
    type Hash: KeyPart;
    type Range: KeyPart;
    /// One for each attribute of the key.
    const KINDS: &'static [KeyKind];
    fn parts(self) -> Vec<AttributeValue>;
}

impl<H: KeyPart> Key for H {
    type Hash = H;
    type Range = NoRange;
    const KINDS: &'static [KeyKind] = &[H::KIND];

    fn parts(self) -> Vec<AttributeValue> {
        vec![self.value()]
    }
}

impl<H: KeyPart, R: KeyPart> Key for (H, R) {
    type Hash = H;
    type Range = R;
    const KINDS: &'static [KeyKind] = &[H::KIND, R::KIND];

    fn parts(self) -> Vec<AttributeValue> {
        vec![self.0.value(), self.1.value()]
    }
}

/// The value of one attribute of a key: `u64` (N) or `String` (S).
pub trait KeyPart: Clone + Send + Sync + 'static {
    const KIND: KeyKind;
    fn value(self) -> AttributeValue;
}

impl KeyPart for u64 {
    const KIND: KeyKind = KeyKind::Number;

    fn value(self) -> AttributeValue {
        AttributeValue::N(self.to_string())
    }
}

impl KeyPart for String {
    const KIND: KeyKind = KeyKind::Text;

    fn value(self) -> AttributeValue {
        AttributeValue::S(self)
    }
}

/// Stands for the range of a key that has none. It has no value.
#[derive(Clone, Copy, Debug)]
pub enum NoRange {}

impl KeyPart for NoRange {
    const KIND: KeyKind = KeyKind::Text;

    fn value(self) -> AttributeValue {
        match self {}
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    Number,
    Text,
}

impl KeyKind {
    /// DynamoDB's letter for it.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Number => "N",
            Self::Text => "S",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyAttribute {
    pub name: &'static str,
    pub kind: KeyKind,
}

/// A local secondary index: the same hash key, another range, readable with strong consistency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    pub name: &'static str,
    pub range: KeyAttribute,
    pub projection: Projection,
}

/// Which attributes an index holds besides the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    All,
    Keys,
    Include(&'static [&'static str]),
}

/// A table's name, keys and indexes, and what it says about people, as data.
#[derive(Clone, Copy, Debug)]
pub struct TableSpec {
    pub name: &'static str,
    pub hash: KeyAttribute,
    pub range: Option<KeyAttribute>,
    pub expires: Option<&'static str>,
    pub indexes: &'static [Index],
    pub personal: Personal,
    /// The attributes that its record names.
    pub attributes: fn() -> Vec<&'static str>,
}

impl TableSpec {
    /// In a constant, a key with more or fewer names than parts does not compile.
    pub const fn of<T: Table>() -> Self {
        let kinds = <T::Key as Key>::KINDS;
        assert!(T::KEY.len() == kinds.len(), "Table::KEY has one name for each part of Table::Key");
        let range = match kinds.len() {
            1 => None,
            _ => Some(KeyAttribute { name: T::KEY[1], kind: kinds[1] }),
        };
        Self {
            name: T::NAME,
            hash: KeyAttribute { name: T::KEY[0], kind: kinds[0] },
            range,
            expires: T::EXPIRES,
            indexes: T::INDEXES,
            personal: T::PERSONAL,
            attributes: attributes_of::<T>,
        }
    }
}

/// The attributes of a key, by name.
pub(crate) fn key_item<T: Table>(key: T::Key) -> Item {
    T::KEY.iter().map(|name| (*name).to_owned()).zip(key.parts()).collect()
}

pub(crate) fn to_item<T: Table>(record: &T) -> Result<Item, Error> {
    let mut item: Item = serde_dynamo::to_item(record).map_err(|error| Error::Rejected(Box::new(error)))?;
    item.retain(|_, value| !value.is_null());
    Ok(item)
}

/// `None` if the record has expired.
pub(crate) fn from_item<T: Table>(item: Item, now: Timestamp) -> Result<Option<T>, Error> {
    if expired::<T>(&item, now) {
        return Ok(None);
    }
    let record = serde_dynamo::from_item(item);
    record.map(Some).map_err(|error| Error::Corrupt { table: T::NAME, source: Box::new(error) })
}

pub(crate) fn expired<T: Table>(item: &Item, now: Timestamp) -> bool {
    let value = T::EXPIRES.and_then(|name| item.get(name));
    let seconds = value.and_then(|value| value.as_n().ok()).and_then(|number| number.parse::<i64>().ok());
    seconds.is_some_and(|seconds| seconds <= now.seconds())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Note {
        server_id: u64,
        name: String,
        text: Option<String>,
        expires_at: Option<i64>,
    }

    impl Table for Note {
        const NAME: &'static str = "note";
        const KEY: &'static [&'static str] = &["server_id", "name"];
        const EXPIRES: Option<&'static str> = Some("expires_at");
        type Key = (u64, String);

        fn key(&self) -> Self::Key {
            (self.server_id, self.name.clone())
        }
    }

    fn note(expires_at: Option<i64>) -> Note {
        Note { server_id: u64::MAX, name: "cat".to_owned(), text: None, expires_at }
    }

    #[test]
    fn a_spec_is_made_from_the_record() {
        const SPEC: TableSpec = TableSpec::of::<Note>();
        assert_eq!(SPEC.hash, KeyAttribute { name: "server_id", kind: KeyKind::Number });
        assert_eq!(SPEC.range, Some(KeyAttribute { name: "name", kind: KeyKind::Text }));
        assert_eq!(SPEC.expires, Some("expires_at"));
    }

    #[test]
    fn the_largest_id_survives_and_nothing_is_stored_for_none() {
        let item = to_item(&note(None)).unwrap();
        assert_eq!(item["server_id"], AttributeValue::N("18446744073709551615".to_owned()));
        assert_eq!(item.len(), 2);
        let read: Option<Note> = from_item(item, Timestamp::from_seconds(0)).unwrap();
        assert_eq!(read, Some(note(None)));
    }

    #[test]
    fn an_expired_record_is_absent_from_its_second_on() {
        let item = to_item(&note(Some(100))).unwrap();
        let read = |seconds| from_item::<Note>(item.clone(), Timestamp::from_seconds(seconds)).unwrap();
        assert!(read(99).is_some());
        assert!(read(100).is_none());
    }

    #[test]
    fn a_record_that_cannot_be_read_is_corrupt_not_absent() {
        let item = Item::from([("server_id".to_owned(), AttributeValue::N("1".to_owned()))]);
        let read = from_item::<Note>(item, Timestamp::from_seconds(0));
        assert!(matches!(read, Err(Error::Corrupt { table: "note", .. })));
    }
}
