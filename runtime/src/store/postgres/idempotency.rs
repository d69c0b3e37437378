//! The first answers to requests that carried an `Idempotency-Key`: kept with their group.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use triggerd_core::id::TenantId;

use super::tables::idempotency::{COLUMNS, answer};
use super::text;
use crate::store::Idempotency;

/// Keeps new answers in this transaction; answers with those that were there already. Another transaction that keeps one of
/// the keys is waited for.
pub(super) async fn keep(
    conn: &mut PgConnection,
    keys: &[(&TenantId, &Idempotency)],
    now_ms: i64,
) -> Result<HashMap<(TenantId, String), Idempotency>, sqlx::Error> {
    // In one order everywhere, so that two groups never wait for each other.
    let mut sorted = keys.to_vec();
    sorted.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
    let rows = sqlx::query(
        "INSERT INTO idempotency AS i (tenant, key, fingerprint, status, body, expires_at) \
         SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::text[], $6::bigint[]) \
         ON CONFLICT (tenant, key) DO UPDATE SET fingerprint = excluded.fingerprint, status = excluded.status, \
         body = excluded.body, expires_at = excluded.expires_at WHERE i.expires_at <= $7 RETURNING i.tenant, i.key",
    )
    .bind(sorted.iter().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, i)| text::kept(&i.key)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, i)| i.fingerprint.as_slice()).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, i)| i64::from(i.status)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, i)| text::kept(&i.body)).collect::<Vec<_>>())
    .bind(sorted.iter().map(|(_, i)| i.expires_at.as_millisecond()).collect::<Vec<_>>())
    .bind(now_ms)
    .fetch_all(&mut *conn)
    .await?;
    if rows.len() == sorted.len() {
        return Ok(HashMap::new());
    }
    let mut new = HashSet::new();
    for row in &rows {
        new.insert((TenantId::new(row.try_get("tenant")?), text::read(row.try_get("key")?)));
    }
    let known: Vec<_> =
        sorted.iter().filter(|(tenant, i)| !new.contains(&((*tenant).clone(), i.key.clone()))).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM unnest($1::text[], $2::text[]) AS asked (tenant, key) \
         JOIN idempotency AS i ON i.tenant = asked.tenant AND i.key = asked.key"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(known.iter().map(|(tenant, _)| tenant.as_str()).collect::<Vec<_>>())
        .bind(known.iter().map(|(_, i)| text::kept(&i.key)).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let (tenant, found) = answer(row).map_err(|e| sqlx::Error::Decode(e.into()))?;
            Ok(((tenant, found.key.clone()), found))
        })
        .collect()
}
