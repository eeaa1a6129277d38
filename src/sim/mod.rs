//! A simulated Discord: what a bot needs of it, on one port of this machine.
//!
//! A [`World`] is a plain value with all rules in it. [`Simulator::start`] puts it behind REST and a gateway,
//! and hands out the ways in that are not the bot's: people act ([`Simulator::act`]) and look
//! ([`Simulator::view`], [`Simulator::messages`], [`Simulator::watch`]), tests change the world
//! ([`Simulator::change`]) and break things ([`Simulator::faults`]). It never learns which bot it serves.
//!
//! What is not modelled fails loudly: an unknown route answers 501, an unknown opcode closes the connection,
//! and both are kept, with every call that was refused, as [`Record`]s. A test that ends with a record it did
//! not expect has failed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::tasks::Tasks;

pub mod faults;
mod gateway;
mod hub;
mod oauth;
mod people;
mod rest;
mod socket;
mod watch;
pub mod world;

#[cfg(test)]
mod tests;

pub use faults::{Faults, Removed, Scope, Weather};
pub use watch::{Seen, SeenByAll};
pub use world::{Act, ActError, Audience, File, Id, Record, RecordKind, Settings, World};

use hub::Hub;

/// How often the world is told that time has passed: interactions fail this much late at most.
const TICK: Duration = Duration::from_millis(100);

/// A running simulator. Cloning gives another handle to the same world.
#[derive(Clone)]
pub struct Simulator {
    hub: Arc<Hub>,
    faults: Faults,
    url: Arc<str>,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Simulator {
    /// Binds REST and gateway on `address` (port 0: a free one) and serves until `tasks` stop.
    pub async fn start(world: World, address: SocketAddr, tasks: &Tasks) -> anyhow::Result<Self> {
        Self::start_with_clock(world, address, tasks, Clock::system()).await
    }

    /// The same with a clock that a test moves.
    pub async fn start_with_clock(
        mut world: World,
        address: SocketAddr,
        tasks: &Tasks,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.context("open the simulator's port")?;
        let url: Arc<str> = reachable(listener.local_addr().context("ask for the simulator's port")?).into();
        tracing::info!(%url, seed = world.seed(), "simulated Discord");
        world.set_base_url(&url);
        // Nobody was there to hear of what was built.
        world.take_outputs();
        let hub = Arc::new(Hub::new(world, clock, tasks.shutdown()));
        tasks.spawn("sim server", serve(hub.clone(), listener));
        tasks.spawn("sim clock", tick(hub.clone()));
        let faults = Faults::new(hub.clone());
        Ok(Self { hub, faults, url })
    }

    /// A world without a port: people act and see, and no bot can join.
    pub fn without_bot(mut world: World, tasks: &Tasks, clock: Clock) -> Self {
        world.take_outputs();
        let hub = Arc::new(Hub::new(world, clock, tasks.shutdown()));
        let faults = Faults::new(hub.clone());
        Self { hub, faults, url: "".into() }
    }

    /// `http://127.0.0.1:PORT`, a value for `DISCORD_API_URL`.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// The bot's token.
    pub fn token(&self) -> String {
        self.read(|world| world.token().to_owned())
    }

    /// What a person's own client signs in with.
    pub fn person_token(&self, person: Id) -> String {
        self.read(|world| world.person_token(person))
    }

    /// What the bot's application signs people in with.
    pub fn client_secret(&self) -> String {
        oauth::client_secret(&self.hub)
    }

    /// How many tokens of people are worth something.
    pub fn people_tokens(&self) -> usize {
        oauth::tokens(&self.hub)
    }

    /// A person does something; answers the ids of what was made.
    pub fn act(&self, person: Id, act: Act) -> Result<Value, ActError> {
        self.hub.act(person, act)
    }

    /// What a person's client shows, but for the messages.
    pub fn view(&self, person: Id) -> Value {
        self.read(|world| world.view(person))
    }

    /// A page of a channel's history as a person sees it, newest last.
    pub fn messages(&self, person: Id, channel: Id, before: Option<Id>, limit: usize) -> Vec<Value> {
        self.read(|world| world.messages(person, channel, before, limit))
    }

    /// What a person's client is sent from now on.
    pub fn watch(&self, person: Id) -> Seen {
        self.hub.watch(person)
    }

    /// What all people's clients are sent from now on.
    pub fn watch_all(&self) -> SeenByAll {
        self.hub.watch_all()
    }

    /// What can be made to go wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Looks at the world.
    pub fn read<R>(&self, read: impl FnOnce(&World) -> R) -> R {
        self.hub.read(read)
    }

    /// Changes the world by its methods: makes guilds, channels and people, gives roles. The bot and the
    /// people are told what follows.
    pub fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R {
        self.hub.change(change)
    }

    /// What the bot did that it should not have, and what is not modelled.
    pub fn records(&self) -> Vec<Record> {
        self.read(|world| world.records().to_vec())
    }

    /// The same, and forgets it: for a test that expects some of them.
    pub fn take_records(&self) -> Vec<Record> {
        self.change(World::take_records)
    }

    /// How many calls of a route arrived, such as `POST /channels/{c}/messages`; also those that a fault kept
    /// from the world.
    pub fn calls(&self, route: &str) -> u64 {
        assert!(world::is_route(route), "{route:?} is not a route of the simulator");
        self.hub.calls(route)
    }

    /// How many calls were answered with 429.
    pub fn limited(&self) -> u64 {
        self.hub.limited.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The world as JSON; `serde_json::from_str` makes a [`World`] of it.
    pub fn save(&self) -> anyhow::Result<String> {
        self.read(serde_json::to_string).context("write the simulated world")
    }
}

/// The address that clients on this machine use.
fn reachable(address: SocketAddr) -> String {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

async fn serve(hub: Arc<Hub>, listener: TcpListener) {
    let shutdown = hub.shutdown.clone();
    let service = rest::router(hub).into_make_service_with_connect_info::<socket::Scissors>();
    let serving = axum::serve(socket::Sockets(listener), service);
    if let Err(error) = serving.with_graceful_shutdown(shutdown.cancelled_owned()).await {
        tracing::error!(%error, "the simulator's server ended");
    }
}

async fn tick(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            () = hub.shutdown.cancelled() => return,
            _ = ticks.tick() => hub.tick(),
        }
    }
}
