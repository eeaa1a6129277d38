//! What growth costs: recall, search, boards and suggestions beside 10, 1,000 and 10,000 memories in a server, and
//! beside 10 and 1,000 servers. Latency as the simulated Discord sees it, units as the store charges them.

use std::net::TcpListener;
use std::process::Command;

use mneme::sim::{Act, World};
use serde_json::json;

use crate::contender::{Contender, say};

/// Memories in one server.
const MEMORIES: [usize; 3] = [10, 1_000, 10_000];
/// Servers, each with [`EACH`] memories.
const SERVERS: [usize; 2] = [10, 1_000];
const EACH: usize = 10;
/// Questions of one kind, one after the other.
const QUESTIONS: usize = 200;
/// Who teaches: a person's commands run one after the other.
const TEACHERS: usize = 16;
/// What the questions read. Counts and caches are written and read beside them.
const TABLES: [&str; 4] = ["remember", "history", "sparkle", "tally"];

/// One server with what is in it.
struct Server {
    channel: u64,
    people: Vec<u64>,
    memories: usize,
}

/// Prints the table.
pub async fn run() -> anyhow::Result<()> {
    println!("\n| | `.rem` | `.rem search` | `.leaderboard` | autocomplete |");
    println!("|---|---|---|---|---|");
    for memories in MEMORIES {
        let name = format!("a server with {memories} memories");
        measure(&name, 1, memories).await?;
    }
    for servers in SERVERS {
        let name = format!("one of {servers} servers with {EACH} memories");
        measure(&name, servers, EACH).await?;
    }
    println!("\nmilliseconds p50 / p99; read units of the first question, then of each of {QUESTIONS}");
    Ok(())
}

/// A bot that was just started, so that nothing is loaded before it is measured.
async fn measure(name: &str, servers: usize, memories: usize) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let metrics = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut world = World::new(1);
    let servers: Vec<Server> = (0..servers).map(|n| server(&mut world, n, memories)).collect();
    let mut bot = Contender::start(process(folder.path(), &metrics), world, servers[0].people[0]).await?;
    for server in &servers {
        teach(&bot, server).await?;
    }
    bot.restart(process(folder.path(), &metrics)).await?;
    let asked = servers.last().expect("there is one");
    let key = memories / 2;
    let suggest = json!([{"type": 1, "name": "get", "options": [
        {"type": 3, "name": "key", "value": "subject 1", "focused": true},
    ]}]);
    let questions = [
        say(asked.channel, format!(".rem subject {key}")),
        say(asked.channel, ".rem search subject 1"),
        say(asked.channel, ".leaderboard memories"),
        Act::Autocomplete { channel: asked.channel, command: "rem".to_owned(), options: suggest },
    ];
    let mut line = format!("| {name} |");
    for question in questions {
        let person = asked.people[0];
        let ask = |_| (person, question.clone());
        let before = read_units(&metrics).await?;
        bot.round(person, 1, 1, ask).await?;
        let first = read_units(&metrics).await?;
        let round = bot.round(person, QUESTIONS, 1, ask).await?;
        let each = (read_units(&metrics).await? - first) / QUESTIONS as f64;
        line += &format!(
            " {:.2} / {:.2} ms · {:.1}, {each:.2} RRU |",
            round.p50 / 1e3,
            round.p99 / 1e3,
            first - before
        );
    }
    println!("{line}");
    Ok(())
}

fn server(world: &mut World, n: usize, memories: usize) -> Server {
    let mut guild = world.guild(&format!("server {n}"));
    let people = (0..TEACHERS).map(|n| guild.person(&format!("person{n}"))).collect();
    Server { channel: guild.channel("general"), people, memories }
}

fn process(folder: &std::path::Path, metrics: &str) -> Command {
    let mut bot = Command::new(env!("CARGO_BIN_EXE_mneme"));
    bot.args(["run", "--store", "embedded", "--discord-pacing", "off", "--log", "error"]);
    bot.args(["--http", metrics, "--data-dir"]).arg(folder);
    bot
}

async fn teach(bot: &Contender, server: &Server) -> anyhow::Result<()> {
    let act = |n: usize| {
        let text = format!(".remember subject {n} is what everybody here should know of number {n}");
        (server.people[n % TEACHERS], say(server.channel, text))
    };
    bot.round(server.people[0], server.memories, TEACHERS, act).await?;
    Ok(())
}

/// What the questions have cost so far.
async fn read_units(metrics: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("http://{metrics}/metrics")).await?.text().await?;
    let lines = text.lines().filter(|line| {
        line.starts_with("mneme_dynamo_units_total")
            && line.contains(r#"kind="read""#)
            && TABLES.iter().any(|table| line.contains(&format!(r#"table="{table}""#)))
    });
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}
