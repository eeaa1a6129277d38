//! A small model of the relay's tables, for simulations of whole fleets: the same steps, and a crash at any of
//! them. A test compares it with the tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dynamo::{Error, WRITES_MAX};
use crate::relay::frame::Lane;
use crate::relay::law::Law;
use crate::relay::link::{InLane, OutLane};
use crate::relay::name::{BotName, EnvelopeId};
use crate::relay::store::{Change, Dead, Kept, Note, Out, Row, Step, Store, Written};

/// Cloning gives another handle to the same records.
#[derive(Clone, Default)]
pub struct Model(Arc<Mutex<Records>>);

#[derive(Clone, Default)]
pub struct Records {
    pub envelopes: BTreeMap<EnvelopeId, Kept>,
    pub rows: BTreeMap<(Out, u64), Row>,
    pub outs: BTreeMap<Out, OutLane>,
    pub ins: BTreeMap<(BotName, Lane), InLane>,
    pub dead: Vec<Dead>,
    /// What was acted upon, in order.
    pub acted: Vec<EnvelopeId>,
    pub crash: Crash,
    pub mutant: Mutant,
}

/// When the process dies.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Crash {
    #[default]
    Never,
    /// At the write after so many others: before it is applied, or when it is.
    At { writes: u32, applied: bool },
    /// Nothing is answered any more.
    Dead,
}

/// A mistake in the protocol, to see whether the simulation finds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    #[default]
    None,
    /// Ids are not remembered.
    Forgetful,
    /// Accepting and handing on are two steps, and the second one may be missed.
    TwoSteps,
    /// A number is used up although nothing was written.
    AckBefore,
}

impl Model {
    pub fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a write, or crashes before or after it.
    fn at<T>(&self, write: impl FnOnce(&mut Records) -> T) -> Result<T, Error> {
        let mut records = self.records();
        match records.crash {
            Crash::Never => Ok(write(&mut records)),
            Crash::Dead => Err(dead()),
            Crash::At { writes: 0, applied } => {
                records.crash = Crash::Dead;
                if applied {
                    write(&mut records);
                }
                Err(dead())
            }
            Crash::At { writes, applied } => {
                records.crash = Crash::At { writes: writes - 1, applied };
                Ok(write(&mut records))
            }
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Records) -> T) -> Result<T, Error> {
        let records = self.records();
        if records.crash == Crash::Dead { Err(dead()) } else { Ok(read(&records)) }
    }
}

fn dead() -> Error {
    Error::Unavailable("the process is dead".into())
}

impl Records {
    fn write(&mut self, change: &Change) -> Written {
        assert!(change.writes() <= WRITES_MAX, "a transaction of {} writes", change.writes());
        if !change.steps.iter().all(|step| self.holds(step)) {
            return Written::Passed;
        }
        let known = |(kept, _): &(Kept, _)| self.envelopes.contains_key(&kept.id);
        if let Some(at) = change.envelopes.iter().position(known)
            && self.mutant != Mutant::Forgetful
        {
            return Written::Known(at);
        }
        for joining in &change.joining {
            if self.outs.get(&joining.out) != joining.known.as_ref()
                && !self.same_end(&joining.out, joining.known.as_ref())
            {
                return Written::Moved;
            }
        }
        self.apply(change);
        Written::Done
    }

    fn holds(&self, step: &Step) -> bool {
        match step {
            Step::Done(rows) => rows.iter().all(|row| self.rows.contains_key(&(Out::Here, row.number))),
            Step::Take(taken) => self.ins.get(&(taken.peer.clone(), taken.lane)).is_some_and(|lane| {
                (lane.epoch == taken.epoch || Law::EpochsTold.is_broken())
                    && (lane.expected == taken.number || Law::NumbersInOrder.is_broken())
            }),
            Step::Revive { .. } => true,
        }
    }

    /// What is settled may have moved since a queue was read.
    fn same_end(&self, out: &Out, known: Option<&OutLane>) -> bool {
        let end = |lane: &OutLane| (lane.epoch, lane.next);
        self.outs.get(out).map(end) == known.map(end)
    }

    fn apply(&mut self, change: &Change) {
        for step in &change.steps {
            match step {
                Step::Done(rows) => {
                    for row in rows {
                        let row = self.rows.remove(&(Out::Here, row.number)).expect("it was there");
                        self.acted.push(row.id);
                    }
                }
                Step::Take(taken) => {
                    let (epoch, expected, chain) = (taken.epoch, taken.next, Some(taken.chain.clone()));
                    self.ins.insert((taken.peer.clone(), taken.lane), InLane { epoch, expected, chain });
                }
                Step::Revive { lane, .. } => self.dead.retain(|dead| dead.lane != *lane),
            }
        }
        if self.mutant == Mutant::AckBefore && !change.steps.is_empty() && self.crash == Crash::Dead {
            return;
        }
        for (kept, _) in &change.envelopes {
            self.envelopes.insert(kept.id.clone(), kept.clone());
        }
        if self.mutant == Mutant::TwoSteps && self.crash == Crash::Dead {
            return;
        }
        for joining in &change.joining {
            let acked = self.outs.get(&joining.out).map_or(0, |lane| lane.acked);
            self.outs.insert(joining.out.clone(), OutLane { acked, ..joining.after() });
            for row in joining.rows() {
                self.rows.insert((joining.out.clone(), row.row.number), row);
            }
        }
        self.dead.extend(change.dead.iter().cloned());
    }

    fn note(&mut self, note: &Note) -> bool {
        match note.clone() {
            Note::Adopt { peer, lane, epoch, expected } => {
                let place = (peer, lane);
                let newer = self.ins.get(&place).is_none_or(|lane| lane.epoch < epoch);
                if newer {
                    self.ins.insert(place, InLane { epoch, expected, chain: None });
                }
                newer
            }
            Note::Behind { peer, lane, epoch, expected } => {
                let behind = |lane: &&mut InLane| lane.epoch == epoch && lane.expected < expected;
                let lane = self.ins.get_mut(&(peer, lane)).filter(behind);
                lane.map(|lane| *lane = InLane { epoch, expected, chain: None }).is_some()
            }
            Note::Acked { out, epoch, acked } => {
                let further = |lane: &&mut OutLane| lane.epoch == epoch && lane.acked < acked;
                self.outs.get_mut(&out).filter(further).map(|lane| lane.acked = acked).is_some()
            }
            Note::Renew { out, old, new } => {
                let lane = self.outs.get_mut(&out).filter(|lane| lane.epoch == old);
                lane.map(|lane| lane.epoch = new).is_some()
            }
            Note::Again { row, tries, due } => {
                let row = self.rows.get_mut(&(Out::Here, row.number)).filter(|row| row.tries < tries);
                row.map(|row| (row.tries, row.due) = (tries, due)).is_some()
            }
            Note::Seen { .. } => true,
            Note::Skip { out, row, reason } => {
                self.rows.get_mut(&(out, row.number)).map(|row| row.skip = Some(reason)).is_some()
            }
        }
    }
}

impl Store for Model {
    async fn write(&self, change: &Change) -> Result<Written, Error> {
        self.at(|records| records.write(change))
    }

    async fn note(&self, note: &Note) -> Result<bool, Error> {
        self.at(|records| records.note(note))
    }

    async fn out_lane(&self, out: &Out) -> Result<Option<OutLane>, Error> {
        self.read(|records| records.outs.get(out).cloned())
    }

    async fn in_lane(&self, peer: &BotName, lane: Lane) -> Result<Option<InLane>, Error> {
        self.read(|records| records.ins.get(&(peer.clone(), lane)).cloned())
    }

    async fn rows(&self, out: &Out, from: u64, limit: u32) -> Result<Vec<Row>, Error> {
        let range = (out.clone(), from)..=(out.clone(), u64::MAX);
        self.read(|records| {
            let rows = records.rows.range(range).map(|(_, row)| row);
            let last =
                rows.clone().nth(limit.saturating_sub(1) as usize).map_or(u64::MAX, |row| row.row.first);
            rows.take_while(|row| row.row.first <= last).cloned().collect()
        })
    }

    async fn kept_all(&self, ids: &[EnvelopeId]) -> Result<BTreeMap<EnvelopeId, Kept>, Error> {
        let found = |records: &Records| {
            ids.iter().filter_map(|id| Some((id.clone(), records.envelopes.get(id)?.clone()))).collect()
        };
        self.read(found)
    }
}
