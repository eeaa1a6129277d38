//! What the page about shared data promises, in virtual time: hundreds of bots, deaths, pauses, and what it
//! costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::*;
use crate::clock::{Clock, Timestamp};
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::Faults;
use crate::dynamo::testing::{engine_at_once, over};
use crate::dynamo::{Tried, Units};
use crate::shared::items::{self, Back, Lock, Rule};

/// A process: its shared data, and its connection.
struct Process {
    shared: SharedData,
    faults: Faults,
}

async fn processes(count: usize) -> Vec<Process> {
    let engine = engine_at_once(TABLES).await;
    (0..count).map(|number| process(&engine, number as u64)).collect()
}

fn process(engine: &Embedded, seed: u64) -> Process {
    let faults = Faults::new();
    let clock = Clock::running(Timestamp::from_seconds(1_900_000_000));
    let options = SharedOptions { seed: Some(seed), ..SharedOptions::default() };
    let dynamo = over(engine, clock, &faults);
    let shared = SharedData::open(dynamo, &Tasks::new(), Space::Run("test".to_owned()), options);
    Process { shared, faults }
}

async fn one() -> SharedData {
    processes(1).await.remove(0).shared
}

/// All that a process has asked of the store, its hub's tasks included.
fn units(shared: &SharedData) -> Units {
    let mut sum = Units::default();
    for (_, usage) in shared.hub.dynamo.usage() {
        sum += usage.units;
    }
    sum
}

/// What a piece of work costs, with everything it sets in motion.
async fn cost<A>(shared: &SharedData, work: impl Future<Output = A>) -> (A, Units) {
    let before = units(shared);
    let answer = work.await;
    // What is released in the background is a part of it.
    sleep(Duration::from_millis(1)).await;
    let after = units(shared);
    (answer, Units { read: after.read - before.read, write: after.write - before.write })
}

fn within(units: Units, read: f64, write: f64) {
    println!("{} of {read} reads, {} of {write} writes", units.read, units.write);
    assert!(units.read <= read && units.write <= write, "{units:?} is more than {read} and {write}");
}

const PATIENCE: CreateOptions =
    CreateOptions { ttl: Duration::from_secs(10), within: Duration::from_secs(60) };

/// Takes its time, as a real one does.
async fn album(shared: &SharedData, made: &Arc<AtomicUsize>) -> Created<usize> {
    let made = made.clone();
    let create = move |_| async move {
        sleep(Duration::from_millis(500)).await;
        Ok(made.fetch_add(1, Ordering::SeqCst))
    };
    shared.get_or_create("album", PATIENCE, create).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn five_hundred_bots_make_one_album() {
    let shared = one().await;
    let made = Arc::new(AtomicUsize::new(0));
    let (albums, units) = cost(&shared, join_all((0..500).map(|_| album(&shared, &made)))).await;
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert_eq!(albums.iter().filter(|album| album.created_by_me).count(), 1);
    within(units, 12.0, 3.0);

    let (processes, made) = (processes(4).await, Arc::new(AtomicUsize::new(0)));
    let bots = (0..500).map(|bot| album(&processes[bot % 4].shared, &made));
    let albums = join_all(bots).await;
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert!(albums.iter().all(|album| album.value == 0));
    let mut sum = Units::default();
    processes.iter().for_each(|process| sum += units_of(process));
    within(sum, 12.0, 6.0);
}

fn units_of(process: &Process) -> Units {
    units(&process.shared)
}

/// Look, and create one if there is none: what everybody writes first.
async fn naive_album(shared: &SharedData, made: &AtomicUsize) -> usize {
    if let Some(album) = shared.get("album").await.unwrap() {
        return album;
    }
    sleep(Duration::from_millis(500)).await;
    let album = made.fetch_add(1, Ordering::SeqCst);
    shared.put("album", &album).await.unwrap();
    album
}

#[tokio::test(start_paused = true)]
async fn looking_first_makes_hundreds_of_albums() {
    for count in [1, 4] {
        let (processes, made) = (processes(count).await, AtomicUsize::new(0));
        join_all((0..500).map(|bot| naive_album(&processes[bot % count].shared, &made))).await;
        assert!(made.load(Ordering::SeqCst) > 100, "only {made:?}: then nobody would need more");
    }
}

#[tokio::test(start_paused = true)]
async fn every_account_is_dealt_once() {
    let shared = one().await;
    let accounts: Vec<u32> = (0..500).collect();
    let (_, load) = cost(&shared, shared.deal_load("accounts", &accounts)).await;
    within(load, 4.0, 8.0 * 4.0 + 2.0);
    let ask = async |slot: u32| shared.deal::<u32>("accounts", &Who::slot(slot)).await.unwrap();
    let (dealt, units) = cost(&shared, join_all((0..500).map(ask))).await;
    within(units, 30.0, 520.0);
    // One in ten dies; who takes its slot has its account.
    let again = join_all((0..500).step_by(10).map(ask)).await;
    assert!(again.iter().enumerate().all(|(place, account)| dealt[place * 10] == *account));
    let mut different: Vec<u32> = dealt.into_iter().flatten().collect();
    different.sort_unstable();
    assert_eq!(different, accounts);
    assert_eq!(ask(500).await, None);
}

/// No storm finds this one: two requests must arrive late, and meet the element that they were about.
#[tokio::test(start_paused = true)]
async fn an_element_that_comes_back_twice_is_not_taken_away_by_an_old_request() {
    for rule in [None, Some(Rule::ReturnsDiffer)] {
        let (shared, who) = (one().await, Who::named("asker"));
        shared.deal_load("accounts", &[7]).await.unwrap();
        let ask = async || shared.deal::<u32>("accounts", &who).await.unwrap();
        let give = async || shared.undeal("accounts", &who).await.unwrap();
        let place = shared.place("deal/", "accounts").unwrap();
        let list = shared.hub.list(&place).await.unwrap();
        let at = place.below("deal-back", list.digest());
        let has = async || shared.hub.look::<Back>(&at).await.unwrap().unwrap().claims["asker"].clone();
        Rule::break_only(rule);
        assert!(ask().await == Some(7) && give().await && ask().await == Some(7) && give().await);
        assert_eq!(ask().await, Some(7));
        let before = has().await;
        assert!(give().await && ask().await == Some(7));
        Rule::break_only(None);
        let late = items::announce::<Back>("asker", &before, "late");
        let late = shared.hub.dynamo.try_upsert(at.key(), late).await.unwrap();
        assert_eq!(matches!(late, Tried::Applied(_)), rule.is_some(), "{before} is now {}", has().await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_missed_by_one() {
    let shared = one().await;
    assert!(matches!(shared.deal::<u32>("accounts", &Who::slot(0)).await, Err(SharedError::NotLoaded)));
    shared.deal_load("accounts", &(0..499).collect::<Vec<u32>>()).await.unwrap();
    assert_eq!(shared.deal_load("accounts", &(0..499).collect::<Vec<u32>>()).await.unwrap(), Loaded::Already);
    assert!(matches!(shared.deal_load("accounts", &[1]).await, Err(SharedError::AlreadyLoaded)));
    let ask = async |slot: u32| shared.deal::<u32>("accounts", &Who::slot(slot)).await.unwrap();
    let dealt = join_all((0..500).map(ask)).await;
    assert_eq!(dealt.iter().filter(|account| account.is_none()).count(), 1);
    // What is given back goes to the one who has none.
    assert!(shared.undeal("accounts", &Who::slot(3)).await.unwrap() || dealt[3].is_none());
    let without = dealt.iter().position(Option::is_none).unwrap() as u32;
    assert_eq!(ask(without).await, dealt[3]);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_writer_cannot_come_back() {
    let processes = processes(2).await;
    let (first, second) = (&processes[0], &processes[1]);
    let options = LeaseOptions { ttl: Duration::from_secs(2), ..LeaseOptions::default() };
    let old = first.shared.lock("door", options).await.unwrap();
    assert!(matches!(old.put("register", &"old").await.unwrap(), Fenced::Done(_)));
    first.faults.set_frozen(true);
    let late = old.put("register", &"late");
    let taken = async {
        let new = second.shared.lock("door", options).await.unwrap();
        assert!(new.token() > old.token());
        assert!(matches!(new.put("register", &"new").await.unwrap(), Fenced::Done(_)));
        first.faults.set_frozen(false);
    };
    let (late, ()) = tokio::join!(late, taken);
    assert_eq!(late.unwrap(), Fenced::Refused);
    old.lost().await;
    assert!(!old.is_valid());
    assert_eq!(old.put("register", &"old").await.unwrap(), Fenced::Refused);
    let there: Option<(String, _)> = second.shared.get_versioned("register").await.unwrap();
    assert_eq!(there.unwrap().0, "new");
    assert!(matches!(second.shared.put("register", &"plain").await, Err(SharedError::Guarded)));
}

#[tokio::test(start_paused = true)]
async fn a_barrier_survives_a_death() {
    let shared = one().await;
    let (long, short) = (Duration::from_secs(60), Duration::from_secs(5));
    let arrive = async |name: &str, slot, wait| shared.barrier(name, &Who::slot(slot), 3, wait).await;
    // Somebody else comes in its place.
    let all = join_all((0..3).map(|slot| arrive("replaced", slot, long))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    // Nobody does, and that is said.
    let gone = Who::slot(2);
    let withdrawn = shared.withdraw("withdrawn", &gone, 3);
    let (two, withdrawn) =
        tokio::join!(join_all((0..2).map(|slot| arrive("withdrawn", slot, long))), withdrawn);
    withdrawn.unwrap();
    assert!(two.iter().all(|pass| *pass.as_ref().unwrap() == Pass { members: 3, withdrawn: 1 }));
    // Nobody says anything.
    let two = join_all((0..2).map(|slot| arrive("silent", slot, short))).await;
    assert!(two.iter().all(|pass| matches!(pass, Err(BarrierError::Broken(_)))), "{two:?}");
    assert!(matches!(arrive("silent", 2, short).await, Err(BarrierError::Broken(_))));
}

#[tokio::test(start_paused = true)]
async fn a_long_critical_section_is_reported() {
    let shared = one().await;
    let options = LeaseOptions { wait: Duration::from_secs(5), ..LeaseOptions::default() };
    let log_in = async |_| {
        let authenticate = async |_: Held| sleep(Duration::from_millis(250)).await;
        shared.with_lock("auth", options, authenticate).await
    };
    let served = join_all((0..500).map(log_in)).await;
    let (done, failed): (Vec<_>, Vec<_>) = served.into_iter().partition(Result::is_ok);
    assert!((20..=21).contains(&done.len()), "{} were served", done.len());
    let told = failed.iter().filter(|failed| {
        matches!(failed, Err(LeaseError::Timeout { average_hold: Some(held), .. }) if held.as_millis() == 250)
    });
    assert_eq!(told.count(), failed.len(), "{:?}", failed.first());
}

#[tokio::test(start_paused = true)]
async fn runs_do_not_see_each_other() {
    let first = one().await;
    let second = first.in_space(Space::Run("other".to_owned()));
    first.put("a", &1).await.unwrap();
    let settings = || std::collections::BTreeMap::from([("num_albums".to_owned(), json!(20))]);
    assert!(first.put_config(settings()).await.unwrap());
    first.load_config().await.unwrap();
    second.load_config().await.unwrap();
    assert_eq!(second.get::<i32>("a").await.unwrap(), None);
    assert_eq!(second.config().get::<u32>("num_albums"), Ok(None));
    assert_eq!(first.config().get::<u32>("num_albums"), Ok(Some(20)));
    assert_eq!(first.get::<u32>("num_albums").await.unwrap(), Some(20), "where no cell has the key");
    let other = std::collections::BTreeMap::from([("num_albums".to_owned(), json!(21))]);
    assert!(!first.put_config(other).await.unwrap(), "a run has one configuration");
}

#[test]
fn a_missing_setting_names_what_comes_nearest() {
    let values = [("run_id", json!("abc")), ("num_albums", json!("many"))];
    let config = RunConfig::from(
        values
            .map(|(key, value)| (key.to_owned(), value))
            .into_iter()
            .collect::<std::collections::BTreeMap<_, _>>(),
    );
    let absent = config.require::<String>("app_id").unwrap_err();
    assert_eq!(absent.to_string(), "no `app_id`; did you mean `run_id`?");
    assert_eq!(config.get::<String>("app_id"), Ok(None));
    let wrong = config.get::<u32>("num_albums").unwrap_err();
    assert_eq!(wrong.to_string(), "`num_albums` is of another type: \"many\"");
}

#[tokio::test(start_paused = true)]
async fn cancelling_an_acquisition_leaves_nothing() {
    let options = LeaseOptions { ttl: Duration::from_secs(2), ..LeaseOptions::default() };
    for steps in 0..40 {
        let shared = one().await;
        let mut acquiring = Box::pin(shared.lock("door", options));
        for _ in 0..steps {
            if futures::poll!(&mut acquiring).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(acquiring);
        sleep(options.ttl / 3).await;
        let lock: Option<Lock> = shared.hub.look(&shared.place("lock/", "door").unwrap()).await.unwrap();
        assert!(lock.is_none_or(|lock| lock.owner.is_none()), "dropped after {steps} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_costs_more_than_it_should() {
    let shared = one().await;
    let (_, put) = cost(&shared, shared.put("a", &1)).await;
    within(put, 0.0, 1.0);
    let (_, get) = cost(&shared, shared.get::<i32>("a")).await;
    within(get, 0.5, 0.0);
    let (_, strong) = cost(&shared, shared.get_versioned::<i32>("a")).await;
    within(strong, 1.0, 0.0);
    let (_, signal) = cost(&shared, shared.signal("a", &2)).await;
    within(signal, 0.0, 1.0);
    let (_, take) = cost(&shared, shared.take::<i32>("a")).await;
    within(take, 0.5, 1.0);
    let (_, add) = cost(&shared, shared.add("sum", 3)).await;
    within(add, 0.0, 1.0);
    let (_, config) = cost(&shared, async { shared.config() }).await;
    within(config, 0.0, 0.0);

    let count = |old: Option<u32>| Change::Write(old.unwrap_or(0) + 1, ());
    let (_, updates) = cost(&shared, join_all((0..500).map(|_| shared.update("n", count)))).await;
    within(updates, 20.0, 20.0);
    assert_eq!(shared.get("n").await.unwrap(), Some(500));
    let (sums, adds) = cost(&shared, join_all((0..500).map(|_| shared.add("sum", 1)))).await;
    within(adds, 0.0, 20.0);
    let mut sums: Vec<i64> = sums.into_iter().map(Result::unwrap).collect();
    sums.sort_unstable();
    assert!(sums.windows(2).all(|pair| pair[0] < pair[1]), "each sees the sum after its own");

    let (_, lock) =
        cost(&shared, async { shared.lock("door", LeaseOptions::default()).await.unwrap().release().await })
            .await;
    within(lock, 0.5, 2.0);
    let quick = async |_| shared.with_lock("door", LeaseOptions::default(), async |_: Held| ()).await;
    let (served, queue) = cost(&shared, join_all((0..500).map(quick))).await;
    assert!(served.iter().all(Result::is_ok));
    within(queue, 5.5, 30.0);

    let (permit, units) = cost(&shared, async {
        let permit = shared.permit("door", 2, &Who::slot(1), LeaseOptions::default()).await.unwrap();
        permit.release().await
    })
    .await;
    assert!(permit);
    within(units, 0.0, 6.0);

    let arrive = async |slot| shared.barrier("start", &Who::slot(slot), 500, PATIENCE.within).await;
    let (passed, barrier) = cost(&shared, join_all((0..500).map(arrive))).await;
    assert!(passed.iter().all(Result::is_ok));
    within(barrier, 5.0, 80.0);
}

#[tokio::test(start_paused = true)]
async fn waiting_costs_the_same_for_one_and_for_hundreds() {
    let processes = processes(2).await;
    let (here, there) = (&processes[0].shared, &processes[1].shared);
    let wait = async |_| {
        let ready = |step: Option<&u32>| step == Some(&1);
        here.wait_for("go", ready, Duration::from_secs(10)).await
    };
    let signal = async {
        sleep(Duration::from_secs(2)).await;
        there.signal("go", &1_u32).await
    };
    let (waited, units) = cost(here, async { tokio::join!(join_all((0..500).map(wait)), signal).0 }).await;
    assert!(waited.iter().all(|step| matches!(step, Ok(1))));
    within(units, 10.0, 0.0);
    // A local signal needs no read to be noticed.
    let step = here.wait_for("again", |step: Option<&u32>| step.is_some(), Duration::from_secs(10));
    let signal = async {
        sleep(Duration::from_secs(1)).await;
        here.signal("again", &1_u32).await
    };
    let woken = timeout(Duration::from_millis(1_001), async { tokio::join!(step, signal) }).await;
    assert!(woken.is_ok_and(|(step, _)| step.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_failed_creator_is_not_repeated_by_everybody() {
    let (shared, tried) = (one().await, Arc::new(AtomicUsize::new(0)));
    let attempt = || {
        let tried = tried.clone();
        shared.get_or_create::<u32, _, _>("album", PATIENCE, move |_| async move {
            tried.fetch_add(1, Ordering::SeqCst);
            anyhow::bail!("no room")
        })
    };
    let all = join_all((0..100).map(|_| attempt())).await;
    assert!(
        all.iter().all(|one| matches!(one, Err(CreateError::Failed(why)) if why == "no room")),
        "{all:?}"
    );
    assert_eq!(tried.load(Ordering::SeqCst), 1);
    sleep(Duration::from_secs(2)).await;
    assert!(attempt().await.is_err());
    assert_eq!(tried.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_creator_that_stalls_gives_way_and_takes_its_own_back() {
    let processes = processes(2).await;
    let options = CreateOptions { ttl: Duration::from_secs(2), ..PATIENCE };
    let undone = Arc::new(AtomicUsize::new(0));
    let (frozen, counter) = (processes[0].faults.clone(), undone.clone());
    let stalls = processes[0].shared.get_or_create("album", options, move |context| async move {
        context.on_lost(async move {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        frozen.set_frozen(true);
        sleep(Duration::from_secs(20)).await;
        frozen.set_frozen(false);
        Ok("first".to_owned())
    });
    let other = async {
        sleep(Duration::from_secs(1)).await;
        let create = move |context: CreateContext| async move { Ok(format!("attempt {}", context.attempt)) };
        processes[1].shared.get_or_create("album", options, create).await
    };
    let (first, other) = tokio::join!(stalls, other);
    assert_eq!(other.unwrap(), Created { value: "attempt 2".to_owned(), created_by_me: true });
    assert_eq!(first.unwrap(), Created { value: "attempt 2".to_owned(), created_by_me: false });
    assert_eq!(undone.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn limits_are_told_and_nothing_is_cut() {
    let shared = one().await;
    let long = "x".repeat(VALUE_MAX);
    assert!(matches!(shared.put("a", &long).await, Err(SharedError::TooLarge { limit: VALUE_MAX })));
    assert!(matches!(shared.put("", &1).await, Err(SharedError::BadName { limit: KEY_MAX })));
    assert!(matches!(shared.put("a\nb", &1).await, Err(SharedError::BadName { .. })));
    let nobody = Who::named("x".repeat(WHO_MAX + 1));
    assert!(matches!(shared.add_once("n", 1, &nobody).await, Err(SharedError::BadName { limit: WHO_MAX })));
    shared.put("text", &"x").await.unwrap();
    assert!(matches!(shared.get::<u32>("text").await, Err(SharedError::WrongType)));
    assert!(matches!(shared.add("text", 1).await, Err(SharedError::WrongType)));
    let update = shared.update("text", |n: Option<u32>| Change::Write(n.unwrap_or(0), ())).await;
    assert!(matches!(update, Err(SharedError::WrongType)));
    let options = LeaseOptions { ttl: Duration::from_secs(301), ..LeaseOptions::default() };
    let refused = shared.lock("door", options).await.err();
    assert!(matches!(refused, Some(LeaseError::Shared(SharedError::TooLarge { limit: 300 }))));
    assert!(matches!(shared.pool_load("p", &vec![0; POOL_MAX + 1]).await, Err(SharedError::TooLarge { .. })));
}

#[tokio::test(start_paused = true)]
async fn who_asks_again_is_not_ended_with_its_earlier_life() {
    let shared = one().await;
    let permit =
        async |slot| shared.permit("door", 3, &Who::slot(slot), LeaseOptions::default()).await.unwrap();
    let (first, before, last) = (permit(1).await, permit(2).await, permit(3).await);
    drop(last);
    drop(first);
    drop(before);
    let again = permit(2).await;
    sleep(Duration::from_millis(100)).await;
    assert!(again.is_valid());
    assert!(again.release().await);
}
