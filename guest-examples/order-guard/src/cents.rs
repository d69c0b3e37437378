//! Amounts of money in hundredths, exact.

use std::fmt;

use serde_json::Value;

/// An amount that is not below 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub struct Cents(u64);

impl Cents {
    pub const ZERO: Self = Self(0);

    /// Reads `12.5`, `"12.50"`, `12`: at most two digits behind the point, apart from zeros.
    pub fn read(value: &Value) -> Option<Self> {
        let text = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_owned(),
            _ => return None,
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let fraction = fraction.trim_end_matches('0');
        let plain = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|digit| digit.is_ascii_digit());
        if !plain || fraction.len() > 2 {
            return None;
        }
        format!("{whole}{fraction:0<2}").parse().ok().map(Self)
    }

    /// The sum; `None` where it has no room.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The product; `None` where it has no room.
    pub fn times(self, count: u64) -> Option<Self> {
        self.0.checked_mul(count).map(Self)
    }

    /// A number with two digits behind the point.
    pub fn to_json(self) -> Value {
        serde_json::from_str(&self.to_string()).expect("digits with a point between them are JSON")
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_read_as_numbers_and_as_text() {
        for (value, cents) in [(json!(12.5), 1250), (json!("12.50"), 1250), (json!(7), 700), (json!("0.100"), 10)] {
            assert_eq!(Cents::read(&value), Some(Cents(cents)), "{value}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for value in [
            json!(-1),
            json!(1.005),
            json!("1e3"),
            json!(""),
            json!("."),
            json!("1.-5"),
            json!(null),
            json!("9".repeat(30)),
        ] {
            assert_eq!(Cents::read(&value), None, "{value}");
        }
    }
}
