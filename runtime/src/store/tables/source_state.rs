//! What sources of events remember between starts.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::Row;
use triggerd_core::id::TenantId;

use super::{Connection, Store, changed, decode};
use crate::store::{ChangeKind, Error};

impl Store {
    pub async fn source_state(&self, tenant: &TenantId, kind: &str, key: &str) -> Result<Option<Value>, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT value FROM source_state WHERE tenant = $1 AND kind = $2 AND key = $3";
        let row = sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(key).fetch_optional(&mut *conn).await?;
        row.as_ref().map(|row| decode::json(row, "value")).transpose()
    }

    pub async fn source_states_of(&self, tenant: &TenantId, kind: &str) -> Result<Vec<(String, Value)>, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT key, value FROM source_state WHERE tenant = $1 AND kind = $2 ORDER BY key";
        let rows = sqlx::query(sql).bind(tenant.as_str()).bind(kind).fetch_all(&mut *conn).await?;
        rows.iter().map(|row| Ok((row.try_get("key")?, decode::json(row, "value")?))).collect()
    }

    pub async fn source_states(&self, kind: &str) -> Result<Vec<(TenantId, String, Value)>, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT tenant, key, value FROM source_state WHERE kind = $1 ORDER BY tenant, key";
        let rows = sqlx::query(sql).bind(kind).fetch_all(&mut *conn).await?;
        rows.iter().map(|row| Ok((decode::tenant(row)?, row.try_get("key")?, decode::json(row, "value")?))).collect()
    }

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
                let sql = "INSERT INTO source_state (tenant, kind, key, value, updated_at) VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT (tenant, kind, key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at";
                let put = sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(key).bind(value);
                put.bind(now.as_millisecond()).execute(conn).await?;
                Ok(())
            })
        })
        .await
    }

    #[expect(clippy::too_many_arguments, reason = "they are the row's columns, before and after")]
    pub async fn swap_source_state(
        &self,
        tenant: &TenantId,
        kind: &str,
        key: &str,
        old: Option<&Value>,
        new: Option<&Value>,
        tell: bool,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let of = (tenant.clone(), kind.to_owned(), key.to_owned());
        let values = (old.map(Value::to_string), new.map(Value::to_string));
        if !tell {
            return self.write_one(move |conn| Box::pin(swap(conn, of, values, now))).await;
        }
        self.write_change(move |conn| {
            Box::pin(async move {
                let (tenant, kind, key) = &of;
                changed(conn, ChangeKind::Source, tenant, &format!("{kind}/{key}")).await?;
                swap(conn, of, values, now).await
            })
        })
        .await
    }

    pub async fn delete_source_state(&self, tenant: &TenantId, kind: &str, key: &str) -> Result<(), Error> {
        let (tenant, kind, key) = (tenant.clone(), kind.to_owned(), key.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                let sql = "DELETE FROM source_state WHERE tenant = $1 AND kind = $2 AND key = $3";
                sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(key).execute(conn).await?;
                Ok(())
            })
        })
        .await
    }
}

async fn swap(
    conn: &mut Connection,
    (tenant, kind, key): (TenantId, String, String),
    (old, new): (Option<String>, Option<String>),
    now: Timestamp,
) -> Result<bool, Error> {
    let sql = match (&old, &new) {
        (None, None) => return Ok(true),
        (None, Some(_)) => {
            "INSERT INTO source_state (tenant, kind, key, value, updated_at) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (tenant, kind, key) DO NOTHING"
        }
        (Some(_), None) => "DELETE FROM source_state WHERE tenant = $1 AND kind = $2 AND key = $3 AND value = $4",
        (Some(_), Some(_)) => {
            "UPDATE source_state SET value = $4, updated_at = $5 WHERE tenant = $1 AND kind = $2 AND key = $3 AND value = $6"
        }
    };
    let swap = sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(key);
    let done = match (old, new) {
        (Some(old), None) => swap.bind(old).execute(conn).await?,
        (None, new) => swap.bind(new).bind(now.as_millisecond()).execute(conn).await?,
        (old, new) => swap.bind(new).bind(now.as_millisecond()).bind(old).execute(conn).await?,
    };
    Ok(done.rows_affected() == 1)
}
