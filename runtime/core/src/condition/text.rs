//! `CONTAINS`, `STARTS_WITH`, `ENDS_WITH`.

use serde_json::Value;

use super::equality::equal;

/// `CONTAINS`: a string has the substring, an array an equal element, an object the key.
pub fn contains(found: Option<&Value>, wanted: &Value) -> bool {
    match (found, wanted) {
        (Some(Value::String(found)), Value::String(wanted)) => found.contains(wanted.as_str()),
        (Some(Value::Array(found)), wanted) => found.iter().any(|found| equal(found, wanted)),
        (Some(Value::Object(found)), Value::String(wanted)) => found.contains_key(wanted),
        _ => false,
    }
}

/// `STARTS_WITH`: both are strings.
pub fn starts_with(found: Option<&Value>, wanted: &Value) -> bool {
    both(found, wanted).is_some_and(|(found, wanted)| found.starts_with(wanted))
}

/// `ENDS_WITH`: both are strings.
pub fn ends_with(found: Option<&Value>, wanted: &Value) -> bool {
    both(found, wanted).is_some_and(|(found, wanted)| found.ends_with(wanted))
}

fn both<'v>(found: Option<&'v Value>, wanted: &'v Value) -> Option<(&'v str, &'v str)> {
    Some((found?.as_str()?, wanted.as_str()?))
}
