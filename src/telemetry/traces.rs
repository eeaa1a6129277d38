//! Traces for a collector of OpenTelemetry: each command with the requests to the store and the calls to Discord
//! that it took, by OTLP over HTTP with JSON.
//! <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>
//!
//! Off unless an endpoint is set. Spans hold names, numbers and outcomes, never what people wrote. A collector that is
//! away or slow costs traces, and nothing else: what does not fit into the queue is dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// Spans that are told; all others are for the log.
const TOLD: [&str; 3] = ["command", "store", "discord"];

/// Spans on their way. At a hundred commands a second that is half a minute.
const QUEUE_MAX: usize = 16_384;

/// Spans sent at a time, and how long the first of them waits.
const BATCH_MAX: usize = 512;
const BATCH_WITHIN: Duration = Duration::from_secs(5);

/// How long a collector may take.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// How often it is said that one is away.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Spans that were dropped because the collector did not keep up.
pub static TRACES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// The same for `/metrics`.
#[derive(Debug)]
pub struct Dropped;

impl Collector for Dropped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let dropped = ConstCounter::new(TRACES_DROPPED.load(Ordering::Relaxed));
        let help = "Spans that the collector of traces did not get";
        let metric = encoder.encode_descriptor("traces_dropped", help, None, dropped.metric_type())?;
        dropped.encode(metric)
    }
}

/// What is known of a span.
#[derive(Clone, Debug)]
struct Span {
    name: &'static str,
    trace: u128,
    id: u64,
    parent: Option<u64>,
    start: Instant,
    attributes: Vec<(&'static str, Value)>,
}

#[derive(Debug)]
struct Ended {
    span: Span,
    end: Instant,
}

/// The layer that hears spans, and the exporter that sends them.
pub fn pair(endpoint: &str, instance: &str) -> (Traces, Exporter) {
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let client = reqwest::Client::builder().timeout(SEND_LIMIT).build().expect("the options are constants");
    // Wall-clock time is read once: spans that a set clock turned around would be nonsense.
    let (began, began_ns) = (Instant::now(), i128::from(Clock::system().now().millis()) * 1_000_000);
    (Traces(sender), Exporter { queue, url, client, instance: instance.to_owned(), began, began_ns })
}

/// Hears spans.
#[derive(Debug)]
pub struct Traces(mpsc::Sender<Ended>);

impl Traces {
    /// Whether a span is told.
    pub fn hears(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && TOLD.contains(&metadata.name()) && metadata.target().starts_with("mneme")
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span
            .scope()
            .skip(1)
            .find_map(|above| above.extensions().get::<Span>().map(|above| (above.trace, above.id)));
        let mut heard = Span {
            name: attributes.metadata().name(),
            trace: parent.map_or_else(rand::random, |(trace, _)| trace),
            id: rand::random(),
            parent: parent.map(|(_, id)| id),
            start: Instant::now(),
            attributes: Vec::new(),
        };
        attributes.record(&mut heard);
        span.extensions_mut().insert(heard);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(heard) = span.extensions_mut().get_mut::<Span>()
        {
            values.record(heard);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id).and_then(|span| span.extensions_mut().remove::<Span>()) else {
            return;
        };
        if self.0.try_send(Ended { span, end: Instant::now() }).is_err() {
            TRACES_DROPPED.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Ids and numbers as they are; a text is a name of ours.
impl Visit for Span {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.attributes.push((field.name(), json!({"stringValue": format!("{value:?}")})));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.attributes.push((field.name(), json!({"stringValue": value})));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // Beyond what an i64 holds there are only ids.
        self.attributes.push((field.name(), json!({"stringValue": value.to_string()})));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.attributes.push((field.name(), json!({"intValue": value.to_string()})));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.attributes.push((field.name(), json!({"doubleValue": value})));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.attributes.push((field.name(), json!({"boolValue": value})));
    }
}

/// Sends spans.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Receiver<Ended>,
    url: String,
    client: reqwest::Client,
    instance: String,
    began: Instant,
    began_ns: i128,
}

impl Exporter {
    /// Sends until shutdown, and then what is left, once.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut warned: Option<Instant> = None;
        loop {
            let (batch, goes_on) = self.batch(&shutdown).await;
            if !batch.is_empty()
                && let Err(error) = self.send(&batch).await
            {
                TRACES_DROPPED.fetch_add(batch.len() as u64, Ordering::Relaxed);
                if warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
                    warn!(error = %error.without_url(), spans = batch.len(), "traces could not be sent");
                    warned = Some(Instant::now());
                }
            }
            if !goes_on {
                return;
            }
        }
    }

    /// The next spans, and whether there may be more.
    async fn batch(&mut self, shutdown: &CancellationToken) -> (Vec<Ended>, bool) {
        let mut batch = Vec::new();
        let Some(first) = shutdown.run_until_cancelled(self.queue.recv()).await else {
            while let Ok(ended) = self.queue.try_recv() {
                batch.push(ended);
            }
            return (batch, false);
        };
        let Some(first) = first else { return (batch, false) };
        batch.push(first);
        let more = async {
            while batch.len() < BATCH_MAX {
                match self.queue.recv().await {
                    Some(ended) => batch.push(ended),
                    None => break,
                }
            }
        };
        let _ = tokio::time::timeout(BATCH_WITHIN, shutdown.run_until_cancelled(more)).await;
        (batch, true)
    }

    async fn send(&self, batch: &[Ended]) -> Result<(), reqwest::Error> {
        let body = self.written(batch).to_string();
        let request = self.client.post(&self.url).header("content-type", "application/json").body(body);
        request.send().await?.error_for_status().map(drop)
    }

    fn written(&self, batch: &[Ended]) -> Value {
        let text = |text: &str| json!({"stringValue": text});
        let resource = json!({"attributes": [
            {"key": "service.name", "value": text("mneme")},
            {"key": "service.version", "value": text(env!("CARGO_PKG_VERSION"))},
            {"key": "service.instance.id", "value": text(&self.instance)},
        ]});
        let spans: Vec<Value> = batch.iter().map(|ended| self.span(ended)).collect();
        json!({"resourceSpans": [{
            "resource": resource,
            "scopeSpans": [{"scope": {"name": "mneme"}, "spans": spans}],
        }]})
    }

    fn span(&self, Ended { span, end }: &Ended) -> Value {
        /// What calls somebody else is a client; a command is what somebody else asked for.
        const SERVER: u8 = 2;
        const CLIENT: u8 = 3;
        /// OTLP's code for a failure.
        const FAILED: u8 = 2;
        let attributes: Vec<Value> =
            span.attributes.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let failed =
            span.attributes.iter().any(|(key, value)| *key == "outcome" && value["stringValue"] == "error");
        let mut written = json!({
            "traceId": format!("{:032x}", span.trace),
            "spanId": format!("{:016x}", span.id),
            "name": span.name,
            "kind": if span.name == "command" { SERVER } else { CLIENT },
            "startTimeUnixNano": self.nanos(span.start),
            "endTimeUnixNano": self.nanos(*end),
            "attributes": attributes,
        });
        if let Some(parent) = span.parent {
            written["parentSpanId"] = format!("{parent:016x}").into();
        }
        if failed {
            written["status"] = json!({"code": FAILED});
        }
        written
    }

    fn nanos(&self, at: Instant) -> String {
        let since = at.saturating_duration_since(self.began).as_nanos();
        (self.began_ns + i128::try_from(since).unwrap_or(i128::MAX)).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::routing::post;
    use tracing::{debug_span, info_span};
    use tracing_subscriber::filter::FilterFn;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    type Heard = Arc<Mutex<Vec<Value>>>;

    /// A collector, and what it was sent.
    async fn collector() -> (String, Heard) {
        let heard = Heard::default();
        let hear = |State(heard): State<Heard>, body: String| async move {
            heard.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        };
        let router = Router::new().route("/v1/traces", post(hear)).with_state(heard.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, heard)
    }

    #[tokio::test]
    async fn a_collector_is_told_of_commands_and_what_they_took() {
        let (url, heard) = collector().await;
        let (traces, exporter) = pair(&url, "a");
        let subscriber =
            tracing_subscriber::registry().with(traces.with_filter(FilterFn::new(Traces::hears)));
        tracing::subscriber::with_default(subscriber, || {
            let command = info_span!(
                "command",
                command = "ping",
                server_id = u64::MAX,
                outcome = tracing::field::Empty
            );
            let inside = command.enter();
            drop(debug_span!("store", table = "remember", operation = "get", read = 0.5));
            drop(info_span!("something else"));
            command.record("outcome", "error");
            drop(inside);
        });
        let stopped = CancellationToken::new();
        stopped.cancel();
        exporter.run(stopped).await;
        let heard = heard.lock().unwrap();
        let spans = heard[0].pointer("/resourceSpans/0/scopeSpans/0/spans").unwrap().as_array().unwrap();
        assert_eq!(spans.len(), 2, "{spans:?}");
        let (store, command) = (&spans[0], &spans[1]);
        assert_eq!((&store["name"], &store["parentSpanId"]), (&json!("store"), &command["spanId"]));
        assert_eq!(store["traceId"], command["traceId"]);
        assert_eq!(command["status"]["code"], 2);
        let attributes = command["attributes"].to_string();
        assert!(attributes.contains(&u64::MAX.to_string()) && attributes.contains("ping"), "{attributes}");
        let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<i128>().unwrap();
        assert!(time(store, "startTimeUnixNano") <= time(store, "endTimeUnixNano"));
        assert!(time(command, "startTimeUnixNano") <= time(store, "startTimeUnixNano"));
    }

    #[tokio::test]
    async fn a_collector_that_is_away_costs_traces_alone() {
        // Held, so that nobody else listens there.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (traces, exporter) = pair(&format!("http://{}", socket.local_addr().unwrap()), "a");
        let subscriber =
            tracing_subscriber::registry().with(traces.with_filter(FilterFn::new(Traces::hears)));
        let before = TRACES_DROPPED.load(Ordering::Relaxed);
        tracing::subscriber::with_default(subscriber, || drop(info_span!("command")));
        let stopped = CancellationToken::new();
        stopped.cancel();
        exporter.run(stopped).await;
        assert!(TRACES_DROPPED.load(Ordering::Relaxed) > before);
    }
}
