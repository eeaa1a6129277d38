//! The table of rights: every command, level, class of rules, door and control. What is not in it fails.

use std::collections::BTreeMap;

use mneme::commands::ALL;
use mneme::context::{Command, Instance, Level, Place};
use mneme::sim::World;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};

use crate::harness::{Answer, Discord, Person, Stage, instance, memory, start};
use crate::isolation::options;

/// Who may use what where a server has decided nothing: a new command needs its place here.
const LEVELS: &[(Level, &[&str])] = &[
    (
        Level::Everyone,
        &[
            "about",
            "apropos",
            "confirm",
            "docs",
            "echo",
            "forget",
            "help",
            "history",
            "leaderboard",
            "load",
            "mem alias",
            "mem append",
            "mem claim",
            "mem diff",
            "mem edit",
            "mem give",
            "mem history",
            "mem info",
            "mem list",
            "mem random",
            "mem raw",
            "mem restore",
            "mem show",
            "mem top",
            "mem undo",
            "ping",
            "play",
            "play help",
            "play next",
            "play queue",
            "play stats",
            "prefix",
            "privacy",
            "privacy export",
            "privacy forget",
            "privacy stats",
            "qrcode",
            "rem get",
            "rem search",
            "remember",
            "remind me",
            "reminder cancel",
            "reminder snooze",
            "reminders",
            "render test",
            "show sparkles",
            "skip",
            "sparkle",
            "sparkles given",
            "sparkles log",
            "sparkles top",
            "sparkles undo",
            "stats",
            "stats command",
            "stats here",
            "stats me",
            "status",
            "stop",
            "timezone",
            "uptime",
            "version",
            "whoami",
        ],
    ),
    (Level::Moderator, &["mem lock", "mem unlock", "remind here"]),
    (
        Level::Admin,
        &[
            "allow",
            "audit",
            "block",
            "blocked",
            "cooldown",
            "data export",
            "data import",
            "data rollback",
            "deny",
            "relay",
            "relay link",
            "relay unlink",
            "rules",
            "rules remove",
            "rules test",
            "settings",
            "settings reset",
            "settings set",
            "stats cost",
            "unblock",
        ],
    ),
    (
        Level::BotOwner,
        &[
            "announce",
            "ban",
            "ban server",
            "banned servers",
            "banned users",
            "log tail",
            "privacy process",
            "reboot",
            "servers",
            "unban",
            "unban server",
            "users",
        ],
    ),
];

/// The verbs of buttons, menus and modals: a new one needs its place here.
const CONTROLS: &[&str] = &[
    "audit",
    "banned-servers",
    "banned-users",
    "blocked",
    "data-import",
    "data-undo",
    "forget",
    "mem-edit",
    "mem-history",
    "mem-list",
    "mem-new",
    "mem-restore",
    "mem-search",
    "play-stop",
    "relay-undo",
    "remind-cancel",
    "remind-done",
    "remind-snooze",
    "rules",
    "servers",
    "sparkle",
    "sparkles-log",
    "sparkles-show",
    "sparkles-undo",
    "undo",
];

fn commands() -> impl Iterator<Item = &'static Command> {
    ALL.iter().flat_map(|feature| feature.commands)
}

#[test]
fn every_command_and_control_is_in_the_table() {
    let of = |level: Level| match level {
        Level::Everyone => 'E',
        Level::Moderator => 'M',
        Level::Admin => 'A',
        Level::BotOwner => 'B',
    };
    let there: BTreeMap<&str, char> = commands().map(|command| (command.name(), of(command.level))).collect();
    let here: BTreeMap<&str, char> =
        LEVELS.iter().flat_map(|(level, names)| names.iter().map(|name| (*name, of(*level)))).collect();
    assert_eq!(there, here);
    let mut verbs: Vec<&str> = ALL.iter().flat_map(|feature| feature.controls).map(|c| c.verb).collect();
    verbs.sort_unstable();
    assert_eq!(verbs, CONTROLS);
}

const OWNERS_ONLY: &str = "This command is only available to bot admins.";

fn assert_refused(how: &str, level: Level, answer: &str) {
    let refused = if level == Level::BotOwner {
        answer == OWNERS_ONLY || answer.starts_with("⛔ You can't use")
    } else {
        answer.starts_with("⛔ You can't use")
    };
    assert!(refused, "{how}: {answer}");
}

/// Somebody tries a command through every door, under each of its names; how, and what they are told.
async fn tries(person: &Person<'_>, command: &Command) -> Vec<(String, String)> {
    let bot = person.discord.simulator.read(World::bot);
    let mut told = Vec::new();
    for words in command.prefix {
        // Bad input says nothing about rights, so it is not looked at before them.
        for line in
            [format!(".{words}"), format!("<@{bot}> {words} x"), format!(".{} x is y", words.to_uppercase())]
        {
            let answer = person.says(&line).await;
            told.push((line, answer));
        }
    }
    for path in command.slash {
        // What Discord itself hides from them, they cannot call.
        if let Some(answer) = person.tries_slash(path, &options(command, person.id, person.channel)).await {
            told.push((format!("/{path}"), answer.text()));
        }
    }
    told
}

#[tokio::test]
async fn who_lacks_the_level_is_refused_through_every_door() {
    let discord = Discord::start().await;
    let zoo = discord.simulator.change(|world: &mut World| world.guild("zoo").id());
    // So that `/admin` is there to be tried.
    let owned = Instance { bot_owners: vec![discord.id("root")], admin_guilds: vec![zoo], ..instance() };
    let bot = discord.bot(memory().await, owned).await;
    discord.called("PUT /applications/{a}/guilds/{g}/commands", 1).await;
    let rank = |level: Level| match level {
        Level::Everyone => 0,
        Level::Moderator => 1,
        Level::Admin => 2,
        Level::BotOwner => 3,
    };
    for (name, level) in [("ann", Level::Everyone), ("mo", Level::Moderator), ("olga", Level::Admin)] {
        let person = discord.person("zoo", "cats", name);
        for command in commands().filter(|command| rank(command.level) > rank(level)) {
            for (how, answer) in tries(&person, command).await {
                assert_refused(&format!("{name}: {how}"), command.level, &answer);
            }
            if command.place == Place::Anywhere && command.level == Level::BotOwner {
                for words in command.prefix {
                    assert_eq!(discord.direct(name).says(words).await, OWNERS_ONLY, "{name}: {words}");
                }
            }
        }
    }
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn commands_of_servers_are_refused_in_direct_messages() {
    let stage = start().await;
    let direct = stage.discord.direct("olga");
    for words in
        commands().filter(|command| command.place == Place::Server).flat_map(|command| command.prefix)
    {
        let answer = direct.says(&format!("{words} x")).await;
        assert_eq!(answer, "Please run this command in a Discord channel, not a DM", "{words}");
    }
    stage.end().await;
}

/// Bob is denied everything by one rule.
async fn denied(subject: impl Fn(&Stage) -> String) {
    let stage = start().await;
    let (olga, bob) = (stage.person("zoo", "cats", "olga"), stage.person("zoo", "cats", "bob"));
    let answer = olga.says(&format!(".deny * {}", subject(&stage))).await;
    assert!(answer.starts_with("⛔ Denied"), "{answer}");
    for command in commands() {
        for (how, answer) in tries(&bob, command).await {
            assert_refused(&how, command.level, &answer);
        }
    }
    stage.end().await;
}

#[tokio::test]
async fn a_rule_about_a_person_holds_for_every_command() {
    denied(|stage| format!("<@{}>", stage.discord.id("bob"))).await;
}

#[tokio::test]
async fn a_rule_about_a_role_holds_for_every_command() {
    denied(|stage| {
        let role = stage.discord.simulator.change(|world: &mut World| {
            let bob = world.person("bob");
            let role = world.guild("zoo").role("guests", 0);
            world.guild("zoo").grant(bob, role);
            role
        });
        format!("<@&{role}>")
    })
    .await;
}

#[tokio::test]
async fn a_rule_about_a_channel_holds_for_every_command() {
    denied(|stage| format!("<#{}>", stage.person("zoo", "cats", "bob").channel)).await;
}

#[tokio::test]
async fn a_rule_about_everyone_holds_for_every_command() {
    denied(|_| "everyone".to_owned()).await;
}

/// A message of the bot's with these buttons: what one of ours would have put there, for somebody else.
async fn buttons(person: &Person<'_>, verbs: &[&str]) -> Answer {
    let simulator = &person.discord.simulator;
    let button =
        |verb: &&str| json!({ "type": 2, "style": 2, "label": verb, "custom_id": format!("{verb}:1") });
    let row: Vec<Value> = verbs.iter().map(button).collect();
    let body = json!({ "content": "somebody else's", "components": [{ "type": 1, "components": row }] });
    let posted = reqwest::Client::new()
        .post(format!("{}/api/v10/channels/{}/messages", simulator.url(), person.channel))
        .header(AUTHORIZATION, format!("Bot {}", simulator.token()))
        .header(CONTENT_TYPE, "application/json")
        .body(body.to_string());
    let message = posted.send().await.unwrap().text().await.unwrap();
    Answer(serde_json::from_str(&message).unwrap())
}

#[tokio::test]
async fn a_control_asks_for_the_rights_of_its_command() {
    let stage = start().await;
    let [olga, ann, bob] = ["olga", "ann", "bob"].map(|name| stage.person("zoo", "cats", name));
    let command = |verb: &str| {
        let mut controls = ALL.iter().flat_map(|feature| feature.controls);
        let name = controls.find(|control| control.verb == verb).and_then(|control| control.command)?;
        commands().find(|command| command.name() == name)
    };
    let press_all = async |person: &Person<'_>, wanted: &dyn Fn(&Command) -> bool| {
        for verbs in CONTROLS.chunks(5) {
            let message = buttons(person, verbs).await;
            for verb in verbs {
                match command(verb) {
                    // It finds out what it takes back, and there is nothing.
                    None => {
                        assert_eq!(person.presses(&message, verb).await.text(), "⚠ That button is too old")
                    }
                    Some(command) if wanted(command) => {
                        let answer = person.presses(&message, verb).await.text();
                        assert_refused(verb, command.level, &answer);
                    }
                    Some(_) => {}
                }
            }
        }
    };
    press_all(&ann, &|command| command.level != Level::Everyone).await;
    olga.says(&format!(".deny * <@{}>", bob.id)).await;
    press_all(&bob, &|_| true).await;
    stage.end().await;
}
