//! Actions of a person: coming, going, being somebody else.

use crate::army::action::{Action, Param};
use crate::army::actions::undone;

pub const ALL: &[&Action] = &[&LOGIN, &LOGOUT, &SWITCH_USER, &JOIN, &LEAVE, &GO];

pub const LOGIN: Action = Action {
    name: "login",
    about: "Comes to Discord as this person, who is created if the server can do that; else takes an account of `--accounts`",
    params: &[Param::text("name").about("The person's name"), Param::sets("user")],
    run: undone,
};

pub const LOGOUT: Action =
    Action { name: "logout", about: "Leaves Discord; the account stays", params: &[], run: undone };

pub const SWITCH_USER: Action = Action {
    name: "switch_user",
    about: "Goes on as another person",
    params: &[Param::text("name").about("The other person's name"), Param::sets("user")],
    run: undone,
};

pub const JOIN: Action = Action {
    name: "join",
    about: "Joins a server",
    params: &[Param::text("server").optional().about("Its name; else the server of the run")],
    run: undone,
};

pub const LEAVE: Action = Action { name: "leave", about: "Leaves the server", params: &[], run: undone };

pub const GO: Action = Action {
    name: "go",
    about: "Speaks in another channel from now on",
    params: &[Param::text("channel")],
    run: undone,
};
