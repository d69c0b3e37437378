//! The event that a transform answers with.

use serde_json::{Map, Value};

use crate::{ActionError, Context};

/// An event to go on with. [`Context::event`] gives the one at hand, to be changed and handed back.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// The event type. A row change's is made of its table and operation; there this field is not looked at.
    pub event_type: String,
    /// Who sent it, in the sender's own words.
    pub source: Option<String>,
    /// Set where the event is a change of a table's row.
    pub change: Option<Change>,
    /// The row as it is now, or the payload of an event that is no row change.
    pub record: Value,
    /// The row as it was.
    pub previous_record: Option<Value>,
    /// Who made the change, as the source said.
    pub user: Option<Value>,
    /// The environment.
    pub env: String,
    /// What else the source said.
    pub metadata: Map<String, Value>,
}

/// What makes an event a row change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// `insert`, `update`, `delete`.
    pub operation: String,
    /// The database's tag, where the source named it.
    pub database: Option<String>,
    /// The table.
    pub table: String,
}

impl Event {
    /// The event at hand.
    pub(crate) fn of<I>(cx: &Context<I>) -> Result<Self, ActionError> {
        let change = match (&cx.operation, &cx.table) {
            (Some(operation), Some(table)) => {
                Some(Change { operation: operation.clone(), database: cx.database.clone(), table: table.clone() })
            }
            _ => None,
        };
        Ok(Self {
            event_type: cx.event_type.clone(),
            source: cx.source.clone(),
            change,
            record: cx.record()?,
            previous_record: cx.previous_record()?,
            user: cx.user()?,
            env: cx.env.clone(),
            metadata: cx.metadata()?,
        })
    }

    /// The body that `POST /api/v1/events` takes for it.
    #[must_use]
    pub fn into_json(self) -> Value {
        let mut body = Map::new();
        match self.change {
            Some(change) => {
                body.insert("operation".into(), change.operation.into());
                if let Some(database) = change.database {
                    body.insert("database".into(), database.into());
                }
                body.insert("table".into(), change.table.into());
                body.insert("record".into(), self.record);
                if let Some(previous) = self.previous_record {
                    body.insert("previousRecord".into(), previous);
                }
            }
            None => {
                body.insert("type".into(), self.event_type.into());
                body.insert("payload".into(), self.record);
            }
        }
        if let Some(source) = self.source {
            body.insert("source".into(), source.into());
        }
        if let Some(user) = self.user {
            body.insert("user".into(), user);
        }
        // The environment of an event that names none: naming it would say nothing.
        if self.env != "default" {
            body.insert("env".into(), self.env.into());
        }
        if !self.metadata.is_empty() {
            body.insert("metadata".into(), self.metadata.into());
        }
        body.into()
    }
}
