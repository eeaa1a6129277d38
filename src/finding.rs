//! [`Finding`]: one thing that was looked at, how it is, and what to do about it.
//!
//! Written for the operator: one line, without types, traces or secrets.

use std::error::Error;
use std::fmt;

/// The longest words of somebody else that are passed on: they may be a whole page.
const QUOTE_MAX: usize = 200;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    /// The bot works; somebody should know.
    Warn,
    /// The bot would not work.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in one word.
    pub about: &'static str,
    pub state: State,
    pub found: String,
    /// What to do; empty where all is well.
    pub remedy: String,
}

impl Finding {
    pub fn ok(about: &'static str, found: impl Into<String>) -> Self {
        Self { about, state: State::Ok, found: found.into(), remedy: String::new() }
    }

    pub fn warn(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { about, state: State::Warn, found: found.into(), remedy: remedy.into() }
    }

    pub fn fail(about: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { about, state: State::Fail, found: found.into(), remedy: remedy.into() }
    }
}

/// What was found and what to do, in one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.found)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, ". {}", self.remedy) }
    }
}

/// Somebody else's words, in one line and not too long.
pub fn quote(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTE_MAX) {
        Some((end, _)) => format!("{}..", &line[..end]),
        None => line,
    }
}

/// What is at the bottom of an error: `Connection refused (os error 111)`.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    quote(&cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::fail("endpoint", quote("a\n   b\tc"), "Start it");
        assert_eq!(finding.to_string(), "a b c. Start it");
        assert_eq!(Finding::ok("clock", "is right").to_string(), "is right");
        assert!(quote(&"é".repeat(1_000)).ends_with("é.."));
    }
}
