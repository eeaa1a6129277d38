//! Actions are data: a name, what it is for, what it takes, and the function that does it.
//!
//! `list`, `check`, the importer, the HTTP API and the documentation read the same table. What a file or a
//! builder gives an action is compared with its parameters before any soldier starts; what the function then
//! gets is complete, evaluated and of the declared types.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use crate::army::soldier::Soldier;
use crate::army::spec::check::Check;

/// Something a soldier can do.
#[derive(Debug)]
pub struct Action {
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    pub params: &'static [Param],
    pub run: Run,
}

/// What runs an action.
pub type Run = for<'a> fn(&'a mut Soldier, Args) -> BoxFuture<'a, Ran>;

/// How an action ended; a [`Stop`] is what `?` ends it with.
pub type Ran = Result<Outcome, Stop>;

/// How an action ended, and what the soldier knows from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub ending: Ending,
    /// What is put into the soldier's context. A soldier that is done or has died keeps nothing.
    pub updates: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    Succeed,
    /// With what was expected and what was seen instead.
    Fail(String),
    /// The same leaf again, at the earliest 10 ms later.
    Continue,
    /// The soldier ends well.
    Done,
    /// The soldier dies of this.
    Error(String),
}

/// Why an action went no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It failed: the tree goes on from there.
    Fail(String),
    /// The soldier dies.
    Error(String),
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(format!("{error:#}"))
    }
}

impl From<Stop> for Outcome {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Fail(reason) => Self::fail(reason),
            Stop::Error(reason) => Self::error(reason),
        }
    }
}

impl Outcome {
    fn new(ending: Ending) -> Self {
        Self { ending, updates: Map::new() }
    }

    pub fn succeed() -> Self {
        Self::new(Ending::Succeed)
    }

    pub fn fail(reason: impl Into<String>) -> Self {
        Self::new(Ending::Fail(reason.into()))
    }

    /// The same leaf again, a little later.
    pub fn again() -> Self {
        Self::new(Ending::Continue)
    }

    pub fn done() -> Self {
        Self::new(Ending::Done)
    }

    pub fn error(reason: impl Into<String>) -> Self {
        Self::new(Ending::Error(reason.into()))
    }

    /// Puts a value into the soldier's context. The action declares the name with [`Param::sets`], or takes it
    /// in a parameter of [`Type::Into`].
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.updates.insert(name.into(), value.into());
        self
    }
}

/// What an action takes, or something else that is to be known about it: what it puts into the context, which
/// of its parameters exclude each other.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    pub kind: Type,
    pub about: &'static str,
    /// Neither optional nor with a default.
    pub required: bool,
    /// As it would be written in a file.
    pub default: Option<&'static str>,
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    Text,
    Integer,
    Number,
    Bool,
    /// `250ms`, `1.5s`, `2m`, a number of seconds, or a range of them, drawn on every visit. The function gets
    /// one duration.
    Duration,
    /// `5/s`, `1.5/m`.
    Rate,
    /// A share: `0.3` or `30%`.
    Share,
    /// A number, or `all`.
    Count,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// The name of a list in `lists:`.
    ListName,
    /// The name of a role in `roles:`.
    Role,
    /// A name in the soldier's context where a result goes. No template.
    Into,
    /// A comparison, as in `check`.
    Check,
    /// Any value.
    Any,
    List,
    /// Names chosen by the author of the tree.
    Map,
    /// Names declared here.
    Record(&'static [Param]),
    /// Not given under its name: every argument that no other parameter takes. They are put into the context.
    Rest,
    /// Not given at all: a name that the action puts into the context.
    Sets,
    /// Not given at all: exactly one of these parameters is.
    OneOf(&'static [&'static str]),
    /// Not given at all: not more than one of these parameters is.
    AtMostOne(&'static [&'static str]),
}

impl Param {
    /// A parameter that must be given.
    pub const fn new(name: &'static str, kind: Type) -> Self {
        Self { name, kind, about: "", required: true, default: None }
    }

    pub const fn text(name: &'static str) -> Self {
        Self::new(name, Type::Text)
    }

    pub const fn integer(name: &'static str) -> Self {
        Self::new(name, Type::Integer)
    }

    pub const fn bool(name: &'static str) -> Self {
        Self::new(name, Type::Bool)
    }

    pub const fn duration(name: &'static str) -> Self {
        Self::new(name, Type::Duration)
    }

    pub const fn choice(name: &'static str, words: &'static [&'static str]) -> Self {
        Self::new(name, Type::Choice(words))
    }

    /// Where a result goes, if anybody wants it.
    pub const fn into(name: &'static str) -> Self {
        Self::new(name, Type::Into).optional()
    }

    /// Any further names; their values go into the context.
    pub const fn rest() -> Self {
        Self::new("..", Type::Rest).optional()
    }

    /// A name that the action puts into the context.
    pub const fn sets(name: &'static str) -> Self {
        Self::new(name, Type::Sets).optional()
    }

    pub const fn one_of(names: &'static [&'static str]) -> Self {
        Self::new("", Type::OneOf(names)).optional()
    }

    pub const fn at_most_one(names: &'static [&'static str]) -> Self {
        Self::new("", Type::AtMostOne(names)).optional()
    }

    pub const fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// As it would be written in a file.
    pub const fn default(mut self, text: &'static str) -> Self {
        self.required = false;
        self.default = Some(text);
        self
    }

    pub const fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Whether a tree can give it under its name.
    pub fn is_given(&self) -> bool {
        !matches!(self.kind, Type::Rest | Type::Sets | Type::OneOf(_) | Type::AtMostOne(_))
    }
}

impl Type {
    /// For people.
    pub fn name(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Integer => "integer".into(),
            Self::Number => "number".into(),
            Self::Bool => "true or false".into(),
            Self::Duration => "duration".into(),
            Self::Rate => "rate".into(),
            Self::Share => "share".into(),
            Self::Count => "number or all".into(),
            Self::Choice(words) => words.join(" or "),
            Self::ListName => "name of a list".into(),
            Self::Role => "name of a role".into(),
            Self::Into | Self::Sets => "name in the context".into(),
            Self::Check => "comparison".into(),
            Self::Any => "any value".into(),
            Self::List => "list".into(),
            Self::Map | Self::Record(_) | Self::Rest => "mapping".into(),
            Self::OneOf(names) | Self::AtMostOne(names) => names.join(" or "),
        }
    }
}

/// The arguments of an action. In a tree they may hold templates; an action gets them evaluated, with defaults
/// put in and of the declared types: durations as seconds.
#[derive(Clone, Debug, Default)]
pub struct Args {
    values: Map<String, Value>,
    checks: BTreeMap<String, Arc<Check>>,
}

impl From<Map<String, Value>> for Args {
    fn from(values: Map<String, Value>) -> Self {
        Self { values, checks: BTreeMap::new() }
    }
}

/// Reading a declared parameter cannot fail, because arguments are compared with the declaration when the tree
/// is loaded and again when they are evaluated. Asking for one that is not declared is a bug, and panics.
impl Args {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives an argument; a text may hold templates.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.values.insert(name.into(), value.into());
        self
    }

    /// Gives a comparison that is read already.
    pub fn with_check(mut self, name: impl Into<String>, check: Arc<Check>) -> Self {
        self.checks.insert(name.into(), check);
        self
    }

    /// All values by name.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    pub fn value(&self, name: &str) -> &Value {
        self.get(name).unwrap_or_else(|| panic!("no argument `{name}`: it must be declared as required"))
    }

    pub fn text(&self, name: &str) -> &str {
        self.value(name).as_str().unwrap_or_else(|| panic!("`{name}` is not declared as a text"))
    }

    pub fn maybe_text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|_| self.text(name))
    }

    pub fn integer(&self, name: &str) -> i64 {
        self.value(name).as_i64().unwrap_or_else(|| panic!("`{name}` is not declared as an integer"))
    }

    /// A number, a share (0 to 1) or a rate (per second).
    pub fn number(&self, name: &str) -> f64 {
        self.value(name).as_f64().unwrap_or_else(|| panic!("`{name}` is not declared as a number"))
    }

    pub fn flag(&self, name: &str) -> bool {
        self.value(name).as_bool().unwrap_or_else(|| panic!("`{name}` is not declared as true or false"))
    }

    pub fn maybe_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|_| self.flag(name))
    }

    pub fn duration(&self, name: &str) -> Duration {
        Duration::try_from_secs_f64(self.number(name)).unwrap_or(Duration::MAX)
    }

    pub fn maybe_duration(&self, name: &str) -> Option<Duration> {
        self.get(name).map(|_| self.duration(name))
    }

    /// A parameter of [`Type::Count`]; `None` is all.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.value(name).as_u64()
    }

    /// A parameter of [`Type::Record`], as arguments of its own.
    pub fn record(&self, name: &str) -> Option<Self> {
        self.get(name).and_then(Value::as_object).cloned().map(Self::from)
    }

    /// A comparison; it is evaluated by who has it, as often as needed.
    pub fn check(&self, name: &str) -> Option<&Arc<Check>> {
        self.checks.get(name)
    }
}

/// The actions that trees may use, by name.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    actions: BTreeMap<&'static str, &'static Action>,
}

impl Registry {
    /// The built-in actions.
    pub fn new() -> Self {
        let mut registry = Self::default();
        for action in crate::army::actions::ALL.iter().copied() {
            registry.add(action);
        }
        registry
    }

    /// Adds an action of one's own; it takes the place of a built-in one of the same name.
    pub fn add(&mut self, action: &'static Action) {
        self.actions.insert(action.name, action);
    }

    pub fn find(&self, name: &str) -> Option<&'static Action> {
        self.actions.get(name).copied()
    }

    pub fn all(&self) -> impl Iterator<Item = &'static Action> {
        self.actions.values().copied()
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.actions.keys().copied()
    }
}
