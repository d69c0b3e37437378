//! `EQUALS`, `NOT_EQUALS`, `IN`, `NOT_IN`: deep JSON equality, with numbers by value.

use serde_json::Value;

use super::number;

/// Whether two values are equal: numbers by value, objects whatever the order of their keys.
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => number::compare(a, b).is_eq(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        (Value::String(a), Value::String(b)) => a == b,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Null, Value::Null) => true,
        _ => false,
    }
}

/// `EQUALS`: something missing equals only `null`.
pub fn equals(found: Option<&Value>, wanted: &Value) -> bool {
    equal(found.unwrap_or(&Value::Null), wanted)
}

/// `IN`: equal to one of the array.
pub fn is_in(found: Option<&Value>, wanted: &Value) -> bool {
    wanted.as_array().is_some_and(|wanted| wanted.iter().any(|wanted| equals(found, wanted)))
}
