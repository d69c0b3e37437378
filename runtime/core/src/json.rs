//! Strict JSON: duplicate keys and depth over 64 are refused with the place named; numbers keep their digits.

use serde_json::Value;

use crate::mistake::Mistake;

/// The deepest nesting that is accepted.
pub const MAX_DEPTH: usize = 64;

/// Why a text is not acceptable JSON.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// Not JSON: line, column (from 1) and what is wrong.
    Malformed(String),
    /// JSON, but with a duplicate key or nested too deep.
    Refused(Mistake),
}

/// Parses `text`.
pub fn parse(text: &[u8]) -> Result<Value, Error> {
    let _ = text;
    unimplemented!()
}
