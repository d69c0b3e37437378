//! MQTT 5: the broker's PUBACK, or PUBCOMP with quality of service 2.

use bytes::Bytes;
use serde_json::Value;

use super::{Message, cloud_events};
use crate::connections::mqtt::{self, MAX_TEXT, Pool, topic};
use crate::failed::Failed;
use crate::resources::{Identity, Mqtt};

/// The user property that carries the delivery id.
const DELIVERY_ID: &str = "delivery_id";

/// Publishes; answers with `{packet, subscribers}`: `subscribers` is `false` where the broker says that there are none.
pub(super) async fn publish(
    pool: &Pool,
    identity: &Identity,
    settings: &Mqtt,
    message: Message,
) -> Result<Value, Failed> {
    let tag = message.tag.clone();
    let message = made(settings, message)?;
    pool.publish(identity, &settings.server(), message).await.map_err(|error| error.failed(&tag))
}

fn made(settings: &Mqtt, message: Message) -> Result<mqtt::Message, Failed> {
    let Message { tag, topic, key, headers, mut attributes, body, delivery_id } = message;
    let invalid = |place: &str, detail: String| Failed::permanent("CONFIG_INVALID", format!("{place}: {detail}"));
    if let Some(detail) = topic::mistake(&topic) {
        return Err(invalid("/broker", detail));
    }
    super::allowed(&tag, "topics", settings.topics.as_deref(), &topic, topic::fits)?;
    // The MQTT binding has the content type in the protocol's own property, and the other names as they are.
    let content_type = attributes.iter().position(|(name, _)| *name == cloud_events::CONTENT_TYPE);
    let content_type = content_type.map_or_else(|| super::JSON.to_owned(), |at| attributes.remove(at).1);
    let mut user = vec![(DELIVERY_ID.to_owned(), delivery_id)];
    let texts = headers.iter().map(|(name, value)| (name.clone(), super::header_text(value)));
    let of_event = attributes.into_iter().map(|(name, value)| (name.to_owned(), value));
    for (name, value) in texts.chain(key.map(|key| ("key".to_owned(), key))).chain(of_event) {
        if name.len() > MAX_TEXT || value.len() > MAX_TEXT {
            return Err(invalid("/headers", format!("names and values have at most {MAX_TEXT} bytes")));
        }
        // The standard lets brokers hang up over them (1.5.4).
        if name.chars().chain(value.chars()).any(char::is_control) {
            return Err(invalid("/headers", format!("`{name}`: a user property may hold no control characters")));
        }
        if !user.iter().any(|(known, _)| *known == name) {
            user.push((name, value));
        }
    }
    Ok(mqtt::Message {
        topic,
        qos: settings.qos,
        retain: settings.retain,
        expiry: settings.expiry,
        content_type,
        user,
        body: Bytes::from(body),
    })
}
