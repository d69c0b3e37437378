//! The index against a scan of all triggers.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Index;
use crate::condition::Condition;
use crate::definition::{NamePattern, Source, Trigger};
use crate::event::Event;
use crate::event_pattern::EventPattern;
use crate::id::{EventId, TenantId};
use crate::intake_body::{Acceptance, from_execute, from_json};
use crate::trace::TraceContext;

fn tenant() -> TenantId {
    TenantId::new("default")
}

fn acceptance() -> Acceptance {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    Acceptance { id: EventId::new(1, [0; 10]), tenant: tenant(), now, trace: TraceContext::default() }
}

/// A trigger with the scope and condition of `source`; its actions do not matter here.
fn trigger(source: Value) -> Arc<Trigger> {
    let names = |field: &str| -> Vec<NamePattern> {
        source[field].as_array().into_iter().flatten().map(|name| NamePattern::parse(name.as_str().unwrap())).collect()
    };
    let mut mistakes = Vec::new();
    let condition = source.get("condition").and_then(|c| Condition::compile(c, "/condition", &mut mistakes));
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let events = source["events"].as_array().unwrap().iter();
    Arc::new(Trigger {
        tag: source["tag"].as_str().unwrap().into(),
        name: String::new(),
        description: None,
        version: 1,
        enabled: source["enabled"].as_bool().unwrap_or(true),
        priority: source["priority"].as_i64().unwrap_or(100),
        env: source["env"].as_str().map(str::to_owned),
        database: source["database"].as_str().map(NamePattern::parse),
        tables: names("tables"),
        events: events.map(|entry| EventPattern::parse(entry.as_str().unwrap()).unwrap()).collect(),
        condition,
        ordering_key: None,
        actions: Vec::new(),
        max_concurrency: None,
        rate_limit: None,
        source: Source::default(),
    })
}

fn index_of(triggers: &[Arc<Trigger>]) -> Index {
    triggers.iter().fold(Index::default(), |index, trigger| index.with(&tenant(), Arc::clone(trigger)))
}

fn tags(index: &Index, event: &Event) -> Vec<String> {
    index.matches(event).iter().map(|found| found.trigger.tag.to_string()).collect()
}

fn insert(table: &str, record: Value) -> Event {
    from_json(json!({"operation": "insert", "table": table, "record": record}), acceptance()).unwrap()
}

#[test]
fn matches_come_by_priority_and_then_by_tag() {
    let at = |tag: &str, priority: i64| trigger(json!({"tag": tag, "priority": priority, "events": ["afterInsert"]}));
    let index = index_of(&[at("c", 5), at("b", 5), at("a", 9), at("d", -1)]);
    assert_eq!(tags(&index, &insert("orders", json!({}))), ["d", "b", "c", "a"]);
}

#[test]
fn a_trigger_with_several_tables_and_events_matches_once() {
    let index = index_of(&[trigger(json!({
        "tag": "a", "tables": ["orders", "orders", "order*", "*"],
        "events": ["afterInsert", "afterWrite", "afterInsert", "orders.*", "**", "orders.created"],
    }))]);
    let event = insert("orders", json!({}));
    assert_eq!(tags(&index, &event), ["a"]);
    assert_eq!(index.in_scope(&event).len(), 1);
}

#[test]
fn a_disabled_trigger_is_kept_but_never_matches() {
    let index = index_of(&[trigger(json!({"tag": "a", "enabled": false, "events": ["afterInsert"]}))]);
    assert!(tags(&index, &insert("orders", json!({}))).is_empty());
    assert!(index.in_scope(&insert("orders", json!({}))).is_empty());
    assert_eq!(index.all(&tenant()).len(), 1);
}

#[test]
fn putting_a_trigger_again_replaces_it_and_leaves_older_snapshots_alone() {
    let old = index_of(&[trigger(json!({"tag": "a", "tables": ["orders"], "events": ["afterInsert"]}))]);
    let new = old.with(&tenant(), trigger(json!({"tag": "a", "tables": ["users"], "events": ["afterInsert"]})));
    let gone = new.without(&tenant(), "a").without(&tenant(), "never-was");
    let (orders, users) = (insert("orders", json!({})), insert("users", json!({})));
    assert_eq!((tags(&old, &orders).len(), tags(&old, &users).len()), (1, 0));
    assert_eq!((tags(&new, &orders).len(), tags(&new, &users).len()), (0, 1));
    assert!(tags(&gone, &users).is_empty() && gone.get(&tenant(), "a").is_none());
}

#[test]
fn tenants_are_apart() {
    let other = TenantId::new("other");
    let index = Index::default().with(&other, trigger(json!({"tag": "a", "events": ["afterInsert"]})));
    assert!(tags(&index, &insert("orders", json!({}))).is_empty());
    assert!(index.get(&tenant(), "a").is_none() && index.get(&other, "a").is_some());
}

#[test]
fn a_trigger_on_tables_or_a_database_is_about_row_changes_only() {
    let index = index_of(&[
        trigger(json!({"tag": "table", "tables": ["*"], "events": ["**"]})),
        trigger(json!({"tag": "database", "database": "*", "events": ["**"]})),
        trigger(json!({"tag": "any", "events": ["**"]})),
    ]);
    let plain = from_json(json!({"type": "orders.created", "payload": {}}), acceptance()).unwrap();
    assert_eq!(tags(&index, &plain), ["any"]);
    assert_eq!(tags(&index, &insert("orders", json!({}))), ["any", "database", "table"]);
}

#[test]
fn a_component_gates_its_match_only_where_the_rest_holds() {
    let condition = json!({"and": [{"field": "record.a", "operator": "EQUALS", "value": 1}, {"component": "c"}]});
    let index = index_of(&[trigger(json!({"tag": "a", "events": ["afterInsert"], "condition": condition}))]);
    assert!(index.matches(&insert("t", json!({"a": 1.0})))[0].gated);
    assert!(index.matches(&insert("t", json!({"a": 2}))).is_empty());
}

/// 100,000 triggers that differ in an equality.
fn many(count: usize) -> Index {
    let one = |i: usize| {
        let condition = json!({"field": "record.customer", "operator": "EQUALS", "value": i});
        trigger(
            json!({"tag": format!("t{i}"), "tables": ["orders"], "events": ["afterInsert"], "condition": condition}),
        )
    };
    (0..count).fold(Index::default(), |index, i| index.with(&tenant(), one(i)))
}

#[test]
fn changing_a_large_index_is_quick() {
    let index = many(20_000);
    let extra = trigger(json!({"tag": "x", "tables": ["orders"], "events": ["afterInsert"]}));
    let start = Instant::now();
    let mut changed = index.clone();
    for _ in 0..100 {
        changed = changed.with(&tenant(), Arc::clone(&extra)).without(&tenant(), "t7");
    }
    // Generous: an unoptimised build on a busy machine. Copying the index would take seconds.
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert_eq!(tags(&index, &insert("orders", json!({"customer": 7}))), ["t7"]);
    assert_eq!(tags(&changed, &insert("orders", json!({"customer": 7}))), ["x"]);
}

fn scalars() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!(1),
        serde_json::from_str("1.0").unwrap(),
        json!("1"),
        json!("a"),
        Value::Null,
        json!(true),
        serde_json::from_str("9007199254740993").unwrap(),
        serde_json::from_str("9007199254740993.0").unwrap(),
        json!(9_007_199_254_740_992_i64),
    ])
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![4 => scalars(), 1 => Just(json!([1])), 1 => Just(json!({"a": 1}))]
}

fn conditions() -> impl Strategy<Value = Value> {
    let field = prop::sample::select(vec![
        "record.a",
        "record.b",
        "record.a[0]",
        "record.a.0",
        "record.a.a",
        "payload.record.a",
        "payload.a",
        "payload.table",
        "payload.previousRecord.a",
        "table",
        "event",
        "previousRecord.a",
        "metadata.a",
        "user",
        "record",
    ]);
    let leaf = prop_oneof![
        4 => (field.clone(), prop::sample::select(vec!["EQUALS", "NOT_EQUALS"]), values())
            .prop_map(|(field, operator, value)| json!({"field": field, "operator": operator, "value": value})),
        3 => (field, prop::sample::select(vec!["IN", "NOT_IN"]), prop::collection::vec(values(), 0..4))
            .prop_map(|(field, operator, value)| json!({"field": field, "operator": operator, "value": value})),
        2 => (prop::sample::select(vec!["a", "b", "a.a", "a[0]", "a.0"]), prop::sample::select(vec!["CHANGED_TO", "CHANGED_FROM", "IS_NULL"]), scalars())
            .prop_map(|(field, operator, value)| {
                let (field, value) = if operator == "IS_NULL" { (format!("record.{field}"), Value::Null) } else { (field.to_owned(), value) };
                json!({"field": field, "operator": operator, "value": value})
            }),
        1 => prop::sample::select(vec!["$.a == 1", "$.a[0] == 1", "$.a.a == 1", "$.b == null", "$.b != 1"])
            .prop_map(|text| json!({"jsonpath": text})),
        1 => Just(json!({"component": "c"})),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 0..3).prop_map(|members| json!({"and": members})),
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(|members| json!({"or": members})),
            1 => inner.prop_map(|member| json!({"not": member})),
        ]
    })
}

fn events_of_triggers() -> impl Strategy<Value = Vec<&'static str>> {
    let entries = vec![
        "afterInsert",
        "AFTER_INSERT",
        "afterWrite",
        "beforeUpdate",
        "beforeWrite",
        "afterDelete",
        "order.*",
        "order.created",
        "orders.created",
        "**",
        "*",
        "**.created",
        "order.**.x",
        "order_items.*",
        "**.*",
    ];
    prop::collection::vec(prop::sample::select(entries), 1..4)
}

fn triggers() -> impl Strategy<Value = Vec<Value>> {
    let tables =
        prop::collection::vec(prop::sample::select(vec!["orders", "order_*", "*", "o*", "users", "orders*"]), 0..3);
    let databases = prop::sample::select(vec![None, None, Some("db1"), Some("db*"), Some("*")]);
    let envs = prop::sample::select(vec![None, None, Some("prd")]);
    let one = (
        tables,
        databases,
        envs,
        events_of_triggers(),
        prop::option::weighted(0.9, conditions()),
        0..60u8,
        -2..2i64,
        0..8u8,
    );
    let one = one.prop_map(|(tables, database, env, events, condition, tag, priority, enabled)| {
        let mut source = json!({
            "tag": format!("t{tag}"), "tables": tables, "events": events, "priority": priority, "enabled": enabled > 0,
            "database": database, "env": env,
        });
        if let Some(condition) = condition {
            source["condition"] = condition;
        }
        source
    });
    // So many that what stands under one alternative is told apart further.
    prop::collection::vec(one, 0..100)
}

fn records() -> impl Strategy<Value = Value> {
    (prop::option::of(values()), prop::option::of(values())).prop_map(|(a, b)| {
        let fields = [("a", a), ("b", b)].into_iter();
        fields.filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect()
    })
}

fn events() -> impl Strategy<Value = Event> {
    let table = prop::sample::select(vec!["orders", "order_items", "o", "users", "éorders"]);
    let database = prop::sample::select(vec![None, Some("db1"), Some("db2"), Some("x")]);
    let names = vec!["beforeInsert", "afterInsert", "beforeUpdate", "afterUpdate", "beforeDelete", "afterDelete"];
    let env = prop::sample::select(vec!["prd", "default"]);
    let types = vec!["order.created", "order", "order.a.x", "order.x", "a.b.created"];
    prop_oneof![
        3 => (table, database, prop::sample::select(names), env, records(), records()).prop_map(
            |(table, database, name, env, record, previous)| {
                let context = json!({"table": table, "database": database, "env": env, "record": record, "previousRecord": previous});
                from_execute(context, name, acceptance()).unwrap()
            }
        ),
        1 => (prop::sample::select(types), records())
            .prop_map(|(name, record)| from_json(json!({"type": name, "payload": record}), acceptance()).unwrap()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_index_finds_what_a_scan_of_all_triggers_finds(
        sources in triggers(),
        removed in prop::collection::vec(0..60u8, 0..40),
        events in prop::collection::vec(events(), 1..6),
    ) {
        let mut index = index_of(&sources.into_iter().map(trigger).collect::<Vec<_>>());
        for tag in removed {
            index = index.without(&tenant(), &format!("t{tag}"));
        }
        for event in events {
            let mut all = index.all(&tenant());
            all.sort_by(|a, b| (a.priority, &a.tag).cmp(&(b.priority, &b.tag)));
            let wanted: Vec<_> = all.iter().filter_map(|t| t.matched(&event)).map(|m| (m.trigger.tag.clone(), m.gated)).collect();
            let found: Vec<_> = index.matches(&event).into_iter().map(|m| (m.trigger.tag.clone(), m.gated)).collect();
            prop_assert_eq!(found, wanted);
            let wanted: Vec<_> = all.iter().filter(|t| t.covers(&event)).map(|t| t.tag.clone()).collect();
            let found: Vec<_> = index.in_scope(&event).into_iter().map(|t| t.tag.clone()).collect();
            prop_assert_eq!(found, wanted);
        }
    }

    #[test]
    fn removed_triggers_leave_nothing_behind(sources in triggers()) {
        let tags: Vec<_> = sources.iter().map(|source| source["tag"].as_str().unwrap().to_owned()).collect();
        let bare = index_of(&[trigger(json!({"tag": "disabled", "enabled": false, "events": ["**"]}))]);
        let full = sources.into_iter().fold(bare.clone(), |index, source| index.with(&tenant(), trigger(source)));
        let emptied = tags.iter().fold(full, |index, tag| index.without(&tenant(), tag));
        prop_assert_eq!(format!("{emptied:?}"), format!("{bare:?}"));
    }
}
