//! `retry` and `quota`: how often an action is tried, and how often it may run.

use serde_json::Value;

use super::fields::{Fields, text};
use crate::catalog::Place;
use crate::definition::Quota;
use crate::mistake::Mistake;
use crate::retry::{Jitter, Policy};
use crate::template::Template;

/// No delay and no window is longer than a year.
const MAX_MS: u64 = 366 * 86_400_000;

const FIELDS: [&str; 6] = ["maxAttempts", "initialDelay", "maxDelay", "backoffMultiplier", "jitter", "retryOn"];

/// The error codes that `retryOn` takes, besides `HTTP_<code>`.
const CODES: [&str; 12] = [
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENOTFOUND",
    "EPROTO",
    "HTTP_429",
    "HTTP_5XX",
    "WASM_TRAP",
    "WASM_TIMEOUT",
    "WASM_MEMORY",
    "BROKER_UNAVAILABLE",
    "DB_UNAVAILABLE",
];

/// An action's `retry`.
pub fn policy(source: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Policy {
    let usual = Policy::default();
    let Some(fields) = Fields::of(source, pointer, &FIELDS, mistakes) else { return usual };
    let max_attempts = fields.whole("maxAttempts", 1..=100, mistakes).and_then(|n| u32::try_from(n).ok());
    let multiplier = |number| (1.0..=1_000.0).contains(&number);
    Policy {
        max_attempts: max_attempts.unwrap_or(usual.max_attempts),
        initial_delay_ms: fields.whole("initialDelay", 0..=MAX_MS, mistakes).unwrap_or(usual.initial_delay_ms),
        max_delay_ms: fields.whole("maxDelay", 0..=MAX_MS, mistakes).unwrap_or(usual.max_delay_ms),
        backoff_multiplier: fields
            .number("backoffMultiplier", "a number from 1 to 1000", multiplier, mistakes)
            .unwrap_or(usual.backoff_multiplier),
        jitter: jitter(&fields, mistakes).unwrap_or(usual.jitter),
        retry_on: fields.value("retryOn").map(|_| codes(&fields, mistakes)),
    }
}

fn jitter(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> Option<Jitter> {
    match fields.text("jitter", mistakes)? {
        "full" => Some(Jitter::Full),
        "equal" => Some(Jitter::Equal),
        "none" => Some(Jitter::None),
        other => {
            mistakes.push(Mistake::unknown(fields.at("jitter"), "jitter", other, ["full", "equal", "none"]));
            None
        }
    }
}

fn codes(fields: &Fields<'_>, mistakes: &mut Vec<Mistake>) -> Vec<String> {
    let mut out = Vec::new();
    for (pointer, member) in fields.list("retryOn", mistakes) {
        match text(member, &pointer, mistakes) {
            Some(code) if CODES.contains(&code) || is_http_status(code) => out.push(code.to_owned()),
            Some(code) => {
                mistakes.push(Mistake::unknown(pointer, "error code", code, CODES.into_iter().chain(["HTTP_<code>"])));
            }
            None => {}
        }
    }
    out
}

/// `HTTP_100` to `HTTP_599`.
fn is_http_status(code: &str) -> bool {
    let Some(digits) = code.strip_prefix("HTTP_") else { return false };
    digits.len() == 3 && digits.parse().is_ok_and(|status: u16| (100..600).contains(&status))
}

/// An action's `quota`.
pub fn quota(source: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<Quota> {
    let fields = Fields::of(source, pointer, &["key", "limit", "window"], mistakes)?;
    let key = fields.required("key", mistakes).and_then(|key| template(key, &fields.at("key"), mistakes));
    let limit = fields.required("limit", mistakes).and_then(|_| fields.whole("limit", 1..=u64::MAX, mistakes));
    let window = fields.required("window", mistakes).and_then(|value| window(value, &fields.at("window"), mistakes));
    Some(Quota { key: key?, limit: limit?, window_ms: window? })
}

/// A single template string.
pub fn template(source: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<Template> {
    let source = text(source, pointer, mistakes)?;
    let compiled = Template::compile(source, Place::Plain);
    compiled.map_err(|detail| mistakes.push(Mistake::new(pointer, format!("template: {detail}")))).ok()
}

/// A length of time such as `500ms`, `10s`, `30m`, `2h`, `1d`, `1w`, in milliseconds.
fn window(value: &Value, pointer: &str, mistakes: &mut Vec<Mistake>) -> Option<u64> {
    let written = text(value, pointer, mistakes)?;
    let parsed = milliseconds(written);
    if parsed.is_none() {
        let detail = format!(
            "`{written}` is no window: write a whole number and a unit (ms, s, m, h, d, w), such as `30m` or `1d`, up to a year"
        );
        mistakes.push(Mistake::new(pointer, detail));
    }
    parsed
}

fn milliseconds(written: &str) -> Option<u64> {
    let digits = written.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &written[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    let total = written[..digits].parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=MAX_MS).contains(&total).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_a_number_and_a_unit() {
        let read = |text| milliseconds(text);
        assert_eq!(read("500ms"), Some(500));
        assert_eq!(read("10s"), Some(10_000));
        assert_eq!(read("30m"), Some(1_800_000));
        assert_eq!(read("1d"), Some(86_400_000));
        assert_eq!(read("1w"), Some(604_800_000));
        for bad in ["", "1", "d", "0d", "1.5h", "-1d", "1 d", "1D", "99999999999999999999d", "400d", "é"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn any_http_status_can_be_retried() {
        assert!(is_http_status("HTTP_404") && is_http_status("HTTP_599"));
        for bad in ["HTTP_4XX", "HTTP_99", "HTTP_600", "HTTP_0404", "HTTP_+40", "http_404"] {
            assert!(!is_http_status(bad), "{bad}");
        }
    }
}
