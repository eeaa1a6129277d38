//! Whether the army itself is too slow: then what it measures says more about it than about the bot.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};
use tokio::time::{Instant, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::army::metrics::quantile;

/// How long the task sleeps that measures its own delay.
const NAP: Duration = Duration::from_millis(10);

/// Beyond it answers wait for the army and not the other way round.
const LAG_MAX: Duration = Duration::from_millis(20);

/// Of all cores.
const CPU_MAX: f64 = 0.9;

/// So many seconds in a row: one alone is a start or a hiccup.
const SECONDS: usize = 5;

/// What was seen of the generator.
#[derive(Default)]
pub struct Generator {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lags: Option<Histogram<u64>>,
    lately: Option<Histogram<u64>>,
    bad_seconds: usize,
    view: View,
    cpu_seconds: u64,
    cpu_sum: f64,
}

/// How it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct View {
    pub lag_p99: Duration,
    /// On average, as a share of all cores.
    pub cpu: f64,
    pub saturated: bool,
}

impl Generator {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn view(&self) -> View {
        let state = self.state();
        let lag_p99 = state.lags.as_ref().map_or(Duration::ZERO, |lags| quantile(lags, 0.99));
        View { lag_p99, ..state.view }
    }

    /// Measures how late a sleeping task wakes up.
    pub async fn nap(&self, shutdown: CancellationToken) {
        loop {
            let began = Instant::now();
            if shutdown.run_until_cancelled(sleep(NAP)).await.is_none() {
                return;
            }
            let late = began.elapsed().saturating_sub(NAP);
            let micros = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
            let mut state = self.state();
            let State { lags, lately, .. } = &mut *state;
            for histogram in [lags, lately] {
                histogram.get_or_insert_with(new_histogram).saturating_record(micros.max(1));
            }
        }
    }

    /// Looks at the process each second.
    pub async fn watch(&self, shutdown: CancellationToken) {
        let mut process = Process::new();
        let mut seconds = interval(Duration::from_secs(1));
        while shutdown.run_until_cancelled(seconds.tick()).await.is_some() {
            let cpu = process.cpu();
            if self.second(cpu) {
                tracing::warn!(cpu, "the army is saturated: latencies are unreliable");
            }
        }
    }

    /// Takes a second in; says whether it is the one in which the army became too slow.
    fn second(&self, cpu: f64) -> bool {
        let mut state = self.state();
        let lag = state.lately.take().map_or(Duration::ZERO, |lags| quantile(&lags, 0.99));
        state.cpu_seconds += 1;
        state.cpu_sum += cpu;
        state.view.cpu = state.cpu_sum / state.cpu_seconds as f64;
        state.bad_seconds = if lag > LAG_MAX || cpu > CPU_MAX { state.bad_seconds + 1 } else { 0 };
        let became = state.bad_seconds >= SECONDS && !state.view.saturated;
        state.view.saturated |= became;
        became
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

/// This process, as the system sees it.
struct Process {
    system: System,
    id: Option<Pid>,
    cores: f64,
}

impl Process {
    fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        Self { system: System::new(), id: sysinfo::get_current_pid().ok(), cores }
    }

    /// Since it was last asked.
    fn cpu(&mut self) -> f64 {
        let Some(id) = self.id else { return 0.0 };
        let what = ProcessRefreshKind::nothing().with_cpu();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), false, what);
        let percent = self.system.process(id).map_or(0.0, sysinfo::Process::cpu_usage);
        f64::from(percent) / 100.0 / self.cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_bad_seconds_in_a_row_are_too_many() {
        let generator = Generator::default();
        let said: Vec<bool> = [0.95, 0.95, 0.1, 0.95, 0.95, 0.95, 0.95, 0.95, 0.95]
            .into_iter()
            .map(|cpu| generator.second(cpu))
            .collect();
        assert_eq!(said.iter().position(|said| *said), Some(7));
        assert_eq!(said.iter().filter(|said| **said).count(), 1);
        assert!(generator.view().saturated);
    }
}
