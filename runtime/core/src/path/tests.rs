//! Paths: what they find, how they read back, and what is said about wrong ones.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::event::{Change, Moment, Operation};
use crate::id::{EventId, TenantId};

fn event() -> Event {
    Event {
        id: EventId::new(0, [0; 10]),
        tenant: serde_json::from_value::<TenantId>(json!("acme")).unwrap(),
        event_type: "orders.updated".into(),
        source: Some("shop".into()),
        change: Some(Change {
            operation: Operation::Update,
            moment: Moment::After,
            database: Some("orders-db".into()),
            schema: None,
            table: "orders".into(),
        }),
        record: json!({"items": [{"sku": "A"}, {"sku": "B"}], "odd.key": 1, "null": null, "0": "zero"}),
        previous_record: json!({"status": "new"}),
        env: "prd".into(),
        user: json!({"id": 7}),
        metadata: json!({"trace": {"id": "t"}}).as_object().unwrap().clone(),
        attributes: Map::new(),
        timestamp: "2024-05-06T07:08:09.1239+02:00".parse().unwrap(),
        accepted_at: "2024-05-06T07:08:09Z".parse().unwrap(),
        traceparent: None,
        tracestate: None,
        causation: vec![],
        erased_at: None,
    }
}

fn found(path: &str, event: &Event) -> Option<Value> {
    Path::parse(path).unwrap().find(event).map(Cow::into_owned)
}

#[test]
fn every_root_finds_its_part_of_a_row_change() {
    let event = event();
    for (path, wanted) in [
        ("record.items[0].sku", Some(json!("A"))),
        ("record.items.1.sku", Some(json!("B"))),
        ("record.items[2].sku", None),
        ("record.items.01", None),
        ("record.0", Some(json!("zero"))),
        (r#"record["odd.key"]"#, Some(json!(1))),
        ("record['odd.key']", Some(json!(1))),
        ("record.null", Some(Value::Null)),
        ("record.none.deeper", None),
        ("previousRecord.status", Some(json!("new"))),
        ("event", Some(json!("afterUpdate"))),
        ("type", Some(json!("orders.updated"))),
        ("table", Some(json!("orders"))),
        ("database", Some(json!("orders-db"))),
        ("env", Some(json!("prd"))),
        ("operation", Some(json!("update"))),
        ("timestamp", Some(json!("2024-05-06T05:08:09.123Z"))),
        ("user.id", Some(json!(7))),
        ("source", Some(json!("shop"))),
        ("metadata.trace.id", Some(json!("t"))),
        ("metadata", Some(json!({"trace": {"id": "t"}}))),
        ("payload", Some(event.payload())),
        ("payload.record.items[1].sku", Some(json!("B"))),
        ("payload.previousRecord.status", Some(json!("new"))),
        ("payload.table", Some(json!("orders"))),
    ] {
        assert_eq!(found(path, &event), wanted, "{path}");
    }
}

#[test]
fn an_event_that_is_no_row_change_has_its_payload_as_record() {
    let event = Event { change: None, previous_record: Value::Null, source: None, user: Value::Null, ..event() };
    for path in
        ["operation", "table", "database", "source", "user", "user.id", "previousRecord", "previousRecord.status"]
    {
        assert_eq!(found(path, &event), None, "{path}");
    }
    assert_eq!(found("event", &event), Some(json!("orders.updated")));
    assert_eq!(found("payload", &event), Some(event.record.clone()));
    assert_eq!(found("payload.items[0].sku", &event), Some(json!("A")));
}

#[test]
fn values_below_the_record_are_borrowed() {
    let event = event();
    for path in
        ["record", "record.items[0]", "previousRecord.status", "user.id", "metadata.trace", "payload.record.items"]
    {
        assert!(matches!(Path::parse(path).unwrap().find(&event), Some(Cow::Borrowed(_))), "{path}");
    }
}

#[test]
fn a_wrong_path_is_explained() {
    for (path, complaint) in [
        ("", "column 1: expected a name"),
        ("recrod.a", "a path cannot begin with `recrod`, did you mean `record`?"),
        ("record.", "column 8: expected a name"),
        ("record..a", "column 8: expected a name"),
        ("record.a b", "column 9: unexpected ` `"),
        ("record.a[", "column 10: expected a number or a quoted key"),
        ("record.a[1", "column 11: expected `]`"),
        ("record.a[-1]", "column 10: expected a number or a quoted key"),
        ("record.a[99999999999999999999]", "column 10: this index is too large"),
        ("record.ä[\"x]", "column 10: this quote is never closed"),
        ("record[\"\\q\"]", "column 8: a key in double quotes is written as a JSON string"),
        ("env.name", "`env` is a text: there is nothing below it"),
    ] {
        assert_eq!(Path::parse(path).unwrap_err(), complaint, "{path}");
    }
    assert!(Path::parse("customer_email").unwrap_err().contains("write `record.customer_email`"));
    assert!(Path::parse(&"record.a".repeat(1000)).is_err());
}

#[test]
fn in_the_record_the_leading_name_may_be_left_out() {
    for (short, long) in [
        ("status", "record.status"),
        ("record.status", "record.status"),
        ("type", "record.type"),
        ("address.city", "record.address.city"),
        ("[\"odd.key\"]", "record[\"odd.key\"]"),
        ("record", "record"),
    ] {
        assert_eq!(Path::parse_in_record(short).unwrap(), Path::parse(long).unwrap(), "{short}");
    }
    assert!(Path::parse_in_record("previousRecord.status").is_err());
}

proptest! {
    #[test]
    fn a_path_reads_back_as_it_is_shown(steps in prop::collection::vec(prop_oneof![
        ".*".prop_map(Step::Key), "[a-z_]{1,8}".prop_map(Step::Key), any::<usize>().prop_map(Step::Index)
    ], 0..6)) {
        let path = Path { root: Root::Record, steps };
        prop_assume!(path.to_string().len() <= 4096);
        prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "(record)?[a-z\\[\\]\"'.0-9\\\\é ]{0,24}") {
        let _ = Path::parse(&text);
        let _ = Path::parse_in_record(&text);
    }
}
