//! Definitions and bodies that many tests are made of.

use serde_json::{Value, json};

/// A trigger on an event type.
pub fn on(tag: &str, event_type: &str, actions: Value) -> Value {
    json!({"tag": tag, "events": [event_type], "actions": actions})
}

/// A trigger on inserts into a table.
pub fn after_insert(tag: &str, table: &str, actions: Value) -> Value {
    json!({"tag": tag, "tables": [table], "events": ["afterInsert"], "actions": actions})
}

/// An action that posts the record, and tries again soon where that fails.
pub fn call(name: &str, url: &str) -> Value {
    json!({"name": name, "type": "http.post", "config": {"url": url, "body": "{{record}}"}, "retry": fast(5)})
}

/// A retry policy without long waits.
pub fn fast(attempts: u32) -> Value {
    json!({"maxAttempts": attempts, "initialDelay": 20, "maxDelay": 100, "jitter": "none"})
}

/// The body of a row change.
pub fn change(operation: &str, table: &str, record: Value, previous: Value) -> Value {
    json!({"operation": operation, "database": "db", "table": table, "record": record, "previousRecord": previous})
}
