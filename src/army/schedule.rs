//! When soldiers come: a population that follows stages, or arrivals at a rate that does.
//!
//! Everything is worked out before it happens and to the millisecond; nothing here reads a clock.

use std::time::Duration;

use rand::Rng;
use rand::distr::Open01;

/// What a process can carry.
pub const BOTS_MAX: u32 = 10_000;

/// From the level before to this one, evenly, in this time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leg {
    pub level: f64,
    pub time: Duration,
}

/// Levels over time, linear in between. After the last one it stays.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    start: f64,
    legs: Vec<Leg>,
}

impl Course {
    /// This level from the beginning on.
    pub fn constant(level: f64) -> Self {
        Self { start: level, legs: Vec::new() }
    }

    /// From nothing to this level.
    pub fn ramp(level: f64, time: Duration) -> Self {
        if time.is_zero() {
            Self::constant(level)
        } else {
            Self { start: 0.0, legs: vec![Leg { level, time }] }
        }
    }

    /// From nothing, through these.
    pub fn stages(legs: Vec<Leg>) -> Self {
        Self { start: 0.0, legs }
    }

    /// Reads `10:30s,100:2m,0:30s`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let leg = |stage: &str| {
            let (level, time) = stage.split_once(':')?;
            let level = level.trim().parse().ok().filter(|level: &f64| level.is_finite() && *level >= 0.0)?;
            let span = crate::army::spec::amount::Span::parse(time.trim())?;
            Some(Leg { level, time: span.duration() })
        };
        let legs = text.split(',').map(|stage| {
            leg(stage).ok_or_else(|| format!("`{stage}` is no stage: 100:2m is 100 after two minutes"))
        });
        Ok(Self::stages(legs.collect::<Result<_, _>>()?))
    }

    pub fn highest(&self) -> f64 {
        self.legs.iter().map(|leg| leg.level).fold(self.start, f64::max)
    }

    pub fn has_stages(&self) -> bool {
        self.legs.len() > 1
    }

    /// How long until it stays as it is.
    pub fn length(&self) -> Duration {
        self.legs.iter().map(|leg| leg.time).sum()
    }

    /// Each change of the population, as a whole number, and when it comes.
    pub fn changes(&self) -> Vec<(Duration, u32)> {
        let whole = |level: f64| level.round().clamp(0.0, f64::from(BOTS_MAX)) as u32;
        let mut now = whole(self.start);
        let mut changes = if now > 0 { vec![(Duration::ZERO, now)] } else { Vec::new() };
        let mut began = Duration::ZERO;
        for leg in &self.legs {
            let (from, to) = (now, whole(leg.level));
            let steps = from.abs_diff(to);
            for step in 0..steps {
                // The first of a rise comes at once, the last of a fall at the very end.
                let (done, level) =
                    if to > from { (step, from + step + 1) } else { (step + 1, from - step - 1) };
                changes.push((began + leg.time * done / steps.max(1), level));
            }
            began += leg.time;
            now = to;
        }
        changes
    }

    /// When this many have come, if the level is how many come in a second. `None`: never.
    pub fn reaches(&self, arrivals: f64) -> Option<Duration> {
        let (mut left, mut level, mut began) = (arrivals, self.start, Duration::ZERO);
        for leg in &self.legs {
            let time = leg.time.as_secs_f64();
            let all = (level + leg.level) / 2.0 * time;
            if left <= all && all > 0.0 {
                return Some(began + Duration::from_secs_f64(within(left, level, leg.level, time)));
            }
            (left, level, began) = (left - all, leg.level, began + leg.time);
        }
        let stays = (level > 0.0).then(|| Duration::try_from_secs_f64(left / level).ok()).flatten();
        stays.map(|more| began + more)
    }
}

/// Where on a leg from one rate to another so many have come.
fn within(arrivals: f64, from: f64, to: f64, time: f64) -> f64 {
    let slope = (to - from) / time;
    if slope.abs() < f64::EPSILON {
        return arrivals / from;
    }
    // slope/2 t^2 + from t = arrivals
    let root = (from * from + 2.0 * slope * arrivals).max(0.0).sqrt();
    ((root - from) / slope).clamp(0.0, time)
}

/// The arrivals of an open model, one after the other.
pub struct Arrivals<R> {
    course: Course,
    /// As many as one a second would be.
    expected: f64,
    /// Evenly, and not as a Poisson process.
    even: bool,
    chance: R,
}

impl<R: Rng> Arrivals<R> {
    pub fn new(course: Course, even: bool, chance: R) -> Self {
        Self { course, expected: 0.0, even, chance }
    }
}

impl<R: Rng> Iterator for Arrivals<R> {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if !self.even {
            let lot: f64 = self.chance.sample(Open01);
            self.expected -= lot.ln();
        }
        let at = self.course.reaches(self.expected);
        if self.even {
            self.expected += 1.0;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn millis(changes: &[(Duration, u32)]) -> Vec<(u128, u32)> {
        changes.iter().map(|(at, level)| (at.as_millis(), *level)).collect()
    }

    #[test]
    fn a_ramp_starts_one_after_the_other() {
        let ramp = Course::ramp(4.0, Duration::from_secs(1));
        assert_eq!(millis(&ramp.changes()), [(0, 1), (250, 2), (500, 3), (750, 4)]);
        assert_eq!(millis(&Course::constant(3.0).changes()), [(0, 3)]);
        assert_eq!(millis(&Course::constant(0.0).changes()), []);
    }

    #[test]
    fn stages_rise_and_fall() {
        let course = Course::parse("2:1s, 2:5s, 0:2s").unwrap();
        assert_eq!(millis(&course.changes()), [(0, 1), (500, 2), (7_000, 1), (8_000, 0)]);
        assert_eq!(course.highest(), 2.0);
        assert_eq!(course.length(), Duration::from_secs(8));
        for wrong in ["", "10", "x:1s", "10:x", "-1:1s"] {
            assert!(Course::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn even_arrivals_are_even() {
        let chance = StdRng::seed_from_u64(1);
        let all = Arrivals::new(Course::constant(5.0), true, chance).take(4);
        assert_eq!(all.map(|at| at.as_millis()).collect::<Vec<_>>(), [0, 200, 400, 600]);
    }

    #[test]
    fn as_many_arrive_as_the_rate_says() {
        let (mut all, mut rising) = (0, 0);
        for seed in 0..50 {
            let chance = || StdRng::seed_from_u64(seed);
            let until = |course: Course, seconds: u64| {
                let until = Duration::from_secs(seconds);
                Arrivals::new(course, false, chance()).take_while(|at| *at < until).count()
            };
            all += until(Course::constant(10.0), 20);
            rising += until(Course::ramp(10.0, Duration::from_secs(20)), 20);
        }
        println!("seeds 0 to 49");
        assert!((9_600..10_400).contains(&all), "{all}");
        assert!((4_700..5_300).contains(&rising), "{rising}");
        // Nobody comes any more.
        let over = Course::parse("10:1s,0:1s").unwrap();
        assert!(Arrivals::new(over, false, StdRng::seed_from_u64(1)).count() < 40);
    }
}
