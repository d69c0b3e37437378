//! Kafka.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use crate::connections::kafka;
use crate::glob;

/// A Kafka cluster, or what speaks its protocol.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Kafka {
    /// Some of its brokers, `host:port`; the others are learnt from them.
    #[schemars(length(min = 1))]
    pub brokers: Vec<String>,
    /// Whether connections are made with TLS.
    #[serde(default)]
    pub tls: bool,
    /// The certificate authority of the brokers, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// How to log in.
    pub sasl: Option<kafka::Sasl>,
    /// Globs over the topics that may be published to. Default: all.
    pub topics: Option<Vec<String>>,
    /// How messages are compressed. Default: not.
    #[serde(default)]
    pub compression: kafka::Compression,
    /// Milliseconds within which a message must be confirmed. Default 10000.
    #[schemars(range(min = 1000, max = 300_000))]
    pub delivery_timeout: Option<u64>,
}

impl Kafka {
    /// Where it is, and how to speak to it.
    #[must_use]
    pub fn cluster(&self) -> kafka::Cluster {
        kafka::Cluster {
            brokers: self.brokers.clone(),
            tls: self.tls,
            ca: self.ca.clone(),
            sasl: self.sasl.clone(),
            compression: self.compression,
            delivery_timeout: self.delivery_timeout.map_or(kafka::DELIVERY_TIMEOUT, std::time::Duration::from_millis),
        }
    }

    /// Whether messages may go to that topic.
    #[must_use]
    pub fn takes(&self, topic: &str) -> bool {
        self.topics.as_ref().is_none_or(|allowed| allowed.iter().any(|pattern| glob::fits(pattern, topic)))
    }
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    let listed = settings.get("brokers").and_then(Value::as_array).into_iter().flatten();
    let texts = listed.enumerate().filter_map(|(i, broker)| Some((i, broker.as_str()?)));
    let wrong = texts.filter(|(_, broker)| !broker.contains("{{") && kafka::host_and_port(broker).is_none());
    let mut found: Vec<Mistake> = wrong
        .map(|(i, _)| Mistake::new(format!("/brokers/{i}"), "write a broker like `kafka.example.com:9092`"))
        .collect();
    if settings.get("ca").is_some() && settings.get("tls").and_then(Value::as_bool) != Some(true) {
        found.push(Mistake::new("/ca", "without `\"tls\": true` no certificate is checked"));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn brokers_are_host_and_port_and_an_authority_needs_tls() {
        let good = json!({"brokers": ["a:1", "[::1]:9092", "{{secrets.B}}"], "tls": true, "ca": "pem"});
        assert!(check(&good).is_empty());
        for bad in ["", "a", "a:", ":1", "a:0", "a:99999", "kafka://a:1", "a:1,b:2", "a b:1", "::1:9092", "u@a:1"] {
            assert_eq!(check(&json!({ "brokers": [bad] })).len(), 1, "{bad}");
        }
        assert_eq!(check(&json!({"brokers": ["a:1"], "ca": "pem"})).len(), 1);
    }
}
