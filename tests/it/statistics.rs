//! Statistics tell how commands end, where, by whom and when; and what a kill may lose of them.

use std::collections::BTreeMap;

use mneme::clock::{Clock, Timestamp};
use mneme::counts::Tally;
use mneme::dynamo::connect::{Connected, Store, StoreConfig, connect};
use mneme::dynamo::faults::Faults;
use mneme::dynamo::testing::{engine, over};
use mneme::dynamo::{Dynamo, Query};
use mneme::people::Person;
use mneme::sim::{Id, World};
use mneme::tables;
use serde_json::json;

use crate::child::{Mneme, run_on};
use crate::harness::{Discord, instance};

/// The numbers of a row, without who wrote them.
async fn numbers(dynamo: &Dynamo, board: &str, slot: &str) -> BTreeMap<String, i64> {
    let row: Option<Tally> =
        dynamo.get((board.to_owned(), slot.to_owned())).await.expect("the store is there");
    let mut numbers = row.map(|row| row.numbers).unwrap_or_default();
    numbers.retain(|name, _| !name.starts_with("k_") && name != "since");
    numbers
}

fn zoo(discord: &Discord) -> Id {
    discord.simulator.change(|world: &mut World| world.guild("zoo").id())
}

/// Month and day of an event, as boards name them.
fn day(event: Id) -> (String, String) {
    let date = Timestamp::of_snowflake(event).to_string();
    (date[..7].to_owned(), date[8..10].to_owned())
}

#[tokio::test]
async fn every_outcome_is_counted_by_server_person_and_day() {
    let (engine, faults, discord) = (engine(&tables::all()).await, Faults::new(), Discord::start().await);
    let connected = Connected {
        dynamo: over(&engine, Clock::system(), &faults),
        embedded: Some(engine.clone()),
        way: None,
        description: "embedded (in memory)".into(),
    };
    let bot = discord.bot(connected, instance()).await;
    let [ann, bob] = ["ann", "bob"].map(|name| discord.person("zoo", "cats", name));
    ann.says(".remember tea is hot").await;
    ann.says(".mem info nothing").await;
    bob.says(".mem info tea").await;
    faults.set_away(true);
    let failed = ann.asks(".mem info tea").await;
    assert!(failed.text().starts_with("❌ I could not reach my memory"), "{}", failed.text());
    assert!(ann.says(".stats").await.starts_with("❌"), "an unknown total is not zero");
    faults.set_away(false);
    discord.direct("ann").says("ping").await;
    let (month, day) = day(failed.id());
    bot.stop().await;

    let (clear, zoo) = (over(&engine, Clock::system(), &Faults::new()), zoo(&discord));
    let here = numbers(&clear, &format!("{zoo}/usage/{month}"), &format!("{day}#-")).await;
    let count = |name: &str| here.get(name).copied().unwrap_or(0);
    assert_eq!((count("c_mem info"), count("e_mem info"), count("d_mem info")), (3, 1, 1));
    assert_eq!((count("c_remember"), count("e_remember"), count("d_remember")), (1, 0, 0));
    assert_eq!(count("x_remember"), 6_000, "five for the memory, one for who is named here");
    assert!(count("r_mem info") > 0);
    let of =
        async |who: Id| numbers(&clear, &format!("{zoo}/commands/{month}"), &format!("{day}#{who}")).await;
    let anns = of(ann.id).await;
    assert_eq!((anns["n"], anns["c_mem info"], anns["e_mem info"], anns["c_stats"]), (4, 2, 1, 1));
    assert_eq!(of(bob.id).await["n"], 1);
    assert_eq!(numbers(&clear, &format!("{zoo}/commands/all"), &format!("00#{}", ann.id)).await, anns);
    let everywhere = numbers(&clear, "bot/usage/all", "00#-").await;
    assert_eq!((everywhere["c_mem info"], everywhere["c_ping"]), (3, 1));
    // Whoever is named is known to be named there.
    let person: Person = clear.get(bob.id).await.unwrap().unwrap();
    assert!(person.guilds.contains(&zoo));
    discord.end().await;
}

async fn totals(data: &std::path::Path) -> BTreeMap<String, i64> {
    let store =
        connect(StoreConfig::new(Store::File(data.join("mneme.db")))).await.expect("the file is whole");
    numbers(&store.dynamo, "bot/usage/all", "00#-").await
}

#[tokio::test]
async fn a_kill_loses_what_was_not_written_and_nothing_else() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let mut bot = Mneme::start(run_on(&discord, data.path()));
    bot.is_ready().await;
    let [ann, bob] = ["ann", "bob"].map(|name| discord.person("zoo", "cats", name));
    ann.says(".ping").await;
    ann.says(".rem tea is hot").await;
    // It reads what is counted, so it writes what is not yet.
    ann.says(".mem top").await;
    let thanked = ann.says(&format!(".sparkle <@{}> for tea", bob.id)).await;
    assert!(thanked.contains("first sparkle"), "{thanked}");
    ann.says(".ping").await;
    bot.kill().await;
    let counted = totals(data.path()).await;
    assert_eq!((counted.get("c_ping"), counted.get("c_remember")), (Some(&1), Some(&1)));
    assert_eq!(counted.get("c_sparkle"), None, "that is what a kill may lose");

    let mut bot = Mneme::start(run_on(&discord, data.path()));
    bot.is_ready().await;
    let total = ann.says(&format!(".show sparkles <@{}>", bob.id)).await;
    assert!(total.starts_with("✨✨✨ **Total Sparkles: 1**✨✨✨\n• tea - "), "{total}");
    for _ in 0..3 {
        ann.says(".ping").await;
    }
    assert_eq!(bot.terminate().await.0.code(), Some(0));
    let counted = totals(data.path()).await;
    assert_eq!((counted["c_ping"], counted["c_show sparkles"]), (4, 1), "a stop by signal loses nothing");
    discord.end().await;
}

#[tokio::test]
async fn totals_and_costs_are_shown() {
    let stage = crate::harness::start().await;
    let (ann, olga) = (stage.person("zoo", "cats", "ann"), stage.person("zoo", "cats", "olga"));
    ann.says(".rem tea is hot").await;
    ann.says(".ping").await;
    ann.says(".ping").await;
    let totals = ann.says(".stats").await;
    let lines: Vec<&str> = totals.lines().collect();
    let expected = ["📊 Bot Usage Totals", "**Total Servers: 2**", "", "**Command Usage Totals:**", ""];
    assert_eq!(lines[..5], expected);
    assert_eq!(lines[5..7], ["• `.ping` **: 2**", "• `.remember` **: 1**"]);
    assert!(lines[7].starts_with("-# since <t:") && lines[7].contains(", counted up to <t:"), "{totals}");
    let asked = ann.asks(".stats command .ping day").await;
    let (month, day) = day(asked.id());
    let expected = format!(
        "📊 .ping - today\n**Runs: 2**\n**Errors: 0**\n**Refusals: 0**\n\
         **Units per run: 0 RRU, 0 WRU**\n\n{month}-{day}: 2"
    );
    assert_eq!(asked.text(), expected);
    let remembered = ann.slash("stats command", &[("name", json!("remember"))]).await.text();
    assert!(remembered.contains("\n**Units per run: 3 RRU, 6 WRU**\n"), "{remembered}");
    let suggested = ann.types("stats command", "name", "mem e").await;
    assert_eq!(suggested, ["mem edit"]);
    assert!(ann.says(".stats cost").await.starts_with("⛔"));
    let cost = olga.slash("stats cost", &[]).await;
    assert!(cost.is_private());
    let cost = cost.text();
    assert!(cost.contains("\n• `.remember`: "), "{cost}");
    // The one server there is; the two sums may be some commands apart.
    let share = cost.split_once("\n**Share of all servers: ").and_then(|(_, rest)| rest.split_once("%**\n"));
    let share: u8 = share.expect("the share is told").0.parse().expect("it is a number");
    assert!((95..=100).contains(&share), "{cost}");
    assert!(cost.ends_with("-# at $0.125 and $0.625 for a million RRU and WRU"), "{cost}");
    stage.end().await;
}

#[tokio::test]
async fn private_statistics_are_for_their_owner() {
    let (discord, connected) = (Discord::start().await, crate::harness::memory().await);
    let dynamo = connected.dynamo.clone();
    let bot = discord.bot(connected, instance()).await;
    let [ann, bob] = ["ann", "bob"].map(|name| discord.person("zoo", "cats", name));
    let shy = Person { user_id: ann.id, stats_private: Some(true), ..Person::default() };
    dynamo.put(&shy).await.unwrap();
    ann.says(".ping").await;
    let asked = format!(".stats <@{}>", ann.id);
    assert_eq!(bob.says(&asked).await, format!("🔒 <@{}> keeps their statistics private", ann.id));
    assert!(ann.says(&asked).await.contains("**Runs: 1**"));
    let board = bob.says(".leaderboard commands").await;
    assert!(board.contains("🥇 someone - **2**") && !board.contains(&ann.id.to_string()), "{board}");
    let rows: Vec<Tally> = dynamo.query_all(Query::of("bot/usage/all".to_owned())).await.unwrap();
    assert!(rows.is_empty(), "boards are read without writing");
    bot.stop().await;
    discord.end().await;
}
