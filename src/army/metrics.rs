//! What a run has measured, as one document.

pub mod document;
