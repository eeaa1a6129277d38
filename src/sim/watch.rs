//! [`Seen`]: what one person's client is sent.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

/// A client that is further behind is told how much it missed, as it would have to reload; waiting for it
/// would hold up everybody else.
pub(super) const BEHIND_MAX: usize = 1_024;

/// Events in the order in which the client was sent them.
#[derive(Debug)]
pub struct Seen(pub(super) broadcast::Receiver<Arc<Value>>);

impl Seen {
    /// The next event, `{"t": name, "d": data}`; `None` when the simulator is gone. After a lag the event is
    /// `LAGGED` with the number `missed`.
    pub async fn next(&mut self) -> Option<Value> {
        Some(Arc::unwrap_or_clone(self.next_shared().await?))
    }

    /// The same without a copy.
    pub async fn next_shared(&mut self) -> Option<Arc<Value>> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Arc::new(json!({"t": "LAGGED", "d": {"missed": missed}}))),
            Err(RecvError::Closed) => None,
        }
    }
}
