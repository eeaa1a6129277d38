//! The pages about one server, for those who manage it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use crate::clock::Timestamp;
use crate::commands::remember::{self, Listed, Remembered};
use crate::context::{Args, Context, Error, Reply};
use crate::history::Revision;
use crate::web::dashboard::desk::Desk;
use crate::web::dashboard::door::Viewer;
use crate::web::dashboard::page::{self, Cells, Ways, answer, count, table, tile};
use crate::web::dashboard::words::{at, person, theirs};

/// Memories on one page.
const PAGE: usize = 50;

/// Revisions of a memory on its page: the newest; the chat has the rest.
const REVISIONS: u32 = 50;

/// What a revision said, in a row of a table.
const EXCERPT: usize = 400;

/// The boards of a server.
const BOARDS: [(&str, &str); 4] =
    [("sparkles", "Sparkles"), ("memories", "Memories"), ("commands", "Commands"), ("djs", "DJs")];

/// Who looks at which server, and what they may do there.
pub struct Visit<'a> {
    pub desk: &'a Desk,
    pub viewer: &'a Viewer,
    pub ways: Ways,
    pub ctx: Context,
    pub server_id: u64,
    pub name: String,
    /// Whether they may change something.
    pub manages: bool,
}

impl Visit<'_> {
    fn base(&self) -> String {
        format!("/servers/{}", self.server_id)
    }

    /// A page about this server.
    fn page(&self, title: &str, body: &Markup) -> Response {
        let base = self.base();
        let ways =
            [("", "Overview"), ("/memories", "Memories"), ("/audit", "Changes"), ("/settings", "Settings")];
        // A memory is reached by way of all of them.
        let here = |name: &str| match title {
            "Memory" => (name == "Memories").then_some("true"),
            _ => (name == title).then_some("page"),
        };
        let body = html! {
            nav.sub aria-label="Server" {
                @for (way, name) in ways { a href={ (base) (way) } aria-current=[here(name)] { (name) } }
                a href={ (base) "/export" } { "Export" }
            }
            (body)
        };
        page::headed(
            self.viewer,
            self.ways,
            "/servers",
            title,
            &html! { (theirs(&self.name)) " · " (title) },
            &body,
        )
    }

    fn or_failure(&self, title: &str, body: Result<Markup, Error>) -> Response {
        match body {
            Ok(body) => self.page(title, &body),
            Err(error) => page::failure(self.viewer, error),
        }
    }

    /// `/servers/{id}`
    pub async fn overview(&self) -> Response {
        let names = self.desk.names(self.server_id);
        let boards = BOARDS.map(|(board, title)| {
            let args = Args::new().with_text("board", board);
            async move { (title, self.desk.ask(&self.ctx, "leaderboard", args).await) }
        });
        let month = || Args::new().with_text("window", "month");
        let (boards, used, cost, listed) = tokio::join!(
            futures::future::join_all(boards),
            self.desk.ask(&self.ctx, "stats here", month()),
            self.desk.ask(&self.ctx, "stats cost", month()),
            remember::listed(&self.ctx, ""),
        );
        let servers = self.desk.services.discord.servers();
        let server = servers.iter().find(|server| server.id == self.server_id);
        let mut people: Vec<u64> = server.map(|server| server.owner_id).into_iter().collect();
        for (_, reply) in &boards {
            people.extend(reply.iter().flat_map(mentioned));
        }
        self.desk.learn(self.server_id, people).await;
        let memories = listed.map_or("unknown".to_owned(), |listed| {
            count(listed.iter().filter(|one| one.other_name_of.is_none()).count() as f64)
        });
        let body = html! {
            dl.tiles {
                (tile("Memories", memories, ""))
                @if let Some(server) = server {
                    (tile("Members", count(server.members as f64), ""))
                    (tile("Owner", person(server.owner_id, &names), ""))
                }
                (tile("Id", html! { span.id { (self.server_id) } }, ""))
            }
            div.answers {
                @for (title, reply) in boards { (page::part(title, reply, &names)) }
                (page::part("Used this month", used, &names))
                (page::part("Cost this month", cost, &names))
            }
        };
        self.page("Overview", &body)
    }

    /// `/servers/{id}/memories`
    pub async fn memories(&self, sought: &str, from: usize) -> Response {
        let listed = match remember::listed(&self.ctx, sought).await {
            Ok(listed) => listed,
            Err(error) => return page::failure(self.viewer, error),
        };
        let from = from.min(listed.len().saturating_sub(1) / PAGE * PAGE);
        let shown = listed.iter().skip(from).take(PAGE);
        self.desk.learn(self.server_id, shown.map(|one| one.owner)).await;
        self.page("Memories", &self.memory_table(&listed, sought, from))
    }

    fn memory_table(&self, listed: &[Listed], sought: &str, from: usize) -> Markup {
        let names = self.desk.names(self.server_id);
        let row = |one: &Listed| -> Cells {
            vec![
                html! {
                    a href=(self.address_of(&one.key)) { (theirs(&one.name)) }
                    @if one.locked { " " span.tag { "locked" } }
                    @if let Some(of) = &one.other_name_of { " " span.tag { "other name of" } " " (theirs(of)) }
                },
                html! { @if one.owner == 0 { "nobody" } @else { (person(one.owner, &names)) } },
                html! { @if let Some(since) = one.since { (at(since)) } },
                html! { (count(one.recalls as f64)) },
            ]
        };
        let rows = listed.iter().skip(from).take(PAGE).map(row).collect();
        let link = |from: usize| {
            with_query(&format!("{}/memories", self.base()), &[("q", sought), ("from", &from.to_string())])
        };
        let none = if sought.is_empty() { "Nothing is remembered here yet." } else { "Nothing fits." };
        html! {
            form.search role="search" action={ (self.base()) "/memories" } {
                label { "Find a memory " input type="search" name="q" value=(sought) maxlength="200"; }
                button type="submit" { "Find" }
            }
            (table("Memories", &["Key", "Owner", "Since", "#Recalled"], rows, none))
            p.turns {
                @if from > 0 { a href=(link(from.saturating_sub(PAGE))) { "◀ Before" } " " }
                @if from + PAGE < listed.len() { a href=(link(from + PAGE)) { "After ▶" } }
            }
        }
    }

    fn address_of(&self, key: &str) -> String {
        with_query(&format!("{}/memory", self.base()), &[("key", key)])
    }

    /// `/servers/{id}/memory`
    pub async fn memory(&self, key: &str, told: Option<&str>) -> Response {
        let found = remember::with_history(&self.ctx, key, REVISIONS).await;
        match found {
            Ok((None, rows)) if rows.is_empty() => {
                page::refusal(self.viewer, StatusCode::NOT_FOUND, "Nothing is remembered under this key.")
            }
            Ok((head, rows)) => {
                let owner = head.as_ref().and_then(Remembered::owner);
                self.desk.learn(self.server_id, rows.iter().filter_map(|row| row.by).chain(owner)).await;
                self.page("Memory", &self.memory_body(key, head.as_ref(), &rows, told))
            }
            Err(error) => page::failure(self.viewer, error),
        }
    }

    fn memory_body(
        &self,
        key: &str,
        head: Option<&Remembered>,
        rows: &[Revision],
        told: Option<&str>,
    ) -> Markup {
        let names = self.desk.names(self.server_id);
        let event = self.desk.event();
        let row = |row: &Revision| -> Cells {
            vec![
                html! { (row.rev) },
                html! { @if let Some(time) = row.time() { (at(time)) } },
                html! { @match row.by { Some(0) | None => "someone", Some(id) => (person(id, &names)) } },
                html! { (row.op) },
                html! { @match &row.value { Some(value) => span.value { (theirs(&crate::markdown::cut(value, EXCERPT))) }, None => em { "forgotten" } } },
                self.restore_form(key, head, row, event),
            ]
        };
        // Without the last column for those who may only look.
        let columns = ["Revision", "When", "Who", "What", "It said", "Make it so again"];
        let columns = &columns[..columns.len() - usize::from(!self.may_restore())];
        html! {
            @if let Some(told) = told { p.told role="status" { (theirs(told)) } }
            h3 { (theirs(head.map_or(key, Remembered::display))) }
            @match head.filter(|head| !head.is_forgotten()) {
                Some(head) => {
                    @if let Some(of) = &head.alias_of { p { "Another name of " a href=(self.address_of(of)) { (theirs(of)) } } }
                    pre.value tabindex="0" { (theirs(head.value())) }
                    @if let Some(owner) = head.owner() { p.small { "Taught by " (person(owner, &names)) @if let Some(since) = head.created_at { " on " (at(since)) } } }
                },
                None => p { "It is forgotten." },
            }
            (table("History, the newest first", columns, rows.iter().map(row).collect(), "It has not been changed since it is known."))
        }
    }

    fn may_restore(&self) -> bool {
        matches!(self.viewer, Viewer::SignedIn(_)) && self.manages
    }

    /// A form that makes a memory what it was. Its event is made with the page: pressed twice it is one change.
    fn restore_form(&self, key: &str, head: Option<&Remembered>, row: &Revision, event: u64) -> Markup {
        let (Viewer::SignedIn(session), true) = (self.viewer, self.may_restore()) else { return html! {} };
        let newest = head.is_some_and(|head| head.rev == row.rev);
        let restorable = head.is_some() && !newest && !row.is_erased() && row.op != "alias";
        html! {
            @if restorable {
                form method="post" action={ (self.base()) "/restore" } {
                    input type="hidden" name="csrf" value=(session.csrf);
                    input type="hidden" name="key" value=(key);
                    input type="hidden" name="revision" value=(row.rev);
                    input type="hidden" name="event" value=(event);
                    button type="submit" aria-label={ "Restore revision " (row.rev) } { "Restore" }
                }
            }
        }
    }

    /// `POST /servers/{id}/restore`
    pub async fn restore(&self, key: &str, revision: u64) -> Response {
        match self.desk.restore(&self.ctx, key, revision).await {
            Ok(reply) => {
                let first = reply.text.lines().next().unwrap_or_default();
                self.memory(key, Some(&bare(first))).await
            }
            Err(error) => page::failure(self.viewer, error),
        }
    }

    /// `/servers/{id}/audit`
    pub async fn audit(&self, turn: Option<&str>) -> Response {
        let reply = match turn {
            Some(id) => self.desk.turn(&self.ctx, id).await,
            None => self.desk.ask(&self.ctx, "audit", Args::new()).await,
        };
        if let Ok(reply) = &reply {
            self.desk.learn(self.server_id, mentioned(reply)).await;
        }
        self.or_failure("Changes", reply.map(|reply| self.answered("audit", &reply)))
    }

    /// `/servers/{id}/settings`
    pub async fn settings(&self) -> Response {
        let (settings, rules) = tokio::join!(
            self.desk.ask(&self.ctx, "settings", Args::new()),
            self.desk.ask(&self.ctx, "rules", Args::new()),
        );
        let names = self.desk.names(self.server_id);
        let body = settings.map(|settings| {
            html! {
                (self.answered("settings", &settings))
                (page::part("Rules", rules, &names))
                p.small { "They are changed in the chat, by " code { (self.ctx.typed("settings set")) } ", where everybody can see it." }
            }
        });
        self.or_failure("Settings", body)
    }

    fn answered(&self, way: &str, reply: &Reply) -> Markup {
        let base = format!("{}/{way}", self.base());
        answer(reply, &self.desk.names(self.server_id), &|id| with_query(&base, &[("turn", id)]))
    }

    /// `/servers/{id}/export`: one file, or several of which each is whole by itself.
    pub async fn export(&self, part: usize) -> Response {
        let reply = match self.desk.ask(&self.ctx, "data export", Args::new()).await {
            Ok(reply) => reply,
            Err(error) => return page::failure(self.viewer, error),
        };
        match reply.files.into_iter().nth(part) {
            Some(file) => {
                let headers = [
                    (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                    (
                        header::CONTENT_DISPOSITION,
                        format!("attachment; filename=\"{}\"", file_name(&file.name)),
                    ),
                ];
                (headers, file.bytes).into_response()
            }
            None => page::refusal(self.viewer, StatusCode::NOT_FOUND, "There is no such part."),
        }
    }
}

/// The list of servers: all of them, or those that somebody manages.
pub fn servers(desk: &Desk, viewer: &Viewer, owner: bool) -> Markup {
    let servers = desk.services.discord.servers();
    let shown = servers.iter().filter(|server| match viewer {
        Viewer::Here => true,
        Viewer::SignedIn(session) => owner || session.servers.contains(&server.id),
    });
    let row = |server: &crate::context::discord::Server| -> Cells {
        vec![
            html! { a href={ "/servers/" (server.id) } { (theirs(&server.name)) } },
            html! { (count(server.members as f64)) },
            html! { (at(Timestamp::of_snowflake(server.id))) },
        ]
    };
    table(
        "Servers",
        &["Name", "#Members", "Made"],
        shown.map(row).collect(),
        "You manage no server that the bot is in.",
    )
}

/// Whom an answer mentions.
fn mentioned(reply: &Reply) -> Vec<u64> {
    let texts = [&reply.text].into_iter().chain(reply.card.as_ref().map(|card| &card.text));
    let ids = texts.flat_map(|text| text.split("<@").skip(1));
    ids.filter_map(|rest| rest.split('>').next()?.parse().ok()).collect()
}

/// An address with a query, in which everything is escaped.
pub fn with_query(path: &str, query: &[(&str, &str)]) -> String {
    let pairs = query.iter().filter(|(_, value)| !value.is_empty());
    let query: String =
        pairs.map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn file_name(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')).collect()
}

/// A line of an answer without its marks.
fn bare(text: &str) -> String {
    text.replace(['`', '*', '\\'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_address_is_escaped() {
        assert_eq!(with_query("/x", &[("key", "a b&c=\"<é>")]), "/x?key=a%20b%26c%3D%22%3C%C3%A9%3E");
        assert_eq!(with_query("/x", &[("q", "")]), "/x");
        assert_eq!(file_name("a\"b\r\nc.jsonl.gz"), "abc.jsonl.gz");
    }
}
