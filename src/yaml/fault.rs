//! What is wrong with a file, where, and what was probably meant.

use std::fmt;

/// A place in a file. What was built in Rust has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// One thing that is wrong, or odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: Place,
    pub what: String,
    /// A warning does not keep the file from being used.
    pub is_warning: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.line > 0 {
            write!(f, "line {}, column {}: ", self.at.line, self.at.column)?;
        }
        if self.is_warning {
            write!(f, "warning: ")?;
        }
        write!(f, "{}", self.what)
    }
}

/// All that was found in one file; the first is the one that stands first in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn one(at: Place, what: impl Into<String>) -> Self {
        let mut faults = Self::default();
        faults.add(at, what);
        faults
    }

    pub fn add(&mut self, at: Place, what: impl Into<String>) {
        self.push(Fault { at, what: what.into(), is_warning: false });
    }

    pub fn warn(&mut self, at: Place, what: impl Into<String>) {
        self.push(Fault { at, what: what.into(), is_warning: true });
    }

    /// A subtree that is used twice is not blamed twice.
    fn push(&mut self, fault: Fault) {
        if !self.0.contains(&fault) {
            self.0.push(fault);
        }
    }

    pub fn extend(&mut self, others: Self) {
        others.0.into_iter().for_each(|fault| self.push(fault));
    }

    /// The same, at this place where they had none.
    pub fn placed(mut self, at: Place) -> Self {
        for fault in &mut self.0 {
            if fault.at == Place::default() {
                fault.at = at;
            }
        }
        self
    }

    pub fn are_fatal(&self) -> bool {
        self.0.iter().any(|fault| !fault.is_warning)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In the order of the file.
    pub fn sorted(&self) -> Vec<Fault> {
        let mut faults = self.0.clone();
        faults.sort_by_key(|fault| fault.at);
        faults
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.sorted().iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// What may be meant: `; did you mean memory.remember?`, or nothing if no name is near.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default()
}

/// The name that is most like this one, if any is like it.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // One letter is like any name that begins with it.
    let alike_long = |known: &&str| known.len() <= 3 * name.len() && name.len() <= 2 * known.len();
    let near = known.into_iter().filter(alike_long).map(|known| {
        // `remember` is meant by who writes the last part of `memory.remember`.
        let last = known.rsplit('.').next().unwrap_or(known);
        let alike = strsim::jaro_winkler(name, known).max(strsim::jaro_winkler(name, last) - 0.05);
        (alike, known)
    });
    let best = near.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(alike, _)| *alike >= ALIKE).map(|(_, known)| known)
}

/// How alike names are that are taken for each other.
const ALIKE: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_named_if_it_is_near() {
        let known = ["memory.remember", "memory.recall", "sequence", "run_id"];
        assert_eq!(nearest("memory.remembr", known), Some("memory.remember"));
        assert_eq!(nearest("remember", known), Some("memory.remember"));
        assert_eq!(nearest("sequnce", known), Some("sequence"));
        assert_eq!(nearest("n", known), None);
        assert_eq!(nearest("zzzzz", known), None);
    }
}
