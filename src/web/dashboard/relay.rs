//! `/relay`: who we are to other bots, how the links to them stand, what waits for them, and what nobody took.
//!
//! It says what `mneme relay status` and `mneme relay queue` say, from the same books; what is counted since the start
//! is what `/metrics` says. It changes nothing: to try something again, or to drop it, is for `mneme relay`.

use maud::{Markup, html};

use crate::dynamo;
use crate::relay::desk::{self, PeerStatus, Status, Waits};
use crate::relay::envelope::Sealed;
use crate::relay::handle::Relay;
use crate::relay::name::BotName;
use crate::relay::routes::Routes;
use crate::relay::store::{DeadRecord, Out};
use crate::web::dashboard::numbers::Numbers;
use crate::web::dashboard::overview::listed;
use crate::web::dashboard::page::{Cells, count, table, tile};
use crate::web::dashboard::words::{at, theirs};

/// Rows of a queue, and of all together. Each is a request for its envelope; whoever wants more has the command.
const ROWS_OF_QUEUE: u32 = 20;
const ROWS_MAX: usize = 60;

/// Dead letters that are shown: the newest.
const DEAD_SHOWN: u32 = 50;

/// What is read of a subject or a reason before somebody traces the envelope.
const EXCERPT: usize = 200;

/// What the page is made of.
pub struct Seen {
    status: Status,
    waiting: Vec<(Out, Waits)>,
    dead: Vec<DeadRecord>,
}

/// Reads the queues.
pub async fn look(relay: &Relay) -> Result<Seen, dynamo::Error> {
    let (tables, routes) = (relay.tables(), &relay.settings().routes);
    let status = relay.status().await?;
    let dead = desk::dead(tables, routes, None, DEAD_SHOWN).await?;
    let mut waiting = Vec::new();
    for queue in desk::queues(routes) {
        if waiting.len() < ROWS_MAX && waits(&status, &queue) > 0 {
            let rows = desk::queue(tables, &queue, ROWS_OF_QUEUE).await?;
            waiting.extend(rows.into_iter().map(|row| (queue.clone(), row)));
        }
    }
    waiting.truncate(ROWS_MAX);
    Ok(Seen { status, waiting, dead })
}

/// How many envelopes a queue has, by what was read already.
fn waits(status: &Status, queue: &Out) -> u64 {
    let Out::Link(name, lane) = queue else { return status.here.waiting() };
    let peer = status.peers.iter().find(|peer| peer.name == *name);
    let lanes = peer.into_iter().flat_map(|peer| &peer.out);
    lanes.filter(|(of, _)| of == lane).map(|(_, lane)| lane.waiting()).sum()
}

/// The page.
pub fn shown(relay: &Relay, seen: &Seen, numbers: &Numbers) -> Markup {
    let (serving, trouble) = {
        let live = relay.live();
        (live.serving, live.trouble.clone())
    };
    let who = if serving { "this process moves envelopes" } else { "another process moves envelopes" };
    html! {
        @for (transport, why) in &trouble {
            p.told { b { (transport) ": " } (theirs(why)) }
        }
        (tiles(&seen.status, who, numbers))
        (peers(&seen.status, &relay.settings().routes))
        (waiting_table(&seen.waiting))
        (dead_table(&seen.dead))
        (listed("Counted by this process since its start", numbers, numbers.starting("mneme_relay_")))
    }
}

fn tiles(status: &Status, who: &str, numbers: &Numbers) -> Markup {
    let up = status.peers.iter().filter(|peer| peer.up == Some(true)).count();
    let waiting: u64 = status.peers.iter().map(PeerStatus::waiting).sum();
    let here = format!("{} here for our rules", count(status.here.waiting() as f64));
    let look = if status.dead > 0 { "mneme relay retry, or drop" } else { "" };
    let refused = count(numbers.sum("mneme_relay_refused_total"));
    html! {
        dl.tiles {
            (tile("This bot", status.me.as_str(), who))
            (tile("Peers up", format!("{up} of {}", status.peers.len()), ""))
            (tile("Waiting for peers", count(waiting as f64), &here))
            (tile("Dead letters", count(status.dead as f64), look))
            (tile("Refused", refused, "since the start of this process"))
        }
    }
}

fn peers(status: &Status, routes: &Routes) -> Markup {
    let row = |peer: &PeerStatus| -> Cells {
        let arrived: u64 = peer.arrived.iter().map(|(_, expected, _)| expected).sum();
        vec![
            theirs(peer.name.as_str()),
            html! { (ways(routes, &peer.name)) },
            html! { @match peer.up { Some(true) => "up", Some(false) => span.level { "down" }, None => "never seen" } },
            html! { @if let Some(since) = peer.since { (at(since)) } },
            html! { (count(peer.waiting() as f64)) },
            html! { @if let Some(oldest) = peer.oldest() { (at(oldest)) } },
            html! { (count(arrived as f64)) },
            html! { (count(peer.dead as f64)) },
        ]
    };
    let columns =
        ["Peer", "Link", "State", "Since", "#Waiting", "The oldest is of", "#Arrived", "#Dead letters"];
    let rows = status.peers.iter().map(row).collect();
    table("Links", &columns, rows, "There are no links to other bots.")
}

/// Which way a link goes, seen from here.
fn ways(routes: &Routes, peer: &BotName) -> &'static str {
    match (routes.to.contains_key(peer), routes.from.contains_key(peer)) {
        (true, true) => "both ways",
        (true, false) => "from here",
        (false, _) => "to here",
    }
}

fn waiting_table(waiting: &[(Out, Waits)]) -> Markup {
    let row = |(queue, row): &(Out, Waits)| -> Cells {
        let topic = row.topic.as_ref().map(|topic| topic.as_str());
        vec![
            theirs(&queue.name()),
            html! { (row.number) },
            html! { @if let Some(made) = row.at { (at(made)) } },
            about(topic, row.subject.as_deref()),
            html! { @if row.tries > 0 { "tried " (row.tries) " times" } @if let Some(reason) = row.skip { " " (reason.name()) } },
            id(row.id.as_str()),
        ]
    };
    let columns = ["Queue", "#Number", "Made", "About", "", "Id"];
    table(
        "What waits, the first of each queue",
        &columns,
        waiting.iter().map(row).collect(),
        "Nothing waits.",
    )
}

fn dead_table(dead: &[DeadRecord]) -> Markup {
    let row = |record: &DeadRecord| -> Cells {
        let envelope = record.text.clone().and_then(|text| Sealed::open(text).ok());
        let envelope = envelope.as_ref().map(Sealed::envelope);
        vec![
            html! { time { (record.time().replace('T', " ").replace('Z', " UTC")) } },
            theirs(&record.lane),
            html! { b { (record.reason.name()) } " " (excerpt(&record.detail)) },
            about(
                envelope.map(|envelope| envelope.topic.as_str()),
                envelope.and_then(|envelope| envelope.subject.as_deref()),
            ),
            id(record.id.as_str()),
        ]
    };
    let columns = ["When", "Queue", "Why", "About", "Id"];
    table(
        "Dead letters, the newest first",
        &columns,
        dead.iter().map(row).collect(),
        "Nothing was refused or lost.",
    )
}

/// What an envelope is about. Its subject is what somebody wrote, on whatever host that was.
fn about(topic: Option<&str>, subject: Option<&str>) -> Markup {
    html! {
        @match topic { Some(topic) => code { (theirs(topic)) }, None => em { "nothing is left of it" } }
        @if let Some(subject) = subject { " " (excerpt(subject)) }
    }
}

fn excerpt(text: &str) -> Markup {
    theirs(&crate::markdown::cut(text, EXCERPT))
}

/// `mneme relay trace` takes it.
fn id(id: &str) -> Markup {
    html! { code.id { (theirs(id)) } }
}

/// A tile for the overview; nothing is read for it.
pub fn summary(relay: &Relay) -> Markup {
    let live = relay.live();
    let (up, all) = (live.peers.values().filter(|view| view.up).count(), live.peers.len());
    let waiting: u64 = live.peers.values().flat_map(|view| &view.waiting).map(|(_, n)| n).sum();
    let (value, note) = match live.serving {
        true => (format!("{up} of {all} up"), format!("{} waiting", count(waiting as f64))),
        false => ("–".to_owned(), "another process moves envelopes".to_owned()),
    };
    tile("Other bots", value, &note)
}
