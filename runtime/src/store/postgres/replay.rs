//! Replays: runs that have ended are made due again, under the same delivery ids.
//!
//! A dead letter goes on at the action that failed; a delivered run does everything again. A run of a lane takes its old place.

use jiff::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::{Progress, Round};
use uuid::Uuid;

use super::decode::{self, RUN_COLUMNS};
use super::dialect::RUNS_OF_E;
use super::{Store, lanes, text};
use crate::store::{Error, Run};

/// What [`reset`] needs of a run.
const NEEDED: &str = "r.id, r.tenant, r.trigger, r.ordering_key, r.finished_at, r.error_code, r.progress";

impl Store {
    pub async fn replay_run(&self, tenant: &TenantId, id: RunId, now: Timestamp) -> Result<Option<Run>, Error> {
        let (tenant, now) = (tenant.clone(), self.due_at(now));
        let row = self
            .write(move |conn| {
                Box::pin(async move {
                    let sql = format!("SELECT {NEEDED} FROM runs AS r WHERE r.id = $1 AND r.tenant = $2 AND r.state >= 2");
                    let found =
                        sqlx::query(AssertSqlSafe(sql)).bind(id.0).bind(tenant.as_str()).fetch_all(&mut *conn).await?;
                    if reset(conn, &found, now).await? == 0 {
                        return Ok(None);
                    }
                    let sql = format!(
                        "SELECT {RUN_COLUMNS}, q.due_at FROM runs AS r LEFT JOIN queue AS q ON q.run_id = r.id WHERE r.id = $1"
                    );
                    Ok(Some(sqlx::query(AssertSqlSafe(sql)).bind(id.0).fetch_one(conn).await?))
                })
            })
            .await?;
        self.made_due();
        row.map(|row| decode::run(&row, &self.node.skew)).transpose()
    }

    pub async fn replay_event(&self, tenant: &TenantId, id: EventId, now: Timestamp) -> Result<u64, Error> {
        let (tenant, now) = (tenant.clone(), self.due_at(now));
        let replayed = self
            .write(move |conn| {
                Box::pin(async move {
                    let sql = format!(
                        "SELECT r.* FROM events AS e CROSS JOIN LATERAL (SELECT {NEEDED} FROM {RUNS_OF_E} AND r.state >= 2) AS r \
                         WHERE e.id = $1 AND e.tenant = $2"
                    );
                    let found =
                        sqlx::query(AssertSqlSafe(sql)).bind(id.0).bind(tenant.as_str()).fetch_all(&mut *conn).await?;
                    reset(conn, &found, now).await
                })
            })
            .await?;
        self.made_due();
        Ok(replayed)
    }
}

/// Makes those runs of these events due again that have ended; with `trigger` set, only that trigger's.
pub(super) async fn replay_slice(
    conn: &mut PgConnection,
    events: Vec<Uuid>,
    trigger: Option<String>,
    due: i64,
) -> Result<u64, Error> {
    let sql = format!(
        "SELECT r.* FROM events AS e CROSS JOIN LATERAL (SELECT {NEEDED} FROM {RUNS_OF_E} AND r.state >= 2) AS r \
         WHERE e.id = ANY($1) AND r.trigger = coalesce($2, r.trigger)"
    );
    let found = sqlx::query(AssertSqlSafe(sql)).bind(events).bind(trigger).fetch_all(&mut *conn).await?;
    reset(conn, &found, due).await
}

/// Makes these ended runs ([`NEEDED`]) pending; answers with how many that were, as another may do the same.
async fn reset(conn: &mut PgConnection, runs: &[PgRow], due: i64) -> Result<u64, Error> {
    let mut ids: Vec<Uuid> = Vec::with_capacity(runs.len());
    let mut progresses = Vec::with_capacity(runs.len());
    let mut lanes_of: Vec<Option<Uuid>> = Vec::with_capacity(runs.len());
    for row in runs {
        let id: Uuid = row.try_get("id")?;
        let text: &str = row.try_get("progress")?;
        let mut progress: Progress =
            serde_json::from_str(text).map_err(|e| decode::damaged("run", format!("{id}: progress: {e}")))?;
        progress.reset(Round {
            ended_at: decode::at(row, "finished_at")?,
            error_code: row.try_get("error_code")?,
            replayed_at: decode::instant(due)?,
        });
        progresses.push(serde_json::to_string(&progress).map_err(|e| decode::damaged("run", format!("{id}: {e}")))?);
        let key: Option<String> = row.try_get("ordering_key")?;
        let tenant = decode::tenant(row)?;
        let trigger: &str = row.try_get("trigger")?;
        lanes_of.push(key.map(|key| lanes::digest(&tenant, trigger, &text::read(key))));
        ids.push(id);
    }
    let locked: Vec<Uuid> = lanes_of.iter().flatten().copied().collect();
    if !locked.is_empty() {
        lanes::lock(conn, &locked).await?;
    }
    let reset: i64 = sqlx::query_scalar(
        "WITH reset AS (UPDATE runs AS r SET state = 0, replay = true, queue = NULL, progress = u.progress, finished_at = NULL, \
             error_code = NULL, error = NULL FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS u (id, progress, lane) \
             WHERE r.id = u.id AND r.state >= 2 RETURNING r.id, r.tenant, r.event_id, u.lane, r.lane_seq, r.created_at), \
         letters AS (DELETE FROM dead_letters AS d USING reset AS s WHERE d.tenant = s.tenant AND d.run_id = s.id), \
         due AS (INSERT INTO queue (run_id, event_id, tenant, due_at, parked, lane, lane_seq, created_at) \
             SELECT s.id, s.event_id, s.tenant, $4, s.lane IS NOT NULL AND ( \
                 EXISTS (SELECT 1 FROM queue AS o WHERE o.lane = s.lane AND o.lane_seq < s.lane_seq) \
                 OR EXISTS (SELECT 1 FROM reset AS o WHERE o.lane = s.lane AND o.lane_seq < s.lane_seq)), \
             s.lane, s.lane_seq, s.created_at FROM reset AS s ON CONFLICT (run_id) DO UPDATE SET holder = NULL, \
             due_at = excluded.due_at, parked = excluded.parked, lost = false) \
         SELECT count(*) FROM reset",
    )
    .bind(ids)
    .bind(progresses)
    .bind(lanes_of)
    .bind(due)
    .fetch_one(conn)
    .await?;
    Ok(reset.unsigned_abs())
}
