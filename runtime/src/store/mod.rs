//! The store's boundary: what is kept, and the calls that keep it. SQL lives below: in `sqlite/` and `postgres/` what each
//! does in its own way, in `tables/` what both do alike.
//!
//! Writes of the hot path ([`Store::append_batch`], [`Store::record_many`]) are committed in groups; a call returns only after
//! the commit that holds its write. Reads use connections of their own. Every query is by tenant.

mod boundary;
mod fault;
pub mod lock;
pub mod open;
mod position;
mod postgres;
mod rota;
mod rows;
mod sqlite;
mod stored;
mod witness;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};
use triggerd_core::run::{Progress, RunState};

pub use boundary::Store;
pub use open::{Durability, Options};
pub use sqlite::inspect;
pub use stored::{
    PutMode, PutOutcome, Resealed, RowDigest, StateValue, StoredComponent, StoredKey, StoredResource, StoredTenant,
    StoredTrigger, SyncConflict, SyncOverflow, SyncRow, SyncSettled, TopicMessage, TriggerChange,
};

pub use witness::{AuditEntry, AuditFilter, AuditOutcome, Witness};

/// A place in the inbox: an event's time and number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Position {
    /// When the event was accepted, in milliseconds since 1970.
    pub accepted_at: i64,
    /// Its number, which tells events of one millisecond apart.
    pub seq: i64,
}

/// The events of row changes from a source that a trigger ran for, oldest first.
pub struct TriggerEvents {
    /// Whose.
    pub tenant: TenantId,
    /// The trigger's tag.
    pub trigger: String,
    /// The source.
    pub source: String,
    /// Those behind this place; goes on with what is handed out.
    pub after: Position,
}

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error, Clone)]
pub enum Error {
    /// Disk full, I/O error, locked: nothing was kept; the caller answers 503.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is there does not allow it (a name taken, a resource in use).
    #[error("{0}")]
    Conflict(String),
    /// What was read makes no sense: a damaged row, named.
    #[error("the store holds a damaged {0}")]
    Damaged(String),
}

/// What became of an [`Append`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AppendOutcome {
    /// The event and its runs are on stable storage.
    Kept,
    /// Its idempotency key was there already, with this answer: nothing was kept.
    Replayed(Idempotency),
    /// It follows one that was replayed: nothing was kept.
    Left,
}

/// An event with its planned runs, to be kept in one transaction.
#[derive(Debug)]
pub struct Append {
    /// The event.
    pub event: Arc<Event>,
    /// Its runs; none for an unmatched event.
    pub runs: Vec<NewRun>,
    /// Set where the request carried an `Idempotency-Key`: kept with the event.
    pub idempotency: Option<Idempotency>,
    /// Kept if the one before it in its batch is: the key of a whole batch stands with its first event. It has none of its own.
    pub follows: bool,
}

/// A run to be kept.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Its id.
    pub id: RunId,
    /// The trigger's tag.
    pub trigger: Arc<str>,
    /// The trigger's version.
    pub version: u32,
    /// Runs of one trigger with equal keys execute one after another, in the order they were kept.
    pub ordering_key: Option<String>,
    /// The queue that it waits in; `None` for runs that start at once.
    pub queue: Option<String>,
    /// `Some(instant)`: held by this process under epoch 1 until then. `None`: pending, due at once.
    pub lease_until: Option<Timestamp>,
}

/// An `Idempotency-Key`'s first answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Idempotency {
    /// The key, as sent (unquoted).
    pub key: String,
    /// SHA-256 over method, path and body.
    pub fingerprint: [u8; 32],
    /// The answer's status.
    pub status: u16,
    /// The answer's body.
    pub body: String,
    /// When it is forgotten.
    pub expires_at: Timestamp,
}

/// What a run's holder reports. Refused (answer `false`) where `epoch` is not the run's any more.
#[derive(Clone, Debug)]
pub struct RunUpdate {
    /// Which run.
    pub id: RunId,
    /// The fencing token it was claimed with.
    pub epoch: i64,
    /// Everything known of its actions.
    pub progress: Arc<Progress>,
    /// What follows.
    pub next: RunNext,
}

/// What follows for a run.
#[derive(Clone, PartialEq, Debug)]
pub enum RunNext {
    /// Its holder goes on; the lease lasts until then.
    Hold(Timestamp),
    /// Given back: to be claimed when due, through `queue` where one is named.
    Release {
        /// When.
        due: Timestamp,
        /// Through which queue.
        queue: Option<String>,
    },
    /// Ended well.
    Delivered,
    /// A dead letter.
    Failed {
        /// The stable code of the failure that ended it.
        code: String,
        /// In words.
        message: String,
    },
}

/// A run that this process now holds.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The run; its `epoch` is the fencing token.
    pub run: Run,
    /// The event.
    pub event: Arc<Event>,
    /// The lease before this one ran out unreleased: its holder was lost in the middle of an attempt.
    pub holder_lost: bool,
}

/// A stored run.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// Whose.
    pub tenant: TenantId,
    /// Of which event.
    pub event_id: EventId,
    /// The trigger's tag.
    pub trigger: Arc<str>,
    /// The trigger's version.
    pub version: u32,
    /// Where it stands.
    pub state: RunState,
    /// Counts claims: the fencing token.
    pub epoch: i64,
    /// When it may be claimed, where it is pending.
    pub due: Option<Timestamp>,
    /// The queue it waits in.
    pub queue: Option<String>,
    /// Its ordering key.
    pub ordering_key: Option<String>,
    /// It was asked for again after it had ended.
    pub replay: bool,
    /// What is known of its actions.
    pub progress: Progress,
    /// Why it is a dead letter: code and message.
    pub error: Option<(String, String)>,
    /// When it was planned.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A stored event with what became of it.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredEvent {
    /// The event.
    pub event: Arc<Event>,
    /// What became of it.
    pub status: EventStatus,
    /// Attempts of all its actions.
    pub delivery_attempts: u64,
    /// When the last of them ended.
    pub last_delivery: Option<Timestamp>,
}

impl StoredEvent {
    /// What became of it by these runs of it, which were read after it: what is shown together is to fit together.
    #[must_use]
    pub fn with(self, runs: &[Run]) -> Self {
        let any = |states: &[RunState]| runs.iter().any(|run| states.contains(&run.state));
        let status = match self.status {
            EventStatus::Unmatched if runs.is_empty() => EventStatus::Unmatched,
            _ if any(&[RunState::Failed]) => EventStatus::Failed,
            _ if any(&[RunState::Pending, RunState::Running]) => EventStatus::Pending,
            _ => EventStatus::Delivered,
        };
        let tallies: Vec<_> = runs.iter().map(|run| rows::tally(&run.progress)).collect();
        let last = tallies.iter().filter_map(|(_, last)| *last).max();
        Self {
            status,
            delivery_attempts: tallies.iter().map(|(attempts, _)| attempts.unsigned_abs()).sum(),
            last_delivery: last.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            ..self
        }
    }
}

/// What became of an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    /// A run has not ended.
    Pending,
    /// Every run ended well.
    Delivered,
    /// A run is a dead letter.
    Failed,
    /// No trigger matched.
    Unmatched,
}

/// Which events a list shows; `None` is any.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct EventFilter {
    /// Exact type.
    pub event_type: Option<String>,
    /// Status.
    pub status: Option<EventStatus>,
    /// Exact source.
    pub source: Option<String>,
    /// Exact table.
    pub table: Option<String>,
    /// Accepted at or after.
    pub start: Option<Timestamp>,
    /// Accepted before.
    pub end: Option<Timestamp>,
    /// Dead letters only: the trigger's tag.
    pub trigger: Option<String>,
}

/// What came of a look for events that are to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retired {
    /// How many went.
    pub gone: u64,
    /// Up to where it was looked.
    pub seen: Option<Position>,
    /// Whether that was all there is.
    pub is_all: bool,
}

/// What came of an erasure.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Erased {
    /// Events of which only the ids, times and outcomes are left.
    pub events: u64,
    /// Their runs.
    pub runs: u64,
    /// Those of the runs that had not ended, and are not done.
    pub ended: u64,
}

/// Which part of a list: newest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PageRequest {
    /// How many, 1 to 1000.
    pub limit: u32,
    /// Where the page before ended: what [`Page::cursor`] said.
    pub cursor: Option<String>,
}

/// A part of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<T> {
    /// The items; fewer than asked for where a filter had to look at very many.
    pub items: Vec<T>,
    /// How many there are on all pages; in a store too large to count in a moment, how many there are at least.
    pub total: u64,
    /// Whether that is all of them.
    pub total_is_exact: bool,
    /// Opaque; present where there is more.
    pub cursor: Option<String>,
}

/// What a [`Change`] is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChangeKind {
    /// A trigger definition, by tag.
    Trigger,
    /// A component, by name.
    Component,
    /// A resource, by `kind/tag`.
    Resource,
    /// A tenant.
    Tenant,
    /// An API key, by id.
    Key,
    /// What sources remember, by `kind/key`.
    Source,
    /// What a node found of a destination: nothing that is kept.
    Destination,
    /// What a node asks the one that captures, or is answered: nothing that is kept.
    Capture,
    /// Somebody listens to a tenant's events at the node that is named: nothing that is kept.
    Listener,
}

/// Up to where the parcels of each other node have been fetched.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct FeedCursor(pub(in crate::store) std::collections::HashMap<String, i64>);

/// Something that another node has changed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Change {
    /// What.
    pub kind: ChangeKind,
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub key: String,
}

/// What other nodes have changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Changes {
    /// These, in order; none is the usual answer.
    Some(Vec<Change>),
    /// More than is remembered: everything is to be read anew.
    All,
}
