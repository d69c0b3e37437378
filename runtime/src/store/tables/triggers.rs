//! Trigger definitions: every version, each in force from when it was stored until the next or the deletion.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::at;
use super::{Connection, DbRow, Store, changed, decode};
use crate::store::{ChangeKind, Error, PutMode, PutOutcome, StoredTrigger};

const SELECT: &str = "SELECT tenant, tag, version, definition, stored_at, created_at FROM trigger_versions";

impl Store {
    pub async fn triggers_all(&self) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE ended_at IS NULL ORDER BY tenant, tag");
        decode_all(&sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?)
    }

    pub async fn trigger(&self, tenant: &TenantId, tag: &str) -> Result<Option<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND tag = $2 AND ended_at IS NULL");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(tag).fetch_optional(&mut *conn).await?;
        row.as_ref().map(decode).transpose()
    }

    pub async fn put_trigger(
        &self,
        tenant: &TenantId,
        tag: &str,
        definition: Value,
        mode: PutMode,
        now: Timestamp,
    ) -> Result<PutOutcome, Error> {
        let (tenant, tag) = (tenant.clone(), tag.to_owned());
        self.write_change(move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Trigger, &tenant, &tag).await?;
                let live = live(conn, &tenant, &tag).await?;
                match &live {
                    Some(_) if mode == PutMode::Create => return Ok(PutOutcome::Exists),
                    Some(found) if found.definition == definition => {
                        return Ok(PutOutcome::Unchanged(found.clone()));
                    }
                    _ => {}
                }
                end(conn, &tenant, &tag, now).await?;
                let created_at = live.as_ref().map_or(now, |found| found.created_at);
                let stored = insert(conn, tenant, tag, definition, now, created_at).await?;
                Ok(if live.is_some() { PutOutcome::Replaced(stored) } else { PutOutcome::Created(stored) })
            })
        })
        .await
    }

    pub async fn delete_trigger(&self, tenant: &TenantId, tag: &str, now: Timestamp) -> Result<bool, Error> {
        let (tenant, tag) = (tenant.clone(), tag.to_owned());
        self.write_change(move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Trigger, &tenant, &tag).await?;
                Ok(end(conn, &tenant, &tag, now).await? > 0)
            })
        })
        .await
    }

    pub async fn trigger_version(
        &self,
        tenant: &TenantId,
        tag: &str,
        version: u32,
    ) -> Result<Option<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND tag = $2 AND version = $3");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(tag)
            .bind(i64::from(version))
            .fetch_optional(&mut *conn)
            .await?;
        row.as_ref().map(decode).transpose()
    }

    pub async fn trigger_versions(&self, tenant: &TenantId, tag: &str) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND tag = $2 ORDER BY version DESC");
        decode_all(&sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(tag).fetch_all(&mut *conn).await?)
    }

    pub async fn triggers_at(&self, tenant: &TenantId, instant: Timestamp) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!(
            "{SELECT} WHERE tenant = $1 AND stored_at <= $2 AND (ended_at IS NULL OR ended_at > $3) ORDER BY tag, version"
        );
        let ms = instant.as_millisecond();
        decode_all(
            &sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(ms).bind(ms).fetch_all(&mut *conn).await?,
        )
    }
}

async fn live(conn: &mut Connection, tenant: &TenantId, tag: &str) -> Result<Option<StoredTrigger>, Error> {
    let sql = format!("{SELECT} WHERE tenant = $1 AND tag = $2 AND ended_at IS NULL");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(tag).fetch_optional(conn).await?;
    row.as_ref().map(decode).transpose()
}

async fn end(conn: &mut Connection, tenant: &TenantId, tag: &str, now: Timestamp) -> Result<u64, Error> {
    let done =
        sqlx::query("UPDATE trigger_versions SET ended_at = $1 WHERE tenant = $2 AND tag = $3 AND ended_at IS NULL")
            .bind(now.as_millisecond())
            .bind(tenant.as_str())
            .bind(tag)
            .execute(conn)
            .await?;
    Ok(done.rows_affected())
}

async fn insert(
    conn: &mut Connection,
    tenant: TenantId,
    tag: String,
    definition: Value,
    now: Timestamp,
    created_at: Timestamp,
) -> Result<StoredTrigger, Error> {
    let row = sqlx::query(
        "INSERT INTO trigger_versions (tenant, tag, version, definition, stored_at, created_at) \
         SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5 FROM trigger_versions WHERE tenant = $1 AND tag = $2 \
         RETURNING tenant, tag, version, definition, stored_at, created_at",
    )
    .bind(tenant.as_str())
    .bind(tag)
    .bind(definition.to_string())
    .bind(now.as_millisecond())
    .bind(created_at.as_millisecond())
    .fetch_one(conn)
    .await?;
    decode(&row)
}

fn decode_all(rows: &[DbRow]) -> Result<Vec<StoredTrigger>, Error> {
    rows.iter().map(decode).collect()
}

fn decode(row: &DbRow) -> Result<StoredTrigger, Error> {
    Ok(StoredTrigger {
        tenant: decode::tenant(row)?,
        tag: row.try_get("tag")?,
        version: decode::version(row)?,
        definition: decode::definition(row, "definition")?,
        stored_at: at(row, "stored_at")?,
        created_at: at(row, "created_at")?,
    })
}
