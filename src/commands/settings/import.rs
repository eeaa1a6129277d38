//! What a server has decided, out of a file: each part is checked as if it were typed, and written as one revision.

use anyhow::ensure;

use crate::commands::data::{Found, Mode, TakenBack, Wrote, words};
use crate::commands::{self, ALL};
use crate::context::{Context, Error, Result, refuse};
use crate::dynamo::Item;
use crate::dynamo::raw::record_of;
use crate::history::Revision;
use crate::markdown::code;
use crate::settings::{Settings, Subject};

use super::part::{self, Part};
use super::{cooldown, rules, values};

/// Parts of what a server has decided, as a file tells of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// Each with its value.
    pub parts: Vec<(Part, String)>,
    /// What is about something that is not here any more, in words.
    pub left_out: Vec<String>,
}

impl Decisions {
    /// Reads the item of the table.
    pub fn read(ctx: &Context, item: Item) -> anyhow::Result<Self> {
        let record: Settings = record_of(item)?;
        let mut decisions = Self::default();
        for setting in values::ALL {
            if let Some(value) = (setting.get)(&record) {
                (setting.set)(&mut Settings::new(0), Some(&value)).map_err(words)?;
                decisions.parts.push((Part::Setting(setting), value));
            }
        }
        for (command, cooldown) in &record.cooldowns {
            let known = commands::named(command).is_some();
            ensure!(known, "there is no command {}", code(command));
            ensure!(cooldown::is_short_enough(cooldown), "the cooldown of {} is too long", code(command));
            decisions.parts.push((Part::Cooldown(command.clone()), cooldown::text(cooldown)));
        }
        ensure!(record.rules.len() <= rules::RULES_MAX, "it has more than {} rules", rules::RULES_MAX);
        for rule in &record.rules {
            let covers = |name: &str| {
                name == "*"
                    || ALL.iter().flat_map(|feature| feature.commands).any(|command| command.is_of(name))
            };
            ensure!(covers(&rule.command), "there is no command {}", code(&rule.command));
            let part = Part::Rule(rule.command.clone(), rule.subject);
            ensure!(decisions.parts.iter().all(|(known, _)| *known != part), "a rule is there twice");
            if is_here(ctx, rule.subject) {
                let value = if rule.allow { "allow" } else { "deny" };
                decisions.parts.push((part, value.to_owned()));
            } else {
                decisions.left_out.push(part.name(&ctx.prefix));
            }
        }
        Ok(decisions)
    }
}

fn is_here(ctx: &Context, subject: Subject) -> bool {
    let (discord, server_id) = (&ctx.services.discord, ctx.cause.server_id);
    match subject {
        Subject::Role(id) => discord.has_role(server_id, id),
        Subject::Channel(id) => discord.has_channel(server_id, id),
        Subject::Person(id) => crate::context::snowflake(&id.to_string()).is_some(),
        Subject::Everyone => true,
    }
}

/// How a part differs from what is there.
pub fn compare(settings: &Settings, part: &Part, value: &str) -> Found {
    match part.get(settings) {
        None => Found::New,
        Some(now) if now == value => Found::Equal,
        Some(_) => Found::Different,
    }
}

/// The command that somebody would have to be allowed to type for it.
pub fn needs(part: &Part, value: &str) -> &'static str {
    match part {
        Part::Setting(_) => "settings set",
        Part::Cooldown(_) => "cooldown",
        Part::Rule(..) if value == "allow" => "allow",
        Part::Rule(..) => "deny",
    }
}

/// How many rules there would be.
pub fn check<'a>(settings: &Settings, written: impl Iterator<Item = &'a Part>) -> anyhow::Result<()> {
    let new = written.filter(|part| matches!(part, Part::Rule(..)) && part.get(settings).is_none()).count();
    let count = settings.rules.len() + new;
    ensure!(
        new == 0 || count <= rules::RULES_MAX,
        "with it this server would have {count} rules; the limit is {}",
        rules::RULES_MAX
    );
    Ok(())
}

/// Writes one part, for the cause in `ctx`.
pub async fn write(ctx: &Context, part: &Part, value: &str, batch: u64, mode: Mode) -> Result<Wrote> {
    let stays = |settings: &Settings| match (compare(settings, part, value), mode) {
        (Found::Equal, _) | (Found::Different, Mode::Skip) => refuse("it stays as it is"),
        (Found::New, _) if matches!(part, Part::Rule(..)) && settings.rules.len() >= rules::RULES_MAX => {
            refuse("there are too many rules")
        }
        _ => Ok(()),
    };
    match part::import(ctx, part, value, batch, stays).await {
        Ok(_) => Ok(Wrote::Written),
        Err(Error::Refused(_)) => Ok(Wrote::Kept),
        Err(error) => Err(error),
    }
}

/// Takes back what an import did to one part, unless it was changed since.
pub async fn take_back(ctx: &Context, row: &Revision) -> Result<TakenBack> {
    match part::take_back(ctx, row).await {
        Ok(done) if done.event_id == Some(ctx.cause.id.0) => Ok(TakenBack::Now),
        Ok(_) => Ok(TakenBack::Before),
        Err(Error::Refused(_)) => Ok(TakenBack::ChangedSince),
        Err(error) => Err(error),
    }
}
