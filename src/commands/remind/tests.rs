//! Reminders over the embedded engine. What brings them is tried on the simulated Discord.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cause::Cause;
use crate::clock::{Clock, Timestamp};
use crate::context::{Delivery, Discord, Error, Instance, Letter, Progress, Reply, Result, Row, Services};
use crate::due::Due;
use crate::dynamo::faults::{Fault, Faults, Rates};
use crate::dynamo::testing::{engine, over};
use crate::dynamo::{Query, Units, measured};
use crate::settings::Settings;

use super::ask::{self, Asked, Whom};
use super::record::{Reminder, State};
use super::{Call, change, deliver, zone};

const ANN: u64 = 100_000_000_000_000_001;
const BOB: u64 = 100_000_000_000_000_002;
const SERVER: u64 = 700_000_000_000_000_001;

struct Stage {
    services: Arc<Services>,
    faults: Faults,
    clock: Clock,
    events: AtomicU64,
}

impl Stage {
    async fn new() -> Self {
        let clock = Clock::manual(Timestamp::parse("2026-03-01T12:00:00Z").unwrap());
        let (engine, faults) = (engine(&crate::tables::all()).await, Faults::new());
        let dynamo = over(&engine, clock.clone(), &faults);
        let services = Services::new(dynamo, clock.clone(), Discord::nowhere(), Instance::default());
        Self { services: Arc::new(services), faults, clock, events: AtomicU64::new(0) }
    }

    /// A new event of this person.
    fn call(&self, who: u64) -> Call {
        let event = self.clock.now().snowflake() + self.events.fetch_add(1, Ordering::SeqCst);
        self.event(who, event)
    }

    fn event(&self, who: u64, event: u64) -> Call {
        Call {
            services: self.services.clone(),
            cause: Cause::new(event, SERVER, who),
            prefix: ".".into(),
            channel_id: 5,
            settings: Arc::new(Settings::new(SERVER)),
        }
    }

    async fn remind(&self, who: u64, line: &str) -> String {
        shown(ask::remind(&self.call(who), Whom::Me, Asked::Line(line)).await)
    }

    async fn reminders(&self) -> Vec<Reminder> {
        self.services.dynamo.query_all(Query::<Reminder>::of(ANN)).await.unwrap()
    }

    async fn only(&self) -> Reminder {
        let mut all = self.reminders().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Everything that is due on this day.
    async fn due(&self) -> Vec<Due> {
        let mut all = Vec::new();
        for hour in 0..24 {
            let query = Query::<Due>::of(format!("2026-03-01T{hour:02}"));
            all.extend(self.services.dynamo.query_all(query).await.unwrap());
        }
        all
    }
}

fn shown(reply: Result<Reply>) -> String {
    match reply {
        Ok(reply) => reply.text,
        Err(Error::Refused(text) | Error::Usage(text)) => text,
        Err(error) => panic!("{error:?}"),
    }
}

/// The id of the button with this label.
fn button(reply: &Reply, label: &str) -> String {
    let buttons = reply.rows.iter().flat_map(|row| match row {
        Row::Buttons(buttons) => buttons.as_slice(),
        Row::Select(_) => &[],
    });
    let found = buttons.into_iter().find(|button| button.label == label).expect("it is there");
    found.id.split_once(':').expect("a verb and fields").1.to_owned()
}

#[tokio::test]
async fn what_is_typed_becomes_a_time_and_a_text() {
    for (line, due, text) in [
        ("in 1h30m to stretch", "2026-03-01T13:30:00Z", "stretch"),
        ("to check in 2 hours", "2026-03-01T14:00:00Z", "check"),
        ("in 2h to say \"in 5 minutes\"", "2026-03-01T14:00:00Z", "say \"in 5 minutes\""),
        ("at 02:30 on 2026-03-29 Europe/Berlin to x", "2026-03-29T01:00:00Z", "x"),
        ("tomorrow 9:00 call\n  mum", "2026-03-02T09:00:00Z", "call\n  mum"),
        ("TO  tell tom tomorrow", "2026-03-02T09:00:00Z", "tell tom"),
        ("in 10 seconds to go", "2026-03-01T12:00:10Z", "go"),
    ] {
        let stage = Stage::new().await;
        stage.remind(ANN, line).await;
        let made = stage.only().await;
        assert_eq!((made.due_at.to_string().as_str(), made.text.as_str()), (due, text), "{line}");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words() {
    let stage = Stage::new().await;
    for (line, told) in [
        (
            "at 25:00 to x",
            "⚠ I don't understand the time `25:00`. Try `in 2 hours`, `tomorrow 9:00` or `2026-05-01 18:30`",
        ),
        ("on 2020-01-01 to x", "⚠ <t:1577869200> is in the past"),
        ("to check", "The time is missing"),
        ("in 2 hours", "The text is missing"),
        ("in 2 hours to", "The text is missing"),
        ("in 9s to x", "⚠ That is 9 seconds ahead; the least is 10 seconds"),
        ("in 4 years to x", "⚠ <t:1898596800> is too far ahead; the limit is 3 years"),
    ] {
        assert_eq!(stage.remind(ANN, line).await, told, "{line}");
    }
    let long = format!("in 2h to {}", "x".repeat(1_001));
    assert_eq!(stage.remind(ANN, &long).await, "⚠ That text is 1,001 characters long; the limit is 1,000");
    assert_eq!(stage.reminders().await, []);
}

#[tokio::test]
async fn a_clock_on_the_wall_is_the_persons_then_the_servers() {
    let stage = Stage::new().await;
    let told = stage.remind(ANN, "at 18:30 to x").await;
    assert!(told.ends_with("\n-# 18:30 in UTC; set yours with `.timezone`"), "{told}");
    assert!(!stage.remind(ANN, "in 2 days to x").await.contains("-#"));
    let in_server = Call {
        settings: Arc::new(Settings { timezone: Some("Asia/Tokyo".into()), ..Settings::new(SERVER) }),
        ..stage.call(BOB)
    };
    let told = shown(ask::remind(&in_server, Whom::Me, Asked::Line("at 22:30 to x")).await);
    assert!(told.contains("<t:1772371800:F>") && !told.contains("-#"), "{told}");
    assert_eq!(
        shown(zone::set(&stage.call(BOB), "berlin").await),
        "🌍 Your time zone is Europe/Berlin (now 13:00)"
    );
    assert_eq!(shown(zone::show(&stage.call(BOB)).await), "🌍 Your time zone is Europe/Berlin (now 13:00)");
    let in_server = Call { cause: stage.call(BOB).cause, ..in_server };
    let told = shown(ask::remind(&in_server, Whom::Me, Asked::Line("at 18:30 to x")).await);
    assert!(told.contains("<t:1772386200:F>"), "{told}");
}

#[tokio::test]
async fn an_event_makes_one_reminder_however_often_it_is_delivered() {
    let stage = Stage::new().await;
    let event = stage.clock.now().snowflake();
    let ask =
        || async { shown(ask::remind(&stage.event(ANN, event), Whom::Me, Asked::Line("in 1h to x")).await) };
    let first = ask().await;
    assert_eq!(ask().await, first);
    let made = stage.only().await;
    // Also when it has been put off in the meantime.
    stage.clock.advance(Duration::from_secs(5));
    shown(change::snooze(&stage.call(ANN), &made.code, "2h").await);
    ask().await;
    assert_eq!((stage.only().await.occ, stage.due().await.len()), (1, 1));
}

#[tokio::test]
async fn a_person_has_25_reminders_at_most() {
    let stage = Stage::new().await;
    for _ in 0..25 {
        assert!(stage.remind(ANN, "in 1h to x").await.starts_with("⏰ Ok"));
    }
    assert_eq!(stage.remind(ANN, "in 1h to x").await, "⚠ You already have 25 reminders");
    let code = stage.reminders().await.remove(0).code;
    shown(change::cancel(&stage.call(ANN), &code).await);
    assert!(stage.remind(ANN, "in 1h to x").await.starts_with("⏰ Ok"));
}

#[tokio::test]
async fn a_reminder_is_cancelled_once_and_by_its_person() {
    let stage = Stage::new().await;
    let reply = ask::remind(&stage.call(ANN), Whom::Me, Asked::Line("in 1h to x")).await.unwrap();
    let fields = button(&reply, "Cancel");
    let told = shown(change::cancel_pressed(&stage.call(BOB), &fields).await);
    assert_eq!(
        told,
        format!("⛔ You can't use `.reminder cancel` here: only its owner <@{ANN}> can change it")
    );
    let code = stage.only().await.code;
    assert_eq!(
        shown(change::cancel(&stage.call(BOB), &code).await),
        format!("⚠ You have no reminder `{code}`")
    );
    let press = stage.call(ANN);
    let told = shown(change::cancel_pressed(&press, &fields).await);
    assert_eq!(told, format!("🗑️ Cancelled `{code}`"));
    assert_eq!(shown(change::cancel_pressed(&press, &fields).await), told, "delivered again");
    assert_eq!(
        shown(change::cancel_pressed(&stage.call(ANN), &fields).await),
        format!("⚠ You have no reminder `{code}`")
    );
    assert_eq!((stage.only().await.state, stage.due().await), (State::Cancelled, vec![]));
    assert_eq!(shown(change::cancel_pressed(&stage.call(ANN), "1-2").await), "⚠ That button is too old");
}

#[tokio::test]
async fn a_reminder_is_put_off_to_another_time() {
    let stage = Stage::new().await;
    stage.remind(ANN, "in 1h to x").await;
    let code = stage.only().await.code;
    let told = shown(change::snooze(&stage.call(ANN), &format!("`{}`", code.to_uppercase()), "90 min").await);
    assert_eq!(told, format!("💤 `{code}` is now <t:1772371800:F>"));
    let due = stage.due().await;
    assert_eq!(due.iter().map(|due| due.occ).collect::<Vec<_>>(), [Some(1)]);
    assert_eq!(due[0].time().unwrap().to_string(), "2026-03-01T13:30:00Z");
    let told = shown(change::snooze_pressed(&stage.call(ANN), &format!("{ANN}-{code}-0-10m")).await);
    assert_eq!(told, "⚠ That button is too old", "it belongs to the delivery before");
    assert_eq!(shown(change::snooze(&stage.call(ANN), "zzzz", "1h").await), "⚠ You have no reminder `zzzz`");
    assert!(shown(change::snooze(&stage.call(ANN), &code, "soon").await).contains("`soon`"));
    assert!(shown(ask::list(&stage.call(ANN)).await).ends_with("<t:1772371800:F> x"));
    assert_eq!(shown(ask::list(&stage.call(BOB)).await), "⏰ You have no reminders");
}

#[tokio::test]
async fn reminders_cost_what_is_budgeted() {
    let stage = Stage::new().await;
    shown(zone::set(&stage.call(ANN), "Europe/Berlin").await);
    let within = |what: &str, units: Units, read: f64, write: f64| {
        println!("{what}: {units:?}");
        assert!(units.read <= read && units.write <= write, "{what} cost {units:?}");
    };
    for line in ["in 1h to x", "at 18:30 to x"] {
        let (_, units) = measured(stage.remind(ANN, line)).await;
        within(line, units, 1.0, 4.0);
    }
    let code = stage.reminders().await.remove(0).code;
    let (_, units) = measured(change::snooze(&stage.call(ANN), &code, "2h")).await;
    within("snooze", units, 1.0, 6.0);
    let (_, units) = measured(change::cancel(&stage.call(ANN), &code)).await;
    within("cancel", units, 1.0, 4.0);
}

#[tokio::test]
async fn bringing_a_reminder_costs_what_is_budgeted() {
    let stage = Stage::new().await;
    let sent = Arc::new(AtomicU64::new(0));
    let count = sent.clone();
    stage.services.discord.lend(Arc::new(move |_, letter: Letter| {
        assert!(letter.nonce.len() <= 22 && letter.channel_id == 5, "{letter:?}");
        let message_id = count.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move { Delivery::Sent(message_id) })
    }));
    shown(ask::remind(&stage.call(ANN), Whom::Here, Asked::Line("in 1h to x")).await);
    let due = stage.due().await.remove(0);
    stage.clock.advance(Duration::from_secs(3_600));
    let (done, units) = measured(deliver::deliver(stage.services.clone(), due.clone())).await;
    assert_eq!(done.unwrap(), Progress::Done);
    println!("fire: {units:?}");
    assert!(units.read == 0.0 && units.write <= 5.0, "{units:?}");
    let reminder = stage.only().await;
    assert_eq!((reminder.state, reminder.message_id), (State::Sent, Some(1)));
    // An instance that comes late finds nothing to do.
    let again = deliver::deliver(stage.services.clone(), due).await;
    assert_eq!((again.unwrap(), sent.load(Ordering::SeqCst)), (Progress::Done, 1));
    assert_eq!(stage.due().await, vec![]);
}

/// Whatever gets lost on the way, what was acknowledged is so, and a reminder is due exactly while it waits.
#[tokio::test]
async fn no_storm_loses_or_doubles_a_reminder() {
    const STORMS: u64 = 40;
    for seed in 0..STORMS {
        println!("seed {seed}");
        let stage = Stage::new().await;
        stage.faults.plan(seed, Rates { delay: 0, arrive_late: 0, ..Rates::STORMY });
        let mut acknowledged = Vec::new();
        for n in 0..6 {
            let event = stage.clock.now().snowflake() + n;
            stage.clock.advance(Duration::from_millis(10));
            let line = format!("in {}m to {n}", n + 10);
            // Delivered twice, as Discord may.
            for _ in 0..2 {
                let made = ask::remind(&stage.event(ANN, event), Whom::Me, Asked::Line(&line)).await;
                if let Ok(reply) = made {
                    acknowledged.push((event, reply.text));
                }
            }
            let Some(found) = stage.services.dynamo.query_all(Query::<Reminder>::of(ANN)).await.ok() else {
                continue;
            };
            let Some(some) = found.first() else { continue };
            let changed = match n % 3 {
                0 => change::snooze(&stage.call(ANN), &some.code, "3h").await,
                1 => change::cancel(&stage.call(ANN), &some.code).await,
                _ => continue,
            };
            // Refused, unknown or done: what is there must fit together below.
            drop(changed);
        }
        stage.faults.calm();
        stage.faults.set_away(false);
        let all = stage.reminders().await;
        for (event, told) in acknowledged {
            let made: Vec<&Reminder> = all.iter().filter(|found| told.ends_with(&found.name())).collect();
            assert_eq!(made.len(), 1, "seed {seed}: event {event} was told {told}");
        }
        let texts: std::collections::BTreeSet<&str> = all.iter().map(|found| found.text.as_str()).collect();
        assert_eq!(texts.len(), all.len(), "seed {seed}: an event made two: {all:?}");
        let mut waiting: Vec<Due> =
            all.iter().filter(|found| found.state == State::Waiting).map(Reminder::due).collect();
        let mut due = stage.due().await;
        waiting.sort_by(|a, b| a.at.cmp(&b.at));
        due.sort_by(|a, b| a.at.cmp(&b.at));
        assert_eq!(due, waiting, "seed {seed}");
    }
}

#[tokio::test]
async fn a_lost_reply_is_found_to_have_been_done() {
    let stage = Stage::new().await;
    stage.faults.script([Fault::Pass, Fault::LoseReply]);
    let told = stage.remind(ANN, "in 1h to x").await;
    assert!(told.starts_with("⏰ Ok"), "{told}");
    stage.only().await;
}
