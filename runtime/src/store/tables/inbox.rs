//! The inbox: events, listed newest first.
//!
//! A list may ask for what only a scan can find. It scans in slices of the inbox index, and stops at a time limit: the page
//! is short then, and its cursor goes on where it stopped. So no reader stays open for long.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, QueryBuilder, Row as _};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, TenantId};

use super::decode::at_if_any;
use super::dialect::{self, LISTED, RUNS_OF_E};
use super::{Connection, Db, DbRow, Store, decode, filter, places};
use crate::store::{Error, EventFilter, EventStatus, Position, StoredEvent, TriggerEvents};

/// Events that one slice of a scan looks at.
const SLICE: i64 = 20_000;
/// How long a page may look for its items, and then count all that there are.
const SCAN_LIMIT: Duration = Duration::from_millis(400);
const COUNT_LIMIT: Duration = Duration::from_millis(100);
/// Ids that are asked for at once.
const ASKED: usize = 500;
/// Events that are looked at in one go for a trigger's, and those that are handed out of them.
const LOOKED_AT: i64 = 10_000;
const HANDED_OUT: usize = 500;

impl Store {
    pub async fn event(&self, tenant: &TenantId, id: EventId) -> Result<Option<StoredEvent>, Error> {
        let sql = format!("SELECT {LISTED} WHERE e.id = $1 AND e.tenant = $2");
        let mut conn = self.reader().await?;
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(dialect::id(id.0))
            .bind(tenant.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        row.as_ref().map(decode_event).transpose()
    }

    /// A page that only a scan can find, and where the next one begins.
    pub(in crate::store) async fn scanned(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        top: Position,
        limit: usize,
    ) -> Result<(Vec<StoredEvent>, Option<Position>), Error> {
        let mut conn = self.reader().await?;
        let mut scan = Scan::from(top, filter, SCAN_LIMIT);
        let mut rows = Vec::new();
        while rows.len() <= limit && scan.is_on() {
            let (top, low) = scan.next_slice(&mut conn, tenant).await?;
            let mut sql = slice(LISTED, tenant, filter, top, low);
            sql.push(" ORDER BY e.accepted_at DESC, e.seq DESC LIMIT ").push_bind((limit + 1 - rows.len()) as i64);
            rows.extend(sql.build().fetch_all(&mut *conn).await?);
        }
        let next = if rows.len() > limit {
            rows.truncate(limit);
            rows.last().map(position).transpose()?
        } else {
            scan.rest()
        };
        let items = rows.iter().filter_map(|row| decode::sound(decode_event(row))).collect::<Result<_, _>>()?;
        Ok((items, next))
    }

    /// How many events there are of this filter; with `false`, how many were found until time ran out.
    pub(in crate::store) async fn count_scanned(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
    ) -> Result<(u64, bool), Error> {
        let mut conn = self.reader().await?;
        let mut total = 0;
        let mut scan = Scan::from(Position::TOP, filter, COUNT_LIMIT);
        while scan.is_on() {
            let (top, low) = scan.next_slice(&mut conn, tenant).await?;
            let row =
                slice("count(*) AS n FROM events AS e", tenant, filter, top, low).build().fetch_one(&mut *conn).await?;
            total += decode::unsigned(&row, "n")?;
        }
        Ok((total, scan.rest().is_none()))
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
        let mut from = Position::before(start);
        if let Some(id) = after {
            let row = sqlx::query("SELECT accepted_at, seq FROM events WHERE id = $1 AND tenant = $2")
                .bind(dialect::id(id.0))
                .bind(tenant.as_str())
                .fetch_optional(&mut *conn)
                .await?
                .ok_or_else(|| Error::Conflict(format!("event {id}, after which to go on, is gone")))?;
            from = from.max(position(&row)?);
        }
        let rows = sqlx::query(
            "SELECT e.id AS event_id, e.crc, e.body FROM events AS e WHERE e.tenant = $1 AND (e.accepted_at, e.seq) > ($2, $3) \
             AND e.accepted_at < $4 ORDER BY e.accepted_at, e.seq LIMIT $5",
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

    pub async fn events_of_trigger(&self, asked: &mut TriggerEvents) -> Result<Option<Vec<Arc<Event>>>, Error> {
        if asked.after == Position::TOP {
            return Ok(None);
        }
        let mut conn = self.reader().await?;
        let tenant = asked.tenant.as_str();
        let end = sqlx::query(
            "SELECT accepted_at, seq FROM events WHERE tenant = $1 AND (accepted_at, seq) > ($2, $3) \
             ORDER BY accepted_at, seq LIMIT 1 OFFSET $4",
        )
        .bind(tenant)
        .bind(asked.after.accepted_at)
        .bind(asked.after.seq)
        .bind(LOOKED_AT - 1)
        .fetch_optional(&mut *conn)
        .await?;
        let end = end.as_ref().map(position).transpose()?.unwrap_or(Position::TOP);
        let sql = format!(
            "SELECT e.accepted_at, e.seq, e.id AS event_id, e.body, e.crc FROM events AS e \
             WHERE e.tenant = $1 AND (e.accepted_at, e.seq) > ($2, $3) AND (e.accepted_at, e.seq) <= ($4, $5) \
             AND e.source = $6 AND e.tbl IS NOT NULL AND e.run_count > 0 \
             AND EXISTS (SELECT 1 FROM {RUNS_OF_E} AND r.trigger = $7) ORDER BY e.accepted_at, e.seq LIMIT {HANDED_OUT}"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant)
            .bind(asked.after.accepted_at)
            .bind(asked.after.seq)
            .bind(end.accepted_at)
            .bind(end.seq)
            .bind(dialect::kept(&asked.source))
            .bind(&asked.trigger)
            .fetch_all(&mut *conn)
            .await?;
        asked.after = match rows.last() {
            Some(last) if rows.len() == HANDED_OUT => position(last)?,
            _ => end,
        };
        rows.iter().filter_map(|row| decode::sound(decode::event(row))).collect::<Result<_, _>>().map(Some)
    }

    pub async fn position_of(&self, tenant: &TenantId, id: EventId) -> Result<Option<Position>, Error> {
        let mut conn = self.reader().await?;
        let row = sqlx::query("SELECT accepted_at, seq FROM events WHERE id = $1 AND tenant = $2")
            .bind(dialect::id(id.0))
            .bind(tenant.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        row.as_ref().map(position).transpose()
    }

    pub async fn events_after(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        after: Position,
        limit: u32,
    ) -> Result<(Vec<StoredEvent>, Option<Position>), Error> {
        let after = filter.start.map_or(after, |start| after.max(Position::before(start)));
        let mut conn = self.reader().await?;
        let end = sqlx::query(
            "SELECT accepted_at, seq FROM events WHERE tenant = $1 AND (accepted_at, seq) > ($2, $3) \
             ORDER BY accepted_at, seq LIMIT 1 OFFSET $4",
        )
        .bind(tenant.as_str())
        .bind(after.accepted_at)
        .bind(after.seq)
        .bind(LOOKED_AT - 1)
        .fetch_optional(&mut *conn)
        .await?;
        let end = end.as_ref().map(position).transpose()?.unwrap_or(Position::TOP);
        let mut sql: QueryBuilder<Db> = QueryBuilder::new("SELECT ");
        sql.push(LISTED).push(" WHERE e.tenant = ").push_bind(tenant.as_str().to_owned());
        sql.push(" AND (e.accepted_at, e.seq) > (").push_bind(after.accepted_at).push(", ").push_bind(after.seq);
        sql.push(") AND (e.accepted_at, e.seq) <= (")
            .push_bind(end.accepted_at)
            .push(", ")
            .push_bind(end.seq)
            .push(")");
        filter::push(&mut sql, filter);
        sql.push(" ORDER BY e.accepted_at, e.seq LIMIT ").push_bind(i64::from(limit));
        let rows = sql.build().fetch_all(&mut *conn).await?;
        let seen = match rows.last() {
            Some(last) if rows.len() == limit as usize => position(last)?,
            _ => end,
        };
        let is_over = seen == Position::TOP || filter.end.is_some_and(|end| seen >= Position::before(end));
        let items = rows.iter().filter_map(|row| decode::sound(decode_event(row))).collect::<Result<_, _>>()?;
        Ok((items, (!is_over).then_some(seen)))
    }

    pub async fn known_events(&self, ids: &[EventId]) -> Result<HashSet<EventId>, Error> {
        let mut conn = self.reader().await?;
        let mut known = HashSet::new();
        for asked in ids.chunks(ASKED) {
            let sql = format!("SELECT id FROM events WHERE id IN ({})", places(1, asked.len()));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for id in asked {
                query = query.bind(dialect::id(id.0));
            }
            for row in query.fetch_all(&mut *conn).await? {
                let id: dialect::Id = row.try_get("id")?;
                known.extend(EventId::from_slice(id.as_ref()));
            }
        }
        Ok(known)
    }
}

/// The way of a scan through the inbox index.
struct Scan {
    top: Position,
    /// Below this the filter lets nothing through.
    bottom: Position,
    ends: Instant,
}

impl Scan {
    fn from(top: Position, filter: &EventFilter, limit: Duration) -> Self {
        let top = filter.end.map_or(top, |end| top.min(Position::before(end)));
        let bottom = filter.start.map_or(Position::BOTTOM, Position::before);
        Self { top, bottom, ends: Instant::now() + limit }
    }

    /// Whether there is more to look at, and time for it.
    fn is_on(&self) -> bool {
        self.top > self.bottom && Instant::now() < self.ends
    }

    /// Where the scan stopped before it had looked at everything.
    fn rest(&self) -> Option<Position> {
        (self.top > self.bottom).then_some(self.top)
    }

    /// The next slice: below the first position, down to and with the second.
    async fn next_slice(&mut self, conn: &mut Connection, tenant: &TenantId) -> Result<(Position, Position), Error> {
        let low = sqlx::query(
            "SELECT accepted_at, seq FROM events WHERE tenant = $1 AND (accepted_at, seq) < ($2, $3) \
             ORDER BY accepted_at DESC, seq DESC LIMIT 1 OFFSET $4",
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

/// `what` (columns, and what they are selected from) of one slice of the inbox.
fn slice(what: &str, tenant: &TenantId, filter: &EventFilter, top: Position, low: Position) -> QueryBuilder<Db> {
    let mut sql = QueryBuilder::new("SELECT ");
    sql.push(what).push(" WHERE e.tenant = ").push_bind(tenant.as_str().to_owned());
    sql.push(" AND (e.accepted_at, e.seq) < (").push_bind(top.accepted_at).push(", ").push_bind(top.seq);
    sql.push(") AND (e.accepted_at, e.seq) >= (").push_bind(low.accepted_at).push(", ").push_bind(low.seq).push(")");
    filter::push(&mut sql, filter);
    sql
}

pub(in crate::store) fn position(row: &DbRow) -> Result<Position, Error> {
    Ok(Position { accepted_at: row.try_get("accepted_at")?, seq: row.try_get("seq")? })
}

pub(in crate::store) fn decode_event(row: &DbRow) -> Result<StoredEvent, Error> {
    let status = match (row.try_get::<i64, _>("run_count")?, row.try_get::<Option<i64>, _>("worst")?) {
        (0, _) => EventStatus::Unmatched,
        (_, Some(2)) => EventStatus::Failed,
        (_, Some(1)) => EventStatus::Pending,
        _ => EventStatus::Delivered,
    };
    Ok(StoredEvent {
        event: decode::event(row)?,
        status,
        delivery_attempts: row.try_get::<i64, _>("attempts")?.unsigned_abs(),
        last_delivery: at_if_any(row, "last_attempt_at")?,
    })
}
