//! [`Reader`]: takes the values of several files apart. What is wrong is kept with its file and place, and the
//! reader goes on, so that all of it can be told at once.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

use crate::yaml::fault::{Place, did_you_mean};
use crate::yaml::source::{Entry, Located};

/// One thing that is wrong in a file, or odd: `rules/10-disk.yaml:7:11: what`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flaw {
    pub file: String,
    pub at: Place,
    pub what: String,
    /// A warning does not keep the file from being used.
    pub is_warning: bool,
}

impl Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.at.line > 0 {
            write!(f, "{}:{}:", self.at.line, self.at.column)?;
        }
        let warning = if self.is_warning { " warning:" } else { "" };
        write!(f, "{warning} {}", self.what)
    }
}

/// The entries of a mapping that are still to be read.
pub type Entries<'a> = BTreeMap<&'a str, &'a Located>;

#[derive(Debug, Default)]
pub struct Reader {
    /// The file that is being read.
    pub file: String,
    pub flaws: Vec<Flaw>,
}

impl Reader {
    /// Begins with another file.
    pub fn open(&mut self, file: &str, text: &str) -> Option<Located> {
        file.clone_into(&mut self.file);
        match Located::parse(text) {
            Ok(found) => Some(found),
            Err(faults) => {
                faults.sorted().into_iter().for_each(|fault| self.fault(fault.at, fault.what));
                None
            }
        }
    }

    pub fn fault(&mut self, at: Place, what: impl Display) {
        self.flaws.push(Flaw { file: self.file.clone(), at, what: what.to_string(), is_warning: false });
    }

    pub fn warn(&mut self, at: Place, what: impl Display) {
        self.flaws.push(Flaw { file: self.file.clone(), at, what: what.to_string(), is_warning: true });
    }

    /// The value, or what is wrong with it among the flaws.
    pub fn ok<T, E: Display>(&mut self, at: Place, result: Result<T, E>) -> Option<T> {
        result.map_err(|why| self.fault(at, why)).ok()
    }

    /// A mapping in which only these names are known.
    pub fn map<'a>(&mut self, found: &'a Located, what: &str, known: &[&str]) -> Option<Entries<'a>> {
        let entries = self.entries(found, &format!("{what} is a mapping with {}", known.join(", ")))?;
        for Entry { at, name, .. } in entries.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
            let nearest = did_you_mean(name, known.iter().copied());
            self.fault(*at, format!("{what} has no {name:?}, only {}{nearest}", known.join(", ")));
        }
        Some(entries.iter().map(|entry| (entry.name.as_str(), &entry.value)).collect())
    }

    /// A mapping of names that the author chose. `what`: `fields is a mapping of ..`
    pub fn entries<'a>(&mut self, found: &'a Located, what: &str) -> Option<&'a [Entry]> {
        if found.entries().is_none() {
            self.fault(found.at, format!("{what}, not {}", found.kind()));
        }
        found.entries()
    }

    pub fn need<'a>(&mut self, map: &mut Entries<'a>, at: Place, name: &str) -> Option<&'a Located> {
        let found = map.remove(name);
        if found.is_none() {
            self.fault(at, format!("{name} is missing"));
        }
        found
    }

    pub fn list<'a>(&mut self, found: &'a Located, what: &str) -> &'a [Located] {
        let Some(list) = found.list() else {
            self.fault(found.at, format!("{what} is a list, each with a - before it, not {}", found.kind()));
            return &[];
        };
        list
    }

    /// A text; what YAML takes for a number or a boolean is one as well.
    pub fn text(&mut self, found: &Located, what: &str) -> Option<String> {
        match found.value() {
            Value::String(text) => Some(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => {
                self.fault(found.at, format!("{what} is a text, not {}", found.kind()));
                None
            }
        }
    }

    /// A text that is read further.
    pub fn parsed<T, E: Display>(
        &mut self,
        found: &Located,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(found, what)?;
        self.ok(found.at, parse(&text))
    }

    pub fn switch(&mut self, found: &Located, what: &str) -> Option<bool> {
        let switch = found.value().as_bool();
        if switch.is_none() {
            self.fault(found.at, format!("{what} is true or false, not {}", found.kind()));
        }
        switch
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, found: &Located, what: &str, words: &[(&str, T)]) -> Option<T> {
        let text = found.text().unwrap_or_default();
        let chosen = words.iter().find(|(word, _)| *word == text).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            let nearest = did_you_mean(text, known.iter().copied());
            let (last, before) = known.split_last().expect("there is a choice");
            let list = if before.is_empty() {
                (*last).to_owned()
            } else {
                format!("{} or {last}", before.join(", "))
            };
            self.fault(found.at, format!("{what} is {list}{nearest}"));
        }
        chosen
    }

    /// A time such as `10m`.
    pub fn duration(
        &mut self,
        found: &Located,
        what: &str,
        limits: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let text = self.text(found, what)?;
        let read = duration(&text).filter(|time| limits.contains(time));
        if read.is_none() {
            let (least, most) = (shown(*limits.start()), shown(*limits.end()));
            self.fault(
                found.at,
                format!("{what} is a time from {least} to {most}, such as 10m or 6h, not {text:?}"),
            );
        }
        read
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `250ms`, `30s`, `10m`, `6h`, `7d`; a number alone is one of seconds.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "" => 1_000,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

/// As [`duration`] reads it, in the largest unit that needs no fraction.
pub fn shown(time: Duration) -> String {
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let unit = UNITS.iter().rev().find(|(_, unit)| millis % unit == 0 && millis > 0);
    let (name, unit) = unit.unwrap_or(&("s", 1_000));
    format!("{}{name}", millis / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_shown() {
        for (text, seconds) in [("30s", 30), ("10m", 600), ("6h", 21_600), ("7d", 604_800), ("90", 90)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "1.5h", "-1s", "1 h", "1y", "99999999999999999999d"] {
            assert_eq!(duration(text), None, "{text}");
        }
        for text in ["250ms", "30s", "90m", "6h", "7d"] {
            assert_eq!(shown(duration(text).unwrap()), text);
        }
        assert_eq!((shown(Duration::ZERO), shown(Duration::from_secs(60))), ("0s".into(), "1m".into()));
    }

    #[test]
    fn it_goes_on_after_a_mistake_and_names_what_was_meant() {
        let mut reader = Reader::default();
        let found = reader.open("a.yaml", "evry: 10m\nkind: sampel\nlife: 1y\non: 5\n").unwrap();
        let map = reader.map(&found, "a topic", &["every", "kind", "life", "on"]).unwrap();
        reader.choice(map["kind"], "kind", &[("event", 1), ("sample", 2)]);
        reader.duration(map["life"], "life", Duration::from_secs(1)..=Duration::from_secs(86_400));
        reader.switch(map["on"], "on");
        let told: Vec<_> = reader.flaws.iter().map(Flaw::to_string).collect();
        assert_eq!(
            told,
            [
                "a.yaml:1:1: a topic has no \"evry\", only every, kind, life, on; did you mean every?",
                "a.yaml:2:7: kind is event or sample; did you mean sample?",
                "a.yaml:3:7: life is a time from 1s to 1d, such as 10m or 6h, not \"1y\"",
                "a.yaml:4:5: on is true or false, not a number",
            ]
        );
    }
}
