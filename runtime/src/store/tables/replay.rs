//! Replays of many events, newest first, in transactions of bounded size.

use jiff::Timestamp;
use sqlx::{QueryBuilder, Row as _};
use triggerd_core::id::TenantId;

use super::super::replay::replay_slice;
use super::dialect::{REPLAYED, Replayed};
use super::{Db, Store, filter};
use crate::store::{Error, EventFilter, Position};

/// Events that one transaction replays.
const SLICE: i64 = 200;

impl Store {
    pub async fn replay_events(&self, tenant: &TenantId, filter: &EventFilter, now: Timestamp) -> Result<u64, Error> {
        let mut filter = filter.clone();
        let last = Timestamp::from_millisecond(now.as_millisecond() + 1).unwrap_or(Timestamp::MAX);
        filter.end = Some(filter.end.map_or(last, |end| end.min(last)));
        let due = self.due_at(now);
        let mut below = Position::TOP;
        let mut replayed = 0;
        loop {
            let found = self.replayable(tenant, &filter, below).await?;
            let Some((lowest, _)) = found.last() else {
                return Ok(replayed);
            };
            below = *lowest;
            let events: Vec<Replayed> = found.iter().map(|(_, event)| *event).collect();
            let trigger = filter.trigger.clone();
            replayed +=
                self.write(move |conn| Box::pin(async move { replay_slice(conn, events, trigger, due).await })).await?;
            self.made_due();
        }
    }

    /// The next events of the filter below a position.
    async fn replayable(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        below: Position,
    ) -> Result<Vec<(Position, Replayed)>, Error> {
        let mut conn = self.reader().await?;
        let mut sql: QueryBuilder<Db> = QueryBuilder::new("SELECT e.accepted_at, e.seq, ");
        sql.push(REPLAYED).push(" AS replayed FROM events AS e WHERE e.run_count > 0 AND e.tenant = ");
        sql.push_bind(tenant.as_str().to_owned());
        sql.push(" AND (e.accepted_at, e.seq) < (").push_bind(below.accepted_at).push(", ").push_bind(below.seq);
        sql.push(")");
        filter::push(&mut sql, filter);
        sql.push(" ORDER BY e.accepted_at DESC, e.seq DESC LIMIT ").push_bind(SLICE);
        let rows = sql.build().fetch_all(&mut *conn).await?;
        rows.iter()
            .map(|row| {
                let place = Position { accepted_at: row.try_get("accepted_at")?, seq: row.try_get("seq")? };
                Ok((place, row.try_get("replayed")?))
            })
            .collect()
    }
}
