//! Where a Kafka cluster is and how to speak to it, and what that is in librdkafka's words.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use schemars::JsonSchema;
use serde::Deserialize;

/// Within what a message must be confirmed where the settings do not say.
pub const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of messages that wait in one producer at most.
const QUEUE_KBYTES: &str = "65536";
/// Over what `broker.publish` takes, so that the cluster's own limit is the one that counts.
const MESSAGE_BYTES: &str = "16777216";
/// How long a topic that the cluster does not know may still turn out to have been made a moment ago.
const NEW_TOPIC: Duration = Duration::from_secs(3);

/// Where a cluster is, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Some of its brokers, `host:port`.
    pub brokers: Vec<String>,
    /// Whether connections are made with TLS.
    pub tls: bool,
    /// Its certificate authority, as PEM.
    pub ca: Option<String>,
    /// How to log in.
    pub sasl: Option<Sasl>,
    /// How messages are compressed.
    pub compression: Compression,
    /// Within what a message must be confirmed.
    pub delivery_timeout: Duration,
}

/// How to log in.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Sasl {
    /// In which way.
    pub mechanism: Mechanism,
    /// As whom.
    pub username: String,
    /// With what password.
    pub password: String,
}

impl std::fmt::Debug for Sasl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

/// A SASL mechanism.
#[derive(Clone, Copy, Deserialize, JsonSchema, Debug)]
pub enum Mechanism {
    /// The password is sent as it is: for TLS alone.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 7677.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// The same with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// How messages are compressed.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With gzip.
    Gzip,
    /// With Snappy.
    Snappy,
    /// With LZ4.
    Lz4,
}

/// The parts of `host:port`, or of `[address]:port`.
#[must_use]
pub fn host_and_port(broker: &str) -> Option<(&str, u16)> {
    let (host, port) = broker.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let named = !host.is_empty() && host.chars().all(fits);
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let six = address.is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    (named || six).then_some((host, port))
}

impl Cluster {
    /// The settings of a producer that neither loses nor doubles nor reorders what it has taken, while it lives.
    pub(super) fn config(&self) -> ClientConfig {
        let millis = |duration: Duration| duration.as_millis().to_string();
        let mut config = ClientConfig::new();
        for (name, value) in [
            ("bootstrap.servers", self.brokers.join(",")),
            ("client.id", "triggerd".to_owned()),
            ("enable.idempotence", "true".to_owned()),
            ("acks", "all".to_owned()),
            // As Java's clients do, so that a key's messages are where other producers put them.
            ("partitioner", "murmur2_random".to_owned()),
            ("compression.type", self.compression.name().to_owned()),
            ("message.timeout.ms", millis(self.delivery_timeout)),
            ("message.max.bytes", MESSAGE_BYTES.to_owned()),
            ("queue.buffering.max.kbytes", QUEUE_KBYTES.to_owned()),
            ("topic.metadata.propagation.max.ms", millis(NEW_TOPIC.min(self.delivery_timeout / 2))),
            ("reconnect.backoff.max.ms", "1000".to_owned()),
            ("socket.keepalive.enable", "true".to_owned()),
            ("socket.nagle.disable", "true".to_owned()),
            ("security.protocol", self.protocol().to_owned()),
        ] {
            config.set(name, value);
        }
        if self.tls {
            match &self.ca {
                Some(pem) => config.set("ssl.ca.pem", pem),
                None => config.set("ssl.ca.location", "probe"),
            };
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanism", sasl.mechanism.name());
            config.set("sasl.username", &sasl.username).set("sasl.password", &sasl.password);
        }
        // Troubles come as events; the library would write the rest to standard error.
        config.set_log_level(RDKafkaLogLevel::Emerg);
        config
    }

    fn protocol(&self) -> &'static str {
        match (self.tls, &self.sasl) {
            (false, None) => "plaintext",
            (true, None) => "ssl",
            (false, Some(_)) => "sasl_plaintext",
            (true, Some(_)) => "sasl_ssl",
        }
    }
}

impl Mechanism {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
        }
    }
}
