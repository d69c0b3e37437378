//! Telling the JSON bodies apart.

use serde_json::Value;

use super::draft::{Acceptance, Draft};
use super::{Incoming, cloudevent, hasura, plain, row};
use crate::event::Event;
use crate::mistake::{Mistake, nearest};

/// One body of api.md's table, already parsed: plain, row change, Supabase, Hasura. A CloudEvent that came as ordinary
/// JSON is known by its `specversion`.
pub fn read_json(body: Value, acceptance: Acceptance) -> Result<Incoming, Vec<Mistake>> {
    let draft = Draft::of(body, "")?;
    let event = match form(&draft) {
        Some(Form::CloudEvent) => cloudevent::structured(draft, acceptance),
        Some(Form::Change) => row::operation(draft, acceptance),
        Some(Form::Supabase) => row::supabase(draft, acceptance),
        Some(Form::Hasura) => return hasura::event(draft, acceptance),
        Some(Form::Typed) => plain::typed(draft, acceptance),
        Some(Form::Payload) => plain::payload(draft, acceptance),
        None => Err(unknown_form(draft)),
    };
    event.map(Incoming::from)
}

/// As [`read_json`], where nothing comes twice.
pub fn from_json(body: Value, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    read_json(body, acceptance).map(|incoming| incoming.event)
}

enum Form {
    CloudEvent,
    Change,
    Supabase,
    Hasura,
    Typed,
    Payload,
}

/// Which body it is. Where fields of several are there, the one that says most about a row change wins; fields
/// that do not belong to it are mistakes then.
fn form(draft: &Draft) -> Option<Form> {
    let row = ["table", "record", "previousRecord", "old_record"].iter().any(|name| draft.has(name));
    if draft.has("specversion") {
        return Some(Form::CloudEvent);
    }
    if hasura::is_one(draft) {
        return Some(Form::Hasura);
    }
    if draft.has("operation") && (row || !draft.has("type")) {
        return Some(Form::Change);
    }
    if let Some(event_type) = draft.peek("type") {
        let operation = event_type.as_str().and_then(row::read_operation);
        return Some(if row && operation.is_some() { Form::Supabase } else { Form::Typed });
    }
    if draft.has("payload") {
        return Some(Form::Payload);
    }
    // Only its operation is missing.
    row.then_some(Form::Change)
}

fn unknown_form(mut draft: Draft) -> Vec<Mistake> {
    let known = ["type", "payload", "operation", "table", "record", "previousRecord"];
    let needed = "this is no event: it needs `type` and `payload`, a `payload` with `event_type`, or `operation`, `table` and `record`";
    let mut mistakes = vec![Mistake::new("", needed)];
    for name in draft.take_rest().keys().filter(|name| nearest(name, known).is_some()) {
        mistakes.push(Mistake::unknown(draft.at(name), "field", name, known));
    }
    mistakes
}
