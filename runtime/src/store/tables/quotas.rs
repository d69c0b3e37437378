//! Quotas: how many were taken in a window by actions, and how much there is of a tenant.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use triggerd_core::id::TenantId;

use super::{Store, decode};
use crate::store::Error;

impl Store {
    #[expect(clippy::too_many_arguments, reason = "they are the row's columns")]
    pub async fn quota_take(
        &self,
        tenant: &TenantId,
        trigger: &str,
        action: &str,
        key: &str,
        window_start: Timestamp,
        limit: u64,
        expires_at: Timestamp,
    ) -> Result<bool, Error> {
        if limit == 0 {
            return Ok(false);
        }
        let (tenant, trigger) = (tenant.clone(), trigger.to_owned());
        // A name alone, and of any length or characters.
        let key = hex::encode(Sha256::digest(key));
        let action = action.to_owned();
        self.write_one(move |conn| {
            Box::pin(async move {
                let done = sqlx::query(
                    "INSERT INTO quota_windows (tenant, trigger, action, key, window_start, used, expires_at) \
                     VALUES ($1, $2, $3, $4, $5, 1, $6) ON CONFLICT (tenant, trigger, action, key, window_start) \
                     DO UPDATE SET used = quota_windows.used + 1 WHERE quota_windows.used < $7",
                )
                .bind(tenant.as_str())
                .bind(trigger)
                .bind(action)
                .bind(key)
                .bind(window_start.as_millisecond())
                .bind(expires_at.as_millisecond())
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
                .execute(conn)
                .await?;
                Ok(done.rows_affected() > 0)
            })
        })
        .await
    }

    pub async fn quota_add(
        &self,
        tenant: &TenantId,
        what: &str,
        window_start: Timestamp,
        more: u64,
        expires_at: Timestamp,
    ) -> Result<u64, Error> {
        let (tenant, what) = (tenant.clone(), what.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                // No trigger is called nothing: the row is in nobody's way. A row counts something, a millionth at least.
                let row = sqlx::query(
                    "INSERT INTO quota_windows (tenant, trigger, action, key, window_start, used, expires_at) \
                     VALUES ($1, '', $2, '', $3, $4, $5) ON CONFLICT (tenant, trigger, action, key, window_start) \
                     DO UPDATE SET used = quota_windows.used + excluded.used RETURNING used",
                )
                .bind(tenant.as_str())
                .bind(what)
                .bind(window_start.as_millisecond())
                .bind(i64::try_from(more.max(1)).unwrap_or(i64::MAX))
                .bind(expires_at.as_millisecond())
                .fetch_one(conn)
                .await?;
                decode::unsigned(&row, "used")
            })
        })
        .await
    }

    pub async fn count_events(&self, tenant: &TenantId, most: u64) -> Result<u64, Error> {
        let mut conn = self.reader().await?;
        let sql = "SELECT count(*) AS events FROM (SELECT 1 FROM events WHERE tenant = $1 LIMIT $2) AS counted";
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let row = sqlx::query(sql).bind(tenant.as_str()).bind(most).fetch_one(&mut *conn).await?;
        decode::unsigned(&row, "events")
    }
}
