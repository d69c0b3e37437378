//! The rows of the hot path, bound to SQLite's statements.

use triggerd_core::id::TenantId;

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
pub(super) fn bind_event(row: &AppendRow, seq: i64, out: &mut Parameters) {
    out.push(seq);
    out.push(row.id.as_bytes().as_slice());
    out.push(row.tenant.0.clone());
    out.push(row.event_type.clone());
    out.push(row.source.clone());
    out.push(row.table.clone());
    out.push(row.accepted_at);
    out.push(row.runs.len() as i64);
    out.push(i64::from(row.crc));
    out.push(row.body.clone());
}

/// Binds a new run as a row of [`super::batch::Kind::Runs`].
pub(super) fn bind_run(run: &NewRun, seq: i64, tenant: &TenantId, created_at: i64, due: i64, out: &mut Parameters) {
    out.push(seq);
    out.push(run.id.as_bytes().as_slice());
    out.push(tenant.0.clone());
    out.push(run.trigger.clone());
    out.push(i64::from(run.version));
    out.push(i64::from(run.lease_until.is_some()));
    out.push(run.lease_until.map_or(due, |t| t.as_millisecond()));
    out.push(run.queue.as_deref());
    out.push(run.ordering_key.as_deref());
    out.push(created_at);
}

/// Binds a report as a row of [`super::batch::Kind::Updates`].
pub(super) fn bind_update(row: &UpdateRow, out: &mut Parameters) {
    out.push(row.id.as_bytes().as_slice());
    out.push(row.epoch);
    out.push(row.state as i64);
    out.push(row.due);
    out.push(row.queue.as_deref());
    out.push(row.progress.clone());
    out.push(row.attempts);
    out.push(row.last_attempt);
    out.push(row.error.as_ref().map(|(code, _)| code.as_str()));
    out.push(row.error.as_ref().map(|(_, message)| message.as_str()));
    out.push(row.finished);
}
