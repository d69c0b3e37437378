//! Events and runs, from columns.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use triggerd_core::id::{EventId, RunId};
use triggerd_core::run::RunState;

use super::skew::Skew;
pub(super) use super::tables::decode::*;
use super::text;
use crate::store::{Error, Run};

/// The columns of [`run`], of `runs AS r`, with when it is due as `due_at`.
pub(super) const RUN_COLUMNS: &str = "r.id, r.tenant, r.event_id, r.trigger, r.version, r.state, r.epoch, r.replay, r.queue, \
     r.ordering_key, r.created_at, r.finished_at, r.error_code, r.error, r.progress";

pub(super) fn run(row: &PgRow, skew: &Skew) -> Result<Run, Error> {
    let id = RunId(row.try_get("id")?);
    let state = state(row.try_get("state")?)?;
    let progress: &str = row.try_get("progress")?;
    let code: Option<String> = row.try_get("error_code")?;
    let message: Option<String> = row.try_get("error")?;
    let due: Option<i64> = row.try_get("due_at")?;
    let key: Option<String> = row.try_get("ordering_key")?;
    let queue: Option<String> = row.try_get("queue")?;
    Ok(Run {
        id,
        tenant: tenant(row)?,
        event_id: EventId(row.try_get("event_id")?),
        trigger: Arc::from(row.try_get::<&str, _>("trigger")?),
        version: version(row)?,
        state,
        epoch: row.try_get("epoch")?,
        due: due.filter(|_| state == RunState::Pending).map(|ms| instant(skew.of_database(ms))).transpose()?,
        queue: queue.map(text::read),
        ordering_key: key.map(text::read),
        replay: row.try_get("replay")?,
        progress: serde_json::from_str(progress).map_err(|e| damaged("run", format!("{id}: progress: {e}")))?,
        error: code.map(|code| (text::read(code), text::read(message.unwrap_or_default()))),
        created_at: at(row, "created_at")?,
        finished_at: at_if_any(row, "finished_at")?,
    })
}

fn state(number: i16) -> Result<RunState, Error> {
    match number {
        0 => Ok(RunState::Pending),
        1 => Ok(RunState::Running),
        2 => Ok(RunState::Delivered),
        3 => Ok(RunState::Failed),
        other => Err(damaged("run state", other)),
    }
}
