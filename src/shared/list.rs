//! What is there: records by kind, for operators and reports. Always a query of one space, never a scan.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::dynamo::{Cursor, Page, Query, Table};
use crate::shared::{Result, SharedData};

/// Records of one page: few enough to be shown.
const PAGE: u32 = 100;

/// What kind of record to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cell,
    Deal,
    Pool,
    Barrier,
    Permit,
    Lock,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Cell => "cell/",
            // The claims say what is left; the list itself only says how much there was.
            Self::Deal => "deal",
            Self::Pool => "pool/",
            Self::Barrier => "barrier/",
            Self::Permit => "permit/",
            Self::Lock => "lock/",
        }
    }
}

/// A record, as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub space: String,
    pub name: String,
    #[serde(flatten)]
    pub attributes: BTreeMap<String, Value>,
}

impl Table for Entry {
    const NAME: &'static str = "shared";
    const KEY: &'static [&'static str] = &["space", "name"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    type Key = (String, String);

    fn key(&self) -> Self::Key {
        (self.space.clone(), self.name.clone())
    }
}

impl Entry {
    /// The key without the kind: `album` of `cell/album`.
    pub fn key_alone(&self) -> &str {
        self.name.split_once('/').map_or(&self.name, |(_, key)| key)
    }

    pub fn text(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).and_then(Value::as_str)
    }

    pub fn number(&self, attribute: &str) -> Option<i64> {
        self.attributes.get(attribute).and_then(Value::as_i64)
    }

    /// How many entries a list or a map has.
    pub fn len_of(&self, attribute: &str) -> usize {
        match self.attributes.get(attribute) {
            Some(Value::Array(list)) => list.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        }
    }
}

impl SharedData {
    /// The records of a kind whose keys begin with this, page by page. For lists: the list, its claims and what
    /// was given back.
    pub async fn list(&self, kind: Kind, prefix: &str, page: Option<Cursor>) -> Result<Page<Entry>> {
        let start = match kind {
            Kind::Deal => "deal".to_owned(),
            kind => format!("{}{prefix}", kind.prefix()),
        };
        let query = Query::<Entry>::of(self.space().to_string()).starts_with(start).limit(PAGE).eventually();
        let query = match page {
            Some(cursor) => query.resume(cursor),
            None => query,
        };
        let mut page = self.hub.dynamo.query(query).await?;
        if kind == Kind::Deal {
            // The values themselves are not what is asked for here.
            let wanted = |entry: &Entry| {
                !entry.name.starts_with("deal-values/") && entry.key_alone().starts_with(prefix)
            };
            page.records.retain(wanted);
        }
        Ok(page)
    }

    /// The same, all of them at once.
    pub async fn list_all(&self, kind: Kind, prefix: &str) -> Result<Vec<Entry>> {
        let (mut records, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.list(kind, prefix, cursor).await?;
            records.extend(page.records);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(records);
            }
        }
    }

    /// Removes whoever holds a lock, if its fence is still this one. `false`: it is not, or nobody holds it.
    pub async fn break_lock(&self, key: &str, fence: u64) -> Result<bool> {
        let place = self.place("lock/", key)?;
        let update = crate::shared::items::break_lock(fence);
        Ok(self.hub.dynamo.update(place.key(), update).await?.applied().is_some())
    }
}
