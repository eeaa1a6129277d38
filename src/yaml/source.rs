//! YAML with places: every value knows where it stands.
//!
//! What our files do not need is refused rather than understood: aliases and anchors (a few lines of them
//! can describe a file of any size), tags, several documents, keys that are no texts, keys given twice.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Map, Number, Value};

use crate::yaml::fault::{Faults, Place};

/// A file larger than this was not written by a person.
pub const FILE_MAX: usize = 1_024 * 1_024;

/// How deep lists and mappings may be: a node is three levels at most, and a tree has 64.
const DEPTH_MAX: usize = 256;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    pub at: Place,
    pub content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Anything but lists and mappings.
    Scalar(Value),
    List(Vec<Located>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub at: Place,
    pub name: String,
    pub value: Located,
}

impl Located {
    /// Reads one document.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        if text.len() > FILE_MAX {
            return Err(Faults::one(Place::default(), format!("the file has more than {FILE_MAX} bytes")));
        }
        let mut reader = Reader { parser: Parser::new_from_str(text) };
        reader.document()
    }

    /// A value that stands nowhere.
    pub fn of(value: &Value) -> Self {
        let content = match value {
            Value::Array(elements) => Content::List(elements.iter().map(Self::of).collect()),
            Value::Object(fields) => Content::Map(
                fields
                    .iter()
                    .map(|(name, value)| Entry {
                        at: Place::default(),
                        name: name.clone(),
                        value: Self::of(value),
                    })
                    .collect(),
            ),
            scalar => Content::Scalar(scalar.clone()),
        };
        Self { at: Place::default(), content }
    }

    /// The value without its places.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(elements) => Value::Array(elements.iter().map(Self::value).collect()),
            Content::Map(entries) => {
                let fields = entries.iter().map(|entry| (entry.name.clone(), entry.value.value()));
                Value::Object(fields.collect::<Map<_, _>>())
            }
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Located]> {
        match &self.content {
            Content::List(elements) => Some(elements),
            _ => None,
        }
    }

    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.content {
            Content::Map(entries) => Some(entries),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        self.content == Content::Scalar(Value::Null)
    }

    /// What kind of value it is, for people.
    pub fn kind(&self) -> &'static str {
        match &self.content {
            Content::Scalar(value) => kind_of(value),
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        }
    }
}

/// What kind of value it is, for people.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), Faults> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, place(span))),
            Some(Err(error)) => {
                let at = Place { line: error.marker().line(), column: error.marker().col() + 1 };
                let hint = match error.info().contains("mapping values") {
                    true => "; a text with a colon needs quotes",
                    false => "",
                };
                Err(Faults::one(at, format!("this is no YAML: {}{hint}", error.info())))
            }
            None => Ok((Event::StreamEnd, Place::default())),
        }
    }

    fn document(&mut self) -> Result<Located, Faults> {
        let mut found = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(_) if found.is_some() => {
                    return Err(Faults::one(at, "one file holds one document"));
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
                event => found = Some(self.value(event, at, 0)?),
            }
        }
        found.ok_or_else(|| Faults::one(Place { line: 1, column: 1 }, "the file is empty"))
    }

    fn value(&mut self, event: Event<'a>, at: Place, depth: usize) -> Result<Located, Faults> {
        if depth > DEPTH_MAX {
            return Err(Faults::one(at, format!("lists and mappings are deeper than {DEPTH_MAX}")));
        }
        let content = match event {
            Event::Alias(_) => return Err(Faults::one(at, "aliases are not allowed")),
            Event::Scalar(_, _, anchor, _)
            | Event::SequenceStart(anchor, _)
            | Event::MappingStart(anchor, _)
                if anchor > 0 =>
            {
                return Err(Faults::one(at, "anchors are not allowed"));
            }
            Event::Scalar(_, _, _, Some(tag))
            | Event::SequenceStart(_, Some(tag))
            | Event::MappingStart(_, Some(tag)) => {
                return Err(Faults::one(at, format!("tags as {tag} are not allowed")));
            }
            Event::Scalar(text, style, ..) => Content::Scalar(match style {
                ScalarStyle::Plain => plain(&text),
                _ => Value::String(text.into_owned()),
            }),
            Event::SequenceStart(..) => Content::List(self.list(depth)?),
            Event::MappingStart(..) => Content::Map(self.map(depth)?),
            _ => return Err(Faults::one(at, "this is no YAML: a value is missing")),
        };
        Ok(Located { at, content })
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Located>, Faults> {
        let mut elements = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(elements),
                (event, at) => elements.push(self.value(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, Faults> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(text, _, 0, None) => text.into_owned(),
                Event::MappingStart(..) => {
                    let hint = "a key is a text; a template in a mapping of one line needs quotes: \"{{x}}\"";
                    return Err(Faults::one(at, hint));
                }
                Event::Alias(_) => return Err(Faults::one(at, "aliases are not allowed")),
                _ => return Err(Faults::one(at, "a key is a text without anchor and tag")),
            };
            if entries.iter().any(|entry| entry.name == name) {
                return Err(Faults::one(at, format!("`{name}` is given twice")));
            }
            let (event, value_at) = self.next()?;
            let value = self.value(event, value_at, depth + 1)?;
            entries.push(Entry { at, name, value });
        }
    }
}

fn place(span: Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

/// A scalar without quotes, by the rules of YAML 1.2: only `true` and `false` are booleans.
pub fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(Number::from);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.strip_prefix('+').unwrap_or(text).parse::<i64>().ok().map(Number::from);
    }
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let parsed = is_decimal.then(|| text.parse::<f64>().ok()).flatten();
    parsed.and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_know_their_types_and_places() {
        let found = Located::parse("a: [1, 1.5, yes, true, \"5\", ~]\nb:\n  c: 1s..5s\n  d: k0-0\n").unwrap();
        let expected = json!({"a": [1, 1.5, "yes", true, "5", null], "b": {"c": "1s..5s", "d": "k0-0"}});
        assert_eq!(found.value(), expected);
        let inner = &found.entries().unwrap()[1].value.entries().unwrap()[1];
        assert_eq!((inner.at, inner.value.at), (Place { line: 4, column: 3 }, Place { line: 4, column: 6 }));
    }

    #[test]
    fn what_our_files_do_not_need_is_refused() {
        for (text, line, what) in [
            ("a: &x 1\nb: *x", 1, "anchors"),
            ("b: *x", 1, ""),
            ("a: !!str 5", 1, "tags"),
            ("a: 1\n---\nb: 1", 2, "one document"),
            ("a: 1\nb: 2\na: 3", 3, "`a` is given twice"),
            ("a: {name: {{user}}}", 1, "needs quotes"),
            ("", 1, "empty"),
            ("a: [1", 1, "no YAML"),
        ] {
            let faults = Located::parse(text).unwrap_err();
            let told = faults.to_string();
            assert!(told.contains(what), "{text}: {told}");
            assert!(faults.sorted()[0].at.line >= line, "{text}: {told}");
        }
        assert!(Located::parse(&"[".repeat(100_000)).is_err());
        assert!(Located::parse(&" ".repeat(FILE_MAX + 1)).is_err());
    }
}
