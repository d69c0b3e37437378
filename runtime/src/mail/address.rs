//! Addresses: one mailbox each, refused where they could be read as more than one or as a header.

use lettre::message::Mailbox;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

/// Most recipients of one message.
const MAX_RECIPIENTS: usize = 500;

/// Reads `a@example.com` or `Name <a@example.com>`.
pub fn parse(text: &str) -> Result<Mailbox, String> {
    if let Some(c) = text.chars().find(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(format!("an address cannot hold {}", c.escape_default()));
    }
    let wrong = |why: &dyn std::fmt::Display| format!("`{}` is not an e-mail address: {why}", text.escape_debug());
    let mailbox: Mailbox = text.trim().parse().map_err(|e| wrong(&e))?;
    // RFC 5321, 4.5.3.1.
    if mailbox.email.user().len() > 64 || mailbox.email.domain().len() > 255 {
        return Err(wrong(&"it is too long"));
    }
    if mailbox.email.user().starts_with('"') || mailbox.email.user().chars().any(char::is_whitespace) {
        return Err(wrong(&"quoted local parts are not taken"));
    }
    Ok(mailbox)
}

/// Reads a list of addresses (or one) at `pointer`; all mistakes are noted.
pub fn parse_all(value: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Vec<Mailbox> {
    let mut one = |value: &Value, pointer: &str| match value {
        Value::String(text) => match parse(text) {
            Ok(mailbox) => Some(mailbox),
            Err(detail) => {
                mistakes.push(Mistake::new(pointer, detail));
                None
            }
        },
        Value::Null => {
            mistakes.push(Mistake::new(pointer, "there is no address here: the placeholder has no value"));
            None
        }
        _ => {
            mistakes.push(Mistake::new(pointer, "an address is a string"));
            None
        }
    };
    match value {
        Value::Array(items) if items.len() > MAX_RECIPIENTS => {
            mistakes.push(Mistake::new(pointer, format!("at most {MAX_RECIPIENTS} addresses, not {}", items.len())));
            Vec::new()
        }
        Value::Array(items) => {
            items.iter().enumerate().filter_map(|(i, item)| one(item, &format!("{pointer}/{i}"))).collect()
        }
        single => one(single, pointer).into_iter().collect(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_could_be_more_than_one_address_is_refused() {
        for good in ["a@example.com", "Ann <a@example.com>", "\"Doe, Ann\" <a@example.com>", "a+b@sub.example.com"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@b@c",
            "a@example.com, b@example.com",
            "a@example.com;b@example.com",
            "a@example.com\r\nBcc: b@example.com",
            "a@example.com\nBcc: b@example.com",
            "a\0@example.com",
            "group: a@example.com, b@example.com;",
            "<a@example.com> <b@example.com>",
            "a@example.com\u{2028}",
            "a b@example.com",
            "Ann\r\n <a@example.com>",
            "\"a\r\nb\"@example.com",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&format!("{}@example.com", "a".repeat(65))).is_err());
    }

    #[test]
    fn every_bad_recipient_is_named() {
        let mut mistakes = Vec::new();
        let found = parse_all(&json!(["a@example.com", "x", null, 3]), "/recipients", &mut mistakes);
        assert_eq!(found.len(), 1);
        let places: Vec<&str> = mistakes.iter().map(|m| m.pointer.as_str()).collect();
        assert_eq!(places, ["/recipients/1", "/recipients/2", "/recipients/3"]);
    }
}
