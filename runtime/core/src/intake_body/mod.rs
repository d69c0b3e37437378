//! The bodies that events come in as, normalised to one [`Event`](crate::event::Event).
//!
//! | file | body |
//! | --- | --- |
//! | `plain` | `{"payload": {"event_type", ...}}` and `{"type", "source", "payload"}` |
//! | `row` | `{"operation", "table", "record", ...}` and Supabase's `{"type": "INSERT", "table", ...}` |
//! | `hasura` | `{"id", "table": {"schema", "name"}, "event": {"op", "data": {"old", "new"}}, ...}` |
//! | `cloudevent` | CloudEvents, structured and binary |
//! | `execute` | `{"event", "context"}` of the execute call |
//!
//! Every body is read to its end: all mistakes in it come back at once, fields that nobody knows among them.

mod cloudevent;
mod draft;
mod execute;
mod hasura;
mod json;
mod plain;
mod row;

pub use cloudevent::{from_binary_cloudevent, from_cloudevent};
pub use draft::Acceptance;
pub use execute::from_execute;
pub use json::{from_json, read_json};

use crate::event::Event;

/// An event, and what its sender calls the delivery of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Incoming {
    /// The event.
    pub event: Event,
    /// Names the delivery, where the body does: what comes under the same name again is the same event. Holds a control
    /// character, so that no `Idempotency-Key` is equal to it.
    pub key: Option<String>,
}

impl From<Event> for Incoming {
    fn from(event: Event) -> Self {
        Self { event, key: None }
    }
}

#[cfg(test)]
mod tests;
