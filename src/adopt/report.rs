//! What an adoption did, for people.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What was done to one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub seen: usize,
    pub changed: usize,
    /// What stays as it is, and why.
    pub left: Vec<String>,
    /// About how many items the table has.
    pub about: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub dry_run: bool,
    pub tables: BTreeMap<&'static str, Counted>,
    /// Memories that gave their name to another one.
    pub renamed: Vec<String>,
    pub reasons: usize,
    /// How many uses of commands were added to the totals.
    pub usage: i64,
    pub journal: Option<PathBuf>,
}

impl Report {
    pub(super) fn table(&mut self, name: &'static str) -> &mut Counted {
        self.tables.entry(name).or_default()
    }

    pub(super) fn left(&mut self, table: &'static str, why: String) {
        self.table(table).left.push(why);
    }

    pub(super) fn renamed(&mut self, what: String) {
        self.renamed.push(what);
    }

    /// How many items of the original's tables were changed.
    pub fn changed(&self) -> usize {
        self.tables.values().map(|table| table.changed).sum()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let change = if self.dry_run { "to change" } else { "changed" };
        writeln!(f, "{:<10} {:>9} {change:>9} {:>9}   in the table, about", "table", "seen", "left")?;
        for (name, table) in &self.tables {
            let (seen, changed, left) = (table.seen, table.changed, table.left.len());
            let about = table.about.map_or_else(|| "not known".to_owned(), |about| about.to_string());
            writeln!(f, "{name:<10} {seen:>9} {changed:>9} {left:>9}   {about}")?;
        }
        writeln!(f, "What is in a table and was not seen belongs to servers that were not looked at.")?;
        if self.reasons > 0 {
            writeln!(f, "Reasons of sparkles in the ledger: {}", self.reasons)?;
        }
        if self.usage > 0 {
            writeln!(f, "Uses of commands added to the totals: {}", self.usage)?;
        }
        for renamed in &self.renamed {
            writeln!(f, "renamed    {renamed}")?;
        }
        for (name, table) in &self.tables {
            for why in &table.left {
                writeln!(f, "left       {name}: {why}")?;
            }
        }
        match &self.journal {
            Some(journal) => {
                writeln!(f, "What every record was is in {}. It holds people's words.", journal.display())
            }
            None if self.dry_run => writeln!(f, "Nothing was changed: this was a dry run."),
            None => writeln!(f, "There was nothing to change."),
        }
    }
}
