//! The scheduler: hands what is due to the feature whose job it is.
//!
//! Any instance may look for what comes due, and several may at once: a job takes what it needs for itself, and
//! what it cannot finish stays due. Where instances know of each other, the first of them does
//! ([`crate::context::Duty`]). [`Scheduler::ahead`] reads the next minute every few seconds; [`Scheduler::behind`]
//! looks after the hours that have gone, from the first that may hold something. That hour is noted, so that
//! after a long stop nothing is overlooked and nothing is read for nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::clock::Timestamp;
use crate::commands::ALL;
use crate::context::{Feature, Job, Progress, Services};
use crate::due::{Due, Note, hour, start_of};
use crate::dynamo::{self, Column, Condition, Dynamo, Query, TableSpec, Update};

pub const FEATURE: Feature = Feature {
    name: "due",
    tables: &[TableSpec::of::<Due>(), TableSpec::of::<Note>()],
    background: Some(|services, shutdown| Box::pin(run(services, shutdown))),
    ..Feature::EMPTY
};

/// How often the near future is read, and how much of it.
const AHEAD_EVERY: Duration = Duration::from_secs(5);
const AHEAD: Duration = Duration::from_secs(60);

/// How often the past is looked after.
const BEHIND_EVERY: Duration = Duration::from_secs(60);

/// Hours that are always read again: clocks differ, and what is written late is not overlooked.
const SLACK: Duration = Duration::from_secs(3 * 3_600);

/// When a job is tried again whose store did not answer.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// Jobs at work at once. Discord takes 5 messages in 5 seconds for one channel: with 16 for the same channel
/// the last one still goes out well within its lease.
const AT_ONCE: usize = 16;

/// Found and not yet at work; when it is full, reading waits.
const FOUND_MAX: usize = 1_000;

/// How long jobs at work may go on when the bot stops; what is not finished then stays due.
const DRAIN: Duration = Duration::from_secs(3);

/// The first hour that may hold something, as [`Note`].
const CURSOR: &str = "mneme/due";
const VALUE: Column<Note, String> = Column::new("value");
const UPDATED_AT: Column<Note, Timestamp> = Column::new("updated_at");

async fn run(services: Arc<Services>, shutdown: CancellationToken) {
    let (found, due) = mpsc::channel(FOUND_MAX);
    let scheduler = Scheduler { dynamo: services.dynamo.clone(), found };
    let looking = async {
        let both = || async {
            tokio::join!(scheduler.ahead(), scheduler.behind());
        };
        shutdown.run_until_cancelled(services.duty.whenever(both)).await;
    };
    tokio::join!(looking, work(&services, due, &shutdown));
}

struct Scheduler {
    dynamo: Dynamo,
    found: mpsc::Sender<Due>,
}

impl Scheduler {
    async fn ahead(&self) {
        let mut ticks = interval(AHEAD_EVERY);
        loop {
            ticks.tick().await;
            if let Err(error) = self.look_ahead().await {
                warn!(error = &error as &dyn std::error::Error, "what is due could not be read");
            }
        }
    }

    async fn look_ahead(&self) -> Result<(), dynamo::Error> {
        let now = self.dynamo.now();
        let end = now.plus(AHEAD);
        let (this, next) = (hour(now), hour(end));
        self.hand_over(upcoming(&self.dynamo, &this, end).await?).await;
        if next != this {
            self.hand_over(upcoming(&self.dynamo, &next, end).await?).await;
        }
        Ok(())
    }

    async fn behind(&self) {
        let mut ticks = interval(BEHIND_EVERY);
        let mut cursor = None;
        loop {
            ticks.tick().await;
            match self.look_behind(&mut cursor).await {
                Ok(()) => {}
                Err(error) => {
                    warn!(error = &error as &dyn std::error::Error, "what was due could not be read");
                    ticks.reset_after(AFTER_FAILURE);
                }
            }
        }
    }

    /// Reads every hour that is over and may hold something, and moves the cursor past those that are empty.
    async fn look_behind(&self, cursor: &mut Option<Timestamp>) -> Result<(), dynamo::Error> {
        let now = self.dynamo.now();
        let oldest = start_of(&hour(now.minus(SLACK))).unwrap_or(now);
        let noted = match *cursor {
            Some(noted) => noted,
            None => self.noted().await?.unwrap_or(oldest),
        };
        *cursor = Some(noted);
        let mut first_held = None;
        let mut time = noted.min(oldest);
        while hour(time) < hour(now) {
            let due = upcoming(&self.dynamo, &hour(time), now).await?;
            if !due.is_empty() {
                first_held.get_or_insert(time);
            }
            self.hand_over(due).await;
            time = time.plus(Duration::from_secs(3_600));
        }
        let reached = first_held.map_or(oldest, |held| held.min(oldest));
        if reached > noted {
            self.note(reached).await?;
            *cursor = Some(reached);
        }
        Ok(())
    }

    async fn hand_over(&self, due: Vec<Due>) {
        for due in due {
            // The receiver is there as long as anything runs here.
            let _ = self.found.send(due).await;
        }
    }

    async fn noted(&self) -> Result<Option<Timestamp>, dynamo::Error> {
        let note: Option<Note> = self.dynamo.get(CURSOR.to_owned()).await?;
        match note {
            Some(note) => Ok(note.value.and_then(|hour| start_of(&hour))),
            None => {
                let now = self.dynamo.now();
                self.note(now.minus(SLACK)).await?;
                Ok(None)
            }
        }
    }

    /// It never goes back: another instance may have come further.
    async fn note(&self, reached: Timestamp) -> Result<(), dynamo::Error> {
        let value = hour(reached);
        let later = Condition::has(VALUE).not().or(Condition::less(VALUE, value.clone()));
        let update = Update::new().set(VALUE, value).set(UPDATED_AT, self.dynamo.now()).when(later);
        match self.dynamo.upsert(CURSOR.to_owned(), update).await {
            // Writing it twice is writing it once.
            Ok(_) | Err(dynamo::Error::Uncertain(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What an hour holds that is due until then.
async fn upcoming(dynamo: &Dynamo, hour: &str, until: Timestamp) -> Result<Vec<Due>, dynamo::Error> {
    let query = Query::<Due>::of(hour.to_owned()).at_most(format!("{until}~"));
    dynamo.query_all(query.eventually()).await
}

/// Runs jobs at their time, each once at a time.
async fn work(services: &Arc<Services>, mut due: mpsc::Receiver<Due>, shutdown: &CancellationToken) {
    let (slots, armed) = (Semaphore::new(AT_ONCE), Armed::default());
    let mut working = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(due) = due.recv() => {
                if armed.arm(&due) {
                    working.push(see_to(services, due, &slots, &armed, shutdown));
                }
            }
            Some(()) = working.next() => {}
            () = shutdown.cancelled() => break,
        }
    }
    if timeout(DRAIN, async { while working.next().await.is_some() {} }).await.is_err() {
        warn!("stopping in the middle of something that is due; it will be taken up again");
    }
}

/// Waits for the time of one record, does what it asks for, and keeps it from being done anew too early.
async fn see_to(
    services: &Arc<Services>,
    due: Due,
    slots: &Semaphore,
    armed: &Armed,
    shutdown: &CancellationToken,
) {
    let clock = &services.clock;
    let until = |at: Timestamp| shutdown.run_until_cancelled(sleep(at.since(clock.now())));
    let again = async {
        until(due.time()?).await?;
        let _slot = slots.acquire().await.ok()?;
        if shutdown.is_cancelled() {
            return None;
        }
        match start(services, &due)?.await {
            Ok(Progress::Done) => None,
            Ok(Progress::Again(at)) => Some(at),
            Err(error) => {
                error!(kind = due.kind, error = &error as &dyn std::error::Error, "a job failed");
                Some(clock.now().plus(AFTER_FAILURE))
            }
        }
    };
    if let Some(at) = again.await {
        until(at).await;
    }
    armed.disarm(&due);
}

fn start(services: &Arc<Services>, due: &Due) -> Option<BoxFuture<'static, Result<Progress, dynamo::Error>>> {
    let job = jobs().find(|job| job.kind == due.kind);
    if job.is_none() {
        // A newer version may know it; it stays.
        warn!(kind = due.kind, "nobody knows what to do with something that is due");
    }
    Some((job?.run)(services.clone(), due.clone()))
}

fn jobs() -> impl Iterator<Item = &'static Job> {
    ALL.iter().flat_map(|feature| feature.jobs)
}

/// What this process has taken note of, so that finding it again changes nothing.
#[derive(Default)]
struct Armed(Mutex<HashSet<(String, String)>>);

impl Armed {
    fn arm(&self, due: &Due) -> bool {
        self.set().insert((due.hour.clone(), due.at.clone()))
    }

    fn disarm(&self, due: &Due) {
        self.set().remove(&(due.hour.clone(), due.at.clone()));
    }

    fn set(&self) -> std::sync::MutexGuard<'_, HashSet<(String, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::dynamo::testing::embedded_at;

    async fn scheduler(now: &str) -> (Scheduler, mpsc::Receiver<Due>, Clock) {
        let clock = Clock::manual(Timestamp::parse(now).unwrap());
        let dynamo = embedded_at(FEATURE.tables, clock.clone()).await;
        let (found, due) = mpsc::channel(FOUND_MAX);
        (Scheduler { dynamo, found }, due, clock)
    }

    async fn add(scheduler: &Scheduler, at: &str) {
        let due = Due::new(Timestamp::parse(at).unwrap(), "test", at);
        scheduler.dynamo.put(&due).await.unwrap();
    }

    fn heard(due: &mut mpsc::Receiver<Due>) -> Vec<String> {
        std::iter::from_fn(|| due.try_recv().ok()).map(|due| due.time().unwrap().to_string()).collect()
    }

    #[tokio::test]
    async fn the_next_minute_is_found_also_when_an_hour_ends_in_it() {
        let (scheduler, mut due, _) = scheduler("2026-05-01T14:59:30Z").await;
        for at in
            ["2026-05-01T14:10:00Z", "2026-05-01T14:59:59Z", "2026-05-01T15:00:30Z", "2026-05-01T15:00:31Z"]
        {
            add(&scheduler, at).await;
        }
        scheduler.look_ahead().await.unwrap();
        assert_eq!(heard(&mut due), ["2026-05-01T14:10:00Z", "2026-05-01T14:59:59Z", "2026-05-01T15:00:30Z"]);
    }

    #[tokio::test]
    async fn hours_in_which_nothing_is_left_are_left_behind_for_good() {
        let (scheduler, mut due, clock) = scheduler("2026-05-01T14:30:00Z").await;
        let mut cursor = None;
        scheduler.look_behind(&mut cursor).await.unwrap();
        assert_eq!(scheduler.noted().await.unwrap(), start_of("2026-05-01T11"));
        add(&scheduler, "2026-05-01T20:00:00Z").await;
        // The bot is away for days.
        clock.advance(Duration::from_secs(3 * 86_400));
        let mut cursor = None;
        scheduler.look_behind(&mut cursor).await.unwrap();
        assert_eq!(heard(&mut due), ["2026-05-01T20:00:00Z"]);
        assert_eq!(scheduler.noted().await.unwrap(), start_of("2026-05-01T20"), "it is not done yet");
        scheduler.look_behind(&mut cursor).await.unwrap();
        assert_eq!(heard(&mut due).len(), 1, "and is found again until it is");
        let done =
            Due::new(Timestamp::parse("2026-05-01T20:00:00Z").unwrap(), "test", "2026-05-01T20:00:00Z");
        scheduler.dynamo.delete::<Due>((done.hour, done.at)).await.unwrap();
        scheduler.look_behind(&mut cursor).await.unwrap();
        assert_eq!(scheduler.noted().await.unwrap(), start_of("2026-05-04T11"));
        scheduler.note(Timestamp::parse("2026-05-02T00:00:00Z").unwrap()).await.unwrap();
        assert_eq!(scheduler.noted().await.unwrap(), start_of("2026-05-04T11"), "it never goes back");
    }
}
