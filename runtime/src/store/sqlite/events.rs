//! Events: kept by the hot path, listed newest first, forgotten after the retention time.
//!
//! A list may ask for what only a scan can find. It scans in slices of the inbox index, and stops at a time limit: the page
//! is short then, and its cursor goes on where it stopped. So no reader holds the log's reset up for long.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite};
use tokio::sync::oneshot;
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};

use super::decode::{self, at_if_any};
use super::filter::{self, Position};
use super::open::{Store, closed};
use super::rows::{AppendRow, run_range};
use super::writer::Op;
use crate::store::{Append, AppendOutcome, Error, EventFilter, EventStatus, Page, PageRequest, StoredEvent};

/// Events that one slice of a scan looks at.
const SLICE: i64 = 20_000;
/// Ids that are asked for at once.
const ASKED: usize = 500;
/// How long a page may look for its items, and then for their total.
const SCAN_LIMIT: Duration = Duration::from_millis(400);

const COLUMNS: &str = "e.seq, e.id AS event_id, e.accepted_at, e.run_count, e.crc, e.body, \
    (SELECT max(CASE WHEN r.state = 'failed' THEN 2 WHEN r.due_at IS NOT NULL THEN 1 ELSE 0 END) \
     FROM runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143) AS worst, \
    (SELECT total(r.attempts) FROM runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143) AS attempts, \
    (SELECT max(r.last_attempt_at) FROM runs AS r WHERE r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143) AS last_attempt_at";

impl Store {
    pub async fn append(&self, append: Append) -> Result<AppendOutcome, Error> {
        let mut outcomes = self.append_batch(vec![append]).await?;
        outcomes.pop().ok_or_else(closed)
    }

    pub async fn append_batch(&self, appends: Vec<Append>) -> Result<Vec<AppendOutcome>, Error> {
        let rows = appends.into_iter().map(AppendRow::of).collect::<Result<Vec<_>, _>>()?;
        let (answer, done) = oneshot::channel();
        self.send(Op::Append { rows, answer }).await?;
        done.await.unwrap_or_else(|_| Err(closed()))
    }

    pub async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<StoredEvent>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM events AS e WHERE e.id = ? AND e.tenant = ?");
        let mut conn = self.reader().await?;
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.as_bytes().as_slice())
            .bind(tenant.as_str())
            .fetch_optional(&mut *conn)
            .await?;
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
            let mut sql = slice(COLUMNS, tenant, filter, top, low);
            sql.push(" ORDER BY e.accepted_at DESC, e.seq DESC LIMIT ").push_bind((limit + 1 - rows.len()) as i64);
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
        let mut from = Position { accepted_at: start.as_millisecond(), seq: i64::MIN };
        if let Some(id) = after {
            let row = sqlx::query("SELECT accepted_at, seq FROM events WHERE id = ? AND tenant = ?")
                .bind(id.as_bytes().as_slice())
                .bind(tenant.as_str())
                .fetch_optional(&mut *conn)
                .await?
                .ok_or_else(|| Error::Conflict(format!("event {id}, after which to go on, is gone")))?;
            from = from.max(position(&row)?);
        }
        let rows = sqlx::query(
            "SELECT e.id AS event_id, e.crc, e.body FROM events AS e WHERE e.tenant = ? AND (e.accepted_at, e.seq) > (?, ?) \
             AND e.accepted_at < ? ORDER BY e.accepted_at, e.seq LIMIT ?",
        )
        .bind(tenant.as_str())
        .bind(from.accepted_at)
        .bind(from.seq)
        .bind(end.as_millisecond())
        .bind(i64::from(limit))
        .fetch_all(&mut *conn)
        .await?;
        rows.iter().filter_map(|row| decode::sound(decode::event(row))).collect()
    }

    pub async fn known_events(&self, ids: &[EventId]) -> Result<HashSet<EventId>, Error> {
        let mut conn = self.reader().await?;
        let mut known = HashSet::new();
        for asked in ids.chunks(ASKED) {
            let sql = format!("SELECT id FROM events WHERE id IN ({})", vec!["?"; asked.len()].join(","));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for id in asked {
                query = query.bind(id.as_bytes().as_slice());
            }
            for row in query.fetch_all(&mut *conn).await? {
                let id: Vec<u8> = row.try_get("id")?;
                known.extend(EventId::from_slice(&id));
            }
        }
        Ok(known)
    }

    pub async fn delete_events_before(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let before = before.as_millisecond();
        let limit = limit.clamp(1, 10_000) as usize;
        let mut seqs = Vec::new();
        let mut from = i64::MIN;
        let mut conn = self.reader().await?;
        // In order of acceptance: the first event that is young enough ends the search.
        'search: while seqs.len() < limit {
            let rows = sqlx::query(AssertSqlSafe(format!(
                "SELECT e.seq, e.accepted_at, NOT EXISTS ({} AND r.due_at IS NOT NULL) AS ended \
                 FROM events AS e WHERE e.seq > ? ORDER BY e.seq LIMIT 1000",
                filter::RUNS_OF_E
            )))
            .bind(from)
            .fetch_all(&mut *conn)
            .await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let seq: i64 = row.try_get("seq")?;
                if row.try_get::<i64, _>("accepted_at")? >= before || seqs.len() == limit {
                    break 'search;
                }
                if row.try_get("ended")? {
                    seqs.push(seq);
                }
                from = seq;
            }
        }
        drop(conn);
        if seqs.is_empty() {
            return Ok(0);
        }
        self.write(move |conn| Box::pin(async move { delete(conn, &seqs).await })).await
    }
}

/// Deletes events with their runs, but not one that was replayed meanwhile.
async fn delete(conn: &mut SqliteConnection, seqs: &[i64]) -> Result<u64, Error> {
    let list = serde_json::Value::from(seqs).to_string();
    let deleted = sqlx::query(AssertSqlSafe(format!(
        "DELETE FROM events AS e WHERE e.seq IN (SELECT value FROM json_each(?)) AND NOT EXISTS ({} AND r.due_at IS NOT NULL) \
         RETURNING seq",
        filter::RUNS_OF_E
    )))
    .bind(list)
    .fetch_all(&mut *conn)
    .await?;
    let gone = deleted.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    for part in gone.chunk_by(|a, b| a + 1 == *b) {
        let (Some(first), Some(last)) = (part.first(), part.last()) else {
            continue;
        };
        sqlx::query("DELETE FROM runs WHERE seq BETWEEN ? AND ?")
            .bind(run_range(*first).0)
            .bind(run_range(*last).1)
            .execute(&mut *conn)
            .await?;
    }
    Ok(gone.len() as u64)
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
    async fn next_slice(
        &mut self,
        conn: &mut SqliteConnection,
        tenant: &TenantId,
    ) -> Result<(Position, Position), Error> {
        let low = sqlx::query(
            "SELECT accepted_at, seq FROM events WHERE tenant = ? AND (accepted_at, seq) < (?, ?) \
             ORDER BY accepted_at DESC, seq DESC LIMIT 1 OFFSET ?",
        )
        .bind(tenant.as_str())
        .bind(self.top.accepted_at)
        .bind(self.top.seq)
        .bind(SLICE)
        .fetch_optional(conn)
        .await?;
        let low = low.as_ref().map(position).transpose()?.unwrap_or(Position::BOTTOM);
        Ok((std::mem::replace(&mut self.top, low), low))
    }
}

fn slice(columns: &str, tenant: &TenantId, filter: &EventFilter, top: Position, low: Position) -> QueryBuilder<Sqlite> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(columns).push(" FROM events AS e WHERE e.tenant = ").push_bind(tenant.as_str().to_owned());
    sql.push(" AND (e.accepted_at, e.seq) < (").push_bind(top.accepted_at).push(", ").push_bind(top.seq);
    sql.push(") AND (e.accepted_at, e.seq) >= (").push_bind(low.accepted_at).push(", ").push_bind(low.seq).push(")");
    filter::push(&mut sql, filter);
    sql
}

/// How many events there are of this filter; how many were found, where time runs out.
async fn count(conn: &mut SqliteConnection, tenant: &TenantId, filter: &EventFilter) -> Result<u64, Error> {
    let mut total = 0;
    let mut scan = Scan::from(Position::TOP);
    while scan.is_on() {
        let (top, low) = scan.next_slice(conn, tenant).await?;
        let row = slice("count(*) AS n", tenant, filter, top, low).build().fetch_one(&mut *conn).await?;
        total += decode::unsigned(&row, "n")?;
    }
    Ok(total)
}

fn position(row: &SqliteRow) -> Result<Position, Error> {
    Ok(Position { accepted_at: row.try_get("accepted_at")?, seq: row.try_get("seq")? })
}

fn decode_event(row: &SqliteRow) -> Result<StoredEvent, Error> {
    let status = match (row.try_get::<i64, _>("run_count")?, row.try_get::<Option<i64>, _>("worst")?) {
        (0, _) => EventStatus::Unmatched,
        (_, Some(2)) => EventStatus::Failed,
        (_, Some(1)) => EventStatus::Pending,
        _ => EventStatus::Delivered,
    };
    Ok(StoredEvent {
        event: decode::event(row)?,
        status,
        delivery_attempts: row.try_get::<f64, _>("attempts")? as u64,
        last_delivery: at_if_any(row, "last_attempt_at")?,
    })
}
