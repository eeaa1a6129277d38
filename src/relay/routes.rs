//! [`Routes`]: who is linked to whom, and where an envelope goes from here. It looks at topic, scope and path,
//! never at content: filters by content would give one topic several ways, and order breaks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::relay::envelope::{Envelope, Kind, Scope};
use crate::relay::keys::{PublicKey, SecretKey};
use crate::relay::law::Law;
use crate::relay::name::{BotName, Pattern, Topic};

/// A fuse: no sane fleet has a way of this length.
pub const HOPS_MAX: usize = 32;

/// One transaction takes an envelope and hands it to every link, and has room for 100 writes.
pub const LINKS_MAX: usize = 32;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Unless the configuration says otherwise.
pub const EVENT_LIFE: Duration = Duration::from_secs(7 * DAY.as_secs());
pub const SAMPLE_LIFE: Duration = Duration::from_secs(3_600);

/// What holds for some topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule {
    pub topics: Pattern,
    pub kind: Kind,
    pub life: Duration,
}

/// How many envelopes may wait in a queue; what comes then is refused, or becomes a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub events: u64,
    pub samples: u64,
    pub here: u64,
}

impl Default for Waiting {
    /// A day of alerts every ten seconds; of measurements the newest tell enough.
    fn default() -> Self {
        Self { events: 10_000, samples: 1_000, here: 10_000 }
    }
}

/// A link to a peer, or from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Route and permission at once: the sender sends these, the receiver refuses others.
    pub topics: Vec<Pattern>,
    /// On a link from a peer: it is believed who made what it passes on.
    pub vouch: bool,
}

impl Link {
    pub fn carries(&self, topic: &Topic) -> bool {
        self.topics.iter().any(|pattern| pattern.matches(topic))
    }
}

/// The links of one bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    pub me: BotName,
    /// The first that matches holds; what matches none cannot be published here.
    pub topics: Vec<TopicRule>,
    pub to: BTreeMap<BotName, Link>,
    pub from: BTreeMap<BotName, Link>,
    /// Whether something here acts on envelopes: rules, or linked channels.
    pub acts: bool,
    pub waiting: Waiting,
    /// Bots that sign what they make; of the others one is told only by themselves, or by who vouches for them.
    pub keys: BTreeMap<BotName, PublicKey>,
    /// What we sign with.
    pub key: Option<Arc<SecretKey>>,
}

impl Routes {
    /// What holds for a topic.
    pub fn topic(&self, topic: &Topic) -> Option<&TopicRule> {
        self.topics.iter().find(|rule| rule.topics.matches(topic))
    }

    /// The peers that get an envelope from here. `path` are the bots that have had it, without us.
    pub fn onward(&self, envelope: &Envelope, path: &[BotName]) -> Vec<&BotName> {
        let goes = match envelope.scope {
            Scope::Local => false,
            Scope::Link => path.is_empty(),
            Scope::Fleet => {
                path.is_empty()
                    || !Law::HandedOn.is_broken() && (path.len() < 2 || !Law::WithoutEnd.is_broken())
            }
        };
        let had = |peer: &BotName| path.contains(peer) && !Law::PathHeld.is_broken();
        let wanted = |(peer, link): &(&BotName, &Link)| !had(peer) && link.carries(&envelope.topic);
        self.to.iter().filter(|_| goes).filter(wanted).map(|(peer, _)| peer).collect()
    }

    /// Whether it is for us to act on.
    pub fn is_for_us(&self, envelope: &Envelope) -> bool {
        self.acts && envelope.to.as_ref().is_none_or(|to| *to == self.me)
    }

    /// Every bot at the other end of a link.
    pub fn peers(&self) -> impl Iterator<Item = &BotName> {
        self.to.keys().chain(self.from.keys().filter(|peer| !self.to.contains_key(*peer)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A bot without links, where every topic may be published.
    pub fn lonely(me: &str) -> Routes {
        let topics = Pattern::new("**").unwrap();
        Routes { topics: vec![TopicRule { topics, kind: Kind::Event, life: EVENT_LIFE }], ..routes(me, &[]) }
    }
    use crate::relay::envelope::tests::envelope;

    fn name(text: &str) -> BotName {
        BotName::new(text).unwrap()
    }

    fn routes(me: &str, to: &[(&str, &str)]) -> Routes {
        let link = |topics: &str| Link { topics: vec![Pattern::new(topics).unwrap()], vouch: false };
        let to = to.iter().map(|(peer, topics)| (name(peer), link(topics))).collect();
        Routes {
            me: name(me),
            topics: Vec::new(),
            to,
            from: BTreeMap::new(),
            acts: true,
            waiting: Waiting::default(),
            keys: BTreeMap::new(),
            key: None,
        }
    }

    fn onward(routes: &Routes, envelope: &Envelope, path: &[&str]) -> Vec<String> {
        let path: Vec<_> = path.iter().map(|bot| name(bot)).collect();
        routes.onward(envelope, &path).into_iter().map(BotName::to_string).collect()
    }

    #[test]
    fn topic_scope_and_path_decide_where_it_goes() {
        let hub = routes("hub", &[("a", "**"), ("b", "alerts/**"), ("c", "host/*")]);
        let fleet = envelope("hub", "x");
        assert_eq!(onward(&hub, &fleet, &[]), ["a", "b"]);
        assert_eq!(onward(&hub, &fleet, &["b", "c"]), ["a"]);
        let link = Envelope { scope: Scope::Link, ..fleet.clone() };
        assert_eq!(onward(&hub, &link, &[]), ["a", "b"]);
        assert!(onward(&hub, &link, &["c"]).is_empty());
        let local = Envelope { scope: Scope::Local, ..fleet };
        assert!(onward(&hub, &local, &[]).is_empty());
    }

    #[test]
    fn the_addressee_acts_and_nobody_else() {
        let hub = routes("hub", &[]);
        let to = |to: Option<&str>| Envelope { to: to.map(name), ..envelope("hub", "x") };
        assert!(hub.is_for_us(&to(None)) && hub.is_for_us(&to(Some("hub"))));
        assert!(!hub.is_for_us(&to(Some("laptop"))));
        assert!(!Routes { acts: false, ..hub }.is_for_us(&to(None)));
    }
}
