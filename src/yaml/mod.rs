//! YAML that people write: values with places, and everything that is wrong with them told at once.
//!
//! - [`source`]: a file as values that know where they stand
//! - [`fault`]: what is wrong, where, and what was probably meant
//! - [`reader`]: takes such values apart, and goes on after a mistake to find the others

pub mod fault;
pub mod reader;
pub mod source;

pub use fault::{Place, did_you_mean};
pub use reader::{Entries, Flaw, Reader};
pub use source::{Entry, Located};
