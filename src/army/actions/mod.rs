//! The built-in actions, in groups.

pub mod ask;
pub mod basic;
pub mod mneme;
pub mod person;
pub mod shared;
pub mod speak;

use std::sync::LazyLock;

use futures::future::BoxFuture;

use crate::army::action::{Action, Args, Outcome, Ran};
use crate::army::soldier::Soldier;

/// All of them, in the order in which `list actions` shows them.
pub static ALL: LazyLock<Vec<&'static Action>> =
    LazyLock::new(|| [person::ALL, speak::ALL, ask::ALL, mneme::ALL, basic::ALL, shared::ALL].concat());

/// What a declaration has in place of its function until it is there.
fn undone(_: &mut Soldier, _: Args) -> BoxFuture<'_, Ran> {
    Box::pin(async { Ok(Outcome::error("this program cannot do that yet")) })
}
