//! What the store was asked and what it cost, for `/metrics`: read from the store's own books when asked.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::dynamo::{Dynamo, Usage};
use crate::shared::SharedData;

/// Requests to the store by table and operation.
#[derive(Debug)]
pub struct StoreMetrics(pub Dynamo);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    table: &'static str,
    operation: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct UnitLabels {
    table: &'static str,
    operation: &'static str,
    kind: &'static str,
}

type Kind = (&'static str, &'static str);

impl Collector for StoreMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let usage = self.0.usage();
        let help = "Request units that the store charged";
        let mut units = encoder.encode_descriptor("dynamo_units", help, None, COUNTER)?;
        for ((table, operation), used) in &usage {
            for (kind, n) in [("read", used.units.read), ("write", used.units.write)] {
                let labels = UnitLabels { table, operation, kind };
                ConstCounter::new(n).encode(units.encode_family(&labels)?)?;
            }
        }
        family(&mut encoder, "dynamo_requests", "Requests to the store", &usage, |used| {
            used.requests as f64
        })?;
        family(&mut encoder, "dynamo_errors", "Requests that failed", &usage, |used| used.errors as f64)?;
        let help = "Requests whose condition did not hold";
        family(&mut encoder, "dynamo_refused", help, &usage, |used| used.refused as f64)?;
        family(&mut encoder, "dynamo_seconds", "Time spent waiting for the store", &usage, |used| {
            used.seconds
        })
    }
}

/// What was done with shared data. Its request units are among those of the store, by the table `shared`.
#[derive(Debug)]
pub struct SharedMetrics(pub SharedData);

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    op: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OpLabels {
    op: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LeaseLabels {
    kind: &'static str,
}

impl Collector for SharedMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        let help = "Operations on shared data by outcome";
        let mut ops = encoder.encode_descriptor("shared_ops", help, None, COUNTER)?;
        for ((op, outcome), n) in &stats.ops {
            ConstCounter::new(*n as f64).encode(ops.encode_family(&OutcomeLabels { op, outcome })?)?;
        }
        let op = |op| OpLabels { op };
        let seconds = stats.waited.iter().map(|(op, time)| (*op, time.as_secs_f64()));
        let help = "Time that callers waited for shared data";
        numbers(&mut encoder, "shared_wait_seconds", help, COUNTER, seconds, op)?;
        let counts = |counts: &BTreeMap<&'static str, u64>| {
            counts.iter().map(|(name, n)| (*name, *n as f64)).collect::<Vec<_>>()
        };
        let help = "Calls that were written together with others";
        numbers(&mut encoder, "shared_combined", help, COUNTER, counts(&stats.combined), op)?;
        let help = "Writes that came after somebody else's";
        numbers(&mut encoder, "shared_conflicts", help, COUNTER, counts(&stats.conflicts), op)?;
        let kind = |kind| LeaseLabels { kind };
        let help = "Leases held now";
        numbers(&mut encoder, "shared_leases_held", help, MetricType::Gauge, counts(&stats.held), kind)?;
        let help = "Leases that ended before their holders were done";
        numbers(&mut encoder, "shared_leases_lost", help, COUNTER, counts(&stats.lost), kind)?;
        let help = "Leases taken over from holders that did not come back";
        numbers(&mut encoder, "shared_takeovers", help, COUNTER, counts(&stats.taken_over), kind)?;
        let held =
            encoder.encode_descriptor("shared_lock_hold_seconds", "Time locks were held", None, COUNTER)?;
        ConstCounter::new(stats.lock_holds.total().as_secs_f64()).encode(held)?;
        let help = "Callers that wait for a lock";
        let queue = encoder.encode_descriptor("shared_lock_queue", help, None, MetricType::Gauge)?;
        ConstGauge::new(stats.lock_queue as f64).encode(queue)
    }
}

/// One number for each name.
fn numbers<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    kind: MetricType,
    numbers: impl IntoIterator<Item = (&'static str, f64)>,
    labels: impl Fn(&'static str) -> L,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (name, n) in numbers {
        let labels = labels(name);
        let encoder = family.encode_family(&labels)?;
        match kind {
            MetricType::Gauge => ConstGauge::new(n).encode(encoder)?,
            _ => ConstCounter::new(n).encode(encoder)?,
        }
    }
    Ok(())
}

const COUNTER: MetricType = <ConstCounter<f64> as TypedMetric>::TYPE;

fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    usage: &[(Kind, Usage)],
    number: impl Fn(&Usage) -> f64,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, COUNTER)?;
    for ((table, operation), used) in usage {
        let labels = Labels { table, operation };
        ConstCounter::new(number(used)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::context::{Discord, Instance, Services};
    use crate::dynamo::TableSpec;
    use crate::dynamo::testing;
    use crate::settings::Settings;
    use crate::shared::{LeaseOptions, SharedData, SharedOptions, Space, TABLES};
    use crate::tasks::Tasks;
    use crate::telemetry::Metrics;

    use super::SharedMetrics;

    #[tokio::test]
    async fn what_was_done_with_shared_data_is_shown() {
        let dynamo = testing::embedded(TABLES).await;
        let shared = SharedData::open(dynamo, &Tasks::new(), Space::Bot, SharedOptions::default());
        let metrics = Metrics::default();
        metrics.collect(Box::new(SharedMetrics(shared.clone())));
        shared.put("greeting", &"hello").await.unwrap();
        let lease = shared.lock("door", LeaseOptions::default()).await.unwrap();
        let text = metrics.text();
        for line in [
            r#"mneme_shared_ops_total{op="put",outcome="done"} 1"#,
            r#"mneme_shared_ops_total{op="lock",outcome="done"} 1"#,
            r#"mneme_shared_leases_held{kind="lock"} 1"#,
            "mneme_shared_lock_queue 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        lease.release().await;
        assert!(metrics.text().contains(r#"mneme_shared_leases_held{kind="lock"} 0"#));
    }

    #[tokio::test]
    async fn what_the_store_charged_is_shown() {
        let dynamo = testing::embedded(&[TableSpec::of::<Settings>()]).await;
        let services = Services::new(dynamo, Clock::system(), Discord::nowhere(), Instance::default());
        services.dynamo.put(&Settings::new(1)).await.unwrap();
        services.dynamo.get_eventually::<Settings>(1).await.unwrap();
        let text = services.metrics.text();
        for line in [
            r#"mneme_dynamo_units_total{table="settings",operation="get",kind="read"} 0.5"#,
            r#"mneme_dynamo_units_total{table="settings",operation="put",kind="write"} 1"#,
            r#"mneme_dynamo_requests_total{table="settings",operation="get"} 1"#,
            r#"mneme_dynamo_errors_total{table="settings",operation="get"} 0"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
