//! People over the wire: REST and a gateway for accounts of people, as servers offer them that are compatible
//! with Discord. A person's token is the header as it is, without a word before it.
//!
//! The world knows people by what they do ([`Act`]) and what they are shown. Here both become what Discord's own
//! client would send and be sent, so that whoever drives people needs to know nothing of this simulator.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use axum::extract::ws::{Message, WebSocket};
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use super::hub::Hub;
use super::watch::Seen;
use super::world::{Act, ActError, Body, Id, Request, Response};

/// Interactions whose nonce is remembered until they are answered; the oldest are forgotten.
const NONCES_MAX: usize = 10_000;

/// Messages in a page, at most: Discord's.
const PAGE_MAX: u64 = 100;

/// What a person's gateway connection is closed with that reads too slowly.
const BEHIND: u16 = 4000;

/// What clients gave their interactions, to be told with what comes of them.
pub(super) type Nonces = BTreeMap<Id, String>;

/// The person whose token this is.
pub(super) fn caller(hub: &Hub, headers: &HeaderMap) -> Option<Id> {
    let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    hub.read(|world| world.person_of(token))
}

/// A call of a person; `path` comes without `/api/v10`.
pub(super) fn answer(hub: &Hub, person: Id, method: &str, path: &str, request: &Request) -> Response {
    if request.malformed {
        return refused(400, "The body is no JSON.");
    }
    let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
    let done = match (method, steps.as_slice()) {
        ("GET", ["users", "@me"]) => return Response::json(200, hub.read(|world| world.person_view(person))),
        (
            "GET",
            ["guilds", _, "application-command-index"] | ["users", "@me", "application-command-index"],
        ) => {
            let view = hub.read(|world| world.view(person));
            return Response::json(200, json!({ "application_commands": view["commands"] }));
        }
        ("GET", ["channels", channel, "messages"]) => return page(hub, person, channel, request),
        ("POST", ["interactions"]) => interact(hub, person, &request.body),
        _ => match act(method, &steps, request) {
            Some(Ok(act)) => hub.act(person, act),
            Some(Err(error)) => Err(error),
            None => return Response::json(501, json!({"message": "This route is not modelled for people"})),
        },
    };
    match done {
        Ok(made) => told(hub, person, &made, request),
        Err(error) => refused(403, &error.message),
    }
}

fn refused(status: u16, message: &str) -> Response {
    Response::json(status, json!({ "message": message, "code": 0 }))
}

fn told(hub: &Hub, person: Id, made: &Value, request: &Request) -> Response {
    if let Some(message) = made["message"].as_str() {
        let content = &request.body["content"];
        let author = hub.read(|world| world.person_view(person));
        return Response::json(200, json!({ "id": message, "content": content, "author": author }));
    }
    match made["channel"].as_str() {
        Some(channel) => Response::json(200, json!({ "id": channel, "type": 1 })),
        None => Response { status: 204, headers: Vec::new(), body: Body::Empty },
    }
}

fn page(hub: &Hub, person: Id, channel: &str, request: &Request) -> Response {
    let Ok(channel) = id(&json!(channel)) else { return refused(404, "Unknown channel") };
    let limit = request.query_number("limit").unwrap_or(50).clamp(1, PAGE_MAX) as usize;
    let before = request.query_number("before");
    let mut page = hub.read(|world| world.messages(person, channel, before, limit));
    // Newest first, as Discord has it.
    page.reverse();
    Response::json(200, Value::Array(page))
}

fn id(value: &Value) -> Result<Id, ActError> {
    let found = value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_u64());
    found.ok_or_else(|| ActError { message: format!("{value} is not an id") })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What the call is, as an act; `None`: nothing that is modelled.
fn act(method: &str, steps: &[&str], request: &Request) -> Option<Result<Act, ActError>> {
    let body = &request.body;
    let place = |channel: &str, message: &str| Ok((id(&json!(channel))?, id(&json!(message))?));
    Some(match (method, steps) {
        ("POST", ["users", "@me", "channels"]) => Ok(Act::OpenDm {}),
        ("POST", ["channels", channel, "typing"]) => {
            id(&json!(channel)).map(|channel| Act::Typing { channel })
        }
        ("POST", ["channels", channel, "messages"]) => id(&json!(channel)).and_then(|channel| {
            let replied = &body["message_reference"]["message_id"];
            let reply_to = if replied.is_null() { None } else { Some(id(replied)?) };
            let ping = body["allowed_mentions"]["replied_user"] != false;
            Ok(Act::Say { channel, text: text(&body["content"]), reply_to, ping, files: Vec::new() })
        }),
        ("PATCH", ["channels", channel, "messages", message]) => place(channel, message)
            .map(|(channel, message)| Act::Edit { channel, message, text: text(&body["content"]) }),
        ("DELETE", ["channels", channel, "messages", message]) => {
            place(channel, message).map(|(channel, message)| Act::Delete { channel, message })
        }
        ("PUT" | "DELETE", ["channels", channel, "messages", message, "reactions", emoji, "@me"]) => {
            let (emoji, remove) = (super::world::decoded(emoji), method == "DELETE");
            place(channel, message).map(|(channel, message)| Act::React { channel, message, emoji, remove })
        }
        _ => return None,
    })
}

/// An interaction begins; its client is told its id under the nonce that it gave.
fn interact(hub: &Hub, person: Id, body: &Value) -> Result<Value, ActError> {
    let made = hub.act(person, interaction(body)?)?;
    let interaction = id(&made["interaction"])?;
    let nonce = text(&body["nonce"]);
    let mut nonces = hub.nonces.lock().unwrap_or_else(PoisonError::into_inner);
    nonces.insert(interaction, nonce.clone());
    if nonces.len() > NONCES_MAX {
        nonces.pop_first();
    }
    drop(nonces);
    let event = json!({"t": "INTERACTION_CREATE", "d": {"id": interaction.to_string(), "nonce": nonce}});
    hub.show_person(person, &Arc::new(event));
    Ok(json!({}))
}

fn interaction(body: &Value) -> Result<Act, ActError> {
    let (data, kind) = (&body["data"], body["type"].as_u64());
    let channel = id(&body["channel_id"]);
    let options = || data["options"].clone();
    Ok(match (kind, data["type"].as_u64()) {
        (Some(2), Some(3)) => {
            Act::Menu { channel: channel?, message: id(&data["target_id"])?, command: text(&data["id"]) }
        }
        (Some(2), _) => {
            let command = text(&data["id"]);
            Act::Slash { channel: channel?, command, options: options(), files: Vec::new() }
        }
        (Some(4), _) => {
            Act::Autocomplete { channel: channel?, command: text(&data["id"]), options: options() }
        }
        (Some(3), _) => {
            let values = data["values"].as_array().into_iter().flatten().map(text).collect();
            let message = id(&body["message_id"])?;
            Act::Press { channel: channel?, message, custom_id: text(&data["custom_id"]), values }
        }
        (Some(5), _) => {
            let rows = data["components"].as_array().into_iter().flatten();
            let inputs = rows.flat_map(|row| row["components"].as_array().into_iter().flatten());
            let inputs = inputs.map(|input| (text(&input["custom_id"]), text(&input["value"]))).collect();
            Act::Submit { interaction: id(&data["id"])?, inputs }
        }
        _ => return Err(ActError { message: "There is no such interaction.".to_owned() }),
    })
}

/// The person who identifies with this frame.
pub(super) fn identified(hub: &Hub, text: &str) -> Option<Id> {
    let frame: Value = serde_json::from_str(text).ok().filter(|frame: &Value| frame["op"] == 2)?;
    hub.read(|world| world.person_of(frame["d"]["token"].as_str()?))
}

/// Serves a person's client until it goes away.
pub(super) async fn attend(hub: &Hub, mut socket: WebSocket, person: Id) {
    // Before the view is taken: what happens in between is told twice rather than not at all.
    let mut line = Line { seen: hub.watch(person), sequence: 0 };
    let view = hub.read(|world| world.view(person));
    let ready = json!({
        "v": 10,
        "user": view["user"],
        "guilds": view["guilds"],
        "private_channels": view["dms"],
        "session_id": format!("person-{person}"),
    });
    if !line.send(&mut socket, "READY", &ready).await {
        return;
    }
    let heartbeat = json!({ "op": 11 }).to_string();
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            frame = socket.recv() => match frame {
                Some(Ok(Message::Text(text))) => {
                    let beats = serde_json::from_str::<Value>(&text).is_ok_and(|frame| frame["op"] == 1);
                    if beats && socket.send(Message::Text(heartbeat.clone().into())).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => {}
                _ => return,
            },
            event = line.seen.next_shared() => {
                let Some(event) = event else { return };
                if event["t"] == "LAGGED" {
                    let close = axum::extract::ws::CloseFrame { code: BEHIND, reason: "".into() };
                    socket.send(Message::Close(Some(close))).await.ok();
                    return;
                }
                let (name, data) = as_sent(hub, &event);
                if !line.send(&mut socket, &name, &data).await {
                    return;
                }
            }
        }
    }
}

struct Line {
    seen: Seen,
    sequence: u64,
}

impl Line {
    /// False when the client has gone.
    async fn send(&mut self, socket: &mut WebSocket, name: &str, data: &Value) -> bool {
        self.sequence += 1;
        let frame = json!({ "op": 0, "t": name, "s": self.sequence, "d": data }).to_string();
        socket.send(Message::Text(frame.into())).await.is_ok()
    }
}

/// What a person's client is shown, under Discord's name for it.
fn as_sent(hub: &Hub, event: &Value) -> (String, Value) {
    let (name, data) = (event["t"].as_str().unwrap_or_default(), &event["d"]);
    let nonce = || {
        let nonces = hub.nonces.lock().unwrap_or_else(PoisonError::into_inner);
        id(&data["interaction"]).ok().and_then(|id| nonces.get(&id).cloned())
    };
    let about = |name: &str| {
        let mut data = data.clone();
        (data["id"], data["nonce"]) = (data["interaction"].take(), json!(nonce()));
        (name.to_owned(), data)
    };
    match name {
        "MODAL" => about("INTERACTION_MODAL_CREATE"),
        "AUTOCOMPLETE" => about("APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE"),
        "INTERACTION" if data["state"] == "failed" => about("INTERACTION_FAILURE"),
        "INTERACTION" => about("INTERACTION_SUCCESS"),
        "BOT_ONLINE" => {
            let bot = hub.read(super::world::World::bot).to_string();
            let status = if data["online"] == true { "online" } else { "offline" };
            ("PRESENCE_UPDATE".to_owned(), json!({ "user": { "id": bot }, "status": status }))
        }
        _ => (name.to_owned(), data.clone()),
    }
}
