//! [`Call`]: what the plain functions know of the one who asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::cause::Cause;
use crate::clock::Timestamp;
use crate::context::{Context, Door, Error, Result, Services, refuse};
use crate::dynamo::{self, Dynamo};
use crate::history::{self, Change, Head, Next, Revision};
use crate::markdown::{code, person};
use crate::settings::{Memories, Settings};

use super::key::Key;
use super::lists::Lists;
use super::record::Remembered;
use super::view;

/// An alias names a memory, but that memory may have become an alias since.
pub const HOPS_MAX: usize = 4;

/// For this long after a change of ours a read must not show an older state, even if it is a cheap one.
const OWN_WRITES_FOR: Duration = Duration::from_secs(30);

/// Own writes remembered for that; beyond it the next reads are as old as those of other processes.
const OWN_WRITES_MAX: usize = 10_000;

/// How many names are suggested when nothing was found.
const SUGGESTIONS: usize = 3;

/// Who asks, where, when, and what the server allows.
#[derive(Clone)]
pub struct Call {
    pub services: Arc<Services>,
    pub cause: Cause,
    pub prefix: Arc<str>,
    pub moderator: bool,
    pub attachments: bool,
    pub door: Door,
    pub policy: Policy,
    /// The server's zone.
    pub zone: TimeZone,
}

/// What the server's settings say about memories.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Only their owner and moderators change memories.
    pub owned: bool,
    /// How long the rows of changes are kept; `None`: for good.
    pub keep: Option<Duration>,
}

impl From<&Settings> for Policy {
    fn from(settings: &Settings) -> Self {
        Self { owned: settings.memories == Some(Memories::Owned), keep: settings.keep() }
    }
}

/// Why a decision did not change a memory.
pub enum No {
    Refused(Error),
    /// It is another name for the memory with this key, and that one is meant.
    OtherName(String),
    /// There is nothing under this key.
    NotFound,
}

impl From<Error> for No {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<dynamo::Error> for No {
    fn from(error: dynamo::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// A change that was made, now or by an earlier delivery of the event.
pub struct Changed {
    /// As it was; not known if it was made before.
    pub before: Option<Remembered>,
    pub row: Revision,
}

impl Changed {
    /// The key as people see it.
    pub fn name(&self) -> String {
        code(self.row.name.as_deref().unwrap_or_default())
    }
}

impl Call {
    pub fn of(ctx: &Context) -> Self {
        Self {
            services: ctx.services.clone(),
            cause: ctx.cause.clone(),
            prefix: ctx.prefix.clone(),
            moderator: ctx.caller.moderator,
            attachments: !ctx.attachments.is_empty(),
            door: ctx.door,
            policy: ctx.settings.as_ref().into(),
            zone: ctx.settings.zone(),
        }
    }

    pub fn dynamo(&self) -> &Dynamo {
        &self.services.dynamo
    }

    pub fn lists(&self) -> Arc<Lists> {
        self.services.state()
    }

    pub fn server(&self) -> u64 {
        self.cause.server_id
    }

    pub fn actor(&self) -> u64 {
        self.cause.actor_id
    }

    /// Changes the memory that a key stands for, following other names.
    pub async fn change(
        &self,
        key: &Key,
        decide: impl Fn(Option<&Remembered>) -> Result<Next<Remembered>, No>,
    ) -> Result<Changed> {
        self.note(self.actor()).await?;
        let mut normal = key.normal.clone();
        for _ in 0..HOPS_MAX {
            let place = (self.server(), normal.clone());
            match history::change(self.dynamo(), &self.cause, place, &decide).await {
                Ok(Change::Done(done)) => {
                    self.wrote(&done.head);
                    return Ok(Changed { before: done.before, row: done.row });
                }
                Ok(Change::Already(row)) => return Ok(Changed { before: None, row }),
                Ok(Change::Contended) => return Err(contended(key)),
                Err(No::Refused(error)) => return Err(error),
                Err(No::NotFound) => break,
                Err(No::OtherName(target)) => normal = target,
            }
        }
        Err(self.not_found(key).await)
    }

    /// Whether this event has changed a key before: what must hold for a change may have ceased to since.
    pub async fn did(&self, key: &Key) -> Result<bool> {
        let thing = Remembered::thing(&(self.server(), key.normal.clone()));
        Ok(history::revision_of(self.dynamo(), &thing, self.cause.id.0).await?.is_some())
    }

    /// Notes, before anything is written, that records of this server name the caller, and perhaps another.
    pub async fn note(&self, person: u64) -> Result<()> {
        Ok(self.services.noted.note(self.dynamo(), person, self.server()).await?)
    }

    /// Takes an own change into what this process keeps in memory.
    pub fn wrote(&self, head: &Remembered) {
        self.lists().changed(head);
        let own_writes = self.services.state::<OwnWrites>();
        own_writes.note(head, self.dynamo().now());
    }

    /// The text of a key as it came from a slash option or an id: it may be a short name.
    pub async fn spelled_out(&self, typed: &str) -> Result<String> {
        if !super::key::is_short_name(typed) || matches!(self.door, Door::Prefix | Door::Mention) {
            return Ok(typed.to_owned());
        }
        let list = self.lists().any(self.dynamo(), self.server()).await?;
        Ok(list.behind_short_name(typed).unwrap_or(typed).to_owned())
    }

    /// Nothing is remembered under this key; with names that may have been meant.
    pub async fn not_found(&self, key: &Key) -> Error {
        let list = self.lists().any(self.dynamo(), self.server()).await;
        // Suggestions are a courtesy: without them the answer is as true.
        let names =
            list.ok().and_then(|list| view::did_you_mean(&list.suggestions(&key.normal, SUGGESTIONS)));
        view::no(view::not_found(key) + &names.unwrap_or_default())
    }

    /// The same for a lookup.
    pub async fn not_remembered(&self, typed: &str, key: &Key) -> Error {
        let list = self.lists().any(self.dynamo(), self.server()).await;
        let list = list.unwrap_or_default();
        view::no(view::not_remembered(typed, key, &list.suggestions(&key.normal, SUGGESTIONS)))
    }

    /// Level C of the catalogue, on the record as read for the change.
    pub fn may_change(&self, head: &Remembered, command: &str) -> Result<()> {
        if self.moderator {
            return Ok(());
        }
        if head.locked_by.is_some() {
            return self.not_allowed(command, &format!("{} is locked", head.code()));
        }
        if self.policy.owned { self.must_own(head, command) } else { Ok(()) }
    }

    /// Level O, M: only the owner, or a moderator; while it is locked, only a moderator.
    pub fn must_own(&self, head: &Remembered, command: &str) -> Result<()> {
        if self.moderator {
            return Ok(());
        }
        if head.locked_by.is_some() {
            return self.not_allowed(command, &format!("{} is locked", head.code()));
        }
        match head.owner() {
            Some(owner) if owner == self.actor() => Ok(()),
            Some(owner) => {
                let rule = format!("only its owner {} or a moderator can change it", person(owner));
                self.not_allowed(command, &rule)
            }
            None => self.not_allowed(command, "only its owner or a moderator can change it"),
        }
    }

    pub fn not_allowed<T>(&self, command: &str, rule: &str) -> Result<T> {
        refuse(format!("⛔ You can't use {} here: {rule}", code(&format!("{}{command}", self.prefix))))
    }

    /// The record under a key if it is not forgotten, cheaply; a miss is certain.
    pub async fn find(&self, key: &str) -> Result<Option<Remembered>> {
        let place = (self.server(), key.to_owned());
        let found: Option<Remembered> = self.dynamo().get_eventually(place.clone()).await?;
        let own_writes = self.services.state::<OwnWrites>();
        let at_least = own_writes.rev(&place, self.dynamo().now());
        match found {
            Some(record) if !record.is_forgotten() && record.rev >= at_least => Ok(Some(record)),
            _ => self.find_now(key).await,
        }
    }

    /// The record under a key if it is not forgotten, with strong consistency.
    pub async fn find_now(&self, key: &str) -> Result<Option<Remembered>> {
        let found: Option<Remembered> = self.dynamo().get((self.server(), key.to_owned())).await?;
        Ok(found.filter(|record| !record.is_forgotten()))
    }
}

fn contended(key: &Key) -> Error {
    view::no(format!("⚠ {key} is being changed by others right now; have a look and try again"))
}

/// The last own revision of keys changed a moment ago.
#[derive(Default)]
struct OwnWrites(Mutex<HashMap<(u64, String), (u64, Timestamp)>>);

impl OwnWrites {
    fn note(&self, head: &Remembered, now: Timestamp) {
        let mut writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if writes.len() >= OWN_WRITES_MAX {
            writes.retain(|_, (_, at)| now.since(*at) < OWN_WRITES_FOR);
        }
        if writes.len() < OWN_WRITES_MAX {
            let write = writes.entry((head.discord_server_id, head.rem_key.clone())).or_insert((0, now));
            *write = (write.0.max(head.rev), now);
        }
    }

    fn rev(&self, place: &(u64, String), now: Timestamp) -> u64 {
        let writes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = writes.get(place).filter(|(_, at)| now.since(*at) < OWN_WRITES_FOR);
        recent.map_or(0, |(rev, _)| *rev)
    }
}
