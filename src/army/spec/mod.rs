//! Trees as text: templates, comparisons, amounts.

pub mod amount;
pub mod check;
pub mod template;
#[cfg(test)]
pub(crate) mod testing;

pub use template::Scope;
