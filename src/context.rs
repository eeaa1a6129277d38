//! What a command can reach and return.
//!
//! A command is a [`Command`] value: its words, its options and a function from [`Context`] and [`Args`] to
//! an [`Answer`]. All doors (prefix, mention, direct message, slash) lead to that one function; what differs
//! between them ends before it. A [`Reply`] is data, rendered and sent once by `bot::reply`.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::backstage::Backstage;
use crate::bans::Bans;
use crate::cause::Cause;
use crate::clock::{Clock, Timestamp};
use crate::config::MAX_MEMORIES;
use crate::due::Due;
use crate::dynamo::{self, Dynamo, TableSpec};
use crate::history::Revision;
use crate::people::Noted;
use crate::relay::handle::Relay;
use crate::settings::{Settings, SettingsCache};
use crate::shared::SharedData;
use crate::telemetry::{Health, Metrics};

pub mod discord;
pub mod duty;
pub mod metrics;
pub mod relay;

pub use discord::{Delivery, Discord, Letter, NotFetched};
pub use duty::Duty;

/// One file under `commands/`: its commands, controls and tables. `commands::ALL` lists them, and help,
/// slash registration, README, tables, IAM policy and tests derive from that list.
pub struct Feature {
    pub name: &'static str,
    pub commands: &'static [Command],
    /// Buttons, select menus and modals, by the verb their `custom_id` starts with.
    pub controls: &'static [Control],
    pub menus: &'static [Menu],
    pub tables: &'static [TableSpec],
    /// How its changes are taken back.
    pub undo: &'static [Undo],
    /// What it does when something is due.
    pub jobs: &'static [Job],
    /// Work that lasts as long as the bot, such as writing counts to the store.
    pub background: Option<Background>,
}

impl Feature {
    /// A feature without anything, to be filled by struct update.
    pub const EMPTY: Self = Self {
        name: "",
        commands: &[],
        controls: &[],
        menus: &[],
        tables: &[],
        undo: &[],
        jobs: &[],
        background: None,
    };
}

/// What the Undo button does for one kind of rows in the history.
pub struct Undo {
    pub kind: &'static str,
    /// The command whose level and rules hold for it.
    pub command: &'static str,
    /// Gets what the index `by_event` holds of the row.
    pub run: fn(Context, Revision) -> BoxFuture<'static, Result<Reply>>,
}

/// What is done when a record of the table `due` has come to its time. It may be run again, and by several
/// instances at once, until it has deleted that record.
pub struct Job {
    pub kind: &'static str,
    pub run: fn(Arc<Services>, Due) -> BoxFuture<'static, Result<Progress, dynamo::Error>>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Done,
    /// Somebody else is at it, or it must be tried again, and not before this time.
    Again(Timestamp),
}

/// Lasts until the token is cancelled, and flushes before it ends.
pub type Background = fn(Arc<Services>, CancellationToken) -> BoxFuture<'static, ()>;

/// One command: the words that call it, what it takes, who may, and what it does.
pub struct Command {
    /// The words after the prefix: `["remember", "rem"]`, `["mem edit"]`. Empty: no text form.
    pub prefix: &'static [&'static str],
    /// The slash commands with the same meaning: `["rem set", "remember"]`. Empty: no slash form.
    pub slash: &'static [&'static str],
    /// One line for help and Discord's command list, at most 100 characters (a Discord rule).
    pub summary: &'static str,
    /// What follows the words, as help and usage errors show it: `<key> is <value>`.
    pub usage: &'static str,
    /// Required ones first (a Discord rule).
    pub options: &'static [Param],
    /// Reads the options out of the text door's words.
    pub parse: fn(&Command, &str) -> Result<Args>,
    pub place: Place,
    pub level: Level,
    /// Whether the slash answer is for the caller's eyes only: (e) in the catalogue.
    pub private: bool,
    /// Answers without the store, so it does not need to know the server's settings either.
    pub offline: bool,
    pub pays: Pays,
    /// The command that a call with these arguments does the same as, where it is another one: that one's
    /// rules and cooldowns hold for it too.
    pub same_as: fn(&Args) -> Option<&'static str>,
    pub run: fn(Context, Args) -> BoxFuture<'static, Result<Answer>>,
}

impl Command {
    /// Everybody, everywhere, in public, options by position; to be filled by struct update.
    pub const DEFAULT: Self = Self {
        prefix: &[],
        slash: &[],
        summary: "",
        usage: "",
        options: &[],
        parse: Args::by_position,
        place: Place::Anywhere,
        level: Level::Everyone,
        private: false,
        offline: false,
        pays: Pays::First,
        same_as: |_| None,
        run: |_, _| Box::pin(async { Ok(Answer::Nothing) }),
    };

    /// The name it is known by: its first prefix form, else its first slash form.
    pub fn name(&self) -> &'static str {
        self.prefix.first().or(self.slash.first()).copied().unwrap_or_default()
    }

    /// Whether it is called by this name, or belongs to the group of this name: `mem edit` to `mem`.
    pub fn is_of(&self, name: &str) -> bool {
        let in_group = |form: &str| form.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '));
        self.prefix.iter().chain(self.slash).any(|form| *form == name || in_group(form))
    }
}

/// When a command takes its cooldown, where a server has set one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pays {
    /// Just before it runs.
    First,
    /// In the transaction of what it changes, so that what is refused takes none. A call that turns out to
    /// change nothing takes it before its answer is shown.
    WithItsChange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Servers only; in a direct message the caller is told so.
    Server,
    Anywhere,
}

/// Who may run a command, before a server's own rules. What depends on the record, such as its owner, is
/// decided on the record as read for the change, not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Everyone,
    /// Manage Messages in the channel.
    Moderator,
    /// Manage Server.
    Admin,
    /// The ids in `BOT_OWNERS`.
    BotOwner,
}

impl Level {
    /// What it asks for, in words; nothing where everybody may.
    pub fn needs(self) -> Option<&'static str> {
        match self {
            Self::Everyone => None,
            Self::Moderator => Some("Manage Messages"),
            Self::Admin => Some("Manage Server"),
            Self::BotOwner => Some("a bot owner"),
        }
    }
}

/// An option of a command.
pub struct Param {
    pub name: &'static str,
    pub description: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// Choices while typing, from memory only: Discord wants them within 500 ms.
    pub suggest: Option<Suggest>,
}

impl Param {
    pub const fn required(name: &'static str, description: &'static str, kind: Kind) -> Self {
        Self { name, description, kind, required: true, suggest: None }
    }

    pub const fn optional(name: &'static str, description: &'static str, kind: Kind) -> Self {
        Self { name, description, kind, required: false, suggest: None }
    }

    pub const fn suggesting(self, suggest: Suggest) -> Self {
        Self { suggest: Some(suggest), ..self }
    }
}

/// At most 25 choices for what is typed so far; empty when in doubt.
pub type Suggest = fn(&Arc<Services>, Typing<'_>) -> Vec<Choice>;

/// Who types what into an option, and where.
#[derive(Clone, Copy, Debug)]
pub struct Typing<'a> {
    /// 0 in direct messages.
    pub server_id: u64,
    pub person_id: u64,
    pub text: &'a str,
}

/// One suggestion: what is shown, and what is sent when it is picked, each of 1 to [`Choice::CHARS_MAX`] characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub label: String,
    pub value: String,
}

impl Choice {
    /// Discord shows no more of them.
    pub const SHOWN_MAX: usize = 25;
    /// Discord's limit for each of its texts.
    pub const CHARS_MAX: usize = 100;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer {
        min: i64,
        max: i64,
    },
    Bool,
    Person,
    Channel,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file. In text doors it is one of those that came with the message.
    Attachment,
}

/// The value of one option.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Bool(bool),
    Person(u64),
    Channel(u64),
    Attachment(Attachment),
}

/// A file that came with an event, as Discord describes it. [`Discord::fetch`] gets its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub name: String,
    pub bytes: u64,
    pub url: String,
}

/// The options of one call, by name, whichever door they came through.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Args(Vec<(&'static str, Value)>);

impl Args {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with(mut self, name: &'static str, value: Value) -> Self {
        self.0.push((name, value));
        self
    }

    pub fn with_text(self, name: &'static str, text: impl Into<String>) -> Self {
        self.with(name, Value::Text(text.into()))
    }

    /// Reads options from left to right, a word each; the last one of the command takes the rest of the line.
    pub fn by_position(command: &Command, text: &str) -> Result<Self> {
        let mut rest = text.trim();
        let mut args = Self::new();
        let mut params = command.options.iter().filter(|param| param.kind != Kind::Attachment).peekable();
        while let Some(param) = params.next() {
            if rest.is_empty() {
                break;
            }
            let last = params.peek().is_none();
            let (word, after) = match rest.split_once(char::is_whitespace) {
                Some((word, after)) if !last => (word, after.trim_start()),
                _ => (rest, ""),
            };
            args = args.with(param.name, param.read(word)?);
            rest = after;
        }
        Ok(args)
    }

    /// Gives the files of a message to the options that take one, in their order.
    pub fn with_files(self, command: &Command, files: &[Attachment]) -> Self {
        let params = command.options.iter().filter(|param| param.kind == Kind::Attachment);
        params
            .zip(files)
            .fold(self, |args, (param, file)| args.with(param.name, Value::Attachment(file.clone())))
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The text of an option; `None` if it was left out or holds nothing but white space.
    pub fn maybe_text(&self, name: &str) -> Option<&str> {
        match self.get(name) {
            Some(Value::Text(text)) if !text.trim().is_empty() => Some(text),
            _ => None,
        }
    }

    /// The text of a required option.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.maybe_text(name).ok_or_else(|| Error::Usage(format!("The {name} is missing")))
    }

    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.get(name), Some(Value::Bool(true)))
    }

    pub fn person(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Person(id)) => Some(*id),
            _ => None,
        }
    }

    pub fn channel(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Channel(id)) => Some(*id),
            _ => None,
        }
    }

    pub fn file(&self, name: &str) -> Option<&Attachment> {
        match self.get(name) {
            Some(Value::Attachment(file)) => Some(file),
            _ => None,
        }
    }
}

impl Param {
    /// Reads one option from text.
    pub fn read(&self, word: &str) -> Result<Value> {
        match self.kind {
            Kind::Text => Ok(Value::Text(word.to_owned())),
            Kind::Person => person(word).map(Value::Person).ok_or_else(not_a_person),
            Kind::Channel => channel(word).map(Value::Channel).ok_or_else(|| {
                Error::Usage(format!("The {} is a channel: mention it or give its id", self.name))
            }),
            Kind::Bool => match word.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => Ok(Value::Bool(true)),
                "false" | "0" | "no" | "off" => Ok(Value::Bool(false)),
                _ => Err(Error::Usage(format!("The {} is on or off", self.name))),
            },
            Kind::Choice(choices) => {
                choice(choices, word).map_err(|error| Error::Usage(format!("The {} {error}", self.name)))
            }
            Kind::Integer { min, max } => match word.parse() {
                Ok(number) if (min..=max).contains(&number) => Ok(Value::Integer(number)),
                _ => Err(Error::Usage(format!("The {} is a number from {min} to {max}", self.name))),
            },
            Kind::Attachment => Err(Error::Usage(format!("The {} is attached to the message", self.name))),
        }
    }
}

/// Reads one of several words; if it is none, says which there are, and which may have been meant.
fn choice(choices: &[&'static str], word: &str) -> Result<Value, String> {
    let word = word.trim().to_lowercase();
    if let Some(choice) = choices.iter().find(|choice| **choice == word) {
        return Ok(Value::Text((*choice).to_owned()));
    }
    let near = choices.iter().map(|choice| (strsim::osa_distance(choice, &word), *choice)).min();
    let near = near.filter(|(distance, _)| *distance <= 2);
    let meant = near.map(|(_, choice)| format!(", perhaps {choice}")).unwrap_or_default();
    Err(format!("is one of {}{meant}", choices.join(", ")))
}

/// The id in a mention of a person, or the digits of one: 17 to 20 of them.
pub fn person(text: &str) -> Option<u64> {
    let inner = text.strip_prefix("<@").and_then(|rest| rest.strip_suffix('>'));
    let digits = inner.map_or(text, |rest| rest.strip_prefix('!').unwrap_or(rest));
    snowflake(digits)
}

/// The id in a mention of a channel, or its digits.
pub fn channel(text: &str) -> Option<u64> {
    snowflake(text.strip_prefix("<#").and_then(|rest| rest.strip_suffix('>')).unwrap_or(text))
}

/// The digits of an id: 17 to 20 of them. The two that no id has would make a bug of a slip of the hand.
pub fn snowflake(digits: &str) -> Option<u64> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    let id = ((17..=20).contains(&digits.len()) && all_digits).then(|| digits.parse().ok()).flatten();
    id.filter(|id| !matches!(*id, 0 | u64::MAX))
}

pub fn not_a_person() -> Error {
    Error::Refused("⚠ I need a person: mention them or give their id".to_owned())
}

/// The verb in a control's `custom_id`, `verb:fields`, and what a press does.
pub struct Control {
    pub verb: &'static str,
    /// The command whose rules hold for it; `None` if it finds that out itself, as Undo does.
    pub command: Option<&'static str>,
    pub run: fn(Context, Press) -> BoxFuture<'static, Result<Answer>>,
}

/// A pressed button, a choice in a select menu, or a submitted modal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Press {
    /// What follows the verb in the `custom_id`. It comes from outside: parse it strictly.
    pub fields: String,
    /// The chosen values of a select menu.
    pub values: Vec<String>,
    /// The inputs of a modal, by their `custom_id`.
    pub inputs: Vec<(String, String)>,
}

impl Press {
    pub fn input(&self, id: &str) -> Option<&str> {
        self.inputs.iter().find(|(known, _)| known == id).map(|(_, text)| text.as_str())
    }
}

/// An entry in the context menu of a message.
pub struct Menu {
    pub name: &'static str,
    /// The command whose level, rules and cooldown hold for it.
    pub command: &'static str,
    pub place: Place,
    pub run: fn(Context, Target) -> BoxFuture<'static, Result<Answer>>,
}

/// The message that a menu was opened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub message_id: u64,
    pub author_id: u64,
    pub text: String,
}

/// How the caller reached us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Prefix,
    Mention,
    DirectMessage,
    Slash,
    /// A button, a select menu, a modal or a message menu.
    Control,
}

/// The person who called, as known when the event arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub id: u64,
    pub name: String,
    /// The roles they hold in this server.
    pub roles: Vec<u64>,
    /// The channel they are in, and behind a thread the one that it hangs on.
    pub channels: Vec<u64>,
    pub moderator: bool,
    pub admin: bool,
    /// Holds Mention Everyone in this channel.
    pub mentions_everyone: bool,
    pub bot_owner: bool,
}

impl Caller {
    pub fn has(&self, level: Level) -> bool {
        match level {
            Level::Everyone => true,
            Level::Moderator => self.moderator,
            Level::Admin => self.admin,
            Level::BotOwner => self.bot_owner,
        }
    }
}

/// Everything one answer can be made from.
#[derive(Clone)]
pub struct Context {
    pub services: Arc<Services>,
    pub cause: Cause,
    pub caller: Caller,
    pub door: Door,
    pub channel_id: u64,
    /// The prefix shown in texts: the server's.
    pub prefix: Arc<str>,
    /// What the server has decided; the defaults in direct messages.
    pub settings: Arc<Settings>,
    /// The files of the message; of a pressed button those of the message that it stands under.
    pub attachments: Vec<Attachment>,
}

impl Context {
    pub fn dynamo(&self) -> &Dynamo {
        &self.services.dynamo
    }

    /// A command as the caller would type it: `.mem edit`.
    pub fn typed(&self, command: &str) -> String {
        format!("{}{command}", self.prefix)
    }
}

/// What lasts as long as the bot and is shared by all commands.
pub struct Services {
    pub dynamo: Dynamo,
    pub clock: Clock,
    pub discord: Discord,
    pub instance: Instance,
    pub settings: SettingsCache,
    pub bans: Bans,
    pub noted: Noted,
    /// What this instance shares with others; set when the bot has started.
    pub shared: OnceLock<SharedData>,
    /// Words to and from other bots; set when the bot has started, if the configuration has any.
    pub relay: OnceLock<Relay>,
    pub metrics: Metrics,
    pub health: Health,
    pub duty: Duty,
    /// Cancelled once an owner wants the process to start anew.
    pub restart: CancellationToken,
    state: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Services {
    pub fn new(dynamo: Dynamo, clock: Clock, discord: Discord, instance: Instance) -> Self {
        let metrics = Metrics::default();
        metrics.collect(Box::new(metrics::StoreMetrics(dynamo.clone())));
        Self {
            dynamo,
            clock,
            discord,
            instance,
            settings: SettingsCache::default(),
            bans: Bans::default(),
            noted: Noted::default(),
            shared: OnceLock::new(),
            relay: OnceLock::new(),
            metrics,
            health: Health::default(),
            duty: Duty::default(),
            restart: CancellationToken::new(),
            state: Mutex::default(),
        }
    }

    /// How many memories a server may have, as the operator has it now.
    pub fn max_memories(&self) -> usize {
        let set = self.shared.get().and_then(|shared| shared.config().get(MAX_MEMORIES).ok().flatten());
        set.unwrap_or(self.instance.max_memories)
    }

    /// Sends a message of our own accord. Sent again under the same nonce, it is one message.
    pub async fn post(&self, letter: Letter) -> Delivery {
        match self.discord.poster() {
            Some(post) => post(self, letter).await,
            None => Delivery::Unknown,
        }
    }

    /// The in-memory state of a feature, made when first asked for. What must outlive the process is a
    /// record, not this.
    pub fn state<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = state.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        entry.clone().downcast().expect("the key is the type's own id")
    }
}

/// Who plays the songs that `.play` queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Player {
    /// Nobody: there is a queue, and nothing is heard.
    #[default]
    None,
    /// The playground's, which plays in its own time and makes no sound.
    Sim,
}

/// What is known about this instance of the bot.
#[derive(Clone, Debug, Default)]
pub struct Instance {
    pub bot_owners: Vec<u64>,
    /// Servers where `/admin` is registered.
    pub admin_guilds: Vec<u64>,
    /// Servers where `.play` is on unless they have decided otherwise.
    pub play_servers: Vec<u64>,
    pub player: Player,
    pub default_prefix: String,
    pub max_memories: usize,
    pub status_page_url: Option<String>,
    pub docs_url: Option<String>,
    /// How long the records of a server are kept that has removed the bot; `None`: as by default.
    pub guild_grace_days: Option<u32>,
    pub started_at: Option<Timestamp>,
    pub prices: Prices,
    /// For `.status`: `embedded (data/mneme.db)`, `DynamoDB eu-central-1`.
    pub store: String,
    /// Who hears how answers come about.
    pub backstage: Backstage,
}

/// Dollars for a million request units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    pub reads: f64,
    pub writes: f64,
}

impl Prices {
    /// DynamoDB on demand in us-east-1, as of November 2024: <https://aws.amazon.com/dynamodb/pricing/on-demand/>
    pub const USUAL: Self = Self { reads: 0.125, writes: 0.625 };

    /// What so many units cost.
    pub fn of(self, reads: f64, writes: f64) -> f64 {
        (reads * self.reads + writes * self.writes) / 1_000_000.0
    }
}

impl Default for Prices {
    fn default() -> Self {
        Self::USUAL
    }
}
impl Instance {
    /// How long the records of a server are kept that has removed the bot.
    pub fn guild_grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.guild_grace_days.unwrap_or(GUILD_GRACE_DAYS)) * 86_400)
    }
}

/// A server that comes back within a month finds everything as it was.
pub const GUILD_GRACE_DAYS: u32 = 30;

/// How an event is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Reply(Reply),
    /// Replaces the message whose control was pressed.
    Update(Reply),
    /// Only as the first response to an interaction, and not to a modal (a Discord rule).
    Modal(Modal),
    Nothing,
}

impl Answer {
    /// The answer of work that changes nothing: if the store is silent, trying again is harmless.
    pub fn of_reading(reply: Result<Reply>) -> Result<Self> {
        match reply {
            Err(Error::Store(error)) => Err(Error::Read(error)),
            other => other.map(Self::Reply),
        }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Reply(reply)
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self::Reply(text.into())
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Reply(text.into())
    }
}

/// One reply, as data. Text longer than a message is split or sent as a file, never cut.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    pub text: String,
    pub card: Option<Card>,
    /// Rows of controls: at most 5, of 5 buttons or one select menu each (a Discord rule).
    pub rows: Vec<Row>,
    /// The first one goes with the text, each other one in a message of its own.
    pub files: Vec<File>,
    pub pings: Pings,
    /// For the caller's eyes only, where the door allows it, whatever the command's default.
    pub private: bool,
    /// What replaces a message leaves it its files.
    pub keeps_files: bool,
}

impl From<String> for Reply {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl From<&str> for Reply {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Card> for Reply {
    fn from(card: Card) -> Self {
        Self { card: Some(card), ..Self::default() }
    }
}

impl Reply {
    pub fn buttons(mut self, buttons: Vec<Button>) -> Self {
        if !buttons.is_empty() {
            self.rows.push(Row::Buttons(buttons));
        }
        self
    }

    pub fn select(mut self, select: Select) -> Self {
        self.rows.push(Row::Select(select));
        self
    }

    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }
}

/// An embed. Title at most 256 characters, text 4,096 (Discord rules).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Card {
    pub title: String,
    pub text: String,
    pub colour: Colour,
    pub footer: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    #[default]
    Blue,
    White,
    Yellow,
    Red,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Buttons(Vec<Button>),
    Select(Select),
}

/// `id` is `verb:fields`, ASCII, at most 100 characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Button {
    pub id: String,
    pub label: String,
    pub style: Style,
    pub disabled: bool,
}

impl Button {
    pub fn new(id: impl Into<String>, label: impl Into<String>) -> Self {
        Self { id: id.into(), label: label.into(), style: Style::Secondary, disabled: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Primary,
    Secondary,
    Success,
    Danger,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    pub id: String,
    pub placeholder: String,
    pub choices: Vec<SelectChoice>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelectChoice {
    pub label: String,
    pub value: String,
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modal {
    /// `verb:fields`, as a control's.
    pub id: String,
    /// At most 45 characters.
    pub title: String,
    pub inputs: Vec<Input>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    pub id: String,
    pub label: String,
    pub value: String,
    pub placeholder: String,
    pub max_length: u16,
    pub paragraph: bool,
    /// Whether it may not be left empty.
    pub required: bool,
}

#[derive(Clone, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "File({}, {} bytes)", self.name, self.bytes.len())
    }
}

/// Whom a message may ping. Nobody, unless the caller could have done it themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pings {
    pub people: Vec<u64>,
    pub roles_and_everyone: bool,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Shown to the caller word for word.
    #[error("{0}")]
    Refused(String),
    /// What is wrong with the arguments; the usage line is added where it is shown.
    #[error("{0}")]
    Usage(String),
    /// Nothing but reading was tried, and the store did not answer: the caller may simply try again.
    #[error("reading failed")]
    Read(#[source] dynamo::Error),
    /// An apology with a reference; the chain goes to the log under the same reference.
    #[error(transparent)]
    Store(#[from] dynamo::Error),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
    /// The command's time is over and nobody knows how far it came.
    #[error("took too long")]
    TimedOut,
}

/// Says no, and why, in words for the caller.
pub fn refuse<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::Refused(text.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_mentions_or_ids() {
        assert_eq!(person("<@123456789012345678>"), Some(123_456_789_012_345_678));
        assert_eq!(person("<@!123456789012345678>"), Some(123_456_789_012_345_678));
        assert_eq!(person("12345678901234567"), Some(12_345_678_901_234_567));
        for other in [
            "<@&123456789012345678>",
            "<#123456789012345678>",
            "bob#1234",
            "1234",
            "<@123",
            "@bob",
            "",
            "00000000000000000",
        ] {
            assert_eq!(person(other), None, "{other}");
        }
    }

    #[test]
    fn the_last_option_takes_the_rest_of_the_line() {
        const OPTIONS: &[Param] =
            &[Param::required("name", "", Kind::Text), Param::required("text", "", Kind::Text)];
        let command = Command { options: OPTIONS, ..Command::DEFAULT };
        let args = Args::by_position(&command, " cat  meow  and purr ").unwrap();
        assert_eq!(args.text("name").unwrap(), "cat");
        assert_eq!(args.text("text").unwrap(), "meow  and purr");
        assert!(Args::by_position(&command, "cat").unwrap().text("text").is_err());
    }
}
