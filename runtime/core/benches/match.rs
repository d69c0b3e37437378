//! One event against 100, 10,000 and 100,000 triggers of one table.
//!
//! Triggers that differ in an equality, however their conditions say it: the last may cost at most twice the first, and less
//! than 3 µs. Triggers that no equality tells apart are each evaluated: 10,000 may take 5 ms. And what a change of one
//! definition costs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use triggerd_core::condition::Condition;
use triggerd_core::definition::{NamePattern, Source, Trigger};
use triggerd_core::event::Event;
use triggerd_core::event_pattern::EventPattern;
use triggerd_core::id::{EventId, TenantId};
use triggerd_core::index::Index;
use triggerd_core::intake_body::{Acceptance, from_json};
use triggerd_core::trace::TraceContext;

const COUNTS: [usize; 3] = [100, 10_000, 100_000];

/// A family of conditions: the one of the trigger with that number.
type Shape = (&'static str, fn(usize) -> Value);

fn is(field: &str, operator: &str, value: impl Into<Value>) -> Value {
    json!({"field": field, "operator": operator, "value": value.into()})
}

/// Only number 77 holds for the event.
const EQUALITIES: [Shape; 11] = [
    ("number", |i| is("record.customer_id", "EQUALS", i)),
    ("string", |i| is("record.sku", "EQUALS", format!("sku-{i}"))),
    ("nested field", |i| is("record.customer.account.id", "EQUALS", i)),
    ("in an and", |i| json!({"and": [is("record.customer_id", "EQUALS", i), is("record.total", "GREATER_THAN", 100)]})),
    ("IN of three", |i| is("record.customer_id", "IN", vec![3 * i, 3 * i + 1, 3 * i + 2])),
    (
        "behind one that all share",
        |i| json!({"and": [is("record.status", "EQUALS", "confirmed"), is("record.customer_id", "EQUALS", i)]}),
    ),
    ("in an and in an and", |i| {
        let inner = json!({"and": [is("record.total", "GREATER_THAN", 100), is("record.customer_id", "EQUALS", i)]});
        json!({"and": [is("record.status", "IS_NOT_EMPTY", Value::Null), inner]})
    }),
    (
        "in an or",
        |i| json!({"or": [is("record.customer_id", "EQUALS", i), is("record.sku", "EQUALS", format!("never-{i}"))]}),
    ),
    ("CHANGED_TO", |i| is("customer_id", "CHANGED_TO", i)),
    ("jsonpath", |i| json!({"jsonpath": format!("$.customer_id == {i}")})),
    ("a field of its own", |i| is(&format!("record.flag_{i}"), "EQUALS", true)),
];

/// None holds for the event, and each has to be asked.
const SCANS: [Shape; 6] = [
    ("GREATER_THAN", |i| is("record.total", "GREATER_THAN", 1_000_000 + i)),
    (
        "NOT_EQUALS",
        |i| json!({"not": {"or": [is("record.sku", "NOT_EQUALS", format!("x{i}")), is("record.total", "IS_NULL", Value::Null)]}}),
    ),
    ("CONTAINS", |i| is("record.note", "CONTAINS", format!("words {i} that are not there"))),
    ("ENDS_WITH", |i| is("record.note", "ENDS_WITH", format!("end {i}"))),
    ("MATCHES", |i| is("record.note", "MATCHES", format!("[a-z]+ {i}x+$"))),
    ("jsonpath filter", |i| json!({"jsonpath": format!("$.items[?@.qty > {i} && @.sku == 'z']")})),
];

fn trigger(number: usize, condition: &Value) -> Arc<Trigger> {
    let mut mistakes = Vec::new();
    let condition = Condition::compile(condition, "", &mut mistakes);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    Arc::new(Trigger {
        tag: format!("customer-{number}").into(),
        name: String::new(),
        description: None,
        version: 1,
        enabled: true,
        priority: 100,
        env: None,
        database: None,
        tables: vec![NamePattern::parse("orders")],
        events: vec![EventPattern::parse("afterInsert").unwrap()],
        condition,
        ordering_key: None,
        actions: Vec::new(),
        max_concurrency: None,
        rate_limit: None,
        source: Source::default(),
    })
}

fn index(tenant: &TenantId, count: usize, condition: fn(usize) -> Value) -> Index {
    (0..count).fold(Index::default(), |index, i| index.with(tenant, trigger(i, &condition(i))))
}

fn event(tenant: &TenantId) -> Event {
    let acceptance = Acceptance {
        id: EventId::new(0, [0; 10]),
        tenant: tenant.clone(),
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        trace: TraceContext::default(),
    };
    let record = json!({
        "id": 1, "customer_id": 77, "total": 250, "status": "confirmed", "sku": "sku-77", "flag_77": true,
        "customer": {"account": {"id": 77, "plan": "gold"}, "name": "Ada"}, "email": "ada@example.org",
        "note": "please leave it with the neighbours if nobody is at home, thank you very much",
        "items": [{"sku": "a", "qty": 1}, {"sku": "b", "qty": 2}],
    });
    from_json(json!({"operation": "insert", "table": "orders", "record": record}), acceptance).unwrap()
}

fn equalities(criterion: &mut Criterion) {
    let tenant = TenantId::new("default");
    let event = event(&tenant);
    let mut group = criterion.benchmark_group("match");
    for (name, condition) in EQUALITIES {
        for count in COUNTS {
            let index = index(&tenant, count, condition);
            assert_eq!(index.matches(&event).len(), 1, "{name}");
            group.bench_with_input(BenchmarkId::new(name, count), &index, |bencher, index| {
                bencher.iter(|| index.matches(black_box(&event)));
            });
        }
    }
    group.finish();
}

fn scans(criterion: &mut Criterion) {
    let tenant = TenantId::new("default");
    let event = event(&tenant);
    let mut group = criterion.benchmark_group("scan");
    group.sample_size(20);
    for (name, condition) in SCANS {
        let index = index(&tenant, 10_000, condition);
        assert!(index.matches(&event).is_empty(), "{name}");
        group.bench_with_input(BenchmarkId::new(name, 10_000), &index, |bencher, index| {
            bencher.iter(|| index.matches(black_box(&event)));
        });
    }
    group.finish();
}

/// 1,000 triggers of each of 1,000 tenants.
fn tenants(criterion: &mut Criterion) {
    let tenants: Vec<_> = (0..1_000).map(|n| TenantId::new(&format!("tenant-{n}"))).collect();
    let triggers: Vec<_> = (0..1_000).map(|i| trigger(i, &(EQUALITIES[3].1)(i))).collect();
    let mut index = Index::default();
    for tenant in &tenants {
        index = triggers.iter().fold(index, |index, trigger| index.with(tenant, Arc::clone(trigger)));
    }
    let events: Vec<_> = tenants.iter().map(event).collect();
    let mut group = criterion.benchmark_group("match");
    let mut next = events.iter().cycle();
    group.bench_function(BenchmarkId::new("1,000 tenants", 1_000_000), |bencher| {
        bencher.iter(|| index.matches(black_box(next.next().unwrap())));
    });
    group.finish();
    let (other, mut next) = (trigger(1_000, &(EQUALITIES[3].1)(1_000)), tenants.iter().cycle());
    let mut group = criterion.benchmark_group("change");
    group.bench_function(BenchmarkId::new("with", 1_000_000), |bencher| {
        bencher.iter(|| index.with(next.next().unwrap(), Arc::clone(&other)));
    });
    group.finish();
}

fn changing(criterion: &mut Criterion) {
    let tenant = TenantId::new("default");
    let mut group = criterion.benchmark_group("change");
    for count in COUNTS {
        let condition = EQUALITIES[3].1;
        let index = index(&tenant, count, condition);
        let (other, tag) = (trigger(count + 1, &condition(count + 1)), format!("customer-{}", count / 2));
        let replaced = trigger(count / 2, &condition(count / 2));
        group.bench_with_input(BenchmarkId::new("with", count), &index, |bencher, index| {
            bencher.iter(|| index.with(&tenant, Arc::clone(&other)));
        });
        group.bench_with_input(BenchmarkId::new("replace", count), &index, |bencher, index| {
            bencher.iter(|| index.with(&tenant, Arc::clone(&replaced)));
        });
        group.bench_with_input(BenchmarkId::new("without", count), &index, |bencher, index| {
            bencher.iter(|| index.without(&tenant, &tag));
        });
    }
    group.finish();
}

fn quick() -> Criterion {
    // Building what is measured takes longer than measuring it.
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
}

criterion_group!(name = benches; config = quick(); targets = equalities, scans, tenants, changing);
criterion_main!(benches);
