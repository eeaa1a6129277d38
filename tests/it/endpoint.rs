//! DynamoDB over HTTP on loopback: the embedded engine behind a port, one for each region, and answers of the
//! test's own in place of the engine's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response};
use mneme::clock::{Clock, Timestamp};
use mneme::dynamo::embedded::Embedded;
use mneme::dynamo::faults::Faults;
use mneme::dynamo::testing::over;
use mneme::dynamo::{Dynamo, TableSpec};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The region of requests that name none.
pub const REGION: &str = "us-east-1";

/// What an engine of this kind answers to. DynamoDB Local does not know backups either.
const OPERATIONS: &[&str] = &[
    "BatchGetItem",
    "CreateTable",
    "DeleteItem",
    "DescribeTable",
    "DescribeTimeToLive",
    "GetItem",
    "PutItem",
    "Query",
    "TransactWriteItems",
    "UpdateItem",
    "UpdateTimeToLive",
];

#[derive(Clone)]
pub struct Endpoint {
    pub url: String,
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    engines: Mutex<HashMap<String, Embedded>>,
    answers: Mutex<HashMap<String, (u16, Value)>>,
    date: Mutex<Option<Timestamp>>,
}

impl Endpoint {
    /// An endpoint without tables.
    pub async fn start() -> Self {
        let inner = Arc::new(Inner::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let routes = Router::new().fallback(answer).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { url, inner }
    }

    /// The same with these tables, where requests go that name no region.
    pub async fn with(tables: &[TableSpec]) -> Self {
        let endpoint = Self::start().await;
        endpoint.store(REGION).create_tables(tables).await.expect("a new engine takes new tables");
        endpoint
    }

    /// The store of a region, without the way over the port.
    pub fn store(&self, region: &str) -> Dynamo {
        over(&self.inner.engine(region), Clock::system(), &Faults::new())
    }

    /// Another address of the same store, which can be shut for those who use it.
    pub async fn door(&self) -> Door {
        let is_shut = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port on loopback");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let (inner, shut) = (self.inner.clone(), is_shut.clone());
        let through = move |headers: HeaderMap, body: Bytes| {
            let (inner, is_shut) = (inner.clone(), shut.load(Ordering::SeqCst));
            async move {
                if is_shut {
                    return Response::builder().status(503).body(Body::empty()).expect("it is complete");
                }
                answer(State(inner), headers, body).await
            }
        };
        let routes = Router::new().fallback(through);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Door { url, is_shut }
    }

    /// From now on an operation is answered like this, not by the engine.
    pub fn answer(&self, operation: &str, status: u16, body: Value) {
        self.inner.answers.lock().unwrap().insert(operation.to_owned(), (status, body));
    }

    /// The same with one of DynamoDB's errors.
    pub fn refuse(&self, operation: &str, code: &str, message: &str) {
        let kind = format!("com.amazonaws.dynamodb.v20120810#{code}");
        self.answer(operation, 400, json!({ "__type": kind, "message": message }));
    }

    /// From now on answers are dated like this.
    pub fn set_date(&self, date: Timestamp) {
        *self.inner.date.lock().unwrap() = Some(date);
    }
}

/// A way to the store that may be cut.
pub struct Door {
    pub url: String,
    is_shut: Arc<AtomicBool>,
}

impl Door {
    pub fn shut(&self) {
        self.is_shut.store(true, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.is_shut.store(false, Ordering::SeqCst);
    }
}

impl Inner {
    fn engine(&self, region: &str) -> Embedded {
        let mut engines = self.engines.lock().unwrap();
        let engine = engines.entry(region.to_owned());
        engine.or_insert_with(|| Embedded::memory().expect("memory needs no file")).clone()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let target = text("x-amz-target").to_owned();
    let operation = target.rsplit('.').next().unwrap_or_default();
    let known = inner.answers.lock().unwrap().get(operation).cloned();
    let (status, body) = match known {
        Some((status, body)) => (status, body.to_string().into_bytes()),
        None if OPERATIONS.contains(&operation) => {
            // Credential=KEY/DAY/REGION/dynamodb/aws4_request
            let region = text("authorization").split('/').nth(2).unwrap_or(REGION).to_owned();
            ask(&inner.engine(&region), &target, &body).await
        }
        None => {
            (400, json!({ "__type": "UnknownOperationException", "message": "" }).to_string().into_bytes())
        }
    };
    let mut response =
        Response::builder().status(status).header("content-type", "application/x-amz-json-1.0");
    if let Some(date) = *inner.date.lock().unwrap() {
        response = response.header("date", http_date(date));
    }
    response.body(body.into()).expect("it is complete")
}

async fn ask(engine: &Embedded, target: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut request = HttpRequest::new(body.to_vec().into());
    request.headers_mut().insert("x-amz-target", target.to_owned());
    let response = engine.call(request).await.expect("the engine answers");
    (response.status().as_u16(), response.body().bytes().expect("it is in memory").to_vec())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, as RFC 9110 wants it.
fn http_date(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_second(at.seconds()).expect("a date of our time");
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
