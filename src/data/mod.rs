//! `mneme data`: records from one place to another, by hand of the operator.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};

use crate::adopt::{self, Adoption, Report};
use crate::clock::Clock;
use crate::dynamo::connect::{Connected, Store, StoreConfig, connect};
use crate::dynamo::{Dynamo, TableSpec};
use crate::finding::State;
use crate::run::{command, discord_settings, open_store};
use crate::{archive, bot, config, tables};

mod import;
#[cfg(test)]
mod tests;
mod verify;
mod walk;

pub use import::{How, Imported};
pub use verify::Verified;

/// `mneme data adopt`: takes over what the original bot left, or gives it back. Returns what to tell.
pub async fn adopt(
    options: &config::Data,
    asked: &config::Adopt,
    tell: &dyn Fn(&str),
) -> anyhow::Result<String> {
    if !options.store.table_prefix.is_empty() {
        bail!("the original bot's tables have no prefix: run this without TABLE_PREFIX");
    }
    let people = asked.bans.as_deref().map(people).transpose()?.unwrap_or_default();
    let connected = open(options, &adopt::specs(), tell).await?;
    let started = Clock::system().now();
    if let Some(journal) = &asked.revert {
        return Ok(reverted(&adopt::revert(&connected.dynamo, journal, started).await?));
    }
    let adoption = Adoption {
        servers: servers(options, tell).await?,
        bot_name: options.bot_name.trim().to_owned(),
        people,
        ignore_unresolved_bans: asked.ignore_unresolved_bans,
        dry_run: asked.dry_run,
        folder: options.store.data_dir.clone(),
        started,
    };
    let report: Report = adopt::adopt(&connected.dynamo, &adoption, tell)
        .await
        .context("it is not done; what is done stays, and running it again goes on")?;
    Ok(report.to_string())
}

/// `mneme data export`
pub async fn export(
    options: &config::Data,
    path: &Path,
    days_ahead: u64,
    tell: &dyn Fn(&str),
) -> anyhow::Result<String> {
    let connected = open(options, &tables::all(), tell).await?;
    let start = walk::Start {
        servers: servers(options, tell).await?,
        bot_name: options.bot_name.trim().to_owned(),
        now: Clock::system().now(),
        hours_ahead: days_ahead.saturating_mul(24),
    };
    let (header, servers) = write(&connected.dynamo, &start, path).await.context("it is not done")?;
    let mut text = String::new();
    for (table, items) in &header.items {
        text += &format!("{table:<12} {items:>9}\n");
    }
    text += &format!("{servers} servers, in {}. It holds people's words.\n", path.display());
    for (table, why) in walk::NOT_MOVED {
        text += &format!("not in it: {table}, {why}\n");
    }
    Ok(text)
}

/// Writes a file of everything, and tells of how many servers.
async fn write(
    dynamo: &Dynamo,
    start: &walk::Start,
    path: &Path,
) -> anyhow::Result<(archive::Header, usize)> {
    let mut writer = archive::Writer::create(path, archive::Header::new(None, start.now))?;
    let servers = walk::instance(dynamo, start, &mut |table, item| writer.item(table, item)).await?;
    Ok((writer.finish()?, servers.len()))
}

/// `mneme data import`
pub async fn import(
    options: &config::Data,
    path: &Path,
    how: How,
    tell: &dyn Fn(&str),
) -> anyhow::Result<String> {
    let connected = open(options, &tables::all(), tell).await?;
    let imported = import::import(&connected.dynamo, path, how, Clock::system().now(), tell).await;
    let imported = imported.with_context(|| format!("{} is not imported", path.display()))?;
    Ok(imported.to_string())
}

/// `mneme data verify`
pub async fn verify(path: &Path, tell: &dyn Fn(&str)) -> anyhow::Result<String> {
    let empty = connect(StoreConfig::new(Store::Memory)).await?.dynamo;
    empty.create_tables(&tables::all()).await.context("create empty tables")?;
    let now = Clock::system().now();
    let verified = verify::verify(&empty, path, now, tell).await;
    let verified = verified.with_context(|| format!("{} cannot be restored", path.display()))?;
    if verified.faults.is_empty() { Ok(verified.to_string()) } else { bail!("{verified}") }
}

fn reverted(reverted: &adopt::Reverted) -> String {
    let mut text =
        format!("{} records are as they were; {} were so already.\n", reverted.back, reverted.already);
    for kept in &reverted.kept {
        fmt::Write::write_fmt(&mut text, format_args!("changed since, so left as it is: {kept}\n"))
            .expect("text takes text");
    }
    text
}

/// Opens the store and looks whether it has these tables.
async fn open(options: &config::Data, specs: &[TableSpec], tell: &dyn Fn(&str)) -> anyhow::Result<Connected> {
    let connected = open_store(&options.store).await?;
    let reached = connected.reach(specs.first().context("there are tables")?).await;
    if let Some(failed) = reached.findings.into_iter().find(|finding| finding.state == State::Fail) {
        bail!("{failed}");
    }
    if connected.embedded.is_some() {
        connected.dynamo.create_tables(specs).await.context("create the tables")?;
    }
    let create = command("tables create", &options.store);
    let differences = connected.dynamo.check_tables(specs).await.context("check the tables")?;
    if let Some(wrong) = differences.iter().find(|difference| difference.stops()) {
        bail!("{wrong}. {}", wrong.remedy(&create));
    }
    let transactions = connected.dynamo.examine_transactions(specs).await;
    if transactions.state == State::Fail {
        bail!("{transactions}");
    }
    if connected.embedded.is_none() {
        tell(&format!("recovery: {}", connected.dynamo.examine_recovery(specs).await));
    }
    tell(&format!("store: {}", connected.description));
    Ok(connected)
}

/// The servers that the bot is in, if it has a token, and those that are given.
async fn servers(options: &config::Data, tell: &dyn Fn(&str)) -> anyhow::Result<Vec<u64>> {
    let mut servers: BTreeSet<u64> = options.guild.iter().copied().collect();
    match discord_settings(&options.discord) {
        Some(settings) => {
            servers.extend(bot::servers(&settings).await.context("ask Discord which servers the bot is in")?);
        }
        None => tell("DISCORD_TOKEN is not set: only the servers given with --guild are looked at"),
    }
    if servers.is_empty() {
        bail!("there is no server to look at: set DISCORD_TOKEN, or name servers with --guild");
    }
    Ok(servers.into_iter().collect())
}

/// Reads lines of `name#1234,id`.
fn people(path: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(place, line)| {
            // A name may have a comma, an id has none.
            let read = line.rsplit_once(',').and_then(|(name, id)| {
                let id =
                    id.trim().parse().ok().filter(|id: &u64| (17..=20).contains(&id.to_string().len()))?;
                Some((name.trim().to_owned(), id)).filter(|(name, _)| !name.is_empty())
            });
            read.with_context(|| format!("{}, line {}: it is no name#1234,id", path.display(), place + 1))
        })
        .collect()
}
