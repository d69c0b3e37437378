//! JSON values as columns take them: exact, or refused with the reason.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jiff::civil;
use serde_json::Value;

use super::catalog::{Column, Kind};
use crate::connections::sql::{Arg, Engine};

/// The most digits that a number is written out to.
const MAX_DIGITS: i64 = 1000;

/// What `value` is bound as for `column`; the error says what the column takes.
pub(super) fn bind(engine: Engine, column: &Column, value: &Value) -> Result<Arg, String> {
    if value.is_null() {
        return Ok(Arg::Null);
    }
    let text = of_kind(engine, &column.kind, value)?;
    if let (Some(most), Arg::Text(text)) = (column.max_chars, &text)
        && text.chars().count() > most
    {
        return Err(format!("{} characters; at most {most} fit", text.chars().count()));
    }
    Ok(text)
}

fn of_kind(engine: Engine, kind: &Kind, value: &Value) -> Result<Arg, String> {
    match kind {
        Kind::Integer => integer(engine, value),
        Kind::Decimal => {
            let text = number_text(value).ok_or_else(|| wants("a number", value))?;
            Ok(Arg::Text(text))
        }
        Kind::Float => float(engine, value),
        Kind::Bool => truth(engine, value),
        Kind::Text => text(value),
        Kind::Bytes => bytes(engine, value),
        Kind::Json => Ok(Arg::Text(value.to_string())),
        Kind::Instant | Kind::DateTime => moment(engine, kind, value),
        Kind::Date => date(value),
        Kind::Time => string(value, "a time such as \"12:30:00\"").map(|text| Arg::Text(text.to_owned())),
        Kind::Array(of) => match value {
            Value::Array(items) => array(of, items).map(Arg::Text),
            other => Err(wants("an array", other)),
        },
        Kind::Other => other(engine, value),
    }
}

fn wants(wanted: &str, value: &Value) -> String {
    let found = match value {
        Value::String(text) => {
            let start: String = text.chars().take(40).collect();
            format!("the text {start:?}")
        }
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Null => "null".to_owned(),
    };
    format!("takes {wanted}, not {found}")
}

fn string<'v>(value: &'v Value, wanted: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| wants(wanted, value))
}

/// A number, or a text that is one, written out without an exponent.
fn number_text(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => plain(&number.to_string()),
        Value::String(text) => plain(text),
        _ => None,
    }
}

/// `text` without an exponent, if it is a decimal number: `-1.50e3` is `-1500`.
pub(super) fn plain(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || digits.len() as i64 > MAX_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if exponent == 0 {
        let fraction = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
        return Some(format!("{sign}{whole}{fraction}"));
    }
    if exponent.abs() > MAX_DIGITS {
        return None;
    }
    let point = whole.len() as i64 + exponent;
    let written = if point <= 0 {
        format!("0.{}{digits}", "0".repeat(usize::try_from(-point).ok()?))
    } else if point >= digits.len() as i64 {
        format!("{digits}{}", "0".repeat(usize::try_from(point - digits.len() as i64).ok()?))
    } else {
        let point = usize::try_from(point).ok()?;
        format!("{}.{}", &digits[..point], &digits[point..])
    };
    Some(format!("{sign}{written}"))
}

fn integer(engine: Engine, value: &Value) -> Result<Arg, String> {
    let text = number_text(value).ok_or_else(|| wants("a whole number", value))?;
    let whole = match text.split_once('.') {
        Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        Some(_) => return Err(wants("a whole number", value)),
        None => text,
    };
    if engine != Engine::Sqlite {
        return Ok(Arg::Text(whole));
    }
    // SQLite would keep a larger one as a rounded floating-point number.
    whole.parse().map(Arg::Int).map_err(|_| wants("a whole number of 64 bits", value))
}

fn float(engine: Engine, value: &Value) -> Result<Arg, String> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        other => return Err(wants("a number", other)),
    };
    let number: f64 = text.parse().map_err(|_| wants("a number", value))?;
    match engine {
        Engine::Sqlite if number.is_finite() => Ok(Arg::Real(number)),
        Engine::Postgres => Ok(Arg::Text(text)),
        Engine::Mysql if number.is_finite() => Ok(Arg::Text(text)),
        Engine::Mysql | Engine::Sqlite => Err(wants("a finite number", value)),
    }
}

fn truth(engine: Engine, value: &Value) -> Result<Arg, String> {
    let truth = match value {
        Value::Bool(truth) => *truth,
        Value::String(text) if text.eq_ignore_ascii_case("true") => true,
        Value::String(text) if text.eq_ignore_ascii_case("false") => false,
        Value::Number(number) if number.to_string() == "1" => true,
        Value::Number(number) if number.to_string() == "0" => false,
        // MySQL's TINYINT(1) is a number of one byte that people also count with.
        Value::Number(_) if engine == Engine::Mysql => return integer(engine, value),
        other => return Err(wants("true or false", other)),
    };
    Ok(match engine {
        Engine::Postgres => Arg::Text(truth.to_string()),
        Engine::Mysql => Arg::Text(u8::from(truth).to_string()),
        Engine::Sqlite => Arg::Int(truth.into()),
    })
}

/// Everything has a text; objects and arrays have their JSON.
fn text(value: &Value) -> Result<Arg, String> {
    match value {
        Value::String(text) if text.contains('\0') => Err("a text with a NUL character cannot be kept".to_owned()),
        Value::String(text) => Ok(Arg::Text(text.clone())),
        other => Ok(Arg::Text(other.to_string())),
    }
}

fn bytes(engine: Engine, value: &Value) -> Result<Arg, String> {
    let text = string(value, "bytes in base64")?;
    let codecs = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    let bytes = codecs.iter().find_map(|codec| codec.decode(text).ok()).ok_or("takes bytes in base64")?;
    Ok(match engine {
        Engine::Postgres => Arg::Text(format!("\\x{}", hex::encode(bytes))),
        Engine::Mysql | Engine::Sqlite => Arg::Bytes(bytes),
    })
}

fn moment(engine: Engine, kind: &Kind, value: &Value) -> Result<Arg, String> {
    const WANTED: &str = "a time such as \"2026-01-31T12:00:00Z\"";
    let text = string(value, WANTED)?;
    if engine == Engine::Postgres && *kind == Kind::Instant {
        // PostgreSQL reads offsets itself, and more notations than ours.
        return Ok(Arg::Text(text.to_owned()));
    }
    // Columns without a zone hold UTC; without an offset a text is taken as it is.
    let utc = match text.parse::<Timestamp>() {
        Ok(instant) => instant.to_zoned(jiff::tz::TimeZone::UTC).datetime(),
        Err(_) => text.parse::<civil::DateTime>().map_err(|_| wants(WANTED, value))?,
    };
    let format = match engine {
        Engine::Sqlite => "%Y-%m-%dT%H:%M:%S%.6fZ",
        Engine::Mysql | Engine::Postgres => "%Y-%m-%d %H:%M:%S%.6f",
    };
    Ok(Arg::Text(utc.strftime(format).to_string()))
}

fn date(value: &Value) -> Result<Arg, String> {
    const WANTED: &str = "a date such as \"2026-01-31\"";
    let text = string(value, WANTED)?;
    let date = match text.parse::<Timestamp>() {
        Ok(instant) => instant.to_zoned(jiff::tz::TimeZone::UTC).date(),
        Err(_) => text.parse::<civil::Date>().map_err(|_| wants(WANTED, value))?,
    };
    Ok(Arg::Text(date.to_string()))
}

/// PostgreSQL's notation of arrays: braces, every element quoted.
fn array(of: &Kind, items: &[Value]) -> Result<String, String> {
    let item = |item: &Value| match item {
        Value::Null => Ok("NULL".to_owned()),
        Value::Array(inner) if *of != Kind::Json => array(of, inner),
        item => match of_kind(Engine::Postgres, of, item)? {
            Arg::Text(text) => Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))),
            _ => Err(wants("other elements", item)),
        },
    };
    let items = items.iter().map(item).collect::<Result<Vec<String>, String>>()?;
    Ok(format!("{{{}}}", items.join(",")))
}

/// A text for the database to read; in SQLite, whose columns without a type take anything, the value itself.
fn other(engine: Engine, value: &Value) -> Result<Arg, String> {
    match (engine, value) {
        (Engine::Sqlite, Value::Number(number)) => {
            let whole = number.to_string().parse().map(Arg::Int);
            whole.or_else(|_| float(engine, value))
        }
        (Engine::Sqlite, Value::Bool(_)) => truth(engine, value),
        (Engine::Mysql, Value::Bool(truth)) => Ok(Arg::Text(u8::from(*truth).to_string())),
        _ => text(value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn bound(engine: Engine, kind: Kind, json: &str) -> Result<Arg, String> {
        of_kind(engine, &kind, &serde_json::from_str(json).unwrap())
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = |text: &str| Ok(Arg::Text(text.to_owned()));
        let long = "123456789012345678901234567890.123456789";
        assert_eq!(bound(Engine::Postgres, Kind::Decimal, long), text(long));
        assert_eq!(bound(Engine::Mysql, Kind::Decimal, "1.50e3"), text("1500"));
        assert_eq!(bound(Engine::Mysql, Kind::Decimal, "15e-3"), text("0.015"));
        assert_eq!(bound(Engine::Postgres, Kind::Integer, "9007199254740993"), text("9007199254740993"));
        assert_eq!(bound(Engine::Postgres, Kind::Integer, "3.0"), text("3"));
        assert_eq!(bound(Engine::Sqlite, Kind::Integer, "9223372036854775807"), Ok(Arg::Int(i64::MAX)));
        for (kind, bad) in [
            (Kind::Integer, "1.5"),
            (Kind::Integer, "true"),
            (Kind::Integer, "\"1; DROP\""),
            (Kind::Integer, "\"\""),
            (Kind::Decimal, "\"1e99999\""),
            (Kind::Decimal, "\"NaN\""),
            (Kind::Float, "\"x\""),
            (Kind::Bool, "2"),
        ] {
            assert!(bound(Engine::Postgres, kind.clone(), bad).is_err(), "{kind:?} {bad}");
        }
        assert!(bound(Engine::Sqlite, Kind::Integer, "9223372036854775808").is_err());
    }

    #[test]
    fn moments_are_utc_where_the_column_has_no_zone() {
        let at = json!("2026-01-31T12:00:00.5+02:00").to_string();
        let text = |text: &str| Ok(Arg::Text(text.to_owned()));
        assert_eq!(bound(Engine::Mysql, Kind::Instant, &at), text("2026-01-31 10:00:00.500000"));
        assert_eq!(bound(Engine::Postgres, Kind::DateTime, &at), text("2026-01-31 10:00:00.500000"));
        assert_eq!(bound(Engine::Sqlite, Kind::Instant, &at), text("2026-01-31T10:00:00.500000Z"));
        assert_eq!(bound(Engine::Mysql, Kind::Date, &at), text("2026-01-31"));
        assert!(bound(Engine::Mysql, Kind::Instant, "\"soon\"").is_err());
        assert!(bound(Engine::Mysql, Kind::Instant, "12").is_err());
    }

    #[test]
    fn arrays_and_bytes_are_written_as_postgres_reads_them() {
        let text = |text: &str| Ok(Arg::Text(text.to_owned()));
        let of = |kind| Kind::Array(Box::new(kind));
        assert_eq!(
            bound(Engine::Postgres, of(Kind::Text), r#"["a\"}", null, "b\\,"]"#),
            text(r#"{"a\"}",NULL,"b\\,"}"#)
        );
        assert_eq!(bound(Engine::Postgres, of(Kind::Integer), "[[1,2],[3,4]]"), text(r#"{{"1","2"},{"3","4"}}"#));
        assert_eq!(bound(Engine::Postgres, Kind::Bytes, "\"aGk=\""), text("\\x6869"));
        assert_eq!(bound(Engine::Mysql, Kind::Bytes, "\"aGk\""), Ok(Arg::Bytes(b"hi".to_vec())));
        assert!(bound(Engine::Mysql, Kind::Bytes, "\"%\"").is_err());
    }
}
