//! [`Frame`]: what a transport moves. A frame may be lost, repeated, late or out of order; what that means is
//! decided above, see [`super::link`].

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::relay::envelope::{Kind, millis};
use crate::relay::name::{BotName, Chain, EnvelopeId};

/// An envelope of 16 KiB may double when it becomes a text in JSON; the rest is for the path.
pub const FRAME_MAX: usize = 40 * 1024;

/// The version of frames. A peer of another one is told so, and nothing of it is taken.
pub const FRAME_VERSION: u8 = 1;

/// As many acknowledgements of refusals as a frame holds; the record is the receiver's dead letter.
pub const REFUSED_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Frame {
    Hello(Hello),
    Data(Data),
    Ack(Ack),
}

/// "I am there", now and then, and "I am going".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub v_min: u8,
    pub v_max: u8,
    #[serde(with = "millis")]
    pub clock: Timestamp,
    pub closing: bool,
}

/// Each link has two lanes with numbers of their own, so that measurements do not push events aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    Events,
    Samples,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Events, Self::Samples];

    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Event => Self::Events,
            Kind::Sample => Self::Samples,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Samples => "samples",
        }
    }
}

/// What stands under a number of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    pub lane: Lane,
    /// Which history of numbers this is.
    pub epoch: u64,
    /// All numbers below it are settled.
    pub base: u64,
    pub number: u64,
    pub before: Chain,
    pub id: EnvelopeId,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    Envelope {
        text: String,
        /// Its origin's, see [`super::keys`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signature: Option<String>,
        /// The bots that have had it, from its origin to the sender.
        path: Vec<BotName>,
    },
    /// Nothing comes under this number any more, so that it blocks nobody.
    Skip(Reason),
}

/// Where the receiver stands, after its transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub lane: Lane,
    pub epoch: u64,
    pub expected: u64,
    /// Before `expected`; unknown right after the receiver has adopted an epoch or moved over a gap.
    pub chain: Option<Chain>,
    /// How many more may be in flight.
    pub room: u16,
    pub refused: Vec<(u64, Reason)>,
}

/// Why an envelope is not where it was to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Its life was over.
    Expired,
    /// It is no envelope, or one of another version.
    Malformed,
    /// This topic does not go over this link.
    Topic,
    /// Its origin did not send it, and the link does not vouch for others.
    Origin,
    /// Its origin has a key, and did not sign this text with it.
    Signature,
    /// It would live for too long.
    Life,
    /// Its path is not one that could have led here.
    Path,
    /// Too many bots have had it.
    Hops,
    /// The outbox of a link was full.
    Full,
    /// Acting on it failed, again and again.
    Failed,
    /// Somebody took it away.
    Dropped,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Malformed => "malformed",
            Self::Topic => "topic",
            Self::Origin => "origin",
            Self::Signature => "signature",
            Self::Life => "life",
            Self::Path => "path",
            Self::Hops => "hops",
            Self::Full => "full",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// Why bytes are not a frame, or a frame cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    #[error("the frame has {0} bytes, more than {FRAME_MAX}")]
    TooLarge(usize),
    #[error("not a frame: {0}")]
    Unreadable(String),
}

impl Frame {
    /// For lists of what there is of each kind: hello, data, ack.
    pub fn place(&self) -> usize {
        match self {
            Self::Hello(_) => 0,
            Self::Data(_) => 1,
            Self::Ack(_) => 2,
        }
    }

    pub fn write(&self) -> Result<String, BadFrame> {
        let text = serde_json::to_string(self).map_err(|error| BadFrame::Unreadable(error.to_string()))?;
        if text.len() > FRAME_MAX { Err(BadFrame::TooLarge(text.len())) } else { Ok(text) }
    }

    pub fn read(text: &str) -> Result<Self, BadFrame> {
        if text.len() > FRAME_MAX {
            return Err(BadFrame::TooLarge(text.len()));
        }
        serde_json::from_str(text).map_err(|error| BadFrame::Unreadable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::envelope::ENVELOPE_MAX;
    use crate::relay::name::BOT_NAME_MAX;
    use crate::relay::routes::HOPS_MAX;

    fn data(text: String, path: Vec<BotName>) -> Frame {
        let id = EnvelopeId::of(&BotName::new("hub").unwrap(), "a", 0);
        let content = Content::Envelope { text, signature: Some("s".repeat(86)), path };
        let (lane, before) = (Lane::Events, Chain::start());
        Frame::Data(Data { lane, epoch: u64::MAX, base: 0, number: u64::MAX, before, id, content })
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let id = EnvelopeId::of(&BotName::new("hub").unwrap(), "a", 0);
        let chain = Chain::start().after(&id);
        let refused = vec![(3, Reason::Topic)];
        let ack = Ack { lane: Lane::Samples, epoch: 7, expected: 4, chain: Some(chain), room: 64, refused };
        let clock = Timestamp::from_millis(1_800_000_000_123);
        let hello = Hello { v_min: 1, v_max: 1, clock, closing: true };
        let path = vec![BotName::new("hub").unwrap()];
        for frame in [Frame::Ack(ack), Frame::Hello(hello), data("\u{fffe}\0\"".to_owned(), path)] {
            assert_eq!(Frame::read(&frame.write().unwrap()), Ok(frame));
        }
        assert!(matches!(Frame::read("{}"), Err(BadFrame::Unreadable(_))));
        assert_eq!(Frame::read(&"x".repeat(FRAME_MAX + 1)), Err(BadFrame::TooLarge(FRAME_MAX + 1)));
    }

    #[test]
    fn the_largest_envelope_fits_into_a_frame() {
        // In an envelope's text no control character stands by itself, so nothing more than doubles.
        let path = vec![BotName::new(&"a".repeat(BOT_NAME_MAX)).unwrap(); HOPS_MAX];
        assert!(data("\"".repeat(ENVELOPE_MAX), path).write().is_ok());
    }
}
