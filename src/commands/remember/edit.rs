//! Changing what is there: `.forget` and the verbs of `.mem`.

use std::time::Duration;

use crate::commands::undo::TOO_OLD;
use crate::context::discord::Member;
use crate::context::{Answer, Error, Input, Modal, Reply, Result, refuse};
use crate::history::Next;
use crate::markdown::{code, cut, number, person};

use super::call::{Call, Changed, No};
use super::get;
use super::grammar::{self, IS, Split};
use super::key::{Key, as_field, clean};
use super::record::{Remembered, State};
use super::set::{created, read_value};
use super::view::{self, VALUE_CHARS_MAX, no};

/// More other names than anybody remembers.
pub const NAMES_MAX: usize = 20;

/// Discord waits three seconds for a modal, and cannot be told to wait longer.
const MODAL_WITHIN: Duration = Duration::from_secs(1);

type Decision = std::result::Result<Next<Remembered>, No>;

/// The record that is there, or why nothing can be decided on it.
fn there(head: Option<&Remembered>) -> std::result::Result<&Remembered, No> {
    head.filter(|head| !head.is_forgotten()).ok_or(No::NotFound)
}

/// The same, but another name leads on to the memory.
fn memory(head: Option<&Remembered>) -> std::result::Result<&Remembered, No> {
    let head = there(head)?;
    match &head.alias_of {
        Some(target) => Err(No::OtherName(target.clone())),
        None => Ok(head),
    }
}

impl Call {
    /// The next revision with another value. If the row of the old one has expired, the new row keeps the
    /// old value, or undo could not bring it back.
    pub fn with_value(&self, head: &Remembered, op: &'static str, state: State) -> Next<Remembered> {
        let mut next = head.clone().in_state(state, self.cause.at).next(op, self.policy.keep);
        let expired = |at: crate::clock::Timestamp| {
            self.policy.keep.is_some_and(|keep| self.cause.at.since(at) + Duration::from_secs(86_400) >= keep)
        };
        if head.rev > 0 && head.updated_at.is_some_and(expired) {
            next.row.old = head.rem_value.clone();
        }
        next
    }

    fn done(&self, text: String) -> Reply {
        view::changed(text, self.cause.id.0)
    }
}

/// `.forget`: of another name only that.
pub async fn forget(call: &Call, typed: &str) -> Result<Reply> {
    let key = Key::read(typed)?;
    let changed = call.change(&key, |head| {
        let head = there(head)?;
        call.may_change(head, "forget")?;
        Ok(call.with_value(head, "forget", State::Forgotten))
    });
    let changed = changed.await?;
    let name = changed.row.name.unwrap_or(key.display);
    Ok(call.done(view::forgotten(call.actor(), &name)))
}

/// Which of several possible left sides is a key: the longest that is. With only one there is no need to
/// look: the change itself does.
async fn chosen<'a>(call: &Call, splits: Vec<Split<'a>>) -> Result<(Key, &'a str)> {
    let Some((shortest, longer)) = splits.split_last() else {
        return Err(Error::Usage("An ` is ` between key and value is missing".to_owned()));
    };
    for split in longer {
        if let Ok(key) = Key::read(split.key)
            && call.find_now(&key.normal).await?.is_some()
        {
            return Ok((key, split.value));
        }
    }
    Ok((Key::read(shortest.key)?, shortest.value))
}

/// `.mem edit <key> is <value>`, in one text.
pub async fn edit_line(call: &Call, text: &str) -> Result<Reply> {
    let text = clean(text);
    let (key, value) = chosen(call, grammar::splits(&text, IS).longest_first()).await?;
    edit(call, &key, value, None).await
}

/// Gives a memory another value. `expected` is the revision that the caller saw, if it is known.
pub async fn edit(call: &Call, key: &Key, value: &str, expected: Option<u64>) -> Result<Reply> {
    let value = read_value(value)?;
    let changed = call.change(key, |head| {
        let head = memory(head)?;
        call.may_change(head, "mem edit")?;
        if head.value() == value {
            let text = format!("ℹ️ That is what {} says already; nothing changed", head.code());
            return Err(no(text).into());
        }
        if expected.is_some_and(|expected| expected != head.rev) {
            return Err(no(changed_meanwhile(head)).into());
        }
        Ok(call.with_value(head, "edit", State::Value(value.clone())))
    });
    let changed = changed.await?;
    let text = format!("✏️ {} is now revision {}", changed.name(), changed.row.rev);
    Ok(call.done(with_diff(text, &changed, &value)))
}

fn changed_meanwhile(head: &Remembered) -> String {
    let by = view::who(head.updated_by);
    format!("⚠ {} has been changed since (revision {} by {by}); nothing was changed", head.code(), head.rev)
}

fn with_diff(text: String, changed: &Changed, value: &str) -> String {
    let diff = changed.before.as_ref().and_then(|before| view::short_diff(before.value(), value));
    diff.map_or_else(|| text.clone(), |diff| format!("{text}\n{diff}"))
}

/// A modal with the old text, for `/mem edit` without a value. If the store is slow it opens without.
pub async fn edit_modal(call: &Call, typed: &str) -> Result<Answer> {
    let key = Key::read(typed)?;
    let found = tokio::time::timeout(MODAL_WITHIN, get::existing(call, &key)).await;
    let record = match found {
        Ok(found) => Some(found?),
        Err(_) => None,
    };
    if let Some(record) = &record {
        call.may_change(record, "mem edit")?;
    }
    let normal = record.as_ref().map_or(&key.normal, |record| &record.rem_key);
    let rev = record.as_ref().map_or_else(|| "-".to_owned(), |record| record.rev.to_string());
    // A longer text of the original bot's would be cut off, and the rest lost.
    let shown =
        record.as_ref().map(Remembered::value).filter(|value| value.chars().count() <= VALUE_CHARS_MAX);
    Ok(Answer::Modal(Modal {
        id: format!("mem-edit:{rev}:{}", as_field(normal)),
        title: cut(&format!("Edit {}", key.display), MODAL_TITLE_MAX),
        inputs: vec![value_input(shown.unwrap_or_default())],
    }))
}

/// Discord allows no longer title.
pub const MODAL_TITLE_MAX: usize = 45;

pub fn value_input(value: &str) -> Input {
    Input {
        id: "value".to_owned(),
        label: "What I shall remember".to_owned(),
        value: value.to_owned(),
        placeholder: String::new(),
        max_length: VALUE_CHARS_MAX as u16,
        paragraph: true,
        required: true,
    }
}

/// The modal came back. If somebody was faster, what was written in it is given back.
pub async fn edit_submitted(call: &Call, fields: &str, value: &str) -> Result<Reply> {
    let (rev, field) = fields.split_once(':').ok_or_else(|| no(TOO_OLD))?;
    let expected = match rev {
        "-" => None,
        rev => Some(rev.parse().map_err(|_| no(TOO_OLD))?),
    };
    let key = Key::read(&call.spelled_out(field).await?)?;
    match edit(call, &key, value, expected).await {
        Err(Error::Refused(why)) => {
            let written = view::raw(&clean(value));
            let text = format!("{why}\nThis is what you wrote:\n{}", written.text);
            Ok(Reply { text, files: written.files, ..Reply::default() }.private())
        }
        other => other,
    }
}

/// `.mem append <key> is <text>`, in one text.
pub async fn append_line(call: &Call, text: &str) -> Result<Reply> {
    let text = clean(text);
    let (key, more) = chosen(call, grammar::splits(&text, IS).longest_first()).await?;
    append(call, &key, more).await
}

/// Adds a line.
pub async fn append(call: &Call, key: &Key, text: &str) -> Result<Reply> {
    let text = read_value(text)?;
    let changed = call.change(key, |head| {
        let head = memory(head)?;
        call.may_change(head, "mem append")?;
        let joined = format!("{}\n{text}", head.value());
        let length = joined.chars().count();
        if length > VALUE_CHARS_MAX {
            let (code, length, max) = (head.code(), number(length), number(VALUE_CHARS_MAX));
            let text = format!("⚠ That would make {code} {length} characters long; the limit is {max}");
            return Err(no(text).into());
        }
        Ok(call.with_value(head, "append", State::Value(joined.trim_start().to_owned())))
    });
    let changed = changed.await?;
    Ok(call.done(format!("✏️ Added to {} (revision {})", changed.name(), changed.row.rev)))
}

/// `.mem lock`: from now on only moderators change it.
pub async fn lock(call: &Call, typed: &str) -> Result<Reply> {
    let key = Key::read(typed)?;
    let changed = call.change(&key, |head| {
        let head = memory(head)?;
        if head.locked_by.is_some() {
            return Err(no(format!("ℹ️ {} is already locked", head.code())).into());
        }
        let head = Remembered { locked_by: Some(call.actor()), ..head.clone() };
        Ok(head.next("lock", call.policy.keep))
    });
    let changed = changed.await?;
    Ok(call.done(format!("🔒 {} is locked: only moderators can change it", changed.name())))
}

/// `.mem unlock`
pub async fn unlock(call: &Call, typed: &str) -> Result<Reply> {
    let key = Key::read(typed)?;
    let changed = call.change(&key, |head| {
        let head = memory(head)?;
        if head.locked_by.is_none() {
            return Err(no(format!("ℹ️ {} is not locked", head.code())).into());
        }
        Ok(Remembered { locked_by: None, ..head.clone() }.next("unlock", call.policy.keep))
    });
    let changed = changed.await?;
    Ok(call.done(format!("🔓 {} is unlocked", changed.name())))
}

/// `.mem give`; `receiver` as the server knows them, `None` if they are not there.
pub async fn give(call: &Call, typed: &str, to: u64, receiver: Option<Member>) -> Result<Reply> {
    let key = Key::read(typed)?;
    match receiver {
        None => return refuse(format!("⚠ {} is not in this server", person(to))),
        Some(member) if member.bot => return refuse("⚠ Bots can't own memories"),
        Some(_) => {}
    }
    let changed = call.change(&key, |head| {
        let head = memory(head)?;
        call.must_own(head, "mem give")?;
        given(call, head, "give", to)
    });
    let changed = changed.await?;
    Ok(call.done(format!("🎁 {} now belongs to {}", changed.name(), person(to))))
}

fn given(call: &Call, head: &Remembered, op: &'static str, to: u64) -> Decision {
    if head.owner() == Some(to) {
        let whose = if to == call.actor() { "you".to_owned() } else { person(to) };
        return Err(no(format!("ℹ️ {} already belongs to {whose}", head.code())).into());
    }
    let head = Remembered { created_by: Some(to), ..head.clone() };
    Ok(head.next(op, call.policy.keep))
}

/// Whose a memory is, as far as anybody knows: `.mem claim` asks whether they are still here.
pub async fn owner(call: &Call, typed: &str) -> Result<Option<u64>> {
    Ok(get::existing(call, &Key::read(typed)?).await?.owner())
}

/// `.mem claim`; `gone` is the owner if they have left the server.
pub async fn claim(call: &Call, typed: &str, gone: Option<u64>) -> Result<Reply> {
    let key = Key::read(typed)?;
    let changed = call.change(&key, |head| {
        let head = memory(head)?;
        if head.locked_by.is_some() {
            call.may_change(head, "mem claim")?;
        }
        match head.owner() {
            Some(owner) if Some(owner) != gone && owner != call.actor() => {
                let text = format!("⛔ {} belongs to {}, who is still here", head.code(), person(owner));
                Err(no(text).into())
            }
            _ => given(call, head, "claim", call.actor()),
        }
    });
    let changed = changed.await?;
    Ok(call.done(format!("🙋 {} now belongs to you", changed.name())))
}

/// `.mem alias <new> = <key>`, in one text.
pub async fn alias_line(call: &Call, text: &str) -> Result<Reply> {
    let text = clean(text);
    let split = grammar::splits(&text, "=").first();
    let split = split
        .ok_or_else(|| Error::Usage("A ` = ` between the new name and the key is missing".to_owned()))?;
    alias(call, split.key, split.value).await
}

/// Another name for a memory; if that is one itself, for what it stands for.
pub async fn alias(call: &Call, new: &str, of: &str) -> Result<Reply> {
    let (new, of) = (Key::read(new)?, Key::read(of)?);
    let target = match target(call, &of).await {
        // Forgotten since, if an earlier delivery of the event did its work.
        Err(Error::Refused(_)) if call.did(&new).await? => return Ok(named(call, &new, &of.display)),
        found => found?,
    };
    let list = call.lists().any(call.dynamo(), call.server()).await?;
    let full = list.names_of(&target.rem_key).count() >= NAMES_MAX;
    let changed = call.change(&new, |head| {
        if let Some(head) = head.filter(|head| !head.is_forgotten()) {
            return Err(no(view::already_remembering(&call.prefix, head)).into());
        }
        if full {
            return Err(no(format!("⚠ {} already has {NAMES_MAX} names", target.code())).into());
        }
        let state = State::OtherName(target.rem_key.clone());
        Ok(created(call, &new, head, state).next("alias", call.policy.keep))
    });
    changed.await?;
    Ok(named(call, &new, target.display()))
}

/// The memory that a key stands for, as it is now.
async fn target(call: &Call, of: &Key) -> Result<Remembered> {
    match call.find_now(&of.normal).await? {
        Some(found) => get::followed(call, found).await,
        None => Err(call.not_found(of).await),
    }
}

fn named(call: &Call, new: &Key, target: &str) -> Reply {
    call.done(format!("🔗 {new} is now another name for {}", code(target)))
}
