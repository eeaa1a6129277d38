//! Checks: comparisons of what a soldier knows, with `== != < <= > >= contains matches`, `and`, `or`, `not` and
//! parentheses, and nothing else.

use regex_lite::Regex;
use serde_json::Value;

use crate::army::spec::template::{Expr, Operand, Scope, Unfit, Use, as_text, operand, parse_expr};

/// How deep parentheses and `not` may go.
const DEPTH_MAX: usize = 32;

/// A comparison, read.
#[derive(Clone, Debug)]
pub struct Check {
    /// As it was written; its name in the metrics.
    text: String,
    term: Term,
}

#[derive(Clone, Debug)]
enum Term {
    Any(Vec<Term>),
    All(Vec<Term>),
    Not(Box<Term>),
    Compare(Side, Comparison, Side),
    Matches(Side, Regex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
}

#[derive(Clone, Debug)]
enum Side {
    Operand(Operand),
    Expr(Expr),
}

impl Check {
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().to_owned();
        let mut reader = Reader { tokens: tokens(&text)?, at: 0 };
        let term = reader.any(0)?;
        match reader.next() {
            None => Ok(Self { term, text }),
            Some(token) => Err(format!("`{token}` is too much in `{text}`")),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn holds(&self, scope: &mut dyn Scope) -> Result<bool, Unfit> {
        self.term.holds(scope)
    }

    /// All names that it reads.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        self.term.collect(&mut uses);
        uses
    }
}

impl Term {
    fn holds(&self, scope: &mut dyn Scope) -> Result<bool, Unfit> {
        match self {
            Self::Any(terms) => {
                for term in terms {
                    if term.holds(scope)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::All(terms) => {
                for term in terms {
                    if !term.holds(scope)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Not(term) => Ok(!term.holds(scope)?),
            Self::Compare(left, comparison, right) => {
                compare(&left.evaluate(scope)?, *comparison, &right.evaluate(scope)?)
            }
            Self::Matches(side, pattern) => Ok(pattern.is_match(&as_text(&side.evaluate(scope)?))),
        }
    }

    fn collect(&self, uses: &mut Vec<Use>) {
        match self {
            Self::Any(terms) | Self::All(terms) => terms.iter().for_each(|term| term.collect(uses)),
            Self::Not(term) => term.collect(uses),
            Self::Compare(left, _, right) => {
                left.collect(uses);
                right.collect(uses);
            }
            Self::Matches(side, _) => side.collect(uses),
        }
    }
}

impl Side {
    fn evaluate(&self, scope: &mut dyn Scope) -> Result<Value, Unfit> {
        match self {
            Self::Operand(operand) => operand.evaluate(scope),
            Self::Expr(expr) => expr.evaluate(scope),
        }
    }

    fn collect(&self, uses: &mut Vec<Use>) {
        match self {
            Self::Operand(Operand::Literal(_)) => {}
            Self::Operand(Operand::Name(path)) => {
                uses.push(Use { path: path.clone(), has_default: false, is_list: false });
            }
            Self::Expr(expr) => uses.extend(expr.uses()),
        }
    }
}

fn compare(left: &Value, comparison: Comparison, right: &Value) -> Result<bool, Unfit> {
    Ok(match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::Unequal => !equal(left, right),
        Comparison::Contains => contains(left, right)?,
        Comparison::Less => order(left, right)?.is_lt(),
        Comparison::LessOrEqual => order(left, right)?.is_le(),
        Comparison::Greater => order(left, right)?.is_gt(),
        Comparison::GreaterOrEqual => order(left, right)?.is_ge(),
    })
}

/// 1 and 1.0 are the same; a text is never a number.
fn equal(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(_), Some(_)) if left.is_i64() && right.is_i64() => left == right,
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

fn order(left: &Value, right: &Value) -> Result<std::cmp::Ordering, Unfit> {
    let wrong = || Unfit::Wrong(format!("{left} and {right} have no order: compare numbers or texts"));
    match (left, right) {
        (Value::Number(_), Value::Number(_)) => left.as_f64().partial_cmp(&right.as_f64()).ok_or_else(wrong),
        (Value::String(left), Value::String(right)) => Ok(left.cmp(right)),
        _ => Err(wrong()),
    }
}

fn contains(whole: &Value, part: &Value) -> Result<bool, Unfit> {
    match whole {
        Value::String(text) => Ok(text.contains(&as_text(part))),
        Value::Array(elements) => Ok(elements.iter().any(|element| equal(element, part))),
        Value::Object(fields) => Ok(fields.contains_key(&as_text(part))),
        _ => Err(Unfit::Wrong(format!("{whole} contains nothing: it is neither text nor list nor mapping"))),
    }
}

struct Reader {
    tokens: Vec<String>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Term, String> {
        let mut terms = vec![self.all(depth)?];
        while self.take("or") {
            terms.push(self.all(depth)?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Term::Any(terms) })
    }

    fn all(&mut self, depth: usize) -> Result<Term, String> {
        let mut terms = vec![self.one(depth)?];
        while self.take("and") {
            terms.push(self.one(depth)?);
        }
        Ok(if terms.len() == 1 { terms.remove(0) } else { Term::All(terms) })
    }

    fn one(&mut self, depth: usize) -> Result<Term, String> {
        if depth > DEPTH_MAX {
            return Err("the comparison is too deep".into());
        }
        if self.take("not") {
            return Ok(Term::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.take("(") {
            let term = self.any(depth + 1)?;
            return if self.take(")") { Ok(term) } else { Err("a parenthesis is not closed".into()) };
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Term, String> {
        let left = self.side()?;
        let comparison = match self.next().as_deref() {
            Some("==") => Comparison::Equal,
            Some("!=") => Comparison::Unequal,
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some(">") => Comparison::Greater,
            Some(">=") => Comparison::GreaterOrEqual,
            Some("contains") => Comparison::Contains,
            Some("matches") => return Ok(Term::Matches(left, self.pattern()?)),
            Some(other) => {
                return Err(format!("`{other}` does not compare: == != < <= > >= contains matches do"));
            }
            None => return Err("there is nothing to compare with: write `x == true`".into()),
        };
        Ok(Term::Compare(left, comparison, self.side()?))
    }

    fn pattern(&mut self) -> Result<Regex, String> {
        match self.side()? {
            Side::Operand(Operand::Literal(Value::String(text))) => {
                Regex::new(&text).map_err(|error| format!("`{text}` is no regular expression: {error}"))
            }
            _ => Err("after `matches` comes a text in quotes".into()),
        }
    }

    fn side(&mut self) -> Result<Side, String> {
        let token = self.next().ok_or("the comparison ends too early")?;
        match token.strip_prefix("{{").and_then(|token| token.strip_suffix("}}")) {
            Some(inside) => parse_expr(inside).map(Side::Expr),
            None => operand(&token).map(Side::Operand),
        }
    }
}

/// Quoted texts, `{{..}}`, signs and words.
fn tokens(text: &str) -> Result<Vec<String>, String> {
    const SIGNS: [&str; 8] = ["==", "!=", "<=", ">=", "<", ">", "(", ")"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            sign.len()
        } else if first == '"' {
            rest[1..].find('"').ok_or("a quote is not closed")? + 2
        } else if rest.starts_with("{{") {
            rest.find("}}").ok_or("`{{` without `}}`")? + 2
        } else {
            rest.find(|c: char| c.is_whitespace() || "=!<>()\"".contains(c)).unwrap_or(rest.len())
        };
        if length == 0 {
            return Err(format!("`{first}` means nothing here"));
        }
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests;
