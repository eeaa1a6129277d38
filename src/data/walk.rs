//! Finding every record without scanning a table: by the servers, and by the people whom their records name.
//!
//! A server's partitions are known by its id, those of the instance by name, a person's by theirs. People are
//! found in the records of servers, servers in the records about people, until nobody new turns up. Reminders
//! stand also under the hour at which they are due, and every such hour is asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt};

use crate::clock::Timestamp;
use crate::due::{self, Note};
use crate::dynamo::raw::{self, Attribute};
use crate::dynamo::{Dynamo, Item, Reach, Table, TableSpec};
use crate::relay::channels::{self, ChannelRecord};
use crate::tables;

/// What is told of each item.
pub type Visit<'a> = &'a mut dyn FnMut(&TableSpec, &Item) -> anyhow::Result<()>;

/// What was due in the last days may still be under way.
const HOURS_BACK: u64 = 3 * 24;

/// Hours asked for side by side.
const SIDE_BY_SIDE: usize = 32;

/// Attributes with numbers that are no person's id.
const NO_PEOPLE: &[&str] =
    &["event_id", "batch", "channel_id", "message_id", "channel", "event", "total", "rev", "expires_at"];

/// What stands in the table `botdata`, besides the totals under the name of the original bot.
const BOTDATA_KEYS: [&str; 3] = [CURSOR, "user-bans", "server-bans"];

/// From which hour on the scheduler may not have seen to everything.
const CURSOR: &str = "mneme/due";

/// Tables whose records are not moved, and why.
pub const NOT_MOVED: &[(&str, &str)] = &[
    ("cooldowns", "over in a while"),
    ("shared", "what running bots share at the moment"),
    ("relay_envelopes", ON_ITS_WAY),
    ("relay_outbox", ON_ITS_WAY),
    ("relay_links", ON_ITS_WAY),
    ("relay_dead", ON_ITS_WAY),
    ("relay_mail", ON_ITS_WAY),
    ("relay_state", "what rules and sources have seen last"),
];

const ON_ITS_WAY: &str = "on its way between bots: let the queues run empty first, see `mneme relay status`";

/// The partitions of a server, as its tables declare them; of server 0 those of the instance.
fn of_server(server: u64, now: Timestamp) -> Vec<(TableSpec, Attribute)> {
    let reach = Reach { server_id: server, now, only_people: false };
    let parts = moved().flat_map(|table| {
        let places = table.personal.places.of(None, &reach).into_iter();
        places.map(move |place| (table, place.value()))
    });
    parts.collect()
}

/// The partitions of the instance itself.
fn of_instance(now: Timestamp, bot_name: &str) -> Vec<(TableSpec, Attribute)> {
    let mut parts = of_server(0, now);
    let marks = [bot_name.to_owned(), format!("mneme/adopted/{bot_name}")];
    let keys: Vec<String> = BOTDATA_KEYS.iter().map(|key| (*key).to_owned()).chain(marks).collect();
    for table in moved().filter(|table| table.name == "botdata") {
        parts.extend(keys.iter().map(|key| (table, raw::text(key.clone()))));
    }
    parts
}

fn moved() -> impl Iterator<Item = TableSpec> {
    tables::all().into_iter().filter(|table| NOT_MOVED.iter().all(|(name, _)| *name != table.name))
}

/// Where to begin.
#[derive(Clone, Debug)]
pub struct Start {
    pub servers: Vec<u64>,
    /// What the original bot was called.
    pub bot_name: String,
    pub now: Timestamp,
    /// How far ahead anything may be due: each hour is a question.
    pub hours_ahead: u64,
}

/// Everything there is, once each, in any order; the servers that were found.
pub async fn instance(dynamo: &Dynamo, start: &Start, visit: Visit<'_>) -> anyhow::Result<BTreeSet<u64>> {
    let now = start.now;
    let mut found = Found::default();
    let visit: Visit<'_> = &mut |table, item| {
        visit(table, item)?;
        if table.name == ChannelRecord::NAME {
            for record in channels::found_elsewhere(&raw::record_of(item.clone())?) {
                visit(table, &raw::item_of(&record)?)?;
            }
        }
        Ok(())
    };
    found.waiting.extend(&start.servers);
    parts(dynamo, of_instance(now, &start.bot_name), &mut found, visit).await?;
    hours(dynamo, start, &mut found, visit).await?;
    loop {
        if let Some(server) = found.waiting.pop_first() {
            if found.servers.insert(server) {
                parts(dynamo, of_server(server, now), &mut found, visit).await?;
            }
        } else if let Some(person) = found.unseen.pop_first() {
            if found.people.insert(person) {
                about(dynamo, person, &mut found, visit).await?;
            }
        } else {
            return Ok(found.servers);
        }
    }
}

#[derive(Default)]
struct Found {
    servers: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
    people: BTreeSet<u64>,
    unseen: BTreeSet<u64>,
}

/// Everything in these partitions.
pub async fn partitions(
    dynamo: &Dynamo,
    known: Vec<(TableSpec, Attribute)>,
    visit: Visit<'_>,
) -> anyhow::Result<()> {
    parts(dynamo, known, &mut Found::default(), visit).await
}

async fn parts(
    dynamo: &Dynamo,
    parts: Vec<(TableSpec, Attribute)>,
    found: &mut Found,
    visit: Visit<'_>,
) -> anyhow::Result<()> {
    for (table, hash) in parts {
        let mut start = None;
        loop {
            let (items, next) = dynamo.items_of(&table, hash.clone(), start).await?;
            for item in items {
                name_people(&item, &mut found.unseen);
                visit(&table, &item)?;
            }
            start = next;
            if start.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// What is kept about a person, and where else they are known.
async fn about(dynamo: &Dynamo, person: u64, found: &mut Found, visit: Visit<'_>) -> anyhow::Result<()> {
    for table in moved().filter(|table| table.hash.name == "user_id") {
        for item in dynamo.partition(&table, raw::number(person)).await? {
            found.waiting.extend(raw::numbers_in(&item, "guilds"));
            found.waiting.extend(raw::numbers_in(&item, "discord_server_id").filter(|id| *id > 0));
            visit(&table, &item)?;
        }
    }
    Ok(())
}

/// What is due in any hour to come.
async fn hours(dynamo: &Dynamo, start: &Start, found: &mut Found, visit: Visit<'_>) -> anyhow::Result<()> {
    let all = tables::all();
    let Some(table) = all.iter().find(|table| table.name == "due") else { return Ok(()) };
    // A scheduler that was stopped for long has more behind it.
    let cursor = dynamo.get::<Note>(CURSOR.to_owned()).await?.and_then(|note| due::start_of(&note.value?));
    let recent = start.now.minus(Duration::from_secs(HOURS_BACK * 3_600));
    let first = cursor.map_or(recent, |cursor| cursor.min(recent));
    let back = start.now.since(first).as_secs() / 3_600;
    let asked = (0..=back + start.hours_ahead).map(|hours| {
        let hour = due::hour(first.plus(Duration::from_secs(hours * 3_600)));
        dynamo.partition(table, raw::text(hour))
    });
    let mut answers = stream::iter(asked).buffered(SIDE_BY_SIDE);
    while let Some(items) = answers.next().await {
        for item in items? {
            name_people(&item, &mut found.unseen);
            visit(table, &item)?;
        }
    }
    Ok(())
}

/// Ids in a record that may be people's: any number of that size, unless its name says otherwise. So the people
/// in what a later version writes are found too; who is none costs a read.
fn name_people(item: &Item, people: &mut BTreeSet<u64>) {
    let json = raw::to_json(item);
    let mut open: Vec<(&str, &serde_json::Value)> =
        json.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
    while let Some((name, value)) = open.pop() {
        match value {
            serde_json::Value::Object(map) => {
                let kind = |inner: &str| matches!(inner, "S" | "N" | "L" | "M" | "NS" | "SS");
                open.extend(
                    map.iter().map(|(inner, value)| (if kind(inner) { name } else { inner.as_str() }, value)),
                );
            }
            serde_json::Value::Array(list) => open.extend(list.iter().map(|value| (name, value))),
            serde_json::Value::String(text) if !NO_PEOPLE.contains(&name) => people.extend(id_in(text)),
            _ => {}
        }
    }
}

/// `123456789012345678`, `07#123456789012345678` and `user/123456789012345678`.
fn id_in(text: &str) -> Option<u64> {
    let last = text.rsplit(['#', '/']).next().unwrap_or(text);
    ((17..=20).contains(&last.len()) && last.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| last.parse().ok())?
}
