//! How nodes can end: what spins for ever, and what nothing can reach.

use crate::army::spec::program::{Part, What};
use crate::army::tree::{Kind, NodeId, Tree};
use crate::yaml::fault::Faults;

/// What can become of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    succeeds: bool,
    fails: bool,
    /// It can take time, or end the soldier: a loop around it does not spin.
    rests: bool,
}

/// Refuses loops that spin, and warns of nodes that nothing reaches.
pub fn check(tree: &Tree, parts: &[Part], faults: &mut Faults) {
    let mut checker = Checker { tree, parts, faults };
    checker.ends(0);
}

struct Checker<'a> {
    tree: &'a Tree,
    parts: &'a [Part],
    faults: &'a mut Faults,
}

impl Checker<'_> {
    fn ends(&mut self, id: NodeId) -> Ends {
        let node = self.tree.node(id);
        let children: Vec<_> = node.children.iter().map(|child| self.ends(*child)).collect();
        let rests = children.iter().any(|child| child.rests);
        let any = |of: fn(&Ends) -> bool| children.iter().any(of);
        let first = children.first().copied().unwrap_or_default();
        match node.kind {
            Kind::Leaf => leaf(&self.parts[id as usize]),
            Kind::Sequence => self.chain(id, &children, |child| child.succeeds),
            Kind::Select => {
                let swapped: Vec<_> = children.iter().copied().map(Ends::negated).collect();
                self.chain(id, &swapped, |child| child.succeeds).negated()
            }
            Kind::Random | Kind::RandomWeighted => {
                Ends { succeeds: any(|child| child.succeeds), fails: any(|child| child.fails), rests }
            }
            Kind::ByRole => Ends { succeeds: true, fails: any(|child| child.fails), rests },
            Kind::RepeatN => Ends { succeeds: true, fails: false, rests },
            Kind::RepeatUntilSucceed | Kind::RepeatUntilFail => self.repeat(id, node.kind, first),
            Kind::AlwaysSucceed => Ends { succeeds: first.returns(), fails: false, rests },
            Kind::AlwaysFail => Ends { succeeds: false, fails: first.returns(), rests },
            Kind::Negate => first.negated(),
            Kind::Retry => Ends { rests: rests || self.pauses(id), ..first },
            Kind::Once | Kind::Subtree => first,
            Kind::Eventually | Kind::Timeout | Kind::Pace => Ends { fails: true, rests: true, ..first },
            Kind::Guard => Ends { succeeds: true, fails: true, rests: true },
        }
    }

    /// A sequence; a select is one with the outcomes swapped.
    fn chain(&mut self, id: NodeId, children: &[Ends], goes_on: fn(&Ends) -> bool) -> Ends {
        let reached =
            children.iter().position(|child| !goes_on(child)).map_or(children.len(), |last| last + 1);
        if let Some(behind) = self.tree.node(id).children.get(reached) {
            let (before, part) = (self.tree.node(id).children[reached - 1], &self.parts[*behind as usize]);
            let before = self.parts[before as usize].row();
            let owner = self.parts[id as usize].name();
            let what =
                format!("nothing reaches `{}`: a `{owner}` never goes on after `{before}`", part.row());
            self.faults.warn(part.at, what);
        }
        let reached = &children[..reached];
        Ends {
            succeeds: reached.len() == children.len() && reached.last().is_some_and(goes_on),
            fails: reached.iter().any(|child| child.fails),
            rests: reached.iter().any(|child| child.rests),
        }
    }

    fn repeat(&mut self, id: NodeId, kind: Kind, child: Ends) -> Ends {
        let (wanted, has_it) = match kind {
            Kind::RepeatUntilSucceed => ("succeed", child.succeeds),
            _ => ("fail", child.fails),
        };
        if !has_it && child.returns() && !child.rests {
            let part = &self.parts[id as usize];
            let what =
                format!("an endless loop: the child of `{}` cannot {wanted}, and never waits", part.name());
            self.faults.add(part.at, what);
        }
        Ends { succeeds: has_it, fails: false, rests: child.rests }
    }

    /// Whether a `retry` pauses between its runs.
    fn pauses(&self, id: NodeId) -> bool {
        self.parts[id as usize].args.constant("backoff").is_none_or(|backoff| *backoff != *"0s")
    }
}

impl Ends {
    /// Whether the tree ever goes on behind it.
    fn returns(self) -> bool {
        self.succeeds || self.fails
    }

    fn negated(self) -> Self {
        Self { succeeds: self.fails, fails: self.succeeds, rests: self.rests }
    }
}

/// What is known of the built-in actions; others can do anything.
fn leaf(part: &Part) -> Ends {
    let (succeeds, fails, rests) = match part.what {
        What::Act(action) => match action.name {
            "succeed" | "set" | "log" => (true, false, false),
            "fail" => (false, true, false),
            "check" | "succeed_rate" | "if_role" | "if_slot" => (true, true, false),
            "wait" | "think" => (true, false, true),
            "done" | "error" => (false, false, true),
            _ => (true, true, true),
        },
        What::Control(_) => (true, true, true),
    };
    Ends { succeeds, fails, rests }
}
