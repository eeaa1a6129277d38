//! Files of rules, read at the start. All that is wrong in them is told at once, with file, line and column,
//! and ends the start.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex_lite::{Regex, RegexBuilder};

use crate::relay::envelope::Scope;
use crate::relay::name::{BotName, Topic};
use crate::relay::rules::condition::{Condition, is_field};
use crate::relay::rules::template::Template;
use crate::relay::rules::{Action, GIVEN, Level, Publish, Rule};
use crate::yaml::{self, Entry, Flaw, Located, Place};

/// More than these were made by a program, and take longer than an envelope has.
pub const RULES_MAX: usize = 500;

pub const DEPTH_MAX: usize = 16;

/// For how long a post may be left out: less is nothing, more is never.
const QUIET_LEAST: Duration = Duration::from_secs(1);
const QUIET_MOST: Duration = Duration::from_secs(30 * 86_400);

/// Compiled, in bytes.
const REGEX_MAX: usize = 64 * 1024;

/// Reads files in the order of their names: `rules/10-disk.yaml:7:11: what is wrong`.
pub fn read(files: &[(&str, &str)]) -> Result<Vec<Rule>, Vec<String>> {
    let mut files = files.to_vec();
    files.sort_unstable();
    let mut reader = Reader::default();
    let rules: Vec<_> = files.iter().flat_map(|(file, text)| reader.file(file, text)).collect();
    reader.finish();
    let faults: Vec<_> = reader.yaml.flaws.iter().map(Flaw::to_string).collect();
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

/// What rules name, and who reads them cannot know to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub file: String,
    pub at: Place,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A rule publishes it.
    Topic(Topic),
    /// A rule publishes something for it.
    Bot(BotName),
}

/// Reads the rules of several files: a name is used once in all of them.
#[derive(Debug, Default)]
pub struct Reader {
    pub yaml: yaml::Reader,
    pub named: Vec<Named>,
    names: BTreeSet<String>,
    /// The rules of a source.
    prepares: bool,
}

impl Reader {
    /// A file of rules.
    pub fn file(&mut self, file: &str, text: &str) -> Vec<Rule> {
        self.yaml.open(file, text).map(|found| self.parsed_file(&found)).unwrap_or_default()
    }

    /// A file of rules that has been opened.
    pub fn parsed_file(&mut self, found: &Located) -> Vec<Rule> {
        let Some(mut map) = self.yaml.map(found, "a file of rules", &["rules"]) else { return Vec::new() };
        let list = self.yaml.need(&mut map, found.at, "rules");
        list.map(|list| self.rules(list, 1)).unwrap_or_default()
    }

    /// The rules of a source, which prepare what it publishes.
    pub fn list(&mut self, found: &Located) -> Vec<Rule> {
        self.prepares = true;
        let rules = self.rules(found, 1);
        self.prepares = false;
        rules
    }

    /// What can be told at the end only.
    pub fn finish(&mut self) {
        if self.names.len() > RULES_MAX {
            let many = format!("{} rules, more than {RULES_MAX}: join some of them", self.names.len());
            self.yaml.fault(Place::default(), many);
        }
    }

    fn name(&mut self, at: Place, what: What) {
        self.named.push(Named { file: self.yaml.file.clone(), at, what });
    }

    fn rules(&mut self, found: &Located, depth: usize) -> Vec<Rule> {
        if depth > DEPTH_MAX {
            self.yaml.fault(
                found.at,
                format!("rules are more than {DEPTH_MAX} deep: write some of them side by side"),
            );
            return Vec::new();
        }
        self.yaml.list(found, "rules").iter().filter_map(|rule| self.rule(rule, depth)).collect()
    }

    fn rule(&mut self, found: &Located, depth: usize) -> Option<Rule> {
        let mut map = self.yaml.map(found, "a rule", &["name", "when", "do", "rules", "last"])?;
        let named = self.yaml.need(&mut map, found.at, "name");
        let name = named.and_then(|named| self.yaml.text(named, "name")).unwrap_or_default();
        if let Some(named) = named
            && !self.names.insert(name.clone())
        {
            self.yaml.fault(named.at, format!("a rule named {name:?} is there already: names are used once"));
        }
        let when = map.remove("when").and_then(|when| self.condition(when));
        let actions = map.remove("do").map(|found| self.yaml.list(found, "do")).unwrap_or_default();
        let actions = actions.iter().filter_map(|action| self.action(action)).collect();
        let rules = map.remove("rules").map(|rules| self.rules(rules, depth + 1)).unwrap_or_default();
        let last = map.remove("last").and_then(|last| self.yaml.switch(last, "last")).unwrap_or_default();
        Some(Rule { name, when, actions, rules, last })
    }

    fn condition(&mut self, found: &Located) -> Option<Condition> {
        let text = self.yaml.text(found, "when")?;
        match Condition::parse(&text) {
            Ok(condition) => Some(condition),
            Err(why) => {
                let at = Place { column: found.at.column + why.at, ..found.at };
                self.yaml.fault(at, why.what);
                None
            }
        }
    }

    fn action(&mut self, found: &Located) -> Option<Action> {
        const KNOWN: &[&str] =
            &["set", "delete", "capture", "replace", "map", "track", "post", "publish", "gauge", "log"];
        let map = self.yaml.map(found, "an action", KNOWN)?;
        let mut known = map.into_iter().filter(|(name, _)| KNOWN.contains(name));
        let (name, what) = known.next()?;
        if known.next().is_some() {
            self.yaml.fault(found.at, "one entry of do is one action: write a - before each");
        }
        if self.prepares && matches!(name, "post" | "publish" | "gauge") {
            let told =
                format!("rules of a source prepare what it publishes; {name} belongs into a file of rules/");
            self.yaml.fault(found.at, told);
        }
        match name {
            "set" => self.set(what),
            "delete" => {
                let names = self.yaml.list(what, "delete");
                Some(Action::Delete(names.iter().filter_map(|name| self.editable(name)).collect()))
            }
            "capture" => {
                let mut map = self.yaml.map(what, "capture", &["from", "pattern"])?;
                let from = self.yaml.need(&mut map, what.at, "from").and_then(|from| self.field(from));
                let pattern = self.yaml.need(&mut map, what.at, "pattern");
                let regex = pattern.and_then(|pattern| self.regex(pattern))?;
                let groups = regex.capture_names().flatten();
                for group in groups.filter(|group| !is_new_field(group)) {
                    let at = pattern.map_or(what.at, |pattern| pattern.at);
                    self.yaml
                        .fault(at, format!("the group {group:?} cannot become a field: choose another name"));
                }
                Some(Action::Capture { from: from?, pattern: regex })
            }
            "replace" => {
                let mut map = self.yaml.map(what, "replace", &["in", "pattern", "with"])?;
                let field = self.yaml.need(&mut map, what.at, "in").and_then(|field| self.editable(field));
                let pattern =
                    self.yaml.need(&mut map, what.at, "pattern").and_then(|found| self.regex(found));
                let with =
                    self.yaml.need(&mut map, what.at, "with").and_then(|with| self.yaml.text(with, "with"));
                Some(Action::Replace { field: field?, pattern: pattern?, with: with? })
            }
            "map" => self.look_up(what),
            "post" => {
                let mut map = self.yaml.map(what, "post", &["channel", "text", "quiet"])?;
                let channel = self.yaml.need(&mut map, what.at, "channel");
                let channel_id = channel.and_then(|found| self.channel(found));
                let text = self.yaml.need(&mut map, what.at, "text").and_then(|text| self.template(text));
                let quiet = map
                    .remove("quiet")
                    .map(|found| self.yaml.duration(found, "quiet", QUIET_LEAST..=QUIET_MOST));
                let quiet = quiet.map_or(Some(None), |quiet| quiet.map(Some));
                Some(Action::Post { channel_id: channel_id?, text: text?, quiet: quiet? })
            }
            "track" => {
                let mut map = self.yaml.map(what, "track", &["field", "by", "as"])?;
                let field = self.yaml.need(&mut map, what.at, "field").and_then(|field| self.field(field));
                let by = map.remove("by").map_or(Some(None), |by| self.step(by).map(Some));
                let into = self.yaml.need(&mut map, what.at, "as").and_then(|into| self.editable(into));
                Some(Action::Track { field: field?, by: by?, into: into? })
            }
            "gauge" => {
                let mut map = self.yaml.map(what, "gauge", &["name", "field"])?;
                let name = self.yaml.need(&mut map, what.at, "name");
                let name = name.and_then(|name| self.yaml.parsed(name, "name", gauge_name));
                let field = self.yaml.need(&mut map, what.at, "field").and_then(|field| self.field(field));
                Some(Action::Gauge { name: name?, field: field? })
            }
            "publish" => self.publish(what).map(Action::Publish),
            _ => {
                let mut map = self.yaml.map(what, "log", &["level", "text"])?;
                let level = map.remove("level").map_or(Some(Level::Info), |level| self.level(level));
                let text = self.yaml.need(&mut map, what.at, "text").and_then(|text| self.template(text));
                Some(Action::Log { level: level?, text: text? })
            }
        }
    }

    fn set(&mut self, found: &Located) -> Option<Action> {
        let Some(entries) = found.entries() else {
            self.yaml.fault(found.at, format!("set is a mapping of fields to texts, not {}", found.kind()));
            return None;
        };
        let mut fields = Vec::new();
        for Entry { at, name, value } in entries {
            if !is_new_field(name) {
                self.yaml.fault(*at, not_editable(name));
            }
            fields.extend(self.template(value).map(|template| (name.clone(), template)));
        }
        Some(Action::Set(fields))
    }

    fn look_up(&mut self, found: &Located) -> Option<Action> {
        let mut map = self.yaml.map(found, "map", &["from", "to", "table", "default"])?;
        let from = self.yaml.need(&mut map, found.at, "from").and_then(|from| self.field(from));
        let to = self.yaml.need(&mut map, found.at, "to").and_then(|to| self.editable(to));
        let default = map.remove("default").and_then(|default| self.yaml.text(default, "default"));
        let given = self.yaml.need(&mut map, found.at, "table")?;
        let Some(entries) = given.entries() else {
            self.yaml.fault(given.at, format!("table is a mapping of texts to texts, not {}", given.kind()));
            return None;
        };
        let mut table = BTreeMap::new();
        for entry in entries {
            table.extend(self.yaml.text(&entry.value, "a value").map(|value| (entry.name.clone(), value)));
        }
        Some(Action::Map { from: from?, to: to?, table, default })
    }

    fn publish(&mut self, found: &Located) -> Option<Publish> {
        let mut map = self.yaml.map(found, "publish", &["topic", "scope", "to", "subject", "fields"])?;
        let topic = self.yaml.need(&mut map, found.at, "topic").and_then(|at| {
            let topic = self.yaml.parsed(at, "topic", Topic::new)?;
            self.name(at.at, What::Topic(topic.clone()));
            Some(topic)
        });
        let scope = self.yaml.need(&mut map, found.at, "scope").and_then(|found| self.scope(found));
        let to = map.remove("to").and_then(|at| {
            let bot = self.yaml.parsed(at, "to", BotName::new)?;
            self.name(at.at, What::Bot(bot.clone()));
            Some(bot)
        });
        let subject = map.remove("subject").and_then(|subject| self.template(subject));
        let fields = map.remove("fields").map(|found| self.yaml.list(found, "fields")).unwrap_or_default();
        let fields = fields.iter().filter_map(|field| self.field(field)).collect();
        Some(Publish { topic: topic?, scope: scope?, to, subject, fields })
    }

    pub fn scope(&mut self, found: &Located) -> Option<Scope> {
        let scopes = [("local", Scope::Local), ("link", Scope::Link), ("fleet", Scope::Fleet)];
        self.yaml.choice(found, "scope", &scopes)
    }

    /// The id of a channel.
    pub fn channel(&mut self, found: &Located) -> Option<u64> {
        const A_CHANNEL: &str = "channel is the id of a channel, in quotes: \"123456789012345678\"";
        let id = self.yaml.text(found, "channel")?.parse::<u64>().ok().filter(|id| *id > 0);
        self.yaml.ok(found.at, id.ok_or(A_CHANNEL))
    }

    /// By how much something moves.
    fn step(&mut self, found: &Located) -> Option<f64> {
        let step = found.value().as_f64().filter(|step| *step > 0.0);
        self.yaml.ok(found.at, step.ok_or("by is a number above 0"))
    }

    fn level(&mut self, found: &Located) -> Option<Level> {
        let levels = [("debug", Level::Debug), ("info", Level::Info), ("warn", Level::Warn)];
        self.yaml.choice(found, "level", &levels)
    }

    fn template(&mut self, found: &Located) -> Option<Template> {
        self.yaml.parsed(found, "this", Template::parse)
    }

    /// A pattern that cannot take long, whatever it meets.
    pub fn regex(&mut self, found: &Located) -> Option<Regex> {
        let text = self.yaml.text(found, "pattern")?;
        let regex = RegexBuilder::new(&text).size_limit(REGEX_MAX).build();
        self.yaml.ok(found.at, regex.map_err(|why| format!("{text:?} is no pattern: {why}")))
    }

    /// The name of a field that is read.
    fn field(&mut self, found: &Located) -> Option<String> {
        let name = self.yaml.text(found, "the name of a field")?;
        if !is_field(&name) {
            self.yaml.fault(found.at, format!("{name:?} is no field: a letter a-z, then a-z, 0-9, _ and ."));
            return None;
        }
        Some(name)
    }

    /// The name of a field that is changed.
    fn editable(&mut self, found: &Located) -> Option<String> {
        let name = self.field(found)?;
        if is_fixed(&name) {
            self.yaml.fault(found.at, not_editable(&name));
            return None;
        }
        Some(name)
    }
}

/// A label's value: as a word of a topic.
fn gauge_name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is no name of a gauge: a-z, 0-9 and _"))
    }
}

/// Whether a name may become a field.
pub fn is_new_field(name: &str) -> bool {
    is_field(name) && !is_fixed(name)
}

/// What an envelope is, rather than what it says.
fn is_fixed(name: &str) -> bool {
    name != "subject" && GIVEN.contains(&name)
}

fn not_editable(name: &str) -> String {
    format!("{name:?} cannot be set: choose a name of a-z, 0-9, _ and . that is none of {}", GIVEN.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        read(&[("rules/10-disk.yaml", text)]).unwrap_err()
    }

    #[test]
    fn files_are_read_in_the_order_of_their_names() {
        let file = |name: &str| format!("rules:\n  - {{ name: {name} }}\n");
        let (a, b) = (file("a"), file("b"));
        let rules = read(&[("20.yaml", &b), ("10.yaml", &a)]).unwrap();
        assert_eq!(rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let twice = read(&[("20.yaml", &a), ("10.yaml", &a)]).unwrap_err();
        assert_eq!(twice, ["20.yaml:2:13: a rule named \"a\" is there already: names are used once"]);
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let text = "rules:\n  - name: disk\n    wen: x is true\n    when: mine is maybe\n    do:\n      - shout: { text: x }\n      - log: { text: \"{a\" }\n      - publish: { topic: A, scope: world }\n      - post: { channel: ops, text: x }\n      - set: { topic: x }\n      - capture: { from: a, pattern: \"(\" }\n  - do: 5\n    last: soon\n";
        let told = faults(text);
        let expected = [
            "rules/10-disk.yaml:3:5: a rule has no \"wen\", only name, when, do, rules, last; did you mean when?",
            "rules/10-disk.yaml:4:19: after \"is\" I expect true or false, found \"maybe\"",
            "rules/10-disk.yaml:6:9: an action has no \"shout\"",
            "rules/10-disk.yaml:7:22: a { stands alone",
            "rules/10-disk.yaml:8:27: \"A\" is not a topic",
            "rules/10-disk.yaml:8:37: scope is local, link or fleet",
            "rules/10-disk.yaml:9:26: channel is the id of a channel",
            "rules/10-disk.yaml:10:16: \"topic\" cannot be set",
            "rules/10-disk.yaml:11:38: \"(\" is no pattern",
            "rules/10-disk.yaml:12:5: name is missing",
            "rules/10-disk.yaml:12:9: do is a list, each with a - before it, not a number",
            "rules/10-disk.yaml:13:11: last is true or false, not a text",
        ];
        assert_eq!(told.len(), expected.len(), "{told:#?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}\n{expected}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place() {
        assert!(faults("rules: [")[0].starts_with("rules/10-disk.yaml:"));
        assert!(faults("")[0].contains("the file is empty"));
        assert!(faults("rules: 5\n")[0].contains("rules is a list"));
        assert!(faults("x: 5\n").iter().any(|fault| fault.contains("rules is missing")));
    }

    #[test]
    fn too_deep_is_too_deep() {
        let deep = |levels: usize| {
            let open: String = (0..levels).map(|n| format!("[{{ name: r{n}, rules: ")).collect();
            format!("rules: {open}[]{}\n", "}]".repeat(levels))
        };
        assert!(read(&[("a.yaml", &deep(DEPTH_MAX - 1))]).is_ok());
        assert!(faults(&deep(DEPTH_MAX))[0].contains("more than 16 deep"));
    }
}
