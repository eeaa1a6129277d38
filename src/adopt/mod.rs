//! `mneme data adopt`: takes over the tables of the original bot, in place.
//!
//! The work is a row of steps. A step is a few items, each as it was read and as it is to become; it is first
//! written to a journal and then done in one transaction, on the condition that every item still is what was
//! read. So nothing is counted twice, whatever is killed when: running it again plans what is left, and finds
//! nothing where all is done. A step backwards is the same step with both sides exchanged: that is `--revert`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use crate::clock::Timestamp;
use crate::dynamo::raw::{self, Swap};
use crate::dynamo::{Commit, Dynamo, Item, Token, Transaction, WRITES_MAX};
use crate::people::Noted;

mod bans;
mod journal;
mod original;
mod play;
mod remember;
mod report;
mod revert;
mod sparkle;
#[cfg(test)]
mod tests;
mod usage;

pub use original::{TABLES, specs};
pub use report::Report;
pub use revert::{Reverted, revert};

use journal::Journal;
use original::SETTINGS;

/// What is to be taken over.
#[derive(Clone, Debug)]
pub struct Adoption {
    pub servers: Vec<u64>,
    /// What the original bot was called: its usage totals are under this name.
    pub bot_name: String,
    /// Whose name `name#1234` was, as far as somebody knows.
    pub people: BTreeMap<String, u64>,
    pub ignore_unresolved_bans: bool,
    /// Only tell what would be done.
    pub dry_run: bool,
    /// Where the journal is written.
    pub folder: PathBuf,
    pub started: Timestamp,
}

/// Takes over what the original bot left; `tell` hears of the progress.
pub async fn adopt(dynamo: &Dynamo, adoption: &Adoption, tell: &dyn Fn(&str)) -> anyhow::Result<Report> {
    let mut work = Work::new(dynamo, adoption);
    for table in TABLES {
        work.report.table(table.name).about = dynamo.about_how_many(table).await?;
    }
    // Before anything is written, because this may stop it.
    let bans = bans::read(&mut work).await?;
    for (place, server) in adoption.servers.iter().enumerate() {
        let before = work.report.changed();
        take_over(&mut work, *server).await.with_context(|| format!("server {server}"))?;
        let (changed, of) = (work.report.changed() - before, adoption.servers.len());
        tell(&format!("server {server} ({} of {of}): {changed} changed", place + 1));
    }
    usage::adopt(&mut work).await.context("the usage totals")?;
    bans::adopt(&mut work, bans).await.context("the bans")?;
    work.report.journal = work.journal.map(|journal| journal.path);
    Ok(work.report)
}

async fn take_over(work: &mut Work<'_>, server: u64) -> anyhow::Result<()> {
    let key = Item::from([(SETTINGS.hash.name.to_owned(), raw::number(server))]);
    let settings = work.dynamo.item(&SETTINGS, key.clone()).await?;
    remember::adopt(work, server, settings.as_ref()).await.context("remember")?;
    sparkle::adopt(work, server).await.context("sparkle")?;
    play::adopt(work, server).await.context("play")?;
    if settings.as_ref().is_some_and(|settings| settings.contains_key("adopted_at")) {
        return Ok(());
    }
    let mut after = settings.clone().unwrap_or(key);
    after.insert("adopted_at".to_owned(), raw::text(work.adoption.started.to_string()));
    work.step(vec![Swap { table: SETTINGS, before: settings, after: Some(after) }]).await
}

/// The state of one adoption.
struct Work<'a> {
    dynamo: &'a Dynamo,
    adoption: &'a Adoption,
    noted: Noted,
    journal: Option<Journal>,
    steps: u64,
    report: Report,
}

impl<'a> Work<'a> {
    fn new(dynamo: &'a Dynamo, adoption: &'a Adoption) -> Self {
        let report = Report { dry_run: adoption.dry_run, ..Report::default() };
        Self { dynamo, adoption, noted: Noted::default(), journal: None, steps: 0, report }
    }

    /// Does one step: all of these, or nothing.
    async fn step(&mut self, swaps: Vec<Swap>) -> anyhow::Result<()> {
        ensure!(swaps.len() <= WRITES_MAX, "a step of {} items", swaps.len());
        self.steps += 1;
        if self.adoption.dry_run {
            return Ok(());
        }
        let journal = match &mut self.journal {
            Some(journal) => journal,
            none => none.insert(Journal::create(&self.adoption.folder, self.adoption.started)?),
        };
        journal.note(self.steps, &swaps)?;
        // Told apart by run: the same step may come again after it was taken back.
        let token = Token::new(format!("adopt-{}-{}", self.adoption.started.millis(), self.steps));
        swap(self.dynamo, token, &swaps).await
    }

    /// Notes in a person's own record that records of a server name them. Looks first, so that a second run
    /// writes nothing.
    async fn note(&self, person: u64, server: u64) -> anyhow::Result<()> {
        if self.adoption.dry_run {
            return Ok(());
        }
        let known = self.dynamo.get::<crate::people::Person>(person).await?;
        if !known.is_some_and(|known| known.guilds.contains(&server)) {
            self.noted.note(self.dynamo, person, server).await?;
        }
        Ok(())
    }
}

async fn swap(dynamo: &Dynamo, token: Token, swaps: &[Swap]) -> anyhow::Result<()> {
    let transaction = swaps.iter().fold(Transaction::new(token), Transaction::swap);
    match dynamo.transact(transaction).await? {
        Commit::Done => Ok(()),
        Commit::Blocked(place) => {
            let table = swaps.get(place).map_or("?", |swap| swap.table.name);
            bail!(
                "a record of {table} changed meanwhile, and nothing was done to it. Stop every bot that uses these \
                 tables, and run this again"
            )
        }
        Commit::Repeated => bail!("this step came before with other contents; run this again"),
    }
}

/// The hash key of what belongs to a server.
fn of_server(server: u64) -> raw::Attribute {
    raw::number(server)
}

/// A person's id as the original bot wrote it: digits, and nothing else.
fn person(text: &str) -> Option<u64> {
    text.parse().ok().filter(|id: &u64| *id > 0 && id.to_string() == text)
}
