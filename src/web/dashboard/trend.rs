//! [`Trend`]: the last hour, sampled, and its plot. For longer there is Prometheus.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use maud::{Markup, html};
use tokio_util::sync::CancellationToken;

use crate::context::Services;
use crate::web::dashboard::numbers::{Numbers, quantile};

/// How often the numbers are looked at, and how many looks are kept: an hour.
const EVERY: Duration = Duration::from_secs(10);
const KEPT: usize = 361;

/// So many looks fill a plot at least: five minutes.
const SHOWN_MIN: usize = 30;

/// The size of a plot, in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// What was counted at one look.
#[derive(Clone, Debug, Default)]
struct Look {
    commands: f64,
    errors: f64,
    buckets: Vec<(f64, f64)>,
}

/// The looks, oldest first.
#[derive(Debug, Default)]
pub struct Trend(Mutex<VecDeque<Look>>);

/// Looks at the numbers until shutdown.
pub async fn keep(services: Arc<Services>, shutdown: CancellationToken) {
    let trend = services.state::<Trend>();
    loop {
        trend.take(&Numbers::parse(&services.metrics.text()));
        if shutdown.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
            return;
        }
    }
}

impl Trend {
    fn take(&self, numbers: &Numbers) {
        let look = Look {
            commands: numbers.sum("mneme_commands_total"),
            errors: numbers.sum_where("mneme_commands_total", "outcome", "error"),
            buckets: numbers.buckets("mneme_command_seconds"),
        };
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push_back(look);
        if looks.len() > KEPT {
            looks.pop_front();
        }
    }

    /// Commands a minute, failed ones a minute, and the slowest twentieth in seconds, look by look.
    fn series(&self) -> [Vec<f64>; 3] {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let a_minute = 60.0 / EVERY.as_secs_f64();
        let pairs = || looks.iter().zip(looks.iter().skip(1));
        let commands = pairs().map(|(a, b)| (b.commands - a.commands) * a_minute).collect();
        let errors = pairs().map(|(a, b)| (b.errors - a.errors) * a_minute).collect();
        let slow = pairs().map(|(a, b)| quantile(0.95, &between(a, b)).unwrap_or(0.0)).collect();
        [commands, errors, slow]
    }

    /// The plots of the overview.
    pub fn plots(&self) -> Markup {
        let [commands, errors, slow] = self.series();
        html! {
            div.plots {
                (plot("Commands a minute", &commands, Some(("of them failed", &errors)), |n| format!("{n:.0}")))
                (plot("Seconds for all but the slowest twentieth", &slow, None, |n| format!("{n:.2} s")))
            }
        }
    }
}

/// What a distribution gained between two looks.
fn between(before: &Look, after: &Look) -> Vec<(f64, f64)> {
    let earlier = |place: usize| before.buckets.get(place).map_or(0.0, |bucket| bucket.1);
    after.buckets.iter().enumerate().map(|(place, (le, n))| (*le, n - earlier(place))).collect()
}

fn plot(title: &str, line: &[f64], second: Option<(&str, &[f64])>, unit: impl Fn(f64) -> String) -> Markup {
    let most = line.iter().copied().fold(0.0, f64::max);
    let now = line.last().copied().unwrap_or(0.0);
    let words = format!("{title} in the last hour: now {}, at most {}", unit(now), unit(most));
    html! {
        figure.plot {
            figcaption { b { (title) } span { "now " (unit(now)) ", at most " (unit(most)) } }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(words) preserveAspectRatio="none" {
                line.axis x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
                polyline.series points=(points(line, most)) {}
                @if let Some((_, line)) = second {
                    polyline.series.bad points=(points(line, most)) {}
                }
            }
            @if let Some((name, _)) = second {
                p.legend { span.swatch {} (title) " " span.swatch.bad {} (name) }
            }
        }
    }
}

/// The newest look is at the right edge, an hour ago at the left one; of a bot that has just started its first
/// minutes fill the plot, and before them there was nothing.
fn points(line: &[f64], most: f64) -> String {
    let start = (1..KEPT - 1).contains(&line.len()).then_some(0.0);
    let line: Vec<f64> = start.into_iter().chain(line.iter().copied()).collect();
    let step = WIDTH / line.len().saturating_sub(1).max(SHOWN_MIN) as f64;
    let first = WIDTH - step * line.len().saturating_sub(1) as f64;
    let point = |(place, n): (usize, &f64)| {
        let height = if most > 0.0 { n / most * (HEIGHT - 4.0) } else { 0.0 };
        format!("{:.1},{:.1}", first + place as f64 * step, HEIGHT - 1.0 - height)
    };
    line.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn the_plot_shows_what_came_between_two_looks() {
        let (trend, metrics) = (Trend::default(), Metrics::default());
        let look = || trend.take(&Numbers::parse(&metrics.text()));
        look();
        metrics.command("ping", "ok");
        metrics.command("ping", "error");
        metrics.command_seconds.observe(0.04);
        look();
        look();
        let [commands, errors, slow] = trend.series();
        assert_eq!((commands, errors), (vec![12.0, 0.0], vec![6.0, 0.0]));
        assert!(slow[0] > 0.0 && slow[1] == 0.0, "{slow:?}");
        assert!(trend.plots().into_string().contains("now 0, at most 12"));
    }

    #[test]
    fn an_hour_is_kept() {
        let (trend, numbers) = (Trend::default(), Numbers::default());
        for _ in 0..KEPT + 5 {
            trend.take(&numbers);
        }
        let [line, ..] = trend.series();
        assert_eq!(line.len(), KEPT - 1);
        assert!(points(&line, 0.0).starts_with("0.0,"));
        assert_eq!(points(&line, 0.0).split(' ').count(), KEPT - 1);
        assert_eq!(points(&[3.0], 6.0), "580.0,119.0 600.0,61.0", "one look is a line from the start");
    }
}
