//! The built-in actions, in groups.

pub mod ask;
pub mod basic;
pub mod mneme;
pub mod person;
pub mod shared;
pub mod speak;

use std::sync::LazyLock;

use crate::army::action::Action;

/// All of them, in the order in which `list actions` shows them.
pub static ALL: LazyLock<Vec<&'static Action>> =
    LazyLock::new(|| [person::ALL, speak::ALL, ask::ALL, mneme::ALL, basic::ALL, shared::ALL].concat());
