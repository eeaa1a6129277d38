//! The player, which tells how long a song was heard. Real bots have none yet; the playground has one that
//! plays in its own time and makes no sound.
//!
//! A song that was heard counts in one transaction: the queue moves on, the totals and the boards grow, and the
//! row says so. What a killed process had heard of a song is not counted; the song begins anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::Timestamp;
use crate::context::Services;

use super::queue;
use super::record::{Play, Song};

/// How long a song is when nobody knows.
pub const SONG: Duration = Duration::from_secs(180);

/// How often the player looks whether a song is over.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What plays in each server.
#[derive(Default)]
pub struct Player {
    playing: Mutex<HashMap<u64, Playing>>,
    changed: Notify,
}

/// One song that is being heard.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Playing {
    event: u64,
    since: Timestamp,
    length: Duration,
}

impl Player {
    /// Sees the queue of a server as it is now: another first song begins.
    pub fn see(&self, play: &Play, now: Timestamp) {
        let mut playing = self.playing();
        match play.playing() {
            None => drop(playing.remove(&play.discord_server_id)),
            Some(song) => {
                let known =
                    playing.get(&play.discord_server_id).is_some_and(|known| known.event == song.event);
                if !known {
                    playing.insert(play.discord_server_id, Playing::begin(song, now));
                }
            }
        }
        drop(playing);
        self.changed.notify_one();
    }

    /// For how long a song has been heard.
    pub fn heard(&self, server_id: u64, song: &Song, now: Timestamp) -> Option<Duration> {
        let playing = self.playing();
        let playing = playing.get(&server_id).filter(|playing| playing.event == song.event)?;
        Some(now.since(playing.since).min(playing.length))
    }

    /// The songs that are over, with how long they were.
    fn over(&self, now: Timestamp) -> Vec<(u64, u64, Duration)> {
        let playing = self.playing();
        let over = playing.iter().filter(|(_, playing)| now.since(playing.since) >= playing.length);
        over.map(|(server, playing)| (*server, playing.event, playing.length)).collect()
    }

    fn playing(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Playing>> {
        self.playing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Playing {
    fn begin(song: &Song, now: Timestamp) -> Self {
        let length = song.seconds.map_or(SONG, Duration::from_secs);
        Self { event: song.event, since: now, length }
    }
}

/// Plays until shutdown. Queues that an earlier process left begin once their server is known.
pub async fn run(services: Arc<Services>, shutdown: CancellationToken) {
    let player = services.state::<Player>();
    let mut known = std::collections::HashSet::new();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = player.changed.notified() => {}
            () = shutdown.cancelled() => return,
        }
        for server_id in services.discord.servers().into_iter().map(|server| server.id) {
            if known.insert(server_id) && !queue::look(&services, server_id).await {
                known.remove(&server_id);
            }
        }
        for (server_id, event, length) in player.over(services.clock.now()) {
            if let Err(error) = queue::played(&services, server_id, event, length).await {
                warn!(server_id, error = &error as &dyn std::error::Error, "a song could not be counted yet");
            }
        }
    }
}
