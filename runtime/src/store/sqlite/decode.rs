//! Events and runs, from columns.

use std::sync::Arc;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use triggerd_core::id::{EventId, RunId};
use triggerd_core::run::RunState;

pub(super) use super::tables::decode::*;
use crate::store::{Error, Run};

/// The columns of [`run`], of `runs AS r` joined with `events AS e`.
pub(super) const RUN_COLUMNS: &str = "r.seq, r.id, r.tenant, e.id AS event_id, r.trigger, r.version, r.state, r.epoch, \
     r.due_at, r.lost, r.replay, r.queue, r.ordering_key, r.created_at, r.finished_at, r.error_code, r.error, r.progress";

pub(super) fn run(row: &SqliteRow) -> Result<Run, Error> {
    let id = RunId::from_slice(row.try_get("id")?).ok_or_else(|| damaged("run", "id"))?;
    let state = run_state(row.try_get("state")?)?;
    let progress: &str = row.try_get("progress")?;
    let code: Option<String> = row.try_get("error_code")?;
    let message: Option<String> = row.try_get("error")?;
    Ok(Run {
        id,
        tenant: tenant(row)?,
        event_id: EventId::from_slice(row.try_get("event_id")?).ok_or_else(|| damaged("run", id))?,
        trigger: Arc::from(row.try_get::<&str, _>("trigger")?),
        version: version(row)?,
        state,
        epoch: row.try_get("epoch")?,
        due: at_if_any(row, "due_at")?.filter(|_| state == RunState::Pending),
        queue: row.try_get("queue")?,
        ordering_key: row.try_get("ordering_key")?,
        replay: row.try_get("replay")?,
        progress: serde_json::from_str(progress).map_err(|e| damaged("run", format!("{id}: progress: {e}")))?,
        error: code.map(|code| (code, message.unwrap_or_default())),
        created_at: at(row, "created_at")?,
        finished_at: at_if_any(row, "finished_at")?,
    })
}

fn run_state(text: &str) -> Result<RunState, Error> {
    match text {
        "pending" => Ok(RunState::Pending),
        "running" => Ok(RunState::Running),
        "delivered" => Ok(RunState::Delivered),
        "failed" => Ok(RunState::Failed),
        other => Err(damaged("run state", other)),
    }
}
