//! Templates: `{{..}}` in the texts of a tree, read when the tree is loaded and evaluated at every visit.
//!
//! A text that is one template keeps the type of its value. A name without a value ends the evaluation, unless
//! it has a default: nothing becomes an empty text by accident.

use rand::distr::{Alphanumeric, SampleString};
use rand::{Rng, RngCore};
use serde_json::{Map, Value};

/// What a template may become, in bytes.
pub const RESULT_MAX: usize = 4_096;

/// How long a random text may be.
const RANDOM_TEXT_MAX: u64 = 2_000;

/// What the templates of one soldier see.
pub trait Scope {
    /// The value of a name: `["bot", "id"]`, `["reply", "text"]`, `["config", "x"]`, `["shared", "x"]`, or a
    /// bare `["key"]` of context, parameters, configuration. The first part decides where to look; [`dig`]
    /// follows the others. `None` if there is none.
    fn value(&self, path: &[String]) -> Option<Value>;
    /// A list of `lists:`.
    fn list(&self, name: &str) -> Option<&[Value]>;
    fn rng(&mut self) -> &mut dyn RngCore;
    /// Milliseconds since 1970.
    fn now(&self) -> i64;
}

/// What is inside a value: fields of mappings, elements of lists by number.
pub fn dig<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, part| match value {
        Value::Array(elements) => elements.get(part.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(part),
        _ => None,
    })
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("`{0}` has no value")]
    Missing(String),
    #[error("{0}")]
    Wrong(String),
    #[error("a template became longer than {RESULT_MAX} bytes")]
    TooLong,
}

/// A value with templates in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    Constant(Value),
    /// One template and nothing else: its value as it is.
    One(Expr),
    /// Pieces, one after the other.
    Text(Vec<Piece>),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Plain(String),
    Expr(Expr),
}

/// What stands between the braces.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub call: Call,
    pub default: Option<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    Value(Operand),
    /// A whole number from this to that, both included; a fraction if one of them is.
    Rand(Operand, Operand),
    /// An element of a list.
    Pick(Vec<String>),
    /// So many random letters and digits.
    Text(Operand),
    /// Milliseconds since 1970.
    Now,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Literal(Value),
    Name(Vec<String>),
}

/// A name that a template reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    pub path: Vec<String>,
    /// Whether it may be missing.
    pub has_default: bool,
    /// Whether it may be one of `lists:`.
    pub is_list: bool,
}

impl Use {
    pub fn name(&self) -> String {
        self.path.join(".")
    }
}

impl Template {
    /// Reads the templates in all texts of a value.
    pub fn parse(value: &Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => parse_text(text)?,
            Value::Array(elements) => {
                Self::folded_list(elements.iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| Ok((name.clone(), Self::parse(value)?)));
                Self::folded_map(fields.collect::<Result<_, String>>()?)
            }
            other => Self::Constant(other.clone()),
        })
    }

    fn folded_list(parts: Vec<Self>) -> Self {
        let constants: Option<Vec<_>> = parts.iter().map(Self::constant).map(|part| part.cloned()).collect();
        constants.map_or(Self::List(parts), |parts| Self::Constant(Value::Array(parts)))
    }

    fn folded_map(parts: Vec<(String, Self)>) -> Self {
        let constants: Option<Map<_, _>> =
            parts.iter().map(|(name, part)| Some((name.clone(), part.constant()?.clone()))).collect();
        constants.map_or(Self::Map(parts), |parts| Self::Constant(Value::Object(parts)))
    }

    /// The value, if it is the same at every visit.
    pub fn constant(&self) -> Option<&Value> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }

    pub fn evaluate(&self, scope: &mut dyn Scope) -> Result<Value, Unfit> {
        Ok(match self {
            Self::Constant(value) => value.clone(),
            Self::One(expr) => {
                let value = expr.evaluate(scope)?;
                if size(&value) > RESULT_MAX {
                    return Err(Unfit::TooLong);
                }
                value
            }
            Self::Text(pieces) => Value::String(join(pieces, scope)?),
            Self::List(parts) => {
                Value::Array(parts.iter().map(|part| part.evaluate(scope)).collect::<Result<_, _>>()?)
            }
            Self::Map(parts) => {
                let parts = parts.iter().map(|(name, part)| Ok((name.clone(), part.evaluate(scope)?)));
                Value::Object(parts.collect::<Result<_, Unfit>>()?)
            }
        })
    }

    /// Whether it draws, or asks for the time.
    pub fn is_random(&self) -> bool {
        let draws = |expr: &Expr| !matches!(expr.call, Call::Value(_));
        match self {
            Self::Constant(_) => false,
            Self::One(expr) => draws(expr),
            Self::Text(pieces) => {
                pieces.iter().any(|piece| matches!(piece, Piece::Expr(expr) if draws(expr)))
            }
            Self::List(parts) => parts.iter().any(Self::is_random),
            Self::Map(parts) => parts.iter().any(|(_, part)| part.is_random()),
        }
    }

    /// All names that it reads.
    pub fn uses(&self) -> Vec<Use> {
        match self {
            Self::Constant(_) => Vec::new(),
            Self::One(expr) => expr.uses(),
            Self::Text(pieces) => pieces
                .iter()
                .flat_map(|piece| match piece {
                    Piece::Plain(_) => Vec::new(),
                    Piece::Expr(expr) => expr.uses(),
                })
                .collect(),
            Self::List(parts) => parts.iter().flat_map(Self::uses).collect(),
            Self::Map(parts) => parts.iter().flat_map(|(_, part)| part.uses()).collect(),
        }
    }
}

/// Roughly how much memory a value takes.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + size(value)).sum(),
        _ => 8,
    }
}

fn join(pieces: &[Piece], scope: &mut dyn Scope) -> Result<String, Unfit> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Plain(plain) => text.push_str(plain),
            Piece::Expr(expr) => text.push_str(&as_text(&expr.evaluate(scope)?)),
        }
        if text.len() > RESULT_MAX {
            return Err(Unfit::TooLong);
        }
    }
    Ok(text)
}

/// A value inside a text.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Expr {
    pub fn evaluate(&self, scope: &mut dyn Scope) -> Result<Value, Unfit> {
        match (self.call.evaluate(scope), &self.default) {
            (Err(Unfit::Missing(_)), Some(default)) => Ok(default.clone()),
            (result, _) => result,
        }
    }

    pub fn uses(&self) -> Vec<Use> {
        let has_default = self.default.is_some();
        let named = |operand: &Operand| match operand {
            Operand::Literal(_) => None,
            Operand::Name(path) => Some(Use { path: path.clone(), has_default, is_list: false }),
        };
        match &self.call {
            Call::Value(operand) | Call::Text(operand) => named(operand).into_iter().collect(),
            Call::Rand(low, high) => [low, high].into_iter().filter_map(named).collect(),
            Call::Pick(path) => vec![Use { path: path.clone(), has_default, is_list: true }],
            Call::Now => Vec::new(),
        }
    }
}

impl Operand {
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, Unfit> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            // What is null is not there: a default takes its place, false and 0 stay.
            Self::Name(path) => {
                let found = scope.value(path).filter(|value| !value.is_null());
                found.ok_or_else(|| Unfit::Missing(path.join(".")))
            }
        }
    }
}

impl Call {
    fn evaluate(&self, scope: &mut dyn Scope) -> Result<Value, Unfit> {
        match self {
            Self::Value(operand) => operand.evaluate(scope),
            Self::Rand(low, high) => {
                let (low, high) = (low.evaluate(scope)?, high.evaluate(scope)?);
                draw(&low, &high, scope.rng())
            }
            Self::Pick(path) => pick(path, scope),
            Self::Text(length) => {
                let length = length.evaluate(scope)?;
                let fits = length.as_u64().filter(|length| *length <= RANDOM_TEXT_MAX);
                let length = fits.ok_or_else(|| {
                    Unfit::Wrong(format!("text takes a number up to {RANDOM_TEXT_MAX}, not {length}"))
                })?;
                Ok(Value::String(Alphanumeric.sample_string(scope.rng(), length as usize)))
            }
            Self::Now => Ok(Value::from(scope.now())),
        }
    }
}

fn draw(low: &Value, high: &Value, rng: &mut dyn RngCore) -> Result<Value, Unfit> {
    if let (Some(low), Some(high)) = (low.as_i64(), high.as_i64())
        && low <= high
    {
        return Ok(Value::from(rng.random_range(low..=high)));
    }
    match (low.as_f64(), high.as_f64()) {
        (Some(low), Some(high)) if low <= high => Ok(Value::from(rng.random_range(low..=high))),
        _ => Err(Unfit::Wrong(format!("rand takes two numbers, the lower one first, not {low} and {high}"))),
    }
}

fn pick(path: &[String], scope: &mut dyn Scope) -> Result<Value, Unfit> {
    let found = match path {
        [name] => scope.list(name).map(|list| list.len()),
        _ => None,
    };
    let none = || Unfit::Wrong(format!("there is nothing in `{}` to pick", path.join(".")));
    if let Some(count) = found {
        if count == 0 {
            return Err(none());
        }
        let place = scope.rng().random_range(0..count);
        return scope.list(&path[0]).map(|list| list[place].clone()).ok_or_else(none);
    }
    match Operand::Name(path.to_vec()).evaluate(scope)? {
        Value::Array(elements) if !elements.is_empty() => {
            let place = scope.rng().random_range(0..elements.len());
            Ok(elements[place].clone())
        }
        _ => Err(none()),
    }
}

fn parse_text(text: &str) -> Result<Template, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once("{{") {
        if !plain.is_empty() {
            pieces.push(Piece::Plain(plain.to_owned()));
        }
        let end = end_of(behind).ok_or_else(|| format!("`{{{{` without `}}}}` in `{text}`"))?;
        pieces.push(Piece::Expr(parse_expr(&behind[..end])?));
        rest = &behind[end + 2..];
    }
    if pieces.is_empty() {
        return Ok(Template::Constant(Value::String(text.to_owned())));
    }
    if !rest.is_empty() {
        pieces.push(Piece::Plain(rest.to_owned()));
    }
    match pieces.as_slice() {
        [Piece::Expr(expr)] => Ok(match expr {
            Expr { call: Call::Value(Operand::Literal(value)), .. } => Template::Constant(value.clone()),
            _ => Template::One(expr.clone()),
        }),
        _ => Ok(Template::Text(pieces)),
    }
}

/// Where the braces close; those in quotes do not.
fn end_of(text: &str) -> Option<usize> {
    let mut quoted = false;
    let bytes = text.as_bytes();
    (0..bytes.len()).find(|at| {
        match bytes[*at] {
            b'"' => quoted = !quoted,
            b'}' if !quoted && bytes.get(at + 1) == Some(&b'}') => return true,
            _ => {}
        }
        false
    })
}

/// What stands between braces: `rand 0 49`, `user`, `config.x | none`.
pub fn parse_expr(text: &str) -> Result<Expr, String> {
    let words = words(text)?;
    let bar = words.iter().position(|word| word == "|");
    let (call, default) = match bar {
        Some(bar) => match &words[bar + 1..] {
            [default] => (&words[..bar], Some(literal(default).unwrap_or_else(|| Value::from(&**default)))),
            _ => return Err(format!("after `|` comes one default in `{}`", text.trim())),
        },
        None => (&words[..], None),
    };
    let call = call.iter().map(String::as_str).collect::<Vec<_>>();
    let call = match call[..] {
        ["rand", low, high] => Call::Rand(operand(low)?, operand(high)?),
        ["pick", list] => Call::Pick(name(list)?),
        ["text", length] => Call::Text(operand(length)?),
        ["now"] => Call::Now,
        [one] => Call::Value(operand(one)?),
        _ => {
            let functions = "rand a b, pick list, text n, now";
            return Err(format!("`{}` is neither a name nor one of: {functions}", text.trim()));
        }
    };
    Ok(Expr { call, default })
}

/// Words between blanks; quoted texts with their quotes; `|` by itself.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' if word.is_empty() => words.push(quoted(&mut chars).ok_or("a quote is not closed")?),
            c if c.is_whitespace() || c == '|' => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                if c == '|' {
                    words.push("|".into());
                }
            }
            c => word.push(c),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// A text up to its closing quote, with both quotes.
fn quoted(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let rest = chars.as_str();
    let end = rest.find('"')?;
    *chars = rest[end + 1..].chars();
    Some(format!("\"{}\"", &rest[..end]))
}

/// A literal or a name.
pub fn operand(word: &str) -> Result<Operand, String> {
    match literal(word) {
        Some(value) => Ok(Operand::Literal(value)),
        None => name(word).map(Operand::Name),
    }
}

/// A quoted text, a number, true, false or null.
fn literal(word: &str) -> Option<Value> {
    if let Some(text) = word.strip_prefix('"').and_then(|word| word.strip_suffix('"')) {
        return Some(Value::from(text));
    }
    match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        "null" => Some(Value::Null),
        _ if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
            let whole = word.parse::<i64>().ok().map(Value::from);
            whole.or_else(|| word.parse::<f64>().ok().map(Value::from))
        }
        _ => None,
    }
}

/// `bot.id`, `user`, `reply.embeds.0.title`.
fn name(word: &str) -> Result<Vec<String>, String> {
    let parts: Vec<_> = word.split('.').map(str::to_owned).collect();
    let is_part = |part: &String| {
        !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
    };
    let starts = parts[0].starts_with(|c: char| c.is_alphabetic() || c == '_');
    if starts && parts.iter().all(is_part) { Ok(parts) } else { Err(format!("`{word}` is no name")) }
}

#[cfg(test)]
mod tests;
