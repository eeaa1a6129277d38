//! [`Template`]: a text with `{field}` in it. There are no expressions.

use crate::relay::rules::condition::{Facts, is_field, text_of};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

impl Template {
    /// A brace that stands for itself is written twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            let after = &rest[at + 1..];
            if let Some(after) = after.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            let field = if brace == "{" { after.split_once('}') } else { None };
            let Some((field, after)) = field else {
                return Err(format!(
                    "a {brace} stands alone in {text:?}; one that means itself is written twice"
                ));
            };
            if !is_field(field) {
                return Err(format!("{{{field}}} is no field: a-z, 0-9, _ and . between the braces"));
            }
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Field(field.to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }

    /// A field that is not there is an empty text.
    pub fn fill(&self, facts: &impl Facts) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => facts.fact(field).as_ref().map(text_of).unwrap_or_default(),
        };
        self.0.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::relay::envelope::Value;

    #[test]
    fn fields_are_filled_in() {
        let facts = BTreeMap::from([("a", Value::Number(91.0)), ("b.c", Value::Text("{a}".to_owned()))]);
        let fill = |text: &str| Template::parse(text).map(|template| template.fill(&facts));
        assert_eq!(fill("{a} % of {b.c}, {{a}} {none}."), Ok("91 % of {a}, {a} .".to_owned()));
        assert_eq!(fill(""), Ok(String::new()));
        for bad in ["{a", "a}", "{A}", "{}", "{a b}"] {
            assert!(fill(bad).is_err(), "{bad}");
        }
    }
}
