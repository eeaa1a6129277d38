//! [`Sight`]: what a source saw, before it is an envelope.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::relay::envelope::{FIELD_TEXT_MAX, FIELDS_MAX, Value};
use crate::relay::name::Topic;
use crate::relay::rules::file::is_new_field;

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// What makes it this one: seen again for the same reason, it is the same envelope.
    pub because: String,
    pub at: Timestamp,
    /// Of a source that chooses its topics itself.
    pub topic: Option<Topic>,
    pub subject: Option<String>,
    pub fields: Fields,
}

impl Sight {
    /// Of a source that looks now and then: one for each time.
    pub fn of_tick(at: Timestamp, fields: Fields) -> Self {
        Self { because: at.millis().to_string(), at, topic: None, subject: None, fields }
    }
}

/// What was seen, and what the source has to remember once it is published.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub sights: Vec<Sight>,
    pub memory: Option<String>,
}

impl Seen {
    pub fn one(sight: Sight) -> Self {
        Self { sights: vec![sight], memory: None }
    }
}

/// What an envelope says; what does not fit into one is cut or left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields(pub BTreeMap<String, Value>);

impl Fields {
    pub fn number(mut self, name: &str, number: f64) -> Self {
        // Two decimals tell enough, and read well: 91.53 % full.
        self.put(name, Value::Number((number * 100.0).round() / 100.0));
        self
    }

    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.put(name, Value::Text(cut(text).to_owned()));
        self
    }

    pub fn switch(mut self, name: &str, switch: bool) -> Self {
        self.put(name, Value::Bool(switch));
        self
    }

    /// `false`: it fits in no more, or cannot be called so.
    pub fn put(&mut self, name: &str, value: Value) -> bool {
        let fits = is_new_field(name) && (self.0.len() < FIELDS_MAX || self.0.contains_key(name));
        if fits {
            self.0.insert(name.to_owned(), value);
        }
        fits
    }
}

/// As much of a text as a field holds, whole characters.
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(FIELD_TEXT_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out() {
        let long = "ü".repeat(FIELD_TEXT_MAX);
        let mut fields = Fields::default().text("long", &long).number("x", 91.534_999).switch("topic", true);
        assert_eq!(fields.0["x"], Value::Number(91.53));
        assert!(matches!(&fields.0["long"], Value::Text(text) if text.len() == FIELD_TEXT_MAX));
        assert!(!fields.0.contains_key("topic") && !fields.put("Bad", Value::Bool(true)));
        assert_eq!(
            (0..FIELDS_MAX).filter(|n| fields.put(&format!("f{n}"), Value::Bool(true))).count(),
            FIELDS_MAX - 2
        );
    }
}
