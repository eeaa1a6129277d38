//! Storms over `lock`: exclusion, tokens, fenced writes and guarded transactions.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::{Verdict, Weather, World, all, finds, must};
use crate::dynamo::{Commit, Token, Transaction, Update};
use crate::shared::items::{Cell, Lock, RECENT, Rule};
use crate::shared::{Fenced, Lease, LeaseOptions, Version};

const ACTORS: usize = 2;
const TURNS: usize = 2;

/// Clocks that nobody should trust.
const SKEWED: Weather = Weather { skew: Duration::from_secs(20), ..Weather::LATE };

#[derive(Default)]
struct Log {
    /// Token, from when, until when somebody believed in it.
    held: RefCell<Vec<(u64, Instant, Instant)>>,
    /// Version and token of each fenced write that was acknowledged.
    written: RefCell<Vec<(u64, u64)>>,
    refused: RefCell<Vec<u64>>,
    plain: RefCell<Vec<u64>>,
    /// Fences and ends, as a bystander sees them.
    seen: RefCell<Vec<(u64, i64)>>,
}

async fn hold(world: &World, log: &Log, process: usize, lease: Lease) {
    let (token, acquired) = (lease.token(), Instant::now());
    world.note(process, format!("has {token}"));
    // Entered at once: a process that crashes has held it as well, until then at most.
    let place = log.held.borrow().len();
    log.held.borrow_mut().push((token, acquired, lease.valid_until()));
    let believed = |lease: &Lease| {
        let until = if lease.is_valid() { Instant::now() } else { lease.valid_until().min(Instant::now()) };
        log.held.borrow_mut()[place].2 = until.max(acquired);
    };
    for _ in 0..world.chance(|chance| chance.random_range(0..3)) {
        sleep(world.up_to(Duration::from_secs(2))).await;
        if world.chance(|chance| chance.random()) {
            let answer = lease.put("register", &token).await;
            world.note(process, format!("{token} writes: {answer:?}"));
            match answer {
                Ok(Fenced::Done(Version(version))) => log.written.borrow_mut().push((version, token)),
                Ok(Fenced::Refused) if lease.is_valid() => log.refused.borrow_mut().push(token),
                _ => {}
            }
        } else {
            let id = Token::new(format!("{}", world.chance(|chance| chance.random::<u64>())));
            let place = world.processes[process].shared.cell("log").unwrap();
            let append = Update::<Cell>::new().append(RECENT, token.to_string());
            let transaction = lease.guard(Transaction::new(id).upsert(place.key(), append));
            let commit = world.processes[process].shared.hub.dynamo.transact(transaction).await;
            world.note(process, format!("{token} commits: {:?}", commit.as_ref().ok()));
            let blocked = matches!(commit, Ok(Commit::Blocked(_)));
            if blocked && lease.is_valid() {
                log.refused.borrow_mut().push(token);
            }
        }
    }
    believed(&lease);
    if world.chance(|chance| chance.random_range(0..4)) == 0 {
        world.note(process, format!("drops {token}"));
        return;
    }
    let released = lease.release().await;
    world.note(process, format!("releases {token}: {released:?}"));
}

async fn locks(world: &World, weather: Weather) -> Result<Log, String> {
    let log = Log::default();
    let mut actors: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
    for process in 0..world.processes.len() {
        for _ in 0..ACTORS {
            let log = &log;
            let actor = async move {
                for _ in 0..TURNS {
                    sleep(world.up_to(Duration::from_secs(4))).await;
                    let trust_clocks = world.chance(|chance| chance.random_range(0..3)) > 0;
                    let (ttl, wait) = (Duration::from_secs(2), Duration::from_secs(30));
                    let options = LeaseOptions { ttl, wait, max_hold: None, trust_clocks };
                    if let Ok(lease) = world.processes[process].shared.lock("door", options).await {
                        hold(world, log, process, lease).await;
                    }
                }
                let plain = world.processes[process].shared.put("register", &0).await;
                log.plain.borrow_mut().extend(plain.ok().map(|Version(version)| version));
            };
            actors.push(world.within(process, actor).map(|_| ()).boxed_local());
        }
    }
    let bystander = async {
        let calm = world.calm();
        let place = calm.place("lock/", "door").unwrap();
        for _ in 0..30 {
            sleep(Duration::from_millis(500)).await;
            let lock: Option<Lock> = calm.hub.look(&place).await.unwrap();
            let pair = lock.and_then(|lock| Some((lock.fence, lock.until?)));
            log.seen.borrow_mut().extend(pair);
        }
    };
    actors.push(bystander.boxed_local());
    world.run(weather, actors).await?;
    Ok(log)
}

/// What holds whatever the clocks say.
async fn in_any_case(world: &World, log: &Log) -> Verdict {
    let mut tokens: Vec<u64> = log.held.borrow().iter().map(|(token, ..)| *token).collect();
    tokens.sort_unstable();
    must!(tokens.windows(2).all(|pair| pair[0] < pair[1]), "two have one token: {tokens:?}");
    let mut written = log.written.borrow().clone();
    written.sort_unstable();
    must!(written.windows(2).all(|pair| pair[0].1 <= pair[1].1), "the register went back: {written:?}");
    let first = written.first().map(|(version, _)| *version);
    let plain = log.plain.borrow().clone();
    must!(
        first.is_none_or(|first| plain.iter().all(|version| *version < first)),
        "a plain write got through"
    );
    let shared = &world.calm();
    let place = shared.cell("log").unwrap();
    let commits: Cell = shared.hub.look(&place).await.unwrap().unwrap_or_default();
    let fences: Vec<u64> = commits.recent.iter().filter_map(|token| token.parse().ok()).collect();
    must!(fences.is_sorted(), "committed out of order: {fences:?}");
    let seen = log.seen.borrow();
    let back =
        seen.windows(2).find(|pair| pair[0].0 > pair[1].0 || pair[0].0 == pair[1].0 && pair[0].1 > pair[1].1);
    must!(back.is_none(), "an end or a fence went back: {back:?}");
    Ok(())
}

fn exclusive(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let log = locks(&world, Weather::USUAL).await?;
        in_any_case(&world, &log).await?;
        let mut held = log.held.borrow().clone();
        // What was over before it was received was held by nobody.
        held.retain(|(_, from, to)| from < to);
        held.sort_unstable_by_key(|(_, from, _)| *from);
        for pair in held.windows(2) {
            let ((first, _, to), (second, from, _)) = (pair[0], pair[1]);
            must!(to <= from, "{first} and {second} at the same time");
            must!(first < second, "{second} came after {first}");
        }
        let refused = log.refused.borrow();
        must!(refused.is_empty(), "holders were refused: {refused:?}");
        Ok(())
    }
    .boxed_local()
}

fn fenced(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let log = locks(&world, SKEWED).await?;
        in_any_case(&world, &log).await
    }
    .boxed_local()
}

#[test]
fn one_holds_at_a_time() {
    all("one_holds_at_a_time", Weather::USUAL, exclusive);
}

#[test]
fn fences_hold_where_clocks_do_not() {
    all("fences_hold_where_clocks_do_not", SKEWED, fenced);
}

#[test]
fn without_their_rules_leases_overlap() {
    for rule in [Rule::LockIsFree, Rule::HolderOwns, Rule::LostInTime, Rule::WatchedForAll] {
        finds(rule, Weather::USUAL, exclusive);
    }
}

#[test]
fn without_their_rules_fences_do_not_hold() {
    for rule in [Rule::UntilOnlyGrows, Rule::FenceOnlyGrows, Rule::GuardHolds, Rule::CellIsFree] {
        finds(rule, SKEWED, fenced);
    }
}
