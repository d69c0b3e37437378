//! Finds card and phone numbers in text.
//!
//! A card number has 13 to 19 digits and a right check digit (Luhn). A phone number begins with `+`, or has
//! ten or eleven digits in groups. Digits that hang on letters, `-`, `_`, `.`, `/` or `#` are part of
//! something else: a UUID, a stock number, a version, a ticket.

use serde_json::Value;

use crate::Place;

/// All card and phone numbers, in order.
pub fn find(text: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut rest = 0;
    while let Some(start) = text[rest..].find(|c: char| c.is_ascii_digit() || c == '+' || c == '(').map(|at| rest + at)
    {
        let end = run_end(text, start);
        if let Some(mark) = mark(text, start, end) {
            places.push(Place { start, end, mark });
        }
        // `+` and `(` alone are no run.
        rest = end.max(start + 1);
    }
    places
}

/// Whether a number is a card's.
pub fn is_card(digits: &str) -> bool {
    (13..=19).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit()) && has_check_digit(digits)
}

/// Whether the value of a field that is named like a phone is one.
pub fn is_dialable(value: &Value) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return false,
    };
    let plain = text.chars().all(|c| c.is_ascii_digit() || " +-./()".contains(c));
    plain && (5..=15).contains(&digits(&text).len())
}

/// The end of a run of digits with single separators between them; it ends with a digit.
fn run_end(text: &str, start: usize) -> usize {
    let mut end = start;
    let mut separators = 0;
    for (at, c) in text[start..].char_indices() {
        match c {
            '0'..='9' => {
                end = start + at + 1;
                separators = 0;
            }
            '+' if at == 0 => {}
            ' ' | '-' | '.' | '/' | '(' | ')' if separators < 2 => separators += 1,
            _ => break,
        }
    }
    end
}

/// What the run is, if it is anything.
fn mark(text: &str, start: usize, end: usize) -> Option<&'static str> {
    let run = &text[start..end];
    let hangs_on = |c: char| c.is_alphanumeric() || "-_./#".contains(c);
    let before = text[..start].chars().next_back().is_some_and(hangs_on);
    let after = text[end..].chars().next().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if before || after {
        return None;
    }
    let digits = digits(run);
    if !run.contains(['+', '(', '.', '/']) && is_card(&digits) {
        return Some("[card]");
    }
    let is_phone = match run.starts_with('+') {
        true => (8..=15).contains(&digits.len()),
        false => (10..=11).contains(&digits.len()) && digits.len() < run.len() && !begins_with_date(run),
    };
    is_phone.then_some("[phone]")
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

/// `2026-01-02`, with whatever comes after.
fn begins_with_date(run: &str) -> bool {
    let shape: String = run.chars().take(10).map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    matches!(shape.as_str(), "0000-00-00" | "0000/00/00" | "00.00.0000" | "00/00/0000" | "00-00-0000")
}

/// Luhn: every second digit from the right doubled, all added up, divisible by ten.
fn has_check_digit(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            match (place % 2, digit * 2) {
                (0, _) => digit,
                (_, doubled) if doubled > 9 => doubled - 9,
                (_, doubled) => doubled,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, &str)> {
        find(text).iter().map(|place| (&text[place.start..place.end], place.mark)).collect()
    }

    #[test]
    fn cards_have_a_check_digit() {
        assert_eq!(found("4111 1111 1111 1111"), [("4111 1111 1111 1111", "[card]")]);
        assert_eq!(found("pan=5500-0000-0000-0004;"), [("5500-0000-0000-0004", "[card]")]);
        assert_eq!(found("378282246310005"), [("378282246310005", "[card]")]);
        assert_eq!(found("4111 1111 1111 1112"), []);
    }

    #[test]
    fn phones_begin_with_a_plus_or_come_in_groups() {
        assert_eq!(found("tel:+493012345678"), [("+493012345678", "[phone]")]);
        assert_eq!(found("call (555) 123-4567!"), [("(555) 123-4567", "[phone]")]);
        assert_eq!(found("030/1234-5678."), [("030/1234-5678", "[phone]")]);
        assert_eq!(
            found("a 555-123-4567, b +1 555 123 4568"),
            [("555-123-4567", "[phone]"), ("+1 555 123 4568", "[phone]")]
        );
    }

    #[test]
    fn what_only_looks_like_one_stays() {
        for text in [
            "5551234567",
            "2026-01-02 10",
            "02.01.2026 10",
            "v1.2.3-4567890123",
            "01890000-1111-7222-8333-444455556666",
            "#555-123-4567",
            "1 + 2 (3)",
            "ß+",
            "+",
            "",
        ] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn a_phone_field_takes_any_way_of_writing() {
        assert!(is_dialable(&serde_json::json!("030 123456")));
        assert!(is_dialable(&serde_json::json!(493012345)));
        assert!(!is_dialable(&serde_json::json!("unknown")));
        assert!(!is_dialable(&serde_json::json!("n/a 123456")));
        assert!(!is_dialable(&serde_json::json!(true)));
    }
}
