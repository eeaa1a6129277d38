//! `.sparkle`: a word of thanks that is counted.
//!
//! Every sparkle is a row of a ledger that nobody changes, in the history; totals, day boards and rows are
//! written together, so they agree whatever happens. Giving is in [`give`], taking back in [`take_back`],
//! reading in [`ledger`].

mod give;
mod grammar;
mod ledger;
mod record;
#[cfg(test)]
mod storm;
mod take_back;
#[cfg(test)]
mod tests;
mod view;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::context::{
    Answer, Args, Command, Context, Control, Error, Feature, Input, Kind, Menu, Modal, Param, Pays, Place,
    Press, Reply, Result, Target, Undo, not_a_person, refuse,
};
use crate::dynamo::TableSpec;

pub use ledger::{totals, totals_board};

use ledger::Part;
pub use record::Sparkles;

pub const FEATURE: Feature = Feature {
    name: "sparkle",
    commands: COMMANDS,
    controls: CONTROLS,
    menus: &[Menu {
        name: "✨ Sparkle",
        command: "sparkle",
        place: Place::Server,
        run: |ctx, target| Box::pin(async move { ask_why(&ctx, &target).await }),
    }],
    tables: &[TableSpec::of::<Sparkles>()],
    undo: &[Undo {
        kind: record::KIND,
        command: "sparkles undo",
        run: |ctx, row| Box::pin(async move { take_back::pressed(&ctx, &row).await }),
    }],
    ..Feature::EMPTY
};

const USER: Param = Param::optional("user", "Whose", Kind::Person);

const IN_SERVER: Command = Command { place: Place::Server, ..Command::DEFAULT };

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["sparkle"],
        slash: &["sparkle"],
        summary: "Thank somebody with a sparkle",
        usage: "@user [for <reason>]",
        options: &[
            Param::required("user", "Who gets it", Kind::Person),
            Param::optional("reason", "What for", Kind::Text),
        ],
        parse: |_, text| Ok(Args::new().with_text("line", text)),
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { sparkle(&ctx, &args).await }),
        ..IN_SERVER
    },
    Command {
        prefix: &["show sparkles"],
        slash: &["sparkles show"],
        summary: "Show how many sparkles somebody has, and what for",
        usage: "[[for] @user]",
        options: &[USER],
        parse: maybe_person,
        run: |ctx, args| {
            Box::pin(async move { reading(ledger::show(&ctx, whose(&ctx, &args), Part::Newest).await) })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["sparkles given"],
        slash: &["sparkles given"],
        summary: "Show how many sparkles somebody has given, and the last ones",
        usage: "[@user]",
        options: &[USER],
        parse: maybe_person,
        run: |ctx, args| Box::pin(async move { reading(ledger::given(&ctx, whose(&ctx, &args)).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["sparkles log"],
        slash: &["sparkles log"],
        summary: "Show the last sparkles here, or those of one person",
        usage: "[@user]",
        options: &[USER],
        parse: maybe_person,
        run: |ctx, args| {
            Box::pin(async move { reading(ledger::log(&ctx, args.person("user"), Part::Newest).await) })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["sparkles undo"],
        slash: &["sparkles undo"],
        summary: "Take back your last sparkle, or the one with this id",
        usage: "[id]",
        options: &[Param::optional("id", "The id, from the log", Kind::Text)],
        pays: Pays::WithItsChange,
        run: |ctx, args| {
            Box::pin(async move { take_back::asked(&ctx, args.maybe_text("id")).await.map(Answer::Reply) })
        },
        ..IN_SERVER
    },
];

const CONTROLS: &[Control] = &[
    Control {
        verb: "sparkle",
        command: Some("sparkle"),
        run: |ctx, press| Box::pin(async move { submitted(&ctx, &press).await.map(Answer::Reply) }),
    },
    Control {
        verb: "sparkles-show",
        command: Some("show sparkles"),
        run: |ctx, press| Box::pin(async move { updated(ledger::show_page(&ctx, &press.fields).await) }),
    },
    Control {
        verb: "sparkles-log",
        command: Some("sparkles log"),
        run: |ctx, press| Box::pin(async move { updated(ledger::log_page(&ctx, &press.fields).await) }),
    },
    Control {
        verb: "sparkles-undo",
        command: Some("sparkles undo"),
        run: |ctx, press| {
            Box::pin(async move {
                let chosen = press.values.first().map(String::as_str);
                take_back::asked(&ctx, Some(chosen.unwrap_or_default())).await.map(Answer::Reply)
            })
        },
    },
];

/// The answer of a command that changes nothing: if the store is silent, trying again is harmless.
fn reading(reply: Result<Reply>) -> Result<Answer> {
    match reply {
        Err(Error::Store(error)) => Err(Error::Read(error)),
        other => other.map(Answer::Reply),
    }
}

/// The answer to a page button.
fn updated(reply: Result<Reply>) -> Result<Answer> {
    reading(reply).map(|answer| match answer {
        Answer::Reply(reply) => Answer::Update(reply),
        other => other,
    })
}

fn maybe_person(_: &Command, text: &str) -> Result<Args> {
    let who = grammar::parse_person(text)?;
    Ok(who.into_iter().fold(Args::new(), |args, id| args.with("user", crate::context::Value::Person(id))))
}

fn whose(ctx: &Context, args: &Args) -> u64 {
    args.person("user").unwrap_or(ctx.caller.id)
}

async fn sparkle(ctx: &Context, args: &Args) -> Result<Answer> {
    let asked = match args.maybe_text("line") {
        Some(line) => grammar::parse(line)?,
        // The text door's words may be none at all.
        None if args.get("line").is_some() => grammar::parse("")?,
        None => grammar::Sparkle {
            to: args.person("user").ok_or_else(not_a_person)?,
            reason: grammar::read_reason(args.maybe_text("reason").unwrap_or_default())?,
        },
    };
    may_get(ctx, asked.to).await?;
    give::give(ctx, asked.to, asked.reason.as_deref()).await.map(Answer::Reply)
}

/// Nobody thanks themselves, or a machine.
async fn may_get(ctx: &Context, to: u64) -> Result<()> {
    if to == ctx.caller.id {
        return refuse("You can't sparkle yourself but nice try");
    }
    if is_bot(ctx, to).await? {
        return refuse("🤖 Bots don't need sparkles");
    }
    Ok(())
}

/// Whether a member is a bot. Who is not here is taken for a person: they may have been.
async fn is_bot(ctx: &Context, id: u64) -> Result<bool> {
    let known = ctx.services.state::<Known>();
    if let Some(bot) = known.bot(id) {
        return Ok(bot);
    }
    let Some(member) = ctx.services.discord.member(ctx.cause.server_id, id).await? else { return Ok(false) };
    known.note(id, member.bot);
    Ok(member.bot)
}

/// Accounts kept; beyond it all are asked for anew.
const KNOWN_MAX: usize = 50_000;

/// Which accounts are bots. That never changes, so Discord is asked once.
#[derive(Default)]
struct Known(Mutex<HashMap<u64, bool>>);

impl Known {
    fn bot(&self, id: u64) -> Option<bool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    fn note(&self, id: u64, bot: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(id, bot);
    }
}

/// The menu of a message: a modal that asks what its author is thanked for.
async fn ask_why(ctx: &Context, target: &Target) -> Result<Answer> {
    may_get(ctx, target.author_id).await?;
    Ok(Answer::Modal(Modal {
        id: format!("sparkle:{}", target.author_id),
        title: "✨ Sparkle".to_owned(),
        inputs: vec![Input {
            id: "reason".to_owned(),
            label: "What for?".to_owned(),
            value: String::new(),
            placeholder: "You may leave this empty".to_owned(),
            max_length: grammar::REASON_CHARS_MAX as u16,
            paragraph: false,
            required: false,
        }],
    }))
}

async fn submitted(ctx: &Context, press: &Press) -> Result<Reply> {
    let to = press.fields.parse().ok().filter(|id: &u64| id.to_string() == press.fields);
    let to = to.ok_or_else(|| Error::Refused(crate::commands::undo::TOO_OLD.to_owned()))?;
    let reason = grammar::read_reason(press.input("reason").unwrap_or_default())?;
    may_get(ctx, to).await?;
    give::give(ctx, to, reason.as_deref()).await
}
