//! An answer arrives, once, whatever happens to the calls that carry it.

use std::time::Duration;

use futures::future::join_all;
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::dynamo::faults::Faults as StoreFaults;
use mneme::sim::world::permission;
use mneme::sim::{Faults, Record, Removed, Scope};
use mneme::tables;
use serde_json::json;

use crate::harness::{Answer, Discord, Person, Stage, instance, start, start_impatient, wait, world};

const MESSAGES: &str = "POST /channels/{c}/messages";
const CALLBACKS: &str = "POST /interactions/{i}/{token}/callback";
const ORIGINAL: &str = "PATCH /webhooks/{a}/{token}/messages/@original";
const TYPING: &str = "POST /channels/{c}/typing";

/// What happens to the call that brings an answer, and how often it is sent then.
type Mishap = (&'static str, fn(&Faults, &str), u64);

const MISHAPS: &[Mishap] = &[
    ("a 429 of the route", |f, route| f.rate_limit(route, 2, Duration::from_secs(1), Scope::User), 3),
    ("a 429 of everything", |f, route| f.rate_limit(route, 1, Duration::from_secs(1), Scope::Global), 2),
    ("502 and a page", |f, route| f.fail(route, 2, 502, "<html>bad gateway</html>"), 3),
    ("500 and nothing", |f, route| f.fail(route, 1, 500, ""), 2),
    ("a lost reply", |f, route| f.lose_reply(route, 1), 2),
    ("two lost replies", |f, route| f.lose_reply(route, 2), 3),
    ("no reply", |f, route| f.hang(route, 1), 2),
];

/// After an attempt whose reply was lost, Discord says that somebody has answered already.
fn answered_already(record: &Record) -> bool {
    record.response["code"] == 40060
}

fn ann(stage: &Stage) -> Person<'_> {
    stage.person("zoo", "cats", "ann")
}

#[tokio::test]
async fn a_reply_arrives_once_whatever_happens_to_the_call() {
    join_all(MISHAPS.iter().map(|(name, happen, calls)| async move {
        let stage = start_impatient(world()).await;
        happen(stage.discord.simulator.faults(), MESSAGES);
        let ann = ann(&stage);
        assert!(ann.says(".remember tea is hot").await.starts_with("✅ Ok"), "{name}");
        // It is seen before the bot knows that it is: the next one waits for that.
        stage.discord.called(MESSAGES, *calls).await;
        assert_eq!(ann.says(".rem tea").await, "hot", "{name}");
        assert_eq!(stage.discord.simulator.calls(MESSAGES), calls + 1, "{name}");
        assert_eq!(ann.heard().len(), 2, "{name}");
        stage.end().await;
    }))
    .await;
}

#[tokio::test]
async fn an_interaction_is_answered_once_whatever_happens_to_the_call() {
    join_all(MISHAPS.iter().map(|(name, happen, calls)| async move {
        let stage = start_impatient(world()).await;
        happen(stage.discord.simulator.faults(), CALLBACKS);
        let ann = ann(&stage);
        assert!(remembers(&ann).await.text().starts_with("✅ Ok"), "{name}");
        stage.discord.called(CALLBACKS, *calls).await;
        assert_eq!(ann.slash("rem get", &[("key", json!("tea"))]).await.text(), "hot", "{name}");
        assert_eq!(stage.discord.simulator.calls(CALLBACKS), calls + 1, "{name}");
        assert_eq!(ann.heard().len(), 2, "{name}");
        stage.end_despite(answered_already).await;
    }))
    .await;
}

async fn remembers(person: &Person<'_>) -> Answer {
    person.slash("rem set", &[("key", json!("tea")), ("value", json!("hot"))]).await
}

/// A change takes longer than Discord waits.
async fn with_a_slow_store() -> (Stage, StoreFaults) {
    let faults = StoreFaults::new();
    let config = StoreConfig { faults: Some(faults.clone()), ..StoreConfig::new(Store::Memory) };
    let connected = connect(config).await.expect("memory needs nothing");
    connected.dynamo.create_tables(&tables::all()).await.expect("a new engine takes new tables");
    let discord = Discord::with(world()).await;
    let bot = discord.bot_with(discord.impatient(), connected, instance()).await;
    // A change is a read and a write at least, and Discord is told after a second and a half.
    faults.set_slow(Some(Duration::from_millis(900)));
    (Stage { discord, bot }, faults)
}

#[tokio::test]
async fn a_late_answer_is_announced_and_arrives_once() {
    join_all(MISHAPS.iter().map(|(name, happen, calls)| async move {
        let (stage, store) = with_a_slow_store().await;
        happen(stage.discord.simulator.faults(), ORIGINAL);
        let ann = ann(&stage);
        let answer = remembers(&ann).await;
        assert!(answer.text().starts_with("✅ Ok"), "{name}");
        stage.discord.called(ORIGINAL, *calls).await;
        store.set_slow(None);
        let undone = ann.presses(&answer, "Undo").await;
        assert_eq!(undone.text(), "↩️ Undone: `tea` is forgotten again", "{name}");
        assert_eq!(ann.heard().len(), 1, "{name}");
        assert_eq!(stage.discord.simulator.calls(CALLBACKS), 2, "{name}: thinking, and the button");
        stage.end().await;
    }))
    .await;
}

#[tokio::test]
async fn a_late_reply_and_a_late_button_are_announced_too() {
    let (stage, store) = with_a_slow_store().await;
    let ann = ann(&stage);
    let answer = ann.asks(".remember tea is hot").await;
    assert_eq!(stage.discord.simulator.calls(TYPING), 1);
    // That it has been announced is what Discord says when the reply to that was lost.
    stage.discord.simulator.faults().lose_reply(CALLBACKS, 1);
    let undone = ann.presses(&answer, "Undo").await;
    assert_eq!(undone.text(), "↩️ Undone: `tea` is forgotten again");
    assert_eq!(stage.discord.simulator.calls(CALLBACKS), 2);
    store.set_slow(None);
    assert_eq!(ann.says(".ping").await, "🟢 Pong!");
    assert_eq!(ann.heard().len(), 2);
    stage.end_despite(answered_already).await;
}

#[tokio::test]
async fn a_channel_where_the_bot_may_not_speak_is_left_in_peace() {
    let discord = Discord::start().await;
    let (bot, counters) = discord.bot_that_counts().await;
    let stage = Stage { discord, bot };
    // The owner may speak wherever others may not.
    let (olga, direct) = (stage.person("zoo", "cats", "olga"), stage.discord.direct("olga"));
    stage.discord.simulator.faults().revoke(permission::SEND_MESSAGES);
    for unspoken in 1..=3 {
        olga.say(".ping");
        counters.reach("mneme_unspoken_total", unspoken).await;
    }
    assert_eq!(stage.discord.simulator.calls(MESSAGES), 1, "one refusal is enough");
    // Elsewhere, and to interactions, it speaks all the same.
    assert_eq!(direct.says("ping").await, "🟢 Pong!");
    assert_eq!(olga.slash("ping", &[]).await.text(), "🟢 Pong!");
    stage.end_despite(|record| record.response["code"] == 50013).await;
}

#[tokio::test]
async fn an_answer_comes_without_what_it_replies_to() {
    let stage = start().await;
    let (ann, faults) = (ann(&stage), stage.discord.simulator.faults());
    let mut seen = ann.watch();
    // Deleted before the bot can answer.
    let message = ann.say(".ping");
    faults.remove(Removed::Message { channel: ann.channel, message });
    let bots = |t: &str, d: &serde_json::Value| t == "MESSAGE_CREATE" && d["author"]["bot"] == true;
    assert_eq!(wait(&mut seen, bots).await.text(), "🟢 Pong!");
    // Without the history a reply is refused, and comes as a plain message.
    faults.revoke(permission::READ_MESSAGE_HISTORY);
    ann.say(".ping");
    let answer = wait(&mut seen, bots).await;
    assert_eq!((answer.text().as_str(), &answer.0["message_reference"]), ("🟢 Pong!", &json!(null)));
    stage.end_despite(|record| record.response["code"] == 160_002).await;
}
