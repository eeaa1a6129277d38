//! `.allow`, `.deny` and `.rules`: who may use what.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::bans::Who;
use crate::commands::pages::Page;
use crate::commands::{ALL, Registry, with_form};
use crate::context::{
    Args, Caller, Card, Colour, Command, Context, Error, Kind, Reply, Result, not_a_person, person, refuse,
    snowflake,
};
use crate::dynamo::Query;
use crate::history::{BY_EVENT, Revision};
use crate::markdown::{code, cut};
use crate::permissions::{self, Because};
use crate::settings::{Rule, Settings, Subject};

use super::part::{self, Part};

/// More than anybody can keep in mind.
pub const RULES_MAX: usize = 200;

/// Where they stand in the list, counted from 1.
pub const NUMBER: Kind = Kind::Integer { min: 1, max: RULES_MAX as i64 };

/// Rules shown at once.
const SHOWN: usize = 20;

/// As the history holds it.
pub fn subject_id(subject: Subject) -> String {
    match subject {
        Subject::Person(id) => format!("person/{id}"),
        Subject::Role(id) => format!("role/{id}"),
        Subject::Channel(id) => format!("channel/{id}"),
        Subject::Everyone => "everyone".to_owned(),
    }
}

pub fn subject_of_id(text: &str) -> Option<Subject> {
    match text.split_once('/') {
        Some(("person", id)) => id.parse().ok().map(Subject::Person),
        Some(("role", id)) => id.parse().ok().map(Subject::Role),
        Some(("channel", id)) => id.parse().ok().map(Subject::Channel),
        None if text == "everyone" => Some(Subject::Everyone),
        _ => None,
    }
}

/// The name of a command as it is written in rules: small, without prefix and slash, single spaces.
pub fn plain(typed: &str, prefix: &str) -> String {
    let words = typed.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let bare = words.strip_prefix(prefix).filter(|rest| !rest.is_empty()).unwrap_or(&words);
    bare.trim_start_matches(['/', '.']).to_owned()
}

/// A command, a group or `*`, as people see it.
pub fn shown(prefix: &str, command: &str) -> String {
    if command == "*" { code("*") } else { code(&format!("{prefix}{command}")) }
}

/// There is no such command; one that is near is offered.
pub fn unknown(ctx: &Context, typed: &str) -> Error {
    let near = Registry::new(ALL).nearest(typed);
    let meant = near.map(|near| format!(". Did you mean {}?", code(&ctx.typed(near)))).unwrap_or_default();
    Error::Refused(format!("⚠ There is no command {}{meant}", code(&cut(typed, 60))))
}

/// A command or a group, as one or several words, and whom the rule is about, as the last one.
pub fn parse(_: &Command, text: &str) -> Result<Args> {
    let text = text.trim();
    let (command, subject) = text.rsplit_once(char::is_whitespace).unwrap_or((text, ""));
    Ok(Args::new().with_text("command", command).with_text("subject", subject))
}

/// The name in a rule, if there is anything that it could be about.
fn covered(ctx: &Context, typed: &str) -> Result<String> {
    let name = plain(typed, &ctx.prefix);
    let known =
        name == "*" || ALL.iter().flat_map(|feature| feature.commands).any(|command| command.is_of(&name));
    if known { Ok(name) } else { Err(unknown(ctx, &name)) }
}

/// Whom a rule is about, if they are of this server.
fn subject(ctx: &Context, typed: &str) -> Result<Subject> {
    let typed = typed.trim();
    let server_id = ctx.cause.server_id;
    let inside =
        |start: &str| -> Option<u64> { typed.strip_prefix(start)?.strip_suffix('>').and_then(snowflake) };
    let discord = &ctx.services.discord;
    let subject = match typed.to_lowercase().as_str() {
        "everyone" | "@everyone" | "here" | "@here" => Some(Subject::Everyone),
        _ => match (inside("<@&"), inside("<#"), person(typed)) {
            // Everybody has the role that is called like the server.
            (Some(role), _, _) if role == server_id => Some(Subject::Everyone),
            (Some(role), _, _) => discord.has_role(server_id, role).then_some(Subject::Role(role)),
            (_, Some(channel), _) => {
                discord.has_channel(server_id, channel).then_some(Subject::Channel(channel))
            }
            (_, _, Some(person)) => Some(Subject::Person(person)),
            _ => None,
        },
    };
    subject.ok_or_else(|| {
        Error::Refused(
            "⚠ Whom is that about? A person, a role or a channel of this server, or everyone".to_owned(),
        )
    })
}

/// `.allow` and `.deny`: one rule for each command and subject, so the later word counts.
pub async fn add(ctx: &Context, args: &Args, allow: bool) -> Result<Reply> {
    let command = covered(ctx, args.text("command")?)?;
    let subject = subject(ctx, args.text("subject")?)?;
    let part = Part::Rule(command.clone(), subject);
    let (op, value) = if allow { ("allow", "allow") } else { ("deny", "deny") };
    let fits = |settings: &Settings| match part.get(settings) {
        Some(now) if now == value => refuse("ℹ️ That rule is there already"),
        None if settings.rules.len() >= RULES_MAX => {
            refuse(format!("⚠ This server already has {RULES_MAX} rules; remove some first"))
        }
        _ => Ok(()),
    };
    let decided = part::assign(ctx, &part, Some(value), op, fits).await?;
    let verb = if allow { "✅ Allowed" } else { "⛔ Denied" };
    Ok(decided.reply(format!("{verb}: {} for {subject}", shown(&ctx.prefix, &command))))
}

/// `.rules remove`: the rule that has this number in the list as this process knows it, if it has it still.
pub async fn remove(ctx: &Context, number: Option<i64>) -> Result<Reply> {
    let number = number.and_then(|number| usize::try_from(number).ok());
    let number = number.ok_or_else(|| Error::Usage("The number is missing".to_owned()))?;
    let listed = ctx.settings.rules.get(number - 1).map(|rule| (rule.command.clone(), rule.subject));
    match listed {
        Some(rule) => match remove_listed(ctx, number, &rule, Since::Refuse).await? {
            Some(reply) => Ok(reply),
            None => remove_again(ctx, number, Some(rule)).await,
        },
        None => remove_again(ctx, number, None).await,
    }
}

/// The list has changed since the event: it may have removed its rule before, and the number be another's now.
async fn remove_again(ctx: &Context, number: usize, listed: Option<(String, Subject)>) -> Result<Reply> {
    let removed = removed_by(ctx).await?;
    // So that what is listed next is what the numbers mean.
    let settings = part::current(ctx).await?;
    let rule = removed.or(listed).ok_or_else(|| no_rule(ctx, number, settings.rules.len()))?;
    let reply = remove_listed(ctx, number, &rule, Since::Ignore).await?;
    reply.ok_or_else(|| no_rule(ctx, number, settings.rules.len()))
}

/// What to do when the settings were changed at the time of the event or after it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    Refuse,
    Ignore,
}

/// Removes a rule; nothing if the settings were changed since and that is to be refused.
async fn remove_listed(
    ctx: &Context,
    number: usize,
    (command, subject): &(String, Subject),
    since: Since,
) -> Result<Option<Reply>> {
    let part = Part::Rule(command.clone(), *subject);
    let changed_since = AtomicBool::new(false);
    let there = |settings: &Settings| {
        let later = settings.updated_at.is_some_and(|at| at.seconds() >= ctx.cause.at.seconds());
        let is_it = settings.rules.get(number - 1).is_some_and(|rule| rule.is(command, *subject));
        if since == Since::Refuse && (later || !is_it) {
            changed_since.store(true, Ordering::Relaxed);
        } else if is_it {
            return Ok(());
        }
        Err(no_rule(ctx, number, settings.rules.len()))
    };
    let decided = match part::assign(ctx, &part, None, "rules remove", there).await {
        Err(Error::Refused(_)) if changed_since.load(Ordering::Relaxed) => return Ok(None),
        decided => decided?,
    };
    let word = if decided.old == "allowed" { "Allowed" } else { "Denied" };
    let rule = format!("{word}: {} for {subject}", shown(&ctx.prefix, command));
    Ok(Some(decided.reply(format!("🗑️ Removed rule {number}: {rule}"))))
}

fn no_rule(ctx: &Context, number: usize, count: usize) -> Error {
    let there = match count {
        count if count >= number => {
            let list = code(&ctx.typed("rules"));
            return Error::Refused(format!("⚠ The rules have changed; have a look at {list} and try again"));
        }
        0 => "there are none".to_owned(),
        1 => "there is only 1".to_owned(),
        count => format!("there are 1 to {count}"),
    };
    Error::Refused(format!("⚠ There is no rule {number}; {there}"))
}

/// The rule that this very event has removed.
async fn removed_by(ctx: &Context) -> Result<Option<(String, Subject)>> {
    let event = ctx.cause.id.0;
    let rows: Vec<Revision> =
        ctx.dynamo().query_all(Query::by_index(BY_EVENT, ctx.cause.server_id).between(event, event)).await?;
    Ok(rows.iter().find_map(|row| match Part::of(row)? {
        Part::Rule(command, subject) => Some((command, subject)),
        _ => None,
    }))
}

/// `.rules`, a page of it.
pub async fn page(ctx: &Context, number: usize) -> Result<Reply> {
    let settings = part::current(ctx).await?;
    if settings.rules.is_empty() {
        let how = code(&ctx.typed("allow"));
        return Ok(format!(
            "There are no rules here: everybody may what their level allows. Make one with {how}"
        )
        .into());
    }
    let lines: Vec<String> =
        settings.rules.iter().enumerate().map(|(n, rule)| line(&ctx.prefix, n, rule)).collect();
    let page = Page::of(&lines, number, SHOWN);
    let card =
        Card { title: "📏 Rules".into(), text: page.items.join("\n"), colour: Colour::Blue, footer: None };
    let buttons = page.buttons(|number| Some(format!("rules:{number}")));
    Ok(Reply::from(card).buttons(buttons))
}

fn line(prefix: &str, place: usize, rule: &Rule) -> String {
    let verb = if rule.allow { "✅ Allowed" } else { "⛔ Denied" };
    format!("**{}** {verb}: {} for {}", place + 1, shown(prefix, &rule.command), rule.subject)
}

/// `.rules test`: what the gate would say, and why.
pub async fn test(ctx: &Context, args: &Args) -> Result<Reply> {
    let who = args.person("user").ok_or_else(not_a_person)?;
    let typed = plain(args.text("command")?, &ctx.prefix);
    let Some(command) = with_form(&typed) else { return Err(unknown(ctx, &typed)) };
    let settings = part::current(ctx).await?;
    let channels = &ctx.caller.channels;
    let caller = match ctx.services.discord.standing(ctx.cause.server_id, channels, who).await? {
        Some(standing) => standing.caller(who, &ctx.services.instance),
        None => return refuse(format!("⚠ {} is not in this server", crate::markdown::person(who))),
    };
    let (may, why) = match barred(ctx, &caller).await? {
        Some(why) => (false, why.to_owned()),
        None => explained(&settings.rules, command, &caller),
    };
    let (sign, word) = if may { ("✅", "may") } else { ("⛔", "may not") };
    let name = code(&ctx.typed(command.name()));
    Ok(format!("{sign} {} {word} use {name} here, because {why}", crate::markdown::person(who)).into())
}

/// Why somebody gets no answer to any command.
async fn barred(ctx: &Context, caller: &Caller) -> Result<Option<&'static str>> {
    let (services, now) = (&ctx.services, ctx.services.clock.now());
    let who = Who::Person(caller.id);
    if services.bans.instance().is_none_or(|bans| bans.ban_of(who, now).is_some()) {
        return Ok(Some("they are banned"));
    }
    let blocks = services.bans.in_server(ctx.dynamo(), ctx.cause.server_id).await?;
    let immune = caller.admin || caller.bot_owner;
    Ok((!immune && blocks.ban_of(who, now).is_some()).then_some("they are blocked in this server"))
}

fn explained(rules: &[Rule], command: &Command, caller: &Caller) -> (bool, String) {
    let verdict = permissions::decide(rules, command, caller);
    let why = match (&verdict.because, verdict.may) {
        (Because::Rule(number), true) => format!("of rule {number}"),
        (Because::Rule(number), false) => {
            let why = permissions::refusal(rules, command, command.level, &verdict.because);
            format!("of rule {number}: {why}")
        }
        (Because::NeverLocked, _) => "nobody who manages the server is locked out of it".to_owned(),
        (Because::Level(level), true) => match level.needs() {
            None => "everybody may".to_owned(),
            Some(needed) => format!("they have what it needs: {needed}"),
        },
        (Because::Level(level), false) => format!("it needs {}", level.needs().unwrap_or_default()),
    };
    (verdict.may, why)
}
