//! A tree as it was written, in a file or with builders, before it is compiled.

use crate::army::action::{Action, Param, Type};
use crate::army::tree::Kind;
use crate::yaml::fault::{Faults, Place, did_you_mean};
use crate::yaml::source::{Content, Entry, Located};

/// A node as it was written.
#[derive(Clone, Debug)]
pub struct Node {
    pub at: Place,
    /// Of a control node or an action.
    pub name: String,
    /// The action itself, when a builder gave it: it need not be registered.
    pub action: Option<&'static Action>,
    /// Its name in logs, metrics and thresholds.
    pub label: Option<String>,
    /// What it is given, without its children.
    pub given: Located,
    pub children: Vec<Child>,
}

#[derive(Clone, Debug)]
pub struct Child {
    /// The step of the path that leads to it: `2`, `do`, a role.
    pub step: String,
    pub weight: u32,
    pub node: Node,
}

/// A control node, as data: checking, listing and documentation read this table.
#[derive(Debug)]
pub struct Control {
    pub name: &'static str,
    pub about: &'static str,
    pub kind: Kind,
    pub shape: Shape,
    pub params: &'static [Param],
}

/// How its children are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A list of nodes.
    List,
    /// A list of weights and nodes.
    Weighted,
    /// One node, as the value itself or under this name.
    One(&'static str),
    /// A node for each name.
    Named,
    /// None: the children are elsewhere.
    Elsewhere,
}

const WITHIN: Param = Param::duration("within").about("On the clock, pauses and runs together");
const TTL: Param = Param::duration("ttl").default("10s").about("How long after a crash others wait");
const WAIT: Param = Param::duration("wait").default("30s").about("Not acquired until then: fail");

/// All control nodes.
pub const CONTROLS: &[Control] = &[
    control("sequence", Kind::Sequence, Shape::List, &[], "All children in order, until one fails"),
    control("select", Kind::Select, Shape::List, &[], "The children in order, until one succeeds"),
    control("random", Kind::Random, Shape::List, &[], "One child, drawn on every entry"),
    control("random_weighted", Kind::RandomWeighted, Shape::Weighted, &[], "One child, drawn by weight"),
    control(
        "repeat_n",
        Kind::RepeatN,
        Shape::One("do"),
        &[Param::integer("n")],
        "The child n times, whatever it does; succeeds",
    ),
    control(
        "repeat_until_succeed",
        Kind::RepeatUntilSucceed,
        Shape::One("do"),
        &[],
        "The child until it succeeds",
    ),
    control(
        "repeat_until_fail",
        Kind::RepeatUntilFail,
        Shape::One("do"),
        &[],
        "The child until it fails; succeeds",
    ),
    control("always_succeed", Kind::AlwaysSucceed, Shape::One("do"), &[], "The child; succeeds"),
    control("always_fail", Kind::AlwaysFail, Shape::One("do"), &[], "The child; fails"),
    control("negate", Kind::Negate, Shape::One("do"), &[], "The child; the other outcome"),
    control(
        "retry",
        Kind::Retry,
        Shape::One("do"),
        &[Param::integer("times"), Param::duration("backoff").default("0s")],
        "The child until it succeeds, so many times at most, with a pause in between",
    ),
    control(
        "eventually",
        Kind::Eventually,
        Shape::One("do"),
        &[WITHIN, Param::duration("every").default("500ms")],
        "The child until it succeeds or the time is over",
    ),
    control(
        "timeout",
        Kind::Timeout,
        Shape::One("do"),
        &[Param::duration("after")],
        "The child; fails when the time is over",
    ),
    control(
        "pace",
        Kind::Pace,
        Shape::One("do"),
        &[Param::duration("every")],
        "The child at fixed times; missed times are counted, not caught up",
    ),
    control(
        "once",
        Kind::Once,
        Shape::One("do"),
        &[],
        "The child on the first visit; then its first outcome",
    ),
    control(
        "by_role",
        Kind::ByRole,
        Shape::Named,
        &[],
        "The child of the bot's role; succeeds if there is none",
    ),
    control(
        "subtree",
        Kind::Subtree,
        Shape::Elsewhere,
        &[Param::text("name"), Param::new("with", Type::Map).optional()],
        "A named tree, with these parameters",
    ),
    control(
        "with_lock",
        Kind::Guard,
        Shape::One("do"),
        &[Param::text("key"), TTL, WAIT, Param::duration("max_hold").default("100s")],
        "The child while nobody else holds this lock",
    ),
    control(
        "with_permit",
        Kind::Guard,
        Shape::One("do"),
        &[Param::text("name"), Param::integer("max"), TTL, WAIT],
        "The child in not more than so many bots at once",
    ),
    control(
        "with_checkout",
        Kind::Guard,
        Shape::One("do"),
        &[Param::new("pool", Type::ListName), Param::new("into", Type::Into), TTL, WAIT],
        "The child with an element of a list that nobody else has meanwhile",
    ),
    control(
        "get_or_create",
        Kind::Guard,
        Shape::One("make"),
        &[
            Param::text("key"),
            Param::new("value", Type::Any),
            Param::into("into"),
            WITHIN.default("30s"),
            TTL,
        ],
        "The child in one bot only, which gives the value; the others wait for it",
    ),
];

const fn control(
    name: &'static str,
    kind: Kind,
    shape: Shape,
    params: &'static [Param],
    about: &'static str,
) -> Control {
    Control { name, about, kind, shape, params }
}

/// The control node of this name.
pub fn find(name: &str) -> Option<&'static Control> {
    CONTROLS.iter().find(|control| control.name == name)
}

impl Node {
    /// A tree of `trees:` by its name.
    pub fn subtree(name: &str, at: Place) -> Self {
        let given = Located { at, ..Located::of(&name.into()) };
        Self { at, name: "subtree".into(), action: None, label: None, given, children: Vec::new() }
    }

    /// Reads a node: a mapping with one name, or a bare word. `names` are those of all actions.
    pub fn read(value: &Located, names: &[&str], faults: &mut Faults) -> Option<Self> {
        match &value.content {
            Content::Map(entries) => Self::read_map(value.at, entries, names, faults),
            Content::Scalar(serde_json::Value::String(name)) => {
                let entry =
                    Entry { at: value.at, name: name.clone(), value: Located::of(&serde_json::Value::Null) };
                Self::read_map(value.at, &[entry], names, faults)
            }
            _ => {
                faults.add(
                    value.at,
                    format!("a node is a name or a mapping with one name, not {}", value.kind()),
                );
                None
            }
        }
    }

    fn read_map(at: Place, entries: &[Entry], names: &[&str], faults: &mut Faults) -> Option<Self> {
        let label = entries.iter().find(|entry| entry.name == "label");
        let mut others = entries.iter().filter(|entry| entry.name != "label");
        let Some(named) = others.next() else {
            faults.add(at, "a node needs a name");
            return None;
        };
        if let Some(second) = others.next() {
            let what = format!("one node has one name: `{}` or `{}`?", named.name, second.name);
            faults.add(second.at, what);
            return None;
        }
        let label = label.map(|entry| match entry.value.text() {
            Some(text) if !text.contains("{{") => text.to_owned(),
            _ => {
                faults.add(entry.value.at, "a label is a text without templates");
                String::new()
            }
        });
        let (given, children) = match find(&named.name) {
            Some(control) => control.read(named, names, faults)?,
            None if names.contains(&named.name.as_str()) => (named.value.clone(), Vec::new()),
            None => {
                let all = names.iter().copied().chain(CONTROLS.iter().map(|control| control.name));
                faults.add(
                    named.at,
                    format!("unknown action {}{}", named.name, did_you_mean(&named.name, all)),
                );
                return None;
            }
        };
        let given = if given.at.line == 0 { Located { at: named.at, ..given } } else { given };
        Some(Self { at: named.at, name: named.name.clone(), action: None, label, given, children })
    }
}

impl Control {
    /// What it is given, and its children.
    fn read(&self, entry: &Entry, names: &[&str], faults: &mut Faults) -> Option<(Located, Vec<Child>)> {
        let value = &entry.value;
        match self.shape {
            Shape::Elsewhere => Some((value.clone(), Vec::new())),
            Shape::List => Some((nothing(entry.at), self.list(entry, names, faults)?)),
            Shape::Weighted => Some((nothing(entry.at), self.weighted(entry, names, faults)?)),
            Shape::Named => {
                let Some(entries) = value.entries() else {
                    faults.add(value.at, format!("`{}` takes a mapping of names and nodes", self.name));
                    return None;
                };
                let children = entries.iter().filter_map(|entry| {
                    let node = Node::read(&entry.value, names, faults)?;
                    Some(Child { step: entry.name.clone(), weight: 1, node })
                });
                Some((nothing(entry.at), children.collect()))
            }
            Shape::One(key) => self.one(key, entry, names, faults),
        }
    }

    fn list(&self, entry: &Entry, names: &[&str], faults: &mut Faults) -> Option<Vec<Child>> {
        let Some(elements) = entry.value.list().filter(|elements| !elements.is_empty()) else {
            faults.add(entry.value.at.or(entry.at), format!("`{}` takes a list of nodes", self.name));
            return None;
        };
        let children = elements.iter().enumerate().filter_map(|(place, element)| {
            let node = Node::read(element, names, faults)?;
            Some(Child { step: place.to_string(), weight: 1, node })
        });
        Some(children.collect())
    }

    fn weighted(&self, entry: &Entry, names: &[&str], faults: &mut Faults) -> Option<Vec<Child>> {
        let elements = entry.value.list().filter(|elements| !elements.is_empty());
        let Some(elements) = elements else {
            let what = format!("`{}` takes a list of {{ weight: n, do: node }}", self.name);
            faults.add(entry.value.at.or(entry.at), what);
            return None;
        };
        let children = elements.iter().enumerate().filter_map(|(place, element)| {
            let (weight, node) = read_weighted(element, names, faults)?;
            Some(Child { step: place.to_string(), weight, node })
        });
        Some(children.collect())
    }

    fn one(
        &self,
        key: &str,
        entry: &Entry,
        names: &[&str],
        faults: &mut Faults,
    ) -> Option<(Located, Vec<Child>)> {
        let value = &entry.value;
        let entries = value.entries().unwrap_or_default();
        let under_key = entries.iter().find(|entry| entry.name == key);
        // Without parameters of its own the value is the child; `do` is allowed all the same.
        let child = match under_key {
            Some(child) => &child.value,
            None if self.params.is_empty() && !value.is_null() => value,
            None => {
                faults.add(entry.at, format!("`{}` needs `{key}`: a node", self.name));
                return None;
            }
        };
        let rest = if under_key.is_some() {
            entries.iter().filter(|entry| entry.name != key).cloned().collect()
        } else {
            Vec::new()
        };
        let node = Node::read(child, names, faults)?;
        let given = Located { at: entry.at, content: Content::Map(rest) };
        Some((given, vec![Child { step: key.to_owned(), weight: 1, node }]))
    }
}

fn nothing(at: Place) -> Located {
    Located { at, content: Content::Map(Vec::new()) }
}

fn read_weighted(element: &Located, names: &[&str], faults: &mut Faults) -> Option<(u32, Node)> {
    let entries = element.entries().unwrap_or_default();
    let mut weight = None;
    let mut child = None;
    for entry in entries {
        match entry.name.as_str() {
            "weight" => weight = Some(&entry.value),
            "do" => child = Some(&entry.value),
            other => {
                let near = did_you_mean(other, ["weight", "do"]);
                faults.add(entry.at, format!("a weighted child has `weight` and `do`, no `{other}`{near}"));
            }
        }
    }
    let (Some(weight), Some(child)) = (weight, child) else {
        faults.add(element.at, "a weighted child is { weight: n, do: node }");
        return None;
    };
    let number = weight.value().as_u64().and_then(|weight| u32::try_from(weight).ok());
    let Some(number) = number.filter(|number| (1..=WEIGHT_MAX).contains(number)) else {
        faults.add(weight.at, format!("a weight is a number from 1 to {WEIGHT_MAX}"));
        return None;
    };
    Some((number, Node::read(child, names, faults)?))
}

/// All weights of one node are added up.
const WEIGHT_MAX: u32 = 100_000;

impl Place {
    /// This place, or another one where there is none.
    fn or(self, other: Self) -> Self {
        if self.line > 0 { self } else { other }
    }
}
