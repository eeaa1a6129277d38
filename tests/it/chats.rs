//! Chat logs as tests: each file in `chats/` is played through every door, and must read the same.
//!
//! ```text
//! ann: .remember meeting is tomorrow
//!   / rem set | key=meeting | value=tomorrow
//!   = ✅ Ok @ann, I'll remember `meeting` for you
//! ann presses Undo
//!   = ↩️ Undone: `meeting` is forgotten again
//! ```
//!
//! A line in a log is spoken by somebody, `/` is the same as a slash command (`@bob` is a person, `#4` a number, `!yes` a
//! switch), `+` is a file that goes with the words (`file=+` in a slash command): `junk`, `foreign`, or an export of the
//! server with these memories; `ID` is the id that was last told. `=` is what the bot answers. `⏎` is a line break. Where there is no slash form, the slash door uses the
//! text. Times are written `<t>`, codes of reminders `code`. With the variable `MNEME_CHATS` set to `write`, the answers are written into
//! the file as they are, for a person to read in the diff.

use std::fmt::Write as _;
use std::path::PathBuf;

use mneme::archive::{Header, Packer};
use mneme::clock::Timestamp;
use mneme::context::Instance;
use mneme::dynamo::raw;
use mneme::sim::File;
use mneme::tables;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Discord, Person, file_option, instance, memory, people_server, start, without_times,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Prefix,
    Mention,
    Slash,
}

/// One turn of a log.
struct Turn {
    /// Comments and blank lines before it.
    before: String,
    who: String,
    deed: Deed,
    slash: Option<String>,
    file: Option<String>,
    answer: String,
}

enum Deed {
    Says(String),
    Presses(String),
    Chooses(String, String),
}

fn read(text: &str) -> Vec<Turn> {
    let (mut turns, mut before): (Vec<Turn>, String) = (Vec::new(), String::new());
    for line in text.lines() {
        if let Some(form) = line.strip_prefix("  / ") {
            turns.last_mut().expect("a line before").slash = Some(form.to_owned());
        } else if let Some(file) = line.strip_prefix("  + ") {
            turns.last_mut().expect("a line before").file = Some(file.to_owned());
        } else if let Some(answer) = line.strip_prefix("  = ") {
            turns.last_mut().expect("a line before").answer = answer.to_owned();
        } else if line.is_empty() || line.starts_with('#') {
            before.push_str(line);
            before.push('\n');
        } else {
            let (who, deed) = deed(line);
            let before = std::mem::take(&mut before);
            turns.push(Turn { before, who, deed, slash: None, file: None, answer: String::new() });
        }
    }
    turns
}

fn deed(line: &str) -> (String, Deed) {
    if let Some((who, said)) = line.split_once(": ").filter(|(who, _)| !who.contains(' ')) {
        return (who.to_owned(), Deed::Says(said.replace('⏎', "\n")));
    }
    let (who, rest) = line.split_once(' ').expect("somebody does something");
    let deed = match rest.split_once(' ').expect("a verb and an object") {
        ("presses", label) => Deed::Presses(label.to_owned()),
        ("chooses", choice) => {
            let (menu, value) = choice.split_once(": ").expect("a menu and a value");
            Deed::Chooses(menu.to_owned(), value.to_owned())
        }
        _ => panic!("nobody can do this: {line}"),
    };
    (who.to_owned(), deed)
}

fn write(turns: &[Turn]) -> String {
    let mut text = String::new();
    for turn in turns {
        text.push_str(&turn.before);
        match &turn.deed {
            Deed::Says(said) => writeln!(text, "{}: {}", turn.who, said.replace('\n', "⏎")),
            Deed::Presses(label) => writeln!(text, "{} presses {label}", turn.who),
            Deed::Chooses(menu, value) => writeln!(text, "{} chooses {menu}: {value}", turn.who),
        }
        .unwrap();
        if let Some(slash) = &turn.slash {
            writeln!(text, "  / {slash}").unwrap();
        }
        if let Some(file) = &turn.file {
            writeln!(text, "  + {file}").unwrap();
        }
        writeln!(text, "  = {}", turn.answer).unwrap();
    }
    text
}

/// Plays one turn; what the bot answers.
async fn play(
    discord: &Discord,
    server: &str,
    door: Door,
    turn: &Turn,
    (last, id): (Option<&Answer>, &str),
) -> Answer {
    let person = discord.person(server, "cats", &turn.who);
    match &turn.deed {
        Deed::Presses(label) => person.presses(last.expect("an answer to press in"), label).await,
        Deed::Chooses(menu, value) => {
            person.chooses(last.expect("an answer to choose in"), menu, value).await
        }
        Deed::Says(said) => {
            let said = with_people(discord, said).replace("ID", id);
            let bytes = turn.file.as_deref().map(|file| contents(discord, server, file));
            let files = bytes.iter().map(|bytes| attached(bytes)).collect();
            match (door, &turn.slash) {
                (Door::Slash, Some(form)) => {
                    slash(&person, discord, &form.replace("ID", id), bytes.as_deref()).await
                }
                (Door::Mention, _) => {
                    let bot = discord.simulator.read(|world| world.bot());
                    let said = format!("<@{bot}> {}", said.strip_prefix('.').unwrap_or(&said));
                    person.asks_with(&said, files).await
                }
                _ => person.asks_with(&said, files).await,
            }
        }
    }
}

fn attached(bytes: &[u8]) -> File {
    let (name, content_type) = ("mneme-export.jsonl.gz".to_owned(), "application/gzip".to_owned());
    File { name, content_type, data: bytes.to_vec() }
}

/// The file that a log names.
fn contents(discord: &Discord, server: &str, file: &str) -> Vec<u8> {
    let server = discord.simulator.change(|world| world.guild(server).id());
    let (server, memories) = match file {
        "junk" => return b"hello".to_vec(),
        "foreign" => (server + 1, ""),
        memories => (server, memories),
    };
    let table = tables::all().into_iter().find(|table| table.name == "remember").expect("it is there");
    let mut packer = Packer::new(Header::new(Some(server), Timestamp::from_seconds(1_700_000_000)));
    for (key, value) in memories.split(" | ").filter_map(|memory| memory.split_once('=')) {
        let item = json!({ "discord_server_id": { "N": server.to_string() }, "rem_key": { "S": key },
            "rem_value": { "S": value } });
        packer.item(&table, &raw::from_json(&item).expect("it is an item")).expect("it can be packed");
    }
    packer.finish().expect("it can be packed").1
}

async fn slash(person: &Person<'_>, discord: &Discord, form: &str, file: Option<&[u8]>) -> Answer {
    let mut parts = form.split(" | ");
    let path = parts.next().unwrap_or_default();
    let options: Vec<(&str, Value)> = parts
        .map(|part| {
            let (name, value) = part.split_once('=').expect("name=value");
            let value = match value.split_at_checked(1) {
                Some(("@", name)) if PEOPLE.contains(&name) => json!({ "user": discord.id(name) }),
                Some(("+", "")) => file_option("mneme-export.jsonl.gz", file.expect("a line with the file")),
                Some(("#", number)) => json!(number.parse::<i64>().expect("a number")),
                Some(("!", switch)) => json!(switch == "yes"),
                _ => json!(with_people(discord, value).replace('⏎', "\n")),
            };
            (name, value)
        })
        .collect();
    person.slash(path, &options).await
}

const PEOPLE: [&str; 4] = ["ann", "bob", "mo", "olga"];

fn with_people(discord: &Discord, text: &str) -> String {
    PEOPLE.iter().fold(text.to_owned(), |text, name| {
        text.replace(&format!("@{name}"), &format!("<@{}>", discord.id(name)))
    })
}

/// An answer as a log writes it: people by name, times as `<t>`, one line.
fn plain(discord: &Discord, answer: &Answer) -> String {
    let text = PEOPLE.iter().fold(answer.text(), |text, name| {
        text.replace(&format!("<@{}>", discord.id(name)), &format!("@{name}"))
    });
    without_ids(&without_codes(without_channels(&without_times(&text)).replace('\n', "⏎")))
}

/// Channels are others in each server: written as `#channel`.
fn without_channels(text: &str) -> String {
    let mut parts = text.split("<#");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (id, rest) = part.split_once('>').filter(|(id, _)| is_id(id)).unwrap_or(("", part));
        text + if id.is_empty() { "<#" } else { "#channel" } + rest
    })
}

/// What a reminder is called by depends on its event: written as `code`.
fn without_codes(text: String) -> String {
    if !["⏰", "🗑️", "💤"].iter().any(|mark| text.starts_with(mark)) {
        return text;
    }
    let is_code = |span: &str| span.len() == 4 && span.bytes().all(|b| b.is_ascii_alphanumeric());
    text.split('`').map(|span| if is_code(span) { "code" } else { span }).collect::<Vec<_>>().join("`")
}

fn is_id(span: &str) -> bool {
    (17..=20).contains(&span.len()) && span.bytes().all(|b| b.is_ascii_digit())
}

/// What an import is called is the id of its event: written as `id`.
fn without_ids(text: &str) -> String {
    if !text.contains("📦 Imported") {
        return text.to_owned();
    }
    text.split('`').map(|span| if is_id(span) { "id" } else { span }).collect::<Vec<_>>().join("`")
}

async fn played_through_every_door(name: &str) {
    let stage = start().await;
    played(&stage.discord, name).await;
    stage.end().await;
}

/// Plays a log through every door of a bot that is connected already.
pub async fn played(discord: &Discord, name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/chats").join(name);
    let mut turns = read(&std::fs::read_to_string(&path).expect("the log is there"));
    let rewrite = std::env::var_os("MNEME_CHATS").is_some_and(|value| value == "write");
    for (door, server) in [(Door::Prefix, "zoo"), (Door::Mention, "farm"), (Door::Slash, "park")] {
        discord.simulator.change(|world| people_server(world, server));
        let (mut last, mut id) = (None, String::new());
        for turn in &mut turns {
            let answer = play(discord, server, door, turn, (last.as_ref(), &id)).await;
            if let Some(told) = answer.text().split('`').find(|span| is_id(span)) {
                told.clone_into(&mut id);
            }
            let heard = plain(discord, &answer);
            if rewrite && door == Door::Prefix {
                turn.answer.clone_from(&heard);
            }
            let line = write(std::slice::from_ref(turn));
            assert_eq!(heard, turn.answer, "by {door:?}, in {name}:\n{line}");
            last = Some(answer);
        }
    }
    if rewrite {
        std::fs::write(&path, write(&turns)).expect("the log can be written");
    }
}

#[tokio::test]
async fn memories_are_set_and_found() {
    played_through_every_door("set-and-get.chat").await;
}

#[tokio::test]
async fn memories_are_changed_and_restored() {
    played_through_every_door("change.chat").await;
}

#[tokio::test]
async fn memories_are_listed() {
    played_through_every_door("lists.chat").await;
}

#[tokio::test]
async fn memories_belong_to_people() {
    played_through_every_door("owners.chat").await;
}

#[tokio::test]
async fn sparkles_are_given_and_taken_back() {
    played_through_every_door("sparkles.chat").await;
}

#[tokio::test]
async fn boards_rank_people() {
    played_through_every_door("boards.chat").await;
}

#[tokio::test]
async fn statistics_are_told() {
    played_through_every_door("stats.chat").await;
}

#[tokio::test]
async fn small_commands_answer() {
    played_through_every_door("small.chat").await;
}

#[tokio::test]
async fn reminders_are_made_and_cancelled() {
    played_through_every_door("remind.chat").await;
}

#[tokio::test]
async fn a_server_decides() {
    played_through_every_door("control.chat").await;
}

#[tokio::test]
async fn rules_narrow_and_widen() {
    played_through_every_door("rules.chat").await;
}

#[tokio::test]
async fn songs_are_queued() {
    played_through_every_door("play.chat").await;
}

#[tokio::test]
async fn cooldowns_are_taken() {
    played_through_every_door("cooldown.chat").await;
}

#[tokio::test]
async fn people_see_what_is_kept_about_them() {
    played_through_every_door("privacy.chat").await;
}

#[tokio::test]
async fn a_server_takes_its_data_back() {
    played_through_every_door("data.chat").await;
}

#[tokio::test]
async fn people_are_blocked_and_changes_are_listed() {
    played_through_every_door("block.chat").await;
}

#[tokio::test]
async fn owners_do_what_only_they_can() {
    let discord = Discord::start().await;
    let server = |name: &str| {
        discord.simulator.change(|world| {
            people_server(world, name);
            world.guild(name).id()
        })
    };
    let admin_guilds = ["zoo", "farm", "park"].map(server).to_vec();
    let owners = Instance { bot_owners: vec![discord.id("olga")], admin_guilds, ..instance() };
    let bot = discord.bot(memory().await, owners).await;
    discord.called("PUT /applications/{a}/guilds/{g}/commands", 3).await;
    played(&discord, "owners-only.chat").await;
    bot.stop().await;
    discord.end().await;
}
