//! Files: how old and large they are, and the lines that are written to them.

use std::fs::{self, File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use crate::clock::Timestamp;
use crate::relay::envelope::Value;
use crate::relay::name::{base32, hash};
use crate::relay::sources::sight::{Fields, Seen, Sight, cut};

/// Taken at one look; the rest waits for the next. More lines than this a minute are statistics, not messages.
const LINES_MAX: usize = 1_000;

/// Read at one look, so that a file of any size is read in pieces.
const BYTES_MAX: u64 = 1024 * 1024;

/// Age and size of a file or folder.
pub fn path(path: &str, now: Timestamp) -> Fields {
    let fields = Fields::default().text("path", path);
    let Ok(found) = fs::metadata(path) else { return fields.switch("exists", false) };
    let changed = Timestamp::from_millis(found.mtime() * 1_000);
    fields
        .switch("exists", true)
        .number("age_seconds", now.since(changed).as_secs_f64())
        .number("bytes", found.len() as f64)
}

/// How far a file was read: which one it is, and the byte after the last whole line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    inode: u64,
    offset: u64,
    /// A hash of what stands before it: a file that was emptied in place may be as long again.
    before: String,
}

/// Read before a mark to know it again.
const BEFORE: u64 = 64;

impl Mark {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let mut next = || parts.next();
        let (inode, offset) = (next()?.parse().ok()?, next()?.parse().ok()?);
        Some(Self { inode, offset, before: next()?.to_owned() })
    }

    fn text(&self) -> String {
        format!("{} {} {}", self.inode, self.offset, self.before)
    }

    fn at(path: &Path, inode: u64, offset: u64) -> io::Result<Self> {
        Ok(Self { inode, offset, before: before(path, offset)? })
    }
}

/// A hash of what stands before a place in a file; another one where the file is shorter.
fn before(path: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = offset.saturating_sub(BEFORE);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(offset - start).read_to_end(&mut bytes)?;
    Ok(base32(&hash(&[&String::from_utf8_lossy(&bytes), &bytes.len().to_string()])[..10]))
}

/// The lines that were written since the last look. At the first one, it begins at the end.
pub fn lines(
    path: &str,
    pattern: Option<&Regex>,
    memory: Option<&str>,
    now: Timestamp,
) -> Result<Seen, String> {
    let told = |error: io::Error| format!("{path}: {error}");
    let found = fs::metadata(path).map_err(told)?;
    let Some(mark) = memory.and_then(Mark::parse) else {
        let mark = Mark::at(Path::new(path), found.ino(), found.len()).map_err(told)?;
        return Ok(Seen { sights: Vec::new(), memory: Some(mark.text()) });
    };
    let mut taken = Taken { pattern, now, sights: Vec::new(), lines: 0 };
    if mark.inode != found.ino() {
        // It was rotated. What was written before that stands under another name, if at all.
        if let Some(old) = renamed(Path::new(path), mark.inode) {
            let end = taken.read(&old, mark.inode, mark.offset).map_err(told)?;
            if taken.lines >= LINES_MAX {
                return Ok(Seen { sights: taken.sights, memory: Some(end.text()) });
            }
        }
        let end = taken.read(Path::new(path), found.ino(), 0).map_err(told)?;
        return Ok(Seen { sights: taken.sights, memory: Some(end.text()) });
    }
    // Emptied in place: what is in it now is new.
    let is_same = before(Path::new(path), mark.offset).map_err(told)? == mark.before;
    let start = if is_same { mark.offset } else { 0 };
    let end = taken.read(Path::new(path), mark.inode, start).map_err(told)?;
    let memory = (end != mark).then(|| end.text());
    Ok(Seen { sights: taken.sights, memory })
}

/// The file beside it that has this inode: `syslog.1` for `syslog`.
fn renamed(path: &Path, inode: u64) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let entries = fs::read_dir(path.parent()?).ok()?;
    entries.filter_map(Result::ok).map(|entry| entry.path()).find(|other| {
        let alike =
            other.file_name().and_then(|other| other.to_str()).is_some_and(|other| other.starts_with(name));
        alike && fs::metadata(other).is_ok_and(|found: Metadata| found.ino() == inode)
    })
}

struct Taken<'a> {
    pattern: Option<&'a Regex>,
    now: Timestamp,
    sights: Vec<Sight>,
    lines: usize,
}

impl Taken<'_> {
    /// Takes whole lines from a mark on; where it stopped.
    fn read(&mut self, path: &Path, inode: u64, mut offset: u64) -> io::Result<Mark> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut reader = BufReader::new(file.take(BYTES_MAX));
        let mut line = Vec::new();
        while self.lines < LINES_MAX {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)? as u64;
            // A line without an end is still being written, unless it fills all that is read at once.
            if length == 0 || (line.last() != Some(&b'\n') && length < BYTES_MAX) {
                break;
            }
            self.lines += 1;
            let text = String::from_utf8_lossy(&line);
            self.take(text.trim_end_matches(['\r', '\n']), inode, offset);
            offset += length;
        }
        Mark::at(path, inode, offset)
    }

    fn take(&mut self, line: &str, inode: u64, offset: u64) {
        let line = cut(line);
        let mut fields = Fields::default().text("line", line);
        if let Some(pattern) = self.pattern {
            let Some(found) = pattern.captures(line) else { return };
            for name in pattern.capture_names().flatten() {
                if let Some(value) = found.name(name) {
                    fields.put(name, Value::Text(value.as_str().to_owned()));
                }
            }
        }
        // The place makes it this line: read again after a crash, it is the same.
        let because = format!("{inode}/{offset}/{line}");
        self.sights.push(Sight { because, at: self.now, topic: None, subject: None, fields });
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    /// A log, and what a source remembers of it.
    struct Log {
        folder: tempfile::TempDir,
        memory: Option<String>,
    }

    impl Log {
        fn new() -> Self {
            let log = Self { folder: tempfile::tempdir().unwrap(), memory: None };
            log.write("before\n");
            log
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, text: &str) {
            let mut file = File::options().create(true).append(true).open(self.path("log")).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn look(&mut self, pattern: Option<&str>) -> Vec<String> {
            let pattern = pattern.map(|pattern| Regex::new(pattern).unwrap());
            let path = self.path("log");
            let seen = lines(path.to_str().unwrap(), pattern.as_ref(), self.memory.as_deref(), NOW).unwrap();
            self.memory = seen.memory.or(self.memory.take());
            let shown = |sight: &Sight| match &sight.fields.0["line"] {
                Value::Text(line) => line.clone(),
                other => panic!("{other:?}"),
            };
            seen.sights.iter().map(shown).collect()
        }
    }

    #[test]
    fn whole_lines_are_seen_once() {
        let mut log = Log::new();
        assert!(log.look(None).is_empty(), "what was there before is not news");
        log.write("a\nb\nhalf");
        assert_eq!(log.look(None), ["a", "b"]);
        assert!(log.look(None).is_empty());
        log.write(" done\n");
        assert_eq!(log.look(None), ["half done"]);
    }

    #[test]
    fn rotation_loses_nothing() {
        let mut log = Log::new();
        log.look(None);
        log.write("a\n");
        fs::rename(log.path("log"), log.path("log.1")).unwrap();
        log.write("b\n");
        assert_eq!(log.look(None), ["a", "b"]);
        File::create(log.path("log")).unwrap();
        log.write("c\n");
        assert_eq!(log.look(None), ["c"], "emptied in place");
    }

    #[test]
    fn a_pattern_takes_some_lines_apart() {
        let mut log = Log::new();
        log.look(None);
        log.write("x\nfailed for bob\n");
        let path = log.path("log");
        let pattern = Regex::new("failed for (?P<who>\\w+)").unwrap();
        let seen = lines(path.to_str().unwrap(), Some(&pattern), log.memory.as_deref(), NOW).unwrap();
        assert_eq!(seen.sights.len(), 1);
        assert_eq!(seen.sights[0].fields.0["who"], Value::Text("bob".into()));
    }

    #[test]
    fn many_lines_are_taken_in_pieces() {
        let mut log = Log::new();
        log.look(None);
        log.write(&"x\n".repeat(LINES_MAX + 5));
        assert_eq!((log.look(None).len(), log.look(None).len(), log.look(None).len()), (LINES_MAX, 5, 0));
        let long = "y".repeat(BYTES_MAX as usize + 10);
        log.write(&format!("{long}\nz\n"));
        assert_eq!(log.look(None).len(), 1, "a line of any length ends");
        assert_eq!(log.look(None).last().unwrap(), "z");
    }

    #[test]
    fn age_and_size_of_a_path() {
        let log = Log::new();
        let path_of = log.path("log");
        let changed = Timestamp::from_seconds(fs::metadata(&path_of).unwrap().mtime());
        let fields = path(path_of.to_str().unwrap(), changed.plus(std::time::Duration::from_secs(90)));
        assert_eq!(fields.0["age_seconds"], Value::Number(90.0));
        assert_eq!(fields.0["bytes"], Value::Number(7.0));
        assert_eq!(path("/nowhere", NOW).0["exists"], Value::Bool(false));
    }
}
