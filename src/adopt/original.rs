//! The tables that an adoption reads and writes, and how to read what the original bot put into them.

use serde_json::Value;

use crate::bans::Ban;
use crate::commands::play::Play;
use crate::commands::remember::Remembered;
use crate::commands::sparkle::Sparkles;
use crate::counts::Tally;
use crate::due::Note;
use crate::dynamo::raw::number_in;
use crate::dynamo::{Item, TableSpec};
use crate::history::Revision;
use crate::people::Person;
use crate::settings::Settings;

pub const REMEMBER: TableSpec = TableSpec::of::<Remembered>();
pub const SPARKLE: TableSpec = TableSpec::of::<Sparkles>();
pub const PLAY: TableSpec = TableSpec::of::<Play>();
pub const BOTDATA: TableSpec = TableSpec::of::<Note>();

/// The tables of the original bot.
pub const TABLES: &[TableSpec] = &[REMEMBER, SPARKLE, PLAY, BOTDATA];

pub const HISTORY: TableSpec = TableSpec::of::<Revision>();
pub const TALLY: TableSpec = TableSpec::of::<Tally>();
pub const SETTINGS: TableSpec = TableSpec::of::<Settings>();
const USERS: TableSpec = TableSpec::of::<Person>();

pub const BANS: TableSpec = TableSpec::of::<Ban>();

/// Every table that an adoption touches.
pub fn specs() -> Vec<TableSpec> {
    TABLES.iter().chain(&[HISTORY, TALLY, SETTINGS, USERS, BANS]).copied().collect()
}

/// A count as the original bot wrote it. It had seconds with fractions.
pub fn count(value: Option<&Value>) -> f64 {
    value.and_then(Value::as_f64).filter(|count| count.is_finite() && *count > 0.0).unwrap_or_default()
}

/// A whole number in an item; 0 if there is none.
pub fn whole(item: &Item, name: &str) -> i64 {
    number_in(item, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}
