//! How long rendering an action's settings takes.
#![allow(missing_docs)] // criterion's macros make public items

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::{Map, Value, json};
use triggerd_core::catalog::Place;
use triggerd_core::event::{Change, Event, Moment, Operation};
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::template::{Scope, TemplatedConfig};

fn order() -> Event {
    let items: Vec<Value> = (0..20).map(|i| json!({"sku": format!("A-{i}"), "qty": i, "price": 12.5})).collect();
    Event {
        id: EventId::new(1_760_000_000_000, [1; 10]),
        tenant: TenantId::new("default"),
        event_type: "orders.created".into(),
        source: None,
        change: Some(Change {
            operation: Operation::Insert,
            moment: Moment::After,
            database: Some("orders-db".into()),
            schema: None,
            table: "orders".into(),
        }),
        record: json!({
            "id": 4711, "customer_email": "ann@example.com", "order_number": "2025-4711", "total": 1234.5,
            "items": items, "created_at": "2025-10-09T08:53:20Z",
        }),
        previous_record: Value::Null,
        env: "prd".into(),
        user: Value::Null,
        metadata: Map::new(),
        attributes: Map::new(),
        timestamp: jiff::Timestamp::UNIX_EPOCH,
        accepted_at: jiff::Timestamp::UNIX_EPOCH,
        traceparent: None,
        tracestate: None,
        causation: Vec::new(),
        erased_at: None,
    }
}

fn bench(c: &mut Criterion) {
    let event = order();
    let scope = Scope::of_event(&event, "process-new-order", jiff::Timestamp::UNIX_EPOCH);
    let workloads = [
        ("fixed", json!({"url": "https://example.com", "headers": {"X-A": "b"}, "body": {"a": [1, 2, 3]}})),
        (
            "simple",
            json!({"key": "order:{{record.id}}", "to": "{{record.customer_email}}", "total": "{{record.total}}"}),
        ),
        ("kept-object", json!({"value": "{{record}}", "items": "{{record.items}}"})),
        (
            "helper-heavy",
            json!({
                "subject": "Order {{upper record.order_number}} of {{date record.created_at '%d.%m.%Y' 'Europe/Berlin'}}",
                "total": "{{number record.total '0,0.00'}} EUR",
                "lines": "{{#each record.items}}{{#if (gt qty 0)}}{{qty}} x {{lower sku}} = {{mul qty price}}\n{{/if}}{{/each}}",
                "digest": "{{sha256 (json record)}}",
            }),
        ),
    ];
    let mut group = c.benchmark_group("template");
    for (name, config) in workloads {
        let mut mistakes = Vec::new();
        let compiled =
            TemplatedConfig::compile(&config, "", &|_| Place::Plain, &mut mistakes).expect("the workload compiles");
        group.bench_function(name, |b| {
            b.iter(|| black_box(&compiled).render(black_box(&scope), true).expect("it renders"))
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
