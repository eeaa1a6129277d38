//! LocalStack's ready hook makes the tables that Rust declares, and every difference from them is told.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::child::{mneme, outcome};
use crate::{endpoint, prefix};

/// What somebody is told who runs the hook, or checks the tables.
struct Told {
    status: ExitStatus,
    text: String,
}

async fn told(command: Command) -> Told {
    let (status, out, errors) = outcome(command).await;
    Told { status, text: format!("{out}{errors}") }
}

impl Told {
    fn is_well(self) {
        assert!(self.status.success(), "{}", self.text);
    }

    /// It failed, and one line has all these words.
    fn names(&self, words: &[&str]) {
        assert!(!self.status.success(), "nothing is said of {words:?}:\n{}", self.text);
        let sentences = || self.text.split(['\n', ';']);
        let found = sentences().any(|sentence| words.iter().all(|word| sentence.contains(word)));
        assert!(found, "nothing is said of {words:?}:\n{}", self.text);
    }
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn tables_json() -> PathBuf {
    repository().join("terraform/tables.json")
}

/// Runs the hook with this list of tables.
async fn hook(prefix: &str, tables: &Path) -> Told {
    let mut command = Command::new(repository().join("localstack/ready.d/10-tables.sh"));
    command.env("AWS_ENDPOINT_URL", endpoint()).env("TABLES_JSON", tables).env("TABLE_PREFIX", prefix);
    told(command).await
}

/// `mneme tables check`, as an operator runs it.
async fn check(prefix: &str) -> Told {
    let mut command = mneme(["tables", "check"]);
    command.env("DYNAMODB_ENDPOINT", endpoint()).env("TABLE_PREFIX", prefix);
    told(command).await
}

#[tokio::test]
async fn the_engine_was_started_with_the_tables_that_the_bot_needs() {
    check("").await.is_well();
}

#[tokio::test]
async fn the_hook_may_run_twice() {
    let prefix = prefix("hook");
    check(&prefix).await.names(&[&prefix, "does not exist"]);
    for _ in 0..2 {
        hook(&prefix, &tables_json()).await.is_well();
        check(&prefix).await.is_well();
    }
}

/// Makes three of the tables as a changed list has them; what the check then says, and the hook with the right list.
async fn changed(change: impl FnOnce(&mut Value)) -> (String, Told, Told) {
    let (prefix, folder) = (prefix("changed"), tempfile::tempdir().unwrap());
    let write = |name: &str, tables: &Value| {
        let path = folder.path().join(name);
        std::fs::write(&path, tables.to_string()).unwrap();
        path
    };
    let mut tables: Value = serde_json::from_slice(&std::fs::read(tables_json()).unwrap()).unwrap();
    // Each call of the command line takes a second; the other tables would only be missing.
    let all = tables.as_object_mut().expect("an object by name");
    all.retain(|name, _| ["history", "remember", "tally"].contains(&name.as_str()));
    let right = write("right.json", &tables);
    change(&mut tables);
    hook(&prefix, &write("changed.json", &tables)).await.is_well();
    let checked = check(&prefix).await;
    (prefix.clone(), checked, hook(&prefix, &right).await)
}

#[tokio::test]
async fn what_is_missing_is_told() {
    let (prefix, checked, again) = changed(|tables| {
        tables["history"]["local_indexes"] = json!([]);
        tables["tally"]["ttl_attribute"] = Value::Null;
        tables.as_object_mut().expect("an object by name").remove("remember");
    })
    .await;
    checked.names(&[&format!("{prefix}history"), "by_event"]);
    checked.names(&[&format!("{prefix}tally"), "expires_at"]);
    checked.names(&[&format!("{prefix}remember"), "does not exist"]);
    again.names(&["ERROR", &format!("{prefix}history"), "by_event"]);
}

#[tokio::test]
async fn what_is_different_is_told() {
    let (prefix, checked, again) = changed(|tables| {
        let index = &mut tables["history"]["local_indexes"][0];
        index["range_key"] = json!({ "name": "moment", "type": "S" });
        let other = json!({ "name": "by_owner", "range_key": { "name": "owner", "type": "N" },
            "projection": "KEYS_ONLY", "attributes": [] });
        tables["remember"]["local_indexes"] = json!([other]);
        tables["tally"]["range_key"] = json!({ "name": "slot", "type": "N" });
    })
    .await;
    checked.names(&[&format!("{prefix}history"), "by_event by moment"]);
    checked.names(&[&format!("{prefix}remember"), "by_owner"]);
    checked.names(&[&format!("{prefix}tally"), "slot (N)"]);
    again.names(&["ERROR", &format!("{prefix}history"), "moment"]);
}

#[tokio::test]
async fn the_hook_fails_loudly() {
    let nowhere = Path::new("/nowhere/tables.json");
    hook("", nowhere).await.names(&["ERROR", "/nowhere/tables.json"]);
    let mut command = Command::new(repository().join("localstack/ready.d/10-tables.sh"));
    // Nothing can listen on port 0.
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:0");
    told(command).await.names(&["ERROR"]);
}
