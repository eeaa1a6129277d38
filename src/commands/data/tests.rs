//! Files that servers give and take, over the embedded engine: what they may do, what that costs, and what is left of
//! it when the store fails half-way.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};

use super::{Mode, file, import, rollback};
use crate::archive::{Header, Packer};
use crate::cause::Cause;
use crate::clock::{Clock, Timestamp};
use crate::commands::remember::Remembered;
use crate::commands::{Found, Registry};
use crate::context::{Answer, Caller, Context, Discord, Door, Error, Instance, Reply, Result, Row, Services};
use crate::dynamo::faults::{Fault, Faults};
use crate::dynamo::testing::{embedded, engine, over};
use crate::dynamo::{Dynamo, Query, Units, measured, raw};
use crate::history::Revision;
use crate::permissions;
use crate::settings::{Rule, Settings, Subject};
use crate::tables;

const SERVER: u64 = 700_000_000_000_000_001;
const OTHER: u64 = 700_000_000_000_000_002;
const OLGA: u64 = 100_000_000_000_000_001;
const BOB: u64 = 100_000_000_000_000_002;
const START: i64 = 1_900_000_000;
/// Longer than any import here takes.
const LONG: Duration = Duration::from_secs(600);

fn event(second: i64) -> u64 {
    Timestamp::from_seconds(START + second).snowflake()
}

/// One process.
fn instance(dynamo: &Dynamo) -> Arc<Services> {
    let instance = Instance { default_prefix: ".".into(), max_memories: 5, ..Instance::default() };
    Arc::new(Services::new(dynamo.clone(), Clock::system(), Discord::nowhere(), instance))
}

/// Who manages the server and its messages.
fn olga() -> Caller {
    Caller { id: OLGA, admin: true, moderator: true, ..Caller::default() }
}

async fn context(services: &Arc<Services>, second: i64, caller: Caller) -> Context {
    Context {
        services: services.clone(),
        cause: Cause::new(event(second), SERVER, caller.id),
        caller,
        door: Door::Slash,
        channel_id: 1,
        prefix: ".".into(),
        settings: services.settings.of(&services.dynamo, SERVER).await.unwrap(),
        attachments: Vec::new(),
    }
}

/// A file of the server.
fn pack(items: &[(&str, Json)]) -> Vec<u8> {
    pack_for(Some(SERVER), items)
}

fn pack_for(server: Option<u64>, items: &[(&str, Json)]) -> Vec<u8> {
    let mut packer = Packer::new(Header::new(server, Timestamp::from_seconds(START)));
    for (table, item) in items {
        let table = tables::all().into_iter().find(|known| known.name == *table).unwrap();
        packer.item(&table, &raw::from_json(item).unwrap()).unwrap();
    }
    packer.finish().unwrap().1
}

fn memory(key: &str, more: Json) -> (&'static str, Json) {
    let mut item = json!({ "discord_server_id": { "N": SERVER.to_string() }, "rem_key": { "S": key } });
    for (name, value) in more.as_object().unwrap() {
        item[name] = value.clone();
    }
    ("remember", item)
}

fn says(key: &str, value: &str) -> (&'static str, Json) {
    memory(key, json!({ "rem_value": { "S": value } }))
}

fn settings(more: Json) -> (&'static str, Json) {
    let (_, item) = memory("", more);
    let mut item = item;
    item.as_object_mut().unwrap().remove("rem_key");
    ("settings", item)
}

fn rule(command: &str, subject: Json) -> Json {
    json!({ "L": [{ "M": { "allow": { "BOOL": true }, "command": { "S": command }, "subject": subject } }] })
}

/// What the question says, or why there is none.
async fn asked(ctx: &Context, bytes: &[u8], mode: Mode) -> Result<String> {
    let contents = file::read(ctx, bytes.to_vec()).await?;
    Ok(import::question(ctx, &contents, mode, false).await?.text)
}

/// The fields of its *Import* button.
async fn button(ctx: &Context, bytes: &[u8], mode: Mode) -> String {
    let contents = file::read(ctx, bytes.to_vec()).await.unwrap();
    let reply = import::question(ctx, &contents, mode, false).await.unwrap();
    let Some(Row::Buttons(buttons)) = reply.rows.first() else { panic!("nothing to import: {}", reply.text) };
    buttons[0].id.split_once(':').unwrap().1.to_owned()
}

/// Asks at one second and agrees at the next.
async fn imported(services: &Arc<Services>, second: i64, bytes: &[u8], mode: Mode) -> Result<Reply> {
    let fields = button(&context(services, second, olga()).await, bytes, mode).await;
    import::press(&context(services, second + 1, olga()).await, &fields, bytes, LONG).await
}

async fn runs(ctx: Context, line: &str) -> Result<String> {
    let Found::Command(command, rest) = Registry::new(crate::commands::ALL).find(line) else {
        panic!("{line}")
    };
    permissions::check(command.into(), &ctx.caller, &ctx.settings, true, ".")?;
    let args = (command.parse)(command, rest)?;
    match (command.run)(ctx, args).await? {
        Answer::Reply(reply) | Answer::Update(reply) => Ok(reply.text),
        other => panic!("{other:?} is no text"),
    }
}

async fn head(dynamo: &Dynamo, key: &str) -> Option<Remembered> {
    dynamo.get((SERVER, key.to_owned())).await.unwrap()
}

async fn rows(dynamo: &Dynamo) -> Vec<Revision> {
    dynamo.query_all(Query::of(SERVER)).await.unwrap()
}

/// Everything that a server has, to see that nothing of it has changed.
async fn everything(dynamo: &Dynamo, server: u64) -> String {
    let heads: Vec<Remembered> = dynamo.query_all(Query::of(server)).await.unwrap();
    let rows: Vec<Revision> = dynamo.query_all(Query::of(server)).await.unwrap();
    let settings: Option<Settings> = dynamo.get(server).await.unwrap();
    format!("{heads:?} {rows:?} {settings:?}")
}

#[tokio::test]
async fn a_file_that_breaks_a_rule_changes_nothing() {
    let dynamo = embedded(&tables::all()).await;
    let services = instance(&dynamo);
    let server = SERVER.to_string();
    let other = |table: &'static str, key: &str, value: Json| {
        let mut item = json!({});
        item[key] = value;
        (table, item)
    };
    let of_other = json!({ "discord_server_id": { "N": OTHER.to_string() }, "rem_key": { "S": "a" }, "rem_value": { "S": "x" } });
    let long = "x".repeat(4_001);
    let many: Vec<(&str, Json)> = (0..6).map(|n| says(&format!("key{n}"), "x")).collect();
    let good = pack(&[says("a", "x")]);
    let mut torn = good.clone();
    torn.truncate(torn.len() - 20);
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for (file, why) in [
        (b"hello".to_vec(), "line 1: it cannot be uncompressed"),
        (Vec::new(), "line 1: it cannot be uncompressed"),
        (torn, "line "),
        (flipped, "line "),
        (pack_for(None, &[says("a", "x")]), "line 1: it is of a whole instance, not of this server"),
        (pack_for(Some(OTHER), &[says("a", "x")]), "line 1: it is of another server"),
        (pack(&[says("b", "y"), ("remember", of_other)]), "line 3: it is of another server"),
        (
            pack(&[memory("a", json!({ "rem_value": { "S": "x" }, "admin": { "BOOL": true } }))]),
            "line 2: there is no field `admin` in `remember`",
        ),
        (pack(&[says(&"k".repeat(201), "x")]), "line 2: That key is 201 characters long; the limit is 200"),
        (pack(&[says("\u{200b}", "x")]), "line 2: That key has no visible characters"),
        (pack(&[says("WIFI", "x")]), "line 2: its key and its name differ"),
        (pack(&[says("a", &long)]), "line 2: That value is 4,001 characters long; the limit is 4,000"),
        (pack(&[says("a", " ")]), "line 2: The value is missing"),
        (pack(&[memory("a", json!({}))]), "line 2: it has no value"),
        (pack(&[memory("a", json!({ "rem_value": { "S": "x" }, "rev": { "S": "one" } }))]), "line 2: "),
        (
            pack(&[memory("a", json!({ "rem_value": { "S": "x" }, "created_by": { "N": "5" } }))]),
            "line 2: its owner is nobody's id",
        ),
        (pack(&[says("a", "x"), says("a", "y")]), "line 3: `a` is there twice"),
        (pack(&many), "with it this server would have 6 memories; the limit is 5"),
        (
            pack(&[other("users", "user_id", json!({ "N": BOB.to_string() }))]),
            "line 2: it is of another server",
        ),
        (pack(&[other("botdata", "key", json!({ "S": "mneme/due" }))]), "line 2: it is of another server"),
        (
            pack(&[("bans", json!({ "scope": { "S": "bot" }, "subject": { "S": format!("user/{BOB}") } }))]),
            "line 2: it is of another server",
        ),
        (
            pack(&[("tally", json!({ "board": { "S": format!("{OTHER}/djs/all") }, "slot": { "S": "x" } }))]),
            "line 2: it is of another server",
        ),
        (pack(&[settings(json!({ "prefix": { "S": "rem" } }))]), "line 2: A prefix is 1 to 5 characters"),
        (pack(&[settings(json!({ "history_days": { "N": "1" } }))]), "line 2: "),
        (pack(&[settings(json!({ "memories": { "S": "mine" } }))]), "line 2: "),
        (
            pack(&[settings(json!({ "rules": rule("weather", json!({ "S": "everyone" })) }))]),
            "line 2: there is no command `weather`",
        ),
        (
            pack(&[settings(json!({ "cooldowns": { "M": { "ping": { "M": {
            "seconds": { "N": "99999999" }, "per": { "S": "user" } } } } } }))]),
            "line 2: the cooldown of `ping` is too long",
        ),
        (
            pack(&[settings(json!({ "discord_server_id": { "N": server } })), settings(json!({}))]),
            "line 3: the settings are there twice",
        ),
    ] {
        for mode in [Mode::Skip, Mode::Overwrite] {
            let told =
                asked(&context(&services, 1, olga()).await, &file, mode).await.unwrap_err().to_string();
            let told = told.strip_prefix("⚠ I can't read this file: ").unwrap_or_else(|| panic!("{told}"));
            assert!(told.starts_with(why), "{told} is not {why}");
            // Nor does it help to know what the button would carry.
            let fields = format!("yes:{}:{}:{OLGA}", event(1), mode.word());
            let ctx = context(&services, 2, olga()).await;
            assert!(import::press(&ctx, &fields, &file, LONG).await.is_err(), "{why}");
        }
    }
    assert_eq!(everything(&dynamo, SERVER).await, "[] [] None");
    assert_eq!(everything(&dynamo, OTHER).await, "[] [] None");
}

#[tokio::test]
async fn a_few_bytes_do_not_become_very_many() {
    let dynamo = embedded(&tables::all()).await;
    let services = instance(&dynamo);
    let row = json!({ "discord_server_id": { "N": SERVER.to_string() }, "entry": { "S": "rem#key#1" },
        "op": { "S": "set" }, "value": { "S": "x".repeat(390_000) } });
    let mut file = GzEncoder::new(Vec::new(), Compression::fast());
    let header = json!({ "format": "mneme-export", "version": 1, "server": SERVER.to_string(),
        "time": "2026-05-07T12:00:00Z", "items": { "history": 180 } });
    file.write_all(format!("{header}\n").as_bytes()).unwrap();
    let line = format!("{}\n", json!({ "table": "history", "item": row }));
    for _ in 0..180 {
        file.write_all(line.as_bytes()).unwrap();
    }
    let file = file.finish().unwrap();
    assert!(file.len() < 1 << 20, "{}", file.len());
    let told = asked(&context(&services, 1, olga()).await, &file, Mode::Skip).await.unwrap_err().to_string();
    assert!(told.ends_with("it cannot be uncompressed: it is too long"), "{told}");
}

/// What somebody may not type, a file of theirs may not do.
#[tokio::test]
async fn a_file_does_nothing_that_its_bringer_may_not() {
    let dynamo = embedded(&tables::all()).await;
    let services = instance(&dynamo);
    runs(context(&services, 1, olga()).await, "rem open is one").await.unwrap();
    runs(context(&services, 2, olga()).await, "rem shut is one").await.unwrap();
    runs(context(&services, 3, olga()).await, "mem lock shut").await.unwrap();
    let before = everything(&dynamo, SERVER).await;
    let of_bob = json!({ "rem_value": { "S": "x" }, "created_by": { "N": BOB.to_string() } });
    let locked = json!({ "rem_value": { "S": "x" }, "locked_by": { "N": BOB.to_string() } });
    let ping = json!({ "M": { "ping": { "M": { "seconds": { "N": "5" }, "per": { "S": "user" } } } } });
    let table: Vec<(&str, Vec<(&str, Json)>)> = vec![
        ("remember", vec![says("new", "x")]),
        ("mem edit", vec![says("open", "two")]),
        ("mem alias", vec![memory("name", json!({ "alias_of": { "S": "open" } }))]),
        ("mem give", vec![memory("new", of_bob)]),
        ("mem lock", vec![memory("new", locked)]),
        ("settings set", vec![settings(json!({ "prefix": { "S": "!" } }))]),
        ("allow", vec![settings(json!({ "rules": rule("ping", json!({ "S": "everyone" })) }))]),
        ("cooldown", vec![settings(json!({ "cooldowns": ping }))]),
    ];
    for (command, items) in &table {
        let file = pack(items);
        for subject in [Subject::Person(OLGA), Subject::Role(5), Subject::Channel(6), Subject::Everyone] {
            let denied = Rule { allow: false, command: (*command).into(), subject };
            let rules = Settings { rules: vec![denied], ..Settings::new(SERVER) };
            let caller = Caller { roles: vec![5], channels: vec![6], ..olga() };
            let ctx = Context { settings: Arc::new(rules), ..context(&services, 10, caller.clone()).await };
            // Whoever manages the server is never locked out of the commands that make rules.
            let never_locked = ["settings set", "allow", "cooldown"].contains(command);
            let told = asked(&ctx, &file, Mode::Overwrite).await;
            assert_eq!(told.is_ok(), never_locked, "{command} {subject:?}: {told:?}");
            if let Err(error) = told {
                assert!(
                    error.to_string().starts_with(&format!("⛔ You can't use `.{command}` here: ")),
                    "{error}"
                );
                let fields = format!("yes:{}:overwrite:{OLGA}", event(10));
                let ctx = Context { cause: Cause::new(event(11), SERVER, OLGA), ..ctx };
                assert!(import::press(&ctx, &fields, &file, LONG).await.is_err());
            }
        }
    }
    // To manage a server is not to moderate it.
    let manager = Caller { moderator: false, ..olga() };
    for (items, why) in [
        (&table[4].1, "⛔ You can't use `.mem lock` here: it needs Manage Messages"),
        (&vec![says("shut", "two")], "⛔ You can't use `.mem edit` here: `shut` is locked"),
    ] {
        let ctx = context(&services, 20, manager.clone()).await;
        assert_eq!(asked(&ctx, &pack(items), Mode::Overwrite).await.unwrap_err().to_string(), why);
    }
    // The answer is for who was asked.
    let file = pack(&[says("new", "x")]);
    let fields = button(&context(&services, 30, olga()).await, &file, Mode::Skip).await;
    let bob = context(&services, 31, Caller { id: BOB, ..olga() }).await;
    let told = import::press(&bob, &fields, &file, LONG).await.unwrap_err().to_string();
    assert_eq!(told, format!("⛔ You can't use `.data import` here: only <@{OLGA}> can be asked"));
    assert_eq!(everything(&dynamo, SERVER).await, before);
}

#[tokio::test]
async fn an_import_is_compared_written_and_taken_back() {
    let dynamo = embedded(&tables::all()).await;
    let services = instance(&dynamo);
    for (second, line) in
        [(1, "rem same is same"), (2, "rem other is here"), (3, "settings set memories owned")]
    {
        runs(context(&services, second, olga()).await, line).await.unwrap();
    }
    let file = pack(&[
        says("same", "same"),
        says("other", "there"),
        memory(
            "wifi",
            json!({ "rem_value": { "S": "hunter2" }, "rem_display": { "S": "WiFi" },
            "created_by": { "N": BOB.to_string() }, "created_at": { "S": "2020-01-01T00:00:00Z" },
            "locked_by": { "N": BOB.to_string() }, "rev": { "N": "7" }, "event_id": { "N": "9" } }),
        ),
        memory("wlan", json!({ "alias_of": { "S": "wifi" } })),
        memory("lost", json!({ "alias_of": { "S": "nothing" } })),
        memory("gone", json!({ "forgotten_at": { "S": "2020-01-01T00:00:00Z" } })),
        (
            "history",
            json!({ "discord_server_id": { "N": SERVER.to_string() }, "entry": { "S": "rem#x#1" },
            "op": { "S": "set" }, "by": { "N": BOB.to_string() } }),
        ),
        (
            "sparkle",
            json!({ "discord_server_id": { "N": SERVER.to_string() }, "discord_handle": { "S": BOB.to_string() },
            "total_sparkles": { "N": "1000000" } }),
        ),
        settings(
            json!({ "memories": { "S": "open" }, "prefix": { "S": "!" }, "rules": rule("ping", json!({ "M": { "role": { "N": "5" } } })),
            "left_at": { "S": "2020-01-01T00:00:00Z" } }),
        ),
    ]);
    let ctx = context(&services, 10, olga()).await;
    assert_eq!(
        asked(&ctx, &file, Mode::Skip).await.unwrap(),
        "📦 3 new, 2 different (kept), 1 equal\nNew: `WiFi`, `wlan`, `prefix`\nDifferent: `other`, `memories`\n\
         Not here any more, so left out: `.ping` for <@&5>, `lost` for `nothing`\n-# Not taken from a file: 1 of `history`, 1 of `sparkle`"
    );
    let done = imported(&services, 10, &file, Mode::Skip).await.unwrap();
    let batch = event(10);
    assert_eq!(done.text, format!("📦 Imported 3 (id `{batch}`)"));
    let wifi = head(&dynamo, "wifi").await.unwrap();
    assert_eq!((wifi.value(), wifi.display(), wifi.owner(), wifi.rev), ("hunter2", "WiFi", Some(BOB), 1));
    assert_eq!(wifi.created_at.unwrap().to_string(), "2020-01-01T00:00:00Z");
    assert_eq!((wifi.locked_by, wifi.updated_by, wifi.event_id), (Some(OLGA), Some(OLGA), Some(event(11))));
    assert_eq!(head(&dynamo, "wlan").await.unwrap().alias_of.as_deref(), Some("wifi"));
    assert_eq!(head(&dynamo, "other").await.unwrap().value(), "here");
    assert_eq!(head(&dynamo, "gone").await, None);
    let now: Settings = dynamo.get(SERVER).await.unwrap().unwrap();
    assert_eq!((now.prefix.as_deref(), now.rules.len(), now.left_at), (Some("!"), 0, None));
    let all = rows(&dynamo).await;
    let of_batch = all.iter().filter(|row| row.batch == Some(batch)).count();
    assert_eq!((of_batch, all.len()), (4, 7), "one row for each thing, and one for the press: {all:#?}");
    assert!(all.iter().all(|row| row.by == Some(OLGA)), "nobody else has done anything");
    // Again, there is less to do; with the other mode it is the rest.
    assert!(
        asked(&ctx, &file, Mode::Skip).await.unwrap().starts_with("📦 0 new, 2 different (kept), 4 equal")
    );
    let rest = imported(&services, 20, &file, Mode::Overwrite).await.unwrap();
    assert_eq!(rest.text, format!("📦 Imported 2 (id `{}`)", event(20)));
    let other = head(&dynamo, "other").await.unwrap();
    assert_eq!((other.value(), other.owner(), other.rev), ("there", Some(OLGA), 2));
    // What was changed since stays, and is named.
    runs(context(&services, 30, olga()).await, "mem edit wifi is hunter3").await.unwrap();
    let back = |second, id: u64| {
        let services = services.clone();
        async move { runs(context(&services, second, olga()).await, &format!("data rollback {id}")).await }
    };
    let told = "↩️ Took back 2 of 3; 1 was changed since: `WiFi`";
    assert_eq!(back(40, batch).await.unwrap(), told);
    assert_eq!(back(40, batch).await.unwrap(), told, "delivered again");
    assert_eq!(back(41, event(20)).await.unwrap(), "↩️ Took back 2 of 2");
    assert_eq!(back(42, event(20)).await.unwrap(), "ℹ️ That import was already taken back");
    let now: Settings = dynamo.get(SERVER).await.unwrap().unwrap();
    assert_eq!((now.prefix, now.memories), (None, Some(crate::settings::Memories::Owned)));
    assert_eq!(head(&dynamo, "other").await.unwrap().value(), "here");
    assert!(head(&dynamo, "wlan").await.unwrap().is_forgotten());
    for unknown in [event(11).to_string(), event(99).to_string(), "5".into(), "x".into(), "0".repeat(18)] {
        let ctx = context(&services, 50, olga()).await;
        let told = rollback::rollback(&ctx, &unknown).await.unwrap_err().to_string();
        assert_eq!(told, "⚠ I know no import with that id", "{unknown}");
    }
    // Another server knows nothing of it.
    let elsewhere =
        Context { cause: Cause::new(event(60), OTHER, OLGA), ..context(&services, 60, olga()).await };
    assert!(rollback::rollback(&elsewhere, &batch.to_string()).await.is_err());
}

#[tokio::test]
async fn what_it_costs() {
    let dynamo = embedded(&tables::all()).await;
    let services = instance(&dynamo);
    // So that nobody is new.
    runs(context(&services, 1, olga()).await, "rem other is here").await.unwrap();
    let file =
        pack(&[says("a", "1"), says("b", "2"), says("c", "3"), settings(json!({ "prefix": { "S": "!" } }))]);
    let ctx = context(&services, 10, olga()).await;
    let (_, question) = measured(asked(&ctx, &file, Mode::Skip)).await;
    assert_eq!(question, Units { read: 1.5, write: 0.0 }, "the partition and the settings");
    let fields = button(&ctx, &file, Mode::Skip).await;
    let ctx = context(&services, 11, olga()).await;
    let (done, import) = measured(import::press(&ctx, &fields, &file, LONG)).await;
    done.unwrap();
    // As the question, a row for the press, each thing like a change of it, and what was written is counted.
    assert_eq!(import, Units { read: 1.5 + 4.0 + 2.0, write: 2.0 + 4.0 * 5.0 });
    let ctx = context(&services, 12, olga()).await;
    let (told, back) = measured(runs(ctx, &format!("data rollback {}", event(10)))).await;
    told.unwrap();
    assert!(back.read <= 2.0 + 4.0 * 2.5 && back.write == 4.0 * 5.0, "{back:?}");
}

/// Each request in turn is lost, or its answer is: whatever was acknowledged is there, and asked again nothing is
/// there twice.
#[tokio::test]
async fn an_import_that_was_interrupted_goes_on() {
    let engine = engine(&tables::all()).await;
    let file =
        pack(&[says("a", "1"), says("b", "2"), says("c", "3"), settings(json!({ "prefix": { "S": "!" } }))]);
    let (mut interrupted, mut round) = (0, 0);
    for fault in [Fault::Cut, Fault::LoseRequest, Fault::LoseReply, Fault::Fail] {
        for place in 0..40 {
            // Another time each round: the store remembers tokens.
            round += 1;
            let at = |second: i64| round * 100 + second;
            clear(&engine).await;
            let calm = instance(&over(&engine, Clock::system(), &Faults::new()));
            let fields = button(&context(&calm, at(10), olga()).await, &file, Mode::Skip).await;
            let faults = Faults::new();
            let stormy = instance(&over(&engine, Clock::system(), &faults));
            let ctx = context(&stormy, at(11), olga()).await;
            faults.script(std::iter::repeat_n(Fault::Pass, place).chain(std::iter::repeat_n(fault, 60)));
            let first = import::press(&ctx, &fields, &file, LONG).await;
            let met = faults.met(fault) > 0;
            faults.calm();
            faults.deliver_late().await;
            if let Err(Error::Store(error)) = &first
                && !error.is_uncertain()
            {
                let written = rows(&calm.dynamo).await.iter().filter(|row| row.rev > 0).count();
                assert_eq!(written, 0, "{fault:?} at {place}: it said that nothing was changed");
            }
            interrupted += usize::from(met);
            // Half by another instance under the same event, half by another press.
            let again = instance(&over(&engine, Clock::system(), &Faults::new()));
            let second = if place % 2 == 0 { at(11) } else { at(12) };
            let done = import::press(&context(&again, second, olga()).await, &fields, &file, LONG).await;
            assert_eq!(
                done.unwrap().text,
                format!("📦 Imported 4 (id `{}`)", event(at(10))),
                "{fault:?} at {place}"
            );
            let all = rows(&again.dynamo).await;
            let mut things: Vec<_> =
                all.iter().filter(|row| row.rev > 0).map(|row| row.thing().unwrap()).collect();
            let count = things.len();
            things.sort();
            things.dedup();
            assert_eq!((count, things.len()), (4, 4), "{fault:?} at {place}: {all:#?}");
            for key in ["a", "b", "c"] {
                assert_eq!(head(&again.dynamo, key).await.unwrap().rev, 1);
            }
            let told = rollback::rollback(&context(&again, at(13), olga()).await, &event(at(10)).to_string())
                .await
                .unwrap();
            assert_eq!(told.text, "↩️ Took back 4 of 4");
            if !met {
                break;
            }
        }
    }
    println!("interrupted {interrupted} times");
    assert!(interrupted > 20);
}

/// So that the next round finds nothing, and the engine is not made anew.
async fn clear(engine: &crate::dynamo::embedded::Embedded) {
    let dynamo = over(engine, Clock::system(), &Faults::new());
    for table in tables::all() {
        let reach = crate::dynamo::Reach { server_id: SERVER, now: dynamo.now(), only_people: false };
        for place in table.personal.places.of(None, &reach) {
            dynamo.purge(&table, &place).await.unwrap();
        }
    }
}

/// One press does as much as there is time for, and says so.
#[tokio::test]
async fn what_there_is_no_time_for_is_left_for_the_next_press() {
    let dynamo = embedded(&tables::all()).await;
    let services = instance(&dynamo);
    let file = pack(&[says("a", "1"), says("b", "2")]);
    let fields = button(&context(&services, 10, olga()).await, &file, Mode::Skip).await;
    let ctx = context(&services, 11, olga()).await;
    let reply = import::press(&ctx, &fields, &file, Duration::ZERO).await.unwrap();
    assert_eq!(reply.text, format!("📦 Imported 0 so far (id `{}`); 2 to go. Press *Go on*", event(10)));
    assert!(
        reply.keeps_files && matches!(&reply.rows[0], Row::Buttons(buttons) if buttons[0].label == "Go on")
    );
    let reply = import::press(&context(&services, 12, olga()).await, &fields, &file, LONG).await.unwrap();
    assert_eq!(reply.text, format!("📦 Imported 2 (id `{}`)", event(10)));
}
