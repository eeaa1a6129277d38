//! [`Profile`]: what a soldier does beside its tree: when it begins to live, with each event, and at the end.

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};

use crate::army::action::Stop;
use crate::army::log::Level;
use crate::army::soldier::Soldier;

/// What becomes of a hook.
pub type Hooked<'a> = BoxFuture<'a, Result<(), Stop>>;

/// A hook for an event.
pub type OnEvent = fn(&mut Soldier, &Value) -> Result<(), Stop>;

/// The hooks of `--bot NAME`. They are not measured; one that fails ends the bot, but for the last.
#[derive(Debug)]
pub struct Profile {
    pub name: &'static str,
    pub about: &'static str,
    /// Before the first step of each life.
    pub start: for<'a> fn(&'a mut Soldier) -> Hooked<'a>,
    /// With each event that the soldier hears, between its steps, before the tree's own `events`.
    pub event: Option<OnEvent>,
    /// After the last step, however the life ended, but for a panic.
    pub stop: for<'a> fn(&'a mut Soldier) -> Hooked<'a>,
}

/// No hooks.
pub const DEFAULT: Profile = Profile {
    name: "default",
    about: "Goes through the tree, and does nothing else",
    start: |_| Box::pin(async { Ok(()) }),
    event: None,
    stop: |_| Box::pin(async { Ok(()) }),
};

/// What the context counts the bot's messages under.
const HEARD: &str = "heard";

/// Comes to Discord before it begins, so that coming is part of no action, and counts what the bot says around it.
pub const PRESENT: Profile = Profile {
    name: "present",
    about: "Is on Discord before its first step, and counts the bot's messages around it: {{heard}}",
    start: |soldier| {
        Box::pin(async move {
            soldier.persona()?;
            soldier.learn(Map::from_iter([(HEARD.to_owned(), json!(0))]))
        })
    },
    event: Some(|soldier, event| {
        if event["t"] != "MESSAGE_CREATE" || event["d"]["author"]["bot"] != true {
            return Ok(());
        }
        let heard = soldier.context().get(HEARD).and_then(Value::as_u64).unwrap_or(0);
        soldier.learn(Map::from_iter([(HEARD.to_owned(), json!(heard + 1))]))
    }),
    stop: |soldier| {
        Box::pin(async move {
            let heard = soldier.context().get(HEARD).cloned();
            soldier.write(Level::Info, "leaves Discord", heard);
            soldier.leave_discord();
            Ok(())
        })
    },
};

/// All there are.
pub const ALL: &[&Profile] = &[&DEFAULT, &PRESENT];

/// The profile of this name; else which one comes near.
pub fn find(name: &str) -> Result<&'static Profile, String> {
    ALL.iter().copied().find(|profile| profile.name == name).ok_or_else(|| {
        let names = ALL.iter().map(|profile| profile.name);
        let near = crate::yaml::fault::did_you_mean(name, names.clone());
        format!("there is no bot {name}{near}; there are: {}", names.collect::<Vec<_>>().join(", "))
    })
}
