//! What of a query of events and runs is PostgreSQL's own.

use uuid::Uuid;

pub(super) use super::text::{kept, read};

/// The runs of `events AS e`, as `r`: their ids lie between two that the event names, so that one partition is looked at.
pub(super) const RUNS_OF_E: &str = "runs AS r WHERE r.id BETWEEN e.first_run AND e.last_run AND r.event_id = e.id";
/// Holds for a dead letter.
pub(super) const FAILED: &str = "r.state = 3";
/// The dead letters, up to the tenant that they are to be of.
pub(super) const DEAD: &str = "dead_letters AS d JOIN runs AS r ON r.id = d.run_id JOIN events AS e ON e.id = r.event_id \
     WHERE d.tenant";
/// Holds for a run that has not ended.
pub(super) const UNFINISHED: &str = "r.state < 2";

/// What a list of events shows, and what it is selected from. `worst`: 2 where a run is a dead letter, 1 where one has not ended.
pub(super) const LISTED: &str = "e.seq, e.id AS event_id, e.accepted_at, e.run_count, e.crc, e.body, s.worst, \
    coalesce(s.attempts, 0) AS attempts, s.last_attempt_at FROM events AS e LEFT JOIN LATERAL ( \
        SELECT max(CASE r.state WHEN 3 THEN 2 WHEN 2 THEN 0 ELSE 1 END)::bigint AS worst, \
        sum(r.attempts)::bigint AS attempts, max(r.last_attempt_at) AS last_attempt_at \
        FROM runs AS r WHERE r.id BETWEEN e.first_run AND e.last_run AND r.event_id = e.id) AS s ON e.run_count > 0";

/// A table `wanted` of the tenants and tags that the statement's first parameter holds: a JSON array of pairs.
pub(super) const WANTED: &str = "WITH wanted (tenant, tag) AS \
     (SELECT value ->> 0, value ->> 1 FROM jsonb_array_elements(CAST(CAST($1 AS text) AS jsonb)))";

/// An id as it is bound.
pub(super) fn id(id: Uuid) -> Uuid {
    id
}

/// An id as it is read.
pub(super) type Id = Uuid;

/// Holds for `$2` rows of a table with this key for which `condition` holds. The array makes it one look, and one that passes over
/// rows that another node is at.
pub(super) fn some(table: &str, _key: &str, condition: &str) -> String {
    format!("ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE {condition} LIMIT $2 FOR UPDATE SKIP LOCKED))")
}

/// What a replay finds an event's runs by: a column of `events AS e`, and its type.
pub(super) const REPLAYED: &str = "e.id";
pub(super) type Replayed = Uuid;
