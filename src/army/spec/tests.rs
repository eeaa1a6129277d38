//! Trees from text to program: what compiles, what is told, what no text may do.

use std::path::Path;

use serde_json::json;

use super::*;
use crate::army::action::Registry;
use crate::army::spec::testing::fixed;
use crate::army::tree::Kind;

fn compiled(text: &str, given: &Given) -> Result<(Program, Faults), Faults> {
    let registry = Registry::new();
    let file = read(text, Path::new("."), &registry)?;
    let root = file.root.clone().expect("these files have a root");
    compile(&file, &root, &registry, given)
}

fn tree(root: &str) -> String {
    format!("army: 1\nname: t\n{root}")
}

fn told(text: &str) -> String {
    match compiled(text, &Given::default()) {
        Ok((_, odd)) => odd.to_string(),
        Err(wrong) => wrong.to_string(),
    }
}

const ALBUM: &str = r#"
army: 1
name: share_album
about: One person starts an album in the bot's memory, everybody joins it; then all remember and recall.
example: { command: "mneme army run --tree share_album --n 50", exit: 0 }
params: { num_albums: 10, think: 1s..5s }
lists: { users: { each: "user{{n}}", count: 500 } }
roles: { host: 1, guest: rest }
thresholds: [ "start_album:count==1", "memory.recall:p(95)<300ms", "errors.rate<1%" ]
events: { message_create: { from: bot, set: { last_seen: "{{event.id}}" } } }
root:
  sequence:
    - log: "run_id: {{config.run_id | none}}"
    - deal: { list: users, into: user }
    - login: { name: "{{user}}" }
    - get_or_create:
        key: invite
        within: 30s
        make: { memory.remember: { key: "album of {{user}}", value: "photos {{run.id}}" }, label: start_album }
        value: "album of {{user}}"
        into: invite
    - memory.recall: { key: "{{invite}}", door: slash }
    - barrier: { name: joined, size: all, within: 60s }
    - repeat_n:
        n: "{{num_albums}}"
        do:
          random_weighted:
            - { weight: 10, do: { subtree: { name: recall_one, with: { key: "k{{rand 0 49}}-{{rand 0 9}}" } } } }
            - { weight: 5, do: { memory.remember: { key: "k{{bot.slot}}-{{loop}}", value: "v{{bot.id}}", door: any } } }
            - { weight: 1, do: { ask: { say: ".ping", expect: { contains: "Pong!" } }, label: ping } }
    - always_succeed: { think: "{{think}}" }
trees:
  recall_one:
    params: { key: k0-0 }
    root:
      timeout:
        after: 3s
        do:
          retry: { times: 3, backoff: 200ms..2s, do: { memory.recall: { key: "{{key}}", door: mention, missing: ok } } }
"#;

#[test]
fn the_tree_of_the_guide_compiles() {
    let (program, odd) = compiled(ALBUM, &Given::default()).unwrap_or_else(|faults| panic!("{faults}"));
    assert!(odd.is_empty(), "{odd}");
    let paths: Vec<_> = program.parts().map(|(_, part)| format!("{} {}", part.path, part.row())).collect();
    assert!(paths.contains(&"root/3/make start_album".to_owned()), "{paths:#?}");
    assert!(paths.contains(&"root/6/do/0/recall_one/do/do memory.recall".to_owned()), "{paths:#?}");
    assert_eq!(program.lists["users"].len(), 500);
    assert_eq!((program.roles.of(0), program.roles.of(1)), (Some("host"), Some("guest")));
    let weighted = program.tree.nodes().find(|(_, node)| node.kind == Kind::RandomWeighted).unwrap().1;
    assert_eq!(weighted.weights, [10, 5, 1]);
    assert_eq!(program.hash.len(), 8);
}

#[test]
fn nodes_get_what_they_were_given_at_every_visit() {
    let (program, _) = compiled(ALBUM, &Given::default()).unwrap();
    let find = |path: &str| program.parts().find(|(_, part)| part.path == path).unwrap().0;
    let mut scope =
        fixed(json!({"num_albums": 3, "user": "user7", "run": {"id": "r1"}, "key": "k1", "think": "1s..5s"}));
    assert_eq!(program.times(find("root/6"), &mut scope), Ok(3));
    let timeout = find("root/6/do/0/recall_one");
    assert_eq!(program.limit(timeout, &mut scope), Ok(std::time::Duration::from_secs(3)));
    let retry = find("root/6/do/0/recall_one/do");
    let pauses: Vec<_> = (0..4).map(|_| program.pause(retry, &mut scope).unwrap().as_secs_f64()).collect();
    assert!(pauses.iter().all(|pause| (0.2..=2.0).contains(pause)) && pauses[0] != pauses[1], "{pauses:?}");
    let subtree = program.parts().find(|(_, part)| part.name() == "subtree").unwrap().0;
    let keys: Vec<_> =
        (0..3).map(|_| program.parameters(subtree, &mut scope).unwrap()["key"].clone()).collect();
    assert!(keys[0] != keys[1] || keys[1] != keys[2], "{keys:?}");
    let login = program.part(find("root/2")).args.evaluate(&mut scope).unwrap();
    assert_eq!(login.text("name"), "user7");
    let ask = program.part(find("root/6/do/2")).args.evaluate(&mut scope).unwrap();
    let expect = ask.record("expect").unwrap();
    assert_eq!(
        (expect.text("contains"), expect.flag("loose"), expect.duration("within").as_secs()),
        ("Pong!", false, 10)
    );
    let think = program.part(find("root/7/do")).args.evaluate(&mut scope).unwrap();
    assert!((1.0..=5.0).contains(&think.duration("for").as_secs_f64()));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_nearest_name() {
    for (text, expected) in [
        (
            "root:\n  sequence:\n    - memory.remembr: { key: a, value: b }",
            "line 5, column 7: unknown action memory.remembr; did you mean memory.remember?",
        ),
        ("root: { memory.recall: { kee: a } }", "`memory.recall` has no parameter kee; did you mean key?"),
        ("root: { memory.recall: { door: slash } }", "`memory.recall` needs `key` (text)"),
        (
            "root: { memory.recall: { key: a, door: sidedoor } }",
            "it takes: prefix or mention or slash or any",
        ),
        ("root: { wait: 5 parsecs }", "it takes: duration"),
        ("root: { repeat_n: { n: many, do: succeed } }", "it takes: integer"),
        ("rooot: { wait: 1 }\nroot: done", "a tree file has no `rooot`; did you mean root?"),
        (
            "root: { log: \"{{usr}}\" }\nparams: { user: x }",
            "nothing gives `usr` a value; did you mean user?",
        ),
        ("root: { log: \"{{bot.nose}}\" }", "there is no `bot.nose`"),
        ("root: { log: \"{{loop}}\" }", "`loop` is the pass of a repeat"),
        ("root: { log: \"{{event.id}}\" }", "`event` has a value only in"),
        ("root: { set: { bot: 5 } }", "`bot` cannot be set"),
        ("root: { set: { slot: 5 } }", "`slot` cannot be set"),
        ("root: { sequence: [] }", "`sequence` takes a list of nodes"),
        ("root: { random_weighted: [ { weight: 0, do: succeed } ] }", "a weight is a number from 1"),
        (
            "root: { deal: { list: usrs, into: u } }\nlists: { users: [a] }",
            "there is no list usrs in `lists`; did you mean users?",
        ),
        ("root: { if_role: hst }\nroles: { host: 1 }", "there is no role hst in `roles`; did you mean host?"),
        ("root: { by_role: { hst: succeed } }\nroles: { host: 1 }", "there is no role hst"),
        (
            "root: { subtree: onc }\ntrees: { once_more: { root: succeed } }",
            "there is no tree onc in `trees`",
        ),
        (
            "root: { subtree: a }\ntrees: { a: { root: { subtree: a } } }",
            "a tree cannot contain itself: a > a",
        ),
        (
            "root: { subtree: { name: a, with: { x: 1, z: 2 } } }\ntrees: { a: { params: { x: text }, root: succeed } }",
            "the tree a has no parameter z",
        ),
        (
            "root: { subtree: { name: a, with: { n: x } } }\ntrees: { a: { params: { n: 1 }, root: succeed } }",
            "`n`: `x` is a text; it takes: integer",
        ),
        ("root: { wait: \"{{n}}\" }\nparams: { n: hello }", "`{{n}}` does not fit here"),
        ("root: { retry: { times: \"{{shared.x}}\", do: succeed } }", "cannot wait for a shared value"),
        ("root: succeed\nthresholds: [ \"memory.recall:count==1\" ]", "which the tree does not do"),
        ("root: { repeat_until_fail: succeed }", "an endless loop"),
        ("root: { repeat_until_succeed: { sequence: [ { log: x }, fail ] } }", "an endless loop"),
        ("root: { sequence: [ done, { log: x } ] }", "warning: nothing reaches `log`"),
        ("root: { select: [ { log: x }, { wait: 1 } ] }", "warning: nothing reaches `wait`"),
        ("root: { ask: { say: a, dm: b } }", "exactly one of say, mention, dm"),
        (
            "root: { ask: { say: a, expect: { contins: b } } }",
            "`ask.expect` has no parameter contins; did you mean contains?",
        ),
        ("root: { check: \"a = 5\" }\nparams: { a: 1 }", "means nothing here"),
        ("root: { sequence: [ { log: a, wait: 5 } ] }", "one node has one name"),
        ("root: 5", "a node is a name or a mapping"),
        ("tests: [ { nam: x } ]", "a test has no `nam`; did you mean name?"),
        ("root: succeed\narmi: 2", "did you mean army?"),
        ("params: { bot: 1 }\nroot: succeed", "cannot be the name of a parameter"),
        ("lists: { a: { each: \"{{m}}\", count: 5 } }\nroot: succeed", "`each` knows `n`"),
        ("lists: { a: { each: x, count: 10001 } }\nroot: succeed", "up to 10000"),
    ] {
        let told = told(&tree(text));
        assert!(told.contains(expected), "{text}\n{told}");
    }
    assert!(told("army: 2\nname: t\nroot: succeed").contains("this program reads `army: 1`"));
}

#[test]
fn loops_that_wait_or_can_end_are_fine() {
    for root in [
        "repeat_until_fail: { wait: 1 }",
        "repeat_until_fail: { sequence: [ { check: \"a == 1\" }, succeed ] }",
        "repeat_until_succeed: done",
        "repeat_until_succeed: { memory.recall: { key: a } }",
        "repeat_until_fail: { pace: { every: 1s, do: succeed } }",
    ] {
        let told = told(&tree(&format!("params: {{ a: 1 }}\nroot: {{ {root} }}")));
        assert_eq!(told, "", "{root}");
    }
}

#[test]
fn large_trees_end_where_the_limit_is() {
    let mut trees = String::from("root: { subtree: t0 }\ntrees:\n");
    for level in 0..20 {
        let next = level + 1;
        trees.push_str(&format!(
            "  t{level}: {{ root: {{ sequence: [ {{ subtree: t{next} }}, {{ subtree: t{next} }} ] }} }}\n"
        ));
    }
    trees.push_str("  t20: { root: succeed }\n");
    assert!(told(&tree(&trees)).contains("more than 10000 nodes"));
    let deep = format!("root: {}succeed{}", "{ negate: ".repeat(70), " }".repeat(70));
    assert!(told(&tree(&deep)).contains("deeper than 64"));
}

#[test]
fn a_configuration_is_complete_when_a_run_begins() {
    let text =
        tree("params: { n: 1 }\nroot: { sequence: [ { log: \"{{config.app_id}} {{n}}\" }, { wait: 1 } ] }");
    let (program, _) = compiled(&text, &Given::default()).unwrap();
    assert_eq!(program.needs, ["app_id"]);
    let custom = |custom: serde_json::Value| Given::complete(custom.as_object().unwrap().clone());
    let wrong = compiled(&text, &custom(json!({"run_id": 5}))).unwrap_err().to_string();
    assert_eq!(wrong, "--custom: the tree reads `app_id`, you gave `run_id`");
    let (program, odd) = compiled(&text, &custom(json!({"app_id": false, "n": 7, "other": 1}))).unwrap();
    assert_eq!(odd.to_string(), "warning: --custom: nothing reads `other`");
    assert_eq!((program.setting("n"), program.setting("app_id")), (Some(&json!(7)), Some(&json!(false))));
    let wrong = compiled(&text, &custom(json!({"app_id": 1, "n": "x"}))).unwrap_err().to_string();
    assert_eq!(wrong, "--custom: `n`: `x` is a text; it takes: integer");
}

#[test]
fn tests_know_what_is_set_before_them() {
    let text = r#"
army: 1
name: memory
pre_all: { set: { city: Rome } }
tests:
  - { name: recalls, tree: look, pre: { set: { key: a } }, tags: [slow], bots: 2, timeout: 5s, post: { log: "{{city}}" } }
trees:
  look: { root: { memory.recall: { key: "{{key}} {{city}}" } } }
"#;
    let registry = Registry::new();
    let file = read(text, Path::new("."), &registry).unwrap();
    let (suite, odd) = suite::compile(&file, &registry, &Given::default()).unwrap();
    assert!(odd.is_empty(), "{odd}");
    assert_eq!(
        (suite.tests[0].bots, suite.tests[0].timeout.as_secs(), &suite.tests[0].tags[0][..]),
        (2, 5, "slow")
    );
    let wrong = compile::check(
        &read(&text.replace("{ key: a }", "{ kay: a }"), Path::new("."), &registry).unwrap(),
        &registry,
    );
    assert!(wrong.to_string().contains("nothing gives `key` a value"), "{wrong}");
}

#[test]
fn trees_that_nothing_uses_are_compared_too() {
    let registry = Registry::new();
    let text = tree("root: succeed\ntrees: { a: { root: { log: \"{{nobody}}\" } } }");
    let told = compile::check(&read(&text, Path::new("."), &registry).unwrap(), &registry).to_string();
    assert!(told.contains("nothing gives `nobody` a value"), "{told}");
}

#[test]
fn no_text_makes_the_reader_panic() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    const PARTS: [&str; 16] =
        ["{", "}", "[", "]", ": ", "\n", "  ", "- ", "{{", "}}", "\"", "|", "0", "root", "é", "subtree"];
    let registry = Registry::new();
    let chars: Vec<_> = ALBUM.chars().collect();
    for seed in 0..400 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut text = chars.clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..text.len());
            let end = (at + rng.random_range(0..9)).min(text.len());
            text.splice(at..end, PARTS[rng.random_range(0..PARTS.len())].chars());
        }
        let text: String = text.into_iter().collect();
        if let Ok(file) = read(&text, Path::new("/nowhere"), &registry) {
            let _ = compile::check(&file, &registry).to_string();
        }
    }
}
