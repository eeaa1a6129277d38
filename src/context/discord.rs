//! What commands may ask Discord itself, beyond what came with the event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::bail;
use futures::future::BoxFuture;
use reqwest::Url;
use reqwest::redirect::Policy;
use serde_json::json;
use serenity::all::{
    ActionRowComponent, ButtonKind, Cache, ChannelId, GuildId, Http, HttpError, Message, MessageId,
    MessagePagination, Permissions, RoleId, UserId,
};

use crate::context::{Attachment, Caller, Instance, Reply, Services};

/// How many messages Discord shows at once; it would give up to 100.
pub const PAGE: u8 = 50;

/// Direct channels remembered: they never change, but nobody is written to for ever.
const DIRECT_MAX: usize = 10_000;

/// Where Discord keeps the files of messages.
const FILE_HOSTS: [&str; 2] = ["cdn.discordapp.com", "media.discordapp.net"];

/// A command has eight seconds in all, and does something with the file.
const FETCH_LIMIT: Duration = Duration::from_secs(4);

/// A handle to Discord's REST API and to what the gateway told us. Messages go through `bot::send` alone,
/// which lends itself to [`Services::post`].
#[derive(Clone)]
pub struct Discord {
    pub(crate) http: Arc<Http>,
    pub(crate) cache: Arc<Cache>,
    post: Arc<OnceLock<Post>>,
    direct: Arc<Mutex<HashMap<u64, u64>>>,
    /// For files, which are fetched without the token.
    files: Arc<OnceLock<reqwest::Client>>,
}

impl std::fmt::Debug for Discord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Discord(can post: {})", self.post.get().is_some())
    }
}

/// A message that nobody asked for a moment ago.
#[derive(Clone, Debug)]
pub struct Letter {
    pub channel_id: u64,
    /// At most 22 characters; each part of a long message adds its number.
    pub nonce: String,
    pub reply: Reply,
}

/// What became of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The id of its first message.
    Sent(u64),
    /// The place is gone, or we may not speak there.
    Closed,
    /// Discord said no for another reason; it is in the log.
    Refused,
    /// It may or may not be there.
    Unknown,
}

/// Why a file could not be had.
#[derive(Debug, thiserror::Error)]
pub enum NotFetched {
    #[error("it is {bytes} bytes long, and the limit is {max}")]
    TooLong { bytes: u64, max: u64 },
    /// Nobody is asked: who says where a file is must not choose whom we call.
    #[error("it is not where Discord keeps files")]
    Elsewhere,
    #[error("it is not there any more")]
    Gone,
    #[error("it could not be fetched")]
    Failed(#[source] Option<reqwest::Error>),
}

/// Sends a letter.
pub type Post = Arc<dyn for<'a> Fn(&'a Services, Letter) -> BoxFuture<'a, Delivery> + Send + Sync>;

/// A message that is there, as far as we look for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub id: u64,
    pub text: String,
    /// The ids of its buttons.
    pub buttons: Vec<String>,
}

/// What somebody may do in a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    roles: Vec<u64>,
    channels: Vec<u64>,
    permissions: Permissions,
}

impl Standing {
    /// Somebody with this standing, as if they had called.
    pub fn caller(self, id: u64, instance: &Instance) -> Caller {
        let permissions = self.permissions;
        let administrator = permissions.administrator();
        Caller {
            id,
            name: String::new(),
            roles: self.roles,
            channels: self.channels,
            moderator: permissions.manage_messages() || administrator,
            admin: permissions.manage_guild() || administrator,
            mentions_everyone: permissions.mention_everyone() || administrator,
            bot_owner: instance.bot_owners.contains(&id),
        }
    }
}

/// A server that the bot is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub id: u64,
    pub name: String,
    pub owner_id: u64,
    pub members: u64,
}

/// Somebody, as a server knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: u64,
    pub name: String,
    pub bot: bool,
}

impl Discord {
    pub fn new(http: Arc<Http>, cache: Arc<Cache>) -> Self {
        Self { http, cache, post: Arc::default(), direct: Arc::default(), files: Arc::default() }
    }

    /// Nobody answers; for tests of functions that never ask.
    pub fn nowhere() -> Self {
        Self::new(Arc::new(Http::new("")), Arc::default())
    }

    /// Takes what sends letters. The first one stays.
    pub fn lend(&self, post: Post) {
        // A second bot on the same handle would send through the same connection.
        let _ = self.post.set(post);
    }

    pub(super) fn poster(&self) -> Option<&Post> {
        self.post.get()
    }

    /// The bytes of a file that came with an event, if there are no more than this.
    pub async fn fetch(&self, file: &Attachment, max: u64) -> Result<Vec<u8>, NotFetched> {
        if file.bytes > max {
            return Err(NotFetched::TooLong { bytes: file.bytes, max });
        }
        let url = place_of_file(&file.url, self.http.proxy.as_deref()).ok_or(NotFetched::Elsewhere)?;
        let failed = |error| NotFetched::Failed(Some(error));
        let mut response = self.file_client().get(url).send().await.map_err(failed)?;
        match response.status().as_u16() {
            200 => {}
            403 | 404 => return Err(NotFetched::Gone),
            _ => return Err(NotFetched::Failed(None)),
        }
        let mut bytes = Vec::new();
        // What was said of its length before need not be true.
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() as u64 + chunk.len() as u64 > max {
                return Err(NotFetched::TooLong { bytes: file.bytes.max(max + 1), max });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn file_client(&self) -> &reqwest::Client {
        self.files.get_or_init(|| {
            let client = reqwest::Client::builder().timeout(FETCH_LIMIT).redirect(Policy::none());
            client.build().expect("the options are constants")
        })
    }

    /// Whether a server has this role, as far as the gateway told us.
    pub fn has_role(&self, server_id: u64, role_id: u64) -> bool {
        let guild = self.cache.guild(GuildId::new(server_id));
        guild.is_some_and(|guild| guild.roles.contains_key(&RoleId::new(role_id)))
    }

    /// Whether a server has this channel or open thread.
    pub fn has_channel(&self, server_id: u64, channel_id: u64) -> bool {
        let (guild, id) = (self.cache.guild(GuildId::new(server_id)), ChannelId::new(channel_id));
        guild.is_some_and(|guild| {
            guild.channels.contains_key(&id) || guild.threads.iter().any(|thread| thread.id == id)
        })
    }

    /// Whether somebody may see a channel of a server. Unknown is an error.
    pub async fn may_see(&self, server_id: u64, channel_id: u64, user_id: u64) -> anyhow::Result<bool> {
        if !self.has_channel(server_id, channel_id) {
            return Ok(false);
        }
        let standing = self.standing(server_id, &[channel_id], user_id).await?;
        Ok(standing.is_some_and(|standing| standing.permissions.view_channel()))
    }

    /// The servers that the bot is in, by name.
    pub fn servers(&self) -> Vec<Server> {
        let guilds = self.cache.guilds().into_iter().filter_map(|id| {
            let guild = self.cache.guild(id)?;
            let (id, owner_id) = (id.get(), guild.owner_id.get());
            Some(Server { id, name: guild.name.clone(), owner_id, members: guild.member_count })
        });
        let mut servers: Vec<Server> = guilds.collect();
        servers.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        servers
    }

    /// What a member may do in the last of these channels, a thread's being the one it hangs on; `None` if
    /// they are not there.
    pub async fn standing(
        &self,
        server_id: u64,
        channels: &[u64],
        user_id: u64,
    ) -> anyhow::Result<Option<Standing>> {
        let guild_id = GuildId::new(server_id);
        let member = match self.http.get_member(guild_id, UserId::new(user_id)).await {
            Ok(member) => member,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(guild) = self.cache.guild(guild_id) else { bail!("the server is not known yet") };
        let channel = channels.last().and_then(|id| guild.channels.get(&ChannelId::new(*id)));
        let permissions = match channel {
            Some(channel) => guild.user_permissions_in(channel, &member),
            None => guild.member_permissions(&member),
        };
        let roles = member.roles.iter().map(|role| role.get()).collect();
        Ok(Some(Standing { roles, channels: channels.to_vec(), permissions }))
    }

    /// A member of a server; `None` if they are not there. Unknown is an error, never `None`.
    pub async fn member(&self, server_id: u64, user_id: u64) -> anyhow::Result<Option<Member>> {
        match self.http.get_member(GuildId::new(server_id), UserId::new(user_id)).await {
            Ok(member) => Ok(Some(Member {
                id: member.user.id.get(),
                name: member.display_name().to_owned(),
                bot: member.user.bot,
            })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What somebody is called in a server, or anywhere, as far as the gateway told us.
    pub fn name_of(&self, server_id: u64, user_id: u64) -> Option<String> {
        if server_id == 0 || user_id == 0 {
            return None;
        }
        let id = UserId::new(user_id);
        let member = self
            .cache
            .guild(GuildId::new(server_id))
            .and_then(|guild| guild.members.get(&id).map(|member| member.display_name().to_owned()));
        member.or_else(|| self.cache.user(id).map(|user| user.display_name().to_owned()))
    }

    /// What a server is called, if the gateway told.
    pub fn server_name(&self, server_id: u64) -> Option<String> {
        Some(self.cache.guild(GuildId::new(server_id))?.name.clone())
    }

    /// Whether the bot is in a server. Unknown is an error, never `false`.
    pub async fn is_in(&self, server_id: u64) -> anyhow::Result<bool> {
        match self.http.get_guild(GuildId::new(server_id)).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(status(&error), Some(403 | 404)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The channel of direct messages with a person; `None` if Discord opens none. Unknown is an error.
    pub async fn direct(&self, user_id: u64) -> anyhow::Result<Option<u64>> {
        let known = || self.direct.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel_id) = known().get(&user_id) {
            return Ok(Some(*channel_id));
        }
        let channel = self.http.create_private_channel(&json!({ "recipient_id": user_id.to_string() })).await;
        match channel {
            Ok(channel) => {
                let mut known = known();
                if known.len() >= DIRECT_MAX {
                    known.clear();
                }
                known.insert(user_id, channel.id.get());
                Ok(Some(channel.id.get()))
            }
            Err(error) if matches!(status(&error), Some(400 | 403 | 404)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The last messages of a channel before one of them, newest first; `None` if we may not look.
    pub async fn messages(
        &self,
        channel_id: u64,
        before: Option<u64>,
    ) -> anyhow::Result<Option<Vec<Posted>>> {
        let before = before.map(|id| MessagePagination::Before(MessageId::new(id)));
        match self.http.get_messages(ChannelId::new(channel_id), before, Some(PAGE)).await {
            Ok(messages) => Ok(Some(messages.iter().map(Posted::of).collect())),
            Err(error) if matches!(status(&error), Some(403 | 404)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The address of a file, if it is Discord's, or that of the server that stands for it.
fn place_of_file(text: &str, server: Option<&str>) -> Option<Url> {
    let url = Url::parse(text).ok().filter(|url| url.username().is_empty() && url.password().is_none())?;
    let of_discord = url.scheme() == "https"
        && url.port().is_none()
        && url.host_str().is_some_and(|host| FILE_HOSTS.contains(&host));
    let of_server = server.and_then(|server| Url::parse(server).ok()).is_some_and(|server| {
        server.origin() == url.origin()
            && server.origin().is_tuple()
            && url.path().starts_with("/attachments/")
    });
    (of_discord || of_server).then_some(url)
}

impl Posted {
    fn of(message: &Message) -> Self {
        let components = message.components.iter().flat_map(|row| &row.components);
        let buttons = components.filter_map(|component| match component {
            ActionRowComponent::Button(button) => match &button.data {
                ButtonKind::NonLink { custom_id, .. } => Some(custom_id.clone()),
                _ => None,
            },
            _ => None,
        });
        let (id, text) = (message.id.get(), message.content.clone());
        Self { id, text, buttons: buttons.collect() }
    }
}

fn status(error: &serenity::Error) -> Option<u16> {
    match error {
        serenity::Error::Http(HttpError::UnsuccessfulRequest(response)) => {
            Some(response.status_code.as_u16())
        }
        _ => None,
    }
}

/// Discord says that there is no such thing.
fn is_missing(error: &serenity::Error) -> bool {
    status(error) == Some(404)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_fetched_from_discord_and_from_nowhere_else() {
        let server = Some("http://127.0.0.1:8080");
        for ours in [
            "https://cdn.discordapp.com/attachments/1/2/x.gz?ex=1&is=2&hm=3",
            "https://media.discordapp.net/ephemeral-attachments/1/2/x.gz",
            "http://127.0.0.1:8080/attachments/1/2/x.gz",
        ] {
            assert!(place_of_file(ours, server).is_some(), "{ours}");
        }
        for other in [
            "http://cdn.discordapp.com/attachments/1/2/x.gz",
            "https://cdn.discordapp.com:8443/attachments/1/2/x.gz",
            "https://cdn.discordapp.com.example.com/attachments/1/2/x.gz",
            "https://cdn.discordapp.com@example.com/attachments/1/2/x.gz",
            "https://user:pass@cdn.discordapp.com/attachments/1/2/x.gz",
            "http://169.254.169.254/latest/meta-data/",
            "http://127.0.0.1:8081/attachments/1/2/x.gz",
            "http://127.0.0.1:8080/api/v10/users/@me",
            "http://127.0.0.1:8080/attachments/../api/v10/users/@me",
            "http://localhost:8080/attachments/1/2/x.gz",
            "file:///etc/passwd",
            "data:text/plain,x",
            "",
        ] {
            assert!(place_of_file(other, server).is_none(), "{other}");
        }
        assert!(place_of_file("http://127.0.0.1:8080/attachments/1/2/x.gz", None).is_none());
    }

    #[tokio::test]
    async fn a_file_that_says_it_is_too_long_is_not_even_asked_for() {
        let file = Attachment { name: "x".into(), bytes: 11, url: "https://cdn.discordapp.com/x".into() };
        let refused = Discord::nowhere().fetch(&file, 10).await.unwrap_err();
        assert!(matches!(refused, NotFetched::TooLong { bytes: 11, max: 10 }));
        let elsewhere = Attachment { url: "http://127.0.0.1:1/x".into(), ..file };
        assert!(matches!(Discord::nowhere().fetch(&elsewhere, 11).await, Err(NotFetched::Elsewhere)));
    }
}
