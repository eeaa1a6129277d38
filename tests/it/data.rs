//! A server's data as a file, through Discord: out by message and by slash, and in again on another bot.

use futures::future::join_all;
use mneme::archive;
use mneme::dynamo::raw;
use mneme::sim::{File, World};
use mneme::tables;
use serde_json::json;

use crate::harness::{Answer, Discord, Person, file_option, instance, memory, start, wait};

/// The lines of an export of a server, by table.
fn lines(server: u64, bytes: &[u8]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    let visit = &mut |table: &mneme::dynamo::TableSpec, item| {
        lines.push((table.name.to_owned(), raw::to_json(&item).to_string()));
        Ok(())
    };
    archive::each_of(bytes, server, &tables::all(), 1 << 30, visit).expect("the file is whole");
    lines.sort();
    lines
}

fn zoo(discord: &Discord) -> u64 {
    discord.simulator.change(|world: &mut World| world.guild("zoo").id())
}

/// Leaves something in each table that goes into the file.
async fn teach(olga: &Person<'_>, bob: u64) {
    for line in [
        ".rem wifi is hunter2".to_owned(),
        ".mem append wifi is and more".to_owned(),
        ".mem alias wlan = wifi".to_owned(),
        ".mem lock wifi".to_owned(),
        ".rem gone is gone".to_owned(),
        ".forget gone".to_owned(),
        ".settings set memories owned".to_owned(),
        format!(".deny echo <@{bob}>"),
        ".cooldown ping 1h".to_owned(),
        format!(".sparkle <@{bob}> for tea"),
    ] {
        let answer = olga.says(&line).await;
        assert!(!answer.starts_with('⚠') && !answer.starts_with('❌'), "{line}: {answer}");
    }
}

async fn one_file(answer: &Answer) -> Vec<u8> {
    let mut files = answer.files().await;
    assert_eq!(files.len(), 1);
    files.remove(0)
}

#[tokio::test]
async fn an_export_is_for_its_admin_alone_and_of_its_server_alone() {
    let stage = start().await;
    let [olga, ann, bob] = ["olga", "ann", "bob"].map(|name| stage.person("zoo", "cats", name));
    let farm = stage.person("farm", "cats", "olga");
    farm.says(".rem treasure is under the oak").await;
    teach(&olga, bob.id).await;
    let direct = stage.discord.direct("olga");
    let mut seen = direct.watch();
    assert_eq!(olga.says(".data export").await, "📦 I sent you a file");
    let sent = wait(&mut seen, |t, d| t == "MESSAGE_CREATE" && d["attachments"][0].is_object()).await;
    assert!(
        sent.text().starts_with("📦 What **zoo** has taught me and decided: 3 of `remember`"),
        "{}",
        sent.text()
    );
    assert_eq!(sent.0["attachments"][0]["filename"], "mneme-export.jsonl.gz");
    let by_slash = olga.slash("data export", &[]).await;
    assert!(
        by_slash.is_private() && by_slash.text().starts_with("📦 Here is what this server has taught me")
    );
    let server = zoo(&stage.discord);
    for answer in [&sent, &by_slash] {
        let lines = lines(server, &one_file(answer).await);
        for table in ["remember", "history", "sparkle", "tally", "settings"] {
            assert!(lines.iter().any(|(name, _)| name == table), "{table} is missing");
        }
        assert!(lines.iter().all(|(_, item)| item.contains(&server.to_string()) && !item.contains("oak")));
    }
    assert!(ann.heard().iter().all(|answer| answer.0["attachments"].as_array().is_none_or(Vec::is_empty)));
    stage.discord.simulator.change(|world: &mut World| world.close_dms(olga.id, true));
    assert_eq!(olga.says(".data export").await, "⚠ Your DMs are closed; use `/data export`");
    stage.end_despite(|record| record.response["code"] == 50007).await;
}

#[tokio::test]
async fn what_one_bot_gives_another_one_takes() {
    let discord = Discord::start().await;
    let [olga, bob] = ["olga", "bob"].map(|name| discord.person("zoo", "cats", name));
    let bot = discord.bot(memory().await, instance()).await;
    teach(&olga, bob.id).await;
    let export = one_file(&olga.slash("data export", &[]).await).await;
    bot.stop().await;
    let bot = discord.bot(memory().await, instance()).await;
    let question =
        olga.slash("data import", &[("file", file_option("mneme-export.jsonl.gz", &export))]).await;
    let text = question.text();
    assert!(
        text.starts_with("📦 5 new, 0 different (kept), 0 equal\nNew: `wifi`, `wlan`, `memories`"),
        "{text}"
    );
    assert!(text.contains("-# Not taken from a file: "), "{text}");
    let done = olga.presses(&question, "Import").await;
    assert!(done.text().starts_with("📦 Imported 5 (id `"), "{}", done.text());
    assert!(done.files().await.is_empty(), "the file goes with the question");
    assert_eq!(olga.says(".rem wlan").await, "hunter2\nand more");
    assert!(bob.says(".echo x").await.starts_with("⛔ You can't use `.echo` here"));
    assert!(bob.says(".mem edit wifi is x").await.contains("is locked"));
    let again = olga.slash("data import", &[("file", file_option("x.gz", &export))]).await;
    assert!(again.text().starts_with("📦 0 new, 0 different (kept), 5 equal"), "{}", again.text());
    assert!(again.labels().is_empty() && again.files().await.is_empty());
    bot.stop().await;
    discord.end().await;
}

#[tokio::test]
async fn the_answer_may_come_after_a_restart_but_not_from_somebody_else() {
    let discord = Discord::start().await;
    let store = memory().await;
    let olga = discord.person("zoo", "cats", "olga");
    let bot = discord.bot(store.clone(), instance()).await;
    olga.says(".rem wifi is hunter2").await;
    let export = one_file(&olga.slash("data export", &[]).await).await;
    olga.says(".forget wifi").await;
    let file =
        File { name: "mneme-export.jsonl.gz".into(), content_type: "application/gzip".into(), data: export };
    let question = olga.asks_with(".data import", vec![file.clone()]).await;
    assert_eq!(question.labels(), ["Import", "Cancel"]);
    for name in ["bob", "mo"] {
        let told = discord.person("zoo", "cats", name).presses(&question, "Import").await.text();
        assert_eq!(told, "⛔ You can't use `.data import` here: it needs Manage Server");
    }
    bot.stop().await;
    let bots = [discord.bot(store.clone(), instance()).await, discord.bot(store.clone(), instance()).await];
    assert!(olga.presses(&question, "Import").await.text().starts_with("📦 Imported 1 (id `"));
    assert_eq!(olga.says(".rem wifi").await, "hunter2");
    join_all(bots.map(crate::harness::Bot::stop)).await;
    discord.end_despite(|record| record.response["code"] == 40060).await;
}

#[tokio::test]
async fn a_file_that_is_too_long_is_not_taken() {
    let stage = start().await;
    let olga = stage.person("zoo", "cats", "olga");
    let data = vec![0; (8 << 20) + 1];
    let file = |name: &str, data: &[u8]| File {
        name: name.into(),
        content_type: "application/gzip".into(),
        data: data.to_vec(),
    };
    let told = "⚠ That file is 8,388,609 bytes long; the limit is 8,388,608";
    assert_eq!(olga.asks_with(".data import", vec![file("x.gz", &data)]).await.text(), told);
    assert_eq!(olga.slash("data import", &[("file", file_option("x.gz", &data))]).await.text(), told);
    let two = vec![file("a.gz", b"a"), file("b.gz", b"b")];
    assert_eq!(olga.asks_with(".data import", two).await.text(), "⚠ One file at a time, please");
    let mode = [("file", file_option("x.gz", b"hello")), ("mode", json!("overwrite"))];
    let told = olga.slash("data import", &mode).await.text();
    assert!(told.starts_with("⚠ I can't read this file: line 1: it cannot be uncompressed"), "{told}");
    stage.end().await;
}
