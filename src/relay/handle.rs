//! [`Relay`]: what the rest of the bot has of it. Every process publishes; one of them, the holder of the lease,
//! moves frames and acts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::clock::{Clock, Timestamp};
use crate::dynamo::{Dynamo, Error};
use crate::relay::counts::Counts;
use crate::relay::desk::{self, Status};
use crate::relay::engine::{Engine, PeerView};
use crate::relay::envelope::{Kind, Scope};
use crate::relay::name::BotName;
use crate::relay::publish::{Draft, Published, Refused, publish};
use crate::relay::rules::gauge::Gauges;
use crate::relay::run::{Act, Fresh, run};
use crate::relay::settings::{Settings, Via};
use crate::relay::sources::heard::{Listener, Message};
use crate::relay::store::{Out, Store, Tables};
use crate::relay::transport::{Arrival, Transport, TransportError, Wire, frames_waiting, wire};

/// What can never work is tried again so seldom: it may have been mended at the other end.
const AGAIN_AFTER: Duration = Duration::from_secs(5 * 60);

/// What is written in all channels in a few seconds, where the store is slow; beyond it, words are lost.
const MESSAGES_WAITING: usize = 1_000;

/// Cloning gives another handle to the same relay.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    settings: Settings,
    tables: Tables,
    clock: Clock,
    fresh: Arc<Fresh>,
    live: Mutex<Live>,
    gauges: Gauges,
    /// Where what people write goes, once somebody listens.
    ears: OnceLock<mpsc::Sender<Message>>,
}

/// What only the process knows that moves frames.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Whether this is the one.
    pub serving: bool,
    pub peers: BTreeMap<BotName, PeerView>,
    pub here: u64,
    pub counts: Counts,
    /// Why peers cannot be reached, by how: what only an operator can mend.
    pub trouble: BTreeMap<&'static str, String>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay of {}", self.0.settings.routes.me)
    }
}

impl Relay {
    pub fn new(dynamo: Dynamo, clock: Clock, settings: Settings) -> Self {
        let (fresh, live) = (Arc::default(), Mutex::default());
        let (gauges, ears) = (Gauges::default(), OnceLock::new());
        Self(Arc::new(Inner { settings, tables: Tables(dynamo), clock, fresh, live, gauges, ears }))
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub fn tables(&self) -> &Tables {
        &self.0.tables
    }

    pub fn dynamo(&self) -> &Dynamo {
        &self.0.tables.0
    }

    /// Numbers that rules took from envelopes.
    pub fn gauges(&self) -> &Gauges {
        &self.0.gauges
    }

    /// Offers what somebody wrote. It must not wait: where too much is waiting, it is lost and counted.
    pub fn offer(&self, message: Message) {
        if let Some(ears) = self.0.ears.get()
            && ears.try_send(message).is_err()
        {
            self.0.gauges.failed("discord");
        }
    }

    /// Publishes what people write in channels that are watched or linked, in the order in which it was offered.
    pub async fn listen(&self, stop: CancellationToken) {
        let (ears, heard) = mpsc::channel(MESSAGES_WAITING);
        // It is set once in a bot's life.
        let _ = self.0.ears.set(ears);
        Listener::new(self.clone()).run(heard, stop).await;
    }

    /// Takes a message in, from any process of the bot. Once it is taken it is durable; but a measurement for
    /// ourselves alone is acted upon without being written where this process is the one that acts.
    pub async fn publish(&self, draft: Draft) -> Result<Published, Refused> {
        let Inner { settings, tables, clock, fresh, .. } = &*self.0;
        if self.is_measured_here(&draft) {
            return self.measured(draft);
        }
        let published = publish(tables, &settings.routes, clock.now(), draft).await?;
        fresh.queued();
        Ok(published)
    }

    fn is_measured_here(&self, draft: &Draft) -> bool {
        let topic = self.0.settings.routes.topic(&draft.topic);
        draft.scope == Scope::Local
            && topic.is_some_and(|rule| rule.kind == Kind::Sample)
            && self.live().serving
    }

    fn measured(&self, draft: Draft) -> Result<Published, Refused> {
        let Inner { settings, clock, fresh, .. } = &*self.0;
        let sealed = settings.routes.seal(draft)?;
        let envelope = sealed.envelope();
        if envelope.until <= clock.now() {
            return Err(Refused::Expired);
        }
        let (id, mut queued, mut full) = (envelope.id.clone(), Vec::new(), Vec::new());
        if settings.routes.is_for_us(envelope) {
            let place = if fresh.measured(sealed) { &mut queued } else { &mut full };
            place.push(Out::Here);
        }
        Ok(Published { id, queued, full, again: false })
    }

    /// How the links stand, from the store: the same in every process.
    pub async fn status(&self) -> Result<Status, Error> {
        desk::status(&self.0.tables, &self.0.settings.routes).await
    }

    /// What this process knows about moving frames, if it does that.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.0.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves frames and acts on what arrives, until told to stop. One process of a bot does that at a time; two
    /// would only send things twice.
    pub async fn serve(&self, actor: impl Act, stop: CancellationToken) {
        let Inner { settings, tables, clock, fresh, .. } = &*self.0;
        let (wire, lines) = wire(settings.routes.peers().count());
        // All that there are keep frames, the table until they are fetched and the server for who is away.
        let keeps = true;
        let seed = fastrand::u64(..);
        let engine = Engine::new(tables.clone(), settings.routes.clone(), keeps, seed);
        self.live().serving = true;
        // It ends after the engine, which says goodbye through it.
        let moved = CancellationToken::new();
        let acting = async {
            let tell = |engine: &Engine<Tables>, now| self.tell(engine, now);
            run(engine, clock.clone(), actor, lines, fresh.clone(), stop, tell).await;
            moved.cancel();
        };
        tokio::join!(acting, self.move_frames(wire, moved.clone()));
        *self.live() = Live::default();
    }

    fn tell<S: Store>(&self, engine: &Engine<S>, now: Timestamp) {
        let mut live = self.live();
        live.peers = engine.view(now);
        live.here = engine.waiting_here();
        live.counts.clone_from(&engine.counts);
    }

    /// Hands each frame to what reaches its peer.
    async fn move_frames(&self, mut wire: Wire, stop: CancellationToken) {
        let (mut ways, mut keepers) = (BTreeMap::new(), Vec::new());
        let ended = CancellationToken::new();
        for via in &self.0.settings.transports {
            let peers = via.peers();
            let (outgoing, taken) = mpsc::channel(frames_waiting(peers.len()));
            ways.extend(peers.into_iter().map(|peer| (peer, outgoing.clone())));
            let wire = Wire { outgoing: taken, incoming: wire.incoming.clone() };
            keepers.push(self.keep(via, wire, ended.clone()));
        }
        let handing = async move {
            let outgoing = &mut wire.outgoing;
            while let Some(Some((to, frame))) = stop.run_until_cancelled(outgoing.recv()).await {
                if let Some(way) = ways.get(&to) {
                    // It takes them also while it is not connected, and throws them away: they come again.
                    let _ = way.send((to, frame)).await;
                }
            }
            // The goodbyes, as far as there is room.
            while let Ok((to, frame)) = outgoing.try_recv() {
                if let Some(way) = ways.get(&to) {
                    let _ = way.try_send((to, frame));
                }
            }
            ended.cancel();
        };
        tokio::join!(handing, join_all(keepers));
    }

    /// Keeps a transport going, also where only an operator can mend what is wrong: the bot does not stop for
    /// that.
    async fn keep(&self, via: &Via, mut wire: Wire, stop: CancellationToken) {
        let name = via.name();
        while !stop.is_cancelled() {
            let ended = match self.open(via).await {
                Ok(transport) => transport.run(&mut wire, stop.clone()).await,
                Err(error) => Err(error),
            };
            let Err(why) = ended else { return };
            error!(transport = name, %why, "the relay cannot reach its peers; trying again in five minutes");
            self.live().trouble.insert(name, why.to_string());
            // Full: it is only told.
            let _ = wire.incoming.try_send(Arrival::Lost(why.to_string()));
            let deaf = async { while wire.outgoing.recv().await.is_some() {} };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(AGAIN_AFTER) => {}
                () = deaf => return,
            }
            self.live().trouble.remove(name);
        }
    }

    async fn open(&self, via: &Via) -> Result<Box<dyn Transport>, TransportError> {
        match via {
            Via::Table(table) => table.open(&self.0.tables.0, &self.0.settings.routes.me).await,
            #[cfg(feature = "xmpp")]
            Via::Xmpp(settings) => Ok(Box::new(crate::relay::xmpp::talk::ByXmpp::new(settings.clone())?)),
            #[cfg(not(feature = "xmpp"))]
            Via::Xmpp(_) => {
                let why = "this program was built without XMPP: build it with `--features xmpp`";
                Err(TransportError::Config(why.to_owned()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::future::BoxFuture;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;
    use crate::dynamo::testing::embedded;
    use crate::relay::here::Work;
    use crate::relay::routes::tests::lonely;
    use crate::relay::run::{Acted, Failure};
    use crate::relay::store::TABLES;
    use crate::tasks::Tasks;

    struct Told(mpsc::UnboundedSender<Work>);

    impl Act for Told {
        fn act(&mut self, work: &Work) -> BoxFuture<'static, Result<Acted, Failure>> {
            self.0.send(work.clone()).unwrap();
            async { Ok(Acted::default()) }.boxed()
        }
    }

    #[tokio::test]
    async fn a_measurement_for_ourselves_is_acted_upon_without_the_store() {
        let mut routes = lonely("hub");
        routes.topics[0].kind = Kind::Sample;
        let (rules, open, transports, sources) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let settings = Settings { routes, rules, open, transports, sources };
        let relay = Relay::new(embedded(TABLES).await, Clock::system(), settings);
        let (tasks, (told, mut works)) = (Tasks::new(), mpsc::unbounded_channel());
        let (serving, stop) = (relay.clone(), tasks.shutdown());
        tasks.spawn("relay", async move { serving.serve(Told(told), stop).await });
        while !relay.live().serving {
            yield_now().await;
        }
        let now = relay.clock().now();
        let draft = |scope, because| Draft { scope, ..Draft::test("host/load", because, now) };
        assert_eq!(relay.publish(draft(Scope::Local, "1")).await.unwrap().queued, [Out::Here]);
        let work = timeout(Duration::from_secs(60), works.recv()).await.unwrap().unwrap();
        assert_eq!(work.sealed.envelope().scope, Scope::Local);
        assert_eq!(relay.tables().out_lane(&Out::Here).await.unwrap(), None);
        relay.publish(draft(Scope::Fleet, "2")).await.unwrap();
        assert!(relay.tables().out_lane(&Out::Here).await.unwrap().is_some(), "what others may get is kept");
        tasks.stop();
        assert!(tasks.wait(Duration::from_secs(10)).await && !tasks.failed());
    }
}
