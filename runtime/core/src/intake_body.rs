//! The bodies that events come in as, normalised to one [`Event`](crate::event::Event).

use serde_json::{Map, Value};

use crate::event::Event;
use crate::id::{EventId, TenantId};
use crate::mistake::Mistake;

/// What acceptance adds to a body.
#[derive(Clone, Debug)]
pub struct Acceptance {
    /// The id given to the event.
    pub id: EventId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When.
    pub now: jiff::Timestamp,
    /// The request's valid `traceparent`.
    pub traceparent: Option<String>,
}

/// One body of api.md's table, already parsed: plain, row change, Supabase.
pub fn from_json(body: Value, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let _ = (body, acceptance);
    unimplemented!()
}

/// A structured CloudEvent (`application/cloudevents+json`).
pub fn from_cloudevent(body: Value, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let _ = (body, acceptance);
    unimplemented!()
}

/// A binary CloudEvent: its attributes (`ce-` removed, values percent-decoded) and its data.
pub fn from_binary_cloudevent(
    attributes: Map<String, Value>,
    data: Value,
    acceptance: Acceptance,
) -> Result<Event, Vec<Mistake>> {
    let _ = (attributes, data, acceptance);
    unimplemented!()
}
