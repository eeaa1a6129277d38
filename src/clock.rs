//! Time: [`Timestamp`], milliseconds since 1970, and [`Clock`], which tells it.
//!
//! A command never reads the clock: the time it stores is the time in its event's snowflake, so that a
//! redelivered event writes the same bytes. Decisions take `now` as a parameter. What is left asks a
//! [`Clock`], and in a test that is one the test moves by hand.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The first millisecond that a Discord snowflake can tell: 2015-01-01T00:00:00Z.
/// <https://discord.com/developers/docs/reference#snowflakes>
const DISCORD_EPOCH_MS: i64 = 1_420_070_400_000;

/// A point in time, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * 1_000)
    }

    /// The time in a snowflake: its upper 42 bits.
    pub const fn of_snowflake(id: u64) -> Self {
        Self((id >> 22) as i64 + DISCORD_EPOCH_MS)
    }

    /// The smallest snowflake made at this time; 0 before Discord's epoch.
    pub const fn snowflake(self) -> u64 {
        let since = self.0 - DISCORD_EPOCH_MS;
        if since < 0 { 0 } else { (since as u64) << 22 }
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since 1970, as in DynamoDB's TTL attributes and Discord's `<t:…>`.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was; zero if it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Reads `YYYY-MM-DDTHH:MM:SSZ`; the original bot wrote it without the `Z`.
    pub fn parse(text: &str) -> Option<Self> {
        let zoned = if text.ends_with('Z') { text.to_owned() } else { format!("{text}Z") };
        let time: jiff::Timestamp = zoned.parse().ok()?;
        Some(Self(time.as_millisecond()))
    }

    /// Reads the `Date` of an HTTP answer: `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn parse_http(text: &str) -> Option<Self> {
        let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(Self(time.as_millisecond()))
    }
}

/// `YYYY-MM-DDTHH:MM:SSZ`, the form in which records hold times.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_second(self.seconds()).map_err(|_| fmt::Error)?;
        write!(f, "{time}")
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a time")))
    }
}

/// Tells the time: the system's, or one that a test moves or sets wrong.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The system's, set ahead by this much.
    System { ahead: Duration },
    /// Stands still until it is moved.
    Manual(Arc<AtomicI64>),
    /// Runs with the runtime's time, which a test may have made virtual.
    Running { start: Timestamp, since: tokio::time::Instant },
}

impl Default for Source {
    fn default() -> Self {
        Self::System { ahead: Duration::ZERO }
    }
}

impl Clock {
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until [`Clock::advance`].
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicI64::new(start.0))))
    }

    /// A clock that is ahead of the system's by this much.
    pub fn ahead(by: Duration) -> Self {
        Self(Source::System { ahead: by })
    }

    /// A clock that shows this time now and runs with the runtime's time.
    pub fn running(start: Timestamp) -> Self {
        Self(Source::Running { start, since: tokio::time::Instant::now() })
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::Manual(millis) => Timestamp(millis.load(Ordering::SeqCst)),
            Source::Running { start, since } => start.plus(since.elapsed()),
            Source::System { ahead } => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).plus(*ahead)
            }
        }
    }

    /// Moves a manual clock; the system's is nobody's to move.
    pub fn advance(&self, by: Duration) {
        let Source::Manual(millis) = &self.0 else { panic!("only a manual clock is moved") };
        millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snowflake_tells_its_time() {
        // The example in Discord's documentation.
        let at = Timestamp::of_snowflake(175_928_847_299_117_063);
        assert_eq!(at.millis(), 1_462_015_105_796);
        assert_eq!(at.to_string(), "2016-04-30T11:18:25Z");
        assert_eq!(Timestamp::of_snowflake(at.snowflake()), at);
        assert_eq!(Timestamp::from_seconds(0).snowflake(), 0);
    }

    #[test]
    fn times_are_read_with_and_without_z() {
        let with = Timestamp::parse("2022-05-01T14:00:07Z");
        assert_eq!(with, Timestamp::parse("2022-05-01T14:00:07"));
        assert_eq!(with.map(|t| t.to_string()).as_deref(), Some("2022-05-01T14:00:07Z"));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_clock_goes_with_the_runtimes_time() {
        let clock = Clock::running(Timestamp::from_seconds(100));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), Timestamp::from_seconds(105));
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let date = Timestamp::parse_http("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date, Timestamp::parse("1994-11-06T08:49:37Z"));
        assert_eq!(Timestamp::parse_http("now"), None);
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(Timestamp::from_seconds(100));
        clock.clone().advance(Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_seconds(105));
    }
}
