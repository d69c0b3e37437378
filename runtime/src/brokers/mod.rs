//! The tenants' message brokers by tag: topics in the store, and other systems, one file each.
//!
//! A publish has happened once the broker has confirmed it. The tag `embedded` exists without being configured.

pub mod cloud_events;
mod embedded;
mod kafka;
mod mqtt;
mod nats;
mod rabbitmq;
mod redis;

use std::sync::Arc;

use serde_json::{Map, Value};
use triggerd_core::id::TenantId;

use crate::clock::Clock;
use crate::failed::Failed;
use crate::resources::{self, Resources};
use crate::store::Store;

/// The tag of the broker that is always there.
pub const EMBEDDED: &str = "embedded";
/// The media type of messages.
const JSON: &str = "application/json";
/// The longest topic name.
const MAX_TOPIC: usize = 249;

/// The brokers of all tenants. Cheap to clone.
#[derive(Clone)]
pub struct Brokers {
    resources: Arc<Resources>,
    store: Store,
    clock: Clock,
}

/// A message on its way.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// The broker's tag.
    pub tag: String,
    /// The topic.
    pub topic: String,
    /// What messages of one subject have in common.
    pub key: Option<String>,
    /// Headers.
    pub headers: Map<String, Value>,
    /// The CloudEvents attributes to send as headers, which each system spells in its own way; empty for none.
    pub attributes: cloud_events::Attributes,
    /// The message, as JSON text.
    pub body: String,
    /// The same on every try: consumers de-duplicate by it.
    pub delivery_id: String,
}

impl Brokers {
    /// Those that `resources` configures.
    #[must_use]
    pub fn new(resources: Arc<Resources>, store: Store, clock: Clock) -> Self {
        Self { resources, store, clock }
    }

    /// Publishes; answers once it is confirmed, with what the broker said: `{offset}`, `{id}` and the like.
    pub async fn publish(&self, tenant: &TenantId, env: &str, message: Message) -> Result<Value, Failed> {
        let Some(resolved) = self.resources.resolve::<resources::Broker>(tenant, "brokers", &message.tag, env) else {
            return match message.tag.as_str() {
                EMBEDDED => embedded::publish(&self.store, &self.clock, tenant, named(message)?).await,
                tag => Err(Failed::no_resource("brokers", tag)),
            };
        };
        let resolved = resolved?;
        let (settings, identity) = (&resolved.settings, &resolved.identity);
        let connections = self.resources.connections();
        // Boxed one by one: the largest of them need not be moved with every message.
        match settings {
            resources::Broker::Embedded(_) => {
                Box::pin(embedded::publish(&self.store, &self.clock, tenant, named(message)?)).await
            }
            resources::Broker::Kafka(kafka) => {
                Box::pin(kafka::publish(&connections.kafka, identity, kafka, named(message)?)).await
            }
            resources::Broker::Mqtt(mqtt) => Box::pin(mqtt::publish(&connections.mqtt, identity, mqtt, message)).await,
            resources::Broker::Nats(nats) => Box::pin(nats::publish(&connections.nats, identity, nats, message)).await,
            resources::Broker::Rabbitmq(rabbitmq) => {
                Box::pin(rabbitmq::publish(&connections.amqp, identity, rabbitmq, message, self.clock.now())).await
            }
            resources::Broker::Redis(redis) => {
                Box::pin(redis::publish(&connections.redis, identity, redis, named(message)?)).await
            }
        }
    }
}

/// What a header says in systems whose headers are texts: a string as it is, anything else as JSON.
#[must_use]
pub fn header_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The tag and the topic of `TAG:TOPIC`.
pub fn split(broker: &str) -> Result<(&str, &str), String> {
    broker
        .split_once(':')
        .filter(|(tag, topic)| !tag.is_empty() && !topic.is_empty())
        .ok_or_else(|| format!("`{broker}` must be written `TAG:TOPIC`, such as `{EMBEDDED}:orders`"))
}

/// What is wrong with a topic's name, whichever system it is for.
#[must_use]
pub fn name_mistake(topic: &str) -> Option<String> {
    let bad = topic.chars().find(|c| c.is_control())?;
    Some(format!("a topic may hold no control characters, such as {bad:?}"))
}

/// The message, if its topic has a name that systems without a meaning of their own for it take.
fn named(message: Message) -> Result<Message, Failed> {
    match topic_mistake(&message.topic) {
        Some(detail) => Err(Failed::permanent("CONFIG_INVALID", format!("/broker: {detail}"))),
        None => Ok(message),
    }
}

/// Fails where the resource `tag` has a list of what may be published to and none of it takes `topic`.
fn allowed(
    tag: &str,
    setting: &str,
    patterns: Option<&[String]>,
    topic: &str,
    fits: fn(&str, &str) -> bool,
) -> Result<(), Failed> {
    if patterns.is_none_or(|patterns| patterns.iter().any(|pattern| fits(pattern, topic))) {
        return Ok(());
    }
    let detail = format!("broker `{tag}`: `{topic}` is not among the `{setting}` that its settings allow");
    Err(Failed::permanent("BROKER_REFUSED", detail))
}

/// What is wrong with a topic's name.
#[must_use]
pub fn topic_mistake(topic: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':' | '/');
    let wanted = || format!("a topic's name has 1 to {MAX_TOPIC} letters, digits, `.`, `_`, `-`, `:` or `/`");
    (topic.is_empty() || topic.len() > MAX_TOPIC || !topic.chars().all(fits)).then(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_written_tag_and_topic() {
        assert_eq!(split("kafka:user-events"), Ok(("kafka", "user-events")));
        assert_eq!(split("a:b:c"), Ok(("a", "b:c")));
        for bad in ["", "a", "a:", ":b"] {
            assert!(split(bad).is_err(), "{bad}");
        }
        for bad in ["", "a b", "a*", "a>", "a\r\nb", "\u{0}", "ü", &"x".repeat(250)] {
            assert!(topic_mistake(bad).is_some(), "{bad:?}");
        }
    }
}
