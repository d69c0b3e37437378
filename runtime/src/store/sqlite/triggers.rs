//! Trigger definitions: every version, each in force from when it was stored until the next or the deletion.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::{self, at};
use super::open::Store;
use crate::store::{Error, PutMode, PutOutcome, StoredTrigger};

const SELECT: &str = "SELECT tenant, tag, version, definition, stored_at, created_at FROM trigger_versions";

impl Store {
    /// The versions in force, of all tenants: read once at start.
    pub async fn triggers_all(&self) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE ended_at IS NULL ORDER BY tenant, tag");
        decode_all(&sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?)
    }

    /// The definition in force.
    pub async fn trigger(&self, tenant: &TenantId, tag: &str) -> Result<Option<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = ? AND tag = ? AND ended_at IS NULL");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(tag).fetch_optional(&mut *conn).await?;
        row.as_ref().map(decode).transpose()
    }

    /// Stores a definition as the tag's next version, unless it says what the one in force says.
    pub async fn put_trigger(
        &self,
        tenant: &TenantId,
        tag: &str,
        definition: Value,
        mode: PutMode,
        now: Timestamp,
    ) -> Result<PutOutcome, Error> {
        let (tenant, tag) = (tenant.clone(), tag.to_owned());
        self.write(move |conn| {
            Box::pin(async move {
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

    /// Ends a trigger; its versions stay. `false` where there is none.
    pub async fn delete_trigger(&self, tenant: &TenantId, tag: &str, now: Timestamp) -> Result<bool, Error> {
        let (tenant, tag) = (tenant.clone(), tag.to_owned());
        self.write_one(move |conn| Box::pin(async move { Ok(end(conn, &tenant, &tag, now).await? > 0) })).await
    }

    /// One version, whether in force or not.
    pub async fn trigger_version(
        &self,
        tenant: &TenantId,
        tag: &str,
        version: u32,
    ) -> Result<Option<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = ? AND tag = ? AND version = ?");
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(tag)
            .bind(version)
            .fetch_optional(&mut *conn)
            .await?;
        row.as_ref().map(decode).transpose()
    }

    /// Every version of a tag, newest first.
    pub async fn trigger_versions(&self, tenant: &TenantId, tag: &str) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = ? AND tag = ? ORDER BY version DESC");
        decode_all(&sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(tag).fetch_all(&mut *conn).await?)
    }

    /// The versions that were in force at an instant.
    pub async fn triggers_at(&self, tenant: &TenantId, instant: Timestamp) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!(
            "{SELECT} WHERE tenant = ? AND stored_at <= ? AND (ended_at IS NULL OR ended_at > ?) ORDER BY tag, version"
        );
        let ms = instant.as_millisecond();
        decode_all(
            &sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(ms).bind(ms).fetch_all(&mut *conn).await?,
        )
    }
}

async fn live(conn: &mut SqliteConnection, tenant: &TenantId, tag: &str) -> Result<Option<StoredTrigger>, Error> {
    let sql = format!("{SELECT} WHERE tenant = ? AND tag = ? AND ended_at IS NULL");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(tag).fetch_optional(conn).await?;
    row.as_ref().map(decode).transpose()
}

async fn end(conn: &mut SqliteConnection, tenant: &TenantId, tag: &str, now: Timestamp) -> Result<u64, Error> {
    let done =
        sqlx::query("UPDATE trigger_versions SET ended_at = ? WHERE tenant = ? AND tag = ? AND ended_at IS NULL")
            .bind(now.as_millisecond())
            .bind(tenant.as_str())
            .bind(tag)
            .execute(conn)
            .await?;
    Ok(done.rows_affected())
}

async fn insert(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    tag: String,
    definition: Value,
    now: Timestamp,
    created_at: Timestamp,
) -> Result<StoredTrigger, Error> {
    let row = sqlx::query(
        "INSERT INTO trigger_versions (tenant, tag, version, definition, stored_at, created_at) \
         SELECT ?1, ?2, coalesce(max(version), 0) + 1, ?3, ?4, ?5 FROM trigger_versions WHERE tenant = ?1 AND tag = ?2 \
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

fn decode_all(rows: &[SqliteRow]) -> Result<Vec<StoredTrigger>, Error> {
    rows.iter().map(decode).collect()
}

fn decode(row: &SqliteRow) -> Result<StoredTrigger, Error> {
    Ok(StoredTrigger {
        tenant: decode::tenant(row)?,
        tag: row.try_get("tag")?,
        version: decode::version(row)?,
        definition: decode::definition(row, "definition")?,
        stored_at: at(row, "stored_at")?,
        created_at: at(row, "created_at")?,
    })
}
