//! Stores for tests: the real engine, in memory, one for each test.

use crate::clock::Clock;
use crate::dynamo::connect::{Store, StoreConfig, connect};
use crate::dynamo::{Dynamo, TableSpec};

/// An empty store with these tables, in this process's memory.
pub async fn embedded(tables: &[TableSpec]) -> Dynamo {
    embedded_at(tables, Clock::system()).await
}

/// The same, with a clock that the test moves: records expire by it.
pub async fn embedded_at(tables: &[TableSpec], clock: Clock) -> Dynamo {
    let config = StoreConfig { clock, ..StoreConfig::new(Store::Memory) };
    let connected = connect(config).await.expect("memory needs no file and no network");
    connected.dynamo.create_tables(tables).await.expect("a new engine takes new tables");
    connected.dynamo
}
