//! Looking things up: `.rem <key>`, `.mem info`, `.mem raw`, `.mem random`.

use crate::context::{Error, Reply, Result, refuse};
use crate::markdown::{code, cut, number, plain, time, time_relative};

use super::call::{Call, HOPS_MAX};
use super::key::Key;
use super::recalls;
use super::record::Remembered;
use super::view::{self, NAME_MAX, no, when, who};

/// How often another memory is drawn when one was forgotten elsewhere a moment ago.
const DRAWS_MAX: usize = 3;

/// A lookup as it was typed; `unfinished` is what stands before a final `is`.
pub async fn asked(call: &Call, typed: &str, unfinished: Option<&str>) -> Result<Reply> {
    let key = Key::read(typed)?;
    match (call.find(&key.normal).await?, unfinished) {
        (Some(found), _) => recalled(call, found).await,
        (None, _) if call.attachments => refuse(view::ONLY_TEXT),
        (None, Some(what)) => refuse(view::what_is(&call.prefix, what)),
        (None, None) => Err(call.not_remembered(typed, &key).await),
    }
}

/// What a found record says; counted.
pub async fn recalled(call: &Call, found: Remembered) -> Result<Reply> {
    let record = followed(call, found).await?;
    recalls::count(call, &record.rem_key);
    Ok(view::value(&record))
}

/// The memory that a record stands for, which may be another name.
pub async fn followed(call: &Call, found: Remembered) -> Result<Remembered> {
    let mut record = found;
    for _ in 0..HOPS_MAX {
        let Some(target) = record.alias_of.clone() else { return Ok(record) };
        record = match call.find(&target).await? {
            Some(next) => next,
            None => return refuse(view::alias_of_forgotten(record.display(), &target)),
        };
    }
    refuse(view::alias_of_forgotten(record.display(), record.alias_of.as_deref().unwrap_or_default()))
}

/// The memory under a key or another name of it, or why there is none.
pub async fn existing(call: &Call, key: &Key) -> Result<Remembered> {
    match call.find(&key.normal).await? {
        Some(found) => followed(call, found).await,
        None => Err(call.not_found(key).await),
    }
}

/// `.mem raw`
pub async fn raw(call: &Call, typed: &str) -> Result<Reply> {
    Ok(view::raw(existing(call, &Key::read(typed)?).await?.value()))
}

/// `.mem info`
pub async fn info(call: &Call, typed: &str) -> Result<Reply> {
    let record = existing(call, &Key::read(typed)?).await?;
    let (times, last) = recalls::of(call, &record.rem_key).await?;
    let list = call.lists().any(call.dynamo(), call.server()).await?;
    let names: Vec<String> =
        list.names_of(&record.rem_key).map(|name| code(&cut(name.display(), NAME_MAX))).collect();
    let changed = match record.rev {
        0 => "never".to_owned(),
        _ => format!("{} by {}", when(record.updated_at), who(record.updated_by)),
    };
    let mut lines = vec![
        format!("Owner: {}", who(record.created_by)),
        format!("Created: {}", when(record.created_at)),
        format!("Last change: {changed}"),
        format!("Revision: {}", record.rev),
        format!("Recalls: {}{}", number_of(times), last.map_or(String::new(), last_recall)),
        format!("Length: {} characters", number(record.value().chars().count())),
    ];
    if !names.is_empty() {
        lines.push(format!("Other names: {}", names.join(", ")));
    }
    if let Some(locked_by) = record.locked_by {
        lines.push(format!("🔒 Locked by {}", who(Some(locked_by))));
    }
    Ok(view::card(format!("ℹ️ {}", view::name(record.display(), NAME_MAX)), lines.join("\n")).into())
}

fn number_of(times: u64) -> String {
    number(usize::try_from(times).unwrap_or(usize::MAX))
}

fn last_recall(at: crate::clock::Timestamp) -> String {
    format!(", last {} ({})", time(at), time_relative(at))
}

/// `.mem random`: the event draws, so that a repeated delivery shows the same.
pub async fn random(call: &Call) -> Result<Reply> {
    let list = call.lists().current(call.dynamo(), call.server()).await?;
    let keys: Vec<&str> = list.memories().map(|found| found.key).collect();
    for draw in 0..DRAWS_MAX {
        let Some(key) = keys.get(drawn(call.cause.id.0, draw, keys.len())) else { break };
        if let Some(record) = call.find(key).await?.filter(|record| record.alias_of.is_none()) {
            return Ok(format!("🎲 **{}**\n{}", plain(record.display()), record.value()).into());
        }
    }
    Err(nothing_here())
}

pub fn nothing_here() -> Error {
    no(view::NOTHING_HERE)
}

/// A number below `of`. Snowflakes of one second differ in their lower bits; multiplying by the golden
/// ratio spreads them over the upper ones.
fn drawn(event: u64, draw: usize, of: usize) -> usize {
    let spread = (event.wrapping_add(draw as u64)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    usize::try_from(spread).unwrap_or_default() % of.max(1)
}
