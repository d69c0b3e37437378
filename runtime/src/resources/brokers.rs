//! The kind `brokers`: the embedded one, or Redis Streams.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use super::Kind;
use crate::connections::redis;

/// A broker's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Broker {
    /// `embedded` or `redis`; left out, a broker with a `url` is a Redis server.
    #[serde(alias = "type")]
    pub kind: Option<BrokerKind>,
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: Option<String>,
    /// Put in front of every topic's name.
    #[serde(default)]
    pub prefix: String,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// `redis`: about how many of a stream's messages are kept; the oldest go first. Default: all.
    #[schemars(range(min = 1))]
    pub max_len: Option<u64>,
}

/// What carries the messages.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum BrokerKind {
    /// Topics in triggerd's own store.
    Embedded,
    /// Redis Streams.
    Redis,
}

impl Broker {
    /// The Redis server, where it is one.
    #[must_use]
    pub fn server(&self) -> Option<redis::Server> {
        let url = self.url.clone()?;
        (self.kind != Some(BrokerKind::Embedded)).then(|| redis::Server { url, ca: self.ca.clone() })
    }
}

pub(super) const KIND: Kind = Kind {
    name: "brokers",
    schema: || with_type_alias(schemars::schema_for!(Broker).to_value()),
    check,
    raw: &[],
    hidden: false,
    connect: |connections, settings| {
        Box::pin(async move {
            let broker: Broker = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            match broker.server() {
                Some(server) => connections.redis.check(&server).await,
                None => Ok("embedded".to_owned()),
            }
        })
    },
};

fn check(settings: &Value) -> Vec<Mistake> {
    let kind = settings.get("kind").or_else(|| settings.get("type")).and_then(Value::as_str);
    let url = settings.get("url").and_then(Value::as_str);
    match (kind, url) {
        (Some("redis"), None) => vec![Mistake::new("/url", "`url` is required: `redis://host:6379`")],
        (Some("embedded"), Some(_)) => vec![Mistake::new("/url", "the embedded broker has no `url`")],
        (_, Some(url)) => redis::url_mistakes(url),
        _ => Vec::new(),
    }
}

/// `type` is taken for `kind`: many people write it so.
pub(super) fn with_type_alias(mut schema: Value) -> Value {
    let kind = schema.pointer("/properties/kind").cloned();
    if let (Some(kind), Some(Value::Object(properties))) = (kind, schema.get_mut("properties")) {
        properties.insert("type".into(), kind);
    }
    schema
}
