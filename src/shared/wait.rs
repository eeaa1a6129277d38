//! `wait_for`: one bot waits for what another one writes.

use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::shared::{SharedData, SharedError, typed};

/// Why waiting ended without what was waited for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WaitError<T> {
    #[error("it was not there in time")]
    Timeout { last: Option<T> },
    #[error(transparent)]
    Shared(#[from] SharedError),
}

impl SharedData {
    /// Waits until a value is as the caller wants it. What it gives was read with strong consistency, or
    /// written by this process, after the call. All waiters of a key in a process share its reads.
    pub async fn wait_for<T: DeserializeOwned>(
        &self,
        key: &str,
        ready: impl Fn(Option<&T>) -> bool + Send,
        within: Duration,
    ) -> Result<T, WaitError<T>> {
        let (place, called) = (self.cell(key)?, Instant::now());
        // Before anything is read, so that no write between the two is missed.
        let mut watcher = self.hub.watch(|hub| &hub.cells, &place);
        let mut last = None;
        let waiting = async {
            loop {
                let seen = watcher.next().await;
                let value = seen.record.as_ref().and_then(|cell| cell.value.as_ref());
                last = value.map(typed::<T>).transpose()?;
                if !ready(last.as_ref()) {
                    continue;
                }
                match last.take() {
                    Some(value) if seen.strong && seen.at >= called => return Ok(value),
                    value => last = value,
                }
                watcher.ask();
            }
        };
        match timeout(within, waiting).await {
            Ok(outcome) => outcome,
            Err(_) => Err(WaitError::Timeout { last }),
        }
    }
}
