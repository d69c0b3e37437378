//! CloudEvents 1.0, structured and binary.
//!
//! All attributes are kept as they came. What conditions and templates read: the type, `source`, `time` as the
//! timestamp, `data` as the payload, and `subject`, `dataschema` and the extensions as `metadata`. An extension
//! `env` names the environment.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::draft::{Acceptance, Draft};
use crate::event::Event;
use crate::mistake::Mistake;
use crate::trace::TraceContext;

const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
const OPTIONAL: [&str; 4] = ["datacontenttype", "dataschema", "subject", "time"];

/// A structured CloudEvent (`application/cloudevents+json`).
pub fn from_cloudevent(body: Value, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    structured(Draft::of(body, "")?, acceptance)
}

/// As [`from_cloudevent`], of a body that was begun to be read.
pub fn structured(mut draft: Draft, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let data = data(&mut draft);
    event(draft, data, acceptance)
}

/// A binary CloudEvent: its attributes (`ce-` removed, values percent-decoded) and its data.
pub fn from_binary_cloudevent(
    attributes: Map<String, Value>,
    data: Value,
    acceptance: Acceptance,
) -> Result<Event, Vec<Mistake>> {
    let mut draft = Draft::of(Value::Object(attributes), "")?;
    for name in ["data", "data_base64"] {
        if draft.take(name).is_some() {
            draft.mistake(name, format!("`{name}` is no attribute: the body of a binary CloudEvent is its data"));
        }
    }
    event(draft, data, acceptance)
}

fn event(mut draft: Draft, data: Value, acceptance: Acceptance) -> Result<Event, Vec<Mistake>> {
    let attributes: Map<String, Value> = draft.take_rest().into_iter().filter(|(_, value)| !value.is_null()).collect();
    check_required(&attributes, &mut draft);
    for name in OPTIONAL {
        if let Some(value) = attributes.get(name) {
            check_text(name, value, &mut draft);
        }
    }
    check_extensions(&attributes, &mut draft);
    let text = |name: &str| attributes.get(name).and_then(Value::as_str);
    let event_type = text("type").unwrap_or_default().to_owned();
    if !event_type.is_empty() {
        draft.check_type("type", &event_type);
    }
    // The request's is the current hop; the attributes are where the event began.
    let trace = match &acceptance.trace.traceparent {
        Some(_) => acceptance.trace.clone(),
        None => TraceContext::of(text("traceparent"), text("tracestate")),
    };
    // The draft is empty by now; from here on it holds what the common fields are read from.
    let mut common = Map::new();
    for (name, attribute) in [("source", "source"), ("timestamp", "time"), ("env", "env")] {
        if let Some(value) = text(attribute).filter(|value| !value.is_empty()) {
            common.insert(name.to_owned(), value.into());
        }
    }
    let mut common = Draft::of(Value::Object(common), "")?;
    let mut event = common.event(event_type, acceptance);
    draft.mistakes.extend(common.mistakes.into_iter().map(|mistake| match mistake.pointer.as_str() {
        "/timestamp" => Mistake::new("/time", mistake.detail),
        _ => mistake,
    }));
    event.record = data;
    (event.traceparent, event.tracestate) = (trace.traceparent, trace.tracestate);
    event.metadata = metadata(&attributes);
    event.attributes = attributes;
    if draft.mistakes.is_empty() { Ok(event) } else { Err(draft.mistakes) }
}

fn check_required(attributes: &Map<String, Value>, draft: &mut Draft) {
    for name in REQUIRED {
        match attributes.get(name) {
            Some(value) => check_text(name, value, draft),
            None => draft.mistake(name, format!("a CloudEvent needs the attribute `{name}`")),
        }
    }
    if let Some(Value::String(version)) = attributes.get("specversion")
        && version != "1.0"
        && !version.is_empty()
    {
        draft.mistake("specversion", format!("CloudEvents `1.0` are taken, not `{version}`"));
    }
}

fn check_text(name: &str, value: &Value, draft: &mut Draft) {
    match value {
        Value::String(text) if text.is_empty() => {
            draft.mistake(name, format!("the attribute `{name}` cannot be empty"))
        }
        Value::String(_) => {}
        other => {
            let mistake = Mistake::kind(draft.at(name), "a string", other);
            draft.mistakes.push(mistake);
        }
    }
}

/// Names of extensions are made of lower-case letters and digits, so that every protocol can carry them.
fn check_extensions(attributes: &Map<String, Value>, draft: &mut Draft) {
    let known = || REQUIRED.into_iter().chain(OPTIONAL).chain(["data", "data_base64"]);
    for (name, value) in attributes {
        if REQUIRED.contains(&name.as_str()) || OPTIONAL.contains(&name.as_str()) {
            continue;
        }
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            let mut mistake = Mistake::unknown(draft.at(name), "attribute", name, known());
            mistake.detail.push_str(" (extensions have names of lower-case letters and digits)");
            draft.mistakes.push(mistake);
        } else if value.is_object() || value.is_array() {
            let mistake = Mistake::kind(draft.at(name), "a string, a number, true or false", value);
            draft.mistakes.push(mistake);
        }
    }
}

/// `data`, or `data_base64`: JSON in it is read where `datacontenttype` says so, and else it stays
/// `{"data_base64": TEXT}`, to be told from a text that was sent as `data`.
fn data(draft: &mut Draft) -> Value {
    if draft.has("data") && draft.peek("data_base64").is_some_and(|encoded| !encoded.is_null()) {
        draft.mistake("data_base64", "a CloudEvent has `data` or `data_base64`, never both");
    }
    let Some(encoded) = draft.text("data_base64") else { return draft.take("data").unwrap_or_default() };
    draft.take("data");
    let Ok(bytes) = STANDARD.decode(&encoded) else {
        draft.mistake("data_base64", "this is no base64 (the standard alphabet, with padding)");
        return Value::Null;
    };
    let is_json = draft.peek("datacontenttype").and_then(Value::as_str).is_some_and(is_json);
    if !is_json {
        return Value::Object(Map::from_iter([("data_base64".to_owned(), Value::String(encoded))]));
    }
    match crate::json::parse(&bytes) {
        Ok(data) => data,
        Err(error) => {
            draft.mistake("data_base64", format!("`datacontenttype` says JSON, but the data is not: {error}"));
            Value::Null
        }
    }
}

/// `application/json`, `text/json`, and whatever ends in `+json`.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

fn metadata(attributes: &Map<String, Value>) -> Map<String, Value> {
    let told = |name: &str| REQUIRED.contains(&name) || matches!(name, "time" | "datacontenttype" | "env");
    attributes.iter().filter(|(name, _)| !told(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}
