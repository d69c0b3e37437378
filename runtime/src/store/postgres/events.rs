//! Events: listed, and forgotten after the retention time.

use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use triggerd_core::id::TenantId;
use uuid::Uuid;

use super::{Store, partitions};
use crate::store::{Error, EventFilter, Page, PageRequest, Position, StoredEvent};

impl Store {
    pub async fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredEvent>, Error> {
        let (items, cursor) = self.events_listed(tenant, filter, page).await?;
        let (total, total_is_exact) = self.count_scanned(tenant, filter).await?;
        Ok(Page { items, total, total_is_exact, cursor })
    }

    pub async fn events_listed(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<(Vec<StoredEvent>, Option<String>), Error> {
        let top = Position::of_cursor(page.cursor.as_deref())?;
        let (items, next) = self.scanned(tenant, filter, top, page.limit.clamp(1, 1000) as usize).await?;
        Ok((items, next.map(Position::cursor)))
    }

    /// The inbox's index is all that there is.
    pub async fn index_events(&self) -> Result<bool, Error> {
        Ok(false)
    }

    /// Whole partitions at once; then, row by row, what is in none.
    pub async fn drop_old(&self, before: Timestamp, limit: u32) -> Result<u64, Error> {
        let before = before.as_millisecond();
        let mut conn = self.reader().await?;
        let dropped = partitions::drop_before(&mut conn, before).await?;
        let sql = format!(
            "SELECT e.id FROM events_rest AS e WHERE e.accepted_at < $1 AND {ENDED_WELL} ORDER BY e.accepted_at LIMIT $2"
        );
        let old: Vec<Uuid> = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(before)
            .bind(i64::from(limit.clamp(1, 10_000)))
            .fetch_all(&mut *conn)
            .await?;
        let gone = if old.is_empty() { 0 } else { delete(&mut conn, &old, ENDED_WELL).await? };
        Ok(dropped + gone)
    }
}

/// Holds for `events AS e` that have neither an unfinished run nor a dead letter.
const ENDED_WELL: &str = "NOT EXISTS (SELECT 1 FROM runs AS r WHERE r.id BETWEEN e.first_run AND e.last_run AND r.event_id = e.id \
    AND r.state <> 2)";

/// Deletes those of these events for which `condition` still holds, with their runs.
pub(super) async fn delete(conn: &mut PgConnection, ids: &[Uuid], condition: &str) -> Result<u64, Error> {
    let sql = format!(
        "WITH old AS MATERIALIZED (SELECT e.id, e.first_run, e.last_run FROM events AS e WHERE e.id = ANY($1) AND ({condition})), \
         runs_gone AS (DELETE FROM runs AS r USING old WHERE r.id BETWEEN old.first_run AND old.last_run \
             AND r.event_id = old.id AND r.state >= 2 RETURNING r.id, r.tenant), \
         letters_gone AS (DELETE FROM dead_letters AS d USING runs_gone AS g WHERE d.tenant = g.tenant AND d.run_id = g.id), \
         gone AS (DELETE FROM events AS e USING old WHERE e.id = old.id RETURNING e.id) \
         SELECT count(*) FROM gone"
    );
    let gone: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).bind(ids).fetch_one(conn).await?;
    Ok(gone.unsigned_abs())
}
