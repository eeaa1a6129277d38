//! [`Soldier`]: one simulated person, what it knows and who it is.
//!
//! Actions get a soldier and act through it: it draws chance that only depends on seed, slot and life, it keeps
//! what the tree has set, and it is somebody on Discord (see [`crate::army::talk`]). When it is dropped, however
//! that comes about, nobody writes into its inbox any more.

use std::any::{Any, TypeId};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value};

use crate::army::action::Stop;
use crate::army::ears::{Inbox, Mark};
use crate::army::log::Level;
use crate::army::spec::check::Check;
use crate::army::spec::program::Program;
use crate::army::spec::template::{Scope, dig};
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

/// Lines of the log that are kept for whoever asks why it died.
const TAIL: usize = 20;

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
    program: Arc<Program>,
    context: Map<String, Value>,
    context_bytes: usize,
    extensions: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    chance: ChaCha8Rng,
    pub(super) persona: Option<Persona>,
    pub(super) inbox: Arc<Inbox>,
    /// Where an expectation begins to listen: behind what was heard already.
    pub(super) heard: Mark,
    /// Events before it have been given to the tree's handlers.
    pub(super) handled: Mark,
    /// What was said last.
    pub(super) said: Option<Said>,
    /// What was answered last.
    pub(super) answer: Option<Heard>,
    /// The form that is open: the interaction that opened it.
    pub(super) form: Option<Id>,
    /// The event of the last request, for the log.
    pub(super) event: Option<Id>,
    /// The parameters of the subtree that it is in.
    pub(super) params: Option<Arc<Map<String, Value>>>,
    /// In which pass the nearest repeat is.
    pub(super) pass: Option<u32>,
    /// Shared values that templates of this step read.
    pub(super) read: Map<String, Value>,
    tail: VecDeque<String>,
    started_at: i64,
}

impl fmt::Debug for Soldier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Soldier").field("seat", &self.seat).finish_non_exhaustive()
    }
}

impl Soldier {
    pub fn new(seat: Seat, stage: Arc<Stage>, program: Arc<Program>, context: Map<String, Value>) -> Self {
        let chance = chance(stage.options.seed, seat.slot, seat.life);
        let started_at = stage.clock.now().millis();
        let context_bytes = context.iter().map(|(name, value)| weight(name, value)).sum();
        Self {
            seat,
            stage,
            program,
            context,
            context_bytes,
            extensions: HashMap::new(),
            chance,
            persona: None,
            inbox: Arc::default(),
            heard: Mark::default(),
            handled: Mark::default(),
            said: None,
            answer: None,
            form: None,
            event: None,
            params: None,
            pass: None,
            read: Map::new(),
            tail: VecDeque::new(),
            started_at,
        }
    }

    /// `bot.x` in templates.
    fn own(&self, name: &str) -> Option<Value> {
        match name {
            "id" => Some(self.seat.id.into()),
            "slot" => Some(self.seat.slot.into()),
            "life" => Some(self.seat.life.into()),
            "role" => self.seat.role.clone().map(Value::from),
            "start_time" => Some(self.started_at.into()),
            _ => None,
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
    pub fn extension<T: Any + Send + Sync>(&mut self) -> Option<&mut T> {
        self.extensions.get_mut(&TypeId::of::<T>())?.downcast_mut()
    }

    pub fn put_extension<T: Any + Send + Sync>(&mut self, value: T) {
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

    /// The name it has if the tree gives it none, and the channel it begins in.
    pub(super) fn usual_name(&self) -> String {
        format!("soldier-{}", self.seat.slot)
    }

    pub(super) fn usual_channel(&self) -> String {
        format!("room-{}", self.seat.slot / ROOM)
    }

    /// Whether a comparison holds, with one name more than the soldier knows.
    pub fn holds(&mut self, check: &Check, extra: Option<(&str, &Value)>) -> Result<bool, Stop> {
        check.holds(&mut Sight { soldier: self, extra }).map_err(|unfit| Stop::Error(unfit.to_string()))
    }

    /// Writes a line into the log of the run.
    pub fn write(&mut self, level: Level, text: &str, custom: Option<Value>) {
        let mut fields = self.log_fields();
        fields.push(("text", text.into()));
        fields.extend(custom.map(|custom| ("custom", custom)));
        self.log(level, &fields);
    }

    /// What stands in each of its lines.
    pub(super) fn log_fields(&self) -> Vec<(&'static str, Value)> {
        let Seat { id, slot, life, .. } = self.seat;
        vec![("bot_id", id.into()), ("slot", slot.into()), ("life", life.into())]
    }

    pub(super) fn log(&mut self, level: Level, fields: &[(&str, Value)]) {
        let line = self.stage.log.line(level, fields);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The last lines that it wrote.
    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }

    /// The events that came since this was last asked for, and the mark behind them.
    pub(super) fn news(&self) -> (Vec<Arc<Value>>, Mark) {
        (self.inbox.since(self.handled), self.inbox.mark())
    }

    /// As whom the soldier asks for shared data: its slot, which a replacement takes over, or itself.
    pub fn who(&self, per_bot: bool) -> Who {
        if per_bot { Who::bot(self.seat.id) } else { Who::slot(self.seat.slot) }
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

/// What the templates of a soldier see.
pub(super) struct Sight<'a> {
    pub soldier: &'a mut Soldier,
    /// One name more, such as `event`.
    pub extra: Option<(&'a str, &'a Value)>,
}

impl Scope for Sight<'_> {
    fn value(&self, path: &[String]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        if let Some((name, value)) = self.extra
            && name == first
        {
            return dig(value, rest).cloned();
        }
        let soldier = &*self.soldier;
        let options = &soldier.stage.options;
        let found = match (first.as_str(), rest) {
            ("bot", [name]) => return soldier.own(name),
            ("loop", []) => return soldier.pass.map(Value::from),
            ("run", [name]) if name == "id" => return Some(options.run_id.clone().into()),
            ("run", [name]) if name == "seed" => return Some(options.seed.into()),
            ("config", [name, rest @ ..]) => return dig(soldier.program.setting(name)?, rest).cloned(),
            ("shared", [name, rest @ ..]) => return dig(soldier.read.get(name)?, rest).cloned(),
            (name, _) => soldier.program.look_up(name, &soldier.context, soldier.params.as_deref()),
        };
        dig(found?, rest).cloned()
    }

    fn list(&self, name: &str) -> Option<&[Value]> {
        self.soldier.program.lists.get(name).map(Vec::as_slice)
    }

    fn rng(&mut self) -> &mut dyn RngCore {
        &mut self.soldier.chance
    }

    fn now(&self) -> i64 {
        self.soldier.stage.clock.now().millis()
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
