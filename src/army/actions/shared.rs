//! Actions on what soldiers share.

use crate::army::action::{Action, Param, Type};
use crate::army::actions::undone;

pub const ALL: &[&Action] = &[&GET, &PUT, &ADD, &TAKE, &SIGNAL, &WAIT_FOR, &BARRIER, &DEAL, &UNDEAL];

const PER: Param = Param::choice("per", &["slot", "bot"]).default("slot");

pub const GET: Action = Action {
    name: "shared.get",
    about: "Reads a shared value; fails if there is none",
    params: &[Param::text("key"), Param::new("into", Type::Into)],
    run: undone,
};

pub const PUT: Action = Action {
    name: "shared.put",
    about: "Writes a shared value",
    params: &[Param::text("key"), Param::new("value", Type::Any)],
    run: undone,
};

pub const ADD: Action = Action {
    name: "shared.add",
    about: "Adds to a shared number",
    params: &[Param::text("key"), Param::integer("by").default("1"), Param::into("into").about("The sum")],
    run: undone,
};

pub const TAKE: Action = Action {
    name: "take",
    about: "Takes a shared value away, as the only one; fails if there is none",
    params: &[Param::text("key"), Param::new("into", Type::Into)],
    run: undone,
};

pub const SIGNAL: Action = Action {
    name: "signal",
    about: "Writes a shared value and wakes who waits for it",
    params: &[Param::text("key"), Param::new("value", Type::Any).default("true")],
    run: undone,
};

pub const WAIT_FOR: Action = Action {
    name: "wait_for",
    about: "Waits for a shared value",
    params: &[
        Param::text("key"),
        Param::new("when", Type::Check).optional().about("On `value`; else any value will do"),
        Param::duration("within").default("30s"),
        Param::into("into"),
    ],
    run: undone,
};

pub const BARRIER: Action = Action {
    name: "barrier",
    about: "Waits until so many soldiers are here",
    params: &[
        Param::text("name"),
        Param::new("size", Type::Count).default("all"),
        Param::duration("within").default("60s"),
    ],
    run: undone,
};

pub const DEAL: Action = Action {
    name: "deal",
    about: "Gets an element of a list that nobody else gets; asking again repeats it; fails when the list is exhausted",
    params: &[Param::new("list", Type::ListName), Param::new("into", Type::Into), PER],
    run: undone,
};

pub const UNDEAL: Action = Action {
    name: "undeal",
    about: "Gives a dealt element back",
    params: &[Param::new("list", Type::ListName), PER],
    run: undone,
};
