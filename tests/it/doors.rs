//! Every way in leads to the same command.

use crate::harness::start;

#[tokio::test]
async fn the_bot_answers_through_every_door() {
    let stage = start().await;
    let ann = stage.person("zoo", "cats", "ann");
    assert_eq!(ann.says(".ping").await, "🟢 Pong!");
    assert_eq!(ann.slash("ping", &[]).await.text(), "🟢 Pong!");
    let bot = stage.discord.simulator.read(|world| world.bot());
    assert_eq!(ann.says(&format!("<@{bot}>, ping")).await, "🟢 Pong!");
    assert_eq!(stage.discord.direct("ann").says("ping").await, "🟢 Pong!");
    stage.end().await;
}
