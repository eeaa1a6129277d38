//! Storms over `get_or_create` and `wait_for`.

use std::cell::{Cell as Shared, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::bail;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::Rng;
use tokio::time::sleep;

use super::{Verdict, Weather, World, all, finds, must};
use crate::shared::items::Rule;
use crate::shared::{CreateError, CreateOptions, SharedError};

const CALLERS: usize = 2;

const OPTIONS: CreateOptions = CreateOptions { ttl: Duration::from_secs(2), within: Duration::from_secs(60) };

fn creations(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let (values, mine) = (RefCell::new(BTreeSet::new()), Shared::new(0));
        let (runs, failures, unknown) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Shared::new(0));
        let put = Shared::new(None);
        let (world, values, mine, unknown, put) = (&*world, &values, &mine, &unknown, &put);
        let mut actors: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
        for process in 0..world.processes.len() {
            for caller in 0..CALLERS {
                let (runs, failures) = (runs.clone(), failures.clone());
                let (starts, takes) = (world.up_to(Weather::USUAL.pause), world.up_to(OPTIONS.ttl * 2));
                let fails = world.chance(|chance| chance.random_range(0..10)) == 0;
                let create = move |_| async move {
                    runs.fetch_add(1, Ordering::SeqCst);
                    sleep(takes).await;
                    if fails {
                        failures.fetch_add(1, Ordering::SeqCst);
                        bail!("on purpose");
                    }
                    Ok(format!("by {process}-{caller}"))
                };
                let actor = async move {
                    sleep(starts).await;
                    let answer =
                        world.processes[process].shared.get_or_create("album", OPTIONS, create).await;
                    world.note(process, format!("{caller}: {answer:?}"));
                    match answer {
                        Ok(created) => {
                            values.borrow_mut().insert(created.value);
                            mine.set(mine.get() + usize::from(created.created_by_me));
                        }
                        Err(CreateError::Shared(SharedError::Unknown)) => unknown.set(unknown.get() + 1),
                        Err(_) => {}
                    }
                };
                actors.push(world.within(process, actor).map(|_| ()).boxed_local());
            }
        }
        let puts = world.chance(|chance| chance.random_range(0..5)) == 0;
        if puts {
            let writer = async {
                sleep(world.up_to(Weather::USUAL.pause)).await;
                let shared = &world.processes[0].shared;
                let answer = shared.put("album", &"by put").await;
                world.note(0, format!("put: {answer:?}"));
                put.set(Some(answer.is_ok()));
            };
            actors.push(world.within(0, writer).map(|_| ()).boxed_local());
        }
        world.run(Weather::USUAL, actors).await?;
        let last = world.calm().get_versioned::<String>("album").await.unwrap().map(|(value, _)| value);
        let values = values.take();
        must!(mine.get() <= 1, "{} were told that theirs is the one", mine.get());
        if !puts {
            must!(values.len() <= 1, "different ones: {values:?}");
            let same = values.iter().all(|value| Some(value) == last.as_ref());
            must!(same, "told {values:?}, and there is {last:?}");
        }
        let (runs, failures) = (runs.load(Ordering::SeqCst), failures.load(Ordering::SeqCst));
        let excused = 1 + failures + world.interruptions() + unknown.get();
        must!(puts || runs <= excused, "{runs} creators began, and {excused} had a reason");
        must!(put.get() != Some(true) || last.as_deref() == Some("by put"), "a put lost to {last:?}");
        Ok(())
    }
    .boxed_local()
}

#[test]
fn all_get_the_same_value() {
    all("all_get_the_same_value", Weather::USUAL, creations);
}

#[test]
fn without_their_rules_creators_disagree() {
    finds(Rule::NothingIsThere, Weather::USUAL, creations);
    finds(Rule::OneCreator, Weather::USUAL, creations);
    finds(Rule::PublisherOwns, Weather::USUAL, creations);
}

fn waiting(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let (signalled, waits, missed) = (Shared::new(false), Shared::new(0), Shared::new(0));
        let (world, signalled, waits, missed) = (&*world, &signalled, &waits, &missed);
        let mut actors: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
        for process in 0..world.processes.len() {
            let waiter = async move {
                sleep(world.up_to(Weather::USUAL.pause)).await;
                let ready = |step: Option<&u32>| step.is_some_and(|step| *step >= 2);
                let within = Duration::from_secs(40);
                waits.set(waits.get() + 1);
                let answer = world.processes[process].shared.wait_for("go", ready, within).await;
                world.note(process, format!("{answer:?}"));
                missed.set(missed.get() + usize::from(answer.is_err()));
            };
            actors.push(world.within(process, waiter).map(|_| ()).boxed_local());
        }
        let sender = async {
            for step in 0..3_u32 {
                sleep(world.up_to(Weather::USUAL.pause)).await;
                let answer = world.processes[0].shared.signal("go", &step).await;
                world.note(0, format!("signals {step}: {answer:?}"));
                signalled.set(answer.is_ok());
            }
        };
        actors.push(world.within(0, sender).map(|_| ()).boxed_local());
        world.run(Weather::USUAL, actors).await?;
        // A late copy of an earlier signal may have replaced the last one: a put does not survive that.
        let last: Option<u32> = world.calm().get("go").await.unwrap();
        let there = signalled.get() && last == Some(2);
        must!(!there || missed.get() == 0, "{} of {} missed the signal", missed.get(), waits.get());
        Ok(())
    }
    .boxed_local()
}

#[test]
fn nobody_misses_a_signal() {
    all("nobody_misses_a_signal", Weather::USUAL, waiting);
}
