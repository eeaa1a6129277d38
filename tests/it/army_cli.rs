//! The army as its users start it: the executable, its exit codes, and its HTTP API.

use std::path::Path;
use std::process::Stdio;

use crate::child::{Mneme, mneme, outcome, signal};
use crate::harness::{Counters, PATIENCE, free_address};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

fn army<const N: usize>(folder: &Path, arguments: [&str; N]) -> Command {
    let mut command = mneme(["army"]);
    command.args(arguments).current_dir(folder);
    command
}

fn folder(trees: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("army")).unwrap();
    for (name, root) in trees {
        let text = format!("army: 1\nname: {name}\n{root}\n");
        std::fs::write(folder.path().join(format!("army/{name}.yaml")), text).unwrap();
    }
    folder
}

/// What a run has written to `run.json`.
fn document(folder: &tempfile::TempDir) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.path().join("run.json")).unwrap()).unwrap()
}

const REMEMBER: &str = "
root:
  sequence:
    - login: \"user{{bot.slot}}\"
    - memory.remember: { key: \"key {{bot.slot}}\", value: \"value {{bot.id}}\" }";

#[tokio::test]
async fn the_bot_in_another_process_keeps_its_promises() {
    let folder = folder(&[("remember", REMEMBER)]);
    let bots = crate::harness::number("MNEME_ARMY_BOTS").unwrap_or(100_u64);
    let count = bots.to_string();
    let run =
        ["run", "--tree", "remember", "--n", &count, "--iterations", "1", "--ramp", "3s", "--seed", "1"];
    let more = ["--bot-process", "bot", "--json", "run.json"];
    let mut command = army(folder.path(), run);
    command.args(more);
    let (status, out, err) = outcome(command).await;
    assert_eq!(status.code(), Some(0), "{out}\n{err}");
    println!("{out}");
    let document = document(&folder);
    assert_eq!(document["actions"]["memory.remember"]["success_count"], bots);
    assert_eq!(document["promises"], json!({"made": bots, "kept": bots, "broken": 0, "unanswered": 0}));
    assert!(out.contains(&format!("promises {bots} of {bots}")), "{out}");
    assert!(folder.path().join("bot_run.log").exists());
}

#[tokio::test]
async fn the_report_counts_what_the_bot_counts() {
    let tree = format!("{REMEMBER}\n    - wait: 1h");
    let folder = folder(&[("remember", &tree)]);
    let address = free_address();
    let mut command = army(folder.path(), ["run", "--tree", "remember", "--n", "20", "--seed", "1"]);
    command.args(["--bot-process", "bot", "--bot-http", &address.to_string(), "--json", "run.json"]);
    let mut run = Mneme::start(command);
    // The bot's own count, by its own page.
    let counters = Counters(address);
    let counted = counters.reach_where("mneme_commands_total", "command=\"remember\"", 20).await;
    run.says("20 bots").await;
    let (status, written) = run.terminate().await;
    assert_eq!(status.code(), Some(130), "{written:?}");
    let document = document(&folder);
    assert_eq!((counted, &document["actions"]["memory.remember"]["runs"]), (20, &json!(20)));
    assert_eq!((&document["promises"]["made"], &document["promises"]["kept"]), (&json!(20), &json!(20)));
}

/// The bot under test stands still between two lines of progress, five seconds: whoever came meanwhile waited.
#[tokio::test]
async fn a_bot_that_sleeps_costs_what_it_costs() {
    let folder = folder(&[("recall", "root: { memory.recall: { key: tea, missing: ok } }")]);
    let mut command = army(folder.path(), ["run", "--tree", "recall", "--arrival", "20/s", "--arrival-even"]);
    command.args(["--duration", "16s", "--progress", "plain", "--bot-process", "bot", "--json", "run.json"]);
    command.args(["--grace", "60s"]);
    let mut run = Mneme::start(command);
    run.says("bots").await;
    let bot = run.child();
    signal(bot, "STOP").await;
    run.says("bots").await;
    signal(bot, "CONT").await;
    let (status, written) = run.ended().await;
    assert_eq!(status.code(), Some(0), "{written:?}");
    let document = document(&folder);
    let recall = &document["actions"]["memory.recall"];
    assert!(recall["runs"].as_u64().unwrap() > 250, "nobody waited with coming: {recall}");
    // A hundred of some three hundred came while it slept, and half of them waited more than half of that.
    for times in [recall, &recall["response"]] {
        assert!(times["p90"].as_f64().unwrap() > 1_000.0, "{recall}");
    }
}

#[tokio::test]
async fn a_long_lock_is_reported() {
    let tree = "root: { with_lock: { key: slow, ttl: 1s, do: { wait: 400ms } } }";
    let folder = folder(&[("slow", tree)]);
    let mut command =
        army(folder.path(), ["run", "--tree", "slow", "--no-bot", "--n", "6", "--iterations", "1"]);
    command.args(["--json", "run.json"]);
    let (status, out, err) = outcome(command).await;
    assert_eq!(status.code(), Some(0), "{out}\n{err}");
    // Six one after the other: the last has waited for five.
    let lock = document(&folder)["shared"]["lock"].clone();
    assert!(lock["hold_p99"].as_f64().unwrap() > 390.0, "{lock}");
    assert!(lock["wait_p99"].as_f64().unwrap() > 1_950.0, "{lock}");
    assert!(format!("{out}{err}").contains("a lock is held for long"), "{out}\n{err}");
    assert!(out.contains("with_lock") && !out.contains("errored"), "nobody dies of waiting: {out}");
}

#[tokio::test]
async fn exit_codes_tell() {
    let folder = folder(&[("good", "root: { log: hello }"), ("bad", "root: { fail: no }")]);
    for (arguments, code, words) in [
        (vec!["once", "--tree", "good", "--no-bot"], 0, "exit 0: passed"),
        (vec!["once", "--tree", "bad", "--no-bot"], 3, "exit 3: root: no"),
        (vec!["once", "--tree", "god", "--no-bot"], 2, "did you mean good?"),
        (vec!["run", "--tree", "good", "--virtual-time", "--n", "0"], 0, "exit 0"),
        (
            vec![
                "run",
                "--tree",
                "good",
                "--virtual-time",
                "--iterations",
                "1",
                "--threshold",
                "log:p(95)<1s",
            ],
            2,
            "means nothing in virtual time",
        ),
        (
            vec!["run", "--tree", "good", "--no-bot", "--iterations", "1", "--threshold", "lag:count>0"],
            2,
            "did you mean log?",
        ),
        (
            vec!["run", "--tree", "good", "--no-bot", "--iterations", "1", "--threshold", "log:count>99"],
            99,
            "MISSED log:count>99: 10",
        ),
        (vec!["run", "--tree", "good", "--iteratoins", "1"], 2, "--iterations"),
    ] {
        let mut command = mneme(["army"]);
        command.args(&arguments).arg("--disable-log-file").current_dir(folder.path());
        let (status, out, err) = outcome(command).await;
        assert_eq!(status.code(), Some(code), "{arguments:?}\n{out}\n{err}");
        assert!(format!("{out}{err}").contains(words), "{arguments:?}\n{out}\n{err}");
    }
}

#[tokio::test]
async fn tests_of_trees_pass_and_fail() {
    let folder = folder(&[]);
    let file = "army: 1
name: memories
tests:
  - name: it remembers
    tree: { sequence: [ { memory.remember: { key: tea, value: hot } }, { memory.recall: tea }, { check: 'reply.text == \"hot\"' } ] }
  - name: it forgets nothing of others
    tags: [ slow ]
    bots: 3
    pre: { sequence: [ { memory.remember: { key: tea, value: cold } }, { set: { wanted: cold } } ] }
    tree: { sequence: [ { memory.recall: tea }, { check: 'reply.text == wanted' } ] }
";
    std::fs::write(folder.path().join("good.yaml"), file).unwrap();
    let bad = "army: 1
name: wrong
tests:
  - { name: it knows all, tree: { sequence: [ { log: before }, { memory.recall: nothing } ] } }
";
    std::fs::write(folder.path().join("bad.yaml"), bad).unwrap();
    let (status, out, err) = outcome(army(folder.path(), ["test", "good.yaml", "--verbose"])).await;
    assert_eq!(status.code(), Some(0), "{out}\n{err}");
    assert!(out.contains("ok   good.yaml: it remembers") && out.ends_with("2 passed, 0 failed\n"), "{out}");
    let command = army(folder.path(), ["test", "good.yaml", "bad.yaml", "--junit", "out.xml"]);
    let (status, out, _) = outcome(command).await;
    assert_eq!(status.code(), Some(3), "{out}");
    assert!(out.contains("FAIL bad.yaml: it knows all") && out.contains("couldn't remember"), "{out}");
    assert!(out.contains("before"), "the log is told: {out}");
    assert!(std::fs::read_to_string(folder.path().join("out.xml")).unwrap().contains("failures=\"1\""));
}

#[tokio::test]
async fn http_status_codes() {
    let folder = folder(&[("long", "params: { k: 1 }\nroot: { sequence: [ { log: hi }, { wait: 1h } ] }")]);
    let mut command = army(folder.path(), ["serve", "--bind", "127.0.0.1:0", "--no-bot"]);
    command.stdin(Stdio::null());
    let mut server = Mneme::start(command);
    let line = server.says("listening on").await;
    let base = line.rsplit(' ').next().unwrap().to_owned();
    let client = reqwest::Client::new();
    let get = |path: &str| client.get(format!("{base}{path}"));
    let start = |body: &'static str| {
        client.post(format!("{base}/load_test/start")).header("content-type", "application/json").body(body)
    };
    let status =
        |request: reqwest::RequestBuilder| async move { request.send().await.unwrap().status().as_u16() };
    assert_eq!(get("/health").send().await.unwrap().text().await.unwrap(), "healthy");
    // Before the first run there are zeros, and no log.
    let metrics: Value =
        serde_json::from_str(&get("/metrics").send().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!((&metrics["bot_count"], &metrics["run"]["state"]), (&json!(0), &json!("idle")));
    assert_eq!(status(get("/logs")).await, 404);
    assert_eq!(status(get("/nothing")).await, 404);
    assert_eq!(status(client.post(format!("{base}/metrics"))).await, 405);
    assert_eq!(status(start("{").header("x", "y")).await, 400);
    for body in [
        r#"{"tree": "none"}"#,
        r#"{"tree": "../long"}"#,
        r#"{"n": 1}"#,
        r#"{"tree": "long", "nn": 1}"#,
        r#"{"tree": "long", "custom": "@/etc/passwd"}"#,
        r#"{"tree": "long", "bot": "other"}"#,
    ] {
        assert_eq!(status(start(body)).await, 400, "{body}");
    }
    assert_eq!(status(client.post(format!("{base}/load_test/start")).body("{}")).await, 415);
    assert_eq!(status(get("/metrics").header("host", "evil.example")).await, 421);
    let started = start(
        r#"{"n": 3, "tree": "long", "bot": "default", "custom": "[k: 2]", "log_options": {"format-json-logs": "false"}}"#,
    );
    let started = started.send().await.unwrap();
    assert_eq!((started.status().as_u16(), started.text().await.unwrap().as_str()), (200, "Bots started"));
    assert_eq!(status(start(r#"{"tree": "long"}"#)).await, 409);
    let grown = client.put(format!("{base}/load_test/n")).body(r#"{"n": 5}"#).send().await.unwrap();
    assert_eq!(grown.status().as_u16(), 200);
    let document = async || -> Value {
        serde_json::from_str(&get("/metrics").send().await.unwrap().text().await.unwrap()).unwrap()
    };
    let all_wait = async { while document().await["actions"]["log"]["runs"] != json!(5) {} };
    timeout(PATIENCE, all_wait).await.expect("five bots begin");
    let stopped = client.delete(format!("{base}/load_test/stop")).send().await.unwrap();
    assert_eq!((stopped.status().as_u16(), stopped.text().await.unwrap().as_str()), (200, "Bots stopped"));
    // What was measured outlives the run.
    let metrics = document().await;
    assert_eq!((&metrics["run"]["state"], &metrics["bot_count"]), (&json!("ended"), &json!(0)));
    assert_eq!(metrics["bots"]["started"], json!(5), "{metrics}");
    assert!(get("/logs?tail=2").send().await.unwrap().text().await.unwrap().contains("action=log"));
    assert!(
        get("/metrics")
            .header("accept", "text/plain")
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
            .contains("army_runs_total{action=\"log\"")
    );
    assert_eq!(status(client.delete(format!("{base}/load_test/stop"))).await, 200);
    server.terminate().await;
}

#[tokio::test]
async fn no_open_port_by_accident() {
    let folder = folder(&[]);
    let (status, _, err) = outcome(army(folder.path(), ["serve", "--bind", "0.0.0.0:0", "--no-bot"])).await;
    assert_eq!(status.code(), Some(2), "{err}");
    let mut server =
        Mneme::start(army(folder.path(), ["serve", "--bind", "0.0.0.0:0", "--no-bot", "--token", "secret"]));
    let line = server.says("listening on").await;
    let base = line.rsplit(' ').next().unwrap().replace("0.0.0.0", "127.0.0.1");
    let client = reqwest::Client::new();
    for (token, expected) in [(None, 401), (Some("wrong"), 401), (Some("secret"), 200)] {
        let request = client.get(format!("{base}/metrics"));
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected);
    }
    assert_eq!(client.get(format!("{base}/health")).send().await.unwrap().status().as_u16(), 200);
    server.terminate().await;
}

#[tokio::test]
async fn interrupted_runs_say_how_far_they_came() {
    let folder = folder(&[("long", "root: { sequence: [ { log: hi }, { wait: 1h } ] }")]);
    let mut run = Mneme::start(army(folder.path(), ["run", "--tree", "long", "--no-bot", "--n", "3"]));
    run.says("3 bots").await;
    let (status, written) = run.terminate().await;
    assert_eq!(status.code(), Some(130), "{written:?}");
    assert!(written.iter().any(|line| line.starts_with("army run long  3 bots")), "{written:?}");
}

/// Every example does what it says, by its own command line.
#[tokio::test]
async fn examples_do_what_they_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut failures = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("examples/army")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let text = std::fs::read_to_string(path).unwrap();
        let registry = mneme::army::Registry::new();
        let file =
            mneme::army::spec::read(&text, root, &registry).unwrap_or_else(|faults| panic!("{faults}"));
        let Some(example) = file.example else { continue };
        let line = example.command.strip_prefix("mneme ").expect("it is ours").to_owned();
        let mut command = Command::new("sh");
        let line = format!("exec {} {line} --disable-log-file", env!("CARGO_BIN_EXE_mneme"));
        let line = if line.contains(" army test ") { line.replace(" --disable-log-file", "") } else { line };
        command.args(["-c", &line]).current_dir(root).stdin(Stdio::null()).kill_on_drop(true);
        let (status, out, err) = outcome(command).await;
        if status.code().map(i64::from) != Some(example.exit) {
            failures.push(format!("{}: {status}\n{out}\n{err}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A terminal with a shell's command in it, and what is typed there.
struct Terminal {
    process: tokio::process::Child,
    keys: tokio::process::ChildStdin,
    screen: tokio::process::ChildStdout,
    shown: String,
}

impl Terminal {
    /// `script`, which comes with every Linux, makes the terminal.
    fn start(folder: &Path, line: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["-qec", line, "/dev/null"]).current_dir(folder).env_clear().env("TERM", "xterm");
        command.env("PATH", "/usr/bin:/bin").env("SHELL", "/bin/sh").kill_on_drop(true);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is `script`");
        let (keys, screen) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, keys, screen, shown: String::new() }
    }

    /// Waits until this has appeared since it was last waited for.
    async fn shows(&mut self, words: &str) {
        let search = async {
            let mut bytes = [0; 4_096];
            while !self.shown.contains(words) {
                let count = self.screen.read(&mut bytes).await.expect("it can be read");
                assert_ne!(count, 0, "it ended and never showed {words:?}: {}", self.shown);
                self.shown.push_str(&String::from_utf8_lossy(&bytes[..count]).replace('\r', ""));
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("it shows {words:?}"));
        let end = self.shown.find(words).unwrap() + words.len();
        self.shown.drain(..end);
    }

    async fn types(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).await.expect("somebody listens");
        self.keys.flush().await.expect("somebody listens");
    }
}

#[tokio::test]
async fn a_terminal_shows_how_it_stands_and_hears_keys() {
    let folder = folder(&[("chat", "root: { sequence: [ { log: here }, { wait: 50ms } ] }")]);
    let mneme = env!("CARGO_BIN_EXE_mneme");
    let line = format!("{mneme} army run --tree chat --n 3 --no-bot --seed 1; echo exit code $?; stty -a");
    let mut terminal = Terminal::start(folder.path(), &line);
    terminal.shows("army run chat  3 of 3 bots").await;
    terminal.shows("q stop   space pause").await;
    terminal.types("w").await;
    terminal.shows("4 of 4 bots").await;
    terminal.types(" ").await;
    terminal.shows("PAUSED\n0 steps/s").await;
    terminal.types(" ").await;
    terminal.shows("seed 1\n").await;
    terminal.types("p").await;
    terminal.shows("PASS\naction").await;
    terminal.types("s").await;
    terminal.shows("3 of 3 bots").await;
    terminal.types("q").await;
    terminal.shows("exit 0: passed").await;
    terminal.shows("exit code 0").await;
    // The terminal is as it was before.
    terminal.shows(" icanon").await;
    terminal.shows(" echo ").await;
    timeout(PATIENCE, terminal.process.wait()).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn where_nobody_looks_there_are_lines() {
    let folder = folder(&[("chat", "root: { sequence: [ { log: here }, { wait: 50ms } ] }")]);
    let mut run = Mneme::start(army(folder.path(), ["run", "--tree", "chat", "--n", "3", "--no-bot"]));
    let line = run.says("3 bots").await;
    assert!(line.contains("steps/s") && !line.contains('\x1b'), "{line:?}");
    let (status, _) = run.terminate().await;
    assert_eq!(status.code(), Some(130));
}

#[tokio::test]
async fn a_profile_is_what_bots_do_beside_their_tree() {
    let root = "root: { sequence: [ { ask: { say: .ping, expect: { contains: Pong } } }, { log: \"heard {{heard | 0}}\" } ] }";
    let folder = folder(&[("chat", root)]);
    let mut command = army(folder.path(), ["run", "--tree", "chat", "--n", "1", "--iterations", "2"]);
    command.args(["--bot", "present"]);
    let (status, out, err) = outcome(command).await;
    assert_eq!(status.code(), Some(0), "{out}\n{err}");
    let log = std::fs::read_to_string(folder.path().join("bot_run.log")).unwrap();
    assert!(log.contains("text=\"heard 1\"") && log.contains("text=\"leaves Discord\" custom=2"), "{log}");
    let (status, _, err) = outcome(army(folder.path(), ["run", "--tree", "chat", "--bot", "presnt"])).await;
    assert_eq!(status.code(), Some(2));
    assert!(err.contains("there is no bot presnt; did you mean present?"), "{err}");
}
