//! Who may do what: levels, and the rules by which a server narrows or widens them.
//!
//! The first class with a matching rule decides: person, role, channel, everyone. Inside a class deny beats
//! allow. Without a rule the level decides. An allow rule lifts Manage Messages, never more; and whoever
//! manages the server keeps the commands by which rules are made.

use crate::context::{Caller, Command, Level, Place, Result, refuse};
use crate::markdown::{code, person};
use crate::settings::{Rule, Settings, Subject};

/// People with Manage Server are never locked out of these.
const NEVER_LOCKED: [&str; 6] = ["settings", "prefix", "allow", "deny", "rules", "help"];

/// Whether somebody may, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub may: bool,
    pub because: Because,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// Of the command's level, which they have or lack; no rule is about them.
    Level(Level),
    /// A rule says so, counted from 1.
    Rule(usize),
    /// A rule denies it, but they manage the server.
    NeverLocked,
}

/// The commands that a call is: itself, and the one that it does the same as.
#[derive(Clone, Copy)]
pub struct Asked {
    pub command: &'static Command,
    pub same_as: Option<&'static Command>,
}

impl From<&'static Command> for Asked {
    fn from(command: &'static Command) -> Self {
        Self { command, same_as: None }
    }
}

impl Asked {
    /// The command by whose name cooldowns are kept.
    pub fn counts_as(self) -> &'static Command {
        self.same_as.unwrap_or(self.command)
    }
}

/// What the rules of a server and the level of a command say about somebody, at this level.
pub fn decide_at(rules: &[Rule], command: &Command, level: Level, caller: &Caller) -> Verdict {
    let matching = |(_, rule): &(usize, &Rule)| rule.command == "*" || command.is_of(&rule.command);
    let matching: Vec<(usize, &Rule)> = rules.iter().enumerate().filter(matching).collect();
    let classes: [&dyn Fn(Subject) -> bool; 4] = [
        &|subject| matches!(subject, Subject::Person(id) if id == caller.id),
        &|subject| matches!(subject, Subject::Role(id) if caller.roles.contains(&id)),
        &|subject| matches!(subject, Subject::Channel(id) if caller.channels.contains(&id)),
        &|subject| subject == Subject::Everyone,
    ];
    let of_level = |because| Verdict { may: caller.has(level), because };
    for class in classes {
        let mut of_class = matching.iter().filter(|(_, rule)| class(rule.subject));
        let Some(&first) = of_class.clone().next() else { continue };
        if let Some((place, _)) = of_class.find(|(_, rule)| !rule.allow) {
            let kept = caller.admin && NEVER_LOCKED.iter().any(|name| command.is_of(name));
            return match kept {
                true => of_level(Because::NeverLocked),
                false => Verdict { may: false, because: Because::Rule(place + 1) },
            };
        }
        let lifted = matches!(level, Level::Everyone | Level::Moderator);
        return if lifted || caller.has(level) {
            Verdict { may: true, because: Because::Rule(first.0 + 1) }
        } else {
            of_level(Because::Level(level))
        };
    }
    of_level(Because::Level(level))
}

/// The same at the command's own level.
pub fn decide(rules: &[Rule], command: &Command, caller: &Caller) -> Verdict {
    decide_at(rules, command, command.level, caller)
}

/// Refuses, with the rule in words, or lets the caller through.
pub fn check(
    asked: Asked,
    caller: &Caller,
    settings: &Settings,
    in_server: bool,
    prefix: &str,
) -> Result<()> {
    for command in std::iter::once(asked.command).chain(asked.same_as) {
        if command.place == Place::Server && !in_server {
            return refuse("Please run this command in a Discord channel, not a DM");
        }
        check_at(command, command.level, caller, settings, prefix)?;
    }
    Ok(())
}

/// The same for a part of a command that has another level than the rest of it.
pub fn check_at(
    command: &Command,
    level: Level,
    caller: &Caller,
    settings: &Settings,
    prefix: &str,
) -> Result<()> {
    let verdict = decide_at(&settings.rules, command, level, caller);
    if verdict.may {
        return Ok(());
    }
    let why = match verdict.because {
        Because::Level(Level::BotOwner) => {
            return refuse("This command is only available to bot admins.");
        }
        because => refusal(&settings.rules, command, level, &because),
    };
    refuse(format!("⛔ You can't use {} here: {why}", code(&format!("{prefix}{}", command.name()))))
}

/// Why somebody may not, in words.
pub fn refusal(rules: &[Rule], command: &Command, level: Level, because: &Because) -> String {
    let Because::Rule(number) = because else {
        return format!("it needs {}", level.needs().unwrap_or_default());
    };
    match rules.get(number - 1).map(|rule| rule.subject) {
        Some(Subject::Person(id)) => format!("this server doesn't allow it for {}", person(id)),
        Some(Subject::Role(id)) => format!("this server doesn't allow it for <@&{id}>"),
        Some(Subject::Channel(id)) => format!("this server doesn't allow it in <#{id}>"),
        Some(Subject::Everyone) | None => {
            let only = allowed_for(rules, command);
            if only.is_empty() {
                "this server doesn't allow it".to_owned()
            } else {
                format!("this server allows it only for {}", only.join(", "))
            }
        }
    }
}

/// How many of those who are allowed something are named.
const NAMED_MAX: usize = 5;

/// The roles, and where there are none the channels and people, that are allowed a command.
fn allowed_for(rules: &[Rule], command: &Command) -> Vec<String> {
    let allowed = rules.iter().filter(|rule| rule.allow && command.is_of(&rule.command));
    let mut names: Vec<(bool, String)> = allowed
        .filter(|rule| rule.subject != Subject::Everyone)
        .map(|rule| (!matches!(rule.subject, Subject::Role(_)), rule.subject.to_string()))
        .collect();
    names.sort();
    names.into_iter().map(|(_, name)| name).take(NAMED_MAX).collect()
}

#[cfg(test)]
mod tests;
