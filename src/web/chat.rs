//! The server side of the chat page: a socket for each person looking, and the files they exchange.
//!
//! The server sends `{"t": "VIEW", "d": view}` first and then what the person's client sees. The page sends
//! `{"id", "act"}`, `{"id", "messages": {channel, before, limit}}`, `{"id", "view": {}}`,
//! `{"id", "backstage": on}` or `{"id", "make": {switch, on}}` and gets `{"id", "ok"}` or `{"id", "error"}`.
//! `STEP` is something that happened behind an answer, `SWITCHES` what is made to go wrong. One task serves a
//! socket, so that answers and events keep their order.
//!
//! A page costs its task and its socket, whatever it looks at: events wait in queues that all pages share, and a
//! page that is behind is told how much it missed.

use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast, watch};

use crate::backstage::{Backstage, Step};
use crate::sim::{Act, Simulator};
use crate::web::mischief::{Mischief, Switches, Wanted};

/// A message with the files that the page lets through, in base64, fits; more is a mistake.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a socket reads and writes at a time. Every open page has two of these; a longer frame takes its own room
/// while it is on its way.
const BUFFER_BYTES: usize = 8 * 1024;

/// Messages in one answer: what Discord gives at most.
const PAGE_MAX: usize = 100;

/// Pages that may be open at a time. Each costs a task, a socket and what is on its way.
const PAGES_MAX: usize = 1_000;

/// What the pages show.
#[derive(Clone)]
pub(super) struct Stage {
    pub simulator: Simulator,
    pub backstage: Backstage,
    pub mischief: Mischief,
    places: Arc<Semaphore>,
}

impl Stage {
    pub fn new(simulator: Simulator, backstage: Backstage, mischief: Mischief) -> Self {
        Self { simulator, backstage, mischief, places: Arc::new(Semaphore::new(PAGES_MAX)) }
    }
}

pub(super) fn routes(stage: Stage) -> Router {
    // The simulator is on this machine; a proxy of the environment is not for it.
    let files = reqwest::Client::builder().no_proxy().build().expect("the options are constants");
    Router::new()
        .route("/ws", any(open).with_state(stage.clone()))
        .route("/attachments/{*path}", get(attachment).with_state((stage.simulator, files)))
}

#[derive(Deserialize)]
struct Who {
    #[serde(default)]
    person: Option<u64>,
}

async fn open(State(stage): State<Stage>, Query(who): Query<Who>, upgrade: WebSocketUpgrade) -> Response {
    let Some(person) = speaker(&stage.simulator, who.person) else {
        return (StatusCode::NOT_FOUND, "There is nobody to speak as.\n").into_response();
    };
    let Ok(place) = stage.places.clone().try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open.\n").into_response();
    };
    let upgrade = upgrade.read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES);
    upgrade.max_message_size(FRAME_BYTES_MAX).on_upgrade(move |socket| async move {
        serve(stage, person, socket).await;
        drop(place);
    })
}

/// The person asked for, or the first there is: then the page learns from the view who that is.
fn speaker(simulator: &Simulator, wanted: Option<u64>) -> Option<u64> {
    let view = simulator.view(wanted.unwrap_or_default());
    let people = view["people"].as_array()?;
    let ids: Vec<u64> = people.iter().filter_map(|person| person["id"].as_str()?.parse().ok()).collect();
    wanted.filter(|id| ids.contains(id)).or_else(|| ids.first().copied())
}

/// Serves one page until it goes away, or the simulator does.
async fn serve(stage: Stage, person: u64, mut socket: WebSocket) {
    // Watching begins before the view is taken: an event in between is seen twice rather than not at all.
    let mut seen = stage.simulator.watch(person);
    let mut switches = stage.mischief.watch();
    let mut steps = None;
    let view = json!({ "t": "VIEW", "d": stage.simulator.view(person) });
    let first = thrown(&mut switches);
    if !send(&mut socket, &view).await || !send(&mut socket, &first).await {
        return;
    }
    loop {
        let frame = tokio::select! {
            frame = socket.recv() => match frame {
                Some(Ok(Message::Text(text))) => answer(&stage, person, &text, &mut steps),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => return,
            },
            event = seen.next() => match event {
                Some(event) => event,
                None => return,
            },
            step = next_step(&mut steps) => step,
            Ok(()) = switches.changed() => thrown(&mut switches),
        };
        if !send(&mut socket, &frame).await {
            return;
        }
    }
}

type Steps = Option<broadcast::Receiver<Arc<Step>>>;

/// The next thing that happens behind the scenes; waits for ever where nobody asked for it.
async fn next_step(steps: &mut Steps) -> Value {
    loop {
        let Some(heard) = steps else { return std::future::pending().await };
        match heard.recv().await {
            Ok(step) => return json!({ "t": "STEP", "d": &*step }),
            Err(RecvError::Lagged(missed)) => return json!({ "t": "STEPS_MISSED", "d": {"missed": missed} }),
            Err(RecvError::Closed) => *steps = None,
        }
    }
}

fn thrown(switches: &mut watch::Receiver<Switches>) -> Value {
    json!({ "t": "SWITCHES", "d": *switches.borrow_and_update() })
}

/// False when the page has gone.
async fn send(socket: &mut WebSocket, frame: &Value) -> bool {
    socket.send(Message::Text(frame.to_string().into())).await.is_ok()
}

/// One request of the page.
#[derive(Deserialize)]
struct Asked {
    id: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Act(Act),
    Messages {
        channel: String,
        before: Option<String>,
        limit: Option<usize>,
    },
    View {},
    /// Whether to tell what happens behind the scenes.
    Backstage(bool),
    Make(Wanted),
}

fn answer(stage: &Stage, person: u64, text: &str, steps: &mut Steps) -> Value {
    let asked: Asked = match serde_json::from_str(text) {
        Ok(asked) => asked,
        // The id, if there is one, lets the page tell the person; without it nobody waits.
        Err(error) => {
            let id = serde_json::from_str::<Value>(text).map(|frame| frame["id"].clone()).unwrap_or_default();
            return json!({ "id": id, "error": format!("The page sent something odd: {error}") });
        }
    };
    match carry_out(stage, person, asked.what, steps) {
        Ok(value) => json!({ "id": asked.id, "ok": value }),
        Err(why) => json!({ "id": asked.id, "error": why }),
    }
}

fn carry_out(stage: &Stage, person: u64, what: What, steps: &mut Steps) -> Result<Value, String> {
    let simulator = &stage.simulator;
    match what {
        What::Backstage(on) => {
            *steps = on.then(|| stage.backstage.listen());
            Ok(json!({}))
        }
        What::Make(wanted) => Ok(json!(stage.mischief.make(wanted))),
        What::Act(act) => simulator.act(person, act).map_err(|error| error.message),
        What::View {} => Ok(simulator.view(person)),
        What::Messages { channel, before, limit } => {
            let channel = snowflake(&channel)?;
            let before = before.as_deref().map(snowflake).transpose()?;
            let limit = limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
            Ok(simulator.messages(person, channel, before, limit).into())
        }
    }
}

fn snowflake(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text:?} is not an id"))
}

/// Kinds of files that a browser may show; everything else is saved, so that no page can hide in a file.
const SHOWN: [&str; 5] = ["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif"];

/// Files from the simulator, under this page's own address.
async fn attachment(State((simulator, files)): State<(Simulator, reqwest::Client)>, uri: Uri) -> Response {
    let address = format!("{}{}", simulator.url(), uri.path());
    let Ok(found) = files.get(address).send().await else {
        return (StatusCode::BAD_GATEWAY, "The file could not be fetched.\n").into_response();
    };
    if !found.status().is_success() {
        return (StatusCode::NOT_FOUND, "There is no such file.\n").into_response();
    }
    let kind =
        found.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let shown = SHOWN.iter().find(|known| kind.starts_with(**known));
    let headers = [
        (header::CONTENT_TYPE, *shown.unwrap_or(&"application/octet-stream")),
        (header::CONTENT_DISPOSITION, if shown.is_some() { "inline" } else { "attachment" }),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
    ];
    match found.bytes().await {
        Ok(bytes) => (headers, bytes).into_response(),
        Err(_) => (StatusCode::BAD_GATEWAY, "The file could not be fetched.\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::dynamo::faults::Faults;
    use crate::sim::World;
    use crate::tasks::Tasks;

    const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn playground() -> (Simulator, Tasks) {
        let tasks = Tasks::new();
        (Simulator::start(World::playground(7), ANYWHERE, &tasks).await.unwrap(), tasks)
    }

    fn ids(simulator: &Simulator) -> (u64, String) {
        let alice = speaker(simulator, None).unwrap();
        let channel = simulator.view(alice)["guilds"][0]["channels"][0]["id"].as_str().unwrap().to_owned();
        (alice, channel)
    }

    fn stage(simulator: &Simulator) -> Stage {
        let mischief = Mischief::new(simulator.clone(), Faults::new());
        Stage::new(simulator.clone(), Backstage::default(), mischief)
    }

    fn tell(simulator: &Simulator, person: u64, text: &str) -> Value {
        answer(&stage(simulator), person, text, &mut None)
    }

    #[tokio::test]
    async fn what_happens_behind_is_told_to_who_asks() {
        let (simulator, _tasks) = playground().await;
        let (stage, mut steps) = (stage(&simulator), None);
        let alice = speaker(&simulator, None).unwrap();
        answer(&stage, alice, r#"{"id": 1, "backstage": true}"#, &mut steps);
        crate::backstage::during(5, async { stage.backstage.tell("worked", || json!({"n": 1})) }).await;
        let step = next_step(&mut steps).await;
        assert_eq!(
            (&step["t"], &step["d"]["event"], &step["d"]["data"]["n"]),
            (&"STEP".into(), &"5".into(), &1.into())
        );
        answer(&stage, alice, r#"{"id": 2, "backstage": false}"#, &mut steps);
        assert!(steps.is_none());
    }

    #[tokio::test]
    async fn switches_are_the_same_for_all_pages() {
        let (simulator, _tasks) = playground().await;
        let stage = stage(&simulator);
        let mut other = stage.mischief.watch();
        let asked = r#"{"id": 1, "make": {"switch": "away", "on": true}}"#;
        let switches = json!({"away": true, "slow": false, "lost": false});
        assert_eq!(answer(&stage, 0, asked, &mut None)["ok"], switches);
        assert_eq!(thrown(&mut other)["d"], switches);
    }

    #[tokio::test]
    async fn what_is_said_is_answered_and_can_be_read_again() {
        let (simulator, _tasks) = playground().await;
        let (alice, channel) = ids(&simulator);
        let said = json!({"id": 1, "act": {"act": "say", "channel": channel, "text": "hello"}});
        let answered = tell(&simulator, alice, &said.to_string());
        assert_eq!(answered["id"], 1);
        let message = &answered["ok"]["message"];
        let asked = json!({"id": 2, "messages": {"channel": channel, "limit": 5}});
        let page = tell(&simulator, alice, &asked.to_string());
        assert_eq!((&page["ok"][0]["id"], &page["ok"][0]["content"]), (message, &json!("hello")));
        let earlier = json!({"id": 3, "messages": {"channel": channel, "before": message}});
        assert_eq!(tell(&simulator, alice, &earlier.to_string())["ok"], json!([]));
    }

    #[tokio::test]
    async fn odd_requests_are_told_so_under_their_number() {
        let (simulator, _tasks) = playground().await;
        let (alice, channel) = ids(&simulator);
        for odd in [
            json!({"id": 9, "act": {"act": "fly"}}),
            json!({"id": 9, "sing": {}}),
            json!({"id": 9, "messages": {"channel": "general"}}),
            json!({"id": 9, "act": {"act": "say", "channel": channel, "text": ""}}),
        ] {
            let answered = tell(&simulator, alice, &odd.to_string());
            assert_eq!(answered["id"], 9, "{odd}");
            assert!(answered["error"].is_string(), "{odd} got {answered}");
        }
        assert!(tell(&simulator, alice, "not JSON")["error"].is_string());
    }

    #[tokio::test]
    async fn nobody_speaks_as_the_bot_or_as_a_stranger() {
        let (simulator, _tasks) = playground().await;
        let alice = speaker(&simulator, None);
        let view = simulator.view(alice.unwrap());
        let bot = view["bot"]["id"].as_str().unwrap().parse().unwrap();
        assert_eq!((speaker(&simulator, Some(bot)), speaker(&simulator, Some(5))), (alice, alice));
        let bob = view["people"][1]["id"].as_str().unwrap().parse().unwrap();
        assert_eq!(speaker(&simulator, Some(bob)), Some(bob));
    }

    #[tokio::test]
    async fn pages_come_with_headers_that_bind_the_browser() {
        let (simulator, tasks) = playground().await;
        let listener = tokio::net::TcpListener::bind(ANYWHERE).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = crate::web::router(simulator, Backstage::default(), Faults::new());
        tasks.spawn("page", crate::web::serve(listener, router, tasks.shutdown()));
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for (path, status) in
            [("/", 200), ("/assets/chat.js", 200), ("/assets/none.js", 404), ("/attachments/1/2/x.png", 404)]
        {
            let response = client.get(format!("{address}{path}")).send().await.unwrap();
            assert_eq!(response.status(), status, "{path}");
            for name in
                ["content-security-policy", "x-content-type-options", "referrer-policy", "x-frame-options"]
            {
                assert!(response.headers().contains_key(name), "{path} has no {name}");
            }
        }
        let foreign = client.get(&address).header("host", "rebound.example").send().await.unwrap();
        assert_eq!(foreign.status(), 403);
        let packed = client.get(&address).header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip");
    }
}
