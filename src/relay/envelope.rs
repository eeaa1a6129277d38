//! [`Envelope`]: what is relayed. Made once by its origin, never changed, and forwarded as the text it was
//! written as ([`Sealed`]), so that there is no canonical form to agree on. What changes on the way, the path,
//! is outside.
//!
//! Whatever comes from a peer goes through [`Sealed::open`], which says what is wrong in words for whoever
//! reads the dead letter.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::relay::name::{BotName, EnvelopeId, Topic};

/// The version of envelopes that this program makes, and the only one that it takes.
pub const VERSION: u8 = 1;

/// The text of an envelope. It travels in a frame, whose transports carry 40 KiB.
pub const ENVELOPE_MAX: usize = 16 * 1024;

/// What is older tells nobody anything, and ids are remembered for as long.
pub const LIFE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// How many rules deep envelopes may answer each other: two bots whose rules answer each other stop then.
pub const DEPTH_MAX: u8 = 4;

/// The name of a source or a rule.
pub const KEY_MAX: usize = 128;

/// In characters: one line in a channel.
pub const SUBJECT_MAX: usize = 300;

pub const FIELDS_MAX: usize = 64;

/// In bytes, and the same for the rest of a field's name after its first letter.
pub const FIELD_NAME_MAX: usize = 64;

/// In bytes: four messages of Discord's.
pub const FIELD_TEXT_MAX: usize = 8_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    pub v: u8,
    pub id: EnvelopeId,
    pub topic: Topic,
    pub kind: Kind,
    pub scope: Scope,
    /// Only this bot acts on it; it has no influence on where it travels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<BotName>,
    /// When it was made, however late it arrives.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// From then on nobody accepts it or acts on it.
    #[serde(with = "millis")]
    pub until: Timestamp,
    /// The envelope that a rule answered with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<EnvelopeId>,
    /// How many rules deep; 0 at a source.
    #[serde(default)]
    pub depth: u8,
    /// Its source.
    pub key: String,
    /// Present: meant for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, Value>,
}

/// From when until when an envelope lives: all of its text that a queue asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Life {
    #[serde(with = "millis")]
    pub at: Timestamp,
    #[serde(with = "millis")]
    pub until: Timestamp,
}

impl Life {
    /// A text that is no envelope has no life left, and so blocks nobody.
    pub fn of(text: &str) -> Self {
        let over = Timestamp::from_millis(0);
        serde_json::from_str(text).unwrap_or(Self { at: over, until: over })
    }
}

/// Whether it must arrive. The topic decides it, not the message: the order within a topic depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It must arrive.
    Event,
    /// A measurement: dropped when too many wait.
    Sample,
}

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To our own rules.
    Local,
    /// And to our direct peers.
    Link,
    /// To every bot that the links reach.
    Fleet,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    Bool(bool),
    Number(f64),
    Text(String),
}

/// Why something is not an envelope of ours.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Malformed {
    #[error("the envelope has {0} bytes, more than {ENVELOPE_MAX}: say less, or split it")]
    TooLarge(usize),
    #[error("not an envelope: {0}")]
    Unreadable(String),
    #[error("the envelope has version {0}, and this program reads version {VERSION}: update it")]
    Version(u64),
    #[error("it would live for longer than 30 days, or end before it was made")]
    Life,
    #[error("it is {0} rules deep, more than {DEPTH_MAX}: rules answer each other")]
    Depth(u8),
    #[error("the key has {0} bytes, not 1 to {KEY_MAX}")]
    Key(usize),
    #[error("the subject has {0} characters, more than {SUBJECT_MAX}")]
    Subject(usize),
    #[error("it has {0} fields, more than {FIELDS_MAX}")]
    Fields(usize),
    #[error("{0:?} is not the name of a field: a letter a-z, then up to 63 of a-z, 0-9, _ and .")]
    FieldName(String),
    #[error("the field {0} has {1} bytes, more than {FIELD_TEXT_MAX}")]
    FieldText(String, usize),
    #[error("the field {0} is not a finite number")]
    FieldNumber(String),
}

/// An envelope and the text it was written as; both say the same, and both were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Sealed {
    envelope: Envelope,
    text: String,
    signature: Option<String>,
}

impl Sealed {
    /// Writes an envelope of our own.
    pub fn seal(envelope: Envelope) -> Result<Self, Malformed> {
        check(&envelope)?;
        let text =
            serde_json::to_string(&envelope).map_err(|error| Malformed::Unreadable(error.to_string()))?;
        if text.len() > ENVELOPE_MAX {
            Err(Malformed::TooLarge(text.len()))
        } else {
            Ok(Self { envelope, text, signature: None })
        }
    }

    /// The same, signed by its origin, or with the signature that came with it.
    pub fn with_signature(self, signature: Option<String>) -> Self {
        Self { signature, ..self }
    }

    /// Reads what came from a peer or from the store. Fields that this version does not know stay in the text.
    pub fn open(text: String) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u64,
        }
        if text.len() > ENVELOPE_MAX {
            return Err(Malformed::TooLarge(text.len()));
        }
        let unreadable = |error: serde_json::Error| Malformed::Unreadable(error.to_string());
        // First, because another version's envelope may look quite different.
        let Versioned { v } = serde_json::from_str(&text).map_err(unreadable)?;
        if v != u64::from(VERSION) {
            return Err(Malformed::Version(v));
        }
        let envelope = serde_json::from_str(&text).map_err(unreadable)?;
        check(&envelope)?;
        Ok(Self { envelope, text, signature: None })
    }

    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }
}

fn check(envelope: &Envelope) -> Result<(), Malformed> {
    let life = envelope.until.since(envelope.at);
    let subject = envelope.subject.as_ref().map_or(0, |subject| subject.chars().count());
    if envelope.v != VERSION {
        return Err(Malformed::Version(envelope.v.into()));
    }
    if life.is_zero() || life > LIFE_MAX {
        return Err(Malformed::Life);
    }
    if envelope.depth > DEPTH_MAX {
        return Err(Malformed::Depth(envelope.depth));
    }
    if !(1..=KEY_MAX).contains(&envelope.key.len()) {
        return Err(Malformed::Key(envelope.key.len()));
    }
    if subject > SUBJECT_MAX {
        return Err(Malformed::Subject(subject));
    }
    if envelope.fields.len() > FIELDS_MAX {
        return Err(Malformed::Fields(envelope.fields.len()));
    }
    envelope.fields.iter().try_for_each(|(name, value)| check_field(name, value))
}

fn check_field(name: &str, value: &Value) -> Result<(), Malformed> {
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.';
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !starts || name.len() > FIELD_NAME_MAX || !name.bytes().all(rest) {
        return Err(Malformed::FieldName(name.to_owned()));
    }
    match value {
        Value::Text(text) if text.len() > FIELD_TEXT_MAX => {
            Err(Malformed::FieldText(name.to_owned(), text.len()))
        }
        Value::Number(number) if !number.is_finite() => Err(Malformed::FieldNumber(name.to_owned())),
        _ => Ok(()),
    }
}

/// Times as milliseconds since 1970: order within a second matters here.
pub(super) mod millis {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    /// 9999-12-31: times beyond it cannot be written in words.
    const LATEST: i64 = 253_402_300_799_999;

    pub fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(at.millis())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let millis = i64::deserialize(deserializer)?;
        if (0..=LATEST).contains(&millis) {
            Ok(Timestamp::from_millis(millis))
        } else {
            Err(serde::de::Error::custom(format!("{millis} is not a time in milliseconds since 1970")))
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn envelope(origin: &str, cause: &str) -> Envelope {
        let origin = BotName::new(origin).unwrap();
        Envelope {
            v: VERSION,
            id: EnvelopeId::of(&origin, cause, 0),
            topic: Topic::new("alerts/disk").unwrap(),
            kind: Kind::Event,
            scope: Scope::Fleet,
            to: None,
            at: Timestamp::from_seconds(1_800_000_000),
            until: Timestamp::from_seconds(1_800_003_600),
            cause: None,
            depth: 0,
            key: "disk".to_owned(),
            subject: Some("/ is 91 % full".to_owned()),
            fields: BTreeMap::from([
                ("path".to_owned(), Value::Text("/".to_owned())),
                ("used_percent".to_owned(), Value::Number(91.5)),
                ("urgent".to_owned(), Value::Bool(true)),
            ]),
        }
    }

    #[test]
    fn its_life_is_read_without_the_rest() {
        let envelope = envelope("laptop", "x");
        let sealed = Sealed::seal(envelope.clone()).unwrap();
        assert_eq!(Life::of(sealed.text()), Life { at: envelope.at, until: envelope.until });
        let over = Timestamp::from_millis(0);
        for text in ["", "{}", "no envelope", r#"{"at":1,"until":-1}"#] {
            assert_eq!(Life::of(text), Life { at: over, until: over }, "{text}");
        }
    }

    #[test]
    fn what_is_sealed_is_opened_unchanged() {
        let sealed = Sealed::seal(envelope("hub", "a")).unwrap();
        assert_eq!(Sealed::open(sealed.text().to_owned()), Ok(sealed));
    }

    #[test]
    fn every_unicode_text_survives() {
        let odd: String =
            ('\0'..='\u{ff}').chain(['\u{fffe}', '\u{ffff}', '\u{10ffff}', '"', '\\']).collect();
        let mut envelope = envelope("hub", "a");
        envelope.fields.insert("odd".to_owned(), Value::Text(odd));
        let sealed = Sealed::seal(envelope).unwrap();
        assert_eq!(Sealed::open(sealed.text().to_owned()), Ok(sealed));
    }

    #[test]
    fn unknown_fields_travel_on() {
        let text = Sealed::seal(envelope("hub", "a")).unwrap().text().replacen("{", "{\"mood\":[1,{}],", 1);
        assert_eq!(Sealed::open(text.clone()).unwrap().text(), text);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = |change: &dyn Fn(&mut Envelope)| {
            let mut envelope = envelope("hub", "a");
            change(&mut envelope);
            Sealed::seal(envelope).unwrap_err()
        };
        let long = "x".repeat(9_000);
        assert_eq!(wrong(&|e| e.v = 2), Malformed::Version(2));
        assert_eq!(wrong(&|e| e.until = e.at), Malformed::Life);
        assert_eq!(wrong(&|e| e.until = e.at.plus(LIFE_MAX + Duration::from_millis(1))), Malformed::Life);
        assert_eq!(wrong(&|e| e.depth = 5), Malformed::Depth(5));
        assert_eq!(wrong(&|e| e.key.clear()), Malformed::Key(0));
        assert_eq!(wrong(&|e| e.subject = Some(long.clone())), Malformed::Subject(9_000));
        let field =
            |name: &str, value: Value| wrong(&|e| drop(e.fields.insert(name.to_owned(), value.clone())));
        assert_eq!(field("Path", Value::Bool(true)), Malformed::FieldName("Path".to_owned()));
        assert_eq!(field("a", Value::Text(long.clone())), Malformed::FieldText("a".to_owned(), 9_000));
        assert_eq!(field("a", Value::Number(f64::NAN)), Malformed::FieldNumber("a".to_owned()));
        let many = (0..65).map(|n| (format!("f{n}"), Value::Bool(true)));
        assert_eq!(wrong(&|e| e.fields = many.clone().collect()), Malformed::Fields(65));
        let large = ["a", "b", "c"].map(|name| (name.to_owned(), Value::Text("x".repeat(7_000))));
        assert!(matches!(wrong(&|e| e.fields = large.clone().into()), Malformed::TooLarge(_)));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_place() {
        let text = Sealed::seal(envelope("hub", "a")).unwrap().text().to_owned();
        let open = |text: String| Sealed::open(text).unwrap_err().to_string();
        assert_eq!(open(text.replace("\"v\":1", "\"v\":7")), Malformed::Version(7).to_string());
        assert!(open(text.replace("alerts/disk", "Alerts")).contains("\"Alerts\" is not a topic"));
        assert!(open(text.replace("hub/", "h.b/")).contains("is not the id of an envelope"));
        assert!(open(text.replace("1800000000000", "-1")).contains("is not a time in milliseconds"));
        assert!(open(text[..40].to_owned()).starts_with("not an envelope: "));
        assert!(open("[]".to_owned()).starts_with("not an envelope: "));
        assert!(matches!(Sealed::open("x".repeat(ENVELOPE_MAX + 1)), Err(Malformed::TooLarge(_))));
    }
}
