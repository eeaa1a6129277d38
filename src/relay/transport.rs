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

/// Frames that wait on either side: two windows of a lane. When it is full, the engine waits, and a transport
/// drops what it heard.
pub const FRAMES_WAITING: usize = 256;

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

/// Both ends.
pub fn wire() -> (Wire, Lines) {
    let (to_transport, outgoing) = mpsc::channel(FRAMES_WAITING);
    let (to_engine, incoming) = mpsc::channel(FRAMES_WAITING);
    (Wire { outgoing, incoming: to_engine }, Lines { outgoing: to_transport, incoming })
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
