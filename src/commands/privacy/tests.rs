//! What is kept about a person, over the embedded engine.
