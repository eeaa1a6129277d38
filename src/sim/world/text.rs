//! How ids, times and bytes are written in JSON.

use serde_json::Value;

use super::model::Id;
use crate::clock::Timestamp;

/// Discord's form of a time, with the fraction that the form in records leaves out.
pub fn iso(at: Timestamp) -> String {
    let seconds = at.to_string();
    format!("{}.{:03}000+00:00", seconds.trim_end_matches('Z'), at.millis().rem_euclid(1_000))
}

/// Ids as they stand in payloads: JavaScript cannot hold them as numbers.
pub fn ids(ids: &[Id]) -> Vec<String> {
    ids.iter().map(Id::to_string).collect()
}

/// An id that a client sent, as text or as a number.
pub fn id(value: &Value) -> Option<Id> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// An id that is text in JSON.
pub mod text_id {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Id, Value};

    pub fn serialize<S: Serializer>(id: &Id, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        let value = Value::deserialize(deserializer)?;
        super::id(&value).ok_or_else(|| serde::de::Error::custom(format!("{value} is not an id")))
    }
}

/// The same where it may be missing.
pub mod text_id_option {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Id, Value};

    pub fn serialize<S: Serializer>(id: &Option<Id>, serializer: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => serializer.collect_str(id),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
        Ok(super::id(&Value::deserialize(deserializer)?))
    }
}

/// Bytes as base64.
pub mod base64 {
    use ::base64::prelude::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
