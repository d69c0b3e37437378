//! Runs: what their holders report, and how they are looked at.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};

use super::decode::{self, RUN_COLUMNS};
use super::open::Store;
use super::tables::filter::dead;
use super::{rows, segments};
use crate::store::position::no_cursor;
use crate::store::{Error, EventFilter, NewRun, Page, PageRequest, Run};

impl Store {
    pub async fn runs_of(&self, tenant: &TenantId, event: EventId) -> Result<Vec<Run>, Error> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM events AS e CROSS JOIN runs AS r ON r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143 \
             WHERE e.id = ? AND e.tenant = ? ORDER BY r.seq"
        );
        let mut conn = self.reader().await?;
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(event.as_bytes().as_slice())
            .bind(tenant.as_str())
            .fetch_all(&mut *conn)
            .await?;
        rows.iter().map(decode::run).collect()
    }

    pub async fn run(&self, tenant: &TenantId, id: RunId) -> Result<Option<Run>, Error> {
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM runs AS r CROSS JOIN events AS e ON e.seq = r.seq >> 18 WHERE r.id = ? AND r.tenant = ?"
        );
        let mut conn = self.reader().await?;
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id.as_bytes().as_slice())
            .bind(tenant.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        row.as_ref().map(decode::run).transpose()
    }

    pub async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<(Run, Arc<Event>)>, Error> {
        let below =
            page.cursor.as_deref().map_or(Ok(i64::MAX), |c| i64::from_str_radix(c, 16).map_err(|_| no_cursor()))?;
        let limit = page.limit.clamp(1, 1000) as usize;
        let mut conn = self.reader().await?;
        let mut sql = dead(&format!("{RUN_COLUMNS}, e.crc, e.body"), tenant, filter);
        sql.push(" AND r.seq < ").push_bind(below).push(" ORDER BY r.seq DESC LIMIT ").push_bind(limit as i64 + 1);
        let mut rows = sql.build().fetch_all(&mut *conn).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last: Option<i64> = rows.last().map(|row| row.try_get("seq")).transpose()?;
        let item = |row| Ok((decode::run(row)?, decode::event(row)?));
        let items = rows.iter().filter_map(|row| decode::sound(item(row))).collect::<Result<_, Error>>()?;
        let row = dead("count(*) AS n", tenant, filter).build().fetch_one(&mut *conn).await?;
        let cursor = last.filter(|_| more).map(|seq| format!("{seq:x}"));
        Ok(Page { items, total: decode::unsigned(&row, "n")?, total_is_exact: true, cursor })
    }

    pub async fn drop_dead_letter(&self, tenant: &TenantId, id: RunId) -> Result<bool, Error> {
        let tenant = tenant.clone();
        self.write_one(move |conn| {
            Box::pin(async move {
                let done = sqlx::query("DELETE FROM runs WHERE id = ? AND tenant = ? AND state = 'failed'")
                    .bind(id.as_bytes().as_slice())
                    .bind(tenant.as_str())
                    .execute(conn)
                    .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    pub async fn add_runs(&self, tenant: &TenantId, event: EventId, runs: Vec<NewRun>) -> Result<(), Error> {
        let (tenant, now) = (tenant.clone(), self.clock.now_ms());
        self.write(move |conn| {
            Box::pin(async move {
                let found: Option<i64> = sqlx::query_scalar("SELECT seq FROM events WHERE id = ? AND tenant = ?")
                    .bind(event.as_bytes().as_slice())
                    .bind(tenant.as_str())
                    .fetch_optional(&mut *conn)
                    .await?;
                let seq = found.ok_or_else(|| Error::Conflict(format!("event {event} is not there any more")))?;
                let (first, last) = rows::run_range(seq);
                let next: i64 =
                    sqlx::query_scalar("SELECT coalesce(max(seq) + 1, ?) FROM runs WHERE seq BETWEEN ? AND ?")
                        .bind(first)
                        .bind(first)
                        .bind(last)
                        .fetch_one(&mut *conn)
                        .await?;
                if next + runs.len() as i64 > last {
                    return Err(Error::Conflict(format!("event {event} has too many runs")));
                }
                for (n, run) in runs.iter().enumerate() {
                    sqlx::query(
                        "INSERT INTO runs (seq, id, tenant, trigger, version, state, epoch, due_at, queue, ordering_key, created_at) \
                         VALUES (?1, ?2, ?3, ?4, ?5, iif(?6, 'running', 'pending'), ?6, ?7, ?8, ?9, ?10)",
                    )
                    .bind(next + n as i64)
                    .bind(run.id.as_bytes().as_slice())
                    .bind(tenant.as_str())
                    .bind(&*run.trigger)
                    .bind(i64::from(run.version))
                    .bind(run.lease_until.is_some())
                    .bind(run.lease_until.map_or(now, |t| t.as_millisecond()))
                    .bind(run.queue.as_deref())
                    .bind(run.ordering_key.as_deref())
                    .bind(now)
                    .execute(&mut *conn)
                    .await?;
                }
                sqlx::query("UPDATE events SET run_count = run_count + ? WHERE seq = ?")
                    .bind(runs.len() as i64)
                    .bind(seq)
                    .execute(&mut *conn)
                    .await?;
                segments::mark(conn, &[seq]).await
            })
        })
        .await
    }

    pub async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let mut conn = self.reader().await?;
        let due: Option<i64> =
            sqlx::query_scalar("SELECT min(due_at) FROM runs WHERE due_at > ? AND due_at IS NOT NULL AND parked = 0")
                .bind(now.as_millisecond())
                .fetch_one(&mut *conn)
                .await?;
        due.map(decode::instant).transpose()
    }
}
