//! One suite for every store: each kind of request that mneme sends, accepted and refused, and races.
//!
//! It runs on the embedded engine with the unit tests, and on DynamoDB Local by `make test-engines`. Each
//! case has tables of its own, so that cases share a server. Where engines are known to differ, the
//! difference is data beside the case and asserted as well: when an engine changes its answer, the suite
//! fails and the line is corrected. Cases assert codes and records, never messages, or who won a race.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, TableStatus, TimeToLiveSpecification};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Timestamp};
use crate::dynamo::connect::{Connected, Store, StoreConfig, connect};
use crate::dynamo::{
    Column, Commit, Condition, Dynamo, Error, Index, KeyAttribute, KeyKind, Patience, Projection, Query,
    Table, TableSpec, Token, Transaction, Tried, Units, Update, Updated, WRITES_MAX, measured,
};

/// The stores that the suite knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Embedded,
    DynamoDbLocal,
    LocalStack,
    Amazon,
}

/// What a case works on: empty tables on one engine.
pub struct Bench {
    engine: Engine,
    dynamo: Dynamo,
    clock: Clock,
}

impl Bench {
    /// What this engine answers: the usual, unless it is known to differ.
    fn expect<A: Copy>(&self, usual: A, differs: &[(Engine, A)]) -> A {
        let known = differs.iter().find(|(engine, _)| *engine == self.engine);
        known.map_or(usual, |(_, answer)| *answer)
    }
}

type Case = fn(Bench) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// All cases, by name.
        pub const CASES: &[(&str, Case)] = &[$((stringify!($name), |bench| Box::pin($name(bench)))),*];
    };
}

cases![
    what_was_put_is_read,
    a_put_may_have_a_condition,
    an_update_does_what_it_says,
    an_update_keeps_its_conditions,
    parts_of_attributes_are_moved_and_compared,
    a_refused_update_shows_what_was_found,
    a_delete_tells_what_was_there,
    the_order_is_that_of_utf8_bytes,
    a_range_is_what_it_says,
    a_full_page_has_a_cursor_and_the_next_may_be_empty,
    a_query_goes_on_beyond_a_megabyte,
    several_are_read_at_once_whatever_their_number,
    several_are_read_at_once_whatever_their_size,
    an_index_holds_what_it_was_told_to,
    a_transaction_is_all_or_nothing,
    a_token_is_used_once,
    refused_writes_show_what_was_found,
    a_transaction_has_a_limit,
    limits_are_where_they_should_be,
    text_is_measured_in_utf16_units,
    wrong_requests_are_rejected,
    expired_records_count_as_absent,
    units_are_reported,
    tables_are_created_once_and_checked,
    one_of_sixteen_wins,
    sixteen_add_up,
    sixteen_deliveries_of_one_event_have_one_effect,
    transfers_keep_the_sum,
];

/// What is asked here is what the engine answers, not how busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs all cases on a store, each with tables under its own prefix, and panics with the names of those
/// that failed.
pub async fn run(engine: Engine, store: &Store, prefix: &str) {
    let mut failed = Vec::new();
    for (number, (name, case)) in CASES.iter().enumerate() {
        let prefix = format!("{prefix}{number}-");
        let one = async {
            let clock = Clock::manual(NOW);
            let mut config = StoreConfig::new(store.clone());
            (config.table_prefix, config.clock) = (prefix, clock.clone());
            config.patience =
                Patience { attempt: PATIENCE, request: PATIENCE, confirm_for: PATIENCE, ..Patience::DEFAULT };
            let Connected { dynamo, .. } = connect(config).await.expect("the store opens");
            dynamo.create_tables(TABLES).await.expect("the tables are created");
            case(Bench { engine, dynamo, clock }).await;
        };
        if AssertUnwindSafe(one).catch_unwind().await.is_err() {
            failed.push(*name);
        }
    }
    assert!(failed.is_empty(), "failed on {engine:?}: {failed:?}");
}

/// By this clock records expire. Engines have clocks of their own, but none deletes at once.
const NOW: Timestamp = Timestamp::from_seconds(1_900_000_000);

/// Its attributes have names that are reserved words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Thing {
    server_id: u64,
    key: String,
    text: Option<String>,
    number: Option<i64>,
    copy: Option<i64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    map: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    list: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "serde_dynamo::number_set")]
    people: BTreeSet<u64>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty", with = "serde_dynamo::string_set")]
    words: BTreeSet<String>,
    event_id: Option<u64>,
    expires_at: Option<i64>,
}

const BY_EVENT: Index = Index {
    name: "by_event",
    range: KeyAttribute { name: "event_id", kind: KeyKind::Number },
    projection: Projection::Include(&["text", "expires_at"]),
};

impl Table for Thing {
    const NAME: &'static str = "thing";
    const KEY: &'static [&'static str] = &["server_id", "key"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const INDEXES: &'static [Index] = &[BY_EVENT];
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.server_id, self.key.clone())
    }
}

/// Neither range nor expiry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    name: String,
    sum: i64,
}

impl Table for Account {
    const NAME: &'static str = "account";
    const KEY: &'static [&'static str] = &["name"];
    type Key = String;

    fn key(&self) -> String {
        self.name.clone()
    }
}

const TABLES: &[TableSpec] = &[TableSpec::of::<Thing>(), TableSpec::of::<Account>()];

const TEXT: Column<Thing, String> = Column::new("text");
const NUMBER: Column<Thing, i64> = Column::new("number");
const COPY: Column<Thing, i64> = Column::new("copy");
const MAP: Column<Thing, BTreeMap<String, u64>> = Column::new("map");
const LIST: Column<Thing, Vec<String>> = Column::new("list");
const PEOPLE: Column<Thing, BTreeSet<u64>> = Column::new("people");
const WORDS: Column<Thing, BTreeSet<String>> = Column::new("words");
const SUM: Column<Account, i64> = Column::new("sum");

fn thing(key: &str) -> Thing {
    Thing { server_id: u64::MAX, key: key.to_owned(), ..Thing::default() }
}

fn text(key: &str, text: &str) -> Thing {
    Thing { text: Some(text.to_owned()), ..thing(key) }
}

fn account(name: &str, sum: i64) -> Account {
    Account { name: name.to_owned(), sum }
}

fn token(text: &str) -> Transaction {
    Transaction::new(Token::new(text))
}

async fn read(dynamo: &Dynamo, key: &str) -> Option<Thing> {
    dynamo.get(thing(key).key()).await.expect("a read")
}

async fn keys<R: crate::dynamo::KeyPart>(dynamo: &Dynamo, query: Query<Thing, R>) -> Vec<String> {
    let things = dynamo.query_all(query).await.expect("a query");
    things.into_iter().map(|thing| thing.key).collect()
}

fn all() -> Query<Thing> {
    Query::of(u64::MAX)
}

async fn what_was_put_is_read(Bench { dynamo, .. }: Bench) {
    assert_eq!(read(&dynamo, "a").await, None);
    let full = Thing {
        number: Some(i64::MIN),
        map: BTreeMap::from([("a.b".to_owned(), u64::MAX)]),
        list: vec![String::new(), "x".to_owned()],
        people: BTreeSet::from([u64::MAX, 0]),
        words: BTreeSet::from(["é".to_owned(), "😀".to_owned()]),
        ..text("a", "line\nbreak \u{0} \"quoted\" 😀")
    };
    dynamo.put(&full).await.expect("a put");
    assert_eq!(read(&dynamo, "a").await, Some(full.clone()));
    let eventual = dynamo.get_eventually(full.key()).await.expect("an eventual read");
    assert_eq!(eventual, Some(full));
    dynamo.put(&thing("a")).await.expect("a put over it");
    assert_eq!(read(&dynamo, "a").await, Some(thing("a")));
}

async fn a_put_may_have_a_condition(Bench { dynamo, .. }: Bench) {
    assert!(dynamo.put_if_absent(&text("a", "one")).await.expect("a put"));
    assert!(!dynamo.put_if_absent(&text("a", "two")).await.expect("a put"));
    let put = async |new: &str, old: &str| {
        let condition = Condition::equals(TEXT, old.to_owned());
        dynamo.put_when(text("a", new), condition).await.expect("a put")
    };
    assert_eq!(put("two", "zero").await, Updated::Blocked(Some(text("a", "one"))));
    assert_eq!(put("two", "one").await, Updated::Applied(text("a", "two")));
    let nothing = dynamo.put_when(text("b", "x"), Condition::present()).await.expect("a put");
    assert_eq!(nothing, Updated::Blocked(None));
    assert_eq!(read(&dynamo, "b").await, None);
}

async fn an_update_does_what_it_says(Bench { dynamo, .. }: Bench) {
    let upsert = async |update| dynamo.upsert(thing("a").key(), update).await.expect("an upsert").applied();
    let first = Update::new()
        .set(MAP, BTreeMap::from([("x".to_owned(), 1)]))
        .set_if_absent(TEXT, "first".to_owned())
        .add(NUMBER, 5)
        .append(LIST, "one".to_owned())
        .insert(PEOPLE, 7)
        .insert(WORDS, "w".to_owned());
    let expected = Thing {
        number: Some(5),
        map: BTreeMap::from([("x".to_owned(), 1)]),
        list: vec!["one".to_owned()],
        people: BTreeSet::from([7]),
        words: BTreeSet::from(["w".to_owned()]),
        ..text("a", "first")
    };
    assert_eq!(upsert(first).await, Some(expected.clone()));
    let second = Update::new()
        .set_if_absent(TEXT, "second".to_owned())
        .copy(NUMBER, COPY)
        .add(NUMBER, -7)
        .add(MAP.entry("x"), 2)
        .add(MAP.entry("a.b#c"), 3)
        .append(LIST, "two".to_owned())
        .insert(PEOPLE, 8)
        .take_out(WORDS, "w".to_owned());
    let expected = Thing {
        number: Some(-2),
        copy: Some(5),
        map: BTreeMap::from([("x".to_owned(), 3), ("a.b#c".to_owned(), 3)]),
        list: vec!["one".to_owned(), "two".to_owned()],
        people: BTreeSet::from([7, 8]),
        words: BTreeSet::new(),
        ..expected
    };
    assert_eq!(upsert(second).await, Some(expected.clone()));
    let third = Update::new().remove(MAP.entry("x")).remove(TEXT).remove(COPY);
    let map = BTreeMap::from([("a.b#c".to_owned(), 3)]);
    let expected = Thing { map, text: None, copy: None, ..expected };
    assert_eq!(upsert(third).await, Some(expected));
    assert_eq!(upsert(Update::new()).await, read(&dynamo, "a").await, "nothing to do is no error");
}

async fn an_update_keeps_its_conditions(Bench { dynamo, .. }: Bench) {
    let update = async |condition| {
        let update = Update::new().add(NUMBER, 1).when(condition);
        dynamo.update(thing("a").key(), update).await.expect("an update").applied().is_some()
    };
    assert!(!update(Condition::has(TEXT).not()).await, "an update does not create");
    let words = BTreeSet::from(["w".to_owned()]);
    dynamo.put(&Thing { number: Some(0), words, ..text("a", "x") }).await.expect("a put");
    let holds = [
        Condition::present(),
        Condition::has(TEXT),
        Condition::has(COPY).not(),
        Condition::equals(TEXT, "x".to_owned()),
        Condition::less(NUMBER, 10),
        Condition::greater(NUMBER, -1),
        Condition::contains(WORDS, "w".to_owned()),
        Condition::size_below(WORDS, 2),
        Condition::has(COPY).or(Condition::has(TEXT)),
        Condition::has(TEXT).and(Condition::has(COPY).not()).not().not(),
    ];
    for (number, condition) in holds.into_iter().enumerate() {
        assert!(update(condition).await, "condition {number} holds");
    }
    let fails = [
        Condition::absent(),
        Condition::has(COPY),
        Condition::equals(TEXT, "y".to_owned()),
        Condition::less(COPY, 10),
        Condition::greater(NUMBER, 1_000),
        Condition::contains(WORDS, "v".to_owned()),
        Condition::size_below(TEXT, 1),
        Condition::has(COPY).and(Condition::has(TEXT)),
    ];
    for (number, condition) in fails.into_iter().enumerate() {
        assert!(!update(condition).await, "condition {number} does not hold");
    }
    assert_eq!(read(&dynamo, "a").await.and_then(|thing| thing.number), Some(10));
}

async fn parts_of_attributes_are_moved_and_compared(Bench { dynamo, .. }: Bench) {
    const QUEUE: Column<Thing, Vec<String>> = Column::new("list");
    const NAMES: Column<Thing, BTreeMap<String, String>> = Column::new("names");
    let upsert = async |update| dynamo.upsert(thing("a").key(), update).await.expect("an upsert").applied();
    let list = |elements: &[&str]| elements.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let names = Update::new().set_if_absent(NAMES, BTreeMap::new()).set(QUEUE, list(&["x", "y"]));
    upsert(names).await.expect("there is no condition");
    let both = BTreeSet::from(["v".to_owned(), "w".to_owned()]);
    // The first element moves into an entry, as one step.
    let take = |who: &str| {
        let free = Condition::has(NAMES.entry(who)).not().and(Condition::size_above(QUEUE, 0));
        Update::new().copy(QUEUE.first(), NAMES.entry(who)).remove(QUEUE.first()).when(free)
    };
    let taken = upsert(take("ann: #1").insert_all(WORDS, both.clone())).await.expect("a free one");
    assert_eq!((taken.list, taken.words), (list(&["y"]), both));
    assert_eq!(upsert(take("ann: #1")).await, None, "ann has one");
    assert_eq!(upsert(take("bob")).await.expect("a free one").list, list(&[]));
    assert_eq!(upsert(take("cat")).await, None, "none is left");
    // An entry is handed on.
    let hand_on = Update::new()
        .copy(NAMES.entry("ann: #1"), NAMES.entry("cat"))
        .remove(NAMES.entry("ann: #1"))
        .when(Condition::equals(NAMES.entry("ann: #1"), "x".to_owned()));
    upsert(hand_on).await.expect("ann had it");
    let back = Update::new()
        .append(QUEUE, "x".to_owned())
        .remove(NAMES.entry("cat"))
        .when(Condition::equals(NAMES.entry("cat"), "x".to_owned()));
    assert_eq!(upsert(back).await.expect("cat has it").list, list(&["x"]));
    // A number counts up to another one.
    let count = |most: i64| {
        let room = Condition::less_than_column(NUMBER, COPY).and(Condition::at_most(NUMBER, most));
        Update::new().add(NUMBER, 1).when(room)
    };
    upsert(Update::new().set(NUMBER, 0).set(COPY, 2)).await.expect("there is no condition");
    assert_eq!(upsert(count(-1)).await, None);
    assert!(upsert(count(0)).await.is_some() && upsert(count(9)).await.is_some());
    assert_eq!(upsert(count(9)).await, None, "as many as the other says");
}

async fn a_refused_update_shows_what_was_found(Bench { dynamo, .. }: Bench) {
    let first = |key: &str| {
        let update = Update::new().set(TEXT, "mine".to_owned()).when(Condition::has(TEXT).not());
        dynamo.try_upsert(thing(key).key(), update)
    };
    assert_eq!(first("a").await.expect("an upsert"), Tried::Applied(text("a", "mine")));
    let refused = Tried::Refused { found: Some(text("a", "mine")), doubtful: false };
    assert_eq!(first("a").await.expect("an upsert"), refused);
    let never = Update::new().add(NUMBER, 1).when(Condition::has(TEXT));
    let refused = dynamo.try_upsert(thing("b").key(), never).await.expect("an upsert");
    assert_eq!(refused, Tried::Refused { found: None, doubtful: false });
}

async fn a_delete_tells_what_was_there(Bench { dynamo, .. }: Bench) {
    dynamo.put(&text("a", "x")).await.expect("a put");
    assert_eq!(dynamo.delete(thing("a").key()).await.expect("a delete"), Some(text("a", "x")));
    assert_eq!(dynamo.delete::<Thing>(thing("a").key()).await.expect("a delete"), None);
}

async fn the_order_is_that_of_utf8_bytes(Bench { dynamo, .. }: Bench) {
    // UTF-16 would put the emoji before the last one.
    let mut sorted = vec!["A", "Z", "a", "aa", "b", "é", "日", "\u{ffee}", "😀"];
    for key in sorted.iter().rev() {
        dynamo.put(&thing(key)).await.expect("a put");
    }
    assert_eq!(keys(&dynamo, all()).await, sorted);
    sorted.reverse();
    assert_eq!(keys(&dynamo, all().newest_first()).await, sorted);
}

async fn a_range_is_what_it_says(Bench { dynamo, .. }: Bench) {
    for key in ["a", "b", "b#1", "b#2", "c"] {
        dynamo.put(&text(key, if key == "b#1" { "odd" } else { "even" })).await.expect("a put");
    }
    let other = Thing { server_id: 1, ..thing("b") };
    dynamo.put(&other).await.expect("a put");
    let s = str::to_owned;
    assert_eq!(keys(&dynamo, all().at_least(s("b#2"))).await, ["b#2", "c"]);
    assert_eq!(keys(&dynamo, all().at_most(s("b"))).await, ["a", "b"]);
    assert_eq!(keys(&dynamo, all().less(s("b"))).await, ["a"]);
    assert_eq!(keys(&dynamo, all().between(s("b"), s("b#1"))).await, ["b", "b#1"]);
    assert_eq!(keys(&dynamo, all().starts_with("b#")).await, ["b#1", "b#2"]);
    assert_eq!(keys(&dynamo, all().after(thing("b#1").key())).await, ["b#2", "c"]);
    let odd = all().filter(Condition::equals(TEXT, s("odd"))).eventually();
    assert_eq!(keys(&dynamo, odd).await, ["b#1"]);
    assert_eq!(keys(&dynamo, Query::<Thing>::of(1)).await, ["b"]);
    assert_eq!(keys(&dynamo, Query::<Thing>::of(2)).await, Vec::<String>::new());
}

async fn a_full_page_has_a_cursor_and_the_next_may_be_empty(Bench { dynamo, .. }: Bench) {
    for key in ["a", "b", "c", "d"] {
        dynamo.put(&thing(key)).await.expect("a put");
    }
    let page = dynamo.query(all().limit(2)).await.expect("a page");
    let next = all().limit(2).resume(page.next.expect("there is more"));
    let page = dynamo.query(next).await.expect("a page");
    assert_eq!(page.records, [thing("c"), thing("d")]);
    let last = dynamo.query(all().resume(page.next.expect("nobody looked further"))).await.expect("a page");
    assert_eq!((last.records, last.next), (vec![], None));
}

async fn a_query_goes_on_beyond_a_megabyte(Bench { dynamo, .. }: Bench) {
    let long = "x".repeat(200_000);
    for key in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        dynamo.put(&text(key, &long)).await.expect("a put");
    }
    let page = dynamo.query(all()).await.expect("a page");
    assert!(page.next.is_some() && page.records.len() < 8, "a page has at most 1 MB");
    assert_eq!(keys(&dynamo, all()).await.len(), 8);
}

async fn several_are_read_at_once_whatever_their_number(Bench { dynamo, clock, .. }: Bench) {
    let key = |n: usize| format!("{n:03}");
    for n in 0..105 {
        let expires_at = (n == 50).then(|| NOW.seconds() + 10);
        dynamo.put(&Thing { expires_at, ..thing(&key(n)) }).await.expect("a put");
    }
    clock.advance(Duration::from_secs(10));
    // More than one request holds, some of them twice, and one that is not there.
    let asked = (0..106).chain(100..103).map(|n| thing(&key(n)).key());
    let found = dynamo.get_all::<Thing>(asked).await.expect("a read");
    let mut found: Vec<_> = found.into_iter().map(|thing| thing.key).collect();
    found.sort_unstable();
    assert_eq!(found, (0..105).filter(|n| *n != 50).map(key).collect::<Vec<_>>());
    assert_eq!(dynamo.get_all::<Thing>([]).await.expect("nothing to read"), []);
}

async fn several_are_read_at_once_whatever_their_size(Bench { dynamo, .. }: Bench) {
    // Together more than the 16 MB of one answer.
    let (long, count) = ("x".repeat(390_000), 45);
    for n in 0..count {
        dynamo.put(&text(&n.to_string(), &long)).await.expect("a put");
    }
    let found =
        dynamo.get_all::<Thing>((0..count).map(|n| thing(&n.to_string()).key())).await.expect("a read");
    let keys: BTreeSet<_> = found.into_iter().map(|thing| thing.key).collect();
    assert_eq!(keys.len(), count);
}

async fn an_index_holds_what_it_was_told_to(Bench { dynamo, .. }: Bench) {
    for (key, event) in [("a", Some(30)), ("b", Some(u64::MAX)), ("c", None), ("d", Some(4))] {
        let thing = Thing { event_id: event, number: Some(1), ..text(key, "x") };
        dynamo.put(&thing).await.expect("a put");
    }
    let by_event = || Query::<Thing, u64>::by_index(BY_EVENT, u64::MAX);
    assert_eq!(keys(&dynamo, by_event()).await, ["d", "a", "b"]);
    assert_eq!(keys(&dynamo, by_event().at_least(30).newest_first()).await, ["b", "a"]);
    let page = dynamo.query(by_event().limit(1)).await.expect("a page");
    assert_eq!(page.records, [Thing { event_id: Some(4), ..text("d", "x") }]);
    let rest = by_event().resume(page.next.expect("there is more"));
    assert_eq!(keys(&dynamo, rest).await, ["a", "b"]);
}

async fn a_transaction_is_all_or_nothing(Bench { dynamo, .. }: Bench) {
    for key in ["old", "changed", "checked"] {
        dynamo.put(&text(key, "x")).await.expect("a put");
    }
    let rename = || Update::new().set(TEXT, "y".to_owned());
    let all = |token_text: &str, expected: &str| {
        token(token_text)
            .put(&thing("put"))
            .put_if_absent(&account("new", 1))
            .update::<Thing>(thing("changed").key(), rename())
            .upsert::<Thing>(thing("created").key(), rename())
            .delete_when(thing("old").key(), Condition::<Thing>::present())
            .check(thing("checked").key(), Condition::equals(TEXT, expected.to_owned()))
    };
    assert_eq!(dynamo.transact(all("a", "z")).await.expect("an answer"), Commit::Blocked(5));
    assert_eq!(read(&dynamo, "put").await, None);
    assert_eq!(read(&dynamo, "created").await, None);
    assert_eq!(dynamo.transact(all("b", "x")).await.expect("an answer"), Commit::Done);
    assert_eq!(read(&dynamo, "put").await, Some(thing("put")));
    assert_eq!(read(&dynamo, "changed").await, Some(text("changed", "y")));
    assert_eq!(read(&dynamo, "created").await, Some(text("created", "y")));
    assert_eq!(read(&dynamo, "old").await, None);
    let missing = token("c").update::<Thing>(thing("missing").key(), rename());
    assert_eq!(dynamo.transact(missing).await.expect("an answer"), Commit::Blocked(0));
    let gone = token("d").delete::<Thing>(thing("missing").key());
    assert_eq!(dynamo.transact(gone).await.expect("an answer"), Commit::Done);
}

async fn a_token_is_used_once(Bench { dynamo, .. }: Bench) {
    let name = "123456789012345678901234567890123456";
    let add = |amount| token(name).upsert::<Account>("a".to_owned(), Update::new().add(SUM, amount));
    dynamo.put(&account("taken", 0)).await.expect("a put");
    let refused = token(name).put_if_absent(&account("taken", 1));
    assert_eq!(dynamo.transact(refused).await.expect("an answer"), Commit::Blocked(0));
    // A refused transaction does not take its token.
    assert_eq!(dynamo.transact(add(1)).await.expect("an answer"), Commit::Done);
    assert_eq!(dynamo.transact(add(1)).await.expect("an answer"), Commit::Done);
    assert_eq!(dynamo.transact(add(2)).await.expect("an answer"), Commit::Repeated);
    assert_eq!(dynamo.get("a".to_owned()).await.expect("a read"), Some(account("a", 1)));
}

async fn refused_writes_show_what_was_found(Bench { dynamo, .. }: Bench) {
    use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
    dynamo.put(&account("b", 7)).await.expect("a put");
    let put = |name: &str| {
        let put = Put::builder().table_name(dynamo.table_name(Account::NAME));
        let put = put
            .item("name", AttributeValue::S(name.to_owned()))
            .condition_expression("attribute_not_exists(#n)")
            .expression_attribute_names("#n", "name")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        TransactWriteItem::builder().put(put.build().expect("complete")).build()
    };
    let request = dynamo.client().transact_write_items().transact_items(put("a")).transact_items(put("b"));
    let failed = request.send().await.expect_err("b is there").into_service_error();
    let TransactWriteItemsError::TransactionCanceledException(canceled) = failed else {
        panic!("canceled, not {failed}");
    };
    let reasons = canceled.cancellation_reasons();
    let codes: Vec<_> = reasons.iter().map(|reason| reason.code().unwrap_or_default()).collect();
    assert_eq!(codes, ["None", "ConditionalCheckFailed"]);
    let sum = reasons[1].item().and_then(|item| item.get("sum")).cloned();
    assert_eq!(sum, Some(AttributeValue::N("7".to_owned())));
}

async fn a_transaction_has_a_limit(Bench { dynamo, .. }: Bench) {
    let many =
        |count: usize| (0..count).fold(token("a"), |all, number| all.put(&account(&number.to_string(), 0)));
    assert_eq!(dynamo.transact(many(WRITES_MAX)).await.expect("an answer"), Commit::Done);
    assert!(matches!(dynamo.transact(many(WRITES_MAX + 1)).await, Err(Error::TooLarge(_))));
    let long = "x".repeat(390_000);
    let large = (0..11).fold(token("b"), |all, number| all.put(&text(&number.to_string(), &long)));
    assert!(dynamo.transact(large).await.is_err(), "4 MB in all");
    assert_eq!(read(&dynamo, "0").await, None);
    let twice = token("c").put(&account("x", 0)).put(&account("x", 1));
    assert!(matches!(dynamo.transact(twice).await, Err(Error::Rejected(_))), "one write for each record");
}

async fn limits_are_where_they_should_be(Bench { dynamo, .. }: Bench) {
    let key = "x".repeat(1_024);
    dynamo.put(&thing(&key)).await.expect("a range key of 1,024 bytes");
    assert!(matches!(dynamo.put(&thing(&format!("{key}x"))).await, Err(Error::Rejected(_))));
    let name = "x".repeat(2_048);
    dynamo.put(&account(&name, 0)).await.expect("a hash key of 2,048 bytes");
    assert!(matches!(dynamo.put(&account(&format!("{name}x"), 0)).await, Err(Error::Rejected(_))));
    assert!(matches!(dynamo.put(&thing("")).await, Err(Error::Rejected(_))), "an empty key");

    // Names and values count, and the key: 400 KiB in all.
    let rest = "server_id".len() + 12 + "key".len() + 1 + "text".len();
    let longest = 400 * 1_024 - rest;
    dynamo.put(&text("k", &"x".repeat(longest - 10))).await.expect("nearly 400 KiB");
    let longer = text("k", &"x".repeat(longest + 10));
    assert!(matches!(dynamo.put(&longer).await, Err(Error::TooLarge(_))));
    let update = Update::new().append(LIST, "x".repeat(100));
    assert!(matches!(dynamo.update::<Thing>(thing("k").key(), update).await, Err(Error::TooLarge(_))));
    let put = token("a").put(&longer);
    assert!(matches!(dynamo.transact(put).await, Err(Error::TooLarge(_))));
}

async fn text_is_measured_in_utf16_units(Bench { dynamo, .. }: Bench) {
    dynamo.put(&text("a", "😀")).await.expect("a put");
    let below = async |size| {
        let update = Update::new().set(NUMBER, 1).when(Condition::size_below(TEXT, size));
        dynamo.update(thing("a").key(), update).await.expect("an update").applied().is_some()
    };
    assert!(!below(2).await);
    assert!(below(3).await);
}

async fn wrong_requests_are_rejected(Bench { dynamo, .. }: Bench) {
    dynamo.put(&thing("a")).await.expect("a put");
    let entry = Update::new().set(MAP.entry("x"), 1);
    assert!(matches!(dynamo.update(thing("a").key(), entry).await, Err(Error::Rejected(_))), "no parent");
    let twice = Update::new().set(TEXT, "x".to_owned()).remove(TEXT);
    assert!(matches!(dynamo.update(thing("a").key(), twice).await, Err(Error::Rejected(_))), "overlap");
    let key = Update::new().set(Column::<Thing, String>::new("key"), "b".to_owned());
    assert!(matches!(dynamo.update(thing("a").key(), key).await, Err(Error::Rejected(_))), "a new key");
    let index = Index { name: "by_nothing", ..BY_EVENT };
    let query = Query::<Thing, u64>::by_index(index, 1);
    assert!(matches!(dynamo.query(query).await, Err(Error::Rejected(_))), "no such index");

    let get = dynamo.client().get_item().table_name("no-such-table");
    let failed = get.key("name", AttributeValue::S("a".to_owned())).send().await.expect_err("no such table");
    assert_eq!(failed.code(), Some("ResourceNotFoundException"));
    let put = dynamo.client().put_item().table_name(dynamo.table_name(Account::NAME));
    let put = put.item("name", AttributeValue::S("a".to_owned()));
    let reserved = put.clone().condition_expression("attribute_not_exists(name)");
    let failed = reserved.send().await.expect_err("a reserved word");
    assert_eq!(failed.code(), Some("ValidationException"));
    let unused = put.expression_attribute_values(":x", AttributeValue::Bool(true));
    let failed = unused.send().await.expect_err("a value that nothing uses");
    assert_eq!(failed.code(), Some("ValidationException"));
}

async fn expired_records_count_as_absent(Bench { dynamo, clock, .. }: Bench) {
    let soon = Some(NOW.seconds() + 10);
    let old = Thing { number: Some(9), expires_at: soon, ..text("a", "old") };
    dynamo.put(&old).await.expect("a put");
    assert_eq!(read(&dynamo, "a").await, Some(old.clone()));
    assert!(!dynamo.put_if_absent(&text("a", "new")).await.expect("a put"));
    clock.advance(Duration::from_secs(10));
    assert_eq!(read(&dynamo, "a").await, None);
    assert_eq!(keys(&dynamo, all()).await, Vec::<String>::new());
    let check = token("a").check(thing("a").key(), Condition::<Thing>::present());
    assert_eq!(dynamo.transact(check).await.expect("an answer"), Commit::Blocked(0));
    let update = || Update::new().add(NUMBER, 1);
    assert_eq!(dynamo.update(thing("a").key(), update()).await.expect("an update"), Updated::Blocked(None));
    let upserted = dynamo.upsert(thing("a").key(), update()).await.expect("an upsert");
    assert_eq!(upserted, Updated::Applied(Thing { number: Some(1), ..thing("a") }));
    dynamo.put(&old).await.expect("a put");
    assert!(dynamo.put_if_absent(&text("a", "new")).await.expect("a put"));
    dynamo.put(&old).await.expect("a put");
    let upsert = token("b").upsert::<Thing>(thing("a").key(), update());
    assert_eq!(dynamo.transact(upsert).await.expect("an answer"), Commit::Done);
    assert_eq!(read(&dynamo, "a").await, Some(Thing { number: Some(1), ..thing("a") }));
}

async fn units_are_reported(bench: Bench) {
    let dynamo = &bench.dynamo;
    let cost = async |work: BoxFuture<'_, ()>| measured(work).await.1;
    let reads = |units| Units { read: units, write: 0.0 };
    let writes = |units| Units { read: 0.0, write: units };
    let get = || dynamo.get::<Thing>(thing("a").key()).map(|_| ());
    assert_eq!(cost(Box::pin(get())).await, reads(1.0), "a strong read, of nothing too");
    let get = dynamo.get_eventually::<Thing>(thing("a").key()).map(|_| ());
    assert_eq!(cost(Box::pin(get)).await, reads(0.5), "an eventual read");
    let small = thing("a");
    let put = dynamo.put(&small).map(|_| ());
    assert_eq!(cost(Box::pin(put)).await, writes(1.0), "a put");
    let record = Thing { event_id: Some(1), ..thing("b") };
    let put = || dynamo.put(&record).map(|_| ());
    assert_eq!(cost(Box::pin(put())).await, writes(2.0), "a put with a new index entry");
    assert_eq!(cost(Box::pin(put())).await, writes(1.0), "a put with an unchanged index entry");
    let put = dynamo.put_if_absent(&record).map(|_| ());
    assert_eq!(cost(Box::pin(put)).await, writes(1.0), "a refused put, as the helper counts it");
    let query = dynamo.query(all().eventually()).map(|_| ());
    assert_eq!(cost(Box::pin(query)).await, reads(0.5), "a small query");
    let query = dynamo.query(Query::<Thing>::of(1).eventually()).map(|_| ());
    let nothing = bench.expect(0.5, &[(Engine::DynamoDbLocal, 0.0), (Engine::LocalStack, 0.0)]);
    assert_eq!(cost(Box::pin(query)).await, reads(nothing), "a query of nothing");
    let record = Thing { event_id: Some(2), ..thing("c") };
    let both = || dynamo.transact(token("a").put(&account("a", 1)).put(&record)).map(|_| ());
    let five = bench.expect(5.0, &[(Engine::DynamoDbLocal, 6.0), (Engine::LocalStack, 6.0)]);
    assert_eq!(cost(Box::pin(both())).await, writes(five), "a transaction with an index entry");
    // DynamoDB Local does not say which units they are.
    let four =
        bench.expect(reads(4.0), &[(Engine::DynamoDbLocal, writes(4.0)), (Engine::LocalStack, writes(4.0))]);
    assert_eq!(cost(Box::pin(both())).await, four, "the same token again");
    let delete = dynamo.transact(token("b").delete::<Account>("x".to_owned())).map(|_| ());
    let two = bench.expect(2.0, &[(Engine::DynamoDbLocal, 1.0), (Engine::LocalStack, 1.0)]);
    assert_eq!(cost(Box::pin(delete)).await, writes(two), "a transaction that deletes nothing");
}

async fn tables_are_created_once_and_checked(bench: Bench) {
    let dynamo = &bench.dynamo;
    dynamo.create_tables(TABLES).await.expect("creating twice");
    assert_eq!(dynamo.check_tables(TABLES).await.expect("a check"), []);
    let other = [
        TableSpec { name: "missing", ..TABLES[0] },
        TableSpec { indexes: &[], expires: None, ..TABLES[0] },
        TableSpec { hash: KeyAttribute { name: "name", kind: KeyKind::Number }, ..TABLES[1] },
    ];
    assert_eq!(dynamo.check_tables(&other).await.expect("a check").len(), 4);

    let expiry = TimeToLiveSpecification::builder().attribute_name("expires_at").enabled(true);
    let request = dynamo.client().update_time_to_live().table_name(dynamo.table_name(Thing::NAME));
    let again = request.time_to_live_specification(expiry.build().expect("complete")).send().await;
    let accepted = bench.expect(false, &[(Engine::Embedded, true), (Engine::LocalStack, true)]);
    assert_eq!(again.is_ok(), accepted, "expiry enabled twice");

    use aws_sdk_dynamodb::types as t;
    let key = t::KeySchemaElement::builder().attribute_name("k").key_type(t::KeyType::Hash);
    let kind =
        t::AttributeDefinition::builder().attribute_name("k").attribute_type(t::ScalarAttributeType::S);
    let request = dynamo.client().create_table().table_name(dynamo.table_name("new"));
    let request = request
        .billing_mode(t::BillingMode::PayPerRequest)
        .key_schema(key.build().expect("complete"))
        .attribute_definitions(kind.build().expect("complete"));
    let created = request.clone().send().await.expect("a table");
    let status = created.table_description.and_then(|table| table.table_status).expect("a status");
    let active = bench.expect(false, &[(Engine::DynamoDbLocal, true), (Engine::LocalStack, true)]);
    assert_eq!(status == TableStatus::Active, active, "a new table is {status:?}");
    let failed = request.send().await.expect_err("it exists");
    assert_eq!(failed.code(), Some("ResourceInUseException"));
}

const SIXTEEN: usize = 16;

async fn one_of_sixteen_wins(Bench { dynamo, .. }: Bench) {
    let puts = (0..SIXTEEN)
        .map(async |number| dynamo.put_if_absent(&text("a", &number.to_string())).await.expect("a put"));
    assert_eq!(join_all(puts).await.into_iter().filter(|won| *won).count(), 1);
    let swaps = (0..SIXTEEN).map(async |number| {
        let update = Update::new().set(NUMBER, number as i64).when(Condition::has(NUMBER).not());
        dynamo.update(thing("a").key(), update).await.expect("an update").applied().is_some()
    });
    assert_eq!(join_all(swaps).await.into_iter().filter(|won| *won).count(), 1);
    let commits = (0..SIXTEEN).map(async |number| {
        let both = token(&number.to_string())
            .put_if_absent(&text("b", &number.to_string()))
            .upsert::<Account>("a".to_owned(), Update::new().add(SUM, 1));
        dynamo.transact(both).await.expect("an answer")
    });
    let commits = join_all(commits).await;
    assert_eq!(commits.iter().filter(|commit| **commit == Commit::Done).count(), 1);
    assert_eq!(commits.iter().filter(|commit| **commit == Commit::Blocked(0)).count(), SIXTEEN - 1);
    assert_eq!(dynamo.get("a".to_owned()).await.expect("a read"), Some(account("a", 1)));
}

async fn sixteen_add_up(Bench { dynamo, .. }: Bench) {
    let adds = (0..SIXTEEN).map(async |number| {
        let update = Update::new().add(NUMBER, 1).insert(PEOPLE, number as u64);
        dynamo.upsert(thing("a").key(), update).await.expect("an upsert").applied()
    });
    let mut seen: Vec<_> =
        join_all(adds).await.into_iter().map(|thing| thing.and_then(|t| t.number)).collect();
    seen.sort_unstable();
    let expected: Vec<_> = (1..=SIXTEEN as i64).map(Some).collect();
    assert_eq!(seen, expected, "no two saw the same number");
    assert_eq!(read(&dynamo, "a").await.map(|thing| thing.people.len()), Some(SIXTEEN));
}

async fn sixteen_deliveries_of_one_event_have_one_effect(Bench { dynamo, .. }: Bench) {
    let deliveries = (0..SIXTEEN).map(async |_| {
        let add = token("event").upsert::<Account>("a".to_owned(), Update::new().add(SUM, 1));
        dynamo.transact(add).await.expect("an answer")
    });
    assert!(join_all(deliveries).await.into_iter().all(|commit| commit == Commit::Done));
    assert_eq!(dynamo.get("a".to_owned()).await.expect("a read"), Some(account("a", 1)));
}

async fn transfers_keep_the_sum(Bench { dynamo, .. }: Bench) {
    const NAMES: [&str; 4] = ["a", "b", "c", "d"];
    for name in NAMES {
        dynamo.put(&account(name, 3)).await.expect("a put");
    }
    let transfers = (0..SIXTEEN).map(async |number| {
        let (from, to) = (NAMES[number % 4], NAMES[(number + 1 + number / 4 % 3) % 4]);
        let take = Update::new().add(SUM, -1).when(Condition::greater(SUM, 0));
        let transfer = token(&number.to_string())
            .update::<Account>(from.to_owned(), take)
            .update::<Account>(to.to_owned(), Update::new().add(SUM, 1));
        dynamo.transact(transfer).await.expect("an answer")
    });
    join_all(transfers).await;
    let mut sum = 0;
    for name in NAMES {
        let account: Option<Account> = dynamo.get(name.to_owned()).await.expect("a read");
        let left = account.expect("nobody deletes it").sum;
        assert!(left >= 0, "nobody gives what they have not");
        sum += left;
    }
    assert_eq!(sum, 12);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_embedded_engine_in_memory_conforms() {
        run(Engine::Embedded, &Store::Memory, "").await;
    }

    #[tokio::test]
    async fn the_embedded_engine_on_a_file_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        run(Engine::Embedded, &Store::File(folder.path().join("mneme.db")), "p-").await;
    }
}
