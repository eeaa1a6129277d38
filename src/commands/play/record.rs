//! [`Play`]: a server's queue of songs and what was heard, in the original bot's table.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::dynamo::{Personal, Places, Privacy, Table};
use crate::history::{Head, Next, Row, Stamp, Thing};

/// The kind of its rows in the history.
pub const KIND: &str = "play";

/// How long the log of songs is kept.
const KEEP: std::time::Duration = std::time::Duration::from_secs(90 * 86_400);

/// One record of the table `play`. Its `stats`, the original bot's, are taken over by the adoption and never
/// written here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {
    pub discord_server_id: u64,
    pub stats: Option<String>,
    /// Songs that were heard to their end, or skipped, and for how long.
    #[serde(default)]
    pub songs: u64,
    #[serde(default)]
    pub seconds: u64,
    /// The first one is playing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queue: Vec<Song>,
    #[serde(default, skip_serializing_if = "crate::history::is_adopted")]
    pub rev: u64,
    pub event_id: Option<u64>,
    pub updated_at: Option<Timestamp>,
}

/// One song in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Song {
    pub title: String,
    pub url: Option<String>,
    /// As it was asked for.
    pub text: String,
    pub by: u64,
    /// Where it is to be heard.
    pub channel: Option<u64>,
    /// How long it is, if that is known.
    pub seconds: Option<u64>,
    /// Which event added it.
    pub event: u64,
}

const SONG: &[(&str, Privacy)] = &[
    ("title", Privacy::Text),
    ("url", Privacy::Text),
    ("text", Privacy::Text),
    ("by", Privacy::Subject),
    ("channel", Privacy::None),
    ("seconds", Privacy::None),
    ("event", Privacy::None),
];

impl Table for Play {
    const NAME: &'static str = "play";
    const KEY: &'static [&'static str] = &["discord_server_id"];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("discord_server_id", Privacy::None),
            ("stats", Privacy::Stays),
            ("songs", Privacy::None),
            ("seconds", Privacy::None),
            ("queue", Privacy::Each(SONG)),
            ("rev", Privacy::None),
            ("event_id", Privacy::None),
            ("updated_at", Privacy::None),
        ],
        places: Places::Server,
        kept: "while a song waits",
    };
    type Key = u64;

    fn key(&self) -> Self::Key {
        self.discord_server_id
    }
}

impl Head for Play {
    fn thing(server_id: &u64) -> Thing {
        Thing { server_id: *server_id, kind: KIND, id: "queue".to_owned() }
    }

    fn stamp(&self) -> Stamp {
        // Who changed it last is told by its row.
        Stamp {
            rev: self.rev,
            event_id: self.event_id.unwrap_or_default(),
            at: self.updated_at,
            ..Stamp::default()
        }
    }

    fn set_stamp(&mut self, stamp: Stamp) {
        self.rev = stamp.rev;
        self.event_id = Some(stamp.event_id);
        self.updated_at = stamp.at;
    }

    fn adopted(&self) -> Row {
        Row { value: self.stats.clone(), ..Row::default() }
    }
}

impl Play {
    pub fn new(server_id: u64) -> Self {
        Self { discord_server_id: server_id, ..Self::default() }
    }

    pub fn playing(&self) -> Option<&Song> {
        self.queue.first()
    }

    /// This state as the next one, with a row about a song, or about none.
    pub fn next(self, op: &'static str, song: Option<&Song>) -> Next<Self> {
        let row = Row {
            name: song.map(|song| song.title.clone()),
            owner: song.map(|song| song.by),
            keep: Some(KEEP),
            ..Row::default()
        };
        Next { head: self, op, row }
    }
}
