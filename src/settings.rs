//! [`Settings`]: what a server has decided about the bot, in one record, and [`SettingsCache`], through which
//! every command sees them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::copies::{Copied, Copies};
use crate::dynamo::{self, Dynamo, Personal, Places, Privacy, Table};
use crate::history::{Head, Row, Stamp, Thing};

/// The kind of their rows in the history.
pub const KIND: &str = "setting";

/// How long the history is kept where the server has not said so.
pub const HISTORY_DAYS: u32 = 365;

/// How many sparkles a person may give in a day where the server has not said so.
pub const SPARKLES_PER_DAY: u32 = 10;

/// One record of the table `settings`. What is absent has its default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub discord_server_id: u64,
    pub prefix: Option<String>,
    /// An IANA zone.
    pub timezone: Option<String>,
    pub memories: Option<Memories>,
    pub unknown_commands: Option<UnknownCommands>,
    pub stats: Option<StatsFor>,
    /// 0: for good.
    pub history_days: Option<u32>,
    /// 0: as many as one likes.
    pub sparkles_per_day: Option<u32>,
    pub play: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// By the name of the command.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cooldowns: BTreeMap<String, Cooldown>,
    #[serde(default)]
    pub rev: u64,
    pub event_id: Option<u64>,
    pub updated_by: Option<u64>,
    pub updated_at: Option<Timestamp>,
    /// When the tables of the original bot were taken over for this server.
    pub adopted_at: Option<Timestamp>,
    /// When the bot left; its records are purged a while after.
    pub left_at: Option<Timestamp>,
}

/// Who may change a memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memories {
    #[default]
    Open,
    /// Their owner and moderators.
    Owned,
}

/// What a command that does not exist is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnknownCommands {
    Never,
    /// With a name that is near, if there is one.
    #[default]
    Close,
    Always,
}

/// Who sees a server's statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatsFor {
    #[default]
    Public,
    Admins,
}

/// One rule of `.allow` and `.deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub allow: bool,
    /// The name of a command, of a group, or `*`.
    pub command: String,
    pub subject: Subject,
}

impl Rule {
    /// Whether it is the rule for this command or group and this subject.
    pub fn is(&self, command: &str, subject: Subject) -> bool {
        self.command == command && self.subject == subject
    }
}

/// Whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    Person(u64),
    Role(u64),
    Channel(u64),
    Everyone,
}

/// As people see it.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(id) => write!(f, "<@{id}>"),
            Self::Role(id) => write!(f, "<@&{id}>"),
            Self::Channel(id) => write!(f, "<#{id}>"),
            Self::Everyone => f.write_str("everyone"),
        }
    }
}

/// How often one command may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cooldown {
    pub seconds: u64,
    pub per: Per,
}

/// What shares a cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    User,
    Channel,
    Server,
}

impl Settings {
    /// The settings of a server that has decided nothing.
    pub fn new(server_id: u64) -> Self {
        Self { discord_server_id: server_id, ..Self::default() }
    }

    /// How long rows of the history are kept; `None`: for good.
    pub fn keep(&self) -> Option<Duration> {
        let days = self.history_days.unwrap_or(HISTORY_DAYS);
        (days > 0).then(|| Duration::from_secs(u64::from(days) * 86_400))
    }

    /// The server's time zone; UTC where it has none, or one that the calendar no longer knows.
    pub fn zone(&self) -> TimeZone {
        self.timezone.as_deref().and_then(|name| TimeZone::get(name).ok()).unwrap_or(TimeZone::UTC)
    }

    /// How many sparkles a person may give in a day; `None`: as many as they like.
    pub fn sparkles_per_day(&self) -> Option<u32> {
        Some(self.sparkles_per_day.unwrap_or(SPARKLES_PER_DAY)).filter(|limit| *limit > 0)
    }
}

impl Table for Settings {
    const NAME: &'static str = "settings";
    const KEY: &'static [&'static str] = &["discord_server_id"];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("discord_server_id", Privacy::None),
            ("prefix", Privacy::None),
            ("timezone", Privacy::None),
            ("memories", Privacy::None),
            ("unknown_commands", Privacy::None),
            ("stats", Privacy::None),
            ("history_days", Privacy::None),
            ("sparkles_per_day", Privacy::None),
            ("play", Privacy::None),
            ("rules", Privacy::Stays),
            ("cooldowns", Privacy::None),
            ("rev", Privacy::None),
            ("event_id", Privacy::None),
            ("updated_by", Privacy::Id),
            ("updated_at", Privacy::None),
            ("adopted_at", Privacy::None),
            ("left_at", Privacy::None),
        ],
        places: Places::Server,
        kept: "as long as the server has me; rules that name you stay",
    };
    type Key = u64;

    fn key(&self) -> Self::Key {
        self.discord_server_id
    }
}

impl Head for Settings {
    fn thing(server_id: &u64) -> Thing {
        Thing { server_id: *server_id, kind: KIND, id: "all".to_owned() }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            rev: self.rev,
            event_id: self.event_id.unwrap_or_default(),
            by: self.updated_by.unwrap_or_default(),
            at: self.updated_at,
            expires_at: None,
        }
    }

    fn set_stamp(&mut self, stamp: Stamp) {
        self.rev = stamp.rev;
        self.event_id = Some(stamp.event_id);
        self.updated_by = Some(stamp.by);
        self.updated_at = stamp.at;
    }

    fn adopted(&self) -> Row {
        Row::default()
    }
}

impl Copied for Settings {
    /// The newer one.
    fn merged(self, known: &Self) -> Self {
        if known.rev > self.rev { known.clone() } else { self }
    }
}

/// Copies of the settings of the servers that were heard of lately.
#[derive(Debug, Default)]
pub struct SettingsCache(Copies<Settings>);

impl SettingsCache {
    /// The settings of a server; of direct messages (server 0) the defaults.
    pub async fn of(&self, dynamo: &Dynamo, server_id: u64) -> Result<Arc<Settings>, dynamo::Error> {
        if server_id == 0 {
            return Ok(Arc::new(Settings::new(0)));
        }
        let read = async || {
            let found = dynamo.get_eventually::<Settings>(server_id).await?;
            Ok(found.unwrap_or_else(|| Settings::new(server_id)))
        };
        self.0.of(dynamo, server_id, read).await
    }

    /// The copy that is there, without asking; for what is no decision, such as counting by day.
    pub fn at_hand(&self, server_id: u64, now: Timestamp) -> Option<Arc<Settings>> {
        self.0.at_hand(server_id, now)
    }

    /// Takes in a change that was made here.
    pub fn changed(&self, settings: Settings, now: Timestamp) {
        self.0.changed(settings.discord_server_id, now, |_| Some(settings));
    }
}

/// What may stand before commands: 1 to 5 characters, no white space, not only letters or digits, and nothing
/// that Discord gives a meaning of its own.
pub fn is_prefix(text: &str) -> bool {
    let length = (1..=5).contains(&text.chars().count());
    let characters = !text.chars().any(|c| c.is_whitespace() || c.is_control() || "/@#<`".contains(c));
    length && characters && !text.chars().all(char::is_alphanumeric)
}

/// What [`is_prefix`] asks for, in words.
pub const A_PREFIX: &str = "A prefix is 1 to 5 characters, no spaces, not only letters or digits, and none of \
                            / @ # < and backtick";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::copies::FRESH_FOR;
    use crate::dynamo::{TableSpec, testing};

    const TABLES: &[TableSpec] = &[TableSpec::of::<Settings>()];

    async fn store() -> (Dynamo, Clock) {
        let clock = Clock::manual(Timestamp::from_seconds(1_000));
        (testing::embedded_at(TABLES, clock.clone()).await, clock)
    }

    fn all() -> Settings {
        Settings {
            prefix: Some("!".into()),
            timezone: Some("Europe/Berlin".into()),
            memories: Some(Memories::Owned),
            unknown_commands: Some(UnknownCommands::Always),
            stats: Some(StatsFor::Admins),
            history_days: Some(0),
            sparkles_per_day: Some(0),
            play: Some(true),
            rules: vec![
                Rule { allow: false, command: "*".into(), subject: Subject::Everyone },
                Rule { allow: true, command: "mem".into(), subject: Subject::Role(u64::MAX) },
            ],
            cooldowns: BTreeMap::from([("rem".into(), Cooldown { seconds: 30, per: Per::Channel })]),
            rev: 3,
            event_id: Some(7),
            updated_by: Some(1),
            updated_at: Some(Timestamp::from_seconds(900)),
            adopted_at: Some(Timestamp::from_seconds(800)),
            left_at: Some(Timestamp::from_seconds(950)),
            ..Settings::new(1)
        }
    }

    #[tokio::test]
    async fn every_field_is_stored() {
        let (dynamo, _) = store().await;
        dynamo.put(&all()).await.unwrap();
        assert_eq!(dynamo.get::<Settings>(1).await.unwrap(), Some(all()));
        assert_eq!((all().keep(), all().sparkles_per_day()), (None, None));
        let new = Settings::new(1);
        assert_eq!(
            (new.keep().map(|keep| keep.as_secs() / 86_400), new.sparkles_per_day()),
            (Some(365), Some(10))
        );
    }

    #[tokio::test]
    async fn a_copy_is_thirty_seconds_old_at_most_and_never_older_than_an_own_change() {
        let (dynamo, clock) = store().await;
        let cache = SettingsCache::default();
        assert_eq!(*cache.of(&dynamo, 1).await.unwrap(), Settings::new(1));
        dynamo.put(&all()).await.unwrap();
        assert_eq!(*cache.of(&dynamo, 1).await.unwrap(), Settings::new(1));
        clock.advance(FRESH_FOR);
        assert_eq!(*cache.of(&dynamo, 1).await.unwrap(), all());
        cache.changed(Settings { rev: 4, prefix: None, ..all() }, clock.now());
        clock.advance(FRESH_FOR);
        assert_eq!(cache.of(&dynamo, 1).await.unwrap().rev, 4, "the store is behind");
        assert_eq!(*cache.of(&dynamo, 0).await.unwrap(), Settings::new(0), "direct messages have none");
    }
}
