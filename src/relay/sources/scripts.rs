//! A door for scripts of this machine: `curl -d "backup done" http://127.0.0.1:8430/alerts/backup`.
//!
//! Whoever reaches it speaks for the bot, so it listens on loopback unless it has a token, takes only the topics
//! that it was given, and answers no browser: a page of elsewhere sends an `Origin`, and a name that resolves
//! to this machine is no loopback host.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::relay::envelope::{ENVELOPE_MAX, SUBJECT_MAX, Value};
use crate::relay::handle::Relay;
use crate::relay::name::{Pattern, Topic, hash};
use crate::relay::publish::Draft;
use crate::relay::publish::{Published, Refused};
use crate::relay::sources::prepare;
use crate::relay::tree::{Source, What};

/// The process before this one may still have the port.
const BIND_AGAIN: Duration = Duration::from_secs(10);

struct Door {
    source: Source,
    topics: Vec<Pattern>,
    token: Option<SecretString>,
    /// Only loopback hosts may be named.
    is_local: bool,
    relay: Relay,
    clock: Clock,
}

/// Listens until it is told to stop.
pub async fn serve(source: Source, relay: Relay, clock: Clock, stop: CancellationToken) {
    let What::Scripts { listen, token, topics } = source.what.clone() else { return };
    let Some(Some(listener)) = stop.run_until_cancelled(bind(&source.key, listen)).await else { return };
    let topics = topics.into_iter().map(|(_, pattern)| pattern).collect();
    let door = Door { source, topics, token, is_local: listen.ip().is_loopback(), relay, clock };
    let served = axum::serve(listener, router(door)).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        warn!(%error, "scripts cannot reach the bot any more");
    }
}

async fn bind(key: &str, address: SocketAddr) -> Option<TcpListener> {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                info!(source = key, %address, "listening to scripts");
                return Some(listener);
            }
            Err(error) => warn!(source = key, %address, %error, "cannot listen to scripts yet"),
        }
        sleep(BIND_AGAIN).await;
    }
}

fn router(door: Door) -> Router {
    Router::new()
        .route("/{*topic}", post(take))
        .layer(DefaultBodyLimit::max(ENVELOPE_MAX))
        .with_state(Arc::new(door))
}

/// What a script says, if it says more than a line.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    subject: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, Value>,
    /// Said again under the same id, it is the same.
    id: Option<String>,
}

async fn take(
    State(door): State<Arc<Door>>,
    Path(topic): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = door.refusal(&headers) {
        return refusal.into_response();
    }
    let topic = match Topic::new(&topic) {
        Ok(topic) if door.topics.iter().any(|pattern| pattern.matches(&topic)) => topic,
        Ok(topic) => {
            return (StatusCode::FORBIDDEN, format!("{topic} is not among the topics of this door\n"))
                .into_response();
        }
        Err(why) => return (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    };
    match read(&headers, &body) {
        Ok(said) => door.publish(topic, said).await,
        Err(why) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
    }
}

/// JSON where it says so, else a line of text.
fn read(headers: &HeaderMap, body: &[u8]) -> Result<Said, String> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/json") {
        return serde_json::from_slice(body).map_err(|error| error.to_string());
    }
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?.trim();
    if text.is_empty() {
        return Err("it says nothing".to_owned());
    }
    if text.chars().count() > SUBJECT_MAX {
        return Err(format!(
            "a subject has at most {SUBJECT_MAX} characters; send JSON with fields for more"
        ));
    }
    Ok(Said { subject: Some(text.to_owned()), ..Said::default() })
}

impl Door {
    fn refusal(&self, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if headers.contains_key(header::ORIGIN) {
            return Some((StatusCode::FORBIDDEN, "this door is for scripts, not for pages\n"));
        }
        if self.is_local && !is_loopback(text(header::HOST)) {
            return Some((StatusCode::FORBIDDEN, "this door is for this machine\n"));
        }
        let given = text(header::AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default();
        // Of hashes: how long it takes to compare them tells nothing.
        let is_right = |token: &SecretString| hash(&[token.expose_secret()]) == hash(&[given]);
        if self.token.as_ref().is_some_and(|token| !is_right(token)) {
            return Some((StatusCode::UNAUTHORIZED, "Authorization: Bearer <token> is missing or wrong\n"));
        }
        None
    }

    async fn publish(&self, topic: Topic, said: Said) -> Response {
        let now = self.clock.now();
        let because = said.id.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
        let draft = Draft {
            topic,
            scope: self.source.scope,
            to: None,
            at: now,
            because: format!("{}/{because}", self.source.key),
            part: 0,
            cause: None,
            depth: 0,
            key: self.source.key.clone(),
            subject: said.subject,
            fields: said.fields,
        };
        let prepared = match prepare(&self.relay, &self.source, draft, now).await {
            Ok(Some(draft)) => draft,
            Ok(None) => return (StatusCode::OK, "discarded by a rule\n").into_response(),
            Err(why) => return (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
        };
        answer(self.relay.publish(prepared).await).into_response()
    }
}

fn answer(published: Result<Published, Refused>) -> (StatusCode, String) {
    match published {
        Ok(Published { id, full, again, .. }) => {
            let status = if again { StatusCode::OK } else { StatusCode::ACCEPTED };
            let full: Vec<_> = full.iter().map(|out| out.name()).collect();
            let note = if full.is_empty() { String::new() } else { format!(" (full: {})", full.join(", ")) };
            (status, format!("{id}{note}\n"))
        }
        Err(why @ (Refused::Full(_) | Refused::Contended | Refused::Store(_))) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n"))
        }
        Err(why) => (StatusCode::UNPROCESSABLE_ENTITY, format!("{why}\n")),
    }
}

/// `127.0.0.1`, `localhost` or `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_or_json_is_read() {
        let json = HeaderMap::from_iter([(header::CONTENT_TYPE, "application/json".parse().unwrap())]);
        let said = read(&json, br#"{"subject": "done", "fields": {"n": 5, "ok": true}, "id": "x"}"#).unwrap();
        assert_eq!(
            (said.subject.as_deref(), said.id.as_deref(), said.fields.len()),
            (Some("done"), Some("x"), 2)
        );
        assert_eq!(read(&HeaderMap::new(), b" done\n").unwrap().subject.as_deref(), Some("done"));
        for (headers, body) in
            [(&json, "{\"subjct\": 1}"), (&HeaderMap::new(), " \n"), (&HeaderMap::new(), &*"x".repeat(301))]
        {
            assert!(read(headers, body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["127.0.0.1:8430", "localhost", "[::1]:80"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "127.0.0.1.evil.example:80", "192.168.0.7"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
