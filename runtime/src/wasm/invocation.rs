//! What a guest is told about an event.

use serde_json::Value;
use triggerd_core::event::Event;

use super::bindings::triggerd::runtime::types::Invocation;

impl Invocation {
    /// What the event says. The attempt's own fields (`delivery_id`, `attempt`, `trigger`, `action`, `input`, `results`,
    /// `traceparent`) are for the caller to fill in.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        Self {
            event_id: event.id.to_string(),
            delivery_id: String::new(),
            attempt: 1,
            tenant: event.tenant.to_string(),
            trigger: String::new(),
            action: String::new(),
            event_name: event.event_name().to_owned(),
            event_type: event.event_type.clone(),
            operation: event.change.as_ref().map(|change| change.operation.as_str().to_owned()),
            database: event.database().map(str::to_owned),
            table: event.table().map(str::to_owned),
            env: event.env.clone(),
            timestamp: event.timestamp.to_string(),
            source: event.source.clone(),
            record: event.record.to_string(),
            previous_record: present(&event.previous_record),
            changed_fields: changed_fields(&event.record, &event.previous_record),
            user: present(&event.user),
            metadata: serde_json::to_string(&event.metadata).expect("a map of JSON values is JSON"),
            input: "null".to_owned(),
            results: "{}".to_owned(),
            traceparent: event.traceparent.clone(),
        }
    }
}

fn present(value: &Value) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// The fields that differ, new ones and lost ones included; all of them where there is only one side.
fn changed_fields(record: &Value, previous: &Value) -> Vec<String> {
    let fields = |value: &Value| value.as_object().into_iter().flat_map(|o| o.keys().cloned()).collect::<Vec<_>>();
    if previous.is_null() {
        return Vec::new();
    }
    let mut changed: Vec<String> =
        fields(record).into_iter().filter(|name| record.get(name) != previous.get(name)).collect();
    changed.extend(fields(previous).into_iter().filter(|name| record.get(name).is_none()));
    changed
}
