//! `.privacy`: what the bot keeps about a person, for them to see, to take along and to have forgotten.
//!
//! Nothing here knows a table: what is gathered, and what is forgotten, follows from the classes that every
//! record declares ([`crate::dynamo::Privacy`]). [`forget`] is a job that a restart does not stop, and so is
//! [`left`], which clears what a server leaves behind that has removed the bot.

mod export;
mod forget;
mod left;

use std::sync::Arc;

use crate::cause::Cause;
use crate::commands;
use crate::context::{
    Answer, Args, Caller, Card, Command, Context, Control, Door, Error, Feature, Job, Kind, Level, Param,
    Reply, Result, Services, not_a_person,
};
use crate::dynamo::{Column, Dynamo, Place, Places, Reach, TableSpec, Update};
use crate::people::Person;

pub use left::{server_joined, server_left};

pub const FEATURE: Feature = Feature {
    name: "privacy",
    commands: COMMANDS,
    controls: &[Control {
        verb: "forget",
        command: Some("privacy forget"),
        run: |ctx, press| {
            Box::pin(async move { forget::pressed(&Call::of(&ctx), &press.fields).await.map(Answer::Update) })
        },
    }],
    jobs: &[
        Job { kind: forget::KIND, run: |services, due| Box::pin(forget::run(services, due)) },
        Job { kind: left::KIND, run: |services, due| Box::pin(left::purge(services, due)) },
    ],
    ..Feature::EMPTY
};

const PRIVATE: Command = Command { private: true, ..Command::DEFAULT };

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["privacy"],
        slash: &["privacy status"],
        summary: "Show what I keep about you",
        run: |ctx, _| Box::pin(async move { status(&Call::of(&ctx)).await.map(Answer::Reply) }),
        ..PRIVATE
    },
    Command {
        prefix: &["privacy export"],
        slash: &["privacy export"],
        summary: "Get what I keep about you, as a file",
        run: |ctx, _| Box::pin(async move { export::export(&Call::of(&ctx)).await.map(Answer::Reply) }),
        ..PRIVATE
    },
    Command {
        prefix: &["privacy forget"],
        slash: &["privacy forget"],
        summary: "Make me forget you",
        run: |ctx, _| Box::pin(async move { Ok(forget::ask(ctx.cause.actor_id).into()) }),
        ..PRIVATE
    },
    Command {
        prefix: &["privacy stats"],
        slash: &["privacy stats"],
        summary: "Show your statistics to others, or keep them private",
        usage: "on|off",
        options: &[Param::required("show", "Whether others may see them", Kind::Bool)],
        parse: on_or_off,
        run: |ctx, args| Box::pin(async move { stats(&Call::of(&ctx), &args).await.map(Answer::Reply) }),
        ..PRIVATE
    },
    Command {
        prefix: &["privacy process"],
        slash: &["admin erase"],
        summary: "Forget a person who asked for it by another way",
        usage: "<user id>",
        options: &[Param::required("user", "The id of the person", Kind::Text)],
        level: Level::BotOwner,
        run: |_, args| {
            Box::pin(async move {
                let person = crate::context::person(args.text("user")?.trim()).ok_or_else(not_a_person)?;
                Ok(forget::ask(person).into())
            })
        },
        ..PRIVATE
    },
];

fn on_or_off(command: &Command, text: &str) -> Result<Args> {
    let args = Args::by_position(command, text).ok().filter(|args| args.get("show").is_some());
    args.ok_or_else(|| Error::Usage("Your statistics are on or off".to_owned()))
}

/// Who asks, and through which door.
struct Call {
    services: Arc<Services>,
    cause: Cause,
    caller: Caller,
    door: Door,
    prefix: Arc<str>,
}

impl Call {
    fn of(ctx: &Context) -> Self {
        Self {
            services: ctx.services.clone(),
            cause: ctx.cause.clone(),
            caller: ctx.caller.clone(),
            door: ctx.door,
            prefix: ctx.prefix.clone(),
        }
    }

    fn dynamo(&self) -> &Dynamo {
        &self.services.dynamo
    }
}

/// Every table and every partition of it that may hold something about a person, who is known in these
/// servers.
fn places(services: &Services, person: u64, servers: &[u64]) -> Vec<(TableSpec, Place)> {
    let mut all = Vec::new();
    let now = services.dynamo.now();
    for table in commands::tables() {
        for server_id in std::iter::once(0).chain(servers.iter().copied()) {
            let reach = Reach { server_id, now, only_people: true };
            let places = table.personal.places.of(Some(person), &reach);
            all.extend(places.into_iter().map(|place| (table, place)));
        }
    }
    all
}

/// The servers whose records name a person.
async fn servers_of(dynamo: &Dynamo, person: u64) -> Result<Vec<u64>, crate::dynamo::Error> {
    let person: Option<Person> = dynamo.get(person).await?;
    Ok(person.map(|person| person.guilds.into_iter().collect()).unwrap_or_default())
}

/// `.privacy`
async fn status(call: &Call) -> Result<Reply> {
    /// Servers that are named.
    const SERVERS_MAX: usize = 20;
    let servers = servers_of(call.dynamo(), call.cause.actor_id).await.map_err(Error::Read)?;
    let discord = &call.services.discord;
    let mut names: Vec<String> = servers
        .iter()
        .take(SERVERS_MAX)
        .map(|server_id| discord.server_name(*server_id).unwrap_or_else(|| server_id.to_string()))
        .map(|name| crate::markdown::plain(&name))
        .collect();
    if servers.len() > SERVERS_MAX {
        names.push(format!("and {} more", servers.len() - SERVERS_MAX));
    }
    let servers = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let tables = commands::tables();
    let personal = tables.iter().filter(|table| !matches!(table.personal.places, Places::Nowhere));
    let lines: String =
        personal.map(|table| format!("\n• `{}` - kept {}", table.name, table.personal.kept)).collect();
    let typed = |command: &str| crate::markdown::code(&format!("{}{command}", call.prefix));
    let text = format!(
        "Servers whose records may name you: {servers}\nWhat I keep there, and for you:{lines}\n\n\
         {} sends you all of it, {} makes me forget you",
        typed("privacy export"),
        typed("privacy forget")
    );
    Ok(Card { title: "🔏 What I keep about you".to_owned(), text, ..Card::default() }.into())
}

const STATS_PRIVATE: Column<Person, bool> = Column::new("stats_private");

/// `.privacy stats`
async fn stats(call: &Call, args: &Args) -> Result<Reply> {
    let show = args.flag("show");
    let update = Update::new().set(STATS_PRIVATE, !show);
    let _ = call.dynamo().upsert::<Person>(call.cause.actor_id, update).await?;
    let text =
        if show { "🔓 Your statistics are public again" } else { "🔒 Your statistics are private now" };
    Ok(text.into())
}
