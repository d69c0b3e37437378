//! `GREATER_THAN`, `LESS_THAN` and their `_OR_EQUALS`: numbers by value, timestamps by instant, other strings by
//! code point.

use std::cmp::Ordering;

use serde_json::Value;

use super::instant::Instant;
use super::number;

/// Which way to compare.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// Whether `found` stands on that side of `wanted`. False for anything that has no order: missing values,
/// other kinds, and a number beside a string.
pub fn compare(side: Side, found: Option<&Value>, wanted: &Value) -> bool {
    found.and_then(|found| order(found, wanted)).is_some_and(|order| match side {
        Side::Greater => order.is_gt(),
        Side::GreaterOrEqual => order.is_ge(),
        Side::Less => order.is_lt(),
        Side::LessOrEqual => order.is_le(),
    })
}

/// The order of two values, where they have one. A timestamp and a string that is none are two strings.
fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Some(number::compare(a, b)),
        (Value::String(a), Value::String(b)) => Some(match (Instant::read(a), Instant::read(b)) {
            (Some(a), Some(b)) => a.cmp(&b),
            // UTF-8 sorts as its code points do.
            _ => a.cmp(b),
        }),
        _ => None,
    }
}
