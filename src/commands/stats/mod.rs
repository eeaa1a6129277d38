//! `.stats`: what commands are used, by whom, how they end, and what they cost.

mod count;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::clock::Timestamp;
use crate::commands::boards;
use crate::commands::days::{self, Day, Window};
use crate::commands::leaderboard::{WINDOW, is_private, window};
use crate::commands::{ALL, days::suggest};
use crate::context::{
    Answer, Args, Card, Choice, Colour, Command, Context, Error, Feature, Kind, Level, Param, Place, Prices,
    Reply, Result, Services, Typing, not_a_person, person as read_person, refuse,
};
use crate::counts::{Counts, SINCE, Tally};
use crate::markdown::{code, number, person, time, time_relative};
use crate::settings::StatsFor;

use count::THOUSANDTHS;
pub use count::{CONTROLS, Outcome, ended};

pub const FEATURE: Feature = Feature {
    name: "stats",
    commands: COMMANDS,
    background: Some(|services, shutdown| {
        Box::pin(async move {
            services.metrics.collect(Box::new(Backlog(services.state())));
            shutdown.cancelled().await;
        })
    }),
    ..Feature::EMPTY
};

/// What is counted and not written yet, for `/metrics`.
#[derive(Debug)]
struct Backlog(Arc<Counts>);

impl Collector for Backlog {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let (waiting, dropped) = self.0.backlog();
        let dropped = ConstCounter::new(dropped);
        let help = "Rows of counts that were lost while the store was away";
        let metric = encoder.encode_descriptor("tally_dropped", help, None, dropped.metric_type())?;
        dropped.encode(metric)?;
        let waiting = ConstGauge::new(waiting as i64);
        let help = "Rows of counts that are not written yet";
        let metric = encoder.encode_descriptor("tally_waiting", help, None, waiting.metric_type())?;
        waiting.encode(metric)
    }
}

const COMMANDS: &[Command] = &[
    Command {
        prefix: &["stats"],
        slash: &["stats bot"],
        summary: "Show how often each command was used, or what somebody used",
        usage: "[@user] [day|week|month|all]",
        parse: |_, text| Ok(Args::new().with_text("line", text)),
        run: |ctx, args| Box::pin(async move { reading(stats(&ctx, &args).await) }),
        ..Command::DEFAULT
    },
    Command {
        prefix: &["stats here"],
        slash: &["stats server"],
        summary: "Show what is used in this server",
        usage: "[day|week|month|all]",
        options: &[WINDOW],
        run: |ctx, args| Box::pin(async move { reading(here(&ctx, window(&args, Window::Month)?).await) }),
        ..IN_SERVER
    },
    Command {
        prefix: &["stats me"],
        slash: &["stats user"],
        summary: "Show what you use here, or somebody else",
        usage: "[day|week|month|all]",
        options: &[Param::optional("user", "Whose", Kind::Person), WINDOW],
        parse: |_, text| Ok(Args::new().with_text("window", text)),
        run: |ctx, args| {
            Box::pin(async move {
                let who = args.person("user").unwrap_or(ctx.caller.id);
                reading(of_person(&ctx, who, window(&args, Window::Month)?).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["stats command"],
        slash: &["stats command"],
        summary: "Show how one command is used here, and how it ends",
        usage: "<name> [day|week|month|all]",
        options: &[Param::required("name", "The command", Kind::Text).suggesting(suggest_commands), WINDOW],
        parse: |_, text| Ok(name_and_window(text)),
        run: |ctx, args| {
            Box::pin(async move {
                let window = window(&args, Window::Month)?;
                reading(of_command(&ctx, args.text("name")?, window).await)
            })
        },
        ..IN_SERVER
    },
    Command {
        prefix: &["stats cost"],
        slash: &["stats cost"],
        summary: "Show what the commands of this server cost",
        usage: "[day|week|month|all]",
        options: &[WINDOW],
        level: Level::Admin,
        private: true,
        run: |ctx, args| Box::pin(async move { reading(cost(&ctx, window(&args, Window::Month)?).await) }),
        ..IN_SERVER
    },
];

const IN_SERVER: Command = Command { place: Place::Server, ..Command::DEFAULT };

/// How many commands are shown of a server or a person.
const TOP: usize = 10;

/// How many lines of a list fit into a card, whatever the names.
const LINES_MAX: usize = 80;

/// Rows of one person's days that are read at the same time.
const READS_AT_ONCE: usize = 8;

/// The answer of a command that changes nothing: if the store is silent, nobody knows, and nothing is zero.
fn reading(reply: Result<Reply>) -> Result<Answer> {
    match reply {
        Err(Error::Store(error)) => Err(Error::Read(error)),
        other => other.map(Answer::Reply),
    }
}

/// What a row, or several together, say of each command.
#[derive(Clone, Debug, Default, PartialEq)]
struct Use {
    runs: u64,
    errors: u64,
    refusals: u64,
    read: f64,
    write: f64,
}

type Usage = BTreeMap<String, Use>;

fn usage<'a>(rows: impl IntoIterator<Item = &'a Tally>) -> Usage {
    let mut all = Usage::new();
    for (name, n) in rows.into_iter().flat_map(|row| &row.numbers) {
        let (Some((kind, command)), Ok(n)) = (name.split_at_checked(2), u64::try_from(*n)) else { continue };
        let mut add = |to: fn(&mut Use, u64)| to(all.entry(command.to_owned()).or_default(), n);
        match kind {
            "c_" => add(|used, n| used.runs += n),
            "e_" => add(|used, n| used.errors += n),
            "d_" => add(|used, n| used.refusals += n),
            "r_" => add(|used, n| used.read += n as f64 / THOUSANDTHS),
            "x_" => add(|used, n| used.write += n as f64 / THOUSANDTHS),
            _ => {}
        }
    }
    all
}

fn total(usage: &Usage) -> Use {
    usage.values().fold(Use::default(), |sum, one| Use {
        runs: sum.runs + one.runs,
        errors: sum.errors + one.errors,
        refusals: sum.refusals + one.refusals,
        read: sum.read + one.read,
        write: sum.write + one.write,
    })
}

/// The commands by how often they were used; the names decide where that is equal.
fn by_runs(usage: &Usage) -> Vec<(&str, &Use)> {
    let mut sorted: Vec<(&str, &Use)> =
        usage.iter().filter(|(_, used)| used.runs > 0).map(|(name, used)| (name.as_str(), used)).collect();
    sorted.sort_by_key(|(_, used)| std::cmp::Reverse(used.runs));
    sorted
}

/// A command as it is typed; buttons are none.
fn named(ctx: &Context, command: &str) -> String {
    if command == CONTROLS { "buttons and menus".to_owned() } else { code(&ctx.typed(command)) }
}

fn runs_lines(ctx: &Context, usage: &Usage, max: usize) -> String {
    let lines = by_runs(usage).into_iter().take(max);
    lines.fold(String::new(), |mut text, (name, used)| {
        let _ = write!(text, "\n• {} **: {}**", named(ctx, name), number(used.runs as usize));
        text
    })
}

/// `.stats`: the bot, or with a person in front what they use.
async fn stats(ctx: &Context, args: &Args) -> Result<Reply> {
    let line = args.maybe_text("line").unwrap_or_default().trim().to_owned();
    let Some(first) = line.split_whitespace().next() else { return of_bot(ctx).await };
    if ctx.cause.server_id == 0 {
        return refuse("Please run this command in a Discord channel, not a DM");
    }
    let who = read_person(first).ok_or_else(not_a_person)?;
    let rest = line[first.len()..].trim();
    let window = if rest.is_empty() { Window::Month } else { Window::read(rest)? };
    of_person(ctx, who, window).await
}

async fn of_bot(ctx: &Context) -> Result<Reply> {
    let counts = ctx.services.state::<Counts>();
    let board = boards::read(&ctx.services, "bot/usage/all", "00#", "01").await?;
    let usage = usage(board.rows.iter());
    let since = board.rows.iter().find_map(|row| row.numbers.get(SINCE)).copied();
    let servers = ctx.services.metrics.servers.get();
    let mut text = format!(
        "**Total Servers: {servers}**\n\n**Command Usage Totals:**\n{}",
        runs_lines(ctx, &usage, LINES_MAX)
    );
    let counted_until = counts.written_at().unwrap_or(board.read_at).min(board.read_at);
    let since = since.map(Timestamp::from_seconds).or(ctx.services.instance.started_at);
    let since = time(since.unwrap_or(counted_until));
    let _ = write!(text, "\n-# since {since}, counted up to {}", time_relative(counted_until));
    if let (_, dropped @ 1..) = counts.backlog() {
        let _ = write!(text, "\n-# {} counts were lost while my memory was away", number(dropped as usize));
    }
    Ok(card("📊 Bot Usage Totals".to_owned(), text))
}

fn card(title: String, text: String) -> Reply {
    Card { title, text, colour: Colour::White, footer: None }.into()
}

fn today(ctx: &Context) -> Day {
    Day::of(ctx.cause.at, &days::zone(&ctx.settings))
}

async fn here(ctx: &Context, window: Window) -> Result<Reply> {
    if ctx.settings.stats == Some(StatsFor::Admins) && !ctx.caller.admin {
        let name = code(&ctx.typed("stats here"));
        return refuse(format!("⛔ You can't use {name} here: it needs Manage Server"));
    }
    let board = format!("{}/usage", ctx.cause.server_id);
    let (rows, _) = boards::days(&ctx.services, &board, window, today(ctx)).await?;
    let usage = usage(&rows);
    let title = format!("📊 This server - {}", window.title());
    Ok(card(title, used(ctx, &usage, Some(rows.len()))))
}

/// Runs, errors, days and the most used commands.
fn used(ctx: &Context, usage: &Usage, active: Option<usize>) -> String {
    let all = total(usage);
    let mut text =
        format!("**Runs: {}**\n**Errors: {}**", number(all.runs as usize), number(all.errors as usize));
    if let Some(days) = active {
        let _ = write!(text, "\n**Days active: {days}**");
    }
    text.push('\n');
    text.push_str(&runs_lines(ctx, usage, TOP));
    text
}

async fn of_person(ctx: &Context, who: u64, window: Window) -> Result<Reply> {
    if who != ctx.caller.id && is_private(ctx, who).await? {
        return refuse(format!("🔒 {} keeps their statistics private", person(who)));
    }
    let board = format!("{}/commands", ctx.cause.server_id);
    let (slots, count_days) = match window.first(today(ctx)) {
        None => (vec![(format!("{board}/all"), format!("00#{who}"))], false),
        Some(first) => {
            let days = today(ctx).since(first);
            let slot = |day: Day| (format!("{board}/{}", day.month()), day.slot(&who.to_string()));
            (days.map(slot).collect(), true)
        }
    };
    // Each day is a record of its own: reading those of one person costs less than reading everybody's.
    let counts = ctx.services.state::<Counts>();
    let reads = slots.into_iter().map(|place| counts.row(&ctx.services.dynamo, place));
    let rows: Vec<Option<Tally>> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
    let rows: Vec<Tally> = rows.into_iter().flatten().collect();
    let title = format!("📊 One person - {}", window.title());
    let text = used(ctx, &usage(&rows), count_days.then_some(rows.len()));
    Ok(card(title, format!("{}\n{text}", person(who))))
}

/// A command's name of up to three words, and perhaps a window behind it.
fn name_and_window(text: &str) -> Args {
    let text = text.trim();
    let last = text.rsplit_once(char::is_whitespace).filter(|(_, word)| Window::read(word).is_ok());
    match last {
        Some((name, window)) => Args::new().with_text("name", name).with_text("window", window),
        None => Args::new().with_text("name", text),
    }
}

/// All names by which commands are counted.
fn command_names() -> impl Iterator<Item = &'static str> {
    ALL.iter().flat_map(|feature| feature.commands).map(Command::name)
}

fn suggest_commands(_: &Arc<Services>, typing: Typing<'_>) -> Vec<Choice> {
    let names: Vec<&str> = command_names().collect();
    let mut choices = suggest(&names, typing.text);
    choices.truncate(Choice::SHOWN_MAX);
    choices
}

async fn of_command(ctx: &Context, typed: &str, window: Window) -> Result<Reply> {
    let wanted = typed.trim().trim_start_matches(&*ctx.prefix).to_ascii_lowercase();
    let commands = ALL.iter().flat_map(|feature| feature.commands);
    let mut commands = commands.filter(|command| command.prefix.contains(&wanted.as_str()));
    let Some(command) = commands.next().map(Command::name) else {
        return refuse(format!("⚠ There is no command {}", code(&wanted)));
    };
    let board = format!("{}/usage", ctx.cause.server_id);
    let (rows, _) = boards::days(&ctx.services, &board, window, today(ctx)).await?;
    let used = usage(&rows).remove(command).unwrap_or_default();
    let (runs, each) = (used.runs as usize, used.runs.max(1) as f64);
    let mut text = format!(
        "**Runs: {}**\n**Errors: {}**\n**Refusals: {}**\n**Units per run: {} RRU, {} WRU**\n",
        number(runs),
        number(used.errors as usize),
        number(used.refusals as usize),
        units(used.read / each),
        units(used.write / each),
    );
    let mut by_day: Vec<String> = rows.iter().filter_map(|row| day_line(row, command)).collect();
    by_day.reverse();
    by_day.truncate(LINES_MAX);
    text.push_str(&by_day.concat());
    Ok(card(format!("📊 {} - {}", ctx.typed(command), window.title()), text))
}

/// How often a command was run on a day: `2026-05-01: 3`.
fn day_line(row: &Tally, command: &str) -> Option<String> {
    let (month, day) = (row.board.rsplit('/').next()?, row.slot.split('#').next()?);
    let runs = row.number(&format!("c_{command}"));
    (runs > 0).then(|| format!("\n{month}-{day}: {}", number(runs as usize)))
}

/// Two digits behind the point at most, none where there is nothing.
fn units(n: f64) -> String {
    let text = format!("{n:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

async fn cost(ctx: &Context, window: Window) -> Result<Reply> {
    let board = format!("{}/usage", ctx.cause.server_id);
    let (rows, _) = boards::days(&ctx.services, &board, window, today(ctx)).await?;
    let everywhere = everywhere(ctx, window).await?;
    let (here, prices) = (usage(&rows), ctx.services.instance.prices);
    let sum = total(&here);
    let mut lines = vec![format!("**This server: {}**", priced(&sum, prices))];
    let (own, all) = (prices.of(sum.read, sum.write), prices.of(everywhere.read, everywhere.write));
    let share = if all > 0.0 { (own / all * 100.0).min(100.0) } else { 0.0 };
    lines.push(format!("**Share of all servers: {share:.0}%**"));
    if ctx.caller.bot_owner {
        lines.push(format!("**All servers: {}**", priced(&everywhere, prices)));
    }
    lines.push(String::new());
    let mut by_cost: Vec<(&String, &Use)> =
        here.iter().filter(|(_, used)| used.read + used.write > 0.0).collect();
    by_cost.sort_by(|(_, a), (_, b)| prices.of(b.read, b.write).total_cmp(&prices.of(a.read, a.write)));
    let line = |(name, used): &(&String, &Use)| format!("• {}: {}", named(ctx, name), priced(used, prices));
    lines.extend(by_cost.iter().take(TOP).map(line));
    lines.push(format!("-# at ${} and ${} for a million RRU and WRU", prices.reads, prices.writes));
    Ok(card(format!("📊 Cost - {}", window.title()), lines.join("\n")))
}

/// What all servers together used in a window.
async fn everywhere(ctx: &Context, window: Window) -> Result<Use> {
    let utc = Day::of(ctx.cause.at, &jiff::tz::TimeZone::UTC);
    let (rows, _) = boards::days(&ctx.services, "bot/usage", window, utc).await?;
    Ok(total(&usage(&rows)))
}

fn priced(used: &Use, prices: Prices) -> String {
    let money = prices.of(used.read, used.write);
    format!("{} RRU, {} WRU, ${money:.6}", units(used.read), units(used.write))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(numbers: &[(&str, i64)]) -> Tally {
        let numbers = numbers.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        Tally { board: "1/usage/2026-05".into(), slot: "07#-".into(), expires_at: None, numbers }
    }

    #[test]
    fn rows_tell_how_commands_ended_and_what_they_cost() {
        let first = row(&[("c_rem", 2), ("e_rem", 1), ("r_rem", 1_500), ("k_0", 9), ("since", 5), ("n", 2)]);
        let second = row(&[("c_rem", 1), ("d_rem", 1), ("x_rem", 5_000), ("c_mem edit", 7)]);
        let used = usage([&first, &second]);
        assert_eq!(used["rem"], Use { runs: 3, errors: 1, refusals: 1, read: 1.5, write: 5.0 });
        assert_eq!(by_runs(&used).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["mem edit", "rem"]);
        assert_eq!(total(&used).runs, 10);
        assert_eq!(day_line(&first, "rem").as_deref(), Some("\n2026-05-07: 2"));
        assert_eq!(day_line(&first, "ping"), None);
    }

    /// A board of a month is a few rows, and is kept for a while.
    #[tokio::test]
    async fn statistics_cost_what_is_budgeted() {
        let dynamo = crate::dynamo::testing::embedded(&crate::tables::all()).await;
        let (discord, clock) = (crate::context::Discord::nowhere(), crate::clock::Clock::system());
        let services = Arc::new(Services::new(dynamo, clock, discord, crate::context::Instance::default()));
        let event = services.clock.now().snowflake();
        let ctx = Context {
            services: services.clone(),
            cause: crate::cause::Cause::new(event, 1, 7),
            caller: crate::context::Caller { id: 7, admin: true, ..Default::default() },
            door: crate::context::Door::Slash,
            channel_id: 1,
            prefix: ".".into(),
            settings: Arc::new(crate::settings::Settings::new(1)),
            attachments: Vec::new(),
        };
        for (place, name) in ["ping", "rem", "mem edit"].into_iter().enumerate() {
            let cause = crate::cause::Cause::new(event + place as u64, 1, 7);
            ended(&services, &cause, name, Outcome::Ok, crate::dynamo::Units::default());
        }
        let registry = crate::commands::Registry::new(ALL);
        for line in [
            "stats",
            "stats here",
            "stats me",
            "stats <@100000000000000001>",
            "stats command ping",
            "stats cost",
        ] {
            let mut costs = Vec::new();
            for _ in 0..2 {
                let crate::commands::Found::Command(command, rest) = registry.find(line) else {
                    panic!("{line}")
                };
                let args = (command.parse)(command, rest).unwrap();
                let (told, units) = crate::dynamo::measured((command.run)(ctx.clone(), args)).await;
                told.unwrap_or_else(|error| panic!("{line}: {error}"));
                costs.push((units.read, units.write));
            }
            // Of a person each day of the window is a record of its own, among those of everybody else.
            let (first, again) =
                if line.contains("me") || line.contains('@') { (17.0, 17.0) } else { (1.0, 0.0) };
            assert!(costs[0].0 <= first && costs[1].0 <= again, "{line}: {costs:?}");
            assert!(costs.iter().all(|(_, write)| *write == 0.0), "{line}: {costs:?}");
        }
    }

    #[test]
    fn units_are_short() {
        let texts: Vec<String> = [0.0, 0.5, 2.0, 12.345].map(units).into();
        assert_eq!(texts, ["0", "0.5", "2", "12.35"]);
        assert_eq!(Prices::USUAL.of(2_000_000.0, 1_000_000.0), 0.875);
    }

    #[test]
    fn a_command_may_have_several_words() {
        let args = name_and_window(" mem edit  week");
        assert_eq!((args.maybe_text("name"), args.maybe_text("window")), (Some("mem edit "), Some("week")));
        assert_eq!(name_and_window("mem edit").maybe_text("name"), Some("mem edit"));
    }
}
