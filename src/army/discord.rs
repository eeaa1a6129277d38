//! [`Discord`]: what soldiers act on. A simulated Discord in this process, where they may make people, channels
//! and servers; or a running server elsewhere, with the accounts and channels that there are.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::mpsc;

use crate::army::remote::Remote;
use crate::sim::{Act, Audience, Id, Record, SeenByAll, Simulator, World};

#[derive(Clone)]
pub enum Discord {
    Simulated(Simulator),
    Remote(Arc<Remote>),
}

/// Where somebody has come to.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub person: Id,
    pub server: Id,
    pub channel: Id,
}

impl Discord {
    /// The bot under test.
    pub fn bot(&self) -> Id {
        match self {
            Self::Simulated(simulator) => simulator.read(World::bot),
            Self::Remote(remote) => remote.bot,
        }
    }

    /// Somebody comes into a channel of a server.
    pub fn come(&self, name: &str, server: &str, room: &str) -> Result<Arrival, String> {
        match self {
            Self::Simulated(simulator) => Ok(simulator.change(|world| {
                let mut guild = world.guild(server);
                Arrival { server: guild.id(), channel: guild.channel(room), person: guild.person(name) }
            })),
            Self::Remote(remote) => remote.come(name, server, room),
        }
    }

    /// Somebody who is there already joins another server.
    pub fn join(&self, person: Id, server: &str, room: &str) -> Result<Arrival, String> {
        match self {
            Self::Simulated(simulator) => Ok(simulator.change(|world| {
                let mut guild = world.guild(server);
                let arrival = Arrival { server: guild.id(), channel: guild.channel(room), person };
                world.join(arrival.server, person);
                arrival
            })),
            Self::Remote(remote) => remote.arrive(person, server, room),
        }
    }

    pub fn leave(&self, person: Id, server: Id) -> Result<(), String> {
        match self {
            Self::Simulated(simulator) => simulator.change(|world| world.leave(server, person)),
            Self::Remote(_) => return Err("accounts stay in their servers".to_owned()),
        }
        Ok(())
    }

    /// A channel of a server, made where that can be done.
    pub fn channel(&self, server: Id, server_name: &str, name: &str) -> Result<Id, String> {
        match self {
            Self::Simulated(simulator) => Ok(simulator
                .read(|world| world.find_channel(server, name))
                .unwrap_or_else(|| simulator.change(|world| world.guild(server_name).channel(name)))),
            Self::Remote(remote) => {
                remote.find_channel(server, name).ok_or_else(|| format!("there is no channel {name}"))
            }
        }
    }

    pub fn find_channel(&self, server: Id, name: &str) -> Option<Id> {
        match self {
            Self::Simulated(simulator) => simulator.read(|world| world.find_channel(server, name)),
            Self::Remote(remote) => remote.find_channel(server, name),
        }
    }

    pub fn find_person(&self, name: &str) -> Option<Id> {
        match self {
            Self::Simulated(simulator) => simulator.read(|world| world.find_person(name)),
            Self::Remote(remote) => remote.find_person(name),
        }
    }

    /// Somebody does something; what Discord's client would not let them do is told in words.
    pub async fn act(&self, person: Id, act: Act) -> Result<Value, String> {
        match self {
            Self::Simulated(simulator) => simulator.act(person, act).map_err(|refused| refused.message),
            Self::Remote(remote) => remote.act(person, act).await,
        }
    }

    /// A message as somebody sees it.
    pub async fn message(&self, person: Id, channel: Id, message: Id) -> Option<Value> {
        let page = match self {
            Self::Simulated(simulator) => simulator.messages(person, channel, Some(message + 1), 1),
            Self::Remote(remote) => remote.message_before(person, channel, message + 1).await,
        };
        page.into_iter().find(|found| found["id"].as_str() == Some(&message.to_string()))
    }

    /// Calls that were answered with 429: of the bot under test, or, where that cannot be seen, of people.
    pub fn limited(&self) -> u64 {
        match self {
            Self::Simulated(simulator) => simulator.limited(),
            Self::Remote(remote) => remote.limited(),
        }
    }

    /// What a simulated Discord did not expect of the bot.
    pub fn take_records(&self) -> Vec<Record> {
        match self {
            Self::Simulated(simulator) => simulator.take_records(),
            Self::Remote(_) => Vec::new(),
        }
    }

    /// What people's clients are sent from now on. Of a remote one, only the first who asks is told.
    pub fn ears(&self) -> Ears {
        match self {
            Self::Simulated(simulator) => Ears::Simulated(simulator.watch_all()),
            Self::Remote(remote) => Ears::Remote(remote.ears()),
        }
    }
}

/// Events, with those whose clients are sent them.
pub enum Ears {
    Simulated(SeenByAll),
    Remote(mpsc::Receiver<(Audience, Arc<Value>)>),
}

impl Ears {
    /// The next event, or how many were missed; `None` when there will be none.
    pub async fn next(&mut self) -> Option<Result<(Audience, Arc<Value>), u64>> {
        match self {
            Self::Simulated(seen) => seen.next().await,
            Self::Remote(heard) => heard.recv().await.map(Ok),
        }
    }
}
