//! Who gets past the gate: bans, blocks, rules, cooldowns and levels through every door, and what owners do.

use std::collections::BTreeSet;

use futures::future::join_all;
use mneme::bot::Exit;
use mneme::clock::Clock;
use mneme::context::Instance;
use mneme::dynamo::connect::Connected;
use mneme::dynamo::faults::Faults;
use mneme::dynamo::testing::{engine, over};
use mneme::sim::{Act, World};
use mneme::tables;
use serde_json::json;

use crate::harness::{Bot, Discord, Person, Stage, instance, memory, start, wait};

/// A stage whose bot belongs to `root`, who is nobody special in any server.
async fn owned() -> Stage {
    let discord = Discord::start().await;
    let bot = owned_bot(&discord, memory().await).await;
    Stage { discord, bot }
}

async fn owned_bot(discord: &Discord, store: Connected) -> Bot {
    let zoo = discord.simulator.change(|world: &mut World| {
        world.guild("zoo").person("root");
        world.guild("zoo").id()
    });
    let owned = Instance { bot_owners: vec![discord.id("root")], admin_guilds: vec![zoo], ..instance() };
    let bot = discord.bot(store, owned).await;
    discord.called("PUT /applications/{a}/guilds/{g}/commands", 1).await;
    bot
}

/// The texts of the bot's answers in a channel that are not the answer to `known`.
fn answers(person: &Person<'_>) -> Vec<String> {
    person.heard().iter().map(|answer| answer.text()).collect()
}

/// A press that is met with silence: Discord shows it as failed.
async fn fails(person: &Person<'_>, act: Act) {
    let mut seen = person.watch();
    let interaction = person.act(act).unwrap()["interaction"].clone();
    wait(&mut seen, |t, d| t == "INTERACTION" && d["interaction"] == interaction && d["state"] == "failed")
        .await;
}

#[tokio::test]
async fn a_banned_person_is_told_once_and_then_met_with_silence() {
    let stage = owned().await;
    let (root, ann) = (stage.person("zoo", "cats", "root"), stage.person("zoo", "cats", "ann"));
    let thanks = ann.asks(".rem tea is hot").await;
    let ban = format!(".ban <@{}> because spam", ann.id);
    assert_eq!(root.says(&ban).await, format!("⛔ User: `{}` has been **banned**", ann.id));
    assert_eq!(ann.says(".ping").await, "Sorry, you are banned");
    let before = answers(&ann);
    for line in [".ping", ".rem tea", ".gibberish", ".weather", "..", ".mem"] {
        ann.say(line);
    }
    let bot = stage.discord.simulator.read(|world| world.bot());
    ann.say(&format!("<@{bot}> ping"));
    stage.discord.direct("ann").say("ping");
    let ping =
        Act::Slash { channel: ann.channel, command: "ping".into(), options: json!([]), files: Vec::new() };
    fails(&ann, ping).await;
    let undo = thanks.control("Undo");
    fails(
        &ann,
        Act::Press { channel: ann.channel, message: thanks.id(), custom_id: undo, values: Vec::new() },
    )
    .await;
    assert_eq!(root.says(".rem tea").await, "hot", "nothing of it had an effect");
    assert_eq!(answers(&ann).len(), before.len() + 1);
    assert!(stage.discord.direct("ann").heard().is_empty());
    assert_eq!(
        root.says(&format!(".unban {}", ann.id)).await,
        format!("✅ User: `{}` has been **removed** from the ban list", ann.id)
    );
    assert_eq!(ann.says(".ping").await, "🟢 Pong!");
    stage.end().await;
}

#[tokio::test]
async fn a_banned_server_is_told_once_and_direct_messages_go_on() {
    let stage = owned().await;
    let root = stage.discord.direct("root");
    let farm = stage.discord.simulator.change(|world: &mut World| world.guild("farm").id());
    assert_eq!(
        root.says(&format!("ban server {farm}")).await,
        format!("⛔ Server: `{farm}` has been **banned**")
    );
    let (ann, bob) = (stage.person("farm", "cats", "ann"), stage.person("farm", "cats", "bob"));
    assert_eq!(ann.says(".ping").await, "Sorry, this server is banned");
    bob.say(".ping");
    assert_eq!(stage.person("zoo", "cats", "ann").says(".ping").await, "🟢 Pong!");
    assert_eq!(stage.discord.direct("bob").says("ping").await, "🟢 Pong!");
    root.says(&format!("unban server {farm}")).await;
    assert_eq!(bob.says(".ping").await, "🟢 Pong!");
    assert_eq!(answers(&bob).len(), 2, "the silence was one");
    stage.end().await;
}

#[tokio::test]
async fn a_blocked_person_is_met_with_silence_in_that_server_only() {
    let stage = owned().await;
    let (olga, bob) = (stage.person("zoo", "cats", "olga"), stage.person("zoo", "cats", "bob"));
    let root = stage.discord.id("root");
    for immune in [olga.id, root] {
        assert_eq!(olga.says(&format!(".block <@{immune}>")).await, "⚠ You can't block them");
    }
    olga.says(&format!(".block <@{}>", bob.id)).await;
    bob.say(".ping");
    let ping =
        Act::Slash { channel: bob.channel, command: "ping".into(), options: json!([]), files: Vec::new() };
    fails(&bob, ping).await;
    assert_eq!(stage.person("farm", "cats", "bob").says(".ping").await, "🟢 Pong!");
    assert!(bob.types("help", "command", "ping").await.is_empty());
    olga.says(&format!(".unblock <@{}>", bob.id)).await;
    assert_eq!(bob.types("help", "command", "ping").await, ["ping"]);
    assert_eq!(bob.says(".ping").await, "🟢 Pong!");
    assert!(answers(&bob).iter().all(|answer| !answer.contains("banned")));
    stage.end().await;
}

#[tokio::test]
async fn nobody_escalates_through_another_door_alias_option_or_button() {
    let stage = start().await;
    let [olga, ann, bob] = ["olga", "ann", "bob"].map(|name| stage.person("zoo", "cats", name));
    for n in 10..35 {
        ann.says(&format!(".rem key{n} is {n}")).await;
    }
    let edited = ann.asks(".mem edit key10 is ten").await;
    let (page, history) = (ann.asks(".rem search").await, ann.asks(".mem history key10").await);
    let said = ann.say("something to remember");
    let deny = async |command: &str| {
        let answer = olga.says(&format!(".deny {command} <@{}>", bob.id)).await;
        assert!(answer.starts_with("⛔ Denied"), "{answer}");
    };
    for command in ["remember", "rem search", "mem show", "mem raw", "mem restore", "mem undo"] {
        deny(command).await;
    }
    let refused = |how: &str, answer: &str| {
        assert!(answer.starts_with("⛔ You can't use"), "{how}: {answer}");
    };
    let bot = stage.discord.simulator.read(|world| world.bot());
    for line in [
        ".rem key10",
        ".REMEMBER key10",
        ".rem x is y",
        ".rem search",
        ".mem show key10 at 1",
        ".mem raw key10",
    ] {
        refused(line, &bob.says(line).await);
        refused(line, &bob.says(&format!("<@{bot}> {}", &line[1..])).await);
    }
    let key = ("key", json!("key10"));
    for options in
        [vec![key.clone()], vec![key.clone(), ("at", json!("1"))], vec![key.clone(), ("raw", json!(true))]]
    {
        refused("/rem get", &bob.slash("rem get", &options).await.text());
    }
    refused("/rem set", &bob.slash("rem set", &[key.clone(), ("value", json!("x"))]).await.text());
    refused("/remember", &bob.slash("remember", &[key.clone(), ("value", json!("x"))]).await.text());
    refused("/undo", &bob.slash("undo", &[]).await.text());
    refused("a page button", &bob.presses(&page, "More ▶").await.text());
    refused("Undo", &bob.presses(&edited, "Undo").await.text());
    let menu = history.0["components"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row["components"].as_array().unwrap());
    let menu = menu.into_iter().find(|control| control["type"] == 3).unwrap();
    let (label, value) =
        (menu["placeholder"].as_str().unwrap(), menu["options"][0]["value"].as_str().unwrap());
    refused("Restore", &bob.chooses(&history, label, value).await.text());
    let answer = bob.opens_refused("Remember this", said).await;
    refused("a menu", &answer.text());
    assert!(
        bob.types("rem get", "key", "key").await.is_empty() || bob.says(".rem key10").await.starts_with('⛔')
    );
    assert_eq!(ann.says(".rem key10").await, "ten", "nothing of it had an effect");
    stage.end().await;
}

#[tokio::test]
async fn rules_are_about_roles_and_channels_too() {
    let stage = start().await;
    let [olga, ann, bob, mo] = ["olga", "ann", "bob", "mo"].map(|name| stage.person("zoo", "cats", name));
    let (keepers, thread, dogs, elsewhere) = stage.discord.simulator.change(|world: &mut World| {
        let keepers = world.guild("zoo").role("keepers", 0);
        let ann = world.person("ann");
        world.guild("zoo").grant(ann, keepers);
        let (dogs, elsewhere) = (world.guild("zoo").channel("dogs"), world.guild("farm").channel("dogs"));
        (keepers, world.thread(dogs, "puppies").unwrap(), dogs, elsewhere)
    });
    olga.says(".deny ping everyone").await;
    assert_eq!(
        olga.says(&format!(".allow ping <@&{keepers}>")).await,
        format!("✅ Allowed: `.ping` for <@&{keepers}>")
    );
    assert_eq!(ann.says(".ping").await, "🟢 Pong!");
    assert_eq!(ann.slash("ping", &[]).await.text(), "🟢 Pong!");
    let only = format!("⛔ You can't use `.ping` here: this server allows it only for <@&{keepers}>");
    assert_eq!(bob.says(".ping").await, only);
    assert_eq!(bob.slash("ping", &[]).await.text(), only);
    olga.says(&format!(".allow ping <#{dogs}>")).await;
    for channel in [dogs, thread] {
        let bob = Person { channel, ..bob };
        assert_eq!(bob.says(".ping").await, "🟢 Pong!");
        assert_eq!(bob.slash("ping", &[]).await.text(), "🟢 Pong!");
    }
    for foreign in
        [format!("<#{elsewhere}>"), "<@&123456789012345678>".into(), "<@&0>".into(), "bob#1234".into()]
    {
        let answer = olga.says(&format!(".allow ping {foreign}")).await;
        assert!(answer.starts_with("⚠ Whom is that about?"), "{answer}");
    }
    // A rule lifts Manage Messages for a role, and never Manage Server.
    ann.says(".rem tea is hot").await;
    olga.says(&format!(".allow * <@&{keepers}>")).await;
    assert_eq!(ann.says(".mem lock tea").await, "🔒 `tea` is locked: only moderators can change it");
    assert!(ann.says(".settings").await.contains("it needs Manage Server"));
    assert!(mo.says(".deny ping everyone").await.contains("it needs Manage Server"));
    stage.end().await;
}

#[tokio::test]
async fn who_owns_a_server_is_noticed_when_it_changes() {
    let stage = start().await;
    let (olga, ann) = (stage.person("zoo", "cats", "olga"), stage.person("zoo", "cats", "ann"));
    assert!(olga.says(".settings").await.starts_with("⚙️ Settings"));
    stage.discord.simulator.change(|world: &mut World| {
        let ann = world.person("ann");
        world.guild("zoo").owner(ann);
    });
    assert!(ann.says(".settings").await.starts_with("⚙️ Settings"));
    assert!(olga.says(".settings").await.contains("it needs Manage Server"));
    stage.end().await;
}

#[tokio::test]
async fn a_cooldown_cannot_be_raced_and_bad_input_takes_none() {
    let stage = start().await;
    let people = ["olga", "ann", "bob", "mo"].map(|name| stage.person("zoo", "cats", name));
    let [olga, ann, bob, _] = people;
    olga.says(".cooldown ping 1h per server").await;
    let said = join_all(people.iter().flat_map(|person| [person.says(".ping"), person.says(".ping")])).await;
    let passed = said.iter().filter(|answer| *answer == "🟢 Pong!").count();
    assert_eq!(passed, 1, "{said:?}");
    olga.says(".cooldown remember 1h per server").await;
    olga.says(".cooldown ping off").await;
    ann.says(".rem tea is hot").await;
    olga.says(".cooldown remember off").await;
    olga.says(".cooldown remember 2h per user").await;
    for wrong in [".rem", ".rem tea is cold", ".rem \u{200b} is x"] {
        assert!(!bob.says(wrong).await.starts_with('⏳'), "{wrong}");
    }
    // Changing takes it in its transaction, looking up before the answer is shown: both are one cooldown.
    assert!(bob.says(".rem milk is white").await.starts_with('✅'));
    for line in [".rem tea", ".rem coffee is black"] {
        assert!(bob.says(line).await.starts_with("⏳ Not yet: you can use `.remember` again"), "{line}");
    }
    assert_eq!(ann.says(".rem milk").await, "white");
    let modal = bob.opens_refused("Remember this", ann.say("x")).await;
    assert!(modal.text().starts_with("⏳"), "{}", modal.text());
    stage.end().await;
}

#[tokio::test]
async fn without_the_list_of_bans_nobody_is_let_in() {
    let discord = Discord::start().await;
    let (engine, faults) = (engine(&tables::all()).await, Faults::new());
    let dynamo = over(&engine, Clock::system(), &faults);
    let store =
        Connected { dynamo, embedded: Some(engine.clone()), way: None, description: "embedded".into() };
    faults.set_away(true);
    let bot = discord.bot(store, instance()).await;
    let ann = discord.person("zoo", "cats", "ann");
    let starting = "⏳ I am still starting up; try again in a few seconds";
    assert_eq!(discord.direct("ann").says("ping").await, starting);
    assert_eq!(ann.slash("ping", &[]).await.text(), starting);
    faults.set_away(false);
    let answers = async { while ann.says(".ping").await == starting {} };
    answers.await;
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn a_restart_is_answered_and_ends_the_bot_for_its_supervisor() {
    let discord = Discord::start().await;
    let bot = owned_bot(&discord, memory().await).await;
    let root = discord.person("zoo", "cats", "root");
    let answer = root.asks(".reboot").await;
    assert!(answer.text().starts_with("🔄 Rebooting..."), "{}", answer.text());
    assert_eq!(bot.ended().await, Exit::Restart);
    discord.end().await;
}

#[tokio::test]
async fn owners_see_the_servers_and_the_log_and_others_do_not() {
    let stage = owned().await;
    let (root, direct) = (stage.person("zoo", "cats", "root"), stage.discord.direct("root"));
    let zoo = stage.discord.simulator.change(|world: &mut World| world.guild("zoo").id());
    let servers = direct.says("servers").await;
    assert!(
        servers.contains("**Total Servers: 2**") && servers.contains(&format!("• **zoo** `{zoo}`")),
        "{servers}"
    );
    assert!(root.slash("admin users", &[]).await.text().starts_with("**Total Users: "));
    assert!(root.says(".log tail").await.contains("for your eyes only"));
    assert!(root.slash("admin log", &[]).await.is_private());
    assert!(direct.says("log tail 201").await.starts_with("⚠ The lines is a number from 1 to 200"));
    assert!(direct.says("load").await.starts_with("**System load:**\nCPU usage: "));
    let ann = stage.person("zoo", "cats", "ann");
    for line in
        [".servers", ".users", ".log tail", ".reboot", ".restart", ".banned users", ".unban server 123"]
    {
        assert_eq!(ann.says(line).await, "This command is only available to bot admins.", "{line}");
    }
    // Whoever manages the server is no owner of the bot, whatever they allow themselves.
    let olga = stage.person("zoo", "cats", "olga");
    olga.says(".allow * everyone").await;
    assert_eq!(olga.says(".reboot").await, "This command is only available to bot admins.");
    assert!(
        !olga.says(".help").await.contains("`.reboot`") && root.says(".help").await.contains("`.reboot`")
    );
    stage.end().await;
}

#[tokio::test]
async fn the_menu_of_owners_is_in_their_servers_only() {
    let stage = owned().await;
    let roots = |server: &str| {
        let root = stage.person(server, "cats", "root");
        let view = stage.discord.simulator.view(root.id);
        let commands = view["commands"].as_array().unwrap().clone();
        let guild =
            json!(stage.discord.simulator.change(|world: &mut World| world.guild(server).id()).to_string());
        let here = commands
            .into_iter()
            .filter(|command| command["guild_id"].is_null() || command["guild_id"] == guild);
        here.filter_map(|command| command["name"].as_str().map(str::to_owned)).collect::<BTreeSet<_>>()
    };
    assert!(roots("zoo").contains("admin") && roots("zoo").contains("ping"));
    assert!(!roots("farm").contains("admin"));
    stage.end().await;
}
