//! What needs a real engine: `make test-engines` starts one and names it in `DYNAMODB_ENDPOINT`. Without it
//! these tests fail, so that a pass always means that something ran.

#[path = "engines/doctor.rs"]
mod doctor;

use mneme::dynamo::conformance::{self, Engine};
use mneme::dynamo::connect::Store;

fn endpoint_url() -> String {
    let url = std::env::var("DYNAMODB_ENDPOINT");
    url.expect("DYNAMODB_ENDPOINT names no engine; run `make test-engines`, which starts one")
}

fn endpoint() -> Store {
    Store::Endpoint { url: endpoint_url(), region: Some("us-east-1".to_owned()) }
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

#[tokio::test]
async fn the_engine_conforms() {
    // Tables of this run only: the server may have seen others.
    let prefix = format!("conformance-{}-", std::process::id());
    conformance::run(engine(), &endpoint(), &prefix).await;
}
