//! [`Condition`]: when a rule holds, read from a line such as
//! `topic equals host/disk and mine is true and used_percent > 90`.
//!
//! `not` binds tightest, then `and`, then `or`. Whatever cannot be read is an error with its place: nothing is
//! false because it was misspelt.

use regex_lite::{Regex, RegexBuilder};

use crate::relay::envelope::Value;

/// Deeper parentheses were not written by a person.
const DEPTH_MAX: usize = 32;

/// Compiled, in bytes: patterns run on every envelope.
const REGEX_MAX: usize = 64 * 1024;

/// Where a condition looks names up.
pub trait Facts {
    fn fact(&self, name: &str) -> Option<Value>;
}

#[derive(Clone, Debug)]
pub enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Equals(String, Value),
    Matches(String, Regex),
    Contains(String),
    Is(String, bool),
    Compare(Operand, Order, Operand),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Field(String),
    Number(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What is wrong with a condition, and where: in characters from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    pub at: usize,
    pub what: String,
}

impl Condition {
    pub fn parse(text: &str) -> Result<Self, Misread> {
        let mut reader = Reader { text, at: 0, depth: 0 };
        let condition = reader.any()?;
        match reader.word() {
            None => Ok(condition),
            Some(word) => {
                Err(reader.misread(word.at, &format!("I expect and, or, or the end, found {:?}", word.text)))
            }
        }
    }

    pub fn holds(&self, facts: &impl Facts) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(facts)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(facts)),
            Self::Not(part) => !part.holds(facts),
            Self::Equals(field, value) => facts.fact(field).is_some_and(|found| equal(&found, value)),
            Self::Matches(field, regex) => {
                facts.fact(field).is_some_and(|found| regex.is_match(&text_of(&found)))
            }
            Self::Contains(field) => facts.fact(field).is_some(),
            Self::Is(field, wanted) => facts.fact(field).as_ref().is_some_and(truth) == *wanted,
            Self::Compare(left, order, right) => {
                let (left, right) = (left.number(facts), right.number(facts));
                left.zip(right).is_some_and(|(left, right)| order.holds(left, right))
            }
        }
    }

    /// The fields that it looks at.
    pub fn fields(&self) -> Vec<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::fields).collect(),
            Self::Not(part) => part.fields(),
            Self::Equals(field, _) | Self::Matches(field, _) | Self::Contains(field) | Self::Is(field, _) => {
                vec![field]
            }
            Self::Compare(left, _, right) => [left, right].into_iter().filter_map(Operand::field).collect(),
        }
    }
}

impl Operand {
    fn number(&self, facts: &impl Facts) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Field(field) => facts.fact(field).as_ref().and_then(number_of),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Field(field) => Some(field),
            Self::Number(_) => None,
        }
    }
}

impl Order {
    fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

/// As text, for people and for patterns.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::Text(value) => value.clone(),
    }
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Bool(_) => None,
    }
}

/// A number compares as a number, whichever side is a text.
fn equal(found: &Value, wanted: &Value) -> bool {
    match (number_of(found), number_of(wanted)) {
        (Some(found), Some(wanted)) => found == wanted,
        _ => text_of(found) == text_of(wanted),
    }
}

fn truth(value: &Value) -> bool {
    match value {
        Value::Bool(value) => *value,
        Value::Number(number) => *number != 0.0,
        Value::Text(text) => !matches!(text.as_str(), "" | "0" | "false"),
    }
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    depth: usize,
}

struct Word<'a> {
    at: usize,
    text: &'a str,
}

impl Word<'_> {
    fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }

    fn is_loud(&self) -> bool {
        self.text.bytes().all(|byte| byte.is_ascii_uppercase())
    }
}

impl<'a> Reader<'a> {
    fn misread(&self, at: usize, what: &str) -> Misread {
        Misread { at: self.text[..at].chars().count(), what: what.to_owned() }
    }

    fn skip_blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// The next word, or one of `( ) < <= > >=`.
    fn peek(&mut self) -> Option<Word<'a>> {
        self.skip_blanks();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let length = match first {
            '(' | ')' => 1,
            '<' | '>' => 1 + usize::from(rest[1..].starts_with('=')),
            _ => rest.find(|c: char| c.is_whitespace() || "()<>".contains(c)).unwrap_or(rest.len()),
        };
        Some(Word { at: self.at, text: &rest[..length] })
    }

    fn word(&mut self) -> Option<Word<'a>> {
        let word = self.peek()?;
        self.at = word.at + word.text.len();
        Some(word)
    }

    fn any(&mut self) -> Result<Condition, Misread> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.misread(self.at, "parentheses are too deep"));
        }
        let (mut parts, mut loud_and, mut ors, mut loud_or) = (Vec::new(), false, 0, None);
        loop {
            let (part, loud) = self.all()?;
            parts.push(part);
            loud_and |= loud == Some(true);
            let has_and = loud.is_some();
            let next = self.peek().filter(|word| word.is("or"));
            if let Some(word) = &next {
                (ors, loud_or) = (ors + 1, loud_or.or(word.is_loud().then_some(word.at)));
            }
            let mixed = ors > 0 && (has_and || parts.iter().any(|part| matches!(part, Condition::All(_))));
            if mixed && (loud_and || loud_or.is_some()) {
                let what = "AND and OR together: `and` binds tighter here; write parentheses, or both in small letters";
                return Err(self.misread(loud_or.unwrap_or(self.at), what));
            }
            if next.is_none() {
                self.depth -= 1;
                return Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) });
            }
            self.word();
        }
    }

    /// With whether there was an `and`, and whether it was written large.
    fn all(&mut self) -> Result<(Condition, Option<bool>), Misread> {
        let (mut parts, mut loud) = (vec![self.not()?], None);
        while let Some(word) = self.peek().filter(|word| word.is("and")) {
            loud = Some(loud == Some(true) || word.is_loud());
            self.word();
            parts.push(self.not()?);
        }
        Ok((if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) }, loud))
    }

    fn not(&mut self) -> Result<Condition, Misread> {
        let mut negations = 0;
        while self.peek().is_some_and(|word| word.is("not")) {
            self.word();
            negations += 1;
        }
        let mut condition = if self.peek().is_some_and(|word| word.text == "(") {
            self.word();
            let inner = self.any()?;
            match self.word() {
                Some(word) if word.text == ")" => inner,
                Some(word) => {
                    return Err(self.misread(word.at, &format!("I expect ), found {:?}", word.text)));
                }
                None => return Err(self.misread(self.text.len(), "a ) is missing")),
            }
        } else {
            self.test()?
        };
        for _ in 0..negations {
            condition = Condition::Not(Box::new(condition));
        }
        Ok(condition)
    }

    fn test(&mut self) -> Result<Condition, Misread> {
        let Some(first) = self.word() else {
            return Err(self.misread(
                self.text.len(),
                "I expect a test such as `topic equals alerts/disk`, found the end",
            ));
        };
        if first.is("contains") {
            return Ok(Condition::Contains(self.field("contains")?));
        }
        let Some(verb) = self.word() else {
            let what = format!(
                "after {:?} I expect equals, matches, imatches, is, <, <=, > or >=, found the end",
                first.text
            );
            return Err(self.misread(self.text.len(), &what));
        };
        let order = match verb.text {
            "<" => Some(Order::Less),
            "<=" => Some(Order::AtMost),
            ">" => Some(Order::More),
            ">=" => Some(Order::AtLeast),
            _ => None,
        };
        if let Some(order) = order {
            let left = self.operand(&first)?;
            let Some(second) = self.word() else {
                return Err(self.misread(
                    self.text.len(),
                    &format!("after {:?} I expect a field or a number", verb.text),
                ));
            };
            return Ok(Condition::Compare(left, order, self.operand(&second)?));
        }
        let field = self.name(&first)?;
        if verb.is("equals") {
            let (at, value) = self.value("equals")?;
            if value.is_empty() && !self.text[at..].starts_with('"') {
                return Err(self.misread(at, "after \"equals\" I expect a value"));
            }
            return Ok(Condition::Equals(field, Value::Text(value)));
        }
        if verb.is("matches") || verb.is("imatches") {
            let (at, pattern) = self.value(verb.text)?;
            let regex = RegexBuilder::new(&pattern)
                .case_insensitive(verb.is("imatches"))
                .size_limit(REGEX_MAX)
                .build()
                .map_err(|why| self.misread(at, &format!("{pattern:?} is no pattern: {why}")))?;
            return Ok(Condition::Matches(field, regex));
        }
        if verb.is("is") {
            let word = self.word();
            return match &word {
                Some(word) if word.is("true") => Ok(Condition::Is(field, true)),
                Some(word) if word.is("false") => Ok(Condition::Is(field, false)),
                _ => {
                    let (at, found) = word.map_or((self.text.len(), "the end".to_owned()), |word| {
                        (word.at, format!("{:?}", word.text))
                    });
                    Err(self.misread(at, &format!("after \"is\" I expect true or false, found {found}")))
                }
            };
        }
        let what = format!(
            "after {:?} I expect equals, matches, imatches, is, <, <=, > or >=, found {:?}",
            first.text, verb.text
        );
        Err(self.misread(verb.at, &what))
    }

    fn field(&mut self, after: &str) -> Result<String, Misread> {
        match self.word() {
            Some(word) => self.name(&word),
            None => Err(self.misread(self.text.len(), &format!("after {after:?} I expect a field"))),
        }
    }

    fn name(&self, word: &Word<'_>) -> Result<String, Misread> {
        if is_field(word.text) {
            Ok(word.text.to_owned())
        } else {
            Err(self.misread(word.at, &format!("I expect a field: a-z, 0-9, _ and ., found {:?}", word.text)))
        }
    }

    fn operand(&self, word: &Word<'_>) -> Result<Operand, Misread> {
        match word.text.parse::<f64>() {
            Ok(number) if number.is_finite() && !is_field(word.text) => Ok(Operand::Number(number)),
            _ => self.name(word).map(Operand::Field),
        }
    }

    /// A word without blanks, or a text in quotes. A closing parenthesis ends a word, unless it was opened in
    /// it.
    fn value(&mut self, after: &str) -> Result<(usize, String), Misread> {
        self.skip_blanks();
        let (start, rest) = (self.at, &self.text[self.at..]);
        if let Some(quoted) = rest.strip_prefix('"') {
            let Some(end) = quoted.find('"') else { return Err(self.misread(start, "a \" is missing")) };
            self.at += end + 2;
            return Ok((start, quoted[..end].to_owned()));
        }
        let mut open = 0;
        let ends = |c: char| {
            open += i32::from(c == '(') - i32::from(c == ')');
            c.is_whitespace() || open < 0
        };
        let length = rest.find(ends).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.misread(start, &format!("after {after:?} I expect a value")));
        }
        self.at += length;
        Ok((start, rest[..length].to_owned()))
    }
}

/// Whether it may be the name of a field, or of something that every envelope has.
pub fn is_field(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.';
    text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Facts for BTreeMap<&str, Value> {
        fn fact(&self, name: &str) -> Option<Value> {
            self.get(name).cloned()
        }
    }

    fn holds(condition: &str) -> bool {
        let text = |text: &str| Value::Text(text.to_owned());
        let facts = BTreeMap::from([
            ("topic", text("host/disk")),
            ("used", Value::Number(91.5)),
            ("zero", Value::Number(0.0)),
            ("digits", text("7")),
            ("mine", Value::Bool(true)),
            ("no", text("false")),
            ("subject", text("Disk is (nearly) full")),
        ]);
        Condition::parse(condition).unwrap_or_else(|why| panic!("{condition}: {why:?}")).holds(&facts)
    }

    #[test]
    fn tests_say_what_they_mean() {
        for (condition, expected) in [
            ("topic equals host/disk", true),
            ("topic EQUALS \"host/disk\"", true),
            ("zero equals 0", true),
            ("digits equals 7.0", true),
            ("used > 90", true),
            ("used>91.5", false),
            ("used >= 91.5 and digits < used", true),
            ("-1 <= zero", true),
            ("missing < 5", false),
            ("missing equals x", false),
            ("missing matches .*", false),
            ("missing is true", false),
            ("missing is false", true),
            ("zero is true", false),
            ("no is true", false),
            ("mine is true", true),
            ("contains no", true),
            ("contains missing", false),
            ("topic matches ^host/", true),
            ("topic matches ^HOST/", false),
            ("topic imatches ^HOST/", true),
            ("(topic matches ^(alerts|host)/)", true),
            ("subject matches \"\\(nearly\\) full$\"", true),
        ] {
            assert_eq!(holds(condition), expected, "{condition}");
        }
    }

    #[test]
    fn not_binds_tighter_than_and_and_that_tighter_than_or() {
        let truth = |bit: u8| if bit == 1 { "mine is true" } else { "mine is false" };
        for bits in 0..8_u8 {
            let (a, b, c) = (bits & 1, bits >> 1 & 1, bits >> 2 & 1);
            let [x, y, z] = [a, b, c].map(truth);
            let [a, b, c] = [a == 1, b == 1, c == 1];
            assert_eq!(holds(&format!("{x} and {y} or {z}")), a && b || c);
            assert_eq!(holds(&format!("{x} or {y} and {z}")), a || b && c);
            assert_eq!(holds(&format!("not {x} and {y} or not not {z}")), !a && b || c);
            assert_eq!(holds(&format!("not ({x} or {y}) and {z}")), !(a || b) && c);
            assert_eq!(holds(&format!("{x} AND ({y} OR {z})")), a && (b || c));
        }
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place() {
        for (condition, at, what) in [
            ("", 0, "found the end"),
            ("mine is maybe", 8, "after \"is\" I expect true or false, found \"maybe\""),
            ("mine is", 7, "found the end"),
            ("topic equal x", 6, "I expect equals, matches, imatches, is, <, <=, > or >=, found \"equal\""),
            ("Topic equals x", 0, "I expect a field"),
            ("topic equals", 12, "after \"equals\" I expect a value"),
            ("topic matches [", 14, "is no pattern"),
            ("(mine is true", 13, "a ) is missing"),
            ("mine is true)", 12, "I expect and, or, or the end, found \")\""),
            ("mine is true mine is true", 13, "I expect and, or, or the end"),
            ("used >", 6, "I expect a field or a number"),
            ("mine is true AND mine is true OR mine is true", 30, "write parentheses"),
            ("mine is true OR mine is true AND mine is true", 13, "write parentheses"),
        ] {
            let why = Condition::parse(condition).unwrap_err();
            assert_eq!(why.at, at, "{condition}: {why:?}");
            assert!(why.what.contains(what), "{condition}: {why:?}");
        }
        assert!(Condition::parse(&"(".repeat(100)).is_err());
    }
}
