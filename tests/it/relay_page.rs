//! The relay's page of the dashboard: what `mneme relay status` says and what `/metrics` says, as text, to owners.

use std::collections::BTreeMap;

use mneme::clock::Clock;
use mneme::config::RelayAct;
use mneme::dynamo::Dynamo;
use mneme::relay::command::Office;
use mneme::relay::envelope::{Scope, Value};
use mneme::relay::frame::Reason;
use mneme::relay::name::{EnvelopeId, Topic};
use mneme::relay::publish::{Draft, publish};
use mneme::relay::settings::Settings;
use mneme::relay::store::{DeadRecord, Tables};
use mneme::run::Parts;
use tokio::time::timeout;

use crate::dashboard::{Browser, House, number, plain, row, tile};
use crate::harness::{PATIENCE, memory};
use crate::relay::{NO_RULES, settings};

const SCRIPT: &str = "<script>alert(1)</script>";
const TURNED: &str = "\u{202e}<img src=x onerror=alert(2)>";

async fn linked() -> Settings {
    settings("hub", &["laptop"], NO_RULES, &memory().await.dynamo)
}

/// Publishes something to the laptop, which is away.
async fn publishes(dynamo: &Dynamo, settings: &Settings, subject: &str) {
    let at = Clock::system().now();
    let draft = Draft {
        topic: Topic::new("alerts/disk").unwrap(),
        scope: Scope::Fleet,
        to: None,
        at,
        because: subject.to_owned(),
        part: 0,
        cause: None,
        depth: 0,
        key: "disk".to_owned(),
        subject: Some(subject.to_owned()),
        fields: BTreeMap::from([("used".to_owned(), Value::Number(91.0))]),
    };
    publish(&Tables(dynamo.clone()), &settings.routes, at, draft).await.unwrap();
}

async fn is_dead(dynamo: &Dynamo, lane: &str, reason: Reason, detail: &str, text: &str) {
    let id = EnvelopeId::new("laptop/0000000000000000").unwrap();
    let now = Clock::system().now();
    let record = DeadRecord {
        lane: lane.to_owned(),
        at: format!("{now}#{id}"),
        id,
        reason,
        detail: detail.to_owned(),
        text: Some(text.to_owned()),
        signature: None,
        path: Vec::new(),
        expires_at: now.seconds() + 60,
    };
    dynamo.put(&record).await.unwrap();
}

/// What `mneme relay status --json` prints.
async fn status(dynamo: &Dynamo, settings: &Settings) -> serde_json::Value {
    let (tables, now) = (Tables(dynamo.clone()), Clock::system().now());
    let office = Office { tables: &tables, routes: &settings.routes, now, ask: &|_| false };
    let mut out = Vec::new();
    assert_eq!(
        office.run(&RelayAct::Status { json: true }, &mut out).await.unwrap(),
        1,
        "there are dead letters"
    );
    serde_json::from_slice(&out).unwrap()
}

#[tokio::test]
async fn it_says_what_the_command_and_metrics_say_and_everything_is_text() {
    let (settings, store) = (linked().await, memory().await);
    let dynamo = store.dynamo.clone();
    for subject in ["/ is full", SCRIPT, TURNED] {
        publishes(&dynamo, &settings, subject).await;
    }
    is_dead(&dynamo, "in/laptop/events", Reason::Malformed, SCRIPT, SCRIPT).await;
    is_dead(&dynamo, "out/laptop/events", Reason::Full, TURNED, "{}").await;
    let house = House::here_with(store, Parts { relay: Some(settings.clone()) }).await;
    let books_are_told = async {
        loop {
            let metrics = house.page("/metrics").await;
            let (handled, waiting) = (
                number(&metrics, "mneme_relay_handled_total", ""),
                number(&metrics, "mneme_relay_outbox", "lane=\"events\""),
            );
            if (handled, waiting) == (3, 3) && number(&metrics, "mneme_relay_outbox", "lane=\"here\"") == 0 {
                break metrics;
            }
        }
    };
    let metrics = timeout(PATIENCE, books_are_told).await.expect("the relay serves");
    let (page, status) = (house.page("/relay").await, status(&dynamo, &settings).await);
    assert_eq!(tile(&page, "This bot"), status["bot"].as_str().unwrap());
    assert_eq!(tile(&page, "Waiting for peers"), "3");
    assert_eq!(status["peers"][0]["out"]["events"]["waiting"], 3);
    assert_eq!(status["here"]["waiting"], 0);
    assert_eq!((tile(&page, "Dead letters").as_str(), status["dead"].as_u64()), ("2", Some(2)));
    assert_eq!(row(&page, "laptop"), ["3", "0", "2"], "waiting, arrived, dead");
    let up = number(&metrics, "mneme_relay_up", "peer=\"laptop\"");
    assert_eq!(tile(&page, "Peers up"), format!("{up} of 1"));
    let text = plain(&page);
    for part in ["alerts/disk", "/ is full", "never seen", "malformed", "out/laptop/events", "laptop/events"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    for raw in ["<script", "<img src=x"] {
        assert!(!page.contains(raw), "{raw}");
    }
    assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;").count() >= 2, "the subject and the reason");
    for part in page.split('\u{202e}').skip(1) {
        assert!(part.contains("</bdi>"), "a turn ends where its text ends");
    }
    assert!(house.page("/").await.contains("href=\"/relay\""));
    house.end().await;
}

#[tokio::test]
async fn it_is_there_where_a_relay_is_and_for_owners() {
    let house = House::here().await;
    assert!(!house.page("/").await.contains("href=\"/relay\""));
    assert_eq!(house.status("/relay", &[]).await, 404);
    house.end().await;
    let house = House::public_with(Parts { relay: Some(linked().await) }).await;
    let (mut olga, mut bob) = (Browser::new(&house), Browser::new(&house));
    assert_eq!(olga.get("/relay").await.status(), 303, "to the sign-in");
    olga.sign_in("olga").await;
    bob.sign_in("bob").await;
    assert_eq!(olga.get("/relay").await.status(), 403, "who manages a server does not see the bot's links");
    assert!(!olga.page("/servers").await.contains("href=\"/relay\""));
    assert!(bob.page("/servers").await.contains("href=\"/relay\""));
    assert!(plain(&bob.page("/relay").await).contains("laptop"));
    house.end().await;
}
