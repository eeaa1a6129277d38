//! What happened since the start, for the metrics: numbers by what, of whom, and how.

use std::collections::BTreeMap;

use crate::relay::name::BotName;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// Frames by peer; how: which way, and what they were.
    Frames,
    /// Frames that were sent again, by peer.
    Resent,
    /// Envelopes taken in, by peer.
    Accepted,
    /// By peer; how: `lane`, a number that was had, or `way`, an envelope that came by another one.
    Repeats,
    /// By peer; how: the reason.
    Refused,
    /// Dead letters by lane; how: the reason.
    Dead,
    /// Envelopes whose life ended on the way, by lane.
    Expired,
    /// Measurements that found a queue full, by peer.
    Dropped,
    /// What a peer had no more when we came back for it.
    Gaps,
    /// Histories that began anew, by peer: it stays at nothing.
    Epochs,
    /// Envelopes acted upon; how: what became of it.
    Handled,
    /// Milliseconds from an envelope's making to its being taken in, by peer.
    DelayMillis,
    /// Milliseconds that acting took.
    HandleMillis,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<(What, String, &'static str), u64>);

/// Who is not the other end of a link.
pub const STRANGER: &str = "stranger";

impl Counts {
    /// Counts something of a peer.
    pub fn peer(&mut self, what: What, peer: &BotName, how: &'static str, n: u64) {
        self.add(what, peer.as_str(), how, n);
    }

    pub fn add(&mut self, what: What, of: &str, how: &'static str, n: u64) {
        if n > 0 {
            *self.0.entry((what, of.to_owned(), how)).or_default() += n;
        }
    }

    pub fn of(&self, what: What) -> impl Iterator<Item = (&str, &'static str, u64)> {
        let found = self.0.iter().filter(move |((this, ..), _)| *this == what);
        found.map(|((_, of, how), n)| (of.as_str(), *how, *n))
    }

    pub fn total(&self, what: What) -> u64 {
        self.of(what).map(|(.., n)| n).sum()
    }
}
