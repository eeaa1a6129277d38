//! The gateway adaptor: one WebSocket, frames in, frames out, and the faults between.

use std::io::Write;
use std::ops::ControlFlow;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::faults::{At, Switches, spoiled};
use super::hub::{Hub, ToClient};
use super::socket::Scissors;
use super::world::{Frame, Id, close};

/// Shorter frames go as text: compressing them would cost more than it saves, and both are allowed.
const COMPRESS_FROM: usize = 2_048;

/// An event that was to be overtaken goes on after this time if no other came.
const HOLD: Duration = Duration::from_millis(50);

/// Discord closes a connection whose client has been silent for longer than its interval; this much longer
/// here, so that a busy machine is not taken for a silent client.
const SILENCE: Duration = Duration::from_secs(10);

/// How long a client may take to answer a close frame; dropping the socket earlier could lose the frame.
const GOODBYE: Duration = Duration::from_millis(500);

pub(super) async fn upgrade(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let (hang, refuse) = {
        let mut switches = switches(&hub);
        (switches.at(At::HangUpgrade), switches.at(At::RefuseUpgrade).then(|| switches.upgrade_status()))
    };
    if hang {
        hub.shutdown.cancelled().await;
    }
    if let Some(status) = refuse {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        return status.into_response();
    }
    upgrade.on_upgrade(move |socket| Connection::open(hub, socket, scissors).run())
}

fn switches(hub: &Hub) -> MutexGuard<'_, Switches> {
    hub.switches.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    hub: Arc<Hub>,
    id: u64,
    socket: WebSocket,
    scissors: Scissors,
    inbox: mpsc::Receiver<ToClient>,
    /// IDENTIFY and RESUME are not heard.
    deaf: bool,
    /// Whose client it is, once it has said so; the bot's otherwise.
    person: Option<Id>,
    zombie: bool,
    /// An event that waits to be overtaken.
    held: Option<Arc<Frame>>,
    heard_at: Instant,
    silence: Duration,
}

/// The connection is over, with the code of the client's close frame if it sent one.
type Flow = ControlFlow<Option<u16>>;

impl Connection {
    fn open(hub: Arc<Hub>, socket: WebSocket, scissors: Scissors) -> Self {
        let (greet, deaf) = {
            let mut switches = switches(&hub);
            (!switches.at(At::NoHello), switches.at(At::NoReady))
        };
        let (id, inbox) = hub.open(greet);
        let interval = hub.read(|world| world.settings.heartbeat_ms);
        let silence = Duration::from_millis(interval) + SILENCE;
        let heard_at = Instant::now();
        Self {
            hub,
            id,
            socket,
            scissors,
            inbox,
            deaf,
            person: None,
            zombie: false,
            held: None,
            heard_at,
            silence,
        }
    }

    async fn run(mut self) {
        let code = loop {
            if let ControlFlow::Break(code) = self.step().await {
                break code;
            }
        };
        self.hub.close(self.id, code);
        if let Some(person) = self.person {
            super::people::attend(&self.hub, self.socket, person).await;
        }
    }

    async fn step(&mut self) -> Flow {
        let silent_at = self.heard_at + self.silence;
        tokio::select! {
            order = self.inbox.recv() => match order {
                Some(order) => self.obey(order).await,
                // The client does not read what it is sent.
                None => self.cut(),
            },
            message = self.socket.recv() => self.hear(message).await,
            () = self.hub.shutdown.cancelled() => self.close(Some(1001)).await,
            () = tokio::time::sleep(HOLD), if self.held.is_some() => self.release().await,
            () = tokio::time::sleep_until(silent_at), if !self.zombie => {
                self.close(Some(close::SESSION_TIMED_OUT)).await
            }
        }
    }

    async fn obey(&mut self, order: ToClient) -> Flow {
        match order {
            ToClient::Zombie => self.zombie = true,
            ToClient::Cut => return self.cut(),
            ToClient::HangUp => return Flow::Break(None),
            ToClient::Close(code) => return self.close(code).await,
            _ if self.zombie => {}
            ToClient::Frame(frame) if frame.name.is_empty() => return self.send_text(&frame.text).await,
            ToClient::Frame(frame) => return self.dispatch(frame).await,
            ToClient::Text(text) => return self.send_text(&text).await,
        }
        Flow::Continue(())
    }

    async fn hear(&mut self, message: Option<Result<Message, axum::Error>>) -> Flow {
        let text = match message {
            Some(Ok(Message::Text(text))) => text.as_str().to_owned(),
            Some(Ok(Message::Close(frame))) => {
                // It is answered while the end is read, which is all that can come now.
                self.socket.recv().await;
                return Flow::Break(frame.map(|frame| frame.code));
            }
            Some(Ok(_)) => return Flow::Continue(()),
            Some(Err(_)) | None => return Flow::Break(None),
        };
        self.heard_at = Instant::now();
        if self.zombie {
            return Flow::Continue(());
        }
        let opcode = serde_json::from_str::<Value>(&text).ok().and_then(|frame| frame["op"].as_u64());
        if opcode == Some(2)
            && let Some(person) = super::people::identified(&self.hub, &text)
        {
            self.person = Some(person);
            return Flow::Break(None);
        }
        if self.deaf && matches!(opcode, Some(2 | 6)) {
            return Flow::Continue(());
        }
        if opcode == Some(6) && switches(&self.hub).at(At::RefuseResume) {
            return self.send_text(&json!({"op": 9, "d": false}).to_string()).await;
        }
        self.hub.received(self.id, text);
        Flow::Continue(())
    }

    /// Sends an event, with what the faults make of it.
    async fn dispatch(&mut self, frame: Arc<Frame>) -> Flow {
        let lots = switches(&self.hub).on_dispatch(&frame);
        if lots.cut {
            return self.cut();
        }
        if lots.spoil {
            return self.send_text(&spoiled(&frame.text)).await;
        }
        let overtakes = self.held.as_ref().is_some_and(|held| held.channel != frame.channel);
        if !overtakes {
            self.release().await?;
        }
        if lots.hold && self.held.is_none() {
            self.held = Some(frame);
            return Flow::Continue(());
        }
        self.send(&frame).await?;
        if lots.duplicate {
            self.send(&frame).await?;
        }
        self.release().await?;
        if frame.name == "RESUMED" {
            return self.replay().await;
        }
        Flow::Continue(())
    }

    async fn release(&mut self) -> Flow {
        match self.held.take() {
            Some(frame) => self.send(&frame).await,
            None => Flow::Continue(()),
        }
    }

    async fn replay(&mut self) -> Flow {
        let events = switches(&self.hub).take_replay();
        for frame in self.hub.read(|world| world.recent(self.id, events)) {
            self.send(&frame).await?;
        }
        Flow::Continue(())
    }

    async fn send(&mut self, frame: &Frame) -> Flow {
        if frame.compress && frame.text.len() >= COMPRESS_FROM {
            let message = Message::Binary(compressed(&frame.text).into());
            return self.send_message(message).await;
        }
        self.send_text(&frame.text).await
    }

    async fn send_text(&mut self, text: &str) -> Flow {
        self.send_message(Message::Text(text.into())).await
    }

    async fn send_message(&mut self, message: Message) -> Flow {
        match self.socket.send(message).await {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(None),
        }
    }

    async fn close(&mut self, code: Option<u16>) -> Flow {
        let frame = code.map(|code| CloseFrame { code, reason: "".into() });
        // The client may be gone already; then there is nobody to say goodbye to.
        self.socket.send(Message::Close(frame)).await.ok();
        let answered = async { while let Some(Ok(_)) = self.socket.recv().await {} };
        tokio::time::timeout(GOODBYE, answered).await.ok();
        Flow::Break(None)
    }

    fn cut(&mut self) -> Flow {
        self.scissors.cut();
        Flow::Break(None)
    }
}

/// One zlib document.
fn compressed(text: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}
