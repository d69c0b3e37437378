//! The kind `caches`: in memory, or a Redis server or cluster.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use triggerd_core::mistake::Mistake;

use super::Kind;
use crate::connections::redis;

/// A cache's settings.
#[derive(Clone, Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Cache {
    /// `memory` or `redis`; left out, a cache with a `url` is a Redis server.
    pub kind: Option<CacheKind>,
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: Option<String>,
    /// Some nodes of a Redis cluster, in place of `url`.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Whether `url` is a node of a Redis cluster.
    #[serde(default)]
    pub cluster: bool,
    /// Put in front of every key.
    #[serde(default)]
    pub prefix: String,
    /// The certificate authority of the server, as PEM, where it is not a public one.
    pub ca: Option<String>,
    /// `memory`: how many bytes of keys and values are kept before the least used go. Default 64 MiB.
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub max_bytes: Option<u64>,
}

/// What keeps the values.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// This process, for as long as it runs.
    Memory,
    /// A Redis server.
    Redis,
}

impl Cache {
    /// The settings of the caches that exist without being configured.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            kind: None,
            url: None,
            urls: Vec::new(),
            cluster: false,
            prefix: String::new(),
            ca: None,
            max_bytes: None,
        }
    }

    /// The Redis server, where it is one.
    #[must_use]
    pub fn server(&self) -> Option<redis::Server> {
        let server = redis::Server::of(self.url.as_deref(), &self.urls, self.cluster, self.ca.as_deref())?;
        (self.kind != Some(CacheKind::Memory)).then_some(server)
    }
}

pub(super) const KIND: Kind = Kind {
    name: "caches",
    schema: || schemars::schema_for!(Cache).to_value(),
    normal: |settings| super::kind::named_by(settings, &[("redis", "redis"), ("rediss", "redis")], "memory"),
    check,
    raw: &[],
    hidden: false,
    own_routes: false,
    of_one_env: None,
    made: None,
    connect: |connections, settings| {
        Box::pin(async move {
            let cache: Cache = serde_json::from_value(settings).map_err(|e| e.to_string())?;
            match cache.server() {
                Some(server) => connections.redis.check(&server).await,
                None => Ok("in memory".to_owned()),
            }
        })
    },
};

fn check(settings: &Value) -> Vec<Mistake> {
    if settings.get("kind").and_then(Value::as_str) != Some("memory") {
        return redis::address_mistakes(settings);
    }
    let of_redis = ["url", "urls", "cluster"].into_iter().filter(|name| settings.get(name).is_some());
    of_redis.map(|name| Mistake::new(format!("/{name}"), format!("a cache in memory has no `{name}`"))).collect()
}
