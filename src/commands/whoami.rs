//! `.whoami`: how the bot sees its caller.

use crate::context::{Answer, Args, Caller, Command, Context, Door, Feature, Result};
use crate::markdown::{code, person};
use crate::people::Person;
use crate::settings::{Settings, Subject};

pub const FEATURE: Feature = Feature {
    name: "whoami",
    commands: &[Command {
        prefix: &["whoami"],
        slash: &["whoami"],
        summary: "Show who you are to me",
        private: true,
        run: |ctx, args| Box::pin(whoami(ctx, args)),
        ..Command::DEFAULT
    }],
    ..Feature::EMPTY
};

async fn whoami(ctx: Context, _: Args) -> Result<Answer> {
    // What they are is true without their zone; only a store that is away hides it.
    let zone = match ctx.dynamo().get_eventually::<Person>(ctx.caller.id).await {
        Ok(found) => found.and_then(|person| person.timezone),
        Err(_) => None,
    };
    let in_server = ctx.cause.server_id != 0 && ctx.door != Door::DirectMessage;
    let mut lines = vec![describe(&ctx.caller, in_server), zones(zone.as_deref(), &ctx.settings)];
    lines.extend(rules(&ctx.prefix, &ctx.settings, &ctx.caller));
    Ok(lines.join("\n").into())
}

/// Whose zone counts: the person's, the server's, UTC.
fn zones(own: Option<&str>, settings: &Settings) -> String {
    match (own, settings.timezone.as_deref()) {
        (Some(own), _) => format!("Time zone: {own}"),
        (None, Some(server)) => format!("Time zone: {server}, as in this server"),
        (None, None) => "Time zone: UTC, as you have set none".to_owned(),
    }
}

/// The rules that name the caller, or a role of theirs.
fn rules<'a>(
    prefix: &'a str,
    settings: &'a Settings,
    caller: &'a Caller,
) -> impl Iterator<Item = String> + 'a {
    let about = |subject| match subject {
        Subject::Person(id) => id == caller.id,
        Subject::Role(id) => caller.roles.contains(&id),
        Subject::Channel(_) | Subject::Everyone => false,
    };
    let named = settings.rules.iter().enumerate().filter(move |(_, rule)| about(rule.subject));
    named.take(RULES_SHOWN).map(move |(place, rule)| {
        let verb = if rule.allow { "allows" } else { "denies" };
        let command =
            if rule.command == "*" { code("*") } else { code(&format!("{prefix}{}", rule.command)) };
        format!("Rule {} {verb} {command} for {}", place + 1, rule.subject)
    })
}

/// More would not be read.
const RULES_SHOWN: usize = 20;

fn describe(caller: &Caller, in_server: bool) -> String {
    let mut levels = vec!["everyone"];
    if in_server && caller.moderator {
        levels.push("moderator (Manage Messages)");
    }
    if in_server && caller.admin {
        levels.push("admin (Manage Server)");
    }
    if caller.bot_owner {
        levels.push("bot owner");
    }
    let place = if in_server { "here" } else { "in direct messages" };
    let id = code(&caller.id.to_string());
    format!("{} - id {id}\nLevels {place}: {}", person(caller.id), levels.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_place() {
        let caller = Caller {
            id: 12_345_678_901_234_567,
            name: "ann".into(),
            moderator: true,
            admin: false,
            bot_owner: true,
            ..Caller::default()
        };
        let here = describe(&caller, true);
        assert!(here.ends_with("Levels here: everyone, moderator (Manage Messages), bot owner"), "{here}");
        assert!(describe(&caller, false).ends_with("Levels in direct messages: everyone, bot owner"));
    }
}
