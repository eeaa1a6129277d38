//! Who gets past: bans and blocks before any command is looked at, then rules and levels, then cooldowns.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::bans::{List, Who};
use crate::cause::{Cause, Taking, Toll};
use crate::clock::Timestamp;
use crate::context::{Answer, Args, Caller, Context, Error, Pays, Result, Services, refuse};
use crate::cooldowns;
use crate::markdown::{code, time_relative};
use crate::permissions::Asked;
use crate::settings::{Per, Settings};

pub const STARTING: &str = "⏳ I am still starting up; try again in a few seconds";
const BANNED: &str = "Sorry, you are banned";
const SERVER_BANNED: &str = "Sorry, this server is banned";

/// Somebody who is banned is told so once in this time, and is met with silence otherwise.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(600);
/// Those who were told lately; beyond it all are forgotten, and told once more.
const TOLD_MAX: usize = 10_000;

/// How an event is met before any command is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Welcome,
    /// It is answered with this and does not run.
    Told(&'static str),
    Silence,
}

/// Who was told lately that they are banned.
#[derive(Debug, Default)]
pub struct Told(Mutex<HashMap<u64, Timestamp>>);

impl Told {
    /// Whether somebody is to be told now.
    fn again(&self, id: u64, now: Timestamp) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&id).is_some_and(|at| now.since(*at) < TOLD_AGAIN_AFTER) {
            return false;
        }
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(id, now);
        true
    }
}

/// Where a caller stands. `blocks` are those of the server, as far as they are known.
pub fn standing(services: &Services, caller: &Caller, server_id: u64, blocks: &List) -> Standing {
    let now = services.clock.now();
    let Some(bans) = services.bans.instance() else { return Standing::Told(STARTING) };
    let told = |id, text| match services.state::<Told>().again(id, now) {
        true => Standing::Told(text),
        false => Standing::Silence,
    };
    if bans.ban_of(Who::Person(caller.id), now).is_some() {
        return told(caller.id, BANNED);
    }
    if server_id != 0 && bans.ban_of(Who::Server(server_id), now).is_some() {
        return told(server_id, SERVER_BANNED);
    }
    // They could not be blocked, but may have come to their rights since.
    let blocked = !caller.admin && !caller.bot_owner;
    if blocked && blocks.ban_of(Who::Person(caller.id), now).is_some() {
        return Standing::Silence;
    }
    Standing::Welcome
}

/// What a call has to take, if its server has set a cooldown for it.
pub fn toll(settings: &Settings, asked: Asked, cause: &Cause, channel_id: u64) -> Option<Toll> {
    let name = asked.counts_as().name();
    let cooldown = settings.cooldowns.get(name)?;
    let slot = match cooldown.per {
        Per::User => format!("{name}#user#{}", cause.actor_id),
        Per::Channel => format!("{name}#channel#{channel_id}"),
        Per::Server => format!("{name}#server#{}", cause.server_id),
    };
    // Records hold seconds: rounded up, so that a cooldown is never shorter than it says.
    let until = cause.at.plus(Duration::from_secs(cooldown.seconds) + Duration::from_millis(999));
    Some(Toll::new(slot, Timestamp::from_seconds(until.seconds())))
}

/// Runs a command that may run, and takes its cooldown when the command says.
pub async fn run(mut ctx: Context, asked: Asked, args: Args) -> Result<Answer> {
    let toll = toll(&ctx.settings, asked, &ctx.cause, ctx.channel_id);
    ctx.cause = ctx.cause.with_toll(toll);
    let (services, cause) = (ctx.services.clone(), ctx.cause.clone());
    let typed = ctx.typed(asked.counts_as().name());
    if asked.command.pays == Pays::First {
        take(&services, &cause, &typed).await?;
    }
    let answer = (asked.command.run)(ctx, args).await;
    let Some(toll) = &cause.toll else { return answer };
    match (toll.state(), &answer) {
        // It changed nothing, so the answer is what was asked for.
        (Taking::Open, Ok(_)) => take(&services, &cause, &typed).await.and(answer),
        (Taking::Refused(until), _) => not_yet(&typed, until),
        _ => answer,
    }
}

/// Takes what the event has to take, before it has any effect.
pub async fn take(services: &Services, cause: &Cause, typed: &str) -> Result<()> {
    cooldowns::take(&services.dynamo, cause).await.map_err(Error::Store)?;
    match cause.toll.as_ref().map(Toll::state) {
        Some(Taking::Refused(until)) => not_yet(typed, until),
        _ => Ok(()),
    }
}

fn not_yet<T>(typed: &str, until: Timestamp) -> Result<T> {
    refuse(format!("⏳ Not yet: you can use {} again {}", code(typed), time_relative(until)))
}
