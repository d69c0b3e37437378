//! Places in the inbox, and the cursors that name them.

use jiff::Timestamp;

use super::{Error, Position};

impl Position {
    /// Before the newest.
    pub(super) const TOP: Self = Self { accepted_at: i64::MAX, seq: i64::MAX };
    /// After the oldest.
    pub(super) const BOTTOM: Self = Self { accepted_at: i64::MIN, seq: i64::MIN };

    /// Before the first event that was accepted at an instant or later.
    #[must_use]
    pub fn before(instant: Timestamp) -> Self {
        Self { accepted_at: instant.as_millisecond(), seq: i64::MIN }
    }

    pub(super) fn cursor(self) -> String {
        format!("{:x}-{:x}", self.accepted_at, self.seq)
    }

    pub(super) fn of_cursor(cursor: Option<&str>) -> Result<Self, Error> {
        let Some(text) = cursor else {
            return Ok(Self::TOP);
        };
        let hex = |part: &str| i64::from_str_radix(part, 16).ok();
        text.split_once('-')
            .and_then(|(at, seq)| Some(Self { accepted_at: hex(at)?, seq: hex(seq)? }))
            .ok_or_else(no_cursor)
    }
}

/// What is said of a cursor that is none.
pub(super) fn no_cursor() -> Error {
    Error::Conflict("the cursor is none that a list answered with".to_owned())
}
