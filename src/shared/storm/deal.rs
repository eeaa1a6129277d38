//! Storms over `deal` and `undeal`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use rand::Rng;
use tokio::time::{sleep, timeout};

use super::{Verdict, Weather, World, all, finds, must};
use crate::shared::items::{Back, Claims, Rule};
use crate::shared::{SharedError, Who};

/// More than a shard, so that there are two.
const ELEMENTS: u32 = 66;
const ASKERS: u32 = 4;
const STEPS: usize = 3;

/// Who holds what, as the askers were told. An asker whose last answer is unknown may hold anything.
#[derive(Default)]
struct Hands {
    has: BTreeMap<String, u32>,
    told: Vec<String>,
}

impl Hands {
    /// Takes in what somebody was told who had this before.
    fn note(&mut self, who: &str, before: Option<u32>, answer: &Result<Option<u32>, SharedError>) {
        if let Ok(Some(element)) = answer {
            if before.is_some_and(|before| before != *element) {
                self.told.push(format!("{who} had {before:?} and now has {element}"));
            }
            self.has.insert(who.to_owned(), *element);
            let other = self.has.iter().find(|(other, has)| *has == element && *other != who);
            self.told.extend(other.map(|(other, _)| format!("{element} is {other}'s and {who}'s")));
        } else if matches!(answer, Ok(None)) && before.is_some() {
            self.told.push(format!("{who} had {before:?} and now has nothing"));
        }
    }
}

fn deals(world: Rc<World>) -> LocalBoxFuture<'static, Verdict> {
    async move {
        let hands = RefCell::new(Hands::default());
        let (world, hands) = (&*world, &hands);
        let elements: Vec<u32> = (0..ELEMENTS).collect();
        // All but a few are dealt before the storm begins, so that what is left is in demand.
        let calm = world.calm();
        let mut kept = BTreeSet::new();
        if world.chance(|chance| chance.random()) {
            calm.deal_load("accounts", &elements).await.unwrap();
            for number in 0..ELEMENTS - 3 {
                let dealt: Option<u32> = calm.deal("accounts", &Who::bot(u64::from(number))).await.unwrap();
                kept.extend(dealt);
            }
        }
        let elements = &elements;
        let mut actors: Vec<LocalBoxFuture<'_, ()>> = Vec::new();
        for process in 0..world.processes.len() {
            for asker in 0..ASKERS / 2 {
                let who = Who::named(format!("asker-{process}-{asker}"));
                let next_life = who.clone();
                let actor = async move {
                    let shared = &world.processes[process].shared;
                    sleep(world.up_to(Weather::USUAL.pause)).await;
                    let _ = shared.deal_load("accounts", elements).await;
                    for _ in 0..STEPS {
                        let before = hands.borrow().has.get(who.as_str()).copied();
                        let answer = shared.deal::<u32>("accounts", &who).await;
                        world.note(process, format!("{who}: {answer:?}"));
                        hands.borrow_mut().note(who.as_str(), before, &answer);
                        sleep(world.up_to(Weather::USUAL.pause)).await;
                        if world.chance(|chance| chance.random()) {
                            // From here on it may be gone.
                            hands.borrow_mut().has.remove(who.as_str());
                            // Some have no patience: they are gone while a request is still on its way.
                            let patience = world.up_to(Duration::from_millis(20));
                            let answer = timeout(patience, shared.undeal("accounts", &who)).await;
                            world.note(process, format!("{who} gives back: {answer:?}"));
                        }
                    }
                };
                let lives = async move {
                    if world.within(process, actor).await.is_some() {
                        return;
                    }
                    // What the dead process had sent may still arrive.
                    let before = hands.borrow().has.get(next_life.as_str()).copied();
                    let answer = world.calm().deal::<u32>("accounts", &next_life).await;
                    world.note(process, format!("{next_life}, in another life: {answer:?}"));
                    hands.borrow_mut().note(next_life.as_str(), before, &answer);
                };
                actors.push(lives.boxed_local());
            }
        }
        world.run(Weather::USUAL, actors).await?;
        let told = hands.borrow().told.join("; ");
        must!(told.is_empty(), "{told}");
        let mut last = hands.borrow().has.clone();
        let calm = world.calm();
        if matches!(calm.deal::<u32>("accounts", &Who::named("last")).await, Err(SharedError::NotLoaded)) {
            calm.deal_load("accounts", elements)
                .await
                .map_err(|error| format!("cannot be completed: {error}"))?;
        }
        for (who, element) in std::mem::take(&mut last) {
            let again: Option<u32> = calm.deal("accounts", &Who::named(who.clone())).await.unwrap();
            must!(again == Some(element), "{who} had {element}, and is told {again:?} in the end");
        }
        nothing_is_lost(world).await
    }
    .boxed_local()
}

/// Handed out, left and given back are all there is.
async fn nothing_is_lost(world: &World) -> Verdict {
    let calm = world.calm();
    let place = calm.place("deal/", "accounts").unwrap();
    let list = calm.hub.list(&place).await.unwrap();
    let (mut all, digest) = (Vec::new(), list.digest());
    for shard in 0..2_u64 {
        let at = place.beside(format!("deal-claims/accounts/{digest}/{shard:03}"));
        let claims: Claims = calm.hub.look(&at).await.unwrap().unwrap();
        all.extend(
            claims
                .claims
                .values()
                .chain(&(claims.next..claims.size).collect::<Vec<_>>())
                .map(|index| (shard, *index)),
        );
    }
    let at = place.beside(format!("deal-back/accounts/{digest}"));
    let back: Back = calm.hub.look(&at).await.unwrap().unwrap();
    for text in back.back.iter().chain(back.claims.values()) {
        let mut parts = text.split('/').map(|part| part.parse::<u64>().unwrap_or_default());
        all.push((parts.next().unwrap(), parts.next().unwrap()));
    }
    let different: BTreeSet<_> = all.iter().copied().collect();
    must!(different.len() == all.len(), "an element is in two places");
    must!(all.len() == ELEMENTS as usize, "{} of {ELEMENTS} are left", all.len());
    Ok(())
}

#[test]
fn no_element_is_dealt_twice_or_lost() {
    all("no_element_is_dealt_twice_or_lost", Weather::LATE, deals);
}

#[test]
fn without_their_rules_elements_are_dealt_twice_or_lost() {
    for rule in [Rule::OneElementEach, Rule::ShardHasMore, Rule::GiverHasIt, Rule::AskerKeeps] {
        finds(rule, Weather::LATE, deals);
    }
}
