//! Several bots, each with a Discord and a store of its own, that relay to each other through a table they share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mneme::cause::Cause;
use mneme::clock::{Clock, Timestamp};
use mneme::dynamo::Dynamo;
use mneme::dynamo::connect::Connected;
use mneme::dynamo::testing::engine;
use mneme::relay::channels::{Way, link};
use mneme::relay::envelope::{Kind, Scope, Value};
use mneme::relay::name::{BotName, Pattern, Topic};
use mneme::relay::publish::{Draft, Published, publish};
use mneme::relay::routes::{EVENT_LIFE, Link, Routes, TopicRule, Waiting};
use mneme::relay::rules::file;
use mneme::relay::settings::{Settings, TableVia, Via};
use mneme::relay::store::Tables;
use mneme::run::Parts;
use mneme::tables;
use tokio::time::timeout;

use crate::harness::{Bot, Discord, PATIENCE, Person, instance, memory, store_ahead, without_times};

fn name(text: &str) -> BotName {
    BotName::new(text).unwrap()
}

fn topic(text: &str) -> Topic {
    Topic::new(text).unwrap()
}

/// A bot with its Discord, and the store that outlives it.
struct Host {
    discord: Discord,
    store: Connected,
    settings: Settings,
}

/// Bots that are all linked with each other, with these rules.
async fn fleet<const N: usize>(names: [&str; N], rules: &str) -> Vec<Host> {
    let mail = memory().await.dynamo;
    let mut hosts = Vec::new();
    for me in names {
        let peers: Vec<_> = names.into_iter().filter(|peer| *peer != me).collect();
        let engine = engine(&tables::all()).await;
        let (discord, store) = (Discord::start().await, store_ahead(&engine, Duration::ZERO));
        let cats = discord.person("zoo", "cats", "ann").channel;
        let rules = rules.replace("CATS", &cats.to_string());
        hosts.push(Host { discord, store, settings: settings(me, &peers, &rules, &mail) });
    }
    hosts
}

/// A bot that is linked with these, by a table, both ways.
pub fn settings(me: &str, peers: &[&str], rules: &str, mail: &Dynamo) -> Settings {
    let all = || Pattern::new("**").unwrap();
    let link = || Link { topics: vec![all()], vouch: true };
    let links = || -> BTreeMap<_, _> { peers.iter().map(|peer| (name(peer), link())).collect() };
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
    let peers: BTreeSet<_> = peers.iter().map(|peer| name(peer)).collect();
    let via = Via::Table(TableVia { peers, table: Some(mail.clone()), ..TableVia::default() });
    let rules = file::read(&[("rules.yaml", rules)]).unwrap();
    Settings {
        routes,
        rules,
        open: vec![Pattern::new("announce").unwrap()],
        transports: vec![via],
        sources: Vec::new(),
    }
}

impl Host {
    /// Its bot runs, by a clock that may be ahead.
    async fn bot(&self, ahead: Duration) -> Bot {
        let store = store_ahead(self.store.embedded.as_ref().unwrap(), ahead);
        let parts = Parts { relay: Some(self.settings.clone()) };
        self.discord.bot_of(store, instance(), parts).await
    }

    async fn links_cats(&self) {
        let ann = self.discord.person("zoo", "cats", "ann");
        let cause = Cause::new(1 << 22, 1, ann.id);
        link(&self.store.dynamo, &cause, &topic("announce"), ann.channel, Way::In).await.unwrap();
    }

    /// Publishes as another process of this bot would.
    async fn publish(&self, topic_name: &str, text: &str, at: Timestamp) -> Published {
        let draft = Draft {
            topic: topic(topic_name),
            scope: Scope::Fleet,
            to: None,
            at,
            because: text.to_owned(),
            part: 0,
            cause: None,
            depth: 0,
            key: "announce".to_owned(),
            subject: None,
            fields: BTreeMap::from([("text".to_owned(), Value::Text(text.to_owned()))]),
        };
        let tables = Tables(self.store.dynamo.clone());
        publish(&tables, &self.settings.routes, Clock::system().now(), draft).await.unwrap()
    }

    /// What the bot has said among the cats, once it has said this.
    async fn says(&self, last: &str) -> Vec<String> {
        let ann = self.discord.person("zoo", "cats", "ann");
        let mut seen = ann.watch();
        let said = || -> Vec<String> {
            said_in(&self.discord, &ann).iter().map(|text| without_times(text)).collect()
        };
        let saying = async {
            while !said().iter().any(|text| text.contains(last)) {
                seen.next().await.expect("the simulator runs");
            }
        };
        timeout(PATIENCE, saying).await.unwrap_or_else(|_| panic!("it never said {last}: {:?}", said()));
        said()
    }
}

/// What stands in a channel.
fn said_in(discord: &Discord, person: &Person<'_>) -> Vec<String> {
    let messages = discord.simulator.messages(person.id, person.channel, None, 100);
    messages.iter().map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
}

pub const NO_RULES: &str = "rules: []\n";

#[tokio::test]
async fn an_announcement_is_posted_by_every_bot_once() {
    let hosts = fleet(["hub", "laptop", "garden"], NO_RULES).await;
    let mut bots = Vec::new();
    for host in &hosts {
        host.links_cats().await;
        bots.push(host.bot(Duration::ZERO).await);
    }
    let first = hosts[1].publish("announce", "tea is ready", Clock::system().now()).await;
    assert_eq!((first.queued.len(), first.full.len()), (3, 0), "to both others, and to itself");
    assert!(hosts[1].publish("announce", "tea is ready", Clock::system().now()).await.again);
    let last = hosts[1].publish("announce", "tea is cold", Clock::system().now()).await;
    for host in &hosts {
        let said = host.says("tea is cold").await;
        let expected = [("tea is ready", &first), ("tea is cold", &last)]
            .map(|(text, p)| format!("📣 {text}\n-# {}, <t>", p.id));
        assert_eq!(said, expected);
    }
    for bot in bots {
        bot.stop().await;
    }
    for host in hosts {
        host.discord.end().await;
    }
}

#[tokio::test]
async fn a_bot_that_was_away_for_a_day_gets_it_with_its_true_time() {
    let hosts = fleet(["hub", "laptop"], NO_RULES).await;
    for host in &hosts {
        host.links_cats().await;
    }
    let at = Clock::system().now();
    let hub = hosts[0].bot(Duration::ZERO).await;
    hosts[0].publish("announce", "the store moves at noon", at).await;
    hosts[0].says("the store moves").await;
    hub.stop().await;
    let day = Duration::from_secs(86_400);
    let (hub, laptop) = (hosts[0].bot(day).await, hosts[1].bot(day).await);
    hosts[1].says("the store moves").await;
    let ann = hosts[1].discord.person("zoo", "cats", "ann");
    let said = said_in(&hosts[1].discord, &ann);
    assert!(said[0].ends_with(&format!("<t:{}:f>", at.seconds())), "{said:?}");
    assert_eq!(hosts[0].says("the store moves").await.len(), 1, "the hub has said it before");
    for bot in [hub, laptop] {
        bot.stop().await;
    }
    for host in hosts {
        host.discord.end().await;
    }
}

/// Its rules answer what happens on one host with words on another; and that bot dies again and again while it
/// speaks.
#[tokio::test]
async fn what_rules_post_is_posted_once_although_the_bot_dies() {
    const ALERTS: usize = 12;
    let rules = "rules:\n  - name: tell\n    when: mine is false\n    do: [ { post: { channel: \"CATS\", text: \"⚠ {text}\" } } ]\n";
    let hosts = fleet(["hub", "laptop"], rules).await;
    let laptop = hosts[1].bot(Duration::ZERO).await;
    for n in 0..ALERTS {
        hosts[1].publish("alerts/disk", &format!("disk {n} is full"), Clock::system().now()).await;
    }
    for n in 0..3 {
        let hub = hosts[0].bot(Duration::ZERO).await;
        hosts[0].says(&format!("disk {n} is full")).await;
        hub.kill().await;
    }
    let hub = hosts[0].bot(Duration::ZERO).await;
    let said = hosts[0].says(&format!("disk {} is full", ALERTS - 1)).await;
    let said: Vec<_> = said.iter().map(|text| text.lines().next().unwrap()).collect();
    let expected: Vec<_> = (0..ALERTS).map(|n| format!("⚠ disk {n} is full")).collect();
    assert_eq!(said, expected);
    for bot in [hub, laptop] {
        bot.stop().await;
    }
    for host in hosts {
        host.discord.end().await;
    }
}
