//! Storms: many schedules of several instances, repeated deliveries and faults, each from a seed. Whatever
//! happens, nothing acknowledged is missing, nothing has effect twice, and heads say what their last rows
//! say. `STORM_SEEDS=1000..9000` runs others than the usual ones.

use std::collections::BTreeMap;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tests::{Memo, Refusal, TABLES, append, cause, event, key, thing};
use super::{Change, revisions};
use crate::cause::Cause;
use crate::clock::Clock;
use crate::dynamo::Dynamo;
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::{Fault, Faults};
use crate::dynamo::storm::{Sea, each_seed, settled};
use crate::dynamo::testing::{engine, over};

const INSTANCES: usize = 2;
const EVENTS: i64 = 5;

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
async fn storm(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let sea = Sea::stormy(TABLES, INSTANCES, &mut rng).await;
    let mut deliveries = Vec::new();
    for event in 1..=EVENTS {
        for _ in 0..rng.random_range(1..=2) {
            deliveries.push((event, rng.random_range(0..INSTANCES)));
        }
    }
    let told = join_all(deliveries.iter().map(async |(event, instance)| {
        (*event, deliver(&sea.instances[*instance], &cause(*event), &event.to_string()).await)
    }));
    let mut by_event: BTreeMap<i64, Vec<Told>> = BTreeMap::new();
    for (event, told) in told.await {
        by_event.entry(event).or_default().push(told);
    }
    check(seed, &sea.calm().await, &by_event).await;
}

async fn check(seed: u64, dynamo: &Dynamo, told: &BTreeMap<i64, Vec<Told>>) {
    let head = async || dynamo.get::<Memo>(key()).await.unwrap();
    let rows = async || revisions(dynamo, &thing(), 100, None).await.unwrap().records;
    let (head, mut rows) = settled(head, rows).await;
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

#[tokio::test]
async fn no_storm_loses_doubles_or_invents_a_change() {
    each_seed(0..200, storm).await;
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
async fn what_is_unknown_stays_unknown_when_the_store_goes_away() {
    let engine = engine(TABLES).await;
    let faults = Faults::new();
    let dynamo = over(&engine, Clock::system(), &faults);
    faults.script([Fault::Pass, Fault::LoseReply]);
    faults.script([Fault::Cut; 1_000]);
    let told = append(&dynamo, &cause(1), "a").await;
    assert!(matches!(told, Err(Refusal::Store(error)) if error.is_uncertain()));
    faults.calm();
    assert!(matches!(append(&dynamo, &cause(1), "a").await, Ok(Change::Already(_))));
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
