//! [`RunLog`]: `bot_run.log`, a line for each step of each soldier.
//!
//! `12:10:51.330 bot_id=1 action=memory.remember outcome=succeed duration=213 [info]`, or the same as JSON. The
//! file is turned over when it is full, so that a run of a week does not fill a disk.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::clock::Clock;

/// Of one file; three are kept.
const FILE_MAX: u64 = 100 * 1_024 * 1_024;
const FILES_KEPT: usize = 3;

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// `info` for a word that is none.
    pub fn named(name: &str) -> Self {
        [Self::Debug, Self::Warn, Self::Error]
            .into_iter()
            .find(|level| level.name() == name)
            .unwrap_or(Self::Info)
    }
}

/// The log of a run.
pub struct RunLog {
    clock: Clock,
    format: Format,
    path: Option<PathBuf>,
    file: Mutex<Option<Writing>>,
}

struct Writing {
    out: BufWriter<File>,
    written: u64,
}

impl RunLog {
    /// Writes nothing; lines are still made for those who want the last ones.
    pub fn nowhere(clock: Clock) -> Self {
        Self { clock, format: Format::Text, path: None, file: Mutex::new(None) }
    }

    /// Starts the file anew: nothing of one run is in the next one's.
    pub fn start(path: &Path, format: Format, clock: Clock) -> io::Result<Self> {
        let writing = Writing { out: BufWriter::new(File::create(path)?), written: 0 };
        Ok(Self { clock, format, path: Some(path.to_owned()), file: Mutex::new(Some(writing)) })
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Writes a line, and gives it back.
    pub fn line(&self, level: Level, fields: &[(&str, Value)]) -> String {
        let line = match self.format {
            Format::Text => self.text(level, fields),
            Format::Json => self.json(level, fields),
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(writing), Some(path)) = (file.as_mut(), &self.path) {
            // A full disk ends the log and not the run; the summary says what was measured.
            if writing.write(&line, path).is_err() {
                *file = None;
            }
        }
        line
    }

    fn text(&self, level: Level, fields: &[(&str, Value)]) -> String {
        let millis = self.clock.now().millis().rem_euclid(86_400_000);
        let (seconds, millis) = (millis / 1_000, millis % 1_000);
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let mut line = format!("{hours:02}:{minutes:02}:{seconds:02}.{millis:03}");
        for (name, value) in fields {
            let written = match value {
                Value::String(text) if is_plain(text) => write!(line, " {name}={text}"),
                value => write!(line, " {name}={value}"),
            };
            written.expect("a string takes everything");
        }
        write!(line, " [{}]", level.name()).expect("a string takes everything");
        line
    }

    fn json(&self, level: Level, fields: &[(&str, Value)]) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), self.clock.now().millis().into());
        object.insert("level".to_owned(), level.name().into());
        object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Value::Object(object).to_string()
    }

    /// What is in memory goes to the file.
    pub fn flush(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.as_mut().is_some_and(|writing| writing.out.flush().is_err()) {
            *file = None;
        }
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=')
}

impl Writing {
    fn write(&mut self, line: &str, path: &Path) -> io::Result<()> {
        if self.written >= FILE_MAX {
            self.out.flush()?;
            let older = |n: usize| path.with_extension(format!("log.{n}"));
            for n in (1..FILES_KEPT - 1).rev() {
                // The first files of a run have none behind them.
                std::fs::rename(older(n), older(n + 1)).ok();
            }
            std::fs::rename(path, older(1))?;
            *self = Self { out: BufWriter::new(File::create(path)?), written: 0 };
        }
        self.written += line.len() as u64 + 1;
        self.out.write_all(line.as_bytes())?;
        self.out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn a_line_is_read_by_people_or_by_programs() {
        let clock = Clock::manual(Timestamp::from_millis(43_851_330));
        let fields =
            [("bot_id", json!(1)), ("action", json!("memory.remember")), ("error", json!("no reply"))];
        let text = RunLog::nowhere(clock.clone()).line(Level::Warn, &fields);
        assert_eq!(text, "12:10:51.330 bot_id=1 action=memory.remember error=\"no reply\" [warn]");
        let log = RunLog { format: Format::Json, ..RunLog::nowhere(clock) };
        let read: Value = serde_json::from_str(&log.line(Level::Warn, &fields)).unwrap();
        assert_eq!(read["time"], 43_851_330);
        assert_eq!(read["error"], "no reply");
    }
}
