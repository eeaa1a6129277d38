//! Actions on time and data: they need nobody else.

use crate::army::action::{Action, Param, Type};
use crate::army::actions::undone;

pub const ALL: &[&Action] =
    &[&WAIT, &THINK, &SET, &CHECK, &SUCCEED, &FAIL, &SUCCEED_RATE, &IF_ROLE, &IF_SLOT, &LOG, &DONE, &ERROR];

pub const WAIT: Action = Action {
    name: "wait",
    about: "Waits, to the millisecond; scaled by `--wait-scale`",
    params: &[Param::duration("for")],
    run: undone,
};

pub const THINK: Action = Action {
    name: "think",
    about: "Waits as a person who thinks; scaled by `--think-scale`",
    params: &[Param::duration("for")],
    run: undone,
};

pub const SET: Action =
    Action { name: "set", about: "Puts values into the context", params: &[Param::rest()], run: undone };

pub const CHECK: Action = Action {
    name: "check",
    about: "Fails if a comparison does not hold",
    params: &[Param::new("that", Type::Check)],
    run: undone,
};

pub const SUCCEED: Action = Action { name: "succeed", about: "Succeeds", params: &[], run: undone };

pub const FAIL: Action = Action {
    name: "fail",
    about: "Fails",
    params: &[Param::text("reason").default("as the tree wants")],
    run: undone,
};

pub const SUCCEED_RATE: Action = Action {
    name: "succeed_rate",
    about: "Succeeds as often as this, else fails",
    params: &[Param::new("rate", Type::Share)],
    run: undone,
};

pub const IF_ROLE: Action = Action {
    name: "if_role",
    about: "Fails for those who have another role",
    params: &[Param::new("role", Type::Role)],
    run: undone,
};

pub const IF_SLOT: Action = Action {
    name: "if_slot",
    about: "Fails for those on another slot",
    params: &[Param::integer("slot")],
    run: undone,
};

pub const LOG: Action = Action {
    name: "log",
    about: "Writes a line to the log",
    params: &[
        Param::text("text"),
        Param::choice("level", &["debug", "info", "warn", "error"]).default("info"),
        Param::new("custom", Type::Map).optional(),
    ],
    run: undone,
};

pub const DONE: Action = Action { name: "done", about: "Ends the soldier, well", params: &[], run: undone };

pub const ERROR: Action = Action {
    name: "error",
    about: "Ends the soldier as dead",
    params: &[Param::text("reason")],
    run: undone,
};
