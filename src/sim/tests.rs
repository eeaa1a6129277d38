//! The simulator serves an unmodified client: serenity connects, hears and answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serenity::all::{
    ActionRowComponent, AutocompleteChoice, ButtonStyle, Client, ClientBuilder, Command, CommandOptionType,
    Context, CreateActionRow, CreateAttachment, CreateAutocompleteResponse, CreateButton, CreateCommand,
    CreateCommandOption, CreateEmbed, CreateInputText, CreateInteractionResponse as Response,
    CreateInteractionResponseFollowup, CreateInteractionResponseMessage as Contents, CreateMessage,
    CreateModal, EditInteractionResponse, EventHandler, GatewayError, GatewayIntents, Guild, HttpBuilder,
    InputTextStyle, Interaction, Message, Nonce, Ready, ResumedEvent, ShardManager, async_trait,
};
use tokio::sync::mpsc;

use super::faults::ALWAYS;
use super::world::intent;
use super::{Act, Id, Record, RecordKind, Scope, Seen, Simulator, World};
use crate::tasks::Tasks;

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A small bot: answers every message of a person with an echo.
struct Echo;

#[async_trait]
impl EventHandler for Echo {
    async fn message(&self, ctx: Context, message: Message) {
        if message.author.bot {
            return;
        }
        let answer = CreateMessage::new()
            .content(format!("you said: {}", message.content))
            .reference_message(&message)
            .nonce(Nonce::String(format!("{}-0", message.id)))
            .enforce_nonce(true);
        message.channel_id.send_message(&ctx, answer).await.unwrap();
    }
}

struct Stage {
    tasks: Tasks,
    sim: Simulator,
    guild: Id,
    channel: Id,
    ann: Id,
    bot: Option<Arc<ShardManager>>,
}

impl Stage {
    async fn new() -> Self {
        let mut world = World::new(1);
        world.settings.heartbeat_ms = 1_000;
        let mut zoo = world.guild("zoo");
        let (guild, channel, ann) = (zoo.id(), zoo.channel("cats"), zoo.person("ann"));
        let tasks = Tasks::new();
        let sim = Simulator::start(world, ([127, 0, 0, 1], 0).into(), &tasks).await.unwrap();
        Self { tasks, sim, guild, channel, ann, bot: None }
    }

    /// Starts a client with this handler and waits until it is online.
    async fn with_bot(handler: impl EventHandler + 'static) -> Self {
        let mut stage = Self::new().await;
        let mut seen = stage.sim.watch(stage.ann);
        stage.connect(handler).await;
        assert_eq!(next(&mut seen, "BOT_ONLINE").await["online"], true);
        stage
    }

    async fn connect(&mut self, handler: impl EventHandler + 'static) {
        let mut client = self.client(handler).await;
        self.bot = Some(client.shard_manager.clone());
        self.tasks.spawn_job("client", async move {
            client.start().await.ok();
        });
    }

    async fn client(&self, handler: impl EventHandler + 'static) -> Client {
        let (sim, token) = (&self.sim, self.sim.token());
        let http = HttpBuilder::new(&token).proxy(sim.url()).ratelimiter_disabled(true).build();
        let bot = http.get_bot_gateway().await.unwrap();
        let application = http.get_current_application_info().await.unwrap();
        http.set_application_id(application.id);
        let intents = GatewayIntents::GUILDS
            | GatewayIntents::GUILD_MESSAGES
            | GatewayIntents::DIRECT_MESSAGES
            | GatewayIntents::MESSAGE_CONTENT;
        let client = ClientBuilder::new_with_http(http, intents).event_handler(handler).await.unwrap();
        *client.ws_url.lock().await = bot.url;
        client
    }

    fn say(&self, text: &str) -> Value {
        self.sim.act(self.ann, Act::say(self.channel, text)).unwrap()
    }

    /// Ends everything, and looks at what was recorded.
    async fn end(self) {
        let records = self.end_with_records().await;
        let records: Vec<String> = records.iter().map(ToString::to_string).collect();
        assert!(records.is_empty(), "{}", records.join("\n"));
    }

    async fn end_with_records(self) -> Vec<Record> {
        if let Some(bot) = &self.bot {
            bot.shutdown_all().await;
        }
        self.tasks.stop();
        assert!(self.tasks.wait(PATIENCE).await);
        assert!(!self.tasks.failed());
        self.sim.records()
    }
}

/// The next event of this name.
async fn next(seen: &mut Seen, name: &str) -> Value {
    let found = async {
        loop {
            let event = seen.next().await.unwrap();
            if event["t"] == name {
                return event["d"].clone();
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("no {name} came"))
}

/// The next message of the bot.
async fn answer(seen: &mut Seen) -> Value {
    loop {
        let message = next(seen, "MESSAGE_CREATE").await;
        if message["author"]["bot"] == true {
            return message;
        }
    }
}

#[tokio::test]
async fn a_real_client_hears_and_answers() {
    let stage = Stage::with_bot(Echo).await;
    let mut seen = stage.sim.watch(stage.ann);
    let said = stage.sim.act(stage.ann, Act::say(stage.channel, "tea is hot")).unwrap();
    let answer = answer(&mut seen).await;
    assert_eq!(answer["content"], "you said: tea is hot");
    assert_eq!(answer["message_reference"]["message_id"], said["message"]);
    assert_eq!(answer["guild_id"], stage.guild.to_string());
    let history = stage.sim.messages(stage.ann, stage.channel, None, 10);
    assert_eq!(
        history.iter().map(|m| m["content"].clone()).collect::<Vec<_>>(),
        [json!("tea is hot"), json!("you said: tea is hot")]
    );
    assert_eq!(stage.sim.calls("POST /channels/{c}/messages"), 1);
    stage.end().await;
}

/// Uses every kind of interaction once, and tells what it was sent.
struct Everything(mpsc::UnboundedSender<String>);

#[async_trait]
impl EventHandler for Everything {
    async fn ready(&self, ctx: Context, _: Ready) {
        let key = CreateCommandOption::new(CommandOptionType::String, "key", "what to keep").required(true);
        let file = CreateCommandOption::new(CommandOptionType::Attachment, "file", "a file");
        let commands = vec![
            CreateCommand::new("rem")
                .description("remember")
                .add_option(key.set_autocomplete(true))
                .add_option(file),
            CreateCommand::new("Remember this").kind(serenity::all::CommandType::Message),
        ];
        let made = Command::set_global_commands(&ctx, commands).await.unwrap();
        self.0.send(format!("{} commands", made.len())).unwrap();
    }

    async fn guild_create(&self, _: Context, guild: Guild, _: Option<bool>) {
        self.0.send(format!("guild {} with {} channel", guild.name, guild.channels.len())).unwrap();
    }

    async fn interaction_create(&self, ctx: Context, interaction: Interaction) {
        match interaction {
            Interaction::Command(command) if command.data.name == "rem" => {
                let file = command.data.resolved.attachments.values().next();
                let told = file.map(|file| format!(" with {} of {} bytes", file.filename, file.size));
                let options = command.data.options();
                self.0.send(format!("{:?}{}", options[0].value, told.unwrap_or_default())).unwrap();
                let button = CreateButton::new("edit:1").label("Edit").style(ButtonStyle::Secondary);
                let embed = CreateEmbed::new().title("tea").description("is hot");
                let contents =
                    Contents::new().embed(embed).components(vec![CreateActionRow::Buttons(vec![button])]);
                let file = CreateAttachment::bytes("leaves", "tea.txt");
                command.create_response(&ctx, Response::Message(contents.add_file(file))).await.unwrap();
            }
            Interaction::Command(menu) => {
                let target = menu.data.resolved.messages.values().next().unwrap();
                self.0.send(format!("menu on {}", target.content)).unwrap();
                menu.defer_ephemeral(&ctx).await.unwrap();
                menu.edit_response(&ctx, EditInteractionResponse::new().content("kept")).await.unwrap();
                let more = CreateInteractionResponseFollowup::new().content("more").ephemeral(true);
                menu.create_followup(&ctx, more).await.unwrap();
                menu.delete_response(&ctx).await.unwrap();
            }
            Interaction::Autocomplete(typing) => {
                let typed = typing.data.autocomplete().unwrap().value;
                let choices = vec![AutocompleteChoice::new(format!("{typed}a"), format!("{typed}a"))];
                let choices = CreateAutocompleteResponse::new().set_choices(choices);
                typing.create_response(&ctx, Response::Autocomplete(choices)).await.unwrap();
            }
            Interaction::Component(press) => {
                self.0
                    .send(format!("pressed {} on {:?}", press.data.custom_id, press.message.embeds[0].title))
                    .unwrap();
                let input = CreateInputText::new(InputTextStyle::Paragraph, "Text", "text").value("is hot");
                let modal =
                    CreateModal::new("edit:1", "Edit").components(vec![CreateActionRow::InputText(input)]);
                press.create_response(&ctx, Response::Modal(modal)).await.unwrap();
            }
            Interaction::Modal(form) => {
                let ActionRowComponent::InputText(input) = &form.data.components[0].components[0] else {
                    panic!()
                };
                self.0.send(format!("form says {}", input.value.as_deref().unwrap())).unwrap();
                let contents = Contents::new().content("changed").embeds(vec![]).components(vec![]);
                form.create_response(&ctx, Response::UpdateMessage(contents)).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

async fn told(receiver: &mut mpsc::UnboundedReceiver<String>) -> String {
    tokio::time::timeout(PATIENCE, receiver.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_real_client_understands_every_interaction() {
    let (sender, mut bot) = mpsc::unbounded_channel();
    let stage = Stage::with_bot(Everything(sender)).await;
    let (ann, channel) = (stage.ann, stage.channel);
    let mut seen = stage.sim.watch(ann);
    let mut first = [told(&mut bot).await, told(&mut bot).await];
    first.sort();
    assert_eq!(first, ["2 commands", "guild zoo with 1 channel"]);

    let command = "rem".to_owned();
    let typed = json!([{"name": "key", "type": 3, "value": "te", "focused": true}]);
    stage.sim.act(ann, Act::Autocomplete { channel, command: command.clone(), options: typed }).unwrap();
    assert_eq!(next(&mut seen, "AUTOCOMPLETE").await["choices"][0]["value"], "tea");

    let data = b"green".to_vec();
    let files =
        vec![super::File { name: "leaf.txt".to_owned(), content_type: "text/plain".to_owned(), data }];
    let options =
        json!([{"name": "key", "type": 3, "value": "tea"}, {"name": "file", "type": 11, "value": 0}]);
    stage.sim.act(ann, Act::Slash { channel, command, options, files }).unwrap();
    assert_eq!(told(&mut bot).await, "String(\"tea\") with leaf.txt of 5 bytes");
    let message = answer(&mut seen).await;
    assert_eq!(message["attachments"][0]["content_type"], "text/plain");
    let url = message["attachments"][0]["url"].as_str().unwrap();
    assert_eq!(reqwest::get(url).await.unwrap().text().await.unwrap(), "leaves");

    let message: Id = message["id"].as_str().unwrap().parse().unwrap();
    stage
        .sim
        .act(ann, Act::Press { channel, message, custom_id: "edit:1".to_owned(), values: vec![] })
        .unwrap();
    assert_eq!(told(&mut bot).await, "pressed edit:1 on Some(\"tea\")");
    let modal = next(&mut seen, "MODAL").await;
    assert_eq!(modal["components"][0]["components"][0]["value"], "is hot");
    let inputs = [("text".to_owned(), "is cold".to_owned())].into();
    let interaction = modal["interaction"].as_str().unwrap().parse().unwrap();
    stage.sim.act(ann, Act::Submit { interaction, inputs }).unwrap();
    assert_eq!(told(&mut bot).await, "form says is cold");
    let changed = next(&mut seen, "MESSAGE_UPDATE").await;
    assert_eq!((&changed["content"], &changed["components"]), (&json!("changed"), &json!([])));

    stage.sim.act(ann, Act::Menu { channel, message, command: "Remember this".to_owned() }).unwrap();
    assert_eq!(told(&mut bot).await, "menu on changed");
    while next(&mut seen, "INTERACTION").await["state"] != "thinking" {}
    assert_eq!(answer(&mut seen).await["content"], "kept");
    assert_eq!(answer(&mut seen).await["content"], "more");
    next(&mut seen, "MESSAGE_DELETE").await;
    stage.end().await;
}

#[tokio::test]
async fn a_lost_reply_has_taken_effect() {
    let stage = Stage::new().await;
    stage.sim.faults().lose_reply("POST /channels/{c}/messages", 1);
    let http = HttpBuilder::new(stage.sim.token()).proxy(stage.sim.url()).ratelimiter_disabled(true).build();
    let body = json!({"content": "hi", "nonce": "1-0", "enforce_nonce": true});
    let send = || http.send_message(stage.channel.into(), vec![], &body);
    let lost = send().await.unwrap_err();
    let serenity::Error::Http(serenity::all::HttpError::Request(error)) = &lost else { panic!("{lost:?}") };
    assert!(error.is_request(), "{error:?}");
    let message = send().await.unwrap();
    assert_eq!(message.content, "hi");
    assert_eq!(stage.sim.messages(stage.ann, stage.channel, None, 10).len(), 1);
    assert_eq!(stage.sim.calls("POST /channels/{c}/messages"), 2);
    stage.end().await;
}

#[tokio::test]
async fn calls_fail_as_they_are_told_to() {
    let stage = Stage::new().await;
    let faults = stage.sim.faults();
    let call = async || {
        let url = format!("{}/api/v10/users/@me", stage.sim.url());
        let authorization = format!("Bot {}", stage.sim.token());
        let request = reqwest::Client::new().get(url).header("Authorization", authorization);
        request.timeout(Duration::from_millis(500)).send().await
    };
    faults.fail("GET /users/@me", 1, 502, "<html>bad gateway</html>");
    faults.rate_limit("GET /users/@me", 1, Duration::from_millis(1_500), Scope::Global);
    faults.hang("GET /users/@me", 1);
    let bad = call().await.unwrap();
    assert_eq!(
        (bad.status().as_u16(), bad.text().await.unwrap().as_str()),
        (502, "<html>bad gateway</html>")
    );
    let limited = call().await.unwrap();
    assert_eq!(limited.status().as_u16(), 429);
    assert_eq!(limited.headers()["retry-after"], "2");
    assert_eq!(limited.headers()["x-ratelimit-scope"], "global");
    assert!(call().await.unwrap_err().is_timeout());
    assert_eq!(call().await.unwrap().headers()["x-ratelimit-limit"], "50");
    faults.reset_token();
    let url = format!("{}/api/v10/users/@me", stage.sim.url());
    assert_eq!(reqwest::get(url).await.unwrap().status().as_u16(), 401);
    let kinds: Vec<RecordKind> = stage.end_with_records().await.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [RecordKind::Refused]);
}

/// Tells of every message, READY and RESUMED.
struct Listener(mpsc::UnboundedSender<String>);

#[async_trait]
impl EventHandler for Listener {
    async fn ready(&self, _: Context, _: Ready) {
        self.0.send("READY".to_owned()).unwrap();
    }

    async fn resume(&self, _: Context, _: ResumedEvent) {
        self.0.send("RESUMED".to_owned()).unwrap();
    }

    async fn message(&self, _: Context, message: Message) {
        self.0.send(message.content).unwrap();
    }
}

async fn listening() -> (Stage, mpsc::UnboundedReceiver<String>) {
    let (sender, mut bot) = mpsc::unbounded_channel();
    let stage = Stage::with_bot(Listener(sender)).await;
    assert_eq!(told(&mut bot).await, "READY");
    (stage, bot)
}

/// Two things that are told in any order, as serenity gives every event a task of its own.
async fn both(bot: &mut mpsc::UnboundedReceiver<String>) -> [String; 2] {
    let mut both = [told(bot).await, told(bot).await];
    both.sort();
    both
}

#[tokio::test]
async fn a_client_resumes_after_a_cut_a_close_and_an_op_7() {
    let (stage, mut bot) = listening().await;
    let faults = stage.sim.faults();
    let breaks: [&dyn Fn() -> usize; 4] =
        [&|| faults.cut(), &|| faults.hang_up(), &|| faults.close(4000), &|| faults.reconnect()];
    for (round, interrupt) in breaks.iter().enumerate() {
        assert_eq!(interrupt(), 1);
        let text = format!("during {round}");
        stage.say(&text);
        assert_eq!(both(&mut bot).await, ["RESUMED".to_owned(), text]);
    }
    stage.end().await;
}

#[tokio::test]
async fn a_replayed_event_comes_twice() {
    let (stage, mut bot) = listening().await;
    stage.say("once");
    assert_eq!(told(&mut bot).await, "once");
    stage.sim.faults().replay(1);
    stage.sim.faults().reconnect();
    assert_eq!(both(&mut bot).await, ["RESUMED", "once"]);
    stage.sim.faults().duplicate(1.0);
    stage.say("twice");
    assert_eq!(both(&mut bot).await, ["twice", "twice"]);
    stage.end().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_resumed_begins_anew() {
    let (stage, mut bot) = listening().await;
    stage.sim.faults().refuse_resume(1);
    stage.sim.faults().reconnect();
    assert_eq!(told(&mut bot).await, "READY");
    stage.sim.faults().invalidate(false);
    assert_eq!(told(&mut bot).await, "READY");
    stage.end().await;
}

#[tokio::test]
async fn a_zombie_delivers_nothing() {
    let (stage, mut bot) = listening().await;
    assert_eq!(stage.sim.faults().zombie(), 1);
    stage.say("lost");
    // The client notices at its second heartbeat and begins anew.
    assert_eq!(told(&mut bot).await, "READY");
    stage.say("heard");
    assert_eq!(told(&mut bot).await, "heard");
    stage.end().await;
}

#[tokio::test]
async fn what_serenity_cannot_parse_is_skipped() {
    let (stage, mut bot) = listening().await;
    stage.sim.faults().malformed("MESSAGE_CREATE");
    stage.sim.faults().garbage();
    stage.say("spoiled");
    stage.say("whole");
    assert_eq!(told(&mut bot).await, "whole");
    stage.end().await;
}

#[tokio::test]
async fn connections_are_refused_as_discord_does() {
    let stage = Stage::new().await;
    let (sender, _bot) = mpsc::unbounded_channel();
    let mut client = stage.client(Listener(sender)).await;
    stage.sim.faults().portal(intent::MESSAGE_CONTENT, false);
    let refused = client.start().await.unwrap_err();
    assert!(
        matches!(refused, serenity::Error::Gateway(GatewayError::DisallowedGatewayIntents)),
        "{refused:?}"
    );
    stage.sim.faults().refuse_upgrade(ALWAYS, 503);
    let url = format!("{}/?v=10", stage.sim.url());
    let upgrade = async || {
        let request =
            reqwest::Client::new().get(&url).header("Connection", "Upgrade").header("Upgrade", "websocket");
        let request = request
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
        request.timeout(Duration::from_millis(300)).send().await
    };
    assert_eq!(upgrade().await.unwrap().status().as_u16(), 503);
    stage.sim.faults().calm();
    stage.sim.faults().hang_upgrade(1);
    assert!(upgrade().await.unwrap_err().is_timeout());
    assert_eq!(upgrade().await.unwrap().status().as_u16(), 101);
    let kinds: Vec<RecordKind> = stage.end_with_records().await.iter().map(|record| record.kind).collect();
    assert_eq!(kinds, [RecordKind::Closed]);
}

#[tokio::test]
async fn channels_overtake_each_other_and_one_channel_keeps_its_order() {
    let stage = Stage::new().await;
    let dogs = stage.sim.change(|world| world.guild("zoo").channel("dogs"));
    let (sender, mut bot) = mpsc::unbounded_channel();
    let mut stage = stage;
    stage.connect(Raw(sender)).await;
    while told(&mut bot).await != "ready" {}
    stage.sim.faults().reorder(0.5);
    println!("seed {}", stage.sim.read(World::seed));
    for n in 100..200 {
        stage.say(&format!("{n}"));
        stage.sim.act(stage.ann, Act::say(dogs, format!("{n}"))).unwrap();
    }
    let mut orders = std::collections::BTreeMap::<String, Vec<String>>::new();
    let mut all = Vec::new();
    for _ in 0..200 {
        let event = told(&mut bot).await;
        let (channel, text) = event.split_once(' ').unwrap();
        orders.entry(channel.to_owned()).or_default().push(text.to_owned());
        all.push(text.to_owned());
    }
    assert!(!all.is_sorted(), "nothing was overtaken");
    assert_eq!(orders.len(), 2);
    for order in orders.values() {
        assert!(order.is_sorted(), "{order:?}");
    }
    stage.end().await;
}

/// Tells of messages in the order in which they arrive, before serenity gives each a task.
struct Raw(mpsc::UnboundedSender<String>);

#[async_trait]
impl EventHandler for Raw {
    async fn ready(&self, ctx: Context, _: Ready) {
        let sender = self.0.clone();
        let collect = serenity::collector::collect(&ctx.shard, move |event| match event {
            serenity::all::Event::MessageCreate(event) => {
                sender.send(format!("{} {}", event.message.channel_id, event.message.content)).ok()
            }
            _ => None,
        });
        self.0.send("ready".to_owned()).unwrap();
        futures::StreamExt::for_each(collect, |()| async {}).await;
    }
}

/// After a close frame without a code serenity polls the dead socket until its next heartbeat fails, and
/// then begins anew; on one thread nothing else would run meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_an_empty_close_frame_a_session_begins_anew() {
    let (stage, mut bot) = listening().await;
    assert_eq!(stage.sim.faults().close_empty(), 1);
    stage.say("lost");
    assert_eq!(told(&mut bot).await, "READY");
    stage.end().await;
}
