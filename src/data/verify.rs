//! Verify: restores a backup into empty tables, and compares.
//!
//! The tables are in this process's memory. Every item of the file is looked for where it belongs, and has to
//! be there, unchanged, and nothing else beside it. Then memories are compared with their own histories.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use crate::clock::Timestamp;
use crate::dynamo::raw::{self, number_in, text_in};
use crate::dynamo::{Dynamo, Item, TableSpec};
use crate::{archive, tables};

use super::import::{How, import};
use super::walk;

/// Faults that are told; more than these have one cause.
const TOLD_MAX: usize = 20;

/// What a restored backup is worth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    pub items: u64,
    pub over: u64,
    pub faults: Vec<String>,
}

/// Restores a file into `empty`, which has all tables and no items.
pub async fn verify(
    empty: &Dynamo,
    path: &Path,
    now: Timestamp,
    tell: &dyn Fn(&str),
) -> anyhow::Result<Verified> {
    let imported = import(empty, path, How::default(), now, tell).await?;
    let [new, different, equal, over] = imported.sum();
    let mut verified = Verified { items: new, over, faults: Vec::new() };
    if different + equal > 0 {
        verified.faults.push(format!("{} items are in the file more than once", different + equal));
    }
    tell("restored; comparing");
    let (mut expected, mut heads) = (BTreeSet::new(), Vec::new());
    let mut partitions = BTreeMap::new();
    let mut newest: BTreeMap<String, (u64, Option<String>)> = BTreeMap::new();
    archive::each(path, &tables::all(), &mut |table, item| {
        if let Some(hash) = item.get(table.hash.name) {
            let hash_key = Item::from([(table.hash.name.to_owned(), hash.clone())]);
            partitions.insert(line(table, &hash_key), (*table, hash.clone()));
        }
        note_row(table, &item, &mut newest);
        if table.name == "remember" {
            heads.push((thing(&item), rev(&item), text_in(&item, "rem_value").map(str::to_owned)));
        }
        if !raw::is_over(table, &item, now) {
            expected.insert(line(table, &item));
        }
        Ok(())
    })?;
    walk::partitions(empty, partitions.into_values().collect(), &mut |table, item| {
        if !expected.remove(&line(table, item)) {
            verified.faults.push(format!("found, and not in the file: {}", line(table, item)));
        }
        Ok(())
    })
    .await?;
    verified.faults.extend(expected.into_iter().map(|line| format!("in the file, and not found: {line}")));
    for (thing, rev, value) in heads {
        if let Some((last, said)) = newest.get(&thing)
            && (*last > rev || (*last == rev && *said != value))
        {
            verified.faults.push(format!("{thing} is at revision {rev}, and its history says otherwise"));
        }
    }
    Ok(verified)
}

fn line(table: &TableSpec, item: &Item) -> String {
    format!("{} {}", table.name, raw::to_json(item))
}

fn rev(item: &Item) -> u64 {
    number_in(item, "rev").and_then(|rev| rev.parse().ok()).unwrap_or_default()
}

/// What the rows of a memory stand under.
fn thing(item: &Item) -> String {
    let key = text_in(item, "rem_key").unwrap_or_default().replace('%', "%25").replace('#', "%23");
    format!("{} rem#{key}", number_in(item, "discord_server_id").unwrap_or_default())
}

/// Keeps the newest row of each memory.
fn note_row(table: &TableSpec, item: &Item, newest: &mut BTreeMap<String, (u64, Option<String>)>) {
    let Some(entry) =
        text_in(item, "entry").filter(|entry| table.name == "history" && entry.starts_with("rem#"))
    else {
        return;
    };
    let thing = entry.rsplit_once('#').map_or(entry, |(thing, _)| thing);
    let thing = format!("{} {thing}", number_in(item, "discord_server_id").unwrap_or_default());
    let value = text_in(item, "value").filter(|_| text_in(item, "op") != Some("alias")).map(str::to_owned);
    let row = (rev(item), value);
    let known = newest.entry(thing).or_insert_with(|| row.clone());
    if row.0 > known.0 {
        *known = row;
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in self.faults.iter().take(TOLD_MAX) {
            writeln!(f, "{fault}")?;
        }
        let (items, over, faults) = (self.items, self.over, self.faults.len());
        match faults {
            0 => writeln!(
                f,
                "The backup is good: {items} items were restored and found again; {over} are over by now."
            ),
            _ => writeln!(f, "The backup is not good: {faults} faults in {items} items."),
        }
    }
}
