//! RabbitMQ: the topic is the routing key; the broker's confirmation of a message that it put into a queue.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::{Message, cloud_events};
use crate::connections::amqp::{self, MAX_HEADERS, MAX_SHORT, Pool};
use crate::failed::Failed;
use crate::glob;
use crate::resources::{Identity, Rabbitmq};

/// Publishes; answers with `{id}`, the delivery id.
pub(super) async fn publish(
    pool: &Pool,
    identity: &Identity,
    settings: &Rabbitmq,
    message: Message,
    now: Timestamp,
) -> Result<Value, Failed> {
    let tag = message.tag.clone();
    let message = made(settings, message, now)?;
    pool.publish(identity, &settings.server(), message).await.map_err(|error| error.failed(&tag))
}

fn made(settings: &Rabbitmq, message: Message, now: Timestamp) -> Result<amqp::Message, Failed> {
    let Message { tag, topic, key, mut headers, attributes, body, delivery_id } = message;
    let invalid = |place: &str, detail: String| Failed::permanent("CONFIG_INVALID", format!("{place}: {detail}"));
    if topic.len() > MAX_SHORT {
        return Err(invalid("/broker", format!("a routing key has at most {MAX_SHORT} bytes, not {}", topic.len())));
    }
    super::allowed(&tag, "routingKeys", settings.routing_keys.as_deref(), &topic, glob::fits)?;
    if let Some(name) = headers.keys().find(|name| name.len() > MAX_SHORT) {
        return Err(invalid("/headers", format!("`{name}`: a header's name has at most {MAX_SHORT} bytes")));
    }
    // The AMQP binding names the content type in its own property, and gives two prefixes to choose from: this one is
    // for everybody, `cloudEvents_` for JMS.
    let mut content_type = super::JSON.to_owned();
    for (name, value) in attributes {
        if name == cloud_events::CONTENT_TYPE {
            content_type = value;
        } else {
            headers.entry(format!("cloudEvents:{name}")).or_insert_with(|| value.into());
        }
    }
    if let Some(key) = key {
        headers.entry("key").or_insert_with(|| key.into());
    }
    let size: usize = headers.iter().map(|(name, value)| name.len() + value.to_string().len() + 6).sum();
    if size > MAX_HEADERS {
        return Err(invalid("/headers", format!("{size} bytes; at most {MAX_HEADERS}")));
    }
    Ok(amqp::Message {
        exchange: settings.exchange.clone(),
        routing_key: topic,
        content_type,
        headers,
        persistent: settings.persistent,
        message_id: delivery_id,
        timestamp: u64::try_from(now.as_second()).unwrap_or_default(),
        body: Bytes::from(body),
    })
}
