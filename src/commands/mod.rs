//! Every feature in one list.
//!
//! A feature is one file, or a folder when it outgrows one: its commands, records and tests.

mod remember;

use crate::context::Feature;

/// In alphabetical order. Help, slash registration, README, tables and tests derive from it.
pub const ALL: &[Feature] = &[remember::FEATURE];
