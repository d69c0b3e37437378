//! Rows that were told of by themselves while a backfill runs.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::open::Store;
use crate::store::Error;

/// Digests that are asked for, or kept, at once.
const AT_ONCE: usize = 300;

/// Names a row of a table.
pub type RowDigest = [u8; 16];

impl Store {
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
