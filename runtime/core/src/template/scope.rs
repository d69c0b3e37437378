//! What placeholders are looked up in.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::event::Event;
use crate::id::DeliveryId;

/// What placeholders are looked up in.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    /// `record`, `type`, `user` ...
    pub event: &'a Event,
    /// `trigger.tag`
    pub trigger_tag: &'a str,
    /// `delivery.id`; also what the `uuid` helper's values are derived from, so that a retry renders the same.
    pub delivery_id: Option<DeliveryId>,
    /// `attempt`
    pub attempt: u32,
    /// `actions.NAME.output`: outputs of earlier actions by name.
    pub outputs: Option<&'a Map<String, Value>>,
    /// `secrets.NAME`, already fetched for the names that [`TemplatedConfig::secrets`](super::TemplatedConfig::secrets)
    /// lists.
    pub secrets: Option<&'a Map<String, Value>>,
    /// What the `now` helper gives.
    pub now: Timestamp,
}

impl<'a> Scope<'a> {
    /// A scope outside of any run: no outputs, no secrets, no delivery.
    #[must_use]
    pub fn of_event(event: &'a Event, trigger_tag: &'a str, now: Timestamp) -> Self {
        Self { event, trigger_tag, delivery_id: None, attempt: 1, outputs: None, secrets: None, now }
    }
}
