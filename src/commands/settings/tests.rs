//! What servers decide, over the embedded engine: what it costs, who wins, and what storms leave.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cause::{Cause, Taking, Toll};
use crate::clock::{Clock, Timestamp};
use crate::commands::{Found, Registry, undo};
use crate::context::{Answer, Caller, Context, Discord, Door, Error, Instance, Press, Result, Services};
use crate::cooldowns::Taken;
use crate::dynamo::storm::{Sea, each_seed};
use crate::dynamo::testing::{engine, over};
use crate::dynamo::{Dynamo, Query, TableSpec, Units, faults::Faults, measured};
use crate::history::Revision;
use crate::people::Person;
use crate::settings::Settings;

use super::part::Part;

const SERVER: u64 = 700_000_000_000_000_001;
const ADMIN: u64 = 100_000_000_000_000_001;
const EVE: u64 = 100_000_000_000_000_009;
const TABLES: &[TableSpec] = &[
    TableSpec::of::<Settings>(),
    TableSpec::of::<Revision>(),
    TableSpec::of::<Person>(),
    TableSpec::of::<Taken>(),
];

/// Late enough for no row to expire while the tests run.
const START: i64 = 1_900_000_000;

/// One process.
fn instance(dynamo: &Dynamo) -> Arc<Services> {
    let instance = Instance { default_prefix: ".".into(), bot_owners: vec![EVE + 1], ..Instance::default() };
    Arc::new(Services::new(dynamo.clone(), Clock::system(), Discord::nowhere(), instance))
}

fn event(second: i64) -> u64 {
    Timestamp::from_seconds(START + second).snowflake()
}

/// What somebody who manages the server says at this second.
async fn context(services: &Arc<Services>, second: i64, who: u64) -> Result<Context> {
    let settings = services.settings.of(&services.dynamo, SERVER).await?;
    Ok(Context {
        services: services.clone(),
        cause: Cause::new(event(second), SERVER, who),
        caller: Caller { id: who, admin: true, bot_owner: true, ..Caller::default() },
        door: Door::Prefix,
        channel_id: 1,
        prefix: ".".into(),
        settings,
        attachments: Vec::new(),
    })
}

async fn says(services: &Arc<Services>, second: i64, who: u64, line: &str) -> Result<String> {
    run(context(services, second, who).await?, line).await
}

async fn run(ctx: Context, line: &str) -> Result<String> {
    let registry = Registry::new(crate::commands::ALL);
    let Found::Command(command, rest) = registry.find(line) else { panic!("{line} is no command") };
    let args = (command.parse)(command, rest)?;
    text((command.run)(ctx, args).await?)
}

async fn press_undo(services: &Arc<Services>, second: i64, of: i64) -> Result<String> {
    let ctx = context(services, second, ADMIN).await?;
    let press = Press { fields: event(of).to_string(), ..Press::default() };
    text((undo::FEATURE.controls[0].run)(ctx, press).await?)
}

fn text(answer: Answer) -> Result<String> {
    match answer {
        Answer::Reply(reply) | Answer::Update(reply) => {
            Ok(reply.text + &reply.card.map(|card| card.text).unwrap_or_default())
        }
        other => panic!("{other:?} is no text"),
    }
}

/// A process that knows everybody, so that what it does costs what it costs the next time.
async fn warm(dynamo: &Dynamo) -> Arc<Services> {
    let services = instance(dynamo);
    for person in [ADMIN, EVE] {
        services.noted.note(dynamo, person, SERVER).await.unwrap();
    }
    services.settings.of(dynamo, SERVER).await.unwrap();
    services.bans.in_server(dynamo, SERVER).await.unwrap();
    services
}

#[tokio::test]
async fn each_change_costs_what_the_budget_says() {
    let dynamo = crate::dynamo::testing::embedded(&crate::tables::all()).await;
    let services = warm(&dynamo).await;
    let cost = async |second, line: &str| {
        let (said, units) = measured(says(&services, second, ADMIN, line)).await;
        said.unwrap_or_else(|error| panic!("{line}: {error}"));
        (units.read, units.write)
    };
    for (second, line) in [
        "settings set memories owned",
        "settings reset memories",
        "prefix ?",
        &format!("deny ping <@{EVE}>"),
        &format!("allow ping <@{EVE}>"),
        "rules remove 1",
        "cooldown ping 30s",
        &format!("ban {EVE} because spam"),
        &format!("unban {EVE}"),
        "ban server 700000000000000009",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(cost(second as i64, line).await, (1.0, 5.0), "{line}");
    }
    for (second, line) in ["settings", "rules", "blocked", "audit"].iter().enumerate() {
        let (read, write) = cost(100 + second as i64, line).await;
        assert!(read <= 1.0 && write == 0.0, "{line}: {read} {write}");
    }
    assert_eq!(cost(110, "prefix").await, (0.0, 0.0));
    let (_, undone) = measured(async { press_undo(&services, 120, 2).await.unwrap() }).await;
    assert!(undone.read <= 2.5 && undone.write == 5.0, "{undone:?}");
}

#[tokio::test]
async fn a_cooldown_costs_two_units_in_the_transaction_of_its_effect() {
    let dynamo = crate::dynamo::testing::embedded(&crate::tables::all()).await;
    let services = warm(&dynamo).await;
    let call = async |second: i64, line: &str| {
        let mut ctx = context(&services, second, ADMIN).await.unwrap();
        let toll =
            Toll::new("prefix#server#1".into(), Timestamp::from_seconds(START + second + 1_000_000_000));
        ctx.cause = ctx.cause.with_toll(Some(toll.clone()));
        let (said, units) = measured(run(ctx, line)).await;
        (said.map_err(|error| error.to_string()), toll.state(), units)
    };
    let (said, taking, units) = call(1, "prefix ?").await;
    assert_eq!((said.unwrap().as_str(), taking), ("⚙️ My prefix here is now `?`", Taking::Taken));
    assert_eq!(units, Units { read: 1.0, write: 7.0 });
    let (said, taking, _) = call(1, "prefix ?").await;
    assert_eq!((said.is_ok(), taking), (true, Taking::Taken), "delivered again, it is its own");
    let (said, taking, _) = call(2, "prefix word").await;
    assert_eq!((said.is_err(), taking), (true, Taking::Open), "bad input takes none");
    let (said, taking, _) = call(3, "prefix !").await;
    assert!(said.is_err() && matches!(taking, Taking::Refused(_)), "{taking:?}");
    let now: Settings = dynamo.get(SERVER).await.unwrap().unwrap();
    assert_eq!((now.prefix.as_deref(), now.rev), (Some("?"), 1), "nothing was changed");
}

#[tokio::test]
async fn the_same_event_changes_once_on_any_instance() {
    let engine = engine(&crate::tables::all()).await;
    let store = || over(&engine, Clock::system(), &Faults::new());
    let (here, there) = (instance(&store()), instance(&store()));
    for (second, line) in [
        "settings set history_days 30",
        &format!("deny ping <@{EVE}>"),
        &format!("deny rem <@{EVE}>"),
        "rules remove 1",
        "cooldown ping 30s",
        &format!("ban {EVE}"),
        &format!("unban {EVE}"),
    ]
    .iter()
    .enumerate()
    {
        let first = says(&here, second as i64, ADMIN, line).await.unwrap();
        let fresh = instance(&store());
        for again in [&here, &there, &fresh] {
            assert_eq!(says(again, second as i64, ADMIN, line).await.unwrap(), first, "{line}");
        }
    }
    let settings: Settings = store().get(SERVER).await.unwrap().unwrap();
    assert_eq!((settings.rev, settings.rules.len()), (5, 1), "the other rule is still there");
    // Another list in memory gives the number another meaning: nothing is removed by mistake.
    let stale = instance(&store());
    let (mine, other) = (format!("deny mem <@{EVE}>"), format!("deny echo <@{EVE}>"));
    for (second, line) in [(20, other.as_str()), (21, &mine)] {
        says(&here, second, ADMIN, line).await.unwrap();
    }
    stale.settings.of(&stale.dynamo, SERVER).await.unwrap();
    says(&here, 22, ADMIN, "rules remove 1").await.unwrap();
    let changed = says(&stale, 25, ADMIN, "rules remove 2").await.unwrap_err().to_string();
    assert_eq!(changed, "⚠ The rules have changed; have a look at `.rules` and try again");
    assert!(says(&stale, 26, ADMIN, "rules remove 2").await.unwrap().contains("`.mem`"));
}

#[tokio::test]
async fn undo_is_of_one_part_and_of_its_last_change() {
    let dynamo = crate::dynamo::testing::embedded(&crate::tables::all()).await;
    let services = instance(&dynamo);
    says(&services, 1, ADMIN, "settings set memories owned").await.unwrap();
    says(&services, 2, ADMIN, "settings set stats admins").await.unwrap();
    says(&services, 3, ADMIN, "cooldown ping 30s per channel").await.unwrap();
    assert_eq!(press_undo(&services, 4, 1).await.unwrap(), "↩️ Undone: `memories` is **open** again");
    assert_eq!(press_undo(&services, 5, 1).await.unwrap(), "↩️ Undone: `memories` is **open** again");
    says(&services, 6, ADMIN, "settings set stats public").await.unwrap();
    let moved_on = press_undo(&services, 7, 2).await.unwrap_err().to_string();
    assert_eq!(moved_on, format!("⚠ `stats` has been changed since (revision 5 by <@{ADMIN}>)"));
    says(&services, 8, ADMIN, "cooldown ping off").await.unwrap();
    let undone = press_undo(&services, 9, 8).await.unwrap();
    assert_eq!(undone, "↩️ Undone: the cooldown of `.ping` is **once in 30 s per channel** again");
    assert_eq!(press_undo(&services, 10, 99).await.unwrap_err().to_string(), undo::TOO_OLD);
    let rev = dynamo.get::<Settings>(SERVER).await.unwrap().unwrap().rev;
    assert_eq!(rev, 7);
}

#[tokio::test]
async fn two_owners_ban_at_once_and_both_stand() {
    let engine = engine(&crate::tables::all()).await;
    let stores = [0; 2].map(|_| over(&engine, Clock::system(), &Faults::new()));
    let owners = [instance(&stores[0]), instance(&stores[1])];
    let lines: Vec<String> = (0..16).map(|n| format!("ban {} because {n}", EVE + 100 + n)).collect();
    let said = join_all(
        lines.iter().enumerate().map(|(n, line)| says(&owners[n % 2], n as i64, ADMIN + n as u64, line)),
    );
    assert!(said.await.iter().all(Result::is_ok));
    for owner in &owners {
        owner.bans.load(&stores[0]).await.unwrap();
        let list = owner.bans.instance().unwrap();
        assert_eq!(list.holding(Timestamp::from_seconds(START)).count(), 16);
    }
}

#[tokio::test]
async fn a_ban_that_could_not_be_written_is_not_in_memory() {
    let (engine, faults) = (engine(&crate::tables::all()).await, Faults::new());
    let services = instance(&over(&engine, Clock::system(), &faults));
    services.bans.load(&services.dynamo).await.unwrap();
    faults.set_away(true);
    let mut ctx =
        context(&instance(&over(&engine, Clock::system(), &Faults::new())), 1, ADMIN).await.unwrap();
    ctx.services = services.clone();
    assert!(matches!(run(ctx, &format!("ban {EVE}")).await, Err(Error::Store(_))));
    assert_eq!(services.bans.instance().unwrap().holding(Timestamp::from_seconds(START)).count(), 0);
}

#[derive(Debug, PartialEq)]
enum Told {
    Done,
    NotDone,
    Unknown,
}

/// Ten changes of a few parts, each delivered once or twice to either of two instances, all at once, in bad
/// weather.
async fn storm(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let sea = Sea::stormy(TABLES, 2, &mut rng).await;
    let instances: Vec<Arc<Services>> = sea.instances.iter().map(instance).collect();
    let mut deliveries = Vec::new();
    for second in 0..10 {
        let line = match rng.random_range(0..6) {
            0 => format!("settings set history_days {}", 30 + second),
            1 => format!("settings set sparkles_per_day {}", 30 + second),
            2 => format!("deny ping <@{}>", EVE + second % 2),
            3 => format!("allow ping <@{}>", EVE + second % 2),
            4 => "rules remove 1".to_owned(),
            _ => format!("cooldown ping {}s", 30 + second),
        };
        for _ in 0..rng.random_range(1..=2) {
            deliveries.push((second, line.clone(), rng.random_range(0..2)));
        }
    }
    let told = join_all(deliveries.iter().map(async |(second, line, place)| {
        // Each by somebody else: one person's events take turns.
        let told = match says(&instances[*place], *second as i64, ADMIN + 100 + second, line).await {
            Ok(_) => Told::Done,
            Err(Error::Store(error)) if error.is_uncertain() => Told::Unknown,
            Err(_) => Told::NotDone,
        };
        (*second, told)
    }));
    let mut by_event: BTreeMap<u64, Vec<Told>> = BTreeMap::new();
    for (second, told) in told.await {
        by_event.entry(second).or_default().push(told);
    }
    check(seed, &sea.calm().await, &by_event).await;
}

/// The head is what its rows make of nothing, one row a revision, and people were told the truth.
async fn check(seed: u64, dynamo: &Dynamo, told: &BTreeMap<u64, Vec<Told>>) {
    let head: Option<Settings> = dynamo.get(SERVER).await.unwrap();
    let mut rows: Vec<Revision> = dynamo.query_all(Query::of(SERVER)).await.unwrap();
    rows.sort_by_key(|row| row.rev);
    let numbers: Vec<u64> = rows.iter().map(|row| row.rev).collect();
    assert_eq!(numbers, (1..=rows.len() as u64).collect::<Vec<_>>(), "seed {seed}: one row a revision");
    let mut replayed = Settings::new(SERVER);
    for row in &rows {
        let part = Part::of(row).unwrap();
        assert_eq!(part.get(&replayed), row.old, "seed {seed}: {row:?}");
        part.set(&mut replayed, row.value.as_deref()).unwrap();
    }
    let head = head.unwrap_or_else(|| Settings::new(SERVER));
    let mut decided = (head.rules.clone(), replayed.rules.clone());
    decided.0.sort_by_key(|rule| format!("{rule:?}"));
    decided.1.sort_by_key(|rule| format!("{rule:?}"));
    assert_eq!(decided.0, decided.1, "seed {seed}");
    let others =
        |settings: &Settings| (settings.history_days, settings.sparkles_per_day, settings.cooldowns.clone());
    assert_eq!(others(&head), others(&replayed), "seed {seed}");
    for (second, told) in told {
        let has_row = rows.iter().any(|row| row.event_id == Some(event(*second as i64)));
        if told.contains(&Told::Done) {
            assert!(has_row, "seed {seed}: event {second} was acknowledged: {told:?}");
        }
        if told.iter().all(|told| *told == Told::NotDone) {
            assert!(!has_row, "seed {seed}: event {second} was said not to be done: {told:?}");
        }
    }
}

#[tokio::test]
async fn no_storm_loses_doubles_or_invents_a_decision() {
    each_seed(0..100, storm).await;
}
