//! How the relay stands, for `/metrics`: read from its own books when asked. Labels come from the configuration:
//! peers, lanes and reasons.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, LabelSetEncoder};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::clock::Clock;
use crate::relay::counts::What;
use crate::relay::handle::{Live, Relay};

#[derive(Debug)]
pub struct RelayMetrics {
    pub relay: Relay,
    pub clock: Clock,
}

/// Labels with their values.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Labels<'a>(Vec<(&'a str, &'a str)>);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.iter().try_for_each(|label| label.encode(encoder.encode_label()))
    }
}

/// What is counted: its name, what it is, and its labels.
const COUNTED: &[(What, &str, &str, &[&str])] = &[
    (What::Frames, "relay_frames", "Frames by peer, way and kind", &["peer", "frame"]),
    (What::Resent, "relay_resent", "Frames that were sent again", &["peer"]),
    (What::Accepted, "relay_accepted", "Envelopes taken in", &["peer"]),
    (
        What::Repeats,
        "relay_repeats",
        "Envelopes that had come before, by number or by another way",
        &["peer", "how"],
    ),
    (What::Refused, "relay_refused", "What was not taken, by reason", &["peer", "reason"]),
    (What::Dead, "relay_dead", "Envelopes that somebody has to look at", &["lane", "reason"]),
    (What::Expired, "relay_expired", "Envelopes whose life ended on the way", &["lane"]),
    (What::Dropped, "relay_dropped", "Measurements that found a queue full", &["peer"]),
    (What::Gaps, "relay_gap", "Numbers that a peer had no more", &["peer"]),
    (What::Epochs, "relay_epochs", "Histories that began anew, because a store went back", &["peer"]),
    (What::Handled, "relay_handled", "Envelopes acted upon, by outcome", &["queue", "outcome"]),
];

impl Collector for RelayMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let live = self.relay.live().clone();
        for (what, name, help, labels) in COUNTED {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (of, how, n) in live.counts.of(*what) {
                let values: Vec<_> = labels.iter().copied().zip([of, how]).collect();
                ConstCounter::new(n as f64).encode(family.encode_family(&Labels(values))?)?;
            }
        }
        let times = [
            (
                What::DelayMillis,
                "relay_delay_seconds",
                "From the making of envelopes to their being taken in",
            ),
            (What::HandleMillis, "relay_handle_seconds", "Time spent acting on envelopes"),
        ];
        for (what, name, help) in times {
            let total = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            ConstCounter::new(live.counts.total(what) as f64 / 1_000.0).encode(total)?;
        }
        self.by_rules(&mut encoder)?;
        self.gauges(&live, &mut encoder)
    }
}

impl RelayMetrics {
    /// What rules took from envelopes, and how often sources failed.
    fn by_rules(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Numbers that rules took from envelopes";
        let mut shown = encoder.encode_descriptor("relay_gauge", help, None, MetricType::Gauge)?;
        for (name, key, number) in self.relay.gauges().all() {
            let labels = Labels(vec![("name", &name), ("key", &key)]);
            ConstGauge::new(number).encode(shown.encode_family(&labels)?)?;
        }
        let help = "Looks of sources that failed";
        let mut failures =
            encoder.encode_descriptor("relay_source_failures", help, None, MetricType::Counter)?;
        for (source, n) in self.relay.gauges().failures() {
            let labels = Labels(vec![("source", &source)]);
            ConstCounter::new(n as f64).encode(failures.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauges(&self, live: &Live, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauge = MetricType::Gauge;
        let help = "Whether this process moves frames and acts";
        let serving = encoder.encode_descriptor("relay_serving", help, None, gauge)?;
        ConstGauge::new(f64::from(u8::from(live.serving))).encode(serving)?;
        let mut up = encoder.encode_descriptor("relay_up", "Whether a peer is heard", None, gauge)?;
        for (peer, view) in &live.peers {
            let labels = Labels(vec![("peer", peer.as_str())]);
            ConstGauge::new(f64::from(u8::from(view.up))).encode(up.encode_family(&labels)?)?;
        }
        let mut outbox = encoder.encode_descriptor("relay_outbox", "Envelopes that wait", None, gauge)?;
        for (peer, view) in &live.peers {
            for (lane, waiting) in &view.waiting {
                let labels = Labels(vec![("peer", peer.as_str()), ("lane", lane.name())]);
                ConstGauge::new(*waiting as f64).encode(outbox.encode_family(&labels)?)?;
            }
        }
        let here = Labels(vec![("peer", ""), ("lane", "here")]);
        ConstGauge::new(live.here as f64).encode(outbox.encode_family(&here)?)?;
        let help = "How long the first that waits has waited, as of the last minute";
        let mut oldest = encoder.encode_descriptor("relay_oldest_seconds", help, None, gauge)?;
        for (peer, view) in &live.peers {
            let waited = view.oldest.map_or(0.0, |at| self.clock.now().since(at).as_secs_f64());
            let labels = Labels(vec![("peer", peer.as_str())]);
            ConstGauge::new(waited).encode(oldest.encode_family(&labels)?)?;
        }
        let help = "Whether an operator has to mend how peers are reached";
        let mut trouble = encoder.encode_descriptor("relay_trouble", help, None, gauge)?;
        for transport in live.trouble.keys() {
            let labels = Labels(vec![("transport", transport)]);
            ConstGauge::new(1.0).encode(trouble.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
