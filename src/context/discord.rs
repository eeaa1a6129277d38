//! What commands may ask Discord itself, beyond what came with the event.

use std::sync::Arc;

use anyhow::bail;
use serenity::all::{Cache, ChannelId, GuildId, Http, HttpError, Permissions, RoleId, UserId};

use super::{Caller, Instance};

/// A handle to Discord's REST API and to what the gateway told us. Nothing is sent through it: replies go
/// through `bot::send` alone.
#[derive(Clone, Debug)]
pub struct Discord {
    pub(crate) http: Arc<Http>,
    pub(crate) cache: Arc<Cache>,
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
        Self { http, cache }
    }

    /// Nobody answers; for tests of functions that never ask.
    pub fn nowhere() -> Self {
        Self { http: Arc::new(Http::new("")), cache: Arc::default() }
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
}

/// Discord says that there is no such thing.
fn is_missing(error: &serenity::Error) -> bool {
    let serenity::Error::Http(HttpError::UnsuccessfulRequest(response)) = error else { return false };
    response.status_code.as_u16() == 404
}
