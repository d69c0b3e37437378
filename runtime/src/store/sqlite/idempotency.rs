//! The first answers to requests that carried an `Idempotency-Key`: looked for, and kept with their group.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteConnection;
use triggerd_core::id::TenantId;

use super::rows::AppendRow;
use super::tables::idempotency::{COLUMNS, answers};
use crate::store::Idempotency;

/// Those of `rows`' keys that have an answer.
pub(super) async fn find_all(
    conn: &mut SqliteConnection,
    rows: &[&AppendRow],
) -> Result<HashMap<(TenantId, String), Idempotency>, sqlx::Error> {
    let asked: Vec<Value> = rows
        .iter()
        .filter_map(|row| row.idempotency.as_ref().map(|i| json!([row.tenant.as_str(), i.key, row.accepted_at])))
        .collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM json_each(?) AS asked \
         CROSS JOIN idempotency AS i ON i.tenant = asked.value ->> 0 AND i.key = asked.value ->> 1 \
         WHERE i.expires_at > asked.value ->> 2"
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(Value::Array(asked).to_string()).fetch_all(conn).await?;
    answers(&found)
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
