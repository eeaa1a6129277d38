//! [`Fleet`]: `relay.yaml`, the same for all: who there is, what is spoken of, who is linked to whom and how.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use secrecy::SecretString;

use crate::dynamo::Table;
use crate::relay::envelope::{Kind, LIFE_MAX};
use crate::relay::keys::PublicKey;
use crate::relay::name::{BotName, Pattern, Topic};
use crate::relay::routes::{EVENT_LIFE, LINKS_MAX, Link, Routes, SAMPLE_LIFE, TopicRule, Waiting};
use crate::relay::table::MailRecord;
use crate::relay::tree::secrets::Secrets;
use crate::relay::xmpp::Tls;
use crate::yaml::{Located, Place, Reader, did_you_mean};

/// The version of the format.
pub const FORMAT: u64 = 1;

/// A fleet of more needs another way to hand its configuration out.
pub const BOTS_MAX: usize = 256;

/// What a bot always may publish: its own events.
pub const OWN_TOPICS: &str = "bot/**";

/// Announcements of the owner.
pub const ANNOUNCE: &str = "announce";

/// The secret that signs what a bot makes.
pub const KEY_SECRET: &str = "relay_key";

#[derive(Clone, Debug, Default)]
pub struct Fleet {
    pub bots: BTreeMap<BotName, Bot>,
    /// The first that matches holds.
    pub topics: Vec<Listed>,
    pub links: Vec<Joined>,
    pub transports: Transports,
}

/// One bot of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bot {
    pub at: Place,
    /// Its account.
    pub xmpp: Option<String>,
    /// What proves that it made an envelope.
    pub key: Option<PublicKey>,
}

/// What holds for some topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub at: Place,
    pub rule: TopicRule,
    /// A server's admins may link it to a channel.
    pub open: bool,
}

/// A link, directed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub at: Place,
    pub from: BotName,
    pub to: BotName,
    pub by: Carrier,
    pub topics: Vec<(Place, Pattern)>,
    pub vouch: bool,
}

/// What moves the frames of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Carrier {
    Xmpp,
    Table,
}

impl Carrier {
    pub const NAMES: [(&'static str, Self); 2] = [("xmpp", Self::Xmpp), ("table", Self::Table)];
}

#[derive(Clone, Debug, Default)]
pub struct Transports {
    pub xmpp: Option<Xmpp>,
    pub table: Option<MailTable>,
}

#[derive(Clone, Debug)]
pub struct Xmpp {
    /// `host:port`
    pub server: String,
    pub tls: Tls,
    /// A file of the tree: the only authority that is trusted.
    pub ca: Option<String>,
    /// Absent while others' configuration is looked at.
    pub password: Option<SecretString>,
}

/// A table in an account that the bots share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailTable {
    /// What stands before the table's own name.
    pub prefix: String,
    /// Absent: it is in the bot's own store.
    pub region: Option<String>,
}

impl Fleet {
    /// Whether and how a topic may be published.
    pub fn topic(&self, topic: &Topic) -> Option<&Listed> {
        self.topics.iter().find(|listed| listed.rule.topics.matches(topic))
    }

    /// The links of one bot.
    pub fn routes(&self, me: &BotName, acts: bool) -> Routes {
        let link = |joined: &Joined| Link {
            topics: joined.topics.iter().map(|(_, pattern)| pattern.clone()).collect(),
            vouch: joined.vouch,
        };
        let of = |end: fn(&Joined) -> (&BotName, &BotName)| {
            self.links
                .iter()
                .filter(|joined| end(joined).0 == me)
                .map(|joined| (end(joined).1.clone(), link(joined)))
                .collect::<BTreeMap<_, _>>()
        };
        Routes {
            me: me.clone(),
            topics: self.topics.iter().map(|listed| listed.rule.clone()).collect(),
            to: of(|joined| (&joined.from, &joined.to)),
            from: of(|joined| (&joined.to, &joined.from)),
            acts,
            waiting: Waiting::default(),
            keys: self.bots.iter().filter_map(|(name, bot)| Some((name.clone(), bot.key?))).collect(),
            key: None,
        }
    }

    /// What a bot's links go by.
    pub fn carriers(&self, me: &BotName) -> BTreeSet<Carrier> {
        let mine = self.links.iter().filter(|joined| joined.from == *me || joined.to == *me);
        mine.map(|joined| joined.by).collect()
    }

    /// The peers that a bot reaches by a carrier, or is reached from.
    pub fn peers_by(&self, me: &BotName, by: Carrier) -> BTreeSet<BotName> {
        let mine =
            self.links.iter().filter(|joined| joined.by == by && (joined.from == *me || joined.to == *me));
        mine.map(|joined| if joined.from == *me { joined.to.clone() } else { joined.from.clone() }).collect()
    }
}

/// Reads `relay.yaml`. Secrets are looked up where a bot's own are at hand.
pub fn read(reader: &mut Reader, found: &Located, secrets: &mut Secrets) -> Fleet {
    let Some(mut map) = reader.map(found, "relay.yaml", &["relay", "bots", "topics", "links", "transports"])
    else {
        return Fleet::default();
    };
    if let Some(version) = reader.need(&mut map, found.at, "relay")
        && version.value().as_u64() != Some(FORMAT)
    {
        reader.fault(
            version.at,
            format!("relay is the version of this format, {FORMAT}; a newer one needs a newer mneme"),
        );
    }
    let bots =
        reader.need(&mut map, found.at, "bots").map(|bots| read_bots(reader, bots)).unwrap_or_default();
    let mut topics: Vec<_> =
        map.remove("topics").map(|topics| read_topics(reader, topics)).unwrap_or_default();
    topics.push(own_topics());
    let transports =
        map.remove("transports").map(|found| read_transports(reader, found, secrets)).unwrap_or_default();
    let mut fleet = Fleet { bots, topics, links: Vec::new(), transports };
    if let Some(links) = map.remove("links") {
        fleet.links =
            reader.list(links, "links").iter().filter_map(|link| read_link(reader, link, &fleet)).collect();
    }
    check_links(reader, &fleet);
    fleet
}

/// What a bot tells of itself needs no line.
fn own_topics() -> Listed {
    let topics = Pattern::new(OWN_TOPICS).expect("a constant, read in every test");
    let rule = TopicRule { topics, kind: Kind::Event, life: EVENT_LIFE };
    Listed { at: Place::default(), rule, open: false }
}

fn read_bots(reader: &mut Reader, found: &Located) -> BTreeMap<BotName, Bot> {
    let mut bots = BTreeMap::new();
    for entry in
        reader.entries(found, "bots is a mapping of names to what is known of them").unwrap_or_default()
    {
        let name = reader.ok(entry.at, BotName::new(&entry.name));
        let map = match entry.value.is_null() {
            true => Some(Default::default()),
            false => reader.map(&entry.value, "a bot", &["xmpp", "key"]),
        };
        let Some(mut map) = map else { continue };
        let xmpp = map.remove("xmpp").and_then(|found| reader.parsed(found, "xmpp", account));
        let key = map.remove("key").and_then(|found| reader.parsed(found, "key", PublicKey::parse));
        bots.extend(name.map(|name| (name, Bot { at: entry.at, xmpp, key })));
    }
    if bots.len() > BOTS_MAX {
        reader.fault(found.at, format!("{} bots, more than {BOTS_MAX}", bots.len()));
    }
    bots
}

/// A bare JID: the resource is ours to choose.
fn account(text: &str) -> Result<String, String> {
    let (user, domain) = text.split_once('@').unwrap_or_default();
    let plain = |part: &str| !part.is_empty() && !part.contains(['@', '/', ' ', '"', '\'', '<', '>', '&']);
    if plain(user) && plain(domain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no account: name@domain, without a resource"))
    }
}

fn read_topics(reader: &mut Reader, found: &Located) -> Vec<Listed> {
    let mut topics: Vec<Listed> = Vec::new();
    for found in reader.list(found, "topics") {
        let Some(listed) = read_topic(reader, found) else { continue };
        if let Some(before) = topics.iter().find(|before| before.rule.topics == listed.rule.topics) {
            reader
                .fault(found.at, format!("{} stands in line {} already", listed.rule.topics, before.at.line));
        }
        topics.push(listed);
    }
    topics
}

fn read_topic(reader: &mut Reader, found: &Located) -> Option<Listed> {
    const KINDS: [(&str, Kind); 2] = [("event", Kind::Event), ("sample", Kind::Sample)];
    let mut map = reader.map(found, "a topic", &["topic", "kind", "life", "open"])?;
    let topics = reader.need(&mut map, found.at, "topic");
    let topics = topics.and_then(|topics| reader.parsed(topics, "topic", Pattern::new));
    let kind = map.remove("kind").map_or(Some(Kind::Event), |kind| reader.choice(kind, "kind", &KINDS))?;
    let usual = if kind == Kind::Event { EVENT_LIFE } else { SAMPLE_LIFE };
    let limits = Duration::from_secs(1)..=LIFE_MAX;
    let life = map.remove("life").map_or(Some(usual), |life| reader.duration(life, "life", limits))?;
    let open = map.remove("open");
    let is_open = open.and_then(|open| reader.switch(open, "open")).unwrap_or_default();
    let topics = topics?;
    if let Some(open) = open
        && is_open
        && Topic::new(topics.as_str()).is_err()
    {
        reader
            .fault(open.at, format!("{topics} is several topics; those that are open are listed one by one"));
    }
    Some(Listed { at: found.at, rule: TopicRule { topics, kind, life }, open: is_open })
}

fn read_link(reader: &mut Reader, found: &Located, fleet: &Fleet) -> Option<Joined> {
    let mut map = reader.map(found, "a link", &["from", "to", "by", "topics", "vouch"])?;
    let mut end = |reader: &mut Reader, name: &str| {
        let found = reader.need(&mut map, found.at, name)?;
        let bot = reader.parsed(found, name, BotName::new)?;
        known_bot(reader, found.at, &bot, fleet).then_some(bot)
    };
    let (from, to) = (end(reader, "from"), end(reader, "to"));
    let by = match map.remove("by") {
        Some(by) => reader.choice(by, "by", &Carrier::NAMES).map(|carrier| (by.at, carrier)),
        None => only_transport(reader, found.at, fleet),
    };
    let topics = reader.need(&mut map, found.at, "topics").map(|topics| reader.list(topics, "topics"));
    let topics: Vec<_> = topics
        .unwrap_or_default()
        .iter()
        .filter_map(|topic| Some((topic.at, reader.parsed(topic, "a topic", Pattern::new)?)))
        .collect();
    let vouch = map.remove("vouch").and_then(|vouch| reader.switch(vouch, "vouch")).unwrap_or_default();
    let (from, to, (by_at, by)) = (from?, to?, by?);
    if from == to {
        reader.fault(found.at, format!("{from} is linked to itself"));
    }
    check_carrier(reader, by_at, by, [&from, &to], fleet);
    Some(Joined { at: found.at, from, to, by, topics, vouch })
}

/// Whether there is a bot of this name.
pub fn known_bot(reader: &mut Reader, at: Place, bot: &BotName, fleet: &Fleet) -> bool {
    let is_known = fleet.bots.contains_key(bot);
    if !is_known {
        let nearest = did_you_mean(bot.as_str(), fleet.bots.keys().map(BotName::as_str));
        reader.fault(at, format!("there is no bot {bot} under `bots`{nearest}"));
    }
    is_known
}

fn only_transport(reader: &mut Reader, at: Place, fleet: &Fleet) -> Option<(Place, Carrier)> {
    match (&fleet.transports.xmpp, &fleet.transports.table) {
        (Some(_), None) => Some((at, Carrier::Xmpp)),
        (None, Some(_)) => Some((at, Carrier::Table)),
        _ => {
            reader.fault(at, "by is missing: xmpp or table");
            None
        }
    }
}

fn check_carrier(reader: &mut Reader, at: Place, by: Carrier, ends: [&BotName; 2], fleet: &Fleet) {
    let missing = match by {
        Carrier::Xmpp if fleet.transports.xmpp.is_none() => Some("xmpp"),
        Carrier::Table if fleet.transports.table.is_none() => Some("table"),
        _ => None,
    };
    if let Some(name) = missing {
        reader.fault(at, format!("{name} is not under `transports`"));
    }
    for end in ends.into_iter().filter(|_| by == Carrier::Xmpp) {
        if fleet.bots.get(end).is_some_and(|bot| bot.xmpp.is_none()) {
            reader.fault(at, format!("{end} has no account: add `xmpp: name@domain` to it under `bots`"));
        }
    }
}

fn check_links(reader: &mut Reader, fleet: &Fleet) {
    let mut seen: BTreeMap<(&BotName, &BotName), Place> = BTreeMap::new();
    let mut many: BTreeMap<(&BotName, &str), usize> = BTreeMap::new();
    for joined in &fleet.links {
        let back = fleet.links.iter().find(|back| (&back.from, &back.to) == (&joined.to, &joined.from));
        if let Some(back) = back.filter(|back| back.by != joined.by && back.at < joined.at) {
            let (from, to, line) = (&joined.from, &joined.to, back.at.line);
            reader.fault(
                joined.at,
                format!(
                    "{from} and {to} are linked by something else in line {line}: two bots speak one way"
                ),
            );
        }
        if let Some(before) = seen.insert((&joined.from, &joined.to), joined.at) {
            let (from, to, line) = (&joined.from, &joined.to, before.line);
            reader.fault(
                joined.at,
                format!("the link from {from} to {to} stands in line {line} already: join their topics"),
            );
        }
        for end in [(&joined.from, "from"), (&joined.to, "to")] {
            let count = many.entry(end).or_default();
            *count += 1;
            if *count == LINKS_MAX + 1 {
                reader.fault(joined.at, format!("more than {LINKS_MAX} links {} {}", end.1, end.0));
            }
        }
    }
}

fn read_transports(reader: &mut Reader, found: &Located, secrets: &mut Secrets) -> Transports {
    let Some(mut map) = reader.map(found, "transports", &["xmpp", "table"]) else {
        return Transports::default();
    };
    Transports {
        xmpp: map.remove("xmpp").and_then(|found| read_xmpp(reader, found, secrets)),
        table: map.remove("table").and_then(|found| read_table(reader, found)),
    }
}

fn read_xmpp(reader: &mut Reader, found: &Located, secrets: &mut Secrets) -> Option<Xmpp> {
    const HOW: [(&str, Tls); 3] = [("starttls", Tls::StartTls), ("direct", Tls::Direct), ("off", Tls::Off)];
    let mut map = reader.map(found, "xmpp", &["server", "tls", "ca", "password"])?;
    let server_at = reader.need(&mut map, found.at, "server");
    let server = server_at.and_then(|server| reader.parsed(server, "server", address));
    let tls = map.remove("tls").map_or(Some(Tls::StartTls), |tls| reader.choice(tls, "tls", &HOW));
    let ca = map.remove("ca").and_then(|ca| reader.parsed(ca, "ca", inside));
    let password =
        reader.need(&mut map, found.at, "password").map(|found| secrets.take(reader, found, "password"));
    if let (Some(Tls::Off), Some(server), Some(at)) = (tls, &server, server_at)
        && !is_loopback(server)
    {
        reader.fault(at.at, "tls: off is for servers on this machine only, 127.0.0.1 or [::1]");
    }
    Some(Xmpp { server: server?, tls: tls?, ca, password: password? })
}

/// `host:port`
pub fn address(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let is_host = !host.is_empty() && !host.contains([' ', '/', '@']);
    if is_host && port.parse::<u16>().is_ok_and(|port| port > 0) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no address: host:port"))
    }
}

fn is_loopback(server: &str) -> bool {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A file that lies in the tree, so that a bundle can take it along.
fn inside(text: &str) -> Result<String, String> {
    let is_inside = !text.starts_with('/')
        && !text.is_empty()
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
    if is_inside {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a file in this folder or below it"))
    }
}

fn read_table(reader: &mut Reader, found: &Located) -> Option<MailTable> {
    let mut map = reader.map(found, "table", &["table", "region"])?;
    let prefix =
        reader.need(&mut map, found.at, "table").and_then(|table| reader.parsed(table, "table", prefix));
    let region = map.remove("region").and_then(|region| reader.text(region, "region"));
    Some(MailTable { prefix: prefix?, region })
}

/// A table has its own name, with what distinguishes it before that.
fn prefix(text: &str) -> Result<String, String> {
    let name = MailRecord::NAME;
    let prefix = text.strip_suffix(name).map(str::to_owned);
    prefix
        .ok_or_else(|| format!("{text:?} does not end with {name}: only what stands before it can be chosen"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tree::testing::RELAY;

    fn read_text(text: &str) -> (Fleet, Vec<String>) {
        let mut reader = Reader::default();
        let mut secrets = Secrets::unknown();
        let fleet = reader.open("relay.yaml", text).map(|found| read(&mut reader, &found, &mut secrets));
        (fleet.unwrap_or_default(), reader.flaws.iter().map(ToString::to_string).collect())
    }

    fn name(text: &str) -> BotName {
        BotName::new(text).unwrap()
    }

    #[test]
    fn a_fleet_is_read_and_gives_each_bot_its_routes() {
        let (fleet, flaws) = read_text(RELAY);
        assert!(flaws.is_empty(), "{flaws:#?}");
        let routes = fleet.routes(&name("hub"), true);
        assert_eq!(routes.to.keys().collect::<Vec<_>>(), [&name("laptop")]);
        assert_eq!(routes.from[&name("laptop")].topics, [Pattern::new("**").unwrap()]);
        let topic =
            |topic: &str| fleet.topic(&Topic::new(topic).unwrap()).map(|found| (found.rule.kind, found.open));
        assert_eq!(topic("host/disk"), Some((Kind::Sample, false)));
        assert_eq!(topic("announce"), Some((Kind::Event, true)));
        assert_eq!((topic("bot/peer"), topic("other")), (Some((Kind::Event, false)), None));
        assert_eq!(fleet.carriers(&name("hub")), BTreeSet::from([Carrier::Xmpp]));
        assert_eq!(fleet.peers_by(&name("hub"), Carrier::Xmpp), BTreeSet::from([name("laptop")]));
        assert!(fleet.carriers(&name("other")).is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_was_meant() {
        let text = "relay: 2\nbot: {}\nbots:\n  hub: { xmpp: hub }\n  Lap: {}\n  laptop: { key: \"ed25519:xx\" }\ntopics:\n  - { topic: a, life: 90d }\n  - { topic: a/**, open: true }\n  - { topic: a/** }\nlinks:\n  - { from: lapto, to: hub, topics: [a] }\n  - { from: hub, to: hub, by: table, topics: [A] }\n  - { from: hub, to: laptop, by: xmpp, topics: [a] }\n  - { from: hub, to: laptop, by: xmpp, topics: [a] }\ntransports:\n  xmpp: { server: \"chat:5222\", tls: off, ca: ../ca.pem, password: hunter2 }\n";
        let (_, flaws) = read_text(text);
        let expected = [
            "relay.yaml:2:1: relay.yaml has no \"bot\"",
            "relay.yaml:1:8: relay is the version",
            "relay.yaml:4:16: \"hub\" is no account",
            "relay.yaml:5:3: \"Lap\" is not the name of a bot",
            "relay.yaml:6:18: a bot's key is ed25519:",
            "relay.yaml:8:23: life is a time from 1s to 30d",
            "relay.yaml:9:26: a/** is several topics",
            "relay.yaml:10:5: a/** stands in line 9 already",
            "relay.yaml:17:67: password is { secret: name }",
            "relay.yaml:17:46: \"../ca.pem\" is not a file in this folder",
            "relay.yaml:17:19: tls: off is for servers on this machine only",
            "relay.yaml:12:13: there is no bot lapto under `bots`; did you mean laptop?",
            "relay.yaml:13:47: \"A\" is not a pattern",
            "relay.yaml:13:5: hub is linked to itself",
            "relay.yaml:13:31: table is not under `transports`",
            "relay.yaml:14:34: hub has no account",
            "relay.yaml:14:34: laptop has no account",
            "relay.yaml:15:5: the link from hub to laptop stands in line 14 already",
        ];
        for expected in expected {
            assert!(flaws.iter().any(|flaw| flaw.starts_with(expected)), "{expected}\n{flaws:#?}");
        }
        assert!(flaws.iter().all(|flaw| !flaw.contains("hunter2")), "{flaws:#?}");
    }

    #[test]
    fn tables_and_accounts_are_checked() {
        assert_eq!(
            (prefix("relay_mail"), prefix("fleet-relay_mail")),
            (Ok(String::new()), Ok("fleet-".to_owned()))
        );
        assert!(prefix("mail").is_err());
        assert!(account("a@b.example").is_ok());
        for bad in ["a", "@b", "a@", "a@b/c", "a@b@c"] {
            assert!(account(bad).is_err(), "{bad}");
        }
        assert!(is_loopback("127.0.0.1:5222") && is_loopback("[::1]:5222") && is_loopback("localhost:1"));
        assert!(!is_loopback("127.0.0.1.example:5222"));
    }
}
