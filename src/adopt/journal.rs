//! The journal of an adoption: what every item was and became, so that it can be put back.
//!
//! A line is on the disk before its step is sent. So there may be steps in it that never happened, and none
//! that happened is missing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::dynamo::raw::{self, Swap};

use super::original::specs;

/// The form of these files. It changes when an older program could not read them.
const VERSION: u32 = 1;

/// Only for its owner: people's words are in it.
const MODE: u32 = 0o600;

#[derive(Serialize, Deserialize)]
struct Header {
    mneme: String,
    version: u32,
    started: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Line {
    step: u64,
    table: String,
    before: Option<Value>,
    after: Option<Value>,
}

pub struct Journal {
    file: File,
    pub path: PathBuf,
}

impl Journal {
    /// Starts a new file; nothing is ever written over.
    pub fn create(folder: &Path, started: Timestamp) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("make the folder {}", folder.display()))?;
        // As in its name: no colons, which some file systems do not take.
        let time = started.to_string().replace(':', "");
        let path = folder.join(format!("adopt-{time}-{:03}.jsonl", started.millis().rem_euclid(1_000)));
        let opened = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&path);
        let file = opened.with_context(|| format!("make the journal {}", path.display()))?;
        let mut journal = Self { file, path };
        journal.write(&Header { mneme: "adopt".to_owned(), version: VERSION, started })?;
        // The name is to survive a power cut as well as the lines.
        File::open(folder).and_then(|folder| folder.sync_all()).context("keep the journal's name")?;
        Ok(journal)
    }

    /// Keeps a step; when this returns it is on the disk.
    pub fn note(&mut self, step: u64, swaps: &[Swap]) -> anyhow::Result<()> {
        for swap in swaps {
            let before = swap.before.as_ref().map(raw::to_json);
            let after = swap.after.as_ref().map(raw::to_json);
            self.write(&Line { step, table: swap.table.name.to_owned(), before, after })?;
        }
        self.file.sync_data().context("keep the journal")
    }

    fn write(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec(line).context("write a line of the journal")?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).with_context(|| format!("write to {}", self.path.display()))
    }
}

/// The steps in a journal, in their order.
pub fn read(path: &Path) -> anyhow::Result<Vec<Vec<Swap>>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let header: Header = match lines.first().map(|line| serde_json::from_str(line)) {
        Some(Ok(header)) => header,
        _ => bail!("{} is not a journal of an adoption (line 1)", path.display()),
    };
    if header.mneme != "adopt" || header.version != VERSION {
        bail!("{} is of another kind or version (line 1)", path.display());
    }
    let mut steps: Vec<(u64, Vec<Swap>)> = Vec::new();
    for (place, text) in lines.iter().enumerate().skip(1) {
        let (step, swap) = match read_line(text) {
            Ok(read) => read,
            // What was being written when it was killed. Its step was not sent, so what is there of it does not
            // fit the records, and is left alone.
            Err(_) if place + 1 == lines.len() => break,
            Err(error) => return Err(error.context(format!("{}, line {}", path.display(), place + 1))),
        };
        match steps.last_mut() {
            Some((last, swaps)) if *last == step => swaps.push(swap),
            _ => steps.push((step, vec![swap])),
        }
    }
    Ok(steps.into_iter().map(|(_, swaps)| swaps).collect())
}

fn read_line(text: &str) -> anyhow::Result<(u64, Swap)> {
    let line: Line = serde_json::from_str(text).context("no step of an adoption")?;
    let known = specs();
    let table = known.iter().find(|table| table.name == line.table);
    let table = *table.with_context(|| format!("there is no table {}", line.table))?;
    let item = |json: Option<Value>| {
        json.as_ref().map(raw::from_json).transpose().map_err(|error| anyhow::anyhow!("no item: {error}"))
    };
    Ok((line.step, Swap { table, before: item(line.before)?, after: item(line.after)? }))
}
