//! The queue: adding, skipping, stopping, and what was heard.

use std::sync::Arc;
use std::time::Duration;

use crate::cause::Cause;
use crate::commands::days::{Day, zone};
use crate::context::{Player as Kind, Result, Services, refuse};
use crate::counts::Tally;
use crate::dynamo::{self, Column, Transaction, Update};
use crate::history::{self, Change, Done};

use super::ask::Ask;
use super::player::Player;
use super::record::{Play, Song};

/// Songs that wait or play in one server.
pub const SONGS_MAX: usize = 50;

const CONTENDED: &str = "⚠ The queue is being changed by others right now; have a look and try again";

/// Where a song came to stand in the queue, counted from 1.
pub struct Added {
    pub song: Song,
    pub place: usize,
}

/// Adds a song; at the end, or at its place.
pub async fn add(services: &Services, cause: &Cause, ask: &Ask) -> Result<Added> {
    let song = Song {
        title: ask.url().unwrap_or(&ask.text).to_owned(),
        url: ask.url().map(str::to_owned),
        text: ask.text.clone(),
        by: cause.actor_id,
        channel: ask.channel,
        seconds: None,
        event: cause.id.0,
    };
    let changed = history::change(&services.dynamo, cause, cause.server_id, |head: Option<&Play>| {
        let mut play = head.cloned().unwrap_or_else(|| Play::new(cause.server_id));
        let place = place_for(ask.place, play.queue.len())?;
        play.queue.insert(place, song.clone());
        Ok::<_, crate::context::Error>(play.next("queue", Some(&song)))
    });
    let play = head(services, changed.await?).await?;
    let place = play.queue.iter().position(|other| other.event == song.event);
    Ok(Added { song, place: place.map_or(1, |place| place + 1) })
}

fn place_for(asked: Option<usize>, length: usize) -> Result<usize> {
    if length >= SONGS_MAX {
        return refuse(format!("⚠ The queue is full: {SONGS_MAX} songs"));
    }
    match asked {
        Some(place) if place < 2 && length > 0 => refuse(
            "❌ You must provide a --queue position greater than or equal to `2`. You cannot override the \
             currently playing song!",
        ),
        Some(place) => Ok(place.saturating_sub(1).min(length)),
        None => Ok(length),
    }
}

/// Ends the song that plays; `false` if there is none.
pub async fn skip(services: &Services, cause: &Cause, day: Day) -> Result<bool> {
    let heard =
        |song: &Song| services.state::<Player>().heard(cause.server_id, song, cause.at).unwrap_or_default();
    end_first(services, cause, "skip", |song| Some(heard(song)), day).await
}

/// Counts a song that was heard to its end, unless it is not the first one any more.
pub async fn played(services: &Arc<Services>, server_id: u64, event: u64, length: Duration) -> Result<()> {
    let now = services.clock.now();
    let settings = services.settings.of(&services.dynamo, server_id).await?;
    // The same for each attempt to count it, and of no event of Discord's: that one added the song.
    let cause = Cause::new(now.snowflake() | (event & 0x3F_FFFF), server_id, 0);
    let ends = |song: &Song| (song.event == event).then_some(length);
    if !end_first(services, &cause, "played", ends, Day::of(now, &zone(&settings))).await? {
        // The player is behind: somebody else ended it.
        look(services, server_id).await;
    }
    Ok(())
}

enum NoSong {
    None,
    Failed(dynamo::Error),
}

impl From<dynamo::Error> for NoSong {
    fn from(error: dynamo::Error) -> Self {
        Self::Failed(error)
    }
}

/// Takes the first song off the queue if `heard` says for how long it was; otherwise `false`.
async fn end_first(
    services: &Services,
    cause: &Cause,
    op: &'static str,
    heard: impl Fn(&Song) -> Option<Duration>,
    day: Day,
) -> Result<bool> {
    let decide = |head: Option<&Play>| {
        let mut play = head.cloned().filter(|play| !play.queue.is_empty()).ok_or(NoSong::None)?;
        let song = play.queue.remove(0);
        let heard = heard(&song).ok_or(NoSong::None)?;
        if !heard.is_zero() {
            play.songs += 1;
            play.seconds += heard.as_secs();
        }
        Ok(play.next(op, Some(&song)))
    };
    let beside = |transaction: Transaction, done: &Done<Play>| count(transaction, done, day);
    match history::change_with(&services.dynamo, cause, cause.server_id, decide, beside).await {
        Ok(changed) => {
            head(services, changed).await?;
            Ok(true)
        }
        Err(NoSong::None) => Ok(false),
        Err(NoSong::Failed(error)) => Err(error.into()),
    }
}

/// What was heard goes to the boards of who asked for it.
fn count(transaction: Transaction, done: &Done<Play>, day: Day) -> Transaction {
    let Some(before) = &done.before else { return transaction };
    let (songs, seconds) = (done.head.songs - before.songs, done.head.seconds - before.seconds);
    let (Some(song), 1..) = (before.playing(), songs) else { return transaction };
    let add = || {
        let update: Update<Tally> = Update::new().add(Column::new("songs"), songs);
        update.add(Column::new("seconds"), seconds)
    };
    let (server, by) = (done.head.discord_server_id, song.by);
    let board = format!("{server}/djs/{}", day.month());
    let of_day = add().set(Column::<Tally, i64>::new("expires_at"), day.expires_at());
    transaction
        .upsert::<Tally>((board, day.slot(&by.to_string())), of_day)
        .upsert::<Tally>((format!("{server}/djs/all"), format!("00#{by}")), add())
}

/// Empties the queue; `false` if it is empty.
pub async fn stop(services: &Services, cause: &Cause) -> Result<bool> {
    let decide = |head: Option<&Play>| {
        let mut play = head.cloned().filter(|play| !play.queue.is_empty()).ok_or(NoSong::None)?;
        let songs = std::mem::take(&mut play.queue);
        Ok(play.next("stop", songs.first()))
    };
    match history::change(&services.dynamo, cause, cause.server_id, decide).await {
        Ok(changed) => {
            head(services, changed).await?;
            Ok(true)
        }
        Err(NoSong::None) => Ok(false),
        Err(NoSong::Failed(error)) => Err(error.into()),
    }
}

/// Takes a song back that somebody added; `None` if it is not waiting any more.
pub async fn take_back(services: &Services, cause: &Cause, event: u64) -> Result<Option<Song>> {
    let decide = |head: Option<&Play>| {
        let mut play = head.cloned().ok_or(NoSong::None)?;
        let place = play.queue.iter().position(|song| song.event == event).ok_or(NoSong::None)?;
        let song = play.queue.remove(place);
        let mut next = play.next("undo", Some(&song));
        next.row.undoes = Some(event);
        Ok(next)
    };
    match history::change(&services.dynamo, cause, cause.server_id, decide).await {
        Ok(Change::Done(done)) => {
            let before = done.before.iter().flat_map(|before| &before.queue);
            let song = before.clone().find(|song| song.event == event).cloned();
            see(services, &done.head);
            Ok(song)
        }
        Ok(changed) => {
            let title = changed.row().and_then(|row| row.name.clone()).unwrap_or_default();
            head(services, changed).await?;
            Ok(Some(Song {
                title,
                url: None,
                text: String::new(),
                by: 0,
                channel: None,
                seconds: None,
                event,
            }))
        }
        Err(NoSong::None) => Ok(None),
        Err(NoSong::Failed(error)) => Err(error.into()),
    }
}

/// The queue as it is after a change.
async fn head(services: &Services, changed: Change<Play>) -> Result<Play> {
    let play = match changed {
        Change::Done(done) => done.head,
        Change::Already(row) => read(services, row.discord_server_id).await?,
        Change::Contended => return refuse(CONTENDED),
    };
    see(services, &play);
    Ok(play)
}

pub async fn read(services: &Services, server_id: u64) -> Result<Play, dynamo::Error> {
    Ok(services.dynamo.get(server_id).await?.unwrap_or_else(|| Play::new(server_id)))
}

fn see(services: &Services, play: &Play) {
    if services.instance.player == Kind::Sim {
        services.state::<Player>().see(play, services.clock.now());
    }
}

/// Shows the queue of a server to the player; `false` if it cannot be read now.
pub async fn look(services: &Services, server_id: u64) -> bool {
    match read(services, server_id).await {
        Ok(play) => see(services, &play),
        Err(_) => return false,
    }
    true
}
