//! `/live`, `/ready` and `/metrics`, for supervisors and Prometheus.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::context::Services;
use crate::web::dashboard::door::Viewer;

/// The OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves routes until shutdown.
pub async fn serve(listener: TcpListener, routes: Router, shutdown: CancellationToken) {
    let stop = shutdown.cancelled_owned();
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stop).await {
        error!(%error, "the pages are gone");
    }
}

/// The operator's routes; who may ask for which is decided at the door.
pub(super) fn health(services: Arc<Services>) -> Router {
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

/// For Prometheus, who sits at this machine, and the owners of the bot: numbers of all servers together.
async fn metrics(State(services): State<Arc<Services>>, viewer: Option<Extension<Viewer>>) -> Response {
    if let Some(Extension(Viewer::SignedIn(session))) = viewer
        && !services.instance.bot_owners.contains(&session.person_id)
    {
        return (StatusCode::FORBIDDEN, "This is for the owners of the bot.\n").into_response();
    }
    ([(header::CONTENT_TYPE, OPENMETRICS)], services.metrics.text()).into_response()
}
