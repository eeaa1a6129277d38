//! What the store was asked and what it cost: by table and operation for the metrics, and by piece of
//! work for the budgets of commands.

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::types::ConsumedCapacity;
use tokio::time::Instant;
use tracing::{Span, debug, debug_span, field};

/// Read and write request units.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Units {
    pub read: f64,
    pub write: f64,
}

impl Units {
    pub(crate) fn read(units: f64) -> Self {
        Self { read: units, write: 0.0 }
    }

    pub(crate) fn write(units: f64) -> Self {
        Self { read: 0.0, write: units }
    }

    /// Of a transaction, which is charged in read units when its token was seen before.
    pub(crate) fn of_transaction(capacity: &ConsumedCapacity) -> Self {
        let (read, write) = (capacity.read_capacity_units, capacity.write_capacity_units);
        match (read, write) {
            (None, None) => Self::write(capacity.capacity_units.unwrap_or_default()),
            _ => Self { read: read.unwrap_or_default(), write: write.unwrap_or_default() },
        }
    }
}

impl AddAssign for Units {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.write += other.write;
    }
}

/// Upper bounds of the histogram of request times, in seconds. A user waits for a handful of requests,
/// so what matters lies between a memory access and Discord's three seconds.
pub const BUCKETS: [f64; 8] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0];

/// The requests of one kind to one table since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    pub requests: u64,
    /// Those that ended in an error.
    pub errors: u64,
    /// Conditions that did not hold: answers, not errors, but paid for.
    pub refused: u64,
    pub units: Units,
    pub seconds: f64,
    /// How many requests took at most the time of the same place in [`BUCKETS`], but longer than the
    /// one before; the last counts the rest.
    pub times: [u64; BUCKETS.len() + 1],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Refused,
    Failed,
}

type ByKind = BTreeMap<(&'static str, &'static str), Usage>;

#[derive(Debug, Default)]
pub(crate) struct Meter {
    by_kind: Mutex<ByKind>,
    last: Mutex<Last>,
}

/// How the store did lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Last {
    /// How long the last request took that was answered.
    pub took: Option<Duration>,
    /// When a request failed last, and what it was: the table and the operation.
    pub failed: Option<(Instant, &'static str, &'static str)>,
}

tokio::task_local! {
    static MEASURED: Arc<Mutex<Units>>;
}

/// Runs a piece of work and tells what its requests cost. Work that it hands to other tasks is not counted.
pub async fn measured<F: Future>(work: F) -> (F::Output, Units) {
    let units = Arc::new(Mutex::new(Units::default()));
    let output = MEASURED.scope(units.clone(), work).await;
    let units = *units.lock().unwrap_or_else(PoisonError::into_inner);
    // A part of a larger piece of work that is measured too.
    let _ = MEASURED.try_with(|sum| *sum.lock().unwrap_or_else(PoisonError::into_inner) += units);
    (output, units)
}

/// A request for the traces; it ends when it is dropped.
pub(super) fn span(table: &'static str, operation: &'static str) -> Span {
    debug_span!("store", table, operation, outcome = field::Empty, read = field::Empty, write = field::Empty)
}

/// Notes how the request ended.
pub(super) fn end(span: &Span, outcome: Outcome, units: Units) {
    let outcome = match outcome {
        Outcome::Ok => "ok",
        Outcome::Refused => "refused",
        Outcome::Failed => "error",
    };
    span.record("outcome", outcome).record("read", units.read).record("write", units.write);
}

impl Meter {
    pub(crate) fn record(
        &self,
        kind: (&'static str, &'static str),
        outcome: Outcome,
        units: Units,
        took: Duration,
    ) {
        let seconds = took.as_secs_f64();
        let (table, operation) = kind;
        debug!(table, operation, ?outcome, read = units.read, write = units.write, seconds, "store");
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Outcome::Failed => last.failed = Some((Instant::now(), table, operation)),
                Outcome::Ok | Outcome::Refused => last.took = Some(took),
            }
        }
        let mut by_kind = self.by_kind.lock().unwrap_or_else(PoisonError::into_inner);
        let usage = by_kind.entry(kind).or_default();
        usage.requests += 1;
        usage.errors += u64::from(outcome == Outcome::Failed);
        usage.refused += u64::from(outcome == Outcome::Refused);
        usage.units += units;
        usage.seconds += seconds;
        usage.times[BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len())] += 1;
        // Outside of `measured` there is nobody to tell.
        let _ = MEASURED.try_with(|sum| *sum.lock().unwrap_or_else(PoisonError::into_inner) += units);
    }

    pub(crate) fn usage(&self) -> ByKind {
        self.by_kind.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn last(&self) -> Last {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
