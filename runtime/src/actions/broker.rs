//! `broker.publish`: a message to a topic, done once the broker has confirmed it.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use triggerd_core::mistake::Mistake;
use triggerd_core::outcome::Outcome;

use super::{Action, Context, Use, uses};
use crate::brokers::{self, Message, cloud_events};
use crate::failed::outcome;

/// The largest message.
const MAX_MESSAGE: usize = 8 << 20;

/// `broker.publish`
pub struct Publish;

/// Its settings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Where: `TAG:TOPIC`, such as `embedded:orders`.
    broker: String,
    /// The message: any JSON.
    message: Value,
    /// What messages of one subject have in common.
    #[serde(default)]
    key: Value,
    /// Headers.
    #[serde(default)]
    headers: Map<String, Value>,
    /// `true` or `"binary"`: the event's CloudEvents attributes go along as headers.
    #[serde(default)]
    cloud_events: CloudEvents,
}

/// Whether and how a message says that it is a CloudEvent.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(untagged)]
enum CloudEvents {
    /// In binary mode, or not at all.
    Wanted(bool),
    /// In the mode of that name.
    Mode(Mode),
}

/// CloudEvents content modes.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Attributes are headers, the message is the data.
    Binary,
}

impl Default for CloudEvents {
    fn default() -> Self {
        Self::Wanted(false)
    }
}

impl Action for Publish {
    const KIND: &'static str = "broker.publish";
    const WHOLE: Option<&'static str> = Some("message");
    const READS_EVENT: bool = false;
    type Config = Config;

    fn whole(config: &mut Config) -> Option<&mut Value> {
        Some(&mut config.message)
    }

    fn check(config: &Value) -> Vec<Mistake> {
        let written = config.get("broker").and_then(Value::as_str).unwrap_or_default();
        let wrong = match brokers::split(written) {
            _ if written.contains("{{") => None,
            Ok((tag, topic)) if tag == brokers::EMBEDDED => brokers::topic_mistake(topic),
            Ok((_, topic)) => brokers::name_mistake(topic),
            Err(detail) => Some(detail),
        };
        wrong.map(|detail| Mistake::new("/broker", detail)).into_iter().collect()
    }

    fn uses(config: &Value) -> Vec<Use> {
        uses::named(config, "broker", "brokers").into_iter().collect()
    }

    async fn run(cx: Context, config: Config) -> Outcome {
        let (tag, topic) = match brokers::split(&config.broker) {
            Ok((tag, topic)) => (tag.to_owned(), topic.to_owned()),
            Err(detail) => return Outcome::dead("CONFIG_INVALID", format!("/broker: {detail}")),
        };
        // Not by Display, which goes through a formatter piece by piece.
        let mut body = Vec::with_capacity(512);
        let written = serde_json::to_writer(&mut body, &config.message);
        let Some(body) = written.ok().and_then(|()| String::from_utf8(body).ok()) else {
            return Outcome::dead("CONFIG_INVALID", "/message: it cannot be written as JSON");
        };
        if body.len() > MAX_MESSAGE {
            let bytes = body.len();
            return Outcome::dead("CONFIG_INVALID", format!("/message: {bytes} bytes; at most {MAX_MESSAGE}"));
        }
        let key = match config.key {
            Value::Null => None,
            Value::String(text) => Some(text),
            other => Some(other.to_string()),
        };
        let mut headers = config.headers;
        let attributes = match config.cloud_events {
            CloudEvents::Wanted(false) => Vec::new(),
            CloudEvents::Wanted(true) | CloudEvents::Mode(Mode::Binary) => {
                let traceparent = cx.traceparent();
                let attributes = cloud_events::attributes(&cx.event, &traceparent);
                // Beside where the event began, where this message comes from. What the action itself says stays.
                headers.entry("traceparent").or_insert_with(|| traceparent.into());
                if let Some(state) = &cx.event.tracestate {
                    headers.entry("tracestate").or_insert_with(|| state.as_str().into());
                }
                attributes
            }
        };
        let message = Message { tag, topic, key, headers, attributes, body, delivery_id: cx.delivery_id.to_string() };
        outcome(cx.services.brokers.publish(cx.tenant(), &cx.event.env, message).await)
    }
}
