//! What people do with mneme; writers record a promise.

use crate::army::action::{Action, Param};
use crate::army::actions::undone;

pub const ALL: &[&Action] = &[&REMEMBER, &RECALL, &FORGET, &SEARCH, &GIVE, &SHOW, &REMIND, &STATS, &HELP];

const DOOR: Param = Param::choice("door", &["prefix", "mention", "slash", "any"]).default("prefix");
const REPLY: Param = Param::sets("reply");

pub const REMEMBER: Action = Action {
    name: "memory.remember",
    about: "Teaches the bot something",
    params: &[Param::text("key"), Param::text("value"), DOOR, REPLY],
    run: undone,
};

pub const RECALL: Action = Action {
    name: "memory.recall",
    about: "Asks the bot for something",
    params: &[
        Param::text("key"),
        DOOR,
        Param::choice("missing", &["fail", "ok"])
            .default("fail")
            .about("What it means when the bot remembers nothing"),
        REPLY,
    ],
    run: undone,
};

pub const FORGET: Action = Action {
    name: "memory.forget",
    about: "Makes the bot forget something",
    params: &[Param::text("key"), DOOR, REPLY],
    run: undone,
};

pub const SEARCH: Action = Action {
    name: "memory.search",
    about: "Looks for something by its name",
    params: &[Param::text("text").default(""), DOOR, REPLY],
    run: undone,
};

pub const GIVE: Action = Action {
    name: "sparkle.give",
    about: "Thanks somebody with a sparkle",
    params: &[Param::text("to").about("A person's name"), Param::text("reason").optional(), DOOR, REPLY],
    run: undone,
};

pub const SHOW: Action = Action {
    name: "sparkle.show",
    about: "Asks how many sparkles somebody has",
    params: &[Param::text("who").optional().about("A person's name; else oneself"), DOOR, REPLY],
    run: undone,
};

pub const REMIND: Action = Action {
    name: "remind.me",
    about: "Asks to be reminded",
    params: &[Param::text("time").about("As people say it: `in 2 minutes`"), Param::text("to"), DOOR, REPLY],
    run: undone,
};

pub const STATS: Action =
    Action { name: "stats.show", about: "Asks what is used", params: &[DOOR, REPLY], run: undone };

pub const HELP: Action = Action {
    name: "help",
    about: "Asks for help",
    params: &[Param::text("topic").optional(), DOOR, REPLY],
    run: undone,
};
