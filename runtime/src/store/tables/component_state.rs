//! Components' durable state: bytes by key, with a version that counts changes, and a time to live.

use jiff::Timestamp;
use sqlx::Row;
use triggerd_core::id::TenantId;

use super::{Store, decode};
use crate::store::{Error, StateValue};

impl Store {
    pub async fn state_get(
        &self,
        tenant: &TenantId,
        component: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<StateValue>, Error> {
        let mut conn = self.reader().await?;
        let row = sqlx::query(
            "SELECT value, version FROM component_state WHERE tenant = $1 AND component = $2 AND key = $3 \
             AND (expires_at IS NULL OR expires_at > $4)",
        )
        .bind(tenant.as_str())
        .bind(component)
        .bind(key)
        .bind(now.as_millisecond())
        .fetch_optional(&mut *conn)
        .await?;
        row.map(|row| Ok(StateValue { value: row.try_get("value")?, version: decode::unsigned(&row, "version")? }))
            .transpose()
    }

    pub async fn state_set(
        &self,
        tenant: &TenantId,
        component: &str,
        key: &str,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<u64, Error> {
        let (tenant, component, key) = (tenant.clone(), component.to_owned(), key.to_owned());
        self.write_one(move |conn| {
            Box::pin(async move {
                let row = sqlx::query(
                    "INSERT INTO component_state (tenant, component, key, value, version, expires_at) VALUES ($1, $2, $3, $4, 1, $5) \
                     ON CONFLICT (tenant, component, key) DO UPDATE \
                     SET value = excluded.value, version = component_state.version + 1, expires_at = excluded.expires_at RETURNING version",
                )
                .bind(tenant.as_str())
                .bind(component)
                .bind(key)
                .bind(value)
                .bind(expires_at.map(Timestamp::as_millisecond))
                .fetch_one(conn)
                .await?;
                decode::unsigned(&row, "version")
            })
        })
        .await
    }

    pub async fn state_compare_and_set(
        &self,
        tenant: &TenantId,
        component: &str,
        key: &str,
        expected: Option<u64>,
        value: Vec<u8>,
        expires_at: Option<Timestamp>,
    ) -> Result<Option<u64>, Error> {
        const ABSENT: &str = "INSERT INTO component_state (tenant, component, key, value, version, expires_at) \
             VALUES ($1, $2, $3, $4, 1, $5) ON CONFLICT (tenant, component, key) DO UPDATE \
             SET value = excluded.value, version = component_state.version + 1, expires_at = excluded.expires_at \
             WHERE component_state.expires_at <= $6 AND $7 IS NULL RETURNING version";
        const PRESENT: &str = "UPDATE component_state SET value = $4, version = component_state.version + 1, expires_at = $5 \
             WHERE tenant = $1 AND component = $2 AND key = $3 AND (expires_at IS NULL OR expires_at > $6) AND version = $7 \
             RETURNING version";
        let (tenant, component, key) = (tenant.clone(), component.to_owned(), key.to_owned());
        let now = self.clock.now_ms();
        let wanted = expected.map(|version| i64::try_from(version).unwrap_or(i64::MAX));
        self.write_one(move |conn| {
            Box::pin(async move {
                let row = sqlx::query(if wanted.is_some() { PRESENT } else { ABSENT })
                    .bind(tenant.as_str())
                    .bind(component)
                    .bind(key)
                    .bind(value)
                    .bind(expires_at.map(Timestamp::as_millisecond))
                    .bind(now)
                    .bind(wanted)
                    .fetch_optional(conn)
                    .await?;
                row.map(|row| decode::unsigned(&row, "version")).transpose()
            })
        })
        .await
    }

    pub async fn state_delete(&self, tenant: &TenantId, component: &str, key: &str) -> Result<bool, Error> {
        let (tenant, component, key) = (tenant.clone(), component.to_owned(), key.to_owned());
        let now = self.clock.now_ms();
        self.write_one(move |conn| {
            Box::pin(async move {
                let row = sqlx::query(
                    "DELETE FROM component_state WHERE tenant = $1 AND component = $2 AND key = $3 \
                     RETURNING (expires_at IS NULL OR expires_at > $4) AS was_there",
                )
                .bind(tenant.as_str())
                .bind(component)
                .bind(key)
                .bind(now)
                .fetch_optional(conn)
                .await?;
                Ok(row.map(|row| row.try_get("was_there")).transpose()?.unwrap_or(false))
            })
        })
        .await
    }
}
