//! The summary of a run: 80 columns, printed whatever happened.

use std::fmt::Write;

use crate::army::metrics::document::{Action, Document};

/// Rows of actions that are shown; the report has all.
const ROWS: usize = 30;

/// The name's column.
const NAME: usize = 20;

/// What is told of a run that has ended.
pub fn summary(document: &Document) -> String {
    let mut text = String::new();
    let passed = document.run.exit.as_ref().is_none_or(|exit| exit.code == 0);
    let run = &document.run;
    let parts = [
        format!("army run {}", run.tree),
        format!("{} bots", document.target_bot_count),
        time(run.uptime_ms),
        run.model.clone(),
        format!("seed {}", run.seed),
        run.target.clone(),
        if passed { "PASS" } else { "FAIL" }.to_owned(),
    ];
    line(&mut text, &parts.join("  "));
    line(&mut text, &heading());
    let mut rows: Vec<_> = document.actions.iter().collect();
    rows.sort_by(|(_, a), (_, b)| {
        b.service.p95.partial_cmp(&a.service.p95).unwrap_or(std::cmp::Ordering::Equal)
    });
    for (name, action) in rows.iter().take(ROWS) {
        line(&mut text, &row(name, action));
        if let Some(response) = &action.response {
            let name = "  from its due time";
            line(
                &mut text,
                &format!(
                    "{name:<NAME$}{:>25}{:>7}{:>7}{:>7}{:>8}",
                    "",
                    ms(response.p50),
                    ms(response.p95),
                    ms(response.p99),
                    ms(response.max)
                ),
            );
        }
    }
    if rows.len() > ROWS {
        line(&mut text, &format!("and {} more", rows.len() - ROWS));
    }
    for parts in totals(document) {
        wrapped(&mut text, &parts);
    }
    if document.generator.saturated {
        line(&mut text, "the generator was saturated; latencies are unreliable");
    }
    for violation in &document.promises.violations {
        line(&mut text, &format!("BROKEN {violation}"));
    }
    for trouble in document.errors.iter().take(5) {
        line(&mut text, &format!("error {} x {}: {}", trouble.count, trouble.action, trouble.reason));
    }
    for missed in document.thresholds.iter().filter(|threshold| !threshold.ok) {
        let value = missed.value.map_or_else(|| "nothing measured".to_owned(), number);
        line(&mut text, &format!("MISSED {}: {value}", missed.expr));
    }
    if let Some(exit) = &run.exit {
        line(&mut text, &format!("exit {}: {}", exit.code, exit.reason));
    }
    text
}

/// What stands above rows of actions.
pub(super) fn heading() -> String {
    format!(
        "{:<NAME$}{:>7}{:>7}{:>6}{:>5}{:>7}{:>7}{:>7}{:>8}{:>6}",
        "action", "runs", "ok%", "fail", "err", "p50", "p95", "p99", "max ms", "/s"
    )
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Parts side by side, as many as there is room for.
fn wrapped(text: &mut String, parts: &[String]) {
    let mut current = String::new();
    for part in parts {
        if !current.is_empty() && current.len() + 3 + part.len() > 80 {
            line(text, &current);
            current.clear();
        }
        if !current.is_empty() {
            current.push_str("   ");
        }
        current.push_str(part);
    }
    line(text, &current);
}

pub(super) fn row(name: &str, action: &Action) -> String {
    let name: String = if name.chars().count() >= NAME {
        name.chars().take(NAME - 2).chain(['~']).collect()
    } else {
        name.to_owned()
    };
    let ok = if action.runs == 0 { 100.0 } else { action.success_count as f64 * 100.0 / action.runs as f64 };
    let service = &action.service;
    format!(
        "{name:<NAME$}{:>7}{ok:>7.1}{:>6}{:>5}{:>7}{:>7}{:>7}{:>8}{:>6.1}",
        action.runs,
        action.fail_count,
        action.error_count,
        ms(service.p50),
        ms(service.p95),
        ms(service.p99),
        ms(service.max),
        action.per_second,
    )
}

fn totals(document: &Document) -> Vec<Vec<String>> {
    let mut parts = Vec::new();
    if !document.thresholds.is_empty() {
        let kept = document.thresholds.iter().filter(|threshold| threshold.ok).count();
        parts.push(format!("thresholds {kept} of {}", document.thresholds.len()));
    }
    let promises = &document.promises;
    parts.push(if promises.skipped {
        "promises not checked".to_owned()
    } else {
        format!("promises {} of {}", promises.kept, promises.made)
    });
    if promises.unanswered > 0 {
        parts.push(format!("{} unanswered", promises.unanswered));
    }
    let shared = &document.shared;
    if !shared.ops.is_empty() {
        let conflicts = shared.conflicts;
        parts.push(format!(
            "shared {} WRU {} RRU {conflicts} conflicts",
            number(shared.wru),
            number(shared.rru)
        ));
    }
    parts.push(format!("429: {}", document.discord.http_429));
    parts.push(format!("late acks: {}", document.discord.ack_late));
    let bots = &document.bots;
    let mut lives = vec![format!("started {}", bots.started)];
    for (count, what) in [
        (bots.finished, "finished"),
        (bots.errored, "errored"),
        (bots.panicked, "panicked"),
        (bots.respawned, "respawned"),
        (bots.dropped, "dropped"),
    ] {
        if count > 0 {
            lives.push(format!("{what} {count}"));
        }
    }
    lives.push(format!("cpu {:.0} %", document.generator.cpu * 100.0));
    lives.push(format!("lag p99 {} ms", number(document.generator.lag_p99_ms)));
    vec![parts, lives]
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), number)
}

/// Three digits are what was measured.
fn number(value: f64) -> String {
    if value >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

/// `5m00s`, `0m12s`.
pub(super) fn time(ms: u64) -> String {
    let seconds = ms / 1_000;
    let mut text = String::new();
    if seconds >= 3_600 {
        write!(text, "{}h", seconds / 3_600).expect("a string takes everything");
    }
    write!(text, "{}m{:02}s", seconds / 60 % 60, seconds % 60).expect("a string takes everything");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::army::metrics::document::{Percentiles, Run};

    #[test]
    fn a_summary_has_eighty_columns() {
        let service = Percentiles {
            p50: Some(33.0),
            p95: Some(95.25),
            p99: Some(180.0),
            max: Some(60_111.0),
            ..Percentiles::default()
        };
        let action = Action {
            runs: 1_630_000,
            success_count: 1_617_000,
            service,
            per_second: 5.4,
            ..Action::default()
        };
        let mut document = Document {
            run: Run {
                tree: "share_album".into(),
                model: "closed".into(),
                seed: 42,
                uptime_ms: 300_000,
                target: "sandbox".into(),
                ..Run::default()
            },
            target_bot_count: 100,
            ..Document::default()
        };
        document.actions.insert("memory.recall_with_a_very_long_label".into(), action);
        document.shared.ops.insert("put".into(), 1);
        (document.shared.wru, document.shared.rru) = (1_090.0, 41.5);
        let text = summary(&document);
        assert!(
            text.starts_with("army run share_album  100 bots  5m00s  closed  seed 42  sandbox  PASS\n"),
            "{text}"
        );
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{widest:?}\n{text}");
    }
}
