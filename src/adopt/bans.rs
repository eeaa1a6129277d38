//! Bans: the original kept names, this bot keeps ids.

use anyhow::bail;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::dynamo::Item;
use crate::dynamo::raw::{self, Swap, text_in};
use crate::history::{Revision, Thing};

use super::original::{BANS, BOTDATA, HISTORY};
use super::{Work, person};

/// The kind of their rows in the history, which are the instance's.
const KIND: &str = "ban";

/// One ban, as it will be.
pub struct Ban {
    subject: String,
    reason: String,
}

/// Reads the lists. A name that nobody knows the id of stops the work before it began, unless that is allowed:
/// who was banned must not come back unnoticed.
pub async fn read(work: &mut Work<'_>) -> anyhow::Result<Vec<Ban>> {
    let mut bans = Vec::new();
    let mut unresolved = Vec::new();
    for name in list(work, "user-bans").await? {
        match person(&name).or_else(|| work.adoption.people.get(&name).copied()) {
            Some(id) => bans.push(Ban { subject: format!("user/{id}"), reason: adopted_as(&name) }),
            None => unresolved.push(name),
        }
    }
    for id in list(work, "server-bans").await? {
        match person(&id) {
            Some(id) => {
                bans.push(Ban { subject: format!("server/{id}"), reason: adopted_as(&id.to_string()) })
            }
            None => work.report.left(BOTDATA.name, format!("server-bans: {id:?} is no server's id")),
        }
    }
    if !unresolved.is_empty() && !work.adoption.ignore_unresolved_bans {
        bail!(
            "nobody knows whose names these are, and they are banned: {}. Write a file with a line name#1234,id for \
             each and give it with --bans; or leave them out with --ignore-unresolved-bans. Nothing was changed",
            unresolved.join(", ")
        );
    }
    for name in unresolved {
        work.report.left(BOTDATA.name, format!("user-bans: nobody knows whose name {name:?} is; not banned"));
    }
    Ok(bans)
}

fn adopted_as(name: &str) -> String {
    format!("banned before, as {name}")
}

/// A list of names or ids. The original wrote `null` in place of a list when it added to it.
async fn list(work: &mut Work<'_>, key: &str) -> anyhow::Result<Vec<String>> {
    let key_item = Item::from([("key".to_owned(), raw::text(key))]);
    let Some(item) = work.dynamo.item(&BOTDATA, key_item).await? else { return Ok(Vec::new()) };
    work.report.table(BOTDATA.name).seen += 1;
    let text = text_in(&item, "value").unwrap_or_default();
    match serde_json::from_str(text) {
        Ok(Value::Array(list)) => Ok(list
            .into_iter()
            .map(|one| one.as_str().map_or_else(|| one.to_string(), |text| text.trim().to_owned()))
            .collect()),
        _ => {
            work.report
                .left(BOTDATA.name, format!("{key}: {text:?} is no list, so nobody knows who was banned"));
            Ok(Vec::new())
        }
    }
}

/// Writes those that are not known yet. One that was lifted since stays lifted.
pub async fn adopt(work: &mut Work<'_>, bans: Vec<Ban>) -> anyhow::Result<()> {
    for ban in bans {
        let key = Item::from([
            ("scope".to_owned(), raw::text("bot")),
            ("subject".to_owned(), raw::text(&ban.subject)),
        ]);
        if work.dynamo.item(&BANS, key.clone()).await?.is_some() {
            continue;
        }
        let now = work.adoption.started;
        work.step(vec![
            Swap { table: BANS, before: None, after: Some(record(key, &ban, now)) },
            Swap { table: HISTORY, before: None, after: Some(raw::item_of(&row(&ban, now))?) },
        ])
        .await?;
        work.report.table(BOTDATA.name).changed += 1;
    }
    Ok(())
}

fn record(mut key: Item, ban: &Ban, now: Timestamp) -> Item {
    key.insert("rev".to_owned(), raw::number(1));
    key.insert("at".to_owned(), raw::text(now.to_string()));
    key.insert("reason".to_owned(), raw::text(&ban.reason));
    key
}

fn row(ban: &Ban, now: Timestamp) -> Revision {
    let thing = Thing { server_id: 0, kind: KIND, id: ban.subject.clone() };
    Revision {
        discord_server_id: 0,
        entry: thing.entry(0),
        op: "adopt".to_owned(),
        rev: 1,
        at: Some(now),
        name: Some(ban.subject.clone()),
        value: Some(ban.reason.clone()),
        ..Revision::default()
    }
}
