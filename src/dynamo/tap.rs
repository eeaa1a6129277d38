//! [`tapped`]: tells what the store is asked and what it answers, as the SDK sends and hears it.
//!
//! It is around the HTTP client, outside of the faults: an attempt whose reply was lost is told as lost. Bodies are
//! told, headers are not: those hold the signature.

use std::time::Instant;

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use serde_json::{Value, json};

use crate::backstage::Backstage;
use crate::dynamo::around::{Passing, around};

/// This client, with everything that goes through it told to those who listen.
pub(super) fn tapped(client: SharedHttpClient, backstage: Backstage) -> SharedHttpClient {
    around(client, Tap(backstage))
}

#[derive(Clone, Debug)]
struct Tap(Backstage);

impl Passing for Tap {
    fn pass(&self, connector: &SharedHttpConnector, request: HttpRequest) -> HttpConnectorFuture {
        if !self.0.is_heard() {
            return connector.call(request);
        }
        let (asked, started) = (asked(&request), Instant::now());
        let (call, backstage) = (connector.call(request), self.0.clone());
        HttpConnectorFuture::new(async move {
            let answer = call.await;
            backstage.tell("store", || {
                let took_ms = started.elapsed().as_secs_f64() * 1_000.0;
                json!({"asked": asked, "answer": answered(&answer), "took_ms": took_ms})
            });
            answer
        })
    }
}

fn asked(request: &HttpRequest) -> Value {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    json!({"operation": operation, "body": parsed(request.body().bytes())})
}

fn answered(answer: &Result<HttpResponse, ConnectorError>) -> Value {
    match answer {
        Ok(response) => {
            json!({"status": response.status().as_u16(), "body": parsed(response.body().bytes())})
        }
        Err(error) => json!({"broken": source(error)}),
    }
}

/// What is below the connector's own words, such as "connection reset".
fn source(error: &ConnectorError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Nothing where the body is not at hand: that of a store over a network is still on its way.
fn parsed(body: Option<&[u8]>) -> Value {
    body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backstage::during;
    use crate::dynamo::TableSpec;
    use crate::dynamo::connect::{Store, StoreConfig, connect};
    use crate::dynamo::faults::{Fault, Faults};
    use crate::settings::Settings;

    #[tokio::test]
    async fn every_attempt_is_told_with_what_was_asked_and_what_became_of_it() {
        let (backstage, faults) = (Backstage::default(), Faults::new());
        let config = StoreConfig {
            backstage: Some(backstage.clone()),
            faults: Some(faults.clone()),
            ..StoreConfig::new(Store::Memory)
        };
        let dynamo = connect(config).await.unwrap().dynamo;
        dynamo.create_tables(&[TableSpec::of::<Settings>()]).await.unwrap();
        let mut heard = backstage.listen();
        faults.script([Fault::LoseReply]);
        during(7, dynamo.put(&Settings::new(5))).await.unwrap();
        let (lost, again) = (heard.try_recv().unwrap(), heard.try_recv().unwrap());
        assert_eq!(lost.event, "7");
        assert_eq!(lost.data["answer"]["broken"], "connection reset");
        assert_eq!(lost.data["asked"], again.data["asked"]);
        assert_eq!(again.data["asked"]["operation"], "PutItem");
        assert_eq!(again.data["asked"]["body"]["TableName"], "settings");
        assert_eq!(again.data["answer"]["body"]["ConsumedCapacity"]["CapacityUnits"], 1.0);
        let told = format!("{lost:?}{again:?}").to_lowercase();
        assert!(!told.contains("authorization") && !told.contains("aws4-hmac"), "{told}");
    }
}
