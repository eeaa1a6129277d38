//! Bots in one process: frames travel through the [`Air`], where a seed may lose, repeat, delay and cut them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::{Clock, Timestamp};
use crate::relay::frame::{FRAME_MAX, Frame};
use crate::relay::name::BotName;
use crate::relay::transport::{Arrival, Limits, Transport, TransportError, Wire};

/// How badly frames travel; of a hundred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    pub lost: u32,
    pub repeated: u32,
    /// Each takes some time up to this; so they overtake each other.
    pub slowest: Duration,
}

/// A frame on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flying {
    pub from: BotName,
    pub to: BotName,
    pub frame: Frame,
}

/// Where frames are between two bots. All that happens there follows from the seed.
pub struct Air {
    pub weather: Weather,
    chance: fastrand::Rng,
    /// By the time of arrival, and a number that makes it unique.
    flying: BTreeMap<(Timestamp, u64), Flying>,
    sent: u64,
    cut: BTreeSet<(BotName, BotName)>,
}

impl Air {
    pub fn new(seed: u64, weather: Weather) -> Self {
        let chance = fastrand::Rng::with_seed(seed);
        Self { weather, chance, flying: BTreeMap::new(), sent: 0, cut: BTreeSet::new() }
    }

    pub fn send(&mut self, now: Timestamp, flying: Flying) {
        let lost = self.chance.u32(0..100) < self.weather.lost;
        let copies = 1 + u32::from(self.chance.u32(0..100) < self.weather.repeated);
        if lost || self.cut.contains(&(flying.from.clone(), flying.to.clone())) {
            return;
        }
        let slowest = u64::try_from(self.weather.slowest.as_millis()).unwrap_or(u64::MAX - 1);
        for _ in 0..copies {
            self.sent += 1;
            let at = now.plus(Duration::from_millis(self.chance.u64(0..=slowest)));
            self.flying.insert((at, self.sent), flying.clone());
        }
    }

    /// When the next frame arrives for one of them.
    fn next_for(&self, bot: &BotName) -> Option<Timestamp> {
        self.flying.iter().find(|(_, flying)| flying.to == *bot).map(|((at, _), _)| *at)
    }

    /// The next frame that has arrived for one of them.
    fn arrived_for(&mut self, now: Timestamp, bot: &BotName) -> Option<Flying> {
        let mut arrived = self.flying.iter().take_while(|((at, _), _)| *at <= now);
        let key = arrived.find(|(_, flying)| flying.to == *bot).map(|(key, _)| *key)?;
        self.flying.remove(&key)
    }

    /// When the next frame arrives.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    /// The next frame that has arrived.
    pub fn arrived(&mut self, now: Timestamp) -> Option<Flying> {
        let entry = self.flying.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// Lets nothing through between two bots, either way.
    pub fn cut(&mut self, a: &BotName, b: &BotName) {
        self.cut.extend([(a.clone(), b.clone()), (b.clone(), a.clone())]);
    }

    /// Ends all cuts.
    pub fn mend(&mut self) {
        self.cut.clear();
    }
}

/// Air that several bots share. Cloning gives another handle to it.
#[derive(Clone)]
pub struct Room {
    air: Arc<Mutex<Air>>,
    clock: Clock,
    spoken: Arc<Notify>,
}

impl Room {
    pub fn new(air: Air, clock: Clock) -> Self {
        Self { air: Arc::new(Mutex::new(air)), clock, spoken: Arc::default() }
    }

    pub fn air(&self) -> MutexGuard<'_, Air> {
        self.air.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A bot in this room, which listens to its peers.
    pub fn transport(&self, me: BotName, peers: BTreeSet<BotName>) -> InRoom {
        InRoom { room: self.clone(), me, peers }
    }
}

/// The transport of one bot in a [`Room`].
pub struct InRoom {
    room: Room,
    me: BotName,
    peers: BTreeSet<BotName>,
}

impl Transport for InRoom {
    fn limits(&self) -> Limits {
        Limits { frame_bytes: FRAME_MAX, keeps: false }
    }

    fn run<'a>(
        self: Box<Self>,
        wire: &'a mut Wire,
        shutdown: CancellationToken,
    ) -> BoxFuture<'a, Result<(), TransportError>> {
        async move {
            let _ = shutdown.run_until_cancelled(self.talk(wire)).await;
            Ok(())
        }
        .boxed()
    }
}

impl InRoom {
    async fn talk(&self, wire: &mut Wire) {
        let _ = wire.incoming.try_send(Arrival::Connected);
        loop {
            // Before looking, so that nothing that is said meanwhile is missed.
            let spoken = self.room.spoken.notified();
            let now = self.room.clock.now();
            let next = {
                let mut air = self.room.air();
                while let Some(Flying { from, frame, .. }) = air.arrived_for(now, &self.me) {
                    if self.peers.contains(&from) {
                        // Full: it comes again.
                        let _ = wire.incoming.try_send(Arrival::Frame { from, frame });
                    }
                }
                air.next_for(&self.me)
            };
            let arrival = async {
                match next {
                    Some(at) => sleep(at.since(now)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                said = wire.outgoing.recv() => match said {
                    Some((to, frame)) => self.say(to, frame),
                    None => return,
                },
                () = spoken => {}
                () = arrival => {}
            }
        }
    }

    fn say(&self, to: BotName, frame: Frame) {
        if let Err(why) = frame.write() {
            warn!(peer = %to, %why, "a frame cannot be sent");
            return;
        }
        let from = self.me.clone();
        self.room.air().send(self.room.clock.now(), Flying { from, to, frame });
        self.room.spoken.notify_waiters();
    }
}
