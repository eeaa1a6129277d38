//! The report of a made-up run.

use super::*;
use crate::army::metrics::document::{Decided, Exit, Sample, Second, Tally, Trouble};

/// A run with something of everything, and words that would be markup.
pub(crate) fn example() -> Document {
    let mut document =
        Document { bot_count: 97, target_bot_count: 100, total_error_count: 6, ..Document::default() };
    document.run.tree = "share_album".into();
    document.run.id = "r7".into();
    document.run.seed = 42;
    document.run.model = "closed".into();
    document.run.uptime_ms = 300_000;
    document.run.started = "2026-01-01T12:00:00Z".into();
    document.run.command = "mneme army run --tree share_album --seed 42".into();
    document.run.exit = Some(Exit { code: 99, reason: "a threshold failed".into() });
    for (place, name) in
        ["memory.recall", "memory.remember", "ping", "<script>alert(1)</script>"].into_iter().enumerate()
    {
        let time = |factor: f64| Some((place as f64 + 1.0) * factor);
        let service = Percentiles {
            min: time(2.0),
            p50: time(20.0),
            p90: time(44.0),
            p95: time(70.0),
            p99: time(140.0),
            p999: time(300.0),
            max: time(411.0),
        };
        let action = Action {
            runs: 1_000,
            success_count: 990,
            fail_count: 7,
            error_count: 3,
            avg_duration: 25.4,
            duration: 25.4,
            service,
            response: (place == 0).then_some(service),
            per_second: 3.3,
            continue_count: 0,
        };
        document.actions.insert(name.into(), action);
    }
    document.thresholds = vec![
        Decided { expr: "memory.recall:p(95)<300ms".into(), value: Some(70.0), ok: true },
        Decided { expr: "errors.rate<0.1%".into(), value: Some(0.003), ok: false },
    ];
    document.series = (1..=300_u64)
        .map(|t| {
            let wave = (t as f64 / 20.0).sin();
            Second {
                t,
                bots: t.min(97),
                steps: 40 + (wave * 12.0) as u64,
                errors: u64::from(t % 50 == 0),
                http_429: u64::from(t % 70 == 0),
                p50: Some(20.0 + wave * 3.0),
                p95: Some(70.0 + wave * 20.0),
                p99: Some(140.0 + wave * 40.0),
            }
        })
        .collect();
    document.errors = vec![Trouble {
        action: "memory.remember".into(),
        reason: "no reply within 3 s; seen: \"<b>&amp;\"".into(),
        count: 3,
        first_bot: 17,
        path: "root/6/do/1".into(),
        log: vec!["12:10:51.330 bot_id=17 action=memory.remember outcome=error [error]".into()],
    }];
    document.checks.insert("reply.latency_ms < 3000".into(), Tally { pass: 790, fail: 2 });
    document.slowest = vec![Sample {
        action: "ping".into(),
        ms: 611.2,
        bot: 4,
        path: "root/6/do/2".into(),
        at_ms: 61_200,
        outcome: "succeed".into(),
    }];
    document.shared.ops.insert("deal".into(), 100);
    document.shared.wru = 109.0;
    document.promises.made = 800;
    document.promises.kept = 800;
    document.generator.saturated = true;
    document
}

#[test]
fn the_report_escapes_and_reaches_for_nothing() {
    let mut before = example();
    before.actions.remove("ping");
    let page = html(&example(), Some(&before));
    for part in
        ["FAIL", "a threshold failed", "seed", "Over time", "share_album", "saturated", "new: 60", "(+0 %)"]
    {
        assert!(page.contains(part), "{part}");
    }
    for part in ["<script", "http://", "https://", "url(", "@import", "<b>&"] {
        assert!(!page.contains(part), "{part}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn an_empty_run_has_a_report() {
    let page = html(&Document::default(), None);
    assert!(page.contains("RUNNING") && !page.contains("NaN") && !page.contains("inf"), "{page}");
}
