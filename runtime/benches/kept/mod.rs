//! What the store's benchmarks keep: an order with one run.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use triggerd::store::{Append, NewRun};
use triggerd_core::event::Event;
use triggerd_core::id::{EventId, RunId, TenantId};

/// An event and its run, held for `lease`; pending and due at once without.
pub fn append(lease: Option<SignedDuration>) -> Append {
    let now = Timestamp::now();
    let ms = u64::try_from(now.as_millisecond()).unwrap();
    let order = json!({"event_type": "order.created", "order_id": "ord_1029384756", "customer_id": 88123, "amount": 129.95,
        "items": [{"sku": "SKU-1", "quantity": 2}, {"sku": "SKU-2", "quantity": 1}], "email": "someone@example.com"});
    let id = EventId::new(ms, rand::random());
    let event = Event::plain(id, TenantId::new("default"), "order.created", order, now);
    let run = NewRun {
        id: RunId::new(ms, rand::random()),
        trigger: Arc::from("process-new-order"),
        version: 1,
        ordering_key: None,
        queue: None,
        lease_until: lease.map(|lease| now + lease),
    };
    let event = Arc::new(Event { source: Some("bench".to_owned()), ..event });
    Append { event, runs: vec![run], idempotency: None, follows: false }
}
