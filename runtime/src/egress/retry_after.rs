//! What an answer says about another try: whether it may help, and when.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::Answer;

impl Answer {
    /// Whether the status means that the same request may be taken later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self.status, 408 | 425 | 429 | 500..=599)
    }

    /// The wait that its `Retry-After` asks for.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Option<Duration> {
        parse(self.headers.get("retry-after")?.to_str().ok()?, now)
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3); `None` for anything else.
fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than fit are a very long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX / 4)));
    }
    static PARSER: DateTimeParser = DateTimeParser::new();
    let at = PARSER.parse_timestamp(text).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_read_as_seconds_and_as_a_date() {
        let now: Timestamp = "2026-10-21T07:28:00Z".parse().unwrap();
        let seconds = |text| parse(text, now).map(|d| d.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Wed, 21 Oct 2026 07:29:00 GMT"), Some(60));
        assert_eq!(seconds("Wed, 21 Oct 2026 07:27:00 GMT"), Some(0));
        assert!(seconds("99999999999999999999999").is_some());
        for bad in ["", "-1", "soon", "1.5", "2026-10-21"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
