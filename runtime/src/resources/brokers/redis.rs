//! Redis Streams.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use crate::connections::redis;

/// A Redis server whose streams carry the messages.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Redis {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: String,
    /// Put in front of every topic's name.
    #[serde(default)]
    pub prefix: String,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// About how many of a stream's messages are kept; the oldest go first. Default: all.
    #[schemars(range(min = 1))]
    pub max_len: Option<u64>,
}

impl Redis {
    /// Where it is.
    #[must_use]
    pub fn server(&self) -> redis::Server {
        redis::Server { url: self.url.clone(), ca: self.ca.clone() }
    }
}

pub(super) fn check(settings: &Value) -> Vec<Mistake> {
    settings.get("url").and_then(Value::as_str).map(redis::url_mistakes).unwrap_or_default()
}
