//! [`Personal`]: what the records of a table say about people, and where they are.
//!
//! Each attribute has a class, declared beside the record. What a person is given of what is kept about them,
//! and what becomes of it when they want to be forgotten, both follow from the classes and from nothing else;
//! see [`super::personal`].

use serde::de::value::Error as Stop;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use crate::clock::Timestamp;

/// What an attribute says about people.
#[derive(Clone, Copy, Debug)]
pub enum Privacy {
    /// Nothing.
    None,
    /// The id of somebody. It becomes 0, someone, when they are forgotten.
    Id,
    /// The same, and the texts of the record are this person's words.
    Author,
    /// The same, and the record is this person's: what they taught goes as a whole.
    Owner,
    /// The record is about this person, and goes with them.
    Subject,
    /// The same, where the id is part of a text.
    Within(fn(&str) -> Option<u64>),
    /// Names a person, and stays when they are forgotten.
    Stays,
    /// Words of the record's author or owner.
    Text,
    /// A list of maps whose entries have classes of their own.
    Each(&'static [(&'static str, Privacy)]),
}

/// What a table says about people.
#[derive(Clone, Copy, Debug)]
pub struct Personal {
    /// Every attribute and its class; `*` stands for all that have no name of their own.
    pub attributes: &'static [(&'static str, Privacy)],
    pub places: Places,
    /// For how long, in words for people.
    pub kept: &'static str,
}

/// In which partitions the records about a person are.
#[derive(Clone, Copy, Debug)]
pub enum Places {
    /// In none that could be asked for: it names nobody, or its own feature clears it.
    Nowhere,
    /// In the one with the person's id.
    Person,
    /// In those with the ids of their servers.
    Server,
    /// In partitions with names, for each server.
    Named(fn(&Reach) -> Vec<String>),
}

/// For what the names of partitions are asked.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// 0: direct messages, and the instance.
    pub server_id: u64,
    pub now: Timestamp,
    /// Those about people are enough.
    pub only_people: bool,
}

impl Personal {
    /// No class is declared yet; a test finds it.
    pub const UNDECLARED: Self = Self { attributes: &[], places: Places::Nowhere, kept: "" };

    pub fn class(&self, attribute: &str) -> Option<Privacy> {
        let find = |name: &str| self.attributes.iter().find(|(known, _)| *known == name);
        find(attribute).or_else(|| find("*")).map(|(_, class)| *class)
    }
}

/// The names of a record's fields, as its `Deserialize` tells them; with `*` if it takes any others.
pub(super) fn attributes_of<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut fields = Vec::new();
    // It stops as soon as it has asked for the fields.
    let _ = T::deserialize(Fields(&mut fields));
    fields
}

struct Fields<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Stop;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        self.0.extend(fields);
        Err(Stop::custom("only asked for the fields"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        self.0.push("*");
        Err(Stop::custom("takes any field"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its names matter")]
    struct Plain {
        user_id: u64,
        #[serde(rename = "words")]
        text: Option<String>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its names matter")]
    struct Open {
        board: String,
        #[serde(flatten)]
        numbers: BTreeMap<String, i64>,
    }

    #[test]
    fn a_record_tells_its_attributes() {
        assert_eq!(attributes_of::<Plain>(), ["user_id", "words"]);
        assert_eq!(attributes_of::<Open>(), ["*"]);
    }
}
