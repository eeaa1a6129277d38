//! `.history`: the caller's last commands, and `..` that repeats one. Kept in memory only.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::context::{Answer, Args, Command, Context, Feature, Result};
use crate::markdown::{code, cut};

pub const FEATURE: Feature = Feature {
    name: "history",
    commands: &[Command {
        prefix: &["history"],
        slash: &["history"],
        summary: "Show your last commands",
        private: true,
        run: |ctx, args| Box::pin(history(ctx, args)),
        ..Command::DEFAULT
    }],
    ..Feature::EMPTY
};

/// Commands remembered for each person, and for how long.
const KEPT: usize = 10;
const KEPT_FOR: Duration = Duration::from_secs(3_600);
/// People remembered; beyond it those whose hour is over go, and then all.
const PEOPLE_MAX: usize = 10_000;
/// Room for ten lines in one message.
const LINE_MAX: usize = 180;

/// What each person typed last: the text behind the prefix, newest first.
#[derive(Default)]
pub struct Recent(Mutex<HashMap<(u64, u64), Lines>>);

/// When, and what.
type Lines = VecDeque<(Timestamp, String)>;

impl Recent {
    pub fn push(&self, server_id: u64, person: u64, now: Timestamp, text: &str) {
        let mut people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if people.len() >= PEOPLE_MAX {
            people.retain(|_, lines| lines.front().is_some_and(|(at, _)| now.since(*at) < KEPT_FOR));
            if people.len() >= PEOPLE_MAX {
                people.clear();
            }
        }
        let lines = people.entry((server_id, person)).or_default();
        lines.push_front((now, text.to_owned()));
        lines.truncate(KEPT);
    }

    /// The `n`th last command, counted from 1.
    pub fn nth_last(&self, server_id: u64, person: u64, now: Timestamp, n: usize) -> Option<String> {
        self.all(server_id, person, now).into_iter().nth(n.checked_sub(1)?)
    }

    fn all(&self, server_id: u64, person: u64, now: Timestamp) -> Vec<String> {
        let people = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = people.get(&(server_id, person)).into_iter().flatten();
        lines.filter(|(at, _)| now.since(*at) < KEPT_FOR).map(|(_, text)| text.clone()).collect()
    }
}

async fn history(ctx: Context, _: Args) -> Result<Answer> {
    let recent = ctx.services.state::<Recent>();
    let lines = recent.all(ctx.cause.server_id, ctx.caller.id, ctx.cause.at);
    Ok(list(&ctx.prefix, &lines).into())
}

fn list(prefix: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return "No commands yet".to_owned();
    }
    let mut text = String::new();
    for (place, line) in lines.iter().enumerate() {
        let one_line = line.replace('\n', " ");
        writeln!(text, "{}: {}", place + 1, code(&cut(&format!("{prefix}{one_line}"), LINE_MAX)))
            .expect("writing to a String does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_commands_are_kept_for_an_hour() {
        let recent = Recent::default();
        let start = Timestamp::from_seconds(1_000_000);
        for n in 0..12 {
            recent.push(1, 2, start, &format!("rem {n}"));
        }
        assert_eq!(recent.nth_last(1, 2, start, 1).as_deref(), Some("rem 11"));
        assert_eq!(recent.nth_last(1, 2, start, 10).as_deref(), Some("rem 2"));
        assert_eq!(recent.nth_last(1, 2, start, 11), None);
        assert_eq!(recent.nth_last(1, 2, start, 0), None);
        assert_eq!(recent.nth_last(9, 2, start, 1), None);
        assert_eq!(recent.nth_last(1, 2, start.plus(KEPT_FOR), 1), None);
    }

    #[test]
    fn the_list_has_a_line_for_each() {
        assert_eq!(list(".", &[]), "No commands yet");
        assert_eq!(list(".", &["ping".into(), "rem\nwifi".into()]), "1: `.ping`\n2: `.rem wifi`\n");
    }
}
