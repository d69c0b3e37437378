//! Events and reports as rows of the hot path, made in their callers' tasks: the writer only binds them.

use std::sync::Arc;

use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::Progress;

use super::{Append, Error, Idempotency, NewRun, RunNext, RunUpdate};
use crate::clock::Clock;

/// Runs of one event, at most.
pub(super) const MAX_RUNS: usize = 1 << 18;

/// An event as a row, made in its caller's task: the writer only binds.
pub(super) struct AppendRow {
    pub(super) id: EventId,
    pub(super) tenant: TenantId,
    // Shared texts are bound without another copy.
    pub(super) event_type: Arc<str>,
    pub(super) source: Option<Arc<str>>,
    pub(super) table: Option<Arc<str>>,
    pub(super) accepted_at: i64,
    pub(super) crc: u32,
    pub(super) body: Arc<str>,
    pub(super) runs: Vec<NewRun>,
    pub(super) idempotency: Option<Idempotency>,
    pub(super) follows: bool,
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
            follows: append.follows,
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.body.len() + 256 + 256 * self.runs.len()
    }
}

/// A run's state as a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Running,
    Delivered,
    Failed,
}

/// A holder's report as a row, made in its caller's task.
pub(super) struct UpdateRow {
    pub(super) id: RunId,
    pub(super) epoch: i64,
    pub(super) state: State,
    pub(super) due: Option<i64>,
    pub(super) queue: Option<String>,
    pub(super) progress: Arc<str>,
    pub(super) attempts: i64,
    pub(super) last_attempt: Option<i64>,
    pub(super) error: Option<(String, String)>,
    pub(super) finished: Option<i64>,
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
}

/// How many attempts there were, and when the last of them ended.
pub(super) fn tally(progress: &Progress) -> (i64, Option<i64>) {
    let ended = |a: &triggerd_core::run::Attempt| {
        a.started_at.as_millisecond().saturating_add(i64::try_from(a.duration_ms).unwrap_or(i64::MAX))
    };
    let attempts = progress.actions.iter().map(|a| i64::from(a.last_attempt())).sum();
    let last = progress.actions.iter().flat_map(|a| &a.attempts).map(ended).max();
    (attempts, last)
}
