//! Claims: who may execute a run.
//!
//! A claim raises the run's epoch, the fencing token that its holder's reports carry, and writes this node into it. A run may be
//! claimed when it is pending and due; never while an earlier run of its lane (tenant, trigger, ordering key) has not ended, or a
//! later one is being executed. Runs of lanes are claimed under their lanes' locks (`lanes.rs`), most of them as the one before
//! ends (`lane_claims.rs`); all others in one statement that passes over what another node is just claiming, of each tenant that waits
//! its share (`rota.rs`).

use std::time::Duration;

use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use triggerd_core::id::RunId;
use uuid::Uuid;

use super::decode::{self, RUN_COLUMNS};
use super::held::Dropped;
use super::node::FENCE;
use super::takeover::release;
use super::{Store, lanes};
use crate::store::{Claimed, Error, rota};

/// Holds for a row `q` of `queue` that may be claimed at the time in this parameter, its lane aside.
fn due_at(parameter: &str) -> String {
    format!("q.holder IS NULL AND NOT q.parked AND q.due_at <= {parameter}")
}

/// Holds for a row `w` that waits and has no lane; as the index `queue_waiting` says it.
const WAITING: &str = "w.holder IS NULL AND NOT w.parked AND w.lane IS NULL";

/// Holds for a row `q` whose lane lets it be claimed.
pub(super) const LANE_IS_FREE: &str = "NOT EXISTS (SELECT 1 FROM queue AS o WHERE o.lane = q.lane AND o.run_id <> q.run_id \
     AND (o.lane_seq < q.lane_seq OR o.holder IS NOT NULL))";

/// Claims what `chosen` selects (`run_id` and `due_at` of `queue AS q`); `$1` is the node.
pub(super) fn claiming(chosen: &str) -> String {
    format!(
        "WITH {FENCE}, \
         chosen AS MATERIALIZED ({chosen} FOR UPDATE OF q SKIP LOCKED), \
         taken AS (UPDATE queue AS q SET holder = node.id, due_at = NULL, lost = false, parked = false FROM chosen, node \
             WHERE q.run_id = chosen.run_id RETURNING q.run_id, q.lane, chosen.due_at, chosen.lost), \
         claimed AS (UPDATE runs AS r SET state = 1, epoch = r.epoch + 1, holder = node.id FROM taken, node \
             WHERE r.id = taken.run_id RETURNING {RUN_COLUMNS}, taken.due_at AS was_due, taken.lost, taken.lane) \
         SELECT c.*, NULL::bigint AS due_at, e.crc, e.body FROM claimed AS c LEFT JOIN events AS e ON e.id = c.event_id \
         ORDER BY c.was_due, c.id"
    )
}

/// The tenants after a name that have runs without a lane which are due. Each is one look into the index, however many runs it has.
async fn tenants_after(conn: &mut PgConnection, after: &str, due: i64) -> Result<Vec<String>, Error> {
    // A recursive walk stands for the index skip scan that this server's planner does not know.
    let next = format!("SELECT w.tenant FROM queue AS w WHERE {WAITING} AND w.tenant");
    let sql = format!(
        "WITH RECURSIVE t (tenant, n) AS ( \
             SELECT ({next} >= $1 AND (w.tenant > $1 OR $1 = '') ORDER BY w.tenant LIMIT 1), 1 UNION ALL \
             SELECT ({next} > t.tenant ORDER BY w.tenant LIMIT 1), t.n + 1 FROM t WHERE t.tenant IS NOT NULL AND t.n < $3) \
         SELECT t.tenant FROM t WHERE t.tenant IS NOT NULL \
         AND EXISTS (SELECT 1 FROM queue AS w WHERE w.tenant = t.tenant AND w.due_at <= $2 AND {WAITING}) ORDER BY t.n LIMIT $4"
    );
    let most = (rota::LOOKED_AT as i64, rota::MOST as i64);
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(after).bind(due).bind(most.0).bind(most.1);
    Ok(query.fetch_all(conn).await?)
}

impl Store {
    pub async fn claim(&self, now: Timestamp, limit: u32, lease_until: Timestamp) -> Result<Vec<Claimed>, Error> {
        let due = self.due_at(now);
        let (alone, in_lanes) = self.what_is_due(due).await?;
        let mut claimed = Vec::new();
        if in_lanes {
            // Half of the room, so that neither kind starves the other.
            let most = if alone { limit.div_ceil(2) } else { limit };
            claimed = self.claim_in_lanes(due, most, lease_until).await?;
        }
        let room = i64::from(limit) - claimed.len() as i64;
        if alone && room > 0 {
            match self.claim_alone(due, room, lease_until).await {
                Ok(more) => claimed.extend(more),
                // What was claimed is this node's, and nobody else would begin it for the time of a lease.
                Err(error) if claimed.is_empty() => return Err(error),
                Err(error) => tracing::warn!(%error, "Claiming further runs failed: {error}"),
            }
        }
        Ok(claimed)
    }

    /// Claims runs without a lane: the oldest where one tenant waits, of several each one's share.
    async fn claim_alone(&self, due: i64, room: i64, lease_until: Timestamp) -> Result<Vec<Claimed>, Error> {
        let mut conn = self.reader().await?;
        let node = self.node.id();
        let mut look = self.rota.look();
        while let Some(after) = look.after() {
            look.found(tenants_after(&mut conn, &after, due).await?);
        }
        let waiting = look.all();
        let mut rows = Vec::new();
        if waiting.len() > 1 {
            let (served, each) = self.rota.next(waiting, u32::try_from(room).unwrap_or(u32::MAX));
            let sql = claiming(&format!(
                "SELECT q.run_id, q.due_at, q.lost FROM queue AS q, node WHERE {} AND q.run_id = ANY(ARRAY( \
                 SELECT first.run_id FROM unnest($3::text[]) AS t (tenant) CROSS JOIN LATERAL ( \
                     SELECT w.run_id FROM queue AS w WHERE w.tenant = t.tenant AND w.due_at <= $2 AND {WAITING} \
                     ORDER BY w.due_at LIMIT $4) AS first LIMIT $5))",
                due_at("$2")
            ));
            let query = sqlx::query(AssertSqlSafe(sql)).bind(node).bind(due).bind(served).bind(i64::from(each));
            rows = query.bind(room).fetch_all(&mut *conn).await?;
        }
        let left = room - i64::try_from(rows.len()).unwrap_or(room);
        if left > 0 {
            let sql = claiming(&format!(
                "SELECT q.run_id, q.due_at, q.lost FROM queue AS q, node WHERE {} AND q.lane IS NULL ORDER BY q.due_at LIMIT $3",
                due_at("$2")
            ));
            let oldest = sqlx::query(AssertSqlSafe(sql)).bind(node).bind(due).bind(left).fetch_all(&mut *conn).await;
            match oldest {
                Ok(oldest) => rows.extend(oldest),
                // What was claimed is this node's, and nobody else would begin it for the time of a lease.
                Err(error) if rows.is_empty() => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "Claiming further runs failed: {error}"),
            }
        }
        drop(conn);
        self.take(&rows, node, lease_until).await
    }

    /// Whether runs without a lane are due, and runs with one.
    async fn what_is_due(&self, due: i64) -> Result<(bool, bool), Error> {
        let mut conn = self.reader().await?;
        let is_due = due_at("$1");
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM queue AS q WHERE {is_due} AND q.lane IS NULL), \
             EXISTS (SELECT 1 FROM queue AS q WHERE {is_due} AND q.lane IS NOT NULL)"
        );
        let row = sqlx::query(AssertSqlSafe(sql)).bind(due).fetch_one(&mut *conn).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    async fn claim_in_lanes(&self, due: i64, limit: u32, lease_until: Timestamp) -> Result<Vec<Claimed>, Error> {
        let mut conn = self.reader().await?;
        // A first look, without a lock: which lanes.
        let sql = format!(
            "SELECT q.run_id, q.lane FROM queue AS q WHERE {} AND q.lane IS NOT NULL AND {LANE_IS_FREE} \
             ORDER BY q.due_at LIMIT $2",
            due_at("$1")
        );
        let found = sqlx::query(AssertSqlSafe(sql)).bind(due).bind(i64::from(limit)).fetch_all(&mut *conn).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let runs = found.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
        let lanes = found.iter().map(|row| row.try_get(1)).collect::<Result<Vec<Uuid>, _>>()?;
        drop(conn);
        self.claim_these(due, runs, lanes, lease_until).await
    }

    /// Claims those of `runs` that may be, under the locks of their lanes.
    async fn claim_these(
        &self,
        due: i64,
        runs: Vec<Uuid>,
        lanes: Vec<Uuid>,
        lease_until: Timestamp,
    ) -> Result<Vec<Claimed>, Error> {
        let id = self.node.id();
        let rows = self
            .write(move |conn| {
                Box::pin(async move {
                    lanes::lock(conn, &lanes).await?;
                    let sql = claiming(&format!(
                        "SELECT q.run_id, q.due_at, q.lost FROM queue AS q, node WHERE {} AND q.run_id = ANY($3) \
                         AND (q.lane IS NULL OR {LANE_IS_FREE})",
                        due_at("$2")
                    ));
                    Ok(sqlx::query(AssertSqlSafe(sql)).bind(id).bind(due).bind(runs).fetch_all(conn).await?)
                })
            })
            .await?;
        self.take(&rows, id, lease_until).await
    }

    pub async fn claim_run(&self, id: RunId, now: Timestamp, lease_until: Timestamp) -> Result<Option<Claimed>, Error> {
        let due = self.due_at(now);
        let mut conn = self.reader().await?;
        let lane: Option<Option<Uuid>> = sqlx::query_scalar("SELECT lane FROM queue WHERE run_id = $1")
            .bind(id.0)
            .fetch_optional(&mut *conn)
            .await?;
        drop(conn);
        let Some(lane) = lane else { return Ok(None) };
        Ok(self.claim_these(due, vec![id.0], lane.into_iter().collect(), lease_until).await?.pop())
    }

    pub async fn renew(&self, held: Vec<(RunId, i64)>, until: Timestamp) -> Result<Vec<bool>, Error> {
        let lease = self.lease(until);
        if !lease.is_zero() {
            // The node's lease covers its runs.
            let alive = self.node.is_alive();
            return Ok(held.iter().map(|(id, epoch)| alive && self.node.held.renew(*id, *epoch, lease)).collect());
        }
        // A lease that ends now is one that is handed back.
        let node = self.node.id();
        let kept: Vec<bool> = held.iter().map(|(id, epoch)| self.node.held.find(*id, *epoch).is_some()).collect();
        let given: Vec<Dropped> = held.iter().map(|(id, epoch)| Dropped { id: *id, epoch: *epoch, node }).collect();
        let mut conn = self.reader().await?;
        if release(&mut conn, node, &given).await? > 0 {
            self.made_due();
        }
        given.iter().for_each(|one| self.node.held.leave(one.id, one.epoch));
        Ok(kept)
    }

    /// How long a lease lasts that ends then.
    fn lease(&self, until: Timestamp) -> Duration {
        let ms = until.as_millisecond() - self.clock.now_ms();
        Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// Enters rows that `node` has claimed among the held runs, and reads them.
    pub(super) async fn take(&self, rows: &[PgRow], node: i64, lease_until: Timestamp) -> Result<Vec<Claimed>, Error> {
        let lease = self.lease(lease_until);
        let mut claimed = Vec::with_capacity(rows.len());
        for row in rows {
            let (id, epoch, lane) = (RunId(row.try_get("id")?), row.try_get("epoch")?, row.try_get("lane")?);
            self.node.held.enter(node, (id, epoch), lease, true, lane);
            match self.decode(row) {
                Ok(one) => claimed.push(one),
                Err(error) => self.bury(id, epoch, lane, &error).await,
            }
        }
        if node != self.node.id() {
            // Claimed under a lease that has ended meanwhile: another's already, or soon.
            self.node.held.forget(node);
            return Err(self.node.fenced());
        }
        Ok(claimed)
    }

    fn decode(&self, row: &PgRow) -> Result<Claimed, Error> {
        Ok(Claimed {
            run: decode::run(row, &self.node.skew)?,
            event: decode::event(row)?,
            holder_lost: row.try_get("lost")?,
        })
    }

    /// Makes a run that cannot be read a dead letter: it would be claimed for ever, and its lane would stand still. Where that fails, its
    /// lease ends, and the next claim tries again.
    async fn bury(&self, id: RunId, epoch: i64, lane: Option<Uuid>, error: &Error) {
        let Error::Damaged(what) = error else {
            tracing::error!(run.id = %id, %error, "Run {id} is left to its lease: {error}");
            return;
        };
        tracing::error!(run.id = %id, "The store holds a damaged {what}; its run becomes a dead letter");
        let what = what.clone();
        let buried = self.write(move |conn| {
            Box::pin(async move {
                let lanes: Vec<Uuid> = lane.into_iter().collect();
                lanes::lock(conn, &lanes).await?;
                sqlx::query(
                    "WITH buried AS (UPDATE runs SET state = 3, holder = NULL, finished_at = created_at, \
                         error_code = 'STORE_DAMAGED', error = $3 WHERE id = $1 AND epoch = $2 AND state = 1 RETURNING id, tenant), \
                     letter AS (INSERT INTO dead_letters (tenant, run_id) SELECT tenant, id FROM buried ON CONFLICT DO NOTHING) \
                     DELETE FROM queue AS q USING buried AS b WHERE q.run_id = b.id",
                )
                .bind(id.0)
                .bind(epoch)
                .bind(what)
                .execute(&mut *conn)
                .await?;
                Ok(lanes::unpark(conn, &lanes).await?)
            })
        });
        match buried.await {
            Ok(()) => self.node.held.leave(id, epoch),
            Err(error) => tracing::error!(run.id = %id, %error, "Run {id} is left to its lease: {error}"),
        }
    }
}
