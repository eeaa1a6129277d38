//! Three accounts of the same changes: what was asked, what was answered, and what the store holds.
//!
//! [`Ledger::check`] holds them against each other. Whatever was acknowledged is there, once; whatever was
//! said not to be done is not there; what nobody answered may be either. Each revision follows from the one
//! before it, and a head says what its last revision says.

use std::collections::{BTreeMap, BTreeSet};

use mneme::dynamo::{Dynamo, Query, Table};
use mneme::history::Revision;
use mneme::sim::Id;
use serde::{Deserialize, Serialize};

/// A change that somebody asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// As the history names it.
    pub op: &'static str,
    pub key: String,
    /// The value, the line to add, the revision to restore.
    pub text: String,
}

impl Ask {
    pub fn new(op: &'static str, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { op, key: key.into(), text: text.into() }
    }

    /// As somebody types it.
    pub fn line(&self) -> String {
        let Self { op, key, text } = self;
        match *op {
            "set" => format!(".remember {key} is {text}"),
            "append" | "edit" => format!(".mem {op} {key} is {text}"),
            "forget" => format!(".forget {key}"),
            "restore" => format!(".mem restore {key} {text}"),
            "alias" => format!(".mem alias {key} = {text}"),
            "undo" => format!(".mem undo {key}"),
            other => panic!("nobody asks for {other}"),
        }
    }
}

/// What somebody was told about a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is done, as this revision if one was named.
    Done(Option<u64>),
    /// It is not, and why.
    NotDone(String),
    /// Nobody could say.
    Unknown,
}

impl Told {
    /// What a reply says.
    pub fn by(reply: &str) -> Self {
        let starts = |marks: &[&str]| marks.iter().any(|mark| reply.starts_with(mark));
        if starts(&["✅", "✏️", "🔗", "↩️"]) {
            Self::Done(named_revision(reply))
        } else if starts(&["❓"]) {
            Self::Unknown
        } else if starts(&["⚠", "ℹ️", "🤔", "I am already", "I already", "❌ I could not reach my memory"])
        {
            Self::NotDone(reply.to_owned())
        } else {
            panic!("this says neither yes nor no: {reply}")
        }
    }
}

/// The number in `(revision 5)`, `is now revision 5` or `as revision 5`.
fn named_revision(reply: &str) -> Option<u64> {
    let places = ["(revision ", "is now revision ", "as revision "];
    let rest = places.iter().find_map(|place| reply.split_once(place))?.1;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Everything that happened in one server.
#[derive(Debug)]
pub struct Ledger {
    /// To tell which one is wrong.
    name: String,
    entries: BTreeMap<Id, (Ask, Vec<Told>)>,
}

/// A memory as it is stored, as far as it must agree with its history.
#[derive(Debug, Serialize, Deserialize)]
pub struct Memory {
    discord_server_id: u64,
    pub rem_key: String,
    pub rem_value: Option<String>,
    #[serde(default)]
    pub rev: u64,
    event_id: Option<u64>,
    alias_of: Option<String>,
    forgotten_at: Option<String>,
}

impl Table for Memory {
    const NAME: &'static str = "remember";
    const KEY: &'static [&'static str] = &["discord_server_id", "rem_key"];
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.discord_server_id, self.rem_key.clone())
    }
}

/// What the store holds of a server: the rows of each key in the order of their numbers, and the heads.
pub struct Stored {
    pub rows: BTreeMap<String, Vec<Revision>>,
    pub heads: BTreeMap<String, Memory>,
}

impl Stored {
    pub async fn read(dynamo: &Dynamo, server: Id) -> Self {
        let mut rows: BTreeMap<String, Vec<Revision>> = BTreeMap::new();
        for row in dynamo.query_all(Query::<Revision>::of(server)).await.expect("the history can be read") {
            let (_, key) = row.thing().expect("an entry has a kind and an id");
            rows.entry(key).or_default().push(row);
        }
        rows.values_mut().for_each(|rows| rows.sort_by_key(|row| row.rev));
        let heads = dynamo.query_all(Query::<Memory>::of(server)).await.expect("the heads can be read");
        Self { rows, heads: heads.into_iter().map(|head| (head.rem_key.clone(), head)).collect() }
    }

    /// Heads say what their last rows say, and rows follow from each other.
    fn check(&self, name: &str) {
        let (rows, heads): (Vec<_>, Vec<_>) = (self.rows.keys().collect(), self.heads.keys().collect());
        assert_eq!(rows, heads, "{name}: each key has a head and a history");
        for (key, rows) in &self.rows {
            let numbers: Vec<u64> = rows.iter().map(|row| row.rev).collect();
            assert_eq!(
                numbers,
                (1..=rows.len() as u64).collect::<Vec<_>>(),
                "{name}: one row a revision of {key}"
            );
            let (head, last) = (&self.heads[key], rows.last().expect("there is one"));
            assert_eq!((head.rev, head.event_id), (last.rev, last.event_id), "{name}: the head of {key}");
            assert_eq!(head.forgotten_at.is_some(), last.value.is_none(), "{name}: the head of {key}");
            let says = head.rem_value.as_ref().or(head.alias_of.as_ref());
            assert_eq!(says, last.value.as_ref(), "{name}: the head of {key} says what its last row says");
        }
    }

    fn row_of(&self, event: Id) -> Option<&Revision> {
        let mut rows = self.rows.values().flatten().filter(|row| row.event_id == Some(event));
        let row = rows.next();
        assert!(rows.next().is_none(), "event {event} had its effect twice");
        row
    }

    /// Whether something was undone, by the revision with this number if one is named.
    fn undone_as(&self, rev: Option<u64>) -> bool {
        let mut undone = self.rows.values().flatten().filter(|row| row.undoes.is_some());
        undone.any(|row| rev.is_none_or(|rev| row.rev == rev))
    }

    /// What a row must say, given the rows before it.
    fn expected(&self, key: &str, row: &Revision, ask: &Ask) -> Option<String> {
        let value = |rev: u64| {
            let place = usize::try_from(rev.checked_sub(1)?).expect("a small number");
            self.rows[key].get(place)?.value.clone()
        };
        match ask.op {
            "set" | "edit" | "alias" => Some(ask.text.clone()),
            "append" => value(row.rev - 1).map(|before| format!("{before}\n{}", ask.text)),
            "forget" => None,
            "restore" => value(ask.text.parse().expect("a revision")),
            "undo" => value(row.rev.saturating_sub(2)),
            other => panic!("nobody asked for {other}"),
        }
    }
}

impl Ledger {
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), entries: BTreeMap::new() }
    }

    pub fn asked(&mut self, event: Id, ask: Ask) {
        self.entries.insert(event, (ask, Vec::new()));
    }

    pub fn told(&mut self, event: Id, told: Told) {
        self.entries.get_mut(&event).expect("somebody asked for it").1.push(told);
    }

    /// Whether somebody was told that it is done.
    pub fn knows_done(&self, event: Id) -> bool {
        let told = self.entries.get(&event).map(|(_, told)| told.as_slice()).unwrap_or_default();
        told.iter().any(|told| matches!(told, Told::Done(_)))
    }

    /// Takes in a reply, if it is one to a change.
    pub fn replied(&mut self, event: Id, reply: &str) {
        if let Some((_, told)) = self.entries.get_mut(&event) {
            told.push(Told::by(reply));
        }
    }

    /// How many were done, not done, unknown; and never answered.
    pub fn count(&self) -> [usize; 4] {
        let mut count = [0; 4];
        for (_, told) in self.entries.values() {
            let place = match told.first() {
                Some(Told::Done(_)) => 0,
                Some(Told::NotDone(_)) => 1,
                Some(Told::Unknown) => 2,
                None => 3,
            };
            count[place] += 1;
        }
        count
    }

    /// Holds everything against what is stored.
    pub async fn check(&self, dynamo: &Dynamo, server: Id) {
        let stored = Stored::read(dynamo, server).await;
        stored.check(&self.name);
        let mut explained = BTreeSet::new();
        for (event, (ask, told)) in &self.entries {
            let row = stored.row_of(*event);
            let all = format!("{}: event {event} {ask:?} {told:?} {row:?}", self.name);
            if let Some(row) = row {
                // Bringing back another name makes an alias, by whatever way.
                assert!(row.op == ask.op || row.op == "alias", "{all}");
                let (_, key) = row.thing().expect("an entry has a kind and an id");
                assert_eq!(row.value, stored.expected(&key, row, ask), "{all}");
                explained.insert(&row.entry);
            }
            let done = told.iter().find(|told| matches!(told, Told::Done(_)));
            match (row, done) {
                // What two undo at once is undone once, and both are told so.
                (None, Some(Told::Done(rev))) if ask.op == "undo" => assert!(stored.undone_as(*rev), "{all}"),
                (None, Some(_)) => panic!("acknowledged and not there: {all}"),
                (Some(row), Some(Told::Done(Some(rev)))) => assert_eq!(row.rev, *rev, "{all}"),
                (Some(_), None) if !told.is_empty() && !told.contains(&Told::Unknown) => {
                    panic!("said not to be done and there: {all}")
                }
                _ => {}
            }
        }
        let all: BTreeSet<&String> = stored.rows.values().flatten().map(|row| &row.entry).collect();
        assert_eq!(all, explained, "{}: nobody asked for some of the rows", self.name);
    }
}
