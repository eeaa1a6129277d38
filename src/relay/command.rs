//! `mneme relay`: what operators ask and do, beside a bot that runs or without one.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::{Context, bail};
use serde_json::{Value as Json, json};

use crate::clock::Timestamp;
use crate::config::RelayAct;
use crate::relay::desk::{self, PeerStatus, Retried, Status, Trace, Waits};
use crate::relay::envelope::{Scope, Value};
use crate::relay::frame::Lane;
use crate::relay::keys;
use crate::relay::name::{BotName, EnvelopeId, Pattern, Topic};
use crate::relay::publish::{Draft, Published, Refused, publish};
use crate::relay::routes::{Routes, TopicRule};
use crate::relay::store::{DeadRecord, Out, Tables};
use crate::yaml::did_you_mean;
use crate::yaml::reader::duration;

/// `EX_TEMPFAIL` of sysexits.h: a queue is full, and later it may not be.
const FULL: i32 = 75;

/// A peer that is away for longer is a reason to look.
const AWAY_SECONDS: u64 = 600;

/// Dead letters that `retry --all` takes at once.
const RETRIED_MAX: u32 = 1_000;

/// What a command needs.
pub struct Office<'a> {
    pub tables: &'a Tables,
    pub routes: &'a Routes,
    pub now: Timestamp,
    /// Asks whoever sits there.
    pub ask: &'a dyn Fn(&str) -> bool,
}

/// A new pair of keys: the line for `bots:`, the line for the secrets.
pub fn new_key(out: &mut impl Write) -> anyhow::Result<()> {
    let (public, secret) = keys::generate()?;
    writeln!(out, "# under bots: of relay.yaml, the same on every host\n<bot>: {{ key: \"{public}\" }}")?;
    writeln!(out, "# in secrets.yaml.<bot>, on that bot's host alone\nrelay_key: \"{secret}\"")?;
    Ok(())
}

impl Office<'_> {
    /// Does what was asked for and writes the answer; the status to exit with.
    pub async fn run(&self, act: &RelayAct, out: &mut impl Write) -> anyhow::Result<i32> {
        match act {
            RelayAct::Status { json } => {
                let status = desk::status(self.tables, self.routes).await?;
                let text = if *json { format!("{:#}\n", as_json(&status)) } else { shown(&status, self.now) };
                write!(out, "{text}")?;
                Ok(i32::from(needs_a_look(&status, self.now)))
            }
            RelayAct::Send { topic, subject, field, scope, to, life } => {
                let mut routes = self.routes.clone();
                let draft = draft(topic, subject.clone(), field, *scope, to.as_deref(), self.now)?;
                if let Some(life) = life {
                    shorten(&mut routes, &draft.topic, life)?;
                }
                sent(publish(self.tables, &routes, self.now, draft).await, out)
            }
            RelayAct::Queue { name, limit } => self.queue(name.as_deref(), *limit, out).await,
            RelayAct::Retry { id: Some(id), again, .. } => {
                self.retry(&[EnvelopeId::new(id)?], *again, out).await
            }
            RelayAct::Retry { peer, again, .. } => {
                let peer = peer.as_deref().map(|peer| self.peer(peer)).transpose()?;
                let dead = desk::dead(self.tables, self.routes, peer.as_ref(), RETRIED_MAX).await?;
                let mut ids: Vec<_> = dead.into_iter().map(|record| record.id).collect();
                // The oldest first, so that they come in the order in which they were made.
                ids.reverse();
                ids.dedup();
                self.retry(&ids, *again, out).await
            }
            RelayAct::Drop { id, peer, yes } => self.drop(id.as_deref(), peer.as_deref(), *yes, out).await,
            RelayAct::Trace { id } => {
                let id = EnvelopeId::new(id)?;
                let found = desk::trace(self.tables, self.routes, &id).await?;
                let found = found.with_context(|| format!("{id} was never here, or its life is over"))?;
                write!(out, "{}", traced(&id, &found))?;
                Ok(0)
            }
            RelayAct::Key => new_key(out).map(|()| 0),
        }
    }

    fn peer(&self, name: &str) -> anyhow::Result<BotName> {
        let peer = BotName::new(name)?;
        if self.routes.peers().any(|known| *known == peer) {
            return Ok(peer);
        }
        let nearest = did_you_mean(name, self.routes.peers().map(BotName::as_str));
        bail!("{name} is not linked to {}{nearest}", self.routes.me)
    }

    async fn queue(&self, name: Option<&str>, limit: u32, out: &mut impl Write) -> anyhow::Result<i32> {
        if name == Some("dead") {
            let dead = desk::dead(self.tables, self.routes, None, limit).await?;
            for record in &dead {
                writeln!(out, "{}", dead_line(record))?;
            }
            return Ok(0);
        }
        let outs: Vec<Out> = match name {
            Some("here") => vec![Out::Here],
            Some(peer) => {
                let peer = self.peer(peer)?;
                Lane::ALL.map(|lane| Out::Link(peer.clone(), lane)).to_vec()
            }
            None => desk::queues(self.routes),
        };
        for queue in outs {
            let waiting = desk::queue(self.tables, &queue, limit).await?;
            for row in &waiting {
                writeln!(out, "{:<18} {}", queue.name(), self.waits_line(row))?;
            }
        }
        Ok(0)
    }

    fn waits_line(&self, row: &Waits) -> String {
        let topic = row.topic.as_ref().map_or("(its life is over)", Topic::as_str);
        let age = row.at.map(|at| age(self.now, at)).unwrap_or_default();
        let tries = if row.tries > 0 { format!("  tried {} times", row.tries) } else { String::new() };
        let skip = row.skip.map(|reason| format!("  {}", reason.name())).unwrap_or_default();
        format!("{:>8}  {}  {topic}  {age}{tries}{skip}", row.number, row.id)
    }

    async fn retry(&self, ids: &[EnvelopeId], again: bool, out: &mut impl Write) -> anyhow::Result<i32> {
        let mut left = 0;
        for id in ids {
            let outcomes = desk::retry(self.tables, self.routes, self.now, id).await?;
            if outcomes.is_empty() {
                bail!("{id} is not among the dead letters; mneme relay queue dead lists them");
            }
            for (lane, outcome) in outcomes {
                if outcome == Retried::Expired && again {
                    let copy = desk::again(self.tables, self.routes, self.now, id).await?;
                    let copy = copy.with_context(|| format!("nothing is left of {id}"))?;
                    writeln!(out, "{id}  {lane}  published again as {}", copy.id)?;
                    continue;
                }
                left += i32::from(outcome != Retried::Queued);
                writeln!(out, "{id}  {lane}  {}", retried(outcome))?;
            }
        }
        if ids.is_empty() {
            writeln!(out, "There are no dead letters.")?;
        }
        Ok(i32::from(left > 0))
    }

    async fn drop(
        &self,
        id: Option<&str>,
        peer: Option<&str>,
        yes: bool,
        out: &mut impl Write,
    ) -> anyhow::Result<i32> {
        let what = match (id, peer) {
            (Some(id), _) => format!("{id} will reach nobody who does not have it yet. Drop it?"),
            (None, Some(peer)) => format!("All that waits for {peer} will be dropped. Drop it?"),
            (None, None) => bail!("say what: an id, or --peer"),
        };
        if !yes && !(self.ask)(&what) {
            bail!("nothing was dropped; --yes does it without asking");
        }
        let gone = match (id, peer) {
            (Some(id), _) => desk::drop_one(self.tables, self.routes, &EnvelopeId::new(id)?).await?.into(),
            // One that left the configuration may still have rows.
            (None, Some(peer)) => desk::drop_peer(self.tables, &BotName::new(peer)?).await?,
            (None, None) => 0,
        };
        writeln!(out, "{gone} dropped")?;
        Ok(0)
    }
}

fn draft(
    topic: &str,
    subject: Option<String>,
    fields: &[String],
    scope: Scope,
    to: Option<&str>,
    now: Timestamp,
) -> anyhow::Result<Draft> {
    let mut named = std::collections::BTreeMap::new();
    for field in fields {
        let (name, text) = field.split_once('=').with_context(|| format!("--field {field}: name=value"))?;
        let value = match crate::yaml::source::plain(text) {
            Json::Bool(switch) => Value::Bool(switch),
            Json::Number(number) => {
                number.as_f64().map_or_else(|| Value::Text(text.to_owned()), Value::Number)
            }
            _ => Value::Text(text.to_owned()),
        };
        named.insert(name.to_owned(), value);
    }
    Ok(Draft {
        topic: Topic::new(topic)?,
        scope,
        to: to.map(BotName::new).transpose()?,
        at: now,
        because: format!("command line/{:032x}", rand::random::<u128>()),
        part: 0,
        cause: None,
        depth: 0,
        key: "command-line".to_owned(),
        subject,
        fields: named,
    })
}

/// A life of its own for one message.
fn shorten(routes: &mut Routes, topic: &Topic, life: &str) -> anyhow::Result<()> {
    let life = duration(life).filter(|life| !life.is_zero());
    let life = life.context("--life is a time such as 10m or 6h")?;
    if let Some(rule) = routes.topic(topic) {
        let kind = rule.kind;
        routes.topics.insert(0, TopicRule { topics: Pattern::new(topic.as_str())?, kind, life });
    }
    Ok(())
}

fn sent(published: Result<Published, Refused>, out: &mut impl Write) -> anyhow::Result<i32> {
    let full = match published {
        Ok(Published { id, full, .. }) => {
            writeln!(out, "{id}")?;
            full
        }
        Err(Refused::Full(full)) => full,
        Err(why) => return Err(why.into()),
    };
    for queue in &full {
        writeln!(out, "full: {}", queue.name())?;
    }
    Ok(if full.is_empty() { 0 } else { FULL })
}

fn needs_a_look(status: &Status, now: Timestamp) -> bool {
    let away = |peer: &PeerStatus| {
        peer.up == Some(false) && peer.since.is_some_and(|at| now.since(at).as_secs() >= AWAY_SECONDS)
    };
    status.dead > 0 || status.peers.iter().any(away)
}

fn shown(status: &Status, now: Timestamp) -> String {
    let mut text = format!(
        "{}: {} here wait for rules, {} dead letters\n",
        status.me,
        status.here.waiting(),
        status.dead
    );
    for peer in &status.peers {
        let since = peer.since.map(|at| format!(" since {at}")).unwrap_or_default();
        let state = match peer.up {
            Some(true) => format!("up{since}"),
            Some(false) => format!("down{since}"),
            None => "never seen".to_owned(),
        };
        let _ = writeln!(text, "{}: {state}, {} dead letters", peer.name, peer.dead);
        for (lane, at) in &peer.out {
            let oldest =
                at.oldest.map(|made| format!(", the oldest {} old", age(now, made))).unwrap_or_default();
            let (name, epoch, next, acked, waiting) =
                (lane.name(), at.epoch, at.next, at.acked, at.waiting());
            let _ = writeln!(
                text,
                "  out/{name}: {waiting} waiting{oldest}; epoch {epoch}, next {next}, acknowledged {acked}"
            );
        }
        for (lane, expected, epoch) in &peer.arrived {
            let _ = writeln!(text, "  in/{}: {expected} arrived; epoch {epoch}", lane.name());
        }
    }
    if status.peers.is_empty() {
        text.push_str("There are no links to other bots.\n");
    }
    text
}

/// Numbers that JavaScript can hold, and times as records hold them.
fn as_json(status: &Status) -> Json {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let lane = |lane: &desk::LaneStatus| {
        json!({ "epoch": lane.epoch, "next": lane.next, "acknowledged": lane.acked, "waiting": lane.waiting(),
            "oldest": time(lane.oldest) })
    };
    let peers: Vec<_> = status
        .peers
        .iter()
        .map(|peer| {
            let out: serde_json::Map<_, _> =
                peer.out.iter().map(|(name, at)| (name.name().to_owned(), lane(at))).collect();
            let arrived: serde_json::Map<_, _> = peer
                .arrived
                .iter()
                .map(|(name, expected, epoch)| {
                    (name.name().to_owned(), json!({ "expected": expected, "epoch": epoch }))
                })
                .collect();
            json!({ "peer": peer.name, "up": peer.up, "since": time(peer.since), "out": out, "in": arrived,
                "dead": peer.dead })
        })
        .collect();
    json!({ "bot": status.me, "here": lane(&status.here), "dead": status.dead, "peers": peers })
}

fn dead_line(record: &DeadRecord) -> String {
    let at = record.time();
    let detail = if record.detail.is_empty() { String::new() } else { format!(": {}", record.detail) };
    format!("{at}  {:<18} {}  {}{detail}", record.lane, record.id, record.reason.name())
}

fn retried(outcome: Retried) -> String {
    match outcome {
        Retried::Queued => "waits again".to_owned(),
        Retried::Refused(reason) => format!("refused again: {}", reason.name()),
        Retried::Expired => "its life is over; --again publishes a copy".to_owned(),
        Retried::Full => "the queue is still full".to_owned(),
        Retried::Gone => "somebody else has tried it again".to_owned(),
    }
}

fn traced(id: &EnvelopeId, found: &Trace) -> String {
    let mut text = String::new();
    match &found.envelope {
        Some(envelope) => {
            let _ = writeln!(
                text,
                "{id}  {}  made {}, lives until {}",
                envelope.topic, envelope.at, envelope.until
            );
            if let Some(cause) = &envelope.cause {
                let _ = writeln!(text, "  answers {cause}, {} rules deep", envelope.depth);
            }
        }
        None => {
            let _ = writeln!(text, "{id}  nothing is left of what it said");
        }
    }
    let path: Vec<_> = found.path.iter().map(BotName::as_str).collect();
    let _ = match &found.came_from {
        Some(peer) => writeln!(text, "  accepted from {peer}, by way of {}", path.join(", ")),
        None => writeln!(text, "  made here"),
    };
    for passage in &found.queues {
        let state = match (&passage.out, passage.skip, passage.settled) {
            (_, Some(reason), _) => format!("not sent: {}", reason.name()),
            (Out::Here, None, true) => "acted upon".to_owned(),
            (Out::Here, None, false) => format!("waits for rules, tried {} times", passage.tries),
            (Out::Link(..), None, true) => "acknowledged".to_owned(),
            (Out::Link(..), None, false) => "waits, or is on its way".to_owned(),
        };
        let _ = writeln!(text, "  {} number {}: {state}", passage.out.name(), passage.row.number);
    }
    for record in &found.dead {
        let _ = writeln!(text, "  dead letter  {}", dead_line(record));
    }
    text
}

fn age(now: Timestamp, at: Timestamp) -> String {
    match now.since(at).as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::dynamo::testing::embedded;
    use crate::relay::routes::tests::lonely;
    use crate::relay::routes::{Link, Waiting};
    use crate::relay::store::{Store, TABLES};

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    fn routes() -> Routes {
        let mut routes = lonely("laptop");
        let link = Link { topics: vec![Pattern::new("**").unwrap()], vouch: false };
        routes.to.insert(BotName::new("hub").unwrap(), link.clone());
        routes.from.insert(BotName::new("hub").unwrap(), link);
        Routes { waiting: Waiting { events: 2, ..Waiting::default() }, ..routes }
    }

    struct Desk {
        tables: Tables,
        routes: Routes,
    }

    impl Desk {
        async fn new() -> Self {
            Self { tables: Tables(embedded(TABLES).await), routes: routes() }
        }

        async fn does(&self, act: RelayAct) -> anyhow::Result<(i32, String)> {
            let office = Office { tables: &self.tables, routes: &self.routes, now: NOW, ask: &|_| false };
            let mut out = Vec::new();
            let status = office.run(&act, &mut out).await?;
            Ok((status, String::from_utf8(out).unwrap()))
        }

        async fn sends(&self, field: &[&str]) -> anyhow::Result<(i32, String)> {
            let field = field.iter().map(|field| (*field).to_owned()).collect();
            let (topic, scope) = ("alerts/disk".to_owned(), Scope::Fleet);
            self.does(RelayAct::Send {
                topic,
                subject: Some("full".into()),
                field,
                scope,
                to: None,
                life: None,
            })
            .await
        }
    }

    #[tokio::test]
    async fn what_is_sent_waits_and_is_traced_and_dropped() {
        let desk = Desk::new().await;
        let (status, id) = desk.sends(&["path=/", "used=91.5", "urgent=true"]).await.unwrap();
        let id = id.trim().to_owned();
        assert_eq!(status, 0);
        let (_, queue) = desk.does(RelayAct::Queue { name: Some("hub".into()), limit: 50 }).await.unwrap();
        assert_eq!(queue, format!("hub/events                0  {id}  alerts/disk  0 s\n"));
        let (status, shown) = desk.does(RelayAct::Status { json: false }).await.unwrap();
        assert!(
            status == 0
                && shown.contains("hub: never seen")
                && shown.contains("1 waiting, the oldest 0 s old"),
            "{shown}"
        );
        let (_, json) = desk.does(RelayAct::Status { json: true }).await.unwrap();
        let json: Json = serde_json::from_str(&json).unwrap();
        assert_eq!(json["peers"][0]["out"]["events"]["waiting"], 1);
        let (_, trace) = desk.does(RelayAct::Trace { id: id.clone() }).await.unwrap();
        assert!(trace.contains("made here") && trace.contains("hub/events number 0: waits"), "{trace}");
        let drop = |yes| RelayAct::Drop { id: Some(id.clone()), peer: None, yes };
        assert!(desk.does(drop(false)).await.unwrap_err().to_string().contains("nothing was dropped"));
        assert_eq!(desk.does(drop(true)).await.unwrap().1, "2 dropped\n");
        let (_, queue) = desk.does(RelayAct::Queue { name: None, limit: 50 }).await.unwrap();
        assert!(queue.contains("dropped"), "{queue}");
    }

    #[tokio::test]
    async fn a_full_queue_has_a_status_of_its_own() {
        let desk = Desk::new().await;
        desk.sends(&[]).await.unwrap();
        desk.sends(&[]).await.unwrap();
        let (status, told) = desk.sends(&[]).await.unwrap();
        assert!(status == FULL && told.ends_with("full: hub/events\n"), "{told}");
    }

    #[tokio::test]
    async fn what_is_asked_wrongly_is_told() {
        let desk = Desk::new().await;
        let told = |result: anyhow::Result<(i32, String)>| result.unwrap_err().to_string();
        assert!(told(desk.sends(&["path"]).await).contains("name=value"));
        assert!(told(desk.sends(&["Path=x"]).await).contains("is not the name of a field"));
        let queue = desk.does(RelayAct::Queue { name: Some("hubb".into()), limit: 5 }).await;
        assert_eq!(told(queue), "hubb is not linked to laptop; did you mean hub?");
        let nowhere = "hub/0000000000000000".to_owned();
        assert!(told(desk.does(RelayAct::Trace { id: nowhere.clone() }).await).contains("was never here"));
        let retry = RelayAct::Retry { id: Some(nowhere), all: false, peer: None, again: false };
        assert!(told(desk.does(retry).await).contains("is not among the dead letters"));
        let all = RelayAct::Retry { id: None, all: true, peer: None, again: false };
        assert_eq!(desk.does(all).await.unwrap(), (0, "There are no dead letters.\n".to_owned()));
    }

    #[tokio::test]
    async fn one_message_may_live_for_a_shorter_time() {
        let desk = Desk::new().await;
        let act = |life: &str| RelayAct::Send {
            topic: "a".into(),
            subject: None,
            field: Vec::new(),
            scope: Scope::Link,
            to: Some("hub".into()),
            life: Some(life.into()),
        };
        let (_, id) = desk.does(act("1h")).await.unwrap();
        let kept = desk.tables.kept(&EnvelopeId::new(id.trim()).unwrap()).await.unwrap().unwrap();
        assert_eq!(kept.until, NOW.plus(Duration::from_secs(3_600)));
        assert!(desk.does(act("soon")).await.is_err());
    }

    #[test]
    fn a_new_pair_of_keys_is_two_lines_to_copy() {
        let mut out = Vec::new();
        new_key(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("<bot>: { key: \"ed25519:") && text.contains("relay_key: \""), "{text}");
    }
}
