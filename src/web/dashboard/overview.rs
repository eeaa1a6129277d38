//! The pages about the bot as a whole: how it is, what it costs, what is due, what went wrong.

use std::sync::atomic::Ordering;
use std::time::Duration;

use maud::{Markup, html};

use crate::clock::Timestamp;
use crate::commands::about;
use crate::context::Services;
use crate::due::{Due, hour};
use crate::dynamo::{self, Query};
use crate::telemetry;
use crate::web::dashboard::numbers::{Numbers, quantile};
use crate::web::dashboard::page::{Cells, count, money, table, tile};
use crate::web::dashboard::relay;
use crate::web::dashboard::trend::Trend;
use crate::web::dashboard::words::{at, theirs};

/// Rows of a table that nobody reads to the end.
const ROWS_MAX: usize = 200;

/// How far ahead reminders are looked for; each hour is a request.
const HOURS_AHEAD: u64 = 24;

pub fn numbers(services: &Services) -> Numbers {
    Numbers::parse(&services.metrics.text())
}

/// `/`
pub fn overview(services: &Services) -> Markup {
    let numbers = numbers(services);
    let (health, instance) = (&services.health, &services.instance);
    let connected = health.shards_connected.load(Ordering::SeqCst);
    let wanted = health.shards_wanted.load(Ordering::SeqCst);
    let beat = health.heartbeat_ms.load(Ordering::SeqCst);
    let beat = if beat < 0 { String::new() } else { format!("heartbeat {beat} ms") };
    let ready = health.ready() && services.bans.instance().is_some();
    let trouble = health.trouble.lock().ok().and_then(|trouble| trouble.clone());
    let up = instance.started_at.map_or(Duration::ZERO, |at| services.clock.now().since(at));
    let buckets = numbers.buckets("mneme_command_seconds");
    let within = |share| {
        quantile(share, &buckets).map_or("–".to_owned(), |seconds| format!("{:.0} ms", seconds * 1_000.0))
    };
    let last = services.dynamo.last();
    let took = last.took.map_or("–".to_owned(), |took| format!("{} ms", took.as_millis()));
    let (cpu, memory) = about::busy(services);
    html! {
        dl.tiles {
            (tile("Status", if ready { "ready" } else { "not ready" }, trouble.as_deref().unwrap_or("")))
            (tile("Shards", format!("{connected} of {wanted}"), &beat))
            (tile("Servers", count(numbers.sum("mneme_servers")), ""))
            (tile("Commands", count(numbers.sum("mneme_commands_total")), &failed(&numbers)))
            (tile("Half answered within", within(0.5), &format!("19 of 20 within {}", within(0.95))))
            (tile("Store answered in", took, &instance.store))
            (tile("Cost so far", money(cost(services, &numbers)), &format!("up for {}", span(up))))
            (tile("This machine", format!("CPU {cpu}%"), &format!("memory {memory}%")))
            @if let Some(relay) = services.relay.get() { (relay::summary(relay)) }
        }
        (services.state::<Trend>().plots())
        (commands(&numbers))
        (discord(&numbers))
    }
}

fn failed(numbers: &Numbers) -> String {
    let of = |outcome| count(numbers.sum_where("mneme_commands_total", "outcome", outcome));
    format!("{} refused, {} failed", of("refused"), of("error"))
}

fn span(time: Duration) -> String {
    let (hours, minutes) = (time.as_secs() / 3_600, time.as_secs() / 60 % 60);
    if hours >= 48 { format!("{} days", hours / 24) } else { format!("{hours} h {minutes} min") }
}

fn cost(services: &Services, numbers: &Numbers) -> f64 {
    let units = |kind| numbers.sum_where("mneme_dynamo_units_total", "kind", kind);
    services.instance.prices.of(units("read"), units("write"))
}

fn commands(numbers: &Numbers) -> Markup {
    let by = numbers.by_two("mneme_commands_total", "command", "outcome");
    let of =
        |name: &str, outcome: &str| by.get(&(name.to_owned(), outcome.to_owned())).copied().unwrap_or(0.0);
    let mut names: Vec<(String, f64)> = numbers.by("mneme_commands_total", "command").into_iter().collect();
    names.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let row = |(name, sum): (String, f64)| -> Cells {
        let numbers = [sum, of(&name, "ok"), of(&name, "refused"), of(&name, "error")];
        std::iter::once(theirs(&name)).chain(numbers.map(|n| html! { (count(n)) })).collect()
    };
    let rows = names.into_iter().take(ROWS_MAX).map(row).collect();
    table(
        "Commands since the start",
        &["Command", "#Runs", "#Done", "#Refused", "#Failed"],
        rows,
        "None yet.",
    )
}

fn discord(numbers: &Numbers) -> Markup {
    let rows = numbers.by_two("mneme_discord_requests_total", "route", "status").into_iter();
    let status = |status: &str| if status == "0" { "no answer".to_owned() } else { status.to_owned() };
    let row = |((route, code), n): ((String, String), f64)| -> Cells {
        vec![html! { (route) }, html! { (status(&code)) }, html! { (count(n)) }]
    };
    table(
        "Calls to Discord since the start",
        &["Call", "Answer", "#Times"],
        rows.map(row).collect(),
        "None yet.",
    )
}

/// Samples as they are, with what their families are.
pub fn listed(caption: &str, numbers: &Numbers, found: Vec<(&str, String, f64)>) -> Markup {
    let family = |name: &str| {
        let ends = ["_total", "_bucket", "_count", "_sum"];
        ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let row = |(name, labels, n): (&str, String, f64)| -> Cells {
        let help = numbers.help(&family(name)).unwrap_or_default();
        let n = if n.fract() == 0.0 { count(n) } else { format!("{n:.3}") };
        vec![html! { code { (name) } }, theirs(&labels), html! { (n) }, html! { (help) }]
    };
    table(
        caption,
        &["Name", "Of", "#Number", "What it is"],
        found.into_iter().map(row).collect(),
        "Nothing yet.",
    )
}

/// `/numbers`: everything that Prometheus is told.
pub fn all_numbers(services: &Services) -> Markup {
    let numbers = numbers(services);
    let found =
        numbers.starting("mneme_").into_iter().filter(|(name, ..)| !name.ends_with("_bucket")).collect();
    html! {
        p { "The same as at " code { "/metrics" } ", at this moment." }
        (listed("Numbers", &numbers, found))
    }
}

/// `/costs`
pub fn costs(services: &Services) -> Markup {
    let (numbers, prices) = (numbers(services), services.instance.prices);
    let up = services.instance.started_at.map_or(0.0, |at| services.clock.now().since(at).as_secs_f64());
    let units = |kind| numbers.sum_where("mneme_dynamo_units_total", "kind", kind);
    let sum = cost(services, &numbers);
    // An hour tells little about a month; before that nothing is told.
    let month = if up > 3_600.0 { money(sum / up * 30.0 * 86_400.0) } else { "–".to_owned() };
    let read = numbers.by_two("mneme_dynamo_units_total", "table", "kind");
    let requests = numbers.by("mneme_dynamo_requests_total", "table");
    let (errors, refused) =
        (numbers.by("mneme_dynamo_errors_total", "table"), numbers.by("mneme_dynamo_refused_total", "table"));
    let of = |table: &str, kind: &str| read.get(&(table.to_owned(), kind.to_owned())).copied().unwrap_or(0.0);
    let mut tables: Vec<(&String, f64)> =
        requests.keys().map(|table| (table, prices.of(of(table, "read"), of(table, "write")))).collect();
    tables.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let row = |(table, money_of): (&String, f64)| -> Cells {
        vec![
            html! { code { (table) } },
            html! { (count(requests[table])) },
            html! { (of(table, "read")) },
            html! { (of(table, "write")) },
            html! { (money(money_of)) },
            html! { (count(refused.get(table).copied().unwrap_or(0.0))) },
            html! { (count(errors.get(table).copied().unwrap_or(0.0))) },
        ]
    };
    let columns = ["Table", "#Requests", "#Read units", "#Write units", "#Cost", "#Refused", "#Failed"];
    html! {
        dl.tiles {
            (tile("Cost so far", money(sum), &format!("since the start, {} ago", span(Duration::from_secs_f64(up)))))
            (tile("At this rate", month, "in thirty days"))
            (tile("Read units", units("read"), &format!("${} for a million", prices.reads)))
            (tile("Write units", units("write"), &format!("${} for a million", prices.writes)))
        }
        p { "On the embedded store this is what DynamoDB would have charged; the embedded store is free." }
        (table("By table", &columns, tables.into_iter().map(row).collect(), "Nothing was asked yet."))
    }
}

/// `/reminders`: when something is due. What it says is between the bot and who asked for it.
pub async fn reminders(services: &Services) -> Result<Markup, dynamo::Error> {
    let now = services.clock.now();
    let ahead = (0..HOURS_AHEAD).map(|n| now.plus(Duration::from_secs(n * 3_600)));
    let asked = ahead.map(|time| async move {
        let query = Query::<Due>::of(hour(time)).eventually();
        services.dynamo.query_all(query).await.map(|found| (time, found))
    });
    let hours: Vec<(Timestamp, Vec<Due>)> = futures::future::try_join_all(asked).await?;
    let most = hours.iter().map(|(_, due)| due.len()).max().unwrap_or(0);
    let sum: usize = hours.iter().map(|(_, due)| due.len()).sum();
    let late =
        hours.iter().flat_map(|(_, due)| due).filter(|due| due.time().is_some_and(|time| time < now)).count();
    let bar = |(time, due): &(Timestamp, Vec<Due>)| -> Cells {
        let bar = html! {
            meter min="0" max=(most.max(1)) value=(due.len()) aria-label=(format!("{} due", due.len())) {}
        };
        vec![html! { time { (hour(*time).replace('T', " ")) " h UTC" } }, html! { (due.len()) }, bar]
    };
    let next = hours.iter().flat_map(|(_, due)| due).take(ROWS_MAX);
    let row = |due: &Due| -> Cells {
        let server = due.discord_server_id.and_then(|id| services.discord.server_name(id));
        vec![
            html! { @if let Some(time) = due.time() { (at(time)) } },
            html! { (due.kind) },
            html! { @if let Some(name) = server { (theirs(&name)) } @else { "–" } },
        ]
    };
    let next = next.map(row).collect();
    Ok(html! {
        dl.tiles {
            (tile("Due in a day", count(sum as f64), ""))
            (tile("Late in this hour", count(late as f64), "they are tried again"))
        }
        (table("Next", &["When", "What", "Server"], next, "Nothing is due in the next 24 hours."))
        (table("By hour", &["Hour", "#Due", ""], hours.iter().map(bar).collect(), ""))
    })
}

/// `/shared`
pub fn shared(services: &Services) -> Markup {
    let numbers = numbers(services);
    let ops = numbers.by_two("mneme_shared_ops_total", "op", "outcome");
    let row = |((op, outcome), n): ((String, String), f64)| -> Cells {
        vec![html! { (op) }, html! { (outcome) }, html! { (count(n)) }]
    };
    let leases = |name: &str| numbers.by(name, "kind");
    let (held, lost, taken) = (
        leases("mneme_shared_leases_held"),
        leases("mneme_shared_leases_lost_total"),
        leases("mneme_shared_takeovers_total"),
    );
    let kinds: std::collections::BTreeSet<&String> =
        held.keys().chain(lost.keys()).chain(taken.keys()).collect();
    let lease = |kind: &String| -> Cells {
        let of = |all: &std::collections::BTreeMap<String, f64>| count(all.get(kind).copied().unwrap_or(0.0));
        vec![html! { (kind) }, html! { (of(&held)) }, html! { (of(&lost)) }, html! { (of(&taken)) }]
    };
    html! {
        dl.tiles {
            (tile("Leases held", count(numbers.sum("mneme_shared_leases_held")), ""))
            (tile("Waiting for a lock", count(numbers.sum("mneme_shared_lock_queue")), ""))
            (tile("Others were faster", count(numbers.sum("mneme_shared_conflicts_total")), ""))
            (tile("Written together", count(numbers.sum("mneme_shared_combined_total")), ""))
        }
        (table("Operations since the start", &["Operation", "Outcome", "#Times"], ops.into_iter().map(row).collect(), "None yet."))
        (table("Leases", &["Kind", "#Held", "#Lost", "#Taken over"], kinds.into_iter().map(lease).collect(), "None yet."))
    }
}

/// `/errors`: the newest first; with a reference the lines that tell about it.
pub fn errors(sought: &str) -> Markup {
    let lines = telemetry::last_lines(telemetry::LINES_KEPT);
    let lines = lines.iter().rev().filter_map(|line| Line::read(line));
    let wanted = |line: &Line<'_>| if sought.is_empty() { line.is_bad() } else { line.text.contains(sought) };
    let row = |line: Line<'_>| -> Cells {
        vec![
            html! { time { (line.time) } },
            html! { span.level[line.level == "ERROR"] { (line.level) } },
            html! { @if let Some(reference) = line.reference() { a href={ "/errors?ref=" (reference) } { code { (reference) } } } },
            html! { span.log { (theirs(line.text)) } },
        ]
    };
    let rows = lines.filter(wanted).map(row).collect();
    html! {
        form.search role="search" action="/errors" {
            label { "Reference, as somebody was told it " input type="search" name="ref" value=(sought) maxlength="40"; }
            button type="submit" { "Look" }
        }
        p { "The last " (telemetry::LINES_KEPT) " lines of the log are kept here; the log itself has all of them." }
        (table("Errors and warnings", &["When", "Level", "Reference", "What"], rows, "Nothing went wrong lately."))
    }
}

/// A line of the log, as it is kept.
struct Line<'a> {
    time: &'a str,
    level: &'a str,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (time, rest) = line.trim_start().split_once(' ')?;
        let (level, text) = rest.trim_start().split_once(' ')?;
        ["ERROR", "WARN", "INFO", "DEBUG"].contains(&level).then_some(Self { time, level, text })
    }

    fn is_bad(&self) -> bool {
        matches!(self.level, "ERROR" | "WARN")
    }

    fn reference(&self) -> Option<&'a str> {
        let value = self.text.split_once("reference=")?.1.trim_start_matches('"');
        let end = value.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(value.len());
        Some(&value[..end]).filter(|reference| !reference.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_its_level_and_reference() {
        let line = "2026-05-01T10:00:00.1Z ERROR command{command=\"ping\"}: mneme::bot::reply: a command failed reference=\"7F3A\" error=\"x\"";
        let read = Line::read(line).unwrap();
        assert_eq!((read.level, read.reference(), read.is_bad()), ("ERROR", Some("7F3A"), true));
        assert!(Line::read("two words").is_none());
        assert_eq!(Line::read("t INFO x").unwrap().reference(), None);
    }
}
