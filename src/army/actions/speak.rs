//! Actions of speaking: they succeed when Discord has accepted what was said.

use crate::army::action::{Action, Param};
use crate::army::actions::undone;

pub const ALL: &[&Action] = &[&SAY, &MENTION, &DM, &REACT, &EDIT, &DELETE];

/// What was said last is in `last`.
const LAST: Param = Param::sets("last");
const ON: Param = Param::text("on").optional().about("The id of a message; else one's last");

pub const SAY: Action = Action {
    name: "say",
    about: "Says something in the channel",
    params: &[
        Param::text("text"),
        Param::text("channel").optional(),
        Param::text("reply_to").optional().about("The id of a message"),
        LAST,
    ],
    run: undone,
};

pub const MENTION: Action = Action {
    name: "mention",
    about: "Says something to the bot, by mention",
    params: &[Param::text("text"), LAST],
    run: undone,
};

pub const DM: Action = Action {
    name: "dm",
    about: "Says something to the bot, by direct message",
    params: &[Param::text("text"), LAST],
    run: undone,
};

pub const REACT: Action = Action {
    name: "react",
    about: "Adds a reaction to a message",
    params: &[Param::text("emoji"), ON],
    run: undone,
};

pub const EDIT: Action =
    Action { name: "edit", about: "Changes what was said", params: &[Param::text("text"), ON], run: undone };

pub const DELETE: Action =
    Action { name: "delete", about: "Deletes what was said", params: &[ON], run: undone };
