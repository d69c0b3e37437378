//! Instants as the API writes them: RFC 3339, UTC, milliseconds.

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// An instant in an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, utoipa::ToSchema)]
#[schema(value_type = String, format = DateTime, example = "2026-01-31T12:00:00.000Z")]
pub struct Instant(pub Timestamp);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

impl From<Timestamp> for Instant {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_always_written() {
        let text = |ms| serde_json::to_string(&Instant(Timestamp::from_millisecond(ms).unwrap())).unwrap();
        assert_eq!(text(1_700_000_000_000), "\"2023-11-14T22:13:20.000Z\"");
        assert_eq!(text(1_700_000_000_120), "\"2023-11-14T22:13:20.120Z\"");
    }
}
