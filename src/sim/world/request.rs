//! [`Request`] and [`Response`], and which function answers which route.

use std::sync::Arc;

use serde_json::{Value, json};

use super::error::{self, Result};
use super::model::{Id, Upload};
use super::record::RecordKind;
use super::route::Route;
use super::{World, render};

/// A call of the bot.
#[derive(Clone, Debug)]
pub struct Request {
    /// `None`: not modelled.
    pub route: Option<Route>,
    /// Method and path, for records.
    pub line: String,
    pub query: Vec<(String, String)>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The host that the caller used; the gateway is told to be there too.
    pub host: Option<String>,
    /// The JSON of the body; null if there was none.
    pub body: Value,
    /// The body was no JSON.
    pub malformed: bool,
    pub files: Vec<Upload>,
}

impl Request {
    pub fn query_number(&self, name: &str) -> Option<u64> {
        self.query.iter().find(|(key, _)| key == name)?.1.parse().ok()
    }

    pub(super) fn route_name(&self) -> &'static str {
        self.route.as_ref().map_or("", |route| route.name)
    }
}

/// What the bot is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Empty,
    Json(Value),
    File(Content),
}

/// An attachment's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub content_type: String,
    pub bytes: Arc<[u8]>,
}

impl Response {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body: Body::Json(body) }
    }

    pub fn empty() -> Self {
        Self { status: 204, headers: Vec::new(), body: Body::Empty }
    }

    /// A status and nothing else.
    pub fn without_body(status: u16) -> Self {
        Self { status, ..Self::empty() }
    }

    fn as_value(&self) -> Value {
        match &self.body {
            Body::Empty => Value::Null,
            Body::Json(value) => value.clone(),
            Body::File(content) => json!({"bytes": content.bytes.len()}),
        }
    }
}

/// The answer to more bytes than are taken.
pub fn request_too_large() -> Response {
    error::TOO_LARGE.into()
}

impl World {
    pub(super) fn respond(&mut self, request: &Request) -> Response {
        let Some(route) = request.route.clone() else { return self.unmodelled(request) };
        let (limited, headers) = self.count_call(&route);
        let mut response = match limited {
            Some(limited) => limited,
            None => self.answer(&route, request).unwrap_or_else(Response::from),
        };
        if (400..500).contains(&response.status) {
            self.record(RecordKind::Refused, &request.line, request.body.clone(), response.as_value());
        }
        response.headers.extend(headers);
        response
    }

    fn unmodelled(&mut self, request: &Request) -> Response {
        self.record(RecordKind::Unmodelled, &request.line, request.body.clone(), json!(501));
        Response::json(501, json!({"message": "This route is not modelled", "code": 0}))
    }

    fn answer(&mut self, route: &Route, request: &Request) -> Result<Response> {
        if request.malformed {
            return Err(error::INVALID_JSON);
        }
        if route.name.starts_with("GET /attachments/") {
            return self.get_file(route);
        }
        let token = request.authorization.as_deref().and_then(|header| header.strip_prefix("Bot "));
        if needs_token(route) && token != Some(self.token()) {
            return Err(error::UNAUTHORIZED);
        }
        self.answer_authorized(route, request)
    }

    fn answer_authorized(&mut self, route: &Route, request: &Request) -> Result<Response> {
        let id = |index| route.id(index);
        match route.name {
            "GET /gateway" => Ok(Response::json(200, json!({"url": self.gateway_for(request)}))),
            "GET /gateway/bot" => Ok(Response::json(200, self.gateway_bot(request))),
            "GET /oauth2/applications/@me" | "GET /applications/@me" => {
                Ok(Response::json(200, self.application_object()))
            }
            "GET /users/@me" => Ok(Response::json(200, self.user(self.application.id))),
            "GET /users/@me/guilds" => Ok(Response::json(200, self.own_guilds())),
            "GET /users/{u}" => self.get_user(id(0)?),
            "POST /users/@me/channels" => self.open_direct(request),
            "GET /channels/{c}" => self.get_channel(id(0)?),
            "GET /channels/{c}/messages" => self.list_messages(id(0)?, request),
            "POST /channels/{c}/messages" => self.create_message(id(0)?, request),
            "POST /channels/{c}/messages/bulk-delete" => self.delete_messages(id(0)?, request),
            "GET /channels/{c}/messages/{m}" => self.get_message(id(0)?, id(1)?),
            "PATCH /channels/{c}/messages/{m}" => self.edit_message(id(0)?, id(1)?, request),
            "DELETE /channels/{c}/messages/{m}" => self.delete_message(id(0)?, id(1)?),
            "PUT /channels/{c}/messages/{m}/reactions/{e}/@me" => {
                self.react(id(0)?, id(1)?, route.parameter(2), true)
            }
            "DELETE /channels/{c}/messages/{m}/reactions/{e}/@me" => {
                self.react(id(0)?, id(1)?, route.parameter(2), false)
            }
            "POST /channels/{c}/typing" => self.type_in(id(0)?),
            name if name.contains(" /guilds/") => self.answer_guild(route),
            name if name.contains("/commands") => self.answer_commands(route, request),
            "POST /interactions/{i}/{token}/callback" => self.callback(id(0)?, route.parameter(1), request),
            name if name.contains(" /webhooks/") => self.answer_webhook(route, request),
            _ => Ok(self.unmodelled(request)),
        }
    }

    fn answer_guild(&mut self, route: &Route) -> Result<Response> {
        let bot = self.application.id;
        let guild = self.guilds.get(&route.id(0)?).ok_or(error::UNKNOWN_GUILD)?;
        if !guild.members.contains_key(&bot) {
            return Err(error::MISSING_ACCESS);
        }
        let value = match route.name {
            "GET /guilds/{g}" => self.guild_alone(guild),
            "GET /guilds/{g}/channels" => {
                let channels = guild.channels.iter().filter_map(|id| self.channels.get(id));
                channels.map(|channel| self.channel(channel)).collect()
            }
            "GET /guilds/{g}/roles" => {
                guild.roles.values().map(|role| render::role(role, guild.id)).collect()
            }
            _ => {
                let user = route.id(1)?;
                if !self.users.contains_key(&user) {
                    return Err(error::UNKNOWN_USER);
                }
                self.member_with_user(guild.id, user).ok_or(error::UNKNOWN_MEMBER)?
            }
        };
        Ok(Response::json(200, value))
    }

    /// One page holds 200; a simulated world has fewer.
    fn own_guilds(&self) -> Value {
        let bot = self.application.id;
        let joined = self.guilds.values().filter(|guild| guild.members.contains_key(&bot));
        let partial = joined.map(|guild| {
            json!({
                "id": guild.id.to_string(),
                "name": guild.name,
                "icon": null,
                "banner": null,
                "owner": guild.owner == bot,
                "permissions": self.guild_permissions(bot, guild.id).to_string(),
                "features": [],
            })
        });
        partial.collect()
    }

    fn gateway_for(&self, request: &Request) -> String {
        request.host.as_ref().map_or_else(|| self.gateway_url(), |host| format!("ws://{host}"))
    }

    fn gateway_bot(&self, request: &Request) -> Value {
        json!({
            "url": self.gateway_for(request),
            "shards": self.settings.shards,
            "session_start_limit": {
                "total": self.settings.starts_a_day,
                "remaining": self.starts_left(),
                "reset_after": 24 * 60 * 60 * 1_000,
                "max_concurrency": self.settings.max_concurrency,
            },
        })
    }

    fn get_user(&self, user: Id) -> Result<Response> {
        if self.users.contains_key(&user) {
            Ok(Response::json(200, self.user(user)))
        } else {
            Err(error::UNKNOWN_USER)
        }
    }

    fn get_channel(&self, channel: Id) -> Result<Response> {
        self.may_bot(channel, 0)?;
        let found = self.channels.get(&channel).ok_or(error::UNKNOWN_CHANNEL)?;
        Ok(Response::json(200, self.channel(found)))
    }

    fn open_direct(&mut self, request: &Request) -> Result<Response> {
        let recipient = super::text::id(&request.body["recipient_id"]);
        let recipient = recipient.filter(|id| self.users.get(id).is_some_and(|user| !user.bot));
        let id = self.direct(recipient.ok_or(error::DM_CLOSED)?);
        self.get_channel(id)
    }

    fn get_file(&self, route: &Route) -> Result<Response> {
        let stored = self.files.get(&route.id(1)?);
        let stored = stored.filter(|file| Ok(file.channel) == route.id(0)).ok_or(error::NOT_FOUND)?;
        let content =
            Content { content_type: stored.content_type.clone(), bytes: stored.bytes.as_slice().into() };
        Ok(Response { status: 200, headers: Vec::new(), body: Body::File(content) })
    }

    /// Keeps fields of a body that nobody looks at from being overlooked.
    pub(super) fn record_unknown(&mut self, call: &str, part: &Value, body: &Value) {
        let unknown = json!(super::draft::unknown_fields(part));
        if unknown.as_array().is_some_and(|fields| !fields.is_empty()) {
            self.record(RecordKind::Unmodelled, call, body.clone(), json!({"fields": unknown}));
        }
    }
}

/// Webhooks and interactions are authorized by the token in their path.
fn needs_token(route: &Route) -> bool {
    route.counts_globally() && route.name != "GET /gateway"
}
