//! [`Wanted`]: what a message must be like to be the one that is waited for.

use std::time::Duration;

use regex_lite::Regex;
use serde_json::Value;

use crate::army::action::{Args, Stop};
use crate::army::talk::{Heard, is_ephemeral};

/// How long a reply is waited for where the tree says nothing: people give up about then.
pub const USUAL_PATIENCE: Duration = Duration::from_secs(10);

/// Of a message that was seen instead, what is told.
const SHOWN_MAX: usize = 200;

#[derive(Clone, Debug)]
pub struct Wanted {
    pub text: Test,
    pub embed: Option<String>,
    pub from: Option<String>,
    pub channel: Option<String>,
    pub ephemeral: Option<bool>,
    pub within: Duration,
    pub loose: bool,
}

#[derive(Clone, Debug)]
pub enum Test {
    Any,
    Contains(String),
    Equals(String),
    Matches(Regex),
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            text: Test::Any,
            embed: None,
            from: None,
            channel: None,
            ephemeral: None,
            within: USUAL_PATIENCE,
            loose: false,
        }
    }
}

impl Wanted {
    /// What the arguments of `expect` say.
    pub fn of(args: &Args) -> Result<Self, Stop> {
        let text = if let Some(part) = args.maybe_text("contains") {
            Test::Contains(part.to_owned())
        } else if let Some(all) = args.maybe_text("equals") {
            Test::Equals(all.to_owned())
        } else if let Some(pattern) = args.maybe_text("matches") {
            let regex = Regex::new(pattern);
            Test::Matches(regex.map_err(|error| Stop::Error(format!("`{pattern}` is no pattern: {error}")))?)
        } else {
            Test::Any
        };
        let owned = |name| args.maybe_text(name).map(str::to_owned);
        Ok(Self {
            text,
            embed: owned("embed"),
            from: owned("from"),
            channel: owned("in"),
            ephemeral: args.maybe_flag("ephemeral"),
            within: args.maybe_duration("within").unwrap_or(USUAL_PATIENCE),
            loose: args.maybe_flag("loose").unwrap_or(false),
        })
    }

    pub fn contains(text: impl Into<String>) -> Self {
        Self { text: Test::Contains(text.into()), ..Self::default() }
    }

    /// Whether a message says it in the right way; who said it and where is looked at elsewhere.
    pub fn fits(&self, heard: &Heard) -> bool {
        let text = heard.text();
        let said = match &self.text {
            Test::Any => true,
            Test::Contains(part) => text.contains(part),
            Test::Equals(all) => text == all,
            Test::Matches(pattern) => pattern.is_match(text),
        };
        let shown = self.embed.as_deref().is_none_or(|part| in_an_embed(&heard.message, part));
        said && shown && self.ephemeral.is_none_or(|wanted| wanted == is_ephemeral(&heard.message))
    }

    /// What is told where nothing was as wanted.
    pub fn not_seen(&self, last: Option<&Heard>) -> String {
        let within = self.within.as_secs_f64();
        match last {
            None => format!("no reply within {within} s"),
            Some(heard) => {
                format!(
                    "{} not seen within {within} s; seen: {:?}",
                    self.describe(),
                    shortened(&heard.all_text())
                )
            }
        }
    }

    fn describe(&self) -> String {
        let text = match &self.text {
            Test::Any => "what was expected was".to_owned(),
            Test::Contains(part) => format!("a text with {part:?}"),
            Test::Equals(all) => format!("the text {all:?}"),
            Test::Matches(pattern) => format!("a text like /{}/", pattern.as_str()),
        };
        match &self.embed {
            Some(part) => format!("{text}, with {part:?} in an embed,"),
            None => text,
        }
    }
}

pub(super) fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_MAX).collect()
}

fn in_an_embed(message: &Value, part: &str) -> bool {
    let has = |value: &Value| value.as_str().is_some_and(|text| text.contains(part));
    let mut embeds = message["embeds"].as_array().into_iter().flatten();
    embeds.any(|embed| {
        let mut fields = embed["fields"].as_array().into_iter().flatten();
        has(&embed["title"])
            || has(&embed["description"])
            || has(&embed["footer"]["text"])
            || fields.any(|field| has(&field["name"]) || has(&field["value"]))
    })
}
