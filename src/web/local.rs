//! The fence around the pages: loopback only, same origin only, and headers that bind the browser.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

/// Scripts, styles, pictures and sockets from here; nothing inline, nothing from elsewhere, no frames.
/// Trusted types turn the ways to make HTML out of text into errors.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Puts the fence around all routes.
pub(super) fn only(router: Router) -> Router {
    router.layer(from_fn(guard))
}

async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(request.headers()) {
        Some(why) => (StatusCode::FORBIDDEN, why).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in HEADERS {
        // A route may be stricter than the rest: its own header stays.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Why a request is not from this machine's own page; `None` if it is.
fn refusal(headers: &HeaderMap) -> Option<&'static str> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let host = text(header::HOST).unwrap_or_default();
    if !is_loopback(host) {
        return Some("This page is only served on localhost.\n");
    }
    match text(header::ORIGIN) {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => {
            Some("Another site may not ask here.\n")
        }
        _ => None,
    }
}

/// `127.0.0.1`, `localhost` or `[::1]`, with or without a port. Names that resolve to them do not count.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(host: &str, origin: Option<&str>) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        refusal(&headers)
    }

    #[test]
    fn loopback_hosts_are_served() {
        for host in ["127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:80", "[::1]"] {
            assert_eq!(asked(host, None), None, "{host}");
            assert_eq!(asked(host, Some(&format!("http://{host}"))), None, "{host}");
        }
    }

    #[test]
    fn other_names_are_not_even_if_they_resolve_here() {
        for host in
            ["evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example:80", "", "192.168.0.7"]
        {
            assert!(asked(host, None).is_some(), "{host}");
        }
        assert!(refusal(&HeaderMap::new()).is_some());
    }

    #[test]
    fn other_sites_and_other_ports_may_not_ask() {
        for origin in ["http://evil.example", "http://localhost:9999", "https://localhost:8080", "null", ""] {
            assert!(asked("localhost:8080", Some(origin)).is_some(), "{origin}");
        }
    }
}
