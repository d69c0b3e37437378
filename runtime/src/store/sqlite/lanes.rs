//! The open lanes, counted once at start.

use std::sync::Arc;

use sqlx::Row as _;
use triggerd_core::id::TenantId;

use super::open::Store;
use crate::store::Error;

impl Store {
    pub async fn lanes(&self) -> Result<Vec<(TenantId, Arc<str>, String, u64)>, Error> {
        let mut conn = self.reader().await?;
        let rows = sqlx::query(
            "SELECT tenant, trigger, ordering_key, count(*) AS unfinished FROM runs \
             WHERE ordering_key IS NOT NULL AND due_at IS NOT NULL GROUP BY tenant, trigger, ordering_key",
        )
        .fetch_all(&mut *conn)
        .await?;
        rows.iter()
            .map(|row| {
                let unfinished: i64 = row.try_get("unfinished")?;
                Ok((
                    TenantId::new(row.try_get("tenant")?),
                    Arc::from(row.try_get::<&str, _>("trigger")?),
                    row.try_get("ordering_key")?,
                    u64::try_from(unfinished).unwrap_or(0),
                ))
            })
            .collect()
    }
}
