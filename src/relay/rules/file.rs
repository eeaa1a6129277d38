//! Files of rules, read at the start. All that is wrong in them is told at once, with file, line and column,
//! and ends the start.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use regex_lite::{Regex, RegexBuilder};

use crate::army::spec::fault::Place;
use crate::army::spec::source::{Entry, Located};
use crate::relay::envelope::Scope;
use crate::relay::name::{BotName, Topic};
use crate::relay::rules::condition::{Condition, is_field};
use crate::relay::rules::template::Template;
use crate::relay::rules::{Action, GIVEN, Level, Publish, Rule};

/// More than these were made by a program, and take longer than an envelope has.
pub const RULES_MAX: usize = 500;

pub const DEPTH_MAX: usize = 16;

/// Compiled, in bytes.
const REGEX_MAX: usize = 64 * 1024;

/// Reads files in the order of their names: `rules/10-disk.yaml:7:11: what is wrong`.
pub fn read(files: &[(&str, &str)]) -> Result<Vec<Rule>, Vec<String>> {
    let mut files = files.to_vec();
    files.sort_unstable();
    let mut reader = Reader::default();
    let mut rules = Vec::new();
    for (file, text) in files {
        reader.file = file.to_owned();
        match Located::parse(text) {
            Ok(found) => {
                if let Some(mut map) = reader.map(&found, "a file of rules", &["rules"])
                    && let Some(list) = reader.need(&mut map, found.at, "rules")
                {
                    rules.extend(reader.rules(list, 1));
                }
            }
            Err(faults) => {
                for fault in faults.sorted() {
                    reader.fault(fault.at, &fault.what);
                }
            }
        }
    }
    if reader.names.len() > RULES_MAX {
        reader.faults.push(format!("{} rules, more than {RULES_MAX}: join some of them", reader.names.len()));
    }
    if reader.faults.is_empty() { Ok(rules) } else { Err(reader.faults) }
}

#[derive(Default)]
struct Reader {
    file: String,
    names: BTreeSet<String>,
    faults: Vec<String>,
}

/// The entries of a mapping that are still to be read.
type Entries<'a> = BTreeMap<&'a str, &'a Located>;

impl Reader {
    fn fault(&mut self, at: Place, what: impl Display) {
        self.faults.push(format!("{}:{}:{}: {what}", self.file, at.line, at.column));
    }

    /// The value, or what is wrong with it in the list of faults.
    fn ok<T, E: Display>(&mut self, at: Place, result: Result<T, E>) -> Option<T> {
        result.map_err(|why| self.fault(at, why)).ok()
    }

    fn map<'a>(&mut self, found: &'a Located, what: &str, known: &[&str]) -> Option<Entries<'a>> {
        let Some(entries) = found.entries() else {
            self.fault(
                found.at,
                format!("{what} is a mapping with {}, not {}", known.join(", "), found.kind()),
            );
            return None;
        };
        for Entry { at, name, .. } in entries.iter().filter(|entry| !known.contains(&entry.name.as_str())) {
            let nearest = known.iter().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
            let nearest = nearest.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            self.fault(*at, format!("{what} has no {name:?}, only {}{nearest}", known.join(", ")));
        }
        Some(entries.iter().map(|entry| (entry.name.as_str(), &entry.value)).collect())
    }

    fn need<'a>(&mut self, map: &mut Entries<'a>, at: Place, name: &str) -> Option<&'a Located> {
        let found = map.remove(name);
        if found.is_none() {
            self.fault(at, format!("{name} is missing"));
        }
        found
    }

    fn list<'a>(&mut self, found: &'a Located, what: &str) -> &'a [Located] {
        let Some(list) = found.list() else {
            self.fault(found.at, format!("{what} is a list, each with a - before it, not {}", found.kind()));
            return &[];
        };
        list
    }

    /// A text; what YAML takes for a number or a boolean is one as well.
    fn text(&mut self, found: &Located, what: &str) -> Option<String> {
        use serde_json::Value;
        match found.value() {
            Value::String(text) => Some(text),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => {
                self.fault(found.at, format!("{what} is a text, not {}", found.kind()));
                None
            }
        }
    }

    fn rules(&mut self, found: &Located, depth: usize) -> Vec<Rule> {
        if depth > DEPTH_MAX {
            self.fault(
                found.at,
                format!("rules are more than {DEPTH_MAX} deep: write some of them side by side"),
            );
            return Vec::new();
        }
        self.list(found, "rules").iter().filter_map(|rule| self.rule(rule, depth)).collect()
    }

    fn rule(&mut self, found: &Located, depth: usize) -> Option<Rule> {
        let mut map = self.map(found, "a rule", &["name", "when", "do", "rules", "last"])?;
        let named = self.need(&mut map, found.at, "name");
        let name = named.and_then(|named| self.text(named, "name")).unwrap_or_default();
        if let Some(named) = named
            && !self.names.insert(name.clone())
        {
            self.fault(named.at, format!("a rule named {name:?} is there already: names are used once"));
        }
        let when = map.remove("when").and_then(|when| self.condition(when));
        let actions = map.remove("do").map(|found| self.list(found, "do")).unwrap_or_default();
        let actions = actions.iter().filter_map(|action| self.action(action)).collect();
        let rules = map.remove("rules").map(|rules| self.rules(rules, depth + 1)).unwrap_or_default();
        let last = map.remove("last").is_some_and(|last| {
            last.value().as_bool().unwrap_or_else(|| {
                self.fault(last.at, format!("last is true or false, not {}", last.kind()));
                false
            })
        });
        Some(Rule { name, when, actions, rules, last })
    }

    fn condition(&mut self, found: &Located) -> Option<Condition> {
        let text = self.text(found, "when")?;
        match Condition::parse(&text) {
            Ok(condition) => Some(condition),
            Err(why) => {
                let at = Place { column: found.at.column + why.at, ..found.at };
                self.fault(at, why.what);
                None
            }
        }
    }

    fn action(&mut self, found: &Located) -> Option<Action> {
        const KNOWN: &[&str] = &["set", "delete", "capture", "replace", "map", "post", "publish", "log"];
        let map = self.map(found, "an action", KNOWN)?;
        let mut known = map.into_iter().filter(|(name, _)| KNOWN.contains(name));
        let (name, what) = known.next()?;
        if known.next().is_some() {
            self.fault(found.at, "one entry of do is one action: write a - before each");
        }
        match name {
            "set" => self.set(what),
            "delete" => {
                let names = self.list(what, "delete");
                Some(Action::Delete(names.iter().filter_map(|name| self.editable(name)).collect()))
            }
            "capture" => {
                let mut map = self.map(what, "capture", &["from", "pattern"])?;
                let from = self.need(&mut map, what.at, "from").and_then(|from| self.field(from));
                let pattern = self.need(&mut map, what.at, "pattern");
                let regex = pattern.and_then(|pattern| self.regex(pattern))?;
                let groups = regex.capture_names().flatten();
                for group in groups.filter(|group| !is_field(group) || is_fixed(group)) {
                    let at = pattern.map_or(what.at, |pattern| pattern.at);
                    self.fault(at, format!("the group {group:?} cannot become a field: choose another name"));
                }
                Some(Action::Capture { from: from?, pattern: regex })
            }
            "replace" => {
                let mut map = self.map(what, "replace", &["in", "pattern", "with"])?;
                let field = self.need(&mut map, what.at, "in").and_then(|field| self.editable(field));
                let pattern = self.need(&mut map, what.at, "pattern").and_then(|found| self.regex(found));
                let with = self.need(&mut map, what.at, "with").and_then(|with| self.text(with, "with"));
                Some(Action::Replace { field: field?, pattern: pattern?, with: with? })
            }
            "map" => self.look_up(what),
            "post" => {
                let mut map = self.map(what, "post", &["channel", "text"])?;
                let channel = self.need(&mut map, what.at, "channel");
                let channel_id = channel.and_then(|found| {
                    let id = self.text(found, "channel")?.parse::<u64>().ok().filter(|id| *id > 0);
                    if id.is_none() {
                        self.fault(
                            found.at,
                            "channel is the id of a channel, in quotes: \"123456789012345678\"",
                        );
                    }
                    id
                });
                let text = self.need(&mut map, what.at, "text").and_then(|text| self.template(text));
                Some(Action::Post { channel_id: channel_id?, text: text? })
            }
            "publish" => self.publish(what).map(Action::Publish),
            _ => {
                let mut map = self.map(what, "log", &["level", "text"])?;
                let level = map.remove("level").map_or(Some(Level::Info), |level| self.level(level));
                let text = self.need(&mut map, what.at, "text").and_then(|text| self.template(text));
                Some(Action::Log { level: level?, text: text? })
            }
        }
    }

    fn set(&mut self, found: &Located) -> Option<Action> {
        let Some(entries) = found.entries() else {
            self.fault(found.at, format!("set is a mapping of fields to texts, not {}", found.kind()));
            return None;
        };
        let mut fields = Vec::new();
        for Entry { at, name, value } in entries {
            if !is_field(name) || is_fixed(name) {
                self.fault(*at, not_editable(name));
            }
            fields.extend(self.template(value).map(|template| (name.clone(), template)));
        }
        Some(Action::Set(fields))
    }

    fn look_up(&mut self, found: &Located) -> Option<Action> {
        let mut map = self.map(found, "map", &["from", "to", "table", "default"])?;
        let from = self.need(&mut map, found.at, "from").and_then(|from| self.field(from));
        let to = self.need(&mut map, found.at, "to").and_then(|to| self.editable(to));
        let default = map.remove("default").and_then(|default| self.text(default, "default"));
        let given = self.need(&mut map, found.at, "table")?;
        let Some(entries) = given.entries() else {
            self.fault(given.at, format!("table is a mapping of texts to texts, not {}", given.kind()));
            return None;
        };
        let mut table = BTreeMap::new();
        for entry in entries {
            table.extend(self.text(&entry.value, "a value").map(|value| (entry.name.clone(), value)));
        }
        Some(Action::Map { from: from?, to: to?, table, default })
    }

    fn publish(&mut self, found: &Located) -> Option<Publish> {
        let mut map = self.map(found, "publish", &["topic", "scope", "to", "subject", "fields"])?;
        let topic = self.need(&mut map, found.at, "topic").and_then(|at| {
            let text = self.text(at, "topic")?;
            self.ok(at.at, Topic::new(&text))
        });
        let scope = self.need(&mut map, found.at, "scope").and_then(|found| self.scope(found));
        let to = map.remove("to").and_then(|at| {
            let text = self.text(at, "to")?;
            self.ok(at.at, BotName::new(&text))
        });
        let subject = map.remove("subject").and_then(|subject| self.template(subject));
        let fields = map.remove("fields").map(|found| self.list(found, "fields")).unwrap_or_default();
        let fields = fields.iter().filter_map(|field| self.field(field)).collect();
        Some(Publish { topic: topic?, scope: scope?, to, subject, fields })
    }

    fn scope(&mut self, found: &Located) -> Option<Scope> {
        match found.text() {
            Some("local") => Some(Scope::Local),
            Some("link") => Some(Scope::Link),
            Some("fleet") => Some(Scope::Fleet),
            _ => {
                self.fault(found.at, "scope is local, link or fleet");
                None
            }
        }
    }

    fn level(&mut self, found: &Located) -> Option<Level> {
        match found.text() {
            Some("debug") => Some(Level::Debug),
            Some("info") => Some(Level::Info),
            Some("warn") => Some(Level::Warn),
            _ => {
                self.fault(found.at, "level is debug, info or warn");
                None
            }
        }
    }

    fn template(&mut self, found: &Located) -> Option<Template> {
        let text = self.text(found, "this")?;
        self.ok(found.at, Template::parse(&text))
    }

    fn regex(&mut self, found: &Located) -> Option<Regex> {
        let text = self.text(found, "pattern")?;
        let regex = RegexBuilder::new(&text).size_limit(REGEX_MAX).build();
        self.ok(found.at, regex.map_err(|why| format!("{text:?} is no pattern: {why}")))
    }

    /// The name of a field that is read.
    fn field(&mut self, found: &Located) -> Option<String> {
        let name = self.text(found, "the name of a field")?;
        if !is_field(&name) {
            self.fault(found.at, format!("{name:?} is no field: a letter a-z, then a-z, 0-9, _ and ."));
            return None;
        }
        Some(name)
    }

    /// The name of a field that is changed.
    fn editable(&mut self, found: &Located) -> Option<String> {
        let name = self.field(found)?;
        if is_fixed(&name) {
            self.fault(found.at, not_editable(&name));
            return None;
        }
        Some(name)
    }
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
