//! Numbers by their digits: exact up to 38 of them, which floats are not from 16 on.

use std::cmp::Ordering;
use std::fmt;

use serde_json::{Number, Value};

/// How many digits a quotient has after the point at most.
const QUOTIENT_DIGITS: u32 = 20;

/// The most digits after the point.
const MAX_SCALE: u32 = 38;

/// `mantissa / 10^scale`
#[derive(Clone, Copy, Debug)]
pub(super) struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    /// Zero.
    pub const ZERO: Self = Self { mantissa: 0, scale: 0 };

    /// Of JSON's notation, with blanks and a plus sign forgiven. `None` for anything else, and for numbers of
    /// more than 38 digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let negative = number.starts_with('-');
        let number = number.strip_prefix(['-', '+']).unwrap_or(number);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) {
            return None;
        }
        let kept = fraction.trim_end_matches('0');
        let mut mantissa: i128 = 0;
        for digit in whole.bytes().chain(kept.bytes()) {
            mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        if mantissa == 0 {
            return Some(Self::ZERO);
        }
        if negative {
            mantissa = -mantissa;
        }
        let scale = i64::try_from(kept.len()).ok()?.checked_sub(exponent)?;
        if scale >= 0 {
            return Self { mantissa, scale: u32::try_from(scale).ok()? }.shortened().bounded();
        }
        let shift = u32::try_from(scale.checked_neg()?).ok()?;
        Some(Self { mantissa: mantissa.checked_mul(10i128.checked_pow(shift)?)?, scale: 0 })
    }

    /// Of a JSON number.
    pub fn of(number: &Number) -> Option<Self> {
        Self::parse(number.as_str())
    }

    /// As a JSON number.
    pub fn to_number(self) -> Option<Number> {
        self.to_string().parse().ok()
    }

    /// The sum; `None` where it has too many digits.
    pub fn add(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Self { mantissa: a.checked_add(b)?, scale }.shortened())
    }

    /// The difference.
    pub fn sub(self, other: Self) -> Option<Self> {
        let (a, b, scale) = self.aligned(other)?;
        Some(Self { mantissa: a.checked_sub(b)?, scale }.shortened())
    }

    /// The product.
    pub fn mul(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Self { mantissa, scale: self.scale + other.scale }.shortened().bounded()
    }

    /// The quotient, rounded after 20 digits; `None` for a divisor of zero too.
    pub fn div(self, other: Self) -> Option<Self> {
        let (a, b, _) = self.aligned(other)?;
        let mut quotient = Self { mantissa: a.checked_div(b)?, scale: 0 };
        let mut rest = a.checked_rem(b)?.unsigned_abs();
        let (divisor, sign) = (b.unsigned_abs(), if (a < 0) == (b < 0) { 1 } else { -1 });
        while rest != 0 && quotient.scale <= QUOTIENT_DIGITS {
            let Some(next) = rest.checked_mul(10) else {
                break;
            };
            let digit = i128::try_from(next / divisor).ok()?;
            let Some(mantissa) = quotient.mantissa.checked_mul(10).and_then(|m| m.checked_add(sign * digit)) else {
                break;
            };
            quotient = Self { mantissa, scale: quotient.scale + 1 };
            rest = next % divisor;
        }
        Some(quotient.rounded(QUOTIENT_DIGITS).shortened())
    }

    /// Whether it is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// The whole number, if it is one.
    pub fn to_whole(self) -> Option<i128> {
        let short = self.shortened();
        (short.scale == 0).then_some(short.mantissa)
    }

    /// With at most `digits` after the point, halves away from zero.
    pub fn rounded(self, digits: u32) -> Self {
        let Some(cut) = self.scale.checked_sub(digits).filter(|cut| *cut > 0) else {
            return self;
        };
        let Some(unit) = 10i128.checked_pow(cut) else {
            return Self { mantissa: 0, scale: digits };
        };
        let (whole, rest) = (self.mantissa / unit, self.mantissa % unit);
        let up = rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2);
        Self { mantissa: whole + if up { self.mantissa.signum() } else { 0 }, scale: digits }
    }

    /// Its sign, the digits before and those after the point.
    pub fn parts(self) -> (bool, String, String) {
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs(), width = self.scale as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.scale as usize);
        (self.mantissa < 0, whole.to_owned(), fraction.to_owned())
    }

    fn shortened(mut self) -> Self {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self = Self { mantissa: self.mantissa / 10, scale: self.scale - 1 };
        }
        self
    }

    fn bounded(self) -> Option<Self> {
        (self.scale <= MAX_SCALE).then_some(self)
    }

    fn aligned(self, other: Self) -> Option<(i128, i128, u32)> {
        let scale = self.scale.max(other.scale);
        let lift = |d: Self| 10i128.checked_pow(scale - d.scale).and_then(|unit| d.mantissa.checked_mul(unit));
        Some((lift(self)?, lift(other)?, scale))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (negative, whole, fraction) = self.parts();
        let (sign, point) = (if negative { "-" } else { "" }, if fraction.is_empty() { "" } else { "." });
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

/// How two numbers compare by value.
pub(super) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    if a.as_str() == b.as_str() {
        return Some(Ordering::Equal);
    }
    let exact = Decimal::of(a).zip(Decimal::of(b)).and_then(|(a, b)| a.aligned(b)).map(|(a, b, _)| a.cmp(&b));
    exact.or_else(|| a.as_f64().zip(b.as_f64()).and_then(|(a, b)| a.partial_cmp(&b)))
}

/// JSON equality, numbers by value.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn numbers_are_read_by_their_digits() {
        for (text, shown) in [
            ("1", "1"),
            ("-0", "0"),
            ("1.50", "1.5"),
            ("1e3", "1000"),
            ("25e-1", "2.5"),
            (".5", "0.5"),
            (" +7 ", "7"),
            ("0e999999", "0"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
        ] {
            assert_eq!(d(text).to_string(), shown, "{text}");
        }
        for bad in ["", "-", ".", "1e400", "1e-400", "1e", "0x1", "1,5", "NaN", "1e99999999999999999999", "٣"] {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_is_exact() {
        assert_eq!(d("0.1").add(d("0.2")).unwrap().to_string(), "0.3");
        assert_eq!(d("9007199254740993").sub(d("1")).unwrap().to_string(), "9007199254740992");
        assert_eq!(d("1.5").mul(d("-2")).unwrap().to_string(), "-3");
        assert_eq!(d("1").div(d("3")).unwrap().to_string(), "0.33333333333333333333");
        assert_eq!(d("-2").div(d("3")).unwrap().to_string(), "-0.66666666666666666667");
        assert_eq!(d("10").div(d("4")).unwrap().to_string(), "2.5");
        assert!(d("1").div(d("0")).is_none());
        let large = i128::MAX.to_string();
        assert!(d(&large).add(d("1")).is_none() && d(&large).mul(d("2")).is_none());
        assert!(d(&large).div(d("0.5")).is_none());
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        for (text, digits, shown) in
            [("0.125", 2, "0.13"), ("-0.125", 2, "-0.13"), ("2.5", 0, "3"), ("2.4", 0, "2"), ("7", 2, "7")]
        {
            assert_eq!(d(text).rounded(digits).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn large_numbers_compare_exactly_and_huge_ones_at_least_as_floats() {
        let n = |text: &str| text.parse::<Number>().unwrap();
        assert_eq!(compare(&n("9007199254740993"), &n("9007199254740992")), Some(Ordering::Greater));
        assert_eq!(compare(&n("1"), &n("1.0")), Some(Ordering::Equal));
        assert_eq!(compare(&n("1e300"), &n("2")), Some(Ordering::Greater));
    }
}
