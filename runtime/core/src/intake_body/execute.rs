//! The execute call's `{"event", "context"}`.

use serde_json::Value;

use super::draft::{Acceptance, Draft};
use super::row;
use crate::event::Event;
use crate::event_pattern::{ChangePattern, EventPattern, Part};
use crate::mistake::Mistake;

/// The event that `POST /api/v1/execute` runs: `event_name` is a change event, or an event type for which the
/// context brings `payload` or `record`. `beforeWrite` and `afterWrite` need the context's `operation`.
pub fn from_execute(context: Value, event_name: &str, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let draft = Draft::of(context, "/context")?;
    match EventPattern::parse(event_name) {
        Ok(EventPattern::Change(pattern)) => change(draft, pattern, event_name, acceptance),
        Ok(EventPattern::Type(parts)) if parts.iter().all(|part| matches!(part, Part::Exact(_))) => {
            plain(draft, event_name, acceptance)
        }
        Ok(EventPattern::Type(_)) => {
            Err(vec![Mistake::new("/event", format!("`{event_name}`: one event cannot have wildcards in its type"))])
        }
        Err(detail) => Err(vec![Mistake::new("/event", detail)]),
    }
}

fn change(
    mut draft: Draft,
    pattern: ChangePattern,
    event_name: &str,
    acceptance: Acceptance,
) -> Result<Event, Vec<Mistake>> {
    let given = draft.take("operation").filter(|operation| !operation.is_null());
    let operation = match (pattern.operation, given) {
        (Some(operation), None) => Some(operation),
        (None, None) => {
            let detail = format!(
                "`{event_name}` stands for three operations: give `operation` (insert, update or delete), or name the change event itself"
            );
            draft.mistake("operation", detail);
            None
        }
        (meant, given) => {
            let operation = row::operation_in("operation", given, &mut draft);
            if let (Some(meant), Some(operation)) = (meant, operation)
                && meant != operation
            {
                draft.mistake("operation", format!("`{}` does not go with `{event_name}`", operation.as_str()));
            }
            operation
        }
    };
    let event = row::change(operation, pattern.moment, &mut draft, acceptance);
    row::end(draft, event)
}

fn plain(mut draft: Draft, event_type: &str, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    for name in ["database", "schema", "table", "previousRecord", "old_record", "operation"] {
        if draft.take(name).is_some_and(|value| !value.is_null()) {
            draft.mistake(
                name,
                format!("`{name}` goes with change events such as `afterInsert`, and `{event_type}` is none"),
            );
        }
    }
    if draft.has("payload") && draft.has("record") {
        draft.mistake("record", "`record` and `payload` are the same here: give one of them");
    }
    let record = draft.take("record");
    let payload = draft.take("payload").or(record).unwrap_or_default();
    let mut event = draft.event(event_type.to_owned(), acceptance);
    event.record = payload;
    draft.finish(event, &["payload", "record"])
}
