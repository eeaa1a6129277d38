//! Rate limits: how many calls a route takes, and what a bot is told about it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::route::Route;
use super::{Response, World};
use crate::clock::Timestamp;

/// All calls of a bot together, but those that answer interactions.
const GLOBAL_A_SECOND: u32 = 50;

/// Buckets that nobody used for a window are dropped when there are this many.
const BUCKETS_MAX: usize = 1_024;

/// What was counted; not part of a saved world.
#[derive(Debug, Default)]
pub(super) struct Limits {
    buckets: BTreeMap<(&'static str, String), Bucket>,
    global: Option<Bucket>,
}

#[derive(Clone, Debug)]
struct Bucket {
    used: u32,
    reset_at: Timestamp,
}

impl Bucket {
    /// Counts a call; `false` if the limit is reached.
    fn take(&mut self, now: Timestamp, limit: u32, window: Duration) -> bool {
        if now >= self.reset_at {
            *self = Self { used: 0, reset_at: now.plus(window) };
        }
        self.used += 1;
        self.used <= limit
    }
}

/// Calls and the time in which they are counted, as seen on Discord; it promises no numbers.
fn limit(route: &Route) -> (u32, Duration) {
    match route.name {
        "POST /channels/{c}/messages" | "PATCH /channels/{c}/messages/{m}" => (5, Duration::from_secs(5)),
        "PUT /channels/{c}/messages/{m}/reactions/{e}/@me" => (1, Duration::from_millis(300)),
        name if name.contains("/webhooks/") => (5, Duration::from_secs(2)),
        _ => (50, Duration::from_secs(1)),
    }
}

type Headers = Vec<(&'static str, String)>;

impl World {
    /// Counts a call. Answers the 429 if it is one too many, and the headers that go with every response.
    pub(super) fn count_call(&mut self, route: &Route) -> (Option<Response>, Headers) {
        if !self.settings.rate_limits || route.name.starts_with("GET /attachments/") {
            return (None, Vec::new());
        }
        if route.counts_globally() && !self.count_globally() {
            return (Some(too_many("global", Duration::from_secs(1))), Vec::new());
        }
        let now = self.now;
        let (calls, window) = limit(route);
        if self.limits.buckets.len() > BUCKETS_MAX {
            self.limits.buckets.retain(|_, bucket| bucket.reset_at > now);
        }
        let (name, major) = route.bucket();
        let fresh = Bucket { used: 0, reset_at: now.plus(window) };
        let bucket = self.limits.buckets.entry((name, major.to_owned())).or_insert(fresh);
        let within = bucket.take(now, calls, window);
        let wait = bucket.reset_at.since(now);
        let headers = headers(name, calls, calls.saturating_sub(bucket.used), bucket.reset_at, wait);
        ((!within).then(|| too_many("user", wait)), headers)
    }

    fn count_globally(&mut self) -> bool {
        let now = self.now;
        let second = Duration::from_secs(1);
        let fresh = Bucket { used: 0, reset_at: now.plus(second) };
        self.limits.global.get_or_insert(fresh).take(now, GLOBAL_A_SECOND, second)
    }
}

fn headers(route: &'static str, limit: u32, remaining: u32, reset_at: Timestamp, wait: Duration) -> Headers {
    let reset = format!("{}.{:03}", reset_at.seconds(), reset_at.millis().rem_euclid(1_000));
    vec![
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", remaining.to_string()),
        ("x-ratelimit-reset", reset),
        ("x-ratelimit-reset-after", format!("{:.3}", wait.as_secs_f64())),
        ("x-ratelimit-bucket", bucket_name(route)),
    ]
}

/// Opaque, and the same for every channel of a route.
fn bucket_name(route: &str) -> String {
    format!(
        "{:016x}",
        super::Chance::new(route.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31) + u64::from(byte)))
            .draw()
    )
}

/// A 429; also what faults answer.
pub fn too_many(scope: &str, wait: Duration) -> Response {
    let global = scope == "global";
    let body = json!({
        "message": "You are being rate limited.",
        "retry_after": wait.as_secs_f64(),
        "global": global,
    });
    let mut response = Response::json(429, body);
    // Discord rounds this header up to whole seconds.
    response.headers.push(("retry-after", wait.as_secs_f64().ceil().to_string()));
    response.headers.push(("x-ratelimit-scope", scope.to_owned()));
    if global {
        response.headers.push(("x-ratelimit-global", "true".to_owned()));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::super::testing::Play;
    use super::*;

    #[test]
    fn the_sixth_message_in_five_seconds_is_too_much() {
        let mut play = Play::new();
        play.world.settings.rate_limits = true;
        for _ in 0..5 {
            assert_eq!(play.post(json!({"content": "hi"})).0, 200);
        }
        let (status, body) = play.post(json!({"content": "hi"}));
        assert_eq!((status, &body["global"]), (429, &json!(false)));
        assert!(body["retry_after"].as_f64().is_some_and(|wait| wait <= 5.0));
        assert_eq!(body.get("code"), None);
        let dogs = play.zoo().channel("dogs");
        assert_eq!(play.call("POST", &format!("/channels/{dogs}/messages"), json!({"content": "hi"})).0, 200);
        play.wait(5.0);
        assert_eq!(play.post(json!({"content": "hi"})).0, 200);
    }

    #[test]
    fn fifty_calls_a_second_in_all() {
        let mut play = Play::new();
        play.world.settings.rate_limits = true;
        let mut global = 0;
        for n in 0..60 {
            let path = if n % 2 == 0 { "/users/@me" } else { "/gateway/bot" };
            let (status, body) = play.call("GET", path, serde_json::Value::Null);
            global += usize::from(status == 429 && body["global"] == true);
        }
        assert_eq!(global, 10);
    }

    #[test]
    fn every_response_tells_where_its_bucket_stands() {
        let route = Route::find("GET", "/users/@me").unwrap();
        let mut play = Play::new();
        play.world.settings.rate_limits = true;
        let (limited, headers) = play.world.count_call(&route);
        assert!(limited.is_none());
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "x-ratelimit-limit",
                "x-ratelimit-remaining",
                "x-ratelimit-reset",
                "x-ratelimit-reset-after",
                "x-ratelimit-bucket",
            ]
        );
        assert_eq!(headers[1].1, "49");
    }
}
