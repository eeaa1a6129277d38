//! One simulated person at work.

/// One simulated person: what an action acts with.
#[derive(Debug, Default)]
pub struct Soldier {}
