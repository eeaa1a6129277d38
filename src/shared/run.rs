//! Identity and configuration: ids that are never used again, slots that are, and what a run is to do.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::dynamo::{Condition, Tried, Update};
use crate::shared::hub::locked;
use crate::shared::items::{Config, ID_NEXT, Ids, Place, Steps};
use crate::shared::lease::{Lease, LeaseError, LeaseOptions, Released};
use crate::shared::{Expect, Result, SharedData, SharedError, Space, typed};

/// How old the installation's configuration may be. It costs a read each time.
const REFRESH_EVERY: Duration = Duration::from_secs(10);

/// Operators who change it at the same moment; more of them are a loop somewhere.
const CHANGES_MAX: u32 = 5;

/// A number below some maximum that nobody else has, as long as it is held.
pub struct Slot {
    pub number: u32,
    lease: Lease,
}

impl Slot {
    pub fn is_valid(&self) -> bool {
        self.lease.is_valid()
    }

    pub fn valid_until(&self) -> Instant {
        self.lease.valid_until()
    }

    /// Resolves when the slot is somebody else's: nothing may be written under its number any more.
    pub async fn lost(&self) {
        self.lease.lost().await;
    }

    pub async fn release(self) -> Released {
        self.lease.release().await
    }
}

/// Configuration as it was when it was last read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunConfig(BTreeMap<String, Value>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("no `{key}`{}", nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default())]
    Absent { key: String, nearest: Option<String> },
    #[error("`{key}` is of another type: {found}")]
    WrongType { key: String, found: String },
}

impl RunConfig {
    /// A setting, if there is one.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let wrong = |_| ConfigError::WrongType { key: key.to_owned(), found: value.to_string() };
        T::deserialize(value).map(Some).map_err(wrong)
    }

    /// A setting that must be there; one that is not names what comes nearest to it.
    pub fn require<T: DeserializeOwned>(&self, key: &str) -> Result<T, ConfigError> {
        self.get(key)?.ok_or_else(|| ConfigError::Absent { key: key.to_owned(), nearest: self.nearest(key) })
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let distance = |name: &&String| strsim::damerau_levenshtein(name, key);
        // Half of it may be wrong: `app_id` for `run_id`.
        self.0.keys().min_by_key(distance).filter(|name| distance(name) * 2 <= key.len().max(2)).cloned()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl From<BTreeMap<String, Value>> for RunConfig {
    fn from(values: BTreeMap<String, Value>) -> Self {
        Self(values)
    }
}

impl SharedData {
    fn own_place(&self, name: &str) -> Place {
        Place::new(self.space(), name.to_owned())
    }

    /// An id that no bot of this space has had. The first is 0; there may be gaps.
    pub async fn next_bot_id(&self) -> Result<u64> {
        self.ids_block(1).await.map(|ids| ids.start)
    }

    /// Several of them at the price of one.
    pub async fn ids_block(&self, count: u64) -> Result<Range<u64>> {
        let place = self.own_place("ids");
        let update = Update::new().kept(&place, self.hub.now()).add(ID_NEXT, count);
        // An attempt whose reply was lost leaves a gap.
        match self.hub.dynamo.try_upsert::<Ids>(place.key(), update).await? {
            Tried::Applied(ids) => Ok(ids.next.saturating_sub(count)..ids.next),
            Tried::Refused { .. } => Err(SharedError::Unknown),
        }
    }

    /// The lowest number below `max` that nobody holds.
    pub async fn slot(&self, max: u32) -> Result<Slot, LeaseError> {
        self.slot_in(0..max, LeaseOptions::default()).await
    }

    /// The lowest of these numbers that nobody holds. It is kept as long as it is held, however long that is.
    pub async fn slot_in(&self, numbers: Range<u32>, options: LeaseOptions) -> Result<Slot, LeaseError> {
        self.number("slot", numbers, options).await
    }

    /// The same among the numbers of another kind.
    pub async fn number(
        &self,
        kind: &str,
        numbers: Range<u32>,
        options: LeaseOptions,
    ) -> Result<Slot, LeaseError> {
        let options = LeaseOptions { max_hold: Some(Duration::MAX), ..options.checked()? };
        let give_up = Instant::now() + options.wait;
        loop {
            for number in numbers.clone() {
                if let Some(lease) = self.lock_if_free(&format!("{kind}/{number}"), options).await? {
                    return Ok(Slot { number, lease });
                }
            }
            if Instant::now() >= give_up {
                return Err(LeaseError::Timeout { queue: 0, average_hold: None });
            }
            sleep(self.hub.options.poll.1).await;
        }
    }

    /// The configuration of this space as it was last read: in memory, never a request.
    pub fn config(&self) -> Arc<RunConfig> {
        locked(&self.hub.configs).get(self.space()).cloned().unwrap_or_default()
    }

    /// Reads the configuration of this space.
    pub async fn load_config(&self) -> Result<Arc<RunConfig>> {
        let stored: Option<Config> = self.hub.look(&self.own_place("config")).await?;
        let config = Arc::new(RunConfig(stored.map(|config| config.value).unwrap_or_default()));
        locked(&self.hub.configs).insert(self.space().clone(), config.clone());
        Ok(config)
    }

    /// Writes the configuration. That of a run is written once; `false`: it has another one.
    pub async fn put_config(&self, values: BTreeMap<String, Value>) -> Result<bool> {
        let place = self.own_place("config");
        let config = Config { value: values, ..Config::at(&place, place.expires_at(self.hub.now())) };
        if let Space::Run(id) = self.space() {
            let written = self.hub.dynamo.put_if_absent(&config).await?;
            self.enter_run(id).await?;
            let there: Option<Config> = self.hub.look(&place).await?;
            return Ok(written || there.is_some_and(|there| there.value == config.value));
        }
        self.change_config(|there| there.clone_from(&config.value)).await
    }

    /// Changes the configuration of this space; `false`: others were faster each time. That of a run stays as it is.
    pub async fn change_config(&self, change: impl Fn(&mut BTreeMap<String, Value>)) -> Result<bool> {
        let place = self.own_place("config");
        for _ in 0..CHANGES_MAX {
            let there: Option<Config> = self.hub.look(&place).await?;
            let there = there.unwrap_or_else(|| Config::at(&place, place.expires_at(self.hub.now())));
            let unchanged = match there.version {
                0 => Condition::absent(),
                seen => Condition::equals(crate::shared::items::CONFIG_VERSION, seen),
            };
            let mut config = Config { version: there.version + 1, ..there };
            change(&mut config.value);
            if self.hub.dynamo.put_when(config, unchanged).await?.applied().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts a run on the list of runs.
    async fn enter_run(&self, id: &str) -> Result<()> {
        let started = serde_json::json!({ "started_at": self.hub.now().to_string() });
        let _ = self.in_space(Space::Runs).put_if(id, &started, Expect::Absent).await?;
        Ok(())
    }

    /// Keeps the configuration of this space current, until shutdown; `changed` is told whenever it is another one.
    pub async fn keep_config(self, shutdown: CancellationToken, changed: impl Fn(&RunConfig)) {
        let mut known = self.config();
        while !shutdown.is_cancelled() {
            match shutdown.run_until_cancelled(self.load_config()).await {
                None => return,
                Some(Ok(config)) if config != known => {
                    changed(&config);
                    known = config;
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => warn!(
                    error = &error as &dyn std::error::Error,
                    "the configuration could not be read and stays"
                ),
            }
            shutdown.run_until_cancelled(sleep(REFRESH_EVERY)).await;
        }
    }

    /// A setting of the configuration where no cell has the key.
    pub(super) fn configured<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        self.config().0.get(key).map(typed).transpose()
    }
}
