//! Server control: what admins decide about the bot in their server.
//!
//! All of it is one record, in [`part`]s with a text value each, so that setting, taking back and showing
//! them is the same for a setting, a rule and a cooldown.

use crate::context::{Answer, Command, Control, Feature, Kind, Level, Param, Pays, Place, Undo};
use crate::context::{Choice, Result, Services, Typing};
use crate::cooldowns::Taken;
use crate::dynamo::TableSpec;
use crate::people::Person;
use crate::settings::Settings;

pub use cooldown::duration;
pub use rules::plain as plain_name;

mod cooldown;
pub mod import;
pub mod part;
mod rules;
#[cfg(test)]
mod tests;
mod values;

pub const FEATURE: Feature = Feature {
    name: "settings",
    commands: COMMANDS,
    controls: &[Control {
        verb: "rules",
        command: Some("rules"),
        run: |ctx, press| {
            Box::pin(async move {
                Ok(Answer::Update(rules::page(&ctx, press.fields.parse().unwrap_or(0)).await?))
            })
        },
    }],
    tables: &[TableSpec::of::<Settings>(), TableSpec::of::<Person>(), TableSpec::of::<Taken>()],
    undo: &[
        Undo { kind: part::SETTING, command: "settings", run: |ctx, row| Box::pin(part::undo(ctx, row)) },
        Undo { kind: part::RULE, command: "rules", run: |ctx, row| Box::pin(part::undo(ctx, row)) },
    ],
    ..Feature::EMPTY
};

/// What only those may do who manage the server, for their own eyes.
const FOR_ADMINS: Command =
    Command { place: Place::Server, level: Level::Admin, private: true, ..Command::DEFAULT };

const NAME: Param = Param::required("name", "Which setting", Kind::Choice(values::NAMES));
const COMMAND: Param =
    Param::required("command", "A command, a group of them, or * for all", Kind::Text).suggesting(suggest);
const SUBJECT: Param = Param::required("subject", "A person, a role, a channel, or everyone", Kind::Text);

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["settings", "settings view"],
        slash: &["settings view"],
        summary: "Show what this server has decided about me",
        run: |ctx, _| Box::pin(async move { Answer::of_reading(values::show(&ctx).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["settings set"],
        slash: &["settings set"],
        summary: "Change a setting of this server",
        usage: "<name> <value>",
        options: &[NAME, Param::required("value", "What it shall be", Kind::Text)],
        parse: values::parse,
        pays: Pays::WithItsChange,
        run: |ctx, args| {
            Box::pin(
                async move { answer(values::set(&ctx, args.text("name")?, Some(args.text("value")?)).await) },
            )
        },
        ..FOR_ADMINS
    },
    Command {
        prefix: &["settings reset"],
        slash: &["settings reset"],
        summary: "Make a setting of this server what it was at first",
        usage: "<name>",
        options: &[NAME],
        parse: values::parse,
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(values::set(&ctx, args.text("name")?, None).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["prefix"],
        slash: &["settings prefix"],
        summary: "Show what stands before my commands here, or change it",
        usage: "[new]",
        options: &[Param::optional("new", "1 to 5 characters, not only letters or digits", Kind::Text)],
        level: Level::Everyone,
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(values::prefix(&ctx, args.maybe_text("new")).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["allow"],
        slash: &["perms allow"],
        summary: "Let somebody use a command here",
        usage: "<command> <@person | @role | #channel | everyone>",
        options: &[COMMAND, SUBJECT],
        parse: rules::parse,
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(rules::add(&ctx, &args, true).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["deny"],
        slash: &["perms deny"],
        summary: "Keep somebody from using a command here",
        usage: "<command> <@person | @role | #channel | everyone>",
        options: &[COMMAND, SUBJECT],
        parse: rules::parse,
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(rules::add(&ctx, &args, false).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["rules"],
        slash: &["perms list"],
        summary: "List who may use what here",
        run: |ctx, _| Box::pin(async move { Answer::of_reading(rules::page(&ctx, 0).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["rules remove"],
        slash: &["perms remove"],
        summary: "Remove a rule by its number",
        usage: "<number>",
        options: &[Param::required("number", "Its number in the list", rules::NUMBER)],
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(rules::remove(&ctx, args.integer("number")).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["rules test"],
        slash: &["perms test"],
        summary: "Show whether somebody may use a command here, and why",
        usage: "<@user> <command>",
        options: &[Param::required("user", "Who", Kind::Person), COMMAND],
        run: |ctx, args| Box::pin(async move { Answer::of_reading(rules::test(&ctx, &args).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["cooldown"],
        slash: &["settings cooldown"],
        summary: "Set how often a command may be used here",
        usage: "<command> <duration|off> [per user|channel|server]",
        options: &[
            Param::required("command", "Which command", Kind::Text).suggesting(suggest),
            Param::required("duration", "Once in how long, or off", Kind::Text),
            Param::optional("per", "What shares it", Kind::Choice(&["user", "channel", "server"])),
        ],
        parse: cooldown::parse,
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(cooldown::set(&ctx, &args).await) }),
        ..FOR_ADMINS
    },
];

fn answer(reply: Result<crate::context::Reply>) -> Result<Answer> {
    reply.map(Answer::Reply)
}

fn suggest(services: &std::sync::Arc<Services>, typing: Typing<'_>) -> Vec<Choice> {
    super::help::suggest(services, typing)
}
