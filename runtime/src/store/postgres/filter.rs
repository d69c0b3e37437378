//! Event filters and page cursors as SQL.

use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::text::kept;
use crate::store::{Error, EventFilter, EventStatus};

/// The runs of `events AS e`: their ids lie between two that the event names, so that one partition is looked at.
pub(super) const RUNS_OF_E: &str = "runs AS r WHERE r.id BETWEEN e.first_run AND e.last_run AND r.event_id = e.id";

/// A place in the inbox, newest first: an event's time and id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Position {
    pub(super) accepted_at: i64,
    pub(super) id: Uuid,
}

impl Position {
    /// Before the newest.
    pub(super) const TOP: Self = Self { accepted_at: i64::MAX, id: Uuid::max() };
    /// After the oldest.
    pub(super) const BOTTOM: Self = Self { accepted_at: i64::MIN, id: Uuid::nil() };

    pub(super) fn cursor(self) -> String {
        format!("{:x}-{}", self.accepted_at, self.id.simple())
    }

    pub(super) fn of_cursor(cursor: Option<&str>) -> Result<Self, Error> {
        let Some(text) = cursor else {
            return Ok(Self::TOP);
        };
        text.split_once('-')
            .and_then(|(at, id)| {
                Some(Self { accepted_at: i64::from_str_radix(at, 16).ok()?, id: Uuid::try_parse(id).ok()? })
            })
            .ok_or_else(no_cursor)
    }
}

/// What is said of a cursor that is none.
pub(super) fn no_cursor() -> Error {
    Error::Conflict("the cursor is none that a list answered with".to_owned())
}

/// Appends what `filter` asks of `events AS e`, each condition after `AND`.
pub(super) fn push(sql: &mut QueryBuilder<Postgres>, filter: &EventFilter) {
    let texts = [("e.type", &filter.event_type), ("e.source", &filter.source), ("e.tbl", &filter.table)];
    for (column, wanted) in texts {
        if let Some(wanted) = wanted {
            sql.push(" AND ").push(column).push(" = ").push_bind(kept(wanted).into_owned());
        }
    }
    if let Some(start) = filter.start {
        sql.push(" AND e.accepted_at >= ").push_bind(start.as_millisecond());
    }
    if let Some(end) = filter.end {
        sql.push(" AND e.accepted_at < ").push_bind(end.as_millisecond());
    }
    let any = |with: &str| format!("EXISTS (SELECT 1 FROM {RUNS_OF_E} AND {with})");
    let (failed, unfinished) = (any("r.state = 3"), any("r.state < 2"));
    match filter.status {
        None => {}
        Some(EventStatus::Unmatched) => {
            sql.push(" AND e.run_count = 0");
        }
        Some(EventStatus::Failed) => {
            sql.push(" AND e.run_count > 0 AND ").push(failed);
        }
        Some(EventStatus::Pending) => {
            sql.push(" AND e.run_count > 0 AND ").push(unfinished).push(" AND NOT ").push(failed);
        }
        Some(EventStatus::Delivered) => {
            sql.push(" AND e.run_count > 0 AND NOT ").push(unfinished).push(" AND NOT ").push(failed);
        }
    }
}
