//! What a guest's SQL is made of, as far as it must be known: its first word, where it ends, where its values go.
//!
//! The databases themselves decide what the statement means. This only sees to it that there is one.

use std::ops::Range;

use crate::connections::sql::Engine;

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Scan {
    /// The first word, in capitals.
    pub(super) first: String,
    /// Where the statement ends; a `;` and what is no code may follow.
    pub(super) end: usize,
    /// PostgreSQL's `$1`, with their numbers.
    pub(super) places: Vec<(Range<usize>, usize)>,
}

/// Reads `sql`; the error says why it is not run.
pub(super) fn scan(engine: Engine, sql: &str) -> Result<Scan, String> {
    let bytes = sql.as_bytes();
    let mut found = Scan { first: String::new(), end: sql.len(), places: Vec::new() };
    let mut ended = false;
    let mut at = 0;
    while at < bytes.len() {
        let next = skipped(engine, bytes, at)?;
        if let Some((next, is_code)) = next {
            if is_code && ended {
                return Err("one statement at a time".to_owned());
            }
            at = next;
            continue;
        }
        let byte = bytes[at];
        if byte == b';' {
            if !ended {
                (ended, found.end) = (true, at);
            }
            at += 1;
        } else if ended && !byte.is_ascii_whitespace() {
            return Err("one statement at a time".to_owned());
        } else if is_word(byte) {
            let end = at + bytes[at..].iter().take_while(|byte| is_word(**byte)).count();
            if found.first.is_empty() {
                found.first = sql[at..end].to_ascii_uppercase();
            }
            at = end;
        } else if engine == Engine::Postgres && byte == b'$' {
            let end = at + 1 + bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if let Ok(number) = sql[at + 1..end].parse() {
                found.places.push((at..end, number));
            }
            at = end;
        } else {
            at += 1;
        }
    }
    if found.first.is_empty() { Err("there is no statement".to_owned()) } else { Ok(found) }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// The end of the comment, text or quoted name that begins at `at`, and whether it is code; `None` where none begins.
fn skipped(engine: Engine, bytes: &[u8], at: usize) -> Result<Option<(usize, bool)>, String> {
    let rest = &bytes[at..];
    let line = || rest.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |n| at + n + 1);
    let escapes = match engine {
        Engine::Mysql => true,
        // `E'…'`: the letter is a word of its own here.
        Engine::Postgres => at > 0 && bytes[at - 1].eq_ignore_ascii_case(&b'e') && (at < 2 || !is_word(bytes[at - 2])),
        Engine::Sqlite => false,
    };
    let end = match rest {
        [b'-', b'-', ..] => (line(), false),
        [b'#', ..] if engine == Engine::Mysql => (line(), false),
        [b'/', b'*', b'!', ..] | [b'/', b'*', b'M', b'!', ..] if engine == Engine::Mysql => {
            return Err("comments that are run (`/*!`) are not taken".to_owned());
        }
        [b'/', b'*', ..] => (comment(engine, bytes, at)?, false),
        [b'\'', ..] => (quoted(bytes, at, b'\'', escapes)?, true),
        [b'"', ..] => (quoted(bytes, at, b'"', engine == Engine::Mysql)?, true),
        [b'`', ..] if engine != Engine::Postgres => (quoted(bytes, at, b'`', false)?, true),
        [b'[', ..] if engine == Engine::Sqlite => (quoted(bytes, at, b']', false)?, true),
        [b'$', ..] if engine == Engine::Postgres => match dollar(bytes, at)? {
            Some(end) => (end, true),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    Ok(Some(end))
}

/// The end of a text that begins at `at` and ends with `mark`, which stands for itself when doubled.
fn quoted(bytes: &[u8], at: usize, mark: u8, escapes: bool) -> Result<usize, String> {
    let mut at = at + 1;
    while at < bytes.len() {
        if escapes && bytes[at] == b'\\' {
            at += 2;
        } else if bytes[at] != mark {
            at += 1;
        } else if bytes.get(at + 1) == Some(&mark) {
            at += 2;
        } else {
            return Ok(at + 1);
        }
    }
    Err("a text or name in quotes does not end".to_owned())
}

/// PostgreSQL's comments nest.
fn comment(engine: Engine, bytes: &[u8], at: usize) -> Result<usize, String> {
    let (mut at, mut depth) = (at + 2, 1);
    while at + 1 < bytes.len() {
        match [bytes[at], bytes[at + 1]] {
            [b'*', b'/'] => {
                (at, depth) = (at + 2, depth - 1);
                if depth == 0 {
                    return Ok(at);
                }
            }
            [b'/', b'*'] if engine == Engine::Postgres => (at, depth) = (at + 2, depth + 1),
            _ => at += 1,
        }
    }
    Err("a comment does not end".to_owned())
}

/// The end of `$tag$ … $tag$`.
fn dollar(bytes: &[u8], at: usize) -> Result<Option<usize>, String> {
    let tag = bytes[at + 1..].iter().take_while(|byte| is_word(**byte)).count();
    let after_word = at > 0 && is_word(bytes[at - 1]);
    if bytes.get(at + 1 + tag) != Some(&b'$') || bytes[at + 1].is_ascii_digit() || after_word {
        return Ok(None);
    }
    let mark = &bytes[at..at + tag + 2];
    let begin = at + mark.len();
    let found = bytes[begin..].windows(mark.len()).position(|window| window == mark);
    found.map(|n| Some(begin + n + mark.len())).ok_or_else(|| "a text in `$` does not end".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_statement_is_told_from_two() {
        let one = [
            "SELECT 1",
            " select 1 ; -- done",
            "SELECT ';'",
            "SELECT $$;$$",
            "SELECT $a$ $$; $a$",
            "SELECT 1 /* ; /* */ */",
            "SELECT \"a;b\"",
            "SELECT E'\\';'",
            "WITH x AS (SELECT 1) SELECT * FROM x;",
        ];
        for sql in one {
            assert!(scan(Engine::Postgres, sql).is_ok(), "{sql}");
        }
        let not_one = [
            "",
            ";",
            "-- x",
            "SELECT 1; DELETE FROM t",
            "SELECT 1;;;x",
            "SELECT '\\'; DELETE FROM t --'",
            "SELECT 'x",
            "/* ",
        ];
        for sql in not_one {
            assert!(scan(Engine::Postgres, sql).is_err(), "{sql}");
        }
        assert!(scan(Engine::Mysql, "SELECT '\\'; DELETE FROM t -- '").is_ok());
        assert!(scan(Engine::Mysql, "SELECT 1 /*!; DELETE */").is_err());
        assert!(scan(Engine::Sqlite, "SELECT [a;b]; SELECT 2").is_err());
    }

    #[test]
    fn places_of_values_are_found_outside_of_texts() {
        let found = scan(Engine::Postgres, "SELECT '$1', $2, a$3 FROM t WHERE id = $10").unwrap();
        assert_eq!(found.places.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [2, 3, 10]);
        assert_eq!(found.first, "SELECT");
    }
}
