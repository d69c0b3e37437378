//! What is refused before the parser sees it: too large, nested too deep (the parser recurses), and syntax we
//! do not have. Also writes `items[0]` and `row["odd key"]` as Handlebars does: `items.[0]`, `row.[odd key]`.
//!
//! Invariant: a tag begins and ends here exactly where it does for the parser. That is why braces are refused
//! inside strings and brackets, and quotes inside brackets.

/// The longest template string in bytes.
pub const MAX_SOURCE: usize = 64 * 1024;

/// The deepest nesting of blocks, each `else if` counted as one.
pub const MAX_NESTING: usize = 32;

/// The deepest nesting of `(…)`.
const MAX_PARENTHESES: usize = 16;

/// The most bytes before its tags, summed over the tags: the parser finds each one's line by counting from the
/// start, so that a thousand tags in the longest template take some 50 ms.
const MAX_COUNTING: usize = 24 * 1024 * 1024;

/// A source that is safe to parse.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The source in Handlebars' own notation.
    pub text: String,
    /// Where rewriting moved columns: line, column in `text`, by how much.
    moved: Vec<(usize, usize, isize)>,
}

impl Scanned {
    /// `detail` with the place it stands at, in the source as it was written.
    pub fn at(&self, line: usize, column: usize, detail: &str) -> String {
        let shift: isize = self.moved.iter().filter(|m| m.0 == line && m.1 < column).map(|m| m.2).sum();
        place(line, column.saturating_add_signed(-shift).max(1), detail)
    }
}

fn place(line: usize, column: usize, detail: &str) -> String {
    format!("line {line}, column {column}: {detail}")
}

/// Checks `source`; the error is a sentence with line and column.
pub(super) fn scan(source: &str) -> Result<Scanned, String> {
    if source.len() > MAX_SOURCE {
        return Err(format!("the template is {} bytes long; at most {MAX_SOURCE} are allowed", source.len()));
    }
    let mut scanner = Scanner::new(source);
    while scanner.text()? {
        scanner.tag()?;
    }
    if let Some(open) = scanner.open.last() {
        return Err(place(open.line, open.column, &format!("`{{{{#{}}}}}` is never closed", open.name)));
    }
    Ok(Scanned { text: scanner.out, moved: scanner.moved })
}

struct Open {
    name: String,
    line: usize,
    column: usize,
    /// Itself and its `else if`s.
    levels: usize,
}

struct Scanner<'s> {
    rest: &'s str,
    line: usize,
    column: usize,
    out: String,
    /// How far `out`'s columns of this line are ahead of the source's.
    ahead: isize,
    moved: Vec<(usize, usize, isize)>,
    open: Vec<Open>,
    /// What the parser will have counted through, see [`MAX_COUNTING`].
    counting: usize,
}

impl<'s> Scanner<'s> {
    fn new(source: &'s str) -> Self {
        let out = String::with_capacity(source.len() + 16);
        Self { rest: source, line: 1, column: 1, out, ahead: 0, moved: Vec::new(), open: Vec::new(), counting: 0 }
    }

    fn refuse<T>(&self, detail: impl AsRef<str>) -> Result<T, String> {
        Err(place(self.line, self.column, detail.as_ref()))
    }

    /// Goes on by `bytes` without copying.
    fn skip(&mut self, bytes: usize) -> &'s str {
        let (gone, rest) = self.rest.split_at(bytes);
        for c in gone.chars() {
            if c == '\n' {
                (self.line, self.column, self.ahead) = (self.line + 1, 1, 0);
            } else {
                self.column += 1;
            }
        }
        self.rest = rest;
        gone
    }

    fn copy(&mut self, bytes: usize) {
        let copied = self.skip(bytes);
        self.out.push_str(copied);
    }

    /// Notes that `out` is `by` columns further than before.
    fn moved(&mut self, by: isize) {
        self.ahead += by;
        self.moved.push((self.line, self.column.saturating_add_signed(self.ahead - 1), by));
    }

    /// Copies text up to the next tag; false at the end.
    fn text(&mut self) -> Result<bool, String> {
        loop {
            let Some(at) = self.rest.find("{{") else {
                self.copy(self.rest.len());
                return Ok(false);
            };
            let before = &self.rest[..at];
            let backslashes = before.len() - before.trim_end_matches('\\').len();
            self.copy(at);
            // One backslash makes the braces text; two or more are text before a tag.
            if backslashes != 1 {
                break;
            }
            self.copy(if self.rest.starts_with("{{{{") { 4 } else { 2 });
        }
        if self.rest.starts_with("{{{{") {
            return self.refuse("raw blocks are not supported; write `\\{{` for braces that are text");
        }
        self.counting += self.out.len();
        if self.counting > MAX_COUNTING {
            return self.refuse("there are too many tags in so long a string; split it");
        }
        Ok(true)
    }

    fn tag(&mut self) -> Result<(), String> {
        if self.rest.starts_with("{{!") {
            return self.comment();
        }
        let start = (self.line, self.column);
        self.copy(2);
        self.blanks();
        if self.rest.starts_with('~') {
            self.copy(1);
            self.blanks();
        }
        let sigil = self.rest.chars().next().unwrap_or(' ');
        match sigil {
            '>' | '*' => return self.refuse("partials and decorators are not supported"),
            '#' | '/' | '^' => {
                self.copy(1);
                self.blanks();
                self.block(sigil, start)?;
            }
            '{' => self.copy(1),
            _ if self.word() == "else" => {
                self.copy(4);
                self.blanks();
                self.block('^', start)?;
            }
            _ => {}
        }
        self.content(sigil == '{', start)
    }

    fn comment(&mut self) -> Result<(), String> {
        let body = self.rest["{{!".len()..].trim_start_matches([' ', '\t', '\r', '\n']);
        let long = body.starts_with("--").then(|| {
            let from = self.rest.len() - body.len() + 2;
            self.rest[from..].find("--}}").map(|at| from + at + 4)
        });
        match long.flatten().or_else(|| self.rest.find("}}").map(|at| at + 2)) {
            Some(end) => {
                self.copy(end);
                Ok(())
            }
            None => self.refuse("the comment is never closed"),
        }
    }

    fn blanks(&mut self) {
        self.copy(self.rest.len() - self.rest.trim_start_matches([' ', '\t', '\r', '\n']).len());
    }

    /// The name that comes next.
    fn word(&self) -> &'s str {
        let end = self.rest.find(|c: char| !is_symbol(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    /// Keeps track of how deep blocks are nested.
    fn block(&mut self, sigil: char, start: (usize, usize)) -> Result<(), String> {
        let name = self.word();
        match sigil {
            '#' if self.rest.starts_with(['>', '*']) => {
                return self.refuse("partials and decorators are not supported");
            }
            '#' => self.open.push(Open { name: name.to_owned(), line: start.0, column: start.1, levels: 1 }),
            '/' => match self.open.pop() {
                Some(open) if open.name == name => {}
                Some(open) => {
                    let opened = format!("`{{{{#{}}}}}` of line {}, column {}", open.name, open.line, open.column);
                    return Err(place(start.0, start.1, &format!("`{{{{/{name}}}}}` cannot close {opened}")));
                }
                None => {
                    return Err(place(start.0, start.1, &format!("`{{{{/{name}}}}}` closes no block")));
                }
            },
            _ => match self.open.last_mut() {
                Some(open) => open.levels += usize::from(!self.rest.starts_with(['}', '~'])),
                None => {
                    return Err(place(start.0, start.1, "`{{else}}` stands outside of any block"));
                }
            },
        }
        if self.open.iter().map(|open| open.levels).sum::<usize>() > MAX_NESTING {
            return self.refuse(format!("blocks and `else if`s are nested more than {MAX_NESTING} deep"));
        }
        Ok(())
    }

    /// What stands in a tag, and its end.
    fn content(&mut self, triple: bool, start: (usize, usize)) -> Result<(), String> {
        let mut parentheses = 0usize;
        let mut previous = ' ';
        while let Some(c) = self.rest.chars().next() {
            match c {
                '}' => return self.end(triple),
                '{' => return self.refuse("`{` cannot stand inside a tag"),
                '"' | '\'' => self.string(c)?,
                '[' => self.brackets(previous)?,
                _ => self.copy(c.len_utf8()),
            }
            match c {
                '(' => parentheses += 1,
                ')' => parentheses = parentheses.saturating_sub(1),
                _ => {}
            }
            if parentheses > MAX_PARENTHESES {
                return self.refuse(format!("parentheses are nested more than {MAX_PARENTHESES} deep"));
            }
            previous = c;
        }
        Err(place(start.0, start.1, "the tag is never closed with `}}`"))
    }

    fn end(&mut self, triple: bool) -> Result<(), String> {
        if triple {
            self.copy(1);
            self.blanks();
            if self.rest.starts_with('~') {
                self.copy(1);
                self.blanks();
            }
        }
        if !self.rest.starts_with("}}") {
            return self.refuse(if triple { "expected `}}}`" } else { "expected `}}`" });
        }
        self.copy(2);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), String> {
        let mut escaped = false;
        for (at, c) in self.rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == quote {
                if self.rest[..at].contains("{{") || self.rest[..at].contains("}}") {
                    return self.refuse("a string inside a tag cannot hold `{{` or `}}`");
                }
                self.copy(at + c.len_utf8());
                return Ok(());
            }
        }
        self.refuse("the string is never closed")
    }

    /// `.[key]`, `[0]` and `["key"]`.
    fn brackets(&mut self, previous: char) -> Result<(), String> {
        if !(is_symbol(previous) || matches!(previous, '.' | '/' | ']' | '@')) {
            return self.refuse("array literals are not supported");
        }
        let Some(end) = self.rest.find(']') else {
            return self.refuse("`[` is never closed");
        };
        let inner = &self.rest[1..end];
        let key = [b'"', b'\''].into_iter().find_map(|quote| {
            let bytes = inner.as_bytes();
            let quoted = bytes.len() > 2 && bytes[0] == quote && bytes[bytes.len() - 1] == quote;
            quoted.then(|| &inner[1..inner.len() - 1])
        });
        let plain = key.unwrap_or(inner);
        if plain.is_empty() || plain.contains(['{', '}', '"', '\'', '[', '\\']) {
            return self.refuse("a key in brackets can hold neither quotes, braces, brackets nor backslashes");
        }
        let dot = !matches!(previous, '.' | '/' | '@');
        if dot {
            self.out.push('.');
        }
        self.out.push('[');
        self.out.push_str(plain);
        self.out.push(']');
        self.skip(end + 1);
        let by = isize::from(dot) - if key.is_some() { 2 } else { 0 };
        if by != 0 {
            self.moved(by);
        }
        Ok(())
    }
}

/// Whether the parser takes `c` into a name.
fn is_symbol(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '$' | ':') || !c.is_ascii()
}
