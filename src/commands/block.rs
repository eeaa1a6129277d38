//! `.block`, `.unblock` and `.blocked`: people who cannot use the bot in one server.

use crate::bans::{self, Ban, Scope, Who};
use crate::commands::ban::{self, Terms};
use crate::commands::pages::Page;
use crate::commands::undo::{self, TOO_OLD};
use crate::context::{
    Answer, Args, Card, Colour, Command, Context, Control, Error, Feature, Kind, Level, Param, Pays, Place,
    Reply, Result, Undo, refuse,
};
use crate::dynamo::TableSpec;
use crate::history::{self, Revision};
use crate::markdown::{cut, person, plain, time};

pub const FEATURE: Feature = Feature {
    name: "block",
    commands: &[
        Command {
            prefix: &["block"],
            slash: &["block add"],
            summary: "Keep somebody from using me in this server",
            usage: "<@user> [for <duration>] [because <reason>]",
            options: &[
                Param::required("user", "Who", Kind::Person),
                Param::optional("for", "For how long", Kind::Text),
                Param::optional("reason", "Why", Kind::Text),
            ],
            parse: ban::parse,
            pays: Pays::WithItsChange,
            run: |ctx, args| Box::pin(async move { block(&ctx, &args).await.map(Answer::Reply) }),
            ..FOR_ADMINS
        },
        Command {
            prefix: &["unblock"],
            slash: &["block remove"],
            summary: "Let somebody use me in this server again",
            usage: "<@user>",
            options: &[Param::required("user", "Who", Kind::Person)],
            pays: Pays::WithItsChange,
            run: |ctx, args| Box::pin(async move { unblock(&ctx, &args).await.map(Answer::Reply) }),
            ..FOR_ADMINS
        },
        Command {
            prefix: &["blocked"],
            slash: &["block list"],
            summary: "List who cannot use me in this server",
            run: |ctx, _| Box::pin(async move { Answer::of_reading(list(&ctx, 0).await) }),
            ..FOR_ADMINS
        },
    ],
    controls: &[Control {
        verb: "blocked",
        command: Some("blocked"),
        run: |ctx, press| {
            Box::pin(async move { list(&ctx, press.fields.parse().unwrap_or(0)).await.map(Answer::Update) })
        },
    }],
    tables: &[TableSpec::of::<Ban>()],
    undo: &[Undo { kind: bans::KIND, command: "block", run: |ctx, row| Box::pin(take_back(ctx, row)) }],
    ..Feature::EMPTY
};

const FOR_ADMINS: Command =
    Command { place: Place::Server, level: Level::Admin, private: true, ..Command::DEFAULT };

/// People shown at once.
const SHOWN: usize = 20;

fn scope(ctx: &Context) -> Scope {
    Scope::Server(ctx.cause.server_id)
}

async fn block(ctx: &Context, args: &Args) -> Result<Reply> {
    let who = ban::whom(args)?;
    let terms = ban::terms(args)?;
    if who == ctx.caller.id || is_immune(ctx, who).await? {
        return refuse("⚠ You can't block them");
    }
    let already = format!("ℹ️ {} is already blocked", person(who));
    ban::ban(ctx, scope(ctx), Who::Person(who), &terms, "block", already).await?;
    Ok(changed(ctx, blocked(ctx, who, &terms)))
}

/// Whoever manages the server or owns the bot.
async fn is_immune(ctx: &Context, who: u64) -> Result<bool> {
    let instance = &ctx.services.instance;
    if instance.bot_owners.contains(&who) {
        return Ok(true);
    }
    let standing = ctx.services.discord.standing(ctx.cause.server_id, &[], who).await?;
    Ok(standing.is_some_and(|standing| standing.caller(who, instance).admin))
}

fn blocked(ctx: &Context, who: u64, terms: &Terms) -> String {
    let until = terms.length.map(|length| format!(" until {}", time(ctx.cause.at.plus(length))));
    format!("⛔ {} can't use me in this server{}", person(who), until.unwrap_or_default())
}

fn unblocked(who: u64) -> String {
    format!("✅ {} can use me again", person(who))
}

fn changed(ctx: &Context, text: String) -> Reply {
    Reply::from(text).buttons(vec![undo::button(ctx.cause.id.0)])
}

async fn unblock(ctx: &Context, args: &Args) -> Result<Reply> {
    let who = ban::whom(args)?;
    let none = format!("ℹ️ {} is not blocked", person(who));
    ban::lift(ctx, scope(ctx), Who::Person(who), "unblock", none).await?;
    Ok(changed(ctx, unblocked(who)))
}

async fn list(ctx: &Context, number: usize) -> Result<Reply> {
    let list = ctx.services.bans.in_server_now(ctx.dynamo(), ctx.cause.server_id).await?;
    let lines: Vec<String> = list.holding(ctx.cause.at).map(line).collect();
    if lines.is_empty() {
        return Ok("Nobody is blocked in this server".into());
    }
    let page = Page::of(&lines, number, SHOWN);
    let text = format!("**Blocked: {}**\n\n{}", lines.len(), page.items.join("\n"));
    let card = Card { title: "⛔ Blocked".into(), text, colour: Colour::Blue, footer: None };
    Ok(Reply::from(card).buttons(page.buttons(|number| Some(format!("blocked:{number}")))))
}

/// `• @x - reason, until <t>`
fn line(ban: &Ban) -> String {
    format!("• {}{}", person(ban.who().map_or(0, Who::id)), terms_of(ban))
}

/// Why and how long, as lists show it.
pub fn terms_of(ban: &Ban) -> String {
    let reason = ban.reason.as_deref().map(|reason| format!(" - {}", plain(&cut(reason, 100))));
    let until = ban.until.map(|until| format!(", until {}", time(until)));
    reason.unwrap_or_default() + &until.unwrap_or_default()
}

/// Takes back a block, or its end, if it was the last thing that happened to it.
async fn take_back(ctx: Context, row: Revision) -> Result<Reply> {
    let too_old = || Error::Refused(TOO_OLD.to_owned());
    let (_, subject) = row.thing().ok_or_else(too_old)?;
    let who = Who::parse(&subject).ok_or_else(too_old)?;
    let key = (scope(&ctx).text(), who.text());
    let lifts = row.op == "block" || row.op == "undo" && row.value.is_some();
    let revert = |head: &Ban, _: &history::Undone| {
        let lifted_at = lifts.then_some(ctx.cause.at);
        Ok::<_, Error>(Ban { lifted_at, ..head.clone() }.next("undo"))
    };
    let event = row.event_id.unwrap_or_default();
    match history::undo(ctx.dynamo(), &ctx.cause, key, event, revert).await? {
        history::Undo::Done(done) => ctx.services.bans.changed(done.head, ctx.dynamo().now()),
        history::Undo::Already(_) => {}
        history::Undo::Unknown => return Err(too_old()),
        history::Undo::Contended => {
            return refuse("⚠ Others are changing that right now; have a look and try again");
        }
        history::Undo::MovedOn(head) => {
            let by = head.and_then(|ban| ban.by).map_or_else(|| "someone".to_owned(), person);
            return refuse(format!("⚠ That has been changed since by {by}"));
        }
    }
    let text = if lifts { unblocked(who.id()) } else { blocked(&ctx, who.id(), &Terms::default()) };
    Ok(format!("↩️ Undone: {text}").into())
}
