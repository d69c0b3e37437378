//! Conditions as users write them, and what the events make of them.

#![allow(clippy::unwrap_used)]

use serde_json::{Map, Value, json};

use super::*;
use crate::event::{Change, Moment, Operation};
use crate::id::{EventId, TenantId};

mod changes;
mod json_path;
mod laws;
mod mistakes;
mod operators;
mod trees;

fn asks_none(_: usize) -> Option<bool> {
    panic!("this condition asks no component")
}

fn compile(source: &Value) -> Condition {
    let mut mistakes = Vec::new();
    let condition = Condition::compile(source, "", &mut mistakes);
    assert_eq!(mistakes, [], "{source}");
    condition.unwrap()
}

/// The mistakes of a condition that stands at `/condition`, as sentences.
fn mistakes(source: &Value) -> Vec<String> {
    let mut mistakes = Vec::new();
    assert!(Condition::compile(source, "/condition", &mut mistakes).is_none(), "{source} was accepted");
    assert!(!mistakes.is_empty());
    mistakes.iter().map(ToString::to_string).collect()
}

/// The verdict, which the explanation has to share.
fn verdict(source: &Value, event: &Event) -> bool {
    let condition = compile(source);
    let verdict = condition.evaluate(event, &asks_none);
    assert_eq!(condition.explain(event, &asks_none).verdict, verdict, "{source}");
    verdict.unwrap()
}

/// An event that is no row change.
fn event(record: Value) -> Event {
    Event {
        id: EventId::new(0, [0; 10]),
        tenant: serde_json::from_value::<TenantId>(json!("acme")).unwrap(),
        event_type: "order.created".into(),
        source: None,
        change: None,
        record,
        previous_record: Value::Null,
        env: "prd".into(),
        user: Value::Null,
        metadata: Map::new(),
        attributes: Map::new(),
        timestamp: "2024-05-06T07:08:09Z".parse().unwrap(),
        accepted_at: "2024-05-06T07:08:09Z".parse().unwrap(),
        traceparent: None,
        tracestate: None,
        causation: vec![],
        erased_at: None,
    }
}

fn row(operation: Operation, record: Value, previous_record: Value) -> Event {
    let change = Change { operation, moment: Moment::After, database: None, schema: None, table: "orders".into() };
    Event { change: Some(change), previous_record, ..event(record) }
}
