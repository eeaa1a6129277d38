//! What happens to the bot itself: it started, a peer came or went, there are dead letters, the store was away.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::relay::handle::Relay;
use crate::relay::name::{BotName, Topic};
use crate::relay::sources::sight::{Fields, Seen, Sight};

#[derive(Debug)]
pub struct Own {
    started_at: Timestamp,
    told_start: bool,
    peers: BTreeMap<BotName, bool>,
    dead: Option<u64>,
    away_since: Option<Timestamp>,
}

impl Own {
    pub fn new(started_at: Timestamp) -> Self {
        Self { started_at, told_start: false, peers: BTreeMap::new(), dead: None, away_since: None }
    }

    /// What has changed since the last look.
    pub async fn look(&mut self, relay: &Relay, now: Timestamp) -> Result<Seen, String> {
        let status = match relay.status().await {
            Ok(status) => status,
            Err(error) => {
                self.away_since.get_or_insert(now);
                return Err(error.to_string());
            }
        };
        let mut sights = Vec::new();
        if !std::mem::replace(&mut self.told_start, true) {
            let fields = Fields::default().text("version", env!("CARGO_PKG_VERSION"));
            sights.push(sight("bot/started", self.started_at, "it started".to_owned(), fields));
        }
        if let Some(since) = self.away_since.take() {
            let seconds = now.since(since).as_secs_f64();
            let fields = Fields::default().number("seconds", seconds);
            sights.push(sight("bot/store", now, format!("the store was away for {seconds:.0} s"), fields));
        }
        for peer in &status.peers {
            let Some(up) = peer.up else { continue };
            sights.extend(self.peer(&peer.name, up, peer.since.unwrap_or(now)));
        }
        sights.extend(self.dead_letters(status.dead, now));
        Ok(Seen { sights, memory: None })
    }

    fn peer(&mut self, name: &BotName, up: bool, since: Timestamp) -> Option<Sight> {
        let before = self.peers.insert(name.clone(), up);
        // That a peer is there when we begin is no news; that it is not is.
        if before == Some(up) || (before.is_none() && up) {
            return None;
        }
        let word = if up { "back" } else { "away" };
        let fields = Fields::default().text("peer", name.as_str()).switch("up", up);
        let told = sight("bot/peer", since, format!("{name} is {word}"), fields);
        Some(Sight { because: format!("{name}/{word}/{}", since.millis()), ..told })
    }

    fn dead_letters(&mut self, dead: u64, now: Timestamp) -> Option<Sight> {
        let before = self.dead.replace(dead);
        if before.is_none_or(|before| dead <= before) {
            return None;
        }
        let fields = Fields::default().number("dead", dead as f64);
        Some(sight("bot/dead", now, format!("{dead} envelopes need a look: mneme relay queue dead"), fields))
    }
}

fn sight(topic: &str, at: Timestamp, subject: String, fields: Fields) -> Sight {
    let because = format!("{topic}/{}", at.millis());
    Sight { because, at, topic: Topic::new(topic).ok(), subject: Some(subject), fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

    #[test]
    fn only_news_is_told() {
        let mut own = Own::new(NOW);
        let (hub, nas) = (BotName::new("hub").unwrap(), BotName::new("nas").unwrap());
        let mut peer = |name: &BotName, up| own.peer(name, up, NOW).and_then(|sight| sight.subject);
        assert_eq!((peer(&hub, true), peer(&nas, false).as_deref()), (None, Some("nas is away")));
        assert_eq!((peer(&hub, true), peer(&nas, false)), (None, None));
        assert_eq!(
            (peer(&hub, false).as_deref(), peer(&nas, true).as_deref()),
            (Some("hub is away"), Some("nas is back"))
        );
        let mut dead = |count| own.dead_letters(count, NOW).is_some();
        assert_eq!([dead(5), dead(5), dead(6), dead(2), dead(3)], [false, false, true, false, true]);
    }
}
