//! [`Transport`]: moves frames between bots, and nothing else.
//!
//! It may lose, repeat, reorder and delay frames. It must not alter one or invent who sent it; it goes on
//! reading when `incoming` is full, and drops the frame then, because it comes again; it comes back by itself
//! after a failure; and it ends soon after it was told to. What it knows about delivery counts for nothing.

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::relay::frame::Frame;
use crate::relay::name::BotName;

/// Frames of each peer that wait on either side: more than it may have in flight. When that is full, the engine
/// waits, and a transport drops what it heard.
const FRAMES_WAITING: usize = 256;

/// What a transport can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub frame_bytes: usize,
    /// Frames for a peer that is away are kept somewhere.
    pub keeps: bool,
}

pub trait Transport: Send + 'static {
    fn limits(&self) -> Limits;
    /// Lasts until shutdown, or until it can never work.
    fn run<'a>(
        self: Box<Self>,
        wire: &'a mut Wire,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<(), TransportError>>;
}

/// A transport's end.
pub struct Wire {
    pub outgoing: mpsc::Receiver<(BotName, Frame)>,
    pub incoming: mpsc::Sender<Arrival>,
}

/// The engine's end.
pub struct Lines {
    pub outgoing: mpsc::Sender<(BotName, Frame)>,
    pub incoming: mpsc::Receiver<Arrival>,
}

/// Both ends, for so many peers.
pub fn wire(peers: usize) -> (Wire, Lines) {
    let (to_transport, outgoing) = mpsc::channel(frames_waiting(peers));
    let (to_engine, incoming) = mpsc::channel(frames_waiting(peers));
    (Wire { outgoing, incoming: to_engine }, Lines { outgoing: to_transport, incoming })
}

/// Frames of so many peers that wait on one side.
pub fn frames_waiting(peers: usize) -> usize {
    FRAMES_WAITING * peers.max(1)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    Frame {
        /// Proven by the transport, not said in the frame.
        from: BotName,
        frame: Frame,
    },
    Connected,
    Lost(String),
    /// This peer is away until it is heard.
    Undeliverable(BotName),
    /// A peer sent something that is no frame.
    Unreadable(BotName),
    /// Somebody who is no peer spoke to us.
    Stranger,
}

/// It can never work like this. Everything else is tried again inside.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    #[error("the credentials are wrong: {0}")]
    Credentials(String),
    #[error("the connection would not be safe: {0}")]
    Insecure(String),
    #[error("somebody else uses this account: {0}")]
    Taken(String),
    #[error("the configuration of the transport is wrong: {0}")]
    Config(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::link::{EVENTS_IN_FLIGHT, SAMPLES_IN_FLIGHT};

    #[test]
    fn all_that_peers_have_in_flight_is_heard() {
        let in_flight = usize::from(EVENTS_IN_FLIGHT) + usize::from(SAMPLES_IN_FLIGHT);
        for peers in [1, 20] {
            let (wire, _lines) = wire(peers);
            for _ in 0..peers * in_flight {
                wire.incoming.try_send(Arrival::Stranger).expect("there is room");
            }
        }
    }
}
