//! What the owners of the bot can do: bans of the instance, its servers, its log, its restart.

use crate::bans::{Ban, Scope, Who};
use crate::commands::ban;
use crate::commands::block::terms_of;
use crate::commands::pages::Page;
use crate::context::{
    Answer, Args, Card, Colour, Command, Context, Control, Door, Error, Feature, Kind, Level, Param, Pays,
    Reply, Result, refuse, snowflake,
};
use crate::markdown::{self, block, code, number, person, plain};
use crate::telemetry;

pub const FEATURE: Feature =
    Feature { name: "admin", commands: COMMANDS, controls: CONTROLS, ..Feature::EMPTY };

const FOR_OWNERS: Command = Command { level: Level::BotOwner, private: true, ..Command::DEFAULT };

const USER: Param = Param::required("user", "A mention or an id", Kind::Text);
const SERVER: Param = Param::required("server", "The server's id", Kind::Text);
const LENGTH: Param = Param::optional("for", "For how long", Kind::Text);
const REASON: Param = Param::optional("reason", "Why", Kind::Text);

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["ban"],
        slash: &["admin ban-user"],
        summary: "Keep somebody from using me anywhere",
        usage: "<@user|id> [for <duration>] [because <reason>]",
        options: &[USER, LENGTH, REASON],
        parse: ban::parse,
        pays: Pays::WithItsChange,
        run: |ctx, args| {
            Box::pin(async move {
                let who = Who::Person(ban::whom(&args)?);
                ban(&ctx, who, &args).await
            })
        },
        ..FOR_OWNERS
    },
    Command {
        prefix: &["unban"],
        slash: &["admin unban-user"],
        summary: "Let somebody use me again",
        usage: "<@user|id>",
        options: &[USER],
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { unban(&ctx, Who::Person(ban::whom(&args)?)).await }),
        ..FOR_OWNERS
    },
    Command {
        prefix: &["ban server"],
        slash: &["admin ban-server"],
        summary: "Keep a whole server from using me",
        usage: "<id> [for <duration>] [because <reason>]",
        options: &[SERVER, LENGTH, REASON],
        parse: |command, text| {
            let args = ban::parse(command, text)?;
            let server = args.maybe_text("user").unwrap_or_default().to_owned();
            Ok(args.with_text("server", server))
        },
        pays: Pays::WithItsChange,
        run: |ctx, args| {
            Box::pin(async move {
                let who = server(&args)?;
                ban(&ctx, who, &args).await
            })
        },
        ..FOR_OWNERS
    },
    Command {
        prefix: &["unban server"],
        slash: &["admin unban-server"],
        summary: "Let a server use me again",
        usage: "<id>",
        options: &[SERVER],
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { unban(&ctx, server(&args)?).await }),
        ..FOR_OWNERS
    },
    Command {
        prefix: &["banned users"],
        slash: &["admin banned-users"],
        summary: "List who is banned",
        run: |ctx, _| Box::pin(async move { banned(&ctx, List::Users, 0).map(Answer::Reply) }),
        ..FOR_OWNERS
    },
    Command {
        prefix: &["banned servers"],
        slash: &["admin banned-servers"],
        summary: "List the servers that are banned",
        run: |ctx, _| Box::pin(async move { banned(&ctx, List::Servers, 0).map(Answer::Reply) }),
        ..FOR_OWNERS
    },
    Command {
        prefix: &["users"],
        slash: &["admin users"],
        summary: "Count the people in the servers that I am in",
        offline: true,
        run: |ctx, _| Box::pin(async move { Ok(users(&ctx).into()) }),
        ..FOR_OWNERS
    },
    Command {
        prefix: &["servers"],
        slash: &["admin servers"],
        summary: "List the servers that I am in",
        offline: true,
        run: |ctx, _| Box::pin(async move { Ok(servers(&ctx, 0).into()) }),
        ..FOR_OWNERS
    },
    Command {
        prefix: &["reboot", "restart"],
        slash: &["admin reboot"],
        summary: "Finish what is running, and start anew",
        offline: true,
        run: |ctx, _| Box::pin(async move { Ok(reboot(&ctx).into()) }),
        ..FOR_OWNERS
    },
    Command {
        prefix: &["log tail"],
        slash: &["admin log"],
        summary: "Show the last lines of my log",
        usage: "[lines]",
        options: &[Param::optional("lines", "How many, 40 unless you say", LINES)],
        offline: true,
        run: |ctx, args| Box::pin(async move { log(&ctx, &args).map(Answer::Reply) }),
        ..FOR_OWNERS
    },
];

const CONTROLS: &[Control] = &[
    Control {
        verb: "banned-users",
        command: Some("banned users"),
        run: |ctx, press| {
            Box::pin(async move { banned(&ctx, List::Users, page_in(&press.fields)).map(Answer::Update) })
        },
    },
    Control {
        verb: "banned-servers",
        command: Some("banned servers"),
        run: |ctx, press| {
            Box::pin(async move { banned(&ctx, List::Servers, page_in(&press.fields)).map(Answer::Update) })
        },
    },
    Control {
        verb: "servers",
        command: Some("servers"),
        run: |ctx, press| Box::pin(async move { Ok(Answer::Update(servers(&ctx, page_in(&press.fields)))) }),
    },
];

/// Shown at once: servers have long names.
const SHOWN: usize = 25;
const NAME_MAX: usize = 60;

const LINES: Kind = Kind::Integer { min: 1, max: telemetry::LINES_KEPT as i64 };
const LINES_USUAL: usize = 40;

fn page_in(fields: &str) -> usize {
    fields.parse().unwrap_or(0)
}

fn server(args: &Args) -> Result<Who> {
    let id = snowflake(args.maybe_text("server").unwrap_or_default().trim());
    id.map(Who::Server)
        .ok_or_else(|| Error::Refused("⚠ I need the id of a server: 17 to 20 digits".to_owned()))
}

/// `User: ‹id›`
fn subject(who: Who) -> String {
    let kind = if matches!(who, Who::Person(_)) { "User" } else { "Server" };
    format!("{kind}: {}", code(&who.id().to_string()))
}

async fn ban(ctx: &Context, who: Who, args: &Args) -> Result<Answer> {
    let terms = ban::terms(args)?;
    if matches!(who, Who::Person(id) if ctx.services.instance.bot_owners.contains(&id)) {
        return refuse("⚠ You can't ban a bot owner");
    }
    let already = format!("ℹ️ {} is already banned", subject(who));
    ban::ban(ctx, Scope::Instance, who, &terms, "ban", already).await?;
    let until = terms.length.map(|length| format!(" until {}", markdown::time(ctx.cause.at.plus(length))));
    Ok(format!("⛔ {} has been **banned**{}", subject(who), until.unwrap_or_default()).into())
}

async fn unban(ctx: &Context, who: Who) -> Result<Answer> {
    let none = format!("ℹ️ {} is **not** banned. Nothing to do...", subject(who));
    ban::lift(ctx, Scope::Instance, who, "unban", none).await?;
    Ok(format!("✅ {} has been **removed** from the ban list", subject(who)).into())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Users,
    Servers,
}

/// The list as this process knows it, at most half a minute old.
fn banned(ctx: &Context, of: List, number: usize) -> Result<Reply> {
    let Some(list) = ctx.services.bans.instance() else { return refuse("⏳ I have not read the list yet") };
    let fits = |ban: &&Ban| match ban.who() {
        Some(Who::Person(_)) => of == List::Users,
        Some(Who::Server(_)) => of == List::Servers,
        None => false,
    };
    let bans: Vec<&Ban> = list.holding(ctx.cause.at).filter(fits).collect();
    let (name, verb) =
        if of == List::Users { ("Users", "banned-users") } else { ("Servers", "banned-servers") };
    let page = Page::of(&bans, number, SHOWN);
    let mut text = format!("**Banned {name}: {}**\n\n", bans.len());
    for ban in page.items {
        let id = ban.who().map_or(0, Who::id).to_string();
        text.push_str(&format!("• {}{}\n", code(&id), terms_of(ban)));
    }
    let text = text.trim_end().to_owned();
    let card = Card { title: format!("⛔ Banned {name}"), text, colour: Colour::Blue, footer: None };
    Ok(Reply::from(card).buttons(page.buttons(|number| Some(format!("{verb}:{number}")))))
}

/// Somebody who is in two servers counts twice: nobody tells the bot who its members are.
fn users(ctx: &Context) -> String {
    let members: u64 = ctx.services.discord.servers().iter().map(|server| server.members).sum();
    format!("**Total Users: {}**", number(usize::try_from(members).unwrap_or(usize::MAX)))
}

fn servers(ctx: &Context, page: usize) -> Reply {
    let servers = ctx.services.discord.servers();
    let page = Page::of(&servers, page, SHOWN);
    let line = |server: &crate::context::discord::Server| {
        let name = plain(&markdown::cut(&server.name, NAME_MAX));
        let (id, owner) = (code(&server.id.to_string()), person(server.owner_id));
        let members =
            if server.members == 1 { "1 member".to_owned() } else { format!("{} members", server.members) };
        format!("• **{name}** {id} - {owner} - {members}")
    };
    let lines: Vec<String> = page.items.iter().map(line).collect();
    let card = Card {
        title: "📊 Active Server Information".into(),
        text: format!("**Total Servers: {}**\n\n{}", servers.len(), lines.join("\n")),
        colour: Colour::White,
        footer: None,
    };
    Reply::from(card).buttons(page.buttons(|number| Some(format!("servers:{number}"))))
}

/// The answer is sent before the process ends: it is one of the commands that are waited for.
fn reboot(ctx: &Context) -> Reply {
    // Delivered again after the restart, it has had its effect.
    if ctx.services.instance.started_at.is_none_or(|started| started <= ctx.cause.at) {
        ctx.services.restart.cancel();
    }
    Reply::from(Card {
        title: "🔄 Rebooting...".into(),
        text: "I will be back in a few seconds when I reboot...".into(),
        colour: Colour::Yellow,
        footer: None,
    })
}

fn log(ctx: &Context, args: &Args) -> Result<Reply> {
    if matches!(ctx.door, Door::Prefix | Door::Mention) {
        return refuse("⚠ My log is for your eyes only: ask in a direct message, or use `/admin log`");
    }
    let count = args.integer("lines").and_then(|lines| usize::try_from(lines).ok()).unwrap_or(LINES_USUAL);
    let lines = telemetry::last_lines(count);
    if lines.is_empty() {
        return Ok("My log is empty".into());
    }
    let text = lines.join("\n");
    let shown = block("", &text).filter(|block| block.chars().count() <= SHOWN_MAX);
    Ok(match shown {
        Some(block) => block.into(),
        None => Reply {
            text: format!("The last {} lines", lines.len()),
            files: vec![crate::context::File { name: "log.txt".into(), bytes: text.into_bytes() }],
            ..Reply::default()
        },
    }
    .private())
}

/// Longer, and a block would be split.
const SHOWN_MAX: usize = 2_000;
