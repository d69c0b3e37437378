//! `MATCHES`: a regular expression is found in the string.
//!
//! The engine takes time in proportion to the compiled expression times the text, so both are bounded: the
//! expression here, the text by [`MAX_TEXT`]. The whole text is searched, never a part of it, as an anchor or a
//! word boundary at a cut would match what is not there.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// The longest expression, in bytes of its text.
const MAX_PATTERN: usize = 1024;

/// The largest compiled expression, in bytes of memory.
const MAX_COMPILED: usize = 256 * 1024;

/// A string longer than this matches nothing. Events are smaller unless the operator allows larger ones.
const MAX_TEXT: usize = 1024 * 1024;

/// Compiles an expression; the error is a sentence for the person who wrote it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > MAX_PATTERN {
        return Err(format!(
            "a regular expression may be {MAX_PATTERN} bytes long, this one has {}",
            pattern.len()
        ));
    }
    RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(limit) => {
            format!("this regular expression is too large: compiled, it would take more than {limit} bytes; use smaller repetitions")
        }
        error => format!("this is not a regular expression: {}", one_line(&error.to_string())),
    })
}

/// The engine draws the fault under the expression; its last line says what it is.
fn one_line(message: &str) -> &str {
    message
        .lines()
        .last()
        .unwrap_or(message)
        .trim_start_matches("error: ")
}

/// Whether the expression is found in the string.
pub fn matches(found: Option<&Value>, pattern: &Regex) -> bool {
    found
        .and_then(Value::as_str)
        .is_some_and(|found| found.len() <= MAX_TEXT && pattern.is_match(found))
}
