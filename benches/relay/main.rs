//! The relay over XMPP beside its floor, in one run and over the same server: a bare sender and a bare receiver
//! of the library, which keep nothing and promise nothing. Then how much memory a sender takes while very much
//! waits for a peer that is away.
//!
//!   cargo bench --features xmpp --bench relay -- [rate|waiting]
//!
//! `XMPP_ENGINE` is prosody or ejabberd, `MESSAGES` how many are sent, `WAITING` how many wait.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use mneme::clock::{Clock, Timestamp};
use mneme::dynamo::Dynamo;
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::relay::envelope::{Kind, Scope, Value};
use mneme::relay::frame::{Content, Data, Frame, Lane};
use mneme::relay::handle::Relay;
use mneme::relay::here::Work;
use mneme::relay::link::epoch;
use mneme::relay::name::{BotName, Chain, Pattern, Topic};
use mneme::relay::publish::Draft;
use mneme::relay::routes::{EVENT_LIFE, Link, Routes, TopicRule, Waiting};
use mneme::relay::run::{Act, Acted, Failure};
use mneme::relay::settings::{Settings, Via};
use mneme::relay::store::TABLES;
use mneme::relay::xmpp::{self, Tls};
use sasl::common::ChannelBinding;
use server::{DOMAIN, PASSWORD, Server};
use tokio::io::BufStream;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_xmpp::Stanza;
use tokio_xmpp::connect::ServerConnector;
use tokio_xmpp::jid::Jid;
use tokio_xmpp::parsers::message::{Lang, Message};
use tokio_xmpp::parsers::presence::Presence;
use tokio_xmpp::stanzastream::{Event, StanzaStream, StreamEvent};
use tokio_xmpp::xmlstream::{PendingFeaturesRecv, StreamHeader, Timeouts, initiate_stream};

#[path = "../../tests/relay/fill.rs"]
mod fill;
#[path = "../../tests/relay/server.rs"]
#[expect(dead_code, reason = "tests also kill it, and speak TLS")]
mod server;

const ROUNDS: usize = 3;

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn main() -> anyhow::Result<()> {
    let part = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        if part.as_deref() != Some("waiting") {
            rate().await?;
        }
        if part.as_deref() != Some("rate") {
            waiting().await?;
        }
        anyhow::Ok(())
    })
}

fn name(text: &str) -> BotName {
    BotName::new(text).expect("a name")
}

fn draft(n: usize) -> Draft {
    Draft {
        topic: Topic::new("alerts/disk").expect("a topic"),
        scope: Scope::Link,
        to: Some(name("b")),
        at: Clock::system().now(),
        because: format!("disk/{n}"),
        part: 0,
        cause: None,
        depth: 0,
        key: "disk".to_owned(),
        subject: Some("laptop: / is 91 % full".to_owned()),
        fields: BTreeMap::from([
            ("path".to_owned(), Value::Text("/".to_owned())),
            ("used_percent".to_owned(), Value::Number(91.5)),
        ]),
    }
}

fn routes(me: &str, peer: &str) -> Routes {
    let all = || Pattern::new("**").expect("a pattern");
    let links = || BTreeMap::from([(name(peer), Link { topics: vec![all()], vouch: false })]);
    Routes {
        me: name(me),
        topics: vec![TopicRule { topics: all(), kind: Kind::Event, life: EVENT_LIFE }],
        to: links(),
        from: links(),
        acts: true,
        waiting: Waiting { events: u64::MAX, ..Waiting::default() },
        keys: BTreeMap::new(),
        key: None,
    }
}

fn settings(server: &Server, me: &str, peer: &str) -> Settings {
    let xmpp = xmpp::Settings {
        server: server.address(),
        jid: format!("{me}@{DOMAIN}"),
        password: PASSWORD.into(),
        tls: Tls::Off,
        ca: None,
        peers: BTreeMap::from([(name(peer), format!("{peer}@{DOMAIN}"))]),
    };
    let (rules, open, transports, sources) = (Vec::new(), Vec::new(), vec![Via::Xmpp(xmpp)], Vec::new());
    Settings { routes: routes(me, peer), rules, open, transports, sources }
}

/// Counts, and notes when the first and the last came.
struct Counter(watch::Sender<(usize, Option<Instant>)>);

impl Act for Counter {
    fn act(&mut self, _: &Work) -> BoxFuture<'static, Result<Acted, Failure>> {
        self.0.send_modify(|(count, first)| {
            *count += 1;
            first.get_or_insert_with(Instant::now);
        });
        async { Ok(Acted::default()) }.boxed()
    }
}

async fn rate() -> anyhow::Result<()> {
    let messages = number("MESSAGES", 5_000);
    let engine = std::env::var("XMPP_ENGINE").unwrap_or_else(|_| "prosody".to_owned());
    println!("{messages} messages of one envelope each, {engine}, messages a second:");
    let mut all: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        all.entry("bare tokio-xmpp").or_default().push(bare(messages).await?);
        all.entry("relay, stores in memory").or_default().push(ours(messages, false).await?);
        all.entry("relay, stores on the disk").or_default().push(ours(messages, true).await?);
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let floor = median(all.get_mut("bare tokio-xmpp").expect("it ran"));
    for (what, mut rates) in all {
        let (low, high) =
            (rates.iter().copied().fold(f64::MAX, f64::min), rates.iter().copied().fold(0.0, f64::max));
        let middle = median(&mut rates);
        println!("  {what:26} {middle:8.0}   ({low:.0} to {high:.0})   {:.2} of the floor", middle / floor);
    }
    Ok(())
}

async fn store(folder: Option<PathBuf>) -> anyhow::Result<Dynamo> {
    let store = folder.map_or(Store::Memory, Store::File);
    let connected = connect(StoreConfig::new(store)).await?;
    connected.dynamo.create_tables(TABLES).await?;
    Ok(connected.dynamo)
}

/// Messages that waited, from a to b, from the first that b acts upon to the last.
async fn ours(messages: usize, on_disk: bool) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| on_disk.then(|| folder.path().join(name));
    let server = Server::start(false, &["a", "b"]).await;
    let a = Relay::new(store(file("a")).await?, Clock::system(), settings(&server, "a", "b"));
    let b = Relay::new(store(file("b")).await?, Clock::system(), settings(&server, "b", "a"));
    fill::fill(&a, &name("b"), 0..messages, draft).await;
    let stop = CancellationToken::new();
    let (counted, mut seen) = watch::channel((0, None));
    let (nobody, _) = watch::channel((0, None));
    // Two bots are two processes.
    let (home_a, home_b) = (Runtime::new()?, Runtime::new()?);
    let serving = [
        home_a.spawn(serve(a, Counter(nobody), stop.clone())),
        home_b.spawn(serve(b, Counter(counted), stop.clone())),
    ];
    let (count, first) = *seen.wait_for(|(count, _)| *count >= messages).await?;
    let rate = (count - 1) as f64 / first.expect("one came").elapsed().as_secs_f64();
    stop.cancel();
    for served in serving {
        served.await?;
    }
    home_a.shutdown_background();
    home_b.shutdown_background();
    Ok(rate)
}

async fn serve(relay: Relay, actor: Counter, stop: CancellationToken) {
    relay.serve(actor, stop).await;
}

/// The least that anybody could do: stanzas of the same size, one after the other.
async fn bare(messages: usize) -> anyhow::Result<f64> {
    let server = Server::start(false, &["a", "b"]).await;
    let (home_a, home_b) = (Runtime::new()?, Runtime::new()?);
    let mut b = home_b.spawn(session(server.address(), "b")).await??;
    let a = home_a.spawn(session(server.address(), "a")).await??;
    let body = body()?;
    let receiving = home_b.spawn(async move {
        let (mut count, mut first) = (0, None);
        while count < messages {
            if let Some(Event::Stanza(Stanza::Message(_))) = b.next().await {
                count += 1;
                first.get_or_insert_with(Instant::now);
            }
        }
        (count - 1) as f64 / first.map_or(0.0, |first| first.elapsed().as_secs_f64())
    });
    let sending = home_a.spawn(async move {
        for _ in 0..messages {
            let to = Jid::new(&format!("b@{DOMAIN}")).expect("an address");
            let message = Message::chat(Some(to)).with_body(Lang::new(), body.clone());
            a.send(Box::new(Stanza::Message(message))).await;
        }
    });
    let (rate, sent) = tokio::join!(receiving, sending);
    sent?;
    home_a.shutdown_background();
    home_b.shutdown_background();
    Ok(rate?)
}

/// What a frame of ours is as the body of a message.
fn body() -> anyhow::Result<String> {
    let sealed = routes("a", "b").seal(draft(0))?;
    let id = sealed.envelope().id.clone();
    let content =
        Content::Envelope { text: sealed.text().to_owned(), signature: None, path: vec![name("a")] };
    let epoch = epoch(Timestamp::from_seconds(1_800_000_000));
    let (lane, before) = (Lane::Events, Chain::start());
    let frame = Frame::Data(Data { lane, epoch, base: 0, number: 12_345, before, id, content });
    Ok(STANDARD.encode(frame.write()?))
}

/// A connection in plain text to this machine.
#[derive(Clone, Debug)]
struct Plain(String);

impl ServerConnector for Plain {
    type Stream = BufStream<TcpStream>;

    async fn connect(
        &self,
        jid: &Jid,
        ns: &'static str,
        timeouts: Timeouts,
    ) -> Result<(PendingFeaturesRecv<Self::Stream>, ChannelBinding), tokio_xmpp::Error> {
        let socket = TcpStream::connect(&self.0).await?;
        socket.set_nodelay(true)?;
        let header = StreamHeader { to: Some(Cow::Borrowed(jid.domain().as_str())), from: None, id: None };
        let opened = initiate_stream(BufStream::new(socket), ns, header, timeouts).await?;
        Ok((opened, ChannelBinding::None))
    }
}

async fn session(server: String, who: &'static str) -> anyhow::Result<StanzaStream> {
    let jid = Jid::new(&format!("{who}@{DOMAIN}/bare"))?;
    let connector = Plain(server);
    let mut stream = StanzaStream::new_c2s(connector, jid, PASSWORD.into(), Timeouts::tight(), 256);
    while let Some(event) = stream.next().await {
        if matches!(event, Event::Stream(StreamEvent::Reset { .. })) {
            stream.send(Box::new(Stanza::Presence(Presence::available()))).await;
            return Ok(stream);
        }
    }
    anyhow::bail!("{who} is not let in")
}

/// A peer that is away, and very much that waits for it: what it costs in memory.
async fn waiting() -> anyhow::Result<()> {
    let waiting = number("WAITING", 1_000_000);
    let folder = tempfile::tempdir()?;
    let server = Server::start(false, &["a", "b"]).await;
    let a =
        Relay::new(store(Some(folder.path().join("a"))).await?, Clock::system(), settings(&server, "a", "b"));
    println!("a peer is away, and more and more waits for it on the disk:");
    let before = resident();
    let mut there = 0;
    for part in [waiting / 100, waiting / 10, waiting] {
        let began = Instant::now();
        fill::fill(&a, &name("b"), there..part, draft).await;
        there = part;
        let filled = began.elapsed();
        let stop = CancellationToken::new();
        let (nobody, _) = watch::channel((0, None));
        let serving = tokio::spawn(serve(a.clone(), Counter(nobody), stop.clone()));
        // It connects, sends a window to the server, which keeps it, and looks at its queues.
        let _ = tokio::time::timeout(Duration::from_secs(8), std::future::pending::<()>()).await;
        let (now, size) = (resident(), std::fs::metadata(folder.path().join("a"))?.len());
        stop.cancel();
        serving.await?;
        println!(
            "  {there:9} waiting: {:6.1} MB in memory ({:.1} before any), {:7.1} MB on the disk, written in {filled:.0?}",
            now,
            before,
            size as f64 / 1e6
        );
    }
    Ok(())
}

/// Megabytes that this process has in memory.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1_000.0
}
