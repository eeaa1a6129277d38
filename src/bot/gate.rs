//! Who may run what, in one place for all doors.

use crate::context::{Caller, Command, Level, Place, Result, refuse};
use crate::markdown::code;

/// Refuses, with the rule in words, or lets the caller through.
pub fn check(command: &Command, caller: &Caller, in_server: bool, prefix: &str) -> Result<()> {
    if command.place == Place::Server && !in_server {
        return refuse("Please run this command in a Discord channel, not a DM");
    }
    if caller.has(command.level) {
        return Ok(());
    }
    match (command.level, command.level.needs()) {
        (Level::BotOwner, _) | (_, None) => refuse("This command is only available to bot admins."),
        (_, Some(needed)) => {
            let name = code(&format!("{prefix}{}", command.name()));
            refuse(format!("⛔ You can't use {name} here: it needs {needed}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller() -> Caller {
        Caller {
            id: 1,
            name: "ann".into(),
            moderator: false,
            admin: false,
            mentions_everyone: false,
            bot_owner: false,
        }
    }

    #[test]
    fn levels_and_places_are_checked() {
        let lock = Command {
            prefix: &["mem lock"],
            level: Level::Moderator,
            place: Place::Server,
            ..Command::DEFAULT
        };
        let refusal =
            |caller: &Caller, in_server| check(&lock, caller, in_server, ".").map_err(|e| e.to_string());
        assert_eq!(
            refusal(&caller(), true),
            Err("⛔ You can't use `.mem lock` here: it needs Manage Messages".into())
        );
        assert_eq!(refusal(&Caller { moderator: true, ..caller() }, true), Ok(()));
        assert_eq!(
            refusal(&Caller { moderator: true, ..caller() }, false),
            Err("Please run this command in a Discord channel, not a DM".into())
        );
        let ban = Command { prefix: &["ban"], level: Level::BotOwner, ..Command::DEFAULT };
        assert!(check(&ban, &Caller { admin: true, ..caller() }, true, ".").is_err());
        assert!(check(&ban, &Caller { bot_owner: true, ..caller() }, false, ".").is_ok());
    }
}
