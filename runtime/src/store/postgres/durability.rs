//! Whether the server keeps what it has committed through a loss of power.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::store::{Durability, Error};

/// Looks at the server's settings; refuses to use one that may lose commits unless `allow_degraded` is set.
pub(super) async fn check(conn: &mut PgConnection, allow_degraded: bool) -> Result<Durability, Error> {
    // What the server gives sessions by default: what this session has set itself is no proof.
    let rows = sqlx::query(
        "SELECT name, reset_val FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')",
    )
    .fetch_all(conn)
    .await?;
    let mut off = Vec::new();
    for row in &rows {
        let (name, value): (&str, &str) = (row.try_get("name")?, row.try_get("reset_val")?);
        if value == "off" {
            off.push(format!("{name} = off"));
        }
    }
    off.sort();
    if off.is_empty() {
        return Ok(Durability::Full);
    }
    let why = off.join(", ");
    if !allow_degraded {
        return Err(Error::Conflict(format!(
            "the PostgreSQL server has {why}: it may lose accepted events. Switch that on (postgresql.conf, ALTER SYSTEM or ALTER \
             ROLE), or accept the loss with `store.allow_degraded` (TRIGGERD_STORE_ALLOW_DEGRADED=true)"
        )));
    }
    tracing::warn!("The PostgreSQL server has {why}: a loss of power may lose accepted events");
    Ok(Durability::Degraded(why))
}
