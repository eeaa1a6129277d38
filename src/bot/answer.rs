//! From a command's work to what people see: one answer to each event, in time.
//!
//! An interaction must be acknowledged within 3 s, so after [`DEFER_AFTER`] the answer is deferred and edited
//! in later. Whoever is told by Discord that another instance has answered stops silently: the effect is one
//! and the same, and so is the answer.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use anyhow::anyhow;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use crate::bot::Bot;
use crate::bot::reply::{self, Surface};
use crate::bot::send::{Sent, addressed};
use crate::cause::Cause;
use crate::commands::stats::{self, Outcome};
use crate::context::{Answer, Command, Error, Modal, Reply, Result};
use crate::dynamo::{Units, measured};

/// When an answer that is not there yet is announced.
const DEFER_AFTER: Duration = Duration::from_millis(1_500);
/// One command in total, counted from its turn.
const COMMAND_LIMIT: Duration = Duration::from_secs(8);
/// An interaction is acknowledged before a file longer than this is sent: on a slow line that takes longer than
/// Discord waits.
const SLOW_FILE_BYTES: usize = 256 * 1024;
/// An interaction older than this on arrival is deferred before it runs: if it is dead already, the caller
/// has seen it fail and will repeat it.
const OLD_ON_ARRIVAL: Duration = Duration::from_secs(2);

/// Interaction response types.
/// <https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-response-object>
mod response {
    pub const MESSAGE: u8 = 4;
    pub const DEFERRED_MESSAGE: u8 = 5;
    pub const DEFERRED_UPDATE: u8 = 6;
    pub const UPDATE: u8 = 7;
    pub const MODAL: u8 = 9;
}

/// The work of a command, from its turn in the lane to its answer.
pub type Work = BoxFuture<'static, Result<Answer>>;

/// The same, telling what it cost.
type Measured = BoxFuture<'static, (Result<Answer>, Units)>;

/// An event that is owed an answer.
pub struct Owed {
    pub cause: Cause,
    pub prefix: std::sync::Arc<str>,
    pub command: Option<&'static Command>,
    /// For metrics: a command's name or a control's verb.
    pub name: &'static str,
    /// When the event arrived, on the monotonic clock.
    pub received: Instant,
    pub surface: Surface,
    pub to: Destination,
}

impl Owed {
    /// The name under which its use is counted; nothing for what is no command of ours.
    fn counted_as(&self) -> Option<&'static str> {
        match (self.command, &self.to) {
            (Some(command), _) => Some(command.name()),
            (None, Destination::Interaction { .. }) if self.name != "unknown" => Some(stats::CONTROLS),
            (None, _) => None,
        }
    }
}

pub enum Destination {
    /// A reply to a message.
    Message { channel_id: u64, message_id: u64 },
    /// The response to an interaction.
    Interaction {
        id: u64,
        token: String,
        /// The first response fixes who sees the answer.
        private: bool,
        /// A button, select menu or modal of a message of ours, which can be updated.
        on_message: bool,
    },
}

/// How far an interaction's response has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Deferred,
    /// Another instance answers, or it is too late.
    Lost,
}

/// Whether an interaction came in time to be answered in time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    New,
    Old,
}

impl Bot {
    /// Runs the work and sends its answer.
    pub(super) async fn answer(&self, owed: Owed, work: Work) {
        let mut work: Measured = Box::pin(measured(work));
        match &owed.to {
            Destination::Message { channel_id, .. } => {
                let channel_id = *channel_id;
                let answer = match timeout_at(owed.received + DEFER_AFTER, &mut work).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        let typing = self.sender.typing(&self.services, channel_id);
                        futures::join!(typing, work).1
                    }
                };
                let reply = self.outcome(&owed, answer);
                self.reply_to_message(&owed, reply).await;
            }
            Destination::Interaction { .. } => self.answer_interaction(owed, work).await,
        }
    }

    async fn answer_interaction(&self, owed: Owed, mut work: Measured) {
        let mut stage = Stage::Open;
        if self.services.clock.now().since(owed.cause.at) > OLD_ON_ARRIVAL {
            stage = self.defer(&owed, Age::Old).await;
            if stage == Stage::Lost {
                return;
            }
        }
        let answer = if stage == Stage::Deferred {
            work.await
        } else {
            match timeout_at(owed.received + DEFER_AFTER, &mut work).await {
                Ok(answer) => answer,
                Err(_) => {
                    let (deferred, answer) = futures::join!(self.defer(&owed, Age::New), work);
                    stage = deferred;
                    answer
                }
            }
        };
        let answer = self.outcome(&owed, answer);
        if stage == Stage::Open && has_slow_files(&answer) {
            stage = self.defer(&owed, Age::New).await;
        }
        match stage {
            Stage::Open => self.respond(&owed, answer).await,
            Stage::Deferred => self.respond_late(&owed, answer).await,
            Stage::Lost => {}
        }
    }

    /// Counts how the work ended and turns an error into words.
    fn outcome(&self, owed: &Owed, (answer, units): (Result<Answer>, Units)) -> Answer {
        let (outcome, label) = match &answer {
            Ok(_) => (Outcome::Ok, "ok"),
            Err(Error::Refused(_) | Error::Usage(_)) => (Outcome::Refused, "refused"),
            Err(_) => (Outcome::Error, "error"),
        };
        self.services.metrics.command(owed.name, label);
        tracing::Span::current().record("outcome", label);
        self.services.metrics.command_seconds.observe(owed.received.elapsed().as_secs_f64());
        self.services.instance.backstage.tell("worked", || {
            let units = json!({"read": units.read, "write": units.write});
            json!({"command": owed.name, "outcome": label, "units": units})
        });
        if let Some(name) = owed.counted_as() {
            stats::ended(&self.services, &owed.cause, name, outcome, units);
        }
        answer.unwrap_or_else(|error| {
            Answer::Reply(reply::apology(error, &owed.prefix, owed.command, &owed.cause))
        })
    }

    async fn defer(&self, owed: &Owed, age: Age) -> Stage {
        let Destination::Interaction { id, token, private, on_message } = &owed.to else {
            return Stage::Open;
        };
        let body = match (on_message, private) {
            (true, _) => json!({ "type": response::DEFERRED_UPDATE }),
            (false, true) => json!({ "type": response::DEFERRED_MESSAGE, "data": { "flags": 64 } }),
            (false, false) => json!({ "type": response::DEFERRED_MESSAGE }),
        };
        let (services, interaction) = (&self.services, (*id, token.as_str()));
        let sent = match age {
            Age::New => self.sender.callback(services, interaction, owed.received, &body, &[]).await,
            Age::Old => self.sender.callback_to_old(services, interaction, owed.received, &body).await,
        };
        if matches!(sent, Sent::Done(())) { Stage::Deferred } else { Stage::Lost }
    }

    /// The first response, in time.
    async fn respond(&self, owed: &Owed, answer: Answer) {
        let Destination::Interaction { id, token, private, on_message } = &owed.to else { return };
        let (kind, reply) = match answer {
            Answer::Reply(reply) => {
                (response::MESSAGE, Reply { private: reply.private || *private, ..reply })
            }
            Answer::Update(reply) if *on_message => (response::UPDATE, reply),
            Answer::Update(reply) => (response::MESSAGE, reply),
            Answer::Modal(modal) => return self.open_modal(owed, &modal).await,
            Answer::Nothing => {
                self.defer(owed, Age::New).await;
                return;
            }
        };
        let clears = kind == response::UPDATE && !reply.keeps_files;
        let mut parts = reply::render(reply, owed.surface).into_iter();
        let mut first = parts.next().expect("render gives at least one part");
        if clears {
            first.clear_files();
        }
        let body = json!({ "type": kind, "data": first.body });
        let sent =
            self.sender.callback(&self.services, (*id, token), owed.received, &body, &first.files).await;
        if matches!(sent, Sent::Done(())) {
            for part in parts {
                self.sender.follow_up(&self.services, token, &part.body, &part.files).await;
            }
        }
    }

    /// The answer after a deferral.
    async fn respond_late(&self, owed: &Owed, answer: Answer) {
        let Destination::Interaction { token, on_message, private, .. } = &owed.to else { return };
        let (reply, replaces) = match answer {
            Answer::Reply(reply) => (reply, !on_message),
            Answer::Update(reply) => (reply, true),
            Answer::Modal(_) => {
                let text = "⚠ That took me too long; please try again";
                (Reply { private: true, ..text.into() }, !on_message)
            }
            Answer::Nothing => return,
        };
        let clears = *on_message && !reply.keeps_files;
        let reply = Reply { private: reply.private || *private, ..reply };
        let mut parts = reply::render(reply, owed.surface).into_iter();
        if replaces && let Some(mut first) = parts.next() {
            if clears {
                first.clear_files();
            }
            self.sender.edit_original(&self.services, token, &first.body, &first.files).await;
        }
        for part in parts {
            self.sender.follow_up(&self.services, token, &part.body, &part.files).await;
        }
    }

    async fn open_modal(&self, owed: &Owed, modal: &Modal) {
        let Destination::Interaction { id, token, .. } = &owed.to else { return };
        let body = json!({ "type": response::MODAL, "data": reply::modal(modal) });
        self.sender.callback(&self.services, (*id, token), owed.received, &body, &[]).await;
    }

    async fn reply_to_message(&self, owed: &Owed, answer: Answer) {
        let Destination::Message { channel_id, message_id } = owed.to else { return };
        let reply = match answer {
            Answer::Reply(reply) | Answer::Update(reply) => reply,
            Answer::Modal(_) | Answer::Nothing => return,
        };
        for (place, part) in reply::render(reply, owed.surface).into_iter().enumerate() {
            let body = addressed(part.body, owed.cause.nonce(place), (place == 0).then_some(message_id));
            let sent = self.sender.message(&self.services, channel_id, body, &part.files).await;
            if !matches!(sent, Sent::Done(_)) {
                warn!(channel_id, cause = %owed.cause.id, ?sent, "a reply was not delivered");
                return;
            }
        }
    }
}

fn has_slow_files(answer: &Answer) -> bool {
    match answer {
        Answer::Reply(reply) | Answer::Update(reply) => {
            reply.files.iter().map(|file| file.bytes.len()).sum::<usize>() > SLOW_FILE_BYTES
        }
        Answer::Modal(_) | Answer::Nothing => false,
    }
}

/// The work with its limits: it ends in time, and a panic in it is an error like others.
pub(super) async fn guarded(work: Work) -> Result<Answer> {
    match timeout(COMMAND_LIMIT, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err(anyhow!("the command panicked").into()),
        Err(_) => Err(Error::TimedOut),
    }
}
