//! Our own queue: envelopes that something here acts on, one after the other, until it has worked.
//!
//! While an envelope waits for its next try, later ones of the same origin, topic and scope wait behind it, and
//! the others go on. The row goes in one transaction with what acting on it publishes, so that comes once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{error, warn};

use crate::clock::Timestamp;
use crate::dynamo::Error;
use crate::relay::engine::{Engine, LOOK_EVERY};
use crate::relay::envelope::{Scope, Sealed};
use crate::relay::frame::Reason;
use crate::relay::link::{OutLane, epoch};
use crate::relay::name::{BotName, EnvelopeId, Topic};
use crate::relay::publish::{Draft, Onward, Refused, TRIES_MAX, kept};
use crate::relay::store::{Change, Dead, Note, Out, Row, Step, Store, Written, joining};

/// How long an envelope waits after each failure; after the last one it is a dead letter. A minute and a half
/// outlasts what usually passes by itself.
pub const PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(20), Duration::from_secs(60)];

/// So many streams may wait aside; then something is wrong with all of them, and all wait.
pub const ASIDE_MAX: usize = 64;

/// As many rows are held: behind those that wait, others are looked for.
const HELD_MAX: usize = 1_000;

/// As many rows are read at once.
const ROWS: u32 = 50;

const NOTE_AFTER: Duration = Duration::from_secs(1);

/// An envelope to act on.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub number: u64,
    pub sealed: Sealed,
    /// The bots that have had it, without us.
    pub path: Vec<BotName>,
    /// How often it has failed.
    pub tries: u32,
    due: Timestamp,
}

/// What keeps its order.
type Stream = (BotName, Topic, Scope);

impl Work {
    fn stream(&self) -> Stream {
        let envelope = self.sealed.envelope();
        (envelope.id.origin(), envelope.topic.clone(), envelope.scope)
    }
}

/// What is known of our own queue.
pub(super) struct Here {
    pub known: Option<OutLane>,
    pub look_at: Timestamp,
    held: BTreeMap<u64, Work>,
    /// Rows below it are held, or gone.
    loaded: u64,
    note_at: Option<Timestamp>,
}

impl Default for Here {
    fn default() -> Self {
        let (look_at, held) = (Timestamp::from_millis(0), BTreeMap::new());
        Self { known: None, look_at, held, loaded: 0, note_at: None }
    }
}

impl Here {
    /// The queue, read now and then.
    pub async fn lane<S: Store>(&mut self, store: &S, now: Timestamp) -> Result<Option<OutLane>, Error> {
        if now >= self.look_at {
            let known = store.out_lane(&Out::Here).await?;
            self.look_at = now.plus(LOOK_EVERY);
            self.loaded = self.loaded.max(known.as_ref().map_or(0, |lane| lane.acked));
            self.known = known;
            self.settle(now);
        }
        Ok(self.known.clone())
    }

    /// All rows below the first that is held are gone.
    fn settle(&mut self, now: Timestamp) {
        let first = self.held.keys().next().copied().unwrap_or(self.loaded);
        if let Some(lane) = self.known.as_mut().filter(|lane| lane.acked < first) {
            lane.acked = first;
            self.note_at.get_or_insert(now.plus(NOTE_AFTER));
        }
    }

    fn gone(&mut self, now: Timestamp, number: u64) {
        self.held.remove(&number);
        self.settle(now);
    }

    /// Writes down what is settled, now and then: it is where a start begins to read.
    pub async fn note<S: Store>(&mut self, store: &S, now: Timestamp) -> Result<(), Error> {
        let (Some(lane), Some(_)) = (&self.known, self.note_at.filter(|at| now >= *at)) else {
            return Ok(());
        };
        store.note(&Note::Acked { out: Out::Here, epoch: lane.epoch, acked: lane.acked }).await?;
        self.note_at = None;
        Ok(())
    }

    /// The first that need not wait for another.
    fn ready(&self, now: Timestamp) -> Option<Work> {
        let mut aside: BTreeSet<Stream> = BTreeSet::new();
        for work in self.held.values() {
            let stream = work.stream();
            if aside.contains(&stream) {
                continue;
            }
            if work.due <= now {
                return Some(work.clone());
            }
            aside.insert(stream);
            if aside.len() >= ASIDE_MAX {
                return None;
            }
        }
        None
    }
}

impl<S: Store> Engine<S> {
    /// What to act on next. It stays in the queue until [`Engine::done`].
    pub async fn work(&mut self, now: Timestamp) -> Result<Option<Work>, Error> {
        loop {
            if let Some(work) = self.here.ready(now) {
                if work.sealed.envelope().until > now {
                    return Ok(Some(work));
                }
                self.end(now, work.number, Vec::new()).await?;
            } else if !self.load(now).await? {
                return Ok(None);
            }
        }
    }

    /// When something that waits is due.
    pub fn work_at(&self) -> Option<Timestamp> {
        let mut streams = BTreeSet::new();
        let first = self.here.held.values().filter(|work| streams.insert(work.stream()));
        first.take(ASIDE_MAX).map(|work| work.due).min()
    }

    /// Holds more rows; `false`: there are none, or no room.
    async fn load(&mut self, now: Timestamp) -> Result<bool, Error> {
        let Some(lane) = self.here.lane(&self.store, now).await? else { return Ok(false) };
        if self.here.loaded >= lane.next || self.here.held.len() >= HELD_MAX {
            return Ok(false);
        }
        let rows = self.store.rows(&Out::Here, self.here.loaded, ROWS).await?;
        if rows.is_empty() {
            self.here.loaded = lane.next;
            self.here.settle(now);
            return Ok(false);
        }
        for row in rows {
            let number = row.number;
            self.hold(now, row).await?;
            self.here.loaded = self.here.loaded.max(number + 1);
        }
        Ok(true)
    }

    async fn hold(&mut self, now: Timestamp, row: Row) -> Result<(), Error> {
        let Row { number, id, tries, due, .. } = row;
        let Some(kept) = self.store.kept(&id).await? else { return self.end(now, number, Vec::new()).await };
        match Sealed::open(kept.text.clone()) {
            Ok(sealed) => {
                self.here.held.insert(number, Work { number, sealed, path: kept.path, tries, due });
                Ok(())
            }
            Err(why) => {
                let (reason, text) = (Reason::Malformed, Some(kept.text));
                let dead = self.dead(now, id, reason, why.to_string(), text, kept.path);
                self.end(now, number, vec![dead]).await
            }
        }
    }

    fn dead(
        &self,
        at: Timestamp,
        id: EnvelopeId,
        reason: Reason,
        detail: String,
        text: Option<String>,
        path: Vec<BotName>,
    ) -> Dead {
        Dead { lane: Out::Here.dead_name(), at, id, reason, detail, text, path }
    }

    /// Takes a row away. If it was gone, another process has acted.
    async fn end(&mut self, now: Timestamp, number: u64, dead: Vec<Dead>) -> Result<(), Error> {
        let change = Change { step: Some(Step::Done(number)), dead, ..Change::default() };
        self.store.write(&change).await?;
        self.here.gone(now, number);
        Ok(())
    }

    /// It was acted upon. What that publishes is taken in the same transaction; `false`: somebody else was
    /// first, and nothing was taken.
    pub async fn done(&mut self, now: Timestamp, work: &Work, answers: &[Draft]) -> Result<bool, Error> {
        let mut known_ids = BTreeSet::new();
        for _ in 0..TRIES_MAX + answers.len() {
            let change = self.answer(now, work, answers, &known_ids).await?;
            match self.store.write(&change).await? {
                Written::Done => {
                    self.joined(&change);
                    self.here.gone(now, work.number);
                    return Ok(true);
                }
                Written::Passed => {
                    self.here.gone(now, work.number);
                    return Ok(false);
                }
                Written::Known(at) => {
                    known_ids.insert(change.envelopes[at].0.id.clone());
                }
                Written::Moved => self.look(),
            }
        }
        Err(Error::Throttled("the queues were filled by others all the time".into()))
    }

    async fn answer(
        &mut self,
        now: Timestamp,
        work: &Work,
        answers: &[Draft],
        known_ids: &BTreeSet<EnvelopeId>,
    ) -> Result<Change, Error> {
        let mut change = Change { step: Some(Step::Done(work.number)), ..Change::default() };
        let (mut queues, mut queued) = (BTreeMap::new(), Vec::new());
        for draft in answers {
            let sealed = match self.routes.seal(draft.clone()) {
                Ok(sealed) => sealed,
                Err(Refused::Store(why)) => return Err(why),
                Err(why) => {
                    let (id, text) = (work.sealed.envelope().id.clone(), Some(work.sealed.text().to_owned()));
                    error!(%id, topic = %draft.topic, %why, "an answer cannot be published");
                    let dead =
                        self.dead(now, id, Reason::Malformed, why.to_string(), text, work.path.clone());
                    change.dead.push(dead);
                    continue;
                }
            };
            let envelope = sealed.envelope();
            if known_ids.contains(&envelope.id) || envelope.until <= now {
                continue;
            }
            queues.extend(self.queues_of(now, &sealed, &[]).await?);
            let onward = Onward::plan(&sealed, &[], &self.routes, &queues, now);
            queued.push((envelope.id.clone(), envelope.until, onward.queued));
            change.dead.extend(onward.dead);
            change.envelopes.push((kept(&sealed, Vec::new()), None));
            self.counts.dropped += onward.dropped;
        }
        change.joining = joining(&queues, epoch(now), &queued);
        Ok(change)
    }

    /// Acting on it failed: it comes again, or becomes a dead letter.
    pub async fn failed(&mut self, now: Timestamp, work: &Work, detail: &str) -> Result<(), Error> {
        let (number, tries) = (work.number, work.tries + 1);
        let id = work.sealed.envelope().id.clone();
        let Some(pause) = PAUSES.get(work.tries as usize) else {
            return self.give_up(now, work, detail).await;
        };
        warn!(%id, tries, detail, "acting on an envelope failed");
        let due = now.plus(*pause);
        if self.store.note(&Note::Again { number, tries, due }).await? {
            let held = self.here.held.get_mut(&number);
            held.into_iter().for_each(|work| (work.tries, work.due) = (tries, due));
        } else {
            self.here.gone(now, number);
        }
        Ok(())
    }

    /// Acting on it will never work: it becomes a dead letter.
    pub async fn give_up(&mut self, now: Timestamp, work: &Work, detail: &str) -> Result<(), Error> {
        let id = work.sealed.envelope().id.clone();
        error!(%id, detail, "gave up acting on an envelope");
        let (text, path) = (Some(work.sealed.text().to_owned()), work.path.clone());
        let dead = self.dead(now, id, Reason::Failed, detail.to_owned(), text, path);
        self.end(now, work.number, vec![dead]).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::relay::model::Model;
    use crate::relay::routes::tests::lonely;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn at_once<T>(future: impl Future<Output = Result<T, Error>>) -> T {
        future.now_or_never().expect("the model answers at once").expect("nothing goes wrong")
    }

    /// A bot without links that has published these topics.
    fn bot(topics: &[&str]) -> Engine<Model> {
        let mut engine = Engine::new(Model::default(), lonely("hub"), false, 1);
        for (n, topic) in topics.iter().enumerate() {
            let draft = Draft::test(topic, &n.to_string(), NOW);
            engine.publish(NOW, draft).now_or_never().unwrap().unwrap();
        }
        engine
    }

    #[test]
    fn others_go_on_while_one_waits_for_its_next_try() {
        let mut engine = bot(&["a", "b", "a", "b"]);
        let first = at_once(engine.work(NOW)).unwrap();
        at_once(engine.failed(NOW, &first, "no"));
        let mut order = Vec::new();
        while let Some(work) = at_once(engine.work(NOW)) {
            order.push(work.number);
            at_once(engine.done(NOW, &work, &[]));
        }
        assert_eq!(order, [1, 3]);
        let later = NOW.plus(PAUSES[0]);
        assert_eq!(engine.work_at(), Some(later));
        while let Some(work) = at_once(engine.work(later)) {
            order.push(work.number);
            at_once(engine.done(later, &work, &[]));
        }
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn what_fails_again_and_again_becomes_a_dead_letter() {
        let mut engine = bot(&["a", "a"]);
        let (mut now, mut tries) = (NOW, 0);
        while let Some(work) = at_once(engine.work(now)).filter(|work| work.number == 0) {
            at_once(engine.failed(now, &work, "the channel is gone"));
            (now, tries) = (now.plus(*PAUSES.get(tries).unwrap_or(&Duration::ZERO)), tries + 1);
        }
        assert_eq!(tries, PAUSES.len() + 1);
        let dead = engine.store().records().dead.clone();
        assert_eq!(
            (dead.len(), dead[0].reason, dead[0].detail.as_str()),
            (1, Reason::Failed, "the channel is gone")
        );
        assert!(dead[0].text.is_some());
        assert_eq!(at_once(engine.work(now)).unwrap().number, 1, "the next one goes on");
    }

    #[test]
    fn tries_are_counted_over_a_restart() {
        let mut engine = bot(&["a"]);
        let work = at_once(engine.work(NOW)).unwrap();
        at_once(engine.failed(NOW, &work, "no"));
        let mut engine = Engine::new(engine.store().clone(), lonely("hub"), false, 1);
        assert_eq!(at_once(engine.work(NOW)), None);
        assert_eq!(at_once(engine.work(NOW.plus(PAUSES[0]))).unwrap().tries, 1);
    }

    #[test]
    fn what_is_too_old_is_not_acted_upon() {
        let mut engine = bot(&["a"]);
        let later = NOW.plus(crate::relay::routes::EVENT_LIFE);
        assert_eq!(at_once(engine.work(later)), None);
        assert!(engine.store().records().rows.is_empty());
    }

    #[test]
    fn an_answer_comes_with_the_end_of_its_cause() {
        let mut engine = bot(&["a"]);
        let work = at_once(engine.work(NOW)).unwrap();
        let answers = [Draft::test("b", "answer", NOW), Draft { depth: 9, ..Draft::test("b", "deep", NOW) }];
        assert!(at_once(engine.done(NOW, &work, &answers)));
        assert!(!at_once(engine.done(NOW, &work, &answers)), "somebody else was first");
        assert_eq!(at_once(engine.work(NOW)).unwrap().number, 1);
        let dead = engine.store().records().dead.clone();
        assert_eq!(dead.len(), 1);
        assert!(dead[0].detail.contains("rules answer each other"), "{}", dead[0].detail);
    }
}
