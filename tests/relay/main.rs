//! Bots in processes of their own, with their stores on the disk, over a real XMPP server. All of them are
//! killed again and again: what was published arrives, in order, and is acted upon once. See `engines/test.sh`.
//!
//! A bot here is a relay without Discord. It is this very program, told by a variable to be one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use mneme::clock::Clock;
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::relay::desk;
use mneme::relay::envelope::{Kind, Scope};
use mneme::relay::handle::Relay;
use mneme::relay::here::{WORK_TOGETHER, Work};
use mneme::relay::name::{BotName, EnvelopeId, Pattern, Topic};
use mneme::relay::publish::{Draft, Refused};
use mneme::relay::routes::{EVENT_LIFE, Link, Routes, TopicRule, Waiting};
use mneme::relay::run::{Act, Acted, Failure};
use mneme::relay::settings::{Settings, Via};
use mneme::relay::store::{Store as _, TABLES};
use mneme::relay::xmpp::{self, Tls};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use server::{DOMAIN, PASSWORD, Server};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

mod fill;
mod server;

/// Tells this program which bot it is to be.
const BOT: &str = "MNEME_RELAY_BOT";

const MESSAGES: usize = 10_000;

/// Of the server and of each bot.
const KILLS: usize = 25;

/// Longer than all of it takes on a busy machine without any kill.
const LIMIT: Duration = Duration::from_secs(600);

fn name(text: &str) -> BotName {
    BotName::new(text).unwrap()
}

fn settings(server: &str, ca: &str, me: &str, peer: &str) -> Settings {
    let all = || Pattern::new("**").unwrap();
    let links = || BTreeMap::from([(name(peer), Link { topics: vec![all()], vouch: false })]);
    let routes = Routes {
        me: name(me),
        topics: vec![TopicRule { topics: all(), kind: Kind::Event, life: EVENT_LIFE }],
        to: links(),
        from: links(),
        acts: true,
        waiting: Waiting::default(),
        keys: BTreeMap::new(),
        key: None,
    };
    let xmpp = xmpp::Settings {
        server: server.to_owned(),
        jid: format!("{me}@{DOMAIN}"),
        password: PASSWORD.into(),
        tls: Tls::StartTls,
        ca: Some(ca.into()),
        peers: BTreeMap::from([(name(peer), format!("{peer}@{DOMAIN}"))]),
    };
    let (rules, open, transports, sources) = (Vec::new(), Vec::new(), vec![Via::Xmpp(xmpp)], Vec::new());
    Settings { routes, rules, open, transports, sources }
}

fn draft(topic: &str, key: &str, to: &str) -> Draft {
    Draft {
        topic: Topic::new(topic).unwrap(),
        scope: Scope::Link,
        to: Some(name(to)),
        at: Clock::system().now(),
        because: format!("{topic}/{key}"),
        part: 0,
        cause: None,
        depth: 0,
        key: key.to_owned(),
        subject: Some("The disk is nearly full".to_owned()),
        fields: BTreeMap::new(),
    }
}

/// Writes down what it acts upon, before anything else is; and answers what is asked.
struct Scribe {
    acted: Mutex<std::fs::File>,
    peer: String,
}

impl Act for Scribe {
    fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Acted, Failure>> {
        let envelope = work.sealed.envelope();
        let line = format!("{}\n", envelope.key);
        self.acted.get_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let asked = envelope.topic.as_str() == "ask";
        let mut answers: Vec<_> =
            asked.then(|| draft("answer", &envelope.key, &self.peer)).into_iter().collect();
        answers.iter_mut().for_each(|answer| answer.depth = 1);
        async { Ok(Acted { answers, ..Acted::default() }) }.boxed()
    }
}

/// The other half of this program: a bot that lasts until it is killed. It publishes what it is told, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bot() {
    let Ok(told) = std::env::var(BOT) else { return };
    let told: Value = serde_json::from_str(&told).unwrap();
    let text = |field: &str| told[field].as_str().unwrap().to_owned();
    if let Ok(filter) = std::env::var("LOG") {
        mneme::telemetry::start(&filter, false).unwrap();
    }
    let folder = PathBuf::from(text("folder"));
    let connected = connect(StoreConfig::new(Store::File(folder.join("mneme.db")))).await.unwrap();
    connected.dynamo.create_tables(TABLES).await.unwrap();
    let settings = settings(&text("server"), &text("ca"), &text("me"), &text("peer"));
    let relay = Relay::new(connected.dynamo, Clock::system(), settings);
    let (peer, messages) = (text("peer"), told["messages"].as_u64().unwrap() as usize);
    fill::fill(&relay, &name(&peer), 0..messages, |n| draft("ask", &n.to_string(), &peer)).await;
    println!("published");
    if told["one_more"].as_bool().unwrap() {
        match relay.publish(draft("ask", "one too many", &text("peer"))).await {
            Err(Refused::Full(_)) => println!("full"),
            other => panic!("{other:?}"),
        }
    }
    let acted = std::fs::File::options().create(true).append(true).open(folder.join("acted")).unwrap();
    let actor = Scribe { acted: Mutex::new(acted), peer: text("peer") };
    relay.serve(actor, CancellationToken::new()).await;
}

/// A bot of ours, and where it keeps what it knows.
struct Bot {
    told: Value,
    folder: PathBuf,
    process: Option<Child>,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Bot {
    fn new(server: &Server, folder: &Path, me: &str, peer: &str, messages: usize) -> Self {
        let folder = folder.join(me);
        std::fs::create_dir_all(&folder).unwrap();
        let told = json!({
            "me": me, "peer": peer, "server": server.address(), "folder": folder, "messages": messages,
            "one_more": false, "ca": server.ca(),
        });
        Self { told, folder, process: None, lines: None }
    }

    fn start(&mut self) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["bot", "--exact", "--nocapture"]).env(BOT, self.told.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        self.lines = process.stdout.take().map(|pipe| BufReader::new(pipe).lines());
        self.process = Some(process);
    }

    async fn says(&mut self, words: &str) {
        let lines = self.lines.as_mut().unwrap();
        let saying = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains(words) {
                    return;
                }
            }
            panic!("it ended and never said {words}");
        };
        timeout(LIMIT, saying).await.unwrap_or_else(|_| panic!("it did not say {words}"));
    }

    async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    /// What it acted upon, also what it did not get to write down as done.
    fn acted(&self) -> Vec<usize> {
        let text = std::fs::read_to_string(self.folder.join("acted")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Waits until it has acted upon so many, counting those that it did twice.
    async fn acts(&self, count: usize) {
        let acting = async {
            let mut looks = interval(Duration::from_millis(20));
            while self.acted().len() < count {
                looks.tick().await;
            }
        };
        let done = timeout(LIMIT, acting).await;
        assert!(done.is_ok(), "it acted upon {} of {count}", self.acted().len());
    }

    async fn relay(&self) -> Relay {
        let connected = connect(StoreConfig::new(Store::File(self.folder.join("mneme.db")))).await.unwrap();
        let text = |field: &str| self.told[field].as_str().unwrap();
        let settings = settings(text("server"), text("ca"), text("me"), text("peer"));
        Relay::new(connected.dynamo, Clock::system(), settings)
    }
}

/// The first time that each came.
fn firsts(acted: &[usize]) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    acted.iter().copied().filter(|n| seen.insert(*n)).collect()
}

#[tokio::test]
async fn what_waited_arrives_once_and_in_order_through_kills_of_all() {
    let seed = std::env::var("MNEME_TEST_SEED").map_or(7, |seed| seed.parse().unwrap());
    println!("MNEME_TEST_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(true, &["a", "b"]).await;
    let mut a = Bot::new(&server, folder.path(), "a", "b", MESSAGES);
    let mut b = Bot::new(&server, folder.path(), "b", "a", 0);
    let began = Instant::now();
    // While b is away: all of it waits, and one more is refused.
    a.told["one_more"] = json!(true);
    a.start();
    a.says("published").await;
    a.says("full").await;
    println!("{MESSAGES} wait after {:?}", began.elapsed());
    (a.told["one_more"], a.told["messages"]) = (json!(false), json!(0));
    b.start();
    let (mut kills, mut kills_of_b) = (0, 0);
    for round in 0..3 * KILLS {
        // Some way on, unless all is there: then they die while nothing happens.
        let so_far = b.acted().len();
        let more = dice.random_range(1..=MESSAGES / (3 * KILLS));
        b.acts((so_far + more).min(MESSAGES)).await;
        match ["a", "b", "server"].choose(&mut dice).unwrap() {
            &"a" => {
                a.kill().await;
                a.start();
            }
            &"b" => {
                b.kill().await;
                kills_of_b += 1;
                b.start();
            }
            _ => {
                server.kill().await;
                server.start_again().await;
            }
        }
        kills = round + 1;
    }
    b.acts(MESSAGES).await;
    a.acts(MESSAGES).await;
    println!("all came after {:?} and {kills} kills, {kills_of_b} of them of b", began.elapsed());
    // What was acted upon a moment ago is written down.
    let settled = async {
        let mut looks = interval(Duration::from_millis(100));
        while firsts(&a.acted()).len() < MESSAGES || firsts(&b.acted()).len() < MESSAGES {
            looks.tick().await;
        }
    };
    timeout(LIMIT, settled).await.expect("not all came");
    a.kill().await;
    b.kill().await;
    check(&a, &b, kills_of_b).await;
}

async fn check(a: &Bot, b: &Bot, kills_of_b: usize) {
    let acted = b.acted();
    assert_eq!(firsts(&acted), (0..MESSAGES).collect::<Vec<_>>(), "in the order of publication");
    // A kill between acting and its end lets those be done again that were to end together.
    let again = acted.len() - MESSAGES;
    println!("{again} were acted upon when b died, and again after it");
    assert!(again <= kills_of_b * WORK_TOGETHER, "{again} times again");
    assert_eq!(firsts(&a.acted()), (0..MESSAGES).collect::<Vec<_>>(), "and so are the answers");
    let (in_a, in_b) = (a.relay().await, b.relay().await);
    for relay in [&in_a, &in_b] {
        assert_eq!(desk::status(relay.tables(), &relay.settings().routes).await.unwrap().dead, 0);
    }
    // Each was taken in once, and answered once: the answer goes with its end.
    let standing = desk::status(in_a.tables(), &in_a.settings().routes).await.unwrap();
    let numbers = |lanes: &[(mneme::relay::frame::Lane, u64, u64)]| lanes.first().map(|lane| lane.1);
    assert_eq!(numbers(&standing.peers[0].arrived), Some(MESSAGES as u64));
    let standing = desk::status(in_b.tables(), &in_b.settings().routes).await.unwrap();
    assert_eq!(standing.peers[0].out[0].1.next, MESSAGES as u64);
    assert_eq!(numbers(&standing.peers[0].arrived), Some(MESSAGES as u64));
    let id = EnvelopeId::of(&name("a"), "ask/0", 0);
    assert!(in_b.tables().kept(&id).await.unwrap().is_some());
}
