//! A run that this process holds, on its way through its actions.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value};
use triggerd_core::definition::{Action, Trigger};
use triggerd_core::event::Event;
use triggerd_core::id::RunId;
use triggerd_core::outcome::Failure;
use triggerd_core::run::{ActionProgress, ActionState, Attempt, AttemptOutcome, Effect, Progress};

use super::lanes::Lane;
use super::room::Place;
use crate::store::Claimed;

/// Attempts that are kept of one action; older ones are dropped, their numbers go on.
const MAX_ATTEMPTS_KEPT: usize = 25;

/// A run that this process holds.
#[derive(Debug)]
pub struct Job {
    /// Its id.
    pub run: RunId,
    /// The fencing token.
    pub epoch: i64,
    /// The event.
    pub event: Arc<Event>,
    /// The definition, in the version that the run began with.
    pub trigger: Arc<Trigger>,
    /// Its lane, where it has an ordering key.
    pub lane: Option<Lane>,
    /// Its place in memory, where it has one.
    pub place: Option<Place>,
    /// The queue that it has just come through.
    pub queue: Option<String>,
    /// It was asked for again after it had ended.
    pub replay: bool,
    /// Whoever held it before was lost in the middle.
    pub holder_lost: bool,
    /// What is known of its actions.
    pub progress: Progress,
}

impl Job {
    /// This run as one that is not held: it waits in the store for its lane, its queue or for room.
    #[must_use]
    pub fn waiting(self) -> Self {
        Self { epoch: 0, place: None, ..self }
    }

    /// Whether this process holds the run.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.epoch > 0
    }

    /// The job of a claimed run.
    #[must_use]
    pub fn of_claimed(claimed: Claimed, trigger: Arc<Trigger>, place: Place) -> Self {
        let Claimed { run, event, holder_lost } = claimed;
        let lane = run.ordering_key.map(|key| Lane { tenant: run.tenant.clone(), trigger: run.trigger.clone(), key });
        let mut job = Self {
            run: run.id,
            epoch: run.epoch,
            event,
            trigger,
            lane,
            place: Some(place.of(&run.tenant)),
            queue: run.queue,
            replay: run.replay,
            holder_lost,
            progress: run.progress,
        };
        let effects: Vec<Effect> = job.progress.actions.iter().filter_map(|known| known.effect.clone()).collect();
        effects.iter().for_each(|effect| job.see(effect));
        job
    }

    /// Enters what an action did to the event into its progress, and lets later actions see it.
    pub fn take_effect(&mut self, path: &str, effect: Option<Effect>) {
        if let Some(effect) = &effect {
            self.see(effect);
        }
        if let Some(known) = self.progress.actions.iter_mut().find(|known| known.name == path) {
            known.effect = effect;
        }
    }

    /// Whether a transform let nothing out.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.progress.actions.iter().any(|known| known.effect == Some(Effect::Drop))
    }

    /// Whether an action refused the write.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.progress.actions.iter().any(|known| known.effect == Some(Effect::Refuse))
    }

    /// Lets later actions see what an earlier one did to the event.
    fn see(&mut self, effect: &Effect) {
        match effect {
            Effect::Record(record) => Arc::make_mut(&mut self.event).record = record.clone(),
            Effect::Rows { record, previous_record } => {
                let event = Arc::make_mut(&mut self.event);
                event.record = record.clone();
                event.previous_record = previous_record.clone();
            }
            Effect::Drop | Effect::Refuse => {}
        }
    }

    /// The progress of the action at `path`, begun where it was not yet.
    pub fn progress_of(&mut self, path: &str, action: &Action) -> &mut ActionProgress {
        let found = self.progress.actions.iter().position(|known| known.name == path);
        let index = found.unwrap_or_else(|| {
            self.progress.actions.push(ActionProgress {
                name: path.to_owned(),
                kind: action.kind.to_owned(),
                status: ActionState::Pending,
                delivery_id: self.run.delivery(path),
                reason: None,
                output: Value::Null,
                effect: None,
                first_of_round: 1,
                attempts: Vec::new(),
            });
            self.progress.actions.len() - 1
        });
        &mut self.progress.actions[index]
    }

    /// What later actions read as `actions.NAME.output`.
    #[must_use]
    pub fn outputs(&self) -> Map<String, Value> {
        let delivered = self.progress.actions.iter().filter(|known| known.status == ActionState::Delivered);
        delivered.map(|known| (known.name.clone(), known.output.clone())).collect()
    }

    /// Notes that the attempt under way was lost with its holder: on the first action that has not ended.
    pub fn note_lost_holder(&mut self, now: Timestamp) {
        let trigger = self.trigger.clone();
        let ended = |known: &ActionProgress| !matches!(known.status, ActionState::Pending | ActionState::Running);
        let next = trigger
            .actions
            .iter()
            .find(|action| !self.progress.actions.iter().any(|known| known.name == action.name && ended(known)));
        let Some(action) = next else { return };
        let progress = self.progress_of(&action.name, action);
        push_attempt(
            progress,
            Attempt {
                attempt: progress.last_attempt() + 1,
                started_at: now,
                duration_ms: 0,
                outcome: AttemptOutcome::Lost,
                error_code: Some("NODE_LOST".into()),
                error: Some("the server stopped while this was under way; whether it took effect is unknown".into()),
                request: None,
                response: None,
            },
        );
    }
}

/// Adds an attempt, dropping the oldest past the bound.
pub fn push_attempt(progress: &mut ActionProgress, attempt: Attempt) {
    if progress.attempts.len() >= MAX_ATTEMPTS_KEPT {
        progress.attempts.remove(0);
    }
    progress.attempts.push(attempt);
}

/// The failure of an action's last attempt, for resuming after it was recorded.
#[must_use]
pub fn last_failure(progress: &ActionProgress) -> Failure {
    let last = progress.attempts.last();
    let code = last.and_then(|a| a.error_code.clone()).unwrap_or_else(|| "FAILED".into());
    let message = last.and_then(|a| a.error.clone()).unwrap_or_default();
    Failure::new(code, message)
}
