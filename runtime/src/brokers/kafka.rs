//! Kafka: a message is a record; the delivery report of all replicas in sync is the confirmation.

use serde_json::{Value, json};

use super::{Message, cloud_events, header_text};
use crate::connections::kafka::{Delivered, Pool, Record};
use crate::failed::Failed;
use crate::resources::{self, Identity};

/// The header that carries the delivery id.
const DELIVERY_ID: &str = "triggerd-delivery-id";

/// Sends a record; answers with `{partition, offset}`.
pub(super) async fn publish(
    pool: &Pool,
    identity: &Identity,
    settings: &resources::KafkaBroker,
    message: Message,
) -> Result<Value, Failed> {
    let (tag, topic) = (message.tag.clone(), message.topic.clone());
    if let Some(detail) = topic_mistake(&topic) {
        return Err(Failed::permanent("CONFIG_INVALID", format!("/broker: {detail}")));
    }
    if !settings.takes(&topic) {
        let text = format!("broker `{tag}`: `topics` of its settings does not allow the topic `{topic}`");
        return Err(Failed::permanent("BROKER_REFUSED", text));
    }
    let record = record(message)?;
    match pool.publish(identity, &settings.cluster(), record).await {
        Ok(Delivered { partition, offset }) => Ok(json!({ "partition": partition, "offset": offset })),
        Err(error) => Err(error.failed(&tag)),
    }
}

/// What Kafka itself takes as a topic's name is less than what other systems do.
fn topic_mistake(topic: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let wanted = || "a topic of Kafka has letters, digits, `.`, `_` or `-`, and is not `.` or `..`".to_owned();
    (matches!(topic, "." | "..") || !topic.chars().all(fits)).then(wanted)
}

fn record(message: Message) -> Result<Record, Failed> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in &message.headers {
        if name.is_empty() || name.contains('\0') {
            return Err(Failed::permanent("CONFIG_INVALID", "/headers: a header's name cannot be empty or hold NUL"));
        }
        if name != DELIVERY_ID {
            headers.push((name.clone(), header_text(value)));
        }
    }
    for (name, value) in message.attributes {
        let name = if name == cloud_events::CONTENT_TYPE { "content-type".to_owned() } else { format!("ce_{name}") };
        // What the action set itself stays.
        if !message.headers.contains_key(&name) {
            headers.push((name, value));
        }
    }
    headers.push((DELIVERY_ID.to_owned(), message.delivery_id));
    Ok(Record { topic: message.topic, key: message.key, headers, value: message.body })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Map;

    use super::*;

    #[test]
    fn headers_are_the_action_s_then_the_event_s_then_the_delivery_id() {
        let message = Message {
            tag: "k".into(),
            topic: "t".into(),
            key: None,
            headers: Map::from_iter([
                ("ce_type".to_owned(), json!("mine")),
                ("n".to_owned(), json!(1)),
                (DELIVERY_ID.to_owned(), json!("forged")),
            ]),
            attributes: vec![
                ("type", "order.created".to_owned()),
                ("id", "e1".to_owned()),
                ("datacontenttype", "application/json".to_owned()),
            ],
            body: json!({"a": 1}).to_string(),
            delivery_id: "d1".into(),
        };
        let record = record(message).unwrap();
        let expected = [
            ("ce_type", "mine"),
            ("n", "1"),
            ("ce_id", "e1"),
            ("content-type", "application/json"),
            (DELIVERY_ID, "d1"),
        ];
        assert_eq!(record.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(record.value, r#"{"a":1}"#);
    }

    #[test]
    fn kafka_s_own_rules_for_topics_are_kept() {
        for (topic, good) in [("orders.v1_a-b", true), (".", false), ("..", false), ("a:b", false), ("a/b", false)] {
            assert_eq!(topic_mistake(topic).is_none(), good, "{topic}");
        }
    }
}
