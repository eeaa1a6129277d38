//! Storms over `permit`, `checkout`, ids and slots.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::{Verdict, Weather, World, all, finds, must};
use crate::shared::items::{Holders, Rule};
use crate::shared::{LeaseOptions, Who};

const ACTORS: u32 = 2;
const TURNS: usize = 2;
const OPTIONS: LeaseOptions = LeaseOptions {
    ttl: Duration::from_secs(2),
    wait: Duration::from_secs(20),
    max_hold: None,
    trust_clocks: true,
};

/// What was held, from when, until when somebody believed in it.
type Log = RefCell<Vec<(u32, Instant, Instant)>>;

fn enter(log: &Log, what: u32, until: Instant) -> usize {
    log.borrow_mut().push((what, Instant::now(), until));
    log.borrow().len() - 1
}

fn leave(log: &Log, place: usize, is_valid: bool, until: Instant) {
    let (from, now) = (log.borrow()[place].1, Instant::now());
    log.borrow_mut()[place].2 = if is_valid { now } else { until.min(now).max(from) };
}

/// The most that were held at the same time.
fn most(log: &[(u32, Instant, Instant)]) -> usize {
    let at = |time: Instant| log.iter().filter(|(_, from, to)| *from <= time && time < *to).count();
    log.iter().map(|(_, from, _)| at(*from)).max().unwrap_or(0)
}

fn permits(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        const MAX: usize = 2;
        let log = Log::default();
        let (world, log) = (&*world, &log);
        let actors = actors(world, async move |process: usize, who: Who| {
            let answer = world.processes[process].shared.permit("door", MAX, &who, OPTIONS).await;
            let Ok(permit) = answer else { return };
            world.note(process, format!("{who} is in"));
            let place = enter(log, 0, permit.valid_until());
            sleep(world.up_to(Duration::from_secs(3))).await;
            leave(log, place, permit.is_valid(), permit.valid_until());
            let left = permit.release().await;
            world.note(process, format!("{who} leaves: {left}"));
        });
        world.run(Weather::USUAL, actors).await?;
        let at_once = most(&log.borrow());
        must!(at_once <= MAX, "{at_once} at the same time");
        Ok(())
    }
    .boxed_local()
}

fn actors<'a, F>(world: &'a World, turn: F) -> Vec<LocalBoxFuture<'a, ()>>
where
    F: AsyncFn(usize, Who) + Clone + 'a,
{
    let mut actors: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for process in 0..world.processes.len() {
        for actor in 0..ACTORS {
            let (turn, who) = (turn.clone(), Who::slot(process as u32 * ACTORS + actor));
            let actor = async move {
                for _ in 0..TURNS {
                    sleep(world.up_to(Duration::from_secs(4))).await;
                    turn(process, who.clone()).await;
                }
            };
            actors.push(world.within(process, actor).map(|_| ()).boxed_local());
        }
    }
    actors
}

fn pools(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let elements: Vec<u32> = (0..2).collect();
        world.calm().pool_load("accounts", &elements).await.unwrap();
        let log = Log::default();
        let (world, log) = (&*world, &log);
        let actors = actors(world, async move |process: usize, who: Who| {
            let answer = world.processes[process].shared.checkout::<u32>("accounts", &who, OPTIONS).await;
            let Ok(element) = answer else { return };
            let what = *element.value();
            world.note(process, format!("{who} has {what}"));
            let place = enter(log, what, element.valid_until());
            sleep(world.up_to(Duration::from_secs(3))).await;
            leave(log, place, element.is_valid(), element.valid_until());
            if world.chance(|chance| chance.random_range(0..4)) > 0 {
                let back = element.give_back().await;
                world.note(process, format!("{who} gives {what} back: {back}"));
            } else {
                world.note(process, format!("{who} drops {what}"));
            }
        });
        world.run(Weather::USUAL, actors).await?;
        for element in elements {
            let of_it: Vec<_> = log.borrow().iter().filter(|(what, ..)| *what == element).copied().collect();
            must!(most(&of_it) <= 1, "{element} was held by {} at once", most(&of_it));
        }
        let calm = world.calm();
        let pool: Holders = calm.hub.look(&calm.place("pool/", "accounts").unwrap()).await.unwrap().unwrap();
        let (free, held) = (pool.free.clone(), pool.holders.unwrap_or_default());
        let mut there: Vec<u64> = free.into_iter().chain(held.values().map(|index| *index as u64)).collect();
        there.sort_unstable();
        must!(there == [0, 1], "the pool has {there:?}");
        must!(held.keys().eq(pool.until.unwrap_or_default().keys()), "holders without an end");
        Ok(())
    }
    .boxed_local()
}

#[test]
fn never_more_than_allowed() {
    all("never_more_than_allowed", Weather::USUAL, permits);
}

#[test]
fn no_element_of_a_pool_is_shared_or_lost() {
    all("no_element_of_a_pool_is_shared_or_lost", Weather::USUAL, pools);
}

#[test]
fn without_their_rules_holders_are_too_many() {
    for rule in [Rule::HolderFits, Rule::HolderAsSeen, Rule::DeadAsSeen, Rule::LostInTime] {
        finds(rule, Weather::USUAL, permits);
    }
    for rule in [Rule::HolderFits, Rule::HolderAsSeen] {
        finds(rule, Weather::USUAL, pools);
    }
    // A request to take must arrive after what it took first was given back, and before a late one to give back.
    finds(Rule::GiverHasIt, Weather::LATE, pools);
}

fn identities(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let (log, ids) = (Log::default(), RefCell::new(Vec::new()));
        let (world, log, ids) = (&*world, &log, &ids);
        let actors = actors(world, async move |process: usize, _| {
            let shared = &world.processes[process].shared;
            let id = shared.next_bot_id().await;
            ids.borrow_mut().extend(id);
            let Ok(slot) = shared.slot(4).await else { return };
            world.note(process, format!("is {}", slot.number));
            let place = enter(log, slot.number, slot.valid_until());
            sleep(world.up_to(Duration::from_secs(3))).await;
            leave(log, place, slot.is_valid(), slot.valid_until());
            slot.release().await;
        });
        world.run(Weather::USUAL, actors).await?;
        let different: BTreeSet<u64> = ids.borrow().iter().copied().collect();
        must!(different.len() == ids.borrow().len(), "an id was given twice: {ids:?}");
        for number in 0..4 {
            let of_it: Vec<_> = log.borrow().iter().filter(|(what, ..)| *what == number).copied().collect();
            must!(most(&of_it) <= 1, "slot {number} had {} holders at once", most(&of_it));
        }
        Ok(())
    }
    .boxed_local()
}

#[test]
fn no_two_are_the_same() {
    all("no_two_are_the_same", Weather::USUAL, identities);
}
