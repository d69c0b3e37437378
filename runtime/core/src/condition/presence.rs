//! `IS_NULL`, `IS_NOT_NULL`, `IS_EMPTY`, `IS_NOT_EMPTY`.

use serde_json::Value;

/// `IS_NULL`: null or missing.
pub fn is_null(found: Option<&Value>) -> bool {
    found.is_none_or(Value::is_null)
}

/// `IS_EMPTY`: null, missing, `""`, `[]`, `{}`.
pub fn is_empty(found: Option<&Value>) -> bool {
    match found {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    }
}
