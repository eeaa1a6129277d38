//! What the store was asked and what it cost, for `/metrics`: read from the store's own books when asked.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::{MetricType, TypedMetric};

use crate::dynamo::{Dynamo, Usage};

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
