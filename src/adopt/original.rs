//! The tables that an adoption reads and writes, and how to read what the original bot put into them.

use serde_json::Value;

use crate::counts::Tally;
use crate::dynamo::raw::number_in;
use crate::dynamo::{Item, KeyAttribute, KeyKind, TableSpec};
use crate::history::Revision;
use crate::people::Person;
use crate::settings::Settings;
use crate::tables;

const fn number(name: &'static str) -> KeyAttribute {
    KeyAttribute { name, kind: KeyKind::Number }
}

const fn text(name: &'static str) -> KeyAttribute {
    KeyAttribute { name, kind: KeyKind::Text }
}

pub const REMEMBER: TableSpec = TableSpec {
    name: "remember",
    hash: number("discord_server_id"),
    range: Some(text("rem_key")),
    expires: Some("expires_at"),
    indexes: &[],
};

pub const SPARKLE: TableSpec = TableSpec {
    name: "sparkle",
    hash: number("discord_server_id"),
    range: Some(text("discord_handle")),
    expires: None,
    indexes: &[],
};

pub const PLAY: TableSpec =
    TableSpec { name: "play", hash: number("discord_server_id"), range: None, expires: None, indexes: &[] };

pub const BOTDATA: TableSpec =
    TableSpec { name: "botdata", hash: text("key"), range: None, expires: None, indexes: &[] };

/// The tables of the original bot.
pub const TABLES: &[TableSpec] = &[REMEMBER, SPARKLE, PLAY, BOTDATA];

pub const HISTORY: TableSpec = TableSpec::of::<Revision>();
pub const TALLY: TableSpec = TableSpec::of::<Tally>();
pub const SETTINGS: TableSpec = TableSpec::of::<Settings>();
const USERS: TableSpec = TableSpec::of::<Person>();

pub const BANS: TableSpec = TableSpec {
    name: "bans",
    hash: text("scope"),
    range: Some(text("subject")),
    expires: Some("expires_at"),
    indexes: &[],
};

/// Every table that an adoption touches.
pub fn specs() -> Vec<TableSpec> {
    let declared = tables::all();
    let used = TABLES.iter().chain(&[HISTORY, TALLY, SETTINGS, USERS, BANS]);
    used.map(|table| *declared.iter().find(|declared| declared.name == table.name).unwrap_or(table)).collect()
}

/// A count as the original bot wrote it. It had seconds with fractions.
pub fn count(value: Option<&Value>) -> f64 {
    value.and_then(Value::as_f64).filter(|count| count.is_finite() && *count > 0.0).unwrap_or_default()
}

/// A whole number in an item; 0 if there is none.
pub fn whole(item: &Item, name: &str) -> i64 {
    number_in(item, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}
