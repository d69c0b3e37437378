//! Every body of the API's table, good and bad.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Acceptance, from_binary_cloudevent, from_cloudevent, from_execute, from_json};
use crate::event::{Event, Moment, Operation};
use crate::id::{EventId, TenantId};
use crate::mistake::Mistake;
use crate::trace::TraceContext;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn acceptance() -> Acceptance {
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    Acceptance { id: EventId::new(1, [0; 10]), tenant: TenantId::new("default"), now, trace: TraceContext::default() }
}

fn read(body: Value) -> Event {
    from_json(body, acceptance()).unwrap()
}

fn told(result: Result<Event, Vec<Mistake>>) -> Vec<String> {
    result.unwrap_err().iter().map(ToString::to_string).collect()
}

fn refused(body: Value) -> Vec<String> {
    told(from_json(body, acceptance()))
}

#[test]
fn a_payload_brings_its_type_and_keeps_it() {
    let event = read(json!({"payload": {"event_type": "order.created", "total": 5}}));
    assert_eq!((event.event_type.as_str(), event.env.as_str()), ("order.created", "default"));
    assert_eq!(event.record, json!({"event_type": "order.created", "total": 5}));
    assert!(event.change.is_none() && event.timestamp == event.accepted_at);
}

#[test]
fn a_typed_event_may_carry_any_payload_and_the_common_fields() {
    let event = read(json!({
        "type": "user.created", "source": "django-app", "payload": [1], "env": "prd", "user": {"id": 7},
        "metadata": {"a": 1}, "timestamp": "2025-12-31T23:00:00.5-01:00",
    }));
    assert_eq!((event.source.as_deref(), event.env.as_str(), &event.record), (Some("django-app"), "prd", &json!([1])));
    assert_eq!((&event.user, event.metadata["a"].as_i64()), (&json!({"id": 7}), Some(1)));
    assert_eq!(event.timestamp, "2026-01-01T00:00:00.5Z".parse().unwrap());
    assert_eq!(read(json!({"type": "ping"})).record, Value::Null);
    assert_eq!(read(json!({"type": "INSERT", "payload": {}})).event_type, "INSERT");
}

#[test]
fn numbers_of_a_payload_keep_their_digits() {
    let body = r#"{"type":"a.b","payload":{"big":123456789012345678901234567890,"f":1.10}}"#;
    let event = read(serde_json::from_str(body).unwrap());
    assert_eq!(event.record.to_string(), r#"{"big":123456789012345678901234567890,"f":1.10}"#);
}

#[test]
fn a_row_change_has_the_type_of_its_table_and_operation() {
    for (operation, wanted, participle) in [
        ("insert", Operation::Insert, "created"),
        ("UPDATE", Operation::Update, "updated"),
        ("Delete", Operation::Delete, "deleted"),
    ] {
        let event = read(json!({
            "operation": operation, "database": "orders-db", "schema": "public", "table": "orders",
            "record": {"id": 1}, "previousRecord": {"id": 0},
        }));
        let change = event.change.as_ref().unwrap();
        assert_eq!((change.operation, change.moment), (wanted, Moment::After));
        assert_eq!((change.database.as_deref(), change.schema.as_deref()), (Some("orders-db"), Some("public")));
        assert_eq!(event.event_type, format!("orders.{participle}"));
        assert_eq!((event.record, event.previous_record), (json!({"id": 1}), json!({"id": 0})));
    }
}

#[test]
fn a_delete_keeps_its_rows_as_they_were_sent() {
    let only_old = read(json!({"operation": "delete", "table": "t", "previousRecord": {"id": 1}}));
    assert_eq!((only_old.record, only_old.previous_record), (Value::Null, json!({"id": 1})));
    let only_new = read(json!({"operation": "delete", "table": "t", "record": {"id": 1}, "previousRecord": null}));
    assert_eq!((only_new.record, only_new.previous_record), (json!({"id": 1}), Value::Null));
}

#[test]
fn supabase_bodies_are_row_changes() {
    let event = read(json!({
        "type": "UPDATE", "table": "orders", "schema": "public", "record": {"a": 2}, "old_record": {"a": 1},
    }));
    let change = event.change.as_ref().unwrap();
    assert_eq!((change.operation, change.schema.as_deref()), (Operation::Update, Some("public")));
    assert_eq!((event.record, event.previous_record), (json!({"a": 2}), json!({"a": 1})));
    let gone = json!({"type": "DELETE", "table": "t", "schema": "public", "record": null, "old_record": {"a": 1}});
    assert_eq!(read(gone).event_type, "t.deleted");
}

#[test]
fn rows_have_to_go_with_the_operation() {
    let operation = |operation: &str, row: &str| refused(json!({"operation": operation, "table": "t", row: {}}));
    assert_eq!(
        operation("insert", "previousRecord"),
        ["/record: `record` is required: the row as the insert leaves it"]
    );
    assert_eq!(operation("update", "old_record"), ["/record: `record` is required: the row as the update leaves it"]);
    assert_eq!(
        refused(json!({"operation": "delete", "table": "t"})),
        ["/record: `record` or `previousRecord` is required: the row that the delete removes"]
    );
    assert_eq!(
        refused(json!({"operation": "update", "table": "t", "record": [], "previousRecord": 1})),
        [
            "/record: must be an object or null, not an array",
            "/previousRecord: must be an object or null, not a number"
        ]
    );
}

#[test]
fn all_mistakes_of_a_body_come_at_once() {
    assert_eq!(
        refused(json!({
            "operation": "insrt", "tabel": "t", "record": {}, "env": 5, "metadata": [], "timestamp": "yesterday", "source": "",
        })),
        [
            "/operation: unknown operation `insrt`, did you mean `insert`?",
            "/table: `table` is required for a row change",
            "/source: cannot be empty; leave it out instead",
            "/env: must be a string, not a number",
            "/metadata: must be an object, not an array",
            "/timestamp: `yesterday` is no RFC 3339 timestamp such as `2026-01-31T09:30:00Z`",
            "/tabel: unknown field `tabel`, did you mean `table`?",
        ]
    );
}

#[test]
fn a_body_of_no_known_form_is_told_what_it_needs() {
    assert_eq!(refused(json!([])), ["/: must be an object, not an array"]);
    let told = refused(json!({"playload": {}, "zzz": 1}));
    assert!(told[0].contains("this is no event") && told[1].ends_with("did you mean `payload`?"), "{told:?}");
    assert_eq!(told.len(), 2);
    assert_eq!(
        refused(json!({"payload": {"a": 1}})),
        ["/payload/event_type: an event needs a type: `event_type` in its payload, or `type` beside it"]
    );
    assert_eq!(refused(json!({"payload": {"event_type": 1}})), ["/payload/event_type: must be a string, not a number"]);
    assert_eq!(
        refused(json!({"table": "t", "record": {}})),
        ["/operation: `operation` is required: insert, update or delete"]
    );
    assert_eq!(refused(json!({"type": null, "payload": {}})).len(), 1);
}

#[test]
fn event_types_are_checked() {
    for bad in ["", "a b", "a\nb", &"x".repeat(257)] {
        assert_eq!(refused(json!({"type": bad}))[0].split(':').next(), Some("/type"));
        assert_eq!(refused(json!({"payload": {"event_type": bad}}))[0].split(':').next(), Some("/payload/event_type"));
    }
    assert_eq!(read(json!({"type": "x".repeat(256)})).event_type.len(), 256);
}

#[test]
fn ambiguous_bodies_get_the_reading_that_makes_sense_or_a_clear_mistake() {
    let same = read(json!({"type": "orders.created", "operation": "insert", "table": "orders", "record": {}}));
    assert_eq!(same.event_type, "orders.created");
    let spelled = read(json!({"type": "INSERT", "operation": "insert", "table": "orders", "record": {}}));
    assert!(spelled.change.is_some());
    let told = refused(json!({"type": "user.created", "operation": "insert", "table": "orders", "record": {}}));
    assert!(told[0].starts_with("/type: `user.created` does not go with `operation`"), "{told:?}");
    let change = refused(json!({"type": "afterInsert", "table": "orders", "payload": {}}));
    assert!(change[0].starts_with("/type: `afterInsert` is a change event and no event type"), "{change:?}");
    let plain = refused(json!({"type": "user.created", "operation": "insert", "payload": {}}));
    assert!(plain[0].starts_with("/operation: unknown field `operation`"), "{plain:?}");
    let both =
        refused(json!({"operation": "update", "table": "t", "record": {}, "previousRecord": {}, "old_record": {}}));
    assert_eq!(both.len(), 1);
}

fn cloudevent() -> Value {
    json!({
        "specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.created", "time": "2025-01-01T00:00:00Z",
        "subject": "order/7", "datacontenttype": "application/json", "traceparent": PARENT, "partitionkey": "k",
        "data": {"total": 5},
    })
}

#[test]
fn a_structured_cloudevent_keeps_its_attributes() {
    let event = from_cloudevent(cloudevent(), acceptance()).unwrap();
    assert_eq!((event.event_type.as_str(), event.source.as_deref()), ("order.created", Some("/shop")));
    assert_eq!(event.timestamp, "2025-01-01T00:00:00Z".parse().unwrap());
    assert_eq!((&event.record, event.traceparent.as_deref()), (&json!({"total": 5}), Some(PARENT)));
    assert_eq!(event.attributes["id"], "a-1");
    assert_eq!(
        event.metadata,
        *json!({"subject": "order/7", "traceparent": PARENT, "partitionkey": "k"}).as_object().unwrap()
    );
    assert!(event.attributes.get("data").is_none());
    assert_eq!(from_json(cloudevent(), acceptance()).unwrap(), event);
}

#[test]
fn the_traceparent_of_the_request_goes_before_the_events() {
    let current = "00-11111111111111111111111111111111-2222222222222222-01";
    let acceptance = Acceptance { trace: TraceContext::of(Some(current), Some("now=1")), ..acceptance() };
    let event = from_cloudevent(cloudevent(), acceptance).unwrap();
    assert_eq!((event.traceparent.as_deref(), event.tracestate.as_deref()), (Some(current), Some("now=1")));
    let mut begun = cloudevent();
    begun["tracestate"] = "then=1".into();
    let event = from_cloudevent(begun.clone(), self::acceptance()).unwrap();
    assert_eq!((event.traceparent.as_deref(), event.tracestate.as_deref()), (Some(PARENT), Some("then=1")));
    begun["traceparent"] = "00-0-0-0".into();
    let event = from_cloudevent(begun, self::acceptance()).unwrap();
    assert_eq!((event.traceparent, event.tracestate), (None, None));
}

#[test]
fn all_that_a_cloudevent_lacks_is_named() {
    assert_eq!(
        told(from_cloudevent(
            json!({"specversion": "0.3", "id": "", "time": "now", "dataContentType": "x", "ext": {}}),
            acceptance()
        )),
        [
            "/id: the attribute `id` cannot be empty",
            "/source: a CloudEvent needs the attribute `source`",
            "/type: a CloudEvent needs the attribute `type`",
            "/specversion: CloudEvents `1.0` are taken, not `0.3`",
            "/dataContentType: unknown attribute `dataContentType`, did you mean `datacontenttype`? (extensions have names of lower-case letters and digits)",
            "/ext: must be a string, a number, true or false, not an object",
            "/time: `now` is no RFC 3339 timestamp such as `2026-01-31T09:30:00Z`",
        ]
    );
}

#[test]
fn binary_data_of_a_structured_cloudevent_is_decoded_where_it_is_json() {
    let with = |content_type: Value, encoded: &str| {
        let mut event = cloudevent();
        event.as_object_mut().unwrap().remove("data");
        event["datacontenttype"] = content_type;
        event["data_base64"] = encoded.into();
        from_cloudevent(event, acceptance())
    };
    assert_eq!(with("application/vnd.x+json; charset=utf-8".into(), "eyJhIjoxfQ==").unwrap().record, json!({"a": 1}));
    assert_eq!(with("image/png".into(), "AAEC").unwrap().record, json!({"data_base64": "AAEC"}));
    assert_eq!(told(with(Value::Null, "%")).len(), 1);
    assert!(told(with("application/json".into(), "AAEC"))[0].starts_with("/data_base64: `datacontenttype` says JSON"));
    let mut both = cloudevent();
    both["data_base64"] = "e30=".into();
    assert_eq!(
        told(from_cloudevent(both, acceptance())),
        ["/data_base64: a CloudEvent has `data` or `data_base64`, never both"]
    );
}

#[test]
fn a_binary_cloudevent_has_its_data_apart() {
    let attributes: Map<String, Value> = [
        ("specversion", "1.0"),
        ("id", "1"),
        ("source", "s"),
        ("type", "a.b"),
        ("env", "prd"),
        ("datacontenttype", "text/plain"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect();
    let event = from_binary_cloudevent(attributes.clone(), "hello".into(), acceptance()).unwrap();
    assert_eq!((event.record, event.env.as_str()), (json!("hello"), "prd"));
    let mut odd = attributes;
    odd.insert("data".to_owned(), "x".into());
    assert_eq!(told(from_binary_cloudevent(odd, Value::Null, acceptance())).len(), 1);
}

#[test]
fn execute_takes_change_events_with_their_context() {
    let context =
        json!({"database": "db", "table": "t", "record": {"a": 1}, "user": "u", "env": "prd", "metadata": {}});
    let event = from_execute(context.clone(), "beforeInsert", acceptance()).unwrap();
    assert_eq!(
        (event.event_name(), event.event_type.as_str(), event.env.as_str()),
        ("beforeInsert", "t.created", "prd")
    );
    assert_eq!(from_execute(context.clone(), "AFTER_UPDATE", acceptance()).unwrap().event_name(), "afterUpdate");
    let mut write = context.clone();
    assert!(
        told(from_execute(write.clone(), "beforeWrite", acceptance()))[0]
            .starts_with("/context/operation: `beforeWrite` stands")
    );
    write["operation"] = "update".into();
    assert_eq!(from_execute(write.clone(), "beforeWrite", acceptance()).unwrap().event_name(), "beforeUpdate");
    assert_eq!(
        told(from_execute(write, "beforeInsert", acceptance())),
        ["/context/operation: `update` does not go with `beforeInsert`"]
    );
    assert!(told(from_execute(context, "beforeInserts", acceptance()))[0].starts_with("/event: "));
    assert_eq!(
        told(from_execute(json!(1), "beforeInsert", acceptance())),
        ["/context: must be an object, not a number"]
    );
    assert_eq!(told(from_execute(json!({}), "beforeInsert", acceptance())).len(), 2);
}

#[test]
fn execute_takes_plain_types_with_a_payload_or_record() {
    for name in ["payload", "record"] {
        let event = from_execute(json!({name: {"a": 1}}), "order.created", acceptance()).unwrap();
        assert_eq!((event.event_name(), &event.record), ("order.created", &json!({"a": 1})));
    }
    assert_eq!(told(from_execute(json!({"record": 1, "payload": 2}), "a.b", acceptance())).len(), 1);
    assert_eq!(told(from_execute(json!({"table": "t", "payload": 2}), "a.b", acceptance())).len(), 1);
    assert!(told(from_execute(json!({}), "order.*", acceptance()))[0].starts_with("/event: "));
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(vec!["", "insert", "DELETE", "1.0", "orders", "a.b", "2026-01-01T00:00:00Z", "%"])
            .prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "type",
        "payload",
        "operation",
        "table",
        "record",
        "previousRecord",
        "old_record",
        "specversion",
        "id",
        "source",
        "data",
        "data_base64",
        "time",
        "timestamp",
        "env",
        "metadata",
        "event_type",
        "nobody",
    ]);
    leaf.prop_recursive(2, 24, 8, move |inner| {
        prop::collection::vec((names.clone(), inner), 0..8)
            .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

proptest! {
    #[test]
    fn every_body_ends_in_an_event_that_can_be_stored_or_in_mistakes(body in anything(), name in prop::sample::select(vec!["afterWrite", "a.b", "x y"])) {
        let results = [
            from_json(body.clone(), acceptance()),
            from_cloudevent(body.clone(), acceptance()),
            from_execute(body, name, acceptance()),
        ];
        for result in results {
            match result {
                Ok(event) => {
                    prop_assert!(!event.event_type.is_empty());
                    let stored = serde_json::to_string(&event).unwrap();
                    prop_assert_eq!(serde_json::from_str::<Event>(&stored).unwrap(), event);
                }
                Err(mistakes) => prop_assert!(!mistakes.is_empty()),
            }
        }
    }
}
