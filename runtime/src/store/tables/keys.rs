//! API keys: digests, never the keys.

use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::{at, at_if_any};
use super::{DbRow, Store, changed, decode};
use crate::store::{ChangeKind, Error, StoredKey};

const SELECT: &str = "SELECT id, tenant, name, digest, scopes, created_at, expires_at FROM api_keys";

impl Store {
    pub async fn keys_all(&self) -> Result<Vec<StoredKey>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} ORDER BY id");
        sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?.iter().map(decode).collect()
    }

    pub async fn keys(&self, tenant: &TenantId) -> Result<Vec<StoredKey>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 ORDER BY created_at, id");
        sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).fetch_all(&mut *conn).await?.iter().map(decode).collect()
    }

    pub async fn put_key(&self, key: StoredKey) -> Result<(), Error> {
        self.write_change(move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Key, &key.tenant, &key.id).await?;
                sqlx::query(
                    "INSERT INTO api_keys (id, tenant, name, digest, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                )
                .bind(key.id)
                .bind(key.tenant.as_str())
                .bind(key.name)
                .bind(key.digest.as_slice())
                .bind(serde_json::Value::from(key.scopes).to_string())
                .bind(key.created_at.as_millisecond())
                .bind(key.expires_at.map(|t| t.as_millisecond()))
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    pub async fn delete_key(&self, tenant: &TenantId, id: &str) -> Result<bool, Error> {
        let (tenant, id) = (tenant.clone(), id.to_owned());
        self.write_change(move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Key, &tenant, &id).await?;
                let sql = "DELETE FROM api_keys WHERE tenant = $1 AND id = $2";
                Ok(sqlx::query(sql).bind(tenant.as_str()).bind(id).execute(conn).await?.rows_affected() > 0)
            })
        })
        .await
    }
}

fn decode(row: &DbRow) -> Result<StoredKey, Error> {
    let scopes: &str = row.try_get("scopes")?;
    Ok(StoredKey {
        id: row.try_get("id")?,
        tenant: decode::tenant(row)?,
        name: row.try_get("name")?,
        digest: decode::digest(row, "digest")?,
        scopes: serde_json::from_str(scopes).map_err(|e| decode::damaged("scopes", e))?,
        created_at: at(row, "created_at")?,
        expires_at: at_if_any(row, "expires_at")?,
    })
}
