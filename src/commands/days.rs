//! Days as a server counts them, in its own time zone, and the windows of boards and statistics.

use std::fmt;

use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::clock::Timestamp;
use crate::context::{Choice, Error, Result};
use crate::settings::Settings;

/// How long the numbers of a day are kept. Over a year, so that a month can be compared with the last one of
/// its name.
pub const KEPT_DAYS: i64 = 400;

/// The time zone of a server. One that is not known here, because it came with a newer version, is UTC.
pub fn zone(settings: &Settings) -> TimeZone {
    let named = settings.timezone.as_deref().and_then(|name| TimeZone::get(name).ok());
    named.unwrap_or(TimeZone::UTC)
}

/// A day of a calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(Date);

impl Day {
    pub fn of(at: Timestamp, zone: &TimeZone) -> Self {
        let time = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default();
        Self(zone.to_datetime(time).date())
    }

    /// The part of a board's name that tells the month: `2026-05`.
    pub fn month(self) -> String {
        format!("{:04}-{:02}", self.0.year(), self.0.month())
    }

    /// What the slots of the day start with, in the board of its month: `07#`.
    pub fn slot(self, who: &str) -> String {
        format!("{:02}#{who}", self.0.day())
    }

    /// The first moment of the next day.
    pub fn end(self, zone: &TimeZone) -> Timestamp {
        let next = self.0.checked_add(1.day()).unwrap_or(self.0);
        let start = next.to_zoned(zone.clone()).map(|start| start.timestamp().as_millisecond());
        Timestamp::from_millis(start.unwrap_or(i64::MAX))
    }

    /// The first moment of the day.
    pub fn start(self, zone: &TimeZone) -> Timestamp {
        self.days_before(1).end(zone)
    }

    /// When the numbers of the day expire. The same for all events of the day, whoever counts them.
    pub fn expires_at(self) -> i64 {
        let last = self.0.checked_add(KEPT_DAYS.days()).unwrap_or(self.0);
        last.to_zoned(TimeZone::UTC).map_or(i64::MAX, |end| end.timestamp().as_second())
    }

    /// Whether another day has a row on the same board.
    pub fn is_same_month(self, other: Self) -> bool {
        self.first_of_month() == other.first_of_month()
    }

    pub fn days_before(self, days: i64) -> Self {
        Self(self.0.checked_sub(days.days()).unwrap_or(self.0))
    }

    fn monday(self) -> Self {
        self.days_before(i64::from(self.0.weekday().to_monday_zero_offset()))
    }

    fn first_of_month(self) -> Self {
        Self(self.0.first_of_month())
    }

    /// The first days of the months from one day's to this one's.
    pub fn months_since(self, first: Self) -> impl Iterator<Item = Self> {
        let mut next = Some(first.first_of_month());
        std::iter::from_fn(move || {
            let month = next.filter(|month| *month <= self)?;
            next = month.0.checked_add(1.month()).ok().map(Self);
            Some(month)
        })
    }

    /// All days up to this one, the last one included.
    pub fn since(self, first: Self) -> impl Iterator<Item = Self> {
        let days = first.0.until(self.0).map_or(0, |span| i64::from(span.get_days()));
        (0..=days).rev().map(move |before| self.days_before(before))
    }
}

/// `2026-05-07`
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a board or a statistic is about: up to now, since when?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    Day,
    /// From Monday.
    Week,
    Month,
    All,
}

impl Window {
    pub const ALL: [(&'static str, Self); 4] =
        [("day", Self::Day), ("week", Self::Week), ("month", Self::Month), ("all", Self::All)];

    pub fn read(word: &str) -> Result<Self> {
        let word = word.trim().to_ascii_lowercase();
        let known = Self::ALL.iter().find(|(name, _)| *name == word);
        known
            .map(|(_, window)| *window)
            .ok_or_else(|| Error::Usage("A window is day, week, month or all".to_owned()))
    }

    /// In a title: `this week`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Day => "today",
            Self::Week => "this week",
            Self::Month => "this month",
            Self::All => "all time",
        }
    }

    /// Its first day; `None`: since there is anything.
    pub fn first(self, today: Day) -> Option<Day> {
        match self {
            Self::Day => Some(today),
            Self::Week => Some(today.monday()),
            Self::Month => Some(today.first_of_month()),
            Self::All => None,
        }
    }
}

/// The windows, for slash options.
pub fn suggest_windows(typed: &str) -> Vec<Choice> {
    suggest(&Window::ALL.map(|(name, _)| name), typed)
}

/// Those of a few words that what is typed is a part of.
pub fn suggest(words: &[&str], typed: &str) -> Vec<Choice> {
    let typed = typed.trim().to_ascii_lowercase();
    let fits = words.iter().filter(|word| word.contains(&typed));
    fits.map(|word| Choice { label: (*word).to_owned(), value: (*word).to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Timestamp {
        Timestamp::parse(time).unwrap()
    }

    #[test]
    fn a_day_is_the_servers() {
        let berlin = zone(&Settings { timezone: Some("Europe/Berlin".into()), ..Settings::new(1) });
        let late = at("2026-03-31T22:30:00Z");
        assert_eq!(Day::of(late, &TimeZone::UTC).to_string(), "2026-03-31");
        let day = Day::of(late, &berlin);
        assert_eq!((day.to_string().as_str(), day.month().as_str()), ("2026-04-01", "2026-04"));
        assert_eq!(day.slot("7"), "01#7");
        assert_eq!(day.end(&berlin), at("2026-04-01T22:00:00Z"));
        // The day on which clocks go forward has 23 hours.
        let short = Day::of(at("2026-03-29T00:30:00Z"), &berlin);
        assert_eq!(short.end(&berlin), at("2026-03-29T22:00:00Z"));
    }

    #[test]
    fn an_unknown_zone_is_utc() {
        let odd = Settings { timezone: Some("Mars/Olympus".into()), ..Settings::new(1) };
        assert_eq!(zone(&odd), TimeZone::UTC);
    }

    #[test]
    fn windows_begin_where_people_think() {
        let thursday = Day::of(at("2026-04-02T12:00:00Z"), &TimeZone::UTC);
        let first = |window: Window| window.first(thursday).map(|day| day.to_string());
        assert_eq!(first(Window::Day).as_deref(), Some("2026-04-02"));
        assert_eq!(first(Window::Week).as_deref(), Some("2026-03-30"));
        assert_eq!(first(Window::Month).as_deref(), Some("2026-04-01"));
        assert_eq!(first(Window::All), None);
        let week: Vec<String> = thursday.since(thursday.monday()).map(|day| day.to_string()).collect();
        assert_eq!(week, ["2026-03-30", "2026-03-31", "2026-04-01", "2026-04-02"]);
        assert!(Window::read("Week").is_ok() && Window::read("year").is_err());
    }
}
