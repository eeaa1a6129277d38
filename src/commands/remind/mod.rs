//! `.remind`, `.reminders` and `.timezone`: what people want to be told, when they want to be told it.
//!
//! A reminder is one record, and one more in `due` for as long as it waits; both are written in one
//! transaction. What is typed is understood in [`crate::calendar`]; [`ask`] makes and lists reminders,
//! [`change`] cancels them and puts them off, [`deliver`] brings them, exactly once.

mod ask;
mod change;
mod codes;
mod deliver;
mod record;
#[cfg(test)]
mod tests;
mod zone;

use std::sync::Arc;

use crate::cause::Cause;
use crate::context::{
    Answer, Args, Choice, Command, Context, Control, Error, Feature, Job, Kind, Level, Param, Pays, Place,
    Reply, Result, Services, Typing,
};
use crate::due::Due;
use crate::dynamo::{Dynamo, Query, Table, TableSpec};
use crate::settings::Settings;

use ask::{Asked, Whom};
use codes::Codes;
use record::Reminder;

pub const FEATURE: Feature = Feature {
    name: "remind",
    commands: COMMANDS,
    controls: CONTROLS,
    tables: &[TableSpec::of::<Reminder>()],
    jobs: &[Job { kind: record::KIND, run: |services, due| Box::pin(deliver::deliver(services, due)) }],
    background: Some(|services, shutdown| {
        Box::pin(async move { services.state::<Codes>().run(&services.dynamo, shutdown).await })
    }),
    ..Feature::EMPTY
};

const WHEN: Param = Param::required("when", "In 2 hours, tomorrow 9:00, on 1 may at 6pm", Kind::Text);
const TEXT: Param = Param::required("text", "What to remind of", Kind::Text);
const CODE: Param =
    Param::required("code", "The four letters of the reminder", Kind::Text).suggesting(suggest_code);

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["remind me"],
        slash: &["remind me"],
        summary: "Remind you of something, by direct message",
        usage: "<time> to <text>",
        options: &[WHEN, TEXT],
        parse: whole_text,
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(remind(&Call::of(&ctx), Whom::Me, &args).await) }),
        ..Command::DEFAULT
    },
    Command {
        prefix: &["remind here"],
        slash: &["remind here"],
        summary: "Remind you of something, in this channel",
        usage: "<time> to <text>",
        options: &[WHEN, TEXT],
        parse: whole_text,
        place: Place::Server,
        level: Level::Moderator,
        pays: Pays::WithItsChange,
        run: |ctx, args| Box::pin(async move { answer(remind(&Call::of(&ctx), Whom::Here, &args).await) }),
        ..Command::DEFAULT
    },
    Command {
        prefix: &["reminders"],
        slash: &["remind list"],
        summary: "List your reminders",
        private: true,
        run: |ctx, _| Box::pin(async move { answer(reading(ask::list(&Call::of(&ctx)).await)) }),
        ..Command::DEFAULT
    },
    Command {
        prefix: &["reminder cancel"],
        slash: &["remind cancel"],
        summary: "Cancel a reminder",
        usage: "<code>",
        options: &[CODE],
        private: true,
        pays: Pays::WithItsChange,
        run: |ctx, args| {
            Box::pin(async move { answer(change::cancel(&Call::of(&ctx), args.text("code")?).await) })
        },
        ..Command::DEFAULT
    },
    Command {
        prefix: &["reminder snooze"],
        slash: &["remind snooze"],
        summary: "Put a reminder off",
        usage: "<code> <duration>",
        options: &[CODE, Param::required("duration", "10 min, 2 hours, tomorrow 9:00", Kind::Text)],
        private: true,
        pays: Pays::WithItsChange,
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                answer(change::snooze(&call, args.text("code")?, args.text("duration")?).await)
            })
        },
        ..Command::DEFAULT
    },
    Command {
        prefix: &["timezone"],
        slash: &["remind timezone"],
        summary: "Show or set your time zone",
        usage: "[zone]",
        options: &[Param::optional("zone", "Europe/Berlin, UTC+2", Kind::Text).suggesting(suggest_zone)],
        private: true,
        run: |ctx, args| {
            Box::pin(async move {
                let call = Call::of(&ctx);
                answer(match args.maybe_text("zone") {
                    Some(zone) => zone::set(&call, zone).await,
                    None => reading(zone::show(&call).await),
                })
            })
        },
        ..Command::DEFAULT
    },
];

const CONTROLS: &[Control] = &[
    Control {
        verb: "remind-cancel",
        command: Some("reminder cancel"),
        run: |ctx, press| {
            Box::pin(async move {
                change::cancel_pressed(&Call::of(&ctx), &press.fields).await.map(Answer::Update)
            })
        },
    },
    Control {
        verb: "remind-snooze",
        command: Some("reminder snooze"),
        run: |ctx, press| {
            Box::pin(async move {
                change::snooze_pressed(&Call::of(&ctx), &press.fields).await.map(Answer::Update)
            })
        },
    },
    Control {
        verb: "remind-done",
        command: Some("reminders"),
        run: |ctx, press| {
            Box::pin(async move {
                reading(change::done_pressed(&Call::of(&ctx), &press.fields).await).map(Answer::Update)
            })
        },
    },
];

/// Who asks, where, and by which clock.
pub struct Call {
    pub services: Arc<Services>,
    pub cause: Cause,
    pub prefix: Arc<str>,
    pub channel_id: u64,
    pub settings: Arc<Settings>,
}

impl Call {
    fn of(ctx: &Context) -> Self {
        Self {
            services: ctx.services.clone(),
            cause: ctx.cause.clone(),
            prefix: ctx.prefix.clone(),
            channel_id: ctx.channel_id,
            settings: ctx.settings.clone(),
        }
    }

    fn dynamo(&self) -> &Dynamo {
        &self.services.dynamo
    }

    fn actor(&self) -> u64 {
        self.cause.actor_id
    }

    /// The caller's reminders have changed.
    fn changed(&self) {
        self.services.state::<Codes>().let_go(self.actor());
    }
}

/// Takes away what is due of a person's reminders. The reminders themselves say whose they are.
pub async fn forget(services: &Services, person: u64) -> Result<(), crate::dynamo::Error> {
    let all: Vec<Reminder> = services.dynamo.query_all(Query::<Reminder>::of(person)).await?;
    for reminder in all {
        services.dynamo.delete::<Due>(reminder.due().key()).await?;
    }
    Ok(())
}

fn answer(reply: Result<Reply>) -> Result<Answer> {
    reply.map(Answer::Reply)
}

/// What was to be read and nothing else: if the store is silent, trying again is harmless.
fn reading(reply: Result<Reply>) -> Result<Reply> {
    match reply {
        Err(Error::Store(error)) => Err(Error::Read(error)),
        other => other,
    }
}

/// The text door's words, for a grammar of their own.
fn whole_text(_: &Command, text: &str) -> Result<Args> {
    Ok(Args::new().with_text("line", text))
}

async fn remind(call: &Call, whom: Whom, args: &Args) -> Result<Reply> {
    let asked = match args.maybe_text("line") {
        Some(line) => Asked::Line(line),
        None => Asked::Apart { when: args.text("when")?, text: args.text("text")? },
    };
    ask::remind(call, whom, asked).await
}

fn suggest_code(services: &Arc<Services>, typing: Typing<'_>) -> Vec<Choice> {
    services.state::<Codes>().suggest(typing.person_id, typing.text, services.clock.now())
}

fn suggest_zone(_: &Arc<Services>, typing: Typing<'_>) -> Vec<Choice> {
    /// Discord shows no more.
    const CHOICES: usize = 25;
    let zones = crate::calendar::zones_like(typing.text, CHOICES);
    zones.into_iter().map(|zone| Choice { label: zone.clone(), value: zone }).collect()
}
