//! Mistakes in what somebody wrote: where, what, and what to do instead. All of them come back at once.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One mistake in a JSON document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mistake {
    /// RFC 6901 JSON pointer to the faulty place (`/actions/0/config/url`); empty for the whole document.
    pub pointer: String,
    /// What is wrong and what to do about it, for the person who wrote it.
    pub detail: String,
}

impl Mistake {
    /// A mistake at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }

    /// An unknown name at `pointer`, with the nearest of `known` when one is near.
    pub fn unknown<'a>(
        pointer: impl Into<String>,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let detail = match nearest(name, known.iter().copied()) {
            Some(near) => format!("unknown {what} `{name}`, did you mean `{near}`?"),
            None if known.is_empty() => format!("unknown {what} `{name}`"),
            None => format!("unknown {what} `{name}`; known are {}", list(&known)),
        };
        Self::new(pointer, detail)
    }

    /// A value of the wrong kind at `pointer`; `wanted` is in words (`a string`).
    pub fn kind(pointer: impl Into<String>, wanted: &str, found: &Value) -> Self {
        Self::new(pointer, format!("must be {wanted}, not {}", kind(found)))
    }

    /// The same mistake, seen from a document in which this one's stands at `prefix`.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self { pointer: format!("{prefix}{}", self.pointer), detail: self.detail }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{place}: {}", self.detail)
    }
}

/// Appends one step to a JSON pointer, escaped as RFC 6901 wants.
#[must_use]
pub fn join(pointer: &str, step: &str) -> String {
    format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"))
}

/// The name of `known` that somebody who wrote `name` most likely meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k))
        .filter(|(distance, k)| *distance <= (k.len().max(name.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// What kind of JSON value it is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn list(known: &[&str]) -> String {
    known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_near() {
        assert_eq!(nearest("ur1", ["url", "headers"]), Some("url"));
        assert_eq!(nearest("equal", ["EQUALS", "IN"]), Some("EQUALS"));
        assert_eq!(nearest("zzz", ["url", "headers"]), None);
    }

    #[test]
    fn steps_are_escaped_in_pointers() {
        assert_eq!(join("/a", "b/c~d"), "/a/b~1c~0d");
    }
}
