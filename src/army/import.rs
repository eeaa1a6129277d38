//! Files of the behavior3 editor, and of Bot Army's fork of it, as tree files.
//!
//! Trees become `trees:`, a tree's properties its parameters, so that `{{name}}` in a title keeps the type of the
//! property. Titles of actions, `Module.fun(arg, "arg", option: true) words`, are literals of Elixir; the action
//! is found by name. What cannot be mapped is told with the id of its node.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::army::action::{Action, Registry, Type};
use crate::army::elixir;
use crate::army::spec::file::is_name;
use crate::army::spec::write::write;
use crate::yaml::fault::did_you_mean;
use crate::yaml::source::{Content, Entry, Located};

/// How deep trees of an editor file may be.
const DEPTH_MAX: usize = 64;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub yaml: String,
    /// What has no counterpart: a node that fails stands in its place.
    pub unmapped: Vec<String>,
}

/// Whether a text is a file of the editor.
pub fn is_behavior3(text: &str) -> bool {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
    data(&value).get("trees").is_some_and(Value::is_array)
}

fn data(value: &Value) -> &Value {
    value.get("data").unwrap_or(value)
}

/// Imports the tree of this title, `Root` if none is given, and all that it uses.
pub fn import(text: &str, title: Option<&str>, registry: &Registry) -> Result<Imported, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?;
    let trees = data(&value).get("trees").and_then(Value::as_array);
    let trees = trees.ok_or("this is no file of the behavior3 editor: it has no `trees`")?;
    let wanted = title.unwrap_or("Root");
    let titles = || trees.iter().filter_map(|tree| tree.get("title").and_then(Value::as_str));
    let root = trees.iter().find(|tree| text_in(tree, "title").eq_ignore_ascii_case(wanted));
    let root = root.ok_or_else(|| {
        let near = did_you_mean(wanted, titles());
        format!("there is no tree {wanted}{near}; there are: {}", titles().collect::<Vec<_>>().join(", "))
    })?;
    let mut importer =
        Importer { trees, registry, unmapped: Vec::new(), wanted: vec![root], names: Vec::new(), open: 0 };
    Ok(importer.file(root))
}

/// Puts our nodes and actions into an editor file, as nodes to choose from, and leaves the rest as it is.
pub fn with_custom_nodes(text: &str, registry: &Registry) -> Result<String, String> {
    let mut value: Value = if text.trim().is_empty() {
        json!({ "data": { "version": "0.3.0", "scope": "project", "trees": [] } })
    } else {
        serde_json::from_str(text).map_err(|error| format!("this is no JSON: {error}"))?
    };
    let inner = if value.get("data").is_some() { &mut value["data"] } else { &mut value };
    let Some(fields) = inner.as_object_mut() else {
        return Err("this is no file of the behavior3 editor".into());
    };
    fields.insert("custom_nodes".into(), registry.all().map(custom_node).collect());
    serde_json::to_string_pretty(&value).map(|text| text + "\n").map_err(|error| error.to_string())
}

fn custom_node(action: &'static Action) -> Value {
    let params = action.params.iter().filter(|param| param.is_given()).map(|param| param.name);
    let title = format!("{}({})", action.name, params.collect::<Vec<_>>().join(", "));
    json!({ "version": "0.3.0", "scope": "node", "name": title, "category": "action", "title": title,
        "description": action.about, "properties": {} })
}

fn text_in<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

struct Importer<'a> {
    trees: &'a [Value],
    registry: &'a Registry,
    unmapped: Vec<String>,
    /// Trees that are used, the root first.
    wanted: Vec<&'a Value>,
    /// Names of trees by their ids.
    names: Vec<(&'a str, String)>,
    /// How deep the node is that is imported.
    open: usize,
}

/// Names of control nodes in the editor, in Bot Army's fork and in the original.
const CONTROLS: [(&str, &str); 21] = [
    ("sequence", "sequence"),
    ("Sequence", "sequence"),
    ("MemSequence", "sequence"),
    ("select", "select"),
    ("Priority", "select"),
    ("MemPriority", "select"),
    ("random", "random"),
    ("random_weighted", "random_weighted"),
    ("repeat_n", "repeat_n"),
    ("Repeater", "repeat_n"),
    ("repeat_until_succeed", "repeat_until_succeed"),
    ("RepeatUntilSuccess", "repeat_until_succeed"),
    ("repeat_until_fail", "repeat_until_fail"),
    ("RepeatUntilFailure", "repeat_until_fail"),
    ("always_succeed", "always_succeed"),
    ("Succeeder", "always_succeed"),
    ("always_fail", "always_fail"),
    ("Failer", "always_fail"),
    ("negate", "negate"),
    ("Inverter", "negate"),
    ("MaxTime", "timeout"),
];

impl<'a> Importer<'a> {
    fn file(&mut self, root: &'a Value) -> Imported {
        for (number, tree) in self.trees.iter().enumerate() {
            let name = self.free_name(text_in(tree, "title"), number);
            self.names.push((text_in(tree, "id"), name));
        }
        let node = self.tree(root);
        let mut trees = Vec::new();
        let mut done = 1;
        while done < self.wanted.len() {
            let tree = self.wanted[done];
            done += 1;
            let body = vec![entry("params", params(tree)), entry("root", self.tree(tree))];
            trees.push(entry(&self.name_of(tree), map(body)));
        }
        let mut file = vec![
            entry("army", scalar(json!(1))),
            entry("name", scalar(json!(self.name_of(root)))),
            entry("about", scalar(json!(text_in(root, "description")))),
            entry("params", params(root)),
            entry("root", node),
        ];
        if !trees.is_empty() {
            file.push(entry("trees", map(trees)));
        }
        let unmapped = self.unmapped.drain(..).collect::<BTreeSet<_>>().into_iter().collect();
        Imported { yaml: write(&map(file)), unmapped }
    }

    /// A title as a name that no other tree has.
    fn free_name(&self, title: &str, number: usize) -> String {
        let words: String = title.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect();
        let name = words.trim_matches('_').to_lowercase();
        let is_free = is_name(&name) && !self.names.iter().any(|(_, taken)| *taken == name);
        if is_free { name } else { format!("tree_{number}") }
    }

    fn name_of(&self, tree: &Value) -> String {
        let id = text_in(tree, "id");
        self.names.iter().find(|(known, _)| *known == id).map(|(_, name)| name.clone()).unwrap_or_default()
    }

    fn tree(&mut self, tree: &'a Value) -> Located {
        self.node(tree, text_in(tree, "root"))
    }

    fn node(&mut self, tree: &'a Value, id: &str) -> Located {
        let Some(node) = tree.get("nodes").and_then(|nodes| nodes.get(id)) else {
            return self.lost(id, "there is no such node");
        };
        if self.open >= DEPTH_MAX {
            return self.lost(id, "the tree is too deep, or a node is below itself");
        }
        self.open += 1;
        let imported = self.known_node(tree, id, node);
        self.open -= 1;
        imported
    }

    fn known_node(&mut self, tree: &'a Value, id: &str, node: &'a Value) -> Located {
        let name = text_in(node, "name");
        let children = children(node);
        // A node of the original that has no child is an action there.
        let control = CONTROLS.iter().find(|(known, _)| *known == name).filter(|_| !children.is_empty());
        if let Some((_, control)) = control {
            return self.control(tree, id, node, control, &children);
        }
        if let Some(subtree) = self.trees.iter().find(|tree| text_in(tree, "id") == name) {
            return self.subtree(subtree, node);
        }
        match (name, number_in(node, "milliseconds")) {
            ("Succeeder", _) => return scalar(json!("succeed")),
            ("Failer", _) => return scalar(json!("fail")),
            ("Error", _) => return map(vec![entry("error", scalar(json!("as the tree wants")))]),
            ("Wait", Some(millis)) => return map(vec![entry("wait", scalar(json!(format!("{millis}ms"))))]),
            _ => {}
        }
        let title = if text_in(node, "title").contains('(') { text_in(node, "title") } else { name };
        match self.action(title) {
            Ok(action) => action,
            Err(what) => self.lost(id, &what),
        }
    }

    fn control(
        &mut self,
        tree: &'a Value,
        id: &str,
        node: &Value,
        control: &str,
        children: &[&str],
    ) -> Located {
        let mut each: Vec<_> = children.iter().map(|child| (*child, self.node(tree, child))).collect();
        let body = match control {
            "sequence" | "select" | "random" => {
                Content::List(each.into_iter().map(|(_, child)| child).collect())
            }
            "random_weighted" => {
                let mut weighted = Vec::new();
                for (child_id, child) in each {
                    let weight = tree["nodes"][child_id]["properties"]["weight"].as_u64();
                    let Some(weight) = weight.filter(|weight| *weight > 0) else {
                        return self.lost(child_id, "it needs a property `weight`, a number above 0");
                    };
                    weighted.push(map(vec![entry("weight", scalar(json!(weight))), entry("do", child)]));
                }
                Content::List(weighted)
            }
            _ if each.len() != 1 => return self.lost(id, &format!("`{control}` takes one child")),
            "repeat_n" => {
                let times = number_in(node, "n").or_else(|| number_in(node, "maxLoop"));
                let Some(times) = times.filter(|times| *times >= 0.0) else {
                    return self.lost(id, "it needs a property `n`, a number of at least 0");
                };
                Content::Map(vec![entry("n", scalar(json!(times as u64))), entry("do", each.remove(0).1)])
            }
            "timeout" => {
                let Some(millis) = number_in(node, "maxTime") else {
                    return self.lost(id, "it needs a property `maxTime`, in milliseconds");
                };
                Content::Map(vec![
                    entry("after", scalar(json!(format!("{millis}ms")))),
                    entry("do", each.remove(0).1),
                ])
            }
            _ => each.remove(0).1.content,
        };
        map(vec![entry(control, Located { content: body, at: Default::default() })])
    }

    fn subtree(&mut self, subtree: &'a Value, node: &Value) -> Located {
        if !self.wanted.iter().any(|wanted| text_in(wanted, "id") == text_in(subtree, "id")) {
            self.wanted.push(subtree);
        }
        let name = self.name_of(subtree);
        let known = subtree.get("properties").and_then(Value::as_object);
        let given = node.get("properties").and_then(Value::as_object);
        // What the tree does not read would be a fault; the editor adds a weight to the children of a random.
        let with = given
            .into_iter()
            .flatten()
            .filter(|(key, _)| known.is_some_and(|known| known.contains_key(*key)));
        let with: Vec<_> = with.map(|(key, value)| entry(key, located(value))).collect();
        let name = scalar(json!(name));
        let given =
            if with.is_empty() { name } else { map(vec![entry("name", name), entry("with", map(with))]) };
        map(vec![entry("subtree", given)])
    }

    /// `Module.fun(1, "b", c: true) words`.
    fn action(&self, title: &str) -> Result<Located, String> {
        let (name, behind) = title.split_once('(').unwrap_or((title, ")"));
        let end = closing(behind).ok_or_else(|| format!("`{title}` has no closing parenthesis"))?;
        let action = self.find(name.trim())?;
        let (values, named) =
            elixir::arguments(&marked(&behind[..end])).map_err(|what| format!("`{title}`: {what}"))?;
        let params: Vec<_> = action.params.iter().filter(|param| param.is_given()).collect();
        let mut given = Map::new();
        // `wait(1, 10)` is a range.
        let values = match (&values[..], params.first().map(|param| param.kind)) {
            ([low, high], Some(Type::Duration)) if low.is_number() && high.is_number() => {
                vec![json!(format!("{low}s..{high}s"))]
            }
            _ => values,
        };
        if values.len() > params.len() {
            return Err(format!("`{title}`: {} takes {} arguments", action.name, params.len()));
        }
        for (param, value) in params.iter().zip(values) {
            given.insert(param.name.into(), unmarked(value));
        }
        for (name, value) in named {
            let takes_rest = action.params.iter().any(|param| matches!(param.kind, Type::Rest));
            if !takes_rest && !params.iter().any(|param| param.name == name) {
                let near = did_you_mean(&name, params.iter().map(|param| param.name));
                return Err(format!("`{title}`: {} has no parameter {name}{near}", action.name));
            }
            given.insert(name, unmarked(value));
        }
        if given.is_empty() {
            return Ok(scalar(json!(action.name)));
        }
        let given = given.iter().map(|(name, value)| entry(name, located(value)));
        Ok(map(vec![entry(action.name, map(given.collect()))]))
    }

    /// By the whole name, by its last two parts, by its last part; modules are written large there.
    fn find(&self, name: &str) -> Result<&'static Action, String> {
        let lower = name.to_lowercase();
        let parts: Vec<_> = lower.split('.').collect();
        let last = |count: usize| parts[parts.len().saturating_sub(count)..].join(".");
        let found = [lower.clone(), last(2), last(1)].iter().find_map(|name| self.registry.find(name));
        found.ok_or_else(|| {
            format!("there is no action {name}{}", did_you_mean(&last(1), self.registry.names()))
        })
    }

    fn lost(&mut self, id: &str, what: &str) -> Located {
        self.unmapped.push(format!("node {id}: {what}"));
        map(vec![entry("fail", scalar(json!(format!("not imported: {id}"))))])
    }
}

fn children(node: &Value) -> Vec<&str> {
    let many = node.get("children").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    many.chain(node.get("child").and_then(Value::as_str)).collect()
}

fn number_in(node: &Value, name: &str) -> Option<f64> {
    node.get("properties")?.get(name)?.as_f64()
}

/// Where the call closes: not in quotes, not inside of another pair.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    text.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth == 0 => return Some(at),
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        None
    })
}

/// What marks a template that stands alone among the arguments; no title has this character.
const MARK: char = '\u{e000}';

/// `{{x}}` outside of quotes is a literal of its own.
fn marked(arguments: &str) -> String {
    let mut text = String::new();
    let (mut rest, mut quoted, mut escaped) = (arguments, false, false);
    while let Some(c) = rest.chars().next() {
        if !quoted
            && rest.starts_with("{{")
            && let Some(end) = rest.find("}}")
        {
            text.push_str(&format!("\"{MARK}{}\"", rest[2..end].trim()));
            rest = &rest[end + 2..];
            continue;
        }
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        text.push(c);
        rest = &rest[c.len_utf8()..];
    }
    text
}

fn unmarked(value: Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix(MARK) {
            Some(name) => Value::from(format!("{{{{{name}}}}}")),
            None => Value::String(text),
        },
        Value::Array(elements) => elements.into_iter().map(unmarked).collect(),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, unmarked(value))).collect())
        }
        other => other,
    }
}

/// The properties of a tree are its parameters.
fn params(tree: &Value) -> Located {
    let properties = tree.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    map(properties.iter().map(|(name, value)| entry(name, located(value))).collect())
}

fn located(value: &Value) -> Located {
    Located::of(value)
}

fn scalar(value: Value) -> Located {
    Located::of(&value)
}

fn map(entries: Vec<Entry>) -> Located {
    Located { at: Default::default(), content: Content::Map(entries) }
}

fn entry(name: &str, value: Located) -> Entry {
    Entry { at: Default::default(), name: name.into(), value }
}

#[cfg(test)]
mod tests;
