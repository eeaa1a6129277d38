//! Trees in Rust: plain functions that make the nodes a file would have.
//!
//! ```
//! use mneme::army::build::{act, done, log, program, repeat_n, sequence, wait};
//! use mneme::army::{Args, Registry, actions, spec::Given};
//!
//! let tree = sequence([
//!     log("run_id: {{config.run_id | none}}"),
//!     repeat_n(10, sequence([
//!         act(&actions::mneme::RECALL, Args::new().with("key", "k{{loop}}")),
//!         wait(1.0..5.0),
//!     ])),
//!     done(),
//! ]);
//! let (program, _) = program("recalls", tree, &Registry::new(), &Given::default())?;
//! assert_eq!(program.rows().collect::<Vec<_>>(), ["done", "log", "memory.recall", "wait"]);
//! # Ok::<(), mneme::army::spec::Faults>(())
//! ```

use std::ops::Range;

use serde_json::{Map, Value, json};

use crate::army::action::{Action, Args, Registry};
use crate::army::actions::basic;
use crate::army::spec::compile::{Compiled, Given, compile};
use crate::army::spec::file::File;
use crate::army::spec::node::{Child, Node};
use crate::yaml::fault::Place;
use crate::yaml::source::Located;

/// Compiles a tree that was built.
pub fn program(name: &str, root: Node, registry: &Registry, given: &Given) -> Compiled {
    compile_in(&File { name: name.into(), ..File::default() }, &root, registry, given)
}

/// Compiles a tree that was built, with the lists, roles and subtrees of a file.
pub fn compile_in(file: &File, root: &Node, registry: &Registry, given: &Given) -> Compiled {
    compile(file, root, registry, given)
}

fn node(name: &str, given: Value, children: Vec<Child>) -> Node {
    let given = Located::of(&given);
    Node { at: Place::default(), name: name.into(), action: None, label: None, given, children }
}

fn numbered(children: impl IntoIterator<Item = Node>) -> Vec<Child> {
    let children = children.into_iter().enumerate();
    children.map(|(place, node)| Child { step: place.to_string(), weight: 1, node }).collect()
}

fn only(step: &str, child: Node) -> Vec<Child> {
    vec![Child { step: step.into(), weight: 1, node: child }]
}

impl Node {
    /// Its name in logs, metrics and thresholds.
    pub fn labelled(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
}

/// A leaf that runs an action, which need not be registered.
pub fn act(action: &'static Action, args: Args) -> Node {
    Node { action: Some(action), ..node(action.name, Value::Object(args.values().clone()), Vec::new()) }
}

/// All children in order, until one fails.
pub fn sequence(children: impl IntoIterator<Item = Node>) -> Node {
    node("sequence", json!({}), numbered(children))
}

/// The children in order, until one succeeds.
pub fn select(children: impl IntoIterator<Item = Node>) -> Node {
    node("select", json!({}), numbered(children))
}

/// One child, drawn on every entry.
pub fn random(children: impl IntoIterator<Item = Node>) -> Node {
    node("random", json!({}), numbered(children))
}

/// One child, drawn by weight on every entry.
pub fn random_weighted(children: impl IntoIterator<Item = (u32, Node)>) -> Node {
    let children = children.into_iter().enumerate();
    let children = children.map(|(place, (weight, node))| Child { step: place.to_string(), weight, node });
    node("random_weighted", json!({}), children.collect())
}

/// The child so many times, or as often as a template says; succeeds.
pub fn repeat_n(n: impl Into<Value>, child: Node) -> Node {
    node("repeat_n", json!({ "n": n.into() }), only("do", child))
}

/// The child until it succeeds.
pub fn repeat_until_succeed(child: Node) -> Node {
    node("repeat_until_succeed", json!({}), only("do", child))
}

/// The child until it fails; succeeds.
pub fn repeat_until_fail(child: Node) -> Node {
    node("repeat_until_fail", json!({}), only("do", child))
}

pub fn always_succeed(child: Node) -> Node {
    node("always_succeed", json!({}), only("do", child))
}

pub fn always_fail(child: Node) -> Node {
    node("always_fail", json!({}), only("do", child))
}

pub fn negate(child: Node) -> Node {
    node("negate", json!({}), only("do", child))
}

/// The child until it succeeds, so many times at most, with a pause of seconds in between.
pub fn retry(times: impl Into<Value>, backoff: Range<f64>, child: Node) -> Node {
    node("retry", json!({ "times": times.into(), "backoff": span(&backoff) }), only("do", child))
}

/// The child every so many seconds until it succeeds or the time is over.
pub fn eventually(within: f64, every: f64, child: Node) -> Node {
    node("eventually", json!({ "within": within, "every": every }), only("do", child))
}

/// The child; fails after so many seconds.
pub fn timeout(after: f64, child: Node) -> Node {
    node("timeout", json!({ "after": after }), only("do", child))
}

/// The child every so many seconds, at fixed times.
pub fn pace(every: f64, child: Node) -> Node {
    node("pace", json!({ "every": every }), only("do", child))
}

/// The child on the first visit; then its first outcome.
pub fn once(child: Node) -> Node {
    node("once", json!({}), only("do", child))
}

/// The child of the bot's role.
pub fn by_role(children: impl IntoIterator<Item = (&'static str, Node)>) -> Node {
    let children = children.into_iter().map(|(role, node)| Child { step: role.into(), weight: 1, node });
    node("by_role", json!({}), children.collect())
}

/// A named tree of the file, with these parameters.
pub fn subtree(name: &str, with: Args) -> Node {
    let with: Map<_, _> = with.values().clone();
    node("subtree", json!({ "name": name, "with": with }), Vec::new())
}

/// A guard (`with_lock`, `with_permit`, `with_checkout`) around a child.
pub fn guarded(name: &str, args: Args, child: Node) -> Node {
    node(name, Value::Object(args.values().clone()), only("do", child))
}

/// `make` runs in one bot only; the others wait for the value.
pub fn get_or_create(args: Args, make: Node) -> Node {
    node("get_or_create", Value::Object(args.values().clone()), only("make", make))
}

/// Waits so many seconds, drawn on every visit.
pub fn wait(seconds: Range<f64>) -> Node {
    act(&basic::WAIT, Args::new().with("for", span(&seconds)))
}

/// Waits as a person who thinks.
pub fn think(seconds: Range<f64>) -> Node {
    act(&basic::THINK, Args::new().with("for", span(&seconds)))
}

pub fn log(text: &str) -> Node {
    act(&basic::LOG, Args::new().with("text", text))
}

pub fn check(comparison: &str) -> Node {
    act(&basic::CHECK, Args::new().with("that", comparison))
}

/// Puts values into the context.
pub fn set(values: Args) -> Node {
    act(&basic::SET, values)
}

pub fn succeed() -> Node {
    act(&basic::SUCCEED, Args::new())
}

pub fn fail() -> Node {
    act(&basic::FAIL, Args::new())
}

/// The bot ends, well.
pub fn done() -> Node {
    act(&basic::DONE, Args::new())
}

fn span(seconds: &Range<f64>) -> String {
    format!("{}s..{}s", seconds.start, seconds.end)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::army::actions::mneme;
    use crate::army::spec;

    const FILE: &str = r#"
army: 1
name: t
root:
  sequence:
    - log: "{{bot.id}}"
    - repeat_n:
        n: 3
        do: { random_weighted: [ { weight: 2, do: { memory.recall: { key: "k{{loop}}" }, label: ask } }, { weight: 1, do: succeed } ] }
    - retry: { times: 2, backoff: 1s..2s, do: { wait: 1s..5s } }
    - get_or_create: { key: a, value: 5, make: succeed }
    - check: "bot.id == 1"
    - done
"#;

    #[test]
    fn builders_and_files_make_the_same_tree() {
        let recall = act(&mneme::RECALL, Args::new().with("key", "k{{loop}}")).labelled("ask");
        let built = sequence([
            log("{{bot.id}}"),
            repeat_n(3, random_weighted([(2, recall), (1, succeed())])),
            retry(2, 1.0..2.0, wait(1.0..5.0)),
            get_or_create(Args::new().with("key", "a").with("value", 5), succeed()),
            check("bot.id == 1"),
            done(),
        ]);
        let registry = Registry::new();
        let (built, _) = program("t", built, &registry, &Given::default()).unwrap();
        let file = spec::read(FILE, Path::new("."), &registry).unwrap();
        let (read, _) = compile(&file, file.root.as_ref().unwrap(), &registry, &Given::default()).unwrap();
        assert_eq!(built.tree, read.tree);
        let paths = |program: &spec::Program| {
            let parts = program.parts().map(|(_, part)| (part.path.clone(), part.row().to_owned()));
            parts.collect::<Vec<_>>()
        };
        assert_eq!(paths(&built), paths(&read));
    }

    #[test]
    fn what_is_built_is_compared_too() {
        let tree = act(&mneme::RECALL, Args::new().with("kee", "a"));
        let wrong = program("t", tree, &Registry::new(), &Given::default()).unwrap_err();
        assert!(wrong.to_string().contains("did you mean key?"), "{wrong}");
        assert!(program("t", sequence([]), &Registry::new(), &Given::default()).is_err());
    }
}
