//! `.settings` and `.prefix`: the settings by name, what they can be, and what they are at first.

use jiff::tz::TimeZone;

use crate::context::{Args, Card, Command, Context, Error, Instance, Level, Reply, Result, refuse};
use crate::markdown::{code, plain};
use crate::permissions;
use crate::settings::{
    A_PREFIX, HISTORY_DAYS, Memories, SPARKLES_PER_DAY, Settings, StatsFor, UnknownCommands, is_prefix,
};

use super::part::{self, Part};

/// One setting.
pub struct Setting {
    pub name: &'static str,
    /// What it does, in a few words.
    about: &'static str,
    pub default: fn(&Instance, server_id: u64) -> String,
    pub get: fn(&Settings) -> Option<String>,
    /// Refuses what it cannot be; `None` makes it what it was at first.
    pub set: fn(&mut Settings, Option<&str>) -> Result<()>,
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// The names of all settings, in the order in which they are shown.
pub const NAMES: &[&str] = &[
    "prefix",
    "timezone",
    "memories",
    "history_days",
    "unknown_commands",
    "sparkles_per_day",
    "play",
    "stats",
];

const MEMORIES: &[(&str, Memories)] = &[("open", Memories::Open), ("owned", Memories::Owned)];
const UNKNOWN: &[(&str, UnknownCommands)] = &[
    ("never", UnknownCommands::Never),
    ("close", UnknownCommands::Close),
    ("always", UnknownCommands::Always),
];
const STATS: &[(&str, StatsFor)] = &[("public", StatsFor::Public), ("admins", StatsFor::Admins)];
const PLAY: &[(&str, bool)] = &[("on", true), ("off", false)];

/// Shorter, and the history would be gone before anybody looks; longer, and it may as well be kept for good.
const DAYS: std::ops::RangeInclusive<u32> = 7..=3_650;
const SPARKLES: std::ops::RangeInclusive<u32> = 1..=1_000;

pub const ALL: &[Setting] = &[
    Setting {
        name: "prefix",
        about: "stands before commands",
        default: |instance, _| instance.default_prefix.clone(),
        get: |settings| settings.prefix.clone(),
        set: |settings, value| {
            if value.is_some_and(|text| !is_prefix(text)) {
                return refuse(format!("⚠ {A_PREFIX}"));
            }
            settings.prefix = value.map(str::to_owned);
            Ok(())
        },
    },
    Setting {
        name: "timezone",
        about: "whose days and times these are",
        default: |_, _| "UTC".to_owned(),
        get: |settings| settings.timezone.clone(),
        set: |settings, value| {
            settings.timezone = value.map(zone).transpose()?;
            Ok(())
        },
    },
    Setting {
        name: "memories",
        about: "who changes what I remember: everybody, or its owner and moderators",
        default: |_, _| "open".to_owned(),
        get: |settings| settings.memories.map(|value| word(MEMORIES, value)),
        set: |settings, value| {
            settings.memories = one_of("memories", MEMORIES, value)?;
            Ok(())
        },
    },
    Setting {
        name: "history_days",
        about: "how long I keep what was; from now on",
        default: |_, _| HISTORY_DAYS.to_string(),
        get: |settings| settings.history_days.map(|days| number_or(days, "forever")),
        set: |settings, value| {
            settings.history_days = number("history_days", DAYS, "forever", value)?;
            Ok(())
        },
    },
    Setting {
        name: "unknown_commands",
        about: "when I say that there is no such command",
        default: |_, _| "close".to_owned(),
        get: |settings| settings.unknown_commands.map(|value| word(UNKNOWN, value)),
        set: |settings, value| {
            settings.unknown_commands = one_of("unknown_commands", UNKNOWN, value)?;
            Ok(())
        },
    },
    Setting {
        name: "sparkles_per_day",
        about: "how many sparkles a person may give",
        default: |_, _| SPARKLES_PER_DAY.to_string(),
        get: |settings| settings.sparkles_per_day.map(|limit| number_or(limit, "off")),
        set: |settings, value| {
            settings.sparkles_per_day = number("sparkles_per_day", SPARKLES, "off", value)?;
            Ok(())
        },
    },
    Setting {
        name: "play",
        about: "the commands of play",
        default: |instance, server| word(PLAY, instance.play_servers.contains(&server)),
        get: |settings| settings.play.map(|value| word(PLAY, value)),
        set: |settings, value| {
            settings.play = one_of("play", PLAY, value)?;
            Ok(())
        },
    },
    Setting {
        name: "stats",
        about: "who sees this server's statistics",
        default: |_, _| "public".to_owned(),
        get: |settings| settings.stats.map(|value| word(STATS, value)),
        set: |settings, value| {
            settings.stats = one_of("stats", STATS, value)?;
            Ok(())
        },
    },
];

pub fn named(name: &str) -> Option<&'static Setting> {
    ALL.iter().find(|setting| setting.name == name)
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> String {
    let found = words.iter().find(|(_, of)| *of == value);
    found.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
}

fn one_of<T: Copy>(name: &str, words: &[(&str, T)], value: Option<&str>) -> Result<Option<T>> {
    let Some(value) = value else { return Ok(None) };
    if let Some((_, found)) = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(value)) {
        return Ok(Some(*found));
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let (last, others) = names.split_last().expect("a setting has several choices");
    refuse(format!("⚠ {} can be {} or {last}", code(name), others.join(", ")))
}

/// In the record 0 is what has no number.
fn number_or(number: u32, none: &str) -> String {
    if number == 0 { none.to_owned() } else { number.to_string() }
}

fn number(
    name: &str,
    range: std::ops::RangeInclusive<u32>,
    none: &str,
    value: Option<&str>,
) -> Result<Option<u32>> {
    match value {
        None => Ok(None),
        Some(word) if word.eq_ignore_ascii_case(none) => Ok(Some(0)),
        Some(text) => match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => refuse(format!("⚠ {} can be {} to {}, or {none}", code(name), range.start(), range.end())),
        },
    }
}

/// The name of an IANA zone, as the database writes it.
fn zone(typed: &str) -> Result<String> {
    let found = TimeZone::get(typed).ok();
    if let Some(name) = found.as_ref().and_then(TimeZone::iana_name) {
        return Ok(name.to_owned());
    }
    let names = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    let typed_small = typed.to_lowercase();
    let near = names.filter_map(|name| {
        let small = name.to_lowercase();
        let place = small.rsplit('/').next().unwrap_or_default();
        let distance =
            strsim::osa_distance(place, &typed_small).min(strsim::osa_distance(&small, &typed_small));
        (distance <= 2).then_some((distance, name))
    });
    let meant = near.min().map(|(_, name)| format!(". Did you mean {}?", code(&name))).unwrap_or_default();
    refuse(format!("⚠ I don't know the zone {}{meant}", code(&crate::markdown::cut(typed, 60))))
}

/// A name, and the value behind it. The name is looked up here, so that one that is near can be offered.
pub fn parse(command: &Command, text: &str) -> Result<Args> {
    let text = text.trim();
    let (name, value) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if name.is_empty() {
        return Err(Error::Usage("The name is missing".to_owned()));
    }
    let small = name.to_lowercase();
    if named(&small).is_none() {
        let near = NAMES.iter().map(|known| (strsim::osa_distance(known, &small), *known)).min();
        let near = near.filter(|(distance, _)| *distance <= 2);
        let known = match near {
            Some((_, near)) => format!("Did you mean {}?", code(near)),
            None => format!("There are {}", NAMES.join(", ")),
        };
        return refuse(format!("⚠ There is no setting {}. {known}", code(&crate::markdown::cut(name, 60))));
    }
    let args = Args::new().with_text("name", small);
    Ok(if command.options.len() > 1 { args.with_text("value", value) } else { args })
}

/// `.settings`
pub async fn show(ctx: &Context) -> Result<Reply> {
    let settings = part::current(ctx).await?;
    let line = |setting: &Setting| {
        let default = (setting.default)(&ctx.services.instance, ctx.cause.server_id);
        let (value, note) = match (setting.get)(&settings) {
            Some(value) if value != default => (value, format!(" (default {default})")),
            value => (value.unwrap_or(default), " (default)".to_owned()),
        };
        format!("{}: **{}**{note} - {}", code(setting.name), plain(&value), setting.about)
    };
    let mut lines: Vec<String> = ALL.iter().map(line).collect();
    for (command, cooldown) in &settings.cooldowns {
        lines.push(format!("{}: {}", code(&ctx.typed(command)), super::cooldown::once_in(cooldown)));
    }
    if !settings.rules.is_empty() {
        lines.push(format!("Rules: {} ({})", settings.rules.len(), code(&ctx.typed("rules"))));
    }
    Ok(Card { title: "⚙️ Settings".into(), text: lines.join("\n"), ..Card::default() }.into())
}

/// `.settings set` and `.settings reset`
pub async fn set(ctx: &Context, name: &str, value: Option<&str>) -> Result<Reply> {
    let Some(setting) = named(name) else { return refuse("⚠ There is no such setting") };
    let value = value.map(str::trim);
    // Refused before anything is read, and it takes no cooldown.
    let mut scratch = Settings::new(ctx.cause.server_id);
    (setting.set)(&mut scratch, value)?;
    let value = (setting.get)(&scratch);
    let decided = decide(ctx, setting, value.as_deref()).await?;
    let text =
        format!("⚙️ {} is now **{}** (was {})", code(name), plain(&decided.value), plain(&decided.old));
    Ok(decided.reply(text))
}

async fn decide(ctx: &Context, setting: &'static Setting, value: Option<&str>) -> Result<part::Decided> {
    let default = (setting.default)(&ctx.services.instance, ctx.cause.server_id);
    let wanted = value.unwrap_or(&default);
    let op = if value.is_some() { "settings set" } else { "settings reset" };
    let differs = |settings: &Settings| {
        let now = (setting.get)(settings).unwrap_or_else(|| default.clone());
        if now == wanted {
            refuse(format!("ℹ️ {} is **{}** already", code(setting.name), plain(&now)))
        } else {
            Ok(())
        }
    };
    part::assign(ctx, &Part::Setting(setting), value, op, differs).await
}

/// `.prefix`: everybody may ask, and who manages the server may change it.
pub async fn prefix(ctx: &Context, new: Option<&str>) -> Result<Reply> {
    let Some(new) = new.map(str::trim) else {
        return Ok(format!("My prefix here is {}", code(&ctx.prefix)).into());
    };
    let command = crate::commands::named("prefix").expect("it is this command");
    permissions::check_at(command, Level::Admin, &ctx.caller, &ctx.settings, &ctx.prefix)?;
    let setting = named("prefix").expect("it is in the list");
    (setting.set)(&mut Settings::new(ctx.cause.server_id), Some(new))?;
    let decided = decide(ctx, setting, Some(new)).await?;
    Ok(decided.reply(format!("⚙️ My prefix here is now {}", code(&decided.value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_says_what_it_can_be() {
        assert_eq!(NAMES, ALL.iter().map(|setting| setting.name).collect::<Vec<_>>());
        let instance = Instance { default_prefix: ".".into(), ..Instance::default() };
        for setting in ALL {
            let mut settings = Settings::new(1);
            assert!((setting.set)(&mut settings, Some("no such thing!")).is_err(), "{}", setting.name);
            assert_eq!(settings, Settings::new(1));
            let default = (setting.default)(&instance, 1);
            (setting.set)(&mut settings, Some(&default)).unwrap();
            assert_eq!((setting.get)(&settings), Some(default));
            (setting.set)(&mut settings, None).unwrap();
            assert_eq!(settings, Settings::new(1));
        }
    }

    #[test]
    fn zones_have_the_name_that_the_database_gives_them() {
        assert_eq!(zone("europe/berlin").unwrap(), "Europe/Berlin");
        let refusal = zone("Berlinn").unwrap_err().to_string();
        assert_eq!(refusal, "⚠ I don't know the zone `Berlinn`. Did you mean `Europe/Berlin`?");
    }
}
