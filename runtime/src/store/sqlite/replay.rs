//! Replays: runs that have ended are made due again, under the same delivery ids.
//!
//! A dead letter goes on at the action that failed; a delivered run does everything again.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, QueryBuilder, Row};
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::Progress;

use super::decode::{self, RUN_COLUMNS};
use super::open::Store;
use super::tables::filter;
use crate::store::{Error, EventFilter, Position, Run};

/// Events that one transaction replays.
const SLICE: i64 = 200;

impl Store {
    pub async fn replay_run(&self, tenant: &TenantId, id: RunId, now: Timestamp) -> Result<Option<Run>, Error> {
        let (tenant, now) = (tenant.clone(), now.as_millisecond());
        self.write(move |conn| {
            Box::pin(async move {
                let found = sqlx::query(
                    "SELECT seq, state, progress FROM runs WHERE id = ? AND tenant = ? AND state IN ('delivered', 'failed')",
                )
                .bind(id.as_bytes().as_slice())
                .bind(tenant.as_str())
                .fetch_all(&mut *conn)
                .await?;
                if reset(conn, &found, now).await? == 0 {
                    return Ok(None);
                }
                let sql = format!(
                    "SELECT {RUN_COLUMNS} FROM runs AS r CROSS JOIN events AS e ON e.seq = r.seq >> 18 WHERE r.id = ?"
                );
                let row = sqlx::query(AssertSqlSafe(sql)).bind(id.as_bytes().as_slice()).fetch_one(conn).await?;
                decode::run(&row).map(Some)
            })
        })
        .await
    }

    pub async fn replay_event(&self, tenant: &TenantId, id: EventId, now: Timestamp) -> Result<u64, Error> {
        let (tenant, now) = (tenant.clone(), now.as_millisecond());
        self.write(move |conn| {
            Box::pin(async move {
                let found = sqlx::query(
                    "SELECT r.seq, r.state, r.progress FROM events AS e CROSS JOIN runs AS r \
                     ON r.seq BETWEEN e.seq << 18 AND (e.seq << 18) | 262143 \
                     WHERE e.id = ? AND e.tenant = ? AND r.state IN ('delivered', 'failed')",
                )
                .bind(id.as_bytes().as_slice())
                .bind(tenant.as_str())
                .fetch_all(&mut *conn)
                .await?;
                reset(conn, &found, now).await
            })
        })
        .await
    }

    pub async fn replay_events(&self, tenant: &TenantId, filter: &EventFilter, now: Timestamp) -> Result<u64, Error> {
        let mut filter = filter.clone();
        let last = Timestamp::from_millisecond(now.as_millisecond() + 1).unwrap_or(Timestamp::MAX);
        filter.end = Some(filter.end.map_or(last, |end| end.min(last)));
        let mut below = Position::TOP;
        let mut replayed = 0;
        loop {
            let found = self.replayable(tenant, &filter, below).await?;
            let Some((lowest, _)) = found.last() else {
                return Ok(replayed);
            };
            below = *lowest;
            let seqs: Vec<i64> = found.iter().map(|(_, seq)| *seq).collect();
            let (trigger, now) = (filter.trigger.clone(), now.as_millisecond());
            replayed +=
                self.write(move |conn| Box::pin(async move { replay_slice(conn, seqs, trigger, now).await })).await?;
        }
    }

    /// The next events of the filter below a position.
    async fn replayable(
        &self,
        tenant: &TenantId,
        filter: &EventFilter,
        below: Position,
    ) -> Result<Vec<(Position, i64)>, Error> {
        let mut conn = self.reader().await?;
        let mut sql =
            QueryBuilder::new("SELECT e.accepted_at, e.seq FROM events AS e WHERE e.run_count > 0 AND e.tenant = ");
        sql.push_bind(tenant.as_str().to_owned());
        sql.push(" AND (e.accepted_at, e.seq) < (")
            .push_bind(below.accepted_at)
            .push(", ")
            .push_bind(below.seq)
            .push(")");
        filter::push(&mut sql, filter);
        sql.push(" ORDER BY e.accepted_at DESC, e.seq DESC LIMIT ").push_bind(SLICE);
        let rows = sql.build().fetch_all(&mut *conn).await?;
        rows.iter()
            .map(|row| {
                let seq = row.try_get("seq")?;
                Ok((Position { accepted_at: row.try_get("accepted_at")?, seq }, seq))
            })
            .collect()
    }
}

async fn replay_slice(
    conn: &mut SqliteConnection,
    seqs: Vec<i64>,
    trigger: Option<String>,
    now: i64,
) -> Result<u64, Error> {
    let found = sqlx::query(
        "SELECT r.seq, r.state, r.progress FROM json_each(?) AS e CROSS JOIN runs AS r \
         ON r.seq BETWEEN e.value << 18 AND (e.value << 18) | 262143 \
         WHERE r.state IN ('delivered', 'failed') AND r.trigger = coalesce(?, r.trigger)",
    )
    .bind(serde_json::Value::from(seqs).to_string())
    .bind(trigger)
    .fetch_all(&mut *conn)
    .await?;
    reset(conn, &found, now).await
}

/// Makes these ended runs (`seq`, `state`, `progress`) pending.
async fn reset(conn: &mut SqliteConnection, runs: &[sqlx::sqlite::SqliteRow], now: i64) -> Result<u64, Error> {
    for row in runs {
        let seq: i64 = row.try_get("seq")?;
        let text: &str = row.try_get("progress")?;
        let mut progress: Progress =
            serde_json::from_str(text).map_err(|e| decode::damaged("run", format!("number {seq}: progress: {e}")))?;
        progress.reset(row.try_get::<&str, _>("state")? == "delivered");
        let text =
            serde_json::to_string(&progress).map_err(|e| decode::damaged("run", format!("number {seq}: {e}")))?;
        sqlx::query(
            "UPDATE runs SET state = 'pending', due_at = ?, parked = 0, lost = 0, replay = 1, queue = NULL, progress = ?, \
             finished_at = NULL, error_code = NULL, error = NULL WHERE seq = ?",
        )
        .bind(now)
        .bind(text)
        .bind(seq)
        .execute(&mut *conn)
        .await?;
    }
    Ok(runs.len() as u64)
}
