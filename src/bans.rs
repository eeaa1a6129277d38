//! Who may not use the bot: people and servers banned from the instance, and people blocked in a server.
//!
//! Each ban is one record with a history. The instance's are loaded before the bot is ready and looked at
//! again every [`FRESH_FOR`]: without the list it is not known who is banned, and no command runs. A server's
//! blocks are copied like its settings. The store is changed first and memory after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::copies::{Copied, Copies};
use crate::dynamo::{self, Dynamo, Personal, Places, Privacy, Query, Reach, Table};
use crate::history::{Head, Next, Row, Stamp, Thing};

pub use crate::copies::FRESH_FOR;

/// The kind of their rows in the history.
pub const KIND: &str = "ban";

/// How long a lifted ban, or one that is over, is kept: as long as its rows.
pub const KEPT_FOR: Duration = Duration::from_secs(365 * 86_400);

/// One record of the table `bans`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// `bot`, or the id of a server.
    pub scope: String,
    /// `user/<id>` or `server/<id>`.
    pub subject: String,
    #[serde(default)]
    pub rev: u64,
    pub event_id: Option<u64>,
    pub by: Option<u64>,
    pub at: Option<Timestamp>,
    /// `None`: for good.
    pub until: Option<Timestamp>,
    pub reason: Option<String>,
    pub lifted_at: Option<Timestamp>,
    pub expires_at: Option<i64>,
}

/// Where a ban holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Wherever this bot is.
    Instance,
    Server(u64),
}

/// Who is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Person(u64),
    Server(u64),
}

impl Scope {
    pub fn text(self) -> String {
        match self {
            Self::Instance => "bot".to_owned(),
            Self::Server(id) => id.to_string(),
        }
    }

    /// 0 stands for the instance.
    fn server_id(scope: &str) -> u64 {
        scope.parse().unwrap_or_default()
    }
}

impl Who {
    pub fn text(self) -> String {
        match self {
            Self::Person(id) => format!("user/{id}"),
            Self::Server(id) => format!("server/{id}"),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('/')? {
            ("user", id) => id.parse().ok().map(Self::Person),
            ("server", id) => id.parse().ok().map(Self::Server),
            _ => None,
        }
    }

    pub fn id(self) -> u64 {
        match self {
            Self::Person(id) | Self::Server(id) => id,
        }
    }
}

impl Ban {
    pub fn new(scope: Scope, who: Who) -> Self {
        Self { scope: scope.text(), subject: who.text(), ..Self::default() }
    }

    pub fn holds(&self, now: Timestamp) -> bool {
        self.lifted_at.is_none() && self.until.is_none_or(|until| until > now)
    }

    pub fn who(&self) -> Option<Who> {
        Who::parse(&self.subject)
    }

    /// The next revision, for [`crate::history::change`].
    pub fn next(self, op: &'static str) -> Next<Self> {
        let row = Row {
            name: Some(self.subject.clone()),
            value: self.reason.clone().filter(|_| self.lifted_at.is_none()),
            keep: Some(KEPT_FOR),
            ..Row::default()
        };
        Next { head: self, op, row }
    }
}

/// Where the bans of a server are; those of the instance are in no server.
fn scopes(reach: &Reach) -> Vec<String> {
    vec![if reach.server_id == 0 { Scope::Instance } else { Scope::Server(reach.server_id) }.text()]
}

impl Table for Ban {
    const NAME: &'static str = "bans";
    const KEY: &'static [&'static str] = &["scope", "subject"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("scope", Privacy::None),
            // A ban that went with the banned would be none.
            ("subject", Privacy::Stays),
            ("rev", Privacy::None),
            ("event_id", Privacy::None),
            ("by", Privacy::Id),
            ("at", Privacy::None),
            ("until", Privacy::None),
            ("reason", Privacy::Text),
            ("lifted_at", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Named(scopes),
        kept: "until it is lifted, and a year longer",
    };
    type Key = (String, String);

    fn key(&self) -> Self::Key {
        (self.scope.clone(), self.subject.clone())
    }
}

impl Head for Ban {
    fn thing((scope, subject): &Self::Key) -> Thing {
        Thing { server_id: Scope::server_id(scope), kind: KIND, id: subject.clone() }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            rev: self.rev,
            event_id: self.event_id.unwrap_or_default(),
            by: self.by.unwrap_or_default(),
            at: self.at,
            expires_at: self.expires_at,
        }
    }

    fn set_stamp(&mut self, stamp: Stamp) {
        self.rev = stamp.rev;
        self.event_id = Some(stamp.event_id);
        self.by = Some(stamp.by);
        self.at = stamp.at;
        let over_at = self.lifted_at.or(self.until);
        self.expires_at = over_at.map(|at| at.plus(KEPT_FOR).seconds());
    }

    fn adopted(&self) -> Row {
        Row::default()
    }
}

/// The bans of one scope, by subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(BTreeMap<String, Ban>);

impl List {
    async fn read(dynamo: &Dynamo, scope: Scope) -> Result<Self, dynamo::Error> {
        Self::of(dynamo, Query::of(scope.text()).eventually()).await
    }

    async fn of(dynamo: &Dynamo, query: Query<Ban>) -> Result<Self, dynamo::Error> {
        let bans: Vec<Ban> = dynamo.query_all(query).await?;
        Ok(Self(bans.into_iter().map(|ban| (ban.subject.clone(), ban)).collect()))
    }

    fn with(&self, ban: Ban) -> Self {
        let mut list = self.clone();
        list.0.insert(ban.subject.clone(), ban);
        list
    }

    pub fn ban_of(&self, who: Who, now: Timestamp) -> Option<&Ban> {
        self.0.get(&who.text()).filter(|ban| ban.holds(now))
    }

    /// Those that hold now, in the order of their subjects.
    pub fn holding(&self, now: Timestamp) -> impl Iterator<Item = &Ban> {
        self.0.values().filter(move |ban| ban.holds(now))
    }
}

impl Copied for List {
    fn merged(mut self, known: &Self) -> Self {
        for (subject, ban) in &known.0 {
            if self.0.get(subject).is_none_or(|read| read.rev < ban.rev) {
                self.0.insert(subject.clone(), ban.clone());
            }
        }
        self
    }
}

/// The bans that this process knows.
#[derive(Debug, Default)]
pub struct Bans {
    /// `None` until it was loaded for the first time.
    instance: Mutex<Option<Arc<List>>>,
    servers: Copies<List>,
}

impl Bans {
    /// The bans of the instance, as they were read last.
    pub fn instance(&self) -> Option<Arc<List>> {
        self.instance.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the bans of the instance anew. If that fails, what was read before holds.
    pub async fn load(&self, dynamo: &Dynamo) -> Result<(), dynamo::Error> {
        let read = List::read(dynamo, Scope::Instance).await?;
        let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
        let list = match instance.take() {
            Some(known) => read.merged(&known),
            None => read,
        };
        *instance = Some(Arc::new(list));
        Ok(())
    }

    /// The blocks of a server; of direct messages there are none.
    pub async fn in_server(&self, dynamo: &Dynamo, server_id: u64) -> Result<Arc<List>, dynamo::Error> {
        if server_id == 0 {
            return Ok(Arc::default());
        }
        let read = async || List::read(dynamo, Scope::Server(server_id)).await;
        self.servers.of(dynamo, server_id, read).await
    }

    /// The blocks of a server as they are in the store now.
    pub async fn in_server_now(&self, dynamo: &Dynamo, server_id: u64) -> Result<Arc<List>, dynamo::Error> {
        let list = List::of(dynamo, Query::of(Scope::Server(server_id).text())).await?;
        self.servers.changed(server_id, dynamo.now(), |_| Some(list.clone()));
        Ok(Arc::new(list))
    }

    /// Takes in a change that was made here.
    pub fn changed(&self, ban: Ban, now: Timestamp) {
        match Scope::server_id(&ban.scope) {
            0 => {
                let mut instance = self.instance.lock().unwrap_or_else(PoisonError::into_inner);
                // Not loaded means that nobody knows the others, so this one must not pass for all of them.
                if let Some(known) = instance.take() {
                    *instance = Some(Arc::new(known.with(ban)));
                }
            }
            server_id => self.servers.changed(server_id, now, |known| Some(known?.with(ban))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::dynamo::faults::Faults;
    use crate::dynamo::testing::{engine, over};
    use crate::dynamo::{TableSpec, Units, measured};

    const TABLES: &[TableSpec] = &[TableSpec::of::<Ban>()];
    const EVE: Who = Who::Person(100_000_000_000_000_009);

    fn ban(scope: Scope, rev: u64) -> Ban {
        Ban { rev, reason: Some("spam".into()), ..Ban::new(scope, EVE) }
    }

    #[tokio::test]
    async fn without_a_list_nobody_knows_and_a_failed_reading_changes_nothing() {
        let (clock, faults) = (Clock::manual(Timestamp::from_seconds(1_000)), Faults::new());
        let dynamo = over(&engine(TABLES).await, clock.clone(), &faults);
        dynamo.put(&ban(Scope::Instance, 1)).await.unwrap();
        let bans = Bans::default();
        faults.set_away(true);
        assert!(bans.load(&dynamo).await.is_err());
        assert_eq!(bans.instance(), None);
        bans.changed(ban(Scope::Instance, 2), clock.now());
        assert_eq!(bans.instance(), None, "one ban is not the list of them");
        faults.set_away(false);
        let (_, units) = measured(async { bans.load(&dynamo).await.unwrap() }).await;
        assert_eq!(units, Units { read: 0.5, write: 0.0 });
        let holds = || bans.instance().unwrap().ban_of(EVE, clock.now()).is_some();
        assert!(holds());
        faults.set_away(true);
        assert!(bans.load(&dynamo).await.is_err());
        assert!(holds());
        faults.set_away(false);
        bans.changed(Ban { lifted_at: Some(clock.now()), ..ban(Scope::Instance, 2) }, clock.now());
        assert!(!holds());
        bans.load(&dynamo).await.unwrap();
        assert!(!holds(), "the store is behind");
    }

    #[tokio::test]
    async fn blocks_are_copied_for_thirty_seconds_and_end_by_themselves() {
        let clock = Clock::manual(Timestamp::from_seconds(1_000));
        let dynamo = over(&engine(TABLES).await, clock.clone(), &Faults::new());
        let (bans, server) = (Bans::default(), 800_000_000_000_000_001);
        assert_eq!(bans.in_server(&dynamo, 0).await.unwrap().holding(clock.now()).count(), 0);
        assert_eq!(bans.in_server(&dynamo, server).await.unwrap().ban_of(EVE, clock.now()), None);
        let until = Some(Timestamp::from_seconds(1_100));
        dynamo.put(&Ban { until, ..ban(Scope::Server(server), 1) }).await.unwrap();
        assert_eq!(bans.in_server(&dynamo, server).await.unwrap().holding(clock.now()).count(), 0);
        clock.advance(FRESH_FOR);
        let list = bans.in_server(&dynamo, server).await.unwrap();
        assert!(list.ban_of(EVE, clock.now()).is_some());
        assert!(list.ban_of(EVE, Timestamp::from_seconds(1_100)).is_none());
    }
}
