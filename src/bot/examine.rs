//! The bot's account under examination: the token, what it may do, and whose clock is right.

use std::time::Duration;

use serenity::all::{ApplicationFlags, CurrentApplicationInfo, GuildInfo, Permissions};
use tokio::time::timeout;

use super::{Asked, STARTS_SPARE, Settings, ask, base, content_flags, http, status};
use crate::clock::{Clock, Timestamp};
use crate::finding::{Finding, root_cause};

/// An answer takes a tenth of it; nobody waits longer for a verdict.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What an answer may need in a channel.
const WANTED: Permissions = Permissions::VIEW_CHANNEL
    .union(Permissions::SEND_MESSAGES)
    .union(Permissions::SEND_MESSAGES_IN_THREADS)
    .union(Permissions::EMBED_LINKS)
    .union(Permissions::ATTACH_FILES)
    .union(Permissions::READ_MESSAGE_HISTORY);

/// Discord's page; whoever is in more servers has seen enough of them.
const SERVERS_MAX: usize = 200;

/// Servers that are named; the rest is counted.
const SERVERS_NAMED: usize = 5;

/// What was found, and Discord's time beside ours when we were told.
#[derive(Debug, Default)]
pub struct Examined {
    pub findings: Vec<Finding>,
    pub told: Option<(Timestamp, Timestamp)>,
}

/// Tries the token and what it is allowed to do. Joins nothing and uses up no session start.
pub async fn examine(settings: &Settings, clock: &Clock) -> Examined {
    let mut examined = Examined::default();
    if let Err(trouble) = look(settings, clock, &mut examined).await {
        examined.findings.push(trouble);
    }
    examined
}

async fn look(settings: &Settings, clock: &Clock, examined: &mut Examined) -> Result<(), Finding> {
    let (reached, told) = reach(settings, clock).await?;
    examined.findings.push(reached);
    examined.told = told;
    let (http, _) = http(settings)
        .map_err(|error| Finding::fail("Discord", format!("no client ({error:#})"), advice(settings)))?;
    let asked = limited(ask(&http, settings), settings).await?;
    examined.findings.push(token(&asked));
    examined.findings.push(starts(&asked, settings));
    examined.findings.push(content(&asked.application, settings));
    let servers = limited(http.get_guilds(None, Some(SERVERS_MAX as u64)), settings).await?;
    examined.findings.extend(permissions(&servers, asked.application.id.get()));
    Ok(())
}

/// Anybody may ask for the gateway's address.
async fn reach(
    settings: &Settings,
    clock: &Clock,
) -> Result<(Finding, Option<(Timestamp, Timestamp)>), Finding> {
    let place = settings.api_url.as_deref().map_or("https://discord.com", base);
    let failed = |error: reqwest::Error| {
        let cause = if error.is_timeout() { "no answer in time".to_owned() } else { root_cause(&error) };
        Finding::fail("Discord", format!("{place} cannot be reached ({cause})"), advice(settings))
    };
    let client = reqwest::Client::builder()
        .timeout(ANSWER_LIMIT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(failed)?;
    let answer = client.get(format!("{place}/api/v10/gateway")).send().await.map_err(failed)?;
    let ours = clock.now();
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
    let told = date.and_then(Timestamp::parse_http).map(|theirs| (ours, theirs));
    if answer.status().is_success() {
        return Ok((Finding::ok("Discord", format!("{place} answers")), told));
    }
    Err(Finding::fail(
        "Discord",
        format!("{place} answers with status {}", answer.status().as_u16()),
        advice(settings),
    ))
}

/// What to do when what answers is not Discord, or nothing does.
fn advice(settings: &Settings) -> &'static str {
    match settings.api_url {
        Some(_) => "Is it running, and DISCORD_API_URL right?",
        None => {
            "Is the network there, without a proxy or a firewall in between? https://discordstatus.com tells how \
             Discord is"
        }
    }
}

async fn limited<T>(
    call: impl Future<Output = serenity::Result<T>>,
    settings: &Settings,
) -> Result<T, Finding> {
    let unanswered = |found: String| Finding::fail("Discord", found, advice(settings));
    let Ok(answer) = timeout(ANSWER_LIMIT, call).await else {
        return Err(unanswered("no answer in time".to_owned()));
    };
    answer.map_err(|error| match status(&error) {
        Some(401) => Finding::fail(
            "token",
            "Discord does not know this token",
            "Reset it in the developer portal, under Bot, and put the new one into DISCORD_TOKEN",
        ),
        Some(429) => Finding::fail("Discord", "too many calls", "Wait some minutes, and look again"),
        _ => unanswered(format!("no answer that can be used ({})", root_cause(&error))),
    })
}

fn token(asked: &Asked) -> Finding {
    Finding::ok("token", format!("it is {}'s, application {}", asked.application.name, asked.application.id))
}

fn starts(asked: &Asked, settings: &Settings) -> Finding {
    let left = asked.gateway.session_start_limit.remaining;
    let shards = settings.shards.as_ref().map_or(asked.gateway.shards, |(_, total)| *total);
    let found = format!("{shards} of them, and {left} session starts left today");
    if left >= u64::from(shards) + STARTS_SPARE {
        return Finding::ok("shards", found);
    }
    Finding::warn("shards", found, "The bot waits until there are more; what starts it again and again?")
}

fn content(application: &CurrentApplicationInfo, settings: &Settings) -> Finding {
    let flags = application.flags.unwrap_or(ApplicationFlags::empty());
    if flags.intersects(content_flags()) && settings.content_intent {
        return Finding::ok("intents", "message content is allowed");
    }
    if !settings.content_intent {
        return Finding::ok("intents", "message content is not asked for (MESSAGE_CONTENT_INTENT=off)");
    }
    Finding::warn(
        "intents",
        "message content is not allowed: in servers the prefix is not heard, only mentions and slash commands are",
        "Turn on Message Content Intent in the developer portal, under Bot, or set MESSAGE_CONTENT_INTENT=off",
    )
}

/// Without a permission the bot still answers slash commands, and other servers.
fn permissions(servers: &[GuildInfo], application: u64) -> Vec<Finding> {
    let invite = format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot+applications.commands&permissions={}",
        WANTED.bits()
    );
    if servers.is_empty() {
        return vec![Finding::warn("servers", "the bot is in none", format!("Invite it: {invite}"))];
    }
    let count = if servers.len() < SERVERS_MAX { "" } else { "at least " };
    let mut findings = vec![Finding::ok("servers", format!("the bot is in {count}{}", servers.len()))];
    let lacking: Vec<_> = servers.iter().filter(|server| !lacks(server).is_empty()).collect();
    for server in lacking.iter().take(SERVERS_NAMED) {
        let names = lacks(server).get_permission_names().join(", ");
        let found = format!("in {} (server {}) the bot lacks: {names}", server.name, server.id);
        let remedy = format!("Give them to its role in the server's settings, or invite it again: {invite}");
        findings.push(Finding::warn("permissions", found, remedy));
    }
    match lacking.len().checked_sub(SERVERS_NAMED) {
        Some(more @ 1..) => {
            let found = format!("in {more} more servers the bot lacks some");
            findings.push(Finding::warn("permissions", found, "See above"));
        }
        _ if lacking.is_empty() => {
            let found =
                "all that answers need, in every server; channels may forbid what their server allows";
            findings.push(Finding::ok("permissions", found));
        }
        _ => {}
    }
    findings
}

fn lacks(server: &GuildInfo) -> Permissions {
    let has = server.permissions;
    if server.owner || has.administrator() { Permissions::empty() } else { WANTED.difference(has) }
}
