//! A tree file as it was written: its head, its trees, its tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::army::action::{Registry, Type};
use crate::army::spec::amount::{self, Span};
use crate::army::spec::arguments::{Typed, fits};
use crate::army::spec::node::Node;
use crate::army::spec::template::{RESULT_MAX, Scope, Template};
use crate::army::spec::threshold::Threshold;
use crate::yaml::fault::{Faults, Place, did_you_mean};
use crate::yaml::source::{Content, Entry, FILE_MAX, Located};

/// The version of the format.
pub const FORMAT: i64 = 1;

/// What a list may hold: one account for every soldier of a process.
pub const LIST_MAX: usize = 10_000;

/// One file, read and not yet compiled.
#[derive(Clone, Debug, Default)]
pub struct File {
    pub name: String,
    pub about: String,
    pub example: Option<Example>,
    pub params: Vec<Parameter>,
    pub lists: BTreeMap<String, Vec<Value>>,
    pub roles: Roles,
    pub thresholds: Vec<(Place, Threshold)>,
    pub events: Vec<Handler>,
    pub root: Option<Node>,
    pub trees: BTreeMap<String, Named>,
    pub tests: Option<Tests>,
}

/// How to see it work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    pub command: String,
    pub exit: i64,
}

/// A parameter of a tree; its type comes from its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub at: Place,
    pub name: String,
    /// Null: it must be given.
    pub default: Value,
}

/// A tree for `subtree`.
#[derive(Clone, Debug)]
pub struct Named {
    pub at: Place,
    pub params: Vec<Parameter>,
    pub root: Node,
}

/// Which slots have which role, by the order in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(pub Vec<(String, Option<u32>)>);

/// What an event of the gateway does between steps.
#[derive(Clone, Debug)]
pub struct Handler {
    pub at: Place,
    /// As Discord names it, in small letters.
    pub event: String,
    pub from: From,
    pub set: Vec<(String, Typed)>,
}

/// Whose events a handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    Anybody,
    /// The bot under test.
    Bot,
    /// Other people.
    People,
}

/// The tests of a file, as written.
#[derive(Clone, Debug, Default)]
pub struct Tests {
    pub tests: Vec<Test>,
    pub pre_all: Option<Node>,
    pub post_all: Option<Node>,
}

#[derive(Clone, Debug)]
pub struct Test {
    pub at: Place,
    pub name: String,
    pub tags: Vec<String>,
    pub bots: u32,
    pub timeout: Duration,
    pub pre: Option<Node>,
    pub tree: Node,
    pub post: Option<Node>,
}

/// Ten times what a test should take.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

impl Parameter {
    /// What it takes.
    pub fn kind(&self) -> Type {
        match &self.default {
            Value::Null => Type::Any,
            Value::Bool(_) => Type::Bool,
            Value::Number(number) if number.is_f64() => Type::Number,
            Value::Number(_) => Type::Integer,
            Value::String(text) if Span::is_written(text) => Type::Duration,
            Value::String(text) if amount::rate(text).is_some() => Type::Rate,
            Value::String(_) => Type::Text,
            Value::Array(_) => Type::List,
            Value::Object(_) => Type::Map,
        }
    }

    /// Whether it may have this value.
    pub fn takes(&self, value: &Value) -> Result<(), String> {
        fits(self.kind(), value).map_err(|what| format!("`{}`: {what}", self.name))
    }
}

impl Roles {
    /// The role of a slot.
    pub fn of(&self, slot: u32) -> Option<&str> {
        let mut before = 0;
        for (name, count) in &self.0 {
            match count {
                Some(count) if slot < before + count => return Some(name),
                Some(count) => before += count,
                None => return Some(name),
            }
        }
        None
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// Reads a file. All its faults are told at once.
pub fn read(text: &str, folder: &Path, registry: &Registry) -> Result<File, Faults> {
    let document = Located::parse(text)?;
    let Some(entries) = document.entries() else {
        return Err(Faults::one(document.at, "a tree file is a mapping that begins with `army: 1`"));
    };
    let names: Vec<_> = registry.names().collect();
    let mut reader = Reader { names, folder: folder.to_owned(), faults: Faults::default() };
    let file = reader.file(entries, document.at);
    if reader.faults.are_fatal() { Err(reader.faults) } else { Ok(file) }
}

struct Reader<'a> {
    /// Of all actions.
    names: Vec<&'a str>,
    folder: PathBuf,
    faults: Faults,
}

const HEADS: [&str; 14] = [
    "army",
    "name",
    "about",
    "example",
    "params",
    "lists",
    "roles",
    "thresholds",
    "events",
    "root",
    "trees",
    "tests",
    "pre_all",
    "post_all",
];

impl Reader<'_> {
    fn file(&mut self, entries: &[Entry], at: Place) -> File {
        let mut file = File::default();
        let mut tests = Tests::default();
        let mut has_tests = false;
        let mut version = None;
        for entry in entries {
            let value = &entry.value;
            match entry.name.as_str() {
                "army" => version = Some(value),
                "name" => file.name = self.text(entry),
                "about" => file.about = self.text(entry),
                "example" => file.example = self.example(entry),
                "params" => file.params = self.params(entry),
                "lists" => file.lists = self.lists(entry),
                "roles" => file.roles = self.roles(entry),
                "thresholds" => file.thresholds = self.thresholds(entry),
                "events" => file.events = self.events(entry),
                "root" => file.root = self.node(value),
                "trees" => file.trees = self.trees(entry),
                "tests" => {
                    has_tests = true;
                    tests.tests = self.tests(entry);
                }
                "pre_all" => tests.pre_all = self.tree(value),
                "post_all" => tests.post_all = self.tree(value),
                other => {
                    let near = did_you_mean(other, HEADS);
                    self.faults.add(entry.at, format!("a tree file has no `{other}`{near}"));
                }
            }
        }
        self.version(version, at);
        if !is_name(&file.name) {
            self.faults.add(at, "`name` is letters, digits, `_` and `-`");
        }
        if has_tests {
            file.tests = Some(tests);
        } else if file.root.is_none() && !self.faults.are_fatal() {
            self.faults.add(at, "the file has neither `root` nor `tests`");
        }
        file
    }

    fn version(&mut self, version: Option<&Located>, at: Place) {
        match version {
            None => self.faults.add(at, "a tree file begins with `army: 1`"),
            Some(version) if version.value().as_i64() != Some(FORMAT) => {
                let what = format!(
                    "format {} is not known here; this program reads `army: {FORMAT}`",
                    version.value()
                );
                self.faults.add(version.at, what);
            }
            Some(_) => {}
        }
    }

    fn node(&mut self, value: &Located) -> Option<Node> {
        Node::read(value, &self.names, &mut self.faults)
    }

    fn text(&mut self, entry: &Entry) -> String {
        match entry.value.text() {
            Some(text) => text.to_owned(),
            None => {
                self.faults.add(entry.value.at, format!("`{}` is a text", entry.name));
                String::new()
            }
        }
    }

    fn map<'e>(&mut self, entry: &'e Entry) -> &'e [Entry] {
        entry.value.entries().unwrap_or_else(|| {
            if !entry.value.is_null() {
                self.faults.add(entry.value.at, format!("`{}` is a mapping", entry.name));
            }
            &[]
        })
    }

    fn list<'e>(&mut self, entry: &'e Entry) -> &'e [Located] {
        entry.value.list().unwrap_or_else(|| {
            self.faults.add(entry.value.at, format!("`{}` is a list", entry.name));
            &[]
        })
    }

    fn unknown(&mut self, entry: &Entry, owner: &str, known: &[&str]) {
        let near = did_you_mean(&entry.name, known.iter().copied());
        self.faults.add(entry.at, format!("{owner} has no `{}`{near}", entry.name));
    }

    fn example(&mut self, entry: &Entry) -> Option<Example> {
        let mut example = Example { command: String::new(), exit: 0 };
        for part in self.map(entry) {
            match (part.name.as_str(), part.value.value()) {
                ("command", Value::String(command)) => example.command = command,
                ("exit", Value::Number(exit)) if exit.is_i64() => {
                    example.exit = exit.as_i64().unwrap_or_default()
                }
                _ => self.unknown(part, "an example", &["command", "exit"]),
            }
        }
        Some(example)
    }

    fn params(&mut self, entry: &Entry) -> Vec<Parameter> {
        let mut params = Vec::new();
        for part in self.map(entry) {
            let default = part.value.value();
            if is_reserved(&part.name) || !is_name(&part.name) {
                self.faults.add(part.at, format!("`{}` cannot be the name of a parameter", part.name));
            } else if !matches!(Template::parse(&default), Ok(Template::Constant(_))) {
                self.faults.add(part.value.at, "a default is a value, not a template");
            } else {
                params.push(Parameter { at: part.at, name: part.name.clone(), default });
            }
        }
        params
    }

    fn lists(&mut self, entry: &Entry) -> BTreeMap<String, Vec<Value>> {
        let mut lists = BTreeMap::new();
        for part in self.map(entry) {
            match self.one_list(part) {
                Ok(list) if list.len() > LIST_MAX => {
                    self.faults.add(part.value.at, format!("a list has at most {LIST_MAX} elements"));
                }
                Ok(list) => drop(lists.insert(part.name.clone(), list)),
                Err(what) => self.faults.add(part.value.at, what),
            }
        }
        lists
    }

    fn one_list(&mut self, part: &Entry) -> Result<Vec<Value>, String> {
        let entries = match &part.value.content {
            Content::List(elements) => return Ok(elements.iter().map(Located::value).collect()),
            Content::Map(entries) => entries,
            Content::Scalar(_) => {
                return Err("a list is [a, b], { each: .., count: n } or { file: .. }".into());
            }
        };
        let get =
            |name: &str| entries.iter().find(|entry| entry.name == name).map(|entry| entry.value.value());
        match (entries.len(), get("each"), get("count"), get("file")) {
            (2, Some(each), Some(count), None) => each_of(&each, &count),
            (1, None, None, Some(Value::String(file))) => lines_of(&self.folder.join(file)),
            _ => Err("a list is [a, b], { each: .., count: n } or { file: .. }".into()),
        }
    }

    fn roles(&mut self, entry: &Entry) -> Roles {
        let mut roles = Vec::new();
        for part in self.map(entry) {
            let value = part.value.value();
            if roles.iter().any(|(_, count): &(String, Option<u32>)| count.is_none()) {
                self.faults
                    .add(part.at, format!("`{}` gets no slot: the role before it takes the rest", part.name));
            }
            match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
                Some(count) => roles.push((part.name.clone(), Some(count))),
                None if value == "rest" => roles.push((part.name.clone(), None)),
                None => self.faults.add(part.value.at, "a role has a number of slots, or `rest`"),
            }
        }
        Roles(roles)
    }

    fn thresholds(&mut self, entry: &Entry) -> Vec<(Place, Threshold)> {
        let mut thresholds = Vec::new();
        for element in self.list(entry) {
            match element.text().ok_or_else(|| "a threshold is a text".to_owned()).and_then(Threshold::parse)
            {
                Ok(threshold) => thresholds.push((element.at, threshold)),
                Err(what) => self.faults.add(element.at, what),
            }
        }
        thresholds
    }

    fn events(&mut self, entry: &Entry) -> Vec<Handler> {
        let mut handlers = Vec::new();
        for part in self.map(entry) {
            // One handler, or a list of them.
            let each = match &part.value.content {
                Content::List(elements) => elements.clone(),
                _ => vec![part.value.clone()],
            };
            for value in each {
                let inner = Entry { at: part.at, name: part.name.clone(), value };
                handlers.extend(self.handler(&inner));
            }
        }
        handlers
    }

    fn handler(&mut self, entry: &Entry) -> Option<Handler> {
        let mut handler =
            Handler { at: entry.at, event: entry.name.clone(), from: From::Anybody, set: Vec::new() };
        for part in self.map(entry) {
            match (part.name.as_str(), part.value.text()) {
                ("from", Some("anybody")) => handler.from = From::Anybody,
                ("from", Some("bot")) => handler.from = From::Bot,
                ("from", Some("people")) => handler.from = From::People,
                ("from", _) => {
                    self.faults.add(part.value.at, "events come from `bot`, `people` or `anybody`")
                }
                ("set", _) => {
                    for value in self.map(part) {
                        match Typed::read(Type::Any, &value.value) {
                            Ok(typed) => handler.set.push((value.name.clone(), typed)),
                            Err(faults) => self.faults.extend(faults),
                        }
                    }
                }
                _ => self.unknown(part, "an event handler", &["from", "set"]),
            }
        }
        if handler.set.is_empty() {
            self.faults.add(entry.at, "an event handler needs `set`");
            return None;
        }
        Some(handler)
    }

    fn trees(&mut self, entry: &Entry) -> BTreeMap<String, Named> {
        let mut trees = BTreeMap::new();
        for part in self.map(entry) {
            let (mut params, mut root) = (Vec::new(), None);
            for inner in self.map(part) {
                match inner.name.as_str() {
                    "params" => params = self.params(inner),
                    "root" => root = self.node(&inner.value),
                    "about" => drop(self.text(inner)),
                    _ => self.unknown(inner, "a tree", &["params", "root", "about"]),
                }
            }
            match root {
                Some(root) => drop(trees.insert(part.name.clone(), Named { at: part.at, params, root })),
                None if self.faults.are_fatal() => {}
                None => self.faults.add(part.at, format!("the tree `{}` has no `root`", part.name)),
            }
        }
        trees
    }

    /// A tree in a test: the name of one of `trees:`, or a node.
    fn tree(&mut self, value: &Located) -> Option<Node> {
        match value.text() {
            Some(name) => Some(Node::subtree(name, value.at)),
            None => self.node(value),
        }
    }

    fn tests(&mut self, entry: &Entry) -> Vec<Test> {
        let mut tests: Vec<Test> = Vec::new();
        for element in self.list(entry) {
            let inner = Entry { at: element.at, name: "a test".into(), value: element.clone() };
            let Some(test) = self.test(&inner) else { continue };
            if tests.iter().any(|other| other.name == test.name) {
                self.faults.add(test.at, format!("there are two tests `{}`", test.name));
            }
            tests.push(test);
        }
        tests
    }

    fn test(&mut self, entry: &Entry) -> Option<Test> {
        let (mut name, mut tags, mut bots, mut timeout) = (String::new(), Vec::new(), 1, TEST_TIMEOUT);
        let (mut pre, mut tree, mut post) = (None, None, None);
        for part in self.map(entry) {
            match part.name.as_str() {
                "name" => name = self.text(part),
                "tags" => {
                    tags = self.list(part).iter().filter_map(Located::text).map(str::to_owned).collect()
                }
                "bots" => match part.value.value().as_u64().and_then(|bots| u32::try_from(bots).ok()) {
                    Some(count) if count > 0 => bots = count,
                    _ => self.faults.add(part.value.at, "`bots` is a number above 0"),
                },
                "timeout" => match Span::parse(&crate::army::spec::template::as_text(&part.value.value())) {
                    Some(span) => timeout = span.duration(),
                    None => self.faults.add(part.value.at, "`timeout` is a duration"),
                },
                "pre" => pre = self.tree(&part.value),
                "tree" => tree = self.tree(&part.value),
                "post" => post = self.tree(&part.value),
                _ => {
                    let known = ["name", "tree", "tags", "bots", "timeout", "pre", "post"];
                    self.unknown(part, "a test", &known);
                }
            }
        }
        if name.is_empty() {
            self.faults.add(entry.at, "a test needs a `name`");
        }
        if tree.is_none() {
            self.faults.add(entry.at, "a test needs a `tree`");
        }
        Some(Test { at: entry.at, name, tags, bots, timeout, pre, tree: tree?, post })
    }
}

/// `{ each: "user{{n}}", count: 500 }`: n counts from 0, as ids and slots do.
fn each_of(each: &Value, count: &Value) -> Result<Vec<Value>, String> {
    struct Numbered(usize);
    impl Scope for Numbered {
        fn value(&self, path: &[String]) -> Option<Value> {
            (path == ["n"]).then(|| Value::from(self.0))
        }
        fn list(&self, _: &str) -> Option<&[Value]> {
            None
        }
        fn rng(&mut self) -> &mut dyn rand::RngCore {
            unreachable!("lists with `rand` in them are refused before")
        }
        fn now(&self) -> i64 {
            0
        }
    }
    let count = count.as_u64().filter(|count| *count <= LIST_MAX as u64);
    let count = count.ok_or_else(|| format!("`count` is a number up to {LIST_MAX}"))? as usize;
    let template = Template::parse(each)?;
    if template.is_random() || template.uses().iter().any(|found| found.path != ["n"]) {
        return Err("`each` knows `n` and nothing else".into());
    }
    (0..count).map(|n| template.evaluate(&mut Numbered(n)).map_err(|unfit| unfit.to_string())).collect()
}

/// One element a line; empty lines and comments are left out.
fn lines_of(path: &Path) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if text.len() > FILE_MAX || text.lines().any(|line| line.len() > RESULT_MAX) {
        return Err(format!("{} is too large", path.display()));
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(Value::from).collect())
}

/// Names that mean something by themselves, and what soldiers keep for themselves.
pub const RESERVED: [&str; 12] =
    ["bot", "loop", "event", "run", "config", "shared", "now", "id", "slot", "life", "role", "start_time"];

/// Whether no tree may give a value to this name.
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// Letters, digits, `_` and `-`, and no digit first.
pub fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}
