//! The relay as its operator meets it: a tree of files, the executable that reads it, and the commands in Discord.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mneme::context::Instance;
use mneme::relay::keys;
use mneme::relay::name::BotName;
use mneme::relay::settings::{Settings, TableVia, Via};
use mneme::relay::tree::{SecretsFrom, Tree, host};
use mneme::run::Parts;
use tempfile::TempDir;

use crate::chats;
use crate::child::{Mneme, mneme, outcome, run_on};
use crate::harness::{Bot, Counters, Discord, free_address, instance, memory};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/relay")
}

/// A folder with these files; those with secrets are their owner's alone.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let file = folder.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        let mode = if path.starts_with("secrets") { 0o600 } else { 0o644 };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

/// The example, with keys and secrets of its own: the secrets of a bot hold its name and `hush`.
fn example_with_secrets() -> TempDir {
    let mut files = Vec::new();
    let mut relay = fs::read_to_string(example().join("relay.yaml")).unwrap();
    for path in ["sources/disk.yaml", "rules/10-disk.yaml", "rules/50-tell.yaml.hub", "certs/ca.pem"] {
        files.push((path.to_owned(), fs::read_to_string(example().join(path)).unwrap()));
    }
    let old: Vec<String> =
        relay.match_indices("ed25519:").map(|(at, _)| relay[at..at + 51].to_owned()).collect();
    for (bot, old) in ["hub", "laptop"].into_iter().zip(old) {
        let (public, secret) = keys::generate().unwrap();
        relay = relay.replace(&old, &public);
        let secrets = format!("{{ relay_key: \"{secret}\", xmpp_password: hush-{bot} }}\n");
        files.push((format!("secrets.yaml.{bot}"), secrets));
    }
    files.push(("relay.yaml".to_owned(), relay));
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    folder(&files)
}

async fn config(folder: &Path, arguments: &[&str]) -> (bool, String, String) {
    let mut command = mneme(["config"]);
    command.args(arguments).arg("--config").arg(folder);
    let (status, out, errors) = outcome(command).await;
    (status.success(), out, errors)
}

#[tokio::test]
async fn the_example_is_sound_as_it_is() {
    let (success, out, errors) = config(&example(), &["check"]).await;
    assert!(success, "{out}{errors}");
    assert!(out.ends_with("is sound for all bots, with 2 warnings.\n"), "{out}");
    assert!(out.contains("secrets.yaml.hub: warning: is not here"), "{out}");
}

#[tokio::test]
async fn the_example_with_secrets_is_checked_shown_and_bundled() {
    let folder = example_with_secrets();
    let (success, out, errors) = config(folder.path(), &["check"]).await;
    assert!(success && out.ends_with("is sound for all bots.\n"), "{out}{errors}");
    let secrets: Vec<String> = ["hub", "laptop"]
        .into_iter()
        .map(|bot| fs::read_to_string(folder.path().join(format!("secrets.yaml.{bot}"))).unwrap())
        .collect();
    let key_of = |at: usize| secrets[at].split('"').nth(1).unwrap().to_owned();
    let (_, shown, _) = config(folder.path(), &["show", "--host", "hub"]).await;
    assert!(shown.contains("secrets.yaml.hub:1: relay_key = ***"), "{shown}");
    assert!(!shown.contains("hush") && !shown.contains("ed25519-secret"), "{shown}");
    let tar = folder.path().join("out.tar");
    for (bot, mine, other) in [("hub", 0, 1), ("laptop", 1, 0)] {
        for with_secrets in [false, true] {
            let mut arguments = vec!["bundle", "--host", bot, tar.to_str().unwrap()];
            arguments.extend(with_secrets.then_some("--with-secrets"));
            let (success, out, errors) = config(folder.path(), &arguments).await;
            assert!(success, "{out}{errors}");
            let bundle = String::from_utf8_lossy(&fs::read(&tar).unwrap()).into_owned();
            assert!(bundle.contains("relay.yaml") && bundle.contains("certs/ca.pem"));
            assert_eq!(bundle.contains(&key_of(mine)), with_secrets);
            let other_bot = ["hub", "laptop"][other];
            assert!(
                !bundle.contains(&key_of(other)) && !bundle.contains(&format!("hush-{other_bot}")),
                "{bot}"
            );
            assert_eq!(bundle.contains("50-tell.yaml.hub"), bot == "hub");
        }
    }
}

#[tokio::test]
async fn a_tree_with_mistakes_ends_the_start_with_all_of_them() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let tree = folder(&[
        (
            "relay.yaml",
            "relay: 1\nbots: { hub: {}, laptop: {} }\nlinks:\n  - { from: hub, to: lapto, topics: [a] }\n",
        ),
        ("sources/x.yaml", "{ source: dsk, topic: a }\n"),
    ]);
    let mut command = run_on(&discord, data.path());
    command.arg("--bot-name").arg("hub").arg("--config").arg(tree.path());
    let (status, out, errors) = outcome(command).await;
    assert_eq!(status.code(), Some(78), "{out}{errors}");
    let told = format!("{out}{errors}");
    for expected in [
        "relay.yaml:4:22: there is no bot lapto under `bots`; did you mean laptop?",
        "sources/x.yaml:1:11: source is ",
    ] {
        assert!(told.contains(expected), "{expected}\n{told}");
    }
    discord.end().await;
}

/// Everything that holds a secret, and a rule that speaks.
fn busy_tree(scripts: u16, channel: u64) -> TempDir {
    let relay = format!(
        "relay: 1\nbots:\n  hub: {{ xmpp: hub@example.org }}\n  laptop: {{ xmpp: laptop@example.org }}\n\
         topics:\n  - {{ topic: alerts/** }}\n  - {{ topic: host/**, kind: sample }}\n  - {{ topic: announce, open: true }}\n\
         links:\n  - {{ from: hub, to: laptop, topics: [\"**\"] }}\n  - {{ from: laptop, to: hub, topics: [\"**\"] }}\n\
         transports:\n  xmpp: {{ server: \"127.0.0.1:{}\", tls: off, password: {{ secret: xmpp_password }} }}\n",
        free_address().port()
    );
    let rules = format!(
        "rules:\n  - name: tell\n    when: topic matches \"^alerts/\"\n    do:\n      - post: {{ channel: \"{channel}\", text: \"⚠ {{subject}}\", quiet: 1h }}\n      - gauge: {{ name: files, field: files }}\n"
    );
    let web = format!(
        "{{ source: http, url: \"http://127.0.0.1:{}/\", every: 1s, headers: {{ authorization: {{ secret: web }} }}, topic: host/web }}\n",
        free_address().port()
    );
    let door = format!(
        "{{ source: scripts, listen: \"127.0.0.1:{scripts}\", token: {{ secret: door }}, topics: [alerts/**], scope: fleet }}\n"
    );
    folder(&[
        ("relay.yaml", &relay),
        ("rules/50-tell.yaml", &rules),
        ("sources/web.yaml", &web),
        ("sources/door.yaml", &door),
        ("sources/self.yaml", "{ source: self, scope: link }\n"),
        (
            "sources/program.yaml",
            "{ source: command, run: [/bin/false], every: 1s, env: { KEY: { secret: program } }, topic: host/program }\n",
        ),
        (
            "secrets.yaml.hub",
            "{ xmpp_password: hush-xmpp, web: hush-web, door: hush-door-of-scripts, program: hush-program }\n",
        ),
    ])
}

#[tokio::test]
async fn scripts_are_heard_and_no_secret_is_told_anywhere() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let olga = discord.person("zoo", "cats", "olga");
    let (scripts, http) = (free_address().port(), free_address());
    let tree = busy_tree(scripts, olga.channel);
    let mut command = run_on(&discord, data.path());
    command.arg("--bot-name").arg("hub").arg("--config").arg(tree.path());
    command.arg("--http").arg(http.to_string()).args(["--log", "mneme=trace"]);
    command.arg("--bot-owners").arg(olga.id.to_string());
    let mut bot = Mneme::start(command);
    bot.is_ready().await;
    bot.has_said("listening to scripts").await;
    let client = reqwest::Client::new();
    let url = |topic: &str| format!("http://127.0.0.1:{scripts}/{topic}");
    let say =
        |topic: &str, token: &str| client.post(url(topic)).bearer_auth(token.to_owned()).body("backup done");
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(say("alerts/backup", "wrong")).await, 401);
    assert_eq!(status(client.post(url("alerts/backup")).body("x")).await, 401);
    assert_eq!(
        status(say("alerts/backup", "hush-door-of-scripts").header("origin", "http://evil.example")).await,
        403
    );
    assert_eq!(
        status(say("alerts/backup", "hush-door-of-scripts").header("host", "evil.example")).await,
        403
    );
    assert_eq!(status(say("host/disk", "hush-door-of-scripts")).await, 403);
    assert_eq!(status(say("Alerts", "hush-door-of-scripts")).await, 400);
    let json = |id: &str| {
        let body =
            format!("{{\"subject\": \"backup done\", \"fields\": {{\"files\": 12}}, \"id\": \"{id}\"}}");
        say("alerts/backup", "hush-door-of-scripts").header("content-type", "application/json").body(body)
    };
    let mut seen = olga.watch();
    let answer = json("one").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 202);
    assert!(answer.text().await.unwrap().starts_with("hub/"));
    assert_eq!(status(json("one")).await, 200, "said again it is the same");
    let posted = async {
        while !olga.heard().iter().any(|said| said.text().starts_with("⚠ backup done\n-# hub/")) {
            seen.next().await.expect("the simulator runs");
        }
    };
    tokio::time::timeout(crate::harness::PATIENCE, posted).await.expect("the rule posts");
    // Nobody listens there.
    let trouble = if cfg!(feature = "xmpp") {
        "the relay lost its connection"
    } else {
        "the relay cannot reach its peers"
    };
    bot.has_said(trouble).await;
    let status_card = olga.says(".relay").await;
    assert!(status_card.contains("I am **hub**") && status_card.contains("laptop"), "{status_card}");
    let metrics = Counters(http).text().await.unwrap();
    assert!(metrics.contains("relay_gauge{name=\"files\",key=\"door\"} 12"), "{metrics}");
    let (status, written) = bot.terminate().await;
    assert!(status.success(), "{}", written.join("\n"));
    let everything = format!("{}{status_card}{metrics}", written.join("\n"));
    assert!(everything.contains("watching"), "the sources ran");
    assert!(!everything.contains("hush"), "a secret was told:\n{everything}");
    // Nor is one in the store: the file holds every envelope and row.
    for entry in fs::read_dir(data.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"hush"));
    }
    discord.end().await;
}

/// A bot called hub that is linked with one that is away.
async fn hub(discord: &Discord, instance: Instance) -> Bot {
    let tree = folder(&[(
        "relay.yaml",
        "relay: 1\nbots: { hub: {}, laptop: {} }\n\
         topics: [ { topic: alerts/** }, { topic: announce, open: true }, { topic: chat/ops, open: true } ]\n\
         links:\n  - { from: hub, to: laptop, topics: [\"**\"] }\n\
         transports: { table: { table: relay_mail } }\n",
    )]);
    let me = BotName::new("hub").unwrap();
    let reading = host::read(&Tree::open(tree.path()).unwrap(), &me, &SecretsFrom::default());
    let settings = reading.sound().unwrap().settings(tree.path());
    let mail = memory().await.dynamo;
    let by_mail = |via: Via| match via {
        Via::Table(via) => Via::Table(TableVia { table: Some(mail.clone()), ..via }),
        other => other,
    };
    let transports = settings.transports.into_iter().map(by_mail).collect();
    let relay = Some(Settings { transports, ..settings });
    discord.bot_of(memory().await, instance, Parts { relay }).await
}

#[tokio::test]
async fn admins_link_what_is_open_to_them() {
    let discord = Discord::start().await;
    let bot = hub(&discord, instance()).await;
    chats::played(&discord, "relay.chat").await;
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn the_owner_announces_and_links_anything() {
    let discord = Discord::start().await;
    let bot = hub(&discord, Instance { bot_owners: vec![discord.id("olga")], ..instance() }).await;
    chats::played(&discord, "relay-owner.chat").await;
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn a_bot_without_links_says_so() {
    let stage = crate::harness::start().await;
    let olga = stage.discord.person("zoo", "cats", "olga");
    for line in [".relay", ".relay link announce", ".relay unlink announce"] {
        assert_eq!(olga.says(line).await, "ℹ️ I have no links to other bots", "{line}");
    }
    stage.end().await;
}
