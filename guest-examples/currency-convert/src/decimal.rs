//! Decimal numbers, exact.

use serde_json::Number;

/// More digits than an amount of money has; two of them still multiply without overflow.
const MAX_DIGITS: usize = 28;

/// `mantissa / 10^scale`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    /// Reads `-12.50` and `1.5e3`; `None` for anything else, and for more digits than there is room for.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{}{fraction}", whole.strip_prefix('-').unwrap_or(whole));
        let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !plain || digits.len() > MAX_DIGITS || exponent.unsigned_abs() as usize > MAX_DIGITS {
            return None;
        }
        let magnitude: i128 = digits.parse().ok()?;
        let mantissa = if whole.starts_with('-') { -magnitude } else { magnitude };
        let scale = i32::try_from(fraction.len()).ok()? - exponent;
        match u32::try_from(scale) {
            Ok(scale) => Some(Self { mantissa, scale }),
            Err(_) => {
                let mantissa = mantissa.checked_mul(10_i128.checked_pow(scale.unsigned_abs())?)?;
                Some(Self { mantissa, scale: 0 })
            }
        }
    }

    /// The product; `None` where it has no room.
    pub fn times(self, other: Self) -> Option<Self> {
        Some(Self { mantissa: self.mantissa.checked_mul(other.mantissa)?, scale: self.scale + other.scale })
    }

    /// With so many digits behind the point, halves away from zero, as invoices round.
    pub fn rounded(self, digits: u32) -> Option<Self> {
        if self.scale <= digits {
            let mantissa = self.mantissa.checked_mul(10_i128.checked_pow(digits - self.scale)?)?;
            return Some(Self { mantissa, scale: digits });
        }
        // So small a part of a cent that 10^n has no room is none.
        let Some(unit) = 10_i128.checked_pow(self.scale - digits) else {
            return Some(Self { mantissa: 0, scale: digits });
        };
        let half = (unit / 2) * self.mantissa.signum();
        Some(Self { mantissa: self.mantissa.checked_add(half)? / unit, scale: digits })
    }

    /// The number with all its digits, `12.50`.
    pub fn to_number(self) -> Number {
        let scale = self.scale as usize;
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let point = if scale == 0 { "" } else { "." };
        let text = format!("{sign}{whole}{point}{fraction}");
        serde_json::from_str(&text).expect("digits with a point between them are a JSON number")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(text: &str, digits: u32) -> String {
        Decimal::parse(text).unwrap().rounded(digits).unwrap().to_number().to_string()
    }

    #[test]
    fn halves_are_rounded_away_from_zero() {
        assert_eq!(rounded("2.345", 2), "2.35");
        assert_eq!(rounded("-2.345", 2), "-2.35");
        assert_eq!(rounded("2.3449999", 2), "2.34");
        assert_eq!(rounded("0.004", 2), "0.00");
        assert_eq!(rounded("7", 2), "7.00");
    }

    #[test]
    fn exponents_are_read() {
        assert_eq!(rounded("1.5e3", 0), "1500");
        assert_eq!(rounded("15e-3", 3), "0.015");
        assert_eq!(rounded("1e-28", 2), "0.00");
    }

    #[test]
    fn no_digit_is_made_up() {
        let product = Decimal::parse("0.1").unwrap().times(Decimal::parse("0.2").unwrap()).unwrap();
        assert_eq!(product.rounded(20).unwrap().to_number().to_string(), "0.02000000000000000000");
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in ["", "-", ".", "1.2.3", "1,5", "0x10", "1e", "1e999999999999", "--1", "１"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        assert_eq!(Decimal::parse(&"9".repeat(29)), None);
        let large = Decimal::parse(&"9".repeat(28)).unwrap();
        assert_eq!(large.times(large), None);
    }
}
