//! Whatever the bot under test acknowledged is stored: the [`Ledger`] of a run, and the check at its end.
//!
//! Each request that changes something is written down with its event before anybody knows how it ends, then
//! what the bot said to it. When the run has stopped, [`Ledger::check`] holds that against the history and the
//! heads in the store. Faults excuse nothing: that is what it is for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::dynamo::{self, Dynamo, Query, Table};
use crate::history::Revision;
use crate::sim::Id;

/// About 300 MB. What is asked beyond it is not held against the store, and the report says so.
const PROMISES_MAX: usize = 1_000_000;

/// Of violations, how many are told one by one.
const TOLD_MAX: usize = 20;

/// What somebody asked to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This value under a key; `None`: forgotten.
    Memory { key: String, value: Option<String> },
    /// One more for this person.
    Sparkle { to: Id },
    /// A message later. It has no history: its record is not looked at.
    Reminder,
}

/// What the bot said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Done,
    /// It was not done, and why.
    Refused(String),
    /// The bot does not know either.
    Unknown(String),
}

#[derive(Clone, Debug)]
struct Promise {
    server: Id,
    change: Change,
    told: Option<Told>,
}

/// What was asked and answered in a run.
#[derive(Default)]
pub struct Ledger {
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    promises: BTreeMap<Id, Promise>,
    /// How many messages of the bot answered an event.
    replies: HashMap<Id, u32>,
    servers: BTreeSet<Id>,
    not_watched: u64,
}

/// How the promises of a run stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Changes that the bot acknowledged.
    pub made: u64,
    pub kept: u64,
    pub unanswered: u64,
    pub refused: u64,
    /// Asked after the ledger was full.
    pub not_watched: u64,
    pub violations: Vec<Violation>,
    /// Violations beyond those that are told.
    pub more: u64,
}

/// A promise that is not stored, or something stored that nobody promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub event: Option<Id>,
    pub key: String,
    pub promised: String,
    pub stored: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Some(event) => write!(f, "event {event}, {}: ", self.key)?,
            None => write!(f, "{}: ", self.key)?,
        }
        write!(f, "promised {}; stored {}", self.promised, self.stored)
    }
}

impl Verdict {
    pub fn broken(&self) -> u64 {
        self.violations.len() as u64 + self.more
    }

    fn violated(&mut self, violation: Violation) {
        if self.violations.len() < TOLD_MAX {
            self.violations.push(violation);
        } else {
            self.more += 1;
        }
    }
}

impl Ledger {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Soldiers are in this server: what is stored about it is looked at.
    pub fn plays_in(&self, server: Id) {
        self.book().servers.insert(server);
    }

    /// Somebody asks for a change.
    pub fn asked(&self, event: Id, server: Id, change: Change) {
        let mut book = self.book();
        if book.promises.len() >= PROMISES_MAX {
            book.not_watched += 1;
        } else {
            book.promises.insert(event, Promise { server, change, told: None });
        }
    }

    /// The bot answered it.
    pub fn told(&self, event: Id, told: Told) {
        if let Some(promise) = self.book().promises.get_mut(&event) {
            promise.told = Some(told);
        }
    }

    /// A message of the bot answers an event, be it one of ours or not.
    pub fn replied(&self, event: Id) {
        let mut book = self.book();
        if book.replies.len() < PROMISES_MAX {
            *book.replies.entry(event).or_default() += 1;
        }
    }

    /// How many changes were asked for.
    pub fn len(&self) -> usize {
        self.book().promises.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Holds everything against the store.
    pub async fn check(&self, dynamo: &Dynamo) -> Result<Verdict, dynamo::Error> {
        let (servers, promises, replies, not_watched) = {
            let book = self.book();
            (book.servers.clone(), book.promises.clone(), book.replies.clone(), book.not_watched)
        };
        let mut verdict = Verdict { not_watched, ..Verdict::default() };
        let mut rows_of = HashMap::new();
        for server in servers {
            let stored = Stored::read(dynamo, server).await?;
            stored.check(&mut verdict);
            for row in stored.rows.values().flatten() {
                if let Some(event) = row.event_id {
                    rows_of.entry((server, event)).or_insert_with(Vec::new).push(row.clone());
                }
            }
        }
        for (event, promise) in &promises {
            let rows = rows_of.get(&(promise.server, *event)).map_or(&[][..], Vec::as_slice);
            let violations = verdict.broken();
            promise.check(*event, rows, replies.get(event).copied().unwrap_or(0), &mut verdict);
            match promise.told {
                Some(Told::Done) => {
                    verdict.made += 1;
                    verdict.kept += u64::from(verdict.broken() == violations);
                }
                Some(Told::Refused(_)) => verdict.refused += 1,
                Some(Told::Unknown(_)) | None => verdict.unanswered += 1,
            }
        }
        Ok(verdict)
    }
}

impl Promise {
    fn check(&self, event: Id, rows: &[Revision], replies: u32, verdict: &mut Verdict) {
        if self.change == Change::Reminder {
            return;
        }
        let mut violated = |promised: &str, stored: String| {
            let (key, promised) = (self.key(), promised.to_owned());
            verdict.violated(Violation { event: Some(event), key, promised, stored });
        };
        match (&self.told, rows) {
            (Some(Told::Done), [row]) if !self.change.is_in(row) => {
                violated(&self.promised(), format!("{} {:?}", row.op, row.value));
            }
            (Some(Told::Done), [_]) | (Some(Told::Refused(_)), []) => {}
            (Some(Told::Unknown(_)) | None, [] | [_]) => {}
            (Some(Told::Done), rows) => violated(&self.promised(), format!("in {} rows", rows.len())),
            (Some(Told::Refused(_)), rows) => violated("not to do it", format!("in {} rows", rows.len())),
            (_, rows) => violated("nothing", format!("in {} rows", rows.len())),
        }
        if self.told == Some(Told::Done) && replies != 1 {
            violated("one answer", format!("as {replies} messages"));
        }
    }

    fn key(&self) -> String {
        match &self.change {
            Change::Memory { key, .. } => format!("memory {key:?}"),
            Change::Sparkle { to } => format!("sparkle for {to}"),
            Change::Reminder => "a reminder".to_owned(),
        }
    }

    fn promised(&self) -> String {
        match &self.change {
            Change::Memory { value: Some(value), .. } => format!("{value:?}"),
            Change::Memory { value: None, .. } => "to forget it".to_owned(),
            Change::Sparkle { .. } => "one more".to_owned(),
            Change::Reminder => "a reminder".to_owned(),
        }
    }
}

impl Change {
    /// Whether a row is about this change.
    fn is_in(&self, row: &Revision) -> bool {
        match self {
            Self::Memory { value, .. } => row.entry.starts_with("rem#") && row.value == *value,
            Self::Sparkle { to } => row.entry.starts_with(&format!("sparkle#{to}#")),
            Self::Reminder => false,
        }
    }
}

/// What the store holds of a server: the rows of each thing in the order of their numbers, and the heads.
struct Stored {
    rows: BTreeMap<(String, String), Vec<Revision>>,
    memories: BTreeMap<String, Memory>,
    sparkles: BTreeMap<String, Sparkles>,
}

/// A memory as it is stored, as far as it must agree with its history.
#[derive(Debug, Serialize, Deserialize)]
struct Memory {
    discord_server_id: u64,
    rem_key: String,
    rem_value: Option<String>,
    #[serde(default)]
    rev: u64,
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

/// Somebody's sparkles, likewise.
#[derive(Debug, Serialize, Deserialize)]
struct Sparkles {
    discord_server_id: u64,
    discord_handle: String,
    #[serde(default)]
    total_sparkles: i64,
    #[serde(default)]
    rev: u64,
    event_id: Option<u64>,
}

impl Table for Sparkles {
    const NAME: &'static str = "sparkle";
    const KEY: &'static [&'static str] = &["discord_server_id", "discord_handle"];
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.discord_server_id, self.discord_handle.clone())
    }
}

impl Stored {
    async fn read(dynamo: &Dynamo, server: Id) -> Result<Self, dynamo::Error> {
        let mut rows: BTreeMap<(String, String), Vec<Revision>> = BTreeMap::new();
        for row in all::<Revision>(dynamo, server).await? {
            if let Some((kind, id)) = row.thing() {
                rows.entry((kind.to_owned(), id)).or_default().push(row);
            }
        }
        rows.values_mut().for_each(|rows| rows.sort_by_key(|row| row.rev));
        let memories = all::<Memory>(dynamo, server).await?;
        let sparkles = all::<Sparkles>(dynamo, server).await?;
        Ok(Self {
            rows,
            memories: memories.into_iter().map(|head| (head.rem_key.clone(), head)).collect(),
            sparkles: sparkles.into_iter().map(|head| (head.discord_handle.clone(), head)).collect(),
        })
    }

    /// Revisions have no gap, heads say what their last rows say, and sums are sums.
    fn check(&self, verdict: &mut Verdict) {
        for ((kind, id), rows) in &self.rows {
            let mut violated = |promised: String, stored: String| {
                verdict.violated(Violation { event: None, key: format!("{kind} {id:?}"), promised, stored });
            };
            let first = rows.first().map_or(1, |row| row.rev);
            let numbers: Vec<u64> = rows.iter().map(|row| row.rev).collect();
            if numbers != (first..first + rows.len() as u64).collect::<Vec<_>>() {
                violated("revisions without a gap".to_owned(), format!("{numbers:?}"));
            }
            let Some(last) = rows.last() else { continue };
            let (head, said, says) = match kind.as_str() {
                "rem" => {
                    let head = self.memories.get(id);
                    let says = head.and_then(|head| head.rem_value.clone().or(head.alias_of.clone()));
                    (head.map(|head| (head.rev, head.event_id)), last.value.clone(), says)
                }
                "sparkle" => {
                    let head = self.sparkles.get(id);
                    let says = head.map(|head| head.total_sparkles.to_string());
                    (head.map(|head| (head.rev, head.event_id)), last.total.map(|n| n.to_string()), says)
                }
                _ => continue,
            };
            if head != Some((last.rev, last.event_id)) || said != says {
                let row = format!("revision {} of event {:?}: {said:?}", last.rev, last.event_id);
                violated(row, format!("head {head:?}: {says:?}"));
            }
            // A server of the run begins empty, so that each row is one sparkle given or taken back.
            if kind == "sparkle" && first == 1 {
                let sum: i64 = rows.iter().map(|row| if row.undoes.is_some() { -1 } else { 1 }).sum();
                if last.total.is_some_and(|total| total != sum) {
                    violated(format!("{sum} in {} rows", rows.len()), format!("{:?}", last.total));
                }
            }
        }
    }
}

/// All records of a server, page by page.
async fn all<T: Table<Key = (u64, String)>>(dynamo: &Dynamo, server: Id) -> Result<Vec<T>, dynamo::Error> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let query: Query<T> = Query::of(server);
        let page = dynamo.query(cursor.into_iter().fold(query, Query::resume)).await?;
        found.extend(page.records);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(found),
        }
    }
}
