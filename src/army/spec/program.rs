//! [`Program`]: a compiled tree with everything that its nodes need, shared by all soldiers.
//!
//! The arena of [`crate::army::tree`] knows the shape; [`Program::part`] knows what each node was given. Whoever
//! runs a soldier asks here for counts, pauses, limits and roles (see [`crate::army::tree::World`]) and for the
//! arguments of leaves and guards, each time anew, with the soldier's own [`Scope`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::army::action::{Action, Type};
use crate::army::spec::arguments::{Arguments, fits};
use crate::army::spec::file::{Example, Handler, Roles};
use crate::army::spec::node::Control;
use crate::army::spec::template::{Scope, Template, Unfit};
use crate::army::spec::threshold::Threshold;
use crate::army::tree::{NodeId, Tree};
use crate::yaml::fault::Place;

/// A tree that is ready to be run.
#[derive(Clone, Debug)]
pub struct Program {
    pub name: String,
    pub about: String,
    /// Tells trees apart that have the same name.
    pub hash: String,
    pub tree: Tree,
    pub(super) parts: Vec<Part>,
    /// The parameters of the file, as `--custom` has them or by default.
    pub params: Map<String, Value>,
    /// What `--custom` gave.
    pub config: Map<String, Value>,
    pub lists: BTreeMap<String, Vec<Value>>,
    pub roles: Roles,
    pub thresholds: Vec<Threshold>,
    pub events: Vec<Handler>,
    pub example: Option<Example>,
    /// What `--custom` still has to give.
    pub needs: Vec<String>,
}

/// What one node was given.
#[derive(Clone, Debug)]
pub struct Part {
    /// `root/6/do/1`.
    pub path: String,
    pub at: Place,
    pub label: Option<String>,
    pub what: What,
    pub args: Arguments,
    /// What it was given, in one line for people.
    pub shown: String,
    /// Of `by_role`: the role of each child.
    pub roles: Vec<String>,
    /// Of `subtree`: its parameters.
    pub with: Vec<(String, Type, Template)>,
    /// Keys of `shared.x` that have to be read before the arguments are evaluated.
    pub shared: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
pub enum What {
    Control(&'static Control),
    Act(&'static Action),
}

impl Part {
    /// The name of the node or action.
    pub fn name(&self) -> &'static str {
        match self.what {
            What::Control(control) => control.name,
            What::Act(action) => action.name,
        }
    }

    /// Its row in the metrics: the label, or the name.
    pub fn row(&self) -> &str {
        self.label.as_deref().unwrap_or(self.name())
    }

    pub fn action(&self) -> Option<&'static Action> {
        match self.what {
            What::Act(action) => Some(action),
            What::Control(_) => None,
        }
    }
}

impl Program {
    pub fn part(&self, node: NodeId) -> &Part {
        &self.parts[node as usize]
    }

    pub fn parts(&self) -> impl Iterator<Item = (NodeId, &Part)> {
        (0..).zip(&self.parts)
    }

    /// Rows of the metrics that this tree can have, each once.
    pub fn rows(&self) -> impl Iterator<Item = &str> {
        let leaves = self.parts.iter().filter(|part| part.action().is_some());
        leaves.map(Part::row).collect::<std::collections::BTreeSet<_>>().into_iter()
    }

    /// How often a `repeat_n` runs its child, and a `retry` at most.
    pub fn times(&self, node: NodeId, scope: &mut dyn Scope) -> Result<u32, Unfit> {
        let times = self.one(node, &["n", "times"], scope)?;
        let fits = times.as_i64().and_then(|times| u32::try_from(times).ok());
        fits.ok_or_else(|| Unfit::Wrong(format!("`{}` runs its child {times} times", self.part(node).name())))
    }

    /// The pause of a `retry`, an `eventually` or a `pace`.
    pub fn pause(&self, node: NodeId, scope: &mut dyn Scope) -> Result<Duration, Unfit> {
        self.one(node, &["backoff", "every"], scope).map(|seconds| duration(&seconds))
    }

    /// How long an `eventually` or a `timeout` has.
    pub fn limit(&self, node: NodeId, scope: &mut dyn Scope) -> Result<Duration, Unfit> {
        self.one(node, &["within", "after"], scope).map(|seconds| duration(&seconds))
    }

    /// Which child of a `by_role` this role has.
    pub fn child_of_role(&self, node: NodeId, role: &str) -> Option<usize> {
        self.part(node).roles.iter().position(|name| name == role)
    }

    /// The parameters of a `subtree`, evaluated as it is entered. Ranges stay ranges: they are drawn where they
    /// are used.
    pub fn parameters(&self, node: NodeId, scope: &mut dyn Scope) -> Result<Map<String, Value>, Unfit> {
        let with = self.part(node).with.iter().map(|(name, kind, template)| {
            let value = template.evaluate(scope)?;
            fits(*kind, &value).map_err(|what| Unfit::Wrong(format!("`{name}`: {what}")))?;
            Ok((name.clone(), value))
        });
        with.collect()
    }

    /// What a bare name means: context, parameters (those of the innermost subtree first), configuration.
    pub fn look_up<'a>(
        &'a self,
        name: &str,
        context: &'a Map<String, Value>,
        subtree: Option<&'a Map<String, Value>>,
    ) -> Option<&'a Value> {
        let in_subtree = || subtree.and_then(|params| params.get(name));
        context.get(name).or_else(in_subtree).or_else(|| self.setting(name))
    }

    /// What `config.name` means: as `--custom` gives it, or the parameter's default.
    pub fn setting(&self, name: &str) -> Option<&Value> {
        self.config.get(name).or_else(|| self.params.get(name))
    }

    fn one(&self, node: NodeId, names: &[&str], scope: &mut dyn Scope) -> Result<Value, Unfit> {
        for name in names {
            if let Some(value) = self.part(node).args.one(name, scope)? {
                return Ok(value);
            }
        }
        Ok(Value::from(0))
    }
}

fn duration(seconds: &Value) -> Duration {
    Duration::try_from_secs_f64(seconds.as_f64().unwrap_or_default()).unwrap_or_default()
}
