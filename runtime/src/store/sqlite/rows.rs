//! Events and reports as rows of the hot path, made in their callers' tasks: the writer only binds them.

use std::sync::Arc;

use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::Progress;

use super::batch::Parameters;
use crate::clock::Clock;
use crate::store::{Append, Error, Idempotency, NewRun, RunNext, RunUpdate};

/// Bits of a run's `seq` that count the runs of one event.
pub(super) const RUN_BITS: u32 = 18;
/// Runs of one event, at most.
const MAX_RUNS: usize = 1 << RUN_BITS;

/// The first and the last `seq` that runs of an event can have.
pub(super) fn run_range(event_seq: i64) -> (i64, i64) {
    (event_seq << RUN_BITS, (event_seq << RUN_BITS) | (MAX_RUNS as i64 - 1))
}

/// An event as a row, made in its caller's task: the writer only binds.
pub(super) struct AppendRow {
    id: EventId,
    pub(super) tenant: TenantId,
    // Shared texts are bound without another copy.
    event_type: Arc<str>,
    source: Option<Arc<str>>,
    table: Option<Arc<str>>,
    pub(super) accepted_at: i64,
    crc: u32,
    body: Arc<str>,
    pub(super) runs: Vec<NewRun>,
    pub(super) idempotency: Option<Idempotency>,
}

impl AppendRow {
    pub(super) fn of(append: Append) -> Result<Self, Error> {
        let event: &Event = &append.event;
        if append.runs.len() > MAX_RUNS {
            return Err(Error::Conflict(format!("an event makes {MAX_RUNS} runs at most, not {}", append.runs.len())));
        }
        let body = serde_json::to_string(event).map_err(|e| Error::Conflict(format!("event {}: {e}", event.id)))?;
        Ok(Self {
            id: event.id,
            tenant: event.tenant.clone(),
            event_type: event.event_type.as_str().into(),
            source: event.source.as_deref().map(Arc::from),
            table: event.table().map(Arc::from),
            accepted_at: event.accepted_at.as_millisecond(),
            crc: crc32fast::hash(body.as_bytes()),
            body: body.into(),
            runs: append.runs,
            idempotency: append.idempotency,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.body.len() + 256 + 256 * self.runs.len()
    }

    pub(super) fn bind(&self, seq: i64, out: &mut Parameters) {
        out.push(seq);
        out.push(self.id.as_bytes().as_slice());
        out.push(self.tenant.0.clone());
        out.push(self.event_type.clone());
        out.push(self.source.clone());
        out.push(self.table.clone());
        out.push(self.accepted_at);
        out.push(self.runs.len() as i64);
        out.push(i64::from(self.crc));
        out.push(self.body.clone());
    }
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

/// A run's state as [`super::batch::Kind::Updates`] takes it: a number, which needs no allocation.
#[derive(Clone, Copy)]
enum State {
    Pending,
    Running,
    Delivered,
    Failed,
}

/// A holder's report as a row, made in its caller's task.
pub(super) struct UpdateRow {
    pub(super) id: RunId,
    epoch: i64,
    state: State,
    due: Option<i64>,
    queue: Option<String>,
    progress: Arc<str>,
    attempts: i64,
    last_attempt: Option<i64>,
    error: Option<(String, String)>,
    finished: Option<i64>,
}

impl UpdateRow {
    pub(super) fn of(update: RunUpdate, clock: &Clock) -> Result<Self, Error> {
        let progress = serde_json::to_string(&*update.progress)
            .map_err(|e| Error::Conflict(format!("progress of run {}: {e}", update.id)))?;
        let (attempts, last_attempt) = tally(&update.progress);
        let mut row = Self {
            id: update.id,
            epoch: update.epoch,
            state: State::Running,
            due: None,
            queue: None,
            progress: progress.into(),
            attempts,
            last_attempt,
            error: None,
            finished: None,
        };
        match update.next {
            RunNext::Hold(until) => row.due = Some(until.as_millisecond()),
            RunNext::Release { due, queue } => {
                (row.state, row.due, row.queue) = (State::Pending, Some(due.as_millisecond()), queue);
            }
            RunNext::Delivered => (row.state, row.finished) = (State::Delivered, Some(clock.now_ms())),
            RunNext::Failed { code, message } => {
                (row.state, row.finished, row.error) = (State::Failed, Some(clock.now_ms()), Some((code, message)));
            }
        }
        Ok(row)
    }

    pub(super) fn bytes(&self) -> usize {
        self.progress.len() + 256
    }

    pub(super) fn bind(&self, out: &mut Parameters) {
        out.push(self.id.as_bytes().as_slice());
        out.push(self.epoch);
        out.push(self.state as i64);
        out.push(self.due);
        out.push(self.queue.as_deref());
        out.push(self.progress.clone());
        out.push(self.attempts);
        out.push(self.last_attempt);
        out.push(self.error.as_ref().map(|(code, _)| code.as_str()));
        out.push(self.error.as_ref().map(|(_, message)| message.as_str()));
        out.push(self.finished);
    }
}

/// How many attempts there were, and when the last of them ended.
fn tally(progress: &Progress) -> (i64, Option<i64>) {
    let ended = |a: &triggerd_core::run::Attempt| {
        a.started_at.as_millisecond().saturating_add(i64::try_from(a.duration_ms).unwrap_or(i64::MAX))
    };
    let attempts = progress.actions.iter().map(|a| i64::from(a.last_attempt())).sum();
    let last = progress.actions.iter().flat_map(|a| &a.attempts).map(ended).max();
    (attempts, last)
}
