//! [`Seen`]: what one person's client is sent; [`SeenByAll`]: what all of them are.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

use super::world::Audience;

/// A client that is further behind is told how much it missed, as it would have to reload; waiting for it
/// would hold up everybody else.
pub(super) const BEHIND_MAX: usize = 1_024;

/// The same for one who drives thousands: some seconds of all events there are.
pub(super) const ALL_BEHIND_MAX: usize = 65_536;

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

/// Each event once, with those whose clients are sent it: for one who drives many people.
#[derive(Debug)]
pub struct SeenByAll(pub(super) broadcast::Receiver<(Audience, Arc<Value>)>);

impl SeenByAll {
    /// The next event, or how many were missed; `None` when the simulator is gone.
    pub async fn next(&mut self) -> Option<Result<(Audience, Arc<Value>), u64>> {
        match self.0.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}
