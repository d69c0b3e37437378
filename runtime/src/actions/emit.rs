//! `event.emit`: a new event, caused by this one. Chains of them are cut, so that triggers cannot feed each other
//! for ever.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::{Failure, Outcome};

use super::{Action, Context, Emitted};
use crate::failed::Failed;

/// The longest event type.
const MAX_TYPE: usize = 256;

/// `event.emit`
pub struct Emit;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// The new event's type: `order.confirmed`.
    #[serde(rename = "type")]
    event_type: String,
    /// Its payload.
    #[serde(default)]
    payload: Value,
}

impl Action for Emit {
    const KIND: &'static str = "event.emit";
    const WHOLE: Option<&'static str> = Some("payload");
    const READS_EVENT: bool = false;
    type Config = Config;

    fn whole(config: &mut Config) -> Option<&mut Value> {
        Some(&mut config.payload)
    }

    fn check(config: &Value) -> Vec<Mistake> {
        let written = config.get("type").and_then(Value::as_str).filter(|text| !text.contains("{{"));
        written.and_then(type_mistake).map(|detail| Mistake::new("/type", detail)).into_iter().collect()
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        if let Some(detail) = type_mistake(&config.event_type) {
            return Outcome::dead("CONFIG_INVALID", format!("/type: {detail}"));
        }
        let emitted = Emitted {
            cause: cx.event.clone(),
            delivery_id: cx.delivery_id,
            index: 0,
            event_type: config.event_type,
            payload: config.payload,
            at: cx.services.clock.now(),
        };
        match cx.services.emit(emitted).await {
            Ok(id) => Outcome::Done(json!({ "eventId": id.to_string() })),
            Err(failure) => failed(failure).into(),
        }
    }
}

/// An event that could not be kept may be kept later; a chain that was cut stays cut.
pub(crate) fn failed(failure: Failure) -> Failed {
    let retryable = failure.code == "STORE_UNAVAILABLE";
    Failed { failure, retryable, after: None }
}

/// What is wrong with an event type.
pub(crate) fn type_mistake(event_type: &str) -> Option<String> {
    if event_type.is_empty() || event_type.len() > MAX_TYPE {
        return Some(format!("an event type has 1 to {MAX_TYPE} bytes"));
    }
    let strange = event_type.chars().find(|c| c.is_control() || c.is_whitespace() || *c == '*');
    strange.map(|c| format!("an event type cannot hold `{}`", c.escape_default()))
}
