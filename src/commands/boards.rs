//! Boards as they were read a moment ago: reading one again and again costs no more than a unit a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::commands::days::{Day, KEPT_DAYS, Window};
use crate::context::{Result, Services};
use crate::counts::{Counts, Tally};
use crate::dynamo::{Error, Query, measured};

/// A board is read again after this, or later if it was expensive to read.
const FRESH_FOR: Duration = Duration::from_secs(60);
const FRESH_FOR_MAX: Duration = Duration::from_secs(600);

/// Boards kept in memory; one of an active server has some 100 KB.
const BOARDS_MAX: usize = 300;

/// A part of a board: its name, the first slot and what is behind the last.
pub type Part = (String, String, String);

/// What boards said, by their part.
#[derive(Default)]
pub struct Boards(Mutex<HashMap<Part, Board>>);

/// Rows as they were at a time.
#[derive(Clone, Debug)]
pub struct Board {
    pub rows: Arc<Vec<Tally>>,
    pub read_at: Timestamp,
    fresh_for: Duration,
}

impl Boards {
    fn kept(&self) -> MutexGuard<'_, HashMap<Part, Board>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fresh(&self, part: &Part, now: Timestamp) -> Option<Board> {
        self.kept().get(part).filter(|board| now.since(board.read_at) < board.fresh_for).cloned()
    }

    fn keep(&self, part: Part, board: &Board) {
        let mut kept = self.kept();
        if kept.len() >= BOARDS_MAX {
            kept.retain(|_, other| board.read_at.since(other.read_at) < other.fresh_for);
        }
        if kept.len() < BOARDS_MAX {
            kept.insert(part, board.clone());
        }
    }

    /// Takes an own change into what was read before it: whoever changed a number sees it.
    pub fn changed(&self, board: &str, slot: &str, what: &str, n: i64) {
        let mut kept = self.kept();
        let covers =
            |(name, first, end): &Part| name == board && first.as_str() <= slot && slot < end.as_str();
        for (_, known) in kept.iter_mut().filter(|(part, _)| covers(part)) {
            let rows = Arc::make_mut(&mut known.rows);
            match rows.iter_mut().find(|row| row.slot == slot) {
                Some(row) => *row.numbers.entry(what.to_owned()).or_default() += n,
                None => rows.push(Tally {
                    board: board.to_owned(),
                    slot: slot.to_owned(),
                    expires_at: None,
                    numbers: [(what.to_owned(), n)].into(),
                }),
            }
        }
    }
}

/// A part of a board, as it was a while ago at most, with what this process has not written yet. `read` reads
/// it from the store.
pub async fn through_cache(
    services: &Services,
    part: Part,
    read: impl Future<Output = Result<Vec<Tally>, Error>>,
) -> Result<Board> {
    let (boards, now) = (services.state::<Boards>(), services.dynamo.now());
    if let Some(board) = boards.fresh(&part, now) {
        return Ok(board);
    }
    let within = |slot: &str| part.1.as_str() <= slot && slot < part.2.as_str();
    let unwritten = services.state::<Counts>().unwritten(&part.0, within, now);
    let (rows, units) = measured(read).await;
    let mut rows = rows?;
    unwritten.complete(&mut rows);
    // A second for each unit, so that reading boards never costs more than one unit a second.
    let fresh_for = Duration::from_secs_f64(units.read).clamp(FRESH_FOR, FRESH_FOR_MAX);
    let board = Board { rows: Arc::new(rows), read_at: now, fresh_for };
    boards.keep(part, &board);
    Ok(board)
}

/// Slots of a board from one to before another.
pub async fn read(services: &Services, board: &str, first: &str, end: &str) -> Result<Board> {
    let query = Query::<Tally>::of(board.to_owned()).between(first.to_owned(), end.to_owned());
    let read = services.dynamo.query_all(query.eventually());
    through_cache(services, (board.to_owned(), first.to_owned(), end.to_owned()), read).await
}

/// The days of a window on the boards of their months, `<board>/<month>`; and how old the oldest part is. All
/// time goes back as far as days are kept.
pub async fn days(
    services: &Services,
    board: &str,
    window: Window,
    today: Day,
) -> Result<(Vec<Tally>, Timestamp)> {
    let first = window.first(today).unwrap_or_else(|| today.days_before(KEPT_DAYS));
    let (mut rows, mut read_at) = (Vec::new(), services.dynamo.now());
    for month in today.months_since(first) {
        let start = if month.is_same_month(first) { first } else { month };
        let board = format!("{board}/{}", month.month());
        // Behind all days and their people: `:` follows the digits, and a month has no day 9x.
        let part = read(services, &board, &start.slot(""), "9").await?;
        rows.extend(part.rows.iter().cloned());
        read_at = read_at.min(part.read_at);
    }
    Ok((rows, read_at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(slot: &str, n: i64) -> Tally {
        Tally { slot: slot.to_owned(), numbers: [("n".to_owned(), n)].into(), ..Tally::default() }
    }

    #[test]
    fn own_changes_enter_what_was_read_before() {
        let boards = Boards::default();
        let board = Board {
            rows: Arc::new(vec![row("04#1", 2)]),
            read_at: Timestamp::from_seconds(0),
            fresh_for: FRESH_FOR,
        };
        let part: Part = ("b".to_owned(), "03#".to_owned(), "9".to_owned());
        boards.keep(part.clone(), &board);
        boards.changed("b", "04#1", "n", 1);
        boards.changed("b", "05#2", "n", 1);
        boards.changed("b", "02#2", "n", 1);
        boards.changed("other", "05#2", "n", 1);
        let known = boards.fresh(&part, Timestamp::from_seconds(59)).unwrap();
        let numbers: Vec<_> = known.rows.iter().map(|row| (row.slot.as_str(), row.number("n"))).collect();
        assert_eq!(numbers, [("04#1", 3), ("05#2", 1)]);
        assert!(boards.fresh(&part, Timestamp::from_seconds(60)).is_none());
    }
}
