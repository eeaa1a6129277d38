//! Data that several bots share without racing: in one process, or in several on one store.
//!
//! [`SharedData`] is a set of small protocols over the table `shared`. Each step is one request with a
//! condition; nothing is read, decided and written back without one. A [`Space`] is the namespace: nothing is
//! shared between spaces.
//!
//! What always holds:
//!
//! - A condition that does not hold is an answer. A write of which nobody knows whether it happened is
//!   [`SharedError::Unknown`], never success and never "absent".
//! - Every write carries a nonce, so that a refusal after a lost reply is recognised as an own success.
//! - Whether a lease of ours is still valid is judged by this process's monotonic clock. Wall clocks are only
//!   compared with other processes' times, and [`SharedOptions::max_skew`] apart at most; beyond that, fenced
//!   writes stay safe and mutual exclusion does not.
//! - What waits, acquires or creates runs in a task of the hub's: a caller that is dropped leaves nothing
//!   behind.
//!
//! `docs/shared-data.md` shows what to use when.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::dynamo::{self, Dynamo, TableSpec};
use crate::tasks::Tasks;

mod barrier;
mod cells;
pub mod cli;
mod create;
mod deal;
mod hold;
mod hub;
mod items;
mod lease;
mod list;
#[cfg(test)]
mod page;
mod run;
mod stats;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod tests;
mod wait;

pub use barrier::{BarrierError, MEMBERS_MAX, Pass};
pub use cells::{Added, Change, Expect, Put, Version};
pub use create::{Begun, CreateContext, CreateError, CreateOptions, Created, Creation};
pub use deal::{ELEMENT_MAX, LIST_MAX, Loaded};
pub use hold::{CheckedOut, PERMITS_MAX, POOL_MAX, Permit};
pub use lease::{Fenced, Held, Lease, LeaseError, LeaseOptions, Released, TTL_MAX, TTL_MIN, WAIT_MAX};
pub use list::{Entry, Kind};
pub use run::{ConfigError, RunConfig, Slot};
pub use stats::{SharedStats, Times};
pub use wait::WaitError;

use hub::Hub;
use items::Place;

/// The one table.
pub const TABLES: &[TableSpec] = &[items::TABLE];

/// A value: what travels in one request of any primitive, with room for the rest of the record.
pub const VALUE_MAX: usize = 64 * 1_024;

/// A key: it becomes a part of the range key, of which DynamoDB takes 1,024 bytes.
pub const KEY_MAX: usize = 256;

/// A name of one that asks: it becomes a map key in records that hold thousands of them.
pub const WHO_MAX: usize = 64;

/// Records of a run are deleted this long after the last write to them.
const RUN_KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// A handle to the shared data of one space. Cloning is cheap, and all clones share one hub.
#[derive(Clone)]
pub struct SharedData {
    hub: Arc<Hub>,
    space: Arc<Space>,
}

impl fmt::Debug for SharedData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedData").field("space", &self.space).finish_non_exhaustive()
    }
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// The whole installation.
    Bot,
    /// One Discord server.
    Server(u64),
    /// One run of the army. What a run leaves behind expires.
    Run(String),
    /// The list of runs: a cell for each that wrote its configuration.
    Runs,
}

impl Space {
    /// Reads `bot`, `server/<id>`, `run/<id>` or `runs`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/') {
            None if text == "bot" => Some(Self::Bot),
            None if text == "runs" => Some(Self::Runs),
            Some(("server", id)) => id.parse().ok().map(Self::Server),
            Some(("run", id)) if is_name(id, KEY_MAX) => Some(Self::Run(id.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bot => f.write_str("bot"),
            Self::Server(id) => write!(f, "server/{id}"),
            Self::Run(id) => write!(f, "run/{id}"),
            Self::Runs => f.write_str("runs"),
        }
    }
}

/// The one that asks. Two live tasks never use the same one for the same thing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Who(String);

impl Who {
    /// A role that is filled again when its holder dies.
    pub fn slot(number: u32) -> Self {
        Self(format!("slot-{number}"))
    }

    /// One bot, whose number is never used again.
    pub fn bot(id: u64) -> Self {
        Self(format!("bot-{id}"))
    }

    /// Of 1 to [`WHO_MAX`] bytes, without control characters.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn checked(&self) -> Result<&str> {
        named(&self.0, WHO_MAX)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Debug)]
pub struct SharedOptions {
    /// How far the wall clocks of two hosts may be apart.
    pub max_skew: Duration,
    /// The pauses between two looks at a record that somebody waits for: from the first, up to the last.
    pub poll: (Duration, Duration),
    /// Where nonces and pauses come from; chance unless a test says otherwise.
    pub seed: Option<u64>,
}

impl Default for SharedOptions {
    fn default() -> Self {
        // Hosts that keep time by NTP are milliseconds apart; two seconds forgive one that lost it an hour ago.
        let max_skew = Duration::from_secs(2);
        Self { max_skew, poll: (Duration::from_millis(20), Duration::from_secs(1)), seed: None }
    }
}

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SharedError {
    /// Nothing was written.
    #[error("the shared data could not be reached")]
    Unavailable { source: Arc<dynamo::Error> },
    #[error("nobody knows whether it was written")]
    Unknown,
    #[error("what is stored is of another type")]
    WrongType,
    #[error("this key is written under a lease only")]
    Guarded,
    #[error("beyond the limit of {limit}")]
    TooLarge { limit: usize },
    #[error("others were faster {attempts} times")]
    Contended { attempts: u32 },
    #[error("nothing was loaded under this name")]
    NotLoaded,
    #[error("something else was loaded under this name")]
    AlreadyLoaded,
    #[error("a name is 1 to {limit} bytes without control characters")]
    BadName { limit: usize },
}

impl From<dynamo::Error> for SharedError {
    fn from(error: dynamo::Error) -> Self {
        match error {
            dynamo::Error::Uncertain(_) => Self::Unknown,
            dynamo::Error::TooLarge(_) => Self::TooLarge { limit: ITEM_MAX },
            error => Self::Unavailable { source: Arc::new(error) },
        }
    }
}

/// DynamoDB takes no larger records.
const ITEM_MAX: usize = 400 * 1_024;

pub type Result<T, E = SharedError> = std::result::Result<T, E>;

impl SharedData {
    /// Opens a space with a hub of its own. A process has one hub: other spaces are opened with
    /// [`SharedData::in_space`].
    pub fn open(dynamo: Dynamo, tasks: &Tasks, space: Space, options: SharedOptions) -> Self {
        Self { hub: Arc::new(Hub::new(dynamo, tasks.clone(), options)), space: Arc::new(space) }
    }

    /// Another space, by the same hub.
    pub fn in_space(&self, space: Space) -> Self {
        Self { hub: self.hub.clone(), space: Arc::new(space) }
    }

    /// A lease that ended before this has ended for everybody, whatever their clocks say.
    pub fn late(&self) -> Timestamp {
        self.hub.late()
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    fn place(&self, kind: &str, key: &str) -> Result<Place> {
        Ok(Place::new(&self.space, format!("{kind}{}", named(key, KEY_MAX)?)))
    }
}

fn is_name(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn named(text: &str, limit: usize) -> Result<&str> {
    if is_name(text, limit) { Ok(text) } else { Err(SharedError::BadName { limit }) }
}

/// A value as it is stored.
fn stored<T: Serialize>(value: &T, limit: usize) -> Result<Value> {
    let value = serde_json::to_value(value).map_err(|_| SharedError::WrongType)?;
    // An absent value is none; storing "nothing" beside it would be a second way to say the same.
    if value.is_null() {
        return Err(SharedError::WrongType);
    }
    if value.to_string().len() > limit { Err(SharedError::TooLarge { limit }) } else { Ok(value) }
}

/// A value as the caller wants it.
fn typed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|_| SharedError::WrongType)
}
