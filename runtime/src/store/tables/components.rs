//! Components: their versions and their bytes, the latter once per digest.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::at;
use super::{Connection, DbRow, Store, changed, decode};
use crate::store::{ChangeKind, Error, StoredComponent};

const SELECT: &str = "SELECT name, version, digest, description, created_at FROM component_versions";

impl Store {
    pub async fn put_component(
        &self,
        tenant: &TenantId,
        name: &str,
        digest: &str,
        description: Value,
        bytes: Vec<u8>,
        now: Timestamp,
    ) -> Result<(StoredComponent, bool), Error> {
        let (tenant, name, digest) = (tenant.clone(), name.to_owned(), digest.to_owned());
        self.write_told(
            move |conn| {
                Box::pin(async move {
                    changed(conn, ChangeKind::Component, &tenant, &name).await?;
                    if let Some(latest) = latest(conn, &tenant, &name).await?
                        && latest.digest == digest
                    {
                        return Ok((latest, false));
                    }
                    sqlx::query(
                        "INSERT INTO component_code (tenant, digest, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
                    )
                    .bind(tenant.as_str())
                    .bind(digest.as_str())
                    .bind(bytes)
                    .execute(&mut *conn)
                    .await?;
                    let row = sqlx::query(
                        "INSERT INTO component_versions (tenant, name, version, digest, description, created_at) \
                     SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5 FROM component_versions \
                     WHERE tenant = $1 AND name = $2 RETURNING name, version, digest, description, created_at",
                    )
                    .bind(tenant.as_str())
                    .bind(name)
                    .bind(digest)
                    .bind(description.to_string())
                    .bind(now.as_millisecond())
                    .fetch_one(conn)
                    .await?;
                    Ok((decode(&row)?, true))
                })
            },
            |(stored, _), entry| entry.after = Some(json!({"version": stored.version, "digest": stored.digest})),
        )
        .await
    }

    pub async fn components(&self, tenant: &TenantId) -> Result<Vec<StoredComponent>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND deleted_at IS NULL ORDER BY name, version");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).fetch_all(&mut *conn).await?;
        rows.iter().map(decode).collect()
    }

    pub async fn component(&self, tenant: &TenantId, name: &str) -> Result<Vec<StoredComponent>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND name = $2 AND deleted_at IS NULL ORDER BY version");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(name).fetch_all(&mut *conn).await?;
        rows.iter().map(decode).collect()
    }

    pub async fn component_bytes(&self, tenant: &TenantId, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        let mut conn = self.reader().await?;
        let bytes = sqlx::query_scalar("SELECT bytes FROM component_code WHERE tenant = $1 AND digest = $2")
            .bind(tenant.as_str())
            .bind(digest)
            .fetch_optional(&mut *conn)
            .await?;
        Ok(bytes)
    }

    pub async fn delete_component(&self, tenant: &TenantId, name: &str) -> Result<bool, Error> {
        let (tenant, name, now) = (tenant.clone(), name.to_owned(), self.clock.now_ms());
        self.write_change(move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Component, &tenant, &name).await?;
                let sql =
                    "UPDATE component_versions SET deleted_at = $1 WHERE tenant = $2 AND name = $3 AND deleted_at IS NULL";
                let done = sqlx::query(sql).bind(now).bind(tenant.as_str()).bind(&name).execute(&mut *conn).await?;
                if done.rows_affected() == 0 {
                    return Ok(false);
                }
                let sql = "DELETE FROM component_state WHERE tenant = $1 AND component = $2";
                sqlx::query(sql).bind(tenant.as_str()).bind(&name).execute(&mut *conn).await?;
                delete_unused_code(conn, &tenant).await?;
                Ok(true)
            })
        })
        .await
    }
}

async fn delete_unused_code(conn: &mut Connection, tenant: &TenantId) -> Result<(), Error> {
    sqlx::query(
        "DELETE FROM component_code AS c WHERE c.tenant = $1 AND NOT EXISTS (SELECT 1 FROM component_versions AS v \
         WHERE v.tenant = c.tenant AND v.digest = c.digest AND v.deleted_at IS NULL)",
    )
    .bind(tenant.as_str())
    .execute(conn)
    .await?;
    Ok(())
}

async fn latest(conn: &mut Connection, tenant: &TenantId, name: &str) -> Result<Option<StoredComponent>, Error> {
    let sql = format!("{SELECT} WHERE tenant = $1 AND name = $2 AND deleted_at IS NULL ORDER BY version DESC LIMIT 1");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(name).fetch_optional(conn).await?;
    row.as_ref().map(decode).transpose()
}

fn decode(row: &DbRow) -> Result<StoredComponent, Error> {
    Ok(StoredComponent {
        name: row.try_get("name")?,
        version: decode::version(row)?,
        digest: row.try_get("digest")?,
        description: decode::json(row, "description")?,
        created_at: at(row, "created_at")?,
    })
}
