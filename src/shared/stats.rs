//! [`SharedStats`]: what was done with shared data in this process, and how it went.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::shared::hub::{Hub, locked};
use crate::shared::{BarrierError, CreateError, LeaseError, Result, SharedData, SharedError, WaitError};

/// Numbers since the start of the process. Keys are names of operations and kinds of leases, never keys of
/// data: of those there may be any number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SharedStats {
    /// By operation and outcome: `done`, `refused`, `timeout`, `unknown` or `unavailable`.
    pub ops: BTreeMap<(&'static str, &'static str), u64>,
    /// How long callers waited for their answers.
    pub waited: BTreeMap<&'static str, Duration>,
    /// Calls that were written together with another one.
    pub combined: BTreeMap<&'static str, u64>,
    /// Writes that were refused because somebody else was faster.
    pub conflicts: BTreeMap<&'static str, u64>,
    /// Leases that callers of this process have now.
    pub held: BTreeMap<&'static str, u64>,
    /// Leases that ended before their holders were done.
    pub lost: BTreeMap<&'static str, u64>,
    /// Leases that were taken over from somebody who did not come back.
    pub taken_over: BTreeMap<&'static str, u64>,
    /// How long each waited who got a lock.
    pub lock_waits: Times,
    /// For how long locks were held that were released or lost.
    pub lock_holds: Times,
    /// Callers that wait for a lock.
    pub lock_queue: usize,
}

/// How long something took each time; nothing is kept before the first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    all: Option<Histogram<u64>>,
    total: Duration,
}

impl Times {
    fn note(&mut self, time: Duration) {
        self.total += time;
        // Two digits, in 20 KB.
        let all = self.all.get_or_insert_with(|| {
            Histogram::new_with_bounds(1, LONGEST_MICROS, 2).expect("bounds and digits are sound")
        });
        all.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST_MICROS));
    }

    /// What this share of all did not take longer than; zero where there were none.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.all.as_ref().map_or(0, |all| all.value_at_quantile(share)))
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.total
    }
}

/// An hour: whatever took longer counts as that.
const LONGEST_MICROS: u64 = 3_600_000_000;

/// Where the numbers are kept.
#[derive(Debug, Default)]
pub struct Book(Mutex<SharedStats>);

impl Book {
    pub fn combined(&self, op: &'static str, together: usize) {
        if together > 1 {
            *locked(&self.0).combined.entry(op).or_default() += together as u64 - 1;
        }
    }

    pub fn conflict(&self, op: &'static str) {
        *locked(&self.0).conflicts.entry(op).or_default() += 1;
    }

    pub fn took_over(&self, kind: &'static str) {
        *locked(&self.0).taken_over.entry(kind).or_default() += 1;
    }

    pub fn holds(&self, kind: &'static str) {
        *locked(&self.0).held.entry(kind).or_default() += 1;
    }

    /// A lease has ended; not `sound`: before its holder was done.
    pub fn held(&self, kind: &'static str, sound: bool) {
        let mut stats = locked(&self.0);
        let held = stats.held.entry(kind).or_default();
        *held = held.saturating_sub(1);
        if !sound {
            *stats.lost.entry(kind).or_default() += 1;
        }
    }

    pub fn lock_held(&self, time: Duration) {
        locked(&self.0).lock_holds.note(time);
    }

    fn op(&self, op: &'static str, outcome: &'static str, time: Duration) {
        let mut stats = locked(&self.0);
        *stats.ops.entry((op, outcome)).or_default() += 1;
        *stats.waited.entry(op).or_default() += time;
        if (op, outcome) == ("lock", "done") {
            stats.lock_waits.note(time);
        }
    }
}

/// An error in one word.
pub trait InOneWord {
    fn word(&self) -> &'static str;
}

impl InOneWord for SharedError {
    fn word(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Unknown => "unknown",
            _ => "refused",
        }
    }
}

impl InOneWord for LeaseError {
    fn word(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Lost => "refused",
            Self::Shared(error) => error.word(),
        }
    }
}

impl InOneWord for CreateError {
    fn word(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Failed(_) => "refused",
            Self::Shared(error) => error.word(),
        }
    }
}

impl InOneWord for BarrierError {
    fn word(&self) -> &'static str {
        match self {
            Self::Broken(_) | Self::OtherSize(_) => "refused",
            Self::Shared(error) => error.word(),
        }
    }
}

impl<T> InOneWord for WaitError<T> {
    fn word(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Shared(error) => error.word(),
        }
    }
}

impl Hub {
    /// Does something, and notes how it ended and how long the caller waited.
    pub async fn booked<T, E: InOneWord>(
        &self,
        op: &'static str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let began = Instant::now();
        let answer = work.await;
        let outcome = answer.as_ref().err().map_or("done", InOneWord::word);
        self.book.op(op, outcome, began.elapsed());
        answer
    }
}

impl SharedData {
    /// What was done in this process, in all spaces.
    pub fn stats(&self) -> SharedStats {
        let stats = locked(&self.hub.book.0).clone();
        SharedStats { lock_queue: self.hub.locks.all_waiting(), ..stats }
    }
}
