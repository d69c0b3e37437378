//! The first answers to requests that carried an `Idempotency-Key`, and what else expires.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};
use triggerd_core::id::TenantId;

use super::decode::at;
use super::{DbRow, Store, decode, dialect};
use crate::store::{Error, Idempotency};

/// What an answer is read from, of `idempotency AS i`.
pub(in crate::store) const COLUMNS: &str = "i.tenant, i.key, i.fingerprint, i.status, i.body, i.expires_at";

/// The tables whose rows expire, with their primary keys.
const EXPIRING: [(&str, &str); 3] = [
    ("idempotency", "tenant, key"),
    ("component_state", "tenant, component, key"),
    ("quota_windows", "tenant, trigger, action, key, window_start"),
];

impl Store {
    pub async fn idempotency(
        &self,
        tenant: &TenantId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Idempotency>, Error> {
        let mut conn = self.reader().await?;
        let sql =
            format!("SELECT {COLUMNS} FROM idempotency AS i WHERE i.tenant = $1 AND i.key = $2 AND i.expires_at > $3");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(dialect::kept(key))
            .bind(now.as_millisecond())
            .fetch_optional(&mut *conn)
            .await?;
        row.map(|row| answer(&row).map(|(_, found)| found)).transpose()
    }

    pub async fn delete_expired(&self, now: Timestamp) -> Result<u64, Error> {
        const SLICE: u64 = 5000;
        let mut deleted = 0;
        for (table, key) in EXPIRING {
            let expired = dialect::some(table, key, "expires_at IS NOT NULL AND expires_at <= $1");
            let sql = format!("DELETE FROM {table} WHERE {expired}");
            loop {
                let sql = sql.clone();
                let count = self
                    .write_one(move |conn| {
                        Box::pin(async move {
                            let query = sqlx::query(AssertSqlSafe(sql)).bind(now.as_millisecond()).bind(SLICE as i64);
                            Ok(query.execute(conn).await?.rows_affected())
                        })
                    })
                    .await?;
                deleted += count;
                if count < SLICE {
                    break;
                }
            }
        }
        Ok(deleted)
    }
}

/// An answer, and whose it is.
pub(in crate::store) fn answer(row: &DbRow) -> Result<(TenantId, Idempotency), Error> {
    let status: i64 = row.try_get("status")?;
    let found = Idempotency {
        key: dialect::read(row.try_get("key")?),
        fingerprint: decode::digest(row, "fingerprint")?,
        status: u16::try_from(status).map_err(|_| decode::damaged("idempotency", "status"))?,
        body: dialect::read(row.try_get("body")?),
        expires_at: at(row, "expires_at")?,
    };
    Ok((decode::tenant(row)?, found))
}
