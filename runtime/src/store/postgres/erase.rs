//! Erasing: what is left of events is put in their places. What was there before is the server's to remove, as it removes all old
//! versions of rows (VACUUM).

use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use triggerd_core::event::Event;
use triggerd_core::id::TenantId;
use triggerd_core::run::Progress;
use uuid::Uuid;

use super::dialect::RUNS_OF_E;
use super::{Store, decode, lanes, text};
use crate::store::{Erased, Error};

impl Store {
    pub async fn erase_events(&self, tenant: &TenantId, erased: Vec<Event>, now: Timestamp) -> Result<Erased, Error> {
        let (tenant, now) = (tenant.clone(), now.as_millisecond());
        let done = self
            .write(move |conn| {
                Box::pin(async move {
                    let mut done = Erased::default();
                    for event in &erased {
                        erase(conn, &tenant, event, now, &mut done).await?;
                    }
                    Ok(done)
                })
            })
            .await?;
        self.made_due();
        Ok(done)
    }

    pub async fn scrub(&self) -> Result<bool, Error> {
        Ok(false)
    }
}

async fn erase(
    conn: &mut PgConnection,
    tenant: &TenantId,
    event: &Event,
    now: i64,
    done: &mut Erased,
) -> Result<(), Error> {
    let body = serde_json::to_string(event).map_err(|e| Error::Conflict(format!("event {}: {e}", event.id)))?;
    let lanes = lanes_of(conn, tenant, event).await?;
    // Before anything of the runs is locked, as whoever reports on them does it.
    lanes::lock(conn, &lanes).await?;
    let changed = sqlx::query("UPDATE events SET body = $3, crc = $4 WHERE id = $1 AND tenant = $2")
        .bind(event.id.0)
        .bind(tenant.as_str())
        .bind(&body)
        .bind(i64::from(crc32fast::hash(body.as_bytes())))
        .execute(&mut *conn)
        .await?;
    if changed.rows_affected() == 0 {
        // Gone meanwhile, which is as good.
        return Ok(());
    }
    done.events += 1;
    let sql = format!(
        "SELECT r.id, r.state, r.progress FROM events AS e CROSS JOIN LATERAL \
         (SELECT r.id, r.state, r.progress FROM {RUNS_OF_E} FOR UPDATE) AS r WHERE e.id = $1 ORDER BY r.id"
    );
    let runs = sqlx::query(AssertSqlSafe(sql)).bind(event.id.0).fetch_all(&mut *conn).await?;
    for run in &runs {
        let (id, state): (Uuid, i16) = (run.try_get("id")?, run.try_get("state")?);
        let is_unfinished = state < 2;
        done.runs += 1;
        done.ended += u64::from(is_unfinished);
        erase_run(conn, id, run.try_get("progress")?, is_unfinished, now).await?;
    }
    lanes::unpark(conn, &lanes).await?;
    Ok(())
}

/// The lanes that an event's runs are in.
async fn lanes_of(conn: &mut PgConnection, tenant: &TenantId, event: &Event) -> Result<Vec<Uuid>, Error> {
    let sql = format!(
        "SELECT r.* FROM events AS e CROSS JOIN LATERAL (SELECT r.trigger, r.ordering_key FROM {RUNS_OF_E} \
         AND r.ordering_key IS NOT NULL) AS r WHERE e.id = $1 AND e.tenant = $2"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(event.id.0).bind(tenant.as_str()).fetch_all(conn).await?;
    rows.iter()
        .map(|row| Ok(lanes::digest(tenant, row.try_get("trigger")?, &text::read(row.try_get("ordering_key")?))))
        .collect()
}

async fn erase_run(conn: &mut PgConnection, id: Uuid, progress: &str, end: bool, now: i64) -> Result<(), Error> {
    let mut progress: Progress =
        serde_json::from_str(progress).map_err(|e| decode::damaged("run", format!("{id}: progress: {e}")))?;
    progress.erase(end);
    let text = serde_json::to_string(&progress).map_err(|e| decode::damaged("run", format!("{id}: {e}")))?;
    // The epoch keeps whoever holds it from writing anything more of it.
    sqlx::query(
        "UPDATE runs SET progress = $2, ordering_key = NULL, lane_seq = NULL, \
         error = CASE WHEN error IS NOT NULL THEN 'erased' END, \
         state = CASE WHEN $3 THEN 2 ELSE state END, holder = CASE WHEN $3 THEN NULL ELSE holder END, \
         queue = CASE WHEN $3 THEN NULL ELSE queue END, epoch = CASE WHEN $3 THEN epoch + 1 ELSE epoch END, \
         finished_at = CASE WHEN $3 THEN $4 ELSE finished_at END WHERE id = $1",
    )
    .bind(id)
    .bind(text)
    .bind(end)
    .bind(now)
    .execute(&mut *conn)
    .await?;
    if end {
        sqlx::query("DELETE FROM queue WHERE run_id = $1").bind(id).execute(conn).await?;
    }
    Ok(())
}
