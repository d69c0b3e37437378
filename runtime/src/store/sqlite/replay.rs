//! Replays: runs that have ended are made due again, under the same delivery ids.
//!
//! A dead letter goes on at the action that failed; a delivered run does everything again.

use jiff::Timestamp;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::{Progress, Round};

use super::decode::{self, RUN_COLUMNS};
use super::open::Store;
use crate::store::{Error, Run};

impl Store {
    pub async fn replay_run(&self, tenant: &TenantId, id: RunId, now: Timestamp) -> Result<Option<Run>, Error> {
        let (tenant, now) = (tenant.clone(), now.as_millisecond());
        self.write(move |conn| {
            Box::pin(async move {
                let found = sqlx::query(
                    "SELECT seq, finished_at, error_code, progress FROM runs WHERE id = ? AND tenant = ? AND state IN ('delivered', 'failed')",
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
                    "SELECT r.seq, r.finished_at, r.error_code, r.progress FROM events AS e CROSS JOIN runs AS r \
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
}

/// Makes those runs of these events due again that have ended; with `trigger` set, only that trigger's.
pub(super) async fn replay_slice(
    conn: &mut SqliteConnection,
    seqs: Vec<i64>,
    trigger: Option<String>,
    now: i64,
) -> Result<u64, Error> {
    let found = sqlx::query(
        "SELECT r.seq, r.finished_at, r.error_code, r.progress FROM json_each(?) AS e CROSS JOIN runs AS r \
         ON r.seq BETWEEN e.value << 18 AND (e.value << 18) | 262143 \
         WHERE r.state IN ('delivered', 'failed') AND r.trigger = coalesce(?, r.trigger)",
    )
    .bind(serde_json::Value::from(seqs).to_string())
    .bind(trigger)
    .fetch_all(&mut *conn)
    .await?;
    reset(conn, &found, now).await
}

/// Makes these ended runs (`seq`, `finished_at`, `error_code`, `progress`) pending.
async fn reset(conn: &mut SqliteConnection, runs: &[sqlx::sqlite::SqliteRow], now: i64) -> Result<u64, Error> {
    for row in runs {
        let seq: i64 = row.try_get("seq")?;
        let text: &str = row.try_get("progress")?;
        let mut progress: Progress =
            serde_json::from_str(text).map_err(|e| decode::damaged("run", format!("number {seq}: progress: {e}")))?;
        progress.reset(Round {
            ended_at: decode::at(row, "finished_at")?,
            error_code: row.try_get("error_code")?,
            replayed_at: decode::instant(now)?,
        });
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
