//! `and`, `or`, `not`, components, explanations, and the key for the index.

use super::*;

fn field(name: &str, operator: &str, value: Value) -> Value {
    json!({"field": format!("record.{name}"), "operator": operator, "value": value})
}

#[test]
fn the_empty_and_is_true_and_the_empty_or_false() {
    assert!(verdict(&json!({"and": []}), &event(json!({}))));
    assert!(!verdict(&json!({"or": []}), &event(json!({}))));
    assert!(verdict(&json!({"not": {"or": []}}), &event(json!({}))));
}

#[test]
fn a_verdict_is_unknown_only_where_it_hangs_on_a_component() {
    let (yes, no, ask) = (json!({"and": []}), json!({"or": []}), json!({"component": "score"}));
    for (source, expected) in [
        (json!({"and": [yes, ask]}), [None, Some(true), Some(false)]),
        (json!({"and": [ask, no]}), [Some(false); 3]),
        (json!({"or": [ask, yes]}), [Some(true); 3]),
        (json!({"or": [no, ask]}), [None, Some(true), Some(false)]),
        (json!({"not": ask}), [None, Some(false), Some(true)]),
        (json!({"not": {"and": [ask, no]}}), [Some(true); 3]),
    ] {
        let condition = compile(&source);
        for (said, expected) in [None, Some(true), Some(false)].into_iter().zip(expected) {
            assert_eq!(condition.evaluate(&event(json!({})), &|_| said), expected, "{source} {said:?}");
            assert_eq!(condition.explain(&event(json!({})), &|_| said).verdict, expected, "{source} {said:?}");
        }
    }
}

#[test]
fn components_are_listed_in_document_order() {
    let condition = compile(&json!({"or": [
        {"component": "a", "config": {"x": 1}},
        {"not": {"component": "b@1.2"}},
        {"component": "c@sha256:0af3"},
    ]}));
    let names: Vec<_> = condition.components().iter().map(|call| call.component.as_str()).collect();
    assert_eq!(names, ["a", "b@1.2", "c@sha256:0af3"]);
    assert_eq!(condition.components()[0].config, json!({"x": 1}));
    assert_eq!(condition.components()[1].config, Value::Null);
    assert_eq!(condition.evaluate(&event(json!({})), &|index| Some(index == 2)), Some(true));
}

#[test]
fn an_explanation_judges_every_member() {
    let condition = compile(&json!({"and": [
        field("status", "EQUALS", json!("paid")),
        {"not": field("total", "GREATER_THAN", json!(100))},
        {"component": "score", "config": {"min": 3}},
    ]}));
    let explanation = condition.explain(&event(json!({"total": 5})), &|_| None);
    assert_eq!(
        serde_json::to_value(explanation).unwrap(),
        json!({"node": "and", "verdict": false, "children": [
            {"node": "field", "verdict": false, "path": "record.status", "operator": "EQUALS", "wanted": "paid"},
            {"node": "not", "verdict": true, "children": [
                {"node": "field", "verdict": false, "path": "record.total", "operator": "GREATER_THAN", "found": 5, "wanted": 100},
            ]},
            {"node": "component", "verdict": null, "path": "score", "wanted": {"min": 3}},
        ]})
    );
}

#[test]
fn an_explanation_cuts_what_is_long() {
    let event = event(json!({"text": "é".repeat(5000), "list": vec![0; 5000]}));
    let found = |name: &str| {
        compile(&json!({"field": format!("record.{name}"), "operator": "IS_EMPTY"})).explain(&event, &asks_none).found
    };
    assert_eq!(found("text"), Some(json!(format!("{}…", "é".repeat(1024)))));
    let list = found("list").unwrap();
    assert_eq!(list.as_array().unwrap().len(), 256);
    assert_eq!(list[255], json!("…"));
}

/// The keys as texts: `path=value`, alternatives with `|`.
fn keys(source: Value) -> Vec<String> {
    let value = |value: &IndexValue| {
        format!("{value:?}").split(['(', ')']).rfind(|part| !part.is_empty()).unwrap_or_default().replace('"', "")
    };
    let one = |(path, of): &Alternative| format!("{path}={}", value(of));
    compile(&source).keys().iter().map(|key| key.iter().map(one).collect::<Vec<_>>().join("|")).collect()
}

#[test]
fn keys_are_what_must_be_there_the_most_telling_first() {
    let (status, kind) = (field("status", "EQUALS", json!("paid")), field("kind", "IN", json!(["a", 1, 1.0])));
    let id = field("id", "EQUALS", json!(7));
    assert_eq!(
        keys(json!({"and": [kind, {"and": [status, id]}]})),
        ["record.status=paid", "record.id=7", "record.kind=a|record.kind=1",]
    );
    assert_eq!(keys(json!({"or": [{"and": [status, kind]}, id]})), ["record.status=paid|record.id=7"]);
    let negative = json!({"not": {"or": [field("id", "NOT_EQUALS", json!(7)), field("kind", "IN", json!(["a"]))]}});
    assert_eq!(keys(negative), ["record.id=7"]);
    assert_eq!(keys(field("id", "CHANGED_TO", json!(7))), ["record.id=7"]);
    assert_eq!(keys(field("id", "CHANGED_FROM", json!(7))), ["record.id=7|previousRecord.id=7"]);
    assert_eq!(keys(json!({"jsonpath": "$.items[0].sku == 'a'"})), ["record.items[0].sku=a"]);
    assert_eq!(keys(json!({"and": [{"component": "c"}, id]})), ["record.id=7"]);
    assert_eq!(keys(field("id", "IS_NULL", Value::Null)).len(), 1);
}

#[test]
fn what_demands_no_value_has_no_key() {
    let id = field("id", "EQUALS", json!(7));
    for source in [
        json!({"or": [id, {"component": "c"}]}),
        json!({"or": []}),
        json!({"not": id}),
        field("a", "EQUALS", json!({"x": 1})),
        field("a", "EQUALS", json!([1])),
        field("a", "IN", json!([1, [2]])),
        field("a", "IN", json!([])),
        field("a", "NOT_EQUALS", json!(1)),
        field("a", "CHANGED_TO", Value::Null),
        field("a", "GREATER_THAN", json!(1)),
        json!({"jsonpath": "$.a != 1"}),
        json!({"jsonpath": "$..a == 1"}),
        json!({"jsonpath": "$.a[-1] == 1"}),
        json!({"jsonpath": "$.a"}),
    ] {
        assert_eq!(keys(source.clone()), Vec::<String>::new(), "{source}");
    }
    let monstrous: Value = serde_json::from_str("1e2000000000000000000000000000000").unwrap();
    assert_eq!(keys(field("a", "EQUALS", monstrous)), Vec::<String>::new());
}

#[test]
fn the_keys_of_one_condition_come_to_a_bounded_number_of_places() {
    let long = |name: &str| field(name, "IN", (0..1000).collect());
    let short = |name: &str| field(name, "IN", (0..20).collect());
    assert_eq!(compile(&json!({"and": [long("a"), long("b")]})).keys().len(), 1);
    let lengths: Vec<_> = compile(&json!({"and": [short("a"), short("b"), field("c", "EQUALS", json!(1)), long("d")]}))
        .keys()
        .iter()
        .map(Vec::len)
        .collect();
    assert_eq!(lengths, [1, 20]);
}
