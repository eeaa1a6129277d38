//! `.remember`, `.forget` and `.mem`: what a server wants to know again.
//!
//! A command here only collects its arguments; the plain functions behind it take a [`Call`] and text, and
//! return a reply. What is typed is understood in [`grammar`], [`key`] and [`when`]; the record is in
//! [`record`], the words of replies in [`view`]. Lists, search and suggestions read [`lists`].

mod browse;
mod call;
mod edit;
mod get;
mod grammar;
pub mod import;
mod key;
mod list;
mod lists;
mod past;
mod recalls;
mod record;
mod set;
#[cfg(test)]
mod tests;
mod undo;
mod view;
mod when;

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::clock::Timestamp;
use crate::context::{
    Answer, Args, Command, Context, Control, Error, Feature, Input, Kind, Level, Menu, Modal, Param, Pays,
    Place, Reply, Result, Services, Target, Undo, not_a_person, refuse,
};
use crate::counts::{Counts, Tally};
use crate::dynamo::{Query, TableSpec};
use crate::history::{self, Head, Revision};

use browse::View;
use call::Call;
pub use key::Key;
pub use record::{KIND, Remembered};

pub const FEATURE: Feature = Feature {
    name: "remember",
    commands: COMMANDS,
    controls: CONTROLS,
    menus: &[Menu {
        name: "Remember this",
        command: "remember",
        place: Place::Server,
        run: |_, target| Box::pin(async move { remember_this(&target) }),
    }],
    tables: &[TableSpec::of::<Remembered>(), TableSpec::of::<Tally>()],
    undo: &[Undo {
        kind: KIND,
        command: "mem undo",
        run: |ctx, row| Box::pin(async move { undo::undo(&Call::of(&ctx), row).await }),
    }],
    jobs: &[],
    background: Some(background),
};

const KEY: Param =
    Param::required("key", "What it is remembered under", Kind::Text).suggesting(browse::suggest);
const BY: Param = Param::optional("by", "Only what this person taught me", Kind::Person);

const IN_SERVER: Command = Command { place: Place::Server, ..Command::DEFAULT };

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["remember", "rem"],
        slash: &["rem set", "remember"],
        pays: Pays::WithItsChange,
        summary: "Remember something, or look it up",
        usage: "<key> [is <value>]",
        options: &[
            Param::required("key", "What to remember it under", Kind::Text),
            Param::required("value", "What to remember", Kind::Text),
        ],
        parse: whole_text,
        run: |ctx, args| Box::pin(async move { answer(remember(&Call::of(&ctx), &args).await) }),
        ..IN_SERVER
    },
    Command {
        slash: &["rem get"],
        same_as: |args| match (args.maybe_text("at"), args.flag("raw")) {
            (Some(_), _) => Some("mem show"),
            (None, true) => Some("mem raw"),
            (None, false) => Some("remember"),
        },
        summary: "Look up what I remember",
        usage: "<key>",
        options: &[
            KEY,
            Param::optional("at", "What it said then: 2 days ago, 2026-05-01 18:30, 4", Kind::Text),
            Param::optional("raw", "Show it as it was typed", Kind::Bool),
        ],
        run: |ctx, args| Box::pin(async move { reading(recall(&Call::of(&ctx), &args).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["forget"],
        slash: &["forget"],
        pays: Pays::WithItsChange,
        summary: "Forget something",
        usage: "<key>",
        options: &[KEY],
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                answer(edit::forget(&call, &named(&call, &args, "key").await?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["rem search"],
        slash: &["rem search"],
        summary: "Find what I remember by its name",
        usage: "[text]",
        options: &[Param::optional("text", "A part of the name", Kind::Text), BY],
        parse: |_, text| Ok(Args::new().with_text("text", text)),
        run: |ctx, args| {
            Box::pin(async move {
                let view = View::new(args.maybe_text("text").unwrap_or_default(), args.person("by"));
                reading(browse::search(&Call::of(&ctx), &view).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem list"],
        slash: &["mem list"],
        summary: "List what I remember, and who taught me",
        usage: "[@user]",
        options: &[BY],
        run: |ctx, args| {
            Box::pin(async move {
                reading(browse::list(&Call::of(&ctx), &View::new("", args.person("by"))).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem top"],
        slash: &["mem top"],
        summary: "Show what is asked for most",
        run: |ctx, _| Box::pin(async move { reading(recalls::top(&Call::of(&ctx)).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem random"],
        slash: &["mem random"],
        summary: "Show something I remember",
        run: |ctx, _| Box::pin(async move { reading(get::random(&Call::of(&ctx)).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem info"],
        slash: &["mem info"],
        summary: "Show who taught me something, when, and how often it is asked for",
        usage: "<key>",
        options: &[KEY],
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                reading(get::info(&call, &named(&call, &args, "key").await?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem raw"],
        slash: &["mem raw"],
        summary: "Show something as it was typed, for copying",
        usage: "<key>",
        options: &[KEY],
        private: true,
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                reading(get::raw(&call, &named(&call, &args, "key").await?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem edit"],
        slash: &["mem edit"],
        pays: Pays::WithItsChange,
        summary: "Change something I remember",
        usage: "<key> is <value>",
        options: &[KEY, Param::optional("value", "What it shall say; without it you can edit", Kind::Text)],
        parse: whole_text,
        run: |ctx, args| Box::pin(async move { change(&Call::of(&ctx), &args).await }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem append"],
        slash: &["mem append"],
        pays: Pays::WithItsChange,
        summary: "Add a line to something I remember",
        usage: "<key> is <text>",
        options: &[KEY, Param::required("text", "The line to add", Kind::Text)],
        parse: |_, text| Ok(Args::new().with_text("line", text)),
        run: |ctx, args| Box::pin(async move { answer(append(&Call::of(&ctx), &args).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem history"],
        slash: &["mem history"],
        summary: "Show how something changed, and restore what it was",
        usage: "<key>",
        options: &[KEY],
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                reading(past::history(&call, &named(&call, &args, "key").await?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem diff"],
        slash: &["mem diff"],
        summary: "Compare two revisions of something",
        usage: "<key> [a] [b]",
        options: &[
            KEY,
            Param::optional("from", "The older revision", REVISION),
            Param::optional("to", "The newer revision", REVISION),
        ],
        parse: whole_text,
        run: |ctx, args| Box::pin(async move { reading(diff(&Call::of(&ctx), &args).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem show"],
        summary: "Show what something said at another time",
        usage: "<key> at <time>",
        parse: whole_text,
        run: |ctx, args| {
            Box::pin(async move {
                reading(past::show_line(&Call::of(&ctx), args.text("text").map_err(no_key)?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem restore"],
        slash: &["mem restore"],
        pays: Pays::WithItsChange,
        summary: "Make something say again what it said before",
        usage: "<key> <revision or time>",
        options: &[KEY, Param::required("to", "A revision or a time: 4, yesterday 9:00", Kind::Text)],
        parse: whole_text,
        run: |ctx, args| Box::pin(async move { answer(restore(&Call::of(&ctx), &args).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem undo"],
        slash: &["undo"],
        pays: Pays::WithItsChange,
        summary: "Take back your last change here, or the last one of a key",
        usage: "[key]",
        options: &[Param { required: false, ..KEY }],
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                let key = match args.maybe_text("key") {
                    Some(_) => Some(named(&call, &args, "key").await?),
                    None => None,
                };
                answer(undo::last(&call, key.as_deref()).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem alias"],
        slash: &["mem alias"],
        pays: Pays::WithItsChange,
        summary: "Give something another name",
        usage: "<new> = <key>",
        options: &[Param::required("new", "The new name", Kind::Text), KEY],
        parse: whole_text,
        run: |ctx, args| Box::pin(async move { answer(alias(&Call::of(&ctx), &args).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem lock"],
        slash: &["mem lock"],
        pays: Pays::WithItsChange,
        summary: "Let only moderators change something",
        usage: "<key>",
        options: &[KEY],
        level: Level::Moderator,
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                answer(edit::lock(&call, &named(&call, &args, "key").await?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem unlock"],
        slash: &["mem unlock"],
        pays: Pays::WithItsChange,
        summary: "Let everybody change something again",
        usage: "<key>",
        options: &[KEY],
        level: Level::Moderator,
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                answer(edit::unlock(&call, &named(&call, &args, "key").await?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["mem give"],
        slash: &["mem give"],
        pays: Pays::WithItsChange,
        summary: "Make something somebody else's",
        usage: "<key> @user",
        options: &[KEY, Param::required("user", "The new owner", Kind::Person)],
        parse: key_and_person,
        run: |ctx, args| Box::pin(async move { answer(give(&ctx, &args).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["mem claim"],
        slash: &["mem claim"],
        pays: Pays::WithItsChange,
        summary: "Make something yours whose owner is unknown or gone",
        usage: "<key>",
        options: &[KEY],
        run: |ctx, args| Box::pin(async move { answer(claim(&ctx, &args).await) }),
        ..IN_SERVER
    },
];

/// Revisions are counted from 0, what the original bot left.
const REVISION: Kind = Kind::Integer { min: 0, max: 999_999_999 };

const CONTROLS: &[Control] = &[
    Control {
        verb: "mem-search",
        command: Some("rem search"),
        run: |ctx, press| {
            Box::pin(
                async move { updated(browse::search(&Call::of(&ctx), &View::parse(&press.fields)?).await) },
            )
        },
    },
    Control {
        verb: "mem-list",
        command: Some("mem list"),
        run: |ctx, press| {
            Box::pin(
                async move { updated(browse::list(&Call::of(&ctx), &View::parse(&press.fields)?).await) },
            )
        },
    },
    Control {
        verb: "mem-history",
        command: Some("mem history"),
        run: |ctx, press| {
            Box::pin(async move { updated(past::history_page(&Call::of(&ctx), &press.fields).await) })
        },
    },
    Control {
        verb: "mem-restore",
        command: Some("mem restore"),
        run: |ctx, press| {
            Box::pin(async move {
                let chosen = press.values.first().map(String::as_str).unwrap_or_default();
                answer(past::restore_chosen(&Call::of(&ctx), &press.fields, chosen).await)
            })
        },
    },
    Control {
        verb: "mem-edit",
        command: Some("mem edit"),
        run: |ctx, press| {
            Box::pin(async move {
                let value = press.input("value").unwrap_or_default();
                answer(edit::edit_submitted(&Call::of(&ctx), &press.fields, value).await)
            })
        },
    },
    Control {
        verb: "mem-new",
        command: Some("remember"),
        run: |ctx, press| {
            Box::pin(async move {
                let (key, value) =
                    (press.input("key").unwrap_or_default(), press.input("value").unwrap_or_default());
                answer(set::set(&Call::of(&ctx), key, value).await)
            })
        },
    },
];

fn background(services: Arc<Services>, shutdown: CancellationToken) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let (counts, lists) = (services.state::<Counts>(), services.state::<lists::Lists>());
        tokio::join!(
            counts.run(&services.dynamo, &services.noted, shutdown.clone()),
            lists.run(&services.dynamo, shutdown.clone()),
        );
    })
}

/// Takes away the counts of the memories that a person owns: their keys are that person's words.
pub async fn forget(services: &Services, server_id: u64, person: u64) -> Result<(), crate::dynamo::Error> {
    services.state::<Counts>().flush(&services.dynamo, &services.noted).await?;
    let all: Vec<Remembered> = services.dynamo.query_all(Query::<Remembered>::of(server_id)).await?;
    for memory in all.iter().filter(|memory| memory.created_by == Some(person)) {
        services.dynamo.delete::<Tally>(recalls::row_of(server_id, &memory.rem_key)).await?;
    }
    Ok(())
}

/// Lets go of what this process keeps in memory of a server's memories, because they were changed behind its
/// back.
pub fn forget_list(services: &Services, server_id: u64) {
    services.state::<lists::Lists>().let_go(server_id);
}

fn answer(reply: Result<Reply>) -> Result<Answer> {
    reply.map(Answer::Reply)
}

/// The answer of a command that changes nothing.
fn reading(reply: Result<Reply>) -> Result<Answer> {
    answer(only_read(reply))
}

/// What was to be read and nothing else: if the store is silent, trying again is harmless.
fn only_read(reply: Result<Reply>) -> Result<Reply> {
    match reply {
        Err(Error::Store(error)) => Err(Error::Read(error)),
        other => other,
    }
}

/// The answer to a page button.
fn updated(reply: Result<Reply>) -> Result<Answer> {
    match reading(reply) {
        Ok(Answer::Reply(reply)) => Ok(Answer::Update(reply)),
        other => other,
    }
}

/// The text door's words, for a grammar of their own.
fn whole_text(_: &Command, text: &str) -> Result<Args> {
    Ok(Args::new().with_text("text", text))
}

fn no_key(_: Error) -> Error {
    Error::Usage("The key is missing".to_owned())
}

/// The text of a key, which may have come under its short name.
async fn named(call: &Call, args: &Args, option: &str) -> Result<String> {
    let typed = args.text(option)?;
    call.spelled_out(&key::clean(typed)).await
}

/// A name in the list of a server's memories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub name: String,
    /// 0: somebody who wanted to be forgotten, or nobody knows.
    pub owner: u64,
    pub since: Option<Timestamp>,
    pub recalls: u64,
    /// The key this is another name for.
    pub other_name_of: Option<String>,
    pub locked: bool,
}

/// What a server remembers, by key; with a text what fits it, the best first. At most ten seconds behind other
/// instances.
pub async fn listed(ctx: &Context, sought: &str) -> Result<Vec<Listed>> {
    let call = Call::of(ctx);
    let list = call.lists().current(call.dynamo(), call.server()).await?;
    let found = if sought.is_empty() { list.iter().collect() } else { list.search(sought) };
    let listed = found.into_iter().map(|found| Listed {
        key: found.key.to_owned(),
        name: found.display().to_owned(),
        owner: found.entry.created_by,
        since: found.entry.created_at,
        recalls: found.entry.recalls,
        other_name_of: found.entry.alias_of.as_deref().map(str::to_owned),
        locked: found.entry.locked,
    });
    Ok(listed.collect())
}

/// A memory as it is, also one that was forgotten, and its newest revisions.
pub async fn with_history(
    ctx: &Context,
    key: &str,
    revisions: u32,
) -> Result<(Option<Remembered>, Vec<Revision>)> {
    let place = (ctx.cause.server_id, key.to_owned());
    let thing = Remembered::thing(&place);
    let rows = history::revisions(ctx.dynamo(), &thing, revisions, None);
    let (head, rows) = futures::try_join!(ctx.dynamo().get(place.clone()), rows)?;
    Ok((head, rows.records))
}

/// How many memories each person has taught a server, since then or ever. At most ten seconds behind other
/// instances.
pub async fn taught(ctx: &Context, since: Option<Timestamp>) -> Result<HashMap<u64, u64>> {
    let call = Call::of(ctx);
    let list = call.lists().current(call.dynamo(), call.server()).await?;
    let mut taught = HashMap::new();
    let counts = |at: Option<Timestamp>| since.is_none_or(|since| at.is_some_and(|at| at >= since));
    for found in list.memories().filter(|found| counts(found.entry.created_at)) {
        *taught.entry(found.entry.created_by).or_default() += 1;
    }
    Ok(taught)
}

async fn remember(call: &Call, args: &Args) -> Result<Reply> {
    match args.get("key") {
        Some(_) => set::set(call, args.text("key")?, args.text("value")?).await,
        None => set::line(call, args.maybe_text("text").unwrap_or_default()).await,
    }
}

async fn recall(call: &Call, args: &Args) -> Result<Reply> {
    let key = named(call, args, "key").await?;
    match args.maybe_text("at") {
        Some(at) => past::show(call, &key, at).await,
        None if args.flag("raw") => get::raw(call, &key).await,
        None => get::asked(call, &key, None).await,
    }
}

async fn change(call: &Call, args: &Args) -> Result<Answer> {
    if let Some(text) = args.maybe_text("text") {
        return answer(edit::edit_line(call, text).await);
    }
    let key = named(call, args, "key").await?;
    match args.maybe_text("value") {
        Some(value) => answer(edit::edit(call, &Key::read(&key)?, value, None).await),
        None => edit::edit_modal(call, &key).await,
    }
}

async fn append(call: &Call, args: &Args) -> Result<Reply> {
    if let Some(line) = args.maybe_text("line") {
        return edit::append_line(call, line).await;
    }
    let key = named(call, args, "key").await?;
    edit::append(call, &Key::read(&key)?, args.text("text")?).await
}

async fn diff(call: &Call, args: &Args) -> Result<Reply> {
    if let Some(text) = args.maybe_text("text") {
        return past::diff_line(call, text).await;
    }
    let key = named(call, args, "key").await?;
    let revision = |name| args.integer(name).and_then(|rev| u64::try_from(rev).ok());
    past::diff(call, &Key::read(&key)?, revision("from"), revision("to")).await
}

async fn restore(call: &Call, args: &Args) -> Result<Reply> {
    if let Some(text) = args.maybe_text("text") {
        return past::restore_line(call, text).await;
    }
    let key = named(call, args, "key").await?;
    past::restore(call, &key, when::When::read(args.text("to")?, call.cause.at, &call.zone)?).await
}

async fn alias(call: &Call, args: &Args) -> Result<Reply> {
    if let Some(text) = args.maybe_text("text") {
        return edit::alias_line(call, text).await;
    }
    edit::alias(call, args.text("new")?, &named(call, args, "key").await?).await
}

/// A key, and a person at the end.
fn key_and_person(_: &Command, text: &str) -> Result<Args> {
    let text = text.trim();
    let (key, user) = text.rsplit_once(char::is_whitespace).ok_or_else(not_a_person)?;
    let user = Param::required("user", "", Kind::Person).read(user)?;
    Ok(Args::new().with_text("key", key).with("user", user))
}

async fn give(ctx: &Context, args: &Args) -> Result<Reply> {
    let call = Call::of(ctx);
    let key = named(&call, args, "key").await?;
    let to = args.person("user").ok_or_else(not_a_person)?;
    let receiver = ctx.services.discord.member(call.server(), to).await?;
    edit::give(&call, &key, to, receiver).await
}

async fn claim(ctx: &Context, args: &Args) -> Result<Reply> {
    let call = Call::of(ctx);
    let key = named(&call, args, "key").await?;
    let gone = match edit::owner(&call, &key).await? {
        Some(owner) if owner != call.actor() => {
            let here = ctx.services.discord.member(call.server(), owner).await?.is_some();
            (!here).then_some(owner)
        }
        _ => None,
    };
    edit::claim(&call, &key, gone).await
}

/// The menu of a message: a modal with its text, which only lacks the key.
fn remember_this(target: &Target) -> Result<Answer> {
    let text = key::clean(&target.text);
    if text.trim().is_empty() {
        return refuse(view::ONLY_TEXT);
    }
    let length = text.chars().count();
    if length > view::VALUE_CHARS_MAX {
        return refuse(view::value_too_long(length));
    }
    let key = Input {
        id: "key".to_owned(),
        label: "Under which name?".to_owned(),
        value: String::new(),
        placeholder: "wifi".to_owned(),
        max_length: key::KEY_CHARS_MAX as u16,
        paragraph: false,
        required: true,
    };
    Ok(Answer::Modal(Modal {
        id: "mem-new:".to_owned(),
        title: "Remember this".to_owned(),
        inputs: vec![key, edit::value_input(&text)],
    }))
}
