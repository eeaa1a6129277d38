//! Cooldowns: who used a command and must wait, one record each.
//!
//! A cooldown is taken by a condition, in the transaction of the effect where there is one, so that two bots
//! cannot give it twice. The record names the event, so that a redelivered event is not blocked by its own.

use serde::{Deserialize, Serialize};

use crate::cause::{Cause, Taking, Toll};
use crate::clock::Timestamp;
use crate::dynamo::{
    self, Column, Commit, Condition, Dynamo, Personal, Places, Privacy, Table, Transaction, Update, Updated,
};

/// What a command says that found its cooldown taken. Nobody reads it: the gate answers, and says how long.
pub const NOT_YET: &str = "⏳ Not yet";

/// One record of the table `cooldowns`. It is gone when it is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub discord_server_id: u64,
    /// `<command>#<user|channel|server>#<id>`
    pub slot: String,
    /// In seconds since 1970, as is `expires_at`.
    pub until: i64,
    pub event_id: u64,
    pub expires_at: i64,
}

/// Whom a slot is about: `<command>#user#<id>`.
fn person_in(slot: &str) -> Option<u64> {
    let (rest, id) = slot.rsplit_once('#')?;
    rest.ends_with("#user").then(|| id.parse().ok()).flatten()
}

impl Table for Taken {
    const NAME: &'static str = "cooldowns";
    const KEY: &'static [&'static str] = &["discord_server_id", "slot"];
    const EXPIRES: Option<&'static str> = Some("expires_at");
    const PERSONAL: Personal = Personal {
        attributes: &[
            ("discord_server_id", Privacy::None),
            ("slot", Privacy::Within(person_in)),
            ("until", Privacy::None),
            ("event_id", Privacy::None),
            ("expires_at", Privacy::None),
        ],
        places: Places::Server,
        kept: "until it is over",
    };
    type Key = (u64, String);

    fn key(&self) -> Self::Key {
        (self.discord_server_id, self.slot.clone())
    }
}

const UNTIL: Column<Taken, i64> = Column::new("until");
const EVENT_ID: Column<Taken, u64> = Column::new("event_id");
const EXPIRES_AT: Column<Taken, i64> = Column::new("expires_at");

fn key(cause: &Cause, toll: &Toll) -> (u64, String) {
    (cause.server_id, toll.slot.clone())
}

/// Nobody has it, or this event has.
fn free(cause: &Cause) -> Condition<Taken> {
    Condition::absent().or(Condition::equals(EVENT_ID, cause.id.0))
}

/// Commits the transaction of an effect, and takes what the event has to take with it. `None`: of its writes only
/// the cooldown was in the way, which somebody else has.
pub async fn commit(
    dynamo: &Dynamo,
    cause: &Cause,
    transaction: Transaction,
) -> Result<Option<Commit>, dynamo::Error> {
    let transaction = add(transaction, cause);
    let last = transaction.len() - 1;
    let commit = dynamo.transact(transaction).await?;
    match commit {
        Commit::Done => taken(cause),
        Commit::Blocked(place) if cause.toll.is_some() && place == last => {
            refused(dynamo, cause).await?;
            return Ok(None);
        }
        Commit::Blocked(_) | Commit::Repeated => {}
    }
    Ok(Some(commit))
}

/// If there is something to take, it is the last write.
fn add(transaction: Transaction, cause: &Cause) -> Transaction {
    let Some(toll) = &cause.toll else { return transaction };
    let until = toll.until.seconds();
    let (discord_server_id, slot) = key(cause, toll);
    let taken = Taken { discord_server_id, slot, until, event_id: cause.id.0, expires_at: until };
    transaction.put_when(&taken, free(cause))
}

/// The effect is there, and with it the toll is taken.
pub fn taken(cause: &Cause) {
    if let Some(toll) = &cause.toll {
        toll.settle(Taking::Taken);
    }
}

/// Finds out until when somebody else has the cooldown.
async fn refused(dynamo: &Dynamo, cause: &Cause) -> Result<(), dynamo::Error> {
    let Some(toll) = &cause.toll else { return Ok(()) };
    let taken: Option<Taken> = dynamo.get(key(cause, toll)).await?;
    // It may have ended in between; then the caller is told so.
    let until = taken.map_or(cause.at, |taken| Timestamp::from_seconds(taken.until));
    toll.settle(Taking::Refused(until));
    Ok(())
}

/// Takes what the event has to take by itself, for commands that change nothing.
pub async fn take(dynamo: &Dynamo, cause: &Cause) -> Result<(), dynamo::Error> {
    let Some(toll) = &cause.toll else { return Ok(()) };
    let until = toll.until.seconds();
    let update = Update::new().set(UNTIL, until).set(EXPIRES_AT, until).signed(EVENT_ID, cause.id.0);
    let taking = match dynamo.upsert::<Taken>(key(cause, toll), update.when(free(cause))).await {
        Ok(Updated::Applied(_)) => Taking::Taken,
        Ok(Updated::Blocked(Some(taken))) => Taking::Refused(Timestamp::from_seconds(taken.until)),
        Ok(Updated::Blocked(None)) => Taking::Refused(cause.at),
        // What it is a preparation for was not done, and a cooldown is no record of anything.
        Err(dynamo::Error::Uncertain(error)) => return Err(dynamo::Error::Unavailable(error)),
        Err(error) => return Err(error),
    };
    toll.settle(taking);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::join_all;

    use super::*;
    use crate::clock::Clock;
    use crate::dynamo::testing::{embedded_at, engine, over};
    use crate::dynamo::{TableSpec, Token, Units, faults::Faults, measured};

    const TABLES: &[TableSpec] = &[TableSpec::of::<Taken>()];
    const START: i64 = 1_700_000_000;

    fn cause(event: u64, second: i64) -> Cause {
        let at = Timestamp::from_seconds(START + second);
        let toll = Toll::new("ping#user#7".into(), at.plus(Duration::from_secs(30)));
        Cause::new(at.snowflake() + event, 1, 7).with_toll(Some(toll))
    }

    fn state(cause: &Cause) -> Taking {
        cause.toll.as_ref().unwrap().state()
    }

    #[tokio::test]
    async fn a_cooldown_holds_until_it_is_over_and_not_for_its_own_event() {
        let clock = Clock::manual(Timestamp::from_seconds(START));
        let dynamo = embedded_at(TABLES, clock.clone()).await;
        let first = cause(1, 0);
        let (_, units) = measured(async { take(&dynamo, &first).await.unwrap() }).await;
        assert_eq!(units, Units { read: 0.0, write: 1.0 });
        assert_eq!(state(&first), Taking::Taken);
        let again = cause(1, 0);
        take(&dynamo, &again).await.unwrap();
        assert_eq!(state(&again), Taking::Taken, "delivered again");
        clock.advance(Duration::from_secs(29));
        let early = cause(2, 29);
        take(&dynamo, &early).await.unwrap();
        assert_eq!(state(&early), Taking::Refused(Timestamp::from_seconds(START + 30)));
        clock.advance(Duration::from_secs(1));
        let late = cause(3, 30);
        take(&dynamo, &late).await.unwrap();
        assert_eq!(state(&late), Taking::Taken);
    }

    #[tokio::test]
    async fn of_many_at_once_on_two_instances_one_takes_it() {
        let clock = Clock::manual(Timestamp::from_seconds(START));
        let engine = engine(TABLES).await;
        let stores = [0; 2].map(|_| over(&engine, clock.clone(), &Faults::new()));
        let causes: Vec<Cause> = (0..32).map(|event| cause(event, 0)).collect();
        join_all(causes.iter().enumerate().map(async |(n, cause)| {
            let dynamo = &stores[n % 2];
            if n % 3 == 0 {
                return take(dynamo, cause).await.unwrap();
            }
            commit(dynamo, cause, Transaction::new(Token::new(cause.token(0)))).await.unwrap();
        }))
        .await;
        let won = causes.iter().filter(|cause| state(cause) == Taking::Taken).count();
        assert_eq!(won, 1);
        let until = Taking::Refused(Timestamp::from_seconds(START + 30));
        assert_eq!(causes.iter().filter(|cause| state(cause) == until).count(), 31);
    }
}
