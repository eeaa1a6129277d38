//! [`Draft`]: the body of a message, checked by Discord's rules of form.

use std::collections::BTreeSet;

use serde_json::Value;

use super::error::Result;
use super::form::Form;
use super::mention::Allowed;
use super::model::{FLAG_EPHEMERAL, Id, Upload};
use super::text;

/// Discord's sizes; <https://discord.com/developers/docs/resources/message#create-message>.
const CONTENT_MAX: usize = 2_000;
const NONCE_MAX: usize = 25;
const EMBEDS_MAX: usize = 10;
const EMBED_TEXT_MAX: usize = 6_000;
const FIELDS_MAX: usize = 25;
const ROWS_MAX: usize = 5;
const BUTTONS_MAX: usize = 5;
const SELECT_OPTIONS_MAX: usize = 25;
const CUSTOM_ID_MAX: usize = 100;
const BUTTON_LABEL_MAX: usize = 80;
const PLACEHOLDER_MAX: usize = 150;
const OPTION_TEXT_MAX: usize = 100;
const FILES_MAX: usize = 10;
/// One file, in a server without boosts.
pub const FILE_BYTES_MAX: usize = 10 * 1_024 * 1_024;

const FLAG_SUPPRESS_EMBEDS: u64 = 1 << 2;
const FLAG_SILENT: u64 = 1 << 12;

/// The fields that are modelled; others are recorded.
const FIELDS: &[&str] = &[
    "content",
    "tts",
    "embeds",
    "allowed_mentions",
    "message_reference",
    "components",
    "sticker_ids",
    "attachments",
    "flags",
    "nonce",
    "enforce_nonce",
];

/// A message to be made, or the changes to one: what is `None` was not mentioned.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub content: Option<String>,
    pub embeds: Option<Vec<Value>>,
    pub components: Option<Vec<Value>>,
    /// The earlier attachments that stay.
    pub kept: Option<Vec<Id>>,
    pub uploads: Vec<Upload>,
    pub allowed: Allowed,
    pub reply_to: Option<Reference>,
    pub flags: u64,
    pub nonce: Option<Value>,
    pub enforce_nonce: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    pub message: Id,
    pub fail_if_not_exists: bool,
}

impl Draft {
    pub fn read(body: &Value, uploads: &[Upload]) -> Result<Self> {
        let mut form = Form::default();
        let draft = Self {
            content: content(body, &mut form),
            embeds: list(body, "embeds").inspect(|all| embeds(all, &mut form)),
            components: list(body, "components").inspect(|all| components(all, &mut form)),
            kept: list(body, "attachments")
                .map(|all| all.iter().filter_map(|a| text::id(&a["id"])).collect()),
            uploads: described(body, uploads, &mut form),
            allowed: Allowed::read(&body["allowed_mentions"], &mut form),
            reply_to: reference(&body["message_reference"]),
            flags: flags(body, &mut form),
            nonce: nonce(body, &mut form),
            enforce_nonce: body["enforce_nonce"].as_bool().unwrap_or(false),
        };
        form.finish()?;
        Ok(draft)
    }

    pub fn is_ephemeral(&self) -> bool {
        self.flags & FLAG_EPHEMERAL != 0
    }

    pub fn is_empty(&self) -> bool {
        let none = |list: &Option<Vec<Value>>| list.as_ref().is_none_or(Vec::is_empty);
        self.content.as_deref().unwrap_or_default().is_empty()
            && none(&self.embeds)
            && none(&self.components)
            && self.uploads.is_empty()
    }
}

/// Fields of a body that are not modelled.
pub(super) fn unknown_fields(body: &Value) -> Vec<&str> {
    let fields = body.as_object().into_iter().flat_map(|body| body.keys());
    fields.map(String::as_str).filter(|field| !FIELDS.contains(field)).collect()
}

fn content(body: &Value, form: &mut Form) -> Option<String> {
    let content = body.get("content")?.as_str().unwrap_or_default().trim();
    form.at_most("content", content, CONTENT_MAX);
    Some(content.to_owned())
}

fn list(body: &Value, field: &str) -> Option<Vec<Value>> {
    Some(body.get(field)?.as_array().cloned().unwrap_or_default())
}

fn reference(value: &Value) -> Option<Reference> {
    let message = text::id(&value["message_id"])?;
    Some(Reference { message, fail_if_not_exists: value["fail_if_not_exists"].as_bool().unwrap_or(true) })
}

fn flags(body: &Value, form: &mut Form) -> u64 {
    let flags = body["flags"].as_u64().unwrap_or(0);
    let allowed = FLAG_SUPPRESS_EMBEDS | FLAG_EPHEMERAL | FLAG_SILENT;
    if flags & !allowed != 0 {
        form.wrong("flags", "MESSAGE_FLAGS_INVALID", "These message flags are not modelled.");
    }
    flags & allowed
}

fn nonce(body: &Value, form: &mut Form) -> Option<Value> {
    let nonce = body.get("nonce").filter(|nonce| !nonce.is_null())?;
    form.at_most("nonce", nonce.as_str().unwrap_or_default(), NONCE_MAX);
    Some(nonce.clone())
}

fn described(body: &Value, uploads: &[Upload], form: &mut Form) -> Vec<Upload> {
    if uploads.len() > FILES_MAX {
        form.between("attachments", uploads.len(), 0, FILES_MAX);
    }
    let about = |index: u64| {
        let mut all = body["attachments"].as_array().into_iter().flatten();
        all.find(|a| text::id(&a["id"]) == Some(index))
    };
    let described = uploads.iter().map(|upload| {
        let description = about(upload.index).and_then(|a| a["description"].as_str()).map(str::to_owned);
        Upload { description, ..upload.clone() }
    });
    described.collect()
}

fn embeds(embeds: &[Value], form: &mut Form) {
    if embeds.len() > EMBEDS_MAX {
        form.wrong("embeds", "BASE_TYPE_MAX_LENGTH", format!("Must be {EMBEDS_MAX} or fewer in length."));
    }
    for (index, one) in embeds.iter().enumerate() {
        embed(one, &format!("embeds.{index}"), form);
    }
    if embeds.iter().map(embed_text).sum::<usize>() > EMBED_TEXT_MAX {
        let message = format!("Embed size exceeds maximum size of {EMBED_TEXT_MAX}");
        form.wrong("embeds", "MAX_EMBED_SIZE_EXCEEDED", message);
    }
}

fn embed(embed: &Value, path: &str, form: &mut Form) {
    let texts = [
        ("title", &embed["title"], 256),
        ("description", &embed["description"], 4_096),
        ("footer.text", &embed["footer"]["text"], 2_048),
        ("author.name", &embed["author"]["name"], 256),
    ];
    for (field, value, max) in texts {
        form.at_most(&format!("{path}.{field}"), value.as_str().unwrap_or_default(), max);
    }
    let fields = embed["fields"].as_array().map_or(&[][..], Vec::as_slice);
    if fields.len() > FIELDS_MAX {
        form.between(&format!("{path}.fields"), fields.len(), 0, FIELDS_MAX);
    }
    for (index, field) in fields.iter().enumerate() {
        form.text(&format!("{path}.fields.{index}.name"), &field["name"], 1, 256);
        form.text(&format!("{path}.fields.{index}.value"), &field["value"], 1, 1_024);
    }
}

/// What counts towards the size of all embeds together.
fn embed_text(embed: &Value) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, |text| text.chars().count());
    let fields = embed["fields"].as_array().into_iter().flatten();
    length(&embed["title"])
        + length(&embed["description"])
        + length(&embed["footer"]["text"])
        + length(&embed["author"]["name"])
        + fields.map(|field| length(&field["name"]) + length(&field["value"])).sum::<usize>()
}

const ROW: u64 = 1;
const BUTTON: u64 = 2;
const STRING_SELECT: u64 = 3;
/// A select menu of people, roles, both, or channels.
const OTHER_SELECTS: std::ops::RangeInclusive<u64> = 5..=8;
const LINK: u64 = 5;

/// Rows of buttons or of one select menu.
fn components(rows: &[Value], form: &mut Form) {
    if rows.len() > ROWS_MAX {
        form.between("components", rows.len(), 0, ROWS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (index, row) in rows.iter().enumerate() {
        let path = format!("components.{index}");
        if row["type"].as_u64() != Some(ROW) {
            form.wrong(&format!("{path}.type"), "BASE_TYPE_CHOICES", "Value must be one of (1,).");
            continue;
        }
        let inner = row["components"].as_array().map_or(&[][..], Vec::as_slice);
        form.between(&format!("{path}.components"), inner.len(), 1, BUTTONS_MAX);
        if inner.len() > 1 && inner.iter().any(|c| c["type"].as_u64() != Some(BUTTON)) {
            let message = "A select menu stands alone in its row.";
            form.wrong(&format!("{path}.components"), "COMPONENT_LAYOUT_WIDTH_EXCEEDED", message);
        }
        for (position, component) in inner.iter().enumerate() {
            control(component, &format!("{path}.components.{position}"), &mut seen, form);
        }
    }
}

fn control<'a>(component: &'a Value, path: &str, seen: &mut BTreeSet<&'a str>, form: &mut Form) {
    let link = component["type"].as_u64() == Some(BUTTON) && component["style"].as_u64() == Some(LINK);
    if !link {
        let id = form.text(&format!("{path}.custom_id"), &component["custom_id"], 1, CUSTOM_ID_MAX);
        if !id.is_empty() && !seen.insert(id) {
            let message = "Component custom id cannot be duplicated";
            form.wrong(&format!("{path}.custom_id"), "COMPONENT_CUSTOM_ID_DUPLICATED", message);
        }
    }
    match component["type"].as_u64() {
        Some(BUTTON) => button(component, link, path, form),
        Some(STRING_SELECT) => select(component, path, form),
        Some(kind) if OTHER_SELECTS.contains(&kind) => {}
        _ => form.wrong(
            &format!("{path}.type"),
            "UNION_TYPE_CHOICES",
            "Value must be one of {2, 3, 5, 6, 7, 8}.",
        ),
    }
}

fn button(button: &Value, link: bool, path: &str, form: &mut Form) {
    form.at_most(&format!("{path}.label"), button["label"].as_str().unwrap_or_default(), BUTTON_LABEL_MAX);
    if button["label"].as_str().is_none_or(str::is_empty) && !button["emoji"].is_object() {
        let message = "A label or emoji must be provided.";
        form.wrong(path, "BUTTON_COMPONENT_LABEL_REQUIRED", message);
    }
    if !button["style"].as_u64().is_some_and(|style| (1..=LINK).contains(&style)) {
        let message = "Value must be one of (1, 2, 3, 4, 5).";
        form.wrong(&format!("{path}.style"), "BASE_TYPE_CHOICES", message);
    }
    if link && !button["url"].is_string() {
        form.required(&format!("{path}.url"));
    }
}

fn select(select: &Value, path: &str, form: &mut Form) {
    let placeholder = select["placeholder"].as_str().unwrap_or_default();
    form.at_most(&format!("{path}.placeholder"), placeholder, PLACEHOLDER_MAX);
    let options = select["options"].as_array().map_or(&[][..], Vec::as_slice);
    form.between(&format!("{path}.options"), options.len(), 1, SELECT_OPTIONS_MAX);
    let mut seen = BTreeSet::new();
    for (index, option) in options.iter().enumerate() {
        let path = format!("{path}.options.{index}");
        form.text(&format!("{path}.label"), &option["label"], 1, OPTION_TEXT_MAX);
        let value = form.text(&format!("{path}.value"), &option["value"], 1, OPTION_TEXT_MAX);
        let description = option["description"].as_str().unwrap_or_default();
        form.at_most(&format!("{path}.description"), description, OPTION_TEXT_MAX);
        if !seen.insert(value) {
            let message = "The specified option value is already used";
            form.wrong(&format!("{path}.value"), "SELECT_COMPONENT_OPTION_VALUE_DUPLICATED", message);
        }
    }
}

/// The parts of a message that can be pressed.
pub(super) fn controls(components: &[Value]) -> impl Iterator<Item = &Value> {
    components.iter().flat_map(|row| row["components"].as_array().into_iter().flatten())
}
