//! `.echo`: say it back, pinging only those whom the caller could have pinged.

use crate::context::{
    Answer, Args, Command, Context, Error, Feature, Kind, Param, Pings, Reply, Result, person,
};

pub const FEATURE: Feature = Feature {
    name: "echo",
    commands: &[Command {
        prefix: &["echo"],
        slash: &["echo"],
        summary: "Say something back",
        usage: "<text>",
        options: &[Param::required("text", "What to say", Kind::Text)],
        run: |ctx, args| Box::pin(echo(ctx, args)),
        ..Command::DEFAULT
    }],
    ..Feature::EMPTY
};

/// Discord parses no more than this many people in `allowed_mentions`.
const PINGS_MAX: usize = 100;

async fn echo(ctx: Context, args: Args) -> Result<Answer> {
    let text = args.text("text").map_err(|_| Error::Usage("I have nothing to say back".into()))?;
    Ok(repeat(text.trim(), ctx.caller.mentions_everyone).into())
}

fn repeat(text: &str, mentions_everyone: bool) -> Reply {
    let mut people: Vec<u64> = text
        .split('<')
        .filter_map(|piece| Some(format!("<{}>", piece.split_once('>')?.0)))
        .filter_map(|mention| person(&mention))
        .collect();
    people.sort_unstable();
    people.dedup();
    people.truncate(PINGS_MAX);
    Reply { pings: Pings { people, roles_and_everyone: mentions_everyone }, ..text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_people_the_caller_wrote_are_pinged() {
        let reply = repeat("hi <@123456789012345678> and <@!123456789012345679> @everyone", false);
        assert_eq!(reply.pings.people, [123_456_789_012_345_678, 123_456_789_012_345_679]);
        assert!(!reply.pings.roles_and_everyone);
        assert!(repeat("@here", true).pings.roles_and_everyone);
        assert!(repeat("<@&123456789012345678> <@12>", false).pings.people.is_empty());
    }
}
