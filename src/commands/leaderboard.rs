//! `.leaderboard`: who is ahead, in what, and where oneself is.
//!
//! Days are rows of a board, so a window is a range of them; for all time there are totals. Nothing is ever
//! sorted in the store, and no number is set back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::commands::boards::{self, Boards};
use crate::commands::days::{self, Day, Window};
use crate::commands::{remember, sparkle};
use crate::context::{
    Answer, Args, Card, Command, Context, Error, Feature, Kind, Param, Place, Reply, Result, refuse,
};
use crate::markdown::person;
use crate::people::Person;

pub const FEATURE: Feature = Feature {
    name: "leaderboard",
    commands: &[
        Command {
            prefix: &["leaderboard"],
            slash: &["leaderboard"],
            summary: "Show who is ahead: in sparkles, memories, commands or songs",
            usage: "<sparkles|memories|commands|djs> [day|week|month|all]",
            options: &[
                Param::required("board", "sparkles, memories, commands or djs", Kind::Text)
                    .suggesting(|_, typing| days::suggest(&BOARDS.map(|(name, _)| name), typing.text)),
                WINDOW,
            ],
            run: |ctx, args| {
                Box::pin(async move {
                    let board = which(args.text("board")?)?;
                    reading(show(&ctx, board, window(&args, Window::All)?).await)
                })
            },
            ..IN_SERVER
        },
        Command {
            prefix: &["sparkles top"],
            slash: &["sparkles top"],
            summary: "Show who has most sparkles",
            usage: "[day|week|month|all]",
            options: &[WINDOW],
            run: |ctx, args| {
                Box::pin(
                    async move { reading(show(&ctx, Board::Sparkles, window(&args, Window::All)?).await) },
                )
            },
            ..IN_SERVER
        },
    ],
    ..Feature::EMPTY
};

const IN_SERVER: Command = Command { place: Place::Server, ..Command::DEFAULT };

/// An option that takes a window.
pub const WINDOW: Param = Param::optional("window", "day, week, month or all", Kind::Text)
    .suggesting(|_, typing| days::suggest_windows(typing.text));

/// How many are shown.
const TOP: usize = 10;

/// A board younger than this is simply current.
const WORTH_TELLING: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Board {
    Sparkles,
    Memories,
    Commands,
    Djs,
}

const BOARDS: [(&str, Board); 4] = [
    ("sparkles", Board::Sparkles),
    ("memories", Board::Memories),
    ("commands", Board::Commands),
    ("djs", Board::Djs),
];

impl Board {
    fn title(self) -> &'static str {
        match self {
            Self::Sparkles => "Sparkles",
            Self::Memories => "Memories",
            Self::Commands => "Commands",
            Self::Djs => "DJs",
        }
    }
}

fn which(word: &str) -> Result<Board> {
    let word = word.trim().to_ascii_lowercase();
    let known = BOARDS.iter().find(|(name, _)| *name == word).map(|(_, board)| *board);
    known.ok_or_else(|| Error::Usage("The boards are sparkles, memories, commands and djs".to_owned()))
}

/// The window that was asked for.
pub fn window(args: &Args, usual: Window) -> Result<Window> {
    args.maybe_text("window").map_or(Ok(usual), Window::read)
}

/// The answer of a command that changes nothing: if the store is silent, trying again is harmless.
fn reading(reply: Result<Reply>) -> Result<Answer> {
    match reply {
        Err(Error::Store(error)) => Err(Error::Read(error)),
        other => other.map(Answer::Reply),
    }
}

/// Everybody's number, and how old it is.
struct Counted {
    people: HashMap<u64, u64>,
    read_at: Timestamp,
}

async fn show(ctx: &Context, board: Board, window: Window) -> Result<Reply> {
    let counted = counted(ctx, board, window).await?;
    let ranking = ranking(counted.people);
    if ranking.is_empty() {
        return refuse("🏆 Nobody is on this board yet");
    }
    let mut lines = Vec::new();
    for (rank, id, n) in ranking.iter().take(TOP) {
        let hidden = *id == 0 || board == Board::Commands && is_hidden(ctx, *id).await?;
        let name = if hidden { "someone".to_owned() } else { person(*id) };
        lines.push(format!("{} {name} - **{n}**", medal(*rank)));
    }
    if let Some((rank, _, n)) = ranking.iter().find(|(_, id, _)| *id == ctx.caller.id) {
        lines.push(format!("You: {} with {n}", ordinal(*rank)));
    }
    let age = ctx.dynamo().now().since(counted.read_at);
    if age >= WORTH_TELLING {
        lines.push(format!("-# {} seconds old", age.as_secs()));
    }
    let title = format!("🏆 {} - {}", board.title(), window.title());
    Ok(Card { title, text: lines.join("\n"), ..Card::default() }.into())
}

async fn counted(ctx: &Context, board: Board, window: Window) -> Result<Counted> {
    let (server_id, zone) = (ctx.cause.server_id, days::zone(&ctx.settings));
    let today = Day::of(ctx.cause.at, &zone);
    match (board, window) {
        (Board::Memories, _) => {
            let since = window.first(today).map(|day| day.start(&zone));
            let people = remember::taught(ctx, since).await?;
            Ok(Counted { people, read_at: ctx.dynamo().now() })
        }
        (Board::Sparkles, Window::All) => {
            let totals = sparkle::totals(ctx).await?;
            Ok(Counted { people: summed(&totals.rows, "n"), read_at: totals.read_at })
        }
        (Board::Sparkles, _) => of_days(ctx, "sparkles", "n", window, today).await,
        (Board::Commands, _) => of_rows(ctx, server_id, "commands", "n", window, today).await,
        (Board::Djs, _) => of_rows(ctx, server_id, "djs", "songs", window, today).await,
    }
}

/// A window of days, or the rows that count for all time.
async fn of_rows(
    ctx: &Context,
    server_id: u64,
    name: &str,
    what: &str,
    window: Window,
    today: Day,
) -> Result<Counted> {
    if window != Window::All {
        return of_days(ctx, name, what, window, today).await;
    }
    let board = boards::read(&ctx.services, &format!("{server_id}/{name}/all"), "00#", "01").await?;
    Ok(Counted { people: summed(&board.rows, what), read_at: board.read_at })
}

async fn of_days(ctx: &Context, name: &str, what: &str, window: Window, today: Day) -> Result<Counted> {
    let board = format!("{}/{name}", ctx.cause.server_id);
    let (rows, read_at) = boards::days(&ctx.services, &board, window, today).await?;
    Ok(Counted { people: summed(&rows, what), read_at })
}

/// The numbers of each person, whatever the days of their rows.
fn summed(rows: &[crate::counts::Tally], what: &str) -> HashMap<u64, u64> {
    let mut sums: HashMap<u64, i64> = HashMap::new();
    for row in rows {
        let person = row.slot.split_once('#').and_then(|(_, id)| id.parse().ok());
        if let (Some(person), Some(n)) = (person, row.numbers.get(what)) {
            *sums.entry(person).or_default() += n;
        }
    }
    let positive = sums.into_iter().filter_map(|(id, n)| Some((id, u64::try_from(n).ok()?)));
    positive.filter(|(_, n)| *n > 0).collect()
}

/// Rank (counted from 0), person and number; equal numbers share a rank.
fn ranking(people: HashMap<u64, u64>) -> Vec<(usize, u64, u64)> {
    let mut sorted: Vec<(u64, u64)> = people.into_iter().collect();
    sorted.sort_unstable_by_key(|(id, n)| (std::cmp::Reverse(*n), *id));
    let mut ranks: BTreeMap<u64, usize> = BTreeMap::new();
    for (place, (_, n)) in sorted.iter().enumerate() {
        ranks.entry(*n).or_insert(place);
    }
    sorted.into_iter().map(|(id, n)| (ranks[&n], id, n)).collect()
}

pub fn medal(rank: usize) -> String {
    match rank {
        0 => "🥇".to_owned(),
        1 => "🥈".to_owned(),
        2 => "🥉".to_owned(),
        other => format!("{}.", other + 1),
    }
}

/// `14th`, of a rank counted from 0.
fn ordinal(rank: usize) -> String {
    let n = rank + 1;
    let ending = match (n % 10, n % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{n}{ending}")
}

/// Whether somebody keeps their statistics to themselves.
pub async fn is_private(ctx: &Context, id: u64) -> Result<bool> {
    let found: Option<Person> = ctx.dynamo().get_eventually(id).await?;
    Ok(found.is_some_and(|person| person.stats_private == Some(true)))
}

/// The same for a board, which may be as late to know as it is old.
async fn is_hidden(ctx: &Context, id: u64) -> Result<bool> {
    let (known, now) = (ctx.services.state::<Hidden>(), ctx.dynamo().now());
    if let Some(hidden) = known.of(id, now) {
        return Ok(hidden);
    }
    let hidden = is_private(ctx, id).await?;
    known.note(id, hidden, now);
    Ok(hidden)
}

/// For this long it is not asked again who wants to be hidden.
const HIDDEN_FOR: Duration = Duration::from_secs(60);

/// People kept; beyond it all are asked for anew.
const HIDDEN_MAX: usize = 10_000;

/// Who was found to keep their statistics private, or not, and when.
#[derive(Default)]
struct Hidden(Mutex<HashMap<u64, (bool, Timestamp)>>);

impl Hidden {
    fn of(&self, id: u64, now: Timestamp) -> Option<bool> {
        let people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        people.get(&id).filter(|(_, at)| now.since(*at) < HIDDEN_FOR).map(|(hidden, _)| *hidden)
    }

    fn note(&self, id: u64, hidden: bool, now: Timestamp) {
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= HIDDEN_MAX {
            people.clear();
        }
        people.insert(id, (hidden, now));
    }
}

/// Takes an own sparkle, given or taken back, into the boards that were read before.
pub fn sparkled(ctx: &Context, to: u64, board: &str, slot: &str, n: i64) {
    let boards = ctx.services.state::<Boards>();
    boards.changed(board, slot, "n", n);
    boards.changed(&sparkle::totals_board(ctx.cause.server_id), &format!("00#{to}"), "n", n);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_share_a_rank() {
        let people = HashMap::from([(1, 5), (2, 9), (3, 5), (4, 1)]);
        assert_eq!(ranking(people), [(0, 2, 9), (1, 1, 5), (1, 3, 5), (3, 4, 1)]);
        let ordinals: Vec<String> = [0, 1, 2, 3, 10, 11, 12, 20, 21, 22, 110].map(ordinal).into();
        assert_eq!(
            ordinals,
            ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "111th"]
        );
    }

    #[test]
    fn what_was_taken_back_is_no_place() {
        let row = |slot: &str, n: i64| crate::counts::Tally {
            slot: slot.to_owned(),
            numbers: [("n".to_owned(), n)].into(),
            ..Default::default()
        };
        let rows = [row("03#1", 2), row("04#1", -1), row("04#2", 0), row("05#x", 7)];
        assert_eq!(summed(&rows, "n"), HashMap::from([(1, 1)]));
    }
}
