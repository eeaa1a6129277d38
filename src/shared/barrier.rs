//! `barrier`: nobody goes on before all have arrived.
//!
//! The record holds the set of those who arrived. It is full or it is broken, never both: an arrival needs that
//! it is not broken, and breaking it needs that it is not full. So all pass, or all are told that it is broken.
//! A barrier is used once; rounds are numbered in its name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::shared::hub::{COMBINED_MAX, Hub, Settled};
use crate::shared::items::{self, Barrier, Place};
use crate::shared::{Result, SharedData, SharedError, Who};

/// As many names as one record can hold.
pub const MEMBERS_MAX: usize = 4_096;

/// Everybody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pass {
    pub members: usize,
    /// Of them, how many have withdrawn.
    pub withdrawn: usize,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum BarrierError {
    /// Somebody has waited for too long; nobody passes any more.
    #[error("the barrier is broken: {0}")]
    Broken(String),
    #[error("others wait here for {0} members")]
    OtherSize(usize),
    #[error(transparent)]
    Shared(#[from] SharedError),
}

/// What a caller wants of a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Arrive,
    Withdraw,
    Break,
}

pub struct BarrierJob {
    step: Step,
    who: String,
    size: usize,
    reply: oneshot::Sender<Result<Barrier>>,
}

impl SharedData {
    /// Arrives, and waits until all have. After `within` the barrier is broken, for everybody.
    pub async fn barrier(
        &self,
        name: &str,
        who: &Who,
        size: usize,
        within: Duration,
    ) -> Result<Pass, BarrierError> {
        let place = self.place("barrier/", name)?;
        // Before arriving, so that nothing that happens after it is missed.
        let mut watcher = self.hub.watch(|hub| &hub.barriers, &place);
        let arrived = self.hub.barrier_step(&place, Step::Arrive, who, size).await?;
        if let Some(outcome) = decided(&arrived, size) {
            return outcome;
        }
        let waiting = async {
            loop {
                let seen = watcher.next().await.record;
                if let Some(outcome) = seen.and_then(|barrier| decided(&barrier, size)) {
                    return outcome;
                }
            }
        };
        if let Ok(outcome) = timeout(within, waiting).await {
            return outcome;
        }
        let left = self.hub.barrier_step(&place, Step::Break, who, size).await?;
        decided(&left, size).unwrap_or(Err(BarrierError::Shared(SharedError::Unknown)))
    }

    /// Counts somebody as arrived who will never come: "do not wait for me".
    pub async fn withdraw(&self, name: &str, who: &Who, size: usize) -> Result<()> {
        let place = self.place("barrier/", name)?;
        self.hub.barrier_step(&place, Step::Withdraw, who, size).await.map(|_| ())
    }
}

/// What a barrier is for all, once it is: full or broken.
fn decided(barrier: &Barrier, size: usize) -> Option<Result<Pass, BarrierError>> {
    if let Some(why) = &barrier.broken {
        return Some(Err(BarrierError::Broken(why.clone())));
    }
    if let Some(other) = barrier.size.filter(|other| *other != size) {
        return Some(Err(BarrierError::OtherSize(other)));
    }
    let (members, withdrawn) = (barrier.members.len(), barrier.gone.len());
    (members >= size).then_some(Ok(Pass { members, withdrawn }))
}

impl Hub {
    async fn barrier_step(
        self: &Arc<Self>,
        place: &Place,
        step: Step,
        who: &Who,
        size: usize,
    ) -> Result<Barrier> {
        if !(1..=MEMBERS_MAX).contains(&size) {
            return Err(SharedError::TooLarge { limit: MEMBERS_MAX });
        }
        let (who, (reply, answer)) = (who.checked()?.to_owned(), oneshot::channel());
        if self.barrier_steps.push(place, BarrierJob { step, who, size, reply })? {
            let (hub, place) = (self.clone(), place.clone());
            self.tasks.spawn_job("shared: barrier", async move { hub.work_on_barrier(&place).await });
        }
        answer.await.unwrap_or(Err(SharedError::Unknown))
    }

    async fn work_on_barrier(&self, place: &Place) {
        loop {
            let mut jobs = self.barrier_steps.pull(place, COMBINED_MAX);
            let Some(size) = jobs.first().map(|job| job.size) else { return };
            let others: Vec<_> = jobs.extract_if(.., |job| job.size != size).collect();
            self.step_together(place, size, jobs).await;
            for job in others {
                self.step_together(place, job.size, vec![job]).await;
            }
        }
    }

    /// Writes all arrivals at once, and then breaks the barrier if somebody wants that.
    async fn step_together(&self, place: &Place, size: usize, jobs: Vec<BarrierJob>) {
        let names = |wanted: &[Step]| -> BTreeSet<String> {
            jobs.iter().filter(|job| wanted.contains(&job.step)).map(|job| job.who.clone()).collect()
        };
        let (members, gone) = (names(&[Step::Arrive, Step::Withdraw]), names(&[Step::Withdraw]));
        let mut outcome = Ok(Barrier::default());
        if !members.is_empty() {
            let there =
                |barrier: &Barrier| members.is_subset(&barrier.members) && gone.is_subset(&barrier.gone);
            let update = items::arrive(place, self.now(), size, members.clone(), gone.clone());
            outcome = self.settle_barrier(place, update, there).await;
        }
        if let Some(job) = jobs.iter().find(|job| job.step == Step::Break) {
            let why = format!("{} waited for others in vain", job.who);
            let update = items::break_barrier(place, self.now(), size, why);
            outcome = self.settle_barrier(place, update, |barrier| barrier.broken.is_some()).await;
        }
        for job in jobs {
            // A caller that has gone away needs no answer.
            let _ = job.reply.send(outcome.clone());
        }
    }

    /// The barrier as it is after the write, or as it was when that was refused.
    async fn settle_barrier(
        &self,
        place: &Place,
        update: crate::dynamo::Update<Barrier>,
        ours: impl Fn(&Barrier) -> bool,
    ) -> Result<Barrier> {
        let barrier = match self.settle(place, update, ours).await? {
            Settled::Done(barrier) => barrier,
            Settled::Refused { found, .. } => found.unwrap_or_default(),
        };
        self.barriers.publish(place, Some(barrier.clone()));
        Ok(barrier)
    }
}
