//! The army on a running server: people with accounts, each with a gateway connection of its own.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use crate::child::{mneme, outcome};
use crate::harness::{Discord, instance, memory};

const PEOPLE: [&str; 3] = ["ann", "bob", "mo"];

/// Everything that people do, with names of the file and with others.
const TREE: &str = r#"army: 1
name: visit
lists: { guests: [ ann, visitor ] }
root:
  sequence:
    - deal: { list: guests, into: guest }
    - login: { name: "{{guest}}" }
    - ask: { say: ".ping", expect: { contains: "Pong!" } }
    - ask: { mention: "ping", expect: { contains: "Pong!" } }
    - ask: { dm: "ping", expect: { contains: "Pong!" } }
    - go: dogs
    - memory.remember: { key: "tea of {{guest}}", value: hot, door: slash }
    - slash: { command: rem get, options: { key: "tea of {{guest}}" }, expect: { contains: hot } }
    - slash: { command: mem edit, options: { key: "tea of {{guest}}" } }
    - submit: { fields: { value: cold }, expect: { contains: revision 2 } }
    - click: { label: Undo, expect: { contains: Undone } }
    - slash: { command: rem get, options: { key: "tea of {{guest}}" }, expect: { contains: hot } }
    - eventually:
        within: 10s
        do:
          sequence:
            - autocomplete: { command: rem get, option: key, typed: tea, into: choices }
            - set: { first: "{{choices.0.value | none}}" }
            - check: "first contains \"tea of\""
    - say: { text: "as you wish" }
    - react: { emoji: "👍", on: "{{last.id}}" }
    - edit: { text: "as I wish" }
    - delete
    - negate: { join: { server: moon } }
"#;

fn army(folder: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = mneme(["army", "run", "--tree", "visit.yaml", "--discord", url]);
    command.args(["--accounts", "accounts", "--iterations", "1", "--seed", "1"]).args(arguments);
    command.current_dir(folder);
    command
}

fn folder(discord: &Discord) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let line = |name: &&str| format!("{name} {}\n", discord.simulator.person_token(discord.id(name)));
    let accounts: String = PEOPLE.iter().map(line).collect();
    std::fs::write(folder.path().join("accounts"), format!("# people\n{accounts}")).unwrap();
    std::fs::write(folder.path().join("visit.yaml"), TREE).unwrap();
    folder
}

#[tokio::test]
async fn people_with_accounts_do_all_that_simulated_ones_do() {
    let discord = Discord::start().await;
    let bot = discord.bot(memory().await, instance()).await;
    let folder = folder(&discord);
    let mut command = army(folder.path(), &discord.simulator.url(), &["--n", "2", "--server", "zoo"]);
    command.args(["--json", "run.json", "--html", "run.html", "--trace", "trace"]).env("LOG", "trace");
    let (status, out, err) = outcome(command).await;
    assert_eq!(status.code(), Some(0), "{out}\n{err}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let document: Value = serde_json::from_str(&read("run.json")).unwrap();
    // What is suggested may not be known yet when the first key is pressed.
    for (action, counted) in
        document["actions"].as_object().unwrap().iter().filter(|(name, _)| *name != "check")
    {
        let wanted = if action == "join" { "fail_count" } else { "success_count" };
        assert!(counted[wanted] == counted["runs"], "{action}: {counted}\n{}", read("bot_run.log"));
    }
    assert_eq!(document["promises"]["skipped"], true, "{out}");
    for text in [&out, &err, &read("run.json"), &read("run.html"), &read("trace"), &read("bot_run.log")] {
        for name in PEOPLE {
            assert!(!text.contains(&discord.simulator.person_token(discord.id(name))), "{name}'s token");
        }
    }
    // Somebody whose name is not in the file has an account that nobody else has.
    let remembered = discord.person("zoo", "dogs", "ann").says(".rem tea of visitor").await;
    assert!(remembered.contains("hot"), "{remembered}");
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn what_cannot_be_is_told_before_anybody_comes() {
    let discord = Discord::start().await;
    let folder = folder(&discord);
    let url = discord.simulator.url();
    for (url, more, code, told) in [
        ("https://discord.com", &["--n", "1"][..], 2, "Discord's terms forbid"),
        ("https://ptb.discord.com/api/v10", &["--n", "1"], 2, "Discord's terms forbid"),
        (&url, &["--n", "4"], 2, "4 bots, 3 accounts"),
        (
            &url,
            &["--n", "1", "--server", "moon"],
            1,
            "the account is not in a server moon; it is in: zoo, farm",
        ),
        (&url, &["--n", "1", "--server", "zoo"], 1, "no bot offers a command in zoo"),
    ] {
        let (status, out, err) = outcome(army(folder.path(), url, more)).await;
        assert_eq!(status.code(), Some(code), "{out}\n{err}");
        assert!(err.contains(told), "{err}");
    }
    std::fs::write(folder.path().join("accounts"), "ann person.1.wrong\n").unwrap();
    let (status, _, err) = outcome(army(folder.path(), &url, &["--n", "1"])).await;
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("let the account ann come: the gateway does not know the token"), "{err}");
    assert!(!err.contains("wrong"), "{err}");
    discord.end_despite(|_| true).await;
}
