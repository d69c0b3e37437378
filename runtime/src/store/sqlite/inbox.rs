//! A page of the inbox.
//!
//! Newest first without a filter is what the inbox index is in order of. Anything else is found by what `segments.rs` keeps; where
//! that is too far behind, by a scan within bounds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sqlx::AssertSqlSafe;
use triggerd_core::id::TenantId;

use super::dialect::LISTED;
use super::open::Store;
use super::search::{Found, Search};
use super::tables::decode;
use super::tables::inbox::{decode_event, position};
use crate::store::{Error, EventFilter, Page, PageRequest, Position, StoredEvent};

/// How long a page may look for its items.
const SEARCH: Duration = Duration::from_millis(400);
/// How long it may count all that there are.
const COUNT: Duration = Duration::from_millis(50);

impl Store {
    pub async fn events(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<Page<StoredEvent>, Error> {
        let counted = self.counted(tenant, filter).await?;
        let (items, cursor) = self.events_listed(tenant, filter, page).await?;
        let (total, total_is_exact) = match counted {
            Some(counted) => counted,
            None => self.count_scanned(tenant, filter).await?,
        };
        // As many as are shown there are at least.
        let total = if total_is_exact { total } else { total.max(items.len() as u64) };
        Ok(Page { items, total, total_is_exact, cursor })
    }

    pub async fn events_listed(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        page: &PageRequest,
    ) -> Result<(Vec<StoredEvent>, Option<String>), Error> {
        let top = Position::of_cursor(page.cursor.as_deref())?;
        let limit = page.limit.clamp(1, 1000) as usize;
        let is_selective =
            filter.event_type.is_some() || filter.source.is_some() || filter.table.is_some() || filter.status.is_some();
        let found = if is_selective { self.found(tenant, filter, top, limit + 1).await? } else { None };
        let (items, cursor) = match found {
            None => self.scanned(tenant, filter, top, limit).await?,
            Some(Found { mut places, rest }) => {
                let more = (places.len() > limit).then(|| places[limit - 1]);
                places.truncate(limit);
                (self.at(&places).await?, more.or(rest))
            }
        };
        Ok((items, cursor.map(Position::cursor)))
    }

    async fn found(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        top: Position,
        limit: usize,
    ) -> Result<Option<Found>, Error> {
        let search = Search::new(tenant, filter);
        self.looks.look(move |conn| search.find(conn, top, limit, Instant::now() + SEARCH)).await
    }

    async fn counted(&self, tenant: &TenantId, filter: &EventFilter) -> Result<Option<(u64, bool)>, Error> {
        let search = Search::new(tenant, filter);
        self.looks.look(move |conn| search.count(conn, Instant::now() + COUNT)).await
    }

    /// The events at these places that are still there.
    async fn at(&self, places: &[Position]) -> Result<Vec<StoredEvent>, Error> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let seqs: Vec<i64> = places.iter().map(|place| place.seq).collect();
        let sql = format!("SELECT {LISTED} WHERE e.seq IN (SELECT value FROM json_each(?))");
        let mut conn = self.reader().await?;
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(serde_json::Value::from(seqs).to_string())
            .fetch_all(&mut *conn)
            .await?;
        let mut by_place = HashMap::with_capacity(rows.len());
        for row in &rows {
            by_place.insert(position(row)?, row);
        }
        let found = places.iter().filter_map(|place| by_place.get(place));
        found.filter_map(|row| decode::sound(decode_event(row))).collect()
    }
}
