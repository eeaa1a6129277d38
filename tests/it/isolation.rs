//! A server never sees what another one taught.

use mneme::commands::ALL;
use mneme::context::{Command, Kind, Place};
use serde_json::{Value, json};

use crate::harness::start;

/// What nobody in the other server may ever read.
const SECRET: &str = "the treasure lies under the oak";
const KEY: &str = "treasure";

/// Every option filled in with what would find the secret, were it in reach.
pub fn options(command: &Command, person: u64, channel: u64) -> Vec<(&'static str, Value)> {
    let value = |kind: Kind, name: &str| match (kind, name) {
        (Kind::Text, "key" | "text" | "word" | "new") => json!(KEY),
        (Kind::Text, "command") => json!("mem"),
        (Kind::Text, "at" | "to") => json!("1"),
        (Kind::Text, _) => json!("something else"),
        (Kind::Integer { min, .. }, _) => json!(min.max(1)),
        (Kind::Bool, _) => json!(false),
        (Kind::Choice(choices), _) => json!(choices[0]),
        (Kind::Person, _) => json!({ "user": person }),
        (Kind::Channel, _) => json!({ "channel": channel }),
        (Kind::Attachment, _) => json!({ "file": "mneme-export.jsonl.gz", "data": KEY }),
    };
    command.options.iter().map(|option| (option.name, value(option.kind, option.name))).collect()
}

#[tokio::test]
async fn no_command_shows_what_another_server_taught() {
    let stage = start().await;
    let there = stage.person("farm", "cats", "olga");
    assert!(there.says(&format!(".rem {KEY} is {SECRET}")).await.starts_with('✅'));
    there.says(&format!(".mem append {KEY} is {SECRET}")).await;
    there.says(&format!(".mem alias gold = {KEY}")).await;
    let bob = stage.discord.id("bob");
    let thanked = there.says(&format!(".sparkle <@{bob}> for {SECRET}")).await;
    assert!(thanked.starts_with('✨'), "{thanked}");
    // Olga owns both servers, so nothing is kept from her here by rank.
    let here = stage.person("zoo", "cats", "olga");
    let direct = stage.discord.direct("olga");
    let bot = stage.discord.simulator.read(|world| world.bot());
    let leaks = |how: &str, answer: &str| {
        assert!(!answer.contains("oak"), "{how} shows the secret: {answer}");
    };
    for command in ALL.iter().flat_map(|feature| feature.commands) {
        for words in command.prefix {
            for rest in [
                KEY,
                "gold",
                "1",
                &format!("{KEY} 1 2"),
                &format!("{KEY} at 1"),
                &format!("x = {KEY}"),
                &format!("<@{bob}>"),
                "",
            ] {
                if command.place == Place::Anywhere && !command.options.is_empty() && *words == "echo" {
                    continue;
                }
                leaks(words, &here.says(&format!(".{words} {rest}")).await);
                leaks(words, &here.says(&format!("<@{bot}> {words} {rest}")).await);
                leaks(words, &direct.says(&format!("{words} {rest}")).await);
            }
        }
        for path in command.slash {
            if path.starts_with("admin ") || ["mem edit", "rem set", "remember"].contains(path) {
                // `/admin` is in the servers of the owners only. The others would open a modal or teach this server the key; below they come by text.
                continue;
            }
            leaks(path, &here.slash(path, &options(command, here.id, here.channel)).await.text());
        }
    }
    let suggested = here.types("rem get", "key", "go").await;
    assert!(!suggested.contains(&"gold".to_owned()), "{suggested:?}");
    // What was done here has changed nothing there.
    assert_eq!(there.says(".rem gold").await, format!("{SECRET}\n{SECRET}"));
    stage.end().await;
}
