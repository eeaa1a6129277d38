//! An evening's worth of commands: whatever the engine, the replies are the same.
//!
//! A script drawn from a seed is played twice on the simulated Discord, by a bot on the embedded engine and by
//! one on the engine under test. Servers run side by side; within one, people speak in turn, so that there
//! is one right reply to each line. Times are left out. `MNEME_COMMANDS` says how many commands there are.

use std::time::Instant;

use futures::future::join_all;
use mneme::dynamo::connect::Store;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::harness::{Answer, Discord, empty, instance, number, people_server, seed, without_times};
use crate::{engine, store};

/// Enough for every kind of line to come up in each server.
const COMMANDS: usize = 500;
const SERVERS: [&str; 4] = ["zoo", "farm", "park", "pond"];
const PEOPLE: [&str; 4] = ["ann", "bob", "mo", "olga"];
/// Few enough keys that people get in each other's way.
const KEYS: usize = 30;

/// What somebody does.
#[derive(Clone, Debug)]
struct Line {
    who: &'static str,
    channel: &'static str,
    text: String,
    /// The same as a slash command, if it is given as one.
    slash: Option<(&'static str, Vec<(&'static str, Value)>)>,
}

/// What everybody in a server does, one after the other.
fn script(seed: u64, server: usize, lines: usize) -> Vec<Line> {
    let mut rng = StdRng::seed_from_u64(seed.wrapping_add(server as u64));
    let mut script: Vec<Line> = Vec::with_capacity(lines);
    while script.len() < lines {
        let line = line(&mut rng);
        // Whoever changed something may take it back for ten minutes: they do so at once or not at all.
        let changes = [".rem ", ".mem edit", ".mem append", ".forget"];
        let undone = changes.iter().any(|change| line.text.starts_with(change)) && rng.random_ratio(1, 12);
        let undo = Line { text: ".mem undo".to_owned(), slash: None, ..line.clone() };
        script.push(line);
        script.extend(undone.then_some(undo));
    }
    script.truncate(lines);
    script
}

/// Mostly questions, as on any server.
fn line(rng: &mut StdRng) -> Line {
    let who = *PEOPLE.choose(rng).expect("there are some");
    let channel = *["cats", "dogs"].choose(rng).expect("there are some");
    let (key, other) = (key(rng), key(rng));
    let value = format!(
        "{} {}",
        ["tea", "soup", "😀", "a *very* long <@1> story"].choose(rng).expect("some"),
        rng.random_range(0..100)
    );
    let (text, slash): (String, Option<(_, Vec<_>)>) = match rng.random_range(0..100) {
        0..45 => (format!(".rem {key}"), Some(("rem get", vec![("key", json!(key))]))),
        45..52 => {
            (format!(".rem search {}", &key[..3]), Some(("rem search", vec![("text", json!(key[..3]))])))
        }
        52..55 => (".mem list".to_owned(), Some(("mem list", vec![]))),
        55..59 => (format!(".mem raw {key}"), Some(("mem raw", vec![("key", json!(key))]))),
        59..62 => (format!(".mem history {key}"), Some(("mem history", vec![("key", json!(key))]))),
        62..65 => (format!(".mem diff {key}"), Some(("mem diff", vec![("key", json!(key))]))),
        65..67 => (format!(".mem info {key}"), None),
        67..70 => (format!(".echo {value}"), Some(("echo", vec![("text", json!(value))]))),
        70..72 => (".help mem".to_owned(), None),
        72..74 => (format!(".remmeber {key}"), None),
        74..84 => (
            format!(".rem {key} is {value}"),
            Some(("rem set", vec![("key", json!(key)), ("value", json!(value))])),
        ),
        84..90 => (
            format!(".mem edit {key} is {value}"),
            Some(("mem edit", vec![("key", json!(key)), ("value", json!(value))])),
        ),
        90..93 => (
            format!(".mem append {key} is {value}"),
            Some(("mem append", vec![("key", json!(key)), ("text", json!(value))])),
        ),
        93..95 => (format!(".mem alias {other} = {key}"), None),
        95..96 => (format!(".mem restore {key} 1"), None),
        96..97 => (format!(".mem lock {key}"), None),
        97..98 => (format!(".mem unlock {key}"), None),
        _ => (format!(".forget {key}"), Some(("forget", vec![("key", json!(key))]))),
    };
    let slash = slash.filter(|_| rng.random_ratio(1, 4));
    Line { who, channel, text, slash }
}

/// Some are asked for much more often than others.
fn key(rng: &mut StdRng) -> String {
    let number = rng.random_range(0..KEYS).min(rng.random_range(0..KEYS));
    format!("{}{number}", ["key", "wifi", "Lunch "][number % 3])
}

/// Plays a script in a server; what was answered to each line.
async fn play(discord: &Discord, server: &str, script: &[Line]) -> Vec<String> {
    let mut answers = Vec::with_capacity(script.len());
    for line in script {
        let person = discord.person(server, line.channel, line.who);
        let answer = match &line.slash {
            Some((path, options)) => person.slash(path, options).await,
            None => person.asks(&line.text).await,
        };
        answers.push(plain(discord, &answer));
    }
    answers
}

/// What a reader sees, with people by their names and without times.
fn plain(discord: &Discord, answer: &Answer) -> String {
    let text = without_times(&format!("{} {:?}", answer.text(), answer.labels()));
    PEOPLE
        .iter()
        .fold(text, |text, name| text.replace(&format!("<@{}>", discord.id(name)), &format!("@{name}")))
}

/// Plays all scripts at once, with a bot on this store.
async fn transcript(store: Store, scripts: &[Vec<Line>]) -> Vec<Vec<String>> {
    let connected = empty(store).await;
    let discord = Discord::start().await;
    discord.simulator.change(|world| SERVERS.iter().for_each(|name| people_server(world, name)));
    let description = connected.description.clone();
    let bot = discord.bot(connected, instance()).await;
    let started = Instant::now();
    let plays = SERVERS.iter().zip(scripts).map(|(server, script)| play(&discord, server, script));
    let answers = join_all(plays).await;
    let commands: usize = answers.iter().map(Vec::len).sum();
    println!("{commands} commands on {description} in {:.1} s", started.elapsed().as_secs_f64());
    bot.stop().await;
    discord.end().await;
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn the_replies_are_those_of_the_embedded_engine() {
    let (seed, commands) = (seed(11), number("MNEME_COMMANDS").unwrap_or(COMMANDS));
    let lines = commands.div_ceil(SERVERS.len());
    let scripts: Vec<_> = (0..SERVERS.len()).map(|server| script(seed, server, lines)).collect();
    let expected = transcript(Store::Memory, &scripts).await;
    let found = transcript(store(), &scripts).await;
    for (server, script) in scripts.iter().enumerate() {
        for (number, line) in script.iter().enumerate() {
            let (expected, found) = (&expected[server][number], &found[server][number]);
            let place = format!("line {number} in {}", SERVERS[server]);
            assert_eq!(
                found,
                expected,
                "on {:?}, not as on the embedded engine, {place}: {line:?}",
                engine()
            );
            assert!(!expected.contains("on my side"), "{place}: {line:?}: {expected}");
        }
    }
}
