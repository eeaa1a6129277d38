//! Play: the statistics become totals of the server and rows of its DJs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::dynamo::raw::{self, Swap, text_in};
use crate::dynamo::{Item, WRITES_MAX};

use super::original::{PLAY, TALLY, count, whole};
use super::{Work, of_server, person};

/// DJs in one step: the rest of what a transaction takes is for the head.
const AT_ONCE: usize = WRITES_MAX - 1;

/// Songs and seconds.
type Heard = (i64, f64);

pub async fn adopt(work: &mut Work<'_>, server: u64) -> anyhow::Result<()> {
    let Some(mut head) = work.dynamo.partition(&PLAY, of_server(server)).await?.pop() else { return Ok(()) };
    work.report.table(PLAY.name).seen += 1;
    let Some(text) = text_in(&head, "stats") else { return Ok(()) };
    let Ok(stats) = serde_json::from_str::<Value>(text) else {
        work.report.left(PLAY.name, format!("server {server}: its statistics are not JSON"));
        return Ok(());
    };
    let mut djs = djs(&stats);
    let board = format!("{server}/djs/all");
    let mut rows = rows(work, &board).await?;
    for dj in djs.keys().filter(|dj| **dj > 0) {
        work.note(*dj, server).await?;
    }
    loop {
        let later: BTreeMap<u64, Heard> = djs.iter().skip(AT_ONCE).map(|(dj, heard)| (*dj, *heard)).collect();
        let after = match later.is_empty() {
            true => counted(&head, &stats),
            false => without(&head, &stats, &later),
        };
        let mut swaps = vec![Swap { table: PLAY, before: Some(head), after: Some(after.clone()) }];
        for (dj, heard) in djs.iter().take(AT_ONCE) {
            let slot = format!("00#{dj}");
            let before = rows.remove(&slot);
            let row = added(before.clone(), &board, &slot, *heard);
            swaps.push(Swap { table: TALLY, before, after: Some(row) });
        }
        work.step(swaps).await?;
        if later.is_empty() {
            work.report.table(PLAY.name).changed += 1;
            return Ok(());
        }
        (head, djs) = (after, later);
    }
}

/// Who asked for how much. What names nobody is counted for nobody, id 0, rather than lost.
fn djs(stats: &Value) -> BTreeMap<u64, Heard> {
    let mut djs: BTreeMap<u64, Heard> = BTreeMap::new();
    for dj in stats["dj_stats"]["djs"].as_array().into_iter().flatten() {
        let id = match &dj["user_id"] {
            Value::Number(id) => person(&id.to_string()),
            Value::String(id) => person(id),
            _ => None,
        };
        let (songs, seconds) = djs.entry(id.unwrap_or(0)).or_default();
        *songs += count(dj.get("total_songs_played")).round() as i64;
        *seconds += count(dj.get("total_time_played"));
    }
    djs
}

async fn rows(work: &Work<'_>, board: &str) -> anyhow::Result<BTreeMap<String, Item>> {
    let items = work.dynamo.partition(&TALLY, raw::text(board)).await?;
    Ok(items.into_iter().filter_map(|item| Some((text_in(&item, "slot")?.to_owned(), item))).collect())
}

/// The record without statistics, which are in its totals now.
fn counted(head: &Item, stats: &Value) -> Item {
    let total = &stats["play_stats"];
    let songs = count(total.get("total_songs_played")).round() as i64;
    let seconds = count(total.get("total_time_played")).round() as i64;
    let mut after = head.clone();
    after.remove("stats");
    after.insert("songs".to_owned(), raw::number(whole(head, "songs") + songs));
    after.insert("seconds".to_owned(), raw::number(whole(head, "seconds") + seconds));
    after
}

/// The record with the statistics of those only who are still to come.
fn without(head: &Item, stats: &Value, later: &BTreeMap<u64, Heard>) -> Item {
    let djs = later.iter().map(|(dj, (songs, seconds))| {
        json!({ "user_id": dj, "total_songs_played": songs, "total_time_played": seconds })
    });
    let rest = json!({ "play_stats": stats["play_stats"], "dj_stats": { "djs": djs.collect::<Vec<_>>() } });
    let mut after = head.clone();
    after.insert("stats".to_owned(), raw::text(rest.to_string()));
    after
}

fn added(before: Option<Item>, board: &str, slot: &str, (songs, seconds): Heard) -> Item {
    let mut row = before.unwrap_or_default();
    let sum = (whole(&row, "songs") + songs, whole(&row, "seconds") + seconds.round() as i64);
    row.insert("board".to_owned(), raw::text(board));
    row.insert("slot".to_owned(), raw::text(slot));
    row.insert("songs".to_owned(), raw::number(sum.0));
    row.insert("seconds".to_owned(), raw::number(sum.1));
    row
}
