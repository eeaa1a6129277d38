//! Values with places as YAML: what is written is read again as the same.

use std::fmt::Write;

use serde_json::Value;

use crate::yaml::source::{Content, Entry, Located, plain};

/// How long a mapping or list on one line may be.
const LINE_MAX: usize = 100;

/// One document, block by block; short values stand on one line.
pub fn write(value: &Located) -> String {
    let mut text = String::new();
    match &value.content {
        Content::Map(entries) => {
            for entry in entries {
                write_entry(&mut text, entry, 0);
            }
        }
        _ => text.push_str(&inline(value)),
    }
    text
}

fn write_entry(text: &mut String, entry: &Entry, depth: usize) {
    let _ = write!(text, "{}:", scalar(&Value::from(entry.name.clone())));
    write_value(text, &entry.value, depth);
}

/// What stands behind a colon.
fn write_value(text: &mut String, value: &Located, depth: usize) {
    let line = inline(value);
    let indent = "  ".repeat(depth + 1);
    match &value.content {
        Content::List(elements) if line.len() > LINE_MAX => {
            text.push('\n');
            for element in elements {
                let _ = write!(text, "{indent}- ");
                write_element(text, element, depth + 2);
            }
        }
        Content::Map(entries) if line.len() > LINE_MAX => {
            text.push('\n');
            for entry in entries {
                text.push_str(&indent);
                write_entry(text, entry, depth + 1);
            }
        }
        _ => {
            let _ = writeln!(text, " {line}");
        }
    }
}

/// What stands behind a dash; its further lines are indented by `depth`.
fn write_element(text: &mut String, value: &Located, depth: usize) {
    let line = inline(value);
    match &value.content {
        Content::Map(entries) if line.len() > LINE_MAX || entries.len() == 1 => {
            for (place, entry) in entries.iter().enumerate() {
                if place > 0 {
                    text.push_str(&"  ".repeat(depth));
                }
                write_entry(text, entry, depth);
            }
        }
        _ => {
            let _ = writeln!(text, "{line}");
        }
    }
}

fn inline(value: &Located) -> String {
    match &value.content {
        Content::Scalar(value) => scalar(value),
        Content::List(elements) => {
            format!("[{}]", elements.iter().map(inline).collect::<Vec<_>>().join(", "))
        }
        Content::Map(entries) => {
            let entries = entries.iter().map(|entry| {
                format!("{}: {}", scalar(&Value::from(entry.name.clone())), inline(&entry.value))
            });
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Without quotes only where nothing else could be read.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/');
            let is_plain = text.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && text.chars().all(|c| is_word(c) || c == ' ' || c == '-')
                && !text.ends_with(' ')
                && plain(text) == *value;
            // JSON's quotes are YAML's, too.
            if is_plain { text.clone() } else { value.to_string() }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let long = "x".repeat(60);
        for value in [
            json!({"a": 1, "b": [1, 2.5, null, true], "c": {"d": "true", "e": "5", "f": "~", "g": "a: b #c"}}),
            json!({"root": {"sequence": [{"log": long}, {"repeat_n": {"n": 3, "do": {"wait": "1s..5s"}, "x": long}}, "done"]}}),
            json!({"a": {"b": [[long, long], {"k": long, "l": [long, {"m": "\n\"é"}]}]}, "{{x}}": "{{y}}"}),
            json!({"a": "yes", "b": "null", "c": "- x", "d": "", "e": " x ", "f": 0.5, "g": false}),
        ] {
            let text = write(&Located::of(&value));
            let read = Located::parse(&text).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
            assert_eq!(read.value(), value, "{text}");
        }
    }
}
