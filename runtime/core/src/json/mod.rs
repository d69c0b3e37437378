//! Strict JSON: duplicate keys and depth over 64 are refused with the place named; numbers keep their digits.
//!
//! A parser of its own rather than serde_json's, for three reasons: serde_json silently keeps the last of two
//! equal keys, it stops at 127 levels where a condition may need more, and in an object it cannot tell its
//! private number marker from a key that somebody sent. It accepts the texts and makes the values that
//! `serde_json::from_slice` does, apart from what is refused here; a property test holds it to that.

use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use crate::mistake::{self, Mistake};

/// The deepest nesting that is accepted in events.
pub const MAX_DEPTH: usize = 64;

/// The deepest nesting that is accepted in definitions: a condition nested 64 deep has two levels of JSON for
/// each `and`.
pub const MAX_DEFINITION_DEPTH: usize = 192;

/// What serde_json's own marker keys begin with. Stored text is read back by serde_json, which would take such
/// an object for a number or for raw JSON.
const RESERVED: &str = "$serde_json::private::";

/// Why a text is not acceptable JSON.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON: line, column (from 1) and what is wrong.
    #[error("{0}")]
    Malformed(String),
    /// JSON, but with a duplicate key or nested too deep.
    #[error("{0}")]
    Refused(Mistake),
}

/// Parses `text`, which may nest up to [`MAX_DEPTH`].
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    parse_nested(text, MAX_DEPTH)
}

/// Parses a definition, which may nest up to [`MAX_DEFINITION_DEPTH`].
pub fn parse_definition(text: &[u8]) -> Result<Value, Error> {
    parse_nested(text, MAX_DEFINITION_DEPTH)
}

fn parse_nested(text: &[u8], max_depth: usize) -> Result<Value, Error> {
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(fault) => return Err(malformed(text, fault.valid_up_to(), "this is not UTF-8")),
    };
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, depth: 0, max_depth };
    let value = parser.document();
    value.map_err(|fault| match fault {
        Fault::Malformed(detail) => malformed(parser.bytes, parser.at, detail),
        Fault::Refused { detail, steps } => {
            let pointer = steps.iter().rev().fold(String::new(), |pointer, step| mistake::join(&pointer, step));
            Error::Refused(Mistake::new(pointer, detail))
        }
    })
}

fn malformed(text: &[u8], at: usize, detail: &str) -> Error {
    let before = &text[..at.min(text.len())];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
    Error::Malformed(format!("line {line}, column {column}: {detail}"))
}

enum Fault {
    /// At the parser's position.
    Malformed(&'static str),
    /// `steps` lead from the faulty place up to the root.
    Refused { detail: String, steps: Vec<String> },
}

impl Fault {
    fn refused(detail: String) -> Self {
        Self::Refused { detail, steps: Vec::new() }
    }

    #[cold]
    fn inside(mut self, step: impl Into<String>) -> Self {
        if let Self::Refused { steps, .. } = &mut self {
            steps.push(step.into());
        }
        self
    }
}

struct Parser<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    depth: usize,
    max_depth: usize,
}

impl<'t> Parser<'t> {
    fn document(&mut self) -> Result<Value, Fault> {
        let value = self.value()?;
        match self.next_token() {
            None => Ok(value),
            Some(_) => Err(Fault::Malformed("there is more text after the JSON value")),
        }
    }

    /// The next byte that is not white space; the position stays on it.
    fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn value(&mut self) -> Result<Value, Fault> {
        match self.next_token() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(Fault::Malformed("expected a JSON value")),
            None => Err(Fault::Malformed("the text ends where a JSON value is expected")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(Fault::Malformed("expected a JSON value"))
        }
    }

    fn nested(&mut self, inside: fn(&mut Self) -> Result<Value, Fault>) -> Result<Value, Fault> {
        if self.depth == self.max_depth {
            return Err(Fault::refused(format!("nested deeper than {} levels", self.max_depth)));
        }
        self.depth += 1;
        self.at += 1;
        let value = inside(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        if self.next_token() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            match self.value() {
                Ok(item) => items.push(item),
                Err(fault) => return Err(fault.inside(items.len().to_string())),
            }
            match self.next_token() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                Some(_) => return Err(Fault::Malformed("expected `,` or `]`")),
                None => return Err(Fault::Malformed("the text ends inside an array")),
            }
        }
    }

    fn object(&mut self) -> Result<Value, Fault> {
        let mut members = Map::new();
        if self.next_token() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            let key = self.key()?;
            let value = match self.value() {
                Ok(value) => value,
                Err(fault) => return Err(fault.inside(key)),
            };
            match members.entry(key) {
                Entry::Vacant(place) => place.insert(value),
                Entry::Occupied(place) => {
                    let fault = Fault::refused(format!("the key `{}` stands here twice", place.key()));
                    return Err(fault.inside(place.key().as_str()));
                }
            };
            match self.next_token() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(members));
                }
                Some(_) => return Err(Fault::Malformed("expected `,` or `}`")),
                None => return Err(Fault::Malformed("the text ends inside an object")),
            }
        }
    }

    /// A member's key and its colon.
    fn key(&mut self) -> Result<String, Fault> {
        match self.next_token() {
            Some(b'"') => {}
            Some(_) => return Err(Fault::Malformed("expected a key in double quotes")),
            None => return Err(Fault::Malformed("the text ends inside an object")),
        }
        let key = self.string()?;
        if key.starts_with(RESERVED) {
            return Err(Fault::refused(format!("keys that begin with `{RESERVED}` are reserved")).inside(key));
        }
        match self.next_token() {
            Some(b':') => self.at += 1,
            _ => return Err(Fault::Malformed("expected `:` after a key")),
        }
        Ok(key)
    }

    /// A string; the position is on its opening quote.
    fn string(&mut self) -> Result<String, Fault> {
        let start = self.at + 1;
        self.at = self.plain_end(start);
        if self.bytes.get(self.at) == Some(&b'"') {
            let text = &self.text[start..self.at];
            self.at += 1;
            return Ok(text.to_owned());
        }
        self.escaped_string(start)
    }

    /// The first place from `at` on that ends a run of characters that stand for themselves.
    fn plain_end(&self, at: usize) -> usize {
        let rest = &self.bytes[at..];
        at + rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').unwrap_or(rest.len())
    }

    fn escaped_string(&mut self, start: usize) -> Result<String, Fault> {
        let mut out = self.text[start..self.at].to_owned();
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => {
                    return Err(Fault::Malformed("a control character in a string has to be escaped"));
                }
                None => return Err(Fault::Malformed("the text ends inside a string")),
            }
            let run = self.at;
            self.at = self.plain_end(run);
            out.push_str(&self.text[run..self.at]);
        }
    }

    /// One escape; the position is on its backslash.
    fn escape(&mut self) -> Result<char, Fault> {
        let meant = match self.bytes.get(self.at + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) => return Err(Fault::Malformed("unknown escape in a string")),
            None => return Err(Fault::Malformed("the text ends inside a string")),
        };
        self.at += 2;
        Ok(meant)
    }

    fn unicode_escape(&mut self) -> Result<char, Fault> {
        const LONE: Fault = Fault::Malformed("a lone surrogate is no character");
        let high = self.hex(self.at)?;
        let (code, length) = match high {
            0xD800..=0xDBFF => {
                if !self.bytes[self.at + 6..].starts_with(b"\\u") {
                    return Err(LONE);
                }
                match self.hex(self.at + 6)? {
                    low @ 0xDC00..=0xDFFF => (0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00), 12),
                    _ => return Err(LONE),
                }
            }
            code => (code, 6),
        };
        let character = char::from_u32(code).ok_or(LONE)?;
        self.at += length;
        Ok(character)
    }

    /// The four hexadecimal digits of the `\u` at `at`.
    fn hex(&self, at: usize) -> Result<u32, Fault> {
        let digits = self.bytes.get(at + 2..at + 6).ok_or(Fault::Malformed("the text ends inside a string"))?;
        digits.iter().try_fold(0, |code, digit| {
            let digit = char::from(*digit).to_digit(16).ok_or(Fault::Malformed("expected four hexadecimal digits"))?;
            Ok(code * 16 + digit)
        })
    }

    fn number(&mut self) -> Result<Number, Fault> {
        let start = self.at;
        let negative = self.bytes[self.at] == b'-';
        self.at += usize::from(negative);
        let integer = self.digits()?;
        if integer > 1 && self.bytes[self.at - integer] == b'0' {
            self.at -= integer - 1;
            return Err(Fault::Malformed("a number has no leading zero"));
        }
        let mut whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            (whole, self.at) = (false, self.at + 1);
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            (whole, self.at) = (false, self.at + 1);
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        // Up to 18 digits fit an i64. `-0` is left to the slow way, which keeps its sign.
        if whole && integer <= 18 && text != "-0" {
            let magnitude = text.bytes().filter(u8::is_ascii_digit).fold(0i64, |n, d| n * 10 + i64::from(d - b'0'));
            return Ok(if negative { -magnitude } else { magnitude }.into());
        }
        text.parse().map_err(|_| Fault::Malformed("this is not a number"))
    }

    /// Skips digits, at least one, and says how many there were.
    fn digits(&mut self) -> Result<usize, Fault> {
        let rest = &self.bytes[self.at..];
        let count = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
        self.at += count;
        if count == 0 {
            return Err(Fault::Malformed("expected a digit"));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
