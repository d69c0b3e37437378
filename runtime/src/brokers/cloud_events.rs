//! CloudEvents 1.0 in binary mode: the event's context attributes beside a message, which is their data.
//!
//! The list is the same for every system. What a system's protocol binding adds is the spelling: Kafka `ce_NAME` (and
//! `content-type` for `datacontenttype`), NATS `ce-NAME`, AMQP `cloudEvents:NAME`, MQTT 5 the bare name; topics and
//! streams of Redis take NATS's.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Map, Value};
use triggerd_core::event::Event;

/// Attributes by name, in the order in which they are sent.
pub type Attributes = Vec<(&'static str, String)>;

/// The attribute that protocols have a place of their own for: the message's media type.
pub const CONTENT_TYPE: &str = "datacontenttype";

/// Who a CloudEvent is from whose event named no source.
const SOURCE: &str = "triggerd";

/// What no URI-reference can hold (RFC 3986, 2); `%` stays, since it may encode something already.
const NOT_IN_URI: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}');

/// What header values cannot hold where they are not UTF-8 by nature (CloudEvents HTTP binding, 3.1.3.2).
const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The attributes of `event`. `traceparent` is the attempt's, for an event that came without one: the attribute is the
/// trace that the event began in, and stays over hops.
#[must_use]
pub fn attributes(event: &Event, traceparent: &str) -> Attributes {
    let source = event.source.as_deref().filter(|source| !source.is_empty()).unwrap_or(SOURCE);
    let mut found = vec![
        ("specversion", "1.0".to_owned()),
        ("id", event.id.to_string()),
        ("source", utf8_percent_encode(source, NOT_IN_URI).to_string()),
        ("type", event.event_type.clone()),
    ];
    found.extend(subject(event).map(|subject| ("subject", subject)));
    found.push(("time", event.timestamp.to_string()));
    found.push((CONTENT_TYPE, "application/json".to_owned()));
    found.push(("traceparent", event.traceparent.as_deref().unwrap_or(traceparent).to_owned()));
    found.extend(event.tracestate.clone().map(|state| ("tracestate", state)));
    found
}

/// What the event is about: the subject that it came with, or the `id` of the row that was changed.
fn subject(event: &Event) -> Option<String> {
    if let Some(given) = event.attributes.get("subject").and_then(Value::as_str) {
        return Some(given.to_owned());
    }
    event.change.as_ref()?;
    match event.record.get("id").or_else(|| event.previous_record.get("id"))? {
        Value::String(id) if !id.is_empty() => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// A value for headers that hold printable ASCII alone: NATS, as in HTTP.
#[must_use]
pub fn ascii(value: &str) -> String {
    utf8_percent_encode(value, NOT_IN_HEADERS).to_string()
}

/// Headers with the attributes as `ce-NAME`, for what keeps headers as a JSON object. A header of that name that
/// the action set stays as it was set.
#[must_use]
pub fn into_object(headers: Map<String, Value>, attributes: &Attributes) -> Map<String, Value> {
    attributes.iter().fold(headers, |mut headers, (name, value)| {
        headers.entry(format!("ce-{name}")).or_insert_with(|| value.as_str().into());
        headers
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use triggerd_core::event::{Change, Moment, Operation};
    use triggerd_core::id::{EventId, TenantId};

    use super::*;

    fn event() -> Event {
        let at = "2025-03-01T10:00:00Z".parse().unwrap();
        Event {
            id: EventId::new(1, [1; 10]),
            tenant: TenantId::new("acme"),
            event_type: "order.created".into(),
            source: None,
            change: None,
            record: json!({"id": 7}),
            previous_record: Value::Null,
            env: "default".into(),
            user: Value::Null,
            metadata: Map::new(),
            attributes: Map::new(),
            timestamp: at,
            accepted_at: at,
            traceparent: None,
            tracestate: None,
            causation: Vec::new(),
            erased_at: None,
        }
    }

    fn value(event: &Event, name: &str) -> Option<String> {
        attributes(event, "00-t-s-01").into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    #[test]
    fn what_the_specification_requires_is_always_there() {
        let event = event();
        let all = attributes(&event, "00-t-s-01");
        let expected = [
            ("specversion", "1.0"),
            ("id", &event.id.to_string()),
            ("source", "triggerd"),
            ("type", "order.created"),
            ("time", "2025-03-01T10:00:00Z"),
            ("datacontenttype", "application/json"),
            ("traceparent", "00-t-s-01"),
        ];
        assert_eq!(all, expected.map(|(name, value)| (name, value.to_owned())));
    }

    #[test]
    fn a_source_is_a_uri_reference_and_a_trace_stays_the_event_s() {
        let mut event = event();
        event.source = Some("my shop/Zürich%20".into());
        event.traceparent = Some("00-a-b-01".into());
        assert_eq!(value(&event, "source").unwrap(), "my%20shop/Z%C3%BCrich%20");
        assert_eq!(value(&event, "traceparent").unwrap(), "00-a-b-01");
        event.source = Some(String::new());
        assert_eq!(value(&event, "source").unwrap(), "triggerd");
    }

    #[test]
    fn the_subject_is_the_one_given_or_the_changed_row_s_id() {
        let mut event = event();
        assert_eq!(value(&event, "subject"), None);
        let change = |operation| Change {
            operation,
            moment: Moment::After,
            database: None,
            schema: None,
            table: "orders".into(),
        };
        event.change = Some(change(Operation::Insert));
        assert_eq!(value(&event, "subject").as_deref(), Some("7"));
        event.change = Some(change(Operation::Delete));
        (event.previous_record, event.record) = (json!({"id": "x"}), Value::Null);
        assert_eq!(value(&event, "subject").as_deref(), Some("x"));
        event.attributes.insert("subject".into(), "given".into());
        assert_eq!(value(&event, "subject").as_deref(), Some("given"));
    }

    #[test]
    fn headers_in_ascii_are_encoded_and_what_was_set_stays() {
        assert_eq!(ascii("a \"b\" 1% é\r\n"), "a%20%22b%22%201%25%20%C3%A9%0D%0A");
        let set = Map::from_iter([("ce-type".to_owned(), json!("mine"))]);
        let headers = into_object(set, &attributes(&event(), "t"));
        assert_eq!((&headers["ce-type"], &headers["ce-specversion"]), (&json!("mine"), &json!("1.0")));
    }
}
