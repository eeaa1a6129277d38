//! How often Discord may be called: what it says, and what we keep ourselves where nobody else does.
//!
//! serenity's limiter waits for each route by itself. Two things it leaves open: a global limit delays only
//! the call that met it, and what it knows about a route is kept for ever, although every interaction is a
//! route of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use serenity::http::{Http, RatelimitInfo};
use tokio::time::{Instant, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};

/// How often the routes whose limits have run out are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(600);

/// A time before which nothing is sent, because Discord said so to all calls at once.
#[derive(Clone, Debug, Default)]
pub struct GlobalLimit(Arc<Mutex<Option<Instant>>>);

impl GlobalLimit {
    /// Notes what serenity's limiter was told.
    pub fn note(&self, info: &RatelimitInfo) {
        if info.global {
            tracing::warn!(seconds = info.timeout.as_secs_f64(), "Discord limits all calls");
            self.close(info.timeout);
        }
    }

    fn close(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = Some(closed.map_or(until, |other| other.max(until)));
    }

    /// Waits until calls are allowed again.
    pub async fn pass(&self) {
        // Again after waiting: meanwhile another call may have been told to wait longer.
        while let Some(until) = self.until() {
            sleep_until(until).await;
        }
    }

    fn until(&self) -> Option<Instant> {
        let closed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        closed.filter(|until| *until > Instant::now())
    }
}

/// Forgets from time to time what serenity's limiter knows about routes that are free again; without that it
/// would grow with every interaction.
pub async fn forget_free_routes(http: Arc<Http>, clock: Clock, shutdown: CancellationToken) {
    let mut ticks = interval(FORGET_EVERY);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(limiter) = &http.ratelimiter else { continue };
        let now = clock.now();
        limiter.routes().write().await.retain(|_, route| match route.try_lock() {
            Ok(route) => route.reset().is_some_and(|reset| since_epoch(reset) > now),
            // Somebody waits for it.
            Err(_) => true,
        });
    }
}

fn since_epoch(time: std::time::SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Discord allows 50 requests a second; this leaves room for what is sent past it.
const REQUESTS_A_SECOND: u32 = 40;
/// New messages in one channel within [`CHANNEL_WINDOW`].
const CHANNEL_MESSAGES: usize = 5;
const CHANNEL_WINDOW: Duration = Duration::from_secs(5);
/// Channels whose pace is kept in memory.
const PACED_CHANNELS_MAX: usize = 10_000;

/// Keeps Discord's limits where serenity's limiter is off: it knows no proxies.
#[derive(Default)]
pub struct Pacing {
    next_request: Mutex<Option<Instant>>,
    channels: Mutex<HashMap<u64, Vec<Instant>>>,
}

impl Pacing {
    pub async fn before_request(&self) {
        let turn = {
            let mut next = self.next_request.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = next.unwrap_or_else(Instant::now).max(Instant::now());
            *next = Some(turn + Duration::from_secs(1) / REQUESTS_A_SECOND);
            turn
        };
        sleep_until(turn).await;
    }

    pub async fn before_message(&self, channel_id: u64) {
        let turn = {
            let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
            if channels.len() >= PACED_CHANNELS_MAX {
                channels.clear();
            }
            let sent = channels.entry(channel_id).or_default();
            let now = Instant::now();
            sent.retain(|at| *at + CHANNEL_WINDOW > now);
            let turn = match sent.len().checked_sub(CHANNEL_MESSAGES) {
                Some(place) => sent[place] + CHANNEL_WINDOW,
                None => now,
            };
            sent.push(turn);
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_channel_gets_five_messages_in_five_seconds() {
        let pacing = Pacing::default();
        let start = Instant::now();
        for _ in 0..5 {
            pacing.before_message(1).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        pacing.before_message(2).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        pacing.before_message(1).await;
        assert_eq!(start.elapsed(), CHANNEL_WINDOW);
    }

    #[tokio::test(start_paused = true)]
    async fn a_global_limit_holds_up_every_call() {
        let limit = GlobalLimit::default();
        let start = Instant::now();
        limit.pass().await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        limit.close(Duration::from_secs(3));
        limit.close(Duration::from_secs(1));
        limit.clone().pass().await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        limit.pass().await;
        assert_eq!(start.elapsed(), Duration::from_secs(3));
    }
}
