//! What rules and sources remember between envelopes: the last value of a field, how long a post stays quiet,
//! how far a file was read.
//!
//! A rule's state changes in the transaction that ends its envelope, so exactly once.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::dynamo::{Dynamo, Error, Personal, Places, Privacy, Table};

/// Who was away for a month begins anew.
const KEPT_SECONDS: i64 = 30 * 24 * 3_600;

/// A state of somebody who is there is written again before it expires.
const OLD_SECONDS: i64 = 7 * 24 * 3_600;

/// One record of `relay_state`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateRecord {
    /// `disk-nearly-full/0`: a rule and which of its actions; `sources/syslog`.
    pub rule: String,
    /// Of the envelopes: each source is watched for itself.
    pub key: String,
    pub value: String,
    /// In milliseconds since 1970.
    pub at: i64,
    pub expires_at: i64,
}

impl StateRecord {
    pub fn new(rule: &str, key: &str, value: &str, now: Timestamp) -> Self {
        let (rule, key, value) = (rule.to_owned(), key.to_owned(), value.to_owned());
        Self { rule, key, value, at: now.millis(), expires_at: now.seconds() + KEPT_SECONDS }
    }

    /// Whether it must be written again, though it has not changed.
    pub fn is_old(&self, now: Timestamp) -> bool {
        now.seconds() - self.at / 1_000 > OLD_SECONDS
    }

    /// The state of a rule or a source for this key.
    pub async fn load(dynamo: &Dynamo, rule: &str, key: &str) -> Result<Option<Self>, Error> {
        dynamo.get::<Self>((rule.to_owned(), key.to_owned())).await
    }
}

impl Table for StateRecord {
    const NAME: &'static str = "relay_state";
    const KEY: &'static [&'static str] = &["rule", "key"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("rule", Privacy::None),
            ("key", Privacy::None),
            ("value", Privacy::Text),
            ("at", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Nowhere,
        kept: "30 days after its last change",
    };
    type Key = (String, String);

    fn key(&self) -> (String, String) {
        (self.rule.clone(), self.key.clone())
    }
}

/// The states that rules may read: those that were loaded, with what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States(BTreeMap<String, Option<String>>);

impl States {
    pub fn put(&mut self, rule: &str, value: Option<String>) {
        self.0.insert(rule.to_owned(), value);
    }

    /// `None`: it was not loaded.
    pub fn get(&self, rule: &str) -> Option<Option<&str>> {
        self.0.get(rule).map(Option::as_deref)
    }
}
