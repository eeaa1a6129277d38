//! What people see when they teach the bot something, beyond what a chat log can tell.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;

use crate::harness::{Discord, instance, memory, start};

#[tokio::test]
async fn suggestions_come_while_typing() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    for key in ["meeting", "menu", "wifi"] {
        ann.says(&format!(".rem {key} is something")).await;
    }
    // The first key pressed starts loading the list; reading a page of it waits until it is there.
    ann.types("rem get", "key", "me").await;
    ann.says(".mem list").await;
    assert_eq!(ann.types("rem get", "key", "me").await, ["meeting", "menu"]);
    assert_eq!(ann.types("help", "command", "ping").await, ["ping"]);
    let stranger = stage.person("farm", "cats", "bob");
    stranger.says(".mem list").await;
    assert!(stranger.types("rem get", "key", "me").await.is_empty());
    stage.end().await;
}

#[tokio::test]
async fn a_message_is_remembered_from_its_menu() {
    let stage = start().await;
    let (ann, bob) = (stage.person("zoo", "cats", "ann"), stage.person("zoo", "cats", "bob"));
    let said = bob.say("the barbecue starts at seven");
    let modal = ann.opens("Remember this", said).await;
    let inputs = modal.inputs();
    assert_eq!(inputs[1].1, "the barbecue starts at seven");
    let answer = ann.submits(&modal, &[(&inputs[0].0, "barbecue"), (&inputs[1].0, &inputs[1].1)]).await;
    assert_eq!(answer.text(), format!("✅ Ok <@{}>, I'll remember `barbecue` for you", ann.id));
    assert_eq!(bob.says(".rem barbecue").await, "the barbecue starts at seven");
    stage.end().await;
}

#[tokio::test]
async fn a_memory_is_edited_in_a_modal() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    ann.says(".rem menu is soup").await;
    let modal = ann.slash_for_modal("mem edit", &[("key", json!("menu"))]).await;
    let inputs = modal.inputs();
    let (field, old) = inputs.last().unwrap();
    assert_eq!(old, "soup");
    let answer = ann.submits(&modal, &[(field, "soup and bread")]).await;
    assert!(answer.text().starts_with("✏️ `menu` is now revision 2"), "{}", answer.text());
    assert_eq!(ann.says(".rem menu").await, "soup and bread");
    stage.end().await;
}

#[tokio::test]
async fn pages_turn_by_buttons() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    for n in 10..35 {
        ann.says(&format!(".rem key{n} is {n}")).await;
    }
    let first = ann.asks(".rem search").await;
    assert!(first.text().contains("• key10") && first.text().contains("And 5 more..."), "{}", first.text());
    let second = ann.presses(&first, "More ▶").await;
    assert_eq!(second.id(), first.id(), "the page turns in place");
    assert!(second.text().contains("• key34") && !second.text().contains("• key10"), "{}", second.text());
    stage.end().await;
}

#[tokio::test]
async fn a_button_works_after_a_restart() {
    let discord = Discord::start().await;
    let connected = memory().await;
    let bot = discord.bot(connected.clone(), instance()).await;
    let ann = discord.person("zoo", "cats", "ann");
    let thanks = ann.asks(".rem tea is hot").await;
    bot.stop().await;
    let bot = discord.bot(connected, instance()).await;
    let undone = ann.presses(&thanks, "Undo").await;
    assert_eq!(undone.text(), "↩️ Undone: `tea` is forgotten again");
    assert_eq!(undone.id(), thanks.id(), "the answer itself says that it was taken back");
    assert_eq!(undone.labels(), Vec::<&str>::new(), "there is nothing to press a second time");
    assert!(ann.says(".rem tea").await.starts_with("🤔"));
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn long_values_come_back_whole() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    let value = "word ".repeat(799) + "end.";
    let answer = ann.slash("rem set", &[("key", json!("long")), ("value", json!(value))]).await;
    assert!(answer.text().starts_with("✅"), "{}", answer.text());
    let first = ann.asks(".rem long").await;
    let parts = ann.parts_of(&first, 2).await;
    assert_eq!(parts.concat().replace(char::is_whitespace, ""), value.replace(char::is_whitespace, ""));
    let too_long = "x".repeat(4_001);
    let refused = ann.slash("rem set", &[("key", json!("longer")), ("value", json!(too_long))]).await;
    assert!(refused.text().contains("4,001"), "{}", refused.text());
    assert!(refused.is_private());
    stage.end().await;
}

#[tokio::test]
async fn of_64_at_once_one_wins_and_63_are_told() {
    let discord = Discord::start().await;
    let connected = memory().await;
    let bots = [discord.bot(connected.clone(), instance()).await, discord.bot(connected, instance()).await];
    let people: Vec<_> = (0..64).map(|n| discord.person("zoo", "cats", &format!("person{n}"))).collect();
    let lines: Vec<String> = (0..64).map(|n| format!(".remember lunch is {n}")).collect();
    let answers = join_all(people.iter().zip(&lines).map(|(person, line)| person.says(line))).await;
    let won: Vec<&String> = answers.iter().filter(|answer| answer.starts_with("✅")).collect();
    let told = answers.iter().filter(|answer| answer.starts_with("I am already remembering")).count();
    assert_eq!((won.len(), told), (1, 63), "{answers:#?}");
    let value = people[0].says(".rem lunch").await;
    let winner = answers.iter().position(|answer| answer.starts_with("✅")).unwrap();
    assert_eq!(value, winner.to_string());
    for bot in bots {
        bot.stop().await;
    }
    discord.end().await;
}

#[tokio::test]
async fn of_64_lines_at_once_none_is_lost() {
    let stage = start().await;
    let olga = stage.person("zoo", "cats", "olga");
    olga.says(".rem list is start").await;
    let people: Vec<_> = (0..64).map(|n| stage.person("zoo", "cats", &format!("person{n}"))).collect();
    let lines: Vec<String> = (0..64).map(|n| format!(".mem append list is line{n}")).collect();
    let answers = join_all(people.iter().zip(&lines).map(|(person, line)| person.says(line))).await;
    let value = olga.says(".rem list").await;
    let kept: BTreeSet<&str> = value.lines().collect();
    for (n, answer) in answers.iter().enumerate() {
        let is_in = kept.contains(format!("line{n}").as_str());
        assert_eq!(answer.starts_with("✏️"), is_in, "{answer}");
    }
    assert_eq!(kept.len(), 65, "in one process they take turns, so all are in: {answers:#?}");
    stage.end().await;
}
