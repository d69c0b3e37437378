//! Values as two databases hold them: converted, compared, told apart.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::Value;
use sha2::{Digest, Sha256};
use triggerd_core::condition::equality;
use triggerd_core::sync::Version;

use crate::databases::{Column, Kind};
use crate::resources::Conversion;

/// Tells a row as it reads from every other.
#[must_use]
pub fn version(row: &Value) -> Version {
    Sha256::digest(row.to_string()).into()
}

/// `value`, which stands in a column of `from`, for one of `to`; `None` is no column of any database.
pub fn convert(how: Conversion, value: &Value, from: Option<&Kind>, to: Option<&Kind>) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    match how {
        Conversion::Json => json(value, from, to),
        Conversion::List => Ok(list(value, to)),
        Conversion::Timestamp => {
            let at = instant(value).ok_or_else(|| format!("{} is no time that is known here", shown(value)))?;
            Ok(match to {
                Some(kind) if kind.is_number() => at.as_second().into(),
                _ => Value::String(rfc3339(at)),
            })
        }
    }
}

fn is_text(kind: Option<&Kind>) -> bool {
    matches!(kind, Some(Kind::Text | Kind::Other))
}

fn json(value: &Value, from: Option<&Kind>, to: Option<&Kind>) -> Result<Value, String> {
    match (value, is_text(to)) {
        (Value::String(text), true) if is_text(from) => Ok(Value::String(text.clone())),
        (value, true) => Ok(Value::String(value.to_string())),
        // A column of JSON was read already.
        (value, false) if matches!(from, Some(Kind::Json)) => Ok(value.clone()),
        (Value::String(text), false) if text.trim().is_empty() => Ok(Value::Null),
        (Value::String(text), false) => {
            triggerd_core::json::parse(text.as_bytes()).map_err(|error| format!("{} is no JSON: {error}", shown(value)))
        }
        (value, false) => Ok(value.clone()),
    }
}

fn list(value: &Value, to: Option<&Kind>) -> Value {
    match (value, is_text(to)) {
        (Value::Array(items), true) => {
            let text = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            Value::String(items.iter().map(text).collect::<Vec<_>>().join(","))
        }
        (Value::String(text), false) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(Value::from).collect())
        }
        (value, _) => value.clone(),
    }
}

fn shown(value: &Value) -> String {
    let text: String = value.to_string().chars().take(60).collect();
    format!("`{text}`")
}

fn rfc3339(at: Timestamp) -> String {
    at.to_string()
}

/// An instant, in any of the notations that databases and people have for it; without a zone it is UTC.
#[must_use]
pub fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => instant_text(text.trim()),
        Value::Number(number) => {
            let seconds: f64 = number.to_string().parse().ok()?;
            // Seconds until the year 5138, milliseconds from 1973 on.
            let micros = if seconds.abs() < 1e11 { seconds * 1e6 } else { seconds * 1e3 };
            Timestamp::from_microsecond(micros.round() as i64).ok()
        }
        _ => None,
    }
}

fn instant_text(text: &str) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    // PostgreSQL writes `+00`, which RFC 3339 does not have.
    if text.len() > 3
        && matches!(text.as_bytes()[text.len() - 3], b'+' | b'-')
        && let Ok(at) = format!("{text}:00").parse::<Timestamp>()
    {
        return Some(at);
    }
    let at = text.parse::<civil::DateTime>().or_else(|_| text.parse::<civil::Date>().map(civil::DateTime::from));
    if let Ok(at) = at {
        return at.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    }
    let number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.len() >= 9;
    if number { instant(&Value::Number(serde_json::from_str(text).ok()?)) } else { None }
}

/// Whether `column` holds `found` once `wanted` has been written to it: what its type rounds or writes otherwise is equal.
#[must_use]
pub fn holds(column: &Column, wanted: &Value, found: &Value) -> bool {
    same(&column.kind, &column.full_type, wanted, found)
}

fn same(kind: &Kind, full_type: &str, wanted: &Value, found: &Value) -> bool {
    if wanted.is_null() || found.is_null() {
        return wanted.is_null() && found.is_null();
    }
    if equality::equal(wanted, found) {
        return true;
    }
    match kind {
        Kind::Integer | Kind::Decimal | Kind::Float => numbers(kind, full_type, wanted, found),
        Kind::Bool => truth(wanted).is_some() && truth(wanted) == truth(found),
        Kind::Instant | Kind::DateTime => match (instant(wanted), instant(found)) {
            (Some(wanted), Some(found)) => {
                let apart = (wanted.as_microsecond() - found.as_microsecond()).unsigned_abs();
                apart < 10_u64.pow(6 - u32::from(precision(full_type).min(6))).max(1)
            }
            _ => false,
        },
        Kind::Date => text(wanted).get(..10) == text(found).get(..10),
        Kind::Bytes => {
            let bytes = |value: &Value| STANDARD.decode(text(value)).ok();
            bytes(wanted).is_some() && bytes(wanted) == bytes(found)
        }
        Kind::Array(of) => match (wanted, found) {
            (Value::Array(wanted), Value::Array(found)) => {
                wanted.len() == found.len() && wanted.iter().zip(found).all(|(w, f)| same(of, "", w, f))
            }
            _ => false,
        },
        Kind::Json => false,
        Kind::Time => text(wanted).trim_end_matches(['0', '.']) == text(found).trim_end_matches(['0', '.']),
        Kind::Text => text(wanted) == text(found),
        Kind::Other => text(wanted).eq_ignore_ascii_case(&text(found)),
    }
}

fn numbers(kind: &Kind, full_type: &str, wanted: &Value, found: &Value) -> bool {
    let number = |value: &Value| text(value).parse::<serde_json::Number>().ok().map(Value::Number);
    let (Some(wanted), Some(found)) = (number(wanted), number(found)) else { return false };
    if equality::equal(&wanted, &found) {
        return true;
    }
    let float = |value: &Value| text(value).parse::<f64>().unwrap_or(f64::NAN);
    let (wanted, found) = (float(&wanted), float(&found));
    match kind {
        Kind::Float => (wanted - found).abs() <= wanted.abs() * 1e-6,
        Kind::Decimal => {
            scale(full_type).is_some_and(|scale| (wanted - found).abs() <= 0.5 / 10_f64.powi(scale) + 1e-9)
        }
        _ => false,
    }
}

fn truth(value: &Value) -> Option<bool> {
    match text(value).to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The digits of seconds that a type keeps: as it says, else those of the engine.
fn precision(full_type: &str) -> u8 {
    let inside = full_type.split_once('(').and_then(|(_, rest)| rest.split_once(')'));
    let written = inside.and_then(|(digits, _)| digits.trim().parse().ok());
    let lower = full_type.to_ascii_lowercase();
    // MySQL's types keep none unless they say so; PostgreSQL writes its own out in full, SQLite keeps texts.
    written.unwrap_or(if lower == "datetime" || lower == "timestamp" { 0 } else { 6 })
}

/// The digits behind the point of `decimal(10,2)`.
fn scale(full_type: &str) -> Option<i32> {
    full_type.split_once(',')?.1.split_once(')')?.0.trim().parse().ok()
}

/// A key's part as text: the same from either side.
#[must_use]
pub fn key_text(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (Kind::Instant | Kind::DateTime, value) => instant(value).map_or_else(|| text(value), rfc3339),
        (Kind::Other, value) => text(value).to_ascii_lowercase(),
        (_, Value::Number(number)) => {
            let text = number.to_string();
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
        (_, value) => text(value),
    }
}

/// The value that such a text stands for, in a column of that kind.
#[must_use]
pub fn key_value(kind: &Kind, text: String) -> Value {
    let parsed = || triggerd_core::json::parse(text.as_bytes()).ok();
    match kind {
        kind if kind.is_number() => parsed().filter(Value::is_number).unwrap_or(Value::String(text)),
        Kind::Bool => parsed().filter(Value::is_boolean).unwrap_or(Value::String(text)),
        _ => Value::String(text),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn json_and_lists_are_converted_both_ways() {
        let to = |how, value: Value, from: Kind, to: Kind| convert(how, &value, Some(&from), Some(&to));
        let parsed = to(Conversion::Json, json!("{\"metro\": \"Austin\"}"), Kind::Text, Kind::Json).unwrap();
        assert_eq!(parsed, json!({"metro": "Austin"}));
        assert_eq!(to(Conversion::Json, parsed, Kind::Json, Kind::Text).unwrap(), json!("{\"metro\":\"Austin\"}"));
        assert_eq!(to(Conversion::Json, json!(" "), Kind::Text, Kind::Json).unwrap(), Value::Null);
        assert!(to(Conversion::Json, json!("{broken"), Kind::Text, Kind::Json).unwrap_err().contains("no JSON"));
        let array = Kind::Array(Box::new(Kind::Text));
        assert_eq!(to(Conversion::List, json!("a, b,,c"), Kind::Text, array.clone()).unwrap(), json!(["a", "b", "c"]));
        assert_eq!(to(Conversion::List, json!(["a", "b"]), array, Kind::Text).unwrap(), json!("a,b"));
    }

    #[test]
    fn times_are_read_in_every_notation() {
        let at = "2025-12-22T10:00:00Z".parse::<Timestamp>().unwrap();
        for written in [
            json!("2025-12-22T10:00:00Z"),
            json!("2025-12-22T10:00:00+00:00"),
            json!("2025-12-22T10:00:00+00"),
            json!("2025-12-22 10:00:00"),
            json!("2025-12-22T11:00:00+01:00"),
            json!(1_766_397_600),
            json!("1766397600"),
            json!(1_766_397_600_000_i64),
        ] {
            assert_eq!(instant(&written), Some(at), "{written}");
        }
        assert!(instant(&json!("yesterday")).is_none() && instant(&json!("5")).is_none());
        let zoned = convert(Conversion::Timestamp, &json!("2025-12-22 10:00:00"), None, Some(&Kind::Text)).unwrap();
        assert_eq!(zoned, json!("2025-12-22T10:00:00Z"));
    }

    #[test]
    fn what_a_column_s_type_makes_of_a_value_is_equal_to_it() {
        let column = |kind: Kind, full_type: &str| Column {
            name: "c".into(),
            kind,
            cast: String::new(),
            full_type: full_type.into(),
            max_chars: None,
            readable: true,
            primary: false,
            key_place: 0,
            counted: false,
        };
        let holds = |kind, full_type: &str, a: Value, b: Value| holds(&column(kind, full_type), &a, &b);
        assert!(holds(Kind::Decimal, "decimal(10,2)", json!(1.005), json!("1.01")));
        assert!(!holds(Kind::Decimal, "decimal(10,2)", json!(1.0), json!(1.01)));
        assert!(holds(Kind::Integer, "bigint", json!("5"), json!(5)));
        assert!(holds(Kind::Bool, "boolean", json!(1), json!(true)) && !holds(Kind::Bool, "", json!(0), json!(true)));
        let (fine, coarse) = (json!("2025-12-22T10:00:00.7Z"), json!("2025-12-22T10:00:00.000000Z"));
        assert!(holds(Kind::DateTime, "datetime", fine.clone(), coarse.clone()));
        assert!(!holds(Kind::Instant, "timestamp with time zone", fine, coarse));
        assert!(holds(Kind::Json, "jsonb", json!({"a": 1, "b": 2.0}), json!({"b": 2, "a": 1})));
        assert!(!holds(Kind::Text, "text", json!("a"), json!(null)));
    }
}
