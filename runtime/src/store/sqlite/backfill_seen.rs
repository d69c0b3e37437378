//! Rows that were told of by themselves while a backfill runs.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::event::Event;
use triggerd_core::id::TenantId;

use super::decode::{self, sound};
use super::filter::RUNS_OF_E;
use super::open::Store;
use crate::store::Error;

/// Digests that are asked for, or kept, at once.
const AT_ONCE: usize = 300;
/// Events that are looked at in one go, and those that are handed out of them: no reader stays open for long.
const LOOKED_AT: i64 = 10_000;
const HANDED_OUT: usize = 500;

/// Names a row of a table.
pub type RowDigest = [u8; 16];

/// The events of row changes from a source that a trigger ran for, oldest first.
pub struct TriggerEvents {
    /// Whose.
    pub tenant: TenantId,
    /// The trigger's tag.
    pub trigger: String,
    /// The source.
    pub source: String,
    /// Those behind this number; goes on with what is handed out.
    pub after: i64,
}

impl Store {
    /// The number before that of the first event that was accepted at an instant or later.
    pub async fn seq_before(&self, tenant: &TenantId, instant: Timestamp) -> Result<i64, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT COALESCE((SELECT min(seq) FROM events WHERE tenant = ? AND accepted_at >= ?),
                          (SELECT COALESCE(max(seq), 0) + 1 FROM events)) - 1";
        let query = sqlx::query_scalar(sql).bind(tenant.as_str()).bind(instant.as_millisecond());
        Ok(query.fetch_one(&mut *conn).await?)
    }

    /// The next of them, which may be none; `None` at the end.
    pub async fn events_of_trigger(&self, asked: &mut TriggerEvents) -> Result<Option<Vec<Arc<Event>>>, Error> {
        let mut conn = self.reader().await?;
        let last: i64 = sqlx::query_scalar("SELECT COALESCE(max(seq), 0) FROM events").fetch_one(&mut *conn).await?;
        if asked.after >= last {
            return Ok(None);
        }
        let until = last.min(asked.after + LOOKED_AT);
        let sql = format!(
            "SELECT e.seq, e.id AS event_id, e.body, e.crc FROM events AS e
             WHERE e.seq > ? AND e.seq <= ? AND e.tenant = ? AND e.source = ? AND e.tbl IS NOT NULL AND e.run_count > 0
               AND EXISTS ({RUNS_OF_E} AND r.trigger = ?) ORDER BY e.seq LIMIT {HANDED_OUT}"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(asked.after).bind(until).bind(asked.tenant.as_str());
        let rows = query.bind(&asked.source).bind(&asked.trigger).fetch_all(&mut *conn).await?;
        asked.after = match rows.last() {
            Some(last) if rows.len() == HANDED_OUT => last.try_get("seq")?,
            _ => until,
        };
        rows.iter().filter_map(|row| sound(decode::event(row))).collect::<Result<_, _>>().map(Some)
    }

    /// Keeps that these rows were told of.
    pub async fn backfill_see(&self, tenant: &TenantId, backfill: &str, rows: Vec<RowDigest>) -> Result<(), Error> {
        let (tenant, backfill) = (tenant.clone(), backfill.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                for rows in rows.chunks(AT_ONCE) {
                    let values = vec!["(?, ?, ?)"; rows.len()].join(",");
                    let sql = format!("INSERT OR IGNORE INTO backfill_seen (tenant, backfill, row) VALUES {values}");
                    let mut query = sqlx::query(AssertSqlSafe(sql));
                    for row in rows {
                        query = query.bind(tenant.as_str()).bind(backfill.as_str()).bind(row.as_slice());
                    }
                    query.execute(&mut *conn).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Those of `rows` that were told of.
    pub async fn backfill_seen(
        &self,
        tenant: &TenantId,
        backfill: &str,
        rows: &[RowDigest],
    ) -> Result<HashSet<RowDigest>, Error> {
        let mut conn = self.reader().await?;
        let mut seen = HashSet::new();
        for asked in rows.chunks(AT_ONCE) {
            let list = vec!["?"; asked.len()].join(",");
            let sql = format!("SELECT row FROM backfill_seen WHERE tenant = ? AND backfill = ? AND row IN ({list})");
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(backfill);
            for row in asked {
                query = query.bind(row.as_slice());
            }
            for found in query.fetch_all(&mut *conn).await? {
                let row: Vec<u8> = found.try_get("row")?;
                seen.extend(RowDigest::try_from(row.as_slice()).ok());
            }
        }
        Ok(seen)
    }

    /// Forgets what was kept for a backfill.
    pub async fn backfill_forget(&self, tenant: &TenantId, backfill: &str) -> Result<(), Error> {
        let (tenant, backfill) = (tenant.clone(), backfill.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = "DELETE FROM backfill_seen WHERE tenant = ? AND backfill = ?";
                sqlx::query(sql).bind(tenant.as_str()).bind(backfill).execute(conn).await?;
                Ok(())
            })
        })
        .await
    }
}
