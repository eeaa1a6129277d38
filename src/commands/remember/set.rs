//! `.rem <key> is <value>`: the first thing that anybody does with the bot.

use crate::context::{Error, Reply, Result, refuse};

use super::call::Call;
use super::get;
use super::grammar::{self, Line};
use super::key::{Key, clean};
use super::only_read;
use super::record::{Remembered, State};
use super::view::{self, VALUE_CHARS_MAX, no};

/// `.rem`, in one text: a lookup or something to remember.
pub async fn line(call: &Call, text: &str) -> Result<Reply> {
    let text = clean(text);
    match grammar::parse(&text) {
        Line::Nothing if call.attachments => refuse(view::ONLY_TEXT),
        Line::Nothing => Err(Error::Usage("Tell me what to remember, or what to look up".to_owned())),
        Line::Get { key, unfinished } => only_read(get::asked(call, key, unfinished).await),
        Line::Set { key, value, longer, whole } => {
            if let Some(found) = the_whole_text(call, whole).await? {
                return only_read(get::recalled(call, found).await);
            }
            let reply = set(call, key, value).await?;
            Ok(match longer.filter(|longer| Key::read(longer).is_ok()) {
                Some(longer) => with_hint(reply, call, key, longer),
                None => reply,
            })
        }
    }
}

/// What a text with a separator is the name of, if it is one: then the line asks for it.
async fn the_whole_text(call: &Call, whole: Option<&str>) -> Result<Option<Remembered>> {
    match whole.map(Key::read) {
        Some(Ok(key)) => call.find_now(&key.normal).await,
        // Too long for a key, so there is none.
        Some(Err(_)) | None => Ok(None),
    }
}

fn with_hint(mut reply: Reply, call: &Call, key: &str, longer: &str) -> Reply {
    let hint = view::quoting_hint(&call.prefix, key, longer);
    reply.text = format!("{}\n{hint}", reply.text);
    reply
}

/// Remembers a value under a key that is free.
pub async fn set(call: &Call, key: &str, value: &str) -> Result<Reply> {
    let key = Key::read(key)?;
    let value = read_value(value)?;
    let max = call.services.max_memories();
    // The list is let go at once: whoever holds it makes the next change copy it.
    let full = call.lists().any(call.dynamo(), call.server()).await?.memory_count() >= max;
    let changed = call.change(&key, |head| {
        if let Some(head) = head.filter(|head| !head.is_forgotten()) {
            return Err(already(call, head, &value).into());
        }
        if full {
            return Err(no(view::full(max)).into());
        }
        Ok(created(call, &key, head, State::Value(value.clone())).next("set", call.policy.keep))
    });
    let changed = changed.await?;
    let text = view::remembered(call.actor(), changed.row.name.as_deref().unwrap_or(&key.display));
    Ok(view::changed(text, call.cause.id.0))
}

fn already(call: &Call, head: &Remembered, value: &str) -> Error {
    let same = head.state() == State::Value(value.to_owned());
    no(if same { view::already_exactly_that(head) } else { view::already_remembering(&call.prefix, head) })
}

/// A new memory or alias of the caller's. What was forgotten under the key leaves only its number.
pub fn created(call: &Call, key: &Key, gone: Option<&Remembered>, state: State) -> Remembered {
    let new = Remembered {
        rev: gone.map_or(0, |gone| gone.rev),
        created_by: Some(call.actor()),
        created_at: Some(call.cause.at),
        ..Remembered::new(call.server(), &key.normal, &key.display)
    };
    new.in_state(state, call.cause.at)
}

/// A value as it is kept: what is inside stays, the ends are trimmed.
pub fn read_value(typed: &str) -> Result<String> {
    let value = clean(typed).trim().to_owned();
    let length = value.chars().count();
    if value.is_empty() {
        return Err(Error::Usage("The value is missing".to_owned()));
    }
    if length > VALUE_CHARS_MAX {
        return refuse(view::value_too_long(length));
    }
    Ok(value)
}
