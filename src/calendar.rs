//! Times as people write them: `in 2 hours`, `tomorrow 9:00`, `on 1 may at 6pm Europe/Berlin`.
//!
//! What is written is taken apart into words, and a time is made of at most one length, one day, one time of
//! day and one zone, in any order. [`read`] takes a text that is nothing but a time; [`leading`] and
//! [`trailing`] find one at either end of a sentence. Nothing here asks a clock.
//!
//! A day alone means its morning. A time of day alone is the next one to come. In the hour that daylight
//! saving skips, the first instant after it counts; in the hour that comes twice, the earlier one.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{Span, ToSpan, Zoned};

use crate::clock::Timestamp;

/// More words than any time has.
const WORDS_MAX: usize = 14;

/// When a day is meant and no time of day is given.
const MORNING: Time = Time::constant(9, 0, 0, 0);

/// A time that was understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub at: Timestamp,
    /// It was told by a clock on a wall, and which wall was left open.
    pub local: bool,
    /// In another zone it would be another time. A day is not always 24 hours.
    pub zoned: bool,
}

/// A text that is nothing but a time.
pub fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Option<Moment> {
    moment(&words(text), now, zone)
}

/// The longest time that a text starts with, and the rest.
pub fn leading<'a>(text: &'a str, now: Timestamp, zone: &TimeZone) -> Option<(Moment, &'a str)> {
    let words = words(text);
    (1..=words.len().min(WORDS_MAX)).rev().find_map(|n| {
        let end = words[n - 1].end;
        Some((moment(&words[..n], now, zone)?, text[end..].trim()))
    })
}

/// The longest time that a text ends with, and what is before it.
pub fn trailing<'a>(text: &'a str, now: Timestamp, zone: &TimeZone) -> Option<(&'a str, Moment)> {
    let words = words(text);
    let first = words.len().saturating_sub(WORDS_MAX);
    (first..words.len()).find_map(|n| {
        let start = words[n].start;
        Some((text[..start].trim(), moment(&words[n..], now, zone)?))
    })
}

/// A length of time: `90s`, `1h30m`, `an hour`, `2 hours and 5 minutes`.
pub fn span(text: &str) -> Option<Span> {
    let words = words(text);
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    span_of(&texts)
}

/// A time of day: `9:00`, `09:00:30`, `6pm`, `noon`.
pub fn time_of_day(text: &str) -> Option<Time> {
    let named = match text {
        "noon" => Some(Time::midnight().with().hour(12).build().ok()?),
        "midnight" => Some(Time::midnight()),
        "morning" => Some(MORNING),
        "afternoon" => Time::new(15, 0, 0, 0).ok(),
        "evening" => Time::new(18, 0, 0, 0).ok(),
        _ => None,
    };
    if named.is_some() {
        return named;
    }
    if let Some((digits, pm)) = strip_half_of_day(text) {
        let (hour, minute) = digits.split_once(':').unwrap_or((digits, "0"));
        let hour: i8 = number(hour, 2)?.try_into().ok().filter(|hour| (1..=12).contains(hour))?;
        let minute = number(minute, 2)?.try_into().ok()?;
        return Time::new(hour % 12 + if pm { 12 } else { 0 }, minute, 0, 0).ok();
    }
    // A bare number could be anything.
    let padded = if text.find(':') == Some(1) { format!("0{text}") } else { text.to_owned() };
    let digits = padded.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    (digits && padded.contains(':')).then(|| padded.parse().ok()).flatten()
}

/// A zone by its name: `Europe/Berlin`, `berlin`, `UTC`, `UTC+2`, `GMT-03:30`.
pub fn zone(name: &str) -> Option<TimeZone> {
    let name = name.trim();
    offset(&name.to_ascii_lowercase()).or_else(|| TimeZone::get(&iana(name)?).ok())
}

/// The zone's name as it is shown and stored.
pub fn zone_name(zone: &TimeZone) -> String {
    match zone.iana_name() {
        Some(name) => name.to_owned(),
        None => {
            let offset = zone.to_fixed_offset().unwrap_or(Offset::UTC);
            let minutes = offset.seconds() / 60;
            let sign = if minutes < 0 { '-' } else { '+' };
            match (minutes.abs() / 60, minutes.abs() % 60) {
                (0, 0) => "UTC".to_owned(),
                (hours, 0) => format!("UTC{sign}{hours}"),
                (hours, minutes) => format!("UTC{sign}{hours}:{minutes:02}"),
            }
        }
    }
}

/// Names of zones that contain a text; those whose city starts with it come first.
pub fn zones_like(text: &str, limit: usize) -> Vec<String> {
    let wanted = text.trim().replace(' ', "_").to_lowercase();
    let mut found: Vec<(bool, String)> = names()
        .filter(|name| name.to_lowercase().contains(&wanted))
        .map(|name| (!city(&name).to_lowercase().starts_with(&wanted), name))
        .collect();
    found.sort();
    found.into_iter().take(limit).map(|(_, name)| name).collect()
}

/// The zone that may have been meant.
pub fn nearest_zone(text: &str) -> Option<String> {
    let wanted = text.trim().replace(' ', "_").to_lowercase();
    let distance = |name: &str| {
        let (whole, city) = (name.to_lowercase(), city(name).to_lowercase());
        strsim::osa_distance(&whole, &wanted).min(strsim::osa_distance(&city, &wanted))
    };
    let allowed = if wanted.chars().count() <= 4 { 1 } else { 2 };
    names().map(|name| (distance(&name), name)).filter(|(n, _)| *n <= allowed).min().map(|(_, name)| name)
}

fn names() -> impl Iterator<Item = String> {
    let all = jiff::tz::db().available().map(|name| name.to_string());
    all.filter(|name| name.contains('/') && !name.starts_with("posix/") && !name.starts_with("right/"))
}

fn city(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The database's spelling of a name, or of the one city of this name.
fn iana(name: &str) -> Option<String> {
    let wanted = name.replace(' ', "_");
    if wanted.contains('/') || wanted.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        return TimeZone::get(&wanted).ok()?.iana_name().map(str::to_owned);
    }
    let mut found = names().filter(|known| city(known).eq_ignore_ascii_case(&wanted));
    found.next().filter(|_| found.next().is_none())
}

/// `utc`, `gmt+2`, `utc-03:30`.
fn offset(name: &str) -> Option<TimeZone> {
    let rest = name.strip_prefix("utc").or(name.strip_prefix("gmt"))?;
    if rest.is_empty() {
        return Some(TimeZone::UTC);
    }
    let sign = match rest.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = rest[1..].split_once(':').unwrap_or((&rest[1..], "0"));
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    // No place on Earth is further from Greenwich.
    let fits = minutes < 60 && hours * 60 + minutes <= 14 * 60;
    let seconds = i32::try_from(hours * 3_600 + minutes * 60).ok().filter(|_| fits)?;
    Some(TimeZone::fixed(Offset::from_seconds(sign * seconds).ok()?))
}

/// A word of a text, in small letters and without the comma behind it, and where it stands.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    start: usize,
    end: usize,
}

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    let ends = text.char_indices().chain([(text.len(), ' ')]);
    for (at, c) in ends {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                let word = text[from..at].trim_end_matches(',').to_lowercase();
                words.push(Word { text: word, start: from, end: at });
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// What a time is made of.
#[derive(Default)]
struct Parts {
    span: Option<Span>,
    day: Option<Day>,
    time: Option<Time>,
    zone: Option<TimeZone>,
    instant: Option<jiff::Timestamp>,
}

#[derive(Clone, Copy)]
enum Day {
    Ahead(i32),
    Weekday(Weekday),
    /// The first of this name after today.
    Next(Weekday),
    Date(Date),
    /// The next one to come, unless the year is written.
    Yearly {
        month: i8,
        day: i8,
    },
}

fn moment(words: &[Word], now: Timestamp, zone: &TimeZone) -> Option<Moment> {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let parts = Parts::read(&texts)?;
    let written = parts.zone.clone();
    let in_days = written.is_none() && parts.span.is_some_and(|span| !within_a_day(&span));
    let told_by_a_clock = parts.day.is_some() || parts.time.is_some();
    let now = jiff::Timestamp::from_millisecond(now.millis()).ok()?;
    let now = now.to_zoned(written.clone().unwrap_or_else(|| zone.clone()));
    let at = Timestamp::from_seconds(parts.resolve(&now)?.as_second());
    let local = told_by_a_clock && written.is_none();
    Some(Moment { at, local, zoned: local || in_days })
}

impl Parts {
    /// Every word must have its place, and none comes twice.
    fn read(words: &[&str]) -> Option<Self> {
        let mut parts = Self::default();
        let mut rest = words;
        while !rest.is_empty() {
            rest = parts.take(rest)?;
        }
        let lengths_are_days = parts.span.is_none_or(|span| parts.time.is_none() || whole_days(&span));
        let one = match (&parts.instant, &parts.span, &parts.day, &parts.time) {
            (Some(_), None, None, None) => parts.zone.is_none(),
            (None, Some(_), None, _) => lengths_are_days,
            (None, None, Some(_), _) | (None, None, None, Some(_)) => true,
            _ => false,
        };
        one.then_some(parts)
    }

    /// Takes the next part off the words.
    fn take<'a, 'b>(&mut self, words: &'a [&'b str]) -> Option<&'a [&'b str]> {
        if let Some((filler, more)) = words.split_first()
            && !more.is_empty()
        {
            match *filler {
                "at" => return self.take_hour(more).or_else(|| self.take(more)),
                "on" | "the" | "this" | "of" => return self.take(more),
                "in" if more[0] == "the" => return self.take(more),
                "in" => return self.take_span(more),
                _ => {}
            }
        }
        self.take_instant(words)
            .or_else(|| self.take_zone(words))
            .or_else(|| self.take_time(words))
            .or_else(|| self.take_day(words))
            .or_else(|| self.take_span(words))
    }

    fn take_instant<'a, 'b>(&mut self, words: &'a [&'b str]) -> Option<&'a [&'b str]> {
        let instant = shown_time(words[0]).or_else(|| words[0].to_uppercase().parse().ok())?;
        put(&mut self.instant, instant, &words[1..])
    }

    fn take_zone<'a, 'b>(&mut self, words: &'a [&'b str]) -> Option<&'a [&'b str]> {
        // Bare names are left alone: `turkey` is a zone, and a bird.
        let named = || words[0].contains('/').then(|| TimeZone::get(words[0]).ok()).flatten();
        put(&mut self.zone, offset(words[0]).or_else(named)?, &words[1..])
    }

    /// After `at` a bare number is an hour.
    fn take_hour<'a, 'b>(&mut self, words: &'a [&'b str]) -> Option<&'a [&'b str]> {
        if words.get(1).is_some_and(|word| strip_half_of_day(word).is_some_and(|(rest, _)| rest.is_empty())) {
            return None;
        }
        let hour = number(words[0], 2)?.try_into().ok()?;
        put(&mut self.time, Time::new(hour, 0, 0, 0).ok()?, &words[1..])
    }

    fn take_time<'a, 'b>(&mut self, words: &'a [&'b str]) -> Option<&'a [&'b str]> {
        if let [first, half @ ("am" | "pm" | "a.m." | "p.m."), ..] = words
            && let Some(time) = time_of_day(&format!("{first}{half}"))
        {
            return put(&mut self.time, time, &words[2..]);
        }
        if words[0] == "tonight" {
            let rest = put(&mut self.day, Day::Ahead(0), &words[1..])?;
            return put(&mut self.time, Time::new(20, 0, 0, 0).ok()?, rest);
        }
        put(&mut self.time, time_of_day(words[0])?, &words[1..])
    }

    fn take_day<'a, 'b>(&mut self, words: &'a [&'b str]) -> Option<&'a [&'b str]> {
        if let Some((date, time)) = words[0].split_once('t')
            && let (Ok(date), Some(time)) = (date.parse(), time_of_day(time))
        {
            let rest = put(&mut self.day, Day::Date(date), &words[1..])?;
            return put(&mut self.time, time, rest);
        }
        let (day, length) = day(words)?;
        put(&mut self.day, day, &words[length..])
    }

    /// As many words as make a length.
    fn take_span<'a, 'b>(&mut self, words: &'a [&'b str]) -> Option<&'a [&'b str]> {
        let (span, length) = (1..=words.len()).rev().find_map(|n| Some((span_of(&words[..n])?, n)))?;
        put(&mut self.span, span, &words[length..])
    }

    fn resolve(self, now: &Zoned) -> Option<jiff::Timestamp> {
        if let Some(instant) = self.instant {
            return Some(instant);
        }
        if let Some(span) = self.span {
            let then = now.checked_add(span).ok()?;
            return match self.time {
                Some(time) => instant(then.date().to_datetime(time), now.time_zone()),
                None => Some(then.timestamp()),
            };
        }
        let at = |date: Date, time| instant(date.to_datetime(time), now.time_zone());
        let Some(day) = self.day else {
            let today = at(now.date(), self.time?)?;
            return if today > now.timestamp() {
                Some(today)
            } else {
                at(now.date().tomorrow().ok()?, self.time?)
            };
        };
        let time = self.time.unwrap_or(MORNING);
        let first = at(day.first(now.date())?, time)?;
        match day {
            // What is over today is meant of the next one.
            Day::Weekday(_) | Day::Yearly { .. } if first <= now.timestamp() => {
                at(day.second(now.date())?, time)
            }
            _ => Some(first),
        }
    }
}

/// Fills a place that must be empty.
fn put<T, R>(place: &mut Option<T>, value: T, rest: R) -> Option<R> {
    place.is_none().then(|| {
        *place = Some(value);
        rest
    })
}

impl Day {
    fn first(self, today: Date) -> Option<Date> {
        match self {
            Self::Ahead(days) => today.checked_add(days.days()).ok(),
            Self::Weekday(weekday) if today.weekday() == weekday => Some(today),
            Self::Weekday(weekday) | Self::Next(weekday) => today.nth_weekday(1, weekday).ok(),
            Self::Date(date) => Some(date),
            Self::Yearly { .. } => self.in_years_from(today.year(), |date| date >= today),
        }
    }

    fn second(self, today: Date) -> Option<Date> {
        match self {
            Self::Weekday(weekday) => today.nth_weekday(1, weekday).ok(),
            _ => self.in_years_from(today.year(), |date| date > today),
        }
    }

    /// The first such day; there is a 29th of February in one of eight years in a row at least.
    fn in_years_from(self, year: i16, fits: impl Fn(Date) -> bool) -> Option<Date> {
        let Self::Yearly { month, day } = self else { return None };
        (year..=year + 8).find_map(|year| Date::new(year, month, day).ok().filter(|date| fits(*date)))
    }
}

/// A day at the start of the words, and how many of them it takes.
fn day(words: &[&str]) -> Option<(Day, usize)> {
    match words[0] {
        "today" => return Some((Day::Ahead(0), 1)),
        "tomorrow" => return Some((Day::Ahead(1), 1)),
        "next" => return Some((Day::Next(weekday(words.get(1)?)?), 2)),
        _ => {}
    }
    if let Some(weekday) = weekday(words[0]) {
        return Some((Day::Weekday(weekday), 1));
    }
    if let Ok(date) = words[0].parse() {
        return Some((Day::Date(date), 1));
    }
    let of = usize::from(words.get(1) == Some(&"of"));
    let second = words.get(1 + of)?;
    let (month, day) = match (month(words[0]), month(second)) {
        (Some(month), _) if of == 0 => (month, day_number(second)?),
        (_, Some(month)) => (month, day_number(words[0])?),
        _ => return None,
    };
    if let Some(year) = words.get(2 + of).and_then(|word| number(word, 4)).filter(|year| *year >= 1_000) {
        let date = Date::new(year.try_into().ok()?, month, day).ok()?;
        return Some((Day::Date(date), 3 + of));
    }
    // A leap year has every day that any year has.
    Date::new(2_000, month, day).ok()?;
    Some((Day::Yearly { month, day }, 2 + of))
}

/// `1`, `1st`, `22nd`.
fn day_number(word: &str) -> Option<i8> {
    let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
    let digits = digits.strip_suffix('.').unwrap_or(digits);
    number(digits, 2)?.try_into().ok()
}

/// In full only: `sun` and `wed` are words of their own.
fn weekday(word: &str) -> Option<Weekday> {
    Some(match word {
        "monday" => Weekday::Monday,
        "tuesday" => Weekday::Tuesday,
        "wednesday" => Weekday::Wednesday,
        "thursday" => Weekday::Thursday,
        "friday" => Weekday::Friday,
        "saturday" => Weekday::Saturday,
        "sunday" => Weekday::Sunday,
        _ => return None,
    })
}

/// In full or by three letters.
fn month(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let found =
        MONTHS.iter().position(|month| *month == word || (word.len() == 3 && month.starts_with(word)));
    i8::try_from(found? + 1).ok()
}

/// Digits only, and not too many.
fn number(text: &str, digits_max: usize) -> Option<u32> {
    let fits = (1..=digits_max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fits.then(|| text.parse().ok()).flatten()
}

/// `6pm` is `6` and the second half of the day.
fn strip_half_of_day(text: &str) -> Option<(&str, bool)> {
    let half =
        |ends: [&str; 2], pm| ends.iter().find_map(|end| text.strip_suffix(end)).map(|rest| (rest, pm));
    half(["am", "a.m."], false).or_else(|| half(["pm", "p.m."], true))
}

fn span_of(words: &[&str]) -> Option<Span> {
    let words = words.iter().filter(|word| **word != "and");
    let words: Vec<&str> =
        words.map(|word| if matches!(*word, "a" | "an" | "one") { "1" } else { word }).collect();
    // Without its unit a number is no length, and an empty one is none either.
    let span: Span = words.join(" ").parse().ok()?;
    (!span.is_negative() && !span.is_zero()).then_some(span)
}

/// Whether a length has nothing above hours, so that it is the same in every zone.
fn within_a_day(span: &Span) -> bool {
    span.get_years() == 0 && span.get_months() == 0 && span.get_weeks() == 0 && span.get_days() == 0
}

/// Whether a length has nothing below a day, so that a time of day can go with it.
fn whole_days(span: &Span) -> bool {
    let parts = [span.get_hours().into(), span.get_minutes(), span.get_seconds(), span.get_milliseconds()];
    parts.iter().all(|part: &i64| *part == 0)
}

/// Discord's own form, as copied from a message.
pub fn shown_time(text: &str) -> Option<jiff::Timestamp> {
    let inner = text.strip_prefix("<t:")?.strip_suffix('>')?;
    let seconds = inner.split(':').next()?.parse().ok()?;
    jiff::Timestamp::from_second(seconds).ok()
}

/// The instant at which clocks of a zone show this time.
pub fn instant(time: DateTime, zone: &TimeZone) -> Option<jiff::Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { after, .. } => {
            // Counted by the clocks of afterwards, the time is before they were set.
            let before = after.to_timestamp(time).ok()?;
            zone.following(before).next().map(|transition| transition.timestamp())
        }
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn berlin() -> TimeZone {
        zone("Europe/Berlin").unwrap()
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    /// A Sunday, 13:00 in Berlin.
    fn now() -> Timestamp {
        at("2026-03-01T12:00:00Z")
    }

    const UNDERSTOOD: &[(&str, &str)] = &[
        ("90s", "2026-03-01T12:01:30Z"),
        ("1h30m", "2026-03-01T13:30:00Z"),
        ("in 2 hours and 5 minutes", "2026-03-01T14:05:00Z"),
        ("2 hours, 5 minutes", "2026-03-01T14:05:00Z"),
        ("in an hour", "2026-03-01T13:00:00Z"),
        ("a minute", "2026-03-01T12:01:00Z"),
        ("in 3 weeks", "2026-03-22T12:00:00Z"),
        ("in 1 month", "2026-04-01T11:00:00Z"),
        ("in 3 days at 9:00", "2026-03-04T08:00:00Z"),
        ("18:30", "2026-03-01T17:30:00Z"),
        ("9:00", "2026-03-02T08:00:00Z"),
        ("13:00", "2026-03-02T12:00:00Z"),
        ("6pm", "2026-03-01T17:00:00Z"),
        ("6 pm", "2026-03-01T17:00:00Z"),
        ("6:45pm", "2026-03-01T17:45:00Z"),
        ("12am", "2026-03-01T23:00:00Z"),
        ("12pm", "2026-03-02T11:00:00Z"),
        ("at 18", "2026-03-01T17:00:00Z"),
        ("at 6 pm", "2026-03-01T17:00:00Z"),
        ("noon", "2026-03-02T11:00:00Z"),
        ("midnight", "2026-03-01T23:00:00Z"),
        ("today 18:00", "2026-03-01T17:00:00Z"),
        ("today at 9:00", "2026-03-01T08:00:00Z"),
        ("tonight", "2026-03-01T19:00:00Z"),
        ("tomorrow", "2026-03-02T08:00:00Z"),
        ("Tomorrow 9:30", "2026-03-02T08:30:00Z"),
        ("9:30 tomorrow", "2026-03-02T08:30:00Z"),
        ("tomorrow evening", "2026-03-02T17:00:00Z"),
        ("in the evening", "2026-03-01T17:00:00Z"),
        ("monday", "2026-03-02T08:00:00Z"),
        ("on monday at noon", "2026-03-02T11:00:00Z"),
        ("sunday", "2026-03-08T08:00:00Z"),
        ("sunday 18:00", "2026-03-01T17:00:00Z"),
        ("next sunday 18:00", "2026-03-08T17:00:00Z"),
        ("next friday", "2026-03-06T08:00:00Z"),
        ("on 1 may", "2026-05-01T07:00:00Z"),
        ("may 1st", "2026-05-01T07:00:00Z"),
        ("the 1st of may at 18:30", "2026-05-01T16:30:00Z"),
        ("1 jan", "2027-01-01T08:00:00Z"),
        ("may 1, 2027 18:00", "2027-05-01T16:00:00Z"),
        ("29 feb", "2028-02-29T08:00:00Z"),
        ("2026-05-01", "2026-05-01T07:00:00Z"),
        ("2026-05-01 18:30", "2026-05-01T16:30:00Z"),
        ("2026-05-01T18:30", "2026-05-01T16:30:00Z"),
        ("2026-05-01T18:30:00Z", "2026-05-01T18:30:00Z"),
        ("2026-05-01T18:30:00+05:00", "2026-05-01T13:30:00Z"),
        ("2020-01-01", "2020-01-01T08:00:00Z"),
        ("18:30 UTC", "2026-03-01T18:30:00Z"),
        ("18:30 utc+2", "2026-03-01T16:30:00Z"),
        ("18:30 GMT-03:30", "2026-03-01T22:00:00Z"),
        ("tomorrow 9:00 America/New_York", "2026-03-02T14:00:00Z"),
        ("<t:1777645800:R>", "2026-05-01T14:30:00Z"),
        // Clocks are set from 2:00 to 3:00, and from 3:00 to 2:00.
        ("at 02:30 on 2026-03-29", "2026-03-29T01:00:00Z"),
        ("2026-03-29 03:00", "2026-03-29T01:00:00Z"),
        ("2026-03-29 01:59", "2026-03-29T00:59:00Z"),
        ("2026-10-25 02:30", "2026-10-25T00:30:00Z"),
        ("2026-03-08 02:15 America/New_York", "2026-03-08T07:00:00Z"),
        // A day later is not 24 hours later.
        ("in 28 days", "2026-03-29T11:00:00Z"),
    ];

    #[test]
    fn times_are_understood() {
        for (text, expected) in UNDERSTOOD {
            let read = read(text, now(), &berlin()).map(|moment| moment.at.to_string());
            assert_eq!(read.as_deref(), Some(*expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_not_understood() {
        for text in [
            "",
            "25:00",
            "at 25:00",
            "soon",
            "5",
            "at",
            "at 24",
            "tomorrow at",
            "-2 hours",
            "0s",
            "13pm",
            "0am",
            "31 february",
            "2026-13-01",
            "utc",
            "Europe/Berlin",
            "tomorrow tomorrow",
            "18:30 9:00",
            "sun",
            "may",
            "in 2 hours at 9:00",
            "18:30 UTC+15",
            "18:30 Nowhere/Land",
            "tomorrow 9",
            "in 99999999999 years",
            "next",
            "second",
            "turkey",
            "18:30 turkey",
            "<t:x>",
            "1 may 27",
        ] {
            assert_eq!(read(text, now(), &berlin()), None, "{text}");
        }
    }

    #[test]
    fn it_is_known_whether_the_zone_mattered() {
        for (text, local) in [
            ("18:30", true),
            ("tomorrow", true),
            ("18:30 UTC", false),
            ("in 2 days", false),
            ("in 2 days at 9:00", true),
        ] {
            assert_eq!(read(text, now(), &berlin()).unwrap().local, local, "{text}");
        }
    }

    #[test]
    fn a_time_is_found_at_either_end_of_a_sentence() {
        let first = |text| leading(text, now(), &TimeZone::UTC).map(|(m, rest)| (m.at.to_string(), rest));
        let last = |text| trailing(text, now(), &TimeZone::UTC).map(|(rest, m)| (rest, m.at.to_string()));
        let time = |text: &str| at(text).to_string();
        assert_eq!(first("in 1h30m to stretch"), Some((time("2026-03-01T13:30:00Z"), "to stretch")));
        assert_eq!(first("tomorrow 9 things"), Some((time("2026-03-02T09:00:00Z"), "9 things")));
        assert_eq!(
            first("at 02:30 on 2026-03-29 Europe/Berlin to x"),
            Some((time("2026-03-29T01:00:00Z"), "to x"))
        );
        assert_eq!(first("to check in 2 hours"), None);
        assert_eq!(last("to check in 2 hours"), Some(("to check", time("2026-03-01T14:00:00Z"))));
        assert_eq!(last("enjoy the sun"), None);
        assert_eq!(last("call bob in the evening"), Some(("call bob", time("2026-03-01T18:00:00Z"))));
    }

    #[test]
    fn zones_are_known_by_name_city_and_distance() {
        for (typed, name) in [
            ("Europe/Berlin", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("utc", "UTC"),
            ("UTC+2", "UTC+2"),
            ("gmt-03:30", "UTC-3:30"),
        ] {
            assert_eq!(zone(typed).map(|zone| zone_name(&zone)).as_deref(), Some(name), "{typed}");
            assert_eq!(zone(name).map(|zone| zone_name(&zone)).as_deref(), Some(name), "{typed}");
        }
        assert!(zone("Berlinn").is_none() && zone("").is_none() && zone("UTC+99").is_none());
        assert_eq!(nearest_zone("Berlinn").as_deref(), Some("Europe/Berlin"));
        assert_eq!(nearest_zone("somewhere"), None);
        assert_eq!(zones_like("berl", 5), ["Europe/Berlin"]);
    }

    /// A time of day is kept by every zone on every day, unless the clocks skip it; then what comes next counts.
    #[test]
    fn an_instant_shows_the_time_it_was_made_of_or_the_next_there_is() {
        let seed = rand::rng().random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let zones: Vec<TimeZone> = names().filter_map(|name| zone(&name)).collect();
        for _ in 0..20_000 {
            let zone = &zones[random.random_range(0..zones.len())];
            let day = Date::constant(2024, 1, 1).checked_add(random.random_range(0..1_500).days()).unwrap();
            let time = Time::new(random.random_range(0..24), random.random_range(0..60), 0, 0).unwrap();
            let wanted = day.to_datetime(time);
            let found = instant(wanted, zone).unwrap();
            let shown = zone.to_datetime(found);
            assert!(shown >= wanted, "{wanted} became {shown}");
            if shown > wanted {
                let before = zone.to_datetime(found - 1.nanosecond());
                assert!(before < wanted, "{wanted} became {shown}, but {before} came before");
            }
        }
    }

    /// Whatever people type, and a text holds a time only once.
    #[test]
    fn nothing_that_is_typed_does_harm() {
        let seed = rand::rng().random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let some = [
            "in", "at", "to", "tomorrow", "9:00", "18", "may", "1", "2", "h", "hours", "and", ",", "é",
            "utc+1", "\n",
        ];
        for _ in 0..5_000 {
            let length = random.random_range(0..8);
            let words: Vec<&str> = (0..length).map(|_| some[random.random_range(0..some.len())]).collect();
            let text = words.join(if random.random() { " " } else { "" });
            let zone = berlin();
            if let Some((moment, rest)) = leading(&text, now(), &zone) {
                let start = text.trim_end().strip_suffix(rest).unwrap();
                assert_eq!(read(start, now(), &zone), Some(moment), "{text:?}");
            }
            if let Some((rest, moment)) = trailing(&text, now(), &zone) {
                let end = text.trim_start().strip_prefix(rest).unwrap();
                assert_eq!(read(end, now(), &zone), Some(moment), "{text:?}");
            }
        }
    }
}
