//! What every transport must do, as tests that each of them runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::dynamo::Dynamo;
use crate::dynamo::testing::embedded;
use crate::relay::engine::Engine;
use crate::relay::envelope::Kind;
use crate::relay::frame::{Content, Data, FRAME_MAX, Frame, Hello, Lane};
use crate::relay::here::Work;
use crate::relay::memory::{Air, Room, Weather};
use crate::relay::name::{BotName, Chain, EnvelopeId, Pattern};
use crate::relay::publish::{Draft, publish};
use crate::relay::routes::{EVENT_LIFE, Link, Routes, TopicRule, Waiting};
use crate::relay::run::{Act, Acted, Failure, Fresh, run};
use crate::relay::store::{TABLES, Tables};
use crate::relay::table::ByTable;
use crate::relay::transport::{Arrival, Lines, Transport, wire};
use crate::tasks::Tasks;

/// Longer than any of it takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

fn name(text: &str) -> BotName {
    BotName::new(text).unwrap()
}

fn names(list: &[&str]) -> BTreeSet<BotName> {
    list.iter().map(|text| name(text)).collect()
}

/// Makes the transport of a bot with these peers.
type Make<'a> = dyn Fn(BotName, BTreeSet<BotName>) -> Box<dyn Transport> + 'a;

struct End {
    lines: Lines,
    /// What came before it was connected.
    early: VecDeque<Arrival>,
    shutdown: CancellationToken,
}

/// Transports that run, and end with the test.
struct Hall<'a> {
    make: &'a Make<'a>,
    tasks: Tasks,
}

impl<'a> Hall<'a> {
    fn new(make: &'a Make<'a>) -> Self {
        Self { make, tasks: Tasks::new() }
    }

    /// A bot that is connected.
    async fn join(&self, me: &str, peers: &[&str]) -> End {
        let (mut wire, lines) = wire(peers.len());
        let shutdown = self.tasks.shutdown().child_token();
        let (transport, told) = ((self.make)(name(me), names(peers)), shutdown.clone());
        self.tasks.spawn_job("transport", async move { transport.run(&mut wire, told).await.unwrap() });
        let mut end = End { lines, early: VecDeque::new(), shutdown };
        let connecting = async {
            loop {
                match end.lines.incoming.recv().await.unwrap() {
                    Arrival::Connected => return,
                    other => end.early.push_back(other),
                }
            }
        };
        timeout(LIMIT, connecting).await.expect("it did not connect");
        end
    }

    async fn end(self) {
        self.tasks.stop();
        assert!(self.tasks.wait(Duration::from_secs(2)).await, "a transport did not end");
    }
}

impl End {
    async fn say(&self, to: &str, frame: Frame) {
        self.lines.outgoing.send((name(to), frame)).await.unwrap();
    }

    /// The next arrival of a kind, whatever else happens.
    async fn until<T>(&mut self, wanted: impl Fn(Arrival) -> Option<T>) -> T {
        let hearing = async {
            loop {
                let arrival = match self.early.pop_front() {
                    Some(early) => early,
                    None => self.lines.incoming.recv().await.unwrap(),
                };
                if let Some(found) = wanted(arrival) {
                    return found;
                }
            }
        };
        timeout(LIMIT, hearing).await.expect("nothing was heard")
    }

    /// The next frame.
    async fn hear(&mut self) -> (String, Frame) {
        self.until(|arrival| match arrival {
            Arrival::Frame { from, frame } => Some((from.to_string(), frame)),
            _ => None,
        })
        .await
    }
}

fn data(number: u64, text: String) -> Frame {
    let (id, path) = (EnvelopeId::of(&name("a"), &number.to_string(), 0), vec![name("a")]);
    let content = Content::Envelope { text, signature: None, path };
    let (lane, before) = (Lane::Events, Chain::start());
    Frame::Data(Data { lane, epoch: 1, base: 0, number, before, id, content })
}

fn number(frame: &Frame) -> u64 {
    match frame {
        Frame::Data(data) => data.number,
        other => panic!("{other:?} has no number"),
    }
}

async fn frames_arrive_unchanged(make: &Make<'_>) {
    let hall = Hall::new(make);
    let (a, mut b) = (hall.join("a", &["b"]).await, hall.join("b", &["a"]).await);
    let odd: String =
        ('\0'..='\u{2ff}').chain(['\u{fffe}', '\u{ffff}', '\u{10ffff}', '"', '\\', '<']).collect();
    let large = "x".repeat(FRAME_MAX - 1_000);
    for (at, text) in ["x", &odd, &large].into_iter().enumerate() {
        let frame = data(at as u64, text.to_owned());
        a.say("b", frame.clone()).await;
        assert_eq!(b.hear().await, ("a".to_owned(), frame));
    }
    let skip = Hello { v_min: 1, v_max: 1, clock: Timestamp::from_millis(5), closing: false };
    a.say("b", Frame::Hello(skip.clone())).await;
    assert_eq!(b.hear().await.1, Frame::Hello(skip));
    hall.end().await;
}

async fn a_frame_that_is_too_large_stops_nothing(make: &Make<'_>) {
    let hall = Hall::new(make);
    let (a, mut b) = (hall.join("a", &["b"]).await, hall.join("b", &["a"]).await);
    a.say("b", data(0, "x".repeat(FRAME_MAX))).await;
    a.say("b", data(1, "x".to_owned())).await;
    assert_eq!(number(&b.hear().await.1), 1);
    hall.end().await;
}

async fn the_sender_is_who_it_is(make: &Make<'_>) {
    let hall = Hall::new(make);
    let (a, stranger) = (hall.join("a", &["b"]).await, hall.join("stranger", &["b"]).await);
    let mut b = hall.join("b", &["a", "c"]).await;
    let c = hall.join("c", &["b"]).await;
    stranger.say("b", data(0, "x".to_owned())).await;
    c.say("b", data(1, "x".to_owned())).await;
    let (from, frame) = b.hear().await;
    assert_eq!((from.as_str(), number(&frame)), ("c", 1));
    a.say("b", data(2, "x".to_owned())).await;
    let (from, frame) = b.hear().await;
    assert_eq!((from.as_str(), number(&frame)), ("a", 2), "a stranger is not heard");
    hall.end().await;
}

async fn who_does_not_listen_stops_nobody(make: &Make<'_>) {
    let hall = Hall::new(make);
    let a = hall.join("a", &["b", "c"]).await;
    let (_deaf, mut c) = (hall.join("b", &["a"]).await, hall.join("c", &["a"]).await);
    for number in 0..600 {
        a.say("b", data(number, "x".to_owned())).await;
    }
    a.say("c", data(7, "x".to_owned())).await;
    assert_eq!(number(&c.hear().await.1), 7);
    hall.end().await;
}

async fn many_frames_both_ways_do_not_stall(make: &Make<'_>) {
    /// Fewer than wait on one side: none is dropped.
    const MANY: u64 = 200;
    let hall = Hall::new(make);
    let (mut a, mut b) = (hall.join("a", &["b"]).await, hall.join("b", &["a"]).await);
    for number in 0..MANY {
        a.say("b", data(number, "x".to_owned())).await;
        b.say("a", data(number, "y".to_owned())).await;
    }
    for end in [&mut a, &mut b] {
        let mut heard = BTreeSet::new();
        while heard.len() < MANY as usize {
            heard.insert(number(&end.hear().await.1));
        }
    }
    hall.end().await;
}

async fn an_absent_peer_loses_what_is_not_kept(make: &Make<'_>) {
    let hall = Hall::new(make);
    let keeps = make(name("a"), names(&["b"])).limits().keeps;
    let a = hall.join("a", &["b", "c"]).await;
    let mut c = hall.join("c", &["a"]).await;
    a.say("b", data(0, "kept?".to_owned())).await;
    // When it has come to another, what was said before is out as well.
    a.say("c", data(0, "x".to_owned())).await;
    c.hear().await;
    let mut b = hall.join("b", &["a"]).await;
    if keeps {
        assert_eq!(b.hear().await.1, data(0, "kept?".to_owned()));
    }
    a.say("b", data(1, "x".to_owned())).await;
    while number(&b.hear().await.1) != 1 {}
    b.shutdown.cancel();
    hall.end().await;
}

/// Publishes texts, and tells what it acted upon.
struct Recorder(watch::Sender<Vec<String>>);

impl Act for Recorder {
    fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Acted, Failure>> {
        let key = work.sealed.envelope().key.clone();
        self.0.send_modify(|acted| acted.push(key));
        async { Ok(Acted::default()) }.boxed()
    }
}

fn routes(me: &str, to: &[&str], from: &[&str]) -> Routes {
    let all = || Pattern::new("**").unwrap();
    let links = |peers: &[&str]| -> BTreeMap<BotName, Link> {
        peers.iter().map(|peer| (name(peer), Link { topics: vec![all()], vouch: true })).collect()
    };
    let topics = vec![TopicRule { topics: all(), kind: Kind::Event, life: EVENT_LIFE }];
    let waiting = Waiting::default();
    let (keys, key) = (BTreeMap::new(), None);
    Routes { me: name(me), topics, to: links(to), from: links(from), acts: true, waiting, keys, key }
}

fn draft(key: &str) -> Draft {
    Draft { key: key.to_owned(), ..Draft::test("announce", key, Clock::system().now()) }
}

/// Three bots in a chain, with cycles: what the first says, all act upon once and in order.
async fn messages_arrive_once_and_in_order(make: &Make<'_>) {
    const MESSAGES: usize = 20;
    let tasks = Tasks::new();
    let mut heard = Vec::new();
    let mut first = None;
    for (me, peers) in [("a", &["b"][..]), ("b", &["a", "c"]), ("c", &["b"])] {
        let routes = routes(me, peers, peers);
        let store = Tables(embedded(TABLES).await);
        let (mut wire, lines) = wire(peers.len());
        let transport = make(name(me), names(peers));
        let engine = Engine::new(store.clone(), routes.clone(), transport.limits().keeps, 1);
        let (acted, acts) = watch::channel(Vec::new());
        let fresh = Arc::new(Fresh::default());
        let shutdown = tasks.shutdown();
        let told = shutdown.clone();
        tasks.spawn_job("transport", async move { transport.run(&mut wire, told).await.unwrap() });
        let (clock, actor) = (Clock::system(), Recorder(acted));
        tasks.spawn("relay", run(engine, clock, actor, lines, fresh.clone(), shutdown, |_, _| {}));
        heard.push(acts);
        first.get_or_insert((store, routes, fresh));
    }
    let (store, routes, fresh) = first.unwrap();
    let expected: Vec<_> = (0..MESSAGES).map(|n| format!("message {n}")).collect();
    for text in &expected {
        publish(&store, &routes, Clock::system().now(), draft(text)).await.unwrap();
        fresh.queued();
    }
    for acts in &mut heard {
        let all = acts.wait_for(|acted| acted.len() >= MESSAGES);
        let acted = timeout(LIMIT, all).await.expect("not all messages came").unwrap().clone();
        assert_eq!(acted, expected);
    }
    tasks.stop();
    assert!(tasks.wait(LIMIT).await && !tasks.failed());
}

macro_rules! conformance {
    ($module:ident, $make:expr; $($test:ident)*) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $test() {
                    let make = $make.await;
                    super::$test(&make).await;
                }
            )*
        }
    };
}

macro_rules! every_transport {
    ($($test:ident)*) => {
        conformance! { memory, super::in_memory(); $($test)* }
        conformance! { table, super::by_table(); $($test)* }
        // On a real server, see `engines/test.sh`.
        #[cfg(feature = "xmpp")]
        conformance! { xmpp, super::by_xmpp(false); $($test)* }
        #[cfg(feature = "xmpp")]
        conformance! { xmpp_tls, super::by_xmpp(true); $($test)* }
    };
}

every_transport! {
    frames_arrive_unchanged
    a_frame_that_is_too_large_stops_nothing
    the_sender_is_who_it_is
    who_does_not_listen_stops_nobody
    many_frames_both_ways_do_not_stall
    an_absent_peer_loses_what_is_not_kept
    messages_arrive_once_and_in_order
}

type Maker = Box<dyn Fn(BotName, BTreeSet<BotName>) -> Box<dyn Transport>>;

fn in_memory() -> impl Future<Output = Maker> {
    let room = Room::new(Air::new(1, Weather::default()), Clock::system());
    let make: Maker = Box::new(move |me, peers| Box::new(room.transport(me, peers)));
    std::future::ready(make)
}

async fn by_table() -> Maker {
    let dynamo: Dynamo = embedded(TABLES).await;
    Box::new(move |me, peers| Box::new(ByTable::new(dynamo.clone(), me, peers)))
}

/// With a server of its own, which ends with it.
#[cfg(feature = "xmpp")]
async fn by_xmpp(tls: bool) -> Maker {
    let server = server::Server::start(tls, &["a", "b", "c", "stranger"]).await;
    Box::new(move |me, peers| {
        let settings = xmpp_settings(&server, &me, peers);
        Box::new(crate::relay::xmpp::talk::ByXmpp::new(settings).unwrap())
    })
}

#[cfg(feature = "xmpp")]
#[path = "../../tests/relay/server.rs"]
mod server;

#[cfg(feature = "xmpp")]
fn xmpp_settings(
    server: &server::Server,
    me: &BotName,
    peers: BTreeSet<BotName>,
) -> crate::relay::xmpp::Settings {
    use crate::relay::xmpp::{Settings, Tls};
    let address = |name: &BotName| format!("{name}@{}", server::DOMAIN);
    Settings {
        server: server.address(),
        jid: address(me),
        password: server::PASSWORD.into(),
        tls: if server.tls { Tls::StartTls } else { Tls::Off },
        ca: server.ca(),
        peers: peers.iter().map(|peer| (peer.clone(), address(peer))).collect(),
    }
}

/// What an operator has to mend ends the transport, and says what it is.
#[cfg(feature = "xmpp")]
mod xmpp_refuses {
    use super::*;
    use crate::relay::transport::TransportError;
    use crate::relay::xmpp::talk::ByXmpp;
    use crate::relay::xmpp::{Settings, Tls};

    async fn end_of(settings: Settings) -> Result<(), TransportError> {
        let (mut wire, _lines) = wire(1);
        let transport = Box::new(ByXmpp::new(settings)?);
        timeout(Duration::from_secs(15), transport.run(&mut wire, CancellationToken::new()))
            .await
            .expect("it says at once what is wrong")
    }

    #[tokio::test]
    async fn what_only_an_operator_can_mend() {
        let server = server::Server::start(true, &["a"]).await;
        let good = || xmpp_settings(&server, &name("a"), names(&["b"]));
        let wrong = Settings { password: "wrong".into(), ..good() };
        assert!(matches!(end_of(wrong).await, Err(TransportError::Credentials(_))));
        let nobody = Settings { jid: format!("nobody@{}", server::DOMAIN), ..good() };
        assert!(matches!(end_of(nobody).await, Err(TransportError::Credentials(_))));
        let untrusting = Settings { ca: None, ..good() };
        assert!(matches!(end_of(untrusting).await, Err(TransportError::Insecure(_))));
        let elsewhere = Settings { server: "192.0.2.1:5222".to_owned(), tls: Tls::Off, ..good() };
        assert!(matches!(end_of(elsewhere).await, Err(TransportError::Insecure(_))));
        let unreadable = Settings { ca: Some("/nowhere/ca.pem".into()), ..good() };
        assert!(matches!(end_of(unreadable).await, Err(TransportError::Config(_))));
        let plain = server::Server::start(false, &["a"]).await;
        let no_tls = Settings { tls: Tls::StartTls, ..xmpp_settings(&plain, &name("a"), names(&["b"])) };
        assert!(matches!(end_of(no_tls).await, Err(TransportError::Insecure(_))));
    }

    /// Two programs with one account: each throws the other out, and both give up soon.
    #[tokio::test]
    async fn an_account_that_two_use() {
        let server = server::Server::start(false, &["a"]).await;
        let good = || xmpp_settings(&server, &name("a"), names(&["b"]));
        let ends = async {
            tokio::select! { end = run(good()) => end, end = run(good()) => end }
        };
        let end = timeout(LIMIT, ends).await.expect("they fought without end");
        assert!(matches!(end, Err(TransportError::Taken(_))), "{end:?}");
    }

    async fn run(settings: Settings) -> Result<(), TransportError> {
        let (mut wire, mut lines) = wire(1);
        let transport = Box::new(ByXmpp::new(settings)?);
        let listening = async { while lines.incoming.recv().await.is_some() {} };
        tokio::select! {
            end = transport.run(&mut wire, CancellationToken::new()) => end,
            () = listening => unreachable!("the transport keeps its end"),
        }
    }

    /// An account of a peer, or of a stranger, that says what no bot of ours would.
    #[tokio::test]
    async fn what_is_no_frame_is_told_and_stops_nothing() {
        use base64::Engine as _;
        use futures::SinkExt;
        use tokio_xmpp::Stanza;
        use tokio_xmpp::jid::Jid;
        use tokio_xmpp::parsers::message::{Lang, Message};
        use tokio_xmpp::xmlstream::XmppStreamElement;

        use crate::relay::xmpp::connect::Account;

        let server = server::Server::start(false, &["a", "b", "stranger"]).await;
        let of_b = xmpp_settings(&server, &name("b"), names(&["a"]));
        let make = move |_: BotName, _: BTreeSet<BotName>| -> Box<dyn Transport> {
            Box::new(ByXmpp::new(of_b.clone()).unwrap())
        };
        let hall = Hall::new(&make);
        let mut b = hall.join("b", &["a"]).await;
        let said = |body: &str| {
            let to = Jid::new(&format!("b@{}", server::DOMAIN)).unwrap();
            let message = Message::chat(Some(to)).with_body(Lang::new(), body.to_owned());
            XmppStreamElement::Stanza(Stanza::Message(message))
        };
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let mut sessions = Vec::new();
        for who in ["a", "stranger"] {
            let settings = xmpp_settings(&server, &name(who), names(&["b"]));
            let session = Account::new(&settings).unwrap().connect(&settings).await;
            sessions.push(session.unwrap_or_else(|_| panic!("{who} is not let in")));
        }
        let bodies = [
            "x".to_owned(),
            encode(b"{}"),
            encode(b"\xff\xfe"),
            encode(b"{\"data\":{\"lane\":\"events\"}}"),
            encode(&vec![b'x'; FRAME_MAX + 1]),
            "x".repeat(200_000),
        ];
        for body in &bodies {
            sessions[0].send(&said(body)).await.unwrap();
            let from = b.until(|arrival| match arrival {
                Arrival::Unreadable(from) => Some(from),
                _ => None,
            });
            assert_eq!(from.await, name("a"));
        }
        let good = encode(data(5, "x".to_owned()).write().unwrap().as_bytes());
        sessions[1].send(&said(&good)).await.unwrap();
        b.until(|arrival| matches!(arrival, Arrival::Stranger).then_some(())).await;
        sessions[0].send(&said(&good)).await.unwrap();
        assert_eq!(number(&b.hear().await.1), 5);
        // One that cannot be read says nothing about those beside it.
        let next = encode(data(6, "x".to_owned()).write().unwrap().as_bytes());
        sessions[0].send(&said(&format!("{good} x {next}"))).await.unwrap();
        assert_eq!(number(&b.hear().await.1), 5);
        b.until(|arrival| matches!(arrival, Arrival::Unreadable(_)).then_some(())).await;
        assert_eq!(number(&b.hear().await.1), 6);
        hall.end().await;
    }

    /// The server ends without warning, and is back: so are we.
    #[tokio::test]
    async fn it_comes_back_by_itself() {
        let mut server = server::Server::start(false, &["a", "b"]).await;
        let settings = |me: &str, peer: &str| xmpp_settings(&server, &name(me), names(&[peer]));
        let settings = BTreeMap::from([("a", settings("a", "b")), ("b", settings("b", "a"))]);
        let make = move |me: BotName, _: BTreeSet<BotName>| -> Box<dyn Transport> {
            Box::new(ByXmpp::new(settings[me.as_str()].clone()).unwrap())
        };
        let hall = Hall::new(&make);
        let (mut a, mut b) = (hall.join("a", &["b"]).await, hall.join("b", &["a"]).await);
        for number in 0..3 {
            a.say("b", data(number, "x".to_owned())).await;
            assert_eq!(super::number(&b.hear().await.1), number);
            server.kill().await;
            for end in [&mut a, &mut b] {
                end.until(|arrival| matches!(arrival, Arrival::Lost(_)).then_some(())).await;
            }
            server.start_again().await;
            for end in [&mut a, &mut b] {
                end.until(|arrival| matches!(arrival, Arrival::Connected).then_some(())).await;
            }
        }
        hall.end().await;
    }
}
