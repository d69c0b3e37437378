//! Event filters and page cursors as SQL.

use sqlx::{QueryBuilder, Sqlite};

use crate::store::{Error, EventFilter, EventStatus};

/// The first and last `seq` of an event's runs: see `rows::run_range`.
pub(super) const RUNS_OF_E: &str = "SELECT 1 FROM runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143";

/// A place in the inbox, newest first: an event's time and number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Position {
    pub(super) accepted_at: i64,
    pub(super) seq: i64,
}

impl Position {
    /// Before the newest.
    pub(super) const TOP: Self = Self { accepted_at: i64::MAX, seq: i64::MAX };
    /// After the oldest.
    pub(super) const BOTTOM: Self = Self { accepted_at: i64::MIN, seq: i64::MIN };

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
            .ok_or_else(|| Error::Conflict("the cursor is none that a list answered with".to_owned()))
    }
}

/// Appends what `filter` asks of `events AS e`, each condition after `AND`.
pub(super) fn push(sql: &mut QueryBuilder<Sqlite>, filter: &EventFilter) {
    let texts = [("e.type", &filter.event_type), ("e.source", &filter.source), ("e.tbl", &filter.table)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            sql.push(" AND ").push(column).push(" = ").push_bind(wanted.clone());
        }
    }
    if let Some(start) = filter.start {
        sql.push(" AND e.accepted_at >= ").push_bind(start.as_millisecond());
    }
    if let Some(end) = filter.end {
        sql.push(" AND e.accepted_at < ").push_bind(end.as_millisecond());
    }
    let any = |with: &str| format!("EXISTS ({RUNS_OF_E} AND {with})");
    let (failed, unfinished) = (any("r.state = 'failed'"), any("r.due_at IS NOT NULL"));
    match filter.status {
        None => {}
        Some(EventStatus::Unmatched) => {
            sql.push(" AND e.run_count = 0");
        }
        Some(EventStatus::Failed) => {
            sql.push(" AND ").push(failed);
        }
        Some(EventStatus::Pending) => {
            sql.push(" AND ").push(unfinished).push(" AND NOT ").push(failed);
        }
        Some(EventStatus::Delivered) => {
            sql.push(" AND e.run_count > 0 AND NOT ").push(unfinished).push(" AND NOT ").push(failed);
        }
    }
}
