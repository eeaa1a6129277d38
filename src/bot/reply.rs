//! From a [`Reply`] to Discord's JSON, and from an error to words.
//!
//! Nothing is ever cut: text longer than a message is split at line ends, and beyond [`PARTS_MAX`] messages
//! it travels as a file.

use serde_json::{Value, json};
use tracing::error;

use crate::cause::Cause;
use crate::context::{Button, Card, Colour, Command, Error, File, Modal, Pings, Reply, Row, Select, Style};
use crate::dynamo;
use crate::markdown::code;
use crate::telemetry;

/// Discord's limit for a message, in characters.
pub const MESSAGE_MAX: usize = 2_000;
/// More messages than this for one answer would drown a channel.
pub const PARTS_MAX: usize = 3;
/// Discord's flag for a message that one person sees.
const EPHEMERAL: u64 = 1 << 6;

/// One message of an answer, ready to be sent.
#[derive(Debug)]
pub struct Part {
    pub body: Value,
    pub files: Vec<File>,
}

impl Part {
    /// Takes the files off the message that it replaces.
    pub fn clear_files(&mut self) {
        if self.files.is_empty() {
            self.body["attachments"] = json!([]);
        }
    }
}

/// Where an answer goes decides what it may look like.
#[derive(Clone, Copy, Debug)]
pub struct Surface {
    /// Without Embed Links a card is sent as text.
    pub embeds: bool,
    /// The door can hide a message from everybody but the caller.
    pub ephemeral: bool,
}

/// The messages that `reply` becomes; at least one, none of them empty or too long.
pub fn render(reply: Reply, surface: Surface) -> Vec<Part> {
    let (card, text) = match reply.card {
        Some(card) if surface.embeds => (Some(card), reply.text),
        Some(card) => (None, flatten(&reply.text, &card)),
        None => (None, reply.text),
    };
    let mut files: Vec<File> = reply.files;
    let more = files.split_off(files.len().min(1));
    let mut texts = split(&text);
    if texts.len() > PARTS_MAX {
        files.push(File { name: "reply.txt".into(), bytes: text.into_bytes() });
        texts.truncate(1);
    }
    if texts.is_empty() {
        let bare = card.is_none() && files.is_empty();
        // Discord refuses a message without anything to show.
        texts.push(if bare { "\u{200b}".to_owned() } else { String::new() });
    }
    let last = texts.len() - 1;
    let (mut card, mut rows) = (card, Some(reply.rows));
    let hidden = reply.private && surface.ephemeral;
    let parts = texts.into_iter().enumerate().map(|(place, text)| {
        let mut body = message(&text, &reply.pings, hidden);
        let mut attached = Vec::new();
        if place == last {
            body["embeds"] = card.take().iter().map(embed).collect();
            body["components"] = rows.take().iter().flatten().map(row).collect();
            attached = std::mem::take(&mut files);
        }
        Part { body, files: attached }
    });
    let more =
        more.into_iter().map(|file| Part { body: message("", &reply.pings, hidden), files: vec![file] });
    parts.chain(more).collect()
}

fn message(text: &str, pings: &Pings, hidden: bool) -> Value {
    let mut body = json!({ "content": text, "allowed_mentions": mentions(pings) });
    if hidden {
        body["flags"] = json!(EPHEMERAL);
    }
    body
}

/// Cuts text into messages at line ends, inside a line only if it alone is too long. Parts of white space
/// only are left out, because Discord refuses them.
fn split(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.chars().count() > MESSAGE_MAX {
        let limit = rest.char_indices().nth(MESSAGE_MAX).map_or(rest.len(), |(at, _)| at);
        let at = rest[..limit].rfind('\n').filter(|at| *at > 0).unwrap_or(limit);
        parts.push(&rest[..at]);
        rest = rest[at..].strip_prefix('\n').unwrap_or(&rest[at..]);
    }
    parts.push(rest);
    parts.into_iter().filter(|part| !part.trim().is_empty()).map(str::to_owned).collect()
}

fn flatten(text: &str, card: &Card) -> String {
    let footer = card.footer.as_deref().map(|footer| format!("-# {footer}"));
    let title = (!card.title.is_empty()).then(|| format!("**{}**", card.title));
    let parts = [Some(text.to_owned()), title, Some(card.text.clone()), footer];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

/// Pings nobody unless it is said outright; the person replied to is not pinged either.
fn mentions(pings: &Pings) -> Value {
    let parse: &[&str] = if pings.roles_and_everyone { &["roles", "everyone"] } else { &[] };
    let people: Vec<String> = pings.people.iter().map(u64::to_string).collect();
    json!({ "parse": parse, "users": people, "replied_user": false })
}

fn embed(card: &Card) -> Value {
    let colour = match card.colour {
        Colour::Blue => 0x3498db,
        Colour::White => 0xffffff,
        Colour::Yellow => 0xf1c40f,
        Colour::Red => 0xe74c3c,
    };
    let mut embed = json!({ "title": card.title, "description": card.text, "color": colour });
    if let Some(footer) = &card.footer {
        embed["footer"] = json!({ "text": footer });
    }
    embed
}

fn row(row: &Row) -> Value {
    let components: Vec<Value> = match row {
        Row::Buttons(buttons) => buttons.iter().map(button).collect(),
        Row::Select(select) => vec![menu(select)],
    };
    json!({ "type": 1, "components": components })
}

fn button(button: &Button) -> Value {
    let style = match button.style {
        Style::Primary => 1,
        Style::Secondary => 2,
        Style::Success => 3,
        Style::Danger => 4,
    };
    json!({ "type": 2, "style": style, "label": button.label, "custom_id": button.id, "disabled": button.disabled })
}

fn menu(select: &Select) -> Value {
    let options: Vec<Value> = select
        .choices
        .iter()
        .map(|choice| {
            let mut option = json!({ "label": choice.label, "value": choice.value });
            if let Some(description) = &choice.description {
                option["description"] = json!(description);
            }
            option
        })
        .collect();
    json!({ "type": 3, "custom_id": select.id, "placeholder": select.placeholder, "options": options })
}

/// The data of a modal, response type 9: text inputs in rows of their own.
pub fn modal(modal: &Modal) -> Value {
    let rows: Vec<Value> = modal
        .inputs
        .iter()
        .map(|input| {
            let style = if input.paragraph { 2 } else { 1 };
            let mut field = json!({ "type": 4, "custom_id": input.id, "label": input.label, "style": style,
                "max_length": input.max_length, "required": input.required, "placeholder": input.placeholder });
            // An empty value is refused where a required input wants one character.
            if !input.value.is_empty() {
                field["value"] = json!(input.value);
            }
            json!({ "type": 1, "components": [field] })
        })
        .collect();
    json!({ "custom_id": modal.id, "title": modal.title, "components": rows })
}

/// What the caller is told about an error. What is not a refusal is logged here, once, with its reference.
pub fn apology(error: Error, prefix: &str, command: Option<&Command>, cause: &Cause) -> Reply {
    let text = match error {
        Error::Refused(text) => text,
        Error::Usage(wrong) => match command {
            Some(command) if !command.usage.is_empty() || !command.prefix.is_empty() => {
                let stop = if wrong.ends_with(['?', '.', '!']) { "" } else { "." };
                format!("⚠ {wrong}{stop} Usage: {}", code(&usage(prefix, command)))
            }
            _ => format!("⚠ {wrong}"),
        },
        other => {
            let reference = telemetry::reference();
            let text = match &other {
                Error::Read(_) => {
                    format!("❌ I could not reach my memory; please try again (ref {reference})")
                }
                Error::TimedOut | Error::Store(dynamo::Error::Uncertain(_)) => format!(
                    "❓ I could not find out whether that was saved (ref {reference}). Please look before you repeat it"
                ),
                Error::Store(dynamo::Error::Unavailable(_) | dynamo::Error::Throttled(_)) => {
                    format!("❌ I could not reach my memory; nothing was changed (ref {reference})")
                }
                _ => format!("❌ Something went wrong on my side (ref {reference})"),
            };
            let name = command.map_or("", Command::name);
            error!(reference, command = name, cause = %cause.id, server_id = cause.server_id,
                error = format!("{:#}", anyhow::Error::from(other)), "a command failed");
            text
        }
    };
    Reply { private: true, ..text.into() }
}

/// A command as help shows it: `.mem edit <key> is <value>`.
pub fn usage(prefix: &str, command: &Command) -> String {
    match command.prefix.first() {
        Some(words) => format!("{prefix}{words} {}", command.usage).trim_end().to_owned(),
        None => format!("/{} {}", command.name(), command.usage).trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Surface = Surface { embeds: true, ephemeral: true };

    #[test]
    fn long_text_is_split_at_line_ends_and_nothing_is_lost() {
        let line = "x".repeat(700);
        let text = [line.as_str(); 5].join("\n");
        let parts = split(&text);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.join("\n"), text);
        assert!(split(&"y".repeat(4_001)).iter().all(|part| part.len() <= MESSAGE_MAX));
    }

    #[test]
    fn very_long_text_becomes_a_file() {
        let text = "z".repeat(7_000);
        let parts = render(text.as_str().into(), EVERYTHING);
        assert_eq!(parts.len(), 1);
        assert_eq!(parts[0].files[0].bytes, text.as_bytes());
        assert_eq!(parts[0].body["content"].as_str().map(str::len), Some(MESSAGE_MAX));
    }

    #[test]
    fn no_part_is_empty() {
        for text in ["", " \n ", "\n\n\n"] {
            let parts = render(text.into(), EVERYTHING);
            assert_eq!(parts.len(), 1);
            assert!(!parts[0].body["content"].as_str().unwrap().is_empty());
        }
        let far_apart = format!("a\n{}b", "\n".repeat(4_500));
        let parts = split(&far_apart);
        assert_eq!(parts.iter().map(|part| part.trim()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn nobody_is_pinged_unless_it_is_said() {
        let body = &render("@everyone <@1>".into(), EVERYTHING)[0].body;
        assert_eq!(body["allowed_mentions"], json!({ "parse": [], "users": [], "replied_user": false }));
    }

    #[test]
    fn without_embed_links_a_card_is_text() {
        let card =
            Card { title: "T".into(), text: "body".into(), footer: Some("f".into()), ..Card::default() };
        let parts = render(card.into(), Surface { embeds: false, ephemeral: false });
        assert_eq!(parts[0].body["content"], "**T**\nbody\n-# f");
        assert_eq!(parts[0].body["embeds"], json!([]));
    }
}
