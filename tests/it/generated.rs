//! Files that are made from the code. Here a stale one is rewritten and the test fails once, to say so; in CI
//! (where the variable `CI` is set) it fails and leaves the file alone.

use std::fs;
use std::path::PathBuf;

use mneme::commands::help;
use mneme::{config, tables};

fn current(path: &str, expected: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    let found = fs::read_to_string(&file).unwrap_or_default();
    if found == expected {
        return;
    }
    if std::env::var_os("CI").is_none() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, expected).unwrap();
    }
    panic!("{path} was stale; it is made from the code: run the tests here once and commit it");
}

#[test]
fn env_example_is_current() {
    current(".env.example", &config::env_example());
}

#[test]
fn tables_json_is_current() {
    current("terraform/tables.json", &(tables::json() + "\n"));
}

#[test]
fn the_policy_is_current() {
    current("terraform/policy.json", &(tables::policy() + "\n"));
}

#[test]
fn the_readme_lists_every_command() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let page = fs::read_to_string(file).unwrap();
    let (before, rest) = page.split_once("<!-- commands -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- /commands -->").unwrap();
    current("README.md", &format!("{before}<!-- commands -->\n{}<!-- /commands -->{after}", help::table()));
}
