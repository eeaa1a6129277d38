//! The store is away, or nobody knows whether it took a change: what people are told is true, and what they
//! are told of can be found in the log.

use std::io;
use std::iter::repeat_n;
use std::sync::{Arc, Mutex};

use futures::stream::{self, StreamExt};
use mneme::clock::Clock;
use mneme::commands::ALL;
use mneme::context::{Instance, Place};
use mneme::dynamo::Dynamo;
use mneme::dynamo::connect::Connected;
use mneme::dynamo::embedded::Embedded;
use mneme::dynamo::faults::{Fault, Faults, Rates};
use mneme::dynamo::testing::{engine, over};
use mneme::sim::{Id, Weather, World};
use mneme::tables;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::subscriber::DefaultGuard;

use crate::harness::{Discord, PATIENCE, Person, answered, id, instance, rounds, seed, together, world_of};
use crate::ledger::{Ask, Ledger, Stored};

/// Storms through the whole bot; those without a Discord are in `schedules.rs`.
const STORMS: usize = 50;
const AT_ONCE: usize = 4;
/// More than the SDK and the helper try.
const FOR_LONG: usize = 1_000;

/// A store with these faults on the way to it.
fn store(engine: &Embedded, faults: &Faults) -> Connected {
    Connected {
        dynamo: over(engine, Clock::system(), faults),
        embedded: Some(engine.clone()),
        way: None,
        description: "embedded (in memory)".into(),
    }
}

/// The log of this thread, on which the whole bot runs.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn start() -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO);
        let guard = tracing::subscriber::set_default(lines.with_writer(move || writer.clone()).finish());
        (log, guard)
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The one line with the reference of an apology, which holds the whole error.
    fn line_of(&self, apology: &str) -> String {
        let reference = apology.split_once("(ref ").expect("it has a reference").1;
        let reference = reference.split(')').next().unwrap();
        assert!(reference.len() == 4 && !reference.contains(['I', 'L', 'O', 'U']), "{apology}");
        let field = format!("reference=\"{reference}\"");
        let mut lines: Vec<String> = self.lines();
        lines.retain(|line| line.contains(&field));
        assert_eq!(lines.len(), 1, "{apology} is in the log once: {lines:?}");
        lines.remove(0)
    }
}

/// An apology without its reference.
fn plain(apology: &str) -> String {
    match apology.split_once(" (ref ") {
        Some((before, after)) => format!("{before} (ref ....{}", &after[4..]),
        None => apology.to_owned(),
    }
}

const TRY_AGAIN: &str = "❌ I could not reach my memory; please try again (ref ....)";
const NOTHING_CHANGED: &str = "❌ I could not reach my memory; nothing was changed (ref ....)";

/// Everything that looks something up.
const READING: &[&str] = &[
    ".rem wifi",
    ".remember wifi",
    ".rem search",
    ".rem search wi",
    ".mem list",
    ".mem top",
    ".mem random",
    ".mem info wifi",
    ".mem raw wifi",
    ".mem history wifi",
    ".mem diff wifi",
    ".mem diff wifi 1 2",
    ".mem show wifi at 2020-01-01",
    ".show sparkles",
    ".show sparkles @bob",
    ".sparkles given @bob",
    ".sparkles log",
    ".play queue",
    ".play stats",
    ".stop",
    ".settings",
    ".rules",
    ".rules test @bob ping",
    ".sparkles top",
    ".leaderboard memories",
    ".leaderboard commands week",
    ".stats",
    ".stats here",
    ".stats me",
    ".stats @bob",
    ".stats command rem",
    ".reminders",
    ".timezone",
    ".privacy",
    ".blocked",
    ".audit",
    ".data export",
    ".data rollback 123456789012345678",
];

/// Everything that changes something.
const CHANGING: &[&str] = &[
    ".remember tea is hot",
    ".rem tea is hot",
    ".forget wifi",
    ".forget nothing",
    ".mem edit wifi is other",
    ".mem append wifi is more",
    ".mem restore wifi 1",
    ".mem undo",
    ".mem undo wifi",
    ".mem alias lan = wifi",
    ".mem lock wifi",
    ".mem unlock wifi",
    ".mem give wifi @bob",
    ".mem claim wifi",
    ".sparkle @bob for tea",
    ".sparkles undo",
    ".sparkles undo 123456789012345678",
    ".play lofi beats",
    ".play next lofi beats",
    ".skip",
    ".settings set memories owned",
    ".settings reset memories",
    ".prefix ?",
    ".allow rem @bob",
    ".deny rem @bob",
    ".rules remove 1",
    ".cooldown ping 30s",
    ".remind me in 2h to stretch",
    ".remind me at 9:00 to stretch",
    ".remind here in 2h to stretch",
    ".reminder cancel 7f3k",
    ".reminder snooze 7f3k 1h",
    ".timezone Europe/Berlin",
    ".privacy stats off",
    ".privacy export",
    ".block @bob",
    ".unblock @bob",
];

/// No command with records is left out above.
fn assert_complete() {
    for feature in ALL.iter().filter(|feature| !feature.tables.is_empty()) {
        for command in
            feature.commands.iter().filter(|command| command.place == Place::Server && !command.offline)
        {
            let mut lines = READING.iter().chain(CHANGING);
            let there = command.prefix.is_empty()
                || lines.any(|line| command.prefix.iter().any(|words| line[1..].starts_with(words)));
            assert!(there, "{} is not tried with the store away", command.name());
        }
    }
}

async fn everything_in(dynamo: &Dynamo, server: Id) -> String {
    let stored = Stored::read(dynamo, server).await;
    format!("{:?} {:?}", stored.heads, stored.rows)
}

#[tokio::test]
async fn with_the_store_away_nothing_is_claimed_and_nothing_changes() {
    assert_complete();
    let (log, _guard) = Log::start();
    let (engine, faults, discord) = (engine(&tables::all()).await, Faults::new(), Discord::start().await);
    let zoo = discord.simulator.change(|world: &mut World| world.guild("zoo").id());
    // Olga owns the server: nothing is refused her for want of rights.
    let [olga, bob] = ["olga", "bob"].map(|name| discord.person("zoo", "cats", name));
    let before = discord.bot(store(&engine, &Faults::new()), instance()).await;
    olga.says(".remember wifi is guest").await;
    let appended = olga.asks(".mem append wifi is password cats").await;
    let history = olga.asks(".mem history wifi").await;
    before.stop().await;

    // A new instance has nothing in its memory to answer from, except what the server allows.
    let clear = over(&engine, Clock::system(), &Faults::new());
    let stored = everything_in(&clear, zoo).await;
    let bot = discord.bot(store(&engine, &faults), Instance { play_servers: vec![zoo], ..instance() }).await;
    olga.says(".ping").await;
    faults.set_away(true);
    let mut said = Vec::new();
    for line in READING {
        let answer = olga.says(&line.replace("@bob", &format!("<@{}>", bob.id))).await;
        said.push((*line, TRY_AGAIN, answer));
    }
    for line in CHANGING {
        let answer = olga.says(&line.replace("@bob", &format!("<@{}>", bob.id))).await;
        said.push((*line, NOTHING_CHANGED, answer));
    }
    let key = ("key", json!("wifi"));
    said.push(("/rem get", TRY_AGAIN, olga.slash("rem get", std::slice::from_ref(&key)).await.text()));
    said.push(("/mem raw", TRY_AGAIN, olga.slash("mem raw", std::slice::from_ref(&key)).await.text()));
    said.push(("/forget", NOTHING_CHANGED, olga.slash("forget", std::slice::from_ref(&key)).await.text()));
    said.push(("/undo", NOTHING_CHANGED, olga.slash("undo", &[]).await.text()));
    let value = ("value", json!("hot"));
    said.push(("/rem set", NOTHING_CHANGED, olga.slash("rem set", &[key, value]).await.text()));
    said.push(("Undo", NOTHING_CHANGED, olga.presses(&appended, "Undo").await.text()));
    let first = first_choice(&history.0);
    said.push(("Restore", NOTHING_CHANGED, olga.chooses(&history, &first.0, &first.1).await.text()));
    for (what, expected, answer) in &said {
        assert_eq!(plain(answer), *expected, "{what}");
        let line = log.line_of(answer);
        assert!(line.contains("ERROR") && line.contains("the store could not be reached"), "{line}");
    }

    faults.set_away(false);
    assert_eq!(everything_in(&clear, zoo).await, stored, "something was written");
    assert_eq!(olga.says(".rem wifi").await, "guest\npassword cats", "it is there again");
    bot.stop().await;
    discord.end().await;
}

/// The placeholder of the first select menu of a message, and its first value.
fn first_choice(message: &Value) -> (String, String) {
    let rows = message["components"].as_array().into_iter().flatten();
    let mut controls = rows.flat_map(|row| row["components"].as_array().into_iter().flatten());
    let menu = controls.find(|control| control["type"] == 3).expect("there is a menu");
    let text = |value: &Value| value.as_str().expect("it is there").to_owned();
    (text(&menu["placeholder"]), text(&menu["options"][0]["value"]))
}

const UNKNOWN: &str =
    "❓ I could not find out whether that was saved (ref ....). Please look before you repeat it";

/// How often the store was asked something so far, except what is due: that is asked by itself.
fn reads(dynamo: &Dynamo) -> u64 {
    let usage = dynamo.usage();
    let by_command = |table: &str| !matches!(table, "due" | "botdata");
    let reads = usage.iter().filter(|((table, operation), _)| *operation != "transact" && by_command(table));
    reads.map(|(_, usage)| usage.requests).sum()
}

#[tokio::test]
async fn an_unknown_outcome_is_called_unknown() {
    let (log, _guard) = Log::start();
    let discord = Discord::start().await;
    let ann = discord.person("zoo", "cats", "ann");
    // The request arrives and the reply does not; or the request does not arrive. Nobody can tell.
    for (fault, there) in [(Fault::LoseReply, true), (Fault::LoseRequest, false)] {
        let (engine, faults) = (engine(&tables::all()).await, Faults::new());
        let connected = store(&engine, &faults);
        let dynamo = connected.dynamo.clone();
        let bot = discord.bot(connected, instance()).await;
        ann.says(".remember first is first").await;
        for by_slash in [false, true] {
            let set = async |key: &str| {
                if by_slash {
                    let options = [("key", json!(key)), ("value", json!("hot"))];
                    return ann.slash("rem set", &options).await.text();
                }
                ann.says(&format!(".remember {key} is hot")).await
            };
            let before = reads(&dynamo);
            set(&format!("milk {by_slash}")).await;
            // Whatever it asks before it writes is answered.
            let asked = usize::try_from(reads(&dynamo) - before).expect("a few");
            faults.script(repeat_n(Fault::Pass, asked).chain(repeat_n(fault, FOR_LONG)));
            let key = format!("tea {by_slash}");
            let answer = set(&key).await;
            faults.calm();
            assert_eq!(plain(&answer), UNKNOWN);
            assert!(log.line_of(&answer).contains("the store did not confirm the write"));
            let now = ann.says(&format!(".rem {key}")).await;
            assert_eq!(now == "hot", there, "{now}");
        }
        bot.stop().await;
    }
    discord.end().await;
}

/// Four people change three memories, by message and by slash command, in bad weather on both sides.
async fn storm(seed: u64) -> [usize; 4] {
    let mut rng = StdRng::seed_from_u64(seed);
    let (engine, faults) = (engine(&tables::all()).await, Faults::new());
    let discord = Discord::with(world_of(seed)).await;
    let people = ["ann", "bob", "mo", "olga"].map(|name| discord.person("zoo", "cats", name));
    let mut events = together(people.iter().map(Person::watch));
    let bot = discord.bot(store(&engine, &faults), instance()).await;
    faults.plan(rng.random(), Rates::STORMY);
    discord.simulator.faults().weather(Weather {
        fail: 0.05,
        lose_reply: 0.1,
        rate_limit: 0.02,
        duplicate: 0.2,
        reorder: 0.2,
        cut: 0.01,
    });
    let mut ledger = Ledger::new(format!("storm {seed}"));
    let mut open: Vec<Id> = Vec::new();
    for n in 0..16 {
        let person = people.choose(&mut rng).expect("there are some");
        let key = *["a", "b", "c"].choose(&mut rng).expect("there are some");
        let op = *["set", "set", "append", "append", "edit", "forget"].choose(&mut rng).expect("some");
        let ask = Ask::new(op, key, if op == "forget" { String::new() } else { format!("value {n}") });
        let event = match op {
            "set" if rng.random() => {
                person.call("rem set", &[("key", json!(key)), ("value", json!(ask.text))])
            }
            _ => person.say(&ask.line()),
        };
        ledger.asked(event, ask);
        open.push(event);
    }
    while !open.is_empty() {
        let event = timeout(PATIENCE, events.next()).await.expect("the bot answers").expect("it runs");
        if let Some((to, answer)) = answered(&event)
            && let Some(place) = open.iter().position(|event| *event == to)
        {
            open.remove(place);
            ledger.replied(to, &answer.text());
        }
        // Three seconds are little in such weather: then the person sees it fail, and looks.
        if event["t"] == "INTERACTION" && event["d"]["state"] == "failed" {
            let failed = id(&event["d"]["interaction"]);
            open.retain(|event_id| *event_id != failed);
        }
    }
    faults.calm();
    faults.deliver_late().await;
    discord.simulator.faults().calm();
    bot.stop().await;
    let server = discord.simulator.change(|world: &mut World| world.guild("zoo").id());
    ledger.check(&over(&engine, Clock::system(), &Faults::new()), server).await;
    answered_once(&people[0]);
    // Acknowledged before, says the repeat of a call whose reply was lost.
    discord.end_despite(|record| record.response["code"] == 40060).await;
    ledger.count()
}

/// Whatever was lost, delayed and sent again, people see one answer.
fn answered_once(person: &Person<'_>) {
    let mut answers = std::collections::BTreeMap::<Id, usize>::new();
    for answer in person.heard() {
        let event = json!({ "t": "MESSAGE_CREATE", "d": answer.0 });
        if let Some((to, _)) = answered(&event) {
            *answers.entry(to).or_default() += 1;
        }
    }
    assert!(answers.values().all(|n| *n == 1), "{answers:?}");
}

#[tokio::test]
async fn no_storm_on_both_sides_loses_or_doubles_anything() {
    let (seed, storms) = (seed(1), rounds(STORMS));
    let all = stream::iter(seed..seed + storms as u64).map(storm);
    let sum = async |a: [usize; 4], b: [usize; 4]| std::array::from_fn(|n| a[n] + b[n]);
    let [done, not_done, unknown, failed] = all.buffer_unordered(AT_ONCE).fold([0; 4], sum).await;
    println!("done {done}, not done {not_done}, unknown {unknown}, failed interactions {failed}");
    assert!(done > 0 && not_done > 0, "the storms were none, or nothing survived them");
}
