//! What a database told of a change, and the event that it becomes.

use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use triggerd_core::event::{Change as RowChange, Event, Moment, Operation};
use triggerd_core::id::{EventId, TenantId};

/// A database whose changes are captured: whose it is, its tag, and the environment that its settings are of.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Whose.
    pub tenant: TenantId,
    /// The resource's tag.
    pub database: String,
    /// The environment; events that come from here are of it.
    pub env: String,
}

impl Place {
    /// What the events that come from here name as their source.
    #[must_use]
    pub fn source(&self) -> String {
        format!("databases/{}", self.database)
    }
}

/// A committed change, as the database told it.
#[derive(Clone, PartialEq, Debug)]
pub struct Captured {
    /// Names the change among all of its database, now and later: the event's id is made of it, so that a change that
    /// is read twice is kept once.
    pub key: String,
    /// What was done.
    pub change: Change,
    /// When, by the database's clock.
    pub at: Timestamp,
    /// The transaction, in the database's own words.
    pub transaction: Option<String>,
    /// Who made it: what the application said, else the database's own user.
    pub user: Value,
    /// What else the application said of it.
    pub context: Map<String, Value>,
    /// The sync that made the change, by its tag: what is not to be synced back.
    pub origin: Option<String>,
}

/// What was done.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// A row was inserted, updated or deleted, or all of a table's rows truncated.
    Row {
        /// Which of those.
        operation: Operation,
        /// The schema; `None` for the one that the connection's names are of.
        schema: Option<String>,
        /// The table.
        table: String,
        /// The row as it is now; null after a delete.
        record: Value,
        /// The row as it was, where the database tells it; null before an insert.
        previous: Value,
    },
    /// The application put an event of its own into its transaction.
    Event {
        /// Its type.
        event_type: String,
        /// Its payload.
        payload: Value,
    },
}

/// SHA-256 of several texts, so that it matters where one ends and the next begins.
pub(super) fn digest<'p>(parts: impl IntoIterator<Item = &'p str>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

impl Captured {
    /// The id of the event that this becomes: the same whenever it is read.
    #[must_use]
    pub fn event_id(&self, place: &Place) -> EventId {
        let mut random = [0; 10];
        random.copy_from_slice(&digest([&*place.tenant.0, &place.database, &place.env, &self.key])[..10]);
        EventId::new(u64::try_from(self.at.as_millisecond()).unwrap_or(0), random)
    }

    /// The event.
    #[must_use]
    pub fn into_event(self, place: &Place, accepted_at: Timestamp) -> Event {
        let id = self.event_id(place);
        let mut metadata = self.context;
        metadata.extend(self.transaction.map(|transaction| ("transaction".to_owned(), transaction.into())));
        metadata.extend(self.origin.map(|origin| ("origin".to_owned(), origin.into())));
        let (change, event_type, record, previous_record) = match self.change {
            Change::Row { operation, schema, table, record, previous } => {
                let database = Some(place.database.clone());
                let change = RowChange { operation, moment: Moment::After, database, schema, table };
                let event_type = change.event_type();
                (Some(change), event_type, record, previous)
            }
            Change::Event { event_type, payload } => (None, event_type, payload, Value::Null),
        };
        Event {
            id,
            tenant: place.tenant.clone(),
            event_type,
            source: Some(place.source()),
            change,
            record,
            previous_record,
            env: place.env.clone(),
            user: self.user,
            metadata,
            attributes: Map::new(),
            timestamp: self.at,
            accepted_at,
            traceparent: None,
            tracestate: None,
            causation: Vec::new(),
            erased_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_that_is_read_twice_is_one_event() {
        let place = |database: &str, env: &str| Place {
            tenant: TenantId::new("acme"),
            database: database.into(),
            env: env.into(),
        };
        let captured = Captured {
            key: "7".into(),
            change: Change::Event { event_type: "order.created".into(), payload: json!({}) },
            at: Timestamp::UNIX_EPOCH,
            transaction: None,
            user: Value::Null,
            context: Map::new(),
            origin: None,
        };
        let id = captured.event_id(&place("shop", "prd"));
        assert_eq!(captured.clone().into_event(&place("shop", "prd"), Timestamp::now()).id, id);
        for other in [place("shop", "dev"), place("shopp", "rd"), place("sho", "pprd")] {
            assert_ne!(captured.event_id(&other), id);
        }
    }
}
