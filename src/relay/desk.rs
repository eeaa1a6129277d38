//! What operators ask and do, over the store alone: how links stand, what waits, what is dead and why, where an
//! envelope went; and to try again, or to take away.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::clock::Timestamp;
use crate::dynamo::{Error, Query};
use crate::relay::envelope::{Envelope, Sealed};
use crate::relay::frame::{Content, Data, Lane, Reason};
use crate::relay::link::{OutLane, epoch};
use crate::relay::name::{BotName, Chain, EnvelopeId, Topic};
use crate::relay::publish::{Draft, Published, Refused, TRIES_MAX, kept, publish};
use crate::relay::routes::Routes;
use crate::relay::store::{
    Change, DeadRecord, LinkRecord, Note, Out, OutboxRecord, Row, RowId, Step, Store, Tables, Written,
    joining,
};

/// Dead letters of one lane that are looked at: beyond them nobody reads one by one.
const DEAD_MAX: u32 = 1_000;

/// Rows of a queue read at once, and in all when something is looked for.
const ROWS: u32 = 100;
const ROWS_MAX: usize = 20_000;

/// How the relay stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub me: BotName,
    pub peers: Vec<PeerStatus>,
    pub here: LaneStatus,
    /// Dead letters of all lanes, counted to a thousand each.
    pub dead: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub name: BotName,
    /// `None`: it was never looked for.
    pub up: Option<bool>,
    pub since: Option<Timestamp>,
    pub out: Vec<(Lane, LaneStatus)>,
    /// Of each lane from it: the number that we wait for, and the history that it belongs to.
    pub arrived: Vec<(Lane, u64, u64)>,
    pub dead: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    pub epoch: u64,
    pub next: u64,
    pub acked: u64,
    /// When the first that waits was made.
    pub oldest: Option<Timestamp>,
}

impl LaneStatus {
    pub fn waiting(&self) -> u64 {
        self.next.saturating_sub(self.acked)
    }
}

impl PeerStatus {
    pub fn waiting(&self) -> u64 {
        self.out.iter().map(|(_, lane)| lane.waiting()).sum()
    }

    pub fn oldest(&self) -> Option<Timestamp> {
        self.out.iter().filter_map(|(_, lane)| lane.oldest).min()
    }
}

/// A row that waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waits {
    pub number: u64,
    pub id: EnvelopeId,
    /// `None`: the envelope is gone, its life is over.
    pub topic: Option<Topic>,
    pub subject: Option<String>,
    pub at: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub tries: u32,
    pub due: Timestamp,
    pub skip: Option<Reason>,
}

/// What became of a dead letter that was to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Retried {
    /// It waits again, under the same id.
    Queued,
    /// It was judged again, and is refused again for this reason.
    Refused(Reason),
    /// Nobody would act on it any more: publish a copy.
    Expired,
    /// The queue is still full.
    Full,
    /// Another one tried it meanwhile.
    Gone,
}

/// Where an envelope was and went.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// `None`: its text is no envelope of this version.
    pub envelope: Option<Envelope>,
    /// `None`: we made it.
    pub came_from: Option<BotName>,
    /// The bots that have had it, without us.
    pub path: Vec<BotName>,
    pub queues: Vec<Passage>,
    pub dead: Vec<DeadRecord>,
}

/// An envelope in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    pub out: Out,
    pub row: RowId,
    /// The peer has it; or, here, it was acted upon.
    pub settled: bool,
    pub tries: u32,
    pub skip: Option<Reason>,
}

/// The queues of a bot.
pub fn queues(routes: &Routes) -> Vec<Out> {
    let link = |peer: &BotName| Lane::ALL.map(|lane| Out::Link(peer.clone(), lane));
    routes.to.keys().flat_map(link).chain([Out::Here]).collect()
}

/// The names of the lanes that may have dead letters, by peer; our own queue is nobody's.
fn dead_lanes(routes: &Routes) -> Vec<(Option<BotName>, String)> {
    let of_peer = |way: &'static str| {
        move |peer: &BotName| {
            let peer = peer.clone();
            Lane::ALL.map(move |lane| (Some(peer.clone()), format!("{way}/{peer}/{}", lane.name())))
        }
    };
    let out = routes.to.keys().flat_map(of_peer("out"));
    let arrived = routes.from.keys().flat_map(of_peer("in"));
    out.chain(arrived).chain([(None, Out::Here.dead_name())]).collect()
}

/// How the links stand.
pub async fn status(tables: &Tables, routes: &Routes) -> Result<Status, Error> {
    let mut dead: BTreeMap<Option<BotName>, u64> = BTreeMap::new();
    for (peer, lane) in dead_lanes(routes) {
        *dead.entry(peer).or_default() += tables.dead(&lane, DEAD_MAX).await?.len() as u64;
    }
    let mut peers = Vec::new();
    for name in routes.peers() {
        let seen = tables.seen(name).await?;
        let (mut out, mut arrived) = (Vec::new(), Vec::new());
        for lane in Lane::ALL {
            if routes.to.contains_key(name) {
                out.push((lane, lane_status(tables, &Out::Link(name.clone(), lane)).await?));
            }
            if let Some(found) = tables.in_lane(name, lane).await? {
                arrived.push((lane, found.expected, found.epoch));
            }
        }
        let (up, since) = seen.unzip();
        let dead = dead.get(&Some(name.clone())).copied().unwrap_or(0);
        peers.push(PeerStatus { name: name.clone(), up, since, out, arrived, dead });
    }
    let here = lane_status(tables, &Out::Here).await?;
    Ok(Status { me: routes.me.clone(), peers, here, dead: dead.values().sum() })
}

async fn lane_status(tables: &Tables, out: &Out) -> Result<LaneStatus, Error> {
    let Some(lane) = tables.out_lane(out).await? else { return Ok(LaneStatus::default()) };
    let OutLane { epoch, next, acked, .. } = lane;
    let mut status = LaneStatus { epoch, next, acked, oldest: None };
    if status.waiting() > 0
        && let Some(first) = tables.rows(out, acked, 1).await?.into_iter().next()
    {
        status.oldest = tables.kept(&first.id).await?.map(|kept| kept.at);
        // Before it all has expired, or was acted upon out of turn.
        status.acked = status.acked.max(first.row.number);
    }
    Ok(status)
}

/// The first rows that wait in a queue.
pub async fn queue(tables: &Tables, out: &Out, limit: u32) -> Result<Vec<Waits>, Error> {
    let Some(lane) = tables.out_lane(out).await? else { return Ok(Vec::new()) };
    let mut waiting = Vec::new();
    for Row { row: RowId { number, .. }, id, tries, due, skip, .. } in
        tables.rows(out, lane.acked, limit).await?.into_iter().take(limit as usize)
    {
        let kept = tables.kept(&id).await?;
        let sealed = kept.as_ref().and_then(|kept| Sealed::open(kept.text.clone()).ok());
        let envelope = sealed.map(|sealed| sealed.envelope().clone());
        let (topic, subject) = envelope.map(|envelope| (envelope.topic, envelope.subject)).unzip();
        let (at, until) = kept.map(|kept| (kept.at, kept.until)).unzip();
        waiting.push(Waits { number, id, topic, subject: subject.flatten(), at, until, tries, due, skip });
    }
    Ok(waiting)
}

/// Dead letters, the newest first: of a peer, or of all and our own queue.
pub async fn dead(
    tables: &Tables,
    routes: &Routes,
    peer: Option<&BotName>,
    limit: u32,
) -> Result<Vec<DeadRecord>, Error> {
    let mut found = Vec::new();
    for (of, lane) in dead_lanes(routes) {
        if peer.is_none() || of.as_ref() == peer {
            found.extend(tables.dead(&lane, limit.min(DEAD_MAX)).await?);
        }
    }
    found.sort_by(|a, b| b.at.cmp(&a.at));
    found.truncate(limit as usize);
    Ok(found)
}

/// The dead letters of an envelope.
async fn dead_of(tables: &Tables, routes: &Routes, id: &EnvelopeId) -> Result<Vec<DeadRecord>, Error> {
    let mut all = dead(tables, routes, None, DEAD_MAX).await?;
    all.retain(|dead| dead.id == *id);
    Ok(all)
}

/// Tries the dead letters of an envelope again, under its own id, so that nobody gets it twice. What we refused
/// is judged again.
pub async fn retry(
    tables: &Tables,
    routes: &Routes,
    now: Timestamp,
    id: &EnvelopeId,
) -> Result<Vec<(String, Retried)>, Error> {
    let mut outcomes = Vec::new();
    for record in dead_of(tables, routes, id).await? {
        let outcome = retry_one(tables, routes, now, &record).await?;
        outcomes.push((record.lane, outcome));
    }
    Ok(outcomes)
}

async fn retry_one(
    tables: &Tables,
    routes: &Routes,
    now: Timestamp,
    record: &DeadRecord,
) -> Result<Retried, Error> {
    let text = record.text.clone().unwrap_or_default();
    let Ok(sealed) = Sealed::open(text) else { return Ok(Retried::Refused(Reason::Malformed)) };
    let mut sealed = sealed.with_signature(record.signature.clone());
    if sealed.envelope().until <= now {
        return Ok(Retried::Expired);
    }
    let (mut path, mut came_from, mut outs) = (record.path.clone(), None, Vec::new());
    match record.lane.split('/').collect::<Vec<_>>()[..] {
        ["in", peer, _] => {
            let Ok(from) = BotName::new(peer) else { return Ok(Retried::Gone) };
            match routes.inspect(now, &from, &arrived(record, &sealed)) {
                Ok((judged, had)) => (sealed, path) = (judged, had),
                Err((reason, _)) => return Ok(Retried::Refused(reason)),
            }
            outs.extend(routes.queues(sealed.envelope(), &path));
            came_from = Some(from);
        }
        ["out", peer, _] => {
            let peer = BotName::new(peer).ok().filter(|peer| routes.to.contains_key(peer));
            let Some(peer) = peer else { return Ok(Retried::Refused(Reason::Topic)) };
            outs.push(Out::Link(peer, Lane::of(sealed.envelope().kind)));
        }
        _ => outs.push(Out::Here),
    }
    revive(tables, routes, now, Revived { record, sealed, path, came_from, outs }).await
}

/// The frame that it came in.
fn arrived(record: &DeadRecord, sealed: &Sealed) -> Data {
    let (text, signature) = (sealed.text().to_owned(), record.signature.clone());
    let content = Content::Envelope { text, signature, path: record.path.clone() };
    let (lane, id) = (Lane::of(sealed.envelope().kind), sealed.envelope().id.clone());
    Data { lane, epoch: 0, base: 0, number: 0, before: Chain::start(), id, content }
}

/// A dead letter that is to wait again.
struct Revived<'a> {
    record: &'a DeadRecord,
    sealed: Sealed,
    path: Vec<BotName>,
    came_from: Option<BotName>,
    outs: Vec<Out>,
}

async fn revive(
    tables: &Tables,
    routes: &Routes,
    now: Timestamp,
    revived: Revived<'_>,
) -> Result<Retried, Error> {
    let Revived { record, sealed, path, came_from, outs } = revived;
    let envelope = sealed.envelope();
    for _ in 0..TRIES_MAX {
        let mut known = BTreeMap::new();
        for out in &outs {
            let lane = tables.out_lane(out).await?;
            if routes.waiting.is_full(out, lane.as_ref()) {
                return Ok(Retried::Full);
            }
            known.insert(out.clone(), lane);
        }
        let is_known = tables.kept(&envelope.id).await?.is_some();
        // It came by another way since, and was handed on then.
        let outs = if is_known && came_from.is_some() { Vec::new() } else { outs.clone() };
        let queued = [(envelope.id.clone(), envelope.until, outs)];
        let envelopes =
            if is_known { vec![] } else { vec![(kept(&sealed, path.clone()), came_from.clone())] };
        let steps = vec![Step::Revive { lane: record.lane.clone(), at: record.at.clone() }];
        let joining = joining(&known, epoch(now), &queued);
        let change = Change { steps, envelopes, joining, ..Change::default() };
        match tables.write(&change).await? {
            Written::Done => return Ok(Retried::Queued),
            Written::Passed => return Ok(Retried::Gone),
            Written::Known(_) | Written::Moved => {}
        }
    }
    Err(Error::Throttled("the queues were filled by others all the time".into()))
}

/// Publishes a copy under a new id, from now on: for what has expired. `None`: there is no such envelope.
pub async fn again(
    tables: &Tables,
    routes: &Routes,
    now: Timestamp,
    id: &EnvelopeId,
) -> Result<Option<Published>, Refused> {
    let kept = tables.kept(id).await?.map(|kept| kept.text);
    let text = match kept {
        Some(text) => Some(text),
        None => dead_of(tables, routes, id).await?.into_iter().find_map(|dead| dead.text),
    };
    let Some(sealed) = text.and_then(|text| Sealed::open(text).ok()) else { return Ok(None) };
    let Envelope { topic, scope, to, key, subject, fields, depth, .. } = sealed.envelope().clone();
    let because = format!("again/{id}/{}", now.millis());
    let (at, part, cause) = (now, 0, Some(id.clone()));
    let draft = Draft { topic, scope, to, at, because, part, cause, depth, key, subject, fields };
    publish(tables, routes, now, draft).await.map(Some)
}

/// Takes an envelope out of every queue and off the dead letters; how many rows that were. Others that have it
/// keep it.
pub async fn drop_one(tables: &Tables, routes: &Routes, id: &EnvelopeId) -> Result<u32, Error> {
    let mut gone = 0;
    for passage in passages(tables, routes, id).await?.into_iter().filter(|passage| !passage.settled) {
        let Passage { out, row, .. } = passage;
        gone += u32::from(match &out {
            Out::Here => {
                let change = Change { steps: vec![Step::Done(vec![row])], ..Change::default() };
                tables.write(&change).await? == Written::Done
            }
            // Its number stays, so that nothing waits for it.
            Out::Link(..) => tables.note(&Note::Skip { out, row, reason: Reason::Dropped }).await?,
        });
    }
    for dead in dead_of(tables, routes, id).await? {
        gone += u32::from(tables.0.delete::<DeadRecord>((dead.lane, dead.at)).await?.is_some());
    }
    Ok(gone)
}

/// Forgets a peer that left the configuration: what waits for it, and where its lanes stand. How many rows
/// waited.
pub async fn drop_peer(tables: &Tables, peer: &BotName) -> Result<u64, Error> {
    let mut gone = 0;
    for lane in Lane::ALL {
        let out = Out::Link(peer.clone(), lane);
        let mut from = tables.out_lane(&out).await?.map_or(0, |lane| lane.acked);
        loop {
            let rows = tables.rows(&out, from, ROWS).await?;
            let Some(last) = rows.last().map(|row| row.row.number) else { break };
            for first in rows.iter().map(|row| row.row.first).collect::<BTreeSet<_>>() {
                tables.0.delete::<OutboxRecord>((out.name(), first)).await?;
            }
            gone += rows.len() as u64;
            from = last + 1;
        }
    }
    let links = tables.0.query_all(Query::<LinkRecord>::of(peer.to_string())).await?;
    for link in links.into_iter().filter(|link| link.way != "here") {
        tables.0.delete::<LinkRecord>((link.peer, link.way)).await?;
    }
    Ok(gone)
}

/// Where an envelope was and went; `None`: nobody here knows it, or not any more.
pub async fn trace(tables: &Tables, routes: &Routes, id: &EnvelopeId) -> Result<Option<Trace>, Error> {
    let record = tables.envelope(id).await?;
    let dead = dead_of(tables, routes, id).await?;
    let queues = passages(tables, routes, id).await?;
    if record.is_none() && dead.is_empty() && queues.is_empty() {
        return Ok(None);
    }
    let (text, came_from, path) = match record {
        Some(record) => (Some(record.text), record.came_from, record.path),
        None => match dead.first() {
            Some(dead) => (dead.text.clone(), dead.path.last().cloned(), dead.path.clone()),
            None => (None, None, Vec::new()),
        },
    };
    let sealed = text.and_then(|text| Sealed::open(text).ok());
    let envelope = sealed.map(|sealed| sealed.envelope().clone());
    Ok(Some(Trace { envelope, came_from, path, queues, dead }))
}

/// The rows of an envelope in all queues: those that wait, and those that are settled and not yet forgotten.
async fn passages(tables: &Tables, routes: &Routes, id: &EnvelopeId) -> Result<Vec<Passage>, Error> {
    let mut found = Vec::new();
    for out in queues(routes) {
        let Some(lane) = tables.out_lane(&out).await? else { continue };
        let (mut from, mut read) = (lane.next.saturating_sub(ROWS_MAX as u64), 0);
        while read < ROWS_MAX {
            let rows = tables.rows(&out, from, ROWS).await?;
            let Some(last) = rows.last().map(|row| row.row.number) else { break };
            read += rows.len();
            from = last + 1;
            for row in rows.into_iter().filter(|row| row.id == *id) {
                let Row { row, tries, skip, .. } = row;
                let settled = out != Out::Here && row.number < lane.acked;
                found.push(Passage { out: out.clone(), row, settled, tries, skip });
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dynamo::testing::embedded;
    use crate::relay::name::Pattern;
    use crate::relay::routes::Link;
    use crate::relay::routes::tests::lonely;
    use crate::relay::store::{Dead, TABLES};

    const NOW: Timestamp = Timestamp::from_seconds(4_000_000_000);

    fn name(text: &str) -> BotName {
        BotName::new(text).unwrap()
    }

    /// A bot with a link to a hub and from it, for everything.
    fn routes() -> Routes {
        let link = Link { topics: vec![Pattern::new("**").unwrap()], vouch: false };
        let mut routes = lonely("laptop");
        routes.to.insert(name("hub"), link.clone());
        routes.from.insert(name("hub"), link);
        routes
    }

    async fn published(tables: &Tables, routes: &Routes, because: &str) -> EnvelopeId {
        publish(tables, routes, NOW, Draft::test("a", because, NOW)).await.unwrap().id
    }

    #[tokio::test]
    async fn an_operator_sees_what_waits_and_takes_it_away() {
        let (tables, routes) = (Tables(embedded(TABLES).await), routes());
        let id = published(&tables, &routes, "x").await;
        published(&tables, &routes, "y").await;
        let status = status(&tables, &routes).await.unwrap();
        let [hub] = &status.peers[..] else { panic!("{status:?}") };
        assert_eq!((hub.waiting(), hub.oldest(), hub.up, status.here.waiting()), (2, Some(NOW), None, 2));
        let out = Out::Link(name("hub"), Lane::Events);
        assert_eq!(queue(&tables, &out, 50).await.unwrap()[0].id, id);
        assert_eq!(drop_one(&tables, &routes, &id).await.unwrap(), 2, "for the hub, and here");
        assert_eq!(queue(&tables, &out, 50).await.unwrap()[0].skip, Some(Reason::Dropped));
        assert_eq!(queue(&tables, &Out::Here, 50).await.unwrap().len(), 1);
        let found = trace(&tables, &routes, &id).await.unwrap().unwrap();
        assert_eq!((found.came_from, found.queues.len()), (None, 1));
        assert_eq!(trace(&tables, &routes, &EnvelopeId::of(&name("hub"), "z", 0)).await.unwrap(), None);
        assert_eq!(drop_peer(&tables, &name("hub")).await.unwrap(), 2);
        assert!(queue(&tables, &out, 50).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_waited_for_a_peer_is_counted_whole_however_it_joined() {
        let (tables, out) = (Tables(embedded(TABLES).await), Out::Link(name("hub"), Lane::Events));
        let many = u64::from(ROWS) + 50;
        let envelope =
            |n: u64| (EnvelopeId::of(&name("laptop"), &n.to_string(), 0), NOW.plus(Duration::from_secs(60)));
        let queued: Vec<_> =
            (0..many).map(envelope).map(|(id, until)| (id, until, vec![out.clone()])).collect();
        let change = Change { joining: joining(&BTreeMap::new(), 5, &queued), ..Change::default() };
        assert_eq!(tables.write(&change).await.unwrap(), Written::Done);
        assert_eq!(drop_peer(&tables, &name("hub")).await.unwrap(), many);
        assert!(tables.rows(&out, 0, ROWS).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_dead_letter_is_tried_again_once_and_under_its_own_id() {
        let (tables, mut routes) = (Tables(embedded(TABLES).await), routes());
        let (id, lane) = (published(&tables, &routes, "x").await, Out::Here.dead_name());
        let text = tables.kept(&id).await.unwrap().unwrap().text;
        let dead = Dead {
            lane,
            at: NOW,
            id: id.clone(),
            reason: Reason::Failed,
            detail: "Discord was away".to_owned(),
            text: Some(text),
            signature: None,
            path: Vec::new(),
        };
        let row = RowId { number: 0, first: 0, count: 1 };
        let died = Change { steps: vec![Step::Done(vec![row])], dead: vec![dead], ..Change::default() };
        assert_eq!(tables.write(&died).await.unwrap(), Written::Done);
        assert_eq!(super::dead(&tables, &routes, None, 10).await.unwrap().len(), 1);
        let tried = retry(&tables, &routes, NOW, &id).await.unwrap();
        assert_eq!(tried, [("here".to_owned(), Retried::Queued)]);
        assert_eq!(queue(&tables, &Out::Here, 9).await.unwrap()[0].id, id);
        assert!(retry(&tables, &routes, NOW, &id).await.unwrap().is_empty(), "it is dead no more");
        // What a peer sent us under a topic that its link did not carry, and now does.
        let theirs = EnvelopeId::of(&name("hub"), "x", 0);
        let sealed = Routes { me: name("hub"), ..routes.clone() };
        let sealed = sealed.seal(Draft::test("a", "x", NOW)).unwrap();
        let dead = Dead {
            lane: "in/hub/events".to_owned(),
            at: NOW,
            id: theirs.clone(),
            reason: Reason::Topic,
            detail: String::new(),
            text: Some(sealed.text().to_owned()),
            signature: None,
            path: vec![name("hub")],
        };
        tables.write(&Change { dead: vec![dead], ..Change::default() }).await.unwrap();
        let link = routes.from.remove(&name("hub")).unwrap();
        routes.from.insert(name("hub"), Link::default());
        let tried = retry(&tables, &routes, NOW, &theirs).await.unwrap();
        assert_eq!(tried, [("in/hub/events".to_owned(), Retried::Refused(Reason::Topic))]);
        routes.from.insert(name("hub"), link);
        let late = NOW.plus(Duration::from_secs(8 * 86_400));
        assert_eq!(retry(&tables, &routes, late, &theirs).await.unwrap()[0].1, Retried::Expired);
        assert!(again(&tables, &routes, late, &theirs).await.unwrap().is_some());
        assert_eq!(retry(&tables, &routes, NOW, &theirs).await.unwrap()[0].1, Retried::Queued);
        assert_eq!(trace(&tables, &routes, &theirs).await.unwrap().unwrap().came_from, Some(name("hub")));
    }
}
