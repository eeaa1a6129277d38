//! Conventions that a reader would otherwise have to check.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, with its text.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "{folder} holds no Rust");
    found
}

/// The product's own files: modules of tests may use anything.
fn product_sources() -> Vec<(PathBuf, String)> {
    let all = sources("src");
    let test_modules: BTreeSet<PathBuf> = all
        .iter()
        .flat_map(|(path, text)| {
            let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
                Some("mod" | "lib") | None => path.parent().unwrap().to_owned(),
                Some(_) => path.with_extension(""),
            };
            let behind = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| {
                let visible = rest.strip_prefix("pub(crate) ").or(rest.strip_prefix("pub(super) "));
                visible.unwrap_or(rest).strip_prefix("mod ")
            });
            let names = behind.filter_map(|rest| rest.split_once(';').map(|(name, _)| name.to_owned()));
            names.filter(|name| !name.contains('{')).map(move |name| folder.join(name)).collect::<Vec<_>>()
        })
        .collect();
    let is_test = |path: &Path| path.ancestors().any(|part| test_modules.contains(&part.with_extension("")));
    all.into_iter().filter(|(path, _)| !is_test(path)).collect()
}

/// The module a file belongs to: `dynamo` for `src/dynamo/table.rs`.
fn module(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The text without its tests, which may use anything.
fn product(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap()
}

/// The table "Who may import whom" of ARCHITECTURE.md.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = page.split("## Who may import whom").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| {
        let (name, imports) = row.split_once("` |").unwrap();
        let imports = imports.trim_matches(['|', ' ']).split(',').map(|name| name.trim().to_owned());
        (name.to_owned(), imports.filter(|name| !name.is_empty()).collect())
    })
    .collect()
}

/// The modules that a text names: `crate::x` and `crate::{x, y}`.
fn imported(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut names = BTreeSet::new();
    for piece in text.split("crate::").skip(1) {
        match piece.strip_prefix('{') {
            None => {
                names.insert(word(piece));
            }
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            names.insert(word(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names
}

#[test]
fn imports_follow_the_architecture() {
    let allowed = allowed();
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in product_sources() {
        let module = module(&path);
        if module == "main" || module == "lib" {
            continue;
        }
        let imports = imported(product(&text));
        used.entry(module.clone()).or_default().extend(imports.into_iter().filter(|name| *name != module));
    }
    for (module, imports) in &used {
        let known = allowed.get(module).unwrap_or_else(|| panic!("ARCHITECTURE.md does not list `{module}`"));
        let new: Vec<_> = imports.difference(known).collect();
        assert!(new.is_empty(), "`{module}` imports {new:?}, which ARCHITECTURE.md does not allow");
    }
    for module in allowed.keys() {
        assert!(used.contains_key(module), "ARCHITECTURE.md lists `{module}`, which is not there");
    }
}

/// What may appear in some places only, and where.
const HOMES: &[(&str, &[&str])] = &[
    ("SystemTime::now", &["clock.rs"]),
    ("tokio::spawn(", &["tasks.rs"]),
    ("std::env::", &["config.rs"]),
    ("dynoxide::", &["dynamo/embedded.rs"]),
    ("aws_sdk_dynamodb", &["dynamo/"]),
    ("aws_config::", &["dynamo/"]),
    ("aws_smithy_", &["dynamo/"]),
    ("serenity::", &["bot/", "context/", "telemetry.rs"]),
    ("axum::", &["army/http.rs", "relay/sources/scripts.rs", "sim/", "web/"]),
    ("clap::", &["army/cli.rs", "army/command.rs", "config.rs", "main.rs"]),
    ("println!", &["main.rs", "playground.rs", "doctor.rs"]),
];

#[test]
fn foreign_things_have_one_home() {
    for (path, text) in product_sources() {
        let inside = path.strip_prefix(root().join("src")).unwrap().to_str().unwrap().to_owned();
        for (thing, homes) in HOMES {
            let at_home = homes.iter().any(|home| inside.starts_with(home));
            let line = product(&text)
                .lines()
                .find(|line| line.contains(thing) && !line.trim_start().starts_with("//"));
            assert!(at_home || line.is_none(), "{inside} uses {thing}: {}", line.unwrap_or_default());
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        if path.ends_with("tidy.rs") {
            continue;
        }
        for word in ["todo!(", "unimplemented!(", "dbg!(", "#[ignore", "FIXME", "XXX"] {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn tests_wait_for_events_not_for_time() {
    for (path, text) in sources("tests") {
        let sleeps = text.contains(concat!("slee", "p("));
        assert!(!sleeps, "{} sleeps: wait for an event instead", path.display());
    }
}

#[test]
fn nothing_scans() {
    for (path, text) in product_sources() {
        assert!(
            !product(&text).contains(".scan()"),
            "{} scans a table: give the question a key",
            path.display()
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources("src") {
        assert!(text.starts_with("//! "), "{} has no first line", path.display());
    }
}
