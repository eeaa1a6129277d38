//! Our own queue: envelopes that something here acts on, one after the other, until it has worked.
//!
//! While an envelope waits for its next try, later ones of the same origin, topic and scope wait behind it, and
//! the others go on. The row goes in one transaction with what acting on it publishes, so that comes once.
//!
//! Measurements for ourselves alone have no row: the next one tells more than one that was kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tracing::{error, warn};

use crate::clock::Timestamp;
use crate::dynamo::Error;
use crate::dynamo::WRITES_MAX;
use crate::relay::counts::What;
use crate::relay::engine::{Engine, LOOK_EVERY, ROWS};
use crate::relay::envelope::{Scope, Sealed};
use crate::relay::frame::Reason;
use crate::relay::link::{OutLane, epoch};
use crate::relay::name::{BotName, EnvelopeId, Topic};
use crate::relay::publish::{Onward, Refused, TRIES_MAX, kept};
use crate::relay::rules::state::StateRecord;
use crate::relay::run::Acted;
use crate::relay::store::{
    Change, Dead, Joining, Kept, Note, Out, ROWS_TOGETHER, Row, RowId, Step, Store, Written, joining,
};

/// How long an envelope waits after each failure; after the last one it is a dead letter. A minute and a half
/// outlasts what usually passes by itself.
pub const PAUSES: [Duration; 4] =
    [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(20), Duration::from_secs(60)];

/// So many streams may wait aside; then something is wrong with all of them, and all wait.
pub const ASIDE_MAX: usize = 64;

/// As many rows are held: behind those that wait, others are looked for.
const HELD_MAX: usize = 1_000;

/// Envelopes that are acted upon one after the other and end together: their end is one write to the disk.
pub const WORK_TOGETHER: usize = 2 * ROWS_TOGETHER;

const NOTE_AFTER: Duration = Duration::from_secs(1);

/// Measurements for ourselves alone that wait; beyond them, new ones are dropped and counted.
pub const MEASURED_MAX: usize = 1_000;

/// Where an envelope waits until something has acted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the store.
    Row(RowId),
    /// In this process only.
    Memory(u64),
}

/// An envelope to act on.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    pub place: Place,
    pub sealed: Sealed,
    /// The bots that have had it, without us.
    pub path: Vec<BotName>,
    /// How often it has failed.
    pub tries: u32,
    /// Somebody may have acted on it and died: it waited when we began, or it has failed.
    pub perhaps_done: bool,
    due: Timestamp,
}

/// What keeps its order.
type Stream = (BotName, Topic, Scope);

impl Work {
    fn row(&self) -> Option<RowId> {
        match self.place {
            Place::Row(row) => Some(row),
            Place::Memory(_) => None,
        }
    }

    fn stream(&self) -> Stream {
        let envelope = self.sealed.envelope();
        (envelope.id.origin(), envelope.topic.clone(), envelope.scope)
    }

    fn dead(&self, at: Timestamp, reason: Reason, detail: String) -> Dead {
        Dead {
            lane: Out::Here.dead_name(),
            at,
            id: self.sealed.envelope().id.clone(),
            reason,
            detail,
            text: Some(self.sealed.text().to_owned()),
            signature: self.sealed.signature().map(str::to_owned),
            path: self.path.clone(),
        }
    }
}

/// What is known of our own queue.
pub(super) struct Here {
    pub known: Option<OutLane>,
    pub look_at: Timestamp,
    held: BTreeMap<u64, Work>,
    /// Those of them that were acted upon, and whose end is still to be written.
    noted: BTreeSet<RowId>,
    measured: BTreeMap<u64, Work>,
    /// Rows below it are held, or gone.
    loaded: u64,
    /// Rows below it were there when we first looked.
    began_below: u64,
    looked: bool,
    note_at: Option<Timestamp>,
}

impl Default for Here {
    fn default() -> Self {
        Self {
            known: None,
            look_at: Timestamp::from_millis(0),
            held: BTreeMap::new(),
            noted: BTreeSet::new(),
            measured: BTreeMap::new(),
            loaded: 0,
            began_below: 0,
            looked: false,
            note_at: None,
        }
    }
}

impl Here {
    /// The queue, read now and then.
    pub async fn lane<S: Store>(&mut self, store: &S, now: Timestamp) -> Result<Option<OutLane>, Error> {
        if now >= self.look_at {
            let known = store.out_lane(&Out::Here).await?;
            if !self.looked {
                self.looked = true;
                self.began_below = known.as_ref().map_or(0, |lane| lane.next);
            }
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

    fn gone(&mut self, now: Timestamp, place: Place) {
        match place {
            Place::Row(row) => {
                self.held.remove(&row.number);
                self.noted.remove(&row);
                self.settle(now);
            }
            Place::Memory(number) => drop(self.measured.remove(&number)),
        }
    }

    /// Holds what was written into the queue a moment ago, so that it need not be read: unless something before it is
    /// still to be read, or there is no room.
    pub fn hold_joined<'a>(
        &mut self,
        joining: &Joining,
        taken: impl Iterator<Item = &'a (Sealed, Vec<BotName>)>,
    ) {
        let rows = joining.rows();
        let first = rows.first().map_or(0, |row| row.row.number);
        if first != self.loaded || self.held.len() + rows.len() > HELD_MAX {
            return;
        }
        let taken: BTreeMap<_, _> = taken.map(|both| (&both.0.envelope().id, both)).collect();
        for Row { row, id, tries, due, .. } in rows {
            let Some((sealed, path)) = taken.get(&id).copied().cloned() else { return };
            let place = Place::Row(row);
            self.held.insert(row.number, Work { place, sealed, path, tries, perhaps_done: false, due });
            self.loaded = row.number + 1;
        }
    }

    /// Holds a measurement; `false`: there is no room.
    fn measure(&mut self, sealed: Sealed, now: Timestamp) -> bool {
        if self.measured.len() >= MEASURED_MAX {
            return false;
        }
        let number = self.measured.last_key_value().map_or(0, |(last, _)| last + 1);
        let (place, path) = (Place::Memory(number), Vec::new());
        let work = Work { place, sealed, path, tries: 0, perhaps_done: false, due: now };
        self.measured.insert(number, work);
        true
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

    /// Rows that end with the next transaction.
    pub fn noted(&self) -> Vec<RowId> {
        self.noted.iter().copied().collect()
    }

    /// The rows that are to be acted upon.
    fn open(&self) -> impl Iterator<Item = &Work> {
        self.held.values().filter(|work| work.row().is_none_or(|row| !self.noted.contains(&row)))
    }

    /// Those that need not wait for another, in their order.
    fn ready(&self, now: Timestamp, most: usize) -> Vec<Work> {
        let (mut aside, mut ready): (BTreeSet<Stream>, _) = (BTreeSet::new(), Vec::new());
        for work in self.open().chain(self.measured.values()) {
            let stream = work.stream();
            if aside.contains(&stream) {
                continue;
            }
            if work.due <= now {
                let (last, row) = (ready.last().and_then(Work::row), work.row());
                let begins = row.filter(|row| last.is_some_and(|last| last.first != row.first));
                // A record that is done whole is one write, and leaves nothing.
                if ready.len() >= most
                    || begins.is_some_and(|row| ready.len() as u64 + row.count > most as u64)
                {
                    break;
                }
                ready.push(work.clone());
                continue;
            }
            aside.insert(stream);
            if aside.len() >= ASIDE_MAX {
                break;
            }
        }
        ready
    }
}

/// What became of several that were acted upon.
enum Together {
    Done,
    /// Somebody else was first with one of them.
    Passed,
    /// One transaction does not hold what they publish.
    TooMany,
}

impl<S: Store> Engine<S> {
    /// A measurement for ourselves alone: it is acted upon, and kept nowhere.
    pub fn measured(&mut self, now: Timestamp, sealed: Sealed) {
        if !self.here.measure(sealed, now) {
            self.counts.add(What::Dropped, "here", "", 1);
        }
    }

    /// What to act on next, in this order. It stays in the queue until [`Engine::done`].
    pub async fn work(&mut self, now: Timestamp) -> Result<Vec<Work>, Error> {
        loop {
            let ready = self.here.ready(now, WORK_TOGETHER);
            if ready.is_empty() && !self.load(now).await? {
                return Ok(Vec::new());
            }
            let (alive, over): (Vec<_>, Vec<_>) =
                ready.into_iter().partition(|work| work.sealed.envelope().until > now);
            for work in over {
                self.counts.add(What::Expired, "here", "", 1);
                self.end(now, work.place, Vec::new()).await?;
            }
            if !alive.is_empty() {
                return Ok(alive);
            }
        }
    }

    /// When something that waits is due.
    pub fn work_at(&self) -> Option<Timestamp> {
        let mut streams = BTreeSet::new();
        let first = self.here.open().filter(|work| streams.insert(work.stream()));
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
        let ids: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
        let kept = self.store.kept_all(&ids).await?;
        for row in rows {
            let (number, kept) = (row.row.number, kept.get(&row.id).cloned());
            self.hold(now, row, kept).await?;
            self.here.loaded = self.here.loaded.max(number + 1);
        }
        Ok(true)
    }

    async fn hold(&mut self, now: Timestamp, row: Row, kept: Option<Kept>) -> Result<(), Error> {
        let Row { row, id, tries, due, .. } = row;
        let Some(kept) = kept else { return self.end(now, Place::Row(row), Vec::new()).await };
        match Sealed::open(kept.text.clone()) {
            Ok(sealed) => {
                let sealed = sealed.with_signature(kept.signature);
                let perhaps_done = tries > 0 || row.number < self.here.began_below;
                let (place, path) = (Place::Row(row), kept.path);
                self.here.held.insert(row.number, Work { place, sealed, path, tries, perhaps_done, due });
                Ok(())
            }
            Err(why) => {
                let (lane, reason, detail) = (Out::Here.dead_name(), Reason::Malformed, why.to_string());
                let Kept { text, signature, path, .. } = kept;
                let dead = Dead { lane, at: now, id, reason, detail, text: Some(text), signature, path };
                self.end(now, Place::Row(row), vec![dead]).await
            }
        }
    }

    /// Takes a row away. If it was gone, another process has acted.
    async fn end(&mut self, now: Timestamp, place: Place, dead: Vec<Dead>) -> Result<(), Error> {
        if let Place::Row(row) = place {
            let change = Change { steps: vec![Step::Done(vec![row])], dead, ..Change::default() };
            self.store.write(&change).await?;
        }
        self.here.gone(now, place);
        Ok(())
    }

    /// They were acted upon, as [`Engine::done`] has it. If nothing came of it, that is not written yet but together
    /// with what is taken next: acting on them again, should this process die before, changes nothing.
    pub async fn note_done(&mut self, now: Timestamp, done: &[(Work, Acted)]) -> Result<(), Error> {
        self.end_noted(now).await?;
        let rows: BTreeSet<_> = done.iter().filter_map(|(work, _)| work.row()).collect();
        if rows.len() < done.len() || done.iter().any(|(_, acted)| *acted != Acted::default()) {
            return self.done(now, done).await;
        }
        self.here.noted = rows;
        Ok(())
    }

    /// Writes the end of those that nothing has taken along.
    pub async fn end_noted(&mut self, now: Timestamp) -> Result<(), Error> {
        let held = |row: RowId| Some((self.here.held.get(&row.number)?.clone(), Acted::default()));
        let done: Vec<_> = self.here.noted().into_iter().filter_map(held).collect();
        self.done(now, &done).await
    }

    /// These rows are gone.
    pub(super) fn ended(&mut self, now: Timestamp, rows: &[RowId]) {
        rows.iter().for_each(|row| self.here.gone(now, Place::Row(*row)));
        self.counts.add(What::Handled, "here", "done", rows.len() as u64);
    }

    /// They were acted upon. What that publishes is taken in the same transaction; where somebody else was
    /// first, nothing is.
    pub async fn done(&mut self, now: Timestamp, done: &[(Work, Acted)]) -> Result<(), Error> {
        let (mut rest, mut together) = (done, done.len());
        while !rest.is_empty() {
            let some = &rest[..together.min(rest.len())];
            match self.done_together(now, some).await? {
                Together::Done => {
                    self.counts.add(What::Handled, "here", "done", some.len() as u64);
                    (rest, together) = (&rest[some.len()..], done.len());
                }
                Together::Passed | Together::TooMany if some.len() > 1 => together = some.len() / 2,
                Together::Passed => {
                    self.here.gone(now, some[0].0.place);
                    rest = &rest[1..];
                }
                Together::TooMany => {
                    let why = "what its rules publish joins more queues than one transaction holds";
                    self.give_up(now, &some[0].0, why).await?;
                    rest = &rest[1..];
                }
            }
        }
        Ok(())
    }

    async fn done_together(&mut self, now: Timestamp, done: &[(Work, Acted)]) -> Result<Together, Error> {
        let mut known_ids = BTreeSet::new();
        let answers: usize = done.iter().map(|(_, acted)| acted.answers.len()).sum();
        for _ in 0..TRIES_MAX + answers {
            let (change, dropped) = self.answer(now, done, &known_ids).await?;
            if change.writes() > WRITES_MAX {
                return Ok(Together::TooMany);
            }
            let written = match change.writes() {
                0 => Written::Done,
                _ => self.store.write(&change).await?,
            };
            match written {
                Written::Done => {
                    self.joined(&change);
                    done.iter().for_each(|(work, _)| self.here.gone(now, work.place));
                    self.counts.add(What::Dropped, "here", "", dropped);
                    for dead in &change.dead {
                        self.counts.add(What::Dead, &dead.lane, dead.reason.name(), 1);
                    }
                    return Ok(Together::Done);
                }
                Written::Passed => return Ok(Together::Passed),
                Written::Known(at) => {
                    known_ids.insert(change.envelopes[at].0.id.clone());
                }
                Written::Moved => self.look(),
            }
        }
        Err(Error::Throttled("the queues were filled by others all the time".into()))
    }

    /// The change that ends them and takes what they publish, and how many measurements found a queue full.
    async fn answer(
        &mut self,
        now: Timestamp,
        done: &[(Work, Acted)],
        known_ids: &BTreeSet<EnvelopeId>,
    ) -> Result<(Change, u64), Error> {
        let steps = vec![Step::Done(done.iter().filter_map(|(work, _)| work.row()).collect())];
        let (mut change, mut dropped) = (Change { steps, ..Change::default() }, 0);
        let (mut queues, mut queued, mut fresh) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        let drafts: Vec<_> = done
            .iter()
            .flat_map(|(work, acted)| acted.answers.iter().map(move |draft| (work, draft)))
            .collect();
        for (work, draft) in drafts {
            let sealed = match self.routes.seal(draft.clone()) {
                Ok(sealed) => sealed,
                Err(Refused::Store(why)) => return Err(why),
                Err(why) => {
                    let id = &work.sealed.envelope().id;
                    error!(%id, topic = %draft.topic, %why, "an answer cannot be published");
                    change.dead.push(work.dead(now, Reason::Malformed, why.to_string()));
                    continue;
                }
            };
            let envelope = sealed.envelope();
            let known = known_ids.contains(&envelope.id) || !fresh.insert(envelope.id.clone());
            if known || envelope.until <= now {
                continue;
            }
            queues.extend(self.queues_of(now, &sealed, &[]).await?);
            let onward = Onward::plan(&sealed, &[], &self.routes, &queues, now);
            queued.push((envelope.id.clone(), envelope.until, onward.queued));
            change.dead.extend(onward.dead);
            change.envelopes.push((kept(&sealed, Vec::new()), None));
            dropped += onward.dropped;
        }
        for (work, acted) in done {
            let key = &work.sealed.envelope().key;
            let state = |(rule, value): (&String, &String)| StateRecord::new(rule, key, value, now);
            change.states.extend(acted.states.iter().map(state));
        }
        change.joining = joining(&queues, epoch(now), &queued);
        Ok((change, dropped))
    }

    /// Acting on it failed: it comes again, or becomes a dead letter.
    pub async fn failed(&mut self, now: Timestamp, work: &Work, detail: &str) -> Result<(), Error> {
        let tries = work.tries + 1;
        let id = work.sealed.envelope().id.clone();
        let (Some(row), Some(pause)) = (work.row(), PAUSES.get(work.tries as usize)) else {
            return self.give_up(now, work, detail).await;
        };
        warn!(%id, tries, detail, "acting on an envelope failed");
        self.counts.add(What::Handled, "here", "again", 1);
        let due = now.plus(*pause);
        if self.store.note(&Note::Again { row, tries, due }).await? {
            let held = self.here.held.get_mut(&row.number);
            held.into_iter().for_each(|work| (work.tries, work.perhaps_done, work.due) = (tries, true, due));
        } else {
            self.here.gone(now, work.place);
        }
        Ok(())
    }

    /// Acting on it will never work: it becomes a dead letter, unless it was never written.
    pub async fn give_up(&mut self, now: Timestamp, work: &Work, detail: &str) -> Result<(), Error> {
        let id = work.sealed.envelope().id.clone();
        error!(%id, detail, "gave up acting on an envelope");
        self.counts.add(What::Handled, "here", "dead", 1);
        if work.row().is_some() {
            self.counts.add(What::Dead, "here", Reason::Failed.name(), 1);
        }
        let dead = work.dead(now, Reason::Failed, detail.to_owned());
        self.end(now, work.place, vec![dead]).await
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::relay::envelope::tests::envelope;
    use crate::relay::frame::{Content, Data, Frame, Lane};
    use crate::relay::model::Model;
    use crate::relay::name::{Chain, Pattern};
    use crate::relay::publish::Draft;
    use crate::relay::routes::tests::lonely;
    use crate::relay::routes::{Link, Routes};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn at_once<T>(future: impl Future<Output = Result<T, Error>>) -> T {
        future.now_or_never().expect("the model answers at once").expect("nothing goes wrong")
    }

    impl Work {
        fn number(&self) -> Option<u64> {
            self.row().map(|row| row.number)
        }
    }

    /// A bot without links that has published these topics.
    fn bot(topics: &[&str]) -> Engine<Model> {
        publishing(lonely("hub"), topics)
    }

    fn publishing(routes: Routes, topics: &[&str]) -> Engine<Model> {
        let mut engine = Engine::new(Model::default(), routes, false, 1);
        for (n, topic) in topics.iter().enumerate() {
            let draft = Draft::test(topic, &n.to_string(), NOW);
            engine.publish(NOW, draft).now_or_never().unwrap().unwrap();
        }
        engine
    }

    fn next(engine: &mut Engine<Model>, now: Timestamp) -> Option<Work> {
        at_once(engine.work(now)).into_iter().next()
    }

    #[test]
    fn a_measurement_for_ourselves_is_acted_upon_and_written_nowhere() {
        let mut engine = bot(&["a"]);
        let kept = |engine: &Engine<Model>| {
            let records = engine.store().records();
            (records.envelopes.clone(), records.rows.clone(), records.dead.clone())
        };
        let before = kept(&engine);
        for n in 0..=MEASURED_MAX {
            let draft = Draft { scope: Scope::Local, ..Draft::test("s", &n.to_string(), NOW) };
            let sealed = engine.routes.seal(draft).unwrap();
            engine.measured(NOW, sealed);
        }
        let (mut seen, mut order) = (0, Vec::new());
        loop {
            let works = at_once(engine.work(NOW));
            let Some(first) = works.into_iter().find(|work| work.number().is_none()) else { break };
            order.push(first.place);
            // One that fails is not tried again, and is no dead letter.
            match seen {
                3 => at_once(engine.failed(NOW, &first, "no")),
                _ => at_once(engine.done(NOW, &[(first, Acted::default())])),
            }
            seen += 1;
        }
        assert_eq!(seen, MEASURED_MAX, "the last found no room");
        assert!(order.iter().enumerate().all(|(n, place)| *place == Place::Memory(n as u64)));
        assert_eq!(kept(&engine), before);
        assert_eq!(next(&mut engine, NOW).unwrap().number(), Some(0));
    }

    #[test]
    fn others_go_on_while_one_waits_for_its_next_try() {
        let mut engine = bot(&["a", "b", "a", "b"]);
        let first = next(&mut engine, NOW).unwrap();
        at_once(engine.failed(NOW, &first, "no"));
        let mut order = Vec::new();
        while let Some(work) = next(&mut engine, NOW) {
            order.extend(work.number());
            at_once(engine.done(NOW, &[(work, Acted::default())]));
        }
        assert_eq!(order, [1, 3]);
        let later = NOW.plus(PAUSES[0]);
        assert_eq!(engine.work_at(), Some(later));
        while let Some(work) = next(&mut engine, later) {
            order.extend(work.number());
            at_once(engine.done(later, &[(work, Acted::default())]));
        }
        assert_eq!(order, [1, 3, 0, 2]);
    }

    #[test]
    fn what_fails_again_and_again_becomes_a_dead_letter() {
        let mut engine = bot(&["a", "a"]);
        let (mut now, mut tries) = (NOW, 0);
        while let Some(work) = next(&mut engine, now).filter(|work| work.number() == Some(0)) {
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
        assert_eq!(next(&mut engine, now).unwrap().number(), Some(1), "the next one goes on");
    }

    #[test]
    fn tries_are_counted_over_a_restart() {
        let mut engine = bot(&["a"]);
        let work = next(&mut engine, NOW).unwrap();
        at_once(engine.failed(NOW, &work, "no"));
        let mut engine = Engine::new(engine.store().clone(), lonely("hub"), false, 1);
        assert_eq!(next(&mut engine, NOW), None);
        assert_eq!(next(&mut engine, NOW.plus(PAUSES[0])).unwrap().tries, 1);
    }

    #[test]
    fn what_is_too_old_is_not_acted_upon() {
        let mut engine = bot(&["a"]);
        let later = NOW.plus(crate::relay::routes::EVENT_LIFE);
        assert_eq!(next(&mut engine, later), None);
        assert!(engine.store().records().rows.is_empty());
    }

    #[test]
    fn an_answer_comes_with_the_end_of_its_cause() {
        let mut engine = bot(&["a"]);
        let work = next(&mut engine, NOW).unwrap();
        let answers = [Draft::test("b", "answer", NOW), Draft { depth: 9, ..Draft::test("b", "deep", NOW) }];
        let done = [(work, Acted { answers: answers.to_vec(), ..Acted::default() })];
        at_once(engine.done(NOW, &done));
        let rows = engine.store().records().rows.len();
        at_once(engine.done(NOW, &done));
        assert_eq!((engine.store().records().rows.len(), rows), (1, 1), "somebody else was first");
        assert_eq!(next(&mut engine, NOW).unwrap().number(), Some(1));
        let dead = engine.store().records().dead.clone();
        assert_eq!(dead.len(), 1);
        assert!(dead[0].detail.contains("rules answer each other"), "{}", dead[0].detail);
    }

    #[test]
    fn what_nothing_came_of_ends_with_what_is_taken_next() {
        let plain =
            |works: Vec<Work>| -> Vec<_> { works.into_iter().map(|work| (work, Acted::default())).collect() };
        // Another process of this bot has ended one of them, or nobody has.
        for ended in [None, Some(1)] {
            let (laptop, mut routes) = (BotName::new("laptop").unwrap(), lonely("hub"));
            let link = Link { topics: vec![Pattern::new("**").unwrap()], vouch: false };
            routes.from.insert(laptop.clone(), link);
            let mut engine = publishing(routes, &["a", "b", "c"]);
            let done = plain(at_once(engine.work(NOW)));
            at_once(engine.note_done(NOW, &done));
            assert_eq!(engine.store().records().rows.len(), 3, "it is not written yet");
            assert!(at_once(engine.work(NOW)).is_empty(), "and they are not acted upon again");
            assert_eq!(engine.work_at(), None);
            if let Some(number) = ended {
                engine.store().records().rows.remove(&(Out::Here, number));
            }
            let sealed = Sealed::seal(envelope("laptop", "x")).unwrap();
            let content = Content::Envelope {
                text: sealed.text().to_owned(),
                signature: None,
                path: vec![laptop.clone()],
            };
            let (lane, id, before) = (Lane::Events, sealed.envelope().id.clone(), Chain::start());
            let data = Data { lane, epoch: 1, base: 0, number: 0, before, id, content };
            let now = sealed.envelope().at;
            at_once(engine.hear(now, &laptop, Frame::Data(data)));
            let rows = |engine: &Engine<Model>| -> Vec<_> {
                engine.store().records().rows.keys().map(|(_, number)| *number).collect()
            };
            // What arrived is taken in any case.
            assert_eq!(rows(&engine), if ended.is_none() { vec![3] } else { vec![0, 2, 3] });
            at_once(engine.end_noted(now));
            assert_eq!(rows(&engine), [3]);
            assert_eq!(at_once(engine.work(now)).iter().filter_map(Work::number).collect::<Vec<_>>(), [3]);
        }
    }

    #[test]
    fn what_something_came_of_ends_at_once() {
        let acts = [
            Acted { outside: true, ..Acted::default() },
            Acted { states: BTreeMap::from([("rule".to_owned(), "1".to_owned())]), ..Acted::default() },
            Acted { answers: vec![Draft::test("b", "answer", NOW)], ..Acted::default() },
        ];
        for acted in acts {
            let mut engine = bot(&["a"]);
            let work = next(&mut engine, NOW).unwrap();
            at_once(engine.note_done(NOW, &[(work, acted)]));
            assert!(!engine.store().records().rows.contains_key(&(Out::Here, 0)));
        }
    }

    #[test]
    fn several_end_together_and_one_by_one_where_somebody_else_was_first() {
        let mut engine = bot(&["a", "b", "c", "d", "e"]);
        let works = at_once(engine.work(NOW));
        assert_eq!(works.iter().filter_map(Work::number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let answer = |work: &Work| {
            let answers = vec![Draft::test("x", &format!("answer {:?}", work.number()), NOW)];
            Acted { answers, ..Acted::default() }
        };
        let done: Vec<_> = works.into_iter().map(|work| (work.clone(), answer(&work))).collect();
        // Another process of this bot has acted on one of them.
        engine.store().records().rows.remove(&(Out::Here, 2));
        at_once(engine.done(NOW, &done));
        let left = at_once(engine.work(NOW));
        assert_eq!(left.len(), 4, "an answer of each but the one");
        assert!(left.iter().all(|work| work.number() >= Some(5)));
    }
}
