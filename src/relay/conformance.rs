//! What every transport must do, as tests that each of them runs.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
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
use crate::relay::run::{Act, Failure, run};
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

    fn join(&self, me: &str, peers: &[&str]) -> End {
        let (wire, lines) = wire();
        let shutdown = self.tasks.shutdown().child_token();
        let running = (self.make)(name(me), names(peers)).run(wire, shutdown.clone());
        self.tasks.spawn_job("transport", running.map(|ended| ended.unwrap()));
        End { lines, shutdown }
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

    /// The next frame, whatever else happens.
    async fn hear(&mut self) -> (String, Frame) {
        let hearing = async {
            loop {
                if let Arrival::Frame { from, frame } = self.lines.incoming.recv().await.unwrap() {
                    return (from.to_string(), frame);
                }
            }
        };
        timeout(LIMIT, hearing).await.expect("nothing was heard")
    }
}

fn data(number: u64, text: String) -> Frame {
    let (id, path) = (EnvelopeId::of(&name("a"), &number.to_string(), 0), vec![name("a")]);
    let content = Content::Envelope { text, path };
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
    let (a, mut b) = (hall.join("a", &["b"]), hall.join("b", &["a"]));
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
    let (a, mut b) = (hall.join("a", &["b"]), hall.join("b", &["a"]));
    a.say("b", data(0, "x".repeat(FRAME_MAX))).await;
    a.say("b", data(1, "x".to_owned())).await;
    assert_eq!(number(&b.hear().await.1), 1);
    hall.end().await;
}

async fn the_sender_is_who_it_is(make: &Make<'_>) {
    let hall = Hall::new(make);
    let (a, stranger) = (hall.join("a", &["b"]), hall.join("stranger", &["b"]));
    let mut b = hall.join("b", &["a", "c"]);
    let c = hall.join("c", &["b"]);
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
    let a = hall.join("a", &["b", "c"]);
    let (_deaf, mut c) = (hall.join("b", &["a"]), hall.join("c", &["a"]));
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
    let (mut a, mut b) = (hall.join("a", &["b"]), hall.join("b", &["a"]));
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
    let a = hall.join("a", &["b", "c"]);
    let mut c = hall.join("c", &["a"]);
    a.say("b", data(0, "kept?".to_owned())).await;
    // When it has come to another, what was said before is out as well.
    a.say("c", data(0, "x".to_owned())).await;
    c.hear().await;
    let mut b = hall.join("b", &["a"]);
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
    fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Vec<Draft>, Failure>> {
        let key = work.sealed.envelope().key.clone();
        self.0.send_modify(|acted| acted.push(key));
        async { Ok(Vec::new()) }.boxed()
    }
}

fn routes(me: &str, to: &[&str], from: &[&str]) -> Routes {
    let all = || Pattern::new("**").unwrap();
    let links = |peers: &[&str]| -> BTreeMap<BotName, Link> {
        peers.iter().map(|peer| (name(peer), Link { topics: vec![all()], vouch: true })).collect()
    };
    let topics = vec![TopicRule { topics: all(), kind: Kind::Event, life: EVENT_LIFE }];
    let waiting = Waiting::default();
    Routes { me: name(me), topics, to: links(to), from: links(from), acts: true, waiting }
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
        let (wire, lines) = wire();
        let transport = make(name(me), names(peers));
        let engine = Engine::new(store.clone(), routes.clone(), transport.limits().keeps, 1);
        let (acted, acts) = watch::channel(Vec::new());
        let changed = Arc::new(Notify::new());
        let shutdown = tasks.shutdown();
        tasks.spawn_job("transport", transport.run(wire, shutdown.clone()).map(|ended| ended.unwrap()));
        let (clock, actor) = (Clock::system(), Recorder(acted));
        tasks.spawn("relay", run(engine, clock, actor, lines, changed.clone(), shutdown));
        heard.push(acts);
        first.get_or_insert((store, routes, changed));
    }
    let (store, routes, changed) = first.unwrap();
    let expected: Vec<_> = (0..MESSAGES).map(|n| format!("message {n}")).collect();
    for text in &expected {
        publish(&store, &routes, Clock::system().now(), draft(text)).await.unwrap();
        changed.notify_one();
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
