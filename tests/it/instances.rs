//! Several instances of one installation: who looks for what is due, and settings that change while they run.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures::StreamExt;
use mneme::sim::World;
use mneme::tables;
use tokio::time::timeout;

use crate::child::{Mneme, mneme, outcome, run_over};
use crate::endpoint::Endpoint;
use crate::harness::{Counters, Discord, PATIENCE, free_address, id, together, world};

const CONNECTED: &str = "bot::session: connected";
const ON_DUTY: &str = "on_duty=true";

/// A simulated Discord and a store, for instances in processes of their own.
struct Installation {
    discord: Discord,
    endpoint: Endpoint,
}

impl Installation {
    async fn of(shards: u64, identifies_at_once: usize) -> Self {
        let mut world = world();
        world.settings.shards = shards;
        world.settings.max_concurrency = identifies_at_once;
        let endpoint = Endpoint::with(&tables::all()).await;
        Self { discord: Discord::with(world).await, endpoint }
    }

    fn store(&self) -> [&str; 4] {
        ["--store", "dynamodb", "--dynamodb-endpoint", &self.endpoint.url]
    }

    fn start(&self, http: SocketAddr) -> Mneme {
        let mut command = run_over(&self.discord, self.store());
        command.args(["--shards", "shared"]).env("HTTP", http.to_string());
        Mneme::start(command)
    }

    /// `mneme shared`, as an operator types it.
    async fn shared<const N: usize>(&self, act: [&str; N]) -> (bool, String) {
        let mut command = mneme(["shared"]);
        command.args(self.store()).args(act);
        let (status, out, error) = outcome(command).await;
        (status.success(), out + &error)
    }
}

#[tokio::test]
async fn one_instance_looks_for_what_is_due_and_the_next_one_when_it_is_dead() {
    const REMINDERS: usize = 8;
    let installation = Installation::of(2, usize::MAX).await;
    let discord = &installation.discord;
    let (first_page, second_page) = (free_address(), free_address());
    let mut first = installation.start(first_page);
    first.says(ON_DUTY).await;
    let mut second = installation.start(second_page);
    for bot in [&mut first, &mut second] {
        bot.has_said(CONNECTED).await;
    }
    let (ann, direct) = (discord.person("zoo", "cats", "ann"), discord.direct("ann"));
    let mut events = together([direct.watch()]);
    for n in 0..REMINDERS {
        let answer = ann.says(&format!(".remind me in {}s to n{n}.", 10 + n)).await;
        assert!(answer.starts_with("⏰ Ok"), "{answer}");
    }
    let mut came = BTreeMap::<u64, String>::new();
    let mut hear = async |until: usize| {
        while came.len() < until {
            let event = events.next().await.expect("the simulator runs");
            let text = event["d"]["content"].as_str().unwrap_or_default();
            if event["t"] == "MESSAGE_CREATE" && text.starts_with("⏰ <@") {
                came.insert(id(&event["d"]["id"]), text.to_owned());
            }
        }
        came.values().cloned().collect::<Vec<_>>()
    };
    timeout(PATIENCE, hear(2)).await.expect("reminders come");
    let looked = |page: SocketAddr| async move {
        Counters(page).reach_where("mneme_dynamo_requests_total", r#"table="due",operation="query""#, 0).await
    };
    assert!(looked(first_page).await > 0);
    assert_eq!(looked(second_page).await, 0, "one looks, and the other does not");
    first.kill().await;
    second.has_said(ON_DUTY).await;
    // What the dead one had begun is tried again when its lease is over, after a minute.
    let came = timeout(3 * PATIENCE, hear(REMINDERS)).await.expect("no reminder is lost");
    for n in 0..REMINDERS {
        assert_eq!(came.iter().filter(|text| text.contains(&format!(" n{n}."))).count(), 1, "{came:?}");
    }
    second.kill().await;
    installation.discord.end().await;
}

#[tokio::test]
async fn settings_change_while_bots_run() {
    const CHANGED: &str = "the configuration of the installation has changed";
    let installation = Installation::of(1, usize::MAX).await;
    // It is there before the bot is, and read at once.
    let (done, told) = installation.shared(["config", "max_memories", "1"]).await;
    assert!(done && told.starts_with("max_memories is 1; "), "{told}");
    let mut bot = installation.start(free_address());
    bot.says(CHANGED).await;
    bot.is_ready().await;
    let ann = installation.discord.person("zoo", "cats", "ann");
    assert!(ann.says(".remember tea is hot").await.contains("I'll remember"));
    let full = ann.says(".remember ice is cold").await;
    assert!(!full.contains("I'll remember"), "{full}");
    let (done, told) = installation.shared(["config", "max_memories", "2"]).await;
    assert!(done, "{told}");
    bot.says(CHANGED).await;
    assert!(ann.says(".remember ice is cold").await.contains("I'll remember"));
    let (done, told) = installation.shared(["config", "log", "mneme=debug"]).await;
    assert!(done, "{told}");
    bot.says("DEBUG").await;
    let (done, told) = installation.shared(["config", "max_memorys", "9"]).await;
    assert!(!done && told.contains("did you mean `max_memories`?"), "{told}");
    bot.kill().await;
    installation.discord.end().await;
}

/// The simulated Discord refuses an IDENTIFY that comes less than five seconds after another one, and counts it.
#[tokio::test]
async fn instances_identify_one_after_another_where_discord_wants_that() {
    const SHARDS: u64 = 4;
    let installation = Installation::of(SHARDS, 1).await;
    let left = || installation.discord.simulator.read(World::starts_left);
    let before = left();
    let mut bots = [installation.start(free_address()), installation.start(free_address())];
    for bot in &mut bots {
        for _ in 0..SHARDS / 2 {
            bot.says(CONNECTED).await;
        }
    }
    let mut seen = installation.discord.simulator.watch(installation.discord.id("ann"));
    installation.discord.until(&mut seen, |world| world.sessions_online() as u64 == SHARDS).await;
    let identified = before - left();
    let mut taken = 0;
    for bot in bots {
        taken += bot.kill().await.iter().filter(|line| line.contains("this instance takes a shard")).count();
    }
    assert_eq!(identified, taken, "whoever took a shard identified once, so never too early");
    installation.discord.end().await;
}
