//! The Undo button: finds out what the change was, and lets its owner take it back.
//!
//! The button carries nothing but the event, so it works after a restart and on another instance. Which
//! feature takes the change back is told by the kind of its row in the history.

use std::time::Duration;

use crate::cause::Cause;
use crate::clock::Timestamp;
use crate::commands::ALL;
use crate::context::{Answer, Button, Context, Control, Error, Feature, Press, Result, Undo};
use crate::dynamo::Query;
use crate::history::{BY_EVENT, Revision};
use crate::permissions;

/// For a button whose change is not there any more, or that no version of ours made.
pub const TOO_OLD: &str = "⚠ That button is too old";

/// How long the actor may take a change back; moderators may at any time.
pub const OWN_WITHIN: Duration = Duration::from_secs(600);

pub const FEATURE: Feature = Feature {
    name: "undo",
    controls: &[Control { verb: "undo", command: None, run: |ctx, press| Box::pin(pressed(ctx, press)) }],
    ..Feature::EMPTY
};

/// The button under the answer to an event that changed something.
pub fn button(event: u64) -> Button {
    Button::new(format!("undo:{event}"), "Undo")
}

/// Whoever made a change may take it back for a while, and moderators at any time. `by` and `at` are of the change.
pub fn may_take_back(cause: &Cause, moderator: bool, by: Option<u64>, at: Option<Timestamp>) -> bool {
    let age = at.map_or(Duration::MAX, |at| cause.at.since(at));
    moderator || (by == Some(cause.actor_id) && age <= OWN_WITHIN)
}

/// What was taken back stands in place of what was done.
async fn pressed(ctx: Context, press: Press) -> Result<Answer> {
    let too_old = || Error::Refused(TOO_OLD.to_owned());
    let event = press.fields.parse().ok().filter(|event: &u64| event.to_string() == press.fields);
    let (undo, row) = changed(&ctx, event.ok_or_else(too_old)?).await?.ok_or_else(too_old)?;
    let command = crate::commands::named(undo.command).ok_or_else(too_old)?;
    permissions::check(command.into(), &ctx.caller, &ctx.settings, ctx.cause.server_id != 0, &ctx.prefix)?;
    (undo.run)(ctx, row).await.map(Answer::Update)
}

/// What the index tells of the change that an event made, and who can take it back.
async fn changed(ctx: &Context, event: u64) -> Result<Option<(&'static Undo, Revision)>> {
    let query = Query::by_index(BY_EVENT, ctx.cause.server_id).between(event, event);
    let rows: Vec<Revision> = ctx.dynamo().query_all(query).await?;
    Ok(rows.into_iter().find_map(|row| Some((of_kind(row.thing()?.0)?, row))))
}

fn of_kind(kind: &str) -> Option<&'static Undo> {
    ALL.iter().flat_map(|feature| feature.undo).find(|undo| undo.kind == kind)
}
