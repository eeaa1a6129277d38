//! [`Source`]: a file of `sources/`: what is watched, how often, and what its envelopes are about.

use std::net::SocketAddr;
use std::time::Duration;

use regex_lite::Regex;
use secrecy::SecretString;

use crate::relay::envelope::{KEY_MAX, Scope};
use crate::relay::name::{Pattern, Topic};
use crate::relay::rules::Rule;
use crate::relay::rules::file::{self as rules, is_new_field};
use crate::relay::tree::fleet::address;
use crate::relay::tree::secrets::Secrets;
use crate::yaml::{Entries, Located, Place};

/// Unless a source says otherwise.
pub const EVERY: Duration = Duration::from_secs(60);
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Faster than that is a load test, slower than that is a calendar.
const EVERY_LEAST: Duration = Duration::from_secs(1);
const EVERY_MOST: Duration = Duration::from_secs(7 * 86_400);

/// What hangs longer than this holds its source up for the day.
const TIMEOUT_MOST: Duration = Duration::from_secs(600);

/// A token of fewer characters is guessed.
const TOKEN_LEAST: usize = 16;

#[derive(Clone, Debug)]
pub struct Source {
    /// The name of its file, and the key of its envelopes.
    pub key: String,
    pub enabled: bool,
    pub every: Duration,
    /// The start is later by a part of this, the same at every start.
    pub spread: Duration,
    pub timeout: Duration,
    /// Absent where what is watched decides.
    pub topic: Option<(Place, Topic)>,
    pub scope: Scope,
    /// They run before it is published; one with `last` discards it.
    pub rules: Vec<Rule>,
    pub what: What,
}

/// What a source watches.
#[derive(Clone, Debug)]
pub enum What {
    /// A tick, and those that were missed.
    Pulse,
    /// Load, memory, uptime.
    Host,
    /// How full the disk is that a folder lies on.
    Disk { path: String },
    /// Age and size of a file or folder.
    Path { path: String },
    /// New lines; the named groups of the pattern become fields, and other lines are passed over.
    File { path: String, pattern: Option<Regex> },
    /// Status, time, days left of the certificate, and whether a pattern is met.
    Http { url: String, find: Option<Regex>, headers: Vec<(String, Option<SecretString>)> },
    /// How long a connection takes.
    Tcp { address: String },
    /// The exit code of a program, and the fields that it prints as JSON.
    Command { argv: Vec<String>, env: Vec<(String, Option<SecretString>)> },
    /// Messages of a channel.
    Discord { channel_id: u64, people: bool },
    /// What happens to the bot itself.
    Own,
    /// What scripts say over HTTP.
    Scripts { listen: SocketAddr, token: Option<SecretString>, topics: Vec<(Place, Pattern)> },
}

/// The kinds of source, and what each has besides what all have.
const KINDS: &[(&str, &[&str])] = &[
    ("pulse", &[]),
    ("host", &[]),
    ("disk", &["path"]),
    ("path", &["path"]),
    ("file", &["path", "pattern"]),
    ("http", &["url", "match", "headers"]),
    ("tcp", &["address"]),
    ("command", &["run", "env"]),
    ("discord", &["channel", "people"]),
    ("self", &[]),
    ("scripts", &["listen", "token", "topics"]),
];

const COMMON: [&str; 8] = ["source", "every", "spread", "topic", "scope", "timeout", "enabled", "rules"];

/// Reads one file. `name`: of the file, without its ending.
pub fn read(
    reader: &mut rules::Reader,
    name: &str,
    found: &Located,
    secrets: &mut Secrets,
) -> Option<Source> {
    let kinds: Vec<_> = KINDS.iter().map(|kind| (kind.0, kind)).collect();
    let Some(given) = found.entries().and_then(|entries| entries.iter().find(|entry| entry.name == "source"))
    else {
        let names: Vec<_> = KINDS.iter().map(|(name, _)| *name).collect();
        let told = format!("a source is a mapping that says which: source: {}", names.join(", "));
        reader.yaml.fault(found.at, told);
        return None;
    };
    let (kind, own) = reader.yaml.choice(&given.value, "source", &kinds)?;
    let known: Vec<_> = COMMON.iter().chain(*own).copied().collect();
    let mut map = reader.yaml.map(found, &format!("the source {kind}"), &known)?;
    map.remove("source");
    if !(1..=KEY_MAX).contains(&name.len()) {
        reader
            .yaml
            .fault(found.at, format!("the file's name is the key of its envelopes: at most {KEY_MAX} bytes"));
    }
    let yaml = &mut reader.yaml;
    let every = map
        .remove("every")
        .map_or(Some(EVERY), |every| yaml.duration(every, "every", EVERY_LEAST..=EVERY_MOST));
    let spread = Duration::ZERO..=EVERY_MOST;
    let spread =
        map.remove("spread").map_or(Some(Duration::ZERO), |found| yaml.duration(found, "spread", spread));
    let timeout = EVERY_LEAST..=TIMEOUT_MOST;
    let timeout =
        map.remove("timeout").map_or(Some(TIMEOUT), |found| yaml.duration(found, "timeout", timeout));
    let enabled = map.remove("enabled").map_or(Some(true), |enabled| yaml.switch(enabled, "enabled"));
    let topic = map.remove("topic").map(|at| (at.at, yaml.parsed(at, "topic", Topic::new)));
    let scope = map.remove("scope").map_or(Some(Scope::Local), |scope| reader.scope(scope));
    let rules = map.remove("rules").map(|found| reader.list(found)).unwrap_or_default();
    let what = read_what(reader, kind, &mut map, found.at, secrets)?;
    let topic = match (topic, &what) {
        (Some((at, topic)), What::Own | What::Scripts { .. }) => {
            reader.yaml.fault(at, format!("the source {kind} chooses its topics itself: remove this line"));
            topic.map(|topic| (at, topic))
        }
        (None, What::Own | What::Scripts { .. }) => None,
        (Some((at, topic)), _) => Some((at, topic?)),
        (None, _) => {
            reader.yaml.fault(found.at, "topic is missing");
            return None;
        }
    };
    let (every, spread, timeout) = (every?, spread?, timeout?);
    Some(Source {
        key: name.to_owned(),
        enabled: enabled?,
        every,
        spread,
        timeout,
        topic,
        scope: scope?,
        rules,
        what,
    })
}

fn read_what(
    reader: &mut rules::Reader,
    kind: &str,
    map: &mut Entries<'_>,
    at: Place,
    secrets: &mut Secrets,
) -> Option<What> {
    let mut need = |reader: &mut rules::Reader, name: &str| reader.yaml.need(map, at, name);
    let text = |reader: &mut rules::Reader, found: Option<&Located>, what: &str| {
        found.and_then(|found| reader.yaml.text(found, what))
    };
    Some(match kind {
        "pulse" => What::Pulse,
        "host" => What::Host,
        "self" => What::Own,
        "disk" | "path" | "file" => {
            let found = need(reader, "path")?;
            let path = reader.yaml.parsed(found, "path", absolute)?;
            match kind {
                "disk" => What::Disk { path },
                "path" => What::Path { path },
                _ => What::File { path, pattern: pattern(reader, map.remove("pattern"))? },
            }
        }
        "http" => {
            let found = need(reader, "url")?;
            let url = reader.yaml.parsed(found, "url", web_address);
            let find = match map.remove("match") {
                Some(found) => Some(reader.regex(found)?),
                None => None,
            };
            let headers = map.remove("headers").map(|found| named_texts(reader, found, "headers", secrets));
            What::Http { url: url?, find, headers: headers.unwrap_or_default() }
        }
        "tcp" => {
            let found = need(reader, "address")?;
            What::Tcp { address: reader.yaml.parsed(found, "address", address)? }
        }
        "command" => {
            let found = need(reader, "run")?;
            let words = reader.yaml.list(found, "run");
            let argv: Vec<_> =
                words.iter().filter_map(|word| text(reader, Some(word), "a word of run")).collect();
            if argv.first().is_none_or(|program| !program.starts_with('/')) {
                reader.yaml.fault(
                    found.at,
                    "run is a program with its whole path, and its arguments: [/usr/bin/uptime, -p]",
                );
            }
            let env = map.remove("env").map(|found| named_texts(reader, found, "env", secrets));
            What::Command { argv, env: env.unwrap_or_default() }
        }
        "discord" => {
            let found = need(reader, "channel")?;
            let people = map.remove("people").and_then(|people| reader.yaml.switch(people, "people"));
            What::Discord { channel_id: reader.channel(found)?, people: people.unwrap_or_default() }
        }
        _ => read_scripts(reader, map, at, secrets)?,
    })
}

fn read_scripts(
    reader: &mut rules::Reader,
    map: &mut Entries<'_>,
    at: Place,
    secrets: &mut Secrets,
) -> Option<What> {
    let listen_at = reader.yaml.need(map, at, "listen");
    let listen: Option<SocketAddr> = listen_at.and_then(|found| {
        reader.yaml.parsed(found, "listen", |text| {
            text.parse().map_err(|_| format!("{text:?} is no address: 127.0.0.1:8430 or [::1]:8430"))
        })
    });
    let given = map.remove("token");
    let token = given.and_then(|found| secrets.take(&mut reader.yaml, found, "token"));
    if let Some(address) = listen
        && !address.ip().is_loopback()
        && given.is_none()
    {
        let told =
            "whoever reaches this address can speak for this bot: listen on 127.0.0.1, or give a token";
        reader.yaml.fault(listen_at.map_or(at, |found| found.at), told);
    }
    if let (Some(found), Some(token)) = (given, &token)
        && secrecy::ExposeSecret::expose_secret(token).len() < TOKEN_LEAST
    {
        reader.yaml.fault(
            found.at,
            format!("the token has fewer than {TOKEN_LEAST} characters: it would be guessed"),
        );
    }
    let topics = reader.yaml.need(map, at, "topics").map(|found| reader.yaml.list(found, "topics"));
    let topics = topics.unwrap_or_default().iter();
    let topics: Vec<_> = topics
        .filter_map(|found| Some((found.at, reader.yaml.parsed(found, "a topic", Pattern::new)?)))
        .collect();
    Some(What::Scripts { listen: listen?, token, topics })
}

/// `Some(None)`: there is none.
fn pattern(reader: &mut rules::Reader, found: Option<&Located>) -> Option<Option<Regex>> {
    let Some(found) = found else { return Some(None) };
    let pattern = reader.regex(found)?;
    for group in pattern.capture_names().flatten().filter(|group| !is_new_field(group)) {
        reader
            .yaml
            .fault(found.at, format!("the group {group:?} cannot become a field: choose another name"));
    }
    Some(Some(pattern))
}

/// A mapping of names to texts or secrets.
fn named_texts(
    reader: &mut rules::Reader,
    found: &Located,
    what: &str,
    secrets: &mut Secrets,
) -> Vec<(String, Option<SecretString>)> {
    let entries =
        reader.yaml.entries(found, &format!("{what} is a mapping of names to texts or {{ secret: name }}"));
    let mut texts = Vec::new();
    for entry in entries.unwrap_or_default() {
        let value = match entry.value.entries() {
            Some(_) => secrets.take(&mut reader.yaml, &entry.value, &entry.name),
            None => reader.yaml.text(&entry.value, &entry.name).map(SecretString::from),
        };
        texts.push((entry.name.clone(), value));
    }
    texts
}

/// What a path means must not depend on the folder that the bot was started in.
fn absolute(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.to_owned()) } else { Err(format!("{text:?} does not begin with /")) }
}

fn web_address(text: &str) -> Result<String, String> {
    let url: reqwest::Url = text.parse().map_err(|why| format!("{text:?} is no address: {why}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(format!("{text:?} is no address: it begins with http:// or https://"));
    }
    if url.password().is_some() {
        return Err("an address holds no password: use headers with { secret: name }".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> (Option<Source>, Vec<String>) {
        let mut reader = rules::Reader::default();
        let found = reader.yaml.open("sources/x.yaml", text).unwrap();
        let source = read(&mut reader, "x", &found, &mut Secrets::unknown());
        (source, reader.yaml.flaws.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_kind_is_read() {
        for text in [
            "{ source: pulse, every: 1m, topic: a }",
            "{ source: host, topic: host/load, scope: link, spread: 10s }",
            "{ source: disk, path: /, topic: a }",
            "{ source: path, path: /backup, topic: a, timeout: 5s }",
            "{ source: file, path: /var/log/syslog, pattern: \"(?P<what>.*)\", topic: a }",
            "{ source: http, url: \"https://example.org/\", match: ok, headers: { authorization: { secret: x } }, topic: a }",
            "{ source: tcp, address: \"example.org:443\", topic: a }",
            "{ source: command, run: [/bin/true, -x, 5], env: { LANG: C }, topic: a }",
            "{ source: discord, channel: \"123\", people: true, topic: a, enabled: false }",
            "{ source: self, scope: fleet }",
            "{ source: scripts, listen: \"127.0.0.1:8430\", topics: [alerts/**] }",
            "{ source: scripts, listen: \"0.0.0.0:8430\", token: { secret: hook }, topics: [alerts/**] }",
        ] {
            let (found, flaws) = source(text);
            assert!(found.is_some() && flaws.is_empty(), "{text}: {flaws:#?}");
        }
        let (found, _) = source("{ source: pulse, topic: a }");
        let found = found.unwrap();
        assert_eq!(
            (found.every, found.timeout, found.scope, found.enabled),
            (EVERY, TIMEOUT, Scope::Local, true)
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            ("{ topic: a }", "a source is a mapping that says which: source: pulse, "),
            ("{ source: dsk, topic: a }", "did you mean disk?"),
            ("{ source: disk, topic: a }", "path is missing"),
            ("{ source: disk, path: var, topic: a }", "does not begin with /"),
            ("{ source: disk, path: /, topic: a, evry: 5m }", "did you mean every?"),
            ("{ source: disk, path: / }", "topic is missing"),
            ("{ source: pulse, topic: a, every: 1ms }", "every is a time from 1s to 7d"),
            ("{ source: http, url: \"ftp://x/\", topic: a }", "begins with http://"),
            ("{ source: http, url: \"http://a:b@x/\", topic: a }", "holds no password"),
            ("{ source: tcp, address: x, topic: a }", "host:port"),
            ("{ source: command, run: [ls], topic: a }", "whole path"),
            ("{ source: file, path: /x, pattern: \"(?P<topic>x)\", topic: a }", "cannot become a field"),
            ("{ source: self, topic: a }", "chooses its topics itself"),
            ("{ source: scripts, listen: \"0.0.0.0:8430\", topics: [a] }", "or give a token"),
            ("{ source: scripts, listen: \"x\", topics: [a] }", "is no address"),
        ] {
            let (_, flaws) = source(text);
            assert!(flaws.iter().any(|flaw| flaw.contains(told)), "{text}: {flaws:#?}");
        }
    }
}
