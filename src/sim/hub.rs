//! [`Hub`]: the world behind its mutex, and the lines that lead out of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::faults::Switches;
use super::oauth::Granted;
use super::people::Nonces;
use super::watch::{ALL_BEHIND_MAX, BEHIND_MAX, Seen, SeenByAll};
use super::world::{Act, ActError, Audience, Frame, Id, Input, Output, Request, Response, World};
use crate::clock::Clock;

/// Frames on their way to one gateway connection: some seconds of a load run. A client that does not read
/// them is cut, as by Discord, and may resume from the session's buffer.
const FRAMES_MAX: usize = 32_768;

/// What a call is answered with that is one too many.
const TOO_MANY: u16 = 429;

pub(super) struct Hub {
    state: Mutex<State>,
    pub switches: Mutex<Switches>,
    /// What people were given who signed in somewhere.
    pub granted: Mutex<Granted>,
    pub nonces: Mutex<Nonces>,
    pub clock: Clock,
    /// Calls that were answered with 429.
    pub limited: AtomicU64,
    pub shutdown: CancellationToken,
}

struct State {
    world: World,
    watchers: BTreeMap<Id, broadcast::Sender<Arc<Value>>>,
    /// Of those who drive many people, if there are any.
    overseers: Option<broadcast::Sender<(Audience, Arc<Value>)>>,
    lines: BTreeMap<u64, mpsc::Sender<ToClient>>,
    calls: BTreeMap<&'static str, u64>,
    next_connection: u64,
}

/// What is done on a gateway connection.
#[derive(Clone, Debug)]
pub(super) enum ToClient {
    Frame(Arc<Frame>),
    /// A frame that is no event and passes all faults.
    Text(String),
    Close(Option<u16>),
    /// The end, without a close frame.
    HangUp,
    /// A reset.
    Cut,
    /// From now on nothing is sent, and nothing that comes in is looked at.
    Zombie,
}

/// The answers among what the world wants done.
#[derive(Default)]
struct Answers {
    response: Option<Response>,
    acted: Option<Result<Value, ActError>>,
}

impl Hub {
    pub fn new(world: World, clock: Clock, shutdown: CancellationToken) -> Self {
        let switches = Mutex::new(Switches::new(world.seed()));
        let state = State {
            world,
            watchers: BTreeMap::new(),
            overseers: None,
            lines: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_connection: 0,
        };
        Self {
            state: Mutex::new(state),
            switches,
            granted: Mutex::default(),
            nonces: Mutex::default(),
            clock,
            limited: AtomicU64::new(0),
            shutdown,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in a rule is a bug of the simulator; the world behind it is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, input: Input) -> Answers {
        let mut state = self.state();
        // Read under the lock, so that times never go back from one input to the next.
        let outputs = state.world.apply(self.clock.now(), input);
        state.deliver(outputs)
    }

    pub fn request(&self, request: Request) -> Response {
        self.apply(Input::Request(request)).response.expect("every request is answered")
    }

    pub fn act(&self, person: Id, act: Act) -> Result<Value, ActError> {
        self.apply(Input::Act { person, act }).acted.expect("every act is answered")
    }

    pub fn tick(&self) {
        self.apply(Input::Tick);
    }

    pub fn received(&self, connection: u64, text: String) {
        self.apply(Input::Received { connection, text });
    }

    /// Opens a line to a new gateway connection. With `greet` the world says HELLO on it.
    pub fn open(&self, greet: bool) -> (u64, mpsc::Receiver<ToClient>) {
        let (sender, receiver) = mpsc::channel(FRAMES_MAX);
        let mut state = self.state();
        state.next_connection += 1;
        let connection = state.next_connection;
        state.lines.insert(connection, sender);
        let mut outputs = state.world.apply(self.clock.now(), Input::Connected { connection });
        outputs.retain(|output| {
            greet || !matches!(output, Output::Frame { connection: to, .. } if *to == connection)
        });
        state.deliver(outputs);
        (connection, receiver)
    }

    pub fn close(&self, connection: u64, code: Option<u16>) {
        self.state().lines.remove(&connection);
        self.apply(Input::Disconnected { connection, code });
    }

    /// Does something on every gateway connection there is; answers how many there were.
    pub fn on_all_lines(&self, order: &ToClient) -> usize {
        let mut state = self.state();
        let lines: Vec<u64> = state.lines.keys().copied().collect();
        for connection in &lines {
            state.send(*connection, order.clone());
        }
        lines.len()
    }

    pub fn lines(&self) -> Vec<u64> {
        self.state().lines.keys().copied().collect()
    }

    /// Changes the world by its methods, and tells everybody what follows.
    pub fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        let mut state = self.state();
        let result = change(&mut state.world);
        let outputs = state.world.take_outputs();
        state.deliver(outputs);
        result
    }

    pub fn read<R>(&self, read: impl FnOnce(&World) -> R) -> R {
        read(&self.state().world)
    }

    pub fn watch(&self, person: Id) -> Seen {
        let mut state = self.state();
        // Those who look no longer make room when somebody else begins to.
        state.watchers.retain(|_, sender| sender.receiver_count() > 0);
        let sender = state.watchers.entry(person).or_insert_with(|| broadcast::Sender::new(BEHIND_MAX));
        Seen(sender.subscribe())
    }

    /// Shows something to one person that the world does not know of.
    pub fn show_person(&self, person: Id, event: &Arc<Value>) {
        self.state().show(Audience::Person(person), event);
    }

    pub fn watch_all(&self) -> SeenByAll {
        let mut state = self.state();
        let sender = state.overseers.get_or_insert_with(|| broadcast::Sender::new(ALL_BEHIND_MAX));
        SeenByAll(sender.subscribe())
    }

    pub fn count(&self, route: &'static str) {
        *self.state().calls.entry(route).or_default() += 1;
    }

    /// Notes what a call was answered with.
    pub fn count_status(&self, status: u16) {
        if status == TOO_MANY {
            self.limited.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn calls(&self, route: &str) -> u64 {
        self.state().calls.get(route).copied().unwrap_or(0)
    }
}

impl State {
    fn deliver(&mut self, outputs: Vec<Output>) -> Answers {
        let mut answers = Answers::default();
        for output in outputs {
            match output {
                Output::Response(response) => answers.response = Some(response),
                Output::Acted(acted) => answers.acted = Some(acted),
                Output::Frame { connection, frame } => self.send(connection, ToClient::Frame(frame)),
                Output::Close { connection, code } => self.send(connection, ToClient::Close(Some(code))),
                Output::Seen { audience, event } => self.show(audience, &event),
            }
        }
        answers
    }

    fn send(&mut self, connection: u64, order: ToClient) {
        let Some(line) = self.lines.get(&connection) else { return };
        if line.try_send(order).is_err() {
            // The task at the other end sees its line closed, and cuts the connection.
            self.lines.remove(&connection);
        }
    }

    fn show(&mut self, audience: Audience, event: &Arc<Value>) {
        if let Some(overseers) = &self.overseers {
            // Nobody oversees any more: there is nobody to tell.
            overseers.send((audience, event.clone())).ok();
        }
        if let Audience::Person(person) = audience {
            if let Some(sender) = self.watchers.get(&person) {
                // Nobody watches any more: there is nobody to tell.
                sender.send(event.clone()).ok();
            }
            return;
        }
        for (person, sender) in &self.watchers {
            if self.world.sees(*person, audience) {
                sender.send(event.clone()).ok();
            }
        }
    }
}
