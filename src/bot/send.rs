//! The only place that sends anything to Discord.
//!
//! Each call has a [`Repeat`] rule that says what may be done after an unknown result (a 5xx, a timeout, a
//! cut connection). A message carries a nonce that Discord enforces, so sending it again yields the one that
//! was made; a follow-up has none and is sent once. Nobody is pinged unless the reply says so.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::Rng;
use serde_json::{Value, json};
use serenity::all::{ChannelId, CreateAttachment, HttpError, InteractionId, Message};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, debug_span, field, warn};

use crate::bot::limits::{GlobalLimit, Pacing};
use crate::bot::reply::{self, Surface};
use crate::context::discord::Post;
use crate::context::{Delivery, File, Letter, Services};

/// Back-off between attempts: doubles from the first to the last, with full jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// Pauses after a 429 that came without its `retry_after`, as with serenity's limiter off.
const LIMITED_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(8));
/// How long a message is tried. Discord keeps a nonce for some minutes, so this stays well inside.
const MESSAGE_LIMIT: Duration = Duration::from_secs(60);
/// How long the edit of a deferred answer is tried; its token lasts 15 minutes.
const EDIT_LIMIT: Duration = Duration::from_secs(60);
/// Discord counts 3 s from the interaction's making; no attempt starts later than this after its receipt.
const CALLBACK_LIMIT: Duration = Duration::from_millis(2_800);
/// One attempt at an interaction's first response.
const CALLBACK_ATTEMPT: Duration = Duration::from_secs(1);
/// A channel that forbade us to speak is left in peace this long: 10,000 refusals in ten minutes block an
/// address.
const FORBIDDEN_FOR: Duration = Duration::from_secs(60);
/// Forbidden channels remembered; beyond it the oldest knowledge is thrown away.
const FORBIDDEN_MAX: usize = 10_000;

/// Discord's error codes that decide something here.
/// <https://discord.com/developers/docs/topics/opcodes-and-status-codes#json>
mod code {
    /// With status 401: the token is not known any more. An expired interaction is 50027.
    pub const UNAUTHORIZED: isize = 0;
    pub const ALREADY_ACKNOWLEDGED: isize = 40060;
    pub const CANNOT_REPLY_WITHOUT_HISTORY: isize = 160_002;
    pub const CANNOT_MESSAGE_USER: isize = 50007;
    pub const INVALID_FORM: isize = 50035;
    pub const MISSING_ACCESS: isize = 50001;
    pub const MISSING_PERMISSION: isize = 50013;
    pub const UNKNOWN_CHANNEL: isize = 10003;
    pub const UNKNOWN_INTERACTION: isize = 10062;
}

/// What became of something that was to be sent.
#[derive(Debug)]
pub enum Sent<T> {
    Done(T),
    /// Another instance has answered this interaction.
    AnsweredElsewhere,
    /// Too late: Discord no longer knows the interaction.
    Expired,
    /// We may not speak there, or there is no such place any more.
    Forbidden,
    /// Discord said no for another reason; it is in the log.
    Refused,
    /// No answer within the limit: it may or may not be there.
    Unknown,
}

/// Whether a call may be sent again after an unknown result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// It has an identity (a nonce, or the same target): again changes nothing.
    Always,
    /// Only where nothing can have happened: after a 429, or when no connection was made.
    WhenCertain,
}

/// Sends, retries and remembers where we may not speak.
pub struct Sender {
    pacing: Option<Pacing>,
    global: GlobalLimit,
    forbidden: Mutex<HashMap<u64, Instant>>,
    token_refused: CancellationToken,
}

impl Sender {
    /// `paced`: keep Discord's limits ourselves, where serenity's limiter cannot (see `bot::http`).
    pub fn new(paced: bool, global: GlobalLimit) -> Self {
        Self {
            pacing: paced.then(Pacing::default),
            global,
            forbidden: Mutex::default(),
            token_refused: CancellationToken::new(),
        }
    }

    /// Cancelled once Discord has said that it does not know our token: every further call would be refused,
    /// and too many refusals block our address.
    pub fn token_refused(&self) -> &CancellationToken {
        &self.token_refused
    }

    /// Looks at the error of a call that was not sent from here.
    pub fn note(&self, error: &serenity::Error) {
        if is_token_refused(error) {
            self.token_refused.cancel();
        }
    }

    /// A new message, as a reply to `reply_to` where that is given. `body` carries the nonce.
    pub async fn message(
        &self,
        services: &Services,
        channel_id: u64,
        mut body: Value,
        files: &[File],
    ) -> Sent<Message> {
        if self.is_forbidden(channel_id) {
            services.metrics.unspoken.inc();
            return Sent::Forbidden;
        }
        tell_sending(services, "message", &body);
        if let Some(pacing) = &self.pacing {
            pacing.before_message(channel_id).await;
        }
        let channel = ChannelId::new(channel_id);
        let mut answer = Sent::Unknown;
        // The second round is without the reference, under the same nonce.
        for _ in 0..2 {
            let deadline = Instant::now() + MESSAGE_LIMIT;
            let outcome = self
                .attempts(services, "message", Repeat::Always, deadline, MESSAGE_LIMIT, || {
                    services.discord.http.send_message(channel, attachments(files), &body)
                })
                .await;
            let referenced = body.get("message_reference").is_some();
            answer = match outcome {
                Outcome::Ok(message) => return Sent::Done(message),
                Outcome::No { code, about_reference, .. }
                    if referenced
                        && (code == code::CANNOT_REPLY_WITHOUT_HISTORY
                            || (code == code::INVALID_FORM && about_reference)) =>
                {
                    body.as_object_mut().expect("a message is an object").remove("message_reference");
                    continue;
                }
                Outcome::No {
                    code:
                        code::MISSING_ACCESS
                        | code::MISSING_PERMISSION
                        | code::UNKNOWN_CHANNEL
                        | code::CANNOT_MESSAGE_USER,
                    ..
                } => {
                    self.forbid(channel_id);
                    services.metrics.unspoken.inc();
                    Sent::Forbidden
                }
                Outcome::No { .. } => Sent::Refused,
                Outcome::Unknown => Sent::Unknown,
            };
            break;
        }
        answer
    }

    /// What commands get to send messages of their own accord.
    pub fn poster(self: Arc<Self>) -> Post {
        Arc::new(move |services, letter| {
            let sender = self.clone();
            Box::pin(async move { sender.letter(services, letter).await })
        })
    }

    async fn letter(&self, services: &Services, letter: Letter) -> Delivery {
        let surface = Surface { embeds: true, ephemeral: false };
        let mut first = None;
        for (place, part) in reply::render(letter.reply, surface).into_iter().enumerate() {
            let body = addressed(part.body, format!("{}-{place}", letter.nonce), None);
            match self.message(services, letter.channel_id, body, &part.files).await {
                Sent::Done(message) => first = first.or(Some(message.id.get())),
                Sent::Forbidden => return Delivery::Closed,
                Sent::Refused => return Delivery::Refused,
                Sent::AnsweredElsewhere | Sent::Expired | Sent::Unknown => return Delivery::Unknown,
            }
        }
        first.map_or(Delivery::Unknown, Delivery::Sent)
    }

    /// The first response to an interaction. `received` is when its event arrived, on the monotonic clock.
    pub async fn callback(
        &self,
        services: &Services,
        interaction: (u64, &str),
        received: Instant,
        body: &Value,
        files: &[File],
    ) -> Sent<()> {
        let sent = self.callback_attempts(services, interaction, received, body, files).await;
        if matches!(sent, Sent::Expired | Sent::Unknown) {
            services.metrics.late_acks.inc();
        }
        sent
    }

    /// The same for an interaction that was old when it arrived: it is not our fault if it has expired.
    pub async fn callback_to_old(
        &self,
        services: &Services,
        interaction: (u64, &str),
        received: Instant,
        body: &Value,
    ) -> Sent<()> {
        self.callback_attempts(services, interaction, received, body, &[]).await
    }

    async fn callback_attempts(
        &self,
        services: &Services,
        interaction: (u64, &str),
        received: Instant,
        body: &Value,
        files: &[File],
    ) -> Sent<()> {
        let (id, token) = interaction;
        tell_sending(services, "callback", body);
        let deadline = received + CALLBACK_LIMIT;
        let mut lost = false;
        loop {
            // Interactions are not counted in the global limit, so nothing waits for it here.
            let call = services.discord.http.create_interaction_response(
                InteractionId::new(id),
                token,
                body,
                attachments(files),
            );
            let span = debug_span!("discord", route = "callback", status = field::Empty);
            let answer = timeout(CALLBACK_ATTEMPT, call).await;
            let tried = span.in_scope(|| self.classify(services, "callback", answer));
            drop(span);
            match tried {
                Try::Ok(()) => return Sent::Done(()),
                // After an attempt of ours whose answer was lost, it was most likely that one.
                Try::No { code: code::ALREADY_ACKNOWLEDGED, .. } if lost => return Sent::Done(()),
                Try::No { code: code::ALREADY_ACKNOWLEDGED, .. } => return Sent::AnsweredElsewhere,
                Try::No { code: code::UNKNOWN_INTERACTION, .. } => return Sent::Expired,
                Try::No { .. } => return Sent::Refused,
                Try::Unknown => lost = true,
                Try::Limited | Try::NotConnected => {}
            }
            // 2.8 s leave no time for a long back-off.
            let pause = jitter(BACKOFF.0, 0.2..0.6);
            if Instant::now() + pause >= deadline {
                return Sent::Unknown;
            }
            services.metrics.retries.get_or_create(&kind("callback")).inc();
            sleep(pause).await;
        }
    }

    /// The answer to an interaction that was deferred, or another page of it.
    pub async fn edit_original(
        &self,
        services: &Services,
        token: &str,
        body: &Value,
        files: &[File],
    ) -> Sent<Message> {
        tell_sending(services, "edit", body);
        let deadline = Instant::now() + EDIT_LIMIT;
        let call =
            || services.discord.http.edit_original_interaction_response(token, body, attachments(files));
        self.attempts(services, "edit", Repeat::Always, deadline, EDIT_LIMIT, call).await.into()
    }

    /// A further part of an answer. It has no nonce, so it is never sent again after an unknown result.
    pub async fn follow_up(
        &self,
        services: &Services,
        token: &str,
        body: &Value,
        files: &[File],
    ) -> Sent<Message> {
        tell_sending(services, "follow_up", body);
        let deadline = Instant::now() + EDIT_LIMIT;
        let call = || services.discord.http.create_followup_message(token, body, attachments(files));
        self.attempts(services, "follow_up", Repeat::WhenCertain, deadline, EDIT_LIMIT, call).await.into()
    }

    /// Shows that an answer is on its way; nothing depends on it.
    pub async fn typing(&self, services: &Services, channel_id: u64) {
        if !self.is_forbidden(channel_id) {
            let call = services.discord.http.broadcast_typing(ChannelId::new(channel_id));
            let _ = self.classify(services, "typing", timeout(CALLBACK_ATTEMPT, call).await);
        }
    }

    async fn attempts<T, F>(
        &self,
        services: &Services,
        route: &'static str,
        repeat: Repeat,
        deadline: Instant,
        each: Duration,
        call: impl Fn() -> F,
    ) -> Outcome<T>
    where
        F: Future<Output = serenity::Result<T>>,
    {
        let (mut pause, mut limited_pause) = (BACKOFF.0, LIMITED_BACKOFF.0);
        loop {
            self.global.pass().await;
            if let Some(pacing) = &self.pacing {
                pacing.before_request().await;
            }
            let limit = deadline.min(Instant::now() + each);
            let span = debug_span!("discord", route, status = field::Empty);
            let answer = timeout_at(limit, call()).await;
            let tried = span.in_scope(|| self.classify(services, route, answer));
            drop(span);
            let wait = match tried {
                Try::Ok(done) => return Outcome::Ok(done),
                Try::No { code, about_reference } => return Outcome::No { code, about_reference },
                Try::Unknown if repeat == Repeat::WhenCertain => break,
                Try::Limited => {
                    let wait = jitter(limited_pause, 1.0..1.5);
                    limited_pause = (limited_pause * 2).min(LIMITED_BACKOFF.1);
                    wait
                }
                Try::Unknown | Try::NotConnected => {
                    let wait = jitter(pause, 0.0..1.0);
                    pause = (pause * 2).min(BACKOFF.1);
                    wait
                }
            };
            if Instant::now() + wait >= deadline {
                break;
            }
            services.metrics.retries.get_or_create(&kind(route)).inc();
            sleep(wait).await;
        }
        services.metrics.unknown_outcomes.get_or_create(&kind(route)).inc();
        warn!(route, "Discord gave no answer; the outcome is unknown");
        Outcome::Unknown
    }

    fn forbid(&self, channel_id: u64) {
        let mut forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        if forbidden.len() >= FORBIDDEN_MAX {
            forbidden.clear();
        }
        forbidden.insert(channel_id, Instant::now() + FORBIDDEN_FOR);
    }

    fn is_forbidden(&self, channel_id: u64) -> bool {
        let mut forbidden = self.forbidden.lock().unwrap_or_else(PoisonError::into_inner);
        match forbidden.get(&channel_id) {
            Some(until) if *until > Instant::now() => true,
            Some(_) => {
                forbidden.remove(&channel_id);
                false
            }
            None => false,
        }
    }
}

/// A message with its nonce, which Discord enforces: sent twice it is one message.
pub fn addressed(mut body: Value, nonce: String, reply_to: Option<u64>) -> Value {
    body["nonce"] = json!(nonce);
    body["enforce_nonce"] = json!(true);
    if let Some(message_id) = reply_to {
        body["message_reference"] =
            json!({ "message_id": message_id.to_string(), "fail_if_not_exists": false });
    }
    body
}

/// The body alone: the token of an interaction stands in the address.
fn tell_sending(services: &Services, route: &'static str, body: &Value) {
    services.instance.backstage.tell("sending", || json!({"route": route, "body": body}));
}

/// Counts an attempt at a call, and what it was answered with; 0 is no answer.
fn note_status(services: &Services, route: &'static str, status: u16) {
    services.metrics.request(route, status);
    tracing::Span::current().record("status", i64::from(status));
    services.instance.backstage.tell("sent", || json!({"route": route, "status": status}));
}

fn jitter(pause: Duration, share: std::ops::Range<f64>) -> Duration {
    pause.mul_f64(rand::rng().random_range(share))
}

fn kind(route: &str) -> crate::telemetry::KindLabels {
    crate::telemetry::KindLabels { kind: route.to_owned() }
}

fn attachments(files: &[File]) -> Vec<CreateAttachment> {
    files.iter().map(|file| CreateAttachment::bytes(file.bytes.clone(), file.name.clone())).collect()
}

enum Outcome<T> {
    Ok(T),
    No { code: isize, about_reference: bool },
    Unknown,
}

impl<T> From<Outcome<T>> for Sent<T> {
    fn from(outcome: Outcome<T>) -> Self {
        match outcome {
            Outcome::Ok(done) => Self::Done(done),
            Outcome::No { code: code::MISSING_ACCESS | code::MISSING_PERMISSION, .. } => Self::Forbidden,
            Outcome::No { .. } => Self::Refused,
            Outcome::Unknown => Self::Unknown,
        }
    }
}

enum Try<T> {
    Ok(T),
    No {
        code: isize,
        about_reference: bool,
    },
    /// Nothing can have happened: a rate limit.
    Limited,
    /// Nothing can have happened: no connection was made.
    NotConnected,
    /// It may have happened.
    Unknown,
}

impl Sender {
    /// Decides by status, then by code, never by text: with a proxy in between the body may be anything.
    fn classify<T>(
        &self,
        services: &Services,
        route: &'static str,
        result: Result<serenity::Result<T>, tokio::time::error::Elapsed>,
    ) -> Try<T> {
        let error = match result {
            Err(_) => {
                note_status(services, route, 0);
                return Try::Unknown;
            }
            Ok(Ok(done)) => {
                note_status(services, route, 200);
                return Try::Ok(done);
            }
            Ok(Err(error)) => error,
        };
        self.note(&error);
        match error {
            serenity::Error::Http(HttpError::UnsuccessfulRequest(response)) => {
                let status = response.status_code.as_u16();
                note_status(services, route, status);
                match status {
                    429 => Try::Limited,
                    500.. => Try::Unknown,
                    _ => {
                        let code = response.error.code;
                        if code != code::ALREADY_ACKNOWLEDGED && code != code::UNKNOWN_INTERACTION {
                            warn!(route, status, code, reason = %response.error.message, fields = ?response.error.errors,
                            "Discord refused a call");
                        }
                        let about_reference =
                            response.error.errors.iter().any(|e| e.path.starts_with("message_reference"));
                        Try::No { code, about_reference }
                    }
                }
            }
            serenity::Error::Http(HttpError::Request(error)) => {
                note_status(services, route, 0);
                debug!(route, %error, "no answer from Discord");
                if error.is_connect() { Try::NotConnected } else { Try::Unknown }
            }
            // The call succeeded, but its body could not be read: it may have been cut.
            other => {
                note_status(services, route, 0);
                debug!(route, error = %other, "an answer of Discord could not be read");
                Try::Unknown
            }
        }
    }
}

/// A 401 that is about the token; an expired interaction has another code.
fn is_token_refused(error: &serenity::Error) -> bool {
    let serenity::Error::Http(HttpError::UnsuccessfulRequest(response)) = error else { return false };
    response.status_code.as_u16() == 401 && response.error.code == code::UNAUTHORIZED
}
