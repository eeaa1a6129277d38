//! Signing in with the simulated Discord: authorization codes with PKCE, and what a person's token may ask.
//! <https://discord.com/developers/docs/topics/oauth2>
//!
//! In place of a password there is a page that asks who one is; a test says it with `person=<id>`.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::hub::Hub;
use super::world::Id;

/// Codes and tokens that were given and not given back.
#[derive(Debug, Default)]
pub(super) struct Granted {
    codes: BTreeMap<String, Code>,
    tokens: BTreeMap<String, Id>,
    given: u64,
}

#[derive(Debug)]
struct Code {
    person: Id,
    redirect_uri: String,
    challenge: Option<String>,
}

pub(super) fn routes() -> Router<Arc<Hub>> {
    let router = Router::new().route("/oauth2/authorize", get(authorize));
    ["/api/oauth2/token", "/api/v10/oauth2/token"].iter().fold(router, |router, path| {
        router.route(path, post(token)).route(&format!("{path}/revoke"), post(revoke))
    })
}

/// The secret of the world's application.
pub(super) fn client_secret(hub: &Hub) -> String {
    format!("client-secret-{}", hub.read(super::world::World::seed))
}

/// Tokens of people that are worth something.
pub(super) fn tokens(hub: &Hub) -> usize {
    granted(hub).tokens.len()
}

fn granted(hub: &Hub) -> std::sync::MutexGuard<'_, Granted> {
    hub.granted.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Deserialize)]
struct Asked {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    #[serde(default)]
    scope: String,
    state: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    /// Who says yes; not Discord's.
    person: Option<Id>,
}

async fn authorize(
    State(hub): State<Arc<Hub>>,
    Query(asked): Query<Asked>,
    uri: axum::http::Uri,
) -> Response {
    let ours = hub.read(|world| world.application_id().to_string());
    let fits = asked.response_type == "code"
        && asked.client_id == ours
        && asked.code_challenge_method.as_deref().is_none_or(|method| method == "S256");
    if !fits {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_request"}))).into_response();
    }
    let Some(person) = asked.person else { return who(&hub, &asked.scope, &uri) };
    if hub.read(|world| world.person_name(person).is_none()) {
        return back(&asked, "error=access_denied");
    }
    let mut granted = granted(&hub);
    granted.given += 1;
    let code = format!("code-{}", granted.given);
    let (redirect_uri, challenge) = (asked.redirect_uri.clone(), asked.code_challenge.clone());
    granted.codes.insert(code.clone(), Code { person, redirect_uri, challenge });
    drop(granted);
    back(&asked, &format!("code={code}"))
}

fn back(asked: &Asked, answer: &str) -> Response {
    let state = asked.state.as_ref().map(|state| format!("&state={state}")).unwrap_or_default();
    Redirect::to(&format!("{}?{answer}{state}", asked.redirect_uri)).into_response()
}

/// The page that asks who one is.
fn who(hub: &Hub, scope: &str, uri: &axum::http::Uri) -> Response {
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let people = hub.read(|world| world.people());
    let link = |(id, name): &(Id, String)| {
        format!("<li><a href=\"{}&amp;person={id}\">{}</a></li>", safe(&uri.to_string()), safe(name))
    };
    let list: String = people.iter().map(link).collect();
    let title = "Who are you?";
    Html(format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"data:,\">\
         <main><h1>{title}</h1><p>The simulated Discord is asked for: {}.</p><ul>{list}</ul></main>",
        safe(scope)
    ))
    .into_response()
}

#[derive(Deserialize)]
struct Exchange {
    grant_type: String,
    code: String,
    redirect_uri: String,
    code_verifier: Option<String>,
}

async fn token(State(hub): State<Arc<Hub>>, headers: HeaderMap, Form(form): Form<Exchange>) -> Response {
    if !is_application(&hub, &headers) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    let mut granted = granted(&hub);
    // Whatever is wrong with it, a code that was shown is spent.
    let code = granted.codes.remove(&form.code);
    let good = code.filter(|code| {
        let challenge =
            form.code_verifier.as_deref().map(|verifier| URL_SAFE_NO_PAD.encode(Sha256::digest(verifier)));
        form.grant_type == "authorization_code"
            && code.redirect_uri == form.redirect_uri
            && (code.challenge.is_none() || code.challenge == challenge)
    });
    let Some(code) = good else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"}))).into_response();
    };
    granted.given += 1;
    let token = format!("token-{}", granted.given);
    granted.tokens.insert(token.clone(), code.person);
    let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": 604_800, "scope": "identify guilds"});
    Json(answer).into_response()
}

#[derive(Deserialize)]
struct Revoke {
    token: String,
}

async fn revoke(State(hub): State<Arc<Hub>>, headers: HeaderMap, Form(form): Form<Revoke>) -> Response {
    if !is_application(&hub, &headers) {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"}))).into_response();
    }
    granted(&hub).tokens.remove(&form.token);
    Json(json!({})).into_response()
}

fn is_application(hub: &Hub, headers: &HeaderMap) -> bool {
    let id = hub.read(|world| world.application_id());
    let wanted = format!("Basic {}", STANDARD.encode(format!("{id}:{}", client_secret(hub))));
    headers.get(header::AUTHORIZATION).is_some_and(|given| given.as_bytes() == wanted.as_bytes())
}

/// What a call with a person's token is answered; `None`: it carries none.
pub(super) fn as_person(hub: &Hub, headers: &HeaderMap, path: &str) -> Option<Response> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let person = granted(hub).tokens.get(token).copied();
    let answer = |person: Id| -> Option<Value> {
        match path {
            "/users/@me" => Some(hub.read(|world| world.person_view(person))),
            "/users/@me/guilds" => Some(hub.read(|world| world.guilds_of(person))),
            _ => None,
        }
    };
    Some(match person.map(answer) {
        None => (StatusCode::UNAUTHORIZED, Json(json!({"message": "401: Unauthorized", "code": 0})))
            .into_response(),
        Some(None) => StatusCode::NOT_IMPLEMENTED.into_response(),
        Some(Some(value)) => Json(value).into_response(),
    })
}
