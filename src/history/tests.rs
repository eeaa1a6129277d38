//! What a change, its history and its undo do when nothing goes wrong.

use super::*;
use crate::dynamo::testing::embedded;
use crate::dynamo::{Units, measured};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memo {
    server_id: u64,
    name: String,
    pub(super) text: Option<String>,
    pub(super) rev: Option<u64>,
    pub(super) event_id: Option<u64>,
    updated_at: Option<Timestamp>,
    expires_at: Option<i64>,
}

impl Table for Memo {
    const NAME: &'static str = "memo";
    const KEY: &'static [&'static str] = &["server_id", "name"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.server_id, self.name.clone())
    }
}

impl Head for Memo {
    fn thing((server_id, name): &Self::Key) -> Thing {
        Thing { server_id: *server_id, kind: "memo", id: name.clone() }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            rev: self.rev.unwrap_or(0),
            event_id: self.event_id.unwrap_or(0),
            at: self.updated_at,
            ..Stamp::default()
        }
    }

    fn set_stamp(&mut self, stamp: Stamp) {
        self.rev = Some(stamp.rev);
        self.event_id = Some(stamp.event_id);
        self.updated_at = stamp.at;
        self.expires_at = stamp.expires_at.filter(|_| self.text.is_none());
    }

    fn adopted(&self) -> Row {
        Row { value: self.text.clone(), ..Row::default() }
    }
}

pub(super) const TABLES: &[TableSpec] = &[TableSpec::of::<Memo>(), TableSpec::of::<Revision>()];
const ANN: u64 = 7;
const BOB: u64 = 8;
const KEEP: Duration = Duration::from_secs(3_600 * 24 * 365 * 50);

pub(super) fn key() -> (u64, String) {
    (1, "50% #1".to_owned())
}

pub(super) fn thing() -> Thing {
    Memo::thing(&key())
}

/// The event of this second, by Ann.
pub(super) fn cause(second: i64) -> Cause {
    Cause::new(event(second), 1, ANN)
}

pub(super) fn event(second: i64) -> u64 {
    Timestamp::from_seconds(1_700_000_000 + second).snowflake()
}

#[derive(Debug)]
pub(super) enum Refusal {
    Taken,
    Missing,
    Store(dynamo::Error),
}

impl From<dynamo::Error> for Refusal {
    fn from(error: dynamo::Error) -> Self {
        Self::Store(error)
    }
}

fn next(head: Option<&Memo>, op: &'static str, text: Option<&str>) -> Next<Memo> {
    let (server_id, name) = key();
    let text = text.map(str::to_owned);
    let blank = Memo { server_id, name, ..Memo::default() };
    let head = Memo { text: text.clone(), ..head.cloned().unwrap_or(blank) };
    Next { head, op, row: Row { value: text, keep: Some(KEEP), ..Row::default() } }
}

async fn set(dynamo: &Dynamo, cause: &Cause, text: &str) -> Result<Change<Memo>, Refusal> {
    change(dynamo, cause, key(), |head: Option<&Memo>| match head {
        Some(head) if head.text.is_some() => Err(Refusal::Taken),
        head => Ok(next(head, "set", Some(text))),
    })
    .await
}

pub(super) async fn append(dynamo: &Dynamo, cause: &Cause, text: &str) -> Result<Change<Memo>, Refusal> {
    change(dynamo, cause, key(), |head: Option<&Memo>| {
        let old = head.and_then(|head| head.text.as_deref()).unwrap_or_default();
        Ok(next(head, "append", Some(&format!("{old}{text}"))))
    })
    .await
}

async fn forget(dynamo: &Dynamo, cause: &Cause) -> Result<Change<Memo>, Refusal> {
    change(dynamo, cause, key(), |head: Option<&Memo>| match head {
        Some(head) if head.text.is_some() => Ok(next(Some(head), "forget", None)),
        _ => Err(Refusal::Missing),
    })
    .await
}

async fn take_back(dynamo: &Dynamo, cause: &Cause, event_id: u64) -> Undo<Memo> {
    let revert = |head: &Memo, undone: &Undone| {
        let text = undone.before.as_ref().and_then(|row| row.value.as_deref());
        Ok::<_, Refusal>(next(Some(head), "undo", text))
    };
    undo(dynamo, cause, key(), event_id, revert).await.unwrap()
}

async fn head(dynamo: &Dynamo) -> Memo {
    dynamo.get(key()).await.unwrap().unwrap()
}

async fn texts(dynamo: &Dynamo) -> Vec<(u64, String, Option<String>)> {
    let page = revisions(dynamo, &thing(), 100, None).await.unwrap();
    page.records.into_iter().rev().map(|row| (row.rev, row.op, row.value)).collect()
}

fn row(rev: u64, op: &str, text: Option<&str>) -> (u64, String, Option<String>) {
    (rev, op.to_owned(), text.map(str::to_owned))
}

#[tokio::test]
async fn a_change_writes_the_head_and_a_row() {
    let dynamo = embedded(TABLES).await;
    let (done, units) = measured(set(&dynamo, &cause(1), "meow")).await;
    assert_eq!(units, Units { read: 1.0, write: 5.0 });
    let Change::Done(done) = done.unwrap() else { panic!("nobody else is here") };
    assert_eq!(done.before, None);
    assert_eq!(done.head, head(&dynamo).await);
    assert_eq!(revision_of(&dynamo, &thing(), event(1)).await.unwrap(), Some(done.row.clone()));
    assert_eq!(done.row.entry, format!("memo#50%25 %231#{:020}", event(1)));
    assert_eq!(done.row.thing(), Some(("memo", key().1)));
    assert_eq!((done.row.rev, done.row.by, done.row.time()), (1, Some(ANN), done.head.updated_at));
}

#[tokio::test]
async fn a_second_delivery_has_no_second_effect() {
    let dynamo = embedded(TABLES).await;
    let _ = set(&dynamo, &cause(1), "a").await.unwrap();
    // The head says so itself.
    assert_eq!(set(&dynamo, &cause(1), "a").await.unwrap().row().unwrap().rev, 1);
    let _ = append(&dynamo, &cause(5), "b").await.unwrap();
    // The head has moved on, and would refuse.
    let again = set(&dynamo, &cause(1), "a").await.unwrap();
    assert!(matches!(again, Change::Already(row) if row.rev == 1));
    // The last event to arrive is not the newest: the head's time did not go back.
    let _ = append(&dynamo, &cause(3), "c").await.unwrap();
    assert!(matches!(append(&dynamo, &cause(5), "b").await.unwrap(), Change::Already(row) if row.rev == 2));
    assert_eq!(head(&dynamo).await.text.as_deref(), Some("abc"));
}

#[test]
fn a_persons_older_event_does_not_overtake_their_newer_one() {
    let last = |by, second| Stamp { by, event_id: event(second), ..Stamp::default() };
    assert!(is_overtaken(&cause(1), last(ANN, 2)));
    assert!(!is_overtaken(&cause(3), last(ANN, 2)));
    assert!(!is_overtaken(&cause(1), last(BOB, 2)), "others wait for nobody");
}

#[tokio::test]
async fn what_is_refused_is_refused() {
    let dynamo = embedded(TABLES).await;
    assert!(matches!(forget(&dynamo, &cause(1)).await, Err(Refusal::Missing)));
    let _ = set(&dynamo, &cause(2), "a").await.unwrap();
    assert!(matches!(set(&dynamo, &cause(3), "b").await, Err(Refusal::Taken)));
    assert_eq!(texts(&dynamo).await, [row(1, "set", Some("a"))]);
}

#[tokio::test]
async fn a_tombstone_keeps_the_revision_number() {
    let dynamo = embedded(TABLES).await;
    let _ = set(&dynamo, &cause(1), "a").await.unwrap();
    let _ = forget(&dynamo, &cause(2)).await.unwrap();
    let tombstone = head(&dynamo).await;
    assert_eq!((tombstone.rev, tombstone.expires_at.is_some()), (Some(2), true));
    let _ = set(&dynamo, &cause(3), "b").await.unwrap();
    assert_eq!(head(&dynamo).await.expires_at, None);
    let expected = [row(1, "set", Some("a")), row(2, "forget", None), row(3, "set", Some("b"))];
    assert_eq!(texts(&dynamo).await, expected);
}

#[tokio::test]
async fn the_first_change_of_an_adopted_head_keeps_its_text() {
    let dynamo = embedded(TABLES).await;
    let (server_id, name) = key();
    let old = Memo { server_id, name, text: Some("old".to_owned()), ..Memo::default() };
    dynamo.put(&old).await.unwrap();
    let (_, units) = measured(append(&dynamo, &cause(1), "er")).await;
    assert_eq!(units, Units { read: 1.0, write: 7.0 });
    assert_eq!(texts(&dynamo).await, [row(0, "adopt", Some("old")), row(1, "append", Some("older"))]);
    let undone = take_back(&dynamo, &cause(2), event(1)).await;
    assert!(matches!(undone, Undo::Done(done) if done.head.text.as_deref() == Some("old")));
}

#[tokio::test]
async fn pressing_undo_twice_undoes_once() {
    let dynamo = embedded(TABLES).await;
    let _ = set(&dynamo, &cause(1), "a").await.unwrap();
    let _ = append(&dynamo, &cause(2), "b").await.unwrap();
    assert!(matches!(take_back(&dynamo, &cause(3), event(2)).await, Undo::Done(_)));
    assert!(matches!(take_back(&dynamo, &cause(3), event(2)).await, Undo::Already(_)));
    assert!(matches!(take_back(&dynamo, &cause(4), event(2)).await, Undo::Already(_)));
    assert_eq!(head(&dynamo).await.text.as_deref(), Some("a"));
    assert!(matches!(take_back(&dynamo, &cause(5), event(1)).await, Undo::MovedOn(Some(_))));
    assert!(matches!(take_back(&dynamo, &cause(5), event(9)).await, Undo::Unknown));
}

#[tokio::test]
async fn the_past_can_be_asked_for() {
    let dynamo = embedded(TABLES).await;
    let _ = set(&dynamo, &cause(10), "a").await.unwrap();
    let _ = append(&dynamo, &cause(20), "b").await.unwrap();
    let at = |second: i64| {
        let (dynamo, time) = (dynamo.clone(), Timestamp::from_seconds(1_700_000_000 + second));
        async move { at(&dynamo, &thing(), time).await.unwrap().and_then(|row| row.value) }
    };
    assert_eq!(at(9).await, None);
    assert_eq!(at(10).await.as_deref(), Some("a"));
    assert_eq!(at(20).await.as_deref(), Some("ab"));
    assert_eq!(revision(&dynamo, &thing(), 1).await.unwrap().unwrap().value.as_deref(), Some("a"));
    assert_eq!(revision(&dynamo, &thing(), 3).await.unwrap(), None);
}

#[tokio::test]
async fn the_last_change_of_a_person_is_found() {
    let dynamo = embedded(TABLES).await;
    let _ = set(&dynamo, &cause(1), "a").await.unwrap();
    let _ = append(&dynamo, &Cause::new(event(2), 1, BOB), "b").await.unwrap();
    let last = async |actor, second: i64| {
        let since = Timestamp::from_seconds(1_700_000_000 + second);
        last_by(&dynamo, 1, actor, since, |row| row.op != "undo").await.unwrap().map(|row| row.rev)
    };
    assert_eq!(last(ANN, 0).await, Some(1));
    assert_eq!(last(BOB, 0).await, Some(2));
    assert_eq!(last(ANN, 2).await, None);
    let all = changes_since(&dynamo, 1, event(2), None).await.unwrap();
    assert_eq!(all.records.iter().map(|row| row.rev).collect::<Vec<_>>(), [2]);
    let before = async |event| {
        audit(&dynamo, 1, event, 10).await.unwrap().records.iter().map(|row| row.rev).collect::<Vec<_>>()
    };
    assert_eq!(before(None).await, [2, 1]);
    assert_eq!(before(Some(event(2))).await, [1]);
}

#[tokio::test]
async fn changes_in_one_process_take_turns() {
    let dynamo = embedded(TABLES).await;
    let all = (1..=16).map(|second| {
        let dynamo = dynamo.clone();
        async move { append(&dynamo, &cause(second), "x").await.unwrap() }
    });
    let all = futures::future::join_all(all).await;
    assert!(all.iter().all(|change| matches!(change, Change::Done(_))));
    assert_eq!(head(&dynamo).await.text, Some("x".repeat(16)));
    let refused: u64 = dynamo.usage().iter().map(|(_, usage)| usage.refused).sum();
    assert_eq!(refused, 0);
}
