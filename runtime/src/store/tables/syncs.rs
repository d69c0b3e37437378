//! What syncs remember of rows.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;
use triggerd_core::sync::{Base, Side, Version};

use super::decode::damaged;
use super::{DbRow, Store, decode, places, sync_conflicts};
use crate::store::{Error, SyncConflict, SyncRow, SyncSettled};

/// Keys that are asked for at once.
const ASKED: usize = 500;

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

    pub async fn sync_keys(
        &self,
        tenant: &TenantId,
        sync: &str,
        side: Side,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!(
            "SELECT key FROM sync_rows WHERE tenant = $1 AND sync = $2 AND key > $3 AND ({} IS NOT NULL OR intent IS NOT NULL) \
             ORDER BY key LIMIT $4",
            side.as_str()
        );
        let query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(sync).bind(after.unwrap_or_default());
        let rows = query.bind(i64::try_from(limit).unwrap_or(i64::MAX)).fetch_all(&mut *conn).await?;
        rows.iter().map(|row| Ok(row.try_get("key")?)).collect()
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
                    sync_conflicts::insert(conn, &tenant, &sync, conflict).await?;
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
                    sync_conflicts::insert(conn, &tenant, &sync, conflict).await?;
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
        const SLICE: u64 = 5000;
        for sql in [
            "DELETE FROM sync_rows WHERE tenant = $1 AND sync = $2 AND key IN \
             (SELECT key FROM sync_rows WHERE tenant = $1 AND sync = $2 LIMIT $3)",
            "DELETE FROM sync_conflicts WHERE id IN (SELECT id FROM sync_conflicts WHERE tenant = $1 AND sync = $2 LIMIT $3)",
        ] {
            loop {
                let (tenant, sync) = (tenant.clone(), sync.to_owned());
                let deleted = self.write_one(move |conn| {
                    Box::pin(async move {
                        let query = sqlx::query(sql).bind(tenant.as_str()).bind(&sync).bind(SLICE as i64);
                        Ok(query.execute(conn).await?.rows_affected())
                    })
                });
                if deleted.await? < SLICE {
                    break;
                }
            }
        }
        Ok(())
    }
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
