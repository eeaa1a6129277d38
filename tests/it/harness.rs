//! A simulated Discord, bots of ours and an embedded store, joined over loopback.
//!
//! A test reads like a chat log: `ann.says(".rem wifi").await` is what the bot answered. Every wait is for
//! an event and has a limit; nothing here waits for time. A test ends with [`Discord::end`], which fails on
//! whatever the simulated Discord does not expect of a bot.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, BoxStream, StreamExt};
use mneme::bot::{self, Exit, Patience};
use mneme::clock::Clock;
use mneme::context::Instance;
use mneme::dynamo::connect::{Connected, Store, StoreConfig, connect};
use mneme::dynamo::embedded::Embedded;
use mneme::dynamo::faults::Faults;
use mneme::dynamo::testing::over;
use mneme::sim::{Act, ActError, File, Id, Record, Seen, Simulator, World};
use mneme::tasks::Tasks;
use mneme::{dynamo, playground, run, tables, telemetry};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

/// The seed of a test's chance, printed so that a failure can be had again: `MNEME_TEST_SEED=…`.
pub fn seed(usual: u64) -> u64 {
    let seed = number("MNEME_TEST_SEED").unwrap_or(usual);
    println!("MNEME_TEST_SEED={seed}");
    seed
}

/// How often something is tried; the variable `MNEME_ROUNDS` multiplies it.
pub fn rounds(usual: usize) -> usize {
    usual * number("MNEME_ROUNDS").unwrap_or(1)
}

/// What a variable says, if it is set.
pub fn number<N: std::str::FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Longer than anything takes on a busy machine: a test that gets here has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Discord's flag for an answer that is still being worked on.
const LOADING: u64 = 1 << 7;
pub const EPHEMERAL: u64 = 1 << 6;

/// A simulated Discord and the tasks that serve it.
pub struct Discord {
    pub simulator: Simulator,
    tasks: Tasks,
}

/// One instance of the bot in this process.
pub struct Bot {
    tasks: Tasks,
    running: JoinHandle<anyhow::Result<Exit>>,
}

/// Everything for most tests: a Discord and one bot with an empty store in memory.
pub struct Stage {
    pub discord: Discord,
    pub bot: Bot,
}

pub fn instance() -> Instance {
    Instance { default_prefix: ".".into(), max_memories: 10_000, ..Instance::default() }
}

/// An empty store in memory, with all tables; with the variable `MNEME_TEST_ENDPOINT`, on the engine at that address.
pub async fn memory() -> Connected {
    match std::env::var("MNEME_TEST_ENDPOINT") {
        Ok(url) => empty(Store::Endpoint { url, region: None }).await,
        Err(_) => empty(Store::Memory).await,
    }
}

/// All tables, empty, in a store that may have others.
pub async fn empty(store: Store) -> Connected {
    static STORES: AtomicU32 = AtomicU32::new(0);
    let mut config = StoreConfig::new(store);
    config.table_prefix = format!("it-{}-{}-", std::process::id(), STORES.fetch_add(1, Ordering::Relaxed));
    if matches!(config.store, Store::Endpoint { .. }) {
        // What is asked is what the bot replies, not how busy the machine is.
        let patience = dynamo::Patience::DEFAULT;
        config.patience =
            dynamo::Patience { attempt: PATIENCE, request: PATIENCE, confirm_for: PATIENCE, ..patience };
    }
    let connected = connect(config).await.expect("the store opens");
    connected.dynamo.create_tables(&tables::all()).await.expect("a new prefix takes new tables");
    connected
}

/// A stage with the servers `zoo` (channels `cats` and `dogs`, owner `olga`, moderator `mo`) and `farm`.
pub async fn start() -> Stage {
    let discord = Discord::start().await;
    let bot = discord.bot(memory().await, instance()).await;
    Stage { discord, bot }
}

/// The same in a world of the test's own, with a bot that does not wait long.
pub async fn start_impatient(world: World) -> Stage {
    let discord = Discord::with(world).await;
    let bot = discord.bot_with(discord.impatient(), memory().await, instance()).await;
    Stage { discord, bot }
}

/// A handle to an engine, by a clock that is ahead by this much, as an instance on another machine has it.
pub fn store_ahead(engine: &Embedded, ahead: Duration) -> Connected {
    Connected {
        dynamo: over(engine, Clock::ahead(ahead), &Faults::new()),
        embedded: Some(engine.clone()),
        way: None,
        description: "embedded (in memory)".into(),
    }
}

/// The world that tests play in.
pub fn world() -> World {
    world_of(7)
}

/// The same, with weather from this seed.
pub fn world_of(seed: u64) -> World {
    let mut world = World::new(seed);
    world.settings.rate_limits = false;
    for name in ["zoo", "farm"] {
        people_server(&mut world, name);
    }
    world
}

/// A server with the usual channels and people, unless it is there.
pub fn people_server(world: &mut World, name: &str) {
    let is_new = world.find_guild(name).is_none();
    let mut guild = world.guild(name);
    for channel in ["cats", "dogs"] {
        guild.channel(channel);
    }
    for person in ["ann", "bob", "mo", "olga"] {
        guild.person(person);
    }
    if is_new {
        let (mo, olga) = (guild.person("mo"), guild.person("olga"));
        guild.owner(olga);
        let moderator = guild.role("moderator", MANAGE_MESSAGES);
        guild.grant(mo, moderator);
    }
}

const MANAGE_MESSAGES: u64 = 1 << 13;

impl Discord {
    pub async fn start() -> Self {
        Self::with(world()).await
    }

    /// The same in a world of the test's own. With the variable `LOG` set, the log is shown.
    pub async fn with(world: World) -> Self {
        if let Ok(filter) = std::env::var("LOG") {
            // Only the first of several tests in one process can start it.
            let _ = telemetry::start(&filter, false);
        }
        let tasks = Tasks::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let simulator = Simulator::start(world, address, &tasks).await.expect("a free port on loopback");
        Self { simulator, tasks }
    }

    /// Starts a bot and waits until it is connected.
    pub async fn bot(&self, connected: Connected, instance: Instance) -> Bot {
        self.bot_with(self.settings(Patience::default()), connected, instance).await
    }

    fn settings(&self, patience: Patience) -> bot::Settings {
        // IDENTIFYs are counted by process, and a process of tests starts many bots.
        let patience = Patience { identifies: (usize::MAX / 2, Duration::ZERO), ..patience };
        bot::Settings { patience, ..playground::bot_settings(&self.simulator) }
    }

    pub async fn bot_with(&self, settings: bot::Settings, connected: Connected, instance: Instance) -> Bot {
        let mut seen = self.simulator.watch(self.id("ann"));
        let before = self.simulator.read(World::sessions_online);
        let bot = self.launch(settings, connected, instance);
        self.connected(&mut seen, before).await;
        bot
    }

    /// The same with what its configuration may have.
    pub async fn bot_of(&self, connected: Connected, instance: Instance, parts: run::Parts) -> Bot {
        let mut seen = self.simulator.watch(self.id("ann"));
        let before = self.simulator.read(World::sessions_online);
        let bot = self.launch_with(self.settings(Patience::default()), connected, instance, None, parts);
        self.connected(&mut seen, before).await;
        bot
    }

    /// Starts a bot and waits for nothing.
    pub fn launch(&self, settings: bot::Settings, connected: Connected, instance: Instance) -> Bot {
        self.launch_with(settings, connected, instance, None, run::Parts::default())
    }

    pub fn launch_with(
        &self,
        settings: bot::Settings,
        connected: Connected,
        instance: Instance,
        http: Option<run::Http>,
        parts: run::Parts,
    ) -> Bot {
        let tasks = Tasks::new();
        let inner = tasks.clone();
        let running =
            tokio::spawn(async move { run::join(&settings, connected, instance, parts, http, &inner).await });
        Bot { tasks, running }
    }

    /// A bot that is connected, and what it counts.
    pub async fn bot_that_counts(&self) -> (Bot, Counters) {
        let mut seen = self.simulator.watch(self.id("ann"));
        let address = free_address();
        let settings = self.settings(Patience::default());
        let (http, parts) = (Some(run::Http::here(address)), run::Parts::default());
        let bot = self.launch_with(settings, memory().await, instance(), http, parts);
        self.connected(&mut seen, 0).await;
        (bot, Counters(address))
    }

    /// How a bot joins that waits for less long than one on Discord before it helps itself.
    pub fn impatient(&self) -> bot::Settings {
        let heartbeat = Duration::from_millis(self.simulator.read(|world| world.settings.heartbeat_ms));
        self.settings(Patience {
            // serenity alone takes five seconds between two IDENTIFYs.
            connected: Duration::from_secs(8),
            acknowledged: heartbeat.mul_f64(2.5) + Duration::from_secs(1),
            request: Duration::from_secs(2),
            retry: (Duration::from_millis(50), Duration::from_millis(200)),
            operator: Duration::ZERO,
            ..Patience::default()
        })
    }

    /// Waits until the world is like this; looks at it whenever something is seen.
    pub async fn until(&self, seen: &mut Seen, condition: impl Fn(&World) -> bool) {
        let wait = async {
            while !self.simulator.read(&condition) {
                seen.next().await.expect("the simulator runs");
            }
        };
        timeout(PATIENCE, wait).await.expect("it comes to that");
    }

    /// Waits until so many calls of a route have arrived.
    pub async fn called(&self, route: &str, times: u64) {
        let mut looks = interval(Duration::from_millis(5));
        let wait = async {
            while self.simulator.calls(route) < times {
                looks.tick().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the bot calls");
    }

    /// Waits until more sessions than `before` are online and the slash commands are there.
    pub async fn connected(&self, seen: &mut Seen, before: usize) {
        let ready = || {
            self.simulator.read(World::sessions_online) > before
                && !self.simulator.view(self.id("ann"))["commands"].as_array().is_none_or(Vec::is_empty)
        };
        let wait = async {
            while !ready() {
                seen.next().await.expect("the simulator runs");
            }
        };
        timeout(PATIENCE, wait).await.expect("the bot connects");
    }

    pub fn id(&self, name: &str) -> Id {
        self.simulator.change(|world| world.person(name))
    }

    /// Somebody in a channel of a server.
    pub fn person(&self, server: &str, channel: &str, name: &str) -> Person<'_> {
        let (channel, id) = self.simulator.change(|world| {
            let mut guild = world.guild(server);
            (guild.channel(channel), guild.person(name))
        });
        Person { discord: self, id, channel }
    }

    /// Somebody in their direct messages with the bot.
    pub fn direct(&self, name: &str) -> Person<'_> {
        let id = self.id(name);
        let channel = self.simulator.change(|world| world.direct(id));
        Person { discord: self, id, channel }
    }

    /// Ends the simulator and fails on what it did not expect of a bot.
    pub async fn end(self) {
        self.end_despite(|_| false).await;
    }

    /// The same for a test that expects some of it.
    pub async fn end_despite(self, expected: impl Fn(&Record) -> bool) {
        let mut records = self.simulator.take_records();
        records.retain(|record| !expected(record));
        self.tasks.stop();
        assert!(self.tasks.wait(PATIENCE).await, "the simulator ends");
        let shown: Vec<String> = records.iter().map(ToString::to_string).collect();
        assert!(shown.is_empty(), "the bot did what it should not:\n{}", shown.join("\n"));
    }
}

/// An address on loopback that was free a moment ago.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The page of a bot's metrics.
pub struct Counters(pub SocketAddr);

impl Counters {
    pub async fn text(&self) -> reqwest::Result<String> {
        reqwest::get(format!("http://{}/metrics", self.0)).await?.text().await
    }

    /// Waits until the sum of a metric, over all its labels, is at least so much, and gives it.
    pub async fn reach(&self, metric: &str, least: u64) -> u64 {
        self.reach_where(metric, "", least).await
    }

    /// The same over those lines that have these words. The bot may not be there yet.
    pub async fn reach_where(&self, metric: &str, words: &str, least: u64) -> u64 {
        let mut looks = interval(Duration::from_millis(5));
        let reached = async {
            loop {
                looks.tick().await;
                let Ok(text) = self.text().await else { continue };
                let ours = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
                let ours = ours.filter(|line| line.contains(words));
                let sum =
                    ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64;
                if sum >= least {
                    return sum;
                }
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{metric} reaches {least}"))
    }
}

impl Bot {
    /// Asks the bot to end and waits until it has.
    pub async fn stop(self) -> Exit {
        self.tasks.stop();
        self.ended().await
    }

    /// Ends the bot in the middle of whatever it does.
    pub async fn kill(self) {
        self.running.abort();
        let ended = timeout(PATIENCE, self.running).await.expect("the bot ends");
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        self.tasks.stop();
    }

    /// Waits until the bot has ended by itself.
    pub async fn ended(self) -> Exit {
        let ended = timeout(PATIENCE, self.running).await.expect("the bot ends");
        ended.expect("the bot does not panic").expect("the bot ends in order")
    }
}

impl Stage {
    pub fn person(&self, server: &str, channel: &str, name: &str) -> Person<'_> {
        self.discord.person(server, channel, name)
    }

    pub async fn end(self) {
        self.end_despite(|_| false).await;
    }

    /// The same for a test that expects some of what the simulator does not.
    pub async fn end_despite(self, expected: impl Fn(&Record) -> bool) {
        assert_eq!(self.bot.stop().await, Exit::Asked);
        self.discord.end_despite(expected).await;
    }
}

/// Somebody, somewhere.
#[derive(Clone, Copy)]
pub struct Person<'a> {
    pub discord: &'a Discord,
    pub id: Id,
    pub channel: Id,
}

/// An answer of the bot, as the person sees it.
#[derive(Clone, Debug)]
pub struct Answer(pub Value);

impl Answer {
    /// What there is to read: text, then the card.
    pub fn text(&self) -> String {
        let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut parts = vec![part(&self.0["content"])];
        for card in self.0["embeds"].as_array().into_iter().flatten() {
            parts.extend([part(&card["title"]), part(&card["description"]), part(&card["footer"]["text"])]);
        }
        parts.retain(|part| !part.is_empty());
        parts.join("\n")
    }

    pub fn id(&self) -> Id {
        id(&self.0["id"])
    }

    /// The bytes of its files.
    pub async fn files(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        for file in self.0["attachments"].as_array().into_iter().flatten() {
            let url = file["url"].as_str().expect("a file has an address");
            let bytes = reqwest::get(url).await.expect("it is there").bytes().await.expect("it is whole");
            all.push(bytes.to_vec());
        }
        all
    }

    pub fn is_private(&self) -> bool {
        self.0["flags"].as_u64().unwrap_or(0) & EPHEMERAL != 0
    }

    /// What the buttons say.
    pub fn labels(&self) -> Vec<&str> {
        self.controls().filter_map(|control| control["label"].as_str()).collect()
    }

    fn controls(&self) -> impl Iterator<Item = &Value> {
        let rows = self.0["components"].as_array().into_iter().flatten();
        rows.flat_map(|row| row["components"].as_array().into_iter().flatten())
    }

    /// The `custom_id` of the button or menu with this label or placeholder.
    pub fn control(&self, label: &str) -> String {
        let found = self.controls().find(|c| c["label"] == label || c["placeholder"] == label);
        let found = found.unwrap_or_else(|| panic!("no {label:?} in {}", self.0));
        found["custom_id"].as_str().expect("a control has an id").to_owned()
    }
}

/// A text whose times are all the same: `<t:1900000000:R>` is `<t>`.
pub fn without_times(text: &str) -> String {
    let mut plain = String::new();
    for (place, piece) in text.split("<t:").enumerate() {
        let after = if place == 0 { piece } else { piece.split_once('>').map_or("", |(_, after)| after) };
        plain.push_str(if place == 0 { "" } else { "<t>" });
        plain.push_str(after);
    }
    plain
}

pub fn id(value: &Value) -> Id {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no id"))
}

impl Person<'_> {
    fn simulator(&self) -> &Simulator {
        &self.discord.simulator
    }

    pub fn watch(&self) -> Seen {
        self.simulator().watch(self.id)
    }

    pub fn act(&self, act: Act) -> Result<Value, ActError> {
        self.simulator().act(self.id, act)
    }

    fn slash_act(&self, path: &str, options: &[(&str, Value)]) -> Act {
        let (command, options, files) = nested(path, options, None);
        Act::Slash { channel: self.channel, command, options, files }
    }

    /// Uses a slash command, and waits for nothing.
    pub fn call(&self, path: &str, options: &[(&str, Value)]) -> Id {
        let act = self.slash_act(path, options);
        id(&self.act(act).unwrap_or_else(|error| panic!("/{path}: {error:?}"))["interaction"])
    }

    /// Says something, and waits for nothing.
    pub fn say(&self, text: &str) -> Id {
        self.say_with(text, Vec::new())
    }

    /// The same, with files.
    pub fn say_with(&self, text: &str, files: Vec<File>) -> Id {
        let text = text.to_owned();
        let act = Act::Say { channel: self.channel, text, reply_to: None, ping: true, files };
        id(&self.act(act).expect("people may speak here")["message"])
    }

    /// What the bot answers, to read.
    pub async fn says(&self, text: &str) -> String {
        self.asks(text).await.text()
    }

    /// What the bot answers, whole.
    pub async fn asks(&self, text: &str) -> Answer {
        self.asks_with(text, Vec::new()).await
    }

    /// The same with files in the question.
    pub async fn asks_with(&self, text: &str, files: Vec<File>) -> Answer {
        let mut seen = self.watch();
        let said = self.say_with(text, files);
        self.answer_to(&mut seen, said).await
    }

    /// Waits for the reply to a message.
    pub async fn answer_to(&self, seen: &mut Seen, said: Id) -> Answer {
        let said = said.to_string();
        wait(seen, |t, d| t == "MESSAGE_CREATE" && d["message_reference"]["message_id"] == said).await
    }

    /// A slash command by its path, `rem set`; a user option is `{"user": id}`, a channel `{"channel": id}`.
    pub async fn slash(&self, path: &str, options: &[(&str, Value)]) -> Answer {
        let mut seen = self.watch();
        let interaction = self.call(path, options);
        self.response(&mut seen, interaction, None).await
    }

    /// The same, unless their client does not show the command or takes these options.
    pub async fn tries_slash(&self, path: &str, options: &[(&str, Value)]) -> Option<Answer> {
        let mut seen = self.watch();
        let interaction = id(&self.act(self.slash_act(path, options)).ok()?["interaction"]);
        Some(self.response(&mut seen, interaction, None).await)
    }

    /// The suggestions while somebody types into an option.
    pub async fn types(&self, path: &str, option: &str, text: &str) -> Vec<String> {
        let mut seen = self.watch();
        let (command, options, _) = nested(path, &[(option, json!(text))], Some(option));
        let act = Act::Autocomplete { channel: self.channel, command, options };
        let interaction = self.act(act).expect("the option suggests")["interaction"].clone();
        let found = wait(&mut seen, |t, d| t == "AUTOCOMPLETE" && d["interaction"] == interaction).await;
        let choices = found.0["choices"].as_array().into_iter().flatten();
        choices.map(|choice| choice["name"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Presses a button of an answer.
    pub async fn presses(&self, answer: &Answer, label: &str) -> Answer {
        self.uses(answer, label, Vec::new()).await
    }

    /// Chooses in a select menu of an answer.
    pub async fn chooses(&self, answer: &Answer, placeholder: &str, value: &str) -> Answer {
        self.uses(answer, placeholder, vec![value.to_owned()]).await
    }

    async fn uses(&self, answer: &Answer, label: &str, values: Vec<String>) -> Answer {
        let mut seen = self.watch();
        let custom_id = answer.control(label);
        let act = Act::Press { channel: self.channel, message: answer.id(), custom_id, values };
        let interaction = id(&self.act(act).expect("the control is there")["interaction"]);
        self.response(&mut seen, interaction, Some(answer.id())).await
    }

    /// Opens a command in the menu of a message; the answer is the modal's interaction.
    pub async fn opens(&self, menu: &str, message: Id) -> Modal {
        let mut seen = self.watch();
        let act = Act::Menu { channel: self.channel, message, command: menu.to_owned() };
        let interaction = id(&self.act(act).expect("the menu is there")["interaction"]);
        self.modal(&mut seen, interaction).await
    }

    /// The same where it is refused.
    pub async fn opens_refused(&self, menu: &str, message: Id) -> Answer {
        let mut seen = self.watch();
        let act = Act::Menu { channel: self.channel, message, command: menu.to_owned() };
        let interaction = id(&self.act(act).expect("the menu is there")["interaction"]);
        self.response(&mut seen, interaction, None).await
    }

    /// A slash command that answers with a modal.
    pub async fn slash_for_modal(&self, path: &str, options: &[(&str, Value)]) -> Modal {
        let mut seen = self.watch();
        let interaction = self.call(path, options);
        self.modal(&mut seen, interaction).await
    }

    async fn modal(&self, seen: &mut Seen, interaction: Id) -> Modal {
        let wanted = interaction.to_string();
        let found = wait(seen, |t, d| t == "MODAL" && d["interaction"] == wanted).await;
        Modal { interaction, shown: found.0 }
    }

    pub async fn submits(&self, modal: &Modal, inputs: &[(&str, &str)]) -> Answer {
        let mut seen = self.watch();
        let inputs = inputs.iter().map(|(id, text)| ((*id).to_owned(), (*text).to_owned())).collect();
        let act = Act::Submit { interaction: modal.interaction, inputs };
        let interaction = id(&self.act(act).expect("the modal is open")["interaction"]);
        self.response(&mut seen, interaction, None).await
    }

    /// The finished answer to an interaction: a new message, or the pressed one updated.
    async fn response(&self, seen: &mut Seen, interaction: Id, pressed: Option<Id>) -> Answer {
        let (wanted, pressed) = (interaction.to_string(), pressed.map(|id| id.to_string()));
        wait(seen, |t, d| {
            assert!(
                !(t == "INTERACTION" && d["interaction"] == wanted && d["state"] == "failed"),
                "the interaction failed"
            );
            let done = d["flags"].as_u64().unwrap_or(0) & LOADING == 0;
            let made =
                matches!(t, "MESSAGE_CREATE" | "MESSAGE_UPDATE") && d["interaction_metadata"]["id"] == wanted;
            let updated = t == "MESSAGE_UPDATE" && pressed.as_deref().is_some_and(|id| d["id"] == *id);
            done && (made || updated)
        })
        .await
    }

    /// The texts of an answer that came in `count` messages, from its first one on.
    pub async fn parts_of(&self, first: &Answer, count: usize) -> Vec<String> {
        let mut seen = self.watch();
        let parts = || {
            let heard = self.heard().into_iter().skip_while(|answer| answer.id() != first.id());
            heard.map(|answer| answer.text()).collect::<Vec<_>>()
        };
        while parts().len() < count {
            wait(&mut seen, |t, _| t == "MESSAGE_CREATE").await;
        }
        parts()
    }

    /// The bot's messages in this channel, oldest first.
    pub fn heard(&self) -> Vec<Answer> {
        let page = self.simulator().messages(self.id, self.channel, None, 100);
        page.into_iter().filter(|message| message["author"]["bot"] == true).map(Answer).collect()
    }
}

/// An open modal.
pub struct Modal {
    pub interaction: Id,
    pub shown: Value,
}

/// What several people see, in one stream.
pub fn together(seen: impl IntoIterator<Item = Seen>) -> BoxStream<'static, Value> {
    let streams = seen.into_iter().map(|seen| {
        let next = |mut seen: Seen| async move { Some((seen.next().await?, seen)) };
        stream::unfold(seen, next).boxed()
    });
    stream::select_all(streams).boxed()
}

/// The message or interaction that this event brings the finished answer to, and the answer.
pub fn answered(event: &Value) -> Option<(Id, Answer)> {
    let (name, message) = (event["t"].as_str()?, &event["d"]);
    assert_ne!(name, "LAGGED", "the test reads too slowly");
    let made = matches!(name, "MESSAGE_CREATE" | "MESSAGE_UPDATE") && message["author"]["bot"] == true;
    let done = message["flags"].as_u64().unwrap_or(0) & LOADING == 0;
    let (replied, interaction) =
        (&message["message_reference"]["message_id"], &message["interaction_metadata"]["id"]);
    let to = replied.as_str().or(interaction.as_str()).filter(|_| made && done)?;
    Some((to.parse().ok()?, Answer(message.clone())))
}

impl Modal {
    /// The inputs in their order: id, and what is in them.
    pub fn inputs(&self) -> Vec<(String, String)> {
        let rows = self.shown["components"].as_array().into_iter().flatten();
        let fields = rows.flat_map(|row| row["components"].as_array().into_iter().flatten());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        fields.map(|field| (text(&field["custom_id"]), text(&field["value"]))).collect()
    }
}

/// Waits for an event; its data is the answer.
pub async fn wait(seen: &mut Seen, wanted: impl FnMut(&str, &Value) -> bool) -> Answer {
    wait_within(PATIENCE, seen, wanted).await
}

/// The same with another patience.
pub async fn wait_within(
    patience: Duration,
    seen: &mut Seen,
    mut wanted: impl FnMut(&str, &Value) -> bool,
) -> Answer {
    let search = async {
        loop {
            let event = seen.next().await.expect("the simulator runs");
            assert_ne!(event["t"], "LAGGED", "the test reads too slowly");
            if wanted(event["t"].as_str().unwrap_or_default(), &event["d"]) {
                return Answer(event["d"].clone());
            }
        }
    };
    timeout(patience, search).await.expect("the bot answers")
}

/// Options as Discord nests them: the words behind the first are subcommands.
fn nested(path: &str, options: &[(&str, Value)], focused: Option<&str>) -> (String, Value, Vec<File>) {
    let mut files = Vec::new();
    let mut words = path.split(' ');
    let root = words.next().unwrap_or_default().to_owned();
    let mut leaves: Vec<Value> = options
        .iter()
        .map(|(name, value)| {
            let (kind, value) = match value {
                Value::Number(_) => (4, value.clone()),
                Value::Bool(_) => (5, value.clone()),
                Value::Object(fields) if fields.contains_key("channel") => {
                    (7, json!(fields["channel"].to_string()))
                }
                Value::Object(fields) if fields.contains_key("file") => {
                    files.push(file(&fields["file"], &fields["data"]));
                    (11, json!((files.len() - 1).to_string()))
                }
                Value::Object(fields) => (6, json!(fields["user"].to_string())),
                _ => (3, value.clone()),
            };
            let mut option = json!({ "name": name, "type": kind, "value": value });
            if focused == Some(name) {
                option["focused"] = json!(true);
            }
            option
        })
        .collect();
    for word in words.rev() {
        leaves = vec![json!({ "name": word, "type": 1, "options": leaves })];
    }
    (root, Value::Array(leaves), files)
}

/// A file as an option: `{"file": name, "data": base64}`.
fn file(name: &Value, data: &Value) -> File {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = STANDARD.decode(text(data)).expect("a file is in base64");
    File { name: text(name), content_type: "application/gzip".to_owned(), data }
}

/// A file as [`Person::slash`] takes it.
pub fn file_option(name: &str, bytes: &[u8]) -> Value {
    json!({ "file": name, "data": STANDARD.encode(bytes) })
}
