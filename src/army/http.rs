//! `mneme army serve`: start, watch and stop load tests over HTTP, as Bot Army's clients do.
//!
//! It listens on this machine alone unless there is a token, and answers no foreign `Host`: a page in a browser
//! cannot start a load test. A tree is a name in the folder, never a path.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::army::action::Registry;
use crate::army::cli::UNUSABLE;
use crate::army::command::{LOG_FILE, Mouth, Serve, seed};
use crate::army::log::Format;
use crate::army::metrics::document::{Document, Run};
use crate::army::play::{Model, Plan};
use crate::army::run::{Job, Watch, play};
use crate::army::schedule::{BOTS_MAX, Course};
use crate::army::spec::amount::{Span, rate};
use crate::army::spec::compile::Given;
use crate::army::spec::threshold::Threshold;
use crate::army::{command, custom, library, list, profile, report};
use crate::sandbox::Under;
use crate::tasks::Tasks;

/// A request of more is none of ours.
const BODY_MAX: usize = 1_024 * 1_024;

/// Lines of the log that are given at once.
const TAIL: usize = 1_000;
const TAIL_MAX: usize = 100_000;

/// How long running actions may finish after a stop: somebody waits for the answer.
const GRACE: Duration = Duration::from_secs(5);

/// What the routes know.
#[derive(Clone)]
struct Api(Arc<Inner>);

struct Inner {
    trees: PathBuf,
    token: Option<[u8; 32]>,
    under: Under,
    current: Mutex<Current>,
    tasks: Tasks,
}

/// The current run, or the last one.
#[derive(Default)]
struct Current {
    watch: Option<Watch>,
    /// Whether it is being started.
    starting: bool,
    /// Resolves when it has ended.
    ended: Option<CancellationToken>,
}

impl Api {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn document(&self) -> Document {
        let watch = self.current().watch.clone();
        match watch {
            Some(watch) => watch.document(),
            None => {
                Document { run: Run { state: "idle".to_owned(), ..Run::default() }, ..Document::default() }
            }
        }
    }
}

impl Current {
    fn is_running(&self) -> bool {
        self.starting || self.ended.as_ref().is_some_and(|ended| !ended.is_cancelled())
    }
}

/// Serves until it is interrupted.
pub async fn serve(serve: &Serve, mouth: &Mouth<'_>, interrupt: CancellationToken) -> anyhow::Result<i32> {
    if !serve.bind.ip().is_loopback() && serve.token.is_none() {
        (mouth.tell)("whoever reaches this address could start load tests: give a --token\n");
        return Ok(UNUSABLE);
    }
    let listener =
        TcpListener::bind(serve.bind).await.with_context(|| format!("listen on {}", serve.bind))?;
    let address = listener.local_addr().context("ask for the address")?;
    (mouth.say)(&format!("listening on http://{address}\n"));
    let tasks = Tasks::new();
    let under = if serve.no_bot { Under::Nobody } else { Under::Here };
    let api = Api(Arc::new(Inner {
        trees: serve.trees.clone(),
        token: serve.token.as_deref().map(digest),
        under,
        current: Mutex::default(),
        tasks: tasks.clone(),
    }));
    let serving = axum::serve(listener, router(api.clone(), address));
    serving.with_graceful_shutdown(interrupt.cancelled_owned()).await.context("serve the API")?;
    stop(&api).await;
    tasks.stop();
    tasks.wait(GRACE).await;
    Ok(0)
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn router(api: Api, address: SocketAddr) -> Router {
    let guarded = Router::new()
        .route("/load_test", get(state))
        .route("/load_test/start", post(start))
        .route("/load_test/stop", delete(stopped))
        .route("/load_test/n", put(set_bots))
        .route("/metrics", get(metrics))
        .route("/logs", get(logs))
        .route("/report", get(html))
        .route("/trees", get(trees))
        .route("/actions", get(actions))
        .method_not_allowed_fallback(|| async { failed(StatusCode::METHOD_NOT_ALLOWED, "not in this way") })
        .layer(middleware::from_fn_with_state(api.clone(), with_token));
    let is_local = address.ip().is_loopback();
    guarded
        .route("/health", get(|| async { "healthy" }))
        .fallback(|| async { failed(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn(move |request, next| own_host(is_local, request, next)))
        .with_state(api)
}

/// In plain text as in Bot Army, or as JSON for those who ask for it.
fn said(headers: &HeaderMap, text: &str) -> Response {
    if accepts(headers, "application/json") {
        Json(json!({ "message": text })).into_response()
    } else {
        text.to_owned().into_response()
    }
}

fn failed(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains(kind))
}

/// A page elsewhere whose name leads here must not reach us.
async fn own_host(is_local: bool, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if is_local && !["localhost", "127.0.0.1", "[::1]"].contains(&name) {
        return failed(StatusCode::MISDIRECTED_REQUEST, "this is not the host you asked for");
    }
    next.run(request).await
}

async fn with_token(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Some(token) = &api.0.token {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        // Digests of the same length are compared to the end: the time tells nothing.
        let differ = digest(given).iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b));
        if differ != 0 {
            return failed(StatusCode::UNAUTHORIZED, "this needs the token");
        }
    }
    next.run(request).await
}

/// What `start` takes; only the tree is needed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    tree: String,
    n: Option<u32>,
    bot: Option<String>,
    custom: Option<Value>,
    #[serde(default)]
    log_options: LogOptions,
    arrival: Option<String>,
    duration: Option<Value>,
    iterations: Option<u64>,
    seed: Option<u64>,
    #[serde(default)]
    thresholds: Vec<String>,
}

/// As Bot Army has them: texts.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct LogOptions {
    disable_log_file: Value,
    format_json_logs: Value,
}

fn is_on(value: &Value) -> bool {
    *value == json!(true) || *value == json!("true")
}

async fn start(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/json") {
        return failed(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is JSON");
    }
    let wanted: Wanted = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let job = match job(&api, wanted) {
        Ok(job) => job,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error),
    };
    {
        let mut current = api.current();
        if current.is_running() {
            return failed(StatusCode::CONFLICT, "a run is going on: stop it first");
        }
        current.starting = true;
    }
    match begin(&api, job).await {
        Ok(()) => said(&headers, "Bots started"),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
    }
}

/// Starts a run in the background and waits until its stage is set.
async fn begin(api: &Api, job: Job) -> anyhow::Result<()> {
    let (send, begun) = oneshot::channel();
    let ended = CancellationToken::new();
    let (done, error) = (ended.clone(), Arc::new(Mutex::new(None)));
    let told = error.clone();
    api.0.tasks.spawn_job("load test", async move {
        let begun = Box::new(|watch| {
            // Nobody waits for it any more.
            send.send(watch).ok();
        });
        // On a thread of its own: what a run holds need not be sent to another.
        let runtime = tokio::runtime::Handle::current();
        let played = tokio::task::spawn_blocking(move || runtime.block_on(play(job, begun))).await;
        if let Err(error) = played.unwrap_or_else(|panic| Err(panic.into())) {
            tracing::warn!(error = format!("{error:#}"), "the load test failed");
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
        done.cancel();
    });
    let watch = begun.await;
    let mut current = api.current();
    current.starting = false;
    match watch {
        Ok(watch) => {
            (current.watch, current.ended) = (Some(watch), Some(ended));
            Ok(())
        }
        Err(_) => match error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => bail!("the load test could not be started"),
        },
    }
}

/// What is to be run, or why not.
fn job(api: &Api, wanted: Wanted) -> Result<Job, String> {
    let bot = wanted.bot.as_deref().filter(|bot| !bot.is_empty());
    let profile = bot.map_or(Ok(&profile::DEFAULT), profile::find)?;
    if wanted.tree.contains(['/', '\\', '.']) {
        return Err(format!("there is no tree {}: a tree is a name, not a path", wanted.tree));
    }
    let given = Given::complete(given(wanted.custom)?);
    let (program, ..) = library::load(&wanted.tree, &api.0.trees, &Registry::new(), &given)
        .map_err(|error| error.to_string())?;
    let mut job = Job::new(Arc::new(program));
    let duration = wanted.duration.map(|value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Span::parse(&text).map(Span::duration).ok_or_else(|| format!("`{text}` is no time"))
    });
    let n = wanted.n.unwrap_or(command::USUAL_BOTS);
    if n > BOTS_MAX {
        return Err(format!("a process carries {BOTS_MAX} bots"));
    }
    let model = match wanted.arrival {
        Some(text) => {
            let rate = rate(&text).ok_or_else(|| format!("`{text}` is no rate: 5/s"))?;
            Model::Open { course: Course::constant(rate), max_bots: n.max(1), even: false }
        }
        None => Model::Closed(Course::constant(n.into())),
    };
    job.plan = Plan {
        model,
        duration: duration.transpose()?,
        iterations: wanted.iterations,
        grace: GRACE,
        ..Plan::default()
    };
    job.thresholds = wanted.thresholds.iter().map(|text| Threshold::parse(text)).collect::<Result<_, _>>()?;
    job.options.seed = seed(wanted.seed);
    job.options.run_id = format!("r{}", job.options.seed);
    let format = if is_on(&wanted.log_options.format_json_logs) { Format::Json } else { Format::Text };
    job.log = (!is_on(&wanted.log_options.disable_log_file)).then(|| (PathBuf::from(LOG_FILE), format));
    job.options.profile = profile;
    job.under = api.0.under.clone();
    job.command = format!("POST /load_test/start {}", wanted.tree);
    Ok(job)
}

fn given(custom: Option<Value>) -> Result<Map<String, Value>, String> {
    match custom {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(given)) => Ok(given),
        // A file of this machine is nobody else's business.
        Some(Value::String(text)) if text.trim_start().starts_with('@') => {
            Err("`custom` takes no file here".to_owned())
        }
        Some(Value::String(text)) => custom::parse(&text),
        Some(other) => Err(format!("`custom` is a text or an object, not {other}")),
    }
}

async fn stop(api: &Api) {
    let (watch, ended) = {
        let current = api.current();
        (current.watch.clone(), current.ended.clone())
    };
    if let (Some(watch), Some(ended)) = (watch, ended) {
        watch.strings.stop.cancel();
        ended.cancelled().await;
    }
}

async fn stopped(State(api): State<Api>, headers: HeaderMap) -> Response {
    stop(&api).await;
    said(&headers, "Bots stopped")
}

async fn state(State(api): State<Api>) -> Response {
    let document = api.document();
    let state = if api.current().starting { "starting" } else { &document.run.state };
    let run = &document.run;
    Json(json!({
        "state": state, "seed": run.seed, "tree": run.tree, "command": run.command, "id": run.id,
        "bot_count": document.bot_count, "target_bot_count": document.target_bot_count, "exit": run.exit,
    }))
    .into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Population {
    n: u32,
}

async fn set_bots(State(api): State<Api>, headers: HeaderMap, body: Bytes) -> Response {
    let wanted: Population = match serde_json::from_slice(&body) {
        Ok(wanted) => wanted,
        Err(error) => return failed(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let current = api.current();
    match current.watch.as_ref().filter(|_| current.is_running()) {
        Some(_) if wanted.n > BOTS_MAX => {
            failed(StatusCode::BAD_REQUEST, &format!("a process carries {BOTS_MAX} bots"))
        }
        Some(watch) => {
            watch.strings.set_target(wanted.n);
            said(&headers, &format!("{} bots wanted", wanted.n))
        }
        None => failed(StatusCode::CONFLICT, "nothing is running"),
    }
}

async fn metrics(State(api): State<Api>, headers: HeaderMap) -> Response {
    let document = api.document();
    if accepts(&headers, "text/plain") {
        return ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], prometheus(&document))
            .into_response();
    }
    Json(document).into_response()
}

/// The numbers that are worth a line, as Prometheus reads them.
fn prometheus(document: &Document) -> String {
    let mut text = String::new();
    let mut gauge = |name: &str, value: f64| text.push_str(&format!("army_{name} {value}\n"));
    gauge("bots", document.bot_count as f64);
    gauge("bots_target", document.target_bot_count as f64);
    gauge("errors_total", document.total_error_count as f64);
    gauge("discord_429_total", document.discord.http_429 as f64);
    gauge("discord_late_acks_total", document.discord.ack_late as f64);
    for (name, action) in &document.actions {
        let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for (outcome, count) in [
            ("succeed", action.success_count),
            ("fail", action.fail_count),
            ("continue", action.continue_count),
            ("error", action.error_count),
        ] {
            text.push_str(&format!("army_runs_total{{action=\"{name}\",outcome=\"{outcome}\"}} {count}\n"));
        }
        for (quantile, value) in
            [("0.5", action.service.p50), ("0.95", action.service.p95), ("0.99", action.service.p99)]
        {
            if let Some(ms) = value {
                let seconds = ms / 1_000.0;
                text.push_str(&format!(
                    "army_seconds{{action=\"{name}\",quantile=\"{quantile}\"}} {seconds}\n"
                ));
            }
        }
    }
    text
}

#[derive(Debug, Deserialize)]
struct Tail {
    tail: Option<usize>,
}

async fn logs(State(api): State<Api>, Query(wanted): Query<Tail>) -> Response {
    let watch = api.current().watch.clone();
    let log = watch.as_ref().and_then(|watch| {
        watch.stage.log.flush();
        watch.stage.log.path()
    });
    let Some(path) = log else { return failed(StatusCode::NOT_FOUND, "there is no log") };
    let Ok(text) = tokio::fs::read_to_string(path).await else {
        return failed(StatusCode::NOT_FOUND, "there is no log");
    };
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(wanted.tail.unwrap_or(TAIL).min(TAIL_MAX));
    let mut page = lines[first..].join("\n");
    page.push('\n');
    page.into_response()
}

async fn html(State(api): State<Api>) -> Response {
    axum::response::Html(report::html(&api.document(), None)).into_response()
}

async fn trees(State(api): State<Api>) -> Response {
    match list::trees(&api.0.trees, &Registry::new()) {
        Ok(trees) => Json(json!(trees)).into_response(),
        Err(error) => failed(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn actions() -> Response {
    Json(list::actions_json(&Registry::new())).into_response()
}
