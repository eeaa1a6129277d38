//! `.play`: a queue of songs and the statistics of what was heard. There is no sound yet.
//!
//! Everything here is closed until a server opens it with the setting `play`.

mod ask;
mod player;
mod queue;
mod record;

use std::future::ready;

use futures::future::BoxFuture;

use crate::commands::confirm::Questions;
use crate::commands::days::{Day, zone};
use crate::commands::undo;
use crate::context::{
    Answer, Args, Button, Card, Colour, Command, Context, Control, Feature, Kind, Param, Pays, Place, Player,
    Press, Reply, Result, Style, Undo, refuse,
};
use crate::counts;
use crate::dynamo::TableSpec;
use crate::history::Revision;
use crate::markdown::{code, cut, person};

use ask::Ask;
pub use record::{KIND, Play};

pub const FEATURE: Feature = Feature {
    name: "play",
    commands: COMMANDS,
    controls: &[Control {
        verb: "play-stop",
        command: Some("stop"),
        run: |ctx, press| opened(ctx, |ctx| stop_pressed(ctx, press)),
    }],
    tables: &[TableSpec::of::<Play>()],
    undo: &[Undo { kind: KIND, command: "play", run: |ctx, row| Box::pin(take_back(ctx, row)) }],
    background: Some(|services, shutdown| {
        Box::pin(async move {
            match services.instance.player {
                Player::Sim => player::run(services, shutdown).await,
                Player::None => shutdown.cancelled().await,
            }
        })
    }),
    ..Feature::EMPTY
};

const IN_SERVER: Command = Command { place: Place::Server, ..Command::DEFAULT };

const SONG: Param =
    Param::required("song", "A link to YouTube or SoundCloud, or what to look for", Kind::Text);

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["play"],
        slash: &["play add"],
        summary: "Add a song to the queue",
        usage: "<url or text> [--queue n] [--channel id]",
        options: &[
            SONG,
            Param::optional(
                "position",
                "Its place in the queue",
                Kind::Integer { min: 1, max: queue::SONGS_MAX as i64 },
            ),
            Param::optional("channel", "Where it is to be heard", Kind::Channel),
        ],
        parse: |_, text| Ok(Args::new().with_text("line", text)),
        pays: Pays::WithItsChange,
        run: |ctx, args| opened(ctx, |ctx| add(ctx, args, None)),
        ..IN_SERVER
    },
    Command {
        prefix: &["play next"],
        slash: &["play next"],
        summary: "Add a song right behind the one that plays",
        usage: "<url or text>",
        options: &[SONG],
        parse: |_, text| Ok(Args::new().with_text("line", text)),
        pays: Pays::WithItsChange,
        run: |ctx, args| opened(ctx, |ctx| add(ctx, args, Some(2))),
        ..IN_SERVER
    },
    Command {
        prefix: &["play queue"],
        slash: &["play queue"],
        summary: "Show the queue",
        run: |ctx, _| opened(ctx, show_queue),
        ..IN_SERVER
    },
    Command {
        prefix: &["play help"],
        slash: &["play help"],
        summary: "Show how to play",
        offline: true,
        private: true,
        run: |ctx, _| opened(ctx, help),
        ..IN_SERVER
    },
    Command {
        prefix: &["play stats"],
        slash: &["play stats"],
        summary: "Show what was heard, and who asked for it",
        run: |ctx, _| opened(ctx, stats),
        ..IN_SERVER
    },
    Command {
        prefix: &["skip"],
        slash: &["play skip"],
        summary: "Skip the song that plays",
        pays: Pays::WithItsChange,
        run: |ctx, _| opened(ctx, skip),
        ..IN_SERVER
    },
    Command {
        prefix: &["stop"],
        slash: &["play stop"],
        summary: "Stop playing and empty the queue",
        run: |ctx, _| opened(ctx, ask_to_stop),
        ..IN_SERVER
    },
];

const NO_SOUND: &str = "-# 🔇 I keep the queue and the statistics; I can't play sound yet";
const NO_SONGS: &str = "🎵 No songs in the queue";

/// Does what is asked where the server has opened this; elsewhere a card stands for every answer.
fn opened<F>(ctx: Context, run: impl FnOnce(Context) -> F) -> BoxFuture<'static, Result<Answer>>
where
    F: Future<Output = Result<Answer>> + Send + 'static,
{
    let by_default = ctx.services.instance.play_servers.contains(&ctx.cause.server_id);
    if ctx.settings.play.unwrap_or(by_default) {
        return Box::pin(run(ctx));
    }
    let card = Card {
        title: "🔒 Command Locked".to_owned(),
        text: "This command is locked and not publicly available".to_owned(),
        colour: Colour::Red,
        ..Card::default()
    };
    Box::pin(ready(Ok(Answer::Reply(card.into()))))
}

async fn add(ctx: Context, args: Args, place: Option<usize>) -> Result<Answer> {
    let ask = match args.maybe_text("song") {
        Some(song) => Ask {
            text: song.trim().to_owned(),
            place: args.integer("position").and_then(|place| usize::try_from(place).ok()),
            channel: args.channel("channel"),
        }
        .checked()?,
        None => Ask::read(args.maybe_text("line").unwrap_or_default())?,
    };
    let ask = Ask { place: place.or(ask.place), ..ask };
    if let Some(channel) = ask.channel
        && !ctx.services.discord.may_see(ctx.cause.server_id, channel, ctx.caller.id).await?
    {
        return refuse("⚠ That channel is not in this server, or not open to you");
    }
    ctx.services.noted.note(ctx.dynamo(), ctx.caller.id, ctx.cause.server_id).await?;
    let added = queue::add(&ctx.services, &ctx.cause, &ask).await?;
    let title = code(&cut(&added.song.title, 200));
    let place = match added.place {
        2 => "Up next!".to_owned(),
        place => format!("Queue #: {}", code(&place.to_string())),
    };
    let text = format!("💃🕺💃 Added to queue: {title} - {place}\n{NO_SOUND}");
    Ok(Reply::from(text).buttons(vec![undo::button(ctx.cause.id.0)]).into())
}

async fn show_queue(ctx: Context) -> Result<Answer> {
    let play = queue::read(&ctx.services, ctx.cause.server_id).await.map_err(crate::context::Error::Read)?;
    if play.queue.is_empty() {
        return Ok(NO_SONGS.into());
    }
    let songs = play.queue.iter().enumerate().map(|(place, song)| {
        let length = song.seconds.map_or("--:--".to_owned(), |s| format!("{:02}:{:02}", s / 60, s % 60));
        let title = code(&cut(&song.title, 80));
        format!("\n**{}:** {title} - {} - {}", place + 1, code(&length), person(song.by))
    });
    let text: String = std::iter::once("🎵 Songs in the queue:".to_owned()).chain(songs).collect();
    Ok(text.into())
}

async fn help(ctx: Context) -> Result<Answer> {
    let line = |form: &str, what: &str| format!("{} {what}", code(&ctx.typed(form)));
    let text = [
        line("play https://www.youtube.com/watch?v=…", "adds a song to the queue"),
        line("play lofi beats", "adds what is found under these words"),
        line("play lofi beats --queue 3", "adds it as the third"),
        line("play lofi beats --channel #music", "for that channel"),
        line("play next lofi beats", "adds it right behind the one that plays"),
        line("play queue", "shows the queue"),
        line("play stats", "shows what was heard"),
        line("skip", "skips the song that plays"),
        line("stop", "stops playing and empties the queue"),
        NO_SOUND.to_owned(),
    ];
    let card =
        Card { title: "🎧 **.play help** 🎧".to_owned(), text: text.join("\n"), ..Card::default() };
    Ok(Answer::Reply(card.into()))
}

async fn stats(ctx: Context) -> Result<Answer> {
    let server = ctx.cause.server_id;
    let read = crate::context::Error::Read;
    let play = queue::read(&ctx.services, server).await.map_err(read)?;
    if play.songs == 0 {
        let run = code(&ctx.typed("play"));
        return Ok(format!(
            "0️⃣ No stats yet for this Discord server!\nRun some {run} commands to rack up some stats"
        )
        .into());
    }
    let mut djs = counts::board(ctx.dynamo(), &format!("{server}/djs/all")).await.map_err(read)?;
    djs.sort_by_key(|row| std::cmp::Reverse((row.number("songs"), row.number("seconds"))));
    let mut lines = vec![
        format!("• 🎧 Total Songs Played: **{}**", play.songs),
        format!("• 🕐 Total Time Played: **{}**", clock(play.seconds)),
    ];
    let medals = ["🥇 **Top DJ:**", "🥈", "🥉"];
    lines.extend(medals.iter().zip(&djs).map(|(medal, row)| {
        let who = row.slot.split_once('#').and_then(|(_, id)| id.parse().ok()).unwrap_or_default();
        let who = if who == 0 { "someone".to_owned() } else { person(who) };
        let songs = row.number("songs");
        let word = if songs == 1 { "song" } else { "songs" };
        format!("{medal} {who} - {songs} {word}, {}", clock(row.number("seconds")))
    }));
    let card = Card {
        title: format!("🎵 {} stats for this Discord server: 🎵", code(&ctx.typed("play"))),
        text: lines.join("\n"),
        ..Card::default()
    };
    Ok(Answer::Reply(card.into()))
}

/// `h01:m02:s03`
fn clock(seconds: u64) -> String {
    format!("h{:02}:m{:02}:s{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}

async fn skip(ctx: Context) -> Result<Answer> {
    ctx.services.noted.note(ctx.dynamo(), ctx.caller.id, ctx.cause.server_id).await?;
    let day = Day::of(ctx.cause.at, &zone(&ctx.settings));
    if queue::skip(&ctx.services, &ctx.cause, day).await? {
        Ok("⏩ Skipping the current song".into())
    } else {
        refuse("🎵 No songs in the queue - nothing to skip!")
    }
}

async fn ask_to_stop(ctx: Context) -> Result<Answer> {
    let play = queue::read(&ctx.services, ctx.cause.server_id).await.map_err(crate::context::Error::Read)?;
    if play.queue.is_empty() {
        return Ok(format!("Nothing to {} - OK", code("stop")).into());
    }
    let who = ctx.caller.id;
    let (yes, no) = (format!("play-stop:yes.{who}"), format!("play-stop:no.{who}"));
    ctx.services.state::<Questions>().ask(&ctx, yes.clone(), no.clone());
    let stop = Button { style: Style::Danger, ..Button::new(yes, "Stop") };
    let songs = play.queue.len();
    let word = if songs == 1 { "song" } else { "songs" };
    let reply = Reply::from(format!("Stop playing, and empty the queue of {songs} {word}?"))
        .buttons(vec![stop, Button::new(no, "Go on")]);
    Ok(reply.into())
}

/// The question is answered by the one who was asked.
async fn stop_pressed(ctx: Context, press: Press) -> Result<Answer> {
    let Some((answer, who)) = press.fields.split_once('.') else { return refuse(undo::TOO_OLD) };
    if who != ctx.caller.id.to_string() {
        return refuse(format!("⛔ You can't answer this: I asked <@{who}>"));
    }
    match answer {
        "yes" => {
            ctx.services.noted.note(ctx.dynamo(), ctx.caller.id, ctx.cause.server_id).await?;
            let stopped = queue::stop(&ctx.services, &ctx.cause).await?;
            let done = format!("✅ {} command completed", code(&ctx.typed("stop")));
            let nothing = format!("Nothing to {} - OK", code("stop"));
            Ok(Answer::Update(if stopped { done } else { nothing }.into()))
        }
        _ => Ok(Answer::Update("❌ Request failed confirmation".into())),
    }
}

async fn take_back(ctx: Context, row: Revision) -> Result<Reply> {
    if !undo::may_take_back(&ctx.cause, ctx.caller.moderator, row.by, row.time()) {
        return refuse(format!("⛔ You can't use {} here: it needs Manage Messages", code("Undo")));
    }
    let event = row.event_id.unwrap_or_default();
    match queue::take_back(&ctx.services, &ctx.cause, event).await? {
        Some(song) => {
            Ok(format!("↩️ Undone: {} is not in the queue any more", code(&cut(&song.title, 200))).into())
        }
        None => refuse("⚠ That song is not waiting in the queue any more"),
    }
}
