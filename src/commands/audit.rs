//! `.audit`: who changed what in a server, whatever kind of thing it is.

use crate::bans::{self, Who};
use crate::clock::Timestamp;
use crate::commands::settings::part::Part;
use crate::commands::with_form;
use crate::context::{
    Answer, Args, Button, Card, Colour, Command, Context, Control, Error, Feature, Kind, Level, Param, Place,
    Reply, Result, person, refuse,
};
use crate::history::{self, Revision};
use crate::markdown::{self, code, cut, plain, time};

pub const FEATURE: Feature = Feature {
    name: "audit",
    commands: &[Command {
        prefix: &["audit"],
        slash: &["audit"],
        summary: "Show who changed what here",
        usage: "[@user|command]",
        options: &[
            Param::optional("user", "Only what this person changed", Kind::Person),
            Param::optional("command", "Only what was changed by this command", Kind::Text)
                .suggesting(super::help::suggest),
        ],
        parse: user_or_command,
        place: Place::Server,
        level: Level::Admin,
        private: true,
        run: |ctx, args| Box::pin(async move { Answer::of_reading(audit(&ctx, &args).await) }),
        ..Command::DEFAULT
    }],
    controls: &[Control {
        verb: "audit",
        command: Some("audit"),
        run: |ctx, press| {
            Box::pin(async move {
                let view = View::parse(&press.fields)
                    .ok_or_else(|| Error::Refused(super::undo::TOO_OLD.to_owned()))?;
                page(&ctx, &view).await.map(Answer::Update)
            })
        },
    }],
    ..Feature::EMPTY
};

/// Changes shown at once.
const SHOWN: usize = 10;
/// Changes read at once, and how often: what fits may be rare.
const READ: u32 = 100;
const READS_MAX: usize = 5;
const NAME_MAX: usize = 60;

fn user_or_command(_: &Command, text: &str) -> Result<Args> {
    let text = text.trim();
    Ok(match person(text) {
        Some(id) => Args::new().with("user", crate::context::Value::Person(id)),
        None => Args::new().with_text("command", text),
    })
}

/// Which changes are shown: a button carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct View {
    by: Option<u64>,
    op: Option<String>,
    /// Only what is older than this event.
    before: Option<u64>,
}

impl View {
    fn parse(fields: &str) -> Option<Self> {
        let mut parts = fields.split(':');
        let mut next = || parts.next().map(|part| Some(part).filter(|part| *part != "-"));
        let (by, op, before) = (next()?, next()?, next()?);
        let id = |text: Option<&str>| text.map_or(Some(None), |text| text.parse().ok().map(Some));
        Some(Self { by: id(by)?, op: op.map(str::to_owned), before: id(before)? })
    }

    fn button(&self, before: Option<u64>, label: &str) -> Button {
        let or = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let (by, before) = (self.by.map(|id| id.to_string()), before.map(|id| id.to_string()));
        let op = self.op.clone();
        Button::new(format!("audit:{}:{}:{}", or(by), or(op), or(before)), label)
    }

    fn shows(&self, row: &Revision) -> bool {
        self.by.is_none_or(|by| row.by == Some(by)) && self.op.as_deref().is_none_or(|op| row.op == op)
    }
}

/// What the history calls the changes that a command makes.
fn op_of(command: &Command) -> &'static str {
    match command.name() {
        "remember" => "set",
        name => match name.split_once(' ') {
            Some(("mem" | "sparkles" | "play", verb)) => verb,
            _ => name,
        },
    }
}

async fn audit(ctx: &Context, args: &Args) -> Result<Reply> {
    let op = match args.maybe_text("command") {
        None => None,
        Some(typed) => {
            let name = super::settings::plain_name(typed, &ctx.prefix);
            match with_form(&name) {
                Some(command) => Some(op_of(command).to_owned()),
                None => return refuse(format!("⚠ There is no command {}", code(&cut(&name, 60)))),
            }
        }
    };
    page(ctx, &View { by: args.person("user"), op, before: None }).await
}

async fn page(ctx: &Context, view: &View) -> Result<Reply> {
    let (mut rows, mut before, mut more) = (Vec::new(), view.before, true);
    for _ in 0..READS_MAX {
        let page = history::audit(ctx.dynamo(), ctx.cause.server_id, before, READ).await?;
        more = page.next.is_some();
        before = page.records.last().and_then(|row| row.event_id).or(before);
        rows.extend(page.records.into_iter().filter(|row| view.shows(row)));
        if !more || rows.len() > SHOWN {
            break;
        }
    }
    if rows.len() > SHOWN {
        rows.truncate(SHOWN);
        before = rows.last().and_then(|row| row.event_id);
        more = true;
    }
    if rows.is_empty() && !more && view.before.is_none() {
        return Ok("📜 No changes found".into());
    }
    let mut lines: Vec<String> = rows.iter().map(|row| line(&ctx.prefix, row)).collect();
    if lines.is_empty() {
        let until = before.map(|event| time(Timestamp::of_snowflake(event))).unwrap_or_default();
        lines.push(format!("No changes found after {until}"));
    }
    let mut buttons = Vec::new();
    if view.before.is_some() {
        buttons.push(view.button(None, "⏮ Newest"));
    }
    if more {
        buttons.push(view.button(before, "Older ▶"));
    }
    let card =
        Card { title: "📜 Changes".into(), text: lines.join("\n"), colour: Colour::Blue, footer: None };
    Ok(Reply::from(card).buttons(buttons))
}

/// `<t> · @x · edit · key · revision 4`
fn line(prefix: &str, row: &Revision) -> String {
    let at = row.time().map(time).unwrap_or_default();
    let by = match row.by {
        None => "unknown".to_owned(),
        Some(0) => "someone".to_owned(),
        Some(id) => markdown::person(id),
    };
    format!("{at} · {by} · {} · {} · revision {}", row.op, what(prefix, row), row.rev)
}

/// What was changed, as people see it.
fn what(prefix: &str, row: &Revision) -> String {
    if let Some(part) = Part::of(row) {
        return part.name(prefix);
    }
    let Some((kind, id)) = row.thing() else { return String::new() };
    let who = if kind == bans::KIND { Who::parse(&id).map(Who::id) } else { None };
    let named = who.or_else(|| id.parse().ok().filter(|_| kind == "sparkle"));
    match named {
        Some(id) => markdown::person(id),
        None => plain(&cut(row.name.as_deref().unwrap_or(&id), NAME_MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_travels_in_its_buttons() {
        for view in [
            View::default(),
            View { by: Some(u64::MAX), op: Some("rules remove".into()), before: Some(u64::MAX - 1) },
        ] {
            let button = view.button(view.before, "x");
            assert!(button.id.len() <= 100);
            assert_eq!(View::parse(button.id.strip_prefix("audit:").unwrap()), Some(view));
        }
        for wrong in ["", "-:-", "x:-:-", "-:-:x"] {
            assert_eq!(View::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_command_has_its_word_in_the_history() {
        let op = |name| op_of(crate::commands::named(name).unwrap());
        assert_eq!(["remember", "forget", "mem edit"].map(op), ["set", "forget", "edit"]);
        assert_eq!(
            ["settings set", "rules remove", "block"].map(op),
            ["settings set", "rules remove", "block"]
        );
    }
}
