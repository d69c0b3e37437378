//! Intake: an event is matched and planned in memory, then kept with its runs in one group commit.
//!
//! Order of things: plan, commit, answer. Nothing is answered 202, and no run starts, before the commit.

use std::sync::Arc;
use std::time::Duration;

use triggerd_core::event::{Event, Moment};
use triggerd_core::id::{EventId, RunId};
use triggerd_core::plan;

use crate::app::App;
use crate::carried_on::CarriedOn;
use crate::dispatch::{Job, Waiter};
use crate::feed::FeedStatus;
use crate::spans;
use crate::store::{self, Append, AppendOutcome, Idempotency, NewRun};

/// An event to be accepted.
#[derive(Debug)]
pub struct Submission {
    /// The event.
    pub event: Arc<Event>,
    /// The first answer to an `Idempotency-Key`, to be kept with it.
    pub idempotency: Option<Idempotency>,
    /// The caller wants to wait for the runs.
    pub wait: bool,
    /// It is for the trigger with this tag alone, whatever others match.
    pub only: Option<Arc<str>>,
    /// It is kept if the one before it in its batch is.
    pub follows: bool,
}

impl From<Event> for Submission {
    fn from(event: Event) -> Self {
        Self::from(Arc::new(event))
    }
}

impl From<Arc<Event>> for Submission {
    fn from(event: Arc<Event>) -> Self {
        Self { event, idempotency: None, wait: false, only: None, follows: false }
    }
}

/// What acceptance answers with, after the commit.
#[derive(Debug)]
pub struct Receipt {
    /// The event as kept.
    pub event: Arc<Event>,
    /// Its runs; none where nothing matched.
    pub runs: Vec<RunId>,
    /// Set where the key had been answered before: this is that answer, and nothing was kept of the event nor of what
    /// follows it.
    pub replayed: Option<Idempotency>,
    /// Waits for the runs.
    pub wait: Waiter,
}

/// Why an event was not accepted: nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The node is shutting down.
    #[error("the server is shutting down")]
    Draining {
        /// When another try makes sense.
        retry_after: Duration,
    },
}

/// A new event's id.
#[must_use]
pub fn new_event_id(app: &App) -> EventId {
    EventId::new(u64::try_from(app.clock.now_ms()).unwrap_or(0), app.clock.id_bits())
}

/// Accepts one event.
pub async fn accept(app: &Arc<App>, submission: Submission) -> Result<Receipt, Error> {
    let mut receipts = accept_batch(app, vec![submission]).await?;
    Ok(receipts.pop().expect("a batch of one answers one"))
}

/// Accepts several events in one transaction: all of them or none.
pub async fn accept_batch(app: &Arc<App>, submissions: Vec<Submission>) -> Result<Vec<Receipt>, Error> {
    if app.dispatch.is_draining() {
        return Err(Error::Draining { retry_after: Duration::from_secs(5) });
    }
    let mut appends = Vec::with_capacity(submissions.len());
    let mut prepared = Vec::with_capacity(submissions.len());
    for submission in submissions {
        let (append, entry) = prepare(app, submission);
        appends.push(append);
        prepared.push(entry);
    }
    #[cfg(debug_assertions)]
    if crate::seeded::Fault::AckBeforeCommit.is_ordered() {
        return Ok(fault::acknowledge_early(app, appends, prepared));
    }
    // A caller that goes away in the middle leaves nothing half done.
    CarriedOn::new(keep(app.clone(), appends, prepared)).await
}

async fn keep(app: Arc<App>, appends: Vec<Append>, prepared: Vec<Prepared>) -> Result<Vec<Receipt>, Error> {
    let outcomes = match app.store.append_batch(appends).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            prepared.iter().for_each(|entry| app.dispatch.withdraw(&entry.jobs));
            metrics::counter!("triggerd_events_total", "outcome" => "refused").increment(prepared.len() as u64);
            return Err(error.into());
        }
    };
    Ok(prepared.into_iter().zip(outcomes).map(|(entry, outcome)| settle(&app, entry, outcome)).collect())
}

/// An event with its runs, planned but not yet kept.
struct Prepared {
    event: Arc<Event>,
    runs: Vec<RunId>,
    jobs: Vec<Job>,
    wait: Waiter,
}

/// Matches and plans: the one place where intake calls the core.
fn prepare(app: &Arc<App>, submission: Submission) -> (Append, Prepared) {
    let mut event = submission.event;
    debug_assert!(event.change.as_ref().is_none_or(|c| c.moment == Moment::After), "before-events are not kept");
    let span = spans::matching(&mut event);
    let mut matches = app.definitions.index().matches(&event);
    if let Some(span) = span {
        spans::matched(&span, matches.len());
    }
    if let Some(only) = &submission.only {
        matches.retain(|found| found.trigger.tag == *only);
    }
    let planned = plan::plan(&event, matches, event.accepted_at, || app.clock.id_bits());
    let runs: Vec<RunId> = planned.iter().map(|run| run.id).collect();
    let (new_runs, jobs, wait): (Vec<NewRun>, Vec<Job>, Waiter) =
        app.dispatch.admit(app, &event, planned, submission.wait);
    let Submission { idempotency, follows, .. } = submission;
    let append = Append { event: event.clone(), runs: new_runs, idempotency, follows };
    (append, Prepared { event, runs, jobs, wait })
}

/// After the commit: starts what is held, tells the feed.
fn settle(app: &Arc<App>, entry: Prepared, outcome: AppendOutcome) -> Receipt {
    let Prepared { event, runs, jobs, wait } = entry;
    let replayed = match outcome {
        AppendOutcome::Kept => None,
        AppendOutcome::Replayed(first) => Some(Some(first)),
        AppendOutcome::Left => Some(None),
    };
    if let Some(replayed) = replayed {
        app.dispatch.withdraw(&jobs);
        return Receipt { event, runs: Vec::new(), replayed, wait: Waiter::nothing() };
    }
    let (outcome, status) =
        if runs.is_empty() { ("unmatched", FeedStatus::Unmatched) } else { ("matched", FeedStatus::Accepted) };
    metrics::counter!("triggerd_events_total", "outcome" => outcome).increment(1);
    app.feed.tell(&event, None, status, event.accepted_at);
    app.dispatch.start(app, jobs);
    Receipt { event, runs, replayed: None, wait }
}

/// A fault that a test can order, to show that the crash test would notice a loss. Release builds have none.
#[cfg(debug_assertions)]
mod fault {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{App, Append, Prepared, Receipt, Waiter, settle};

    /// How late the commit is: long enough for a crash to fall between.
    const LATE: Duration = Duration::from_millis(100);

    /// Answers first and commits later: what must never be done.
    pub(super) fn acknowledge_early(app: &Arc<App>, appends: Vec<Append>, prepared: Vec<Prepared>) -> Vec<Receipt> {
        let receipt = |entry: &Prepared| Receipt {
            event: entry.event.clone(),
            runs: entry.runs.clone(),
            replayed: None,
            wait: Waiter::nothing(),
        };
        let receipts = prepared.iter().map(receipt).collect();
        let app = app.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            if let Ok(outcomes) = app.store.append_batch(appends).await {
                prepared.into_iter().zip(outcomes).for_each(|(entry, outcome)| drop(settle(&app, entry, outcome)));
            }
        });
        receipts
    }
}
