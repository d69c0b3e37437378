//! What is told of an administrator's change: carried by the request's task to the transaction that makes the change, so that
//! either both are kept or neither.
//!
//! The first transaction that other nodes are to learn of takes it along ([`Witness::current`]). No call of the store has to be handed
//! it, and none can forget to hand it on. What no such transaction took is for whoever made the witness to keep.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use triggerd_core::id::TenantId;
use uuid::Uuid;

tokio::task_local! {
    static CURRENT: Witness;
}

/// What came of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It was refused: nothing was changed.
    Refused,
    /// It failed: something of it may have been done.
    Failed,
    /// The caller went away before it was answered.
    Unknown,
}

impl AuditOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Done, Self::Refused, Self::Failed, Self::Unknown];

    /// As the API and the store write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// As they read it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// One entry of the audit log. No secret is in it: what is told of before and after is versions, digests, and settings that the API
/// shows.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditEntry {
    /// UUIDv7.
    pub id: Uuid,
    /// The tenant that was acted in.
    pub tenant: TenantId,
    /// When it was asked for.
    pub at: Timestamp,
    /// The key's id; `admin` for the operator's.
    pub key: String,
    /// The caller's address.
    pub peer: String,
    /// The method.
    pub method: String,
    /// The route, with its parameters in braces.
    pub route: String,
    /// The path, with what they named.
    pub path: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// The answer's status, where it tells more than the outcome.
    pub status: Option<u16>,
    /// What was there before.
    pub before: Option<Value>,
    /// What is there since.
    pub after: Option<Value>,
}

/// Which entries a list shows; `None` is any.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct AuditFilter {
    /// Asked for at or after.
    pub start: Option<Timestamp>,
    /// Asked for before.
    pub end: Option<Timestamp>,
    /// With the key of this id.
    pub key: Option<String>,
    /// With this method.
    pub method: Option<String>,
    /// Of this path, or of one below it.
    pub path: Option<String>,
    /// What came of it.
    pub outcome: Option<AuditOutcome>,
}

/// An entry on its way. Clones are of the same one.
#[derive(Clone, Debug)]
pub struct Witness(Arc<Mutex<Option<AuditEntry>>>);

impl Witness {
    /// Of a request that is under way.
    #[must_use]
    pub fn new(entry: AuditEntry) -> Self {
        Self(Arc::new(Mutex::new(Some(entry))))
    }

    /// That of the request that this task is about.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs what a request asks for.
    pub async fn of<F: Future>(self, request: F) -> F::Output {
        CURRENT.scope(self, request).await
    }

    /// The entry, unless it has been kept.
    #[must_use]
    pub fn entry(&self) -> Option<AuditEntry> {
        self.0.lock().clone()
    }

    /// It is on stable storage.
    pub fn kept(&self) {
        self.0.lock().take();
    }

    /// Adds to the current request's entry, where it has one that is not kept yet.
    pub fn note(add: impl FnOnce(&mut AuditEntry)) {
        let _ = CURRENT.try_with(|witness| witness.0.lock().as_mut().map(add));
    }
}
