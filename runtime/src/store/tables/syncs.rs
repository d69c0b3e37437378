//! What syncs remember of rows, and the values that they did not carry over.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;
use triggerd_core::sync::{Base, Version};
use uuid::Uuid;

use super::decode::{at, damaged};
use super::{Connection, DbRow, Store, decode, places};
use crate::store::{Error, SyncConflict, SyncRow, SyncSettled};

/// Keys that are asked for at once.
const ASKED: usize = 500;
const CONFLICT: &str = "SELECT id, key, at, reason, winner, loser, lost, won, resolved FROM sync_conflicts";

impl Store {
    pub async fn sync_row(&self, tenant: &TenantId, sync: &str, key: &str) -> Result<SyncRow, Error> {
        let mut found = self.sync_rows(tenant, sync, std::slice::from_ref(&key.to_owned())).await?;
        Ok(found.remove(key).unwrap_or_default())
    }

    pub async fn sync_rows(
        &self,
        tenant: &TenantId,
        sync: &str,
        keys: &[String],
    ) -> Result<HashMap<String, SyncRow>, Error> {
        let mut conn = self.reader().await?;
        let mut found = HashMap::new();
        for asked in keys.chunks(ASKED) {
            let places = places(3, asked.len());
            let sql = format!(
                "SELECT key, settled, source, target, intent FROM sync_rows WHERE tenant = $1 AND sync = $2 AND key IN ({places})"
            );
            let mut query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(sync);
            for key in asked {
                query = query.bind(key);
            }
            for row in query.fetch_all(&mut *conn).await? {
                found.insert(row.try_get("key")?, sync_row(&row)?);
            }
        }
        Ok(found)
    }

    pub async fn sync_count(&self, tenant: &TenantId, sync: &str) -> Result<u64, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT count(*) AS count FROM sync_rows WHERE tenant = $1 AND sync = $2";
        let row = sqlx::query(sql).bind(tenant.as_str()).bind(sync).fetch_one(&mut *conn).await?;
        decode::unsigned(&row, "count")
    }

    pub async fn sync_intend(
        &self,
        tenant: &TenantId,
        sync: &str,
        key: &str,
        intent: &Value,
        lost: Vec<SyncConflict>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (tenant, sync, key, intent) = (tenant.clone(), sync.to_owned(), key.to_owned(), intent.to_string());
        self.write(move |conn| {
            Box::pin(async move {
                let sql = "INSERT INTO sync_rows (tenant, sync, key, settled, intent, updated_at) VALUES ($1, $2, $3, 0, $4, $5) \
                           ON CONFLICT (tenant, sync, key) DO UPDATE SET intent = excluded.intent, updated_at = excluded.updated_at";
                let put = sqlx::query(sql).bind(tenant.as_str()).bind(&sync).bind(&key).bind(intent);
                put.bind(now.as_millisecond()).execute(&mut *conn).await?;
                for conflict in &lost {
                    insert(conn, &tenant, &sync, conflict).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn sync_settle(
        &self,
        tenant: &TenantId,
        sync: &str,
        key: &str,
        settled: SyncSettled,
        now: Timestamp,
    ) -> Result<(), Error> {
        let SyncSettled { base, lost, dropped } = settled;
        let (tenant, sync, key) = (tenant.clone(), sync.to_owned(), key.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                match base.filter(|base| *base != Base::default()) {
                    Some(base) => {
                        let sql = "INSERT INTO sync_rows (tenant, sync, key, settled, source, target, updated_at) \
                                   VALUES ($1, $2, $3, 1, $4, $5, $6) ON CONFLICT (tenant, sync, key) DO UPDATE SET settled = 1, \
                                   source = excluded.source, target = excluded.target, intent = NULL, updated_at = excluded.updated_at";
                        let put = sqlx::query(sql).bind(tenant.as_str()).bind(&sync).bind(&key);
                        let put = put.bind(base.source.map(|v| v.to_vec())).bind(base.target.map(|v| v.to_vec()));
                        put.bind(now.as_millisecond()).execute(&mut *conn).await?;
                    }
                    None => {
                        let sql = "DELETE FROM sync_rows WHERE tenant = $1 AND sync = $2 AND key = $3";
                        sqlx::query(sql).bind(tenant.as_str()).bind(&sync).bind(&key).execute(&mut *conn).await?;
                    }
                }
                for conflict in &lost {
                    insert(conn, &tenant, &sync, conflict).await?;
                }
                for id in dropped {
                    let sql = "DELETE FROM sync_conflicts WHERE id = $1";
                    sqlx::query(sql).bind(id.as_bytes().as_slice()).execute(&mut *conn).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn sync_forget(&self, tenant: &TenantId, sync: &str) -> Result<(), Error> {
        let (tenant, sync) = (tenant.clone(), sync.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
                for sql in [
                    "DELETE FROM sync_rows WHERE tenant = $1 AND sync = $2",
                    "DELETE FROM sync_conflicts WHERE tenant = $1 AND sync = $2",
                ] {
                    sqlx::query(sql).bind(tenant.as_str()).bind(&sync).execute(&mut *conn).await?;
                }
                Ok(())
            })
        })
        .await
    }

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
}

async fn insert(conn: &mut Connection, tenant: &TenantId, sync: &str, conflict: &SyncConflict) -> Result<(), Error> {
    let sql = "INSERT INTO sync_conflicts (id, tenant, sync, key, at, reason, winner, loser, lost, won) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING";
    let put = sqlx::query(sql).bind(conflict.id.as_bytes().as_slice()).bind(tenant.as_str()).bind(sync);
    let put = put.bind(&conflict.key).bind(conflict.at.as_millisecond()).bind(&conflict.reason);
    let put = put.bind(&conflict.winner).bind(&conflict.loser).bind(conflict.lost.to_string());
    put.bind(conflict.won.to_string()).execute(conn).await?;
    Ok(())
}

fn sync_row(row: &DbRow) -> Result<SyncRow, Error> {
    let settled: i64 = row.try_get("settled")?;
    let base = Base { source: version(row, "source")?, target: version(row, "target")? };
    let intent: Option<&str> = row.try_get("intent")?;
    let intent = intent.map(|text| serde_json::from_str(text).map_err(|e| damaged("sync row", e))).transpose()?;
    Ok(SyncRow { base: (settled == 1).then_some(base), intent })
}

fn version(row: &DbRow, column: &str) -> Result<Option<Version>, Error> {
    let bytes: Option<&[u8]> = row.try_get(column)?;
    bytes.map(|bytes| bytes.try_into().map_err(|_| damaged("sync row", column))).transpose()
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
