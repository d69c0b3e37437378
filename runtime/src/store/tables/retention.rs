//! Events of one tenant that are let go, a few at a time, oldest first.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row as _};
use triggerd_core::id::TenantId;

use super::super::events::delete;
use super::Store;
use super::dialect::{REPLAYED, Replayed};
use super::filter::status_is;
use super::inbox::position;
use crate::store::{Error, EventStatus, Position, Retired};

/// Events that are looked at in one go.
const LOOKED_AT: i64 = 2_000;

impl Store {
    pub async fn retire(
        &self,
        tenant: &TenantId,
        statuses: &[EventStatus],
        before: Timestamp,
        after: Option<Position>,
        limit: u32,
    ) -> Result<Retired, Error> {
        let after = after.unwrap_or(Position::BOTTOM);
        let goes = any_of(statuses);
        let sql = format!(
            "SELECT e.accepted_at, e.seq, {REPLAYED} AS which, ({goes}) AS goes FROM events AS e \
             WHERE e.tenant = $1 AND (e.accepted_at, e.seq) > ($2, $3) AND e.accepted_at < $4 \
             ORDER BY e.accepted_at, e.seq LIMIT {LOOKED_AT}"
        );
        let mut conn = self.reader().await?;
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant.as_str())
            .bind(after.accepted_at)
            .bind(after.seq)
            .bind(before.as_millisecond())
            .fetch_all(&mut *conn)
            .await?;
        drop(conn);
        let mut which: Vec<Replayed> = Vec::new();
        let mut seen = after;
        for row in &rows {
            if which.len() == limit as usize {
                break;
            }
            if row.try_get("goes")? {
                which.push(row.try_get("which")?);
            }
            seen = position(row)?;
        }
        let is_all = rows.len() < LOOKED_AT as usize && which.len() < limit as usize;
        let gone = if which.is_empty() {
            0
        } else {
            // Not those that were replayed meanwhile.
            self.write(move |conn| Box::pin(async move { delete(conn, &which, &goes).await })).await?
        };
        Ok(Retired { gone, seen: Some(seen).filter(|seen| *seen != Position::BOTTOM), is_all })
    }
}

/// Holds for `events AS e` of any of these statuses.
fn any_of(statuses: &[EventStatus]) -> String {
    let each: Vec<String> = statuses.iter().map(|status| format!("(true{})", status_is(*status))).collect();
    if each.is_empty() { "false".to_owned() } else { each.join(" OR ") }
}
