//! The bot beside its floor, in one run: a bare serenity bot that echoes, and bare SDK calls to the same engine.
//!
//! Each contender is a process of its own, so that its processor time and memory are its own. The simulated
//! Discord runs in this process and takes the times: from the frame it wrote to the call that came back.
//! Rounds of the contenders alternate, because a machine's speed drifts; medians are printed, with ratios.

mod contender;
mod growth;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use contender::{Contender, Round, median, memory, processor_time, say};
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::sim::World;
use serenity::all::{Context, EventHandler, GatewayIntents, HttpBuilder, Message, Ready};
use serenity::async_trait;

/// Commands in one measured round, and rounds of each contender.
const COMMANDS: usize = 1_000;
const ROUNDS: usize = 3;
/// Commands under way at once where throughput is measured.
const AT_ONCE: usize = 16;

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let runtime = tokio::runtime::Runtime::new()?;
    match args.next().as_deref() {
        Some("echo-bot") => runtime.block_on(echo_bot()),
        Some("bare-calls") => runtime.block_on(bare_calls(&args.next().expect("a folder"))),
        Some("growth") => runtime.block_on(growth::run()),
        _ => runtime.block_on(async {
            compare().await?;
            growth::run().await
        }),
    }
}

/// The least that anybody could do: hear a message and send one back.
struct Echo;

#[async_trait]
impl EventHandler for Echo {
    async fn ready(&self, _: Context, _: Ready) {
        println!("ready");
    }

    async fn message(&self, gateway: Context, message: Message) {
        if !message.author.bot {
            let _ = message.reply(&gateway, &message.content).await;
        }
    }
}

async fn echo_bot() -> anyhow::Result<()> {
    let url = std::env::var("DISCORD_API_URL")?;
    let http =
        HttpBuilder::new(std::env::var("DISCORD_TOKEN")?).proxy(url).ratelimiter_disabled(true).build();
    let intents = GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::MESSAGE_CONTENT;
    serenity::client::ClientBuilder::new_with_http(http, intents).event_handler(Echo).await?.start().await?;
    Ok(())
}

/// One line on standard input is one round, `get` or `change`; a line comes back when it is done.
async fn bare_calls(folder: &str) -> anyhow::Result<()> {
    let connected = connect(StoreConfig::new(Store::File(Path::new(folder).join("bare.db")))).await?;
    let engine = connected.embedded.expect("a file is the embedded engine");
    let floor = floor::Floor::new(engine).await?;
    println!("ready");
    let mut next = 0;
    for line in std::io::stdin().lines() {
        for _ in 0..COMMANDS {
            match line.as_deref() {
                Ok("get") => floor.get(0).await?,
                _ => {
                    next += 1;
                    floor.change(next).await?;
                }
            }
        }
        println!("done");
    }
    Ok(())
}

/// The calls that `.rem` and `.remember` cannot do without, by the bare SDK. `.remember` looks twice before it
/// writes: whether its whole text is a key, and what is under the key.
mod floor {
    use aws_sdk_dynamodb::Client;
    use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
    use aws_sdk_dynamodb::types::{
        AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, LocalSecondaryIndex,
        Projection, ProjectionType, Put, ScalarAttributeType, TransactWriteItem,
    };
    use mneme::dynamo::embedded::Embedded;

    pub struct Floor(Client);

    impl Floor {
        pub async fn new(engine: Embedded) -> anyhow::Result<Self> {
            let config = aws_sdk_dynamodb::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .http_client(SharedHttpClient::new(engine))
                .region(Region::new("us-east-1"))
                .endpoint_url("http://embedded.invalid")
                .credentials_provider(Credentials::new("test", "test", None, None, "bench"))
                .build();
            let client = Client::from_conf(config);
            // As the bot's own tables are: the rows have an index by event.
            for table in ["head", "row"] {
                let key = |name: &str, kind| {
                    KeySchemaElement::builder().attribute_name(name).key_type(kind).build()
                };
                let attribute = |name: &str, kind| {
                    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()
                };
                let by_event = || -> anyhow::Result<LocalSecondaryIndex> {
                    let keys = Projection::builder().projection_type(ProjectionType::KeysOnly).build();
                    Ok(LocalSecondaryIndex::builder()
                        .index_name("by_event")
                        .key_schema(key("server", KeyType::Hash)?)
                        .key_schema(key("event", KeyType::Range)?)
                        .projection(keys)
                        .build()?)
                };
                let request = client.create_table().table_name(table);
                let request = match table {
                    "row" => request
                        .local_secondary_indexes(by_event()?)
                        .attribute_definitions(attribute("event", ScalarAttributeType::N)?),
                    _ => request,
                };
                request
                    .billing_mode(BillingMode::PayPerRequest)
                    .key_schema(key("server", KeyType::Hash)?)
                    .key_schema(key("key", KeyType::Range)?)
                    .attribute_definitions(attribute("server", ScalarAttributeType::N)?)
                    .attribute_definitions(attribute("key", ScalarAttributeType::S)?)
                    .send()
                    .await?;
            }
            let floor = Self(client);
            floor.change(0).await?;
            Ok(floor)
        }

        pub async fn get(&self, n: usize) -> anyhow::Result<()> {
            let request = self.0.get_item().table_name("head").key("server", AttributeValue::N("1".into()));
            request.key("key", AttributeValue::S(format!("key{n}"))).consistent_read(true).send().await?;
            Ok(())
        }

        /// A consistent read, then head and row in one transaction.
        pub async fn change(&self, n: usize) -> anyhow::Result<()> {
            self.get(n).await?;
            let event = AttributeValue::N(n.to_string());
            let put = |table: &str, key: String| -> anyhow::Result<TransactWriteItem> {
                let put = Put::builder()
                    .table_name(table)
                    .item("server", AttributeValue::N("1".into()))
                    .item("key", AttributeValue::S(key))
                    .item("value", AttributeValue::S("tomorrow".into()))
                    .item("event", event.clone())
                    .item("at", AttributeValue::S("2026-01-01T00:00:00Z".into()))
                    .condition_expression("attribute_not_exists(#key)")
                    .expression_attribute_names("#key", "key")
                    .build()?;
                Ok(TransactWriteItem::builder().put(put).build())
            };
            self.0
                .transact_write_items()
                .client_request_token(n.to_string())
                .transact_items(put("head", format!("key{n}"))?)
                .transact_items(put("row", format!("rem#key{n}#{n}"))?)
                .send()
                .await?;
            Ok(())
        }
    }
}

/// Bare calls, in a process of their own; processor time for each in microseconds.
struct Bare {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Bare {
    fn start(folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare-calls", folder.to_str().expect("a plain path")]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        lines.next().expect("it gets ready")?;
        Ok(Self { process, lines })
    }

    fn round(&mut self, what: &str) -> anyhow::Result<f64> {
        let before = processor_time(&self.process.id().to_string())?;
        writeln!(self.process.stdin.as_mut().expect("it is piped"), "{what}")?;
        self.lines.next().expect("it answers")?;
        let used = processor_time(&self.process.id().to_string())? - before;
        Ok(used.as_secs_f64() * 1e6 / COMMANDS as f64)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A contender, and who talks to it where.
struct On {
    contender: Contender,
    person: u64,
    channel: u64,
}

impl On {
    async fn start(command: Command) -> anyhow::Result<Self> {
        let mut world = World::new(1);
        for name in ["two", "three"] {
            world.guild(name).channel("general");
        }
        let mut guild = world.guild("one");
        let (person, channel) = (guild.person("ann"), guild.channel("general"));
        Ok(Self { contender: Contender::start(command, world, person).await?, person, channel })
    }

    async fn round(&self, at_once: usize, text: impl Fn(usize) -> String) -> anyhow::Result<Round> {
        let act = |n| (self.person, say(self.channel, text(n)));
        self.contender.round(self.person, COMMANDS, at_once, act).await
    }

    fn memory(&self) -> anyhow::Result<f64> {
        memory(self.contender.process.id())
    }
}

async fn compare() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bot = Command::new(env!("CARGO_BIN_EXE_mneme"));
    bot.args(["run", "--store", "embedded", "--discord-pacing", "off", "--log", "error", "--data-dir"]);
    bot.arg(folder.path().join("bot"));
    let bot = On::start(bot).await?;
    let mut echo = Command::new(std::env::current_exe()?);
    echo.arg("echo-bot");
    let echo = On::start(echo).await?;
    let mut bare = Bare::start(folder.path())?;

    let one = |text: &str| {
        let text = text.to_owned();
        move |_| text.clone()
    };
    let idle = bot.memory()?;
    bot.round(AT_ONCE, one(".remember meeting is tomorrow")).await?;
    let mut rounds: Vec<(&str, Vec<Round>)> =
        ["bare echo", ".ping", ".rem (hit)", ".remember (new key)"].map(|name| (name, Vec::new())).into();
    let (mut gets, mut changes) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        rounds[0].1.push(both(&echo, one("hello")).await?);
        rounds[1].1.push(both(&bot, one(".ping")).await?);
        rounds[2].1.push(both(&bot, one(".rem meeting")).await?);
        let key = std::cell::Cell::new(round * 1_000_000);
        let fresh = |_| {
            key.set(key.get() + 1);
            format!(".remember key{} is tomorrow", key.get())
        };
        rounds[3].1.push(both(&bot, fresh).await?);
        gets.push(bare.round("get")?);
        changes.push(bare.round("change")?);
    }
    report(&rounds, median(gets), median(changes));
    println!(
        "\nmneme with 3 servers: {idle:.1} MiB at READY, {:.1} MiB after {} commands, {:.0} ms from start to READY",
        bot.memory()?,
        ROUNDS * COMMANDS * 6,
        bot.contender.start.as_secs_f64() * 1e3
    );
    println!("bare echo bot: {:.1} MiB, {:.0} ms", echo.memory()?, echo.contender.start.as_secs_f64() * 1e3);
    Ok(())
}

/// Throughput with many at once, latency and processor time with one at a time.
async fn both(contender: &On, text: impl Fn(usize) -> String) -> anyhow::Result<Round> {
    let many = contender.round(AT_ONCE, &text).await?;
    let single = contender.round(1, &text).await?;
    Ok(Round { per_second: many.per_second, ..single })
}

fn report(rounds: &[(&str, Vec<Round>)], get: f64, change: f64) {
    let of = |place: usize, figure: fn(&Round) -> f64| median(rounds[place].1.iter().map(figure).collect());
    let echo = of(0, |round| round.processor);
    println!("| | CPU a command | floor | ratio | p50 | p99 | commands a second, {AT_ONCE} at once |");
    println!("|---|---|---|---|---|---|---|");
    let floors = [
        ("echo", echo),
        ("echo", echo),
        ("echo + get", echo + get),
        ("echo + 2 gets + transaction", echo + get + change),
    ];
    for (place, (name, _)) in rounds.iter().enumerate() {
        let processor = of(place, |round| round.processor);
        let (floor_name, floor) = floors[place];
        println!(
            "| `{name}` | {processor:.0} µs | {floor:.0} µs ({floor_name}) | {:.2} | {:.2} ms | {:.2} ms | {:.0} |",
            processor / floor,
            of(place, |round| round.p50) / 1e3,
            of(place, |round| round.p99) / 1e3,
            of(place, |round| round.per_second),
        );
    }
    println!("\nbare calls: get {get:.0} µs, get and transaction of two puts {change:.0} µs of CPU");
}
