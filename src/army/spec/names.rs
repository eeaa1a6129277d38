//! Whether every name that a tree reads can have a value.
//!
//! A name is known if it is a parameter, if something in the tree puts it into the context, or if `--custom`
//! gives it. `config.x` may be given later, so it is a need and no fault until a run begins.

use std::collections::BTreeSet;

use crate::army::spec::compile::Given;
use crate::army::spec::file::{File, Parameter};
use crate::army::spec::template::Use;
use crate::yaml::fault::{Faults, Place, did_you_mean, nearest};

/// What `bot.x` and `run.x` can be.
const OF_BOT: [&str; 4] = ["id", "slot", "life", "role"];
const OF_RUN: [&str; 2] = ["id", "seed"];

/// What is read and what is put into the context, in one program.
#[derive(Default)]
pub struct Names<'a> {
    pub context: BTreeSet<String>,
    pub reads: Vec<Seen<'a>>,
}

/// One name that is read.
pub struct Seen<'a> {
    pub at: Place,
    pub found: Use,
    /// The parameters of the tree that it stands in.
    pub params: &'a [Parameter],
    /// Whether there is a repeat around it.
    pub repeats: bool,
}

impl Names<'_> {
    /// Tells what has no value; gives the keys that `--custom` has to have.
    pub fn check(&self, file: &File, given: &Given, faults: &mut Faults) -> Vec<String> {
        let mut needs = BTreeSet::new();
        for seen in &self.reads {
            if let Err(what) = self.check_one(seen, file, given, &mut needs) {
                faults.add(seen.at, what);
            }
        }
        let required = file.params.iter().filter(|param| param.default.is_null());
        needs.extend(required.map(|param| param.name.clone()));
        let missing: Vec<_> = needs.into_iter().filter(|name| !given.custom.contains_key(name)).collect();
        let unread = self.unread(file, given);
        if given.is_complete {
            for name in &missing {
                faults.add(Place::default(), told_missing(name, &unread));
            }
            // With something missing, what is spare was told already as what is there instead.
            for name in unread.iter().filter(|_| missing.is_empty()) {
                let near = did_you_mean(name, file.params.iter().map(|param| param.name.as_str()));
                faults.warn(Place::default(), format!("--custom: nothing reads `{name}`{near}"));
            }
        }
        missing
    }

    fn check_one(
        &self,
        seen: &Seen<'_>,
        file: &File,
        given: &Given,
        needs: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let name = seen.found.name();
        let path: Vec<_> = seen.found.path.iter().map(String::as_str).collect();
        let one_of = |known: &[&'static str], part: &str| match known.contains(&part) {
            true => Ok(()),
            false => Err(format!("there is no `{name}`{}", did_you_mean(part, known.iter().copied()))),
        };
        match path[..] {
            ["bot", part] => one_of(&OF_BOT, part),
            ["run", part] => one_of(&OF_RUN, part),
            ["loop"] if seen.repeats || seen.found.has_default => Ok(()),
            ["loop"] => Err("`loop` is the pass of a repeat, and there is none around it".into()),
            ["event", ..] => Err("`event` has a value only in `events` and in `where`".into()),
            ["config", key, ..] => {
                if !seen.found.has_default && !file.params.iter().any(|param| param.name == key) {
                    needs.insert(key.to_owned());
                }
                Ok(())
            }
            ["bot" | "run" | "config" | "loop", ..] => Err(format!("there is no `{name}`")),
            [first, ..] => self.bare(first, seen, file, given),
            [] => Ok(()),
        }
    }

    fn bare(&self, name: &str, seen: &Seen<'_>, file: &File, given: &Given) -> Result<(), String> {
        let params = || seen.params.iter().chain(&file.params).map(|param| param.name.as_str());
        let known = params().any(|param| param == name)
            || self.context.contains(name)
            || given.custom.contains_key(name)
            || (seen.found.is_list && file.lists.contains_key(name))
            || seen.found.has_default;
        if known {
            return Ok(());
        }
        let mut all: Vec<&str> = params().chain(self.context.iter().map(String::as_str)).collect();
        if seen.found.is_list {
            all.extend(file.lists.keys().map(String::as_str));
        }
        let hint = match nearest(name, all) {
            Some(near) => format!("; did you mean {near}?"),
            None => format!(". If --custom gives it, write config.{name} or declare it in `params`"),
        };
        Err(format!("nothing gives `{name}` a value{hint}"))
    }

    /// What `--custom` gave and nothing reads.
    fn unread<'a>(&self, file: &File, given: &'a Given) -> Vec<&'a str> {
        let reads = |name: &str| {
            self.reads.iter().any(|seen| match &seen.found.path[..] {
                [first, second, ..] if first == "config" => second == name,
                [first, ..] => first == name,
                [] => false,
            })
        };
        let declared = |name: &str| file.params.iter().any(|param| param.name == name);
        given.custom.keys().map(String::as_str).filter(|name| !declared(name) && !reads(name)).collect()
    }
}

fn told_missing(name: &str, unread: &[&str]) -> String {
    let near = nearest(name, unread.iter().copied()).map(|near| vec![near]);
    match near.unwrap_or_else(|| unread.to_vec())[..] {
        [] => format!("--custom: the tree reads `{name}`, which has no value"),
        ref spare => format!("--custom: the tree reads `{name}`, you gave `{}`", spare.join("`, `")),
    }
}
