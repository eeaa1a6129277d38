//! The names of the relay: [`BotName`], [`Topic`] with [`Pattern`], [`EnvelopeId`] and [`Chain`].
//!
//! Each is a text that was checked when it was made, whether by us or read from a peer's frame.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// It is a suffix of files and a part of keys.
pub const BOT_NAME_MAX: usize = 32;

/// Deeper than eight words is a sentence, not a topic.
pub const TOPIC_WORDS_MAX: usize = 8;

/// So that a topic fits into keys and one line of a log.
pub const TOPIC_MAX: usize = 128;

/// 80 bits of a hash: with a million envelopes, two are alike with one in 10^12.
const ID_BYTES: usize = 10;

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("{0:?} is not the name of a bot: 1 to {BOT_NAME_MAX} of a-z, 0-9 and -")]
    Bot(String),
    #[error(
        "{0:?} is not a topic: words of a-z, 0-9, _ and - joined by /, at most {TOPIC_WORDS_MAX} words and \
         {TOPIC_MAX} bytes"
    )]
    Topic(String),
    #[error(
        "{0:?} is not a pattern of topics: a topic in which * stands for a word, and ** at the end for the rest"
    )]
    Pattern(String),
    #[error(
        "{0:?} is not the id of an envelope: the name of a bot, / and 16 of 0-9 and a-z without i, l, o and u"
    )]
    Id(String),
    #[error("{0:?} is not a chain: 16 of 0-9 and a-f")]
    Chain(String),
}

macro_rules! checked_text {
    ($($name:ident)*) => {$(
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;

            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    )*};
}

checked_text! { BotName Topic Pattern EnvelopeId Chain }

/// One installation of mneme with one store. Such a text is short: cloning it is cheap enough.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BotName(String);

impl BotName {
    pub fn new(text: &str) -> Result<Self, BadName> {
        let fits = (1..=BOT_NAME_MAX).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(BadName::Bot(text.to_owned())) }
    }
}

/// What an envelope is about: `alerts/disk`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Topic(String);

impl Topic {
    pub fn new(text: &str) -> Result<Self, BadName> {
        let fits = text.len() <= TOPIC_MAX && text.split('/').count() <= TOPIC_WORDS_MAX;
        if fits && text.split('/').all(is_word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName::Topic(text.to_owned()))
        }
    }
}

fn is_word(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    !word.is_empty() && word.bytes().all(plain)
}

/// Some topics: `alerts/disk`, `host/*` (one word), `alerts/**` (whatever follows, at least one word), `**`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    pub fn new(text: &str) -> Result<Self, BadName> {
        let words: Vec<_> = text.split('/').collect();
        let last = words.len() - 1;
        let known =
            |(at, word): (usize, &&str)| is_word(word) || *word == "*" || (*word == "**" && at == last);
        let fits = text.len() <= TOPIC_MAX && words.len() <= TOPIC_WORDS_MAX;
        if fits && words.iter().enumerate().all(known) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName::Pattern(text.to_owned()))
        }
    }

    pub fn matches(&self, topic: &Topic) -> bool {
        let mut words = topic.0.split('/');
        for wanted in self.0.split('/') {
            match (wanted, words.next()) {
                ("**", Some(_)) => return true,
                (_, None) => return false,
                ("*", Some(_)) => {}
                (wanted, Some(word)) if wanted == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }
}

/// `hub/4k7m2q9xw3tb5d8h`: the origin, and a hash of what the envelope was made for. Made twice for the same
/// reason it is the same, so publishing twice is publishing once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvelopeId(String);

impl EnvelopeId {
    /// The id of the envelope that `origin` makes because of `cause`; `part` counts those of one cause.
    pub fn of(origin: &BotName, cause: &str, part: u32) -> Self {
        let digest = hash(&[origin.as_str(), cause, &part.to_string()]);
        Self(format!("{origin}/{}", base32(&digest[..ID_BYTES])))
    }

    pub fn new(text: &str) -> Result<Self, BadName> {
        let bad = || BadName::Id(text.to_owned());
        let (origin, rest) = text.split_once('/').ok_or_else(bad)?;
        BotName::new(origin).map_err(|_| bad())?;
        let plain = rest.len() == ID_BYTES * 8 / 5 && rest.bytes().all(|b| CROCKFORD.contains(&b));
        if plain { Ok(Self(text.to_owned())) } else { Err(bad()) }
    }

    /// Who made it.
    pub fn origin(&self) -> BotName {
        let (origin, _) = self.0.split_once('/').expect("an id was checked when it was made");
        BotName(origin.to_owned())
    }
}

/// A hash of all ids of a lane so far: the same number with the same chain is the same history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Chain(String);

impl Chain {
    /// Before the first envelope of a lane.
    pub fn start() -> Self {
        Self("0".repeat(CHAIN_DIGITS))
    }

    pub fn after(&self, id: &EnvelopeId) -> Self {
        let digest = hash(&[&self.0, id.as_str()]);
        Self(digest[..CHAIN_DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    pub fn new(text: &str) -> Result<Self, BadName> {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if text.len() == CHAIN_DIGITS && plain {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadName::Chain(text.to_owned()))
        }
    }
}

/// Eight bytes.
const CHAIN_DIGITS: usize = 16;

/// A digest of texts, each with its length before it, so that no two lists are alike.
pub(super) fn hash(parts: &[&str]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Crockford's base 32, five bits a character; what is left over at the end is cut.
pub(super) fn base32(bytes: &[u8]) -> String {
    let bit = |at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
    let letter = |at: usize| (0..5).fold(0, |sum, offset| sum << 1 | bit(at * 5 + offset));
    (0..bytes.len() * 8 / 5).map(|at| CROCKFORD[usize::from(letter(at))] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let long = "a".repeat(BOT_NAME_MAX);
        for good in ["hub", "laptop-2", "0", &long] {
            assert_eq!(BotName::new(good).unwrap().as_str(), good);
        }
        let longer = "a".repeat(BOT_NAME_MAX + 1);
        for bad in ["", "Hub", "hub/x", "a b", "ä", &longer] {
            assert_eq!(BotName::new(bad), Err(BadName::Bot(bad.to_owned())));
        }
    }

    #[test]
    fn topics_are_checked() {
        for good in ["announce", "alerts/disk", "a/b/c/d/e/f/g/h", "chat-ops_2/x"] {
            assert_eq!(Topic::new(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(TOPIC_MAX + 1);
        for bad in ["", "/", "a/", "/a", "a//b", "Alerts", "a/*", "a/b/c/d/e/f/g/h/i", &long] {
            assert_eq!(Topic::new(bad), Err(BadName::Topic(bad.to_owned())));
        }
    }

    #[test]
    fn patterns_match_words_and_rests() {
        let matches = |pattern, topic| Pattern::new(pattern).unwrap().matches(&Topic::new(topic).unwrap());
        for (pattern, topic) in [
            ("alerts/disk", "alerts/disk"),
            ("host/*", "host/disk"),
            ("alerts/**", "alerts/disk/root"),
            ("**", "announce"),
            ("*/disk", "alerts/disk"),
        ] {
            assert!(matches(pattern, topic), "{pattern} {topic}");
        }
        for (pattern, topic) in
            [("alerts/disk", "alerts"), ("host/*", "host/disk/root"), ("alerts/**", "alerts"), ("*", "a/b")]
        {
            assert!(!matches(pattern, topic), "{pattern} {topic}");
        }
        for bad in ["", "**/x", "a*", "a/***"] {
            assert_eq!(Pattern::new(bad), Err(BadName::Pattern(bad.to_owned())));
        }
    }

    #[test]
    fn an_id_comes_from_its_cause() {
        let (hub, laptop) = (BotName::new("hub").unwrap(), BotName::new("laptop").unwrap());
        let id = EnvelopeId::of(&hub, "disk/1", 0);
        assert_eq!(id, EnvelopeId::of(&hub, "disk/1", 0));
        assert_ne!(id, EnvelopeId::of(&hub, "disk/1", 1));
        assert_ne!(id, EnvelopeId::of(&hub, "disk/2", 0));
        assert_ne!(
            id.as_str().split_once('/'),
            EnvelopeId::of(&laptop, "disk/1", 0).as_str().split_once('/')
        );
        assert_eq!((EnvelopeId::new(id.as_str()), id.origin()), (Ok(id.clone()), hub));
        for bad in ["", "hub", "hub/", "hub/short", "hub/4k7m2q9xw3tb5d8i", "Hub/4k7m2q9xw3tb5d8h"] {
            assert_eq!(EnvelopeId::new(bad), Err(BadName::Id(bad.to_owned())));
        }
    }

    #[test]
    fn a_chain_tells_histories_apart() {
        let hub = BotName::new("hub").unwrap();
        let (a, b) = (EnvelopeId::of(&hub, "a", 0), EnvelopeId::of(&hub, "b", 0));
        let chain = |ids: &[&EnvelopeId]| ids.iter().fold(Chain::start(), |chain, id| chain.after(id));
        assert_ne!(chain(&[&a, &b]), chain(&[&b, &a]));
        assert_ne!(chain(&[&a]), chain(&[&b, &a]));
        assert_eq!(Chain::new(chain(&[&a]).as_str()), Ok(chain(&[&a])));
        assert!(Chain::new("0").is_err() && Chain::new("G000000000000000").is_err());
    }

    #[test]
    fn base32_is_crockfords() {
        assert_eq!(base32(&[0; 10]), "0000000000000000");
        assert_eq!(base32(&[0xff; 10]), "zzzzzzzzzzzzzzzz");
        assert_eq!(base32(&[0b0000_1000, 0b1000_0000]), "120");
    }
}
