//! What commands may ask Discord itself, beyond what came with the event.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures::future::BoxFuture;
use serde_json::json;
use serenity::all::{
    ActionRowComponent, ButtonKind, Cache, ChannelId, GuildId, Http, HttpError, Message, MessageId,
    MessagePagination, UserId,
};

use crate::context::{Reply, Services};

/// How many messages Discord shows at once; it would give up to 100.
pub const PAGE: u8 = 50;

/// Direct channels remembered: they never change, but nobody is written to for ever.
const DIRECT_MAX: usize = 10_000;

/// A handle to Discord's REST API and to what the gateway told us. Messages go through `bot::send` alone,
/// which lends itself to [`Services::post`].
#[derive(Clone)]
pub struct Discord {
    pub(crate) http: Arc<Http>,
    pub(crate) cache: Arc<Cache>,
    post: Arc<OnceLock<Post>>,
    direct: Arc<Mutex<HashMap<u64, u64>>>,
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

/// Sends a letter.
pub type Post = Arc<dyn for<'a> Fn(&'a Services, Letter) -> BoxFuture<'a, Delivery> + Send + Sync>;

/// A message that is there, as far as we look for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    pub id: u64,
    /// The ids of its buttons.
    pub buttons: Vec<String>,
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
        Self { http, cache, post: Arc::default(), direct: Arc::default() }
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

    /// A member of a server; `None` if they are not there. Unknown is an error, never `None`.
    pub async fn member(&self, server_id: u64, user_id: u64) -> anyhow::Result<Option<Member>> {
        match self.http.get_member(GuildId::new(server_id), UserId::new(user_id)).await {
            Ok(member) => Ok(Some(Member {
                id: member.user.id.get(),
                name: member.display_name().to_owned(),
                bot: member.user.bot,
            })),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(error.into()),
        }
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
        Self { id: message.id.get(), buttons: buttons.collect() }
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
