//! Trees as text: from a YAML file, or from builders, to a compiled [`Program`].
//!
//! [`file::read`] reads a file ([`crate::yaml`] gives values with places, [`node`] the nodes), [`compile::compile`]
//! puts subtrees in and compares everything with what is declared ([`arguments`], [`names`], [`reach`]). All
//! that can be known to be wrong is told then, with line, column and the nearest name. What depends
//! on the visit ([`template`], [`check`], [`amount`]) is evaluated against the soldier's [`Scope`].

pub mod amount;
pub mod arguments;
pub mod check;
pub mod compile;
pub mod file;
mod names;
pub mod node;
pub mod program;
mod reach;
pub mod suite;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub mod threshold;
pub mod write;

pub use crate::yaml::fault::Faults;
pub use compile::{Given, compile};
pub use file::{File, read};
pub use program::{Part, Program, What};
pub use template::{Scope, Unfit};
pub use threshold::Threshold;
