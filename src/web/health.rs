//! `/live`, `/ready` and `/metrics`, for supervisors and Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::context::Services;

/// The OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves routes until shutdown.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) {
    let stop = shutdown.cancelled_owned();
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop).await {
        error!(%error, "the pages are gone");
    }
}

/// The operator's routes.
pub fn health(services: Arc<Services>) -> Router {
    Router::new()
        .route("/live", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(services)
}

async fn ready(State(services): State<Arc<Services>>) -> impl IntoResponse {
    if !services.health.ready() {
        (StatusCode::SERVICE_UNAVAILABLE, "not connected\n")
    } else if services.bans.instance().is_none() {
        (StatusCode::SERVICE_UNAVAILABLE, "the list of bans is not loaded\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

async fn metrics(State(services): State<Arc<Services>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], services.metrics.text())
}
