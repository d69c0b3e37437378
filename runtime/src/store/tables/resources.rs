//! Resources: named connections and secrets, settings as JSON.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::at;
use super::{DbRow, Store, changed, decode};
use crate::store::{ChangeKind, Error, Resealed, StoredResource};

const SELECT: &str = "SELECT tenant, kind, tag, settings, version, created_at, updated_at FROM resources";

impl Store {
    pub async fn put_resource(
        &self,
        tenant: &TenantId,
        kind: &str,
        tag: &str,
        settings: Value,
        now: Timestamp,
    ) -> Result<(StoredResource, bool), Error> {
        let (tenant, kind, tag) = (tenant.clone(), kind.to_owned(), tag.to_owned());
        self.write_told(
            move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Resource, &tenant, &format!("{kind}/{tag}")).await?;
                let row = sqlx::query(
                    "INSERT INTO resources (tenant, kind, tag, settings, version, created_at, updated_at) \
                     VALUES ($1, $2, $3, $4, 1, $5, $5) ON CONFLICT (tenant, kind, tag) DO UPDATE \
                     SET settings = excluded.settings, version = resources.version + 1, updated_at = excluded.updated_at \
                     RETURNING tenant, kind, tag, settings, version, created_at, updated_at",
                )
                .bind(tenant.as_str())
                .bind(kind)
                .bind(tag)
                .bind(settings.to_string())
                .bind(now.as_millisecond())
                .fetch_one(conn)
                .await?;
                let stored = decode(&row)?;
                let created = stored.version == 1;
                Ok((stored, created))
            })
            },
            |(stored, _), entry| entry.after = Some(json!({"version": stored.version})),
        )
        .await
    }

    pub async fn resource(&self, tenant: &TenantId, kind: &str, tag: &str) -> Result<Option<StoredResource>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND kind = $2 AND tag = $3");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(kind)
            .bind(tag)
            .fetch_optional(&mut *conn)
            .await?;
        row.as_ref().map(decode).transpose()
    }

    pub async fn resources(&self, tenant: &TenantId, kind: &str) -> Result<Vec<StoredResource>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND kind = $2 ORDER BY tag");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(kind).fetch_all(&mut *conn).await?;
        rows.iter().map(decode).collect()
    }

    pub async fn resources_all(&self) -> Result<Vec<(TenantId, StoredResource)>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} ORDER BY tenant, kind, tag");
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?;
        rows.iter().map(|row| Ok((decode::tenant(row)?, decode(row)?))).collect()
    }

    pub async fn reseal_resources(&self, resealed: Vec<Resealed>) -> Result<(), Error> {
        self.write_change(move |conn| {
            Box::pin(async move {
                // One after another with other changes: what is sealed anew is what is there.
                for one in &resealed {
                    changed(conn, ChangeKind::Resource, &one.tenant, &format!("{}/{}", one.kind, one.tag)).await?;
                }
                let sql =
                    "UPDATE resources SET settings = $1 WHERE tenant = $2 AND kind = $3 AND tag = $4 AND version = $5";
                for one in resealed {
                    let update = sqlx::query(sql).bind(one.settings.to_string()).bind(one.tenant.as_str());
                    let update = update.bind(one.kind).bind(one.tag).bind(i64::from(one.version));
                    update.execute(&mut *conn).await?;
                }
                Ok(())
            })
        })
        .await
    }

    pub async fn delete_resource(&self, tenant: &TenantId, kind: &str, tag: &str) -> Result<bool, Error> {
        let (tenant, kind, tag) = (tenant.clone(), kind.to_owned(), tag.to_owned());
        self.write_change(move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Resource, &tenant, &format!("{kind}/{tag}")).await?;
                let sql = "DELETE FROM resources WHERE tenant = $1 AND kind = $2 AND tag = $3";
                let done = sqlx::query(sql).bind(tenant.as_str()).bind(kind).bind(tag).execute(conn).await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }
}

fn decode(row: &DbRow) -> Result<StoredResource, Error> {
    Ok(StoredResource {
        kind: row.try_get("kind")?,
        tag: row.try_get("tag")?,
        settings: decode::json(row, "settings")?,
        version: decode::version(row)?,
        created_at: at(row, "created_at")?,
        updated_at: at(row, "updated_at")?,
    })
}
