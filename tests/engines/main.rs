//! What needs a real engine: `make test-engines` starts one and names it in `DYNAMODB_ENDPOINT`. Without it
//! these tests fail, so that a pass always means that something ran.

#[expect(dead_code, reason = "the other binary of tests uses the rest")]
#[path = "../it/child.rs"]
mod child;
mod doctor;
#[expect(dead_code, reason = "the other binary of tests uses the rest")]
#[path = "../it/harness.rs"]
mod harness;
mod hook;
mod load;
mod secrets;

use std::sync::atomic::{AtomicU32, Ordering};

use mneme::dynamo::conformance::{self, Engine};
use mneme::dynamo::connect::Store;

/// The engine's address.
fn endpoint() -> String {
    let url = std::env::var("DYNAMODB_ENDPOINT");
    url.expect("DYNAMODB_ENDPOINT names no engine; run `make test-engines`, which starts one")
}

fn store() -> Store {
    Store::Endpoint { url: endpoint(), region: Some("us-east-1".to_owned()) }
}

/// `DYNAMODB_ENGINE=localstack` or `amazon`; usually DynamoDB Local.
fn engine() -> Engine {
    match std::env::var("DYNAMODB_ENGINE").as_deref() {
        Err(_) | Ok("dynamodb-local") => Engine::DynamoDbLocal,
        Ok("localstack") => Engine::LocalStack,
        Ok("amazon") => Engine::Amazon,
        Ok(other) => panic!("DYNAMODB_ENGINE={other} is none of dynamodb-local, localstack and amazon"),
    }
}

/// A prefix for tables of one test and one run: the server may have seen others.
fn prefix(test: &str) -> String {
    static PREFIXES: AtomicU32 = AtomicU32::new(0);
    format!("{test}-{}-{}-", std::process::id(), PREFIXES.fetch_add(1, Ordering::Relaxed))
}

#[tokio::test]
async fn the_engine_conforms() {
    conformance::run(engine(), &store(), &prefix("conformance")).await;
}
