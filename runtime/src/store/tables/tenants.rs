//! Tenants and their limits.

use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::TenantId;

use super::decode::at;
use super::{DbRow, Store, changed, decode};
use crate::store::{ChangeKind, Error, StoredTenant};

const SELECT: &str = "SELECT id, name, rate_limit, quotas, created_at FROM tenants";

impl Store {
    pub async fn tenants(&self) -> Result<Vec<StoredTenant>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} ORDER BY id");
        sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?.iter().map(decode).collect()
    }

    pub async fn tenant(&self, id: &TenantId) -> Result<Option<StoredTenant>, Error> {
        let mut conn = self.reader().await?;
        let sql = format!("{SELECT} WHERE id = $1");
        let row = sqlx::query(AssertSqlSafe(sql)).bind(id.as_str()).fetch_optional(&mut *conn).await?;
        row.as_ref().map(decode).transpose()
    }

    pub async fn put_tenant(&self, tenant: StoredTenant) -> Result<(), Error> {
        self.write_change(move |conn| {
            Box::pin(async move {
                changed(conn, ChangeKind::Tenant, &tenant.id, "").await?;
                sqlx::query(
                    "INSERT INTO tenants (id, name, rate_limit, quotas, created_at) VALUES ($1, $2, $3, $4, $5) \
                     ON CONFLICT (id) DO UPDATE SET name = excluded.name, rate_limit = excluded.rate_limit, quotas = excluded.quotas",
                )
                .bind(tenant.id.as_str())
                .bind(tenant.name)
                .bind(i64::from(tenant.rate_limit))
                .bind(tenant.quotas.to_string())
                .bind(tenant.created_at.as_millisecond())
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .await
    }
}

fn decode(row: &DbRow) -> Result<StoredTenant, Error> {
    let rate_limit: i64 = row.try_get("rate_limit")?;
    Ok(StoredTenant {
        id: TenantId::new(row.try_get("id")?),
        name: row.try_get("name")?,
        rate_limit: u32::try_from(rate_limit).map_err(|_| decode::damaged("rate_limit", rate_limit))?,
        quotas: decode::json(row, "quotas")?,
        created_at: at(row, "created_at")?,
    })
}
