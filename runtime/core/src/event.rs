//! The event: what happened, in one shape, whatever it came in as.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::id::{EventId, TenantId};

/// The environment of an event that names none.
pub const DEFAULT_ENV: &str = "default";

/// The longest causation chain: an event with this many ancestors may not emit another one.
pub const MAX_CAUSATION: usize = 16;

/// Something that happened. Immutable once accepted; stored as JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// UUIDv7 given at acceptance.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// The event type: as given, or `TABLE.created/updated/deleted` for a row change.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Who sent it, in the sender's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Set where the event is a change of a table's row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The row as it is now, or the payload of an event that is no row change. `Null` where there is none.
    pub record: Value,
    /// The row as it was. `Null` where there is none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub previous_record: Value,
    /// The environment; [`DEFAULT_ENV`] where none was named.
    pub env: String,
    /// Who made the change, as the source said; `Null` where it did not.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub user: Value,
    /// What else the source said.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// A CloudEvent's attributes, kept as they came (`id`, `source`, `subject`, extensions).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub attributes: Map<String, Value>,
    /// When it happened, by the source; the time of acceptance where the source did not say.
    pub timestamp: Timestamp,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// W3C `traceparent` taken up from the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// W3C `tracestate` that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<String>,
    /// The events that led to this one through `event.emit`, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causation: Vec<EventId>,
    /// When what it said was erased: only its type, source and times, and what kind of change it was, are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at: Option<Timestamp>,
}

impl Event {
    /// An event that is no row change, of the default environment, that happened when it was accepted. What else it has is
    /// for the caller to say.
    #[must_use]
    pub fn plain(id: EventId, tenant: TenantId, event_type: impl Into<String>, payload: Value, at: Timestamp) -> Self {
        Self {
            id,
            tenant,
            event_type: event_type.into(),
            source: None,
            change: None,
            record: payload,
            previous_record: Value::Null,
            env: DEFAULT_ENV.to_owned(),
            user: Value::Null,
            metadata: Map::new(),
            attributes: Map::new(),
            timestamp: at,
            accepted_at: at,
            traceparent: None,
            tracestate: None,
            causation: Vec::new(),
            erased_at: None,
        }
    }
}

/// What makes an event a row change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// What was done to the row.
    pub operation: Operation,
    /// Whether the write is still to come (`before*`) or done (`after*`).
    #[serde(default)]
    pub moment: Moment,
    /// The database's tag, where the source named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The schema, where the source named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The table.
    pub table: String,
}

/// What was done to a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A row was added.
    Insert,
    /// A row was changed.
    Update,
    /// A row was removed.
    Delete,
    /// All rows were removed at once, by TRUNCATE: none of them is told. No write in the sense of `afterWrite`.
    Truncate,
}

impl Operation {
    /// `insert`, `update`, `delete`, `truncate`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    /// The last part of a row change's event type: `created`, `updated`, `deleted`, `truncated`.
    #[must_use]
    pub fn participle(self) -> &'static str {
        match self {
            Self::Insert => "created",
            Self::Update => "updated",
            Self::Delete => "deleted",
            Self::Truncate => "truncated",
        }
    }
}

/// Before or after the write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Moment {
    /// The write can still be changed or refused.
    Before,
    /// The write has been done.
    #[default]
    After,
}

impl Change {
    /// The event type that a row change has besides: `TABLE.created`, `TABLE.updated`, `TABLE.deleted`,
    /// `TABLE.truncated`.
    #[must_use]
    pub fn event_type(&self) -> String {
        format!("{}.{}", self.table, self.operation.participle())
    }

    /// The change event's name: `beforeInsert` ... `afterDelete`. That of TRUNCATE is no word of the language: triggers
    /// react to its type.
    #[must_use]
    pub fn event_name(&self) -> &'static str {
        match (self.moment, self.operation) {
            (Moment::Before, Operation::Insert) => "beforeInsert",
            (Moment::Before, Operation::Update) => "beforeUpdate",
            (Moment::Before, Operation::Delete) => "beforeDelete",
            (Moment::After, Operation::Insert) => "afterInsert",
            (Moment::After, Operation::Update) => "afterUpdate",
            (Moment::After, Operation::Delete) => "afterDelete",
            (_, Operation::Truncate) => "afterTruncate",
        }
    }
}

impl Event {
    /// What `event` means in conditions and templates: the change event's name, else the type.
    #[must_use]
    pub fn event_name(&self) -> &str {
        self.change.as_ref().map_or(&self.event_type, |c| c.event_name())
    }

    /// The table, for a row change.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.change.as_ref().map(|c| c.table.as_str())
    }

    /// The database, for a row change whose source named it.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.change.as_ref().and_then(|c| c.database.as_deref())
    }

    /// What is left of it when what it says about anybody is erased.
    #[must_use]
    pub fn erased(&self, at: Timestamp) -> Self {
        Self {
            record: Value::Null,
            previous_record: Value::Null,
            user: Value::Null,
            metadata: Map::new(),
            attributes: Map::new(),
            traceparent: None,
            tracestate: None,
            erased_at: Some(at),
            ..self.clone()
        }
    }

    /// What `payload` means: the record of an event that is no row change, else the change as an object.
    #[must_use]
    pub fn payload(&self) -> Value {
        let Some(change) = &self.change else {
            return self.record.clone();
        };
        let mut out = Map::new();
        out.insert("operation".into(), change.operation.as_str().into());
        for (key, value) in [("database", &change.database), ("schema", &change.schema)] {
            if let Some(value) = value {
                out.insert(key.into(), value.as_str().into());
            }
        }
        out.insert("table".into(), change.table.as_str().into());
        out.insert("record".into(), self.record.clone());
        out.insert("previousRecord".into(), self.previous_record.clone());
        Value::Object(out)
    }
}
