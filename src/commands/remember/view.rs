//! What people read: the words of every reply of the memories.

use similar::TextDiff;

use crate::clock::Timestamp;
use crate::commands::undo;
use crate::context::{Card, Colour, Error, Reply};
use crate::markdown::{self, code, number, person, plain, time};

use super::grammar;
use super::key::{Key, normalise};
use super::list::Found;
use super::record::Remembered;

/// Values up to this length are kept; a modal of Discord takes as many.
pub const VALUE_CHARS_MAX: usize = 4_000;

/// Beyond it a message is split, and a code block must not be.
const MESSAGE_CHARS_MAX: usize = 2_000;

/// More of a change than this is seen better in the memory itself.
const DIFF_LINES_MAX: usize = 15;

/// In lists: 20 lines fit a card even if every character needs a backslash and an owner follows.
pub const NAME_MAX: usize = 80;

/// So that a title of 256 characters has room for it.
const TITLE_TEXT_MAX: usize = 200;

pub const ONLY_TEXT: &str = "⚠ I can only remember text; links to attachments stop working after a day";
pub const NOTHING_HERE: &str = "🤔 This server hasn't taught me anything yet";
pub const NOTHING_CHANGED_BY_YOU: &str = "⚠ You haven't changed anything here in the last 10 minutes";

/// A refusal, to be returned as an error.
pub fn no(text: impl Into<String>) -> Error {
    Error::Refused(text.into())
}

/// A reply about a change, with its Undo button.
pub fn changed(text: String, event: u64) -> Reply {
    Reply::from(text).buttons(vec![undo::button(event)])
}

pub fn remembered(by: u64, key: &str) -> String {
    format!("✅ Ok {}, I'll remember {} for you", person(by), code(key))
}

pub fn forgotten(by: u64, key: &str) -> String {
    format!("✅ Ok {}, I'll forget about {} for you", person(by), code(key))
}

/// For a text that could have been split elsewhere.
pub fn quoting_hint(prefix: &str, stored: &str, longer: &str) -> String {
    let example = format!("{prefix}rem {} is …", quoted(longer));
    format!("-# Stored under {}. For a longer key, quote it: {}", code(stored), code(&example))
}

/// In double quotes, or in backticks if it holds a double quote itself.
fn quoted(key: &str) -> String {
    if key.contains('"') { code(key) } else { format!("\"{key}\"") }
}

/// A key as it can stand in a command: quoted if it would be understood as something else.
pub fn typed(key: &str) -> String {
    let understood = match grammar::parse(key) {
        grammar::Line::Get { key: read, unfinished: None } => normalise(read) == normalise(key),
        _ => false,
    };
    let first_word = key.split_whitespace().next().unwrap_or_default();
    if understood && !first_word.eq_ignore_ascii_case("search") { key.to_owned() } else { quoted(key) }
}

pub fn already_remembering(prefix: &str, head: &Remembered) -> String {
    let said = match &head.alias_of {
        Some(target) => format!("another name for {}", code(target)),
        None => markdown::cut(head.value(), 200),
    };
    let key = typed(head.display());
    format!(
        "I am already remembering something for {}:\n{}\nUse {} to forget it, or {} to change it",
        head.code(),
        markdown::quote(&said),
        code(&format!("{prefix}forget {key}")),
        code(&format!("{prefix}mem edit {key} is …")),
    )
}

pub fn already_exactly_that(head: &Remembered) -> String {
    format!("I already remember exactly that for {}", head.code())
}

pub fn full(max: usize) -> String {
    format!("⚠ This server already has {} memories; forget some first", number(max))
}

pub fn what_is(prefix: &str, key: &str) -> String {
    let key = markdown::cut(key, super::key::KEY_CHARS_MAX);
    format!("⚠ What is {}? Write {}", code(&key), code(&format!("{prefix}rem {key} is <value>")))
}

pub fn value_too_long(length: usize) -> String {
    format!("⚠ That value is {} characters long; the limit is {}", number(length), number(VALUE_CHARS_MAX))
}

pub fn not_remembered(typed: &str, key: &Key, suggestions: &[Found<'_>]) -> String {
    let mut text = format!("🤔 I couldn't remember anything for {key}");
    if let Some(names) = did_you_mean(suggestions) {
        text.push_str(&names);
    }
    if grammar::shouts_is(typed) {
        text.push_str("\n-# To store it, write a small `is`");
    }
    text
}

pub fn alias_of_forgotten(alias: &str, target: &str) -> String {
    format!("🤔 {} is another name for {}, which has been forgotten", code(alias), code(target))
}

pub fn not_found(key: &Key) -> String {
    format!("⚠ Did you type that correctly? I didn't find anything in the database for {key}")
}

/// A second line with the names that may have been meant.
pub fn did_you_mean(suggestions: &[Found<'_>]) -> Option<String> {
    let names: Vec<String> = suggestions.iter().map(|found| code(found.display())).collect();
    let (last, others) = names.split_last()?;
    Some(match others {
        [] => format!("\nDid you mean {last}?"),
        _ => format!("\nDid you mean {} or {last}?", others.join(", ")),
    })
}

/// What is remembered, and nothing else.
pub fn value(record: &Remembered) -> Reply {
    match record.value().trim().is_empty() {
        // Only the original bot could store that; Discord would not send it.
        true => format!("-# {} is empty", record.code()).into(),
        false => record.value().to_owned().into(),
    }
}

/// The value as it was typed, for copying.
pub fn raw(value: &str) -> Reply {
    match markdown::block("", value) {
        Some(block) if block.chars().count() <= MESSAGE_CHARS_MAX => block.into(),
        _ => Reply { files: vec![text_file(value)], ..Reply::default() },
    }
}

fn text_file(text: &str) -> crate::context::File {
    crate::context::File { name: "value.txt".to_owned(), bytes: text.as_bytes().to_vec() }
}

/// The lines that differ, in a block, at most [`DIFF_LINES_MAX`] of them.
pub fn short_diff(before: &str, after: &str) -> Option<String> {
    let lines = changed_lines(before, after);
    let more = lines.len().saturating_sub(DIFF_LINES_MAX);
    let mut shown: Vec<String> = lines.into_iter().take(DIFF_LINES_MAX).collect();
    if more > 0 {
        shown.push(format!("... {more} more lines"));
    }
    let block = markdown::block("diff", &shown.join("\n"))?;
    // The line that names the revision must fit beside it.
    (block.chars().count() <= MESSAGE_CHARS_MAX - 400).then_some(block)
}

fn changed_lines(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (lines(before), lines(after));
    let diff = TextDiff::from_lines(&before, &after);
    let changes = diff.iter_all_changes().filter(|change| change.tag() != similar::ChangeTag::Equal);
    changes.map(|change| format!("{}{}", change.tag(), change.value().trim_end_matches('\n'))).collect()
}

/// Values do not end with a line break, but the last line of one may stand within the other.
fn lines(value: &str) -> String {
    if value.is_empty() { String::new() } else { format!("{value}\n") }
}

/// All of two values, as a unified diff.
pub fn unified_diff(before: (&str, &str), after: (&str, &str)) -> Reply {
    let (old, new) = (lines(before.1), lines(after.1));
    let text = TextDiff::from_lines(&old, &new).unified_diff().header(before.0, after.0).to_string();
    match markdown::block("diff", text.trim_end_matches('\n')) {
        Some(block) if block.chars().count() <= MESSAGE_CHARS_MAX => block.into(),
        _ => Reply { files: vec![text_file(&text)], ..Reply::default() },
    }
}

/// A title with people's words at its end.
pub fn titled(start: &str, text: &str) -> String {
    format!("{start}{}", code(&markdown::cut(text, TITLE_TEXT_MAX)))
}

pub fn card(title: String, text: String) -> Card {
    Card { title, text, colour: Colour::Blue, footer: None }
}

/// How somebody is named who may be unknown, or wanted to be forgotten.
pub fn who(id: Option<u64>) -> String {
    match id {
        None => "unknown".to_owned(),
        Some(0) => "someone".to_owned(),
        Some(id) => person(id),
    }
}

pub fn when(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "unknown".to_owned(), time)
}

/// A name in a list, whatever it holds.
pub fn name(display: &str, max: usize) -> String {
    plain(&markdown::cut(display, max))
}

/// A line of a list.
pub fn listed(found: &Found<'_>) -> String {
    match &found.entry.alias_of {
        Some(target) => {
            format!("• {} → {}", name(found.display(), NAME_MAX / 2), name(target, NAME_MAX / 2))
        }
        None => format!("• {}", name(found.display(), NAME_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_only_where_they_must_be() {
        for (key, expected) in [
            ("wifi", "wifi"),
            ("what is love", "\"what is love\""),
            ("search engine", "\"search engine\""),
            ("5\" nails", "5\" nails"),
            ("he said \"it is\" is", "`he said \"it is\" is`"),
            ("this is", "\"this is\""),
        ] {
            assert_eq!(typed(key), expected);
        }
    }

    #[test]
    fn a_knowing_refusal_has_three_lines() {
        let head = Remembered::adopted(1, "what is love", "baby\ndon't hurt me");
        insta::assert_snapshot!(already_remembering(".", &head), @r#"
        I am already remembering something for `what is love`:
        > baby
        > don't hurt me
        Use `.forget "what is love"` to forget it, or `.mem edit "what is love" is …` to change it
        "#);
    }

    #[test]
    fn a_change_is_shown_by_its_lines() {
        insta::assert_snapshot!(short_diff("a\nb\nc", "a\nB\nc").unwrap(), @r"
        ```diff
        -b
        +B
        ```
        ");
        assert_eq!(short_diff("a", "```"), None);
        let long = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        assert!(short_diff("", &long).unwrap().ends_with("... 25 more lines\n```"));
    }
}
