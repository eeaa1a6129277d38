//! `.data`: what a server has taught and decided, as a file: out, in again, and an import taken back.
//!
//! The file is that of `mneme data` ([`crate::archive`]), of one server. An import is so much typing: each thing in
//! the file is checked as if it were typed by whoever brings it, needs the commands that they would have to type,
//! and becomes one revision through [`crate::history`]. What no command can write, such as the history itself,
//! sparkles and counts, is not taken from a file here; only the operator can bring that back.
//!
//! Nothing is kept in memory between the question and the answer: the question carries the file, its buttons the
//! rest. All rows of an import carry its id, and each press of *Import* leaves a row of its own by which
//! [`rollback`] finds what that press has written.

mod export;
mod file;
mod import;
mod rollback;
#[cfg(test)]
mod tests;

use crate::context::{
    Answer, Args, Command, Control, Error, Feature, Kind, Level, Param, Pays, Place, Result, Value,
};
use crate::markdown::code;

pub const FEATURE: Feature = Feature {
    name: "data",
    commands: COMMANDS,
    controls: &[
        Control {
            verb: import::VERB,
            command: Some("data import"),
            run: |ctx, press| Box::pin(async move { import::pressed(&ctx, &press.fields).await }),
        },
        Control {
            verb: rollback::VERB,
            command: Some("data rollback"),
            run: |ctx, press| {
                Box::pin(async move { rollback::rollback(&ctx, &press.fields).await.map(Answer::Update) })
            },
        },
    ],
    ..Feature::EMPTY
};

/// What only those may do who manage the server, for their own eyes.
const FOR_ADMINS: Command =
    Command { place: Place::Server, level: Level::Admin, private: true, ..Command::DEFAULT };

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["data export"],
        slash: &["data export"],
        summary: "Get what this server has taught and decided, as a file",
        run: |ctx, _| Box::pin(async move { Answer::of_reading(export::export(&ctx).await) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["data import"],
        slash: &["data import"],
        summary: "Bring memories and settings back from such a file",
        usage: "[--dry-run] [--overwrite]",
        options: &[
            Param::required("file", "What .data export gave", Kind::Attachment),
            Param::optional("mode", "What becomes of what is different here", Kind::Choice(MODES)),
        ],
        parse: flags,
        // The question changes nothing, and a file that cannot be read costs nobody their turn.
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { import::ask(&ctx, &args).await.map(Answer::Reply) }),
        ..FOR_ADMINS
    },
    Command {
        prefix: &["data rollback"],
        slash: &["data rollback"],
        summary: "Take back what an import did",
        usage: "<id>",
        options: &[Param::required("id", "What the import was called", Kind::Text)],
        run: |ctx, args| {
            Box::pin(async move { rollback::rollback(&ctx, args.text("id")?).await.map(Answer::Reply) })
        },
        ..FOR_ADMINS
    },
];

const MODES: &[&str] = &["skip", "overwrite"];

/// What becomes of what is there and says something else than the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Skip,
    Overwrite,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Skip => MODES[0],
            Self::Overwrite => MODES[1],
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::Skip, Self::Overwrite].into_iter().find(|mode| mode.word() == word)
    }
}

/// How a thing in a file stands to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    New,
    Different,
    Equal,
}

/// What became of a thing that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// By this event, now or when it was delivered before.
    Written,
    /// It says that already.
    Equal,
    /// Somebody was faster, or may not be overwritten.
    Kept,
}

/// What became of a thing that was to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakenBack {
    /// By this event, now or when it was delivered before.
    Now,
    /// By another event.
    Before,
    ChangedSince,
}

/// `--dry-run` and `--overwrite`, in any order.
fn flags(_: &Command, text: &str) -> Result<Args> {
    text.split_whitespace().try_fold(Args::new(), |args, word| match word {
        "--dry-run" => Ok(args.with(DRY_RUN, Value::Bool(true))),
        "--overwrite" => Ok(args.with_text("mode", Mode::Overwrite.word())),
        other => Err(Error::Usage(format!("I don't know {}", code(&crate::markdown::cut(other, 60))))),
    })
}

/// Slash commands have no such option: their first answer is one.
const DRY_RUN: &str = "dry_run";

/// Changes under way at once. Each is a transaction of its own, so more only wait for each other.
const AT_ONCE: usize = 8;

/// A refusal without its mark: it becomes a part of another one.
pub fn words(error: Error) -> anyhow::Error {
    anyhow::anyhow!("{}", error.to_string().trim_start_matches("⚠ "))
}

/// Of two errors the one after which less is known: whoever hears of one must not think that nothing was changed.
fn worse(before: Option<Error>, error: Error) -> Error {
    match before {
        Some(Error::Store(before)) if before.is_uncertain() => Error::Store(before),
        _ => error,
    }
}

/// Names in an answer, before the rest of them is only counted.
const NAMED_MAX: usize = 10;

/// `a`, `b` and 7 more.
fn named(names: &[String]) -> String {
    let shown = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {} more", crate::markdown::number(more)),
    }
}
