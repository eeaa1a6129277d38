//! `.whoami`: how the bot sees its caller.

use crate::context::{Answer, Args, Caller, Command, Context, Door, Feature, Result};
use crate::markdown::{code, person};

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
    Ok(describe(&ctx.caller, ctx.cause.server_id != 0 && ctx.door != Door::DirectMessage).into())
}

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
