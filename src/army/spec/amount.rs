//! Amounts as people write them: durations, ranges of them, rates, shares.

use std::time::Duration;

use rand::{Rng, RngCore};

/// No wait in a tree is longer: a day. What is longer is a slip of the pen.
const SECONDS_MAX: f64 = 86_400.0;

/// From this to that many seconds, each as likely as the others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub low: f64,
    pub high: f64,
}

impl Span {
    /// `250ms`, `1.5s`, `2m`, `1h`, a number of seconds, or two of them as a range: `1s..5s`.
    pub fn parse(text: &str) -> Option<Self> {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        // In `1..5s` the unit is said once.
        let low_text = if has_unit(low) { low.to_owned() } else { format!("{}{}", low.trim(), unit(high)) };
        let (low, high) = (seconds(&low_text)?, seconds(high)?);
        (low <= high).then_some(Self { low, high })
    }

    pub fn of_seconds(seconds: f64) -> Option<Self> {
        (0.0..=SECONDS_MAX).contains(&seconds).then_some(Self { low: seconds, high: seconds })
    }

    /// Whether a text looks like one, so that a parameter with this default takes nothing else.
    pub fn is_written(text: &str) -> bool {
        has_unit(text) && Self::parse(text).is_some()
    }

    pub fn draw(self, rng: &mut dyn RngCore) -> f64 {
        if self.low == self.high { self.low } else { rng.random_range(self.low..=self.high) }
    }

    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.high)
    }
}

/// The longest first, so that `ms` is not read as `s`.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];

fn unit(text: &str) -> &'static str {
    let found = UNITS.iter().find(|(unit, _)| text.trim().ends_with(unit));
    found.map_or("", |(unit, _)| unit)
}

fn has_unit(text: &str) -> bool {
    !unit(text).is_empty()
}

fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let unit = unit(text);
    let number = decimal(text.strip_suffix(unit)?)?;
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map_or(1.0, |(_, factor)| *factor);
    let seconds = number * factor;
    (seconds <= SECONDS_MAX).then_some(seconds)
}

/// A number without a sign or an exponent.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain.then(|| text.parse().ok()).flatten()
}

/// `5/s`, `30/m`: how many a second.
pub fn rate(text: &str) -> Option<f64> {
    let (number, unit) = text.split_once('/')?;
    let per = match unit.trim() {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return None,
    };
    let rate = decimal(number.trim())? / per;
    (rate > 0.0).then_some(rate)
}

/// `30%` or `0.3`.
pub fn share(text: &str) -> Option<f64> {
    let share = match text.trim().strip_suffix('%') {
        Some(percent) => decimal(percent.trim())? / 100.0,
        None => decimal(text.trim())?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, low, high) in [
            ("250ms", 0.25, 0.25),
            ("1.5s", 1.5, 1.5),
            ("2m", 120.0, 120.0),
            ("3", 3.0, 3.0),
            ("1s..5s", 1.0, 5.0),
            ("1..5s", 1.0, 5.0),
            ("200ms..2s", 0.2, 2.0),
            ("0 .. 10ms", 0.0, 0.01),
        ] {
            let found = Span::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert!((found.low - low).abs() < 1e-9 && (found.high - high).abs() < 1e-9, "{text}: {found:?}");
        }
        for text in ["", "s", "5s..1s", "-1s", "1 x", "1e3", "1s..", "..2s", "inf", "NaN", "25h", ".s"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn rates_and_shares_have_units() {
        assert_eq!(rate("5/s"), Some(5.0));
        assert_eq!(rate("30/m"), Some(0.5));
        assert_eq!((rate("5"), rate("0/s"), rate("5/d")), (None, None, None));
        assert_eq!(
            (share("30%"), share("0.3"), share("101%"), share("x")),
            (Some(0.3), Some(0.3), None, None)
        );
    }
}
