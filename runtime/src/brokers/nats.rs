//! NATS: the topic is the subject; the server's PONG after the message, or the stream's acknowledgement.

use bytes::Bytes;
use serde_json::Value;

use super::{Message, cloud_events};
use crate::connections::nats::{self, Pool, subject};
use crate::failed::Failed;
use crate::resources::{Identity, Nats};

/// By which JetStream knows a message again (within the stream's duplicate window).
const MESSAGE_ID: &str = "Nats-Msg-Id";

/// Publishes; answers with `{stream, sequence, duplicate}`, or without JetStream `{subject}`.
pub(super) async fn publish(
    pool: &Pool,
    identity: &Identity,
    settings: &Nats,
    message: Message,
) -> Result<Value, Failed> {
    let tag = message.tag.clone();
    let message = made(settings, message)?;
    pool.publish(identity, &settings.server(), message).await.map_err(|error| error.failed(&tag))
}

fn made(settings: &Nats, message: Message) -> Result<nats::Message, Failed> {
    let Message { tag, topic, key, headers, attributes, body, delivery_id } = message;
    let invalid = |place: &str, detail: String| Failed::permanent("CONFIG_INVALID", format!("{place}: {detail}"));
    let subject = format!("{}{topic}", settings.prefix);
    if let Some(detail) = subject::mistake(&subject) {
        return Err(invalid("/broker", detail));
    }
    super::allowed(&tag, "subjects", settings.subjects.as_deref(), &subject, subject::fits)?;
    let mut all = vec![(MESSAGE_ID.to_owned(), delivery_id)];
    let texts = headers.iter().map(|(name, value)| (name.clone(), super::header_text(value)));
    // The NATS binding: the content type as in HTTP, the other names after `ce-`.
    let of_event = attributes.iter().map(|(name, value)| {
        let name = if *name == cloud_events::CONTENT_TYPE { "content-type".to_owned() } else { format!("ce-{name}") };
        (name, cloud_events::ascii(value))
    });
    for (name, value) in texts.chain(key.map(|key| ("key".to_owned(), key))).chain(of_event) {
        // ADR-4: names as in HTTP, values without line breaks.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b':') {
            return Err(invalid("/headers", format!("`{name}` is no header's name")));
        }
        if name.eq_ignore_ascii_case(MESSAGE_ID) {
            return Err(invalid("/headers", format!("`{name}` is the delivery id's")));
        }
        if value.contains(['\r', '\n']) {
            return Err(invalid("/headers", format!("`{name}`: a header's value may hold no line break")));
        }
        if !all.iter().any(|(known, _)| *known == name) {
            all.push((name, value));
        }
    }
    Ok(nats::Message { subject, headers: all, body: Bytes::from(body) })
}
