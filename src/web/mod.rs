//! Pages.
mod health;
pub use health::{health, serve};
