//! A real engine for tests in virtual time: whoever asks it stands still, with its clock, until it has answered.

use std::sync::{Arc, mpsc};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use tokio::runtime::Runtime;

/// A handle to an engine at some address.
#[derive(Clone, Debug)]
pub struct Remote(Arc<Connection>);

/// Talks to the engine on a thread where time passes.
#[derive(Debug)]
struct Connection {
    url: String,
    http: reqwest::Client,
    elsewhere: Runtime,
}

impl Remote {
    pub fn new(url: &str) -> Self {
        let elsewhere = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let elsewhere = elsewhere.expect("a thread can be had");
        Self(Arc::new(Connection { url: url.to_owned(), http: reqwest::Client::new(), elsewhere }))
    }
}

impl Connection {
    fn answer(&self, request: &HttpRequest) -> Result<HttpResponse, reqwest::Error> {
        let body = request.body().bytes().unwrap_or_default().to_vec();
        let headers = request.headers().iter().filter(|(name, _)| *name != "host");
        let call = headers.fold(self.http.post(&self.url), |call, (name, value)| call.header(name, value));
        let (reply, answer) = mpsc::channel();
        self.elsewhere.spawn(async move {
            let answer = async {
                let answer = call.body(body).send().await?;
                Ok((answer.status(), answer.bytes().await?))
            };
            let _ = reply.send(answer.await);
        });
        let (status, body) = answer.recv().expect("the other thread answers")?;
        let status = status.as_u16().try_into().expect("what HTTP calls a status");
        Ok(HttpResponse::new(status, body.into()))
    }
}

impl HttpClient for Remote {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Remote {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self(connection) = self.clone();
        HttpConnectorFuture::new(async move {
            connection.answer(&request).map_err(|error| ConnectorError::io(error.into()))
        })
    }
}
