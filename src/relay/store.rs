//! What the relay keeps, and every step that it makes in it.
//!
//! A step is data: a [`Change`] is one transaction, a [`Note`] one conditional write. So that the engine can be
//! driven over [`Tables`] and, in simulations of whole fleets, over a model of them; a test does the same steps
//! in both and compares.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::slice;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::dynamo::{
    Column, Commit, Condition, Dynamo, Error, Personal, Places, Privacy, Query, Table, TableSpec, Token,
    Transaction, Update,
};
use crate::relay::channels::ChannelRecord;
use crate::relay::envelope::Life;
use crate::relay::frame::{Lane, Reason};
use crate::relay::link::{InLane, OutLane};
use crate::relay::name::{BotName, Chain, EnvelopeId, base32};
use crate::relay::rules::state::StateRecord;
use crate::relay::table::MailRecord;

/// All tables of the relay.
pub const TABLES: &[TableSpec] = &[
    TableSpec::of::<EnvelopeRecord>(),
    TableSpec::of::<OutboxRecord>(),
    TableSpec::of::<LinkRecord>(),
    TableSpec::of::<DeadRecord>(),
    TableSpec::of::<MailRecord>(),
    TableSpec::of::<ChannelRecord>(),
    TableSpec::of::<StateRecord>(),
];

/// An id is remembered for a day longer than its envelope may be accepted, so that a repeat meets the memory
/// or the end of its life.
const KEPT_AFTER_SECONDS: i64 = 24 * 3_600;

/// Somebody who was away for three weeks still finds them.
const DEAD_KEPT_SECONDS: i64 = 30 * 24 * 3_600;

/// A queue of envelopes: to a peer, or to our own rules.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Out {
    Link(BotName, Lane),
    Here,
}

impl Out {
    /// Its name in the outbox.
    pub fn name(&self) -> String {
        match self {
            Self::Link(peer, lane) => format!("{peer}/{}", lane.name()),
            Self::Here => "here".to_owned(),
        }
    }

    /// Its name among the dead letters.
    pub fn dead_name(&self) -> String {
        match self {
            Self::Link(..) => format!("out/{}", self.name()),
            Self::Here => self.name(),
        }
    }

    /// A bot may be called `here`: the second part tells it from our own queue.
    fn key(&self) -> (String, String) {
        match self {
            Self::Link(peer, lane) => (peer.to_string(), format!("out/{}", lane.name())),
            Self::Here => ("here".to_owned(), "here".to_owned()),
        }
    }
}

/// An envelope as it is kept: as text, because it was checked when it came.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kept {
    pub id: EnvelopeId,
    pub text: String,
    pub signature: Option<String>,
    /// The bots that have had it, without us.
    pub path: Vec<BotName>,
    pub at: Timestamp,
    pub until: Timestamp,
}

/// Rows that join a queue together are one record, of at most so many: unless the bots' names are long, that stays
/// below 1 KB, the least that a write costs.
pub const ROWS_TOGETHER: usize = 24;

/// A row, and the record that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    pub number: u64,
    /// Of the first row in the record.
    pub first: u64,
    /// How many rows joined with it, itself among them.
    pub count: u64,
}

/// A row of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub row: RowId,
    pub id: EnvelopeId,
    pub before: Chain,
    pub skip: Option<Reason>,
    /// Of our own queue: how often acting on it has failed, and when to try again.
    pub tries: u32,
    pub due: Timestamp,
}

/// Envelopes that join a queue, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Joining {
    pub out: Out,
    /// The queue as it was read; `None`: there is none yet.
    pub known: Option<OutLane>,
    /// Where it begins if there is none yet.
    pub epoch: u64,
    pub envelopes: Vec<(EnvelopeId, Timestamp)>,
}

impl Joining {
    fn before(&self) -> OutLane {
        let new = || OutLane { epoch: self.epoch, next: 0, acked: 0, chain: Chain::start() };
        self.known.clone().unwrap_or_else(new)
    }

    /// The queue as it is afterwards.
    pub fn after(&self) -> OutLane {
        let lane = self.before();
        let chain = self.envelopes.iter().fold(lane.chain, |chain, (id, _)| chain.after(id));
        OutLane { next: lane.next + self.envelopes.len() as u64, chain, ..lane }
    }

    /// How many records they are.
    fn count(&self) -> usize {
        self.envelopes.len().div_ceil(ROWS_TOGETHER)
    }

    /// The records that join it.
    fn records(&self) -> Vec<OutboxRecord> {
        let OutLane { mut next, mut chain, .. } = self.before();
        let mut records = Vec::new();
        for some in self.envelopes.chunks(ROWS_TOGETHER) {
            let until = some.iter().map(|(_, until)| *until).max().expect("a chunk is not empty");
            records.push(OutboxRecord {
                lane: self.out.name(),
                number: next,
                ids: some.iter().map(|(id, _)| id.clone()).collect(),
                before: chain.clone(),
                gone: BTreeSet::new(),
                skips: BTreeMap::new(),
                tries: BTreeMap::new(),
                due: BTreeMap::new(),
                expires_at: until.seconds() + KEPT_AFTER_SECONDS,
            });
            next += some.len() as u64;
            chain = some.iter().fold(chain, |chain, (id, _)| chain.after(id));
        }
        records
    }

    /// The rows that join it.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.records().into_iter().flat_map(OutboxRecord::rows).collect()
    }
}

/// Numbers of a peer's lane that are used up, and our chain after them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Taken {
    pub peer: BotName,
    pub lane: Lane,
    pub epoch: u64,
    /// The first of them.
    pub number: u64,
    /// The one that we wait for afterwards.
    pub next: u64,
    pub chain: Chain,
}

/// An envelope that somebody has to look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dead {
    /// `out/hub/events`, `in/hub/events` or `here`.
    pub lane: String,
    pub at: Timestamp,
    pub id: EnvelopeId,
    pub reason: Reason,
    pub detail: String,
    pub text: Option<String>,
    pub signature: Option<String>,
    pub path: Vec<BotName>,
}

/// What a change depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// We wait for the first of these numbers.
    Take(Taken),
    /// These rows of our own queue are still there; they go.
    Done(Vec<RowId>),
    /// This dead letter is still there; it goes.
    Revive { lane: String, at: String },
}

/// One transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    pub steps: Vec<Step>,
    /// None of them may be there.
    pub envelopes: Vec<(Kept, Option<BotName>)>,
    pub joining: Vec<Joining>,
    pub dead: Vec<Dead>,
    /// What rules remember from now on.
    pub states: Vec<StateRecord>,
}

impl Step {
    /// How many writes it is.
    fn writes(&self) -> usize {
        match self {
            Self::Done(rows) => by_record(rows).len(),
            Self::Take(_) | Self::Revive { .. } => 1,
        }
    }
}

impl Change {
    /// How many writes it is.
    pub fn writes(&self) -> usize {
        let joining: usize = self.joining.iter().map(|joining| 1 + joining.count()).sum();
        let steps: usize = self.steps.iter().map(Step::writes).sum();
        steps + self.envelopes.len() + joining + self.dead.len() + self.states.len()
    }
}

/// The numbers of rows by the record that they are in: its first number, and how many it has.
fn by_record(rows: &[RowId]) -> BTreeMap<(u64, u64), BTreeSet<u64>> {
    let mut records: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for row in rows {
        records.entry((row.first, row.count)).or_default().insert(row.number);
    }
    records
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// Nothing was written: a step that it depends on does not hold.
    Passed,
    /// Nothing was written: this one of its envelopes is there.
    Known(usize),
    /// Nothing was written: a queue has grown since it was read.
    Moved,
}

/// A single conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A peer's lane begins another history.
    Adopt { peer: BotName, lane: Lane, epoch: u64, expected: u64 },
    /// A peer's lane goes on behind a gap.
    Behind { peer: BotName, lane: Lane, epoch: u64, expected: u64 },
    /// What a queue is settled up to.
    Acked { out: Out, epoch: u64, acked: u64 },
    /// A queue begins another history, with the same numbers.
    Renew { out: Out, old: u64, new: u64 },
    /// Acting on a row failed.
    Again { row: RowId, tries: u32, due: Timestamp },
    /// A peer came or went.
    Seen { peer: BotName, up: bool, since: Timestamp },
    /// Nothing is to be sent under this number any more.
    Skip { out: Out, row: RowId, reason: Reason },
}

/// Where the relay keeps what it must not lose.
pub trait Store: Send + Sync {
    /// All of it or nothing.
    fn write(&self, change: &Change) -> impl Future<Output = Result<Written, Error>> + Send;
    /// `false`: its condition does not hold, and nothing was written.
    fn note(&self, note: &Note) -> impl Future<Output = Result<bool, Error>> + Send;
    fn out_lane(&self, out: &Out) -> impl Future<Output = Result<Option<OutLane>, Error>> + Send;
    fn in_lane(
        &self,
        peer: &BotName,
        lane: Lane,
    ) -> impl Future<Output = Result<Option<InLane>, Error>> + Send;
    /// Rows of a queue in order, from a number on: as many, and those that joined it with the last.
    fn rows(&self, out: &Out, from: u64, limit: u32) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;
    /// Those of the envelopes that are there.
    fn kept_all(
        &self,
        ids: &[EnvelopeId],
    ) -> impl Future<Output = Result<BTreeMap<EnvelopeId, Kept>, Error>> + Send;
    fn kept(&self, id: &EnvelopeId) -> impl Future<Output = Result<Option<Kept>, Error>> + Send {
        async move { Ok(self.kept_all(slice::from_ref(id)).await?.remove(id)) }
    }
}

/// One record of `relay_envelopes`: an envelope, and the memory that it was here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnvelopeRecord {
    pub id: EnvelopeId,
    /// When it was made and until when it lives stands here and nowhere else: each attribute of a record costs.
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    pub path: Vec<BotName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came_from: Option<BotName>,
    pub expires_at: i64,
}

const EXPIRES_AT: &str = "expires_at";

impl Table for EnvelopeRecord {
    const NAME: &'static str = "relay_envelopes";
    const KEY: &'static [&'static str] = &["id"];
    const EXPIRES: Option<&'static str> = Some(EXPIRES_AT);
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("id", Privacy::None),
            ("text", Privacy::Text),
            ("signature", Privacy::None),
            ("path", Privacy::None),
            ("came_from", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Nowhere,
        kept: "a day longer than the message lives, at most 31 days",
    };
    type Key = String;

    fn key(&self) -> String {
        self.id.to_string()
    }
}

/// One record of `relay_outbox`: rows of a queue that joined it together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutboxRecord {
    pub lane: String,
    /// Of the first row; the others follow without gaps.
    pub number: u64,
    pub ids: Vec<EnvelopeId>,
    pub before: Chain,
    /// Those that were acted upon while others of the record were not.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "serde_dynamo::number_set")]
    pub gone: BTreeSet<u64>,
    /// Why nothing is to be sent under a number.
    pub skips: BTreeMap<String, Reason>,
    /// How often acting on a number has failed, and when to try again, in milliseconds since 1970.
    pub tries: BTreeMap<String, u32>,
    pub due: BTreeMap<String, i64>,
    pub expires_at: i64,
}

impl OutboxRecord {
    const GONE: Column<Self, BTreeSet<u64>> = Column::new("gone");
    const SKIPS: Column<Self, BTreeMap<String, Reason>> = Column::new("skips");
    const TRIES: Column<Self, BTreeMap<String, u32>> = Column::new("tries");
    const DUE: Column<Self, BTreeMap<String, i64>> = Column::new("due");

    /// The number after its last.
    fn end(&self) -> u64 {
        self.number + self.ids.len() as u64
    }

    /// If the record is there, this row of it is too.
    fn has(number: u64) -> Condition<Self> {
        Condition::contains(Self::GONE, number).not()
    }

    /// The rows in it that are still there.
    fn rows(self) -> Vec<Row> {
        let Self { number: first, ids, mut before, gone, skips, tries, due, .. } = self;
        let (count, mut rows) = (ids.len() as u64, Vec::new());
        for (number, id) in (first..).zip(ids) {
            let after = before.after(&id);
            let before = std::mem::replace(&mut before, after);
            let (key, row) = (number.to_string(), RowId { number, first, count });
            let (skip, tries) = (skips.get(&key).copied(), tries.get(&key).copied().unwrap_or(0));
            let due = Timestamp::from_millis(due.get(&key).copied().unwrap_or(0));
            rows.push(Row { row, id, before, skip, tries, due });
        }
        rows.retain(|row| !gone.contains(&row.row.number));
        rows
    }
}

impl Table for OutboxRecord {
    const NAME: &'static str = "relay_outbox";
    const KEY: &'static [&'static str] = &["lane", "number"];
    const EXPIRES: Option<&'static str> = Some(EXPIRES_AT);
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("lane", Privacy::None),
            ("number", Privacy::None),
            ("ids", Privacy::None),
            ("before", Privacy::None),
            ("gone", Privacy::None),
            ("skips", Privacy::None),
            ("tries", Privacy::None),
            ("due", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Nowhere,
        kept: "a day longer than the message lives, at most 31 days",
    };
    type Key = OutboxKey;

    fn key(&self) -> OutboxKey {
        (self.lane.clone(), self.number)
    }
}

type OutboxKey = (String, u64);

/// One record of `relay_links`: where one direction of a link stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkRecord {
    pub peer: String,
    pub way: String,
    pub epoch: u64,
    /// Of a way out.
    pub next: Option<u64>,
    pub acked: Option<u64>,
    /// Of a way in.
    pub expected: Option<u64>,
    pub chain: Option<Chain>,
    /// Whether the peer is there, and since when, in milliseconds since 1970.
    pub up: Option<bool>,
    pub since: Option<i64>,
}

impl LinkRecord {
    const UP: Column<Self, bool> = Column::new("up");
    const SINCE: Column<Self, i64> = Column::new("since");
    const EPOCH: Column<Self, u64> = Column::new("epoch");
    const NEXT: Column<Self, u64> = Column::new("next");
    const ACKED: Column<Self, u64> = Column::new("acked");
    const EXPECTED: Column<Self, u64> = Column::new("expected");
    const CHAIN: Column<Self, Chain> = Column::new("chain");
}

impl Table for LinkRecord {
    const NAME: &'static str = "relay_links";
    const KEY: &'static [&'static str] = &["peer", "way"];
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("peer", Privacy::None),
            ("way", Privacy::None),
            ("epoch", Privacy::None),
            ("next", Privacy::None),
            ("acked", Privacy::None),
            ("expected", Privacy::None),
            ("chain", Privacy::None),
            ("up", Privacy::None),
            ("since", Privacy::None),
        ],
        places: Places::Nowhere,
        kept: "as long as the bot runs",
    };
    type Key = (String, String);

    fn key(&self) -> (String, String) {
        (self.peer.clone(), self.way.clone())
    }
}

/// One record of `relay_dead`: an envelope that somebody has to look at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadRecord {
    pub lane: String,
    /// `<time>#<id>`
    pub at: String,
    pub id: EnvelopeId,
    pub reason: Reason,
    pub detail: String,
    pub text: Option<String>,
    pub signature: Option<String>,
    pub path: Vec<BotName>,
    pub expires_at: i64,
}

impl Table for DeadRecord {
    const NAME: &'static str = "relay_dead";
    const KEY: &'static [&'static str] = &["lane", "at"];
    const EXPIRES: Option<&'static str> = Some(EXPIRES_AT);
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("lane", Privacy::None),
            ("at", Privacy::None),
            ("id", Privacy::None),
            ("reason", Privacy::None),
            ("detail", Privacy::None),
            ("text", Privacy::Text),
            ("signature", Privacy::None),
            ("path", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Nowhere,
        kept: "30 days",
    };
    type Key = (String, String);

    fn key(&self) -> (String, String) {
        (self.lane.clone(), self.at.clone())
    }
}

impl DeadRecord {
    /// When it was put there, as RFC 3339 has it.
    pub fn time(&self) -> &str {
        self.at.split('#').next().unwrap_or_default()
    }

    fn new(dead: &Dead) -> Self {
        Self {
            lane: dead.lane.clone(),
            at: format!("{}#{}", dead.at, dead.id),
            id: dead.id.clone(),
            reason: dead.reason,
            detail: dead.detail.clone(),
            text: dead.text.clone(),
            signature: dead.signature.clone(),
            path: dead.path.clone(),
            expires_at: dead.at.seconds() + DEAD_KEPT_SECONDS,
        }
    }
}

impl EnvelopeRecord {
    fn new(kept: &Kept, came_from: Option<&BotName>) -> Self {
        Self {
            id: kept.id.clone(),
            text: kept.text.clone(),
            signature: kept.signature.clone(),
            path: kept.path.clone(),
            came_from: came_from.cloned(),
            expires_at: kept.until.seconds() + KEPT_AFTER_SECONDS,
        }
    }

    fn kept(self) -> Kept {
        let Life { at, until } = Life::of(&self.text);
        Kept { id: self.id, text: self.text, signature: self.signature, path: self.path, at, until }
    }
}

fn seen_key(peer: &BotName) -> (String, String) {
    (peer.to_string(), "seen".to_owned())
}

fn in_key(peer: &BotName, lane: Lane) -> (String, String) {
    (peer.to_string(), format!("in/{}", lane.name()))
}

/// The relay's tables.
#[derive(Clone, Debug)]
pub struct Tables(pub Dynamo);

/// What a write of a transaction belongs to.
#[derive(Clone, Copy)]
enum Part {
    Step,
    Envelope(usize),
    Queue,
    Dead,
}

impl Tables {
    /// Whether a peer is there, and since when; `None`: it was never looked for.
    pub async fn seen(&self, peer: &BotName) -> Result<Option<(bool, Timestamp)>, Error> {
        let record = self.0.get::<LinkRecord>(seen_key(peer)).await?;
        Ok(record.and_then(|record| Some((record.up?, Timestamp::from_millis(record.since?)))))
    }

    /// An envelope as it is kept, and who sent it to us.
    pub async fn envelope(&self, id: &EnvelopeId) -> Result<Option<EnvelopeRecord>, Error> {
        self.0.get::<EnvelopeRecord>(id.to_string()).await
    }

    /// The dead letters of a lane, the newest first.
    pub async fn dead(&self, lane: &str, limit: u32) -> Result<Vec<DeadRecord>, Error> {
        let query = Query::<DeadRecord>::of(lane.to_owned()).newest_first();
        self.0.query_first(query, limit).await
    }
}

/// All that is hashed goes into one digest.
#[derive(Default)]
struct Fingerprint(Sha256);

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        self.0.clone().finalize().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

/// A change as a transaction, and what each of its writes belongs to.
fn transaction(change: &Change) -> (Transaction, Vec<Part>) {
    let mut parts = Vec::new();
    // The same change twice is the same transaction: a repeat is recognised by the store.
    let mut digest = Fingerprint::default();
    change.hash(&mut digest);
    let mut transaction = Transaction::new(Token::new(&base32(&digest.0.finalize())[..TOKEN_LENGTH]));
    for step in &change.steps {
        parts.extend(std::iter::repeat_n(Part::Step, step.writes()));
        transaction = match step {
            Step::Done(rows) => {
                by_record(rows).into_iter().fold(transaction, |transaction, (record, numbers)| {
                    let ((first, count), key) = (record, (Out::Here.name(), record.0));
                    if (first..first + count).all(|number| numbers.contains(&number)) {
                        let whole = Condition::present().and(Condition::has(OutboxRecord::GONE).not());
                        return transaction.delete_when::<OutboxRecord>(key, whole);
                    }
                    let there = |update: Update<_>, number: &u64| update.when(OutboxRecord::has(*number));
                    let update = numbers.iter().fold(Update::new(), there);
                    transaction.update(key, update.insert_all(OutboxRecord::GONE, numbers))
                })
            }
            Step::Revive { lane, at } => {
                transaction.delete_when::<DeadRecord>((lane.clone(), at.clone()), Condition::present())
            }
            Step::Take(taken) => {
                let update = Update::new()
                    .set(LinkRecord::EXPECTED, taken.next)
                    .set(LinkRecord::CHAIN, taken.chain.clone())
                    .when(Condition::equals(LinkRecord::EPOCH, taken.epoch))
                    .when(Condition::equals(LinkRecord::EXPECTED, taken.number));
                transaction.update(in_key(&taken.peer, taken.lane), update)
            }
        };
    }
    for (at, (kept, came_from)) in change.envelopes.iter().enumerate() {
        parts.push(Part::Envelope(at));
        transaction = transaction.put_if_absent(&EnvelopeRecord::new(kept, came_from.as_ref()));
    }
    for joining in &change.joining {
        parts.push(Part::Queue);
        transaction = join(transaction, joining);
        for record in joining.records() {
            parts.push(Part::Queue);
            transaction = transaction.put_if_absent(&record);
        }
    }
    for dead in &change.dead {
        parts.push(Part::Dead);
        transaction = transaction.put(&DeadRecord::new(dead));
    }
    for state in &change.states {
        parts.push(Part::Dead);
        transaction = transaction.put(state);
    }
    (transaction, parts)
}

/// 130 bits.
const TOKEN_LENGTH: usize = 26;

fn join(transaction: Transaction, joining: &Joining) -> Transaction {
    let ((peer, way), after) = (joining.out.key(), joining.after());
    let Some(known) = &joining.known else {
        let (epoch, next, acked) = (after.epoch, Some(after.next), Some(0));
        let chain = Some(after.chain);
        return transaction.put_if_absent(&LinkRecord {
            peer,
            way,
            epoch,
            next,
            acked,
            chain,
            ..LinkRecord::default()
        });
    };
    let update = Update::new()
        .set(LinkRecord::NEXT, after.next)
        .set(LinkRecord::CHAIN, after.chain)
        .when(Condition::equals(LinkRecord::NEXT, known.next))
        .when(Condition::equals(LinkRecord::EPOCH, known.epoch));
    transaction.update((peer, way), update)
}

impl Store for Tables {
    async fn write(&self, change: &Change) -> Result<Written, Error> {
        let (transaction, parts) = transaction(change);
        debug_assert_eq!(parts.len(), change.writes(), "a change is counted as it is written");
        Ok(match self.0.transact(transaction).await? {
            Commit::Done => Written::Done,
            Commit::Blocked(at) => match parts[at] {
                Part::Step => Written::Passed,
                Part::Envelope(at) => Written::Known(at),
                Part::Queue | Part::Dead => Written::Moved,
            },
            Commit::Repeated => return Err(Error::Rejected("two changes with one token".into())),
        })
    }

    async fn note(&self, note: &Note) -> Result<bool, Error> {
        let out_epoch = |epoch: u64| Condition::equals(LinkRecord::EPOCH, epoch);
        let (key, update) = match note {
            Note::Again { row: RowId { number, first, .. }, tries, due } => {
                let key = number.to_string();
                let entry = || OutboxRecord::TRIES.entry(&key);
                let earlier = Condition::less(entry(), *tries);
                let update = Update::new()
                    .set(entry(), *tries)
                    .set(OutboxRecord::DUE.entry(&key), due.millis())
                    .when(OutboxRecord::has(*number))
                    .when(Condition::has(entry()).not().or(earlier));
                return Ok(self.0.update((Out::Here.name(), *first), update).await?.applied().is_some());
            }
            Note::Skip { out, row: RowId { number, first, .. }, reason } => {
                let entry = OutboxRecord::SKIPS.entry(&number.to_string());
                let update = Update::new().set(entry, *reason).when(OutboxRecord::has(*number));
                return Ok(self.0.update((out.name(), *first), update).await?.applied().is_some());
            }
            Note::Adopt { peer, lane, epoch, expected } => {
                let newer =
                    Condition::has(LinkRecord::EPOCH).not().or(Condition::less(LinkRecord::EPOCH, *epoch));
                let update =
                    Update::new().set(LinkRecord::EPOCH, *epoch).set(LinkRecord::EXPECTED, *expected);
                (in_key(peer, *lane), update.remove(LinkRecord::CHAIN).when(newer))
            }
            Note::Behind { peer, lane, epoch, expected } => {
                let behind = out_epoch(*epoch).and(Condition::less(LinkRecord::EXPECTED, *expected));
                let update = Update::new().set(LinkRecord::EXPECTED, *expected).remove(LinkRecord::CHAIN);
                (in_key(peer, *lane), update.when(behind))
            }
            Note::Seen { peer, up, since } => {
                let other = Condition::has(LinkRecord::UP).not().or(Condition::equals(LinkRecord::UP, !*up));
                let update = Update::new().set(LinkRecord::EPOCH, 0).set(LinkRecord::UP, *up);
                (seen_key(peer), update.set(LinkRecord::SINCE, since.millis()).when(other))
            }
            Note::Acked { out, epoch, acked } => {
                let further = out_epoch(*epoch).and(Condition::less(LinkRecord::ACKED, *acked));
                (out.key(), Update::new().set(LinkRecord::ACKED, *acked).when(further))
            }
            Note::Renew { out, old, new } => {
                (out.key(), Update::new().set(LinkRecord::EPOCH, *new).when(out_epoch(*old)))
            }
        };
        Ok(self.0.upsert(key, update).await?.applied().is_some())
    }

    async fn out_lane(&self, out: &Out) -> Result<Option<OutLane>, Error> {
        let Some(record) = self.0.get::<LinkRecord>(out.key()).await? else { return Ok(None) };
        let missing =
            || Error::Corrupt { table: LinkRecord::NAME, source: "a way out without its ends".into() };
        let (next, acked) = record.next.zip(record.acked).ok_or_else(missing)?;
        let chain = record.chain.ok_or_else(missing)?;
        Ok(Some(OutLane { epoch: record.epoch, next, acked, chain }))
    }

    async fn in_lane(&self, peer: &BotName, lane: Lane) -> Result<Option<InLane>, Error> {
        let Some(record) = self.0.get::<LinkRecord>(in_key(peer, lane)).await? else { return Ok(None) };
        let missing =
            || Error::Corrupt { table: LinkRecord::NAME, source: "a way in without its end".into() };
        let expected = record.expected.ok_or_else(missing)?;
        Ok(Some(InLane { epoch: record.epoch, expected, chain: record.chain }))
    }

    async fn rows(&self, out: &Out, from: u64, limit: u32) -> Result<Vec<Row>, Error> {
        let (limit, lane) = (limit as usize, || Query::<OutboxRecord>::of(out.name()));
        let (mut rows, mut next, mut begins) = (Vec::new(), from, None);
        // Rows that joined together are read together. Those to come are expected to be together as the last were.
        let (mut together, mut more) = (ROWS_TOGETHER, true);
        while more && rows.len() < limit {
            let count = (limit - rows.len()).div_ceil(together);
            let asked = u32::try_from(count).unwrap_or(u32::MAX);
            let records = self.0.query_first(lane().at_least(next), asked).await?;
            begins = begins.or(records.first().map(|record| record.number));
            if let Some(last) = records.last() {
                (next, together) = (last.end(), last.ids.len().max(1));
            }
            more = records.len() == count;
            rows.extend(records.into_iter().flat_map(OutboxRecord::rows));
        }
        if from > 0 && begins != Some(from) {
            // The record that it is in may begin before it.
            let earlier = self.0.query_first(lane().less(from).newest_first(), 1).await?;
            rows.splice(..0, earlier.into_iter().flat_map(OutboxRecord::rows));
        }
        rows.retain(|row| row.row.number >= from);
        if let Some(last) = rows.get(limit.saturating_sub(1)).map(|row| row.row.first) {
            rows.retain(|row| row.row.first <= last);
        }
        Ok(rows)
    }

    async fn kept_all(&self, ids: &[EnvelopeId]) -> Result<BTreeMap<EnvelopeId, Kept>, Error> {
        let found = self.0.get_all::<EnvelopeRecord>(ids.iter().map(EnvelopeId::to_string)).await?;
        Ok(found.into_iter().map(|record| (record.id.clone(), record.kept())).collect())
    }
}

/// The same envelopes for several queues, by queue.
pub fn joining(
    known: &BTreeMap<Out, Option<OutLane>>,
    epoch: u64,
    envelopes: &[(EnvelopeId, Timestamp, Vec<Out>)],
) -> Vec<Joining> {
    let mut queues: BTreeMap<Out, Vec<(EnvelopeId, Timestamp)>> = BTreeMap::new();
    for (id, until, outs) in envelopes {
        for out in outs {
            queues.entry(out.clone()).or_default().push((id.clone(), *until));
        }
    }
    let joining = |(out, envelopes)| {
        let known = known.get(&out).cloned().flatten();
        Joining { out, known, epoch, envelopes }
    };
    queues.into_iter().map(joining).collect()
}
