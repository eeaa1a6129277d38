//! `.data export`: the records of a server, in a file or several of them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;

use crate::archive::{Header, Packer};
use crate::commands;
use crate::context::{Context, Delivery, Door, Error, File, Letter, Reply, Result, refuse};
use crate::dynamo::{Reach, TableSpec};
use crate::markdown::number;

/// What a server has taught and decided.
const TABLES: [&str; 5] = ["remember", "history", "sparkle", "tally", "settings"];

/// Discord takes 10 MiB in a file; a part may become as much longer as one page of a table is.
const PART_BYTES: usize = 8 << 20;
const PAGE_BYTES: usize = 1 << 20;

/// What is not compressed yet is in memory, and reading much more takes longer than a command has.
const BYTES_MAX: usize = 64 << 20;

/// A command has eight seconds in all, and has to send what it found.
const WITHIN: Duration = Duration::from_secs(6);

pub async fn export(ctx: &Context) -> Result<Reply> {
    let Ok(packed) = timeout(WITHIN, pack(ctx)).await else {
        return refuse(format!("⚠ It takes me too long to read all of it; {ASK}"));
    };
    let (header, files) = packed?;
    let told = told(&header);
    if matches!(ctx.door, Door::Slash | Door::Control) {
        let text = format!("📦 Here is what this server has taught me and decided: {told}");
        return Ok(Reply { files, ..text.into() }.private());
    }
    let sent = match files.len() {
        1 => "📦 I sent you a file".to_owned(),
        count => format!("📦 I sent you {count} files"),
    };
    let server = ctx.services.discord.server_name(ctx.cause.server_id).unwrap_or_default();
    let text = format!("📦 What **{}** has taught me and decided: {told}", crate::markdown::plain(&server));
    let letter = Reply { files, ..text.into() };
    match deliver(ctx, letter).await? {
        Delivery::Sent(_) => Ok(sent.into()),
        Delivery::Closed => refuse("⚠ Your DMs are closed; use `/data export`"),
        Delivery::Refused | Delivery::Unknown => refuse("⚠ I could not send you the file; please try again"),
    }
}

/// For a server that is too large for a chat.
const ASK: &str = "whoever runs me can use `mneme data export`";

async fn deliver(ctx: &Context, reply: Reply) -> Result<Delivery> {
    let Some(channel_id) = ctx.services.discord.direct(ctx.cause.actor_id).await? else {
        return Ok(Delivery::Closed);
    };
    let nonce = format!("d{}", ctx.cause.id);
    Ok(ctx.services.post(Letter { channel_id, nonce, reply }).await)
}

fn told(counts: &BTreeMap<String, u64>) -> String {
    let counts: Vec<String> = TABLES
        .iter()
        .map(|name| {
            let count = counts.get(*name).copied().unwrap_or_default();
            format!("{} of `{name}`", number(usize::try_from(count).unwrap_or(usize::MAX)))
        })
        .collect();
    counts.join(", ")
}

/// How many items there are of each table, and the files that hold them. Each file is whole by itself, so that
/// it can be brought back by itself.
async fn pack(ctx: &Context) -> Result<(BTreeMap<String, u64>, Vec<File>)> {
    let header = || Header::new(Some(ctx.cause.server_id), ctx.cause.at);
    let (mut packers, mut bytes) = (vec![Packer::new(header())], 0);
    for table in commands::tables().into_iter().filter(|table| TABLES.contains(&table.name)) {
        for place in places(ctx, &table) {
            let mut start = None;
            loop {
                let page = ctx.dynamo().items_of(&table, place.value(), start).await.map_err(Error::Read)?;
                let packer = packers.last_mut().expect("there is one from the beginning");
                for item in &page.0 {
                    bytes += packer.item(&table, item)?;
                }
                if bytes > BYTES_MAX {
                    return refuse(format!("⚠ That is more than {} MiB; {ASK}", BYTES_MAX >> 20));
                }
                if packer.bytes() + PAGE_BYTES > PART_BYTES {
                    packers.push(Packer::new(header()));
                }
                start = page.1;
                if start.is_none() {
                    break;
                }
            }
        }
    }
    // Compressing is work for a core.
    Ok(tokio::task::spawn_blocking(move || finish(packers)).await.context("pack a file")??)
}

fn places(ctx: &Context, table: &TableSpec) -> Vec<crate::dynamo::Place> {
    let reach = Reach { server_id: ctx.cause.server_id, now: ctx.cause.at, only_people: false };
    table.personal.places.of(None, &reach)
}

fn finish(packers: Vec<Packer>) -> anyhow::Result<(BTreeMap<String, u64>, Vec<File>)> {
    let (mut counts, mut files, parts) = (BTreeMap::new(), Vec::new(), packers.len());
    for (place, packer) in packers.into_iter().enumerate() {
        let (header, bytes) = packer.finish()?;
        for (table, count) in header.items {
            *counts.entry(table).or_default() += count;
        }
        let part = if parts > 1 { format!("-{}-of-{parts}", place + 1) } else { String::new() };
        files.push(File { name: format!("mneme-export{part}.jsonl.gz"), bytes });
    }
    Ok((counts, files))
}
