//! Hooks: what third parties send to an address of their own becomes events, once it is found to be theirs.
//!
//! In this order: the token leads to the hook, the signature is checked on the bytes as they came (`verify.rs`), and only then are they
//! read. The id that the sender gives a delivery names the event: sent again it makes no second one.

mod verify;

use std::time::Duration;

use http::HeaderMap;
use serde_json::{Map, Value};
use triggerd_core::event::Event;
use triggerd_core::event_pattern::check_type;
use triggerd_core::intake_body::{Acceptance, Incoming};

pub use verify::{Refusal, verify};

use crate::resources::{Hook, Verify};

/// The longest id of a delivery.
const MAX_ID: usize = 255;
/// How much of a header is kept.
const MAX_HEADER: usize = 1024;

/// What Slack asks a new address for, in its own words: the answer repeats it.
#[must_use]
pub fn challenge<'p>(hook: &Hook, payload: &'p Value) -> Option<&'p str> {
    let is_asked = matches!(hook.verify, Verify::Slack { .. }) && payload["type"] == "url_verification";
    payload["challenge"].as_str().filter(|_| is_asked)
}

/// How long a delivery is remembered at the least: as long as what was signed with its time is taken.
#[must_use]
pub fn remembered(hook: &Hook) -> Duration {
    hook.verify.tolerance().saturating_mul(2)
}

/// The event of a request that was found to be the sender's.
#[must_use]
pub fn event(hook: &Hook, tag: &str, headers: &HeaderMap, payload: Value, acceptance: Acceptance) -> Incoming {
    let id = hook.delivery_id().map(|template| template.render(headers, &payload));
    let id = id.filter(|id| !id.is_empty() && id.len() <= MAX_ID && !id.contains(char::is_control));
    let event_type = hook.event_type().map(|template| whole(&template.render(headers, &payload)));
    // Whatever a third party comes to send is kept; what has no type that could be matched has the hook's.
    let event_type = event_type.filter(|found| check_type(found).is_ok()).unwrap_or_else(|| format!("hook.{tag}"));
    let mut metadata = Map::from_iter([("hook".to_owned(), Value::from(tag))]);
    metadata.extend(id.clone().map(|id| ("delivery_id".to_owned(), Value::from(id))));
    let kept = kept_headers(hook, headers);
    if !kept.is_empty() {
        metadata.insert("headers".to_owned(), Value::Object(kept));
    }
    let Acceptance { id: event_id, tenant, now, trace } = acceptance;
    let event = Event::plain(event_id, tenant, event_type, payload, now);
    let event = Event {
        source: Some(hook.source.clone().unwrap_or_else(|| format!("hooks/{tag}"))),
        env: hook.env.clone().unwrap_or(event.env),
        metadata,
        traceparent: trace.traceparent,
        tracestate: trace.tracestate,
        ..event
    };
    // A control character stands in no header: no `Idempotency-Key` is equal to it.
    Incoming { event, key: id.map(|id| format!("hooks\u{1f}{tag}\u{1f}{id}")) }
}

/// A type without the parts that the sender did not say.
fn whole(event_type: &str) -> String {
    event_type.split('.').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

fn kept_headers(hook: &Hook, headers: &HeaderMap) -> Map<String, Value> {
    let kept = |name: &String| {
        let value = headers.get(name.as_str())?.to_str().ok().filter(|value| value.len() <= MAX_HEADER)?;
        Some((name.to_ascii_lowercase(), Value::from(value)))
    };
    hook.headers.iter().filter_map(kept).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use serde_json::json;
    use triggerd_core::id::{EventId, TenantId};

    use super::*;

    fn made(settings: Value, headers: &[(&'static str, &'static str)], payload: Value) -> Incoming {
        let hook: Hook = serde_json::from_value(settings).unwrap();
        let headers =
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let now = jiff::Timestamp::UNIX_EPOCH;
        let acceptance =
            Acceptance { id: EventId::new(1, [0; 10]), tenant: TenantId::new("acme"), now, trace: Default::default() };
        event(&hook, "in", &headers.collect(), payload, acceptance)
    }

    #[test]
    fn what_each_sender_says_is_the_type_and_the_name_of_the_delivery() {
        for (verify, headers, payload, event_type, id) in [
            (
                "standard_webhooks",
                &[("webhook-id", "msg_1")][..],
                json!({"type": "user.created"}),
                "user.created",
                "msg_1",
            ),
            ("github", &[("x-github-event", "push"), ("x-github-delivery", "d1")][..], json!({}), "github.push", "d1"),
            ("stripe", &[][..], json!({"id": "evt_1", "type": "charge.succeeded"}), "stripe.charge.succeeded", "evt_1"),
            ("slack", &[][..], json!({"event_id": "Ev1", "event": {"type": "message"}}), "slack.message", "Ev1"),
        ] {
            let made = made(json!({"verify": {"type": verify, "secret": "s"}}), headers, payload);
            assert_eq!(made.event.event_type, event_type);
            assert_eq!(made.event.metadata["delivery_id"], id);
            assert_eq!(made.key.unwrap(), format!("hooks\u{1f}in\u{1f}{id}"));
            assert_eq!((made.event.source.as_deref(), made.event.env.as_str()), (Some("hooks/in"), "default"));
        }
    }

    #[test]
    fn a_type_that_is_none_is_the_hook_s() {
        let typed = |event_type: Value, payload: Value| {
            let made = made(json!({"verify": {"type": "none"}, "event_type": event_type}), &[], payload);
            assert_eq!(made.key, None);
            made.event.event_type
        };
        assert_eq!(typed(Value::Null, json!({"type": "a"})), "hook.in");
        assert_eq!(typed(json!("{{payload.type}}"), json!({})), "hook.in");
        assert_eq!(typed(json!("{{payload.type}}"), json!({"type": "white space"})), "hook.in");
        assert_eq!(typed(json!("crm.{{payload.type}}.{{payload.action}}"), json!({"type": "lead"})), "crm.lead");
    }

    #[test]
    fn settings_come_first_and_named_headers_are_kept() {
        let settings = json!({
            "verify": {"type": "none"}, "source": "crm", "env": "prd", "headers": ["X-Kind", "X-Other"],
            "delivery_id": "{{payload.uuid}}",
        });
        let headers = [("x-kind", "lead"), ("authorization", "Bearer x")];
        let made = made(settings, &headers, json!({"uuid": "u1"}));
        assert_eq!((made.event.source.as_deref(), made.event.env.as_str()), (Some("crm"), "prd"));
        let metadata = json!({"hook": "in", "delivery_id": "u1", "headers": {"x-kind": "lead"}});
        assert_eq!(Value::Object(made.event.metadata), metadata);
    }
}
