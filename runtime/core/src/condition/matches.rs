//! `MATCHES`: a regular expression is found in the string.
//!
//! The engine takes time in proportion to the compiled expression times the text, and conditions are evaluated
//! while the sender of the event waits. So both are bounded, the text by what the expression costs ([`CLASSES`]).
//! A longer text matches nothing. It is never searched in part: an anchor or a word boundary at the cut would
//! match what is not there.
//!
//! Many expressions demand a text ("order" in `(big )?order [0-9]+$`). Where it is not there the expression is not asked: looking
//! for a text costs a fiftieth, and a tenant may have thousands of expressions that are tried on every event.

use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind};
use serde_json::Value;

/// The longest expression, in bytes of its text.
const MAX_PATTERN: usize = 1024;

const KIB: usize = 1024;

/// Up to which compiled size how long a text is searched, both in bytes. Most expressions are in the first
/// class; the classes of Unicode (`\w`, `\p{L}`), repeated, make large ones.
const CLASSES: [(usize, usize); 3] = [(4 * KIB, 1024 * KIB), (16 * KIB, 256 * KIB), (256 * KIB, 64 * KIB)];

/// A compiled expression.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    max_text: usize,
    /// What is in every text that it is found in.
    demanded: Option<Box<str>>,
}

impl Pattern {
    /// Compiles an expression; the error is a sentence for the person who wrote it.
    pub fn compile(pattern: &str) -> Result<Self, String> {
        if pattern.len() > MAX_PATTERN {
            return Err(format!(
                "a regular expression may be {MAX_PATTERN} bytes long, this one has {}",
                pattern.len()
            ));
        }
        let mut fault = None;
        for (size, max_text) in CLASSES {
            match RegexBuilder::new(pattern).size_limit(size).build() {
                Ok(regex) => return Ok(Self { regex, max_text, demanded: demanded_by(pattern) }),
                Err(regex::Error::CompiledTooBig(limit)) => fault = Some(too_large(limit)),
                Err(error) => {
                    return Err(format!("this is not a regular expression: {}", last_line(&error.to_string())));
                }
            }
        }
        Err(fault.unwrap_or_default())
    }

    /// Whether the expression is found in the string.
    pub fn is_found(&self, found: Option<&Value>) -> bool {
        found.and_then(Value::as_str).is_some_and(|found| {
            found.len() <= self.max_text
                && self.demanded.as_deref().is_none_or(|demanded| found.contains(demanded))
                && self.regex.is_match(found)
        })
    }

    /// Whether it is of the class that compiles in microseconds.
    pub fn is_small(&self) -> bool {
        self.max_text == CLASSES[0].1
    }
}

/// The longest text that every match of an expression holds, where one can be told.
fn demanded_by(pattern: &str) -> Option<Box<str>> {
    let tree = regex_syntax::parse(pattern).ok()?;
    let longest = literal_in(&tree).and_then(|bytes| std::str::from_utf8(bytes).ok())?;
    (!longest.is_empty()).then(|| longest.into())
}

fn literal_in(tree: &Hir) -> Option<&[u8]> {
    match tree.kind() {
        HirKind::Literal(literal) => Some(&literal.0),
        HirKind::Capture(capture) => literal_in(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => literal_in(&repetition.sub),
        HirKind::Concat(parts) => parts.iter().filter_map(literal_in).max_by_key(|literal| literal.len()),
        _ => None,
    }
}

fn too_large(limit: usize) -> String {
    format!(
        "this regular expression is too large: compiled, it would take more than {limit} bytes; \
         use smaller repetitions, or `[A-Za-z0-9_]` and `[0-9]` in place of `\\w` and `\\d`, which are all of Unicode's"
    )
}

/// The engine draws the fault under the expression; its last line says what it is.
fn last_line(message: &str) -> &str {
    message.lines().last().unwrap_or(message).trim_start_matches("error: ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_an_expression_demands_is_its_longest_fixed_text() {
        for (pattern, demanded) in [
            ("(big )?order [0-9]+$", Some("order ")),
            ("^(?:ab(cde)+)f", Some("cde")),
            ("a|b", None),
            ("(?i)order", None),
            ("x*", None),
            ("é+ü?", Some("é")),
        ] {
            assert_eq!(demanded_by(pattern).as_deref(), demanded, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn an_expression_is_found_where_the_engine_finds_it(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "a", "b", "ab", "ba", "é", ".", "[ab]", "(", "(?:", "(?i)", ")", "|", "*", "+", "?", "{0,2}", "{2}", "^", "$", r"\b",
            ]), 1..7),
            text in "[abé .]{0,6}",
        ) {
            let pattern = pieces.concat();
            let (Ok(own), Ok(engine)) = (Pattern::compile(&pattern), Regex::new(&pattern)) else { return Ok(()) };
            prop_assert_eq!(own.is_found(Some(&Value::from(text.as_str()))), engine.is_match(&text));
        }
    }
}
