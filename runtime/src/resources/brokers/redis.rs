//! Redis: streams, or Pub/Sub.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use crate::connections::redis;

/// A Redis server or cluster that carries the messages.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Redis {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: Option<String>,
    /// Some nodes of a Redis cluster, in place of `url`.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Whether `url` is a node of a Redis cluster.
    #[serde(default)]
    pub cluster: bool,
    /// Put in front of every topic's name.
    #[serde(default)]
    pub prefix: String,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// Whether a topic is a stream, which keeps its messages, or a channel, which does not.
    #[serde(default)]
    pub mode: Mode,
    /// `stream`: about how many of a stream's messages are kept; the oldest go first. Default: all.
    #[schemars(range(min = 1))]
    pub max_len: Option<u64>,
    /// `pubsub`: how many subscribers a message must have reached. Default 0: nobody need listen.
    pub min_receivers: Option<u64>,
}

/// What a topic is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A stream: XADD.
    #[default]
    Stream,
    /// A channel: PUBLISH.
    Pubsub,
}

impl Redis {
    /// Where it is; `None` where no URL is set.
    #[must_use]
    pub fn server(&self) -> Option<redis::Server> {
        redis::Server::of(self.url.as_deref(), &self.urls, self.cluster, self.ca.as_deref())
    }
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    let mut found = redis::address_mistakes(settings);
    let pubsub = settings.get("mode").and_then(Value::as_str) == Some("pubsub");
    let cluster = settings.get("urls").is_some() || settings.get("cluster").and_then(Value::as_bool) == Some(true);
    let has = |name: &str| settings.get(name).is_some();
    if pubsub && has("maxLen") {
        found.push(Mistake::new("/maxLen", "a channel keeps no messages; `maxLen` is for `\"mode\": \"stream\"`"));
    }
    if !pubsub && has("minReceivers") {
        found.push(Mistake::new("/minReceivers", "streams have no receivers; it is for `\"mode\": \"pubsub\"`"));
    }
    if pubsub && cluster && has("minReceivers") {
        let detail = "a cluster's node counts its own subscribers alone; leave it out";
        found.push(Mistake::new("/minReceivers", detail));
    }
    found
}
