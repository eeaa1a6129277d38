//! All bots of a tree, compared: what is wrong with any of them, and what is odd about them together.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::relay::name::{BotName, Pattern, Topic};
use crate::relay::tree::files::{MAIN, SECRETS, Tree};
use crate::relay::tree::fleet::{Fleet, OWN_TOPICS};
use crate::relay::tree::host::{self, Reading};
use crate::relay::tree::secrets::{Secrets, SecretsFrom};
use crate::relay::tree::source::What;
use crate::yaml::{Flaw, Place, Reader, did_you_mean};

/// What is wrong or odd with one bot's configuration, or with all of them.
pub fn check(
    tree: &Tree,
    host: Option<&BotName>,
    me: Option<&BotName>,
    secrets: Option<PathBuf>,
) -> Vec<Flaw> {
    let fleet = fleet_of(tree);
    let mut flaws: BTreeSet<Flaw> = strays(tree, &fleet).into_iter().collect();
    let mut readings = Vec::new();
    let bots: Vec<_> = match host {
        Some(host) => vec![host.clone()],
        None => fleet.bots.keys().cloned().collect(),
    };
    for bot in &bots {
        // A folder of secrets is one bot's: the one that was asked for, or the one of this machine.
        let folder = secrets.clone().filter(|_| host == Some(bot) || me == Some(bot));
        let from = SecretsFrom { folder, required: host.is_some() };
        let reading = host::read(tree, bot, &from);
        if reading.host.secrets.are_elsewhere() {
            flaws.insert(elsewhere(bot));
        }
        readings.push(reading);
    }
    if bots.is_empty() {
        let nobody = BotName::new("nobody").expect("a constant, read in every test");
        readings.push(host::read(tree, &nobody, &SecretsFrom::default()));
    }
    for reading in &mut readings {
        flaws.extend(std::mem::take(&mut reading.flaws));
    }
    if host.is_none() {
        flaws.extend(unsent(&fleet, &readings));
    }
    flaws.into_iter().collect()
}

/// Who there is, as the file for all says it.
pub fn fleet_of(tree: &Tree) -> Fleet {
    let mut reader = Reader::default();
    let text = tree.read(MAIN).unwrap_or_default();
    let found = reader.open(MAIN, &text);
    found.map(|found| super::fleet::read(&mut reader, &found, &mut Secrets::unknown())).unwrap_or_default()
}

fn flaw(file: &str, at: Place, what: String, is_warning: bool) -> Flaw {
    Flaw { file: file.to_owned(), at, what, is_warning }
}

fn elsewhere(bot: &BotName) -> Flaw {
    let told = format!(
        "is not here, so whether {bot} has all its secrets was not checked; there: mneme config check --host {bot}"
    );
    flaw(&format!("{SECRETS}.{bot}"), Place::default(), told, true)
}

/// Files that nobody reads, and those that everybody would.
fn strays(tree: &Tree, fleet: &Fleet) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    let bots = || fleet.bots.keys().map(BotName::as_str);
    for path in &tree.unread {
        let known = "only relay.yaml, sources/*.yaml, rules/*.yaml, and each with .<bot> behind it";
        flaws.push(flaw(path, Place::default(), format!("nothing reads it: {known}"), true));
    }
    for file in &tree.files {
        match &file.suffix {
            Some(suffix) if !bots().any(|bot| bot == suffix) => {
                let nearest = did_you_mean(suffix, bots());
                let told = format!("nobody reads it, because there is no bot {suffix}{nearest}");
                flaws.push(flaw(&file.path(), Place::default(), told, true));
            }
            None if file.name == SECRETS => {
                let told = format!("secrets are one bot's: call it {SECRETS}.<bot>");
                flaws.push(flaw(SECRETS, Place::default(), told, false));
            }
            _ => {}
        }
    }
    flaws
}

/// Topics and links over which nothing will ever go.
fn unsent(fleet: &Fleet, readings: &[Reading]) -> Vec<Flaw> {
    let mut published: BTreeSet<Topic> =
        readings.iter().flat_map(|reading| reading.host.published()).collect();
    // A channel may be linked to these.
    let open = fleet.topics.iter().filter(|listed| listed.open);
    published.extend(open.filter_map(|listed| Topic::new(listed.rule.topics.as_str()).ok()));
    let sources = readings.iter().flat_map(|reading| &reading.host.sources);
    let scripts = sources.filter_map(|source| match &source.what {
        What::Scripts { topics, .. } => Some(topics),
        _ => None,
    });
    let by_scripts: BTreeSet<&str> = scripts.flatten().map(|(_, pattern)| pattern.as_str()).collect();
    // What scripts say is not known here, so nothing is said of topics that they may mean.
    let may_be_sent = |pattern: &Pattern| {
        pattern.as_str() == OWN_TOPICS
            || pattern.as_str() == "**"
            || published.iter().any(|topic| pattern.matches(topic))
            || by_scripts.iter().any(|script| overlap(script, pattern.as_str()))
    };
    let mut flaws = Vec::new();
    for listed in fleet.topics.iter().filter(|listed| !may_be_sent(&listed.rule.topics)) {
        let told = format!("nobody sends {}: no source, no rule, and no channel", listed.rule.topics);
        flaws.push(flaw(MAIN, listed.at, told, true));
    }
    for joined in &fleet.links {
        for (at, pattern) in joined.topics.iter().filter(|(_, pattern)| !may_be_sent(pattern)) {
            let told =
                format!("nobody sends {pattern}, so it never goes from {} to {}", joined.from, joined.to);
            flaws.push(flaw(MAIN, *at, told, true));
        }
    }
    flaws
}

/// Whether there may be a topic that both match: their words before the first star agree.
fn overlap(a: &str, b: &str) -> bool {
    let mut words = a.split('/').zip(b.split('/'));
    words
        .find_map(|(a, b)| {
            (a == "**" || b == "**").then_some(true).or((a != b && a != "*" && b != "*").then_some(false))
        })
        .unwrap_or(a.split('/').count() == b.split('/').count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::tree::testing::{Folder, RELAY};

    fn told(folder: &Folder, host: Option<&str>) -> Vec<String> {
        let host = host.map(|host| BotName::new(host).unwrap());
        check(&folder.tree(), host.as_ref(), None, None).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sound_tree_has_nothing_to_tell() {
        let folder = Folder::of_two();
        assert_eq!(told(&folder, None), Vec::<String>::new());
        assert_eq!(told(&folder, Some("hub")), Vec::<String>::new());
    }

    #[test]
    fn strays_are_told_with_what_was_meant() {
        let folder = Folder::of_two();
        folder.write("rules/60.yaml.lapto", "rules: []\n");
        folder.write("sorces/x.yaml", "x\n");
        folder.write("secrets.yaml", "{ a: b }\n");
        let told = told(&folder, None);
        for expected in [
            "rules/60.yaml.lapto: warning: nobody reads it, because there is no bot lapto; did you mean laptop?",
            "secrets.yaml: secrets are one bot's: call it secrets.yaml.<bot>",
            "sorces/x.yaml: warning: nothing reads it",
        ] {
            assert!(told.iter().any(|flaw| flaw.starts_with(expected)), "{expected}\n{told:#?}");
        }
        assert_eq!(told.len(), 3, "{told:#?}");
    }

    #[test]
    fn topics_that_nobody_sends_are_told() {
        let folder = Folder::of_two();
        folder.write(
            "relay.yaml",
            &RELAY
                .replace("  - { topic: announce,", "  - { topic: door/* }\n  - { topic: announce,")
                .replace("[alerts/**, announce]", "[alerts/**, alerts/cpu, announce]"),
        );
        let expected = [
            "relay.yaml:8:5: warning: nobody sends door/*: no source, no rule, and no channel",
            "relay.yaml:12:60: warning: nobody sends alerts/cpu, so it never goes from hub to laptop",
        ];
        assert_eq!(told(&folder, None), expected);
        folder.write(
            "sources/door.yaml",
            "{ source: scripts, listen: \"127.0.0.1:8430\", topics: [door/front, alerts/**] }\n",
        );
        assert_eq!(told(&folder, None), Vec::<String>::new());
    }

    #[test]
    fn secrets_of_others_are_not_expected_here() {
        let folder = Folder::of_two();
        folder.remove("secrets.yaml.laptop");
        let all = told(&folder, None);
        assert!(all.len() == 1 && all[0].starts_with("secrets.yaml.laptop: warning: is not here"), "{all:?}");
        let asked = told(&folder, Some("laptop"));
        assert!(asked[0].contains("the secret xmpp_password is not in secrets.yaml.laptop"), "{asked:?}");
    }

    #[test]
    fn patterns_overlap_where_a_topic_may_match_both() {
        for (a, b, expected) in [
            ("a/**", "a/b", true),
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a", "b", false),
            ("**", "b", true),
            ("a/b", "a/**", true),
            ("a", "a", true),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
        }
    }
}
