//! Values that syncs did not carry over: kept for a person to look at, as long and as many as the settings say.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;
use uuid::Uuid;

use super::decode::{at, damaged};
use super::{Connection, DbRow, Store, decode, places};
use crate::store::{Error, SyncConflict, SyncOverflow};

/// Conflicts that are let go in one transaction.
const SLICE: usize = 500;
/// Those of one sync that are let go at a time; others go the next time.
const MOST_AT_A_TIME: i64 = 50_000;
const CONFLICT: &str = "SELECT id, key, at, reason, winner, loser, lost, won, resolved FROM sync_conflicts";

impl Store {
    pub async fn sync_conflicts(
        &self,
        tenant: &TenantId,
        sync: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<(Vec<SyncConflict>, u64), Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{CONFLICT} WHERE tenant = $1 AND sync = $2 AND id < $3 ORDER BY id DESC LIMIT $4");
        let before = before.unwrap_or(Uuid::max());
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(sync).bind(before.as_bytes().as_slice());
        let rows = rows.bind(i64::from(limit)).fetch_all(&mut *conn).await?;
        let sql = "SELECT count(*) AS count FROM sync_conflicts WHERE tenant = $1 AND sync = $2";
        let total = sqlx::query(sql).bind(tenant.as_str()).bind(sync).fetch_one(&mut *conn).await?;
        Ok((rows.iter().map(conflict).collect::<Result<_, _>>()?, decode::unsigned(&total, "count")?))
    }

    pub async fn sync_conflict(&self, tenant: &TenantId, sync: &str, id: Uuid) -> Result<Option<SyncConflict>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{CONFLICT} WHERE tenant = $1 AND sync = $2 AND id = $3");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(sync).bind(id.as_bytes().as_slice());
        row.fetch_optional(&mut *conn).await?.as_ref().map(conflict).transpose()
    }

    pub async fn sync_conflicts_since(&self, tenant: &TenantId, sync: &str, since: Timestamp) -> Result<u64, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT count(*) AS count FROM sync_conflicts WHERE tenant = $1 AND sync = $2 AND at >= $3";
        let row = sqlx::query(sql).bind(tenant.as_str()).bind(sync).bind(since.as_millisecond());
        decode::unsigned(&row.fetch_one(&mut *conn).await?, "count")
    }

    pub async fn sync_conflict_restored(&self, tenant: &TenantId, sync: &str, id: Uuid) -> Result<(), Error> {
        let (tenant, sync) = (tenant.clone(), sync.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = "UPDATE sync_conflicts SET resolved = 'restored' WHERE tenant = $1 AND sync = $2 AND id = $3";
                let set = sqlx::query(sql).bind(tenant.as_str()).bind(&sync).bind(id.as_bytes().as_slice());
                set.execute(conn).await?;
                Ok(())
            })
        })
        .await
    }

    pub async fn sync_conflict_delete(&self, tenant: &TenantId, sync: &str, id: Uuid) -> Result<bool, Error> {
        let (tenant, sync) = (tenant.clone(), sync.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = "DELETE FROM sync_conflicts WHERE tenant = $1 AND sync = $2 AND id = $3";
                let gone = sqlx::query(sql).bind(tenant.as_str()).bind(&sync).bind(id.as_bytes().as_slice());
                Ok(gone.execute(conn).await?.rows_affected() > 0)
            })
        })
        .await
    }

    pub async fn sync_conflicts_retire(&self, before: Timestamp) -> Result<u64, Error> {
        let mut deleted = 0;
        loop {
            let mut conn = self.reader().await?;
            let sql = "SELECT id FROM sync_conflicts WHERE resolved IS NOT NULL AND at < $1 LIMIT $2";
            let rows = sqlx::query(sql).bind(before.as_millisecond()).bind(SLICE as i64).fetch_all(&mut *conn).await?;
            drop(conn);
            deleted += self.let_go(&ids(&rows)?).await?;
            if rows.len() < SLICE {
                return Ok(deleted);
            }
        }
    }

    pub async fn sync_conflicts_bound(&self, most: u32) -> Result<Vec<SyncOverflow>, Error> {
        let mut conn = self.reader().await?;
        let sql =
            "SELECT tenant, sync, count(*) - $1 AS over FROM sync_conflicts GROUP BY tenant, sync HAVING count(*) > $1";
        let over = sqlx::query(sql).bind(i64::from(most)).fetch_all(&mut *conn).await?;
        let mut found = Vec::new();
        for row in over {
            let (tenant, sync): (String, String) = (row.try_get("tenant")?, row.try_get("sync")?);
            let sql = "SELECT id, resolved FROM sync_conflicts WHERE tenant = $1 AND sync = $2 ORDER BY resolved IS NULL, id LIMIT $3";
            let query =
                sqlx::query(sql).bind(&tenant).bind(&sync).bind(row.try_get::<i64, _>("over")?.min(MOST_AT_A_TIME));
            found.push((TenantId::new(&tenant), sync, query.fetch_all(&mut *conn).await?));
        }
        drop(conn);
        let mut overflows = Vec::new();
        for (tenant, sync, rows) in found {
            for slice in ids(&rows)?.chunks(SLICE) {
                self.let_go(slice).await?;
            }
            let mut unresolved = 0;
            for row in &rows {
                unresolved += u64::from(row.try_get::<Option<&str>, _>("resolved")?.is_none());
            }
            overflows.push(SyncOverflow { tenant, sync, unresolved });
        }
        Ok(overflows)
    }

    async fn let_go(&self, ids: &[Vec<u8>]) -> Result<u64, Error> {
        if ids.is_empty() {
            return Ok(0);
        }
        let ids = ids.to_vec();
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = format!("DELETE FROM sync_conflicts WHERE id IN ({})", places(1, ids.len()));
                let mut query = sqlx::query(AssertSqlSafe(sql));
                for id in ids {
                    query = query.bind(id);
                }
                Ok(query.execute(conn).await?.rows_affected())
            })
        })
        .await
    }
}

fn ids(rows: &[DbRow]) -> Result<Vec<Vec<u8>>, Error> {
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

/// Notes a conflict; once, however often it is told.
pub(super) async fn insert(
    conn: &mut Connection,
    tenant: &TenantId,
    sync: &str,
    conflict: &SyncConflict,
) -> Result<(), Error> {
    let sql = "INSERT INTO sync_conflicts (id, tenant, sync, key, at, reason, winner, loser, lost, won) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING";
    let put = sqlx::query(sql).bind(conflict.id.as_bytes().as_slice()).bind(tenant.as_str()).bind(sync);
    let put = put.bind(&conflict.key).bind(conflict.at.as_millisecond()).bind(&conflict.reason);
    let put = put.bind(&conflict.winner).bind(&conflict.loser).bind(conflict.lost.to_string());
    put.bind(conflict.won.to_string()).execute(conn).await?;
    Ok(())
}

fn conflict(row: &DbRow) -> Result<SyncConflict, Error> {
    Ok(SyncConflict {
        id: Uuid::from_slice(row.try_get("id")?).map_err(|e| damaged("sync conflict", e))?,
        key: row.try_get("key")?,
        at: at(row, "at")?,
        reason: row.try_get("reason")?,
        winner: row.try_get("winner")?,
        loser: row.try_get("loser")?,
        lost: decode::json(row, "lost")?,
        won: decode::json(row, "won")?,
        resolved: row.try_get("resolved")?,
    })
}
