//! Export files: lines of JSON, compressed.
//!
//! The first line says what it is and how many items of each table follow; then comes one line for each item,
//! in DynamoDB's own JSON; the last line is the SHA-256 of all lines before it. A file is read twice: first to
//! find every fault, and only then to use it, so that nothing is written of a damaged one. [`Writer`] and
//! [`each`] are for files of a whole instance, [`Packer`] and [`each_of`] for those of one server, in memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::dynamo::raw;
use crate::dynamo::{Item, KeyKind, TableSpec};

const FORMAT: &str = "mneme-export";

/// It grows when an older program could not read the files.
const VERSION: u32 = 1;

/// An item has at most 400 KB, and JSON may need six bytes for one.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Only for its owner: people's words are in it.
const MODE: u32 = 0o600;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub format: String,
    pub version: u32,
    /// Ids are texts: many readers of JSON shorten numbers. `None`: the whole instance.
    pub server: Option<String>,
    pub time: Timestamp,
    pub items: BTreeMap<String, u64>,
}

impl Header {
    pub fn new(server: Option<u64>, time: Timestamp) -> Self {
        let server = server.map(|id| id.to_string());
        Self { format: FORMAT.to_owned(), version: VERSION, server, time, items: BTreeMap::new() }
    }
}

#[derive(Serialize, Deserialize)]
struct Line {
    table: String,
    item: Value,
}

#[derive(Serialize, Deserialize)]
struct Last {
    sha256: String,
}

/// Writes a file. Until it is finished it has another name, so that a half one is not taken for a whole.
pub struct Writer {
    path: PathBuf,
    header: Header,
    body: GzEncoder<BufWriter<File>>,
}

impl Writer {
    pub fn create(path: &Path, header: Header) -> anyhow::Result<Self> {
        ensure!(!path.exists(), "{} is there already", path.display());
        let file = make(&beside(path, "items"))?;
        let body = GzEncoder::new(BufWriter::new(file), Compression::default());
        Ok(Self { path: path.to_owned(), header, body })
    }

    pub fn item(&mut self, table: &TableSpec, item: &Item) -> anyhow::Result<()> {
        add(&mut self.header, &mut self.body, table, item)?;
        Ok(())
    }

    /// Puts the first and the last line to what was written, and the file in its place.
    pub fn finish(self) -> anyhow::Result<Header> {
        let items = beside(&self.path, "items");
        self.body.finish().and_then(|mut file| file.flush()).context("write the items")?;
        let whole = beside(&self.path, "part");
        let body = BufReader::new(File::open(&items).context("read the items again")?);
        let file = assemble(&self.header, body, BufWriter::new(make(&whole)?))?;
        let file = file.into_inner().map_err(|error| error.into_error());
        file.and_then(|file| file.sync_all()).context("keep the file")?;
        std::fs::rename(&whole, &self.path)
            .with_context(|| format!("put {} in place", self.path.display()))?;
        std::fs::remove_file(&items).context("remove the items")?;
        Ok(self.header)
    }
}

/// Writes a file in memory.
pub struct Packer {
    header: Header,
    body: GzEncoder<Vec<u8>>,
}

impl Packer {
    pub fn new(header: Header) -> Self {
        Self { header, body: GzEncoder::new(Vec::new(), Compression::default()) }
    }

    /// Adds an item; how many bytes that are before they are compressed.
    pub fn item(&mut self, table: &TableSpec, item: &Item) -> anyhow::Result<usize> {
        add(&mut self.header, &mut self.body, table, item)
    }

    /// How long the file is by now, but for what is not compressed yet.
    pub fn bytes(&self) -> usize {
        self.body.get_ref().len()
    }

    pub fn finish(self) -> anyhow::Result<(Header, Vec<u8>)> {
        let items = self.body.finish().context("write the items")?;
        let file = assemble(&self.header, items.as_slice(), Vec::new())?;
        Ok((self.header, file))
    }
}

fn add(header: &mut Header, body: &mut impl Write, table: &TableSpec, item: &Item) -> anyhow::Result<usize> {
    let line = Line { table: table.name.to_owned(), item: raw::to_json(item) };
    let mut text = serde_json::to_vec(&line).context("write an item")?;
    text.push(b'\n');
    body.write_all(&text).context("write an item")?;
    *header.items.entry(line.table).or_default() += 1;
    Ok(text.len())
}

/// The first line, the items, and the last line: only now it is known how many items there are.
fn assemble<W: Write>(header: &Header, items: impl BufRead, out: W) -> anyhow::Result<W> {
    let mut out = GzEncoder::new(out, Compression::default());
    let mut hash = Sha256::new();
    let mut first = serde_json::to_vec(header).context("write the first line")?;
    first.push(b'\n');
    hash.update(&first);
    out.write_all(&first).context("write the first line")?;
    let mut items = MultiGzDecoder::new(items);
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = items.read(&mut buffer).context("read the items again")?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        out.write_all(&buffer[..read]).context("write the items")?;
    }
    let last = serde_json::to_vec(&Last { sha256: hex(&hash.finalize()) }).context("write the last line")?;
    out.write_all(&last).and_then(|()| out.write_all(b"\n")).context("write the last line")?;
    out.finish().context("write the last line")
}

fn make(path: &Path) -> anyhow::Result<File> {
    let opened = File::options().write(true).create(true).truncate(true).mode(MODE).open(path);
    opened.with_context(|| format!("make {}", path.display()))
}

/// A name of its own for something that is not finished.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks through a file from end to end: every line, and whether it is whole. The first fault is told with its
/// line.
pub fn examine(path: &Path, known: &[TableSpec]) -> anyhow::Result<Header> {
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let header = each(path, known, &mut |table, _| {
        *found.entry(table.name.to_owned()).or_default() += 1;
        Ok(())
    })?;
    complete(&header, &found)?;
    Ok(header)
}

fn complete(header: &Header, found: &BTreeMap<String, u64>) -> anyhow::Result<()> {
    ensure!(found == &header.items, "line 1: it promises {:?}, and there are {found:?}", header.items);
    Ok(())
}

/// Reads the file of one server item by item. What was visited may be used once it has returned: then the file is
/// whole, and of this server. A few bytes may become very many, so `unpacked_max` limits those.
pub fn each_of(
    bytes: &[u8],
    server_id: u64,
    known: &[TableSpec],
    unpacked_max: u64,
    visit: &mut dyn FnMut(&TableSpec, Item) -> anyhow::Result<()>,
) -> anyhow::Result<Header> {
    let lines = BufReader::new(Limited { inner: MultiGzDecoder::new(bytes), left: unpacked_max });
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    let of_server = |header: &Header| {
        ensure!(header.server.is_some(), "it is of a whole instance, not of this server");
        ensure!(header.server == Some(server_id.to_string()), "it is of another server");
        Ok(())
    };
    let header = read(lines, known, &of_server, &mut |table, item| {
        *found.entry(table.name.to_owned()).or_default() += 1;
        visit(table, item)
    })?;
    complete(&header, &found)?;
    Ok(header)
}

/// Fails where there is more to read.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(std::io::Error::other("it is too long")),
        }
        Ok(read)
    }
}

/// Reads a file item by item; the hash is known to be right only at the end.
pub fn each(
    path: &Path,
    known: &[TableSpec],
    visit: &mut dyn FnMut(&TableSpec, Item) -> anyhow::Result<()>,
) -> anyhow::Result<Header> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    read(BufReader::new(MultiGzDecoder::new(BufReader::new(file))), known, &|_| Ok(()), visit)
}

fn read(
    mut lines: impl BufRead,
    known: &[TableSpec],
    check: &dyn Fn(&Header) -> anyhow::Result<()>,
    visit: &mut dyn FnMut(&TableSpec, Item) -> anyhow::Result<()>,
) -> anyhow::Result<Header> {
    let (mut hash, mut line, mut place) = (Sha256::new(), Vec::new(), 1);
    next(&mut lines, &mut line, place)?;
    let header = first(&line).with_context(|| format!("line {place}"))?;
    check(&header).with_context(|| format!("line {place}"))?;
    loop {
        hash.update(&line);
        place += 1;
        next(&mut lines, &mut line, place)?;
        ensure!(
            !line.is_empty(),
            "line {place}: the file ends before its last line; a part of it is missing"
        );
        if let Ok(last) = serde_json::from_slice::<Last>(&line) {
            ensure!(last.sha256 == hex(&hash.finalize()), "line {place}: the file is not as it was written");
            next(&mut lines, &mut line, place + 1)?;
            ensure!(line.is_empty(), "line {}: there is something after the last line", place + 1);
            return Ok(header);
        }
        let (table, item) = item(&line, known).with_context(|| format!("line {place}"))?;
        visit(table, item).with_context(|| format!("line {place}"))?;
    }
}

/// The next line with its end, or nothing at the end of the file.
fn next(lines: &mut impl BufRead, line: &mut Vec<u8>, place: u64) -> anyhow::Result<()> {
    line.clear();
    let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', line);
    let read = read.with_context(|| format!("line {place}: it cannot be uncompressed"))?;
    ensure!(read == 0 || line.ends_with(b"\n"), "line {place}: it does not end");
    Ok(())
}

fn first(line: &[u8]) -> anyhow::Result<Header> {
    let header: Header = serde_json::from_slice(line).context("this is no export of mneme")?;
    ensure!(header.format == FORMAT, "this is no export of mneme");
    if header.version > VERSION {
        bail!("it was written by a newer mneme (form {}, this one reads {VERSION})", header.version);
    }
    Ok(header)
}

/// An item that fits its table.
fn item<'a>(line: &[u8], known: &'a [TableSpec]) -> anyhow::Result<(&'a TableSpec, Item)> {
    let line: Line = serde_json::from_slice(line).context("this is no item")?;
    let table = known.iter().find(|table| table.name == line.table);
    let table = table.with_context(|| format!("there is no table {}", line.table))?;
    let item = raw::from_json(&line.item).map_err(|error| anyhow::anyhow!("{error}"))?;
    for key in std::iter::once(table.hash).chain(table.range) {
        let fits = match key.kind {
            KeyKind::Number => raw::number_in(&item, key.name).is_some(),
            KeyKind::Text => raw::text_in(&item, key.name).is_some_and(|text| !text.is_empty()),
        };
        ensure!(fits, "its key {} is missing or of another kind", key.name);
    }
    Ok((table, item))
}
