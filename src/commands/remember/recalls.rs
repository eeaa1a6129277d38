//! How often memories are asked for: counted with [`crate::counts`], shown in `.mem info` and `.mem top`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::commands::leaderboard::medal;
use crate::context::{Reply, Result};
use crate::counts::{self, Counts};
use crate::dynamo::measured;

use super::call::Call;
use super::view;

/// A memory that nobody asked for in this time is not on the board any more.
const KEPT_FOR: Duration = Duration::from_secs(400 * 86_400);

/// A board is read again after this, or later if it was expensive to read.
const FRESH_FOR: Duration = Duration::from_secs(60);
const FRESH_FOR_MAX: Duration = Duration::from_secs(600);

/// A board younger than this is simply current: what was recalled here since is in it.
const WORTH_TELLING: Duration = Duration::from_secs(10);

/// Boards kept in memory; one of an active server has some 100 KB.
const BOARDS_MAX: usize = 200;

/// How many are shown.
const TOP: usize = 10;

const COUNT: &str = "n";

/// The board of a server.
pub fn board(server_id: u64) -> String {
    format!("{server_id}/recalls/all")
}

fn slot(key: &str) -> String {
    format!("00#{key}")
}

/// The row of the board that counts a memory.
pub fn row_of(server_id: u64, key: &str) -> (String, String) {
    (board(server_id), slot(key))
}

/// The key that a row of the board is about.
pub fn key_in(slot: &str) -> &str {
    slot.split_once('#').map_or(slot, |(_, key)| key)
}

/// Counts one recall of a memory.
pub fn count(call: &Call, key: &str) {
    let expires_at = call.cause.at.plus(KEPT_FOR).seconds();
    let counts = call.services.state::<Counts>();
    counts.add(board(call.server()), slot(key), COUNT, 1, Some(expires_at));
    call.services.state::<Boards>().recalled(call.server(), key);
    call.lists().recalled(call.server(), key);
}

/// How often a memory was recalled, and when last.
pub async fn of(call: &Call, key: &str) -> Result<(u64, Option<Timestamp>)> {
    let counts = call.services.state::<Counts>();
    let row = counts.row(call.dynamo(), (board(call.server()), slot(key))).await?.unwrap_or_default();
    // A row expires a fixed time after its last recall, so that is when it was.
    let last = row.expires_at.map(|seconds| Timestamp::from_seconds(seconds).minus(KEPT_FOR));
    Ok((row.number(COUNT), last))
}

/// Boards as they were read a moment ago, and what was recalled here since.
#[derive(Default)]
struct Boards(Mutex<HashMap<u64, Board>>);

#[derive(Clone)]
struct Board {
    read_at: Timestamp,
    fresh_for: Duration,
    times: Arc<HashMap<String, u64>>,
}

impl Boards {
    fn kept(&self) -> MutexGuard<'_, HashMap<u64, Board>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recalled(&self, server_id: u64, key: &str) {
        if let Some(board) = self.kept().get_mut(&server_id) {
            *Arc::make_mut(&mut board.times).entry(key.to_owned()).or_default() += 1;
        }
    }

    fn fresh(&self, server_id: u64, now: Timestamp) -> Option<Board> {
        self.kept().get(&server_id).filter(|board| now.since(board.read_at) < board.fresh_for).cloned()
    }

    fn keep(&self, server_id: u64, board: &Board) {
        let mut kept = self.kept();
        if kept.len() >= BOARDS_MAX {
            kept.retain(|_, other| board.read_at.since(other.read_at) < other.fresh_for);
        }
        if kept.len() < BOARDS_MAX {
            kept.insert(server_id, board.clone());
        }
    }
}

/// `.mem top`
pub async fn top(call: &Call) -> Result<Reply> {
    let board = current(call).await?;
    let list = call.lists().current(call.dynamo(), call.server()).await?;
    let known = board.times.iter().filter_map(|(key, n)| Some((list.get(key)?, *n)));
    let mut best: Vec<_> = known.collect();
    best.sort_by(|(a, n), (b, m)| m.cmp(n).then(a.key.cmp(b.key)));
    if best.is_empty() {
        return Err(view::no("🏆 Nobody has asked me anything yet"));
    }
    let rank = |n: u64| best.iter().filter(|(_, more)| *more > n).count();
    let line = |(found, n): &(super::list::Found<'_>, u64)| {
        format!("{} {} - **{n}**", medal(rank(*n)), view::name(found.display(), view::NAME_MAX))
    };
    let lines: Vec<String> = best.iter().take(TOP).map(line).collect();
    let mut card = view::card("🏆 Most recalled".to_owned(), lines.join("\n"));
    let age = call.dynamo().now().since(board.read_at);
    card.footer = (age >= WORTH_TELLING).then(|| format!("{} seconds old", age.as_secs()));
    Ok(card.into())
}

async fn current(call: &Call) -> Result<Board> {
    let (boards, now) = (call.services.state::<Boards>(), call.dynamo().now());
    if let Some(board) = boards.fresh(call.server(), now) {
        return Ok(board);
    }
    call.services.state::<Counts>().flush(call.dynamo(), &call.services.noted).await?;
    let (rows, units) = measured(counts::board(call.dynamo(), &board(call.server()))).await;
    let times = rows?.into_iter().map(|row| (key_in(&row.slot).to_owned(), row.number(COUNT)));
    // A second for each unit, so that reading boards never costs more than one unit a second.
    let fresh_for = Duration::from_secs_f64(units.read).clamp(FRESH_FOR, FRESH_FOR_MAX);
    let board = Board { read_at: now, fresh_for, times: Arc::new(times.collect()) };
    boards.keep(call.server(), &board);
    Ok(board)
}
