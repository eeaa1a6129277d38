//! [`Soldier`]: one simulated person, what it knows and who it is.
//!
//! Actions get a soldier and act through it: it draws chance that only depends on seed, slot and life, it keeps
//! what the tree has set, and it is somebody on Discord (see [`crate::army::talk`]). When it is dropped, however
//! that comes about, nobody writes into its inbox any more.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use crate::army::action::Stop;
use crate::army::ears::{Inbox, Mark};
use crate::army::stage::Stage;
use crate::army::talk::{Heard, Said};
use crate::shared::Who;
use crate::sim::Id;

/// What a soldier keeps: enough for a page of text, little enough for ten thousand soldiers.
pub const CONTEXT_MAX: usize = 64 * 1_024;

/// Names in the context that are the soldier's own and that no tree writes.
pub const RESERVED: &[&str] = &["id", "slot", "life", "role", "start_time"];

/// People of one channel in a run: about as many as talk at once where people talk.
const ROOM: u32 = 20;

/// Which soldier it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Unique in the run, and never used again.
    pub id: u64,
    /// The seat: whoever replaces a dead soldier takes it, with its role and what was dealt to it.
    pub slot: u32,
    /// How many had the slot before.
    pub life: u32,
    pub role: Option<String>,
}

/// Somebody on Discord.
#[derive(Clone, Debug)]
pub struct Persona {
    pub name: String,
    pub id: Id,
    pub server: Id,
    /// Where it speaks.
    pub channel: Id,
    /// The channels it has open, in which it hears.
    pub(super) open: Vec<Id>,
}

/// One simulated person at work.
pub struct Soldier {
    seat: Seat,
    stage: Arc<Stage>,
    context: Map<String, Value>,
    context_bytes: usize,
    extensions: HashMap<TypeId, Box<dyn Any + Send>>,
    chance: ChaCha8Rng,
    pub(super) persona: Option<Persona>,
    pub(super) inbox: Arc<Inbox>,
    /// Where an expectation begins to listen: behind what was heard already.
    pub(super) heard: Mark,
    /// What was said last.
    pub(super) said: Option<Said>,
    /// What was answered last.
    pub(super) answer: Option<Heard>,
    /// The form that is open: the interaction that opened it.
    pub(super) form: Option<Id>,
    /// The event of the last request, for the log.
    pub(super) event: Option<Id>,
}

impl fmt::Debug for Soldier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Soldier").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl Soldier {
    pub fn new(seat: Seat, stage: Arc<Stage>, context: Map<String, Value>) -> Self {
        let chance = chance(stage.options.seed, seat.slot, seat.life);
        let context_bytes = context.iter().map(|(name, value)| weight(name, value)).sum();
        Self {
            seat,
            stage,
            context,
            context_bytes,
            extensions: HashMap::new(),
            chance,
            persona: None,
            inbox: Arc::default(),
            heard: Mark::default(),
            said: None,
            answer: None,
            form: None,
            event: None,
        }
    }

    pub fn seat(&self) -> &Seat {
        &self.seat
    }

    pub fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    pub fn context(&self) -> &Map<String, Value> {
        &self.context
    }

    /// Takes over what an action has found out.
    pub fn learn(&mut self, updates: Map<String, Value>) -> Result<(), Stop> {
        for (name, value) in updates {
            if RESERVED.contains(&name.as_str()) {
                return Err(Stop::Error(format!("`{name}` is the soldier's own and cannot be set")));
            }
            let old = self.context.get(&name).map_or(0, |old| weight(&name, old));
            self.context_bytes = self.context_bytes + weight(&name, &value) - old;
            self.context.insert(name, value);
        }
        if self.context_bytes > CONTEXT_MAX {
            return Err(Stop::Error(format!("the context is larger than {CONTEXT_MAX} bytes")));
        }
        Ok(())
    }

    /// A value of an action's own that is no JSON; `None` until it was put there.
    pub fn extension<T: Any + Send>(&mut self) -> Option<&mut T> {
        self.extensions.get_mut(&TypeId::of::<T>())?.downcast_mut()
    }

    pub fn put_extension<T: Any + Send>(&mut self, value: T) {
        self.extensions.insert(TypeId::of::<T>(), Box::new(value));
    }

    /// The soldier's own chance: the same for a seed, a slot and a life, in whatever order soldiers run.
    pub fn chance(&mut self) -> &mut ChaCha8Rng {
        &mut self.chance
    }

    /// Whether it happens, with this probability.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.chance.random_bool(probability.clamp(0.0, 1.0))
    }

    /// As whom the soldier asks for shared data: its slot, which a replacement takes over, or itself.
    pub fn who(&self, per_bot: bool) -> Who {
        if per_bot { Who::bot(self.seat.id) } else { Who::slot(self.seat.slot) }
    }

    /// The name it has if the tree gives it none, and the channel it begins in.
    pub(super) fn usual_name(&self) -> String {
        format!("soldier-{}", self.seat.slot)
    }

    pub(super) fn usual_channel(&self) -> String {
        format!("room-{}", self.seat.slot / ROOM)
    }

    /// Waits as the tree wants, as far as `--wait-scale` lets it.
    pub async fn wait(&self, duration: Duration) {
        pause(duration, self.stage.options.wait_scale).await;
    }

    /// The same with `--think-scale`.
    pub async fn think(&self, duration: Duration) {
        pause(duration, self.stage.options.think_scale).await;
    }
}

async fn pause(duration: Duration, scale: f64) {
    let scaled = Duration::try_from_secs_f64(duration.as_secs_f64() * scale).unwrap_or(Duration::MAX);
    if !scaled.is_zero() {
        tokio::time::sleep(scaled).await;
    }
}

impl Drop for Soldier {
    fn drop(&mut self) {
        self.leave_discord();
    }
}

fn chance(seed: u64, slot: u32, life: u32) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..12].copy_from_slice(&slot.to_le_bytes());
    key[12..16].copy_from_slice(&life.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

fn weight(name: &str, value: &Value) -> usize {
    name.len() + value.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_depends_on_seed_slot_and_life_alone() {
        let draw = |seed, slot, life| chance(seed, slot, life).random::<u64>();
        assert_eq!(draw(1, 2, 3), draw(1, 2, 3));
        for other in [draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)] {
            assert_ne!(draw(1, 2, 3), other);
        }
    }
}
