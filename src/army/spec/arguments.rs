//! Arguments: what a node or an action is given, compared with what is declared, and evaluated at every visit.

use std::sync::Arc;

use rand::{RngCore, SeedableRng};
use serde_json::{Map, Value};

use crate::army::action::{Args, Param, Type};
use crate::army::spec::amount::{self, Span};
use crate::army::spec::check::Check;
use crate::army::spec::template::{Scope, Template, Unfit, Use, as_text};
use crate::yaml::fault::{Faults, Place, did_you_mean};
use crate::yaml::source::{Content, Entry, Located, kind_of};

/// The arguments of one node, read and compared.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    held: Vec<Argument>,
}

#[derive(Clone, Debug)]
struct Argument {
    name: String,
    at: Place,
    value: Held,
}

#[derive(Clone, Debug)]
enum Held {
    Typed(Typed),
    Check(Arc<Check>),
    Record(Arguments),
}

/// A value with the type that it has to have.
#[derive(Clone, Debug)]
pub struct Typed {
    pub kind: Type,
    pub template: Template,
}

impl Typed {
    /// Reads it; what is constant is compared with its type now.
    pub fn read(kind: Type, value: &Located) -> Result<Self, Faults> {
        let template = Template::parse(&value.value()).map_err(|what| Faults::one(value.at, what))?;
        if let Some(constant) = template.constant() {
            fits(kind, constant).map_err(|what| Faults::one(value.at, what))?;
        }
        Ok(Self { kind, template })
    }

    pub fn evaluate(&self, scope: &mut dyn Scope) -> Result<Value, Unfit> {
        let value = self.template.evaluate(scope)?;
        coerce(self.kind, value, scope.rng()).map_err(Unfit::Wrong)
    }

    /// Of [`Type::Duration`]: seconds.
    pub fn seconds(&self, scope: &mut dyn Scope) -> Result<f64, Unfit> {
        Ok(self.evaluate(scope)?.as_f64().expect("durations are evaluated to seconds"))
    }

    /// Of [`Type::Integer`].
    pub fn integer(&self, scope: &mut dyn Scope) -> Result<i64, Unfit> {
        Ok(self.evaluate(scope)?.as_i64().expect("integers are evaluated to integers"))
    }
}

impl Arguments {
    /// Compares what is given with what is declared. A scalar goes to the first parameter.
    pub fn read(owner: &str, params: &'static [Param], given: &Located) -> Result<Self, Faults> {
        let given = entries(owner, params, given)?;
        let mut faults = Faults::default();
        let mut held = Vec::new();
        for entry in &given {
            match read_one(owner, params, entry) {
                Ok(argument) => held.push(argument),
                Err(found) => faults.extend(found),
            }
        }
        let at = given.first().map(|entry| entry.at).unwrap_or_default();
        for param in params {
            let is_there = given.iter().any(|entry| entry.name == param.name);
            match (param.default, is_there) {
                (Some(default), false) => held.push(default_of(param, default)),
                (None, false) if param.required => {
                    faults.add(at, format!("`{owner}` needs `{}` ({})", param.name, param.kind.name()));
                }
                _ => {}
            }
            if let Err(what) = alternatives(owner, param, &given) {
                faults.add(at, what);
            }
        }
        if faults.are_fatal() { Err(faults) } else { Ok(Self { held }) }
    }

    /// All of them, evaluated.
    pub fn evaluate(&self, scope: &mut dyn Scope) -> Result<Args, Unfit> {
        self.evaluate_but("", scope)
    }

    /// All of them but one, whose time has not come.
    pub fn evaluate_but(&self, later: &str, scope: &mut dyn Scope) -> Result<Args, Unfit> {
        let mut values = Map::new();
        let mut checks = Vec::new();
        for argument in self.held.iter().filter(|argument| argument.name != later) {
            let name = argument.name.clone();
            let of = |unfit| match unfit {
                Unfit::Wrong(what) => Unfit::Wrong(format!("`{}`: {what}", argument.name)),
                other => other,
            };
            match &argument.value {
                Held::Typed(typed) => drop(values.insert(name, typed.evaluate(scope).map_err(of)?)),
                Held::Check(check) => checks.push((name, check.clone())),
                Held::Record(inner) => {
                    let inner = inner.evaluate(scope).map_err(of)?;
                    values.insert(name, Value::Object(inner.values().clone()));
                }
            }
        }
        let args = Args::from(values);
        Ok(checks.into_iter().fold(args, |args, (name, check)| args.with_check(name, check)))
    }

    /// One of them, evaluated.
    pub fn one(&self, name: &str, scope: &mut dyn Scope) -> Result<Option<Value>, Unfit> {
        match self.held.iter().find(|argument| argument.name == name).map(|argument| &argument.value) {
            Some(Held::Typed(typed)) => typed.evaluate(scope).map(Some),
            _ => Ok(None),
        }
    }

    /// One that is the same at every visit.
    pub fn constant(&self, name: &str) -> Option<&Value> {
        self.held.iter().find(|argument| argument.name == name).and_then(|argument| match &argument.value {
            Held::Typed(typed) => typed.template.constant(),
            _ => None,
        })
    }

    /// Every name that is read, and where.
    pub fn uses(&self) -> Vec<(Place, Use)> {
        let mut uses = Vec::new();
        for argument in &self.held {
            match &argument.value {
                Held::Typed(typed) => {
                    uses.extend(typed.template.uses().into_iter().map(|found| (argument.at, found)));
                }
                Held::Check(check) => {
                    uses.extend(check.uses().into_iter().map(|found| (argument.at, found)));
                }
                Held::Record(inner) => uses.extend(inner.uses()),
            }
        }
        uses
    }

    /// Every type that a single name must have, and where.
    pub fn expectations(&self) -> Vec<(Place, &str, Type)> {
        let mut found = Vec::new();
        for argument in &self.held {
            match &argument.value {
                Held::Typed(typed) => {
                    found.extend(single_name(typed).map(|name| (argument.at, name, typed.kind)))
                }
                Held::Check(_) => {}
                Held::Record(inner) => found.extend(inner.expectations()),
            }
        }
        found
    }

    /// Constant values of this type, and where: lists, roles, names in the context.
    pub fn of_kind(&self, wanted: fn(Type) -> bool) -> Vec<(Place, String)> {
        let mut found = Vec::new();
        for argument in &self.held {
            match &argument.value {
                Held::Typed(typed) if wanted(typed.kind) => {
                    found.extend(typed.template.constant().map(|value| (argument.at, as_text(value))));
                }
                Held::Record(inner) => found.extend(inner.of_kind(wanted)),
                _ => {}
            }
        }
        found
    }

    /// Names of [`Type::Rest`], which go into the context.
    pub fn rest(&self, params: &[Param]) -> Vec<(Place, String)> {
        let is_rest = |argument: &&Argument| !params.iter().any(|param| param.name == argument.name);
        self.held.iter().filter(is_rest).map(|argument| (argument.at, argument.name.clone())).collect()
    }
}

/// The name, if the template is that name and nothing else.
pub fn single_name(typed: &Typed) -> Option<&str> {
    use crate::army::spec::template::{Call, Expr, Operand};
    match &typed.template {
        Template::One(Expr { call: Call::Value(Operand::Name(path)), .. }) if path.len() == 1 => {
            Some(&path[0])
        }
        _ => None,
    }
}

/// What is given, by name.
fn entries(owner: &str, params: &[Param], given: &Located) -> Result<Vec<Entry>, Faults> {
    let first = params.iter().find(|param| param.is_given());
    match &given.content {
        Content::Scalar(Value::Null) => Ok(Vec::new()),
        Content::Map(entries) => Ok(entries.clone()),
        _ => match first {
            Some(param) => {
                let value = given.clone();
                Ok(vec![Entry { at: given.at, name: param.name.into(), value }])
            }
            None => Err(Faults::one(given.at, format!("`{owner}` takes no {}", given.kind()))),
        },
    }
}

fn read_one(owner: &str, params: &'static [Param], entry: &Entry) -> Result<Argument, Faults> {
    let given = || params.iter().filter(|param| param.is_given());
    let declared = given().find(|param| param.name == entry.name);
    let takes_rest = params.iter().any(|param| matches!(param.kind, Type::Rest));
    let kind = match declared {
        Some(param) => param.kind,
        None if takes_rest => Type::Any,
        None => {
            let near = did_you_mean(&entry.name, given().map(|param| param.name));
            return Err(Faults::one(entry.at, format!("`{owner}` has no parameter {}{near}", entry.name)));
        }
    };
    let value = read_value(owner, kind, entry)?;
    Ok(Argument { name: entry.name.clone(), at: entry.value.at, value })
}

fn read_value(owner: &str, kind: Type, entry: &Entry) -> Result<Held, Faults> {
    Ok(match kind {
        Type::Check => {
            let text = as_text(&entry.value.value());
            let check = Check::parse(&text).map_err(|what| Faults::one(entry.value.at, what))?;
            Held::Check(Arc::new(check))
        }
        Type::Record(params) => {
            let name = format!("{owner}.{}", entry.name);
            Held::Record(Arguments::read(&name, params, &entry.value)?)
        }
        Type::Into | Type::ListName => {
            let typed = Typed::read(kind, &entry.value)?;
            if typed.template.constant().is_none() {
                return Err(Faults::one(
                    entry.value.at,
                    format!("`{}` is a name, not a template", entry.name),
                ));
            }
            Held::Typed(typed)
        }
        kind => Held::Typed(Typed::read(kind, &entry.value).map_err(|faults| named(&entry.name, &faults))?),
    })
}

/// The same faults with the parameter's name.
fn named(name: &str, faults: &Faults) -> Faults {
    let mut named = Faults::default();
    for fault in faults.sorted() {
        named.add(fault.at, format!("`{name}`: {}", fault.what));
    }
    named
}

fn default_of(param: &Param, default: &str) -> Argument {
    let value = match param.kind {
        Type::Text | Type::Choice(_) | Type::Duration | Type::Rate | Type::Share => Value::from(default),
        _ => crate::yaml::source::plain(default),
    };
    let typed = Typed { kind: param.kind, template: Template::Constant(value) };
    Argument { name: param.name.into(), at: Place::default(), value: Held::Typed(typed) }
}

fn alternatives(owner: &str, param: &Param, given: &[Entry]) -> Result<(), String> {
    let count = |names: &[&str]| given.iter().filter(|entry| names.contains(&entry.name.as_str())).count();
    match param.kind {
        Type::OneOf(names) if count(names) != 1 => {
            Err(format!("`{owner}` takes exactly one of {}", names.join(", ")))
        }
        Type::AtMostOne(names) if count(names) > 1 => {
            Err(format!("`{owner}` takes only one of {}", names.join(", ")))
        }
        _ => Ok(()),
    }
}

/// Whether a value could be of this type.
pub fn fits(kind: Type, value: &Value) -> Result<(), String> {
    // Whether it fits does not depend on what is drawn.
    let mut rng = rand::rngs::StdRng::seed_from_u64(0);
    coerce(kind, value.clone(), &mut rng).map(drop)
}

/// Makes a value of the declared type, or says why it is none.
pub fn coerce(kind: Type, value: Value, rng: &mut dyn RngCore) -> Result<Value, String> {
    let wrong = |value: &Value| {
        let shown = as_text(value);
        format!("`{shown}` is {}; it takes: {}", kind_of(value), kind.name())
    };
    let number = |found: Option<f64>, value: &Value| found.map(Value::from).ok_or_else(|| wrong(value));
    match (kind, &value) {
        (Type::Any | Type::Rest, _) => Ok(value),
        (Type::Text, Value::String(_)) => Ok(value),
        // A key that is called 5 or false is a text all the same.
        (Type::Text, Value::Number(_) | Value::Bool(_)) => Ok(Value::String(as_text(&value))),
        (Type::Integer, Value::Number(number)) if number.is_i64() => Ok(value),
        (Type::Number, Value::Number(_)) => Ok(value),
        (Type::Bool, Value::Bool(_)) => Ok(value),
        (Type::Duration, Value::Number(seconds)) => {
            number(seconds.as_f64().and_then(Span::of_seconds).map(|span| span.low), &value)
        }
        (Type::Duration, Value::String(text)) => number(Span::parse(text).map(|span| span.draw(rng)), &value),
        (Type::Rate, Value::String(text)) => number(amount::rate(text), &value),
        (Type::Share, Value::Number(share)) => {
            number(share.as_f64().filter(|share| (0.0..=1.0).contains(share)), &value)
        }
        (Type::Share, Value::String(text)) => number(amount::share(text), &value),
        (Type::Count, Value::String(text)) if text == "all" => Ok(value),
        (Type::Count, Value::Number(number)) if number.is_u64() => Ok(value),
        (Type::Choice(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(value),
        (Type::Choice(words), Value::String(word)) => {
            Err(format!("{}{}", wrong(&value), did_you_mean(word, words.iter().copied())))
        }
        (Type::ListName | Type::Role | Type::Into, Value::String(_)) => Ok(value),
        (Type::List, Value::Array(_)) | (Type::Map, Value::Object(_)) => Ok(value),
        _ => Err(wrong(&value)),
    }
}
