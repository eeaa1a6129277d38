//! The options of a command, checked as a client does before it sends them.

use serde_json::{Map, Value, json};

use super::act::{ActError, refuse};
use super::command::{INTEGER, NUMBER, SUB_COMMAND, SUB_COMMAND_GROUP, TEXT};
use super::model::{Id, Upload};
use super::{World, render, text};

/// The longest text in an option.
const TEXT_MAX: u64 = 6_000;

const BOOL: u64 = 5;
const PERSON: u64 = 6;
const CHANNEL: u64 = 7;
const ROLE: u64 = 8;
const MENTIONABLE: u64 = 9;
const FILE: u64 = 11;

/// What is known while the options of one command are checked.
pub(super) struct Checking<'a> {
    pub world: &'a World,
    pub channel: Id,
    pub files: &'a [Upload],
    /// Half-typed options are checked for their names only.
    pub autocomplete: bool,
    /// The objects that options name by id.
    pub resolved: Map<String, Value>,
    /// The words of the command and its subcommands.
    pub words: String,
    /// The option that is being typed suggests.
    pub suggests: bool,
}

impl Checking<'_> {
    /// The options in Discord's form, or what a client would say.
    pub fn options(&mut self, known: &Value, given: &Value) -> Result<Value, ActError> {
        let known = known.as_array().map_or(&[][..], Vec::as_slice);
        let given = given.as_array().map_or(&[][..], Vec::as_slice);
        if known.iter().any(is_sub) {
            return self.subcommand(known, given);
        }
        let unknown = given.iter().find(|option| !known.iter().any(|k| k["name"] == option["name"]));
        if let Some(unknown) = unknown {
            return refuse(format!("There is no option {}.", unknown["name"]));
        }
        let mut checked = Vec::new();
        for option in known {
            match given.iter().find(|given| given["name"] == option["name"]) {
                Some(given) => checked.push(self.option(option, given)?),
                None if option["required"] == json!(true) && !self.autocomplete => {
                    return refuse(format!("This option is required: {}.", name(option)));
                }
                None => {}
            }
        }
        Ok(Value::Array(checked))
    }

    fn subcommand(&mut self, known: &[Value], given: &[Value]) -> Result<Value, ActError> {
        let [chosen] = given else { return refuse("Choose one of the subcommands.") };
        let Some(option) = known.iter().find(|option| option["name"] == chosen["name"]) else {
            return refuse(format!("There is no subcommand {}.", chosen["name"]));
        };
        self.words.push(' ');
        self.words.push_str(name(option));
        let options = self.options(&option["options"], &chosen["options"])?;
        Ok(json!([{"name": option["name"], "type": option["type"], "options": options}]))
    }

    fn option(&mut self, option: &Value, given: &Value) -> Result<Value, ActError> {
        let (kind, value) = (option["type"].as_u64().unwrap_or(0), &given["value"]);
        if self.autocomplete && given["focused"] == json!(true) {
            self.suggests = option["autocomplete"] == json!(true);
            // What is typed is text, whatever it is to become.
            let typed = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return Ok(json!({"name": option["name"], "type": kind, "value": typed, "focused": true}));
        }
        let value = match kind {
            TEXT => text_value(option, value)?,
            INTEGER => number_value(option, value.as_i64().is_some(), value)?,
            NUMBER => number_value(option, value.is_number(), value)?,
            BOOL if value.is_boolean() => value.clone(),
            PERSON | CHANNEL | ROLE | MENTIONABLE | FILE => self.resolve(option, kind, value)?,
            _ => return refuse(format!("{value} does not fit the option {}.", name(option))),
        };
        let chosen = option["choices"].as_array().is_none_or(|choices| {
            choices.is_empty() || choices.iter().any(|choice| choice["value"] == value)
        });
        if !chosen {
            return refuse(format!("Choose one of the values of {}.", name(option)));
        }
        Ok(json!({"name": option["name"], "type": kind, "value": value}))
    }

    fn resolve(&mut self, option: &Value, kind: u64, value: &Value) -> Result<Value, ActError> {
        let id = text::id(value).unwrap_or(0);
        let guild = self.world.guild_of(self.channel);
        let role = guild
            .and_then(|guild| self.world.guilds.get(&guild))
            .and_then(|guild| guild.roles.get(&id).map(|role| render::role(role, guild.id)));
        let found = match kind {
            PERSON | MENTIONABLE if self.world.users.contains_key(&id) => {
                if let Some(member) = guild.and_then(|guild| self.world.member(guild, id)) {
                    self.add(
                        "members",
                        id,
                        with_permissions(member, self.world.permissions(id, self.channel)),
                    );
                }
                Some(("users", self.world.user(id)))
            }
            ROLE | MENTIONABLE => role.map(|role| ("roles", role)),
            CHANNEL => self.world.channels.get(&id).map(|found| ("channels", self.world.channel(found))),
            FILE => self.attachment(id).map(|file| ("attachments", file)),
            _ => None,
        };
        let Some((kind, object)) = found else {
            return refuse(format!("Choose a value for {}.", name(option)));
        };
        self.add(kind, id, object);
        Ok(json!(id.to_string()))
    }

    fn add(&mut self, kind: &str, id: Id, object: Value) {
        self.resolved.entry(kind).or_insert_with(|| json!({}))[id.to_string()] = object;
    }

    /// The attachments of an interaction are stored with the index they were given.
    fn attachment(&self, index: u64) -> Option<Value> {
        let upload = self.files.iter().find(|upload| upload.index == index)?;
        let attachment = super::model::Attachment {
            id: index,
            name: upload.name.clone(),
            content_type: upload.content_type.clone(),
            description: None,
            size: upload.bytes.len(),
        };
        Some(self.world.attachment(self.channel, &attachment))
    }
}

pub(super) fn with_permissions(mut member: Value, permissions: u64) -> Value {
    member["permissions"] = json!(permissions.to_string());
    member
}

fn is_sub(option: &Value) -> bool {
    matches!(option["type"].as_u64(), Some(SUB_COMMAND | SUB_COMMAND_GROUP))
}

fn name(option: &Value) -> &str {
    option["name"].as_str().unwrap_or_default()
}

fn text_value(option: &Value, value: &Value) -> Result<Value, ActError> {
    let Some(text) = value.as_str() else { return refuse(format!("{} is a text.", name(option))) };
    let min = option["min_length"].as_u64().unwrap_or(1);
    let max = option["max_length"].as_u64().unwrap_or(TEXT_MAX).min(TEXT_MAX);
    if !(min..=max).contains(&(text.chars().count() as u64)) {
        return refuse(format!("{} has {min} to {max} characters.", name(option)));
    }
    Ok(value.clone())
}

fn number_value(option: &Value, fits: bool, value: &Value) -> Result<Value, ActError> {
    let (min, max) = (option["min_value"].as_f64(), option["max_value"].as_f64());
    let number = value.as_f64().filter(|_| fits);
    let within = |number: f64| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max);
    match number {
        Some(number) if within(number) => Ok(value.clone()),
        Some(_) => refuse(format!("{} is out of range.", name(option))),
        None => refuse(format!("{} is a number.", name(option))),
    }
}
