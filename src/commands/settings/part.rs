//! [`Part`]: one thing in the settings that has a text value or none, and how it is changed and taken back.

use crate::commands::undo::{self, TOO_OLD};
use crate::context::{Context, Error, Reply, Result, refuse};
use crate::dynamo::{Dynamo, Query};
use crate::history::{self, Change, Next, Revision, Row, Thing};
use crate::markdown::{code, person, plain};
use crate::settings::{self, Rule, Settings, Subject};

use super::{cooldown, rules, values};

/// The kinds of their rows in the history.
pub const SETTING: &str = settings::KIND;
pub const RULE: &str = "rule";

/// What the id of a cooldown's rows begins with.
const COOLDOWN: &str = "cooldown ";

/// A part of what a server has decided. Its rows in the history are its own.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Setting(&'static values::Setting),
    /// Of the command with this name.
    Cooldown(String),
    /// For this command or group, about this subject.
    Rule(String, Subject),
}

impl Part {
    pub fn thing(&self, server_id: u64) -> Thing {
        let (kind, id) = match self {
            Self::Setting(setting) => (SETTING, setting.name.to_owned()),
            Self::Cooldown(command) => (SETTING, format!("{COOLDOWN}{command}")),
            Self::Rule(command, subject) => (RULE, format!("{command} {}", rules::subject_id(*subject))),
        };
        Thing { server_id, kind, id }
    }

    /// The part that a row is about.
    pub fn of(row: &Revision) -> Option<Self> {
        match row.thing()? {
            (SETTING, id) => match id.strip_prefix(COOLDOWN) {
                Some(command) => Some(Self::Cooldown(command.to_owned())),
                None => values::named(&id).map(Self::Setting),
            },
            (RULE, id) => {
                let (command, subject) = id.rsplit_once(' ')?;
                Some(Self::Rule(command.to_owned(), rules::subject_of_id(subject)?))
            }
            _ => None,
        }
    }

    /// How people see it.
    pub fn name(&self, prefix: &str) -> String {
        match self {
            Self::Setting(setting) => code(setting.name),
            Self::Cooldown(command) => format!("the cooldown of {}", code(&format!("{prefix}{command}"))),
            Self::Rule(command, subject) => format!("{} for {subject}", rules::shown(prefix, command)),
        }
    }

    /// Its value; `None` where nothing was decided.
    pub fn get(&self, settings: &Settings) -> Option<String> {
        match self {
            Self::Setting(setting) => (setting.get)(settings),
            Self::Cooldown(command) => settings.cooldowns.get(command).map(cooldown::text),
            Self::Rule(command, subject) => {
                let rule = settings.rules.iter().find(|rule| rule.is(command, *subject))?;
                Some(if rule.allow { "allow" } else { "deny" }.to_owned())
            }
        }
    }

    /// Gives it this value, or none. The value is one that it could have.
    pub fn set(&self, settings: &mut Settings, value: Option<&str>) -> Result<()> {
        match self {
            Self::Setting(setting) => (setting.set)(settings, value)?,
            Self::Cooldown(command) => match value {
                Some(text) => {
                    settings.cooldowns.insert(command.clone(), cooldown::read(text)?);
                }
                None => {
                    settings.cooldowns.remove(command);
                }
            },
            Self::Rule(command, subject) => {
                let place = settings.rules.iter().position(|rule| rule.is(command, *subject));
                match (place, value.map(|value| value == "allow")) {
                    (Some(place), Some(allow)) => settings.rules[place].allow = allow,
                    (Some(place), None) => {
                        settings.rules.remove(place);
                    }
                    (None, Some(allow)) => {
                        let (command, subject) = (command.clone(), *subject);
                        settings.rules.push(Rule { allow, command, subject });
                    }
                    (None, None) => {}
                }
            }
        }
        Ok(())
    }

    /// Its value in words, when it has none too.
    fn words(&self, ctx: &Context, value: Option<&str>) -> String {
        match (self, value) {
            (Self::Setting(setting), None) => (setting.default)(&ctx.services.instance, ctx.cause.server_id),
            (Self::Setting(_), Some(value)) => value.to_owned(),
            (Self::Cooldown(_), None) => cooldown::NONE.to_owned(),
            (Self::Cooldown(_), Some(text)) => {
                cooldown::read(text).map_or_else(|_| text.to_owned(), |cooldown| cooldown::once_in(&cooldown))
            }
            (Self::Rule(..), None) => "without a rule".to_owned(),
            (Self::Rule(..), Some(value)) => if value == "allow" { "allowed" } else { "denied" }.to_owned(),
        }
    }
}

/// What was decided of a part: what it was, and what it is now.
pub struct Decided {
    pub value: String,
    pub old: String,
    event: u64,
}

impl Decided {
    /// A reply about it, with its Undo button.
    pub fn reply(&self, text: String) -> Reply {
        Reply::from(text).buttons(vec![undo::button(self.event)])
    }
}

/// The settings as they are in the store now.
pub async fn current(ctx: &Context) -> Result<Settings> {
    let server_id = ctx.cause.server_id;
    let found: Option<Settings> = ctx.dynamo().get(server_id).await?;
    let settings = found.unwrap_or_else(|| Settings::new(server_id));
    ctx.services.settings.changed(settings.clone(), ctx.dynamo().now());
    Ok(settings)
}

/// Gives a part another value. `check` refuses what the settings as they are do not allow.
pub async fn assign(
    ctx: &Context,
    part: &Part,
    value: Option<&str>,
    op: &'static str,
    check: impl Fn(&Settings) -> Result<()>,
) -> Result<Decided> {
    let row = change(ctx, part, value, op, Row::default(), check).await?;
    Ok(Decided {
        value: part.words(ctx, row.value.as_deref()),
        old: part.words(ctx, row.old.as_deref()),
        event: ctx.cause.id.0,
    })
}

/// The same as a part of an import.
pub async fn import(
    ctx: &Context,
    part: &Part,
    value: &str,
    batch: u64,
    check: impl Fn(&Settings) -> Result<()>,
) -> Result<Revision> {
    change(ctx, part, Some(value), "import", Row { batch: Some(batch), ..Row::default() }, check).await
}

/// `marks` is what its row holds besides what was and is.
async fn change(
    ctx: &Context,
    part: &Part,
    value: Option<&str>,
    op: &'static str,
    marks: Row,
    check: impl Fn(&Settings) -> Result<()>,
) -> Result<Revision> {
    let server_id = ctx.cause.server_id;
    let named = match part {
        Part::Rule(_, Subject::Person(id)) => Some(*id),
        _ => None,
    };
    for person in std::iter::once(ctx.cause.actor_id).chain(named) {
        ctx.services.noted.note(ctx.dynamo(), person, server_id).await?;
    }
    let decide = |head: Option<&Settings>| {
        let before = head.cloned().unwrap_or_else(|| Settings::new(server_id));
        check(&before)?;
        let mut after = before.clone();
        part.set(&mut after, value)?;
        let row = Row {
            name: Some(part.thing(server_id).id),
            value: part.get(&after),
            old: part.get(&before),
            keep: before.keep(),
            ..marks.clone()
        };
        Ok::<_, Error>(Next { head: after, op, row })
    };
    let thing = part.thing(server_id);
    match history::change_part(ctx.dynamo(), &ctx.cause, server_id, thing, decide).await? {
        Change::Done(done) => {
            ctx.services.settings.changed(done.head, ctx.dynamo().now());
            Ok(done.row)
        }
        Change::Already(row) => Ok(row),
        Change::Contended => {
            refuse("⚠ The settings are being changed by others right now; have a look and try again")
        }
    }
}

/// What the Undo button does.
pub async fn undo(ctx: Context, row: Revision) -> Result<Reply> {
    let part = Part::of(&row).ok_or_else(too_old)?;
    let done = take_back(&ctx, &row).await?;
    Ok(told(&ctx, &part, &done).into())
}

/// Takes back the change that a row tells of, unless the same part was changed since. The row of that, which an
/// earlier event may have written.
pub async fn take_back(ctx: &Context, row: &Revision) -> Result<Revision> {
    let part = Part::of(row).ok_or_else(too_old)?;
    let event = row.event_id.unwrap_or_default();
    let thing = part.thing(ctx.cause.server_id);
    let newest = newest(ctx.dynamo(), &thing, event).await?.ok_or_else(too_old)?;
    if newest.undoes == Some(event.to_string()) {
        return Ok(newest);
    }
    if newest.event_id != Some(event) {
        return refuse(moved_on(ctx, &part, &newest));
    }
    let unchanged = |settings: &Settings| match part.get(settings) == newest.value {
        true => Ok(()),
        false => refuse(moved_on(ctx, &part, &newest)),
    };
    let marks = Row { undoes: Some(event), ..Row::default() };
    change(ctx, &part, newest.old.as_deref(), "undo", marks, unchanged).await
}

/// The last row of a part. A cheap read that finds the event's own is right enough: whether it still holds is
/// decided on the head. What it does not find is looked for again.
async fn newest(dynamo: &Dynamo, thing: &Thing, event: u64) -> Result<Option<Revision>> {
    let last = || {
        Query::<Revision>::of(thing.server_id)
            .between(thing.entry(0), thing.entry(u64::MAX))
            .newest_first()
            .limit(1)
    };
    let cheap = dynamo.query(last().eventually()).await?.records.pop();
    if cheap.as_ref().is_some_and(|row| row.event_id == Some(event)) {
        return Ok(cheap);
    }
    Ok(dynamo.query(last()).await?.records.pop())
}

fn too_old() -> Error {
    Error::Refused(TOO_OLD.to_owned())
}

fn told(ctx: &Context, part: &Part, row: &Revision) -> String {
    let (name, value) = (part.name(&ctx.prefix), plain(&part.words(ctx, row.value.as_deref())));
    format!("↩️ Undone: {name} is **{value}** again")
}

fn moved_on(ctx: &Context, part: &Part, newest: &Revision) -> String {
    let by = newest.by.filter(|id| *id != 0).map_or_else(|| "someone".to_owned(), person);
    format!("⚠ {} has been changed since (revision {} by {by})", part.name(&ctx.prefix), newest.rev)
}
