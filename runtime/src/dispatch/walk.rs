//! A run's way through its actions.
//!
//! Progress is stored after each action, so that a crash resumes at the first unfinished one; the last action's
//! progress and the run's end are one write. A write under an old epoch changes nothing and ends the walk.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use triggerd_core::definition::{Action, Timing};
use triggerd_core::outcome::Failure;
use triggerd_core::run::ActionState;

use super::attempt::{self, Tried};
use super::job::{Job, last_failure};
use super::places::Unavailable;
use super::verdict;
use crate::app::App;
use crate::record::{self, Decision};
use crate::store::{self, RunNext, RunUpdate};

/// How long a run waits in the store when something it needs cannot be had just now.
const COME_BACK: Duration = Duration::from_secs(2);

/// How a walk stops.
#[derive(Debug)]
enum Stop {
    /// Given back to the store.
    Release { after: Duration, queue: Option<String> },
    /// A dead letter.
    Failed(Failure),
    /// The run is not this process's any more.
    Fenced,
    /// The store failed: what was not recorded is done again when the lease has run out.
    Store(store::Error),
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

/// Walks a run until it has ended or is given back.
pub(super) async fn walk(app: &Arc<App>, mut job: Job) {
    let stop = match app.dispatch.gates.enter(&app.store, &job.event.tenant, &job.trigger).await {
        Ok(_pass) => steps(app, &mut job).await.err(),
        Err(after) => Some(Stop::Release { after, queue: job.queue.take() }),
    };
    let next = match stop {
        None => RunNext::Delivered,
        Some(Stop::Failed(failure)) => RunNext::Failed { code: failure.code, message: failure.message },
        Some(Stop::Release { after, queue }) => RunNext::Release { due: app.clock.now() + after, queue },
        Some(Stop::Fenced) => return app.dispatch.lost(job, "fenced"),
        Some(Stop::Store(error)) => {
            tracing::error!(run.id = %job.run, %error, "Run {} is left to its lease: {error}", job.run);
            return app.dispatch.lost(job, "store_error");
        }
    };
    match write(app, &mut job, next.clone()).await {
        Ok(()) => app.dispatch.settled(app, job, next).await,
        Err(Stop::Fenced) => app.dispatch.lost(job, "fenced"),
        Err(_) => app.dispatch.lost(job, "store_error"),
    }
}

/// Every action in order; `Ok` where the run ended well.
async fn steps(app: &Arc<App>, job: &mut Job) -> Result<(), Stop> {
    if job.holder_lost {
        job.note_lost_holder(app.clock.now());
    }
    let trigger = job.trigger.clone();
    if job.progress.actions.is_empty() && !gate(app, job).await? {
        return Ok(());
    }
    for (index, action) in trigger.actions.iter().enumerate() {
        if ended_well(job, &action.name) {
            continue;
        }
        if job.is_dropped() {
            skip(job, &action.name, action, "dropped");
            continue;
        }
        if !app.store.holds_its_runs() {
            return Err(Stop::Fenced);
        }
        step(app, job, action, &action.name).await?;
        if index + 1 < trigger.actions.len() {
            write(app, job, RunNext::Hold(app.dispatch.lease_until(app))).await?;
            // Whoever waits reads what is stored: told after the write. The run's end is told by `settled`.
            app.dispatch.watches.reached(job.run, &trigger, index + 1);
        }
    }
    Ok(())
}

/// The run's first step where its condition asks a Wasm component; `false`: every action is skipped.
async fn gate(app: &Arc<App>, job: &mut Job) -> Result<bool, Stop> {
    let trigger = job.trigger.clone();
    let Some(condition) = trigger.condition.as_ref().filter(|c| !c.components().is_empty()) else { return Ok(true) };
    if let Some(wait) = verdict::wait(app, job, condition) {
        let after = wait + COME_BACK.mul_f64(app.clock.chance());
        return Err(Stop::Release { after, queue: job.queue.take() });
    }
    if verdict::of(app, job, condition).await.map_err(Stop::Failed)? {
        return Ok(true);
    }
    for action in &trigger.actions {
        skip(job, &action.name, action, "condition");
    }
    Ok(false)
}

/// One action with its fallback. `Ok`: go on with the next one.
fn step<'a>(app: &'a Arc<App>, job: &'a mut Job, action: &'a Action, path: &'a str) -> BoxFuture<'a, Result<(), Stop>> {
    Box::pin(async move {
        let failure = match job.progress_of(path, action).status {
            ActionState::Delivered | ActionState::Skipped => return Ok(()),
            ActionState::Failed => Some(last_failure(job.progress_of(path, action))),
            ActionState::Pending | ActionState::Running => act(app, job, action, path).await?,
        };
        let Some(failure) = failure else { return Ok(()) };
        match fall_back(app, job, action, path, failure).await {
            Err(Stop::Failed(failure)) if action.continue_on_error => {
                tracing::debug!(run.id = %job.run, action = path, code = failure.code, "Going on after a failed action");
                Ok(())
            }
            other => other,
        }
    })
}

/// Runs what stands in for an action that failed for good.
async fn fall_back(app: &Arc<App>, job: &mut Job, action: &Action, path: &str, failure: Failure) -> Result<(), Stop> {
    if action.fallback.is_empty() {
        return Err(Stop::Failed(failure));
    }
    for stand_in in &action.fallback {
        let path = format!("{path}/fallback/{}", stand_in.name);
        step(app, job, stand_in, &path).await?;
        write(app, job, RunNext::Hold(app.dispatch.lease_until(app))).await?;
    }
    Ok(())
}

/// One attempt of one action, if it is wanted. `Ok(Some)`: it has failed for good.
async fn act(app: &Arc<App>, job: &mut Job, action: &Action, path: &str) -> Result<Option<Failure>, Stop> {
    let begun = !job.progress_of(path, action).attempts.is_empty();
    if record::is_poison(job.progress_of(path, action)) {
        job.progress_of(path, action).status = ActionState::Failed;
        return Ok(Some(last_failure(job.progress_of(path, action))));
    }
    if !begun && let Some(reason) = unwanted(app, job, action, path).await? {
        skip(job, path, action, reason);
        return Ok(None);
    }
    let (attempt, outcome, effect) = match attempt::attempt(app, job, action, path).await {
        Tried::Ended { attempt, outcome, effect } => (*attempt, outcome, effect),
        Tried::NoPlace(why) => {
            let after = match why {
                Unavailable::Full => COME_BACK.mul_f64(0.5 + app.clock.chance()),
                // Not all at once when the wait is over: the first is the probe, and the others learn from it.
                Unavailable::Open(wait) | Unavailable::Quota(wait) => wait + COME_BACK.mul_f64(app.clock.chance()),
            };
            return Err(Stop::Release { after, queue: queue_of(action) });
        }
    };
    let decision = record::settle(job.progress_of(path, action), action, attempt, outcome, app.clock.chance());
    match decision {
        Decision::Delivered => {
            job.take_effect(path, effect);
            Ok(None)
        }
        Decision::Failed(failure) => Ok(Some(failure)),
        Decision::Again(after) => Err(Stop::Release { after, queue: queue_of(action) }),
    }
}

/// Why an action is not to be begun now: it is skipped, or the run goes through the action's queue first.
async fn unwanted(app: &Arc<App>, job: &mut Job, action: &Action, path: &str) -> Result<Option<&'static str>, Stop> {
    if let Some(queue) = queue_of(action)
        && job.queue.take().as_ref() != Some(&queue)
    {
        return Err(Stop::Release { after: Duration::ZERO, queue: Some(queue) });
    }
    if let Some(condition) = &action.condition {
        if let Some(wait) = verdict::wait(app, job, condition) {
            let after = wait + COME_BACK.mul_f64(app.clock.chance());
            return Err(Stop::Release { after, queue: queue_of(action) });
        }
        if !verdict::of(app, job, condition).await.map_err(Stop::Failed)? {
            return Ok(Some("condition"));
        }
    }
    Ok((!attempt::within_quota(app, job, action, path).await?).then_some("quota"))
}

fn queue_of(action: &Action) -> Option<String> {
    match &action.timing {
        Timing::Queued(queue) => Some(queue.clone()),
        Timing::Sync | Timing::Async => None,
    }
}

fn skip(job: &mut Job, path: &str, action: &Action, reason: &str) {
    let progress = job.progress_of(path, action);
    progress.status = ActionState::Skipped;
    progress.reason = Some(reason.to_owned());
}

fn ended_well(job: &Job, path: &str) -> bool {
    let ended = |status| matches!(status, ActionState::Delivered | ActionState::Skipped);
    job.progress.actions.iter().any(|known| known.name == path && ended(known.status))
}

/// Stores the run's progress and what follows; with the last of it, the job's progress is gone.
async fn write(app: &Arc<App>, job: &mut Job, next: RunNext) -> Result<(), Stop> {
    let (held_until, progress) = match &next {
        RunNext::Hold(until) => (Some(*until), job.progress.clone()),
        _ => (None, std::mem::take(&mut job.progress)),
    };
    let update = RunUpdate { id: job.run, epoch: job.epoch, progress: Arc::new(progress), next };
    if !app.store.record(update).await? {
        return Err(Stop::Fenced);
    }
    if let Some(until) = held_until {
        app.dispatch.renewed(job.run, until);
    }
    Ok(())
}
