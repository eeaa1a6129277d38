//! [`ApiError`]: the errors of Discord's REST API, as a bot sees them.

use std::borrow::Cow;

use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub status: u16,
    pub code: u64,
    pub message: Cow<'static, str>,
    /// What is wrong with which field of the body.
    pub errors: Option<Value>,
}

pub type Result<T, E = ApiError> = std::result::Result<T, E>;

const fn error(status: u16, code: u64, message: &'static str) -> ApiError {
    ApiError { status, code, message: Cow::Borrowed(message), errors: None }
}

pub const UNAUTHORIZED: ApiError = error(401, 0, "401: Unauthorized");
pub const INVALID_TOKEN: ApiError = error(401, 50027, "Invalid Webhook Token");
pub const UNKNOWN_APPLICATION: ApiError = error(404, 10002, "Unknown Application");
pub const UNKNOWN_CHANNEL: ApiError = error(404, 10003, "Unknown Channel");
pub const UNKNOWN_GUILD: ApiError = error(404, 10004, "Unknown Guild");
pub const UNKNOWN_MEMBER: ApiError = error(404, 10007, "Unknown Member");
pub const UNKNOWN_MESSAGE: ApiError = error(404, 10008, "Unknown Message");
pub const UNKNOWN_USER: ApiError = error(404, 10013, "Unknown User");
pub const UNKNOWN_WEBHOOK: ApiError = error(404, 10015, "Unknown Webhook");
pub const UNKNOWN_INTERACTION: ApiError = error(404, 10062, "Unknown interaction");
pub const UNKNOWN_COMMAND: ApiError = error(404, 10063, "Unknown application command");
pub const NOT_FOUND: ApiError = error(404, 0, "404: Not Found");
pub const ALREADY_ACKNOWLEDGED: ApiError = error(400, 40060, "Interaction has already been acknowledged.");
pub const TOO_LARGE: ApiError = error(413, 40005, "Request entity too large");
pub const TOO_MANY_COMMANDS: ApiError =
    error(400, 30034, "Max number of daily application command creates has been reached (200)");
pub const MISSING_ACCESS: ApiError = error(403, 50001, "Missing Access");
pub const NOT_THE_AUTHOR: ApiError = error(403, 50005, "Cannot edit a message authored by another user");
pub const EMPTY_MESSAGE: ApiError = error(400, 50006, "Cannot send an empty message");
pub const DM_CLOSED: ApiError = error(403, 50007, "Cannot send messages to this user");
pub const MISSING_PERMISSIONS: ApiError = error(403, 50013, "Missing Permissions");
pub const INVALID_JSON: ApiError = error(400, 50109, "The request body contains invalid JSON.");
pub const UNKNOWN_EMOJI: ApiError = error(400, 10014, "Unknown Emoji");
pub const REPLY_WITHOUT_HISTORY: ApiError =
    error(403, 160002, "Cannot reply without permission to read message history");

impl ApiError {
    /// 50035, with the fields that are wrong.
    pub fn form(errors: Value) -> Self {
        Self { errors: Some(errors), ..error(400, 50035, "Invalid Form Body") }
    }

    /// The body of the response.
    pub fn body(&self) -> Value {
        let mut body = json!({"message": self.message, "code": self.code});
        if let Some(errors) = &self.errors {
            body["errors"] = errors.clone();
        }
        body
    }
}
