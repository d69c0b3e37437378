//! What Hasura's event triggers send.
//!
//! `id` names the delivery: Hasura sends it again until it is answered 2xx. `MANUAL`, a trigger that somebody invoked by hand on a
//! row that is there, is an update of which no earlier state is known. What else Hasura says is kept as it came, under
//! `metadata.hasura`; fields that a later version may add are there too.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::draft::{Acceptance, Draft};
use super::{Incoming, row};
use crate::event::{Moment, Operation};
use crate::mistake::Mistake;
use crate::trace::TraceContext;

/// Which member of `metadata` has what Hasura says.
const METADATA: &str = "hasura";
/// What may stand beside Hasura's own fields, added by a transform of the request.
const ADDED: [&str; 5] = ["database", "source", "env", "user", "metadata"];

/// Whether this is one: `table` and `event` are objects, as in no other body.
pub fn is_one(draft: &Draft) -> bool {
    let is_object = |name: &str| draft.peek(name).is_some_and(Value::is_object);
    is_object("event") && is_object("table")
}

/// Reads one.
pub fn event(mut draft: Draft, acceptance: Acceptance) -> Result<Incoming, Vec<Mistake>> {
    let mut event = part(&mut draft, "event", "/event");
    let mut table = part(&mut draft, "table", "/table");
    let mut data = part(&mut event, "data", "/event/data");
    let mut change = Map::new();
    for (name, value) in [
        ("table", table.take("name")),
        ("schema", table.take("schema")),
        ("record", data.take("new")),
        ("previousRecord", data.take("old")),
    ]
    .into_iter()
    .chain(ADDED.map(|name| (name, draft.take(name))))
    {
        change.extend(value.map(|value| (name.to_owned(), value)));
    }
    let id = draft.name("id");
    let created_at = draft.text("created_at");
    let happened = created_at.as_deref().map(instant);
    if happened == Some(None) {
        let text = created_at.unwrap_or_default();
        draft.mistake("created_at", format!("`{text}` is no timestamp such as `2026-01-31T09:30:00.123456`"));
    }
    let op = event.peek("op").cloned();
    let operation = operation(&mut event);
    let variables = event.take("session_variables").filter(|variables| !variables.is_null());
    if let Some(user) = variables.as_ref().and_then(user)
        && !change.contains_key("user")
    {
        change.insert("user".to_owned(), user);
    }
    let said = event.take("trace_context").unwrap_or_default();
    // The request's is the current hop.
    let trace = match &acceptance.trace.traceparent {
        Some(_) => acceptance.trace.clone(),
        None => TraceContext::of(traceparent(&said).as_deref(), None),
    };

    let mut change = Draft::of(Value::Object(change), "")?;
    let made = row::change(operation, Moment::After, &mut change, acceptance);
    let mut mistakes = std::mem::take(&mut draft.mistakes);
    mistakes.append(&mut event.mistakes);
    mistakes.extend(change.mistakes.into_iter().map(placed));
    let Some(mut made) = made.filter(|_| mistakes.is_empty()) else { return Err(mistakes) };

    let mut said = Map::new();
    said.extend(id.clone().map(|id| ("id".to_owned(), Value::String(id))));
    let trigger = draft.take("trigger").map(|trigger| trigger.get("name").cloned().unwrap_or(trigger));
    said.extend(trigger.map(|trigger| ("trigger".to_owned(), trigger)));
    said.extend(op.map(|op| ("op".to_owned(), op)));
    said.extend(variables.map(|variables| ("session_variables".to_owned(), variables)));
    said.extend(event.take_rest());
    said.extend(draft.take_rest());
    made.metadata.insert(METADATA.to_owned(), Value::Object(said));
    made.timestamp = happened.flatten().unwrap_or(made.timestamp);
    (made.traceparent, made.tracestate) = (trace.traceparent, trace.tracestate);
    Ok(Incoming { event: made, key: id.map(|id| format!("hasura\u{1f}{id}")) })
}

/// An object inside of the body; a mistake where it is none.
fn part(draft: &mut Draft, name: &str, pointer: &'static str) -> Draft {
    let value = draft.take(name).unwrap_or_default();
    Draft::of(value, pointer).unwrap_or_else(|mut mistakes| {
        draft.mistakes.append(&mut mistakes);
        Draft::empty(pointer)
    })
}

fn operation(event: &mut Draft) -> Option<Operation> {
    let op = event.take("op");
    if op.as_ref().and_then(Value::as_str).is_some_and(|op| op.eq_ignore_ascii_case("manual")) {
        return Some(Operation::Update);
    }
    row::operation_in("op", op, event)
}

/// Who made the change, where the session says so.
fn user(variables: &Value) -> Option<Value> {
    let variables = variables.as_object()?;
    let said =
        |wanted: &str| variables.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, v)| v.clone());
    let parts = [("id", said("x-hasura-user-id")), ("role", said("x-hasura-role"))];
    let user: Map<String, Value> =
        parts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    (!user.is_empty()).then_some(Value::Object(user))
}

/// Hasura writes instants with and without their offset; they are of UTC then.
fn instant(text: &str) -> Option<Timestamp> {
    let without = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp());
    text.parse().ok().or_else(without)
}

/// The trace that the change was made in. Older versions have ids of 64 bits, which stand for themselves with zeros before them.
fn traceparent(trace: &Value) -> Option<String> {
    let text = |name: &str| trace.get(name).and_then(Value::as_str);
    let flags = if text("sampling_state") == Some("0") { "00" } else { "01" };
    Some(format!("00-{:0>32}-{:0>16}-{flags}", text("trace_id")?, text("span_id")?))
}

/// A mistake where Hasura has what it is about.
fn placed(mistake: Mistake) -> Mistake {
    let pointer = match mistake.pointer.as_str() {
        "/table" => "/table/name",
        "/schema" => "/table/schema",
        "/record" => "/event/data/new",
        "/previousRecord" => "/event/data/old",
        _ => return mistake,
    };
    Mistake::new(pointer, mistake.detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::super::{from_json, read_json};
    use super::*;
    use crate::event::Event;
    use crate::id::{EventId, TenantId};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn acceptance() -> Acceptance {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Acceptance {
            id: EventId::new(1, [0; 10]),
            tenant: TenantId::new("default"),
            now,
            trace: TraceContext::default(),
        }
    }

    fn read(body: Value) -> Event {
        from_json(body, acceptance()).unwrap()
    }

    fn hasura(op: &str, old: Value, new: Value) -> Value {
        json!({
            "id": "85558393-c75d-4d2f-9c15-e80591b83894", "created_at": "2025-09-05T07:14:21.601701",
            "trigger": {"name": "order_changed"}, "table": {"schema": "public", "name": "orders"},
            "event": {
                "op": op, "data": {"old": old, "new": new},
                "session_variables": {"x-hasura-role": "admin", "X-Hasura-User-Id": "7", "x-hasura-org": "o1"},
                "trace_context": {"trace_id": "501d7e0dbf0b09d6", "span_id": "df33abb2e4fd2a4e"},
            },
            "delivery_info": {"current_retry": 0, "max_retries": 5},
        })
    }

    #[test]
    fn a_hasura_event_is_a_row_change_that_is_named_by_its_id() {
        let body = hasura("UPDATE", json!({"id": 1, "status": "new"}), json!({"id": 1, "status": "paid"}));
        let read = read_json(body, acceptance()).unwrap();
        assert!(read.key.unwrap().ends_with("85558393-c75d-4d2f-9c15-e80591b83894"));
        let event = read.event;
        assert_eq!((event.event_type.as_str(), event.event_name()), ("orders.updated", "afterUpdate"));
        assert_eq!((&event.record["status"], &event.previous_record["status"]), (&json!("paid"), &json!("new")));
        let change = event.change.unwrap();
        assert_eq!((change.schema.as_deref(), change.database), (Some("public"), None));
        assert_eq!(event.user, json!({"id": "7", "role": "admin"}));
        assert_eq!(event.timestamp, "2025-09-05T07:14:21.601701Z".parse().unwrap());
        assert_eq!(event.traceparent.as_deref(), Some("00-0000000000000000501d7e0dbf0b09d6-df33abb2e4fd2a4e-01"));
        assert_eq!(
            event.metadata["hasura"],
            json!({
                "id": "85558393-c75d-4d2f-9c15-e80591b83894", "trigger": "order_changed", "op": "UPDATE",
                "session_variables": {"x-hasura-role": "admin", "X-Hasura-User-Id": "7", "x-hasura-org": "o1"},
                "delivery_info": {"current_retry": 0, "max_retries": 5},
            })
        );
    }

    #[test]
    fn every_operation_of_hasura_is_a_change_and_a_manual_one_an_update() {
        let row = json!({"id": 1});
        for (op, old, new, event_type) in [
            ("INSERT", Value::Null, row.clone(), "orders.created"),
            ("DELETE", row.clone(), Value::Null, "orders.deleted"),
            ("MANUAL", Value::Null, row.clone(), "orders.updated"),
        ] {
            let event = read(hasura(op, old.clone(), new.clone()));
            assert_eq!((event.event_type.as_str(), event.record, event.previous_record), (event_type, new, old));
            assert_eq!(event.metadata["hasura"]["op"], op);
        }
    }

    #[test]
    fn what_hasura_leaves_out_or_a_transform_adds_is_taken_as_it_is() {
        let mut body = hasura("INSERT", Value::Null, json!({"id": 1}));
        body["created_at"] = json!("2025-09-05T07:14:21Z");
        body["event"]["session_variables"] = Value::Null;
        body["event"]["trace_context"] = json!({"trace_id": "x", "span_id": "y"});
        body["database"] = json!("shop");
        body["env"] = json!("prd");
        body["user"] = json!("me");
        body["metadata"] = json!({"a": 1});
        body["of_a_later_version"] = json!(true);
        let event = read(body.clone());
        assert_eq!((event.database(), event.env.as_str(), &event.user), (Some("shop"), "prd", &json!("me")));
        assert_eq!((event.traceparent, &event.metadata["a"]), (None, &json!(1)));
        assert_eq!(event.metadata["hasura"]["of_a_later_version"], true);
        let with_header = Acceptance { trace: TraceContext::of(Some(PARENT), Some("a=1")), ..acceptance() };
        let event = from_json(hasura("INSERT", Value::Null, json!({"id": 1})), with_header).unwrap();
        assert_eq!(event.traceparent.as_deref(), Some(PARENT), "the request's own is the nearer one");
        body["event"]["trace_context"] = json!({"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "sampling_state": "0"});
        let expected = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        assert_eq!(read(body).traceparent.as_deref(), Some(expected));
    }

    #[test]
    fn mistakes_of_a_hasura_event_are_told_at_its_own_places() {
        let mut body = hasura("TRUNCATE", json!([]), json!(1));
        body["table"]["name"] = json!("");
        body["created_at"] = json!("yesterday");
        body["id"] = json!(5);
        let places = |body: Value| {
            let mut found: Vec<String> =
                from_json(body, acceptance()).unwrap_err().into_iter().map(|mistake| mistake.pointer).collect();
            found.sort();
            found
        };
        let all = ["/created_at", "/event/data/new", "/event/data/old", "/event/op", "/id", "/table/name"];
        assert_eq!(places(body), all);
        assert_eq!(places(hasura("INSERT", Value::Null, Value::Null)), ["/event/data/new"]);
        let mut body = hasura("INSERT", Value::Null, Value::Null);
        body["event"]["data"] = json!(1);
        assert_eq!(places(body), ["/event/data", "/event/data/new"]);
    }
}
