//! Storms: many schedules of several instances, repeated deliveries and faults, each from a seed. Whatever
//! happens, nothing acknowledged is missing, nothing has effect twice, and heads say what their last rows
//! say. `STORM_SEEDS=1000..9000` runs others than the usual ones.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::future::join_all;
use futures::stream::{self, StreamExt};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tests::{Memo, Refusal, TABLES, append, cause, event, key, thing};
use super::{Change, revisions};
use crate::cause::Cause;
use crate::clock::Clock;
use crate::dynamo::Dynamo;
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::{Fault, Faults, Rates};
use crate::dynamo::testing::{engine, over};

const INSTANCES: usize = 2;
const EVENTS: i64 = 5;
/// Storms wait most of the time, for pauses and for the engine.
const AT_ONCE: usize = 8;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("STORM_SEEDS") else { return 0..200 };
    let (from, to) = text.split_once("..").expect("STORM_SEEDS is like 0..300");
    from.parse().unwrap()..to.parse().unwrap()
}

/// What one delivery of an event came to.
#[derive(Debug)]
enum Told {
    Done,
    NotDone,
    Unknown,
}

async fn deliver(dynamo: &Dynamo, cause: &Cause, text: &str) -> Told {
    match append(dynamo, cause, text).await {
        Ok(Change::Done(_) | Change::Already(_)) => Told::Done,
        Err(Refusal::Store(error)) if error.is_uncertain() => Told::Unknown,
        Ok(Change::Contended) | Err(_) => Told::NotDone,
    }
}

/// Five events, each delivered once or twice, to either of two instances, all at once.
async fn storm(seed: u64, engine: &Embedded) -> (BTreeMap<i64, Vec<Told>>, Vec<Faults>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let faults: Vec<_> = (0..INSTANCES).map(|_| Faults::new()).collect();
    let instances: Vec<_> = faults.iter().map(|faults| over(engine, Clock::system(), faults)).collect();
    for faults in &faults {
        faults.plan(rng.random(), Rates::STORMY.times(rng.random_range(1..=3)));
    }
    let deliveries: Vec<(i64, usize)> = (1..=EVENTS)
        .flat_map(|event| {
            let times = rng.random_range(1..=2);
            (0..times).map(|_| (event, rng.random_range(0..INSTANCES))).collect::<Vec<_>>()
        })
        .collect();
    let told = join_all(deliveries.iter().map(async |(event, instance)| {
        (*event, deliver(&instances[*instance], &cause(*event), &event.to_string()).await)
    }));
    let mut by_event: BTreeMap<i64, Vec<Told>> = BTreeMap::new();
    for (event, told) in told.await {
        by_event.entry(event).or_default().push(told);
    }
    (by_event, faults)
}

async fn check(seed: u64, dynamo: &Dynamo, told: &BTreeMap<i64, Vec<Told>>) {
    let head: Option<Memo> = dynamo.get(key()).await.unwrap();
    let mut rows = revisions(dynamo, &thing(), 100, None).await.unwrap().records;
    rows.sort_unstable_by_key(|row| row.rev);
    let numbers: Vec<_> = rows.iter().map(|row| row.rev).collect();
    assert_eq!(numbers, (1..=rows.len() as u64).collect::<Vec<_>>(), "seed {seed}: one row a revision");
    let last = rows.last().map(|row| (row.rev, row.value.clone(), row.event_id));
    let now = head.as_ref().map(|head| (head.rev.unwrap(), head.text.clone(), head.event_id));
    assert_eq!(now, last, "seed {seed}: the head says what its last row says");
    let text = head.and_then(|head| head.text).unwrap_or_default();
    for (number, told) in told {
        let effects = text.matches(&number.to_string()).count();
        let has_row = rows.iter().any(|row| row.event_id == Some(event(*number)));
        assert_eq!(effects, usize::from(has_row), "seed {seed}: event {number} in {text:?}");
        if told.iter().any(|told| matches!(told, Told::Done)) {
            assert!(has_row, "seed {seed}: event {number} was acknowledged: {told:?}");
        }
        if told.iter().all(|told| matches!(told, Told::NotDone)) {
            assert!(!has_row, "seed {seed}: event {number} was said not to be done: {told:?}");
        }
    }
}

/// Lets one storm pass and counts what was told: done, not done, unknown.
async fn weather(seed: u64) -> [usize; 3] {
    let engine = engine(TABLES).await;
    let (told, faults) = storm(seed, &engine).await;
    for faults in &faults {
        faults.calm();
        faults.deliver_late().await;
    }
    check(seed, &over(&engine, Clock::system(), &Faults::new()), &told).await;
    let count = |kind: fn(&&Told) -> bool| told.values().flatten().filter(kind).count();
    [
        count(|told| matches!(told, Told::Done)),
        count(|told| matches!(told, Told::NotDone)),
        count(|told| matches!(told, Told::Unknown)),
    ]
}

#[tokio::test]
async fn no_storm_loses_doubles_or_invents_a_change() {
    println!("seeds {:?}", seeds());
    let storms = stream::iter(seeds()).map(weather).buffer_unordered(AT_ONCE);
    let sum = |a: [usize; 3], b: [usize; 3]| [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
    let told = storms.fold([0; 3], async |all, one| sum(all, one)).await;
    println!("done, not done, unknown: {told:?}");
    assert!(told[0] > 0 && told[1] > 0, "the storms were none, or nothing survived them: {told:?}");
}

#[tokio::test]
async fn nothing_is_written_after_a_read_that_failed() {
    let engine = engine(TABLES).await;
    let faults = Faults::new();
    let dynamo = over(&engine, Clock::system(), &faults);
    faults.set_away(true);
    assert!(matches!(append(&dynamo, &cause(1), "a").await, Err(Refusal::Store(_))));
    let written = dynamo.usage().into_iter().any(|((_, operation), _)| operation != "get");
    assert!(!written, "unknown is not absent");
    // Neither after one that was answered in the end.
    faults.calm();
    faults.script([Fault::LoseReply, Fault::Throttle, Fault::Cut]);
    assert!(matches!(append(&dynamo, &cause(1), "a").await, Ok(Change::Done(_))));
}

#[tokio::test]
async fn a_restart_forgets_tokens_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mneme.db");
    let start = async || {
        let engine = Embedded::open(&path).unwrap();
        let dynamo = over(&engine, Clock::system(), &Faults::new());
        dynamo.create_tables(TABLES).await.unwrap();
        dynamo
    };
    let _ = append(&start().await, &cause(1), "a").await.unwrap();
    let dynamo = start().await;
    assert!(matches!(append(&dynamo, &cause(1), "a").await, Ok(Change::Already(row)) if row.rev == 1));
    let _ = append(&dynamo, &cause(2), "b").await.unwrap();
    let dynamo = start().await;
    assert!(matches!(append(&dynamo, &cause(1), "a").await, Ok(Change::Already(row)) if row.rev == 1));
}
