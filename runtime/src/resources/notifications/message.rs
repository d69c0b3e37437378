//! A message: its parts for e-mail, SMS, push and callbacks, templates over the variables that the action brings.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_core::mistake::{Mistake, join};

use super::Urgency;
use crate::mail::MessageTemplate;

/// A message with templates over the variables that the action brings.
#[derive(Clone, Default, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The subject of the e-mail.
    #[serde(default)]
    pub subject: String,
    /// The plain text of the e-mail.
    pub text: Option<String>,
    /// The HTML of the e-mail; values put into it are escaped.
    pub html: Option<String>,
    /// What is sent as SMS.
    pub sms: Option<SmsPart>,
    /// What is sent as push message.
    pub push: Option<PushPart>,
    /// What is sent as callback.
    pub callback: Option<CallbackPart>,
}

/// A message as SMS.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct SmsPart {
    /// The text.
    pub body: String,
}

/// A message as push message.
#[derive(Clone, Default, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct PushPart {
    /// The title.
    pub title: Option<String>,
    /// The text.
    pub body: Option<String>,
    /// What the app gets with it.
    #[serde(default)]
    pub data: Map<String, Value>,
    /// How many seconds the push service tries to deliver it.
    #[schemars(range(max = 2_419_200))]
    pub ttl: Option<u32>,
    /// How soon it must be there.
    pub urgency: Option<Urgency>,
}

/// A message as callback.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields)]
pub struct CallbackPart {
    /// The body: a text, or JSON whose strings are templates.
    pub body: Value,
}

/// Mistakes in a message's templates, and in what parts it has.
pub(super) fn check(message: &Value) -> Vec<Mistake> {
    let mut found = Vec::new();
    for (field, is_html) in [("subject", false), ("text", false), ("html", true)] {
        if let Some(source) = message.get(field).and_then(Value::as_str)
            && let Err(detail) = MessageTemplate::compile(source, is_html)
        {
            found.push(Mistake::new(format!("/{field}"), detail));
        }
    }
    for part in ["sms", "push", "callback"] {
        templates(message.get(part).unwrap_or(&Value::Null), &format!("/{part}"), &mut found);
    }
    if ["text", "html", "sms", "push", "callback"].iter().all(|part| message.get(part).is_none()) {
        found.push(Mistake::new("", "a message needs `text`, `html`, `sms`, `push` or `callback`"));
    }
    found
}

/// Every string in `value` has to compile.
pub(super) fn templates(value: &Value, pointer: &str, found: &mut Vec<Mistake>) {
    match value {
        Value::String(source) => {
            if let Err(detail) = MessageTemplate::compile(source, false) {
                found.push(Mistake::new(pointer, detail));
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| templates(item, &format!("{pointer}/{i}"), found));
        }
        Value::Object(members) => {
            members.iter().for_each(|(key, member)| templates(member, &join(pointer, key), found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
