//! Counts that may wait: what is only a number is added up in memory and written every few seconds.
//!
//! A row of the table `tally` takes one update for each flush: it adds the numbers and notes the flush
//! under this writer's name, on the condition that no flush as late is noted. So a repeat after a lost
//! reply adds nothing. A crash loses what was counted since the last flush, a stop by signal nothing.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Timestamp;
use crate::dynamo::{
    Column, Condition, Dynamo, Error, Personal, Places, Privacy, Query, Reach, Table, Update, Updated,
};
use crate::people::Noted;

/// What a crash can lose.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// So that a busy bot does not have more to lose than a quiet one: about 500 commands, each of which is counted
/// in five places.
const FLUSH_AT: u64 = 2_500;

/// About 10 MB. Beyond it the oldest rows are dropped, and counted.
const ROWS_MAX: usize = 20_000;

/// Rows written at the same time: enough to be done within a second, few enough for others to get through.
const WRITES_AT_ONCE: usize = 8;

/// How often a stopping process tries to write what is left.
const LAST_TRIES: usize = 3;

/// How often a flush is numbered anew because the clock was set back.
const RENUMBERINGS_MAX: usize = 3;

/// One row of a board: who or what is counted, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub board: String,
    pub slot: String,
    pub expires_at: Option<i64>,
    /// Everything that was counted, and under `k_<writer>` the last flush of each writer.
    #[serde(flatten)]
    pub numbers: BTreeMap<String, i64>,
}

impl Tally {
    pub fn number(&self, name: &str) -> u64 {
        self.numbers.get(name).and_then(|n| u64::try_from(*n).ok()).unwrap_or(0)
    }
}

impl Table for Tally {
    const NAME: &'static str = "tally";
    const KEY: &'static [&'static str] = &["board", "slot"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("board", Privacy::None),
            ("slot", Privacy::Within(counted_person)),
            ("expires_at", Privacy::None),
            ("*", Privacy::None),
        ],
        places: Places::Named(boards),
        kept: "400 days, and as totals as long as the server has me",
    };
    type Key = (String, String);

    fn key(&self) -> Self::Key {
        (self.board.clone(), self.slot.clone())
    }
}

/// Whom a row of a board about people counts: its slot is `<day>#<person>`.
fn counted_person(slot: &str) -> Option<u64> {
    slot.split_once('#')?.1.parse().ok()
}

/// Rows of days expire after 400 days, so older months are empty.
const MONTHS: u32 = 14;

/// The boards of a server: by month, and for good. With those of server 0 go the ones of all servers together.
fn boards(reach: &Reach) -> Vec<String> {
    let whole = reach.server_id == 0 && !reach.only_people;
    let of_all = whole.then(|| months_back(reach.now).chain(["all".to_owned()])).into_iter().flatten();
    let of_all = of_all.map(|window| format!("bot/usage/{window}")).collect::<Vec<_>>();
    let (by_month, for_good): (&[&str], &[&str]) = match reach.only_people {
        true => (&["commands", "sparkles", "djs"], &["commands", "djs"]),
        false => (&["commands", "sparkles", "djs", "usage"], &["commands", "djs", "recalls"]),
    };
    let months: Vec<String> = months_back(reach.now).collect();
    let by_month = by_month.iter().flat_map(|name| months.iter().map(move |month| (*name, month.as_str())));
    let for_good = for_good.iter().map(|name| (*name, "all"));
    let own = by_month.chain(for_good).map(|(name, window)| format!("{}/{name}/{window}", reach.server_id));
    of_all.into_iter().chain(own).collect()
}

/// `2026-05`, `2026-04`, and so on. Days are those of a zone, so the next month may have begun somewhere.
fn months_back(now: Timestamp) -> impl Iterator<Item = String> {
    let text = now.plus(Duration::from_secs(86_400)).to_string();
    let part = |range: std::ops::Range<usize>| text[range].parse::<u32>().unwrap_or_default();
    let newest = part(0..4) * 12 + part(5..7).saturating_sub(1);
    (0..MONTHS).map(move |back| newest - back).map(|month| format!("{:04}-{:02}", month / 12, month % 12 + 1))
}

const EXPIRES_AT: Column<Tally, i64> = Column::new("expires_at");

/// Since when a row counts, in seconds.
pub const SINCE: &str = "since";
const SINCE_COLUMN: Column<Tally, i64> = Column::new(SINCE);

type RowKey = (String, String);

/// Where something is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub board: String,
    pub slot: String,
    /// The row is kept until then at least.
    pub expires_at: Option<i64>,
    /// The person that the slot names, and the server: noted before the row is written.
    pub about: Option<(u64, u64)>,
    /// When it began, should this be the first that the row counts.
    pub since: Option<i64>,
}

/// What is to be added to one row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Row {
    numbers: BTreeMap<&'static str, u64>,
    expires_at: Option<i64>,
    about: Option<(u64, u64)>,
    since: Option<i64>,
}

/// A row on its way: what it adds, and the number of its flush, do not change until it is certainly written.
#[derive(Clone, Debug)]
struct Flushed {
    key: RowKey,
    row: Row,
    flush: i64,
}

/// The numbers of this process that are not written yet.
#[derive(Debug, Default)]
pub struct Counts {
    waiting: Mutex<Waiting>,
    /// One flush at a time: two would write one row under one number.
    flushing: tokio::sync::Mutex<()>,
    due: Notify,
    dropped: AtomicU64,
    writer: OnceLock<&'static str>,
    /// Nothing is written before the writer has its number.
    waits_for_number: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    rows: HashMap<RowKey, Row>,
    flushed: VecDeque<Flushed>,
    counted: u64,
    last_flush: i64,
    written_at: Option<Timestamp>,
}

impl Counts {
    /// From now on everything waits until the writer has a number.
    pub fn wait_for_number(&self) {
        self.waits_for_number.store(true, Ordering::SeqCst);
    }

    /// Names the writer: a number that no other running process has. `false`: it has another one, which it
    /// cannot change, because what it wrote under that may have to be repeated.
    pub fn write_as(&self, slot: u32) -> bool {
        let column = self.writer.get_or_init(|| column_name(&slot.to_string()));
        *column == format!("k_{slot}")
    }

    /// Counts: adds to a row of a board, which is kept until `expires_at` at least.
    pub fn add(&self, board: String, slot: String, what: &'static str, n: u64, expires_at: Option<i64>) {
        self.count(Place { board, slot, expires_at, ..Place::default() }, &[(what, n)]);
    }

    /// Counts: adds several numbers to a row.
    pub fn count(&self, place: Place, numbers: &[(&'static str, u64)]) {
        let key = (place.board, place.slot);
        let mut waiting = self.waiting();
        if waiting.is_full() && !waiting.rows.contains_key(&key) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            if waiting.flushed.pop_front().is_none() {
                return;
            }
        }
        let row = waiting.rows.entry(key).or_default();
        for (what, n) in numbers {
            *row.numbers.entry(what).or_default() += n;
        }
        row.expires_at = row.expires_at.max(place.expires_at);
        row.about = row.about.or(place.about);
        row.since = row.since.or(place.since);
        waiting.counted += 1;
        if waiting.counted >= FLUSH_AT {
            self.due.notify_one();
        }
    }

    /// What was counted here in some slots of a board and may not be written yet. It is taken before rows of the
    /// board are read, and completes them.
    pub fn unwritten(&self, board: &str, within: impl Fn(&str) -> bool, now: Timestamp) -> Unwritten {
        let mut waiting = self.waiting();
        // Whatever waits now goes with a later flush than this.
        waiting.last_flush = waiting.last_flush.max(now.millis());
        let later = waiting.last_flush + 1;
        let flushed = waiting.flushed.iter().map(|flushed| (flushed.flush, &flushed.key, &flushed.row));
        let rows = flushed.chain(waiting.rows.iter().map(|(key, row)| (later, key, row)));
        let rows = rows.filter(|(_, (name, slot), _)| name == board && within(slot));
        let rows = rows.map(|(flush, key, row)| (flush, row.alone(key))).collect();
        Unwritten { column: self.column(), rows }
    }

    /// A row with what this process has not written of it yet.
    pub async fn row(&self, dynamo: &Dynamo, place: (String, String)) -> Result<Option<Tally>, Error> {
        let unwritten = self.unwritten(&place.0, |slot| slot == place.1, dynamo.now());
        let mut rows = dynamo.get_eventually(place).await?.into_iter().collect();
        unwritten.complete(&mut rows);
        Ok(rows.pop())
    }

    /// When everything that was counted before was written.
    pub fn written_at(&self) -> Option<Timestamp> {
        self.waiting().written_at
    }

    /// How many rows wait to be written, and how many were dropped since the start.
    pub fn backlog(&self) -> (usize, u64) {
        (self.waiting().len(), self.dropped.load(Ordering::Relaxed))
    }

    /// Writes what was counted until now. What could not be written waits for the next flush.
    pub async fn flush(&self, dynamo: &Dynamo, noted: &Noted) -> Result<(), Error> {
        if self.waits_for_number.load(Ordering::SeqCst) && self.writer.get().is_none() {
            return Ok(());
        }
        let _turn = self.flushing.lock().await;
        let now = dynamo.now();
        let batch = self.waiting().take_off(now);
        let write = async |flushed: &Flushed| {
            if let Some((person, server_id)) = flushed.row.about {
                noted.note(dynamo, person, server_id).await?;
            }
            self.write(dynamo, flushed).await
        };
        let writes = batch.into_iter().map(|flushed| async { (write(&flushed).await, flushed) });
        let mut writes = stream::iter(writes).buffer_unordered(WRITES_AT_ONCE);
        let mut outcome = Ok(());
        while let Some((written, flushed)) = writes.next().await {
            match written {
                Ok(()) => self.waiting().flushed.retain(|other| other.key != flushed.key),
                Err(error) => outcome = Err(error),
            }
        }
        if outcome.is_ok() {
            self.waiting().written_at = Some(now);
        }
        outcome
    }

    async fn write(&self, dynamo: &Dynamo, flushed: &Flushed) -> Result<(), Error> {
        let mut flush = flushed.flush;
        for _ in 0..RENUMBERINGS_MAX {
            let update = flushed.row.update(self.column(), flush);
            let found = match dynamo.upsert(flushed.key.clone(), update).await? {
                Updated::Applied(_) => return Ok(()),
                Updated::Blocked(found) => found,
            };
            // As late as this flush: it is this flush. Later: the clock was set back since.
            match found.and_then(|found| found.numbers.get(self.column()).copied()) {
                Some(noted) if noted > flush => flush = noted + 1,
                _ => return Ok(()),
            }
        }
        warn!(board = flushed.key.0, "another process counts under the same name");
        Ok(())
    }

    fn column(&self) -> &'static str {
        self.writer.get_or_init(|| column_name("0"))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Flushes every few seconds until shutdown, and then what is left.
    pub async fn run(&self, dynamo: &Dynamo, noted: &Noted, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            tokio::select! {
                () = tokio::time::sleep(FLUSH_EVERY) => {}
                () = self.due.notified() => {}
                () = shutdown.cancelled() => break,
            }
            if let Err(error) = self.flush(dynamo, noted).await {
                warn!(error = &error as &dyn std::error::Error, "counts could not be written and wait");
            }
        }
        for _ in 0..LAST_TRIES {
            if self.flush(dynamo, noted).await.is_ok() && self.backlog().0 == 0 {
                return;
            }
        }
        warn!(rows = self.backlog().0, "stopping with counts that could not be written");
    }
}

/// All rows of a board.
pub async fn board(dynamo: &Dynamo, board: &str) -> Result<Vec<Tally>, Error> {
    dynamo.query_all(Query::<Tally>::of(board.to_owned()).eventually()).await
}

/// What one process had counted on a board at a time, row by row and with the number of its flush, or the least that
/// it can get.
#[derive(Debug)]
pub struct Unwritten {
    column: &'static str,
    rows: Vec<(i64, Tally)>,
}

impl Unwritten {
    /// Adds what rows that were read since do not hold. A flush may have been written in between: the rows tell.
    pub fn complete(self, rows: &mut Vec<Tally>) {
        for (flush, more) in self.rows {
            match rows.iter_mut().find(|row| row.slot == more.slot) {
                Some(row) if row.numbers.get(self.column).is_some_and(|noted| *noted >= flush) => {}
                Some(row) => {
                    row.expires_at = row.expires_at.max(more.expires_at);
                    for (name, n) in more.numbers {
                        *row.numbers.entry(name).or_default() += n;
                    }
                }
                None => rows.push(more),
            }
        }
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.rows.len() + self.flushed.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= ROWS_MAX
    }

    /// What to write now. A row that is still on its way from an earlier flush goes alone: only when it is
    /// certain what became of that, its next numbers can follow.
    fn take_off(&mut self, now: Timestamp) -> Vec<Flushed> {
        self.last_flush = now.millis().max(self.last_flush + 1);
        self.counted = 0;
        let flush = self.last_flush;
        let on_the_way: Vec<RowKey> = self.flushed.iter().map(|flushed| flushed.key.clone()).collect();
        let mut held_back: HashMap<RowKey, Row> =
            on_the_way.into_iter().filter_map(|key| self.rows.remove_entry(&key)).collect();
        std::mem::swap(&mut self.rows, &mut held_back);
        self.flushed.extend(held_back.into_iter().map(|(key, row)| Flushed { key, row, flush }));
        self.flushed.iter().cloned().collect()
    }
}

impl Row {
    /// As it would look if nothing else were in it.
    fn alone(&self, (board, slot): &RowKey) -> Tally {
        Tally {
            board: board.clone(),
            slot: slot.clone(),
            expires_at: self.expires_at,
            numbers: self.numbers.iter().map(|(name, n)| ((*name).to_owned(), *n as i64)).collect(),
        }
    }

    fn update(&self, column: &'static str, flush: i64) -> Update<Tally> {
        let mut update = Update::new();
        for (name, n) in &self.numbers {
            update = update.add(Column::new(name), *n);
        }
        if let Some(expires_at) = self.expires_at {
            update = update.set(EXPIRES_AT, expires_at);
        }
        if let Some(since) = self.since {
            update = update.set_if_absent(SINCE_COLUMN, since);
        }
        let noted = || Column::<Tally, i64>::new(column);
        update.signed(noted(), flush).when(Condition::has(noted()).not().or(Condition::less(noted(), flush)))
    }
}

/// Attributes have static names; this one is made once in a process.
fn column_name(writer: &str) -> &'static str {
    Box::leak(format!("k_{writer}").into_boxed_str())
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::clock::Clock;
    use crate::dynamo::TableSpec;
    use crate::dynamo::faults::{Fault, Faults, Rates};
    use crate::dynamo::testing::{engine, over};
    use crate::people::Person;

    const TABLES: &[TableSpec] = &[TableSpec::of::<Tally>()];

    async fn store() -> (Dynamo, Faults, Clock) {
        let (clock, faults) = (Clock::manual(Timestamp::from_seconds(1_000)), Faults::new());
        (over(&engine(TABLES).await, clock.clone(), &faults), faults, clock)
    }

    fn count(counts: &Counts, slot: &str) {
        counts.add("board".to_owned(), slot.to_owned(), "n", 1, Some(9_000));
    }

    async fn written(dynamo: &Dynamo, slot: &str) -> u64 {
        let row: Option<Tally> = dynamo.get(("board".to_owned(), slot.to_owned())).await.unwrap();
        row.map_or(0, |row| row.number("n"))
    }

    fn completed(unwritten: Unwritten, read: Option<Tally>) -> Option<Tally> {
        let mut rows = read.into_iter().collect();
        unwritten.complete(&mut rows);
        rows.pop()
    }

    fn unwritten(counts: &Counts, slot: &str) -> (u64, Option<i64>) {
        let row =
            completed(counts.unwritten("board", |other| other == slot, Timestamp::from_seconds(1_000)), None);
        row.map_or((0, None), |row| (row.number("n"), row.expires_at))
    }

    #[tokio::test]
    async fn what_is_written_while_it_is_read_counts_once() {
        for flushed_at in 0..4 {
            let ((dynamo, faults, _), counts, noted) = (store().await, Counts::default(), Noted::default());
            let flush = async |at| {
                if at == flushed_at {
                    counts.flush(&dynamo, &noted).await.unwrap();
                }
            };
            count(&counts, "a");
            counts.flush(&dynamo, &noted).await.unwrap();
            count(&counts, "a");
            flush(0).await;
            if flushed_at == 3 {
                // More than the SDK tries by itself: it is written, and nobody knows.
                faults.script([Fault::LoseReply; 8]);
                assert!(counts.flush(&dynamo, &noted).await.is_err());
                faults.calm();
            }
            let unwritten = counts.unwritten("board", |slot| slot == "a", dynamo.now());
            flush(1).await;
            let read = dynamo.get(("board".to_owned(), "a".to_owned())).await.unwrap();
            flush(2).await;
            let row = completed(unwritten, read).unwrap();
            assert_eq!(row.number("n"), 2, "flushed at {flushed_at}");
            assert_eq!(
                counts.row(&dynamo, ("board".to_owned(), "a".to_owned())).await.unwrap().unwrap().number("n"),
                2
            );
        }
    }

    #[tokio::test]
    async fn counts_are_added_up_and_written_once() {
        let (dynamo, _, _) = store().await;
        let counts = Counts::default();
        for slot in ["a", "a", "b"] {
            count(&counts, slot);
        }
        assert_eq!(unwritten(&counts, "a"), (2, Some(9_000)));
        counts.flush(&dynamo, &Noted::default()).await.unwrap();
        counts.flush(&dynamo, &Noted::default()).await.unwrap();
        assert_eq!((written(&dynamo, "a").await, written(&dynamo, "b").await), (2, 1));
        assert_eq!(unwritten(&counts, "a"), (0, None));
        count(&counts, "a");
        counts.flush(&dynamo, &Noted::default()).await.unwrap();
        assert_eq!(written(&dynamo, "a").await, 3);
        assert_eq!(board(&dynamo, "board").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_flush_without_an_answer_is_repeated_and_counts_once() {
        let (dynamo, faults, clock) = store().await;
        let counts = Counts::default();
        count(&counts, "a");
        // More than the SDK tries by itself.
        faults.script([Fault::LoseReply; 8]);
        assert!(counts.flush(&dynamo, &Noted::default()).await.is_err());
        assert_eq!(written_calmly(&dynamo, &faults, "a").await, 1, "it had arrived");
        count(&counts, "a");
        clock.advance(Duration::from_secs(10));
        counts.flush(&dynamo, &Noted::default()).await.unwrap();
        counts.flush(&dynamo, &Noted::default()).await.unwrap();
        assert_eq!(written(&dynamo, "a").await, 2);
    }

    async fn written_calmly(dynamo: &Dynamo, faults: &Faults, slot: &str) -> u64 {
        faults.calm();
        written(dynamo, slot).await
    }

    #[tokio::test]
    async fn nothing_is_lost_or_doubled_in_a_storm() {
        let seed = rand::rng().random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let engine = engine(TABLES).await;
        let clock = Clock::manual(Timestamp::from_seconds(1_000));
        let mut expected = 0;
        for (slot, plan) in [(0, random.random()), (1, random.random())] {
            let (faults, counts) = (Faults::new(), Counts::default());
            counts.write_as(slot);
            let dynamo = over(&engine, clock.clone(), &faults);
            faults.plan(plan, Rates { delay: 0, arrive_late: 0, ..Rates::STORMY.times(2) });
            for _ in 0..30 {
                for _ in 0..random.random_range(0..5) {
                    count(&counts, "a");
                    expected += 1;
                }
                clock.advance(Duration::from_millis(random.random_range(0..3)));
                // Failed or not: what is not certain is sent again.
                let _ = counts.flush(&dynamo, &Noted::default()).await;
            }
            faults.calm();
            while counts.backlog().0 > 0 {
                counts.flush(&dynamo, &Noted::default()).await.unwrap();
            }
            assert_eq!(written(&dynamo, "a").await, expected);
        }
    }

    #[tokio::test]
    async fn nothing_is_written_before_the_writer_has_its_number() {
        let (dynamo, _, _) = store().await;
        let (counts, noted) = (Counts::default(), Noted::default());
        counts.wait_for_number();
        count(&counts, "a");
        counts.flush(&dynamo, &noted).await.unwrap();
        assert_eq!((written(&dynamo, "a").await, counts.backlog().0), (0, 1));
        assert!(counts.write_as(7) && counts.write_as(7) && !counts.write_as(8));
        counts.flush(&dynamo, &noted).await.unwrap();
        let row: Tally = dynamo.get(("board".to_owned(), "a".to_owned())).await.unwrap().unwrap();
        assert!(row.number("n") == 1 && row.number("k_7") > 0);
    }

    #[tokio::test]
    async fn a_person_is_noted_before_a_row_names_them() {
        let (clock, faults) = (Clock::manual(Timestamp::from_seconds(1_000)), Faults::new());
        let tables = &[TableSpec::of::<Tally>(), TableSpec::of::<Person>()];
        let dynamo = over(&engine(tables).await, clock, &faults);
        let (counts, noted) = (Counts::default(), Noted::default());
        let place = |slot: &str| Place {
            board: "board".to_owned(),
            slot: slot.to_owned(),
            about: Some((7, 1)),
            since: Some(500),
            ..Place::default()
        };
        counts.count(place("01#7"), &[("n", 1), ("c_ping", 1)]);
        // More than the SDK tries by itself.
        faults.script([Fault::Cut; 8]);
        assert!(counts.flush(&dynamo, &noted).await.is_err());
        assert_eq!(written_calmly(&dynamo, &faults, "01#7").await, 0, "nobody is named who is not noted");
        assert_eq!(counts.written_at(), None);
        let row = completed(counts.unwritten("board", |slot| slot == "01#7", dynamo.now()), None).unwrap();
        assert_eq!((row.number("n"), row.number("c_ping")), (1, 1));
        counts.flush(&dynamo, &noted).await.unwrap();
        assert_eq!(dynamo.get::<Person>(7).await.unwrap().unwrap().guilds, [1].into());
        assert_eq!((unwritten(&counts, "01#7"), counts.written_at().is_some()), ((0, None), true));
        counts.count(Place { since: Some(900), ..place("01#7") }, &[("n", 1)]);
        counts.flush(&dynamo, &noted).await.unwrap();
        let row: Tally = dynamo.get(("board".to_owned(), "01#7".to_owned())).await.unwrap().unwrap();
        assert_eq!((row.number("n"), row.number(SINCE)), (2, 500));
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_loses_nothing() {
        let (dynamo, _, _) = store().await;
        let before = Counts::default();
        count(&before, "a");
        before.flush(&dynamo, &Noted::default()).await.unwrap();
        // The process starts again under the same name, a second earlier.
        let after = Counts::default();
        after.waiting().last_flush = -1_000;
        let mut batch = {
            count(&after, "a");
            after.waiting().take_off(Timestamp::from_seconds(999))
        };
        let flushed = batch.pop().unwrap();
        after.write(&dynamo, &flushed).await.unwrap();
        assert_eq!(written(&dynamo, "a").await, 2);
    }

    #[tokio::test]
    async fn a_stop_writes_what_is_left() {
        let (dynamo, _, _) = store().await;
        let (counts, noted) = (Counts::default(), Noted::default());
        let shutdown = CancellationToken::new();
        count(&counts, "a");
        shutdown.cancel();
        counts.run(&dynamo, &noted, shutdown).await;
        assert_eq!(written(&dynamo, "a").await, 1);
    }

    #[tokio::test]
    async fn many_counts_do_not_wait_for_the_time() {
        let (dynamo, _, _) = store().await;
        let (counts, noted) = (Counts::default(), Noted::default());
        let shutdown = CancellationToken::new();
        let counting = async {
            (0..FLUSH_AT).for_each(|_| count(&counts, "a"));
            while written(&dynamo, "a").await == 0 {
                tokio::task::yield_now().await;
            }
            shutdown.cancel();
        };
        // A whole flush period is not over by then.
        let both = async { tokio::join!(counts.run(&dynamo, &noted, shutdown.clone()), counting) };
        tokio::time::timeout(FLUSH_EVERY / 2, both).await.expect("it is written at once");
        assert_eq!(written(&dynamo, "a").await, FLUSH_AT);
    }

    #[test]
    fn a_backlog_is_bounded_and_drops_the_oldest() {
        let counts = Counts::default();
        count(&counts, "first");
        counts.waiting().take_off(Timestamp::from_seconds(1));
        for n in 0..ROWS_MAX {
            count(&counts, &n.to_string());
        }
        assert_eq!(counts.backlog(), (ROWS_MAX, 1));
        assert_eq!(unwritten(&counts, "first").0, 0);
        count(&counts, "0");
        assert_eq!(unwritten(&counts, "0").0, 2, "a row that waits can still grow");
        count(&counts, "one more");
        assert_eq!(counts.backlog(), (ROWS_MAX, 2));
    }
}
