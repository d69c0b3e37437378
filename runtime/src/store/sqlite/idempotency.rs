//! The first answers to requests that carried an `Idempotency-Key`: looked for, and kept with their group.

use std::collections::HashMap;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde_json::{Value, json};
use triggerd_core::id::TenantId;

use super::rows::AppendRow;
use super::tables::idempotency::COLUMNS;
use crate::store::Idempotency;

/// Those of `rows`' keys that have an answer.
pub(super) fn find_all(
    conn: &Connection,
    rows: &[&AppendRow],
) -> rusqlite::Result<HashMap<(TenantId, String), Idempotency>> {
    let asked: Vec<Value> = rows
        .iter()
        .filter_map(|row| row.idempotency.as_ref().map(|i| json!([row.tenant.as_str(), i.key, row.accepted_at])))
        .collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM json_each(?) AS asked \
         CROSS JOIN idempotency AS i ON i.tenant = asked.value ->> 0 AND i.key = asked.value ->> 1 \
         WHERE i.expires_at > asked.value ->> 2"
    );
    conn.prepare_cached(&sql)?.query_map([Value::Array(asked).to_string()], answer)?.collect()
}

/// An answer by whose it is and its key.
fn answer(row: &Row<'_>) -> rusqlite::Result<((TenantId, String), Idempotency)> {
    let (tenant, key): (String, String) = (row.get(0)?, row.get(1)?);
    let expires_at = jiff::Timestamp::from_millisecond(row.get(5)?)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(5, Type::Integer, e.into()))?;
    let found =
        Idempotency { key: key.clone(), fingerprint: row.get(2)?, status: row.get(3)?, body: row.get(4)?, expires_at };
    Ok(((TenantId::new(&tenant), key), found))
}

/// Keeps new answers with their events.
pub(super) fn keep(conn: &Connection, keys: &[(&TenantId, &Idempotency)]) -> rusqlite::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    // Whatever is replaced has expired: the group looked for answers that have not.
    let mut statement = conn.prepare_cached(
        "INSERT OR REPLACE INTO idempotency (tenant, key, fingerprint, status, body, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
    )?;
    for (tenant, i) in keys {
        statement.execute((
            tenant.as_str(),
            &i.key,
            i.fingerprint,
            i.status,
            &i.body,
            i.expires_at.as_millisecond(),
        ))?;
    }
    Ok(())
}
