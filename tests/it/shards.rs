//! Instances that divide the shards of one bot among themselves: one dies, all are replaced, one stands still.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt};
use mneme::sim::{Id, World};
use mneme::tables;
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::child::{Mneme, run_over};
use crate::endpoint::Endpoint;
use crate::harness::{Discord, Person, answered, people_server, together, world};

const SHARDS: u64 = 12;
const INSTANCES: usize = 3;

/// Commands come this often, each in the next server.
const BEAT: Duration = Duration::from_millis(60);

/// More than any of it takes on a machine that has other things to do.
const LONGEST: Duration = Duration::from_secs(150);

/// What an instance says.
const TAKES: &str = "this instance takes a shard";
const CONNECTED: &str = "bot::session: connected";
const LOSES: &str = "a lease was lost while it was held";
const GIVES_WAY: &str = "another instance serves a shard that was served here";

/// Several instances over one store, and servers on every shard.
struct Fleet {
    discord: Discord,
    endpoint: Endpoint,
    servers: Vec<String>,
    events: BoxStream<'static, Value>,
    asked: BTreeMap<Id, Instant>,
    /// The bot's messages to each event: more than one would be an answer given twice.
    replies: BTreeMap<Id, BTreeSet<Id>>,
    next: usize,
}

impl Fleet {
    async fn new() -> Self {
        let mut world = world();
        world.settings.shards = SHARDS;
        world.settings.max_concurrency = usize::MAX;
        let servers: Vec<String> = (0..SHARDS).map(|number| format!("server {number}")).collect();
        // Without people first: ids of servers that are made one after the other are on different shards.
        let shards: BTreeSet<u64> =
            servers.iter().map(|name| (world.guild(name).id() >> 22) % SHARDS).collect();
        assert_eq!(shards.len() as u64, SHARDS, "there is a server on every shard");
        servers.iter().for_each(|name| people_server(&mut world, name));
        let discord = Discord::with(world).await;
        let events = together([discord.simulator.watch(discord.id("ann"))]);
        let endpoint = Endpoint::with(&tables::all()).await;
        let (asked, replies) = (BTreeMap::new(), BTreeMap::new());
        Self { discord, endpoint, servers, events, asked, replies, next: 0 }
    }

    fn start(&self) -> Mneme {
        self.start_on(&self.endpoint.url)
    }

    fn start_on(&self, store: &str) -> Mneme {
        let store = ["--store", "dynamodb", "--dynamodb-endpoint", store];
        let mut command = run_over(&self.discord, store);
        command.args(["--shards", "shared"]);
        Mneme::start(command)
    }

    async fn start_all(&self) -> Vec<Mneme> {
        let mut bots: Vec<Mneme> = (0..INSTANCES).map(|_| self.start()).collect();
        for bot in &mut bots {
            // Who came first may have taken more, and hands them over.
            for _ in 0..SHARDS as usize / INSTANCES {
                bot.says(CONNECTED).await;
            }
        }
        bots
    }

    fn ann(&self, server: usize) -> Person<'_> {
        self.discord.person(&self.servers[server], "cats", "ann")
    }

    /// Asks in the next server.
    fn ask(&mut self) -> Id {
        self.next = (self.next + 1) % self.servers.len();
        let ann = self.ann(self.next);
        let event = if self.asked.len().is_multiple_of(4) { ann.call("ping", &[]) } else { ann.say(".ping") };
        self.asked.insert(event, Instant::now());
        event
    }

    fn hear(&mut self, event: Option<Value>) {
        if let Some((to, answer)) = answered(&event.expect("the simulator runs")) {
            self.replies.entry(to).or_default().insert(answer.id());
        }
    }

    /// Asks everywhere until there was an answer everywhere to something asked after this began.
    async fn answers_everywhere(&mut self) -> Duration {
        let began = Instant::now();
        let mut silent: BTreeMap<usize, Vec<Id>> =
            (0..self.servers.len()).map(|server| (server, Vec::new())).collect();
        let mut beats = interval(BEAT * 4);
        let all = async {
            while !silent.is_empty() {
                tokio::select! {
                    _ = beats.tick() => {
                        for (server, asked) in &mut silent {
                            asked.push(self.ann(*server).say(".ping"));
                        }
                    }
                    event = self.events.next() => {
                        self.hear(event);
                        silent.retain(|_, asked| !asked.iter().any(|id| self.replies.contains_key(id)));
                    }
                }
            }
        };
        timeout(LONGEST, all).await.expect("there is an answer everywhere");
        began.elapsed()
    }

    /// Asks on and on while something else happens.
    async fn under_load<A>(&mut self, work: impl Future<Output = A>) -> A {
        let mut work = std::pin::pin!(work);
        let mut beats = interval(BEAT);
        let all = async {
            loop {
                tokio::select! {
                    done = &mut work => return done,
                    _ = beats.tick() => { self.ask(); }
                    event = self.events.next() => self.hear(event),
                }
            }
        };
        timeout(LONGEST, all).await.expect("it is done in time")
    }

    /// Waits for the answers to everything that was asked under load.
    async fn all_answered(&mut self) {
        let all = async {
            while self.asked.keys().any(|event| !self.replies.contains_key(event)) {
                let event = self.events.next().await;
                self.hear(event);
            }
        };
        if timeout(Duration::from_secs(20), all).await.is_err() {
            let open: Vec<&Id> = self.asked.keys().filter(|id| !self.replies.contains_key(id)).collect();
            panic!("{} of {} commands were never answered", open.len(), self.asked.len());
        }
    }

    /// Waits until each shard is connected once.
    async fn settled(&mut self) {
        let all = async {
            while self.discord.simulator.read(World::sessions_online) as u64 != SHARDS {
                let event = self.events.next().await;
                self.hear(event);
            }
        };
        timeout(LONGEST, all).await.expect("each shard is connected once");
    }

    /// Resolves when there are so many connections to the gateway.
    fn online(&self, connections: u64) -> impl Future<Output = ()> + use<> {
        let simulator = self.discord.simulator.clone();
        async move {
            let mut looks = interval(BEAT);
            while simulator.read(World::sessions_online) as u64 != connections {
                looks.tick().await;
            }
        }
    }

    async fn end(self, bots: Vec<Mneme>) {
        for bot in bots {
            bot.kill().await;
        }
        for (event, replies) in &self.replies {
            assert_eq!(replies.len(), 1, "event {event} was answered twice");
        }
        // Two instances may answer one interaction; Discord takes the first answer.
        self.discord.end_despite(|record| record.to_string().contains("acknowledged")).await;
    }
}

#[tokio::test]
async fn a_dead_instances_shards_answer_again() {
    let mut fleet = Fleet::new().await;
    let mut bots = fleet.start_all().await;
    fleet.answers_everywhere().await;
    fleet.settled().await;
    let log = bots.pop().expect("there are three").kill().await;
    let count = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    let lost = count(TAKES) - count(GIVES_WAY);
    assert!(lost > 0, "it had shards");
    let silence = fleet.answers_everywhere().await;
    println!(
        "{lost} of {SHARDS} shards lost their instance; after a kill, every shard answers again within {:.1} s",
        silence.as_secs_f64()
    );
    fleet.end(bots).await;
}

#[tokio::test]
async fn a_rolling_restart_leaves_no_command_unanswered() {
    let mut fleet = Fleet::new().await;
    let bots = fleet.start_all().await;
    fleet.answers_everywhere().await;
    fleet.settled().await;
    let mut fresh = Vec::new();
    for bot in bots {
        let (status, _) = fleet.under_load(bot.terminate()).await;
        assert_eq!(status.code(), Some(0));
        let mut next = fleet.start();
        fleet.under_load(next.says(TAKES)).await;
        fresh.push(next);
    }
    fleet.settled().await;
    fleet.all_answered().await;
    println!("a rolling restart under {} commands: each was answered, once", fleet.asked.len());
    fleet.end(fresh).await;
}

#[tokio::test]
async fn an_instance_that_stood_still_gives_way() {
    let mut fleet = Fleet::new().await;
    let bots = fleet.start_all().await;
    fleet.answers_everywhere().await;
    fleet.settled().await;
    bots[0].signal("STOP").await;
    fleet.answers_everywhere().await;
    bots[0].signal("CONT").await;
    // It finds its shards with the others, and is given a part again.
    fleet.settled().await;
    let again = fleet.answers_everywhere().await;
    println!("after an instance stood still, every shard answers within {:.1} s", again.as_secs_f64());
    fleet.end(bots).await;
}

/// One instance alone is cut off: it cannot know that others can go on, and serves until they do.
#[tokio::test]
async fn an_instance_that_is_cut_off_from_the_store_is_replaced_and_comes_back() {
    let mut fleet = Fleet::new().await;
    let door = fleet.endpoint.door().await;
    let mut bots = [fleet.start(), fleet.start_on(&door.url)];
    for bot in &mut bots {
        for _ in 0..SHARDS as usize / 2 {
            bot.says(CONNECTED).await;
        }
    }
    fleet.answers_everywhere().await;
    fleet.settled().await;
    let [first, mut second] = bots;
    door.shut();
    // What the first takes over is served twice, until the second knows of it.
    fleet.under_load(fleet.online(SHARDS + SHARDS / 2)).await;
    door.open();
    fleet.under_load(second.says(GIVES_WAY)).await;
    // And is given a part again.
    fleet.under_load(second.says(CONNECTED)).await;
    fleet.settled().await;
    fleet.answers_everywhere().await;
    fleet.all_answered().await;
    println!("one instance was cut off under {} commands: each was answered, once", fleet.asked.len());
    fleet.end(vec![first, second]).await;
}

/// All are cut off for longer than their leases: nobody moves anything, and then all have what they had.
#[tokio::test]
async fn while_the_store_is_away_every_instance_serves_what_it_has() {
    let mut fleet = Fleet::new().await;
    let door = fleet.endpoint.door().await;
    let mut bots: Vec<Mneme> = (0..INSTANCES).map(|_| fleet.start_on(&door.url)).collect();
    for bot in &mut bots {
        for _ in 0..SHARDS as usize / INSTANCES {
            bot.says(CONNECTED).await;
        }
    }
    fleet.answers_everywhere().await;
    fleet.settled().await;
    let identified = |fleet: &Fleet| fleet.discord.simulator.read(World::starts_left);
    let before = identified(&fleet);
    door.shut();
    let losing = async {
        for bot in &mut bots {
            // Its number among the instances, and its shards.
            for _ in 0..=SHARDS as usize / INSTANCES {
                bot.says(LOSES).await;
            }
        }
    };
    fleet.under_load(losing).await;
    fleet.answers_everywhere().await;
    door.open();
    fleet.answers_everywhere().await;
    fleet.all_answered().await;
    fleet.settled().await;
    assert_eq!(identified(&fleet), before, "nobody had to connect anew");
    fleet.end(bots).await;
}
