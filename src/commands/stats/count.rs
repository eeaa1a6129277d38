//! Counting commands when they end: by how, by server, by person and by day.
//!
//! These are only counts: they are added up in memory and flushed by [`Counts`]; a kill loses the last ten
//! seconds of them and nothing else.

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::cause::Cause;
use crate::commands::ALL;
use crate::commands::days::{self, Day};
use crate::context::Services;
use crate::counts::{Counts, Place};
use crate::dynamo::Units;

/// What is pressed, chosen and submitted, which is no command of its own.
pub const CONTROLS: &str = "buttons";

/// Units are counted in thousandths, because the cheapest read is half a unit.
pub const THOUSANDTHS: f64 = 1_000.0;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Error,
    Refused,
}

/// The attributes of one command in the rows of a board.
struct Names {
    runs: &'static str,
    errors: &'static str,
    refusals: &'static str,
    read: &'static str,
    write: &'static str,
}

/// The names of all commands, made once in a process: attributes have static names.
fn names(command: &str) -> Option<&'static Names> {
    static ALL_NAMES: OnceLock<HashMap<&'static str, Names>> = OnceLock::new();
    let all = ALL_NAMES.get_or_init(|| {
        let commands = ALL.iter().flat_map(|feature| feature.commands).map(|command| command.name());
        let name = |prefix: &str, command: &str| -> &'static str {
            Box::leak(format!("{prefix}{command}").into_boxed_str())
        };
        let names = |command: &'static str| Names {
            runs: name("c_", command),
            errors: name("e_", command),
            refusals: name("d_", command),
            read: name("r_", command),
            write: name("x_", command),
        };
        commands.chain([CONTROLS]).map(|command| (command, names(command))).collect()
    });
    all.get(command)
}

/// Notes that a command has ended, and what it cost.
pub fn ended(services: &Services, cause: &Cause, command: &str, outcome: Outcome, units: Units) {
    let Some(names) = names(command) else { return };
    let counts = services.state::<Counts>();
    let settings = services.settings.at_hand(cause.server_id, services.dynamo.now());
    let zone = settings.map_or(jiff::tz::TimeZone::UTC, |settings| days::zone(&settings));
    let (day, server, person) = (Day::of(cause.at, &zone), cause.server_id, cause.actor_id);

    let mut numbers = vec![(names.runs, 1)];
    match outcome {
        Outcome::Ok => {}
        Outcome::Error => numbers.push((names.errors, 1)),
        Outcome::Refused => numbers.push((names.refusals, 1)),
    }
    let own: Vec<(&str, u64)> = [("n", 1)].into_iter().chain(numbers.iter().copied()).collect();
    for (name, units) in [(names.read, units.read), (names.write, units.write)] {
        if units > 0.0 {
            numbers.push((name, (units * THOUSANDTHS).round() as u64));
        }
    }
    let since = Some(cause.at.seconds());
    let everywhere = Place { board: "bot/usage/all".into(), slot: "00#-".into(), since, ..Place::default() };
    counts.count(everywhere, &numbers);
    // Days of all servers together are days of UTC.
    let utc = Day::of(cause.at, &jiff::tz::TimeZone::UTC);
    counts.count(day_of("bot/usage", utc, "-", None), &numbers);
    if server == 0 {
        return;
    }
    counts.count(day_of(&format!("{server}/usage"), day, "-", None), &numbers);
    let (person, about) = (person.to_string(), Some((person, server)));
    let own_board = format!("{server}/commands");
    counts.count(day_of(&own_board, day, &person, about), &own);
    let slot = format!("00#{person}");
    counts.count(Place { board: format!("{own_board}/all"), slot, about, ..Place::default() }, &own);
}

fn day_of(board: &str, day: Day, who: &str, about: Option<(u64, u64)>) -> Place {
    Place {
        board: format!("{board}/{}", day.month()),
        slot: day.slot(who),
        expires_at: Some(day.expires_at()),
        about,
        since: None,
    }
}
