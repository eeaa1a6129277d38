//! `.confirm`: answers a question of the bot's in words, as its buttons do.
//!
//! A command that asks before it acts shows two buttons, and tells [`Questions`] which they are. What is
//! waiting is kept in memory only: the buttons themselves work after a restart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::commands::ALL;
use crate::context::{
    Answer, Args, Attachment, Command, Context, Error, Feature, Kind, Param, Pays, Press, Reply, Result,
    refuse,
};
use crate::permissions;

pub const FEATURE: Feature = Feature {
    name: "confirm",
    commands: &[Command {
        prefix: &["confirm"],
        summary: "Answer my question",
        usage: "<yes|no>",
        options: &[Param::required("answer", "yes or no", Kind::Bool)],
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(confirm(ctx, args)),
        ..Command::DEFAULT
    }],
    ..Feature::EMPTY
};

/// Nobody remembers what they were asked longer ago.
const WAITS_FOR: Duration = Duration::from_secs(600);
/// Questions that wait; beyond it the oldest ones are over, and then all.
const QUESTIONS_MAX: usize = 10_000;

/// What each person was asked last, by server and person.
#[derive(Debug, Default)]
pub struct Questions(Mutex<HashMap<(u64, u64), Question>>);

#[derive(Clone, Debug)]
struct Question {
    at: Timestamp,
    /// The ids of its buttons, `verb:fields`.
    yes: String,
    no: String,
    /// What it is about.
    files: Vec<Attachment>,
}

impl Questions {
    /// The caller was asked something, and these are the ids of the buttons for yes and no.
    pub fn ask(&self, ctx: &Context, yes: impl Into<String>, no: impl Into<String>) {
        self.ask_about(ctx, yes, no, Vec::new());
    }

    /// The same about files.
    pub fn ask_about(
        &self,
        ctx: &Context,
        yes: impl Into<String>,
        no: impl Into<String>,
        files: Vec<Attachment>,
    ) {
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = ctx.cause.at;
        if questions.len() >= QUESTIONS_MAX {
            questions.retain(|_, question| now.since(question.at) < WAITS_FOR);
            if questions.len() >= QUESTIONS_MAX {
                questions.clear();
            }
        }
        let question = Question { at: now, yes: yes.into(), no: no.into(), files };
        questions.insert((ctx.cause.server_id, ctx.caller.id), question);
    }

    /// This button was pressed: what it answers is not to be answered in words once more.
    pub fn settle(&self, ctx: &Context, button: &str) {
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (ctx.cause.server_id, ctx.caller.id);
        if questions.get(&key).is_some_and(|question| question.yes == button || question.no == button) {
            questions.remove(&key);
        }
    }

    fn answered(&self, ctx: &Context) -> Option<Question> {
        let mut questions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let question = questions.remove(&(ctx.cause.server_id, ctx.caller.id))?;
        (ctx.cause.at.since(question.at) < WAITS_FOR).then_some(question)
    }
}

async fn confirm(ctx: Context, args: Args) -> Result<Answer> {
    let Some(crate::context::Value::Bool(yes)) = args.get("answer") else {
        return Err(Error::Usage("The answer is yes or no".to_owned()));
    };
    let questions = ctx.services.state::<Questions>();
    let Some(question) = questions.answered(&ctx) else {
        return refuse("ℹ️ I have not asked you anything in the last 10 minutes");
    };
    let told = if *yes { "✅ Confirmed" } else { "❌ Not Confirmed" };
    let id = if *yes { question.yes } else { question.no };
    let ctx = Context { attachments: question.files, ..ctx };
    Ok(match pressed(ctx, &id).await? {
        Answer::Reply(reply) | Answer::Update(reply) => {
            let text =
                if reply.text.is_empty() { told.to_owned() } else { format!("{told}\n{}", reply.text) };
            Answer::Reply(Reply { text, ..reply })
        }
        Answer::Nothing => told.into(),
        modal @ Answer::Modal(_) => modal,
    })
}

/// Does what a press of the button would.
async fn pressed(ctx: Context, id: &str) -> Result<Answer> {
    let (verb, fields) = id.split_once(':').unwrap_or((id, ""));
    let mut controls = ALL.iter().flat_map(|feature| feature.controls);
    let control = controls.find(|control| control.verb == verb);
    let control = control.ok_or_else(|| Error::Refused(super::undo::TOO_OLD.to_owned()))?;
    if let Some(command) = control.command.and_then(super::named) {
        permissions::check(
            command.into(),
            &ctx.caller,
            &ctx.settings,
            ctx.cause.server_id != 0,
            &ctx.prefix,
        )?;
    }
    (control.run)(ctx, Press { fields: fields.to_owned(), ..Press::default() }).await
}
