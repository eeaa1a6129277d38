//! Who may come in: the fence around everything that `--http` serves.
//!
//! - `/live` and `/ready` answer everybody: they say one word.
//! - Without [`Public`], whoever sits at this machine sees everything and changes nothing; from anywhere else, or
//!   through a proxy, nothing else answers.
//! - With [`Public`], one address is served, and its pages to those who have signed in with Discord; this machine
//!   is no exception, because a proxy on it looks the same.
//! - `/metrics` also answers to its own token, for Prometheus.
//!
//! A request must name the host that is served, which stops DNS rebinding. What changes something is a form with
//! its session's token, sent from a page of this address, which stops other sites.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::web::dashboard::oauth::Public;
use crate::web::dashboard::session::{Session, Sessions};
use crate::web::local::is_loopback;

/// Styles and pictures from here; no script at all, no frames, forms to here only.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // Not `no-referrer`: with that a browser does not say either where a form of ours comes from.
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
];

/// What a proxy adds to what it passes on. A request with one of these comes from somewhere else.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Answered to everybody: a supervisor has no session.
const OPEN: [&str; 2] = ["/live", "/ready"];

/// The way in.
pub const SIGN_IN: &str = "/sign-in";
pub const SIGNED_IN: &str = "/signed-in";

/// The fence, and what it lets pass by.
#[derive(Debug)]
pub struct Door {
    /// Where the dashboard is served to people who sign in.
    pub public: Option<Public>,
    /// For Prometheus.
    pub metrics_token: Option<SecretString>,
    pub sessions: Sessions,
}

/// Who looks.
#[derive(Clone, Debug)]
pub enum Viewer {
    /// Whoever sits at this machine: sees everything, changes nothing.
    Here,
    SignedIn(Arc<Session>),
}

enum Verdict {
    Enter(Option<Viewer>),
    /// To the way in.
    SignIn,
    Refuse(StatusCode, &'static str),
}

impl Door {
    /// Only what is for whoever sits at this machine.
    pub fn local() -> Self {
        Self { public: None, metrics_token: None, sessions: Sessions::default() }
    }

    fn judge(&self, from: SocketAddr, request: &Request) -> Verdict {
        let (path, headers) = (request.uri().path(), request.headers());
        if OPEN.contains(&path) {
            return Verdict::Enter(None);
        }
        if path == "/metrics" && self.is_prometheus(headers) {
            return Verdict::Enter(None);
        }
        match &self.public {
            None => local(from, request),
            Some(public) => self.public(public, request),
        }
    }

    fn is_prometheus(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.metrics_token else { return false };
        let given = text(headers, &header::AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        given.is_some_and(|given| same(given, token.expose_secret()))
    }

    fn public(&self, public: &Public, request: &Request) -> Verdict {
        let headers = request.headers();
        if text(headers, &header::HOST) != Some(public.host()) {
            return Verdict::Refuse(StatusCode::FORBIDDEN, "Nothing is served under this name.\n");
        }
        if !is_own(headers, request.method(), public.origin()) {
            return Verdict::Refuse(StatusCode::FORBIDDEN, "Another site may not ask here.\n");
        }
        if [SIGN_IN, SIGNED_IN].contains(&request.uri().path()) {
            return Verdict::Enter(None);
        }
        match self.sessions.of(headers) {
            Some(session) => Verdict::Enter(Some(Viewer::SignedIn(session))),
            None if request.method() == Method::GET && wants_page(headers) => Verdict::SignIn,
            None => Verdict::Refuse(StatusCode::UNAUTHORIZED, "Sign in first.\n"),
        }
    }
}

fn local(from: SocketAddr, request: &Request) -> Verdict {
    let headers = request.headers();
    let host = text(headers, &header::HOST).unwrap_or_default();
    if !from.ip().to_canonical().is_loopback() || FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Verdict::Refuse(StatusCode::FORBIDDEN, "This is only served on the machine itself.\n");
    }
    if !is_loopback(host) {
        return Verdict::Refuse(StatusCode::FORBIDDEN, "Nothing is served under this name.\n");
    }
    if !is_own(headers, request.method(), &format!("http://{host}")) {
        return Verdict::Refuse(StatusCode::FORBIDDEN, "Another site may not ask here.\n");
    }
    Verdict::Enter(Some(Viewer::Here))
}

/// Whether a request is from a page of this origin, or from nobody's. What changes something says where it is from.
fn is_own(headers: &HeaderMap, method: &Method, origin: &str) -> bool {
    let said = text(headers, &header::ORIGIN);
    let site = headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or_default());
    if method == Method::GET || method == Method::HEAD {
        // A link from elsewhere may lead here; nothing from elsewhere may read here.
        let navigation = headers.get("sec-fetch-mode").is_none_or(|mode| mode == "navigate");
        return said.is_none_or(|said| said == origin)
            && site.is_none_or(|site| matches!(site, "same-origin" | "none") || navigation);
    }
    said == Some(origin) && site.is_none_or(|site| site == "same-origin")
}

fn wants_page(headers: &HeaderMap) -> bool {
    text(headers, &header::ACCEPT).is_some_and(|kinds| kinds.contains("text/html"))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Whether two secrets are the same, without telling by the time it takes how far they are.
pub fn same(a: &str, b: &str) -> bool {
    let digest = |text: &str| Sha256::digest(text.as_bytes());
    digest(a) == digest(b)
}

/// Stands before every route.
pub async fn guard(
    State(door): State<Arc<Door>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let mut response = match door.judge(from, &request) {
        Verdict::Enter(viewer) => {
            if let Some(viewer) = viewer {
                request.extensions_mut().insert(viewer);
            }
            next.run(request).await
        }
        Verdict::SignIn => Redirect::to(SIGN_IN).into_response(),
        Verdict::Refuse(status, why) => (status, why).into_response(),
    };
    for (name, value) in HEADERS {
        // A route may be stricter than the rest: its own header stays.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const HERE: &str = "127.0.0.1:5000";

    fn judged(from: &str, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<(), u16> {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match Door::local().judge(from.parse().unwrap(), &request.body(Body::empty()).unwrap()) {
            Verdict::Enter(_) => Ok(()),
            Verdict::SignIn => Err(303),
            Verdict::Refuse(status, _) => Err(status.as_u16()),
        }
    }

    fn get(from: &str, path: &str, headers: &[(&str, &str)]) -> Result<(), u16> {
        judged(from, Method::GET, path, headers)
    }

    #[test]
    fn this_machine_is_let_in() {
        for host in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"] {
            assert_eq!(get(HERE, "/", &[("host", host)]), Ok(()), "{host}");
        }
        assert_eq!(get("[::ffff:127.0.0.1]:5000", "/", &[("host", "localhost")]), Ok(()));
    }

    #[test]
    fn from_elsewhere_only_life_signs_are_answered() {
        for from in ["10.0.0.7:5000", "[2001:db8::1]:5000"] {
            for path in ["/", "/metrics", "/servers", "/assets/dashboard.css"] {
                assert_eq!(get(from, path, &[("host", "127.0.0.1:8080")]), Err(403), "{from}{path}");
            }
            assert_eq!(get(from, "/live", &[("host", "any")]), Ok(()));
            assert_eq!(get(from, "/ready", &[]), Ok(()));
        }
    }

    #[test]
    fn a_proxy_on_this_machine_is_elsewhere() {
        for name in FORWARDED {
            assert_eq!(get(HERE, "/", &[("host", "localhost"), (name, "10.0.0.7")]), Err(403), "{name}");
        }
    }

    #[test]
    fn rebound_names_and_other_sites_are_refused() {
        for host in ["evil.example:8080", "127.0.0.1.evil.example", ""] {
            assert_eq!(get(HERE, "/", &[("host", host)]), Err(403), "{host}");
        }
        let own = ("host", "localhost:8080");
        for headers in [
            [own, ("origin", "http://evil.example")],
            [own, ("origin", "http://localhost:9999")],
            [own, ("origin", "null")],
        ] {
            assert_eq!(get(HERE, "/", &headers), Err(403), "{headers:?}");
        }
        let fetched = [own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")];
        assert_eq!(get(HERE, "/metrics", &fetched), Err(403));
        let followed = [own, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(get(HERE, "/", &followed), Ok(()), "a link");
    }

    #[test]
    fn a_form_must_come_from_a_page_of_ours() {
        let own = ("host", "localhost:8080");
        assert_eq!(judged(HERE, Method::POST, "/x", &[own]), Err(403));
        let (origin, site) = (("origin", "http://localhost:8080"), ("sec-fetch-site", "cross-site"));
        assert_eq!(judged(HERE, Method::POST, "/x", &[own, origin]), Ok(()));
        assert_eq!(judged(HERE, Method::POST, "/x", &[own, origin, site]), Err(403));
    }

    #[test]
    fn prometheus_has_a_token_of_its_own() {
        let door = Door { metrics_token: Some("secret".into()), ..Door::local() };
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        assert!(door.is_prometheus(&with("Bearer secret")));
        for wrong in ["Bearer secre", "Bearer ", "secret", "Basic secret"] {
            assert!(!door.is_prometheus(&with(wrong)), "{wrong}");
        }
        assert!(!Door::local().is_prometheus(&with("Bearer ")));
    }
}
