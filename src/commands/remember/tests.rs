//! What a server sees of the memories, over the embedded engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::cause::Cause;
use crate::clock::{Clock, Timestamp};
use crate::commands::{Found, Registry};
use crate::context::discord::Member;
use crate::context::{
    Answer, Args, Attachment, Button, Caller, Context, Discord, Door, Error, Feature, Instance, Modal, Press,
    Reply, Result, Row, Services, Target, Typing, Value,
};
use crate::counts::Counts;
use crate::dynamo::embedded::Embedded;
use crate::dynamo::faults::{Fault, Faults, Rates};
use crate::dynamo::testing::{engine, over};
use crate::dynamo::{Dynamo, Query, Units, measured};
use crate::history;

use super::call::{Call, Policy};
use super::record::Remembered;
use super::{FEATURE, edit};

const SERVER: u64 = 700_000_000_000_000_001;
const ANN: u64 = 100_000_000_000_000_001;
const BOB: u64 = 100_000_000_000_000_002;
/// Holds Manage Messages.
const MOD: u64 = 100_000_000_000_000_003;

const FEATURES: &[Feature] = &[FEATURE, crate::commands::undo::FEATURE];

/// A server with a bot that has only the memories.
#[derive(Clone)]
struct Stage {
    services: Arc<Services>,
    engine: Embedded,
    faults: Faults,
    clock: Clock,
    registry: Arc<Registry>,
    events: Arc<AtomicU64>,
    server: u64,
}

impl Stage {
    async fn new() -> Self {
        Self::with_room_for(10_000).await
    }

    async fn with_room_for(max_memories: usize) -> Self {
        let clock = Clock::manual(Timestamp::parse("2026-03-01T12:00:00Z").unwrap());
        let tables = crate::tables::all();
        let (engine, faults) = (engine(&tables).await, Faults::new());
        let dynamo = over(&engine, clock.clone(), &faults);
        let stage = Self {
            services: services(&dynamo, &clock, max_memories),
            engine,
            faults,
            clock,
            registry: Arc::new(Registry::new(FEATURES)),
            events: Arc::default(),
            server: SERVER,
        };
        // What the first use of a list costs, or a person's first change, is no part of what commands cost.
        for person in [ANN, BOB, MOD] {
            stage.services.noted.note(&dynamo, person, SERVER).await.unwrap();
        }
        stage.call(ANN).lists().any(&dynamo, SERVER).await.unwrap();
        stage
    }

    /// Another process on the same tables.
    fn elsewhere(&self) -> Self {
        let faults = Faults::new();
        let dynamo = over(&self.engine, self.clock.clone(), &faults);
        let services = services(&dynamo, &self.clock, self.services.instance.max_memories);
        Self { services, faults, ..self.clone() }
    }

    fn in_server(&self, server: u64) -> Self {
        Self { server, ..self.clone() }
    }

    fn dynamo(&self) -> &Dynamo {
        &self.services.dynamo
    }

    /// A new event, a second after the last one.
    fn ctx(&self, who: u64, door: Door) -> Context {
        self.clock.advance(Duration::from_secs(1));
        let event = self.clock.now().snowflake() + self.events.fetch_add(1, Ordering::SeqCst);
        Context {
            services: self.services.clone(),
            cause: Cause::new(event, self.server, who),
            caller: Caller {
                id: who,
                name: "x".to_owned(),
                moderator: who == MOD,
                admin: false,
                ..Caller::default()
            },
            door,
            channel_id: 1,
            prefix: ".".into(),
            settings: Arc::new(crate::settings::Settings::new(self.server)),
            attachments: Vec::new(),
        }
    }

    fn call(&self, who: u64) -> Call {
        Call::of(&self.ctx(who, Door::Prefix))
    }

    async fn run(&self, ctx: Context, line: &str) -> Result<Answer> {
        let Found::Command(command, rest) = self.registry.find(line.strip_prefix('.').unwrap()) else {
            panic!("{line} is no command");
        };
        (command.run)(ctx, (command.parse)(command, rest)?).await
    }

    async fn answer(&self, who: u64, line: &str) -> Result<Answer> {
        self.run(self.ctx(who, Door::Prefix), line).await
    }

    async fn says(&self, who: u64, line: &str) -> String {
        shown(self.answer(who, line).await)
    }

    /// Tells a reply and its rows of controls.
    async fn reply(&self, who: u64, line: &str) -> Reply {
        match self.answer(who, line).await {
            Ok(Answer::Reply(reply)) => reply,
            other => panic!("{line} was answered with {other:?}"),
        }
    }

    async fn slash(&self, who: u64, path: &str, options: &[(&'static str, Value)]) -> Result<Answer> {
        let command = self.registry.slash(path).unwrap();
        let args = options.iter().fold(Args::new(), |args, (name, value)| args.with(name, value.clone()));
        (command.run)(self.ctx(who, Door::Slash), args).await
    }

    async fn slashes(&self, who: u64, path: &str, options: &[(&'static str, &str)]) -> String {
        let options: Vec<_> = options.iter().map(|(name, text)| (*name, text_of(text))).collect();
        shown(self.slash(who, path, &options).await)
    }

    async fn presses(&self, who: u64, id: &str, press: Press) -> Result<Answer> {
        let (control, fields) = self.registry.control(id).unwrap();
        let press = Press { fields: fields.to_owned(), ..press };
        (control.run)(self.ctx(who, Door::Control), press).await
    }

    async fn pressed(&self, who: u64, id: &str) -> String {
        shown(self.presses(who, id, Press::default()).await)
    }

    /// What a line costs.
    async fn cost(&self, who: u64, line: &str) -> (String, Units) {
        let (shown, units) = measured(self.says(who, line)).await;
        (shown, units)
    }

    async fn adopt(&self, key: &str, value: &str) {
        self.dynamo().put(&Remembered::adopted(self.server, key, value)).await.unwrap();
    }

    async fn record(&self, key: &str) -> Option<Remembered> {
        self.dynamo().get((self.server, key.to_owned())).await.unwrap()
    }
}

fn services(dynamo: &Dynamo, clock: &Clock, max_memories: usize) -> Arc<Services> {
    let instance = Instance { max_memories, ..Instance::default() };
    Arc::new(Services::new(dynamo.clone(), clock.clone(), Discord::nowhere(), instance))
}

fn text_of(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// An answer as a reader sees it, without its controls.
fn shown(answer: Result<Answer>) -> String {
    match answer {
        Ok(Answer::Reply(reply) | Answer::Update(reply)) => shown_reply(&reply),
        Ok(other) => format!("{other:?}"),
        Err(Error::Refused(text)) => text,
        Err(Error::Usage(text)) => format!("usage: {text}"),
        Err(other) => panic!("{other:?}"),
    }
}

fn shown_reply(reply: &Reply) -> String {
    let card = reply.card.as_ref().map(|card| format!("[{}]\n{}", card.title, card.text));
    let file = reply.files.first().map(|file| format!("<{}>", String::from_utf8_lossy(&file.bytes)));
    let parts = [Some(reply.text.clone()).filter(|text| !text.is_empty()), card, file];
    parts.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

fn buttons(reply: &Reply) -> Vec<&Button> {
    reply
        .rows
        .iter()
        .flat_map(|row| if let Row::Buttons(buttons) = row { buttons.iter().collect() } else { vec![] })
        .collect()
}

fn undo_id(reply: &Reply) -> String {
    buttons(reply).iter().find(|button| button.label == "Undo").expect("a change can be undone").id.clone()
}

fn member(id: u64, bot: bool) -> Option<Member> {
    Some(Member { id, name: "x".to_owned(), bot })
}

#[tokio::test]
async fn what_is_remembered_is_told_again() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.says(ANN, ".remember Lunch is noon").await,
        format!("✅ Ok <@{ANN}>, I'll remember `Lunch` for you")
    );
    assert_eq!(stage.says(BOB, ".rem LUNCH").await, "noon");
    assert_eq!(stage.slashes(BOB, "rem get", &[("key", "lunch")]).await, "noon");
    assert_eq!(stage.says(BOB, ".rem lunch is noon").await, "I already remember exactly that for `Lunch`");
    assert_eq!(
        stage.says(BOB, ".rem lunch is one").await,
        "I am already remembering something for `Lunch`:\n> noon\n\
         Use `.forget Lunch` to forget it, or `.mem edit Lunch is …` to change it"
    );
    let record = stage.record("lunch").await.unwrap();
    assert_eq!((record.rev, record.created_by, record.rem_value.as_deref()), (1, Some(ANN), Some("noon")));
}

#[tokio::test]
async fn slash_and_text_store_the_same() {
    let stage = Stage::new().await;
    let set = &[("key", "tea"), ("value", " hot \r\n drink ")];
    assert_eq!(
        stage.slashes(ANN, "rem set", set).await,
        format!("✅ Ok <@{ANN}>, I'll remember `tea` for you")
    );
    assert_eq!(stage.says(ANN, ".rem tea").await, "hot \n drink");
    assert!(stage.slashes(ANN, "remember", &[("key", "x"), ("value", "y")]).await.starts_with("✅"));
    assert_eq!(stage.slashes(ANN, "rem get", &[("key", "")]).await, "usage: The key is missing");
}

#[tokio::test]
async fn a_lookup_says_what_is_missing() {
    let stage = Stage::new().await;
    assert_eq!(stage.says(ANN, ".rem wifi").await, "🤔 I couldn't remember anything for `wifi`");
    for key in ["wifi", "wify", "wifi guest"] {
        stage.says(ANN, &format!(".rem {key} is x")).await;
    }
    assert_eq!(
        stage.says(ANN, ".rem wifj").await,
        "🤔 I couldn't remember anything for `wifj`\nDid you mean `wifi` or `wify`?"
    );
    assert_eq!(
        stage.says(ANN, ".rem lunch IS noon").await,
        "🤔 I couldn't remember anything for `lunch IS noon`\n-# To store it, write a small `is`"
    );
    assert_eq!(stage.says(ANN, ".rem lunch is").await, "⚠ What is `lunch`? Write `.rem lunch is <value>`");
    assert_eq!(stage.says(ANN, ".rem").await, "usage: Tell me what to remember, or what to look up");
    assert_eq!(stage.says(ANN, ".rem \u{200B}\u{200D} is x").await, "⚠ That key has no visible characters");
}

#[tokio::test]
async fn a_line_that_is_a_name_asks_for_it() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem \"what is love\" is baby").await;
    assert_eq!(stage.says(ANN, ".rem what is love").await, "baby");
    assert_eq!(stage.says(ANN, ".rem What Is Love").await, "baby");
    assert_eq!(
        stage.says(ANN, ".rem what is love is baby").await,
        format!(
            "✅ Ok <@{ANN}>, I'll remember `what` for you\n\
             -# Stored under `what`. For a longer key, quote it: `.rem \"what is love\" is …`"
        )
    );
    assert_eq!(stage.says(ANN, ".rem what").await, "love is baby");
}

#[tokio::test]
async fn attachments_are_not_remembered() {
    let stage = Stage::new().await;
    let picture =
        Attachment { name: "cat.png".into(), bytes: 4, url: "https://cdn.discordapp.com/cat.png".into() };
    let with_file = || Context { attachments: vec![picture.clone()], ..stage.ctx(ANN, Door::Prefix) };
    for line in [".rem", ".rem cat", ".rem cat is"] {
        let told = shown(stage.run(with_file(), line).await);
        assert_eq!(told, "⚠ I can only remember text; links to attachments stop working after a day");
    }
    assert!(shown(stage.run(with_file(), ".rem cat is grey").await).starts_with("✅"));
    assert_eq!(shown(stage.run(with_file(), ".rem cat").await), "grey");
}

#[tokio::test]
async fn values_and_servers_have_limits() {
    let stage = Stage::with_room_for(2).await;
    let set = |value: usize| stage.slashes_owned(ANN, "k", "v".repeat(value));
    assert_eq!(set(4_001).await, "⚠ That value is 4,001 characters long; the limit is 4,000");
    assert!(set(4_000).await.starts_with("✅"));
    assert_eq!(
        stage.says(ANN, ".mem append k is x").await,
        "⚠ That would make `k` 4,002 characters long; the limit is 4,000"
    );
    assert_eq!(stage.says(ANN, ".rem k").await.len(), 4_000);
    assert!(stage.says(ANN, ".rem two is 2").await.starts_with("✅"));
    assert_eq!(
        stage.says(ANN, ".rem three is 3").await,
        "⚠ This server already has 2 memories; forget some first"
    );
    assert!(stage.says(ANN, ".rem two is 3").await.starts_with("I am already"), "that is the better reason");
    stage.says(ANN, ".forget two").await;
    assert!(stage.says(ANN, ".rem three is 3").await.starts_with("✅"));
}

impl Stage {
    async fn slashes_owned(&self, who: u64, key: &str, value: String) -> String {
        self.slashes(who, "rem set", &[("key", key), ("value", &value)]).await
    }
}

#[tokio::test]
async fn what_is_forgotten_can_be_remembered_anew() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem Lunch is noon").await;
    assert_eq!(
        stage.says(BOB, ".forget `lunch`").await,
        format!("✅ Ok <@{BOB}>, I'll forget about `Lunch` for you")
    );
    assert_eq!(
        stage.says(BOB, ".forget lunch").await,
        "⚠ Did you type that correctly? I didn't find anything in the database for `lunch`"
    );
    assert_eq!(stage.says(BOB, ".rem lunch").await, "🤔 I couldn't remember anything for `lunch`");
    let tombstone = stage.record("lunch").await.unwrap();
    assert_eq!((tombstone.rev, &tombstone.rem_value), (2, &None));
    assert!(tombstone.expires_at.is_some());
    stage.says(BOB, ".rem lunch is one").await;
    let record = stage.record("lunch").await.unwrap();
    assert_eq!(
        (record.rev, record.created_by, record.expires_at, record.forgotten_at),
        (3, Some(BOB), None, None)
    );
}

#[tokio::test]
async fn editing_shows_what_changed() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem \"what is love\" is baby").await;
    assert_eq!(
        stage.says(BOB, ".mem edit what is love is don't hurt me").await,
        "✏️ `what is love` is now revision 2\n```diff\n-baby\n+don't hurt me\n```"
    );
    assert_eq!(
        stage.says(BOB, ".mem edit what is love is don't hurt me").await,
        "ℹ️ That is what `what is love` says already; nothing changed"
    );
    assert_eq!(
        stage.says(BOB, ".mem edit what is lov is x").await,
        "⚠ Did you type that correctly? I didn't find anything in the database for `what`\nDid you mean `what is love`?"
    );
    assert_eq!(stage.says(BOB, ".mem edit love").await, "usage: An ` is ` between key and value is missing");
    assert_eq!(
        stage.says(BOB, ".mem append what is love is no more").await,
        "✏️ Added to `what is love` (revision 3)"
    );
    assert_eq!(stage.says(BOB, ".rem what is love").await, "don't hurt me\nno more");
    let set = &[("key", "what is love"), ("value", "x")];
    assert!(stage.slashes(BOB, "mem edit", set).await.starts_with("✏️ `what is love` is now revision 4"));
    let add = &[("key", "what is love"), ("text", "y")];
    assert_eq!(stage.slashes(BOB, "mem append", add).await, "✏️ Added to `what is love` (revision 5)");
}

#[tokio::test]
async fn slash_edit_without_a_value_opens_a_modal_with_the_old_text() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem wifi is old").await;
    let opened = stage.slash(BOB, "mem edit", &[("key", text_of("WiFi"))]).await.unwrap();
    let Answer::Modal(Modal { id, inputs, title }) = opened else { panic!("{opened:?}") };
    assert_eq!(
        (id.as_str(), inputs[0].value.as_str(), title.as_str()),
        ("mem-edit:1:wifi", "old", "Edit WiFi")
    );

    let filled =
        |text: &str| Press { inputs: vec![("value".to_owned(), text.to_owned())], ..Press::default() };
    let done = shown(stage.presses(BOB, &id, filled("new")).await);
    assert!(done.starts_with("✏️ `wifi` is now revision 2"), "{done}");
    let late = stage.presses(ANN, &id, filled("mine")).await.unwrap();
    assert!(matches!(&late, Answer::Reply(reply) if reply.private));
    assert_eq!(
        shown(Ok(late)),
        format!(
            "⚠ `wifi` has been changed since (revision 2 by <@{BOB}>); nothing was changed\nThis is what you wrote:\n```\nmine\n```"
        )
    );
    assert_eq!(stage.pressed(BOB, "mem-edit:x:wifi").await, "⚠ That button is too old");
}

#[tokio::test]
async fn a_message_can_be_remembered_from_its_menu() {
    let stage = Stage::new().await;
    let menu = stage.registry.menu("Remember this").unwrap();
    let target = |text: &str| Target { message_id: 1, author_id: BOB, text: text.to_owned() };
    let opened = (menu.run)(stage.ctx(ANN, Door::Control), target("the door code is 1234")).await.unwrap();
    let Answer::Modal(modal) = opened else { panic!("{opened:?}") };
    assert_eq!(modal.inputs[1].value, "the door code is 1234");
    let inputs =
        vec![("key".to_owned(), "door".to_owned()), ("value".to_owned(), modal.inputs[1].value.clone())];
    let press = Press { inputs, ..Press::default() };
    assert!(shown(stage.presses(ANN, &modal.id, press).await).starts_with("✅"));
    assert_eq!(stage.says(BOB, ".rem door").await, "the door code is 1234");
    let nothing = (menu.run)(stage.ctx(ANN, Door::Control), target(" ")).await;
    assert!(shown(nothing).starts_with("⚠ I can only remember text"));
}

#[tokio::test]
async fn other_names_lead_to_the_memory() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem wifi is secret").await;
    assert_eq!(stage.says(ANN, ".mem alias WLAN = wifi").await, "🔗 `WLAN` is now another name for `wifi`");
    assert_eq!(
        stage.slashes(ANN, "mem alias", &[("new", "net"), ("key", "wlan")]).await,
        "🔗 `net` is now another name for `wifi`"
    );
    assert_eq!(stage.says(ANN, ".rem net").await, "secret");
    assert!(stage.says(ANN, ".mem edit wlan is open").await.starts_with("✏️ `wifi` is now revision 2"));
    assert!(
        stage
            .says(ANN, ".mem alias wlan = wifi")
            .await
            .starts_with("I am already remembering something for `WLAN`:\n> another name for `wifi`")
    );
    assert!(
        stage
            .says(ANN, ".mem alias x = wify")
            .await
            .contains("I didn't find anything in the database for `wify`\nDid you mean `wifi`?")
    );
    assert_eq!(
        stage.says(ANN, ".mem alias x wifi").await,
        "usage: A ` = ` between the new name and the key is missing"
    );
    assert!(stage.says(ANN, ".mem info wlan").await.contains("Other names: `net`, `WLAN`"));

    stage.says(ANN, ".forget net").await;
    assert_eq!(stage.says(ANN, ".rem wifi").await, "open", "only the other name is gone");
    stage.says(ANN, ".forget wifi").await;
    assert_eq!(
        stage.says(ANN, ".rem wlan").await,
        "🤔 `WLAN` is another name for `wifi`, which has been forgotten"
    );
}

#[tokio::test]
async fn a_memory_has_at_most_twenty_other_names() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem wifi is x").await;
    for n in 0..20 {
        assert!(stage.says(ANN, &format!(".mem alias n{n} = wifi")).await.starts_with("🔗"));
    }
    assert_eq!(stage.says(ANN, ".mem alias n20 = wifi").await, "⚠ `wifi` already has 20 names");
}

#[tokio::test]
async fn what_is_locked_only_moderators_change() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem rules is be kind").await;
    assert_eq!(stage.says(MOD, ".mem unlock rules").await, "ℹ️ `rules` is not locked");
    assert_eq!(
        stage.says(MOD, ".mem lock rules").await,
        "🔒 `rules` is locked: only moderators can change it"
    );
    assert_eq!(stage.says(MOD, ".mem lock rules").await, "ℹ️ `rules` is already locked");
    for (line, command) in [
        (".mem edit rules is x", "mem edit"),
        (".mem append rules is x", "mem append"),
        (".forget rules", "forget"),
        (".mem restore rules 1", "mem restore"),
    ] {
        let expected = format!("⛔ You can't use `.{command}` here: `rules` is locked");
        assert_eq!(stage.says(ANN, line).await, expected, "{line}");
    }
    let given = edit::give(&stage.call(ANN), "rules", BOB, member(BOB, false)).await.unwrap_err();
    assert_eq!(given.to_string(), "⛔ You can't use `.mem give` here: `rules` is locked");
    assert!(stage.says(MOD, ".mem edit rules is be kinder").await.starts_with("✏️"));
    assert_eq!(stage.says(MOD, ".mem unlock rules").await, "🔓 `rules` is unlocked");
    assert!(stage.says(ANN, ".mem edit rules is be kind").await.starts_with("✏️"));
    assert!(stage.says(MOD, ".mem lock nothing").await.starts_with("⚠ Did you type that correctly?"));
}

#[tokio::test]
async fn where_memories_are_owned_only_owners_change_them() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem cat is grey").await;
    stage.adopt("dog", "brown").await;
    let owned = |who| Call { policy: Policy { owned: true, keep: None }, ..stage.call(who) };
    let edit = |who: u64, line: &'static str| {
        let call = owned(who);
        async move { shown(edit::edit_line(&call, line).await.map(Answer::Reply)) }
    };
    assert_eq!(
        edit(BOB, "cat is black").await,
        format!("⛔ You can't use `.mem edit` here: only its owner <@{ANN}> or a moderator can change it")
    );
    assert!(edit(BOB, "dog is black").await.ends_with("only its owner or a moderator can change it"));
    assert!(edit(ANN, "cat is black").await.starts_with("✏️"));
    assert!(edit(MOD, "dog is black").await.starts_with("✏️"));
}

#[tokio::test]
async fn memories_are_given_and_claimed() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem cat is grey").await;
    let give = |who: u64, to: u64, receiver| {
        let call = stage.call(who);
        async move { shown(edit::give(&call, "cat", to, receiver).await.map(Answer::Reply)) }
    };
    let claim = |who: u64, gone| {
        let call = stage.call(who);
        async move { shown(edit::claim(&call, "cat", gone).await.map(Answer::Reply)) }
    };
    assert!(
        give(BOB, BOB, member(BOB, false)).await.contains(&format!("only its owner <@{ANN}> or a moderator"))
    );
    assert_eq!(give(ANN, BOB, member(BOB, true)).await, "⚠ Bots can't own memories");
    assert_eq!(give(ANN, BOB, None).await, format!("⚠ <@{BOB}> is not in this server"));
    assert_eq!(claim(BOB, None).await, format!("⛔ `cat` belongs to <@{ANN}>, who is still here"));
    assert_eq!(give(ANN, BOB, member(BOB, false)).await, format!("🎁 `cat` now belongs to <@{BOB}>"));
    assert_eq!(give(MOD, BOB, member(BOB, false)).await, format!("ℹ️ `cat` already belongs to <@{BOB}>"));
    assert_eq!(claim(ANN, Some(BOB)).await, "🙋 `cat` now belongs to you");
    assert_eq!(claim(ANN, None).await, "ℹ️ `cat` already belongs to you");

    stage.adopt("dog", "brown").await;
    assert!(stage.says(ANN, ".mem info dog").await.contains("Owner: unknown"));
    assert_eq!(stage.says(ANN, ".mem claim dog").await, "🙋 `dog` now belongs to you");
    assert_eq!(stage.record("dog").await.unwrap().created_at, None, "nobody knows when it was made");
    assert!(stage.says(ANN, ".mem give dog bob#1234").await.starts_with("⚠ I need a person"));
}

#[tokio::test]
async fn history_diff_and_restore() {
    let stage = Stage::new().await;
    for line in [".rem tea is hot", ".mem edit tea is warm", ".mem append tea is drink", ".forget tea"] {
        stage.says(ANN, line).await;
    }
    let history = stage.reply(BOB, ".mem history tea").await;
    let text = shown_reply(&history);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "[🕘 History of `tea`]");
    assert_eq!(lines[1], format!("**4** forget · <@{ANN}> · <t:1772366405>"));
    assert_eq!(lines[2], format!("**3** append · <@{ANN}> · <t:1772366404> · warm drink"));
    assert_eq!(lines[4], format!("**1** set · <@{ANN}> · <t:1772366402> · hot"));
    let Some(Row::Select(select)) = history.rows.first() else { panic!("{history:?}") };
    assert_eq!(select.choices.len(), 3, "what was forgotten says nothing");

    let press = Press { values: vec![select.choices[2].value.clone()], ..Press::default() };
    let restored = shown(stage.presses(BOB, &select.id, press.clone()).await);
    assert_eq!(
        restored,
        format!("↩️ Restored `tea` to revision 1 (by <@{ANN}>, <t:1772366402>) as revision 5")
    );
    assert_eq!(shown(stage.presses(BOB, &select.id, press).await), "ℹ️ `tea` already says that");
    assert_eq!(stage.says(BOB, ".rem tea").await, "hot");
    assert_eq!(
        stage.record("tea").await.unwrap().created_by,
        Some(ANN),
        "a restore does not change whose it is"
    );

    assert_eq!(
        stage.says(BOB, ".mem diff tea 2 3").await,
        "```diff\n--- revision 2\n+++ revision 3\n@@ -1 +1,2 @@\n warm\n+drink\n```"
    );
    assert_eq!(
        stage.says(BOB, ".mem diff tea").await,
        "```diff\n--- revision 4\n+++ revision 5\n@@ -0,0 +1 @@\n+hot\n```"
    );
    assert_eq!(stage.says(BOB, ".mem diff tea 9").await, "⚠ `tea` has no revision 9; it has 1 to 5");
    assert_eq!(stage.says(BOB, ".mem restore tea 9").await, "⚠ `tea` has no revision 9; it has 1 to 5");
    assert_eq!(
        stage.says(BOB, ".mem restore tea 4").await,
        format!("↩️ Restored `tea` to revision 4 (by <@{ANN}>, <t:1772366405>) as revision 6")
    );
    assert_eq!(
        stage.says(BOB, ".mem restore tea 5 seconds ago").await.split(" (").next(),
        Some("↩️ Restored `tea` to revision 5")
    );
    assert!(stage.says(BOB, ".mem history coffee").await.starts_with("⚠ Did you type that correctly?"));
    assert!(stage.says(BOB, ".mem diff coffee 1 2").await.starts_with("⚠ Did you type that correctly?"));
    assert_eq!(
        stage.says(BOB, ".mem restore tea").await,
        "usage: A revision or a time is missing after the key"
    );
}

#[tokio::test]
async fn a_diff_understands_keys_that_end_in_numbers() {
    let stage = Stage::new().await;
    for line in [
        ".rem route 66 is long",
        ".mem edit route 66 is longer",
        ".rem route is a way",
        ".mem edit route is the way",
    ] {
        stage.says(ANN, line).await;
    }
    assert!(stage.says(ANN, ".mem diff route 66").await.contains("-long\n+longer"));
    assert!(stage.says(ANN, ".mem diff route 66 1 2").await.contains("-long\n+longer"));
    assert!(stage.says(ANN, ".mem diff route 1 2").await.contains("-a way\n+the way"));
    assert_eq!(
        stage.says(ANN, ".mem diff \"route\" 66").await,
        "⚠ `route` has no revision 66; it has 1 to 2"
    );
}

#[tokio::test]
async fn what_was_said_at_a_time() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    stage.clock.advance(Duration::from_secs(86_400));
    stage.says(ANN, ".mem edit tea is cold").await;
    assert_eq!(
        stage.says(ANN, ".mem show tea at 2026-03-01 15:00").await,
        "🕘 `tea` on <t:1772377200> (revision 1):\nhot"
    );
    let at = &[("key", "tea"), ("at", "1")];
    assert!(stage.slashes(ANN, "rem get", at).await.ends_with("(revision 1):\nhot"));
    assert!(stage.says(ANN, ".mem show tea at now").await.ends_with("(revision 2):\ncold"));
    assert_eq!(
        stage.says(ANN, ".mem show tea at 2026-02-01").await,
        "🤔 I knew nothing about `tea` at that time"
    );
    assert_eq!(stage.says(ANN, ".mem show tea at 2024-02-01").await, "⚠ I only keep history for 365 days");
    assert!(
        stage.says(ANN, ".mem show tea at 25:00").await.starts_with("⚠ I don't understand the time `25:00`")
    );
    assert!(stage.says(ANN, ".mem show tea at 2027-01-01").await.ends_with("is in the future"));
    assert_eq!(stage.says(ANN, ".mem show tea").await, "usage: An ` at ` between key and time is missing");
    stage.adopt("old", "text").await;
    assert!(stage.says(ANN, ".mem show old at yesterday").await.ends_with("(revision 0):\ntext"));
    stage.says(ANN, ".mem edit old is new").await;
    assert!(stage.says(ANN, ".mem show old at yesterday").await.ends_with("(revision 0):\ntext"));
}

#[tokio::test]
async fn undo_takes_back_the_last_change_once() {
    let stage = Stage::new().await;
    let set = stage.reply(ANN, ".rem tea is hot").await;
    let edited = stage.reply(ANN, ".mem edit tea is warm").await;
    let moved = stage.pressed(ANN, &undo_id(&set)).await;
    assert_eq!(moved, format!("⚠ `tea` has been changed since (revision 2 by <@{ANN}>). Use `.forget tea`"));
    assert_eq!(
        stage.pressed(BOB, &undo_id(&edited)).await,
        "⛔ You can't use `.mem undo` here: it needs Manage Messages"
    );
    let undone = "↩️ Undone: `tea` is back to revision 1, as revision 3";
    assert_eq!(stage.pressed(ANN, &undo_id(&edited)).await, undone);
    assert_eq!(stage.pressed(ANN, &undo_id(&edited)).await, undone, "pressing twice undoes once");
    assert_eq!(stage.says(ANN, ".rem tea").await, "hot");
    assert_eq!(stage.record("tea").await.unwrap().rev, 3);

    let gone = stage.reply(BOB, ".forget tea").await;
    assert_eq!(stage.pressed(BOB, &undo_id(&gone)).await, "↩️ Undone: I remember `tea` again");
    stage.says(BOB, ".rem milk is white").await;
    assert_eq!(stage.says(BOB, ".mem undo").await, "↩️ Undone: `milk` is forgotten again");
    assert_eq!(stage.pressed(ANN, "undo:123456789012345678").await, "⚠ That button is too old");
    assert_eq!(stage.pressed(ANN, "undo:0x1").await, "⚠ That button is too old");
}

#[tokio::test]
async fn undo_by_command_is_for_ten_minutes_and_for_moderators() {
    let stage = Stage::new().await;
    assert_eq!(
        stage.says(ANN, ".mem undo").await,
        "⚠ You haven't changed anything here in the last 10 minutes"
    );
    stage.says(ANN, ".rem tea is hot").await;
    stage.says(ANN, ".mem edit tea is warm").await;
    assert_eq!(
        stage.says(BOB, ".mem undo tea").await,
        "⛔ You can't use `.mem undo` here: it needs Manage Messages"
    );
    stage.clock.advance(Duration::from_secs(601));
    assert_eq!(
        stage.says(ANN, ".mem undo").await,
        "⚠ You haven't changed anything here in the last 10 minutes"
    );
    assert_eq!(
        stage.slashes(MOD, "undo", &[("key", "tea")]).await,
        "↩️ Undone: `tea` is back to revision 1, as revision 3"
    );
    assert!(stage.says(MOD, ".mem undo nothing").await.starts_with("⚠ Did you type that correctly?"));
}

#[tokio::test]
async fn every_kind_of_change_is_undone() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    stage.says(ANN, ".mem alias chai = tea").await;
    let before = stage.record("tea").await.unwrap();
    for line in [".mem append tea is drink", ".mem lock tea", ".mem restore tea 2"] {
        let undo = undo_id(&stage.reply(MOD, line).await);
        assert!(
            stage.pressed(MOD, &undo).await.starts_with("↩️ Undone: `tea` is back to revision"),
            "{line}"
        );
        let now = stage.record("tea").await.unwrap();
        assert_eq!(
            (&now.rem_value, now.locked_by, now.created_by),
            (&before.rem_value, None, before.created_by)
        );
    }
    let given = edit::give(&stage.call(ANN), "tea", BOB, member(BOB, false)).await.unwrap();
    assert!(stage.pressed(ANN, &undo_id(&given)).await.starts_with("↩️"));
    assert_eq!(stage.record("tea").await.unwrap().created_by, Some(ANN));
    let forgotten = stage.reply(ANN, ".forget chai").await;
    stage.pressed(ANN, &undo_id(&forgotten)).await;
    assert_eq!(stage.says(ANN, ".rem chai").await, "hot", "the other name is back");
    let locked = stage.reply(MOD, ".mem lock tea").await;
    let unlocked = stage.reply(MOD, ".mem unlock tea").await;
    stage.pressed(MOD, &undo_id(&unlocked)).await;
    assert!(stage.record("tea").await.unwrap().locked_by.is_some());
    assert!(stage.pressed(MOD, &undo_id(&locked)).await.contains("has been changed since"));
}

#[tokio::test]
async fn the_first_change_of_an_adopted_memory_keeps_its_old_text() {
    let stage = Stage::new().await;
    stage.adopt("tea", "hot").await;
    let edited = stage.reply(ANN, ".mem edit tea is warm").await;
    assert!(shown_reply(&edited).starts_with("✏️ `tea` is now revision 1"));
    assert_eq!(
        stage.pressed(ANN, &undo_id(&edited)).await,
        "↩️ Undone: `tea` is back to revision 0, as revision 2"
    );
    assert_eq!(stage.says(ANN, ".rem tea").await, "hot");
    assert_eq!(stage.says(ANN, ".mem restore tea 0").await, "ℹ️ `tea` already says that");
}

#[tokio::test]
async fn what_was_said_before_a_year_can_still_be_brought_back() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    stage.clock.advance(Duration::from_secs(366 * 86_400));
    let edited = stage.reply(ANN, ".mem edit tea is warm").await;
    assert_eq!(
        stage.pressed(ANN, &undo_id(&edited)).await,
        "↩️ Undone: `tea` is back to revision 1, as revision 3"
    );
    assert_eq!(stage.says(ANN, ".rem tea").await, "hot");
}

#[tokio::test]
async fn search_and_list_have_pages() {
    let stage = Stage::new().await;
    assert_eq!(stage.says(ANN, ".rem search").await, "🤔 This server hasn't taught me anything yet");
    assert_eq!(stage.says(ANN, ".mem list").await, "🤔 This server hasn't taught me anything yet");
    for n in 10..55 {
        stage.says(if n < 50 { ANN } else { BOB }, &format!(".rem key {n} is x")).await;
    }
    let first = stage.reply(ANN, ".rem search key").await;
    let text = shown_reply(&first);
    assert!(text.starts_with("[🔍 Remember Search - `key`]\n• key 10\n• key 11\n"), "{text}");
    assert!(text.ends_with("• key 29\nAnd 25 more..."), "{text}");
    let next = stage.presses(BOB, &buttons(&first)[1].id, Press::default()).await.unwrap();
    let Answer::Update(next) = next else { panic!("{next:?}") };
    assert!(shown_reply(&next).contains("• key 30\n") && shown_reply(&next).ends_with("And 5 more..."));
    assert_eq!(
        stage.says(ANN, ".rem search zebra").await,
        "🤔 I couldn't find anything for `zebra` - Please try refining your search"
    );
    assert_eq!(stage.pressed(ANN, "mem-search:01:-:").await, "⚠ That button is too old");

    let list = stage.says(ANN, ".mem list").await;
    assert!(list.starts_with(&format!("[📒 What I remember (45)]\n• key 10 - <@{ANN}>\n")), "{list}");
    assert!(
        stage
            .says(ANN, &format!(".mem list <@{BOB}>"))
            .await
            .starts_with("[📒 What I remember (5)]\n• key 50")
    );
    assert_eq!(
        stage.says(ANN, &format!(".mem list <@{MOD}>")).await,
        format!("🤔 <@{MOD}> hasn't taught me anything yet")
    );
    let by = stage.slash(ANN, "rem search", &[("by", Value::Person(BOB))]).await;
    assert!(shown(by).starts_with("[🔍 Remember Search]\n• key 50\n"));
}

#[tokio::test]
async fn lists_of_the_longest_names_fit_a_card() {
    let stage = Stage::new().await;
    for n in 0..25 {
        let key = format!("{n:02}{}", "*".repeat(198));
        stage.says(ANN, &format!(".rem {key} is x")).await;
        stage.says(ANN, &format!(".rem {key}")).await;
        stage.says(ANN, &format!(".mem alias {} = {key}", key.replace('*', "_"))).await;
        stage.says(ANN, &format!(".mem edit {key} is {}", "|".repeat(4_000 - n))).await;
    }
    let star = format!("00{}", "*".repeat(198));
    for line in [
        ".mem list",
        ".rem search",
        ".mem top",
        &format!(".mem info {star}"),
        &format!(".mem history {star}"),
    ] {
        let card = stage.reply(MOD, line).await.card.unwrap();
        assert!(card.title.chars().count() <= 256, "{line}: {}", card.title);
        assert!(card.text.chars().count() <= 4_000, "{line}: {}", card.text.chars().count());
    }
}

#[tokio::test]
async fn a_lookup_never_writes() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    let everything = || async {
        let records: Vec<Remembered> = stage.dynamo().query_all(Query::of(SERVER)).await.unwrap();
        let rows: Vec<history::Revision> = stage.dynamo().query_all(Query::of(SERVER)).await.unwrap();
        (records, rows)
    };
    let before = everything().await;
    let mut random = seeded();
    for _ in 0..300 {
        let text = random_text(&mut random, 40);
        if !text.split_whitespace().any(|word| word == "is") {
            stage.says(ANN, &format!(".rem {text}")).await;
        }
    }
    assert_eq!(everything().await, before);
}

#[tokio::test]
async fn recalls_are_counted() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    stage.says(ANN, ".mem alias chai = tea").await;
    stage.says(ANN, ".rem milk is white").await;
    assert_eq!(stage.says(ANN, ".mem top").await, "🏆 Nobody has asked me anything yet");
    stage.says(BOB, ".rem milk").await;
    assert_eq!(
        stage.says(ANN, ".mem top").await,
        "[🏆 Most recalled]\n🥇 milk - **1**",
        "own recalls show at once"
    );
    stage.clock.advance(Duration::from_secs(61));
    for key in ["tea", "chai", "milk", "TEA", "tea at all"] {
        stage.says(BOB, &format!(".rem {key}")).await;
    }
    assert!(
        stage.says(ANN, ".mem info tea").await.contains("Recalls: 3, last <t:1772366"),
        "before they are written"
    );
    assert_eq!(stage.says(ANN, ".mem top").await, "[🏆 Most recalled]\n🥇 tea - **3**\n🥈 milk - **2**");
    assert_eq!(stage.services.state::<Counts>().backlog(), (0, 0), "written by now");
    assert!(stage.says(ANN, ".mem info tea").await.contains("Recalls: 3, last <t:1772366"), "and after");
    assert_eq!(stage.elsewhere().says(ANN, ".mem info tea").await, stage.says(ANN, ".mem info tea").await);
}

#[tokio::test]
async fn one_memory_at_random() {
    let stage = Stage::new().await;
    assert_eq!(stage.says(ANN, ".mem random").await, "🤔 This server hasn't taught me anything yet");
    for n in 0..5 {
        stage.says(ANN, &format!(".rem k{n} is v{n}")).await;
    }
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        seen.insert(stage.says(ANN, ".mem random").await);
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert!(seen.contains("🎲 **k3**\nv3"));
}

#[tokio::test]
async fn raw_text_can_be_copied() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem shout is **loud**").await;
    stage.says(ANN, ".rem code is ```\nx\n```").await;
    assert_eq!(stage.says(ANN, ".mem raw shout").await, "```\n**loud**\n```");
    assert_eq!(stage.says(ANN, ".mem raw code").await, "<```\nx\n```>");
    let raw = stage.slash(ANN, "rem get", &[("key", text_of("shout")), ("raw", Value::Bool(true))]).await;
    assert_eq!(shown(raw), "```\n**loud**\n```");
    assert!(stage.says(ANN, ".mem raw nothing").await.starts_with("⚠ Did you type that correctly?"));
}

#[tokio::test]
async fn no_server_sees_another() {
    let here = Stage::new().await;
    let there = here.in_server(SERVER + 1);
    here.says(ANN, ".rem tea is hot").await;
    assert_eq!(there.says(ANN, ".rem tea").await, "🤔 I couldn't remember anything for `tea`");
    assert_eq!(there.says(ANN, ".rem search").await, "🤔 This server hasn't taught me anything yet");
    assert_eq!(
        there.says(ANN, ".mem undo").await,
        "⚠ You haven't changed anything here in the last 10 minutes"
    );
    there.says(BOB, ".rem tea is cold").await;
    assert_eq!(here.says(BOB, ".rem tea").await, "hot");
}

fn typing(text: &str) -> Typing<'_> {
    Typing { server_id: SERVER, person_id: ANN, text }
}

#[tokio::test]
async fn long_keys_travel_under_a_short_name() {
    let stage = Stage::new().await;
    let key = "ü".repeat(150);
    stage.says(ANN, &format!(".rem {key} is x")).await;
    let command = stage.registry.slash("rem get").unwrap();
    let choices = (command.options[0].suggest.unwrap())(&stage.services, typing("üü"));
    assert_eq!(choices[0].value.len(), 17);
    assert_eq!(choices[0].label.chars().count(), 100);
    assert_eq!(stage.slashes(ANN, "rem get", &[("key", &choices[0].value)]).await, "x");
    let line = format!(".rem {}", choices[0].value);
    assert!(stage.says(ANN, &line).await.starts_with("🤔"), "in text it is what it is");
    let opened = stage.slash(ANN, "mem edit", &[("key", text_of(&key))]).await.unwrap();
    let Answer::Modal(modal) = opened else { panic!("{opened:?}") };
    assert!(modal.id.is_ascii() && modal.id.len() <= 100);
    let press = Press { inputs: vec![("value".to_owned(), "y".to_owned())], ..Press::default() };
    assert!(shown(stage.presses(ANN, &modal.id, press).await).contains("is now revision 2"));
    for _ in 0..12 {
        stage.says(ANN, &format!(".mem append {key} is z")).await;
    }
    stage.says(ANN, &format!(".forget {key}")).await;
    let history = stage.reply(ANN, &format!(".mem history {key}")).await;
    for button in buttons(&history) {
        assert!(button.id.is_ascii() && button.id.len() <= 100, "{}", button.id);
    }
    let older = stage.pressed(ANN, &buttons(&history)[1].id).await;
    assert!(older.contains("**1** set"), "{older}");
}

#[tokio::test]
async fn suggestions_never_wait() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem wifi is x").await;
    let other = stage.elsewhere();
    let suggest = |stage: &Stage| {
        let command = stage.registry.slash("forget").unwrap();
        (command.options[0].suggest.unwrap())(&stage.services, typing("wi")).len()
    };
    assert_eq!((suggest(&stage), suggest(&other)), (1, 0));
    let shutdown = tokio_util::sync::CancellationToken::new();
    let lists = other.call(ANN).lists();
    let loading = async {
        while suggest(&other) == 0 {
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
    };
    let loaded = tokio::time::timeout(Duration::from_secs(10), async {
        tokio::join!(lists.run(other.dynamo(), shutdown.clone()), loading)
    });
    loaded.await.expect("the list is loaded because somebody typed");
}

#[tokio::test]
async fn changes_made_elsewhere_are_seen_after_ten_seconds() {
    let (here, there) = {
        let stage = Stage::new().await;
        (stage.clone(), stage.elsewhere())
    };
    there.says(ANN, ".rem tea is hot").await;
    assert!(there.says(ANN, ".rem search tea").await.contains("• tea"));
    here.clock.advance(Duration::from_secs(10));
    assert!(here.says(ANN, ".rem search tea").await.contains("• tea"));
    there.says(ANN, ".forget tea").await;
    assert!(here.says(ANN, ".rem search tea").await.contains("• tea"), "not yet");
    here.clock.advance(Duration::from_secs(10));
    assert!(here.says(ANN, ".rem search tea").await.starts_with("🤔"));
}

#[tokio::test]
async fn the_same_event_has_one_effect() {
    let stage = Stage::new().await;
    for (line, times) in [
        (".rem tea is hot", 3),
        (".mem append tea is drink", 3),
        (".forget tea", 2),
        (".mem undo", 2),
        (".mem lock tea", 2),
    ] {
        let ctx = stage.ctx(MOD, Door::Prefix);
        let first = shown(stage.run(ctx.clone(), line).await);
        stage.clock.advance(Duration::from_secs(60));
        for _ in 1..times {
            let elsewhere = Context { services: stage.elsewhere().services, ..ctx.clone() };
            assert_eq!(shown(stage.run(elsewhere, line).await), first, "{line}");
        }
    }
    let record = stage.record("tea").await.unwrap();
    assert_eq!((record.rev, record.value()), (5, "hot\ndrink"));
}

#[tokio::test]
async fn of_many_who_set_one_key_one_wins() {
    let stage = Stage::new().await;
    let other = stage.elsewhere();
    let tries = (0..64).map(|n| {
        // Two processes, so that turns within one do not decide alone.
        let stage = if n % 2 == 0 { stage.clone() } else { other.clone() };
        tokio::spawn(async move { stage.says(ANN + n, &format!(".rem tea is {n}")).await })
    });
    let told = futures::future::join_all(tries).await;
    let told: Vec<String> = told.into_iter().map(|told| told.unwrap()).collect();
    assert_eq!(told.iter().filter(|told| told.starts_with("✅")).count(), 1);
    assert_eq!(told.iter().filter(|told| told.starts_with("I am already remembering")).count(), 63);
    assert_eq!(stage.record("tea").await.unwrap().rev, 1);
}

#[tokio::test]
async fn of_many_appends_all_are_in_or_refused() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem log is start").await;
    let word = "x".repeat(100);
    let tries = (0..64).map(|n| {
        let (stage, word) = (stage.clone(), word.clone());
        tokio::spawn(async move { stage.says(ANN, &format!(".mem append log is {n} {word}")).await })
    });
    let told = futures::future::join_all(tries).await;
    let told: Vec<String> = told.into_iter().map(|told| told.unwrap()).collect();
    let added = told.iter().filter(|told| told.starts_with("✏️")).count();
    let refused = told.iter().filter(|told| told.contains("the limit is 4,000")).count();
    assert_eq!(added + refused, 64, "{told:?}");
    let record = stage.record("log").await.unwrap();
    assert_eq!(record.value().lines().count(), added + 1);
    assert_eq!(record.rev, added as u64 + 1);
}

/// Lines that change something, once `tea` is remembered.
const CHANGES: [&str; 8] = [
    ".rem milk is white",
    ".mem edit tea is cold",
    ".mem append tea is drink",
    ".mem lock tea",
    ".mem alias chai = tea",
    ".mem restore tea 1",
    ".mem undo tea",
    ".forget tea",
];

impl Stage {
    /// Runs a line in a process whose store is cut off after a few requests.
    async fn cut_off_after(&self, requests: usize, line: &str) -> Result<Answer> {
        let (ctx, other) = (self.ctx(MOD, Door::Prefix), self.elsewhere());
        other.faults.script(vec![Fault::Pass; requests]);
        other.faults.plan(1, Rates { cut: 1_000, ..Rates::default() });
        other.run(Context { services: other.services.clone(), ..ctx }, line).await
    }

    async fn records(&self) -> Vec<Option<Remembered>> {
        let keys = ["tea", "milk", "chai"].map(|key| self.record(key));
        futures::future::join_all(keys).await
    }
}

#[tokio::test]
async fn without_the_store_nothing_is_claimed_or_changed() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    for line in CHANGES {
        let before = stage.records().await;
        for requests in 0.. {
            match stage.cut_off_after(requests, line).await {
                Ok(_) => break,
                Err(Error::Store(error) | Error::Read(error)) => assert!(!error.is_uncertain(), "{line}"),
                Err(other) => panic!("{line} after {requests} requests: {other:?}"),
            }
            assert_eq!(stage.records().await, before, "{line} after {requests} requests");
        }
        assert_ne!(stage.records().await, before, "{line}");
    }
}

#[tokio::test]
async fn without_the_store_nothing_is_called_absent() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    stage.says(ANN, ".mem edit tea is cold").await;
    for line in [
        ".mem info tea",
        ".rem tea",
        ".rem tea is what is it",
        ".mem history tea",
        ".mem diff tea",
        ".rem search x",
        ".mem list",
    ] {
        let truth = stage.says(MOD, line).await;
        for requests in 0.. {
            match stage.cut_off_after(requests, line).await {
                Err(Error::Read(_) | Error::Store(_)) => {}
                told => {
                    assert_eq!(shown(told), truth, "{line} after {requests} requests");
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_lost_reply_changes_nothing_for_the_caller() {
    let stage = Stage::new().await;
    for place in 0..4 {
        let lines = [".rem tea is hot", ".mem append tea is drink", ".mem undo", ".forget tea"];
        for line in lines {
            let mut script = vec![Fault::Pass; place];
            script.push(Fault::LoseReply);
            stage.faults.script(script);
            let told = stage.says(ANN, line).await;
            assert!(
                ["✅", "✏️", "↩️"].iter().any(|sign| told.starts_with(sign)),
                "{line} lost {place}: {told}"
            );
            stage.faults.calm();
        }
    }
    assert_eq!(stage.record("tea").await.unwrap().rev, 16);
}

#[tokio::test]
async fn a_miss_is_certain_and_own_writes_are_seen() {
    let stage = Stage::new().await;
    let stale = || stage.faults.plan(1, Rates { stale: 1_000, ..Default::default() });
    stale();
    assert!(stage.says(BOB, ".rem tea").await.starts_with("🤔"), "from now on cheap reads do not see it");
    stage.elsewhere().says(ANN, ".rem tea is hot").await;
    assert_eq!(stage.says(BOB, ".rem tea").await, "hot");
    stage.faults.calm();
    assert_eq!(stage.says(BOB, ".rem tea").await, "hot");
    stale();
    stage.says(BOB, ".rem tea").await;
    stage.says(ANN, ".mem edit tea is cold").await;
    assert_eq!(stage.says(BOB, ".rem tea").await, "cold");
}

#[tokio::test]
async fn a_list_survives_changes_while_it_is_read() {
    let stage = Stage::new().await;
    let other = stage.elsewhere();
    for round in 0..20 {
        stage.clock.advance(Duration::from_secs(11));
        let (call, set) = (other.call(ANN), format!(".rem round {round} is x"));
        let (lists, dynamo) = (call.lists(), other.dynamo());
        let (list, told) = tokio::join!(lists.current(dynamo, SERVER), other.says(ANN, &set));
        assert!(told.starts_with("✅"), "{told}");
        let known = lists.loaded(SERVER).unwrap();
        assert_eq!(known.memories().count(), round + 1, "an own change is there at once");
        assert!(list.unwrap().memories().count() >= round);
    }
}

#[tokio::test]
async fn a_partition_of_several_pages_is_listed_whole() {
    let stage = Stage::new().await;
    for n in 0..12 {
        // The original bot had no limit; a page of the store ends at 1 MB.
        stage.adopt(&format!("key {n:03}"), &"v".repeat(100_000)).await;
    }
    let list = stage.elsewhere().says(ANN, ".mem list").await;
    assert!(list.starts_with("[📒 What I remember (12)]"), "{}", &list[..100]);
}

#[tokio::test]
async fn undoing_is_cheap_enough() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem tea is hot").await;
    stage.says(ANN, ".mem edit tea is cold").await;
    let (told, units) = stage.cost(ANN, ".mem undo").await;
    println!("{told}: {units:?}");
    assert!(told.starts_with("↩️") && units.write <= 5.0, "{units:?}");
}

#[tokio::test]
async fn commands_cost_what_the_catalogue_says() {
    let stage = Stage::new().await;
    stage.says(ANN, ".rem warm is up").await;
    let within = |line: &str, units: Units, read: f64, write: f64| {
        assert!(units.read <= read && units.write <= write, "{line} cost {units:?}");
    };
    for (line, read, write) in [
        (".rem tea is hot", 2.0, 5.0),
        (".rem tea", 0.5, 0.0),
        (".rem cup", 1.5, 0.0),
        (".mem alias chai = tea", 2.5, 5.0),
        (".rem chai", 1.0, 0.0),
        (".mem edit tea is warm", 2.5, 5.0),
        (".mem append tea is x", 2.5, 5.0),
        (".mem info tea", 1.5, 0.0),
        (".mem history tea", 1.5, 0.0),
        (".mem show tea at 1 second ago", 1.5, 0.0),
        (".mem random", 0.5, 0.0),
        (".mem restore tea 1", 2.5, 5.0),
        (".forget chai", 2.5, 5.0),
        (".mem undo tea", 2.5, 5.0),
        (".mem edit tea is cold", 2.5, 5.0),
        (".mem undo", 2.5, 5.0),
        (".mem lock tea", 2.5, 5.0),
        (".mem raw tea", 0.5, 0.0),
    ] {
        // So that no list needs to be looked after in between.
        stage.call(ANN).lists().current(stage.dynamo(), SERVER).await.unwrap();
        let (told, units) = stage.cost(MOD, line).await;
        println!("{line}: {units:?} {told}");
        within(line, units, read, write);
    }
    let set = [("key", text_of("slash")), ("value", text_of("x"))];
    let (_, units) = measured(stage.slash(ANN, "rem set", &set)).await;
    within("/rem set", units, 1.0, 5.0);
    stage.adopt("old", "text").await;
    within(".mem edit old", stage.cost(ANN, ".mem edit old is new").await.1, 2.5, 7.0);
}

/// Chance from a seed that is printed, and can be given again as `MNEME_TEST_SEED`.
pub fn seeded() -> StdRng {
    let given = std::env::var("MNEME_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| rand::rng().random());
    println!("MNEME_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Text of up to `max` characters from all of Unicode, and often from where it is difficult.
pub fn random_text(random: &mut StdRng, max: usize) -> String {
    const DIFFICULT: [(u32, u32); 9] = [
        (0x20, 0x7E),
        (0x80, 0x24F),
        (0x300, 0x36F),
        (0x370, 0x3FF),
        (0x5D0, 0x6FF),
        (0x1F00, 0x200F),
        (0x2028, 0x206F),
        (0xAC00, 0xFFFF),
        (0x1F300, 0x1F9FF),
    ];
    const MARKS: [char; 12] = ['"', '`', '“', '”', '„', '«', '»', ' ', '\n', '＂', '｀', '\u{200B}'];
    let length = random.random_range(0..=max);
    let mut one = || match random.random_range(0..10) {
        0 => random.random::<char>(),
        1..=3 => MARKS[random.random_range(0..MARKS.len())],
        _ => {
            let (first, last) = DIFFICULT[random.random_range(0..DIFFICULT.len())];
            char::from_u32(random.random_range(first..=last)).unwrap_or('x')
        }
    };
    (0..length).map(|_| one()).collect()
}
