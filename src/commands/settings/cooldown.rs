//! `.cooldown`: how often a command may be used.

use std::time::Duration;

use crate::commands::{self, with_form};
use crate::context::{Args, Command, Context, Error, Reply, Result, refuse};
use crate::markdown::code;
use crate::settings::{Cooldown, Per};

use super::part::{self, Part};
use super::rules;

/// A command that may be used less often than this is better denied.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

const PER: &[(&str, Per)] = &[("user", Per::User), ("channel", Per::Channel), ("server", Per::Server)];

/// Where none is set.
pub const NONE: &str = "no cooldown";

fn per_word(per: Per) -> &'static str {
    PER.iter().find(|(_, of)| *of == per).map_or("user", |(word, _)| word)
}

/// As the history holds it: `30 user`.
pub fn text(cooldown: &Cooldown) -> String {
    format!("{} {}", cooldown.seconds, per_word(cooldown.per))
}

/// What [`text`] wrote.
pub fn read(text: &str) -> Result<Cooldown> {
    let parts = text.split_once(' ').and_then(|(seconds, per)| {
        let (_, per) = PER.iter().find(|(word, _)| *word == per)?;
        Some(Cooldown { seconds: seconds.parse().ok()?, per: *per })
    });
    parts.ok_or_else(|| Error::Other(anyhow::anyhow!("{text:?} is no cooldown")))
}

/// `once in 30 s per user`
pub fn once_in(cooldown: &Cooldown) -> String {
    format!("once in {} per {}", in_units(cooldown.seconds), per_word(cooldown.per))
}

fn in_units(seconds: u64) -> String {
    let units = [
        ("d", seconds / 86_400),
        ("h", seconds / 3_600 % 24),
        ("min", seconds / 60 % 60),
        ("s", seconds % 60),
    ];
    let parts: Vec<String> =
        units.iter().filter(|(_, n)| *n > 0).map(|(unit, n)| format!("{n} {unit}")).collect();
    parts.join(" ")
}

/// `90s`, `1h30m`, `2 hours and 5 minutes`; nothing if it is no duration.
pub fn duration(text: &str) -> Option<Duration> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| *word != "and").collect();
    let words: Vec<&str> =
        words.iter().map(|word| if matches!(*word, "a" | "an") { "1" } else { word }).collect();
    let span: jiff::Span = words.join(" ").to_lowercase().parse().ok()?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).or_else(|_| {
        // Months and years are as long as they are from some day on; this one is as good as another.
        span.to_duration(jiff::civil::date(2026, 1, 1))
    });
    u64::try_from(length.ok()?.as_secs()).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// A command, a duration, and perhaps what shares it.
pub fn parse(_: &Command, text: &str) -> Result<Args> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let mut args = Args::new();
    let last = words.last().map(|word| word.to_lowercase());
    if let Some((word, _)) = PER.iter().find(|(word, _)| last.as_deref() == Some(word)) {
        args = args.with_text("per", *word);
        words.pop();
        if words.last().is_some_and(|word| word.eq_ignore_ascii_case("per")) {
            words.pop();
        }
    }
    // The longest name of a command that the words begin with; the rest is how long.
    let known = |count: &usize| with_form(&rules::plain(&words[..*count].join(" "), "")).is_some();
    let words_of_name = (1..words.len()).rev().find(known).unwrap_or(1.min(words.len()));
    let (command, length) = words.split_at(words_of_name);
    Ok(args.with_text("command", command.join(" ")).with_text("duration", length.join(" ")))
}

/// `.cooldown`
pub async fn set(ctx: &Context, args: &Args) -> Result<Reply> {
    let typed = rules::plain(args.text("command")?, &ctx.prefix);
    let Some(command) = with_form(&typed) else { return Err(rules::unknown(ctx, &typed)) };
    // What another command does too has that one's cooldown.
    let command = (command.same_as)(&Args::new()).and_then(commands::named).unwrap_or(command);
    let name = command.name();
    let part = Part::Cooldown(name.to_owned());
    let per =
        PER.iter().find(|(word, _)| args.maybe_text("per") == Some(word)).map_or(Per::User, |(_, per)| *per);
    let length = args.text("duration")?.trim();
    let value = match length.to_lowercase().as_str() {
        "off" => None,
        _ => Some(Cooldown { seconds: seconds(length)?, per }),
    };
    let value = value.map(|cooldown| text(&cooldown));
    let differs = |settings: &crate::settings::Settings| match part.get(settings) == value {
        true => refuse(format!("ℹ️ {} has that cooldown already", code(&ctx.typed(name)))),
        false => Ok(()),
    };
    let decided = part::assign(ctx, &part, value.as_deref(), "cooldown", differs).await?;
    Ok(decided.reply(format!("⏳ {}: {}", code(&ctx.typed(name)), decided.value)))
}

/// Whether it is one that could have been typed.
pub fn is_short_enough(cooldown: &Cooldown) -> bool {
    (1..=LONGEST.as_secs()).contains(&cooldown.seconds)
}

fn seconds(typed: &str) -> Result<u64> {
    match duration(typed) {
        Some(length) if length <= LONGEST => Ok(length.as_secs()),
        Some(_) => refuse("⚠ A cooldown is 30 days at most"),
        None => {
            let typed = code(&crate::markdown::cut(typed, 60));
            refuse(format!("⚠ I don't understand the duration {typed}. Try `30s`, `5m`, `1h30m` or `off`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_in_many_ways() {
        for (text, seconds) in [
            ("30s", 30),
            ("1h30m", 5_400),
            ("2 hours and 5 minutes", 7_500),
            ("an hour", 3_600),
            ("3 weeks", 1_814_400),
            ("1d", 86_400),
        ] {
            assert_eq!(duration(text).map(|length| length.as_secs()), Some(seconds), "{text}");
        }
        for text in ["", "soon", "-5s", "0s", "5", "5 s ago"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_cooldown_is_read_from_its_end() {
        let read = |text| {
            let args = parse(&Command::DEFAULT, text).unwrap();
            ["command", "duration", "per"].map(|name| args.maybe_text(name).unwrap_or_default().to_owned())
        };
        assert_eq!(read("ping 30s"), ["ping", "30s", ""]);
        assert_eq!(read("mem edit 1h 30m per channel"), ["mem edit", "1h 30m", "channel"]);
        assert_eq!(read(".rem search off server"), [".rem search", "off", "server"]);
        assert_eq!(read("ping"), ["ping", "", ""]);
        assert_eq!(
            once_in(&Cooldown { seconds: 5_430, per: Per::Server }),
            "once in 1 h 30 min 30 s per server"
        );
    }
}
