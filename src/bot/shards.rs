//! Shards that the instances of one bot divide among themselves.
//!
//! An instance that is there holds a number, and a shard that is served has a lock. Both are leases, so what a
//! dead instance had is free a few seconds later. Every instance looks at all of them once a second and comes
//! to the same division by itself: [`quota`].
//!
//! A shard moves without a gap. Its lock is released first; the next instance connects and says so under its
//! fence; only then the former one leaves. For a moment both hear the same events, and the ids of events and
//! the nonces of messages make one effect and one answer of them. So a lease is for economy only: while the
//! store is away nobody moves anything, and who has lost a lease serves on until somebody else does.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join_all;
use serenity::all::ShardId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::bot::session::Life;
use crate::bot::{Bot, Connection, Exit};
use crate::clock::Timestamp;
use crate::shared::{
    CreateOptions, Entry, Fenced, Kind, Lease, LeaseError, LeaseOptions, SharedData, SharedError, Slot,
};
use crate::tasks::Tasks;

/// A dead instance's shards are free after this and two seconds for clocks that differ. Shorter leases cost
/// more: each is a write every two seconds.
const TTL: Duration = Duration::from_secs(6);

/// Held as long as there is a reason to; what is not free now is looked at again.
const LEASE: LeaseOptions =
    LeaseOptions { ttl: TTL, wait: Duration::ZERO, max_hold: Some(Duration::MAX), trust_clocks: true };

/// Instances of one bot.
const INSTANCES_MAX: u32 = 256;

/// How often is looked who is there and has what.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often is looked at shards that move.
const TURN: Duration = Duration::from_millis(250);
/// One turn may take this long, so that a hanging store keeps nobody from leaving.
const TURN_LIMIT: Duration = Duration::from_secs(3);

/// So often in a row the division must have been uneven before a shard moves: looks are a moment old.
const UNEVEN_LOOKS: u32 = 2;

/// How long an instance that is to stop serves its shards on until others do.
pub(super) const HANDOVER_LIMIT: Duration = Duration::from_secs(6);

/// Discord lets a bot identify so many shards at a time, counted in this time.
const IDENTIFY_EVERY: Duration = Duration::from_secs(5);
/// Whoever has waited this long for its turn to identify connects all the same.
const IDENTIFY_WAIT: Duration = Duration::from_secs(60);

/// Pauses between two tries to agree on the number of shards.
const AGREE_PAUSE: Duration = Duration::from_secs(2);

/// How many shards an instance is to have: the first few one more, where it does not come out even.
fn quota(rank: usize, instances: usize, total: u32) -> usize {
    let (total, instances) = (total as usize, instances.max(1));
    total / instances + usize::from(rank < total % instances)
}

fn lock_of(shard: u32, total: u32) -> String {
    format!("shard/{shard}-of-{total}")
}

/// What the locks say.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// The numbers of the instances that are there.
    instances: BTreeSet<u32>,
    /// Shards that are somebody's.
    taken: BTreeSet<u32>,
}

impl Seen {
    /// `late`: a lease that ended before has ended for everybody.
    fn read(locks: &[Entry], total: u32, late: Timestamp) -> Self {
        let mut seen = Self::default();
        let held = |lock: &&Entry| {
            lock.text("owner").is_some() && lock.number("until").is_some_and(|until| until >= late.millis())
        };
        for lock in locks.iter().filter(held) {
            match lock.key_alone().split_once('/') {
                Some(("instance", number)) => seen.instances.extend(number.parse::<u32>()),
                Some(("shard", name)) => {
                    let shard = name.split_once("-of-").filter(|(_, of)| *of == total.to_string());
                    seen.taken.extend(shard.and_then(|(shard, _)| shard.parse::<u32>().ok()));
                }
                _ => {}
            }
        }
        seen
    }
}

/// A shard that this instance serves.
struct Served {
    /// None while it is handed over, or was lost.
    lease: Option<Lease>,
    /// Of the last lease.
    token: u64,
    /// Whether others know that it is connected here.
    announced: bool,
    stop: CancellationToken,
}

struct Leaving {
    exit: Exit,
    until: Instant,
}

struct Division {
    bot: Arc<Bot>,
    connection: Arc<Connection>,
    shared: SharedData,
    content: bool,
    total: u32,
    me: Option<Slot>,
    /// Others that were there at the last look.
    others: usize,
    served: BTreeMap<u32, Served>,
    sessions: Tasks,
    ended: mpsc::Sender<(u32, Exit)>,
    looked: Option<Instant>,
    uneven: u32,
    registers: bool,
    /// The last turn failed.
    in_trouble: bool,
    leaving: Option<Leaving>,
}

/// Serves this instance's part of the shards, until it is to stop and others serve them, or going on makes no
/// sense.
pub(super) async fn stay(
    bot: &Arc<Bot>,
    connection: &Arc<Connection>,
    shared: SharedData,
    content: bool,
) -> Exit {
    let agreeing = agree(&shared, connection);
    let Some(total) = bot.shutdown.run_until_cancelled(agreeing).await else { return Exit::Asked };
    // As many as there are shards: a session never waits to tell that it has ended.
    let (ended, mut ends) = mpsc::channel(total as usize);
    let mut division = Division::new(bot, connection, shared, content, total, ended);
    let mut ticks = interval(TURN);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let exit = loop {
        let staying = division.leaving.is_none();
        tokio::select! {
            Some((shard, exit)) = ends.recv() => {
                if let Some(exit) = division.session_ended(shard, exit) {
                    break exit;
                }
            }
            () = bot.shutdown.cancelled(), if staying => division.leave(Exit::Asked).await,
            () = bot.services.restart.cancelled(), if staying => division.leave(Exit::Restart).await,
            _ = ticks.tick() => division.turn().await,
        }
        if let Some(leaving) = division.leaving.as_ref().filter(|_| division.served.is_empty()) {
            break leaving.exit.clone();
        }
    };
    division.close().await;
    exit
}

/// How many shards there are: as all instances have it, and first the one that asked Discord first.
async fn agree(shared: &SharedData, connection: &Connection) -> u32 {
    let Some(advised) = connection.shards_advised else { return connection.shards_total };
    loop {
        let agreed =
            shared.get_or_create("shards", CreateOptions::default(), move |_| async move { Ok(advised) });
        match agreed.await {
            Ok(agreed) => {
                let total = agreed.value;
                if total != advised {
                    warn!(
                        total,
                        advised, "Discord advises another number of shards than instances agreed on"
                    );
                }
                return total.max(1);
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the number of shards is not known yet");
                sleep(AGREE_PAUSE).await;
            }
        }
    }
}

impl Division {
    fn new(
        bot: &Arc<Bot>,
        connection: &Arc<Connection>,
        shared: SharedData,
        content: bool,
        total: u32,
        ended: mpsc::Sender<(u32, Exit)>,
    ) -> Self {
        Self {
            bot: bot.clone(),
            connection: connection.clone(),
            shared,
            content,
            total,
            me: None,
            others: 0,
            served: BTreeMap::new(),
            sessions: Tasks::new(),
            ended,
            looked: None,
            uneven: 0,
            registers: false,
            in_trouble: false,
            leaving: None,
        }
    }

    /// A session has ended. What it ended with is the whole bot's, unless it was told to end.
    fn session_ended(&mut self, shard: u32, exit: Exit) -> Option<Exit> {
        self.bot.heard.forget(ShardId(shard));
        let told = self.served.remove(&shard).is_some_and(|served| served.stop.is_cancelled());
        self.tell_health();
        (!told || exit != Exit::Asked).then_some(exit)
    }

    async fn turn(&mut self) {
        match timeout(TURN_LIMIT, self.turn_once()).await {
            Ok(Ok(())) => self.in_trouble = false,
            Ok(Err(error)) => self.stay_as_it_is(&error.to_string()),
            Err(_) => self.stay_as_it_is("the store does not answer"),
        }
        if self.leaving.as_ref().is_some_and(|leaving| Instant::now() >= leaving.until) {
            self.served.values().for_each(|served| served.stop.cancel());
        }
    }

    /// Nobody knows who has what, so nothing moves. That is said once.
    fn stay_as_it_is(&mut self, why: &str) {
        if !std::mem::replace(&mut self.in_trouble, true) {
            warn!(why, "the division of shards could not be read, and stays as it is");
        }
    }

    async fn turn_once(&mut self) -> Result<(), LeaseError> {
        self.announce().await?;
        self.give_way().await?;
        let is_time = self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        if is_time && self.leaving.is_none() {
            self.looked = Some(Instant::now());
            self.balance().await?;
        }
        Ok(())
    }

    /// Tells the instances that served a shard before that they may leave it.
    async fn announce(&mut self) -> Result<(), SharedError> {
        for (shard, served) in &mut self.served {
            let Some(lease) = &served.lease else { continue };
            if served.announced || !self.bot.heard.is_ready(ShardId(*shard)) {
                continue;
            }
            served.announced =
                lease.put(&lock_of(*shard, self.total), &served.token).await? != Fenced::Refused;
        }
        Ok(())
    }

    /// Leaves the shards that somebody else serves by now.
    async fn give_way(&mut self) -> Result<(), SharedError> {
        for (shard, served) in &mut self.served {
            served.lease.take_if(|lease| !lease.is_valid());
            if served.lease.is_some() || served.stop.is_cancelled() {
                continue;
            }
            let newest: Option<u64> = self.shared.get(&lock_of(*shard, self.total)).await?;
            if newest.is_some_and(|token| token > served.token) {
                info!(shard, "another instance serves a shard that was served here");
                served.stop.cancel();
            }
        }
        Ok(())
    }

    /// Takes what is missing of this instance's part, or hands over what is beyond it.
    async fn balance(&mut self) -> Result<(), LeaseError> {
        if self.me.as_ref().is_none_or(|me| !me.is_valid()) {
            self.me = Some(self.shared.number("instance", 0..INSTANCES_MAX, LEASE).await?);
        }
        let Some(number) = self.me.as_ref().map(|me| me.number) else { return Ok(()) };
        let mut seen = self.look().await?;
        seen.instances.insert(number);
        self.others = seen.instances.len() - 1;
        let rank = seen.instances.range(..number).count();
        // Looked for by the first of those that are there, and by the next when its lease has ended.
        self.bot.services.duty.set(rank == 0);
        let quota = quota(rank, seen.instances.len(), self.total);
        let held = self.served.values().filter(|served| served.lease.is_some()).count();
        self.uneven = if held > quota { self.uneven + 1 } else { 0 };
        if self.uneven >= UNEVEN_LOOKS {
            self.uneven = 0;
            self.hand_over(held - quota).await;
        } else if held < quota {
            self.take(quota - held, &seen).await?;
        }
        self.tell_health();
        Ok(())
    }

    async fn look(&self) -> Result<Seen, SharedError> {
        let locks = self.shared.list_all(Kind::Lock, "").await?;
        Ok(Seen::read(&locks, self.total, self.shared.late()))
    }

    /// Takes shards that are nobody's: first those that are connected here already.
    async fn take(&mut self, missing: usize, seen: &Seen) -> Result<(), LeaseError> {
        let mut free: Vec<u32> = (0..self.total).filter(|shard| !seen.taken.contains(shard)).collect();
        free.sort_by_key(|shard| !self.served.contains_key(shard));
        // No more new ones than can connect at the same time: others may be about to come.
        let connecting =
            self.served.keys().filter(|shard| !self.bot.heard.is_ready(ShardId(**shard))).count();
        let mut room = self.connection.identifies_at_once.saturating_sub(connecting);
        let mut left = missing;
        for shard in free {
            let here = self.served.get(&shard);
            if left == 0 || here.is_none() && room == 0 {
                break;
            }
            if here.is_some_and(|served| served.stop.is_cancelled()) {
                continue;
            }
            room -= usize::from(here.is_none());
            if let Some(lease) = self.shared.lock_if_free(&lock_of(shard, self.total), LEASE).await? {
                self.serve(shard, lease);
                left -= 1;
            }
        }
        Ok(())
    }

    fn serve(&mut self, shard: u32, lease: Lease) {
        let token = lease.token();
        if let Some(served) = self.served.get_mut(&shard) {
            (served.lease, served.token, served.announced) = (Some(lease), token, false);
            return;
        }
        info!(shard, of = self.total, "this instance takes a shard");
        if shard == 0 && !std::mem::replace(&mut self.registers, true) {
            self.bot.background.spawn_job("registration", crate::bot::register_commands(self.bot.clone()));
        }
        let stop = CancellationToken::new();
        self.served.insert(shard, Served { lease: Some(lease), token, announced: false, stop: stop.clone() });
        let life = Life { shards: shard..shard + 1, total: self.total, stop: stop.clone(), alone: false };
        let (bot, connection, content) = (self.bot.clone(), self.connection.clone(), self.content);
        let (shared, ended) = (self.shared.clone(), self.ended.clone());
        self.sessions.spawn_job("shard", async move {
            let turn = stop.run_until_cancelled(wait_for_turn(&shared, &connection, shard)).await.flatten();
            let keep_turn = async {
                // It is the next one's when Discord counts this IDENTIFY no more: from when it was answered, because
                // connections take differently long.
                while !bot.heard.is_ready(ShardId(shard)) {
                    sleep(TURN).await;
                }
                sleep(IDENTIFY_EVERY).await;
                drop(turn);
                std::future::pending::<Infallible>().await
            };
            let exit = tokio::select! {
                exit = bot.stay_on(&connection, content, &life) => exit,
                never = keep_turn => match never {},
            };
            // It is heard as long as the division lasts.
            let _ = ended.send((shard, exit)).await;
        });
    }

    /// Releases so many shards, the last first. They are served here until somebody else does.
    async fn hand_over(&mut self, count: usize) {
        let mut leases = Vec::new();
        for (shard, served) in self.served.iter_mut().rev() {
            if leases.len() == count {
                break;
            }
            if let Some(lease) = served.lease.take() {
                info!(shard, "this instance hands over a shard");
                leases.push(lease.release());
            }
        }
        join_all(leases).await;
    }

    /// The bot is to stop: others take over, if there are any.
    async fn leave(&mut self, exit: Exit) {
        let until = Instant::now() + HANDOVER_LIMIT;
        self.leaving = Some(Leaving { exit, until });
        info!(shards = self.served.len(), others = self.others, "this instance hands over all its shards");
        let released = async {
            if let Some(me) = self.me.take() {
                me.release().await;
            }
            self.hand_over(usize::MAX).await;
        };
        if timeout(TURN_LIMIT, released).await.is_err() {
            warn!("shards could not be released in time; others take them over when their leases end");
        }
        if self.others == 0 {
            self.served.values().for_each(|served| served.stop.cancel());
        }
    }

    async fn close(&mut self) {
        self.served.values().for_each(|served| served.stop.cancel());
        self.hand_over(usize::MAX).await;
        // A session closes within a limit of its own.
        self.sessions.wait(Duration::MAX).await;
    }

    fn tell_health(&self) {
        self.bot.services.health.shards_wanted.store(self.served.len() as u64, Ordering::SeqCst);
    }
}

/// Waits for this shard's turn to identify itself; `None`: it goes without.
async fn wait_for_turn(shared: &SharedData, connection: &Connection, shard: u32) -> Option<Lease> {
    let lane = shard as usize % connection.identifies_at_once.max(1);
    let options = LeaseOptions { ttl: IDENTIFY_EVERY, wait: IDENTIFY_WAIT, ..LeaseOptions::default() };
    let turn = shared.lock(&format!("identify/{lane}"), options).await;
    turn.inspect_err(|error| {
        warn!(shard, error = error as &dyn std::error::Error, "connecting without waiting for a turn");
    })
    .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quotas_add_up_and_differ_by_one_at_most() {
        for total in 1..40 {
            for instances in 1..9 {
                let quotas: Vec<usize> = (0..instances).map(|rank| quota(rank, instances, total)).collect();
                assert_eq!(quotas.iter().sum::<usize>(), total as usize);
                assert!(quotas.iter().max().unwrap() - quotas.iter().min().unwrap() <= 1);
            }
        }
    }

    #[test]
    fn only_live_leases_of_this_division_count() {
        let lock = |key: &str, until: Option<i64>| {
            let mut attributes = json!({ "fence": 7 });
            if let Some(until) = until {
                attributes = json!({ "fence": 7, "owner": "x", "until": until });
            }
            let attributes = serde_json::from_value(attributes).unwrap();
            Entry { space: "bot".to_owned(), name: format!("lock/{key}"), attributes }
        };
        let locks = [
            lock("instance/0", Some(2_000)),
            lock("instance/1", Some(999)),
            lock("instance/2", None),
            lock("instance/3", Some(1_000)),
            lock("shard/4-of-12", Some(1_500)),
            lock("shard/5-of-12", Some(900)),
            lock("shard/6-of-24", Some(1_500)),
            lock("slot/9", Some(1_500)),
        ];
        let seen = Seen::read(&locks, 12, Timestamp::from_seconds(1));
        assert_eq!(seen, Seen { instances: [0, 3].into(), taken: [4].into() });
    }
}
