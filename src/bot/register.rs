//! The list of slash commands and menus, as Discord wants it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::commands::Registry;
use crate::context::{Command, Kind, Level, Param, Place};

/// Discord's permission bits, as decimal text: <https://discord.com/developers/docs/topics/permissions>
const MANAGE_GUILD: &str = "32";
const MANAGE_MESSAGES: &str = "8192";

/// Option and command types.
/// <https://discord.com/developers/docs/interactions/application-commands#application-command-object>
mod kind {
    pub const SUBCOMMAND: u8 = 1;
    pub const STRING: u8 = 3;
    pub const INTEGER: u8 = 4;
    pub const BOOLEAN: u8 = 5;
    pub const USER: u8 = 6;
    pub const CHANNEL: u8 = 7;
    pub const ATTACHMENT: u8 = 11;
    pub const MESSAGE_MENU: u8 = 3;
}

/// The command that only the servers of the owners' choice have.
const FOR_OWNERS: &str = "admin";

/// The body of `PUT /applications/{id}/commands`: everything at once, so that what is gone disappears.
pub fn commands(registry: &Registry) -> Vec<Value> {
    let mut list = chat_inputs(registry, |root| root != FOR_OWNERS);
    list.extend(registry.menus().map(|menu| {
        json!({ "type": kind::MESSAGE_MENU, "name": menu.name, "contexts": contexts(menu.place),
            "integration_types": [0] })
    }));
    list
}

/// The body for the servers in which owners want `/admin`.
pub fn for_owners(registry: &Registry) -> Vec<Value> {
    chat_inputs(registry, |root| root == FOR_OWNERS)
}

fn chat_inputs(registry: &Registry, wanted: impl Fn(&str) -> bool) -> Vec<Value> {
    let mut roots: BTreeMap<&str, Vec<(&str, &Command)>> = BTreeMap::new();
    for (path, command) in registry.slash_paths() {
        let (root, rest) = path.split_once(' ').unwrap_or((path, ""));
        if wanted(root) {
            roots.entry(root).or_default().push((rest, command));
        }
    }
    roots.iter().map(|(root, entries)| chat_input(root, entries)).collect()
}

fn chat_input(root: &str, entries: &[(&str, &Command)]) -> Value {
    let everywhere = entries.iter().any(|(_, command)| command.place == Place::Anywhere);
    let mut value = json!({
        "type": 1,
        "name": root,
        "contexts": contexts(if everywhere { Place::Anywhere } else { Place::Server }),
        "integration_types": [0],
    });
    if let Some(permission) = hidden_below(entries) {
        value["default_member_permissions"] = json!(permission);
    }
    match entries {
        [("", command)] => {
            value["description"] = json!(command.summary);
            value["options"] = command.options.iter().map(option).collect();
        }
        _ => {
            let names: Vec<&str> = entries.iter().map(|(rest, _)| *rest).collect();
            value["description"] = json!(shortened(&format!("{root}: {}", names.join(", "))));
            value["options"] = entries.iter().map(|(rest, command)| subcommand(rest, command)).collect();
        }
    }
    value
}

fn subcommand(name: &str, command: &Command) -> Value {
    let options: Vec<Value> = command.options.iter().map(option).collect();
    json!({ "type": kind::SUBCOMMAND, "name": name, "description": command.summary, "options": options })
}

fn option(param: &Param) -> Value {
    let (kind, limits) = match param.kind {
        Kind::Text | Kind::Choice(_) => (kind::STRING, None),
        Kind::Integer { min, max } => (kind::INTEGER, Some((min, max))),
        Kind::Bool => (kind::BOOLEAN, None),
        Kind::Person => (kind::USER, None),
        Kind::Channel => (kind::CHANNEL, None),
        Kind::Attachment => (kind::ATTACHMENT, None),
    };
    let mut value = json!({ "type": kind, "name": param.name, "description": param.description,
        "required": param.required });
    if let Some((min, max)) = limits {
        value["min_value"] = json!(min);
        value["max_value"] = json!(max);
    }
    if let Kind::Choice(choices) = param.kind {
        value["choices"] = choices.iter().map(|choice| json!({ "name": choice, "value": choice })).collect();
    }
    if param.suggest.is_some() {
        value["autocomplete"] = json!(true);
    }
    value
}

/// Servers are 0, our own direct messages 1.
fn contexts(place: Place) -> &'static [u8] {
    match place {
        Place::Server => &[0],
        Place::Anywhere => &[0, 1],
    }
}

/// Discord hides a command from those who lack this; our own check decides all the same.
fn hidden_below(entries: &[(&str, &Command)]) -> Option<&'static str> {
    let all = |level| entries.iter().all(|(_, command)| command.level == level);
    if all(Level::Admin) {
        Some(MANAGE_GUILD)
    } else if all(Level::Moderator) {
        Some(MANAGE_MESSAGES)
    } else {
        None
    }
}

fn shortened(text: &str) -> String {
    crate::markdown::cut(text, 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::ALL;

    #[test]
    fn the_list_keeps_discords_limits() {
        let list = commands(&Registry::new(ALL));
        assert!(list.iter().filter(|command| command["type"] == 1).count() <= 100);
        assert!(list.iter().filter(|command| command["type"] == 3).count() <= 15);
        for command in &list {
            let size = command.to_string().chars().count();
            assert!(size <= 4_000, "{} takes {size} characters", command["name"]);
            assert!(command["options"].as_array().is_none_or(|options| options.len() <= 25));
        }
    }
}
