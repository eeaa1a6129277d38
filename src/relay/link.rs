//! One direction of a link, as decisions without IO: what a receiver does with a number, what a sender makes
//! of an acknowledgement.
//!
//! A lane's numbers count without gaps. An epoch names one history of them, and a chain says that two sides
//! mean the same history and not just the same number: stores get lost and restored from backups, and then a
//! sender gives old numbers to new envelopes.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::relay::frame::{Ack, Data, Lane};
use crate::relay::law::Law;
use crate::relay::name::Chain;

/// Frames in flight: enough for a second's worth over a long way.
pub const EVENTS_IN_FLIGHT: u16 = 128;
pub const SAMPLES_IN_FLIGHT: u16 = 64;

/// In one lane, in bytes: what a server in between may have to keep for us.
pub const BYTES_IN_FLIGHT: usize = 1024 * 1024;

/// Without progress everything is sent again: after this, then after twice as long, up to the longest.
pub const AGAIN_AFTER: Duration = Duration::from_secs(5);
pub const AGAIN_AFTER_MAX: Duration = Duration::from_secs(60);

/// What is known of a lane out: the durable part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutLane {
    pub epoch: u64,
    /// The number of the next envelope.
    pub next: u64,
    /// Numbers below it are settled.
    pub acked: u64,
    /// Before `next`.
    pub chain: Chain,
}

impl OutLane {
    pub fn new(now: Timestamp) -> Self {
        Self { epoch: epoch(now), next: 0, acked: 0, chain: Chain::start() }
    }

    pub fn waiting(&self) -> u64 {
        self.next.saturating_sub(self.acked)
    }
}

/// An epoch that begins now.
pub fn epoch(now: Timestamp) -> u64 {
    u64::try_from(now.millis()).unwrap_or(0)
}

/// What is known of a lane in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InLane {
    pub epoch: u64,
    pub expected: u64,
    /// Before `expected`; unknown after an epoch was adopted or a gap was passed.
    pub chain: Option<Chain>,
}

/// What a receiver does with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sender began another history: begin it too, at its base.
    Adopt,
    /// What lies between has expired there, or our store went back: go on at its base.
    Behind,
    /// A repeat, too early, or of a history that is over: only say where we stand.
    Answer,
    /// This is the number we wait for.
    Take,
}

pub fn judge(known: Option<&InLane>, data: &Data) -> Verdict {
    let Some(lane) = known else { return Verdict::Adopt };
    if data.epoch != lane.epoch && !Law::EpochsTold.is_broken() {
        return if data.epoch > lane.epoch { Verdict::Adopt } else { Verdict::Answer };
    }
    if data.base > lane.expected && !Law::BaseMoves.is_broken() {
        return Verdict::Behind;
    }
    let known_before = Law::DataHasChain.is_broken()
        || Law::NumbersInOrder.is_broken()
        || lane.chain.as_ref().is_none_or(|chain| *chain == data.before);
    let is_next =
        data.number == lane.expected || data.number > lane.expected && Law::NumbersInOrder.is_broken();
    if is_next && known_before { Verdict::Take } else { Verdict::Answer }
}

/// What a sender makes of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighed {
    /// Nothing new.
    Old,
    /// All below it are settled.
    Progress(u64),
    /// Our store went back, or another one of ours has been at work: a new epoch, greater than this.
    WentBack(u64),
}

/// `acked`: what we know to be settled; `ours`: our chain before `ack.expected`, as far as we still know it.
pub fn weigh(lane: &OutLane, acked: u64, ack: &Ack, ours: Option<&Chain>) -> Weighed {
    if ack.epoch != lane.epoch && !Law::EpochsTold.is_broken() {
        return if ack.epoch > lane.epoch && !Law::LaterEpochHeard.is_broken() {
            Weighed::WentBack(ack.epoch)
        } else {
            Weighed::Old
        };
    }
    if ack.expected > lane.next {
        return Weighed::WentBack(lane.epoch);
    }
    if ack.expected <= acked {
        return Weighed::Old;
    }
    match (&ack.chain, ours) {
        (Some(theirs), Some(ours)) if theirs == ours => Weighed::Progress(ack.expected),
        _ if Law::AckHasChain.is_broken() => Weighed::Progress(ack.expected),
        // A chain that we cannot check is no proof; a new epoch is always safe, and its repeats are known
        // by their ids.
        _ => Weighed::WentBack(lane.epoch),
    }
}

/// What is in flight on a lane. None of it is durable: after a start everything is sent from `acked` on.
#[derive(Clone, Debug)]
pub struct Flight {
    /// The first number in flight.
    pub acked: u64,
    sent: VecDeque<(Chain, usize)>,
    bytes: usize,
    /// How many frames the peer has room for.
    room: u16,
    again_at: Timestamp,
    again_after: Duration,
}

impl Flight {
    pub fn new(lane: Lane, acked: u64) -> Self {
        let again_at = Timestamp::from_millis(0);
        let (sent, room) = (VecDeque::new(), window(lane));
        Self { acked, sent, bytes: 0, room, again_at, again_after: AGAIN_AFTER }
    }

    /// The number to send next.
    pub fn next(&self) -> u64 {
        self.acked + self.sent.len() as u64
    }

    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// How many more may go now.
    pub fn free(&self) -> usize {
        if self.bytes >= BYTES_IN_FLIGHT { 0 } else { usize::from(self.room).saturating_sub(self.sent.len()) }
    }

    pub fn push(&mut self, now: Timestamp, before: Chain, bytes: usize, spread: f64) {
        if self.sent.is_empty() {
            self.again_at = now.plus(self.again_after.mul_f64(spread));
        }
        self.sent.push_back((before, bytes));
        self.bytes += bytes;
    }

    /// Our chain before a number, if it is in flight.
    pub fn chain_before(&self, number: u64) -> Option<&Chain> {
        let at = usize::try_from(number.checked_sub(self.acked)?).ok()?;
        self.sent.get(at).map(|(before, _)| before)
    }

    pub fn set_room(&mut self, lane: Lane, room: u16) {
        self.room = room.min(window(lane));
    }

    /// Everything below the number is settled.
    pub fn settle(&mut self, now: Timestamp, number: u64, spread: f64) {
        while self.acked < number {
            self.acked += 1;
            match self.sent.pop_front() {
                Some((_, bytes)) => self.bytes -= bytes,
                None => self.acked = number,
            }
        }
        self.again_after = AGAIN_AFTER;
        self.again_at = now.plus(self.again_after.mul_f64(spread));
    }

    /// When everything is to be sent again; never while nothing is in flight.
    pub fn again_at(&self) -> Option<Timestamp> {
        (!self.is_empty() && !Law::SentAgain.is_broken()).then_some(self.again_at)
    }

    /// Nothing is in flight any more: all of it is to be sent again.
    pub fn back(&mut self) {
        self.sent.clear();
        self.bytes = 0;
    }

    /// The same, over a new connection: its own pauses begin.
    pub fn start_over(&mut self) {
        self.back();
        self.again_after = AGAIN_AFTER;
    }

    /// The same, because nothing was heard for too long.
    pub fn late(&mut self) {
        self.back();
        self.again_after = (self.again_after * 2).min(AGAIN_AFTER_MAX);
    }
}

fn window(lane: Lane) -> u16 {
    match lane {
        Lane::Events => EVENTS_IN_FLIGHT,
        Lane::Samples => SAMPLES_IN_FLIGHT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::frame::{Content, Reason};
    use crate::relay::name::{BotName, EnvelopeId};

    fn id(n: u64) -> EnvelopeId {
        EnvelopeId::of(&BotName::new("hub").unwrap(), &n.to_string(), 0)
    }

    /// The chain before a number of the history 0, 1, 2, ..
    fn chain(number: u64) -> Chain {
        (0..number).fold(Chain::start(), |chain, n| chain.after(&id(n)))
    }

    fn data(epoch: u64, base: u64, number: u64) -> Data {
        let content = Content::Skip(Reason::Expired);
        Data { lane: Lane::Events, epoch, base, number, before: chain(number), id: id(number), content }
    }

    fn ack(epoch: u64, expected: u64, chain: Option<Chain>) -> Ack {
        Ack { lane: Lane::Events, epoch, expected, chain, room: 128, refused: Vec::new() }
    }

    #[test]
    fn a_receiver_takes_the_next_number_of_its_history_only() {
        let lane = InLane { epoch: 10, expected: 5, chain: Some(chain(5)) };
        assert_eq!(judge(None, &data(10, 3, 5)), Verdict::Adopt);
        assert_eq!(judge(Some(&lane), &data(11, 0, 0)), Verdict::Adopt);
        assert_eq!(judge(Some(&lane), &data(9, 5, 5)), Verdict::Answer);
        assert_eq!(judge(Some(&lane), &data(10, 6, 6)), Verdict::Behind);
        assert_eq!(judge(Some(&lane), &data(10, 2, 4)), Verdict::Answer);
        assert_eq!(judge(Some(&lane), &data(10, 2, 6)), Verdict::Answer);
        assert_eq!(judge(Some(&lane), &data(10, 2, 5)), Verdict::Take);
        let other = Data { before: Chain::start(), ..data(10, 2, 5) };
        assert_eq!(judge(Some(&lane), &other), Verdict::Answer, "another history");
        assert_eq!(judge(Some(&InLane { chain: None, ..lane }), &other), Verdict::Take);
    }

    #[test]
    fn a_sender_believes_a_number_only_with_its_chain() {
        let lane = OutLane { epoch: 10, next: 5, acked: 2, chain: chain(5) };
        let weigh = |ack: Ack, ours: Option<&Chain>| weigh(&lane, 2, &ack, ours);
        assert_eq!(weigh(ack(10, 4, Some(chain(4))), Some(&chain(4))), Weighed::Progress(4));
        assert_eq!(weigh(ack(10, 2, Some(chain(2))), None), Weighed::Old);
        assert_eq!(weigh(ack(9, 4, Some(chain(4))), Some(&chain(4))), Weighed::Old);
        assert_eq!(weigh(ack(12, 0, None), None), Weighed::WentBack(12));
        assert_eq!(weigh(ack(10, 6, Some(chain(6))), None), Weighed::WentBack(10), "never given");
        assert_eq!(weigh(ack(10, 4, Some(chain(3))), Some(&chain(4))), Weighed::WentBack(10));
        assert_eq!(weigh(ack(10, 4, None), Some(&chain(4))), Weighed::WentBack(10));
    }

    #[test]
    fn what_is_in_flight_has_bounds_and_is_sent_again() {
        let now = Timestamp::from_seconds(100);
        let mut flight = Flight::new(Lane::Events, 7);
        assert_eq!((flight.free(), flight.next(), flight.again_at()), (128, 7, None));
        for n in 7..10 {
            flight.push(now, chain(n), 10, 1.0);
        }
        assert_eq!((flight.free(), flight.next()), (125, 10));
        assert_eq!(flight.chain_before(8), Some(&chain(8)));
        assert_eq!((flight.chain_before(6), flight.chain_before(10)), (None, None));
        assert_eq!(flight.again_at(), Some(now.plus(AGAIN_AFTER)));
        flight.settle(now, 9, 1.0);
        assert_eq!((flight.acked, flight.next()), (9, 10));
        flight.late();
        assert_eq!((flight.acked, flight.next(), flight.again_at()), (9, 9, None));
        flight.push(now, chain(9), BYTES_IN_FLIGHT, 1.0);
        assert_eq!(flight.free(), 0, "too many bytes");
        assert_eq!(flight.again_at(), Some(now.plus(AGAIN_AFTER * 2)));
        flight.settle(now, 20, 1.0);
        assert_eq!((flight.acked, flight.next()), (20, 20));
        flight.set_room(Lane::Events, 1_000);
        assert_eq!(flight.free(), 128);
    }
}
