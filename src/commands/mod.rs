//! Every feature in one list.
//!
//! A feature is one file, or a folder when it outgrows one: its commands, records and tests. Help, slash
//! registration, README, tables and tests derive from [`ALL`]; the doors look commands up in [`Registry`].

use std::collections::BTreeMap;

use crate::context::{Command, Control, Feature, Menu};
use crate::dynamo::TableSpec;
use crate::history as past;

pub mod about;
mod admin;
mod audit;
mod ban;
mod block;
mod boards;
pub mod confirm;
pub mod data;
mod days;
mod due;
mod echo;
pub mod help;
pub mod history;
mod leaderboard;
mod pages;
mod ping;
pub mod play;
pub mod privacy;
mod qrcode;
mod relay;
pub mod remember;
mod remind;
mod render;
mod settings;
pub mod sparkle;
pub mod stats;
pub mod undo;
mod whoami;

/// In alphabetical order.
pub const ALL: &[Feature] = &[
    about::FEATURE,
    admin::FEATURE,
    audit::FEATURE,
    block::FEATURE,
    confirm::FEATURE,
    data::FEATURE,
    due::FEATURE,
    echo::FEATURE,
    help::FEATURE,
    history::FEATURE,
    leaderboard::FEATURE,
    ping::FEATURE,
    play::FEATURE,
    privacy::FEATURE,
    qrcode::FEATURE,
    relay::FEATURE,
    remember::FEATURE,
    remind::FEATURE,
    render::FEATURE,
    settings::FEATURE,
    sparkle::FEATURE,
    stats::FEATURE,
    undo::FEATURE,
    whoami::FEATURE,
];

/// What the bot that this one follows could do and this one does not: the first words of its commands.
pub const RESERVED: &[&str] = &[
    "crypto",
    "weather",
    "covid",
    "random",
    "insult",
    "wallstreetbets",
    "down",
    "ip",
    "league",
    "lmf",
    "eft",
    "loud",
    "tts",
    "scdl",
    "sentry",
    "shutdown",
    "hello",
    "bean",
];

/// The command that is known by this name: its first form.
pub fn named(name: &str) -> Option<&'static Command> {
    ALL.iter().flat_map(|feature| feature.commands).find(|command| command.name() == name)
}

/// The command with this form, whichever of its forms it is.
pub fn with_form(form: &str) -> Option<&'static Command> {
    let has = |command: &&Command| command.prefix.contains(&form) || command.slash.contains(&form);
    ALL.iter().flat_map(|feature| feature.commands).find(has)
}

/// All tables.
pub fn tables() -> Vec<TableSpec> {
    let features = ALL.iter().flat_map(|feature| feature.tables);
    past::TABLES.iter().chain(features).copied().collect()
}

/// Command names have at most three words: `mem`, `mem edit`.
const WORDS_MAX: usize = 3;

/// Finds commands by what people type and press. Made once, at the start.
pub struct Registry {
    words: BTreeMap<&'static str, &'static Command>,
    slash: BTreeMap<&'static str, &'static Command>,
    controls: BTreeMap<&'static str, &'static Control>,
    menus: BTreeMap<&'static str, &'static Menu>,
}

/// What the words after the prefix mean.
pub enum Found<'a> {
    /// A command, and the text behind its name.
    Command(&'static Command, &'a str),
    /// The name of a group alone: `mem`.
    Group(&'static str),
    /// Nothing of ours; the words that a name could have been.
    Nothing(String),
}

impl Registry {
    pub fn new(features: &'static [Feature]) -> Self {
        let mut registry = Self {
            words: BTreeMap::new(),
            slash: BTreeMap::new(),
            controls: BTreeMap::new(),
            menus: BTreeMap::new(),
        };
        for feature in features {
            for command in feature.commands {
                registry.words.extend(command.prefix.iter().map(|words| (*words, command)));
                registry.slash.extend(command.slash.iter().map(|path| (*path, command)));
            }
            registry.controls.extend(feature.controls.iter().map(|control| (control.verb, control)));
            registry.menus.extend(feature.menus.iter().map(|menu| (menu.name, menu)));
        }
        registry
    }

    /// The longest match of whole words; ASCII case and the white space between words do not matter.
    pub fn find<'a>(&self, text: &'a str) -> Found<'a> {
        let mut ends = Vec::with_capacity(WORDS_MAX);
        let mut name = String::new();
        let mut at = 0;
        while ends.len() < WORDS_MAX {
            let start = at + leading_white_space(&text[at..]);
            let length = text[start..].find(char::is_whitespace).unwrap_or(text.len() - start);
            if length == 0 {
                break;
            }
            if !name.is_empty() {
                name.push(' ');
            }
            name.push_str(&text[start..start + length].to_ascii_lowercase());
            at = start + length;
            ends.push((name.len(), at));
        }
        for (name_end, text_end) in ends.iter().rev() {
            if let Some(command) = self.words.get(&name[..*name_end]) {
                return Found::Command(command, &text[*text_end..]);
            }
        }
        match self.words.keys().find_map(|words| group(words).filter(|group| *group == name)) {
            Some(group) => Found::Group(group),
            None => Found::Nothing(name),
        }
    }

    /// Whether the words name something of ours.
    pub fn names(&self, text: &str) -> bool {
        !matches!(self.find(text), Found::Nothing(_))
    }

    /// The command behind a slash path: `rem set`.
    pub fn slash(&self, path: &str) -> Option<&'static Command> {
        self.slash.get(path).copied()
    }

    /// The control behind a `custom_id`, and its fields.
    pub fn control<'a>(&self, custom_id: &'a str) -> Option<(&'static Control, &'a str)> {
        let (verb, fields) = custom_id.split_once(':').unwrap_or((custom_id, ""));
        self.controls.get(verb).map(|control| (*control, fields))
    }

    pub fn menu(&self, name: &str) -> Option<&'static Menu> {
        self.menus.get(name).copied()
    }

    /// All commands with a text form, each once, by its first name.
    pub fn commands(&self) -> impl Iterator<Item = &'static Command> {
        self.words.iter().filter(|(words, command)| command.name() == **words).map(|(_, command)| *command)
    }

    /// The slash paths and their commands, in alphabetical order.
    pub fn slash_paths(&self) -> impl Iterator<Item = (&'static str, &'static Command)> {
        self.slash.iter().map(|(path, command)| (*path, *command))
    }

    pub fn menus(&self) -> impl Iterator<Item = &'static Menu> {
        self.menus.values().copied()
    }

    /// The name nearest to what was typed: one slip in words up to four letters, else two.
    pub fn nearest(&self, typed: &str) -> Option<&'static str> {
        let first = typed.split(' ').next().unwrap_or(typed);
        let near = |name: &&'static str| {
            let typed = if name.contains(' ') { typed } else { first };
            let distance = strsim::osa_distance(name, typed);
            let allowed = if typed.chars().count() <= 4 { 1 } else { 2 };
            (distance <= allowed).then_some((distance, *name))
        };
        self.words.keys().filter_map(near).min().map(|(_, name)| name)
    }
}

/// The group of a name of several words: `mem` of `mem edit`.
pub fn group(words: &'static str) -> Option<&'static str> {
    words.split_once(' ').map(|(group, _)| group)
}

fn leading_white_space(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whatever_their_case_and_spacing() {
        let registry = Registry::new(ALL);
        assert!(matches!(registry.find("PING"), Found::Command(c, "") if c.name() == "ping"));
        assert!(matches!(registry.find("echo  a  b"), Found::Command(c, "  a  b") if c.name() == "echo"));
        assert!(matches!(registry.find("pingpong"), Found::Nothing(name) if name == "pingpong"));
        assert!(matches!(registry.find(""), Found::Nothing(_)));
    }

    #[test]
    fn a_slip_of_the_finger_is_forgiven() {
        let registry = Registry::new(ALL);
        assert_eq!(registry.nearest("pign"), Some("ping"));
        assert_eq!(registry.nearest("uptmie now"), Some("uptime"));
        assert_eq!(registry.nearest("weather"), None);
    }

    /// <https://discord.com/developers/docs/interactions/application-commands#application-command-object>
    #[test]
    fn names_and_descriptions_fit_discord() {
        let mut seen = std::collections::BTreeSet::new();
        for command in ALL.iter().flat_map(|feature| feature.commands) {
            let name = command.name();
            assert!((1..=100).contains(&command.summary.chars().count()), "{name}");
            for words in command.prefix {
                assert!(seen.insert(("text", *words)), "{words} is there twice");
                assert!(words.split(' ').count() <= WORDS_MAX, "{words}");
                assert_eq!(words.to_ascii_lowercase(), **words, "{words}");
            }
            for path in command.slash {
                assert!(seen.insert(("slash", *path)), "/{path} is there twice");
                assert!(path.split(' ').all(|word| (1..=32).contains(&word.len())), "{path}");
            }
            let required = command.options.iter().map(|option| option.required).collect::<Vec<_>>();
            assert!(required.is_sorted_by(|a, b| a >= b), "{name}: required options come first");
            assert!(command.options.iter().all(|o| (1..=100).contains(&o.description.len())), "{name}");
        }
    }
}
