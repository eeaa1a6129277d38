//! [`Numbers`]: what `/metrics` says, read by the dashboard. There is one set of books: whatever a page shows has
//! been written for Prometheus first, so the two cannot differ.

use std::collections::BTreeMap;

/// One line of the OpenMetrics text.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// All samples at one moment.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    samples: Vec<Sample>,
    /// What each family is, as its `HELP` line says.
    help: BTreeMap<String, String>,
}

/// The families of a distribution are three; this is the one with its buckets.
const BUCKET: &str = "_bucket";

impl Numbers {
    /// Reads the OpenMetrics text of this program. Lines that are none are passed over.
    pub fn parse(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect();
        let help = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
        Self { samples, help: help.map(|(name, help)| (name.to_owned(), help.to_owned())).collect() }
    }

    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of a family; 0 if there is none.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).map(|sample| sample.value).sum()
    }

    /// The sum of what has this label.
    pub fn sum_where(&self, name: &str, label: &str, value: &str) -> f64 {
        let has = |sample: &&Sample| sample.labels.get(label).is_some_and(|found| found == value);
        self.of(name).filter(has).map(|sample| sample.value).sum()
    }

    /// The sums by one label.
    pub fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name) {
            *sums.entry(sample.labels.get(label).cloned().unwrap_or_default()).or_insert(0.0) += sample.value;
        }
        sums
    }

    /// The sums by two labels.
    pub fn by_two(&self, name: &str, first: &str, second: &str) -> BTreeMap<(String, String), f64> {
        let mut sums = BTreeMap::new();
        let label = |sample: &Sample, name: &str| sample.labels.get(name).cloned().unwrap_or_default();
        for sample in self.of(name) {
            *sums.entry((label(sample, first), label(sample, second))).or_insert(0.0) += sample.value;
        }
        sums
    }

    /// How many were at most so large, for each bound of a distribution, in order.
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}{BUCKET}");
        let mut buckets: Vec<(f64, f64)> = self
            .of(&name)
            .filter_map(|sample| Some((sample.labels.get("le")?.parse().ok()?, sample.value)))
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }

    /// Every sample of families whose name begins so: the name, its labels, its number.
    pub fn starting(&self, prefix: &str) -> Vec<(&str, String, f64)> {
        let found = self.samples.iter().filter(|sample| sample.name.starts_with(prefix));
        found.map(|sample| (sample.name.as_str(), labels(sample), sample.value)).collect()
    }

    /// What a family is.
    pub fn help(&self, family: &str) -> Option<&str> {
        self.help.get(family).map(String::as_str)
    }
}

fn labels(sample: &Sample) -> String {
    sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// The value below which this share of a distribution lies, as Prometheus estimates it: evenly within a bucket.
pub fn quantile(share: f64, buckets: &[(f64, f64)]) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let (mut lower, mut below) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= share * total {
            // Nothing is known of what is beyond the last bound.
            let inside = if bound.is_finite() { bound - lower } else { 0.0 };
            let part = if *count > below { (share * total - below) / (count - below) } else { 0.0 };
            return Some(lower + inside * part);
        }
        (lower, below) = (*bound, *count);
    }
    None
}

fn sample(line: &str) -> Option<Sample> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels_of(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = value.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// Reads `a="b",c="d"}`, and gives what follows.
fn labels_of(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches(',');
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.to_owned(), value);
        text = &rest[end + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn what_is_written_for_prometheus_is_read_back() {
        let metrics = Metrics::default();
        metrics.command("ping", "ok");
        metrics.command("ping", "ok");
        metrics.command("mem edit", "error");
        metrics.servers.set(3);
        metrics.command_seconds.observe(0.03);
        let numbers = Numbers::parse(&metrics.text());
        assert_eq!(numbers.sum("mneme_commands_total"), 3.0);
        assert_eq!(numbers.sum_where("mneme_commands_total", "outcome", "ok"), 2.0);
        assert_eq!(numbers.by("mneme_commands_total", "command")["mem edit"], 1.0);
        assert_eq!(numbers.sum("mneme_servers"), 3.0);
        assert_eq!(numbers.help("mneme_servers"), Some("Servers the bot is in."));
        assert_eq!(numbers.buckets("mneme_command_seconds").last(), Some(&(f64::INFINITY, 1.0)));
    }

    #[test]
    fn labels_may_hold_anything() {
        let numbers = Numbers::parse("x{a=\"b\\\"c, }\\n\",d=\"e\"} 1 1700000000\nnot a sample\nx 2\n");
        assert_eq!(numbers.by("x", "a")["b\"c, }\n"], 1.0);
        assert_eq!((numbers.sum("x"), numbers.sum_where("x", "d", "e")), (3.0, 1.0));
    }

    #[test]
    fn quantiles_are_those_of_prometheus() {
        let buckets = [(0.1, 10.0), (0.5, 90.0), (1.0, 100.0), (f64::INFINITY, 100.0)];
        let near = |share: f64, wanted: f64| (quantile(share, &buckets).unwrap() - wanted).abs() < 1e-9;
        assert!(near(0.05, 0.05) && near(0.5, 0.3) && near(0.95, 0.75) && near(1.0, 1.0));
        assert_eq!(quantile(0.5, &[]), None);
        assert_eq!(quantile(0.5, &[(0.1, 0.0), (f64::INFINITY, 0.0)]), None);
        assert_eq!(quantile(0.5, &[(0.1, 0.0), (f64::INFINITY, 4.0)]), Some(0.1));
    }
}
