//! Adoptions of tables as the original bot left them: whole, twice, killed at every step, and back again.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::original::{BANS, BOTDATA, HISTORY, PLAY, REMEMBER, SETTINGS, SPARKLE, TALLY};
use super::*;
use crate::clock::Clock;
use crate::dynamo::TableSpec;
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::{Fault, Faults};
use crate::dynamo::testing::{engine, over};
use crate::history::{self, Revision, Thing};

/// The largest id there can be.
const ZOO: u64 = u64::MAX;
const PUB: u64 = 200_000_000_000_000_001;
const ANN: u64 = 300_000_000_000_000_001;
const BOB: u64 = 300_000_000_000_000_002;

/// More than one transaction takes.
const MANY: usize = 230;

/// So few that an adoption can be killed at each of its requests.
const FEW: usize = 2;

fn item(json: Value) -> Item {
    raw::from_json(&json).unwrap()
}

async fn put(dynamo: &Dynamo, table: TableSpec, json: Value) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static PUTS: AtomicU64 = AtomicU64::new(0);
    let token = Token::new(format!("put-{}", PUTS.fetch_add(1, Ordering::Relaxed)));
    swap(dynamo, token, &[Swap { table, before: None, after: Some(item(json)) }]).await.unwrap();
}

/// A memory as the original's model wrote it.
async fn memory(dynamo: &Dynamo, server: u64, key: &str, value: &str) {
    let server = server.to_string();
    let json =
        json!({ "discord_server_id": { "N": server }, "rem_key": { "S": key }, "rem_value": { "S": value } });
    put(dynamo, REMEMBER, json).await;
}

async fn sparkles(dynamo: &Dynamo, server: u64, handle: &str, total: usize, reasons: &str) {
    let json = json!({
        "discord_server_id": { "N": server.to_string() },
        "discord_handle": { "S": handle },
        "total_sparkles": { "N": total.to_string() },
        "sparkle_reasons": { "S": reasons },
        "updated_at": { "S": "2022-11-05T14:02:11" },
    });
    put(dynamo, SPARKLE, json).await;
}

async fn play(dynamo: &Dynamo, server: u64, djs: &[(Value, u64, f64)]) {
    let songs: u64 = djs.iter().map(|(_, songs, _)| songs).sum();
    let seconds: f64 = djs.iter().map(|(_, _, seconds)| seconds).sum();
    let djs = djs.iter().map(|(id, songs, seconds)| {
        json!({ "user_id": id, "total_time_played": seconds, "total_songs_played": songs })
    });
    let djs: Vec<Value> = djs.collect();
    let stats = json!({
        "play_stats": { "total_time_played": seconds, "total_songs_played": songs },
        "dj_stats": { "djs": djs },
    });
    let json = json!({
        "discord_server_id": { "N": server.to_string() },
        "stats": { "S": stats.to_string() },
        "updated_at": { "S": "2022-11-05T14:02:11" },
    });
    put(dynamo, PLAY, json).await;
}

async fn botdata(dynamo: &Dynamo, key: &str, value: Value) {
    let json = json!({
        "key": { "S": key },
        "value": { "S": value.to_string() },
        "updated_at": { "S": "2022-11-05T14:02:11" },
    });
    put(dynamo, BOTDATA, json).await;
}

/// What the original bot leaves behind.
async fn leave(dynamo: &Dynamo, many: usize) {
    for (key, value) in [
        ("meeting", "tomorrow"),
        ("WiFi", "hunter2"),
        ("wifi", "ask at the bar"),
        ("WIFI", "none"),
        ("Straße", "a road"),
        ("\u{200B}", "nothing to see"),
        ("Motto ", ""),
    ] {
        memory(dynamo, ZOO, key, value).await;
    }
    memory(dynamo, PUB, "WiFi", "pub-guest").await;
    sparkles(dynamo, ZOO, &ANN.to_string(), 5, "being nice|tea| |for the cake").await;
    sparkles(dynamo, ZOO, &BOB.to_string(), 2, "").await;
    sparkles(dynamo, ZOO, "None", 1, "who?").await;
    let many: Vec<String> = (1..=many).map(|n| format!("reason {n}")).collect();
    sparkles(dynamo, PUB, &ANN.to_string(), many.len(), &many.join("|")).await;
    play(dynamo, ZOO, &[(json!(ANN), 3, 400.4), (json!(BOB.to_string()), 1, 100.0), (json!(null), 1, 9.0)])
        .await;
    let djs: Vec<_> = (0..many.len() as u64).map(|n| (json!(ANN + n), 1, 60.0)).collect();
    play(dynamo, PUB, &djs).await;
    botdata(dynamo, "errbot", json!({ "rem": 12, "rem_search": 3, "weather": 2, "play": 7 })).await;
    botdata(dynamo, "user-bans", json!(["spammer#0001", BOB.to_string()])).await;
    botdata(dynamo, "server-bans", json!([PUB.to_string()])).await;
}

struct Store {
    engine: Embedded,
    dynamo: Dynamo,
    faults: Faults,
    folder: tempfile::TempDir,
}

impl Store {
    async fn new() -> Self {
        Self::with(MANY).await
    }

    async fn with(many: usize) -> Self {
        let (engine, faults) = (engine(&specs()).await, Faults::new());
        let dynamo = over(&engine, Clock::manual(at(0)), &faults);
        let store = Self { engine, dynamo, faults, folder: tempfile::tempdir().unwrap() };
        leave(&store.dynamo, many).await;
        store
    }

    fn adoption(&self, run: i64) -> Adoption {
        Adoption {
            servers: vec![PUB, ZOO],
            bot_name: "errbot".to_owned(),
            people: BTreeMap::from([("spammer#0001".to_owned(), ANN)]),
            ignore_unresolved_bans: false,
            dry_run: false,
            folder: self.folder.path().to_owned(),
            started: at(run),
        }
    }

    async fn adopt(&self, run: i64) -> anyhow::Result<Report> {
        adopt(&self.dynamo, &self.adoption(run), &|_| {}).await
    }

    /// Runs it again, each time as another process that knows nothing of those before. On a busy machine even a
    /// store in memory may be too slow once.
    async fn run_until_done(&self) {
        for run in 2..12 {
            let dynamo = over(&self.engine, Clock::manual(at(0)), &Faults::new());
            match adopt(&dynamo, &self.adoption(run), &|_| {}).await {
                Ok(_) => return,
                Err(error) => println!("run {run}: {error:#}"),
            }
        }
        panic!("it is never done");
    }

    async fn get(&self, table: TableSpec, key: Value) -> Option<Value> {
        self.dynamo.item(&table, item(key)).await.unwrap().map(|item| raw::to_json(&item))
    }

    async fn memory(&self, server: u64, key: &str) -> Option<Value> {
        let server = server.to_string();
        self.get(REMEMBER, json!({ "discord_server_id": { "N": server }, "rem_key": { "S": key } })).await
    }

    /// Everything, without the times at which it was taken over.
    async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        let tally = [format!("{ZOO}/djs/all"), format!("{PUB}/djs/all"), "bot/usage/all".to_owned()];
        let servers = [raw::number(0), raw::number(ZOO), raw::number(PUB)];
        let of_servers = [REMEMBER, HISTORY, SPARKLE, PLAY, SETTINGS].map(|table| (table, servers.to_vec()));
        let keys = ["errbot", "mneme/adopted/errbot", "user-bans", "server-bans"].map(raw::text).to_vec();
        let others =
            [(TALLY, tally.map(raw::text).to_vec()), (BOTDATA, keys), (BANS, vec![raw::text("bot")])];
        for (table, partitions) in of_servers.into_iter().chain(others) {
            let mut lines = Vec::new();
            for partition in partitions {
                for mut item in self.dynamo.partition(&table, partition).await.unwrap() {
                    for time in ["at", "adopted_at", "expires_at", "k_adopt"] {
                        item.remove(time);
                    }
                    if item.get("key").is_some_and(|key| *key == raw::text("mneme/adopted/errbot")) {
                        item.remove("updated_at");
                    }
                    lines.push(raw::to_json(&item).to_string());
                }
            }
            all.insert(table.name.to_owned(), lines);
        }
        all
    }
}

/// Each run has a time of its own.
fn at(run: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + run)
}

#[tokio::test]
async fn every_value_is_where_the_commands_look_for_it() {
    let store = Store::new().await;
    let report = store.adopt(1).await.unwrap();
    assert!(store.memory(ZOO, "meeting").await.unwrap().get("rev").is_none(), "not touched");
    // Of the three, the one whose key was normal keeps it; the others follow in the order of their keys.
    for (key, display, value) in [
        ("wifi (2)", "WIFI (2)", "none"),
        ("wifi (3)", "WiFi (3)", "hunter2"),
        ("strasse", "Straße", "a road"),
    ] {
        let memory = store.memory(ZOO, key).await.unwrap();
        assert_eq!(
            (&memory["rem_display"]["S"], &memory["rem_value"]["S"]),
            (&json!(display), &json!(value))
        );
    }
    assert_eq!(store.memory(ZOO, "wifi").await.unwrap()["rem_value"]["S"], "ask at the bar");
    assert_eq!(store.memory(ZOO, "motto").await.unwrap()["rem_value"]["S"], "");
    assert!(store.memory(ZOO, "\u{200B}").await.is_some(), "no key can be made of it");
    assert!(store.memory(ZOO, "WIFI").await.is_none() && store.memory(PUB, "WiFi").await.is_none());
    assert_eq!(store.memory(PUB, "wifi").await.unwrap()["rem_value"]["S"], "pub-guest");

    let thing = |server, person: u64| Thing { server_id: server, kind: "sparkle", id: person.to_string() };
    let reasons = async |server, person| {
        let rows =
            history::revisions(&store.dynamo, &thing(server, person), 1_000, None).await.unwrap().records;
        rows.into_iter().rev().map(|row: Revision| row.name.unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(reasons(ZOO, ANN).await, ["being nice", "tea", "for the cake"]);
    assert_eq!(reasons(PUB, ANN).await.len(), MANY);
    assert_eq!(reasons(PUB, ANN).await[MANY - 1], format!("reason {MANY}"));
    let head =
        json!({ "discord_server_id": { "N": PUB.to_string() }, "discord_handle": { "S": ANN.to_string() } });
    let head = store.get(SPARKLE, head).await.unwrap();
    assert_eq!((&head["total_sparkles"]["N"], &head["sparkle_reasons"]["S"]), (&json!("230"), &json!("")));

    let totals = async |server: u64| {
        let play =
            store.get(PLAY, json!({ "discord_server_id": { "N": server.to_string() } })).await.unwrap();
        assert!(play.get("stats").is_none());
        (play["songs"]["N"].clone(), play["seconds"]["N"].clone())
    };
    assert_eq!(totals(ZOO).await, (json!("5"), json!("509")));
    assert_eq!(totals(PUB).await, (json!("230"), json!("13800")));
    let djs = crate::counts::board(&store.dynamo, &format!("{ZOO}/djs/all")).await.unwrap();
    let djs: Vec<_> =
        djs.iter().map(|row| (row.slot.as_str(), row.number("songs"), row.number("seconds"))).collect();
    assert_eq!(djs, [("00#0", 1, 9), ("00#300000000000000001", 3, 400), ("00#300000000000000002", 1, 100)]);
    assert_eq!(crate::counts::board(&store.dynamo, &format!("{PUB}/djs/all")).await.unwrap().len(), MANY);
    let usage = &crate::counts::board(&store.dynamo, "bot/usage/all").await.unwrap()[0];
    assert_eq!(
        usage.numbers.iter().filter(|(name, _)| name.starts_with("c_")).map(|(_, n)| n).sum::<i64>(),
        24
    );
    assert_eq!((usage.number("c_rem search"), usage.number("c_weather")), (3, 2));

    let bans = store.dynamo.partition(&BANS, raw::text("bot")).await.unwrap();
    let subjects: Vec<_> = bans.iter().filter_map(|ban| raw::text_in(ban, "subject")).collect();
    assert_eq!(subjects, [format!("server/{PUB}"), format!("user/{ANN}"), format!("user/{BOB}")]);
    let guilds = store.dynamo.get::<crate::people::Person>(ANN).await.unwrap().unwrap().guilds;
    assert_eq!(guilds.into_iter().collect::<Vec<_>>(), [PUB, ZOO]);

    let text = report.to_string();
    assert!(text.contains("\"WIFI\" is now \"WIFI (2)\""), "{text}");
    assert!(text.contains("\"None\" is no person's id"), "{text}");
    assert!(text.contains("no visible characters"), "{text}");
    assert_eq!(report.tables["remember"].seen, 8);
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_a_third_takes_what_came_since() {
    let store = Store::new().await;
    store.adopt(1).await.unwrap();
    let adopted = store.dump().await;
    let report = store.adopt(2).await.unwrap();
    assert_eq!((report.changed(), report.journal), (0, None));
    assert_eq!(store.dump().await, adopted);
    // The original bot was started once more.
    sparkles(&store.dynamo, ZOO, "300000000000000003", 1, "late").await;
    memory(&store.dynamo, PUB, "Late", "x").await;
    let report = store.adopt(3).await.unwrap();
    assert_eq!((report.changed(), report.reasons), (2, 1));
}

#[tokio::test]
async fn what_the_original_adds_to_its_totals_later_is_added_once() {
    let store = Store::new().await;
    store.adopt(1).await.unwrap();
    let key = item(json!({ "key": { "S": "errbot" } }));
    let before = store.dynamo.item(&BOTDATA, key).await.unwrap();
    let mut after = before.clone().unwrap();
    after.insert("value".to_owned(), raw::text(json!({ "rem": 15, "rem_search": 3 }).to_string()));
    swap(&store.dynamo, Token::new("x"), &[Swap { table: BOTDATA, before, after: Some(after) }])
        .await
        .unwrap();
    assert_eq!(store.adopt(2).await.unwrap().usage, 3);
    assert_eq!(store.adopt(3).await.unwrap().usage, 0);
}

#[tokio::test]
async fn a_dry_run_tells_the_same_and_writes_nothing() {
    let store = Store::new().await;
    let before = store.dump().await;
    let dry = adopt(&store.dynamo, &Adoption { dry_run: true, ..store.adoption(1) }, &|_| {}).await.unwrap();
    assert_eq!(store.dump().await, before);
    assert!(store.folder.path().read_dir().unwrap().next().is_none(), "no journal");
    let done = store.adopt(2).await.unwrap();
    let counts =
        |report: &Report| (report.tables.clone(), report.renamed.clone(), report.reasons, report.usage);
    assert_eq!(counts(&dry), counts(&done));
}

#[tokio::test]
async fn killed_at_any_request_it_is_finished_by_running_it_again() {
    let whole = Store::with(FEW).await;
    whole.adopt(1).await.unwrap();
    let (whole, mut kills) = (whole.dump().await, 0);
    // Where nothing arrives each request counts; a lost reply is the same a request later, and takes long.
    for (fault, every) in [(Fault::Cut, 1), (Fault::LoseReply, 4)] {
        for n in (0..).step_by(every) {
            let store = Store::with(FEW).await;
            // After this many requests nothing comes back any more, and with `Cut` nothing arrives either.
            store.faults.script(vec![Fault::Pass; n]);
            store.faults.script(vec![fault; 40]);
            let killed = store.adopt(1).await;
            store.faults.calm();
            if killed.is_ok() {
                break;
            }
            kills += 1;
            store.run_until_done().await;
            assert_eq!(store.dump().await, whole, "{fault:?} after {n} requests");
        }
    }
    println!("killed {kills} times");
    assert!(kills > 40, "{kills}");
}

#[tokio::test]
async fn every_adoption_can_be_taken_back_however_far_it_came() {
    for n in (0..).step_by(3) {
        let store = Store::with(FEW).await;
        let before = store.dump().await;
        store.faults.script(vec![Fault::Pass; n]);
        store.faults.script(vec![Fault::Cut; 40]);
        let killed = store.adopt(1).await;
        store.faults.calm();
        for journal in journals(store.folder.path()) {
            let reverted = revert(&store.dynamo, &journal, at(2)).await.unwrap();
            assert_eq!(reverted.kept, Vec::<String>::new());
            assert_eq!(revert(&store.dynamo, &journal, at(3)).await.unwrap().back, 0, "twice is once");
        }
        assert_eq!(store.dump().await, before, "after {n} requests");
        if killed.is_ok() {
            return;
        }
    }
}

fn journals(folder: &Path) -> Vec<PathBuf> {
    folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn what_somebody_has_changed_since_is_not_taken_back() {
    let store = Store::new().await;
    let journal = store.adopt(1).await.unwrap().journal.unwrap();
    let key = json!({ "discord_server_id": { "N": PUB.to_string() }, "rem_key": { "S": "wifi" } });
    let before = store.dynamo.item(&REMEMBER, item(key)).await.unwrap();
    let mut after = before.clone().unwrap();
    after.insert("rem_value".to_owned(), raw::text("new"));
    after.insert("rev".to_owned(), raw::number(2));
    swap(&store.dynamo, Token::new("x"), &[Swap { table: REMEMBER, before, after: Some(after) }])
        .await
        .unwrap();
    let reverted = revert(&store.dynamo, &journal, at(2)).await.unwrap();
    assert_eq!(reverted.kept.len(), 1);
    assert!(reverted.kept[0].contains("wifi"), "{:?}", reverted.kept);
    assert_eq!(store.memory(PUB, "wifi").await.unwrap()["rem_value"]["S"], "new");
    assert!(store.memory(ZOO, "WIFI").await.is_some(), "the others are back");
}

#[tokio::test]
async fn a_torn_line_is_a_step_that_was_not_sent_and_another_file_is_refused() {
    let store = Store::new().await;
    let journal = store.adopt(1).await.unwrap().journal.unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(journal.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&journal).unwrap();
    let steps = journal::read(&journal).unwrap().len();
    std::fs::write(&journal, format!("{text}{{\"step\":9999,\"table\":\"rem")).unwrap();
    assert_eq!(journal::read(&journal).unwrap().len(), steps);
    let damaged = text.replacen("\"table\":\"remember\"", "\"table\":\"rememberr\"", 1);
    std::fs::write(&journal, damaged).unwrap();
    let error = format!("{:#}", journal::read(&journal).unwrap_err());
    assert!(error.contains("line 2: there is no table rememberr"), "{error}");
    std::fs::write(&journal, "name#1234,5\n").unwrap();
    assert!(journal::read(&journal).unwrap_err().to_string().contains("(line 1)"));
}

#[tokio::test]
async fn a_banned_name_without_an_id_stops_it_before_it_begins() {
    let store = Store::new().await;
    let before = store.dump().await;
    let nobody = Adoption { people: BTreeMap::new(), ..store.adoption(1) };
    let error = adopt(&store.dynamo, &nobody, &|_| {}).await.unwrap_err().to_string();
    assert!(error.contains("spammer#0001") && error.contains("--ignore-unresolved-bans"), "{error}");
    assert_eq!(store.dump().await, before);
    let ignoring = Adoption { ignore_unresolved_bans: true, ..nobody };
    let report = adopt(&store.dynamo, &ignoring, &|_| {}).await.unwrap();
    assert!(report.to_string().contains("spammer#0001"), "{report}");
    assert_eq!(store.dynamo.partition(&BANS, raw::text("bot")).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_read_stays_and_is_told() {
    let store = Store::new().await;
    put(&store.dynamo, PLAY, json!({ "discord_server_id": { "N": "7" }, "stats": { "S": "oops" } })).await;
    let other = Adoption { servers: vec![7], bot_name: "nobody".to_owned(), ..store.adoption(1) };
    let report = adopt(&store.dynamo, &other, &|_| {}).await.unwrap().to_string();
    assert!(report.contains("server 7: its statistics are not JSON"), "{report}");
    assert!(report.contains("there are no usage totals of a bot called \"nobody\""), "{report}");
}
