//! Processes of their own that share data over one store, and are killed and stopped: a lock, a list that is
//! dealt, and one album for all. `MNEME_TEST_ENDPOINT` has them on the engine at that address.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::{join_all, select_all};
use mneme::clock::Timestamp;
use mneme::dynamo::Dynamo;
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::shared::{
    CreateContext, CreateOptions, Fenced, LeaseOptions, SharedData, SharedOptions, Space, TABLES, Version,
    Who,
};
use mneme::tasks::Tasks;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::process::Command;
use tokio::time::interval;

use crate::child::Mneme;
use crate::endpoint::Endpoint;
use crate::harness::{rounds, seed};

/// What this executable is to do as one process of several, and where their store is.
const JOB: &str = "MNEME_TEST_JOB";
const STORE: &str = "MNEME_TEST_STORE";
const PREFIX: &str = "MNEME_TEST_PREFIX";

const PROCESSES: usize = 4;

/// Hundreds of bots ask an engine that does one thing at a time.
const SLOW: Duration = Duration::from_secs(30);

/// The store that all processes of a test have: this process's engine behind a port, or tables of the test's
/// own on another.
struct Shore {
    url: String,
    prefix: String,
}

impl Shore {
    async fn new() -> Self {
        let (url, prefix) = match std::env::var("MNEME_TEST_ENDPOINT") {
            Ok(url) => (url, format!("shared-{}-", std::process::id())),
            Err(_) => (Endpoint::start().await.url, String::new()),
        };
        let shore = Self { url, prefix };
        shore.connect().await.create_tables(TABLES).await.expect("the engine takes new tables");
        shore
    }

    async fn connect(&self) -> Dynamo {
        let store = Store::Endpoint { url: self.url.clone(), region: None };
        let mut config = StoreConfig { table_prefix: self.prefix.clone(), ..StoreConfig::new(store) };
        // An engine that is only slow must not look like one that is away.
        (config.patience.attempt, config.patience.request) = (SLOW, SLOW * 2);
        connect(config).await.expect("it is an address").dynamo
    }

    async fn open(&self) -> SharedData {
        let (tasks, space) = (Tasks::new(), Space::Run("42".to_owned()));
        SharedData::open(self.connect().await, &tasks, space, SharedOptions::default())
    }

    /// Starts this executable as a process of its own.
    fn start(&self, job: &str) -> Mneme {
        let mut command = Command::new(std::env::current_exe().expect("it has a path"));
        command.args(["--exact", "shared::one_of_several_processes", "--nocapture", "--test-threads", "1"]);
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command.env(JOB, job).env(STORE, &self.url).env(PREFIX, &self.prefix);
        Mneme::start(command)
    }
}

/// What a process says for the test, among other lines.
fn say(what: impl std::fmt::Display) {
    println!("\n# {what}");
}

/// The words of such a line.
fn said(line: &str) -> Option<Vec<&str>> {
    line.strip_prefix("# ").map(|line| line.split(' ').collect())
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word} is no number"))
}

/// The next line of any of them, and whose it is.
async fn next_line(processes: &mut [Mneme]) -> (usize, String) {
    let lines =
        processes.iter_mut().map(|process| Box::pin(async { process.line().await.map(str::to_owned) }));
    let (line, place, others) = select_all(lines).await;
    drop(others);
    match line {
        Some(line) => (place, line),
        None => panic!("it lasts until it is killed:\n{}", processes[place].written.join("\n")),
    }
}

/// Not a test by itself: what the processes of the tests below run.
#[tokio::test]
async fn one_of_several_processes() {
    let (Ok(job), Ok(url), Ok(prefix)) = (std::env::var(JOB), std::env::var(STORE), std::env::var(PREFIX))
    else {
        return;
    };
    let shared = Shore { url, prefix }.open().await;
    match job.split(' ').collect::<Vec<_>>()[..] {
        ["lock"] => hold_again_and_again(&shared).await,
        ["album"] => albums(&shared).await,
        ["deal", process, step] => deal(&shared, number(process), number(step)).await,
        _ => panic!("{job} is no job"),
    }
}

/// The same clock for all processes of one host.
fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros()
}

const TTL: Duration = Duration::from_secs(1);

/// Takes the lock, says while it believes in it, and writes what the lock guards.
async fn hold_again_and_again(shared: &SharedData) {
    let mut beats = interval(Duration::from_millis(20));
    for turn in 0_u64.. {
        // Some go by the clock, some by what they see.
        let wait = Duration::from_secs(60);
        let options = LeaseOptions { ttl: TTL, wait, max_hold: None, trust_clocks: turn.is_multiple_of(2) };
        let Ok(lease) = shared.lock("ledger", options).await else { continue };
        let token = lease.token();
        for beat in 0..10 {
            let now = micros();
            // It was held at that time if it still is at a later one.
            if lease.is_valid() {
                say(format!("held {token} {now}"));
            }
            if beat % 3 == 1 {
                match lease.put("balance", &token).await {
                    Ok(Fenced::Done(Version(version))) => say(format!("wrote {token} {version}")),
                    Ok(Fenced::Refused) => say(format!("refused {token}")),
                    Err(_) => say(format!("doubts {token}")),
                }
            }
            beats.tick().await;
        }
        lease.release().await;
    }
}

/// What the processes said about one lock.
#[derive(Default)]
struct Ledger {
    /// By token: which process, and from when until when it believed in it.
    held: BTreeMap<u64, (u64, u128, u128)>,
    /// By version: the token that wrote it.
    written: BTreeMap<u64, u64>,
    refused: usize,
}

impl Ledger {
    /// `life`: the number of the process; one that is started again gets another.
    fn read(&mut self, life: u64, log: &[String]) {
        for words in log.iter().filter_map(|line| said(line)) {
            match words[..] {
                ["held", token, at] => {
                    let at = at.parse::<u128>().expect("a time");
                    let held = self.held.entry(number(token)).or_insert((life, at, at));
                    assert_eq!(held.0, life, "two processes have one token");
                    (held.1, held.2) = (held.1.min(at), held.2.max(at));
                }
                ["wrote", token, version] => {
                    let before = self.written.insert(number(version), number(token));
                    assert_eq!(before, None, "two writes made one version");
                }
                ["refused", _] => self.refused += 1,
                _ => {}
            }
        }
    }

    fn check(&self) {
        let mut intervals: Vec<_> =
            self.held.iter().map(|(token, (_, from, to))| (*from, *to, *token)).collect();
        intervals.sort_unstable();
        for pair in intervals.windows(2) {
            let ((_, to, first), (from, _, second)) = (pair[0], pair[1]);
            assert!(to < from, "{first} and {second} were held at the same time");
            assert!(first < second, "{second} came after {first}");
        }
        let tokens: Vec<u64> = self.written.values().copied().collect();
        assert!(tokens.is_sorted(), "a former holder wrote over its successor: {tokens:?}");
    }
}

#[tokio::test]
async fn killed_and_stopped_processes_never_hold_a_lock_together() {
    const BLOWS: usize = 20;
    let seed = seed(1);
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let shore = Shore::new().await;
    let mut ledger = Ledger::default();
    let mut processes: Vec<Mneme> = (0..PROCESSES).map(|_| shore.start("lock")).collect();
    let (mut lives, mut last_life): (Vec<u64>, u64) = ((0..PROCESSES as u64).collect(), PROCESSES as u64);
    let (mut kills, mut stops) = (0, 0);
    for _ in 0..rounds(BLOWS) {
        // It hits mostly the one that has the lock, after it has had it for a while.
        let (holder, token) = next_holder(&mut processes, 0, rng.random_range(1..12)).await;
        let victim = if rng.random_ratio(3, 4) { holder } else { rng.random_range(0..PROCESSES) };
        if rng.random() {
            kills += 1;
            let killed = std::mem::replace(&mut processes[victim], shore.start("lock"));
            ledger.read(lives[victim], &killed.kill().await);
            (lives[victim], last_life) = (last_life, last_life + 1);
        } else {
            stops += 1;
            processes[victim].signal("STOP").await;
            // Longer than its lease, if it had one: somebody else has the lock meanwhile.
            next_holder(&mut processes, token + u64::from(victim == holder), 1).await;
            processes[victim].signal("CONT").await;
        }
    }
    for (life, process) in lives.into_iter().zip(processes) {
        ledger.read(life, &process.kill().await);
    }
    ledger.check();
    let (holders, writes) = (ledger.held.len(), ledger.written.len());
    println!(
        "{kills} kills, {stops} stops: {holders} holders one after the other, {writes} fenced writes in order, \
         {} refused",
        ledger.refused
    );
    let (last, by) = ledger.written.last_key_value().expect("some wrote");
    let (balance, Version(version)) =
        shore.open().await.get_versioned::<u64>("balance").await.unwrap().expect("it was written");
    assert!(version >= *last && balance >= *by, "{balance} at {version}, but {by} wrote {last}");
}

/// Waits until somebody has said so often that it holds the lock with at least this token.
async fn next_holder(processes: &mut [Mneme], least: u64, times: usize) -> (usize, u64) {
    let mut left = times;
    loop {
        let (place, line) = next_line(processes).await;
        if let Some(["held", token, _]) = said(&line).as_deref()
            && number(token) >= least
        {
            left -= 1;
            if left == 0 {
                return (place, number(token));
            }
        }
    }
}

const BOTS: u64 = 500;
const STEPS: u64 = 20;
const ELEMENTS: u64 = BOTS * STEPS;

/// Every bot of this process asks for one element in each step.
async fn deal(shared: &SharedData, process: u64, from: u64) {
    let part = BOTS / PROCESSES as u64;
    for step in from..STEPS {
        let asked = (process * part..(process + 1) * part).map(|bot| async move {
            let who = Who::named(format!("{bot}/{step}"));
            loop {
                match shared.deal::<u64>("accounts", &who).await {
                    Ok(Some(element)) => return say(format!("got {bot} {step} {element}")),
                    Ok(None) => return say(format!("nothing {bot} {step}")),
                    // Asking again gives the same answer.
                    Err(error) => eprintln!("{error}"),
                }
            }
        });
        join_all(asked).await;
    }
    say("done");
    // It waits to be killed, like the others.
    std::future::pending::<()>().await;
}

/// What the bots were told.
#[derive(Default)]
struct Hands {
    has: BTreeMap<(u64, u64), u64>,
    again: usize,
    done: BTreeSet<usize>,
}

impl Hands {
    fn hear(&mut self, process: usize, line: &str) {
        match said(line).as_deref() {
            Some(["got", bot, step, element]) => {
                let before = self.has.insert((number(bot), number(step)), number(element));
                assert!(before.is_none_or(|before| before == number(element)), "{bot} got another in {step}");
                self.again += usize::from(before.is_some());
            }
            Some(["nothing", bot, step]) => panic!("nothing was left for {bot} in step {step}"),
            Some(["done"]) => {
                self.done.insert(process);
            }
            _ => {}
        }
    }

    /// The first step that not all bots of a process are done with.
    fn next_step(&self, process: usize) -> u64 {
        let part = BOTS / PROCESSES as u64;
        let bots = process as u64 * part..(process as u64 + 1) * part;
        let complete = |step: &u64| bots.clone().all(|bot| self.has.contains_key(&(bot, *step)));
        (0..STEPS).find(|step| !complete(step)).unwrap_or(STEPS)
    }
}

#[tokio::test]
async fn ten_thousand_elements_have_one_owner_each_while_processes_are_killed() {
    const KILLS: usize = 8;
    let seed = seed(1);
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let shore = Shore::new().await;
    let shared = shore.open().await;
    let elements: Vec<u64> = (0..ELEMENTS).collect();
    shared.deal_load("accounts", &elements).await.expect("the store is there");
    let began = Timestamp::from_seconds((micros() / 1_000_000) as i64);
    let mut hands = Hands::default();
    let mut processes: Vec<Mneme> =
        (0..PROCESSES).map(|process| shore.start(&format!("deal {process} 0"))).collect();
    let mut until_kill = (1..=KILLS).map(|kill| kill * ELEMENTS as usize / (KILLS + 1)).peekable();
    while hands.done.len() < PROCESSES {
        let (process, line) = next_line(&mut processes).await;
        hands.hear(process, &line);
        if until_kill.next_if(|enough| hands.has.len() >= *enough).is_none() {
            continue;
        }
        let victim = rng.random_range(0..PROCESSES);
        let successor = |hands: &Hands| shore.start(&format!("deal {victim} {}", hands.next_step(victim)));
        let killed = std::mem::replace(&mut processes[victim], successor(&hands));
        let known = killed.written.len();
        for line in killed.kill().await.split_off(known) {
            hands.hear(victim, &line);
        }
        hands.done.remove(&victim);
    }
    let owned: BTreeSet<u64> = hands.has.values().copied().collect();
    assert_eq!((hands.has.len() as u64, owned.len() as u64), (ELEMENTS, ELEMENTS), "one owner each");
    assert_eq!(owned.last(), Some(&(ELEMENTS - 1)));
    let late: Option<u64> = shared.deal("accounts", &Who::named("late")).await.expect("the store is there");
    assert_eq!(late, None, "nothing is left");
    let seconds = Timestamp::from_seconds((micros() / 1_000_000) as i64).since(began).as_secs();
    println!(
        "{ELEMENTS} elements dealt to {BOTS} bots in {seconds} s; told again after a kill: {}",
        hands.again
    );
}

/// All bots of this process want an album: first as everybody writes it first, then as it is right.
async fn albums(shared: &SharedData) {
    let naive = async || {
        if shared.get::<String>("naive").await?.is_none() {
            say("naive");
            shared.put("naive", &"an album").await?;
        }
        Ok::<_, mneme::shared::SharedError>(())
    };
    let bots = BOTS as usize / PROCESSES;
    for outcome in join_all((0..bots).map(|_| naive())).await {
        outcome.expect("the store is there");
    }
    let create = async |_: CreateContext| {
        say("made");
        // Slow enough that all others ask meanwhile.
        let mut beats = interval(Duration::from_millis(500));
        beats.tick().await;
        beats.tick().await;
        Ok(format!("by process {}", std::process::id()))
    };
    let created = (0..bots).map(|_| shared.get_or_create("album", CreateOptions::default(), create));
    for created in join_all(created).await {
        say(format!("sees {}", created.expect("the store is there").value));
    }
    say("done");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn five_hundred_bots_in_four_processes_make_one_album() {
    let shore = Shore::new().await;
    let mut processes: Vec<Mneme> = (0..PROCESSES).map(|_| shore.start("album")).collect();
    let (mut naive, mut made, mut done, mut seen) = (0, 0, 0, BTreeMap::<String, u64>::new());
    while done < PROCESSES {
        let (_, line) = next_line(&mut processes).await;
        match said(&line).as_deref() {
            Some(["naive"]) => naive += 1,
            Some(["made"]) => made += 1,
            Some(["done"]) => done += 1,
            Some(["sees", album @ ..]) => *seen.entry(album.join(" ")).or_default() += 1,
            _ => {}
        }
    }
    println!("get_or_create makes {made} album; look and create makes {naive}");
    assert_eq!(made, 1);
    assert_eq!(seen.values().copied().collect::<Vec<_>>(), [BOTS], "all see the same: {seen:?}");
    assert!(naive > 1, "then nobody would need more");
}
