//! [`Mischief`]: what the playground's page can make go wrong, so that one can see that nothing is lost.
//!
//! The switches are those of the tests: faults between the bot and its store, and between the bot and Discord.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::dynamo::faults::{Faults, Rates};
use crate::sim::{Simulator, Weather};

/// Two requests in a row take longer than the answer may wait, so that one sees it deferred; five take less
/// than a command may.
const SLOW: Duration = Duration::from_millis(900);

/// Of a thousand requests to the store, whose replies are lost: most commands meet one, and most of them get
/// through within the attempts they have.
const STORE_REPLIES_LOST: u32 = 350;

/// The same for calls to Discord, as a share.
const DISCORD_REPLIES_LOST: f64 = 0.5;

/// What is drawn is not looked at; only how often.
const SEED: u64 = 1;

/// The switches as they stand. They are the same for all pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Switches {
    /// The store cannot be reached.
    away: bool,
    /// Every request to the store takes longer.
    slow: bool,
    /// Replies of the store and of Discord do not arrive.
    lost: bool,
}

/// What a page asks for.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "switch", rename_all = "snake_case")]
pub(super) enum Wanted {
    Away {
        on: bool,
    },
    Slow {
        on: bool,
    },
    Lost {
        on: bool,
    },
    /// The connection to the gateway is cut, once.
    Drop {},
}

/// The switches and what they act on.
#[derive(Clone)]
pub(super) struct Mischief {
    simulator: Simulator,
    store: Faults,
    switches: watch::Sender<Switches>,
}

impl Mischief {
    pub fn new(simulator: Simulator, store: Faults) -> Self {
        Self { simulator, store, switches: watch::Sender::default() }
    }

    pub fn make(&self, wanted: Wanted) -> Switches {
        match wanted {
            Wanted::Away { on } => {
                self.store.set_away(on);
                self.switches.send_modify(|switches| switches.away = on);
            }
            Wanted::Slow { on } => {
                self.store.set_slow(on.then_some(SLOW));
                self.switches.send_modify(|switches| switches.slow = on);
            }
            Wanted::Lost { on } => {
                let lose_reply = if on { STORE_REPLIES_LOST } else { 0 };
                self.store.plan(SEED, Rates { lose_reply, ..Rates::default() });
                let lose_reply = if on { DISCORD_REPLIES_LOST } else { 0.0 };
                self.simulator.faults().weather(Weather { lose_reply, ..Weather::default() });
                self.switches.send_modify(|switches| switches.lost = on);
            }
            Wanted::Drop {} => {
                self.simulator.faults().cut();
            }
        }
        *self.switches.borrow()
    }

    /// The switches now, and a way to hear when somebody throws one.
    pub fn watch(&self) -> watch::Receiver<Switches> {
        self.switches.subscribe()
    }
}
