//! Actions on what soldiers share.

use serde_json::Value;

use crate::army::action::{Action, Args, Outcome, Param, Ran, Stop, Type};
use crate::army::soldier::Soldier;
use crate::shared::{BarrierError, SharedError, WaitError};

pub const ALL: &[&Action] = &[&GET, &PUT, &ADD, &TAKE, &SIGNAL, &WAIT_FOR, &BARRIER, &DEAL, &UNDEAL];

const PER: Param = Param::choice("per", &["slot", "bot"]).default("slot");

pub const GET: Action = Action {
    name: "shared.get",
    about: "Reads a shared value; fails if there is none",
    params: &[Param::text("key"), Param::new("into", Type::Into)],
    run: |soldier, args| Box::pin(get(soldier, args)),
};

pub const PUT: Action = Action {
    name: "shared.put",
    about: "Writes a shared value",
    params: &[Param::text("key"), Param::new("value", Type::Any)],
    run: |soldier, args| Box::pin(put(soldier, args)),
};

pub const ADD: Action = Action {
    name: "shared.add",
    about: "Adds to a shared number",
    params: &[Param::text("key"), Param::integer("by").default("1"), Param::into("into").about("The sum")],
    run: |soldier, args| Box::pin(add(soldier, args)),
};

pub const TAKE: Action = Action {
    name: "take",
    about: "Takes a shared value away, as the only one; fails if there is none",
    params: &[Param::text("key"), Param::new("into", Type::Into)],
    run: |soldier, args| Box::pin(take(soldier, args)),
};

pub const SIGNAL: Action = Action {
    name: "signal",
    about: "Writes a shared value and wakes who waits for it",
    params: &[Param::text("key"), Param::new("value", Type::Any).default("true")],
    run: |soldier, args| Box::pin(signal(soldier, args)),
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
    run: |soldier, args| Box::pin(wait_for(soldier, args)),
};

pub const BARRIER: Action = Action {
    name: "barrier",
    about: "Waits until so many soldiers are here",
    params: &[
        Param::text("name"),
        Param::new("size", Type::Count).default("all"),
        Param::duration("within").default("60s"),
    ],
    run: |soldier, args| Box::pin(barrier(soldier, args)),
};

pub const DEAL: Action = Action {
    name: "deal",
    about: "Gets an element of a list that nobody else gets; asking again repeats it; fails when the list is exhausted",
    params: &[Param::new("list", Type::ListName), Param::new("into", Type::Into), PER],
    run: |soldier, args| Box::pin(deal(soldier, args)),
};

pub const UNDEAL: Action = Action {
    name: "undeal",
    about: "Gives a dealt element back",
    params: &[Param::new("list", Type::ListName), PER],
    run: |soldier, args| Box::pin(undeal(soldier, args)),
};

/// Shared data that cannot be had is an error: the soldier cannot tell what is so.
fn out_of_reach(error: SharedError) -> Stop {
    Stop::Error(format!("shared data: {error}"))
}

fn found(value: Option<Value>, args: &Args, missing: &str) -> Outcome {
    match value {
        Some(value) => Outcome::succeed().set(args.text("into"), value),
        None => Outcome::fail(missing),
    }
}

async fn get(soldier: &mut Soldier, args: Args) -> Ran {
    let key = args.text("key");
    let value = soldier.stage().shared.get(key).await.map_err(out_of_reach)?;
    Ok(found(value, &args, &format!("there is no shared {key}")))
}

async fn put(soldier: &mut Soldier, args: Args) -> Ran {
    soldier.stage().shared.put(args.text("key"), args.value("value")).await.map_err(out_of_reach)?;
    Ok(Outcome::succeed())
}

async fn add(soldier: &mut Soldier, args: Args) -> Ran {
    let sum = soldier.stage().shared.add(args.text("key"), args.integer("by")).await.map_err(out_of_reach)?;
    Ok(match args.maybe_text("into") {
        Some(name) => Outcome::succeed().set(name, sum),
        None => Outcome::succeed(),
    })
}

async fn take(soldier: &mut Soldier, args: Args) -> Ran {
    let key = args.text("key");
    let value = soldier.stage().shared.take(key).await.map_err(out_of_reach)?;
    Ok(found(value, &args, &format!("there is no shared {key} to take")))
}

async fn signal(soldier: &mut Soldier, args: Args) -> Ran {
    soldier.stage().shared.signal(args.text("key"), args.value("value")).await.map_err(out_of_reach)?;
    Ok(Outcome::succeed())
}

async fn wait_for(soldier: &mut Soldier, args: Args) -> Ran {
    let (key, within) = (args.text("key"), args.duration("within"));
    let (shared, check) = (soldier.stage().shared.clone(), args.check("when").cloned());
    let waited = match check {
        None => shared.wait_for::<Value>(key, |value| value.is_some(), within).await,
        // What it is compared with does not change while the soldier waits.
        Some(check) => {
            let soldier = std::sync::Mutex::new(&mut *soldier);
            let ready = |value: Option<&Value>| {
                let mut soldier = soldier.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                value.is_some_and(|value| soldier.holds(&check, Some(("value", value))) == Ok(true))
            };
            shared.wait_for::<Value>(key, ready, within).await
        }
    };
    match waited {
        Ok(value) => Ok(match args.maybe_text("into") {
            Some(name) => Outcome::succeed().set(name, value),
            None => Outcome::succeed(),
        }),
        Err(WaitError::Timeout { last }) => {
            let last = last.map_or_else(|| "nothing".to_owned(), |last| last.to_string());
            Ok(Outcome::fail(format!("{key} is {last} after {} s", within.as_secs_f64())))
        }
        Err(WaitError::Shared(error)) => Err(out_of_reach(error)),
    }
}

async fn barrier(soldier: &mut Soldier, args: Args) -> Ran {
    let (name, within) = (args.text("name"), args.duration("within"));
    let stage = soldier.stage().clone();
    let size = args.count("size").map_or(stage.options.slots as usize, |size| size as usize);
    stage.barrier_seen(name, size).await.map_err(out_of_reach)?;
    match stage.shared.barrier(name, &soldier.who(false), size, within).await {
        Ok(_) => Ok(Outcome::succeed()),
        Err(BarrierError::Shared(error)) => Err(out_of_reach(error)),
        Err(error) => Ok(Outcome::fail(error.to_string())),
    }
}

async fn deal(soldier: &mut Soldier, args: Args) -> Ran {
    let (list, who) = (args.text("list"), soldier.who(args.text("per") == "bot"));
    let element = soldier.stage().shared.deal(list, &who).await.map_err(out_of_reach)?;
    Ok(found(element, &args, &format!("everything in {list} is dealt")))
}

async fn undeal(soldier: &mut Soldier, args: Args) -> Ran {
    let (list, who) = (args.text("list"), soldier.who(args.text("per") == "bot"));
    let returned = soldier.stage().shared.undeal(list, &who).await.map_err(out_of_reach)?;
    if returned { Ok(Outcome::succeed()) } else { Ok(Outcome::fail(format!("nothing of {list} was dealt"))) }
}
