//! Storms over `update`, `add_once`, `put_if` and `take`.

use std::cell::{Cell as Shared, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::Rng;
use tokio::time::sleep;

use super::{Verdict, Weather, World, all, finds, must};
use crate::shared::items::Rule;
use crate::shared::{Added, Change, Expect, Put, SharedError, Who};

const ACTORS: usize = 2;
const STEPS: usize = 3;

/// Runs a few actors in each process, which do a few steps each.
async fn act<'a>(
    world: &'a World,
    step: impl Fn(usize, usize, usize) -> LocalBoxFuture<'a, ()> + Copy + 'a,
) -> Verdict {
    let mut actors: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for process in 0..world.processes.len() {
        for actor in 0..ACTORS {
            let actor = async move {
                for number in 0..STEPS {
                    sleep(world.up_to(Weather::USUAL.pause)).await;
                    step(process, actor, number).await;
                }
            };
            actors.push(world.within(process, actor).map(|_| ()).boxed_local());
        }
    }
    world.run(Weather::USUAL, actors).await
}

/// Counts answers: those that say yes, and those that nobody knows, which include what a crash cut off.
#[derive(Default)]
struct Told {
    sent: Shared<u64>,
    yes: Shared<u64>,
    no: Shared<u64>,
}

impl Told {
    fn unknown(&self) -> u64 {
        self.sent.get() - self.yes.get() - self.no.get()
    }
}

fn more(counter: &Shared<u64>) {
    counter.set(counter.get() + 1);
}

fn updates(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let (told, results) = (Told::default(), RefCell::new(BTreeSet::new()));
        let (told, results, world) = (&told, &results, &*world);
        let step = |process: usize, actor: usize, _| {
            async move {
                let shared = &world.processes[process].shared;
                more(&told.sent);
                let add = |old: Option<u64>| {
                    let new = old.unwrap_or(0) + 1;
                    Change::Write(new, new)
                };
                let answer = shared.update("n", add).await;
                world.note(process, format!("{actor} update: {answer:?}"));
                match answer {
                    Ok(n) => {
                        more(&told.yes);
                        results.borrow_mut().insert(n);
                    }
                    Err(SharedError::Unknown) => {}
                    Err(_) => more(&told.no),
                }
            }
            .boxed_local()
        };
        act(world, step).await?;
        let stored = world.calm().get_versioned::<u64>("n").await.unwrap().map_or(0, |(n, _)| n);
        let (yes, unknown) = (told.yes.get(), told.unknown());
        must!(yes <= stored, "{yes} acknowledged, {stored} stored");
        must!(stored <= yes + unknown, "{stored} stored, {yes} acknowledged and {unknown} unknown");
        must!(results.borrow().len() as u64 == yes, "two were told the same number");
        Ok(())
    }
    .boxed_local()
}

#[test]
fn updates_count_exactly() {
    all("updates_count_exactly", Weather::USUAL, updates);
}

#[test]
fn without_their_rules_updates_are_lost_or_doubled() {
    finds(Rule::UpdateSeesLatest, Weather::USUAL, updates);
    finds(Rule::UpdateKnowsItself, Weather::USUAL, updates);
}

fn sums(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let acknowledged = RefCell::new(BTreeSet::new());
        let (acknowledged, world) = (&acknowledged, &*world);
        let step = |process: usize, _, _| {
            async move {
                let who = Who::bot(world.chance(|chance| chance.random_range(0..5)));
                let answer = world.processes[process].shared.add_once("sum", 7, &who).await;
                world.note(process, format!("{who}: {answer:?}"));
                if let Ok(Added::Counted(_) | Added::Already(_)) = answer {
                    acknowledged.borrow_mut().insert(who.to_string());
                }
            }
            .boxed_local()
        };
        act(world, step).await?;
        let calm = world.calm();
        let place = calm.cell("sum").unwrap();
        let cell: crate::shared::items::Cell = calm.hub.look(&place).await.unwrap().unwrap_or_default();
        let sum = cell.value.and_then(|value| value.as_i64()).unwrap_or(0);
        let names = cell.once.len() as i64;
        must!(sum == names * 7, "{names} names, and {sum}");
        must!(acknowledged.borrow().is_subset(&cell.once), "acknowledged, and not counted");
        Ok(())
    }
    .boxed_local()
}

#[test]
fn a_name_counts_once() {
    all("a_name_counts_once", Weather::USUAL, sums);
}

#[test]
fn without_its_rule_a_name_counts_twice() {
    finds(Rule::CountedOnce, Weather::USUAL, sums);
}

fn parcels(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let (puts, takes) = (Told::default(), Told::default());
        let (put, taken) = (RefCell::new(BTreeSet::new()), RefCell::new(Vec::new()));
        let (puts, takes, put, taken, world) = (&puts, &takes, &put, &taken, &*world);
        let step = |process: usize, actor: usize, number: usize| {
            async move {
                let shared = &world.processes[process].shared;
                let parcel = format!("{process}-{actor}-{number}");
                if actor == 0 {
                    more(&puts.sent);
                    let answer = shared.put_if("box", &parcel, Expect::Absent).await;
                    world.note(process, format!("puts {parcel}: {answer:?}"));
                    match answer {
                        Ok(Put::Done(_)) => {
                            more(&puts.yes);
                            put.borrow_mut().insert(parcel);
                        }
                        Err(SharedError::Unknown) => {}
                        _ => more(&puts.no),
                    }
                    return;
                }
                more(&takes.sent);
                let answer = shared.take::<String>("box").await;
                world.note(process, format!("takes: {answer:?}"));
                match answer {
                    Ok(Some(parcel)) => {
                        more(&takes.yes);
                        taken.borrow_mut().push(parcel);
                    }
                    Err(SharedError::Unknown) => {}
                    _ => more(&takes.no),
                }
            }
            .boxed_local()
        };
        act(world, step).await?;
        let left: Option<String> = world.calm().take("box").await.unwrap();
        let mut found: Vec<String> = taken.borrow().clone();
        found.extend(left);
        let different: BTreeSet<String> = found.iter().cloned().collect();
        must!(different.len() == found.len(), "taken twice: {found:?}");
        let lost = put.borrow().difference(&different).count() as u64;
        let unknown = takes.unknown();
        must!(lost <= unknown, "{lost} are lost, and {unknown} takes unknown");
        let invented = different.difference(&put.borrow()).count() as u64;
        must!(invented <= puts.unknown(), "{invented} came from nowhere");
        Ok(())
    }
    .boxed_local()
}

#[test]
fn nothing_is_taken_twice_or_lost() {
    all("nothing_is_taken_twice_or_lost", Weather::USUAL, parcels);
}

#[test]
fn without_their_rules_parcels_are_lost_or_doubled() {
    finds(Rule::TakeSeesLatest, Weather::USUAL, parcels);
    finds(Rule::TakeKnowsItself, Weather::USUAL, parcels);
    finds(Rule::PutAsExpected, Weather::USUAL, parcels);
}
