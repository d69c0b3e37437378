//! The kind `brokers`: what carries messages, one file per system.

mod embedded;
mod kafka;
mod mqtt;
mod nats;
mod rabbitmq;
mod redis;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use triggerd_core::mistake::Mistake;

pub use embedded::Embedded;
pub use kafka::Kafka;
pub use mqtt::Mqtt;
pub use nats::Nats;
pub use rabbitmq::Rabbitmq;
pub use redis::{Mode as RedisMode, Redis};

use super::Kind;
use super::kind::named_by;

/// A broker's settings, by what carries its messages.
#[derive(Clone, Debug)]
pub enum Broker {
    /// Topics in triggerd's own store.
    Embedded(Embedded),
    /// A Kafka cluster.
    Kafka(Kafka),
    /// MQTT 5.
    Mqtt(Mqtt),
    /// NATS and JetStream.
    Nats(Nats),
    /// RabbitMQ.
    Rabbitmq(Rabbitmq),
    /// Redis: streams, or Pub/Sub.
    Redis(Redis),
}

/// As they are written, told apart by `kind`.
#[derive(Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Written {
    Embedded(Embedded),
    Kafka(Kafka),
    Mqtt(Mqtt),
    Nats(Nats),
    Rabbitmq(Rabbitmq),
    Redis(Redis),
}

/// What the URL's scheme says where `kind` is left out.
const SCHEMES: &[(&str, &str)] = &[
    ("redis", "redis"),
    ("rediss", "redis"),
    ("amqp", "rabbitmq"),
    ("amqps", "rabbitmq"),
    ("mqtt", "mqtt"),
    ("mqtts", "mqtt"),
    ("nats", "nats"),
    ("tls", "nats"),
];

impl<'de> Deserialize<'de> for Broker {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Embedded(embedded) => Self::Embedded(embedded),
            Written::Kafka(kafka) => Self::Kafka(kafka),
            Written::Mqtt(mqtt) => Self::Mqtt(mqtt),
            Written::Nats(nats) => Self::Nats(nats),
            Written::Rabbitmq(rabbitmq) => Self::Rabbitmq(rabbitmq),
            Written::Redis(redis) => Self::Redis(redis),
        })
    }
}

pub(super) const KIND: Kind = Kind {
    name: "brokers",
    schema: || schemars::schema_for!(Written).to_value(),
    normal: |settings| named_by(settings, SCHEMES, "embedded"),
    check,
    raw: &[],
    hidden: false,
    own_routes: false,
    of_one_env: None,
    made: None,
    connect: |connections, settings| {
        Box::pin(async move {
            match serde_json::from_value(settings).map_err(|e| e.to_string())? {
                Broker::Embedded(_) => Ok("embedded".to_owned()),
                Broker::Kafka(kafka) => connections.kafka.check(&kafka.cluster()).await,
                Broker::Mqtt(mqtt) => connections.mqtt.check(&mqtt.server(), mqtt.qos, mqtt.retain).await,
                Broker::Nats(nats) => connections.nats.check(&nats.server()).await,
                Broker::Rabbitmq(rabbitmq) => connections.amqp.check(&rabbitmq.server(), &rabbitmq.exchange).await,
                Broker::Redis(redis) => {
                    let server = redis.server().ok_or_else(|| "no `url` is set".to_owned())?;
                    connections.redis.check(&server).await
                }
            }
        })
    },
};

/// Mistakes beyond what the schema says.
fn check(settings: &Value) -> Vec<Mistake> {
    match settings.get("kind").and_then(Value::as_str) {
        Some("kafka") => kafka::check(settings),
        Some("mqtt") => mqtt::check(settings),
        Some("nats") => nats::check(settings),
        Some("rabbitmq") => rabbitmq::check(settings),
        Some("redis") => redis::check(settings),
        _ => Vec::new(),
    }
}
