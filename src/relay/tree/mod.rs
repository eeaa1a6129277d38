//! The configuration of a fleet: one tree of files for all hosts, read at the start.
//!
//! `x.yaml` is for all; `x.yaml.laptop` is for the bot `laptop` alone and replaces `x.yaml` there. So the same
//! folder can lie on every host, and what differs between them is seen in a listing.
//!
//! - [`files`]: what lies there, and which of it a bot uses
//! - [`fleet`]: `relay.yaml`: bots, topics, links, transports; [`source`]: `sources/`; `rules/` is read by
//!   [`super::rules`]
//! - [`secrets`]: what is shown to nobody
//! - [`host`]: all of it, as one bot uses it; [`check`]: all bots, compared
//! - [`show`], [`bundle`] and [`command`]: what `mneme config` does

pub mod bundle;
pub mod check;
pub mod command;
pub mod files;
pub mod fleet;
pub mod host;
pub mod secrets;
pub mod show;
pub mod source;
#[cfg(test)]
mod testing;

pub use files::Tree;
pub use fleet::Fleet;
pub use host::Host;
pub use secrets::{Secrets, SecretsFrom};
pub use source::{Source, What};
