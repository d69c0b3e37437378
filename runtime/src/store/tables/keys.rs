//! API keys: digests, never the keys.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::{at, at_if_any};
use super::{Connection, DbRow, Store, all_changed, changed, decode};
use crate::store::{ChangeKind, Error, StoredKey};

const SELECT: &str =
    "SELECT id, tenant, name, digest, scopes, created_at, expires_at, rate_limit, replaced_by FROM api_keys";

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
                insert(conn, key).await
            })
        })
        .await
    }

    pub async fn replace_key(&self, id: &str, until: Timestamp, new: StoredKey) -> Result<bool, Error> {
        let id = id.to_owned();
        self.write_change(move |conn| {
            Box::pin(async move {
                all_changed(conn, ChangeKind::Key, &[(&new.tenant, &id), (&new.tenant, &new.id)]).await?;
                let done = sqlx::query(
                    "UPDATE api_keys SET replaced_by = $1, expires_at = CASE WHEN expires_at < $2 THEN expires_at ELSE $2 END \
                     WHERE tenant = $3 AND id = $4 AND replaced_by IS NULL",
                )
                .bind(new.id.as_str())
                .bind(until.as_millisecond())
                .bind(new.tenant.as_str())
                .bind(id)
                .execute(&mut *conn)
                .await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                insert(conn, new).await.map(|()| true)
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

async fn insert(conn: &mut Connection, key: StoredKey) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO api_keys (id, tenant, name, digest, scopes, created_at, expires_at, rate_limit, replaced_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(key.id)
    .bind(key.tenant.as_str())
    .bind(key.name)
    .bind(key.digest.as_slice())
    .bind(serde_json::Value::from(key.scopes).to_string())
    .bind(key.created_at.as_millisecond())
    .bind(key.expires_at.map(|t| t.as_millisecond()))
    .bind(key.rate_limit.map(i64::from))
    .bind(key.replaced_by)
    .execute(conn)
    .await?;
    Ok(())
}

fn decode(row: &DbRow) -> Result<StoredKey, Error> {
    let scopes: &str = row.try_get("scopes")?;
    let rate_limit: Option<i64> = row.try_get("rate_limit")?;
    Ok(StoredKey {
        id: row.try_get("id")?,
        tenant: decode::tenant(row)?,
        name: row.try_get("name")?,
        digest: decode::digest(row, "digest")?,
        scopes: serde_json::from_str(scopes).map_err(|e| decode::damaged("scopes", e))?,
        created_at: at(row, "created_at")?,
        expires_at: at_if_any(row, "expires_at")?,
        rate_limit: rate_limit.map(u32::try_from).transpose().map_err(|e| decode::damaged("rate_limit", e))?,
        replaced_by: row.try_get("replaced_by")?,
    })
}
