//! Import: what an export file holds goes into the tables, item by item.
//!
//! An item that is missing is written, one that is the same is left, one that is different is kept or replaced,
//! as was asked. Each is one write on the condition that nothing has changed meanwhile, so an import that was
//! stopped goes on when it is run again.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::bail;

use crate::clock::Timestamp;
use crate::dynamo::raw::{self, Swap, key_of, same_item};
use crate::dynamo::{Commit, Dynamo, Item, TableSpec, Token, Transaction};
use crate::{archive, tables};

/// Items that are written at once, at most; so few that they are within the 4 MB of a transaction.
const AT_ONCE_BYTES: usize = 512 * 1024;
const AT_ONCE: usize = 25;

/// What to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// Only compare.
    pub dry_run: bool,
    /// What is different is replaced.
    pub overwrite: bool,
}

/// What was found, by table: new, different, equal, and over by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub how: How,
    pub tables: BTreeMap<&'static str, [u64; 4]>,
}

const NEW: usize = 0;
const DIFFERENT: usize = 1;
const EQUAL: usize = 2;
const OVER: usize = 3;

impl Imported {
    fn count(&mut self, table: &TableSpec, what: usize) {
        self.tables.entry(table.name).or_default()[what] += 1;
    }

    /// How many were new, different, equal and over.
    pub fn sum(&self) -> [u64; 4] {
        let mut sum = [0; 4];
        for counts in self.tables.values() {
            sum.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
        sum
    }
}

/// Reads a whole file, and then writes what it holds.
pub async fn import(
    dynamo: &Dynamo,
    path: &Path,
    how: How,
    now: Timestamp,
    tell: &dyn Fn(&str),
) -> anyhow::Result<Imported> {
    let known = tables::all();
    let header = archive::examine(path, &known)?;
    let total: u64 = header.items.values().sum();
    tell(&format!("the file is whole: {total} items of {}", header.time));
    let mut imported = Imported { how, ..Imported::default() };
    let (sender, mut items) = tokio::sync::mpsc::channel(AT_ONCE * 4);
    let reading = path.to_owned();
    // Uncompressing and parsing is work of its own; what is read ahead is bounded.
    let reader = tokio::task::spawn_blocking(move || {
        archive::each(&reading, &known, &mut |table, item| {
            sender.blocking_send((*table, item)).map_err(|_| anyhow::anyhow!("the import has ended"))
        })
    });
    let (mut batch, mut bytes, mut batches, mut seen) = (Vec::new(), 0, 0_u64, 0_u64);
    while let Some((table, item)) = items.recv().await {
        bytes += raw::to_json(&item).to_string().len();
        batch.push((table, item));
        seen += 1;
        if batch.len() >= AT_ONCE || bytes >= AT_ONCE_BYTES {
            batches += 1;
            let token = format!("import-{}-{batches}", now.millis());
            write(dynamo, std::mem::take(&mut batch), token, &mut imported).await?;
            bytes = 0;
        }
        if seen % 10_000 == 0 {
            tell(&format!("{seen} of {total}"));
        }
    }
    reader.await??;
    write(dynamo, batch, format!("import-{}-last", now.millis()), &mut imported).await?;
    Ok(imported)
}

async fn write(
    dynamo: &Dynamo,
    batch: Vec<(TableSpec, Item)>,
    token: String,
    imported: &mut Imported,
) -> anyhow::Result<()> {
    let mut transaction = Transaction::new(Token::new(token));
    for (table, item) in batch {
        if raw::is_over(&table, &item, dynamo.now()) {
            imported.count(&table, OVER);
            continue;
        }
        let found = dynamo.item(&table, key_of(&table, &item)).await?;
        let what = match &found {
            None => NEW,
            Some(found) if same_item(found, &item) => EQUAL,
            Some(_) => DIFFERENT,
        };
        imported.count(&table, what);
        if what == NEW || (what == DIFFERENT && imported.how.overwrite) {
            transaction = transaction.swap(&Swap { table, before: found, after: Some(item) });
        }
    }
    if imported.how.dry_run || transaction.is_empty() {
        return Ok(());
    }
    match dynamo.transact(transaction).await? {
        Commit::Done => Ok(()),
        _ => {
            bail!("a record changed meanwhile. Stop the bot, and run this again: it goes on where it stopped")
        }
    }
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let different = if self.how.overwrite { "replaced" } else { "kept" };
        writeln!(f, "{:<12} {:>9} {:>9} {:>9} {:>9}", "table", "new", different, "equal", "over")?;
        for (table, [new, different, equal, over]) in &self.tables {
            writeln!(f, "{table:<12} {new:>9} {different:>9} {equal:>9} {over:>9}")?;
        }
        let [new, different, ..] = self.sum();
        match (self.how.dry_run, self.how.overwrite) {
            (true, _) => writeln!(f, "Nothing was written: this was a dry run."),
            (false, true) => writeln!(f, "{} items were written.", new + different),
            (false, false) if different > 0 => writeln!(
                f,
                "{new} items were written. {different} are different here and were kept; replace them with --overwrite."
            ),
            (false, false) => writeln!(f, "{new} items were written."),
        }
    }
}
