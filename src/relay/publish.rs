//! Taking a message in: it is in the outbox of every link that it goes over, or it is refused with a reason.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::dynamo::Error;
use crate::relay::envelope::{Envelope, Kind, Malformed, Scope, Sealed, VERSION, Value};
use crate::relay::frame::{Lane, Reason};
use crate::relay::link::{OutLane, epoch};
use crate::relay::name::{BotName, EnvelopeId, Topic};
use crate::relay::routes::{Routes, Waiting};
use crate::relay::store::{Change, Dead, Kept, Out, Store, Written, joining};

/// How often a write gives way to others that filled the same queues.
pub const TRIES_MAX: usize = 5;

/// A message as its author sees it; the rest is decided by the topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub topic: Topic,
    pub scope: Scope,
    pub to: Option<BotName>,
    /// When it happened.
    pub at: Timestamp,
    /// Why it is made: `disk/<time>`, an event's id. Published again for the same reason it is the same.
    pub because: String,
    /// Which one of this reason.
    pub part: u32,
    /// The envelope that it answers.
    pub cause: Option<EnvelopeId>,
    pub depth: u8,
    pub key: String,
    pub subject: Option<String>,
    pub fields: BTreeMap<String, Value>,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub id: EnvelopeId,
    /// In these queues it waits, or has waited.
    pub queued: Vec<Out>,
    /// These were full: who is there will not get it.
    pub full: Vec<Out>,
    /// It was published before, and nothing was written now.
    pub again: bool,
}

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("the topic {0} is not in the configuration: add it under `topics`")]
    UnknownTopic(Topic),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("its life was over before it was published")]
    Expired,
    #[error("{} full: it was not taken; look at `mneme relay status`", queues(.0))]
    Full(Vec<Out>),
    #[error("others published all the time: it was not taken; try again")]
    Contended,
    #[error(transparent)]
    Store(#[from] Error),
}

fn queues(full: &[Out]) -> String {
    let names: Vec<_> = full.iter().map(Out::name).collect();
    let (noun, verb) = if names.len() == 1 { ("queue", "is") } else { ("queues", "are") };
    format!("the {noun} {} {verb}", names.join(", "))
}

impl Routes {
    /// Makes an envelope of a draft.
    pub fn seal(&self, draft: Draft) -> Result<Sealed, Refused> {
        let rule = self.topic(&draft.topic).ok_or_else(|| Refused::UnknownTopic(draft.topic.clone()))?;
        let envelope = Envelope {
            v: VERSION,
            id: EnvelopeId::of(&self.me, &draft.because, draft.part),
            kind: rule.kind,
            until: draft.at.plus(rule.life),
            topic: draft.topic,
            scope: draft.scope,
            to: draft.to,
            at: draft.at,
            cause: draft.cause,
            depth: draft.depth,
            key: draft.key,
            subject: draft.subject,
            fields: draft.fields,
        };
        let sealed = Sealed::seal(envelope)?;
        let signature = self.key.as_ref().map(|key| key.sign(sealed.text()));
        Ok(sealed.with_signature(signature))
    }

    /// The queues that an envelope joins here.
    pub fn queues(&self, envelope: &Envelope, path: &[BotName]) -> BTreeSet<Out> {
        let lane = Lane::of(envelope.kind);
        let links = self.onward(envelope, path).into_iter().map(|peer| Out::Link(peer.clone(), lane));
        links.chain(self.is_for_us(envelope).then_some(Out::Here)).collect()
    }
}

impl Waiting {
    /// Whether a queue takes no more.
    pub fn is_full(&self, out: &Out, lane: Option<&OutLane>) -> bool {
        let limit = match out {
            Out::Link(_, Lane::Events) => self.events,
            Out::Link(_, Lane::Samples) => self.samples,
            Out::Here => self.here,
        };
        lane.is_some_and(|lane| lane.waiting() >= limit)
    }
}

pub(super) fn kept(sealed: &Sealed, path: Vec<BotName>) -> Kept {
    let envelope = sealed.envelope();
    let (id, text) = (envelope.id.clone(), sealed.text().to_owned());
    let signature = sealed.signature().map(str::to_owned);
    Kept { id, text, signature, path, at: envelope.at, until: envelope.until }
}

/// An envelope that goes on, as far as the queues have room for it: what they had no room for becomes a dead
/// letter of an event, and of a measurement a count.
pub(super) struct Onward {
    pub queued: Vec<Out>,
    pub dead: Vec<Dead>,
    pub dropped: u64,
}

impl Onward {
    pub fn plan(
        sealed: &Sealed,
        path: &[BotName],
        routes: &Routes,
        known: &BTreeMap<Out, Option<OutLane>>,
        now: Timestamp,
    ) -> Self {
        let envelope = sealed.envelope();
        let full = |out: &Out| routes.waiting.is_full(out, known.get(out).and_then(Option::as_ref));
        let (full, queued): (Vec<_>, Vec<_>) = routes.queues(envelope, path).into_iter().partition(full);
        let dead = |out: &Out| Dead {
            lane: out.dead_name(),
            at: now,
            id: envelope.id.clone(),
            reason: Reason::Full,
            detail: "the queue was full".to_owned(),
            text: Some(sealed.text().to_owned()),
            signature: sealed.signature().map(str::to_owned),
            path: path.to_vec(),
        };
        match envelope.kind {
            Kind::Event => Self { queued, dead: full.iter().map(dead).collect(), dropped: 0 },
            Kind::Sample => Self { queued, dead: Vec::new(), dropped: full.len() as u64 },
        }
    }
}

/// Takes a message in, from any process of the bot. Once it is taken it is durable.
pub async fn publish<S: Store>(
    store: &S,
    routes: &Routes,
    now: Timestamp,
    draft: Draft,
) -> Result<Published, Refused> {
    let sealed = routes.seal(draft)?;
    let envelope = sealed.envelope();
    if envelope.until <= now {
        return Err(Refused::Expired);
    }
    let id = envelope.id.clone();
    for _ in 0..TRIES_MAX {
        let mut known = BTreeMap::new();
        for out in routes.queues(envelope, &[]) {
            let lane = store.out_lane(&out).await?;
            known.insert(out, lane);
        }
        let full = |out: &Out| routes.waiting.is_full(out, known.get(out).and_then(Option::as_ref));
        let (full, queued): (Vec<_>, Vec<_>) = known.keys().cloned().partition(full);
        if queued.is_empty() {
            return match (envelope.kind, full.is_empty()) {
                (Kind::Event, false) => Err(Refused::Full(full)),
                _ => Ok(Published { id, queued, full, again: false }),
            };
        }
        let joining = joining(&known, epoch(now), &[(id.clone(), envelope.until, queued.clone())]);
        let envelopes = vec![(kept(&sealed, Vec::new()), None)];
        let change = Change { envelopes, joining, ..Change::default() };
        match store.write(&change).await? {
            Written::Done => return Ok(Published { id, queued, full, again: false }),
            Written::Known(_) => return Ok(Published { id, queued, full, again: true }),
            Written::Moved | Written::Passed => {}
        }
    }
    Err(Refused::Contended)
}

#[cfg(test)]
pub(super) mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::relay::model::Model;
    use crate::relay::routes::EVENT_LIFE;
    use crate::relay::routes::tests::lonely;

    impl Draft {
        /// A message of a test, made for this reason.
        pub fn test(topic: &str, because: &str, at: Timestamp) -> Self {
            Self {
                topic: Topic::new(topic).unwrap(),
                scope: Scope::Fleet,
                to: None,
                at,
                because: because.to_owned(),
                part: 0,
                cause: None,
                depth: 0,
                key: "test".to_owned(),
                subject: None,
                fields: BTreeMap::new(),
            }
        }
    }

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn publishing_twice_is_publishing_once() {
        let (store, routes) = (Model::default(), lonely("hub"));
        let again =
            |draft: Draft| publish(&store, &routes, NOW, draft).now_or_never().unwrap().unwrap().again;
        assert!(!again(Draft::test("a", "x", NOW)));
        assert!(again(Draft::test("a", "x", NOW)));
        assert!(!again(Draft { part: 1, ..Draft::test("a", "x", NOW) }));
        assert_eq!(store.records().rows.len(), 2);
    }

    #[test]
    fn what_cannot_be_taken_is_refused_and_leaves_nothing() {
        let (store, mut routes) = (Model::default(), lonely("hub"));
        let refused = |routes: &Routes, now, draft| {
            publish(&store, routes, now, draft).now_or_never().unwrap().unwrap_err().to_string()
        };
        let draft = Draft::test("a", "x", NOW);
        assert!(refused(&routes, NOW.plus(EVENT_LIFE), draft.clone()).contains("its life was over"));
        let deep = Draft { depth: 5, ..draft.clone() };
        assert!(refused(&routes, NOW, deep).contains("rules answer each other"));
        routes.topics.clear();
        assert_eq!(
            refused(&routes, NOW, draft),
            "the topic a is not in the configuration: add it under `topics`"
        );
        assert!(store.records().rows.is_empty() && store.records().envelopes.is_empty());
    }
}
