//! Sparkles over the embedded engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cause::Cause;
use crate::clock::{Clock, Timestamp};
use crate::commands::{Found, Registry, leaderboard, undo};
use crate::context::{Answer, Caller, Context, Discord, Door, Error, Instance, Press, Reply, Row, Services};
use crate::counts::Tally;
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::{Fault, Faults};
use crate::dynamo::testing::{engine, over};
use crate::dynamo::{Dynamo, Query, Token, Transaction, Units, WRITES_MAX, measured};
use crate::history::Revision;
use crate::settings::Settings;

use super::record::{GIVEN_OP, Sparkles, key, thing};
use super::{FEATURE, Known};

const SERVER: u64 = 700_000_000_000_000_001;
const ANN: u64 = 100_000_000_000_000_001;
const BOB: u64 = 100_000_000_000_000_002;
/// Holds Manage Messages.
const MOD: u64 = 100_000_000_000_000_003;
const ROBOT: u64 = 100_000_000_000_000_004;

/// A context for an event, of a bot that is on no Discord.
pub fn context(services: &Arc<Services>, cause: Cause, settings: Settings) -> Context {
    Context {
        services: services.clone(),
        caller: Caller {
            id: cause.actor_id,
            name: "x".to_owned(),
            moderator: cause.actor_id == MOD,
            ..Caller::default()
        },
        cause,
        door: Door::Prefix,
        channel_id: 1,
        prefix: ".".into(),
        settings: Arc::new(settings),
        attachments: Vec::new(),
    }
}

pub fn services(dynamo: &Dynamo, clock: &Clock) -> Arc<Services> {
    let services = Services::new(dynamo.clone(), clock.clone(), Discord::nowhere(), Instance::default());
    // There is no Discord to ask who is a bot.
    let known = services.state::<Known>();
    for person in [ANN, BOB, MOD] {
        known.note(person, false);
    }
    known.note(ROBOT, true);
    Arc::new(services)
}

struct Stage {
    services: Arc<Services>,
    engine: Embedded,
    faults: Faults,
    clock: Clock,
    registry: Registry,
    events: AtomicU64,
    settings: Settings,
}

impl Stage {
    async fn new() -> Self {
        let clock = Clock::manual(Timestamp::parse("2026-03-04T12:00:00Z").unwrap());
        let (engine, faults) = (engine(&crate::tables::all()).await, Faults::new());
        let dynamo = over(&engine, clock.clone(), &faults);
        let services = services(&dynamo, &clock);
        // What a person's first change costs is no part of what commands cost.
        for person in [ANN, BOB, MOD] {
            services.noted.note(&dynamo, person, SERVER).await.unwrap();
        }
        let registry = Registry::new(const { &[FEATURE, undo::FEATURE, leaderboard::FEATURE] });
        let settings = Settings::new(SERVER);
        Self { services, engine, faults, clock, registry, events: AtomicU64::default(), settings }
    }

    fn dynamo(&self) -> &Dynamo {
        &self.services.dynamo
    }

    /// A new event, after a minute in which nobody did anything.
    fn ctx(&self, who: u64) -> Context {
        self.clock.advance(Duration::from_secs(61));
        let event = self.clock.now().snowflake() + self.events.fetch_add(1, Ordering::SeqCst);
        context(&self.services, Cause::new(event, SERVER, who), self.settings.clone())
    }

    async fn run(&self, ctx: Context, line: &str) -> crate::context::Result<Answer> {
        let line = line.replace("@ann", &format!("<@{ANN}>")).replace("@bob", &format!("<@{BOB}>"));
        let Found::Command(command, rest) = self.registry.find(line.strip_prefix('.').unwrap()) else {
            panic!("{line} is no command");
        };
        (command.run)(ctx, (command.parse)(command, rest)?).await
    }

    async fn reply(&self, who: u64, line: &str) -> Reply {
        match self.run(self.ctx(who), line).await {
            Ok(Answer::Reply(reply)) => reply,
            other => panic!("{line} was answered with {other:?}"),
        }
    }

    async fn says(&self, who: u64, line: &str) -> String {
        shown(self.run(self.ctx(who), line).await)
    }

    async fn cost(&self, who: u64, line: &str) -> (String, Units) {
        measured(self.says(who, line)).await
    }

    async fn presses(&self, who: u64, id: &str, values: Vec<String>) -> crate::context::Result<Answer> {
        let (control, fields) = self.registry.control(id).unwrap();
        let press = Press { fields: fields.to_owned(), values, ..Press::default() };
        (control.run)(self.ctx(who), press).await
    }

    async fn head(&self, who: u64) -> Sparkles {
        self.dynamo().get(key(SERVER, who)).await.unwrap().unwrap_or_default()
    }

    async fn rows(&self) -> Vec<Revision> {
        self.dynamo().query_all(Query::<Revision>::of(SERVER)).await.unwrap()
    }
}

fn shown(answer: crate::context::Result<Answer>) -> String {
    let text = match answer {
        Ok(Answer::Reply(reply) | Answer::Update(reply)) => match reply.card {
            Some(card) => format!("[{}]\n{}", card.title, card.text),
            None => reply.text,
        },
        Ok(other) => format!("{other:?}"),
        Err(Error::Refused(text)) => text,
        Err(Error::Usage(text)) => format!("usage: {text}"),
        Err(other) => panic!("{other:?}"),
    };
    text.replace(&format!("<@{ANN}>"), "@ann")
        .replace(&format!("<@{BOB}>"), "@bob")
        .replace(&format!("<@{MOD}>"), "@mod")
}

fn ids(reply: &Reply) -> Vec<&str> {
    let ids = reply.rows.iter().flat_map(|row| match row {
        Row::Buttons(buttons) => buttons.iter().map(|button| button.id.as_str()).collect(),
        Row::Select(select) => vec![select.id.as_str()],
    });
    ids.collect()
}

#[tokio::test]
async fn sparkles_are_counted_and_kept() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.says(ANN, ".sparkle @bob for tea").await,
        "✨🌟✨ @bob just got their first sparkle!! ✨🌟✨"
    );
    assert_eq!(
        stage.says(MOD, ".sparkle @bob because a|b").await,
        "@mod sparkled @bob for a|b ✨✨**2**✨✨"
    );
    assert_eq!(stage.says(ANN, ".sparkle @bob").await, "@ann sparkled @bob ✨✨**3**✨✨");
    let head = stage.head(BOB).await;
    assert_eq!((head.total_sparkles, head.rev, head.last_from), (3, 3, Some(ANN)));
    let giver = stage.head(ANN).await;
    assert_eq!((giver.given, giver.given_today, giver.given_day.as_deref()), (2, 2, Some("2026-03-04")));
    assert_eq!((giver.total_sparkles, giver.rev), (0, 0));
    let rows = stage.rows().await;
    assert_eq!(rows.iter().map(|row| row.total).collect::<Vec<_>>(), [Some(1), Some(2), Some(3)]);
    let tally: Tally = stage
        .dynamo()
        .get((format!("{SERVER}/sparkles/2026-03"), format!("04#{BOB}")))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(tally.number("n"), 3);
}

#[tokio::test]
async fn nobody_sparkles_themselves_or_a_bot() {
    let stage = Stage::new().await;
    assert_eq!(stage.says(ANN, ".sparkle @ann").await, "You can't sparkle yourself but nice try");
    let digits = format!(".sparkle {ANN} for me");
    assert_eq!(stage.says(ANN, &digits).await, "You can't sparkle yourself but nice try");
    assert_eq!(stage.says(ANN, &format!(".sparkle <@{ROBOT}>")).await, "🤖 Bots don't need sparkles");
    assert!(stage.rows().await.is_empty());
}

#[tokio::test]
async fn a_day_has_ten_and_a_minute_one() {
    let mut stage = Stage::new().await;
    stage.settings.sparkles_per_day = Some(2);
    stage.settings.timezone = Some("Europe/Berlin".to_owned());
    let first = stage.ctx(ANN);
    assert!(shown(stage.run(first.clone(), ".sparkle @bob").await).starts_with("✨🌟✨"));
    let later = |seconds: u64| {
        let event = first.cause.at.plus(Duration::from_secs(seconds)).snowflake();
        Context { cause: Cause::new(event, SERVER, ANN), ..first.clone() }
    };
    let told = shown(stage.run(later(59), ".sparkle @bob").await);
    assert_eq!(told, "⏳ You sparkled @bob a moment ago; wait a minute");
    assert_eq!(shown(stage.run(later(60), ".sparkle @bob").await), "@ann sparkled @bob ✨✨**2**✨✨");
    stage.clock.advance(Duration::from_secs(120));
    let midnight = Timestamp::parse("2026-03-04T23:00:00Z").unwrap();
    assert_eq!(
        stage.says(ANN, ".sparkle @bob").await,
        format!("⏳ You have given all your 2 sparkles for today; new ones <t:{}>", midnight.seconds())
    );
    stage.clock.advance(midnight.since(stage.clock.now()));
    assert_eq!(stage.says(ANN, ".sparkle @bob").await, "@ann sparkled @bob ✨✨**3**✨✨");
    stage.settings.sparkles_per_day = Some(0);
    for _ in 0..3 {
        assert!(stage.says(ANN, ".sparkle @bob").await.starts_with("@ann sparkled"));
    }
}

#[tokio::test]
async fn an_event_gives_once_however_often_it_comes() {
    let stage = Stage::new().await;
    stage.says(MOD, ".sparkle @bob").await;
    let ctx = stage.ctx(ANN);
    let elsewhere = over(&stage.engine, stage.clock.clone(), &Faults::new());
    let elsewhere = services(&elsewhere, &stage.clock);
    for services in [&stage.services, &elsewhere, &stage.services] {
        let ctx = Context { services: services.clone(), ..ctx.clone() };
        assert_eq!(
            shown(stage.run(ctx, ".sparkle @bob for tea").await),
            "@ann sparkled @bob for tea ✨✨**2**✨✨"
        );
    }
    assert_eq!((stage.head(BOB).await.total_sparkles, stage.head(ANN).await.given), (2, 1));
    let undo = stage.ctx(ANN);
    for services in [&stage.services, &elsewhere, &stage.services] {
        let ctx = Context { services: services.clone(), ..undo.clone() };
        assert_eq!(
            shown(stage.run(ctx, ".sparkles undo").await),
            "↩️ Took back @ann's sparkle for @bob ✨✨**1**✨✨"
        );
    }
    assert_eq!((stage.head(BOB).await.total_sparkles, stage.head(ANN).await.given), (1, 0));
}

#[tokio::test]
async fn a_sparkle_is_taken_back_once() {
    let stage = Stage::new().await;
    stage.says(MOD, ".sparkle @bob").await;
    let reply = stage.reply(ANN, ".sparkle @bob for tea").await;
    let button = ids(&reply)[0].to_owned();
    assert_eq!(
        shown(stage.presses(BOB, &button, vec![]).await),
        "⛔ You can't use `.sparkles undo` here: it needs Manage Messages"
    );
    assert_eq!(
        shown(stage.presses(ANN, &button, vec![]).await),
        "↩️ Took back @ann's sparkle for @bob ✨✨**1**✨✨"
    );
    for who in [ANN, MOD] {
        let again = shown(stage.presses(who, &button, vec![]).await);
        assert_eq!(again, "ℹ️ That one was already taken back");
    }
    assert_eq!(
        stage.says(ANN, ".sparkles undo").await,
        "⚠ You haven't given a sparkle in the last 10 minutes"
    );
    assert_eq!(stage.says(ANN, ".sparkles undo 12").await, "⚠ I know no sparkle with that id");
    assert_eq!(stage.says(ANN, ".sparkles undo x").await, "⚠ I know no sparkle with that id");
    assert_eq!((stage.head(BOB).await.total_sparkles, stage.head(ANN).await.given), (1, 0));
    let board = format!("{SERVER}/sparkles/2026-03");
    let day: Tally = stage.dynamo().get((board, format!("04#{BOB}"))).await.unwrap().unwrap();
    assert_eq!(day.number("n"), 1);
}

#[tokio::test]
async fn late_undos_are_for_moderators() {
    let stage = Stage::new().await;
    let reply = stage.reply(ANN, ".sparkle @bob").await;
    let button = ids(&reply)[0].to_owned();
    let id = button.strip_prefix("undo:").unwrap().to_owned();
    stage.clock.advance(Duration::from_secs(600));
    let late = stage.says(ANN, &format!(".sparkles undo {id}")).await;
    assert_eq!(late, "⛔ You can't use `.sparkles undo` here: it needs Manage Messages");
    assert_eq!(
        stage.says(MOD, &format!(".sparkles undo {id}")).await,
        "↩️ Took back @ann's sparkle for @bob ✨✨**0**✨✨"
    );
    assert_eq!(stage.says(ANN, ".show sparkles @bob").await.chars().next(), Some('❌'));
}

#[tokio::test]
async fn what_the_original_bot_counted_goes_on() {
    let stage = Stage::new().await;
    let adopted = Sparkles {
        discord_server_id: SERVER,
        discord_handle: BOB.to_string(),
        total_sparkles: 41,
        sparkle_reasons: Some("help|the | cake".to_owned()),
        updated_at: Some(Timestamp::from_seconds(1_600_000_000)),
        ..Sparkles::default()
    };
    stage.dynamo().put(&adopted).await.unwrap();
    assert_eq!(
        stage.says(ANN, ".show sparkles for @bob").await,
        "✨✨✨ **Total Sparkles: 41**✨✨✨\n• help\n• the\n• cake"
    );
    assert_eq!(stage.says(ANN, ".sparkle @bob").await, "@ann sparkled @bob ✨✨**42**✨✨");
    assert_eq!(stage.head(BOB).await.sparkle_reasons, adopted.sparkle_reasons);
    // Once they are adopted, their reasons are rows without an event.
    let row = Revision {
        discord_server_id: SERVER,
        entry: thing(SERVER, BOB).entry(1),
        op: GIVEN_OP.to_owned(),
        name: Some("help".to_owned()),
        ..Revision::default()
    };
    stage.dynamo().put(&row).await.unwrap();
    assert!(stage.says(ANN, ".show sparkles @bob").await.contains("\n• help\n"));
}

#[tokio::test]
async fn reasons_have_pages() {
    let mut stage = Stage::new().await;
    stage.settings.sparkles_per_day = Some(0);
    for n in 1..=25 {
        stage.says(ANN, &format!(".sparkle @bob for reason {n}")).await;
    }
    stage.says(ANN, ".sparkle @bob").await;
    let undone = stage.reply(ANN, ".sparkle @bob for a mistake").await;
    stage.presses(ANN, ids(&undone)[0], vec![]).await.unwrap();
    let reasons = |reply: &Reply| {
        let lines = reply.text.lines().skip(1);
        lines.map(|line| line.split(" - ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let expected = |numbers: Vec<u32>| numbers.iter().map(|n| format!("• reason {n}")).collect::<Vec<_>>();
    let first = stage.reply(BOB, ".show sparkles").await;
    assert!(first.text.starts_with("✨✨✨ **Total Sparkles: 26**✨✨✨\n"), "{}", first.text);
    assert_eq!(reasons(&first), expected((16..=25).rev().collect()));
    let turn = async |reply: &Reply, place: usize| match stage.presses(BOB, ids(reply)[place], vec![]).await {
        Ok(Answer::Update(reply)) => reply,
        other => panic!("{other:?}"),
    };
    let second = turn(&first, 1).await;
    assert_eq!(reasons(&second), expected((6..=15).rev().collect()));
    let third = turn(&second, 1).await;
    assert_eq!(reasons(&third), expected((1..=5).rev().collect()));
    assert_eq!(reasons(&turn(&third, 0).await), expected((6..=15).rev().collect()));
    assert_eq!(reasons(&turn(&second, 0).await), reasons(&first));

    // The log knows all that happened.
    let log = stage.reply(MOD, ".sparkles log").await;
    let lines: Vec<String> = log.card.as_ref().unwrap().text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 10);
    assert!(lines[0].contains(" took back from ") && lines[0].contains("a mistake"), "{}", lines[0]);
    let Row::Select(select) = &log.rows[0] else { panic!("{log:?}") };
    assert_eq!(select.choices.len(), 8, "not what was taken back");
    let taken = shown(stage.presses(MOD, "sparkles-undo:", vec![select.choices[0].value.clone()]).await);
    assert_eq!(taken, "↩️ Took back @ann's sparkle for @bob ✨✨**25**✨✨");
    let older = turn(&log, 2).await;
    // The others have no menu in front of the buttons.
    let newer = turn(&older, 0).await;
    assert_eq!(newer.card.unwrap().text.lines().map(str::to_owned).collect::<Vec<_>>(), lines);
    assert!(stage.reply(BOB, ".sparkles log").await.rows.len() == 1, "only moderators may undo any");
    assert_eq!(stage.says(BOB, &format!(".sparkles log {MOD}")).await.lines().count(), 2);
}

#[tokio::test]
async fn what_somebody_gave_is_told() {
    let stage = Stage::new().await;
    assert_eq!(stage.says(ANN, ".sparkles given").await, "✨ @ann hasn't given a sparkle yet");
    stage.says(ANN, ".sparkle @bob for tea").await;
    stage.says(MOD, ".sparkle @bob for milk").await;
    stage.says(ANN, ".sparkle @bob").await;
    let given = stage.says(BOB, ".sparkles given @ann").await;
    let lines: Vec<&str> = given.lines().collect();
    assert_eq!(lines[0], "✨ @ann has given **2** sparkles");
    assert!(lines[1].starts_with("• @bob, <t:") && lines[2].starts_with("• @bob for tea, <t:"), "{given}");
    assert_eq!(lines.len(), 3);
}

/// The table of budgets.
#[tokio::test]
async fn commands_cost_what_they_may() {
    let stage = Stage::new().await;
    let mut costs = Vec::new();
    for (who, line) in [
        (ANN, ".sparkle @bob for tea"),
        (ANN, ".sparkle @bob for more tea"),
        (ANN, ".sparkles undo"),
        (ANN, ".show sparkles @bob"),
        (ANN, ".sparkles given"),
        (ANN, ".sparkles log"),
    ] {
        let (told, units) = stage.cost(who, line).await;
        println!("{line}: {units:?} {told}");
        costs.push(units);
    }
    let id = ids(&stage.reply(ANN, ".sparkle @bob").await)[0].to_owned();
    let (told, button) = measured(stage.presses(ANN, &id, vec![])).await;
    assert!(shown(told).starts_with("↩️"));
    assert_eq!(costs[0], Units { read: 2.0, write: 9.0 });
    assert_eq!(costs[1], Units { read: 2.0, write: 9.0 });
    assert_eq!(costs[2], Units { read: 2.0, write: 9.0 });
    assert_eq!(button, Units { read: 2.0, write: 9.0 });
    for line in [".sparkles top", ".sparkles top week", ".leaderboard commands", ".leaderboard djs day"] {
        let (_, read) = stage.cost(ANN, line).await;
        assert_eq!(read, Units { read: 0.5, write: 0.0 }, "{line}");
    }
    for reading in &costs[3..] {
        assert!(reading.read <= 1.5 && reading.write == 0.0, "{reading:?}");
    }
}

#[tokio::test]
async fn the_ten_thousandth_costs_what_the_first_did() {
    let mut stage = Stage::new().await;
    stage.settings.sparkles_per_day = Some(0);
    let first = stage.cost(ANN, ".sparkle @bob for tea").await.1;
    fill(&stage, 9_999).await;
    let (told, last) = stage.cost(ANN, ".sparkle @bob for tea").await;
    assert_eq!(told, "@ann sparkled @bob for tea ✨✨**10000**✨✨");
    assert_eq!((first, last), (Units { read: 2.0, write: 9.0 }, Units { read: 2.0, write: 9.0 }));
    assert_eq!(stage.cost(ANN, ".sparkles undo").await.1, Units { read: 2.0, write: 9.0 });
    for line in [".show sparkles @bob", ".sparkles log"] {
        let cost = stage.cost(ANN, line).await.1;
        assert!(cost.read <= 4.0, "{line}: {cost:?}");
    }
    let given = stage.cost(ANN, ".sparkles given @bob").await;
    assert_eq!(given.0, "✨ @bob hasn't given a sparkle yet");
}

/// Rows and totals as so many sparkles in all leave them.
async fn fill(stage: &Stage, total: u64) {
    let start = Timestamp::parse("2025-01-01T00:00:00Z").unwrap().snowflake();
    let row = |n: u64| Revision {
        discord_server_id: SERVER,
        entry: thing(SERVER, BOB).entry(start + n),
        event_id: Some(start + n),
        op: GIVEN_OP.to_owned(),
        rev: n,
        by: Some(MOD),
        at: Some(Timestamp::of_snowflake(start)),
        name: Some(format!("reason number {n}")),
        total: Some(i64::try_from(n).unwrap()),
        ..Revision::default()
    };
    let numbers: Vec<u64> = (2..=total).collect();
    for some in numbers.chunks(WRITES_MAX) {
        let transaction = Transaction::new(Token::new(some[0].to_string()));
        let transaction = some.iter().fold(transaction, |all, n| all.put_if_absent(&row(*n)));
        let _ = stage.dynamo().transact(transaction).await.unwrap();
    }
    let head = stage.head(BOB).await;
    let full = Sparkles { total_sparkles: i64::try_from(total).unwrap(), rev: total, ..head };
    stage.dynamo().put(&full).await.unwrap();
}

#[tokio::test]
async fn a_board_is_read_once_a_minute_and_knows_own_sparkles() {
    let stage = Stage::new().await;
    stage.says(ANN, ".sparkle @bob").await;
    let ctx = |who: u64| {
        let event = stage.clock.now().snowflake() + stage.events.fetch_add(1, Ordering::SeqCst);
        context(&stage.services, Cause::new(event, SERVER, who), stage.settings.clone())
    };
    let board = async |line: &str| {
        let (answer, units) = measured(stage.run(ctx(BOB), line)).await;
        (shown(answer), units.read)
    };
    let one = "[🏆 Sparkles - all time]\n🥇 @bob - **1**\nYou: 1st with 1".to_owned();
    assert_eq!(board(".sparkles top").await, (one, 0.5));
    assert!(shown(stage.run(ctx(MOD), ".sparkle @bob").await).starts_with("@mod sparkled"));
    stage.clock.advance(Duration::from_secs(40));
    let two = "[🏆 Sparkles - all time]\n🥇 @bob - **2**\nYou: 1st with 2\n-# 40 seconds old".to_owned();
    assert_eq!(board(".sparkles top").await, (two, 0.0));
    assert!(shown(stage.run(ctx(MOD), ".sparkles undo").await).starts_with("↩️"));
    stage.clock.advance(Duration::from_secs(20));
    let one = "[🏆 Sparkles - all time]\n🥇 @bob - **1**\nYou: 1st with 1".to_owned();
    assert_eq!(board(".sparkles top").await, (one, 0.5));
}

#[tokio::test]
async fn unknown_is_not_absent() {
    let stage = Stage::new().await;
    stage.says(ANN, ".sparkle @bob for tea").await;
    let rows = stage.rows().await;
    stage.faults.set_away(true);
    for line in [".sparkle @bob", ".sparkles undo"] {
        let told = stage.run(stage.ctx(ANN), line).await;
        assert!(matches!(&told, Err(Error::Store(error)) if !error.is_uncertain()), "{line}: {told:?}");
    }
    for line in [".show sparkles @bob", ".sparkles given", ".sparkles log"] {
        let told = stage.run(stage.ctx(ANN), line).await;
        assert!(matches!(told, Err(Error::Read(_))), "{line}: {told:?}");
    }
    stage.faults.set_away(false);
    assert_eq!(stage.rows().await, rows);
    // The giver's head cannot be read: nothing is written.
    stage.faults.script([Fault::Pass].into_iter().chain([Fault::Cut; 8]));
    assert!(matches!(stage.run(stage.ctx(ANN), ".sparkle @bob").await, Err(Error::Store(_))));
    stage.faults.calm();
    assert_eq!(stage.rows().await, rows);
}
