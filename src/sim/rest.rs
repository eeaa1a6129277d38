//! The REST adaptor: HTTP in, [`Request`] to the world, HTTP out.

use std::sync::{Arc, PoisonError};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Multipart, Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{any, get};
use axum::{Router, extract};
use serde_json::Value;

use super::faults::Effect;
use super::hub::Hub;
use super::socket::Scissors;
use super::world::{Body, Request, Response, Route, Upload, request_too_large};

/// Discord takes 25 MiB; the rest is for the form around the files.
const BODY_MAX: usize = 26 * 1_024 * 1_024;

/// All paths: the gateway at `/`, and REST everywhere else.
pub(super) fn router(hub: Arc<Hub>) -> Router {
    Router::new()
        .route("/", get(super::gateway::upgrade))
        .merge(super::oauth::routes())
        .fallback(any(answer))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(hub)
}

async fn answer(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: extract::Request,
) -> HttpResponse {
    let method = request.method().to_string();
    let path = request.uri().path();
    let path = path.strip_prefix("/api/v10").unwrap_or(path);
    if let Some(answered) = super::oauth::as_person(&hub, request.headers(), path) {
        return answered;
    }
    if let Some(person) = super::people::caller(&hub, request.headers()) {
        let path = path.to_owned();
        return http(match read(request, None).await {
            Ok(request) => super::people::answer(&hub, person, &method, &path, &request),
            Err(response) => response,
        });
    }
    let route = Route::find(&method, path);
    let name = route.as_ref().map_or("", |route| route.name);
    if let Some(route) = &route {
        hub.count(route.name);
    }
    let effect = hub.switches.lock().unwrap_or_else(PoisonError::into_inner).on_call(name);
    let request = match read(request, route).await {
        Ok(request) => request,
        Err(response) => return http(response),
    };
    let told = |response: Response| {
        hub.count_status(response.status);
        http(response)
    };
    match effect {
        None => told(hub.request(request)),
        Some(Effect::Answer(response, None)) => told(response),
        Some(Effect::Answer(response, Some(page))) => (http(response).status(), page).into_response(),
        Some(Effect::Delay(by)) => {
            tokio::time::sleep(by).await;
            http(hub.request(request))
        }
        Some(Effect::Hang) => {
            hub.shutdown.cancelled().await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(Effect::LoseReply) => {
            let response = hub.request(request);
            scissors.cut();
            http(response)
        }
    }
}

async fn read(request: extract::Request, route: Option<Route>) -> Result<Request, Response> {
    let kind = text(request.headers(), &header::CONTENT_TYPE);
    let multipart = kind.is_some_and(|kind| kind.starts_with("multipart/form-data"));
    let authorization = text(request.headers(), &header::AUTHORIZATION);
    let host = text(request.headers(), &header::HOST);
    let line = format!("{} {}", request.method(), request.uri().path());
    let query = Query::try_from_uri(request.uri()).map_or_else(|_| Vec::new(), |Query(query)| query);
    let (body, malformed, files) = if multipart { form(request).await? } else { json(request).await? };
    Ok(Request { route, line, query, authorization, host, body, malformed, files })
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

type Contents = (Value, bool, Vec<Upload>);

async fn json(request: extract::Request) -> Result<Contents, Response> {
    let bytes = Bytes::from_request(request, &()).await.map_err(|_| request_too_large())?;
    if bytes.is_empty() {
        return Ok((Value::Null, false, Vec::new()));
    }
    match serde_json::from_slice(&bytes) {
        Ok(body) => Ok((body, false, Vec::new())),
        Err(_) => Ok((Value::Null, true, Vec::new())),
    }
}

/// `payload_json` and `files[n]`.
async fn form(request: extract::Request) -> Result<Contents, Response> {
    let too_large = |_| request_too_large();
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| request_too_large())?;
    let (mut body, mut malformed, mut files) = (Value::Null, false, Vec::new());
    while let Some(field) = form.next_field().await.map_err(too_large)? {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "payload_json" {
            let bytes = field.bytes().await.map_err(too_large)?;
            match serde_json::from_slice(&bytes) {
                Ok(value) => body = value,
                Err(_) => malformed = true,
            }
            continue;
        }
        let index = name.strip_prefix("files[").and_then(|rest| rest.strip_suffix(']'));
        let index = index.and_then(|index| index.parse().ok()).unwrap_or(files.len() as u64);
        let file_name = field.file_name().unwrap_or("unknown").to_owned();
        let given = field.content_type().filter(|kind| *kind != "application/octet-stream");
        let content_type = given.map_or_else(|| content_type(&file_name), str::to_owned);
        let bytes = field.bytes().await.map_err(too_large)?.to_vec();
        files.push(Upload { index, name: file_name, content_type, description: None, bytes });
    }
    Ok((body, malformed, files))
}

/// Discord looks at the name when a client does not say what a file is.
fn content_type(name: &str) -> String {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = match extension.to_ascii_lowercase().as_str() {
        "txt" | "md" | "log" => "text/plain; charset=utf-8",
        "json" => "application/json; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    };
    known.to_owned()
}

fn http(response: Response) -> HttpResponse {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut http = match response.body {
        Body::Empty => status.into_response(),
        Body::Json(value) => {
            (status, [(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
        }
        Body::File(content) => {
            let bytes = Bytes::copy_from_slice(&content.bytes);
            (status, [(header::CONTENT_TYPE, content.content_type)], bytes).into_response()
        }
    };
    for (name, value) in response.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            http.headers_mut().insert(name, value);
        }
    }
    http
}
