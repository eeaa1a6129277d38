//! Order and repetition: which events run, and when.
//!
//! serenity starts a task for each event, so several events at once have no order. One person's commands in
//! one server run one after the other, in order of arrival, while different people never wait for each other.
//! The order is written down on the shard's own task, the one place where it can be seen; a handler then
//! waits until its event is first in its lane. And an event that came before, or long ago, does not run.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::clock::Timestamp;

/// A handler waits no longer than this: one command has 8 s in total.
pub const WAIT_MAX: Duration = Duration::from_secs(8);
/// Waiting events of one person; more run at once, without order.
const LANE_MAX: usize = 256;
/// Ids kept to recognise a redelivery in this process.
const RING: usize = 20_000;
/// Discord replays at most the last minutes of a session. The histories are searched a little further back.
pub const STALE_AFTER: Duration = Duration::from_secs(9 * 60);

/// Whose lane: (server or 0, person).
pub type Lane = (u64, u64);

#[derive(Clone, Default)]
pub struct Lanes {
    waiting: Arc<Mutex<HashMap<Lane, VecDeque<u64>>>>,
    moved: Arc<Mutex<HashMap<Lane, Arc<Notify>>>>,
}

/// An event's place in its lane. Dropping it, wherever its way ends, lets the next one go: a place that stayed
/// would hold up its owner for good.
pub struct Turn {
    lanes: Lanes,
    lane: Lane,
    event: u64,
    repeated: bool,
}

impl Lanes {
    /// Notes an arrival. Called on the shard's task, in order.
    pub fn arrive(&self, lane: Lane, event: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let events = waiting.entry(lane).or_default();
        // A second delivery is written down too: it leaves by itself, and the first one keeps its place.
        if events.len() < LANE_MAX {
            events.push_back(event);
        }
    }

    /// The place of an event that has arrived, or of one that nobody saw arrive, which waits for nothing.
    pub fn place(&self, lane: Lane, event: u64) -> Turn {
        Turn { lanes: self.clone(), lane, event, repeated: false }
    }

    fn remove(&self, turn: &Turn) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(events) = waiting.get_mut(&turn.lane) else {
            moved.remove(&turn.lane);
            return;
        };
        let is_it = |other: &u64| *other == turn.event;
        // Where an event came twice, the delivery that runs has the first place.
        let place =
            if turn.repeated { events.iter().rposition(is_it) } else { events.iter().position(is_it) };
        if let Some(place) = place {
            events.remove(place);
        }
        if let Some(notify) = moved.get(&turn.lane) {
            notify.notify_waiters();
        }
        if events.is_empty() {
            waiting.remove(&turn.lane);
            moved.remove(&turn.lane);
        }
    }

    fn first_or_absent(&self, lane: Lane, event: u64) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(&lane).is_none_or(|events| events.front() == Some(&event) || !events.contains(&event))
    }

    fn notify(&self, lane: Lane) -> Arc<Notify> {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.entry(lane).or_default().clone()
    }
}

impl Turn {
    /// Waits until the event is first in its lane; at once if it is in none.
    pub async fn come(&self) {
        let wait = async {
            loop {
                let moved = self.lanes.notify(self.lane);
                let notified = moved.notified();
                if self.lanes.first_or_absent(self.lane, self.event) {
                    return;
                }
                notified.await;
            }
        };
        // Beyond the limit it runs out of turn: late order is worse than none.
        let _ = timeout(WAIT_MAX, wait).await;
    }

    /// Leaves the lane as a second delivery: the first one keeps its place.
    pub fn leave_to_first(mut self) {
        self.repeated = true;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.lanes.remove(self);
    }
}

/// Whether an event is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    Yes,
    /// This process has taken it before.
    Repeated,
    /// Older than [`STALE_AFTER`].
    Stale,
}

/// The last events this process has taken.
#[derive(Default)]
pub struct Ring(Mutex<(HashSet<u64>, VecDeque<u64>)>);

impl Ring {
    pub fn take(&self, event: u64, now: Timestamp) -> Fresh {
        if now.since(Timestamp::of_snowflake(event)) > STALE_AFTER {
            return Fresh::Stale;
        }
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *ring;
        if !known.insert(event) {
            return Fresh::Repeated;
        }
        order.push_back(event);
        if order.len() > RING
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        Fresh::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Lanes {
        fn is_empty(&self) -> bool {
            self.waiting.lock().unwrap().is_empty() && self.moved.lock().unwrap().is_empty()
        }
    }

    #[tokio::test]
    async fn a_lane_runs_in_order_of_arrival() {
        let lanes = Lanes::default();
        let done = Arc::new(Mutex::new(Vec::new()));
        for event in 1..=50 {
            lanes.arrive((1, 1), event);
        }
        let tasks: Vec<_> = (1..=50)
            .rev()
            .map(|event| {
                let (lanes, done) = (lanes.clone(), done.clone());
                tokio::spawn(async move {
                    let turn = lanes.place((1, 1), event);
                    turn.come().await;
                    tokio::task::yield_now().await;
                    done.lock().unwrap().push(event);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*done.lock().unwrap(), (1..=50).collect::<Vec<u64>>());
        assert!(lanes.is_empty(), "an empty lane takes no memory");
    }

    #[tokio::test]
    async fn other_lanes_and_strangers_do_not_wait() {
        let lanes = Lanes::default();
        lanes.arrive((1, 1), 10);
        lanes.arrive((1, 2), 11);
        lanes.place((1, 2), 11).come().await;
        lanes.place((1, 1), 99).come().await;
        lanes.place((1, 3), 12).come().await;
        drop(lanes.place((1, 1), 10));
        assert!(lanes.is_empty());
    }

    #[tokio::test]
    async fn a_second_delivery_does_not_let_the_next_one_pass() {
        let lanes = Lanes::default();
        for event in [1, 1, 2] {
            lanes.arrive((1, 1), event);
        }
        let first = lanes.place((1, 1), 1);
        lanes.place((1, 1), 1).leave_to_first();
        assert!(!lanes.first_or_absent((1, 1), 2));
        drop(first);
        assert!(lanes.first_or_absent((1, 1), 2));
    }

    #[tokio::test]
    async fn a_place_that_is_given_up_before_its_turn_holds_up_nobody() {
        let lanes = Lanes::default();
        lanes.arrive((1, 1), 1);
        lanes.arrive((1, 1), 2);
        let turn = lanes.place((1, 1), 1);
        // As the work of an interaction that expired: it is dropped without having been begun.
        drop(async move { turn.come().await });
        assert!(lanes.first_or_absent((1, 1), 2));
    }

    #[test]
    fn an_event_runs_once_and_not_late() {
        let ring = Ring::default();
        let now = Timestamp::from_seconds(1_700_000_000);
        let event = now.snowflake() + 5;
        assert_eq!(ring.take(event, now), Fresh::Yes);
        assert_eq!(ring.take(event, now), Fresh::Repeated);
        let late = now.plus(STALE_AFTER).plus(Duration::from_millis(1));
        assert_eq!(ring.take(now.snowflake() + 6, late), Fresh::Stale);
    }
}
