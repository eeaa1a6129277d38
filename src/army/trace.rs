//! What happened in a run, step by step or as one number: what two runs are compared by.

use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::army::soldier::Seat;

/// Steps that are kept, in some 100 MB; a longer run says how many are left out.
const STEPS_MAX: usize = 1_000_000;

/// All that soldiers did. Neither the number nor the text depends on the order of what happens at the same time to
/// different soldiers.
pub struct Trace {
    digest: AtomicU64,
    steps: Option<Mutex<Steps>>,
}

#[derive(Default)]
struct Steps {
    kept: Vec<Step>,
    left_out: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    at_ms: u128,
    slot: u32,
    life: u32,
    /// In the order in which one soldier came to them.
    number: usize,
    path: String,
    outcome: String,
}

impl Trace {
    /// `steps`: each is kept for [`Trace::text`].
    pub fn new(steps: bool) -> Self {
        Self { digest: AtomicU64::new(0), steps: steps.then(Mutex::default) }
    }

    /// A step of a soldier.
    pub fn add(&self, at: Duration, seat: &Seat, path: &str, outcome: &str) {
        let at_ms = at.as_millis();
        // Without keys: the same in every process.
        let mut hasher = DefaultHasher::new();
        (at_ms, seat.slot, seat.life, path, outcome).hash(&mut hasher);
        self.digest.fetch_add(hasher.finish(), Ordering::Relaxed);
        if let Some(steps) = &self.steps {
            let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, path, outcome) = (steps.kept.len(), path.to_owned(), outcome.to_owned());
            if number < STEPS_MAX {
                steps.kept.push(Step { at_ms, slot: seat.slot, life: seat.life, number, path, outcome });
            } else {
                steps.left_out += 1;
            }
        }
    }

    pub fn digest(&self) -> String {
        format!("{:016x}", self.digest.load(Ordering::Relaxed))
    }

    /// A line a step: seconds since the start, slot and life of the soldier, what came of it, and where in the tree.
    /// `None` where none were kept.
    pub fn text(&self) -> Option<String> {
        let mut steps = self.steps.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        steps.kept.sort();
        let mut text = String::new();
        for Step { at_ms, slot, life, path, outcome, .. } in &steps.kept {
            let (seconds, millis) = (at_ms / 1_000, at_ms % 1_000);
            writeln!(text, "{seconds}.{millis:03} {slot}.{life} {outcome} {path}")
                .expect("memory takes text");
        }
        if steps.left_out > 0 {
            writeln!(text, "and {} steps more", steps.left_out).expect("memory takes text");
        }
        Some(text)
    }
}
