//! [`Switchboard`]: what Discord tells people, brought to the soldier whom it concerns.
//!
//! One task reads all events once and puts each into the inboxes of those who have the channel open. A soldier
//! sleeps until an event comes that it waits for; the thousand others in the channel are not woken.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::army::discord::Ears;
use crate::army::promises::Ledger;
use crate::army::talk::{answered, is_said_by_bot};
use crate::sim::{Audience, Id};

/// A soldier reads between its steps; one that is further behind misses the oldest, which are counted.
pub const INBOX_MAX: usize = 256;

/// Who listens where.
pub struct Switchboard {
    board: Mutex<Board>,
    /// Counts the bot's answers.
    ledger: Arc<Ledger>,
}

#[derive(Default)]
struct Board {
    channels: HashMap<Id, Vec<Arc<Inbox>>>,
    people: HashMap<Id, Vec<Arc<Inbox>>>,
    totals: Totals,
    away_since: Option<Instant>,
}

/// What went through the switchboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub events: u64,
    /// Events that nobody got, because the switchboard was too slow.
    pub missed: u64,
    /// How often the bot under test came back.
    pub reconnects: u64,
    /// For how long it was away.
    pub lost: Duration,
}

impl Switchboard {
    pub fn new(ledger: Arc<Ledger>) -> Self {
        Self { board: Mutex::default(), ledger }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads events until the simulator is gone or `shutdown`.
    pub async fn run(self: Arc<Self>, mut seen: Ears, shutdown: CancellationToken) {
        while let Some(Some(event)) = shutdown.run_until_cancelled(seen.next()).await {
            match event {
                Ok((audience, event)) => self.deliver(audience, &event),
                Err(missed) => self.board().totals.missed += missed,
            }
        }
    }

    fn deliver(&self, audience: Audience, event: &Arc<Value>) {
        if event["t"] == "MESSAGE_CREATE"
            && is_said_by_bot(event)
            && let Some(event) = answered(&event["d"])
        {
            self.ledger.replied(event);
        }
        let mut board = self.board();
        board.totals.events += 1;
        let heard = match audience {
            Audience::Channel(channel) => board.channels.get(&channel),
            Audience::Person(person) => board.people.get(&person),
            Audience::Everyone if event["t"] == "BOT_ONLINE" => {
                board.online(event["d"]["online"] == true);
                None
            }
            Audience::Everyone | Audience::Guild(_) => None,
        };
        for inbox in heard.into_iter().flatten() {
            inbox.put(event);
        }
    }

    /// Somebody acts as this person from now on.
    pub fn be(&self, person: Id, inbox: &Arc<Inbox>) {
        add(self.board().people.entry(person).or_default(), inbox);
    }

    /// Somebody opens a channel.
    pub fn open(&self, channel: Id, inbox: &Arc<Inbox>) {
        add(self.board().channels.entry(channel).or_default(), inbox);
    }

    /// Somebody is no longer that person, and has no channel open.
    pub fn leave(&self, person: Option<Id>, channels: &[Id], inbox: &Arc<Inbox>) {
        let mut board = self.board();
        for channel in channels {
            remove(&mut board.channels, *channel, inbox);
        }
        if let Some(person) = person {
            remove(&mut board.people, person, inbox);
        }
    }

    pub fn totals(&self) -> Totals {
        self.board().totals
    }
}

impl Board {
    /// The bot under test has come or gone.
    fn online(&mut self, online: bool) {
        if online {
            self.totals.reconnects += 1;
            self.totals.lost += self.away_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        } else {
            self.away_since.get_or_insert_with(Instant::now);
        }
    }
}

fn add(listeners: &mut Vec<Arc<Inbox>>, inbox: &Arc<Inbox>) {
    if !listeners.iter().any(|one| Arc::ptr_eq(one, inbox)) {
        listeners.push(inbox.clone());
    }
}

fn remove(all: &mut HashMap<Id, Vec<Arc<Inbox>>>, id: Id, inbox: &Arc<Inbox>) {
    if let Some(listeners) = all.get_mut(&id) {
        listeners.retain(|one| !Arc::ptr_eq(one, inbox));
        if listeners.is_empty() {
            all.remove(&id);
        }
    }
}

/// A place in the stream of a soldier's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// One soldier's events, newest last.
#[derive(Default)]
pub struct Inbox {
    letters: Mutex<Letters>,
}

#[derive(Default)]
struct Letters {
    events: VecDeque<Arc<Value>>,
    /// How many came before the first of them.
    before: u64,
    dropped: u64,
    wishes: Vec<Wish>,
    next_wish: u64,
}

type Test = Box<dyn FnMut(&Value) -> bool + Send>;

/// Somebody who sleeps until an event fits.
struct Wish {
    number: u64,
    fits: Test,
    wake: oneshot::Sender<(Arc<Value>, Mark)>,
}

impl Inbox {
    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, event: &Arc<Value>) {
        let mut letters = self.letters();
        if letters.events.len() == INBOX_MAX {
            letters.events.pop_front();
            letters.before += 1;
            letters.dropped += 1;
        }
        letters.events.push_back(event.clone());
        let mark = letters.end();
        let mut place = 0;
        while place < letters.wishes.len() {
            if (letters.wishes[place].fits)(event) {
                let wish = letters.wishes.swap_remove(place);
                // Whoever wished may have given up meanwhile.
                wish.wake.send((event.clone(), mark)).ok();
            } else {
                place += 1;
            }
        }
    }

    /// After everything that has come so far.
    pub fn mark(&self) -> Mark {
        self.letters().end()
    }

    /// How many events were dropped unread.
    pub fn dropped(&self) -> u64 {
        self.letters().dropped
    }

    /// The events since a mark.
    pub fn since(&self, mark: Mark) -> Vec<Arc<Value>> {
        self.letters().since(mark).map(|(event, _)| event.clone()).collect()
    }

    /// The first event since a mark that fits, and the mark behind it; it may still be to come.
    pub async fn next(
        &self,
        since: Mark,
        within: Duration,
        mut fits: impl FnMut(&Value) -> bool + Send + 'static,
    ) -> Option<(Arc<Value>, Mark)> {
        let (coming, number) = {
            let mut letters = self.letters();
            if let Some((event, mark)) = letters.since(since).find(|(event, _)| fits(event)) {
                return Some((event.clone(), mark));
            }
            let (wake, coming) = oneshot::channel();
            let number = letters.next_wish;
            letters.next_wish += 1;
            letters.wishes.push(Wish { number, fits: Box::new(fits), wake });
            (coming, number)
        };
        let _given_up = GiveUp { inbox: self, number };
        timeout(within, coming).await.ok()?.ok()
    }
}

impl Letters {
    fn end(&self) -> Mark {
        Mark(self.before + self.events.len() as u64)
    }

    fn since(&self, mark: Mark) -> impl Iterator<Item = (&Arc<Value>, Mark)> {
        let skipped = mark.0.saturating_sub(self.before) as usize;
        let first = self.before + skipped as u64;
        (first + 1..).map(Mark).zip(self.events.iter().skip(skipped)).map(|(mark, event)| (event, mark))
    }
}

/// Takes a wish back, also when its future is dropped.
struct GiveUp<'a> {
    inbox: &'a Inbox,
    number: u64,
}

impl Drop for GiveUp<'_> {
    fn drop(&mut self) {
        self.inbox.letters().wishes.retain(|wish| wish.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(n: u64) -> Arc<Value> {
        Arc::new(json!({ "t": "MESSAGE_CREATE", "d": { "n": n } }))
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_found_whether_it_came_before_or_comes_after() {
        let inbox = Arc::new(Inbox::default());
        let start = inbox.mark();
        inbox.put(&event(1));
        inbox.put(&event(2));
        let fits = |n: u64| move |event: &Value| event["d"]["n"] == n;
        let (found, mark) = inbox.next(start, Duration::from_secs(1), fits(1)).await.unwrap();
        assert_eq!(found["d"]["n"], 1);
        assert_eq!(inbox.since(mark).len(), 1);
        let waiter = inbox.clone();
        let waiting = tokio::spawn(async move { waiter.next(mark, Duration::from_secs(1), fits(3)).await });
        tokio::task::yield_now().await;
        inbox.put(&event(3));
        assert!(waiting.await.unwrap().is_some());
        assert!(inbox.next(inbox.mark(), Duration::from_secs(1), fits(1)).await.is_none());
        assert!(inbox.letters().wishes.is_empty(), "nobody waits any more");
    }

    #[test]
    fn the_oldest_are_dropped_and_counted() {
        let inbox = Inbox::default();
        let start = inbox.mark();
        for n in 0..300 {
            inbox.put(&event(n));
        }
        assert_eq!(inbox.dropped(), 44);
        assert_eq!(inbox.since(start)[0]["d"]["n"], 44);
        assert_eq!(inbox.since(inbox.mark()).len(), 0);
    }
}
