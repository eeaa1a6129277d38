//! [`Remote`]: people with accounts on a running server that is compatible with Discord, each with a gateway
//! connection of its own, driven as Discord's own client drives an account.
//!
//! A token goes into the header of its account's calls and into its IDENTIFY, and nowhere else. No redirect is
//! followed, and the gateway that the server names is held against Discord's hosts as the server itself was.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::{SinkExt, StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval_at, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::army::accounts::{Account, Place, is_refused};
use crate::army::discord::Arrival;
use crate::sim::{Act, Audience, Id};
use crate::tasks::Tasks;

/// Accounts that come at the same time: few enough that a small server does not take it for an attack.
const COMING: usize = 8;

/// A gateway says hello, and is ready, within this time, or it is not one.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// One call. A server that has not answered by then will not.
const CALL_WITHIN: Duration = Duration::from_secs(20);

/// How often a call is made again that came too early.
const TRIES_MAX: u32 = 5;
/// A server that asks for more patience than this does not want the call.
const PATIENCE_MAX: f64 = 30.0;

/// When the gateway tells the number of an interaction at the latest.
const BEGINS_WITHIN: Duration = Duration::from_secs(10);

/// Before a connection is made again that broke.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// Events on their way to soldiers; connections wait where the army is slower than that.
const EVENTS_MAX: usize = 65_536;

/// Interactions and forms of one account that are remembered, the newest.
const REMEMBERED_MAX: usize = 256;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// An event, and whose client is sent it.
type Heard = (Audience, Arc<Value>);
type Events = mpsc::Sender<Heard>;

/// People on a server elsewhere.
pub struct Remote {
    calls: Calls,
    /// The bot under test.
    pub bot: Id,
    people: BTreeMap<Id, Arc<Person>>,
    names: Mutex<Names>,
    commands: Mutex<BTreeMap<Option<Id>, Vec<Value>>>,
    ears: Mutex<Option<mpsc::Receiver<Heard>>>,
    next_nonce: AtomicU64,
}

/// Which account a name of the tree has.
#[derive(Default)]
struct Names {
    given: BTreeMap<String, Id>,
    /// In the order of the file.
    accounts: Vec<(String, Id)>,
}

impl Names {
    /// The account of this name, or one that nobody has: the last of the file, so that the first ones are there for
    /// those who come by name.
    fn give(&mut self, name: &str) -> Result<Id, String> {
        if let Some(id) = self.given.get(name) {
            return Ok(*id);
        }
        let is_free = |id: &Id| !self.given.values().any(|given| given == id);
        let named = self.accounts.iter().find(|(account, _)| account == name);
        let found = match named {
            Some((_, id)) if is_free(id) => *id,
            Some(_) => return Err(format!("the account {name} was given to somebody else")),
            None => {
                let free = self.accounts.iter().rev().map(|(_, id)| *id).find(is_free);
                free.ok_or_else(|| format!("all {} accounts are in use", self.accounts.len()))?
            }
        };
        self.given.insert(name.to_owned(), found);
        Ok(found)
    }
}

/// Somebody with an account.
struct Person {
    id: Id,
    token: SecretString,
    session: String,
    guilds: Vec<Guild>,
    open: Mutex<Open>,
}

struct Guild {
    id: Id,
    name: String,
    /// Where one can write, in the server's order.
    channels: Vec<(String, Id)>,
}

/// What one account waits for.
#[derive(Default)]
struct Open {
    begins: BTreeMap<String, oneshot::Sender<Id>>,
    /// By nonce: autocompletion is answered under it.
    begun: BTreeMap<String, Id>,
    /// The channels that interactions began in.
    places: BTreeMap<Id, Id>,
    /// Forms that were shown, by the interaction that they belong to.
    forms: BTreeMap<Id, Value>,
}

impl Person {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guild_of(&self, channel: Id) -> Option<Id> {
        let has = |guild: &&Guild| guild.channels.iter().any(|(_, id)| *id == channel);
        self.guilds.iter().find(has).map(|guild| guild.id)
    }

    /// What the gateway tells, as soldiers know it; `None`: it is for us alone.
    fn hear(&self, name: &str, data: &Value) -> Option<Value> {
        let (id, nonce) = (&data["id"], data["nonce"].as_str().unwrap_or_default());
        match name {
            "INTERACTION_CREATE" => {
                let mut open = self.open();
                let (id, waits) = (number(id)?, open.begins.remove(nonce)?);
                remember(&mut open.begun, nonce.to_owned(), id);
                // Whoever began it may have given up.
                waits.send(id).ok();
                None
            }
            "INTERACTION_FAILURE" => {
                Some(json!({"t": "INTERACTION", "d": {"interaction": id, "state": "failed"}}))
            }
            "INTERACTION_MODAL_CREATE" => {
                let mut form = data.clone();
                form["interaction"] = id.clone();
                remember(&mut self.open().forms, number(id)?, form.clone());
                Some(json!({"t": "MODAL", "d": form}))
            }
            "APPLICATION_COMMAND_AUTOCOMPLETE_RESPONSE" => {
                let of = self.open().begun.get(nonce)?.to_string();
                Some(json!({"t": "AUTOCOMPLETE", "d": {"interaction": of, "choices": data["choices"]}}))
            }
            _ => Some(json!({"t": name, "d": data})),
        }
    }

    /// Hears what its client is sent, over as many connections as it takes.
    async fn listen(
        self: Arc<Self>,
        mut line: Line,
        gateway: Url,
        events: Events,
        shutdown: CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            let end = shutdown.run_until_cancelled(line.attend(&self, &events)).await;
            if end.is_none() {
                line.socket.close(None).await.ok();
                return;
            }
            line = loop {
                if shutdown.run_until_cancelled(sleep(AGAIN_AFTER)).await.is_none() {
                    return;
                }
                match shutdown.run_until_cancelled(Line::connect(&gateway, &self.token)).await {
                    None => return,
                    Some(Ok((line, _))) => break line,
                    Some(Err(error)) => {
                        warn!(person = self.id, error = format!("{error:#}"), "an account cannot come back");
                    }
                }
            };
        }
    }
}

fn remember<K: Ord + Clone, V>(all: &mut BTreeMap<K, V>, key: K, value: V) {
    all.insert(key, value);
    if all.len() > REMEMBERED_MAX {
        all.pop_first();
    }
}

/// A gateway connection of one account.
struct Line {
    socket: Socket,
    heartbeat: Duration,
    sequence: Value,
}

impl Line {
    /// Comes to Discord; answers READY as well.
    async fn connect(gateway: &Url, token: &SecretString) -> anyhow::Result<(Self, Value)> {
        let coming = async {
            let (socket, _) = connect_async(gateway.as_str()).await.context("open a gateway connection")?;
            let mut line = Self { socket, heartbeat: Duration::MAX, sequence: Value::Null };
            let hello = line.frame().await?;
            let interval = hello["d"]["heartbeat_interval"].as_u64().context("the gateway says no hello")?;
            line.heartbeat = Duration::from_millis(interval.max(1));
            let properties = json!({"os": "linux", "browser": "mneme army", "device": ""});
            let wish = json!({"token": token.expose_secret(), "properties": properties});
            line.send(&json!({"op": 2, "d": wish})).await?;
            loop {
                let frame = line.frame().await?;
                match (frame["op"].as_u64(), frame["t"].as_str()) {
                    (Some(0), Some("READY")) => return Ok((line, frame["d"].clone())),
                    (Some(9), _) => bail!("the gateway does not take the session"),
                    _ => {}
                }
            }
        };
        timeout(READY_WITHIN, coming).await.context("the gateway is silent")?
    }

    async fn send(&mut self, frame: &Value) -> anyhow::Result<()> {
        Ok(self.socket.send(Message::Text(frame.to_string())).await?)
    }

    /// The next frame.
    async fn frame(&mut self) -> anyhow::Result<Value> {
        loop {
            match self.socket.next().await.context("the gateway hung up")?? {
                Message::Text(text) => {
                    let frame: Value = serde_json::from_str(&text).context("read a frame")?;
                    if !frame["s"].is_null() {
                        self.sequence = frame["s"].clone();
                    }
                    return Ok(frame);
                }
                Message::Close(frame) => {
                    let code = frame.map(|frame| u16::from(frame.code));
                    match code {
                        Some(4004) => bail!("the gateway does not know the token"),
                        code => bail!("the gateway closed the connection, with code {code:?}"),
                    }
                }
                _ => {}
            }
        }
    }

    /// Passes events on until the connection is over.
    async fn attend(&mut self, person: &Person, events: &Events) {
        let mut beats = interval_at(Instant::now() + self.heartbeat, self.heartbeat);
        loop {
            let frame = tokio::select! {
                _ = beats.tick() => {
                    let beat = json!({"op": 1, "d": self.sequence});
                    if self.send(&beat).await.is_err() {
                        return;
                    }
                    continue;
                }
                frame = self.frame() => frame,
            };
            let Ok(frame) = frame else { return };
            let (Some(0), Some(name)) = (frame["op"].as_u64(), frame["t"].as_str()) else { continue };
            if let Some(event) = person.hear(name, &frame["d"])
                && events.send((Audience::Person(person.id), Arc::new(event))).await.is_err()
            {
                return;
            }
        }
    }
}

/// The way to the server.
struct Calls {
    client: reqwest::Client,
    api: Url,
    limited: AtomicU64,
}

impl Calls {
    fn new(url: &Url) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(CALL_WITHIN)
            .user_agent(concat!("mneme army ", env!("CARGO_PKG_VERSION")))
            .build()?;
        let mut api = url.clone();
        if api.path().trim_matches('/').is_empty() {
            api.set_path("/api/v10");
        }
        Ok(Self { client, api, limited: AtomicU64::new(0) })
    }

    /// Calls the server; what it refuses is told in its words.
    async fn call(
        &self,
        token: Option<&SecretString>,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let mut url = self.api.clone();
        url.path_segments_mut().map_err(|()| "that is no address".to_owned())?.pop_if_empty().extend(path);
        let mut asked = self.client.request(method, url).query(query);
        if let Some(token) = token {
            asked = asked.header("authorization", token.expose_secret());
        }
        if let Some(body) = body {
            asked = asked.header("content-type", "application/json").body(body.to_string());
        }
        for _ in 0..TRIES_MAX {
            let again = asked.try_clone().ok_or("a body that is in memory can be sent again")?;
            let response = again.send().await.map_err(|error| unreached(&error))?;
            let (status, text) =
                (response.status(), response.text().await.map_err(|error| unreached(&error))?);
            let answer: Value = serde_json::from_str(&text).unwrap_or_default();
            if status == StatusCode::TOO_MANY_REQUESTS {
                self.limited.fetch_add(1, Ordering::Relaxed);
                let seconds = answer["retry_after"].as_f64().unwrap_or(1.0);
                if !(0.0..=PATIENCE_MAX).contains(&seconds) {
                    return Err(format!("too many calls: the server wants {seconds} s of silence"));
                }
                sleep(Duration::from_secs_f64(seconds)).await;
                continue;
            }
            if status.is_success() {
                return Ok(answer);
            }
            let words = answer["message"].as_str().unwrap_or("it gave no reason");
            return Err(format!("{words} ({})", status.as_u16()));
        }
        Err("too many calls: the server took none of several tries".to_owned())
    }
}

fn unreached(error: &reqwest::Error) -> String {
    let why = if error.is_timeout() { "it did not answer in time" } else { "there is no connection" };
    format!("the server could not be reached: {why}")
}

fn number(value: &Value) -> Option<Id> {
    value.as_str()?.parse().ok()
}

impl Remote {
    /// Lets all accounts come, and finds the bot under test: in the commands that are offered in this server.
    pub async fn open(place: &Place, server: &str, tasks: &Tasks) -> anyhow::Result<Self> {
        let calls = Calls::new(&place.url)?;
        let told = calls.call(None, Method::GET, &["gateway"], &[], None).await;
        let told = told.map_err(anyhow::Error::msg).context("ask the server for its gateway")?;
        let mut gateway =
            Url::parse(told["url"].as_str().unwrap_or_default()).context("the server names no gateway")?;
        ensure!(!is_refused(&gateway), "the server's gateway is Discord's own");
        gateway.set_query(Some("v=10&encoding=json"));
        let (events, heard) = mpsc::channel(EVENTS_MAX);
        let coming = place.accounts.iter().map(|account| come(account, &gateway));
        let come: Vec<(Person, Line)> = futures::stream::iter(coming).buffered(COMING).try_collect().await?;
        let mut names = Names::default();
        let mut people = BTreeMap::new();
        for (account, (person, line)) in place.accounts.iter().zip(come) {
            let person = Arc::new(person);
            names.accounts.push((account.name.clone(), person.id));
            let listening = person.clone().listen(line, gateway.clone(), events.clone(), tasks.shutdown());
            tasks.spawn("account", listening);
            ensure!(people.insert(person.id, person).is_none(), "{} has somebody else's token", account.name);
        }
        info!(accounts = people.len(), "all accounts have come");
        let mut remote = Self {
            calls,
            bot: 0,
            people,
            names: Mutex::new(names),
            commands: Mutex::default(),
            ears: Mutex::new(Some(heard)),
            next_nonce: AtomicU64::new(1),
        };
        remote.bot = match place.bot {
            Some(bot) => bot,
            None => remote.find_bot(server).await?,
        };
        Ok(remote)
    }

    async fn find_bot(&self, server: &str) -> anyhow::Result<Id> {
        let person = self.people.values().next().context("there is an account")?;
        let guild = guild(person, server).map_err(anyhow::Error::msg)?.id;
        let commands = self.load_commands(person, Some(guild)).await.map_err(anyhow::Error::msg)?;
        let mut bots: Vec<Id> =
            commands.iter().filter_map(|command| number(&command["application_id"])).collect();
        bots.sort_unstable();
        bots.dedup();
        match bots[..] {
            [bot] => Ok(bot),
            [] => bail!("no bot offers a command in {server}; --bot-id says which one is meant"),
            _ => bail!("{} bots offer commands in {server}; --bot-id says which one is meant", bots.len()),
        }
    }

    fn person(&self, id: Id) -> Result<&Arc<Person>, String> {
        self.people.get(&id).ok_or_else(|| "nobody has that account".to_owned())
    }

    /// Somebody comes as this person.
    pub fn come(&self, name: &str, server: &str, room: &str) -> Result<Arrival, String> {
        let person = self.names().give(name)?;
        self.arrive(person, server, room)
    }

    /// A person goes to a channel of this name, or the first there is.
    pub fn arrive(&self, person: Id, server: &str, room: &str) -> Result<Arrival, String> {
        let guild = guild(self.person(person)?, server)?;
        let named = guild.channels.iter().find(|(name, _)| name == room);
        let (_, channel) = named
            .or_else(|| guild.channels.first())
            .ok_or_else(|| format!("nobody can write anywhere in {server}"))?;
        Ok(Arrival { person, server: guild.id, channel: *channel })
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn find_channel(&self, server: Id, name: &str) -> Option<Id> {
        let guilds =
            self.people.values().flat_map(|person| &person.guilds).filter(|guild| guild.id == server);
        let mut channels = guilds.flat_map(|guild| &guild.channels);
        channels.find(|(channel, _)| channel == name).map(|(_, id)| *id)
    }

    /// Somebody by the name that the tree gave them, or that of their account.
    pub fn find_person(&self, name: &str) -> Option<Id> {
        let names = self.names();
        let account = names.accounts.iter().find(|(account, _)| account == name).map(|(_, id)| *id);
        names.given.get(name).copied().or(account)
    }

    pub fn limited(&self) -> u64 {
        self.calls.limited.load(Ordering::Relaxed)
    }

    pub(super) fn ears(&self) -> mpsc::Receiver<Heard> {
        let mut ears = self.ears.lock().unwrap_or_else(PoisonError::into_inner);
        ears.take().unwrap_or_else(|| mpsc::channel(1).1)
    }

    pub(super) async fn message_before(&self, person: Id, channel: Id, before: Id) -> Vec<Value> {
        let Ok(person) = self.person(person) else { return Vec::new() };
        let path = ["channels", &channel.to_string(), "messages"];
        let query = [("limit", "1".to_owned()), ("before", before.to_string())];
        let page = self.calls.call(Some(&person.token), Method::GET, &path, &query, None).await;
        page.ok().and_then(|page| page.as_array().cloned()).unwrap_or_default()
    }

    /// Does what a client does.
    pub async fn act(&self, person: Id, act: Act) -> Result<Value, String> {
        let person = self.person(person)?;
        let call = async |method: Method, path: &[&str], body: Option<&Value>| {
            self.calls.call(Some(&person.token), method, path, &[], body).await
        };
        match act {
            Act::Say { channel, text, reply_to, ping, files } => {
                if !files.is_empty() {
                    return Err("accounts cannot attach files".to_owned());
                }
                let mut body = json!({"content": text, "tts": false, "nonce": self.nonce()});
                if let Some(message) = reply_to {
                    body["message_reference"] = json!({"message_id": message.to_string()});
                    body["allowed_mentions"] =
                        json!({"parse": ["users", "roles", "everyone"], "replied_user": ping});
                }
                let path = ["channels", &channel.to_string(), "messages"];
                let made = call(Method::POST, &path, Some(&body)).await?;
                Ok(json!({"message": made["id"]}))
            }
            Act::Edit { channel, message, text } => {
                let path = ["channels", &channel.to_string(), "messages", &message.to_string()];
                call(Method::PATCH, &path, Some(&json!({"content": text}))).await?;
                Ok(json!({}))
            }
            Act::Delete { channel, message } => {
                let path = ["channels", &channel.to_string(), "messages", &message.to_string()];
                call(Method::DELETE, &path, None).await
            }
            Act::Typing { channel } => {
                call(Method::POST, &["channels", &channel.to_string(), "typing"], None).await
            }
            Act::React { channel, message, emoji, remove } => {
                let (channel, message) = (channel.to_string(), message.to_string());
                let path = ["channels", &channel, "messages", &message, "reactions", &emoji, "@me"];
                call(if remove { Method::DELETE } else { Method::PUT }, &path, None).await
            }
            Act::OpenDm {} => {
                let body = json!({"recipients": [self.bot.to_string()]});
                let made = call(Method::POST, &["users", "@me", "channels"], Some(&body)).await?;
                Ok(json!({"channel": made["id"]}))
            }
            other => self.interact(person, other).await,
        }
    }

    fn nonce(&self) -> String {
        self.next_nonce.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Begins an interaction, and waits until the gateway has told its number.
    async fn interact(&self, person: &Arc<Person>, act: Act) -> Result<Value, String> {
        let mut body = self.interaction(person, act).await?;
        let nonce = self.nonce();
        let channel = number(&body["channel_id"]).unwrap_or_default();
        body["nonce"] = json!(nonce);
        body["session_id"] = json!(person.session);
        body["application_id"] = json!(self.bot.to_string());
        body["guild_id"] = json!(person.guild_of(channel).map(|guild| guild.to_string()));
        let (begins, begun) = oneshot::channel();
        person.open().begins.insert(nonce.clone(), begins);
        let asked =
            self.calls.call(Some(&person.token), Method::POST, &["interactions"], &[], Some(&body)).await;
        let begun = match asked {
            Ok(_) => timeout(BEGINS_WITHIN, begun).await.ok().and_then(Result::ok),
            Err(why) => {
                person.open().begins.remove(&nonce);
                return Err(why);
            }
        };
        match begun {
            Some(id) => {
                remember(&mut person.open().places, id, channel);
                Ok(json!({"interaction": id.to_string()}))
            }
            None => {
                person.open().begins.remove(&nonce);
                Err("the server did not tell that the interaction began".to_owned())
            }
        }
    }

    /// What the call says about it.
    async fn interaction(&self, person: &Arc<Person>, act: Act) -> Result<Value, String> {
        let used = |kind: u64, channel: Id, command: &Value, options: Value| {
            let (id, name, version) = (&command["id"], &command["name"], &command["version"]);
            let data = json!({"id": id, "name": name, "version": version, "type": 1, "options": options, "attachments": []});
            json!({"type": kind, "channel_id": channel.to_string(), "data": data})
        };
        match act {
            Act::Slash { channel, command, options, files } if files.is_empty() => {
                Ok(used(2, channel, &self.command(person, channel, &command, 1).await?, options))
            }
            Act::Autocomplete { channel, command, options } => {
                Ok(used(4, channel, &self.command(person, channel, &command, 1).await?, options))
            }
            Act::Menu { channel, message, command } => {
                let command = self.command(person, channel, &command, 3).await?;
                let mut body = used(2, channel, &command, json!([]));
                (body["data"]["type"], body["data"]["target_id"]) = (json!(3), json!(message.to_string()));
                Ok(body)
            }
            Act::Press { channel, message, custom_id, values } => {
                let mut data = json!({"component_type": 2, "custom_id": custom_id});
                if !values.is_empty() {
                    data = json!({"component_type": 3, "custom_id": custom_id, "values": values});
                }
                let (channel, message) = (channel.to_string(), message.to_string());
                Ok(
                    json!({"type": 3, "channel_id": channel, "message_id": message, "message_flags": 0, "data": data}),
                )
            }
            Act::Submit { interaction, inputs } => {
                let open = || {
                    let open = person.open();
                    Some((open.forms.get(&interaction)?.clone(), *open.places.get(&interaction)?))
                };
                let (form, channel) = open().ok_or("that form is closed")?;
                let mut rows = form["components"].clone();
                for input in rows.as_array_mut().into_iter().flatten().flat_map(inputs_of) {
                    let id = input["custom_id"].as_str().unwrap_or_default();
                    let text = inputs.get(id).cloned().unwrap_or_default();
                    *input = json!({"type": 4, "custom_id": id, "value": text});
                }
                let data =
                    json!({"id": form["interaction"], "custom_id": form["custom_id"], "components": rows});
                Ok(json!({"type": 5, "channel_id": channel.to_string(), "data": data}))
            }
            _ => Err("accounts cannot do that".to_owned()),
        }
    }

    /// A command as it is offered in a channel.
    async fn command(
        &self,
        person: &Arc<Person>,
        channel: Id,
        name: &str,
        kind: u64,
    ) -> Result<Value, String> {
        let place = person.guild_of(channel);
        let known = self.commands().get(&place).cloned();
        let commands = match known {
            Some(commands) => commands,
            None => self.load_commands(person, place).await?,
        };
        let ours = |command: &&Value| {
            number(&command["application_id"]) == Some(self.bot)
                && command["name"] == name
                && command["type"].as_u64().unwrap_or(1) == kind
        };
        commands.iter().find(ours).cloned().ok_or_else(|| format!("There is no command /{name} here."))
    }

    fn commands(&self) -> MutexGuard<'_, BTreeMap<Option<Id>, Vec<Value>>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load_commands(&self, person: &Person, place: Option<Id>) -> Result<Vec<Value>, String> {
        let guild = place.map(|guild| guild.to_string());
        let path = match &guild {
            Some(guild) => ["guilds", guild.as_str(), "application-command-index"],
            None => ["users", "@me", "application-command-index"],
        };
        let told = self.calls.call(Some(&person.token), Method::GET, &path, &[], None).await?;
        let commands = told["application_commands"].as_array().cloned().unwrap_or_default();
        self.commands().insert(place, commands.clone());
        Ok(commands)
    }
}

/// The inputs of one row of a form.
fn inputs_of(row: &mut Value) -> impl Iterator<Item = &mut Value> {
    row["components"].as_array_mut().into_iter().flatten()
}

/// Lets one account come.
async fn come(account: &Account, gateway: &Url) -> anyhow::Result<(Person, Line)> {
    let come = Line::connect(gateway, &account.token).await;
    let (line, ready) = come.with_context(|| format!("let the account {} come", account.name))?;
    let person = Person {
        id: number(&ready["user"]["id"]).context("the gateway says who one is")?,
        token: account.token.clone(),
        session: ready["session_id"].as_str().unwrap_or_default().to_owned(),
        guilds: ready["guilds"].as_array().into_iter().flatten().filter_map(read_guild).collect(),
        open: Mutex::default(),
    };
    Ok((person, line))
}

fn read_guild(guild: &Value) -> Option<Guild> {
    // Announcements can be written into as well as plain channels.
    let is_text = |channel: &&Value| matches!(channel["type"].as_u64(), Some(0 | 5));
    let may = |channel: &&Value| channel["can_send"] != false;
    let channels = guild["channels"].as_array().into_iter().flatten().filter(is_text).filter(may);
    let named = |channel: &Value| Some((channel["name"].as_str()?.to_owned(), number(&channel["id"])?));
    // Some servers tell of a guild's name among its properties.
    let name = guild["name"].as_str().or(guild["properties"]["name"].as_str()).unwrap_or_default();
    Some(Guild {
        id: number(&guild["id"])?,
        name: name.to_owned(),
        channels: channels.filter_map(named).collect(),
    })
}

/// The server of this name or number, among those that somebody is in.
fn guild<'a>(person: &'a Person, server: &str) -> Result<&'a Guild, String> {
    let found = person.guilds.iter().find(|guild| guild.name == server || guild.id.to_string() == server);
    found.ok_or_else(|| {
        let names: Vec<&str> = person.guilds.iter().map(|guild| guild.name.as_str()).collect();
        format!("the account is not in a server {server}; it is in: {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_account_and_none_is_given_twice() {
        let accounts =
            ["ann", "bob", "cat"].iter().zip(1..).map(|(name, id)| ((*name).to_owned(), id)).collect();
        let mut names = Names { accounts, ..Names::default() };
        assert_eq!(names.give("soldier-0"), Ok(3));
        assert_eq!(names.give("ann"), Ok(1));
        assert_eq!(names.give("soldier-0"), Ok(3));
        assert!(names.give("cat").unwrap_err().contains("somebody else"));
        assert_eq!(names.give("soldier-1"), Ok(2));
        assert_eq!(names.give("soldier-2").unwrap_err(), "all 3 accounts are in use");
    }
}
