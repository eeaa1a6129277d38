//! Memories: keys get the form in which they are compared now.

use std::collections::BTreeSet;

use crate::clock::Timestamp;
use crate::commands::remember::{KIND, Key};
use crate::dynamo::Item;
use crate::dynamo::raw::{self, Swap, text_in};
use crate::history::{Revision, Thing};
use crate::settings::HISTORY_DAYS;

use super::Work;
use super::original::{HISTORY, REMEMBER, whole};

/// How many memories may want one key.
const NAMESAKES_MAX: usize = 1_000;

pub async fn adopt(work: &mut Work<'_>, server: u64, settings: Option<&Item>) -> anyhow::Result<()> {
    let items = work.dynamo.partition(&REMEMBER, super::of_server(server)).await?;
    let mut taken: BTreeSet<String> =
        items.iter().filter_map(|item| text_in(item, "rem_key")).map(str::to_owned).collect();
    let expires_at = expiry(work, settings);
    for item in &items {
        work.report.table(REMEMBER.name).seen += 1;
        let Some(typed) = text_in(item, "rem_key") else { continue };
        // Written by this bot, so its key has the right form.
        if whole(item, "rev") > 0 {
            continue;
        }
        let key = match Key::read(typed) {
            Ok(key) if key.normal == typed => continue,
            Ok(key) => key,
            Err(refused) => {
                let why = refused.to_string();
                work.report.left(REMEMBER.name, format!("server {server}: {typed:?} stays: {why}"));
                continue;
            }
        };
        let Some(free) = free(&key, &taken) else {
            work.report
                .left(REMEMBER.name, format!("server {server}: {typed:?} stays: no name for it is free"));
            continue;
        };
        if free.normal != key.normal {
            work.report.renamed(format!("server {server}: {typed:?} is now {:?}", free.display));
        }
        work.step(moved(item, server, &free, expires_at, work.adoption.started)?).await?;
        taken.insert(free.normal);
        work.report.table(REMEMBER.name).changed += 1;
    }
    Ok(())
}

/// The key, or the first free one of `key (2)`, `key (3)`.
fn free(key: &Key, taken: &BTreeSet<String>) -> Option<Key> {
    if !taken.contains(&key.normal) {
        return Some(key.clone());
    }
    let others = (2..=NAMESAKES_MAX)
        .map(|n| Key { normal: format!("{} ({n})", key.normal), display: format!("{} ({n})", key.display) });
    // Too long with its number, it would not be found.
    let mut found =
        others.filter(|other| Key::read(&other.normal).is_ok_and(|read| read.normal == other.normal));
    found.find(|other| !taken.contains(&other.normal))
}

/// The memory under its new key, the old one gone, and the row that tells where it came from.
fn moved(
    item: &Item,
    server: u64,
    key: &Key,
    expires_at: Option<i64>,
    now: Timestamp,
) -> anyhow::Result<Vec<Swap>> {
    let mut after = item.clone();
    after.insert("rem_key".to_owned(), raw::text(&key.normal));
    after.insert("rev".to_owned(), raw::number(1));
    if key.display != key.normal {
        after.insert("rem_display".to_owned(), raw::text(&key.display));
    }
    let row = Revision {
        discord_server_id: server,
        entry: Thing { server_id: server, kind: KIND, id: key.normal.clone() }.entry(0),
        op: "adopt".to_owned(),
        rev: 1,
        at: Some(now),
        name: Some(key.display.clone()),
        value: Some(text_in(item, "rem_value").unwrap_or_default().to_owned()),
        // Under which key it was.
        old: text_in(item, "rem_key").map(str::to_owned),
        expires_at,
        ..Revision::default()
    };
    Ok(vec![
        Swap { table: REMEMBER, before: None, after: Some(after) },
        Swap { table: REMEMBER, before: Some(item.clone()), after: None },
        Swap { table: HISTORY, before: None, after: Some(raw::item_of(&row)?) },
    ])
}

/// When the rows of a server that are written now expire.
fn expiry(work: &Work<'_>, settings: Option<&Item>) -> Option<i64> {
    let days = settings.and_then(|settings| raw::number_in(settings, "history_days")?.parse().ok());
    let days = days.unwrap_or(i64::from(HISTORY_DAYS));
    (days > 0).then(|| work.adoption.started.seconds() + days * 86_400)
}
