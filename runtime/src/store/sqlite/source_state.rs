//! What sources of events remember between starts, and which of their events are kept already.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::{EventId, TenantId};

use super::decode;
use super::open::Store;
use crate::store::Error;

/// Ids that are asked for at once.
const ASKED: usize = 500;

impl Store {
    /// What is remembered under a key.
    pub async fn source_state(&self, tenant: &TenantId, kind: &str, key: &str) -> Result<Option<Value>, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT value FROM source_state WHERE tenant = ? AND kind = ? AND key = ?";
        let row = sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(key).fetch_optional(&mut *conn).await?;
        row.as_ref().map(|row| decode::json(row, "value")).transpose()
    }

    /// Everything of a kind, of all tenants: tenant, key and value.
    pub async fn source_states(&self, kind: &str) -> Result<Vec<(TenantId, String, Value)>, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT tenant, key, value FROM source_state WHERE kind = ? ORDER BY tenant, key";
        let rows = sqlx::query(sql).bind(kind).fetch_all(&mut *conn).await?;
        rows.iter().map(|row| Ok((decode::tenant(row)?, row.try_get("key")?, decode::json(row, "value")?))).collect()
    }

    /// Remembers a value under a key, in place of the one before.
    pub async fn put_source_state(
        &self,
        tenant: &TenantId,
        kind: &str,
        key: &str,
        value: &Value,
        now: Timestamp,
    ) -> Result<(), Error> {
        let (tenant, kind, key, value) = (tenant.clone(), kind.to_owned(), key.to_owned(), value.to_string());
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = "INSERT INTO source_state (tenant, kind, key, value, updated_at) VALUES (?, ?, ?, ?, ?) \
                           ON CONFLICT (tenant, kind, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
                let put = sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(key).bind(value);
                put.bind(now.as_millisecond()).execute(conn).await?;
                Ok(())
            })
        })
        .await
    }

    /// Forgets a key.
    pub async fn delete_source_state(&self, tenant: &TenantId, kind: &str, key: &str) -> Result<(), Error> {
        let (tenant, kind, key) = (tenant.clone(), kind.to_owned(), key.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = "DELETE FROM source_state WHERE tenant = ? AND kind = ? AND key = ?";
                sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(key).execute(conn).await?;
                Ok(())
            })
        })
        .await
    }

    /// Those of `ids` whose events are kept.
    pub async fn known_events(&self, ids: &[EventId]) -> Result<HashSet<EventId>, Error> {
        let mut conn = self.reader().await?;
        let mut known = HashSet::new();
        for asked in ids.chunks(ASKED) {
            let sql = format!("SELECT id FROM events WHERE id IN ({})", vec!["?"; asked.len()].join(","));
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for id in asked {
                query = query.bind(id.as_bytes().as_slice());
            }
            for row in query.fetch_all(&mut *conn).await? {
                let id: Vec<u8> = row.try_get("id")?;
                known.extend(EventId::from_slice(&id));
            }
        }
        Ok(known)
    }
}
