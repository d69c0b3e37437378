//! What a condition costs: compiled once, evaluated for every event; and what reading the event's JSON costs.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use triggerd_core::condition::Condition;
use triggerd_core::event::Event;

fn event() -> Event {
    serde_json::from_value(json!({
        "id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "tenant": "acme",
        "type": "orders.updated",
        "change": {"operation": "update", "table": "orders"},
        "record": {
            "id": 4711, "status": "confirmed", "total": 1299.95, "currency": "EUR", "paid_at": "2024-05-06T07:08:09Z",
            "email": "ada@example.org", "note": null, "tags": ["new", "gift"], "country": "DE",
            "items": [{"sku": "A-1", "qty": 2}, {"sku": "B-2", "qty": 1}], "address": {"city": "Berlin", "zip": "10115"},
        },
        "previousRecord": {"id": 4711, "status": "pending", "total": 1299.95},
        "env": "prd",
        "timestamp": "2024-05-06T07:08:09Z",
        "acceptedAt": "2024-05-06T07:08:09Z",
    }))
    .expect("the event is well formed")
}

/// Twenty operators, all of which have to be looked at.
fn twenty() -> Value {
    let field = |path: &str, operator: &str, value: Value| json!({"field": path, "operator": operator, "value": value});
    let none = Value::Null;
    json!({"and": [
        field("record.status", "EQUALS", json!("confirmed")),
        field("record.currency", "NOT_EQUALS", json!("USD")),
        {"or": [
            field("record.total", "LESS_THAN", json!(10)),
            {"and": [
                field("record.total", "GREATER_THAN", json!(1000)),
                field("record.total", "LESS_THAN_OR_EQUALS", json!(1300.5)),
                field("record.paid_at", "GREATER_THAN_OR_EQUALS", json!("2024-05-06T09:00:00+02:00")),
                {"not": {"or": [
                    field("record.country", "IN", json!(["FR", "IT", "ES"])),
                    field("record.note", "IS_NOT_NULL", none.clone()),
                    field("record.email", "STARTS_WITH", json!("root@")),
                ]}},
                field("record.country", "NOT_IN", json!(["FR", "IT", "ES"])),
                field("record.note", "IS_NULL", none.clone()),
            ]},
        ]},
        field("record.tags", "CONTAINS", json!("gift")),
        field("record.email", "ENDS_WITH", json!("@example.org")),
        field("record.email", "MATCHES", json!("^[a-z]+@[a-z.]+$")),
        field("record.items[5]", "IS_EMPTY", none.clone()),
        field("record.items[0].sku", "IS_NOT_EMPTY", none.clone()),
        field("record.status", "CHANGED", none.clone()),
        field("record.total", "NOT_CHANGED", none),
        field("record.status", "CHANGED_TO", json!("confirmed")),
        field("record.status", "CHANGED_FROM", json!("pending")),
    ]})
}

fn compile(source: &Value) -> Condition {
    let mut mistakes = Vec::new();
    let condition = Condition::compile(source, "", &mut mistakes);
    condition.unwrap_or_else(|| panic!("{mistakes:?}"))
}

fn conditions(criterion: &mut Criterion) {
    let event = event();
    let asks_none = |_: usize| None;
    for (name, source) in [
        ("one EQUALS", json!({"field": "record.status", "operator": "EQUALS", "value": "confirmed"})),
        ("one jsonpath comparison", json!({"jsonpath": "$.status == 'confirmed'"})),
        ("twenty nested operators", twenty()),
    ] {
        let condition = compile(&source);
        assert_eq!(condition.evaluate(&event, &asks_none), Some(true), "{name}");
        criterion.bench_function(&format!("evaluate/{name}"), |b| {
            b.iter(|| condition.evaluate(black_box(&event), &asks_none));
        });
    }
    let (source, condition) = (twenty(), compile(&twenty()));
    criterion.bench_function("explain/twenty nested operators", |b| {
        b.iter(|| condition.explain(black_box(&event), &asks_none));
    });
    criterion.bench_function("compile/twenty nested operators", |b| b.iter(|| compile(black_box(&source))));
}

fn json(criterion: &mut Criterion) {
    let text = serde_json::to_vec(&event()).expect("an event is JSON");
    criterion.bench_function("json/strict", |b| b.iter(|| triggerd_core::json::parse(black_box(&text)).is_ok()));
    criterion
        .bench_function("json/serde_json", |b| b.iter(|| serde_json::from_slice::<Value>(black_box(&text)).is_ok()));
}

criterion_group!(benches, conditions, json);
criterion_main!(benches);
