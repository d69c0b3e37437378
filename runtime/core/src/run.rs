//! The states of a run and of its actions, as they are stored and shown.
//!
//! ```text
//!            claim (epoch+1)            last action ended well
//!  pending ─────────────────► running ─────────────────────────► delivered
//!     ▲                          │
//!     │ retry due, queued,       │ an action failed for good, no continueOnError
//!     │ lease expired            ▼
//!     └───────────────────── running        failed (the dead letter) ── replay ──► pending
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::DeliveryId;

/// The state of a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Nobody holds it; due at some instant.
    Pending,
    /// Somebody holds its lease.
    Running,
    /// Every action ended well, was skipped, or may fail (`continueOnError`).
    Delivered,
    /// A dead letter.
    Failed,
}

/// The state of one action of a run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionState {
    /// Not begun, or waiting for another try.
    #[default]
    Pending,
    /// Being tried.
    Running,
    /// Done.
    Delivered,
    /// Failed for good.
    Failed,
    /// Not wanted: see `reason`.
    Skipped,
}

/// What is known of a run's actions: stored after each, so that a crash resumes at the first unfinished one.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// One for each action that was begun or skipped, in order; a fallback's follow the action they replace.
    pub actions: Vec<ActionProgress>,
    /// How it ended before each replay, oldest first; the latest of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rounds: Vec<Round>,
}

/// A run's end that a replay took back.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Round {
    /// When it had ended.
    pub ended_at: Timestamp,
    /// Why it was a dead letter; it was delivered without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// When it was asked for again.
    pub replayed_at: Timestamp,
}

/// Ends that are remembered of a run that is replayed again and again.
const ROUNDS: usize = 20;

/// What is known of one action.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ActionProgress {
    /// The action's name; `NAME/fallback/NAME` for a fallback.
    pub name: String,
    /// The action type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it stands.
    pub status: ActionState,
    /// The id its receivers de-duplicate by.
    pub delivery_id: DeliveryId,
    /// Why it was skipped (`condition`, `quota`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it returned.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// What it did to the event that the run's later actions see.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
    /// The number of the first attempt since the last replay (1 without one): the retry policy counts from it.
    #[serde(default = "one")]
    pub first_of_round: u32,
    /// Every try, oldest first (the oldest are dropped past a bound; `attempt` keeps counting).
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// What an action did to the event that the later actions of its run see.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// The record is this from here on (`record.set`, a guard's change, a transform).
    Record(Value),
    /// Both rows are these from here on: a transform let out another event.
    #[serde(rename_all = "camelCase")]
    Rows {
        /// The row as it is now, or the payload.
        record: Value,
        /// The row as it was.
        previous_record: Value,
    },
    /// A transform let nothing out: the run's later actions are skipped.
    Drop,
    /// The write is refused, whatever `continueOnError` and `fallback` say.
    Refuse,
}

fn one() -> u32 {
    1
}

/// One try of one action.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// A stable code of docs/errors.md, unless it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// For people, unless it was delivered. Never a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was sent: bounded and redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Value>,
    /// What came back: bounded and redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Value>,
}

/// How a try ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptOutcome {
    /// The effect took place.
    Delivered,
    /// It failed and is tried again.
    Retry,
    /// It failed for good.
    Failed,
    /// The node that tried it was lost; whether the effect took place is unknown.
    Lost,
}

impl Progress {
    /// The same actions, to be done again after this end: what a replay begins with. Attempts and delivery ids are kept; of a
    /// run that was delivered all actions are done again, of a dead letter only from the first one that failed.
    pub fn reset(&mut self, ended: Round) {
        let everything = ended.error_code.is_none();
        if self.rounds.len() == ROUNDS {
            self.rounds.remove(0);
        }
        self.rounds.push(ended);
        for action in &mut self.actions {
            let ended_well = matches!(action.status, ActionState::Delivered | ActionState::Skipped);
            if everything || !ended_well {
                action.status = ActionState::Pending;
                action.reason = None;
                action.effect = None;
                action.first_of_round = action.last_attempt() + 1;
            }
        }
    }
}

impl Progress {
    /// Forgets what was sent, what came back and what was made of it. Outcomes and codes stay. With `skip` what has not ended is
    /// skipped.
    pub fn erase(&mut self, skip: bool) {
        for action in &mut self.actions {
            action.output = Value::Null;
            action.effect = None;
            for attempt in &mut action.attempts {
                (attempt.error, attempt.request, attempt.response) = (None, None, None);
            }
            if skip && matches!(action.status, ActionState::Pending | ActionState::Running) {
                (action.status, action.reason) = (ActionState::Skipped, Some("erased".to_owned()));
            }
        }
    }
}

impl ActionProgress {
    /// The number of the last attempt; 0 where there was none.
    #[must_use]
    pub fn last_attempt(&self) -> u32 {
        self.attempts.last().map_or(0, |a| a.attempt)
    }
}
