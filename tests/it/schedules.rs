//! Many schedules of changes under faults, each from a seed, through the commands but without a Discord:
//! no update is lost, nothing has its effect twice, and nothing is written after a read that failed.

use std::iter::repeat_n;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use mneme::cause::Cause;
use mneme::clock::Clock;
use mneme::commands::{ALL, Found, Registry};
use mneme::context::{Answer, Caller, Context, Discord, Door, Error, Services};
use mneme::dynamo::Dynamo;
use mneme::dynamo::embedded::Embedded;
use mneme::dynamo::faults::{Fault, Faults, Rates};
use mneme::dynamo::testing::{engine, over};
use mneme::settings::Settings;
use mneme::tables;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use crate::harness::{instance, rounds, seed};
use crate::ledger::{Ask, Ledger, Stored, Told};

const SCHEDULES: usize = 950;
/// Schedules wait most of the time, for pauses and for the engine.
const AT_ONCE: usize = 16;
const INSTANCES: usize = 2;
const EVENTS: usize = 6;
/// Deliveries that are under way at the same time.
const TOGETHER: usize = 3;
/// What was not done because of the store, and not because of what is stored.
const FAILED: &str = "the store failed:";
/// More than any change makes.
const REQUESTS_MAX: usize = 20;
/// How often the SDK sends a request.
const ATTEMPTS: usize = 4;

const KEYS: [&str; 2] = ["a", "b"];
/// Other names for them; so no alias stands for an alias.
const NAMES: [&str; 2] = ["x", "y"];

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| Registry::new(ALL));

/// One instance of the bot, without its Discord, and what happens on its way to the store.
struct Instance {
    services: Arc<Services>,
    faults: Faults,
}

impl Instance {
    fn new(engine: &Embedded) -> Self {
        static NOWHERE: LazyLock<Discord> = LazyLock::new(Discord::nowhere);
        let faults = Faults::new();
        let dynamo = over(engine, Clock::system(), &faults);
        let services = Services::new(dynamo, Clock::system(), NOWHERE.clone(), instance());
        Self { services: Arc::new(services), faults }
    }

    /// What a line comes to, up to the words that would be sent.
    async fn hears(&self, cause: &Cause, line: &str) -> Result<String, Error> {
        let words = line.strip_prefix('.').expect("a line has the prefix");
        let Found::Command(command, rest) = REGISTRY.find(words) else { panic!("{line} is no command") };
        let context = Context {
            services: self.services.clone(),
            cause: cause.clone(),
            caller: moderator(cause.actor_id),
            door: Door::Prefix,
            channel_id: 1,
            prefix: ".".into(),
            settings: Arc::new(Settings::new(cause.server_id)),
            attachments: Vec::new(),
        };
        match (command.run)(context, (command.parse)(command, rest)?).await? {
            Answer::Reply(reply) => Ok(reply.text),
            other => panic!("{line} was answered by {other:?}"),
        }
    }

    /// Delivers an event; what its author is told.
    async fn told(&self, cause: &Cause, ask: &Ask) -> Told {
        match self.hears(cause, &ask.line()).await {
            Ok(reply) => Told::by(&reply),
            Err(Error::Refused(why)) => Told::by(&why),
            Err(Error::Store(error)) if error.is_uncertain() => Told::Unknown,
            Err(Error::Store(error) | Error::Read(error)) => Told::NotDone(format!("{FAILED} {error:?}")),
            Err(error) => panic!("{ask:?}: {error:?}"),
        }
    }
}

/// May undo what others did.
fn moderator(id: u64) -> Caller {
    Caller { id, name: "mo".into(), moderator: true, admin: false, ..Caller::default() }
}

fn any_change(rng: &mut StdRng, n: usize) -> Ask {
    let text = format!("value {n}");
    let (key, name) = (*KEYS.choose(rng).expect("some"), *NAMES.choose(rng).expect("some"));
    let either = if rng.random_ratio(1, 4) { name } else { key };
    match rng.random_range(0..16) {
        // What is not there cannot be changed.
        _ if n == 0 => Ask::new("set", KEYS[0], text),
        0..3 => Ask::new("set", either, text),
        3..9 => Ask::new("append", either, text),
        9..11 => Ask::new("edit", either, text),
        11..13 => Ask::new("forget", either, ""),
        13 => Ask::new("undo", either, ""),
        14 => Ask::new("restore", key, "1"),
        _ => Ask::new("alias", name, key),
    }
}

/// An event of the last seconds: later ones need not have later ids.
fn event(rng: &mut StdRng, n: usize) -> u64 {
    let ago = Duration::from_millis(rng.random_range(0..3_000));
    Clock::system().now().minus(ago).snowflake() + n as u64
}

/// Some events, each delivered once or twice, to either of two instances, several at once.
async fn schedule(seed: u64, server: u64, engine: &Embedded) -> [usize; 4] {
    let mut rng = StdRng::seed_from_u64(seed);
    let instances: Vec<Instance> = (0..INSTANCES).map(|_| Instance::new(engine)).collect();
    for instance in &instances {
        instance.faults.plan(rng.random(), Rates::STORMY.times(rng.random_range(0..=3)));
    }
    let mut ledger = Ledger::new(format!("schedule {seed}"));
    let mut deliveries = Vec::new();
    for n in 0..EVENTS {
        let (cause, ask) = (Cause::new(event(&mut rng, n), server, 1), any_change(&mut rng, n));
        ledger.asked(cause.id.0, ask.clone());
        let place = n * 2;
        deliveries.push((place, cause.clone(), ask.clone(), rng.random_range(0..INSTANCES)));
        if rng.random_ratio(1, 3) {
            let later = place + rng.random_range(0..2 * EVENTS);
            deliveries.push((later, cause, ask, rng.random_range(0..INSTANCES)));
        }
    }
    deliveries.shuffle(&mut rng);
    deliveries.sort_by_key(|(place, ..)| *place);
    let mut rest = deliveries.as_slice();
    while !rest.is_empty() {
        let (wave, after) = rest.split_at(rng.random_range(1..=TOGETHER).min(rest.len()));
        rest = after;
        let done = wave.iter().map(|(_, cause, ..)| ledger.knows_done(cause.id.0)).collect::<Vec<_>>();
        let told = wave.iter().map(|(_, cause, ask, place)| instances[*place].told(cause, ask));
        for (((_, cause, ask, _), told), done) in wave.iter().zip(join_all(told).await).zip(done) {
            let refused = matches!(&told, Told::NotDone(why) if !why.starts_with(FAILED));
            assert!(!(done && refused), "schedule {seed}: {ask:?} was done before and is refused: {told:?}");
            ledger.told(cause.id.0, told);
        }
    }
    for instance in &instances {
        instance.faults.calm();
        instance.faults.deliver_late().await;
    }
    let dynamo = over(engine, Clock::system(), &Faults::new());
    ledger.check(&dynamo, server).await;
    look_up(&instances, server, &dynamo).await;
    ledger.count()
}

/// When the weather is calm again, both instances say what is stored.
async fn look_up(instances: &[Instance], server: u64, dynamo: &Dynamo) {
    let stored = Stored::read(dynamo, server).await;
    let now = Clock::system().now();
    for (instance, key) in instances.iter().flat_map(|instance| KEYS.map(|key| (instance, key))) {
        let said = instance.hears(&Cause::new(now.snowflake(), server, 1), &format!(".rem {key}")).await;
        match stored.heads.get(key).and_then(|head| head.rem_value.clone()) {
            Some(value) => assert_eq!(said.expect("the store is there"), value),
            None => assert!(said.unwrap_err().to_string().starts_with("🤔 I couldn't remember")),
        }
    }
}

/// The schedule of a seed, in a server of its own, so that one engine serves all.
async fn told(seed: u64, engine: &Embedded) -> [usize; 4] {
    schedule(seed, 100_000_000_000_000_000 + seed, engine).await
}

#[tokio::test]
async fn no_schedule_loses_doubles_or_invents_a_change() {
    let (seed, schedules) = (seed(1), rounds(SCHEDULES));
    let engine = engine(&tables::all()).await;
    let all = stream::iter(seed..seed + schedules as u64).map(|seed| told(seed, &engine));
    let sum = async |a: [usize; 4], b: [usize; 4]| std::array::from_fn(|n| a[n] + b[n]);
    let [done, not_done, unknown, _] = all.buffer_unordered(AT_ONCE).fold([0; 4], sum).await;
    println!("done {done}, not done {not_done}, unknown {unknown}");
    assert!(done > 0 && not_done > 0, "the schedules were none, or nothing survived them");
}

/// How many reads failed, and how many writes were tried.
fn failed_and_tried(dynamo: &Dynamo) -> (u64, u64) {
    let usage = dynamo.usage();
    let (writes, reads): (Vec<_>, Vec<_>) =
        usage.iter().partition(|((_, operation), _)| *operation == "transact");
    let failed = reads.iter().map(|(_, usage)| usage.errors).sum();
    (failed, writes.iter().map(|(_, usage)| usage.requests).sum())
}

/// Everything that changes something, on a server that knows `a` (twice changed) and `x`, its other name.
fn changes() -> Vec<Ask> {
    let mut changes = vec![Ask::new("set", "b", "new"), Ask::new("restore", "a", "1")];
    for key in ["a", "x"] {
        for op in ["set", "append", "edit", "forget", "undo"] {
            changes.push(Ask::new(op, key, "other"));
        }
    }
    changes.push(Ask::new("alias", "y", "a"));
    changes
}

#[tokio::test]
async fn after_a_read_that_failed_nothing_is_written() {
    let engine = engine(&tables::all()).await;
    let faults = [Fault::Cut, Fault::LoseRequest, Fault::LoseReply, Fault::Throttle, Fault::Fail];
    let pairs = changes().into_iter().flat_map(|ask| faults.map(|fault| (ask.clone(), fault)));
    let servers = (1..).zip(pairs);
    let all = stream::iter(servers).map(|(server, (ask, fault))| each_in_turn(server, ask, fault, &engine));
    let met: usize = all.buffer_unordered(AT_ONCE).fold(0, async |sum, met| sum + met).await;
    println!("{met} requests failed in turn");
}

/// The change meets the fault at its first request, then at its second, until nothing is in its way. How
/// many there were is the answer.
async fn each_in_turn(server: u64, ask: Ask, fault: Fault, engine: &Embedded) -> usize {
    let mut ledger = Ledger::new(format!("{ask:?} met {fault:?}"));
    let first = Clock::system().now().minus(Duration::from_secs(60)).snowflake();
    let teacher = Instance::new(engine);
    let known = [Ask::new("set", "a", "one"), Ask::new("append", "a", "two"), Ask::new("alias", "x", "a")];
    for (event, ask) in (first..).zip(known) {
        ledger.asked(event, ask.clone());
        ledger.told(event, teacher.told(&Cause::new(event, server, 1), &ask).await);
    }
    for place in 0..REQUESTS_MAX {
        let event = first + 10 + place as u64;
        ledger.asked(event, ask.clone());
        let (told, met) = meets(&ask, &Cause::new(event, server, 1), fault, place, engine).await;
        ledger.told(event, told.clone());
        if !met || !matches!(told, Told::NotDone(_)) {
            ledger.check(&teacher.services.dynamo, server).await;
            return place;
        }
    }
    panic!("{ask:?} makes more requests than anything should")
}

/// An instance without memories meets the fault at its n-th request, if it makes that many.
async fn meets(ask: &Ask, cause: &Cause, fault: Fault, place: usize, engine: &Embedded) -> (Told, bool) {
    let instance = Instance::new(engine);
    instance.faults.script(repeat_n(Fault::Pass, place).chain(repeat_n(fault, ATTEMPTS)));
    let told = instance.told(cause, ask).await;
    let (failed_reads, writes) = failed_and_tried(&instance.services.dynamo);
    if failed_reads > 0 {
        assert_eq!(writes, 0, "{ask:?} wrote after request {place} met {fault:?}");
        let not_done = matches!(told, Told::NotDone(_));
        assert!(not_done, "{ask:?} after request {place} met {fault:?}: {told:?}");
    }
    (told, instance.faults.met(fault) > 0)
}
