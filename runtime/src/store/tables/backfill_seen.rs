//! Rows that were told of by themselves while a backfill runs.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::{Store, places};
use crate::store::{Error, RowDigest};

/// Digests that are asked for, or kept, at once.
const AT_ONCE: usize = 300;
/// Those that are forgotten in one write: other writes come in between.
const FORGOTTEN: u64 = 5000;

impl Store {
    pub async fn backfill_see(&self, tenant: &TenantId, backfill: &str, rows: Vec<RowDigest>) -> Result<(), Error> {
        let (tenant, backfill) = (tenant.clone(), backfill.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                for rows in rows.chunks(AT_ONCE) {
                    let values = (3..3 + rows.len()).map(|n| format!("($1, $2, ${n})")).collect::<Vec<_>>().join(",");
                    let sql = format!(
                        "INSERT INTO backfill_seen (tenant, backfill, \"row\") VALUES {values} ON CONFLICT DO NOTHING"
                    );
                    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(backfill.as_str());
                    for row in rows {
                        query = query.bind(row.as_slice());
                    }
                    query.execute(&mut *conn).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn backfill_seen(
        &self,
        tenant: &TenantId,
        backfill: &str,
        rows: &[RowDigest],
    ) -> Result<HashSet<RowDigest>, Error> {
        let mut conn = self.reader().await?;
        let mut seen = HashSet::new();
        for asked in rows.chunks(AT_ONCE) {
            let list = places(3, asked.len());
            let sql = format!(
                "SELECT \"row\" FROM backfill_seen WHERE tenant = $1 AND backfill = $2 AND \"row\" IN ({list})"
            );
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

    pub async fn backfill_forget(&self, tenant: &TenantId, backfill: &str) -> Result<(), Error> {
        let sql = "DELETE FROM backfill_seen WHERE tenant = $1 AND backfill = $2 AND \"row\" IN \
                   (SELECT \"row\" FROM backfill_seen WHERE tenant = $1 AND backfill = $2 LIMIT $3)";
        loop {
            let (tenant, backfill) = (tenant.clone(), backfill.to_owned());
            let deleted = self.write_one(move |conn| {
                Box::pin(async move {
                    let query = sqlx::query(sql).bind(tenant.as_str()).bind(backfill).bind(FORGOTTEN as i64);
                    Ok(query.execute(conn).await?.rows_affected())
                })
            });
            if deleted.await? < FORGOTTEN {
                return Ok(());
            }
        }
    }
}
