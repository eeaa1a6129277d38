//! The grammar of `is`: where the key ends and the value begins.
//!
//! `.rem` takes one text. A separator is the lower-case word `is` with white space on both sides, outside
//! of code and of quotes that are closed. Without one the text is a lookup, so that a question can never
//! write; with one it is a memory, unless the whole text is already the name of one.

use super::key::{QUOTES, backticks};

/// The word between a key and its value.
pub const IS: &str = "is";

/// How many left sides are tried as keys where several are possible: a read each.
pub const LEFT_SIDES_MAX: usize = 4;

/// A text of `.rem`, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Nothing,
    Get {
        key: &'a str,
        /// What stands before a final `is`: somebody may have forgotten the value.
        unfinished: Option<&'a str>,
    },
    Set {
        key: &'a str,
        value: &'a str,
        /// The left side of the second separator: perhaps that was meant as the key.
        longer: Option<&'a str>,
        /// Look first whether this is a key: then the line is a lookup.
        whole: Option<&'a str>,
    },
}

/// Understands a text of `.rem`, control characters already taken out.
pub fn parse(text: &str) -> Line<'_> {
    let text = text.trim();
    let lookup = |key| Line::Get { key, unfinished: None };
    match splits(text, IS) {
        _ if text.is_empty() => Line::Nothing,
        Splits::Quoted(key) => lookup(key),
        Splits::QuotedWith(Split { key, value }) => Line::Set { key, value, longer: None, whole: None },
        Splits::Plain(list) => match list.as_slice() {
            [] => Line::Get { key: text, unfinished: before_final_is(text) },
            [first, rest @ ..] => Line::Set {
                key: first.key,
                value: first.value,
                longer: rest.first().map(|second| second.key),
                whole: Some(text),
            },
        },
    }
}

/// A key and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

/// All the ways to read a text as a key and what follows a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Splits<'a> {
    /// A quoted key and nothing else.
    Quoted(&'a str),
    /// A quoted key, so there is no doubt where it ends.
    QuotedWith(Split<'a>),
    /// From left to right; none if the word does not occur.
    Plain(Vec<Split<'a>>),
}

impl<'a> Splits<'a> {
    /// In the order in which left sides are tried as keys: the longest first.
    pub fn longest_first(self) -> Vec<Split<'a>> {
        match self {
            Self::Quoted(_) => Vec::new(),
            Self::QuotedWith(split) => vec![split],
            Self::Plain(list) => list.into_iter().take(LEFT_SIDES_MAX).rev().collect(),
        }
    }

    /// The first split; `None` if the word does not occur.
    pub fn first(self) -> Option<Split<'a>> {
        match self {
            Self::Quoted(_) => None,
            Self::QuotedWith(split) => Some(split),
            Self::Plain(list) => list.first().copied(),
        }
    }

    /// The last split; `None` if the word does not occur.
    pub fn last(self) -> Option<Split<'a>> {
        match self {
            Self::Plain(list) => list.last().copied(),
            other => other.first(),
        }
    }
}

/// Finds `word` as a separator: between white space, outside of code and quotes.
pub fn splits<'a>(text: &'a str, word: &str) -> Splits<'a> {
    let text = text.trim();
    if let Some((key, rest)) = leading_quote(text) {
        let after = rest.trim_start();
        if after.is_empty() {
            return Splits::Quoted(key);
        }
        if after.len() < rest.len() && starts_with_word(after, word) {
            return Splits::QuotedWith(Split { key, value: after[word.len()..].trim() });
        }
    }
    let at = separators(text, word).into_iter();
    let split = |at: usize| Split { key: text[..at].trim_end(), value: text[at + word.len()..].trim_start() };
    Splits::Plain(at.map(split).collect())
}

/// The closed quote or code span that a text starts with: what is inside, and what follows.
pub fn leading_quote(text: &str) -> Option<(&str, &str)> {
    let (mark, length) = shield(text, true)?;
    Some((&text[mark..length - closing(text, mark)], &text[length..]))
}

/// The length of the closing mark: a fence is as long as the opening one, the quotes of a pair may differ.
fn closing(text: &str, opening: usize) -> usize {
    let open = text.chars().next().unwrap_or_default();
    QUOTES.iter().find(|pair| pair.0 == open).map_or(opening, |pair| pair.1.len_utf8())
}

/// Where `word` stands between white space, outside of what shields it, with something to its left.
fn separators(text: &str, word: &str) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut after_space = true;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if at > 0 && after_space && starts_with_word(rest, word) {
            found.push(at);
        }
        // A run of backticks that nothing closes shields nothing, and is passed as a whole.
        let length =
            shield(rest, after_space).map_or(backticks(rest).max(c.len_utf8()), |(_, length)| length);
        after_space = c.is_whitespace();
        at += length;
    }
    found
}

/// `word` and white space after it.
fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|after| after.starts_with(char::is_whitespace))
}

/// The code span, code block or closed quote that a text starts with: the length of its opening mark, and
/// of all of it. A quote opens only after white space and closes only before it.
fn shield(text: &str, after_space: bool) -> Option<(usize, usize)> {
    let fence = backticks(text);
    if fence > 0 {
        return closing_fence(text, fence).map(|end| (fence, end));
    }
    let (open, close) = *QUOTES.iter().find(|pair| after_space && text.starts_with(pair.0))?;
    let mark = open.len_utf8();
    let ends = text[mark..].match_indices(close).map(|(at, close)| mark + at + close.len());
    let mut closed = ends.filter(|&end| text[end..].chars().next().is_none_or(char::is_whitespace));
    closed.next().map(|end| (mark, end))
}

/// Where the next run of exactly as many backticks ends.
fn closing_fence(text: &str, fence: usize) -> Option<usize> {
    let mut at = fence;
    loop {
        at += text[at..].find('`')?;
        let run = backticks(&text[at..]);
        at += run;
        if run == fence {
            return Some(at);
        }
    }
}

fn before_final_is(text: &str) -> Option<&str> {
    let left = text.strip_suffix(IS)?;
    let key = left.trim_end();
    (key.len() < left.len() && !key.is_empty()).then_some(key)
}

/// Whether an `Is` or `IS` in a lookup may have been meant to store something.
pub fn shouts_is(text: &str) -> bool {
    text.split_whitespace().skip(1).any(|word| matches!(word, "Is" | "IS"))
}

/// A key followed by up to `max` words that `take` accepts, in all possible ways, the longest key first.
/// Quotes leave no doubt.
pub fn trailing<'a, T>(
    text: &'a str,
    max: usize,
    take: impl Fn(&'a str) -> Option<T>,
) -> Vec<(&'a str, Vec<T>)> {
    let text = text.trim();
    if let Some((key, rest)) = leading_quote(text) {
        let words: Option<Vec<T>> = rest.split_whitespace().map(&take).collect();
        return words.filter(|words| words.len() <= max).map(|words| vec![(key, words)]).unwrap_or_default();
    }
    let mut ways = vec![(text, Vec::new())];
    let mut key = text;
    while ways.len() <= max {
        let Some((left, _)) = key.rsplit_once(char::is_whitespace) else { break };
        key = left.trim_end();
        match text[key.len()..].split_whitespace().map(&take).collect() {
            Some(words) => ways.push((key, words)),
            None => break,
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::remember::key::{Key, clean, normalise};
    use crate::commands::remember::tests::{random_text, seeded};
    use crate::markdown::code;
    use rand::Rng;

    const KEYS: [&str; 5] = ["meeting", "what is love", "c++", "wifi", "strasse"];

    /// What a line of `.rem` means on a server that knows [`KEYS`], in words.
    fn meaning(typed: &str) -> String {
        let text = clean(typed);
        let known = |key: &str| KEYS.contains(&normalise(key).as_str());
        let read = |key: &str| Key::read(key).map(|key| key.normal).unwrap_or_else(|error| error.to_string());
        match parse(&text) {
            Line::Nothing => "usage".to_owned(),
            Line::Get { key, .. } if known(key) => format!("get {}", read(key)),
            Line::Get { unfinished: Some(what), .. } => format!("what is {}", read(what)),
            Line::Get { key, .. } => format!("get {}", read(key)),
            Line::Set { whole: Some(whole), .. } if known(whole) => format!("get {}", read(whole)),
            Line::Set { key, .. } if known(key) => format!("known {}", read(key)),
            Line::Set { key, value, longer: Some(longer), .. } => {
                format!("set {} = {value} (or {longer})", read(key))
            }
            Line::Set { key, value, .. } => format!("set {} = {value}", read(key)),
        }
    }

    #[test]
    fn the_vectors_of_the_catalogue() {
        let cases = [
            ("lunch is noon", "set lunch = noon"),
            ("meeting", "get meeting"),
            ("MEETING", "get meeting"),
            ("meeting is friday", "known meeting"),
            ("C++ is fast", "known c++"),
            ("this thing", "get this thing"),
            ("paris hotel", "get paris hotel"),
            ("isis island", "get isis island"),
            ("what is love", "get what is love"),
            ("What Is Love", "get what is love"),
            ("what is life", "set what = life"),
            ("what is love is baby", "set what = love is baby (or what is love)"),
            ("\"what is love\" is baby", "known what is love"),
            ("“what is love”", "get what is love"),
            ("`what is love`", "get what is love"),
            ("he said \"what is it\" is rude", "set he said \"what is it\" = rude"),
            ("5\" nails is steel", "set 5\" nails = steel"),
            ("\"open is shut", "set \"open = shut"),
            ("motto is \"this is it\"", "set motto = \"this is it\""),
            ("a  b is c", "set a b = c"),
            ("a\nb is c", "set a b = c"),
            ("a b", "get a b"),
            ("poem is roses\nviolets", "set poem = roses\nviolets"),
            ("poem is\nroses", "set poem = roses"),
            ("code is ```\nif x is y\n```", "set code = ```\nif x is y\n```"),
            ("`a is b` is c", "set a is b = c"),
            ("lunch is", "what is lunch"),
            ("this is", "what is this"),
            ("is foo", "get is foo"),
            ("is", "get is"),
            ("is is is", "set is = is"),
            ("lunch IS noon", "get lunch is noon"),
            ("", "usage"),
            ("  ", "usage"),
            ("\"search engine\" is ddg", "set search engine = ddg"),
            ("searching is fun", "set searching = fun"),
            ("  lunch  is   noon  ", "set lunch = noon"),
            ("ＷＩＦＩ", "get wifi"),
            ("wi\u{200B}fi", "get wifi"),
            ("wi\u{AD}fi", "get wifi"),
            ("STRASSE", "get strasse"),
            ("cafe\u{301} is x", "set café = x"),
            ("Ⅷ is x", "set viii = x"),
            ("İstanbul is big", "set i\u{307}stanbul = big"),
            ("\u{200B}\u{200D} is x", "set ⚠ That key has no visible characters = x"),
            ("👨\u{200D}👩\u{200D}👧 is family", "set 👨👩👧 = family"),
            ("שלום is hello", "set שלום = hello"),
            ("سلام is \u{200F}ok", "set سلام = \u{200F}ok"),
            ("\u{202E}evil is x", "set evil = x"),
            ("a\0b is c\u{7}", "set ab = c"),
            ("party is @everyone come", "set party = @everyone come"),
            ("<@123456789012345678> is nice", "set <@123456789012345678> = nice"),
            ("tea is hot\r\nand good", "set tea = hot\nand good"),
            ("tea\u{3000}is\u{2003}hot", "set tea = hot"),
        ];
        for (typed, expected) in cases {
            assert_eq!(meaning(typed), expected, "{typed:?}");
        }
    }

    #[test]
    fn long_lines_and_keys() {
        let value = "a".repeat(1_990);
        assert_eq!(meaning(&format!("k is {value}")), format!("set k = {value}"));
        assert_eq!(meaning(&format!("{} is x", "k".repeat(200))), format!("set {} = x", "k".repeat(200)));
        assert!(meaning(&format!("{} is x", "k".repeat(201))).contains("is 201 characters long"));
    }

    #[test]
    fn other_verbs_split_at_their_own_words() {
        let edit = splits("what is love is baby", IS).longest_first();
        let keys: Vec<&str> = edit.iter().map(|split| split.key).collect();
        assert_eq!(keys, ["what is love", "what"]);
        let alias = splits("wlan = wifi = x", "=").first();
        assert_eq!(alias, Some(Split { key: "wlan", value: "wifi = x" }));
        let show = splits("look at me at 2026-01-02 10:00", "at").last();
        assert_eq!(show, Some(Split { key: "look at me", value: "2026-01-02 10:00" }));
        assert_eq!(splits("`a = b` = c", "=").first(), Some(Split { key: "a = b", value: "c" }));
        assert_eq!(splits("a=b", "=").first(), None);
    }

    #[test]
    fn words_at_the_end_of_a_key() {
        let numbers = |text: &'static str| trailing(text, 2, |word| word.parse::<u64>().ok());
        assert_eq!(numbers("wifi"), [("wifi", vec![])]);
        assert_eq!(numbers("wifi 2 3"), [("wifi 2 3", vec![]), ("wifi 2", vec![3]), ("wifi", vec![2, 3])]);
        assert_eq!(numbers("\"route 66\" 2"), [("route 66", vec![2])]);
        assert_eq!(numbers("\"route 66\" x"), []);
        assert_eq!(numbers("12 3"), [("12 3", vec![]), ("12", vec![3])]);
    }

    /// A text in which the grammar has something to find.
    fn random_line(random: &mut rand::rngs::StdRng, max: usize) -> String {
        const PIECES: [&str; 14] =
            [" is ", " is", "is ", "\"", "`", "```", "“", "”", "«", "»", "\n", " ", " = ", " Is "];
        let mut line = String::new();
        for _ in 0..random.random_range(0..8) {
            match random.random_bool(0.6) {
                true => line.push_str(PIECES[random.random_range(0..PIECES.len())]),
                false => line.push_str(&random_text(random, 8)),
            }
        }
        if random.random_bool(0.001) {
            line.push_str(&random_text(random, max));
        }
        line.chars().take(max).collect()
    }

    #[test]
    fn no_message_panics_or_gives_an_empty_or_long_key_or_value() {
        let mut random = seeded();
        for _ in 0..100_000 {
            let line = clean(&random_line(&mut random, 2_000));
            let key = match parse(&line) {
                Line::Nothing => continue,
                Line::Get { key, .. } => key,
                Line::Set { key, value, .. } => {
                    assert!(!value.is_empty() && value.len() < line.len(), "{line:?}");
                    key
                }
            };
            let Ok(key) = Key::read(key) else { continue };
            let length = key.normal.chars().count();
            assert!((1..=200).contains(&length), "{line:?}");
            assert!(!key.display.is_empty() && key.display.chars().count() <= 200, "{line:?}");
        }
    }

    #[test]
    fn without_a_separator_nothing_is_ever_written() {
        let mut random = seeded();
        for _ in 0..10_000 {
            let line = clean(&random_line(&mut random, 200));
            let words: Vec<&str> = line.split_whitespace().collect();
            let inner = words.get(1..words.len().saturating_sub(1)).unwrap_or_default();
            if !inner.contains(&IS) {
                assert!(!matches!(parse(&line), Line::Set { .. }), "{line:?}");
            }
        }
    }

    #[test]
    fn every_key_is_reached_by_quoting_it_as_replies_do() {
        let mut random = seeded();
        for _ in 0..10_000 {
            let Ok(key) = Key::read(&random_line(&mut random, 100)) else { continue };
            for shown in [code(&key.display), code(&key.normal)] {
                let lookup = clean(&shown);
                let set = clean(&format!("{shown} is this is it"));
                let found = match (parse(&lookup), parse(&set)) {
                    (Line::Get { key: read, .. }, Line::Set { key: stored, value, whole: None, .. }) => {
                        assert_eq!(value, "this is it", "{key:?}");
                        [normalise(read), normalise(stored)]
                    }
                    other => panic!("{key:?} was understood as {other:?}"),
                };
                assert_eq!(found, [key.normal.as_str(), key.normal.as_str()], "{shown:?}");
            }
        }
    }
}
