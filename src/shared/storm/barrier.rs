//! Storms over `barrier`.

use std::cell::{Cell as Shared, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::Rng;
use tokio::time::sleep;

use super::{Verdict, Weather, World, all, finds, must};
use crate::shared::items::Rule;
use crate::shared::{BarrierError, Who};

const EACH: u32 = 2;
const WITHIN: Duration = Duration::from_secs(8);

fn barriers(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let size = world.processes.len() * EACH as usize;
        let (arrived, passed, broken) = (Shared::new(0), RefCell::new(Vec::new()), Shared::new(0));
        let (world, arrived, passed, broken) = (&*world, &arrived, &passed, &broken);
        let mut actors: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
        for process in 0..world.processes.len() {
            for actor in 0..EACH {
                let starts = world.up_to(Weather::USUAL.pause);
                let withdraws = world.chance(|chance| chance.random_range(0..6)) == 0;
                let actor = async move {
                    sleep(starts).await;
                    let (shared, who) =
                        (&world.processes[process].shared, Who::slot(process as u32 * EACH + actor));
                    arrived.set(arrived.get() + 1);
                    if withdraws {
                        let answer = shared.withdraw("start", &who, size).await;
                        world.note(process, format!("{who} withdraws: {answer:?}"));
                        return;
                    }
                    let answer = shared.barrier("start", &who, size, WITHIN).await;
                    world.note(process, format!("{who}: {answer:?}"));
                    match answer {
                        Ok(_) => passed.borrow_mut().push(arrived.get()),
                        Err(BarrierError::Broken(_)) => broken.set(broken.get() + 1),
                        Err(_) => {}
                    }
                };
                actors.push(world.within(process, actor).map(|_| ()).boxed_local());
            }
        }
        world.run(Weather::USUAL, actors).await?;
        let passed = passed.borrow();
        must!(passed.iter().all(|arrived| *arrived == size), "passed when {passed:?} of {size} had arrived");
        must!(passed.is_empty() || broken.get() == 0, "{} passed and {} did not", passed.len(), broken.get());
        Ok(())
    }
    .boxed_local()
}

#[test]
fn all_pass_or_none() {
    all("all_pass_or_none", Weather::USUAL, barriers);
}

#[test]
fn without_its_rule_some_pass() {
    finds(Rule::FullStaysFull, Weather::USUAL, barriers);
}
