//! Actions of a person: coming, going, being somebody else.

use crate::army::action::{Action, Args, Outcome, Param, Ran};
use crate::army::soldier::Soldier;

pub const ALL: &[&Action] = &[&LOGIN, &LOGOUT, &SWITCH_USER, &JOIN, &LEAVE, &GO];

pub const LOGIN: Action = Action {
    name: "login",
    about: "Comes to Discord as this person, who is created if the server can do that; else takes an account of `--accounts`",
    params: &[Param::text("name").about("The person's name"), Param::sets("user")],
    run: |soldier, args| Box::pin(login(soldier, args)),
};

pub const LOGOUT: Action = Action {
    name: "logout",
    about: "Leaves Discord; the account stays",
    params: &[],
    run: |soldier, args| Box::pin(logout(soldier, args)),
};

pub const SWITCH_USER: Action = Action {
    name: "switch_user",
    about: "Goes on as another person",
    params: &[Param::text("name").about("The other person's name"), Param::sets("user")],
    run: |soldier, args| Box::pin(login(soldier, args)),
};

pub const JOIN: Action = Action {
    name: "join",
    about: "Joins a server",
    params: &[Param::text("server").optional().about("Its name; else the server of the run")],
    run: |soldier, args| Box::pin(join(soldier, args)),
};

pub const LEAVE: Action = Action {
    name: "leave",
    about: "Leaves the server",
    params: &[],
    run: |soldier, args| Box::pin(leave(soldier, args)),
};

pub const GO: Action = Action {
    name: "go",
    about: "Speaks in another channel from now on",
    params: &[Param::text("channel")],
    run: |soldier, args| Box::pin(go(soldier, args)),
};

async fn login(soldier: &mut Soldier, args: Args) -> Ran {
    let name = args.text("name");
    soldier.stage().pace().await;
    soldier.log_in(name)?;
    Ok(Outcome::succeed().set("user", name))
}

async fn logout(soldier: &mut Soldier, _: Args) -> Ran {
    soldier.leave_discord();
    Ok(Outcome::succeed())
}

async fn join(soldier: &mut Soldier, args: Args) -> Ran {
    let usual = soldier.stage().options.server.clone();
    soldier.join(args.maybe_text("server").unwrap_or(&usual))?;
    Ok(Outcome::succeed())
}

async fn leave(soldier: &mut Soldier, _: Args) -> Ran {
    soldier.leave()?;
    Ok(Outcome::succeed())
}

async fn go(soldier: &mut Soldier, args: Args) -> Ran {
    soldier.go(args.text("channel"))?;
    Ok(Outcome::succeed())
}
