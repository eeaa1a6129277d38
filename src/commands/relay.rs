//! `.relay` and `.announce`: words between bots, as servers and the bot's owner see them.

use crate::cause::Cause;
use crate::clock::Timestamp;
use crate::context::{
    Answer, Args, Button, Card, Choice, Colour, Command, Context, Control, Error, Feature, Kind, Level,
    Param, Place, Press, Reply, Result, Services, Typing, Value, channel, refuse,
};
use crate::dynamo::Dynamo;
use crate::markdown::{code, cut, time};
use crate::people::Noted;
use crate::relay::channels::{self, LINKS_OF_SERVER_MAX, Link, Linked, Way};
use crate::relay::desk::{PeerStatus, Status};
use crate::relay::envelope::{Scope, Value as Word};
use crate::relay::handle::Relay;
use crate::relay::name::Topic;
use crate::relay::publish::{Draft, Published, Refused};
use crate::relay::rules::RELAY_TEXT_MAX;
use crate::relay::rules::actor::ANNOUNCE;
use crate::relay::settings::Settings;
use crate::relay::store::Out;

const NO_LINKS: &str = "ℹ️ I have no links to other bots";

/// Suggestions that Discord shows at once.
const SUGGESTED_MAX: usize = 25;

const TOPIC: Param = Param::required("topic", "What it is about: announce", Kind::Text).suggesting(suggest);
const CHANNEL: Param = Param::optional("channel", "This one, if none is given", Kind::Channel);
const WAYS: &[&str] = &["in", "out", "both"];

const FOR_ADMINS: Command =
    Command { place: Place::Server, level: Level::Admin, private: true, ..Command::DEFAULT };

pub const FEATURE: Feature = Feature {
    name: "relay",
    commands: &[
        Command {
            prefix: &["relay", "relay status"],
            slash: &["relay status"],
            summary: "Show how my links to other bots stand, and which channels are linked",
            run: |ctx, _| Box::pin(async move { Answer::of_reading(status(&ctx).await) }),
            ..FOR_ADMINS
        },
        Command {
            prefix: &["relay link"],
            slash: &["relay link"],
            summary: "Post what other bots say about a topic in a channel, or send what is written there",
            usage: "<topic> [in|out|both] [#channel]",
            options: &[
                TOPIC,
                Param::optional("way", "in posts here, out sends what is written", Kind::Choice(WAYS)),
                CHANNEL,
            ],
            parse,
            run: |ctx, args| Box::pin(async move { link(&ctx, &args).await.map(Answer::Reply) }),
            ..FOR_ADMINS
        },
        Command {
            prefix: &["relay unlink"],
            slash: &["relay unlink"],
            summary: "End the link of a channel",
            usage: "<topic> [#channel]",
            options: &[TOPIC, CHANNEL],
            parse,
            run: |ctx, args| Box::pin(async move { unlink(&ctx, &args).await.map(Answer::Reply) }),
            ..FOR_ADMINS
        },
        Command {
            prefix: &["announce"],
            slash: &["announce"],
            summary: "Tell something in every channel that is linked to announcements, on every bot",
            usage: "<text>",
            options: &[Param::required("text", "What is to be told", Kind::Text)],
            run: |ctx, args| {
                Box::pin(async move { announce(&ctx, args.text("text")?).await.map(Answer::from) })
            },
            level: Level::BotOwner,
            ..FOR_ADMINS
        },
    ],
    controls: &[Control {
        verb: "relay-undo",
        command: Some("relay unlink"),
        run: |ctx, press| Box::pin(async move { undo(&ctx, &press).await.map(Answer::Update) }),
    }],
    ..Feature::EMPTY
};

/// The topic, then a way and a channel in either order.
fn parse(_: &Command, text: &str) -> Result<Args> {
    let mut words = text.split_whitespace();
    let mut args = Args::new();
    if let Some(topic) = words.next() {
        args = args.with_text("topic", topic);
    }
    for word in words {
        let way = WAYS.iter().find(|way| word.eq_ignore_ascii_case(way));
        args = match (way, channel(word)) {
            (Some(way), _) => args.with_text("way", *way),
            (None, Some(id)) => args.with("channel", Value::Channel(id)),
            (None, None) => {
                let what = code(&cut(word, 60));
                return Err(Error::Usage(format!("{what} is neither in, out or both, nor a channel")));
            }
        };
    }
    Ok(args)
}

/// The topics that a server may link.
fn suggest(services: &std::sync::Arc<Services>, typing: Typing<'_>) -> Vec<Choice> {
    let Some(relay) = services.relay.get() else { return Vec::new() };
    let open = relay.settings().open.iter().map(|pattern| pattern.as_str());
    let fits = open.filter(|topic| topic.contains(&typing.text.trim().to_lowercase()));
    fits.take(SUGGESTED_MAX)
        .map(|topic| Choice { label: topic.to_owned(), value: topic.to_owned() })
        .collect()
}

fn relay(ctx: &Context) -> Result<&Relay> {
    ctx.services.relay.get().ok_or_else(|| Error::Refused(NO_LINKS.to_owned()))
}

async fn status(ctx: &Context) -> Result<Reply> {
    let relay = relay(ctx)?;
    let links = channels::of_server(ctx.dynamo(), ctx.cause.server_id).await?;
    let mut text = String::new();
    if ctx.caller.bot_owner {
        let status = relay.status().await?;
        let trouble = relay.live().trouble.clone();
        text = peers(&status, ctx.cause.at);
        for (transport, why) in trouble {
            text.push_str(&format!("\n⚠ {transport}: {}", crate::markdown::plain(&why)));
        }
        text.push_str("\n\n");
    }
    text.push_str(&linked(&links));
    Ok(Card { title: "🔗 Relay".into(), text, colour: Colour::Blue, footer: None }.into())
}

/// A line for each peer, and one for ourselves.
fn peers(status: &Status, now: Timestamp) -> String {
    let mut lines = vec![format!("I am **{}**", status.me)];
    if status.peers.is_empty() {
        lines.push(NO_LINKS.to_owned());
    }
    lines.extend(status.peers.iter().map(|peer| peer_line(peer, now)));
    if status.here.waiting() > 0 {
        lines.push(format!("• {} here wait for my rules", status.here.waiting()));
    }
    if status.dead > 0 {
        lines.push(format!("⚠ {} dead letters: `mneme relay queue dead`", status.dead));
    }
    lines.join("\n")
}

fn peer_line(peer: &PeerStatus, now: Timestamp) -> String {
    let since = peer.since.map(|at| format!(" since {}", time(at))).unwrap_or_default();
    let state = match peer.up {
        Some(true) => format!("🟢 up{since}"),
        Some(false) => format!("🔴 down{since}"),
        None => "⚪ never seen".to_owned(),
    };
    let oldest = peer.oldest().map(|at| format!(", the oldest {} old", age(now, at))).unwrap_or_default();
    let waiting = match peer.waiting() {
        0 => "nothing waits".to_owned(),
        n => format!("{n} waiting{oldest}"),
    };
    let arrived: u64 = peer.arrived.iter().map(|(_, expected, _)| expected).sum();
    let dead = if peer.dead > 0 { format!(", {} dead", peer.dead) } else { String::new() };
    format!("• **{}** {state} · {waiting} · {arrived} arrived{dead}", peer.name)
}

fn age(now: Timestamp, at: Timestamp) -> String {
    let seconds = now.since(at).as_secs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn linked(links: &[Link]) -> String {
    if links.is_empty() {
        return "No channel of this server is linked".to_owned();
    }
    let arrow = |way: Way| match way {
        Way::In => "is posted in",
        Way::Out => "gets what is written in",
        Way::Both => "is posted in, and gets what is written in,",
    };
    let line =
        |link: &Link| format!("• {} {} <#{}>", code(link.topic.as_str()), arrow(link.way), link.channel_id);
    links.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A topic that may be published here.
fn known_topic(settings: &Settings, text: &str) -> Result<Topic> {
    let topic = Topic::new(text.trim()).ok().filter(|topic| settings.routes.topic(topic).is_some());
    topic.ok_or_else(|| Error::Refused(format!("⚠ I don't know the topic {}", code(&cut(text.trim(), 130)))))
}

/// A channel of this server that the caller can see: the one that was named, or the one where it was said.
async fn place(ctx: &Context, named: Option<u64>) -> Result<u64> {
    let channel_id = named.unwrap_or(ctx.channel_id);
    let discord = &ctx.services.discord;
    if channel_id != ctx.channel_id
        && !discord.may_see(ctx.cause.server_id, channel_id, ctx.caller.id).await.map_err(Error::Other)?
    {
        return refuse(format!("⚠ <#{channel_id}> is not a channel of this server"));
    }
    Ok(channel_id)
}

async fn link(ctx: &Context, args: &Args) -> Result<Reply> {
    let settings = relay(ctx)?.settings();
    let topic = known_topic(settings, args.text("topic")?)?;
    if !settings.is_open(&topic) && !ctx.caller.bot_owner {
        return refuse(format!("⛔ {} is not open to servers; ask the bot's owner", code(topic.as_str())));
    }
    let channel_id = place(ctx, args.channel("channel")).await?;
    let way = match args.maybe_text("way") {
        Some("out") => Way::Out,
        Some("both") => Way::Both,
        _ => Way::In,
    };
    let text = link_to(ctx.dynamo(), &ctx.services.noted, &ctx.cause, &topic, channel_id, way).await?;
    Ok(Reply::from(text).buttons(undo_button(&topic, channel_id, None)))
}

async fn link_to(
    dynamo: &Dynamo,
    noted: &Noted,
    cause: &Cause,
    topic: &Topic,
    channel_id: u64,
    way: Way,
) -> Result<String> {
    noted.note(dynamo, cause.actor_id, cause.server_id).await?;
    match channels::link(dynamo, cause, topic, channel_id, way).await? {
        Linked::Done => Ok(linked_text(topic, channel_id, way)),
        Linked::Full => refuse(format!(
            "⚠ This server already has {LINKS_OF_SERVER_MAX} linked channels; unlink some first"
        )),
    }
}

fn linked_text(topic: &Topic, channel_id: u64, way: Way) -> String {
    let topic = code(topic.as_str());
    match way {
        Way::In => format!("🔗 {topic} is now posted in <#{channel_id}>"),
        Way::Out => format!("🔗 What is written in <#{channel_id}> goes to {topic}"),
        Way::Both => {
            format!("🔗 {topic} is now posted in <#{channel_id}>, and what is written there goes to it")
        }
    }
}

async fn unlink(ctx: &Context, args: &Args) -> Result<Reply> {
    relay(ctx)?;
    let text = args.text("topic")?.trim();
    // It may have left the configuration since it was linked.
    let topic = Topic::new(text);
    let topic =
        topic.map_err(|_| Error::Refused(format!("⚠ I don't know the topic {}", code(&cut(text, 130)))))?;
    let channel_id = args.channel("channel").unwrap_or(ctx.channel_id);
    let before = channels::of_server(ctx.dynamo(), ctx.cause.server_id).await?;
    let before = before.into_iter().find(|link| link.topic == topic && link.channel_id == channel_id);
    let text = unlink_from(ctx.dynamo(), &ctx.cause, &topic, channel_id).await?;
    Ok(Reply::from(text).buttons(undo_button(&topic, channel_id, before.map(|link| link.way))))
}

async fn unlink_from(dynamo: &Dynamo, cause: &Cause, topic: &Topic, channel_id: u64) -> Result<String> {
    let name = code(topic.as_str());
    if channels::unlink(dynamo, cause, topic, channel_id).await? {
        Ok(format!("🔗 {name} is no longer posted in <#{channel_id}>"))
    } else {
        refuse(format!("ℹ️ {name} is not linked to <#{channel_id}>"))
    }
}

/// Takes a link back, or puts one back. Absent where a button's id cannot hold it.
fn undo_button(topic: &Topic, channel_id: u64, back: Option<Way>) -> Vec<Button> {
    let way = back.map_or("-", way_name);
    let id = format!("relay-undo:{way}:{channel_id}:{topic}");
    if id.len() > BUTTON_ID_MAX { Vec::new() } else { vec![Button::new(id, "Undo")] }
}

/// A Discord rule.
const BUTTON_ID_MAX: usize = 100;

fn way_name(way: Way) -> &'static str {
    match way {
        Way::In => "in",
        Way::Out => "out",
        Way::Both => "both",
    }
}

/// The channel, the topic, and the way that is put back.
fn undone(fields: &str) -> Option<(Topic, u64, Option<Way>)> {
    let mut parts = fields.splitn(3, ':');
    let way = match parts.next()? {
        "-" => None,
        "in" => Some(Way::In),
        "out" => Some(Way::Out),
        "both" => Some(Way::Both),
        _ => return None,
    };
    let channel_id = crate::context::snowflake(parts.next()?)?;
    Some((Topic::new(parts.next()?).ok()?, channel_id, way))
}

async fn undo(ctx: &Context, press: &Press) -> Result<Reply> {
    let Some((topic, channel_id, way)) = undone(&press.fields) else { return refuse(super::undo::TOO_OLD) };
    let settings = relay(ctx)?.settings();
    let text = match way {
        None => unlink_from(ctx.dynamo(), &ctx.cause, &topic, channel_id).await?,
        Some(_) if !settings.is_open(&topic) && !ctx.caller.bot_owner => {
            return refuse(format!(
                "⛔ {} is not open to servers; ask the bot's owner",
                code(topic.as_str())
            ));
        }
        Some(way) => {
            // The id comes from outside: a channel of another server is not linked by it.
            let channel_id = place(ctx, Some(channel_id)).await?;
            link_to(ctx.dynamo(), &ctx.services.noted, &ctx.cause, &topic, channel_id, way).await?
        }
    };
    Ok(format!("↩️ Undone: {text}").into())
}

async fn announce(ctx: &Context, text: &str) -> Result<String> {
    let relay = relay(ctx)?;
    let length = text.chars().count();
    if length > RELAY_TEXT_MAX {
        return refuse(format!(
            "⚠ That is {} characters long; the limit is {}",
            crate::markdown::number(length),
            crate::markdown::number(RELAY_TEXT_MAX)
        ));
    }
    let published = relay.publish(announcement(&ctx.cause, text)).await;
    // What it says of peers is a courtesy: that it was taken is certain without it.
    let status = relay.status().await.ok();
    announced(published, status.as_ref())
}

/// The same for the same event: told again, it is told once.
fn announcement(cause: &Cause, text: &str) -> Draft {
    Draft {
        topic: Topic::new(ANNOUNCE).expect("a constant, read in a test"),
        scope: Scope::Fleet,
        to: None,
        at: cause.at,
        because: format!("announce/{}", cause.id),
        part: 0,
        cause: None,
        depth: 0,
        key: ANNOUNCE.to_owned(),
        subject: None,
        fields: [("text".to_owned(), Word::Text(text.to_owned()))].into(),
    }
}

fn announced(published: Result<Published, Refused>, status: Option<&Status>) -> Result<String> {
    let (queued, full) = match published {
        Ok(Published { queued, full, .. }) => (queued, full),
        Err(Refused::Full(full)) => (Vec::new(), full),
        Err(Refused::UnknownTopic(topic)) => {
            return refuse(format!("⚠ I don't know the topic {}", code(topic.as_str())));
        }
        Err(Refused::Store(error)) => return Err(error.into()),
        Err(why) => return refuse(format!("⚠ {why}")),
    };
    let known =
        |name: &str| status.and_then(|status| status.peers.iter().find(|peer| peer.name.as_str() == name));
    let names = |outs: &[Out]| outs.iter().filter_map(peer_of).collect::<Vec<_>>();
    let mut lines = Vec::new();
    let bots = names(&queued);
    if !bots.is_empty() || full.is_empty() {
        let away: Vec<_> =
            bots.iter().filter(|name| known(name).is_some_and(|peer| peer.up != Some(true))).collect();
        let later = match &away[..] {
            [] => String::new(),
            [one] => format!("; {one} is away and gets it later"),
            [before @ .., last] => {
                let before: Vec<_> = before.iter().map(|name| name.as_str()).collect();
                format!("; {} and {last} are away and get it later", before.join(", "))
            }
        };
        let s = if bots.len() == 1 { "" } else { "s" };
        lines.push(match bots.len() {
            0 => {
                "📣 On its way to the channels that are linked here; I have no links to other bots".to_owned()
            }
            n => format!("📣 On its way to {n} bot{s}{later}"),
        });
    }
    for name in names(&full) {
        let since = known(&name).and_then(PeerStatus::oldest).map(|at| format!(" since {}", time(at)));
        let since = since.unwrap_or_default();
        lines.push(format!("⚠ {name} will not get this: its queue has been full{since}"));
    }
    Ok(lines.join("\n"))
}

fn peer_of(out: &Out) -> Option<String> {
    match out {
        Out::Link(peer, _) => Some(peer.to_string()),
        Out::Here => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::desk::LaneStatus;
    use crate::relay::frame::Lane;
    use crate::relay::name::{BotName, EnvelopeId};

    fn bot(name: &str) -> BotName {
        BotName::new(name).unwrap()
    }

    fn out(name: &str) -> Out {
        Out::Link(bot(name), Lane::Events)
    }

    fn peer(name: &str, up: Option<bool>, waiting: u64) -> PeerStatus {
        let oldest = (waiting > 0).then_some(Timestamp::from_seconds(1_800_000_000));
        let lane = LaneStatus { epoch: 1, next: 10 + waiting, acked: 10, oldest };
        PeerStatus {
            name: bot(name),
            up,
            since: Some(Timestamp::from_seconds(1_800_000_060)),
            out: vec![(Lane::Events, lane)],
            arrived: vec![(Lane::Events, 7, 1), (Lane::Samples, 5, 1)],
            dead: 0,
        }
    }

    fn status(peers: Vec<PeerStatus>) -> Status {
        Status { me: bot("hub"), peers, here: LaneStatus::default(), dead: 0 }
    }

    fn published(queued: &[&str], full: &[&str]) -> Published {
        let outs = |names: &[&str]| names.iter().map(|name| out(name)).collect();
        let id = EnvelopeId::of(&bot("hub"), "x", 0);
        let mut queued: Vec<Out> = outs(queued);
        queued.push(Out::Here);
        Published { id, queued, full: outs(full), again: false }
    }

    #[test]
    fn an_announcement_says_who_gets_it_and_who_does_not() {
        let all =
            status(vec![peer("a", Some(true), 0), peer("b", Some(true), 0), peer("laptop", Some(false), 3)]);
        let told = |published| announced(Ok(published), Some(&all)).unwrap();
        assert_eq!(told(published(&["a", "b"], &[])), "📣 On its way to 2 bots");
        assert_eq!(told(published(&["a"], &[])), "📣 On its way to 1 bot");
        assert_eq!(
            told(published(&["a", "b", "laptop"], &[])),
            "📣 On its way to 3 bots; laptop is away and gets it later"
        );
        assert_eq!(
            told(published(&["a"], &["laptop"])),
            "📣 On its way to 1 bot\n⚠ laptop will not get this: its queue has been full since <t:1800000000>"
        );
        let nobody = announced(Err(Refused::Full(vec![out("laptop")])), None).unwrap();
        assert_eq!(nobody, "⚠ laptop will not get this: its queue has been full");
        let unknown = announced(Err(Refused::UnknownTopic(Topic::new("announce").unwrap())), None);
        assert!(
            matches!(unknown, Err(Error::Refused(text)) if text == "⚠ I don't know the topic `announce`")
        );
        assert_eq!(announcement(&Cause::new(5 << 22, 1, 2), "x").topic.as_str(), ANNOUNCE);
    }

    #[test]
    fn a_status_tells_of_each_peer() {
        let now = Timestamp::from_seconds(1_800_007_200);
        let text = peers(
            &status(vec![peer("a", Some(true), 0), peer("b", Some(false), 3), peer("c", None, 0)]),
            now,
        );
        let expected = "I am **hub**\n\
            • **a** 🟢 up since <t:1800000060> · nothing waits · 12 arrived\n\
            • **b** 🔴 down since <t:1800000060> · 3 waiting, the oldest 2 h old · 12 arrived\n\
            • **c** ⚪ never seen · nothing waits · 12 arrived";
        assert_eq!(text, expected);
    }

    #[test]
    fn words_after_the_topic_come_in_any_order() {
        let read = |text: &str| {
            let args = parse(&FEATURE.commands[1], text).unwrap();
            let way = args.maybe_text("way").map(str::to_owned);
            (args.maybe_text("topic").map(str::to_owned), way, args.channel("channel"))
        };
        let (topic, id) = (Some("announce".to_owned()), 123_456_789_012_345_678);
        assert_eq!(read("announce"), (topic.clone(), None, None));
        assert_eq!(read("announce <#123456789012345678> OUT"), (topic.clone(), Some("out".into()), Some(id)));
        assert_eq!(read("announce both 123456789012345678"), (topic, Some("both".into()), Some(id)));
        assert!(matches!(parse(&FEATURE.commands[1], "a sideways"), Err(Error::Usage(_))));
    }

    #[test]
    fn an_undo_travels_in_its_button() {
        let topic = Topic::new("chat/ops").unwrap();
        for back in [None, Some(Way::In), Some(Way::Out), Some(Way::Both)] {
            let buttons = undo_button(&topic, u64::MAX - 1, back);
            let fields = buttons[0].id.strip_prefix("relay-undo:").unwrap();
            assert_eq!(undone(fields), Some((topic.clone(), u64::MAX - 1, back)));
        }
        assert!(undo_button(&Topic::new(&"x".repeat(100)).unwrap(), 1 << 60, None).is_empty());
        for wrong in ["", "-", "x:1:a", "-:1:a", "in:123456789012345678:A b"] {
            assert_eq!(undone(wrong), None, "{wrong}");
        }
    }
}
