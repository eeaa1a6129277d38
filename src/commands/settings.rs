//! Server control: what admins decide about the bot in their server.

use crate::context::Feature;
use crate::dynamo::TableSpec;
use crate::people::Person;
use crate::settings::Settings;

pub const FEATURE: Feature = Feature {
    name: "settings",
    tables: &[TableSpec::of::<Settings>(), TableSpec::of::<Person>()],
    ..Feature::EMPTY
};
