//! [`Host`]: the configuration as one bot uses it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use secrecy::ExposeSecret;

use crate::relay::keys::SecretKey;
use crate::relay::name::{BotName, Topic};
use crate::relay::routes::Routes;
use crate::relay::rules::Rule;
use crate::relay::rules::file::{self as rules, Named};
use crate::relay::settings::{Settings, TableVia, Via};
use crate::relay::tree::files::{Found, MAIN, RULES, SECRETS, SOURCES, Tree};
use crate::relay::tree::fleet::{self, ANNOUNCE, Carrier, Fleet, KEY_SECRET};
use crate::relay::tree::secrets::{Secrets, SecretsFrom};
use crate::relay::tree::source::{self, Source};
use crate::relay::xmpp;
use crate::yaml::{Flaw, Located, Place, did_you_mean};

/// What one bot uses.
#[derive(Debug)]
pub struct Host {
    pub me: BotName,
    pub fleet: Fleet,
    pub rules: Vec<Rule>,
    pub sources: Vec<Source>,
    pub secrets: Secrets,
    /// What signs its envelopes, if others are to check that.
    pub key: Option<Arc<SecretKey>>,
    /// The files that it uses, in order, as they were read.
    pub files: Vec<(Found, Located)>,
    /// Topics that rules publish, with their places.
    pub named: Vec<Named>,
}

/// A bot's configuration, and what is wrong with it or odd.
#[derive(Debug)]
pub struct Reading {
    pub host: Host,
    pub flaws: Vec<Flaw>,
}

impl Reading {
    pub fn has_errors(&self) -> bool {
        self.flaws.iter().any(|flaw| !flaw.is_warning)
    }

    /// The configuration, or all that is wrong with it.
    pub fn sound(self) -> Result<Host, Vec<Flaw>> {
        if self.has_errors() {
            Err(self.flaws.into_iter().filter(|flaw| !flaw.is_warning).collect())
        } else {
            Ok(self.host)
        }
    }
}

/// Reads what a bot uses.
pub fn read(tree: &Tree, me: &BotName, from: &SecretsFrom) -> Reading {
    let mut reader = rules::Reader::default();
    let mut secrets = Secrets::read(&mut reader.yaml, tree, me.as_str(), from);
    let files = open_all(&mut reader, tree, me);
    let fleet = match files.iter().find(|(file, _)| file.name == MAIN) {
        Some((file, found)) => {
            reader.yaml.file = file.path();
            fleet::read(&mut reader.yaml, found, &mut secrets)
        }
        None => Fleet::default(),
    };
    let (mut all_rules, mut sources) = (Vec::new(), Vec::new());
    for (file, found) in &files {
        reader.yaml.file = file.path();
        if let Some(name) = file.name.strip_prefix(SOURCES) {
            sources.extend(source::read(&mut reader, name.trim_end_matches(".yaml"), found, &mut secrets));
        } else if file.name.starts_with(RULES) {
            all_rules.extend(reader.parsed_file(found));
        }
    }
    let main = main_file(&files);
    let key = own_key(&mut reader, &main, &fleet, me, &mut secrets);
    let named = std::mem::take(&mut reader.named);
    let mut host = Host { me: me.clone(), fleet, rules: all_rules, sources, secrets, key, files, named };
    check(&mut reader, tree, &mut host, &main);
    reader.yaml.file = main;
    reader.finish();
    host.secrets.finish(&mut reader.yaml);
    Reading { host, flaws: reader.yaml.flaws }
}

/// Where the fleet is described, for this bot.
fn main_file(files: &[(Found, Located)]) -> String {
    files.iter().find(|(file, _)| file.name == MAIN).map_or(MAIN.to_owned(), |(file, _)| file.path())
}

fn open_all(reader: &mut rules::Reader, tree: &Tree, me: &BotName) -> Vec<(Found, Located)> {
    let mut files = Vec::new();
    let mut has_main = false;
    for file in tree.chosen(me.as_str()).into_values().filter(|file| file.name != SECRETS) {
        has_main |= file.name == MAIN;
        let path = file.path();
        match tree.read(&path) {
            Ok(text) => files.extend(reader.yaml.open(&path, &text).map(|found| (file.clone(), found))),
            Err(error) => {
                reader.yaml.file = path;
                reader.yaml.fault(Place::default(), format!("cannot be read: {error}"));
            }
        }
    }
    if !has_main {
        reader.yaml.file = MAIN.to_owned();
        reader.yaml.fault(Place::default(), format!("is not in {}", tree.root.display()));
    }
    files
}

/// The secret that belongs to the public key under `bots`.
fn own_key(
    reader: &mut rules::Reader,
    main: &str,
    fleet: &Fleet,
    me: &BotName,
    secrets: &mut Secrets,
) -> Option<Arc<SecretKey>> {
    main.clone_into(&mut reader.yaml.file);
    let bot = fleet.bots.get(me)?;
    let public = bot.key?;
    let secret = secrets.named(&mut reader.yaml, bot.at, KEY_SECRET)?;
    let key = reader.yaml.ok(bot.at, SecretKey::parse(secret.expose_secret()))?;
    if key.public() != public {
        reader
            .yaml
            .fault(bot.at, format!("the secret {KEY_SECRET} belongs to another key than this one of {me}"));
    }
    Some(Arc::new(key))
}

/// What each part says, compared with the others.
fn check(reader: &mut rules::Reader, tree: &Tree, host: &mut Host, main: &str) {
    main.clone_into(&mut reader.yaml.file);
    let Host { me, fleet, .. } = &*host;
    if !fleet.bots.is_empty() && !fleet.bots.contains_key(me) {
        let nearest = did_you_mean(me.as_str(), fleet.bots.keys().map(BotName::as_str));
        let told =
            format!("there is no bot {me} under `bots`{nearest}. BOT_NAME or --bot-name says who this is");
        reader.yaml.fault(Place::default(), told);
    }
    if let Some(xmpp) = &fleet.transports.xmpp
        && let Some(ca) = xmpp.ca.as_ref().filter(|_| fleet.carriers(me).contains(&Carrier::Xmpp))
        && !tree.root.join(ca).is_file()
    {
        reader.yaml.fault(Place::default(), format!("ca: there is no file {ca} in {}", tree.root.display()));
    }
    for source in &host.sources {
        let file = host.file_of(&format!("{SOURCES}{}.yaml", source.key));
        file.clone_into(&mut reader.yaml.file);
        if let Some((at, topic)) = &source.topic {
            check_topic(reader, *at, topic, fleet);
        }
    }
    for named in &host.named {
        named.file.clone_into(&mut reader.yaml.file);
        match &named.what {
            rules::What::Topic(topic) => check_topic(reader, named.at, topic, fleet),
            rules::What::Bot(bot) => drop(fleet::known_bot(&mut reader.yaml, named.at, bot, fleet)),
        }
    }
}

fn check_topic(reader: &mut rules::Reader, at: Place, topic: &Topic, fleet: &Fleet) {
    if fleet.topic(topic).is_none() {
        let known = fleet.topics.iter().map(|listed| listed.rule.topics.as_str());
        let nearest = did_you_mean(topic.as_str(), known);
        reader.yaml.fault(at, format!("the topic {topic} is not under `topics` of {MAIN}{nearest}"));
    }
}

impl Host {
    /// The file that this bot uses under a name.
    pub fn file_of(&self, name: &str) -> String {
        self.files.iter().find(|(file, _)| file.name == name).map_or(name.to_owned(), |(file, _)| file.path())
    }

    /// The topics that are published here: by sources, by rules, and the owner's.
    pub fn published(&self) -> BTreeSet<Topic> {
        let sources =
            self.sources.iter().filter_map(|source| source.topic.as_ref()).map(|(_, topic)| topic.clone());
        let rules = self.named.iter().filter_map(|named| match &named.what {
            rules::What::Topic(topic) => Some(topic.clone()),
            rules::What::Bot(_) => None,
        });
        let owner = Topic::new(ANNOUNCE).ok().filter(|topic| self.fleet.topic(topic).is_some());
        sources.chain(rules).chain(owner).collect()
    }

    /// The links of this bot.
    pub fn routes(&self) -> Routes {
        Routes { key: self.key.clone(), ..self.fleet.routes(&self.me, self.acts()) }
    }

    /// What the relay is started with. `root`: where files that are named lie.
    pub fn settings(self, root: &Path) -> Settings {
        let open = self.fleet.topics.iter().filter(|listed| listed.open);
        Settings {
            routes: self.routes(),
            open: open.map(|listed| listed.rule.topics.clone()).collect(),
            transports: self.transports(root),
            rules: self.rules,
            sources: self.sources,
        }
    }

    fn transports(&self, root: &Path) -> Vec<Via> {
        let (fleet, me) = (&self.fleet, &self.me);
        let account = |bot: &BotName| fleet.bots.get(bot).and_then(|bot| bot.xmpp.clone());
        let by_xmpp: BTreeMap<_, _> = fleet
            .peers_by(me, Carrier::Xmpp)
            .into_iter()
            .filter_map(|peer| Some((peer.clone(), account(&peer)?)))
            .collect();
        let xmpp = fleet.transports.xmpp.as_ref().filter(|_| !by_xmpp.is_empty()).and_then(|xmpp| {
            Some(Via::Xmpp(xmpp::Settings {
                server: xmpp.server.clone(),
                jid: account(me)?,
                password: xmpp.password.clone()?,
                tls: xmpp.tls,
                ca: xmpp.ca.as_ref().map(|ca| root.join(ca)),
                peers: by_xmpp,
            }))
        });
        let peers = fleet.peers_by(me, Carrier::Table);
        let table = fleet.transports.table.as_ref().filter(|_| !peers.is_empty()).map(|table| {
            let table_prefix = table.region.is_some().then(|| table.prefix.clone());
            Via::Table(TableVia { peers, table: None, region: table.region.clone(), table_prefix })
        });
        xmpp.into_iter().chain(table).collect()
    }

    /// Whether there is anything here that acts on envelopes.
    pub fn acts(&self) -> bool {
        !self.rules.is_empty() || self.fleet.topics.iter().any(|listed| listed.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tree::source::What;
    use crate::relay::tree::testing::Folder;

    fn reading(folder: &Folder, bot: &str) -> Reading {
        read(&folder.tree(), &BotName::new(bot).unwrap(), &SecretsFrom { folder: None, required: true })
    }

    fn flaws(folder: &Folder, bot: &str) -> Vec<String> {
        reading(folder, bot).flaws.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_bot_reads_its_own() {
        let folder = Folder::of_two();
        let hub = reading(&folder, "hub").sound().unwrap();
        let laptop = reading(&folder, "laptop").sound().unwrap();
        assert_eq!((hub.rules.len(), laptop.rules.len(), hub.sources.len()), (2, 1, 1));
        assert_eq!(
            hub.published().iter().map(Topic::as_str).collect::<Vec<_>>(),
            ["alerts/disk", "announce", "host/disk"]
        );
        assert!(hub.acts());
        let settings = hub.settings(folder.path());
        let [Via::Xmpp(xmpp)] = &settings.transports[..] else { panic!("{settings:?}") };
        assert_eq!(
            (xmpp.jid.as_str(), xmpp.password.expose_secret()),
            ("mneme-hub@chat.example.org", "hush-hub")
        );
        assert_eq!(xmpp.peers.keys().map(BotName::as_str).collect::<Vec<_>>(), ["laptop"]);
        assert_eq!((settings.open.len(), settings.sources.len(), settings.routes.acts), (1, 1, true));
        assert!(!format!("{settings:?}").contains("hush"));
        folder.write("sources/disk.yaml.hub", "{ source: disk, path: /srv, topic: host/disk }\n");
        let Host { sources, .. } = reading(&folder, "hub").sound().unwrap();
        assert!(
            matches!(&sources[..], [Source { what: What::Disk { path }, .. }] if path == "/srv"),
            "{sources:?}"
        );
    }

    #[test]
    fn all_that_is_wrong_in_all_files_is_told_at_once() {
        let folder = Folder::of_two();
        folder.write("sources/disk.yaml", "{ source: disk, path: /, topic: host/disk, evry: 5m }\n");
        folder.write("sources/load.yaml", "{ source: host, topic: hots/load }\n");
        folder.write("rules/20.yaml", "rules:\n  - name: a\n    when: x is maybe\n    do:\n      - publish: { topic: alert/x, scope: fleet, to: hubb }\n");
        folder.chmod("secrets.yaml.hub", 0o644);
        let told = flaws(&folder, "hub");
        for expected in [
            "secrets.yaml.hub: others can read it (mode 644): chmod 600 ",
            "sources/disk.yaml:1:44: the source disk has no \"evry\"",
            "sources/load.yaml:1:24: the topic hots/load is not under `topics` of relay.yaml",
            "rules/20.yaml:3:16: after \"is\" I expect true or false, found \"maybe\"",
            "rules/20.yaml:5:27: the topic alert/x is not under `topics` of relay.yaml; did you mean alerts/**?",
            "rules/20.yaml:5:54: there is no bot hubb under `bots`; did you mean hub?",
        ] {
            assert!(told.iter().any(|flaw| flaw.starts_with(expected)), "{expected}\n{told:#?}");
        }
        assert_eq!(told.len(), 6, "{told:#?}");
    }

    #[test]
    fn who_nobody_knows_is_told_so() {
        let told = flaws(&Folder::of_two(), "lptop");
        assert!(
            told.iter().any(|flaw| flaw.contains("there is no bot lptop under `bots`; did you mean laptop?")),
            "{told:#?}"
        );
        let empty = flaws(&Folder::with(&[("x", "")]), "hub");
        assert!(empty[0].starts_with("relay.yaml: is not in "), "{empty:?}");
    }

    #[test]
    fn a_bot_signs_with_the_key_that_others_know_it_by() {
        let (folder, (public, secret), (_, other)) = (
            Folder::of_two(),
            crate::relay::keys::generate().unwrap(),
            crate::relay::keys::generate().unwrap(),
        );
        let account = "mneme-hub@chat.example.org";
        let relay =
            crate::relay::tree::testing::RELAY.replace(account, &format!("{account}, key: \"{public}\""));
        folder.write("relay.yaml", &relay);
        assert!(flaws(&folder, "hub")[0].contains("the secret relay_key is not in secrets.yaml.hub"));
        let secrets = |key: &str| format!("{{ xmpp_password: hush-hub, relay_key: \"{key}\" }}\n");
        folder.write("secrets.yaml.hub", &secrets(&other));
        assert!(flaws(&folder, "hub")[0].contains("belongs to another key"));
        folder.write("secrets.yaml.hub", &secrets(&secret));
        let hub = reading(&folder, "hub").sound().unwrap();
        assert!(hub.routes().key.is_some() && hub.routes().keys.len() == 1);
        let laptop = reading(&folder, "laptop").sound().unwrap();
        assert!(laptop.routes().key.is_none() && laptop.routes().keys.len() == 1);
        folder.write("secrets.yaml.hub", &secrets("hush"));
        let told = flaws(&folder, "hub");
        assert!(
            told[0].contains("relay_key is ") && told.iter().all(|flaw| !flaw.contains("hush")),
            "{told:?}"
        );
    }

    #[test]
    fn a_missing_secret_and_a_missing_file_are_told() {
        let folder = Folder::of_two();
        folder.remove("secrets.yaml.laptop");
        let relay = crate::relay::tree::testing::RELAY.replace("tls: starttls", "ca: certs/ca.pem");
        folder.write("relay.yaml", &relay);
        let told = flaws(&folder, "laptop");
        assert!(
            told.iter().any(|flaw| flaw.contains("the secret xmpp_password is not in secrets.yaml.laptop")),
            "{told:#?}"
        );
        assert!(told.iter().any(|flaw| flaw.contains("there is no file certs/ca.pem")), "{told:#?}");
    }
}
