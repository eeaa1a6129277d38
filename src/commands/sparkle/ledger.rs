//! Reading the ledger: what somebody got, what they gave, and what happened in a server.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use crate::commands::boards::{self, Board};
use crate::commands::undo::TOO_OLD;
use crate::context::{Button, Card, Context, Error, Reply, Result, Select, SelectChoice, Style, refuse};
use crate::counts::Tally;
use crate::dynamo::{Cursor, Query};
use crate::history::{BY_EVENT, Revision, Thing};
use crate::markdown::{code, cut, person};

use super::record::{Entry, Sparkles, key, thing};
use super::view;

/// Lines on a page.
const PAGE: usize = 10;

/// Changes of a server that are looked through for what may be rare among them.
const CHANGES_MAX: usize = 1_000;

/// Changes read at a time: about 25 KB.
const CHANGES_AT_ONCE: u32 = 200;

/// Rows of one person's ledger read at a time. Of a page some may be without a reason, or taken back.
const ROWS_AT_ONCE: u32 = 24;

/// How often more rows are read for one page of reasons.
const READS_MAX: usize = 5;

/// Discord's limit for the description of a choice.
const CHOICE_CHARS_MAX: usize = 100;

/// Which part of a ledger: by the events of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// From the newest back to this event, as it is now.
    Since(u64),
    Newest,
    OlderThan(u64),
    /// Oldest first.
    NewerThan(u64),
}

impl Part {
    /// `o:<event>` or `n:<event>`, as page buttons carry it.
    fn read(way: &str, event: &str) -> Option<Self> {
        let event = event.parse().ok().filter(|id: &u64| id.to_string() == event)?;
        match way {
            "o" => Some(Self::OlderThan(event)),
            "n" => Some(Self::NewerThan(event)),
            _ => None,
        }
    }
}

/// Looks through the changes of the server for rows of the ledger, until `visit` has seen enough.
pub async fn walk(ctx: &Context, part: Part, mut visit: impl FnMut(Entry) -> ControlFlow<()>) -> Result<()> {
    let (mut cursor, mut seen): (Option<Cursor>, usize) = (None, 0);
    while seen < CHANGES_MAX {
        let query: Query<Revision, u64> = Query::by_index(BY_EVENT, ctx.cause.server_id);
        let query = query.limit(CHANGES_AT_ONCE);
        let query = match part {
            // What decides a change is read as it is now.
            Part::Since(event) => query.at_least(event).newest_first(),
            Part::Newest => query.newest_first().eventually(),
            Part::OlderThan(event) => query.less(event).newest_first().eventually(),
            Part::NewerThan(event) => query.at_least(event.saturating_add(1)).eventually(),
        };
        let page = ctx.dynamo().query(cursor.into_iter().fold(query, Query::resume)).await?;
        seen += page.records.len();
        for entry in page.records.iter().filter_map(Entry::read) {
            if visit(entry).is_break() {
                return Ok(());
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

/// `.show sparkles`: what a person got, and for what.
pub async fn show(ctx: &Context, who: u64, part: Part) -> Result<Reply> {
    let head: Option<Sparkles> = ctx.dynamo().get_eventually(key(ctx.cause.server_id, who)).await?;
    let Some(head) = head.filter(|head| head.total_sparkles > 0) else {
        return refuse(format!(
            "❌ {} I couldn't find any matching sparkles for that user",
            person(ctx.caller.id)
        ));
    };
    let reasons = reasons(ctx, &thing(ctx.cause.server_id, who), part).await?;
    let mut lines = vec![view::total(head.total_sparkles)];
    lines.extend(reasons.page.iter().map(view::reason));
    if !reasons.older {
        // At the end of the ledger comes what is from before there was one.
        let before = head.sparkle_reasons.as_deref().unwrap_or_default();
        lines.extend(before.split('|').map(str::trim).filter(|text| !text.is_empty()).map(view::old_reason));
    }
    if lines.len() == 1 {
        lines.push(view::NO_REASONS.to_owned());
    }
    let ends = (reasons.page.first(), reasons.page.last());
    let buttons = match ends {
        (Some(first), Some(last)) if reasons.newer || reasons.older => {
            let id = |way: &str, entry: &Entry| format!("sparkles-show:{way}:{}:{who}", entry.sparkle);
            pages(id("n", first), id("o", last), reasons.newer, reasons.older)
        }
        _ => Vec::new(),
    };
    Ok(Reply::from(lines.join("\n")).buttons(buttons))
}

/// A page button of `.show sparkles`: `<o|n>:<event>:<person>`.
pub async fn show_page(ctx: &Context, fields: &str) -> Result<Reply> {
    let (part, who) = read_page(fields)?;
    show(ctx, who.ok_or_else(too_old)?, part).await
}

struct Reasons {
    /// Newest first.
    page: Vec<Entry>,
    newer: bool,
    older: bool,
}

/// A page of sparkles that have a reason and were not taken back.
async fn reasons(ctx: &Context, thing: &Thing, part: Part) -> Result<Reasons> {
    let (mut cursor, mut found): (Option<Cursor>, Vec<Entry>) = (None, Vec::new());
    let mut undone = BTreeSet::new();
    for _ in 0..READS_MAX {
        let query = Query::of(thing.server_id).limit(ROWS_AT_ONCE).eventually();
        let query = match part {
            // An undo stands right behind its sparkle, so reading backwards meets it first.
            Part::Newest | Part::Since(_) => {
                query.between(thing.entry(0), format!("{}~", thing.entry(u64::MAX))).newest_first()
            }
            Part::OlderThan(event) => {
                query.between(thing.entry(0), thing.entry(event.saturating_sub(1)) + "~").newest_first()
            }
            Part::NewerThan(event) => {
                let next = thing.entry(event.saturating_add(1));
                query.between(next, format!("{}~", thing.entry(u64::MAX)))
            }
        };
        let page = ctx.dynamo().query(cursor.into_iter().fold(query, Query::resume)).await?;
        for entry in page.records.iter().filter_map(Entry::read) {
            if entry.taken_back {
                undone.insert(entry.sparkle);
            } else if entry.reason.is_some() {
                found.push(entry);
            }
        }
        found.retain(|entry| !undone.contains(&entry.sparkle));
        cursor = page.next;
        if cursor.is_none() || found.len() > PAGE + 1 {
            break;
        }
    }
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    Ok(match part {
        Part::Newest | Part::Since(_) => Reasons { page: found, newer: false, older: more },
        Part::OlderThan(_) => Reasons { page: found, newer: true, older: more },
        Part::NewerThan(_) => {
            found.reverse();
            Reasons { page: found, newer: more, older: true }
        }
    })
}

/// `.sparkles given`: how many a person gave, and the last ones.
pub async fn given(ctx: &Context, who: u64) -> Result<Reply> {
    let head: Option<Sparkles> = ctx.dynamo().get_eventually(key(ctx.cause.server_id, who)).await?;
    let Some(given) = head.map(|head| head.given).filter(|given| *given > 0) else {
        return refuse(format!("✨ {} hasn't given a sparkle yet", person(who)));
    };
    let mut lines = vec![format!("✨ {} has given **{given}** sparkles", person(who))];
    let mut undone = BTreeSet::new();
    walk(ctx, Part::Newest, |entry| {
        if entry.taken_back {
            undone.insert(entry.sparkle);
        } else if entry.by == Some(who) && !undone.contains(&entry.sparkle) {
            lines.push(view::given_line(&entry));
        }
        if lines.len() > PAGE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await?;
    Ok(lines.join("\n").into())
}

/// `.sparkles log`: the ledger of a server, or of what one person gave and got.
pub async fn log(ctx: &Context, who: Option<u64>, part: Part) -> Result<Reply> {
    let mut found = Vec::new();
    walk(ctx, part, |entry| {
        if who.is_none_or(|who| entry.by == Some(who) || entry.to == who) {
            found.push(entry);
        }
        if found.len() > PAGE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await?;
    let more = found.len() > PAGE;
    found.truncate(PAGE);
    let (newer, older) = match part {
        Part::Newest | Part::Since(_) => (false, more),
        Part::OlderThan(_) => (true, more),
        Part::NewerThan(_) => {
            found.reverse();
            (more, true)
        }
    };
    let (Some(first), Some(last)) = (found.first(), found.last()) else {
        return refuse("✨ No sparkles yet");
    };
    let lines: Vec<String> = found.iter().map(view::log_line).collect();
    let card = Card { title: "✨ Sparkle log".to_owned(), text: lines.join("\n"), ..Card::default() };
    let mut reply = Reply::from(card);
    if ctx.caller.moderator
        && let Some(select) = undo_menu(&found)
    {
        reply = reply.select(select);
    }
    if newer || older {
        let whose = who.map_or_else(|| "-".to_owned(), |who| who.to_string());
        let id = |way: &str, entry: &Entry| format!("sparkles-log:{way}:{}:{whose}", entry.event);
        reply = reply.buttons(pages(id("n", first), id("o", last), newer, older));
    }
    Ok(reply)
}

/// A page button of `.sparkles log`: `<o|n>:<event>:<person or ->`.
pub async fn log_page(ctx: &Context, fields: &str) -> Result<Reply> {
    let (part, who) = read_page(fields)?;
    log(ctx, who, part).await
}

fn read_page(fields: &str) -> Result<(Part, Option<u64>)> {
    let [way, event, who]: [&str; 3] =
        fields.split(':').collect::<Vec<_>>().try_into().map_err(|_| too_old())?;
    let part = Part::read(way, event).ok_or_else(too_old)?;
    let who = match who {
        "-" => None,
        who => Some(who.parse().ok().filter(|id: &u64| id.to_string() == who).ok_or_else(too_old)?),
    };
    Ok((part, who))
}

fn too_old() -> Error {
    Error::Refused(TOO_OLD.to_owned())
}

fn pages(newer_id: String, older_id: String, newer: bool, older: bool) -> Vec<Button> {
    vec![
        Button { disabled: !newer, ..Button::new(newer_id, "◀ Newer") },
        Button { disabled: !older, style: Style::Primary, ..Button::new(older_id, "Older ▶") },
    ]
}

/// What a moderator may take back of a page.
fn undo_menu(found: &[Entry]) -> Option<Select> {
    let undone: BTreeSet<u64> =
        found.iter().filter(|entry| entry.taken_back).map(|entry| entry.sparkle).collect();
    let left = found.iter().filter(|entry| !entry.taken_back && !undone.contains(&entry.sparkle));
    let choices: Vec<SelectChoice> = left
        .map(|entry| SelectChoice {
            label: entry.event.to_string(),
            value: entry.event.to_string(),
            description: entry.reason.as_deref().map(|text| cut(&view::one_line(text), CHOICE_CHARS_MAX)),
        })
        .collect();
    (!choices.is_empty()).then(|| Select {
        id: "sparkles-undo:".to_owned(),
        placeholder: "Undo…".to_owned(),
        choices,
    })
}

/// How a sparkle is called in `.sparkles undo`.
pub fn id(event: u64) -> String {
    code(&event.to_string())
}

/// Under which name the totals of a server are kept in memory.
pub fn totals_board(server_id: u64) -> String {
    format!("{server_id}/sparkles/all")
}

/// Everybody's total, as rows of a board.
pub async fn totals(ctx: &Context) -> Result<Board> {
    let name = totals_board(ctx.cause.server_id);
    let rows = async {
        let query = Query::<Sparkles>::of(ctx.cause.server_id).eventually();
        let heads = ctx.dynamo().query_all(query).await?;
        let row = |head: Sparkles| Tally {
            board: name.clone(),
            slot: format!("00#{}", head.discord_handle),
            expires_at: None,
            numbers: [("n".to_owned(), head.total_sparkles)].into(),
        };
        Ok(heads.into_iter().map(row).collect())
    };
    boards::through_cache(&ctx.services, (name.clone(), "00#".to_owned(), "01".to_owned()), rows).await
}
