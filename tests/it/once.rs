//! One event, one effect, one reply: however often it is delivered, in whichever order, to whom, and whatever
//! happens to the answers.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use mneme::bot::Exit;
use mneme::dynamo::connect::Connected;
use mneme::sim::{Id, Record, RecordKind, Weather, World};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::time::timeout;

use crate::harness::{
    Answer, Bot, Discord, PATIENCE, Person, answered, instance, memory, rounds, seed, together, world,
};
use crate::ledger::{Ask, Ledger, Stored, Told};

const MESSAGES: &str = "POST /channels/{c}/messages";

/// Two instances of one bot, which share a store and hear the same events.
struct Pair {
    discord: Discord,
    store: Connected,
    bots: [Bot; 2],
}

impl Pair {
    async fn start(world: World) -> Self {
        let (discord, store) = (Discord::with(world).await, memory().await);
        let bots = [
            discord.bot_with(discord.impatient(), store.clone(), instance()).await,
            discord.bot_with(discord.impatient(), store.clone(), instance()).await,
        ];
        Self { discord, store, bots }
    }

    fn zoo(&self) -> Id {
        self.discord.simulator.change(|world| world.guild("zoo").id())
    }

    async fn end(self, expected: impl Fn(&Record) -> bool) {
        for bot in self.bots {
            assert_eq!(bot.stop().await, Exit::Asked);
        }
        self.discord.end_despite(expected).await;
    }
}

/// Of two instances that answer an interaction, one is told that it comes second. One that was not awake in
/// time is told that it is too late.
fn second_answer(record: &Record) -> bool {
    record.response["code"] == 40060
}

/// Every event comes twice from each of two gateways, in other orders, and again after a RESUME.
#[tokio::test]
async fn an_event_that_comes_many_times_happens_once() {
    let pair = Pair::start(world()).await;
    let faults = pair.discord.simulator.faults();
    faults.duplicate(1.0);
    faults.reorder(0.5);
    let [ann, bob] = ["ann", "bob"].map(|name| pair.discord.person("zoo", "cats", name));
    let tea = ann.asks(".remember tea is hot").await;
    let ice = bob.slash("rem set", &[("key", json!("ice")), ("value", json!("cold"))]).await;
    let undone = ann.presses(&tea, "Undo").await;
    assert_eq!(undone.text(), "↩️ Undone: `tea` is forgotten again");
    let undone = bob.presses(&ice, "Undo").await;
    assert_eq!(undone.text(), "↩️ Undone: `ice` is forgotten again");
    faults.replay(50);
    assert_eq!(faults.reconnect(), 2);
    assert!(ann.says(".mem append ice is and hard").await.starts_with("⚠"), "it is forgotten");
    assert!(bob.says(".remember ice is cold again").await.starts_with("✅ Ok"));
    assert_eq!(ann.says(".rem ice").await, "cold again");

    let stored = Stored::read(&pair.store.dynamo, pair.zoo()).await;
    let ops = |key: &str| stored.rows[key].iter().map(|row| row.op.as_str()).collect::<Vec<_>>();
    assert_eq!(ops("tea"), ["set", "undo"]);
    assert_eq!(ops("ice"), ["set", "undo", "set"]);
    let heard: Vec<String> = ann.heard().iter().map(Answer::text).collect();
    assert_eq!(heard.len(), 5, "{heard:?}");
    pair.end(second_answer).await;
}

/// What a person asks for is done in the order in which they asked, although events overtake each other.
#[tokio::test]
async fn one_persons_commands_keep_their_order() {
    let pair = Pair::start(world()).await;
    let faults = pair.discord.simulator.faults();
    faults.duplicate(0.5);
    let ann = pair.discord.person("zoo", "cats", "ann");
    assert!(ann.says(".remember list is 0").await.starts_with("✅ Ok"));
    let mut seen = ann.watch();
    let said: Vec<Id> = (1..=20).map(|n| ann.say(&format!(".mem append list is {n}"))).collect();
    for said in said.into_iter().rev().take(1) {
        ann.answer_to(&mut seen, said).await;
    }
    let lines: Vec<String> = (0..=20).map(|n: u32| n.to_string()).collect();
    assert_eq!(ann.says(".rem list").await, lines.join("\n"));
    pair.end(|_| false).await;
}

/// An interaction that reaches the bot too late has failed for whoever used it: it does not run.
#[tokio::test]
async fn what_has_failed_for_its_user_is_not_done_after_all() {
    let pair = Pair::start(world()).await;
    let (ann, faults) = (pair.discord.person("zoo", "cats", "ann"), pair.discord.simulator.faults());
    assert!(ann.says(".remember tea is hot").await.starts_with("✅ Ok"));
    let mut seen = ann.watch();
    // Nobody reconnects before the interaction has failed.
    faults.refuse_upgrade(4, 503);
    faults.hang_up();
    let late = ann.call("rem set", &[("key", json!("tea")), ("value", json!("cold"))]).to_string();
    let failed = crate::harness::wait(&mut seen, |t, d| {
        t == "INTERACTION" && d["interaction"] == late && d["state"] == "failed"
    });
    failed.await;
    pair.discord.until(&mut seen, |world| world.sessions_online() == 2).await;
    assert_eq!(ann.says(".rem tea").await, "hot");
    pair.end(|record| record.kind == RecordKind::LateAck || record.response["code"] == 10062).await;
}

const PEOPLE: [&str; 6] = ["ann", "bob", "mo", "olga", "pia", "quin"];
const KEYS: [&str; 3] = ["tea", "ice", "cake"];
/// Commands in one run, by all people together.
const COMMANDS: usize = 300;
/// Commands of one person that may be unanswered at a time.
const IN_FLIGHT: usize = 3;

/// Everything at once, on two instances: each command is answered once, and what is answered is true.
#[tokio::test]
async fn in_bad_weather_each_command_is_answered_once() {
    let seed = seed(3);
    for round in 0..rounds(1) {
        storm(seed + round as u64).await;
    }
}

async fn storm(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(seed);
    world.settings.rate_limits = false;
    crate::harness::people_server(&mut world, "zoo");
    for name in PEOPLE {
        world.guild("zoo").person(name);
    }
    let pair = Pair::start(world).await;
    let people = PEOPLE.map(|name| pair.discord.person("zoo", "cats", name));
    let mut events = together(people.iter().map(Person::watch));
    pair.discord.simulator.faults().weather(Weather {
        fail: 0.05,
        lose_reply: 0.1,
        rate_limit: 0.02,
        duplicate: 0.3,
        reorder: 0.3,
        cut: 0.02,
    });

    let mut ledger = Ledger::new(format!("storm {seed}"));
    // Whose commands are unanswered, and what was answered to each, by message.
    let mut open: BTreeMap<Id, usize> = BTreeMap::new();
    let mut replies: BTreeMap<Id, BTreeMap<Id, String>> = BTreeMap::new();
    let mut asked = 0;
    while asked < COMMANDS || !open.is_empty() {
        let free: Vec<usize> = (0..PEOPLE.len())
            .filter(|person| open.values().filter(|other| *other == person).count() < IN_FLIGHT)
            .collect();
        if asked < COMMANDS
            && let Some(person) = free.choose(&mut rng)
        {
            let ask = any_change(&mut rng, PEOPLE[*person], asked);
            let event = ask_for(&people[*person], &ask, rng.random_ratio(1, 3));
            println!("{event} {} asks for {ask:?}", PEOPLE[*person]);
            ledger.asked(event, ask);
            open.insert(event, *person);
            asked += 1;
            continue;
        }
        let event = timeout(PATIENCE, events.next()).await.expect("the bot answers");
        let Some((to, answer)) = answered(&event.expect("the simulator runs")) else { continue };
        open.remove(&to);
        replies.entry(to).or_default().insert(answer.id(), answer.text());
    }
    pair.discord.simulator.faults().calm();
    for (event, messages) in &replies {
        assert_eq!(messages.len(), 1, "event {event} was answered more than once: {messages:?}");
        // Shown when the test fails.
        println!("{event} {messages:?}");
        messages.values().for_each(|reply| ledger.told(*event, Told::by(reply)));
    }
    // What a faster instance has answered may still be on its way through the slower one.
    assert_eq!(people[0].says(".ping").await, "🟢 Pong!");
    let messages: BTreeSet<Id> = replies.values().flat_map(BTreeMap::keys).copied().collect();
    let shown = shown(&people[0], COMMANDS);
    assert_eq!(shown.difference(&messages).count(), 1, "only the last one is new");
    ledger.check(&pair.store.dynamo, pair.zoo()).await;
    let [done, not_done, unknown, unanswered] = ledger.count();
    println!("done {done}, not done {not_done}, unknown {unknown}, unanswered {unanswered}");
    assert!(done > COMMANDS / 4 && unanswered == 0);
    assert!(pair.discord.simulator.calls(MESSAGES) > COMMANDS as u64, "the weather was too good");
    pair.end(second_answer).await;
}

/// The bot's last messages in the channel: as many as there can be, and some more.
fn shown(person: &Person<'_>, at_most: usize) -> BTreeSet<Id> {
    let page = person.discord.simulator.messages(person.id, person.channel, None, 4 * at_most);
    let bots = page.into_iter().filter(|message| message["author"]["bot"] == true);
    bots.map(|message| Answer(message).id()).collect()
}

/// Everybody keeps to their own memories. With others', two instances may rightly disagree: one sees an event
/// before, the other after somebody else's, and a refusal leaves no trace by which the second would know.
fn any_change(rng: &mut StdRng, name: &str, number: usize) -> Ask {
    let key = format!("{name} {}", KEYS.choose(rng).expect("there are some"));
    let text = format!("value {number}");
    match rng.random_range(0..10) {
        0..=2 => Ask::new("set", format!("{key} {number}"), text),
        3 | 4 => Ask::new("set", key, text),
        5 | 6 => Ask::new("append", key, text),
        7 => Ask::new("edit", key, text),
        8 => Ask::new("forget", key, ""),
        _ => Ask::new("undo", key, ""),
    }
}

fn ask_for(person: &Person<'_>, ask: &Ask, by_slash: bool) -> Id {
    let (key, text) = (("key", json!(ask.key)), json!(ask.text));
    match ask.op {
        "set" if by_slash => person.call("rem set", &[key, ("value", text)]),
        "append" if by_slash => person.call("mem append", &[key, ("text", text)]),
        "edit" if by_slash => person.call("mem edit", &[key, ("value", text)]),
        "forget" if by_slash => person.call("forget", &[key]),
        "undo" if by_slash => person.call("undo", &[key]),
        _ => person.say(&ask.line()),
    }
}
