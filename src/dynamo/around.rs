//! [`around`]: an HTTP client of the SDK's, and something of ours on the way to it.

use std::fmt::Debug;

use aws_sdk_dynamodb::config::{ConfigBag, RuntimeComponents, RuntimeComponentsBuilder, SharedHttpClient};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// What requests pass on their way.
pub(super) trait Passing: Clone + Debug + Send + Sync + 'static {
    /// An attempt of the SDK's, and where it was going.
    fn pass(&self, connector: &SharedHttpConnector, request: HttpRequest) -> HttpConnectorFuture;
}

/// This client, behind this.
pub(super) fn around(client: SharedHttpClient, passing: impl Passing) -> SharedHttpClient {
    SharedHttpClient::new(Around { inner: client, passing })
}

/// A client or a connector, and what is on the way to it.
#[derive(Debug)]
struct Around<I, P> {
    inner: I,
    passing: P,
}

impl<P: Passing> HttpClient for Around<SharedHttpClient, P> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let inner = self.inner.http_connector(settings, components);
        SharedHttpConnector::new(Around { inner, passing: self.passing.clone() })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_base_client_config(components, config)
    }

    fn validate_final_config(
        &self,
        components: &RuntimeComponents,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.inner.validate_final_config(components, config)
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.inner.connector_metadata()
    }
}

impl<P: Passing> HttpConnector for Around<SharedHttpConnector, P> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.passing.pass(&self.inner, request)
    }
}
