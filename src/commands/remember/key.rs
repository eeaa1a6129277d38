//! Keys: what a memory is found by, whatever way it is typed.
//!
//! Two texts name the same memory when [`normalise`] makes them equal. The result is what the table holds;
//! people are shown the form in which the key was first typed. The rules know no locale, so a key does not
//! change its meaning with the machine it is read on.

use icu_casemap::CaseMapperBorrowed;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use icu_properties::CodePointSetData;
use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint};
use sha2::{Digest, Sha256};

use crate::context::{Choice, Error, Result, refuse};
use crate::markdown;

/// Longer ones are texts, not names, and would not fit a line of a list. At four bytes a character it also
/// keeps the sort key within 800 of DynamoDB's 1,024 bytes.
pub const KEY_CHARS_MAX: usize = 200;

/// Double quotes, as they open and close.
pub const QUOTES: [(char, char); 4] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»')];

/// A valid key: as the table holds it, and as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub normal: String,
    pub display: String,
}

impl Key {
    /// Reads a key from what somebody typed.
    pub fn read(typed: &str) -> Result<Self> {
        let normal = normalise(typed);
        let length = normal.chars().count();
        if normal.is_empty() {
            return Err(Error::Refused("⚠ That key has no visible characters".to_owned()));
        }
        if length > KEY_CHARS_MAX {
            return refuse(format!(
                "⚠ That key is {} characters long; the limit is {KEY_CHARS_MAX}",
                markdown::number(length)
            ));
        }
        let display = displayed(typed);
        // What is invisible does not count for the key, so it could be of any length here.
        let display = if display.chars().count() > KEY_CHARS_MAX { normal.clone() } else { display };
        Ok(Self { normal, display })
    }
}

/// Shown to people: the key as typed, in a code span.
impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&markdown::code(&self.display))
    }
}

/// The form in which keys are compared and stored; empty if nothing visible is left.
pub fn normalise(typed: &str) -> String {
    let mut key = tame(typed);
    loop {
        let next = normalise_once(&key);
        if next == key {
            return key;
        }
        key = next;
    }
}

fn normalise_once(text: &str) -> String {
    let text = text.trim();
    collapse(fold(unquoted(text).unwrap_or(text)).chars())
}

/// Unicode's `NFKC_Casefold`, when repeated: <https://www.unicode.org/reports/tr44/#NFKC_Casefold>.
fn fold(text: &str) -> String {
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    // What is invisible goes first, or it would keep the marks around it from being put in order.
    let visible: String = text.chars().filter(|c| !ignorable.contains(*c) && !is_stray_control(*c)).collect();
    // Decomposed, because folding looks at one character at a time.
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(&visible).into_owned();
    let folded = CaseMapperBorrowed::new().fold_string(&decomposed).into_owned();
    ComposingNormalizerBorrowed::new_nfkc().normalize(&folded).into_owned()
}

/// Without what can turn or break a line. It goes before quotes are looked at, in both forms of a key, or one
/// would lose its quotes and the other keep them.
fn tame(typed: &str) -> String {
    let bidi = CodePointSetData::new::<BidiControl>();
    typed.chars().filter(|c| !bidi.contains(*c) && !is_stray_control(*c)).collect()
}

/// The form people see: what was typed, without what could turn the line around it.
fn displayed(typed: &str) -> String {
    let mut shown = collapse(tame(typed).chars());
    while let Some(inner) = unquoted(&shown) {
        shown = collapse(inner.chars());
    }
    shown
}

pub use crate::markdown::clean;

/// Control characters other than the white space among them.
fn is_stray_control(c: char) -> bool {
    c.is_control() && !c.is_whitespace()
}

/// White space becomes single spaces, and none at the ends.
fn collapse(text: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for c in text {
        match c.is_whitespace() {
            true if out.is_empty() || out.ends_with(' ') => {}
            true => out.push(' '),
            false => out.push(c),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// What stands inside a pair of quotes or backtick fences around the whole text, if these marks do not
/// occur inside.
fn unquoted(text: &str) -> Option<&str> {
    let quoted = QUOTES.iter().find_map(|&(open, close)| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        (!inner.contains([open, close])).then_some(inner)
    });
    quoted.or_else(|| unfenced(text))
}

fn unfenced(text: &str) -> Option<&str> {
    let fence = backticks(text);
    let inner = text.get(fence..text.len().checked_sub(fence)?)?;
    let fenced = fence > 0
        && !inner.is_empty()
        && !inner.ends_with('`')
        && text.ends_with(&text[..fence])
        && inner.split(|c| c != '`').all(|run| run.len() != fence);
    fenced.then_some(inner)
}

/// How many backticks the text starts with.
pub fn backticks(text: &str) -> usize {
    text.len() - text.trim_start_matches('`').len()
}

/// Stands for a key where there is no room for it, or where only ASCII may stand: `~` and 16 hex digits.
pub fn short_name(normal: &str) -> String {
    let digest = Sha256::digest(normal.as_bytes());
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("~{hex}")
}

/// Whether a text may be the short name of a key.
pub fn is_short_name(text: &str) -> bool {
    text.strip_prefix('~')
        .is_some_and(|hex| hex.len() == 16 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// How a key travels through Discord and back as the value of a choice.
pub fn as_choice(normal: &str) -> String {
    match normal.chars().count() > Choice::CHARS_MAX || normal.starts_with('~') {
        true => short_name(normal),
        false => normal.to_owned(),
    }
}

/// How a key travels in the `custom_id` of a control, which is ASCII and short.
pub fn as_field(normal: &str) -> String {
    /// Leaves the other fields their part of the 100 characters.
    const FIELD_CHARS_MAX: usize = 60;
    let plain = normal.len() <= FIELD_CHARS_MAX
        && !normal.starts_with('~')
        && normal.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if plain { normal.to_owned() } else { short_name(normal) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::remember::tests::{random_text, seeded};

    fn normal(typed: &str) -> String {
        Key::read(typed).unwrap().normal
    }

    #[test]
    fn a_key_is_found_however_it_is_typed() {
        for (key, typed) in [
            ("wifi", ["WIFI", "ＷＩＦＩ", "wi\u{200B}fi", "wi\u{AD}fi", " “wifi” "]),
            ("strasse", ["straße", "STRASSE", "Straſse", "\u{202E}straße", "```straße```"]),
            ("café", ["cafe\u{301}", "CAFÉ", "café", "«CAFE\u{301}»", "„café“"]),
            ("viii", ["Ⅷ", "viii", "ⅷ", "`viii`", "\"“VIII”\""]),
            ("a b", ["a  b", "a\nb", "a\u{A0}b", "a\r\n\tb", "a\u{3000}b"]),
        ] {
            for typed in typed {
                assert_eq!(normal(typed), key, "{typed:?}");
            }
        }
        assert_eq!(normal("İstanbul"), "i\u{307}stanbul");
        assert_ne!(normal("раураl"), "paypal", "letters of different scripts stay different");
    }

    #[test]
    fn the_display_form_is_as_typed_but_cannot_turn_the_line() {
        for (typed, shown) in [
            ("  What  Is\nLove ", "What Is Love"),
            ("👨\u{200D}👩\u{200D}👧", "👨\u{200D}👩\u{200D}👧"),
            ("\u{202E}evil", "evil"),
            ("\"What is love\"", "What is love"),
            ("a\u{0}b\u{7}", "ab"),
        ] {
            assert_eq!(Key::read(typed).unwrap().display, shown, "{typed:?}");
        }
        let padded = format!("a{}", "\u{200B}".repeat(500));
        assert_eq!(Key::read(&padded).unwrap().display, "a");
    }

    #[test]
    fn keys_have_a_length() {
        let refusal = |typed: &str| Key::read(typed).unwrap_err().to_string();
        assert!(Key::read(&"a".repeat(200)).is_ok());
        assert_eq!(refusal(&"a".repeat(201)), "⚠ That key is 201 characters long; the limit is 200");
        assert_eq!(refusal(&"ﷺ".repeat(12)), "⚠ That key is 216 characters long; the limit is 200");
        for empty in ["\u{200B}\u{200D}", "\"\"", "“ ”", "\u{202E}", " \u{7} "] {
            assert_eq!(refusal(empty), "⚠ That key has no visible characters", "{empty:?}");
        }
    }

    #[test]
    fn a_control_behind_a_quote_does_not_keep_it() {
        let typed = "\"a＂b\"\u{90}";
        assert_eq!(normalise(typed), normalise(&displayed(typed)));
    }

    #[test]
    fn normalising_again_changes_nothing() {
        let mut random = seeded();
        for _ in 0..5_000 {
            let typed = random_text(&mut random, 60);
            let once = normalise(&typed);
            assert_eq!(normalise(&once), once, "{typed:?}");
            assert_eq!(normalise(&displayed(&typed)), once, "the display form of {typed:?}");
        }
    }

    #[test]
    fn keys_of_different_composition_are_one() {
        let mut random = seeded();
        for _ in 0..3_000 {
            // U+1FEF is an accent, and a backtick when decomposed: inside of a fence the forms do differ.
            let typed = random_text(&mut random, 30).replace('\u{1FEF}', "");
            let decomposed = DecomposingNormalizerBorrowed::new_nfd().normalize(&typed).into_owned();
            assert_eq!(normalise(&decomposed), normalise(&typed), "{typed:?}");
        }
    }

    #[test]
    fn long_and_foreign_keys_travel_under_a_short_name() {
        assert_eq!(as_choice("grüße"), "grüße");
        assert_eq!(as_field("c++ tips"), "c++ tips");
        for travels in [as_choice(&"ü".repeat(101)), as_field("grüße"), as_field("~x"), as_choice("~x")] {
            assert!(is_short_name(&travels), "{travels}");
        }
        assert!(!is_short_name("~0123"));
        assert!(!is_short_name("~0123456789ABCDEF"));
    }
}
