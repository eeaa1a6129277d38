//! Which state of a memory is meant: a revision number, or a time that has been, in the server's zone.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use crate::calendar::{shown_time, span, time_of_day};
use crate::clock::Timestamp;
use crate::context::{Error, Result, refuse};
use crate::markdown;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Revision(u64),
    At(Timestamp),
}

impl When {
    /// Reads what somebody typed; the future is no state that could be shown.
    pub fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Self> {
        match parse(text, now, zone) {
            None => Err(not_understood(text)),
            Some(Self::At(at)) if at > now => refuse(format!("⚠ {} is in the future", markdown::time(at))),
            Some(when) => Ok(when),
        }
    }
}

pub fn not_understood(text: &str) -> Error {
    Error::Refused(format!(
        "⚠ I don't understand the time {}. Try `2 hours ago`, `yesterday 9:00` or `2026-05-01 18:30`",
        markdown::code(&markdown::cut(text.trim(), 100))
    ))
}

/// `4`, `2026-01-02`, `2026-01-02 10:00`, `10:00`, `yesterday`, `yesterday 9:00`, `2 days ago`,
/// `1h30m ago`, `<t:1767348000>`.
pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Option<When> {
    /// More digits than any revision number will have; a pasted snowflake is none.
    const REVISION_DIGITS_MAX: usize = 9;
    let text = text.trim().to_lowercase();
    let (text, zone) = match text.strip_suffix(" utc") {
        Some(text) => (text.trim_end(), TimeZone::UTC),
        None => (text.as_str(), zone.clone()),
    };
    let digits = text.strip_prefix("revision ").or(text.strip_prefix('#')).unwrap_or(text);
    if !digits.is_empty() && digits.len() <= REVISION_DIGITS_MAX && digits.bytes().all(|b| b.is_ascii_digit())
    {
        return digits.parse().ok().map(When::Revision);
    }
    let now = jiff::Timestamp::from_millisecond(now.millis()).ok()?.to_zoned(zone);
    let at = shown_time(text).or_else(|| calendar_time(text, &now)).or_else(|| relative_time(text, &now))?;
    Some(When::At(Timestamp::from_millis(at.as_millisecond())))
}

fn calendar_time(text: &str, now: &Zoned) -> Option<jiff::Timestamp> {
    let with_offset = text.to_uppercase().parse::<jiff::Timestamp>().ok();
    let civil = || text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(DateTime::from)).ok();
    with_offset.or_else(|| in_zone_of(now, civil()?))
}

fn relative_time(text: &str, now: &Zoned) -> Option<jiff::Timestamp> {
    if let Some(length) = text.strip_suffix(" ago") {
        return Some(now.checked_sub(span(length)?).ok()?.timestamp());
    }
    let (day, time) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let back = match day {
        "now" if time.is_empty() => return Some(now.timestamp()),
        "today" => 0,
        "yesterday" => 1,
        _ => return last_time_of_day(text, now),
    };
    let day = now.checked_sub(Span::new().days(back)).ok()?;
    match time.trim() {
        "" => Some(day.timestamp()),
        time => in_zone_of(now, day.date().to_datetime(time_of_day(time)?)),
    }
}

/// A time of day alone is the last one that has been.
fn last_time_of_day(text: &str, now: &Zoned) -> Option<jiff::Timestamp> {
    let today = in_zone_of(now, now.date().to_datetime(time_of_day(text)?))?;
    if today <= now.timestamp() {
        return Some(today);
    }
    in_zone_of(now, now.date().yesterday().ok()?.to_datetime(time_of_day(text)?))
}

fn in_zone_of(now: &Zoned, time: DateTime) -> Option<jiff::Timestamp> {
    Some(time.to_zoned(now.time_zone().clone()).ok()?.timestamp())
}

/// A key and a state, as in `wifi 4` or `what is love 2 days ago`: the longest text at the end that is one.
pub fn after_key<'a>(text: &'a str, now: Timestamp, zone: &TimeZone) -> Option<(&'a str, When)> {
    let text = text.trim();
    if let Some((key, rest)) = super::grammar::leading_quote(text) {
        return parse(rest, now, zone).map(|when| (key, when));
    }
    let starts = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at);
    starts.filter(|&at| at > 0).find_map(|at| Some((text[..at].trim_end(), parse(&text[at..], now, zone)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-01T12:00:00Z").unwrap()
    }

    #[test]
    fn clock_times_are_those_of_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for (text, expected) in [
            ("2026-01-02 10:00", "2026-01-02T09:00:00Z"),
            ("2026-01-02 10:00 UTC", "2026-01-02T10:00:00Z"),
            ("yesterday 9:00", "2026-02-28T08:00:00Z"),
            ("13:00", "2026-03-01T12:00:00Z"),
            ("2 days ago", "2026-02-27T12:00:00Z"),
        ] {
            assert_eq!(parse(text, now(), &berlin), Timestamp::parse(expected).map(When::At), "{text}");
        }
    }

    #[test]
    fn states_are_numbers_or_times() {
        for (text, expected) in [
            ("2026-01-02 10:00", "2026-01-02T10:00:00Z"),
            ("2026-01-02T10:00:30", "2026-01-02T10:00:30Z"),
            ("2026-01-02t10:00:00z", "2026-01-02T10:00:00Z"),
            ("2026-01-02T10:00:00+02:00", "2026-01-02T08:00:00Z"),
            ("2026-01-02 10:00 UTC", "2026-01-02T10:00:00Z"),
            ("2026-01-02", "2026-01-02T00:00:00Z"),
            ("2 days ago", "2026-02-27T12:00:00Z"),
            ("an hour ago", "2026-03-01T11:00:00Z"),
            ("1h30m ago", "2026-03-01T10:30:00Z"),
            ("2 hours and 5 minutes ago", "2026-03-01T09:55:00Z"),
            ("1 month ago", "2026-02-01T12:00:00Z"),
            ("Yesterday", "2026-02-28T12:00:00Z"),
            ("yesterday 9:00", "2026-02-28T09:00:00Z"),
            ("today 09:00", "2026-03-01T09:00:00Z"),
            ("now", "2026-03-01T12:00:00Z"),
            ("10:00", "2026-03-01T10:00:00Z"),
            ("13:00", "2026-02-28T13:00:00Z"),
            ("<t:1767348000:R>", "2026-01-02T10:00:00Z"),
        ] {
            assert_eq!(
                parse(text, now(), &TimeZone::UTC),
                Timestamp::parse(expected).map(When::At),
                "{text}"
            );
        }
        assert_eq!(parse("4", now(), &TimeZone::UTC), Some(When::Revision(4)));
        assert_eq!(parse("#12", now(), &TimeZone::UTC), Some(When::Revision(12)));
        assert_eq!(parse("revision 3", now(), &TimeZone::UTC), Some(When::Revision(3)));
        for nonsense in ["25:00", "soon", "", "-2 days ago", "9", "2026-13-01", "123456789012345678", "ago"] {
            let revision = parse(nonsense, now(), &TimeZone::UTC);
            assert!(revision.is_none() || nonsense == "9", "{nonsense}");
        }
    }

    #[test]
    fn the_future_has_not_been() {
        assert!(
            When::read("2026-03-02", now(), &TimeZone::UTC)
                .unwrap_err()
                .to_string()
                .ends_with("is in the future")
        );
        assert!(When::read("25:00", now(), &TimeZone::UTC).unwrap_err().to_string().contains("`25:00`"));
    }

    #[test]
    fn a_state_ends_the_line() {
        let at = |text| parse(text, now(), &TimeZone::UTC).unwrap();
        assert_eq!(after_key("wifi 4", now(), &TimeZone::UTC), Some(("wifi", When::Revision(4))));
        assert_eq!(after_key("wifi 2 days ago", now(), &TimeZone::UTC), Some(("wifi", at("2 days ago"))));
        assert_eq!(
            after_key("route 66 yesterday 9:00", now(), &TimeZone::UTC),
            Some(("route 66", at("yesterday 9:00")))
        );
        assert_eq!(
            after_key("plan 2026-01-02 10:00", now(), &TimeZone::UTC),
            Some(("plan", at("2026-01-02 10:00")))
        );
        assert_eq!(after_key("\"top 10\" 3", now(), &TimeZone::UTC), Some(("top 10", When::Revision(3))));
        assert_eq!(after_key("4", now(), &TimeZone::UTC), None);
        assert_eq!(after_key("wifi", now(), &TimeZone::UTC), None);
    }
}
