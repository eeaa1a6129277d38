//! Rules: what a bot does with the envelopes that reach it, as its operator wrote it down.
//!
//! They are walked top down: where `when` does not hold, the rule and its children are skipped; else what it
//! does, then its children. After a rule with `last` nothing more runs. Running them is pure: an envelope goes
//! in, and what is to be done comes out. An envelope is data for rules of our own operator, never code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex_lite::Regex;

use crate::clock::Timestamp;
use crate::relay::envelope::{Envelope, Scope, Value};
use crate::relay::name::{BotName, EnvelopeId, Topic, base32, hash};
use crate::relay::publish::Draft;
use crate::relay::rules::condition::{Condition, Facts, text_of};

pub mod actor;
pub mod condition;
pub mod file;
pub mod gauge;
pub mod state;
pub mod template;

use state::States;
use template::Template;

/// Of one envelope: more is a rule that multiplies.
pub const EFFECTS_MAX: usize = 20;

/// In characters: Discord cuts at 2,000, and the rest is for the line that says where it came from.
pub const RELAY_TEXT_MAX: usize = 1_900;

/// Discord takes 25 characters, of which three are for the parts of a long message.
const NONCE_LENGTH: usize = 22;

#[derive(Clone, Debug)]
pub struct Rule {
    pub name: String,
    /// Absent: it always holds.
    pub when: Option<Condition>,
    pub actions: Vec<Action>,
    pub rules: Vec<Rule>,
    /// After it nothing more runs, in the whole tree.
    pub last: bool,
}

#[derive(Clone, Debug)]
pub enum Action {
    /// Sets fields, or `subject`.
    Set(Vec<(String, Template)>),
    Delete(Vec<String>),
    /// Named groups become fields.
    Capture {
        from: String,
        pattern: Regex,
    },
    Replace {
        field: String,
        pattern: Regex,
        with: String,
    },
    /// Looks a field up in a table.
    Map {
        from: String,
        to: String,
        table: BTreeMap<String, String>,
        default: Option<String>,
    },
    /// Whether a field has moved since the last time.
    Track {
        field: String,
        /// By at least this much; absent: at all, and then it may be a text.
        by: Option<f64>,
        into: String,
    },
    Post {
        channel_id: u64,
        text: Template,
        /// Not again for this long.
        quiet: Option<Duration>,
    },
    Publish(Publish),
    Gauge {
        name: String,
        field: String,
    },
    Log {
        level: Level,
        text: Template,
    },
}

/// A new envelope with this one's key.
#[derive(Clone, Debug)]
pub struct Publish {
    pub topic: Topic,
    pub scope: Scope,
    pub to: Option<BotName>,
    pub subject: Option<Template>,
    /// The fields that it takes over.
    pub fields: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Info,
    Warn,
}

/// What rules want to be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effects {
    pub posts: Vec<Post>,
    pub answers: Vec<Draft>,
    pub lines: Vec<(Level, String)>,
    /// Names of gauges, and what they show.
    pub gauges: Vec<(String, f64)>,
    /// What rules remember from now on, for the envelope's key.
    pub states: BTreeMap<String, String>,
    /// A rule with `last` was reached.
    pub stopped: bool,
    /// The envelope as the rules left it.
    pub subject: Option<String>,
    pub fields: BTreeMap<String, Value>,
}

/// What came of running rules.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    Done(Effects),
    /// They ask for these states, and have to be run again with them.
    Needs(BTreeSet<String>),
}

/// A message for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    pub channel_id: u64,
    pub text: String,
    /// The same for the same envelope, rule and action: posted again, Discord knows it.
    pub nonce: String,
    /// In its last line: which envelope it is about, and which of its posts.
    pub reference: String,
}

/// Why rules gave up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rules want more than {EFFECTS_MAX} things done for one envelope; the last of them was {0}")]
pub struct TooMany(String);

/// An envelope with the edits of rules: later rules see them, and what is forwarded stays as it is.
struct Scene<'a> {
    envelope: &'a Envelope,
    me: &'a BotName,
    now: Timestamp,
    states: &'a States,
    missing: BTreeSet<String>,
    subject: Option<String>,
    fields: BTreeMap<String, Value>,
}

/// What every envelope has, besides its fields.
pub const GIVEN: &[&str] = &["topic", "origin", "scope", "key", "subject", "depth", "mine", "age"];

impl Facts for Scene<'_> {
    fn fact(&self, name: &str) -> Option<Value> {
        let envelope = self.envelope;
        let scope = match envelope.scope {
            Scope::Local => "local",
            Scope::Link => "link",
            Scope::Fleet => "fleet",
        };
        let text = |text: &str| Some(Value::Text(text.to_owned()));
        match name {
            "topic" => text(envelope.topic.as_str()),
            "origin" => text(envelope.id.origin().as_str()),
            "scope" => text(scope),
            "key" => text(&envelope.key),
            "subject" => self.subject.as_deref().and_then(text),
            "depth" => Some(Value::Number(envelope.depth.into())),
            "mine" => Some(Value::Bool(envelope.id.origin() == *self.me)),
            "age" => Some(Value::Number(self.now.since(envelope.at).as_secs_f64().floor())),
            field => self.fields.get(field).cloned(),
        }
    }
}

/// Runs rules on an envelope.
pub fn judge(
    rules: &[Rule],
    envelope: &Envelope,
    me: &BotName,
    now: Timestamp,
    states: &States,
) -> Result<Judged, TooMany> {
    let (subject, fields) = (envelope.subject.clone(), envelope.fields.clone());
    let mut scene = Scene { envelope, me, now, states, missing: BTreeSet::new(), subject, fields };
    let mut effects = Effects::default();
    walk(rules, &mut scene, &mut effects)?;
    if !scene.missing.is_empty() {
        return Ok(Judged::Needs(scene.missing));
    }
    (effects.subject, effects.fields) = (scene.subject, scene.fields);
    Ok(Judged::Done(effects))
}

fn walk(rules: &[Rule], scene: &mut Scene<'_>, effects: &mut Effects) -> Result<(), TooMany> {
    for rule in rules {
        if rule.when.as_ref().is_some_and(|when| !when.holds(scene)) {
            continue;
        }
        for (at, action) in rule.actions.iter().enumerate() {
            act(rule, at, action, scene, effects);
            if effects.count() > EFFECTS_MAX {
                return Err(TooMany(rule.name.clone()));
            }
        }
        walk(&rule.rules, scene, effects)?;
        effects.stopped |= rule.last;
        if effects.stopped {
            return Ok(());
        }
    }
    Ok(())
}

impl Effects {
    fn count(&self) -> usize {
        self.posts.len() + self.answers.len() + self.lines.len() + self.gauges.len()
    }
}

fn act(rule: &Rule, at: usize, action: &Action, scene: &mut Scene<'_>, effects: &mut Effects) {
    match action {
        Action::Set(fields) => {
            for (name, template) in fields {
                let text = template.fill(scene);
                scene.set(name, text);
            }
        }
        Action::Delete(names) => names.iter().for_each(|name| scene.delete(name)),
        Action::Capture { from, pattern } => {
            let text = scene.text(from);
            let Some(found) = pattern.captures(&text) else { return };
            let named = pattern.capture_names().flatten();
            let named = named.filter_map(|name| Some((name, found.name(name)?.as_str().to_owned())));
            named.for_each(|(name, value)| scene.set(name, value));
        }
        Action::Replace { field, pattern, with } => {
            if scene.fact(field).is_some() {
                let text = pattern.replace_all(&scene.text(field), with.as_str()).into_owned();
                scene.set(field, text);
            }
        }
        Action::Map { from, to, table, default } => {
            let found = table.get(&scene.text(from)).or(default.as_ref());
            if let Some(value) = found.cloned() {
                scene.set(to, value);
            }
        }
        Action::Track { field, by, into } => track(&state_name(rule, at), field, *by, into, scene, effects),
        Action::Gauge { name, field } => {
            if let Some(number) = scene.fact(field).as_ref().and_then(number_of) {
                effects.gauges.push((name.clone(), number));
            }
        }
        Action::Post { channel_id, text, quiet } => {
            let name = state_name(rule, at);
            let Some(left_out) = quiet.map_or(Some(0), |quiet| speak(&name, quiet, scene, effects)) else {
                return;
            };
            let mut text = readable(&text.fill(scene), RELAY_TEXT_MAX);
            if left_out > 0 {
                text.push_str(&format!("\n-# {left_out} more like this were left out"));
            }
            let nonce = nonce(&scene.envelope.id, &rule.name, at);
            let reference = match effects.posts.len() {
                0 => scene.envelope.id.to_string(),
                before => format!("{}#{}", scene.envelope.id, before + 1),
            };
            effects.posts.push(Post { channel_id: *channel_id, text, nonce, reference });
        }
        Action::Publish(publish) => effects.answers.push(answer(rule, at, publish, scene)),
        Action::Log { level, text } => {
            effects.lines.push((*level, readable(&text.fill(scene), RELAY_TEXT_MAX)));
        }
    }
}

/// What an action remembers goes by this name.
fn state_name(rule: &Rule, at: usize) -> String {
    format!("{}/{at}", rule.name)
}

fn track(name: &str, field: &str, by: Option<f64>, into: &str, scene: &mut Scene<'_>, effects: &mut Effects) {
    let Some(value) = scene.fact(field) else { return scene.put(into, Value::Bool(false)) };
    let new = text_of(&value);
    let Some(old) = scene.state(name) else {
        // The first time there is nothing to compare with.
        effects.states.insert(name.to_owned(), new);
        return scene.put(into, Value::Bool(false));
    };
    let moved = match by {
        None => old != new,
        Some(by) => match (old.parse::<f64>(), number_of(&value)) {
            (Ok(old), Some(new)) => (new - old).abs() >= by,
            // What is no number has not moved; what was none before has.
            (old, new) => old.is_err() && new.is_some(),
        },
    };
    scene.put(into, Value::Bool(moved));
    if moved {
        let old = old.parse().map_or(Value::Text(old), Value::Number);
        scene.put(&format!("{into}_from"), old);
        effects.states.insert(name.to_owned(), new);
    }
}

/// How many posts were left out since the last one; `None`: this one is left out as well.
fn speak(name: &str, quiet: Duration, scene: &mut Scene<'_>, effects: &mut Effects) -> Option<u64> {
    let state = scene.state(name).unwrap_or_default();
    let (until, left_out) = state.split_once(' ').unwrap_or_default();
    let (until, left_out) = (until.parse().unwrap_or(0), left_out.parse().unwrap_or(0));
    if scene.now.millis() < until {
        effects.states.insert(name.to_owned(), format!("{until} {}", left_out + 1));
        return None;
    }
    effects.states.insert(name.to_owned(), format!("{} 0", scene.now.plus(quiet).millis()));
    Some(left_out)
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Bool(_) => None,
    }
}

/// The same for the same envelope, rule and action.
fn nonce(id: &EnvelopeId, rule: &str, at: usize) -> String {
    let mut nonce = base32(&hash(&[id.as_str(), rule, &at.to_string()]));
    nonce.truncate(NONCE_LENGTH);
    nonce
}

fn answer(rule: &Rule, at: usize, publish: &Publish, scene: &Scene<'_>) -> Draft {
    let id = &scene.envelope.id;
    let taken = publish.fields.iter().filter_map(|name| Some((name.clone(), scene.fact(name)?)));
    Draft {
        topic: publish.topic.clone(),
        scope: publish.scope,
        to: publish.to.clone(),
        at: scene.now,
        because: format!("{id}/{}/{at}", rule.name),
        part: 0,
        cause: Some(id.clone()),
        depth: scene.envelope.depth.saturating_add(1),
        key: scene.envelope.key.clone(),
        subject: publish.subject.as_ref().map(|subject| readable(&subject.fill(scene), SUBJECT_TEXT)),
        fields: taken.collect(),
    }
}

/// With what is said about what was cut, still a subject.
const SUBJECT_TEXT: usize = crate::relay::envelope::SUBJECT_MAX - 20;

impl Scene<'_> {
    fn text(&self, name: &str) -> String {
        self.fact(name).as_ref().map(text_of).unwrap_or_default()
    }

    fn set(&mut self, name: &str, text: String) {
        match name {
            "subject" => self.subject = Some(text),
            _ => drop(self.fields.insert(name.to_owned(), Value::Text(text))),
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    /// What was remembered; it is asked for if it is not known here.
    fn state(&mut self, name: &str) -> Option<String> {
        let known = self.states.get(name);
        if known.is_none() {
            self.missing.insert(name.to_owned());
        }
        known.flatten().map(str::to_owned)
    }

    fn delete(&mut self, name: &str) {
        match name {
            "subject" => self.subject = None,
            _ => drop(self.fields.remove(name)),
        }
    }
}

/// Others' text, so that it cannot hide or turn around what stands beside it; the end of a long one is counted.
fn readable(text: &str, longest: usize) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown: Vec<char> = text.chars().filter(|c| *c == '\n' || !(c.is_control() || turns(*c))).collect();
    if shown.len() <= longest {
        return shown.into_iter().collect();
    }
    let (kept, more) = shown.split_at(longest);
    format!("{}… ({} more)", kept.iter().collect::<String>(), more.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::envelope::tests::envelope;

    fn done(judged: Judged) -> Effects {
        match judged {
            Judged::Done(effects) => effects,
            Judged::Needs(states) => panic!("{states:?}"),
        }
    }

    fn judged(rules: &str) -> Effects {
        let rules = file::read(&[("rules/10.yaml", rules)]).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let (envelope, me) = (envelope("hub", "a"), BotName::new("hub").unwrap());
        let now = envelope.at.plus(Duration::from_secs(90));
        done(judge(&rules, &envelope, &me, now, &States::default()).unwrap())
    }

    fn lines(rules: &str) -> Vec<String> {
        judged(rules).lines.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_rule_publishes_an_answer_of_its_own() {
        let effects = judged(
            "rules:\n  - name: full\n    when: topic equals alerts/disk and mine is true and used_percent > 90\n    do:\n      - publish: { topic: alerts/full, scope: fleet, subject: \"{origin}: {path} is {used_percent} % full\", fields: [path] }\n",
        );
        let [answer] = &effects.answers[..] else { panic!("{effects:?}") };
        assert_eq!(answer.subject.as_deref(), Some("hub: / is 91.5 % full"));
        assert_eq!((answer.depth, answer.key.as_str()), (1, "disk"));
        assert_eq!(answer.cause.as_ref().unwrap(), &envelope("hub", "a").id);
        assert_eq!(answer.fields.keys().collect::<Vec<_>>(), ["path"]);
    }

    #[test]
    fn children_run_after_and_last_ends_all() {
        let rules = "rules:\n  - name: a\n    do: [ { log: { text: a } } ]\n    rules:\n      - { name: skipped, when: used_percent < 5, do: [ { log: { text: skipped } } ] }\n      - { name: b, do: [ { log: { text: b } } ], last: true }\n      - { name: c, do: [ { log: { text: c } } ] }\n  - { name: d, do: [ { log: { text: d } } ] }\n";
        assert_eq!(lines(rules), ["a", "b"]);
        assert!(judged(rules).stopped);
    }

    #[test]
    fn fields_are_edited_for_later_rules() {
        let rules = "rules:\n  - name: a\n    do:\n      - set: { where: \"{origin}:{path}\", subject: \"{subject}!\" }\n      - capture: { from: subject, pattern: \"(?P<percent>[0-9]+) %\" }\n      - replace: { in: where, pattern: \"^h(.)b\", with: \"H${1}B\" }\n      - map: { from: percent, to: word, table: { \"91\": bad }, default: fine }\n      - delete: [path]\n      - log: { text: \"{where} {percent} {word} [{path}] {age} {subject}\" }\n";
        assert_eq!(lines(rules), ["HuB:/ 91 bad [] 90 / is 91 % full!"]);
    }

    #[test]
    fn a_post_is_the_same_when_it_is_made_again() {
        let rules =
            "rules:\n  - { name: a, do: [ { post: { channel: \"123\", text: \"x {subject}\" } } ] }\n";
        let (first, second) = (judged(rules), judged(rules));
        assert_eq!(first, second);
        assert_eq!((first.posts[0].channel_id, first.posts[0].nonce.len()), (123, 22));
    }

    #[test]
    fn others_text_hides_nothing() {
        assert_eq!(readable("a\u{202e}b\u{7}c\nd", 10), "abc\nd");
        assert_eq!(readable("abcdef", 4), "abcd… (2 more)");
    }

    #[test]
    fn rules_that_multiply_are_stopped() {
        let many = "      - log: { text: x }\n".repeat(EFFECTS_MAX + 1);
        let rules = file::read(&[("r.yaml", &format!("rules:\n  - name: a\n    do:\n{many}"))]).unwrap();
        let (envelope, me) = (envelope("hub", "a"), BotName::new("hub").unwrap());
        let judged = judge(&rules, &envelope, &me, envelope.at, &States::default());
        assert_eq!(judged, Err(TooMany("a".to_owned())));
    }

    /// What rules do with one envelope after the other, and what they remember.
    struct Story {
        rules: Vec<Rule>,
        states: States,
        now: Timestamp,
    }

    impl Story {
        fn new(rules: &str) -> Self {
            let rules = file::read(&[("r.yaml", rules)]).unwrap_or_else(|faults| panic!("{faults:#?}"));
            Self { rules, states: States::default(), now: envelope("hub", "a").at }
        }

        fn goes_on(&mut self, seconds: u64, used: Value) -> Effects {
            self.now = self.now.plus(Duration::from_secs(seconds));
            let mut envelope = envelope("hub", "a");
            envelope.fields.insert("used_percent".into(), used);
            let me = BotName::new("hub").unwrap();
            loop {
                match judge(&self.rules, &envelope, &me, self.now, &self.states).unwrap() {
                    Judged::Needs(names) => names.iter().for_each(|name| self.states.put(name, None)),
                    Judged::Done(effects) => {
                        for (name, value) in &effects.states {
                            self.states.put(name, Some(value.clone()));
                        }
                        return effects;
                    }
                }
            }
        }
    }

    #[test]
    fn a_field_is_tracked_from_where_it_last_moved() {
        let mut story = Story::new(
            "rules:\n  - name: a\n    do:\n      - track: { field: used_percent, by: 5, as: moved }\n      - log: { text: \"{moved} {moved_from}\" }\n",
        );
        let mut line = |used: Value| story.goes_on(1, used).lines[0].1.clone();
        assert_eq!(line(Value::Number(50.0)), "false ", "there is nothing to compare with");
        assert_eq!(line(Value::Number(54.0)), "false ");
        assert_eq!(line(Value::Number(55.0)), "true 50", "not from 54: it crept");
        assert_eq!(line(Value::Number(51.0)), "false ");
        assert_eq!(line(Value::Text("full".into())), "false ");
        assert_eq!(line(Value::Number(40.0)), "true 55");
        let mut any = Story::new(
            "rules:\n  - name: a\n    do:\n      - track: { field: used_percent, as: new }\n      - log: { text: \"{new} {new_from}\" }\n",
        );
        let mut line = |used: &str| any.goes_on(1, Value::Text(used.into())).lines[0].1.clone();
        assert_eq!([line("up"), line("up"), line("down")], ["false ", "false ", "true up"]);
    }

    #[test]
    fn a_quiet_post_counts_what_it_leaves_out() {
        let mut story = Story::new(
            "rules:\n  - { name: a, do: [ { post: { channel: \"7\", text: \"full\", quiet: 10m } } ] }\n",
        );
        let mut texts = |seconds| {
            story
                .goes_on(seconds, Value::Number(99.0))
                .posts
                .into_iter()
                .map(|post| post.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(0), ["full"]);
        assert!(texts(1).is_empty() && texts(598).is_empty());
        assert_eq!(texts(1), ["full\n-# 2 more like this were left out"]);
        assert_eq!(texts(601), ["full"]);
    }

    #[test]
    fn a_gauge_shows_a_number() {
        let effects = judged(
            "rules:\n  - { name: a, do: [ { gauge: { name: used, field: used_percent } }, { gauge: { name: x, field: path } } ] }\n",
        );
        assert_eq!(effects.gauges, [("used".to_owned(), 91.5)]);
    }

    #[test]
    fn what_rules_leave_of_an_envelope_is_known() {
        let effects = judged(
            "rules:\n  - { name: a, do: [ { set: { subject: \"x\", y: z } }, { delete: [path] } ] }\n",
        );
        assert_eq!(effects.subject.as_deref(), Some("x"));
        assert!(effects.fields.contains_key("y") && !effects.fields.contains_key("path"));
    }
}
