//! What a server sees of its settings, over the embedded engine.
