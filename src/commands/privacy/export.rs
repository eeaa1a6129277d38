//! `.privacy export`: everything that is kept about a person, one record a line.

use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::context::{Delivery, Door, File, Letter, Reply, Result, refuse};
use crate::dynamo::{Column, Condition, Update, Updated};
use crate::markdown::{code, time};
use crate::people::Person;

use super::{Call, places, servers_of};

/// Reading all of it costs more than a command should.
const EVERY: Duration = Duration::from_secs(24 * 3_600);

/// Longer files are compressed.
const PLAIN_MAX: usize = 1 << 20;

/// Discord takes 10 MB.
const FILE_MAX: usize = 8 << 20;

const EXPORTED_AT: Column<Person, i64> = Column::new("exported_at");

pub async fn export(call: &Call) -> Result<Reply> {
    let servers = servers_of(call.dynamo(), call.cause.actor_id).await?;
    take_turn(call).await?;
    let file = file(call, &servers).await?;
    if matches!(call.door, Door::Slash | Door::DirectMessage | Door::Control) {
        return Ok(Reply { files: vec![file], .."📦 Here is what I keep about you".into() }.private());
    }
    let reply = Reply { files: vec![file], ..Reply::from("📦 What I keep about you") };
    let sent = match call.services.discord.direct(call.cause.actor_id).await? {
        Some(channel_id) => {
            let nonce = format!("e{}", call.cause.id);
            call.services.post(Letter { channel_id, nonce, reply }).await
        }
        None => Delivery::Closed,
    };
    match sent {
        Delivery::Sent(_) => Ok("📦 I sent you a file".into()),
        Delivery::Closed => {
            give_back(call).await?;
            refuse("⚠ Your DMs are closed; use `/privacy export`")
        }
        Delivery::Refused | Delivery::Unknown => {
            give_back(call).await?;
            refuse("⚠ I could not send you the file; please try again")
        }
    }
}

/// Once in a day; the same event may take it again.
async fn take_turn(call: &Call) -> Result<()> {
    let now = call.cause.at.millis();
    let last = call.cause.at.minus(EVERY).millis();
    let free = Condition::has(EXPORTED_AT).not();
    let free = free.or(Condition::less(EXPORTED_AT, last + 1)).or(Condition::equals(EXPORTED_AT, now));
    let update = Update::new().set(EXPORTED_AT, now).when(free);
    match call.dynamo().upsert::<Person>(call.cause.actor_id, update).await? {
        Updated::Applied(_) => Ok(()),
        Updated::Blocked(found) => {
            let before = found.and_then(|person| person.exported_at).unwrap_or(now);
            let again = crate::clock::Timestamp::from_millis(before).plus(EVERY);
            let command = code(&format!("{}privacy export", call.prefix));
            refuse(format!("⏳ Not yet: you can use {command} again {}", time(again)))
        }
    }
}

/// Nothing arrived, so it does not count.
async fn give_back(call: &Call) -> Result<()> {
    let ours = Condition::equals(EXPORTED_AT, call.cause.at.millis());
    let update = Update::new().remove(EXPORTED_AT).when(ours);
    let _ = call.dynamo().update::<Person>(call.cause.actor_id, update).await?;
    Ok(())
}

async fn file(call: &Call, servers: &[u64]) -> Result<File> {
    let person = call.cause.actor_id;
    let mut text = String::new();
    for (table, place) in places(&call.services, person, servers) {
        for record in call.dynamo().gather(&table, &place, person).await? {
            text.push_str(&record.to_string());
            text.push('\n');
        }
    }
    let name = "mneme-about-you.jsonl";
    if text.len() <= PLAIN_MAX {
        return Ok(File { name: name.to_owned(), bytes: text.into_bytes() });
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(text.as_bytes()).context("compress an export")?;
    let bytes = packed.finish().context("compress an export")?;
    if bytes.len() > FILE_MAX {
        return refuse("⚠ What I keep about you is too much for one file; please ask whoever runs me for it");
    }
    Ok(File { name: format!("{name}.gz"), bytes })
}
