//! The records of the table `shared`, and what may be done to them: every expression of the protocols.
//!
//! A condition stands under the name of its [`Rule`]. The storms take the rules away one by one and show that
//! each of them is needed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::dynamo::{Column, Condition, Personal, Places, Privacy, Table, TableSpec, Update};
use crate::shared::{Expect, RUN_KEPT_FOR, Space};

/// How many writers an item remembers: as many updates as may come between a write whose reply was lost
/// and the repeat that asks for it.
pub const RECENT_MAX: usize = 8;

/// Where a record is, and whether it is kept for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub space: String,
    pub name: String,
    expires: bool,
}

impl Place {
    pub fn new(space: &Space, name: String) -> Self {
        Self { space: space.to_string(), name, expires: matches!(space, Space::Run(_) | Space::Runs) }
    }

    pub fn key(&self) -> (String, String) {
        (self.space.clone(), self.name.clone())
    }

    /// Another record, as long-lived as this one.
    pub fn beside(&self, name: String) -> Self {
        Self { name, ..self.clone() }
    }

    /// A record that belongs to this one: `deal-values/list/rest` to `deal/list`.
    pub fn below(&self, kind: &str, rest: &str) -> Self {
        let key = self.name.split_once('/').map_or("", |(_, key)| key);
        self.beside(format!("{kind}/{key}/{rest}"))
    }

    /// When the record is to be deleted if nobody writes it any more.
    pub fn expires_at(&self, now: Timestamp) -> Option<i64> {
        self.expires.then(|| now.plus(RUN_KEPT_FOR).seconds())
    }
}

macro_rules! in_the_shared_table {
    ($($record:ident),*) => {$(
        impl Table for $record {
            const NAME: &'static str = "shared";
            const KEY: &'static [&'static str] = &["space", "name"];
            const EXPIRES: Option<&'static str> = Some("expires_at");
            const PERSONAL: Personal = PERSONAL;
            type Key = (String, String);

            fn key(&self) -> Self::Key {
                (self.space.clone(), self.name.clone())
            }
        }
    )*

        /// The table, with the attributes of all its kinds of records.
        pub const TABLE: TableSpec = TableSpec { attributes: every_attribute, ..TableSpec::of::<Cell>() };

        fn every_attribute() -> Vec<&'static str> {
            let kinds = [$(TableSpec::of::<$record>().attributes),*];
            kinds.iter().flat_map(|attributes| attributes()).collect()
        }
    };
}

/// It has the values that bots agree on, and the names of bots. What people say, own or are belongs into
/// tables of their own, where it is found when they ask for it.
const PERSONAL: Personal = Personal {
    attributes: &[
        ("space", Privacy::None),
        ("name", Privacy::None),
        ("value", Privacy::None),
        ("writer", Privacy::None),
        ("version", Privacy::None),
        ("recent", Privacy::None),
        ("once", Privacy::None),
        ("taken", Privacy::None),
        ("taken_by", Privacy::None),
        ("lease_token", Privacy::None),
        ("state", Privacy::None),
        ("owner", Privacy::None),
        ("until", Privacy::None),
        ("lease_ms", Privacy::None),
        ("fence", Privacy::None),
        ("error", Privacy::None),
        ("size", Privacy::None),
        ("members", Privacy::None),
        ("gone", Privacy::None),
        ("broken", Privacy::None),
        ("shards", Privacy::None),
        ("digest", Privacy::None),
        ("values", Privacy::None),
        ("next", Privacy::None),
        ("claims", Privacy::None),
        ("giving", Privacy::None),
        ("back", Privacy::None),
        ("free", Privacy::None),
        ("holders", Privacy::None),
        ("expires_at", Privacy::None),
    ],
    places: Places::Nowhere,
    kept: "as long as the bot runs here; what simulated people shared, 30 days",
};

in_the_shared_table!(Cell, Lock, Barrier, Deal, Values, Claims, Back, Holders, Ids, Config);

macro_rules! empty_at {
    ($($record:ident),*) => {$(
        impl $record {
            /// An empty one.
            pub fn at(place: &Place, expires_at: Option<i64>) -> Self {
                let (space, name) = place.key();
                Self { space, name, expires_at, ..Self::default() }
            }
        }
    )*};
}

empty_at!(Deal, Values, Claims, Back, Holders, Config);

/// An attribute that holds anything: also one that reads as "nothing" is there.
fn anything<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// `cell/<key>`: one value, and who is making it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cell {
    pub space: String,
    pub name: String,
    #[serde(deserialize_with = "anything")]
    pub value: Option<Value>,
    pub writer: Option<String>,
    pub version: u64,
    /// The nonces of the last updates, oldest first; every other write of the value clears it.
    pub recent: Vec<String>,
    #[serde(with = "serde_dynamo::string_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub once: BTreeSet<String>,
    #[serde(deserialize_with = "anything")]
    pub taken: Option<Value>,
    pub taken_by: Option<String>,
    pub lease_token: Option<u64>,
    pub state: Option<String>,
    pub owner: Option<String>,
    pub until: Option<i64>,
    pub lease_ms: Option<u64>,
    pub fence: u64,
    pub error: Option<String>,
    pub expires_at: Option<i64>,
}

pub const VALUE: Column<Cell, Value> = Column::new("value");
pub const SUM: Column<Cell, i64> = Column::new("value");
pub const WRITER: Column<Cell, String> = Column::new("writer");
pub const VERSION: Column<Cell, u64> = Column::new("version");
pub const RECENT: Column<Cell, Vec<String>> = Column::new("recent");
pub const ONCE: Column<Cell, BTreeSet<String>> = Column::new("once");
pub const TAKEN: Column<Cell, Value> = Column::new("taken");
pub const TAKEN_BY: Column<Cell, String> = Column::new("taken_by");
pub const LEASE_TOKEN: Column<Cell, u64> = Column::new("lease_token");
pub const STATE: Column<Cell, String> = Column::new("state");
pub const OWNER: Column<Cell, String> = Column::new("owner");
pub const UNTIL: Column<Cell, i64> = Column::new("until");
pub const LEASE_MS: Column<Cell, u64> = Column::new("lease_ms");
pub const FENCE: Column<Cell, u64> = Column::new("fence");
pub const ERROR: Column<Cell, String> = Column::new("error");

/// Everything that protects the shared data: each condition of an expression, and each decision beside one.
/// A test takes one away to show that the storms find what is wrong then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A key written under a lease refuses plain writes.
    CellIsFree,
    /// An update writes over the version that it has read, and over no other.
    UpdateSeesLatest,
    /// An update whose reply was lost is found among the recent writers.
    UpdateKnowsItself,
    /// A name counts once.
    CountedOnce,
    /// What was taken is what was seen, and was there.
    TakeSeesLatest,
    /// A take whose reply was lost is found by its nonce.
    TakeKnowsItself,
    /// A value is put where the caller believes it goes.
    PutAsExpected,
    /// Nobody makes a value that is there.
    NothingIsThere,
    /// Nobody makes a value while somebody else does.
    OneCreator,
    /// What somebody made is published only as long as nobody else has begun or has put a value.
    PublisherOwns,
    /// A lock is acquired when it is free, or when its lease has ended.
    LockIsFree,
    /// A lock is renewed and released by its holder.
    HolderOwns,
    /// A renewal never shortens a lease.
    UntilOnlyGrows,
    /// A lease counts as lost before others may believe so.
    LostInTime,
    /// A fenced write with an older token than the last is refused.
    FenceOnlyGrows,
    /// A guarded transaction commits only while its lease is held.
    GuardHolds,
    /// Watching a lease takes as long as the lease.
    WatchedForAll,
    /// Nobody breaks a full barrier.
    FullStaysFull,
    /// Who has an element gets no other one.
    OneElementEach,
    /// A shard deals as many elements as it has.
    ShardHasMore,
    /// An element is given back by the one that has it.
    GiverHasIt,
    /// Of an element that was given back twice, the older return counts no more.
    ReturnsDiffer,
    /// Who asks again keeps what they have: what of it is still on its way back comes too late.
    AskerKeeps,
    /// Nobody gets what is not free.
    HolderFits,
    /// Who is taken over has ended as it was seen.
    DeadAsSeen,
    /// A lease is given back as it was last renewed.
    HolderAsSeen,
}

impl Rule {
    /// Whether a test has taken this rule away; never outside of tests.
    #[cfg(not(test))]
    pub const fn is_broken(self) -> bool {
        false
    }

    #[cfg(test)]
    pub fn is_broken(self) -> bool {
        BROKEN.with(|broken| broken.get() == Some(self))
    }

    /// Takes a rule away from everything that runs on this thread, or gives it back.
    #[cfg(test)]
    pub fn break_only(rule: Option<Self>) {
        BROKEN.with(|broken| broken.set(rule));
    }
}

#[cfg(test)]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// The steps that many expressions have in common.
pub trait Steps<T>: Sized {
    /// Only if this holds, by this rule.
    fn by_rule(self, rule: Rule, condition: Condition<T>) -> Self;

    /// Keeps the record for another while.
    fn kept(self, place: &Place, now: Timestamp) -> Self;
}

impl<T: Table> Steps<T> for Update<T> {
    fn by_rule(self, rule: Rule, condition: Condition<T>) -> Self {
        if rule.is_broken() { self } else { self.when(condition) }
    }

    fn kept(self, place: &Place, now: Timestamp) -> Self {
        match place.expires_at(now) {
            Some(at) => self.set(Column::new("expires_at"), at),
            None => self,
        }
    }
}

/// A plain write of a cell: refused where a lease guards it.
pub fn plain(place: &Place, now: Timestamp) -> Update<Cell> {
    Update::new().kept(place, now).by_rule(Rule::CellIsFree, Condition::has(LEASE_TOKEN).not())
}

/// Whoever was making the value is too late.
pub fn not_in_the_making(update: Update<Cell>) -> Update<Cell> {
    update.remove(STATE).remove(OWNER).remove(UNTIL).remove(LEASE_MS).remove(ERROR)
}

pub fn put(place: &Place, now: Timestamp, value: Value, nonce: &str) -> Update<Cell> {
    let update = plain(place, now).set(VALUE, value).set(WRITER, nonce.to_owned()).add(VERSION, 1);
    not_in_the_making(update).remove(RECENT)
}

/// A put over this version. Also where nothing is expected, the version counts: else a late copy of the
/// request would put the value back after somebody has taken it.
pub fn put_over(
    place: &Place,
    now: Timestamp,
    value: Value,
    nonce: &str,
    seen: u64,
    expect: Expect,
) -> Update<Cell> {
    let expected = match expect {
        Expect::Absent => Condition::has(VALUE).not().and(has_version(seen)),
        Expect::Version(_) => has_version(seen),
    };
    put(place, now, value, nonce).by_rule(Rule::PutAsExpected, expected)
}

/// What an update makes of the cell that it has seen.
pub fn update(place: &Place, now: Timestamp, seen: Option<&Cell>, value: Value, nonce: &str) -> Update<Cell> {
    let version = seen.map_or(0, |cell| cell.version);
    let mut recent = seen.map_or_else(Vec::new, |cell| cell.recent.clone());
    recent.push(nonce.to_owned());
    let older = recent.len().saturating_sub(RECENT_MAX);
    recent.drain(..older);
    let update = plain(place, now)
        .set(VALUE, value)
        .set(WRITER, nonce.to_owned())
        .set(VERSION, version + 1)
        .set(RECENT, recent);
    not_in_the_making(update).by_rule(Rule::UpdateSeesLatest, has_version(version))
}

/// The cell has this version; one that was never written has version 0.
pub fn has_version(version: u64) -> Condition<Cell> {
    match version {
        0 => Condition::has(VERSION).not(),
        version => Condition::equals(VERSION, version),
    }
}

pub fn add(place: &Place, now: Timestamp, delta: i64, nonce: &str) -> Update<Cell> {
    let update = plain(place, now).add(SUM, delta).add(VERSION, 1).set(WRITER, nonce.to_owned());
    not_in_the_making(update)
}

/// As many names as one record of this kind can hold beside its value.
pub const ONCE_MAX: usize = 2_000;

pub fn add_once(place: &Place, now: Timestamp, delta: i64, who: &str) -> Update<Cell> {
    let room = Condition::has(ONCE).not().or(Condition::size_below(ONCE, ONCE_MAX as u64));
    let update = plain(place, now).add(SUM, delta).add(VERSION, 1).insert(ONCE, who.to_owned()).when(room);
    update.by_rule(Rule::CountedOnce, Condition::contains(ONCE, who.to_owned()).not())
}

pub fn take(place: &Place, now: Timestamp, seen: &Cell, nonce: &str) -> Update<Cell> {
    let as_seen = has_version(seen.version).and(Condition::has(VALUE));
    plain(place, now)
        .copy(VALUE, TAKEN)
        .set(TAKEN_BY, nonce.to_owned())
        .set(VERSION, seen.version + 1)
        .remove(VALUE)
        .by_rule(Rule::TakeSeesLatest, as_seen)
}

/// What is in the `state` of a cell that somebody is making.
pub const CREATING: &str = "creating";
pub const FAILED: &str = "failed";

/// Whose turn it is to make a value: the same for a creation and for a lock.
#[derive(Clone, Debug)]
pub struct Claim {
    pub owner: String,
    pub until: i64,
    pub lease_ms: u64,
    /// What was watched for the whole length of its lease, so that it has ended.
    pub ended: Option<(u64, i64)>,
    /// Leases that ended before this have ended for everybody; `None`: clocks are not trusted.
    pub late: Option<Timestamp>,
}

fn is(state: &str) -> Condition<Cell> {
    Condition::equals(STATE, state.to_owned())
}

pub fn claim_creation(place: &Place, now: Timestamp, claim: &Claim) -> Update<Cell> {
    let mut free = Condition::has(STATE).not();
    free = free.or(is(FAILED).and(Condition::less(UNTIL, now.millis())));
    if let Some(late) = claim.late {
        free = free.or(is(CREATING).and(Condition::less(UNTIL, late.millis())));
    }
    if let Some((fence, until)) = claim.ended {
        let same = Condition::equals(FENCE, fence).and(Condition::equals(UNTIL, until));
        free = free.or(is(CREATING).and(same));
    }
    plain(place, now)
        .set(STATE, CREATING.to_owned())
        .set(OWNER, claim.owner.clone())
        .set(UNTIL, claim.until)
        .set(LEASE_MS, claim.lease_ms)
        .add(FENCE, 1)
        .remove(ERROR)
        .by_rule(Rule::NothingIsThere, Condition::has(VALUE).not())
        .by_rule(Rule::OneCreator, free)
}

fn still_creating(owner: &str, fence: u64) -> Condition<Cell> {
    is(CREATING).and(Condition::equals(OWNER, owner.to_owned())).and(Condition::equals(FENCE, fence))
}

pub fn renew_creation(owner: &str, fence: u64, until: i64) -> Update<Cell> {
    Update::new()
        .set(UNTIL, until)
        .by_rule(Rule::PublisherOwns, still_creating(owner, fence))
        .by_rule(Rule::UntilOnlyGrows, Condition::at_most(UNTIL, until))
}

pub fn publish(place: &Place, now: Timestamp, value: Value, owner: &str, fence: u64) -> Update<Cell> {
    let update = plain(place, now).set(VALUE, value).set(WRITER, owner.to_owned()).add(VERSION, 1);
    not_in_the_making(update).by_rule(Rule::PublisherOwns, still_creating(owner, fence))
}

pub fn fail_creation(error: String, until: i64, owner: &str, fence: u64) -> Update<Cell> {
    Update::new()
        .set(STATE, FAILED.to_owned())
        .set(ERROR, error)
        .set(UNTIL, until)
        .remove(OWNER)
        .by_rule(Rule::PublisherOwns, still_creating(owner, fence))
}

pub fn give_up_creation(owner: &str, fence: u64) -> Update<Cell> {
    Update::new()
        .remove(STATE)
        .remove(OWNER)
        .remove(UNTIL)
        .remove(LEASE_MS)
        .by_rule(Rule::PublisherOwns, still_creating(owner, fence))
}

/// `lock/<key>` and `slot/<n>`: who has it, until when, and the number of the holder. It is never deleted,
/// so that the number only grows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lock {
    pub space: String,
    pub name: String,
    pub owner: Option<String>,
    pub until: Option<i64>,
    pub lease_ms: Option<u64>,
    pub fence: u64,
    pub expires_at: Option<i64>,
}

const LOCK_OWNER: Column<Lock, String> = Column::new("owner");
const LOCK_UNTIL: Column<Lock, i64> = Column::new("until");
const LOCK_LEASE_MS: Column<Lock, u64> = Column::new("lease_ms");
const LOCK_FENCE: Column<Lock, u64> = Column::new("fence");

pub fn acquire(place: &Place, now: Timestamp, claim: &Claim) -> Update<Lock> {
    let mut free = Condition::has(LOCK_OWNER).not();
    if let Some(late) = claim.late {
        free = free.or(Condition::less(LOCK_UNTIL, late.millis()));
    }
    if let Some((fence, until)) = claim.ended {
        free = free.or(Condition::equals(LOCK_FENCE, fence).and(Condition::equals(LOCK_UNTIL, until)));
    }
    Update::new()
        .kept(place, now)
        .set(LOCK_OWNER, claim.owner.clone())
        .set(LOCK_UNTIL, claim.until)
        .set(LOCK_LEASE_MS, claim.lease_ms)
        .add(LOCK_FENCE, 1)
        .by_rule(Rule::LockIsFree, free)
}

/// This holder has the lock.
pub fn held(owner: &str, fence: u64) -> Condition<Lock> {
    Condition::equals(LOCK_OWNER, owner.to_owned()).and(Condition::equals(LOCK_FENCE, fence))
}

pub fn renew(owner: &str, fence: u64, until: i64) -> Update<Lock> {
    Update::new()
        .set(LOCK_UNTIL, until)
        .by_rule(Rule::HolderOwns, held(owner, fence))
        .by_rule(Rule::UntilOnlyGrows, Condition::at_most(LOCK_UNTIL, until))
}

pub fn release(owner: &str, fence: u64) -> Update<Lock> {
    Update::new().remove(LOCK_OWNER).remove(LOCK_UNTIL).by_rule(Rule::HolderOwns, held(owner, fence))
}

/// Removes whoever holds a lock, for an operator who knows that the holder is gone.
pub fn break_lock(fence: u64) -> Update<Lock> {
    Update::new().remove(LOCK_OWNER).remove(LOCK_UNTIL).when(Condition::equals(LOCK_FENCE, fence))
}

fn not_newer(token: u64) -> Condition<Cell> {
    Condition::has(LEASE_TOKEN).not().or(Condition::at_most(LEASE_TOKEN, token))
}

pub fn fenced(place: &Place, now: Timestamp, value: Value, nonce: &str, token: u64) -> Update<Cell> {
    let update = Update::new()
        .kept(place, now)
        .set(VALUE, value)
        .set(WRITER, nonce.to_owned())
        .set(LEASE_TOKEN, token)
        .add(VERSION, 1);
    not_in_the_making(update).remove(RECENT).by_rule(Rule::FenceOnlyGrows, not_newer(token))
}

/// Raises the fence of a key, so that older holders can write it no more.
pub fn raise_fence(place: &Place, now: Timestamp, token: u64) -> Update<Cell> {
    Update::new().kept(place, now).set(LEASE_TOKEN, token).by_rule(Rule::FenceOnlyGrows, not_newer(token))
}

/// `barrier/<name>`: who has arrived, used once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Barrier {
    pub space: String,
    pub name: String,
    pub size: Option<usize>,
    #[serde(with = "serde_dynamo::string_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub members: BTreeSet<String>,
    /// Those among the members who will not come.
    #[serde(with = "serde_dynamo::string_set", skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<String>,
    pub broken: Option<String>,
    pub expires_at: Option<i64>,
}

const SIZE: Column<Barrier, usize> = Column::new("size");
const MEMBERS: Column<Barrier, BTreeSet<String>> = Column::new("members");
const GONE: Column<Barrier, BTreeSet<String>> = Column::new("gone");
const BARRIER_BROKEN: Column<Barrier, String> = Column::new("broken");

pub fn arrive(
    place: &Place,
    now: Timestamp,
    size: usize,
    members: BTreeSet<String>,
    gone: BTreeSet<String>,
) -> Update<Barrier> {
    let same_size = Condition::has(SIZE).not().or(Condition::equals(SIZE, size));
    Update::new()
        .kept(place, now)
        .set(SIZE, size)
        .insert_all(MEMBERS, members)
        .insert_all(GONE, gone)
        .when(same_size)
        .when(Condition::has(BARRIER_BROKEN).not())
}

pub fn break_barrier(place: &Place, now: Timestamp, size: usize, why: String) -> Update<Barrier> {
    let not_full = Condition::has(MEMBERS).not().or(Condition::size_below(MEMBERS, size as u64));
    Update::new()
        .kept(place, now)
        .set(BARRIER_BROKEN, why)
        .set_if_absent(SIZE, size)
        .when(Condition::has(BARRIER_BROKEN).not())
        .by_rule(Rule::FullStaysFull, not_full)
}

/// `deal/<list>`: written last by the load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deal {
    pub space: String,
    pub name: String,
    pub size: usize,
    pub shards: usize,
    pub digest: String,
    pub expires_at: Option<i64>,
}

/// `deal-values/` and `pool-values/`: elements, which never change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Values {
    pub space: String,
    pub name: String,
    pub values: Vec<Value>,
    pub expires_at: Option<i64>,
}

/// `deal-claims/`: who has which element of a shard.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    pub space: String,
    pub name: String,
    pub size: u64,
    pub next: u64,
    pub claims: BTreeMap<String, u64>,
    /// Who is about to give back, by a nonce for each time.
    pub giving: BTreeMap<String, String>,
    pub expires_at: Option<i64>,
}

const NEXT: Column<Claims, u64> = Column::new("next");
const OF: Column<Claims, u64> = Column::new("size");

/// `deal-back/`: elements that were given back, and who has them since.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Back {
    pub space: String,
    pub name: String,
    pub back: Vec<String>,
    pub claims: BTreeMap<String, String>,
    /// As in [`Claims`].
    pub giving: BTreeMap<String, String>,
    pub expires_at: Option<i64>,
}

const BACK: Column<Back, Vec<String>> = Column::new("back");

/// A record that says who has what: a number in a shard, a text among what was returned.
pub trait Claimed: Table<Key = (String, String)> + Clone {
    type Element: Clone + PartialEq + Serialize;

    fn claims(&self) -> &BTreeMap<String, Self::Element>;
    fn giving(&self) -> &BTreeMap<String, String>;
}

impl Claimed for Claims {
    type Element = u64;

    fn claims(&self) -> &BTreeMap<String, u64> {
        &self.claims
    }

    fn giving(&self) -> &BTreeMap<String, String> {
        &self.giving
    }
}

impl Claimed for Back {
    type Element = String;

    fn claims(&self) -> &BTreeMap<String, String> {
        &self.claims
    }

    fn giving(&self) -> &BTreeMap<String, String> {
        &self.giving
    }
}

fn claim_of<T: Claimed>(who: &str) -> Column<T, T::Element> {
    Column::<T, BTreeMap<String, T::Element>>::new("claims").entry(who)
}

fn giving_of<T: Claimed>(who: &str) -> Column<T, String> {
    Column::<T, BTreeMap<String, String>>::new("giving").entry(who)
}

/// The next element of a shard.
pub fn deal(place: &Place, now: Timestamp, who: &str) -> Update<Claims> {
    Update::new()
        .kept(place, now)
        .copy(NEXT, claim_of(who))
        .add(NEXT, 1)
        .by_rule(Rule::OneElementEach, Condition::has(claim_of(who)).not())
        .by_rule(Rule::ShardHasMore, Condition::less_than_column(NEXT, OF))
}

/// The oldest element that was given back.
pub fn deal_returned(place: &Place, now: Timestamp, who: &str) -> Update<Back> {
    Update::new()
        .kept(place, now)
        .copy(BACK.first(), claim_of::<Back>(who))
        .remove(BACK.first())
        .when(Condition::size_above(BACK, 0))
        .by_rule(Rule::OneElementEach, Condition::has(claim_of::<Back>(who)).not())
}

/// Somebody is about to give back what they have, unless they ask for it again before.
pub fn announce<T: Claimed>(who: &str, has: &T::Element, nonce: &str) -> Update<T> {
    let has_it = Condition::equals(claim_of(who), has.clone());
    Update::new().set(giving_of(who), nonce.to_owned()).by_rule(Rule::GiverHasIt, has_it)
}

/// Somebody who was about to give back has asked again.
pub fn keep<T: Claimed>(who: &str, nonce: &str) -> Update<T> {
    Update::new().remove(giving_of(who)).when(Condition::equals(giving_of(who), nonce.to_owned()))
}

/// Takes away what somebody gives back as they have announced it.
pub fn unclaim<T: Claimed>(who: &str, nonce: &str) -> Update<T> {
    Update::new()
        .remove(claim_of(who))
        .remove(giving_of(who))
        .when(Condition::equals(giving_of(who), nonce.to_owned()))
}

pub fn take_back(text: String) -> Update<Back> {
    Update::new().append(BACK, text)
}

pub fn take_back_again(who: &str, nonce: &str, again: String) -> Update<Back> {
    unclaim(who, nonce).append(BACK, again)
}

/// `permit/<name>` and `pool/<name>`: who holds, and until when. In a permit `holders` has the ends; in a pool
/// it has the elements, and `until` the ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Holders {
    pub space: String,
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub free: Vec<u64>,
    pub holders: Option<BTreeMap<String, i64>>,
    pub until: Option<BTreeMap<String, i64>>,
    pub digest: Option<String>,
    pub expires_at: Option<i64>,
}

const FREE: Column<Holders, Vec<i64>> = Column::new("free");
const HOLDERS: Column<Holders, BTreeMap<String, i64>> = Column::new("holders");
const ENDS: Column<Holders, BTreeMap<String, i64>> = Column::new("until");

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    Permit { max: u64 },
    Pool,
}

pub fn init_permit(place: &Place, now: Timestamp) -> Update<Holders> {
    Update::new().kept(place, now).set_if_absent(HOLDERS, BTreeMap::new())
}

impl Hold {
    pub fn name(self) -> &'static str {
        match self {
            Self::Permit { .. } => "permit",
            Self::Pool => "pool",
        }
    }

    fn ends(self, record: &Holders) -> Option<&BTreeMap<String, i64>> {
        match self {
            Self::Permit { .. } => record.holders.as_ref(),
            Self::Pool => record.until.as_ref(),
        }
    }

    fn end(self, who: &str) -> Column<Holders, i64> {
        match self {
            Self::Permit { .. } => HOLDERS.entry(who),
            Self::Pool => ENDS.entry(who),
        }
    }

    pub fn until_of(self, record: &Holders, who: &str) -> Option<i64> {
        self.ends(record)?.get(who).copied()
    }

    pub fn index_of(self, record: &Holders, who: &str) -> Option<u64> {
        let index = record.holders.as_ref()?.get(who).copied();
        index.filter(|_| self == Self::Pool).and_then(|index| u64::try_from(index).ok())
    }

    pub fn has_room(self, record: &Holders) -> bool {
        match self {
            Self::Permit { max } => {
                record.holders.as_ref().is_none_or(|holders| (holders.len() as u64) < max)
            }
            Self::Pool => !record.free.is_empty(),
        }
    }

    /// Somebody whose lease has ended for everybody.
    pub fn dead(self, record: &Holders, late: i64) -> Option<(String, i64)> {
        let ended = self.ends(record)?.iter().find(|(_, until)| **until < late);
        ended.map(|(who, until)| (who.clone(), *until))
    }

    pub fn take(self, place: &Place, now: Timestamp, who: &str, until: i64) -> Update<Holders> {
        let update = Update::new().kept(place, now).set(self.end(who), until);
        let none_yet = Condition::has(HOLDERS.entry(who)).not();
        match self {
            Self::Permit { max } => {
                // The map must be there for the size to be known.
                let room = Condition::size_below(HOLDERS, max);
                update.when(Condition::has(HOLDERS)).by_rule(Rule::HolderFits, none_yet.and(room))
            }
            Self::Pool => update
                .copy(FREE.first(), HOLDERS.entry(who))
                .remove(FREE.first())
                .when(Condition::size_above(FREE, 0))
                .by_rule(Rule::HolderFits, none_yet),
        }
    }

    pub fn take_over(
        self,
        place: &Place,
        now: Timestamp,
        who: &str,
        until: i64,
        dead: &str,
        ended: i64,
    ) -> Update<Holders> {
        let update = Update::new()
            .kept(place, now)
            .set(self.end(who), until)
            .remove(self.end(dead))
            .when(Condition::has(HOLDERS.entry(who)).not())
            .by_rule(Rule::DeadAsSeen, Condition::equals(self.end(dead), ended));
        match self {
            Self::Permit { .. } => update,
            Self::Pool => update.copy(HOLDERS.entry(dead), HOLDERS.entry(who)).remove(HOLDERS.entry(dead)),
        }
    }

    /// Of each its name, its end as the store has it, and the new one.
    pub fn renew(self, entries: &[(String, i64, i64)]) -> Update<Holders> {
        let mut update = Update::new();
        for (who, old, new) in entries {
            let as_seen = Condition::equals(self.end(who), *old);
            update = update.set(self.end(who), *new).by_rule(Rule::HolderAsSeen, as_seen);
        }
        update
    }

    pub fn give_back(
        self,
        place: &Place,
        now: Timestamp,
        who: &str,
        until: i64,
        index: Option<u64>,
    ) -> Update<Holders> {
        let update = Update::new()
            .kept(place, now)
            .remove(self.end(who))
            .by_rule(Rule::HolderAsSeen, Condition::equals(self.end(who), until));
        match index {
            None => update,
            // A request to take that arrives late may have got them another element under the same end.
            Some(index) => update
                .append(FREE, index as i64)
                .remove(HOLDERS.entry(who))
                .by_rule(Rule::GiverHasIt, Condition::equals(HOLDERS.entry(who), index as i64)),
        }
    }
}

/// `ids`: how many were handed out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ids {
    pub space: String,
    pub name: String,
    pub next: u64,
    pub expires_at: Option<i64>,
}

pub const ID_NEXT: Column<Ids, u64> = Column::new("next");

/// `config`: run-time configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub space: String,
    pub name: String,
    pub value: BTreeMap<String, Value>,
    pub version: u64,
    pub expires_at: Option<i64>,
}

pub const CONFIG_VERSION: Column<Config, u64> = Column::new("version");
