//! [`Hub`]: what all handles in one process have in common, so that the store sees processes and not bots.
//!
//! - [`Lanes`]: requests for the same key queue up, and one task works them off. A lane is there as long as
//!   its task is; nothing is kept for a key that nobody uses.
//! - [`Watches`]: one poller for each key that somebody waits for, whatever their number. A local write wakes
//!   local waiters without a read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use crate::clock::Timestamp;
use crate::dynamo::{Dynamo, Table, Tried, Update};
use crate::shared::barrier::BarrierJob;
use crate::shared::cells::{ChangeJob, SumJob};
use crate::shared::create::CreateJob;
use crate::shared::deal::List;
use crate::shared::hold::HoldJob;
use crate::shared::items::{Barrier, Cell, Holders, Lock, Place};
use crate::shared::lease::{LockJob, Pace};
use crate::shared::stats::Book;
use crate::shared::{Result, RunConfig, SharedError, SharedOptions, Space};
use crate::tasks::Tasks;

/// Keys with local state in one process: queues, pollers, versions written. Idle ones are dropped.
pub const KEYS_MAX: usize = 10_000;

/// Changes of one key that are written together: few enough that one of them that fails is found quickly.
pub const COMBINED_MAX: usize = 64;

/// How often a write is sent again, on top of the SDK, to find out what became of it.
const SENDINGS_MAX: u32 = 4;

/// An eventually consistent read is current after this; DynamoDB needs a second at most.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

pub struct Hub {
    pub dynamo: Dynamo,
    pub tasks: Tasks,
    pub options: SharedOptions,
    chance: Mutex<StdRng>,
    /// By length, of which there are few.
    last_until: Mutex<BTreeMap<Duration, i64>>,
    written: Mutex<Written>,
    pub changes: Lanes<ChangeJob>,
    pub sums: Lanes<SumJob>,
    pub creations: Lanes<CreateJob>,
    pub locks: Lanes<LockJob>,
    pub holds: Lanes<HoldJob>,
    pub barrier_steps: Lanes<BarrierJob>,
    pub lists: Mutex<HashMap<Place, Arc<List>>>,
    pub configs: Mutex<BTreeMap<Space, Arc<RunConfig>>>,
    pub paces: Mutex<HashMap<Place, Pace>>,
    pub cells: Watches<Cell>,
    pub lock_records: Watches<Lock>,
    pub barriers: Watches<Barrier>,
    pub holders: Watches<Holders>,
    pub book: Book,
}

impl Hub {
    pub fn new(dynamo: Dynamo, tasks: Tasks, options: SharedOptions) -> Self {
        let chance = options.seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        Self {
            dynamo,
            tasks,
            options,
            chance: Mutex::new(chance),
            last_until: Mutex::default(),
            written: Mutex::default(),
            changes: Lanes::default(),
            sums: Lanes::default(),
            creations: Lanes::default(),
            locks: Lanes::default(),
            holds: Lanes::default(),
            barrier_steps: Lanes::default(),
            lists: Mutex::default(),
            configs: Mutex::default(),
            paces: Mutex::default(),
            cells: Watches::default(),
            lock_records: Watches::default(),
            barriers: Watches::default(),
            holders: Watches::default(),
            book: Book::default(),
        }
    }

    pub fn now(&self) -> Timestamp {
        self.dynamo.now()
    }

    /// What has ended before this time has ended on every host.
    pub fn late(&self) -> Timestamp {
        self.now().minus(self.options.max_skew)
    }

    /// 96 random bits: no two writes have the same.
    pub fn nonce(&self) -> String {
        let mut chance = locked(&self.chance);
        format!("{:08x}{:016x}", chance.random::<u32>(), chance.random::<u64>())
    }

    /// The end of a lease that begins now. No two of one length are equal in this process, so that an end also
    /// tells which acquisition or renewal it belongs to.
    pub fn until(&self, ttl: Duration) -> i64 {
        let mut lasts = locked(&self.last_until);
        let last = lasts.entry(ttl).or_insert(0);
        *last = self.now().plus(ttl).millis().max(*last + 1);
        *last
    }

    /// A pause between `from` and `to`.
    pub fn between(&self, from: Duration, to: Duration) -> Duration {
        let share = locked(&self.chance).random_range(0.0..=1.0);
        from + to.saturating_sub(from).mul_f64(share)
    }

    /// Lets others go first, longer with every round.
    pub async fn give_way(&self, round: u32) {
        let (base, most) = self.options.poll;
        let longest = base.saturating_mul(1 << round.min(10)).min(most);
        sleep(self.between(Duration::ZERO, longest)).await;
    }

    /// Sends a write that is harmless to repeat until it is known what became of it. `ours` recognises it in
    /// what a refusal shows.
    pub async fn settle<T: Table<Key = (String, String)> + Clone>(
        &self,
        place: &Place,
        update: Update<T>,
        ours: impl Fn(&T) -> bool,
    ) -> Result<Settled<T>> {
        let mut doubt = false;
        for round in 0..SENDINGS_MAX {
            match self.dynamo.try_upsert(place.key(), update.clone()).await {
                Ok(Tried::Applied(record)) => return Ok(Settled::Done(record)),
                Ok(Tried::Refused { found: Some(found), .. }) if ours(&found) => {
                    return Ok(Settled::Done(found));
                }
                Ok(Tried::Refused { found, doubtful }) => {
                    return Ok(Settled::Refused { found, doubtful: doubt || doubtful });
                }
                Err(error) if error.is_uncertain() => doubt = true,
                Err(error) if !doubt => return Err(error.into()),
                // An earlier sending is still in doubt, whatever became of this one.
                Err(_) => {}
            }
            self.give_way(round).await;
        }
        Err(SharedError::Unknown)
    }

    /// Notes that this process has written a cell, and wakes those who wait for it.
    pub fn wrote(&self, place: &Place, cell: &Cell) {
        locked(&self.written).note(place, cell.version);
        self.cells.publish(place, Some(cell.clone()));
    }

    /// Reads a cell as it was a moment ago, but never as it was before this process last wrote it.
    pub async fn glance(&self, place: &Place) -> Result<Option<Cell>> {
        let least = locked(&self.written).version(place);
        if let Some(least) = least {
            let cell: Option<Cell> = self.dynamo.get_eventually(place.key()).await?;
            if cell.as_ref().map_or(0, |cell| cell.version) >= least {
                return Ok(cell);
            }
        }
        self.look(place).await
    }

    /// Reads a record as it is.
    pub async fn look<T: Table<Key = (String, String)>>(&self, place: &Place) -> Result<Option<T>> {
        Ok(self.dynamo.get(place.key()).await?)
    }

    /// Reads a record for what never changes in it once it is there: at half the price, and again if that is too
    /// early.
    pub async fn look_cheaply<T: Table<Key = (String, String)>>(&self, place: &Place) -> Result<Option<T>> {
        match self.dynamo.get_eventually(place.key()).await? {
            Some(record) => Ok(Some(record)),
            None => self.look(place).await,
        }
    }
}

pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of a write.
pub enum Settled<T> {
    Done(T),
    /// Not written by the last sending; doubtful: maybe by an earlier one, and written over since.
    Refused {
        found: Option<T>,
        doubtful: bool,
    },
}

/// The versions that this process has written lately.
#[derive(Default)]
struct Written {
    versions: HashMap<Place, (u64, Instant)>,
    /// There were too many to remember: until then every read is a strong one.
    overflow_until: Option<Instant>,
}

impl Written {
    fn note(&mut self, place: &Place, version: u64) {
        let now = Instant::now();
        if self.versions.len() >= KEYS_MAX && !self.versions.contains_key(place) {
            self.versions.retain(|_, (_, at)| now.duration_since(*at) < SETTLED_AFTER);
            if self.versions.len() >= KEYS_MAX {
                self.overflow_until = Some(now + SETTLED_AFTER);
                return;
            }
        }
        let noted = self.versions.entry(place.clone()).or_insert((0, now));
        *noted = (noted.0.max(version), now);
    }

    /// The least version that a read may show; `None`: nobody knows any more.
    fn version(&self, place: &Place) -> Option<u64> {
        match self.overflow_until {
            Some(until) if Instant::now() < until => None,
            _ => Some(self.versions.get(place).map_or(0, |(version, _)| *version)),
        }
    }
}

/// Queues of jobs by key. A lane is there exactly as long as a task works on it.
pub struct Lanes<J>(Mutex<HashMap<Place, Lane<J>>>);

struct Lane<J> {
    jobs: VecDeque<J>,
    arrived: Arc<Notify>,
}

impl<J> Lane<J> {
    fn take(&mut self, most: usize) -> Vec<J> {
        self.jobs.drain(..self.jobs.len().min(most)).collect()
    }
}

impl<J> Default for Lanes<J> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<J> Lanes<J> {
    /// Queues a job. `true`: the lane is new, and the caller starts the task that works on it.
    pub fn push(&self, place: &Place, job: J) -> Result<bool> {
        let mut lanes = locked(&self.0);
        if let Some(lane) = lanes.get_mut(place) {
            lane.jobs.push_back(job);
            lane.arrived.notify_one();
            return Ok(false);
        }
        if lanes.len() >= KEYS_MAX {
            return Err(SharedError::TooLarge { limit: KEYS_MAX });
        }
        lanes.insert(place.clone(), Lane { jobs: VecDeque::from([job]), arrived: Arc::default() });
        Ok(true)
    }

    /// The next jobs. None left: the lane is gone, and its task ends.
    pub fn pull(&self, place: &Place, most: usize) -> Vec<J> {
        let mut lanes = locked(&self.0);
        let jobs = lanes.get_mut(place).map_or_else(Vec::new, |lane| lane.take(most));
        if jobs.is_empty() {
            lanes.remove(place);
        }
        jobs
    }

    /// The next jobs, for a task that has work left in any case.
    pub fn more(&self, place: &Place, most: usize) -> Vec<J> {
        locked(&self.0).get_mut(place).map_or_else(Vec::new, |lane| lane.take(most))
    }

    /// How many jobs wait.
    pub fn waiting(&self, place: &Place) -> usize {
        locked(&self.0).get(place).map_or(0, |lane| lane.jobs.len())
    }

    /// How many jobs wait for any key.
    pub fn all_waiting(&self) -> usize {
        locked(&self.0).values().map(|lane| lane.jobs.len()).sum()
    }

    /// Whether a task works on this key.
    pub fn is_busy(&self, place: &Place) -> bool {
        locked(&self.0).contains_key(place)
    }

    /// Tells the task of a lane that a job has arrived.
    pub fn arrived(&self, place: &Place) -> Arc<Notify> {
        locked(&self.0).get(place).map(|lane| lane.arrived.clone()).unwrap_or_default()
    }
}

/// A record as somebody in this process has last seen it.
#[derive(Clone, Debug)]
pub struct Seen<T> {
    pub record: Option<Arc<T>>,
    /// When the read was sent, or the write was answered.
    pub at: Instant,
    /// By a strongly consistent read, or by writing it.
    pub strong: bool,
}

/// The records that somebody waits for.
pub struct Watches<T>(Mutex<HashMap<Place, Watched<T>>>);

impl<T> Default for Watches<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

struct Watched<T> {
    seen: watch::Sender<Option<Seen<T>>>,
    ask: Arc<Notify>,
}

/// One who waits for a record.
pub struct Watcher<T> {
    seen: watch::Receiver<Option<Seen<T>>>,
    ask: Arc<Notify>,
}

impl<T: Clone> Watcher<T> {
    /// What is seen next, or what was seen since the last call.
    pub async fn next(&mut self) -> Seen<T> {
        loop {
            // The poller lives as long as there is a watcher.
            let _ = self.seen.changed().await;
            if let Some(seen) = self.seen.borrow_and_update().clone() {
                return seen;
            }
        }
    }

    /// Asks for a strongly consistent read, soon and once for all who ask.
    pub fn ask(&self) {
        self.ask.notify_one();
    }
}

/// How far a record has come: an older sight never replaces a newer one.
pub trait Progress {
    fn progress(&self) -> u64;
}

impl Progress for Cell {
    fn progress(&self) -> u64 {
        self.version
    }
}

impl Progress for Lock {
    fn progress(&self) -> u64 {
        self.fence
    }
}

impl Progress for Barrier {
    fn progress(&self) -> u64 {
        (self.members.len() + self.gone.len()) as u64 + u64::from(self.broken.is_some())
    }
}

impl Progress for Holders {
    /// Holders come and go: the last sight counts.
    fn progress(&self) -> u64 {
        0
    }
}

/// How long the same pair of fence and end was seen. Who has watched a lease for its whole length without a
/// renewal knows that it has ended, whatever the clocks say.
#[derive(Default)]
pub struct Sight {
    pair: Option<(u64, i64)>,
    since: Option<Instant>,
}

impl Sight {
    /// Notes what was just seen.
    pub fn note(&mut self, pair: Option<(u64, i64)>) {
        if self.pair != pair {
            *self = Self { pair, since: Some(Instant::now()) };
        }
    }

    /// The pair, if it has been there for the length of its lease.
    pub fn ended(&self, lease_ms: u64) -> Option<(u64, i64)> {
        let watched = self.since?.elapsed();
        self.pair.filter(|_| watched >= Duration::from_millis(lease_ms))
    }
}

impl<T: Progress> Watches<T> {
    /// Tells the waiters what a write has made of a record.
    pub fn publish(&self, place: &Place, record: Option<T>) {
        if let Some(watched) = locked(&self.0).get(place) {
            watched.show(Seen { record: record.map(Arc::new), at: Instant::now(), strong: true });
        }
    }
}

impl<T: Progress> Watched<T> {
    fn show(&self, new: Seen<T>) {
        self.seen.send_if_modified(|old| {
            let progress = |seen: &Seen<T>| seen.record.as_ref().map_or(0, |record| record.progress());
            let newer = new.strong || old.as_ref().is_none_or(|old| progress(&new) >= progress(old));
            if newer {
                *old = Some(new);
            } else if let Some(old) = old {
                // Read after all, even if from a copy that is behind.
                old.strong = false;
            }
            true
        });
    }
}

impl Hub {
    /// Waits for a record, together with all who do.
    pub fn watch<T>(self: &Arc<Self>, of: fn(&Self) -> &Watches<T>, place: &Place) -> Watcher<T>
    where
        T: Table<Key = (String, String)> + Progress + Clone,
    {
        let mut watches = locked(&of(self).0);
        let known = watches.get(place);
        let watched = known.map(|watched| (watched.seen.subscribe(), watched.ask.clone()));
        let (mut seen, ask) = watched.unwrap_or_else(|| {
            let (sender, seen) = watch::channel(None);
            let ask = Arc::new(Notify::new());
            watches.insert(place.clone(), Watched { seen: sender, ask: ask.clone() });
            let (hub, place) = (self.clone(), place.clone());
            let poller = async move { hub.poll(of, &place).await };
            self.tasks.spawn_job("shared: poll", poller);
            (seen, ask)
        });
        seen.mark_changed();
        Watcher { seen, ask }
    }

    async fn poll<T>(self: Arc<Self>, of: fn(&Self) -> &Watches<T>, place: &Place)
    where
        T: Table<Key = (String, String)> + Progress + Clone,
    {
        let (base, most) = self.options.poll;
        let (mut pause, mut strong) = (base, false);
        let Some(ask) = locked(&of(&self).0).get(place).map(|watched| watched.ask.clone()) else { return };
        loop {
            let at = Instant::now();
            let read = match strong {
                true => self.dynamo.get::<T>(place.key()).await,
                false => self.dynamo.get_eventually::<T>(place.key()).await,
            };
            {
                let mut watches = locked(&of(&self).0);
                let Some(watched) = watches.get(place) else { return };
                // A store that does not answer shows nothing: whoever waits goes on waiting.
                if let Ok(record) = read {
                    watched.show(Seen { record: record.map(Arc::new), at, strong });
                }
                if watched.seen.receiver_count() == 0 {
                    watches.remove(place);
                    return;
                }
            }
            // Never shorter than the last one, so that a long wait stays cheap.
            pause = self.between(pause, pause * 3).min(most);
            tokio::select! {
                biased;
                () = ask.notified() => strong = true,
                () = sleep(pause) => strong = false,
            }
        }
    }
}
