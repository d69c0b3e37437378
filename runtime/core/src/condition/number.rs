//! JSON numbers by value: exact at any length, for `1` = `1.0` = `10e-1`, 2^53 + 1, and 1e400.
//!
//! A number is `0.DIGITS * 10^(point + exponent)`, read straight from its text. Nothing is rounded and nothing
//! is expanded: `1e999999999` costs what its eleven characters cost.

use std::cmp::Ordering;
use std::iter::repeat;

use serde_json::Number;

/// Compares by value.
pub fn compare(a: &Number, b: &Number) -> Ordering {
    compare_texts(a.as_str(), b.as_str())
}

fn compare_texts(a: &str, b: &str) -> Ordering {
    if let (Some(a), Some(b)) = (small_integer(a), small_integer(b)) {
        return a.cmp(&b);
    }
    let (a, b) = (Decimal::read(a), Decimal::read(b));
    match (a.sign(), b.sign()) {
        (1, 1) => a.compare_magnitude(&b),
        (-1, -1) => b.compare_magnitude(&a),
        (a, b) => a.cmp(&b),
    }
}

/// An integer of up to 18 digits, written as such.
pub fn small_integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let magnitude = digits.bytes().try_fold(0i64, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))?;
    Some(if negative { -magnitude } else { magnitude })
}

/// A number in its one canonical form: no leading and no trailing zeros, no sign on zero.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Canonical {
    /// A whole number of up to 18 digits.
    Small(i64),
    /// `0.digits * 10^scale`
    Large {
        /// Below zero.
        negative: bool,
        /// Neither the first nor the last is `0`.
        digits: Box<str>,
        /// The power of ten.
        scale: i128,
    },
}

/// Exponents beyond this have no canonical form: far from the limits of `i128`, so that whether a number has
/// one depends on its value, not on how it is written.
const MAX_SCALE: i128 = 1 << 100;

impl Canonical {
    /// `None` for exponents of more than about 30 digits.
    pub fn of(number: &Number) -> Option<Self> {
        if let Some(small) = small_integer(number.as_str()) {
            return Some(Self::Small(small));
        }
        let decimal = Decimal::read(number.as_str());
        if decimal.is_zero() {
            return Some(Self::Small(0));
        }
        let scale = decimal.scale().filter(|scale| scale.abs() <= MAX_SCALE)?;
        let digits: String = decimal.digits().map(char::from).collect();
        let digits = digits.trim_end_matches('0');
        match usize::try_from(scale) {
            Ok(whole) if digits.len() <= whole && whole <= 18 => {
                let magnitude: i64 = format!("{digits:0<whole$}").parse().ok()?;
                Some(Self::Small(if decimal.negative { -magnitude } else { magnitude }))
            }
            _ => Some(Self::Large { negative: decimal.negative, digits: digits.into(), scale }),
        }
    }
}

/// A number's text in parts. Without leading zeros: `whole` is empty below one, and `fraction` then begins with
/// its first digit that counts.
struct Decimal<'t> {
    negative: bool,
    whole: &'t str,
    fraction: &'t str,
    /// Where the point stands: digits before it, or minus the zeros right after it.
    point: i128,
    exponent_negative: bool,
    exponent: &'t str,
}

impl<'t> Decimal<'t> {
    fn read(text: &'t str) -> Self {
        let (negative, text) = match text.strip_prefix('-') {
            Some(text) => (true, text),
            None => (false, text),
        };
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, ""));
        let (exponent_negative, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => (true, exponent),
            None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let whole = whole.trim_start_matches('0');
        let counting = if whole.is_empty() { fraction.trim_start_matches('0') } else { fraction };
        let zeros = fraction.len() - counting.len();
        let point = if whole.is_empty() { -length(zeros) } else { length(whole.len()) };
        let exponent = exponent.trim_start_matches('0');
        Self { negative, whole, fraction: counting, point, exponent_negative, exponent }
    }

    fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    fn sign(&self) -> i8 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }

    fn digits(&self) -> impl Iterator<Item = u8> {
        self.whole.bytes().chain(self.fraction.bytes())
    }

    fn scale(&self) -> Option<i128> {
        let exponent: i128 = if self.exponent.is_empty() { 0 } else { self.exponent.parse().ok()? };
        self.point.checked_add(if self.exponent_negative { -exponent } else { exponent })
    }

    /// Neither is zero.
    fn compare_magnitude(&self, other: &Self) -> Ordering {
        let shift = self.exponent_minus(other) + (self.point - other.point);
        if shift != 0 {
            return shift.cmp(&0);
        }
        let length = (self.whole.len() + self.fraction.len()).max(other.whole.len() + other.fraction.len());
        let padded = self.digits().chain(repeat(b'0')).zip(other.digits().chain(repeat(b'0')));
        padded.take(length).map(|(a, b)| a.cmp(&b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The difference of the exponents, whose texts may be of any length; exact up to 10^30 and of the right
    /// sign beyond, which no number of digits that fits in memory can make up for.
    fn exponent_minus(&self, other: &Self) -> i128 {
        const FAR: i128 = 10i128.pow(30);
        let length = self.exponent.len().max(other.exponent.len());
        let digit = |text: &str, at: usize| {
            let zeros = length - text.len();
            at.checked_sub(zeros).map_or(0, |at| i128::from(text.as_bytes()[at] - b'0'))
        };
        let signed = |negative: bool, digit: i128| if negative { -digit } else { digit };
        // Once it is far from zero, no later digit brings it back: the clamp loses nothing.
        (0..length).fold(0, |difference: i128, at| {
            let a = signed(self.exponent_negative, digit(self.exponent, at));
            let b = signed(other.exponent_negative, digit(other.exponent, at));
            (difference * 10 + a - b).clamp(-FAR, FAR)
        })
    }
}

fn length(bytes: usize) -> i128 {
    i128::try_from(bytes).expect("a length in memory fits in 127 bits")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        text.parse().unwrap()
    }

    #[test]
    fn numbers_compare_by_value() {
        use Ordering::{Equal, Greater, Less};
        for (a, order, b) in [
            ("1", Equal, "1.0"),
            ("1", Equal, "10e-1"),
            ("1", Equal, "0.001e3"),
            ("100", Equal, "1E+2"),
            ("0", Equal, "-0"),
            ("0", Equal, "-0.00e99"),
            ("0", Less, "1e-400"),
            ("-1e-400", Less, "0"),
            ("9007199254740993", Greater, "9007199254740992"),
            ("9007199254740993", Greater, "9007199254740992.9"),
            ("18446744073709551616", Greater, "18446744073709551615"),
            ("123456789012345678901234567890", Less, "123456789012345678901234567891"),
            ("0.1", Less, "0.10000000000000000000000000000001"),
            ("1e400", Greater, "9e399"),
            ("1e400", Equal, "10e399"),
            ("-1e400", Less, "-9e399"),
            ("1e400", Less, "1e401"),
            ("1e-400", Greater, "1e-401"),
            ("1e99999999999999999999999999999999999999999", Less, "1e100000000000000000000000000000000000000000"),
            ("1e100000000000000000000000000000000000000000", Equal, "10e99999999999999999999999999999999999999999"),
            ("1e-100000000000000000000000000000000000000000", Less, "1e100000000000000000000000000000000000000000"),
            ("2", Less, "10"),
            ("-2", Greater, "-10"),
            ("1.5", Less, "1.50000000000000001"),
            ("1e0000005", Equal, "100000"),
        ] {
            assert_eq!(compare_texts(a, b), order, "{a} {b}");
            assert_eq!(compare_texts(b, a), order.reverse(), "{b} {a}");
            assert_eq!(compare(&number(a), &number(b)), order, "{a} {b}");
        }
    }

    #[test]
    fn numbers_beyond_all_measure_have_no_canonical_form() {
        for text in ["1e2000000000000000000000000000000", "0.1e99999999999999999999999999999999999999999"] {
            assert_eq!(Canonical::of(&number(text)), None);
        }
        assert!(Canonical::of(&number("1e400")).is_some());
        assert_eq!(Canonical::of(&number("0e99999999999999999999999999999999999999999")), Some(Canonical::Small(0)));
        assert_eq!(Canonical::of(&number("1000000000000000.00e2")), Some(Canonical::Small(100_000_000_000_000_000)));
    }

    /// The number as `sign, digits` scaled by 10^60: schoolbook arithmetic on digit strings, written another way.
    fn expanded(text: &str) -> (bool, String) {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap();
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = format!("{}{whole}{fraction}{}", "0".repeat(60), "0".repeat(120));
        let point = 60 + i32::try_from(whole.len()).unwrap() + exponent;
        digits.truncate(usize::try_from(point + 60).unwrap());
        (negative, format!("{digits:0>300}"))
    }

    fn expected(a: &str, b: &str) -> Ordering {
        let ((a_negative, a), (b_negative, b)) = (expanded(a), expanded(b));
        let zero = |d: &str| d.bytes().all(|b| b == b'0');
        match (a_negative && !zero(&a), b_negative && !zero(&b)) {
            (false, false) => a.cmp(&b),
            (true, true) => b.cmp(&a),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }

    const NUMBER: &str =
        "-?(0|[1-9][0-9]{0,2}|[1-9][0-9]{15,22})(\\.[0-9]{1,3}|\\.0{1,4}[0-9])?([eE][+-]?[0-9]|[eE]-?[12][0-9])?";

    proptest! {
        #[test]
        fn the_order_is_that_of_exact_arithmetic(a in NUMBER, b in NUMBER) {
            prop_assert_eq!(compare_texts(&a, &b), expected(&a, &b));
        }

        #[test]
        fn close_numbers_are_told_apart(a in "[1-9][0-9]{16,24}", zeros in 0usize..4, bump in 0u8..10) {
            let b = format!("{}{bump}", &a[..a.len() - 1]);
            let scaled = format!("{b}{}e-{zeros}", "0".repeat(zeros));
            prop_assert_eq!(compare_texts(&a, &scaled), a.cmp(&b));
        }

        #[test]
        fn equal_values_and_only_they_have_equal_canonical_forms(a in NUMBER, b in NUMBER, shift in 0usize..20) {
            let (x, y) = (Canonical::of(&number(&a)).unwrap(), Canonical::of(&number(&b)).unwrap());
            prop_assert_eq!(x == y, compare_texts(&a, &b).is_eq());
            // The same value, written another way.
            let (mantissa, exponent) = a.split_once(['e', 'E']).unwrap_or((&a, "0"));
            let exponent: i64 = exponent.parse().unwrap();
            let point = if mantissa.contains('.') { "" } else { "." };
            let other = format!("{mantissa}{point}{}e{}", "0".repeat(shift + 1), exponent);
            prop_assert_eq!(Canonical::of(&number(&other)).unwrap(), x);
        }
    }
}
