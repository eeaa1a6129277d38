//! The original bot's records, taken over by the executable, and found again by people.

use std::path::Path;

use mneme::adopt::specs;
use mneme::dynamo::connect::{Store, StoreConfig, connect};
use mneme::dynamo::raw::{self, Swap};
use mneme::dynamo::{Commit, Dynamo, Token, Transaction};
use serde_json::{Value, json};

use crate::child::{Mneme, mneme, outcome, run_on};
use crate::harness::Discord;

/// The store of a bot that does not run.
async fn store(data: &Path) -> Dynamo {
    let file = Store::File(data.join("mneme.db"));
    let dynamo = connect(StoreConfig::new(file)).await.unwrap().dynamo;
    dynamo.create_tables(&specs()).await.unwrap();
    dynamo
}

async fn put(dynamo: &Dynamo, token: &str, table: &str, item: Value) {
    let table = *specs().iter().find(|known| known.name == table).unwrap();
    let swap = Swap { table, before: None, after: Some(raw::from_json(&item).unwrap()) };
    let transaction = Transaction::new(Token::new(token)).swap(&swap);
    assert_eq!(dynamo.transact(transaction).await.unwrap(), Commit::Done);
}

/// As the original's models wrote it, in the server `zoo`.
async fn leave(dynamo: &Dynamo, discord: &Discord) {
    let zoo = discord.simulator.change(|world| world.guild("zoo").id()).to_string();
    let ann = discord.id("ann");
    for (key, value) in [("meeting", "tomorrow"), ("WiFi", "hunter2"), ("wifi", "at the bar")] {
        let item = json!({ "discord_server_id": { "N": zoo }, "rem_key": { "S": key }, "rem_value": { "S": value } });
        put(dynamo, key, "remember", item).await;
    }
    let sparkles = json!({
        "discord_server_id": { "N": zoo }, "discord_handle": { "S": ann.to_string() },
        "total_sparkles": { "N": "3" }, "sparkle_reasons": { "S": "the cake|being nice" },
        "updated_at": { "S": "2022-11-05T14:02:11" },
    });
    put(dynamo, "sparkle", "sparkle", sparkles).await;
    let dj = json!({ "user_id": ann, "total_time_played": 3723, "total_songs_played": 4 });
    let stats = json!({
        "play_stats": { "total_time_played": 3723, "total_songs_played": 4 }, "dj_stats": { "djs": [dj] },
    });
    let play = json!({ "discord_server_id": { "N": zoo }, "stats": { "S": stats.to_string() } });
    put(dynamo, "play", "play", play).await;
    for (key, value) in
        [("errbot", json!({ "forget": 12, "rem_search": 3 })), ("user-bans", json!(["bob#0001"]))]
    {
        let item = json!({
            "key": { "S": key }, "value": { "S": value.to_string() },
            "updated_at": { "S": "2022-11-05T14:02:11" },
        });
        put(dynamo, key, "botdata", item).await;
    }
}

/// `mneme data …` on this store and this Discord: its status, and all that it told.
async fn data(discord: &Discord, folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = mneme(["data"]);
    command.args(words).args(["--store", "embedded", "--data-dir"]).arg(folder);
    command.env("DISCORD_TOKEN", discord.simulator.token());
    command.env("DISCORD_API_URL", discord.simulator.url());
    let (status, out, errors) = outcome(command).await;
    (status.code(), format!("{out}\n{errors}"))
}

async fn started(discord: &Discord, data: &Path) -> Mneme {
    let mut bot = Mneme::start(run_on(discord, data));
    bot.is_ready().await;
    bot
}

#[tokio::test]
async fn what_the_original_kept_is_found_by_the_commands() {
    let (discord, folder) = (Discord::start().await, tempfile::tempdir().unwrap());
    leave(&store(folder.path()).await, &discord).await;

    let (status, told) = data(&discord, folder.path(), &["adopt"]).await;
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("bob#0001") && told.contains("Nothing was changed"), "{told}");
    let bans = folder.path().join("bans.csv");
    std::fs::write(&bans, format!("bob#0001,{}\n", discord.id("bob"))).unwrap();
    let adopt = ["adopt", "--bans", bans.to_str().unwrap()];
    let (status, told) = data(&discord, folder.path(), &[&adopt[..], &["--dry-run"]].concat()).await;
    assert!(status == Some(0) && told.contains("Nothing was changed: this was a dry run."), "{told}");
    let (status, told) = data(&discord, folder.path(), &adopt).await;
    assert!(status == Some(0) && told.contains("\"WiFi\" is now \"WiFi (2)\""), "{told}");
    let (status, told) = data(&discord, folder.path(), &adopt).await;
    assert!(status == Some(0) && told.contains("There was nothing to change."), "{told}");

    let bot = started(&discord, folder.path()).await;
    let (ann, olga) = (discord.person("zoo", "cats", "ann"), discord.person("zoo", "cats", "olga"));
    assert_eq!(ann.says(".rem meeting").await, "tomorrow");
    assert_eq!(ann.says(".rem WIFI").await, "at the bar");
    assert_eq!(ann.says(".rem wifi (2)").await, "hunter2");
    let sparkles = ann.says(".show sparkles").await;
    for part in ["Total Sparkles: 3", "the cake", "being nice"] {
        assert!(sparkles.contains(part), "{sparkles}");
    }
    olga.says(".settings set play on").await;
    let played = ann.says(".play stats").await;
    assert!(played.contains("**4**") && played.contains("h01:m02:s03"), "{played}");
    let stats = ann.says(".stats").await;
    assert!(stats.contains(".forget` **: 12**") && stats.contains(".rem search` **: 3**"), "{stats}");
    assert_eq!(discord.person("zoo", "cats", "bob").says(".ping").await, "Sorry, you are banned");
    // The first change keeps the old text.
    ann.says(".mem edit meeting is cancelled").await;
    assert_eq!(ann.says(".rem meeting").await, "cancelled");
    ann.says(".mem undo meeting").await;
    assert_eq!(ann.says(".rem meeting").await, "tomorrow");
    assert_eq!(bot.terminate().await.0.code(), Some(0));
    discord.end().await;
}

#[tokio::test]
async fn an_instance_moves_to_another_store_in_a_file() {
    let (discord, here, there) =
        (Discord::start().await, tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bot = started(&discord, here.path()).await;
    let ann = discord.person("zoo", "cats", "ann");
    ann.says(".rem tea is hot").await;
    ann.says(".mem edit tea is cold").await;
    ann.says(".sparkle @bob for the tea").await;
    assert_eq!(bot.terminate().await.0.code(), Some(0));

    let file = here.path().join("backup.jsonl.gz");
    let file = file.to_str().unwrap();
    let (status, told) = data(&discord, here.path(), &["export", file, "--days-ahead", "2"]).await;
    assert_eq!(status, Some(0), "{told}");
    let (status, told) = data(&discord, here.path(), &["export", file, "--days-ahead", "2"]).await;
    assert!(status == Some(1) && told.contains("is there already"), "{told}");
    let (status, told) = data(&discord, here.path(), &["verify", file]).await;
    assert!(status == Some(0) && told.contains("The backup is good"), "{told}");
    let (status, told) = data(&discord, there.path(), &["import", file]).await;
    assert!(status == Some(0) && told.contains("items were written."), "{told}");

    let bot = started(&discord, there.path()).await;
    assert_eq!(ann.says(".rem tea").await, "cold");
    ann.says(".mem undo tea").await;
    assert_eq!(ann.says(".rem tea").await, "hot");
    assert_eq!(bot.terminate().await.0.code(), Some(0));
    discord.end().await;

    let bytes = std::fs::read(file).unwrap();
    std::fs::write(file, &bytes[..bytes.len() - 40]).unwrap();
    let empty = Discord::start().await;
    let (status, told) = data(&empty, there.path(), &["import", file]).await;
    assert!(status == Some(1) && told.contains("is not imported") && told.contains("line "), "{told}");
    empty.end().await;
}
