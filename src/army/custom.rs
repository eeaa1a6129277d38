//! `--custom`: what a run gives its tree, as JSON, YAML mapping, `key=value` pairs, a file, or Elixir literal.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use crate::army::elixir;
use crate::yaml::source::{FILE_MAX, Located, plain};

/// Reads it; `@file` as well.
pub fn read(text: &str) -> Result<Map<String, Value>, String> {
    match text.trim().strip_prefix('@') {
        Some(path) => {
            let path = Path::new(path);
            let told = |error| format!("--custom: {}: {error}", path.display());
            if fs::metadata(path).map_err(told)?.len() > FILE_MAX as u64 {
                return Err(format!("--custom: {} has more than {FILE_MAX} bytes", path.display()));
            }
            parse(&fs::read_to_string(path).map_err(told)?)
        }
        None => parse(text),
    }
}

/// Reads it; what begins with `@` is no file here, because the text may come from elsewhere.
pub fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Map::new());
    }
    if text.starts_with('@') {
        return Err("--custom: a file cannot be named here".into());
    }
    let as_elixir = (text.starts_with('[') || text.starts_with("%{")).then(|| elixir::parse(text));
    let value = match as_elixir {
        Some(Ok(value)) => value,
        // A list of JSON or YAML is none of what is wanted, so Elixir's complaint is the one to tell.
        Some(Err(error)) => return Err(format!("--custom: {error}")),
        None if is_pairs(text) => Value::Object(pairs(text)?),
        None => Located::parse(text).map_err(|faults| format!("--custom: {faults}"))?.value(),
    };
    match value {
        Value::Object(fields) => Ok(fields),
        Value::Array(elements) if elements.is_empty() => Ok(Map::new()),
        other => Err(format!("--custom takes names and values, not {other}")),
    }
}

/// `name=value`, with nothing before the sign that a mapping would have.
fn is_pairs(text: &str) -> bool {
    let name = text.split(['=', ':', '{', '"']).next().unwrap_or_default();
    text[name.len()..].starts_with('=')
}

/// `a=1 b="two words", c=true`.
fn pairs(text: &str) -> Result<Map<String, Value>, String> {
    let mut found = Map::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) =
            rest.split_once('=').ok_or_else(|| format!("--custom: `{rest}` is no name=value"))?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(format!("--custom: `{name}` is no name"));
        }
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => {
                let (value, behind) = quoted.split_once('"').ok_or("--custom: a quote is not closed")?;
                (Value::from(value), behind)
            }
            None => {
                let end = behind.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(behind.len());
                (plain(&behind[..end]), &behind[end..])
            }
        };
        if found.insert(name.to_owned(), value).is_some() {
            return Err(format!("--custom: `{name}` is given twice"));
        }
        rest = behind.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
