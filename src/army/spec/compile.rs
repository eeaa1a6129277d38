//! From a file to a [`Program`]: subtrees are put in, arguments compared, names looked for.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::army::action::{Param, Registry, Type};
use crate::army::spec::arguments::Arguments;
use crate::army::spec::fault::{Faults, Place, did_you_mean};
use crate::army::spec::file::{File, Parameter, is_name, is_reserved};
use crate::army::spec::names::{Names, Seen};
use crate::army::spec::node::{self, Node};
use crate::army::spec::program::{Part, Program, What};
use crate::army::spec::reach;
use crate::army::spec::source::Located;
use crate::army::spec::suite;
use crate::army::spec::template::{Template, Use, as_text};
use crate::army::tree::{DEPTH_MAX, Flaw, Kind, NodeId, Tree};

/// What is known from elsewhere when a tree is compiled.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// What `--custom` gave.
    pub custom: Map<String, Value>,
    /// Nothing more will be given: what is missing is a fault.
    pub is_complete: bool,
    /// Names that are in the context already.
    pub context: BTreeSet<String>,
}

/// A program and what is odd about it, or what is wrong.
pub type Compiled = Result<(Program, Faults), Faults>;

impl Given {
    /// What a run gives, and nothing more.
    pub fn complete(custom: Map<String, Value>) -> Self {
        Self { custom, is_complete: true, context: BTreeSet::new() }
    }
}

/// Compiles one tree of a file.
pub fn compile(file: &File, root: &Node, registry: &Registry, given: &Given) -> Compiled {
    let mut names = Names { context: given.context.clone(), ..Names::default() };
    for handler in &file.events {
        names.context.extend(handler.set.iter().map(|(name, _)| name.clone()));
    }
    let mut compiler = Compiler {
        file,
        registry,
        faults: Faults::default(),
        tree: Tree::default(),
        parts: Vec::new(),
        names,
        is_full: false,
    };
    let frame = Frame { params: &file.params, chain: Vec::new(), repeats: false };
    compiler.add(root, "root", &frame, 1);
    compiler.finish(given)
}

/// All that a file holds, for `check`: its root, its tests, and trees that neither uses.
pub fn check(file: &File, registry: &Registry) -> Faults {
    let given = Given::default();
    let mut faults = Faults::default();
    let mut used = BTreeSet::new();
    let mut note = |compiled: Compiled| match compiled {
        Ok((program, odd)) => {
            let names = program.parts.iter().filter_map(|part| part.args.constant("name")?.as_str());
            used.extend(names.map(str::to_owned));
            faults.extend(odd);
        }
        Err(wrong) => faults.extend(wrong),
    };
    if let Some(root) = &file.root {
        note(compile(file, root, registry, &given));
    }
    if file.tests.is_some() {
        match suite::compile(file, registry, &given) {
            Ok((suite, odd)) => suite.programs().for_each(|program| note(Ok((program.clone(), odd.clone())))),
            Err(wrong) => note(Err(wrong)),
        }
    }
    if !faults.are_fatal() {
        // They may be meant for FILE#TREE.
        let plain = File { thresholds: Vec::new(), ..file.clone() };
        for (name, named) in file.trees.iter().filter(|(name, _)| !used.contains(*name)) {
            match compile(&plain, &Node::subtree(name, named.at), registry, &given) {
                Ok((_, odd)) => faults.extend(odd),
                Err(wrong) => faults.extend(wrong),
            }
        }
    }
    faults
}

/// Where the compiler is: in which tree, and below what.
#[derive(Clone)]
struct Frame<'a> {
    params: &'a [Parameter],
    /// The subtrees that are open, to find one that contains itself.
    chain: Vec<&'a str>,
    repeats: bool,
}

struct Compiler<'a> {
    file: &'a File,
    registry: &'a Registry,
    faults: Faults,
    tree: Tree,
    parts: Vec<Part>,
    names: Names<'a>,
    is_full: bool,
}

impl<'a> Compiler<'a> {
    fn add(&mut self, node: &'a Node, path: &str, frame: &Frame<'a>, depth: usize) -> Option<NodeId> {
        if self.is_full {
            return None;
        }
        if depth > DEPTH_MAX {
            self.faults.add(node.at, Flaw::TooDeep.to_string());
            return None;
        }
        let what = self.what(node)?;
        let (kind, params) = match what {
            What::Control(control) => (control.kind, control.params),
            What::Act(action) => (Kind::Leaf, action.params),
        };
        let args = self.args(node, params);
        let id = match self.tree.add(kind) {
            Ok(id) => id,
            Err(flaw) => {
                self.is_full = true;
                self.faults.add(node.at, flaw.to_string());
                return None;
            }
        };
        let roles = self.roles(node, kind);
        let shared = self.note(node, what, &args, frame);
        let label = node.label.clone().filter(|label| !label.is_empty());
        let part = Part {
            path: path.into(),
            at: node.at,
            label,
            what,
            args,
            shown: shown(&node.given.value()),
            roles,
            with: Vec::new(),
            shared,
        };
        self.parts.push(part);
        if kind == Kind::Subtree {
            self.subtree(node, id, path, frame, depth);
        }
        let repeats = frame.repeats
            || matches!(
                kind,
                Kind::RepeatN
                    | Kind::RepeatUntilFail
                    | Kind::RepeatUntilSucceed
                    | Kind::Retry
                    | Kind::Eventually
            );
        let inner = Frame { repeats, ..frame.clone() };
        for child in &node.children {
            let place = self.add(&child.node, &format!("{path}/{}", child.step), &inner, depth + 1);
            if let Some(place) = place {
                self.tree.adopt(id, place, child.weight);
            }
        }
        Some(id)
    }

    fn what(&mut self, node: &Node) -> Option<What> {
        if let Some(action) = node.action {
            return Some(What::Act(action));
        }
        if let Some(control) = node::find(&node.name) {
            return Some(What::Control(control));
        }
        match self.registry.find(&node.name) {
            Some(action) => Some(What::Act(action)),
            None => {
                let near = did_you_mean(&node.name, self.registry.names());
                self.faults.add(node.at, format!("unknown action {}{near}", node.name));
                None
            }
        }
    }

    fn args(&mut self, node: &Node, params: &'static [Param]) -> Arguments {
        Arguments::read(&node.name, params, &node.given).unwrap_or_else(|faults| {
            self.faults.extend(faults.placed(node.at));
            Arguments::default()
        })
    }

    fn roles(&mut self, node: &Node, kind: Kind) -> Vec<String> {
        if kind != Kind::ByRole {
            return Vec::new();
        }
        for child in &node.children {
            self.known_role(child.node.at, &child.step);
        }
        node.children.iter().map(|child| child.step.clone()).collect()
    }

    fn known_role(&mut self, at: Place, role: &str) {
        if !self.file.roles.names().any(|name| name == role) {
            let near = did_you_mean(role, self.file.roles.names());
            self.faults.add(at, format!("there is no role {role} in `roles`{near}"));
        }
    }

    /// Notes what a node reads and what it puts into the context; gives the shared keys that it reads.
    fn note(&mut self, node: &Node, what: What, args: &Arguments, frame: &Frame<'a>) -> Vec<String> {
        for (at, list) in args.of_kind(|kind| matches!(kind, Type::ListName)) {
            if !self.file.lists.contains_key(&list) {
                let near = did_you_mean(&list, self.file.lists.keys().map(String::as_str));
                self.faults.add(at, format!("there is no list {list} in `lists`{near}"));
            }
        }
        for (at, role) in args.of_kind(|kind| matches!(kind, Type::Role)) {
            self.known_role(at, &role);
        }
        let mut sets = args.of_kind(|kind| matches!(kind, Type::Into));
        let params = match what {
            What::Control(control) => control.params,
            What::Act(action) => action.params,
        };
        sets.extend(args.rest(params));
        for (at, name) in sets {
            if is_reserved(&name) || !is_name(&name) {
                self.faults.add(at, format!("`{name}` cannot be set: the name is not free"));
            }
            self.names.context.insert(name);
        }
        let given = params.iter().filter(|param| matches!(param.kind, Type::Sets));
        self.names.context.extend(given.map(|param| param.name.to_owned()));
        let mut shared = Vec::new();
        for (at, found) in args.uses() {
            self.note_use(at, found, node, what, frame, &mut shared);
        }
        for (at, name, kind) in args.expectations() {
            self.note_kind(at, name, kind, frame);
        }
        shared
    }

    fn note_use(
        &mut self,
        at: Place,
        found: Use,
        node: &Node,
        what: What,
        frame: &Frame<'a>,
        shared: &mut Vec<String>,
    ) {
        if found.path[0] == "shared" {
            let is_awaited = match what {
                What::Act(_) => true,
                What::Control(control) => control.kind == Kind::Guard,
            };
            match &found.path[1..] {
                [] => self.faults.add(at, "`shared` needs a key: shared.x"),
                _ if !is_awaited => {
                    let what =
                        format!("`{}` cannot wait for a shared value: get it into a name before", node.name);
                    self.faults.add(at, what);
                }
                [key, ..] if !shared.contains(key) => shared.push(key.clone()),
                _ => {}
            }
            return;
        }
        let own: &[&str] = match node.name.as_str() {
            "wait_for" => &["value"],
            "wait_event" => &["event"],
            _ => &[],
        };
        if own.contains(&found.path[0].as_str()) {
            return;
        }
        self.names.reads.push(Seen { at, found, params: frame.params, repeats: frame.repeats });
    }

    /// A parameter that is used as it is has the type that is needed there.
    fn note_kind(&mut self, at: Place, name: &str, kind: Type, frame: &Frame<'a>) {
        let params = frame.params.iter().chain(&self.file.params);
        let Some(param) = params.into_iter().find(|param| param.name == name) else { return };
        let default = &param.default;
        if !default.is_null() && crate::army::spec::arguments::fits(kind, default).is_err() {
            let what =
                format!("`{{{{{name}}}}}` does not fit here: it is {default}, wanted: {}", kind.name());
            self.faults.add(at, what);
        }
    }

    fn subtree(&mut self, node: &'a Node, id: NodeId, path: &str, frame: &Frame<'a>, depth: usize) {
        let file = self.file;
        let Some(name) = self.parts[id as usize].args.constant("name").and_then(Value::as_str) else {
            self.faults.add(node.at, "the name of a subtree is a text without templates");
            return;
        };
        let Some((name, named)) = file.trees.get_key_value(name) else {
            let near = did_you_mean(name, file.trees.keys().map(String::as_str));
            self.faults.add(node.at, format!("there is no tree {name} in `trees`{near}"));
            return;
        };
        if frame.chain.contains(&name.as_str()) {
            let circle = [&frame.chain[..], &[name]].concat().join(" > ");
            self.faults.add(node.at, format!("a tree cannot contain itself: {circle}"));
            return;
        }
        let with = self.with(node, name, &named.params);
        self.parts[id as usize].with = with;
        let chain = [&frame.chain[..], &[name]].concat();
        let inner = Frame { params: &named.params, chain, repeats: frame.repeats };
        if let Some(place) = self.add(&named.root, &format!("{path}/{name}"), &inner, depth + 1) {
            self.tree.adopt(id, place, 1);
        }
    }

    /// The parameters of a subtree: its defaults, and what it is given in their place.
    fn with(&mut self, node: &Node, name: &str, params: &[Parameter]) -> Vec<(String, Type, Template)> {
        let given = node.given.entries().unwrap_or_default().iter().find(|entry| entry.name == "with");
        let given = given.and_then(|entry| entry.value.entries()).unwrap_or_default();
        for entry in given.iter().filter(|entry| !params.iter().any(|param| param.name == entry.name)) {
            let near = did_you_mean(&entry.name, params.iter().map(|param| param.name.as_str()));
            self.faults.add(entry.at, format!("the tree {name} has no parameter {}{near}", entry.name));
        }
        let mut with = Vec::new();
        for param in params {
            let value = given.iter().find(|entry| entry.name == param.name).map(|entry| &entry.value);
            if value.is_none() && param.default.is_null() {
                self.faults.add(node.at, format!("the tree {name} needs `{}`", param.name));
            }
            let template = match value {
                Some(value) => self.parameter(param, value),
                None => Template::Constant(param.default.clone()),
            };
            with.push((param.name.clone(), param.kind(), template));
        }
        with
    }

    fn parameter(&mut self, param: &Parameter, value: &Located) -> Template {
        let template = Template::parse(&value.value()).unwrap_or(Template::Constant(Value::Null));
        if let Some(constant) = template.constant()
            && let Err(what) = param.takes(constant)
        {
            self.faults.add(value.at, what);
        }
        template
    }

    fn finish(mut self, given: &Given) -> Compiled {
        self.check_events();
        for (at, threshold) in &self.file.thresholds {
            let rows: Vec<_> =
                self.parts.iter().filter(|part| part.action().is_some()).map(Part::row).collect();
            if let Err(what) = threshold.check_name(rows.into_iter()) {
                self.faults.add(*at, what);
            }
        }
        let params = self.params(given);
        let needs = self.names.check(self.file, given, &mut self.faults);
        if self.faults.are_fatal() {
            return Err(self.faults);
        }
        if let Err((id, flaw)) = self.tree.check() {
            return Err(Faults::one(self.parts[id as usize].at, flaw.to_string()));
        }
        reach::check(&self.tree, &self.parts, &mut self.faults);
        if self.faults.are_fatal() {
            return Err(self.faults);
        }
        let program = Program {
            name: self.file.name.clone(),
            about: self.file.about.clone(),
            hash: hash(&self.parts),
            tree: self.tree,
            parts: self.parts,
            params,
            config: given.custom.clone(),
            lists: self.file.lists.clone(),
            roles: self.file.roles.clone(),
            thresholds: self.file.thresholds.iter().map(|(_, threshold)| threshold.clone()).collect(),
            events: self.file.events.clone(),
            example: self.file.example.clone(),
            needs,
        };
        Ok((program, self.faults))
    }

    fn check_events(&mut self) {
        for handler in &self.file.events {
            for (name, typed) in &handler.set {
                if is_reserved(name) || !is_name(name) {
                    self.faults.add(handler.at, format!("`{name}` cannot be set: the name is not free"));
                }
                for found in typed.template.uses() {
                    if found.path[0] == "shared" {
                        self.faults.add(handler.at, "an event handler cannot wait for a shared value");
                    } else if found.path[0] != "event" {
                        let params = &self.file.params[..];
                        let seen = Seen { at: handler.at, found, params, repeats: true };
                        self.names.reads.push(seen);
                    }
                }
            }
        }
    }

    /// The parameters of the file, as given or by default.
    fn params(&mut self, given: &Given) -> Map<String, Value> {
        let mut params = Map::new();
        for param in &self.file.params {
            match given.custom.get(&param.name) {
                Some(value) => {
                    if let Err(what) = param.takes(value) {
                        self.faults.add(Place::default(), format!("--custom: {what}"));
                    }
                    params.insert(param.name.clone(), value.clone());
                }
                None if param.default.is_null() => {}
                None => drop(params.insert(param.name.clone(), param.default.clone())),
            }
        }
        params
    }
}

/// What a node was given, in one line.
fn shown(given: &Value) -> String {
    match given {
        Value::Null => String::new(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", as_text(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
        other => as_text(other),
    }
}

/// Four bytes of what the nodes are and were given.
fn hash(parts: &[Part]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(format!(
            "{} {} {:?} {:?} {:?}\n",
            part.path,
            part.name(),
            part.label,
            part.args,
            part.with
        ));
    }
    hasher.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
