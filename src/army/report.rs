//! The report of a run: one HTML file without a network, with pictures of its own, that prints well.
//!
//! Everything in it comes from the metrics document, and every text of it is escaped: names of actions, reasons
//! and log lines hold what people and bots have said.

mod chart;

use std::fmt::Write;

use crate::army::metrics::document::{Action, Document, Percentiles};
use crate::army::show::escaped;
use chart::{Chart, Line};

/// How many errors and slow samples are shown.
const SHOWN_MAX: usize = 10;

const STYLE: &str = include_str!("report/style.css");

/// The whole page.
pub fn html(document: &Document, baseline: Option<&Document>) -> String {
    let title = format!("army run {}", document.run.tree);
    let sections = [
        head(document),
        thresholds(document),
        promises(document),
        charts(document),
        actions(document),
        percentiles(document),
        slowest(document),
        errors(document),
        checks(document),
        shared(document),
        generator(document),
        baseline.map(|baseline| differences(document, baseline)).unwrap_or_default(),
    ];
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{}</main>\n\
         </body>\n</html>\n",
        escaped(&title),
        sections.concat()
    )
}

/// Verdict and reason, then what was run.
fn head(document: &Document) -> String {
    let run = &document.run;
    let (word, class, reason) = match &run.exit {
        Some(exit) if exit.code == 0 => ("PASS", "pass", exit.reason.clone()),
        Some(exit) => ("FAIL", "fail", format!("{} (exit code {})", exit.reason, exit.code)),
        None => ("RUNNING", "open", "the run has not ended".into()),
    };
    let saturated = match document.generator.saturated {
        true => "<p class=\"warning\">The generator was saturated; latencies are unreliable.</p>\n",
        false => "",
    };
    let rows = [
        ("command", run.command.clone()),
        ("seed", run.seed.to_string()),
        ("run", format!("{}, tree {}", run.id, run.tree_hash)),
        ("version", run.version.clone()),
        ("started", run.started.clone()),
        ("duration", seconds(run.uptime_ms)),
        ("model", model(document)),
        ("target", run.target.clone()),
        ("bots", bots(document)),
    ];
    let rows = rows
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>\n", escaped(value)));
    format!(
        "<header class=\"{class}\"><h1>{} <span>{word}</span></h1>\n<p>{}</p></header>\n{saturated}<dl>\n{}</dl>\n\
         <p class=\"note\">The seed repeats every random choice of every bot, not the order in which bots and the bot \
         under test run.</p>\n",
        escaped(&run.tree),
        escaped(&reason),
        rows.collect::<String>()
    )
}

fn model(document: &Document) -> String {
    let time = if document.run.is_virtual { ", in virtual time: latencies mean nothing" } else { "" };
    match document.run.model.as_str() {
        "open" => format!("open: arrivals do not wait for the server{time}"),
        "closed" => format!("closed: a slow server gets less load{time}"),
        other => format!("{other}{time}"),
    }
}

fn bots(document: &Document) -> String {
    let bots = &document.bots;
    format!(
        "{} of {} alive; {} started, {} finished, {} errored, {} panicked, {} replaced, {} dropped",
        document.bot_count,
        document.target_bot_count,
        bots.started,
        bots.finished,
        bots.errored,
        bots.panicked,
        bots.respawned,
        bots.dropped
    )
}

fn thresholds(document: &Document) -> String {
    if document.thresholds.is_empty() {
        return section("Thresholds", "<p>None were given.</p>\n");
    }
    let rows = document.thresholds.iter().map(|decided| {
        let value = decided.value.map_or("nothing measured".into(), number);
        vec![verdict(decided.ok), code(&decided.expr), value]
    });
    section("Thresholds", &table(&["", "threshold", "value"], rows))
}

fn verdict(ok: bool) -> String {
    if ok { "<b class=\"pass\">ok</b>".into() } else { "<b class=\"fail\">failed</b>".into() }
}

fn promises(document: &Document) -> String {
    let promises = &document.promises;
    if promises.skipped {
        return section("Promises", "<p class=\"warning\">They were not compared with the store.</p>\n");
    }
    let mut text = format!(
        "<p>{} of {} acknowledged changes are stored, each once; {} requests had no answer.</p>\n",
        promises.kept, promises.made, promises.unanswered
    );
    if promises.broken > 0 {
        let lines = promises.violations.iter().map(|line| format!("<li>{}</li>", escaped(line)));
        let _ = writeln!(
            text,
            "<p class=\"fail\">{} are broken:</p><ul>{}</ul>",
            promises.broken,
            lines.collect::<String>()
        );
    }
    section("Promises", &text)
}

fn charts(document: &Document) -> String {
    let series = &document.series;
    if series.len() < 2 {
        return String::new();
    }
    let points = |value: &dyn Fn(usize) -> Option<f64>| -> Vec<(f64, f64)> {
        (0..series.len()).filter_map(|at| Some((series[at].t as f64, value(at)?))).collect()
    };
    // A point stands for the time since the one before it.
    let per_second = |count: u64, at: usize| {
        let before = if at == 0 { 0 } else { series[at - 1].t };
        Some(count as f64 / (series[at].t - before.min(series[at].t)).max(1) as f64)
    };
    let pictures = [
        Chart::new("Bots", "").with(Line::new("bots", 0, points(&|at| Some(series[at].bots as f64)))),
        Chart::new("Steps per second", "/s").with(Line::new(
            "steps",
            0,
            points(&|at| per_second(series[at].steps, at)),
        )),
        Chart::new("Errors per second", "/s")
            .with(Line::new("errors", 3, points(&|at| per_second(series[at].errors, at))))
            .with(Line::new("429", 1, points(&|at| per_second(series[at].http_429, at)))),
        Chart::new("Latency", "ms")
            .with(Line::new("p50", 0, points(&|at| series[at].p50)))
            .with(Line::new("p95", 1, points(&|at| series[at].p95)))
            .with(Line::new("p99", 3, points(&|at| series[at].p99))),
    ];
    let pictures = pictures.iter().map(|chart| format!("<figure>{}</figure>\n", chart.svg()));
    section("Over time", &format!("<div class=\"charts\">\n{}</div>\n", pictures.collect::<String>()))
}

fn by_p95(document: &Document) -> Vec<(&String, &Action)> {
    let mut actions: Vec<_> = document.actions.iter().collect();
    actions.sort_by(|(_, a), (_, b)| {
        b.service.p95.unwrap_or_default().total_cmp(&a.service.p95.unwrap_or_default())
    });
    actions
}

fn actions(document: &Document) -> String {
    let columns = [
        "action",
        "runs",
        "ok %",
        "fail",
        "error",
        "/s",
        "avg",
        "p50",
        "p90",
        "p95",
        "p99",
        "max",
        "response p50",
        "p99",
    ];
    let rows = by_p95(document).into_iter().map(|(name, action)| {
        let share = action.success_count as f64 * 100.0 / action.runs.max(1) as f64;
        let response = action.response.unwrap_or_default();
        let times = [
            Some(action.avg_duration),
            action.service.p50,
            action.service.p90,
            action.service.p95,
            action.service.p99,
            action.service.max,
            response.p50,
            response.p99,
        ];
        let mut row = vec![
            code(name),
            action.runs.to_string(),
            format!("{share:.1}"),
            action.fail_count.to_string(),
            action.error_count.to_string(),
            number(action.per_second),
        ];
        row.extend(times.map(|time| time.map_or("-".into(), number)));
        row
    });
    let note = "<p class=\"note\">Milliseconds. Service time: request to reply. Response time: intended start to reply, \
                where there is one.</p>\n";
    section("Actions", &(table(&columns, rows) + note))
}

fn percentiles(document: &Document) -> String {
    let mut chart = Chart::new("Service time by percentile", "ms").with_shares();
    for (place, (name, action)) in by_p95(document).into_iter().take(chart::COLORS).enumerate() {
        chart = chart.with(Line::new(name, place, of_percentiles(&action.service)));
    }
    if chart.is_empty() {
        return String::new();
    }
    section("Percentiles", &format!("<figure class=\"wide\">{}</figure>\n", chart.svg()))
}

/// The further right, the rarer: 90 % is one step from 0, 99 % two.
fn of_percentiles(times: &Percentiles) -> Vec<(f64, f64)> {
    let points =
        [(0.0, times.min), (50.0, times.p50), (90.0, times.p90), (95.0, times.p95), (99.0, times.p99)];
    let points = points.into_iter().chain([(99.9, times.p999)]);
    points.filter_map(|(share, time)| Some((-(1.0 - share / 100.0_f64).log10(), time?))).collect()
}

fn slowest(document: &Document) -> String {
    if document.slowest.is_empty() {
        return String::new();
    }
    let rows = document.slowest.iter().take(SHOWN_MAX).map(|sample| {
        vec![
            number(sample.ms),
            code(&sample.action),
            sample.bot.to_string(),
            code(&sample.path),
            seconds(sample.at_ms),
            escaped(&sample.outcome),
        ]
    });
    section("Slowest samples", &table(&["ms", "action", "bot", "path", "at", "outcome"], rows))
}

fn errors(document: &Document) -> String {
    if document.errors.is_empty() {
        return section("Errors", &format!("<p>{} errors.</p>\n", document.total_error_count));
    }
    let mut text = format!("<p>{} errors, most frequent first.</p>\n", document.total_error_count);
    let mut errors: Vec<_> = document.errors.iter().collect();
    errors.sort_by_key(|error| std::cmp::Reverse(error.count));
    for error in errors.into_iter().take(SHOWN_MAX) {
        let _ = writeln!(
            text,
            "<div class=\"error\"><h3>{} × {}</h3>\n<p>{}</p>\n<p class=\"note\">first in bot {} at {}</p>",
            error.count,
            code(&error.action),
            escaped(&error.reason),
            error.first_bot,
            code(&error.path)
        );
        if !error.log.is_empty() {
            let _ = writeln!(
                text,
                "<details><summary>its last log lines</summary><pre>{}</pre></details>",
                escaped(&error.log.join("\n"))
            );
        }
        text.push_str("</div>\n");
    }
    section("Errors", &text)
}

fn checks(document: &Document) -> String {
    if document.checks.is_empty() {
        return String::new();
    }
    let rows = document.checks.iter().map(|(name, tally)| {
        vec![verdict(tally.fail == 0), code(name), tally.pass.to_string(), tally.fail.to_string()]
    });
    section("Checks", &table(&["", "check", "held", "failed"], rows))
}

fn shared(document: &Document) -> String {
    let shared = &document.shared;
    if shared.ops.is_empty() && shared.wru == 0.0 && shared.rru == 0.0 {
        return String::new();
    }
    let ops: Vec<_> = shared.ops.iter().map(|(name, count)| format!("{count} {}", escaped(name))).collect();
    let text = format!(
        "<p>{}; {} write units, {} read units, {} conflicts. Locks: waited for {} ms, held {} ms (p99).</p>\n",
        ops.join(", "),
        number(shared.wru),
        number(shared.rru),
        shared.conflicts,
        number(shared.lock.wait_p99),
        number(shared.lock.hold_p99)
    );
    section("Shared data", &text)
}

fn generator(document: &Document) -> String {
    let (generator, discord) = (&document.generator, &document.discord);
    let text = format!(
        "<p>Lag p99 {} ms, CPU {:.0} %{}. Discord: {} events a second, {} answers 429, {} late acknowledgements, {} \
         reconnects, {} ms without a connection.</p>\n",
        number(generator.lag_p99_ms),
        generator.cpu * 100.0,
        if generator.saturated { ", saturated" } else { "" },
        number(discord.events_per_second),
        discord.http_429,
        discord.ack_late,
        discord.reconnects,
        discord.lost_ms
    );
    section("Generator and Discord", &text)
}

fn differences(document: &Document, baseline: &Document) -> String {
    let rows = document.actions.iter().map(|(name, now)| {
        let before = baseline.actions.get(name);
        let pair = |of: fn(&Action) -> Option<f64>| {
            let (now, before) = (of(now), before.and_then(of));
            match (now, before) {
                (Some(now), Some(before)) if before > 0.0 => {
                    let change = (now - before) * 100.0 / before;
                    format!("{} → {} ({change:+.0} %)", number(before), number(now))
                }
                (Some(now), _) => format!("new: {}", number(now)),
                (None, _) => "-".into(),
            }
        };
        let failed = |action: &Action| Some((action.fail_count + action.error_count) as f64);
        vec![
            code(name),
            pair(|action| action.service.p50),
            pair(|action| action.service.p95),
            pair(|action| action.service.p99),
            pair(|action| Some(action.per_second)),
            pair(failed),
        ]
    });
    let gone: Vec<_> = baseline.actions.keys().filter(|name| !document.actions.contains_key(*name)).collect();
    let gone = match gone.is_empty() {
        true => String::new(),
        false => {
            let names: Vec<_> = gone.into_iter().map(|name| code(name)).collect();
            format!("<p>Only in the baseline: {}</p>\n", names.join(", "))
        }
    };
    let title = format!("Compared with {} ({})", baseline.run.id, baseline.run.started);
    section(&title, &(table(&["action", "p50", "p95", "p99", "/s", "failed"], rows) + &gone))
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{body}</section>\n", escaped(title))
}

/// Columns of words; those of numbers stand on the right.
const OF_WORDS: [&str; 6] = ["", "action", "threshold", "check", "path", "outcome"];

/// Cells are markup already.
fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let class = |place: usize| {
        let is_words = columns.get(place).is_some_and(|name| OF_WORDS.contains(name));
        if is_words { " class=\"words\"" } else { "" }
    };
    let head = columns.iter().enumerate();
    let head: String =
        head.map(|(place, name)| format!("<th{}>{}</th>", class(place), escaped(name))).collect();
    let rows: String = rows
        .map(|row| {
            let cells = row.iter().enumerate();
            let cells: String =
                cells.map(|(place, cell)| format!("<td{}>{cell}</td>", class(place))).collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn code(text: &str) -> String {
    format!("<code>{}</code>", escaped(text))
}

/// As many places as matter.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        small if small < 1.0 && small > 0.0 => format!("{value:.3}").trim_end_matches('0').to_owned(),
        _ => format!("{value:.1}").trim_end_matches(".0").to_owned(),
    }
}

fn seconds(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        1..60 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        _ => format!("{}m{:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests;
