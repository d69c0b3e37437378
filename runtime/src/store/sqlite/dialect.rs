//! What of a query of events and runs is SQLite's own.

use std::borrow::Cow;

use uuid::Uuid;

/// The runs of `events AS e`, as `r`: see `rows::run_range`.
pub(super) const RUNS_OF_E: &str = "runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143";
/// Holds for a dead letter.
pub(super) const FAILED: &str = "r.state = 'failed'";
/// The dead letters, up to the tenant that they are to be of.
pub(super) const DEAD: &str =
    "runs AS r CROSS JOIN events AS e ON e.seq = r.seq >> 18 WHERE r.state = 'failed' AND r.tenant";
/// Holds for a run that has not ended.
pub(super) const UNFINISHED: &str = "r.due_at IS NOT NULL";

/// What a list of events shows, and what it is selected from. `worst`: 2 where a run is a dead letter, 1 where one has not ended.
pub(super) const LISTED: &str = "e.seq, e.id AS event_id, e.accepted_at, e.run_count, e.crc, e.body, \
    (SELECT max(CASE WHEN r.state = 'failed' THEN 2 WHEN r.due_at IS NOT NULL THEN 1 ELSE 0 END) \
     FROM runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143) AS worst, \
    (SELECT coalesce(sum(r.attempts), 0) FROM runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143) AS attempts, \
    (SELECT max(r.last_attempt_at) FROM runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143) AS last_attempt_at \
    FROM events AS e";

/// A table `wanted` of the tenants and tags that the statement's first parameter holds: a JSON array of pairs. It is joined from the
/// left with `CROSS JOIN`, so that it is what is walked.
pub(super) const WANTED: &str = "WITH wanted (tenant, tag) AS (SELECT value ->> 0, value ->> 1 FROM json_each($1))";

/// An id as it is bound.
pub(super) fn id(id: Uuid) -> Vec<u8> {
    id.as_bytes().to_vec()
}

/// An id as it is read.
pub(super) type Id = Vec<u8>;

/// A text as it is bound.
pub(super) fn kept(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}

/// A text as it is read.
pub(super) fn read(text: String) -> String {
    text
}

/// Holds for `$2` rows of a table with this key for which `condition` holds.
pub(super) fn some(table: &str, key: &str, condition: &str) -> String {
    format!("({key}) IN (SELECT {key} FROM {table} WHERE {condition} LIMIT $2)")
}

/// What a replay finds an event's runs by: a column of `events AS e`, and its type.
pub(super) const REPLAYED: &str = "e.seq";
pub(super) type Replayed = i64;
