//! `mneme shared`: what bots share, for the operator.

use std::io::Write;

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::config::{AT_RUN_TIME, AtRunTime, SharedAct, SharedKind};
use crate::shared::items::Cell;
use crate::shared::list::{Entry, Kind};
use crate::shared::{Expect, Put, SharedData, Space, Version};

/// Does what was asked for and writes the answer; an error is also the answer "no".
pub async fn run(
    shared: &SharedData,
    act: &SharedAct,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match act {
        SharedAct::Get { key } => get(shared, key, json, out).await,
        SharedAct::Put { key, value, if_absent, if_version } => {
            let expect = if_version.map(|version| Expect::Version(Version(version)));
            let expect = expect.or(if_absent.then_some(Expect::Absent));
            put(shared, key, value, expect, out).await
        }
        SharedAct::List { prefix, runs: true, .. } => {
            list(&shared.in_space(Space::Runs), Kind::Cell, prefix, json, out).await
        }
        SharedAct::List { prefix, kind, runs: false } => {
            list(shared, kind_of(*kind), prefix, json, out).await
        }
        SharedAct::Locks { overdue: _, break_lock: Some(key), fence } => {
            let fence = fence.context("--fence says which holder is meant; `mneme shared locks` shows it")?;
            break_lock(shared, key, fence, out).await
        }
        SharedAct::Locks { overdue, break_lock: None, .. } => locks(shared, *overdue, json, out).await,
        SharedAct::Config { key: None, .. } => show_settings(shared, json, out).await,
        SharedAct::Config { key: Some(key), value, unset } => {
            let value = value.as_deref().map(read_value);
            if value.is_none() && !unset {
                return show_setting(shared, key, out).await;
            }
            set(shared, key, value, out).await
        }
        SharedAct::Watch { key } => watch(shared, key, json, out).await,
    }
}

fn kind_of(kind: SharedKind) -> Kind {
    match kind {
        SharedKind::Cell => Kind::Cell,
        SharedKind::Deal => Kind::Deal,
        SharedKind::Pool => Kind::Pool,
        SharedKind::Barrier => Kind::Barrier,
        SharedKind::Permit => Kind::Permit,
    }
}

/// JSON, or text if it is not.
fn read_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

fn show_cell(key: &str, cell: &Cell, json: bool) -> String {
    if json {
        let Cell { value, version, writer, lease_token, .. } = cell;
        return json!({ "key": key, "value": value, "version": version, "writer": writer, "lease_token": lease_token })
            .to_string();
    }
    let value = cell.value.as_ref().map_or("nothing".to_owned(), Value::to_string);
    let writer = cell.writer.as_deref().unwrap_or("unknown");
    let guarded = cell.lease_token.map(|token| format!(", guarded by token {token}")).unwrap_or_default();
    format!("{value}\n  version {}, written by {writer}{guarded}", cell.version)
}

async fn get(shared: &SharedData, key: &str, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let cell: Option<Cell> = shared.hub.look(&shared.cell(key)?).await?;
    match cell.filter(|cell| cell.value.is_some()) {
        Some(cell) => Ok(writeln!(out, "{}", show_cell(key, &cell, json))?),
        None => bail!("there is no {key} in {}", shared.space()),
    }
}

async fn put(
    shared: &SharedData,
    key: &str,
    value: &str,
    expect: Option<Expect>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let value = read_value(value);
    let Version(version) = match expect {
        None => shared.put(key, &value).await?,
        Some(expect) => match shared.put_if(key, &value, expect).await? {
            Put::Done(version) => version,
            Put::Refused(None) => bail!("there is no {key} in {}", shared.space()),
            Put::Refused(Some((there, Version(version)))) => bail!("{key} is {there}, version {version}"),
        },
    };
    Ok(writeln!(out, "{key} is {value}, version {version}")?)
}

async fn list(
    shared: &SharedData,
    kind: Kind,
    prefix: &str,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut next = None;
    loop {
        let page = shared.list(kind, prefix, next).await?;
        for entry in &page.records {
            let line = if json { serde_json::to_string(entry)? } else { line(kind, entry) };
            writeln!(out, "{line}")?;
        }
        next = page.next;
        if next.is_none() {
            return Ok(());
        }
    }
}

fn names(entry: &Entry, attribute: &str) -> String {
    let Some(Value::Object(map)) = entry.attributes.get(attribute) else { return String::new() };
    map.iter().map(|(who, what)| format!("\n    {who}: {what}")).collect()
}

fn line(kind: Kind, entry: &Entry) -> String {
    let (key, number) = (entry.key_alone(), |name| entry.number(name).unwrap_or(0));
    match kind {
        Kind::Cell => {
            let value = entry.attributes.get("value").map_or("nothing".to_owned(), Value::to_string);
            let state = entry.text("state").map(|state| format!(" ({state})")).unwrap_or_default();
            format!("{key}  {value}{state}  version {}", number("version"))
        }
        Kind::Deal if entry.name.starts_with("deal-claims/") => {
            let (size, next) = (number("size"), number("next"));
            format!("  {key}: {next} of {size} handed out, {} left{}", size - next, names(entry, "claims"))
        }
        Kind::Deal if entry.name.starts_with("deal-back/") => {
            format!("  {key}: {} returned{}", entry.len_of("back"), names(entry, "claims"))
        }
        Kind::Deal => format!("{key}  {} elements", number("size")),
        Kind::Pool => format!("{key}  {} free{}", entry.len_of("free"), names(entry, "holders")),
        Kind::Permit => format!("{key}  {} in{}", entry.len_of("holders"), names(entry, "holders")),
        Kind::Barrier => {
            let (here, broken) = (entry.len_of("members"), entry.text("broken"));
            let broken = broken.map(|why| format!("; broken: {why}")).unwrap_or_default();
            format!("{key}  {here} of {} are here{broken}", number("size"))
        }
        Kind::Lock => key.to_owned(),
    }
}

/// A lock that somebody holds, as it is told.
struct HeldLock<'a> {
    key: &'a str,
    owner: &'a str,
    fence: i64,
    remaining_ms: i64,
}

fn held_lock(entry: &Entry, now: Timestamp) -> Option<HeldLock<'_>> {
    let remaining_ms = entry.number("until")? - now.millis();
    Some(HeldLock {
        key: entry.key_alone(),
        owner: entry.text("owner")?,
        fence: entry.number("fence")?,
        remaining_ms,
    })
}

async fn locks(
    shared: &SharedData,
    overdue_only: bool,
    json: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut overdue = 0;
    let all = shared.list_all(Kind::Lock, "").await?;
    for lock in all.iter().filter_map(|entry| held_lock(entry, shared.hub.now())) {
        let HeldLock { key, owner, fence, remaining_ms } = lock;
        let late = remaining_ms < -(shared.hub.options.max_skew.as_millis() as i64);
        overdue += u32::from(late);
        if overdue_only && !late {
            continue;
        }
        if json {
            let lock = json!({ "key": key, "owner": owner, "fence": fence, "remaining_ms": remaining_ms });
            writeln!(out, "{lock}")?;
        } else {
            let seconds = remaining_ms as f64 / 1_000.0;
            writeln!(out, "{key}  fence {fence}, held by {owner}, {seconds:.1} s remaining")?;
        }
    }
    if overdue_only && overdue > 0 {
        bail!("{overdue} overdue");
    }
    Ok(())
}

async fn break_lock(shared: &SharedData, key: &str, fence: u64, out: &mut impl Write) -> anyhow::Result<()> {
    if !shared.break_lock(key, fence).await? {
        bail!("{key} has another fence by now, or there is no such lock; nothing was changed");
    }
    Ok(writeln!(out, "{key} is free; the next holder gets fence {}", fence + 1)?)
}

async fn show_settings(shared: &SharedData, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let config = shared.load_config().await?;
    let value = |key: &str| config.get::<Value>(key).ok().flatten();
    if json {
        let all: serde_json::Map<String, Value> =
            config.keys().filter_map(|key| Some((key.to_owned(), value(key)?))).collect();
        return Ok(writeln!(out, "{}", Value::Object(all))?);
    }
    if *shared.space() != Space::Bot {
        for key in config.keys() {
            writeln!(out, "{key}  {}", value(key).unwrap_or_default())?;
        }
        return Ok(());
    }
    for AtRunTime { name, about, .. } in AT_RUN_TIME {
        let now = value(name).map_or("as started".to_owned(), |value| value.to_string());
        writeln!(out, "{name}  {now}\n  {about}")?;
    }
    Ok(())
}

async fn show_setting(shared: &SharedData, key: &str, out: &mut impl Write) -> anyhow::Result<()> {
    let value: Value = shared.load_config().await?.require(key)?;
    Ok(writeln!(out, "{value}")?)
}

/// Changes a setting of the installation; bots read it within ten seconds.
async fn set(
    shared: &SharedData,
    key: &str,
    value: Option<Value>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if *shared.space() != Space::Bot {
        bail!("only the configuration of the space bot changes; that of a run is written once");
    }
    let Some(setting) = AT_RUN_TIME.iter().find(|setting| setting.name == key) else {
        let nearest = AT_RUN_TIME
            .iter()
            .max_by(|a, b| strsim::jaro_winkler(a.name, key).total_cmp(&strsim::jaro_winkler(b.name, key)));
        let nearest = nearest.map_or("", |setting| setting.name);
        bail!("bots have no setting `{key}` that can be changed while they run; did you mean `{nearest}`?");
    };
    if let Some(value) = &value {
        (setting.check)(value).map_err(|why| anyhow!("{key} cannot be {value}: {why}"))?;
    }
    let changed = shared.change_config(|all| match &value {
        Some(value) => drop(all.insert(key.to_owned(), value.clone())),
        None => drop(all.remove(key)),
    });
    if !changed.await? {
        bail!("others change the configuration at the same moment; try again");
    }
    let now = value.map_or("as bots were started".to_owned(), |value| value.to_string());
    Ok(writeln!(out, "{key} is {now}; bots that run read it within ten seconds")?)
}

/// Shows a value whenever it changes, for ever.
async fn watch(shared: &SharedData, key: &str, json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    let place = shared.cell(key)?;
    let mut watcher = shared.hub.watch(|hub| &hub.cells, &place);
    let mut shown = None;
    loop {
        let seen = watcher.next().await.record;
        let version = seen.as_ref().map(|cell| cell.version);
        if shown != Some(version) {
            shown = Some(version);
            match &seen {
                Some(cell) => writeln!(out, "{}", show_cell(key, cell, json))?,
                None => writeln!(
                    out,
                    "{}",
                    if json { json!({ "key": key }).to_string() } else { "nothing yet".into() }
                )?,
            }
            out.flush()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dynamo::testing::embedded;
    use crate::shared::{LeaseOptions, SharedOptions, TABLES, Who};
    use crate::tasks::Tasks;

    async fn shared() -> SharedData {
        SharedData::open(embedded(TABLES).await, &Tasks::new(), Space::Bot, SharedOptions::default())
    }

    async fn told(shared: &SharedData, act: SharedAct, json: bool) -> Result<String, String> {
        let mut out = Vec::new();
        let outcome = run(shared, &act, json, &mut out).await;
        outcome.map(|()| String::from_utf8(out).unwrap()).map_err(|error| error.to_string())
    }

    fn put_act(value: &str, if_absent: bool, if_version: Option<u64>) -> SharedAct {
        SharedAct::Put { key: "greeting".to_owned(), value: value.to_owned(), if_absent, if_version }
    }

    #[tokio::test]
    async fn a_value_is_put_and_got() {
        let shared = shared().await;
        let get = || SharedAct::Get { key: "greeting".to_owned() };
        assert_eq!(told(&shared, get(), false).await.unwrap_err(), "there is no greeting in bot");
        let put = told(&shared, put_act("hello", true, None), false).await;
        assert_eq!(put.unwrap(), "greeting is \"hello\", version 1\n");
        let again = told(&shared, put_act("[1]", true, None), false).await;
        assert_eq!(again.unwrap_err(), "greeting is \"hello\", version 1");
        told(&shared, put_act("[1]", false, Some(1)), false).await.unwrap();
        let shown: Value = serde_json::from_str(&told(&shared, get(), true).await.unwrap()).unwrap();
        assert_eq!((&shown["value"], &shown["version"]), (&json!([1]), &json!(2)));
    }

    #[tokio::test]
    async fn locks_are_listed_and_broken() {
        let shared = shared().await;
        let lease = shared.lock("door", LeaseOptions::default()).await.unwrap();
        let locks = |break_lock: Option<&str>, fence| SharedAct::Locks {
            overdue: false,
            break_lock: break_lock.map(str::to_owned),
            fence,
        };
        let shown = told(&shared, locks(None, None), false).await.unwrap();
        assert!(shown.starts_with("door  fence 1, held by "), "{shown}");
        let wrong = told(&shared, locks(Some("door"), Some(7)), false).await.unwrap_err();
        assert!(wrong.contains("nothing was changed"), "{wrong}");
        let broken = told(&shared, locks(Some("door"), Some(1)), false).await.unwrap();
        assert_eq!(broken, "door is free; the next holder gets fence 2\n");
        drop(lease);
    }

    #[tokio::test]
    async fn runs_are_listed() {
        let shared = shared().await;
        let run = shared.in_space(Space::Run("42".to_owned()));
        run.put_config([("num_albums".to_owned(), json!(20))].into()).await.unwrap();
        let list = SharedAct::List { prefix: String::new(), kind: SharedKind::Cell, runs: true };
        let shown = told(&shared, list, false).await.unwrap();
        assert!(shown.starts_with("42  {\"started_at\":"), "{shown}");
    }

    #[tokio::test]
    async fn settings_are_changed_by_their_name_alone() {
        let shared = shared().await;
        let config = |key: Option<&str>, value: Option<&str>, unset| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            SharedAct::Config { key: owned(key), value: owned(value), unset }
        };
        let wrong = told(&shared, config(Some("max_memorys"), Some("5"), false), false).await;
        assert!(wrong.unwrap_err().ends_with("did you mean `max_memories`?"));
        let wrong = told(&shared, config(Some("max_memories"), Some("many"), false), false).await;
        assert!(wrong.unwrap_err().starts_with("max_memories cannot be \"many\": a number"));
        told(&shared, config(Some("max_memories"), Some("5"), false), false).await.unwrap();
        told(&shared, config(Some("log"), Some("mneme=debug"), false), false).await.unwrap();
        let shown = told(&shared, config(None, None, false), true).await.unwrap();
        assert_eq!(shown, "{\"log\":\"mneme=debug\",\"max_memories\":5}\n");
        told(&shared, config(Some("log"), None, true), false).await.unwrap();
        assert_eq!(told(&shared, config(Some("max_memories"), None, false), false).await.unwrap(), "5\n");
        assert!(told(&shared, config(Some("log"), None, false), false).await.is_err());
    }

    #[tokio::test]
    async fn lists_show_who_has_what() {
        let shared = shared().await;
        shared.deal_load("accounts", &["ann", "bob"]).await.unwrap();
        let _: Option<String> = shared.deal("accounts", &Who::slot(7)).await.unwrap();
        let list = SharedAct::List { prefix: "acc".to_owned(), kind: SharedKind::Deal, runs: false };
        let shown = told(&shared, list, false).await.unwrap();
        assert!(shown.contains("accounts  2 elements"), "{shown}");
        assert!(shown.contains("1 of 2 handed out, 1 left\n    slot-7: 0"), "{shown}");
    }
}
