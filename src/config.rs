//! Settings: the only reader of the environment.
//!
//! Each setting is a documented field; its comment is the help text and the line in `.env.example`. Defaults
//! run on a laptop. A wrong value stops the start and names its variable.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, Resettable};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use secrecy::SecretString;

use crate::army::cli::Army;
use crate::relay::envelope::Scope;
use crate::relay::name::{BadName, BotName};
use crate::settings::{A_PREFIX, is_prefix};

/// A Discord bot whose commands remember.
#[derive(Debug, Parser)]
#[command(name = "mneme", version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub role: Role,
}

/// What the executable is to do.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Join Discord and answer
    Run(Box<Run>),
    /// Try the bot on a simulated Discord, in the browser; needs no account and no token
    Playground(Playground),
    /// Show, check or create the tables
    Tables(Tables),
    /// Find out whether the bot would work, and what to do where it would not
    Doctor(Box<Run>),
    /// Ask the bot on this machine, at the address in HTTP, whether it is well: for a container's health check
    Health(Health),
    /// Take over, export, import and compare records
    Data(Box<Data>),
    /// Look at the data that bots share, and change it
    Shared(Shared),
    /// Check, show and bundle the configuration of bots on several hosts
    Config(ConfigTree),
    /// See and mend what this bot and others send each other
    Relay(Box<RelayDesk>),
    /// Start simulated people: load tests and integration tests of a bot
    Army(Box<Army>),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub discord: Discord,
    #[command(flatten)]
    pub bot: Bot,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub web: Web,
    #[command(flatten)]
    pub traces: Traces,
    #[command(flatten)]
    pub relay: Relay,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Debug, Args)]
pub struct Playground {
    /// Where the page listens; 0 is a free port
    #[arg(long, env = "PLAYGROUND_PORT", default_value_t = PLAYGROUND_PORT)]
    pub port: u16,
    /// The address that the page is bound to; requests for another host than localhost are refused all the same
    #[arg(long, env = "PLAYGROUND_ADDRESS", default_value_t = IpAddr::from(Ipv4Addr::LOCALHOST))]
    pub address: IpAddr,
    /// Where the playground keeps its records and its chat
    #[arg(long, env = "PLAYGROUND_DIR", default_value = "data/playground")]
    pub data_dir: PathBuf,
    /// Serve the bot's dashboard and its /metrics on this address too; a port alone is one of this machine
    #[arg(long, env = "PLAYGROUND_HTTP", value_parser = http_address)]
    pub http: Option<SocketAddr>,
    /// Have the dashboard ask for a sign-in, by the simulated Discord, as it does at a public address
    #[arg(long, requires = "http")]
    pub sign_in: bool,
    /// A folder with a relay's configuration: its links and rules are tried here
    #[arg(long, value_name = "FOLDER")]
    pub relay: Option<PathBuf>,
    /// What this bot is called there; the host's name up to its first dot if nothing else is said
    #[arg(long, value_name = "NAME", requires = "relay")]
    pub bot_name: Option<String>,
    /// Write accounts of the people into this file, for mneme army run --discord
    #[arg(long, value_name = "FILE")]
    pub accounts: Option<PathBuf>,
    #[command(flatten)]
    pub bot: Bot,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Debug, Args)]
pub struct Health {
    /// Ask whether every shard is connected (/ready), not only whether the process lives (/live)
    #[arg(long)]
    pub ready: bool,
    #[command(flatten)]
    pub web: Web,
}

#[derive(Debug, Args)]
pub struct Tables {
    #[command(subcommand)]
    pub act: TablesAct,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Debug, Args)]
pub struct Data {
    #[command(subcommand)]
    pub act: DataAct,
    /// A server besides those that the bot is in, by id; may be given again
    #[arg(long, value_parser = snowflake)]
    pub guild: Vec<u64>,
    /// What the original bot was called: its usage totals are under this name
    #[arg(long, default_value = "errbot")]
    pub bot_name: String,
    #[command(flatten)]
    pub discord: Discord,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Debug, Subcommand)]
pub enum DataAct {
    /// Take over the tables of the original Python bot, in place; stop every bot that uses them first
    Adopt(Adopt),
    /// Write everything that the bot keeps into a file
    Export {
        /// The file to write, which must not be there yet
        file: PathBuf,
        /// How many days ahead reminders are looked for; fewer is faster, and the default is as far as any can be
        #[arg(long, default_value_t = 1_098)]
        days_ahead: u64,
    },
    /// Put what a file holds into the tables; what is different here is kept
    Import {
        /// A file that `mneme data export` wrote
        file: PathBuf,
        /// Only compare
        #[arg(long)]
        dry_run: bool,
        /// Replace what is different here
        #[arg(long)]
        overwrite: bool,
    },
    /// Restore a file into empty tables, in memory, and compare
    Verify {
        /// A file that `mneme data export` wrote
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct Adopt {
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Whose names were banned: a file with a line name#1234,id for each
    #[arg(long, value_name = "FILE")]
    pub bans: Option<PathBuf>,
    /// Leave out banned names that nobody knows the id of
    #[arg(long)]
    pub ignore_unresolved_bans: bool,
    /// Put back what an adoption changed and nobody has changed since, from its journal
    #[arg(long, value_name = "JOURNAL", conflicts_with_all = ["dry_run", "bans", "ignore_unresolved_bans"])]
    pub revert: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum TablesAct {
    /// List the tables, their keys and what they hold
    List,
    /// Print the tables as JSON, as Terraform and the hooks read them
    Json,
    /// Print the least-privilege IAM policy for the bot
    Policy,
    /// Create the tables that are missing, with indexes and expiry; those that are there stay
    Create,
    /// Compare the tables in the store with what the bot needs; fails with each difference
    Check,
}

#[derive(Debug, Args)]
pub struct Shared {
    #[command(subcommand)]
    pub act: SharedAct,
    /// Whose data: bot, server/ID, run/ID or runs
    #[arg(long, default_value = "bot")]
    pub space: String,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Clone, Debug, Subcommand)]
pub enum SharedAct {
    /// Show a value, its version and who wrote it
    Get { key: String },
    /// Write a value: JSON, or text if it is not
    Put {
        key: String,
        value: String,
        /// Only if there is none
        #[arg(long, conflicts_with = "if_version")]
        if_absent: bool,
        /// Only over this version
        #[arg(long)]
        if_version: Option<u64>,
    },
    /// List values, lists, pools, barriers or permits
    List {
        /// Keys that begin with this
        #[arg(default_value = "")]
        prefix: String,
        #[arg(long, value_enum, default_value_t = SharedKind::Cell)]
        kind: SharedKind,
        /// List the runs instead, and when each began
        #[arg(long, conflicts_with = "kind")]
        runs: bool,
    },
    /// List the locks that are held
    Locks {
        /// Only those whose lease has ended; there being any is an error
        #[arg(long)]
        overdue: bool,
        /// Remove whoever holds this lock
        #[arg(long = "break", value_name = "KEY", requires = "fence")]
        break_lock: Option<String>,
        /// The fence of the holder that is meant
        #[arg(long)]
        fence: Option<u64>,
    },
    /// Show a value whenever it changes
    Watch { key: String },
    /// Show or change what bots of this installation read while they run
    Config {
        /// The setting; all of them if not given
        key: Option<String>,
        /// Its new value: JSON, or text if it is not
        value: Option<String>,
        /// Bots use again what they were started with
        #[arg(long, requires = "key", conflicts_with = "value")]
        unset: bool,
    },
}

/// A setting that bots read while they run; it goes before what they were started with.
#[derive(Debug)]
pub struct AtRunTime {
    pub name: &'static str,
    pub about: &'static str,
    /// What is wrong with a value.
    pub check: fn(&serde_json::Value) -> Result<(), String>,
}

pub const MAX_MEMORIES: &str = "max_memories";
pub const LOG: &str = "log";

/// All of them.
pub const AT_RUN_TIME: &[AtRunTime] = &[
    AtRunTime {
        name: LOG,
        about: "What is logged, in place of LOG: info, debug, mneme::shared=debug",
        check: |value| {
            let filter = value.as_str().ok_or("a filter is a text")?;
            tracing_subscriber::EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
        },
    },
    AtRunTime {
        name: MAX_MEMORIES,
        about: "How many memories a server may have, in place of MAX_MEMORIES",
        check: |value| match value.as_u64() {
            Some(1..=1_000_000) => Ok(()),
            _ => Err("a number from 1 to 1000000 is needed".to_owned()),
        },
    },
];

#[derive(Debug, Args)]
pub struct ConfigTree {
    #[command(subcommand)]
    pub act: ConfigAct,
    #[command(flatten)]
    pub relay: Relay,
}

#[derive(Clone, Debug, Subcommand)]
pub enum ConfigAct {
    /// Tell all that is wrong or odd, for one bot or for all; fails with any error
    Check {
        /// Only this bot, and its secrets must be here
        #[arg(long)]
        host: Option<String>,
    },
    /// Show what a bot really uses and where it is written; secrets are not shown
    Show {
        /// Another bot than this one
        #[arg(long)]
        host: Option<String>,
    },
    /// Write what a bot needs into one file, and nothing of the others
    Bundle {
        /// The bot that it is for
        #[arg(long)]
        host: String,
        /// With its secrets: then the file is as secret as they are
        #[arg(long)]
        with_secrets: bool,
        /// The archive to write
        file: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct RelayDesk {
    #[command(subcommand)]
    pub act: RelayAct,
    #[command(flatten)]
    pub relay: Relay,
    #[command(flatten)]
    pub store: Store,
    #[command(flatten)]
    pub log: Log,
}

#[derive(Clone, Debug, Subcommand)]
pub enum RelayAct {
    /// Show how the links stand; fails if a peer has been down for 10 minutes, or if there are dead letters
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Publish something, and print its id; exits with 75 if a queue is full
    Send {
        topic: String,
        /// What people are to read
        #[arg(long)]
        subject: Option<String>,
        /// name=value; may be given again
        #[arg(long, value_name = "NAME=VALUE")]
        field: Vec<String>,
        /// How far it goes: local, link or fleet
        #[arg(long, default_value = "fleet", value_parser = scope)]
        scope: Scope,
        /// Only this bot acts on it
        #[arg(long)]
        to: Option<String>,
        /// Until when it is worth something, such as 1h; otherwise as the topic says
        #[arg(long)]
        life: Option<String>,
    },
    /// List what waits: for a peer, for our own rules (here), or for somebody to look at it (dead)
    Queue {
        /// A peer, here or dead; all that waits if it is left out
        name: Option<String>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
    /// Try dead letters again, under the same id, so that nobody gets one twice
    Retry {
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All dead letters
        #[arg(long, conflicts_with = "id")]
        all: bool,
        /// Of this peer only
        #[arg(long, requires = "all")]
        peer: Option<String>,
        /// Publish a copy of what has expired, under a new id
        #[arg(long)]
        again: bool,
    },
    /// Give up an envelope, or all that waits for a peer
    Drop {
        #[arg(required_unless_present = "peer")]
        id: Option<String>,
        #[arg(long, conflicts_with = "id")]
        peer: Option<String>,
        /// Without asking
        #[arg(long)]
        yes: bool,
    },
    /// Show where an envelope came from and went
    Trace { id: String },
    /// Make a pair of keys, so that others know what this bot said
    Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SharedKind {
    Cell,
    /// Lists: handed out, left, returned, and who has what
    Deal,
    Pool,
    Barrier,
    Permit,
}

/// The playground's usual port; if somebody has it, another one is taken.
pub const PLAYGROUND_PORT: u16 = 8420;

/// How to reach Discord.
#[derive(Debug, Args)]
#[command(next_help_heading = "Discord")]
pub struct Discord {
    /// The bot's token, from the developer portal, under Bot
    #[arg(long, env = "DISCORD_TOKEN", hide_env_values = true)]
    pub discord_token: Option<SecretString>,
    /// Another server that speaks Discord's protocol, http or https
    #[arg(long, env = "DISCORD_API_URL", value_parser = api_url)]
    pub discord_api_url: Option<String>,
    /// Whether to ask for message content; without it the prefix works in direct messages only
    #[arg(long, env = "MESSAGE_CONTENT_INTENT", value_enum, default_value_t = ContentIntent::Auto)]
    pub message_content_intent: ContentIntent,
    /// The shards of this process and of the whole bot: auto, 4, 0-3/8, or shared: instances divide them among themselves; shared/8 says how many there are
    #[arg(long, env = "SHARDS", default_value = "auto", value_parser = shards)]
    pub shards: Shards,
    /// Bots that are heard like people, by id
    #[arg(long, env = "HEAR_BOTS", value_delimiter = ',', value_parser = snowflake)]
    pub hear_bots: Vec<u64>,
    /// Whether to keep Discord's rate limits at another server too
    #[arg(long, env = "DISCORD_PACING", default_value = "true", action = ArgAction::Set, value_parser = switch())]
    pub discord_pacing: bool,
}

/// How the bot behaves.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bot")]
pub struct Bot {
    /// The prefix of commands in servers that have set none
    #[arg(long, env = "BOT_PREFIX", default_value = ".", value_parser = prefix)]
    pub bot_prefix: String,
    /// Who owns this bot, by id; BOT_ADMINS is accepted too
    #[arg(long, env = "BOT_OWNERS", value_delimiter = ',', value_parser = snowflake)]
    pub bot_owners: Vec<u64>,
    /// The servers where /admin is registered, by id; the other doors of its commands are open to owners anywhere
    #[arg(long, env = "ADMIN_GUILDS", value_delimiter = ',', value_parser = snowflake)]
    pub admin_guilds: Vec<u64>,
    /// The servers where the commands of .play are on unless they have decided otherwise, by id
    #[arg(long, env = "SERVER_LOCK_ALLOW_LIST", value_delimiter = ',', value_parser = snowflake)]
    pub server_lock_allow_list: Vec<u64>,
    /// Memories that one server may have
    #[arg(long, env = "MAX_MEMORIES", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_memories: u32,
    /// Days for which the records of a server are kept that has removed the bot
    #[arg(long, env = "GUILD_GRACE_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=3_650))]
    pub guild_grace_days: u32,
    /// Shown by .ping
    #[arg(long, env = "STATUS_PAGE_URL")]
    pub status_page_url: Option<String>,
    /// Dollars for a million read request units, for .stats cost; us-east-1 on demand, as of November 2024
    #[arg(long, env = "PRICE_MILLION_READS", default_value = "0.125", value_parser = price)]
    pub price_million_reads: f64,
    /// Dollars for a million write request units, for .stats cost; us-east-1 on demand, as of November 2024
    #[arg(long, env = "PRICE_MILLION_WRITES", default_value = "0.625", value_parser = price)]
    pub price_million_writes: f64,
    /// Shown by .docs
    #[arg(long, env = "DOCS_URL")]
    pub docs_url: Option<String>,
}

/// Where records are kept.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Store")]
pub struct Store {
    /// The kind of store; auto is the endpoint if one is set, AWS where credentials are, else embedded
    #[arg(long, env = "STORE", value_enum, default_value_t = StoreKind::Auto)]
    pub store: StoreKind,
    /// The address of DynamoDB Local or LocalStack; LOCALSTACK is accepted too
    #[arg(long, env = "DYNAMODB_ENDPOINT", value_parser = api_url)]
    pub dynamodb_endpoint: Option<String>,
    /// Put before every table's name, so that several bots can share an account
    #[arg(long, env = "TABLE_PREFIX", default_value = "", value_parser = table_prefix)]
    pub table_prefix: String,
    /// Create missing tables at the start; meant for development
    #[arg(long, env = "CREATE_TABLES", default_value = "false", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub create_tables: bool,
    /// Where the embedded store keeps its file
    #[arg(long, env = "DATA_DIR", default_value = "data")]
    pub data_dir: PathBuf,
}

/// What the bot shows to browsers and monitors.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Web")]
pub struct Web {
    /// Serve the dashboard, /live, /ready and /metrics on this address; a port alone is one of this machine
    #[arg(long, env = "HTTP", value_parser = http_address)]
    pub http: Option<SocketAddr>,
    /// What people type to see the dashboard, such as `https://bot.example.org`; then everybody signs in with Discord
    #[arg(long, env = "DASHBOARD_URL", value_parser = dashboard_url)]
    pub dashboard_url: Option<reqwest::Url>,
    /// The OAuth2 client secret of the bot's application; for signing in to the dashboard
    #[arg(long, env = "DISCORD_CLIENT_SECRET", hide_env_values = true)]
    pub discord_client_secret: Option<SecretString>,
    /// What Prometheus sends as bearer token when it asks for /metrics from another machine
    #[arg(long, env = "METRICS_TOKEN", hide_env_values = true)]
    pub metrics_token: Option<SecretString>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Traces")]
pub struct Traces {
    /// Send traces to the OpenTelemetry collector at this address, such as http://127.0.0.1:4318; OTLP over HTTP
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_parser = api_url)]
    pub otlp_endpoint: Option<String>,
}

/// Bots on several hosts.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Relay")]
pub struct Relay {
    /// The folder that says which bots there are, what they watch and what they do with it; config, if there is one
    #[arg(long, env = "MNEME_CONFIG")]
    pub config: Option<PathBuf>,
    /// What this bot is called there; the host's name up to its first dot if nothing else is said
    #[arg(long, env = "BOT_NAME")]
    pub bot_name: Option<String>,
    /// A folder with a file for each secret, in place of `secrets.yaml.<bot>`
    #[arg(long, env = "SECRETS_DIR")]
    pub secrets_dir: Option<PathBuf>,
}

/// Where the relay's configuration is looked for.
const CONFIG_FOLDER: &str = "config";

impl Relay {
    pub fn folder(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| CONFIG_FOLDER.into())
    }

    /// Who this is.
    pub fn name(&self) -> Result<BotName, BadName> {
        match &self.bot_name {
            Some(name) => BotName::new(name),
            None => {
                let host = sysinfo::System::host_name().unwrap_or_default().to_lowercase();
                BotName::new(host.split('.').next().unwrap_or_default())
            }
        }
    }
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// What to log: error, warn, info, debug, or a filter such as mneme=debug
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: String,
    /// Lines for people or for machines
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContentIntent {
    /// Where the developer portal allows it
    Auto,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    Auto,
    /// A file in the data directory, in this process
    Embedded,
    /// Amazon DynamoDB, or the endpoint that is set
    #[value(alias = "aws")]
    Dynamodb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Every shard has a lock, which is read once a second: several thousand of them would be much to read.
const SHARED_SHARDS_MAX: u32 = 1_000;

/// The shards of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shards {
    /// All that Discord advises.
    Advised,
    /// These, the end not included, of so many.
    Range(Range<u32>, u32),
    /// What comes out when the instances divide so many among themselves, or as many as Discord advises.
    Divided(Option<u32>),
}

impl Cli {
    /// Reads the command line and the environment. What is wrong is an error that names the variable.
    pub fn read() -> Result<Self, clap::Error> {
        Self::parse_from_args(std::env::args_os())
    }

    fn parse_from_args(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        // What belongs to all of `tables` may also stand behind `create` or `check`.
        let mut command = Self::command()
            .mut_subcommand("tables", |tables| tables.mut_args(|argument| argument.global(true)))
            .mut_subcommand("data", |data| {
                let data = data.mut_subcommands(|act| act.mut_args(choose_variable));
                data.mut_args(|argument| argument.global(true))
            })
            .mut_subcommand("shared", |shared| shared.mut_args(|argument| argument.global(true)))
            .mut_subcommand("relay", |relay| relay.mut_args(|argument| argument.global(true)))
            .mut_subcommand("config", |config| config.mut_args(|argument| argument.global(true)))
            .mut_subcommands(|role| role.mut_args(choose_variable));
        let matches =
            command.try_get_matches_from_mut(args).map_err(|error| name_variable(error, &command))?;
        Self::from_arg_matches(&matches)
    }
}

/// The names that settings had before, and what they are called now.
const OLDER_NAMES: &[(&str, &str)] = &[("BOT_ADMINS", "BOT_OWNERS"), ("LOCALSTACK", "DYNAMODB_ENDPOINT")];

/// An empty variable counts as unset, as compose files write it; an older name stands in for a newer one.
fn choose_variable(argument: clap::Arg) -> clap::Arg {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let Some(name) = argument.get_env().and_then(|name| name.to_str()).map(str::to_owned) else {
        return argument;
    };
    if is_set(&name) {
        return argument;
    }
    match OLDER_NAMES.iter().find(|(older, newer)| *newer == name && is_set(older)) {
        Some((older, _)) => argument.env(*older),
        None => argument.env(Resettable::Reset),
    }
}

/// Says which variable a wrong value came from: clap names the option only.
fn name_variable(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return error;
    }
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
    let option = shown.split([' ', '=']).next().unwrap_or_default().trim_start_matches("--").to_owned();
    let shown = shown.clone();
    let arguments = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let from = arguments
        .filter(|argument| argument.get_long() == Some(&option))
        .find_map(|argument| argument.get_env().filter(|name| std::env::var_os(name).is_some()));
    if let Some(name) = from {
        let named = format!("{shown} (the environment variable {})", name.to_string_lossy());
        error.insert(ContextKind::InvalidArg, ContextValue::String(named));
    }
    error
}

/// Whether the environment names AWS credentials; looking for others, on an instance or in a profile, takes
/// time and is asked for with `--store dynamodb`.
pub fn aws_is_configured() -> bool {
    let variables = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
    ];
    variables.iter().any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

/// This program, to start it once more.
pub fn executable() -> std::io::Result<PathBuf> {
    std::env::current_exe()
}

/// Whether the operator wants no colours: <https://no-color.org>.
pub fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// `.env.example`: every variable with its help and its default, generated from the fields above.
pub fn env_example() -> String {
    let mut text = String::from(
        "# Settings of mneme, as variables. Copy to .env and fill in what you need: every line has a default.\n\
         # Generated from src/config.rs.\n",
    );
    let mut seen = std::collections::BTreeSet::new();
    for role in Cli::command().get_subcommands() {
        for argument in role.get_arguments() {
            let Some(name) = argument.get_env().map(|name| name.to_string_lossy().into_owned()) else {
                continue;
            };
            if !seen.insert(name.clone()) {
                continue;
            }
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let choices = argument.get_possible_values();
            let default =
                argument.get_default_values().first().and_then(|value| value.to_str()).unwrap_or_default();
            let _ = write!(text, "\n# {help}.");
            if !choices.is_empty() {
                let names: Vec<&str> = choices.iter().map(clap::builder::PossibleValue::get_name).collect();
                let _ = write!(text, " One of: {}.", names.join(", "));
            }
            let _ = writeln!(text, "\n#{name}={default}");
        }
    }
    text
}

/// Switches: `true/false/1/0/yes/no/on/off`.
fn switch() -> impl clap::builder::TypedValueParser<Value = bool> {
    use clap::builder::TypedValueParser;
    PossibleValuesParser::new(["true", "false", "1", "0", "yes", "no", "on", "off"])
        .map(|text| matches!(text.as_str(), "true" | "1" | "yes" | "on"))
}

fn api_url(text: &str) -> Result<String, String> {
    let url: reqwest::Url = text.parse().map_err(|error| format!("not an address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("an address begins with http:// or https://".into());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// `127.0.0.1:8080`, or a port of this machine.
fn http_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.trim().parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| text.trim().parse()).map_err(|_| "an address is like 127.0.0.1:8080, or a port".into())
}

/// Whoever can read along can sign in as somebody else, so it is https, or this machine.
fn dashboard_url(text: &str) -> Result<reqwest::Url, String> {
    let url: reqwest::Url = text.trim().parse().map_err(|error| format!("not an address: {error}"))?;
    let local = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        return Err("it begins with https://, or with http:// and names this machine".into());
    }
    if url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
        return Err("it ends with the host; the dashboard has a host of its own".into());
    }
    Ok(url)
}

fn scope(text: &str) -> Result<Scope, String> {
    match text {
        "local" => Ok(Scope::Local),
        "link" => Ok(Scope::Link),
        "fleet" => Ok(Scope::Fleet),
        _ => Err("local, link or fleet".into()),
    }
}

fn price(text: &str) -> Result<f64, String> {
    let price: f64 = text.trim().parse().map_err(|_| "a price is a number such as 0.125")?;
    (price.is_finite() && price >= 0.0).then_some(price).ok_or_else(|| "a price is not negative".into())
}

fn snowflake(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let fits = (17..=20).contains(&text.len());
    let id = text.parse().ok().filter(|_| fits);
    id.ok_or_else(|| "an id has 17 to 20 digits; names are not accepted, because they can be reused".into())
}

fn prefix(text: &str) -> Result<String, String> {
    if is_prefix(text) { Ok(text.to_owned()) } else { Err(A_PREFIX.into()) }
}

/// What DynamoDB allows in a table's name, with room for the name itself.
fn table_prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (text.len() <= 100 && text.chars().all(allowed))
        .then(|| text.to_owned())
        .ok_or_else(|| "at most 100 of a-z A-Z 0-9 - _ .".into())
}

/// `auto`, `4`, `0-3/8`: from, to and in all; `shared` or `shared/8`.
fn shards(text: &str) -> Result<Shards, String> {
    let wrong = || "auto, a number of shards, a range such as 0-3/8, or shared".to_owned();
    match text.strip_prefix("shared") {
        Some("") => return Ok(Shards::Divided(None)),
        Some(rest) => {
            let total = rest.strip_prefix('/').and_then(|total| total.parse().ok());
            let sound = total.filter(|total| *total > 0 && *total <= SHARED_SHARDS_MAX);
            return sound.map(|total| Shards::Divided(Some(total))).ok_or_else(wrong);
        }
        None if text == "auto" => return Ok(Shards::Advised),
        None => {}
    }
    let (range, total) = match text.split_once('/') {
        None => {
            let total: u32 = text.parse().map_err(|_| wrong())?;
            (0..total, total)
        }
        Some((range, total)) => {
            let (first, last) = range.split_once('-').ok_or_else(wrong)?;
            let first: u32 = first.parse().map_err(|_| wrong())?;
            let last: u32 = last.parse().map_err(|_| wrong())?;
            (first..last.checked_add(1).ok_or_else(wrong)?, total.parse().map_err(|_| wrong())?)
        }
    };
    let sound = !range.is_empty() && range.end <= total;
    sound.then_some(Shards::Range(range, total)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::parse_from_args(args.iter().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn shards_are_read_in_every_form() {
        assert_eq!(shards("auto"), Ok(Shards::Advised));
        assert_eq!(shards("4"), Ok(Shards::Range(0..4, 4)));
        assert_eq!(shards("0-3/8"), Ok(Shards::Range(0..4, 8)));
        assert_eq!(shards("shared"), Ok(Shards::Divided(None)));
        assert_eq!(shards("shared/8"), Ok(Shards::Divided(Some(8))));
        for wrong in
            ["shared/0", "shared8", "shared/", "", "0", "3-1/8", "0-8/8", "x", "-1", "0-3", "0-4294967295/1"]
        {
            assert!(shards(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prefix_is_short_and_not_a_word() {
        for right in [".", "!", "?", "mn!", "..", "ü!"] {
            assert!(prefix(right).is_ok(), "{right}");
        }
        for wrong in ["", "mn", "a b!", "/", "@x", "#!", "<!", "`", "toolong!", "42"] {
            assert!(prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wrong_value_is_an_error_with_its_option() {
        let error = parse(&["mneme", "run", "--bot-owners", "bob#1234"]).unwrap_err().to_string();
        assert!(error.contains("--bot-owners"), "{error}");
        assert!(error.contains("17 to 20 digits"), "{error}");
        assert!(parse(&["mneme", "run", "--create-tables", "maybe"]).is_err());
        for line in ["mneme tables check --store embedded", "mneme tables --store embedded check"] {
            assert!(parse(&line.split(' ').collect::<Vec<_>>()).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_token_is_not_shown() {
        let cli = parse(&["mneme", "run", "--discord-token", "hush"]).unwrap();
        assert!(!format!("{cli:?}").contains("hush"));
    }

    #[test]
    fn the_example_names_every_variable_once() {
        let text = env_example();
        assert_eq!(text.matches("#DISCORD_TOKEN=\n").count(), 1, "{text}");
        assert_eq!(text.matches("\n#LOG=info\n").count(), 1);
    }
}
