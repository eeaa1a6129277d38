//! What commands may ask Discord itself, beyond what came with the event.

use std::sync::Arc;

use serenity::all::{Cache, GuildId, Http, HttpError, UserId};

/// A handle to Discord's REST API and to what the gateway told us. Nothing is sent through it: replies go
/// through `bot::send` alone.
#[derive(Clone, Debug)]
pub struct Discord {
    pub(crate) http: Arc<Http>,
    pub(crate) cache: Arc<Cache>,
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
        Self { http, cache }
    }

    /// Nobody answers; for tests of functions that never ask.
    pub fn nowhere() -> Self {
        Self { http: Arc::new(Http::new("")), cache: Arc::default() }
    }

    /// A member of a server; `None` if they are not there. Unknown is an error, never `None`.
    pub async fn member(&self, server_id: u64, user_id: u64) -> anyhow::Result<Option<Member>> {
        match self.http.get_member(GuildId::new(server_id), UserId::new(user_id)).await {
            Ok(member) => Ok(Some(Member {
                id: member.user.id.get(),
                name: member.display_name().to_owned(),
                bot: member.user.bot,
            })),
            Err(serenity::Error::Http(HttpError::UnsuccessfulRequest(response)))
                if response.status_code.as_u16() == 404 =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}
