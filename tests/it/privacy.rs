//! What is kept about a person is theirs to see and to have forgotten.

use std::time::Duration;

use mneme::clock::Timestamp;
use mneme::due::{Due, Note};
use mneme::dynamo::Query;
use mneme::dynamo::embedded::Embedded;
use mneme::dynamo::testing::engine;
use mneme::sim::Id;
use mneme::tables;
use serde_json::Value;
use tokio::time::{interval, timeout};

use crate::harness::{Discord, PATIENCE, Person, instance, start, store_ahead, wait};

/// All that a store holds, as bytes.
async fn dump(engine: &Embedded) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("copy.db");
    engine.back_up(&path).await.expect("it can be copied");
    String::from_utf8_lossy(&std::fs::read(&path).expect("the copy is there")).into_owned()
}

/// Waits until the first round of forgetting somebody is over.
async fn begun(engine: &Embedded, person: Id) {
    let dynamo = store_ahead(engine, Duration::ZERO).dynamo;
    let mut looks = interval(Duration::from_millis(20));
    let first_round = async {
        loop {
            let note: Option<Note> = dynamo.get(format!("mneme/erase/{person}")).await.expect("it answers");
            let value = note.and_then(|note| note.value).expect("it was asked for");
            if serde_json::from_str::<Value>(&value).expect("it is JSON")["begun_at"].is_number() {
                return;
            }
            looks.tick().await;
        }
    };
    timeout(PATIENCE, first_round).await.expect("the job runs");
}

/// Teaches, changes and asks for what leaves traces everywhere.
async fn leave_traces(ann: &Person<'_>, bob: &Person<'_>, mo: &Person<'_>) {
    for (who, line) in [
        (ann, ".rem quokkafact is quokkas smile"),
        (ann, ".mem append quokkafact is quokkas wave"),
        (bob, ".rem tea is hot"),
        (ann, ".mem append tea is wombatbrew"),
        (bob, ".mem append tea is and cold"),
        (ann, ".mem alias numbatname = tea"),
        (bob, ".mem append quokkafact is bilbynote"),
        (mo, ".mem lock tea"),
    ] {
        let answer = who.says(line).await;
        assert!(['✅', '✏', '🔗', '🔒'].iter().any(|mark| answer.starts_with(*mark)), "{line}: {answer}");
    }
    ann.says(".rem quokkafact").await;
    assert!(ann.says(".remind me in 2 years to feed the bandicoot").await.starts_with("⏰ Ok"));
    assert!(ann.says(".timezone Australia/Perth").await.starts_with("🌍"));
}

const WORDS: [&str; 5] = ["quokka", "numbatname", "bandicoot", "Perth", "bilbynote"];

/// Forgets Ann, and tells: her id, what is left, what Bob's memory says, and whether hers can be restored in it.
async fn forgotten(label: &str) -> (String, String, String, String) {
    let (engine, discord) = (engine(&tables::all()).await, Discord::start().await);
    let [ann, bob, mo] = ["ann", "bob", "mo"].map(|name| discord.person("zoo", "cats", name));
    let bot = discord.bot(store_ahead(&engine, Duration::ZERO), instance()).await;
    leave_traces(&ann, &bob, &mo).await;
    let id = ann.id.to_string();
    let before = dump(&engine).await;
    assert!(before.contains(&id) && WORDS.iter().all(|word| before.contains(word)), "it leaves traces");

    let asked = ann.asks(".privacy forget").await;
    assert!(bob.presses(&asked, label).await.text().starts_with("⛔ You can't use"));
    let told = ann.presses(&asked, label).await.text();
    assert_eq!(told, "🧹 I am forgetting you; I'll tell you when it is done");
    let again = ann.asks(".privacy forget").await;
    assert_eq!(ann.presses(&again, label).await.text(), "ℹ️ I am already on it");
    begun(&engine, ann.id).await;
    bot.stop().await;

    // Another instance finishes it, when nobody relies any more on what was known before.
    let direct = discord.direct("ann");
    let mut seen = direct.watch();
    let bot = discord.bot(store_ahead(&engine, Duration::from_secs(12 * 60)), instance()).await;
    let done = wait(&mut seen, |t, d| {
        t == "MESSAGE_CREATE" && d["content"].as_str().is_some_and(|text| text.starts_with("🧹 Done"))
    })
    .await;
    assert_eq!(done.text(), "🧹 Done: I have forgotten you");
    bot.stop().await;
    // What people say now is too old for a clock so far ahead.
    let bot = discord.bot(store_ahead(&engine, Duration::ZERO), instance()).await;
    let tea = bob.says(".rem tea").await;
    let restored = mo.says(".mem restore tea 2").await;
    bot.stop().await;
    let due = left_due(&engine).await;
    assert_eq!(due, 0, "nothing is due any more");
    discord.end().await;
    (id, dump(&engine).await, tea, restored)
}

/// Shows where the id is left.
fn assert_gone(dump: &str, id: &str) {
    let around = dump.split(id).collect::<Vec<_>>();
    let tail =
        |text: &str| text.chars().rev().take(120).collect::<Vec<_>>().into_iter().rev().collect::<String>();
    let head = |text: &str| text.chars().take(120).collect::<String>();
    let places: Vec<String> =
        around.windows(2).map(|pair| format!("{:?} ID {:?}", tail(pair[0]), head(pair[1]))).collect();
    assert!(places.is_empty(), "the id is left: {places:#?}");
}

/// How much is due within some days.
async fn left_due(engine: &Embedded) -> usize {
    let dynamo = store_ahead(engine, Duration::ZERO).dynamo;
    let mut count = 0;
    for hours in 0..3 {
        let time = dynamo.now().minus(Duration::from_secs(3_600)).plus(Duration::from_secs(hours * 3_600));
        let query = Query::<Due>::of(mneme::due::hour(time));
        count += dynamo.query_all(query).await.expect("it answers").len();
    }
    count
}

#[tokio::test]
async fn with_what_they_taught_neither_a_persons_id_nor_their_words_are_left() {
    let (id, after, tea, restored) = forgotten("Also what I taught").await;
    assert_gone(&after, &id);
    for word in WORDS {
        assert!(!after.contains(word), "{word} is left");
    }
    // What is Bob's stays his, as it is; what it was before is told by its rows, and theirs is not among them.
    assert_eq!(tea, "hot\nwombatbrew\nand cold");
    assert_eq!(restored, "⚠ I don't keep any more what revision 2 of `tea` said");
}

#[tokio::test]
async fn a_person_who_is_forgotten_leaves_what_they_taught() {
    let (id, after, tea, restored) = forgotten("Forget who I am").await;
    assert_gone(&after, &id);
    for word in ["quokka", "numbatname", "bilbynote"] {
        assert!(after.contains(word), "{word} is gone");
    }
    for word in ["bandicoot", "Perth"] {
        assert!(!after.contains(word), "{word} is left");
    }
    assert_eq!(tea, "hot\nwombatbrew\nand cold");
    assert!(restored.starts_with("↩️ Restored `tea` to revision 2"), "{restored}");
}

#[tokio::test]
async fn a_person_gets_all_that_is_kept_about_them_and_nothing_of_others() {
    let stage = start().await;
    let [ann, bob, mo] = ["ann", "bob", "mo"].map(|name| stage.person("zoo", "cats", name));
    leave_traces(&ann, &bob, &mo).await;
    let direct = stage.discord.direct("ann");
    let mut seen = direct.watch();
    assert_eq!(ann.says(".privacy export").await, "📦 I sent you a file");
    let sent = wait(&mut seen, |t, d| t == "MESSAGE_CREATE" && d["attachments"][0].is_object()).await;
    let url = sent.0["attachments"][0]["url"].as_str().expect("it has one").to_owned();
    assert!(url.ends_with("mneme-about-you.jsonl"), "{url}");
    let file = reqwest::get(&url).await.expect("it is there").text().await.expect("it is text");
    let tables: Vec<String> = file
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
        .map(|record| record["table"].as_str().expect("it names its table").to_owned())
        .collect();
    for table in ["remember", "history", "reminders", "users"] {
        assert!(tables.iter().any(|name| name == table), "{table} is missing:\n{file}");
    }
    for word in ["quokkas smile", "wombatbrew", "numbatname", "bandicoot", "Perth"] {
        assert!(file.contains(word), "{word} is missing:\n{file}");
    }
    assert!(!file.contains(&bob.id.to_string()) && !file.contains(&mo.id.to_string()), "{file}");
    assert!(
        ann.says(".privacy export").await.starts_with("⏳ Not yet: you can use `.privacy export` again <t:")
    );

    stage.discord.simulator.change(|world| world.close_dms(bob.id, true));
    assert_eq!(bob.says(".privacy export").await, "⚠ Your DMs are closed; use `/privacy export`");
    let by_slash = bob.slash("privacy export", &[]).await;
    assert!(by_slash.is_private() && by_slash.0["attachments"][0].is_object());
    stage.end_despite(|record| record.response["code"] == 50007).await;
}

#[tokio::test]
async fn what_a_server_leaves_behind_goes_after_a_while_unless_it_comes_back() {
    let (engine, discord) = (engine(&tables::all()).await, Discord::start().await);
    let [zoo, farm] = ["zoo", "farm"].map(|name| discord.simulator.change(|world| world.guild(name).id()));
    let me = discord.simulator.read(|world| world.bot());
    let bot = discord.bot(store_ahead(&engine, Duration::ZERO), instance()).await;
    for (server, word) in [("zoo", "zooword"), ("farm", "farmword")] {
        let ann = discord.person(server, "cats", "ann");
        assert!(ann.says(&format!(".rem fact is {word}")).await.starts_with('✅'));
    }
    let ann = discord.person("zoo", "cats", "ann");
    for guild in [zoo, farm] {
        discord.simulator.change(|world| world.leave(guild, me));
    }
    let dynamo = store_ahead(&engine, Duration::ZERO).dynamo;
    let month = Duration::from_secs(30 * 86_400);
    let mut looks = interval(Duration::from_millis(20));
    let noted = async {
        loop {
            let hours =
                [-1_i64, 0, 1].map(|hour| Timestamp::from_seconds(dynamo.now().seconds() + hour * 3_600));
            let mut count = 0;
            for hour in hours {
                let query = Query::<Due>::of(mneme::due::hour(hour.plus(month)));
                count += dynamo.query_all(query).await.expect("it answers").len();
            }
            if count == 2 {
                return;
            }
            looks.tick().await;
        }
    };
    timeout(PATIENCE, noted).await.expect("both are noted");
    bot.stop().await;
    discord.simulator.change(|world| world.invite(farm));

    let bot = discord.bot(store_ahead(&engine, month + Duration::from_secs(60)), instance()).await;
    let gone = async {
        while dump(&engine).await.contains("zooword") {
            looks.tick().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it is cleared");
    assert!(dump(&engine).await.contains("farmword"), "the farm has come back");
    let _ = ann;
    bot.stop().await;
    discord.end_despite(|record| matches!(record.response["code"].as_u64(), Some(10004 | 50001))).await;
}
