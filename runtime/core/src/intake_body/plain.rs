//! Events that are no row change: a type and a payload.

use serde_json::Value;

use super::draft::{Acceptance, Draft};
use crate::event::Event;
use crate::event_pattern::{EventPattern, check_type};
use crate::mistake::Mistake;

/// `{"type", "source", "payload", ...}`; a payload left out is `null`.
pub fn typed(mut draft: Draft, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let event_type = match draft.text("type") {
        Some(event_type) => event_type,
        None => {
            if draft.mistakes.is_empty() {
                draft.mistake("type", "`type` is required: the event's type, such as `order.created`");
            }
            String::new()
        }
    };
    if draft.mistakes.is_empty() {
        draft.check_type("type", &event_type);
    }
    // Its rows are unknown fields here, which alone would not say what to do.
    if matches!(EventPattern::parse(&event_type), Ok(EventPattern::Change(_))) && draft.has("table") {
        let remedy = "a row change is sent with `operation` (insert, update or delete)";
        draft.mistake("type", format!("`{event_type}` is a change event and no event type: {remedy}"));
    }
    let mut event = draft.event(event_type, acceptance);
    event.record = draft.take("payload").unwrap_or_default();
    draft.finish(event, &["type", "payload"])
}

/// `{"payload": {"event_type", ...}, ...}`; the payload keeps its `event_type`.
pub fn payload(mut draft: Draft, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let payload = draft.take("payload").unwrap_or_default();
    let event_type = match payload.get("event_type") {
        Some(Value::String(event_type)) => {
            if let Err(detail) = check_type(event_type) {
                draft.mistakes.push(Mistake::new("/payload/event_type", detail));
            }
            event_type.clone()
        }
        Some(other) => {
            draft.mistakes.push(Mistake::kind("/payload/event_type", "a string", other));
            String::new()
        }
        None => {
            let detail = "an event needs a type: `event_type` in its payload, or `type` beside it";
            draft.mistakes.push(Mistake::new("/payload/event_type", detail));
            String::new()
        }
    };
    let mut event = draft.event(event_type, acceptance);
    event.record = payload;
    draft.finish(event, &["type", "payload"])
}
