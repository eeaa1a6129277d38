//! Memories out of a file: read as strictly as what is typed, compared with what is there, and written as one
//! revision each.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, ensure};

use crate::clock::Timestamp;
use crate::commands::data::{Found, Mode, TakenBack, Wrote, words};
use crate::context::{Context, Error, Result, snowflake};
use crate::dynamo::raw::record_of;
use crate::dynamo::{self, Item, Query};
use crate::history::{self, Change, Next, Revision, Undo};
use crate::markdown::{code, number};

use super::call::Call;
use super::edit::NAMES_MAX;
use super::key::{Key, normalise};
use super::record::{Remembered, State};
use super::set::{created, read_value};
use super::undo::revert;

/// A memory, or another name for one, as a file tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    key: Key,
    /// Never forgotten.
    state: State,
    owner: Option<u64>,
    created_at: Option<Timestamp>,
    locked: bool,
}

/// What a server remembers, by key.
pub type Here = HashMap<String, Remembered>;

/// Everything that a server remembers, as a cheap read sees it: what is written is decided on the heads again.
pub async fn here(ctx: &Context) -> Result<Here, dynamo::Error> {
    let query = Query::<Remembered>::of(ctx.cause.server_id).eventually();
    let records: Vec<Remembered> = ctx.dynamo().query_all(query).await?;
    Ok(records.into_iter().map(|record| (record.rem_key.clone(), record)).collect())
}

impl Memory {
    /// Reads an item of the table; nothing if it is what is left of something forgotten.
    pub fn read(item: Item) -> anyhow::Result<Option<Self>> {
        let record: Remembered = record_of(item)?;
        if record.is_forgotten() {
            return Ok(None);
        }
        let key = Key::read(record.display()).map_err(words)?;
        ensure!(key.normal == record.rem_key, "its key and its name differ");
        let state = match (&record.alias_of, &record.rem_value) {
            (Some(of), _) => {
                ensure!(normalise(of) == *of, "it is another name for what cannot be a key");
                State::OtherName(of.clone())
            }
            (None, Some(value)) => State::Value(read_value(value).map_err(words)?),
            (None, None) => anyhow::bail!("it has no value"),
        };
        let owner = record.created_by.filter(|id| *id != 0);
        let known = owner.is_none_or(|id| snowflake(&id.to_string()).is_some());
        ensure!(known, "its owner is nobody's id");
        let locked = record.locked_by.is_some();
        Ok(Some(Self { key, state, owner, created_at: record.created_at, locked }))
    }

    pub fn key(&self) -> &str {
        &self.key.normal
    }

    /// As people see it.
    pub fn name(&self) -> String {
        self.key.to_string()
    }

    /// Another name with what it stands for.
    pub fn link(&self) -> String {
        match &self.state {
            State::OtherName(of) => format!("{} for {}", self.key, code(of)),
            _ => self.name(),
        }
    }

    pub fn is_other_name(&self) -> bool {
        matches!(self.state, State::OtherName(_))
    }

    /// How it differs from what is there.
    pub fn compare(&self, here: Option<&Remembered>) -> Found {
        match here.filter(|head| !head.is_forgotten()) {
            None => Found::New,
            Some(head) if head.state() == self.state => Found::Equal,
            Some(_) => Found::Different,
        }
    }

    /// The commands that somebody would have to be allowed to type for it.
    pub fn needs(&self, found: Found, by: u64) -> Vec<&'static str> {
        let of_others = self.owner.is_some_and(|owner| owner != by);
        match found {
            Found::Equal => Vec::new(),
            Found::Different => vec!["mem edit"],
            Found::New => {
                let set = if self.is_other_name() { "mem alias" } else { "remember" };
                let lock = self.locked.then_some("mem lock");
                [Some(set), of_others.then_some("mem give"), lock].into_iter().flatten().collect()
            }
        }
    }

    /// What may not be done to the record that is there, such as changing one that is locked.
    pub fn may_replace(&self, ctx: &Context, head: &Remembered) -> Result<()> {
        Call::of(ctx).may_change(head, "mem edit")
    }
}

/// What a server would remember must keep the limits of what is typed.
pub fn check<'a>(
    max: usize,
    here: &Here,
    written: impl Iterator<Item = (u64, &'a Memory)> + Clone,
) -> anyhow::Result<()> {
    let mut after: BTreeMap<&str, &State> = BTreeMap::new();
    let states: Vec<(&str, State)> = here
        .values()
        .filter(|head| !head.is_forgotten())
        .map(|head| (head.rem_key.as_str(), head.state()))
        .collect();
    after.extend(states.iter().map(|(key, state)| (*key, state)));
    let before = memories(&after);
    after.extend(written.clone().map(|(_, memory)| (memory.key(), &memory.state)));
    let count = memories(&after);
    ensure!(
        count <= max || count <= before,
        "with it this server would have {} memories; the limit is {}",
        number(count),
        number(max)
    );
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for state in after.values() {
        if let State::OtherName(of) = state {
            *names.entry(of).or_default() += 1;
        }
    }
    for (line, memory) in written {
        let State::OtherName(of) = &memory.state else { continue };
        let count = names.get(of.as_str()).copied().unwrap_or_default();
        ensure!(
            count <= NAMES_MAX,
            "line {line}: {} would have {count} names; the limit is {NAMES_MAX}",
            code(of)
        );
    }
    Ok(())
}

/// Of other names those that would stand for nothing, neither here nor in the file.
pub fn is_for_nothing(memory: &Memory, here: &Here, there: &HashSet<&str>) -> bool {
    let State::OtherName(of) = &memory.state else { return false };
    let is_here = here.get(of).is_some_and(|head| matches!(head.state(), State::Value(_)));
    !is_here && !there.contains(of.as_str())
}

fn memories(states: &BTreeMap<&str, &State>) -> usize {
    states.values().filter(|state| matches!(state, State::Value(_))).count()
}

/// Why a head stays as it is.
enum Stays {
    Equal,
    Kept,
    Refused(Error),
}

impl From<dynamo::Error> for Stays {
    fn from(error: dynamo::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Writes one memory, for the cause in `ctx`.
pub async fn write(ctx: &Context, memory: &Memory, batch: u64, mode: Mode) -> Result<Wrote> {
    let call = Call::of(ctx);
    for person in std::iter::once(call.actor()).chain(memory.owner) {
        call.note(person).await?;
    }
    let decide = |head: Option<&Remembered>| {
        let head = match (memory.compare(head), mode) {
            (Found::Equal, _) => return Err(Stays::Equal),
            (Found::Different, Mode::Skip) => return Err(Stays::Kept),
            (Found::Different, Mode::Overwrite) => {
                let head = head.expect("what is different is there");
                call.may_change(head, "mem edit").map_err(Stays::Refused)?;
                head.clone().in_state(memory.state.clone(), call.cause.at)
            }
            (Found::New, _) => taught(&call, memory, head),
        };
        let next = head.next("import", call.policy.keep);
        Ok(Next { row: history::Row { batch: Some(batch), ..next.row }, ..next })
    };
    let place = (call.server(), memory.key.normal.clone());
    match history::change(call.dynamo(), &call.cause, place, decide).await {
        Ok(Change::Done(done)) => {
            call.wrote(&done.head);
            Ok(Wrote::Written)
        }
        Ok(Change::Already(_)) => Ok(Wrote::Written),
        Ok(Change::Contended) | Err(Stays::Kept) => Ok(Wrote::Kept),
        Err(Stays::Equal) => Ok(Wrote::Equal),
        Err(Stays::Refused(error)) => Err(error),
    }
}

/// As it was taught elsewhere or before, by whom and when; locked by who brings it here.
fn taught(call: &Call, memory: &Memory, gone: Option<&Remembered>) -> Remembered {
    let new = created(call, &memory.key, gone, memory.state.clone());
    Remembered {
        created_by: memory.owner,
        created_at: memory.created_at.filter(|at| *at <= call.cause.at).or(new.created_at),
        locked_by: memory.locked.then(|| call.actor()),
        ..new
    }
}

/// Takes back what an import did to one memory, unless it was changed since.
pub async fn take_back(ctx: &Context, row: &Revision) -> Result<TakenBack> {
    let call = Call::of(ctx);
    call.note(call.actor()).await?;
    let (_, key) = row.thing().context("a row is about a thing")?;
    let event = row.event_id.unwrap_or_default();
    let undone = history::undo(call.dynamo(), &call.cause, (call.server(), key), event, |head, undone| {
        revert(&call, head, undone)
    });
    match undone.await {
        Ok(Undo::Done(done)) => {
            call.wrote(&done.head);
            Ok(TakenBack::Now)
        }
        Ok(Undo::Already(row)) if row.event_id == Some(call.cause.id.0) => Ok(TakenBack::Now),
        Ok(Undo::Already(_)) => Ok(TakenBack::Before),
        Ok(Undo::Unknown | Undo::Contended | Undo::MovedOn(_)) => Ok(TakenBack::ChangedSince),
        Err(no) => match super::undo::refused(no) {
            Error::Refused(_) => Ok(TakenBack::ChangedSince),
            error => Err(error),
        },
    }
}
