//! One event against 100, 10,000 and 100,000 triggers of one table that differ in an equality: the last may cost
//! at most three times the first.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use triggerd_core::condition::Condition;
use triggerd_core::definition::{NamePattern, Trigger};
use triggerd_core::event::Event;
use triggerd_core::event_pattern::EventPattern;
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::index::Index;
use triggerd_core::intake_body::{Acceptance, from_json};

const COUNTS: [usize; 3] = [100, 10_000, 100_000];

/// The trigger for orders of one customer.
fn trigger(customer: usize) -> Arc<Trigger> {
    let condition = json!({"and": [
        {"field": "record.customer_id", "operator": "EQUALS", "value": customer},
        {"field": "record.total", "operator": "GREATER_THAN", "value": 100},
    ]});
    Arc::new(Trigger {
        tag: format!("customer-{customer}").into(),
        name: String::new(),
        description: None,
        version: 1,
        enabled: true,
        priority: 100,
        env: None,
        database: None,
        tables: vec![NamePattern::parse("orders")],
        events: vec![EventPattern::parse("afterInsert").unwrap()],
        condition: Condition::compile(&condition, "", &mut Vec::new()),
        ordering_key: None,
        actions: Vec::new(),
        max_concurrency: None,
        rate_limit: None,
        source: Value::Null,
    })
}

fn event(tenant: &TenantId) -> Event {
    let acceptance = Acceptance {
        id: EventId::new(0, [0; 10]),
        tenant: tenant.clone(),
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        traceparent: None,
    };
    let record = json!({"id": 1, "customer_id": 77, "total": 250, "status": "confirmed", "items": [{"sku": "a"}]});
    from_json(json!({"operation": "insert", "table": "orders", "record": record}), acceptance).unwrap()
}

fn matching(criterion: &mut Criterion) {
    let tenant = TenantId::new("default");
    let event = event(&tenant);
    let mut group = criterion.benchmark_group("match");
    for count in COUNTS {
        let index = (0..count).fold(Index::default(), |index, customer| index.with(&tenant, trigger(customer)));
        assert_eq!(index.matches(&event).len(), 1);
        group.bench_with_input(BenchmarkId::from_parameter(count), &index, |bencher, index| {
            bencher.iter(|| index.matches(black_box(&event)));
        });
    }
    group.finish();
}

fn changing(criterion: &mut Criterion) {
    let tenant = TenantId::new("default");
    let mut group = criterion.benchmark_group("change");
    for count in COUNTS {
        let index = (0..count).fold(Index::default(), |index, customer| index.with(&tenant, trigger(customer)));
        let (other, tag) = (trigger(count + 1), format!("customer-{}", count / 2));
        group.bench_with_input(BenchmarkId::new("with", count), &index, |bencher, index| {
            bencher.iter(|| index.with(&tenant, Arc::clone(&other)));
        });
        group.bench_with_input(BenchmarkId::new("without", count), &index, |bencher, index| {
            bencher.iter(|| index.without(&tenant, &tag));
        });
    }
    group.finish();
}

criterion_group!(benches, matching, changing);
criterion_main!(benches);
