//! [`Engine`]: one bot's end of all its links. It hears frames, sends what waits, and hands out what is to be
//! acted on.
//!
//! What it must not lose is in the store, and what it says of it (an `Ack`) is said after the transaction. All
//! else may be forgotten at any time: an engine that starts over asks the store and goes on. It reads no clock
//! and owns no task; [`super::run`] drives it, and so do simulations.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tracing::{error, warn};

use crate::clock::Timestamp;
use crate::dynamo::{Error, WRITES_MAX};
use crate::relay::counts::{Counts, STRANGER, What};
use crate::relay::envelope::{LIFE_MAX, Scope, Sealed};
use crate::relay::frame::{Ack, Content, Data, FRAME_VERSION, Frame, Hello, Lane, REFUSED_MAX, Reason};
use crate::relay::here::Here;
use crate::relay::link::{Flight, InLane, OutLane, Verdict, Weighed, epoch, judge, weigh};
use crate::relay::name::BotName;
use crate::relay::publish::{Draft, Onward, Published, Refused, TRIES_MAX, kept, publish};
use crate::relay::routes::{HOPS_MAX, Routes};
use crate::relay::store::{
    Change, Dead, Kept, Note, Out, ROWS_TOGETHER, Row, Step, Store, Taken, Written, joining,
};

/// Everybody says this often that they are there.
pub const HELLO_EVERY: Duration = Duration::from_secs(30);

/// Who was not heard for three hellos is down.
pub const DOWN_AFTER: Duration = Duration::from_secs(90);

/// Acknowledgements are gathered for so long, or for so many frames.
pub const ACK_AFTER: Duration = Duration::from_millis(50);
pub const ACK_FRAMES: u32 = 32;

/// What is settled is written down after so many frames, or after this time: losing it costs repeats.
const NOTE_FRAMES: u64 = 64;
const NOTE_AFTER: Duration = Duration::from_secs(1);

/// How often queues are read again: another process of this bot may have published.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often the queue of a peer that is down is freed of what has expired.
const EXPIRY_EVERY: Duration = Duration::from_secs(60);

/// How often the age of the oldest row is looked at.
const OLDEST_EVERY: Duration = Duration::from_secs(60);

/// As many rows are read at once: those of whole records, so that the next read begins with one.
pub(super) const ROWS: u32 = TAKEN_TOGETHER as u32;

/// Frames that are taken in one transaction, if it holds them: with more, one that fails costs too much to do again.
pub(super) const TAKEN_TOGETHER: usize = 2 * ROWS_TOGETHER;

/// Dead letters of a lane within an hour: a peer that sends nothing else must not fill the store.
const DEAD_MAX: u32 = 1_000;
const DEAD_WITHIN: Duration = Duration::from_secs(3_600);

/// Who is further off than this should look at the clock.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// A warning about one peer's clock is given once in this time.
const WARN_EVERY: Duration = Duration::from_secs(3_600);

/// A peer's clock may be a day off before its envelopes live too long for us.
const LIFE_SLACK: Duration = Duration::from_secs(24 * 3_600);

pub struct Engine<S> {
    pub(super) store: S,
    pub(super) routes: Routes,
    /// Whether the transport keeps frames for a peer that is away.
    keeps: bool,
    peers: BTreeMap<BotName, Peer>,
    pub(super) here: Here,
    outgoing: Vec<(BotName, Frame)>,
    chance: fastrand::Rng,
    pub counts: Counts,
}

struct Peer {
    /// Since when it would be heard if it were there, and what was written down of it.
    began_at: Option<Timestamp>,
    seen: Option<bool>,
    heard_at: Option<Timestamp>,
    clock_warned_at: Option<Timestamp>,
    closing: bool,
    hello_at: Timestamp,
    to: Option<[Sending; 2]>,
    from: Option<[Hearing; 2]>,
}

/// A lane out.
struct Sending {
    me: BotName,
    lane: Lane,
    out: Out,
    known: Option<OutLane>,
    look_at: Timestamp,
    flight: Option<Flight>,
    ahead: Ahead,
    note_at: Option<Timestamp>,
    noted: u64,
    expiry_at: Timestamp,
    /// When the first that waits was made, and when that is looked at again.
    oldest: Option<Timestamp>,
    oldest_at: Timestamp,
    /// While the peer is down: what its transport keeps for it has been sent.
    left: bool,
}

/// What has been read of a queue and is sent next.
#[derive(Default)]
struct Ahead {
    /// Nothing is there from this number up to the first of them.
    from: u64,
    rows: VecDeque<(Row, Option<Kept>)>,
}

/// A lane in.
struct Hearing {
    lane: Lane,
    /// `None`: not read yet.
    known: Option<Option<InLane>>,
    ack_at: Option<Timestamp>,
    unanswered: u32,
    /// The sender was told that there is no room, and sends nothing until it hears otherwise.
    full: bool,
    refused: Vec<(u64, Reason)>,
    /// Dead letters of an hour, and when it began.
    dead: (Timestamp, u32),
}

impl Peer {
    fn new(name: &BotName, routes: &Routes) -> Self {
        let sending = |lane| Sending {
            me: routes.me.clone(),
            lane,
            out: Out::Link(name.clone(), lane),
            known: None,
            look_at: START,
            flight: None,
            ahead: Ahead::default(),
            note_at: None,
            noted: 0,
            expiry_at: START,
            oldest: None,
            oldest_at: START,
            left: false,
        };
        let hearing = |lane| Hearing {
            lane,
            known: None,
            ack_at: None,
            unanswered: 0,
            full: false,
            refused: Vec::new(),
            dead: (START, 0),
        };
        Self {
            began_at: None,
            seen: None,
            heard_at: None,
            clock_warned_at: None,
            closing: false,
            hello_at: START,
            to: routes.to.contains_key(name).then(|| Lane::ALL.map(sending)),
            from: routes.from.contains_key(name).then(|| Lane::ALL.map(hearing)),
        }
    }

    /// Writes down when it came or went, for whoever asks in another process.
    async fn note_seen<S: Store>(&mut self, store: &S, name: &BotName, now: Timestamp) -> Result<(), Error> {
        let (up, began_at) = (self.is_up(now), *self.began_at.get_or_insert(now));
        // At a start it is not down but unheard.
        let too_early = self.seen.is_none() && !up && now.since(began_at) < DOWN_AFTER;
        if self.seen == Some(up) || too_early {
            return Ok(());
        }
        // Blocked: it was so before.
        let since = if up { now } else { self.heard_at.unwrap_or(now) };
        store.note(&Note::Seen { peer: name.clone(), up, since }).await?;
        self.seen = Some(up);
        Ok(())
    }

    fn is_up(&self, now: Timestamp) -> bool {
        !self.closing && self.heard_at.is_some_and(|at| now.since(at) < DOWN_AFTER)
    }
}

/// How the link to a peer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    pub up: bool,
    pub waiting: Vec<(Lane, u64)>,
    /// When the envelope was made that has waited longest, as of the last minute.
    pub oldest: Option<Timestamp>,
}

/// An envelope and the bots that have had it; or why it is not taken.
type Inspected = Result<(Sealed, Vec<BotName>), (Reason, String)>;

/// Frames that continue each other, and what is made of each.
struct Batch {
    taken: Taken,
    frames: Vec<(Data, Inspected)>,
}

impl Taken {
    /// Whether a frame goes on where these end.
    fn is_followed_by(&self, data: &Data) -> bool {
        data.epoch == self.epoch
            && data.number == self.next
            && data.before == self.chain
            && data.base <= self.number
    }
}

impl Batch {
    /// Those that are taken in.
    fn sound(&self) -> impl Iterator<Item = &(Sealed, Vec<BotName>)> {
        self.frames.iter().filter_map(|(_, inspected)| inspected.as_ref().ok())
    }
}

/// Whatever is due at this time is due at once.
const START: Timestamp = Timestamp::from_millis(0);

impl<S: Store> Engine<S> {
    /// `keeps`: the transport keeps frames for a peer that is away. The seed spreads the times of repeats.
    pub fn new(store: S, routes: Routes, keeps: bool, seed: u64) -> Self {
        let peers = routes.peers().map(|name| (name.clone(), Peer::new(name, &routes))).collect();
        let (chance, here) = (fastrand::Rng::with_seed(seed), Here::default());
        let (outgoing, counts) = (Vec::new(), Counts::default());
        Self { store, routes, keeps, peers, here, outgoing, chance, counts }
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    pub fn is_up(&self, peer: &BotName, now: Timestamp) -> bool {
        self.peers.get(peer).is_some_and(|peer| peer.is_up(now))
    }

    /// How the links stand.
    pub fn view(&self, now: Timestamp) -> BTreeMap<BotName, PeerView> {
        let view = |peer: &Peer| {
            let lanes = || peer.to.iter().flatten();
            let waiting = |sending: &Sending| sending.known.as_ref().map_or(0, OutLane::waiting);
            let waiting = lanes().map(|sending| (sending.lane, waiting(sending))).collect();
            let oldest = lanes().filter_map(|sending| sending.oldest).min();
            PeerView { up: peer.is_up(now), waiting, oldest }
        };
        self.peers.iter().map(|(name, peer)| (name.clone(), view(peer))).collect()
    }

    /// Envelopes that wait for our rules.
    pub fn waiting_here(&self) -> u64 {
        self.here.known.as_ref().map_or(0, OutLane::waiting)
    }

    /// The frames to send since the last call.
    pub fn outgoing(&mut self) -> Vec<(BotName, Frame)> {
        for (to, frame) in &self.outgoing {
            self.counts.peer(What::Frames, to, ["out hello", "out data", "out ack"][frame.place()], 1);
        }
        std::mem::take(&mut self.outgoing)
    }

    /// Takes a message in, see [`publish`]; it is sent at the next [`Engine::tick`].
    pub async fn publish(&mut self, now: Timestamp, draft: Draft) -> Result<Published, Refused> {
        let published = publish(&self.store, &self.routes, now, draft).await;
        self.look();
        published
    }

    /// Reads the queues again at the next [`Engine::tick`]: something was published.
    pub fn look(&mut self) {
        for sending in self.peers.values_mut().flat_map(|peer| peer.to.iter_mut().flatten()) {
            sending.look_at = START;
        }
        self.here.look_at = START;
    }

    /// Nothing gets through to this peer: it is down until it is heard.
    pub fn undeliverable(&mut self, peer: &BotName) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.heard_at = None;
        }
    }

    /// Tells the peers that this bot goes away.
    pub fn close(&mut self, now: Timestamp) {
        for name in self.peers.keys() {
            self.outgoing.push((name.clone(), hello(now, true)));
        }
    }

    /// Hears a frame, as [`Engine::hear_all`].
    pub async fn hear(&mut self, now: Timestamp, from: &BotName, frame: Frame) -> Result<(), Error> {
        self.hear_all(now, vec![(from.clone(), frame)]).await
    }

    /// Hears frames in their order. What the store does not take is not acknowledged, and comes again.
    pub async fn hear_all(&mut self, now: Timestamp, frames: Vec<(BotName, Frame)>) -> Result<(), Error> {
        let mut frames = frames.into_iter().peekable();
        while let Some((from, frame)) = frames.next() {
            if !self.heard(now, &from, &frame) {
                continue;
            }
            match frame {
                Frame::Hello(hello) => self.greeted(now, &from, &hello),
                Frame::Ack(ack) => self.acknowledged(now, &from, &ack).await?,
                Frame::Data(data) => {
                    let (lane, mut run) = (data.lane, vec![data]);
                    let more = |next: &(BotName, Frame)| {
                        next.0 == from && matches!(&next.1, Frame::Data(data) if data.lane == lane)
                    };
                    while let Some((_, Frame::Data(data))) = frames.next_if(more) {
                        self.counts.peer(What::Frames, &from, "in data", 1);
                        run.push(data);
                    }
                    self.take(now, &from, run).await?;
                }
            }
        }
        Ok(())
    }

    /// Notes that somebody is there; `false`: it is a stranger.
    fn heard(&mut self, now: Timestamp, from: &BotName, frame: &Frame) -> bool {
        let Some(peer) = self.peers.get_mut(from) else {
            self.stranger();
            return false;
        };
        self.counts.peer(What::Frames, from, ["in hello", "in data", "in ack"][frame.place()], 1);
        let was_up = peer.is_up(now);
        peer.heard_at = Some(now);
        // Whatever it sends after its goodbye, it is there.
        peer.closing = matches!(frame, Frame::Hello(hello) if hello.closing);
        if !was_up && !peer.closing {
            peer.hello_at = START;
            for sending in peer.to.iter_mut().flatten() {
                sending.left = false;
                sending.flight.iter_mut().for_each(Flight::back);
            }
        }
        true
    }

    fn greeted(&mut self, now: Timestamp, from: &BotName, hello: &Hello) {
        let apart = now.since(hello.clock).max(hello.clock.since(now));
        let peer = self.peers.get_mut(from).expect("only a peer is heard");
        if apart > CLOCKS_APART && peer.clock_warned_at.is_none_or(|at| now.since(at) > WARN_EVERY) {
            peer.clock_warned_at = Some(now);
            warn!(peer = %from, ours = %now, theirs = %hello.clock, "a peer's clock says another time");
        }
        if !(hello.v_min..=hello.v_max).contains(&FRAME_VERSION) {
            let (v_min, v_max) = (hello.v_min, hello.v_max);
            error!(peer = %from, v_min, v_max, ours = FRAME_VERSION, "a peer speaks another version");
        }
    }

    /// There is a new connection: what was in flight on the last one is sent again.
    pub fn connected(&mut self) {
        for peer in self.peers.values_mut() {
            peer.hello_at = START;
            // What the transport keeps for a peer that is away was sent once, and is not sent again.
            for sending in peer.to.iter_mut().flatten().filter(|sending| !sending.left) {
                sending.flight.iter_mut().for_each(Flight::start_over);
            }
        }
    }

    /// Somebody spoke who is no peer.
    pub fn stranger(&mut self) {
        self.counts.add(What::Refused, STRANGER, STRANGER, 1);
    }

    /// A peer sent something that is no frame.
    pub fn unreadable(&mut self, from: &BotName) {
        self.counts.peer(What::Refused, from, "unreadable", 1);
    }

    /// Takes what a peer sent on a lane, or says where we stand. What follows each other goes together.
    async fn take(&mut self, now: Timestamp, from: &BotName, frames: Vec<Data>) -> Result<(), Error> {
        let mut frames = VecDeque::from(frames);
        while let Some(first) = frames.pop_front() {
            let lane = first.lane;
            let peer = self.peers.get_mut(from).expect("only a peer is heard");
            let Some(hearing) = peer.from.as_mut().map(|lanes| &mut lanes[lane as usize]) else {
                self.counts.peer(What::Refused, from, STRANGER, 1);
                continue;
            };
            hearing.answer_soon(now);
            let known = hearing.settle_on(&self.store, from, &first, &mut self.counts).await?;
            if judge(known.as_ref(), &first) != Verdict::Take {
                self.counts.peer(What::Repeats, from, "lane", 1);
                continue;
            }
            let known = self.here.lane(&self.store, now).await?;
            let room = self.routes.waiting.here.saturating_sub(known.map_or(0, |lane| lane.waiting()));
            if room == 0 {
                // It is not acknowledged, so it comes again; the answer tells that there is no room.
                continue;
            }
            let most = TAKEN_TOGETHER.min(usize::try_from(room).unwrap_or(TAKEN_TOGETHER));
            let batch = self.batch(now, from, first, &mut frames, most).await?;
            let peer = self.peers.get_mut(from).expect("only a peer is heard");
            let hearing = &mut peer.from.as_mut().expect("it sends")[lane as usize];
            hearing.unanswered += u32::try_from(batch.frames.len() - 1).unwrap_or(0);
            let after = InLane { epoch: batch.taken.epoch, expected: batch.taken.next, chain: None };
            let after = InLane { chain: Some(batch.taken.chain.clone()), ..after };
            // Unread until the store has answered: it may or may not have been written.
            hearing.known = None;
            if self.accept(now, from, batch).await? {
                let peer = self.peers.get_mut(from).expect("no peer goes away");
                let hearing = &mut peer.from.as_mut().expect("it sends")[lane as usize];
                hearing.known = Some(Some(after));
            }
        }
        Ok(())
    }

    /// The first frame, and those behind it that continue its history, as many as one transaction holds.
    async fn batch(
        &mut self,
        now: Timestamp,
        from: &BotName,
        first: Data,
        frames: &mut VecDeque<Data>,
        most: usize,
    ) -> Result<Batch, Error> {
        let taken = Taken {
            peer: from.clone(),
            lane: first.lane,
            epoch: first.epoch,
            number: first.number,
            next: first.number,
            chain: first.before.clone(),
        };
        let mut batch = Batch { taken, frames: Vec::new() };
        let (mut writes, mut joined) = (1, BTreeMap::new());
        let mut next = Some(first);
        while let Some(data) = next {
            let inspected = self.routes.inspect(now, from, &data);
            let joins = match &inspected {
                Ok((sealed, path)) => self.queues_of(now, sealed, path).await?,
                Err(_) => BTreeMap::new(),
            };
            // Itself or its dead letter, and in each queue its share of a record, or another dead letter.
            writes += 1;
            for (out, lane) in joins {
                writes += usize::from(self.routes.waiting.is_full(&out, lane.as_ref()));
                let before = joined.entry(out).or_insert(0);
                writes += usize::from(*before == 0) + usize::from(*before % ROWS_TOGETHER == 0);
                *before += 1;
            }
            if writes > WRITES_MAX && !batch.frames.is_empty() {
                frames.push_front(data);
                break;
            }
            batch.taken.next += 1;
            batch.taken.chain = data.before.after(&data.id);
            batch.frames.push((data, inspected));
            let has_room = batch.frames.len() < most;
            next = frames.pop_front_if(|data| has_room && batch.taken.is_followed_by(data));
        }
        Ok(batch)
    }

    /// Takes envelopes in, hands them on and uses up their numbers, all at once. What is refused becomes a dead
    /// letter under its number. `false`: the lane is elsewhere.
    async fn accept(&mut self, now: Timestamp, from: &BotName, batch: Batch) -> Result<bool, Error> {
        let mut dead = Vec::new();
        for (data, inspected) in &batch.frames {
            if let Err((reason, detail)) = inspected {
                dead.extend(self.refused(now, from, data, *reason, detail));
            }
        }
        let (mut known_ids, mut ends) = (BTreeSet::new(), self.here.noted());
        for _ in 0..TRIES_MAX {
            let steps = vec![Step::Take(batch.taken.clone())];
            let mut change = Change { steps, dead: dead.clone(), ..Change::default() };
            let (mut queues, mut queued, mut dropped) = (BTreeMap::new(), Vec::new(), 0);
            let mut fresh = BTreeSet::new();
            for (sealed, path) in batch.sound() {
                let envelope = sealed.envelope();
                if known_ids.contains(&envelope.id) || !fresh.insert(envelope.id.clone()) {
                    continue;
                }
                queues.extend(self.queues_of(now, sealed, path).await?);
                let onward = Onward::plan(sealed, path, &self.routes, &queues, now);
                queued.push((envelope.id.clone(), envelope.until, onward.queued));
                change.dead.extend(onward.dead);
                change.envelopes.push((kept(sealed, path.clone()), Some(from.clone())));
                dropped += onward.dropped;
            }
            change.joining = joining(&queues, epoch(now), &queued);
            if !ends.is_empty() {
                change.steps.push(Step::Done(ends.clone()));
                if change.writes() > WRITES_MAX {
                    change.steps.pop();
                    ends.clear();
                }
            }
            match self.store.write(&change).await? {
                Written::Done => {
                    self.joined(&change);
                    self.count_taken(now, from, &batch, &change, dropped);
                    self.ended(now, &ends);
                    if let Some(here) = change.joining.iter().find(|joining| joining.out == Out::Here) {
                        self.here.hold_joined(here, batch.sound());
                    }
                    return Ok(true);
                }
                // Perhaps somebody else was first with what ends: that is told apart when it ends by itself.
                Written::Passed if !ends.is_empty() => ends.clear(),
                Written::Passed => return Ok(false),
                // It came by another way before, and others of them may have.
                Written::Known(_) => {
                    let ids: Vec<_> = change.envelopes.iter().map(|(kept, _)| kept.id.clone()).collect();
                    known_ids.extend(self.store.kept_all(&ids).await?.into_keys());
                }
                Written::Moved => self.look(),
            }
        }
        Err(Error::Throttled("the queues were filled by others all the time".into()))
    }

    fn count_taken(&mut self, now: Timestamp, from: &BotName, batch: &Batch, change: &Change, dropped: u64) {
        let sound = batch.sound().count();
        let accepted = change.envelopes.len();
        self.counts.peer(What::Accepted, from, "", accepted as u64);
        self.counts.peer(What::Repeats, from, "way", (sound - accepted) as u64);
        self.counts.peer(What::Dropped, from, "", dropped);
        let delay = |(kept, _): &(Kept, _)| u64::try_from(now.since(kept.at).as_millis()).unwrap_or(u64::MAX);
        let delays = change.envelopes.iter().map(delay).fold(0, u64::saturating_add);
        self.counts.peer(What::DelayMillis, from, "", delays);
        for dead in &change.dead {
            self.counts.add(What::Dead, &dead.lane, dead.reason.name(), 1);
        }
    }

    /// Remembers to tell the sender why, and what is left for somebody to look at.
    fn refused(
        &mut self,
        now: Timestamp,
        from: &BotName,
        data: &Data,
        reason: Reason,
        detail: &str,
    ) -> Option<Dead> {
        let Content::Envelope { text, signature, path } = &data.content else {
            self.counts.add(What::Expired, &format!("in/{from}/{}", data.lane.name()), "", 1);
            return None;
        };
        self.counts.peer(What::Refused, from, reason.name(), 1);
        let peer = self.peers.get_mut(from).expect("only a peer is heard");
        let hearing = &mut peer.from.as_mut().expect("it sends")[data.lane as usize];
        if hearing.refused.len() < REFUSED_MAX {
            hearing.refused.push((data.number, reason));
        }
        if reason == Reason::Expired {
            return None;
        }
        if now.since(hearing.dead.0) >= DEAD_WITHIN {
            hearing.dead = (now, 0);
        }
        hearing.dead.1 += 1;
        if hearing.dead.1 > DEAD_MAX {
            // It is counted as refused, and nobody reads more of them than this.
            return None;
        }
        warn!(peer = %from, id = %data.id, reason = reason.name(), detail, "refused an envelope");
        Some(Dead {
            lane: format!("in/{from}/{}", data.lane.name()),
            at: now,
            id: data.id.clone(),
            reason,
            detail: detail.to_owned(),
            text: Some(text.clone()),
            signature: signature.clone(),
            path: path.clone(),
        })
    }

    /// The queues that an envelope joins, as they are known.
    pub(super) async fn queues_of(
        &mut self,
        now: Timestamp,
        sealed: &Sealed,
        path: &[BotName],
    ) -> Result<BTreeMap<Out, Option<OutLane>>, Error> {
        let mut known = BTreeMap::new();
        for out in self.routes.queues(sealed.envelope(), path) {
            let lane = match &out {
                Out::Here => self.here.lane(&self.store, now).await?,
                Out::Link(name, lane) => {
                    let peer = self.peers.get_mut(name).expect("every link has a peer");
                    let sending = &mut peer.to.as_mut().expect("it is a link to it")[*lane as usize];
                    sending.lane(&self.store, now).await?;
                    sending.known.clone()
                }
            };
            known.insert(out, lane);
        }
        Ok(known)
    }

    /// Remembers what a change made of the queues.
    pub(super) fn joined(&mut self, change: &Change) {
        for joining in &change.joining {
            match &joining.out {
                Out::Here => self.here.known = Some(joining.after()),
                Out::Link(name, lane) => {
                    let peer = self.peers.get_mut(name).expect("every link has a peer");
                    let sending = &mut peer.to.as_mut().expect("it is a link to it")[*lane as usize];
                    sending.known = Some(joining.after());
                }
            }
        }
    }

    /// Hears where a peer stands.
    async fn acknowledged(&mut self, now: Timestamp, from: &BotName, ack: &Ack) -> Result<(), Error> {
        let spread = self.spread();
        let peer = self.peers.get_mut(from).expect("only a peer is heard");
        let Some(sending) = peer.to.as_mut().map(|lanes| &mut lanes[ack.lane as usize]) else {
            self.counts.peer(What::Refused, from, STRANGER, 1);
            return Ok(());
        };
        for (number, reason) in &ack.refused {
            warn!(peer = %from, number, reason = reason.name(), "a peer refused an envelope");
        }
        let renewed = sending.weigh(&self.store, now, ack, spread).await?;
        self.counts.peer(What::Epochs, from, "", u64::from(renewed));
        Ok(())
    }

    /// Does what is due: sends what waits, says hello, writes down what is settled.
    pub async fn tick(&mut self, now: Timestamp) -> Result<(), Error> {
        let room = self.room(now).await?;
        let names: Vec<_> = self.peers.keys().cloned().collect();
        for name in names {
            let spread = self.spread();
            let peer = self.peers.get_mut(&name).expect("no peer goes away");
            let greet = now >= peer.hello_at;
            if greet {
                peer.hello_at = now.plus(HELLO_EVERY);
                self.outgoing.push((name.clone(), hello(now, false)));
            }
            for hearing in peer.from.iter_mut().flatten() {
                let due = hearing.ack_at.is_some_and(|at| now >= at) || hearing.unanswered >= ACK_FRAMES;
                if due || greet || hearing.full && room > 0 {
                    let ack = hearing.answer(&self.store, &name, room).await?;
                    self.outgoing.extend(ack.map(|ack| (name.clone(), Frame::Ack(ack))));
                }
            }
            let is_up = peer.is_up(now);
            peer.note_seen(&self.store, &name, now).await?;
            for sending in peer.to.iter_mut().flatten() {
                sending.expire(&self.store, now, is_up).await?;
                if is_up || self.keeps {
                    let frames = sending.send(&self.store, now, is_up, spread, &mut self.counts).await?;
                    self.outgoing.extend(frames.into_iter().map(|data| (name.clone(), Frame::Data(data))));
                }
                sending.look_back(&self.store, now).await?;
                sending.note(&self.store, now).await?;
            }
        }
        self.here.note(&self.store, now).await
    }

    /// Reads what is sent when the peers have acknowledged more, so that they need not wait for it then.
    pub async fn read_ahead(&mut self, now: Timestamp) -> Result<(), Error> {
        for peer in self.peers.values_mut().filter(|peer| peer.is_up(now)) {
            for sending in peer.to.iter_mut().flatten() {
                sending.read_ahead(&self.store).await?;
            }
        }
        Ok(())
    }

    /// How many frames a peer may have in flight to us.
    async fn room(&mut self, now: Timestamp) -> Result<u16, Error> {
        let waiting = self.here.lane(&self.store, now).await?.map_or(0, |lane| lane.waiting());
        Ok(u16::try_from(self.routes.waiting.here.saturating_sub(waiting)).unwrap_or(u16::MAX))
    }

    /// When [`Engine::tick`] has something to do again.
    pub fn wake_at(&self, now: Timestamp) -> Timestamp {
        let mut at = now.plus(LOOK_EVERY);
        for peer in self.peers.values() {
            at = at.min(peer.hello_at);
            let is_up = peer.is_up(now);
            for hearing in peer.from.iter().flatten() {
                at = hearing.ack_at.map_or(at, |due| at.min(due));
            }
            for sending in peer.to.iter().flatten() {
                let again = sending.flight.as_ref().and_then(Flight::again_at).filter(|_| is_up);
                at = again.into_iter().chain(sending.note_at).fold(at, Timestamp::min);
            }
        }
        at.max(now)
    }

    /// Repeats of several bots do not come all at once: up to a fifth earlier or later.
    fn spread(&mut self) -> f64 {
        0.8 + self.chance.f64() * 0.4
    }
}

fn hello(now: Timestamp, closing: bool) -> Frame {
    Frame::Hello(Hello { v_min: FRAME_VERSION, v_max: FRAME_VERSION, clock: now, closing })
}

impl Routes {
    /// An envelope that a peer sent, and the bots that have had it; or why we do not take it.
    pub(super) fn inspect(&self, now: Timestamp, from: &BotName, data: &Data) -> Inspected {
        let refuse = |reason: Reason, detail: &str| Err((reason, detail.to_owned()));
        let (text, signature, path) = match &data.content {
            Content::Skip(reason) => return Err((*reason, String::new())),
            Content::Envelope { text, signature, path } => (text, signature, path),
        };
        let sealed = Sealed::open(text.clone()).map_err(|why| (Reason::Malformed, why.to_string()))?;
        let (envelope, link) = (sealed.envelope(), self.from.get(from));
        if envelope.id != data.id || Lane::of(envelope.kind) != data.lane {
            return refuse(Reason::Malformed, "the frame says another id or kind than the envelope");
        }
        if path.len() >= HOPS_MAX {
            return refuse(Reason::Hops, "too many bots have had it");
        }
        let origin = envelope.id.origin();
        let ends = path.first() == Some(&origin) && path.last() == Some(from) && !path.contains(&self.me);
        let far_enough = match envelope.scope {
            Scope::Local => false,
            Scope::Link => path.len() == 1,
            Scope::Fleet => true,
        };
        if !ends || !far_enough {
            return refuse(Reason::Path, "no way of this scope leads from its origin over its sender to us");
        }
        if !link.is_some_and(|link| link.carries(&envelope.topic)) {
            return refuse(Reason::Topic, "the link from there does not carry this topic");
        }
        match (self.keys.get(&origin), signature) {
            (Some(key), Some(signature)) if key.verifies(text, signature) => {}
            (Some(_), Some(_)) => return refuse(Reason::Signature, "it is not what its origin signed"),
            (Some(_), None) => return refuse(Reason::Signature, "its origin signs, and it is not signed"),
            (None, _) if origin == *from || link.is_some_and(|link| link.vouch) => {}
            (None, _) => return refuse(Reason::Origin, "the link from there does not vouch for others"),
        }
        if envelope.until <= now {
            return refuse(Reason::Expired, "its life is over");
        }
        if envelope.until > now.plus(LIFE_MAX + LIFE_SLACK) {
            return refuse(Reason::Life, "it would live for more than 31 days from now");
        }
        Ok((sealed.with_signature(signature.clone()), path.clone()))
    }
}

impl Hearing {
    /// Where we stand, after what the frame tells of its sender's history.
    async fn settle_on<S: Store>(
        &mut self,
        store: &S,
        from: &BotName,
        data: &Data,
        counts: &mut Counts,
    ) -> Result<Option<InLane>, Error> {
        let (peer, lane, epoch, expected) = (from.clone(), self.lane, data.epoch, data.base);
        let known = self.read(store, from).await?;
        let note = match judge(known.as_ref(), data) {
            Verdict::Adopt => Note::Adopt { peer, lane, epoch, expected },
            Verdict::Behind => {
                counts.peer(What::Gaps, from, "", 1);
                warn!(peer = %from, expected = known.map_or(0, |lane| lane.expected), base = data.base, "a gap");
                Note::Behind { peer, lane, epoch, expected }
            }
            Verdict::Take | Verdict::Answer => return Ok(known),
        };
        // Unread until the store has answered: it may or may not have been written.
        self.known = None;
        if store.note(&note).await? {
            self.known = Some(Some(InLane { epoch, expected, chain: None }));
        }
        self.read(store, from).await
    }

    async fn read<S: Store>(&mut self, store: &S, from: &BotName) -> Result<Option<InLane>, Error> {
        if let Some(known) = &self.known {
            return Ok(known.clone());
        }
        let known = store.in_lane(from, self.lane).await?;
        self.known = Some(known.clone());
        Ok(known)
    }

    fn answer_soon(&mut self, now: Timestamp) {
        self.unanswered += 1;
        self.ack_at.get_or_insert(now.plus(ACK_AFTER));
    }

    /// Where we stand, if we have heard of this lane.
    async fn answer<S: Store>(&mut self, store: &S, from: &BotName, room: u16) -> Result<Option<Ack>, Error> {
        let Some(known) = self.read(store, from).await? else { return Ok(None) };
        (self.ack_at, self.unanswered, self.full) = (None, 0, room == 0);
        let refused = std::mem::take(&mut self.refused);
        let InLane { epoch, expected, chain } = known;
        Ok(Some(Ack { lane: self.lane, epoch, expected, chain, room, refused }))
    }
}

impl Ahead {
    /// The number after the last.
    fn end(&self) -> u64 {
        self.rows.back().map_or(self.from, |(row, _)| row.row.number + 1)
    }

    /// Reads some more, if there are any.
    async fn read<S: Store>(&mut self, store: &S, out: &Out) -> Result<(), Error> {
        let rows = store.rows(out, self.end(), ROWS).await?;
        let ids: Vec<_> = rows.iter().filter(|row| row.skip.is_none()).map(|row| row.id.clone()).collect();
        let kept = store.kept_all(&ids).await?;
        self.rows.extend(rows.into_iter().map(|row| {
            // One that was refused and is tried again is there twice.
            let kept = kept.get(&row.id).filter(|_| row.skip.is_none()).cloned();
            (row, kept)
        }));
        Ok(())
    }
}

impl Sending {
    /// Reads the lane, if it may have changed.
    async fn lane<S: Store>(&mut self, store: &S, now: Timestamp) -> Result<(), Error> {
        if now < self.look_at {
            return Ok(());
        }
        self.known = store.out_lane(&self.out).await?;
        self.look_at = now.plus(LOOK_EVERY);
        self.ahead = Ahead::default();
        if let (Some(known), Some(flight)) = (&mut self.known, &mut self.flight) {
            // What is settled may not be written down yet.
            known.acked = known.acked.max(flight.acked.min(known.next));
            if known.next < flight.next() {
                *flight = Flight::new(self.lane, known.acked);
            }
        }
        Ok(())
    }

    /// What an acknowledgement says; `true`: a new epoch began.
    async fn weigh<S: Store>(
        &mut self,
        store: &S,
        now: Timestamp,
        ack: &Ack,
        spread: f64,
    ) -> Result<bool, Error> {
        if self.known.as_ref().is_none_or(|lane| lane.epoch != ack.epoch || ack.expected > lane.next) {
            self.look_at = START;
        }
        self.lane(store, now).await?;
        // Nothing was ever sent, as far as we know. If it was, the first that is sent will tell.
        let Some(lane) = self.known.clone() else { return Ok(false) };
        let flight = self.flight.get_or_insert_with(|| Flight::new(self.lane, lane.acked));
        flight.set_room(self.lane, ack.room);
        let mut ours = flight.chain_before(ack.expected).cloned();
        if ours.is_none() && ack.expected == lane.next {
            ours = Some(lane.chain.clone());
        } else if ours.is_none() && (flight.acked + 1..lane.next).contains(&ack.expected) {
            let row = store.rows(&self.out, ack.expected, 1).await?.into_iter().next();
            ours = row.filter(|row| row.row.number == ack.expected).map(|row| row.before);
        }
        match weigh(&lane, flight.acked, ack, ours.as_ref()) {
            Weighed::Old => {}
            Weighed::Progress(number) => {
                flight.settle(now, number, spread);
                self.known = Some(OutLane { acked: number, ..lane });
                self.note_at.get_or_insert(now.plus(NOTE_AFTER));
            }
            Weighed::WentBack(above) => {
                let (old, new) = (lane.epoch, epoch(now).max(lane.epoch + 1).max(above.saturating_add(1)));
                warn!(lane = self.out.name(), old, new, "our store is behind what the peer had: a new epoch");
                flight.back();
                self.look_at = START;
                return store.note(&Note::Renew { out: self.out.clone(), old, new }).await;
            }
        }
        Ok(false)
    }

    /// Frees the queue of a peer that is down of what has expired.
    async fn expire<S: Store>(&mut self, store: &S, now: Timestamp, is_up: bool) -> Result<(), Error> {
        if is_up || now < self.expiry_at {
            return Ok(());
        }
        self.expiry_at = now.plus(EXPIRY_EVERY);
        self.lane(store, now).await?;
        let Some(lane) = &mut self.known else { return Ok(()) };
        let flight = self.flight.get_or_insert_with(|| Flight::new(self.lane, lane.acked));
        if !flight.is_empty() || lane.waiting() == 0 {
            return Ok(());
        }
        let first = store.rows(&self.out, lane.acked, 1).await?.into_iter().next();
        let first = first.map_or(lane.next, |row| row.row.number);
        if first > lane.acked {
            lane.acked = first;
            flight.settle(now, first, 1.0);
            self.note_at.get_or_insert(now.plus(NOTE_AFTER));
        }
        Ok(())
    }

    /// The frames that go now.
    async fn send<S: Store>(
        &mut self,
        store: &S,
        now: Timestamp,
        is_up: bool,
        spread: f64,
        counts: &mut Counts,
    ) -> Result<Vec<Data>, Error> {
        self.lane(store, now).await?;
        let (Some(lane), false) = (&mut self.known, self.left && !is_up) else { return Ok(Vec::new()) };
        let flight = self.flight.get_or_insert_with(|| Flight::new(self.lane, lane.acked));
        if is_up && flight.again_at().is_some_and(|at| now >= at) {
            if let Out::Link(peer, _) = &self.out {
                counts.peer(What::Resent, peer, "", flight.next() - flight.acked);
            }
            flight.late();
        }
        let mut frames = Vec::new();
        while flight.free() > 0 && flight.next() < lane.next {
            if self.ahead.from != flight.next() {
                self.ahead = Ahead { from: flight.next(), rows: VecDeque::new() };
            }
            if self.ahead.rows.is_empty() {
                self.ahead.read(store, &self.out).await?;
            }
            let first = self.ahead.rows.front().map_or(lane.next, |(row, _)| row.row.number);
            if first > flight.next() {
                // What lies between has expired. What is before it must be settled first.
                if !flight.is_empty() {
                    break;
                }
                lane.acked = first;
                flight.settle(now, first, spread);
                self.note_at.get_or_insert(now.plus(NOTE_AFTER));
                self.ahead.from = first;
            }
            let Some((Row { row, id, before, skip, .. }, kept)) = self.ahead.rows.pop_front() else { break };
            self.ahead.from = row.number + 1;
            let content = match kept.filter(|kept| kept.until > now) {
                None => Content::Skip(skip.unwrap_or(Reason::Expired)),
                Some(mut kept) => {
                    kept.path.push(self.me.clone());
                    let Kept { text, signature, path, .. } = kept;
                    Content::Envelope { text, signature, path }
                }
            };
            let bytes = if let Content::Envelope { text, .. } = &content { text.len() } else { 0 };
            flight.push(now, before.clone(), bytes, spread);
            let (lane, epoch, base) = (self.lane, lane.epoch, flight.acked);
            frames.push(Data { lane, epoch, base, number: row.number, before, id, content });
        }
        self.left = !is_up;
        Ok(frames)
    }

    /// Reads what is sent next, while what was sent is on its way.
    async fn read_ahead<S: Store>(&mut self, store: &S) -> Result<(), Error> {
        let (Some(lane), Some(flight)) = (&self.known, &self.flight) else { return Ok(()) };
        let is_next = !flight.is_empty() && self.ahead.from == flight.next();
        if is_next && self.ahead.end() < lane.next && self.ahead.rows.len() < ROWS as usize {
            self.ahead.read(store, &self.out).await?;
        }
        Ok(())
    }

    /// Looks how long the first has waited, now and then.
    async fn look_back<S: Store>(&mut self, store: &S, now: Timestamp) -> Result<(), Error> {
        let Some(lane) = self.known.as_ref().filter(|lane| lane.waiting() > 0) else {
            self.oldest = None;
            return Ok(());
        };
        if now < self.oldest_at {
            return Ok(());
        }
        self.oldest_at = now.plus(OLDEST_EVERY);
        let first = store.rows(&self.out, lane.acked, 1).await?.into_iter().next();
        let kept = match first {
            Some(row) => store.kept(&row.id).await?,
            None => None,
        };
        self.oldest = kept.map(|kept| kept.at);
        Ok(())
    }

    /// Writes down what is settled, now and then.
    async fn note<S: Store>(&mut self, store: &S, now: Timestamp) -> Result<(), Error> {
        let (Some(lane), Some(due)) = (&self.known, self.note_at) else { return Ok(()) };
        let acked = lane.acked;
        if now < due && acked.saturating_sub(self.noted) < NOTE_FRAMES {
            return Ok(());
        }
        // Blocked: it was written before, or another epoch has begun; either is fine.
        store.note(&Note::Acked { out: self.out.clone(), epoch: lane.epoch, acked }).await?;
        (self.note_at, self.noted) = (None, acked);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;
    use crate::clock::Clock;
    use crate::dynamo::testing::embedded_at;
    use crate::relay::envelope::Envelope;
    use crate::relay::envelope::tests::envelope;
    use crate::relay::keys::{SecretKey, generate};
    use crate::relay::model::Model;
    use crate::relay::name::{Chain, EnvelopeId, Pattern};
    use crate::relay::routes::Link;
    use crate::relay::routes::tests::lonely;
    use crate::relay::run::Acted;
    use crate::relay::store::{TABLES, Tables};

    fn name(text: &str) -> BotName {
        BotName::new(text).unwrap()
    }

    /// A bot that hears alerts from its peer, and believes it nothing about others.
    fn hub() -> Engine<Model> {
        let mut routes = lonely("hub");
        let link = Link { topics: vec![Pattern::new("alerts/**").unwrap()], vouch: false };
        routes.from.insert(name("laptop"), link);
        Engine::new(Model::default(), routes, false, 1)
    }

    struct Sent {
        id: EnvelopeId,
        text: String,
        signature: Option<String>,
        path: Vec<BotName>,
    }

    fn sent(envelope: &Envelope, path: &[&str]) -> Sent {
        let text = Sealed::seal(envelope.clone()).unwrap().text().to_owned();
        let path = path.iter().map(|bot| name(bot)).collect();
        Sent { id: envelope.id.clone(), text, signature: None, path }
    }

    fn hear(engine: &mut Engine<Model>, now: Timestamp, number: u64, sent: &Sent) {
        let (signature, path) = (sent.signature.clone(), sent.path.clone());
        let content = Content::Envelope { text: sent.text.clone(), signature, path };
        let (lane, before, id) = (Lane::Events, Chain::start(), sent.id.clone());
        // The chain of a peer whose history we do not know yet.
        let lane_known = engine.store().records().ins.values().next().and_then(|lane| lane.chain.clone());
        let before = lane_known.unwrap_or(before);
        let data = Data { lane, epoch: 1, base: 0, number, before, id, content };
        engine.hear(now, &name("laptop"), Frame::Data(data)).now_or_never().unwrap().unwrap();
    }

    /// The model refuses more.
    #[test]
    fn what_arrives_together_is_taken_in_as_many_transactions_as_it_needs() {
        for (links, events) in [(0, 10_000), (3, 10_000), (12, 10_000), (12, 0)] {
            let mut routes = hub().routes;
            // A queue that is not there yet is not full: the second transaction finds them so.
            routes.waiting.events = events;
            for n in 0..links {
                let link = Link { topics: vec![Pattern::new("**").unwrap()], vouch: true };
                routes.to.insert(name(&format!("peer-{n}")), link);
            }
            let mut engine = Engine::new(Model::default(), routes, false, 1);
            let (mut frames, mut before) = (Vec::new(), Chain::start());
            for number in 0..100 {
                let envelope = envelope("laptop", &number.to_string());
                let text = Sealed::seal(envelope.clone()).unwrap().text().to_owned();
                let content = Content::Envelope { text, signature: None, path: vec![name("laptop")] };
                let (id, after) = (envelope.id.clone(), before.after(&envelope.id));
                let data = Data { lane: Lane::Events, epoch: 1, base: 0, number, before, id, content };
                frames.push((name("laptop"), Frame::Data(data)));
                before = after;
            }
            let now = envelope("laptop", "0").at;
            engine.hear_all(now, frames).now_or_never().unwrap().unwrap();
            let expected = engine.store().records().ins.values().next().unwrap().expected;
            assert_eq!(expected, 100, "{links} links");
        }
    }

    #[test]
    fn what_is_refused_uses_up_its_number_and_is_kept_for_somebody_to_look_at() {
        let good = envelope("laptop", "good");
        let now = good.at;
        let other = envelope("other", "x");
        let topic =
            Envelope { topic: crate::relay::name::Topic::new("secrets").unwrap(), ..envelope("laptop", "t") };
        let long = Envelope {
            at: now.plus(Duration::from_secs(86_400 * 9)),
            until: now.plus(Duration::from_secs(86_400 * 32)),
            ..envelope("laptop", "l")
        };
        let local = Envelope { scope: Scope::Local, ..envelope("laptop", "s") };
        let mut lying = sent(&envelope("laptop", "y"), &["laptop"]);
        lying.id = envelope("laptop", "z").id;
        let broken = Sent { text: "{\"v\":1".to_owned(), ..sent(&envelope("laptop", "b"), &["laptop"]) };
        let newer = Sent { text: "{\"v\":2}".to_owned(), ..sent(&envelope("laptop", "v"), &["laptop"]) };
        let many: Vec<_> = std::iter::repeat_n("laptop", HOPS_MAX).collect();
        let cases = [
            (broken, Reason::Malformed),
            (newer, Reason::Malformed),
            (lying, Reason::Malformed),
            (sent(&topic, &["laptop"]), Reason::Topic),
            (sent(&other, &["other", "laptop"]), Reason::Origin),
            (sent(&other, &["laptop"]), Reason::Path),
            (sent(&good, &["laptop", "hub", "laptop"]), Reason::Path),
            (sent(&local, &["laptop"]), Reason::Path),
            (sent(&good, &many), Reason::Hops),
            (sent(&long, &["laptop"]), Reason::Life),
        ];
        let mut engine = hub();
        for (number, (sent, _)) in (0..).zip(&cases) {
            hear(&mut engine, now, number, sent);
        }
        hear(&mut engine, now, cases.len() as u64, &sent(&good, &["laptop"]));
        let records = engine.store().records().clone();
        let reasons: Vec<_> = records.dead.iter().map(|dead| dead.reason).collect();
        assert_eq!(reasons, cases.iter().map(|(_, reason)| *reason).collect::<Vec<_>>());
        assert!(records.dead.iter().all(|dead| dead.lane == "in/laptop/events" && dead.text.is_some()));
        assert_eq!(records.envelopes.keys().collect::<Vec<_>>(), [&good.id], "what follows is taken");
        // The sender is told.
        engine.outgoing();
        engine.tick(now.plus(ACK_AFTER)).now_or_never().unwrap().unwrap();
        let acks: Vec<_> = engine
            .outgoing()
            .into_iter()
            .filter_map(|(_, frame)| match frame {
                Frame::Ack(ack) => Some((ack.expected, ack.refused.len())),
                _ => None,
            })
            .collect();
        assert_eq!(acks, [(cases.len() as u64 + 1, cases.len())]);
    }

    #[test]
    fn what_its_origin_signed_is_believed_whoever_brings_it() {
        let key = SecretKey::parse(&generate().unwrap().1).unwrap();
        let other = SecretKey::parse(&generate().unwrap().1).unwrap();
        let mut engine = hub();
        engine.routes.keys.insert(name("garden"), key.public());
        let said = envelope("garden", "x");
        let signed = |signature: Option<String>| {
            let unsigned = sent(&said, &["garden", "laptop"]);
            Sent { signature, ..unsigned }
        };
        let text = signed(None).text;
        hear(&mut engine, said.at, 0, &signed(None));
        hear(&mut engine, said.at, 1, &signed(Some(other.sign(&text))));
        hear(&mut engine, said.at, 2, &signed(Some("not a signature".to_owned())));
        let mut changed = signed(Some(key.sign(&text)));
        changed.text = text.replace("91 % full", "fine");
        hear(&mut engine, said.at, 3, &changed);
        let reasons: Vec<_> = engine.store().records().dead.iter().map(|dead| dead.reason).collect();
        assert_eq!(reasons, [Reason::Signature; 4]);
        let good = key.sign(&text);
        hear(&mut engine, said.at, 4, &signed(Some(good.clone())));
        let kept = engine.store().records().envelopes[&said.id].clone();
        assert_eq!(kept.signature, Some(good), "whoever gets it from us can check it too");
    }

    #[test]
    fn what_we_publish_is_signed() {
        let key = Arc::new(SecretKey::parse(&generate().unwrap().1).unwrap());
        let routes = Routes { key: Some(key.clone()), ..lonely("hub") };
        let sealed = routes.seal(Draft::test("a", "x", Timestamp::from_seconds(5))).unwrap();
        assert!(key.public().verifies(sealed.text(), sealed.signature().unwrap()));
    }

    /// Whatever a peer sends, it is refused with a reason and counted; and the next good one is taken.
    #[test]
    fn a_peer_that_sends_anything_changes_nothing_else() {
        let mut engine = hub();
        let good = envelope("laptop", "good");
        let mut chance = fastrand::Rng::with_seed(7);
        let text = sent(&good, &[]).text;
        for number in 0..300 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..chance.usize(1..6) {
                let at = chance.usize(0..bytes.len());
                match chance.u32(0..3) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes[at] = chance.u8(32..127),
                    _ => bytes.insert(at, chance.u8(32..127)),
                }
            }
            let changed = String::from_utf8(bytes).unwrap();
            if changed == text {
                continue;
            }
            // Another id in the frame, so that what is still an envelope does not fit it.
            let id = EnvelopeId::of(&name("laptop"), &number.to_string(), 0);
            let next = engine.store().records().ins.values().next().map_or(0, |lane| lane.expected);
            hear(&mut engine, good.at, next, &Sent { id, text: changed, ..sent(&good, &["laptop"]) });
        }
        let (dead, next) = {
            let records = engine.store().records();
            (records.dead.len() as u64, records.ins.values().next().unwrap().expected)
        };
        assert_eq!((engine.counts.total(What::Refused), next), (dead, dead));
        hear(&mut engine, good.at, next, &sent(&good, &["laptop"]));
        assert_eq!(engine.store().records().envelopes.len(), 1);
    }

    #[test]
    fn what_is_too_old_leaves_no_dead_letter() {
        let old = envelope("laptop", "old");
        let mut engine = hub();
        hear(&mut engine, old.until, 0, &sent(&old, &["laptop"]));
        let records = engine.store().records().clone();
        assert_eq!((records.dead.len(), records.envelopes.len(), records.ins.len()), (0, 0, 1));
    }

    #[test]
    fn a_sender_without_room_is_told_as_soon_as_there_is_some() {
        let mut engine = hub();
        engine.routes.waiting.here = 1;
        let (now, good) = (Timestamp::from_seconds(1_800_000_000), envelope("laptop", "good"));
        let tick = |engine: &mut Engine<Model>| {
            engine.tick(now).now_or_never().unwrap().unwrap();
            let frames = engine.outgoing().into_iter();
            let room =
                |(_, frame)| if let Frame::Ack(ack) = frame { Some(ack.room.to_string()) } else { None };
            frames.filter_map(room).collect::<Vec<_>>().join(" ")
        };
        tick(&mut engine);
        hear(&mut engine, now, 0, &sent(&good, &["laptop"]));
        engine.connected();
        assert_eq!(tick(&mut engine), "0");
        assert_eq!(tick(&mut engine), "", "it is told once");
        let works = engine.work(now).now_or_never().unwrap().unwrap();
        let done: Vec<_> = works.into_iter().map(|work| (work, Acted::default())).collect();
        engine.done(now, &done).now_or_never().unwrap().unwrap();
        assert_eq!(tick(&mut engine), "1");
        assert_eq!(tick(&mut engine), "");
    }

    #[test]
    fn a_stranger_changes_nothing() {
        let mut engine = hub();
        let hello = hello(Timestamp::from_seconds(5), false);
        engine.hear(Timestamp::from_seconds(5), &name("stranger"), hello).now_or_never().unwrap().unwrap();
        assert_eq!((engine.counts.total(What::Refused), engine.outgoing().len()), (1, 0));
    }

    #[test]
    fn an_old_frame_that_is_played_again_changes_nothing() {
        let (good, mut engine) = (envelope("laptop", "good"), hub());
        let sent = sent(&good, &["laptop"]);
        hear(&mut engine, good.at, 0, &sent);
        let rows = engine.store().records().rows.len();
        hear(&mut engine, good.at, 0, &sent);
        hear(&mut engine, good.at, 1, &sent);
        assert_eq!((engine.store().records().rows.len(), rows), (1, 1));
        assert_eq!(engine.counts.total(What::Repeats), 2, "by its number, and by its id");
    }

    /// Two bots talk for a while.
    async fn talk(clock: &Clock, a: &mut Engine<Tables>, b: &mut Engine<Model>) {
        for _ in 0..20 {
            let now = clock.now();
            a.tick(now).await.unwrap();
            for (_, frame) in a.outgoing() {
                b.hear(now, &name("a"), frame).await.unwrap();
            }
            b.tick(now).await.unwrap();
            for (_, frame) in b.outgoing() {
                a.hear(now, &name("b"), frame).await.unwrap();
            }
            clock.advance(Duration::from_millis(100));
        }
    }

    /// More than is in flight at once, over a way that loses some: what was read before it could be sent is not sent
    /// in place of what has to be sent again.
    #[test]
    fn what_is_read_ahead_is_sent_in_its_place() {
        const MESSAGES: usize = 500;
        let link = Link { topics: vec![Pattern::new("**").unwrap()], vouch: false };
        let (mut to_b, mut from_a) = (lonely("a"), lonely("b"));
        to_b.to.insert(name("b"), link.clone());
        from_a.from.insert(name("a"), link);
        let mut now = Timestamp::from_seconds(1_800_000_000);
        let mut a = Engine::new(Model::default(), to_b, false, 1);
        let mut b = Engine::new(Model::default(), from_a, false, 1);
        for n in 0..MESSAGES {
            a.publish(now, Draft::test("x", &n.to_string(), now)).now_or_never().unwrap().unwrap();
        }
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut chance = fastrand::Rng::with_seed(seed);
        for _ in 0..5_000 {
            for (from, to) in [("a", "b"), ("b", "a")] {
                let (sender, hearer) = if from == "a" { (&mut a, &mut b) } else { (&mut b, &mut a) };
                sender.tick(now).now_or_never().unwrap().unwrap();
                let frames = sender.outgoing().into_iter().filter(|_| chance.u32(0..50) > 0);
                let frames = frames.map(|(peer, frame)| {
                    assert_eq!(peer, name(to));
                    (name(from), frame)
                });
                hearer.hear_all(now, frames.collect()).now_or_never().unwrap().unwrap();
                a.read_ahead(now).now_or_never().unwrap().unwrap();
            }
            now = now.plus(ACK_AFTER);
        }
        assert_eq!((b.counts.total(What::Accepted), b.counts.total(What::Gaps)), (MESSAGES as u64, 0));
        assert!(a.counts.total(What::Resent) > 0, "nothing was lost on the way");
    }

    #[tokio::test]
    async fn what_expired_in_the_queue_of_an_absent_peer_blocks_nothing() {
        let clock = Clock::manual(Timestamp::from_seconds(1_800_000_000));
        let link = Link { topics: vec![Pattern::new("**").unwrap()], vouch: false };
        let (mut to_b, mut from_a) = (lonely("a"), lonely("b"));
        to_b.to.insert(name("b"), link.clone());
        from_a.from.insert(name("a"), link);
        let tables = Tables(embedded_at(TABLES, clock.clone()).await);
        let mut a = Engine::new(tables, to_b, false, 1);
        let mut b = Engine::new(Model::default(), from_a, false, 1);
        let mut published = Vec::new();
        for (because, away) in [("0", 0), ("1", 1), ("2", 1), ("3", 9), ("4", 0)] {
            let draft = Draft::test("x", because, clock.now());
            published.push(a.publish(clock.now(), draft).await.unwrap().id);
            if away == 0 {
                talk(&clock, &mut a, &mut b).await;
            } else {
                clock.advance(Duration::from_secs(away * 86_400));
            }
        }
        // The first came at once. 1 and 2 and their rows are gone, and so is 3, which lived for a week.
        let ids: BTreeSet<_> = b.store().records().envelopes.keys().cloned().collect();
        assert_eq!(ids, BTreeSet::from([published[0].clone(), published[4].clone()]));
        assert_eq!((b.counts.total(What::Gaps), b.counts.total(What::Refused)), (1, 0));
        let out = Out::Link(name("b"), Lane::Events);
        clock.advance(Duration::from_secs(2));
        talk(&clock, &mut a, &mut b).await;
        assert_eq!(a.store().out_lane(&out).await.unwrap().unwrap().waiting(), 0);
    }
}
