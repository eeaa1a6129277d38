//! What people read about sparkles.

use crate::clock::Timestamp;
use crate::commands::undo;
use crate::context::Reply;
use crate::history::Revision;
use crate::markdown::{person, plain, time};

use super::ledger;
use super::record::Entry;

pub const NO_REASONS: &str = "> *No sparkle reasons yet for this user*";

/// The answer to a sparkle, with its Undo button.
pub fn given(row: &Revision, from: u64, to: u64, event: u64) -> Reply {
    let total = row.total.unwrap_or_default();
    let text = match (total, &row.name) {
        (1, _) => format!("✨🌟✨ {} just got their first sparkle!! ✨🌟✨", person(to)),
        (_, Some(reason)) => {
            format!("{} sparkled {} for {reason} ✨✨**{total}**✨✨", person(from), person(to))
        }
        (_, None) => format!("{} sparkled {} ✨✨**{total}**✨✨", person(from), person(to)),
    };
    Reply::from(text).buttons(vec![undo::button(event)])
}

pub fn taken_back(row: &Revision, from: Option<u64>, to: u64) -> String {
    let total = row.total.unwrap_or_default();
    format!("↩️ Took back {}'s sparkle for {} ✨✨**{total}**✨✨", who(from), person(to))
}

pub fn contended(to: u64) -> String {
    format!(
        "⚠ The sparkles of {} are being changed by others right now; have a look and try again",
        person(to)
    )
}

pub fn total(total: i64) -> String {
    format!("✨✨✨ **Total Sparkles: {total}**✨✨✨")
}

pub fn reason(entry: &Entry) -> String {
    let from = match entry.by {
        None => String::new(),
        by => format!(" - {}", who(by)),
    };
    let at = entry.at.map_or_else(String::new, |at| format!(", {}", time(at)));
    format!("• {}{from}{at}", told(entry).unwrap_or_default())
}

/// A reason that the original bot kept without its giver.
pub fn old_reason(text: &str) -> String {
    format!("• {}", plain(&one_line(text)))
}

pub fn given_line(entry: &Entry) -> String {
    let reason = told(entry).map_or_else(String::new, |text| format!(" for {text}"));
    format!("• {}{reason}, {}", person(entry.to), when(entry.at))
}

pub fn log_line(entry: &Entry) -> String {
    let reason = told(entry).map_or_else(String::new, |text| format!(" · {text}"));
    let id = ledger::id(entry.sparkle);
    let (at, by, to) = (when(entry.at), who(entry.by), person(entry.to));
    if entry.taken_back {
        return format!("{at} · {by} took back from {to}{reason} · {id}");
    }
    format!("{at} · {by} → {to}{reason} · {id}")
}

fn told(entry: &Entry) -> Option<String> {
    entry.reason.as_deref().map(|text| plain(&one_line(text)))
}

pub fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn when(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "unknown".to_owned(), time)
}

/// How somebody is named who may be unknown, or wanted to be forgotten.
fn who(id: Option<u64>) -> String {
    match id {
        None => "unknown".to_owned(),
        Some(0) => "someone".to_owned(),
        Some(id) => person(id),
    }
}
