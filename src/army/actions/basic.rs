//! Actions on time and data: they need nobody else.

use crate::army::action::{Action, Args, Outcome, Param, Ran, Stop, Type};
use crate::army::log::Level;
use crate::army::soldier::Soldier;

pub const ALL: &[&Action] =
    &[&WAIT, &THINK, &SET, &CHECK, &SUCCEED, &FAIL, &SUCCEED_RATE, &IF_ROLE, &IF_SLOT, &LOG, &DONE, &ERROR];

pub const WAIT: Action = Action {
    name: "wait",
    about: "Waits, to the millisecond; scaled by `--wait-scale`",
    params: &[Param::duration("for")],
    run: |soldier, args| Box::pin(wait(soldier, args)),
};

pub const THINK: Action = Action {
    name: "think",
    about: "Waits as a person who thinks; scaled by `--think-scale`",
    params: &[Param::duration("for")],
    run: |soldier, args| Box::pin(think(soldier, args)),
};

pub const SET: Action = Action {
    name: "set",
    about: "Puts values into the context",
    params: &[Param::rest()],
    run: |soldier, args| Box::pin(set(soldier, args)),
};

pub const CHECK: Action = Action {
    name: "check",
    about: "Fails if a comparison does not hold",
    params: &[Param::new("that", Type::Check)],
    run: |soldier, args| Box::pin(check(soldier, args)),
};

pub const SUCCEED: Action = Action {
    name: "succeed",
    about: "Succeeds",
    params: &[],
    run: |soldier, args| Box::pin(succeed(soldier, args)),
};

pub const FAIL: Action = Action {
    name: "fail",
    about: "Fails",
    params: &[Param::text("reason").default("as the tree wants")],
    run: |soldier, args| Box::pin(fail(soldier, args)),
};

pub const SUCCEED_RATE: Action = Action {
    name: "succeed_rate",
    about: "Succeeds as often as this, else fails",
    params: &[Param::new("rate", Type::Share)],
    run: |soldier, args| Box::pin(succeed_rate(soldier, args)),
};

pub const IF_ROLE: Action = Action {
    name: "if_role",
    about: "Fails for those who have another role",
    params: &[Param::new("role", Type::Role)],
    run: |soldier, args| Box::pin(if_role(soldier, args)),
};

pub const IF_SLOT: Action = Action {
    name: "if_slot",
    about: "Fails for those on another slot",
    params: &[Param::integer("slot")],
    run: |soldier, args| Box::pin(if_slot(soldier, args)),
};

pub const LOG: Action = Action {
    name: "log",
    about: "Writes a line to the log",
    params: &[
        Param::text("text"),
        Param::choice("level", &["debug", "info", "warn", "error"]).default("info"),
        Param::new("custom", Type::Map).optional(),
    ],
    run: |soldier, args| Box::pin(log(soldier, args)),
};

pub const DONE: Action = Action {
    name: "done",
    about: "Ends the soldier, well",
    params: &[],
    run: |soldier, args| Box::pin(done(soldier, args)),
};

pub const ERROR: Action = Action {
    name: "error",
    about: "Ends the soldier as dead",
    params: &[Param::text("reason")],
    run: |soldier, args| Box::pin(error(soldier, args)),
};

async fn wait(soldier: &mut Soldier, args: Args) -> Ran {
    soldier.wait(args.duration("for")).await;
    Ok(Outcome::succeed())
}

async fn think(soldier: &mut Soldier, args: Args) -> Ran {
    soldier.think(args.duration("for")).await;
    Ok(Outcome::succeed())
}

async fn set(_: &mut Soldier, args: Args) -> Ran {
    let values = args.values().iter();
    Ok(values.fold(Outcome::succeed(), |outcome, (name, value)| outcome.set(name, value.clone())))
}

async fn check(soldier: &mut Soldier, args: Args) -> Ran {
    let check = args.check("that").expect("it is declared as required").clone();
    let holds = soldier.holds(&check, None)?;
    soldier.stage().metrics.check(check.text(), holds);
    if holds { Ok(Outcome::succeed()) } else { Err(Stop::Fail(format!("not so: {}", check.text()))) }
}

async fn succeed(_: &mut Soldier, _: Args) -> Ran {
    Ok(Outcome::succeed())
}

async fn fail(_: &mut Soldier, args: Args) -> Ran {
    Ok(Outcome::fail(args.text("reason")))
}

async fn succeed_rate(soldier: &mut Soldier, args: Args) -> Ran {
    if soldier.happens(args.number("rate")) { Ok(Outcome::succeed()) } else { Ok(Outcome::fail("drawn so")) }
}

async fn if_role(soldier: &mut Soldier, args: Args) -> Ran {
    let role = args.text("role");
    if soldier.seat().role.as_deref() == Some(role) {
        Ok(Outcome::succeed())
    } else {
        Ok(Outcome::fail(format!("the role is not {role}")))
    }
}

async fn if_slot(soldier: &mut Soldier, args: Args) -> Ran {
    let slot = args.integer("slot");
    if i64::from(soldier.seat().slot) == slot {
        Ok(Outcome::succeed())
    } else {
        Ok(Outcome::fail(format!("the slot is not {slot}")))
    }
}

async fn log(soldier: &mut Soldier, args: Args) -> Ran {
    let custom = args.get("custom").cloned();
    soldier.write(Level::named(args.text("level")), args.text("text"), custom);
    Ok(Outcome::succeed())
}

async fn done(_: &mut Soldier, _: Args) -> Ran {
    Ok(Outcome::done())
}

async fn error(_: &mut Soldier, args: Args) -> Ran {
    Ok(Outcome::error(args.text("reason")))
}
