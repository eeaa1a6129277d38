//! Changing bans and blocks: what `.ban` of the owners and `.block` of a server have in common.

use std::time::Duration;

use crate::bans::{Ban, Scope, Who};
use crate::commands::settings::duration;
use crate::context::{Args, Command, Context, Error, Result, not_a_person, person, refuse};
use crate::history::{self, Change};
use crate::markdown::{code, cut, number};

/// As long as the reason of a sparkle.
const REASON_MAX: usize = 200;
/// Longer is for good.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What somebody wants to be banned for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `None`: for good.
    pub length: Option<Duration>,
    pub reason: Option<String>,
}

/// Somebody, then perhaps `for <duration>` and `because <reason>`.
pub fn parse(_: &Command, text: &str) -> Result<Args> {
    let text = text.trim();
    let (user, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = rest.trim_start();
    let (length, reason) = match find_word(rest, "because") {
        Some(at) => (rest[..at].trim_end(), rest[at + "because".len()..].trim_start()),
        None => (rest, ""),
    };
    let bare = match find_word(length, "for") {
        Some(0) => length["for".len()..].trim_start(),
        _ if length.is_empty() => "",
        _ => return Err(Error::Usage(format!("I don't understand {}", code(&cut(length, 60))))),
    };
    Ok(Args::new().with_text("user", user).with_text("for", bare).with_text("reason", reason))
}

/// Where a word stands in a text, as a word of its own.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let alone = |at: usize| {
        let before = text[..at].chars().next_back().is_none_or(char::is_whitespace);
        before && text[at + word.len()..].chars().next().is_none_or(char::is_whitespace)
    };
    text.match_indices(word).map(|(at, _)| at).find(|at| alone(*at))
}

/// The person in the arguments.
pub fn whom(args: &Args) -> Result<u64> {
    match args.maybe_text("user") {
        Some(text) => person(text.trim()).ok_or_else(not_a_person),
        None => args.person("user").ok_or_else(|| Error::Usage("The user is missing".to_owned())),
    }
}

pub fn terms(args: &Args) -> Result<Terms> {
    let length = match args.maybe_text("for") {
        None => None,
        Some(text) => match duration(text) {
            Some(length) if length <= LONGEST => Some(length),
            Some(_) => return refuse("⚠ That is longer than 10 years; leave the duration out"),
            None => {
                let text = code(&cut(text.trim(), 60));
                return refuse(format!(
                    "⚠ I don't understand the duration {text}. Try `2h`, `1 day` or `3 weeks`"
                ));
            }
        },
    };
    let reason = args.maybe_text("reason").map(|text| text.trim().to_owned());
    if let Some(length) =
        reason.as_deref().map(|text| text.chars().count()).filter(|length| *length > REASON_MAX)
    {
        return refuse(format!(
            "⚠ That reason is {} characters long; the limit is {REASON_MAX}",
            number(length)
        ));
    }
    Ok(Terms { length, reason })
}

/// Bans, in the store first and in memory after it. `already` is said where it holds already.
pub async fn ban(
    ctx: &Context,
    scope: Scope,
    who: Who,
    terms: &Terms,
    op: &'static str,
    already: String,
) -> Result<()> {
    let now = ctx.cause.at;
    change(ctx, scope, who, op, |head| {
        if head.is_some_and(|ban| ban.holds(now)) {
            return refuse(already.clone());
        }
        let until = terms.length.map(|length| now.plus(length));
        let (rev, event_id) = head.map_or((0, None), |ban| (ban.rev, ban.event_id));
        Ok(Ban { rev, event_id, until, reason: terms.reason.clone(), ..Ban::new(scope, who) })
    })
    .await
}

/// Lifts a ban; `none` is said where there is none.
pub async fn lift(ctx: &Context, scope: Scope, who: Who, op: &'static str, none: String) -> Result<()> {
    let now = ctx.cause.at;
    change(ctx, scope, who, op, |head| match head.filter(|ban| ban.holds(now)) {
        Some(ban) => Ok(Ban { lifted_at: Some(now), ..ban.clone() }),
        None => refuse(none.clone()),
    })
    .await
}

async fn change(
    ctx: &Context,
    scope: Scope,
    who: Who,
    op: &'static str,
    decide: impl Fn(Option<&Ban>) -> Result<Ban>,
) -> Result<()> {
    if let (Scope::Server(server_id), Who::Person(person)) = (scope, who) {
        for person in [ctx.cause.actor_id, person] {
            ctx.services.noted.note(ctx.dynamo(), person, server_id).await?;
        }
    }
    let key = (scope.text(), who.text());
    let decided = |head: Option<&Ban>| Ok::<_, Error>(decide(head)?.next(op));
    match history::change(ctx.dynamo(), &ctx.cause, key, decided).await? {
        Change::Done(done) => ctx.services.bans.changed(done.head, ctx.dynamo().now()),
        Change::Already(_) => {}
        Change::Contended => {
            return refuse("⚠ Others are changing that right now; have a look and try again");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_stand_behind_the_person() {
        let read = |text| {
            let args = parse(&Command::DEFAULT, text).unwrap();
            ["user", "for", "reason"].map(|name| args.maybe_text(name).unwrap_or_default().to_owned())
        };
        assert_eq!(read("<@1>"), ["<@1>", "", ""]);
        assert_eq!(
            read("<@1> for 2 days because he is rude for fun"),
            ["<@1>", "2 days", "he is rude for fun"]
        );
        assert_eq!(read("<@1>  because  spam"), ["<@1>", "", "spam"]);
        assert_eq!(read("<@1> for 1h"), ["<@1>", "1h", ""]);
        assert_eq!(read("<@1> because for ever"), ["<@1>", "", "for ever"]);
        assert!(parse(&Command::DEFAULT, "<@1> forever").is_err());
    }

    #[test]
    fn terms_have_limits() {
        let args =
            |length: &str, reason: &str| Args::new().with_text("for", length).with_text("reason", reason);
        assert_eq!(terms(&args("", "")).unwrap(), Terms::default());
        assert_eq!(terms(&args("2h", "spam")).unwrap().length, Some(Duration::from_secs(7_200)));
        assert!(terms(&args("soon", "")).is_err());
        assert!(terms(&args("11 years", "")).is_err());
        let refusal = terms(&args("", &"x".repeat(201))).unwrap_err().to_string();
        assert_eq!(refusal, "⚠ That reason is 201 characters long; the limit is 200");
    }
}
