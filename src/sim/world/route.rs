//! [`Route`]: the calls that the simulator knows, by the names that tests, faults and counters use.

use super::error::{ApiError, Result};
use super::form::Form;
use super::model::Id;

/// Every route, with the parameters in braces. Where two match, the first does.
pub const ROUTES: &[&str] = &[
    "GET /gateway",
    "GET /gateway/bot",
    "GET /oauth2/applications/@me",
    "GET /applications/@me",
    "GET /users/@me",
    "GET /users/@me/guilds",
    "POST /users/@me/channels",
    "GET /users/{u}",
    "GET /channels/{c}",
    "GET /channels/{c}/messages",
    "POST /channels/{c}/messages",
    "POST /channels/{c}/messages/bulk-delete",
    "GET /channels/{c}/messages/{m}",
    "PATCH /channels/{c}/messages/{m}",
    "DELETE /channels/{c}/messages/{m}",
    "PUT /channels/{c}/messages/{m}/reactions/{e}/@me",
    "DELETE /channels/{c}/messages/{m}/reactions/{e}/@me",
    "POST /channels/{c}/typing",
    "GET /guilds/{g}",
    "GET /guilds/{g}/channels",
    "GET /guilds/{g}/roles",
    "GET /guilds/{g}/members/{u}",
    "GET /applications/{a}/commands",
    "PUT /applications/{a}/commands",
    "POST /applications/{a}/commands",
    "GET /applications/{a}/commands/{k}",
    "PATCH /applications/{a}/commands/{k}",
    "DELETE /applications/{a}/commands/{k}",
    "GET /applications/{a}/guilds/{g}/commands",
    "PUT /applications/{a}/guilds/{g}/commands",
    "POST /applications/{a}/guilds/{g}/commands",
    "GET /applications/{a}/guilds/{g}/commands/{k}",
    "PATCH /applications/{a}/guilds/{g}/commands/{k}",
    "DELETE /applications/{a}/guilds/{g}/commands/{k}",
    "POST /interactions/{i}/{token}/callback",
    "POST /webhooks/{a}/{token}",
    "GET /webhooks/{a}/{token}/messages/@original",
    "PATCH /webhooks/{a}/{token}/messages/@original",
    "DELETE /webhooks/{a}/{token}/messages/@original",
    "GET /webhooks/{a}/{token}/messages/{m}",
    "PATCH /webhooks/{a}/{token}/messages/{m}",
    "DELETE /webhooks/{a}/{token}/messages/{m}",
    "GET /attachments/{c}/{f}/{name}",
];

/// A call: the name of its route, and what stood in the place of the braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub name: &'static str,
    parameters: Vec<String>,
}

impl Route {
    /// Finds the route of a call. `path` comes without `/api/v10` and without the query.
    pub fn find(method: &str, path: &str) -> Option<Self> {
        ROUTES.iter().find_map(|name| {
            let pattern = name.strip_prefix(method)?.strip_prefix(' ')?;
            Some(Self { name, parameters: captured(pattern, path)? })
        })
    }

    pub fn parameter(&self, index: usize) -> &str {
        self.parameters.get(index).map_or("", String::as_str)
    }

    /// A parameter that must be a snowflake.
    pub fn id(&self, index: usize) -> Result<Id> {
        let text = self.parameter(index);
        text.parse().map_err(|_| {
            let mut form = Form::default();
            form.wrong("id", "NUMBER_TYPE_COERCE", format!("Value \"{text}\" is not snowflake."));
            form.finish().err().unwrap_or(super::error::NOT_FOUND)
        })
    }

    /// What counts against one limit: a route with its channel, guild or webhook.
    pub fn bucket(&self) -> (&'static str, &str) {
        let major = if self.name.contains("/webhooks/") { self.parameter(1) } else { self.parameter(0) };
        (self.name, major)
    }

    /// Interactions are answered outside the limit of 50 calls a second (a Discord rule).
    pub fn counts_globally(&self) -> bool {
        !self.name.contains("/interactions/") && !self.name.contains("/webhooks/")
    }
}

fn captured(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (mut steps, mut found) = (path.trim_end_matches('/').split('/'), Vec::new());
    for wanted in pattern.split('/') {
        let step = steps.next()?;
        if wanted.starts_with('{') && !step.is_empty() {
            found.push(decoded(step));
        } else if wanted != step {
            return None;
        }
    }
    steps.next().is_none().then_some(found)
}

/// `%F0%9F%91%8D` is how an emoji stands in a path.
pub fn decoded(step: &str) -> String {
    let bytes = step.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| step.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(escaped) => {
                plain.push(escaped);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Whether tests may name this route; a name with a typo would never match anything.
pub fn is_route(name: &str) -> bool {
    ROUTES.contains(&name)
}

impl From<ApiError> for super::Response {
    fn from(error: ApiError) -> Self {
        Self::json(error.status, error.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_finds_its_route() {
        let route = Route::find("PATCH", "/webhooks/1/abc/messages/@original").unwrap();
        assert_eq!(route.name, "PATCH /webhooks/{a}/{token}/messages/@original");
        assert_eq!(route.bucket().1, "abc");
        let route = Route::find("PUT", "/channels/5/messages/6/reactions/%F0%9F%91%8D/@me").unwrap();
        assert_eq!((route.id(0), route.parameter(2)), (Ok(5), "👍"));
        assert_eq!(Route::find("GET", "/gateway").unwrap().name, "GET /gateway");
        assert_eq!(Route::find("POST", "/gateway"), None);
        assert_eq!(Route::find("GET", "/guilds/1/bans"), None);
        assert!(Route::find("GET", "/channels/x").unwrap().id(0).is_err());
    }
}
