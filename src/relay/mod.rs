//! Words between bots on several hosts: alerts, announcements, what is written in a channel elsewhere.
//!
//! A message is an [`envelope`], accepted durably or not at all. It waits while a host is away, arrives once
//! and in order, and never circles.
//!
//! - [`name`], [`envelope`], [`frame`]: what is said, checked wherever it comes in
//! - [`routes`]: where it goes from here
//! - [`law`], [`link`]: the rules of the protocol, and what a number and an acknowledgement mean, without IO
//! - [`store`]: the tables, and every step that is made in them
//! - [`publish`], [`engine`], [`here`]: taking in, passing on, acting on
//! - [`keys`]: who made an envelope
//! - [`transport`]: what moves frames; [`memory`]: bots in one process; [`table`]: bots that share an account;
//!   [`xmpp`]: bots with accounts at an XMPP server
//! - [`run`], [`handle`]: all of it as a task, and what the rest of the bot has of it; [`counts`]: for metrics
//! - [`settings`]: what the configuration says; [`desk`]: what operators ask and do; [`channels`]: channels that are linked to topics
//! - [`rules`]: what is done with an envelope, as the operator wrote it down
//! - [`tree`]: the configuration of all hosts; [`sources`]: what makes envelopes
//! - [`command`]: `mneme relay`

pub mod channels;
pub mod command;
#[cfg(test)]
mod compare;
#[cfg(test)]
mod conformance;
pub mod counts;
pub mod desk;
pub mod engine;
pub mod envelope;
pub mod frame;
pub mod handle;
pub mod here;
pub mod keys;
pub mod law;
pub mod link;
pub mod memory;
#[cfg(test)]
mod model;
pub mod name;
#[cfg(test)]
mod network;
pub mod publish;
pub mod routes;
pub mod rules;
pub mod run;
pub mod settings;
pub mod sources;
pub mod store;
pub mod table;
pub mod transport;
pub mod tree;
pub mod xmpp;
