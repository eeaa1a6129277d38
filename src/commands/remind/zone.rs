//! `.timezone`: by whose clock a time is meant.

use jiff::tz::TimeZone;

use crate::calendar;
use crate::clock::Timestamp;
use crate::context::{Reply, Result, refuse};
use crate::dynamo::{Column, Update};
use crate::markdown::{code, cut};
use crate::people::Person;

use super::Call;

const TIMEZONE: Column<Person, String> = Column::new("timezone");
const UPDATED_AT: Column<Person, Timestamp> = Column::new("updated_at");

/// More than any zone's name has.
const NAME_MAX: usize = 100;

/// The zone of the caller, else of the server, else UTC; and whether anybody has chosen it.
pub async fn of(call: &Call) -> Result<(TimeZone, bool)> {
    let person: Option<Person> = call.dynamo().get_eventually(call.actor()).await?;
    let own = person.and_then(|person| person.timezone);
    let chosen = [own.as_ref(), call.settings.timezone.as_ref()];
    let zone = chosen.into_iter().flatten().find_map(|name| calendar::zone(name));
    let known = zone.is_some();
    Ok((zone.unwrap_or(TimeZone::UTC), known))
}

/// `.timezone`
pub async fn show(call: &Call) -> Result<Reply> {
    let person: Option<Person> = call.dynamo().get(call.actor()).await?;
    let own = person.and_then(|person| person.timezone).and_then(|name| calendar::zone(&name));
    match own {
        Some(zone) => Ok(yours(&zone, call.cause.at)),
        None => {
            let (zone, _) = of(call).await?;
            let name = calendar::zone_name(&zone);
            let now = on_the_wall(&zone, call.cause.at);
            Ok(format!("🌍 You have not set a time zone; here I go by {name} (now {now})").into())
        }
    }
}

/// `.timezone <zone>`
pub async fn set(call: &Call, typed: &str) -> Result<Reply> {
    let Some(zone) = calendar::zone(typed) else { return refuse(unknown(typed)) };
    let update = Update::new()
        .set(TIMEZONE, calendar::zone_name(&zone))
        .set(UPDATED_AT, Timestamp::from_seconds(call.cause.at.seconds()));
    let _ = call.dynamo().upsert::<Person>(call.actor(), update).await?;
    Ok(yours(&zone, call.cause.at))
}

fn yours(zone: &TimeZone, now: Timestamp) -> Reply {
    format!("🌍 Your time zone is {} (now {})", calendar::zone_name(zone), on_the_wall(zone, now)).into()
}

fn unknown(typed: &str) -> String {
    let meant = calendar::nearest_zone(typed).map(|zone| format!(" Did you mean {}?", code(&zone)));
    let meant = meant.unwrap_or_else(|| " Try `Europe/Berlin` or `UTC+2`".to_owned());
    format!("⚠ I don't know the zone {}.{meant}", code(&cut(typed.trim(), NAME_MAX)))
}

/// What a clock in the zone shows: `14:05`.
pub fn on_the_wall(zone: &TimeZone, at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default();
    at.to_zoned(zone.clone()).strftime("%H:%M").to_string()
}
