//! The first answers to requests that carried an `Idempotency-Key`.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use triggerd_core::id::TenantId;

use super::decode::{self, at};
use super::open::Store;
use super::rows::AppendRow;
use crate::store::{Error, Idempotency};

const FIND: &str = "SELECT tenant, key, fingerprint, status, body, expires_at FROM idempotency \
                    WHERE tenant = ? AND key = ? AND expires_at > ?";

impl Store {
    pub async fn idempotency(
        &self,
        tenant: &TenantId,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Idempotency>, Error> {
        let mut conn = self.reader().await?;
        let row = sqlx::query(FIND)
            .bind(tenant.as_str())
            .bind(key)
            .bind(now.as_millisecond())
            .fetch_optional(&mut *conn)
            .await?;
        row.map(|row| decode_row(&row).map(|(_, found)| found)).transpose()
    }

    pub async fn delete_expired(&self, now: Timestamp) -> Result<u64, Error> {
        const SLICE: u64 = 5000;
        const DELETES: [&str; 3] = [
            "DELETE FROM idempotency WHERE (tenant, key) IN \
             (SELECT tenant, key FROM idempotency WHERE expires_at <= ? LIMIT ?)",
            "DELETE FROM component_state WHERE rowid IN \
             (SELECT rowid FROM component_state WHERE expires_at IS NOT NULL AND expires_at <= ? LIMIT ?)",
            "DELETE FROM quota_windows WHERE (tenant, trigger, action, key, window_start) IN \
             (SELECT tenant, trigger, action, key, window_start FROM quota_windows WHERE expires_at <= ? LIMIT ?)",
        ];
        let mut deleted = 0;
        for sql in DELETES {
            loop {
                let count = self
                    .write_one(move |conn| {
                        Box::pin(async move {
                            let query = sqlx::query(sql).bind(now.as_millisecond()).bind(SLICE as i64);
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

/// Those of `rows`' keys that have an answer.
pub(super) async fn find_all(
    conn: &mut SqliteConnection,
    rows: &[&AppendRow],
) -> Result<HashMap<(TenantId, String), Idempotency>, sqlx::Error> {
    let asked: Vec<Value> = rows
        .iter()
        .filter_map(|row| row.idempotency.as_ref().map(|i| json!([row.tenant.as_str(), i.key, row.accepted_at])))
        .collect();
    let found = sqlx::query(
        "SELECT i.tenant, i.key, i.fingerprint, i.status, i.body, i.expires_at FROM json_each(?) AS asked \
         CROSS JOIN idempotency AS i ON i.tenant = asked.value ->> 0 AND i.key = asked.value ->> 1 \
         WHERE i.expires_at > asked.value ->> 2",
    )
    .bind(Value::Array(asked).to_string())
    .fetch_all(conn)
    .await?;
    found
        .iter()
        .map(|row| {
            let (tenant, found) = decode_row(row).map_err(|e| sqlx::Error::Decode(e.into()))?;
            Ok(((tenant, found.key.clone()), found))
        })
        .collect()
}

/// New answers, ready to be kept with their events.
pub(super) struct Rows(String);

impl Rows {
    /// `None` where there is nothing to keep.
    pub(super) fn of(keys: &[(&TenantId, &Idempotency)]) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        let rows: Vec<Value> = keys
            .iter()
            .map(|(tenant, i)| {
                let expires = i.expires_at.as_millisecond();
                json!([tenant.as_str(), i.key, hex::encode(i.fingerprint), i.status, i.body, expires])
            })
            .collect();
        Some(Self(Value::Array(rows).to_string()))
    }

    pub(super) async fn keep(self, conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        // Whatever is replaced has expired: the group looked for answers that have not.
        sqlx::query(
            "INSERT OR REPLACE INTO idempotency (tenant, key, fingerprint, status, body, expires_at) \
             SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)",
        )
        .bind(self.0)
        .execute(conn)
        .await?;
        Ok(())
    }
}

fn decode_row(row: &SqliteRow) -> Result<(TenantId, Idempotency), Error> {
    let status: i64 = row.try_get("status")?;
    let found = Idempotency {
        key: row.try_get("key")?,
        fingerprint: decode::digest(row, "fingerprint")?,
        status: u16::try_from(status).map_err(|_| decode::damaged("idempotency", "status"))?,
        body: row.try_get("body")?,
        expires_at: at(row, "expires_at")?,
    };
    Ok((decode::tenant(row)?, found))
}
