//! The examples of `docs/shared-data.md`, as they stand there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::dynamo::testing::embedded;

/// The page's code is the code of these tests, apart from white space.
#[test]
fn every_example_is_run() {
    let plain = |text: &str| text.split_whitespace().collect::<String>();
    let (page, tests) = (include_str!("../../docs/shared-data.md"), plain(include_str!("page.rs")));
    let examples: Vec<&str> =
        page.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 10, "the page has {} examples", examples.len());
    for example in examples {
        assert!(tests.contains(&plain(example)), "no test runs this:\n{example}");
    }
}

async fn shared() -> SharedData {
    let space = Space::Run("page".to_owned());
    SharedData::open(embedded(TABLES).await, &Tasks::new(), space, SharedOptions::default())
}

#[tokio::test]
async fn agreeing_and_waiting() -> anyhow::Result<()> {
    let shared = shared().await;
    let create = async |context: CreateContext| {
        // The same key in every attempt: what an earlier one made can be found by it.
        Ok(format!("album {}", &context.idempotency_key[..4]))
    };
    let album = shared.get_or_create("album", CreateOptions::default(), create).await?;
    assert!(album.created_by_me && album.value.starts_with("album "));

    shared.signal("stage", &"album is open").await?;
    let open = |stage: Option<&String>| stage.is_some_and(|stage| stage == "album is open");
    let stage: String = shared.wait_for("stage", open, Duration::from_secs(30)).await?;
    assert_eq!(stage, "album is open");

    let pass = shared.barrier("round 1", &Who::slot(0), 1, Duration::from_secs(30)).await?;
    assert_eq!(pass, Pass { members: 1, withdrawn: 0 });
    Ok(())
}

#[tokio::test]
async fn handing_out() -> anyhow::Result<()> {
    let shared = shared().await;
    shared.deal_load("accounts", &["ann@example.org", "bob@example.org"]).await?;
    let mine: Option<String> = shared.deal("accounts", &Who::slot(0)).await?;
    let again: Option<String> = shared.deal("accounts", &Who::slot(0)).await?;
    assert_eq!(mine, again);

    shared.pool_load("browsers", &["left", "right"]).await?;
    let browser = shared.checkout::<String>("browsers", &Who::slot(0), LeaseOptions::default()).await?;
    assert!(browser.is_valid());
    browser.give_back().await;
    Ok(())
}

#[tokio::test]
async fn counting() -> anyhow::Result<()> {
    let shared = shared().await;
    let next = |count: Option<u32>| Change::Write(count.unwrap_or(0) + 1, count);
    let before: Option<u32> = shared.update("visits", next).await?;
    shared.add_once("voters", 1, &Who::named("ann")).await?;
    assert_eq!(before, None);
    assert_eq!(shared.add_once("voters", 1, &Who::named("ann")).await?, Added::Already(1));
    Ok(())
}

#[tokio::test]
async fn locking() -> anyhow::Result<()> {
    let shared = shared().await;
    let lease = shared.lock("ledger", LeaseOptions::default()).await?;
    match lease.put("balance", &100).await? {
        Fenced::Done(_) => {}
        Fenced::Refused => println!("somebody else holds the ledger now"),
    }
    lease.release().await;
    assert_eq!(shared.get("balance").await?, Some(100));

    let answer =
        shared.with_lock("report", LeaseOptions::default(), async |held: Held| held.is_valid()).await?;
    assert!(answer);

    let permit = shared.permit("uploads", 2, &Who::slot(0), LeaseOptions::default()).await?;
    permit.release().await;
    Ok(())
}

#[tokio::test]
async fn knowing_who_one_is() -> anyhow::Result<()> {
    let shared = shared().await;
    let id = shared.next_bot_id().await?;
    let slot = shared.slot(16).await?;
    if slot.number == 0 {
        println!("bot {id} is the host");
    }
    assert_eq!((id, slot.number), (0, 0));
    Ok(())
}

#[tokio::test]
async fn configuring() -> anyhow::Result<()> {
    let shared = shared().await;
    let settings = BTreeMap::from([("num_albums".to_owned(), json!(20))]);
    shared.put_config(settings).await?;
    let config = shared.load_config().await?;
    let albums: u32 = config.require("num_albums")?;
    let pause: Option<u32> = config.get("pause_seconds")?;
    assert_eq!((albums, pause), (20, None));
    Ok(())
}
