//! Events: listed newest first, forgotten after the retention time.
//!
//! A list may ask for what only a scan can find. It scans in slices of the inbox index, and stops at a time limit: the page is
//! short then, and its cursor goes on where it stopped.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Postgres, QueryBuilder, Row as _};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};
use uuid::Uuid;

use super::decode::{self, at_if_any};
use super::filter::{self, Position, RUNS_OF_E};
use super::{Store, partitions};
use crate::store::{Error, EventFilter, EventStatus, Page, PageRequest, StoredEvent};

/// Events that one slice of a scan looks at.
const SLICE: i64 = 20_000;
/// How long a page may look for its items, and then for their total.
const SCAN_LIMIT: Duration = Duration::from_millis(400);

fn columns() -> String {
    format!(
        "e.id AS event_id, e.accepted_at, e.run_count, e.crc, e.body, s.worst, s.attempts, s.last_attempt_at \
         FROM events AS e LEFT JOIN LATERAL ( \
             SELECT max(CASE r.state WHEN 3 THEN 2 WHEN 2 THEN 0 ELSE 1 END)::bigint AS worst, \
             sum(r.attempts)::bigint AS attempts, max(r.last_attempt_at) AS last_attempt_at FROM {RUNS_OF_E}) AS s ON e.run_count > 0"
    )
}

impl Store {
    pub async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<StoredEvent>, Error> {
        let sql = format!("SELECT {} WHERE e.id = $1 AND e.tenant = $2", columns());
        let mut conn = self.reader().await?;
        let row = sqlx::query(AssertSqlSafe(sql)).bind(id.0).bind(tenant.as_str()).fetch_optional(&mut *conn).await?;
        row.as_ref().map(decode_event).transpose()
    }

    pub async fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredEvent>, Error> {
        let mut conn = self.reader().await?;
        let limit = page.limit.clamp(1, 1000) as usize;
        let mut scan = Scan::from(Position::of_cursor(page.cursor.as_deref())?);
        let mut rows = Vec::new();
        while rows.len() <= limit && scan.is_on() {
            let (top, low) = scan.next_slice(&mut conn, tenant).await?;
            let mut sql = slice(&columns(), tenant, filter, top, low);
            sql.push(" ORDER BY e.accepted_at DESC, e.id DESC LIMIT ").push_bind((limit + 1 - rows.len()) as i64);
            rows.extend(sql.build().fetch_all(&mut *conn).await?);
        }
        let cursor = if rows.len() > limit {
            rows.truncate(limit);
            rows.last().map(position).transpose()?.map(Position::cursor)
        } else {
            scan.rest().map(Position::cursor)
        };
        let items = rows.iter().filter_map(|row| decode::sound(decode_event(row))).collect::<Result<_, _>>()?;
        let total = count(&mut conn, tenant, filter).await?;
        Ok(Page { items, total, cursor })
    }

    pub async fn events_between(
        &self,
        tenant: &TenantId,
        start: Timestamp,
        end: Timestamp,
        after: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<Arc<Event>>, Error> {
        let mut conn = self.reader().await?;
        // Before the first event of the first millisecond.
        let mut from = Position { accepted_at: start.as_millisecond() - 1, id: Uuid::max() };
        if let Some(id) = after {
            let row = sqlx::query("SELECT id AS event_id, accepted_at FROM events WHERE id = $1 AND tenant = $2")
                .bind(id.0)
                .bind(tenant.as_str())
                .fetch_optional(&mut *conn)
                .await?
                .ok_or_else(|| Error::Conflict(format!("event {id}, after which to go on, is gone")))?;
            from = from.max(position(&row)?);
        }
        let rows = sqlx::query(
            "SELECT e.id AS event_id, e.crc, e.body FROM events AS e WHERE e.tenant = $1 AND (e.accepted_at, e.id) > ($2, $3) \
             AND e.accepted_at < $4 ORDER BY e.accepted_at, e.id LIMIT $5",
        )
        .bind(tenant.as_str())
        .bind(from.accepted_at)
        .bind(from.id)
        .bind(end.as_millisecond())
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
        rows.iter().filter_map(|row| decode::sound(decode::event(row))).collect()
    }

    pub async fn known_events(&self, ids: &[EventId]) -> Result<HashSet<EventId>, Error> {
        let mut conn = self.reader().await?;
        let asked: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let known: Vec<Uuid> =
            sqlx::query_scalar("SELECT id FROM events WHERE id = ANY($1)").bind(asked).fetch_all(&mut *conn).await?;
        Ok(known.into_iter().map(EventId).collect())
    }

    pub async fn delete_events_before(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let before = before.as_millisecond();
        let limit = i64::from(limit.clamp(1, 10_000));
        // Whole partitions at once; then, row by row, what is in none.
        let mut conn = self.reader().await?;
        let dropped = partitions::drop_before(&mut conn, before).await?;
        let sql = format!(
            "WITH old AS MATERIALIZED (SELECT e.id, e.first_run, e.last_run FROM events_rest AS e WHERE e.accepted_at < $1 \
                 AND NOT EXISTS (SELECT 1 FROM {RUNS_OF_E} AND r.state < 2) ORDER BY e.accepted_at LIMIT $2), \
             runs_gone AS (DELETE FROM runs AS r USING old WHERE r.id BETWEEN old.first_run AND old.last_run \
                 AND r.event_id = old.id RETURNING r.id, r.tenant), \
             letters_gone AS (DELETE FROM dead_letters AS d USING runs_gone AS g WHERE d.tenant = g.tenant AND d.run_id = g.id), \
             gone AS (DELETE FROM events_rest AS e USING old WHERE e.id = old.id RETURNING e.id) \
             SELECT count(*) FROM gone"
        );
        let gone: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(before).bind(limit).fetch_one(&mut *conn).await?;
        Ok(dropped + gone.unsigned_abs())
    }
}

/// The way of a scan through the inbox index.
struct Scan {
    top: Position,
    ends: Instant,
}

impl Scan {
    fn from(top: Position) -> Self {
        Self { top, ends: Instant::now() + SCAN_LIMIT }
    }

    /// Whether there is more to look at, and time for it.
    fn is_on(&self) -> bool {
        self.top != Position::BOTTOM && Instant::now() < self.ends
    }

    /// Where the scan stopped before it had looked at everything.
    fn rest(&self) -> Option<Position> {
        (self.top != Position::BOTTOM).then_some(self.top)
    }

    /// The next slice: below the first position, down to and with the second.
    async fn next_slice(&mut self, conn: &mut PgConnection, tenant: &TenantId) -> Result<(Position, Position), Error> {
        let low = sqlx::query(
            "SELECT accepted_at, id AS event_id FROM events WHERE tenant = $1 AND (accepted_at, id) < ($2, $3) \
             ORDER BY accepted_at DESC, id DESC LIMIT 1 OFFSET $4",
        )
        .bind(tenant.as_str())
        .bind(self.top.accepted_at)
        .bind(self.top.id)
        .bind(SLICE)
        .fetch_optional(conn)
        .await?;
        let low = low.as_ref().map(position).transpose()?.unwrap_or(Position::BOTTOM);
        Ok((std::mem::replace(&mut self.top, low), low))
    }
}

/// `what` (columns, and what they are selected from) of one slice of the inbox.
fn slice(what: &str, tenant: &TenantId, filter: &EventFilter, top: Position, low: Position) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(what).push(" WHERE e.tenant = ").push_bind(tenant.as_str().to_owned());
    sql.push(" AND (e.accepted_at, e.id) < (").push_bind(top.accepted_at).push(", ").push_bind(top.id);
    sql.push(") AND (e.accepted_at, e.id) >= (").push_bind(low.accepted_at).push(", ").push_bind(low.id).push(")");
    filter::push(&mut sql, filter);
    sql
}

/// How many events there are of this filter; how many were found, where time runs out.
async fn count(conn: &mut PgConnection, tenant: &TenantId, filter: &EventFilter) -> Result<u64, Error> {
    let mut total = 0;
    let mut scan = Scan::from(Position::TOP);
    while scan.is_on() {
        let (top, low) = scan.next_slice(conn, tenant).await?;
        let row =
            slice("count(*) AS n FROM events AS e", tenant, filter, top, low).build().fetch_one(&mut *conn).await?;
        total += decode::unsigned(&row, "n")?;
    }
    Ok(total)
}

fn position(row: &PgRow) -> Result<Position, Error> {
    Ok(Position { accepted_at: row.try_get("accepted_at")?, id: row.try_get("event_id")? })
}

fn decode_event(row: &PgRow) -> Result<StoredEvent, Error> {
    let status = match (row.try_get::<i64, _>("run_count")?, row.try_get::<Option<i64>, _>("worst")?) {
        (0, _) => EventStatus::Unmatched,
        (_, Some(2)) => EventStatus::Failed,
        (_, Some(1)) => EventStatus::Pending,
        _ => EventStatus::Delivered,
    };
    let attempts: Option<i64> = row.try_get("attempts")?;
    Ok(StoredEvent {
        event: decode::event(row)?,
        status,
        delivery_attempts: attempts.unwrap_or(0).unsigned_abs(),
        last_delivery: at_if_any(row, "last_attempt_at")?,
    })
}
