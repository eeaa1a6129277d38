//! Exports, imports and backups: everything is found again, and of a damaged file nothing is written.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::PathBuf;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde_json::json;

use super::*;
use crate::clock::Timestamp;
use crate::dynamo::faults::{Fault, Faults};
use crate::dynamo::raw::{self, Swap};
use crate::dynamo::testing::{engine, over};
use crate::dynamo::{Token, Transaction};

/// The largest id there can be.
const ZOO: u64 = u64::MAX;
/// Known only from what is kept about Ann.
const PUB: u64 = 200_000_000_000_000_001;
const ANN: u64 = 300_000_000_000_000_001;
const BOB: u64 = 300_000_000_000_000_002;

struct Files {
    dynamo: Dynamo,
    faults: Faults,
    folder: tempfile::TempDir,
}

fn now() -> Timestamp {
    Timestamp::parse("2026-05-07T12:00:00Z").unwrap()
}

/// Nothing is due later than in two days here.
fn start() -> walk::Start {
    walk::Start { servers: vec![ZOO], bot_name: "errbot".to_owned(), now: now(), hours_ahead: 48 }
}

impl Files {
    async fn empty() -> Self {
        let (engine, faults) = (engine(&tables::all()).await, Faults::new());
        let dynamo = over(&engine, Clock::manual(now()), &faults);
        Self { dynamo, faults, folder: tempfile::tempdir().unwrap() }
    }

    async fn filled() -> Self {
        let files = Self::empty().await;
        for (table, item) in records() {
            files.put(table, item).await;
        }
        files
    }

    async fn put(&self, table: &str, item: serde_json::Value) {
        let table = *tables::all().iter().find(|known| known.name == table).unwrap();
        let item = raw::from_json(&item).unwrap();
        let before = self.dynamo.item(&table, raw::key_of(&table, &item)).await.unwrap();
        let token =
            Token::new(Clock::system().now().millis().to_string() + &rand::random::<u32>().to_string());
        let transaction = Transaction::new(token).swap(&Swap { table, before, after: Some(item) });
        assert_eq!(self.dynamo.transact(transaction).await.unwrap(), crate::dynamo::Commit::Done);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn export(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        write(&self.dynamo, &start(), &path).await.unwrap();
        path
    }

    async fn import(&self, path: &Path, how: How) -> anyhow::Result<Imported> {
        // Each run as another process: at another time.
        let at = now().plus(std::time::Duration::from_millis(rand::random::<u32>().into()));
        import::import(&self.dynamo, path, how, at, &|_| {}).await
    }

    /// All there is, without the time of the export.
    async fn all(&self) -> BTreeSet<String> {
        let mut lines = BTreeSet::new();
        walk::instance(&self.dynamo, &start(), &mut |table, item| {
            lines.insert(format!("{} {}", table.name, raw::to_json(item)));
            Ok(())
        })
        .await
        .unwrap();
        lines
    }
}

/// A record of each kind, and people who lead to more.
fn records() -> Vec<(&'static str, serde_json::Value)> {
    let (zoo, ann, bob) = (ZOO.to_string(), ANN.to_string(), BOB.to_string());
    let memory = |server: u64, key: &str, rev: &str, by: &str| {
        json!({
            "discord_server_id": { "N": server.to_string() }, "rem_key": { "S": key },
            "rem_value": { "S": "hunter2 \u{1F600}\n" }, "rev": { "N": rev }, "created_by": { "N": by },
        })
    };
    let channel = |owner: &str, place: &str, by: &str| {
        json!({
            "owner": { "S": owner }, "place": { "S": place }, "way": { "S": "both" }, "by": { "N": by },
            "at": { "N": "1780000000000" },
        })
    };
    vec![
        ("remember", memory(ZOO, "wifi", "1", &ann)),
        ("remember", memory(PUB, "wifi", "1", &bob)),
        (
            "history",
            json!({
                "discord_server_id": { "N": zoo }, "entry": { "S": "rem#wifi#00000000000000000009" },
                "event_id": { "N": "9" }, "op": { "S": "set" }, "rev": { "N": "1" }, "by": { "N": ann },
                "value": { "S": "hunter2 \u{1F600}\n" },
            }),
        ),
        (
            "history",
            json!({
                "discord_server_id": { "N": "0" }, "entry": { "S": "ban#user/5#00000000000000000009" },
                "op": { "S": "ban" }, "rev": { "N": "1" },
            }),
        ),
        (
            "settings",
            json!({ "discord_server_id": { "N": zoo }, "rev": { "N": "1" }, "prefix": { "S": "!" } }),
        ),
        (
            "sparkle",
            json!({
                "discord_server_id": { "N": zoo }, "discord_handle": { "S": bob }, "total_sparkles": { "N": "3" },
            }),
        ),
        (
            "play",
            json!({ "discord_server_id": { "N": zoo }, "songs": { "N": "3" }, "seconds": { "N": "30" } }),
        ),
        (
            "tally",
            json!({ "board": { "S": format!("{zoo}/djs/all") }, "slot": { "S": format!("00#{ann}") } }),
        ),
        ("tally", json!({ "board": { "S": format!("{zoo}/sparkles/2025-06") }, "slot": { "S": "01#1" } })),
        (
            "tally",
            json!({ "board": { "S": "bot/usage/all" }, "slot": { "S": "00#-" }, "c_rem": { "N": "5" } }),
        ),
        ("bans", json!({ "scope": { "S": "bot" }, "subject": { "S": "user/5" }, "rev": { "N": "1" } })),
        ("bans", json!({ "scope": { "S": zoo }, "subject": { "S": "user/5" }, "rev": { "N": "1" } })),
        ("users", json!({ "user_id": { "N": ann }, "guilds": { "NS": [zoo, PUB.to_string()] } })),
        ("users", json!({ "user_id": { "N": bob }, "timezone": { "S": "Europe/Berlin" } })),
        (
            "reminders",
            json!({ "user_id": { "N": "300000000000000003" }, "code": { "S": "7f3k" }, "text": { "S": "tea" } }),
        ),
        (
            "due",
            json!({
                "hour": { "S": "2026-05-08T09" }, "at": { "S": "2026-05-08T09:00:00Z#reminder#x" },
                "kind": { "S": "reminder" }, "user_id": { "N": "300000000000000003" },
            }),
        ),
        ("botdata", json!({ "key": { "S": "mneme/due" }, "value": { "S": "2026-05-07T09" } })),
        ("relay_channels", channel(&format!("server/{ZOO}"), "20#announce", &ann)),
        ("relay_channels", channel("topic/announce", &format!("{ZOO}#20"), "0")),
        ("relay_channels", channel("senders/", "20#announce", "0")),
    ]
}

#[test]
fn every_table_is_walked_or_named() {
    for table in tables::all() {
        let named = walk::NOT_MOVED.iter().any(|(name, _)| *name == table.name);
        let hashes = ["discord_server_id", "scope", "board", "key", "user_id", "hour", "owner"];
        assert!(named || hashes.contains(&table.hash.name), "{} is in no export", table.name);
    }
}

#[tokio::test]
async fn everything_is_found_and_is_the_same_in_another_store() {
    let here = Files::filled().await;
    assert_eq!(here.all().await.len(), records().len(), "nothing is overlooked");
    let file = here.export("a.jsonl.gz").await;
    let there = Files::empty().await;
    let imported = there.import(&file, How::default()).await.unwrap();
    assert_eq!(imported.sum(), [records().len() as u64, 0, 0, 0]);
    assert_eq!(there.all().await, here.all().await);
    let again = there.import(&file, How::default()).await.unwrap();
    assert_eq!(again.sum(), [0, 0, records().len() as u64, 0]);
    assert_eq!(text(&there.export("b.jsonl.gz").await), text(&file), "byte for byte");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(here.folder.path().read_dir().unwrap().count(), 1, "nothing half is left");
}

#[tokio::test]
async fn what_is_different_is_kept_unless_it_is_to_be_replaced() {
    let here = Files::filled().await;
    let file = here.export("a.jsonl.gz").await;
    let exported = here.all().await;
    here.put("play", json!({ "discord_server_id": { "N": ZOO.to_string() }, "songs": { "N": "9" } })).await;
    let changed = here.all().await;
    let dry = here.import(&file, How { dry_run: true, overwrite: true }).await.unwrap();
    assert_eq!((dry.sum()[..2].to_vec(), here.all().await), (vec![0, 1], changed.clone()));
    assert_eq!(here.import(&file, How::default()).await.unwrap().sum()[1], 1);
    assert_eq!(here.all().await, changed);
    here.import(&file, How { dry_run: false, overwrite: true }).await.unwrap();
    assert_eq!(here.all().await, exported);
}

#[tokio::test]
async fn an_import_that_was_stopped_goes_on() {
    let here = Files::filled().await;
    let (file, all) = (here.export("a.jsonl.gz").await, here.all().await);
    for fault in [Fault::Cut, Fault::LoseReply] {
        for n in 0.. {
            let there = Files::empty().await;
            there.faults.script(vec![Fault::Pass; n]);
            there.faults.script(vec![fault; 40]);
            let stopped = there.import(&file, How::default()).await;
            there.faults.calm();
            if stopped.is_ok() {
                break;
            }
            // On a busy machine even a store in memory may be too slow once.
            for _ in 0..9 {
                if there.import(&file, How::default()).await.is_ok() {
                    break;
                }
            }
            assert_eq!(there.all().await, all, "{fault:?} after {n} requests");
        }
    }
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

fn rewrite(path: &Path, text: &str) {
    let mut file = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::default());
    file.write_all(text.as_bytes()).unwrap();
    file.finish().unwrap();
}

#[tokio::test]
async fn of_a_damaged_foreign_or_newer_file_nothing_is_written_and_its_line_is_told() {
    let here = Files::filled().await;
    let file = here.export("a.jsonl.gz").await;
    let good = text(&file);
    let last = good.lines().count();
    let lines: Vec<&str> = good.lines().collect();
    let without_last = lines[..last - 1].join("\n") + "\n";
    let damaged = [
        (good.replacen("hunter2", "hunter3", 1), format!("line {last}: the file is not as it was written")),
        (without_last, format!("line {last}: the file ends before its last line")),
        (
            good.replacen("\"version\":1", "\"version\":2", 1),
            "line 1: it was written by a newer mneme".to_owned(),
        ),
        ("name,id\n".to_owned(), "line 1: this is no export of mneme".to_owned()),
        (good.replacen("{\"table\"", "{\"tabel\"", 1), "line 2: this is no item".to_owned()),
        (good.clone() + "more\n", format!("line {}: there is something after the last line", last + 1)),
        (good.trim_end().to_owned(), format!("line {last}: it does not end")),
        (
            good.replacen("\"table\":\"sparkle\"", "\"table\":\"sprakle\"", 1),
            "there is no table sprakle".to_owned(),
        ),
        (good.replacen("{\"N\":\"18446744073709551615\"}", "{\"S\":\"x\"}", 1), "of another kind".to_owned()),
    ];
    for (text, expected) in damaged {
        rewrite(&file, &text);
        let there = Files::empty().await;
        let error = format!("{:#}", there.import(&file, How::default()).await.unwrap_err());
        assert!(error.contains(&expected) && error.contains("line "), "{error:?} without {expected:?}");
        assert_eq!(there.all().await, BTreeSet::new());
    }
    let bytes = std::fs::read(here.export("b.jsonl.gz").await).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let error = format!("{:#}", here.import(&file, How::default()).await.unwrap_err());
    assert!(error.contains("it cannot be uncompressed"), "{error}");
}

#[tokio::test]
async fn a_backup_is_good_if_all_of_it_is_found_again() {
    let here = Files::filled().await;
    let verified = async |file: &Path| {
        let empty = Files::empty().await;
        verify::verify(&empty.dynamo, file, now(), &|_| {}).await.unwrap()
    };
    let file = here.export("a.jsonl.gz").await;
    let good = verified(&file).await;
    assert_eq!((good.items, good.faults), (records().len() as u64, Vec::<String>::new()));
    let wifi = json!({
        "discord_server_id": { "N": ZOO.to_string() }, "rem_key": { "S": "wifi" }, "rem_value": { "S": "other" },
        "rev": { "N": "1" }, "created_by": { "N": ANN.to_string() },
    });
    here.put("remember", wifi).await;
    let bad = verified(&here.export("b.jsonl.gz").await).await;
    assert_eq!(bad.faults.len(), 1);
    assert!(bad.to_string().contains("rem#wifi is at revision 1, and its history says otherwise"), "{bad}");
}
