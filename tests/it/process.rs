//! The executable as a process: every role, its settings, its status at the end, and what is left behind.

use std::path::Path;
use std::process::ExitStatus;

use mneme::commands::ALL;
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::sim::World;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::chats;
use crate::child::{Mneme, mneme, outcome, run_on};
use crate::harness::{Discord, PATIENCE};
use crate::ledger::{Ask, Ledger, Stored};

const TABLES: [&str; 3] = ["remember", "history", "tally"];

/// `mneme run`, until it can be asked.
async fn started(discord: &Discord, data: &Path) -> Mneme {
    let mut bot = Mneme::start(run_on(discord, data));
    bot.is_ready().await;
    bot
}

fn assert_ended(outcome: (ExitStatus, Vec<String>), code: i32) {
    assert_eq!(outcome.0.code(), Some(code), "{}", outcome.1.join("\n"));
}

#[tokio::test]
async fn the_executable_plays_the_chat_logs() {
    for log in ["set-and-get.chat", "change.chat", "lists.chat", "owners.chat"] {
        let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
        let bot = started(&discord, data.path()).await;
        chats::played(&discord, log).await;
        assert_ended(bot.terminate().await, 0);
        discord.end().await;
    }
}

#[tokio::test]
async fn memories_are_not_for_direct_messages() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let bot = started(&discord, data.path()).await;
    let (ann, remember) = (discord.direct("ann"), ALL.iter().find(|feature| feature.name == "remember"));
    for words in remember.unwrap().commands.iter().flat_map(|command| command.prefix) {
        let answer = ann.says(&format!("{words} tea")).await;
        assert_eq!(answer, "Please run this command in a Discord channel, not a DM", "{words}");
    }
    assert_ended(bot.terminate().await, 0);
    discord.end().await;
}

#[tokio::test]
async fn a_store_has_one_process() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let bot = started(&discord, data.path()).await;
    let (status, _, errors) = outcome(run_on(&discord, data.path())).await;
    assert!(!status.success());
    let holder = format!("is in use by another mneme, process {}; stop that one first", bot.id());
    assert!(errors.contains(&holder), "{errors}");
    assert_eq!(discord.person("zoo", "cats", "ann").says(".ping").await, "🟢 Pong!");
    assert_ended(bot.terminate().await, 0);
    discord.end().await;
}

#[tokio::test]
async fn a_stop_by_signal_answers_what_it_has_begun() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let bot = started(&discord, data.path()).await;
    let mut ledger = Ledger::new("the stop");
    for name in ["ann", "bob", "mo", "olga"] {
        let person = discord.person("zoo", "cats", name);
        for n in 0..5 {
            let ask = Ask::new("set", format!("{name} {n}"), "there");
            ledger.asked(person.say(&ask.line()), ask);
        }
    }
    let ann = discord.person("zoo", "cats", "ann");
    ann.says(".ping").await;
    assert_ended(bot.terminate().await, 0);
    for answer in ann.heard() {
        let to = answer.0["message_reference"]["message_id"].as_str().unwrap().parse().unwrap();
        ledger.replied(to, &answer.text());
    }
    let server = discord.simulator.change(|world: &mut World| world.guild("zoo").id());
    let store = connect(StoreConfig::new(Store::File(data.path().join("mneme.db")))).await.unwrap();
    ledger.check(&store.dynamo, server).await;
    let [done, ..] = ledger.count();
    assert_eq!(Stored::read(&store.dynamo, server).await.rows.len(), done, "what is done has an answer");
    discord.end().await;
}

#[tokio::test]
async fn a_wrong_setting_is_named() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    for (variable, value) in [
        ("DISCORD_API_URL", "discord"),
        ("MESSAGE_CONTENT_INTENT", "maybe"),
        ("SHARDS", "none"),
        ("HEAR_BOTS", "bob"),
        ("DISCORD_PACING", "maybe"),
        ("BOT_PREFIX", "word"),
        ("BOT_OWNERS", "bob#1234"),
        ("BOT_ADMINS", "bob#1234"),
        ("MAX_MEMORIES", "0"),
        ("STORE", "cloud"),
        ("DYNAMODB_ENDPOINT", "localhost"),
        ("LOCALSTACK", "localhost"),
        ("TABLE_PREFIX", "a b"),
        ("CREATE_TABLES", "maybe"),
        ("DATA_DIR", file.to_str().unwrap()),
        ("HTTP", "here"),
        ("LOG", "mneme=loud"),
        ("LOG_FORMAT", "xml"),
    ] {
        let mut command = mneme(["run"]);
        command.env("DATA_DIR", data.path()).env("DISCORD_TOKEN", "token").env("STORE", "embedded");
        let (status, _, errors) = outcome({
            command.env(variable, value);
            command
        })
        .await;
        assert!(!status.success(), "{variable}={value}");
        assert!(errors.contains(variable), "{variable}={value} is not named:\n{errors}");
    }
}

#[tokio::test]
async fn a_missing_or_unknown_token_is_told() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let mut command = run_on(&discord, data.path());
    command.env_remove("DISCORD_TOKEN");
    let (status, _, errors) = outcome(command).await;
    assert!(!status.success() && errors.contains("DISCORD_TOKEN is not set"), "{errors}");
    let mut command = run_on(&discord, data.path());
    command.env("DISCORD_TOKEN", "somebody.elses.token");
    let mut bot = Mneme::start(command);
    bot.says("put the right one into DISCORD_TOKEN").await;
    // It waits, so that a supervisor does not try too often; and can be asked not to.
    bot.says("the operator must act").await;
    let (status, log) = bot.terminate().await;
    assert_eq!(status.code(), Some(78), "{log:?}");
    assert!(log.iter().all(|line| !line.contains("somebody.elses.token")), "{log:?}");
    discord.end_despite(|record| record.response["message"] == "401: Unauthorized").await;
}

#[tokio::test]
async fn every_role_explains_itself() {
    for role in ["run", "playground", "tables", "doctor", "health", "completions", "tables create"] {
        let (status, help, _) = outcome(mneme(role.split(' ').chain(["--help"]))).await;
        assert!(status.success() && help.contains("Usage: mneme"), "{role}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (status, script, _) = outcome(mneme(["completions", shell])).await;
        assert!(status.success() && script.contains("mneme"), "{shell}: {script}");
    }
    let (status, version, _) = outcome(mneme(["--version"])).await;
    assert!(status.success() && version.starts_with("mneme "), "{version}");
    assert!(!outcome(mneme(["dance"])).await.0.success());
}

#[tokio::test]
async fn tables_are_shown_created_and_checked() {
    let data = tempfile::tempdir().unwrap();
    let tables = async |act: &str| {
        let mut command = mneme(["tables", act, "--store", "embedded", "--data-dir"]);
        command.arg(data.path());
        outcome(command).await
    };
    for act in ["list", "json", "policy"] {
        let (status, text, _) = outcome(mneme(["tables", act])).await;
        assert!(status.success());
        for table in TABLES {
            assert!(text.contains(table), "{act} does not name {table}:\n{text}");
        }
        if act != "list" {
            serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{act}: {error}\n{text}"));
        }
    }
    let (status, text, errors) = tables("check").await;
    assert!(!status.success() && TABLES.iter().all(|table| text.contains(table)), "{text}{errors}");
    assert!(tables("create").await.0.success());
    let (status, text, _) = tables("check").await;
    assert!(status.success() && text.contains("as the bot needs them"), "{text}");
    assert!(tables("create").await.0.success(), "what is there already is no error");
}

#[tokio::test]
async fn a_killed_playground_remembers() {
    let data = tempfile::tempdir().unwrap();
    let open = async || {
        let mut command = mneme(["playground", "--port", "0", "--data-dir"]);
        command.arg(data.path());
        let mut playground = Mneme::start(command);
        let line = playground.says("Open  http://").await;
        let address = line.split("http://").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        playground.is_ready().await;
        (playground, Page::open(&address).await)
    };
    let (playground, mut page) = open().await;
    assert!(page.says(".remember tea is hot").await.starts_with("✅ Ok"));
    playground.kill().await;
    let (playground, mut page) = open().await;
    assert_eq!(page.says(".rem tea").await, "hot");
    assert_eq!(page.says(".mem append tea is and sweet").await, "✏️ Added to `tea` (revision 2)");
    playground.kill().await;
    let (playground, mut page) = open().await;
    assert_eq!(page.says(".rem tea").await, "hot\nand sweet");
    assert_ended(playground.terminate().await, 0);
}

/// The playground's page, as far as it talks to the server: a WebSocket.
struct Page {
    socket: TcpStream,
    channel: String,
    asked: u64,
}

impl Page {
    async fn open(address: &str) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("the page is served");
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("an answer"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        let mut page = Self { socket, channel: String::new(), asked: 0 };
        let view = page.next().await;
        let channel = view.pointer("/d/guilds/0/channels/0/id").and_then(Value::as_str);
        page.channel = channel.unwrap_or_else(|| panic!("no channel in {view}")).to_owned();
        page
    }

    /// The next thing the server sends.
    async fn next(&mut self) -> Value {
        let text = timeout(PATIENCE, self.frame()).await.expect("the server sends something");
        serde_json::from_slice(&text).expect("it sends JSON")
    }

    /// One frame; servers do not split such short ones, and do not mask. RFC 6455, 5.2.
    async fn frame(&mut self) -> Vec<u8> {
        let head = self.socket.read_u16().await.expect("a frame");
        let length = match head & 0x7f {
            126 => u64::from(self.socket.read_u16().await.unwrap()),
            127 => self.socket.read_u64().await.unwrap(),
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut payload).await.unwrap();
        payload
    }

    /// A client masks what it sends; with zeros, that changes nothing.
    async fn send(&mut self, text: &str) {
        let length = u16::try_from(text.len()).expect("short texts only");
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.socket.write_all(&frame).await.unwrap();
    }

    /// What the bot answers to a line.
    async fn says(&mut self, line: &str) -> String {
        self.asked += 1;
        let act = json!({ "act": "say", "channel": self.channel, "text": line });
        self.send(&json!({ "id": self.asked, "act": act }).to_string()).await;
        let (mut said, mut answers) = (None, Vec::new());
        loop {
            let event = self.next().await;
            if event["id"] == self.asked {
                said = Some(event["ok"]["message"].clone());
            } else if event["t"] == "MESSAGE_CREATE" {
                answers.push(event["d"].clone());
            }
            let to = |answer: &&Value| Some(&answer["message_reference"]["message_id"]) == said.as_ref();
            if let Some(answer) = answers.iter().find(to) {
                return answer["content"].as_str().unwrap_or_default().to_owned();
            }
        }
    }
}
