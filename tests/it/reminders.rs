//! Reminders come, once: to whom they were promised, also late, also when the one who brings them dies.
//!
//! A bot whose clock is ahead of Discord's finds due at once what was asked for a moment ago.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use futures::StreamExt;
use mneme::clock::{Clock, Timestamp};
use mneme::due::Due;
use mneme::dynamo::connect::Connected;
use mneme::dynamo::embedded::Embedded;
use mneme::dynamo::faults::{Faults, Rates};
use mneme::dynamo::testing::{engine, over};
use mneme::dynamo::{Table, TableSpec, Token, Transaction};
use mneme::sim::{Id, Weather};
use mneme::tables;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::child::{Mneme, run_over};
use crate::harness::{
    Answer, Bot, Discord, PATIENCE, Person, instance, rounds, seed, store_ahead, together, wait_within,
    world, world_of,
};

/// Enough for a reminder of ten seconds to be due.
const AHEAD: Duration = Duration::from_secs(12);

fn is_reminder(text: &str) -> bool {
    text.starts_with("⏰ <@")
}

/// Waits for a reminder in a channel. One whose delivery is unknown is not tried again before its lease is over,
/// which takes a minute.
async fn comes(person: &Person<'_>, seen: &mut mneme::sim::Seen) -> Answer {
    let channel = person.channel.to_string();
    wait_within(3 * PATIENCE, seen, |t, d| {
        let reminder = d["content"].as_str().is_some_and(is_reminder);
        t == "MESSAGE_CREATE" && d["channel_id"] == channel && reminder
    })
    .await
}

/// The text of an answer without its times.
fn without_times(answer: &Answer) -> String {
    let text = answer.text();
    let mut pieces = text.split("<t:");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |text, piece| text + "<t>" + piece.split_once('>').map_or("", |(_, rest)| rest))
}

struct Stage {
    discord: Discord,
    engine: Embedded,
    bot: Bot,
}

impl Stage {
    async fn new(ahead: Duration) -> Self {
        let (discord, engine) = (Discord::start().await, engine(&tables::all()).await);
        let bot = discord.bot(store_ahead(&engine, ahead), instance()).await;
        Self { discord, engine, bot }
    }

    async fn end_despite(self, expected: impl Fn(&mneme::sim::Record) -> bool) {
        self.bot.stop().await;
        self.discord.end_despite(expected).await;
    }
}

#[tokio::test]
async fn a_reminder_comes_by_direct_message_and_is_put_off_or_done() {
    let stage = Stage::new(AHEAD).await;
    let (ann, direct) = (stage.discord.person("zoo", "cats", "ann"), stage.discord.direct("ann"));
    let mut seen = direct.watch();
    assert!(ann.says(".remind me in 10s to stretch, @everyone").await.starts_with("⏰ Ok"));
    let first = comes(&direct, &mut seen).await;
    assert_eq!(without_times(&first), format!("⏰ <@{}> stretch, @everyone\n-# asked <t>", ann.id));
    assert_eq!(first.labels(), ["10 min", "1 hour", "Tomorrow", "Done"]);
    assert_eq!(first.0["mentions"][0]["id"], ann.id.to_string(), "it pings");
    assert_eq!(first.0["mention_everyone"], false);

    let snoozed = direct.presses(&first, "10 min").await;
    assert!(snoozed.text().contains("\n💤 `") && snoozed.labels() == ["Cancel"], "{}", snoozed.text());
    assert!(ann.says(".reminders").await.contains("stretch"));
    assert_eq!(stage.bot.stop().await, mneme::bot::Exit::Asked);
    let bot = stage.discord.bot(store_ahead(&stage.engine, Duration::from_secs(601)), instance()).await;
    let second = comes(&direct, &mut seen).await;
    assert!(second.id() > first.id());
    bot.stop().await;
    // What people do now is too old for a clock so far ahead.
    let bot = stage.discord.bot(store_ahead(&stage.engine, Duration::ZERO), instance()).await;
    let done = direct.presses(&second, "Done").await;
    assert!(done.text().ends_with("\n-# ✅ done") && done.labels().is_empty(), "{}", done.text());
    assert_eq!(ann.says(".reminders").await, "⏰ You have no reminders");
    Stage { bot, ..stage }.end_despite(|_| false).await;
}

#[tokio::test]
async fn a_reminder_for_a_channel_that_is_gone_comes_to_its_person() {
    let stage = Stage::new(Duration::ZERO).await;
    let mo = stage.discord.person("zoo", "cats", "mo");
    let (elsewhere, direct) = (stage.discord.person("zoo", "dogs", "mo"), stage.discord.direct("mo"));
    assert!(mo.says(".remind here in 10s to look").await.starts_with("⏰ Ok"));
    assert!(elsewhere.says(".remind here in 10s to stay").await.starts_with("⏰ Ok"));
    stage.discord.simulator.change(|world| world.remove_channel(mo.channel));
    stage.bot.stop().await;
    let mut seen = elsewhere.watch();
    let mut seen_direct = direct.watch();
    let bot = stage.discord.bot(store_ahead(&stage.engine, AHEAD), instance()).await;
    let there = comes(&elsewhere, &mut seen).await;
    assert!(there.text().contains(" stay\n"), "{}", there.text());
    let moved = comes(&direct, &mut seen_direct).await;
    let note = format!("\n-# I could not post this in <#{}>", mo.channel);
    assert!(moved.text().contains(" look\n") && moved.text().ends_with(&note), "{}", moved.text());
    // Somebody else's buttons are not for everybody.
    let bob = stage.discord.person("zoo", "dogs", "bob");
    assert!(bob.presses(&there, "1 hour").await.text().starts_with("⛔ You can't use"));
    Stage { bot, ..stage }.end_despite(|record| record.response["code"] == 10003).await;
}

#[tokio::test]
async fn a_reminder_that_reaches_nobody_is_marked() {
    let stage = Stage::new(AHEAD).await;
    let ann = stage.discord.person("zoo", "cats", "ann");
    stage.discord.simulator.change(|world| world.close_dms(ann.id, true));
    assert!(ann.says(".remind me in 10s to stretch").await.starts_with("⏰ Ok"));
    let marked =
        async { while !ann.says(".reminders").await.ends_with("stretch ⚠ could not be delivered") {} };
    timeout(PATIENCE, marked).await.expect("it is marked");
    stage.end_despite(|record| record.response["code"] == 50007).await;
}

#[tokio::test]
async fn a_bot_that_was_down_for_an_hour_brings_it_late_and_says_so() {
    let stage = Stage::new(Duration::ZERO).await;
    let (ann, direct) = (stage.discord.person("zoo", "cats", "ann"), stage.discord.direct("ann"));
    assert!(ann.says(".remind me in 10 minutes to stretch").await.starts_with("⏰ Ok"));
    stage.bot.stop().await;
    let mut seen = direct.watch();
    let later = Duration::from_secs(70 * 60 + 30);
    let bot = stage.discord.bot(store_ahead(&stage.engine, later), instance()).await;
    let late = comes(&direct, &mut seen).await;
    assert!(late.text().ends_with("\n-# 60 min late: I was not running"), "{}", late.text());
    Stage { bot, ..stage }.end_despite(|_| false).await;
}

#[tokio::test]
async fn instances_whose_clocks_differ_bring_each_reminder_once() {
    const EACH: usize = 20;
    let stage = Stage::new(AHEAD).await;
    let other = store_ahead(&stage.engine, AHEAD + Duration::from_secs(30));
    let other = stage.discord.bot(other, instance()).await;
    let (ann, direct) = (stage.discord.person("zoo", "cats", "ann"), stage.discord.direct("ann"));
    let mut seen = direct.watch();
    // The replies to some posts are lost on the way, so that they are sent again.
    stage.discord.simulator.faults().lose_reply("POST /channels/{c}/messages", 10);
    let asked: Vec<Id> = (0..EACH).map(|n| ann.say(&format!(".remind me in {}s to n{n}.", 10 + n))).collect();
    let mut texts = BTreeMap::<String, usize>::new();
    while texts.len() < EACH {
        *texts.entry(comes(&direct, &mut seen).await.text()).or_default() += 1;
    }
    assert_eq!(other.stop().await, mneme::bot::Exit::Asked);
    drop(asked);
    let all: Vec<String> = direct.heard().iter().map(Answer::text).filter(|text| is_reminder(text)).collect();
    assert_eq!(all.len(), EACH, "{all:?}");
    stage.end_despite(|_| false).await;
}

/// A reminder as the table holds it: a thousand are not asked for, they are there.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    user_id: u64,
    code: String,
    text: String,
    channel_id: Option<u64>,
    discord_server_id: u64,
    due_at: Timestamp,
    created_at: Timestamp,
    occ: u64,
    state: String,
    event_id: u64,
}

impl Table for Stored {
    const NAME: &'static str = "reminders";
    const KEY: &'static [&'static str] = &["user_id", "code"];
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.user_id, self.code.clone())
    }
}

const _: TableSpec = TableSpec::of::<Stored>();

/// Reminders due within a minute, the first of them already, some in channels and some in direct messages.
async fn prepare(discord: &Discord, engine: &Embedded, count: usize, rng: &mut StdRng) {
    let dynamo = store_ahead(engine, Duration::ZERO).dynamo;
    let people = PEOPLE.map(|name| discord.person("zoo", "cats", name));
    let dogs = discord.person("zoo", "dogs", "ann").channel;
    let now = Timestamp::from_seconds(dynamo.now().seconds());
    for n in 0..count {
        let person = &people[n % people.len()];
        let channel = [None, Some(person.channel), Some(dogs)][n % 3];
        let reminder = Stored {
            user_id: person.id,
            code: format!("{n:04}"),
            text: format!("n{n}."),
            channel_id: channel,
            discord_server_id: 1,
            due_at: now.minus(Duration::from_secs(30)).plus(Duration::from_secs(rng.random_range(0..60))),
            created_at: now.minus(Duration::from_secs(600)),
            occ: 0,
            state: "waiting".to_owned(),
            event_id: n as u64,
        };
        let id = format!("{}-{}-0", reminder.user_id, reminder.code);
        let due = Due {
            user_id: Some(reminder.user_id),
            code: Some(reminder.code.clone()),
            occ: Some(0),
            discord_server_id: Some(1),
            ..Due::new(reminder.due_at, "reminder", &id)
        };
        let both = Transaction::new(Token::new(format!("prepare-{n}"))).put(&reminder).put(&due);
        let _ = dynamo.transact(both).await.expect("it is written");
    }
}

const PEOPLE: [&str; 4] = ["ann", "bob", "mo", "olga"];

/// The engine of this process for others, as DynamoDB offers itself.
async fn serve(engine: Embedded) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let answer = move |headers: HeaderMap, body: Bytes| {
        let engine = engine.clone();
        async move {
            let mut request = HttpRequest::new(SdkBody::from(body.to_vec()));
            let target =
                headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
            request.headers_mut().insert("x-amz-target", target.to_owned());
            let response = engine.call(request).await.expect("it answers");
            let status = StatusCode::from_u16(response.status().as_u16()).expect("it is a status");
            (status, response.body().bytes().unwrap_or_default().to_vec())
        }
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

#[tokio::test]
async fn a_thousand_reminders_come_once_each_while_instances_are_killed() {
    const REMINDERS: usize = 1_000;
    const KILLS: usize = 6;
    /// A lease of a dead instance lasts a minute, and several may follow each other.
    const LONGEST: Duration = Duration::from_secs(300);
    let mut rng = StdRng::seed_from_u64(seed(3));
    let kills = rounds(KILLS);
    let mut world = world();
    world.settings.max_concurrency = usize::MAX;
    let (discord, engine) = (Discord::with(world).await, engine(&tables::all()).await);
    let url = serve(engine.clone()).await;
    let start = || Mneme::start(run_over(&discord, ["--store", "dynamodb", "--dynamodb-endpoint", &url]));
    let mut events = together(PEOPLE.map(|name| discord.simulator.watch(discord.id(name))));
    let mut bots = [start(), start()];
    for bot in &mut bots {
        bot.is_ready().await;
    }
    prepare(&discord, &engine, REMINDERS, &mut rng).await;
    let mut messages = BTreeMap::<Id, String>::new();
    let hear = |event: Value, messages: &mut BTreeMap<Id, String>| {
        assert_ne!(event["t"], "LAGGED", "the test reads too slowly");
        let text = event["d"]["content"].as_str().unwrap_or_default();
        if event["t"] == "MESSAGE_CREATE" && is_reminder(text) {
            let id = event["d"]["id"].as_str().expect("it has an id").parse().expect("it is a number");
            messages.insert(id, text.to_owned());
        }
    };
    let all = async {
        for kill in 0..kills {
            let enough = messages.len() + rng.random_range(20..REMINDERS / (kills + 1));
            while messages.len() < enough.min(REMINDERS) {
                hear(events.next().await.expect("the simulator runs"), &mut messages);
            }
            let place = kill % bots.len();
            let killed = std::mem::replace(&mut bots[place], start());
            killed.kill().await;
        }
        while messages.len() < REMINDERS {
            hear(events.next().await.expect("the simulator runs"), &mut messages);
        }
    };
    let in_time = timeout(LONGEST, all).await;
    println!("{} of {REMINDERS} after {kills} kills", messages.len());
    in_time.expect("they all come");
    // What was begun and is not known to be done ends when its lease does; nothing may come twice then.
    let ended = timeout(LONGEST, nothing_is_due(&engine)).await;
    ended.expect("they are all done");
    while let Some(Some(event)) = futures::FutureExt::now_or_never(events.next()) {
        hear(event, &mut messages);
    }
    let mut texts = BTreeMap::<&str, usize>::new();
    for text in messages.values() {
        let name = text.split_whitespace().nth(2).expect("a mark, a person and a name");
        *texts.entry(name).or_default() += 1;
    }
    let twice: Vec<_> = texts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "delivered more than once: {twice:?}");
    assert_eq!(texts.len(), REMINDERS);
    for bot in bots {
        bot.kill().await;
    }
    discord.end().await;
}

/// The bot's reminders by name, wherever they were posted.
fn delivered(discord: &Discord) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for name in PEOPLE {
        let mut places = vec![discord.direct(name)];
        // Everybody sees the same channels.
        if name == PEOPLE[0] {
            places.extend(["cats", "dogs"].map(|channel| discord.person("zoo", channel, name)));
        }
        let texts = places.iter().flat_map(Person::heard).map(|answer| answer.text());
        for text in texts.filter(|text| is_reminder(text)) {
            let name = text.split_whitespace().nth(2).expect("a mark, a person and a name");
            *names.entry(name.to_owned()).or_default() += 1;
        }
    }
    names
}

#[tokio::test]
async fn bad_weather_on_both_sides_neither_loses_nor_doubles_a_reminder() {
    const REMINDERS: usize = 60;
    const LONGEST: Duration = Duration::from_secs(600);
    let seed = seed(5);
    let mut rng = StdRng::seed_from_u64(seed);
    let (discord, engine) = (Discord::with(world_of(seed)).await, engine(&tables::all()).await);
    prepare(&discord, &engine, REMINDERS, &mut rng).await;
    discord.simulator.faults().weather(Weather {
        fail: 0.05,
        lose_reply: 0.1,
        rate_limit: 0.02,
        ..Weather::default()
    });
    let mut bots = Vec::new();
    let mut all_faults = Vec::new();
    for ahead in [Duration::ZERO, Duration::from_secs(30)] {
        let faults = Faults::new();
        let store =
            Connected { dynamo: over(&engine, Clock::ahead(ahead), &faults), ..store_ahead(&engine, ahead) };
        bots.push(discord.bot(store, instance()).await);
        faults.plan(rng.random(), Rates::STORMY);
        all_faults.push(faults);
    }
    timeout(LONGEST, nothing_is_due(&engine)).await.expect("they are all done");
    all_faults.iter().for_each(Faults::calm);
    for faults in &all_faults {
        faults.deliver_late().await;
    }
    discord.simulator.faults().calm();
    let names = delivered(&discord);
    assert_eq!(names.len(), REMINDERS, "{names:?}");
    assert!(names.values().all(|count| *count == 1), "{names:?}");
    for bot in bots {
        bot.stop().await;
    }
    // Acknowledged before, says the repeat of a call whose reply was lost.
    discord.end_despite(|record| record.response["code"] == 40060).await;
}

async fn nothing_is_due(engine: &Embedded) {
    let dynamo = store_ahead(engine, Duration::ZERO).dynamo;
    let mut looks = tokio::time::interval(Duration::from_millis(250));
    loop {
        let mut count = 0;
        for hour in [0, 1] {
            let time = dynamo.now().minus(Duration::from_secs(hour * 3_600));
            let query = mneme::dynamo::Query::<Due>::of(mneme::due::hour(time));
            count += dynamo.query_all(query).await.expect("it answers").len();
        }
        if count == 0 {
            return;
        }
        looks.tick().await;
    }
}

/// Only one's own are suggested; the first key may come before they are known.
#[tokio::test]
async fn codes_are_suggested_while_typing() {
    let stage = Stage::new(Duration::ZERO).await;
    let [ann, bob] = ["ann", "bob"].map(|name| stage.discord.person("zoo", "cats", name));
    for text in ["water the cactus", "feed the cat"] {
        assert!(ann.says(&format!(".remind me in 2h to {text}")).await.starts_with("⏰ Ok"));
    }
    let typing = async {
        loop {
            let suggested = ann.types("remind cancel", "code", "cactus").await;
            if !suggested.is_empty() {
                return suggested;
            }
        }
    };
    let suggested = timeout(PATIENCE, typing).await.expect("they are read");
    assert!(suggested.len() == 1 && suggested[0].ends_with(" water the cactus"), "{suggested:?}");
    let code = &suggested[0][..4];
    assert_eq!(ann.types("remind snooze", "code", code).await, suggested);
    assert!(bob.types("remind cancel", "code", "").await.is_empty());
    assert_eq!(
        ann.slash("remind cancel", &[("code", code.into())]).await.text(),
        format!("🗑️ Cancelled `{code}`")
    );
    let left = async { while ann.types("remind cancel", "code", "").await.len() != 1 {} };
    timeout(PATIENCE, left).await.expect("what was cancelled is suggested no longer");
    stage.end_despite(|_| false).await;
}
