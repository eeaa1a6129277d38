//! What every page has: its frame, its tables, its ways to say no.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use crate::commands::about::version;
use crate::context::{Error, Reply, Row};
use crate::telemetry::reference;
use crate::web::dashboard::door::{SIGN_IN, Viewer};
use crate::web::dashboard::words::{self, Names, theirs};

/// Whose a page is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Everybody,
    Owners,
    /// The owners', of a bot with links to others.
    OwnersWithRelay,
}

/// The ways between pages.
const WAYS: [(&str, &str, Whose); 8] = [
    ("/", "Overview", Whose::Owners),
    ("/servers", "Servers", Whose::Everybody),
    ("/costs", "Costs", Whose::Owners),
    ("/reminders", "Reminders", Whose::Owners),
    ("/shared", "Shared data", Whose::Owners),
    ("/relay", "Relay", Whose::OwnersWithRelay),
    ("/errors", "Errors", Whose::Owners),
    ("/numbers", "All numbers", Whose::Owners),
];

/// Where somebody may go from a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    /// To the servers that they manage.
    ToServers,
    /// To all pages of the bot; a relay is a part that it may have.
    ToAll { relay: bool },
}

impl Ways {
    fn lead(self, whose: Whose) -> bool {
        match self {
            Self::ToServers => whose == Whose::Everybody,
            Self::ToAll { relay } => relay || whose != Whose::OwnersWithRelay,
        }
    }

    fn home(self) -> &'static str {
        if self == Self::ToServers { "/servers" } else { "/" }
    }
}

/// Numbers of one row of a table.
pub type Cells = Vec<Markup>;

/// A whole page.
pub fn page(viewer: &Viewer, ways: Ways, here: &str, title: &str, body: &Markup) -> Response {
    headed(viewer, ways, here, title, &html! { (title) }, body)
}

/// The same with a heading of its own.
pub fn headed(
    viewer: &Viewer,
    ways: Ways,
    here: &str,
    title: &str,
    heading: &Markup,
    body: &Markup,
) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (title) " · mneme" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/dashboard.css";
            }
            body {
                a.skip href="#main" { "Skip to the page" }
                header.top {
                    a.mark href=(ways.home()) { img src="/assets/icon.svg" alt="" width="28" height="28"; "mneme" }
                    nav aria-label="Pages" {
                        @for (way, name, _) in WAYS.into_iter().filter(|(.., whose)| ways.lead(*whose)) {
                            a href=(way) aria-current=[(way == here).then_some("page")] { (name) }
                        }
                    }
                    (who(viewer))
                }
                main id="main" tabindex="-1" { h1 { (heading) } (body) }
                footer.foot { (version()) }
            }
        }
    };
    html_response(StatusCode::OK, page)
}

fn who(viewer: &Viewer) -> Markup {
    match viewer {
        Viewer::Here => html! { p.who { "this machine, read only" } },
        Viewer::SignedIn(session) => html! {
            form.who method="post" action="/sign-out" {
                input type="hidden" name="csrf" value=(session.csrf);
                span { (theirs(&session.name)) }
                button type="submit" { "Sign out" }
            }
        },
    }
}

/// What a page for strangers may load: nothing, and that includes the picture that browsers ask for by themselves.
const OUTSIDE_POLICY: &str =
    "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page for somebody who is not signed in. Styles are for those who are, so it has none.
pub fn outside(status: StatusCode, why: &str, way: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { "mneme" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href="data:,";
            }
            body { main { h1 { "mneme" } p { (why) } p { a href=(SIGN_IN) { (way) } } } }
        }
    };
    ([(header::CONTENT_SECURITY_POLICY, OUTSIDE_POLICY)], html_response(status, page)).into_response()
}

fn html_response(status: StatusCode, page: Markup) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}

/// A page that says no, and why.
pub fn refusal(viewer: &Viewer, status: StatusCode, why: &str) -> Response {
    refused(viewer, status, &html! { (why) })
}

fn refused(viewer: &Viewer, status: StatusCode, why: &Markup) -> Response {
    let title = if status == StatusCode::NOT_FOUND { "Not here" } else { "Not now" };
    let mut response = page(viewer, Ways::ToServers, "", title, &html! { div.refused { (why) } });
    *response.status_mut() = status;
    response
}

/// An error as the viewer is told of it. What is not a refusal is logged here, with the reference it is shown with.
pub fn failure(viewer: &Viewer, error: Error) -> Response {
    match error {
        Error::Refused(why) | Error::Usage(why) => {
            refused(viewer, StatusCode::UNPROCESSABLE_ENTITY, &words::marked(&why, &|_| None))
        }
        other => unknown(viewer, anyhow::Error::from(other)),
    }
}

/// Something could not be found out; nobody is let in or turned away by that.
pub fn unknown(viewer: &Viewer, error: anyhow::Error) -> Response {
    let reference = reference();
    tracing::error!(reference, error = format!("{error:#}"), "a page could not be shown");
    let why = format!("That could not be found out; please try again. (ref {reference})");
    refusal(viewer, StatusCode::SERVICE_UNAVAILABLE, &why)
}

/// A table with a caption; numbers stand to the right in columns whose name begins with `#`.
pub fn table(caption: &str, columns: &[&str], rows: Vec<Cells>, none: &str) -> Markup {
    html! {
        @if rows.is_empty() {
            section { h2 { (caption) } p.none { (none) } }
        } @else {
            div.scroll tabindex="0" role="region" aria-label=(caption) {
                table {
                    caption { (caption) }
                    thead { tr { @for column in columns { th.number[column.starts_with('#')] scope="col" { (column.trim_start_matches('#')) } } } }
                    tbody {
                        @for cells in rows {
                            tr { @for (cell, column) in cells.into_iter().zip(columns) { td.number[column.starts_with('#')] { (cell) } } }
                        }
                    }
                }
            }
        }
    }
}

/// A number that somebody looks at first.
pub fn tile(label: &str, value: impl maud::Render, note: &str) -> Markup {
    html! { div.tile { dt { (label) } dd { b { (value) } @if !note.is_empty() { small { (note) } } } } }
}

/// An answer of the bot. `turned` makes the address of the page that a button leads to.
pub fn answer(reply: &Reply, names: Names<'_>, turned: &dyn Fn(&str) -> String) -> Markup {
    html! {
        section.answer {
            @if let Some(card) = &reply.card {
                h2 { (card.title.trim_start_matches(|c: char| !c.is_alphanumeric())) }
                (words::marked(&card.text, names))
                @if let Some(footer) = &card.footer { p.small { (footer) } }
            }
            (words::marked(&reply.text, names))
            @for row in &reply.rows {
                @if let Row::Buttons(buttons) = row {
                    p.turns { @for button in buttons.iter().filter(|button| !button.disabled) { a href=(turned(&button.id)) { (button.label) } " " } }
                }
            }
        }
    }
}

/// The same for an answer that may have failed: the rest of its page is still worth showing.
pub fn part(title: &str, reply: Result<Reply, Error>, names: Names<'_>) -> Markup {
    match reply {
        Ok(reply) if reply.card.is_some() => {
            answer(&Reply { rows: Vec::new(), ..reply }, names, &|_| String::new())
        }
        // It has no heading of its own.
        Ok(Reply { text: why, .. }) | Err(Error::Refused(why) | Error::Usage(why)) => {
            html! { section.answer { h2 { (title) } (words::marked(&why, names)) } }
        }
        Err(_) => {
            html! { section.answer { h2 { (title) } p.refused { "This could not be read just now." } } }
        }
    }
}

/// Whole numbers with commas between their thousands.
pub fn count(n: f64) -> String {
    // A sum of nothing is -0.
    let digits = format!("{:.0}", n + 0.0);
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap_or("")).collect();
    grouped.join(",")
}

/// Dollars, with as many places as such sums need.
pub fn money(dollars: f64) -> String {
    if dollars >= 1.0 { format!("${dollars:.2}") } else { format!("${dollars:.6}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sums_have_places() {
        assert_eq!([0.0, 999.0, 1_000.0, 1_234_567.0].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.0000125, 12.5].map(money), ["$0.000000", "$0.000013", "$12.50"]);
    }

    #[test]
    fn a_page_leads_where_somebody_may_go() {
        let names = |ways: Ways| {
            let led = WAYS.into_iter().filter(|(.., whose)| ways.lead(*whose));
            led.map(|(way, ..)| way).collect::<Vec<_>>()
        };
        assert_eq!(names(Ways::ToServers), ["/servers"]);
        assert_eq!(names(Ways::ToAll { relay: true }).len(), WAYS.len());
        assert!(!names(Ways::ToAll { relay: false }).contains(&"/relay"));
    }

    #[test]
    fn a_table_escapes_what_is_in_it() {
        let rows = vec![vec![theirs("<script>"), html! { "1" }]];
        let shown = table("Things", &["Name", "#Count"], rows, "").into_string();
        assert!(shown.contains("&lt;script&gt;") && shown.contains("<th class=\"number\""), "{shown}");
        assert!(table("Things", &["Name"], Vec::new(), "None yet").into_string().contains("None yet"));
    }
}
