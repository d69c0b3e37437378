//! What is kept beside events and runs: definitions and components, tenants and their resources, topics, and what syncs remember.

use jiff::Timestamp;
use serde_json::Value;
use triggerd_core::id::TenantId;
use triggerd_core::sync::Base;
use uuid::Uuid;

use super::witness::Witness;

/// Names a row of a table.
pub type RowDigest = [u8; 16];

/// How a definition that is stored meets a tag that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutMode {
    /// It is left as it is.
    Create,
    /// It gets a new version.
    Replace,
}

/// A change of one trigger's definition, to be kept.
#[derive(Clone, Debug)]
pub struct TriggerChange {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub tag: String,
    /// What it is to say, and how a tag that exists is met. `None`: it is to be deleted.
    pub definition: Option<(Value, PutMode)>,
    /// When.
    pub now: Timestamp,
    /// What is told of it in the audit log, in the same transaction.
    pub witness: Option<Witness>,
}

/// What became of a [`TriggerChange`].
#[derive(Clone, PartialEq, Debug)]
pub enum PutOutcome {
    /// The tag is new, or was deleted before.
    Created(StoredTrigger),
    /// A new version is in force.
    Replaced(StoredTrigger),
    /// The version in force says the same: no new one was made.
    Unchanged(StoredTrigger),
    /// [`PutMode::Create`] and the tag exists: nothing was done.
    Exists,
    /// It was deleted.
    Deleted,
    /// It was to be deleted, and is not there.
    Absent,
}

/// A stored definition.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredTrigger {
    /// Whose.
    pub tenant: TenantId,
    /// Its tag.
    pub tag: String,
    /// From 1, counted per tag; never reused, not even after a deletion.
    pub version: u32,
    /// The JSON as written.
    pub definition: Value,
    /// When this version was stored.
    pub stored_at: Timestamp,
    /// When the first version was stored.
    pub created_at: Timestamp,
}

/// A stored component version.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredComponent {
    /// Its name.
    pub name: String,
    /// From 1, counted per name.
    pub version: u32,
    /// `sha256:` + hex of the bytes as uploaded.
    pub digest: String,
    /// What else is told of it (worlds, imports, exports, size): the API's answer, as JSON.
    pub description: Value,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// What is remembered of a row that a sync keeps equal.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct SyncRow {
    /// What both sides held when they last agreed; `None` where they never did.
    pub base: Option<Base>,
    /// A write that was begun.
    pub intent: Option<Value>,
}

/// What a sync came to with a row.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct SyncSettled {
    /// What both sides hold now; `None` for a row that they were never agreed on.
    pub base: Option<Base>,
    /// Values that are lost.
    pub lost: Vec<SyncConflict>,
    /// Values that turned out not to be lost.
    pub dropped: Vec<Uuid>,
}

/// A sync that had more conflicts than are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyncOverflow {
    /// Whose.
    pub tenant: TenantId,
    /// Its tag.
    pub sync: String,
    /// Conflicts that went although nobody had resolved them.
    pub unresolved: u64,
}

/// A value that a sync did not carry over.
#[derive(Clone, PartialEq, Debug)]
pub struct SyncConflict {
    /// UUIDv7.
    pub id: Uuid,
    /// The row's key: a JSON array of texts.
    pub key: String,
    /// When it was decided.
    pub at: Timestamp,
    /// `conflict` or `stale`.
    pub reason: String,
    /// The side whose value stays: `source`, `target`, or `merged` of both.
    pub winner: String,
    /// The side whose value is lost.
    pub loser: String,
    /// That value, as its side had it; null where the row was deleted there.
    pub lost: Value,
    /// The value that stays, as its side has it.
    pub won: Value,
    /// `restored` once a person has put it back.
    pub resolved: Option<String>,
}

/// A stored resource.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredResource {
    /// Its kind, plural as in the API: `caches`, `brokers`, `databases`, `notifications`, `secrets`.
    pub kind: String,
    /// Its tag.
    pub tag: String,
    /// Its settings; for secrets the sealed value as `{"sealed": base64}`.
    pub settings: Value,
    /// Counted up by each change.
    pub version: u32,
    /// When it was first stored.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A resource whose settings are sealed anew: the same settings, under another key.
#[derive(Clone, PartialEq, Debug)]
pub struct Resealed {
    /// Whose.
    pub tenant: TenantId,
    /// Its kind.
    pub kind: String,
    /// Its tag.
    pub tag: String,
    /// The version that was sealed anew; another one is left alone.
    pub version: u32,
    /// Its settings.
    pub settings: Value,
}

/// A tenant.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredTenant {
    /// Its id.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// Events per second.
    pub rate_limit: u32,
    /// Further limits, as JSON (`{"maxTriggers": ...}`).
    pub quotas: Value,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An API key: never the secret itself.
#[derive(Clone, PartialEq, Debug)]
pub struct StoredKey {
    /// The id that stands in the key.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// For people.
    pub name: String,
    /// SHA-256 of the whole key.
    pub digest: [u8; 32],
    /// `events:write` ...
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Requests per second with it; `None` is as many as its tenant has.
    pub rate_limit: Option<u32>,
    /// The id of the key that was made in its place.
    pub replaced_by: Option<String>,
}

/// A message of an embedded topic.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicMessage {
    /// From 0, counted per topic, without gaps.
    pub offset: u64,
    /// The key.
    pub key: Option<String>,
    /// String headers.
    pub headers: Value,
    /// The message.
    pub message: Value,
    /// The delivery that published it; a second publish of the same delivery is answered with the first offset.
    pub delivery_id: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// A value of a component's durable state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateValue {
    /// The bytes.
    pub value: Vec<u8>,
    /// Counted up by each change of this key; what compare-and-set compares.
    pub version: u64,
}
