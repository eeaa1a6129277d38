//! Words between bots on several hosts: alerts, announcements, what is written in a channel elsewhere.
//!
//! A message is an [`envelope`], accepted durably or not at all. It waits while a host is away, arrives once
//! and in order, and never circles.
//!
//! - [`name`], [`envelope`], [`frame`]: what is said, checked wherever it comes in
//! - [`routes`]: where it goes from here

pub mod envelope;
pub mod frame;
pub mod name;
pub mod routes;
