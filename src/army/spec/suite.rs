//! The tests of a file, compiled.

use std::time::Duration;

use crate::army::action::Registry;
use crate::army::spec::compile::{Given, compile as compile_one};
use crate::army::spec::file::File;
use crate::army::spec::node::Node;
use crate::army::spec::program::Program;
use crate::yaml::fault::Faults;

/// A file of tests that is ready to be run.
#[derive(Clone, Debug)]
pub struct Suite {
    pub name: String,
    /// What runs before and after all tests; what it sets is in the context of their bots.
    pub pre_all: Option<Program>,
    pub post_all: Option<Program>,
    pub tests: Vec<Test>,
}

#[derive(Clone, Debug)]
pub struct Test {
    pub name: String,
    pub tags: Vec<String>,
    pub bots: u32,
    pub timeout: Duration,
    pub pre: Option<Program>,
    pub tree: Program,
    pub post: Option<Program>,
}

impl Suite {
    /// All trees of all tests.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        let of_tests =
            self.tests.iter().flat_map(|test| [test.pre.as_ref(), Some(&test.tree), test.post.as_ref()]);
        of_tests.chain([self.pre_all.as_ref(), self.post_all.as_ref()]).flatten()
    }
}

/// Compiles all tests of a file.
pub fn compile(file: &File, registry: &Registry, given: &Given) -> Result<(Suite, Faults), Faults> {
    let mut faults = Faults::default();
    // Thresholds are for runs; a test file's own would be about whichever tree comes first.
    let plain = File { thresholds: Vec::new(), ..file.clone() };
    let mut one = |node: &Node, given: &Given| match compile_one(&plain, node, registry, given) {
        Ok((program, odd)) => {
            faults.extend(odd);
            Some(program)
        }
        Err(wrong) => {
            faults.extend(wrong);
            None
        }
    };
    let Some(tests) = &file.tests else {
        return Err(Faults::one(Default::default(), "the file has no `tests`"));
    };
    let pre_all = tests.pre_all.as_ref().and_then(|node| one(node, given));
    let given = with_names(given, pre_all.as_ref());
    let post_all = tests.post_all.as_ref().and_then(|node| one(node, &given));
    let mut compiled = Vec::new();
    for test in &tests.tests {
        let pre = test.pre.as_ref().and_then(|node| one(node, &given));
        let given = with_names(&given, pre.as_ref());
        let tree = one(&test.tree, &given);
        let post = test.post.as_ref().and_then(|node| one(node, &given));
        let Some(tree) = tree else { continue };
        let (name, tags) = (test.name.clone(), test.tags.clone());
        compiled.push(Test { name, tags, bots: test.bots, timeout: test.timeout, pre, tree, post });
    }
    if faults.are_fatal() {
        return Err(faults);
    }
    Ok((Suite { name: file.name.clone(), pre_all, post_all, tests: compiled }, faults))
}

/// What is given, and the names that a program sets.
fn with_names(given: &Given, program: Option<&Program>) -> Given {
    let mut given = given.clone();
    for (_, part) in program.into_iter().flat_map(Program::parts) {
        if part.name() == "set" {
            given.context.extend(part.args.rest(&[]).into_iter().map(|(_, name)| name));
        }
        let into = part.args.of_kind(|kind| matches!(kind, crate::army::action::Type::Into));
        given.context.extend(into.into_iter().map(|(_, name)| name));
    }
    given
}
