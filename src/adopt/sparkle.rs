//! Sparkles: each reason becomes a row of the ledger. Totals stay as they are.

use crate::dynamo::raw::{self, Swap, text_in};
use crate::dynamo::{Item, Query, WRITES_MAX};
use crate::history::{Revision, Thing};

use super::original::{HISTORY, SPARKLE};
use super::{Work, of_server, person};

/// The kind of the ledger's rows in the history.
const KIND: &str = "sparkle";

/// What the original bot put between reasons.
const BETWEEN: char = '|';

/// Reasons in one step: the rest of what a transaction takes is for the head.
const AT_ONCE: usize = WRITES_MAX - 1;

/// Rows of the original's reasons are numbered from 1. No event has so small an id.
const NUMBER_MAX: u64 = 999_999_999;

pub async fn adopt(work: &mut Work<'_>, server: u64) -> anyhow::Result<()> {
    for head in work.dynamo.partition(&SPARKLE, of_server(server)).await? {
        work.report.table(SPARKLE.name).seen += 1;
        let handle = text_in(&head, "discord_handle").unwrap_or_default();
        let Some(receiver) = person(handle) else {
            work.report.left(SPARKLE.name, format!("server {server}: {handle:?} is no person's id"));
            continue;
        };
        work.note(receiver, server).await?;
        if text_in(&head, "sparkle_reasons").is_some_and(|reasons| !reasons.is_empty()) {
            reasons(work, server, receiver, head).await?;
            work.report.table(SPARKLE.name).changed += 1;
        }
    }
    Ok(())
}

/// Moves reasons from the head to the ledger. Each step takes from the head what it adds to the ledger, so a
/// reason is in one of them, and in one only.
async fn reasons(work: &mut Work<'_>, server: u64, receiver: u64, mut head: Item) -> anyhow::Result<()> {
    let thing = Thing { server_id: server, kind: KIND, id: receiver.to_string() };
    let known = Query::<Revision>::of(server).between(thing.entry(0), thing.entry(NUMBER_MAX));
    let last = work.dynamo.query(known.newest_first().limit(1)).await?.records.pop();
    let mut number = last.and_then(|row| row.entry.rsplit_once('#')?.1.parse::<u64>().ok()).unwrap_or(0);
    let all = text_in(&head, "sparkle_reasons").unwrap_or_default().to_owned();
    let mut rest: Vec<&str> = all.split(BETWEEN).map(str::trim).filter(|reason| !reason.is_empty()).collect();
    loop {
        let later = rest.split_off(rest.len().min(AT_ONCE));
        let mut after = head.clone();
        after.insert("sparkle_reasons".to_owned(), raw::text(later.join("|")));
        let mut swaps = vec![Swap { table: SPARKLE, before: Some(head), after: Some(after.clone()) }];
        for reason in rest {
            number += 1;
            let row = raw::item_of(&row(&thing, number, reason))?;
            swaps.push(Swap { table: HISTORY, before: None, after: Some(row) });
            work.report.reasons += 1;
        }
        work.step(swaps).await?;
        if later.is_empty() {
            return Ok(());
        }
        (head, rest) = (after, later);
    }
}

/// Nobody knows who gave it, and when.
fn row(thing: &Thing, number: u64, reason: &str) -> Revision {
    Revision {
        discord_server_id: thing.server_id,
        entry: thing.entry(number),
        op: "adopt".to_owned(),
        name: Some(reason.to_owned()),
        ..Revision::default()
    }
}
