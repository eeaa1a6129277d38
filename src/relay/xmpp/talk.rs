//! [`ByXmpp`]: frames as messages of one account.
//!
//! One task owns the stream. `Data` goes as a chat message, which servers keep for a bot that is away; `Hello`
//! and `Ack` as headlines, which they do not: an old one says nothing. `Data` that waits goes together in one
//! message: much of what a message costs a server does not depend on its size. The server's word on delivery counts for
//! nothing, so there is no stream management: each connection is a fresh session, and what was lost with the
//! last one is sent again by the lanes above.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::{BoxFuture, poll_fn};
use futures::{FutureExt, Sink, SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_xmpp::Stanza;
use tokio_xmpp::jid::{BareJid, Jid};
use tokio_xmpp::minidom::Element;
use tokio_xmpp::parsers::iq::Iq;
use tokio_xmpp::parsers::message::{Id, Lang, Message, MessageType};
use tokio_xmpp::parsers::ping::Ping;
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::parsers::stanza_error::{DefinedCondition, ErrorType, StanzaError};
use tokio_xmpp::parsers::stream_error::DefinedCondition as StreamCondition;
use tokio_xmpp::xmlstream::{FallibleStreamElement, ReadError, XmppStreamElement};
use tracing::{debug, warn};

use crate::relay::frame::{FRAME_MAX, Frame};
use crate::relay::name::BotName;
use crate::relay::transport::{Arrival, Limits, Transport, TransportError, Wire};
use crate::relay::xmpp::Settings;
use crate::relay::xmpp::connect::{Account, Session, Trouble, bare};

/// A server that has not logged us in by then is tried anew.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Pauses between two tries, also after a connection that worked: two bots with one account must not throw each
/// other out without end.
const PAUSE_SOONEST: Duration = Duration::from_millis(500);
const PAUSE_LATEST: Duration = Duration::from_secs(30);

/// A connection that lasted for so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// So often within this time somebody else had our resource: the account is used by two bots.
const CONFLICTS_MAX: usize = 5;
const CONFLICTS_WITHIN: Duration = Duration::from_secs(60);

/// Stanzas read in one go before something is sent.
const READ_AT_ONCE: usize = 64;

/// Answers to a server's questions that wait; it asks one now and then.
const ANSWERS_MAX: usize = 64;

/// How long saying goodbye may take: half of what a transport has for its end.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// The first question to a server.
const READY: &str = "ready";

/// Servers keep a message with it for who is away, and in no archive.
const HINTS: &str = "urn:xmpp:hints";

/// Base 64 of the largest frame: of what servers take, the least is 64 KiB.
const BODY_MAX: usize = FRAME_MAX.div_ceil(3) * 4;

/// Frames go together up to this size. Prosody takes 8 KiB from a socket at once and then pauses for a millisecond,
/// if it has nothing else to do: the end of a larger message would wait for that again and again.
const TOGETHER_MAX: usize = 7_680;

/// Between two frames of one message. No letter of base 64.
const BETWEEN: char = ' ';

/// The transport of one bot.
pub struct ByXmpp {
    settings: Settings,
    account: Account,
    names: BTreeMap<BareJid, BotName>,
    addresses: BTreeMap<BotName, BareJid>,
}

/// What goes over a connection before what waits for it.
struct Pending {
    answers: VecDeque<XmppStreamElement>,
    /// It did not go with the one before.
    next: Option<Letter>,
}

/// A frame on its way to an address, and perhaps more of its kind.
struct Letter {
    to: BareJid,
    first: Frame,
    body: String,
}

/// Why a connection is over.
enum End {
    Lost(String),
    Conflict,
    /// Nobody wants to send any more.
    Done,
}

impl ByXmpp {
    /// Connects to nothing yet.
    pub fn new(settings: Settings) -> Result<Self, TransportError> {
        let account = Account::new(&settings)?;
        let mut addresses = BTreeMap::new();
        for (name, jid) in &settings.peers {
            let address = BareJid::new(jid).map_err(|error| {
                TransportError::Config(format!("{jid:?} of {name} is no address: {error}"))
            })?;
            addresses.insert(name.clone(), address);
        }
        let names: BTreeMap<_, _> = addresses.iter().map(|(name, jid)| (jid.clone(), name.clone())).collect();
        if names.len() < addresses.len() {
            return Err(TransportError::Config("two bots have one address".to_owned()));
        }
        Ok(Self { settings, account, names, addresses })
    }

    async fn talk(&self, wire: &mut Wire, shutdown: CancellationToken) -> Result<(), TransportError> {
        let (mut pause, mut conflicts) = (PAUSE_SOONEST, VecDeque::new());
        loop {
            let connecting = timeout(CONNECT_WITHIN, self.account.connect(&self.settings));
            let Some(connected) = deaf(&mut wire.outgoing, &shutdown, connecting).await else {
                return Ok(());
            };
            let slow = || Trouble::Passing("the server did not log us in in time".to_owned());
            let end = match connected.unwrap_or_else(|_| Err(slow())) {
                Ok(mut session) => {
                    let since = Instant::now();
                    let mut pending = Pending { answers: VecDeque::from([question(READY)]), next: None };
                    let talking = poll_fn(|cx| self.turn(&mut session, wire, &mut pending, cx));
                    let Some(end) = shutdown.run_until_cancelled(talking).await else {
                        let _ = timeout(GOODBYE_WITHIN, self.leave(&mut session, wire, &mut pending)).await;
                        return Ok(());
                    };
                    if since.elapsed() >= GOOD {
                        pause = PAUSE_SOONEST;
                    }
                    end
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Conflict) => End::Conflict,
                Err(Trouble::Passing(why)) => End::Lost(why),
            };
            match end {
                End::Done => return Ok(()),
                End::Lost(why) => tell(&wire.incoming, Arrival::Lost(why)),
                End::Conflict => self.count_conflict(&mut conflicts)?,
            }
            let spread = pause.mul_f64(0.8 + fastrand::f64() * 0.4);
            if deaf(&mut wire.outgoing, &shutdown, sleep(spread)).await.is_none() {
                return Ok(());
            }
            pause = (pause * 2).min(PAUSE_LATEST);
        }
    }

    fn count_conflict(&self, conflicts: &mut VecDeque<Instant>) -> Result<(), TransportError> {
        let now = Instant::now();
        conflicts.retain(|at| now.duration_since(*at) < CONFLICTS_WITHIN);
        conflicts.push_back(now);
        if conflicts.len() < CONFLICTS_MAX {
            return Ok(());
        }
        let why = format!("{} is logged in elsewhere, again and again", self.account.jid);
        Err(TransportError::Taken(why))
    }

    /// Reads what there is and writes what goes, without one waiting for the other: a server that is busy
    /// writing to us may not read.
    fn turn(
        &self,
        session: &mut Session,
        wire: &mut Wire,
        pending: &mut Pending,
        cx: &mut Context<'_>,
    ) -> Poll<End> {
        let lost = |why: &dyn std::fmt::Display| Poll::Ready(End::Lost(why.to_string()));
        for turn in 0..READ_AT_ONCE {
            match session.poll_next_unpin(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return lost(&"the server closed the connection"),
                Poll::Ready(Some(item)) => {
                    if let Some(end) = self.hear(item, &wire.incoming, &mut pending.answers) {
                        return Poll::Ready(end);
                    }
                }
            }
            if turn + 1 == READ_AT_ONCE {
                cx.waker().wake_by_ref();
            }
        }
        loop {
            match Sink::<&XmppStreamElement>::poll_ready(Pin::new(&mut *session), cx) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return lost(&error),
                Poll::Ready(Ok(())) => {}
            }
            let element = match self.poll_outgoing(&mut wire.outgoing, pending, cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return Poll::Ready(End::Done),
                Poll::Ready(Some(element)) => element,
            };
            if let Err(error) = session.start_send_unpin(&element) {
                return lost(&error);
            }
        }
        match Sink::<&XmppStreamElement>::poll_flush(Pin::new(session), cx) {
            Poll::Ready(Err(error)) => lost(&error),
            _ => Poll::Pending,
        }
    }

    /// What goes next; `None`: nobody wants to send any more.
    fn poll_outgoing(
        &self,
        outgoing: &mut mpsc::Receiver<(BotName, Frame)>,
        pending: &mut Pending,
        cx: &mut Context<'_>,
    ) -> Poll<Option<XmppStreamElement>> {
        if let Some(answer) = pending.answers.pop_front() {
            return Poll::Ready(Some(answer));
        }
        let first = match pending.next.take() {
            Some(next) => Some(next),
            None => ready!(self.poll_letter(outgoing, cx)),
        };
        let Some(mut letter) = first else { return Poll::Ready(None) };
        while let Poll::Ready(Some(next)) = self.poll_letter(outgoing, cx) {
            if !letter.takes(&next) {
                pending.next = Some(next);
                break;
            }
            letter.body.push(BETWEEN);
            letter.body.push_str(&next.body);
        }
        Poll::Ready(Some(letter.message()))
    }

    fn poll_letter(
        &self,
        outgoing: &mut mpsc::Receiver<(BotName, Frame)>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Letter>> {
        loop {
            let Some((peer, frame)) = ready!(outgoing.poll_recv(cx)) else { return Poll::Ready(None) };
            let Some(to) = self.addresses.get(&peer).cloned() else { continue };
            match frame.write() {
                // JSON may hold characters that XML forbids.
                Ok(text) => {
                    return Poll::Ready(Some(Letter { to, body: STANDARD.encode(text), first: frame }));
                }
                Err(why) => warn!(%peer, %why, "a frame cannot be sent"),
            }
        }
    }

    /// What the server said; an end if that is one.
    fn hear(
        &self,
        item: Result<FallibleStreamElement, ReadError>,
        incoming: &mpsc::Sender<Arrival>,
        answers: &mut VecDeque<XmppStreamElement>,
    ) -> Option<End> {
        let element = match item {
            Ok(FallibleStreamElement::Ok(element)) => element,
            // Somebody sent it, perhaps to make us stumble.
            Ok(FallibleStreamElement::Err(why)) => {
                debug!(%why, "a stanza cannot be read");
                return None;
            }
            Err(ReadError::SoftTimeout) => {
                answers.push_back(question("ping"));
                return None;
            }
            Err(ReadError::ParseError(why)) => {
                debug!(%why, "an element cannot be read");
                return None;
            }
            Err(error) => return Some(End::Lost(error.to_string())),
        };
        match element {
            XmppStreamElement::Stanza(Stanza::Message(message)) => self.message_came(&message, incoming),
            // Now the server has heard of our presence: others reach us.
            XmppStreamElement::Stanza(Stanza::Iq(Iq::Result { id, .. } | Iq::Error { id, .. }))
                if id == READY =>
            {
                tell(incoming, Arrival::Connected);
            }
            XmppStreamElement::Stanza(Stanza::Iq(iq)) if answers.len() < ANSWERS_MAX => {
                answers.extend(answer(iq));
            }
            XmppStreamElement::StreamError(error) => {
                return Some(match error.0.condition {
                    StreamCondition::Conflict => End::Conflict,
                    other => End::Lost(format!("the server ended the stream: {other}")),
                });
            }
            _ => {}
        }
        None
    }

    fn message_came(&self, message: &Message, incoming: &mpsc::Sender<Arrival>) {
        let Some(from) = &message.from else { return };
        // The server has checked it: it is who logged in.
        let Some(from) = self.names.get(&bare(from)).cloned() else {
            return tell(incoming, Arrival::Stranger);
        };
        match message.type_ {
            MessageType::Error => tell(incoming, Arrival::Undeliverable(from)),
            MessageType::Chat | MessageType::Headline => {
                for frame in frames(message) {
                    let from = from.clone();
                    match frame {
                        Ok(frame) => tell(incoming, Arrival::Frame { from, frame }),
                        Err(why) => {
                            debug!(peer = %from, why, "a frame cannot be read");
                            tell(incoming, Arrival::Unreadable(from));
                        }
                    }
                }
            }
            _ => tell(incoming, Arrival::Unreadable(from)),
        }
    }

    /// Sends what is left and says goodbye.
    async fn leave(&self, session: &mut Session, wire: &mut Wire, pending: &mut Pending) {
        loop {
            let next = poll_fn(|cx| self.poll_outgoing(&mut wire.outgoing, pending, cx));
            let Some(Some(element)) = next.now_or_never() else { break };
            if session.send(&element).await.is_err() {
                return;
            }
        }
        let gone = XmppStreamElement::Stanza(Stanza::Presence(Presence::unavailable()));
        if session.send(&gone).await.is_ok() {
            let _ = session.shutdown().await;
        }
    }
}

impl Transport for ByXmpp {
    fn limits(&self) -> Limits {
        Limits { frame_bytes: FRAME_MAX, keeps: true }
    }

    fn run<'a>(
        self: Box<Self>,
        wire: &'a mut Wire,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        async move { self.talk(wire, shutdown).await }.boxed()
    }
}

/// Asks the server for an answer, whatever it is.
fn question(id: &str) -> XmppStreamElement {
    XmppStreamElement::Stanza(Stanza::Iq(Iq::from_get(id, Ping)))
}

impl Letter {
    /// Whether another may go with it.
    fn takes(&self, other: &Self) -> bool {
        let data = matches!((&self.first, &other.first), (Frame::Data(_), Frame::Data(_)));
        data && self.to == other.to && self.body.len() + BETWEEN.len_utf8() + other.body.len() <= TOGETHER_MAX
    }

    fn message(self) -> XmppStreamElement {
        let to = Some(Jid::from(self.to));
        let message = match self.first {
            Frame::Data(data) => {
                let mut message = Message::chat(to);
                message.id = Some(Id(format!("{}.{}.{}", data.lane.name(), data.epoch, data.number)));
                message.payloads = vec![Element::bare("no-permanent-store", HINTS)];
                message
            }
            Frame::Hello(_) | Frame::Ack(_) => Message::headline(to),
        };
        XmppStreamElement::Stanza(Stanza::Message(message.with_body(Lang::new(), self.body)))
    }
}

/// The frames in a message, each for itself: one that cannot be read says nothing about the others.
fn frames(message: &Message) -> Vec<Result<Frame, String>> {
    let read = |text: &str| {
        let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&bytes).map_err(|error| error.to_string())?;
        Frame::read(text).map_err(|error| error.to_string())
    };
    match message.bodies.values().next() {
        None => vec![Err("it has no body".to_owned())],
        Some(body) if body.len() > BODY_MAX => {
            vec![Err(format!("it has {} bytes, more than {BODY_MAX}", body.len()))]
        }
        Some(body) => body.split(BETWEEN).map(read).collect(),
    }
}

/// What is to be answered: a server that hears nothing takes us for dead.
fn answer(iq: Iq) -> Option<XmppStreamElement> {
    let (from, id, reply) = match iq {
        Iq::Get { from, id, payload, .. } if Ping::try_from(payload.clone()).is_ok() => (from, id, None),
        Iq::Get { from, id, .. } | Iq::Set { from, id, .. } => {
            let condition = DefinedCondition::ServiceUnavailable;
            (from, id, Some(StanzaError::new(ErrorType::Cancel, condition, "en", "I only relay")))
        }
        Iq::Result { .. } | Iq::Error { .. } => return None,
    };
    let iq = match reply {
        None => Iq::Result { from: None, to: from, id, payload: None },
        Some(error) => Iq::Error { from: None, to: from, id, payload: None, error },
    };
    Some(XmppStreamElement::Stanza(Stanza::Iq(iq)))
}

/// Full: a frame comes again, and the rest is only told.
fn tell(incoming: &mpsc::Sender<Arrival>, arrival: Arrival) {
    let _ = incoming.try_send(arrival);
}

/// Does something while what is to be sent is thrown away, so that nobody waits for a server that is away;
/// `None`: there is nothing more to do.
async fn deaf<T>(
    outgoing: &mut mpsc::Receiver<(BotName, Frame)>,
    shutdown: &CancellationToken,
    future: impl Future<Output = T>,
) -> Option<T> {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return None,
            done = &mut future => return Some(done),
            said = outgoing.recv() => said.map(drop)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::relay::frame::{Content, Data, FRAME_VERSION, Hello, Lane};
    use crate::relay::name::{Chain, EnvelopeId};
    use crate::relay::xmpp::Tls;

    fn name(text: &str) -> BotName {
        BotName::new(text).unwrap()
    }

    fn data(number: u64, bytes: usize) -> Frame {
        let id = EnvelopeId::of(&name("a"), &number.to_string(), 0);
        let content = Content::Envelope { text: "x".repeat(bytes), signature: None, path: vec![name("a")] };
        let (lane, before) = (Lane::Events, Chain::start());
        Frame::Data(Data { lane, epoch: 1, base: 0, number, before, id, content })
    }

    fn transport() -> ByXmpp {
        let peers = ["b", "c"].map(|peer| (name(peer), format!("{peer}@localhost")));
        ByXmpp::new(Settings {
            server: "127.0.0.1:1".to_owned(),
            jid: "a@localhost".to_owned(),
            password: "x".into(),
            tls: Tls::Off,
            ca: None,
            peers: BTreeMap::from(peers),
        })
        .unwrap()
    }

    #[test]
    fn data_that_waits_for_one_peer_goes_together_in_its_order() {
        let hello = || {
            let (v_min, v_max, clock) = (FRAME_VERSION, FRAME_VERSION, Timestamp::from_seconds(5));
            Frame::Hello(Hello { v_min, v_max, clock, closing: false })
        };
        let (to, mut outgoing) = mpsc::channel(20);
        let all = [
            ("b", data(0, 9)),
            ("b", data(1, 9)),
            ("stranger", data(9, 9)),
            ("b", data(2, 9)),
            ("c", data(0, 9)),
            ("b", data(3, 9)),
            ("b", hello()),
            ("b", hello()),
            ("b", data(4, 2_000)),
            ("b", data(5, FRAME_MAX)),
            ("b", data(6, 2_000)),
            ("b", data(7, 2_000)),
            ("b", data(8, 20_000)),
            ("b", data(9, 9)),
        ];
        all.into_iter().for_each(|(peer, frame)| to.try_send((name(peer), frame)).unwrap());
        let (transport, mut pending) = (transport(), Pending { answers: VecDeque::new(), next: None });
        let mut messages = Vec::new();
        loop {
            let next = poll_fn(|cx| transport.poll_outgoing(&mut outgoing, &mut pending, cx));
            let Some(Some(XmppStreamElement::Stanza(Stanza::Message(message)))) = next.now_or_never() else {
                break;
            };
            let said = frames(&message).into_iter().map(|frame| match frame.unwrap() {
                Frame::Data(data) => data.number.to_string(),
                Frame::Hello(_) | Frame::Ack(_) => "hello".to_owned(),
            });
            let said: Vec<_> = said.collect();
            messages.push(format!("{}: {}", message.to.unwrap().node().unwrap(), said.join(" ")));
        }
        assert_eq!(
            messages,
            ["b: 0 1 2", "c: 0", "b: 3", "b: hello", "b: hello", "b: 4 6", "b: 7", "b: 8", "b: 9"]
        );
    }
}
