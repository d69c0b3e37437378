//! Reading the text of a `jsonpath` expression: where its comparison stands, and whether its query is one that
//! can be parsed and run at a bounded cost.
//!
//! The query library parses nested filters in exponential time, panics on a string that ends in an escape, and
//! compiles the pattern of `match()` anew for each node. Its evaluation is not bounded either. So the text is
//! read here first, and what would be too dear is refused with a reason.

use super::matches::Pattern;

/// The longest expression, in bytes.
const MAX_LENGTH: usize = 1024;
/// How deep brackets and parentheses nest.
const MAX_NESTING: usize = 8;
/// How deep filters nest.
const MAX_FILTERS: usize = 2;
/// How many `..` there are.
const MAX_DESCENTS: usize = 2;
/// How often one node can be selected: the product of the numbers of selectors of each bracket.
const MAX_REPEATS: usize = 16;

/// The comparisons, longer ones first.
const COMPARISONS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

/// An expression in its parts.
#[derive(PartialEq, Eq, Debug)]
pub struct Parts<'t> {
    /// The query, trimmed.
    pub query: &'t str,
    /// The comparison and the text after it, trimmed.
    pub comparison: Option<(&'static str, &'t str)>,
}

/// Splits an expression; the error is a sentence for the person who wrote it.
pub fn split(text: &str) -> Result<Parts<'_>, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("a jsonpath may be {MAX_LENGTH} bytes long"));
    }
    let mut reader = Reader { text, at: 0, open: Vec::new(), descents: 0, repeats: 1 };
    while let Some(byte) = text.as_bytes().get(reader.at) {
        if reader.open.is_empty() {
            if let Some(operator) =
                COMPARISONS.into_iter().find(|operator| text.as_bytes()[reader.at..].starts_with(operator.as_bytes()))
            {
                let (query, wanted) = (&text[..reader.at], &text[reader.at + operator.len()..]);
                return Ok(Parts { query: query.trim(), comparison: Some((operator, wanted.trim())) });
            }
            match byte {
                b'=' => return Err("`=` is no comparison: write `==`".to_owned()),
                b'&' | b'|' => {
                    return Err(
                        "comparisons are joined by `and` and `or` around them, not inside a jsonpath".to_owned()
                    );
                }
                _ => {}
            }
        }
        reader.step(*byte)?;
    }
    Ok(Parts { query: text.trim(), comparison: None })
}

/// An open bracket or parenthesis.
struct Open {
    /// A call of `match` or `search`.
    regex: bool,
    bracket: bool,
    filter: bool,
    commas: usize,
    /// After the last comma.
    argument: usize,
    /// It names the whole document.
    absolute: bool,
    /// It selects any number of nodes.
    wide: bool,
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    open: Vec<Open>,
    descents: usize,
    repeats: usize,
}

impl Reader<'_> {
    fn step(&mut self, byte: u8) -> Result<(), String> {
        match byte {
            b'\'' | b'"' => {
                self.at += quoted(&self.text[self.at..])?.1;
                return Ok(());
            }
            b'[' | b'(' => self.enter(byte == b'[')?,
            b']' | b')' => self.leave(byte == b']')?,
            b'?' => self.filter()?,
            b',' => {
                if let Some(open) = self.open.last_mut() {
                    open.commas += 1;
                    open.argument = self.at + 1;
                }
            }
            b'.' if self.text.as_bytes()[self.at..].starts_with(b"..") => {
                self.descents += 1;
                if self.descents > MAX_DESCENTS {
                    return Err(format!("a query may hold {MAX_DESCENTS} `..`"));
                }
                self.mark(|open| open.wide = true);
                self.at += 1;
            }
            b'*' | b':' => self.mark(|open| open.wide = true),
            b'$' => self.mark(|open| open.absolute = true),
            _ => {}
        }
        self.at += 1;
        Ok(())
    }

    /// Applies to every filter around the position.
    fn mark(&mut self, mark: fn(&mut Open)) {
        self.open.iter_mut().filter(|open| open.filter).for_each(mark);
    }

    fn enter(&mut self, bracket: bool) -> Result<(), String> {
        if self.open.len() == MAX_NESTING {
            return Err(format!("brackets nest up to {MAX_NESTING} deep in a query"));
        }
        let before = &self.text.as_bytes()[..self.at];
        let name = before.len() - before.iter().rev().take_while(|b| b.is_ascii_lowercase()).count();
        let name = &before[name..];
        let regex = !bracket && matches!(name, b"match" | b"search");
        self.open.push(Open {
            regex,
            bracket,
            filter: false,
            commas: 0,
            argument: self.at + 1,
            absolute: false,
            wide: false,
        });
        Ok(())
    }

    fn filter(&mut self) -> Result<(), String> {
        self.mark(|open| open.wide = true);
        if let Some(open) = self.open.last_mut() {
            open.filter = true;
        }
        if self.open.iter().filter(|open| open.filter).count() > MAX_FILTERS {
            return Err(format!("filters nest up to {MAX_FILTERS} deep in a query"));
        }
        Ok(())
    }

    fn leave(&mut self, bracket: bool) -> Result<(), String> {
        let Some(open) = self.open.pop().filter(|open| open.bracket == bracket) else {
            return Err(format!("column {}: this bracket closes none", self.text[..self.at].chars().count() + 1));
        };
        if open.absolute && open.wide {
            return Err("a filter that refers to `$` names single values only: no `*`, `:`, `..` or filter inside it"
                .to_owned());
        }
        if open.bracket {
            self.repeats = self.repeats.saturating_mul(open.commas + 1);
            if self.repeats > MAX_REPEATS {
                return Err(format!("the selectors of this query's brackets multiply to more than {MAX_REPEATS}"));
            }
        }
        if open.regex {
            pattern(self.text[open.argument..self.at].trim())?;
        }
        Ok(())
    }
}

/// The second argument of `match` and `search`. The library compiles it anew for each node, so it has to be a
/// small one, and one from the event would be its sender's.
fn pattern(text: &str) -> Result<(), String> {
    match quoted(text) {
        Ok((pattern, length)) if length == text.len() => match Pattern::compile(&pattern)?.is_small() {
            true => Ok(()),
            false => Err("a pattern of match() and search() is small: use `[A-Za-z0-9_]` and the like in place of `\\w` and `\\p`".to_owned()),
        },
        _ => Err("the pattern of match() and search() is a quoted text".to_owned()),
    }
}

/// Reads the string that `text` begins with, in single or double quotes: its meaning and its length.
pub fn quoted(text: &str) -> Result<(String, usize), String> {
    let mut characters = text.char_indices();
    let Some((_, quote @ ('\'' | '"'))) = characters.next() else {
        return Err("expected a quoted text".to_owned());
    };
    let mut meaning = String::new();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => meaning.push(escape(&mut characters, quote)?),
            character if character == quote => return Ok((meaning, at + 1)),
            character => meaning.push(character),
        }
    }
    Err(format!("the text that begins with {} is never closed", text.chars().take(12).collect::<String>()))
}

fn escape(characters: &mut std::str::CharIndices<'_>, quote: char) -> Result<char, String> {
    let unknown = || "unknown escape in a quoted text".to_owned();
    Ok(match characters.next().map(|(_, c)| c).ok_or_else(unknown)? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        plain @ ('/' | '\\') => plain,
        plain if plain == quote => plain,
        'u' => {
            let high = hex(characters).ok_or_else(unknown)?;
            let code = if (0xD800..0xDC00).contains(&high) {
                let marker = [characters.next(), characters.next()].map(|c| c.map(|(_, c)| c));
                let low =
                    hex(characters).filter(|low| marker == [Some('\\'), Some('u')] && (0xDC00..0xE000).contains(low));
                0x10000 + ((high - 0xD800) << 10) + (low.ok_or_else(unknown)? - 0xDC00)
            } else {
                high
            };
            char::from_u32(code).ok_or_else(unknown)?
        }
        _ => return Err(unknown()),
    })
}

fn hex(characters: &mut std::str::CharIndices<'_>) -> Option<u32> {
    (0..4).try_fold(0, |code, _| Some(code * 16 + characters.next()?.1.to_digit(16)?))
}
