//! Values as JSON: what `to_jsonb` makes of them, from the text that the log has.
//!
//! | type | JSON |
//! | --- | --- |
//! | integers, `numeric`, `real`, `double precision` | numbers with all their digits, never with an exponent; `NaN` and the infinities as texts |
//! | `boolean` | true, false |
//! | `json`, `jsonb` | themselves; as text where a key stands twice or they nest deeper than 64 |
//! | `bytea` | base64 (`to_jsonb` has `\x…`) |
//! | `timestamptz` | RFC 3339 in UTC, `2026-01-31T10:00:00+00:00` |
//! | `timestamp` | `2026-01-31T10:00:00` |
//! | arrays | arrays, nested by dimension |
//! | composite types | objects |
//! | domains | as their base |
//! | anything else | the text that the server writes; intervals as ISO 8601 |
//!
//! Two things differ from `to_jsonb` besides `bytea`: numbers within `json` keep the digits that they were written with,
//! and types that an extension casts to JSON (`hstore`) are texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use triggerd_core::json::{self, Error};

use super::kind::Kind;
use super::notation;

/// The value whose text it is. A text that is not of its kind stays a text; `refused` is why JSON in it did, however deep.
pub(super) fn of(kind: &Kind, text: &str, refused: &mut Option<Error>) -> Value {
    let made = match kind {
        Kind::Text => None,
        Kind::Bool => match text {
            "t" => Some(true.into()),
            "f" => Some(false.into()),
            _ => None,
        },
        Kind::Number => number(text),
        Kind::Json => json::parse(text.as_bytes()).map_err(|why| *refused = Some(why)).ok(),
        Kind::Bytes => {
            let bytes = text.strip_prefix("\\x").and_then(|digits| hex::decode(digits).ok());
            bytes.map(|bytes| STANDARD.encode(bytes).into())
        }
        Kind::DateTime => Some(text.replacen(' ', "T", 1).into()),
        Kind::Instant => Some(instant(text).into()),
        Kind::Array(element, between) => notation::array(text, element, *between, refused),
        Kind::Row(fields) => row(fields, text, refused),
    };
    made.unwrap_or_else(|| text.into())
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    plain(text)?.parse::<Number>().ok().map(Value::Number)
}

/// A number without an exponent, as `jsonb` keeps it; `None` for `NaN` and the infinities.
fn plain(text: &str) -> Option<String> {
    if !text.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let Some((mantissa, exponent)) = text.split_once('e') else { return Some(text.to_owned()) };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() < 1000)?;
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let point = i32::try_from(whole.len()).ok()? + exponent;
    let made = match usize::try_from(point) {
        Ok(0) | Err(_) => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        Ok(point) if point >= digits.len() => format!("{digits}{}", "0".repeat(point - digits.len())),
        Ok(point) => format!("{}.{}", &digits[..point], &digits[point..]),
    };
    Some(format!("{sign}{made}"))
}

/// The session's zone is UTC, so that the offset is always `+00`; before our era ` BC` follows it.
fn instant(text: &str) -> String {
    match text.split_once("+00") {
        Some((time, rest)) => format!("{}+00:00{rest}", time.replacen(' ', "T", 1)),
        None => text.replacen(' ', "T", 1),
    }
}

fn row(fields: &[(String, Kind)], text: &str, refused: &mut Option<Error>) -> Option<Value> {
    let cells = notation::row(text)?;
    // The type has changed since.
    if cells.len() != fields.len() {
        return None;
    }
    let pairs = fields.iter().zip(cells).map(|((name, kind), cell)| {
        let value = cell.map_or(Value::Null, |text| of(kind, &text, refused));
        (name.clone(), value)
    });
    Some(Value::Object(pairs.collect::<Map<_, _>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(kind: &Kind, text: &str) -> Value {
        super::of(kind, text, &mut None)
    }

    #[test]
    fn json_that_is_refused_is_told_of_however_deep_it_stands() {
        let array = Kind::Array(Box::new(Kind::Json), ',');
        let row = Kind::Row(vec![("n".into(), Kind::Number), ("docs".into(), array.clone())]);
        let mut refused = None;
        super::of(&row, r#"(1,"{""{\\""a\\"": 1}""}")"#, &mut refused);
        assert!(refused.is_none(), "{refused:?}");
        let value = super::of(&array, r#"{"{\"a\": 1, \"a\": 2}","{\"a\": 1}"}"#, &mut refused);
        assert_eq!(value, json!([r#"{"a": 1, "a": 2}"#, {"a": 1}]));
        assert!(refused.take().is_some_and(|why| why.to_string().contains("twice")));
        super::of(&row, r#"(1,"{""{\\""a\\"": 1, \\""a\\"": 2}""}")"#, &mut refused);
        assert!(refused.is_some());
    }

    #[test]
    fn numbers_keep_their_digits_and_lose_their_exponents() {
        let shown = |text: &str| of(&Kind::Number, text).to_string();
        for (text, wanted) in [
            ("-0", "0"),
            ("9223372036854775807", "9223372036854775807"),
            ("12345678901234567890.1200", "12345678901234567890.1200"),
            ("1e+20", "100000000000000000000"),
            ("1.5e-07", "0.00000015"),
            ("-2.25e-05", "-0.0000225"),
            ("1.2345e+2", "123.45"),
            ("NaN", "\"NaN\""),
            ("-Infinity", "\"-Infinity\""),
        ] {
            assert_eq!(shown(text), wanted, "{text}");
        }
        assert_eq!(plain("1e+308").map(|text| text.len()), Some(309));
    }

    #[test]
    fn what_is_not_of_its_kind_stays_a_text() {
        for kind in [Kind::Bool, Kind::Number, Kind::Json, Kind::Bytes, Kind::Array(Box::new(Kind::Number), ',')] {
            assert_eq!(of(&kind, "{x"), json!("{x"), "{kind:?}");
        }
        assert_eq!(of(&Kind::Row(vec![("a".into(), Kind::Number)]), "(1,2)"), json!("(1,2)"));
        assert_eq!(of(&Kind::Json, r#"{"a": 1, "a": 2}"#), json!(r#"{"a": 1, "a": 2}"#));
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(of(&Kind::Json, &deep), json!(deep));
    }

    #[test]
    fn times_are_written_as_to_jsonb_does() {
        assert_eq!(of(&Kind::Instant, "2026-01-31 10:00:00.5+00"), json!("2026-01-31T10:00:00.5+00:00"));
        assert_eq!(of(&Kind::Instant, "0044-03-15 12:00:00+00 BC"), json!("0044-03-15T12:00:00+00:00 BC"));
        assert_eq!(of(&Kind::Instant, "-infinity"), json!("-infinity"));
        assert_eq!(of(&Kind::DateTime, "2026-01-31 10:00:00"), json!("2026-01-31T10:00:00"));
    }
}
