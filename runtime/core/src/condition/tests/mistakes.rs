//! What is said about wrong conditions: every mistake, each with its place.

use super::*;

#[test]
fn each_mistake_has_its_place_and_a_way_out() {
    for (source, complaint) in [
        (json!([]), "/condition: a condition is an object, not an array"),
        (json!({}), "/condition: a condition has `field` with `operator`"),
        (json!({"value": 1}), "/condition: a condition has `field` with `operator`"),
        (json!({"adn": []}), "/condition/adn: unknown field `adn`, did you mean `and`?"),
        (json!({"and": {}}), "/condition/and: this is an array of conditions, not an object"),
        (json!({"and": [], "or": []}), "/condition: `and` and `or` cannot stand in one condition"),
        (json!({"not": [1]}), "/condition/not: a condition is an object, not an array"),
        (json!({"not": {"and": []}, "value": 1}), "/condition/value: unknown field `value`"),
        (json!({"field": "record.a"}), "/condition/operator: a condition on a field needs an `operator`"),
        (json!({"operator": "EQUALS", "value": 1}), "/condition/field: a condition with an operator needs a `field`"),
        (
            json!({"field": 1, "operator": "IS_NULL"}),
            "/condition/field: this is a path such as `record.status`, not a number",
        ),
        (
            json!({"field": "recrod.a", "operator": "IS_NULL"}),
            "/condition/field: `recrod.a`: a path cannot begin with `recrod`, did you mean `record`?",
        ),
        (
            json!({"field": "previousRecord.a", "operator": "CHANGED"}),
            "/condition/field: `previousRecord.a`: `record` is compared",
        ),
        (json!({"field": "record.a", "operator": 1}), "/condition/operator: this is an operator's name, not a number"),
        (
            json!({"field": "record.a", "operator": "EQUAL", "value": 1}),
            "/condition/operator: unknown operator `EQUAL`, did you mean `EQUALS`?",
        ),
        (
            json!({"field": "record.a", "operator": "=~", "value": 1}),
            "/condition/operator: unknown operator `=~`; known are `EQUALS`",
        ),
        (json!({"field": "record.a", "operator": "EQUALS"}), "/condition/value: EQUALS needs a `value`"),
        (
            json!({"field": "record.a", "operator": "IN", "value": "a"}),
            "/condition/value: IN needs an array, not a string",
        ),
        (
            json!({"field": "record.a", "operator": "notIn", "value": null}),
            "/condition/value: NOT_IN needs an array, not null",
        ),
        (
            json!({"field": "record.a", "operator": "STARTS_WITH", "value": 1}),
            "/condition/value: STARTS_WITH needs a string, not a number",
        ),
        (
            json!({"field": "record.a", "operator": "LESS_THAN", "value": true}),
            "/condition/value: LESS_THAN needs a number or a string, not a boolean",
        ),
        (
            json!({"field": "record.a", "operator": "IS_NULL", "value": true}),
            "/condition/value: IS_NULL takes no value",
        ),
        (
            json!({"field": "record.a", "operator": "MATCHES", "value": "("}),
            "/condition/value: this is not a regular expression: unclosed group",
        ),
        (
            json!({"field": "record.a", "operator": "MATCHES", "value": "(?=a)"}),
            "/condition/value: this is not a regular expression: look-around",
        ),
        (
            json!({"field": "record.a", "operator": "MATCHES", "value": "(a{1000}){1000}"}),
            "/condition/value: this regular expression is too large",
        ),
        (
            json!({"field": "record.a", "operator": "MATCHES", "value": "a".repeat(1025)}),
            "/condition/value: a regular expression may be 1024 bytes long",
        ),
        (json!({"jsonpath": 1}), "/condition/jsonpath: this is a text such as `$.total > 100`, not a number"),
        (json!({"component": 1}), "/condition/component: this is a component's name, not a number"),
        (json!({"component": "a b"}), "/condition/component: `a b` is no component"),
        (json!({"component": "a@"}), "/condition/component: `a@` is no component"),
        (
            json!({"component": "a", "config": [1]}),
            "/condition/config: a component's config is an object, not an array",
        ),
        (json!({"component": "a", "confg": {}}), "/condition/confg: unknown field `confg`, did you mean `config`?"),
    ] {
        let found = mistakes(&source);
        assert!(found.len() == 1 && found[0].starts_with(complaint), "{source}: {found:?}");
    }
}

#[test]
fn all_mistakes_come_back_at_once() {
    let found = mistakes(&json!({"and": [
        {"feild": "record.a", "operator": "EQUAL", "value": 1},
        {"or": [{"field": "a", "operator": "IN", "value": 1}, {"not": {"jsonpath": "x"}}]},
        {"field": "record.ok", "operator": "IS_NULL"},
        {"component": "a/b", "config": 1},
    ]}));
    let places: Vec<_> = found.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
    assert_eq!(
        places,
        [
            "/condition/and/0/feild",
            "/condition/and/0/operator",
            "/condition/and/0/field",
            "/condition/and/1/or/0/field",
            "/condition/and/1/or/0/value",
            "/condition/and/1/or/1/not/jsonpath",
            "/condition/and/3/component",
            "/condition/and/3/config",
        ]
    );
}

#[test]
fn nesting_ends_at_64() {
    let nest = |levels: usize, wrap: fn(Value) -> Value| {
        (0..levels).fold(json!({"field": "record.a", "operator": "IS_NULL"}), |inner, _| wrap(inner))
    };
    let not = |inner| json!({"not": inner});
    assert!(verdict(&nest(64, not), &event(json!({}))));
    assert_eq!(mistakes(&nest(65, not)), [format!("/condition{}: conditions nest up to 64 deep", "/not".repeat(65))]);
    let and = |inner| json!({"and": [inner]});
    assert!(verdict(&nest(64, and), &event(json!({}))));
    let text = nest(64, and).to_string();
    assert_eq!(crate::json::parse_definition(text.as_bytes()).unwrap(), nest(64, and));
    assert_eq!(mistakes(&nest(65, and)).len(), 1);
}
