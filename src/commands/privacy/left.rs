//! What becomes of a server's records when the bot is removed from it: for a while nothing, and then they go.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Timestamp;
use crate::commands;
use crate::context::{Progress, Services};
use crate::due::Due;
use crate::dynamo::{self, Column, Condition, Reach, Table, Update};
use crate::relay::channels;
use crate::settings::Settings;

pub const KIND: &str = "purge";

/// When Discord is asked again that gave no answer.
const ASK_AGAIN: Duration = Duration::from_secs(600);

const LEFT_AT: Column<Settings, Timestamp> = Column::new("left_at");

/// The bot was removed from a server. Notes it, and that the records are to go.
pub async fn server_left(services: &Services, server_id: u64) -> Result<(), dynamo::Error> {
    let now = Timestamp::from_seconds(services.clock.now().seconds());
    let due = Due {
        discord_server_id: Some(server_id),
        ..Due::new(now.plus(services.instance.guild_grace()), KIND, &server_id.to_string())
    };
    // Every shard and instance may say so; the last one counts.
    services.dynamo.put(&due).await?;
    let _ = services.dynamo.upsert::<Settings>(server_id, Update::new().set(LEFT_AT, now)).await?;
    Ok(())
}

/// The bot is in a server again, or for the first time.
pub async fn server_joined(services: &Services, server_id: u64) -> Result<(), dynamo::Error> {
    let update = Update::new().remove(LEFT_AT).when(Condition::has(LEFT_AT));
    let _ = services.dynamo.update::<Settings>(server_id, update).await?;
    Ok(())
}

/// The job of records of this kind: deletes what a server has left, table by table, its settings last.
pub async fn purge(services: Arc<Services>, due: Due) -> Result<Progress, dynamo::Error> {
    let dynamo = &services.dynamo;
    let server_id = due.discord_server_id.unwrap_or_default();
    let settings: Option<Settings> = dynamo.get(server_id).await?;
    let left_at = settings.and_then(|settings| settings.left_at);
    let over = left_at.is_some_and(|at| dynamo.now() >= at.plus(services.instance.guild_grace()));
    if over {
        match services.discord.is_in(server_id).await {
            Ok(true) => server_joined(&services, server_id).await?,
            Ok(false) => clear(&services, server_id).await?,
            Err(error) => {
                warn!(error = format!("{error:#}"), "it is not known whether the bot is in a server again");
                return Ok(Progress::Again(dynamo.now().plus(ASK_AGAIN)));
            }
        }
    }
    dynamo.delete::<Due>((due.hour, due.at)).await?;
    Ok(Progress::Done)
}

async fn clear(services: &Services, server_id: u64) -> Result<(), dynamo::Error> {
    let reach = Reach { server_id, now: services.dynamo.now(), only_people: false };
    let mut count = channels::forget(&services.dynamo, server_id).await? as u64;
    let (last, tables): (Vec<_>, Vec<_>) =
        commands::tables().into_iter().partition(|table| table.name == Settings::NAME);
    for table in tables.iter().chain(&last) {
        for place in table.personal.places.of(None, &reach) {
            count += services.dynamo.purge(table, &place).await?;
        }
    }
    info!(server_id, records = count, "cleared what a server left behind");
    Ok(())
}
