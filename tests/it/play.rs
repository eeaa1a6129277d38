//! Songs are heard in the player's own time, and counted once each, whoever ends them and however often the bot
//! starts again.

use std::time::Duration;

use mneme::clock::Clock;
use mneme::context::{Instance, Player};
use mneme::dynamo::connect::Connected;
use mneme::dynamo::embedded::Embedded;
use mneme::dynamo::faults::Faults;
use mneme::dynamo::testing::{engine, over};
use mneme::tables;
use tokio::time::timeout;

use crate::harness::{Discord, PATIENCE, Person, instance};

/// Longer than a song of unknown length.
const LONGER: Duration = Duration::from_secs(181);

/// A handle to an engine, by a clock of the test's.
fn store(engine: &Embedded, clock: &Clock) -> Connected {
    Connected {
        dynamo: over(engine, clock.clone(), &Faults::new()),
        embedded: Some(engine.clone()),
        way: None,
        description: "embedded (in memory)".into(),
    }
}

fn player() -> Instance {
    Instance { player: Player::Sim, ..instance() }
}

/// Asks for the statistics until they hold these words: the player looks every second.
async fn counts(person: &Person<'_>, words: &str) -> String {
    let ask = async {
        loop {
            let stats = person.says(".play stats").await;
            if stats.contains(words) {
                return stats;
            }
        }
    };
    timeout(PATIENCE, ask).await.expect("the song is counted")
}

#[tokio::test]
async fn songs_are_counted_when_they_are_over_also_after_a_restart() {
    let (discord, engine) = (Discord::start().await, engine(&tables::all()).await);
    let clock = Clock::manual(Clock::system().now());
    let bot = discord.bot(store(&engine, &clock), player()).await;
    discord.person("zoo", "cats", "olga").says(".settings set play on").await;
    let ann = discord.person("zoo", "cats", "ann");
    for song in ["one", "two", "three"] {
        ann.says(&format!(".play {song}")).await;
    }
    clock.advance(LONGER);
    let stats = counts(&ann, "Total Songs Played: **1**").await;
    assert!(stats.contains("Total Time Played: **h00:m03:s00**"), "{stats}");
    bot.kill().await;

    // What the process before had heard of a song is not counted: it begins anew.
    let bot = discord.bot(store(&engine, &clock), player()).await;
    let queue = ann.says(".play queue").await;
    assert!(queue.contains("**1:** `two`") && queue.contains("**2:** `three`"), "{queue}");
    // By the time that this is answered, the player has begun.
    ann.says(".play four").await;
    clock.advance(LONGER);
    let stats = counts(&ann, "Total Songs Played: **2**").await;
    assert!(stats.contains("Total Time Played: **h00:m06:s00**"), "{stats}");
    let queue = ann.says(".play queue").await;
    assert!(queue.contains("**1:** `three`") && queue.contains("**2:** `four`"), "{queue}");
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn a_skipped_song_counts_for_as_long_as_it_was_heard() {
    let (discord, engine) = (Discord::start().await, engine(&tables::all()).await);
    // The player's clock stands ten seconds behind Discord's, which tells when the song is skipped.
    let clock = Clock::manual(Clock::system().now().minus(Duration::from_secs(10)));
    let bot = discord.bot(store(&engine, &clock), player()).await;
    discord.person("zoo", "cats", "olga").says(".settings set play on").await;
    let ann = discord.person("zoo", "cats", "ann");
    ann.says(".play one").await;
    ann.says(".skip").await;
    let stats = ann.says(".play stats").await;
    assert!(stats.contains("Total Songs Played: **1**"), "{stats}");
    let time = stats.split("Total Time Played: **h00:m00:s").nth(1).and_then(|rest| rest.get(..2));
    let heard: u64 = time.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{stats}"));
    assert!((10..60).contains(&heard), "ten of a hundred and eighty seconds: {stats}");
    bot.stop().await;
    discord.end().await;
}
