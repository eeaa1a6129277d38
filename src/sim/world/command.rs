//! Application commands: their registration, and who sees them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{self, Result};
use super::event::{Audience, News};
use super::form::Form;
use super::model::Id;
use super::permission::{ADMINISTRATOR, USE_APPLICATION_COMMANDS};
use super::request::{Request, Response};
use super::route::Route;
use super::{World, text};
use crate::clock::Timestamp;

/// Discord's sizes; <https://discord.com/developers/docs/interactions/application-commands>.
const NAME_MAX: usize = 32;
const DESCRIPTION_MAX: usize = 100;
const OPTIONS_MAX: usize = 25;
const CHOICES_MAX: usize = 25;
const CHOICE_MAX: usize = 100;
const COMMAND_TEXT_MAX: usize = 8_000;
/// Slash commands, user menus and message menus, per scope.
const COMMANDS_MAX: [usize; 3] = [100, 15, 15];
/// New commands in a day and scope; names that exist already are free.
const CREATES_A_DAY: usize = 200;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) const SLASH: u8 = 1;
pub(super) const USER_MENU: u8 = 2;
pub(super) const MESSAGE_MENU: u8 = 3;

pub(super) const SUB_COMMAND: u64 = 1;
pub(super) const SUB_COMMAND_GROUP: u64 = 2;
pub(super) const TEXT: u64 = 3;
pub(super) const INTEGER: u64 = 4;
pub(super) const NUMBER: u64 = 10;
/// The last kind of option: a file.
const LAST_KIND: u64 = 11;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Commands {
    by_id: BTreeMap<Id, Command>,
    /// When new ones were made, with the guild.
    created: VecDeque<(Timestamp, Option<Id>)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Command {
    pub id: Id,
    pub version: Id,
    /// `None`: everywhere.
    pub guild: Option<Id>,
    pub kind: u8,
    pub name: String,
    /// As it was registered.
    pub body: Value,
}

impl World {
    pub(super) fn answer_commands(&mut self, route: &Route, request: &Request) -> Result<Response> {
        if route.id(0)? != self.application.id {
            return Err(error::UNKNOWN_APPLICATION);
        }
        let in_guild = route.name.contains("/guilds/");
        let guild = if in_guild { Some(self.bots_guild(route.id(1)?)?) } else { None };
        let id = || route.id(if in_guild { 2 } else { 1 });
        let method = route.name.split(' ').next().unwrap_or_default();
        match (method, route.name.ends_with("{k}")) {
            ("GET", false) => Ok(Response::json(200, self.commands_in(guild))),
            ("PUT", _) => self.put_commands(guild, &request.body),
            ("POST", _) => self.post_command(guild, &request.body),
            ("GET", _) => Ok(Response::json(200, self.object(self.command(guild, id()?)?))),
            ("PATCH", _) => self.patch_command(guild, id()?, &request.body),
            _ => {
                let id = self.command(guild, id()?)?.id;
                self.commands.by_id.remove(&id);
                self.tell_commands(guild);
                Ok(Response::empty())
            }
        }
    }

    fn bots_guild(&self, guild: Id) -> Result<Id> {
        let there = self.guilds.get(&guild).is_some_and(|g| g.members.contains_key(&self.application.id));
        if there { Ok(guild) } else { Err(error::MISSING_ACCESS) }
    }

    fn command(&self, guild: Option<Id>, id: Id) -> Result<&Command> {
        let found = self.commands.by_id.get(&id).filter(|command| command.guild == guild);
        found.ok_or(error::UNKNOWN_COMMAND)
    }

    fn commands_in(&self, guild: Option<Id>) -> Value {
        let commands = self.commands.by_id.values().filter(|command| command.guild == guild);
        commands.map(|command| self.object(command)).collect()
    }

    /// A command as Discord answers it.
    fn object(&self, command: &Command) -> Value {
        let mut value = json!({
            "name_localizations": null,
            "description": "",
            "description_localizations": null,
            "default_member_permissions": null,
            "contexts": null,
            "integration_types": [0],
            "nsfw": false,
        });
        for (field, given) in command.body.as_object().into_iter().flatten() {
            value[field] = given.clone();
        }
        value["id"] = json!(command.id.to_string());
        value["application_id"] = json!(self.application.id.to_string());
        value["version"] = json!(command.version.to_string());
        value["type"] = json!(command.kind);
        value["name"] = json!(command.name);
        if let Some(guild) = command.guild {
            value["guild_id"] = json!(guild.to_string());
        }
        value
    }

    /// Replaces all commands of a scope. Those that keep their kind and name keep their id.
    fn put_commands(&mut self, guild: Option<Id>, body: &Value) -> Result<Response> {
        let Some(list) = body.as_array() else { return Err(error::INVALID_JSON) };
        let mut form = Form::default();
        check_list(list, &mut form);
        form.finish()?;
        let kept: BTreeSet<(u8, &str)> = list.iter().map(|body| (kind(body), name(body))).collect();
        self.check_creates(guild, &kept)?;
        self.commands.by_id.retain(|_, command| {
            command.guild != guild || kept.contains(&(command.kind, command.name.as_str()))
        });
        for body in list {
            self.set_command(guild, body);
        }
        self.tell_commands(guild);
        Ok(Response::json(200, self.commands_in(guild)))
    }

    fn post_command(&mut self, guild: Option<Id>, body: &Value) -> Result<Response> {
        let mut form = Form::default();
        check(body, "", &mut form);
        let (kind, name) = (kind(body), name(body));
        let same_kind = self.commands.by_id.values().filter(|c| c.guild == guild && c.kind == kind);
        if same_kind.filter(|c| c.name != name).count() >= COMMANDS_MAX[usize::from(kind.clamp(1, 3)) - 1] {
            form.wrong("_", "APPLICATION_COMMANDS_MAX", "Maximum number of application commands reached");
        }
        form.finish()?;
        self.check_creates(guild, &[(kind, name)].into())?;
        let id = self.set_command(guild, body);
        self.tell_commands(guild);
        Ok(Response::json(200, self.object(self.command(guild, id)?)))
    }

    fn patch_command(&mut self, guild: Option<Id>, id: Id, changes: &Value) -> Result<Response> {
        let mut body = self.command(guild, id)?.body.clone();
        for (field, value) in changes.as_object().into_iter().flatten() {
            body[field] = value.clone();
        }
        let mut form = Form::default();
        check(&body, "", &mut form);
        form.finish()?;
        let version = self.new_id();
        if let Some(command) = self.commands.by_id.get_mut(&id) {
            *command = Command { version, name: name(&body).to_owned(), body, ..command.clone() };
        }
        self.tell_commands(guild);
        Ok(Response::json(200, self.object(self.command(guild, id)?)))
    }

    /// Counts how many of these would be new today.
    fn check_creates(&mut self, guild: Option<Id>, wanted: &BTreeSet<(u8, &str)>) -> Result<()> {
        let day_ago = self.now.minus(DAY);
        while self.commands.created.pop_front_if(|(at, _)| *at < day_ago).is_some() {}
        let known = |(kind, name): &(u8, &str)| {
            let mut all = self.commands.by_id.values();
            all.any(|c| c.guild == guild && c.kind == *kind && c.name == *name)
        };
        let new = wanted.iter().filter(|command| !known(command)).count();
        let earlier = self.commands.created.iter().filter(|(_, scope)| *scope == guild).count();
        if earlier + new > CREATES_A_DAY {
            return Err(error::TOO_MANY_COMMANDS);
        }
        let now = self.now;
        self.commands.created.extend(std::iter::repeat_n((now, guild), new));
        Ok(())
    }

    fn set_command(&mut self, guild: Option<Id>, body: &Value) -> Id {
        let (kind, name) = (kind(body), name(body));
        let mut all = self.commands.by_id.values();
        let found = all.find(|c| c.guild == guild && c.kind == kind && c.name == name);
        let (id, version) = match found.map(|c| (c.id, c.version, c.body == *body)) {
            Some((id, version, true)) => (id, version),
            Some((id, _, false)) => (id, self.new_id()),
            None => (self.new_id(), self.new_id()),
        };
        let command = Command { id, version, guild, kind, name: name.to_owned(), body: body.clone() };
        self.commands.by_id.insert(id, command);
        id
    }

    fn tell_commands(&mut self, guild: Option<Id>) {
        let audience = guild.map_or(Audience::Everyone, Audience::Guild);
        self.tell(News::to_people("COMMANDS_UPDATE", audience, json!({})));
    }

    /// Takes a command away, as if the bot had stopped registering it.
    pub fn remove_command(&mut self, name: &str) {
        self.commands.by_id.retain(|_, command| command.name != name);
        self.tell_commands(None);
    }

    /// The commands that a person is offered anywhere.
    pub(super) fn commands_for(&self, person: Id) -> Value {
        let guilds: Vec<Id> = self
            .guilds
            .values()
            .filter(|guild| guild.members.contains_key(&person))
            .map(|guild| guild.id)
            .collect();
        let offered = |command: &&Command| {
            self.usable_in_direct(command)
                || guilds.iter().any(|guild| self.usable_in_guild(person, command, *guild))
        };
        self.commands.by_id.values().filter(offered).map(|command| self.object(command)).collect()
    }

    /// The command that a person means by this name or id in this channel. A guild's own goes first.
    pub(super) fn offered(&self, person: Id, channel: Id, kind: u8, wanted: &str) -> Option<&Command> {
        let guild = self.guild_of(channel);
        let meant = |c: &&Command| c.kind == kind && (c.name == wanted || c.id.to_string() == wanted);
        let usable = |c: &&Command| match guild {
            Some(guild) => {
                self.usable_in_guild(person, c, guild) && self.may(person, channel, USE_APPLICATION_COMMANDS)
            }
            None => self.usable_in_direct(c),
        };
        let found = self.commands.by_id.values().filter(meant).filter(usable);
        found.max_by_key(|command| command.guild.is_some())
    }

    fn usable_in_guild(&self, person: Id, command: &Command, guild: Id) -> bool {
        let bot_there = self.guilds.get(&guild).is_some_and(|g| g.members.contains_key(&self.application.id));
        let registered = command.guild.is_none_or(|scope| scope == guild);
        let needed = text::id(&command.body["default_member_permissions"]);
        let held = self.guild_permissions(person, guild);
        // `0` stands for administrators only.
        let permitted = match needed {
            None => true,
            Some(0) => held & ADMINISTRATOR != 0,
            Some(needed) => held & needed == needed,
        };
        bot_there && registered && permitted && in_context(command, 0)
    }

    fn usable_in_direct(&self, command: &Command) -> bool {
        command.guild.is_none() && in_context(command, 1) && command.body["dm_permission"] != json!(false)
    }
}

fn in_context(command: &Command, context: u64) -> bool {
    let Some(contexts) = command.body["contexts"].as_array() else { return true };
    contexts.iter().any(|one| one.as_u64() == Some(context))
}

fn kind(body: &Value) -> u8 {
    body["type"].as_u64().and_then(|kind| u8::try_from(kind).ok()).unwrap_or(SLASH)
}

fn name(body: &Value) -> &str {
    body["name"].as_str().unwrap_or_default()
}

fn check_list(list: &[Value], form: &mut Form) {
    let mut seen = BTreeSet::new();
    for (index, body) in list.iter().enumerate() {
        check(body, &format!("{index}."), form);
        if !seen.insert((kind(body), name(body))) {
            let message = "Application command names must be unique";
            form.wrong(&format!("{index}.name"), "APPLICATION_COMMANDS_DUPLICATE_NAME", message);
        }
    }
    for (kind, max) in (1..).zip(COMMANDS_MAX) {
        let count = list.iter().filter(|body| self::kind(body) == kind).count();
        if count > max {
            form.wrong("_", "BASE_TYPE_MAX_LENGTH", format!("Must be {max} or fewer in length."));
        }
    }
}

fn check(body: &Value, path: &str, form: &mut Form) {
    match kind(body) {
        SLASH => {
            check_name(&body["name"], &format!("{path}name"), form);
            form.text(&format!("{path}description"), &body["description"], 1, DESCRIPTION_MAX);
            check_options(&body["options"], &format!("{path}options"), 0, form);
        }
        USER_MENU | MESSAGE_MENU => {
            form.text(&format!("{path}name"), &body["name"], 1, NAME_MAX);
            if !body["description"].as_str().unwrap_or_default().is_empty() {
                let message = "Context menu commands cannot have description";
                form.wrong(&format!("{path}description"), "APPLICATION_COMMAND_MENU_DESCRIPTION", message);
            }
        }
        _ => form.wrong(&format!("{path}type"), "BASE_TYPE_CHOICES", "Value must be one of {1, 2, 3}."),
    }
    if text_size(body) > COMMAND_TEXT_MAX {
        let message = format!("Command exceeds maximum size ({COMMAND_TEXT_MAX})");
        form.wrong(&format!("{path}_"), "APPLICATION_COMMAND_TOO_LARGE", message);
    }
}

/// `-`, `_`, `'`, letters and digits, in lower case where the script has any.
fn check_name(value: &Value, path: &str, form: &mut Form) {
    let name = form.text(path, value, 1, NAME_MAX);
    let plain = |c: char| c.is_alphanumeric() || "-_'".contains(c);
    if !name.chars().all(plain) || name.to_lowercase() != name {
        form.wrong(path, "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid");
    }
}

/// `depth` counts the subcommands around: a group holds subcommands, and they hold plain options.
fn check_options(options: &Value, path: &str, depth: usize, form: &mut Form) {
    let options = options.as_array().map_or(&[][..], Vec::as_slice);
    if options.len() > OPTIONS_MAX {
        form.between(path, options.len(), 0, OPTIONS_MAX);
    }
    let (mut seen, mut optional_before) = (BTreeSet::new(), false);
    for (index, option) in options.iter().enumerate() {
        let path = format!("{path}.{index}");
        check_name(&option["name"], &format!("{path}.name"), form);
        form.text(&format!("{path}.description"), &option["description"], 1, DESCRIPTION_MAX);
        if !seen.insert(name(option)) {
            let message = "Option names must be unique";
            form.wrong(&format!("{path}.name"), "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", message);
        }
        if optional_before && option["required"] == json!(true) {
            let message = "Required options must be placed before non-required options";
            form.wrong(&path, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", message);
        }
        optional_before |= option["required"] != json!(true);
        check_option(option, options, &path, depth, form);
    }
}

fn check_option(option: &Value, siblings: &[Value], path: &str, depth: usize, form: &mut Form) {
    let is_sub = |option: &Value| matches!(option["type"].as_u64(), Some(SUB_COMMAND | SUB_COMMAND_GROUP));
    match option["type"].as_u64() {
        Some(SUB_COMMAND) if depth < 2 => {
            check_options(&option["options"], &format!("{path}.options"), 2, form)
        }
        Some(SUB_COMMAND_GROUP) if depth == 0 => {
            check_options(&option["options"], &format!("{path}.options"), 1, form);
        }
        Some(kind @ TEXT..=LAST_KIND) if depth != 1 => check_choices(option, kind, path, form),
        _ => {
            let message = "Sub-command option cannot be nested here";
            form.wrong(&format!("{path}.type"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", message);
        }
    }
    if siblings.iter().any(|other| is_sub(other) != is_sub(option)) {
        let message =
            "Sub-command and sub-command group option types are mutually exclusive to all other types";
        form.wrong(&format!("{path}.type"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", message);
    }
}

fn check_choices(option: &Value, kind: u64, path: &str, form: &mut Form) {
    let choices = option["choices"].as_array().map_or(&[][..], Vec::as_slice);
    if choices.len() > CHOICES_MAX {
        form.between(&format!("{path}.choices"), choices.len(), 0, CHOICES_MAX);
    }
    if !choices.is_empty()
        && (option["autocomplete"] == json!(true) || ![TEXT, INTEGER, NUMBER].contains(&kind))
    {
        let message = "Choices go with neither autocomplete nor this type";
        form.wrong(&format!("{path}.choices"), "APPLICATION_COMMAND_OPTION_CHOICES_INVALID", message);
    }
    for (index, choice) in choices.iter().enumerate() {
        form.text(&format!("{path}.choices.{index}.name"), &choice["name"], 1, CHOICE_MAX);
        let value = choice["value"].as_str().unwrap_or_default();
        form.at_most(&format!("{path}.choices.{index}.value"), value, CHOICE_MAX);
    }
}

/// Names, descriptions and choice values, the whole tree of them.
fn text_size(body: &Value) -> usize {
    let own = ["name", "description", "value"].iter().filter_map(|field| body[*field].as_str());
    let inner = ["options", "choices"].iter().filter_map(|field| body[*field].as_array()).flatten();
    own.map(|text| text.chars().count()).sum::<usize>() + inner.map(text_size).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Play;
    use super::*;

    fn slash(name: &str) -> Value {
        json!({"name": name, "description": "does things"})
    }

    fn wrong(play: &mut Play, command: Value) -> String {
        let (status, body) = play.register(json!([command]));
        assert_eq!(status, 400, "{body}");
        body["errors"].to_string()
    }

    #[test]
    fn a_list_replaces_the_one_before_and_keeps_ids() {
        let mut play = Play::new();
        let (_, first) = play.register(json!([slash("rem"), slash("old")]));
        let changed = json!({"name": "rem", "description": "remembers", "type": 1});
        let (status, second) = play.register(json!([changed, {"name": "Remember this", "type": 3}]));
        assert_eq!(status, 200);
        let by_name = |list: &Value, name: &str| {
            list.as_array().unwrap().iter().find(|command| command["name"] == name).cloned()
        };
        let (before, after) = (by_name(&first, "rem").unwrap(), by_name(&second, "rem").unwrap());
        assert_eq!(before["id"], after["id"]);
        assert_ne!(before["version"], after["version"]);
        assert!(by_name(&second, "old").is_none());
        assert_eq!(play.shown(play.ann, "COMMANDS_UPDATE").len(), 2);
        assert_eq!(play.world.view(play.ann)["commands"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn malformed_commands_are_refused() {
        let mut play = Play::new();
        assert!(wrong(&mut play, slash("Upper")).contains("APPLICATION_COMMAND_INVALID_NAME"));
        assert!(wrong(&mut play, slash("two words")).contains("APPLICATION_COMMAND_INVALID_NAME"));
        assert!(wrong(&mut play, slash(&"x".repeat(33))).contains("BASE_TYPE_BAD_LENGTH"));
        assert!(wrong(&mut play, json!({"name": "x"})).contains("BASE_TYPE_REQUIRED"));
        let option = |name: &str, required: bool| json!({"name": name, "description": "d", "type": 3, "required": required});
        let with = |options: Value| json!({"name": "x", "description": "d", "options": options});
        let order = with(json!([option("a", false), option("b", true)]));
        assert!(wrong(&mut play, order).contains("OPTIONS_REQUIRED_INVALID"));
        assert!(
            wrong(&mut play, with(json!([option("a", true), option("a", true)]))).contains("ALREADY_EXISTS")
        );
        let deep = json!({"name": "s", "description": "d", "type": 1, "options": [
            {"name": "t", "description": "d", "type": 1}]});
        assert!(wrong(&mut play, with(json!([deep]))).contains("OPTIONS_TYPE_INVALID"));
        let mixed = json!([{"name": "s", "description": "d", "type": 1}, option("a", true)]);
        assert!(wrong(&mut play, with(mixed)).contains("OPTIONS_TYPE_INVALID"));
        let (_, body) = play.register(json!([slash("a"), slash("a")]));
        assert!(body.to_string().contains("DUPLICATE_NAME"));
        let many: Vec<Value> = (0..101).map(|n| slash(&format!("c{n}"))).collect();
        assert_eq!(play.register(json!(many)).0, 400);
        let (_, group) = play
            .register(json!([with(json!([{"name": "g", "description": "d", "type": 2, "options": [
            {"name": "s", "description": "d", "type": 1, "options": [option("a", true)]}]}]))]));
        assert_eq!(group[0]["name"], "x");
    }

    #[test]
    fn two_hundred_new_commands_a_day() {
        let mut play = Play::new();
        let batch =
            |from: usize| json!((from..from + 100).map(|n| slash(&format!("c{n}"))).collect::<Vec<_>>());
        assert_eq!(play.register(batch(0)).0, 200);
        assert_eq!(play.register(batch(0)).0, 200, "known names are free");
        assert_eq!(play.register(batch(100)).0, 200);
        assert_eq!(play.register(batch(200)).1["code"], 30034);
        play.wait(24.0 * 60.0 * 60.0 + 1.0);
        assert_eq!(play.register(batch(200)).0, 200);
    }

    #[test]
    fn commands_are_offered_where_and_to_whom_they_belong() {
        let mut play = Play::new();
        let admin = json!({"name": "admin", "description": "d", "default_member_permissions": "32"});
        let guild_only = json!({"name": "here", "description": "d", "contexts": [0]});
        play.register(json!([admin, guild_only, slash("both")]));
        let (zoo, ann) = (play.zoo, play.ann);
        let names = |play: &Play, channel: Id| {
            let offered = |name: &&&str| play.world.offered(play.ann, channel, SLASH, name).is_some();
            ["admin", "here", "both"]
                .iter()
                .filter(offered)
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&play, play.cats), ["here", "both"]);
        let direct = play.world.direct(ann);
        assert_eq!(names(&play, direct), ["admin", "both"]);
        let manager = play.zoo().role("manager", super::super::permission::MANAGE_GUILD);
        play.zoo().grant(ann, manager);
        assert_eq!(names(&play, play.cats), ["admin", "here", "both"]);
        play.world.change_role(zoo, zoo, |role| role.permissions &= !USE_APPLICATION_COMMANDS);
        assert!(names(&play, play.cats).is_empty());
    }
}
