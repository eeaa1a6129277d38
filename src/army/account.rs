//! The account of a run: the [`Document`] from what was counted, and whether the run has passed.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::army::generator::Generator;
use crate::army::metrics::document::{
    Action, Bots, Decided, Document, Exit, Lock, Percentiles, Promises, Run, Sample, Second, Shared, Tally,
    Trouble,
};
use crate::army::metrics::{self, quantile};
use crate::army::promises::Verdict;
use crate::army::spec::threshold::{Lookup, Measure, Of, Threshold, Whole};
use crate::army::stage::Stage;
use crate::shared::Times;
use crate::sim::RecordKind;

/// An hour of seconds; a longer run keeps every second one, then every fourth.
const SERIES_MAX: usize = 3_600;

/// What is known of a run besides what its stage counts.
#[derive(Default)]
pub struct Account {
    notes: Mutex<Notes>,
    pub generator: Generator,
}

#[derive(Default)]
struct Notes {
    run: Run,
    ack_late: u64,
    series: Series,
    verdict: Option<Verdict>,
    /// Why promises were not looked at.
    unchecked: bool,
    thresholds: Vec<Decided>,
    frozen: Option<Duration>,
}

#[derive(Default)]
struct Series {
    points: Vec<Second>,
    /// Every how many seconds there is a point; 0 stands for 1.
    every: u64,
    seconds: u64,
    limited: u64,
}

impl Series {
    fn add(&mut self, mut point: Second, limited: u64) {
        self.seconds += 1;
        let every = self.every.max(1);
        if !self.seconds.is_multiple_of(every) {
            return;
        }
        point.http_429 = limited - self.limited;
        self.limited = limited;
        self.points.push(point);
        if self.points.len() > SERIES_MAX {
            let mut place = 0;
            self.points.retain(|_| {
                place += 1;
                place % 2 == 0
            });
            self.every = every * 2;
        }
    }
}

fn millis(duration: Duration) -> f64 {
    // Three digits are what the histograms have.
    (duration.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |share: f64| (!histogram.is_empty()).then(|| millis(quantile(histogram, share)));
    Percentiles {
        min: (!histogram.is_empty()).then(|| millis(Duration::from_micros(histogram.min()))),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
    }
}

impl Account {
    fn notes(&self) -> std::sync::MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the run is.
    pub fn begin(&self, run: Run) {
        self.notes().run = run;
    }

    pub fn state(&self, state: &str) {
        self.notes().run.state = state.to_owned();
    }

    /// Once a second: what has happened since.
    pub fn second(&self, stage: &Stage) -> Second {
        let lately = stage.metrics.lately();
        let records = stage.discord.take_records();
        let late = records.iter().filter(|record| record.kind == RecordKind::LateAck).count() as u64;
        for record in records.iter().filter(|record| record.kind != RecordKind::LateAck) {
            tracing::debug!(%record, "the simulated Discord did not expect that");
        }
        let measured = |duration: Duration| (lately.steps > 0).then(|| millis(duration));
        let point = Second {
            t: stage.metrics.uptime().as_secs(),
            bots: metrics::Bots::get(&stage.metrics.bots.alive),
            steps: lately.steps,
            errors: lately.errors,
            http_429: 0,
            p50: measured(lately.p50),
            p95: measured(lately.p95),
            p99: measured(lately.p99),
        };
        let mut notes = self.notes();
        notes.ack_late += late;
        notes.series.add(point, stage.discord.limited());
        point
    }

    /// The measured part is over: rates no longer fall.
    pub fn freeze(&self, stage: &Stage) {
        self.notes().frozen = Some(stage.metrics.uptime());
    }

    pub fn promises(&self, verdict: Option<Verdict>) {
        let mut notes = self.notes();
        notes.unchecked = verdict.is_none();
        notes.verdict = verdict;
    }

    /// Decides thresholds by what is known now.
    pub fn decide(&self, stage: &Stage, thresholds: &[Threshold]) -> Vec<Decided> {
        let (document, actions) = (self.document(stage), stage.metrics.actions());
        let decided: Vec<Decided> = thresholds
            .iter()
            .map(|threshold| {
                let (value, ok) = threshold.evaluate(&Measured(&document, &actions));
                Decided { expr: threshold.text.clone(), value, ok }
            })
            .collect();
        self.notes().thresholds.clone_from(&decided);
        decided
    }

    pub fn exit(&self, code: i32, reason: &str) {
        self.notes().run.exit = Some(Exit { code, reason: reason.to_owned() });
    }

    /// Everything that is known.
    pub fn document(&self, stage: &Stage) -> Document {
        let notes = self.notes();
        let uptime = notes.frozen.unwrap_or_else(|| stage.metrics.uptime());
        let (errors, total_errors) = stage.metrics.errors();
        let is_virtual = notes.run.is_virtual;
        let bots = &stage.metrics.bots;
        let get = metrics::Bots::get;
        let totals = stage.switchboard.totals();
        let view = self.generator.view();
        let uptime_ms = u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX);
        let seconds = uptime.as_secs_f64().max(0.001);
        let actions = stage.metrics.actions();
        Document {
            run: Run { uptime_ms, ..notes.run.clone() },
            bot_count: get(&bots.alive),
            target_bot_count: get(&bots.target),
            total_error_count: total_errors + get(&bots.panicked),
            bots: Bots {
                started: get(&bots.started),
                finished: get(&bots.finished),
                errored: get(&bots.errored),
                panicked: get(&bots.panicked),
                respawned: get(&bots.respawned),
                dropped: get(&bots.dropped),
            },
            actions: actions
                .iter()
                .map(|(name, counted)| (name.clone(), action(counted, seconds, is_virtual)))
                .collect(),
            checks: stage
                .metrics
                .checks()
                .into_iter()
                .map(|(text, (pass, fail))| (text, Tally { pass, fail }))
                .collect(),
            errors: errors.into_iter().map(trouble).collect(),
            discord: metrics::document::Discord {
                ack_late: notes.ack_late,
                http_429: stage.discord.limited(),
                lost_ms: u64::try_from(totals.lost.as_millis()).unwrap_or(u64::MAX),
                // The first time is no return.
                reconnects: totals.reconnects.saturating_sub(1),
                events_per_second: (totals.events as f64 / seconds * 10.0).round() / 10.0,
            },
            shared: shared(stage),
            promises: promises(&notes),
            generator: metrics::document::Generator {
                lag_p99_ms: millis(view.lag_p99),
                cpu: (view.cpu * 1_000.0).round() / 1_000.0,
                saturated: view.saturated,
            },
            thresholds: notes.thresholds.clone(),
            series: if is_virtual { Vec::new() } else { notes.series.points.clone() },
            slowest: if is_virtual { Vec::new() } else { slowest(stage) },
            ..Document::default()
        }
    }
}

fn action(counted: &metrics::Action, seconds: f64, is_virtual: bool) -> Action {
    let average = if is_virtual { 0.0 } else { millis(counted.average()) };
    Action {
        runs: counted.runs(),
        avg_duration: average,
        duration: average,
        success_count: counted.success,
        fail_count: counted.fail,
        continue_count: counted.again,
        error_count: counted.error,
        // In virtual time latencies mean nothing.
        service: if is_virtual { Percentiles::default() } else { percentiles(&counted.service) },
        response: counted.response.as_ref().filter(|_| !is_virtual).map(percentiles),
        per_second: (counted.runs() as f64 / seconds * 10.0).round() / 10.0,
    }
}

fn trouble(failure: metrics::Failure) -> Trouble {
    Trouble {
        action: failure.action,
        reason: failure.reason,
        count: failure.count,
        first_bot: failure.first_bot,
        path: failure.path,
        log: failure.tail,
    }
}

fn slowest(stage: &Stage) -> Vec<Sample> {
    let sample = |slow: metrics::Slow| Sample {
        action: slow.name,
        ms: millis(slow.service),
        bot: slow.bot,
        at_ms: u64::try_from(slow.at.as_millis()).unwrap_or(u64::MAX),
        ..Sample::default()
    };
    stage.metrics.slowest().into_iter().map(sample).collect()
}

fn shared(stage: &Stage) -> Shared {
    let usage = stage.shared_usage();
    let mut shared = Shared::default();
    for (operation, used) in usage {
        *shared.ops.entry(operation.to_owned()).or_default() += used.requests;
        shared.wru += used.units.write;
        shared.rru += used.units.read;
        shared.conflicts += used.refused;
    }
    let stats = stage.shared.stats();
    let p99 = |times: &Times| millis(times.quantile(0.99));
    shared.lock = Lock { wait_p99: p99(&stats.lock_waits), hold_p99: p99(&stats.lock_holds) };
    shared
}

fn promises(notes: &Notes) -> Promises {
    match &notes.verdict {
        Some(verdict) => Promises {
            made: verdict.made,
            kept: verdict.kept,
            broken: verdict.broken(),
            unanswered: verdict.unanswered,
            skipped: false,
            violations: verdict.violations.iter().map(ToString::to_string).collect(),
        },
        None => Promises { skipped: notes.unchecked, ..Promises::default() },
    }
}

/// What thresholds are decided by.
struct Measured<'a>(&'a Document, &'a BTreeMap<String, metrics::Action>);

impl Lookup for Measured<'_> {
    fn action(&self, name: &str, of: Of) -> Option<f64> {
        let action = self.0.actions.get(name)?;
        let service = &action.service;
        match of {
            Of::Percentile(percent) => {
                let measured = &self.1.get(name)?.service;
                (!measured.is_empty()).then(|| millis(quantile(measured, percent / 100.0)))
            }
            Of::Avg => (action.runs > 0).then_some(action.avg_duration),
            Of::Max => service.max,
            Of::Count => Some(action.runs as f64),
            Of::Rate => Some(action.per_second),
            Of::FailRate => {
                let failed = action.fail_count + action.error_count;
                (action.runs > 0).then(|| failed as f64 / action.runs as f64)
            }
        }
    }

    fn whole(&self, whole: Whole) -> Option<f64> {
        let share = |part: u64, all: u64| if all == 0 { None } else { Some(part as f64 / all as f64) };
        let document = self.0;
        match whole {
            Whole::ErrorsRate => {
                let runs = document.actions.values().map(|action| action.runs).sum();
                Some(
                    share(document.actions.values().map(|action| action.error_count).sum(), runs)
                        .unwrap_or(0.0),
                )
            }
            Whole::ChecksRate => {
                let passed: u64 = document.checks.values().map(|tally| tally.pass).sum();
                let failed: u64 = document.checks.values().map(|tally| tally.fail).sum();
                share(passed, passed + failed)
            }
            Whole::AckLate => Some(document.discord.ack_late as f64),
            Whole::Http429 => Some(document.discord.http_429 as f64),
            Whole::BotsErrored => Some((document.bots.errored + document.bots.panicked) as f64),
            Whole::SharedConflicts => Some(document.shared.conflicts as f64),
        }
    }
}

/// Whether a threshold is about time, which means nothing in virtual time.
pub fn is_about_time(threshold: &Threshold) -> bool {
    matches!(threshold.measure, Measure::Action(_, Of::Percentile(_) | Of::Avg | Of::Max | Of::Rate))
}
