//! The dashboard: how the bot is, and what each server has, as pages made here.
//!
//! There is no script on them. Who may see what is decided in [`door`] and, for one server, by asking Discord again on
//! each visit. Numbers come from what Prometheus is told ([`numbers`]), contents from the bot's own commands
//! ([`desk`]). Everything but bringing a memory back is reading, and that needs somebody who has signed in.

pub mod desk;
pub mod door;
pub mod numbers;
pub mod oauth;
mod overview;
mod page;
mod relay;
mod server;
pub mod session;
pub mod trend;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use maud::Markup;
use serde::Deserialize;
use tracing::{info, warn};

use crate::context::Services;
use crate::web::assets;
use crate::web::dashboard::desk::Desk;
use crate::web::dashboard::door::{Door, Viewer, guard, same};
use crate::web::dashboard::page::Ways;
use crate::web::dashboard::server::Visit;
use crate::web::health;

#[derive(Clone)]
struct Dashboard {
    desk: Desk,
    door: Arc<Door>,
}

/// Everything that `--http` serves, behind the door.
pub fn router(services: Arc<Services>, door: Arc<Door>) -> Router {
    let dashboard = Dashboard { desk: Desk::new(services.clone()), door: door.clone() };
    let pages = Router::new()
        .route("/", get(|state, viewer| whole(state, viewer, "/", "Overview", overview::overview)))
        .route("/costs", get(|state, viewer| whole(state, viewer, "/costs", "Costs", overview::costs)))
        .route(
            "/shared",
            get(|state, viewer| whole(state, viewer, "/shared", "Shared data", overview::shared)),
        )
        .route(
            "/numbers",
            get(|state, viewer| whole(state, viewer, "/numbers", "All numbers", overview::all_numbers)),
        )
        .route("/errors", get(errors))
        .route("/reminders", get(reminders))
        .route("/relay", get(relay_page))
        .route("/servers", get(servers))
        .route("/servers/{id}", get(one_server))
        .route("/servers/{id}/{part}", get(server_part))
        .route("/servers/{id}/restore", post(restore))
        .route("/sign-out", post(sign_out))
        .route(door::SIGN_IN, get(sign_in))
        .route(door::SIGNED_IN, get(signed_in))
        .with_state(dashboard);
    let routes = pages.merge(assets::dashboard_routes()).merge(health::health(services));
    routes
        .fallback(|| async { (StatusCode::NOT_FOUND, "There is nothing here.\n") })
        .layer(from_fn_with_state(door, guard))
}

impl Dashboard {
    fn is_owner(&self, viewer: &Viewer) -> bool {
        match viewer {
            Viewer::Here => true,
            Viewer::SignedIn(session) => self.desk.services.instance.bot_owners.contains(&session.person_id),
        }
    }

    /// Where somebody may go from a page.
    fn ways(&self, owner: bool) -> Ways {
        if owner { Ways::ToAll { relay: self.desk.services.relay.get().is_some() } } else { Ways::ToServers }
    }

    /// A page of the whole bot, for its owners.
    fn page(&self, viewer: &Viewer, way: &str, title: &str, body: &Markup) -> Response {
        page::page(viewer, self.ways(true), way, title, body)
    }

    /// Why somebody does not see a page of the whole bot; nothing for its owners.
    fn turned_away(&self, viewer: &Viewer) -> Option<Response> {
        let why = "This page is for the owners of the bot.";
        (!self.is_owner(viewer)).then(|| page::refusal(viewer, StatusCode::FORBIDDEN, why))
    }

    async fn visit<'a>(
        &'a self,
        viewer: &'a Viewer,
        server_id: u64,
        event: u64,
    ) -> Result<Visit<'a>, Response> {
        let known = |id: u64| (id != 0).then(|| self.desk.services.discord.server_name(id)).flatten();
        // Whoever may not see a server does not hear either whether the bot is in it.
        let none = || {
            page::refusal(viewer, StatusCode::NOT_FOUND, "There is no such server, or you do not manage it.")
        };
        let name = known(server_id).ok_or_else(none)?;
        let (caller, manages) = match self.desk.caller(viewer, server_id).await {
            Ok(caller) => caller.ok_or_else(none)?,
            Err(error) => return Err(page::unknown(viewer, error)),
        };
        let ctx = self.desk.context(&caller, server_id, event).await;
        let ctx = ctx.map_err(|error| page::failure(viewer, error))?;
        let ways = self.ways(ctx.caller.bot_owner);
        Ok(Visit { desk: &self.desk, viewer, ways, ctx, server_id, name, manages })
    }
}

async fn whole(
    State(dashboard): State<Dashboard>,
    Extension(viewer): Extension<Viewer>,
    way: &'static str,
    title: &'static str,
    body: fn(&Services) -> Markup,
) -> Response {
    let shown = || dashboard.page(&viewer, way, title, &body(&dashboard.desk.services));
    dashboard.turned_away(&viewer).unwrap_or_else(shown)
}

#[derive(Deserialize)]
struct Sought {
    #[serde(default, rename = "ref")]
    reference: String,
}

async fn errors(
    State(dashboard): State<Dashboard>,
    Extension(viewer): Extension<Viewer>,
    Query(sought): Query<Sought>,
) -> Response {
    let shown = || dashboard.page(&viewer, "/errors", "Errors", &overview::errors(sought.reference.trim()));
    dashboard.turned_away(&viewer).unwrap_or_else(shown)
}

async fn reminders(State(dashboard): State<Dashboard>, Extension(viewer): Extension<Viewer>) -> Response {
    if let Some(refused) = dashboard.turned_away(&viewer) {
        return refused;
    }
    match overview::reminders(&dashboard.desk.services).await {
        Ok(body) => dashboard.page(&viewer, "/reminders", "Reminders", &body),
        Err(error) => page::unknown(&viewer, error.into()),
    }
}

async fn relay_page(State(dashboard): State<Dashboard>, Extension(viewer): Extension<Viewer>) -> Response {
    if let Some(refused) = dashboard.turned_away(&viewer) {
        return refused;
    }
    let Some(relay) = dashboard.desk.services.relay.get() else {
        return page::refusal(&viewer, StatusCode::NOT_FOUND, "This bot has no links to other bots.");
    };
    match relay::look(relay).await {
        Ok(seen) => {
            let numbers = overview::numbers(&dashboard.desk.services);
            dashboard.page(&viewer, "/relay", "Relay", &relay::shown(relay, &seen, &numbers))
        }
        Err(error) => page::unknown(&viewer, error.into()),
    }
}

async fn servers(State(dashboard): State<Dashboard>, Extension(viewer): Extension<Viewer>) -> Response {
    let owner = dashboard.is_owner(&viewer);
    let body = server::servers(&dashboard.desk, &viewer, owner);
    page::page(&viewer, dashboard.ways(owner), "/servers", "Servers", &body)
}

async fn one_server(
    State(dashboard): State<Dashboard>,
    Extension(viewer): Extension<Viewer>,
    Path(server_id): Path<u64>,
) -> Response {
    match dashboard.visit(&viewer, server_id, dashboard.desk.event()).await {
        Ok(visit) => visit.overview().await,
        Err(refused) => refused,
    }
}

/// What a page of a server is asked for.
#[derive(Deserialize)]
struct Wanted {
    #[serde(default)]
    q: String,
    #[serde(default)]
    from: usize,
    #[serde(default)]
    key: String,
    #[serde(default)]
    part: usize,
    turn: Option<String>,
}

async fn server_part(
    State(dashboard): State<Dashboard>,
    Extension(viewer): Extension<Viewer>,
    Path((server_id, part)): Path<(u64, String)>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let visit = match dashboard.visit(&viewer, server_id, dashboard.desk.event()).await {
        Ok(visit) => visit,
        Err(refused) => return refused,
    };
    match part.as_str() {
        "memories" => visit.memories(wanted.q.trim(), wanted.from).await,
        "memory" => visit.memory(&wanted.key, None).await,
        "audit" => visit.audit(wanted.turn.as_deref()).await,
        "settings" => visit.settings().await,
        "export" => visit.export(wanted.part).await,
        _ => page::refusal(&viewer, StatusCode::NOT_FOUND, "There is no such page."),
    }
}

/// The form that brings a revision back.
#[derive(Deserialize)]
struct Restore {
    csrf: String,
    key: String,
    revision: u64,
    event: u64,
}

async fn restore(
    State(dashboard): State<Dashboard>,
    Extension(viewer): Extension<Viewer>,
    Path(server_id): Path<u64>,
    Form(form): Form<Restore>,
) -> Response {
    if let Some(refused) = not_own_form(&viewer, &form.csrf) {
        return refused;
    }
    // The event stands for the time of the change; one that a page was not made with would be a time of choice.
    let age = dashboard.desk.now().since(crate::clock::Timestamp::of_snowflake(form.event));
    if age > FORM_LASTS || form.event > dashboard.desk.event() {
        return page::refusal(&viewer, StatusCode::GONE, "This page is too old; please load it again.");
    }
    match dashboard.visit(&viewer, server_id, form.event).await {
        Ok(visit) if visit.manages => visit.restore(&form.key, form.revision).await,
        Ok(_) => page::refusal(
            &viewer,
            StatusCode::FORBIDDEN,
            "Only who manages a server changes something there.",
        ),
        Err(refused) => refused,
    }
}

/// A page that has been open for longer shows what may not be so any more.
const FORM_LASTS: std::time::Duration = std::time::Duration::from_secs(3_600);

/// Why a form changes nothing; nothing for one of this session's pages.
fn not_own_form(viewer: &Viewer, csrf: &str) -> Option<Response> {
    let why = match viewer {
        Viewer::SignedIn(session) if same(&session.csrf, csrf) => return None,
        Viewer::SignedIn(_) => "This form is not from a page of yours.",
        Viewer::Here => "Nothing is changed without a sign-in.",
    };
    Some(page::refusal(viewer, StatusCode::FORBIDDEN, why))
}

#[derive(Deserialize)]
struct SignOut {
    csrf: String,
}

async fn sign_out(
    State(dashboard): State<Dashboard>,
    Extension(viewer): Extension<Viewer>,
    headers: HeaderMap,
    Form(form): Form<SignOut>,
) -> Response {
    if let Some(refused) = not_own_form(&viewer, &form.csrf) {
        return refused;
    }
    let cookie = dashboard.door.sessions.close(&headers);
    let page = page::outside(StatusCode::OK, "You are signed out.", "Sign in again");
    (AppendHeaders([(header::SET_COOKIE, cookie)]), page).into_response()
}

async fn sign_in(State(dashboard): State<Dashboard>) -> Response {
    let Some(public) = &dashboard.door.public else { return Redirect::to("/").into_response() };
    let begun = dashboard.door.sessions.begin();
    match public.way_in(&begun) {
        Ok(way) => {
            (AppendHeaders([(header::SET_COOKIE, begun.cookie)]), Redirect::to(way.as_str())).into_response()
        }
        Err(error) => {
            warn!(error = format!("{error:#}"), "nobody can sign in");
            (StatusCode::INTERNAL_SERVER_ERROR, "Nobody can sign in just now.\n").into_response()
        }
    }
}

/// What Discord sends somebody back with.
#[derive(Deserialize)]
struct Back {
    code: Option<String>,
    #[serde(default)]
    state: String,
}

async fn signed_in(
    State(dashboard): State<Dashboard>,
    Query(back): Query<Back>,
    headers: HeaderMap,
) -> Response {
    let Some(public) = &dashboard.door.public else { return Redirect::to("/").into_response() };
    let sessions = &dashboard.door.sessions;
    let Some(underway) = sessions.come_back(&back.state, &headers) else {
        let why = "This sign-in was not begun in this browser, or took too long.";
        return page::outside(StatusCode::FORBIDDEN, why, "Sign in");
    };
    let Some(code) = back.code else {
        let why = "Discord was not allowed to say who you are.";
        return page::outside(StatusCode::FORBIDDEN, why, "Try again");
    };
    match public.who(&code, &underway.verifier).await {
        Ok(session) => {
            info!(
                person_id = session.person_id,
                servers = session.servers.len(),
                "signed in to the dashboard"
            );
            (
                AppendHeaders(sessions.open(session).map(|cookie| (header::SET_COOKIE, cookie))),
                Redirect::to("/servers"),
            )
                .into_response()
        }
        Err(error) => {
            warn!(error = format!("{error:#}"), "a sign-in failed");
            page::outside(StatusCode::BAD_GATEWAY, "Discord could not say who you are.", "Try again")
        }
    }
}
