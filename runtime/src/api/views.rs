//! Events and runs as the API shows them.

use serde::Serialize;
use serde_json::{Map, Value};
use triggerd_core::event::Event;
use triggerd_core::id::{DeliveryId, EventId, RunId};
use triggerd_core::run::{ActionProgress, ActionState, Attempt, AttemptOutcome, RunState};

use super::instant::Instant;
use crate::store::{EventStatus, Run, StoredEvent};
use crate::timeline::Moment;

/// An event in a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct EventView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub event_id: EventId,
    /// The tenant.
    pub customer_id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Who sent it.
    pub source: Option<String>,
    /// What it says; a row change as `{operation, table, record, previousRecord …}`.
    pub payload: Value,
    /// `pending`, `delivered`, `failed` or `unmatched`.
    #[schema(value_type = String)]
    pub status: EventStatus,
    /// When it was accepted.
    pub timestamp: Instant,
    /// Attempts of all its actions.
    pub delivery_attempts: u64,
    /// When the last of them ended.
    pub last_delivery_timestamp: Option<Instant>,
}

/// An event's further properties.
#[derive(Serialize, utoipa::ToSchema)]
pub struct EventDetails {
    /// When it happened, by its source.
    pub occurred_at: Instant,
    /// The environment.
    pub env: String,
    /// Who made the change.
    pub user: Value,
    /// What else the source said.
    pub metadata: Map<String, Value>,
    /// A CloudEvent's attributes.
    pub attributes: Map<String, Value>,
    /// The trace it belongs to.
    pub traceparent: Option<String>,
    /// What those before us in the trace have left in it.
    pub tracestate: Option<String>,
    /// The events that led to it, oldest first.
    #[schema(value_type = Vec<String>)]
    pub causation: Vec<EventId>,
    /// When what it said was erased.
    pub erased_at: Option<Instant>,
}

/// Something that happened to an event.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MomentView {
    /// When.
    pub timestamp: Instant,
    /// `accepted`; of a run `started`, `attempt`, `delivered`, `dead_lettered` or `replayed`.
    pub what: &'static str,
    /// The run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    pub run_id: Option<RunId>,
    /// The run's trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The action that was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The try's number, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// How it ended: `delivered`, `retry`, `failed` or `lost`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub outcome: Option<AttemptOutcome>,
    /// Why it failed, or why the run became a dead letter: a stable code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

/// A run.
#[derive(Serialize, utoipa::ToSchema)]
pub struct RunView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub run_id: RunId,
    /// The trigger's tag.
    pub trigger: String,
    /// The trigger's version that was in force when the event was accepted.
    pub version: u32,
    /// `pending`, `running`, `delivered` or `failed`.
    #[schema(value_type = String)]
    pub status: RunState,
    /// It was asked for again after it had ended.
    pub replay: bool,
    /// Of a dead letter: a stable code.
    pub error_code: Option<String>,
    /// Of a dead letter: why.
    pub error: Option<String>,
    /// When it was planned.
    pub created_at: Instant,
    /// When it ended.
    pub finished_at: Option<Instant>,
    /// When it is tried next.
    pub next_attempt_at: Option<Instant>,
    /// Its actions that were begun or skipped, in order.
    pub actions: Vec<ActionView>,
}

/// An action of a run.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ActionView {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `pending`, `running`, `delivered`, `failed` or `skipped`.
    #[schema(value_type = String)]
    pub status: ActionState,
    /// Why it was skipped: `condition` or `quota`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What receivers de-duplicate by: the same on every try.
    #[schema(value_type = String, format = "uuid")]
    pub delivery_id: DeliveryId,
    /// What it returned.
    pub output: Value,
    /// Every try, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// One try of an action.
#[derive(Serialize, utoipa::ToSchema)]
pub struct AttemptView {
    /// From 1.
    pub attempt: u32,
    /// When it began.
    pub started_at: Instant,
    /// How long it took.
    pub duration_ms: u64,
    /// `delivered`, `retry`, `failed` or `lost`.
    #[schema(value_type = String)]
    pub outcome: AttemptOutcome,
    /// A stable code.
    pub error_code: Option<String>,
    /// In words.
    pub error: Option<String>,
    /// What was sent, bounded, secrets struck out.
    pub request: Option<Value>,
    /// What came back, bounded, secrets struck out.
    pub response: Option<Value>,
}

impl From<&StoredEvent> for EventView {
    fn from(stored: &StoredEvent) -> Self {
        let event = &stored.event;
        Self {
            event_id: event.id,
            customer_id: event.tenant.to_string(),
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            payload: event.payload(),
            status: stored.status,
            timestamp: event.accepted_at.into(),
            delivery_attempts: stored.delivery_attempts,
            last_delivery_timestamp: stored.last_delivery.map(Instant),
        }
    }
}

impl From<Moment> for MomentView {
    fn from(moment: Moment) -> Self {
        let (run_id, trigger) = moment.run.unzip();
        let tried = moment.tried.as_ref();
        Self {
            timestamp: moment.at.into(),
            what: moment.what.as_str(),
            run_id,
            trigger: trigger.map(|tag| tag.to_string()),
            attempt: tried.map(|tried| tried.attempt),
            duration_ms: tried.map(|tried| tried.duration_ms),
            outcome: tried.map(|tried| tried.outcome),
            action: moment.tried.map(|tried| tried.action),
            error_code: moment.error_code,
        }
    }
}

impl From<&Event> for EventDetails {
    fn from(event: &Event) -> Self {
        Self {
            occurred_at: event.timestamp.into(),
            env: event.env.clone(),
            user: event.user.clone(),
            metadata: event.metadata.clone(),
            attributes: event.attributes.clone(),
            traceparent: event.traceparent.clone(),
            tracestate: event.tracestate.clone(),
            causation: event.causation.clone(),
            erased_at: event.erased_at.map(Instant),
        }
    }
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        let (error_code, error) = run.error.unzip();
        Self {
            run_id: run.id,
            trigger: run.trigger.to_string(),
            version: run.version,
            status: run.state,
            replay: run.replay,
            error_code,
            error,
            created_at: run.created_at.into(),
            finished_at: run.finished_at.map(Instant),
            next_attempt_at: run.due.filter(|_| run.state == RunState::Pending).map(Instant),
            actions: run.progress.actions.into_iter().map(ActionView::from).collect(),
        }
    }
}

impl From<ActionProgress> for ActionView {
    fn from(action: ActionProgress) -> Self {
        Self {
            name: action.name,
            kind: action.kind,
            status: action.status,
            reason: action.reason,
            delivery_id: action.delivery_id,
            output: action.output,
            attempts: action.attempts.into_iter().map(AttemptView::from).collect(),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            attempt: attempt.attempt,
            started_at: attempt.started_at.into(),
            duration_ms: attempt.duration_ms,
            outcome: attempt.outcome,
            error_code: attempt.error_code,
            error: attempt.error,
            request: attempt.request,
            response: attempt.response,
        }
    }
}
