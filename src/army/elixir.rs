//! Literals of Elixir: keyword lists, maps, atoms, numbers, texts, lists, tuples. No code.
//!
//! Command lines and editor files written for Bot Army hold them. Atoms become texts, tuples lists, `nil` null;
//! a list of pairs with atoms becomes a mapping, which is what it means there.

use serde_json::{Map, Number, Value};

/// How deep literals may be.
const DEPTH_MAX: usize = 64;

/// Reads one literal.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut reader = Reader { text, rest: text };
    let value = reader.value(0)?;
    reader.blanks();
    if reader.rest.is_empty() { Ok(value.plain()) } else { Err(reader.wrong("nothing more")) }
}

/// Reads the arguments of a call: values, and a mapping of those with names.
pub fn arguments(text: &str) -> Result<(Vec<Value>, Map<String, Value>), String> {
    let mut reader = Reader { text, rest: text };
    let (elements, named) = reader.elements("", 0)?;
    Ok((elements.into_iter().map(Literal::plain).collect(), named))
}

/// A literal, before pairs are told from other tuples.
enum Literal {
    Plain(Value),
    Atom(String),
    Tuple(Vec<Literal>),
}

impl Literal {
    fn plain(self) -> Value {
        match self {
            Self::Plain(value) => value,
            Self::Atom(name) => Value::String(name),
            Self::Tuple(elements) => Value::Array(elements.into_iter().map(Self::plain).collect()),
        }
    }

    /// Whether it is an element of a keyword list.
    fn is_pair(&self) -> bool {
        matches!(self, Self::Tuple(elements) if matches!(elements[..], [Self::Atom(_), _]))
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn wrong(&self, wanted: &str) -> String {
        let at = self.text.chars().count() - self.rest.chars().count() + 1;
        let found: String = self.rest.chars().take(12).collect();
        let found = if found.is_empty() { "the end".into() } else { format!("`{found}`") };
        format!("character {at}: {found} where {wanted} is expected")
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, sign: &str) -> bool {
        self.blanks();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Literal, String> {
        if depth > DEPTH_MAX {
            return Err(format!("deeper than {DEPTH_MAX}"));
        }
        self.blanks();
        if self.take("[") {
            return self.list(depth).map(Literal::Plain);
        }
        if self.take("%{") {
            return self.map(depth).map(Literal::Plain);
        }
        if self.take("{") {
            let (mut elements, named) = self.elements("}", depth)?;
            if !named.is_empty() {
                elements.push(Literal::Plain(Value::Object(named)));
            }
            return Ok(Literal::Tuple(elements));
        }
        match self.rest.chars().next() {
            Some('"') => self.quoted('"').map(|text| Literal::Plain(Value::String(text))),
            Some('\'') => self.quoted('\'').map(|text| Literal::Plain(Value::String(text))),
            Some(':') => self.atom().map(Literal::Atom),
            Some(c) if c.is_ascii_digit() || c == '-' => {
                self.number().map(|number| Literal::Plain(Value::Number(number)))
            }
            Some(c) if c.is_alphabetic() || c == '_' => self.word(),
            _ => Err(self.wrong("a value")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let (elements, mut named) = self.elements("]", depth)?;
        if !elements.is_empty() && elements.iter().all(Literal::is_pair) {
            let mut all = Map::new();
            for element in elements {
                if let Literal::Tuple(pair) = element
                    && let Ok([name, value]) = <[Literal; 2]>::try_from(pair)
                {
                    insert(&mut all, text_of(name.plain()), value.plain())?;
                }
            }
            for (name, value) in named {
                insert(&mut all, name, value)?;
            }
            return Ok(Value::Object(all));
        }
        if elements.is_empty() && !named.is_empty() {
            return Ok(Value::Object(named));
        }
        let mut elements: Vec<_> = elements.into_iter().map(Literal::plain).collect();
        // `[1, a: 2]` is a list whose second element is a pair.
        elements.extend(
            std::mem::take(&mut named).into_iter().map(|(name, value)| Value::from(vec![name.into(), value])),
        );
        Ok(Value::Array(elements))
    }

    /// Elements up to the closing sign (or the end, if that is empty): values, then those with names.
    fn elements(&mut self, close: &str, depth: usize) -> Result<(Vec<Literal>, Map<String, Value>), String> {
        let (mut elements, mut named) = (Vec::new(), Map::new());
        loop {
            if self.closes(close) {
                return Ok((elements, named));
            }
            match self.key()? {
                Some(name) => {
                    let value = self.value(depth + 1)?.plain();
                    insert(&mut named, name, value)?;
                }
                None if named.is_empty() => elements.push(self.value(depth + 1)?),
                None => return Err(self.wrong("a name with a colon")),
            }
            if !self.take(",") {
                return if self.closes(close) { Ok((elements, named)) } else { Err(self.wrong("a comma")) };
            }
        }
    }

    fn closes(&mut self, close: &str) -> bool {
        self.blanks();
        if close.is_empty() { self.rest.is_empty() } else { self.take(close) }
    }

    fn map(&mut self, depth: usize) -> Result<Value, String> {
        let mut fields = Map::new();
        loop {
            if self.take("}") {
                return Ok(Value::Object(fields));
            }
            let name = match self.key()? {
                Some(name) => name,
                None => {
                    let name = text_of(self.value(depth + 1)?.plain());
                    if !self.take("=>") {
                        return Err(self.wrong("=>"));
                    }
                    name
                }
            };
            let value = self.value(depth + 1)?.plain();
            insert(&mut fields, name, value)?;
            if !self.take(",") {
                return if self.take("}") { Ok(Value::Object(fields)) } else { Err(self.wrong("a comma")) };
            }
        }
    }

    /// `name: ` or `"name": `, if that comes next.
    fn key(&mut self) -> Result<Option<String>, String> {
        self.blanks();
        let before = self.rest;
        let name = if self.rest.starts_with('"') {
            self.quoted('"')?
        } else {
            let length = self.rest.find(|c: char| !is_word(c)).unwrap_or(self.rest.len());
            let rest = &self.rest[length..];
            self.rest = rest.strip_prefix(['?', '!']).unwrap_or(rest);
            before[..before.len() - self.rest.len()].to_owned()
        };
        let is_key = self.rest.starts_with(':') && !self.rest.starts_with("::") && !name.is_empty();
        let behind = self.rest.get(1..).unwrap_or_default();
        if is_key && (behind.is_empty() || behind.starts_with(char::is_whitespace)) {
            self.rest = behind;
            return Ok(Some(name));
        }
        self.rest = before;
        Ok(None)
    }

    fn atom(&mut self) -> Result<String, String> {
        self.rest = &self.rest[1..];
        if self.rest.starts_with('"') {
            return self.quoted('"');
        }
        let length = self.rest.find(|c: char| !is_word(c) && c != '?' && c != '!' && c != '@');
        let (name, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        if name.is_empty() {
            return Err(self.wrong("a name"));
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// `true`, `false`, `nil`, or the name of a module.
    fn word(&mut self) -> Result<Literal, String> {
        let length = self.rest.find(|c: char| !is_word(c) && c != '.').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        let value = match word {
            "true" => Literal::Plain(Value::Bool(true)),
            "false" => Literal::Plain(Value::Bool(false)),
            "nil" => Literal::Plain(Value::Null),
            _ if word.starts_with(|c: char| c.is_uppercase()) => Literal::Atom(word.to_owned()),
            _ => return Err(self.wrong("a literal (code is not run)")),
        };
        self.rest = rest;
        Ok(value)
    }

    fn number(&mut self) -> Result<Number, String> {
        let length = self.rest.char_indices().find(|(at, c)| {
            let before = self.rest[..*at].chars().next_back();
            let is_sign = matches!(c, '-' | '+') && (*at == 0 || matches!(before, Some('e' | 'E')));
            !(c.is_ascii_alphanumeric() || *c == '_' || is_sign || (*c == '.' && self.is_fraction(*at)))
        });
        let length = length.map_or(self.rest.len(), |(at, _)| at);
        let written = &self.rest[..length];
        let parsed = parse_number(written).ok_or_else(|| self.wrong("a number"))?;
        self.rest = &self.rest[length..];
        Ok(parsed)
    }

    fn is_fraction(&self, at: usize) -> bool {
        self.rest[at + 1..].starts_with(|c: char| c.is_ascii_digit())
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '#' if chars.peek().is_some_and(|(_, next)| *next == '{') => {
                    return Err(format!("{}: code in a text is not run", self.wrong("a literal")));
                }
                '\\' => {
                    let (_, escaped) = chars.next().ok_or("a text ends with a backslash")?;
                    match escaped {
                        'u' | 'x' => {
                            let digits = if escaped == 'u' { 4 } else { 2 };
                            let code = code_point(&mut chars, digits).ok_or("an escape is no character")?;
                            text.push(code);
                        }
                        other => text.push(escape(other)),
                    }
                }
                c => text.push(c),
            }
        }
        Err("a quote is not closed".into())
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn insert(fields: &mut Map<String, Value>, name: String, value: Value) -> Result<(), String> {
    if fields.contains_key(&name) {
        return Err(format!("`{name}` is given twice"));
    }
    fields.insert(name, value);
    Ok(())
}

fn escape(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        's' => ' ',
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'd' => '\u{7f}',
        'e' => '\u{1b}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        other => other,
    }
}

/// So many hexadecimal digits, or any number of them in braces.
fn code_point(
    chars: &mut std::iter::Peekable<impl Iterator<Item = (usize, char)>>,
    digits: usize,
) -> Option<char> {
    let mut code = String::new();
    if chars.next_if(|(_, c)| *c == '{').is_some() {
        loop {
            match chars.next()?.1 {
                '}' => break,
                c if code.len() < 6 => code.push(c),
                _ => return None,
            }
        }
    } else {
        for _ in 0..digits {
            code.push(chars.next()?.1);
        }
    }
    let is_hex = code.chars().all(|c| c.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(&code, 16).ok().and_then(char::from_u32)).flatten()
}

fn parse_number(written: &str) -> Option<Number> {
    let digits = written.strip_prefix('-').unwrap_or(written);
    let sign = if digits.len() < written.len() { "-" } else { "" };
    // A `_` stands between digits.
    let is_misplaced = |at: usize| !digits[..at].ends_with(|c: char| c.is_ascii_hexdigit());
    if digits.match_indices('_').any(|(at, _)| is_misplaced(at)) || digits.ends_with('_') {
        return None;
    }
    let digits = digits.replace('_', "");
    for (prefix, radix) in [("0x", 16), ("0b", 2), ("0o", 8)] {
        if let Some(rest) = digits.strip_prefix(prefix) {
            return i64::from_str_radix(&format!("{sign}{rest}"), radix).ok().map(Number::from);
        }
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        return format!("{sign}{digits}").parse::<i64>().ok().map(Number::from);
    }
    let is_decimal = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    is_decimal.then(|| format!("{sign}{digits}").parse::<f64>().ok().and_then(Number::from_f64)).flatten()
}
