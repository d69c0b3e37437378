//! The grammar of paths: a name, then steps, each fault with its column.

use super::Step;
use crate::json;

/// The longest path that is accepted, in bytes.
const MAX_LENGTH: usize = 4096;

/// The first name and the steps after it. A path may begin with a bracket; its first name is empty then.
pub fn parse(text: &str) -> Result<(String, Vec<Step>), String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("a path may be {MAX_LENGTH} bytes long"));
    }
    let mut parser = Parser { text, at: 0 };
    let first = if text.starts_with('[') { String::new() } else { parser.name()?.to_owned() };
    let mut steps = Vec::new();
    while let Some(next) = parser.rest().chars().next() {
        match next {
            '.' => {
                parser.at += 1;
                steps.push(Step::Key(parser.name()?.to_owned()));
            }
            '[' => steps.push(parser.bracket()?),
            other => return Err(parser.fault(&format!("unexpected `{other}`"))),
        }
    }
    Ok((first, steps))
}

/// Whether `key` can be written after a dot.
pub fn is_name(key: &str) -> bool {
    !key.is_empty() && key.chars().all(is_name_character)
}

fn is_name_character(character: char) -> bool {
    !character.is_whitespace() && !character.is_control() && !matches!(character, '.' | '[' | ']' | '"' | '\'')
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn fault(&self, what: &str) -> String {
        format!("column {}: {what}", self.text[..self.at].chars().count() + 1)
    }

    fn name(&mut self) -> Result<&'t str, String> {
        let rest = self.rest();
        let end = rest.find(|c| !is_name_character(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.fault("expected a name"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    /// `[0]`, `["key"]` or `['key']`; the position is on the bracket.
    fn bracket(&mut self) -> Result<Step, String> {
        self.at += 1;
        let step = match self.rest().bytes().next() {
            Some(b'"') => Step::Key(self.double_quoted()?),
            Some(b'\'') => Step::Key(self.single_quoted()?),
            _ => Step::Index(self.index()?),
        };
        if !self.rest().starts_with(']') {
            return Err(self.fault("expected `]`"));
        }
        self.at += 1;
        Ok(step)
    }

    fn index(&mut self) -> Result<usize, String> {
        let rest = self.rest();
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())];
        if digits.is_empty() {
            return Err(self.fault("expected a number or a quoted key"));
        }
        let index = digits.parse().map_err(|_| self.fault("this index is too large"))?;
        self.at += digits.len();
        Ok(index)
    }

    /// The length of the quoted text at the position, both quotes included.
    fn quoted_length(&self, quote: u8) -> Result<usize, String> {
        let mut escaped = false;
        for (at, byte) in self.rest().bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                _ if byte == quote => return Ok(at + 1),
                _ => {}
            }
        }
        Err(self.fault("this quote is never closed"))
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let length = self.quoted_length(b'"')?;
        let key = match json::parse(&self.rest().as_bytes()[..length]) {
            Ok(serde_json::Value::String(key)) => key,
            _ => return Err(self.fault("a key in double quotes is written as a JSON string")),
        };
        self.at += length;
        Ok(key)
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let length = self.quoted_length(b'\'')?;
        let mut key = String::new();
        let mut characters = self.rest()[1..length - 1].chars();
        while let Some(character) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some(meant @ ('\'' | '\\')) => key.push(meant),
                    _ => {
                        return Err(self.fault("in single quotes only `\\'` and `\\\\` are escapes"));
                    }
                },
                other => key.push(other),
            }
        }
        self.at += length;
        Ok(key)
    }
}
