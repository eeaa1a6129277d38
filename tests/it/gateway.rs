//! The bot answers again, and each event once, after whatever Discord does.

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use mneme::bot::{self, Exit, Patience};
use mneme::config::Shards;
use mneme::sim::faults::ALWAYS;
use mneme::sim::world::intent;
use mneme::sim::{Faults, RecordKind, World};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::child::{Mneme, run_on};
use crate::harness::{
    Counters, Discord, Person, Stage, free_address, instance, memory, start, start_impatient, world,
};

const MESSAGES: &str = "POST /channels/{c}/messages";
const PONG: &str = "🟢 Pong!";

/// One heartbeat a second instead of Discord's one in 41.
const FAST_HEARTBEAT_MS: u64 = 1_000;

fn fast_heartbeats() -> World {
    let mut world = world();
    world.settings.heartbeat_ms = FAST_HEARTBEAT_MS;
    world
}

fn ann(stage: &Stage) -> Person<'_> {
    stage.person("zoo", "cats", "ann")
}

/// Talks once more, and then counts: so many answers, none of them sent twice.
async fn answered_once(stage: &Stage, before: usize) {
    let ann = ann(stage);
    assert_eq!(ann.says(".ping").await, PONG);
    let heard: Vec<String> = ann.heard().iter().map(|answer| answer.text()).collect();
    assert_eq!(heard.len(), before + 1, "{heard:?}");
    assert_eq!(stage.discord.simulator.calls(MESSAGES), heard.len() as u64);
}

/// A fault, by its name.
type Interruption = (&'static str, fn(&Faults) -> usize);

/// What serenity resumes from: nothing is lost, and what comes again is not answered again.
const RESUMED: &[Interruption] = &[
    ("op 7", Faults::reconnect),
    ("op 9, resumable", |faults| faults.invalidate(true)),
    ("a reset", Faults::cut),
    ("the end of the stream", Faults::hang_up),
    ("1000", |faults| faults.close(1000)),
    ("1001", |faults| faults.close(1001)),
    ("4000", |faults| faults.close(4000)),
    ("4001", |faults| faults.close(4001)),
    ("4002", |faults| faults.close(4002)),
    ("4005", |faults| faults.close(4005)),
    ("4007", |faults| faults.close(4007)),
    ("4008", |faults| faults.close(4008)),
];

#[tokio::test]
async fn what_was_said_before_a_resume_is_answered_after_it() {
    join_all(RESUMED.iter().map(|interruption| resumes(*interruption))).await;
}

async fn resumes((name, interrupt): Interruption) {
    let stage = start().await;
    let (ann, faults) = (ann(&stage), stage.discord.simulator.faults());
    assert_eq!(ann.says(".ping").await, PONG);
    faults.replay(4);
    let mut seen = ann.watch();
    assert_eq!(interrupt(faults), 1, "{name}");
    let said = ann.say(".remember tea is hot");
    let answer = ann.answer_to(&mut seen, said).await.text();
    assert!(answer.starts_with("✅ Ok"), "{name}: {answer}");
    answered_once(&stage, 2).await;
    assert_eq!(stage.discord.simulator.read(World::identified), [(0, 1)], "{name} needs no IDENTIFY");
    stage.end().await;
}

/// What ends a session: a new one begins.
const ENDED: &[Interruption] = &[
    ("op 9", |faults| faults.invalidate(false)),
    ("a refused RESUME", |faults| {
        faults.refuse_resume(1);
        faults.reconnect()
    }),
    ("4006", |faults| faults.close(4006)),
    ("4009", |faults| faults.close(4009)),
    ("a zombie", Faults::zombie),
];

#[tokio::test]
async fn a_session_that_is_over_is_followed_by_another() {
    join_all(ENDED.iter().map(|interruption| begins_anew(*interruption))).await;
}

async fn begins_anew((name, interrupt): Interruption) {
    let stage = start_impatient(fast_heartbeats()).await;
    let (ann, faults) = (ann(&stage), stage.discord.simulator.faults());
    assert_eq!(ann.says(".ping").await, PONG);
    let mut seen = ann.watch();
    assert_eq!(interrupt(faults), 1, "{name}");
    stage.discord.until(&mut seen, |world| world.identified().len() == 2).await;
    answered_once(&stage, 1).await;
    stage.end().await;
}

#[tokio::test]
async fn a_connection_that_hangs_is_replaced() {
    join_all([
        hanging_reconnect().boxed(),
        refused_reconnect().boxed(),
        hanging_start("HELLO", 1, |faults| faults.no_hello(1)).boxed(),
        hanging_start("READY", 1, |faults| faults.no_ready(1)).boxed(),
        hanging_start("an unreadable READY", 2, |faults| faults.malformed("READY")).boxed(),
    ])
    .await;
}

/// The peer takes the connection and never answers the upgrade.
async fn hanging_reconnect() {
    let stage = start_impatient(fast_heartbeats()).await;
    let (ann, faults) = (ann(&stage), stage.discord.simulator.faults());
    let mut seen = ann.watch();
    faults.hang_upgrade(1);
    faults.cut();
    stage.discord.until(&mut seen, |world| world.identified().len() == 2).await;
    answered_once(&stage, 0).await;
    stage.end().await;
}

async fn refused_reconnect() {
    let stage = start_impatient(world()).await;
    let (ann, faults) = (ann(&stage), stage.discord.simulator.faults());
    let mut seen = ann.watch();
    // serenity tries to resume twice, and then begins anew.
    faults.refuse_upgrade(2, 503);
    faults.hang_up();
    stage.discord.until(&mut seen, |world| !world.bot_online()).await;
    stage.discord.until(&mut seen, World::bot_online).await;
    answered_once(&stage, 0).await;
    stage.end().await;
}

/// The first connection never gets as far as that; heartbeats are acknowledged all the while.
async fn hanging_start(name: &str, identifies: usize, fault: impl Fn(&Faults)) {
    let discord = Discord::with(fast_heartbeats()).await;
    fault(discord.simulator.faults());
    let mut settings = discord.impatient();
    settings.patience.connected = Duration::from_secs(3);
    let mut seen = discord.simulator.watch(discord.id("ann"));
    let bot = discord.bot_with(settings, memory().await, instance()).await;
    discord.until(&mut seen, |world| world.identified().len() == identifies && world.bot_online()).await;
    let stage = Stage { discord, bot };
    assert_eq!(ann(&stage).says(".ping").await, PONG, "{name}");
    stage.end().await;
}

#[tokio::test]
async fn an_upgrade_that_hangs_at_the_start_needs_a_new_process() {
    let discord = Discord::start().await;
    discord.simulator.faults().hang_upgrade(1);
    let mut settings = discord.impatient();
    settings.patience.connected = Duration::from_secs(1);
    let bot = discord.launch(settings, memory().await, instance());
    assert_eq!(bot.ended().await, Exit::Again("shard 0 does not come back".into()));
    discord.end().await;
}

#[tokio::test]
async fn frames_that_cannot_be_read_are_passed_over() {
    let stage = start().await;
    let (ann, faults) = (ann(&stage), stage.discord.simulator.faults());
    faults.garbage();
    faults.malformed("MESSAGE_CREATE");
    ann.say(".ping");
    answered_once(&stage, 0).await;
    stage.end().await;
}

#[tokio::test]
async fn without_the_content_intent_mentions_still_work() {
    let stage = start_impatient(world()).await;
    let (ann, simulator) = (ann(&stage), &stage.discord.simulator);
    assert_eq!(ann.says(".ping").await, PONG);
    let mut seen = ann.watch();
    simulator.faults().portal(intent::MESSAGE_CONTENT, false);
    simulator.faults().invalidate(false);
    // The first asks for content and is refused with 4014, the second does not ask.
    stage.discord.until(&mut seen, |world| world.identified().len() >= 2 && world.bot_online()).await;
    let bot = simulator.read(World::bot);
    assert_eq!(ann.says(&format!("<@{bot}> ping")).await, PONG);
    assert_eq!(ann.slash("ping", &[]).await.text(), PONG);
    // Refused once more there is nothing left to go without.
    simulator.faults().close(4014);
    let Exit::Operator(why) = stage.bot.ended().await else { panic!("only the operator can help") };
    assert!(why.contains("intents"), "{why}");
    stage.discord.end_despite(|record| record.kind == RecordKind::Closed).await;
}

#[tokio::test]
async fn what_only_the_operator_can_cure_ends_the_bot() {
    let faults: [fn(&Discord); 3] = [
        |discord| assert_eq!(discord.simulator.faults().close(4004), 1),
        |discord| assert_eq!(discord.simulator.faults().close(4013), 1),
        |discord| {
            discord.simulator.faults().reset_token();
            // The refused reply is how the bot learns of it.
            discord.person("zoo", "cats", "ann").say(".ping");
        },
    ];
    join_all(faults.map(|fault| async move {
        let stage = start_impatient(world()).await;
        fault(&stage.discord);
        assert!(matches!(stage.bot.ended().await, Exit::Operator(_)));
        stage.discord.end_despite(|record| record.response["code"] == 0).await;
    }))
    .await;
}

#[tokio::test]
async fn an_unknown_token_is_the_operators_business() {
    let discord = Discord::start().await;
    let settings = discord.impatient();
    discord.simulator.faults().reset_token();
    let bot = discord.launch(settings, memory().await, instance());
    let Exit::Operator(why) = bot.ended().await else { panic!("only the operator can help") };
    assert!(why.contains("DISCORD_TOKEN"), "{why}");
    discord.end_despite(|record| record.kind == RecordKind::Refused).await;
}

#[tokio::test]
async fn each_shard_of_a_range_identifies_once() {
    let discord = Discord::start().await;
    let mut settings = discord.impatient();
    settings.shards = Shards::Range(0..2, 4);
    let mut seen = discord.simulator.watch(discord.id("ann"));
    let bot = discord.bot_with(settings, memory().await, instance()).await;
    discord.until(&mut seen, |world| world.sessions_online() == 2).await;
    assert_eq!(discord.direct("ann").says("ping").await, PONG);
    assert_eq!(bot.stop().await, Exit::Asked);
    assert_eq!(discord.simulator.read(World::identified), [(0, 4), (1, 4)]);
    // Both have left with 1000.
    discord.until(&mut seen, |world| world.sessions() == 0).await;
    discord.end().await;
}

#[tokio::test]
async fn two_instances_take_turns_where_one_session_may_start_at_a_time() {
    let mut world = world();
    world.settings.max_concurrency = 1;
    let discord = Discord::with(world).await;
    let store = memory().await;
    let mut seen = discord.simulator.watch(discord.id("ann"));
    let bots = [(); 2].map(|()| discord.launch(discord.impatient(), store.clone(), instance()));
    discord.until(&mut seen, |world| world.sessions_online() == 2).await;
    let ann = discord.person("zoo", "cats", "ann");
    assert_eq!(ann.says(".ping").await, PONG);
    for bot in bots {
        assert_eq!(bot.stop().await, Exit::Asked);
    }
    assert_eq!(ann.heard().len(), 1);
    discord.end().await;
}

#[tokio::test]
async fn too_few_session_starts_are_waited_for() {
    let mut world = world();
    world.settings.starts_a_day = 50;
    let discord = Discord::with(world).await;
    let bot = discord.launch(discord.impatient(), memory().await, instance());
    discord.called("GET /oauth2/applications/@me", 1).await;
    assert_eq!(bot.stop().await, Exit::Asked);
    assert_eq!(discord.simulator.read(World::identified), []);
    discord.end().await;
}

#[tokio::test]
async fn a_discord_out_of_reach_is_asked_again_and_nobody_else_is() {
    let discord = Discord::start().await;
    discord.simulator.faults().fail("GET /gateway/bot", 3, 503, "<html>later</html>");
    let bot = discord.bot_with(discord.impatient(), memory().await, instance()).await;
    assert_eq!(discord.simulator.calls("GET /gateway/bot"), 4);
    assert_eq!(discord.simulator.calls("GET /gateway"), 0, "the address is known already");
    assert_eq!(bot.stop().await, Exit::Asked);
    discord.end().await;
}

#[tokio::test]
async fn the_token_follows_no_redirection() {
    let (here, elsewhere) = (listener().await, listener().await);
    let settings = bot::Settings {
        api_url: Some(format!("http://{}", here.local_addr().unwrap())),
        ..Discord::start().await.impatient()
    };
    let stop = CancellationToken::new();
    let connecting = bot::connect(&settings, &stop);
    let refer = async {
        // Each attempt asks two questions.
        for _ in 0..4 {
            let (mut stream, _) = here.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4_096]).await.unwrap();
            let location = format!("http://{}/api/v10/gateway/bot", elsewhere.local_addr().unwrap());
            let answer = format!(
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        stop.cancel();
    };
    let (outcome, ()) = futures::join!(connecting, refer);
    assert!(matches!(outcome, Err(Exit::Asked)));
    assert!(elsewhere.accept().now_or_never().is_none(), "nobody came");
}

async fn listener() -> TcpListener {
    TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port on loopback")
}

/// The executable, connected.
async fn process(discord: &Discord, data: &tempfile::TempDir, log: &str) -> Mneme {
    let mut command = run_on(discord, data.path());
    command.env("LOG", log);
    connected(discord, command).await
}

async fn connected(discord: &Discord, command: Command) -> Mneme {
    let mut seen = discord.simulator.watch(discord.id("ann"));
    let mut bot = Mneme::start(command);
    bot.says("registered slash commands").await;
    discord.until(&mut seen, World::bot_online).await;
    bot
}

#[tokio::test]
async fn a_shard_that_would_spin_ends_the_process() {
    let faults: [Interruption; 5] = [
        ("4003", |faults| faults.close(4003)),
        ("4010", |faults| faults.close(4010)),
        ("4011", |faults| faults.close(4011)),
        ("no code", Faults::close_empty),
        ("a reset, and nobody to reconnect to", |faults| {
            faults.refuse_upgrade(ALWAYS, 503);
            faults.cut()
        }),
    ];
    join_all(faults.map(|(name, close)| async move {
        let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
        // Whatever is logged: what tells of the spinning is not to depend on it.
        let bot = process(&discord, &data, "mneme=info,serenity=off").await;
        assert_eq!(close(discord.simulator.faults()), 1);
        let (status, log) = bot.ended().await;
        assert_eq!(status.code(), Some(75), "{name}: {}", log.join("\n"));
        discord.end().await;
    }))
    .await;
}

#[tokio::test]
async fn a_stop_by_signal_answers_and_takes_its_leave() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let bot = process(&discord, &data, "info").await;
    let ann = discord.person("zoo", "cats", "ann");
    // A shard that has restarted itself is one that serenity no longer waits for.
    let mut seen = ann.watch();
    discord.simulator.faults().invalidate(false);
    discord.until(&mut seen, |world| world.identified().len() == 2).await;
    assert_eq!(ann.says(".ping").await, PONG);
    discord.simulator.faults().delay(MESSAGES, 1, Duration::from_secs(1));
    let said = ann.say(".remember tea is hot");
    discord.called(MESSAGES, 2).await;
    let (status, log) = bot.terminate().await;
    assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
    assert!(ann.answer_to(&mut seen, said).await.text().starts_with("✅ Ok"));
    // It has left with 1000.
    discord.until(&mut seen, |world| world.sessions() == 0).await;
    discord.end().await;
}

#[tokio::test]
async fn no_log_line_holds_the_token_and_few_hold_what_people_say() {
    let everything = "trace,serenity=trace,hyper=trace,reqwest=trace,tungstenite=trace";
    join_all([("info", true), (everything, false)].map(|(log, discreet)| async move {
        let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
        let bot = process(&discord, &data, log).await;
        let (ann, faults) = (discord.person("zoo", "cats", "ann"), discord.simulator.faults());
        ann.says(".remember plumbus is schleem").await;
        ann.slash("rem get", &[("key", json!("plumbus"))]).await;
        faults.fail(MESSAGES, 1, 502, "");
        faults.reconnect();
        ann.says(".rem plumbus").await;
        faults.malformed("MESSAGE_CREATE");
        ann.say("schleem");
        ann.says(".ping").await;
        let (status, lines) = bot.terminate().await;
        assert_eq!(status.code(), Some(0));
        let token = discord.simulator.token();
        let holds = |line: &&String| line.contains(&token) || (discreet && line.contains("schleem"));
        assert_eq!(lines.iter().find(holds), None, "with LOG={log}");
        discord.end().await;
    }))
    .await;
}

#[tokio::test]
async fn identifies_are_counted() {
    let (discord, data) = (Discord::start().await, tempfile::tempdir().unwrap());
    let address = free_address();
    let mut command = run_on(&discord, data.path());
    command.env("HTTP", address.to_string()).env("LOG", "mneme=info,serenity=off");
    let bot = connected(&discord, command).await;
    assert_eq!(discord.person("zoo", "cats", "ann").says(".ping").await, PONG);
    assert_eq!(Counters(address).reach("mneme_gateway_identifies_total", 1).await, 1);
    assert_eq!(bot.terminate().await.0.code(), Some(0));
    discord.end().await;
}

#[test]
fn on_discord_the_bot_is_patient() {
    let patience = Patience::default();
    assert_eq!(patience.connected, Duration::from_secs(60));
    assert!(patience.acknowledged > 2 * Duration::from_millis(41_250));
}
