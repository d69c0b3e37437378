//! Telephone numbers in E.164: `+`, the country code, the number; 15 digits at most.

/// The fewest digits that a number with its country code has anywhere.
const FEWEST: usize = 7;
/// The most that E.164 allows.
const MOST: usize = 15;

/// The number without the spaces, hyphens, dots and brackets that people write; or what is wrong with it.
pub fn normal(text: &str) -> Result<String, String> {
    let number: String = text.trim().chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
    let digits = number.strip_prefix('+').unwrap_or_default();
    let fits = (FEWEST..=MOST).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit())
        && !digits.starts_with('0');
    if fits {
        return Ok(number);
    }
    let shown: String = text.escape_debug().take(40).collect();
    Err(format!("`{shown}` is not a number in E.164: write `+`, the country code and the number, as in +14155550123"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn numbers_are_taken_with_their_country_code_only() {
        assert_eq!(normal(" +1 (415) 555-0123").unwrap(), "+14155550123");
        assert_eq!(normal("+491701234567").unwrap(), "+491701234567");
        for bad in [
            "",
            "+",
            "4155550123",
            "+0155550123",
            "+1234567890123456",
            "+1415555x",
            "+123",
            "00491701234567",
            "+1415\r\n555",
            "+\u{661}23456789",
        ] {
            assert!(normal(bad).is_err(), "{bad:?}");
        }
    }
}
