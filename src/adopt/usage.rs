//! Usage: how often each command was used, from the original's totals.
//!
//! What was added is noted beside the original's own record, so that a second run adds only what came since.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::commands::ALL;
use crate::dynamo::Item;
use crate::dynamo::raw::{self, Swap, text_in};

use super::Work;
use super::original::{BOTDATA, TALLY, count, whole};

/// Where the bot's use since ever is counted.
const BOARD: &str = "bot/usage/all";
const SLOT: &str = "00#-";

/// The mark that the original's totals are in a row.
const MARK: &str = "k_adopt";

type Totals = BTreeMap<String, i64>;

pub async fn adopt(work: &mut Work<'_>) -> anyhow::Result<()> {
    let name = work.adoption.bot_name.clone();
    let Some(found) = work.dynamo.item(&BOTDATA, key(&name)).await? else {
        work.report.left(BOTDATA.name, format!("there are no usage totals of a bot called {name:?}"));
        return Ok(());
    };
    work.report.table(BOTDATA.name).seen += 1;
    let Some(totals) = text_in(&found, "value").and_then(totals) else {
        work.report.left(BOTDATA.name, format!("{name:?}: the usage totals are not JSON"));
        return Ok(());
    };
    let noted = format!("mneme/adopted/{name}");
    let mark = work.dynamo.item(&BOTDATA, key(&noted)).await?;
    let before =
        mark.as_ref().and_then(|mark| text_in(mark, "value")).and_then(self::totals).unwrap_or_default();
    let new: Totals = totals
        .iter()
        .map(|(command, n)| (command.clone(), n - before.get(command).copied().unwrap_or_default()))
        .filter(|(_, n)| *n > 0)
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    let mut slot = Item::from([("board".to_owned(), raw::text(BOARD)), ("slot".to_owned(), raw::text(SLOT))]);
    let row = work.dynamo.item(&TALLY, slot.clone()).await?;
    slot = row.clone().unwrap_or(slot);
    for (command, n) in &new {
        let column = format!("c_{}", name_now(command));
        let sum = whole(&slot, &column) + n;
        slot.insert(column, raw::number(sum));
    }
    slot.insert(MARK.to_owned(), raw::number(work.adoption.started.millis()));
    let mut marked = key(&noted);
    marked.insert("value".to_owned(), raw::text(json!(totals).to_string()));
    marked.insert("updated_at".to_owned(), raw::text(work.adoption.started.to_string()));
    work.step(vec![
        Swap { table: TALLY, before: row, after: Some(slot) },
        Swap { table: BOTDATA, before: mark, after: Some(marked) },
    ])
    .await?;
    work.report.table(BOTDATA.name).changed += 1;
    work.report.usage = new.values().sum();
    Ok(())
}

fn key(name: &str) -> Item {
    Item::from([("key".to_owned(), raw::text(name))])
}

fn totals(text: &str) -> Option<Totals> {
    let json: Value = serde_json::from_str(text).ok()?;
    let all = json.as_object()?.iter();
    Some(all.map(|(command, n)| (command.clone(), count(Some(n)).round() as i64)).collect())
}

/// What a command is called now: the original wrote `rem_search`, and counted `rem` apart from `remember`.
fn name_now(original: &str) -> String {
    let words = original.replace('_', " ");
    let commands = ALL.iter().flat_map(|feature| feature.commands);
    let known = commands
        .filter(|command| command.prefix.contains(&words.as_str()))
        .map(|command| command.name())
        .next();
    known.map_or(words, str::to_owned)
}
