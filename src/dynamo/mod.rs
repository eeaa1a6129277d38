//! Typed records over the AWS SDK.

/// A handle to the tables; cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Dynamo;

/// A table's name, keys and indexes, as data.
#[derive(Clone, Copy, Debug)]
pub struct TableSpec {
    pub name: &'static str,
}

/// Why the store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the store is away")]
    Unavailable,
    #[error("unknown")]
    Uncertain {},
}

impl Error {
    /// Whether it is certain that nothing was written.
    pub fn not_applied(&self) -> bool {
        matches!(self, Self::Unavailable)
    }
}
