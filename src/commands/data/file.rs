//! A file that somebody brings: fetched, read to its end, and every line of it checked before any of it counts.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};

use crate::archive;
use crate::commands;
use crate::commands::remember::import::Memory;
use crate::commands::settings::import::Decisions;
use crate::commands::settings::part::Part;
use crate::context::{Attachment, Context, Error, NotFetched, Result, refuse};
use crate::dynamo::raw::{number_in, text_in};
use crate::dynamo::{Item, TableSpec};
use crate::markdown::{code, cut, number};

/// What `.data export` gives is no longer.
pub const BYTES_MAX: u64 = 8 << 20;

/// So much text an export holds at most, and not what a few bytes can be made to unpack to.
const UNPACKED_MAX: u64 = 64 << 20;

/// More lines than a file of this length holds, unless somebody made it for the purpose.
const LINES_MAX: u64 = 200_000;

/// What a file tells of, with the lines on which it does.
#[derive(Debug, Default)]
pub struct Contents {
    pub memories: Vec<(u64, Memory)>,
    pub parts: Vec<(u64, Part, String)>,
    /// Rules about what is not here any more, in words.
    pub left_out: Vec<String>,
    /// Items of tables that no command could have written, by table.
    pub not_taken: BTreeMap<&'static str, usize>,
}

/// The bytes of a file, if there are not too many.
pub async fn fetch(ctx: &Context, file: &Attachment) -> Result<Vec<u8>> {
    match ctx.services.discord.fetch(file, BYTES_MAX).await {
        Ok(bytes) => Ok(bytes),
        Err(NotFetched::TooLong { bytes, max }) => {
            let text = |bytes: u64| number(usize::try_from(bytes).unwrap_or(usize::MAX));
            refuse(format!("⚠ That file is {} bytes long; the limit is {}", text(bytes), text(max)))
        }
        Err(NotFetched::Gone) => refuse("⚠ That file is not there any more; please attach it again"),
        Err(NotFetched::Elsewhere) => refuse("⚠ I only take files from Discord itself"),
        Err(NotFetched::Failed(_)) => refuse("⚠ I could not get that file from Discord; please try again"),
    }
}

/// Reads a whole file.
pub async fn read(ctx: &Context, bytes: Vec<u8>) -> Result<Contents> {
    let ctx = ctx.clone();
    // Uncompressing and parsing is work for a core.
    let read = tokio::task::spawn_blocking(move || contents(&ctx, &bytes)).await;
    read.context("read a file")?.map_err(unreadable)
}

/// Says what is wrong with a file, and where.
pub fn unreadable(error: anyhow::Error) -> Error {
    Error::Refused(format!("⚠ I can't read this file: {}", cut(&format!("{error:#}"), 1_000)))
}

pub fn contents(ctx: &Context, bytes: &[u8]) -> anyhow::Result<Contents> {
    let known = commands::tables();
    let (mut contents, mut keys, mut line) = (Contents::default(), BTreeSet::new(), 1);
    let mut settings_seen = false;
    let server_id = ctx.cause.server_id;
    archive::each_of(bytes, server_id, &known, UNPACKED_MAX, &mut |table, item| {
        line += 1;
        ensure!(line <= LINES_MAX, "there are more than {LINES_MAX} lines");
        ensure!(is_of(table, &item, server_id), "it is of another server");
        has_known_fields(table, &item)?;
        match table.name {
            "remember" => {
                if let Some(memory) = Memory::read(item)? {
                    ensure!(keys.insert(memory.key().to_owned()), "{} is there twice", memory.name());
                    contents.memories.push((line, memory));
                }
            }
            "settings" => {
                ensure!(!std::mem::replace(&mut settings_seen, true), "the settings are there twice");
                let decisions = Decisions::read(ctx, item)?;
                contents.left_out.extend(decisions.left_out);
                contents.parts.extend(decisions.parts.into_iter().map(|(part, value)| (line, part, value)));
            }
            _ => *contents.not_taken.entry(table.name).or_default() += 1,
        }
        Ok(())
    })?;
    Ok(contents)
}

/// Whether an item stands in a partition of this server.
fn is_of(table: &TableSpec, item: &Item, server_id: u64) -> bool {
    let server = server_id.to_string();
    match table.hash.name {
        "discord_server_id" => number_in(item, table.hash.name) == Some(&server),
        "scope" => text_in(item, table.hash.name) == Some(&server),
        "board" => text_in(item, table.hash.name)
            .and_then(|board| board.split('/').next())
            .is_some_and(|of| of == server),
        // Of people and of the instance.
        _ => false,
    }
}

fn has_known_fields(table: &TableSpec, item: &Item) -> anyhow::Result<()> {
    let unknown = item.keys().filter(|name| table.personal.class(name).is_none()).min();
    ensure!(
        unknown.is_none(),
        "there is no field {} in {}",
        code(&cut(unknown.map_or("", String::as_str), 60)),
        code(table.name)
    );
    Ok(())
}
