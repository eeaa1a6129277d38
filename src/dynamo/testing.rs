//! Stores for tests: the real engine, in memory, one for each test.

use std::time::Duration;

use aws_sdk_dynamodb::config::SharedHttpClient;

use crate::clock::Clock;
use crate::dynamo::connect::{Store, StoreConfig, in_process};
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::Faults;
use crate::dynamo::{Dynamo, Patience, TableSpec};

/// Tests do not wait for a store that they took away themselves.
pub(crate) const IMPATIENT: Patience = Patience {
    confirm_for: Duration::from_millis(500),
    backoff: Duration::from_millis(1),
    backoff_max: Duration::from_millis(4),
    ..Patience::DEFAULT
};

/// An empty store with these tables, in this process's memory.
pub async fn embedded(tables: &[TableSpec]) -> Dynamo {
    embedded_at(tables, Clock::system()).await
}

/// The same, with a clock that the test moves: records expire by it.
pub async fn embedded_at(tables: &[TableSpec], clock: Clock) -> Dynamo {
    let engine = engine(tables).await;
    over(&engine, clock, &Faults::new())
}

/// An engine with these tables that answers on the caller's thread, for tests in virtual time that are to run
/// the same way every time.
#[cfg(test)]
pub(crate) async fn engine_at_once(tables: &[TableSpec]) -> Embedded {
    engine(tables).await.at_once()
}

/// An engine with these tables, for several handles to the same records.
pub async fn engine(tables: &[TableSpec]) -> Embedded {
    let engine = Embedded::memory().expect("memory needs no file");
    let dynamo = over(&engine, Clock::system(), &Faults::new());
    dynamo.create_tables(tables).await.expect("a new engine takes new tables");
    engine
}

/// A handle to an engine as another process would have it, with faults of its own on the way.
pub fn over(engine: &Embedded, clock: Clock, faults: &Faults) -> Dynamo {
    in_process(SharedHttpClient::new(engine.clone()), &impatient(clock, faults))
}

/// How such a handle is made.
pub(crate) fn impatient(clock: Clock, faults: &Faults) -> StoreConfig {
    let (faults, patience) = (Some(faults.clone()), IMPATIENT);
    StoreConfig { clock, faults, patience, ..StoreConfig::new(Store::Memory) }
}
