//! Every server's [`List`], as far as this process keeps them.
//!
//! A list is filled by one query on the server's partition. Own changes enter at once. Changes made by
//! other processes are found by the revisions they leave in the history, when the list is used and has
//! not been looked after for a while; the heads of these keys are then read again. No event older than 9
//! minutes is executed, so looking 11 minutes back misses nothing.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::clock::Timestamp;
use crate::context::Result;
use crate::dynamo::{Dynamo, Query};
use crate::{counts, history};

use super::list::List;
use super::recalls;
use super::record::{KIND, Remembered};

/// For all servers together; then the list that was used least recently goes.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// How late a change made by another process is seen.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// Longer than any event can be late, and clocks apart.
const LOOK_BACK: Duration = Duration::from_secs(11 * 60);

/// So that what went wrong unnoticed does not stay wrong.
const LOAD_AGAIN_AFTER: Duration = Duration::from_secs(24 * 3_600);

/// When more keys than this changed elsewhere, reading the partition is cheaper.
const READ_AGAIN_MAX: usize = 200;

/// Lists waiting to be loaded; beyond it the next keystroke asks again.
const WANTED_MAX: usize = 1_000;

/// The lists of this process.
#[derive(Default)]
pub struct Lists {
    kept: Mutex<Kept>,
    /// One task at a time fills or looks after the list of a server; the others wait for what it finds.
    turns: Mutex<HashMap<u64, Arc<tokio::sync::Mutex<()>>>>,
    /// Servers whose lists somebody could have used just now.
    wanted: Mutex<BTreeSet<u64>>,
    wanting: Notify,
}

#[derive(Default)]
struct Kept {
    servers: HashMap<u64, KeptList>,
    uses: u64,
}

struct KeptList {
    /// `None` while it is filled for the first time.
    list: Option<Arc<List>>,
    /// When the reading began that filled it, and the one that looked after it last.
    loaded_at: Timestamp,
    looked_at: Timestamp,
    /// While a reading goes on: own changes that it may not have seen.
    reading: Option<Vec<Remembered>>,
    used: u64,
    bytes: usize,
}

/// What to do before a list can be used.
enum Need {
    Nothing(Arc<List>),
    LookAfter(Arc<List>, Timestamp),
    Load,
}

impl Lists {
    /// The list of a server, at most [`LOOK_AFTER`] behind other processes.
    pub async fn current(&self, dynamo: &Dynamo, server_id: u64) -> Result<Arc<List>> {
        self.get(dynamo, server_id, LOOK_AFTER).await
    }

    /// The list of a server, however late it sees what others change.
    pub async fn any(&self, dynamo: &Dynamo, server_id: u64) -> Result<Arc<List>> {
        self.get(dynamo, server_id, LOAD_AGAIN_AFTER).await
    }

    /// The list as it is in memory. Never waits.
    pub fn loaded(&self, server_id: u64) -> Option<Arc<List>> {
        self.kept().servers.get(&server_id).and_then(|kept| kept.list.clone())
    }

    async fn get(&self, dynamo: &Dynamo, server_id: u64, at_most: Duration) -> Result<Arc<List>> {
        let turn = self.turn(server_id);
        let _turn = turn.lock().await;
        let now = dynamo.now();
        match self.need(server_id, now, at_most) {
            Need::Nothing(list) => Ok(list),
            Need::Load => self.load(dynamo, server_id, now).await,
            Need::LookAfter(list, since) => self.look_after(dynamo, server_id, now, list, since).await,
        }
    }

    fn need(&self, server_id: u64, now: Timestamp, at_most: Duration) -> Need {
        let mut kept = self.kept();
        let kept = kept.touch(server_id);
        let Some(list) = kept.list.clone() else {
            kept.reading = Some(Vec::new());
            return Need::Load;
        };
        let need = if now.since(kept.loaded_at) >= LOAD_AGAIN_AFTER {
            Need::Load
        } else if now.since(kept.looked_at) >= at_most {
            Need::LookAfter(list, kept.looked_at.minus(LOOK_BACK))
        } else {
            return Need::Nothing(list);
        };
        kept.reading = Some(Vec::new());
        need
    }

    async fn load(&self, dynamo: &Dynamo, server_id: u64, now: Timestamp) -> Result<Arc<List>> {
        let mut list = List::default();
        let mut cursor = None;
        loop {
            let query = Query::<Remembered>::of(server_id).eventually();
            let page = dynamo.query(cursor.into_iter().fold(query, Query::resume)).await?;
            page.records.iter().for_each(|record| list.take_in(record));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        for row in counts::board(dynamo, &recalls::board(server_id)).await? {
            list.add_recalls(recalls::key_in(&row.slot), row.number("n"));
        }
        Ok(self.kept().put(server_id, list, true, now))
    }

    async fn look_after(
        &self,
        dynamo: &Dynamo,
        server_id: u64,
        now: Timestamp,
        list: Arc<List>,
        since: Timestamp,
    ) -> Result<Arc<List>> {
        let behind = behind(dynamo, server_id, &list, since).await?;
        if behind.len() > READ_AGAIN_MAX {
            return self.load(dynamo, server_id, now).await;
        }
        let mut list = List::clone(&list);
        for key in behind {
            match dynamo.get::<Remembered>((server_id, key.clone())).await? {
                Some(record) => list.take_in(&record),
                None => list.take_out(&key),
            }
        }
        Ok(self.kept().put(server_id, list, false, now))
    }

    /// Asks for the list of a server to be loaded soon.
    pub fn want(&self, server_id: u64) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() < WANTED_MAX {
            wanted.insert(server_id);
        }
        self.wanting.notify_one();
    }

    /// Loads the lists that are asked for, until shutdown.
    pub async fn run(&self, dynamo: &Dynamo, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = self.wanting.notified() => {}
                () = shutdown.cancelled() => return,
            }
            while let Some(server_id) = self.next_wanted() {
                if let Err(error) = self.any(dynamo, server_id).await {
                    debug!(server_id, error = &error as &dyn std::error::Error, "no list of keys yet");
                }
            }
        }
    }

    fn next_wanted(&self) -> Option<u64> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).pop_first()
    }

    /// An own change: it is in the list before its reply is sent.
    pub fn changed(&self, record: &Remembered) {
        let mut kept = self.kept();
        let Some(kept) = kept.servers.get_mut(&record.discord_server_id) else { return };
        if let Some(list) = &mut kept.list {
            Arc::make_mut(list).take_in(record);
            kept.bytes += List::bytes_of(&record.rem_key);
        }
        if let Some(missed) = &mut kept.reading {
            missed.push(record.clone());
        }
    }

    /// What is known of a server is not so any more: the next use reads it anew.
    pub fn let_go(&self, server_id: u64) {
        if let Some(kept) = self.kept().servers.get_mut(&server_id) {
            kept.list = None;
            kept.loaded_at = Timestamp::from_seconds(0);
        }
    }

    pub fn recalled(&self, server_id: u64, key: &str) {
        let mut kept = self.kept();
        let list = kept.servers.get_mut(&server_id).and_then(|kept| kept.list.as_mut());
        if let Some(list) = list {
            Arc::make_mut(list).add_recalls(key, 1);
        }
    }

    fn turn(&self, server_id: u64) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(server_id).or_default().clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The keys of which the history knows a newer revision than the list.
async fn behind(dynamo: &Dynamo, server_id: u64, list: &List, since: Timestamp) -> Result<BTreeSet<String>> {
    let mut behind = BTreeSet::new();
    let mut cursor = None;
    loop {
        let page = history::changes_since(dynamo, server_id, since.snowflake(), cursor).await?;
        for row in &page.records {
            if let Some((KIND, key)) = row.thing()
                && list.rev(&key) < row.rev
            {
                behind.insert(key);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(behind);
        }
    }
}

impl Kept {
    fn touch(&mut self, server_id: u64) -> &mut KeptList {
        self.uses += 1;
        let kept = self.servers.entry(server_id).or_insert_with(|| KeptList {
            list: None,
            loaded_at: Timestamp::from_seconds(0),
            looked_at: Timestamp::from_seconds(0),
            reading: None,
            used: 0,
            bytes: 0,
        });
        kept.used = self.uses;
        kept
    }

    /// What a reading that began at `now` found; `loaded` if it read everything.
    fn put(&mut self, server_id: u64, mut list: List, loaded: bool, now: Timestamp) -> Arc<List> {
        let kept = self.touch(server_id);
        for missed in kept.reading.take().unwrap_or_default() {
            list.take_in(&missed);
        }
        let list = Arc::new(list);
        kept.bytes = list.bytes();
        kept.list = Some(list.clone());
        kept.looked_at = now;
        if loaded {
            kept.loaded_at = now;
        }
        self.make_room(server_id);
        list
    }

    fn make_room(&mut self, for_server: u64) {
        let mut bytes: usize = self.servers.values().map(|kept| kept.bytes).sum();
        while bytes > BYTES_MAX {
            let others = self.servers.iter().filter(|(id, _)| **id != for_server);
            let Some((&oldest, _)) = others.min_by_key(|(_, kept)| kept.used) else { return };
            bytes -= self.servers.remove(&oldest).map_or(0, |kept| kept.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn the_list_used_least_recently_makes_room() {
        let mut kept = Kept::default();
        let now = Timestamp::from_seconds(0);
        for server in 1..=3 {
            kept.put(server, List::default(), true, now);
        }
        kept.touch(1);
        for server in 1..=3 {
            kept.servers.get_mut(&server).unwrap().bytes = 30 * MIB;
        }
        kept.put(4, List::default(), true, now);
        assert_eq!(kept.servers.keys().collect::<BTreeSet<_>>(), BTreeSet::from([&1, &4, &3]));
        kept.servers.get_mut(&4).unwrap().bytes = 80 * MIB;
        kept.make_room(4);
        assert_eq!(kept.servers.keys().collect::<Vec<_>>(), [&4], "the one in use stays");
    }
}
