//! Trigger definitions: every version, each in force from when it was stored until the next or the deletion.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::at;
use super::dialect::WANTED;
use super::{DbRow, Store, decode};
use crate::store::{Error, StoredTrigger};

const SELECT: &str = "SELECT tenant, tag, version, definition, stored_at, created_at FROM trigger_versions";

impl Store {
    pub async fn triggers_page(
        &self,
        after: Option<(TenantId, String)>,
        limit: u32,
    ) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let place = if after.is_some() { "AND (tenant, tag) > ($2, $3)" } else { "" };
        let sql = format!("{SELECT} WHERE ended_at IS NULL {place} ORDER BY tenant, tag LIMIT $1");
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(i64::from(limit));
        if let Some((tenant, tag)) = &after {
            query = query.bind(tenant.as_str()).bind(tag);
        }
        decode_all(&query.fetch_all(&mut *conn).await?)
    }

    pub async fn triggers_of(&self, named: &[(TenantId, String)]) -> Result<Vec<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!(
            "{WANTED} SELECT t.tenant, t.tag, version, definition, stored_at, created_at \
             FROM wanted w CROSS JOIN trigger_versions t \
             WHERE t.tenant = w.tenant AND t.tag = w.tag AND ended_at IS NULL"
        );
        let wanted = wanted(named.iter().map(|(tenant, tag)| (tenant, tag.as_str())));
        decode_all(&sqlx::query(AssertSqlSafe(sql)).bind(wanted).fetch_all(&mut *conn).await?)
    }

    pub async fn trigger(&self, tenant: &TenantId, tag: &str) -> Result<Option<StoredTrigger>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE tenant = $1 AND tag = $2 AND ended_at IS NULL");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(tenant.as_str()).bind(tag).fetch_optional(&mut *conn).await?;
        row.as_ref().map(decode).transpose()
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

/// Tenants and tags, as [`WANTED`] takes them.
pub(super) fn wanted<'a>(named: impl Iterator<Item = (&'a TenantId, &'a str)>) -> String {
    let named: Vec<[&str; 2]> = named.map(|(tenant, tag)| [tenant.as_str(), tag]).collect();
    json!(named).to_string()
}

fn decode_all(rows: &[DbRow]) -> Result<Vec<StoredTrigger>, Error> {
    rows.iter().map(decode).collect()
}

pub(super) fn decode(row: &DbRow) -> Result<StoredTrigger, Error> {
    Ok(StoredTrigger {
        tenant: decode::tenant(row)?,
        tag: row.try_get("tag")?,
        version: decode::version(row)?,
        definition: decode::definition(row, "definition")?,
        stored_at: at(row, "stored_at")?,
        created_at: at(row, "created_at")?,
    })
}
