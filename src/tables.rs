//! Every table in one list.

use crate::commands::ALL;
use crate::dynamo::TableSpec;
use crate::history;

/// All tables.
pub fn all() -> Vec<TableSpec> {
    let features = ALL.iter().flat_map(|feature| feature.tables);
    history::TABLES.iter().chain(features).copied().collect()
}
pub fn list() -> String {
    String::new()
}
pub fn json() -> String {
    String::new()
}
pub fn policy() -> String {
    String::new()
}
