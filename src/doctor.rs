//! `mneme doctor`: tries each thing the bot needs and says what to do where one is missing.
//!
//! It changes nothing: no record, no table, no file that is not there yet. It ends well only if the bot would
//! work; a warning is something to know.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use crate::bot::{self, Exit};
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::dynamo::TableSpec;
use crate::dynamo::compare::{Difference, Kind};
use crate::dynamo::connect::{Connected, Unopened};
use crate::finding::{Finding, State};
use crate::run::{command, discord_settings, open_store, store_file};
use crate::tables;

/// An HTTP date has no fractions, and an answer takes time.
const SKEW_KNOWN: Duration = Duration::from_secs(3);

/// Amazon refuses signatures that are older, and the bot drops events as too old some minutes later.
const SKEW_MAX: Duration = Duration::from_secs(5 * 60);

/// Prints a line for each thing; asked to end only if the bot would work.
pub async fn examine(options: &config::Run) -> Exit {
    let clock = Clock::system();
    let (store, discord) = futures::join!(store(&options.store), discord(&options.discord, &clock));
    let times = [("the store", store.told), ("Discord", discord.told)];
    let mut findings = store.findings;
    findings.extend(discord.findings);
    findings.extend(judge_clock(times));
    let failed = findings.iter().filter(|finding| finding.state == State::Fail).count();
    let warned = findings.iter().filter(|finding| finding.state == State::Warn).count();
    print(&findings);
    println!();
    if failed > 0 {
        println!("The bot would not work: {}.", counted(failed, "thing to mend", "things to mend"));
        return Exit::Operator("something is missing".into());
    }
    match warned {
        0 => println!("The bot would work."),
        _ => println!("The bot would work; {}.", counted(warned, "warning", "warnings")),
    }
    Exit::Asked
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Two columns and a sentence; in colour where somebody looks at it.
fn print(findings: &[Finding]) {
    let mut out = std::io::stdout().lock();
    let coloured = out.is_terminal() && !config::no_colour();
    for finding in findings {
        let (word, colour) = match finding.state {
            State::Ok => ("ok  ", "32"),
            State::Warn => ("warn", "33"),
            State::Fail => ("FAIL", "31;1"),
        };
        let word = if coloured { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
        // Whoever closed the pipe has read enough.
        let _ = writeln!(out, "{word}  {:<12} {finding}", finding.about);
    }
}

/// What was found about one side, and what its clock said beside ours: ours, theirs.
#[derive(Default)]
struct Side {
    findings: Vec<Finding>,
    told: Option<(Timestamp, Timestamp)>,
}

impl From<Finding> for Side {
    fn from(finding: Finding) -> Self {
        Self { findings: vec![finding], told: None }
    }
}

async fn discord(options: &config::Discord, clock: &Clock) -> Side {
    let Some(settings) = discord_settings(options) else {
        let remedy = "Make an application in the developer portal, reset its token under Bot, and put it into \
                      DISCORD_TOKEN; without an account try: mneme playground";
        return Finding::fail("token", "DISCORD_TOKEN is not set", remedy).into();
    };
    let examined = bot::examine(&settings, clock).await;
    Side { findings: examined.findings, told: examined.told }
}

async fn store(options: &config::Store) -> Side {
    if let Some(finding) = store_file(options).and_then(|file| unmade(&file)) {
        return finding.into();
    }
    let connected = match open_store(options).await {
        Ok(connected) => connected,
        Err(error) => return unopened(&error).into(),
    };
    let mut side = Side::from(Finding::ok("store", connected.description.clone()));
    let specs = tables::all();
    let first = specs.first().expect("the history has a table");
    let reached = connected.reach(first).await;
    side.told = reached.told.map(|told| (told.ours, told.theirs));
    let there = reached.findings.iter().all(|finding| finding.state == State::Ok);
    side.findings.extend(reached.findings);
    if there {
        side.findings.extend(examine_tables(&connected, options, &specs).await);
    }
    side
}

/// Why the store is not there.
fn unopened(error: &anyhow::Error) -> Finding {
    match error.downcast_ref() {
        Some(Unopened::NoRegion) => Finding::fail(
            "region",
            "no AWS region is configured",
            "Set AWS_REGION, such as AWS_REGION=eu-central-1",
        ),
        Some(Unopened::InUse { holder, .. }) => Finding::warn(
            "store",
            format!("the file is in use by another mneme, process {holder}, so it was not looked at"),
            "If that is the bot, it works; to look at the file, stop it first",
        ),
        None => {
            Finding::fail("store", format!("{error:#}"), "Is DATA_DIR right, and may this user write there?")
        }
    }
}

/// A store in a file that is not there yet: the bot will make it, if it can.
fn unmade(file: &Path) -> Option<Finding> {
    if file.exists() {
        return None;
    }
    let there = file.ancestors().skip(1).map(|folder| match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    });
    let folder = there.into_iter().find(|folder| folder.exists())?;
    let probe = folder.join(format!(".mneme-doctor-{}", std::process::id()));
    let made = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
    Some(match made {
        Ok(()) => Finding::ok(
            "store",
            format!("embedded ({}), which the bot makes at its first start", file.display()),
        ),
        Err(error) => Finding::fail(
            "store",
            format!("{} cannot be made ({error})", file.display()),
            "Set DATA_DIR to a folder in which this user may write",
        ),
    })
}

async fn examine_tables(connected: &Connected, options: &config::Store, specs: &[TableSpec]) -> Vec<Finding> {
    let dynamo = &connected.dynamo;
    let mut differences = match dynamo.check_tables(specs).await {
        Ok(differences) => differences,
        Err(error) => {
            let remedy = "Is the store well? If not even a description is allowed, give the bot's role the policy \
                          that this prints: mneme tables policy";
            return vec![Finding::fail("tables", format!("{:#}", anyhow::Error::from(error)), remedy)];
        }
    };
    let full_name = |spec: &TableSpec| format!("{}{}", options.table_prefix, spec.name);
    let sound: Vec<TableSpec> = specs
        .iter()
        .filter(|spec| !differences.iter().any(|one| one.stops() && one.table == full_name(spec)))
        .copied()
        .collect();
    if connected.embedded.is_some() {
        // The bot makes them itself.
        differences.retain(|one| one.kind != Kind::Missing);
    }
    let mut findings = judge_tables(&differences, options, connected, specs.len());
    if !sound.is_empty() {
        let (recovery, permissions, transactions) = futures::join!(
            dynamo.examine_recovery(&sound),
            dynamo.examine_permissions(&sound),
            dynamo.examine_transactions(&sound)
        );
        findings.extend(connected.way.is_some().then_some(recovery));
        findings.extend([permissions, transactions]);
    }
    findings
}

fn judge_tables(
    differences: &[Difference],
    options: &config::Store,
    connected: &Connected,
    all: usize,
) -> Vec<Finding> {
    let create = command("tables create", options);
    let missing: Vec<&str> =
        differences.iter().filter(|one| one.kind == Kind::Missing).map(|one| one.table.as_str()).collect();
    let mut findings = Vec::new();
    if missing.is_empty() {
        findings.push(Finding::ok("tables", format!("all {all} are there")));
    } else {
        let found = format!("missing in {}: {}", connected.description, missing.join(", "));
        let elsewhere = "If they are elsewhere, AWS_REGION, DYNAMODB_ENDPOINT or TABLE_PREFIX is not theirs";
        findings.push(Finding::fail("tables", found, format!("Create them with: {create}. {elsewhere}")));
    }
    for about in ["tables", "keys", "indexes", "expiry"] {
        let of_this =
            differences.iter().filter(|one| one.kind != Kind::Missing && subject(&one.kind) == about);
        let found: Vec<Finding> = of_this.map(|one| judge(about, one, &create)).collect();
        if found.is_empty() && about != "tables" && missing.len() < all {
            findings.push(Finding::ok(about, "as declared"));
        }
        findings.extend(found);
    }
    findings
}

fn judge(about: &'static str, difference: &Difference, create: &str) -> Finding {
    let state = if difference.stops() { State::Fail } else { State::Warn };
    Finding { about, state, found: difference.to_string(), remedy: difference.remedy(create) }
}

fn subject(kind: &Kind) -> &'static str {
    match kind {
        Kind::Missing | Kind::NotReady { .. } => "tables",
        Kind::Key { .. } => "keys",
        Kind::MissingIndex { .. } | Kind::OtherIndex { .. } | Kind::ExtraIndex { .. } => "indexes",
        Kind::ExpiryOff { .. } | Kind::OtherExpiry { .. } => "expiry",
    }
}

/// By the clock that differs most from ours.
fn judge_clock(times: [(&str, Option<(Timestamp, Timestamp)>); 2]) -> Option<Finding> {
    let skews = times.into_iter().filter_map(|(whose, told)| {
        let (ours, theirs) = told?;
        Some((ours.since(theirs).max(theirs.since(ours)), ours > theirs, whose))
    });
    let (skew, ahead, whose) = skews.max_by_key(|(skew, ..)| *skew)?;
    if skew <= SKEW_KNOWN {
        return Some(Finding::ok("clock", format!("agrees with that of {whose}")));
    }
    let found = format!("{} s {} that of {whose}", skew.as_secs(), if ahead { "ahead of" } else { "behind" });
    let remedy = "Set the clock; let a time service (chrony, systemd-timesyncd) keep it right";
    Some(if skew < SKEW_MAX {
        Finding::warn("clock", found, remedy)
    } else {
        Finding::fail(
            "clock",
            found,
            format!("Messages would be dropped as too old, signatures refused. {remedy}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skewed(seconds: i64) -> Finding {
        let (ours, theirs) =
            (Timestamp::from_seconds(1_000_000 + seconds), Timestamp::from_seconds(1_000_000));
        judge_clock([("the store", Some((theirs, theirs))), ("Discord", Some((ours, theirs)))]).unwrap()
    }

    #[test]
    fn a_wrong_clock_is_found_in_both_directions() {
        assert_eq!(skewed(1).to_string(), "agrees with that of Discord");
        assert_eq!(skewed(60).state, State::Warn);
        assert!(skewed(-60).found.starts_with("60 s behind that of Discord"));
        assert_eq!(skewed(600).state, State::Fail);
        assert_eq!(judge_clock([("the store", None), ("Discord", None)]), None);
    }
}
