//! The army: simulated people, with and without a bot under test.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mneme::army::action::{Action, Outcome, Param, Registry};
use mneme::army::metrics::document::Document;
use mneme::army::play::{Model, Respawn};
use mneme::army::run::{Finished, Job, Kind, Watch, play};
use mneme::army::schedule::Course;
use mneme::army::spec::{self, Given, Program};
use mneme::sandbox::Under;
use serde_json::{Map, Value, json};

/// What soldiers have told, across a test.
static TOLD: Mutex<Vec<Value>> = Mutex::new(Vec::new());

/// Tells a value to the test.
const TELL: Action = Action {
    name: "test.tell",
    about: "Tells the test something",
    params: &[Param::new("what", mneme::army::action::Type::Any)],
    run: |_, args| {
        Box::pin(async move {
            TOLD.lock().unwrap().push(args.value("what").clone());
            Ok(Outcome::succeed())
        })
    },
};

const PANIC: Action = Action {
    name: "test.panic",
    about: "Panics",
    params: &[],
    run: |_, _| Box::pin(async { panic!("on purpose") }),
};

fn told() -> Vec<Value> {
    std::mem::take(&mut TOLD.lock().unwrap())
}

/// A tree from its text, with the actions of these tests.
fn program(tree: &str) -> Arc<Program> {
    let mut registry = Registry::new();
    registry.add(&TELL);
    registry.add(&PANIC);
    let text = if tree.contains("army: 1") { tree.to_owned() } else { format!("army: 1\nname: t\n{tree}") };
    let file = spec::read(&text, Path::new("."), &registry).unwrap_or_else(|faults| panic!("{faults:?}"));
    let root = file.root.clone().expect("a tree has a root");
    let compiled = spec::compile(&file, &root, &registry, &Given::complete(Map::new()));
    Arc::new(compiled.unwrap_or_else(|faults| panic!("{faults:?}")).0)
}

/// People among themselves, in virtual time, once through the tree.
fn job(tree: &str, bots: u32) -> Job {
    let mut job = Job::new(program(tree));
    job.under = Under::Nobody;
    job.is_virtual = true;
    job.plan.model = Model::Closed(Course::constant(bots.into()));
    job.plan.iterations = Some(1);
    job
}

async fn done(job: Job) -> Finished {
    play(job, Box::new(|_| ())).await.expect("the army works")
}

fn runs(document: &Document, action: &str) -> u64 {
    document.actions.get(action).map_or(0, |action| action.runs)
}

#[tokio::test]
async fn ids_count_from_zero() {
    let finished = done(job("root: { test.tell: \"{{bot.id}}\" }", 5)).await;
    assert_eq!(finished.code, 0, "{}", finished.reason);
    assert_eq!(told().into_iter().map(|id| id.as_u64().unwrap()).collect::<BTreeSet<_>>(), (0..5).collect());
}

#[tokio::test]
async fn the_host_role_survives_its_bot() {
    let tree = "
roles: { host: 1, guest: rest }
root:
  sequence:
    - test.tell: [\"{{bot.role}}\", \"{{bot.id}}\", \"{{bot.slot}}\", \"{{bot.life}}\"]
    - by_role:
        host: { error: the host is gone }
        guest: { wait: 4s }
";
    let mut job = job(tree, 3);
    job.plan.iterations = None;
    job.plan.duration = Some(Duration::from_secs(11));
    let finished = done(job).await;
    let hosts: Vec<Value> = told().into_iter().filter(|one| one[0] == "host").collect();
    assert_eq!(hosts, [json!(["host", 0, 0, 0]), json!(["host", 3, 0, 1]), json!(["host", 4, 0, 2])]);
    assert_eq!((finished.document.bots.errored, finished.document.bots.respawned), (3, 2));
}

#[tokio::test]
async fn waits_are_not_whole_seconds() {
    let tree = "root: { sequence: [ { set: { from: \"{{now}}\" } }, { wait: 0s..10s }, { test.tell: [\"{{from}}\", \"{{now}}\"] } ] }";
    done(job(tree, 40)).await;
    let waited: Vec<i64> =
        told().iter().map(|one| one[1].as_i64().unwrap() - one[0].as_i64().unwrap()).collect();
    let fractions: BTreeSet<i64> = waited.iter().map(|ms| ms % 1_000).collect();
    assert!(fractions.len() > 30, "{waited:?}");
    assert!(waited.iter().all(|ms| (0..=10_001).contains(ms)), "{waited:?}");
}

#[tokio::test]
async fn repeat_zero_and_one() {
    let tree = "
root:
  sequence:
    - repeat_n: { n: 0, do: { fail: never } }
    - repeat_n: { n: 1, do: { log: { text: once }, label: once } }
    - repeat_n: { n: 3, do: { repeat_n: { n: 2, do: { log: { text: six }, label: six } } } }
";
    let finished = done(job(tree, 1)).await;
    let actions = &finished.document.actions;
    assert_eq!((runs(&finished.document, "once"), runs(&finished.document, "six")), (1, 6), "{actions:?}");
    assert!(!actions.contains_key("fail"));
}

#[tokio::test]
async fn zero_bots() {
    let mut job = job("root: { log: hello }", 0);
    job.plan.iterations = None;
    let finished = done(job).await;
    assert_eq!((finished.code, finished.document.bots.started), (0, 0), "{}", finished.reason);
}

#[tokio::test]
async fn another_population_may_be_wanted_before_the_first_one_is_there() {
    let begun = Box::new(|watch: Watch| watch.strings.set_target(5));
    let finished = play(job("root: { log: hello }", 3), begun).await.expect("the army works");
    assert_eq!((finished.document.bots.started, finished.document.target_bot_count), (5, 5));
}

#[tokio::test]
async fn panics_are_counted() {
    let finished = done(job("root: { sequence: [ { log: before }, test.panic ] }", 2)).await;
    let document = finished.document;
    assert_eq!((document.bots.panicked, document.bots.errored, document.total_error_count), (2, 0, 4));
    assert_eq!(document.actions["test.panic"].error_count, 2);
    assert!(document.errors[0].reason.contains("on purpose"), "{:?}", document.errors);
    assert!(document.errors[0].log.iter().any(|line| line.contains("before")), "{:?}", document.errors);
}

#[tokio::test]
async fn counts_are_what_they_say() {
    let tree = "root: { sequence: [ { random: [ { succeed: {} }, { fail: by chance } ] }, { error: \"{{nothing_here | none}}\" } ] }";
    let finished = done(job(tree, 20)).await;
    let document = &finished.document;
    let count = |name: &str| document.actions[name].clone();
    assert_eq!(document.bot_count, 0);
    assert_eq!(count("succeed").success_count + count("fail").fail_count, 20);
    assert_eq!(count("error").error_count, count("succeed").success_count);
    assert_eq!(document.total_error_count, count("error").error_count);
    assert_eq!(document.bots.errored, count("error").error_count);
}

#[tokio::test]
async fn names_are_complete_and_have_both_spellings() {
    let tree = "root: { sequence: [ { shared.put: { key: a, value: 1 } }, { take: { key: a, into: a } }, { log: { text: x }, label: a label } ] }";
    let finished = done(job(tree, 1)).await;
    let names: Vec<&String> = finished.document.actions.keys().collect();
    assert_eq!(names, ["a label", "shared.put", "take"]);
    let text = serde_json::to_value(&finished.document).unwrap();
    assert!(
        text["actions"]["take"]["duration"].is_number()
            && text["actions"]["take"]["avg_duration"].is_number()
    );
}

#[tokio::test]
async fn finished_runs_end() {
    for (iterations, respawn) in [(Some(3), Some(Respawn::default())), (None, None)] {
        let mut job = job("root: { sequence: [ { think: 1s }, done ] }", 4);
        (job.plan.iterations, job.plan.respawn) = (iterations, respawn);
        let finished = done(job).await;
        assert_eq!(
            (finished.code, finished.document.bots.finished, finished.document.bots.started),
            (0, 4, 4)
        );
    }
    let mut job = job("root: { think: 1s }", 4);
    job.plan.iterations = Some(5);
    assert_eq!(runs(&done(job).await.document, "think"), 20);
}

#[tokio::test]
async fn once_reports_failure() {
    for (tree, code) in
        [("root: { fail: no }", 3), ("root: { error: no }", 3), ("root: { always_succeed: { fail: no } }", 0)]
    {
        let mut job = job(tree, 1);
        job.kind = Kind::Once;
        job.plan.respawn = None;
        let finished = done(job).await;
        assert_eq!(finished.code, code, "{tree}: {}", finished.reason);
        assert!(code == 0 || finished.reason.contains("no"), "{}", finished.reason);
    }
}

#[tokio::test]
async fn eventually_counts_real_time() {
    // Each attempt takes a second and the pause nothing: by its pauses it would never end.
    let tree = "
root:
  sequence:
    - eventually: { within: 5s, every: 0s, do: { sequence: [ { wait: 1s }, { fail: not yet } ] } }
";
    let finished = done(job(tree, 1)).await;
    assert_eq!(runs(&finished.document, "wait"), 5);
}

#[tokio::test]
async fn waiting_for_ones_own_event() {
    let tree = "
root:
  sequence:
    - say: { text: hello }
    - wait_event: { type: message_create, where: 'event.content == \"hello\"', within: 2s, into: seen }
    - test.tell: \"{{seen.content}}\"
";
    let mut one = job(tree, 1);
    one.kind = Kind::Once;
    let finished = done(one).await;
    assert_eq!(finished.code, 0, "{}", finished.reason);
    assert_eq!(told(), [json!("hello")]);
}

#[tokio::test]
async fn random_is_per_visit() {
    let tree = "root: { repeat_n: { n: 20, do: { test.tell: [\"{{bot.slot}}\", \"{{rand 1 1000000}}\"] } } }";
    let play = |seed| async move {
        let mut job = job(tree, 3);
        job.options.seed = seed;
        done(job).await;
        let mut told = told();
        told.sort_by_key(Value::to_string);
        told
    };
    let (first, again, other) = (play(7).await, play(7).await, play(8).await);
    assert_eq!(first.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), 60, "{first:?}");
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[tokio::test]
async fn guards_fail_softly() {
    let tree = "
roles: { host: 1, guest: rest }
root:
  select:
    - sequence: [ { if_role: host }, { log: { text: host }, label: as host } ]
    - sequence: [ { if_slot: 2 }, { log: { text: two }, label: as two } ]
    - log: { text: other }
      label: as other
";
    let finished = done(job(tree, 4)).await;
    let document = finished.document;
    let counts = ["as host", "as two", "as other"].map(|name| runs(&document, name));
    assert_eq!((counts, document.bots.errored), ([1, 1, 2], 0));
}

#[tokio::test]
async fn instant_trees_are_fair() {
    // On one thread: somebody who never gave way would keep the other from ever beginning.
    let tree = "
roles: { busy: 1, quiet: rest }
root:
  by_role:
    busy: { repeat_n: { n: 5000, do: { log: { text: busy }, label: busy } } }
    quiet: { test.tell: \"{{now}}\" }
";
    let mut job = job(tree, 2);
    job.plan.iterations = Some(1);
    let finished = done(job).await;
    assert_eq!((told().len(), runs(&finished.document, "busy")), (1, 5_000));
}

#[tokio::test]
async fn a_tree_that_spins_is_named() {
    let tree = "root: { repeat_n: { n: 20000, do: { log: x } } }";
    let finished = done(job(tree, 1)).await;
    assert_eq!(finished.document.bots.errored, 1);
    assert!(
        finished.document.errors[0].reason.contains("hot loop at root"),
        "{:?}",
        finished.document.errors
    );
}

#[tokio::test]
async fn death_gives_everything_back() {
    let tree = "
lists: { accounts: [ a ] }
root:
  with_lock:
    key: l
    do:
      with_permit:
        name: p
        max: 1
        do:
          with_checkout:
            pool: accounts
            into: account
            do:
              sequence:
                - test.tell: \"{{account}}\"
                - if_slot: 0
                - error: on purpose
";
    let mut job = job(tree, 3);
    job.plan.respawn = None;
    let finished = done(job).await;
    assert_eq!(told(), [json!("a"), json!("a"), json!("a")]);
    assert_eq!((finished.document.bots.errored, finished.document.bots.finished), (1, 2));
    assert!(
        finished.document.run.uptime_ms < 5_000,
        "nobody waits for a lease to end: {:?}",
        finished.document.run
    );
}

#[tokio::test]
async fn those_who_never_come_are_not_waited_for() {
    let tree = "
root:
  select:
    - sequence: [ { if_slot: 1 }, { error: on purpose } ]
    - barrier: { name: all, size: all, within: 60s }
";
    let mut job = job(tree, 3);
    job.plan.respawn = None;
    let finished = done(job).await;
    assert_eq!(finished.document.actions["barrier"].success_count, 2);
    assert!(finished.document.run.uptime_ms < 5_000);
}

#[tokio::test]
async fn a_stopped_timeout_gives_its_lock_back() {
    let tree = "
root:
  sequence:
    - always_succeed: { timeout: { after: 1s, do: { with_lock: { key: l, do: { wait: 60s } } } } }
    - with_lock: { key: l, do: { test.tell: \"{{now}}\" } }
";
    let finished = done(job(tree, 2)).await;
    assert_eq!(told().len(), 2);
    assert!(finished.document.run.uptime_ms < 10_000, "{:?}", finished.document.run);
}

#[tokio::test]
async fn one_creates_and_all_get_it() {
    let tree = "
root:
  sequence:
    - get_or_create:
        key: invite
        within: 30s
        make: { sequence: [ { think: 1s }, { log: { text: made }, label: make } ] }
        value: \"album of {{bot.slot}}\"
        into: invite
    - test.tell: \"{{invite}}\"
";
    let finished = done(job(tree, 50)).await;
    let told = told();
    assert_eq!((told.len(), runs(&finished.document, "make")), (50, 1));
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
}

#[tokio::test]
async fn each_account_is_dealt_once() {
    let tree = "
lists: { users: { each: \"user{{n}}\", count: 100 } }
root: { sequence: [ { deal: { list: users, into: user } }, { deal: { list: users, into: again } }, { test.tell: [\"{{user}}\", \"{{again}}\"] } ] }
";
    done(job(tree, 100)).await;
    let told = told();
    assert!(told.iter().all(|one| one[0] == one[1]), "asking again repeats it");
    assert_eq!(told.iter().map(|one| one[0].to_string()).collect::<BTreeSet<_>>().len(), 100);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_trace() {
    let tree = "
lists: { users: { each: \"user{{n}}\", count: 20 } }
root:
  sequence:
    - deal: { list: users, into: user }
    - login: \"{{user}}\"
    - get_or_create: { key: k, within: 30s, make: { think: 1s..3s }, value: \"{{user}}\", into: first }
    - barrier: { name: b, size: all, within: 60s }
    - repeat_n:
        n: 20
        do:
          random_weighted:
            - { weight: 3, do: { think: 1s..60s } }
            - { weight: 2, do: { say: { text: \"{{text 10}}\" } } }
            - { weight: 1, do: { with_lock: { key: l, do: { think: 1s } } } }
            - { weight: 1, do: { shared.add: { key: n, by: 1 } } }
            - { weight: 1, do: { succeed_rate: 50% } }
            - { weight: 1, do: { with_permit: { name: p, max: 2, do: { think: 1s..9s } } } }
";
    let traced = |seed| async move {
        let mut job = job(tree, 20);
        (job.options.seed, job.options.trace) = (seed, true);
        let finished = done(job).await;
        assert_eq!(finished.code, 0, "{}", finished.reason);
        assert!(finished.document.actions["think"].service.p95.is_none(), "latencies mean nothing here");
        (finished.digest.unwrap(), finished.trace.unwrap())
    };
    let (first, again, other) = (traced(7).await, traced(7).await, traced(8).await);
    assert_eq!(first, again);
    assert!(first.0 != other.0 && first.1 != other.1);
    // Twenty people, each twenty times through the loop, and what is around it.
    assert!(first.1.lines().count() > 20 * 20, "{}", first.1);
}

#[tokio::test]
async fn interrupted_runs_report() {
    let mut job = job("root: { sequence: [ { log: hello }, { wait: 1h } ] }", 3);
    job.is_virtual = false;
    job.plan.iterations = None;
    let finished = play(job, Box::new(|watch| watch.interrupt())).await.unwrap();
    assert_eq!((finished.code, finished.document.bot_count), (130, 0));
    assert!(mneme::army::summary::summary(&finished.document).contains("exit 130"));
}

#[tokio::test]
async fn a_new_run_starts_empty() {
    let tree = "
root:
  select:
    - sequence: [ { shared.get: { key: left, into: left } }, { test.tell: found } ]
    - shared.put: { key: left, value: 1 }
";
    let folder = tempfile::tempdir().unwrap();
    for id in ["r1", "r2"] {
        let mut job = job(tree, 1);
        job.options.run_id = id.to_owned();
        job.is_virtual = false;
        job.shared_store = mneme::army::run::SharedStore::Folder(folder.path().to_owned());
        let finished = done(job).await;
        assert_eq!(runs(&finished.document, "shared.put"), 1);
        assert_eq!(finished.document.bots.started, 1);
    }
    assert_eq!(told(), Vec::<Value>::new());
}

/// The bot under test in this process, once through the tree.
fn with_bot(tree: &str, bots: u32) -> Job {
    let mut job = job(tree, bots);
    (job.under, job.is_virtual) = (Under::Here, false);
    job.options.think_scale = 0.02;
    job
}

const DAY: &str = "
root:
  sequence:
    - login: \"user{{bot.slot}}\"
    - repeat_n:
        n: 5
        do:
          always_succeed:
            random_weighted:
              - { weight: 4, do: { memory.remember: { key: \"k{{rand 0 9}}-{{rand 0 9}}\", value: \"v{{bot.id}} {{loop}}\", door: any } } }
              - { weight: 2, do: { memory.recall: { key: \"k{{rand 0 9}}-{{rand 0 9}}\", door: any, missing: ok } } }
              - { weight: 2, do: { memory.forget: { key: \"k{{rand 0 9}}-{{rand 0 9}}\", door: any } } }
              - { weight: 1, do: { sparkle.give: { to: \"user{{rand 0 3}}\", reason: \"help {{loop}}\", door: any } } }
";

#[tokio::test]
async fn what_the_bot_acknowledges_is_stored() {
    let finished = done(with_bot(DAY, 12)).await;
    assert_eq!(finished.code, 0, "{}", mneme::army::summary::summary(&finished.document));
    let promises = &finished.document.promises;
    assert!(promises.made > 10 && promises.made == promises.kept, "{promises:?}");
    assert_eq!((promises.unanswered, finished.document.discord.ack_late), (0, 0));
}

#[tokio::test]
async fn faults_excuse_no_broken_promise() {
    let mut job = with_bot(DAY, 12);
    let faults =
        "store.lose_reply=3%,store.conflict=2%,store.late=1%,store.delay=1ms..10ms,discord.duplicate=5%";
    job.faults = mneme::army::faults::Faults::parse(faults).unwrap();
    job.options.seed = crate::harness::seed(11);
    let finished = done(job).await;
    let promises = &finished.document.promises;
    let summary = mneme::army::summary::summary(&finished.document);
    assert!(promises.made > 10 && promises.broken == 0, "{summary}");
}

#[tokio::test]
async fn a_promise_that_is_not_kept_is_told() {
    // A value that the bot is taught, while the ledger is told of another one.
    const LIE: Action = Action {
        name: "test.lie",
        about: "Promises something else",
        params: &[],
        run: |soldier, _| {
            Box::pin(async move {
                let wanted = mneme::army::Wanted::contains("I'll remember");
                let request = soldier.tell(mneme::army::Door::Prefix, ".remember tea is hot").await?;
                let (server, event) = (soldier.persona()?.server, request.event().unwrap());
                let value = Some("cold".to_owned());
                let change = mneme::army::promises::Change::Memory { key: "tea".into(), value };
                soldier.stage().ledger.asked(event, server, change);
                soldier.reply(&request, &wanted).await?;
                soldier.stage().ledger.told(event, mneme::army::promises::Told::Done);
                Ok(Outcome::succeed())
            })
        },
    };
    let mut registry = Registry::new();
    registry.add(&LIE);
    let tree = mneme::army::build::act(&LIE, mneme::army::Args::new());
    let (program, _) = mneme::army::build::program("lie", tree, &registry, &Given::default()).unwrap();
    let finished = done(Job { program: Arc::new(program), ..with_bot("root: succeed", 1) }).await;
    let document = &finished.document;
    assert_eq!((finished.code, document.promises.broken), (5, 1), "{:?}", document.promises);
    assert!(document.promises.violations[0].contains("promised \"cold\"; stored set Some(\"hot\")"));
}

/// A server that answers at once, and then to nobody for two seconds.
static SERVER: tokio::sync::Mutex<u32> = tokio::sync::Mutex::const_new(0);

const ASK_SERVER: Action = Action {
    name: "test.ask_server",
    about: "Asks a server that stalls once",
    params: &[],
    run: |soldier, _| {
        Box::pin(async move {
            let mut asked = SERVER.lock().await;
            *asked += 1;
            if *asked == 10 {
                soldier.wait(Duration::from_secs(2)).await;
            }
            Ok(Outcome::succeed())
        })
    },
};

#[tokio::test]
async fn an_open_model_shows_what_a_stall_costs() {
    let measured = |model: Model, think: f64| async move {
        *SERVER.lock().await = 0;
        let ask = mneme::army::build::act(&ASK_SERVER, mneme::army::Args::new());
        let think = mneme::army::build::wait(think..think);
        let tree = mneme::army::build::sequence([ask, think]);
        let (program, _) =
            mneme::army::build::program("stall", tree, &Registry::new(), &Given::default()).unwrap();
        let mut job = job("root: succeed", 1);
        (job.program, job.is_virtual) = (Arc::new(program), false);
        (job.plan.model, job.plan.iterations) = (model, None);
        job.plan.duration = Some(Duration::from_secs(4));
        done(job).await.document.actions["test.ask_server"].clone()
    };
    // Twenty a second, whatever happens: two seconds are half of all that came.
    let open = Model::Open { course: Course::constant(20.0), max_bots: 500, even: true };
    let open = measured(open, 0.0).await;
    assert!(open.response.unwrap().p90.unwrap() > 1_000.0, "{open:?}");
    // One who waits for the answer asks no second time meanwhile, and so only one sample tells of it.
    let closed = measured(Model::Closed(Course::constant(1.0)), 0.05).await;
    assert!(closed.service.p90.unwrap() < 1_000.0 && closed.service.max.unwrap() > 1_900.0, "{closed:?}");
}

#[tokio::test]
async fn a_paced_action_knows_its_due_time() {
    // Every second attempt takes 350 ms where 100 are planned.
    let tree = "
root:
  sequence:
    - repeat_n: { n: 10, do: { pace: { every: 100ms, do: { random: [ { wait: 350ms }, { wait: 1ms } ] } } } }
";
    let mut job = job(tree, 1);
    job.is_virtual = false;
    job.options.seed = 5;
    let finished = done(job).await;
    let wait = &finished.document.actions["wait"];
    let (service, response) = (wait.service, wait.response.unwrap());
    assert!(response.max >= service.max, "{wait:?}");
    assert!(response.p95.unwrap() > 300.0, "{wait:?}");
}

#[tokio::test]
async fn arrivals_that_find_no_place_are_counted() {
    let mut job = job("root: { wait: 10s }", 1);
    job.plan.model = Model::Open { course: Course::constant(10.0), max_bots: 5, even: true };
    job.plan.duration = Some(Duration::from_millis(950));
    let bots = done(job).await.document.bots;
    assert_eq!((bots.started, bots.dropped), (5, 5));
}

#[tokio::test]
async fn stages_come_and_go() {
    let mut job = job("root: { think: 1s }", 1);
    job.plan.model = Model::Closed(Course::parse("10:10s,10:5s,0:10s").unwrap());
    job.plan.iterations = None;
    let finished = done(job).await;
    let most = finished.document.target_bot_count;
    assert_eq!((finished.code, finished.document.bots.started), (0, 10), "{}", finished.reason);
    assert!(finished.document.run.uptime_ms >= 25_000 && most <= 1, "{:?}", finished.document.run);
}

#[tokio::test]
async fn a_missed_threshold_has_a_code_of_its_own() {
    let mut job = job("thresholds: [ \"log:count==3\", \"errors.rate<1%\" ]\nroot: { log: x }", 2);
    job.fail_on_bot_error = true;
    let finished = done(job).await;
    assert_eq!((finished.code, &finished.reason[..]), (99, "not kept: log:count==3"));
}
