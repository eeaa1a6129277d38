//! What people see of sparkles, beyond what a chat log can tell.

use std::collections::BTreeMap;

use futures::StreamExt;
use mneme::bot::Exit;
use mneme::dynamo::Query;
use mneme::history::Revision;
use mneme::sim::{Id, World};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{Discord, PATIENCE, Person, answered, instance, memory, start, together, world};

const PEOPLE: usize = 64;

/// A whole server sparkles one person at the same moment, and two instances hear all of it.
#[tokio::test]
async fn sixty_four_people_sparkle_one_at_once() {
    let (mut world, store) = (world(), memory().await);
    let names: Vec<String> = (0..PEOPLE).map(|n| format!("fan{n}")).collect();
    names.iter().for_each(|name| _ = world.guild("zoo").person(name));
    let discord = Discord::with(world).await;
    let bots = [discord.bot(store.clone(), instance()).await, discord.bot(store.clone(), instance()).await];
    let bob = discord.person("zoo", "cats", "bob");
    let people: Vec<Person<'_>> = names.iter().map(|name| discord.person("zoo", "cats", name)).collect();
    let mut events = together([bob.watch()]);
    for (n, person) in people.iter().enumerate() {
        if n % 4 == 0 {
            person.call("sparkle", &[("user", json!({ "user": bob.id })), ("reason", json!("all"))]);
        } else {
            person.say(&format!(".sparkle <@{}> for all", bob.id));
        }
    }
    let mut answers: BTreeMap<Id, String> = BTreeMap::new();
    while answers.len() < PEOPLE {
        let event = timeout(PATIENCE, events.next()).await.expect("the bot answers").expect("it runs");
        if let Some((to, answer)) = answered(&event) {
            let first = answers.entry(to).or_insert_with(|| answer.text()).clone();
            assert_eq!(first, answer.text(), "one answer to each");
        }
    }
    for bot in bots {
        assert_eq!(bot.stop().await, Exit::Asked);
    }
    let acknowledged = answers.values().filter(|answer| answer.contains("✨")).count();
    let zoo = discord.simulator.change(|world: &mut World| world.guild("zoo").id());
    let rows: Vec<Revision> = store.dynamo.query_all(Query::of(zoo)).await.unwrap();
    let mut totals: Vec<i64> = rows.iter().filter_map(|row| row.total).collect();
    totals.sort_unstable();
    assert_eq!(totals, (1..=PEOPLE as i64).collect::<Vec<_>>(), "each total once");
    assert_eq!(acknowledged, PEOPLE, "{answers:?}");
    let bot = discord.bot(store, instance()).await;
    let shown = bob.says(".show sparkles").await;
    assert!(shown.starts_with(&format!("✨✨✨ **Total Sparkles: {PEOPLE}**✨✨✨\n• all - ")), "{shown}");
    bot.stop().await;
    discord.end_despite(|record| record.response["code"] == 40060).await;
}

#[tokio::test]
async fn a_message_is_worth_a_sparkle() {
    let stage = start().await;
    let (ann, bob) = (stage.person("zoo", "cats", "ann"), stage.person("zoo", "cats", "bob"));
    ann.says(&format!(".sparkle <@{}>", bob.id)).await;
    let said = bob.say("I have made tea for everybody");
    let olga = stage.person("zoo", "cats", "olga");
    let modal = olga.opens("✨ Sparkle", said).await;
    let answer = olga.submits(&modal, &[("reason", "the tea")]).await;
    let expected = format!("<@{}> sparkled <@{}> for the tea ✨✨**2**✨✨", olga.id, bob.id);
    assert_eq!(answer.text(), expected);
    // Nobody was pinged by typing, so the answer does it.
    assert_eq!(answer.0["mentions"][0]["id"], bob.id.to_string());
    let mo = stage.person("zoo", "cats", "mo");
    let modal = mo.opens("✨ Sparkle", said).await;
    let answer = mo.submits(&modal, &[("reason", "")]).await;
    assert_eq!(answer.text(), format!("<@{}> sparkled <@{}> ✨✨**3**✨✨", mo.id, bob.id));
    let log = mo.asks(".sparkles log").await;
    let chosen = log.0["components"][0]["components"][0]["options"][0]["value"].as_str().unwrap();
    let taken = mo.chooses(&log, "Undo…", chosen).await;
    let expected = format!("↩️ Took back <@{}>'s sparkle for <@{}> ✨✨**2**✨✨", mo.id, bob.id);
    assert_eq!(taken.text(), expected);
    stage.end().await;
}

#[tokio::test]
async fn a_bot_needs_no_sparkles() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    let bot = stage.discord.simulator.read(World::bot);
    assert_eq!(ann.says(&format!(".sparkle <@{bot}>")).await, "🤖 Bots don't need sparkles");
    let by_slash = ann.slash("sparkle", &[("user", json!({ "user": bot }))]).await;
    assert_eq!(by_slash.text(), "🤖 Bots don't need sparkles");
    assert!(by_slash.is_private());
    stage.end().await;
}

/// Who has left can still be thanked, by their id; and one of 17 digits is as good as another.
#[tokio::test]
async fn somebody_who_has_left_may_be_thanked() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    let answer = ann.says(".sparkle 12345678901234567 for x").await;
    assert_eq!(answer, "✨🌟✨ <@12345678901234567> just got their first sparkle!! ✨🌟✨");
    stage.end_despite(|record| record.response["code"] == 10013).await;
}
