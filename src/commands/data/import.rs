//! `.data import`: what a file would change, and the change itself once somebody says so.

use std::collections::HashSet;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use tracing::warn;

use crate::commands;
use crate::commands::confirm::Questions;
use crate::commands::remember::import::{self as memories, Here};
use crate::commands::settings::import as decisions;
use crate::commands::settings::part as settings_part;
use crate::commands::undo::TOO_OLD;
use crate::context::{Answer, Args, Button, Context, Error, File, Reply, Result, Style, refuse};
use crate::dynamo;
use crate::markdown::{code, cut, number};
use crate::permissions;
use crate::settings::Settings;

use super::file::{self, Contents, unreadable};
use super::{AT_ONCE, DRY_RUN, Found, Mode, Wrote, named, rollback, worse};

pub const VERB: &str = "data-import";

/// One press begins no change later than this: a command has eight seconds in all, and the last ones must end.
/// What is left is done by the next press.
const WITHIN: Duration = Duration::from_secs(4);

/// Names are shortened in an answer.
const NAME_MAX: usize = 60;

/// `.data import`: reads the file, tells what it would change, and asks.
pub async fn ask(ctx: &Context, args: &Args) -> Result<Reply> {
    let Some(attached) = args.file("file") else {
        return Err(Error::Usage("Attach the file that `.data export` gave".to_owned()));
    };
    if ctx.attachments.len() > 1 {
        return refuse("⚠ One file at a time, please");
    }
    let mode = args.maybe_text("mode").and_then(Mode::of).unwrap_or_default();
    let bytes = file::fetch(ctx, attached).await?;
    let contents = file::read(ctx, bytes.clone()).await?;
    let reply = question(ctx, &contents, mode, args.flag(DRY_RUN)).await?;
    if reply.rows.is_empty() {
        return Ok(reply);
    }
    let [yes, no] = ["yes", "no"].map(|answer| Terms::of(ctx, mode).button_id(answer));
    ctx.services.state::<Questions>().ask_about(ctx, yes, no, vec![attached.clone()]);
    // The question carries the file, so that the answer may come to another instance, or after a restart.
    Ok(Reply { files: vec![File { name: attached.name.clone(), bytes }], ..reply })
}

/// What the file would change, with buttons if that is anything and not just to be looked at.
pub async fn question(ctx: &Context, contents: &Contents, mode: Mode, dry_run: bool) -> Result<Reply> {
    let plan = Plan::make(ctx, contents, mode).await?;
    let reply = Reply::from(plan.told()).private();
    if dry_run || plan.writes().next().is_none() {
        return Ok(reply);
    }
    let terms = Terms::of(ctx, mode);
    let import = Button { style: Style::Primary, ..Button::new(terms.button_id("yes"), "Import") };
    Ok(reply.buttons(vec![import, Button::new(terms.button_id("no"), "Cancel")]))
}

/// What the buttons carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Terms {
    /// What the import is called: the event that asked.
    batch: u64,
    mode: Mode,
    /// Who did.
    asked: u64,
}

impl Terms {
    /// Those of a question that is asked now.
    fn of(ctx: &Context, mode: Mode) -> Self {
        Self { batch: ctx.cause.id.0, mode, asked: ctx.caller.id }
    }

    fn button_id(self, answer: &str) -> String {
        format!("{VERB}:{answer}:{}:{}:{}", self.batch, self.mode.word(), self.asked)
    }

    /// The answer, and to what.
    fn read(fields: &str) -> Option<(bool, Self)> {
        let mut parts = fields.split(':');
        let yes = match parts.next()? {
            "yes" => true,
            "no" => false,
            _ => return None,
        };
        let id = |text: &str| text.parse().ok().filter(|id: &u64| id.to_string() == text);
        let (batch, mode, asked) = (id(parts.next()?)?, Mode::of(parts.next()?)?, id(parts.next()?)?);
        parts.next().is_none().then_some((yes, Self { batch, mode, asked }))
    }
}

/// *Import* or *Cancel*.
pub async fn pressed(ctx: &Context, fields: &str) -> Result<Answer> {
    let Some(terms) = agreed(ctx, fields)? else {
        return Ok(Answer::Update("👌 I import nothing".into()));
    };
    let [attached] = ctx.attachments.as_slice() else { return refuse(TOO_OLD) };
    let deadline = Instant::now() + WITHIN;
    let contents = file::read(ctx, file::fetch(ctx, attached).await?).await?;
    Ok(Answer::Update(import(ctx, terms, &contents, deadline).await?))
}

/// What was agreed to by who was asked; nothing if they would rather not.
fn agreed(ctx: &Context, fields: &str) -> Result<Option<Terms>> {
    let read = Terms::read(fields).ok_or_else(|| Error::Refused(TOO_OLD.to_owned()));
    let (yes, terms) = read?;
    if terms.asked != ctx.caller.id {
        let (command, who) = (code(&ctx.typed("data import")), crate::markdown::person(terms.asked));
        return refuse(format!("⛔ You can't use {command} here: only {who} can be asked"));
    }
    Ok(yes.then_some(terms))
}

async fn import(ctx: &Context, terms: Terms, contents: &Contents, deadline: Instant) -> Result<Reply> {
    // Again: what was asked was true then.
    let plan = Plan::make(ctx, contents, terms.mode).await?;
    ctx.services.noted.note(ctx.dynamo(), ctx.cause.actor_id, ctx.cause.server_id).await?;
    rollback::begin(ctx, terms.batch).await?;
    let done = write(ctx, &plan, terms, deadline).await;
    if let Some(error) = done.trouble {
        // That nothing was changed is true only of the last one.
        if done.settled == 0 {
            return Err(error);
        }
        warn!(
            cause = %ctx.cause.id,
            error = format!("{:#}", anyhow::Error::from(error)),
            "an import was interrupted"
        );
    }
    let left = plan.writes().count().saturating_sub(done.settled);
    let count = rollback::written(ctx, terms.batch).await.map_err(|error| match error {
        Error::Store(error) if done.settled > 0 => dynamo::Error::Uncertain(Box::new(error)).into(),
        error => error,
    });
    let count = count?.len();
    Ok(told(terms, count, left))
}

fn told(terms: Terms, count: usize, left: usize) -> Reply {
    let id = code(&terms.batch.to_string());
    if left > 0 {
        let text =
            format!("📦 Imported {} so far (id {id}); {} to go. Press *Go on*", number(count), number(left));
        let go_on = Button { style: Style::Primary, ..Button::new(terms.button_id("yes"), "Go on") };
        return Reply { keeps_files: true, ..text.into() }.buttons(vec![go_on]);
    }
    let undo = Button::new(format!("{}:{}", rollback::VERB, terms.batch), "Undo");
    let buttons = if count > 0 { vec![undo] } else { Vec::new() };
    Reply::from(format!("📦 Imported {} (id {id})", number(count))).buttons(buttons)
}

/// A thing in the file, by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    Memory(usize),
    Part(usize),
}

/// What a file would change.
struct Plan<'a> {
    contents: &'a Contents,
    things: Vec<(Thing, Found, String)>,
    /// What would be about nothing, in words.
    left_out: Vec<String>,
    mode: Mode,
}

impl<'a> Plan<'a> {
    /// Compares the file with what is there; refuses what the caller could not type.
    async fn make(ctx: &Context, contents: &'a Contents, mode: Mode) -> Result<Plan<'a>> {
        let here = memories::here(ctx).await.map_err(Error::Read)?;
        let settings = settings_part::current(ctx).await?;
        let mut things = Vec::new();
        let mut left_out = contents.left_out.clone();
        let there = contents.memories.iter().filter(|(_, memory)| !memory.is_other_name());
        let there: HashSet<&str> = there.map(|(_, memory)| memory.key()).collect();
        for (place, (_, memory)) in contents.memories.iter().enumerate() {
            if memories::is_for_nothing(memory, &here, &there) {
                left_out.push(memory.link());
                continue;
            }
            let found = memory.compare(here.get(memory.key()));
            things.push((Thing::Memory(place), found, memory.name()));
        }
        for (place, (_, part, value)) in contents.parts.iter().enumerate() {
            let found = decisions::compare(&settings, part, value);
            things.push((Thing::Part(place), found, part.name(&ctx.prefix)));
        }
        let plan = Self { contents, things, left_out, mode };
        plan.check(ctx, &here, &settings)?;
        Ok(plan)
    }

    fn check(&self, ctx: &Context, here: &Here, settings: &Settings) -> Result<()> {
        for (thing, found) in self.writes() {
            let needs = match thing {
                Thing::Memory(place) => {
                    let memory = &self.contents.memories[place].1;
                    if let Some(head) = here.get(memory.key()).filter(|_| found == Found::Different) {
                        memory.may_replace(ctx, head)?;
                    }
                    memory.needs(found, ctx.caller.id)
                }
                Thing::Part(place) => {
                    let (_, part, value) = &self.contents.parts[place];
                    vec![decisions::needs(part, value)]
                }
            };
            for name in needs {
                let command = commands::named(name).expect("a test looks these commands up");
                permissions::check(command.into(), &ctx.caller, &ctx.settings, true, &ctx.prefix)?;
            }
        }
        let written = self.writes().filter_map(|(thing, _)| match thing {
            Thing::Memory(place) => Some((self.contents.memories[place].0, &self.contents.memories[place].1)),
            Thing::Part(_) => None,
        });
        memories::check(ctx.services.max_memories(), here, written).map_err(unreadable)?;
        let parts = self.writes().filter_map(|(thing, _)| match thing {
            Thing::Part(place) => Some(&self.contents.parts[place].1),
            Thing::Memory(_) => None,
        });
        decisions::check(settings, parts).map_err(unreadable)
    }

    /// What is to be written.
    fn writes(&self) -> impl Iterator<Item = (Thing, Found)> + Clone + '_ {
        let things = self.things.iter().map(|(thing, found, _)| (*thing, *found));
        things.filter(|(_, found)| match found {
            Found::New => true,
            Found::Different => self.mode == Mode::Overwrite,
            Found::Equal => false,
        })
    }

    fn names(&self, wanted: Found) -> Vec<String> {
        let found = self.things.iter().filter(|(_, found, _)| *found == wanted);
        found.map(|(.., name)| cut(name, NAME_MAX)).collect()
    }

    fn told(&self) -> String {
        let [new, different, equal] =
            [Found::New, Found::Different, Found::Equal].map(|found| self.names(found));
        let fate = match self.mode {
            Mode::Skip => "kept",
            Mode::Overwrite => "replaced",
        };
        let mut lines = vec![format!(
            "📦 {} new, {} different ({fate}), {} equal",
            number(new.len()),
            number(different.len()),
            number(equal.len())
        )];
        for (mark, names) in [("New", &new), ("Different", &different)] {
            if !names.is_empty() {
                lines.push(format!("{mark}: {}", named(names)));
            }
        }
        if !self.left_out.is_empty() {
            lines.push(format!("Not here any more, so left out: {}", named(&self.left_out)));
        }
        let not_taken = &self.contents.not_taken;
        if !not_taken.is_empty() {
            let tables: Vec<String> =
                not_taken.iter().map(|(table, count)| format!("{} of `{table}`", number(*count))).collect();
            lines.push(format!("-# Not taken from a file: {}", tables.join(", ")));
        }
        lines.join("\n")
    }
}

/// How far a press has come.
struct Progress {
    /// Things that need nothing more.
    settled: usize,
    /// What ended it early.
    trouble: Option<Error>,
}

/// Writes what the plan says: first memories, then their other names, then what the server has decided.
async fn write(ctx: &Context, plan: &Plan<'_>, terms: Terms, deadline: Instant) -> Progress {
    let rank = |thing: &Thing| match thing {
        Thing::Memory(place) => u8::from(plan.contents.memories[*place].1.is_other_name()),
        Thing::Part(_) => 2,
    };
    let mut things: Vec<Thing> = plan.writes().map(|(thing, _)| thing).collect();
    things.sort_by_key(rank);
    let mut progress = Progress { settled: 0, trouble: None };
    for group in things.chunk_by(|a, b| rank(a) == rank(b)) {
        // Parts are of one record, which they would only fight over.
        let at_once = if matches!(group[0], Thing::Part(_)) { 1 } else { AT_ONCE };
        for some in group.chunks(at_once) {
            if Instant::now() >= deadline {
                return progress;
            }
            for wrote in join_all(some.iter().map(|thing| one(ctx, plan.contents, *thing, terms))).await {
                match wrote {
                    Ok(_) => progress.settled += 1,
                    Err(error) => progress.trouble = Some(worse(progress.trouble.take(), error)),
                }
            }
            if progress.trouble.is_some() {
                return progress;
            }
        }
    }
    progress
}

async fn one(ctx: &Context, contents: &Contents, thing: Thing, terms: Terms) -> Result<Wrote> {
    match thing {
        Thing::Memory(place) => {
            let (line, memory) = &contents.memories[place];
            memories::write(&part(ctx, *line), memory, terms.batch, terms.mode).await
        }
        Thing::Part(place) => {
            let (line, which, value) = &contents.parts[place];
            // All parts are on one line of the file, after all others.
            let ctx = part(ctx, line + 1 + place as u64);
            decisions::write(&ctx, which, value, terms.batch, terms.mode).await
        }
    }
}

/// The same event, for the transaction of one line.
fn part(ctx: &Context, line: u64) -> Context {
    let part = usize::try_from(line).unwrap_or(usize::MAX);
    Context { cause: ctx.cause.with_part(part), ..ctx.clone() }
}

#[cfg(test)]
/// What a press of *Import* comes to, with this file.
pub async fn press(ctx: &Context, fields: &str, bytes: &[u8], within: Duration) -> Result<Reply> {
    let terms = agreed(ctx, fields)?.expect("the answer is yes");
    import(ctx, terms, &file::read(ctx, bytes.to_vec()).await?, Instant::now() + within).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_travel_in_their_buttons() {
        let terms = Terms { batch: u64::MAX, mode: Mode::Overwrite, asked: u64::MAX - 1 };
        let id = terms.button_id("yes");
        assert!(id.len() <= 100, "{id}");
        assert_eq!(Terms::read(id.strip_prefix("data-import:").unwrap()), Some((true, terms)));
        for wrong in
            ["", "yes", "yes:1:skip", "yes:1:skip:2:3", "maybe:1:skip:2", "yes:01:skip:2", "yes:1:all:2"]
        {
            assert_eq!(Terms::read(wrong), None, "{wrong}");
        }
    }
}
