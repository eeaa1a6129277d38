//! The army: simulated people whose behaviour is a tree, for load tests and integration tests of a bot.
//!
//! Two halves meet in the types of [`action`]:
//!
//! - From text to a compiled tree, without any Discord: [`tree`] (arena and cursor), [`action`] and [`actions`]
//!   (what a leaf may be, as data).
//! - A person at work: [`soldier`]. An [`Action`] is run with the [`Soldier`] and with [`Args`] that are already
//!   evaluated and of the declared types; it ends with an [`Outcome`], or with a [`Stop`] by way of `?`.

pub mod action;
pub mod actions;
pub mod build;
pub mod cli;
pub mod custom;
pub mod elixir;
pub mod import;
pub mod library;
pub mod list;
pub mod metrics;
pub mod report;
pub mod show;
pub mod soldier;
pub mod spec;
pub mod tree;

pub use action::{Action, Args, Ending, Outcome, Param, Ran, Registry, Stop, Type};
pub use soldier::Soldier;
