//! The execute call: before-events run in memory and answer at once; after-events are accepted like any other.
//!
//! Before-triggers run in order of priority, each seeing the record as the one before left it. One attempt each: a
//! writer waits. A failure or a rejection refuses the write.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use triggerd_core::condition::Condition;
use triggerd_core::definition::{Action, Trigger};
use triggerd_core::event::Event;
use triggerd_core::id::RunId;
use triggerd_core::outcome::Failure;
use triggerd_core::run::{ActionProgress, ActionState, Progress};

use crate::app::App;
use crate::dispatch::{Job, Tried, Unavailable, attempt, verdict};
use crate::record::{self, Decision};

/// What before-triggers made of a write.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Whether the write may be done.
    pub allowed: bool,
    /// The record as the triggers left it.
    pub record: Value,
    /// Who refused it, and why.
    pub rejection: Option<Rejection>,
    /// What each trigger did.
    pub runs: Vec<Ran>,
}

/// A refusal.
#[derive(Debug, Serialize)]
pub struct Rejection {
    /// The trigger that refused.
    pub trigger: String,
    /// A stable code: `RECORD_REJECTED`, what the guard gave, or the failure's.
    pub code: String,
    /// The trigger's words.
    pub message: String,
}

/// One trigger's run.
#[derive(Debug, Serialize)]
pub struct Ran {
    /// Names the run in logs; before-runs are not kept.
    pub run_id: RunId,
    /// The trigger's tag.
    pub trigger: String,
    /// Its version.
    pub version: u32,
    /// `delivered` or `failed`.
    pub status: &'static str,
    /// Its actions.
    pub actions: Vec<ActionProgress>,
}

/// Runs the before-triggers that match `event`.
pub async fn before(app: &Arc<App>, event: Event) -> Verdict {
    let mut event = Arc::new(event);
    let mut runs = Vec::new();
    let matches = app.definitions.index().matches(&event);
    for found in matches {
        let mut job = job_of(app, &event, found.trigger);
        let ended = run(app, &mut job).await;
        let status = if ended.is_ok() { "delivered" } else { "failed" };
        let (run_id, trigger) = (job.run, job.trigger.tag.to_string());
        runs.push(Ran {
            run_id,
            trigger: trigger.clone(),
            version: job.trigger.version,
            status,
            actions: job.progress.actions,
        });
        event = job.event;
        if let Err(failure) = ended {
            let rejection = Rejection { trigger, code: failure.code, message: failure.message };
            return Verdict { allowed: false, record: event.record.clone(), rejection: Some(rejection), runs };
        }
    }
    Verdict { allowed: true, record: event.record.clone(), rejection: None, runs }
}

fn job_of(app: &App, event: &Arc<Event>, trigger: Arc<Trigger>) -> Job {
    let unix_ms = u64::try_from(app.clock.now_ms()).unwrap_or(0);
    Job {
        run: RunId::new(unix_ms, app.clock.id_bits()),
        epoch: 1,
        event: event.clone(),
        trigger,
        lane: None,
        place: None,
        queue: None,
        replay: false,
        holder_lost: false,
        progress: Progress::default(),
    }
}

async fn run(app: &Arc<App>, job: &mut Job) -> Result<(), Failure> {
    let trigger = job.trigger.clone();
    if let Some(condition) = &trigger.condition
        && !holds(app, job, condition).await?
    {
        return Ok(());
    }
    for action in &trigger.actions {
        match act(app, job, action, &action.name).await {
            Err(failure) if job.is_refused() || !action.continue_on_error => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}

async fn holds(app: &Arc<App>, job: &Job, condition: &Condition) -> Result<bool, Failure> {
    match verdict::wait(app, job, condition) {
        Some(wait) => Err(over_quota(wait)),
        None => verdict::of(app, job, condition).await,
    }
}

/// A writer waits: it is told, instead of being kept waiting for the next minute.
fn over_quota(wait: Duration) -> Failure {
    let message =
        format!("the tenant's quota of Wasm CPU time is used up; guests run again in {} s", wait.as_secs() + 1);
    Failure::new("QUOTA_WASM_CPU", message)
}

async fn act(app: &Arc<App>, job: &mut Job, action: &Action, path: &str) -> Result<(), Failure> {
    if let Some(condition) = &action.condition
        && !holds(app, job, condition).await?
    {
        let progress = job.progress_of(path, action);
        progress.status = ActionState::Skipped;
        progress.reason = Some("condition".into());
        return Ok(());
    }
    let failure = match attempt(app, job, action, path).await {
        Tried::NoPlace(Unavailable::Full) => Failure::new("BUSY", "too many calls to this destination are under way"),
        Tried::NoPlace(Unavailable::Open(wait)) => {
            let message = format!("this destination keeps failing; it is tried again in {} s", wait.as_secs() + 1);
            Failure::new("CIRCUIT_OPEN", message)
        }
        Tried::NoPlace(Unavailable::Quota(wait)) => over_quota(wait),
        Tried::Ended { attempt, outcome, effect } => {
            let chance = app.clock.chance();
            let decision = record::settle(job.progress_of(path, action), action, *attempt, outcome, chance);
            match decision {
                Decision::Delivered => {
                    job.take_effect(path, effect);
                    return Ok(());
                }
                Decision::Failed(failure) => {
                    job.take_effect(path, effect);
                    failure
                }
                Decision::Again(_) => {
                    let progress = job.progress_of(path, action);
                    progress.status = ActionState::Failed;
                    crate::dispatch::last_failure(progress)
                }
            }
        }
    };
    if job.is_refused() || action.fallback.is_empty() {
        return Err(failure);
    }
    for stand_in in &action.fallback {
        Box::pin(act(app, job, stand_in, &format!("{path}/fallback/{}", stand_in.name))).await?;
    }
    Ok(())
}
