//! What is typed behind `.sparkle`: one person, then perhaps `for` or `because`, then the reason to the end.

use crate::context::{Error, Result, not_a_person, person, refuse};
use crate::markdown::number;

/// A reason is a line, not a speech.
pub const REASON_CHARS_MAX: usize = 200;

const WORDS: [&str; 2] = ["for", "because"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparkle {
    pub to: u64,
    pub reason: Option<String>,
}

/// The text behind the command's name.
pub fn parse(text: &str) -> Result<Sparkle> {
    let (first, rest) = first_word(text);
    if first.is_empty() || is_for(first) {
        return Err(Error::Usage("Who should get the sparkle?".to_owned()));
    }
    let to = person(first).ok_or_else(not_a_person)?;
    if is_list(rest) {
        return refuse("⚠ One person at a time, please");
    }
    let (word, after) = first_word(rest);
    let reason = read_reason(if is_for(word) { after } else { rest })?;
    Ok(Sparkle { to, reason })
}

/// A person in front, as `.show sparkles [[for] @user]` has them; `None`: nobody is named.
pub fn parse_person(text: &str) -> Result<Option<u64>> {
    let (first, rest) = first_word(text);
    let who = if first.eq_ignore_ascii_case("for") { first_word(rest).0 } else { first };
    if who.is_empty() { Ok(None) } else { person(who).map(Some).ok_or_else(not_a_person) }
}

/// A reason as it is kept; `None` if nothing is left of it.
pub fn read_reason(typed: &str) -> Result<Option<String>> {
    let text = typed.replace("\r\n", "\n");
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let text = text.trim();
    let length = text.chars().count();
    if length > REASON_CHARS_MAX {
        return refuse(format!(
            "⚠ That reason is {} characters long; the limit is {REASON_CHARS_MAX}",
            number(length)
        ));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

/// Whether more people follow: `@a @b`, `@a and @b`.
fn is_list(rest: &str) -> bool {
    let (word, after) = first_word(rest);
    let next = if matches!(word, "and" | "&" | ",") { first_word(after).0 } else { word };
    next.starts_with("<@") && person(next.trim_end_matches([',', ';', '.'])).is_some()
}

fn is_for(word: &str) -> bool {
    WORDS.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn first_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_once(char::is_whitespace).unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "<@123456789012345678>";

    fn reason(text: &str) -> Option<String> {
        let sparkle = parse(&text.replace("@x", X)).unwrap();
        assert_eq!(sparkle.to, 123_456_789_012_345_678);
        sparkle.reason
    }

    fn refusal(text: &str) -> String {
        let text = text.replace("@x", X).replace("@y", "<@!223456789012345678>");
        parse(&text).unwrap_err().to_string()
    }

    #[test]
    fn a_reason_may_be_any_text() {
        for (text, expected) in [
            ("@x for waiting for me", Some("waiting for me")),
            ("@x because a|b", Some("a|b")),
            ("@x forever yours", Some("forever yours")),
            ("@x", None),
            ("  @x  for  ", None),
            ("@x FOR  two  spaces", Some("two  spaces")),
            ("@x for two\nlines", Some("two\nlines")),
            ("@x for @y's cake", Some("@y's cake")),
            ("@x for a\u{0}b\u{7}", Some("ab")),
        ] {
            assert_eq!(reason(text).as_deref(), expected, "{text}");
        }
        assert_eq!(parse("12345678901234567 for x").unwrap().to, 12_345_678_901_234_567);
    }

    #[test]
    fn it_takes_one_person() {
        for text in ["@x @y for z", "@x @y", "@x and @y for z", "@x & @y", "@x @y, thanks"] {
            assert_eq!(refusal(text), "⚠ One person at a time, please", "{text}");
        }
        for text in ["for @x", "", "  ", "because it is nice"] {
            assert_eq!(refusal(text), "Who should get the sparkle?", "{text}");
        }
        for text in ["<@&123456789012345678> for x", "<#123456789012345678>", "bob#1234 for x", "1234"] {
            assert_eq!(refusal(text), "⚠ I need a person: mention them or give their id", "{text}");
        }
    }

    #[test]
    fn a_reason_has_a_limit() {
        assert!(reason(&format!("@x for {}", "ü".repeat(200))).is_some());
        let long = refusal(&format!("@x for {}", "ü".repeat(201)));
        assert_eq!(long, "⚠ That reason is 201 characters long; the limit is 200");
    }

    #[test]
    fn somebody_may_be_named_in_two_ways() {
        let named = |text: &str| parse_person(&text.replace("@x", X));
        assert_eq!(named("for @x").unwrap(), Some(123_456_789_012_345_678));
        assert_eq!(named("@x").unwrap(), Some(123_456_789_012_345_678));
        assert_eq!(named(" ").unwrap(), None);
        assert!(named("for bob").is_err());
    }
}
