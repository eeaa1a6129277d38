//! [`Copies`]: records that every command needs and that seldom change, as this process saw them last.
//!
//! A copy is at most [`FRESH_FOR`] old. While the store is away the last copy serves for [`SERVES_FOR`];
//! without one nobody knows, and what depends on it is refused: unknown is not absent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dynamo::{self, Dynamo};

/// For this long a copy is as good as the record.
pub const FRESH_FOR: Duration = Duration::from_secs(30);

/// For this long a copy serves while the store is away.
pub const SERVES_FOR: Duration = Duration::from_secs(600);

/// For this long after a failure nobody is made to wait for the store again.
pub const TRY_AGAIN_AFTER: Duration = Duration::from_secs(3);

/// Copies kept. One is below a kilobyte, unless a server has decided much.
const COPIES_MAX: usize = 10_000;

/// What is copied.
pub trait Copied: Sized {
    /// What was read, and what was known before: a cheap read may be older than what was written here.
    fn merged(self, known: &Self) -> Self;
}

/// A copy for each server that was heard of lately.
#[derive(Debug)]
pub struct Copies<T>(Mutex<HashMap<u64, Arc<Copy<T>>>>);

impl<T> Default for Copies<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// One copy. Whoever finds it old reads it anew; the others wait for that.
#[derive(Debug)]
struct Copy<T> {
    known: Mutex<Option<(Arc<T>, Timestamp)>>,
    /// Whoever reads holds it; it tells when reading failed last.
    reading: tokio::sync::Mutex<Option<Timestamp>>,
}

impl<T> Default for Copy<T> {
    fn default() -> Self {
        Self { known: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }
}

impl<T: Copied> Copies<T> {
    /// The copy of a server, read anew if it is old.
    pub async fn of(
        &self,
        dynamo: &Dynamo,
        server_id: u64,
        read: impl AsyncFnOnce() -> Result<T, dynamo::Error>,
    ) -> Result<Arc<T>, dynamo::Error> {
        let copy = self.copy(server_id);
        if let Some(fresh) = copy.younger_than(FRESH_FOR, dynamo.now()) {
            return Ok(fresh);
        }
        let mut failed_at = copy.reading.lock().await;
        if let Some(fresh) = copy.younger_than(FRESH_FOR, dynamo.now()) {
            return Ok(fresh);
        }
        let error = match *failed_at {
            Some(at) if dynamo.now().since(at) < TRY_AGAIN_AFTER => {
                dynamo::Error::Unavailable("it could not be read a moment ago".into())
            }
            _ => match read().await {
                Ok(found) => {
                    *failed_at = None;
                    return Ok(copy.take(found, dynamo.now()));
                }
                Err(error) => {
                    *failed_at = Some(dynamo.now());
                    error
                }
            },
        };
        copy.younger_than(SERVES_FOR, dynamo.now()).ok_or(error)
    }

    /// Takes in what was written here; `make` gets what is known so far.
    pub fn changed(&self, server_id: u64, now: Timestamp, make: impl FnOnce(Option<&T>) -> Option<T>) {
        let copy = self.copy(server_id);
        let known = copy.younger_than(SERVES_FOR, now);
        if let Some(value) = make(known.as_deref()) {
            copy.take(value, now);
        }
    }

    /// The copy that is there, without asking; for what is no decision.
    pub fn at_hand(&self, server_id: u64, now: Timestamp) -> Option<Arc<T>> {
        self.copy(server_id).younger_than(SERVES_FOR, now)
    }

    fn copy(&self, server_id: u64) -> Arc<Copy<T>> {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if copies.len() >= COPIES_MAX && !copies.contains_key(&server_id) {
            // Reading some again is cheaper than keeping the order of their use.
            copies.clear();
        }
        copies.entry(server_id).or_default().clone()
    }
}

impl<T: Copied> Copy<T> {
    fn younger_than(&self, age: Duration, now: Timestamp) -> Option<Arc<T>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(_, at)| now.since(*at) < age).map(|(value, _)| value.clone())
    }

    fn take(&self, value: T, now: Timestamp) -> Arc<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match known.take() {
            Some((before, _)) => value.merged(&before),
            None => value,
        };
        let value = Arc::new(value);
        *known = Some((value.clone(), now));
        value
    }
}
