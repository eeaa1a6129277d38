//! What stands beside the bot in containers names things that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use mneme::telemetry::{KindLabels, Metrics};

use crate::harness::Discord;

fn read(path: &str) -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The metrics that a text asks for.
fn asked_for(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("mneme_")).collect()
}

/// Every family with one member: those without any are not written.
async fn all_metrics() -> String {
    let (metrics, kind) = (Metrics::default(), KindLabels { kind: "x".into() });
    metrics.command("ping", "ok");
    metrics.request("x", 200);
    for family in [&metrics.retries, &metrics.unknown_outcomes, &metrics.unparsed] {
        family.get_or_create(&kind).inc();
    }
    // And what a bot counts that runs.
    let discord = Discord::start().await;
    let (bot, counters) = discord.bot_that_counts().await;
    let text = metrics.text() + &counters.text().await.unwrap();
    bot.stop().await;
    discord.end().await;
    text
}

#[tokio::test]
async fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let written = all_metrics().await;
    for path in ["observability/grafana/dashboards/mneme.json", "observability/alerts.yml"] {
        let text = read(path);
        let names = asked_for(&text);
        assert!(!names.is_empty(), "{path} asks for nothing");
        for name in names {
            let is_there = written.lines().any(|line| line.split([' ', '{']).next() == Some(name));
            assert!(is_there, "{path} asks for {name}, which there is not in:\n{written}");
        }
    }
}

#[test]
fn what_the_containers_mount_is_there() {
    let compose = read("docker-compose.yml");
    let mounted: Vec<_> = compose.lines().filter_map(|line| line.trim().strip_prefix("- ./")).collect();
    assert!(!mounted.is_empty());
    for line in mounted {
        let path = line.split(':').next().expect("a first part");
        assert!(
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path).exists(),
            "{path} is mounted and not there"
        );
    }
}

#[test]
fn every_port_of_the_containers_is_for_this_machine_only() {
    let compose = read("docker-compose.yml");
    let ports: Vec<_> =
        compose.split("    ports:\n").skip(1).filter_map(|rest| rest.lines().next()).collect();
    assert_eq!(ports.len(), compose.matches(" ports:").count());
    for port in ports {
        assert!(port.trim().starts_with("- \"127.0.0.1:"), "{port} is open to others");
    }
}
