//! Thresholds: what a run must have measured to pass.

use std::fmt;

use crate::army::spec::amount::{self, Span};
use crate::yaml::fault::{did_you_mean, nearest};

/// `memory.recall:p(95)<300ms`, `errors.rate<1%`, each with `!abort` if it is to end the run at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written, without blanks and `!abort`.
    pub text: String,
    pub measure: Measure,
    pub comparison: Comparison,
    pub limit: f64,
    pub aborts: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    /// Of one action or label.
    Action(String, Of),
    Whole(Whole),
}

/// What of an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Of {
    /// Milliseconds of service time at this percentile.
    Percentile(f64),
    Avg,
    Max,
    Count,
    /// How often a second.
    Rate,
    /// The share of runs that failed or were errors.
    FailRate,
}

/// What of the run as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whole {
    /// The share of all runs of actions that were errors.
    ErrorsRate,
    /// The share of all checks that held.
    ChecksRate,
    AckLate,
    Http429,
    BotsErrored,
    SharedConflicts,
}

const WHOLES: [(&str, Whole); 6] = [
    ("errors.rate", Whole::ErrorsRate),
    ("checks.rate", Whole::ChecksRate),
    ("discord.ack_late", Whole::AckLate),
    ("discord.http_429", Whole::Http429),
    ("bots.errored", Whole::BotsErrored),
    ("shared.conflicts", Whole::SharedConflicts),
];

const MEASURES: [&str; 6] = ["p(95)", "avg", "max", "count", "rate", "fail_rate"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    Unequal,
}

/// The longest first, so that `<=` is not read as `<`.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// Where measured values come from.
pub trait Lookup {
    /// `None` if there was no such action, or nothing to measure it by. Durations in milliseconds.
    fn action(&self, name: &str, of: Of) -> Option<f64>;
    fn whole(&self, whole: Whole) -> Option<f64>;
}

impl Threshold {
    pub fn parse(text: &str) -> Result<Self, String> {
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (plain, aborts) = match plain.strip_suffix("!abort") {
            Some(plain) => (plain.to_owned(), true),
            None => (plain, false),
        };
        let found = plain.find(['<', '>', '=', '!']);
        let at = found.ok_or_else(|| format!("`{text}` compares nothing: write ACTION:p(95)<300ms"))?;
        let (left, rest) = plain.split_at(at);
        let (sign, comparison) = COMPARISONS
            .iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| format!("`{text}`: < <= > >= == and != compare"))?;
        let measure = measure(left)?;
        let limit = limit(&rest[sign.len()..], &measure)?;
        Ok(Self { text: plain.clone(), measure, comparison: *comparison, limit, aborts })
    }

    /// Whether it is kept. What was not measured keeps no promise about time, and is 0 where things are counted.
    pub fn evaluate(&self, lookup: &dyn Lookup) -> (Option<f64>, bool) {
        let value = match &self.measure {
            Measure::Action(name, of @ (Of::Count | Of::Rate)) => {
                Some(lookup.action(name, *of).unwrap_or(0.0))
            }
            Measure::Action(name, of) => lookup.action(name, *of),
            Measure::Whole(whole) => lookup.whole(*whole),
        };
        (value, value.is_some_and(|value| self.comparison.holds(value, self.limit)))
    }

    /// Whether it is about latencies, which mean nothing in virtual time.
    pub fn is_about_time(&self) -> bool {
        matches!(self.measure, Measure::Action(_, Of::Percentile(_) | Of::Avg | Of::Max | Of::Rate))
    }

    /// Whether there is such an action or label.
    pub fn check_name<'a>(&self, known: impl Iterator<Item = &'a str> + Clone) -> Result<(), String> {
        match &self.measure {
            Measure::Action(name, _) if !known.clone().any(|known| known == name) => {
                let near =
                    nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                Err(format!(
                    "the threshold `{}` is about {name}, which the tree does not do{near}",
                    self.text
                ))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Comparison {
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Less => value < limit,
            Self::LessOrEqual => value <= limit,
            Self::Greater => value > limit,
            Self::GreaterOrEqual => value >= limit,
            Self::Equal => value == limit,
            Self::Unequal => value != limit,
        }
    }
}

fn measure(text: &str) -> Result<Measure, String> {
    match text.rsplit_once(':') {
        Some((action, of)) => Ok(Measure::Action(action.to_owned(), of_action(of)?)),
        None => match WHOLES.iter().find(|(name, _)| *name == text) {
            Some((_, whole)) => Ok(Measure::Whole(*whole)),
            None => {
                let near = did_you_mean(text, WHOLES.iter().map(|(name, _)| *name));
                Err(format!("`{text}` is no measure{near} Of an action: {text}:p(95)"))
            }
        },
    }
}

fn of_action(text: &str) -> Result<Of, String> {
    if let Some(percentile) = text.strip_prefix("p(").and_then(|text| text.strip_suffix(')')) {
        let percentile = percentile.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
        return percentile.map(Of::Percentile).ok_or_else(|| format!("`{text}` is no percentile"));
    }
    match text {
        "avg" => Ok(Of::Avg),
        "max" => Ok(Of::Max),
        "count" => Ok(Of::Count),
        "rate" => Ok(Of::Rate),
        "fail_rate" => Ok(Of::FailRate),
        _ => Err(format!("`{text}` is no measure of an action{}", did_you_mean(text, MEASURES))),
    }
}

fn limit(text: &str, measure: &Measure) -> Result<f64, String> {
    let wrong = |wanted: &str| format!("`{text}` is no {wanted}");
    match measure {
        Measure::Action(_, Of::Percentile(_) | Of::Avg | Of::Max) => {
            let millis = text.parse::<f64>().ok();
            let span = Span::parse(text).filter(|span| span.low == span.high).map(|span| span.low * 1_000.0);
            // A bare number is milliseconds here, as in the document; with a unit it is a duration.
            millis.or(span).ok_or_else(|| wrong("duration: write 300ms"))
        }
        Measure::Action(_, Of::Rate) => {
            amount::rate(text).or_else(|| text.parse().ok()).ok_or_else(|| wrong("rate: write 5/s"))
        }
        Measure::Action(_, Of::FailRate) | Measure::Whole(Whole::ErrorsRate | Whole::ChecksRate) => {
            amount::share(text).ok_or_else(|| wrong("share: write 1%"))
        }
        _ => text.parse().ok().filter(|number: &f64| *number >= 0.0).ok_or_else(|| wrong("number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Lookup for Fixed {
        fn action(&self, name: &str, of: Of) -> Option<f64> {
            (name == "memory.recall").then_some(match of {
                Of::Percentile(percentile) => percentile * 2.0,
                Of::Count => 10.0,
                Of::FailRate => 0.02,
                _ => 5.0,
            })
        }

        fn whole(&self, whole: Whole) -> Option<f64> {
            (whole == Whole::ErrorsRate).then_some(0.005)
        }
    }

    #[test]
    fn thresholds_are_kept_or_not() {
        for (text, value, ok) in [
            ("memory.recall:p(95)<300ms", Some(190.0), true),
            ("memory.recall:p(95) < 100", Some(190.0), false),
            ("memory.recall:p(99.9)<=0.2s", Some(199.8), true),
            ("memory.recall:count==10", Some(10.0), true),
            ("memory.recall:fail_rate<1%", Some(0.02), false),
            ("nothing:count==0", Some(0.0), true),
            ("nothing:p(50)<1h", None, false),
            ("errors.rate<1%", Some(0.005), true),
            ("checks.rate>99%", None, false),
        ] {
            assert_eq!(Threshold::parse(text).unwrap().evaluate(&Fixed), (value, ok), "{text}");
        }
    }

    #[test]
    fn what_is_no_threshold_says_why() {
        for (text, told) in [
            ("memory.recall", "compares nothing"),
            ("memory.recall:p95<5", "p(95)"),
            ("error.rate<1%", "errors.rate"),
            ("errors.rate<5", "share"),
            ("a:max<x", "duration"),
            ("a:count<-1", "number"),
            ("a:p(101)<5", "percentile"),
        ] {
            let error = Threshold::parse(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
        let threshold = Threshold::parse("memory.recal:max < 5 !abort").unwrap();
        assert!(threshold.aborts && threshold.is_about_time());
        let error = threshold.check_name(["memory.recall"].into_iter()).unwrap_err();
        assert!(error.ends_with("did you mean memory.recall?"), "{error}");
    }
}
