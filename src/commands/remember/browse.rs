//! Finding what there is: `.rem search`, `.mem list`, their pages, and suggestions while typing.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::commands::pages::Page;
use crate::commands::undo::TOO_OLD;
use crate::context::{Choice, Reply, Result, Services, Typing, refuse};
use crate::markdown::{code, cut, number, person};

use super::call::Call;
use super::get::nothing_here;
use super::key::{KEY_CHARS_MAX, as_choice, clean};
use super::list::Found;
use super::lists::Lists;
use super::view::{self, no, who};

/// A page of search or list.
const PAGE: usize = 20;

/// Discord's limit for the id of a control.
const ID_CHARS_MAX: usize = 100;

/// What is being looked at: the whole of it is in the ids of the page buttons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub text: String,
    pub by: Option<u64>,
    pub page: usize,
}

impl View {
    pub fn new(text: &str, by: Option<u64>) -> Self {
        Self { text: clean(text).trim().to_owned(), by, page: 0 }
    }

    /// `<verb>:<page>:<person or ->:<text>`; `None` if the text is too long for an id.
    fn id(&self, verb: &str, page: usize) -> Option<String> {
        let by = self.by.map_or_else(|| "-".to_owned(), |id| format!("{id:x}"));
        let id = format!("{verb}:{page}:{by}:{}", URL_SAFE_NO_PAD.encode(&self.text));
        // The disabled one of a pair is one character longer.
        (id.len() < ID_CHARS_MAX).then_some(id)
    }

    /// Reads what follows the verb, strictly.
    pub fn parse(fields: &str) -> Result<Self> {
        Self::read(fields).ok_or_else(|| no(TOO_OLD))
    }

    fn read(fields: &str) -> Option<Self> {
        let [page, by, text] = fields.split(':').collect::<Vec<_>>().try_into().ok()?;
        let by = match by {
            "-" => None,
            by => Some(u64::from_str_radix(by, 16).ok().filter(|id| format!("{id:x}") == by)?),
        };
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let number: u32 = page.parse().ok()?;
        (number.to_string() == page).then_some(Self { text, by, page: number as usize })
    }
}

/// `.rem search`: the names that fit, the best first; without a text all of them.
pub async fn search(call: &Call, view: &View) -> Result<Reply> {
    let list = call.lists().current(call.dynamo(), call.server()).await?;
    let sought = cut(&view.text, KEY_CHARS_MAX);
    let mut found = if view.text.is_empty() { list.iter().collect() } else { list.search(&view.text) };
    found.retain(|found| view.by.is_none_or(|by| found.entry.created_by == by));
    if found.is_empty() {
        return match (list.is_empty(), view.by) {
            (true, _) => Err(nothing_here()),
            (false, Some(by)) if sought.is_empty() => none_by(by),
            _ => refuse(format!(
                "🤔 I couldn't find anything for {} - Please try refining your search",
                code(&sought)
            )),
        };
    }
    let title = match sought.is_empty() {
        true => "🔍 Remember Search".to_owned(),
        false => view::titled("🔍 Remember Search - ", &sought),
    };
    Ok(page(view, "mem-search", title, &found, view::listed))
}

fn none_by(by: u64) -> Result<Reply> {
    refuse(format!("🤔 {} hasn't taught me anything yet", person(by)))
}

/// `.mem list`: what there is, by key, and whose.
pub async fn list(call: &Call, view: &View) -> Result<Reply> {
    let list = call.lists().current(call.dynamo(), call.server()).await?;
    let mine = |found: &Found<'_>| view.by.is_none_or(|by| found.entry.created_by == by);
    let found: Vec<Found<'_>> = list.memories().filter(mine).collect();
    if found.is_empty() {
        return view.by.filter(|_| !list.is_empty()).map_or_else(|| Err(nothing_here()), none_by);
    }
    let title = format!("📒 What I remember ({})", number(found.len()));
    let line = |found: &Found<'_>| format!("{} - {}", view::listed(found), owner(found));
    Ok(page(view, "mem-list", title, &found, line))
}

fn owner(found: &Found<'_>) -> String {
    who(Some(found.entry.created_by).filter(|id| *id != 0))
}

fn page(
    view: &View,
    verb: &str,
    title: String,
    found: &[Found<'_>],
    line: impl Fn(&Found<'_>) -> String,
) -> Reply {
    let page = Page::of(found, view.page, PAGE);
    let mut lines: Vec<String> = page.items.iter().map(line).collect();
    if page.after > 0 {
        lines.push(format!("And {} more...", number(page.after)));
    }
    let buttons = page.buttons(|number| view.id(verb, number));
    Reply::from(view::card(title, lines.join("\n"))).buttons(buttons)
}

/// Keys for what is typed so far. Never waits: without a list there is nothing to choose from, yet.
pub fn suggest(services: &Arc<Services>, typing: Typing<'_>) -> Vec<Choice> {
    let lists = services.state::<Lists>();
    let Some(list) = lists.loaded(typing.server_id) else {
        lists.want(typing.server_id);
        return Vec::new();
    };
    let choice = |found: Found<'_>| Choice {
        label: cut(found.display(), Choice::CHARS_MAX),
        value: as_choice(found.key),
    };
    list.search(typing.text).into_iter().take(Choice::SHOWN_MAX).map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_travels_in_an_id() {
        let view = View { text: "grüße: 1".to_owned(), by: Some(u64::MAX), page: 0 };
        let id = view.id("mem-search", 12).unwrap();
        assert!(id.is_ascii() && id.len() < 100);
        let fields = id.strip_prefix("mem-search:").unwrap();
        assert_eq!(View::parse(fields).unwrap(), View { page: 12, ..view });
    }

    #[test]
    fn a_text_too_long_for_an_id_has_no_pages() {
        assert_eq!(View::new(&"x".repeat(90), None).id("mem-search", 0), None);
    }

    #[test]
    fn damaged_ids_are_too_old() {
        for fields in ["", "0", "0:-", "00:-:", "-1:-:", "0:xyz:", "0:-:@@", "0:-::", "0:0a:", "0:-:-"] {
            assert_eq!(View::parse(fields).unwrap_err().to_string(), TOO_OLD, "{fields}");
        }
        assert_eq!(View::parse("0:-:").unwrap(), View::new("", None));
    }
}
