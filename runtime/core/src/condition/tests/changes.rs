//! `CHANGED` and its kin on every kind of event.

use super::*;

/// `[CHANGED, CHANGED_TO value, CHANGED_FROM value]` of the field `v`.
fn changes(event: &Event, value: &Value) -> [bool; 3] {
    let judge = |operator: &str, value: Option<&Value>| {
        ["v", "record.v"].map(|field| verdict(&json!({"field": field, "operator": operator, "value": value}), event))
    };
    let [short, long] = judge("CHANGED", None);
    assert_eq!(short, long);
    assert_eq!(judge("NOT_CHANGED", None), [!short; 2]);
    let [to, from] = [judge("CHANGED_TO", Some(value)), judge("changedFrom", Some(value))];
    assert_eq!((to[0], from[0]), (to[1], from[1]));
    [short, to[0], from[0]]
}

#[test]
fn an_update_changes_what_differs() {
    for (record, previous, value, expected) in [
        (json!({"v": 2}), json!({"v": 1}), json!(2), [true, true, false]),
        (json!({"v": 2}), json!({"v": 1}), json!(1), [true, false, true]),
        (json!({"v": 1.0}), json!({"v": 1}), json!(1), [false, false, false]),
        (json!({"v": null}), json!({}), json!(null), [false, false, false]),
        (json!({}), json!({"v": 1}), json!(null), [true, true, false]),
        (json!({"v": 1}), json!({}), json!(null), [true, false, true]),
        (json!({"v": {"a": [1]}}), json!({"v": {"a": [2]}}), json!({"a": [1]}), [true, true, false]),
        (json!({"v": 1}), Value::Null, json!(1), [true, true, false]),
    ] {
        let event = row(Operation::Update, record.clone(), previous.clone());
        assert_eq!(changes(&event, &value), expected, "{previous} -> {record}, {value}");
    }
}

#[test]
fn an_insert_changes_every_field_that_is_present() {
    let event = row(Operation::Insert, json!({"v": 1}), Value::Null);
    assert_eq!(changes(&event, &json!(1)), [true, true, false]);
    assert_eq!(changes(&event, &json!(null)), [true, false, true]);
    assert_eq!(changes(&row(Operation::Insert, json!({"v": null}), Value::Null), &json!(null)), [true, true, true]);
    assert_eq!(changes(&row(Operation::Insert, json!({}), Value::Null), &json!(null)), [false; 3]);
    // What a source sends as the previous record of an insert is no old value.
    assert_eq!(changes(&row(Operation::Insert, json!({"v": 1}), json!({"v": 1})), &json!(1)), [true, true, false]);
}

#[test]
fn a_delete_changes_every_field_of_the_old_row() {
    for event in [
        row(Operation::Delete, Value::Null, json!({"v": 1})),
        row(Operation::Delete, json!({"v": 1}), Value::Null),
        row(Operation::Delete, json!({"v": 2}), json!({"v": 1})),
    ] {
        assert_eq!(changes(&event, &json!(1)), [true, false, true]);
        assert_eq!(changes(&event, &json!(null)), [true, true, false]);
    }
    assert_eq!(changes(&row(Operation::Delete, Value::Null, json!({})), &json!(null)), [false; 3]);
}

#[test]
fn without_a_row_change_only_a_previous_record_makes_a_change() {
    assert_eq!(changes(&event(json!({"v": 1})), &json!(1)), [false; 3]);
    let with_previous = Event { previous_record: json!({"v": 0}), ..event(json!({"v": 1})) };
    assert_eq!(changes(&with_previous, &json!(1)), [true, true, false]);
}

#[test]
fn a_column_named_like_a_root_is_a_column() {
    let event =
        row(Operation::Update, json!({"type": "b", "payload": {"x": 1}}), json!({"type": "a", "payload": {"x": 1}}));
    assert!(verdict(&json!({"field": "type", "operator": "CHANGED_TO", "value": "b"}), &event));
    assert!(verdict(&json!({"field": "payload.x", "operator": "NOT_CHANGED"}), &event));
    assert!(verdict(&json!({"field": "record", "operator": "CHANGED"}), &event));
}

#[test]
fn an_explanation_shows_both_sides() {
    let event = row(Operation::Update, json!({"v": 2}), json!({"v": 1}));
    let explain = |source: Value| serde_json::to_value(compile(&source).explain(&event, &asks_none)).unwrap();
    assert_eq!(
        explain(json!({"field": "v", "operator": "changed"})),
        json!({"node": "field", "verdict": true, "path": "v", "operator": "CHANGED", "found": {"previousRecord": 1, "record": 2}})
    );
    assert_eq!(
        explain(json!({"field": "record.v", "operator": "CHANGED_FROM", "value": 7})),
        json!({"node": "field", "verdict": false, "path": "record.v", "operator": "CHANGED_FROM", "found": 1, "wanted": 7})
    );
}
