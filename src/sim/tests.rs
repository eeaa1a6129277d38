//! The simulator serves an unmodified client: serenity connects, hears and answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use serenity::all::{
    ClientBuilder, Context, CreateMessage, EventHandler, GatewayIntents, HttpBuilder, Message, ShardManager,
    async_trait,
};

use super::{Act, Id, Seen, Simulator, World};
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
            .nonce(serenity::all::Nonce::String(format!("{}-0", message.id)))
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
        let (sim, token) = (&self.sim, self.sim.token());
        let http = HttpBuilder::new(&token).proxy(sim.url()).ratelimiter_disabled(true).build();
        let bot = http.get_bot_gateway().await.unwrap();
        let intents = GatewayIntents::GUILDS
            | GatewayIntents::GUILD_MESSAGES
            | GatewayIntents::DIRECT_MESSAGES
            | GatewayIntents::MESSAGE_CONTENT;
        let mut client = ClientBuilder::new_with_http(http, intents).event_handler(handler).await.unwrap();
        *client.ws_url.lock().await = bot.url;
        self.bot = Some(client.shard_manager.clone());
        self.tasks.spawn_job("client", async move { client.start().await.unwrap() });
    }

    /// Ends everything, and looks at what was recorded.
    async fn end(self) {
        if let Some(bot) = &self.bot {
            bot.shutdown_all().await;
        }
        self.tasks.stop();
        assert!(self.tasks.wait(PATIENCE).await);
        assert!(!self.tasks.failed());
        let records: Vec<String> = self.sim.records().iter().map(ToString::to_string).collect();
        assert!(records.is_empty(), "{}", records.join("\n"));
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
