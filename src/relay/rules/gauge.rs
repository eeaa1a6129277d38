//! [`Gauges`]: numbers that rules took from envelopes, for the metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Of one name. A key is a source, and there are few of them; more come from a mistake, and each is a time
/// series for whoever collects them.
pub const KEYS_MAX: usize = 100;

/// The latest number of each name and key. Cloning gives another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Gauges(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    gauges: BTreeMap<String, BTreeMap<String, f64>>,
    /// How often a source failed.
    failures: BTreeMap<String, u64>,
}

impl Gauges {
    /// `false`: there are too many keys, and this one is not kept.
    pub fn set(&self, name: &str, key: &str, number: f64) -> bool {
        let mut shown = self.shown();
        let keys = shown.gauges.entry(name.to_owned()).or_default();
        let fits = keys.len() < KEYS_MAX || keys.contains_key(key);
        if fits {
            keys.insert(key.to_owned(), number);
        }
        fits
    }

    /// Name, key and number.
    pub fn all(&self) -> Vec<(String, String, f64)> {
        let shown = self.shown();
        let each = |(name, keys): (&String, &BTreeMap<String, f64>)| {
            keys.iter().map(|(key, number)| (name.clone(), key.clone(), *number)).collect::<Vec<_>>()
        };
        shown.gauges.iter().flat_map(each).collect()
    }

    /// Counts a failure of a source.
    pub fn failed(&self, source: &str) {
        *self.shown().failures.entry(source.to_owned()).or_default() += 1;
    }

    /// How often sources failed.
    pub fn failures(&self) -> Vec<(String, u64)> {
        self.shown().failures.iter().map(|(source, n)| (source.clone(), *n)).collect()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_number_is_kept_and_keys_are_few() {
        let gauges = Gauges::default();
        assert!((0..KEYS_MAX).all(|key| gauges.set("free", &key.to_string(), 1.0)));
        assert!(!gauges.set("free", "one more", 1.0) && gauges.set("free", "0", 2.5));
        assert!(gauges.set("other", "one more", 1.0));
        assert_eq!(gauges.all()[0], ("free".to_owned(), "0".to_owned(), 2.5));
        assert_eq!(gauges.all().len(), KEYS_MAX + 1);
    }
}
