//! The army: simulated people whose behaviour is a tree, for load tests and integration tests of a bot.
//!
//! Two halves meet in the types of [`action`]:
//!
//! - From text to a compiled tree, without any Discord: [`tree`] (arena and cursor), [`action`] and [`actions`]
//!   (what a leaf may be, as data).
//! - A person at work: [`soldier`]. An [`Action`] is run with the [`Soldier`] and with [`Args`] that are already
//!   evaluated and of the declared types; it ends with an [`Outcome`], or with a [`Stop`] by way of `?`.

pub mod account;
pub mod accounts;
pub mod action;
pub mod actions;
pub mod build;
pub mod cli;
pub mod command;
pub mod custom;
pub mod discord;
pub mod ears;
pub mod elixir;
pub mod faults;
pub mod generator;
pub mod guard;
pub mod http;
pub mod import;
pub mod library;
pub mod life;
pub mod list;
pub mod log;
pub mod metrics;
pub mod play;
pub mod profile;
pub mod promises;
pub mod remote;
pub mod report;
pub mod run;
pub mod schedule;
pub mod screen;
pub mod show;
pub mod soldier;
pub mod spec;
pub mod stage;
pub mod suite;
pub mod summary;
pub mod talk;
pub mod trace;
pub mod tree;
pub mod wanted;

pub use action::{Action, Args, Ending, Outcome, Param, Ran, Registry, Stop, Type};
pub use profile::Profile;
pub use soldier::{Seat, Soldier};
pub use stage::Stage;
pub use talk::Door;
pub use wanted::Wanted;
