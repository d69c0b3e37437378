//! The rows of the hot path, bound to SQLite's statements.

use super::batch::Parameters;
use crate::store::NewRun;
use crate::store::rows::MAX_RUNS;
pub(super) use crate::store::rows::{AppendRow, UpdateRow};

/// Bits of a run's `seq` that count the runs of one event.
pub(super) const RUN_BITS: u32 = 18;

/// The first and the last `seq` that runs of an event can have.
pub(super) fn run_range(event_seq: i64) -> (i64, i64) {
    (event_seq << RUN_BITS, (event_seq << RUN_BITS) | (MAX_RUNS as i64 - 1))
}

/// Binds an event as a row of [`super::batch::Kind::Events`].
pub(super) fn bind_event(row: &AppendRow, seq: i64, out: &mut Parameters<'_, '_>) -> rusqlite::Result<()> {
    out.push(seq)?;
    out.push(row.id.as_bytes())?;
    out.push(&*row.tenant.0)?;
    out.push(&*row.event_type)?;
    out.push(row.source.as_deref())?;
    out.push(row.table.as_deref())?;
    out.push(row.accepted_at)?;
    out.push(row.runs.len() as i64)?;
    out.push(row.crc)?;
    out.push(&*row.body)
}

/// Binds a new run of an event as a row of [`super::batch::Kind::Runs`].
pub(super) fn bind_run(run: &NewRun, seq: i64, of: &AppendRow, out: &mut Parameters<'_, '_>) -> rusqlite::Result<()> {
    out.push(seq)?;
    out.push(run.id.as_bytes())?;
    out.push(&*of.tenant.0)?;
    out.push(&*run.trigger)?;
    out.push(run.version)?;
    out.push(run.lease_until.is_some())?;
    out.push(run.lease_until.map_or(of.accepted_at, |t| t.as_millisecond()))?;
    out.push(run.queue.as_deref())?;
    out.push(run.ordering_key.as_deref())?;
    out.push(of.accepted_at)
}

/// Binds a report as a row of [`super::batch::Kind::Updates`].
pub(super) fn bind_update(row: &UpdateRow, out: &mut Parameters<'_, '_>) -> rusqlite::Result<()> {
    out.push(row.id.as_bytes())?;
    out.push(row.epoch)?;
    out.push(row.state as i64)?;
    out.push(row.due)?;
    out.push(row.queue.as_deref())?;
    out.push(&*row.progress)?;
    out.push(row.attempts)?;
    out.push(row.last_attempt)?;
    out.push(row.error.as_ref().map(|(code, _)| code.as_str()))?;
    out.push(row.error.as_ref().map(|(_, message)| message.as_str()))?;
    out.push(row.finished)
}
